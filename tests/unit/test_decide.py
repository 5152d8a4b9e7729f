"""Each rule of the decision, with the sentence that an operator reads. Safety: tests/model."""

import copy
import random

import pytest
import yaml

from tests.loading import ROOT, load

PILLAR = yaml.safe_load((ROOT / "pillar/cluster.sls").read_text())["cluster"]
decider = load("_utils/decide.py")
conditions = load("_utils/conditions.py")

HOLDERS = {"director": "lb1", "files": "file1", "database": "db1"}
STANDBYS = {"director": "lb2", "files": "file2", "database": "db2"}
DATA = ("files", "database")


def linked(state="up", links=("internal",)):
    return {name: {"state": state, "age": 0.1 if state == "up" else 9.0} for name in links}


def healthy(vm):
    """Return what a VM says of itself when all is well."""
    told = {"links": linked(), "incarnation": 1, "held": {}, "health": {}}
    for resource in HOLDERS:
        if vm == HOLDERS[resource]:
            told["held"] = {resource: 3}
            told["health"] = {f"{resource}.service": True, f"{resource}.frozen": False}
        if vm == STANDBYS[resource]:
            told["health"] = {f"{resource}.following": True, f"{resource}.fit": True}
    return told


class World:
    """A view in which all is well, and the verbs that spoil it."""

    def __init__(self, **changes):
        names = list(PILLAR["vms"])
        self.view = {
            "now": 1000, "cluster": PILLAR, "me": "lb2", "driver": "etcd",
            "records": {
                resource: {"holder": vm, "epoch": 3, "mirrored": True, "founding": False}
                for resource, vm in HOLDERS.items()
            },
            "revisions": {"director": 70, "files": 71, "database": 72},
            "views": {
                observer: {vm: healthy(vm) for vm in names if vm != observer}
                for observer in ("lb1", "lb2", "witness")
            },
            "absent": [], "confirmed": [], "history": [],
            **changes,
        }
        self.view["views"]["lb2"]["lb2"] = {**healthy("lb2"), "links": {}}

    def lose(self, *vms, state="lost", observers=("lb1", "lb2", "witness")):
        for observer in observers:
            for vm in vms:
                if vm in self.view["views"].get(observer, {}):
                    self.view["views"][observer][vm]["links"] = linked(state)
        for vm in vms:
            if state == "lost" and len(observers) == 3:
                self.view["views"].pop(vm, None)
        return self

    def say(self, vm, held=None, **health):
        for view in self.view["views"].values():
            if vm in view:
                told = view[vm]
                told["held"] = told["held"] if held is None else held
                resource = next(r for r in HOLDERS if vm in (HOLDERS[r], STANDBYS[r]))
                told["health"].update({f"{resource}.{key}": on for key, on in health.items()})
        return self

    def record(self, resource, **changes):
        self.view["records"][resource].update(changes)
        return self

    def decide(self):
        return decider.decide(self.view)

    def steps(self, resource):
        return [short(step) for step in self.decide().actions.get(resource, [])]

    def refused(self, resource="files"):
        return [
            (entry["condition"], entry["sentence"])
            for entry in self.decide().rejected if entry["resource"] == resource
        ]


def short(step):
    if step["do"] == "swap":
        return f"swap {step['transition']} {step['arguments']['holder']} @{step['revision']}"
    if step["do"] == "fence":
        return f"fence {step['vm']} on {step['server']}"
    alone = " alone" if step.get("alone") else ""
    return f"{step['do']} {step['vm']} {step['epoch']}{alone}"


def test_nothing_is_done_while_all_is_well():
    decision = World().decide()
    assert decision == ({}, "every resource is where it belongs", [])


@pytest.mark.parametrize("resource", DATA)
def test_a_lost_holder_of_data_is_succeeded_by_its_mirrored_standby(resource):
    old, new = HOLDERS[resource], STANDBYS[resource]
    world = World().lose(old)
    revision = world.view["revisions"][resource]
    assert world.steps(resource) == [
        f"swap promote {new} @{revision}", f"deactivate {old} 4", f"activate {new} 4 alone"
    ]
    assert world.decide().reason == f"{resource}: {old} is silent on every link; {new} takes over"


def test_a_lost_director_is_succeeded_by_the_standby_balancer():
    world = World().lose("lb1")
    assert world.steps("director") == [
        "swap promote lb2 @70", "deactivate lb1 4", "activate lb2 4"
    ]


