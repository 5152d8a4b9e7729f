"""
Addresses that move between VMs: add, remove, announce, and see whether somebody else holds one.

Floating addresses live in the kernel only, never in a boot configuration, so a VM that boots
holds none (I5). A gratuitous ARP corrects every neighbour's cache at once; it is sent by a raw
socket, because a process costs more than the packet. An address is `{address, prefix, interface}`.

Every function raises CommandExecutionError when the kernel refuses, SaltInvocationError for
something that is not an address.
"""

import fcntl
import ipaddress
import json
import socket
import struct
import time

import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

__func_alias__ = {"list_": "list"}

ARP = 0x0806
ETHERNET = 1
REQUEST, REPLY = 1, 2
SIOCGIFFLAGS, IFF_RUNNING = 0x8913, 0x40
NOBODY, EVERYBODY, ANY = b"\0" * 6, b"\xff" * 6, b"\0" * 4
# destination, source, type; hardware, protocol, their lengths, operation; sender, target
FRAME = struct.Struct("!6s6sH HHBBH 6s4s 6s4s")


def __virtual__():
    if salt.utils.path.which("ip"):
        return "address"
    return False, "ip (iproute2) is not installed"


def _run(*args, **given):
    return __utils__["command.output"](["ip", *args], timeout=10, **given)


def _parse(text):
    """Return the IPv4 addresses in the output of `ip -j addr`."""
    try:
        return [
            {
                "address": entry["local"],
                "prefix": entry["prefixlen"],
                "interface": link["ifname"],
                "secondary": entry.get("secondary", False),
            }
            for link in json.loads(text)
            if link  # iproute2 prints an empty object for a link without IPv4 addresses
            for entry in link["addr_info"]
            if entry["family"] == "inet"
        ]
    except (ValueError, KeyError, TypeError) as err:
        raise CommandExecutionError(f"ip -j addr: output not understood: {err!r}") from err


def list_():
    """
    Return this VM's IPv4 addresses: address, prefix, interface, secondary.

    CLI Example::

        salt lb1 address.list
    """
    return _parse(_run("-j", "-4", "addr", "show"))


def missing(addresses):
    """
    Return which of several addresses this VM does not hold, asked without a process: only who has
    an address can bind to it.

    CLI Example::

        salt file1 address.missing '[{address: 192.168.10.5}]'
    """
    return [entry["address"] for entry in addresses if not _here(entry["address"])]


def _here(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        try:
            bound.bind((_ip(address), 0))
        except OSError:
            return False
    return True


def present(address, prefix, interface):
    """
    Hold an address on an interface and announce it; safe to repeat. Returns True.

    CLI Example::

        salt file1 address.present 192.168.10.5 24 eth1
    """
    return present_all([{"address": address, "prefix": prefix, "interface": interface}])


def present_all(addresses, gateway=None, announcements=3):
    """
    Hold several addresses, all or none, and announce them; safe to repeat. Returns True.

    With ``gateway`` the default route goes there, from the first address of the list. The first of
    the ``announcements`` is sent at once, each further one 0.05 s later. If anything fails, none
    of the addresses is left and CommandExecutionError is raised.

    CLI Example::

        salt lb1 address.present_all '[{address: 203.0.113.10, prefix: 24, interface: eth0}]'
    """
    _check(addresses)
    links = dict.fromkeys(entry["interface"] for entry in addresses)
    lines = [f"link set dev {link} up" for link in links]
    lines += [
        f"addr replace {entry['address']}/{entry['prefix']} dev {entry['interface']}"
        for entry in addresses
    ]
    if gateway:
        first = addresses[0]
        lines.append(
            f"route replace default via {_ip(gateway)} dev {first['interface']}"
            f" src {first['address']}"
        )
    try:
        _run("-batch", "-", input="".join(f"{line}\n" for line in lines))
        _announce(addresses, announcements, interval=0.05)
    except (CommandExecutionError, SaltInvocationError):  # the latter: no Ethernet interface
        absent_all(addresses)
        raise
    return True


def absent(address, prefix=None, interface=None):
    """
    Give up an address wherever this VM holds it; return True if it did.

    ``prefix`` and ``interface`` are accepted so that an entry of ``address.list`` fits; an address
    given up is given up on every interface.

    CLI Example::

        salt file1 address.absent 192.168.10.5
    """
    return absent_all([{"address": address}])


def absent_all(addresses):
    """
    Give up several addresses wherever this VM holds them; return True if it held any.

    A default route that was made by present_all goes with its address.

    CLI Example::

        salt lb1 address.absent_all '[{address: 203.0.113.10}, {address: 192.168.10.1}]'
    """
    unwanted = {_ip(entry["address"]) for entry in addresses}
    lines = [
        f"addr del {entry['address']}/{entry['prefix']} dev {entry['interface']}\n"
        for entry in reversed(list_())  # secondaries first: they may go with their primary
        if entry["address"] in unwanted
    ]
    if lines:
        # -force: one that cannot be removed must not keep the others up
        _run("-force", "-batch", "-", input="".join(lines))
    return bool(lines)


def announce(address, interface, count=3, interval=0.05):
    """
    Send gratuitous ARP for an address, ``count`` times every ``interval`` seconds.

    CLI Example::

        salt file1 address.announce 192.168.10.5 eth1
    """
    _announce([{"address": _ip(address), "interface": interface}], count, interval)


def _announce(addresses, count, interval):
    """Both forms each time: some neighbours learn from requests only, some from replies only."""
    sockets = []
    try:
        for entry in addresses:
            sockets.append(_socket(entry["interface"]))
        for turn in range(count):
            if turn:
                time.sleep(interval)
            for entry, arp in zip(addresses, sockets, strict=True):
                own, packed = arp.getsockname()[4], socket.inet_aton(entry["address"])
                for operation in (REQUEST, REPLY):
                    arp.send(_frame(operation, own, packed, EVERYBODY, packed))
    except OSError as err:
        raise CommandExecutionError(f"gratuitous ARP for {addresses}: {err}") from err
    finally:
        for arp in sockets:
            arp.close()


def _frame(operation, own, sender, target_mac, target):
    return FRAME.pack(
        EVERYBODY, own, ARP, ETHERNET, 0x0800, 6, 4, operation, own, sender, target_mac, target
    )


def _socket(interface):
    """Return a raw ARP socket on an Ethernet interface."""
    arp = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP))
    try:
        arp.bind((interface, ARP))
        if arp.getsockname()[3] != ETHERNET:
            raise SaltInvocationError(f"{interface} is no Ethernet interface")
    except (OSError, SaltInvocationError):
        arp.close()
        raise
    return arp


