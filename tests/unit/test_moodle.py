"""Moodle's settings and installation; PHP itself reads them in tests/render."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import ROOT, load

NASTY = "it's \"q\" $x ${y} \\n \\ #% äöü€ <?php ?> 'é\\"
EMPTY = {"state": "empty", "version": None, "tables": 0}
PARTIAL = {"state": "partial", "version": None, "tables": 400}
DONE = {"state": "installed", "version": "2024042201", "tables": 485}


def pillar(password=NASTY, engine="mysql"):
    return {
        "cluster": {
            "addresses": {"database": "192.168.10.8"},
            "database": {"engine": engine, "name": "moodle", "user": "moodle"},
            "moodle": {
                "url": "http://203.0.113.10/", "title": "Großes Moodle", "short_name": "m",
                "language": "de", "admin": {"user": "admin", "email": "a@example.org"},
            },
        },
        "secrets": {"database": {"moodle": password}, "moodle": {"admin": NASTY}},
    }


@pytest.fixture
def moodle(tmp_path):
    module = load("_modules/moodle.py", pillar=pillar())
    module.STAMP = str(tmp_path / "moodle")
    return module


def test_quotes_and_backslashes_are_all_that_php_needs_escaped(moodle):
    assert moodle._literal("a'b\\c$d") == "'a\\'b\\\\c$d'"
    assert moodle._literal({"a": False, "b": 5}) == "['a' => false, 'b' => 5]"


@pytest.mark.parametrize(("engine", "driver"), [("mysql", "mysqli"), ("mariadb", "mariadb")])
def test_settings_follow_the_engine_and_moodles_rules_for_several_servers(engine, driver):
    module = load("_modules/moodle.py", pillar=pillar(engine=engine))
    settings = dict(module._settings(pillar(engine=engine)["cluster"], "x"))
    assert settings["dbtype"] == driver
    assert settings["dbhost"] == "192.168.10.8"
    assert settings["wwwroot"] == "http://203.0.113.10"
    assert settings["session_handler_class"] == r"\core\session\database"
    assert settings["lock_factory"] == r"\core\lock\mysql_lock_factory"
    assert "sslproxy" not in settings and "reverseproxy" not in settings


def test_settings_are_written_for_php_only(moodle, tmp_path, monkeypatch):
    name, group = tmp_path / "config.php", os.getegid()
    moodle.ROOT = os.geteuid()
    monkeypatch.setattr(moodle.grp, "getgrnam", lambda _name: type("Group", (), {"gr_gid": group}))
    assert moodle.configured(str(name)) is False
    moodle.configure(str(name))
    assert moodle.configured(str(name)) is True
    assert (name.stat().st_mode & 0o7777, name.stat().st_gid) == (0o640, group)
    os.chmod(name, 0o644)
    assert moodle.configured(str(name)) is False


def test_no_password_reaches_the_command_line(moodle, tmp_path, monkeypatch):
    calls = []
    moodle.SITE = str(tmp_path)
    script = tmp_path / "current/admin/cli/install_database.php"
    script.parent.mkdir(parents=True)
    script.touch()
    purge = script.with_name("purge_caches.php")
    purge.touch()

    def run(argv, **kwargs):
        calls.append((argv, kwargs))
        answer = json.dumps(EMPTY if len(calls) == 1 else DONE)
        return subprocess.CompletedProcess(argv, 0, answer, "")

    monkeypatch.setattr(moodle.subprocess, "run", run)
    assert moodle.install() == DONE
    argv, kwargs = calls[1]
    assert all("it's" not in word for word in argv)
    assert f"--adminpass={NASTY}" in json.loads(kwargs["input"])
    assert json.loads(kwargs["input"])[0] == str(script)
    assert kwargs["user"] == "www-data" and "it's" not in json.dumps(kwargs["env"])
    assert json.loads(calls[2][1]["input"]) == [str(purge)]  # else Moodle 4.4 shows no page


def test_a_failing_script_is_named_with_its_error_and_without_the_password(moodle, tmp_path):
    moodle.SITE = str(tmp_path)
    script = tmp_path / "current/public/admin/cli/x.php"
    script.parent.mkdir(parents=True)
    script.touch()
    recorded = (ROOT / "tests/data/php-8.4/fatal").read_text()
    moodle._php = lambda *args: (255, f"--password={NASTY}\n", recorded + f"\nwith {NASTY}")
    with pytest.raises(CommandExecutionError) as error:
        moodle._cli("x.php", {"password": NASTY})
    assert str(error.value).startswith("admin/cli/x.php ended with 255: PHP Fatal error: ")
    assert "DivisionByZeroError" in str(error.value) and NASTY not in str(error.value)


def test_a_release_without_the_script_says_so(moodle, tmp_path):
    moodle.SITE = str(tmp_path)
    with pytest.raises(CommandExecutionError, match=r"no admin/cli/x\.php"):
        moodle._cli("x.php", {})


@pytest.mark.parametrize("found", [PARTIAL, DONE])
def test_a_database_that_holds_anything_is_never_installed_into(moodle, found):
    moodle.status = lambda: found
    moodle._cli = None
    with pytest.raises(CommandExecutionError):
        moodle.install()
    assert moodle.recorded() is None


def test_an_installation_that_was_cut_short_is_told_from_one_that_ended(moodle):
    """Moodle 4.4.1 died after it had marked itself as installed: the mark alone proves nothing."""
    moodle.status = lambda: DONE
    moodle.record("begun")
    with pytest.raises(CommandExecutionError, match="did not finish"):
        moodle.install()
    assert moodle.finished() is False


def test_database_that_does_not_answer_is_a_sentence_not_a_no(moodle):
    moodle._php = lambda *args: (0, '{"error": "database 192.168.10.8: Connection refused"}', "")
    with pytest.raises(CommandExecutionError, match="refused"):
        moodle.status()
    assert moodle.database_answers() == "database 192.168.10.8: Connection refused"


def test_topmost_mount_counts(moodle):
    mounts = (ROOT / "tests/data/linux-7.2/mounts").read_text()
    assert moodle._mounted(mounts, "/srv/moodledata") == ["autofs", "nfs4"]
    assert moodle._mounted(mounts, "/srv") == []


def installed(moodle, test=False):
    names = ("finished", "recorded", "status", "install", "record")
    functions = {f"moodle.{name}": getattr(moodle, name) for name in names}
    state = load("_states/moodle.py", salt=functions, opts={"test": test})
    return state.installed("http://203.0.113.10")


def test_state_installs_once_and_then_asks_nobody(moodle):
    found = [EMPTY, EMPTY, DONE]
    moodle.status = lambda: found.pop(0)
    moodle._cli = lambda *args: ""
    ret = installed(moodle)
    assert ret["result"] is True and ret["changes"] == {"old": "empty", "new": "installed"}
    moodle.status = None
    again = installed(moodle)
    assert again["result"] is True and again["changes"] == {}


def test_state_adopts_a_site_that_another_vm_installed(moodle):
    moodle.status = lambda: DONE
    ret = installed(moodle, test=True)
    assert ret["result"] is True and moodle.recorded() is None
    ret = installed(moodle)
    assert ret["result"] is True and ret["changes"] == {} and moodle.finished()


def test_state_in_test_mode_installs_nothing(moodle):
    moodle.status = lambda: EMPTY
    moodle._cli = None
    assert installed(moodle, test=True)["result"] is None


def test_state_fails_while_half_an_installation_lies_there(moodle):
    moodle.status = lambda: PARTIAL
    ret = installed(moodle)
    assert ret["result"] is False and ret["changes"] == {} and "400 tables" in ret["comment"]


def test_settings_state_shows_no_secret(tmp_path):
    answers = [False, True]
    functions = {"moodle.configured": lambda name: answers.pop(0),
                 "moodle.configure": lambda name: Path(tmp_path, "done").touch()}
    ret = load("_states/moodle.py", salt=functions).configured("/srv/moodle/config.php")
    assert ret["result"] is True and ret["changes"]["new"] == "the pillar's"
    assert NASTY not in json.dumps(ret, ensure_ascii=False)
