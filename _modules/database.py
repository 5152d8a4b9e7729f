"""
The resource ``database``: one writable primary with the floating address, one replica of it.

I1 is kept by the claim (an outdated or late command is refused), by booting read-only, and by
semi-synchronous replication: a primary whose record says ``mirrored`` acknowledges nothing that
its replica has not received. I2 follows. ``activate`` with ``mirrored=False`` serves alone; only
the record in the arbiter permits that, and whoever calls has read or written it.

Data comes first and the address last on the way up, the other way round on the way down. Whoever
changes the role holds `claim.role`: one command is at work at a time. Every function may be
repeated. ``epoch`` is the record's, ``deadline`` is in Unix seconds.
"""

import logging
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

log = logging.getLogger(__name__)

RESOURCE = "database"
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
    and names a seeding that is not complete.

    CLI Example:

    .. code-block:: bash

        salt 'db*' database.status
    """
    answer = {"active": None, "epoch": __salt__["claim.seen"](RESOURCE), "mirror": None}
    answer.update(blank=None, reason=None, address=_holds_address())
    try:
        server = __salt__["mysql_replication.status"]()
    except CommandExecutionError as error:
        return {**answer, "reason": str(error)}
    active = server["writable"] and answer["address"]
    answer.update(active=active, mirror=_in_step(server), blank=server["blank"], server=server)
    return {**answer, "reason": server["seeding"]}


def _holds_address():
    held = {entry["address"] for entry in __salt__["address.list"]()}
    return all(entry["address"] in held for entry in _floating())


def _in_step(server):
    if server["replica"]:
        return server["replica"]["receiving"] is True and server["replica"]["semi_sync"]
    counted = server["semi_sync"]
    return counted["enabled"] and counted["operational"] and counted["replicas"] > 0


def activate(epoch, deadline, mirrored):
    """
    Make this VM the writable primary, then take the address; return ``status``.

    With ``mirrored`` True every commit waits for a replica, with False this VM serves alone: what
    the record says, and nothing else, so there is no default. A replica applies all it received
    first. An epoch older than the replicated data is refused. On failure the VM is passive again
    and CommandExecutionError is raised.

    CLI Example:

    .. code-block:: bash

        salt db2 database.activate 4 "$(($(date +%s) + 10))" mirrored=True
    """
    with __salt__["claim.role"](RESOURCE, deadline):
        __salt__["claim.take"](RESOURCE, epoch, deadline)
        _activate(epoch, deadline, mirrored)
        return status()


def _activate(epoch, deadline, mirrored):
    mirrored_at = __salt__["mysql_replication.epoch"]()
    if mirrored_at > epoch:
        raise CommandExecutionError(
            f"epoch {epoch} is over: the data here was mirrored in epoch {mirrored_at}"
        )
    try:
        __salt__["mysql_replication.promote"](deadline)
        __salt__["mysql_replication.semi_sync"](mirrored)
        __salt__["mysql_server.writable"](True, deadline)
        __salt__["mysql_account.schema_present"]()  # at the founding
        __salt__["claim.take"](RESOURCE, epoch, deadline)  # a higher epoch may have come meanwhile
        __salt__["address.present_all"](_floating())
    except Exception:  # whatever it is, half an activation must not stay
        _back_out()
        raise


def _back_out():
    """Be passive again, whatever the deadline was: half an activation must not stay."""
    try:
        _step_down(time.time() + BACK_OUT)
    except CommandExecutionError as error:
        log.error("database: not passive after a failed activation: %s", error)


def deactivate(epoch, deadline):
    """
    Give up the address, disconnect the clients, refuse all writes; return ``status``.

    CLI Example:

    .. code-block:: bash

        salt db1 database.deactivate 4 "$(($(date +%s) + 10))"
    """
    with __salt__["claim.role"](RESOURCE, deadline):
        __salt__["claim.take"](RESOURCE, epoch, deadline)
        _step_down(deadline)
        return status()


def _step_down(deadline):
    __salt__["address.absent_all"](_floating())
    __salt__["mysql_server.writable"](False, deadline)


def follow(source_vm, deadline):
    """
    Make this VM's server a replica of the one on ``source_vm`` and wait until it receives.

    Raises CommandExecutionError on an active VM, after the deadline, and naming the transactions if
    this server has some that the source has not.

    CLI Example:

    .. code-block:: bash

        salt db2 database.follow db1 "$(($(date +%s) + 60))"
    """
    if source_vm not in _others():
        raise SaltInvocationError(f"{source_vm!r} is no other database VM of the pillar")
    with __salt__["claim.role"](RESOURCE, deadline):
        __salt__["claim.in_time"](RESOURCE, deadline)
        __salt__["mysql_replication.follow"](_address(source_vm), deadline)
        return status()


def mirror(epoch, deadline):
    """
    Restore synchronous mode on the primary and return the evidence that the mirror is complete.

    Waits until a replica has caught up, switches semi-synchronous mode on, and commits a row: its
    acknowledgement means that the replica has everything before it, too, and it must be applied
    there. If that fails, the mode is off again if it was off before, and CommandExecutionError is
    raised.

    CLI Example:

    .. code-block:: bash

        salt db1 database.mirror 4 "$(($(date +%s) + 60))"
    """
    with __salt__["claim.role"](RESOURCE, deadline):
        __salt__["claim.take"](RESOURCE, epoch, deadline)
        return _mirror(epoch, deadline)


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
