"""
What of the site outside the three resources must stay when VMs are taken out of service: a web
server, and the arbiter's majority. Pure; the resources themselves are `_utils/moves.py`'s.

Each obstacle is ``[condition, facts]`` for `_utils/conditions.py`. Unknown stands in the way as
much as no: an operator can wait, and the students should not find out.
"""


def names(cluster, where):
    """Return the VMs that ``where`` (a server or a VM) stands for; raises ValueError if none."""
    if where in (cluster.get("servers") or {}):
        return [name for name, vm in cluster["vms"].items() if vm.get("server") == where]
    if where in cluster["vms"]:
        return [where]
    known = ", ".join([*(cluster.get("servers") or {}), *cluster["vms"]])
    raise ValueError(f"{where!r} is no server and no VM; known: {known}")


def of_role(cluster, vms, role):
    """Return those of ``vms`` that have ``role``, in the pillar's order."""
    return [name for name, vm in cluster["vms"].items() if name in vms and vm["role"] == role]


def obstacles(cluster, vms, pool, members):
    """
    Return what would be missing without ``vms``.

    pool: of `pool.status`, web server -> ``{"state", "drained"}``; members: of the arbiter, name ->
    ``{"answers": bool}``, {} for a driver without any.
    """
    return [*_web(cluster, vms, pool), *_arbiter(vms, members)]


def _web(cluster, vms, pool):
    if not of_role(cluster, vms, "web"):
        return []
    staying = [name for name in of_role(cluster, list(cluster["vms"]), "web") if name not in vms]
    serving = [
        name
        for name in staying
        if pool.get(name, {}).get("state") == "up" and not pool[name].get("drained")
    ]
    if serving:
        return []
    return [["NO_WEB_LEFT", {"vm": ", ".join(staying) or "no other web server"}]]


def _arbiter(vms, members):
    staying = [name for name, member in members.items() if name not in vms and member["answers"]]
    if not members or len(staying) > len(members) // 2 or not set(vms) & set(members):
        return []
    facts = {"vm": ", ".join(staying) or "nobody", "count": len(members)}
    return [["NO_MAJORITY_LEFT", facts]]


def held(records, views, vms):
    """
    Return what ``vms`` still have, as sentences: by the record, or by what they say themselves.

    views: of `_utils/presence.py`. Who is not heard says nothing: then the record alone counts.
    """
    found = []
    for resource, record in records.items():
        if record is None:
            found.append(f"nobody knows who holds {resource}")
        elif record.get("holder") in vms:
            found.append(f"{record['holder']} holds {resource}")
    for vm in vms:
        serving = {
            resource
            for view in views.values()
            if _heard(view.get(vm))
            for resource, epoch in (view[vm].get("held") or {}).items()
            if epoch
        }
        named = {name for name, record in records.items() if (record or {}).get("holder") == vm}
        found += [f"{vm} still serves {resource}" for resource in sorted(serving - named)]
    return found


def unserved(records, views, alive):
    """
    Return who holds a record and does not say that it serves by it, as sentences.

    views: as for `held`; alive: the VMs that count as alive.
    """
    found = []
    for resource, record in records.items():
        if not record:
            continue
        holder, epoch = record["holder"], record["epoch"]
        told = [view[holder].get("held") or {} for view in views.values() if holder in view]
        if holder not in alive:
            found.append(f"{holder} holds {resource}, and is not heard")
        elif epoch not in [held.get(resource) for held in told]:
            found.append(f"{holder} has the record of {resource}, and does not serve it")
    return found


def _heard(told):
    states = [link["state"] for link in (told or {}).get("links", {}).values()]
    return told is not None and (not states or bool({"up", "late"} & set(states)))
