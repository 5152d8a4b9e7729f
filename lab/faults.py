"""What can be done to a running lab; the watch hears of it first, and every event is kept."""

import contextlib
import subprocess
import sys
import threading
import time

from lab.watch import GRACE

# Gratuitous ARP, as a host that was given somebody else's address sends it when it comes up.
ANNOUNCE = """
import socket, struct, sys, time
card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
card.bind(("eth1", 0x0806))
mac, address = card.getsockname()[4], socket.inet_aton(sys.argv[1])
for _ in range(3):
    card.send(b"\\xff" * 6 + mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
              + mac + address + b"\\0" * 6 + address)
    time.sleep(0.2)
"""


class Faults:
    """The verbs of an ordeal. Targets are VMs, servers, and links as `bin/lab cut` takes them."""

    def __init__(self, lab, watch):
        self.lab, self.watch, self.events = lab, watch, []

    def _names(self, target):
        owner = target.partition(":")[0]
        servers = self.lab.servers
        return [m.name for m in servers[owner].machines] if owner in servers else [owner]

    def _note(self, verb, target):
        self.events.append({"time": time.monotonic(), "at": time.time(), "verb": verb,
                            "target": target})
        print(f"{time.strftime('%T')} {verb} {target}", flush=True)

    def crash(self, target):
        """Cut the power."""
        self._note("crash", target)
        self.lab.crash(target)

    def start(self, target):
        """Switch on."""
        self._note("start", target)
        self.lab.start(target)

    def replace_disk(self, vm):
        """A VM that is off gets a new data disk."""
        self._note("replace the disk of", vm)
        self.lab[vm].replace_disk()

    def pause(self, target):
        """Freeze; the frozen cannot know better until it thaws."""
        self.watch.excuse(self._names(target))
        self._note("pause", target)
        self.lab.pause(target)

    def resume(self, target):
        """Thaw."""
        self._note("resume", target)
        self.watch.excuse(self._names(target), GRACE)
        self.lab.resume(target)

    def cut(self, target, way=None):
        """Pull cables; `way` in or out pulls half."""
        self.watch.excuse(self._names(target))
        self._note("cut" + (f" {way}" if way else ""), target)
        self.lab.cut(target, way)

    def lose(self, target, percent):
        """Lose some of what the links carry."""
        self._note(f"lose {percent} %", target)
        self.lab.lose(target, percent)

    def heal(self, target):
        """Plug cables in again."""
        self._note("heal", target)
        self.lab.heal(target)
        self.watch.excuse(self._names(target), GRACE)

    def run_in(self, vm, script, timeout=60):
        """Run a shell script in a VM as the fault itself. Raises CommandFailed."""
        self._note("run", f"{vm}: {script}")
        self.lab[vm].succeed("sh", "-c", script, timeout=timeout)

    def end(self, vm, how):
        """Have a VM go down by a command of its own, which nobody can answer for."""
        self._note("run", f"{vm}: {how}")
        self.lab[vm].run(["sh", "-c", f"({how}) >/dev/null 2>&1 &"])

    def signal(self, vm, service, name):
        """Send a signal to all processes of a service, which may be a pattern like php*-fpm."""
        self.run_in(vm, f"systemctl kill -s {name} '{service}.service'")

    def ha(self, *words, timeout=120):
        """Run `salt-run ha.…` on the first master that answers; return its CompletedProcess."""
        self._note("ha", " ".join(words))
        argv = ["/opt/salt/bin/salt-run", "--out=json", f"ha.{words[0]}", *words[1:]]
        return self.lab.master().run(argv, timeout=timeout)

    @contextlib.contextmanager
    def meanwhile(self, *words):
        """Run `salt-run ha.…` while the body runs; whatever becomes of it."""
        def run():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.ha(*words, timeout=300)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def forge(self, target, per_second, seconds):
        """Send heartbeats to a VM in the name of its peer that nobody signed; return how many."""
        topology, cluster = self.lab.topology, self.lab.cluster
        peer = topology.peer(cluster, target)["name"]
        addresses = [topology.internal(cluster, name) for name in (peer, target)]
        self._note("forge", target)
        with self.lab.network.visitor() as namespace:
            argv = [sys.executable, self.lab.root / "lab/forge.py", *addresses,
                    cluster["heartbeat"]["port"], per_second, seconds]
            return int(self.lab.network.inside([str(word) for word in argv], namespace))

    @contextlib.contextmanager
    def foreigner(self, address):
        """Let a host that is none of the cluster's have an address on the public network."""
        where = self.lab.network.plan.outside[0], address
        self._note("foreigner", address)
        with self.lab.network.visitor(where) as namespace:
            self.lab.network.inside(
                [sys.executable, "-c", ANNOUNCE, address.partition("/")[0]], namespace)
            yield
        self._note("foreigner gone", address)
