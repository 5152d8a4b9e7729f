"""
Whether a MySQL or MariaDB server accepts writes. It boots refusing them (I5); only activation lets
it write, and stepping down ends that, even where a commit still waits for its replica.

MySQL refuses administrators as well (super_read_only). MariaDB before 12 does not: whoever writes
as root on a passive server makes an errant transaction, and following refuses because of it.
"""

import contextlib

from salt.exceptions import CommandExecutionError

LOCK_WAIT_TIMEOUT = 1205


def __virtual__():
    if __utils__["sqlserver.available"]():
        return "mysql_server"
    return False, "PyMySQL is not installed in Salt's Python"


def writable(enabled, deadline):
    """
    Let the server accept writes, or refuse them, to administrators too where the engine can.

    To refuse, clients are disconnected, also one whose commit still waits for a replica's
    acknowledgement: it is never told that its data was stored. If such commits stand in the way,
    they are ended, and semi-synchronous mode is on afterwards.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_server.writable False "$(($(date +%s) + 10))"
    """
    with __utils__["sqlserver.local"](deadline) as server:
        if enabled:
            server.do(*server.dialect["writable"])
            return
        _disconnect(server)
        if not _refuse_writes(server):
            server.do(*server.dialect["release"])
            try:
                for _ in __utils__["sqlserver.attempts"](deadline, "read-only mode"):
                    if _refuse_writes(server):
                        break
            finally:
                server.do(*server.dialect["released"])
        _disconnect(server)


def _refuse_writes(server):
    """Switch read-only mode on, or return False while a commit stands in the way for a second."""
    try:
        server.do(*server.dialect["passive"])
    except CommandExecutionError as error:
        if getattr(error, "code", 0) != LOCK_WAIT_TIMEOUT:
            raise
        _disconnect(server)
        return False
    return True


def _disconnect(server):
    own = server.connection.thread_id()
    for row in server.all("SHOW PROCESSLIST"):
        serving = row["Command"].startswith(("Binlog", "Daemon", "Slave", "Replica"))
        if row["Id"] != own and not serving and row["User"] not in ("root", "system user"):
            with contextlib.suppress(CommandExecutionError):  # gone by itself
                server.do(f"KILL {int(row['Id'])}")