def test_a_lost_server_moves_all_it_held_in_parallel_lists():
    lost = [vm for vm, entry in PILLAR["vms"].items() if entry.get("server") == "server1"]
    actions = World().lose(*lost).decide().actions
    assert {resource: steps[0]["arguments"]["holder"] for resource, steps in actions.items()} == (
        STANDBYS
    )


def test_commands_carry_a_deadline_and_every_step_its_reason():
    for steps in World().lose("lb1", "file1", "db1").decide().actions.values():
        for step in steps:
            assert step["reason"]
            assert step["do"] == "swap" or step["deadline"] > 1000


@pytest.mark.parametrize("resource", DATA)
def test_an_unmirrored_standby_is_refused_with_what_would_be_lost_and_how_to_force_it(resource):
    world = World().record(resource, mirrored=False).lose(HOLDERS[resource])
    assert world.steps(resource) == []
    entry = next(e for e in world.decide().rejected if e["resource"] == resource)
    assert entry["condition"] == "NOT_MIRRORED"
    assert "acknowledged alone in epoch 3: all writes since" in entry["sentence"]
    assert f"bring {HOLDERS[resource]} back" in entry["sentence"]
    assert entry["command"].startswith(f"salt-run ha.switch {resource} {STANDBYS[resource]} ")


@pytest.mark.parametrize(("arrange", "condition", "words"), [
    (lambda w: w.lose("file1", observers=["lb2"]), "OBSERVERS_DISAGREE",
     "file1 is not heard by lb2, but by lb1, witness"),
    (lambda w: w.lose("file1", state="init"), "IN_INITDEAD", "initdead is not over at lb1"),
    (lambda w: w.lose("file1", "file2"), "STANDBY_LOST", "standby file2 is lost as well"),
    (lambda w: w.say("file2", fit=False).lose("file1"), "STANDBY_UNFIT", "file2 itself says"),
    (lambda w: w.say("file2", fit=None).lose("file1"), "STANDBY_UNKNOWN", "file2 does not say"),
    (lambda w: w.view["absent"].append("server1") or w.lose("file1"), "ABSENT_ON_PURPOSE",
     "file1 is out of service on purpose"),
    (lambda w: w.view["absent"].append("file2") or w.lose("file1"), "ABSENT_ON_PURPOSE",
     "file2 is out of service on purpose"),
    (lambda w: w.view["records"].update(files=None), "ARBITER_UNREACHABLE", "does not answer"),
    (lambda w: w.view["records"].update(files={}), "NOT_FOUNDED", "never founded"),
    (lambda w: w.record("files", founding=True, mirrored=False).lose("file1"), "FOUNDING",
     "file1 is still founding"),
    (lambda w: w.view.update(driver="operator") or w.lose("file1"), "UNCONFIRMED",
     "nobody has confirmed that file1 is dead"),
    (lambda w: w.say("file2", held={"files": 5}), "RECORD_OUTDATED",
     "file2 has seen epoch 5 of files, the record says 3"),
])
def test_refusals_change_nothing_and_name_their_evidence(arrange, condition, words):
    world = World()
    arrange(world)
    assert world.steps("files") == []
    assert [name for name, _ in world.refused()] == [condition]
    assert words in world.refused()[0][1]
    assert words in world.decide().reason


def test_an_observer_that_hears_nobody_condemns_nobody():
    world = World()
    world.view["views"] = {"lb2": world.view["views"]["lb2"]}
    world.lose(*[vm for vm in PILLAR["vms"] if vm != "lb2"])
    assert world.refused() == [("CUT_OFF", "lb2 hears nobody at all: it is cut off itself")]
    assert world.decide().actions == {}


def test_one_silent_link_of_two_is_told_and_moves_nothing():
    world = World()
    for view in world.view["views"].values():
        if "file1" in view:
            view["file1"]["links"] = {**linked("lost", ["internal"]), **linked("up", ["serial"])}
    assert world.decide().actions == {}
    assert world.refused() == [
        ("LINK_SILENT", "file1 is silent on internal, but heard on serial")
    ]


def test_nobody_who_observes_is_no_proof_of_death():
    world = World()
    for view in world.view["views"].values():
        view.pop("file1", None)
    assert world.refused() == [("UNOBSERVED", "nobody who answers observes file1")]


