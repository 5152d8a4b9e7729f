"""Errant transactions are saved whole, or nothing is given up; and the proof before a promotion."""

import json
import time
import types
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import ROOT, load
from tests.unit.replayed_server import ReplayedServer, utils_with

keeper = load("_utils/keeper.py")
UUID = "25c57be3-e69f-11f1-9b39-4af4012799cb"
ERRANT = {"mysql": f"{UUID}:577-579", "mariadb": "0-3232238098-563"}
THEIRS = {"mysql": f"{UUID}:1-576", "mariadb": "0-3232238098-561,0-3232238108-770"}
OUTPUT = {
    "mysql": "mysql-9.7.4/mysqlbinlog-errant.sql",
    "mariadb": "mariadb-11.8.6/mariadb-binlog-errant.sql",
}
LOGS = ("binlog.000001", "binlog.000002", "binlog.000003")
# What the server had executed when each of its logs began.
BEFORE = {
    "mysql": ("Previous_gtids", ["", f"{UUID}:1-150", f"{UUID}:1-578"]),
    "mariadb": ("Gtid_list", ["[]", "[0-3232238098-388]", "[0-3232238098-562]"]),
}
SECRETS = {"secrets": {"database": {"replication": "secret"}}}


def soon():
    return time.time() + 5


def errant_on(tmp_path, engine, kept=LOGS):
    """Return the module on a server with three binary logs, and the commands it ran."""
    server, other = ReplayedServer(engine, "replica"), ReplayedServer(engine, "primary")
    other.answers[other.dialect["executed"]] = [{"executed": THEIRS[engine], "purged": ""}]
    server.answers["SHOW BINARY LOGS"] = [{"Log_name": name, "File_size": 900} for name in kept]
    server.answers["SELECT @@GLOBAL.datadir AS path"] = [{"path": "/var/lib/mysql/"}]
    kind, before = BEFORE[engine]
    for name, info in zip(LOGS, before, strict=True):
        server.answers[f"SHOW BINLOG EVENTS IN '{name}' LIMIT 4"] = [
            {"Event_type": "Format_desc", "Info": ""}, {"Event_type": kind, "Info": info},
        ]  # fmt: skip
    loaded = load("_modules/mysql_errant.py", pillar=SECRETS, grains={"id": "db1"},
                  utils=utils_with(server, other))  # fmt: skip
    loaded.DIRECTORY = str(tmp_path / "saved")
    commands = []

    def extract(command, path):
        commands.append(command)
        recorded = (ROOT / "tests/data" / OUTPUT[engine]).read_text(encoding="utf-8")
        with open(path, "w", encoding="utf-8") as file:
            file.write(recorded)

    loaded._extract = extract
    return loaded, commands


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
def test_what_the_source_lacks_is_saved_and_named(tmp_path, engine):
    loaded, commands = errant_on(tmp_path, engine)
    answer = loaded.save("192.168.10.28", ERRANT[engine], soon())
    assert answer["transactions"] == {"mysql": 3, "mariadb": 2}[engine]
    saved = tmp_path / "saved" / answer["directory"].rpartition("/")[2]
    report = json.loads((saved / "report.json").read_text())
    assert report["errant"] == ERRANT[engine] and report["server"] == "db1"
    # The first log ended before there was anything that the source has not.
    assert commands[0][-2:] == [f"/var/lib/mysql/{name}" for name in LOGS[1:]]
    wanted = {
        "mysql": [f"--include-gtids={ERRANT['mysql']}"],
        "mariadb": ["--do-server-ids=3232238098", "--start-position=0-3232238098-561"],
    }
    assert commands[0][3:-2] == wanted[engine]


