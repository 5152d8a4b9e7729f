"""
Is a VM alive, lost, or can that not be told? Judged by what several observers hear.

It errs towards "not lost": a VM counts as lost only if every observer that has a say does not hear
it. A false "lost" would not harm the data (the record and the data path see to that), only move a
service without need. Balancers and witness observe every VM; each tells in its own heartbeats whom
it does not hear, so one observer's view has the words of all of them.

Views are ``{observer: {vm: entry}}``, an entry ``{"links": {link: {"state", "age"}},
"incarnation", "held", "seen", "health", "silent", "deaf"}``. A link's state is "up", "late", "lost"
or "init" (not heard yet, initdead not over); ``silent`` is whom the VM itself does not hear (VM ->
"late" or "lost"), ``deaf`` that it hears nobody. What an observer says of itself stands under its
own name, without links. Usually there is one view, the deciding master's own (`views`).

Refusals are ``(condition, facts)`` of `_utils/conditions.py`.
"""

ALIVE, LOST, UNSURE = "alive", "lost", "unsure"
HEARD = ("up", "late")
STATES = {"up": "up", "late": "late", "dead": "lost", "unknown": "init"}
HEARSAY, HELD = 0, 2  # kinds of claims, see `_utils/heartbeat.py`


def views(report, me):
    """Return the views that heartbeatd's report (`heartbeat.view`) on observer ``me`` holds."""
    own = report.get("own", {})
    told = {vm: _entry(peer) for vm, peer in report["peers"].items()}
    return {me: {**told, me: _entry({**own, "links": {}})}}


def _entry(peer):
    claims = peer.get("claims", {}).items()
    return {
        "links": {
            name: {"state": STATES[link["state"]], "age": link["silence"]}
            for name, link in peer["links"].items()
        },
        "incarnation": peer.get("incarnation"),
        "held": {resource: epoch for resource, (epoch, kind) in claims if kind == HELD},
        "seen": {resource: epoch for resource, (epoch, kind) in claims if kind != HEARSAY},
        "health": peer.get("health", {}),
        "silent": peer.get("silent", {}),
        "deaf": peer.get("deaf", False),
    }


def judge(views, me, vm, observers):
    """Return ``(state, refusal or None)``: why ``vm`` does not count as lost, or as alive."""
    if vm == me:
        return ALIVE, None
    words = _words(views, me, vm, observers)
    hearing = _saying(words, "up")
    if hearing and is_deaf(views, me, vm, observers) and not _unheard(views, me):
        return LOST, None
    if hearing:
        why = _why_alive(views, vm, words, hearing)
        return (UNSURE if words.get(me) == "lost" else ALIVE), why
    if not words:
        return UNSURE, ("UNOBSERVED", {"vm": vm})
    if waiting := _saying(words, "init"):
        return UNSURE, ("IN_INITDEAD", {"vm": vm, "observers": _listed(waiting)})
    silent = _saying(words, "lost")
    if not silent:
        return ALIVE, None  # late everywhere
    if all(cut_off(views, me, observer) for observer in silent):
        return UNSURE, ("CUT_OFF", {"observer": _listed(silent)})
    return LOST, None


def is_late(views, me, vm):
    """Return whether ``me`` hears ``vm`` late on every link: soon it is heard, or lost."""
    told = views.get(me, {}).get(vm)
    return bool(told) and _word(told["links"]) == "late"


def is_deaf(views, me, vm, observers):
    """
    Return whether ``vm`` says that it hears nobody, or none of several observers.

    An observer that hears no other one is none: behind the same cable it hears its neighbours only,
    and they hear it.
    """
    told = views.get(me, {}).get(vm, {})
    others = [
        observer for observer in observers
        if observer == me or not _alone(views, me, observer, observers)
    ]  # fmt: skip
    return bool(told.get("deaf")) or _hears_none(told, vm, others)


def _alone(views, me, observer, observers):
    return _hears_none(views.get(me, {}).get(observer, {}), observer, observers)


def _behind(views, me, observer, observers):
    """
    Return whether ``observer`` is heard on other links only, and a third one hears it no more: the
    cable to its server is broken. It goes on hearing its neighbours there, which are of no use.
    """
    seen = views.get(me, {})

    def here(name):
        return seen.get(name, {}).get("links", {}).get("internal", {}).get("state") in HEARD

    others = [each for each in observers if each not in (me, observer) and here(each)]
    return not here(observer) and any(
        seen[other].get("silent", {}).get(observer) == "lost" for other in others
    )


def _hears_none(told, vm, observers):
    others = [observer for observer in observers if observer != vm]
    silent = told.get("silent", {})
    return len(others) > 1 and all(silent.get(observer) == "lost" for observer in others)


def cut_off(views, me, observer):
    """Return whether ``observer`` hears none of the VMs that it watches, or nobody hears it."""
    states = [
        link["state"]
        for vm, told in views.get(observer, {}).items()
        if vm != observer
        for link in told["links"].values()
    ]
    hears = any(state in (*HEARD, "init") for state in states)
    return ("lost" in states and not hears) or (observer == me and _unheard(views, me))


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


def _words(views, me, vm, observers):
    """
    Return the word of each observer that has a say about ``vm``: up, late, lost or init.

    An observer that is late itself, or hears nobody, or no other observer, has none: its last word
    is of before. Nor has one behind a cable that is broken, see `_behind`.
    """
    words = {
        observer: _word(view[vm]["links"])
        for observer, view in sorted(views.items())
        if vm in view and observer != vm
    }
    for observer in observers:
        told = views.get(me, {}).get(observer)
        if observer == vm or observer in views or not told or told.get("deaf"):
            continue
        if _alone(views, me, observer, observers) or _behind(views, me, observer, observers):
            continue
        if _word(told["links"]) == "up":
            words[observer] = told.get("silent", {}).get(vm, "up")
    return words


def _word(links):
    states = [link["state"] for link in links.values()]
    return next((state for state in ("up", "late", "init") if state in states), "lost")


def _unheard(views, me):
    """Return whether ``me`` sends in vain: all whom it hears say that they do not hear it."""
    heard = [
        "lost" if told.get("deaf") else told.get("silent", {}).get(me)
        for vm, told in views.get(me, {}).items()
        if vm != me and _word(told["links"]) == "up"
    ]
    return bool(heard) and all(word == "lost" for word in heard)


def _why_alive(views, vm, words, hearing):
    if deaf := _saying(words, "lost"):
        facts = {"vm": vm, "deaf": _listed(deaf), "hearing": _listed(hearing)}
        return "OBSERVERS_DISAGREE", facts
    links = [
        (name, link["state"])
        for view in views.values()
        for name, link in view.get(vm, {}).get("links", {}).items()
    ]
    silent = sorted({name for name, state in links if state == "lost"})
    heard = sorted({name for name, state in links if state in HEARD})
    if silent:
        return "LINK_SILENT", {"vm": vm, "silent": _listed(silent), "heard": _listed(heard)}
    return None


def _saying(words, word):
    return sorted(observer for observer, said in words.items() if said == word)


def _listed(names):
    return ", ".join(names)
