"""
Tells Salt what heartbeatd hears: a peer is late, lost, or back; or this VM itself is blind.

It only reads heartbeatd's view in /run, and remembers there what it said: neither a refresh of the
modules nor a restart of the minion loses an event or invents one.

.. code-block:: yaml

    beacons:
      heartbeat:
        - repeat: 5    # seconds between two events about the same unresolved loss
        - stale: 3     # seconds after which a view says nothing any more

Tags: ``salt/beacon/<observer>/heartbeat/<late|lost|back>/<peer>`` and
``salt/beacon/<observer>/heartbeat/blind``. Payload of the first three:

peer
    the VM it is about.
observer
    the VM that says so.
observer_incarnation, peer_incarnation, losses
    together they name the episode: the heartbeatd that says so, the one of the peer it means, how
    often this peer was lost to this observer. A later event with lower numbers is a replay.
time, since
    Unix seconds of this event, and of the beginning of the state; by this VM's own clock.
silence
    seconds since the last heartbeat on any link; None if this heartbeatd never heard the peer.
repeat
    0, or how often this loss was told before.
links, claims, health
    the state of each link, and what the peer said last about itself.

Of blind: observer, observer_incarnation, time, since and age (seconds) of the view, None if there
is none, and repeat. It is repeated like a loss. It says nothing about any peer.
"""

import json
import os
import time

DEFAULTS = {
    "view": "/run/cluster/heartbeat.json",
    "memory": "/run/cluster/heartbeat.beacon.json",
    "repeat": 5,
    "stale": 3,
}
_WORDS = {"up": "up", "late": "late", "dead": "lost"}


def __virtual__():
    return "heartbeat"


def validate(config):
    """Return (valid, what is wrong)."""
    if not isinstance(config, list) or not all(isinstance(entry, dict) for entry in config):
        return False, "heartbeat: a list of one-key mappings is needed"
    options = _options(config)
    for key in ("repeat", "stale"):
        if type(options[key]) not in (int, float) or options[key] <= 0:
            return False, f"heartbeat: {key} is a positive number of seconds"
    for key in ("view", "memory"):
        if not isinstance(options[key], str) or not options[key].startswith("/"):
            return False, f"heartbeat: {key} is an absolute path"
    return True, "valid"


def beacon(config):
    """Return the events since the last call."""
    options = _options(config)
    memory = _read(options["memory"]) or {}
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    events, after = _judge(_read(options["view"]), memory, now, time.time(), options)
    if after != memory:
        _write(options["memory"], after)
    return events


def _options(config):
    options = dict(DEFAULTS)
    for entry in config:
        options.update(entry)
    return options


def _read(path):
    """Return the JSON object in the file, None if there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        return content if isinstance(content, dict) else None
    except (OSError, ValueError):
        return None


def _write(path, content):
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)  # heartbeatd may not run yet
    new = f"{path}.new"
    with open(new, "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.replace(new, path)


def _judge(view, memory, now, wall, options):
    """Return (events, memory): pure. ``now`` is the view's clock, ``wall`` Unix seconds."""
    age = None if view is None else now - view["at"]
    if age is None or age > options["stale"]:
        return _blind(age, memory, now, wall, options)
    known = memory.get("peers", {})
    same = memory.get("observer") == view["incarnation"]
    events, peers = [], {}
    for name, peer in view["peers"].items():
        before = known.get(name, {})
        if before and not same:
            before = {**before, "losses": 0}  # a new heartbeatd counts from the start
        word, peers[name] = _about(peer, before, now, options["repeat"])
        if word:
            events.append(_event(word, name, peer, peers[name], view, age, wall))
    return events, {"observer": view["incarnation"], "peers": peers}


def _blind(age, memory, now, wall, options):
    """The peers' part of the memory stays: what was told of them is neither more nor less true."""
    said, repeat = memory.get("blind", (None, -1))
    if said is not None and now - said < options["repeat"]:
        return [], memory
    event = {
        "tag": "blind",
        "observer": __opts__["id"],
        "observer_incarnation": memory.get("observer", 0),
        "time": wall,
        "age": age,
        "repeat": repeat + 1,
        "since": None if age is None else wall - age,
    }
    return [event], {**memory, "blind": [now, repeat + 1]}


def _about(peer, before, now, every):
    """Return (late, lost, back or None; what to remember of the peer)."""
    told = before.get("told", "up")
    # Unknown: not heard since heartbeatd started. What was lost before is lost still.
    state = _WORDS.get(peer["state"], told)
    again = peer["losses"] > before.get("losses", peer["losses"])
    after = {"told": state, "losses": peer["losses"], "said": now, "repeat": 0}
    if state == "lost":
        if told != "lost" or again:
            return "lost", after
        if now - before["said"] >= every:
            return "lost", {**after, "repeat": before["repeat"] + 1}
        return None, {**before, "losses": peer["losses"]}
    if state == "up" and (told != "up" or again):
        return "back", after
    if state == "late" and told != "late":
        return "late", after
    return None, {**after, "said": before.get("said", now)}


def _event(word, name, peer, memory, view, age, wall):
    heard = peer["incarnation"] > 0 and peer["state"] != "unknown"
    return {
        "tag": f"{word}/{name}",
        "peer": name,
        "observer": __opts__["id"],
        "observer_incarnation": view["incarnation"],
        "peer_incarnation": peer["incarnation"],
        "losses": peer["losses"],
        "time": wall,
        "since": wall - age - peer["for"],
        "silence": round(peer["silence"] + age, 3) if heard else None,
        "repeat": memory["repeat"],
        "links": {link: entry["state"] for link, entry in peer["links"].items()},
        "claims": peer["claims"],
        "health": peer["health"],
    }
