"""What heartbeatd asks of the system: priority, memory, systemd, a log that never waits."""

import ctypes
import json
import os
import socket
import time

from heartbeat_view import AHEAD_INCARNATION

_MCL_CURRENT, _MCL_FUTURE = 1, 2
PRIORITY = 10  # of 1 to 99, above every ordinary process, below the kernel's own threads
ERROR, WARNING, INFO = 3, 4, 6
_DAEMON = 3 << 3


def privileged():
    """Take real-time priority, lock the memory, be the OOM killer's last; return what failed."""
    failed = []
    for what, action in (("priority", _realtime), ("memory", _lock), ("oom_score_adj", _spare)):
        try:
            action()
        except OSError as error:
            failed.append(f"{what}: {error}")
    return failed


def _realtime():
    policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
    os.sched_setscheduler(0, policy, os.sched_param(PRIORITY))


def _lock():
    # All of it, now and later: a page of code that has to come from a stalled disk is a stall.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _spare():
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("-1000")


def ordinary():
    """Undo what a child process inherits of the above."""
    for action in (_unhurried, _unspared):
        try:
            action()
        except OSError:
            pass  # it was not privileged in the first place


def _unhurried():
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _unspared():
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("0")


def clock():
    """Return seconds that never jump and also count a suspended VM's sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Datagrams:
    """A Unix datagram socket that drops what cannot be taken at once."""

    def __init__(self, address):
        self.address, self.dropped = address, 0
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)

    def send(self, data):
        if not self.address:
            return
        try:
            self.socket.sendto(data, self.address)
        except OSError:
            self.dropped += 1


class Systemd(Datagrams):
    """The notifications that Type=notify and WatchdogSec= expect."""

    def __init__(self):
        super().__init__(os.environ.get("NOTIFY_SOCKET", "").replace("@", "\0", 1))

    def say(self, text):
        self.send(text.encode())


class Log(Datagrams):
    """Syslog datagrams: one per key in ``every`` seconds, the rest counted and said later."""

    def __init__(self, address, every=5.0):
        super().__init__(address)
        self.every, self.last, self.held_back = every, {}, {}

    def say(self, level, key, text):
        now = clock()
        if now < self.last.get(key, 0) + self.every:
            self.held_back[key] = self.held_back.get(key, 0) + 1
            return
        self.last[key] = now
        more = self.held_back.pop(key, 0)
        text += f" ({more} more like this were not logged)" if more else ""
        self.send(f"<{_DAEMON | level}>heartbeatd[{os.getpid()}]: {text}".encode())


def publish(path, content):
    """Replace the file (in a tmpfs: this touches no disk) in one step; return whether it worked."""
    new = f"{path}.new"
    text = json.dumps(content)  # json.dump takes ten times as long: it writes piece by piece
    try:
        with open(new, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(new, path)
        return True
    except OSError:
        return False


def entries(directory):
    """Return stem -> content of the JSON objects in a folder; what is no such thing is left out."""
    found = {}
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return found
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix == ".json":
            try:
                with open(os.path.join(directory, name), encoding="utf-8") as file:
                    content = json.load(file)
                if isinstance(content, dict):
                    found[stem] = content
            except (OSError, ValueError):
                continue
    return found


def next_incarnation(path, wall):
    """
    Return (incarnation, problem or None): larger than at every start before, if the note survived.

    wall: milliseconds. A clock set back is no matter. Without the note (a new disk) the peers
    remember: see View.receive. A note far ahead is none: by it nobody would believe this VM again.
    """
    try:
        with open(path, encoding="ascii") as file:
            last = int(file.read())
    except (OSError, ValueError):
        last = 0
    if last > wall + AHEAD_INCARNATION:
        last = 0
    incarnation = max(last + 1, wall)
    return incarnation, remember(path, incarnation)


def remember(path, incarnation):
    """Keep the incarnation on disk; return the problem or None."""
    try:
        with open(f"{path}.new", "w", encoding="ascii") as file:
            file.write(str(incarnation))
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)
    except OSError as error:
        return f"the incarnation cannot be kept in {path}: {error}"
    return None
