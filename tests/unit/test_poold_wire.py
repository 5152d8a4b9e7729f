"""What a balancer hears on its wires, by real ARP, and whom it answers."""

import json
import subprocess
import sys

import pytest

from tests.loading import ROOT

sys.path[:0] = [str(ROOT / "salt/balancer/files"), str(ROOT / "_utils")]
import poold_wire  # noqa: E402

# Runs in a network namespace of its own: the balancer at one end of each wire, a host at the other.
WIRES = """
import asyncio, json, subprocess, sys, time
sys.path[:0] = ["salt/balancer/files", "_utils"]
import poold_wire
poold_wire.health.DIRECTORY = sys.argv[1]
poold_wire.EVERY, poold_wire.HEARD = 0.05, 0.5
ip = lambda *args: subprocess.run(["ip", *args], check=True)
for near, far in (("eth0", "router"), ("eth1", "inside")):
    ip("link", "add", near, "type", "veth", "peer", "name", far)
    ip("link", "set", far, "up")
    ip("link", "set", near, "up")
subprocess.run(["sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1",
                "net.ipv4.conf.all.arp_filter=0", "net.ipv4.conf.all.rp_filter=0"], check=True)
ip("addr", "add", "203.0.113.1/24", "dev", "router")
floating = {"public": {"interface": "eth0", "address": "203.0.113.10"},
            "internal": {"interface": "eth1", "address": "192.168.10.1"}}
wires = poold_wire.Wires({"peer": "lb2", "elsewhere": ["lb2", "db2"], "links": ["internal"],
                          "floating": floating, "gateway": "203.0.113.1"})
seen = {"own": {"claims": {}}, "peers": {"lb2": {"state": "up", "claims": {"director": [3, 1]},
                          "links": {"internal": {"state": "up"}}}}}
poold_wire.view = lambda: seen
answers = {}
async def soon(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.01)
    return True
async def main():
    loop = asyncio.create_task(wires.run())
    await story()
    loop.cancel()
"""


