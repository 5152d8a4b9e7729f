"""Other VMs are asked by jobs; what their heartbeats tell is believed without the answer."""

import time
import types

import pytest

from tests.loading import load

module = load("_utils/hands.py")
DEADLINE = 60


class Jobs:
    """Asks a VM whose answer never comes, as `_utils/jobs.py` does."""

    def ask(self, vm, function, arguments, deadline, lost, published):
        published()
        while time.time() < deadline:
            if lost():
                return None, None
            time.sleep(0.01)
        return None, None


def hands(tmp_path, heard):
    """Hands of lb1 with what the heartbeats module answers, name -> function or value."""
    def attempt(function, *words):
        said = heard[function]
        return (said(*words) if callable(said) else said), None

    return module.of(types.SimpleNamespace(me="lb1", attempt=attempt), Jobs(), str(tmp_path))


def ask(hands, function, seconds=DEADLINE):
    began, arguments = time.time(), {"epoch": 4, "deadline": time.time() + seconds}
    answer = hands.ask("file1", function, arguments, lambda: None)
    assert time.time() - began < max(seconds, DEADLINE / 2)
    return answer


def test_a_vm_whose_heartbeats_say_that_it_gave_up_is_not_waited_for(tmp_path):
    asked, looks = [], iter([False, False, True, True])

    def gave_up(*words):
        asked.append(words)
        return next(looks)

    heard = {"heartbeat.unreachable": False, "heartbeat.gave_up": gave_up}
    answer, problem = ask(hands(tmp_path, heard), "files.deactivate")
    assert (answer["active"], problem) == (False, None)
    assert "heartbeats" in answer["reason"]
    assert set(asked) == {("file1", "files", 4)}


@pytest.mark.parametrize("function", ["files.activate", "files.mirror", "files.follow"])
def test_what_they_say_is_no_answer_to_anything_else(tmp_path, function):
    heard = {"heartbeat.unreachable": False, "heartbeat.gave_up": True}
    assert ask(hands(tmp_path, heard), function, 0.3) == (None, None)


def test_a_lost_vm_has_given_no_answer(tmp_path):
    heard = {"heartbeat.unreachable": True, "heartbeat.gave_up": False}
    assert ask(hands(tmp_path, heard), "files.deactivate") == (None, None)
