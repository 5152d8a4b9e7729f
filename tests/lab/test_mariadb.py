"""The same cluster with the other engine, by one key of the pillar."""

import pytest

from tests.lab import test_cluster, test_site, test_state_apply
from tests.lab.conftest import NAME, brought_up

pytestmark = [pytest.mark.slow, pytest.mark.own_lab]


@pytest.fixture(scope="module")
def mariadb():
    with brought_up(f"{NAME}m", "--engine", "mariadb") as running:
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
