"""Stepping down and reviving: who is disconnected, and when the process is ended."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import types
from pathlib import Path

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


def module(server, child=None, proved=False):
    utils = utils_with(server)
    utils["sqlserver.process"] = lambda: child and sqlserver.alive(child.pid)
    proof = {"mysql_proof.present": lambda: proved}
    loaded = load("_modules/mysql_server.py", proof, utils=utils, pillar=PILLAR)
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


def test_a_mariadb_disconnects_nobody_while_a_commit_waits(process):
    """It would end the wait of all who commit together, and tell them that it is done."""
    server = refusing(ReplayedServer("mariadb", "primary"))
    server.answers["SHOW PROCESSLIST"] = [{"Id": 5, "User": "moodle", "Command": "Query"}]
    assert module(server, process).passive(soon()) == "killed"
    assert not [one for one in server.told if one.startswith("KILL")]


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


@pytest.mark.parametrize(("seconds", "spare", "proved", "ended"), [
    (2, False, True, True), (2, True, False, True), (2, True, True, False),
    (0.1, False, True, False)])
def test_only_a_server_that_had_its_time_and_has_no_proof_is_ended(
        process, seconds, spare, proved, ended):
    """Ended, a replica loses what it has not applied yet, and could not be promoted any more."""
    server = ReplayedServer("mysql", "replica")
    server.failing["SELECT 1 AS one"] = sqlserver.StatementError("busy", OSError(0, "busy"))
    loaded = module(server, process, proved)
    loaded.GREETING = 0.3
    with pytest.raises(CommandExecutionError, match="restarted" if ended else "is not ended"):
        loaded.revive(soon(seconds) if ended else soon(min(seconds, 0.5)), spare)
    assert (process.poll() is not None) is ended


def test_a_server_with_a_full_queue_is_neither_dead_nor_unknown(tmp_path, monkeypatch):
    """A connection is refused at once then, although a process listens."""
    known = load("_utils/sqlserver.py")
    monkeypatch.setattr(known, "SOCKET", str(tmp_path / "socket"))
    group = tmp_path / "cgroup.procs"
    group.write_text(f"1\n{os.getpid()}\n")
    monkeypatch.setattr(known, "GROUPS", str(group))
    name = Path("/proc/self/comm").read_text().strip()
    monkeypatch.setattr(known, "SERVERS", (name,))
    assert known.process() is None
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(known.SOCKET)
        assert known.process() is None  # nobody listens
        server.listen(0)
        while True:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            try:
                client.connect(known.SOCKET)
            except BlockingIOError:
                break
        assert known.process()["pid"] == os.getpid()
        monkeypatch.setattr(known, "SERVERS", ("another",))
        assert known.process() is None
