"""
What carries heartbeats: UDP unicast, bare Ethernet, serial lines. Nothing here ever blocks.

Every link has ``peers``, ``open()``, ``close()``, ``fileno()``, ``send(peer, packet)`` and
``receive(most)``, which returns (packets, strangers): at most ``most`` packets that arrived, and
how many more came from addresses that are no peer's. A link that cannot be opened or breaks is
closed and opened again later: at boot interfaces come after this daemon.
"""

import errno
import os
import socket
import termios
import tty

LARGER = 1500  # bytes to read: more than the largest heartbeat, so that oversize is seen
GONE = (errno.ENODEV, errno.ENXIO, errno.EBADF, errno.EIO, errno.ENETDOWN)
BUFFER = 1 << 20  # bytes: seconds of heartbeats wait here while this VM stands still
ETHERTYPE = 0x88B5  # IEEE 802: for local experiments and private protocols
_SO_RCVBUFFORCE = 33
_IP_FREEBIND = 15
_CONTROL = 6  # SO_PRIORITY: before the bulk traffic that may fill the same interface


class Link:
    """What all links share: counting what could not be sent, closing what broke."""

    every = 1  # of so many heartbeats one goes over this link

    def __init__(self, name, peers, interface=None):
        self.name, self.peers, self.interface = name, peers, interface
        self.socket, self.dropped, self.problem = None, 0, None
        self.index = None

    def is_open(self):
        return self.socket is not None

    def is_stale(self):
        """Return whether the interface is another one by now, and the socket deaf for good."""
        return self.problem is not None and self.index != _index(self.interface)

    def fileno(self):
        return self.socket.fileno()

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def open(self):
        """Return whether the link is open now; ``problem`` says why not."""
        try:
            self._open()
            self.problem = None
        except OSError as error:
            self.close()
            self.problem = str(error)
        return self.is_open()

    def send(self, peer, packet):
        try:
            self._send(peer, packet)
            self.problem = None
        except OSError as error:
            self.dropped += 1
            self._broken(error)

    def receive(self, most):
        packets, strangers = [], 0
        try:
            while len(packets) + strangers < most:
                packet, source = self.socket.recvfrom(LARGER)
                if self._known(source):
                    packets.append(packet)
                else:
                    strangers += 1
        except BlockingIOError:
            pass
        except OSError as error:
            self._broken(error)
        return packets, strangers

    def _known(self, source):
        return True

    def _broken(self, error):
        if not isinstance(error, BlockingIOError):
            self.problem = str(error)
        if error.errno in GONE:
            self.close()

    def _prepare(self):
        self.index = _index(self.interface)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, _CONTROL)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
        except PermissionError:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)


def _index(interface):
    try:
        return socket.if_nametoindex(interface) if interface else None
    except OSError:
        return 0


class Udp(Link):
    """UDP unicast between fixed addresses on one interface."""

    def __init__(self, name, peers, address, port, interface=None):
        super().__init__(name, peers, interface)
        self.address, self.port = address, port
        self.sources = {(peer, port) for peer in peers.values()}

    def _open(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._prepare()
        if self.interface:
            device = self.interface.encode()
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        # At boot the address may come later than this daemon.
        self.socket.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        self.socket.bind((self.address, self.port))

    def _send(self, peer, packet):
        self.socket.sendto(packet, (self.peers[peer], self.port))

    def _known(self, source):
        return source in self.sources


class Ethernet(Link):
    """
    Broadcast frames on an interface that has no address of its own.

    The balancers' public interface carries only the floating address, on one of them: with strict
    or loose reverse path filtering the kernel drops any IP packet that the other could send.
    """

    def __init__(self, name, peers, interface):
        super().__init__(name, peers, interface)

    def _open(self):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETHERTYPE))
        self._prepare()
        self.socket.bind((self.interface, ETHERTYPE))

    def _send(self, peer, packet):
        self.socket.sendto(packet, (self.interface, ETHERTYPE, 0, 0, b"\xff" * 6))


class Frames:
    """Packets in a stream of bytes, delimited as in RFC 1055 (SLIP): resynchronises at each END."""

    END, ESC = b"\xc0", b"\xdb"

    def __init__(self):
        self.rest = b""

    @classmethod
    def frame(cls, packet):
        packet = packet.replace(cls.ESC, b"\xdb\xdd").replace(cls.END, b"\xdb\xdc")
        return cls.END + packet + cls.END

    def feed(self, data):
        """Return the packets that are complete now; noise comes out as packets nobody accepts."""
        *whole, self.rest = (self.rest + data).split(self.END)
        self.rest = self.rest[: 2 * LARGER]
        found = (part.replace(b"\xdb\xdc", self.END).replace(b"\xdb\xdd", self.ESC)
                 for part in whole)  # fmt: skip
        return [packet[:LARGER] for packet in found if packet]


class Serial(Link):
    """A null-modem cable to one peer."""

    # A serial port costs the processor an interrupt for every few bytes. Too many would leave less
    # than one heartbeat in warntime.
    every = 3

    def __init__(self, name, peers, device, speed=115200):
        super().__init__(name, peers)
        self.device, self.speed = device, getattr(termios, f"B{speed}")
        self.frames, self.unsent = Frames(), b""

    def is_open(self):
        return self.socket is not None

    def fileno(self):
        return self.socket

    def close(self):
        if self.socket is not None:
            os.close(self.socket)
            self.socket = None
        self.frames, self.unsent = Frames(), b""

    def _open(self):
        self.socket = os.open(self.device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            tty.setraw(self.socket, termios.TCSANOW)
            mode = termios.tcgetattr(self.socket)
            mode[2] |= termios.CLOCAL | termios.CREAD  # no modem: never wait for a carrier
            mode[2] &= ~termios.CRTSCTS
            mode[4] = mode[5] = self.speed
            termios.tcsetattr(self.socket, termios.TCSANOW, mode)
        except termios.error as error:
            raise OSError(errno.ENOTTY, f"{self.device}: {error}") from error

    def _send(self, peer, packet):
        # A slow or dead line keeps one frame at most: an old heartbeat helps nobody.
        self.unsent = self.unsent[self._write(self.unsent) :]
        if self.unsent:
            raise BlockingIOError(errno.EAGAIN, "the line is busy")
        frame = Frames.frame(packet)
        self.unsent = frame[self._write(frame) :]

    def _write(self, data):
        try:
            return os.write(self.socket, data) if data else 0
        except BlockingIOError:
            return 0

    def receive(self, most):
        try:
            data = os.read(self.socket, most * 16)
            if not data:
                raise OSError(errno.EIO, f"{self.device}: hung up")
            return self.frames.feed(data), 0
        except BlockingIOError:
            return [], 0
        except OSError as error:
            self._broken(error)
            return [], 0


KINDS = {"udp": Udp, "ethernet": Ethernet, "serial": Serial}


def make(name, entry):
    """Return the Link of one entry of the configuration; raises ValueError if there is none."""
    entry = dict(entry)
    kind = entry.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"links.{name}.kind: {kind!r} is none of {', '.join(KINDS)}")
    try:
        return KINDS[kind](name, **entry)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"links.{name}: {error}") from error
