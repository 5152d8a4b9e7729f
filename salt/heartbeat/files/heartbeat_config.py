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
    keys: tuple  # bytes each; the first signs, each is believed
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
            str(data["name"]), str(data["cluster"]), _keys(data), _timing(data["timing"]),
            links, {**PATHS, **data.get("paths", {})},
        )  # fmt: skip
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing") from None
    except (AttributeError, TypeError) as error:
        raise ValueError(f"a key has the wrong type: {error}") from None
    if not config.peers():
        raise ValueError("links: there is no peer on any link")
    return config


def refuse_deaf(path, config):
    """
    Raise ValueError if ``config`` would not hear those who still have the configuration at
    ``path``, or would not be heard by them; one that is absent or no longer right refuses nothing.
    """
    try:
        with open(path, encoding="utf-8") as file:
            before = parse(file.read())
    except (OSError, ValueError):
        return
    wrong = []
    if before.keys[0] not in config.keys or config.keys[0] not in before.keys:
        wrong.append("the key")
    if before.cluster != config.cluster:
        wrong.append("the name of the cluster")
    ports = [{entry["port"] for entry in each.links.values() if "port" in entry}
             for each in (before, config)]  # fmt: skip
    if all(ports) and ports[0] != ports[1]:
        wrong.append("the port")
    if wrong:
        raise ValueError(
            f"{' and '.join(wrong)} changed at once: VMs that have it would not hear those that "
            "have not, and move what these hold. See the runbook, Change the key of the heartbeats"
        )


def _keys(data):
    return tuple(_key(data[name]) for name in ("key", "also") if name == "key" or data.get(name))


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