def test_the_director_moves_only_to_a_balancer_with_both_networks():
    world = World().lose("lb1").say("lb2", networks=False)
    assert world.steps("director") == []
    assert [name for name, _ in world.refused("director")] == ["NETWORK_MISSING"]


def test_a_director_that_lost_one_network_steps_aside_before_the_other_starts():
    world = World().say("lb1", networks=False).say("lb2", networks=True)
    assert world.steps("director") == [
        "swap promote lb2 @70", "deactivate lb1 4", "activate lb2 4"
    ]
    leave = world.decide().actions["director"][1]
    # Without the internal network no command reaches it: it hears the higher epoch, and gives up.
    assert (leave["wait"], leave["deadline"] - world.view["now"]) == (True, decider.UNHEARD)


def flaps(count, **more):
    return [{"what": "failover", "resource": "files", "at": 900 + number, **more}
            for number in range(count)]


@pytest.mark.parametrize(("history", "moves"), [
    (flaps(3), True), (flaps(4), False), (flaps(4, acknowledged=True), True),
    ([{**entry, "at": entry["at"] - 600} for entry in flaps(4)], True),
    ([{**entry, "resource": "database"} for entry in flaps(4)], True),
])
def test_a_resource_that_flaps_stays_until_somebody_has_looked(history, moves):
    world = World(history=history).lose("file1")
    assert bool(world.steps("files")) is moves
    if not moves:
        entry = world.decide().rejected[-1]
        assert (entry["condition"], entry["command"]) == (
            "FLAPPING", "salt-run ha.acknowledge files"
        )
        assert "moved 4 times within 10 min" in entry["sentence"]


def test_a_holder_that_has_left_the_pillar_stops_nobody_else():
    world = World().record("database", holder="db3").lose("lb1")
    for view in world.view["views"].values():
        view["db3"] = {**healthy("db1"), "links": linked("lost")}
    assert world.steps("director")[0] == "swap promote lb2 @70"
    assert world.steps("database")[0].startswith("swap promote")


def test_the_operator_confirms_a_server_and_the_failover_goes_on():
    world = World(driver="operator", confirmed=["server1"]).lose("lb1", "web1", "file1", "db1")
    assert world.steps("files")[0] == "swap promote file2 @71"
    world.view["confirmed"] = []
    assert world.steps("files") == []
    assert world.steps("director")[0] == "swap promote lb2 @70"
    assert world.decide().rejected[0]["command"] == "salt-run ha.confirm_dead server1"


def test_a_death_is_to_be_confirmed_of_what_is_silent_and_of_no_more():
    """The server's other VMs are heard: of it as a whole nobody's word would be taken."""
    refused = World(driver="operator").lose("file1").decide().rejected[0]
    assert (refused["condition"], refused["command"]) == (
        "UNCONFIRMED", "salt-run ha.confirm_dead file1")


def test_without_an_arbiter_the_lost_holder_is_switched_off_before_anything_else():
    world = World(driver="fencing").lose("file1")
    assert world.steps("files")[:2] == ["fence file1 on server1", "swap promote file2 @71"]
    assert world.decide().actions["files"][0]["confirmed"] is False
    world.view["confirmed"] = ["server1"]
    assert world.decide().actions["files"][0]["confirmed"] is True, "a person has looked"


@pytest.mark.parametrize("resource", DATA)
def test_a_holder_frozen_by_the_loss_of_its_standby_goes_on_alone(resource):
    old = HOLDERS[resource]
    world = World().lose(STANDBYS[resource]).say(old, frozen=True)
    revision = world.view["revisions"][resource]
    assert world.steps(resource) == [
        f"swap serve_alone {old} @{revision}", f"activate {old} 3 alone"
    ]


def test_a_mirror_that_has_no_disk_any_more_is_no_mirror_in_the_record():
    """It answers, so nothing freezes; after a reboot its old data would pass for the latest."""
    world = World().say("file1", mirror=False)
    assert world.steps("files")[0].startswith("swap serve_alone")
    world.say("file2", fit=False).view["records"]["files"]["mirrored"] = False
    assert world.steps("files") == []


def test_a_director_without_its_addresses_takes_them_again():
    assert World().say("lb1", addresses=False).steps("director") == ["activate lb1 3"]
    for word in (True, None):
        assert World().say("lb1", addresses=word).steps("director") == []


