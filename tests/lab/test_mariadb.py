"""The same cluster with the other engine, by one key of the pillar."""

import pytest

from tests.lab import test_cluster, test_faults, test_site, test_state_apply
from tests.lab.conftest import NAME, brought_up, judged

pytestmark = [pytest.mark.slow, pytest.mark.own_lab]


@pytest.fixture(scope="module")
def mariadb():
    with brought_up(f"{NAME}m", "--engine", "mariadb") as running:
        yield running


@pytest.fixture
def trial(mariadb, tmp_path, request):
    with judged(mariadb, tmp_path, request.node) as running:
        yield running


def test_each_resource_is_active_once_and_mirrored(mariadb):
    test_cluster.test_each_resource_is_active_on_one_vm_and_the_record_says_which(mariadb)
    for resource in ("files", "database"):
        test_cluster.test_the_mirror_is_complete_and_the_record_says_so(mariadb, resource)


def test_the_replica_refuses_writes(mariadb):
    test_cluster.test_the_replica_refuses_what_moodle_may_write_elsewhere(mariadb)


def test_records_of_students_are_kept_on_both_servers(mariadb, tmp_path):
    test_site.test_students_lose_nothing_and_the_replica_has_every_row(mariadb, tmp_path)


def test_a_second_state_apply_changes_nothing(mariadb):
    assert test_state_apply.changed(mariadb.state_apply()) == {}


def test_a_primary_loses_power(trial):
    test_faults.test_any_vm_loses_power_and_the_site_goes_on(trial, "holder of database")


def test_a_primary_freezes(trial):
    test_faults.test_an_active_vm_freezes_and_its_thaw_changes_nothing(trial, "database")


def test_a_primary_without_its_network(trial):
    part = ("holder of database", "eth1", None)
    test_faults.test_a_vm_without_its_network_is_replaced_and_rejoins(trial, *part)


@pytest.mark.parametrize("test", [
    test_faults.test_a_replica_that_is_broken_is_not_promoted,
    test_faults.test_stepping_down_acknowledges_nothing_that_waits_for_its_mirror,
    test_faults.test_a_primary_that_is_stopped_in_order_acknowledges_nothing_more,
    test_faults.test_a_switch_moves_a_resource_and_loses_nothing],
    ids=lambda test: test.__name__)
def test_what_mysql_goes_through(trial, test):
    test(trial)
