"""`salt-run ha.check` prints what would stop every state run; `ha.status` never guesses."""

import os
import subprocess
import sys

import pytest
import yaml

from tests import pillars
from tests.loading import ROOT, load

ha = load("_runners/ha.py")
SALT_RUN = os.path.join(os.path.dirname(sys.executable), "salt-run")


@pytest.fixture
def master(tmp_path):
    """A tree and a master's configuration for it; no master needs to run for ha.check."""
    for part in ("_utils", "_pillar", "_runners", "pillar"):
        target = tmp_path / "tree" / part
        target.mkdir(parents=True)
        for path in (ROOT / part).iterdir():
            if path.is_file() and path.name not in ("secrets.sls", "local.sls"):
                (target / path.name).write_bytes(path.read_bytes())
    secrets = tmp_path / "tree/pillar/secrets.sls"
    secrets.touch(mode=0o600)
    secrets.write_text(yaml.safe_dump({"secrets": pillars.secrets()}))
    cluster = load("_utils/topology.py").master_config(pillars.cluster())
    config = yaml.safe_dump(cluster).replace("/srv/cluster", str(tmp_path / "tree"))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/master").write_text(f"{config}\nroot_dir: {tmp_path}\nuser: root\n")
    (tmp_path / "var/cache/salt/master/proc").mkdir(parents=True)
    return tmp_path


def check(master):
    argv = [SALT_RUN, "-c", str(master / "etc"), "--log-level=quiet", "--out=json", "ha.check"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    return done.returncode, yaml.safe_load(done.stdout)


def test_a_right_pillar_exits_0(master):
    assert check(master) == (0, "the pillar is right")


def test_a_wrong_pillar_exits_1_and_lists_everything(master):
    (master / "tree/pillar/local.sls").write_text(
        "cluster: {sizes: {web: {memory: 2}}, addresses: {files: 192.168.10.15}}\n"
    )
    code, answer = check(master)
    assert code == 1
    assert [line.partition(": ")[0] for line in answer["errors"][1:]] == [
        "cluster.addresses.files",
        "cluster.sizes.web.memory",
        "secrets.certificates.file2",  # file1's own address is in its certificate already
    ]


def test_a_file_that_is_not_yaml_says_where(master):
    (master / "tree/pillar/local.sls").write_text("cluster:\n  sizes: [\n  x: 1\n")
    code, answer = check(master)
    assert code == 1
    assert "Rendering SLS 'local' failed" in answer["errors"][0]


def test_a_master_without_the_guard_is_an_error(master):
    (master / "tree/_pillar/cluster.py").unlink()
    code, answer = check(master)
    assert code == 1
    assert answer["errors"] == [
        "the master does not load _pillar/cluster.py; see ext_pillar in master.d"
    ]


def answer(active, record):
    return {"status": {"active": active, "epoch": 1}, "record": record}


HELD = {"holder": "db1", "epoch": 1, "mirrored": True}


def test_active_on_the_holder_alone_is_right():
    found = ha._summary({"db1": answer(True, HELD), "db2": answer(False, HELD)})
    assert (found["right"], found["record"]) == (True, HELD)


@pytest.mark.parametrize(
    "answers",
    [
        {"db1": answer(True, HELD), "db2": answer(True, HELD)},
        {"db1": answer(False, HELD), "db2": answer(True, HELD)},
        {"db1": answer(None, HELD), "db2": answer(False, HELD)},
        {"db1": None, "db2": None},
        {"db1": answer(True, None), "db2": answer(False, None)},
        {"db1": answer(True, "arbiter cannot be reached"), "db2": None},
    ],
)
def test_anything_else_is_not(answers):
    assert ha._summary(answers)["right"] is False


def test_a_silent_vm_is_unknown_and_not_passive():
    found = ha._summary({"db1": answer(True, HELD), "db2": None})
    assert found["vms"]["db2"] == {"active": None, "problem": "does not answer"}


def test_a_failed_status_shows_what_it_said():
    failed = {"status": "ERROR: mysqld is not running", "record": HELD}
    assert ha._summary({"db1": failed})["vms"]["db1"] == {
        "active": None, "problem": "ERROR: mysqld is not running",
    }  # fmt: skip


def test_of_a_traceback_only_the_reason_is_shown():
    failed = "Traceback\n  File x\nError: no quorum\n"
    said = {"a.status": {"active": False}, "arbiter.read": failed}
    assert ha._answer(said, ["a.status", "arbiter.read"])["record"] == "Error: no quorum"


def test_an_arbiter_that_cannot_be_asked_is_said_and_not_taken_for_an_empty_one():
    found = ha._summary({"db1": answer(True, "ERROR: no quorum"), "db2": None})
    assert found["record"] == "ERROR: no quorum"


def test_a_dead_minion_s_sentence_is_no_answer():
    functions = ["database.status", "arbiter.read"]
    assert ha._answer(False, functions) is None
    assert ha._answer("Minion did not return. [No response]", functions) is None
