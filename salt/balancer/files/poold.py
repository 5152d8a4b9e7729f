"""
Keeps web VMs that cannot serve out of this balancer's IPVS table, with or without Salt.

Every web VM is asked often whether it is alive (ALIVE: through Apache and the site's own PHP,
nothing shared behind it), and now and then whether it can serve a user (the pillar's page, which
uses database and files).

down    nobody answers: it is taken out, and its connections are cut, so that clients try again.
stuck   connects, but does not answer as it should: nothing new; cut when that lasts (CUT).
unfit   alive, but its page says that it cannot serve: nothing new, and nothing is cut.

All stuck or unfit at once have one cause behind them: files or database that just move, or more
users than they can serve. Taken out, they would help nobody. They go on while they are only silent,
and for TOGETHER seconds if they say themselves that they cannot serve. With nobody left a page says
sorry.

The kernel's weights are its memory: 0 is out, and a restart neither invents nor forgets a failure.
A weight above 0 is an operator's business and stays as it is. Usage: poold.py [CONFIGURATION]
"""

import asyncio
import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import poold_wire
from poold_rules import (
    DOWN,
    ERROR,
    IN,
    INFO,
    STUCK,
    UNFIT,
    UP,
    Server,
    choose,
    plan,
    read_table,
    say,
)

PORT, ALIVE = 80, "/health/alive"
# Seconds for an answer: under load it waits behind those of the users, and a busy server that is
# taken out leaves its load to the others.
ANSWER = 2.0
PAGE, PAGE_PATIENCE = 2.0, 5.0  # seconds between two pages; for the answer
TICK, REST = 0.5, 0.1  # between two looks at the table; between cutting off and putting back at 0
MOST, IP_FREEBIND = 65536, 15
RUN, DRAINED, TABLE = "/run/cluster", "/var/lib/cluster/drained.json", "/proc/net/ip_vs"


async def ask(address, path, expect, connect, patience):
    """
    Return (None, why), or (DOWN, STUCK or UNFIT, why): no connection, no answer, the wrong one.

    connect, patience: seconds for the connection and for the answer.
    """
    problem, writer = DOWN, None
    try:
        async with asyncio.timeout(connect) as limit:
            reader, writer = await asyncio.open_connection(address, PORT)
            problem = STUCK
            # The kernel connects at once; Apache and PHP may have other requests before this one.
            limit.reschedule(asyncio.get_running_loop().time() + patience)
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
            answer = b""
            while len(answer) < MOST and (more := await reader.read(MOST)):
                answer += more
    except TimeoutError:
        if problem == DOWN:
            return problem, f"does not connect within {connect:g} s"
        return problem, f"no answer to {path} within {patience:g} s"
    except OSError as error:
        return problem, f"{path}: {os.strerror(error.errno) if error.errno else error}"
    finally:
        if writer:
            writer.transport.abort()
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.partition(b"\r\n")[0].decode("ascii", "replace")
    if status.split()[1:2] != ["200"]:
        return UNFIT, f"{path} answered {status!r}: {complaints(body)}"
    if expect.encode() not in body:
        return UNFIT, f"{path} did not answer {expect!r}"
    return None, f"{path} answered as it should"


def complaints(body):
    """Return what a health page finds wrong: its failing checks, or the beginning of its text."""
    text = body.decode("utf-8", "replace")
    try:
        failing = [f"{one['check']}: {one['detail']}" for one in json.loads(text) if not one["ok"]]
    except (ValueError, TypeError, KeyError):
        failing = []
    return ("; ".join(failing) or " ".join(text.split()))[:300]


def names_of_before():
    """Return the names of the servers that a poold before this one knew, since the boot."""
    try:
        return set(json.loads(Path(f"{RUN}/pool.json").read_text(encoding="utf-8"))["servers"])
    except (OSError, ValueError, KeyError):
        return set()


