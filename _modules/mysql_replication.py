"""
Replication of MySQL (8.4, 9.x) and MariaDB (10.11, 11.x) through one interface.

Which engine answers is asked of the server; what the two call differently is in
`_utils/sqlserver.py`. Deadlines are Unix seconds. Passwords come from the pillar, never from
arguments; a replica keeps its own copy (mysql.slave_master_info, or master.info in the data
directory), readable by the database's administrators only.

A primary with semi-synchronous mode on acknowledges no commit before a replica has received it
(AFTER_SYNC), and waits for weeks rather than go on alone (I2). A *replica* must have that mode
off: its applier would wait for replicas of its own, for ever. Hence ``FOLLOWER``: my.cnf switches
the mode on, and this file, which is there only while the server follows, switches it off.
"""

import contextlib
import os
import time

from salt.exceptions import CommandExecutionError

USER = "replication"
CA = "/etc/mysql/tls/ca.crt"
FOLLOWER = "/etc/mysql/role.d/follower.cnf"
RECEIVING = 10  # seconds to wait for the first contact; a command that came later waits as long
BASE = "SELECT @@GLOBAL.read_only AS read_only, @@GLOBAL.server_id AS server_id"
FATAL_AT_SOURCE = (1236, 13114)  # while it reads its binary logs: those needed are gone
OWN_SCHEMAS = {"information_schema", "mysql", "performance_schema", "sys", "cluster"}


def __virtual__():
    if __utils__["sqlserver.available"]():
        return "mysql_replication"
    return False, "PyMySQL is not installed in Salt's Python"


def _local(deadline=None):
    return __utils__["sqlserver.local"](deadline)


def _remote(host, deadline):
    """Connect to another database server as its replicas do."""
    return __utils__["sqlserver.remote"](host, USER, _password(), deadline)


def _password():
    return __utils__["sqlserver.replication_password"](__utils__["secret.known"](__pillar__))


def _until(deadline, what, look):
    """Return the first true answer of ``look()``; raise at the deadline, naming what is awaited."""
    for _ in __utils__["sqlserver.attempts"](deadline, what):
        if answer := look():
            return answer


def status(deadline=None):
    """
    Return what the local server is: engine, version, writable, executed, blank, replica, semi_sync.

    ``replica`` is None on a server that follows nobody. ``blank``: it never executed a transaction
    and holds no schema of its own. ``seeding``: a sentence while its data is an incomplete copy,
    None otherwise. Raises CommandExecutionError if the server does not answer.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_replication.status
    """
    with _local(deadline) as server:
        return _status(server)


def _status(server):
    engine, prefix = server.dialect["engine"], server.dialect["semi_sync"].lower()
    variables = server.pairs(f"SHOW GLOBAL VARIABLES LIKE '{prefix}%'")
    counters = server.pairs("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync%'")
    row = server.one("SHOW REPLICA STATUS")  # before the executed set, which can only be newer
    executed = server.one(server.dialect["executed"])
    base = server.one(BASE)
    schemas = {entry["Database"] for entry in server.all("SHOW DATABASES")}
    replica = __utils__["replication.replica"](server.dialect, row, counters)
    if replica:
        behind = __utils__[f"gtid.{engine}_behind"]
        replica["behind"] = behind(executed["executed"], replica["received"])
    return {
        "engine": engine,
        "version": server.version,
        "server_id": base["server_id"],
        "writable": _is_writable(base),
        "executed": executed["executed"].replace("\n", ""),
        "purged": executed["purged"].replace("\n", ""),
        "blank": not executed["executed"] and not replica and not schemas - OWN_SCHEMAS,
        "seeding": __utils__["seeding.unfinished"](),
        "replica": replica,
        "semi_sync": __utils__["replication.semi_sync"](server.dialect, variables, counters),
    }


def _is_writable(base):
    return base["read_only"] in (0, "OFF")


