"""
The `files` resource: moodledata on one of two file servers, by DRBD, a mount, NFS and an address.

I1 At most one VM serves: a role changes only with a claimed epoch, and DRBD lets a side that lost
its peer write only by the record's permission (`_modules/files_data.py`). I2 Only complete data is
promoted. I5 Nothing here runs at boot. Going active: DRBD Primary, mount, NFS, address last. Going
passive: the other way round. A Primary whose writes are suspended cannot be unmounted or demoted,
so it is rebooted, which loses nothing: what it had not acknowledged, nobody was promised.
Blank data is declared good, and a file system made, only while the record says that this VM is
founding: without a failover the first epoch lasts for years, so an epoch alone proves nothing.
"""

import subprocess
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

RESOURCE = "files"
DRBD = "r0"
# The hook of the heartbeat, which ends what is active, or the VM, within ten seconds.
STEP_DOWN = "/usr/local/lib/cluster/step-down.d/files"
ERRORS = (CommandExecutionError, SaltInvocationError, OSError)


def activate(epoch, deadline, alone=None, lose_writes=False, await_peer=False):
    """
    Serve moodledata from this VM; safe to repeat.

    epoch: the record's epoch; deadline: unix seconds after which nothing may be done any more;
    alone: the revision of the swap that permits to serve without the mirror, or None. On a VM that
    serves already it releases suspended writes; None leaves everything as synchronous as it is.
    lose_writes: an operator gave up what only the other side has, so a disk that is behind will do.
    await_peer: the other side has been told to give up at this moment; wait for that.
    Returns files.status with the seconds each step took. Raises CommandExecutionError, passive
    again unless it served before, if the claim is refused or a step fails.

    CLI Example::

        salt file1 files.activate 3 1767225600 alone=1042
    """
    with __salt__["claim.role"](RESOURCE, deadline):
        if await_peer:
            # Before the claim: whoever hears of a higher epoch ends at once, in an emergency's way.
            __salt__["claim.in_time"](RESOURCE, deadline)
            if (seen := __salt__["claim.seen"](RESOURCE)) > epoch:
                raise CommandExecutionError(f"{RESOURCE}: refused, epoch {seen} was seen here")
            __salt__["files_data.await_passive"](deadline)
        __salt__["claim.take"](RESOURCE, epoch, deadline, alone=alone)
        served = _serving()
        if not served and not lose_writes:  # who could not serve does not say that he does
            __salt__["files_data.refuse_new"](epoch)
        __salt__["claim.hold"](RESOURCE, epoch)
        seconds = {}
        try:
            _steps(epoch, deadline, alone, lose_writes, seconds)
        except ERRORS as err:
            left = [] if served else _give_up()[0]
            raise CommandExecutionError("; ".join([f"{RESOURCE}: {err}", *left])) from err
        __utils__["health.write"](f"{RESOURCE}.restarted", False, lasting=True)
        __salt__["drbd.proven"](DRBD)
        return {**status(), "seconds": seconds}


def _steps(epoch, deadline, alone, lose_writes, seconds):
    before = time.monotonic()
    data = (epoch, deadline, alone, lose_writes)
    for name, step in (
        ("primary", lambda: __salt__["files_data.primary"](*data)),
        ("mount", lambda: __salt__["files_data.mount"](epoch)),
        ("nfs", _serve),
        # The heartbeat may have heard a higher epoch meanwhile.
        ("claim", lambda: __salt__["claim.take"](RESOURCE, epoch, deadline, alone=alone)),
        ("address", _move_in),
        ("listen", __salt__["files_data.listen"]),
    ):
        try:
            step()
        except ERRORS as err:
            raise CommandExecutionError(f"{name}: {err}") from err
        seconds[name], before = round(time.monotonic() - before, 3), time.monotonic()


def deactivate(epoch, deadline):
    """
    Stop serving: address, NFS, mount, then DRBD Secondary; safe to repeat.

    epoch: the record's epoch; deadline: unix seconds. Returns active, False, and the seconds each
    step took: the site stands still meanwhile, so nothing is asked that nobody waits for. Every
    step is tried even if one fails; raises CommandExecutionError naming all that failed, and when
    this VM has to be rebooted because its writes are suspended.

    CLI Example::

        salt file1 files.deactivate 4 1767225600
    """
    with __salt__["claim.role"](RESOURCE, deadline):
        __salt__["claim.take"](RESOURCE, epoch, deadline)
        return {"active": False, "seconds": _end()}


