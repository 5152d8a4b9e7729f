"""
The clients that a new NFS server waits for, and those that wait for it.

After a takeover nobody may open a file until every client of before has reclaimed what it had, or
the grace period is over (10 s, the kernel's least). A web VM that died with its server never
reclaims, so the others would wait for it in vain: what it had is given up before the server starts.

A client that was writing when the server died repeats its segment after 0.2, 0.6, 1.4, 3.0, 6.2 s
and so on (RFC 6298), so it may find the new server seconds after it serves. It is woken: it answers
an acknowledgement from the middle of nowhere with one of its own (RFC 9293, 3.10.7.4), which the
new server's kernel, knowing no such connection, resets; then it connects. CTDB calls this a tickle.
"""

import contextlib
import logging
import os
import socket
import sqlite3
import struct

log = logging.getLogger(__name__)

# nfsdcld's record (nfs-utils, utils/nfsdcld/sqlite.c): a table rec-<number> for each grace period,
# whose key is the name that the client gave itself.
RECORD = "/srv/files/nfs/nfsdcld/main.sqlite"
NFS = 2049
RESERVED = range(665, 1024)  # the ports of clients: sunrpc.min_resvport to sunrpc.max_resvport
PATIENCE = 0.2  # seconds for a client that answers no ARP: what is sent to it fills the buffer
ACK = 0x10
# ports, sequence, acknowledgement, length of the header, flags, window, checksum, urgent
HEADER = struct.Struct("!HHIIBBHHH")


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


def wake(server, clients):
    """
    Have the NFS clients notice at once that the address ``server`` has moved here.

    ``clients``: their addresses. One that is connected to this VM already is not disturbed. What
    goes wrong is logged and changes nothing: the clients then notice by themselves. Returns the
    number of segments sent.

    CLI Example::

        salt file1 nfs_clients.wake 192.168.10.5 '[192.168.10.11, 192.168.10.21]'
    """
    sent = 0
    for client in clients:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as link:
                link.bind((server, 0))
                link.settimeout(PATIENCE)
                for port in RESERVED:
                    link.sendto(_acknowledgement(server, client, port), (client, 0))
                    sent += 1
        except OSError as error:
            log.warning("the NFS client %s was not woken: %s", client, error)
    return sent


def _acknowledgement(server, client, port):
    """Return the header of a segment that acknowledges nothing, of no connection here."""
    fields = (NFS, port, 0, 0, HEADER.size // 4 << 4, ACK, 0)
    pseudo = socket.inet_aton(server) + socket.inet_aton(client) + struct.pack(
        "!BBH", 0, socket.IPPROTO_TCP, HEADER.size)
    words = struct.unpack("!16H", pseudo + HEADER.pack(*fields, 0, 0))
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return HEADER.pack(*fields, ~total & 0xFFFF, 0)


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