def test_a_director_that_serves_after_failed_activations_is_left_alone():
    failed = {"what": "activation failed", "resource": "director", "vm": "lb1", "epoch": 3, "at": 9}
    world = World(history=[failed, failed]).lose("lb2", observers=("lb1", "witness"))
    world.view.update(me="lb1")
    assert world.steps("director") == []


def test_a_holder_that_could_not_be_released_twice_is_released_all_the_same():
    failed = {"what": "activation failed", "resource": "files", "vm": "file1", "epoch": 3, "at": 9}
    world = World(history=[failed, failed]).lose("file2").say("file1", frozen=True)
    assert world.steps("files")[0].startswith("swap serve_alone")


@pytest.mark.parametrize(("driver", "steps"), [
    ("fencing", ["fence file2 on server2", "swap serve_alone file1 @71", "activate file1 3 alone"]),
    ("operator", []),
])
def test_without_an_arbiter_going_on_alone_needs_proof_that_the_standby_is_dead(driver, steps):
    assert World(driver=driver).lose("file2").say("file1", frozen=True).steps("files") == steps


@pytest.mark.parametrize("driver", ["etcd", "fencing", "operator"])
def test_a_holder_frozen_by_a_cable_goes_on_alone_without_any_death(driver):
    """Cut off from one side's observers only, its standby is heard: it is not dead."""
    world = World(driver=driver).lose("file2", observers=["lb1"]).say("file1", frozen=True)
    assert world.steps("files") == ["swap serve_alone file1 @71", "activate file1 3 alone"]


def booted(**changes):
    """The holder of files is back from a boot, the other one is not."""
    return World(**changes).lose("file2").say("file1", held={}, fit=True, service=None)


def test_a_holder_with_a_complete_copy_that_comes_back_without_the_other_one_goes_on_alone():
    world = booted()
    assert world.steps("files") == ["swap serve_alone file1 @71", "activate file1 3 alone"]
    assert booted(driver="fencing").steps("files")[0] == "fence file2 on server2"


@pytest.mark.parametrize("world", [
    booted().say("file1", fit=False),  # its disk was left out before
    booted().lose("file2", state="init"),  # that may come up any moment
    booted().lose("file2", state="up"),
])
def test_a_holder_that_comes_back_waits_for_the_other_one_while_there_is_hope(world):
    assert world.steps("files") == ["activate file1 3"]


def test_a_holder_that_comes_back_without_an_arbiter_waits_for_a_word_of_a_person():
    world = booted(driver="operator")
    assert world.steps("files") == ["activate file1 3"]
    assert [condition for condition, _ in world.refused()] == ["UNCONFIRMED"]
    world.view["confirmed"] = ["server2"]
    assert world.steps("files") == ["swap serve_alone file1 @71", "activate file1 3 alone"]


def test_a_holder_whose_link_to_a_living_standby_is_cut_goes_on_alone():
    assert World().say("file1", frozen=True).steps("files")[0].startswith("swap serve_alone")


@pytest.mark.parametrize("resource", DATA)
def test_a_holder_whose_writes_wait_goes_on_alone_at_once_if_its_standby_is_lost(resource):
    old, standby = HOLDERS[resource], STANDBYS[resource]
    waiting = World().say(old, waiting=True)
    assert waiting.steps(resource) == []  # it is heard, and may answer in a moment
    assert waiting.lose(standby).steps(resource)[0].startswith(f"swap serve_alone {old}")
    assert World().lose(standby).steps(resource) == []  # as long as the mirror answers, it is one


@pytest.mark.parametrize("state", ["late", "init"])
def test_a_standby_that_is_only_late_is_waited_for(state):
    assert World().lose("file2", state=state).say("file1", waiting=True).steps("files") == []


def test_a_returned_standby_follows_then_mirrors():
    world = World().record("files", mirrored=False).say("file2", following=False, fit=False)
    assert world.steps("files") == ["follow file2 3"]
    assert world.decide().actions["files"][0]["source"] == "file1"
    assert world.say("file2", following=True).steps("files") == []
    assert world.say("file2", fit=True).steps("files") == [
        "mirror file1 3", "swap mirrored file1 @71"
    ]
    assert world.decide().actions["files"][0]["revision"] == 71


def test_an_old_holder_that_thawed_is_told_to_step_down_before_it_follows():
    world = World().record("files", holder="file2", epoch=4, mirrored=False)
    world.say("file2", held={"files": 4}, following=None).say("file1", held={"files": 3})
    assert world.steps("files") == ["deactivate file1 4"]