def semi_sync(enabled):
    """
    Switch semi-synchronous mode of the primary: on waits for a replica, off serves alone.

    Only the arbiter's record permits "off" (I2); this function does not ask it.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_replication.semi_sync True
    """
    with _local() as server:
        server.do(f"SET GLOBAL {server.dialect['source']} = {'ON' if enabled else 'OFF'}")


def acknowledging(deadline):
    """
    Wait until a replica that can acknowledge is connected; whether it does is another question.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_replication.acknowledging "$(($(date +%s) + 10))"
    """
    with _local(deadline) as server:
        what = "a replica in semi-synchronous mode is connected"
        _until(deadline, what, lambda: _status(server)["semi_sync"]["replicas"])


def verify_semi_sync(deadline, epoch):
    """
    Commit the ``epoch`` (an integer) and return the evidence that a replica acknowledged it.

    Raises CommandExecutionError if the mode is off or nobody acknowledges before the deadline; the
    commit then goes on waiting until the mode is switched off or a replica comes.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_replication.verify_semi_sync "$(($(date +%s) + 10))" 4
    """
    with _local(deadline) as server:
        before = _status(server)["semi_sync"]
        if not before["enabled"]:
            raise CommandExecutionError("semi-synchronous mode is off")
        started = time.monotonic()
        _commit(server, epoch)
        seconds = round(time.monotonic() - started, 4)
        after = _status(server)
    now = after["semi_sync"]
    acknowledged = now["acknowledged"] - before["acknowledged"]
    if not acknowledged or not now["replicas"] or now["unacknowledged"] > before["unacknowledged"]:
        raise CommandExecutionError(f"a commit returned that no replica acknowledged: {now}")
    return {
        "acknowledged": acknowledged,
        "replicas": now["replicas"],
        "seconds": seconds,
        "executed": after["executed"],
    }


def _commit(server, epoch):
    if not server.all("SHOW DATABASES LIKE 'cluster'"):
        server.do("CREATE DATABASE cluster")
    if not server.all("SHOW TABLES FROM cluster LIKE 'mirror'"):
        server.do(
            "CREATE TABLE cluster.mirror"
            " (id TINYINT PRIMARY KEY, epoch BIGINT NOT NULL, verified DATETIME(6) NOT NULL)"
        )
    server.all("REPLACE INTO cluster.mirror VALUES (1, %s, UTC_TIMESTAMP(6))", (epoch,))


def epoch():
    """
    Return the epoch in which the data on this server was last seen mirrored, 0 if never.

    It comes by replication, so a replica knows of an epoch that nobody told this VM.

    CLI Example:

    .. code-block:: bash

        salt db2 mysql_replication.epoch
    """
    with _local() as server:
        if not server.all("SHOW DATABASES LIKE 'cluster'"):
            return 0
        if not server.all("SHOW TABLES FROM cluster LIKE 'mirror'"):
            return 0
        row = server.one("SELECT epoch FROM cluster.mirror WHERE id = 1")
        return row["epoch"] if row else 0


def errant(source, deadline):
    """
    Return the transactions this server has and ``source`` (an address) has not, '' if none.

    MySQL: the exact set. MariaDB: the last one of each domain and server that is ahead. Raises
    CommandExecutionError if the source cannot be asked: unknown is not none.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_replication.errant 192.168.10.28 "$(($(date +%s) + 10))"
    """
    with _local(deadline) as server, _remote(source, deadline) as other:
        return _ahead(server, other)


def _ahead(server, other):
    mine = server.one(server.dialect["executed"])["executed"]
    theirs = other.one(other.dialect["executed"])["executed"]
    return __utils__[f"gtid.{server.dialect['engine']}_subtract"](mine, theirs)


