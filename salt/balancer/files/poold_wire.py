"""
What poold hears on the wire: is anybody there, and does somebody else hold an address of ours?

It only listens, asks by ARP, and tells. The one thing it does: while this balancer holds an
address and hears from the other one that it does not claim it, a third party that uses it is a
stranger, and its frames are answered by the truth at once, at most every DEFEND s (RFC 5227, 2.4c).
When the other one has just given it up, or this one just got it, the truth is told for AFTER s:
until then hosts may have learnt from either, Linux believes no second word within a second (neigh
locktime), and a switch may lose the first.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import socket
import struct
import sys
import time
from pathlib import Path

import health

SIOCGIFFLAGS, IFF_RUNNING = 0x8913, 0x40
ARP, ETHERNET, REQUEST, REPLY = 0x0806, 1, 1, 2
NOBODY, EVERYBODY, ANY = b"\0" * 6, b"\xff" * 6, b"\0" * 4
FRAME = struct.Struct("!6s6sH HHBBH 6s4s 6s4s")
EVERY = 0.5  # seconds between two questions
DEFEND = 0.2  # seconds between two answers to a stranger
AFTER = 3.0  # seconds for which it is told again who holds an address now
HEARD = 2.5  # seconds for which an answer counts; errs on the side of a slow router
OVER = 15.0  # seconds after which a duplicate that was not seen again is over
MISSING = 4  # looks in a row without an address; an activation takes one between its two
STALE = 3.0  # seconds after which heartbeatd's view says nothing any more
VIEW = "/run/cluster/heartbeat.json"
UP = ("up", "late")  # states of a link over which something was heard lately
HELD = 2  # in a claim of the view: served, not only known


def publish(path, content):
    """Replace a file in /run in one step."""
    new = f"{path}.{os.getpid()}.new"
    with open(new, "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.replace(new, path)


class Wire:
    """ARP on one interface, for one floating address."""

    def __init__(self, interface, address, gateway):
        self.interface, self.address, self.gateway = interface, address, gateway
        self.packed = socket.inet_aton(address)
        self.heard, self.defended, self.strangers, self.socket = None, 0.0, {}, None
        self.foreign = False  # the other balancer says that it is not the one who uses our address

    def open(self):
        """Open it, also anew after its interface went away; return whether it is open."""
        if self.socket is None:
            arp = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP))
            try:
                arp.bind((self.interface, ARP))
                arp.setblocking(False)
            except OSError:
                arp.close()
                return False
            self.socket = arp
            asyncio.get_running_loop().add_reader(arp, self.hear)
        return True

    def close(self):
        asyncio.get_running_loop().remove_reader(self.socket)
        self.socket.close()
        self.socket = None

    def carrier(self):
        request = struct.pack("16sH14x", self.interface.encode(), 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            try:
                (flags,) = struct.unpack_from("16xH", fcntl.ioctl(asked, SIOCGIFFLAGS, request))
            except OSError:  # there is no such interface
                return False
        return bool(flags & IFF_RUNNING)

    def holds(self):
        """Only who has an address can bind to it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            with contextlib.suppress(OSError):
                probe.bind((self.address, 0))
                return True
        return False

    def send(self, operation, sender, target_mac, target):
        own = self.socket.getsockname()[4]
        return self.socket.send(FRAME.pack(EVERYBODY, own, ARP, ETHERNET, 0x0800, 6, 4, operation,
                                           own, sender, target_mac, target))  # fmt: skip

    def ask(self):
        """Probes name no sender, so they change nobody's cache."""
        if not self.open():
            return
        try:
            if self.gateway:
                self.send(REQUEST, ANY, NOBODY, socket.inet_aton(self.gateway))
            if self.holds():
                self.send(REQUEST, ANY, NOBODY, self.packed)
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                self.close()

    def hear(self):
        """Take the frames that came."""
        now = time.monotonic()
        for _ in range(64):
            try:
                frame = self.socket.recv(2048)
            except BlockingIOError:
                return
            except OSError:
                return self.close()
            if len(frame) >= FRAME.size:
                self.take(frame, now)
        return None

    def take(self, frame, now):
        *_, mac, sender, _, _ = FRAME.unpack(frame[: FRAME.size])
        if mac == self.socket.getsockname()[4]:
            return
        if self.gateway and sender == socket.inet_aton(self.gateway):
            self.heard = now
        if sender == self.packed and self.holds():
            first, _ = self.strangers.get(mac.hex(":"), (time.time(), 0))
            self.strangers[mac.hex(":")] = (first, now)
            if self.foreign:
                self.defend(now)

    def defend(self, now):
        """Tell everybody who holds the address, in both forms, since hosts learn from either."""
        if now - self.defended >= DEFEND:
            self.defended = now
            with contextlib.suppress(OSError):
                for operation in (REQUEST, REPLY):
                    self.send(operation, self.packed, EVERYBODY, self.packed)

    def duplicates(self, now):
        """Return {mac: Unix time of its first frame} of those that were heard lately."""
        self.strangers = {mac: seen for mac, seen in self.strangers.items() if now - seen[1] < OVER}
        return {mac: first for mac, (first, _) in self.strangers.items()}


