"""
The heartbeat's packets, and who sends them to whom: pure, without I/O and without a clock.

A packet is ``"HB", version, cluster, length, JSON body, HMAC-SHA256`` over all before it. Nothing
of the body is looked at before the HMAC is right. What keeps a recording from passing for life:

- *incarnation*: larger at each start of the sender. An earlier one than known is OLD.
- *sequence*: per receiver and link, rising by one. One already seen there is REPLAYED.
- *echo*: the incarnation the sender knows of the receiver. A receiver that just started knows no
  sequence yet, but no recording can echo its new incarnation: until a sender does, UNPROVEN.

What a packet tells (claims, health, silent) has a *version* that rises with each change: a slow
serial line delivers late, and its older word must not replace what a fast link brought before.

The daemon imports this file as it is, without Salt.
"""

import enum
import hashlib
import hmac
import json
import struct
from typing import NamedTuple

MAGIC = b"HB\x01"
LARGEST = 1400  # bytes; a heartbeat is never fragmented
MOST = {"claims": 6, "health": 12}
NAME = 24  # characters of a resource or a service
SILENT = 384  # bytes of the names a heartbeat carries of those whom its sender does not hear
NOBODY = "*"  # among those names: not one peer is heard, whether all their names fit or not
FRESH = 5.0  # seconds: who wrote a service's health and fell silent knows nothing of it any more
HEARSAY, SEEN, HELD = 0, 1, 2  # what an epoch in a claim means: told by another, taken, serving

_HEAD = struct.Struct("!3s8sH")
_MAC = 32
_SMALLEST = _HEAD.size + _MAC


class Reason(enum.Enum):
    """Why a packet changed nothing; the value is its counter in the view."""

    TRUNCATED = "truncated"  # shorter than any heartbeat, or than it says
    OVERSIZED = "oversized"  # longer than any heartbeat, or than it says
    ALIEN = "alien"  # no heartbeat of this version
    FOREIGN = "foreign"  # another cluster's
    FORGED = "forged"  # not made with this cluster's key, or damaged
    MALFORMED = "malformed"  # authentic, but not what a heartbeat says
    MISDIRECTED = "misdirected"  # meant for another VM or link
    STRANGER = "stranger"  # its sender is no peer on this link
    OLD = "old"  # of an earlier start of its sender
    REPLAYED = "replayed"  # its sequence number came already
    FUTURE = "future"  # incarnation or sequence that no clock or counter can have reached
    UNPROVEN = "unproven"  # authentic and new, but it may be a recording: no echo of us yet


class Rejected(ValueError):
    """A packet that changes nothing."""

    def __init__(self, reason):
        super().__init__(reason.value)
        self.reason = reason


class Beat(NamedTuple):
    """
    What one heartbeat says.

    claims: resource -> (epoch, kind); health: service -> bool or None; silent: VM -> "late" or
    "lost", whom the sender does not hear now (NOBODY: "lost" if it hears no peer at all).
    """

    sender: str
    receiver: str
    link: str
    incarnation: int
    sequence: int
    echo: int
    version: int
    claims: dict
    health: dict
    silent: dict


def identity(cluster):
    """Return the eight bytes that stand for the cluster of that name."""
    return hashlib.sha256(cluster.encode()).digest()[:8]


def encode(beat, key, cluster):
    """Return the packet; key: bytes, cluster: its identity. Raises ValueError if too large."""
    body = json.dumps(beat, separators=(",", ":")).encode()
    size = _SMALLEST + len(body)
    if size > LARGEST:
        raise ValueError(f"a heartbeat of {size} bytes is too large")
    packet = _HEAD.pack(MAGIC, cluster, size) + body
    return packet + hmac.digest(key, packet, "sha256")


def decode(packet, keys, cluster):
    """
    Return the Beat; raises Rejected. The cheapest doubts come first, the HMAC before JSON.

    keys: any of them may have signed it; more than one only while they are changed.
    """
    if len(packet) > LARGEST:
        raise Rejected(Reason.OVERSIZED)
    if len(packet) < _SMALLEST:
        raise Rejected(Reason.TRUNCATED)
    magic, whose, size = _HEAD.unpack_from(packet)
    if magic != MAGIC:
        raise Rejected(Reason.ALIEN)
    if whose != cluster:
        raise Rejected(Reason.FOREIGN)
    if len(packet) != size:
        raise Rejected(Reason.TRUNCATED if len(packet) < size else Reason.OVERSIZED)
    signed, mac = packet[:-_MAC], packet[-_MAC:]
    if not any(hmac.compare_digest(mac, hmac.digest(key, signed, "sha256")) for key in keys):
        raise Rejected(Reason.FORGED)
    try:
        beat = Beat(*json.loads(packet[_HEAD.size : -_MAC]))
        if _sane(beat):
            return beat
    except (ValueError, TypeError, RecursionError):
        pass
    raise Rejected(Reason.MALFORMED)


