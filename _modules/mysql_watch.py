"""
Look at the local database server again and again, and tell how it is, without ever waiting long.

The question is put by a thread. Whoever looks waits for the answer for a moment only and asks for
it again at the next look; so a hung server costs the minion's only loop no more than that moment,
and a busy one is told from a hung one by how long the same question has been open.
"""

import contextvars
import fcntl
import json
import logging
import os
import threading
import time

from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

MEMORY = "/run/cluster/database.watch.json"
ROLE_LOCK = "/var/lib/cluster/database.json.role.lock"
RESOURCE = "database"
PROBE = 8  # seconds after which a question is given up, and put again
PROVING = 3  # seconds a restarted replica may take at one look to prove that it has everything

_asked = {}


def __virtual__():
    if __utils__["sqlserver.available"]():
        return "mysql_watch"
    return False, "PyMySQL is not installed in Salt's Python"


def look(deadtime=None, patience=0.3):
    """
    Return ``{"health", "facts", "reason"}`` as of now; the health is told to heartbeatd, too.

    deadtime: seconds that writes may wait for the mirror before they count as frozen, None for the
    pillar's. patience: seconds this may take at most. See `_utils/replication.py` for the words.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_watch.look
    """
    if deadtime is None:
        deadtime = __pillar__["cluster"]["heartbeat"]["deadtime"]
    memory = _read()
    seen = _seen(memory, patience)
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    words, facts, after = __utils__["replication.health"](seen, memory, now, deadtime)
    for name, ok in words.items():
        __utils__["health.write"](f"{RESOURCE}.{name}", ok)
    if after != memory:
        _write(after)
    return {"health": words, "facts": facts, "reason": _reason(seen)}


def _seen(memory, patience):
    process = __utils__["sqlserver.process"]()
    thread = _asked.get("thread")
    if not thread and process:
        thread = _ask(memory)
    if thread:
        thread.join(patience)
    answer = None
    if thread and not thread.is_alive():
        answer = _asked["answer"]
        _asked.clear()
    return {
        "server": answer and answer.get("server"),
        "error": answer and answer.get("error"),
        "dead": process is None,
        "stopped": bool(process) and process["state"] == "T",
        "asking": time.monotonic() - _asked["since"] if _asked else 0,
        "held": __salt__["claim.held"](RESOURCE),
        "address": not __salt__["address.missing"](_floating()),
        "busy": _busy(),
        "proved": __salt__["mysql_proof.present"](),
        "current": bool(answer and answer.get("current")),
    }


def _floating():
    return __utils__["topology.floating"](__pillar__["cluster"], __grains__["id"], RESOURCE)


def _ask(memory):
    answer = {}
    known = memory.get("receiving") is True and memory.get("current") is True
    # Salt's loader finds its modules through the context, which a new thread does not inherit.
    run = contextvars.copy_context().run
    thread = threading.Thread(target=run, args=(_probe, answer, known), daemon=True)
    _asked.update(thread=thread, answer=answer, since=time.monotonic())
    thread.start()
    return thread


def _probe(answer, known):
    """
    Ask the server; a replica that has just begun to receive proves that it has everything.

    known: it received and had proved it at the last look already.
    """
    try:
        found = __salt__["mysql_replication.status"](time.time() + PROBE)
        if found["replica"] and found["replica"]["receiving"] is True:
            answer["current"] = (known and __salt__["mysql_proof.present"]()) or _prove()
        answer["server"] = found
    except CommandExecutionError as error:
        answer["error"] = str(error)
    except Exception as error:  # a thread's exception would be printed and lost
        answer["error"] = f"{type(error).__name__}: {error}"
        log.exception("database: cannot be looked at")


def _prove():
    try:
        __salt__["mysql_proof.prove"](time.time() + PROVING)
        return True
    except CommandExecutionError as error:
        log.debug("database: not caught up: %s", error)
        return False


def _busy():
    """Tell whether a command of the database is at work on this VM."""
    try:
        with open(ROLE_LOCK, encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def _reason(seen):
    """Return what an operator should know, or None."""
    if seen["dead"]:
        return "no database server is running"
    if seen["stopped"]:
        return "the database server was stopped by a signal"
    if not seen["server"]:
        return seen["error"] or f"no answer for {seen['asking']:.1f} s"
    replica = seen["server"]["replica"]
    if seen["server"]["seeding"] or not replica:
        return seen["server"]["seeding"]
    return replica["apply_error"] or replica["receive_error"]


def _read():
    try:
        with open(MEMORY, encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError):
        return {}


def _write(memory):
    os.makedirs(os.path.dirname(MEMORY), mode=0o755, exist_ok=True)
    with open(f"{MEMORY}.new", "w", encoding="utf-8") as file:
        json.dump(memory, file)
    os.replace(f"{MEMORY}.new", MEMORY)
