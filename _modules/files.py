"""
The `files` resource: moodledata on one of two file servers, by DRBD, a mount, NFS and an address.

I1 At most one VM serves: a role changes only with a claimed epoch, and DRBD itself admits one
   Primary among connected peers. I2 Only UpToDate data is promoted. I5 Nothing here runs at boot.
Going active: DRBD Primary, mount, NFS, address last. Going passive: the other way round.
Blank data is declared good, and a file system made, only while the record says that this VM is
founding: without a failover the first epoch lasts for years, so an epoch alone proves nothing.
"""

import os
import subprocess
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

RESOURCE = "files"
DRBD = "r0"
DEVICE = "/dev/drbd0"
MOUNT = "/srv/files"
MOUNTS = "/proc/self/mountinfo"
PEER = 20  # seconds a founder waits for its peer, because with it no first sync is needed
WWW_DATA = 33  # fixed by Debian's base-passwd on every VM
DIRECTORIES = (
    ("moodledata", 0o770, WWW_DATA),
    ("nfs", 0o700, 0),
    ("nfs/nfsdcld", 0o700, 0),
    ("nfs/v4recovery", 0o700, 0),
)
ERRORS = (CommandExecutionError, SaltInvocationError)


def _run(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise CommandExecutionError(f"{' '.join(command)}: {err}") from err
    if done.returncode:
        raise CommandExecutionError(f"{' '.join(command)}: {done.stderr.strip()}")


def activate(epoch, deadline, mirrored=False):
    """
    Serve moodledata from this VM; safe to repeat.

    epoch: the record's epoch; deadline: unix seconds after which nothing may be done any more;
    mirrored: accepted as every resource does. Returns files.status with the seconds each step
    took. Raises CommandExecutionError, passive again, if the claim is refused or a step fails.

    CLI Example::

        salt file1 files.activate 3 1767225600
    """
    __salt__["claim.take"](RESOURCE, epoch, deadline)
    seconds, before = {}, time.monotonic()
    try:
        for name, step in (
            ("primary", lambda: _primary(epoch, deadline)),
            ("mount", lambda: _mount(epoch)),
            ("nfs", _serve),
            ("address", lambda: __salt__["address.present_all"](_addresses())),
        ):
            step()
            seconds[name], before = round(time.monotonic() - before, 3), time.monotonic()
    except (*ERRORS, OSError) as err:
        left = _passive()
        raise CommandExecutionError("; ".join([f"{RESOURCE}: {name}: {err}", *left])) from err
    return {**status(), "seconds": seconds}


def deactivate(epoch, deadline):
    """
    Stop serving: address, NFS, mount, then DRBD Secondary; safe to repeat.

    epoch: the record's epoch; deadline: unix seconds. Every step is tried even if one fails;
    raises CommandExecutionError naming all that failed.

    CLI Example::

        salt file1 files.deactivate 4 1767225600
    """
    __salt__["claim.take"](RESOURCE, epoch, deadline)
    if left := _passive():
        raise CommandExecutionError("; ".join(left))
    return status()


def mirror(epoch, deadline):
    """
    Return the evidence that the peer has every block, or raise saying what is missing.

    epoch: the record's epoch; deadline: unix seconds. Reconnects a StandAlone resource unless that
    is a split brain, which is never resolved by itself.

    CLI Example::

        salt file1 files.mirror 3 1767225600
    """
    __salt__["claim.take"](RESOURCE, epoch, deadline)
    now = __salt__["drbd.status"](DRBD)
    if now["configured"] and now["connection"] == "StandAlone" and not now["split_brain"]:
        __salt__["drbd.connect"](DRBD)
    if not _mirrored(now):
        missing = f", {now['out_of_sync']} bytes to copy" if now["configured"] else ""
        raise CommandExecutionError(f"the mirror is not complete: {now['reason']}{missing}")
    return {key: now[key] for key in ("connection", "disk", "peer_disk", "out_of_sync")}


def status():
    """
    Return active, epoch, mirror, blank, parts, drbd, nfs and a reason.

    active is True with DRBD Primary, mount, NFS and address all here, False with any of them
    missing (activate completes it, deactivate ends it), None if that cannot be told. mirror is
    True if the peer has every block now. blank is True if this side never held data.

    CLI Example::

        salt file1 files.status
    """
    answer = {"active": None, "epoch": __salt__["claim.seen"](RESOURCE)}
    try:
        now = __salt__["drbd.status"](DRBD)
        parts = {
            "primary": now.get("role") == "Primary",
            "mounted": _mounted(),
            "nfs": __salt__["nfs.threads"]() > 0,
            "address": _held(),
        }
    except (*ERRORS, OSError) as err:
        return {**answer, "mirror": None, "blank": None, "reason": str(err)}
    here = [name for name, on in parts.items() if on]
    return {
        **answer,
        "active": len(here) == len(parts),
        "mirror": _mirrored(now),
        "blank": _blank(now),
        "parts": parts,
        "drbd": now,
        "reason": f"{', '.join(here) or 'passive'}; {now['reason']}",
    }


def _primary(epoch, deadline):
    now = _up()
    if now["role"] == "Primary":
        return
    if now["disk"] == "Inconsistent" and __salt__["drbd.fresh"](DRBD):
        _found(epoch, deadline)
        return
    if now["peer_role"] == "Primary":
        raise CommandExecutionError("the peer is still Primary")
    if now["disk"] != "UpToDate":
        raise CommandExecutionError(f"the data here is {now['disk']}, not UpToDate")
    __salt__["drbd.promote"](DRBD)


def _up():
    now = __salt__["drbd.status"](DRBD)
    if not now["configured"]:
        __salt__["drbd.up"](DRBD)
        now = __salt__["drbd.status"](DRBD)
    return now


def _found(epoch, deadline):
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
    __salt__["drbd.promote"](DRBD, force=not together)


def _founding(epoch):
    """Return whether the record says that this VM founds ``epoch``; raises if nobody can tell."""
    record = __salt__["arbiter.read"](RESOURCE)
    mine = (__grains__["id"], epoch)
    return bool(record) and record["founding"] and (record["holder"], record["epoch"]) == mine


def _mount(epoch):
    if not _mounted():
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


def _serve():
    if not __salt__["nfs.threads"]():
        __salt__["nfs.start"]()


def _passive():
    """Give up everything in order, going on after a failure; return what failed."""
    failed = []
    for name, step in (
        ("address", lambda: __salt__["address.absent_all"](_addresses())),
        ("nfs", __salt__["nfs.stop"]),
        ("mount", _unmount),
        ("secondary", _secondary),
    ):
        try:
            step()
        except (*ERRORS, OSError) as err:
            failed.append(f"{RESOURCE}: giving up {name}: {err}")
    return failed


def _unmount():
    if _mounted():
        _run("umount", MOUNT)


def _secondary():
    now = __salt__["drbd.status"](DRBD)
    if now["configured"] and now["role"] == "Primary":
        __salt__["drbd.demote"](DRBD)


def _mounted():
    """Return whether DRBD's device is mounted; raises if something else is in its place."""
    with open(MOUNTS, encoding="utf-8") as file:
        fields = [line.split() for line in file]
    sources = [entry[entry.index("-") + 2] for entry in fields if entry[4] == MOUNT]
    if any(source != DEVICE for source in sources):
        raise CommandExecutionError(f"{MOUNT} is a mount of {', '.join(sources)}, not of {DEVICE}")
    return bool(sources)


def _addresses():
    return __utils__["topology.floating"](__pillar__["cluster"], __grains__["id"], RESOURCE)


def _held():
    here = {entry["address"] for entry in __salt__["address.list"]()}
    return all(entry["address"] in here for entry in _addresses())


def _mirrored(now):
    if not now["configured"]:
        return False
    states = (now["connection"], now["disk"], now["peer_disk"], now["out_of_sync"])
    # An online verify compares; every write goes to both sides meanwhile.
    running = now["replication"] in ("Established", "VerifyS", "VerifyT")
    return running and states == ("Connected", "UpToDate", "UpToDate", 0)


def _blank(now):
    """Return True if this side never held data, False if it did, None if it cannot be told."""
    try:
        if now["configured"]:
            return __salt__["drbd.fresh"](DRBD)
        if __salt__["drbd.metadata"](DRBD) is False:
            return __salt__["blockdevice.blank"](__salt__["drbd.device"](DRBD))["blank"]
        return __salt__["drbd.generation"](DRBD)["fresh"]
    except CommandExecutionError:
        return None
