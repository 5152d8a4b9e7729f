"""From heartbeatd's view to the runner: beacon and engine, reactor, ``ha.react``; no event lost."""

import json
import time
from pathlib import Path

import pytest
import salt.utils.event
import yaml

from tests import trees

# In the place of the runner: it notes what it is asked, and when.
RECORDER = """
import json, time

def react(tag, data):
    with open({path!r}, "a") as file:
        file.write(json.dumps([tag, data, time.time()]) + "\\n")
"""


class Reactions:
    """A master and the minion web1 with our configuration; `vm` says what heartbeatd would."""

    def __init__(self, folder):
        self.tree = trees.tree(folder / "tree")
        self.view, self.notes = folder / "view.json", folder / "notes"
        self.peers, self.losses = {}, 0
        self.notes.touch()
        (self.tree / "_runners/ha.py").write_text(RECORDER.format(path=str(self.notes)))

    def settings(self):
        """Return the master's configuration as topology makes it, for this tree and machine."""
        text = trees.topology.dump(trees.topology.master_config(trees.cluster("default")))
        settings = yaml.safe_load(text.replace(trees.topology.TREE, str(self.tree)))
        engine = {"heartbeat": {"view": str(self.view), "tend": 1}}
        return settings | {"interface": "127.0.0.1", "auto_accept": True, "engines": [engine]}

    def hears(self, name, state):
        self.losses += state == "dead"
        self.peers[name] = {
            "state": state, "for": 0.1, "silence": 2.0, "incarnation": 5, "losses": self.losses,
            "claims": {"database": [3, 2]}, "health": {"database.service": True}, "silent": {},
            "deaf": False, "links": {"internal": {"state": state}},
        }  # fmt: skip
        self.write()

    def write(self):
        at = time.clock_gettime(time.CLOCK_BOOTTIME)
        view = {"name": "web1", "incarnation": 7, "at": at, "peers": self.peers}
        new = self.view.with_suffix(".new")
        new.write_text(json.dumps(view))
        new.replace(self.view)

    def asked(self, tag):
        """Return the [tag, data, time] that the runner was called with."""
        notes = [json.loads(line) for line in self.notes.read_text().splitlines()]
        return [note for note in notes if note[0] == tag]

    def wait(self, tag, count=1, seconds=60):
        """Return the calls with that tag once there are so many; heartbeatd goes on meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.write()
            if len(found := self.asked(tag)) >= count:
                return found
            time.sleep(0.1)
        raise AssertionError(f"{len(self.asked(tag))} calls with {tag}: {self.notes.read_text()}")


@pytest.fixture(scope="module")
def vm(salt_factories, tmp_path_factory):
    vm = Reactions(tmp_path_factory.mktemp("r"))
    vm.hears("db1", "up")
    master = salt_factories.salt_master_daemon("lb9", overrides=vm.settings())
    beacon = [{"view": str(vm.view)}, {"memory": f"{vm.view}.memory"}]
    minion = {"multiprocessing": False, "mine_enabled": False, "module_dirs": [str(vm.tree)],
              "beacons_before_connect": True, "beacons": {"heartbeat": beacon}}  # fmt: skip
    vm.cache = Path(master.config["cachedir"])
    with master.started():
        daemon = master.salt_minion_daemon("web1", overrides=minion, start_timeout=120)
        with daemon.started(), _bus(master) as vm.bus:
            vm.wait("cluster/tend")
            yield vm


def _bus(master):
    options = dict(master.config)
    return salt.utils.event.get_master_event(options, options["sock_dir"], listen=False)


def test_a_lost_vm_reaches_the_runner_by_engine_and_by_beacon(vm):
    vm.hears("db1", "dead")
    (_, data, _), *_ = vm.wait("cluster/heartbeat/lost/db1")
    assert (data["peer"], data["observer"], data["losses"]) == ("db1", "web1", 1)
    assert data["claims"] == {"database": [3, 2]}
    assert abs(data["time"] - time.time()) < 60
    (_, data, _), *_ = vm.wait("salt/beacon/web1/heartbeat/lost/db1")
    assert (data["peer"], data["observer"], data["observer_incarnation"]) == ("db1", "web1", 7)
    vm.hears("db1", "up")
    vm.wait("cluster/heartbeat/back/db1")
    vm.wait("salt/beacon/web1/heartbeat/back/db1")


@pytest.mark.parametrize("tag", [
    "salt/beacon/file1/drbd/disconnected", "salt/beacon/db1/replication/broken",
    "salt/beacon/lb1/real_server/down/web2", "salt/beacon/lb2/heartbeat/blind",
])  # fmt: skip
def test_every_event_is_passed_on_as_it_came(vm, tag):
    """Ten times the same, and an old one: to judge it is the runner's, which looks anyway."""
    odd = {"text": "{{ 1 + 1 }} : 'x' \"y\"\n- z", "number": 1.5, "small": 0.001, "none": None,
           "yes": True, "list": [1, {"a": "b"}], "time": 1_800_000_000.25}  # fmt: skip
    for data in [{**odd, "n": n} for n in range(10)] + [{**odd, "time": 1.0, "n": 10}]:
        assert vm.bus.fire_event(dict(data), tag)
    calls = vm.wait(tag, count=11)
    assert sorted(data["n"] for _, data, _ in calls) == list(range(11))
    for _, data, _ in calls:
        assert {key: data[key] for key in odd} == odd | {"time": data["time"]}
    assert [data["time"] for _, data, _ in calls if data["n"] == 10] == [1.0]


def test_other_events_start_nothing(vm):
    for tag in ("salt/beacon/web1/status/x", "cluster/other", "salt/job/1/ret/web1"):
        vm.bus.fire_event({}, tag)
    vm.wait("cluster/tend", count=len(vm.asked("cluster/tend")) + 2)
    assert [tag for tag in ("salt/beacon/web1/status/x", "cluster/other") if vm.asked(tag)] == []


def test_reactions_leave_no_jobs_on_the_disk(vm):
    vm.wait("cluster/tend", count=3)
    assert vm.cache.is_dir()
    assert list(vm.cache.glob("jobs/*/*")) == []
