"""The heartbeat's packets, frames and configuration: rubbish is told apart and never taken."""

import json
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import pillars
from tests.loading import ROOT, load

sys.path += [str(ROOT / "salt/heartbeat/files"), str(ROOT / "_utils")]
import heartbeat
import heartbeat_config
import heartbeat_links
from heartbeat import Beat, Reason, Rejected
from heartbeat_view import Timing

KEY, OURS = b"k" * 32, heartbeat.identity("moodle")
WALL = 1_800_000_000_000
BEAT = Beat("b", "a", "one", WALL, 1, WALL + 5, 1, {"files": [3, 2]},
            {"mysql": True, "nfs": None}, {"c": "lost"})  # fmt: skip


def refused(packet, cluster=OURS):
    with pytest.raises(Rejected) as error:
        heartbeat.decode(packet, [KEY], cluster)
    return error.value.reason


def signed(body):
    size = heartbeat._SMALLEST + len(body)
    head = heartbeat._HEAD.pack(heartbeat.MAGIC, OURS, size)
    return head + body + heartbeat.hmac.digest(KEY, head + body, "sha256")


def test_a_heartbeat_arrives_as_it_was_sent():
    packet = heartbeat.encode(BEAT, KEY, OURS)
    assert heartbeat.decode(packet, [KEY], OURS) == BEAT
    assert len(packet) < 180


def test_while_keys_are_changed_either_is_believed_and_no_third():
    new, other = b"n" * 32, b"o" * 32
    for key in (KEY, new):
        assert heartbeat.decode(heartbeat.encode(BEAT, key, OURS), (new, KEY), OURS) == BEAT
    with pytest.raises(Rejected, match="forged"):
        heartbeat.decode(heartbeat.encode(BEAT, other, OURS), (new, KEY), OURS)


def test_each_kind_of_rubbish_is_told_apart():
    packet = heartbeat.encode(BEAT, KEY, OURS)
    assert refused(packet[:-1]) is Reason.TRUNCATED
    assert refused(b"") is Reason.TRUNCATED
    assert refused(packet + b"x") is Reason.OVERSIZED
    assert refused(packet * 20) is Reason.OVERSIZED
    assert refused(packet, heartbeat.identity("shop")) is Reason.FOREIGN
    assert refused(b"XX" + packet[2:]) is Reason.ALIEN
    assert refused(packet[:-1] + bytes([packet[-1] ^ 1])) is Reason.FORGED
    assert refused(heartbeat.encode(BEAT, b"j" * 32, OURS)) is Reason.FORGED


@pytest.mark.parametrize("body", [
    b"", b"{}", b"[]", b"null", b"\xff", b"[" * 600, json.dumps([*BEAT, 1]).encode(),
    *(json.dumps(BEAT._replace(**change)).encode() for change in (
        {"sequence": -1}, {"sequence": True}, {"incarnation": 1.5}, {"incarnation": 2**63},
        {"sender": None}, {"claims": []}, {"claims": {"files": 3}}, {"claims": {"files": [3, 9]}},
        {"claims": {"files": [True, 2]}}, {"claims": {"x" * 25: [3, 2]}}, {"health": {"nfs": 1}},
        {"health": {str(n): True for n in range(17)}}, {"echo": "1"}, {"version": -1},
        {"silent": ["c"]}, {"silent": {"c": "up"}}, {"silent": {"c" * 400: "lost"}},
    )),
])  # fmt: skip
def test_an_authentic_packet_of_nonsense_is_malformed(body):
    assert refused(signed(body)) is Reason.MALFORMED


@given(st.binary(max_size=1500))
def test_no_random_bytes_are_a_heartbeat(data):
    assert isinstance(refused(data), Reason)


@given(st.data())
def test_no_changed_heartbeat_passes(data):
    packet = bytearray(heartbeat.encode(BEAT, KEY, OURS))
    place = data.draw(st.integers(0, len(packet) - 1))
    packet[place] ^= data.draw(st.integers(1, 255))
    assert isinstance(refused(bytes(packet)), Reason)


