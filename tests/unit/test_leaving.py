"""A server may leave only if the site goes on without it, and unknown is not good enough."""

import pytest

from tests import pillars
from tests.loading import load

leaving = load("_utils/leaving.py")
conditions = load("_utils/conditions.py")
CLUSTER = pillars.cluster()
SERVER1 = ["lb1", "web1", "file1", "db1"]
UP = {"state": "up", "drained": False}
THREE = {name: {"answers": True} for name in ("lb1", "lb2", "witness")}


def test_a_server_stands_for_its_vms_and_a_vm_for_itself():
    assert leaving.names(CLUSTER, "server1") == SERVER1
    assert leaving.names(CLUSTER, "web2") == ["web2"]
    with pytest.raises(ValueError, match="'server9' is no server and no VM; known: server1"):
        leaving.names(CLUSTER, "server9")


def test_with_all_else_up_nothing_stands_in_the_way():
    assert leaving.obstacles(CLUSTER, SERVER1, {"web1": UP, "web2": UP}, THREE) == []


@pytest.mark.parametrize("web2", [
    {"state": "down", "drained": False}, {"state": "up", "drained": True}, {"state": "unfit"}, {},
])
def test_the_last_web_server_stays(web2):
    (found,) = leaving.obstacles(CLUSTER, SERVER1, {"web1": UP, "web2": web2}, THREE)
    assert found == ["NO_WEB_LEFT", {"vm": "web2"}]


def test_a_vm_that_is_no_web_server_may_leave_whatever_the_pool_is():
    assert leaving.obstacles(CLUSTER, ["file1"], {}, THREE) == []


@pytest.mark.parametrize("silent", ["lb2", "witness"])
def test_the_arbiter_s_majority_stays(silent):
    members = {**THREE, silent: {"answers": False}}
    pool = {"web2": UP}
    ((name, facts),) = leaving.obstacles(CLUSTER, SERVER1, pool, members)
    assert name == "NO_MAJORITY_LEFT"
    assert conditions.refusal(name, **facts)["sentence"].startswith("of the arbiter's 3 members")


def test_who_is_no_member_may_leave_an_arbiter_that_is_in_trouble():
    members = {**THREE, "lb2": {"answers": False}, "witness": {"answers": False}}
    assert leaving.obstacles(CLUSTER, ["web1"], {"web2": UP}, members) == []


def test_a_driver_without_members_needs_no_majority():
    assert leaving.obstacles(CLUSTER, SERVER1, {"web2": UP}, {}) == []


def told(held, *states):
    return {"held": held, "links": {str(n): {"state": s} for n, s in enumerate(states)}}


RECORDS = {name: {"holder": holder, "epoch": 4} for name, holder in
           {"director": "lb2", "files": "file2", "database": "db2"}.items()}


def test_who_holds_nothing_holds_nothing():
    views = {"lb2": {"file1": told({}, "up"), "lb2": told({"director": 4})}}
    assert leaving.held(RECORDS, views, SERVER1) == []


def test_a_record_that_names_a_leaver_is_said():
    records = {**RECORDS, "files": {"holder": "file1", "epoch": 3}}
    views = {"lb2": {"file1": told({"files": 3}, "up")}}
    assert leaving.held(records, views, SERVER1) == ["file1 holds files"]


def test_an_old_holder_that_still_serves_is_said_whatever_its_epoch():
    views = {"lb2": {"file1": told({"files": 3}, "lost", "up")}}
    assert leaving.held(RECORDS, views, SERVER1) == ["file1 still serves files"]


def test_what_a_silent_vm_said_last_is_no_evidence():
    views = {"lb2": {"file1": told({"files": 3}, "lost")}}
    assert leaving.held(RECORDS, views, SERVER1) == []


def test_an_unknown_record_is_not_nothing():
    assert leaving.held({**RECORDS, "files": None}, {}, SERVER1) == ["nobody knows who holds files"]
