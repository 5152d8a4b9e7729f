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


def __virtual__():
    return "claim"


def take(resource, epoch, deadline):
    """
    Claim ``resource`` at ``epoch`` (an integer from 1) unless ``deadline`` (Unix seconds) is over.

    The epoch is on the disk before this returns. Taking the highest epoch again is allowed:
    activation is repeatable. Raises CommandExecutionError when late or outdated,
    SaltInvocationError for bad arguments.

    CLI Example:

    .. code-block:: bash

        salt-call claim.take files 3 "$(($(date +%s) + 20))"
    """
    _arguments(epoch, deadline)
    with _locked(resource):
        known = _load(resource)
        late = time.time() - deadline
        if late > 0:
            raise CommandExecutionError(
                f"{resource}: refused, the command's deadline was over {late:.1f} s ago"
            )
        if epoch < known["epoch"]:
            raise CommandExecutionError(
                f"{resource}: refused, epoch {epoch} is over; epoch {known['epoch']} was seen here"
            )
        if epoch > known["epoch"]:
            _store(resource, {**known, "epoch": epoch})


def seen(resource):
    """
    Return the highest epoch of ``resource`` ever claimed on this VM, 0 if none.

    Raises CommandExecutionError if the note exists but cannot be read.

    CLI Example:

    .. code-block:: bash

        salt-call claim.seen files
    """
    return _load(resource)["epoch"]


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


def _arguments(epoch, deadline):
    if type(epoch) is not int or epoch < 1:
        raise SaltInvocationError(f"epoch must be an integer from 1, not {epoch!r}")
    if type(deadline) not in (int, float):
        raise SaltInvocationError(f"deadline must be Unix seconds, not {deadline!r}")


def _path(resource):
    if not resource.isidentifier():
        raise SaltInvocationError(f"{resource!r} is no resource")
    return os.path.join(DIRECTORY, f"{resource}.json")


def _load(resource):
    """Return the note; absent is epoch 0, unreadable is an error and never 0."""
    path = _path(resource)
    try:
        with open(path, encoding="utf-8") as file:
            note = json.load(file)
        return {"epoch": int(note["epoch"]), "settled": bool(note.get("settled", False))}
    except FileNotFoundError:
        return {"epoch": 0, "settled": False}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandExecutionError(f"cannot read the claim in {path}: {error}") from error


def _store(resource, note):
    """Replace the note in one step that a power cut cannot tear."""
    path = _path(resource)
    new = f"{path}.new"
    try:
        with open(new, "w", encoding="utf-8") as file:
            json.dump(note, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        _sync_directory()
    except OSError as error:
        raise CommandExecutionError(f"cannot keep the claim in {path}: {error}") from error


def _sync_directory():
    directory = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def _locked(resource):
    """Hold the claim against every other thread and process of this VM."""
    try:
        os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
        lock = open(f"{_path(resource)}.lock", "w", encoding="utf-8")
    except OSError as error:
        raise CommandExecutionError(f"cannot lock the claim of {resource}: {error}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
