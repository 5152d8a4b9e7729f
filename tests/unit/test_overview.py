"""The status of the cluster never guesses: who does not answer is unknown, not passive."""

import pytest
from salt.exceptions import CommandExecutionError, SaltReqTimeoutError

from tests import pillars
from tests.loading import Utils, load

HELD = {"holder": "db1", "epoch": 1, "mirrored": True, "founding": False}
SILENT = (None, None)


class Jobs:
    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def ask(self, vm, function, arguments, deadline):
        self.asked.append((vm, function, arguments))
        if isinstance(self.answers.get(vm), Exception):
            raise self.answers[vm]
        return self.answers.get(vm, ({"active": vm in ("lb1", "file1", "db1")}, None))

    def post(self, vms, function, arguments):
        for vm in vms:
            self.ask(vm, function, arguments, None)


def overview(answers=None, local=None, view=None):
    known = {"pool.status": {"servers": {"web1": {"state": "up"}}}, "marks.read": {},
             "arbiter.status": {}, "address.answers": True, **(local or {})}

    def ask_here(function, *_):
        if isinstance(known[function], Exception):
            raise known[function]
        return known[function]

    records = {"director": {**HELD, "holder": "lb1"}, "files": {**HELD, "holder": "file1"},
               "database": HELD}
    looked = {"cluster": pillars.cluster(), "me": "lb1", "driver": "etcd", "views": {},
              "records": records, "problems": {}, **(view or {})}
    decision = type("Decision", (), {"rejected": [], "actions": {}})
    jobs = Jobs(answers or {})
    utils = Utils({"jobs.client": lambda opts: jobs, "decide.decide": lambda view: decision})
    salt = {"failover.look": lambda: looked, "failover.local": ask_here,
            "failover.concerns": lambda: []}
    return load("_runners/overview.py", salt=salt, utils=utils)


def test_each_vm_of_a_resource_is_asked_and_all_is_right():
    facts = overview().gather()
    assert {name: list(seen["vms"]) for name, seen in facts["resources"].items()} == {
        "director": ["lb1", "lb2"], "files": ["file1", "file2"], "database": ["db1", "db2"],
    }  # fmt: skip
    assert all(seen["right"] for seen in facts["resources"].values())
    assert facts["problems"] == []
    assert facts["masters"] == {"lb1": True, "lb2": True}


ACTIVE, PASSIVE, UNKNOWN = ({"active": True}, None), ({"active": False}, None), (
    {"active": None}, None)  # fmt: skip


@pytest.mark.parametrize(("db1", "db2", "problem"), [
    (ACTIVE, ACTIVE, "database: served by db1 and db2, the record names db1"),
    (PASSIVE, ACTIVE, "database: served by db2, the record names db1"),
    (PASSIVE, PASSIVE, "database: nobody serves it, the record names db1"),
    (UNKNOWN, PASSIVE, "database: nobody is known to serve it, the record names db1"),
    (SILENT, SILENT, "database: nobody is known to serve it, the record names db1"),
])
def test_anything_but_the_holder_alone_is_wrong_and_said(db1, db2, problem):
    facts = overview({"db1": db1, "db2": db2}).gather()
    assert facts["resources"]["database"]["right"] is False
    assert facts["problems"] == [problem]


@pytest.mark.parametrize(("record", "told"), [
    (None, "the arbiter does not answer"), ({}, "never founded"),
])
def test_without_a_record_nothing_is_right(record, told):
    view = {"records": {"director": record, "files": record, "database": record}}
    found = overview(view=view).gather()["resources"]["database"]
    assert (found["record"], found["right"]) == (told, False)


def test_a_silent_vm_is_unknown_and_not_passive():
    found = overview({"db2": SILENT}).gather()["resources"]["database"]
    assert found["vms"]["db2"] == {"active": None, "problem": "does not answer"}
    assert found["right"] is True


def test_a_failed_status_shows_what_it_said():
    failed = (None, "Error: mysqld is not running")
    found = overview({"db1": failed}).gather()["resources"]["database"]
    assert found["vms"]["db1"] == {"active": None, "problem": "Error: mysqld is not running"}


def test_a_part_that_cannot_be_had_is_a_sentence_and_the_rest_is_told():
    local = {"pool.status": CommandExecutionError("poold is silent"),
             "marks.read": CommandExecutionError("no quorum"), "address.answers": False}
    facts = overview(local=local, view={"problems": {"heard": "no view"}}).gather()
    assert (facts["pool"], facts["marks"]) == ("poold is silent", "no quorum")
    assert facts["problems"] == ["heard: no view", "lb1: its Salt master does not answer",
                                 "lb2: its Salt master does not answer"]


def test_without_the_own_master_the_rest_is_told():
    down = SaltReqTimeoutError("")
    facts = overview(dict.fromkeys(("lb1", "lb2", "file1", "file2", "db1", "db2"), down)).gather()
    found = facts["resources"]["files"]["vms"]["file1"]
    assert found == {"active": None, "problem": "could not be asked: SaltReqTimeoutError"}
    assert facts["pool"] == {"web1": {"state": "up"}}


def test_a_foreign_machine_with_our_address_is_told():
    duplicate = {"address": "203.0.113.10", "interface": "eth0", "mac": "02:00:00:00:00:09"}
    local = {"pool.status": {"servers": {}, "duplicates": [duplicate]}}
    assert overview(local=local).gather()["duplicates"] == [duplicate]


def test_whether_the_own_master_takes_a_job_is_told():
    assert overview().publishes("lb1") is None
    down = overview({"lb1": SaltReqTimeoutError("")})
    assert down.publishes("lb1") == "SaltReqTimeoutError"


def test_ask_gives_each_vm_the_arguments_and_names_the_silent():
    found = overview({"lb2": SILENT, "lb1": ({"drained": True}, None)})
    assert found.ask(["lb1", "lb2"], "pool.drain", 1, name="web1") == {
        "lb1": [{"drained": True}, None], "lb2": [None, "does not answer"],
    }  # fmt: skip
    assert found.ask([], "pool.drain", 1) == {}


def test_the_last_story_is_the_last_decision_that_did_or_refused_something():
    refused = {"sentence": "no quorum", "condition": "ARBITER_UNREACHABLE"}
    here = [{"id": "a", "at": 1, "steps": [{"do": "fence", "vm": "db1"}], "result": "done"},
            {"id": "c", "at": 3, "steps": [], "rejected": [], "result": "nothing"}]
    there = [{"id": "a", "at": 1, "steps": [{"do": "fence", "vm": "db1"}]},
             {"id": "b", "at": 2, "steps": [], "rejected": [refused], "result": "nothing"}]
    found = overview({"lb2": (there, None)}, {"decisions.read": here})
    assert "(decision b)" in found.stories(1)
    both = found.stories(2)
    assert both.index("(decision a)") < both.index("Done.") < both.index("(decision b)")


def test_without_decisions_or_the_other_balancer_that_is_said():
    found = overview({"lb2": SILENT}, {"decisions.read": []})
    assert found.stories(1).startswith("Nothing was decided yet")
