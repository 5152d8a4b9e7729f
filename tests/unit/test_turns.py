"""Whose turn it is: one master acts at once, the other when that one did not, both rest between."""

import pytest

from tests.loading import load

turns = load("_utils/turns.py")
FOLLOW = [{"do": "follow", "vm": "file1", "epoch": 2}]
PROMOTE = [{"do": "swap", "transition": "promote"}, {"do": "deactivate"}, {"do": "activate"}]
ALONE = [{"do": "swap", "transition": "serve_alone"}, {"do": "activate"}]
LONG = float("inf")


@pytest.mark.parametrize(("steps", "place", "urgent", "waited", "young", "left"), [
    (PROMOTE, 0, False, 0, LONG, 0), (PROMOTE, 1, False, 0.4, LONG, 0.6),
    (PROMOTE, 0, False, 0, 0.5, 0),  # it failed at once again: nobody brings that epoch up
    (ALONE, 0, False, 0, LONG, 0), (ALONE, 1, False, 0, LONG, 5), (ALONE, 1, True, 0, LONG, 1),
    (ALONE, 0, False, 0, 0.5, 4.5),  # somebody else has just swapped, and brings it up
    ([{"do": "follow"}], 1, False, 5, 1, 120), ([{"do": "follow"}], 0, False, 0, 1, 0),
    ([{"do": "mirror"}, {"do": "swap", "transition": "mirrored"}], 1, False, 0, LONG, 65),
])
def test_how_long_a_list_is_left_to_somebody_else(steps, place, urgent, waited, young, left):
    assert turns.left(steps, place, urgent, waited, young) == pytest.approx(left)


@pytest.fixture
def mine():
    mine = turns.keeper()
    mine.watch({"files": {"epoch": 2}}, set(), 0)
    return mine


def test_a_list_that_fails_again_rests_longer_each_time(mine):
    rests = []
    for now in (10, 20, 30, 40, 50, 60, 70):
        mine.ended("files", FOLLOW, False, now)
        rests.append(mine.left("files", FOLLOW, 0, False, now))
    assert rests == [1, 2, 4, 8, 16, 30, 30]
    mine.ended("files", FOLLOW, True, 80)
    assert mine.left("files", FOLLOW, 0, False, 80) == 0


def test_another_list_than_the_one_that_failed_rests_but_a_moment(mine):
    """The holder froze while its standby, which hears nothing, was told in vain to follow."""
    for now in (10, 20, 30):
        mine.ended("files", FOLLOW, False, now)
    assert mine.left("files", FOLLOW, 0, False, 30.5) == 3.5
    assert mine.left("files", ALONE, 0, True, 30.5) == 0.5


def test_an_epoch_that_somebody_else_made_is_left_to_him_to_bring_up(mine):
    mine.watch({"files": {"epoch": 3}, "database": None}, set(), 100)
    assert mine.left("files", ALONE, 0, False, 101) == 4
    mine.watch({"files": {"epoch": 4}}, {("files", 4)}, 102)
    assert mine.left("files", ALONE, 0, False, 102) == 0


def test_the_second_master_counts_from_when_the_list_was_needed(mine):
    assert mine.left("files", PROMOTE, 1, False, 100) == 1
    assert mine.left("files", PROMOTE, 1, False, 100.5) == 0.5
    mine.forget("files")
    assert mine.left("files", PROMOTE, 1, False, 101) == 1
