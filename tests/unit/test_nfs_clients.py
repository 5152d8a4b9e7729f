"""Whom a new NFS server waits for (a record with the tables of nfsdcld), and who waits for it."""

import json
import sqlite3
import subprocess
import sys

import pytest

from tests.loading import ROOT, load


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "main.sqlite"
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE parameters (key TEXT PRIMARY KEY, value TEXT)")
        made.execute("CREATE TABLE grace (current INTEGER, recovery INTEGER)")
        for number in (1, 2):
            table = f'"rec-{number:016}"'
            made.execute(f"CREATE TABLE {table} (id BLOB PRIMARY KEY, princhash BLOB)")
            for client in (b"Linux NFSv4.2 web1", b"Linux NFSv4.2 web2", b"Linux NFSv4.2 web22"):
                made.execute(f"INSERT INTO {table} VALUES (?, NULL)", (client,))
    made.close()
    return path


@pytest.fixture
def clients(record):
    module = load("_modules/nfs_clients.py")
    module.RECORD = str(record)
    return module


def left(path):
    with sqlite3.connect(path) as found:
        rows = found.execute('SELECT id FROM "rec-0000000000000002"').fetchall()
    found.close()
    return sorted(bytes(key) for (key,) in rows)


def test_only_the_dead_are_struck_from_every_grace_period(clients, record):
    assert clients.forget(["web2"]) == ["Linux NFSv4.2 web2"] * 2
    assert left(record) == [b"Linux NFSv4.2 web1", b"Linux NFSv4.2 web22"]
    assert clients.forget(["web2"]) == []


def test_nobody_dead_changes_nothing(clients, record):
    before = record.read_bytes()
    assert clients.forget([]) == []
    assert record.read_bytes() == before


def test_a_record_that_is_absent_or_damaged_costs_a_grace_period_and_nothing_else(clients, record):
    record.write_bytes(b"no database" * 100)
    assert clients.forget(["web2"]) == []
    record.unlink()
    assert clients.forget(["web2"]) == []
    assert not record.exists()


# Runs in a network namespace of its own. A server that lost power is one whose socket is taken away
# without a word (tcp(7), TCP_REPAIR).
MOVED = """
import json, socket
from tests.loading import load
clients = load("_modules/nfs_clients.py")
SERVER, CLIENT, TCP_REPAIR = "127.0.0.5", "127.0.0.11", 19
waiting = socket.create_server((SERVER, clients.NFS))
def connected(port):
    near = socket.create_connection((SERVER, clients.NFS), 5, (CLIENT, port))
    return near, waiting.accept()[0]
orphan, dead = connected(clients.RESERVED[0])
near, far = connected(clients.RESERVED[-1])
dead.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
dead.close()
answers = {"sent": clients.wake(SERVER, [CLIENT])}
try:
    orphan.recv(1)
except OSError as error:
    answers["orphan"] = type(error).__name__
near.sendall(b"read")
far.sendall(far.recv(4))
answers["live"] = near.recv(4).decode()
answers["no way there"] = clients.wake(SERVER, ["192.0.2.1"])
answers["not here"] = clients.wake("192.0.2.1", [CLIENT])
print(json.dumps(answers))
"""


def test_a_client_of_the_dead_server_is_woken_and_one_of_this_server_left_alone():
    done = subprocess.run(
        ["unshare", "-Urn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable,
         "-c", MOVED],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "sent": 359, "orphan": "ConnectionResetError", "live": "read",
        "no way there": 0, "not here": 0,
    }
