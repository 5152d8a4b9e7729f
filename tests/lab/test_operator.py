"""No third machine and no power switch: what has data moves by a person's word, and only then."""

import time

import pytest

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


@pytest.mark.parametrize("resource", ["director", "files", "database"])
def test_a_dead_server_is_succeeded_by_the_word_of_a_person(trial, resource):
    server = trial.lab[trial.holder(resource)].server
    trial.crash(server)
    if server in {trial.lab[vm].server for vm in holders(trial).values()}:
        assert trial.rejected("UNCONFIRMED")["command"] == f"salt-run ha.confirm_dead {server}"
    assert trial.lab[trial.holder("director")].server != server, "it asks nobody"
    done = trial.ha("confirm_dead", server)
    assert done.returncode == 0, done.stdout
    print(f"gap {trial.served(3 * SOON):.2f} s")
    assert server not in {trial.lab[vm].server for vm in holders(trial).values()}


def test_a_standby_that_died_is_done_without_by_the_word_of_a_person(trial):
    vm = trial.standby("database")
    trial.crash(vm)
    assert trial.rejected("UNCONFIRMED")["resource"] == "database"
    before = holders(trial)
    assert trial.ha("confirm_dead", vm).returncode == 0
    trial.served(SOON)
    assert holders(trial) == before


def test_two_sides_that_lost_each_other_move_no_data(trial):
    before = holders(trial)
    trial.cut("server1")
    time.sleep(SOON)
    assert holders(trial) == before
    trial.heal("server1")
    trial.served(3 * SOON)
    assert holders(trial) == before
