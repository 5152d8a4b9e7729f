"""
Bridges, cables and how to cut them, in network namespaces without a route out.

Every network is a switch (a bridge) of its own; every server has a bridge per network with one
uplink to that switch, so that pulling a server's cable leaves its VMs together, as it would be.
The management network is one flat bridge that no cut touches. A second namespace is the world
outside: it sees the public network and nothing else.
"""

import contextlib
import hashlib
import ipaddress
import json
import subprocess
from pathlib import Path
from typing import NamedTuple

from lab.errors import CommandFailed, LabError

MANAGEMENT = "lab0"
CANDIDATES = ("10.255.0.0/24", "172.31.255.0/24", "192.168.255.0/24")
NFT = "bridge lab"


class Link(NamedTuple):
    """A cable: the end that is pulled, and where it is plugged in."""

    owner: str      # VM or server
    interface: str  # as the VM calls it: eth0, eth1, lab0
    device: str     # tap of a VM, uplink of a server
    bridge: str
    mac: str = ""
    far: tuple = ()  # of an uplink: its other end and the server's bridge


class Plan(NamedTuple):
    """Everything that is to exist."""

    bridges: tuple
    uplinks: tuple  # of servers
    taps: tuple     # of VMs, management included
    outside: tuple  # (bridge, [addresses with prefix]) of the world outside
    instrument: tuple  # (bridge, address with prefix) of what measures on the internal network
    management: ipaddress.IPv4Network


def device_name(*parts):
    """Return a name that the kernel accepts (15 signs), the same for the same parts."""
    name = "-".join(parts)
    if len(name) <= 15:
        return name
    return f"{name[:9]}-{hashlib.sha256(name.encode()).hexdigest()[:5]}"


def management_of(cluster):
    """Return a management network that meets none of the cluster's; raises LabError."""
    taken = [ipaddress.ip_network(net["subnet"]) for net in cluster["networks"].values() if net]
    for candidate in map(ipaddress.ip_network, CANDIDATES):
        if not any(candidate.overlaps(subnet) for subnet in taken):
            return candidate
    raise LabError(f"the cluster's networks overlap all of {', '.join(CANDIDATES)}")


def plan(cluster, vms):
    """Return the Plan for a cluster; `vms` as topology.vms returns them."""
    networks = {name: net for name, net in cluster["networks"].items() if net}
    bridges = [MANAGEMENT, *(device_name("net", name) for name in networks)]
    uplinks, taps = [], []
    for server in [name for name, entry in cluster["servers"].items() if entry is not None]:
        for name, net in networks.items():
            bridge = device_name(server, name)
            bridges.append(bridge)
            uplink = device_name("up", server, net["interface"])
            far = device_name("in", server, net["interface"]), bridge
            switch = device_name("net", name)
            uplinks.append(Link(server, net["interface"], uplink, switch, far=far))
    for number, entry in enumerate(vms):
        for index, name in enumerate(networks):
            if name not in entry["interfaces"]:
                continue
            where = (entry["server"], name) if entry["server"] else ("net", name)
            taps.append(_tap(entry["name"], entry["interfaces"][name], device_name(*where),
                             index + 1, number))
        taps.append(_tap(entry["name"], MANAGEMENT, MANAGEMENT, 0, number))
    return Plan(tuple(bridges), tuple(uplinks), tuple(taps), _outside(cluster),
                _instrument(cluster), management_of(cluster))


def _tap(vm, interface, bridge, network, number):
    mac = f"02:6c:61:{network:02x}:{number >> 8:02x}:{number & 255:02x}"
    return Link(vm, interface, device_name(vm, interface), bridge, mac)


def _outside(cluster):
    public = cluster["networks"]["public"]
    subnet = ipaddress.ip_network(public["subnet"])
    addresses = [str(subnet[-2])]  # the students; the gateway is the provider's router
    if public.get("gateway"):
        addresses.append(public["gateway"])
    return device_name("net", "public"), [f"{each}/{subnet.prefixlen}" for each in addresses]


def _instrument(cluster):
    subnet = ipaddress.ip_network(cluster["networks"]["internal"]["subnet"])
    return device_name("net", "internal"), f"{subnet[-2]}/{subnet.prefixlen}"


def commands(planned):
    """Return the lines for `ip -batch` that build the plan in an empty namespace."""
    lines = ["link set lo up"]
    for bridge in planned.bridges:
        # Snooping would drop the multicast of IPVS synchronisation: nobody asks for it by IGMP.
        lines += [f"link add {bridge} type bridge forward_delay 0 mcast_snooping 0",
                  f"link set {bridge} up"]
    for link in planned.uplinks:
        inner, bridge = link.far
        lines += [f"link add {link.device} type veth peer name {inner}",
                  f"link set {link.device} master {link.bridge} up",
                  f"link set {inner} master {bridge} up"]
    for link in planned.taps:
        lines += [f"tuntap add {link.device} mode tap",
                  f"link set {link.device} master {link.bridge} up"]
    host = planned.management[1]
    lines.append(f"addr add {host}/{planned.management.prefixlen} dev {MANAGEMENT}")
    return lines


