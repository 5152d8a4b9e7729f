"""
What the runner of the failover adds to what is seen: what answers to jobs just said, what the log
of decisions counts for, and what of it all stands in the record. Pure.
"""

# Seconds after which a failed activation is no evidence any more: the VM may have recovered, and a
# resource that nobody serves must be tried again.
FORGIVEN = 60
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
    A VM that gave no answer has not failed: it may never have got the command.
    """
    found = []
    for line in lines:
        by_itself = bool((line.get("cause") or {}).get("tag"))
        for step in line.get("steps") or []:
            entry = {key: step.get(key) for key in ("resource", "vm", "epoch", "at")}
            entry["acknowledged"] = entry["at"] <= acknowledged.get(entry["resource"], 0)
            if step.get("transition") == "promote":
                if by_itself and step["result"] == "ok":
                    found.append({"what": "failover", **entry})
            elif step["do"] == "activate" and step["result"] == "failed":
                lately = entry["at"] > now - FORGIVEN and not entry["acknowledged"]
                if lately and not step.get("silent"):
                    found.append({"what": "activation failed", **entry})
    return found


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
