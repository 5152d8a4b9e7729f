"""Jobs end at the answer, at the deadline, or when the VM is lost; whichever comes first."""

import contextlib
import queue
import threading
import time
import unittest.mock

import pytest
from salt.exceptions import PublishError

from tests.loading import load

module = load("_utils/jobs.py")
module.log = unittest.mock.Mock()  # unconfigured, Salt's logging keeps records until Python exits


class Bus:
    """The master's event bus, and a client that publishes to VMs that answer at once."""

    def __init__(self, mopts=None):
        self.events, self.published, self.silent, self.closed = queue.Queue(), [], False, False
        self.answer = {"return": {"active": True}, "success": True, "retcode": 0}
        self.running = {}

    def pub(self, vms, function, argument, tgt_type, jid, timeout):
        assert tgt_type == "list"
        self.published.append((vms, function, argument))
        if function == "saltutil.find_job":
            self.events.put({"tag": "x", "data": {"jid": jid, "return": self.running}})
        elif not self.silent:
            for data in ({"minions": vms}, {"jid": "another", "return": 1}):
                self.events.put({"tag": "salt/job/x", "data": data})
            data = {"jid": jid, "id": vms[0], **self.answer}
            self.events.put({"tag": f"salt/job/{jid}/ret/{vms[0]}", "data": data})

    def listening(self, node, sock_dir, opts, listen):
        return contextlib.closing(self)

    def get_event(self, wait, tag, full):
        with contextlib.suppress(queue.Empty):
            return self.events.get(timeout=min(wait, 0.05))

    def close(self):
        self.closed = True


@pytest.fixture
def bus(monkeypatch):
    bus = Bus()
    monkeypatch.setattr(module.salt.client, "LocalClient", lambda mopts: bus)
    monkeypatch.setattr(module.salt.utils.event, "get_event", bus.listening)
    return bus


@pytest.fixture
def jobs(bus):
    return module.client({"sock_dir": "/x", "utc_jid": True})


def test_the_answer_is_returned_and_the_arguments_are_named(jobs, bus):
    answer = jobs.ask("file2", "files.activate", {"epoch": 4}, time.time() + 20)
    assert answer == ({"active": True}, None)
    assert bus.published == [(["file2"], "files.activate", [{"epoch": 4, "__kwarg__": True}])]
    assert jobs.waiting == {}


@pytest.mark.parametrize("changes", [
    {"success": False, "return": "Traceback\nERROR: no disk"},
    {"retcode": 1, "return": "Traceback\nERROR: no disk"},
])
def test_a_failed_function_is_a_problem_in_its_last_line(jobs, bus, changes):
    bus.answer = {**bus.answer, **changes}
    assert jobs.ask("file2", "files.activate", {}, time.time() + 20) == (None, "ERROR: no disk")


def test_silence_ends_at_the_deadline(jobs, bus):
    bus.silent = True
    began = time.monotonic()
    assert jobs.ask("file2", "files.activate", {}, time.time() + 0.4) == (None, None)
    assert time.monotonic() - began >= 0.4
    assert jobs.ask("file2", "files.activate", {}, time.time() - 5) == (None, None)


def test_silence_ends_when_the_vm_is_lost(jobs, bus):
    bus.silent = True
    began = time.monotonic()
    answer = jobs.ask(
        "file2", "files.activate", {}, time.time() + 600, lambda: time.monotonic() > began + 0.3
    )
    assert answer == (None, None)


def test_a_job_that_never_reached_the_vm_is_sent_again(jobs, bus, monkeypatch):
    """A minion that boots, or thaws after its connection ended, gets nothing sent meanwhile."""
    monkeypatch.setattr(module, "REACHED", 0.1)
    bus.silent, question = True, bus.pub

    def heard_from_now_on(vms, function, *words, **names):
        question(vms, function, *words, **names)
        bus.silent = bus.silent and function != "saltutil.find_job"

    monkeypatch.setattr(bus, "pub", heard_from_now_on)
    assert jobs.ask("db2", "database.follow", {}, time.time() + 600) == ({"active": True}, None)
    functions = [function for _, function, _ in bus.published]
    assert (functions[:2], functions[-1]) == (
        ["database.follow", "saltutil.find_job"], "database.follow")  # fmt: skip
    assert functions.count("database.follow") == 2
    assert jobs.waiting == {}


def test_an_answer_that_is_overtaken_is_taken_all_the_same(jobs, bus, monkeypatch):
    """The question found the job done, and its answer was still on the way."""
    monkeypatch.setattr(module, "REACHED", 0.1)
    bus.silent, first, publish = True, [], bus.pub

    def late(vms, function, *words, jid, **names):
        publish(vms, function, *words, jid=jid, **names)
        first.append(jid)
        if [name for _, name, _ in bus.published].count("files.activate") == 2:
            bus.events.put({"tag": "x", "data": {"jid": first[0], **bus.answer}})

    monkeypatch.setattr(bus, "pub", late)
    assert jobs.ask("file2", "files.activate", {}, time.time() + 600) == ({"active": True}, None)


def test_a_job_that_the_vm_works_at_is_waited_for(jobs, bus, monkeypatch):
    monkeypatch.setattr(module, "REACHED", 0.1)
    bus.silent, bus.running = True, {"fun": "database.follow"}
    began = time.monotonic()
    assert jobs.ask("db2", "database.follow", {}, time.time() + 1.5) == (None, None)
    assert time.monotonic() - began >= 1.5
    assert jobs.waiting == {}


def test_a_dead_vm_holds_up_nobody_else(jobs, bus):
    bus.silent = True
    dead = threading.Thread(
        target=jobs.ask, args=("db1", "database.deactivate", {}, time.time() + 2), daemon=True
    )
    dead.start()
    while not bus.published:
        time.sleep(0.01)
    bus.silent = False
    assert jobs.ask("db2", "database.activate", {}, time.time() + 20)[0] == {"active": True}
    assert dead.is_alive()


def test_what_waits_behind_is_told_after_the_job_is_out(jobs, bus):
    seen = []
    deadline = time.time() + 9
    jobs.ask("a", "files.activate", {}, deadline, None, lambda: seen.extend(bus.published))
    assert len(seen) == 1


def test_a_job_that_cannot_be_published_raises_and_leaves_nothing(jobs, bus, monkeypatch):
    def broken(*args, **kwargs):
        raise PublishError("the master is gone")

    monkeypatch.setattr(bus, "pub", broken)
    with pytest.raises(PublishError):
        jobs.ask("a", "files.activate", {}, time.time() + 9)
    assert jobs.waiting == {}


def test_an_idle_connection_is_closed_and_the_next_job_opens_another(jobs, bus, monkeypatch):
    monkeypatch.setattr(module, "IDLE", 0.1)
    for _ in range(2):
        bus.closed = False
        assert jobs.ask("a", "files.activate", {}, time.time() + 20)[1] is None
        end = time.monotonic() + 20
        while jobs.ready is not None or not bus.closed:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_connection_that_breaks_off_costs_the_job_and_not_the_next(jobs, bus, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(bus, "get_event", lambda **_: 1 / 0)
        assert jobs.ask("a", "files.activate", {}, time.time() + 0.5) == (None, None)
    assert jobs.ask("a", "files.activate", {}, time.time() + 20)[0] == {"active": True}
