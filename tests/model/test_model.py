"""
Every interleaving of crash, pause, thaw, partition, loss, delay and replay of commands, loss of
the arbiter and of masters, on two VMs of one resource. ``--model-epochs`` and ``--model-writes``
widen the bounds.
"""

import pytest

from tests.model import recovery
from tests.model.rules import Rules
from tests.model.search import search, story

SERVING = (0, 1, True, False)
CASES = {
    "data in service": (True, SERVING),
    "data from its founding": (True, None),
    "addresses in service": (False, SERVING),
    "addresses from their founding": (False, None),
}


@pytest.fixture(scope="module", params=CASES, ids=[name.replace(" ", "-") for name in CASES])
def searched(request):
    data, record = CASES[request.param]
    rules = Rules(data)
    option = request.config.getoption
    bound = (option("--model-epochs", 3), option("--model-writes", 2))
    found = search(rules, record, bound, keep=True)
    print(f"\n{request.param}: {found.states} states, {found.transitions} transitions, "
          f"at most {bound[0]} epochs and {bound[1]} writes outstanding")
    return rules, found


def test_no_interleaving_breaks_an_invariant(searched):
    """I1 two that acknowledge, I2 a lost write, I3 two balancers that know, I5 a late command."""
    rules, found = searched
    assert found.trace is None, "\n" + story(found.trace)
    assert found.states > (1000 if rules.data else 40)


@pytest.mark.parametrize("down", [None, 0, 1], ids=["nobody stays dead", "first", "second"])
def test_from_every_state_the_resource_comes_back_or_the_right_refusal_is_given(searched, down):
    rules, found = searched
    seen = set()
    for state in found.visited:
        bare = state._replace(sent=frozenset())
        if not state.record or state.record[3] or bare in seen:
            continue
        seen.add(bare)
        assert recovery.fault(bare, rules, down) is None, bare
    assert seen
