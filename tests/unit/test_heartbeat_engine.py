"""The master's engine: late, lost, back and changed at once; a reason to look every few seconds."""

import json

import pytest

from tests.loading import load


class Bus:
    """Salt's event bus; ``deaf``: the publisher is not there yet."""

    def __init__(self):
        self.deaf, self.events = False, []

    def fire_event(self, data, tag):
        if not self.deaf:
            self.events.append((tag, data))
        return not self.deaf


class Master:
    """A master's engine; `peers` is what heartbeatd hears."""

    def __init__(self, folder, monkeypatch):
        self.path, self.now, self.bus, self.name = folder / "view", 1000.0, Bus(), "lb1"
        self.module = load("_engines/heartbeat.py", opts={"id": "lb1_master"})
        monkeypatch.setattr(self.module, "_clock", lambda: self.now)
        self.watch = self.module.Watch(str(self.path), 5)
        self.peers = {}
        self.hears("b", "up")
        self.hears("c", "up")

    def hears(self, name, state, losses=0, **more):
        self.peers[name] = {
            "state": state, "silence": 0.2, "incarnation": 5, "losses": losses,
            "claims": {}, "health": {}, "silent": {}, "deaf": False, **more,
        }  # fmt: skip

    def writes(self, age=0.1):
        view = {"name": "lb1", "incarnation": 7, "at": self.now - age, "peers": self.peers}
        new = self.path.with_name("new")
        new.write_text(json.dumps(view))
        new.replace(self.path)

    def look(self, age=0.1, write=True):
        """Return the tags of one more look, 0.05 s later, without the regular ones."""
        self.now += 0.05
        if write:
            self.writes(age)
        self.bus.events.clear()
        self.watch.tell(self.bus)
        return [tag.removeprefix("cluster/heartbeat/") for tag, _ in self.bus.events
                if tag != "cluster/tend"]  # fmt: skip


@pytest.fixture
def master(tmp_path, monkeypatch):
    return Master(tmp_path, monkeypatch)


def test_late_lost_and_back_are_told_once_in_their_order(master):
    tags = []
    for state, losses in (("up", 0), ("late", 0), ("late", 0), ("dead", 1), ("dead", 1), ("up", 1),
                          ("up", 1)):  # fmt: skip
        master.hears("b", state, losses)
        tags += master.look()
    assert tags == ["late/b", "lost/b", "back/b"]


def test_a_master_that_starts_while_a_vm_is_lost_says_so(master):
    master.hears("b", "dead", 1)
    master.hears("c", "unknown")
    assert master.look() == ["lost/b"]


def test_an_event_says_who_means_whom_and_when(master, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 2000.0)
    master.look()
    master.hears("b", "dead", 1, claims={"files": [3, 2]})
    master.look()
    assert master.bus.events[0] == ("cluster/heartbeat/lost/b", {
        "time": 2000.0, "observer": "lb1", "observer_incarnation": 7, "peer": "b",
        "peer_incarnation": 5, "losses": 1, "silence": 0.2, "claims": {"files": [3, 2]},
        "health": {},
    })  # fmt: skip


def test_what_a_peer_says_anew_is_told_once_for_all_of_them(master):
    assert master.look() == []
    master.hears("b", "up", health={"files.service": False})
    master.hears("c", "up", silent={"b": "lost"})
    assert master.look() == ["changed/b"]
    assert master.bus.events[0][1]["peers"] == ["b", "c"]
    assert master.look() == []
    master.hears("c", "up", silent={"b": "lost", "d": "late"})
    assert master.look() == []  # late alone changes no decision
    master.hears("c", "up", silent={"b": "lost"}, deaf=True)
    assert master.look() == ["changed/c"]


def test_a_view_that_did_not_change_is_not_read_again(master, monkeypatch):
    master.look()
    monkeypatch.setattr("json.load", lambda file: pytest.fail("read"))
    assert master.look(write=False) == []


def test_without_a_living_heartbeatd_nothing_is_said_but_the_regular_word(master):
    master.look()
    master.hears("b", "dead", 1)
    assert master.look(age=4) == []
    assert master.look() == ["lost/b"]
    master.path.write_text("{tor")
    assert master.look(write=False) == []
    master.path.unlink()
    master.now += 5
    assert master.look(write=False) == []
    assert master.bus.events[0][0] == "cluster/tend"


def test_a_regular_word_comes_every_few_seconds(master):
    times = []
    for _ in range(300):
        master.look(write=False)
        times += [master.now for tag, _ in master.bus.events if tag == "cluster/tend"]
    assert [round(time - times[0]) for time in times] == [0, 5, 10]
    master.now += 6
    master.look(write=False)
    tag, payload = master.bus.events[-1]
    assert (tag, set(payload)) == ("cluster/tend", {"time", "observer", "observer_incarnation"})


def test_what_the_bus_did_not_take_is_told_again(master):
    master.look()
    master.hears("b", "dead", 1)
    master.bus.deaf = True
    assert master.look() == []
    master.bus.deaf = False
    assert master.look(write=False) == ["lost/b"]
    assert master.look(write=False) == []


def test_a_restarted_heartbeatd_neither_resolves_a_loss_nor_invents_one(master):
    master.hears("b", "dead", 4)
    master.look()
    master.hears("b", "unknown", 0)
    master.hears("c", "unknown", 0)
    assert master.look() == []
    master.hears("c", "up")
    assert master.look() == []
    master.hears("b", "up")
    assert master.look() == ["back/b"]
