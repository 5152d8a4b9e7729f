"""A VM's processes on the host: one that leads and its family, found again by any later call."""

import contextlib
import json
import os
import signal
from pathlib import Path

STATE, PARENT, SESSION, STARTED = 0, 1, 3, 19  # fields of /proc/PID/stat behind the command's name


def fields(pid, proc="/proc"):
    """Return the fields of /proc/PID/stat behind the command's name, [] when it is gone."""
    try:
        text = Path(proc, str(pid), "stat").read_text(errors="replace")
    except OSError:
        return []
    return text[text.rindex(")") + 2:].split()


def family(leader, proc="/proc"):
    """
    Return the pids of what lives in the session of `leader` or of a child of it, itself first.

    A User-Mode Linux that leads no session begins one of its own.
    """
    seen = {int(name): fields(name, proc) for name in os.listdir(proc) if name.isdigit()}
    leaders = {str(leader)} | {str(pid) for pid, each in seen.items()
                               if each and each[PARENT] == str(leader)}
    found = [pid for pid, each in seen.items()
             if each and each[SESSION] in leaders and each[STATE] not in "ZX"]
    return sorted(found, key=lambda pid: pid != leader)


class Processes:
    """What `remember` wrote down about a session leader; a number used again is not mistaken."""

    def __init__(self, path):
        self.path, self._ended = Path(path), []

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
        """Send a signal to the leader and then to all of its family."""
        pid = self.pid
        for each in family(pid) if pid else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)

    def kill(self):
        """End all of it at once, as a power cut would."""
        pid = self.pid
        if not pid:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)  # a leader that stands still begins nothing new
        self._ended = family(pid)
        for each in self._ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)

    @property
    def ending(self):
        """Whether something that `kill` ended is still there, with its taps and its memory."""
        return any(seen and seen[STATE] not in "ZX" for seen in map(fields, self._ended))

    @property
    def memory(self):
        """Bytes of the host's memory that the family holds (its proportional share)."""
        pid = self.pid
        return sum(_pss(each) for each in family(pid)) if pid else 0


def _pss(pid):
    try:
        text = Path("/proc", str(pid), "smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
