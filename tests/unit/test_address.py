"""Floating addresses: what ip prints, what goes over the wire, all or none on a real kernel."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.loading import ROOT, load

DATA = Path(__file__).parent.parent / "data" / "iproute2-6.15"
OWN, OTHER = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"
ADDRESS = socket.inet_aton("203.0.113.10")

address = load("_modules/address.py")

# Runs in a network namespace of its own: two ends of a wire, no way out.
WIRE = """
import json, socket, subprocess
from tests.loading import load
address = load("_modules/address.py")
ip = lambda *args: subprocess.run(["ip", *args], check=True)
ip("link", "add", "near", "type", "veth", "peer", "name", "far")
ip("link", "set", "far", "up")
ip("link", "set", "near", "up")
ip("addr", "add", "10.0.0.5/24", "dev", "far")
held = lambda: [(e["address"], e["prefix"], e["interface"]) for e in address.list_()]
def failing(call, *args):
    try:
        return call(*args)
    except Exception as error:
        return type(error).__name__
answers = {}
"""


def on_the_wire(script):
    """Return the `answers` of a script run in an unprivileged network namespace."""
    done = subprocess.run(
        ["unshare", "-Urn", sys.executable, "-c", f"{WIRE}{script}\nprint(json.dumps(answers))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_recorded_addresses_are_listed_with_their_interface():
    found = address._parse((DATA / "addr.json").read_text(encoding="ascii"))
    assert [(e["address"], e["prefix"], e["interface"], e["secondary"]) for e in found] == [
        ("127.0.0.1", 8, "lo", False),
        ("203.0.113.77", 24, "eth0", False),
        ("192.168.10.105", 24, "eth1", False),
        ("192.168.10.77", 24, "eth1", True),
        ("10.255.250.105", 24, "lab0", False),
    ]


@pytest.mark.parametrize("text", ["", "{}x", '[{"ifname": "eth0"}]', '[{"addr_info": [{}]}]'])
def test_output_not_understood_is_an_error_not_an_empty_list(text):
    with pytest.raises(CommandExecutionError, match="not understood"):
        address._parse(text)


@pytest.mark.parametrize(
    ("frame", "holder"),
    [
        (address._frame(address.REPLY, OTHER, ADDRESS, OWN, address.ANY), OTHER),
        (address._frame(address.REQUEST, OTHER, ADDRESS, address.NOBODY, ADDRESS), OTHER),
        # another machine probing for the same address at the same moment (RFC 5227, 2.1.1)
        (address._frame(address.REQUEST, OTHER, address.ANY, address.NOBODY, ADDRESS), OTHER),
        (address._frame(address.REPLY, OWN, ADDRESS, OTHER, address.ANY), None),
        (address._frame(address.REQUEST, OTHER, b"\1\2\3\4", address.NOBODY, ADDRESS), None),
        (b"short", None),
    ],
)
def test_holder_is_whoever_claims_the_address_but_ourselves(frame, holder):
    assert address._holder(frame, ADDRESS, OWN) == holder


def test_duplicate_is_found_on_the_wire_and_only_there():
    answers = on_the_wire("""
far = address._socket("far").getsockname()[4].hex(":")
answers["held"] = address.duplicate("10.0.0.5", "near") == far
answers["free"] = address.duplicate("10.0.0.6", "near")
ip("link", "set", "far", "down")
answers["no carrier"] = failing(address.duplicate, "10.0.0.6", "near")
answers["no interface"] = failing(address.duplicate, "10.0.0.6", "absent")
""")
    assert answers == {
        "held": True,
        "free": None,
        "no carrier": "CommandExecutionError",
        "no interface": "CommandExecutionError",
    }


def test_present_announces_in_both_forms_and_is_safe_to_repeat():
    answers = on_the_wire("""
wire = address._socket("far")
wire.settimeout(1)
answers["present"] = [address.present("10.0.0.7", 24, "near") for _ in range(2)]
frames = [address.FRAME.unpack(wire.recv(100)[:address.FRAME.size]) for _ in range(2)]
answers["operations"] = [frame[7] for frame in frames]
answers["claims"] = sorted({socket.inet_ntoa(frame[i]) for frame in frames for i in (9, 11)})
answers["held"] = held().count(("10.0.0.7", 24, "near"))
answers["absent"] = [address.absent("10.0.0.7") for _ in range(2)]
answers["left"] = [entry for entry in held() if entry[2] == "near"]
""")
    assert answers == {
        "present": [True, True],
        "operations": [address.REQUEST, address.REPLY],
        "claims": ["10.0.0.7"],
        "held": 1,
        "absent": [True, False],
        "left": [],
    }


def test_default_route_comes_and_goes_with_the_first_address():
    answers = on_the_wire("""
route = lambda: subprocess.run(["ip", "route", "show", "default"], capture_output=True).stdout
both = [dict(address=a, prefix=24, interface="near") for a in ("10.0.1.7", "10.0.1.8")]
ip("addr", "add", "10.0.2.2/24", "dev", "near")
address.present_all(both, gateway="10.0.1.1")
answers["on"] = route().decode().split()
address.absent_all(both)
answers["off"] = route().decode()
answers["own"] = [entry for entry in held() if entry[2] == "near"]
""")
    assert answers["on"][:7] == ["default", "via", "10.0.1.1", "dev", "near", "src", "10.0.1.7"]
    assert answers["off"] == ""
    assert answers["own"] == [["10.0.2.2", 24, "near"]]


def test_both_or_none_when_the_second_cannot_be_held():
    """I3: half a director would take the site's traffic and lose every answer."""
    answers = on_the_wire("""
both = [dict(address=a, prefix=24, interface=i) for a, i in
        (("10.0.1.7", "near"), ("10.0.1.8", "absent"))]
answers["error"] = failing(address.present_all, both)
both[1]["interface"] = "near"
answers["bad gateway"] = failing(address.present_all, both, "10.9.9.9")
answers["left"] = [entry for entry in held() if entry[2] == "near"]
""")
    assert answers == {
        "error": "CommandExecutionError",
        "bad gateway": "CommandExecutionError",
        "left": [],
    }


@pytest.mark.parametrize(
    "entry",
    [
        {"address": "203.0.113", "prefix": 24, "interface": "eth0"},
        {"address": "203.0.113.10", "prefix": 0, "interface": "eth0"},
        {"address": "203.0.113.10", "prefix": "24", "interface": "eth0"},
        {"address": "203.0.113.10", "prefix": 24, "interface": "eth0\naddr flush dev eth1"},
    ],
)
def test_wrong_arguments_never_reach_ip(entry, monkeypatch):
    monkeypatch.setattr(address, "_run", lambda *a, **k: pytest.fail("ip was run"))
    with pytest.raises(SaltInvocationError):
        address.present(**entry)


def test_answers_tells_a_listener_from_a_closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert address.answers("127.0.0.1", port) is True
    assert address.answers("127.0.0.1", port) is False


def test_an_address_is_here_if_it_can_be_bound_to():
    both = [{"address": "127.0.0.1"}, {"address": "192.0.2.1"}]  # RFC 5737: nobody has it
    assert address.missing(both) == ["192.0.2.1"]
    with pytest.raises(SaltInvocationError):
        address.missing([{"address": "files"}])
