"""Each resource's steps: in order, with the swap's permission, until one fails."""

import contextlib
import threading
import time
import unittest.mock

import pytest

from tests.loading import load

steps = load("_utils/steps.py")
steps.log = unittest.mock.Mock()  # unconfigured, Salt's logging keeps records until Python exits

RECORD = {"holder": "file1", "epoch": 3, "mirrored": True, "founding": False}
SWAP = {"do": "swap", "transition": "promote", "arguments": {"holder": "file2"}, "revision": 7,
        "record": RECORD, "reason": "file1 is silent"}  # fmt: skip
ACTIVATE = {"do": "activate", "vm": "file2", "epoch": 4, "deadline": 99, "alone": True}
PUT_OFF = {"do": "deactivate", "vm": "file1", "epoch": 4, "deadline": 99, "wait": False}


class Hands:
    """Notes what is done, in order."""

    me = "lb2"

    def __init__(self, **answers):
        self.done, self.answers, self.free = [], answers, True

    def attempt(self, function, *args, **kwargs):
        self.done.append((function, *args, kwargs))
        swapped = {"swapped": True, "revision": 8, "record": {"epoch": 4}}
        return self.answers.get(function, (swapped, None))

    def ask(self, vm, function, arguments, published):
        self.done.append((vm, function, arguments))
        published()
        return self.answers.get(function, ({"active": True, "seconds": {"mount": 0.3}}, None))

    def post(self, vm, function, arguments):
        self.done.append(("post", vm, function))
        return self.answers.get("post")

    @contextlib.contextmanager
    def lock(self, resource):
        yield self.free


def run(*taken, hands=None):
    hands, told, ended = hands or Hands(), [], []
    steps.carrier(hands)({"files": list(taken)}, told, lambda *entry: ended.append(entry))
    told.sort(key=lambda step: step["result"] == "not waited for")
    ((resource, success),) = ended
    assert resource == "files"
    return success, hands.done, told


def test_the_swaps_revision_is_the_permission_and_the_old_holder_is_told_last():
    success, done, told = run(SWAP, PUT_OFF, ACTIVATE)
    assert success
    assert done == [
        ("arbiter.swap", "files", "promote", {"revision": 7, "record": RECORD, "holder": "file2"}),
        ("file2", "files.activate", {"epoch": 4, "deadline": 99, "alone": 8}),
        ("post", "file1", "files.deactivate"),
    ]
    assert [(step["do"], step["vm"], step["result"]) for step in told] == [
        ("swap", "file2", "ok"), ("activate", "file2", "ok"),
        ("deactivate", "file1", "not waited for"),
    ]
    assert told[0]["transition"] == "promote"
    assert told[1]["answer"] == {"seconds": {"mount": 0.3}}


LEAVE = {**PUT_OFF, "wait": True, "beside": True}


def test_a_step_beside_the_next_one_is_waited_for_at_the_end():
    hands, gate, plain = Hands(), threading.Event(), Hands.ask

    def ask(vm, function, arguments, published):
        if function == "files.deactivate":
            assert gate.wait(20), "the next step did not begin meanwhile"
        gate.set()
        return plain(hands, vm, function, arguments, published)

    hands.ask = ask
    success, done, told = run(SWAP, LEAVE, {**ACTIVATE, "await_peer": True}, hands=hands)
    assert success
    given = {"epoch": 4, "deadline": 99}
    assert sorted(done[1:], key=str) == [
        ("file1", "files.deactivate", given),
        ("file2", "files.activate", {**given, "alone": 8, "await_peer": True}),
    ]
    assert {step["result"] for step in told} == {"ok"}


@pytest.mark.parametrize("broken", ["files.deactivate", "files.activate"])
def test_of_two_steps_beside_each_other_both_must_succeed(broken):
    success, done, told = run(SWAP, LEAVE, ACTIVATE, hands=Hands(**{broken: (None, "no disk")}))
    assert not success
    assert len(done) == len(told) == 3
    assert [step["do"] for step in told if step["result"] == "failed"] == [broken[6:]]


def test_without_the_permission_of_a_swap_nobody_goes_on_alone():
    success, done, told = run(ACTIVATE)
    assert (success, done) == (False, [])
    assert "no swap of this list" in told[0]["error"]


def test_the_word_of_an_operator_who_gives_writes_up_reaches_the_vm():
    _, done, _ = run(SWAP, {**ACTIVATE, "lose_writes": True})
    assert done[1] == (
        "file2", "files.activate", {"epoch": 4, "deadline": 99, "alone": 8, "lose_writes": True}
    )  # fmt: skip


def test_a_mirrored_activation_needs_no_permission():
    _, done, _ = run({**ACTIVATE, "alone": False})
    assert done[0][2]["alone"] is None


@pytest.mark.parametrize(("answer", "result", "error"), [
    (({"swapped": False, "reason": "it changed", "revision": 9, "record": {}}, None), "refused",
     "it changed"),
    ((None, "no arbiter answered"), "failed", "no arbiter answered"),
])
def test_nobody_is_commanded_without_the_swap(answer, result, error):
    success, done, told = run(SWAP, PUT_OFF, ACTIVATE, hands=Hands(**{"arbiter.swap": answer}))
    assert (success, len(done), len(told)) == (False, 1, 1)
    assert (told[0]["result"], told[0]["error"]) == (result, error)


