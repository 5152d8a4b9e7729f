"""
Tells Salt when the replication of the file servers changes, and has the VM's health said.

It looks once a second by `files_watch.look`, which also writes the health that heartbeatd carries
(``files.service``, ``files.waiting``, ``files.frozen``, ``files.following``, ``files.fit``); what
was seen is kept in /run, so neither a refresh of the modules nor a restart of the minion invents a
change or loses one.

.. code-block:: yaml

    beacons:
      drbd: []

Tag: ``salt/beacon/<observer>/drbd/<change>``, where change is the first of CHANGES that differs.
Payload: time (Unix seconds, by this VM's clock), observer, observer_incarnation (heartbeatd's,
None if it does not run), changes ({name: [old, new]}), reason (a sentence) and health.
"""

import json
import logging
import time

from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)

VIEW = "/run/cluster/heartbeat.json"
CHANGES = (
    "split_brain", "suspended", "frozen", "waiting", "service", "disk", "role", "connection",
    "fit", "following", "peer_disk", "replication",
)  # fmt: skip


def __virtual__():
    return "drbd"


def validate(config):
    """Return (valid, what is wrong)."""
    if config not in ([], {}):
        return False, "drbd: there is nothing to configure; write drbd: []"
    return True, "valid"


def beacon(config):
    """Return one event with everything that changed since the last call, or none."""
    if "boot.pillar" not in __salt__ or not __salt__["boot.pillar"]():
        return []  # before the first state run
    try:
        found = __salt__["files_watch.look"]()
    except (CommandExecutionError, OSError) as error:
        log.info("drbd: nothing can be told: %s", error)
        return []
    if not found["changes"]:
        return []
    first = next((name for name in CHANGES if name in found["changes"]), "other")
    return [
        {
            "tag": first,
            "time": time.time(),
            "observer": __opts__["id"],
            "observer_incarnation": _incarnation(),
            "changes": found["changes"],
            "reason": found["reason"],
            "health": found["health"],
        }
    ]


def _incarnation():
    try:
        with open(VIEW, encoding="utf-8") as file:
            return json.load(file)["incarnation"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
