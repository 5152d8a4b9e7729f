"""
The rows in which MySQL and MariaDB report on replication, read into the words both share.

Pure. ``names`` is the engine's table in `_utils/sqlserver.py`. Columns nobody here knows are
ignored; one that is missing is a KeyError.
"""


def replica(names, row, status):
    """
    Return one row of SHOW REPLICA STATUS in shared words, or None for no row.

    ``heard`` tells whether this server reached its source since it started: both engines forget the
    source's server id at a restart and learn it again by connecting.
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
        "heard": row[f"{prefix}_Server_Id"] != 0,
        "received": row[names["received"]] or "",
        "lag": row[f"Seconds_Behind_{prefix}"],
        "semi_sync": status.get(names["replica_status"]) == "ON",
        "tls": row[f"{prefix}_SSL_Allowed"] == "Yes"
        and row[f"{prefix}_SSL_Verify_Server_Cert"] == "Yes",
        "receive_error": row["Last_IO_Error"] or None,
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
