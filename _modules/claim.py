"""
The local guard of a resource: which epoch this VM has seen, and whether a command is still valid.

Every activate and deactivate calls `claim.take` first. A command from an older epoch, or one that
a paused VM executes after it thawed (Salt delivers it minutes late), is refused here, on this
VM's own disk, whatever the rest of the cluster believes.
"""

import contextlib
import fcntl
import json
import os
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

DIRECTORY = "/var/lib/cluster"
# What this VM serves now, for heartbeatd; empty after a boot, as the VM is passive then (I5).
HELD = "/run/cluster/held"


def __virtual__():
    return "claim"


def take(resource, epoch, deadline, alone=None):
    """
    Claim ``resource`` at ``epoch`` (an integer from 1) unless ``deadline`` (Unix seconds) is over.

    The epoch is on the disk before this returns. Taking the highest epoch again is allowed:
    activation is repeatable. ``alone`` is the permission to acknowledge without the mirror: the
    revision of the record that the swap made which granted it. It is refused once a mirror was
    begun at that revision or a later one. Raises CommandExecutionError when late or outdated,
    SaltInvocationError for bad arguments.

    CLI Example:

    .. code-block:: bash

        salt-call claim.take files 3 "$(($(date +%s) + 20))"
    """
    _arguments(epoch, deadline, alone)
    _judge_and_store(resource, epoch, deadline, alone=alone)


def mirroring(resource, epoch, deadline, revision):
    """
    Claim ``resource`` at ``epoch`` and void every permission up to ``revision`` to go on alone.

    Comes before synchronous mode is restored; ``revision`` is the record's to which the swap
    ``mirrored`` will be bound. Without this, a late "go on alone" could switch synchronous mode off
    although the record says by then that the standby has everything. Refused once a later revision
    permitted to go on alone in this epoch: that swap would be refused. Raises as `take` does.

    CLI Example:

    .. code-block:: bash

        salt-call claim.mirroring files 3 "$(($(date +%s) + 20))" 1042
    """
    _arguments(epoch, deadline, revision)
    _judge_and_store(resource, epoch, deadline, mirror=revision)


def in_time(resource, deadline):
    """
    Raise CommandExecutionError if ``deadline`` (Unix seconds) is over, for what takes no epoch.

    CLI Example:

    .. code-block:: bash

        salt-call claim.in_time database "$(($(date +%s) + 20))"
    """
    _judge_deadline(deadline)
    if late := _late(time.time() - deadline):
        raise CommandExecutionError(f"{resource}: refused, {late}")


@contextlib.contextmanager
def role(resource, deadline):
    """
    Hold the resource's role on this VM: of activate, deactivate, mirror and follow, one at a time.

    A command claims first and acts then; without this, an older one that has claimed already could
    act after a newer one is done. A context manager, for modules only. Raises
    CommandExecutionError if another command is still at work at ``deadline`` (Unix seconds).

    CLI Example:

    .. code-block:: python

        with __salt__["claim.role"]("files", deadline):
            __salt__["claim.take"]("files", epoch, deadline)
    """
    with _open_lock(resource, "role.lock") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.time() > deadline:
                    why = f"{resource}: refused, another command was still at work at the deadline"
                    raise CommandExecutionError(why) from error
                time.sleep(0.02)  # between two looks, until the deadline
        yield


def seen(resource):
    """
    Return the highest epoch of ``resource`` ever claimed on this VM, 0 if none.

    Raises CommandExecutionError if the note exists but cannot be read.

    CLI Example:

    .. code-block:: bash

        salt-call claim.seen files
    """
    return _load(resource)["epoch"]


def probe(resource):
    """
    Write the note of ``resource`` again as it is: could this VM claim it? Return True.

    Raises CommandExecutionError if it could not: a full disk, one that is read-only, a damaged
    note.

    CLI Example:

    .. code-block:: bash

        salt file2 claim.probe files
    """
    with _locked(resource):
        _store(resource, _load(resource))
    return True


def hold(resource, epoch):
    """
    Say from now on, in every heartbeat, that this VM serves ``resource`` in ``epoch``.

    Comes after `take` and before anything can serve: who serves without saying so could not be
    told to step down. Raises CommandExecutionError if a higher epoch was seen here meanwhile.

    CLI Example:

    .. code-block:: bash

        salt-call claim.hold files 3
    """
    _arguments(epoch, 0)
    with _locked(resource):
        seen_here = _load(resource)["epoch"]
        if epoch != seen_here:
            raise CommandExecutionError(
                f"{resource}: refused, epoch {epoch} is not held here; {seen_here} was seen last"
            )
        _replace(_held_path(resource), {"epoch": epoch})


