"""
The arbiter: the one place that says who serves a resource, changed by compare-and-swap only.

Driver ``etcd``: the record is the key ``/cluster/<name>/<resource>`` of the members in the pillar.

Drivers ``operator`` and ``fencing`` have no third machine to ask. The record is on both balancers'
disks, see `_modules/copies.py`. Files and database are founded on other VMs: until that is over,
their record is on the founder's own disk, and nobody but the founder may change it.
"""

import json
import secrets
import time

import salt.utils.args
from salt.exceptions import CommandExecutionError, SaltInvocationError

DIRECTORY = "/var/lib/cluster/arbiter"
TLS = {
    "ca": "/etc/cluster/ca.crt",
    "certificate": "/etc/cluster/vm.crt",
    "key": "/etc/cluster/vm.key",
}
# Seconds for a whole call: two elections in a row. Too short errs towards "unreachable", which
# every caller treats as "no permission", never as "absent".
TIMEOUT = 6
LAG = 10  # entries of etcd's log that whoever is to lead may lack; a heartbeat later it has them


def __virtual__():
    return "arbiter"


def read(resource, timeout=TIMEOUT):
    """
    Return the record of ``resource``, or None if there is none, within ``timeout`` seconds.

    Raises CommandExecutionError when the arbiter cannot be reached or has lost its quorum.

    CLI Example:

    .. code-block:: bash

        salt lb1 arbiter.read files
    """
    return look(resource, timeout)["record"]


def look(resource, timeout=TIMEOUT):
    """
    Return ``{"record": as read() does, "revision": int}``, for a swap bound to that revision.

    CLI Example:

    .. code-block:: bash

        salt lb1 arbiter.look files
    """
    record, revision = _fetch(resource, _deadline(timeout))
    return {"record": record, "revision": revision}


def create(resource, holder, timeout=TIMEOUT):
    """
    Create the record of ``resource`` for the VM ``holder`` unless there is one.

    Return ``{"created": bool, "record": the record there is now}``. Of all callers at once,
    exactly one gets ``created`` true. Raises CommandExecutionError when the arbiter cannot be
    reached within ``timeout`` seconds (the record may exist then; call again).

    CLI Example:

    .. code-block:: bash

        salt lb1 arbiter.create files file1
    """
    known = __utils__["topology.vms"](__pillar__["cluster"])
    if holder not in [vm["name"] for vm in known]:
        raise SaltInvocationError(f"{holder!r} is no VM of this cluster")
    record = __utils__["record.create"](holder)
    created, now, _ = _put(resource, record, 0, _deadline(timeout))
    return {"created": created, "record": _checked(now)}


def swap(resource, transition, revision=None, timeout=TIMEOUT, record=None, **kwargs):
    """
    Apply a transition of `_utils/record.py` with its arguments to the record of ``resource``.

    Return ``{"swapped": bool, "record": the record now, "revision": its revision, "reason":
    sentence}``; ``swapped`` is false when the record does not allow the transition. If somebody
    else changes the record in between, the transition is judged again on the new one, unless
    ``revision`` (of `look`) binds it to the one looked at: whoever verifies something before the
    swap (``mirrored``, ``founded``) needs that, because a `serve_alone` granted meanwhile voids
    what was verified. With the ``record`` of that revision it is not asked for again: a failover
    does not wait for the members twice.
    Every granted swap is a write, also one that repeats what the record says already.

    Raises CommandExecutionError when there is no record, or when the arbiter cannot be reached
    within ``timeout`` seconds (the swap may have happened: call again, or read),
    SaltInvocationError for bad arguments.

    CLI Example:

    .. code-block:: bash

        salt file1 arbiter.swap files serve_alone holder=file1 epoch=1
    """
    arguments = salt.utils.args.clean_kwargs(**kwargs)
    deadline = _deadline(timeout)
    while True:
        if record is not None and revision is not None:
            now = revision
        else:
            record, now = _fetch(resource, deadline)
        if record is None:
            raise CommandExecutionError(f"the arbiter has no record of {resource}")
        answer = _judge(resource, record, transition, arguments)
        if revision not in (None, now):
            answer = {"refused": "the record changed after it was looked at"}
        if "refused" in answer:
            return _answer(False, record, now, answer["refused"])
        written, found, now = _put(resource, answer["record"], now, deadline)
        if written:
            return _answer(True, found, now, f"granted: {transition}")
        record = None


