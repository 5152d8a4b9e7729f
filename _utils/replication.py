"""
The rows in which MySQL and MariaDB report on replication, read into the words both share.

Pure. ``names`` is the engine's table in `_utils/sqlserver.py`. Columns nobody here knows are
ignored; one that is missing is a KeyError.
"""


def replica(names, row, status):
    """
    Return one row of SHOW REPLICA STATUS in shared words, or None for no row.

    """
    if not row:
        return None
    row = {key.replace("Slave_", "Replica_"): value for key, value in row.items()}
    prefix = names["prefix"]
    return {
        "source": row[f"{prefix}_Host"],
        "port": row[f"{prefix}_Port"],
        "user": row[f"{prefix}_User"],
        "receiving": {"Yes": True, "No": False}.get(row["Replica_IO_Running"]),  # None: connecting
        "applying": row["Replica_SQL_Running"] == "Yes",
        "received": row[names["received"]] or "",
        "lag": row[f"Seconds_Behind_{prefix}"],
        "semi_sync": status.get(names["replica_status"]) == "ON",
        "tls": row[f"{prefix}_SSL_Allowed"] == "Yes"
        and row[f"{prefix}_SSL_Verify_Server_Cert"] == "Yes",
        "receive_error": row["Last_IO_Error"] or None,
        "receive_code": int(row["Last_IO_Errno"]),
        "apply_error": row["Last_SQL_Error"] or None,
    }


def semi_sync(names, variables, status):
    """Return the source's side of semi-synchronous replication in shared words."""
    name = names["semi_sync"]
    return {
        "enabled": variables[f"{name.lower()}_enabled"] == "ON",
        "operational": status[f"{name}_status"] == "ON",
        "replicas": int(status[f"{name}_clients"]),
        "waiting": int(status[f"{name}_wait_sessions"]),
        "acknowledged": int(status[f"{name}_yes_tx"]),
        "unacknowledged": int(status[f"{name}_no_tx"]),
        "wait_point": variables[f"{name.lower()}_wait_point"],
        "timeout": int(variables[f"{name.lower()}_timeout"]) // 1000,  # seconds
    }


HUNG = 5  # seconds without an answer; too short restarts a server that is merely busy
CONNECTING = 10  # seconds without contact to the source before following counts as failed
LAGGING = 30  # seconds between a commit and its execution here
# waiting: writes wait for the mirror, which does not answer; frozen: for longer than deadtime.
UNKNOWN = dict.fromkeys(("service", "waiting", "frozen", "following", "fit"))


def health(seen, memory, now, deadtime):
    """
    Return ``(words, facts, memory)`` of what was just seen of the local server, at ``now`` seconds.

    seen: ``server`` (see mysql_replication.status; None without an answer), ``dead`` (no process
    listens), ``stopped`` (by a signal), ``asking`` (seconds since the question was put), ``held``
    (epoch served, or 0), ``address`` (the floating one is here), ``busy`` (a command is at work),
    ``proved`` (see mysql_proof). The words are those of the heartbeat, each True, False or None for
    unknown. memory: what was returned last time, {} at first.
    """
    server = seen["server"]
    failed = server is None and (seen["dead"] or seen["stopped"] or seen["asking"] > HUNG)
    if server is None and not failed:
        return {**UNKNOWN, "fit": memory.get("fit")}, {"answers": None}, memory
    if seen["held"]:
        words, after = _serving(server, seen, memory, now, deadtime)
    else:
        words, after = _standing_by(server, seen, memory, now)
    return words, _facts(server, seen), {**after, "fit": words["fit"]}


def _serving(server, seen, memory, now, deadtime):
    words = {**UNKNOWN, "service": False}
    if not server:
        return words, {}
    words["service"] = server["writable"] and seen["address"]
    if not words["service"]:
        words["service"] = None if seen["busy"] else False
    semi_sync = server["semi_sync"]
    stuck = semi_sync["enabled"] and not semi_sync["replicas"]
    if semi_sync["waiting"] and semi_sync["acknowledged"] == memory.get("acknowledged"):
        stuck = semi_sync["enabled"]
    since = memory.get("stuck", now) if stuck else None
    words["waiting"] = bool(stuck)
    words["frozen"] = bool(stuck) and now - since > deadtime
    after = {"acknowledged": semi_sync["acknowledged"]}
    return words, after if since is None else {**after, "stuck": since}


def _standing_by(server, seen, memory, now):
    words = {**UNKNOWN, "following": False, "fit": False}
    replica = server and server["replica"]
    if not replica:
        return {**words, "following": bool(seen["busy"])}, {}  # it may be seeded just now
    # With its own mode on, its applier waits for a replica of this one, for ever.
    stuck = server["semi_sync"]["enabled"]
    working = replica["applying"] and not replica["apply_error"] and not stuck
    receiving = replica["receiving"]
    since = None if receiving else memory.get("connecting", now)
    words["following"] = _follows(receiving, working, seen["busy"], since, now)
    # While nothing is received, what was proved before is all there is, and it is enough.
    caught_up = seen["proved"] and (not receiving or seen["current"])
    words["fit"] = bool(working and caught_up and not server["seeding"])
    after = {"receiving": receiving, "current": seen["current"]}
    return words, after if since is None else {**after, "connecting": since}


def _follows(receiving, working, busy, since, now):
    if busy:
        return True
    if not working or receiving is False:
        return False
    if receiving is None:
        return None if now - since < CONNECTING else False
    return True


def _facts(server, seen):
    """Return what else is worth an event, True being good."""
    facts = {"answers": server is not None}
    replica = server and server["replica"]
    if seen["held"] and server:
        facts["semi_sync"] = server["semi_sync"]["enabled"]
    if replica:
        facts["sound"] = not (replica["apply_error"] or replica["receiving"] is False)
        facts["prompt"] = None if replica["lag"] is None else int(replica["lag"]) <= LAGGING
    return facts