def probe():
    """
    Return True if this standby could take over from a holder that gives up now.

    Raises CommandExecutionError saying what is missing.

    CLI Example::

        salt file2 files.probe
    """
    now = __salt__["drbd.status"](DRBD)
    if not now["configured"] or (now["connection"], now["disk"]) != ("Connected", "UpToDate"):
        raise CommandExecutionError(f"{RESOURCE}: {now['reason']}")
    if why := __salt__["nfs.unready"]():
        raise CommandExecutionError(f"{RESOURCE}: {why}")
    return True


def _end():
    """Be passive, or reboot where that is not possible; raises if it is not; return ``seconds``."""
    now = __salt__["drbd.status"](DRBD)
    if now["configured"] and now["suspended"] != "no":
        __salt__["address.absent_all"](_addresses())
        subprocess.Popen([STEP_DOWN], start_new_session=True)
        raise CommandExecutionError(
            f"{RESOURCE}: writes are suspended ({now['reason']}), so it can only end by a reboot,"
            " which has begun"
        )
    failed, seconds = _give_up()
    if failed:
        raise CommandExecutionError("; ".join(failed))
    return seconds


def _give_up():
    """Give up all in order, going on after a failure; return what failed, and each step's time."""
    failed, seconds, before = [], {}, time.monotonic()
    for name, step in (
        ("address", lambda: __salt__["address.absent_all"](_addresses())),
        ("nfs", __salt__["nfs.stop"]),
        ("mount", _unmount),
        ("secondary", __salt__["files_data.secondary"]),
    ):
        try:
            step()
        except ERRORS as err:
            failed.append(f"{RESOURCE}: giving up {name}: {err}")
        seconds[name], before = round(time.monotonic() - before, 3), time.monotonic()
    if not failed:
        __utils__["health.write"](f"{RESOURCE}.restarted", False, lasting=True)
        __salt__["claim.release"](RESOURCE)
    return failed, seconds


def _unmount():
    __salt__["files_standby.let_go"]()
    __salt__["files_data.unmount"]()


def mirror(epoch, deadline, revision):
    """
    Return the evidence that the peer has every block, or raise saying what is missing.

    epoch: the record's epoch; deadline: unix seconds; revision: the record's, to which the swap
    that follows is bound. DRBD is synchronous by itself whenever the peer is connected, and no
    older permission to go on alone counts any more.

    CLI Example::

        salt file1 files.mirror 3 1767225600 1043
    """
    with __salt__["claim.role"](RESOURCE, deadline):
        __salt__["claim.mirroring"](RESOURCE, epoch, deadline, revision)
        __salt__["files_data.void"]()
        now = __salt__["drbd.status"](DRBD)
        if now["configured"] and now["connection"] == "StandAlone":
            __salt__["drbd.connect"](DRBD)
        if not __utils__["drbd.mirrored"](now):
            missing = f", {now['out_of_sync']} bytes to copy" if now["configured"] else ""
            raise CommandExecutionError(f"the mirror is not complete: {now['reason']}{missing}")
        return {key: now[key] for key in ("connection", "disk", "peer_disk", "out_of_sync")}


def follow(source, epoch, deadline):
    """
    Be the standby of the VM ``source``: passive, connected, receiving what is missing.

    epoch: the record's epoch; deadline: unix seconds. Changes made here without the other side
    (a split brain) are saved first and named in ``report``, then dropped. Returns files.status.

    CLI Example::

        salt file2 files.follow file1 4 1767225600
    """
    if source == __grains__["id"]:
        raise SaltInvocationError(f"{source} cannot follow itself")
    with __salt__["claim.role"](RESOURCE, deadline):
        __salt__["claim.take"](RESOURCE, epoch, deadline)
        if __salt__["claim.held"](RESOURCE) == epoch:
            raise CommandExecutionError(f"{RESOURCE}: this VM holds epoch {epoch} itself")
        _end()
        report = __salt__["files_standby.join"](source, epoch, deadline)
        return {**status(), "report": report}


