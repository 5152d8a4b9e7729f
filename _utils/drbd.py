"""
What the DRBD tools print, as plain data. Pure functions; ValueError names what was missing.

One volume and one peer per resource. Both interfaces of drbdsetup end in the same dict:
JSON of DRBD 9, and for the 8.4 kernel module, which knows none, the lines of `events2 --now`.
"""

import json
import re

JUST_CREATED = 4  # the data generation that new metadata starts with (UUID_JUST_CREATED)
# Consistent: complete when it was written last; nobody was there to ask whether it still is.
COMPLETE = ("UpToDate", "Consistent")
LEFT_OUT = ("Diskless", "Failed")  # a disk that gave an I/O error, of a VM that goes on
FAULTS = 2  # looks in a row at which a service fails before it counts as failing
FLAGS = "consistent up_to_date primary connected full_sync peer_outdated crashed".split()


def events(text):
    """Return role, disk, connection, ... from `events2 --now --statistics`; None if not up."""
    parts = {}
    for line in text.splitlines():
        verb, kind, *words = line.split()
        if verb != "exists" or kind == "-":
            continue
        if kind in parts:
            raise ValueError(f"more than one {kind}; one volume and one peer are supported")
        parts[kind] = dict(word.split(":", 1) for word in words if ":" in word)
    if not parts:
        return None
    try:
        resource, link = parts["resource"], parts.get("connection")
        device, peer = parts["device"], parts.get("peer-device")
        return _facts(
            (resource["role"], resource["suspended"]),
            (device["disk"], device["size"]),
            link and (link["connection"], link["role"]),
            peer and (peer["replication"], peer["peer-disk"], peer["out-of-sync"]),
        )
    except KeyError as err:
        raise ValueError(f"no {err} in {text!r}") from err


def status(text, resource):
    """Return role, disk, connection, ... from `status --json --statistics`; None if not up."""
    try:
        found = {entry["name"]: entry for entry in json.loads(text or "[]")}
        if resource not in found:
            return None
        resource = found[resource]
        (device,) = resource["devices"]
        link = next(iter(resource["connections"]), None)
        peer = link and link["peer_devices"][0]
        return _facts(
            (resource["role"], _suspended(resource)),
            (device["disk-state"], device["size"]),
            link and (link["connection-state"], link["peer-role"]),
            peer and (peer["replication-state"], peer["peer-disk-state"], peer["out-of-sync"]),
        )
    except (KeyError, IndexError, TypeError, ValueError) as err:
        raise ValueError(f"{err!r} in {text!r}") from err


def _suspended(resource):
    if not resource["suspended"]:
        return "no"
    causes = [key[10:] for key, on in resource.items() if key.startswith("suspended-") and on]
    return ",".join(causes) or "yes"


def _facts(resource, device, link, peer):
    connection, peer_role = link or ("StandAlone", "Unknown")
    replication, peer_disk, out_of_sync = peer or ("Off", "DUnknown", 0)
    return {
        "role": resource[0],
        "suspended": resource[1],
        "disk": device[0],
        "size": int(device[1]) * 1024,
        "connection": connection,
        "replication": replication,
        "peer_role": peer_role,
        "peer_disk": peer_disk,
        "out_of_sync": int(out_of_sync) * 1024,
    }


def generation(text):
    """Return current, bitmap, history (hex), flags and fresh from `drbdadm get-gi`."""
    fields = text.split()[0].split(":") if text.strip() else []
    if len(fields) < 4 + len(FLAGS):
        raise ValueError(f"{text!r} is no data generation")
    return {
        "current": fields[0],
        "bitmap": fields[1],
        "history": fields[2:4],
        "flags": [name for name, on in zip(FLAGS, fields[4:], strict=False) if on == "1"],
        "fresh": _number(fields[0]) == JUST_CREATED,
    }


def _number(word):
    return int(word, 16) & ~1  # the lowest bit only says that the side is Primary


def diverged(mine, theirs):
    """
    Return True if two generations are a split brain, False if one descends from the other.

    Split brain: each has a current generation that the other never heard of, and they share a
    past. None: they have nothing in common (unrelated or fresh data).
    """
    first, second = (
        [_number(word) for word in (side["current"], side["bitmap"], *side["history"])]
        for side in (mine, theirs)
    )
    if first[0] in second or second[0] in first:
        return False
    return True if (set(first) & set(second)) - {0} else None


def verbs(text):
    """
    Return the verbs of the commands in `drbdadm --dry-run adjust`.

    Verbs only: the arguments hold the shared secret.
    """
    return re.findall(r"^(?:\S*/)?drbd(?:setup|meta)\S* ([a-z][a-z-]*)", text, re.MULTILINE)


def mirrored(now):
    """Return whether the peer has every block of the status ``now``, and gets every write."""
    if not now["configured"]:
        return False
    states = (now["connection"], now["disk"], now["peer_disk"], now["out_of_sync"])
    # An online verify compares; every write goes to both sides meanwhile.
    running = now["replication"] in ("Established", "VerifyS", "VerifyT")
    return running and states == ("Connected", "UpToDate", "UpToDate", 0)


def health(now, serving, frozen_for, fault, deadtime, behind=False):
    """
    Return what this side says about itself: service, waiting, frozen, following, fit, mirror (True,
    False, None).

    now: the status; serving: does this VM hold the resource; frozen_for: seconds since its writes
    were suspended, None if they are not; fault: how often in a row the service was found failing,
    None if that cannot be told now; deadtime: seconds; behind: was this disk left out since both
    sides were the same. Suspended writes are waiting, for longer than deadtime they are frozen. A
    standby is fit if it is complete: whether it is the latest, too, only the record knows. Mirror
    is False while the peer answers and has no disk: nothing waits then, and nothing is mirrored.
    """
    if serving:
        service = None if fault is None else fault < FAULTS  # one missed answer is no failure
        waiting = frozen_for is not None and not no_data(now)
        late = frozen_for is not None and frozen_for > deadtime
        if frozen_for is not None:  # not the fault of the service, unless it has no data at all
            service = False if late and no_data(now) else None
        words = {"service": service, "waiting": waiting, "frozen": waiting and late}
        diskless = now.get("connection") == "Connected" and now["peer_disk"] in LEFT_OUT
        return {**words, "following": None, "fit": None, "mirror": not diskless}
    known = now["configured"]
    passive = known and now["role"] == "Secondary" and not now["split_brain"]
    complete = known and now["disk"] in COMPLETE and not behind
    return {
        "service": None,
        "waiting": False,
        "frozen": False,
        "following": known and now["connection"] == "Connected" and now["replication"] != "Off",
        "fit": passive and complete,
        "mirror": None,
    }


def no_data(now):
    """Return whether writes wait because neither this disk nor the peer's can be reached."""
    return now["configured"] and now["suspended"] != "no" and now["disk"] != "UpToDate"


def behind(now):
    """Return True if this disk misses writes, False if it misses none, None if it cannot tell."""
    if mirrored(now):
        return False
    return True if now["configured"] and now["disk"] not in COMPLETE else None


def changes(before, now):
    """Return what differs between two states that a beacon remembers: {name: [old, new]}."""
    names = sorted(set(before) & set(now))
    return {name: [before[name], now[name]] for name in names if before[name] != now[name]}
