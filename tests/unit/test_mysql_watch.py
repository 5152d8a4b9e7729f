"""Looking at the database: never for long, and with the right words for what was seen."""

import threading
import time

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import load
from tests.unit.replayed_server import ReplayedServer, utils_with

DEADTIME = 2
health = load("_utils/replication.py").health


def status(engine, role):
    return load(
        "_modules/mysql_replication.py", utils=utils_with(ReplayedServer(engine, role))
    ).status()


def seen(server=None, **changed):
    quiet = {"server": server, "dead": False, "stopped": False, "asking": 0, "held": 0}
    return {**quiet, "address": True, "busy": False, "proved": True, "current": True, **changed}


def judge(server=None, memory=None, now=100, **changed):
    return health(seen(server, **changed), memory or {}, now, DEADTIME)


@pytest.fixture(params=["mysql", "mariadb"])
def primary(request):
    return status(request.param, "primary")


@pytest.fixture(params=["mysql", "mariadb"])
def replica(request):
    return status(request.param, "replica")


def test_holder_that_writes_serves_and_is_not_frozen(primary):
    words, facts, _ = judge(primary, held=3)
    assert words == {
        "service": True, "waiting": False, "frozen": False, "following": None, "fit": None,
    }  # fmt: skip
    assert facts == {"answers": True, "semi_sync": True}


def test_holder_that_came_up_passive_after_a_crash_does_not_serve(primary):
    primary["writable"] = False
    assert judge(primary, held=3)[0]["service"] is False
    assert judge(primary, held=3, busy=True)[0]["service"] is None  # it is just being activated


def test_a_holder_without_its_address_does_not_serve(primary):
    assert judge(primary, held=3, address=False)[0]["service"] is False
    assert judge(primary, held=3, address=False, busy=True)[0]["service"] is None


def test_a_replica_whose_own_mode_is_on_is_to_be_told_to_follow_again(replica):
    """Its applier waits for a replica that it does not have: following switches the mode off."""
    replica["semi_sync"]["enabled"] = True
    words, _, _ = judge(replica)
    assert (words["fit"], words["following"]) == (False, False)


@pytest.mark.parametrize(("how", "service"), [
    ({"dead": True}, False),
    ({"stopped": True}, False),
    ({"asking": 9}, False),
    ({"asking": 0.3}, None),  # busy, for all that is known
])
def test_only_a_server_that_is_surely_gone_counts_as_failed(how, service):
    assert judge(None, held=3, **how)[0]["service"] is service


def test_writes_that_wait_longer_than_deadtime_are_frozen(primary):
    primary["semi_sync"].update(waiting=3, acknowledged=17)
    memory = judge(primary, {"acknowledged": 17}, 100, held=3)[2]
    assert waits(primary, memory, 101) == (True, False)
    assert waits(primary, memory, 102.5) == (True, True)
    primary["semi_sync"]["acknowledged"] = 18  # slow, but it moves
    assert waits(primary, memory, 103) == (False, False)


def waits(primary, memory, now):
    words = judge(primary, memory, now, held=3)[0]
    return words["waiting"], words["frozen"]


def test_writes_on_their_way_to_the_mirror_are_not_waiting_yet(primary):
    primary["semi_sync"].update(waiting=3, acknowledged=17)
    assert waits(primary, {}, 100) == (False, False)
    assert waits(primary, {"acknowledged": 16}, 100) == (False, False)


def test_primary_without_any_replica_is_frozen_before_somebody_writes(primary):
    primary["semi_sync"]["replicas"] = 0
    memory = judge(primary, {}, 100, held=3)[2]
    assert judge(primary, memory, 103, held=3)[0]["frozen"] is True
    primary["semi_sync"]["enabled"] = False  # permitted to serve alone
    words, facts, _ = judge(primary, memory, 104, held=3)
    assert words["waiting"] is words["frozen"] is facts["semi_sync"] is False


