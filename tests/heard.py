"""What heartbeatd on a balancer writes about a cluster of the default pillar."""

import time

from tests import trees

HOLDERS = {"director": "lb1", "files": "file1", "database": "db1"}
STANDBYS = {"director": "lb2", "files": "file2", "database": "db2"}
SERVER1 = ("lb1", "web1", "file1", "db1")


def report(me="lb2", lost=(), held=None, health=None, late=()):
    """
    Return the view of ``me``, in which everybody agrees who is lost.

    held: VM -> {resource: epoch}, by default the holders serve epoch 3; health: VM -> {name: ok}.
    """
    if held is None:
        held = {vm: {resource: 3} for resource, vm in HOLDERS.items()}
    peers = {
        name: _peer(name, lost, held.get(name, {}), (health or {}).get(name, {}), name in late)
        for name in trees.cluster("default")["vms"]
    }
    at = time.clock_gettime(time.CLOCK_BOOTTIME)
    return {"name": me, "incarnation": 7, "own": peers.pop(me), "peers": peers, "at": at}


def _peer(name, lost, held, health, late):
    state = "dead" if name in lost else "late" if late else "up"
    resource = next((r for r in HOLDERS if name in (HOLDERS[r], STANDBYS[r])), None)
    fit = {f"{resource}.fit": True, f"{resource}.following": True} if resource else {}
    return {
        "state": state, "for": 0.1, "silence": 0.1, "incarnation": 5, "losses": int(name in lost),
        "claims": {resource: [epoch, 2] for resource, epoch in held.items() if epoch},
        "health": fit | health, "deaf": False,
        "silent": {} if name in lost else {vm: "lost" for vm in lost},
        "links": {"internal": {"state": state, "silence": 0.1}},
    }  # fmt: skip
