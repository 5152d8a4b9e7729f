"""
The arbiter: the one place that says who serves a resource, changed by compare-and-swap only.

Driver ``etcd``: the record is the key ``/cluster/<name>/<resource>`` of the members in the pillar.

Drivers ``operator`` and ``fencing`` have no third machine to ask. The record is a file under
/var/lib/cluster/arbiter on the VM that asks; swaps on it exclude each other on this VM, and on
no other. Until the runner that confirms a death (or a power-off) replicates it, it serves the
first bring-up only: a founder whose system disk is replaced while its peer is down would found
again (on a blank data disk only, and the peer's data stays untouched).
"""

import contextlib
import fcntl
import json
import os
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
    created, now = _write(resource, record, 0, _deadline(timeout))
    return {"created": created, "record": record if created else now}


def swap(resource, transition, revision=None, timeout=TIMEOUT, **kwargs):
    """
    Apply a transition of `_utils/record.py` with its arguments to the record of ``resource``.

    Return ``{"swapped": bool, "record": the record now, "reason": sentence}``; ``swapped`` is
    false when the record does not allow the transition. If somebody else changes the record in
    between, the transition is judged again on the new one, unless ``revision`` (of `look`) binds
    it to the one looked at: whoever verifies something before the swap (``mirrored``,
    ``founded``) needs that, because a `serve_alone` granted meanwhile voids what was verified.
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
        record, now = _fetch(resource, deadline)
        if record is None:
            raise CommandExecutionError(f"the arbiter has no record of {resource}")
        answer = _judge(resource, record, transition, arguments)
        if revision not in (None, now):
            answer = {"refused": "the record changed after it was looked at"}
        if "refused" in answer:
            return {"swapped": False, "record": record, "reason": answer["refused"]}
        if _write(resource, answer["record"], now, deadline)[0]:
            reason = f"granted: {transition}"
            return {"swapped": True, "record": answer["record"], "reason": reason}


def _judge(resource, record, transition, arguments):
    try:
        return __utils__["record.apply"](resource, record, transition, arguments)
    except (TypeError, ValueError) as error:
        raise SaltInvocationError(f"{transition}: {error}") from error


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
        answer = _ask("/v3/maintenance/status", {}, time.monotonic() + timeout, [member])
        own, leader = answer["header"]["member_id"], answer.get("leader", "0")
        return {"answers": True, "leader": own == leader, "version": answer["version"]}
    except CommandExecutionError:
        return {"answers": False, "leader": None, "version": None}


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
    if _driver() == "etcd":
        answer = _ask("/v3/kv/range", __utils__["etcd.range_request"](_key(resource)), deadline)
        text, revision = __utils__["etcd.found"](answer)
        return _parse(text)[0], revision
    with _local(resource) as path:
        text, revision = _load(path)
        return _parse(text)[0], revision


def _write(resource, record, revision, deadline):
    """
    Write if the revision is unchanged; return ``(written, the record found instead)``.

    A reply may get lost after the write took place; asked again, etcd then says that the revision
    changed. The writer's token in the value tells our own write from another's.
    """
    writer = f"{__grains__['id']} {secrets.token_hex(8)}"
    text = json.dumps({**record, "writer": writer}, sort_keys=True)
    if _driver() == "etcd":
        body = __utils__["etcd.put_if"](_key(resource), text, revision)
        done, other = __utils__["etcd.written"](_ask("/v3/kv/txn", body, deadline))
        if done:
            return True, None
        now, by = _parse(__utils__["etcd.found"](other)[0])
        return by == writer, now
    return _write_local(resource, text, revision)


def _parse(text):
    """Return ``(record, writer)`` of a stored value; (None, None) if there is none."""
    if text is None:
        return None, None
    try:
        value = json.loads(text)
        writer = value.pop("writer", None)
        return __utils__["record.check"](value), writer
    except (ValueError, AttributeError, TypeError) as error:
        raise CommandExecutionError(f"the arbiter's record is damaged: {error}") from error


@contextlib.contextmanager
def _local(resource):
    """Hold the local record against the other threads and processes of this VM."""
    path = os.path.join(DIRECTORY, _key(resource).rpartition("/")[2])
    try:
        os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
        with open(f"{path}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield f"{path}.json"
    except OSError as error:
        raise CommandExecutionError(f"cannot use the record in {path}.json: {error}") from error


def _load(path):
    try:
        with open(path, encoding="utf-8") as file:
            stored = json.load(file)
        return stored["value"], stored["revision"]
    except FileNotFoundError:
        return None, 0
    except (ValueError, KeyError, TypeError) as error:
        raise CommandExecutionError(f"the record in {path} is damaged: {error}") from error


def _write_local(resource, text, revision):
    with _local(resource) as path:
        now, found = _load(path)
        if found != revision:
            return False, _parse(now)[0]
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump({"value": text, "revision": revision + 1}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)
        directory = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    return True, None