def has_all(replica, deadline):
    """
    Wait until the server at address ``replica`` has executed what this one has at this moment.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_replication.has_all 192.168.10.28 "$(($(date +%s) + 60))"
    """
    with _local(deadline) as server:
        mine = server.one(server.dialect["executed"])["executed"]
        subtract = __utils__[f"gtid.{server.dialect['engine']}_subtract"]
    with _remote(replica, deadline) as other:

        def caught_up():
            return not subtract(mine, other.one(other.dialect["executed"])["executed"])

        return _until(deadline, f"{replica} has caught up", caught_up)


def follow(source, deadline):
    """
    Make this server a read-only replica of the one at address ``source``, and wait until it is.

    A blank server is seeded first if the source no longer has all it ever wrote in its binary logs,
    and so is one whose seeding was cut short, or which missed more than the source has kept. One
    with transactions that the source has not is seeded after these were saved. Returns
    ``{"seeded", "saved"}``: why a copy was made, or None, and what was saved where, or None. A copy
    must have begun at the deadline, and may take longer. Raises CommandExecutionError on a
    writable server.

    CLI Example:

    .. code-block:: bash

        salt db2 mysql_replication.follow 192.168.10.18 "$(($(date +%s) + 60))"
    """
    why, errant_here = _why_seed(source, deadline)
    saved = None
    if errant_here:
        saved = __salt__["mysql_errant.save"](source, errant_here, deadline)
    if why:
        __salt__["mysql_clone.seed"](source, deadline, discard=bool(errant_here))
    until = time.time() + RECEIVING if why else min(deadline, time.time() + RECEIVING)
    try:
        _receive(source, until)
    except Purged as error:
        why = str(error)
        __salt__["mysql_clone.seed"](source, deadline, discard=True)
        _receive(source, time.time() + RECEIVING)
    return {"seeded": why, "saved": saved}


def _why_seed(source, deadline):
    """Return why a copy of the source is needed, or None, and the errant transactions, or ''."""
    with _local(deadline) as server:
        now = _status(server)
        if now["writable"]:
            raise CommandExecutionError("this server is writable; it must be passive to follow")
        if now["seeding"]:  # an incomplete copy is replaced, whatever it claims to have
            return now["seeding"], ""
        with _remote(source, deadline) as other:
            if found := _ahead(server, other):
                if not _is_writable(other.one(BASE)):
                    raise CommandExecutionError(
                        f"{source} does not serve yet: what it has to apply is not errant here"
                    )
                return f"transactions that {source} does not have: {found}", found
            if now["blank"] and not _complete(other):
                return f"blank, and {source} has not kept its first binary logs", ""
            if now["blank"] and _wrote(other, now["server_id"]):
                return f"blank, and part of what {source} has was written by this VM before", ""
    return None, ""


def _receive(source, deadline):
    """Follow, wait until this server receives, and prove that it has all that was acknowledged."""
    __salt__["mysql_proof.forget"]()
    with _local(deadline) as server:
        _configure(server, source)
        _until(deadline, f"receiving from {source}", lambda: _receiving(server))
    with contextlib.suppress(CommandExecutionError):  # not yet: whoever looks again will find it
        __salt__["mysql_proof.prove"](deadline)


class Purged(CommandExecutionError):
    """The source no longer has the binary logs that come next."""


def _complete(other):
    """Tell whether the source's binary logs reach back to its very first transaction."""
    if other.dialect["engine"] == "mysql":
        return not other.one(other.dialect["executed"])["purged"]
    return other.one("SELECT BINLOG_GTID_POS(%s, 4) AS start", (_first_log(other),))["start"] == ""


def _wrote(other, server_id):
    """
    Tell whether not all was written by the source itself, but perhaps by an earlier server of ours:
    who replicates does not take what carries its own server id.
    """
    executed = other.one(other.dialect["executed"])["executed"]
    if other.dialect["engine"] == "mysql":
        own = other.one("SELECT @@server_uuid AS uuid")["uuid"]
        names = __utils__["gtid.mysql_intervals"](executed)
        return any(not name.startswith(own) for name in names)
    names = __utils__["gtid.mariadb_positions"](executed)
    return str(server_id) in {name.partition("-")[2] for name in names}


