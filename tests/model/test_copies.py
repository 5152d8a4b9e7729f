"""
Two balancers that keep the records alone: no schedule of cuts, losses, late jobs and power cuts
lets one act on a record while the other acts on one that does not come from it. The schedules with
one deviation are followed all, those with more are drawn at random. Left out is what an operator
gives up on purpose (``lose_writes_of``).
"""

import random

import pytest

from tests.model.disks import World


def following(numbers):
    """Return a schedule that takes these choices first, and then whatever goes well."""
    left = iter(numbers)
    return lambda options: next(left, 0)


def at_random(rng, often):
    """Return a schedule in which ``often`` of the points go wrong; a dead one is soon noticed."""
    def schedule(options):
        words = [number for number, what in enumerate(options) if what.endswith("confirmed dead")]
        if words and rng.random() < 0.3:
            return rng.choice(words)
        return rng.randrange(len(options)) if rng.random() < often else 0
    return schedule


def every(world, most):
    """Follow every schedule with at most ``most`` deviations; return how many, stop at a wrong."""
    count, ahead = 0, [((), 0)]
    while ahead and not world.problems:
        numbers, used = ahead.pop()
        taken = world.run(following(numbers))
        count += 1
        if used < most:
            for position in range(len(numbers), len(taken)):
                before = [number for number, _ in taken[:position]]
                ahead += [((*before, other), used + 1) for other in range(1, taken[position][1])]
    return count


def some(world, most, seed, often=0.08):
    """Follow ``most`` schedules drawn at random, stop at a wrong one; return how many."""
    rng, count = random.Random(seed), 0
    while count < most and not world.problems:
        world.run(at_random(rng, often), turns=("lb1", "lb2") * 4)
        count += 1
    return count


@pytest.fixture(params=["operator", "fencing"])
def world(request):
    return World(request.param)


def told(world):
    return "\n" + "\n".join([*world.story, *world.problems])


def test_no_single_deviation_makes_two_records_of_one(world):
    count = every(world, 1)
    assert not world.problems, told(world)
    print(f"{world.driver}: {count} schedules, all of at most one deviation")
    assert count > 100


def test_no_schedule_drawn_at_random_makes_two_records_of_one(world, request):
    most, seed = (request.config.getoption(f"--model-{name}") for name in ("schedules", "seed"))
    count = some(world, most, seed)
    assert not world.problems, told(world)
    print(f"{world.driver}: {count} schedules at random, seed {seed}")
    assert count == most


def a_change_in_doubt_counts(copies, monkeypatch):
    get = copies.get
    monkeypatch.setattr(copies, "get", lambda key, lone=False: [get(key, lone), copies.own(key)][1])


def a_balancer_that_boots_trusts_itself(copies, monkeypatch):
    monkeypatch.setattr(copies, "_compared", lambda: True)


def who_goes_on_alone_is_not_ahead(copies, monkeypatch):
    monkeypatch.setattr(copies, "AHEAD", 0)


def the_dead_one_is_not_asked_when_it_is_back(copies, monkeypatch):
    monkeypatch.setattr(copies, "_go_on_with", lambda vm: None)


def one_that_is_silent_counts_as_dead(copies, monkeypatch):
    monkeypatch.setattr(copies, "_insist", lambda needed: None)


@pytest.mark.parametrize("broken", [
    a_balancer_that_boots_trusts_itself, who_goes_on_alone_is_not_ahead,
    the_dead_one_is_not_asked_when_it_is_back, one_that_is_silent_counts_as_dead,
    a_change_in_doubt_counts])
def test_a_broken_rule_is_found(broken, monkeypatch):
    """A search that finds nothing proves nothing unless it finds what is there."""
    world = World("operator")
    for balancer in world.values():
        broken(balancer.copies, monkeypatch)
    count = some(world, 5000, seed=1)
    print(f"found in schedule {count}:{told(world)}")
    assert world.problems, f"nothing wrong in {count} schedules"
