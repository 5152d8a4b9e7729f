"""
The resource ``database``: one writable primary with the floating address, one replica of it.

I1 is kept by the claim (an outdated or late command is refused), by booting read-only, and by
semi-synchronous replication: a primary whose record says ``mirrored`` acknowledges nothing that
its replica has not received. I2 follows. ``alone`` permits serving without the mirror: it is the
revision of the record that the swap made which permitted it.

Data comes first and the address last, on the way up and on the way down. Whoever changes the role
holds `claim.role`: one command is at work at a time. Every function may be repeated. ``epoch`` is
the record's, ``deadline`` is in Unix seconds.
"""

import contextlib
import json
import logging
import os
import time

import salt.utils.files
from salt.exceptions import CommandExecutionError, SaltInvocationError

log = logging.getLogger(__name__)

RESOURCE = "database"
PERMISSION = "/run/cluster/database.alone.json"
MIRROR = 15  # seconds for the last steps; a failover would have to wait for them
BACK_OUT = 5  # seconds to become passive again after a failure, whatever the deadline was


def __virtual__():
    return "database"


def _floating():
    return __utils__["topology.floating"](__pillar__["cluster"], __grains__["id"], RESOURCE)


def _address(name):
    return __utils__["topology.traffic_address"](__pillar__["cluster"], name, "replication")


def _others():
    members = __utils__["topology.vms"](__pillar__["cluster"], "database")
    return [vm["name"] for vm in members if vm["name"] != __grains__["id"]]


def status():
    """
    Return whether this VM serves the database, and what its server says.

    ``active``: writable and holding the address. ``mirror``: is the other side in step now (on the
    primary: a replica acknowledges; on a replica: it receives in semi-synchronous mode). ``blank``:
    this server never held data. Each is None while the server does not answer; ``reason`` says why,
    and names a seeding that is not complete. ``saved``: directories with what only this VM had.

    CLI Example:

    .. code-block:: bash

        salt 'db*' database.status
    """
    answer = {"active": None, "epoch": __salt__["claim.seen"](RESOURCE), "mirror": None}
    answer.update(blank=None, reason=None, address=not __salt__["address.missing"](_floating()))
    answer["saved"] = __salt__["mysql_errant.saved"]()
    try:
        server = __salt__["mysql_replication.status"]()
    except CommandExecutionError as error:
        return {**answer, "reason": str(error)}
    active = server["writable"] and answer["address"]
    answer.update(active=active, mirror=_in_step(server), blank=server["blank"], server=server)
    return {**answer, "reason": server["seeding"]}


def _in_step(server):
    if server["replica"]:
        return server["replica"]["receiving"] is True and server["replica"]["semi_sync"]
    counted = server["semi_sync"]
    return counted["enabled"] and counted["operational"] and counted["replicas"] > 0


def activate(epoch, deadline, alone=None, lose_writes=False):
    """
    Make this VM the writable primary, then take the address; return ``status`` and ``seconds``.

    alone: the revision of the swap that permits serving without the mirror. None: every commit
    waits for a replica, from the first one on. A replica applies all it received first. On a VM
    that serves already, this releases a frozen primary or switches synchronous mode on. An epoch
    older than the replicated data is refused. lose_writes: an operator gives up what this replica
    lacks, however much that is; a copy that is not complete serves on no word. If it fails, a VM
    that did not serve before is passive again, and CommandExecutionError is raised.

    CLI Example:

    .. code-block:: bash

        salt db2 database.activate 4 "$(($(date +%s) + 10))" alone=1042
    """
    with __salt__["claim.role"](RESOURCE, deadline):
        __salt__["claim.take"](RESOURCE, epoch, deadline, alone=alone)
        served, seconds = __salt__["claim.held"](RESOURCE), {}
        try:
            # Who could not serve anyway does not say that he does.
            _timed([("revive", lambda: __salt__["mysql_server.revive"](deadline, not served)),
                    ("epoch", lambda: _refuse_older(epoch))], seconds)  # fmt: skip
            __salt__["claim.hold"](RESOURCE, epoch)
            _activate(epoch, deadline, alone, seconds, lose_writes)
        except Exception:  # whatever it is, half an activation must not stay
            if not served:
                _back_out(written="semi_sync" in seconds)
            raise
        __utils__["health.write"]("database.restarted", False)
        return {**status(), "seconds": seconds}


