"""What an operator has told the cluster survives two writers, and damage is never "nothing"."""

import json
import time

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests import pillars
from tests.loading import load

EMPTY = {"absent": {}, "confirmed": {}, "acknowledged": {}}


class Arbiter:
    """One value, changed by compare-and-swap; ``before`` runs ahead of each store."""

    def __init__(self):
        self.value, self.revision, self.before = None, 0, []

    def load(self, key):
        assert key == "marks"
        return {"value": self.value, "revision": self.revision}

    def store(self, key, value, revision):
        assert key == "marks"
        if self.before:
            self.before.pop()()
        if revision != self.revision:
            return False
        self.value, self.revision = value, self.revision + 1
        return True


@pytest.fixture
def arbiter():
    return Arbiter()


@pytest.fixture
def marks(arbiter):
    salt = {"arbiter.load": arbiter.load, "arbiter.store": arbiter.store}
    return load("_modules/marks.py", salt=salt, pillar={"cluster": pillars.cluster()})


def test_nothing_is_marked_at_first(marks):
    assert marks.read() == EMPTY


def test_what_was_added_is_read_with_its_time_and_reason(marks):
    marks.add("absent", "server1", "new memory")
    found = marks.read()
    assert found["absent"]["server1"]["why"] == "new memory"
    assert found["absent"]["server1"]["since"] > 1e9


def test_a_repeated_absence_keeps_its_first_time_and_writes_nothing(marks, arbiter):
    first = marks.add("absent", "server1", "new memory")
    assert marks.add("absent", "server1") == first
    assert arbiter.revision == 1


def test_a_repeated_confirmation_is_of_now(marks, arbiter):
    arbiter.value = json.dumps({**EMPTY, "confirmed": {"server1": {"since": 1, "why": None}}})
    assert marks.add("confirmed", "server1")["confirmed"]["server1"]["since"] > 1e9


@pytest.mark.parametrize(("age", "counts"), [
    (0, True), (500, True), (601, False), (-1, True), (-601, False),
])
def test_a_confirmed_death_is_forgotten(marks, arbiter, age, counts):
    """The VM may have come back since: its next silence is no death."""
    confirmed = {"server1": {"since": time.time() - age - 0.01, "why": None}}
    arbiter.value = json.dumps({**EMPTY, "confirmed": confirmed})
    assert ("server1" in marks.read()["confirmed"]) is counts


def test_removing_leaves_the_other_marks(marks):
    marks.add("absent", "server1")
    marks.add("acknowledged", "files")
    assert marks.remove("absent", "server1")["absent"] == {}
    assert list(marks.read()["acknowledged"]) == ["files"]


def test_removing_what_is_not_there_writes_nothing(marks, arbiter):
    assert marks.remove("absent", "gone-from-the-pillar") == EMPTY
    assert arbiter.revision == 0


def test_another_writer_s_mark_is_kept(marks, arbiter):
    arbiter.before.append(lambda: marks.add("absent", "web1"))
    marks.add("absent", "server2")
    assert sorted(marks.read()["absent"]) == ["server2", "web1"]


def test_a_writer_that_never_wins_says_so(marks, arbiter):
    arbiter.store = marks.__salt__["arbiter.store"] = lambda *_: False
    with pytest.raises(CommandExecutionError, match="changed 10 times"):
        marks.add("absent", "web1")


@pytest.mark.parametrize("text", ["{", "[]", '{"absent": {"web1": 3}}', '{"absent": []}x',
                                  '{"acknowledged": {"files": "soon"}}'])
def test_damaged_marks_are_an_error_and_not_no_marks(marks, arbiter, text):
    arbiter.value = text
    with pytest.raises(CommandExecutionError, match="marks are damaged"):
        marks.read()
    with pytest.raises(CommandExecutionError, match="marks are damaged"):
        marks.add("absent", "web1")
    assert arbiter.value == text


@pytest.mark.parametrize(("kind", "name"), [
    ("gone", "web1"), ("absent", "web9"), ("absent", "files"), ("acknowledged", "web1"),
])
def test_an_unknown_kind_or_name_is_refused(marks, arbiter, kind, name):
    with pytest.raises(SaltInvocationError):
        marks.add(kind, name)
    assert arbiter.revision == 0