def release(resource):
    """
    Say from now on that this VM does not serve ``resource``; comes when everything has ended.

    CLI Example:

    .. code-block:: bash

        salt-call claim.release files
    """
    with _locked(resource), contextlib.suppress(FileNotFoundError):
        os.unlink(_held_path(resource))


def held(resource):
    """
    Return the epoch in which this VM says that it serves ``resource``, 0 if it does not.

    Raises CommandExecutionError if the note exists but cannot be read.

    CLI Example:

    .. code-block:: bash

        salt-call claim.held files
    """
    path = _held_path(resource)
    try:
        with open(path, encoding="utf-8") as file:
            return int(json.load(file)["epoch"])
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandExecutionError(f"cannot read what is held in {path}: {error}") from error


def settled(resource):
    """
    Return whether the first bring-up of ``resource`` is over as far as this VM is concerned.

    CLI Example:

    .. code-block:: bash

        salt-call claim.settled files
    """
    return _load(resource)["settled"]


def settle(resource):
    """
    Note for good that the first bring-up of ``resource`` is over on this VM.

    CLI Example:

    .. code-block:: bash

        salt-call claim.settle files
    """
    with _locked(resource):
        known = _load(resource)
        if not known["settled"]:
            _store(resource, {**known, "settled": True})


def _judge_and_store(resource, epoch, deadline, alone=None, mirror=None):
    with _locked(resource):
        known = _load(resource)
        late = time.time() - deadline
        note, refused = _judge(known, epoch, late, alone, mirror)
        if refused:
            raise CommandExecutionError(f"{resource}: refused, {refused}")
        if note != known:
            _store(resource, note)


def _judge(note, epoch, late, alone=None, mirror=None):
    """
    Return ``(new note, None)`` or ``(note, why it is refused)``: the rule, without any I/O.

    late: seconds since the deadline, negative before it; alone, mirror: revisions or None.
    """
    if why := _late(late):
        return note, why
    if epoch < note["epoch"]:
        return note, f"epoch {epoch} is over; epoch {note['epoch']} was seen here"
    if alone is not None and alone <= note["mirroring"]:
        return note, (
            f"the permission {alone} to go on alone is over: a mirror was begun at revision "
            f"{note['mirroring']}"
        )
    permitted = max(note["alone"] if epoch == note["epoch"] else 0, alone or 0)
    if mirror is not None and mirror < permitted:
        return note, f"revision {permitted} permitted to go on alone, after {mirror}"
    begun = max(note["mirroring"], mirror or 0)
    return {**note, "epoch": epoch, "mirroring": begun, "alone": permitted}, None


def _late(seconds):
    return f"the command's deadline was over {seconds:.1f} s ago" if seconds > 0 else None


def _arguments(epoch, deadline, revision=None):
    if type(epoch) is not int or epoch < 1:
        raise SaltInvocationError(f"epoch must be an integer from 1, not {epoch!r}")
    _judge_deadline(deadline)
    if revision is not None and (type(revision) is not int or revision < 1):
        raise SaltInvocationError(f"a revision is an integer from 1, not {revision!r}")


def _judge_deadline(deadline):
    if type(deadline) not in (int, float):
        raise SaltInvocationError(f"deadline must be Unix seconds, not {deadline!r}")


def _path(resource):
    return os.path.join(DIRECTORY, f"{_name(resource)}.json")


def _held_path(resource):
    return os.path.join(HELD, f"{_name(resource)}.json")


def _name(resource):
    if not resource.isidentifier():
        raise SaltInvocationError(f"{resource!r} is no resource")
    return resource


def _load(resource):
    """Return the note; absent is epoch 0, unreadable is an error and never 0."""
    path = _path(resource)
    try:
        with open(path, encoding="utf-8") as file:
            note = json.load(file)
        return {
            "epoch": int(note["epoch"]),
            "mirroring": int(note.get("mirroring", 0)),
            "alone": int(note.get("alone", 0)),
            "settled": bool(note.get("settled", False)),
        }
    except FileNotFoundError:
        return {"epoch": 0, "mirroring": 0, "alone": 0, "settled": False}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandExecutionError(f"cannot read the claim in {path}: {error}") from error


def _store(resource, note):
    _replace(_path(resource), note)


def _replace(path, note):
    try:
        __utils__["keeper.replace"](path, note)
    except OSError as error:
        raise CommandExecutionError(f"cannot keep the claim in {path}: {error}") from error


@contextlib.contextmanager
def _locked(resource):
    """Hold the note against every other thread and process of this VM."""
    with _open_lock(resource, "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _open_lock(resource, suffix):
    try:
        os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
        return open(f"{_path(resource)}.{suffix}", "w", encoding="utf-8")
    except OSError as error:
        raise CommandExecutionError(f"cannot lock the claim of {resource}: {error}") from error
