"""What became of everything the outside client sent: pure functions over its journal."""

import itertools
from collections import Counter

EVENTS = ("sent", "acknowledged", "failed")


def verdict(journal, found):
    """
    Judge a run.

    journal
        Entries in the order of time: ``{"event": sent|acknowledged|failed, "time": seconds,
        "kind": answer|upload, "client": name, "number": n, "sha256": digest}``.
    found
        What the site holds afterwards: a list of ``{"kind", "client", "number", "sha256"}``.

    A *lost* or *corrupted* record was acknowledged to a student: the promise is broken. An
    *unacknowledged* one was sent and is there although the student saw an error: allowed, and
    named. An *unexpected* one was never sent at all.
    """
    sent = _by_key(journal, "sent")
    acknowledged = _by_key(journal, "acknowledged")
    held = Counter(_key(record) for record in found)
    digests = {_key(record): record["sha256"] for record in found}
    broken = {
        "lost": sorted(set(acknowledged) - set(held)),
        "unexpected": sorted(set(held) - set(sent)),
        "duplicated": sorted(key for key, times in held.items() if times > 1),
        "corrupted": sorted(
            key for key in set(held) & set(sent) if digests[key] != sent[key]["sha256"]
        ),
    }
    return {
        "ok": not any(broken.values()),
        "sent": len(sent),
        "acknowledged": len(acknowledged),
        "failed": sum(entry["event"] == "failed" for entry in journal),
        "unacknowledged": sorted((set(held) & set(sent)) - set(acknowledged)),
        "longest_gap": longest_gap(journal),
        **broken,
    }


def longest_gap(journal):
    """Return ``{"seconds", "from", "to"}`` of the longest time without any acknowledgement."""
    if not journal:
        return {"seconds": 0.0, "from": 0.0, "to": 0.0}
    times = [entry["time"] for entry in journal if entry["event"] == "acknowledged"]
    moments = [journal[0]["time"], *times, journal[-1]["time"]]
    start, end = max(
        itertools.pairwise(moments), key=lambda pair: pair[1] - pair[0], default=(0, 0)
    )
    return {"seconds": round(end - start, 3), "from": round(start, 3), "to": round(end, 3)}


def per_second(journal):
    """Return ``[(acknowledged, failed), ...]`` for each second from the first entry on."""
    if not journal:
        return []
    start = journal[0]["time"]
    seconds = [[0, 0] for _ in range(int(journal[-1]["time"] - start) + 1)]
    for entry in journal:
        if entry["event"] != "sent":
            seconds[int(entry["time"] - start)][entry["event"] == "failed"] += 1
    return [tuple(second) for second in seconds]


def sparkline(journal):
    """Return one character a second: how many were acknowledged, ``x`` where some failed."""
    seconds = per_second(journal)
    top = max((good for good, _ in seconds), default=0) or 1
    levels = "▁▂▃▄▅▆▇█"
    return "".join(
        "x" if bad else (levels[good * (len(levels) - 1) // top] if good else "·")
        for good, bad in seconds
    )


def summary(result, limit=5):
    """Return the lines that tell a person what the verdict is."""
    gap = result["longest_gap"]
    lines = [
        f"sent {result['sent']}, acknowledged {result['acknowledged']}, "
        f"failed {result['failed']}, longest gap {gap['seconds']:.2f} s"
    ]
    for name in ("lost", "unexpected", "duplicated", "corrupted", "unacknowledged"):
        keys = result[name]
        if keys:
            shown = ", ".join(
                f"{kind} {number} of {client}" for kind, client, number in keys[:limit]
            )
            more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
            lines.append(f"{name} {len(keys)}: {shown}{more}")
    lines.append(
        "verdict: every acknowledged record is there, once, unchanged"
        if result["ok"]
        else "verdict: BROKEN PROMISE"
    )
    return lines


def _key(record):
    return (record["kind"], record["client"], record["number"])


def _by_key(journal, event):
    return {_key(entry): entry for entry in journal if entry["event"] == event}
