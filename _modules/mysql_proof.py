"""
The proof that a replica has all that it ever acknowledged: without it, it is not promoted (I2).

A replica that restarted, or stopped receiving by order, has thrown away what it had received and
not applied yet, although it had acknowledged that. The source still has it, so the loss is made
good by receiving again. ``PROVED`` says that this is over: it names the server's process that asked
the source what it had, and then had it all itself.
"""

import contextlib
import json
import os

import salt.utils.files
from salt.exceptions import CommandExecutionError

PROVED = "/run/cluster/database.proved.json"
USER = "replication"


def __virtual__():
    if __utils__["sqlserver.available"]():
        return "mysql_proof"
    return False, "PyMySQL is not installed in Salt's Python"


def prove(deadline):
    """
    Prove that this replica has all that its source has at this moment, and note it for promotion.

    What the source commits later is acknowledged by this very server, so it is here, too. Raises
    CommandExecutionError if it is not so before the deadline, or cannot be told.

    CLI Example:

    .. code-block:: bash

        salt db2 mysql_proof.prove "$(($(date +%s) + 5))"
    """
    process = __utils__["sqlserver.process"]()
    replica = _receiver(deadline)["replica"]
    password = __utils__["sqlserver.replication_password"](__pillar__["secrets"])
    with __utils__["sqlserver.remote"](replica["source"], USER, password, deadline) as source:
        wanted = source.one(source.dialect["executed"])["executed"]
    for _ in __utils__["sqlserver.attempts"](deadline, f"all that {replica['source']} has"):
        if _has(_receiver(deadline), wanted):
            break
    if not process or not _same(process, __utils__["sqlserver.process"]()):
        raise CommandExecutionError("the server restarted meanwhile")
    _note({**process, "source": replica["source"]})


def _receiver(deadline):
    found = __salt__["mysql_replication.status"](deadline)
    if not found["replica"] or found["replica"]["receiving"] is not True:
        raise CommandExecutionError("this server does not receive from a source")
    return found


def _has(found, wanted):
    missing = __utils__[f"gtid.{found['engine']}_missing"]
    return not missing(wanted, found["executed"], found["replica"]["received"])


def _same(one, other):
    """Tell whether two descriptions are of the same process, whatever it is doing."""
    return bool(other) and all(one[key] == other[key] for key in ("pid", "started"))


def _note(proof):
    os.makedirs(os.path.dirname(PROVED), mode=0o755, exist_ok=True)
    with salt.utils.files.fopen(f"{PROVED}.new", "w", encoding="utf-8") as file:
        json.dump(proof, file)
    os.replace(f"{PROVED}.new", PROVED)


def present():
    """
    Return whether `prove` succeeded on the server that runs now; the kernel tells it from another.

    CLI Example:

    .. code-block:: bash

        salt db2 mysql_proof.present
    """
    process = __utils__["sqlserver.process"]()
    try:
        with salt.utils.files.fopen(PROVED, encoding="utf-8") as file:
            note = json.load(file)
        return _same(note, process)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def forget():
    """
    Take the proof back; whoever stops a replica calls this first.

    CLI Example:

    .. code-block:: bash

        salt db2 mysql_proof.forget
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(PROVED)
