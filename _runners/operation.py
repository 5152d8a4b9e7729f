"""
What an operator has the cluster do, step by step: the work behind `ha.switch`, `ha.evacuate`,
`ha.restore`, `ha.confirm_dead` and `ha.acknowledge`.

Resources move by the same engine as in a failover: a pure plan (`_utils/moves.py`), carried out by
`failover.carry_out`, so every swap, epoch and deadline is the same. Each refuses before its first
step. Each may be repeated, also by another master after this one died in the middle: a step that
was done already is found done.

Every answer is ``{"told": text, "right": bool}``.
"""

import sys
import time

from salt.exceptions import CommandExecutionError, SaltException

OBSERVERS = ("balancer", "witness")
MIRRORED = {"files": "file", "database": "database"}
LOOK = 0.5  # seconds between two looks at something that is awaited
JOB, PATIENT = 5, 60  # seconds for a job to a balancer that is alive; that has just booted
# Seconds that visitors get to finish with a drained web server; a page takes well below one, an
# upload may take longer and is then cut off.
DRAINED = 20
APPLIED = 10  # seconds for a replica to apply what it received; too short errs towards a refusal
AGAIN = 80  # times that a plan is made anew because somebody else was at work
DECIDE = "decide.decide"
LACKING = ("NOT_MIRRORED", "STANDBY_UNFIT")  # a person may go on without what only the dead one has
GIVEN_UP = 5  # seconds in which heartbeats tell everybody who serves and who has given up
READY = 60  # seconds for the master here to take jobs; a balancer that just booted needs half


def switch(resource, vm, lose_writes_of=None, confirm_dead=None):
    """
    Move ``resource`` to ``vm``; use `ha.switch`.

    CLI Example:

    .. code-block:: bash

        salt-run ha.switch files file2
    """
    view = _look()
    if resource not in view["records"]:
        return _no(f"{resource!r} is no resource; known: {', '.join(view['records'])}")
    if confirm_dead and not lose_writes_of:
        return _no(f"Nothing was done: without lose_writes_of it is ha.confirm_dead {confirm_dead}")
    if confirm_dead:
        return _by_word(view, confirm_dead, None, lambda: switch(resource, vm, lose_writes_of))
    forced = {"lose_writes_of": lose_writes_of} if lose_writes_of else {}
    decision = __utils__["moves.switch"](view, resource, vm, **forced)
    if decision.rejected:
        lost = _lost(view, decision.rejected)
        return _refused([*decision.rejected, *lost])
    if decision.actions and (unready := _unready(view) or _unprepared(view, decision)):
        return unready
    what = f"ha.switch {resource} {vm}"
    problem = decision.actions and _perform(what, "moves.switch", resource, vm, **forced)
    if problem := problem or _unserved([], resource):
        return _no(problem)
    return _yes(f"{vm} holds {resource} {'now' if decision.actions else 'already'}.")


def evacuate(where, why=None):
    """
    Take the server or VM ``where`` out of service; use `ha.evacuate`.

    CLI Example:

    .. code-block:: bash

        salt-run ha.evacuate server1 'new memory'
    """
    view = _look()
    vms = __utils__["leaving.names"](view["cluster"], where)
    decision = __utils__["moves.evacuate"](view, where)
    refused = [*decision.rejected, *_left(view["cluster"], vms)]
    if refused:
        return _refused(refused)
    if unready := _unready(view) or _unprepared(view, decision):
        return unready
    web = __utils__["leaving.of_role"](view["cluster"], vms, "web")
    out = view["absent"]  # who is out on purpose stays out, whatever happens
    back = [name for name in web if not {name, where} & set(out)]
    try:
        unheard = _drain(view, web, vms)
        problem = f"nothing was moved: {'; '.join(unheard)}" if unheard else None
        problem = problem or _leave(where, why, vms, web, where in out)
    except BaseException:  # the arbiter does not answer, or an operator's Ctrl-C
        _undrain(view, back)
        raise
    if problem:
        _undrain(view, back)
    return _no(problem) if problem else _yes(_farewell(where, vms))


def _leave(where, why, vms, web, out):
    """Move what ``vms`` hold and mark ``where`` absent; return what went wrong, or None."""
    state = "out of service as before" if out else "still in service: do not power it off"
    if problem := _empty(where, vms):
        return f"{problem}\n{where} is {state}. After having looked, repeat it."
    _await_idle(web)
    _say(f"{where} is marked absent")
    gone = out
    try:
        __salt__["failover.local"]("marks.add", "absent", where, why)
        problem = _let_go(where) or _unserved(vms)
        gone = gone or not problem
    finally:
        if not gone:
            # The other side died meanwhile: while marked, this one could not take anything back.
            __salt__["failover.local"]("marks.remove", "absent", where)
    return f"{problem}\n{where} is {state}." if problem else None