class Wires:
    """Both networks of a balancer."""

    def __init__(self, config):
        self.peer, self.links = config["peer"], config["links"]
        self.elsewhere, self.holding = config["elsewhere"], False
        gateway = config["gateway"]
        self.wires = {
            name: Wire(entry["interface"], entry["address"], gateway if name == "public" else None)
            for name, entry in config["floating"].items()
        }
        self.found = {"networks": None, "why": "", "duplicates": []}
        self.foreign, self.given_up, self.missing = False, float("-inf"), 0

    async def run(self):
        while True:
            for wire in self.wires.values():
                wire.ask()
            await asyncio.sleep(EVERY)
            self.look(time.monotonic(), view())

    def look(self, now, seen):
        ok, why = self.judge(now, seen)
        foreign = self.peer_is_elsewhere(seen)
        holding = all(wire.holds() for wire in self.wires.values())
        if (foreign and not self.foreign) or (holding and not self.holding):
            self.given_up = now
        self.holding = holding
        self.foreign, duplicates = foreign, []
        for wire in self.wires.values():
            wire.foreign = foreign
            if now - self.given_up < AFTER and wire.socket and wire.holds():
                wire.defend(now)
            for mac, since in wire.duplicates(now).items():
                entry = {"address": wire.address, "interface": wire.interface, "mac": mac}
                duplicates.append({**entry, "since": since, "foreign": foreign})
        for entry in duplicates:
            if entry not in self.found["duplicates"]:
                print(f"<3>{entry['address']} is also used by {entry['mac']}", file=sys.stderr)
        self.found = {"networks": ok, "why": why, "duplicates": duplicates}
        health.write("director.networks", ok)
        health.write("director.addresses", self.addresses(seen))

    def addresses(self, seen):
        """Return whether a director that serves here has its addresses; None where it does not."""
        own = seen and seen["own"]["claims"].get("director")
        serves = own and own[1] == HELD
        self.missing = 0 if self.holding or not serves else self.missing + 1
        return self.missing < MISSING if serves else None

    def told(self):
        return {"networks": {"ok": self.found["networks"], "why": self.found["why"]},
                "duplicates": self.found["duplicates"]}  # fmt: skip

    def judge(self, now, seen):
        """Return (True, False or None; why): could this balancer serve, as far as wires go?"""
        for name, wire in self.wires.items():
            if not wire.carrier():
                return False, f"{wire.interface} ({name}) has no carrier"
        heard = {name: self.somebody_on(name, seen) for name in self.wires}
        public = self.wires["public"]
        if public.gateway:
            fresh = public.heard is not None and now - public.heard < HEARD
            heard["public"] = fresh or bool(heard["public"])
        silent = [name for name, answer in heard.items() if answer is False]
        if silent:
            return False, f"nobody is heard on the {' and the '.join(silent)} network"
        if None in heard.values():
            return None, "both networks have a carrier, but nobody there could be asked"
        return True, "somebody is heard on both networks"

    def somebody_on(self, link, seen):
        """
        Return whether heartbeats of any peer come over this network; None if none could. Neighbours
        on the same server do not count while those elsewhere are heard on other links only: it is
        the cable between that is broken.
        """
        if link not in self.links or seen is None:
            return None
        heard = {name: {of for of, told in peer["links"].items() if told["state"] in UP}
                 for name, peer in seen["peers"].items()}
        beyond = [links for name, links in heard.items() if name in self.elsewhere and links]
        return any(link in links for links in beyond or heard.values())

    def peer_is_elsewhere(self, seen):
        """Return whether the other balancer says itself that it does not hold the director."""
        peer = seen["peers"].get(self.peer) if seen and self.peer else None
        if not peer or peer["state"] != "up":
            return False
        claim = peer["claims"].get("director")
        return not (claim and claim[1] == HELD)


def view():
    """Return heartbeatd's view, None if there is none or an old one."""
    try:
        found = json.loads(Path(VIEW).read_text(encoding="utf-8"))
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - found["at"]
        return found if age < STALE else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
