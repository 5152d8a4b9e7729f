"""
Is a VM alive, lost, or can that not be told? Judged from the views of several observers.

It errs towards "not lost": a VM counts as lost only if every observer that answers has it silent
on every link. A false "lost" would not harm the data (the record and the data path see to that),
only move a service without need.

A view of an observer is ``{peer: {"links": {link: {"state", "age"}}, "incarnation", "held",
"health", "seen"}}``; a link's state is "up", "late", "lost" or "init" (not heard yet, initdead not
over). What it says of itself stands under its own name, without links.
"""

ALIVE, LOST, UNSURE = "alive", "lost", "unsure"
HEARD = ("up", "late")


def judge(views, me, vm):
    """Return ``(state, refusal or None)``: why ``vm`` does not count as lost, or as alive."""
    refusal = __utils__["conditions.refusal"]
    if vm == me:
        return ALIVE, None
    links = _links(views, vm)
    heard, silent = _split(links, HEARD), _split(links, ("lost",))
    if any(heard.values()):
        return ALIVE, _why_alive(vm, heard, silent)
    if not any(links.values()):
        return UNSURE, refusal("UNOBSERVED", vm=vm)
    waiting = sorted(observer for observer, found in _split(links, ("init",)).items() if found)
    if waiting:
        return UNSURE, refusal("IN_INITDEAD", vm=vm, observers=_listed(waiting))
    deaf = sorted(observer for observer in silent if silent[observer])
    if all(cut_off(views, observer) for observer in deaf):
        return UNSURE, refusal("CUT_OFF", observer=_listed(deaf))
    return LOST, None


def cut_off(views, observer):
    """Return whether ``observer`` hears none of the VMs that it watches."""
    states = [
        link["state"]
        for peer, told in views.get(observer, {}).items()
        if peer != observer
        for link in told["links"].values()
    ]
    return "lost" in states and not any(state in (*HEARD, "init") for state in states)


def told(views, vm):
    """Return what ``vm`` said of itself last: held, health, seen, incarnation ({} if nothing)."""
    if vm in views.get(vm, {}):
        return views[vm][vm]
    found = [
        (min((link["age"] for link in view[vm]["links"].values()), default=0), observer, view[vm])
        for observer, view in sorted(views.items())
        if vm in view and any(link["state"] in HEARD for link in view[vm]["links"].values())
    ]
    return min(found, key=lambda entry: entry[:2])[2] if found else {}


def _links(views, vm):
    return {
        observer: {name: link["state"] for name, link in view[vm]["links"].items()}
        for observer, view in sorted(views.items())
        if vm in view and observer != vm
    }


def _split(links, states):
    return {
        observer: sorted(name for name, state in found.items() if state in states)
        for observer, found in links.items()
    }


def _why_alive(vm, heard, silent):
    refusal = __utils__["conditions.refusal"]
    hearing = sorted(observer for observer in heard if heard[observer])
    deaf = sorted(observer for observer in silent if silent[observer] and not heard[observer])
    if deaf:
        return refusal("OBSERVERS_DISAGREE", vm=vm, deaf=_listed(deaf), hearing=_listed(hearing))
    gone = sorted({name for names in silent.values() for name in names})
    if gone:
        found = sorted({name for names in heard.values() for name in names})
        return refusal("LINK_SILENT", vm=vm, silent=_listed(gone), heard=_listed(found))
    return None


def _listed(names):
    return ", ".join(names)
