"""
What the cluster decided, and why: one JSON line each in a log on both balancers.

Readers are people (`salt-run ha.explain`) and the decider itself, which counts failovers in it. A
decision may be noted more than once, when it begins and when it ends, or by a job that a paused
VM executes late: the last line of an ``id`` is the one that counts.
"""

import fcntl
import json
import os

from salt.exceptions import CommandExecutionError, SaltInvocationError

LOG = "/var/log/cluster/decisions.jsonl"
# Bytes after which the log is put aside, once: about 2000 decisions, then as many again.
LARGEST = 5_000_000
IDLE = b'"steps": []'  # as `_encoded` writes it
MANY = 20  # lines that are looked at for each that is wanted
LINE = 100_000  # bytes; a decision over 512 VMs has about a tenth


def __virtual__():
    return "decisions"


def note(line):
    """
    Append the decision ``line``, a mapping with at least ``id`` and ``at`` (Unix seconds).

    It is on the disk when this returns True. Raises CommandExecutionError if it cannot be written,
    SaltInvocationError if it is no decision.

    CLI Example:

    .. code-block:: bash

        salt lb1 decisions.note '{"id": "lb1-1", "at": 1750000000, "reason": "a try"}'
    """
    data = _encoded(line)
    try:
        os.makedirs(os.path.dirname(LOG), mode=0o750, exist_ok=True)
        with open(f"{LOG}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _append(data)
    except OSError as error:
        raise CommandExecutionError(f"cannot write to {LOG}: {error}") from error
    return True


def read(count=50, acted=False):
    """
    Return the last ``count`` decisions, the latest one last, each once.

    acted: only those in which something was done, of the last lines that can be looked at without
    delay. A line that a power cut has torn is left out. Raises CommandExecutionError if the log
    exists and cannot be read.

    CLI Example:

    .. code-block:: bash

        salt lb1 decisions.read 5
    """
    found = {}
    for path in (LOG, f"{LOG}.1"):
        for line in reversed(_tail(path, (MANY if acted else 2) * count + 1)):
            if acted and IDLE in line:
                continue
            if decision := _decoded(line):
                _keep(found, decision, count)
        if len(found) >= count:
            break
    return sorted(found.values(), key=lambda decision: decision["at"])


def _keep(found, decision, count):
    """Keep an earlier line only for a new id, or where it has the end that a later one lacks."""
    known = found.get(decision["id"])
    new = known is None and len(found) < count
    if new or (known and "result" in decision and "result" not in known):
        found[decision["id"]] = decision


def _encoded(line):
    if not isinstance(line, dict) or not line.get("id") or type(line.get("at")) not in (int, float):
        raise SaltInvocationError("a decision has an id and the Unix time at which it was made")
    data = json.dumps(line, sort_keys=True, default=str).encode()
    if len(data) > LINE:
        raise SaltInvocationError(f"a decision of {len(data)} bytes is too long, {LINE} fit")
    return data


def _decoded(line):
    try:
        decision = json.loads(line)
        return decision if decision["id"] and float(decision["at"]) else None
    except (ValueError, TypeError, KeyError):
        return None


def _append(data):
    with open(LOG, "ab+") as file:
        if file.tell() + len(data) > LARGEST:
            os.replace(LOG, f"{LOG}.1")
            return _append(data)
        os.fchmod(file.fileno(), 0o640)
        # After a torn line the next one must not continue it: both would be lost.
        whole = not file.tell() or (file.seek(-1, os.SEEK_END) and file.read(1) == b"\n")
        file.write((b"" if whole else b"\n") + data + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _tail(path, lines):
    try:
        with open(path, "rb") as file:
            return file.read().rsplit(b"\n", lines)[-lines:]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CommandExecutionError(f"cannot read {path}: {error}") from error
