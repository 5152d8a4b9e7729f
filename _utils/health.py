"""
How the services of this VM are: one small file each, which heartbeatd reads and tells everybody.

Beacons and daemons write here what they have just seen, again and again: heartbeatd takes a word
older than five seconds for none, so that whoever hangs or died does not go on saying that all is
well. Standard library only: a daemon without Salt imports this file as it is.
"""

import json
import os
import threading
import time

DIRECTORY = "/run/cluster/health"


def write(name, ok, lasting=False):
    """
    Say how a service is: ok True, False or None (unknown), under a name like ``files.service``.

    lasting: what is true until it is written anew or removed; it never ages. Raises OSError.
    """
    path = _path(name)
    at = None if lasting else time.clock_gettime(time.CLOCK_BOOTTIME)
    os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
    new = f"{path}.{os.getpid()}.{threading.get_ident()}"  # two may say it at the same time
    with open(new, "w", encoding="utf-8") as file:
        json.dump({"ok": ok, "at": at}, file)
    os.replace(new, path)


def remove(name):
    """Say nothing any more under this name. Raises OSError but for a name that nobody used."""
    try:
        os.unlink(_path(name))
    except FileNotFoundError:
        pass


def _path(name):
    # heartbeatd carries ASCII names of up to 24 characters; see _utils/heartbeat.py.
    if not (name.isascii() and name.replace(".", "").isalnum() and len(name) <= 24):
        raise ValueError(f"{name!r} is no name of a service, like files.service")
    return os.path.join(DIRECTORY, f"{name}.json")
