"""
The data under the `files` resource: who is Primary, when it may go on alone, and the mount.

DRBD suspends a Primary's writes when its peer is gone, and refuses to promote while it cannot see
the peer passive (`fencing resource-and-stonith`). Both are lifted here only, for as long as it
takes, and only by ``alone``: the revision of the swap in the record which permits it. So neither a
VM that was cut off nor one that thaws acknowledges a write that its successor lacks (I1, I2).
"""

import contextlib
import os
import subprocess
import time
from pathlib import Path

from salt.exceptions import CommandExecutionError

RESOURCE = "files"
DRBD = "r0"
DEVICE = "/dev/drbd0"
MOUNT = "/srv/files"
MOUNTS = "/proc/self/mountinfo"
VERDICT = "/run/cluster/verdict/files"  # read by the fence-peer handler
BEHIND = "/var/lib/cluster/files.behind"  # written by files_watch and by a handler of DRBD
PEER = 20  # seconds a founder waits for its peer, because with it no first sync is needed
GRANTED = 10  # seconds a permission lasts at most if whoever gave it was killed meanwhile
PASSIVE = 10  # seconds a predecessor gets to give up; as long as its command is valid
LETTING_GO = 5  # seconds; the kernel drops what NFS or udev had open a moment after they ended
TIMEOUT = 20  # seconds; of a mount with a long journal. More than a takeover may ever last.
WWW_DATA = 33  # fixed by Debian's base-passwd on every VM
DIRECTORIES = (
    ("moodledata", 0o770, WWW_DATA),
    ("nfs", 0o700, 0),
    ("nfs/nfsdcld", 0o700, 0),
    ("nfs/v4recovery", 0o700, 0),
)


def __virtual__():
    return "files_data"


