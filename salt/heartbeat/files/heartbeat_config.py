"""heartbeatd's configuration: one JSON file, written by the state of this component."""

import json
from typing import NamedTuple

import heartbeat_links
from heartbeat_view import Timing

# Where everything is; a configuration may name other places (the tests do).
PATHS = {
    "view": "/run/cluster/heartbeat.json",  # written here for the beacon, the runner and people
    "held": "/run/cluster/held",  # <resource>.json {"epoch": n}: served here at epoch n
    "health": "/run/cluster/health",  # <service>.json {"ok", "at"}, of _utils/health.py
    "claims": "/var/lib/cluster",  # <resource>.json {"epoch": n}: of _modules/claim.py
    "incarnation": "/var/lib/cluster/heartbeat.incarnation",
    "step_down": "/usr/local/lib/cluster/step-down",  # argv: resource, held epoch, heard epoch
    "log": "/dev/log",
}


class Config(NamedTuple):
    """What the file says, judged."""

    name: str
    cluster: str
    key: bytes
    timing: Timing
    links: dict  # name -> entry, each one good for heartbeat_links.make
    paths: dict

    def peers(self):
        """Return peer -> names of the links to it."""
        found = {}
        for link, entry in self.links.items():
            for peer in entry["peers"]:
                found.setdefault(peer, []).append(link)
        return found


def parse(text):
    """Return the Config; raises ValueError with what is wrong, never with the key."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    try:
        links = data["links"]
        for name, entry in links.items():
            if not isinstance(entry.get("peers"), dict):
                raise ValueError(f"links.{name}.peers: peer names and addresses are missing")
            heartbeat_links.make(name, entry)
        config = Config(
            str(data["name"]), str(data["cluster"]), _key(data["key"]), _timing(data["timing"]),
            links, {**PATHS, **data.get("paths", {})},
        )  # fmt: skip
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing") from None
    except (AttributeError, TypeError) as error:
        raise ValueError(f"a key has the wrong type: {error}") from None
    if not config.peers():
        raise ValueError("links: there is no peer on any link")
    return config


def _key(text):
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise ValueError("key is not hexadecimal") from None
    if len(key) < 32:
        raise ValueError("key has less than 32 bytes")
    return key


def _timing(data):
    timing = Timing(*(float(data[word]) for word in Timing._fields))
    if not 0 < timing.keepalive < timing.warntime < timing.deadtime <= timing.initdead:
        raise ValueError("timing: 0 < keepalive < warntime < deadtime <= initdead is needed")
    return timing
