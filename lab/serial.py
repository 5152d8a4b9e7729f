"""Serial lines between the two VMs of each pair: null-modem cables, and how to pull them."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from lab.errors import LabError
from lab.process import Processes
from lab.relay import Relay

INTERFACE = "serial"  # what a line is called behind the name of a VM or server


class Serial:
    """The lines of one lab; `pairs` of VMs, `servers` {server: [VM, ...]}."""

    def __init__(self, folder, pairs, servers):
        self.folder, self.pairs, self.servers = Path(folder), pairs, servers
        self.processes, self._lock = Processes(self.folder / "relay.json"), threading.Lock()

    @property
    def vms(self):
        """The VMs that have a line."""
        return [name for pair in self.pairs for name in pair]

    def up(self):
        """Make the pipes and start the relay, if it does not run."""
        with self._lock:  # machines are started by many threads, and one relay is enough
            if self.pairs and not self.processes.pid:
                self._start()

    def _start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        Relay(self.folder, self.pairs)
        child = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("relay.py"), self.folder,
             *(":".join(pair) for pair in self.pairs)],
            start_new_session=True, cwd="/", stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.processes.remember(child.pid)

    def down(self):
        """End the relay."""
        self.processes.kill()

    def drain(self, name):
        """Drop what waits on the line of a VM that is switched on: it was meant for its past."""
        with contextlib.suppress(OSError):
            pipe = os.open(self.folder / f"{name}.in", os.O_RDWR | os.O_NONBLOCK)
            try:
                while os.read(pipe, 65536):
                    pass
            finally:
                os.close(pipe)

    def lines(self, target):
        """Return the VMs whose lines `target` (VM, server, either with :serial) names, or []."""
        owner, _, interface = target.partition(":")
        if interface not in ("", INTERFACE):
            return []
        found = [name for name in self.servers.get(owner, [owner]) if name in self.vms]
        if interface and not found:
            raise LabError(f"no serial line at {owner!r}; there are lines at {', '.join(self.vms)}")
        return found

    def cut(self, target, way=None):
        """Cut lines; `way` out or in stops only what the VM sends or receives."""
        for name in self.lines(target):
            for each in [way] if way else ("in", "out"):
                (self.folder / f"{name}.cut-{each}").touch()

    def heal(self, target):
        """Undo every cut of the lines that `target` names."""
        for name in self.lines(target):
            for way in ("in", "out"):
                (self.folder / f"{name}.cut-{way}").unlink(missing_ok=True)

    def cuts(self):
        """Return what is cut now, as the targets that `heal` takes."""
        return [f"{name}:{INTERFACE}" for name in self.vms
                if any(self.folder.glob(f"{name}.cut-*"))]