class Pool:
    """The loops: ask, choose, set the weights, tell."""

    def __init__(self, config):
        self.config, self.check = config, config["check"]
        table, now = self.table(), time.monotonic()
        weights = {
            real.rpartition(":")[0]: weight
            for reals in table.values() for real, (weight, _) in reals.items()
        }  # fmt: skip
        known = names_of_before()
        self.servers = []
        for name, entry in config["servers"].items():
            # One that is new in the pillar proves itself first; at boot all are taken for good.
            served = UP if weights.get(entry["address"], 1) > 0 else UNFIT
            state = served if not known or name in known else DOWN
            self.servers.append(Server(name, entry["address"], entry["weight"], state, now))
        self.wire = poold_wire.Wires(config)
        self.drained, self.stamp, self.told_last, self.told_at = {}, None, None, 0.0
        self.changed = {server.name: asyncio.Event() for server in self.servers}
        self.work = asyncio.Event()
        self.apologies = []

    @staticmethod
    def table():
        try:
            return read_table(Path(TABLE).read_text(encoding="ascii"))
        except FileNotFoundError:  # ip_vs is not loaded
            return {}

    async def run(self):
        """Until one of the loops ends by an error; systemd starts it anew."""
        await self.apologise()
        loops = [self.keep(), self.wire.run()]
        for server in self.servers:
            loops += [self.watch(server), self.inspect(server)]
        notify("READY=1")
        await asyncio.gather(*loops)

    async def watch(self, server):
        """Ask whether it is alive; after a failure sooner again."""
        while True:
            begun, patience = time.monotonic(), self.check["timeout"]
            problem, why = await ask(server.address, ALIVE, "alive", patience, ANSWER)
            now = time.monotonic()
            # Much later than its time-out: it was this process that did not run.
            if not problem or now - begun < 2 * (patience + ANSWER):
                self.note(server, server.note_alive, problem, why, self.check, now)
            pause = min(self.check["interval"], patience) if problem else self.check["interval"]
            await asyncio.sleep(max(0.01, pause - (now - begun)))

    async def inspect(self, server):
        """Ask for the page, sooner when that decides whether it comes back."""
        while True:
            if server.state in (UP, UNFIT):
                page, expect = self.check["path"], self.check["expect"]
                found = await ask(server.address, page, expect, ANSWER, PAGE_PATIENCE)
                self.note(server, server.note_page, *found, time.monotonic())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PAGE if server.state == UP else PAGE / 2):
                    await self.changed[server.name].wait()
            self.changed[server.name].clear()

    def note(self, server, method, *found):
        before = server.state
        method(*found)
        if server.state != before:
            self.work.set()
            if server.state == UNFIT:
                self.changed[server.name].set()

    async def keep(self):
        """Make the table what was chosen, as soon as anything changes, and look in between."""
        while True:
            self.read_drained()
            choice = choose(self.servers, self.drained, time.monotonic())
            table, services, sorry = self.table(), self.config["services"], self.config["sorry"]
            lines = plan(table, services, self.servers, choice, sorry)
            if lines:
                await asyncio.to_thread(apply, lines)
            self.tell(choice, table)
            notify("WATCHDOG=1")
            if any(line.startswith("-d") for line in lines):
                await asyncio.sleep(REST)  # the kernel ends the connections of who is not there
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self.work.wait()
            self.work.clear()

    def read_drained(self):
        try:
            stamp = os.stat(DRAINED).st_mtime_ns
            if stamp != self.stamp:
                self.stamp = stamp
                self.drained = dict(json.loads(Path(DRAINED).read_text(encoding="utf-8")))
        except FileNotFoundError:
            self.drained, self.stamp = {}, None
        except (OSError, ValueError) as error:  # whom it named stays out
            say(ERROR, f"{DRAINED} cannot be read: {error}")

    def tell(self, choice, table):
        counts = {}
        for reals in table.values():
            for real, (_, connections) in reals.items():
                address = real.rpartition(":")[0]
                counts[address] = counts.get(address, 0) + connections
        servers = {
            server.name: {
                "address": server.address, "state": server.state, "why": server.why,
                "since": server.time, "serving": choice[server.name] == IN,
                "drained": server.name in self.drained,
                "connections": counts.get(server.address, 0),
            }
            for server in self.servers
        }  # fmt: skip
        told = {"servers": servers, "sorry": IN not in choice.values(), **self.wire.told()}
        at = time.clock_gettime(time.CLOCK_BOOTTIME)
        if told != self.told_last or at - self.told_at >= 1:
            self.told_last, self.told_at = told, at
            poold_wire.publish(f"{RUN}/pool.json", {"at": at, "time": time.time(), **told})

    async def apologise(self):
        """Serve the sorry page, which the table leads to when nobody else is left."""
        body = Path(self.config["page"]).read_bytes()
        head = (
            "HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/html; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nRetry-After: 5\r\nCache-Control: no-store\r\n"
            "Connection: close\r\n\r\n"
        ).encode()

        async def answer(reader, writer):
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError,
                                     asyncio.LimitOverrunError):  # fmt: skip
                async with asyncio.timeout(5):
                    request = await reader.readuntil(b"\r\n\r\n")
                    writer.write(head if request.startswith(b"HEAD ") else head + body)
                    await writer.drain()
            writer.close()

        for port, real in self.config["sorry"].items():
            try:
                context = tls(*self.config["certificate"]) if port == "443" else None
                server = await asyncio.start_server(answer, sock=listener(real), ssl=context)
                self.apologies.append(server)
            except OSError as error:  # the checks matter more than the apology
                say(ERROR, f"no sorry page for port {port}: {error}")


def tls(certificate, key):
    """Return what serves TLS with the site's certificate; raises OSError (SSLError is one)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def listener(real):
    """Return a socket bound to ADDRESS:PORT, whether its interface has the address yet or not."""
    address, _, port = real.rpartition(":")
    ours = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    ours.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    ours.bind((address, int(port)))
    return ours


def apply(lines):
    """ipvsadm goes on after a rule that failed; what is left is seen at the next look."""
    command = ["ipvsadm", "-R"]
    text = "".join(f"{line}\n" for line in lines)
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=2)
        problem = done.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    say(*(ERROR, f"ipvsadm: {problem}: {lines}") if problem else (INFO, "; ".join(lines)))


def notify(text):
    """Tell systemd, if it asked for it."""
    if path := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            with contextlib.suppress(OSError):
                channel.sendto(text.encode(), path.replace("@", "\0", 1))


def main(path="/etc/cluster/pool.json"):
    config = json.loads(Path(path).read_text(encoding="utf-8"))

    async def serve():
        await Pool(config).run()

    asyncio.run(serve())


if __name__ == "__main__":
    main(*sys.argv[1:])