def restart(epoch, deadline):
    """
    Restart the NFS server of the VM that serves, and see that it answers; return nfs.status.

    epoch: the record's epoch; deadline: unix seconds. Notes in the health of this VM when it did
    not help. Raises CommandExecutionError then, or if nothing is served here, or if it is the
    suspended writes that everybody waits for.

    CLI Example::

        salt file1 files.restart 3 1767225600
    """
    with __salt__["claim.role"](RESOURCE, deadline):
        __salt__["claim.take"](RESOURCE, epoch, deadline)
        now = __salt__["drbd.status"](DRBD)
        if not __salt__["files_data.mounted"]() or now.get("role") != "Primary":
            _end()  # half an activation: without its claim to serve, it is activated anew
            raise CommandExecutionError(f"{RESOURCE}: nothing is served here: {now['reason']}")
        if now["suspended"] != "no":
            raise CommandExecutionError(f"{RESOURCE}: writes are suspended; no restart helps")
        try:
            __salt__["nfs.restart"](deadline)
            __salt__["address.present_all"](_addresses())
        except ERRORS:
            __utils__["health.write"](f"{RESOURCE}.restarted", True, lasting=True)
            raise
        __utils__["health.write"](f"{RESOURCE}.restarted", False, lasting=True)
        return __salt__["nfs.status"]()


def status():
    """
    Return active, epoch, mirror, blank, frozen, parts, drbd, saved and a reason.

    active is True with DRBD Primary, mount, NFS and address all here, False with any of them
    missing (activate completes it, deactivate ends it), None if that cannot be told. mirror is
    True if the peer has every block now. blank is True if this side never held data. frozen is
    True while writes wait for the mirror. saved names what split brains have left here.

    CLI Example::

        salt file1 files.status
    """
    answer = {"active": None, "epoch": __salt__["claim.seen"](RESOURCE)}
    try:
        now = __salt__["drbd.status"](DRBD)
        parts = {
            "primary": now.get("role") == "Primary",
            "mounted": __salt__["files_data.mounted"](),
            "nfs": __salt__["nfs.threads"]() > 0,
            "address": not __salt__["address.missing"](_addresses()),
        }
    except ERRORS as err:
        return {**answer, "mirror": None, "blank": None, "frozen": None, "reason": str(err)}
    here = [name for name, on in parts.items() if on]
    return {
        **answer,
        "active": len(here) == len(parts),
        "mirror": __utils__["drbd.mirrored"](now),
        "blank": False if parts["primary"] else __salt__["files_data.blank"](),
        "frozen": now.get("suspended", "no") != "no",
        "parts": parts,
        "drbd": now,
        "saved": __salt__["files_standby.saved"](),
        "reason": f"{', '.join(here) or 'passive'}; {now['reason']}",
    }


def _serving():
    """Return whether data was served here before, asked without a process of its own."""
    held = __salt__["claim.held"](RESOURCE)
    return held > 0 and __salt__["files_data.mounted"]() and __salt__["nfs.threads"]() > 0


def _serve():
    if not __salt__["nfs.threads"]():
        __salt__["nfs_clients.forget"](_dead_clients())
        __salt__["nfs.start"]()


def _move_in():
    """Hold the address; the clients wait, so they are woken before it is announced once more."""
    addresses = _addresses()
    __salt__["address.present_all"](addresses, announcements=1)
    dead = _dead_clients()
    clients = [vm["addresses"]["internal"] for vm in _webs() if vm["name"] not in dead]
    for entry in addresses:
        __salt__["nfs_clients.wake"](entry["address"], clients)
    for entry in addresses:
        __salt__["address.announce"](entry["address"], entry["interface"], count=2)


def _webs():
    return __utils__["topology.vms"](__pillar__["cluster"], "web")


def _dead_clients():
    try:
        return __salt__["heartbeat.lost"]([vm["name"] for vm in _webs()])
    except CommandExecutionError:
        return []  # nobody can tell: the server waits for all of them


def _addresses():
    return __utils__["topology.floating"](__pillar__["cluster"], __grains__["id"], RESOURCE)
