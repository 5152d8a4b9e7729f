"""The lab's power switches (lab/fence.py): start them, say how they behave, read what they did."""

import json
import subprocess
import sys

from lab import tree as trees
from lab.process import Processes

AGENT = "/usr/sbin/fence_lab"  # in the VMs
PORT = 6230
MODES = ("honest", "idle", "lie", "hang", "refuse",
         "idle:vms", "lie:vms", "hang:vms", "refuse:vms")


class Fence:
    """The process of lab/fence.py: power switches, and how they behave."""

    def __init__(self, lab):
        self._lab, self.folder = lab, lab.run_folder / "fence"
        self.processes = Processes(self.folder / "process.json")

    @property
    def address(self):
        """Where a fence agent finds the device."""
        return str(self._lab.network.plan.management[1])

    def up(self):
        """Start the device, if it does not run."""
        if self.processes.pid:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        child = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self._lab.network.name}", sys.executable, "-m",
             "lab.fence", self._lab.root, self._lab.name, self.address, str(PORT)],
            start_new_session=True, cwd=self._lab.root, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=(self.folder / "errors.log").open("ab"),
        )
        self.processes.remember(child.pid)

    @property
    def mode(self):
        """How the device behaves."""
        path = self.folder / "mode"
        return path.read_text() if path.exists() else MODES[0]

    @mode.setter
    def mode(self, mode):
        trees.write(self.folder / "mode", mode)

    def requests(self):
        """Return what was asked of the device: [{"time", "action", "plug", "mode"}]."""
        path = self.folder / "requests.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