def _activate(epoch, deadline, alone, seconds, lose_writes=False):
    """Fill ``{step: seconds}``. The permission is noted before anything is acknowledged by it."""
    steps = [
        ("promote", lambda: __salt__["mysql_replication.promote"](deadline, lose_writes)),
        ("permission", lambda: _note_permission(epoch, alone)),
        ("semi_sync", lambda: __salt__["mysql_replication.semi_sync"](alone is None)),
        ("writable", lambda: __salt__["mysql_server.writable"](deadline)),
        ("schema", __salt__["mysql_account.schema_present"]),  # at the founding
        # A higher epoch may have come meanwhile.
        ("claim", lambda: __salt__["claim.take"](RESOURCE, epoch, deadline, alone=alone)),
        ("address", lambda: __salt__["address.present_all"](_floating())),
    ]
    _timed(steps, seconds)


def _timed(steps, seconds):
    for name, step in steps:
        started = time.monotonic()
        step()
        seconds[name] = round(time.monotonic() - started, 3)


def _refuse_older(epoch):
    mirrored_at = __salt__["mysql_replication.epoch"]()
    if mirrored_at > epoch:
        raise CommandExecutionError(
            f"epoch {epoch} is over: the data here was mirrored in epoch {mirrored_at}"
        )
    if mirrored_at or __salt__["mysql_replication.status"]()["executed"]:
        return
    if not _founding(epoch):
        raise CommandExecutionError(
            f"nothing was ever written here, and epoch {epoch} is not being founded: the data is"
            " elsewhere"
        )


def _founding(epoch):
    """Return whether the record says that this VM founds ``epoch``; raises if nobody can tell."""
    record = __salt__["arbiter.read"](RESOURCE)
    return __utils__["record.founds"](record, __grains__["id"], epoch)


def probe():
    """
    Return True unless what is here could not be served on anybody's word: nothing, or half a copy.

    A server that does not answer is started at the activation, which looks again. Raises
    CommandExecutionError.

    CLI Example::

        salt db2 database.probe
    """
    try:
        server = __salt__["mysql_replication.status"]()
    except CommandExecutionError:
        return True
    if server["seeding"] or not server["executed"]:
        raise CommandExecutionError(server["seeding"] or "nothing was ever written here")
    return True


def _note_permission(epoch, alone):
    """Remember, until the next boot, by which permission this VM serves alone; None for none."""
    if alone is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(PERMISSION)
        return
    os.makedirs(os.path.dirname(PERMISSION), mode=0o755, exist_ok=True)
    with salt.utils.files.fopen(f"{PERMISSION}.new", "w", encoding="utf-8") as file:
        json.dump({"epoch": epoch, "alone": alone}, file)
    os.replace(f"{PERMISSION}.new", PERMISSION)


def _permission(epoch, deadline):
    """Return the permission to serve alone that is in force still, or None."""
    try:
        with salt.utils.files.fopen(PERMISSION, encoding="utf-8") as file:
            note = json.load(file)
        if note["epoch"] != epoch:
            return None
        __salt__["claim.take"](RESOURCE, epoch, deadline, alone=note["alone"])
        return note["alone"]
    except (OSError, ValueError, KeyError, CommandExecutionError):
        return None  # commits wait then, until the decider permits going on


def _back_out(written):
    """
    Be passive again, whatever the deadline was: half an activation must not stay. A server that was
    not told to accept writes yet is left alone: ended, a replica loses what it has not applied.
    """
    try:
        if written:
            _step_down(time.time() + BACK_OUT)
        else:
            _leave()
    except CommandExecutionError as error:
        log.error("database: not passive after a failed activation: %s", error)


def deactivate(epoch, deadline):
    """
    Disconnect the clients, refuse all writes, give up the address; return active, False, and ended.

    Commits that wait for a replica are never acknowledged: where they stand in the way, or the
    server is hung, its process is killed and started again, which makes it passive. ``ended`` says
    how: "gently", "killed", or "dead" if there was none. The site stands still meanwhile, so
    nothing is asked that nobody waits for: see ``status``.

    CLI Example:

    .. code-block:: bash

        salt db1 database.deactivate 4 "$(($(date +%s) + 10))"
    """
    with __salt__["claim.role"](RESOURCE, deadline):
        __salt__["claim.take"](RESOURCE, epoch, deadline)
        return {"active": False, "ended": _step_down(deadline)}


def _step_down(deadline):
    """
    End all service. The address goes after the clients were disconnected: without it they would
    not hear of that, and go on waiting for an answer.
    """
    try:
        how = __salt__["mysql_server.passive"](deadline)
    except Exception:
        __salt__["address.absent_all"](_floating())
        raise
    _leave()
    return how


def _leave():
    __salt__["address.absent_all"](_floating())
    __salt__["claim.release"](RESOURCE)
    __utils__["health.write"]("database.restarted", False)  # whoever serves next is another matter
    _note_permission(0, None)


