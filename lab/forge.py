"""
Sends forged heartbeats as fast as told, with the address of another; prints how many were sent.

Run as: python forge.py SOURCE TARGET PORT PER_SECOND SECONDS, in a namespace that is on the
internal network.
"""

import os
import random
import socket
import struct
import sys
import time


def packet(source, target, port, payload):
    """Return an IPv4 packet with a UDP datagram; its checksums are the kernel's and nobody's."""
    length = 8 + len(payload)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0, 64, socket.IPPROTO_UDP, 0,
                         socket.inet_aton(source), socket.inet_aton(target))
    return header + struct.pack("!HHHH", port, port, length, 0) + payload


def main(source, target, port, per_second, seconds):
    """Send."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    # Random bytes, an empty and a huge datagram, and something that looks like a message.
    payloads = [os.urandom(size) for size in (0, 1, 64, 200, 200, 1200)]
    payloads += [b'{"cluster": "moodle", "from": "db1", "seq": 1}' + os.urandom(32)]
    packets = [packet(source, target, int(port), payload) for payload in payloads]
    begun, sent = time.monotonic(), 0
    while (passed := time.monotonic() - begun) < float(seconds):
        while sent < passed * float(per_second):
            sender.sendto(random.choice(packets), (target, 0))
            sent += 1
        time.sleep(0.002)
    print(sent)


if __name__ == "__main__":
    main(*sys.argv[1:])
