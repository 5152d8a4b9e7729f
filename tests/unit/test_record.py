"""The record's rules, and a search for an interleaving that would let two VMs acknowledge."""

import collections
import itertools
import typing

import pytest

from tests.loading import load

record = load("_utils/record.py")
founding = load("_utils/founding.py")

SERVING = {"holder": "a", "epoch": 3, "mirrored": True, "founding": False}


def test_a_new_record_is_founding_and_not_mirrored():
    assert record.create("a") == {
        "holder": "a", "epoch": 1, "mirrored": False, "founding": True
    }


def test_promotion_takes_a_mirrored_standby_one_epoch_further():
    assert record.promote(SERVING, "b") == {
        "holder": "b", "epoch": 4, "mirrored": False, "founding": False
    }


def test_promotion_of_a_resource_without_data_stays_ready_for_the_next():
    assert record.promote(SERVING, "b", data=False)["mirrored"] is True


@pytest.mark.parametrize(("change", "why"), [
    ({"mirrored": False}, "lacks writes"),
    ({"founding": True}, "still founding"),
    ({"holder": "b"}, "already holds"),
])
def test_promotion_is_refused_with_its_reason(change, why):
    with pytest.raises(record.Refused, match=why):
        record.promote({**SERVING, **change}, "b")


@pytest.mark.parametrize("transition", ["serve_alone", "mirrored", "founded"])
@pytest.mark.parametrize(("holder", "epoch"), [("b", 3), ("a", 2), ("a", 4)])
def test_only_the_holder_at_its_epoch_changes_the_record(transition, holder, epoch):
    with pytest.raises(record.Refused, match="holds epoch 3"):
        getattr(record, transition)(SERVING, holder, epoch)


@pytest.mark.parametrize("transition", ["serve_alone", "mirrored", "founded"])
@pytest.mark.parametrize("start", [SERVING, {**SERVING, "mirrored": False}])
def test_a_repeated_transition_of_the_holder_changes_nothing_more(transition, start):
    once = getattr(record, transition)(start, "a", 3)
    assert getattr(record, transition)(once, "a", 3) == once


def test_the_first_mirror_ends_the_founding():
    assert record.founded(record.create("a"), "a", 1) == {**SERVING, "epoch": 1}


def test_founding_without_a_peer_ends_unmirrored():
    assert record.founded(record.create("a"), "a", 1, mirror=False)["mirrored"] is False


def test_a_resource_without_data_never_serves_alone():
    answer = record.apply("director", SERVING, "serve_alone", {"holder": "a", "epoch": 3})
    assert "no mirror to lose" in answer["refused"]


def test_an_unknown_transition_names_the_known_ones():
    with pytest.raises(ValueError, match="founded, mirrored, promote, serve_alone"):
        record.apply("files", SERVING, "steal", {})


@pytest.mark.parametrize("bad", [
    None, [], {}, {**SERVING, "epoch": True}, {**SERVING, "epoch": 0}, {**SERVING, "holder": ""},
    {**SERVING, "mirrored": "yes"}, {**SERVING, "epoch": "3"},
])
def test_a_damaged_record_is_named(bad):
    with pytest.raises(ValueError, match="record"):
        record.check(bad)


OWN = {"promote": {}, "abandon": {"lose_writes_of": "a"}}


def test_every_step_from_every_small_record_keeps_the_invariants():
    starts = [
        {"holder": h, "epoch": e, "mirrored": m, "founding": f}
        for h, e, m, f in itertools.product("ab", (1, 2), (False, True), (False, True))
    ]
    for resource, start, name in itertools.product(
        ("files", "director"), starts, record.TRANSITIONS
    ):
        if record.has_data(resource) and start["founding"] and start["mirrored"]:
            continue  # no transition leads there: see the assertion below
        for who, epoch in itertools.product("ab", (1, 2, 3)):
            own = OWN.get(name, {"epoch": epoch})
            answer = record.apply(resource, start, name, {"holder": who, **own})
            assert ("record" in answer) != ("refused" in answer)
            if "record" in answer and record.has_data(resource):
                assert not (answer["record"]["founding"] and answer["record"]["mirrored"])


OTHER = {"a": "b", "b": "a"}
WRITES, EPOCHS = 2, 3


