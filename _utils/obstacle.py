"""
What stands in the way of a standby that should take a resource over, or of a holder that should go
on alone: the refusals of `_utils/decide.py` that need no step, only evidence (a `Case` of there).
A refusal is ``(condition, facts)`` of `_utils/conditions.py`.
"""

import operator

# More failovers than MOST in WITHIN seconds are no accident. Too few errs towards a site that stays
# down until somebody looks; losing both servers in turn and coming back needs three.
MOST, WITHIN = 4, 600


def takeover(case, standby, alive, planned=False):
    """
    Return the refusal that keeps ``standby`` from succeeding a (living) holder, or None.

    planned: an operator asks; how often the resource moved by itself is no matter then.
    """
    facts = {"vm": standby, "holder": case.holder, "word": "" if alive else _word(case)}
    if case.absent(standby):
        return "ABSENT_ON_PURPOSE", facts
    if not case.record["mirrored"]:
        return "NOT_MIRRORED", {**facts, "epoch": case.record["epoch"]}
    state, why = case.judge(standby)
    if state != "alive":
        return why or ("STANDBY_LOST", facts)
    if case.data and case.health(standby, "fit") is not True:
        known = case.health(standby, "fit") is False
        return "STANDBY_UNFIT" if known else "STANDBY_UNKNOWN", facts
    if not case.data and case.health(standby, "networks") is False:
        return "NETWORK_MISSING", facts
    if (count := _flaps(case)) and not planned:
        return "FLAPPING", {**facts, "count": count, "minutes": WITHIN // 60}
    return None if alive else death(case, case.holder)


def forced(case, standby, named, state):
    """
    Return the refusal that keeps ``standby`` from taking over without the writes that only the
    holder has, as an operator wants who has ``named`` it; state: where the holder is.

    A standby that says that it has everything needs no such word. Otherwise only its life counts:
    what it lacks is what is given up.
    """
    holder = case.holder
    facts = {"vm": standby, "holder": holder}
    if named != holder:
        return "NOT_THE_HOLDER", {**facts, "named": named}
    if not case.data:
        return "NOTHING_TO_LOSE", facts
    if case.absent(standby):
        return "ABSENT_ON_PURPOSE", facts
    found, why = case.judge(standby)
    if found != "alive":
        return why or ("STANDBY_LOST", facts)
    if case.record["mirrored"] and (fit := case.health(standby, "fit")) is not False:
        return "NOTHING_TO_LOSE" if fit else "STANDBY_UNKNOWN", facts
    if state != "lost" and case.held(holder) != 0:
        return "HOLDER_LIVES", facts
    if state != "lost" or death(case, holder) is None:
        return None
    return "LOSS_UNCONFIRMED", {**facts, "word": _word(case)}


def death(case, vm):
    """
    Return the refusal if ``vm`` is silent, but may be alive for all this driver can tell, or None.

    Without a third machine and without fencing, only an operator tells death from silence.
    """
    if not _is_by_word(case) or case.is_in(vm, case.view.get("confirmed", ())):
        return None
    return "UNCONFIRMED", {"vm": vm, "where": _dead(case, vm)}


def _is_by_word(case):
    return case.view["driver"] == "operator" and case.data


def _word(case):
    """Return what a command that gives the holder's writes up needs besides: that it is dead."""
    return f" confirm_dead={_dead(case, case.holder)}" if _is_by_word(case) else ""


def _dead(case, vm):
    """Return whose death to confirm: the server's if none of its VMs may be alive, else ``vm``."""
    server = case.server(vm)
    there = [name for name in case.view["cluster"]["vms"] if case.server(name) == server]
    return server if server and all(case.judge(name)[0] == "lost" for name in there) else vm


def _flaps(case):
    """Return how often the resource moved by itself lately if that is too often, else 0."""
    since = case.view["now"] - WITHIN
    moves = [
        entry
        for entry in sorted(case.view.get("history", ()), key=operator.itemgetter("at"))
        if (entry["what"], entry["resource"]) == ("failover", case.resource)
        and entry["at"] > since
        and not entry.get("acknowledged")
    ]
    return len(moves) if len(moves) >= MOST else 0
