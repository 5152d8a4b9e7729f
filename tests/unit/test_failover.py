"""The runner of the failover on a small cluster that answers as the real one does."""

import json
import os
import threading
import time
import unittest.mock

import pytest

from tests import trees
from tests.heard import HOLDERS, SERVER1, STANDBYS, report
from tests.loading import load

CLUSTER = trees.cluster("default")
record = load("_utils/record.py")


class Site:
    """Records, VMs and what is heard of them; it stands for the minion, and for jobs on others."""

    def __init__(self, me="lb2"):
        self.me, self.lock = me, threading.RLock()
        self.records = {
            resource: {"holder": vm, "epoch": 3, "mirrored": True, "founding": False}
            for resource, vm in HOLDERS.items()
        }
        self.revision = 10
        self.revisions = dict.fromkeys(HOLDERS, 10)
        self.held = {vm: {resource: 3} for resource, vm in HOLDERS.items()}
        self.lost, self.late, self.health = (), (), {}
        self.stale, self.unreachable, self.asked = 0, False, 0
        self.marks = {"absent": {}, "confirmed": {}, "acknowledged": {}}
        self.log, self.sent, self.commands, self.takes, self.gates = [], [], [], {}, {}
        self.ready = None

    def move_director(self):
        self.records["director"]["holder"] = "lb2"
        self.held["lb2"] = self.held.pop("lb1")

    # what inprocess.Minion has
    def cluster(self):
        return CLUSTER

    def attempt(self, function, *args, **kwargs):
        try:
            return self.call(function, *args, **kwargs), None
        except RuntimeError as error:
            return None, str(error)

    def call(self, function, *args, **kwargs):
        module, name = function.split(".")
        if module in HOLDERS:
            return self.command(self.me, function, kwargs)
        with self.lock:
            return getattr(self, f"{module}_{name}")(*args, **kwargs)

    def arbiter_look(self, resource, timeout):
        self.asked += 1
        if self.unreachable:
            raise RuntimeError("no arbiter answered")
        return {"record": self.records[resource], "revision": self.revisions[resource]}

    def arbiter_swap(self, resource, transition, revision, **arguments):
        now = {"record": self.records[resource], "revision": self.revisions[resource]}
        looked_at = arguments.pop("record")
        if revision != self.revisions[resource]:
            return {"swapped": False, "reason": "the record changed", **now}
        assert looked_at == self.records[resource]
        answer = record.apply(resource, looked_at, transition, arguments)
        if "refused" in answer:
            return {"swapped": False, "reason": answer["refused"], **now}
        self.revision += 1
        self.records[resource] = answer["record"]
        self.revisions[resource] = self.revision
        self.commands.append((transition, resource))
        return {"swapped": True, "reason": "", "record": answer["record"],
                "revision": self.revision}  # fmt: skip

    def arbiter_yield_lead(self):
        return False

    def marks_read(self):
        return self.marks

    def decisions_read(self, count, acted=False):
        return self.log[-count:]

    def claim_held(self, resource):
        return self.held.get(self.me, {}).get(resource, 0)

    def decisions_note(self, line):
        line = json.loads(json.dumps(line))
        self.log = [*[old for old in self.log if old["id"] != line["id"]], line]

    def heartbeat_gave_up(self, vm, resource, epoch):
        return False

    def heartbeat_unreachable(self, vm):
        return vm in self.lost

    def heartbeat_view(self):
        seen = report(self.me, self.lost, self.held, self.health, self.late)
        return {**seen, "age": self.stale}

    # what jobs.Jobs has
    def ask(self, vm, function, arguments, deadline, lost, published):
        published()
        while vm in self.lost or self.takes.get(function) == "forever":
            if lost() or time.time() > deadline:
                return None, None
            time.sleep(0.02)
        try:
            return self.command(vm, function, arguments), None
        except RuntimeError as error:
            return None, str(error)

    def listen(self):
        self.ready = threading.Event()

    def post(self, vms, function, arguments):
        self.sent.append((tuple(vms), function, arguments))

    def command(self, vm, function, arguments):
        resource, do = function.split(".")
        if do == "status":
            return {"active": None}
        time.sleep(self.takes.get(function, 0))
        if function in self.gates:
            self.gates[function].wait(20)
        with self.lock:
            self.commands.append((do, vm, arguments.get("epoch"), arguments.get("alone")))
            if self.takes.get(f"{function} fails"):
                raise RuntimeError("it failed")
            if do == "activate":
                self.held.setdefault(vm, {})[resource] = arguments["epoch"]
                words = {f"{resource}.waiting": False, f"{resource}.frozen": False}
                self.health.setdefault(vm, {}).update(words)
            if do == "deactivate":
                self.held.get(vm, {}).pop(resource, None)
            if do == "follow":
                self.health[vm] = {f"{resource}.following": True}
            return {"active": do == "activate", "seconds": {"address": 0.1}}

    def until(self, condition):
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, (self.commands, self.log)
            time.sleep(0.01)

    def noted(self):
        """Return the lines of the log once each is complete."""
        self.until(lambda: self.log and all("result" in line for line in self.log))
        return self.log