def test_a_standby_out_of_service_is_left_alone():
    world = World(absent=["server2"]).record("files", mirrored=False)
    assert world.say("file2", following=False, fit=False).steps("files") == []


def test_a_second_master_finishes_what_a_dying_one_began():
    """The record says file2, epoch 4; nobody has told file2."""
    world = World().record("files", holder="file2", epoch=4, mirrored=False).lose("file1")
    assert world.steps("files") == ["swap serve_alone file2 @71", "activate file2 4 alone"]


def test_after_a_cold_start_the_recorded_holder_serves_at_its_epoch():
    world = World()
    for resource, vm in HOLDERS.items():
        world.say(vm, held={})
        assert world.steps(resource) == [f"activate {vm} 3"]


def test_after_a_cold_start_without_the_holder_the_missing_one_is_named():
    world = World().record("files", mirrored=False).lose("file1").say("file2", following=False)
    (condition, sentence), = world.refused()
    assert condition == "NOT_MIRRORED"
    assert "bring file1 back" in sentence


def test_a_failing_service_is_restarted_first_and_moved_if_that_does_not_help():
    world = World().say("db1", service=False)
    assert world.steps("database") == ["restart db1 3"]
    assert [name for name, _ in world.refused("database")] == ["RESTART_FIRST"]
    assert world.say("db1", restarted=True).steps("database") == [
        "swap promote db2 @72", "deactivate db1 4", "activate db2 4 alone"
    ]
    assert "a restart did not help; db2 takes over" in world.decide().reason


def test_a_failing_service_whose_standby_may_not_take_over_is_restarted_again():
    world = World().record("database", mirrored=False)
    world.say("db1", service=False, restarted=True)
    assert world.steps("database") == ["restart db1 3"]
    assert [name for name, _ in world.refused("database")] == ["NOT_MIRRORED"]


def test_a_holder_that_cannot_be_activated_twice_is_succeeded():
    failed = {"what": "activation failed", "resource": "files", "vm": "file1", "epoch": 3, "at": 9}
    assert World(history=[failed]).say("file1", held={}).steps("files") == ["activate file1 3"]
    world = World(history=[failed, failed]).say("file1", held={})
    assert world.steps("files")[0] == "swap promote file2 @71"


def test_a_move_that_broke_off_after_its_swap_ends_the_old_holder_gently_once():
    """Left alone by force, the old holder would have to reboot: its writes freeze."""
    world = World().record("files", holder="file2", epoch=4, mirrored=False)
    swap, leave, activate = world.decide().actions["files"]
    assert (leave["do"], leave["vm"], leave["epoch"], leave["beside"]) == (
        "deactivate", "file1", 4, True)
    assert (swap["transition"], activate["vm"]) == ("serve_alone", "file2")
    assert (activate["alone"], activate["await_peer"]) == (True, True)

    world.view["history"] = [{"what": "activation failed", "resource": "files", "vm": "file2",
                              "epoch": 4, "at": 9}]
    assert world.steps("files") == ["swap serve_alone file2 @71", "activate file2 4 alone"]
    world.view["history"] = []
    assert "deactivate" not in " ".join(world.lose("file1").steps("files"))


@pytest.mark.parametrize(("times", "step"), [(2, "restart db1 3"), (3, "swap promote db2 @72")])
def test_a_service_that_dies_again_after_each_restart_is_succeeded(times, step):
    vain = {"what": "in vain", "resource": "database", "vm": "db1", "epoch": 3, "at": 9}
    world = World(history=[vain] * times).say("db1", service=False)
    assert world.steps("database")[0] == step
    assert world.say("db1", service=True).steps("database") == []  # it serves: leave it


def test_a_holder_that_is_heard_and_obeys_nothing_is_succeeded():
    vain = {"what": "in vain", "resource": "files", "vm": "file1", "epoch": 3, "at": 9}
    world = World(history=[vain] * 3).say("file1", held={})
    assert world.steps("files")[0] == "swap promote file2 @71"
    assert "file1 was restarted or commanded in vain 3 times" in world.decide().reason


def test_a_standby_that_writes_wait_for_gets_little_time_to_follow():
    """They go on alone soon, which must not have to wait for this command."""
    seconds = []
    for waiting in (False, True):
        world = World().say("file2", following=False).say("file1", waiting=waiting)
        step, = world.decide().actions["files"]
        seconds.append(step["deadline"] - world.view["now"])
    assert seconds == [decider.SECONDS["follow"], decider.AWAITED]


