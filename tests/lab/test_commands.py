"""bin/lab says in a sentence what is wrong, and does nothing then."""

import pytest

from tests.lab.conftest import NAME, command

BAD = {
    "no such VM": (("crash", "lb9"), "lb9"),
    "no such VM to run on": (("run", "lb9", "true"), "lb9"),
    "no such link": (("cut", "lb1:eth7"), "lb1:eth7"),
    "no such server": (("pause", "server9"), "server9"),
    "a change of engine under a running lab": (("up", "--engine", "mariadb"), "engine"),
    "a Moodle archive that is not there": (("up", "--moodle", "/nowhere.tgz"), "/nowhere.tgz"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_a_sentence_that_names_it(bin_lab, cluster, case):
    words, named = BAD[case]
    done = bin_lab(*words)
    assert done.returncode != 0
    assert named in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("fly",), ("crash",), ("cut", "lb1", "--way", "up")])
def test_wrong_usage_shows_the_usage(bin_lab, words):
    done = bin_lab(*words)
    assert done.returncode == 2 and "usage:" in done.stderr


@pytest.mark.parametrize("words", [("status",), ("salt", "*", "test.ping"), ("client",)])
def test_a_lab_that_is_not_up_is_named(words):
    done = command(f"{NAME}none", *words)
    assert done.returncode != 0
    assert "not up" in done.stderr and "Traceback" not in done.stderr


def test_up_on_a_running_lab_changes_nothing(bin_lab, cluster):
    before = cluster.holders(), cluster.records()
    done = bin_lab("up")
    assert done.returncode == 0, done.stderr
    assert " 0 changed, 0 failed" in done.stdout + done.stderr
    assert (cluster.holders(), cluster.records()) == before


def test_a_cut_link_is_cut_and_heals(bin_lab, cluster):
    standby, holder = cluster.standby("files"), cluster.holder("files")
    address = cluster.lab.topology.internal(cluster.lab.cluster, standby)
    ping = ["ping", "-c1", "-W2", address]
    assert cluster.lab.run(holder, ping).returncode == 0
    try:
        assert bin_lab("cut", "lb2:eth0").returncode == 0
        assert "lb2:eth0" in bin_lab("status").stdout
    finally:
        assert bin_lab("heal", "lb2:eth0").returncode == 0
    assert "lb2:eth0" not in bin_lab("status").stdout


def test_a_paused_vm_is_shown_and_goes_on(bin_lab, cluster):
    standby = cluster.standby("director")
    try:
        assert bin_lab("pause", standby).returncode == 0
        assert "paused" in bin_lab("status").stdout
    finally:
        assert bin_lab("resume", standby).returncode == 0
    cluster.lab[standby].wait_for_boot(30)
    assert cluster.ask(standby, "director.status")["active"] is False


def test_the_exit_code_of_a_command_in_a_vm_is_passed_on(bin_lab, cluster):
    assert bin_lab("run", "web1", "exit 7").returncode == 7
    assert bin_lab("run", "web1", "hostname").stdout == "web1\n"
