"""
What an operator plans: move one resource, empty a server, take it back. Pure, like `decide`, and
with its rules, steps and refusals; a Decision has either steps or refusals, never both, so that
nothing is begun that the other side could not carry.
"""

import importlib.util
from pathlib import Path


def _sibling(name):
    """Return another module of this folder, see `_utils/decide.py`."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"{__name__}_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


decide = _sibling("decide")


def switch(view, resource, vm, lose_writes_of=None):
    """
    Return the Decision that moves ``resource`` to ``vm``; nothing to do if it is there.

    lose_writes_of: the name of the holder, typed by an operator who gives up whatever only that VM
    has. It is refused while that VM serves, and while it is not needed. Repeated, it
    brings up a ``vm`` that got the record but does not serve yet.
    """
    case, refused = decide.look(view, resource)
    if refused:
        return _decision([], [refused])
    able = [case.holder, *case.standbys]
    if vm not in able:
        facts = {"vm": vm, "able": " and ".join(sorted(able))}
        return _decision([], [case.refuse(("NOT_ITS_ROLE", facts), f"promote {vm}")])
    if vm == case.holder and lose_writes_of in case.standbys and case.held(vm) == 0:
        return _decision([(resource, _forced_on(case, vm, lose_writes_of))], [])
    if vm == case.holder:
        return decide.Decision({}, f"{resource}: {vm} holds it already", [])
    if lose_writes_of is not None:
        return _forced(case, vm, lose_writes_of)
    found = _move(case, vm, f"{resource} is moved from {case.holder} to {vm} as planned")
    return _decision(*found)


def evacuate(view, where):
    """
    Return the Decision that empties the server or VM ``where``.

    What it holds moves away. Once it is marked absent and holds nothing, asked again: the holders
    elsewhere go on without the mirrors on it, before they freeze for them.
    """
    return _all(view, where, _leave)


def restore(view, where):
    """Return the Decision that makes what is on ``where`` follow again; nothing moves back."""
    back = [name for name in view.get("absent", ()) if name != where]
    return _all({**view, "absent": back}, where, _return)


def questions(view, decision):
    """
    Return what to ask before the first step, as ``(resource, vm, function, arguments)``: whether
    each successor can write down that it serves, and, of a living holder, whether the data can move
    now. No view tells that, and with its predecessor gone there would be no way back.
    """
    asked = []
    for resource, steps in decision.actions.items():
        swap = next((step for step in steps if step["do"] == "swap"), {})
        if swap.get("transition") not in ("promote", "abandon"):
            continue
        successor, holder = swap["arguments"]["holder"], swap["record"]["holder"]
        asked.append((resource, successor, "claim.probe", {"resource": resource}))
        leave = next(step for step in steps if step["do"] == "deactivate")
        planned = swap["transition"] == "promote" and leave["wait"]
        if planned and resource == "database":
            replica = decide.topology.traffic_address(view["cluster"], successor, "replication")
            asked.append((resource, holder, "mysql_replication.has_all", {"replica": replica}))
        if swap["transition"] == "abandon" and resource == "database":
            asked.append((resource, successor, "database.probe", {}))
        if planned and resource == "files":
            asked.append((resource, successor, "files.probe", {}))
    return asked


def _all(view, where, plan):
    steps, refused = [], []
    for resource in decide.ROLES:
        case, why = decide.look(view, resource)
        if why is None:
            more, why_not = plan(case, where)
            steps += more
            refused += why_not
        elif why["condition"] != "NOT_FOUNDED":
            refused.append(why)
    return _decision(steps, refused)


def _decision(steps, refused):
    """Return the Decision of a list of ``(resource, steps)`` and the refusals."""
    if refused:
        told = "; ".join(f"{entry['resource']}: {entry['sentence']}" for entry in refused)
        return decide.Decision({}, f"nothing is done, because {told}", refused)
    actions = dict(steps)
    told = [f"{resource}: {found[0]['reason']}" for resource, found in actions.items()]
    return decide.Decision(actions, "; ".join(told) or "there is nothing to do", [])


def _leave(case, where):
    inside = [vm for vm in case.standbys if case.is_in(vm, [where])]
    if case.is_in(case.holder, [where]):
        return _away(case, [vm for vm in case.standbys if vm not in inside], where)
    # Also unmirrored: this voids a list that is just bringing back a mirror which has everything.
    coming = case.record["mirrored"] or any(case.health(vm, "fit") for vm in inside)
    leaving = coming and len(inside) == len(case.standbys) and all(map(case.absent, inside))
    if not inside or not leaving or not case.data or case.judge(case.holder)[0] != "alive":
        return [], []
    why = f"{where} is out of service; {case.holder} goes on without its mirror"
    return [(case.resource, decide.alone(case, why))], []


def _away(case, standbys, where):
    """Move to the first standby outside that can carry it, or say why none can."""
    refused = [] if standbys else [case.refuse(("NO_STANDBY", {}), f"move it off {where}")]
    for vm in standbys:
        steps, why = _move(case, vm, f"{where} is taken out of service; {vm} takes over")
        if steps:
            return steps, []
        refused += why
    return [], refused


def _move(case, vm, reason):
    state, why = case.judge(case.holder)
    alternative = f"promote {vm}"
    if state == "unsure":
        return [], [case.refuse(why, alternative)]
    alive = state == "alive"
    if found := decide.obstacle.takeover(case, vm, alive, planned=True):
        return [], [case.refuse(found, alternative)]
    return [(case.resource, decide.takeover(case, vm, reason, alive))], []


def _forced(case, vm, named):
    holder, alternative = case.holder, f"promote {vm}"
    state, _ = case.judge(holder)
    found = decide.obstacle.forced(case, vm, named, state)
    if found:
        return _decision([], [case.refuse(found, alternative)])
    reason = f"an operator gives up what only {holder} has; {vm} takes over"
    steps = decide.takeover(case, vm, reason, state == "alive", forced=True)
    return _decision([(case.resource, steps)], [])


def _return(case, where):
    for vm in case.standbys:
        if case.is_in(vm, [where]) and case.data and case.judge(vm)[0] == "alive":
            if steps := decide.rejoin(case, vm):
                return [(case.resource, steps)], []
    return [], []


def _forced_on(case, vm, named):
    """The swap was made already; only the activation must give up the same writes again."""
    reason = f"an operator gives up what only {named} has; {vm} serves without it"
    swap, activate = decide.alone(case, reason)
    return [swap, {**activate, "lose_writes": True}]