def _first_log(other):
    return other.one("SHOW BINARY LOGS")["Log_name"]


def _configure(server, source):
    now = _status(server)
    replica = now["replica"]
    _note_follower(server)
    server.do(f"SET GLOBAL {server.dialect['source']} = OFF")
    known = replica and (replica["source"], replica["user"]) == (source, USER)
    if not known or __salt__["mysql_account.replica_password"]():  # without a deadline: is it old?
        server.do("STOP REPLICA", "RESET REPLICA ALL")
        __salt__["mysql_proof.forget"]()  # what the beacon has proved since, of the old source
        statement = server.dialect["follow"]
        if not replica and now["executed"] and "demoted" in server.dialect:
            statement = server.dialect["demoted"]
        where = {"host": source, "port": 3306, "user": USER, "password": _password(), "ca": CA}
        server.all(statement, where, secret=True)
    server.do("START REPLICA")


def _receiving(server):
    replica = _status(server)["replica"]
    error = replica["apply_error"] or (replica["receiving"] is False and replica["receive_error"])
    if error and replica["receive_code"] in FATAL_AT_SOURCE:
        raise Purged(f"cannot follow {replica['source']}: {error}")
    if error:
        raise CommandExecutionError(f"cannot follow {replica['source']}: {error}")
    return replica["receiving"] and replica["applying"]


def _note_follower(server):
    """For the next start, also after a power cut: with an empty file its applier would hang."""
    told = "# This server follows another (mysql_replication).\n[mysqld]\n"
    try:
        __utils__["keeper.keep"](FOLLOWER, f"{told}{server.dialect['source']} = OFF\n")
    except OSError as error:
        raise CommandExecutionError(f"cannot keep {FOLLOWER}: {error}") from error


def promote(deadline, lose_writes=False):
    """
    Stop following: receive nothing more, apply all that was received, forget the source.

    The server stays read-only. Nothing happens on a server that follows nobody. Raises
    CommandExecutionError if not all can be applied before the deadline, on an incomplete copy, and
    if this server has not proved since its start that it has all its source had: what it had
    acknowledged before may be lost. lose_writes: an operator gives that up.

    CLI Example:

    .. code-block:: bash

        salt db2 mysql_replication.promote "$(($(date +%s) + 10))"
    """
    with _local(deadline) as server:
        now = _status(server)
        if now["seeding"]:
            raise CommandExecutionError(now["seeding"])
        if replica := now["replica"]:
            if not lose_writes and not __salt__["mysql_proof.present"]():
                raise CommandExecutionError(
                    f"has not caught up with {replica['source']} since its start: acknowledged "
                    "transactions may be missing here"
                )
            # A second with MariaDB if the source is dead: rpl_semi_sync_slave_kill_conn_timeout.
            server.do("STOP REPLICA IO_THREAD")
            received = _status(server)["replica"]["received"]  # what a later start may throw away
            if server.dialect["engine"] == "mysql":  # MariaDB purges its relay log by that
                server.do("START REPLICA SQL_THREAD")
            what = "all that was received is applied"
            _until(deadline, what, lambda: _applied(server, received, lose_writes))
            server.do("STOP REPLICA", "RESET REPLICA ALL")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(FOLLOWER)


def _applied(server, received, lose_writes):
    """Return whether all of ``received`` is applied, or given up by an operator."""
    now = _status(server)
    replica, error = now["replica"], now["replica"]["apply_error"]
    complete = not __utils__[f"gtid.{now['engine']}_behind"](now["executed"], received)
    if complete and not error:
        return True
    if replica["applying"] and not error:
        return False
    if not lose_writes:
        why = error or "its applier stands still"
        raise CommandExecutionError(f"the replica cannot apply: {why}")
    return True