def test_the_largest_heartbeat_that_can_be_said_fits():
    claims = heartbeat.claims_of({f"{n:024}": (2**62, 2) for n in range(99)})
    health = heartbeat.health_of({f"{n:024}": None for n in range(99)})
    name = "n" * 63
    silent = heartbeat.silent_of({f"{n:063}": "dead" for n in range(99)})
    full = Beat(name, name, name, 2**62, 2**62, 2**62, 2**62, claims, health, silent)
    assert len(heartbeat.encode(full, KEY, OURS)) <= heartbeat.LARGEST


@given(st.dictionaries(st.text(max_size=30), st.none() | st.integers() | st.lists(st.integers())))
def test_whatever_is_found_locally_can_be_sent(entries):
    beat = BEAT._replace(claims=heartbeat.claims_of(entries), health=heartbeat.health_of(entries))
    assert heartbeat.decode(heartbeat.encode(beat, KEY, OURS), [KEY], OURS).sender == "b"


def test_the_lost_are_told_before_the_late_and_a_vm_that_hears_nobody_says_so():
    assert heartbeat.silent_of({"a": "up", "b": "late", "c": "dead", "d": "unknown"}) == {
        "c": "lost", "b": "late"
    }  # fmt: skip
    assert heartbeat.silent_of({"a": "dead", "b": "dead"}) == {
        "*": "lost", "a": "lost", "b": "lost"
    }  # fmt: skip
    assert heartbeat.silent_of({"a": "dead", "b": "unknown"}) == {"a": "lost"}
    assert heartbeat.silent_of({"a": "unknown"}) == heartbeat.silent_of({}) == {}
    many = heartbeat.silent_of({f"web{n:03}": "dead" for n in range(500)})
    assert 15 < len(many) < 30 and many["*"] == "lost"
    few = heartbeat.silent_of({f"web{n:03}": "late" for n in range(500)} | {"zz": "dead"})
    assert few["zz"] == "lost"
    dead = {f"web{n:03}": "dead" for n in range(500)} | {"up": "up", "zz": "dead"}
    assert "zz" not in heartbeat.silent_of(dead)
    assert next(iter(heartbeat.silent_of(dead, first={"zz", "up"}))) == "zz"


def test_the_health_of_a_service_ages_unless_it_is_meant_to_last():
    now = 1000.0
    entries = {
        "fresh": {"ok": True, "at": 995.5}, "old": {"ok": True, "at": 994.5},
        "lasting": {"ok": False, "at": None}, "bare": {"ok": True}, "odd": {"ok": True, "at": "x"},
        "future": {"ok": True, "at": 1006.0},
    }  # fmt: skip
    assert heartbeat.current(entries, now) == {
        "fresh": True, "old": None, "lasting": False, "bare": None, "odd": None, "future": None
    }  # fmt: skip


