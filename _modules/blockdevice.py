"""
What is on a block device, asked before anything is written to it.

Only a blank device may be used: nobody has it open, wipefs finds no signature on it, and its first
and last MiB are zero. "Could not be told" is None, and never taken for blank.
"""

import json
import os
import stat

import salt.utils.path
from salt.exceptions import CommandExecutionError

MIB = 2**20


def __virtual__():
    if salt.utils.path.which("wipefs"):
        return "blockdevice"
    return False, "wipefs (util-linux) is not installed"


def _run(*command):
    return __utils__["command.output"](command)


def _parse(text):
    """Return the signatures in the output of `wipefs --json`, which is empty without any."""
    try:
        found = json.loads(text)["signatures"] if text.strip() else []
        return [{"type": entry["type"], "offset": int(entry["offset"], 16)} for entry in found]
    except (ValueError, KeyError, TypeError) as err:
        raise CommandExecutionError(f"wipefs --json: not understood: {err!r}") from err


def signatures(device):
    """
    Return the signatures on a block device: ``[{"type": "ext4", "offset": 1080}]`` (bytes).

    Raises CommandExecutionError if it cannot be read.

    CLI Example::

        salt file1 blockdevice.signatures /dev/vdb
    """
    return _parse(_run("wipefs", "--json", device))


def blank(device):
    """
    Return ``{"blank": True | False | None, "reason": sentence}`` for a block device.

    CLI Example::

        salt file1 blockdevice.blank /dev/vdb
    """
    try:
        if not stat.S_ISBLK(os.stat(device).st_mode):
            return {"blank": None, "reason": f"{device} is no block device"}
        found = [f"{entry['type']} at byte {entry['offset']}" for entry in signatures(device)]
        if found:
            return {"blank": False, "reason": f"{device} carries {', '.join(found)}"}
        where = _written(device)
    except (OSError, CommandExecutionError) as err:
        return {"blank": None, "reason": f"{device} cannot be examined: {err}"}
    if where:
        return {"blank": False, "reason": f"{device} is not zero in its {where} MiB"}
    return {"blank": True, "reason": f"{device} is blank"}


def _written(device):
    """Return which end of the device holds anything but zeros, or None."""
    # O_EXCL on a block device fails while somebody has it mounted or otherwise claimed.
    with open(os.open(device, os.O_RDONLY | os.O_EXCL), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        for where, offset in (("first", 0), ("last", max(0, size - MIB))):
            file.seek(offset)
            if any(file.read(MIB)):
                return where
    return None
