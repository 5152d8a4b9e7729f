"""I5: a VM that boots is passive until told otherwise, and rejoins by itself."""

import pytest

from lab.deadline import wait_until
from tests.lab.test_cluster import tables_and_pages

slow = pytest.mark.slow
REJOIN = 180  # seconds: boot in a VM without hardware support, then resynchronise


def booted(cluster, vm):
    """Power-cycle a VM and wait until its minion answers."""
    cluster.lab.crash(vm)
    cluster.lab.start(vm)
    cluster.lab[vm].wait_for_boot()
    wait_until(lambda: cluster.salt(vm, "test.ping", timeout=5).get(vm) is True,
               f"the minion of {vm} to answer", REJOIN)


@pytest.mark.parametrize("resource", [
    "director", pytest.param("files", marks=slow), pytest.param("database", marks=slow)])
def test_a_standby_that_lost_power_boots_passive_and_rejoins(cluster, tmp_path, resource):
    standby, before = cluster.standby(resource), cluster.holders()
    booted(cluster, standby)
    assert cluster.ask(standby, f"{resource}.status")["active"] is False
    assert cluster.holders() == before
    holder = before[resource]
    wait_until(lambda: cluster.ask(holder, f"{resource}.status")["mirror"] is True,
               f"{standby} to be a complete mirror again", REJOIN)
    with cluster.students(tmp_path) as verdict:
        answers = cluster.state_apply(standby)
    assert verdict["ok"] and verdict["failed"] == 0
    bad = [state for state in answers[standby].values() if state["result"] is not True]
    assert bad == [] and cluster.holders() == before


def test_a_web_vm_that_lost_power_comes_back_into_service(cluster, tmp_path):
    booted(cluster, "web2")
    address = cluster.lab.topology.internal(cluster.lab.cluster, "web2")
    balancer = cluster.lab[cluster.holder("director")]
    balancer.wait_until(["curl", "-sf", "-o", "/dev/null", f"http://{address}/"], REJOIN)
    with cluster.students(tmp_path) as verdict:
        cluster.salt("web2", "test.ping")
    assert verdict["ok"] and verdict["failed"] == 0


def test_tables_are_equal_again_after_a_balancer_booted(cluster):
    tables, _ = tables_and_pages(cluster)
    assert tables["lb1"] == tables["lb2"] != []