@pytest.mark.parametrize(("answer", "silent", "error"), [
    ((None, "no disk"), None, "no disk"),
    ((None, None), True, "file2 gave no answer in time"),
    (({"active": None, "reason": "no address"}, None), None, "it does not serve: no address"),
    (("what?", None), None, "it does not serve: what?"),
])
def test_a_failed_step_ends_the_list_and_the_old_holder_is_told_all_the_same(answer, silent, error):
    hands = Hands(**{"files.activate": answer})
    success, done, told = run(SWAP, PUT_OFF, ACTIVATE, {**ACTIVATE, "vm": "x"}, hands=hands)
    assert not success
    assert done[-1] == ("post", "file1", "files.deactivate")
    failed = told[1]
    assert (failed["result"], failed["error"], failed.get("silent")) == ("failed", error, silent)


def test_the_own_vm_is_moved_without_a_job():
    active = ({"active": True}, None)
    hands = Hands(**{"files.activate": active})
    success, done, _ = run({**ACTIVATE, "vm": "lb2", "alone": False}, hands=hands)
    assert success
    assert done == [("files.activate", {"epoch": 4, "deadline": 99, "alone": None})]


def test_each_command_gets_what_it_needs():
    common = {"vm": "file1", "epoch": 4, "deadline": 99, "reason": "x"}
    _, done, _ = run(
        {"do": "mirror", "revision": 5, **common}, {"do": "follow", "source": "file2", **common},
        {"do": "restart", **common}, {"do": "deactivate", "wait": True, **common},
    )
    given = {"epoch": 4, "deadline": 99}
    assert done == [
        ("file1", "files.mirror", {**given, "revision": 5}),
        ("file1", "files.follow", {**given, "source": "file2"}),
        ("file1", "files.restart", given), ("file1", "files.deactivate", given),
    ]


def test_a_verified_power_off_comes_before_the_swap():
    fence = {"do": "fence", "vm": "file1", "server": "server1", "reason": "x", "confirmed": False}
    success, done, told = run(fence, SWAP)
    assert success
    assert done[0] == ("fencing.off", "file1", {"silent": True, "confirmed": False})
    hands = Hands(**{"fencing.off": (None, "the device lies")})
    success, done, told = run(fence, SWAP, hands=hands)
    assert (success, len(done), told[0]["error"]) == (False, 1, "the device lies")


def test_what_comes_after_a_slow_power_off_gets_its_time():
    """Its deadline counts from the decision; refused for that, the first try would be in vain."""
    fence = {"do": "fence", "vm": "file1", "server": "server1", "reason": "x", "confirmed": False}
    hands = Hands()
    quick, hands.attempt = hands.attempt, lambda *words, **more: (
        time.sleep(0.2 * (words[0] == "fencing.off")), quick(*words, **more))[1]
    assert run(fence, SWAP, ACTIVATE, hands=hands)[0]
    assert 99.2 <= hands.done[-1][2]["deadline"] < 99.2 + 5


@pytest.mark.parametrize(("slow", "least"), [(5, 99.2), (0.1, 99)])
def test_what_comes_after_a_slow_swap_gets_its_time_unless_the_master_froze(
    slow, least, monkeypatch
):
    """As when the other balancer is silent for two seconds, and a director has two to give up."""
    monkeypatch.setattr(steps, "SLOW", slow)
    hands = Hands()
    quick, hands.attempt = hands.attempt, lambda *words, **more: (
        time.sleep(0.2 * (words[0] == "arbiter.swap")), quick(*words, **more))[1]
    assert run(SWAP, ACTIVATE, hands=hands)[0]
    assert least <= hands.done[-1][2]["deadline"] < least + (5 if least > 99 else 0.1)


def test_a_resource_in_other_hands_is_left_alone():
    hands = Hands()
    hands.free = False
    success, done, told = run(SWAP, hands=hands)
    assert (success, done) == (False, [])
    assert (told[0]["result"], told[0]["error"]) == ("refused", "another run is at work on it")


def test_whatever_breaks_ends_this_list_with_its_reason():
    hands = Hands()
    hands.ask = None
    success, _, told = run(SWAP, ACTIVATE, hands=hands)
    assert not success
    assert (told[-1]["result"], told[-1]["do"]) == ("failed", "activate")
    assert "not callable" in told[-1]["error"]


def test_what_nobody_waits_for_comes_after_the_commands_of_all_resources():
    hands, gate = Hands(), threading.Event()

    def ask(vm, function, arguments, published):
        if function == "files.activate":
            gate.wait(1)  # its swap took longer
        hands.done.append((vm, function, arguments))
        published()
        gate.wait(20)
        return {"active": True}, None

    hands.ask = ask
    lists = {"files": [SWAP, PUT_OFF, ACTIVATE], "database": [SWAP, PUT_OFF, ACTIVATE]}
    thread = threading.Thread(target=steps.carrier(hands), args=(lists, [], lambda *_: None))
    thread.start()
    end = time.monotonic() + 20
    while sum(entry[0] == "post" for entry in hands.done) < 2:  # though no answer has come yet
        assert time.monotonic() < end
        time.sleep(0.01)
    gate.set()
    thread.join()
    kinds = [entry[0] for entry in hands.done]
    assert kinds[-2:] == ["post", "post"]
    assert kinds.count("post") == 2


def test_a_list_for_which_there_is_no_thread_is_refused_and_holds_up_no_other(monkeypatch):
    hands, told, ended, start = Hands(), [], [], threading.Thread.start

    def starting(thread):
        if thread._args[0] == "files":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(steps.threading.Thread, "start", starting)
    lists = {"files": [SWAP, PUT_OFF], "database": [SWAP, PUT_OFF, ACTIVATE]}
    steps.carrier(hands)(lists, told, lambda *entry: ended.append(entry))
    assert sorted(ended) == [("database", True), ("files", False)]
    (failed,) = [step for step in told if step["resource"] == "files"]
    assert (failed["result"], failed["error"]) == ("refused", "can't start new thread")
    assert hands.done[-1] == ("post", "file1", "database.deactivate")
