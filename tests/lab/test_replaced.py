"""A data disk breaks, and a new one is put in: by the runbook, "Replace a VM or its disk"."""

import time

import pytest

from lab.deadline import wait_until
from lab.errors import LabError

pytestmark = pytest.mark.slow
SOON = 20
COPIED = 300  # s: the boot, the state run, and the whole of the data


def state_apply(trial, vm):
    argv = ["/opt/salt/bin/salt", "-t", "600", vm, "state.apply"]
    ping = [argv[0], "-t", "5", vm, "test.ping"]
    wait_until(lambda: "True" in trial.lab.master().run(ping).stdout,
               f"the minion of {vm}", COPIED, 5)
    done = trial.lab.master().run(argv, timeout=660)
    assert done.returncode == 0, done.stdout[-3000:]


def replaced(trial, vm):
    """Put a new disk into a VM that is off, switch it on, and set it up as the runbook says."""
    trial.replace_disk(vm)
    trial.start(vm)
    trial.lab[vm].wait_for_boot()
    state_apply(trial, vm)


def mirrored(trial, resource):
    """Wait until everything is on the new disk, and the record says so."""
    def said():
        status = trial.status()
        return status and status["resources"][resource]["record"]["mirrored"]

    wait_until(said, f"{resource} to be mirrored", COPIED, 1)


@pytest.mark.parametrize("part", ["holder", "standby"])
@pytest.mark.parametrize("resource", ["files", "database"])
def test_a_new_disk_becomes_a_mirror_and_nothing_is_lost(trial, resource, part):
    vm = getattr(trial, part)(resource)
    trial.crash(vm)
    trial.served(SOON)
    replaced(trial, vm)
    mirrored(trial, resource)
    assert trial.holder(resource) != vm
    done = trial.ha("switch", resource, vm)
    assert done.returncode == 0, done.stdout
    trial.served(SOON)
    assert trial.holder(resource) == vm


@pytest.mark.parametrize("resource", ["files", "database"])
def test_a_new_disk_in_the_only_complete_copy_serves_nothing_by_itself(trial, resource):
    """What its holder had acknowledged alone is gone with the old disk; that is for a person."""
    holder, standby = trial.holder(resource), trial.standby(resource)
    trial.give_up(time.monotonic(), float("inf"))
    trial.crash(standby)
    trial.served(SOON)
    trial.crash(holder)
    with pytest.raises(LabError):
        trial.served(SOON)
    trial.replace_disk(holder)
    trial.start(holder)
    trial.start(standby)
    for vm in (holder, standby):
        trial.lab[vm].wait_for_boot()
    state_apply(trial, holder)
    assert trial.rejected("NOT_MIRRORED", COPIED)["command"]
    with pytest.raises(LabError):
        trial.served(SOON)
    done = trial.ha("switch", resource, standby, f"lose_writes_of={holder}")
    assert done.returncode == 0, done.stdout
    trial.served(3 * SOON)
    assert trial.holder(resource) == standby
