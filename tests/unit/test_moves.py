"""Planned moves: everything is refused before the first step, or everything is carried out."""

import pytest

from tests import pillars
from tests.loading import load
from tests.unit.test_decide import DATA, HOLDERS, STANDBYS, World, short

moves = load("_utils/moves.py")


def steps(decision):
    return {resource: [short(step) for step in found]
            for resource, found in decision.actions.items()}


def conditions(decision):
    return [entry["condition"] for entry in decision.rejected]


@pytest.mark.parametrize("resource", HOLDERS)
def test_a_planned_switch_ends_the_old_holder_before_the_new_one_starts(resource):
    old, new = HOLDERS[resource], STANDBYS[resource]
    world = World()
    decision = moves.switch(world.view, resource, new)
    alone = " alone" if resource in DATA else ""
    assert steps(decision) == {resource: [
        f"swap promote {new} @{world.view['revisions'][resource]}", f"deactivate {old} 4",
        f"activate {new} 4{alone}",
    ]}
    _, leave, activate = decision.actions[resource]
    assert leave["wait"] is True
    together = resource == "files"  # where DRBD keeps the successor from being early
    assert (leave.get("beside", False), activate.get("await_peer", False)) == (together, together)
    assert decision.rejected == []


def test_a_successor_is_asked_whether_it_could_before_its_predecessor_ends():
    world = World()
    world.view["cluster"] = pillars.cluster()
    asked = moves.questions(world.view, moves.switch(world.view, "database", "db2"))
    address = pillars.cluster()["vms"]["db2"]["addresses"]["internal"]
    assert asked == [
        ("database", "db2", "claim.probe", {"resource": "database"}),
        ("database", "db1", "mysql_replication.has_all", {"replica": address}),
    ]
    everything = moves.questions(world.view, moves.evacuate(world.view, "server1"))
    assert [entry[:2] for entry in everything] == [
        ("director", "lb2"), ("files", "file2"), ("files", "file2"), ("database", "db2"),
        ("database", "db1")]
    assert everything[2] == ("files", "file2", "files.probe", {})


def test_a_lost_primary_is_not_asked_and_a_swap_that_moves_nothing_asks_nobody():
    for resource in DATA:
        world = World().lose(HOLDERS[resource])
        found = moves.questions(world.view, moves.switch(world.view, resource, STANDBYS[resource]))
        assert [entry[2] for entry in found] == ["claim.probe"]
    alone = moves.decide.alone(moves.decide.look(World().view, "files")[0], "why")
    assert moves.questions({}, moves.decide.Decision({"files": alone}, "", [])) == []


def test_a_switch_to_the_holder_has_nothing_to_do():
    assert moves.switch(World().view, "files", "file1")[::2] == ({}, [])


@pytest.mark.parametrize(("arrange", "vm", "condition"), [
    (lambda w: w, "db2", "NOT_ITS_ROLE"),
    (lambda w: w, "file9", "NOT_ITS_ROLE"),
    (lambda w: w.lose("file2"), "file2", "STANDBY_LOST"),
    (lambda w: w.say("file2", fit=False), "file2", "STANDBY_UNFIT"),
    (lambda w: w.record("files", mirrored=False), "file2", "NOT_MIRRORED"),
    (lambda w: w.view["absent"].append("server2") or w, "file2", "ABSENT_ON_PURPOSE"),
    (lambda w: w.view["records"].update(files=None) or w, "file2", "ARBITER_UNREACHABLE"),
    (lambda w: w.lose("file1", observers=["lb2"]), "file2", "OBSERVERS_DISAGREE"),
])
def test_a_switch_that_the_other_side_could_not_carry_is_refused_at_once(arrange, vm, condition):
    world = World()
    arrange(world)
    decision = moves.switch(world.view, "files", vm)
    assert decision.actions == {}
    assert conditions(decision) == [condition]
    assert decision.reason.startswith("nothing is done, because files: ")


def test_what_moved_by_itself_too_often_still_moves_as_planned():
    history = [{"what": "failover", "resource": "files", "at": 999}] * 9
    assert moves.switch(World(history=history).view, "files", "file2").actions


def unmirrored():
    return World().record("files", mirrored=False).say("file2", fit=False)


def mirrored(world, fit):
    """The record says that file2 has everything; file2 says what it knows of that."""
    return world.record("files", mirrored=True).say("file2", fit=fit)


def test_a_mirror_that_cannot_prove_what_it_has_takes_over_by_an_operators_word():
    """Both servers lost power, and the holder's never comes back."""
    world = mirrored(World(), fit=False).lose("file1")
    refused = moves.switch(world.view, "files", "file2").rejected[0]
    assert (refused["condition"], refused["command"]) == (
        "STANDBY_UNFIT", "salt-run ha.switch files file2 lose_writes_of=file1")
    assert "bring file1 back" in refused["sentence"]
    assert steps(moves.switch(world.view, "files", "file2", lose_writes_of="file1")) == {
        "files": ["swap abandon file2 @71", "deactivate file1 4", "activate file2 4 alone"]}


def test_an_operator_gives_up_the_writes_of_a_dead_holder_by_its_name():
    world = unmirrored().lose("file1")
    refused = moves.switch(world.view, "files", "file2").rejected[0]
    assert refused["command"] == "salt-run ha.switch files file2 lose_writes_of=file1"
    decision = moves.switch(world.view, "files", "file2", lose_writes_of="file1")
    assert steps(decision) == {"files": [
        "swap abandon file2 @71", "deactivate file1 4", "activate file2 4 alone"]}
    assert decision.actions["files"][0]["arguments"]["lose_writes_of"] == "file1"
    assert decision.actions["files"][2]["lose_writes"] is True