def runner(site):
    """Return the runner on this site's master."""
    failover = load("_runners/failover.py", opts={"id": f"{site.me}_master"})
    failover.LOCKS = site.locks
    failover.log = unittest.mock.Mock()  # unconfigured, Salt's keeps records until Python exits
    failover._state.minion = failover._state.jobs = site
    return failover


@pytest.fixture
def site(tmp_path):
    site = Site()
    site.locks = str(tmp_path)
    return site


def activated(site):
    return sorted(
        (command[1:] for command in site.commands if command[0] == "activate"),
    )


def test_nothing_is_done_and_nothing_noted_while_all_is_well(site):
    assert runner(site).react("cluster/tend", {}) == "every resource is where it belongs"
    assert (site.commands, site.log) == ([], [])
    assert os.listdir(site.locks) == ["failover.looked"]


def test_a_lost_server_is_succeeded_on_every_resource(site):
    site.lost = SERVER1
    failover = runner(site)
    failover.react("cluster/heartbeat/lost/lb1", {"time": time.time(), "peer": "lb1"})
    assert {record["holder"] for record in site.records.values()} == set(STANDBYS.values())
    revision = site.revisions
    assert activated(site) == [
        ("db2", 4, revision["database"]), ("file2", 4, revision["files"]), ("lb2", 4, None)
    ]
    told = {(vms, function) for vms, function, _ in site.sent}
    assert {(("lb1",), "director.deactivate"), (("file1",), "files.deactivate"),
            (("db1",), "database.deactivate")} <= told  # fmt: skip


def test_the_decision_is_noted_here_and_sent_to_the_other_balancer(site):
    site.lost = ("file1",)
    site.move_director()
    runner(site).react("cluster/heartbeat/lost/file1", {"time": time.time(), "observer": "lb2"})
    (line,) = site.noted()
    assert line["result"] == "done"
    assert line["master"] == "lb2"
    assert line["cause"]["tag"] == "cluster/heartbeat/lost/file1"
    assert line["evidence"]["silent"]["file1"]["witness"] == "lost"
    assert line["reason"].endswith("files: file1 is silent on every link; file2 takes over")
    assert [(step["do"], step["vm"], step["result"]) for step in line["steps"]] == [
        ("swap", "file2", "ok"), ("activate", "file2", "ok"),
        ("deactivate", "file1", "not waited for"),
    ]
    assert all(step["reason"] and step["at"] and step["seconds"] >= 0 for step in line["steps"])
    sent = [entry for entry in site.sent if entry[1] == "decisions.note"]
    assert sent[-1][0] == ("lb1",)
    assert sent[-1][2]["line"]["id"] == line["id"]


