"""
All VMs but one, as far as that one can tell: sends it their heartbeats, from their addresses.

Run as: python peers.py CODE CONFIGURATION HELD, in a namespace where all these addresses are local.
CODE is the folder of heartbeatd's modules, CONFIGURATION that of the heartbeatd to be fed, HELD a
JSON object VM -> resource.
"""

import json
import socket
import sys
import time
from pathlib import Path


def main(code, path, held):
    """Send, evenly over each keepalive, until killed."""
    sys.path.insert(0, code)
    import heartbeat
    from heartbeat import Beat

    told, held = json.loads(Path(path).read_text()), json.loads(held)
    link = told["links"]["internal"]
    key, identity = bytes.fromhex(told["key"]), heartbeat.identity(told["cluster"])
    pause = told["timing"]["keepalive"]
    sockets = {name: bound(address, link["port"]) for name, address in link["peers"].items()}
    target, number, echo = (link["address"], link["port"]), 0, 0
    begun = time.monotonic()
    while True:
        number += 1
        echo = incarnation(told["paths"]["view"]) or echo
        for index, (name, sender) in enumerate(sockets.items()):
            claims = {held[name]: (3, heartbeat.HELD)} if name in held else {}
            health = {f"{what}.{word}": True for what in ("files", "database")
                      for word in ("fit", "following")}
            beat = Beat(name, told["name"], "internal", 1, number, echo, 1, claims, health, {})
            due = begun + (number - 1 + index / len(sockets)) * pause
            time.sleep(max(0, due - time.monotonic()))
            sender.sendto(heartbeat.encode(beat, key, identity), target)


def bound(address, port):
    """Return a socket that sends from there; what comes back is dropped."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
    sender.bind((address, port))
    return sender


def incarnation(view):
    """Return the observer's incarnation, None while it has not written its view."""
    try:
        return json.loads(Path(view).read_text())["incarnation"]
    except (OSError, ValueError, KeyError):
        return None


if __name__ == "__main__":
    main(*sys.argv[1:])
