"""
Each rule taken away, one at a time: the search must find what it was good for.

A search that finds nothing proves nothing unless it finds what is there. The shortest way to the
damage is printed (``pytest -s``), and its end is checked.
"""

import re

import pytest

from tests.model import recovery
from tests.model.rules import Rules
from tests.model.search import search, story
from tests.model.state import start

SERVING = (0, 1, True, False)
# Two that may acknowledge is the last step before a lost write; the search stops at the first.
DAMAGE = "I1: both|I2: "


def counter_example(rules, bound=(3, 1), record=SERVING):
    """Return the shortest trace to a violation, as text."""
    found = search(rules, record, bound, most=200_000)
    assert found.trace, f"{found.states} states, and nothing wrong in any"
    text = story(found.trace)
    print(f"\n{text}\n     ({found.states} states)")
    return text


def loosened(rules, **ignored):
    """Let the claim see what it should refuse as if it were right."""
    judge = rules.claim._judge

    def loose(note, epoch, late, alone=None, mirror=None):
        seen = dict(note, epoch=0) if "epoch" in ignored else note
        new, refused = judge(
            seen, epoch, -1 if "late" in ignored else late,
            None if "alone" in ignored else alone, mirror,
        )
        return {**new, "epoch": max(new["epoch"], note["epoch"])}, refused

    rules.claim._judge = loose
    return rules


def test_promoting_a_standby_that_is_not_mirrored_loses_writes(monkeypatch):
    rules = Rules()
    monkeypatch.setitem(rules.record.TRANSITIONS, "promote", lambda old, holder, data: {
        **old, "holder": holder, "epoch": old["epoch"] + 1, "mirrored": False})
    monkeypatch.setattr(rules.record, "check_invariants", lambda *_, **__: None)
    rules.obstacle.takeover = lambda *_: None
    assert re.search(DAMAGE, counter_example(rules))


def test_the_record_alone_keeps_an_unmirrored_standby_out_whatever_the_decider_wants():
    rules = Rules()
    rules.obstacle.takeover = lambda *_: None
    assert search(rules, SERVING, (3, 1)).trace is None


def test_serving_alone_by_a_swap_at_an_old_epoch_gives_two_that_acknowledge(monkeypatch):
    rules = Rules()
    monkeypatch.setitem(rules.record.TRANSITIONS, "serve_alone",
                        lambda old, holder, epoch, data: {**old, "mirrored": False})
    assert "I1" in counter_example(rules)


def test_serving_alone_without_taking_the_standby_its_right_loses_writes(monkeypatch):
    rules = Rules()
    monkeypatch.setitem(rules.record.TRANSITIONS, "serve_alone",
                        lambda old, holder, epoch, data: dict(old))
    assert re.search(DAMAGE, counter_example(rules))


@pytest.mark.parametrize("data", [True, False])
def test_a_claim_without_its_deadline_activates_what_thawed(data):
    assert "I5" in counter_example(loosened(Rules(data), late=True))


@pytest.mark.parametrize("data", [True, False])
def test_a_claim_without_its_epoch_activates_whom_somebody_has_replaced(data):
    assert "I1/I3" in counter_example(loosened(Rules(data), epoch=True))


def test_a_late_permission_to_go_on_alone_loses_writes():
    """
    Epoch and deadline do not stop it: it is in time and of the right epoch, but a mirror was
    completed in between. That hole was in the claim before it knew about permissions.
    """
    assert re.search(DAMAGE, counter_example(loosened(Rules(), alone=True)))


def test_semi_synchronous_replication_that_falls_back_loses_writes():
    rules = Rules()
    rules.fallback = True
    assert re.search(DAMAGE, counter_example(rules))


def test_a_swap_that_is_not_bound_to_what_was_verified_loses_writes():
    rules = Rules()
    rules.unbound = True
    assert re.search(DAMAGE, counter_example(rules))


def test_two_commands_at_work_at_once_serve_in_an_epoch_that_is_over():
    """Both have claimed; then the newer one ends first. Hence `claim.role`."""
    rules = Rules()
    rules.unlocked = True
    assert "I1/I3" in counter_example(rules)


@pytest.mark.parametrize("data", [True, False])
def test_a_vm_that_hears_of_its_successor_and_goes_on_is_found(data, monkeypatch):
    rules = Rules(data)
    monkeypatch.setattr(rules.decider, "step_down", lambda *_: {})
    assert "I1/I3" in counter_example(rules)


def test_a_decider_that_permits_before_it_swaps_loses_writes(monkeypatch):
    rules = Rules()
    release = rules.decider._release
    monkeypatch.setattr(rules.decider, "_release", lambda case, why: (
        [step for step in release(case, why)[0] if step["do"] != "swap"], []))
    assert re.search(DAMAGE, counter_example(rules))


def test_a_decider_that_does_not_finish_what_another_began_leaves_nobody_in_charge(monkeypatch):
    """The record says file2, and the master died before it told file2."""
    rules = Rules()
    begun = start((1, 2, False, False))._replace(active=(0, 0), follows=(False, False))
    assert recovery.fault(begun, rules, None) is None
    monkeypatch.setattr(rules.decider, "_activate", lambda *_: ([], []))
    rules = reset(rules)
    assert "active: (0, 0)" in recovery.fault(begun, rules, None)


def test_a_decider_that_never_mirrors_again_is_found(monkeypatch):
    rules = Rules()
    monkeypatch.setattr(rules.decider, "rejoin", lambda *_: [])
    assert "mirrored: False" in recovery.fault(start((0, 1, False, False)), rules, None)


def reset(rules):
    """Forget the answers of the rules as they were."""
    rules.plan.cache_clear()
    rules.plans.cache_clear()
    return rules
