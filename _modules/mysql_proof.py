"""
The proof that a replica has all that it ever acknowledged: without it, it is not promoted (I2).

A replica that restarted, or stopped receiving by order, has thrown away what it had received and
not applied yet, although it had acknowledged that. The source still has it, so the loss is made
good by receiving again. The note in ``FOLDER`` says that this is over: it names the server's
process that asked the source what it had, and then had it all itself. Commands and the beacon prove
and forget at the same time, so the note is compared and swapped: what was begun to be proved before
it was forgotten is no proof.
"""

import json

from salt.exceptions import CommandExecutionError

FOLDER, NOTE = "/run/cluster", "database.proof"
USER = "replication"


def __virtual__():
    if __utils__["sqlserver.available"]():
        return "mysql_proof"
    return False, "PyMySQL is not installed in Salt's Python"


def prove(deadline):
    """
    Prove that this replica has all that its source has at this moment, and note it for promotion.

    What the source commits later is acknowledged by this very server, so it is here, too. Raises
    CommandExecutionError if it is not so before the deadline, cannot be told, or if the replica was
    stopped meanwhile.

    CLI Example:

    .. code-block:: bash

        salt db2 mysql_proof.prove "$(($(date +%s) + 5))"
    """
    _, revision = _kept()
    process = __utils__["sqlserver.process"]()
    replica = _receiver(deadline)["replica"]
    password = __utils__["sqlserver.replication_password"](__utils__["secret.known"](__pillar__))
    with __utils__["sqlserver.remote"](replica["source"], USER, password, deadline) as source:
        wanted = source.one(source.dialect["executed"])["executed"]
    for _ in __utils__["sqlserver.attempts"](deadline, f"all that {replica['source']} has"):
        if _has(_receiver(deadline), wanted):
            break
    if not __utils__["sqlserver.same"](process, __utils__["sqlserver.process"]()):
        raise CommandExecutionError("the server restarted meanwhile")
    proof = {key: process[key] for key in ("pid", "started")} | {"source": replica["source"]}
    written, now, _ = _keep(proof, revision)
    if not written and now != proof:  # another may have proved the same
        raise CommandExecutionError("the replica was stopped meanwhile")


def _receiver(deadline):
    found = __salt__["mysql_replication.status"](deadline)
    if not found["replica"] or found["replica"]["receiving"] is not True:
        raise CommandExecutionError("this server does not receive from a source")
    return found


def _has(found, wanted):
    missing = __utils__[f"gtid.{found['engine']}_missing"]
    return not missing(wanted, found["executed"], found["replica"]["received"])


def present():
    """
    Return whether `prove` succeeded on the server that runs now; the kernel tells it from another.

    CLI Example:

    .. code-block:: bash

        salt db2 mysql_proof.present
    """
    process = __utils__["sqlserver.process"]()
    try:
        proof, _ = _kept()
    except CommandExecutionError:  # damaged
        return False
    return __utils__["sqlserver.same"](proof, process)


def forget():
    """
    Take the proof back; whoever stops a replica calls this first.

    CLI Example:

    .. code-block:: bash

        salt db2 mysql_proof.forget
    """
    written = False
    while not written:
        _, revision = _kept()
        written, _, _ = _keep(None, revision)


def _kept():
    """Return (proof or None, its revision): {"pid", "started", "source"}."""
    text, revision = __utils__["keeper.get"](FOLDER, NOTE)
    return text and json.loads(text), revision


def _keep(proof, revision):
    """Write a proof, or None, over that revision; return (written, what is there now, revision)."""
    text = json.dumps(proof, sort_keys=True)
    written, now, revision = __utils__["keeper.put"](FOLDER, NOTE, text, revision)
    return written, now and json.loads(now), revision
