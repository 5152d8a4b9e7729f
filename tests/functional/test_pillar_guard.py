"""A wrong pillar stops every state run, with all mistakes at once, before anything changes."""

from pathlib import Path

import pytest

WRONG = """
cluster:
  heartbeat: {deadtime: 0.3}
  database: {engine: oracle}
  colour: blue
"""
# The key that is wrong, as an operator finds it in the file.
NAMED = ("heartbeat.deadtime", "database.engine", "colour")


def probe(salt, minion="web1"):
    return salt(minion, "state.apply", "probe")


@pytest.fixture
def probed(minions):
    path = Path(minions["web1"].config["root_dir"], "probe")
    yield path
    path.unlink(missing_ok=True)


def test_a_right_pillar_lets_states_run(salt, probed):
    done = probe(salt)
    assert done.returncode == 0, done.stdout
    assert probed.read_text() == "moodle\n"


def test_a_wrong_pillar_names_every_mistake_and_changes_nothing(salt, local, probed):
    local(WRONG)
    done = probe(salt)
    assert done.returncode != 0
    assert [name for name in NAMED if name not in done.stdout] == []
    assert not probed.exists()


def test_the_check_runner_prints_the_same_mistakes_and_fails(run, salt, local):
    local(WRONG)
    done = run("ha.check")
    assert done.returncode != 0
    assert [name for name in NAMED if name not in done.stdout] == []


def test_the_check_runner_is_content_with_the_default_pillar(run, salt):
    done = run("ha.check")
    assert done.returncode == 0, done.stdout


def test_a_mended_pillar_lets_states_run_again(salt, local, probed, tree):
    local(WRONG)
    assert probe(salt).returncode != 0
    local("cluster: {}\n")
    assert probe(salt).returncode == 0


def test_a_missing_secrets_file_stops_every_state_run(salt, local, tree, probed):
    secrets = tree / "pillar/secrets.sls"
    kept = secrets.read_text()
    try:
        secrets.unlink()
        local("cluster: {}\n")
        done = probe(salt)
        assert done.returncode != 0 and "secrets" in done.stdout
    finally:
        secrets.write_text(kept)
        secrets.chmod(0o600)
    assert not probed.exists()
