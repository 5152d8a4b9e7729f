"""The heartbeat's view: only a fresh word of a peer keeps it alive, and that is enough."""

import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.loading import ROOT

sys.path += [str(ROOT / "salt/heartbeat/files"), str(ROOT / "_utils")]
import heartbeat
import heartbeat_view as view
from heartbeat import Beat, Reason, Rejected

TIMING = view.Timing(0.25, 1, 2, 30)
WALL = 1_800_000_000_000


class Two:
    """a observes b over the links one and two; the test's hand moves the clock."""

    def __init__(self, links=("one", "two"), timing=TIMING):
        self.now, self.links = 100.0, links
        self.a = view.View("a", WALL + 5, timing, {"b": links}, self.now)
        self.b = view.View("b", WALL, timing, {"a": links}, self.now)
        self.b.peers["a"].start(self.a.incarnation)

    def hear(self, link="one", **change):
        beat = self.b.beat("a", link)._replace(**change)
        return self.take(beat)

    def take(self, beat, link=None):
        try:
            return self.a.receive(beat, link or beat.link, self.now, WALL)
        except Rejected as rejected:
            return rejected.reason

    def run(self, seconds, *links, step=0.25):
        """Let time pass; b is heard on the links at each step. Return a's changes."""
        changes, end = [], self.now + seconds
        while self.now < end - 1e-9:
            self.now += step
            for link in links:
                changes += self.hear(link)
            changes += self.a.judge(self.now)
        return changes

    def peer(self):
        return self.a.peers["b"]

    def states(self):
        return self.peer().state, *(track.state for track in self.peer().tracks.values())


def test_a_peer_is_unknown_before_it_is_heard_and_dead_after_initdead():
    two = Two()
    assert two.run(29.75) == []
    assert two.states() == ("unknown", "unknown", "unknown")
    assert {c.new for c in two.run(0.5)} == {"dead"}
    assert two.states() == ("dead", "dead", "dead")
    assert two.peer().losses == 1


def test_when_a_server_falls_silent_those_that_have_taken_a_resource_are_told_first():
    names = [f"web{number:02}" for number in range(60)]
    seen = view.View("a", WALL, TIMING, {name: ["one"] for name in [*names, "zz"]}, 0.0)
    seen.peers["zz"].claims = {"files": [3, heartbeat.SEEN]}
    seen.peers["web59"].claims = {"files": [3, heartbeat.HEARSAY]}
    for second in range(1, 32):
        seen.judge(float(second))
    seen.tell({}, {})
    told = seen.told[-1]
    assert list(told)[:2] == [heartbeat.NOBODY, "zz"]
    assert "web00" in told
    assert "web59" not in told


def test_silence_is_late_after_warntime_and_dead_after_deadtime():
    two = Two()
    two.run(5, "one", "two")
    assert two.states() == ("up", "up", "up")
    assert two.run(0.75) == []
    assert {c.new for c in two.run(0.25)} == {"late"}
    assert two.run(0.75) == []
    assert {c.new for c in two.run(0.25)} == {"dead"}
    assert {(c.old, c.new) for c in two.hear("two")} == {("dead", "up")}
    assert two.states() == ("up", "dead", "up")


def test_a_peer_silent_on_one_of_two_links_is_up():
    two = Two()
    two.run(3, "one", "two")
    assert {(c.link, c.new) for c in two.run(10, "two")} == {("one", "late"), ("one", "dead")}
    assert two.states() == ("up", "dead", "up")
    assert two.peer().losses == 0


def test_a_link_never_heard_does_not_delay_the_loss():
    two = Two()
    two.run(3, "one")
    two.run(2)
    assert two.states() == ("dead", "dead", "unknown")


@pytest.mark.parametrize("gap", [1.1, 5, 60, 3600])
def test_an_observer_that_did_not_run_blames_no_peer(gap):
    two = Two()
    two.run(3, "one", "two")
    two.now += gap
    assert two.a.judge(two.now) == []
    assert two.a.stalls == 1
    two.run(1.75)
    assert two.states()[0] == "late"
    two.run(0.25)
    assert two.states()[0] == "dead"


def test_a_dead_peer_stays_dead_over_a_stall_of_the_observer():
    two = Two()
    two.run(3, "one")
    two.run(3)
    two.now += 60
    two.a.judge(two.now)
    assert two.states()[0] == "dead"
    assert view.report(two.a, two.now)["b"]["silence"] == 63


