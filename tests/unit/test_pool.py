"""The pool as an operator sees it, and what a minion tells of it."""

import json
import threading
import time

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests import pillars
from tests.loading import load


def clock():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def server(state="up", **more):
    return {"address": "192.168.10.11", "state": state, "why": "because", "since": 5.0,
            "serving": state == "up", "drained": False, "connections": 3, **more}  # fmt: skip


class Poold:
    """What poold writes, and does with the list of the drained."""

    def __init__(self, folder):
        self.file, self.drained = folder / "pool.json", folder / "drained.json"
        self.servers = {"web1": server(), "web2": server()}
        self.duplicates, self.sorry = [], False

    def tell(self, age=0.0):
        networks = {"ok": True, "why": "somebody is heard"}
        content = {"at": clock() - age, "servers": self.servers, "sorry": self.sorry,
                   "networks": networks, "duplicates": self.duplicates}  # fmt: skip
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(content))
        new.replace(self.file)

    def obey(self, until):
        while not until.is_set():
            known = json.loads(self.drained.read_text()) if self.drained.exists() else {}
            for name, entry in self.servers.items():
                entry.update(drained=name in known, serving=name not in known)
            self.tell()
            time.sleep(0.02)


@pytest.fixture
def found(tmp_path):
    return Poold(tmp_path)


@pytest.fixture
def poold(found):
    stop = threading.Event()
    found.tell()
    thread = threading.Thread(target=found.obey, args=(stop,))
    thread.start()
    yield found
    stop.set()
    thread.join()


@pytest.fixture
def pool(found):
    module = load("_modules/pool.py", grains={"id": "lb1"})
    module.FOUND, module.DRAINED, module.PATIENCE = str(found.file), str(found.drained), 0.5
    return module


def test_what_the_pillar_says_becomes_what_poold_reads():
    cluster = pillars.cluster()
    cluster["balancer"]["check"] = {"interval": 0.1, "fall": 2}
    module = load("_modules/pool.py", pillar={"cluster": cluster}, grains={"id": "lb1"})
    config = module.config()
    assert config["check"] == module.CHECK | {"interval": 0.1, "fall": 2}
    assert config["servers"]["web2"] == {"address": "192.168.10.21", "weight": 2}
    assert config["sorry"] == {"80": "192.168.10.10:8088"}
    assert config["floating"]["internal"]["interface"] == "eth1" and config["peer"] == "lb2"


def test_by_default_a_power_cut_is_noticed_in_time_for_the_two_seconds():
    check = load("_modules/pool.py").CHECK
    assert check["interval"] + check["fall"] * check["timeout"] <= 1.5


def test_status_is_refused_rather_than_old(pool, found):
    with pytest.raises(CommandExecutionError, match="has not said anything"):
        pool.status()
    found.tell(age=60)
    with pytest.raises(CommandExecutionError, match="said nothing for 60 s"):
        pool.status()
    found.tell()
    assert pool.status()["servers"]["web1"]["connections"] == 3


def test_draining_waits_until_poold_has_acted_and_can_be_undone(pool, poold):
    assert pool.drain("web1", why="new kernel")["serving"] is False
    assert pool.drained()["web1"]["why"] == "new kernel"
    assert pool.drain("web1")["drained"] is True
    assert pool.undrain("web1")["serving"] is True
    assert pool.drained() == {}


def test_one_that_left_the_pillar_drained_is_forgotten(pool, poold, found):
    """Added again, it would get no visitors, and nobody would know why."""
    found.drained.write_text('{"web9": {"since": 1, "why": null}}')
    assert pool.undrain("web9") == pool.drained() == {}
    with pytest.raises(SaltInvocationError, match="'web9' is no web VM"):
        pool.undrain("web9")


def test_the_last_that_serves_is_drained_only_by_force(pool, poold):
    pool.drain("web1")
    with pytest.raises(CommandExecutionError, match="web2 stays: nobody else serves on lb1"):
        pool.drain("web2")
    assert set(pool.drained()) == {"web1"}
    pool.drain("web2", force=True)
    pool.drain("web1", why="closed", force=True)
    assert [entry["force"] for entry in pool.drained().values()] == [True, True]


def test_draining_fails_when_poold_does_not_act(pool, found):
    found.tell()
    with pytest.raises(CommandExecutionError, match="poold has not acted on web1"):
        pool.drain("web1")


def test_only_a_web_vm_can_be_drained(pool, found):
    found.tell()
    with pytest.raises(SaltInvocationError, match="'db1' is no web VM; there are web1, web2"):
        pool.drain("db1")


@pytest.fixture
def beacon(found, tmp_path):
    module = load("_beacons/real_server.py", opts={"id": "lb1"})
    module.FOUND, module.MEMORY = str(found.file), str(tmp_path / "memory.json")
    return module


def tags(beacon):
    return [event["tag"] for event in beacon.beacon([])]


def test_a_server_that_goes_and_returns_is_told_once_each(beacon, found):
    found.tell()
    assert tags(beacon) == []
    found.servers["web2"] = server("down")
    found.tell()
    (event,) = beacon.beacon([])
    assert (event["tag"], event["state"], event["observer"]) == ("down/web2", "down", "lb1")
    found.servers["web2"] = server("stuck")  # still out
    found.tell()
    assert tags(beacon) == []
    found.servers["web2"] = server("up")
    found.tell()
    assert tags(beacon) == ["up/web2"]


def test_a_restarted_minion_repeats_nothing_and_misses_nothing(beacon, found, tmp_path):
    found.servers["web2"] = server("down")
    found.tell()
    assert tags(beacon) == ["down/web2"]
    again = load("_beacons/real_server.py", opts={"id": "lb1"})
    again.FOUND, again.MEMORY = beacon.FOUND, beacon.MEMORY
    assert tags(again) == []


def test_silence_of_poold_is_no_news_of_anybody(beacon, found):
    found.servers["web2"] = server("down")
    found.tell(age=60)
    assert tags(beacon) == []
    found.file.unlink()
    assert tags(beacon) == []


def test_a_duplicate_and_the_sorry_page_are_told(beacon, found):
    found.duplicates = [{"address": "203.0.113.10", "interface": "eth0", "mac": "02:00:00:00:00:09",
                         "since": 5.0, "foreign": True}]  # fmt: skip
    found.sorry = True
    found.tell()
    first, second = beacon.beacon([])
    assert (first["tag"], first["mac"]) == ("duplicate/203.0.113.10", "02:00:00:00:00:09")
    assert second["tag"] == "sorry/on"
    found.duplicates, found.sorry = [], False
    found.tell()
    assert tags(beacon) == ["sorry/off"]


@pytest.mark.parametrize("config", [{}, ["stale"], [{"stale": 0}], [{"stale": "3"}]])
def test_a_wrong_setting_is_named(beacon, config):
    valid, why = beacon.validate(config)
    assert not valid and why.startswith("real_server: ")
