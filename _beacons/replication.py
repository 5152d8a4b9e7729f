"""
Tells Salt, and heartbeatd, how the database of this VM is: dead, hung, frozen, broken, lagging.

Asking is left to `mysql_watch.look`, which never waits longer than ``patience``. What was said is
remembered in /run, so neither a refresh of the modules nor a restart of the minion loses a change
or invents one. A state that is unknown for a moment is no change.

.. code-block:: yaml

    beacons:
      replication:
        - deadtime: 2      # seconds that writes may wait for the mirror; by default the pillar's
        - patience: 0.3    # seconds a look may take, at most 0.5

Tags: ``salt/beacon/<id>/replication/<change>``, the change being one of those in ``CHANGES``.
Payload: time (Unix seconds), observer_incarnation (this boot), health (the words that the
heartbeat carries, True, False or None), facts, and reason (a sentence, or None).
"""

import json
import os
import time

DEFAULTS = {"deadtime": None, "patience": 0.3, "memory": "/run/cluster/replication.beacon.json"}
# What changed -> (what is said when it became False, when it became True).
CHANGES = {
    "service": ("failed", "serving"),
    "waiting": ("acknowledged", "waiting"),
    "frozen": ("released", "frozen"),
    "following": ("not_following", "following"),
    "fit": ("unfit", "fit"),
    "answers": ("not_answering", "answering"),
    "semi_sync": ("semi_sync_off", "semi_sync_on"),
    "sound": ("broken", "mended"),
    "prompt": ("lagging", "caught_up"),
}
# Said even if nothing was known before: all others only when something became good again.
BAD = {
    "failed", "waiting", "frozen", "not_following", "unfit", "not_answering", "broken", "lagging",
}  # fmt: skip


def __virtual__():
    return "replication"


def validate(config):
    """Return (valid, what is wrong)."""
    if not isinstance(config, list) or not all(isinstance(entry, dict) for entry in config):
        return False, "replication: a list of one-key mappings is needed"
    options = _options(config)
    for key in ("deadtime", "patience"):
        value = options[key]
        if value != DEFAULTS[key] and (type(value) not in (int, float) or value <= 0):
            return False, f"replication: {key} is a positive number of seconds"
    if options["patience"] > 0.5:
        return False, "replication: patience above 0.5 s would hold up the minion"
    if not isinstance(options["memory"], str) or not options["memory"].startswith("/"):
        return False, "replication: memory is an absolute path"
    return True, "valid"


def beacon(config):
    """Return the events since the last call."""
    if "boot.pillar" not in __salt__ or not __salt__["boot.pillar"]():
        return []  # before the first state run
    options = _options(config)
    found = __salt__["mysql_watch.look"](options["deadtime"], options["patience"])
    known = _read(options["memory"])
    events, after = _judge(found, known, time.time())
    if after != known:
        _write(options["memory"], after)
    return events


def _options(config):
    options = dict(DEFAULTS)
    for entry in config:
        options.update(entry)
    return options


def _judge(found, known, now):
    """Return (events, what to remember): pure."""
    words = {**found["health"], **found["facts"]}
    after = {**known, **{key: value for key, value in words.items() if value is not None}}
    events = []
    for key, value in after.items():
        change = CHANGES[key][bool(value)]
        if known.get(key) == value or (key not in known and change not in BAD):
            continue
        events.append({"tag": change, "time": now, "observer_incarnation": _boot(), **found})
    return events, after


def _boot():
    """Return when this VM booted, in Unix seconds: it tells an event from one before a reboot."""
    return int(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError):
        return {}


def _write(path, content):
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.replace(f"{path}.new", path)