def follow(source, epoch, deadline):
    """
    Make this VM's server a replica of the one on VM ``source`` and wait until it receives.

    An active VM is stepped down first if ``epoch`` is higher than the one it holds. A dead or hung
    server is started again. Transactions that the source has not are saved before they are given
    up; the answer, ``status`` with ``seeded`` and ``saved``, says where. Raises
    CommandExecutionError if this VM holds the epoch, and after the deadline.

    CLI Example:

    .. code-block:: bash

        salt db2 database.follow db1 4 "$(($(date +%s) + 60))"
    """
    if source not in _others():
        raise SaltInvocationError(f"{source!r} is no other database VM of the pillar")
    with __salt__["claim.role"](RESOURCE, deadline):
        __salt__["claim.take"](RESOURCE, epoch, deadline)
        held = __salt__["claim.held"](RESOURCE)
        if held >= epoch:
            raise CommandExecutionError(f"this VM serves in epoch {held}; it does not follow")
        if held:
            _step_down(deadline)
        __salt__["mysql_server.revive"](deadline)
        if __salt__["mysql_replication.status"](deadline)["writable"]:  # without holding anything
            _step_down(deadline)
            __salt__["mysql_server.revive"](deadline)
        done = __salt__["mysql_replication.follow"](_address(source), deadline)
        if done["saved"]:
            log.warning("database: errant transactions were saved: %s", done["saved"])
        return {**status(), **done}


def restart(epoch, deadline):
    """
    Bring the database of this VM, which holds it, back: start a dead server, kill a hung one.

    It serves again as before, alone only by a permission that is still in force. If that fails,
    health says that a restart did not help, and CommandExecutionError is raised.

    CLI Example:

    .. code-block:: bash

        salt db1 database.restart 4 "$(($(date +%s) + 30))"
    """
    with __salt__["claim.role"](RESOURCE, deadline):
        __salt__["claim.take"](RESOURCE, epoch, deadline)
        if __salt__["claim.held"](RESOURCE) != epoch:
            raise CommandExecutionError(f"this VM does not serve in epoch {epoch}")
        try:
            done = __salt__["mysql_server.revive"](deadline)
            seconds = {}
            _refuse_older(epoch)
            _activate(epoch, deadline, _permission(epoch, deadline), seconds)
        except Exception:
            __utils__["health.write"]("database.restarted", True, lasting=True)
            raise
        __utils__["health.write"]("database.restarted", False)
        return {"restarted": done, **status(), "seconds": seconds}


def mirror(epoch, deadline, revision):
    """
    Restore synchronous mode on the primary and return the evidence that the mirror is complete.

    Waits until a replica has caught up, switches semi-synchronous mode on, and commits a row: its
    acknowledgement means that the replica has everything before it, too, and it must be applied
    there. ``revision`` is the record's to which the swap will be bound; every permission up to it
    to serve alone is void. If that fails, the mode is off again if it was off before, and
    CommandExecutionError is raised.

    CLI Example:

    .. code-block:: bash

        salt db1 database.mirror 4 "$(($(date +%s) + 60))" 1042
    """
    _caught_up(deadline)  # as long as it takes; no other command has to wait for that
    with __salt__["claim.role"](RESOURCE, deadline):
        __salt__["claim.mirroring"](RESOURCE, epoch, deadline, revision)
        return _mirror(epoch, min(deadline, time.time() + MIRROR))


def _mirror(epoch, deadline):
    server = __salt__["mysql_replication.status"]()
    if not server["writable"]:
        raise CommandExecutionError("this VM is not the primary: nothing to mirror")
    replica = _caught_up(deadline)
    __salt__["mysql_replication.acknowledging"](deadline)
    __salt__["mysql_replication.semi_sync"](True)
    try:
        evidence = __salt__["mysql_replication.verify_semi_sync"](deadline, epoch)
        _caught_up(deadline)  # acknowledged is received; whether it can be applied is shown now
    except CommandExecutionError:
        if not server["semi_sync"]["enabled"]:
            __salt__["mysql_replication.semi_sync"](False)
        raise
    _note_permission(epoch, None)
    return {"replica": replica, **evidence}


def _caught_up(deadline):
    """Return the first other VM whose server has all of ours, giving each the same time."""
    others = _others()
    errors = []
    for count, name in enumerate(others):
        share = time.time() + (deadline - time.time()) / (len(others) - count)
        try:
            __salt__["mysql_replication.has_all"](_address(name), share)
            return name
        except CommandExecutionError as error:
            errors.append(f"{name}: {error}")
    raise CommandExecutionError(f"no replica has caught up: {'; '.join(errors)}")
