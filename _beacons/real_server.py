"""
Tells Salt what poold found on this balancer: a web VM is out, or back; an address is used twice.

It only reads poold's file in /run, and remembers there what it said: neither a refresh of the
modules nor a restart of the minion loses an event or invents one. poold has acted by then; what
these events are for is the record, and a reactor that has more to do.

.. code-block:: yaml

    beacons:
      real_server:
        - stale: 3     # seconds after which what poold found says nothing any more

Tags: ``salt/beacon/<balancer>/real_server/<up|down>/<name>``, ``.../duplicate/<address>``, and
``.../sorry/<on|off>`` when nobody is left, or somebody again. Payload of all: ``observer``,
``observer_incarnation`` (CLOCK_BOOTTIME of poold's word, which only grows until a boot), ``time``
(Unix seconds). Of up and down: ``name``, ``state`` (up, down, stuck, unfit), ``why``, ``since``;
of duplicate: ``address``, ``interface``, ``mac``, ``since``, ``foreign`` (the other balancer says
that it is not the one).
"""

import json
import os
import time

FOUND = "/run/cluster/pool.json"
MEMORY = "/run/cluster/real_server.beacon.json"
STALE = 3


def __virtual__():
    return "real_server"


def validate(config):
    """Return (valid, what is wrong)."""
    if not isinstance(config, list) or not all(isinstance(entry, dict) for entry in config):
        return False, "real_server: a list of one-key mappings is needed"
    stale = _stale(config)
    if type(stale) not in (int, float) or stale <= 0:
        return False, "real_server: stale is a positive number of seconds"
    return True, "valid"


def beacon(config):
    """Return the events since the last call."""
    found, memory = _read(FOUND), _read(MEMORY) or {}
    if not found or time.clock_gettime(time.CLOCK_BOOTTIME) - found["at"] > _stale(config):
        return []  # poold says nothing: no news of anybody
    after = {
        "servers": {name: _word(entry) for name, entry in found["servers"].items()},
        "duplicates": sorted({f"{each['address']} {each['mac']}" for each in found["duplicates"]}),
        "sorry": found["sorry"],
    }
    if after != memory:
        new = f"{MEMORY}.new"
        with open(new, "w", encoding="utf-8") as file:
            json.dump(after, file)
        os.replace(new, MEMORY)
    common = {
        "observer": __opts__["id"],
        "observer_incarnation": int(found["at"] * 1000),
        "time": time.time(),
    }
    return [common | event for event in _events(found, memory, after)]


def _events(found, memory, after):
    """Yield what is other than what was said; a server nobody spoke of is taken for up."""
    told = memory.get("servers", {})
    for name, word in after["servers"].items():
        if word != told.get(name, "up"):
            entry = found["servers"][name]
            facts = {key: entry[key] for key in ("state", "why", "since")}
            yield {"tag": f"{word}/{name}", "name": name, **facts}
    for each in found["duplicates"]:
        if f"{each['address']} {each['mac']}" not in memory.get("duplicates", []):
            yield {"tag": f"duplicate/{each['address']}", **each}
    if after["sorry"] != memory.get("sorry", False):
        yield {"tag": f"sorry/{'on' if after['sorry'] else 'off'}"}


def _word(entry):
    return "up" if entry["state"] == "up" else "down"


def _stale(config):
    return next((entry["stale"] for entry in config if "stale" in entry), STALE)


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        return content if isinstance(content, dict) else None
    except (OSError, ValueError):
        return None
