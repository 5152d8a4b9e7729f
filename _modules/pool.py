"""
The pool of web VMs behind this balancer: who serves, and who is to be left out on purpose.

poold (a daemon without Salt) asks the web VMs and sets the weights; see salt/balancer/files. This
module reads what it found and keeps the list of those that are drained, which survives a boot.
"""

import json
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

FOUND = "/run/cluster/pool.json"
DRAINED = "/var/lib/cluster/drained.json"
STALE = 3  # seconds after which what poold found says nothing any more
PATIENCE = 3  # seconds for poold to act
CHECK = {"interval": 0.4, "timeout": 0.35, "rise": 3, "fall": 3, "path": "/health", "expect": ""}


def __virtual__():
    return "pool"


def config():
    """
    Return poold's configuration on this balancer.

    CLI Example::

        salt lb1 pool.config
    """
    cluster, name = __pillar__["cluster"], __grains__["id"]
    own = __utils__["topology.internal"](cluster, name)
    webs = __utils__["topology.vms"](cluster, "web")
    table = __utils__["ipvs.declared"](cluster, webs, own)
    public, gateway = __utils__["topology.floating"](cluster, name, "director")
    peer, vms = __utils__["topology.peer"](cluster, name), __utils__["topology.vms"](cluster)
    server = cluster["vms"][name].get("server")
    return {
        "check": CHECK | (cluster["balancer"].get("check") or {}),
        "servers": {
            vm["name"]: {"address": vm["addresses"]["internal"], "weight": vm["size"]["vcpus"]}
            for vm in webs
        },
        "services": [service["service"] for service in table],
        "sorry": __utils__["ipvs.sorry"](table, own),
        "page": "/etc/cluster/sorry.html",
        "certificate": ["/etc/cluster/web.crt", "/etc/cluster/web.key"],
        "floating": {"public": public, "internal": gateway},
        "gateway": cluster["networks"]["public"].get("gateway"),
        "links": cluster["heartbeat"]["links"],
        "peer": peer and peer["name"],
        "elsewhere": [vm["name"] for vm in vms if not vm["server"] or vm["server"] != server],
    }


def status():
    """
    Return what poold found: servers (state, why, since, serving, drained, connections), sorry,
    networks, duplicates, and ``age`` in seconds.

    Raises CommandExecutionError if poold says nothing, or nothing fresh: then nobody knows.

    CLI Example::

        salt lb1 pool.status
    """
    try:
        with open(FOUND, encoding="utf-8") as file:
            found = json.load(file)
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - found.pop("at")
    except (OSError, ValueError, KeyError) as err:
        raise CommandExecutionError(f"poold has not said anything in {FOUND}: {err}") from err
    if age > STALE:
        raise CommandExecutionError(f"poold has said nothing for {age:.0f} s; see its journal")
    return found | {"age": round(age, 3)}


def drained():
    """
    Return who is left out on purpose: {name: {since, why}}; also while poold does not run.

    CLI Example::

        salt lb1 pool.drained
    """
    try:
        with open(DRAINED, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as err:
        raise CommandExecutionError(f"cannot read who is drained in {DRAINED}: {err}") from err


def drain(name, why=None, force=False):
    """
    Give a web VM no new connections on this balancer, until undrain; what it has goes on.

    Returns its entry of status. Refuses, unless ``force``, when nobody else serves; and unless
    ``force``, it serves all the same if nobody else is up any more. Raises CommandExecutionError if
    poold did not act, SaltInvocationError for a name that is no web VM.

    CLI Example::

        salt lb1 pool.drain web1 why='new kernel'
    """
    servers = _servers(name)
    others = [other for other, entry in servers.items() if entry["serving"] and other != name]
    if not others and not force:
        raise CommandExecutionError(f"{name} stays: nobody else serves on {__grains__['id']}")
    known = drained()
    if name not in known or (force and not known[name].get("force")):
        entry = {"since": time.time(), "why": why, **known.get(name, {}), "force": force}
        _keep(known | {name: entry})
    return _acted(name, lambda entry: entry["drained"] and not entry["serving"])


def undrain(name):
    """
    Let a web VM serve again on this balancer, as soon as it is healthy; safe to repeat.

    Returns its entry of status, {} for one that is not in the pillar any more: added again, it
    would still be left out. Raises as drain does.

    CLI Example::

        salt lb1 pool.undrain web1
    """
    known = drained()
    gone = name in known and name not in status()["servers"]
    if not gone:
        _servers(name)
    if name in known:
        del known[name]
        _keep(known)
    return {} if gone else _acted(name, lambda entry: not entry["drained"])


def _servers(name):
    servers = status()["servers"]
    if name not in servers:
        raise SaltInvocationError(f"{name!r} is no web VM; there are {', '.join(servers)}")
    return servers


def _keep(known):
    try:
        __utils__["keeper.replace"](DRAINED, known)
    except OSError as err:
        raise CommandExecutionError(f"cannot keep who is drained in {DRAINED}: {err}") from err


def _acted(name, done):
    until = time.monotonic() + PATIENCE
    while True:
        entry = status()["servers"][name]
        if done(entry):
            return entry
        if time.monotonic() > until:
            raise CommandExecutionError(f"poold has not acted on {name} within {PATIENCE} s")
        time.sleep(0.05)  # between two looks at poold's file, until the deadline
