"""A VM's processes on the host: one main process and its session, found again by any later call."""

import contextlib
import json
import os
import signal
from pathlib import Path

SESSION, STATE, STARTED = 3, 0, 19  # fields of /proc/PID/stat behind the command's name


def fields(pid, proc="/proc"):
    """Return the fields of /proc/PID/stat behind the command's name, [] when it is gone."""
    try:
        text = Path(proc, str(pid), "stat").read_text(errors="replace")
    except OSError:
        return []
    return text[text.rindex(")") + 2:].split()


def session(leader, proc="/proc"):
    """Return the pids of what lives in the session that `leader` began, the leader first."""
    found = []
    for pid in (int(name) for name in os.listdir(proc) if name.isdigit()):
        seen = fields(pid, proc)
        if seen and seen[SESSION] == str(leader) and seen[STATE] not in "ZX":
            found.append(pid)
    return sorted(found, key=lambda pid: pid != leader)


class Processes:
    """What `remember` wrote down about a session leader; a number used again is not mistaken."""

    def __init__(self, path):
        self.path = Path(path)

    def remember(self, pid):
        """Write down the leader of a session."""
        self.path.write_text(json.dumps({"pid": pid, "started": fields(pid)[STARTED]}))

    @property
    def pid(self):
        """The leader's pid while it lives, else None."""
        try:
            known = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return None
        with contextlib.suppress(ChildProcessError):
            os.waitpid(known["pid"], os.WNOHANG)  # a child of ours that ended would stay a zombie
        now = fields(known["pid"])
        alive = now and now[STATE] not in "ZX" and now[STARTED] == known["started"]
        return known["pid"] if alive else None

    @property
    def stopped(self):
        """Whether the leader lives but is paused."""
        pid = self.pid
        return bool(pid) and fields(pid)[STATE] in "Tt"

    def signal(self, number):
        """Send a signal to the leader and then to everything in its session."""
        pid = self.pid
        for each in session(pid) if pid else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)

    def kill(self):
        """End all of it at once, as a power cut would."""
        self.signal(signal.SIGKILL)

    @property
    def memory(self):
        """Bytes of the host's memory that the session holds (its proportional share)."""
        pid = self.pid
        return sum(_pss(each) for each in session(pid)) if pid else 0


def _pss(pid):
    try:
        text = Path("/proc", str(pid), "smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
