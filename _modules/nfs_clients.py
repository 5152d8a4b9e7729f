"""
The clients that a new NFS server waits for.

After a takeover nobody may open a file until every client of before has reclaimed what it had, or
the grace period is over (10 s, the kernel's least). A web VM that died with its server never
reclaims, so the others would wait for it in vain: what it had is given up before the server starts.
"""

import contextlib
import logging
import os
import sqlite3

log = logging.getLogger(__name__)

# nfsdcld's record (nfs-utils, utils/nfsdcld/sqlite.c): a table rec-<number> for each grace period,
# whose key is the name that the client gave itself.
RECORD = "/srv/files/nfs/nfsdcld/main.sqlite"


def __virtual__():
    return "nfs_clients"


def forget(names):
    """
    Strike the clients on the hosts ``names`` from the record; return what was struck.

    The server must not run. Whatever goes wrong is logged and changes nothing: the grace period is
    then as long as it is.

    CLI Example::

        salt file1 nfs_clients.forget '[web2]'
    """
    if not names or not os.path.exists(RECORD):
        return []
    try:
        with contextlib.closing(sqlite3.connect(RECORD, timeout=1)) as record, record:
            return _strike(record, set(names))
    except sqlite3.Error as error:
        log.warning("nfsdcld's record keeps the clients on %s: %s", ", ".join(names), error)
        return []


def _strike(record, names):
    struck = []
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'rec-*'"
    for (table,) in record.execute(tables).fetchall():
        quoted = '"' + table.replace('"', '""') + '"'
        for (key,) in record.execute(f"SELECT id FROM {quoted}").fetchall():
            client = bytes(key).rstrip(b"\0").decode("utf-8", "replace")
            if client.split()[-1:] and client.split()[-1] in names:
                record.execute(f"DELETE FROM {quoted} WHERE id = ?", (key,))
                struck.append(client)
    return sorted(struck)
