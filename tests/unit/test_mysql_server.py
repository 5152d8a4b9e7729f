"""Stepping down: who is disconnected, and what ends a commit that waits."""

import time

import pytest

from tests.loading import load
from tests.unit.replayed_server import ReplayedServer, sqlserver, utils_with


def module(server):
    return load("_modules/mysql_server.py", utils=utils_with(server))


def soon():
    return time.time() + 0.2


def locked():
    return sqlserver.StatementError("lock wait", OSError(1205, "timeout"))


def test_mysql_commit_that_waits_for_its_replica_does_not_hold_up_stepping_down():
    """KILL does not end that wait in MySQL, and read-only mode waits for the commit."""
    server = ReplayedServer("mysql", "primary")
    passive = server.dialect["passive"][0]
    server.failing[passive] = locked()
    real = server.all

    def releasing(statement, arguments=None, secret=False):
        if statement == server.dialect["release"][-1]:
            server.failing.clear()
        return real(statement, arguments, secret)

    server.all = releasing
    module(server).writable(False, soon())
    orders = [one for one in server.told if not one.startswith("KILL")]
    assert orders == [*server.dialect["release"], passive, *server.dialect["released"]]


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
def test_stepping_down_disconnects_clients_but_neither_replicas_nor_root(engine):
    server = ReplayedServer(engine, "primary")
    server.answers["SHOW PROCESSLIST"] = [
        {"Id": 5, "User": "moodle", "Command": "Sleep"},
        {"Id": 6, "User": "replication", "Command": "Binlog Dump GTID"},
        {"Id": 7, "User": "root", "Command": "Query"},
        {"Id": 8, "User": "event_scheduler", "Command": "Daemon"},
    ]
    module(server).writable(False, soon())
    assert {one for one in server.told if one.startswith("KILL")} == {"KILL 5"}
    assert server.dialect["passive"][0] in server.told
