"""
The director's two addresses: public and gateway, on one balancer, both or none (I3).

IPVS rewrites on the way in and expects the answers back, so the real servers' gateway must be
where the public address is. The IPVS table is on both balancers all the time and is not part of
what moves; nor is any data, so a standby is ready as soon as it runs.
"""

import contextlib
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

RESOURCE = "director"


def _cluster():
    return __pillar__["cluster"]


def _addresses():
    """Return the addresses that move, the public one first."""
    return __utils__["topology.floating"](_cluster(), __grains__["id"], RESOURCE)


def activate(epoch, deadline, alone=None):
    """
    Hold both addresses and the default route, and announce them; safe to repeat.

    epoch: the record's epoch; deadline: unix seconds after which nothing may be done any more;
    alone: accepted as every resource does, without meaning here. Raises CommandExecutionError:
    having changed nothing if the claim is refused, with neither address left if anything fails.

    CLI Example::

        salt lb1 director.activate 3 1767225600
    """
    seconds = {}
    with __salt__["claim.role"](RESOURCE, deadline):
        with _timed("claim", seconds):
            __salt__["claim.take"](RESOURCE, epoch, deadline, alone=alone)
            __salt__["claim.hold"](RESOURCE, epoch)
        try:
            # A balancer without its table would take the site's traffic and answer none of it.
            with _timed("table", seconds):
                __salt__["ipvs.restore"]()
            gateway = _cluster()["networks"]["public"].get("gateway")
            with _timed("addresses", seconds):
                __salt__["address.present_all"](_addresses(), gateway=gateway)
        except (CommandExecutionError, SaltInvocationError) as error:
            _back_out(error)
            raise
        return status() | {"seconds": seconds}


@contextlib.contextmanager
def _timed(step, seconds):
    begun = time.monotonic()
    yield
    seconds[step] = round(time.monotonic() - begun, 3)


def _back_out(why):
    """Give up both addresses; an error on the way must not hide why that was necessary."""
    try:
        __salt__["address.absent_all"](_addresses())
    except CommandExecutionError as error:
        raise CommandExecutionError(f"{why}; and an address is still held: {error}") from error
    __salt__["claim.release"](RESOURCE)


def deactivate(epoch, deadline):
    """
    Give up both addresses; safe to repeat.

    epoch: the record's epoch; deadline: unix seconds. Returns active, False, and the seconds it
    took: see director.status for more. Raises CommandExecutionError if the claim is refused or an
    address could not be removed.

    CLI Example::

        salt lb1 director.deactivate 4 1767225600
    """
    seconds = {}
    with __salt__["claim.role"](RESOURCE, deadline):
        __salt__["claim.take"](RESOURCE, epoch, deadline)
        with _timed("addresses", seconds):
            __salt__["address.absent_all"](_addresses())
        __salt__["claim.release"](RESOURCE)
    return {"active": False, "seconds": seconds}


def status():
    """
    Return what this balancer holds: active, epoch, mirror, addresses, table, reason.

    active is None when only one of them is here (I3 broken).
    mirror is always True: the director keeps nothing that a standby would lack.

    CLI Example::

        salt lb1 director.status
    """
    missing = __salt__["address.missing"](_addresses())
    wanted = [entry["address"] for entry in _addresses()]
    held = [address for address in wanted if address not in missing]
    if len(held) == len(wanted):
        return _answer(True, held, "holds the public and the gateway address")
    if held:
        return _answer(None, held, f"holds only {held[0]}: both addresses belong together")
    return _answer(False, held, "holds neither address")


def _answer(active, held, reason):
    return {
        "active": active,
        "epoch": __salt__["claim.seen"](RESOURCE),
        "mirror": True,
        "addresses": held,
        "table": __salt__["ipvs.loaded"](),
        "reason": reason,
    }