def duplicate(address, interface, probes=3, interval=0.1):
    """
    Return the hardware address of another machine that holds this address, or None.

    ARP probes after RFC 5227, one every ``interval`` seconds; the RFC's seconds between probes
    are for hosts that do not know their network, ours answers within a millisecond. Raises
    CommandExecutionError when nobody could have answered (no carrier): unknown is not "none".

    CLI Example::

        salt lb1 address.duplicate 203.0.113.10 eth0
    """
    packed = socket.inet_aton(_ip(address))
    try:
        with _socket(interface) as arp:
            _need_carrier(arp, interface)
            own = arp.getsockname()[4]
            for _ in range(probes):
                arp.send(_frame(REQUEST, own, ANY, NOBODY, packed))
                if found := _hear(arp, packed, own, time.monotonic() + interval):
                    return found.hex(":")
    except OSError as err:
        raise CommandExecutionError(f"ARP probe for {address} on {interface}: {err}") from err
    return None


def _hear(arp, packed, own, deadline):
    while (left := deadline - time.monotonic()) > 0:
        arp.settimeout(left)
        try:
            frame = arp.recv(2048)
        except TimeoutError:
            return None
        if found := _holder(frame, packed, own):
            return found
    return None


def _holder(frame, packed, own):
    """Return the sender's hardware address if the ARP frame shows it holds or wants the address."""
    if len(frame) < FRAME.size:
        return None
    *_, operation, mac, sender, _, target = FRAME.unpack(frame[: FRAME.size])
    probing = operation == REQUEST and sender == ANY and target == packed
    return mac if mac != own and (sender == packed or probing) else None


def _need_carrier(arp, interface):
    request = struct.pack("16sH14x", interface.encode(), 0)
    (flags,) = struct.unpack_from("16xH", fcntl.ioctl(arp, SIOCGIFFLAGS, request))
    if not flags & IFF_RUNNING:
        raise CommandExecutionError(f"{interface} has no carrier: nobody could have answered")


def answers(host, port, timeout=2):
    """
    Return True if a TCP port accepts a connection within ``timeout`` seconds, else False.

    CLI Example::

        salt lb1 address.answers 192.168.10.11 80
    """
    try:
        with socket.create_connection((host, int(port)), timeout=timeout):
            return True
    except OSError:
        return False


def _check(addresses):
    if not addresses:
        raise SaltInvocationError("no address given")
    for entry in addresses:
        _ip(entry["address"])
        prefix, interface = entry["prefix"], entry["interface"]
        if not isinstance(prefix, int) or not 0 < prefix <= 32:
            raise SaltInvocationError(f"prefix must be a number from 1 to 32, not {prefix!r}")
        if not interface or set(interface) & set(" \t\n/"):
            raise SaltInvocationError(f"{interface!r} is no network interface")


def _ip(text):
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as err:
        raise SaltInvocationError(str(err)) from err
