"""
Carries the bytes of the lab's serial lines between VMs. Run as: python relay.py FOLDER A:B ...

FOLDER holds two pipes per VM, A.out and A.in as the VM sees them. A line is cut while FOLDER holds
A.cut-out or A.cut-in: then the bytes vanish, as they do on a cable that is pulled.
"""

import array
import contextlib
import fcntl
import os
import select
import sys
import termios
from pathlib import Path

BUFFER = 4096  # bytes, a pipe's least
# Bytes that wait for a VM at most. It finds little of the past on its line when it boots or thaws,
# and never enough at once to fill its terminal: User-Mode Linux reads no more from such a line.
WAITING = 1024


class Relay:
    """The lines of some pairs of VMs; the pipes are made when they are not there."""

    def __init__(self, folder, pairs):
        self.folder = Path(folder)
        self.peers = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
        # Open for both directions: the end of a VM is never the end of its line.
        self.outs = {self._open(f"{name}.out"): name for name in self.peers}
        self.ins = {name: self._open(f"{name}.in") for name in self.peers}

    def _open(self, name):
        path = self.folder / name
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, BUFFER)
        return pipe

    def is_cut(self, name):
        """Return whether what `name` sends arrives nowhere."""
        return (self.folder / f"{name}.cut-out").exists() \
            or (self.folder / f"{self.peers[name]}.cut-in").exists()

    def carry(self, seconds=None):
        """Bring what is waiting to its other ends; wait for something at most `seconds`."""
        readable, _, _ = select.select(list(self.outs), [], [], seconds)
        for pipe in readable:
            name = self.outs[pipe]
            with contextlib.suppress(BlockingIOError):  # nobody reads: a serial line forgets
                data, end = os.read(pipe, BUFFER), self.ins[self.peers[name]]
                if not self.is_cut(name) and _waiting(end) + len(data) <= WAITING:
                    os.write(end, data)


def _waiting(pipe):
    number = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, number)
    return number[0]


def main(folder, *pairs):
    """Carry for ever."""
    relay = Relay(folder, [tuple(pair.split(":")) for pair in pairs])
    while True:
        relay.carry()


if __name__ == "__main__":
    main(*sys.argv[1:])