def test_standby_that_proved_it_has_everything_is_fit(replica):
    words, facts, _ = judge(replica)
    assert words == {
        "service": None, "waiting": None, "frozen": None, "following": True, "fit": True,
    }  # fmt: skip
    assert facts == {"answers": True, "sound": True, "prompt": True}


def test_standby_whose_source_died_stays_fit(replica):
    replica["replica"].update(receiving=None)
    memory = judge(replica, current=False)[2]
    words = judge(replica, memory, 101, current=False)[0]
    assert (words["fit"], words["following"]) == (True, None)
    assert judge(replica, memory, 120, current=False)[0]["following"] is False


def test_standby_that_reconnected_is_fit_only_after_it_caught_up(replica):
    assert judge(replica, current=False)[0]["fit"] is False
    assert judge(replica, proved=False)[0]["fit"] is False


@pytest.mark.parametrize("change", [
    {"apply_error": "duplicate key"}, {"applying": False},
])  # fmt: skip
def test_broken_standby_is_neither_fit_nor_following(replica, change):
    replica["replica"].update(change)
    words = judge(replica)[0]
    assert (words["fit"], words["following"]) == (False, False)


def test_standby_that_is_being_seeded_is_left_alone(replica):
    replica.update(seeding="a copy was begun", replica=None)
    words = judge(replica, busy=True)[0]
    assert (words["fit"], words["following"]) == (False, True)
    assert judge(None, dead=True, busy=True)[0]["following"] is True  # it restarts at the end


def test_busy_standby_keeps_the_word_it_last_gave(replica):
    memory = judge(replica)[2]
    assert judge(None, memory, asking=1)[0]["fit"] is True
    assert judge(None, memory, asking=9)[0]["fit"] is False


class Watched:
    """A VM whose server answers when it is told to."""

    def __init__(self, tmp_path, server):
        self.answering = threading.Event()
        self.server, self.asked, self.proofs, self.written = server, 0, [], {}
        utils = utils_with(None)
        utils["topology.floating"] = lambda *_: [{"address": "192.168.10.8"}]
        self.watch = load("_modules/mysql_watch.py", salt={
            "mysql_replication.status": self.status,
            "mysql_proof.present": lambda: True,
            "mysql_proof.prove": self.proofs.append,
            "claim.held": lambda resource: 0,
            "address.missing": lambda entries: ["192.168.10.8"],
        }, utils=utils, grains={"id": "db1"},
            pillar={"cluster": {"heartbeat": {"deadtime": DEADTIME}}})
        self.watch.__utils__["sqlserver.process"] = lambda: {"pid": 7, "started": 1, "state": "S"}
        self.watch.__utils__["health.write"] = lambda name, ok: self.written.update({name: ok})
        self.watch.MEMORY = str(tmp_path / "cluster/watch.json")
        self.watch.ROLE_LOCK = str(tmp_path / "role.lock")

    def status(self, deadline):
        self.asked += 1
        if not self.answering.wait(5):
            raise CommandExecutionError("timed out")
        return self.server

    def look(self, patience=0.1):
        started = time.monotonic()
        found = self.watch.look(patience=patience)
        return found, time.monotonic() - started


def test_hung_server_costs_a_look_its_patience_and_is_asked_once(tmp_path, replica):
    watched = Watched(tmp_path, replica)
    for _ in range(3):
        found, seconds = watched.look()
        assert seconds < 0.5
        assert found["health"]["following"] is None and "no answer for" in found["reason"]
    assert watched.asked == 1
    watched.answering.set()
    assert watched.look(2)[0]["health"]["fit"] is True
    assert watched.written["database.fit"] is True


def test_proof_is_renewed_when_receiving_begins_and_not_at_every_look(tmp_path, replica):
    watched = Watched(tmp_path, replica)
    watched.answering.set()
    for _ in range(3):
        watched.look(2)
    assert len(watched.proofs) == 1
    replica["replica"]["receiving"] = None
    watched.look(2)
    replica["replica"]["receiving"] = True
    watched.look(2)
    assert len(watched.proofs) == 2
