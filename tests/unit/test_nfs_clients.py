"""Whom a new NFS server waits for: tried on a record with the tables of nfsdcld."""

import sqlite3

import pytest

from tests.loading import load


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
