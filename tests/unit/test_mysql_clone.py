"""Seeding a replica: the password's option file, and what a copy that was cut short leaves."""

import stat
import time
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import load
from tests.unit.replayed_server import ReplayedServer, utils_with

PASSIVE = {"engine": "mariadb", "writable": False, "blank": True, "executed": "", "seeding": None}


@pytest.fixture
def seeding(tmp_path):
    note = load("_utils/seeding.py")
    note.PATH = str(tmp_path / "cluster/database.seeding")
    return note


def clone_with(note, **status):
    """Return the module on a replica with this status; loading the tables changes nothing."""
    server = ReplayedServer("mariadb", "replica")
    server.answers["SELECT @@GLOBAL.gtid_slave_pos AS position"] = [{"position": "0-1-5"}]
    donor = ReplayedServer("mariadb", "primary")
    donor.answers["SELECT @@GLOBAL.gtid_binlog_state AS state"] = [{"state": "0-1-5"}]
    executed = donor.one(donor.dialect["executed"])["executed"]
    utils = utils_with(server, donor)
    for name in ("begin", "end", "unfinished"):
        utils[f"seeding.{name}"] = getattr(note, name)
    clone = load(
        "_modules/mysql_clone.py",
        salt={
            "mysql_replication.status": lambda: {**PASSIVE, "executed": executed, **status},
            "mysql_replication.errant": lambda source, deadline: "",
            "claim.in_time": load("_modules/claim.py").in_time,
        },
        pillar={"secrets": {"database": {"replication": "secret"}}},
        utils=utils,
    )
    make = clone.tempfile.mkstemp
    clone.tempfile = type("Tempfile", (), {"mkstemp": lambda prefix, dir: make(prefix)})
    clone._pipe = lambda producer, consumer, deadline: None
    return server, clone


def test_copy_is_noted_on_the_disk_before_the_load_and_until_it_is_complete(seeding):
    _, clone = clone_with(seeding)
    seen = []
    clone._pipe = lambda *arguments: seen.append(seeding.unfinished())
    clone.seed("192.168.10.18", time.time() + 5)
    assert "192.168.10.18" in seen[0]
    assert seeding.unfinished() is None


def test_copy_that_was_cut_short_stays_noted_and_may_be_begun_again(seeding):
    _, clone = clone_with(seeding)

    def cut(*arguments):
        raise CommandExecutionError("not before the deadline")

    clone._pipe = cut
    with pytest.raises(CommandExecutionError, match="deadline"):
        clone.seed("192.168.10.18", time.time() + 5)
    server, clone = clone_with(seeding, blank=False, seeding=seeding.unfinished())
    clone.seed("192.168.10.18", time.time() + 5)
    assert "RESET MASTER" in server.told
    assert seeding.unfinished() is None


def test_server_with_data_of_its_own_is_not_seeded(seeding):
    server, clone = clone_with(seeding, blank=False)
    with pytest.raises(CommandExecutionError, match="discard"):
        clone.seed("192.168.10.18", time.time() + 5)
    assert server.told == []


def test_late_seeding_is_refused_before_anything_is_lost(seeding):
    server, clone = clone_with(seeding)
    with pytest.raises(CommandExecutionError, match="database: refused.*deadline was over"):
        clone.seed("192.168.10.18", time.time() - 1)
    assert server.told == [] and seeding.unfinished() is None


def test_note_that_cannot_be_read_is_not_taken_for_absent(seeding):
    Path(seeding.PATH).mkdir(parents=True)
    with pytest.raises(CommandExecutionError, match="cannot read"):
        seeding.unfinished()


@pytest.mark.parametrize(
    ("password", "written"),
    [
        ("plain-one", r'"plain-one"'),
        ("a\\ub", r'"a\\ub"'),  # it arrived with two backslashes
        (' # "q" \\s end ', r'" # \"q\" \\s end "'),
        ("päß😀", '"päß😀"'),
    ],
)
def test_password_is_quoted_as_an_option_file_is_read(tmp_path, monkeypatch, password, written):
    """Each line was compared with what MariaDB's my_print_defaults 11.8.6 makes of it."""
    clone = load("_modules/mysql_clone.py")
    make = clone.tempfile.mkstemp
    monkeypatch.setattr(clone.tempfile, "mkstemp", lambda prefix, dir: make(prefix, dir=tmp_path))
    with clone._login("192.168.10.18", password) as path:
        file = Path(path)
        assert f"password={written}" in file.read_text(encoding="utf-8").splitlines()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.exists()


UUID = "42609e3b-eb81-11f1-890f-026c6102000"
OLD, NEW = {"pid": 7, "started": 1}, {"pid": 8, "started": 2}


@pytest.mark.parametrize(("engine", "looks", "wrong"), [
    ("mysql", [(OLD, "all"), (OLD, "none"), (NEW, "all")], None),  # what the old one says is old
    ("mysql", [(OLD, "none"), (None, None), (NEW, "none")], "wanted"),
    ("mysql", [(NEW, "old")], "extra"),  # killed before it dropped what it had
    ("mariadb", [(OLD, "all")], None), ("mariadb", [(OLD, "none")], "wanted")])
def test_a_copy_that_broke_off_is_told_from_one_that_is_not_there_yet(engine, looks, wrong):
    sets = {"mysql": {"wanted": f"{UUID}2:1-9", "extra": f"{UUID}1:17"},
            "mariadb": {"wanted": "0-2-9", "extra": "0-1-17"}}[engine]
    said = {"all": sets["wanted"], "none": "", "old": f"{sets['wanted']},{sets['extra']}"}
    now = []

    def status():
        now[:] = [looks.pop(0)] if looks else now
        if now[0][1] is None:
            raise CommandExecutionError("no answer")
        return {"executed": said[now[0][1]]}

    utils = utils_with(ReplayedServer(engine, "replica"))
    utils["sqlserver.process"] = lambda: now[0][0]
    clone = load("_modules/mysql_clone.py", {"mysql_replication.status": status}, utils=utils)
    given = (engine, "192.168.10.18", sets["wanted"], sets["extra"], OLD)
    if wrong:
        with pytest.raises(CommandExecutionError, match=f"broke off: {sets[wrong]} differs"):
            clone._verify(*given)
    else:
        clone._verify(*given)
    assert looks == []
