"""I4: any number of state.apply, at any moment, is harmless; the second one changes nothing."""

import time

import pytest


def changed(answers):
    """Return {minion: [state]} of what a state run changed or failed to do."""
    return {
        minion: bad
        for minion, states in answers.items()
        if (bad := [key for key, state in states.items()
                    if state["changes"] or state["result"] is not True])
    }


@pytest.mark.slow  # the one under load has to change nothing, too
def test_a_second_state_apply_changes_nothing(cluster):
    started = time.monotonic()
    answers = cluster.state_apply()
    took = time.monotonic() - started
    assert set(answers) == set(cluster.lab.machines)
    assert changed(answers) == {}
    print(f"second state.apply of {len(answers)} VMs: {took:.0f} s")


def test_state_apply_under_client_load_fails_no_request_and_moves_no_role(cluster, tmp_path):
    before = cluster.holders(), cluster.records()
    with cluster.students(tmp_path) as verdict:
        answers = cluster.state_apply()
    assert changed(answers) == {}
    assert verdict["ok"] and verdict["acknowledged"] > 0
    assert verdict["failed"] == 0
    assert (cluster.holders(), cluster.records()) == before
