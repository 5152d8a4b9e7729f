"""
What the runner of the failover adds to what is seen: what answers to jobs just said, what the log
of decisions counts for, and what of it all stands in the record. Pure.
"""

# Seconds after which a failed activation is no evidence any more: the VM may have recovered, and a
# resource that nobody serves must be tried again.
FORGIVEN = 60
# Seconds in which restarts are counted, and commands that the holder said nothing to.
TIRED = 300
AHEAD = 5  # seconds; what is later than that was written before the clock was set back
# Whoever was just activated.
HEALTHY = {"service": True, "waiting": False, "frozen": False, "addresses": True}


def learnt(views, me, facts):
    """
    Lay what was just learnt from the answer to a job over views that may be older than it.

    facts: a list of ``{"vm", "resource", "held", "health"}``; a heartbeat and the beacons behind
    it need a moment to tell the same, and until then a step would be repeated without need.
    """
    for fact in facts:
        told = views.get(me, {}).get(fact["vm"])
        if not told:
            continue
        resource = fact["resource"]
        if fact.get("held") is not None:
            told["held"] = {**told["held"], resource: fact["held"]}
        health = {f"{resource}.{name}": ok for name, ok in fact.get("health", {}).items()}
        told["health"] = {**told["health"], **health}
    return views


def teaches(step):
    """Return what a step that was done makes true, for `learnt`."""
    fact = {"vm": step["vm"], "resource": step["resource"], "health": {}}
    if step["do"] == "activate":
        return {**fact, "held": step["epoch"], "health": HEALTHY}
    if step["do"] == "deactivate":
        return {**fact, "held": 0}
    if step["do"] == "restart":
        return {**fact, "health": {"service": True}}
    return {**fact, "health": {"following": True}} if step["do"] == "follow" else fact


def history(lines, acknowledged, now):
    """
    Return what the decider counts: failovers by themselves, and activations that failed lately.

    lines: of the log of decisions; acknowledged: resource -> Unix seconds when an operator looked.
    A VM that gave no answer has not failed: it may never have got the command. It is "in vain" all
    the same, like a restart: either helps once or twice, and not for ever.
    """
    found = []
    for line in lines:
        by_itself = bool((line.get("cause") or {}).get("tag"))
        for step in line.get("steps") or []:
            entry = {key: step.get(key) for key in ("resource", "vm", "epoch", "at")}
            if (since := now - entry["at"]) < -AHEAD:
                continue
            entry["acknowledged"] = entry["at"] <= acknowledged.get(entry["resource"], 0)
            if step.get("transition") == "promote":
                if by_itself and step["result"] == "ok":
                    found.append({"what": "failover", **entry})
            elif not entry["acknowledged"] and (what := _counts(step, since)):
                found.append({"what": what, **entry})
    return found


def _counts(step, since):
    """Return what a command counts for that was sent ``since`` seconds ago, or None."""
    failed = step["do"] == "activate" and step["result"] == "failed"
    if failed and not step.get("silent"):
        return "activation failed" if since < FORGIVEN else None
    return "in vain" if (failed or step["do"] == "restart") and since < TIRED else None


def is_frozen(view, resource):
    """Return whether the holder says that its writes wait for a permission to go on alone."""
    holder = view["views"].get(view["me"], {}).get(view["records"][resource]["holder"], {})
    words = ("waiting", "frozen")
    return any(holder.get("health", {}).get(f"{resource}.{word}") for word in words)


def evidence(view):
    """Return the view in short, for the record: who holds what, and who does not hear whom."""
    silent = {}
    for vm, told in view["views"].get(view["me"], {}).items():
        states = {link["state"] for link in told["links"].values()}
        if states and "up" not in states:
            word = next((state for state in ("late", "init") if state in states), "lost")
            silent.setdefault(vm, {})[view["me"]] = word
        for name, word in told.get("silent", {}).items():
            if states & {"up", "late"}:
                silent.setdefault(name, {})[vm] = word
    return {
        "records": view["records"],
        "revisions": view["revisions"],
        "silent": silent,
        "absent": sorted(view["absent"]),
        "problems": view.get("problems", {}),
    }