def restore(where, timeout=900):
    """
    Bring ``where`` back into service; use `ha.restore`.

    CLI Example:

    .. code-block:: bash

        salt-run ha.restore server1
    """
    view = _look()
    cluster = view["cluster"]
    server = (cluster["vms"].get(where) or {}).get("server")
    where = server if where not in view["absent"] and server in view["absent"] else where
    if where in view["absent"] and where not in {**cluster["vms"], **(cluster["servers"] or {})}:
        __salt__["failover.local"]("marks.remove", "absent", where)
        _undrain(view, [where])  # refused by a balancer that knows nothing of it
        return _yes(f"{where} is no longer in the pillar; its mark was taken off.")
    vms = __utils__["leaving.names"](cluster, where)
    web = __utils__["leaving.of_role"](cluster, vms, "web")
    silent = [vm for vm in vms if _judge(view, vm) != "alive"]
    if set(silent) - set(web):
        return _refused([_condition("NOT_BACK", vm=", ".join(silent))])
    decision = __utils__["moves.restore"](view, where)
    if decision.rejected:
        return _refused(decision.rejected)
    if unready := _unready(view):
        return unready
    for name in dict.fromkeys([where, *(vm for vm in vms if vm in view["absent"])]):
        __salt__["failover.local"]("marks.remove", "absent", name)
    _say(f"{where} is no longer absent")
    unheard = _undrain(view, web)
    if decision.actions:
        _carry_out(view, decision, f"ha.restore {where}")  # if it fails, the next look goes on
    behind = _await_mirrors(cluster, vms, timeout)
    if unheard:
        told = "; ".join(unheard)
        return _no(f"{where} is back, but {told}. Repeat: salt-run ha.restore {where}")
    if behind:
        told = "; ".join(f"{resource} is not mirrored yet" for resource in behind)
        return _no(f"{where} is back, but {told}. It goes on by itself: ha.status")
    told = f" {', '.join(silent)} is not heard yet; start it." if silent else ""
    return _yes(f"{where} is back: it mirrors everything again. Nothing was moved to it.{told}")


def confirm_dead(where, lose_writes_of=None):
    """
    Take an operator's word that ``where`` is dead; use `ha.confirm_dead`.

    CLI Example:

    .. code-block:: bash

        salt-run ha.confirm_dead server1
    """
    said, command = f"{where} is confirmed dead", f"ha.confirm_dead {where}"
    return _by_word(_look(), where, lose_writes_of, lambda: _go_on(said, command))


def _by_word(view, where, lose_writes_of, act):
    """Return the answer of ``act``, or why nobody's word is taken that ``where`` is dead."""
    vms = __utils__["leaving.names"](view["cluster"], where)
    driver = view["cluster"]["arbiter"]["driver"]
    if driver == "etcd":
        return _refused([_condition("NOT_ASKED", driver=driver)])
    alive = [vm for vm in vms if _judge(view, vm) == "alive"]
    if alive:
        return _refused([_condition("STILL_ALIVE", vm=", ".join(alive))])
    local = __salt__["failover.local"]
    unsure = local("copies.unsure")
    if unsure in vms and lose_writes_of != where:
        return _refused([_condition("NOT_COMPARED", me=view["me"], vm=unsure, where=where)])
    if lose_writes_of and unsure not in vms:
        return _no(f"Nothing was done: no writes of {lose_writes_of} have to be given up for that")
    local("marks.add", "confirmed", where, "lose_writes" if lose_writes_of else None)
    try:
        return act()
    finally:
        local("marks.remove", "confirmed", where)  # of this silence, not of the next one


def acknowledge(resource):
    """
    Let ``resource`` move by itself again; use `ha.acknowledge`.

    CLI Example:

    .. code-block:: bash

        salt-run ha.acknowledge files
    """
    __salt__["failover.local"]("marks.add", "acknowledged", resource)
    return _go_on(f"{resource} may move by itself again", f"ha.acknowledge {resource}")


