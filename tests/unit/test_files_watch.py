"""What the beacon of the file servers sees, says, remembers and repairs, on recorded output."""

import contextlib
import json
import time

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import ROOT, Utils, load

DATA = ROOT / "tests/data/drbd-utils-9.22-kernel-8.4.11"
pure = load("_utils/drbd.py")


def recorded(state, side):
    text = (DATA / f"{state}.{side}.events2").read_text(encoding="utf-8")
    facts = pure.events(text)
    if facts is None:
        return {"configured": False, "reason": "r0 is not up"}
    split = facts["connection"] == "StandAlone" and "split" in state
    return {"configured": True, **facts, "split_brain": split, "reason": state}


class Minion:
    """One file server's minion: what DRBD says is a recording, the rest is kept in a folder."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.clock = folder, 1000.0
        self.held, self.busy, self.fault, self.health = 0, False, None, {}
        self.connected, self.addressed, self.new = 0, True, False
        salt = {
            "address.missing": lambda entries: [] if self.addressed else ["192.168.10.5"],
            "drbd.status": lambda name: self.now,
            "claim.held": lambda resource: self.held,
            "claim.role": self.role,
            "files_data.mounted": lambda: True,
            "files_data.listen": self.listen,
            "files_data.behind_note": lambda: str(folder / "behind"),
            "drbd.unproven": lambda name: self.new,
            "drbd.proven": lambda name: setattr(self, "new", False),
            "nfs.fault": lambda: self.fault,
        }
        utils = Utils()
        utils["health.write"] = lambda name, ok, lasting=False: self.health.update({name: ok})
        utils["topology.floating"] = lambda *_: [{"address": "192.168.10.5"}]
        pillar = {"cluster": {"heartbeat": {"deadtime": 2}}}
        self.module = load("_modules/files_watch.py", salt, pillar, {"id": "file1"}, utils=utils)
        monkeypatch.setattr(self.module, "MEMORY", str(folder / "memory"))
        monkeypatch.setattr(self.module, "MIRRORED", str(folder / "mirrored"))
        monkeypatch.setattr("time.clock_gettime", lambda _: self.clock)
        salt = {"files_watch.look": self.module.look}
        salt = {**salt, "boot.pillar": lambda: True}
        self.beacon = load("_beacons/drbd.py", salt, opts={"id": "file1"})
        monkeypatch.setattr(self.beacon, "VIEW", str(folder / "view"))

    @contextlib.contextmanager
    def role(self, resource, deadline):
        if self.busy:
            raise CommandExecutionError("another command is at work")
        yield

    def listen(self):
        self.connected += 1

    def sees(self, state, side="file1", seconds=1.0, **differently):
        """Return the events of the next look, ``seconds`` later."""
        self.now = {**recorded(state, side), **differently}
        self.clock += seconds
        return self.beacon.beacon([])

    def said(self, *names):
        return tuple(self.health[f"files.{name}"] for name in names)


@pytest.fixture
def minion(tmp_path, monkeypatch):
    return Minion(tmp_path, monkeypatch)


@pytest.mark.parametrize(("seen", "fit"), [
    (("connected-primary", "file2"), True),  # the peer serves
    (("syncing", "file2"), False),
    (("connected-primary", "file2", "Secondary"), False),  # nobody does: it may be an old copy
])
def test_a_new_disk_is_fit_once_it_mirrors_who_serves(minion, seen, fit):
    minion.new = True
    state, side, *peer = seen
    minion.sees(state, side, **({"peer_role": peer[0]} if peer else {}))
    assert (minion.said("fit"), minion.new) == ((fit,), not fit)


# recording, side, is the resource held; service, frozen, following, fit
HEALTH = """
connected-primary file1 held True False None None
connected-primary file2 not None False True True
syncing file1 held True False None None
syncing file2 not None False True False
verifying file2 not None False True True
link-cut-io-suspended file1 held None False None None
link-cut-io-suspended file2 not None False False True
promoted-peer-out file1 held True False None None
diskless-standby file1 held True False None None
diskless-standby file2 not None False True False
diskless-primary file1 held True False None None
split-brain file2 not None False False False
connecting-and-unconfigured file2 not None False False False
connected-fresh file2 not None False True False
"""


@pytest.mark.parametrize("line", HEALTH.split("\n")[1:-1])
def test_each_side_says_how_it_is(minion, line):
    state, side, held, *expected = line.split()
    minion.held = 4 if held == "held" else 0
    minion.sees(state, side)
    assert [str(ok) for ok in minion.said("service", "frozen", "following", "fit")] == expected


def test_writes_count_as_frozen_after_the_deadtime_and_the_service_is_not_blamed(minion):
    minion.held, minion.fault = 4, "the server does not answer"
    minion.sees("connected-primary")
    assert minion.said("waiting") == (False,)
    minion.sees("link-cut-io-suspended")
    assert minion.said("service", "waiting", "frozen") == (None, True, False)
    minion.sees("link-cut-io-suspended", seconds=2.5)
    assert minion.said("service", "waiting", "frozen") == (None, True, True)
    minion.sees("link-cut")
    assert minion.said("waiting", "frozen") == (False, False)


def test_a_holder_without_any_disk_is_not_released_but_cannot_serve(minion):
    """Released, its writes would fail; the standby has all that was acknowledged."""
    minion.held = 4
    without = {"disk": "Diskless", "suspended": "no-data"}
    minion.sees("link-cut-io-suspended", **without)
    minion.sees("link-cut-io-suspended", seconds=2.5, **without)
    assert minion.said("service", "waiting", "frozen") == (False, False, False)
    assert minion.said("restarted") == (True,)
    minion.sees("diskless-primary")
    assert minion.said("service", "frozen", "restarted") == (True, False, False)


def test_one_missed_answer_is_no_failure_and_none_counts_during_a_command(minion):
    minion.held, minion.fault = 4, "the server does not answer"
    minion.sees("connected-primary")
    assert minion.said("service") == (True,)
    minion.busy = True
    minion.sees("connected-primary")
    assert minion.said("service") == (None,)
    minion.busy = False
    minion.sees("connected-primary")
    events = minion.sees("connected-primary")
    assert minion.said("service") == (False,) and events[0]["tag"] == "service"


def test_a_holder_without_its_address_does_not_serve(minion):
    """It was taken away when an activation of who served already failed, and nobody noticed."""
    minion.held, minion.addressed = 3, False
    for _ in range(2):
        minion.sees("connected-primary")
    assert minion.said("service") == (False,)


@pytest.mark.parametrize(("state", "mirror"), [
    ("connected-primary", True), ("syncing", True), ("diskless-primary", True),
    ("link-cut-io-suspended", True), ("diskless-standby", False)])
def test_a_mirror_without_a_disk_is_none(minion, state, mirror):
    minion.held = 3
    minion.sees(state)
    assert minion.said("mirror") == (mirror,)


@pytest.mark.parametrize("left_out", ["diskless-standby", "syncing"])
def test_a_disk_that_was_left_out_is_not_fit_until_both_sides_are_the_same(minion, left_out):
    """
    A standby whose disk failed missed writes; restarted without its peer it was Consistent, said
    that it was fit, and was promoted.
    """
    minion.sees(left_out, "file2")
    minion.sees("link-cut-io-suspended", "file2", disk="Consistent")
    assert minion.said("fit") == (False,)
    minion.sees("connected-primary", "file2")
    assert minion.said("fit") == (True,)


def test_a_change_is_one_event_and_sameness_is_none(minion):
    assert minion.sees("connected-primary", "file2") == []
    assert minion.sees("connected-primary", "file2") == []
    (event,) = minion.sees("link-cut-io-suspended", "file2")
    assert event["tag"] == "connection" and event["observer"] == "file1"
    assert event["changes"]["connection"] == ["Connected", "Connecting"]
    assert event["changes"]["following"] == [True, False]
    assert event["reason"] and event["health"]["fit"] is True
    assert event["observer_incarnation"] is None
    assert abs(event["time"] - time.time()) < 5


def test_the_observers_incarnation_is_that_of_its_heartbeats(minion):
    (minion.folder / "view").write_text(json.dumps({"incarnation": 17}))
    minion.sees("connected-primary")
    assert minion.sees("link-cut-io-suspended")[0]["observer_incarnation"] == 17


def test_a_restarted_minion_neither_repeats_nor_loses_a_change(minion, monkeypatch):
    minion.sees("connected-primary")
    later = Minion(minion.folder, monkeypatch)
    assert later.sees("connected-primary") == []
    assert later.sees("link-cut-io-suspended")[0]["tag"] == "suspended"


def test_what_cannot_be_asked_is_not_said(minion):
    def fail(name):
        raise CommandExecutionError("drbdsetup: timed out")

    minion.module.__salt__["drbd.status"] = fail
    assert minion.beacon.beacon([]) == []
    assert minion.health == {}


def test_the_holder_listens_again_but_not_all_the_time(minion):
    """DRBD gives up for good when a thawed Primary meets its successor: neither reconnected."""
    minion.held = 4
    for _ in range(7):
        minion.sees("both-primary-refused")
    assert minion.connected == 2


@pytest.mark.parametrize(("held", "busy"), [(0, False), (4, True)])
def test_only_the_holder_listens_and_never_in_the_middle_of_a_command(minion, held, busy):
    minion.held, minion.busy = held, busy
    minion.sees("both-primary-refused")
    assert minion.connected == 0


def test_when_both_sides_were_the_same_is_noted_for_a_split_brain(minion):
    minion.sees("link-cut-io-suspended", "file2")
    assert not (minion.folder / "mirrored").exists()
    minion.sees("connected-primary", "file2")
    assert (minion.folder / "mirrored").exists()


def test_the_beacon_takes_no_configuration(minion):
    assert minion.beacon.validate([])[0] is True
    assert minion.beacon.validate([{"interval": 1}])[0] is False
