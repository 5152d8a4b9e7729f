"""Which revision a balancer may give: higher than all before, and nobody else's."""

import json

import pytest

from tests.loading import load

revision = load("_utils/revision.py")
NAMES = ["lb2", "lb1"]


@pytest.mark.parametrize("known", [0, 1, 2, 7, 1_000_003])
def test_the_balancers_never_give_the_same_revision(known):
    given = [{getattr(revision, which)(known, me, NAMES) for which in ("after", "alone")}
             for me in NAMES]
    assert not given[0] & given[1]
    assert all(known < each <= known + 2 or each > known + revision.AHEAD
               for each in given[0] | given[1])
    assert [each % 2 for each in (*given[0], *given[1])] == [1, 1, 0, 0]


def test_a_balancer_that_is_the_only_one_counts_by_one():
    assert revision.after(4, "lb1", ["lb1"]) == 5


def test_beyond_is_further_than_one_who_was_alone_ever_comes():
    value, number = revision.beyond('{"epoch": 3, "holder": "db1"}', 5, "lb1", NAMES)
    assert json.loads(value) == {"epoch": 3 + revision.BEYOND, "holder": "db1"}
    alone = 5
    for _ in range(revision.BEYOND - 1):
        alone = revision.alone(alone, "lb2", NAMES)
    assert number > alone
    assert revision.beyond('{"absent": {}}', 5, "lb1", NAMES) is None
