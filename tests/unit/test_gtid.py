"""GTID sets of MySQL and positions of MariaDB, as pure text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.loading import load

gtid = load("_utils/gtid.py")
A, B = "dd52011f-e686-11f1-b863-569ca3f9701b", "e439c707-e686-11f1-b30c-96d205e06202"


def test_mysql_set_is_read_with_white_space_tags_and_overlaps():
    text = f"{A.upper()}:1-5:4-9:11,\n{B}:3:backup:1-2"
    assert gtid.mysql_intervals(text) == {
        A: [[1, 9], [11, 11]],
        B: [[3, 3]],
        f"{B}:backup": [[1, 2]],
    }


@pytest.mark.parametrize("text", ["x", A, f"{A}:", f"{A}:5-", f"{A}:0-3", "0-1-5"])
def test_text_that_is_no_mysql_set_is_refused(text):
    with pytest.raises(ValueError):
        gtid.mysql_intervals(text)


@pytest.mark.parametrize(
    ("ours", "theirs", "left"),
    [
        ("", "", ""),
        (f"{A}:1-5", f"{A}:1-9", ""),
        (f"{A}:1-496", f"{A}:1-494,{B}:1-142", f"{A}:495-496"),
        (f"{A}:1-10", f"{A}:2-3:7", f"{A}:1:4-6:8-10"),
        (f"{A}:1,{B}:1:t:5", f"{A}:1", f"{B}:1,{B}:t:5"),
    ],
)
def test_errant_mysql_transactions_are_named_exactly(ours, theirs, left):
    assert gtid.mysql_subtract(ours, theirs) == left


sets = st.sets(st.integers(1, 40), max_size=25)


def as_text(numbers):
    return f"{A}:" + ":".join(str(n) for n in sorted(numbers)) if numbers else ""


@given(sets, sets)
def test_mysql_subtraction_is_that_of_sets(ours, theirs):
    left = gtid.mysql_intervals(gtid.mysql_subtract(as_text(ours), as_text(theirs)))
    numbers = {n for first, last in left.get(A, []) for n in range(first, last + 1)}
    assert numbers == ours - theirs


def test_mariadb_errant_transaction_is_seen_behind_a_higher_number_of_another_server():
    """The new primary goes on counting, so its position alone would hide what the old one wrote."""
    assert gtid.mariadb_subtract("0-18-103,0-28-90", "0-18-100,0-28-950") == "0-18-103"
    assert gtid.mariadb_subtract("0-18-100,0-18-40", "0-28-950,0-18-100") == ""


def test_mariadb_applied_reaches_received_per_domain():
    assert gtid.mariadb_behind("0-18-100", "0-18-100") == ""
    assert gtid.mariadb_behind("0-28-101,1-5-1", "0-18-100") == ""
    assert gtid.mariadb_behind("0-18-99", "0-18-100") == "0:100"
    assert gtid.mariadb_behind("", "3-1-1") == "3:1"


def test_mariadb_seed_does_not_know_commits_that_were_still_waiting():
    """A frozen primary's binary log was one ahead of the dump; the replica refused to go on."""
    state = "0-28-470,0-18-477,1-18-5"
    assert gtid.mariadb_until(state, "0-18-476") == "0-28-470,0-18-476"
    assert gtid.mariadb_until(state, "0-28-470") == "0-28-470,0-18-470"
    assert gtid.mariadb_until(state, "") == ""


@pytest.mark.parametrize("text", ["0-1", "0-1-x", f"{A}:1"])
def test_text_that_is_no_mariadb_position_is_refused(text):
    with pytest.raises(ValueError):
        gtid.mariadb_positions(text)
