"""The log of decisions: bounded, torn lines harm only themselves, each decision is read once."""

import json
import threading

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.loading import load


@pytest.fixture
def decisions(tmp_path):
    module = load("_modules/decisions.py")
    module.LOG = str(tmp_path / "log/decisions.jsonl")
    return module


def line(number, **more):
    return {"id": f"lb1-{number}", "at": 1000 + number, **more}


def numbers(found):
    return [entry["at"] - 1000 for entry in found]


def test_nothing_was_decided_on_a_new_vm(decisions):
    assert decisions.read() == []


def test_the_latest_come_last_and_no_more_than_asked(decisions):
    for number in range(10):
        assert decisions.note(line(number)) is True
    assert numbers(decisions.read(3)) == [7, 8, 9]
    assert numbers(decisions.read()) == list(range(10))


def test_of_a_decision_noted_twice_the_end_counts(decisions):
    decisions.note(line(1))
    decisions.note(line(1, result="done"))
    assert decisions.read() == [line(1, result="done")]


def test_a_beginning_that_arrives_late_does_not_hide_the_end(decisions):
    """A job that a paused balancer executes after it thawed comes out of order."""
    decisions.note(line(1, result="done"))
    decisions.note(line(1))
    assert decisions.read() == [line(1, result="done")]


def test_a_torn_line_harms_neither_the_one_before_nor_the_one_after(decisions):
    decisions.note(line(1))
    with open(decisions.LOG, "a", encoding="utf-8") as file:
        file.write('{"id": "lb1-2", "at": 10')
    decisions.note(line(3))
    assert numbers(decisions.read()) == [1, 3]


def test_the_log_is_put_aside_once_and_still_read(decisions, tmp_path):
    decisions.LARGEST = 300
    for number in range(30):
        decisions.note(line(number))
    sizes = [path.stat().st_size for path in (tmp_path / "log").glob("*.jsonl*")]
    assert max(sizes) <= 300
    assert len(sizes) == 3  # the log, the one before, the lock
    assert len(decisions.read(9)) == 9
    assert numbers(decisions.read(9)) == list(range(21, 30))


def test_writers_at_once_lose_no_line(decisions):
    lines = [line(number) for number in range(20)]
    threads = [threading.Thread(target=decisions.note, args=(each,)) for each in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(decisions.read()) == list(range(20))


def test_what_json_does_not_know_is_written_as_text(decisions):
    decisions.note(line(1, error=ValueError("no quorum")))
    assert decisions.read()[0]["error"] == "no quorum"


@pytest.mark.parametrize("wrong", [
    None, "text", {}, {"id": "a"}, {"id": "", "at": 1}, {"id": "a", "at": "now"},
    {"id": "a", "at": 1, "reason": "x" * 200_000},
])
def test_what_is_no_decision_is_refused(decisions, wrong):
    with pytest.raises(SaltInvocationError):
        decisions.note(wrong)


def test_only_the_operator_reads_it(decisions, tmp_path):
    decisions.note(line(1))
    assert (tmp_path / "log/decisions.jsonl").stat().st_mode & 0o777 == 0o640
    assert json.loads((tmp_path / "log/decisions.jsonl").read_text()) == line(1)


def test_a_log_that_cannot_be_written_is_an_error(decisions, tmp_path):
    (tmp_path / "log").write_text("in the way")
    with pytest.raises(CommandExecutionError, match="cannot write"):
        decisions.note(line(1))


def test_what_was_only_refused_crowds_nothing_out(decisions):
    """Many refusals in a row hid the failovers that came before, and those are counted."""
    moved = {"id": "moved", "at": 1.0, "steps": [{"do": "swap"}]}
    decisions.note(moved)
    for number in range(9):
        decisions.note({"id": str(number), "at": 2.0 + number, "steps": []})
    assert decisions.read(3, acted=True) == [moved]
    assert len(decisions.read(3)) == 3
