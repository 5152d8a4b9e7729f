"""
A compare-and-swap register in a file: what the arbiter's drivers without a third machine keep.

Each key is ``<folder>/<key>.json``, ``{"value": text, "revision": int}``. Swaps exclude each other
on this VM, and on no other.
"""

import contextlib
import fcntl
import json
import os
import time

from salt.exceptions import CommandExecutionError


def get(folder, key):
    """Return ``(value or None, revision)``; raises CommandExecutionError if it is damaged."""
    with _locked(folder, key) as path:
        return _load(path)


def put(folder, key, value, revision, new=None):
    """
    Write ``value`` if the revision still is ``revision`` (0: absent), as ``new`` or one above it.

    Return ``(written, the value now, its revision)``. Raises CommandExecutionError.
    """
    with _locked(folder, key) as path:
        now, found = _load(path)
        if found != revision:
            return False, now, found
        new = new or revision + 1
        replace(path, {"value": value, "revision": new})
        return True, value, new


@contextlib.contextmanager
def _locked(folder, key):
    """Hold the key against the other threads and processes of this VM."""
    path = os.path.join(folder, key)
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
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


def read(path):
    """Return what `replace` wrote, None if there is none; raises CommandExecutionError."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CommandExecutionError(f"{path} is damaged: {error}") from error


def keys(folder):
    """Return the keys that are kept in ``folder``, sorted."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name[:-5] for name in names if name.endswith(".json")]


def stamp(folder, key):
    """Note in ``<folder>/<key>.json`` that it is now, by a clock that only a boot sets back."""
    with _locked(folder, key) as path:
        replace(path, {"at": time.clock_gettime(time.CLOCK_BOOTTIME)})


def lately(folder, key, seconds):
    """Return whether `stamp` was called less than ``seconds`` ago."""
    stamped = read(f"{os.path.join(folder, key)}.json")
    return bool(stamped) and time.clock_gettime(time.CLOCK_BOOTTIME) < stamped["at"] + seconds


def replace(path, content):
    """Write the JSON file ``path`` in one step that a power cut cannot tear; raises OSError."""
    keep(path, json.dumps(content))


def keep(path, text):
    """Write the file ``path`` in one step that a power cut cannot tear; raises OSError."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
