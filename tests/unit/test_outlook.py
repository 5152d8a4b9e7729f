"""What of the log of decisions counts for the next one."""

import pytest

from tests.loading import load

outlook = load("_utils/outlook.py")
NOW = 10_000


def counted(step, since=10, acknowledged=0, cause="salt/beacon/x"):
    step = {"resource": "database", "vm": "db1", "epoch": 3, "at": NOW - since, "result": "ok",
            **step}
    line = {"cause": {"tag": cause}, "steps": [step]}
    found = outlook.history([line], {"database": acknowledged}, NOW)
    return [entry["what"] for entry in found]


@pytest.mark.parametrize(("step", "since", "what"), [
    ({"do": "swap", "transition": "promote"}, 10, ["failover"]),
    ({"do": "swap", "transition": "promote", "result": "refused"}, 10, []),
    ({"do": "activate", "result": "failed"}, 10, ["activation failed"]),
    ({"do": "activate", "result": "failed"}, 100, []),
    ({"do": "activate", "result": "failed", "silent": True}, 100, ["in vain"]),
    ({"do": "activate", "result": "failed", "silent": True}, 400, []),
    ({"do": "restart"}, 100, ["in vain"]),  # whether it helps shows later
    ({"do": "restart", "result": "failed"}, 100, ["in vain"]),
    ({"do": "restart"}, 400, []),
    ({"do": "activate"}, 10, []), ({"do": "follow", "result": "failed"}, 10, []),
])
def test_what_a_step_counts_for_and_for_how_long(step, since, what):
    assert counted(step, since) == what


@pytest.mark.parametrize("step", [
    {"do": "swap", "transition": "promote"}, {"do": "restart"},
    {"do": "activate", "result": "failed"}])
def test_what_was_written_before_the_clock_was_set_back_counts_for_nothing(step):
    assert counted(step, since=-3600) == []


def test_what_an_operator_has_seen_counts_no_more():
    assert counted({"do": "restart"}, acknowledged=NOW) == []


def test_who_just_got_the_director_has_its_addresses():
    """poold says so a moment later, and until then it would be told to take them again."""
    step = {"do": "activate", "vm": "lb1", "resource": "director", "epoch": 4}
    assert outlook.teaches(step)["health"]["addresses"] is True
