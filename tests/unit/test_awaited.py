"""Waiting for a named condition: it ends, and says what it waited for."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import load


def state(function, test=False):
    module = load("_states/awaited.py", salt={"mod.fun": function}, opts={"test": test})
    module.INTERVAL = 0.01
    return module


def answers(*values):
    """Return a function that gives one value after the other, the last for ever."""
    left = list(values)

    def function(*_args, **_kwargs):
        value = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(value, Exception):
            raise value
        return value

    return function


def test_a_true_condition_needs_no_waiting():
    ret = state(answers(True)).true("the site answers", "mod.fun")
    assert ret["result"] is True
    assert ret["changes"] == {}
    assert "the site answers" in ret["comment"]


def test_an_error_means_not_yet():
    function = answers(CommandExecutionError("refused"), False, True)
    assert state(function).true("the site answers", "mod.fun", deadline=5)["result"] is True


@pytest.mark.parametrize("value", ["True", 1, None, False, {"ok": True}])
def test_only_true_is_true(value):
    ret = state(answers(value)).true("the site answers", "mod.fun", deadline=0.05)
    assert ret["result"] is False
    assert "in vain for: the site answers" in ret["comment"]
    assert str(value) in ret["comment"]


def test_the_last_error_stands_in_the_failure():
    function = answers(CommandExecutionError("connection refused by 192.168.10.8"))
    ret = state(function).true("the database", "mod.fun", deadline=0.05)
    assert "connection refused by 192.168.10.8" in ret["comment"]


def test_arguments_are_passed_on():
    seen = []

    def function(*args, **kwargs):
        seen.append((args, kwargs))
        return True

    state(function).true("x", "mod.fun", args=["a", 1], kwargs={"timeout": 2})
    assert seen == [(("a", 1), {"timeout": 2})]


def test_a_missing_function_fails_at_once():
    ret = state(answers(True)).true("x", "mod.other", deadline=60)
    assert ret["result"] is False
    assert "no function mod.other" in ret["comment"]


@pytest.mark.parametrize(("value", "result"), [(True, True), (False, None)])
def test_a_test_run_looks_once_and_waits_for_nothing(value, result):
    ret = state(answers(value), test=True).true("x", "mod.fun", deadline=60)
    assert ret["result"] is result
