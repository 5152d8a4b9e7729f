"""
This VM's own membership of the arbiter's etcd: how a member without data comes in.

A member that lost its disk must not start as if nothing had happened: it has voted, has forgotten
it, and would vote again. So whatever the others know of an earlier member at this address is
removed, and this one is added as a new one; the cluster is founded only when every other member's
VM answers and none of them knows a cluster.
"""

import os
import time

from salt.exceptions import CommandExecutionError

DATA = "/var/lib/etcd/cluster"
INITIAL = "/var/lib/cluster/etcd.env"  # read by etcd.service, which does not start without it
TLS = {
    "ca": "/etc/cluster/ca.crt",
    "certificate": "/etc/cluster/vm.crt",
    "key": "/etc/cluster/vm.key",
}
INTERVAL = 1  # seconds between two looks
TIMEOUT = 10  # seconds for a change of the membership


def __virtual__():
    return "etcd_member"


def peers():
    """
    Return the members as etcd's ``initial-cluster`` wants them.

    CLI Example:

    .. code-block:: bash

        salt lb1 etcd_member.peers
    """
    return ",".join(f"{one['name']}={_peer_url(one)}" for one in _members())


def enrolled():
    """
    Return whether this VM may start its member: it has data, or knows how to come in.

    CLI Example:

    .. code-block:: bash

        salt lb1 etcd_member.enrolled
    """
    return os.path.isdir(os.path.join(DATA, "member")) and os.path.exists(INITIAL)


def enrol(timeout=240):
    """
    Find out how this VM's member, which has no data, comes in, and prepare its first start.

    Waits ``timeout`` seconds at most for the other members' VMs. Return the sentence that says
    what was done. Raises CommandExecutionError when they stay silent, or have no quorum to let a
    rebuilt member in.

    CLI Example:

    .. code-block:: bash

        salt lb1 etcd_member.enrol
    """
    if os.path.isdir(os.path.join(DATA, "member")):
        _prepare("existing")  # etcd looks at its data first
        return "it has data already"
    step, reason = _awaited_step(time.monotonic() + timeout)
    if step in ("join", "rejoin"):
        _replace_member()
    _prepare("new" if step == "new" else "existing")
    return f"{step}: {reason}"


def _members():
    return __utils__["topology.arbiter_members"](__pillar__["cluster"])


def _me():
    return next(one for one in _members() if one["name"] == __grains__["id"])


def _others():
    return [one for one in _members() if one["name"] != __grains__["id"]]


def _peer_url(member):
    return f"https://{member['address']}:2380"


def _awaited_step(ends):
    while True:
        views = {one["name"]: __utils__["etcd.members_seen_by"](one, TLS) for one in _others()}
        step, reason = __utils__["etcd.enrolment"](_peer_url(_me()), views)
        if step != "wait":
            return step, reason
        if time.monotonic() + INTERVAL > ends:
            raise CommandExecutionError(f"cannot found the arbiter: {reason}")
        time.sleep(INTERVAL)


def _replace_member():
    """Remove whatever the others know at this address, then add this member."""
    url = _peer_url(_me())
    for one in _ask("/v3/cluster/member/list", {"linearizable": True})["members"]:
        if url not in one["peerURLs"]:
            continue
        if not one.get("name"):
            return  # an earlier attempt added it and lost the reply
        _ask("/v3/cluster/member/remove", {"ID": one["ID"]})
    _ask("/v3/cluster/member/add", {"peerURLs": [url]})


def _ask(path, body):
    return __utils__["etcd.call"](_others(), TLS, path, body, TIMEOUT)


def _prepare(state):
    try:
        __utils__["keeper.keep"](INITIAL, f"ETCD_INITIAL_CLUSTER_STATE={state}\n")
    except OSError as error:
        raise CommandExecutionError(f"cannot prepare {INITIAL}: {error}") from error