def test_the_next_deadline_is_never_missed():
    """The loop sleeps until `due`: judged only then, a state changes on time."""
    two = Two()
    two.run(3, "one", "two")
    heard = two.now
    seen = []
    while two.states()[0] != "dead":
        two.now = min(two.a.due, two.now + TIMING.keepalive)
        seen += [(round(two.now - heard, 6), c.new) for c in two.a.judge(two.now) if not c.link]
    assert seen == [(1.0, "late"), (2.0, "dead")]
    two.hear("one")
    assert two.a.due <= two.now + TIMING.warntime


def test_replayed_old_stranger_misdirected_and_future_packets_change_nothing():
    two = Two()
    two.run(1, "one", "two")
    fresh = two.b.beat("a", "one")
    assert two.take(fresh) == []
    before = view.report(two.a, two.now)
    cases = {
        Reason.REPLAYED: [fresh, fresh._replace(sequence=1)],
        Reason.OLD: [fresh._replace(incarnation=WALL - 1, sequence=99)],
        Reason.STRANGER: [fresh._replace(sender="x"), fresh._replace(sender="a")],
        Reason.MISDIRECTED: [fresh._replace(receiver="b"), fresh._replace(link="two")],
        Reason.FUTURE: [
            fresh._replace(sequence=2**40),
            fresh._replace(incarnation=WALL + 2 * view.AHEAD_INCARNATION),
        ],
    }
    for reason, beats in cases.items():
        for beat in beats:
            assert two.take(beat, "one") is reason
    assert view.report(two.a, two.now) == before


def test_a_recording_does_not_bring_a_dead_peer_back_after_the_observer_restarted():
    two = Two()
    recorded = [two.b.beat("a", "one") for _ in range(50)]
    two.a = view.View("a", WALL + 9000, TIMING, {"b": two.links}, two.now)
    assert {two.take(beat) for beat in recorded} == {Reason.UNPROVEN}
    assert two.states()[0] == "unknown"
    two.run(31)
    assert two.states()[0] == "dead"


def old(two):
    return Beat("b", "a", "one", WALL, 99, two.a.incarnation, 99, {}, {}, {})


def test_a_restarted_peer_is_proven_by_its_echo_and_its_numbers_begin_anew():
    two = Two()
    two.run(3, "one", "two")
    two.b = view.View("b", WALL + 77, TIMING, {"a": two.links}, two.now)
    assert two.hear("one") is Reason.UNPROVEN
    echo = two.a.beat("b", "one")
    assert echo.echo == WALL + 77
    assert two.b.receive(echo, "one", two.now, WALL)[0].new == "up"
    assert two.hear("one") == []
    assert two.take(old(two)) is Reason.OLD


def test_a_peer_whose_clock_was_set_back_an_hour_is_heard_again():
    """Its note of the incarnation is lost too: what the others echo takes it past their memory."""
    two = Two()
    two.run(3, "one")
    two.b = view.View("b", WALL - 3_600_000, TIMING, {"a": two.links}, two.now)
    assert two.hear("one") is Reason.OLD
    with pytest.raises(Rejected):
        two.b.receive(two.a.beat("b", "one"), "one", two.now, WALL)
    assert two.b.incarnation == WALL + 1
    two.hear("one")  # a learns the new incarnation
    two.b.receive(two.a.beat("b", "one"), "one", two.now, WALL)
    assert two.hear("one") == []


@given(st.lists(st.tuples(st.sampled_from(["hear", "replay", "wait", "stall"]),
                          st.sampled_from(["one", "two"]), st.integers(1, 20)), max_size=60))
@settings(max_examples=200, deadline=None)
def test_dead_means_silent_everywhere_for_deadtime_while_running(steps):
    """Any mix of hearing, replays, time and own stalls: dead exactly when the definition says."""
    two, past, quiet = Two(), [], {}
    for what, link, quarters in steps:
        if what == "hear":
            past.append(two.b.beat("a", link))
            two.take(past[-1])
            quiet[link] = 0.0
        elif what == "replay" and past:
            assert two.take(random.choice(past)) is Reason.REPLAYED
        elif what == "wait":
            for _ in range(quarters):
                two.now += 0.25
                two.a.judge(two.now)
                quiet = {name: silence + 0.25 for name, silence in quiet.items()}
        elif what == "stall":
            two.now += 1 + quarters / 4
            two.a.judge(two.now)
            quiet = {name: silence if silence >= 2 else 0.0 for name, silence in quiet.items()}
        if quiet:
            dead = two.states()[0] == "dead"
            assert dead == (min(quiet.values()) >= 2)