class Model(typing.NamedTuple):
    """
    Two VMs and one record, small enough to visit every state there is. A VM that is activated
    may acknowledge alone if the record is not mirrored then; commands are executed in time or
    refused (`claim.take`), so it is the present record that counts.

    A swap is one step, because the arbiter judges it on the record it replaces; its reply may be
    lost. Mirroring is two: first synchronous again and everything copied (``verified``), then the
    swap, which is bound to the revision read before the first.
    """

    record: tuple  # holder, epoch, mirrored, founding
    active: tuple  # of a and of b: the epoch it serves in, 0 passive
    claimed: tuple  # the highest epoch it has heard of
    alone: tuple  # may acknowledge without the other
    verified: tuple  # the mirror was found complete at the record's present revision
    data: tuple  # the writes on its disk
    acknowledged: frozenset
    writes: int

    def put(self, field, vm, value):
        values = list(getattr(self, field))
        values["ab".index(vm)] = value
        return self._replace(**{field: tuple(values)})

    def of(self, field, vm):
        return getattr(self, field)["ab".index(vm)]

    def follows(self, standby, holder):
        """A passive VM follows whoever serves in the highest epoch it has heard of."""
        return not self.of("active", standby) and (
            self.of("claimed", standby) <= self.of("active", holder)
        )

    def swap(self, transition, **arguments):
        """Return the state after a granted swap (which voids every verification), or None."""
        old = dict(zip(record.KEYS, self.record, strict=True))
        answer = record.apply("files", old, transition, arguments)
        if "refused" in answer:
            return None
        new = tuple(answer["record"][key] for key in record.KEYS)
        return self._replace(record=new, verified=(False, False))


def begin(first):
    one = frozenset()
    return Model(
        tuple(first[key] for key in record.KEYS), (1, 0), (1, 1), (False, False), (False, False),
        (one, one), one, 0,
    )


def steps(state):
    """Yield (name, next state) for everything that can happen next."""
    for vm in "ab":
        yield from swaps(state, vm)
        yield from events(state, vm)


def swaps(state, vm):
    epoch = state.of("active", vm)
    if state.record[1] < EPOCHS and (after := state.swap("promote", holder=vm)):
        yield f"promote {vm}", after
    if not epoch:
        return
    if after := state.swap("serve_alone", holder=vm, epoch=epoch):
        yield f"serve_alone {vm}, reply lost", after
        yield f"serve_alone {vm}", after.put("alone", vm, True)
    if state.of("verified", vm):
        for transition in ("mirrored", "founded"):
            if after := state.swap(transition, holder=vm, epoch=epoch):
                yield f"{transition} {vm}", after


def events(state, vm):
    epoch, peer = state.of("active", vm), OTHER[vm]
    yield f"{vm} steps down", state.put("active", vm, 0).put("alone", vm, False).put(
        "verified", vm, False
    )
    if state.record[0] == vm and not epoch and state.record[1] >= state.of("claimed", vm):
        now = state.put("active", vm, state.record[1]).put("claimed", vm, state.record[1])
        yield f"{vm} activates", now.put("alone", vm, not state.record[2])
    if epoch and state.follows(peer, vm):
        same = state.put("alone", vm, False).put("data", peer, state.of("data", vm))
        yield f"{vm} verifies its mirror", same.put("verified", vm, True)
    if epoch and state.writes < WRITES:
        yield from written(state, vm, peer)


def written(state, vm, peer):
    number = state.writes
    wrote = state.put("data", vm, state.of("data", vm) | {number})._replace(writes=number + 1)
    yield f"{vm} writes unacknowledged", wrote
    acknowledged = wrote._replace(acknowledged=wrote.acknowledged | {number})
    if state.of("alone", vm):
        yield f"{vm} acknowledges alone", acknowledged
    if state.follows(peer, vm):
        yield f"{vm} acknowledges", acknowledged.put("data", peer, wrote.of("data", vm))


def violation(name, state):
    """Return what is wrong after a step, or None."""
    holder, _, mirrored, _ = state.record
    if "acknowledges" in name and state.of("active", OTHER[name[0]]) > state.of("active", name[0]):
        return "I1: acknowledged by a VM that somebody has replaced"
    if state.of("alone", holder) and mirrored:
        return "mirrored, and alone nevertheless"
    if mirrored and not state.of("data", OTHER[holder]) >= state.acknowledged:
        return "I2: the standby may be promoted and lacks a write"
    if not state.of("data", holder) >= state.acknowledged:
        return "I2: the holder lacks a write"
    return None


def explore(first):
    """Visit every reachable state; return their number and the first counter-example's steps."""
    start = begin(first)
    came_from = {start: None}
    queue = collections.deque([start])
    while queue:
        state = queue.popleft()
        for name, after in steps(state):
            wrong = violation(name, after)
            if wrong:
                return len(came_from), [*path(came_from, state), name, wrong]
            if after not in came_from:
                came_from[after] = (state, name)
                queue.append(after)
    return len(came_from), None


def path(came_from, state):
    names = []
    while came_from[state]:
        state, name = came_from[state]
        names.insert(0, name)
    return names


@pytest.mark.parametrize("first", [{**SERVING, "epoch": 1}, record.create("a")],
                         ids=["serving", "founding"])
def test_no_interleaving_lets_two_vms_acknowledge_or_loses_a_write(first):
    """I1 and I2 in every state that races, crashes, lost replies and late commands lead to."""
    visited, counter_example = explore(first)
    assert counter_example is None
    assert visited > 500