@pytest.mark.parametrize(("engine", "more"), [
    ("mysql", f"{UUID}:575-579"), ("mariadb", "0-3232238098-564"),
])  # fmt: skip
def test_transactions_that_the_logs_no_longer_have_are_not_given_up(tmp_path, engine, more):
    loaded, _ = errant_on(tmp_path, engine)
    with pytest.raises(CommandExecutionError, match="no longer have"):
        loaded.save("192.168.10.28", more, soon())
    assert list((tmp_path / "saved").iterdir()) == []


def test_large_logs_are_saved_on_the_data_disk(tmp_path):
    loaded, _ = errant_on(tmp_path, "mysql")
    assert loaded._directory(str(tmp_path / "data"), 10).startswith(loaded.DIRECTORY)
    loaded.os = Disks(loaded.os, small=loaded.DIRECTORY)
    assert "/data/.saved/database-" in loaded._directory(str(tmp_path / "data"), 10)
    with pytest.raises(CommandExecutionError, match="no room to save transactions: neither"):
        loaded._directory(str(tmp_path / "data"), 1 << 60)


class Disks:
    """The module os, where one folder's disk is full."""

    def __init__(self, os, small):
        self.os, self.small = os, small

    def __getattr__(self, name):
        return getattr(self.os, name)

    def statvfs(self, path):
        if path == self.small:
            return types.SimpleNamespace(f_bavail=1, f_frsize=1)
        return self.os.statvfs(path)


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
def test_what_is_saved_already_is_not_saved_again(tmp_path, engine):
    """The command after it failed, and is repeated until it succeeds."""
    loaded, commands = errant_on(tmp_path, engine)
    first = loaded.save("192.168.10.28", ERRANT[engine], soon())
    assert loaded.save("192.168.10.28", ERRANT[engine], soon()) == first
    assert len(commands) == 1
    report = tmp_path / "saved" / first["directory"].rpartition("/")[2] / "report.json"
    report.write_text(report.read_text().replace(": 900", ": 901"))  # other logs: others' names
    report.parent.rename(tmp_path / "saved/database-20251129T000000Z")  # a second has not passed
    loaded.save("192.168.10.28", ERRANT[engine], soon())
    assert len(commands) == 2


def test_what_a_killed_save_left_gives_its_room_back(tmp_path):
    loaded, _ = errant_on(tmp_path, "mysql")
    before = tmp_path / "saved/database-20251129T000000Z"
    Path(loaded.save("192.168.10.28", ERRANT["mysql"], soon())["directory"]).rename(before)
    half, own = (tmp_path / "saved" / name for name in (
        "database-20261129T000000Z.incomplete", "database-looked-at"))
    for folder in (half, own):
        folder.mkdir()
        (folder / "transactions.sql").touch()
    report = json.loads((before / "report.json").read_text())
    (before / "report.json").write_text(json.dumps({**report, "errant": "another"}))
    loaded.save("192.168.10.28", ERRANT["mysql"], soon())
    assert not half.exists()
    assert own.exists() and before.exists()


def test_what_was_saved_is_listed_from_both_disks_the_oldest_first(tmp_path):
    loaded = load("_modules/mysql_errant.py")
    loaded.DIRECTORY, loaded.DATA = str(tmp_path / "saved"), str(tmp_path / "data")
    assert loaded.saved() == []
    for folder in ("data/.saved/database-20261101T0", "saved/database-20261102T0"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "report.json").write_text("{}")
    (tmp_path / "saved/database-20261103T0").mkdir()  # half of one
    assert loaded.saved() == [str(tmp_path / "data/.saved/database-20261101T0"),
                              str(tmp_path / "saved/database-20261102T0")]


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
def test_logs_that_do_not_reach_back_far_enough_save_nothing(tmp_path, engine):
    """The last transaction of a server is there, and those before it are not."""
    loaded, commands = errant_on(tmp_path, engine, kept=LOGS[2:])
    with pytest.raises(CommandExecutionError, match="no longer have .*mysql_clone.seed .*discard"):
        loaded.save("192.168.10.28", ERRANT[engine], soon())
    assert commands == [] and not (tmp_path / "saved").exists()


