"""Real heartbeatd processes, each in its own network namespace, on two networks between them."""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.loading import ROOT, load

FILES = ROOT / "salt/heartbeat/files"
KEY = "5a" * 32
DEFAULT = {"keepalive": 0.25, "warntime": 1, "deadtime": 2, "initdead": 30}
QUICK = {"keepalive": 0.1, "warntime": 0.4, "deadtime": 0.8, "initdead": 3}
NETS = {"one": "eth1", "two": "eth0"}
# heartbeatd.service: real time also while Python starts, or a busy machine delays a restart.
AS_UNIT = ["chrt", "--rr", "--reset-on-fork", "10"]
_CLONE_NEWNET = 0x40000000


def clock():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


PATIENCE = 10  # a busy machine may take this many times as long; no test measures how long


def wait_until(condition, seconds, what="condition"):
    """Return the condition's first true answer; AssertionError when it is long overdue."""
    end = clock() + seconds * PATIENCE
    while clock() < end:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.01)
    raise AssertionError(f"waited {seconds * PATIENCE} s for: {what}")


class Daemon:
    """One VM's heartbeatd."""

    def __init__(self, net, name, config):
        self.net, self.name, self.config = net, name, config
        self.folder = Path(config["paths"]["view"]).parent
        self.process = None
        self.configure()

    def configure(self, **changes):
        self.config |= changes
        self.path = self.folder / "heartbeat.json.conf"
        self.path.touch(mode=0o600)
        self.path.write_text(json.dumps(self.config))

    def start(self, **environment):
        with open(self.folder / "stderr", "ab") as errors:
            self.process = subprocess.Popen(
                self.net.inside(self.name, *AS_UNIT, sys.executable, "-EsS",
                                self.net.code / "heartbeatd.py", self.path),
                stderr=errors, env=dict(os.environ, **environment),
            )  # fmt: skip
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def view(self):
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.folder / "view.json").read_text())

    def state(self, peer, link=None):
        view = self.view()
        peer = view and view["peers"][peer]
        return peer and (peer["links"][link] if link else peer)["state"]

    def changed(self, peer):
        """Return when (clock()) the peer's present state began."""
        view = self.view()
        return view["at"] - view["peers"][peer]["for"]

    def stderr(self):
        return (self.folder / "stderr").read_text()

    def cpu(self):
        """Return the processor seconds of the daemon so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Net:
    """Namespaces a, b, c on the networks one (10.9.1.0/24) and two (10.9.2.0/24)."""

    def __init__(self, folder, names="abc"):
        self.folder, self.names = folder, names
        self.code = folder / "code"
        shutil.copytree(FILES, self.code)
        shutil.copy(ROOT / "_utils/heartbeat.py", self.code)
        self.prefix = f"hb{os.getpid()}"
        self.daemons = {}
        self.switch = f"{self.prefix}s"

    def __enter__(self):
        ip("netns", "add", self.switch)
        for net in NETS:
            ip("-n", self.switch, "link", "add", net, "type", "bridge")
            ip("-n", self.switch, "link", "set", net, "up")
        for number, name in enumerate(self.names, 1):
            ip("netns", "add", self.prefix + name)
            ip("-n", self.prefix + name, "link", "set", "lo", "up")
            for net, device in NETS.items():
                self.cable(name, net, device, number)
        return self

    def cable(self, name, net, device, number):
        ip("-n", self.switch, "link", "add", name + net, "type", "veth",
           "peer", "name", device, "netns", self.prefix + name)
        ip("-n", self.switch, "link", "set", name + net, "master", net, "up")
        ip("-n", self.prefix + name, "link", "set", device, "up")
        ip("-n", self.prefix + name, "address", "add", f"{address(net, number)}/24", "dev", device)

    def __exit__(self, *_):
        for daemon in self.daemons.values():
            daemon.kill()
        for name in (*self.names, "s"):
            ip("netns", "delete", self.prefix + name)

    def inside(self, name, *argv):
        return ["ip", "netns", "exec", self.prefix + name, *map(str, argv)]

    def drop(self, name, fraction, device):
        """
        Let ``name`` lose a fraction (0 to 1) of what arrives on the device from now on.

        Counted, not drawn: drawn at 30 %, one run in a hundred would lose a whole deadtime.
        """
        share = f"numgen inc mod 10 < {round(fraction * 10)}"
        self.filter(name, f"iifname {device} {share} drop")

    def filter(self, name, rule):
        """Give ``name`` one more rule for what arrives."""
        rules = f"table inet t {{\nchain in {{\ntype filter hook input priority 0\n{rule}\n}}\n}}"
        subprocess.run(self.inside(name, "nft", "-f", "-"), input=rules, text=True, check=True)

    def cut(self, name, net, up=False):
        """Pull the cable (or put it back): the device stays up, as a switch that died."""
        where = ["master", net] if up else ["nomaster"]
        ip("-n", self.switch, "link", "set", name + net, *where)

    def daemon(self, name, timing=QUICK, nets=tuple(NETS), **more):
        """Return the daemon of ``name``, configured and not yet started."""
        folder = self.folder / name
        folder.mkdir()
        number = self.names.index(name) + 1
        links = {
            net: {
                "kind": "udp", "interface": NETS[net], "address": address(net, number), "port": 694,
                "peers": {other: address(net, index) for index, other in enumerate(self.names, 1)
                          if other != name},
            }
            for net in nets
        }  # fmt: skip
        paths = {
            "view": "view.json", "held": "held", "health": "health", "claims": "claims",
            "incarnation": "incarnation", "step_down": "step-down", "log": "log",
        }  # fmt: skip
        config = {
            "name": name, "cluster": "moodle", "key": KEY, "timing": timing, "links": links,
            "paths": {key: str(folder / path) for key, path in paths.items()}, **more,
        }  # fmt: skip
        for path in ("held", "health", "claims"):
            (folder / path).mkdir()
        self.daemons[name] = Daemon(self, name, config)
        return self.daemons[name]

    def running(self, timing=QUICK, **more):
        """Start all and return them once every one hears every other on every network."""
        for name in self.names:
            self.daemon(name, timing, **more).start()
        wait_until(self.all_up, 8, "all daemons hear each other")
        return self.daemons

    def all_up(self):
        return all(
            view and all(
                link["state"] == "up" for peer in view["peers"].values()
                for link in peer["links"].values()
            )
            for view in (daemon.view() for daemon in self.daemons.values())
        )  # fmt: skip

    def losses(self):
        """Return how often any daemon declared any peer dead."""
        return sum(peer["losses"] for daemon in self.daemons.values()
                   for peer in daemon.view()["peers"].values())


@contextlib.contextmanager
def entered(namespace):
    """Make this thread's new sockets belong to a named network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as old, open(f"/run/netns/{namespace}") as new:
        if libc.setns(new.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), namespace)
        try:
            yield
        finally:
            libc.setns(old.fileno(), _CLONE_NEWNET)


def packet(key, sender, receiver):
    """Return a heartbeat made with another key."""
    protocol = load("_utils/heartbeat.py")
    beat = protocol.Beat(sender, receiver, "one", 2**41, 1, 0, 1, {"files": [99, 2]}, {}, {})
    return protocol.encode(beat, key, protocol.identity("moodle"))


def address(net, number):
    return f"10.9.{list(NETS).index(net) + 1}.{number}"


def ip(*words):
    subprocess.run(["ip", *words], check=True, stdin=subprocess.DEVNULL)


PAUSE, RESUME = signal.SIGSTOP, signal.SIGCONT