def _answer(swapped, record, revision, reason):
    return {"swapped": swapped, "record": record, "revision": revision, "reason": reason}


def _judge(resource, record, transition, arguments):
    try:
        return __utils__["record.apply"](resource, record, transition, arguments)
    except (TypeError, ValueError) as error:
        raise SaltInvocationError(f"{transition}: {error}") from error


def load(key, timeout=TIMEOUT):
    """
    Return ``{"value": text or None, "revision": int}`` of ``key``: what else all masters share.

    Raises CommandExecutionError when the arbiter cannot be reached within ``timeout`` seconds.

    CLI Example:

    .. code-block:: bash

        salt lb1 arbiter.load marks
    """
    fields, revision = _get(key, _deadline(timeout))
    if fields is not None and "value" not in fields:
        raise CommandExecutionError(f"what the arbiter stores as {key} is damaged")
    return {"value": fields and fields["value"], "revision": revision}


def store(key, value, revision, timeout=TIMEOUT):
    """
    Set ``key`` to ``value`` (text) if its revision still is ``revision`` (0: absent).

    Return whether it was set. Raises CommandExecutionError when the arbiter cannot be reached
    within ``timeout`` seconds (it may be set then: load it again), SaltInvocationError for a
    value that is no text.

    CLI Example:

    .. code-block:: bash

        salt lb1 arbiter.store motto excelsior 0
    """
    if not isinstance(value, str):
        raise SaltInvocationError(f"only text can be stored, not {value!r}")
    return _put(key, {"value": value}, revision, _deadline(timeout))[0]


def status(timeout=2):
    """
    Return what each member of the arbiter says for itself, within ``timeout`` seconds each.

    A mapping of names to ``{"answers": bool, "leader": bool or None, "version": text or None}``.

    CLI Example:

    .. code-block:: bash

        salt lb1 arbiter.status
    """
    if _driver() != "etcd":
        return {}
    return {member["name"]: _member_status(member, timeout) for member in _members()}


def _member_status(member, timeout):
    try:
        answer = _state_of([member], time.monotonic() + timeout)
        return {"answers": True, "leader": _leads(answer), "version": answer["version"]}
    except CommandExecutionError:
        return {"answers": False, "leader": None, "version": None}


def _state_of(members, deadline):
    """Return what the first of ``members`` that answers says of itself."""
    return _ask("/v3/maintenance/status", {}, deadline, members)


def _leads(status):
    return status["header"]["member_id"] == status.get("leader", "0")


def yield_lead(timeout=2):
    """
    If this VM's member leads etcd, have a witness lead; return whether that was to be done.

    A balancer that dies as the leader has its own failover wait for an election (1 to 2 s). Raises
    CommandExecutionError if the witness does not keep up, or does not lead ``timeout`` seconds
    later.

    CLI Example:

    .. code-block:: bash

        salt lb1 arbiter.yield_lead
    """
    vms, me, deadline = __pillar__["cluster"]["vms"], __grains__["id"], _deadline(timeout)
    members = _members() if _driver() == "etcd" else []
    own = [member for member in members if member["name"] == me]
    witnesses = [one for one in members if vms[one["name"]]["role"] == "witness" and one not in own]
    if not own or not witnesses or not _leads(mine := _state_of(own, deadline)):
        return False
    there = _state_of(witnesses[::-1], deadline)  # the farthest first
    missing = int(mine["raftIndex"]) - int(there["raftIndex"])
    if there.get("leader") != mine["leader"] or missing > LAG:
        raise CommandExecutionError(f"the witness does not keep up: it lacks {missing} entries")
    target = {"targetID": there["header"]["member_id"]}
    _ask("/v3/maintenance/transfer-leadership", target, deadline, own)
    return True


def _driver():
    return __pillar__["cluster"]["arbiter"]["driver"]