def test_a_reload_keeps_what_is_known_of_those_who_stay():
    two = Two()
    two.run(3, "one", "two")
    two.a.configure(TIMING._replace(deadtime=4), {"b": ["two"], "c": ["two"]}, two.now)
    assert two.states() == ("up", "up")
    assert two.a.peers["c"].state == "unknown"
    assert two.hear("two") is Reason.UNPROVEN, "c is new, so a's numbers begin again"
    assert two.b.receive(two.a.beat("b", "two"), "two", two.now, WALL)
    assert two.run(1, "two") == []


def test_a_vm_that_was_removed_and_is_back_hears_the_others_again():
    """They count to it from one again; what it remembers of them is more."""
    two = Two()
    two.hear("one")
    for _ in range(50):
        two.b.receive(two.a.beat("b", "one"), "one", two.now, WALL)
    two.a.configure(TIMING, {"c": ["one"]}, two.now)
    two.a.configure(TIMING, {"b": ["one"], "c": ["one"]}, two.now)
    with pytest.raises(Rejected) as error:
        two.b.receive(two.a.beat("b", "one"), "one", two.now, WALL)
    assert error.value.reason is Reason.UNPROVEN  # a new start of a's, which has not heard b yet
    assert two.hear("one")[0].new == "up"
    two.b.receive(two.a.beat("b", "one"), "one", two.now, WALL)
    assert two.b.peers["a"].tracks["one"].state == "up"


def test_who_was_started_by_a_clock_far_ahead_notices_when_it_is_mended_and_nobody_hears_it():
    day = 86_400_000
    seen = view.View("a", WALL + 2 * day, TIMING, {"b": ["one"]}, 0.0)
    assert seen.absurd(WALL) and not seen.absurd(WALL + 2 * day)
    seen.peers["b"].state = "up"  # it is this clock that is wrong: others believe the incarnation
    assert not seen.absurd(WALL)


def test_a_higher_epoch_supersedes_only_what_is_held():
    own = {"files": (3, heartbeat.HELD), "database": (3, heartbeat.SEEN)}
    heard = {"files": [4, 1], "database": [4, 2], "director": [9, 2]}
    assert view.superseded(own, heard) == [("files", 3, 4)]
    assert view.superseded(own, {"files": [3, 2]}) == []


def test_epochs_are_passed_on_at_first_hand_only_and_end_with_their_source():
    two = Two()
    two.b.tell({"files": [4, 2], "database": [9, 0]}, {})
    two.hear()
    assert two.a.rumours({"files": (3, 2)}) == {"files": (4, heartbeat.HEARSAY)}
    assert two.a.rumours({"files": (5, 2)}) == {"files": (5, 2)}
    two.run(3)
    assert two.a.rumours({}) == {}


def test_a_slow_link_does_not_bring_an_older_word_back():
    """A serial line with a full buffer delivers seconds late."""
    two = Two()
    two.b.tell({"files": [3, 2]}, {"files.service": True})
    late = [two.b.beat("a", "two") for _ in range(3)]
    two.b.tell({"files": [3, 1]}, {})
    two.hear("one")
    assert [two.take(beat) for beat in late[:2]] != [Reason.REPLAYED] * 2
    assert two.peer().claims == {"files": [3, 1]}
    assert two.peer().health == {}


def test_only_a_new_word_is_news():
    two = Two()
    two.hear("one")
    assert two.a.news
    two.a.news = False
    two.run(1, "one", "two")
    two.b.tell({}, {})
    two.hear("one")
    assert not two.a.news
    two.b.tell({}, {"files.service": False})
    two.hear("one")
    assert two.a.news


def test_whom_a_peer_does_not_hear_is_told():
    two = Two()
    two.run(1, "one")
    two.b.peers["a"].state = view.DEAD
    two.b.tell({}, {})
    two.hear("one")
    told = view.report(two.a, two.now)["b"]
    assert (told["silent"], told["deaf"]) == ({"a": "lost"}, True)
    assert told["state"] == "up"
