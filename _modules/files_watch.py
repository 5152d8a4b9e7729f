"""
What the minion of a file server looks at every second, for `_beacons/drbd.py`.

Says how this side is (`_utils/health.py`), remembers in /run what it has seen, notes when both
sides were the same, and has the holder listen for its standby. It decides nothing about roles.
"""

import contextlib
import json
import os
import time
from pathlib import Path

from salt.exceptions import CommandExecutionError

RESOURCE = "files"
DRBD = "r0"
MEMORY = "/run/cluster/drbd.beacon.json"
MIRRORED = "/var/lib/cluster/files.mirrored"  # its time stamp; see _modules/files_standby.py
NOTED = 30  # seconds between two time stamps; files_standby's margin is longer
LISTEN = 5  # seconds between two attempts to connect, so that two sides that refuse do not race
SEEN = ("role", "disk", "connection", "replication", "peer_disk", "suspended", "split_brain")


def __virtual__():
    return "files_watch"


def look():
    """
    Look once and say so; return changes ({name: [old, new]}), reason, health and the state.

    Raises CommandExecutionError if DRBD cannot be asked: then nothing is said, and what was said
    before becomes unknown by its age.

    CLI Example::

        salt file1 files_watch.look
    """
    now = __salt__["drbd.status"](DRBD)
    before = _read()
    clock = time.clock_gettime(time.CLOCK_BOOTTIME)
    serving = __salt__["claim.held"](RESOURCE) > 0
    after = {"frozen_since": _frozen_since(now, before, clock), "listened": before.get("listened")}
    if serving and _idle():
        after["faults"] = before.get("faults", 0) + 1 if _fault(now) else 0
        if now.get("connection") == "StandAlone" and now["role"] == "Primary":
            after["listened"] = _listen(before.get("listened"), clock)
    frozen_for = None if after["frozen_since"] is None else clock - after["frozen_since"]
    deadtime = __pillar__["cluster"]["heartbeat"]["deadtime"]
    behind = _behind(now) or _unproven(now)
    health = __utils__["drbd.health"](
        now, serving, frozen_for, after.get("faults"), deadtime, behind
    )
    for name, ok in health.items():
        __utils__["health.write"](f"{RESOURCE}.{name}", ok)
    after["helpless"] = health["service"] is False and __utils__["drbd.no_data"](now)
    if after["helpless"] != before.get("helpless", False):  # no restart brings a disk back
        __utils__["health.write"](f"{RESOURCE}.restarted", after["helpless"], lasting=True)
    after["seen"] = {name: now.get(name) for name in SEEN} | health
    if __utils__["drbd.mirrored"](now):
        _note(time.time())
    if after != before:
        _write(after)
    return {
        "changes": __utils__["drbd.changes"](before.get("seen", {}), after["seen"]),
        "reason": now["reason"],
        "health": health,
        "seen": after["seen"],
    }


def _frozen_since(now, before, clock):
    if now.get("suspended", "no") == "no":
        return None
    since = before.get("frozen_since")
    return clock if since is None else since


def _behind(now):
    """
    Return whether this disk was left out since both sides were the same, and keep that in mind.

    A side without its disk looks complete again after a reboot (Consistent), and nobody else may
    be there then to say that it is not. DRBD's local-io-error handler leaves the same note.
    """
    behind = __utils__["drbd.behind"](now)
    note = Path(__salt__["files_data.behind_note"]())
    if behind is None:
        return note.exists()
    if behind and not note.exists():
        os.makedirs(note.parent, exist_ok=True)
        note.write_text(f"{now['reason']}\n", encoding="utf-8")
    elif not behind:
        note.unlink(missing_ok=True)
    return behind


def _unproven(now):
    """Return whether this disk is new, and nobody serves what it has."""
    if not __salt__["drbd.unproven"](DRBD):
        return False
    roles = (now.get("role"), now.get("peer_role"))
    if not __utils__["drbd.mirrored"](now) or roles != ("Secondary", "Primary"):
        return True
    __salt__["drbd.proven"](DRBD)
    return False


def _idle():
    """Return whether no command is at work on the role, under which nothing is as it will be."""
    try:
        with __salt__["claim.role"](RESOURCE, 0):
            return True
    except CommandExecutionError:
        return False


def _fault(now):
    if now.get("role") != "Primary" or not __salt__["files_data.mounted"]():
        return "the data is not mounted"
    floating = __utils__["topology.floating"]
    missing = __salt__["address.missing"](
        floating(__pillar__["cluster"], __grains__["id"], RESOURCE)
    )
    if missing:
        return f"{missing[0]} is not here"
    if now["suspended"] != "no":
        return None  # nothing answers that waits for its disk
    return __salt__["nfs.fault"]()


def _listen(last, clock):
    """
    Have the holder wait for its standby again, after the kernel has given up for good.

    It has when the peer was Primary, too: a thawed VM, before it steps down.
    """
    if last is not None and clock - last < LISTEN:
        return last
    with contextlib.suppress(CommandExecutionError):  # tried again
        __salt__["files_data.listen"]()
    return clock


def _note(now):
    note = Path(MIRRORED)
    with contextlib.suppress(FileNotFoundError):
        if 0 <= now - note.stat().st_mtime < NOTED:
            return
    os.makedirs(note.parent, exist_ok=True)
    note.touch()


def _read():
    try:
        content = json.loads(Path(MEMORY).read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError):
        return {}


def _write(content):
    os.makedirs(os.path.dirname(MEMORY), exist_ok=True)
    new = f"{MEMORY}.new"
    Path(new).write_text(json.dumps(content), encoding="utf-8")
    os.replace(new, MEMORY)