def on_the_wires(story, folder):
    body = "".join(f"    {line}\n" for line in story.strip().splitlines())
    script = f"{WIRES}\nasync def story():\n{body}\nasyncio.run(main())\nprint(json.dumps(answers))"
    done = subprocess.run(
        ["unshare", "-Urn", sys.executable, "-c", script, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_the_router_is_heard_and_its_silence_too(tmp_path):
    story = """
answers["heard"] = await soon(lambda: wires.found["networks"] is True)
ip("addr", "del", "203.0.113.1/24", "dev", "router")
answers["silent"] = await soon(lambda: wires.found["networks"] is False)
answers["why"] = wires.found["why"]
"""
    answers, _ = on_the_wires(story, tmp_path)
    assert answers["heard"] and answers["silent"]
    assert answers["why"] == "nobody is heard on the public network"
    assert json.loads((tmp_path / "director.networks.json").read_text())["ok"] is False


def test_a_missing_carrier_is_told(tmp_path):
    story = """
await soon(lambda: wires.found["networks"] is True)
ip("link", "set", "inside", "down")
answers["told"] = await soon(lambda: wires.found["networks"] is False)
answers["why"] = wires.found["why"]
"""
    answers, _ = on_the_wires(story, tmp_path)
    assert answers == {"told": True, "why": "eth1 (internal) has no carrier"}


def test_a_stranger_with_our_address_is_told_and_answered(tmp_path):
    """The stranger is a frame from the far end, as a misconfigured host would announce itself."""
    story = """
ip("addr", "add", "203.0.113.10/24", "dev", "eth0")
await soon(lambda: wires.found["networks"] is True)
far = poold_wire.Wire("router", "203.0.113.10", None)
heard = []
far.take = lambda frame, now: heard.append(poold_wire.FRAME.unpack(frame[:poold_wire.FRAME.size]))
far.open()
far.send(poold_wire.REQUEST, far.packed, poold_wire.EVERYBODY, far.packed)
answers["told"] = await soon(lambda: wires.found["duplicates"])
ours = wires.wires["public"].socket.getsockname()[4]
claims = lambda: [each for each in heard if each[1] == ours and each[9] == far.packed]
answers["defended"] = await soon(claims)
answers["duplicate"] = wires.found["duplicates"][0]
answers["mac"] = far.socket.getsockname()[4].hex(":")
"""
    answers, log = on_the_wires(story, tmp_path)
    assert answers["told"] and answers["defended"]
    assert answers["duplicate"]["mac"] == answers["mac"] and answers["duplicate"]["foreign"]
    assert f"203.0.113.10 is also used by {answers['mac']}" in log


def test_the_other_balancer_is_never_answered(tmp_path):
    """It may hold the director by a newer epoch: then we are to step down, not to fight."""
    story = """
seen["peers"]["lb2"]["claims"]["director"] = [4, 2]
ip("addr", "add", "203.0.113.10/24", "dev", "eth0")
await soon(lambda: wires.found["networks"] is True)
far = poold_wire.Wire("router", "203.0.113.10", None)
far.open()
far.send(poold_wire.REQUEST, far.packed, poold_wire.EVERYBODY, far.packed)
answers["told"] = await soon(lambda: wires.found["duplicates"])
answers["foreign"] = wires.found["duplicates"][0]["foreign"]
answers["defended"] = wires.wires["public"].defended
"""
    answers, _ = on_the_wires(story, tmp_path)
    assert answers == {"told": True, "foreign": False, "defended": 0.0}


def test_a_director_whose_address_was_taken_off_says_so(tmp_path):
    story = """
word = lambda: json.load(open(sys.argv[1] + "/director.addresses.json"))["ok"]
await soon(lambda: wires.found["networks"] is True)
answers["standby"] = word()
ip("addr", "add", "203.0.113.10/24", "dev", "eth0")
ip("addr", "add", "192.168.10.1/24", "dev", "eth1")
seen["own"]["claims"]["director"] = [4, 2]
answers["serves"] = await soon(lambda: word() is True)
ip("addr", "del", "192.168.10.1/24", "dev", "eth1")
answers["told"] = await soon(lambda: word() is False)
ip("addr", "add", "192.168.10.1/24", "dev", "eth1")
answers["again"] = await soon(lambda: word() is True)
"""
    answers, _ = on_the_wires(story, tmp_path)
    assert answers == {"standby": None, "serves": True, "told": True, "again": True}


def test_who_holds_an_address_is_told_again_when_the_other_one_gave_it_up(tmp_path):
    """Both had it for a moment: hosts may have learnt from either."""
    story = """
ip("addr", "add", "203.0.113.10/24", "dev", "eth0")
claims, public = seen["peers"]["lb2"]["claims"], wires.wires["public"]
claims["director"] = [3, 2]
await soon(lambda: wires.found["networks"])
answers["before"] = public.defended
claims["director"] = [3, 1]
answers["told"] = await soon(lambda: public.defended > 0)
answers["inside"] = wires.wires["internal"].defended
"""
    answers, _ = on_the_wires(story, tmp_path)
    assert answers == {"before": 0.0, "told": True, "inside": 0.0}


def test_a_standby_takes_nobody_for_a_duplicate(tmp_path):
    story = """
await soon(lambda: wires.found["networks"] is True)
ip("addr", "add", "203.0.113.10/24", "dev", "router")
subprocess.run(["sleep", "0.2"])
answers["duplicates"] = wires.found["duplicates"]
"""
    assert on_the_wires(story, tmp_path)[0] == {"duplicates": []}


@pytest.mark.parametrize(
    ("peer", "elsewhere"),
    [
        ({"state": "up", "claims": {}}, True),
        ({"state": "up", "claims": {"director": [9, 1]}}, True),
        ({"state": "up", "claims": {"director": [9, 2]}}, False),
        ({"state": "dead", "claims": {}}, False),
    ],
)
def test_only_a_peer_that_is_heard_can_be_elsewhere(peer, elsewhere):
    wires = poold_wire.Wires(
        {"peer": "lb2", "elsewhere": ["lb2"], "links": [], "floating": {}, "gateway": None})
    assert wires.peer_is_elsewhere({"peers": {"lb2": peer}}) is elsewhere
    assert wires.peer_is_elsewhere(None) is False


def test_without_anybody_to_ask_the_networks_are_unknown(monkeypatch):
    floating = {"public": {"interface": "eth0", "address": "203.0.113.10"},
                "internal": {"interface": "eth1", "address": "192.168.10.1"}}  # fmt: skip
    config = {"peer": "lb2", "elsewhere": ["lb2", "db2"], "links": ["internal"],
              "floating": floating, "gateway": None}
    wires = poold_wire.Wires(config)
    monkeypatch.setattr(poold_wire.Wire, "carrier", lambda _: True)
    assert wires.judge(0, None)[0] is None
    alone = {"peers": {"lb2": {"links": {"internal": {"state": "dead"}}}}}
    assert wires.judge(0, alone) == (False, "nobody is heard on the internal network")


@pytest.mark.parametrize(("lb2", "db2", "found"), [
    ({"internal": "up", "serial": "up"}, "up", True),
    ({"internal": "dead", "serial": "up"}, "up", True),  # its own cable
    ({"internal": "dead", "serial": "up"}, "dead", False),  # the cable between the servers
    ({"internal": "dead", "serial": "dead"}, "dead", True)])  # a dead server is no cable
def test_neighbours_do_not_count_while_those_beyond_are_heard_elsewhere(
        monkeypatch, lb2, db2, found):
    config = {"peer": "lb2", "elsewhere": ["lb2", "db2"], "links": ["internal"], "gateway": None,
              "floating": {"public": {"interface": "eth0", "address": "203.0.113.10"}}}
    links = {"lb2": lb2, "db2": {"internal": db2}, "db1": {"internal": "up"}}
    seen = {"peers": {name: {"links": {link: {"state": state} for link, state in told.items()}}
                      for name, told in links.items()}}
    assert poold_wire.Wires(config).somebody_on("internal", seen) is found


def test_who_just_got_the_addresses_tells_everybody_for_a_while(tmp_path):
    """A switch may lose the first announcement, and a dead peer never says that it gave them up."""
    story = """
await soon(lambda: wires.found["networks"] is True)
answers["before"] = wires.wires["public"].defended
ip("addr", "add", "203.0.113.10/24", "dev", "eth0")
ip("addr", "add", "192.168.10.1/24", "dev", "eth1")
answers["told"] = await soon(lambda: all(wire.defended for wire in wires.wires.values()))
"""
    assert on_the_wires(story, tmp_path)[0] == {"before": 0.0, "told": True}