def _unready(view):
    """Wait for the master here, by which all others are commanded; return an answer if in vain."""
    deadline = time.monotonic() + READY
    while problem := __salt__["overview.publishes"](view["me"]):
        if time.monotonic() > deadline:
            me = view["me"]
            return _no(f"Nothing was changed: the Salt master of {me} takes no job: {problem}")
        time.sleep(LOOK)  # until it does, or the deadline


def _unprepared(view, decision):
    """Return an answer if a VM that is to take over says that it could not."""
    told = []
    for resource, vm, function, arguments in __utils__["moves.questions"](view, decision):
        if function == "mysql_replication.has_all":
            arguments = {**arguments, "deadline": time.time() + APPLIED}
        _, problem = __salt__["overview.ask"]([vm], function, 2 * APPLIED, **arguments)[vm]
        if problem:
            told.append(f"{resource}: {function} on {vm}: {problem}")
    return _refused(told) if told else None


def _go_on(told, what):
    """Decide anew, now that an operator has said something."""
    reason = __utils__[DECIDE](_look()).reason
    if problem := _perform(what, DECIDE):
        return _no(f"{told}, but:\n{problem}")
    rejected = __utils__[DECIDE](_look()).rejected
    left = __utils__["story.refusals"]([one for one in rejected if one["condition"] in LACKING])
    return _yes(f"{told}. {reason}." + (f"\nNot done:\n{left}" if left else ""))


def _empty(where, vms):
    """Move what ``vms`` hold; return what went wrong, or None when they hold nothing."""
    if problem := _perform(f"ha.evacuate {where}", "moves.evacuate", where):
        return problem
    held = __utils__["leaving.held"]
    return _settled(lambda view: held(view["records"], view["views"], vms))


def _let_go(where):
    """
    Let the holders go on without the mirrors that are about to leave, before they freeze for them.

    Only now: while ``where`` was not absent, its mirrors were brought back as soon as they were
    given up, and a failover to it was still possible.
    """
    return _perform(f"ha.evacuate {where}", "moves.evacuate", where)


def _unserved(vms, resource=None):
    """Return what (of ``resource``) is not served outside ``vms``, as text, or None."""
    def found(view):
        records = {name: each for name, each in view["records"].items() if resource in (None, name)}
        alive = {vm for vm in view["cluster"]["vms"] if _judge(view, vm) == "alive"}
        held = __utils__["leaving.held"](records, view["views"], vms)
        return held + __utils__["leaving.unserved"](records, view["views"], alive)

    return _settled(found)


def _settled(found):
    """Return what ``found(view)`` still says when heartbeats have told it all, as text, or None."""
    deadline = time.monotonic() + GIVEN_UP
    while (told := found(_look())) and time.monotonic() < deadline:
        time.sleep(LOOK)  # until nothing is left, or the deadline
    return "; ".join(told) or None


def _farewell(where, vms):
    records = _look()["records"]
    holders = ", ".join(f"{each['holder']} holds {name}" for name, each in records.items() if each)
    return (
        f"{where} is out of service: {holders}.\n"
        f"It is safe to power off {where} now ({', '.join(vms)}).\n"
        f"Nothing takes over for what is left until: salt-run ha.restore {where}"
    )


def _left(cluster, vms):
    """Return the refusals that concern what is no resource: web servers and the arbiter."""
    local = __salt__["failover.local"]
    web = __utils__["leaving.of_role"](cluster, vms, "web")
    pool = local("pool.status")["servers"] if web else {}
    found = __utils__["leaving.obstacles"](cluster, vms, pool, local("arbiter.status", 1))
    return [_condition(name, **facts) for name, facts in found]


def _lost(view, rejected):
    """Return what a forced move would lose, beside the refusal that names its command."""
    found = [each for each in rejected if each["condition"] == "NOT_MIRRORED"]
    if not found:
        return []
    resource = found[0]["resource"]
    holder = view["records"][resource]["holder"]
    standby = found[0]["alternative"].split()[-1]
    lines = __salt__["failover.local"]("decisions.read", 500)
    since = __utils__["story.alone_since"](lines, resource)
    return [f"Lost: {__utils__['story.lost'](resource, holder, standby, since, time.time())}"]


def _drain(view, web, leaving):
    """Let no new visitor onto ``web``; return what a balancer that stays has against it."""
    if not web:
        return []
    _say(f"draining {', '.join(web)}")
    found = _on_balancers(view, "pool.drain", web)
    return [f"{vm}: {problem}" for vm, problem in found.items() if vm not in leaving]


