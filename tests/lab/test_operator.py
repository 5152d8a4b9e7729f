"""No third machine and no power switch: what has data moves by a person's word, and only then."""

import time

import pytest

from lab.deadline import wait_until
from tests.lab.conftest import NAME, brought_up, judged
from tests.loading import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.own_lab]
SOON = 20
DATA = ("files", "database")


@pytest.fixture(scope="module")
def manned():
    with brought_up(f"{NAME}o", "--pillar", ROOT / "tests/data/labs/operator.sls") as running:
        yield running


@pytest.fixture
def trial(manned, tmp_path, request):
    with judged(manned, tmp_path, request.node) as running:
        yield running


def holders(trial):
    known = trial.holders()
    return {resource: known[resource] for resource in DATA}


def named(trial, condition, command):
    """Wait until a refusal names this command: of a server only when all of it is silent."""
    wait_until(lambda: trial.rejected(condition)["command"] == command, command, 3 * SOON, 1)


@pytest.mark.parametrize("resource", ["director", "files", "database"])
def test_a_dead_server_is_succeeded_by_the_word_of_a_person(trial, resource):
    server = trial.lab[trial.holder(resource)].server
    trial.crash(server)
    if server in {trial.lab[vm].server for vm in holders(trial).values()}:
        named(trial, "UNCONFIRMED", f"salt-run ha.confirm_dead {server}")
    assert trial.lab[trial.holder("director")].server != server, "it asks nobody"
    done = trial.ha("confirm_dead", server)
    assert done.returncode == 0, done.stdout
    print(f"gap {trial.served(3 * SOON):.2f} s")
    assert server not in {trial.lab[vm].server for vm in holders(trial).values()}


def test_a_standby_that_died_is_done_without_by_the_word_of_a_person(trial):
    vm = trial.standby("database")
    trial.crash(vm)
    named(trial, "UNCONFIRMED", f"salt-run ha.confirm_dead {vm}")
    before = holders(trial)
    assert trial.ha("confirm_dead", vm).returncode == 0
    trial.served(SOON)
    assert holders(trial) == before


@pytest.mark.parametrize("resource", DATA)
@pytest.mark.allowed("drbd")  # both have written: a split brain, found when the holder returns
def test_what_the_dead_holder_took_alone_is_given_up_by_one_command(trial, resource):
    holder, standby = trial.holder(resource), trial.standby(resource)
    alone = time.monotonic()
    trial.crash(standby)
    named(trial, "UNCONFIRMED", f"salt-run ha.confirm_dead {standby}")
    assert trial.ha("confirm_dead", standby).returncode == 0
    trial.served(SOON)
    trial.crash(holder)
    trial.give_up(alone, time.monotonic() + 3)
    trial.start(standby)
    trial.lab[standby].wait_for_boot()
    words = ["switch", resource, standby, f"lose_writes_of={holder}", f"confirm_dead={holder}"]
    command = f"salt-run ha.{' '.join(words)}"
    named(trial, "NOT_MIRRORED", command)
    done = trial.ha(*words[:-1])
    assert done.returncode != 0 and command in done.stdout, done.stdout
    done = trial.ha(*words)
    assert done.returncode == 0, done.stdout
    trial.served(2 * SOON)
    assert trial.holder(resource) == standby


def test_two_sides_that_lost_each_other_move_no_data(trial):
    before = holders(trial)
    trial.cut("server1")
    time.sleep(SOON)
    assert holders(trial) == before
    trial.heal("server1")
    trial.served(3 * SOON)
    assert holders(trial) == before