def test_failing_tool_is_named_with_its_message(tmp_path):
    loaded = load("_modules/mysql_errant.py")
    with pytest.raises(CommandExecutionError, match="cannot access"):
        loaded._extract(["ls", str(tmp_path / "nothing")], str(tmp_path / "out"))
    with pytest.raises(CommandExecutionError, match="no-such-tool"):
        loaded._extract(["no-such-tool"], str(tmp_path / "out"))


class Proving:
    """A replica, its source, and the process that runs it."""

    def __init__(self, tmp_path, engine):
        self.server = ReplayedServer(engine, "replica")
        self.source = ReplayedServer(engine, "primary")
        both = self.server.answers[self.server.dialect["executed"]]
        self.source.answers[self.source.dialect["executed"]] = [dict(both[0])]
        self.process = {"pid": 7, "started": 100, "state": "S"}
        utils = utils_with(self.server, self.source)
        utils["sqlserver.process"] = lambda: dict(self.process)
        utils |= {"keeper.get": keeper.get, "keeper.put": keeper.put}
        replication = load("_modules/mysql_replication.py", utils=utils)
        self.proof = load("_modules/mysql_proof.py", utils=utils, pillar=SECRETS,
                          salt={"mysql_replication.status": replication.status})  # fmt: skip
        self.proof.FOLDER = str(tmp_path / "cluster")

    def ahead(self, engine):
        more = {"mysql": "dd52011f-e686-11f1-b863-569ca3f9701b:1-99999", "mariadb": "0-9-99999"}
        self.source.answers[self.source.dialect["executed"]][0]["executed"] += f",{more[engine]}"


@pytest.fixture(params=["mysql", "mariadb"])
def proving(request, tmp_path):
    return Proving(tmp_path, request.param)


def test_replica_with_all_its_source_has_proves_it_for_this_process_only(proving):
    assert proving.proof.present() is False
    proving.proof.prove(soon())
    proving.process["state"] = "R"
    assert proving.proof.present() is True
    proving.process["started"] = 200  # restarted, with the same number by chance
    assert proving.proof.present() is False
    proving.process["started"] = 100
    proving.proof.forget()
    assert proving.proof.present() is False


def test_a_proof_begun_before_it_was_forgotten_is_none(proving, monkeypatch):
    """The beacon is at it when a command makes this server follow another one."""
    ask = proving.proof._receiver

    def forgotten_meanwhile(deadline):
        proving.proof.forget()
        return ask(deadline)

    with monkeypatch.context() as context:
        context.setattr(proving.proof, "_receiver", forgotten_meanwhile)
        with pytest.raises(CommandExecutionError, match="stopped meanwhile"):
            proving.proof.prove(soon())
    assert proving.proof.present() is False


def test_a_command_and_the_beacon_prove_the_same_at_once(proving, monkeypatch):
    ask, both = proving.proof._receiver, iter([proving.proof.prove])

    def the_other_first(deadline):
        for prove in both:
            prove(deadline)
        return ask(deadline)

    monkeypatch.setattr(proving.proof, "_receiver", the_other_first)
    proving.proof.prove(soon())
    assert proving.proof.present() is True


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
def test_replica_that_only_reached_its_source_proves_nothing(tmp_path, engine):
    proving = Proving(tmp_path, engine)
    proving.ahead(engine)
    with pytest.raises(CommandExecutionError, match=r"all that 192\.168"):
        proving.proof.prove(time.time() + 0.2)
    assert proving.proof.present() is False


def test_replica_that_receives_nothing_proves_nothing(proving):
    for name in ("Slave_IO_Running", "Replica_IO_Running"):
        if name in proving.server.answers["SHOW REPLICA STATUS"][0]:
            proving.server.row(**{name: "Connecting"})
    with pytest.raises(CommandExecutionError, match="does not receive"):
        proving.proof.prove(soon())