class Network:
    """The networks of one lab, by the names of their two namespaces."""

    def __init__(self, name, planned):
        self.name, self.outside_name, self.plan = name, f"{name}-out", planned

    @property
    def exists(self):
        """Whether the namespaces are there."""
        return Path("/run/netns", self.name).exists()

    def up(self):
        """Create what the plan says; a network that is there already is left as it is."""
        if self.exists:
            return
        for name in (self.name, self.outside_name):
            _ip("netns", "add", name)
            # Link-local chatter of the host's own ends would be seen by every VM.
            self.inside(["sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 || :"], name)
        _ip("-n", self.name, "-batch", "-", stdin="\n".join(commands(self.plan)))
        bridge, addresses = self.plan.outside
        _ip("-n", self.name, "link", "add", "outside", "type", "veth", "peer", "name", "eth0",
            "netns", self.outside_name)
        _ip("-n", self.name, "link", "set", "outside", "master", bridge, "up")
        lines = ["link set lo up", "link set eth0 up"]
        lines += [f"addr add {address} dev eth0" for address in addresses]
        _ip("-n", self.outside_name, "-batch", "-", stdin="\n".join(lines))

    def down(self):
        """Remove everything; what is gone already is no error."""
        for name in (f"{self.name}-in", self.outside_name, self.name):
            if Path("/run/netns", name).exists():
                _ip("netns", "del", name)

    @contextlib.contextmanager
    def visitor(self, where=None):
        """
        Give a namespace with an interface eth1 on the internal network, as a measuring instrument
        has one, or at `where`: (bridge, address with prefix), as a foreign host would be.
        """
        name = f"{self.name}-in"
        bridge, address = where or self.plan.instrument
        _ip("netns", "add", name)
        try:
            _ip("-n", self.name, "link", "add", "instrument", "type", "veth", "peer", "name",
                "eth1", "netns", name)
            _ip("-n", self.name, "link", "set", "instrument", "master", bridge, "up")
            _ip("-n", name, "link", "set", "eth1", "up")
            _ip("-n", name, "addr", "add", address, "dev", "eth1")
            yield name
        finally:
            _ip("netns", "del", name)

    def inside(self, argv, name=None):
        """Run a command in the switches' namespace; raises CommandFailed."""
        return _run(["nsenter", f"--net=/run/netns/{name or self.name}", *argv])

    def address(self, number):
        """Return the management address of the VM of that number in the pillar's order."""
        return str(self.plan.management[11 + number])

    def links(self, target):
        """
        Return the links that `target` names: VM, server, VM:INTERFACE or server:INTERFACE.

        Raises LabError naming what there is.
        """
        owner, _, interface = target.partition(":")
        found = [link for link in (*self.plan.taps, *self.plan.uplinks)
                 if link.owner == owner and link.interface != MANAGEMENT
                 and interface in ("", link.interface)]
        if not found:
            known = sorted({link.owner for link in (*self.plan.taps, *self.plan.uplinks)})
            raise LabError(f"no link {target!r}; name a VM or a server ({', '.join(known)}),"
                           " or one of its interfaces like lb1:eth1")
        return found

    def cut(self, target, way=None):
        """Cut links; `way` out or in stops only what the owner sends or receives."""
        for link in self.links(target):
            if way is None:
                # Taking the tap down instead would kill the guest's NIC for good.
                _ip("-n", self.name, "link", "set", link.device, "nomaster")
            else:
                self._drop(link, way)

    def lose(self, target, percent):
        """Lose `percent` of the frames that links carry, both ways, at random; `heal` ends it."""
        for link in self.links(target):
            for way in ("in", "out"):
                self._drop(link, way, f"numgen random mod 100 < {int(percent)} ")

    def _drop(self, link, way, which=""):
        """Add a rule that drops one direction of a link, or `which` frames of it."""
        match = "iifname" if way == "out" else "oifname"
        rules = (f"add table {NFT}\n"
                 f"add chain {NFT} cut {{ type filter hook forward priority 0; }}\n"
                 f'add rule {NFT} cut {match} "{link.device}" {which}drop comment'
                 f' "{link.device}"\n')
        _run(["nsenter", f"--net=/run/netns/{self.name}", "nft", "-f", "-"], stdin=rules)

    def heal(self, target):
        """Undo every cut of the links that `target` names."""
        for link in self.links(target):
            _ip("-n", self.name, "link", "set", link.device, "master", link.bridge)
        self._undrop({link.device for link in self.links(target)})

    def _undrop(self, devices):
        for rule in self._rules():
            if rule.get("comment") in devices:
                self.inside(["nft", "delete", "rule", *NFT.split(), "cut", "handle",
                             str(rule["handle"])])

    def _rules(self):
        try:
            text = self.inside(["nft", "-j", "list", "table", *NFT.split()])
        except CommandFailed:
            return []  # no one-way cut was ever made, so there is no table
        return [item["rule"] for item in json.loads(text)["nftables"] if "rule" in item]

    def cuts(self):
        """Return what is cut now, as the targets that `heal` takes."""
        text = _ip("-n", self.name, "-j", "link", "show")
        master = {entry["ifname"]: entry.get("master") for entry in json.loads(text)}
        dropped = {rule.get("comment") for rule in self._rules()}
        return [f"{link.owner}:{link.interface}" for link in (*self.plan.uplinks, *self.plan.taps)
                if not master.get(link.device) or link.device in dropped]


def _ip(*argv, stdin=None):
    return _run(["ip", *argv], stdin)


def _run(argv, stdin=None):
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True)
    if done.returncode:
        raise CommandFailed(argv, done.returncode, done.stderr)
    return done.stdout