def _undrain(view, web):
    found = _on_balancers(view, "pool.undrain", web)
    return [f"{vm} keeps {', '.join(web)} drained: {why}" for vm, why in found.items()]


def _on_balancers(view, function, web):
    """Run ``function`` for each of ``web`` on every balancer; return ``{balancer: problem}``."""
    me, problems = view["me"], {}
    others = [name for name in _balancers(view["cluster"]) if name != me]
    heard = [name for name in others if _judge(view, name) == "alive"]
    for name in web:
        answers = __salt__["overview.ask"](heard, function, PATIENT, name=name)
        problems.update({vm: problem for vm, (_, problem) in answers.items() if problem})
        try:
            __salt__["failover.local"](function, name)
        except SaltException as error:
            problems[me] = str(error)
    silent = dict.fromkeys(set(others) - set(heard), "is not heard") if web else {}
    return {**silent, **problems}


def _balancers(cluster):
    return __utils__["leaving.of_role"](cluster, list(cluster["vms"]), "balancer")


def _await_idle(web):
    """Wait until nobody is being served by ``web``, or the patience for them is over."""
    deadline = time.monotonic() + DRAINED
    while web and time.monotonic() < deadline:
        pool = __salt__["failover.local"]("pool.status")["servers"]
        if not any((pool.get(name) or {}).get("connections") for name in web):
            return
        time.sleep(LOOK)  # until nobody is left, or the deadline


def _await_mirrors(cluster, vms, timeout):
    """Wait until all data with a copy on ``vms`` is mirrored; return the resources that are not."""
    roles = {cluster["vms"][vm]["role"] for vm in vms}
    waiting = [resource for resource, role in MIRRORED.items() if role in roles]
    deadline = time.monotonic() + timeout
    if waiting:
        _say(f"waiting for the mirrors of {', '.join(waiting)}")
    while waiting and time.monotonic() < deadline:
        records = _look()["records"]
        waiting = [res for res in waiting if not (records[res] or {}).get("mirrored")]
        if waiting:
            time.sleep(LOOK)  # until they are mirrored, or the deadline
    return waiting


def _judge(view, vm):
    observers = [
        name for name, each in view["cluster"]["vms"].items() if each["role"] in OBSERVERS
    ]
    return __utils__["presence.judge"](view["views"], view["me"], vm, observers)[0]


def _condition(name, **facts):
    return __utils__["conditions.refusal"](name, **facts)


def _look():
    return __salt__["failover.look"]()


def _perform(what, plan, *arguments, **named):
    """
    Carry a plan out; return what went wrong as text, or None.

    A step that is refused changed nothing: the reaction to some event was at work on the same
    resource, or the record changed since it was looked at. Then look and plan again, what is left.
    """
    line, done = {}, set()
    for _ in range(AGAIN):
        view = _look()
        decision = __utils__[plan](view, *arguments, **named)
        actions = {name: steps for name, steps in decision.actions.items() if name not in done}
        if not actions:
            # What the decider leaves undone is no failure of the command that made it look.
            refused = [] if plan == DECIDE else decision.rejected
            return __utils__["story.refusals"](refused) or None
        line = _carry_out(view, decision._replace(actions=actions), what)
        if line.get("result") != "failed":
            return None
        wrong = [step for step in line["steps"] if step["result"] not in ("ok", "not waited for")]
        if {step["result"] for step in wrong} != {"refused"}:
            break
        done |= set(actions) - {step["resource"] for step in wrong}
        time.sleep(LOOK)  # until the other one is through, AGAIN times
    return __utils__["story.tell"](line)


def _carry_out(view, decision, what):
    # Without "tag": what an operator moves is no failover by itself, and counts for no flapping.
    evidence = __utils__["outlook.evidence"](view)
    line = __salt__["failover.carry_out"](decision, {"command": what}, evidence)
    if not isinstance(line, dict):
        raise CommandExecutionError(f"{what}: no record of what was done came back")
    __salt__["failover.local"]("decisions.note", line)  # the engine's own thread may end with us
    others = [name for name in _balancers(view["cluster"]) if name != view["me"]]
    __salt__["overview.ask"](others, "decisions.note", JOB, line=line)
    return line


def _refused(rejected):
    return _no("Refused, nothing was changed:\n" + __utils__["story.refusals"](rejected))


def _yes(told):
    return {"told": told, "right": True}


def _no(told):
    return {"told": told, "right": False}


def _say(text):
    """Show an operator at a terminal what goes on; salt-run prints only the end."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr)

