"""`salt-run ha.check` prints what would stop every state run; a command exits 1 with its reason."""

import os
import subprocess
import sys
import unittest.mock

import pytest
import yaml
from salt.exceptions import CommandExecutionError

from tests import pillars
from tests.loading import ROOT, Utils, load

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


def test_a_certificate_that_ends_soon_exits_1_and_stops_nothing(master):
    secrets = pillars.secrets()
    make, site = pillars.generator(), {"names": ["moodle.example.org"], "addresses": []}
    make.CERTIFICATE_DAYS = 20
    try:
        soon = make.certificate(secrets["ca"], "site", site, None, client=False)
    finally:
        make.CERTIFICATE_DAYS = 3650
    secrets["web"] = {"tls": soon}
    (master / "tree/pillar/secrets.sls").write_text(yaml.safe_dump({"secrets": secrets}))
    (master / "tree/pillar/local.sls").write_text(
        "cluster: {moodle: {url: 'https://moodle.example.org'}, balancer: {ports: [443]}}\n")
    code, answer = check(master)
    assert code == 1
    (told,) = answer["the pillar is right"]
    assert told.startswith("secrets.web.tls: the certificate runs out on 20")


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


RIGHT = {"resources": {"files": {"right": True}}}
WRONG = {"resources": {"files": {"right": True}, "database": {"right": False}}}


def runner(salt, **opts):
    utils = Utils({"story.status": lambda facts: "the table"})
    return load("_runners/ha.py", salt=salt, utils=utils, opts=opts)


@pytest.mark.parametrize(("facts", "opts", "expected"), [
    (RIGHT, {}, "the table"),
    (WRONG, {"output": None}, {"status": "the table", "retcode": 1}),
    (RIGHT, {"output": "json"}, {**RIGHT, "retcode": 0}),
    (WRONG, {"output": "json"}, {**WRONG, "retcode": 1}),
])
def test_status_is_text_for_people_and_data_for_programs(facts, opts, expected):
    assert runner({"overview.gather": lambda: facts}, **opts).status() == expected


def test_a_status_that_cannot_be_had_says_why():
    def gather():
        raise CommandExecutionError("no pillar")

    found = runner({"overview.gather": gather}).status()
    assert found == {"status": "the cluster cannot be looked at: no pillar", "retcode": 1}


@pytest.mark.parametrize(("command", "arguments"), [
    ("switch", ("files", "file2", None, None)), ("evacuate", ("server1", None)),
    ("restore", ("server1", 900)), ("confirm_dead", ("server1", None)), ("acknowledge", ("files",)),
])
def test_a_command_exits_1_with_the_reason_unless_it_did_what_was_asked(command, arguments):
    given, answers = [], [{"told": "done", "right": True}, {"told": "Refused", "right": False}]

    def work(*words):
        given.append(words)
        return answers.pop(0)

    ha = runner({f"operation.{command}": work})
    words = [word for word in arguments if word not in (None, 900)]
    assert getattr(ha, command)(*words) == "done"
    assert getattr(ha, command)(*words) == {command: "Refused", "retcode": 1}
    assert given == [arguments, arguments]


def test_a_failure_is_a_sentence_and_no_traceback():
    def work(*_):
        raise CommandExecutionError("the arbiter does not answer")

    found = runner({"operation.acknowledge": work}).acknowledge("files")
    assert found == {"acknowledge": "the arbiter does not answer", "retcode": 1}


@pytest.mark.parametrize(("command", "words", "named"), [
    ("switch", ["database"], "salt-run ha.switch RESOURCE VM"),
    ("switch", [], "salt-run ha.switch RESOURCE VM"),
    ("evacuate", [], "salt-run ha.evacuate SERVER"),
    ("restore", [], "salt-run ha.restore SERVER"),
    ("restore", ["server1", "1h"], "timeout must be a whole number of seconds above 0, not '1h'"),
    ("restore", ["server1", 0], "timeout must be"),
    ("confirm_dead", [], "salt-run ha.confirm_dead SERVER"),
    ("acknowledge", [], "salt-run ha.acknowledge RESOURCE"),
    ("explain", ["five"], "count must be a whole number of decisions above 0, not 'five'"),
    ("explain", [0], "count must be"), ("explain", [True], "count must be"),
    ("switch", ["files", "file2", "file1", "server1", "x"], "VM, without x"),
    ("restore", ["server1", 60, "now"], "SERVER, without now"),
    ("confirm_dead", ["server1", "server1", "server2"], "SERVER, without server2"),
    ("acknowledge", ["files", "database"], "RESOURCE, without database"),
])
def test_a_wrong_argument_is_named_and_nothing_is_begun(command, words, named):
    """Salt itself would say so with exit code 0, or begin and break off."""
    found = getattr(runner({}), command)(*words)
    assert found["retcode"] == 1 and named in found[command]


@pytest.mark.parametrize("words", [
    ("switch", "files", "file2", "lose_write_of=file1"), ("evacuate", "server1", "reason=memory"),
    ("restore", "server1", "time=60"), ("confirm_dead", "server1", "lose_writes=server1"),
    ("acknowledge", "files", "by=me"),
])
def test_a_name_that_is_misspelled_ends_a_script(master, words):
    argv = [SALT_RUN, "-c", str(master / "etc"), "--log-level=quiet", "--out=json",
            f"ha.{words[0]}", *words[1:]]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert (done.returncode, f"without {words[-1]}" in done.stdout) == (1, True), done.stdout


def test_the_reason_of_an_evacuation_may_be_several_words():
    given = []

    def work(*words):
        given.append(words)
        return {"told": "done", "right": True}

    ha = runner({"operation.evacuate": work})
    assert ha.evacuate("server1", "new", "memory") == ha.evacuate("server1", why="a fan") == "done"
    assert given == [("server1", "new memory"), ("server1", "a fan")]


def test_what_breaks_off_for_whatever_reason_ends_a_script():
    """Salt takes a TypeError for wrong arguments, and exits with 0."""
    ha = runner({"operation.evacuate": lambda *_: {}[["server1"]]})
    ha.log = unittest.mock.Mock()
    found = ha.evacuate(["server1"])
    assert found["retcode"] == 1 and "unhashable" in found["evacuate"]