def _deadline(timeout):
    if type(timeout) not in (int, float) or timeout <= 0:
        raise SaltInvocationError(f"timeout must be seconds above 0, not {timeout!r}")
    return time.monotonic() + timeout


def _members():
    """The members, nearest first: this VM, then this server, which lives or dies with us."""
    cluster, me = __pillar__["cluster"], __grains__["id"]
    server = {vm["name"]: vm["server"] for vm in __utils__["topology.vms"](cluster)}

    def distance(member):
        return member["name"] != me, server[member["name"]] != server[me]

    return sorted(__utils__["topology.arbiter_members"](cluster), key=distance)


def _ask(path, body, deadline, members=None):
    left = round(max(0.1, deadline - time.monotonic()), 1)
    return __utils__["etcd.call"](members or _members(), TLS, path, body, left)


def _key(resource):
    if not isinstance(resource, str) or not resource.isidentifier():
        raise SaltInvocationError(f"{resource!r} is no resource")
    return f"/cluster/{__pillar__['cluster']['name']}/{resource}"


def _fetch(resource, deadline):
    """Return ``(record or None, revision)``."""
    fields, revision = _get(resource, deadline)
    return fields and _checked(fields), revision


def _checked(fields):
    try:
        return __utils__["record.check"](fields)
    except ValueError as error:
        raise CommandExecutionError(f"the arbiter's record is damaged: {error}") from error


def _get(key, deadline):
    """Return ``(fields or None, revision)`` of a key."""
    name = _key(key)
    if _driver() == "etcd":
        answer = _ask("/v3/kv/range", __utils__["etcd.range_request"](name), deadline)
        text, revision = __utils__["etcd.found"](answer)
    else:
        text, revision = _kept("get", key)
    return _parse(text)[0], revision


def _put(key, fields, revision, deadline):
    """
    Write if the revision is unchanged; return ``(written, the fields now, their revision)``.

    A reply may get lost after the write took place; asked again, etcd then says that the revision
    changed. The writer's token in the value tells our own write from another's.
    """
    name, writer = _key(key), f"{__grains__['id']} {secrets.token_hex(8)}"
    text = json.dumps({**fields, "writer": writer}, sort_keys=True)
    if _driver() == "etcd":
        answer = _ask("/v3/kv/txn", __utils__["etcd.put_if"](name, text, revision), deadline)
        done, other = __utils__["etcd.written"](answer)
        if done:
            return True, fields, int(answer["header"]["revision"])
        found, now = __utils__["etcd.found"](other)
    else:
        _, found, now = _kept("put", key, text, revision)
    there, by = _parse(found)
    return by == writer, there, now


def _kept(do, key, *arguments):
    """A balancer keeps the records together with the other one; a founder its own, until then."""
    cluster = __pillar__["cluster"]
    if cluster["vms"][__grains__["id"]]["role"] != "balancer":
        return __utils__[f"keeper.{do}"](DIRECTORY, key, *arguments)
    roles = {"files": "file", "database": "database"}
    if do == "get" and key in roles:
        _adopt(key, roles[key])
    return __salt__[f"copies.{do}"](key, *arguments, lone=key not in roles)


def _adopt(key, role):
    """Take over the record that a founder keeps on its own disk, once its founding is over."""
    if __salt__["copies.get"](key, lone=True)[0] is not None:
        return
    founder = __utils__["topology.founder"](__pillar__["cluster"], role)
    entry = __salt__["copies.founded"](founder, key)
    record = _parse(entry[0])[0] if entry else None
    if record and not record["founding"]:
        # Revisions go on: the founder's claim voids permissions up to those of its own.
        __salt__["copies.put"](key, entry[0], 0, new=entry[1])


def _parse(text):
    """Return ``(fields, writer)`` of a stored value; (None, None) if there is none."""
    if text is None:
        return None, None
    try:
        fields = json.loads(text)
        writer = fields.pop("writer", None)
    except (ValueError, AttributeError, TypeError) as error:
        raise CommandExecutionError(f"the arbiter's record is damaged: {error}") from error
    return fields, writer
