"""
Tells a master at once what its VM's heartbeatd hears, without a minion and without a job.

The beacon of the same name says it too, once a second and through both masters; it is the safety
net. An event is only a reason to look: whoever reacts decides from what he finds then.

.. code-block:: yaml

    engines:
      - heartbeat:
          interval: 0.05    # seconds between two looks at heartbeatd's view
          tend: 5           # seconds between two reasons to look without any change

Tags: ``cluster/heartbeat/<late|lost|back|changed>/<peer>`` and ``cluster/tend``. Payload:

time, observer, observer_incarnation
    Unix seconds by this VM's clock; this VM; its heartbeatd (0 if there is no view).
peer, peer_incarnation, losses, silence, claims, health
    of the first three: as the beacon tells it.
peers
    of changed: all whose claims, health, or those whom they lost, are others than before.
"""

import gc
import json
import logging
import os
import time

import salt.utils.event
from salt.exceptions import SaltException

log = logging.getLogger(__name__)

VIEW = "/run/cluster/heartbeat.json"
STALE = 3  # seconds after which a view says nothing any more
WORDS = {"up": "up", "late": "late", "dead": "lost"}


def __virtual__():
    return "heartbeat"


def start(interval=0.05, tend=5, view=VIEW):
    """Look and tell, until the master ends."""
    # What this process shares with the master it was forked from stays shared.
    gc.freeze()
    watch = Watch(view, tend)
    while True:
        try:
            with salt.utils.event.get_master_event(
                __opts__, __opts__["sock_dir"], listen=False
            ) as bus:
                while True:
                    watch.tell(bus)
                    time.sleep(interval)
        except (OSError, SaltException) as error:
            log.warning("The heartbeat engine cannot fire its events: %s", error)
            time.sleep(interval)


class Watch:
    """The view's file, and what was told of it."""

    def __init__(self, path, tend):
        self.path, self.every = path, tend
        self.mark, self.view, self.known, self.due = None, {}, {}, 0.0

    def tell(self, bus):
        """Fire what is new; what the bus does not take, the next call tells again."""
        mark = self.look()
        events, known = _news(self.known, self.view) if mark else ([], self.known)
        if (now := _clock()) >= self.due:
            events.append(("cluster/tend", {}))
        if _fire(bus, events, self.view):
            self.known, self.mark = known, mark or self.mark
            self.due = now + self.every if now >= self.due else self.due

    def look(self):
        """Read the view if it is another one by now; return its mark if it says anything."""
        try:
            found = os.stat(self.path)
            mark = found.st_ino, found.st_mtime_ns
            if mark == self.mark:
                return None
            with open(self.path, encoding="utf-8") as file:
                self.view = json.load(file)
        except (OSError, ValueError):
            return None
        return mark if _clock() - self.view["at"] <= STALE else None


def _clock():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _news(known, view):
    """Return ([(tag, payload)], what is known now): pure."""
    told = [(name, peer, known.get(name, {})) for name, peer in view["peers"].items()]
    after = {name: _memory(peer, before) for name, peer, before in told}
    events = []
    for word in ("lost", "late", "back"):
        for name, peer, before in told:
            if _word(before, after[name]) == word:
                events.append((f"cluster/heartbeat/{word}/{name}", _about(name, peer)))
    changed = [name for name, _, before in told if before and _said(before) != _said(after[name])]
    if changed:
        name = changed[0]
        payload = {**_about(name, view["peers"][name]), "peers": changed}
        events.append((f"cluster/heartbeat/changed/{name}", payload))
    return events, after


def _memory(peer, before):
    """Unknown: not heard since heartbeatd started. What was lost before is lost still."""
    return {
        "state": WORDS.get(peer["state"], before.get("state", "up")),
        "losses": peer["losses"],
        "incarnation": peer["incarnation"],
        "claims": peer["claims"],
        "health": peer["health"],
        "lost": sorted(name for name, word in peer["silent"].items() if word == "lost"),
        "deaf": peer["deaf"],
    }


def _word(before, after):
    """Return late, lost or back, or None if that is no news."""
    was, state = before.get("state", "up"), after["state"]
    again = after["losses"] > before.get("losses", after["losses"])
    if state == "lost":
        return "lost" if was != "lost" or again else None
    if state == "up":
        return "back" if was != "up" or again else None
    return "late" if was != "late" else None


def _said(memory):
    return [memory[key] for key in ("incarnation", "claims", "health", "lost", "deaf")]


def _about(name, peer):
    return {
        "peer": name,
        "peer_incarnation": peer["incarnation"],
        **{key: peer[key] for key in ("losses", "silence", "claims", "health")},
    }


def _fire(bus, events, view):
    """Return whether the bus took all of them; if not, they are told again."""
    for tag, payload in events:
        origin = {
            "time": time.time(),
            "observer": view.get("name", __opts__["id"].removesuffix("_master")),
            "observer_incarnation": view.get("incarnation", 0),
        }
        if bus.fire_event({**origin, **payload}, tag) is False:
            return False
    return True