def _run(*command):
    """Run a command that may hang for ever in the kernel: then it is left behind, unwaited for."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        told, _ = process.communicate(timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as err:  # not killed: it could not die
        raise CommandExecutionError(f"{' '.join(command)}: {err}") from err
    if process.returncode:
        raise CommandExecutionError(f"{' '.join(command)}: {told.strip()}")


def primary(epoch, deadline, alone=None, lose_writes=False):
    """
    Become Primary, or release the suspended writes of the Primary that this VM is; repeatable.

    With ``alone`` (a revision of the record, see the claim) a peer that does not answer is left
    first; without it, it must be connected and passive. With ``lose_writes`` as well, data that is
    whole but behind is declared good. Raises CommandExecutionError.

    CLI Example::

        salt file2 files_data.primary 4 1767225600 1042
    """
    now = up()
    if now["role"] == "Primary":
        if alone is not None and now["suspended"] != "no":
            _release(now, epoch, alone)
    elif now["disk"] == "Inconsistent" and __salt__["drbd.fresh"](DRBD):
        _found(epoch, deadline, alone)
    elif alone is None:
        _promote_mirrored(now)
    else:
        _promote_alone(now, epoch, alone, lose_writes)


def refuse_new(epoch):
    """
    Raise if the disk is a new one, and not at the founding: it holds nothing, or some old copy.

    CLI Example::

        salt file2 files_data.refuse_new 4
    """
    if __salt__["drbd.unproven"](DRBD) and not _founding(epoch):
        raise CommandExecutionError(
            "this disk is new, and was not the mirror of any that served: what it has may be old"
        )


def await_passive(deadline):
    """
    Wait until the peer is Secondary, or neither DRBD nor the heartbeat hears it; ten seconds at
    most, and not past ``deadline``.

    Raises CommandExecutionError if it is Primary still.

    CLI Example::

        salt file2 files_data.await_passive 1767225600
    """
    ends = min(deadline, time.time() + PASSIVE)
    while True:
        now = up()
        connected = now["connection"] == "Connected"
        if connected and now["peer_role"] == "Secondary":
            return
        over = time.time() > ends
        if over and connected:
            raise CommandExecutionError("the peer is still Primary")
        peer = __utils__["topology.peer"](__pillar__["cluster"], __grains__["id"])["name"]
        if over or (not connected and __salt__["heartbeat.unreachable"](peer)):
            return
        time.sleep(0.05)  # between two looks at a named condition with a deadline


def up():
    """
    Attach and connect the resource unless it is up; return what it is doing (drbd.status).

    CLI Example::

        salt file2 files_data.up
    """
    now = __salt__["drbd.status"](DRBD)
    if not now["configured"]:
        __salt__["drbd.up"](DRBD)
        now = __salt__["drbd.status"](DRBD)
    return now


def _promote_mirrored(now):
    if now["peer_role"] == "Primary":
        raise CommandExecutionError("the peer is still Primary")
    if now["disk"] != "UpToDate":
        raise CommandExecutionError(f"the data here is {now['disk']}, not UpToDate")
    if now["connection"] != "Connected":
        raise CommandExecutionError(
            f"the peer does not answer ({now['connection']}), and nothing permits to go on alone"
        )
    __salt__["drbd.promote"](DRBD)


def _promote_alone(now, epoch, alone, lose_writes):
    # Consistent: complete when it was written last, and nobody is there to ask whether it still
    # is. The record answers that: a standby is promoted only while it is known as the mirror.
    # Outdated: complete, and known to be behind. Inconsistent, half of a resynchronisation was
    # written over it: no file system that could be mounted.
    if now["disk"] not in ("UpToDate", "Consistent", *(["Outdated"] if lose_writes else [])):
        raise CommandExecutionError(f"the data here is {now['disk']}, not UpToDate")
    passive = (now["connection"], now["peer_role"]) == ("Connected", "Secondary")
    if not passive and not lose_writes and os.path.exists(BEHIND):
        raise CommandExecutionError(f"the disk here was left out and is behind (see {BEHIND})")
    if not passive and now["connection"] != "StandAlone":
        # By force: otherwise this side asks the peer, and is declared outdated if that is alive.
        __salt__["drbd.disconnect"](DRBD, force=True)
    with permitted(epoch, alone):
        __salt__["drbd.promote"](DRBD, force=now["disk"] == "Outdated")


def behind_note():
    """
    Return the path of the note which says that this disk is behind; it is there or not.

    CLI Example::

        salt file2 files_data.behind_note
    """
    return BEHIND


def listen():
    """
    Wait for the peer's return, as a Primary that has left it or was refused by it.

    Nothing is discarded by that: a Primary is never the target of a resynchronisation.

    CLI Example::

        salt file2 files_data.listen
    """
    now = __salt__["drbd.status"](DRBD)
    if now["configured"] and (now["role"], now["connection"]) == ("Primary", "StandAlone"):
        __salt__["drbd.connect"](DRBD)


def _release(now, epoch, alone):
    if now["disk"] != "UpToDate":  # resumed without any data, they would fail
        raise CommandExecutionError(f"writes wait for the peer: the disk here is {now['disk']}")
    with permitted(epoch, alone):
        __salt__["drbd.resume"](DRBD)
    now = __salt__["drbd.status"](DRBD)
    if now["suspended"] != "no":
        raise CommandExecutionError(f"writes are still suspended ({now['suspended']})")


@contextlib.contextmanager
def permitted(epoch, alone):
    """
    Have DRBD's fence-peer handler say that the peer is out, meanwhile.

    A context manager, for modules only. epoch, alone: on whose word. The file holds the second
    since boot up to which it counts: if this process is killed, it ends by itself.

    CLI Example::

        with __salt__["files_data.permitted"](4, 1042): ...
    """
    until = time.clock_gettime(time.CLOCK_BOOTTIME) + GRANTED
    os.makedirs(os.path.dirname(VERDICT), mode=0o700, exist_ok=True)
    with open(f"{VERDICT}.new", "w", encoding="ascii") as file:
        file.write(f"{int(until)} epoch {epoch} revision {alone}\n")
    os.replace(f"{VERDICT}.new", VERDICT)
    try:
        yield
    finally:
        os.unlink(VERDICT)


def void():
    """
    End what a command that was killed in the middle still permits, see `permitted`.

    CLI Example::

        salt file1 files_data.void
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(VERDICT)


def _found(epoch, deadline, alone):
    """Make a blank disk the good one: together with a blank peer, or alone if none comes."""
    if not _founding(epoch):
        raise CommandExecutionError(
            f"this disk is blank, and epoch {epoch} is not being founded: the data is elsewhere"
        )
    until = min(deadline - 1, time.time() + PEER)
    while not (together := __salt__["drbd.status"](DRBD)["connection"] == "Connected"):
        if time.time() > until:
            break
        time.sleep(0.2)  # between two looks at a named condition with a deadline
    if together:
        __salt__["drbd.skip_first_sync"](DRBD)
        __salt__["drbd.promote"](DRBD)
        return
    with permitted(epoch, alone):
        __salt__["drbd.promote"](DRBD, force=True)


