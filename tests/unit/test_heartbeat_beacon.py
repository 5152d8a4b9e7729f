"""The beacon: late, lost and back, each once, losses again and again, over every restart."""

import json

import pytest

from tests import pillars
from tests.loading import ROOT, load

beacon = load("_beacons/heartbeat.py")


class Minion:
    """A minion's loop: one call a second; `peers` is what heartbeatd hears."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.now, self.incarnation = folder, 1000.0, 7
        self.peers = {"b": self.peer("up"), "c": self.peer("up")}
        self.module = load("_beacons/heartbeat.py", opts={"id": "a"})
        monkeypatch.setattr("time.clock_gettime", lambda _: self.now)
        monkeypatch.setattr("time.time", lambda: self.now + 10_000)

    @staticmethod
    def peer(state, losses=0):
        return {"state": state, "for": 1.5, "silence": 2.5, "incarnation": 5, "losses": losses,
                "claims": {"files": [3, 2]}, "health": {"nfs": True},
                "links": {"internal": {"state": state, "silence": 2.5}}}  # fmt: skip

    def hears(self, name, state, losses=0):
        self.peers[name] = self.peer(state, losses)

    def second(self, age=0.5, view=True):
        """Return the tags of the events of one more second, which stay in `events`."""
        self.now += 1
        if view:
            content = {"incarnation": self.incarnation, "at": self.now - age, "peers": self.peers}
            (self.folder / "view").write_text(json.dumps(content))
        paths = {key: str(self.folder / key) for key in ("view", "memory")}
        self.events = self.module.beacon([paths, {"_beacon_name": "heartbeat"}])
        return [event["tag"] for event in self.events]


@pytest.fixture
def minion(tmp_path, monkeypatch):
    return Minion(tmp_path, monkeypatch)


def test_nothing_is_said_while_all_is_well_or_nothing_is_known(minion):
    minion.hears("c", "unknown")
    assert [minion.second() for _ in range(10)] == [[]] * 10


def test_late_lost_and_back_are_said_once_in_their_order(minion):
    tags = []
    for state, losses in (("up", 0), ("late", 0), ("late", 0), ("dead", 1), ("dead", 1), ("up", 1),
                          ("up", 1), ("late", 1), ("up", 1)):  # fmt: skip
        minion.hears("b", state, losses)
        tags += minion.second()
    assert tags == ["late/b", "lost/b", "back/b", "late/b", "back/b"]


def test_an_unresolved_loss_is_repeated_until_the_peer_is_back(minion):
    minion.hears("b", "dead", 1)
    tags, repeats = [], []
    for _ in range(16):
        tags += minion.second()
        repeats += [event["repeat"] for event in minion.events]
    assert tags == ["lost/b"] * 4
    assert repeats == [0, 1, 2, 3]
    minion.hears("b", "up", 1)
    assert [minion.second() for _ in range(7)] == [["back/b"]] + [[]] * 6


def test_an_event_says_who_means_what_and_since_when(minion):
    minion.hears("b", "dead", 1)
    minion.second(age=0.5)
    assert minion.events == [{
        "tag": "lost/b", "peer": "b", "observer": "a", "observer_incarnation": 7,
        "peer_incarnation": 5, "losses": 1, "time": 11001.0,
        "since": 10999.0, "silence": 3.0, "repeat": 0,
        "links": {"internal": "dead"}, "claims": {"files": [3, 2]}, "health": {"nfs": True},
    }]  # fmt: skip


def test_a_refresh_loses_no_event_and_invents_none(minion):
    """A refresh imports the module anew at any moment."""
    tags = []
    for state, losses in (("up", 0), ("dead", 1), ("dead", 1), ("up", 1), ("up", 1)):
        minion.module = load("_beacons/heartbeat.py", opts={"id": "a"})
        minion.hears("b", state, losses)
        tags += minion.second()
    assert tags == ["lost/b", "back/b"]


def test_a_loss_shorter_than_a_second_is_told_as_a_return(minion):
    minion.second()
    minion.hears("b", "up", 1)
    assert minion.second() == ["back/b"]
    assert minion.second() == []


def test_a_second_loss_between_two_looks_is_told_as_a_new_one(minion):
    minion.hears("b", "dead", 1)
    assert minion.second() == ["lost/b"]
    minion.hears("b", "dead", 3)
    assert minion.second() == ["lost/b"]
    assert minion.events[0]["losses"] == 3


def test_a_restarted_heartbeatd_neither_resolves_a_loss_nor_invents_one(minion):
    minion.hears("b", "dead", 4)
    minion.second()
    minion.incarnation = 8
    minion.hears("b", "unknown")
    minion.hears("c", "unknown")
    tags = [tag for _ in range(6) for tag in minion.second()]
    assert tags == ["lost/b"]
    minion.hears("b", "dead", 1)
    assert minion.second() == ["lost/b"]
    minion.hears("b", "up", 1)
    minion.hears("c", "up")
    assert minion.second() == ["back/b"]


def test_an_old_view_blinds_this_vm_and_says_nothing_of_its_peers(minion):
    assert minion.second() == []
    minion.hears("b", "dead", 1)
    assert [minion.second(age=4 + n, view=True) for n in range(6)] == (
        [["blind"]] + [[]] * 4 + [["blind"]]
    )
    assert minion.events[0]["repeat"] == 1
    assert minion.second() == ["lost/b"]


def test_no_view_at_all_is_blindness_too(minion):
    assert minion.second(view=False) == ["blind"]
    (minion.folder / "view").write_text("{tor")
    assert minion.second(view=False) == []
    assert minion.second() == []


def test_a_peer_that_left_the_configuration_is_forgotten(minion):
    minion.hears("b", "dead", 1)
    minion.second()
    del minion.peers["b"]
    assert [minion.second() for _ in range(7)] == [[]] * 7


@pytest.mark.parametrize(("config", "why"), [
    ({}, "list"), (["repeat"], "list"), ([{"repeat": 0}], "repeat"), ([{"stale": "3"}], "stale"),
    ([{"view": "run/x"}], "view"), ([{"repeat": True}], "repeat"),
])  # fmt: skip
def test_a_wrong_configuration_is_named(config, why):
    valid, message = beacon.validate(config)
    assert valid is False
    assert why in message


def test_the_documented_configuration_is_valid():
    assert beacon.validate([{"repeat": 5}, {"stale": 3}])[0] is True
    assert beacon.validate([])[0] is True


# --- the execution module -----------------------------------------------------------------------


def test_the_configuration_never_holds_the_key():
    module = load("_modules/heartbeat.py", pillar={"cluster": pillars.cluster()},
                  grains={"id": "lb1"})  # fmt: skip
    assert set(module.config()) == {"cluster", "name", "timing", "links"}


def test_the_view_is_read_with_its_age(tmp_path, monkeypatch):
    module = load("_modules/heartbeat.py")
    monkeypatch.setattr(module, "VIEW", str(tmp_path / "view"))
    with pytest.raises(module.CommandExecutionError, match="no view"):
        module.view()
    (tmp_path / "view").write_text('{"at": 1.0}')
    assert module.view()["age"] > 1


def test_minions_are_sent_the_beacon():
    assert (ROOT / "salt/_beacons").resolve() == ROOT / "_beacons"


@pytest.mark.parametrize(("lb1", "witness", "found"), [
    ({"web2": "lost", "web1": "late"}, {"web2": "lost"}, ["web2"]),
    ({"web2": "lost"}, {"web2": "late"}, []),
    ({"web2": "lost"}, {}, []),
    ({}, {}, []),
])
def test_a_vm_is_lost_to_who_watches_only_if_all_of_them_say_so(monkeypatch, lb1, witness, found):
    module = load("_modules/heartbeat.py", pillar={"cluster": pillars.cluster()})
    peers = {"lb1": lb1, "witness": witness, "file1": {}}
    up = {name: {"state": "up", "deaf": False, "silent": said} for name, said in peers.items()}
    dead = {"lb2": {"state": "dead", "deaf": False, "silent": {}}}
    monkeypatch.setattr(module, "view", lambda: {"age": 0.5, "peers": up | dead})
    assert module.lost(["web1", "web2"]) == found
    monkeypatch.setattr(module, "view", lambda: {"age": 9, "peers": up | dead})
    assert module.lost(["web1", "web2"]) == []
