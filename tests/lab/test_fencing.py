"""Without a third machine: what was switched off for certain cannot serve, and only then."""

import time

import pytest
import yaml

from lab.tree import write
from tests.lab.conftest import NAME, brought_up, judged
from tests.loading import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.own_lab]
SOON = 40  # s: each refused or hanging call of an agent costs its time-out


@pytest.fixture(scope="module")
def fenced():
    pillar = ROOT / "tests/data/labs/fencing.sls"
    with brought_up(f"{NAME}f", "--pillar", pillar) as running:
        path = running.lab.run_folder / "tree/pillar/secrets.sls"
        known = yaml.safe_load(path.read_text())
        known["secrets"]["fencing"] = {"switch": "a word of its own", "rack": "another=word"}
        write(path, yaml.safe_dump(known), 0o600)
        yield running


@pytest.fixture
def trial(fenced, tmp_path, request):
    with judged(fenced, tmp_path, request.node) as running:
        yield running
        fenced.lab.fence.mode = "honest"


def switched(trial):
    """Return the plugs that were asked to go off during the trial."""
    since = trial.events[0]["at"]
    return [each["plug"] for each in trial.lab.fence.requests()
            if each["action"] == "off" and each["time"] >= since]


@pytest.mark.parametrize("resource", ["files", "database"])
def test_a_dead_vm_is_switched_off_before_its_successor_serves(trial, resource):
    vm = trial.holder(resource)
    trial.crash(vm)
    print(f"gap {trial.served(SOON):.2f} s")
    assert vm in switched(trial) and trial.holder(resource) != vm


def test_a_frozen_vm_is_really_switched_off(trial):
    vm = trial.holder("database")
    trial.pause(vm)
    print(f"gap {trial.served(SOON):.2f} s")
    assert not trial.lab[vm].running


def test_a_dead_server_is_switched_off_as_a_whole(trial):
    server = trial.lab[trial.holder("database")].server
    trial.crash(server)
    print(f"gap {trial.served(2 * SOON):.2f} s")


@pytest.mark.parametrize("mode", ["refuse:vms", "hang:vms", "idle:vms"])
def test_where_a_vm_cannot_be_switched_off_its_server_is(trial, mode):
    vm = trial.holder("database")
    server = trial.lab[vm].server
    trial.lab.fence.mode = mode
    trial.pause(vm)
    print(f"gap {trial.served(2 * SOON):.2f} s")
    assert server in switched(trial)
    assert not any(machine.running for machine in trial.lab.servers[server].machines)


@pytest.mark.parametrize(("mode", "fault"), [
    ("refuse", "crash"), ("hang", "crash"), ("idle", "pause")])  # idle tells the truth: it is on
def test_without_a_verified_power_off_nothing_is_promoted_until_a_person_confirms(
        trial, mode, fault):
    vm = trial.holder("database")
    trial.lab.fence.mode = mode
    getattr(trial, fault)(vm)
    time.sleep(SOON)
    assert trial.holder("database") == vm
    done = trial.ha("confirm_dead", vm)
    assert done.returncode == 0, done.stdout
    trial.served(SOON)
    assert trial.holder("database") != vm


@pytest.mark.parametrize("cut", ["eth1", None])
def test_a_switch_that_lies_costs_no_acknowledged_write(trial, cut):
    """It says off of a VM that runs: that one still acknowledges nothing without its mirror."""
    vm = trial.holder("database")
    trial.lab.fence.mode = "lie"
    trial.cut(f"{vm}:{cut}" if cut else vm)
    time.sleep(SOON)
    assert trial.lab[vm].running
    trial.heal(vm)
    trial.served(2 * SOON)


def test_two_sides_that_lost_each_other_leave_one_of_each_vm(trial):
    """The balancer that serves cuts the other one first, and only then the copies over there."""
    names = ("director", "files", "database")
    pairs = [(trial.holder(name), trial.standby(name)) for name in names]
    trial.cut("server1")
    time.sleep(SOON)
    assert trial.lab[pairs[0][0]].running, "it served when they lost each other"
    for pair in pairs:
        assert any(trial.lab[vm].running for vm in pair), pair
    trial.heal("server1")
    trial.served(3 * SOON)


def test_a_cable_between_the_servers_costs_no_copy_of_the_data(trial):
    """The balancers cannot agree on the record: one goes off, though a serial line hears it."""
    server = trial.lab[trial.holder("director")].server
    for resource in ("files", "database"):
        vm = trial.holder(resource)
        if trial.lab[vm].server != server:
            done = trial.ha("switch", resource, trial.standby(resource))
            assert done.returncode == 0, done.stdout
    director, other = trial.holder("director"), trial.standby("director")
    trial.cut("server1:eth1")
    trial.served(2 * SOON)
    time.sleep(SOON)
    assert set(switched(trial)) == {other}
    assert trial.lab[director].running
    trial.heal("server1:eth1")
    trial.served(SOON)
