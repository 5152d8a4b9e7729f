"""
heartbeatd's hand for all that may wait for a disk: a child process of ordinary priority.

It reads the claims of this VM and the configuration, keeps the incarnation, runs the step-down
hook. Both sides speak JSON objects over a socket pair; the daemon's side never blocks.
"""

import json
import os
import select
import signal
import socket
import subprocess
import time
import traceback

import heartbeat_system

EVERY = 0.25  # seconds between two looks at the claims
END = 0.2  # seconds the daemon waits for this process to end; one that waits for a disk ends later
RETRY = 2.0  # seconds before a hook that ended runs again for a claim that is still held


class Helper:
    """The daemon's side."""

    def __init__(self, claims):
        """claims: folder with what _modules/claim.py keeps, <resource>.json {"epoch": n}."""
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.setblocking(False)
        self.alive = True
        parent = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            try:
                self.socket.close()
                _Hand(theirs, claims, parent).work()
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(1)
        theirs.close()

    def fileno(self):
        return self.socket.fileno()

    def ask(self, **message):
        """Hand over a message; return whether it was taken."""
        try:
            return bool(self.socket.send(json.dumps(message).encode()))
        except OSError:
            return False

    def answers(self):
        """Yield the messages that came."""
        while self.alive:
            try:
                data = self.socket.recv(1 << 17)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.alive = False
                return
            yield json.loads(data)


    def end(self):
        """Let it end; a helper left over at the next start makes systemd warn of it."""
        self.socket.close()
        last = time.monotonic() + END
        while time.monotonic() < last and os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            time.sleep(0.005)


class _Hand:
    """The child's side."""

    def __init__(self, channel, claims, parent):
        self.channel, self.claims, self.parent = channel, claims, parent
        self.told, self.hooks = None, {}

    def work(self):
        for name in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            # The daemon's end ends this process too; a hook starts with the defaults again.
            signal.signal(name, lambda *_: None)
        heartbeat_system.ordinary()
        while os.getppid() == self.parent:
            self.look()
            ready, _, _ = select.select([self.channel], [], [], EVERY)
            if ready:
                data = self.channel.recv(1 << 17)
                if not data:
                    return
                self.obey(json.loads(data))

    def look(self):
        """Tell the claims when they changed."""
        found = heartbeat_system.entries(self.claims)
        epochs = {name: entry["epoch"] for name, entry in found.items() if "epoch" in entry}
        if epochs != self.told:
            self.tell(claims=epochs)
            self.told = epochs

    def obey(self, message):
        if "config" in message:
            try:
                with open(message["config"], encoding="utf-8") as file:
                    self.tell(config=file.read())
            except (OSError, ValueError) as error:
                self.tell(problem=f"the configuration cannot be read: {error}")
        elif "incarnation" in message:
            problem = heartbeat_system.remember(message["path"], message["incarnation"])
            if problem:
                self.tell(problem=problem)
        elif "hook" in message:
            self.run(message["hook"], message["resource"], message["held"], message["heard"])

    def run(self, hook, resource, held, heard):
        """Start the hook unless it runs already, or ended a moment ago."""
        process, started = self.hooks.get(resource, (None, 0))
        if process and (process.poll() is None or time.monotonic() < started + RETRY):
            return
        argv = [hook, resource, str(held), str(heard)]
        try:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
        except OSError as error:
            self.tell(problem=f"the step-down hook cannot run: {error}")
            return
        self.hooks[resource] = (process, time.monotonic())

    def tell(self, **message):
        self.channel.send(json.dumps(message).encode())

