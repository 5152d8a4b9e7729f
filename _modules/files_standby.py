"""
The standby of the `files` resource: joins the holder, and saves what it would lose by that.

Normally DRBD copies what is missing over by itself; writes of a Primary that crashed or was
suspended were acknowledged to nobody. A split brain is different: both sides were written to by
somebody's order. Then every file that changed here since the two were last the same is copied
aside first, and named, with the data generations and the time, in a report.
"""

import contextlib
import glob
import json
import logging
import os
import shutil
import time

import salt.utils.files
from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

RESOURCE = "files"
DRBD = "r0"
DEVICE = "/dev/drbd0"
SAVED = "/var/lib/cluster/saved"
LOOK = "/run/cluster/saved"  # where the data is mounted meanwhile; never where it is served
SINCE = "/var/lib/cluster/files.mirrored"  # its time stamp: when both sides were last the same
MARGIN = 120  # seconds; errs towards saving files that did not change
ROOM = 0.1  # of the file system stays free


def __virtual__():
    return "files_standby"


def _run(*command):
    return __utils__["command.output"](command, timeout=60)


def join(source, epoch, deadline):
    """
    Connect to the VM ``source`` and return what was saved before: None or the report.

    epoch: the record's epoch; deadline: unix seconds. Raises CommandExecutionError if the other
    side does not answer by then; repeating it goes on.

    CLI Example::

        salt file2 files_standby.join file1 4 1767225600
    """
    report = None
    now = __salt__["files_data.up"]()
    while now["connection"] != "Connected":
        if now["connection"] == "StandAlone":
            if now["split_brain"]:
                report = save(source, epoch)
            __salt__["drbd.connect"](DRBD, discard_my_data=bool(now["split_brain"]))
        # Gone, it is awaited no longer: this VM may be about to take over from it.
        if time.time() > deadline or __salt__["heartbeat.unreachable"](source):
            told = f", saved: {report['directory']}" if report else ""
            raise CommandExecutionError(f"{source} does not answer: {now['reason']}{told}")
        time.sleep(0.1)  # between two looks at a named condition with a deadline
        now = __salt__["drbd.status"](DRBD)
    return report


def save(source, epoch):
    """
    Copy every file that changed on this side since both were the same; return the report.

    Nothing is served meanwhile. What is saved already, by a command that came no further, is not
    saved again. Raises CommandExecutionError if there is not room enough, or no data to read: then
    nothing may be dropped.

    CLI Example::

        salt file2 files_standby.save file1 4
    """
    now = __salt__["drbd.generation"](DRBD)
    if before := _saved(now):
        return before
    begun = time.gmtime()
    since = _since()
    directory = os.path.join(SAVED, f"{RESOURCE}-{time.strftime('%Y%m%dT%H%M%SZ', begun)}")
    report = {
        "directory": directory,
        "reason": f"split brain: {source} holds epoch {epoch}, and this side was written to, too",
        "since": _words(time.gmtime(since)) if since else "always: it is not known since when",
        "saved": _words(begun),
        "generation": now,
    }
    half = f"{directory}.incomplete"
    for left in glob.glob(f"{glob.escape(SAVED)}/{RESOURCE}-*.incomplete"):
        shutil.rmtree(left, ignore_errors=True)  # of a save that was killed: it takes the room
    try:
        with _mounted(epoch):
            found = list(_changed(LOOK, since))
            _room(sum(size for _, size in found), half)
            for path, _ in found:
                _copy(path, half)
            report |= {"files": len(found), "bytes": sum(size for _, size in found)}
        report["left"] = __salt__["drbd.generation"](DRBD)  # the journal's recovery made it another
        _write(half, report, [os.path.relpath(path, LOOK) for path, _ in found])
    except BaseException:  # half of it, again and again, would fill the disk
        shutil.rmtree(half, ignore_errors=True)
        raise
    os.rename(half, directory)
    log.warning("%s: %s files saved in %s: %s", RESOURCE, len(found), directory, report["reason"])
    return report


def _saved(generation):
    """Return the report of what is saved here already of the data as it is now, or None."""
    for directory in saved():
        with contextlib.suppress(OSError, ValueError):  # half of one
            with salt.utils.files.fopen(os.path.join(directory, "report.json")) as file:
                report = json.load(file)
            if report.get("left") == generation:
                report.pop("names", None)
                return report
    return None


def saved():
    """
    Return the directories with what was saved here, the oldest first.

    CLI Example::

        salt 'file*' files_standby.saved
    """
    if not os.path.isdir(SAVED):
        return []
    names = sorted(name for name in os.listdir(SAVED) if name.startswith(f"{RESOURCE}-"))
    return [os.path.join(SAVED, name) for name in names if not name.endswith(".incomplete")]


def let_go():
    """
    Unmount what was being looked at when a `join` was broken off; True if there was anything.

    CLI Example::

        salt file2 files_standby.let_go
    """
    if not os.path.ismount(LOOK):
        return False
    _run("umount", LOOK)
    return True


def _words(moment):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", moment)


def _since():
    """Return the Unix second from which on the two sides may differ, 0 if nobody knows."""
    try:
        return max(0, os.stat(SINCE).st_mtime - MARGIN)
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def _mounted(epoch):
    """
    Show this side's data read-only below LOOK.

    Through DRBD, which notes the blocks that the journal's recovery writes: past it, they would
    stay different for ever. So this side is Primary for that long, without anybody to serve.
    """
    os.makedirs(LOOK, mode=0o700, exist_ok=True)
    with __salt__["files_data.permitted"](epoch, "none: this side is only looked at"):
        __salt__["drbd.promote"](DRBD)
    try:
        _run("mount", "-t", "ext4", "-o", "ro", DEVICE, LOOK)
        try:
            yield
        finally:
            _run("umount", LOOK)
    finally:
        __salt__["drbd.demote"](DRBD)


def _changed(top, since):
    """Yield (path, bytes) of every file whose content or attributes changed since ``since``."""
    for folder, _, names in os.walk(top, onerror=_unreadable):
        for name in names:
            path = os.path.join(folder, name)
            facts = os.lstat(path)
            if facts.st_ctime >= since:
                yield path, facts.st_size


def _unreadable(error):
    raise CommandExecutionError(f"{error}: what is in it cannot be saved, and nothing is dropped")


def _room(needed, directory):
    os.makedirs(directory, mode=0o700)
    disk = shutil.disk_usage(directory)
    if needed > disk.free - ROOM * disk.total:
        os.rmdir(directory)
        raise CommandExecutionError(
            f"{needed} bytes changed on this side and {disk.free} are free in {SAVED}: nothing is"
            " dropped; mount a larger disk there, and follow again"
        )


def _copy(path, directory):
    target = os.path.join(directory, "data", os.path.relpath(path, LOOK))
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    shutil.copy2(path, target, follow_symlinks=False)
    if not os.path.islink(target):
        facts = os.lstat(path)
        os.chown(target, facts.st_uid, facts.st_gid)


def _write(directory, report, names):
    """Keep the report beside the data, on the disk before anything is dropped."""
    with open(os.path.join(directory, "report.json"), "w", encoding="utf-8") as file:
        json.dump({**report, "names": names}, file, indent=1)
    os.sync()
