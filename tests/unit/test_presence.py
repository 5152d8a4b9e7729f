"""Who is alive, from one master's view, in which every observer's heartbeats have their say."""

import pytest

from tests.loading import load

presence = load("_utils/presence.py")
OBSERVERS = ["lb1", "lb2", "witness"]
VMS = [*OBSERVERS, "file1", "file2", "web1"]


def entry(state="up", **more):
    links = {"internal": {"state": state, "age": 0.1 if state == "up" else 3.0}}
    return {"links": links, "held": {}, "seen": {}, "health": {}, "silent": {}, "deaf": False,
            **more}


def view(**changes):
    """Return what lb2 hears: all is well but for the changes."""
    return {"lb2": {vm: entry() for vm in VMS if vm != "lb2"} | changes}


def judged(views, vm="file1"):
    state, why = presence.judge(views, "lb2", vm, OBSERVERS)
    return state if why is None else f"{state}: {why[0]}"


def deaf_to(*names, word="lost"):
    return entry(silent=dict.fromkeys(names, word))


LOST = {"file1": entry("lost")}


@pytest.mark.parametrize(("changes", "expected"), [
    ({}, "alive"),
    ({"file1": entry("late")}, "alive"),
    # One observer says lost, another hears it: looked at again soon.
    (LOST, "unsure: OBSERVERS_DISAGREE"),
    ({**LOST, "lb1": deaf_to("file1"), "witness": deaf_to("file1")}, "lost"),
    # Late agrees with lost: the other's deadtime ends a moment later.
    ({**LOST, "lb1": deaf_to("file1", word="late"), "witness": deaf_to("file1")}, "lost"),
    ({"file1": entry("late"), "lb1": deaf_to("file1"), "witness": deaf_to("file1")}, "lost"),
    ({**LOST, "lb1": deaf_to("file1")}, "unsure: OBSERVERS_DISAGREE"),
    # Observers that are gone, late or deaf themselves have no say.
    ({**LOST, "lb1": entry("lost"), "witness": deaf_to("file1")}, "lost"),
    ({**LOST, "lb1": entry("late"), "witness": deaf_to("file1")}, "lost"),
    ({**LOST, "lb1": entry(deaf=True), "witness": entry("lost")}, "lost"),
    ({**LOST, "lb1": entry("lost"), "witness": entry("lost")}, "lost"),
    ({"lb1": entry(silent={"file1": "lost"})}, "alive: OBSERVERS_DISAGREE"),
    ({"file1": entry("init"), "lb1": deaf_to("file1"), "witness": deaf_to("file1")},
     "unsure: IN_INITDEAD"),
])
def test_a_vm_is_lost_when_every_observer_that_has_a_say_agrees(changes, expected):
    assert judged(view(**changes)) == expected


@pytest.mark.parametrize("told", [
    entry(deaf=True), entry(silent=dict.fromkeys(OBSERVERS, "lost")),
])
def test_a_vm_that_hears_nobody_is_lost_although_it_is_heard(told):
    """A link cut in one direction: no command reaches it, and nothing it serves is of use."""
    assert judged(view(file1=told)) == "lost"
    assert presence.is_deaf(view(file1=told), "lb2", "file1", OBSERVERS)


def by_serial(**more):
    links = {"internal": {"state": "lost", "age": 9.0}, "serial": {"state": "up", "age": 0.1}}
    return {**entry(**more), "links": links}


@pytest.mark.parametrize(("changes", "expected"), [
    # It hears its neighbours, behind the broken cable; the witness hears none of them.
    ({**LOST, "lb1": by_serial(), "witness": deaf_to("lb1", "file1")}, "lost"),
    # Its own cable only: what the witness hears counts.
    ({**LOST, "lb1": by_serial(), "witness": deaf_to("lb1")}, "unsure: OBSERVERS_DISAGREE"),
    # It is my cable, or there is no third one to ask: nobody is condemned.
    ({**LOST, "lb1": by_serial(), "witness": entry("lost")}, "unsure: OBSERVERS_DISAGREE"),
    ({**LOST, "lb1": by_serial(), "witness": entry()}, "unsure: OBSERVERS_DISAGREE"),
])
def test_an_observer_behind_a_broken_cable_has_no_say(changes, expected):
    assert judged(view(**changes)) == expected