@pytest.mark.parametrize(("lost", "dead"), [
    (["file1"], "file1"), (["lb1", "web1", "file1", "db1"], "server1")])
@pytest.mark.parametrize("world", [unmirrored, lambda: mirrored(World(), fit=False)])
def test_where_only_a_person_tells_death_the_command_says_both(world, lost, dead):
    world = world().lose(*lost)
    world.view["driver"] = "operator"
    command = f"salt-run ha.switch files file2 lose_writes_of=file1 confirm_dead={dead}"
    assert moves.switch(world.view, "files", "file2").rejected[0]["command"] == command
    refused = moves.switch(world.view, "files", "file2", lose_writes_of="file1").rejected[0]
    assert (refused["condition"], refused["command"]) == ("LOSS_UNCONFIRMED", command)
    world.view["confirmed"] = [dead]
    found = steps(moves.switch(world.view, "files", "file2", lose_writes_of="file1"))
    assert found["files"][0] == "swap abandon file2 @71"


def test_what_was_given_up_stays_given_up_until_the_new_holder_serves():
    """Its first activation failed: the record names it, and the command is repeated."""
    world = World().record("files", mirrored=False, holder="file2").say("file1", held={})
    world.say("file2", held={}).lose("file1")
    decision = moves.switch(world.view, "files", "file2", lose_writes_of="file1")
    assert steps(decision) == {"files": ["swap serve_alone file2 @71", "activate file2 3 alone"]}
    assert decision.actions["files"][1]["lose_writes"] is True
    world.say("file2", held={"files": 3})
    assert not moves.switch(world.view, "files", "file2", lose_writes_of="file1").actions


@pytest.mark.parametrize(("arrange", "named", "condition"), [
    (lambda w: w.lose("file1"), "file2", "NOT_THE_HOLDER"),
    (lambda w: w, "file1", "HOLDER_LIVES"),
    (lambda w: w.lose("file1", "file2"), "file1", "STANDBY_LOST"),
    (lambda w: mirrored(w, fit=True).lose("file1"), "file1", "NOTHING_TO_LOSE"),
    (lambda w: mirrored(w, fit=None).lose("file1"), "file1", "STANDBY_UNKNOWN"),
    (lambda w: mirrored(w, fit=False), "file1", "HOLDER_LIVES"),
    (lambda w: w.view.update(driver="operator") or w.lose("file1"), "file1", "LOSS_UNCONFIRMED"),
])
def test_writes_are_given_up_only_where_nothing_else_helps(arrange, named, condition):
    world = unmirrored()
    arrange(world)
    decision = moves.switch(world.view, "files", "file2", lose_writes_of=named)
    assert (decision.actions, conditions(decision)) == ({}, [condition])


def test_a_living_holder_that_cannot_serve_is_given_up_after_it_has_gone_passive():
    world = unmirrored().say("file1", held={})
    found = moves.switch(world.view, "files", "file2", lose_writes_of="file1").actions["files"]
    assert [(step["do"], step.get("wait")) for step in found][1] == ("deactivate", True)


def test_evacuation_moves_all_that_a_server_holds():
    decision = moves.evacuate(World().view, "server1")
    assert set(steps(decision)) == set(HOLDERS)
    assert steps(decision)["files"][0] == "swap promote file2 @71"
    assert "server1 is taken out of service; file2 takes over" in decision.reason


def test_evacuation_is_refused_as_a_whole_when_one_resource_cannot_move():
    decision = moves.evacuate(World().say("db2", fit=False).view, "server1")
    assert (decision.actions, conditions(decision)) == ({}, ["STANDBY_UNFIT"])


def test_holders_go_on_without_the_mirrors_that_leave_once_these_are_marked_absent():
    """Before that, a failover to them is still possible, and wanted."""
    world = World()
    assert moves.evacuate(world.view, "server2").actions == {}
    world.view["absent"] = ["server2"]
    alone = {
        "files": ["swap serve_alone file1 @71", "activate file1 3 alone"],
        "database": ["swap serve_alone db1 @72", "activate db1 3 alone"],
    }
    assert steps(moves.evacuate(world.view, "server2")) == alone
    # A list that was bringing the mirror back before the mark is bound to the revision of before.
    world.record("files", mirrored=False).record("database", mirrored=False)
    assert steps(moves.evacuate(world.view, "server2")) == alone


def test_no_mirror_is_let_go_of_a_holder_that_is_dead():
    """Mirrored is what lets its standby take over, once that is in service again."""
    world = World(absent=["server2"]).lose("file1")
    assert set(moves.evacuate(world.view, "server2").actions) == {"database"}


def test_one_vm_is_evacuated_alone():
    assert set(moves.evacuate(World().view, "db1").actions) == {"database"}
    assert moves.evacuate(World().view, "web1").actions == {}


def test_a_restored_server_follows_and_gets_nothing_back():
    world = World(absent=["server2"]).record("files", mirrored=False)
    world.say("file2", following=False, fit=False)
    assert steps(moves.restore(world.view, "server2")) == {"files": ["follow file2 3"]}


@pytest.mark.parametrize("resource", HOLDERS)
def test_a_plan_is_in_time_and_bound_to_what_was_seen(resource):
    for step in moves.switch(World().view, resource, STANDBYS[resource]).actions[resource]:
        assert step["reason"]
        assert step.get("deadline", 1001) > 1000
        assert step["do"] != "swap" or step["revision"] in (70, 71, 72)
