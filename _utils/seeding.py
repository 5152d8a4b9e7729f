"""
The note that this VM's database server is being replaced by a copy of another.

A load that was cut short leaves a server that looks like a replica: it has a position, and no
transaction that its source has not. Only this note, on the disk before the load begins and gone
after it was verified, tells that tables are missing.
"""

import contextlib
import os

from salt.exceptions import CommandExecutionError

PATH = "/var/lib/cluster/database.seeding"


def begin(source):
    """Note durably that a copy of the server at address ``source`` is begun."""
    try:
        os.makedirs(os.path.dirname(PATH), mode=0o755, exist_ok=True)
        with open(PATH, "w", encoding="utf-8") as file:
            file.write(f"{source}\n")
            file.flush()
            os.fsync(file.fileno())
        _sync_directory()
    except OSError as error:
        raise CommandExecutionError(f"cannot keep the note {PATH}: {error}") from error


def end():
    """Note durably that the copy is complete."""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(PATH)
        _sync_directory()
    except OSError as error:
        raise CommandExecutionError(f"cannot remove the note {PATH}: {error}") from error


def unfinished():
    """Return a sentence if a copy was begun and is not complete, None otherwise."""
    try:
        with open(PATH, encoding="utf-8") as file:
            source = file.read().strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # unknown is not complete
        raise CommandExecutionError(f"cannot read the note {PATH}: {error}") from error
    return f"a copy of {source or 'another server'} was begun and is not complete; follow it again"


def _sync_directory():
    directory = os.open(os.path.dirname(PATH), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