def test_a_holder_that_says_nothing_is_unknown_and_not_passive():
    world = World()
    for view in world.view["views"].values():
        view.get("file1", {}).pop("held", None)
    assert [name for name, _ in world.refused()] == ["HOLDER_UNKNOWN"]


def test_a_holder_that_hears_nobody_is_succeeded_although_it_is_heard():
    world = World()
    world.view["views"]["lb2"]["file1"]["deaf"] = True
    assert world.steps("files")[0] == "swap promote file2 @71"
    assert "file1 hears nobody any more; file2 takes over" in world.decide().reason


def test_a_holder_that_could_not_be_activated_is_tried_again_when_nobody_else_can():
    failed = {"what": "activation failed", "resource": "files", "vm": "file1", "epoch": 3, "at": 9}
    world = World(history=[failed, failed]).say("file1", held={}).say("file2", fit=False)
    assert world.steps("files") == ["activate file1 3"]
    assert [name for name, _ in world.refused()] == ["STANDBY_UNFIT"]


def test_a_passive_holder_is_activated_whatever_its_service_says():
    """After a cold start nothing runs yet: there is nothing to restart."""
    assert World().say("db1", service=False, held={}).steps("database") == ["activate db1 3"]


@pytest.mark.parametrize("resource", HOLDERS)
def test_a_living_vm_that_serves_in_an_old_epoch_is_told_to_step_down(resource):
    world = World().record(resource, epoch=4)
    world.say(HOLDERS[resource], held={resource: 4}).say(STANDBYS[resource], held={resource: 3})
    step, = world.decide().actions[resource]
    assert (step["do"], step["vm"], step["wait"]) == ("deactivate", STANDBYS[resource], True)


def test_a_holder_frozen_by_a_server_that_is_out_of_service_goes_on_alone():
    world = World(absent=["server2"]).lose("file2", "lb2").say("file1", frozen=True)
    assert world.steps("files") == ["swap serve_alone file1 @71", "activate file1 3 alone"]


def test_a_living_holder_out_of_service_still_serves_until_it_is_replaced():
    world = World(absent=["server1"]).say("file1", held={})
    assert world.steps("files") == ["activate file1 3"]


def test_who_takes_over_from_the_lost_does_not_wait_for_their_answer():
    steps = World().lose("file1").decide().actions["files"]
    assert [step.get("wait") for step in steps] == [None, False, True]


def test_the_same_view_gives_the_same_decision_in_any_order():
    world = World(history=flaps(4)).lose("lb1", "file1", "db1")
    expected = world.decide()
    for seed in range(5):
        shuffled = copy.deepcopy(world.view)
        for name in ("views", "records", "revisions"):
            entries = list(shuffled[name].items())
            random.Random(seed).shuffle(entries)
            shuffled[name] = dict(entries)
        before = copy.deepcopy(shuffled)
        assert decider.decide(shuffled) == expected
        assert shuffled == before, "a decision changes nothing of its view"


@pytest.mark.parametrize(("held", "heard", "given_up"), [
    ({"files": 3}, {"files": 4}, {"files": 4}),
    ({"files": 3}, {"files": 3}, {}),
    ({"files": 3}, {"files": 2, "database": 9}, {}),
    ({}, {"files": 4}, {}),
])
def test_who_hears_a_higher_epoch_steps_down(held, heard, given_up):
    assert decider.step_down(held, heard) == given_up


def test_every_condition_has_a_sentence_and_is_used():
    users = ("_utils/decide", "_utils/presence", "_utils/obstacle", "_utils/moves",
             "_utils/leaving",
             "_runners/operation")
    source = "".join((ROOT / f"{name}.py").read_text() for name in users)
    assert [name for name in conditions.names() if f'"{name}"' not in source] == []


def test_what_a_vm_says_of_itself_is_taken_from_whoever_heard_it_last():
    views = {
        "lb1": {"file1": {"links": {"internal": {"state": "late", "age": 1.5}}, "held": {"a": 1}}},
        "lb2": {"file1": {"links": {"internal": {"state": "up", "age": 0.2}}, "held": {"a": 2}}},
        "db1": {"file1": {"links": {"internal": {"state": "lost", "age": 0.0}}, "held": {"a": 3}}},
    }
    told = load("_utils/presence.py").told(views, "file1")
    assert told["held"] == {"a": 2}