@pytest.mark.parametrize("broken", [
    {"promote": lambda old, holder, data: {
        **old, "holder": holder, "epoch": old["epoch"] + 1, "mirrored": False}},
    {"serve_alone": lambda old, holder, epoch, data: dict(old)},
    {"serve_alone": lambda old, holder, epoch, data: {**old, "mirrored": False}},
], ids=["promote unmirrored", "alone stays mirrored", "alone in any epoch"])
def test_the_search_finds_what_a_broken_rule_would_allow(broken, monkeypatch):
    """A search that finds nothing proves nothing unless it finds what is there."""
    for name, rule in broken.items():
        monkeypatch.setitem(record.TRANSITIONS, name, rule)
    monkeypatch.setattr(record, "check_invariants", lambda *_, **__: None)
    assert explore({**SERVING, "epoch": 1})[1] is not None


def test_the_holder_and_the_standby_never_both_win():
    """Both read the same record; in either order, the second swap is refused."""
    for first, second in itertools.permutations([
        ("promote", {"holder": "b"}), ("serve_alone", {"holder": "a", "epoch": 3})
    ]):
        after = record.apply("files", SERVING, *first)["record"]
        assert "refused" in record.apply("files", after, *second)


def test_nobody_but_the_founder_changes_a_founding_record():
    start = record.create("a")
    for name in record.TRANSITIONS:
        own = OWN.get(name, {"epoch": 1})
        assert "refused" in record.apply("files", start, name, {"holder": "b", **own})


RECORDS = [None] + [
    {"holder": holder, "epoch": epoch, "mirrored": mirrored, "founding": is_founding}
    for holder, epoch, mirrored, is_founding in itertools.product(
        "ab", (1, 2), (False, True), (False, True)
    )
]
EVERYTHING = list(itertools.product(
    RECORDS, "ab", "ab", (True, False, None), (0, 1, 2), (True, False, None, "absent"),
    (False, True), (False, True),
))


def planned(rec, me, founder, active, epoch, blank, follows, mirrors):
    status = {"active": active, "epoch": epoch}
    if blank != "absent":
        status["blank"] = blank
    elif follows:
        return None  # whoever can follow says whether it is blank
    return founding.plan(rec, me, founder, status, follows, mirrors)


@pytest.mark.parametrize("case", range(len(RECORDS)))
def test_every_combination_of_record_and_evidence_has_a_safe_answer(case):
    for combination in EVERYTHING:
        rec, me, founder, active, epoch, blank, follows, mirrors = combination
        answer = planned(*combination)
        if rec is not RECORDS[case] or answer is None:
            continue
        action, reason = answer
        assert action in (*founding.STEPS, "wait", "none", "refuse"), combination
        assert reason, combination
        if action == "create":
            assert rec is None and me == founder and active is False, combination
            assert blank in (True, "absent"), combination
        if action in ("activate", "mirror", "finish"):
            assert rec["founding"] and rec["holder"] == me and epoch >= 1, combination
        if action == "activate":
            assert active is False, combination
        if action == "mirror":
            assert active is True and mirrors, combination
        if action == "follow":
            assert rec["holder"] != me and follows, combination
            served = epoch >= (1 if me == founder else 2)
            assert blank is True or (blank is False and rec["founding"] and not served)
        if rec and not rec["founding"]:
            assert action in ("none", "follow", "wait"), combination


def test_a_recreated_founder_never_founds_again():
    rec = record.create("a")
    action, reason = founding.plan(
        rec, "a", "a", {"active": False, "epoch": 0, "blank": True}, True, True
    )
    assert action == "refuse"
    assert "re-created" in reason


def test_a_founder_with_data_does_not_found_over_a_lost_arbiter():
    status = {"active": False, "epoch": 1, "blank": False}
    assert founding.plan(None, "a", "a", status)[0] == "refuse"


def test_writes_are_given_up_only_by_naming_the_holder():
    alone = {"holder": "file1", "epoch": 4, "mirrored": False, "founding": False}
    named = {"holder": "file2", "lose_writes_of": "file1"}
    answer = record.apply("files", alone, "abandon", named)
    assert answer["record"] == {**alone, "holder": "file2", "epoch": 5}
    for old, arguments, why in (
        (alone, {**named, "lose_writes_of": "file2"}, "file1 holds epoch 4"),
        ({**alone, "founding": True}, named, "still founding"),
    ):
        assert why in record.apply("files", old, "abandon", arguments)["refused"]
    assert "promote its" in record.apply("director", alone, "abandon", named)["refused"]
    mirrored = record.apply("files", {**alone, "mirrored": True}, "abandon", named)
    assert mirrored == answer, "the new holder is not mirrored yet"