def claims_of(entries):
    """Return the part of resource -> [epoch, kind] that a heartbeat can carry."""
    return _bounded(entries, "claims", _pair)


def health_of(entries):
    """Return the part of service -> True, False or None (unknown) that a heartbeat can carry."""
    return _bounded(entries, "health", lambda value: value is None or type(value) is bool)


def current(entries, now):
    """
    Return service -> ok from the files in /run/cluster/health: service -> {"ok", "at"}.

    now: CLOCK_BOOTTIME. An ``at`` of None never ages; without one, or with an old one, the service
    is unknown (None).
    """
    known = {name: entry.get("ok") for name, entry in entries.items() if _fresh(entry, now)}
    return {**dict.fromkeys(entries), **known}


def _fresh(entry, now):
    at = entry.get("at", 0)
    return at is None or (type(at) in (int, float) and abs(now - at) <= FRESH)


def silent_of(states, first=()):
    """
    Return the part of VM -> "late" or "lost" that a heartbeat can carry, the lost ones first.

    states: of every peer, "up", "late", "dead" or "unknown" (not heard yet, and initdead not over);
    first: peers whose silence matters most: with a server go more names than there is room for.
    """
    words = {"late": "late", "dead": "lost"}
    found = {name: words[state] for name, state in states.items() if state in words}
    if found and not {"up", "late", "unknown"} & set(states.values()):
        found[NOBODY] = "lost"
    told = {}
    first = {NOBODY, *first}
    for name in sorted(found, key=lambda name: (found[name] == "late", name not in first, name)):
        if _size({**told, name: found[name]}) <= SILENT:
            told[name] = found[name]
    return told


def _size(silent):
    return sum(len(name) + len('"":"lost",') for name in silent)


def _bounded(entries, kind, fits):
    names = sorted(name for name, value in entries.items() if _name(name) and fits(value))
    return {name: entries[name] for name in names[: MOST[kind]]}


def _sane(beat):
    texts = (beat.sender, beat.receiver, beat.link)
    numbers = (beat.incarnation, beat.sequence, beat.echo, beat.version)
    return (
        all(type(text) is str for text in texts)
        and all(_number(number) for number in numbers)
        and type(beat.claims) is dict
        and type(beat.health) is dict
        and len(claims_of(beat.claims)) == len(beat.claims)
        and len(health_of(beat.health)) == len(beat.health)
        and type(beat.silent) is dict
        and all(word in ("late", "lost") for word in beat.silent.values())
        and _size(beat.silent) <= SILENT
    )


def _name(name):
    return type(name) is str and 0 < len(name) <= NAME and name.isascii()


def _number(number):
    return type(number) is int and 0 <= number < 2**63


def _pair(value):
    return (
        type(value) in (list, tuple)
        and len(value) == 2
        and all(map(_number, value))
        and value[1] in (HEARSAY, SEEN, HELD)
    )


def config(cluster, vms, name, partner):
    """
    Return what heartbeatd on VM ``name`` needs to know, without the key.

    vms: of topology.vms; partner: the name of the other VM of its pair, or None. Balancers and the
    witness observe every VM, the others only them and their partner, so the load grows with the
    number of VMs and not with its square.
    """
    beat = cluster["heartbeat"]
    me = next(vm for vm in vms if vm["name"] == name)
    peers = [vm for vm in vms if vm is not me and _meets(me, vm, partner)]
    links = {net: _link(me, peers, net, beat["port"]) for net in beat["links"]}
    if beat.get("serial") and partner:
        links["serial"] = {"kind": "serial", **beat["serial"], "peers": {partner: None}}
    timing = {word: beat[word] for word in ("keepalive", "warntime", "deadtime", "initdead")}
    used = {net: link for net, link in links.items() if link and link["peers"]}
    return {"cluster": cluster["name"], "name": name, "timing": timing, "links": used}


def _meets(me, vm, partner):
    observers = ("balancer", "witness")
    return me["role"] in observers or vm["role"] in observers or vm["name"] == partner


def _link(me, peers, net, port):
    """Return one network as a link; without own addresses (public) it carries bare Ethernet."""
    interface = me["interfaces"].get(net)
    if not interface:
        return None
    inside = [vm for vm in peers if net in vm["interfaces"]]
    if net not in me["addresses"]:
        names = {vm["name"]: None for vm in inside if net not in vm["addresses"]}
        return {"kind": "ethernet", "interface": interface, "peers": names}
    addresses = {vm["name"]: vm["addresses"][net] for vm in inside if net in vm["addresses"]}
    own = me["addresses"][net]
    return {
        "kind": "udp", "interface": interface, "address": own, "port": port, "peers": addresses
    }  # fmt: skip