def behind_a_cable_that_carries_nothing_in(*names):
    """They hear each other, and nobody else hears less of them."""
    return {name: entry(silent={vm: "lost" for vm in VMS if vm not in names}) for name in names}


def test_a_server_that_only_sends_is_lost_with_all_its_vms():
    """The balancer on it hears its neighbours, as they hear it: that is no observer's word."""
    views = view(**behind_a_cable_that_carries_nothing_in("lb1", "file1"))
    assert [judged(views, vm) for vm in ("lb1", "file1")] == ["lost", "lost"]
    assert [judged(views, vm) for vm in ("file2", "witness")] == ["alive", "alive"]


def test_a_master_that_hears_its_neighbours_only_does_not_condemn_them_for_that():
    views = {"lb1": {vm: entry("lost") for vm in VMS if vm != "lb1"}}
    silent = {vm: "lost" for vm in VMS if vm not in ("lb1", "file1")}
    views["lb1"] |= {"file1": entry(silent=silent), "lb1": entry(silent=silent)}
    assert presence.judge(views, "lb1", "file1", OBSERVERS) == ("alive", None)


@pytest.mark.parametrize("silent", [
    {"lb2": "lost"}, {"lb2": "lost", "lb1": "lost"}, dict.fromkeys(OBSERVERS, "late"),
    {"lb2": "lost", "lb1": "lost", "witness": "late"},
])
def test_a_vm_that_hears_one_observer_in_time_or_late_is_alive(silent):
    assert judged(view(file1=entry(silent=silent))) == "alive"


def test_a_master_whom_nobody_hears_condemns_nobody():
    """It is its own sending that is cut: all the others say so."""
    told = {vm: entry(silent={"lb2": "lost"}) for vm in VMS if vm not in ("lb2", "file1")}
    assert judged(view(**told, file1=entry(deaf=True))) == "alive"
    told = {vm: entry(silent={"lb2": "lost", "file1": "lost"}) for vm in told}
    assert judged(view(**told, **LOST)) == "lost", "the others are heard, and agree"
    told = {vm: entry("lost") for vm in VMS if vm != "lb2"}
    told["web1"] = entry(silent={"lb2": "lost"})
    assert judged(view(**told)) == "unsure: CUT_OFF"


def test_a_master_that_hears_nobody_condemns_nobody():
    told = {vm: entry("lost") for vm in VMS if vm != "lb2"}
    assert judged(view(**told)) == "unsure: CUT_OFF"


def test_only_observers_have_a_say():
    """A web VM hears balancers, witness and nobody else: its silence about file1 says nothing."""
    gone = {"lb1": entry("lost"), "witness": entry("lost")}
    assert judged(view(**LOST, **gone)) == "lost"


def test_a_balancer_is_judged_by_the_witness_and_the_other_balancer():
    changes = {"lb1": entry("lost"), "witness": deaf_to("lb1")}
    assert judged(view(**changes), "lb1") == "lost"
    changes["witness"] = entry()
    assert judged(view(**changes), "lb1") == "unsure: OBSERVERS_DISAGREE"


def test_the_report_of_heartbeatd_becomes_a_view():
    report = {
        "own": {"claims": {"director": [4, 2]}, "health": {"director.networks": True},
                "silent": {"file2": "lost"}},
        "peers": {"file1": {
            "incarnation": 7, "claims": {"files": [3, 2], "database": [5, 0], "director": [2, 1]},
            "health": {"files.service": True}, "silent": {"file2": "lost"}, "deaf": False,
            "links": {"internal": {"state": "dead", "silence": 9.5},
                      "serial": {"state": "unknown", "silence": 1}},
        }},
    }
    views = presence.views(report, "lb2")
    assert views["lb2"]["file1"] == {
        "incarnation": 7, "held": {"files": 3}, "seen": {"files": 3, "director": 2},
        "health": {"files.service": True}, "silent": {"file2": "lost"}, "deaf": False,
        "links": {"internal": {"state": "lost", "age": 9.5}, "serial": {"state": "init", "age": 1}},
    }
    assert presence.told(views, "lb2")["held"] == {"director": 4}
