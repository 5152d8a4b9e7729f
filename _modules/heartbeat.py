"""
What this VM's heartbeatd is told, and what it hears.

Everything here is a reading of the pillar or of one file in /run; heartbeatd itself needs no Salt.
"""

import json
import time

from salt.exceptions import CommandExecutionError

VIEW = "/run/cluster/heartbeat.json"
SEEN = 1  # a kind of claim, see `_utils/heartbeat.py`


def __virtual__():
    return "heartbeat"


def config():
    """
    Return heartbeatd's configuration on this VM, without the key. Raises nothing.

    CLI Example:

    .. code-block:: bash

        salt lb1 heartbeat.config
    """
    cluster, name = __pillar__["cluster"], __grains__["id"]
    partner = __utils__["topology.peer"](cluster, name)
    return __utils__["heartbeat.config"](
        cluster, __utils__["topology.vms"](cluster), name, partner and partner["name"]
    )


def view():
    """
    Return what heartbeatd last wrote, with ``age`` in seconds: peers, links, claims, counters.

    Raises CommandExecutionError if there is no view. An old one (age above 3) says nothing about
    the peers: it is this VM that cannot hear.

    CLI Example:

    .. code-block:: bash

        salt lb1 heartbeat.view
    """
    try:
        with open(VIEW, encoding="utf-8") as file:
            found = json.load(file)
        return {**found, "age": round(time.clock_gettime(time.CLOCK_BOOTTIME) - found["at"], 3)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandExecutionError(f"there is no view of heartbeatd in {VIEW}: {error}") from error


def unreachable(vm):
    """
    Return whether ``vm`` is dead as heard here, or hears this VM no more: neither does a job reach
    it then, nor can it answer. False without a view of now.

    CLI Example:

    .. code-block:: bash

        salt lb1 heartbeat.unreachable lb2
    """
    peer = _peer(vm)
    return peer.get("state") == "dead" or peer.get("silent", {}).get(__grains__["id"]) == "lost"


def claims(vm):
    """
    Return what ``vm`` says that it has claimed, resource -> ``[epoch, kind]``; {} if unheard.

    CLI Example:

    .. code-block:: bash

        salt lb1 heartbeat.claims file1
    """
    return _peer(vm).get("claims", {})


def gave_up(vm, resource, epoch):
    """
    Return whether ``vm`` says that it took ``epoch`` of ``resource``, or a later one, and does not
    serve it: a deactivate that has come to its end, even if its answer never comes.

    CLI Example:

    .. code-block:: bash

        salt lb1 heartbeat.gave_up file1 files 4
    """
    taken, kind = claims(vm).get(resource, (0, None))
    return kind == SEEN and taken >= epoch


def in_reach(vm):
    """
    Return whether ``vm`` is heard on the internal network, where jobs go. False without a view.

    CLI Example:

    .. code-block:: bash

        salt lb1 heartbeat.in_reach lb2
    """
    link = _peer(vm).get("links", {}).get("internal", {})
    return link.get("state") in ("up", "late") and not unreachable(vm)


def _peer(vm):
    """Return what is heard of ``vm``, {} without a view of now."""
    try:
        found = view()
    except CommandExecutionError:
        return {}
    return found["peers"].get(vm, {}) if __utils__["hands.is_fresh"](found) else {}


def lost(names):
    """
    Return those of the VMs ``names`` that every balancer and witness heard here calls lost.

    CLI Example:

    .. code-block:: bash

        salt file1 heartbeat.lost '[web1, web2]'
    """
    found = view()
    vms = __utils__["topology.vms"](__pillar__["cluster"])
    watching = {vm["name"] for vm in vms if vm["role"] in ("balancer", "witness")}
    told = [
        peer["silent"]
        for name, peer in found["peers"].items()
        if name in watching and peer["state"] == "up" and not peer["deaf"]
    ]
    if not __utils__["hands.is_fresh"](found) or not told:
        return []
    return [name for name in names if all(silent.get(name) == "lost" for silent in told)]
