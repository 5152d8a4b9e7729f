"""What the beacon says: changes, once, and nothing about what is unknown for a moment."""

from tests.loading import load

QUIET = {"service": None, "waiting": None, "frozen": None, "following": True, "fit": True}


def beacon_on(tmp_path, looks):
    looks = iter(looks)
    loaded = load("_beacons/replication.py", salt={
        "boot.pillar": lambda: True,
        "mysql_watch.look": lambda deadtime, patience: next(looks),
    })  # fmt: skip
    config = [{"memory": str(tmp_path / "cluster/beacon.json")}]
    return lambda: [event["tag"] for event in loaded.beacon(config)]


def found(**changed):
    facts = {key: changed.pop(key) for key in ("answers", "sound") if key in changed}
    return {"health": {**QUIET, **changed}, "facts": facts, "reason": None}


def test_only_changes_are_said(tmp_path):
    look = beacon_on(tmp_path, [found(), found(), found(fit=False), found(fit=False), found()])
    assert [look() for _ in range(5)] == [[], [], ["unfit"], [], ["fit"]]


def test_what_is_bad_at_the_first_look_is_said(tmp_path):
    assert beacon_on(tmp_path, [found(sound=False, fit=False)])() == ["unfit", "broken"]


def test_unknown_is_no_change(tmp_path):
    look = beacon_on(tmp_path, [found(), found(fit=None, following=None), found()])
    assert [look() for _ in range(3)] == [[], [], []]


def test_event_carries_its_own_time_and_this_boot(tmp_path):
    loaded = load("_beacons/replication.py", salt={
        "boot.pillar": lambda: True,
        "mysql_watch.look": lambda deadtime, patience: found(service=False),
    })  # fmt: skip
    (event,) = loaded.beacon([{"memory": str(tmp_path / "beacon.json")}])
    assert event["tag"] == "failed" and event["time"] > event["observer_incarnation"] > 0
    assert event["health"]["service"] is False


def test_configuration_that_would_hold_up_the_minion_is_refused():
    loaded = load("_beacons/replication.py")
    assert loaded.validate([])[0]
    assert not loaded.validate([{"patience": 2}])[0]
    assert not loaded.validate([{"deadtime": "2"}])[0]