# --- serial framing -----------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.binary(max_size=40), st.data())
def test_packets_come_out_of_a_serial_line_whole_in_any_pieces(packets, noise, data):
    stream = noise + b"".join(map(heartbeat_links.Frames.frame, packets))
    frames, found = heartbeat_links.Frames(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found, stream = found + frames.feed(stream[:cut]), stream[cut:]
    assert found[len(found) - len(packets) :] == packets


def test_a_serial_line_of_endless_noise_fills_no_memory():
    frames = heartbeat_links.Frames()
    for _ in range(100):
        assert frames.feed(b"x" * 4096) == []
    assert len(frames.rest) <= 2 * heartbeat_links.LARGER
    frames.feed(b"\xc0")
    assert frames.feed(heartbeat_links.Frames.frame(b"hello")) == [b"hello"]


# --- configuration ------------------------------------------------------------------------------



def told(cluster, name):
    pillar, grains = {"cluster": cluster}, {"id": name}
    return load("_modules/heartbeat.py", pillar=pillar, grains=grains).config()


@pytest.mark.parametrize("pillar", [None, *pillars.names()])
def test_every_pillar_gives_every_vm_a_configuration_its_daemon_accepts(pillar):
    cluster = pillars.cluster(pillar)
    for name in cluster["vms"]:
        config = told(cluster, name)
        parsed = heartbeat_config.parse(json.dumps({**config, "key": "00" * 32}))
        for peer, links in parsed.peers().items():
            assert name in told(cluster, peer)["links"][links[0]]["peers"]


def test_balancers_see_everyone_and_share_a_public_interface_without_addresses():
    cluster = pillars.cluster()
    cluster["heartbeat"] |= {"links": ["internal", "public"], "serial": {"device": "/dev/ttyS1"}}
    links = told(cluster, "lb1")["links"]
    assert len(links["internal"]["peers"]) == len(cluster["vms"]) - 1
    assert links["public"] == {"kind": "ethernet", "interface": "eth0", "peers": {"lb2": None}}
    assert links["serial"] == {"kind": "serial", "device": "/dev/ttyS1", "peers": {"lb2": None}}
    assert set(told(cluster, "web1")["links"]["internal"]["peers"]) == {
        "lb1", "lb2", "witness"
    }
    assert set(told(cluster, "db2")["links"]["internal"]["peers"]) == {
        "lb1", "lb2", "witness", "db1"
    }


@pytest.mark.parametrize(("change", "why"), [
    ({"key": "zz"}, "not hexadecimal"),
    ({"key": "00"}, "less than 32 bytes"),
    ({"timing": dict.fromkeys(Timing._fields, 1)}, "keepalive < warntime"),
    ({"timing": {}}, "keepalive is missing"),
    ({"links": {}}, "no peer"),
    ({"links": {"x": {"kind": "avian", "peers": {}}}}, "avian"),
    ({"links": {"x": {"kind": "udp", "peers": {"b": "10.0.0.1"}}}}, "links.x"),
    ({"links": {"x": {"kind": "serial", "device": "d", "speed": 7, "peers": {}}}}, "links.x"),
    ({"links": []}, "wrong type"),
    ({"cluster": None, "links": None}, "wrong type"),
])  # fmt: skip
def test_a_wrong_configuration_says_what_is_wrong_and_never_the_key(change, why):
    good = {**told(pillars.cluster(), "lb1"), "key": "5a" * 32}
    with pytest.raises(ValueError, match=why) as error:
        heartbeat_config.parse(json.dumps({**good, **change}))
    assert "5a5a" not in str(error.value)


@pytest.mark.parametrize(("peer", "age", "unreachable", "in_reach"), [
    ({"state": "up", "links": {"internal": {"state": "up"}}}, 1, False, True),
    ({"state": "up", "links": {"internal": {"state": "late"}}}, 1, False, True),
    ({"state": "up", "links": {"internal": {"state": "lost"}, "s": {"state": "up"}}}, 1, False,
     False),
    ({"state": "dead", "links": {"internal": {"state": "lost"}}}, 1, True, False),
    ({"state": "up", "links": {"internal": {"state": "up"}}, "silent": {"lb1": "lost"}}, 1, True,
     False),
    ({"state": "dead", "links": {}}, 9, False, False),  # it is this VM that hears nobody
])
def test_whether_a_job_can_reach_a_vm_follows_from_what_is_heard(
    peer, age, unreachable, in_reach, tmp_path
):
    module = load("_modules/heartbeat.py", grains={"id": "lb1"})
    module.VIEW = str(tmp_path / "view.json")
    assert (module.unreachable("lb2"), module.in_reach("lb2")) == (False, False)
    at = time.clock_gettime(time.CLOCK_BOOTTIME) - age
    (tmp_path / "view.json").write_text(json.dumps({"at": at, "peers": {"lb2": peer}}))
    assert (module.unreachable("lb2"), module.in_reach("lb2")) == (unreachable, in_reach)


@pytest.mark.parametrize(("claim", "age", "gave_up"), [
    ([4, heartbeat.SEEN], 1, True),
    ([5, heartbeat.SEEN], 1, True),
    ([3, heartbeat.SEEN], 1, False),  # it has not begun
    ([3, heartbeat.HELD], 1, False),
    ([5, heartbeat.HELD], 1, False),
    ([4, heartbeat.HEARSAY], 1, False),  # what another one took; it may still serve
    (None, 1, False),
    ([4, heartbeat.SEEN], 9, False),
])
def test_who_took_a_later_epoch_and_does_not_serve_has_given_up(claim, age, gave_up, tmp_path):
    module = load("_modules/heartbeat.py", grains={"id": "lb1"})
    module.VIEW = str(tmp_path / "view.json")
    peer = {"state": "up", "links": {}, "claims": {"files": claim} if claim else {}}
    at = time.clock_gettime(time.CLOCK_BOOTTIME) - age
    (tmp_path / "view.json").write_text(json.dumps({"at": at, "peers": {"file1": peer}}))
    assert module.gave_up("file1", "files", 4) is gave_up
