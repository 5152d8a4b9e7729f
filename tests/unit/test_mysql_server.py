"""Stepping down and reviving: who is disconnected, and when the process is ended."""

import os
import signal
import subprocess
import time
import types

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import load
from tests.unit.replayed_server import ReplayedServer, sqlserver, utils_with

PILLAR = {"cluster": {"database": {"engine": "mysql"}}}


@pytest.fixture
def process():
    """A process that stands for the server's: it ignores the polite signal, as a hung one does."""
    child = subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
    yield child
    child.kill()
    child.wait()


def module(server, child=None):
    utils = utils_with(server)
    utils["sqlserver.process"] = lambda: child and sqlserver.alive(child.pid)
    loaded = load("_modules/mysql_server.py", utils=utils, pillar=PILLAR)
    loaded.commands = []

    def systemctl(*arguments, deadline):
        loaded.commands.append(" ".join(arguments))
        return subprocess.CompletedProcess(arguments, 0, "", "")

    loaded._systemctl = systemctl
    return loaded


def soon(seconds=2):
    return time.time() + seconds


def refusing(server):
    """Have a commit stand in the way of read-only mode, as one does that waits for its replica."""
    server.deadline = time.time() + 0.2
    server.failing[server.dialect["passive"][0]] = sqlserver.StatementError(
        "lock wait", OSError(1205, "timeout")
    )
    return server


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
def test_commit_that_waits_for_its_replica_is_ended_with_the_process(engine, process):
    """Let go instead, it could be taken for acknowledged by a client that is still connected."""
    loaded = module(refusing(ReplayedServer(engine, "primary")), process)
    assert loaded.passive(soon()) == "killed"
    assert process.wait(1) == -signal.SIGKILL
    assert loaded.commands == ["reset-failed mysql", "start --no-block mysql"]


def test_process_that_cannot_be_ended_is_not_called_passive(process):
    loaded = module(refusing(ReplayedServer("mysql", "primary")), process)
    loaded.os = types.SimpleNamespace(kill=lambda pid, signal: None)  # as with a dead disk
    with pytest.raises(CommandExecutionError, match=f"the end of process {process.pid}"):
        loaded.passive(soon(0.3))


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
def test_stepping_down_disconnects_clients_but_neither_replicas_nor_root(engine):
    server = ReplayedServer(engine, "primary")
    server.answers["SHOW PROCESSLIST"] = [
        {"Id": 5, "User": "moodle", "Command": "Sleep"},
        {"Id": 6, "User": "replication", "Command": "Binlog Dump GTID"},
        {"Id": 7, "User": "root", "Command": "Query"},
        {"Id": 8, "User": "event_scheduler", "Command": "Daemon"},
    ]
    assert module(server).passive(soon()) == "gently"
    assert {one for one in server.told if one.startswith("KILL")} == {"KILL 5"}
    assert server.dialect["passive"][0] in server.told


def test_server_that_answers_is_left_alone(process):
    server = ReplayedServer("mysql", "primary")
    server.answers["SELECT 1 AS one"] = [{"one": 1}]
    loaded = module(server, process)
    assert loaded.revive(soon()) == "nothing"
    assert process.poll() is None and loaded.commands == []


def test_stopped_server_is_killed_and_started_again(process):
    server = ReplayedServer("mysql", "primary")
    server.answers["SELECT 1 AS one"] = [{"one": 1}]
    os.kill(process.pid, signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    assert sqlserver.alive(process.pid)["state"] == "T"
    loaded = module(server, process)
    assert loaded.revive(soon()) == "killed"
    assert loaded.commands == ["reset-failed mysql", "start --no-block mysql"]
    assert sqlserver.alive(process.pid) is None  # a zombie serves nobody


def test_process_is_told_from_a_later_one_with_the_same_number():
    me = sqlserver.alive(os.getpid())
    assert me["pid"] == os.getpid() and me["started"] > sqlserver.alive(1)["started"]