def _founding(epoch):
    """Return whether the record says that this VM founds ``epoch``; raises if nobody can tell."""
    record = __salt__["arbiter.read"](RESOURCE)
    return __utils__["record.founds"](record, __grains__["id"], epoch)


def mount(epoch):
    """
    Mount the data, with the directories that are served; a file system is made at the founding.

    CLI Example::

        salt file1 files_data.mount 3
    """
    if not mounted():
        try:
            _run("mount", "-t", "ext4", "-o", "noatime", DEVICE, MOUNT)
        except CommandExecutionError:
            if not _founding(epoch):
                raise
            _format()
            _run("mount", "-t", "ext4", "-o", "noatime", DEVICE, MOUNT)
    for name, mode, owner in DIRECTORIES:
        path = os.path.join(MOUNT, name)
        if not os.path.isdir(path):
            os.mkdir(path)
            os.chown(path, owner, owner)
            os.chmod(path, mode)


def _format():
    answer = __salt__["blockdevice.blank"](DEVICE)
    if answer["blank"] is not True:
        raise CommandExecutionError(f"no file system is made: {answer['reason']}")
    _run("mkfs.ext4", "-q", "-L", RESOURCE, "-E", "lazy_itable_init=1,nodiscard", DEVICE)


def unmount():
    """
    Unmount the data if it is mounted.

    CLI Example::

        salt file1 files_data.unmount
    """
    if mounted():
        _let_go(lambda: _run("umount", MOUNT))


def secondary():
    """
    Become Secondary unless this VM is.

    CLI Example::

        salt file1 files_data.secondary
    """
    now = __salt__["drbd.status"](DRBD)
    if now["configured"] and now["role"] == "Primary":
        try:
            _let_go(lambda: __salt__["drbd.demote"](DRBD))
        except CommandExecutionError as err:
            holding = ", ".join(_holding()) or "no process, so the kernel itself"
            raise CommandExecutionError(f"{err}; {DEVICE} is held by: {holding}") from err


def _holding():
    """Return the processes that have the device open, or mounted in whatever namespace."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            mounts = DEVICE in _text(process / "mountinfo").split()
            if mounts or any(_target(link) == DEVICE for link in (process / "fd").iterdir()):
                name = _text(process / "comm").strip()
                found.add(f"{name} ({process.name}{', mounted' if mounts else ''})")
    return sorted(found)


def _text(path):
    return path.read_text(encoding="utf-8", errors="replace")


def _target(link):
    with contextlib.suppress(OSError):  # it was closed meanwhile
        return os.readlink(link)


def _let_go(step):
    """Try ``step`` again until it succeeds; raise its error after LETTING_GO seconds."""
    until = time.monotonic() + LETTING_GO
    while True:
        try:
            return step()
        except CommandExecutionError:
            if time.monotonic() > until:
                raise
        time.sleep(0.05)  # between two looks at a named condition with a deadline


def mounted():
    """
    Return whether DRBD's device is mounted; raises if something else is in its place.

    CLI Example::

        salt file1 files_data.mounted
    """
    with open(MOUNTS, encoding="utf-8") as file:
        fields = [line.split() for line in file]
    sources = [entry[entry.index("-") + 2] for entry in fields if entry[4] == MOUNT]
    if any(source != DEVICE for source in sources):
        raise CommandExecutionError(f"{MOUNT} is a mount of {', '.join(sources)}, not of {DEVICE}")
    return bool(sources)


def blank():
    """
    Return True if this side never held data, False if it did, None if it cannot be told.

    CLI Example::

        salt file1 files_data.blank
    """
    try:
        if __salt__["drbd.status"](DRBD)["configured"]:
            return __salt__["drbd.fresh"](DRBD)
        if __salt__["drbd.metadata"](DRBD) is False:
            return __salt__["blockdevice.blank"](__salt__["drbd.device"](DRBD))["blank"]
        return __salt__["drbd.generation"](DRBD)["fresh"]
    except CommandExecutionError:
        return None