def test_an_old_event_and_ten_of_the_same_do_nothing_twice(site):
    site.lost = SERVER1
    failover = runner(site)
    assert "old" in failover.react("cluster/heartbeat/lost/lb1", {"time": time.time() - 120})
    assert site.commands == []
    threads = [
        threading.Thread(target=failover.react, args=("x", {"time": time.time()}))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(activated(site)) == 3
    assert {record["epoch"] for record in site.records.values()} == {4}


def test_two_masters_that_both_see_it_swap_once_and_activate_once(tmp_path):
    """The witness and lb2 see file1 die; both masters live and get the same event."""
    first = Site("lb1")
    first.takes["files.activate"] = 0.5
    first.lost, first.locks = ("file1",), str(tmp_path / "1")
    second = Site("lb2")
    second.__dict__.update({key: value for key, value in vars(first).items() if key != "me"})
    second.locks = str(tmp_path / "2")


    second.records = first.records
    threads = [
        threading.Thread(target=runner(master).react, args=("x", {})) for master in (first, second)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [command for command in first.commands if command[0] == "promote"] == [
        ("promote", "files")
    ]
    assert len(activated(first)) == 1


def test_the_second_master_finishes_what_a_dying_one_began(site):
    """lb1 has swapped for files and died with its server before it told file2."""
    site.records["files"] = {**site.records["files"], "holder": "file2", "epoch": 4,
                             "mirrored": False}  # fmt: skip
    site.lost = SERVER1
    runner(site).react("cluster/heartbeat/lost/lb1", {})
    assert ("file2", 4, site.revisions["files"]) in activated(site)
    assert site.records["files"]["epoch"] == 4


def test_the_second_master_waits_for_the_first_one(site):
    """lb1 lives and holds the director: lb2 acts only if nothing happened for a second."""
    site.lost = ("file1",)
    began = time.monotonic()
    runner(site).react("cluster/heartbeat/lost/file1", {})
    assert activated(site)
    assert time.monotonic() - began >= 1


def test_the_master_beside_the_director_leads_and_the_other_one_when_it_is_lost(site):
    places = {}
    for me in ("lb1", "lb2"):
        site.me = me
        failover = runner(site)
        places[me] = failover._place(failover.look())
    assert places == {"lb1": 0, "lb2": 1}
    site.move_director()
    assert failover._place(failover.look()) == 0
    site.records["director"]["holder"], site.lost = "lb1", SERVER1
    assert failover._place(failover.look()) == 0


def test_what_takes_long_does_not_hold_up_another_resource(site):
    """The database's standby is rebuilt for minutes when the holder of the files dies."""
    site.records["database"]["mirrored"] = False
    site.move_director()
    site.health["db2"] = {"database.following": False, "database.fit": False}
    gate = site.gates["database.follow"] = threading.Event()
    failover = runner(site)
    reaction = threading.Thread(target=failover.react, args=("cluster/tend", {}))
    reaction.start()
    site.until(lambda: "database" in failover._state.busy)
    site.lost = ("file1",)
    failover.react("cluster/heartbeat/lost/file1", {})
    site.until(lambda: activated(site))
    assert "follow" not in [command[0] for command in site.commands]
    gate.set()
    reaction.join()
    assert [command[0] for command in site.commands].count("follow") == 1


def test_while_one_resource_moves_the_next_does_not_wait_for_the_arbiter_to_be_read(site):
    """A server dies VM by VM, and the arbiter elects a leader then: the swap is all it needs."""
    failover = runner(site)
    failover.react("cluster/tend", {})
    gate = threading.Event()
    site.gates = {f"{resource}.activate": gate for resource in HOLDERS}
    site.lost = ("lb1",)
    reaction = threading.Thread(target=failover.react, args=("cluster/heartbeat/lost/lb1", {}))
    reaction.start()
    site.until(lambda: ("promote", "director") in site.commands)
    asked, site.unreachable = site.asked, True
    site.lost = SERVER1
    failover.react("cluster/heartbeat/lost/file1", {})
    site.until(lambda: {("promote", "files"), ("promote", "database")} <= set(site.commands))
    assert (site.asked, activated(site)) == (asked, [])
    site.unreachable = False
    gate.set()
    reaction.join()
    assert len(activated(site)) == 3


def test_a_vm_that_says_nothing_holds_up_only_its_own_list(site):
    site.lost = SERVER1
    site.takes["files.activate"] = "forever"
    failover = runner(site)
    threading.Thread(target=failover.react, args=("x", {}), daemon=True).start()
    site.until(lambda: len(activated(site)) == 2)
    site.lost = (*SERVER1, "file2")  # and now it is gone: its list ends at once
    site.until(lambda: site.log and "result" in site.log[0])
    step = next(s for s in site.log[0]["steps"] if s["vm"] == "file2" and s["do"] == "activate")
    assert (step["result"], step["silent"]) == ("failed", True)


def test_a_failing_activation_is_tried_again_after_growing_rests(site):
    site.lost = ("file1",)
    site.me = "lb1"
    site.takes["files.activate fails"] = True
    failover = runner(site)
    failover._turns().retry = (0.2, 7)
    began = time.monotonic()
    thread = threading.Thread(target=failover.react, args=("x", {}))
    thread.start()
    site.until(lambda: len(activated(site)) == 4)
    assert time.monotonic() - began >= 0.2 + 0.4 + 0.8
    site.takes["files.activate fails"] = False
    thread.join()
    assert site.held["file2"] == {"files": 4}
    assert failover._turns().failed["files"][0] == 0
    site.noted()
    assert [line["result"] for line in site.log[:4]] == ["failed"] * 4
    assert "done" in [line["result"] for line in site.log]


def test_a_record_that_changed_meanwhile_is_looked_at_again(site):
    site.me, site.lost = "lb1", ("file1",)
    failover = runner(site)
    failover.react("cluster/tend", {})
    site.commands.clear()
    site.held["file2"] = {}
    site.records["files"] = {**site.records["files"], "holder": "file1", "mirrored": True}
    site.revision += 5
    site.revisions["files"] = site.revision
    failover.react("x", {})
    assert site.records["files"]["holder"] == "file2"
    assert len(activated(site)) == 1


def test_a_director_that_missed_its_only_command_gives_up_by_its_own_master(site):
    """Nobody hears its heartbeats, so nobody tells it again."""
    first = site.me
    site.records["director"].update(holder=next(iter({"lb1", "lb2"} - {first})), epoch=9)
    site.held[first] = {"director": 3}
    failover = runner(site)
    failover.react("cluster/tend", {})
    assert ("deactivate", first, 9, None) in site.commands
    assert "director" not in site.held[first]
    site.commands.clear()
    failover.react("cluster/tend", {})
    assert not [command for command in site.commands if command[:2] == ("deactivate", first)]


def test_an_unreachable_arbiter_is_told_once(site):
    site.me, site.unreachable = "lb1", True
    failover = runner(site)
    for _ in range(3):
        failover.react("cluster/tend", {})
    (line,) = site.noted()
    assert (line["result"], line["steps"]) == ("nothing", [])
    assert {entry["condition"] for entry in line["rejected"]} == {"ARBITER_UNREACHABLE"}
    assert line["evidence"]["problems"]["files"] == "no arbiter answered"


def test_an_old_view_of_heartbeatd_says_nothing(site):
    site.lost, site.stale = SERVER1, 4
    runner(site).react("x", {})
    assert site.commands == []


def test_a_server_out_on_purpose_is_left_alone(site):
    site.lost = SERVER1
    site.marks["absent"] = {"server1": {"since": 1, "why": None}}
    runner(site).react("x", {})
    assert site.commands == []


@pytest.mark.parametrize("word", ["waiting", "frozen"])
def test_a_holder_that_waits_for_its_lost_mirror_goes_on_alone_by_a_swap(site, word):
    site.me, site.lost = "lb1", ("file2",)
    site.health["file1"] = {f"files.{word}": True, "files.service": True}
    runner(site).react("x", {})
    assert activated(site) == [("file1", 3, site.revisions["files"])]
    assert site.records["files"]["mirrored"] is False


def test_observers_that_disagree_are_looked_at_again_until_they_agree(site, monkeypatch):
    site.me = "lb1"
    failover = runner(site)
    site.lost = ("file1",)
    whole = site.heartbeat_view

    def heard():
        found = whole()
        if time.monotonic() < began + 0.5:
            found["peers"]["witness"]["silent"] = {}
        return found

    began = time.monotonic()
    monkeypatch.setattr(site, "heartbeat_view", heard)
    failover.react("x", {})
    assert activated(site)
    assert time.monotonic() - began > 0.5


def test_a_holder_that_is_late_is_looked_at_without_the_arbiter_until_it_is_lost(site):
    """One event, and no other one comes through: the reactor may be busy."""
    site.move_director()
    failover, event = runner(site), {"time": time.time(), "peer": "file1"}
    failover.react("cluster/tend", {"time": time.time()})
    asked, site.late = site.asked, ("file1",)
    reaction = threading.Thread(target=failover.react, args=("cluster/heartbeat/late/x", event))
    reaction.start()
    time.sleep(1)
    assert reaction.is_alive() and site.ready
    assert (site.asked, site.commands) == (asked, [])
    site.late, site.lost = (), ("file1",)
    site.until(lambda: activated(site))
    reaction.join(20)
    assert not reaction.is_alive()


def test_a_reaction_that_breaks_off_says_so_and_the_next_one_works(site, monkeypatch):
    site.me, site.lost = "lb1", ("file1",)
    failover = runner(site)
    with monkeypatch.context() as context:
        context.setattr(failover, "look", lambda age=0: 1 / 0)
        assert failover.react("x", {}) == "broke off: division by zero"
    failover.react("x", {})
    assert activated(site)


def test_another_run_on_the_same_vm_is_left_to_it(site):
    site.me, site.lost = "lb1", ("file1",)
    failover = runner(site)
    with failover._hands().lock("files") as mine:
        assert mine
        decision = load("_utils/decide.py").decide(failover.look())
        line = failover.carry_out(decision, {"command": "ha.switch files file2"})
    assert (line["result"], site.commands) == ("failed", [])
    assert line["steps"][0]["error"] == "another run is at work on it"
    line = failover.carry_out(decision, {"command": "ha.switch files file2"})
    assert line["result"] == "done"


def test_the_first_tend_warms_up_what_a_failover_needs(site):
    failover = runner(site)
    failover.react("cluster/tend", {})
    failover.react("cluster/tend", {})
    asked = [(vms, function) for vms, function, _ in site.sent]
    assert sorted(asked) == [
        (("db1",), "database.status"), (("db2",), "database.status"),
        (("file1",), "files.status"), (("file2",), "files.status"),
    ]


def test_a_balancer_that_has_nothing_to_do_sees_once_a_minute_that_etcd_is_led_elsewhere(site):
    failover, asked = runner(site), []
    site.arbiter_yield_lead = lambda: asked.append(True)
    for tag in ("cluster/heartbeat/late/file1", "cluster/tend", "cluster/tend"):
        failover.react(tag, {})
    assert asked == [True]


def test_a_lead_that_comes_back_is_handed_over_less_and_less_often(site):
    failover, pauses = runner(site), []
    failover._minion()
    for given in (True, True, False, True):
        site.arbiter_yield_lead = lambda given=given: given
        failover._state.lead = float("-inf"), failover._state.lead[1]
        failover._yield_lead()
        pauses.append(failover._state.lead[1])
    assert pauses == [120, 240, 60, 120]


def test_the_reactor_gets_to_the_failover_by_ha_react():
    asked = []
    ha = load("_runners/ha.py", salt={"failover.react": lambda *args: asked.append(args)})
    ha.react(tag="cluster/tend", data={"time": 1})
    assert asked == [("cluster/tend", {"time": 1})]


def test_a_failover_that_cannot_begin_is_begun_by_the_next_event(site, monkeypatch):
    site.lost = ("file1",)
    failover, thread = runner(site), unittest.mock.Mock(side_effect=RuntimeError("no thread"))
    monkeypatch.setattr(failover, "log", unittest.mock.Mock())
    start = failover._thread
    failover._thread = thread
    assert failover.react("x", {}) == "broke off: no thread"
    failover._thread = start
    failover.react("x", {})
    assert site.records["files"]["holder"] == "file2"


def test_without_the_marks_nothing_is_known(site):
    """A server that is out on purpose would be taken for one that is not."""
    def silent():
        raise RuntimeError("the marks are damaged")

    site.marks_read, site.lost = silent, SERVER1
    failover = runner(site)
    view = failover.look()
    assert set(view["records"].values()) == {None}
    failover.react("x", {})
    assert site.commands == []
