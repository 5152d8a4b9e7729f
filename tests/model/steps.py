"""
Everything that can happen next. Every step is yielded as (what happened, the state after it); a
step that breaks an invariant of behaviour rather than of the state carries it as a third.
"""

from tests.model.rules import THIS_SWAP
from tests.model.state import FORMATTED, NOW, Job

LATE = "I5: a command is executed after its deadline (a thawed VM is passive until told otherwise)"
VERIFIED = "verified"  # a message: the mirror was found complete; its number is the revision


def steps(state, rules, bound):
    """Yield all steps; bound: (highest epoch, number of client writes)."""
    if state.record:
        yield from masters(state, rules, bound[0])
    for vm in (0, 1):
        if not rules.data or state.record is None or state.record[3]:
            yield from founding(state, rules, vm)
        yield from commands(state, rules, vm)
        yield from faults(state, rules, vm)
        if rules.data:
            yield from handler(state, rules, vm)
            yield from work(state, rules, vm)
            yield from clients(state, rules, vm, bound[1])
    if rules_let_late_commands_pass(rules, state):
        late = frozenset(job._replace(late=True) for job in state.sent)
        yield "all deadlines pass", state._replace(sent=late)


def rules_let_late_commands_pass(rules, state):
    """Late commands that are refused change nothing, so they are followed only if some are not."""
    return any(
        job.do != VERIFIED and not job.late
        and rules.judge(state.seen[job.vm], state.begun[job.vm], job._replace(late=True))
        for job in state.sent
    )


def masters(state, rules, epochs):
    """Any master looks, decides, and executes its steps up to and including its one swap."""
    for plan in rules.plans(state.record):
        jobs = [step for step in plan if isinstance(step, Job)]
        swaps = [step for step in plan if not isinstance(step, Job)]
        if not swaps:
            jobs = [fill(job, state.revision) for job in jobs]
            yield f"a master sends {told(jobs, rules)}", state.send(*jobs)
            continue
        before = [fill(job, state.revision) for job in plan[: plan.index(swaps[0])]]
        if before:
            yield f"a master sends {told(before, rules)}", state.send(*before)
        transition, arguments = swaps[0]
        holder = dict(arguments)["holder"]
        if any(job.do == "mirror" for job in before) and not verified(state, rules, holder):
            continue
        new = rules.swap(state.record, transition, arguments)
        if new and new[1] <= epochs:
            after = state._replace(record=new, revision=state.revision + 1)
            rest = [fill(job, after.revision) for job in plan[plan.index(swaps[0]) + 1 :]]
            sends = f", sends {told(rest, rules)}" if rest else ""
            yield f"a master swaps {transition} {rules.vms[holder]}{sends}", after.send(*rest)


def fill(job, revision):
    return job._replace(number=revision) if job.number == THIS_SWAP else job


def told(jobs, rules):
    return ", ".join(f"{job.do} {rules.vms[job.vm]} epoch {job.epoch}" for job in jobs)


def verified(state, rules, vm):
    """Return whether the mirror was verified at the revision that the swap is bound to."""
    return any(
        job[:2] == (VERIFIED, vm) and (job.number == state.revision or rules.unbound)
        for job in state.sent
    )


def founding(state, rules, vm):
    """A state run on ``vm``: what `resource.founded` does, each step possibly never or late."""
    follows, active = state.follows[vm], bool(state.active[vm])
    blank = not state.data[vm] and not follows and not active
    status = (active, state.seen[vm], blank, follows)
    action, name = rules.founding(state.record, vm, status), rules.vms[vm]
    epoch, revision = state.record[1] if state.record else 1, state.revision
    if action == "create":
        claimed = rules.judge(state.seen[vm], state.begun[vm], Job("claim", vm, 1))
        if claimed:
            after = state.put(vm, seen=claimed[0], begun=claimed[1])
            yield f"{name} claims, and is cut before it creates the record", after
            yield f"{name} creates the record", after._replace(
                record=rules.create(vm), revision=NOW)
    elif action == "activate":
        after = state
        if rules.data:
            new = rules.swap(state.record, "serve_alone", (("epoch", epoch), ("holder", vm)))
            after = state._replace(record=new, revision=revision + 1)
        number = after.revision if rules.data else 0
        yield f"{name} begins to found", after.send(Job("activate", vm, epoch, number))
    elif action == "mirror":
        yield f"{name} awaits its first mirror", state.send(Job("mirror", vm, epoch, revision))
    elif action == "follow":
        yield f"{name} wants to follow", state.send(Job("follow", vm, epoch))
    if state.record and (verified(state, rules, vm) or action == "finish"):
        new = rules.swap(state.record, "founded", (("epoch", epoch), ("holder", vm)))
        if new:
            yield f"{name} ends the founding", state._replace(record=new, revision=revision + 1)


def handler(state, rules, vm):
    """A frozen VM asks by itself to go on alone (DRBD's fence-peer handler), in its own epoch."""
    epoch = state.active[vm]
    if not epoch or not state.record or (state.doing[vm] and not rules.unlocked):
        return
    new = rules.swap(state.record, "serve_alone", (("epoch", epoch), ("holder", vm)))
    if new:
        after = state._replace(record=new, revision=state.revision + 1)
        job = Job("activate", vm, epoch, after.revision)
        yield f"{rules.vms[vm]} swaps serve_alone for itself", after.send(job)


def commands(state, rules, vm):
    """A command that was sent reaches ``vm``, for the first time or again."""
    name = rules.vms[vm]
    for job in sorted(state.sent):
        if job.vm != vm or job.do == VERIFIED or (state.doing[vm] and not rules.unlocked):
            continue
        claimed = rules.judge(state.seen[vm], state.begun[vm], job)
        if not claimed:
            continue
        after = state.put(vm, seen=claimed[0], begun=claimed[1])
        what = f"{name} executes {job.do} epoch {job.epoch}{' late' * job.late}"
        if job.do == "activate" and rules.unlocked:
            entry = ("activate", job.number, job.epoch)
            yield f"{name} begins {job.do} epoch {job.epoch}", begin(after, vm, entry)
            continue
        done = execute(after, vm, job)
        yield (what, done, LATE) if job.late and job.do == "activate" else (what, done)


def execute(state, vm, job):
    """
    Return the state after a claimed command. Whatever it is, a VM that serves in an earlier epoch
    knows by now that it is replaced: it steps down first.
    """
    if job.do == "activate":
        alone = bool(job.number) or (state.alone[vm] and bool(state.active[vm]))
        data = state.data[vm] | FORMATTED
        return state.put(vm, active=job.epoch, follows=False, alone=alone, data=data)
    if job.do == "deactivate" or state.active[vm] < job.epoch:
        state = passive(state, vm)
    if job.do == "mirror":
        if state.active[vm] != job.epoch:
            return state
        entry = ("mirror", job.number, state.alone[vm])
        return begin(state.put(vm, alone=False), vm, entry)
    if job.do == "deactivate" or state.active[vm]:
        return state
    # follow: what the source lacks is put aside first
    return state.put(vm, follows=True, data=state.data[vm] & state.data[1 - vm] | FORMATTED)


def begin(state, vm, entry):
    return state.put(vm, doing=(*state.doing[vm], entry)) if entry not in state.doing[vm] else state


def passive(state, vm):
    return state.put(vm, active=0, alone=False, waiting=0)


def work(state, rules, vm):
    """What ``vm`` has begun ends, well or not; what it writes reaches its replica."""
    name = rules.vms[vm]
    for entry in state.doing[vm]:
        do, number, more = entry
        after = state.put(vm, doing=tuple(one for one in state.doing[vm] if one != entry))
        if do == "activate":
            yield f"{name} activates epoch {more}", execute(after, vm, Job(do, vm, more, number))
            continue
        if state.served_by(vm) and not state.data[vm] & ~state.data[1 - vm]:
            message = Job(VERIFIED, vm, state.active[vm], number)
            yield f"{name} finds its mirror complete", after.send(message)
        yield f"{name} finds its mirror incomplete", after.put(vm, alone=more)
    other = 1 - vm
    missing = state.data[vm] & ~state.data[other]
    if state.served_by(vm) and missing and not state.data[other] & ~state.data[vm]:
        both = state.data[other] | missing
        yield f"{rules.vms[other]} receives all from {name}", state.put(other, data=both)
        newest = state.data[other] | (state.waiting[vm] & missing)
        if newest not in (both, state.data[other]):
            yield f"{rules.vms[other]} receives the newest from {name}", state.put(
                other, data=newest)


def clients(state, rules, vm, writes):
    """A client writes to ``vm`` and is answered when the data path permits it."""
    if not state.active[vm]:
        return
    name = rules.vms[vm]
    outstanding = state.data[0] | state.data[1] | state.acknowledged
    bit = 1 << outstanding.bit_length()
    if bit <= FORMATTED << writes:
        changed = {"data": state.data[vm] | bit, "waiting": state.waiting[vm] | bit}
        yield f"a client writes to {name}", state.put(vm, **changed)
    alone = state.alone[vm] or rules.fallback
    safe = state.waiting[vm] if alone else state.waiting[vm] & state.data[1 - vm]
    if safe and (alone or state.served_by(vm)):
        how = "alone" if state.waiting[vm] & ~state.data[1 - vm] else "with its mirror"
        done = state.put(vm, waiting=state.waiting[vm] & ~safe)
        yield f"{name} acknowledges {how}", done._replace(acknowledged=state.acknowledged | safe)


def faults(state, rules, vm):
    """A power cut of ``vm``; a heartbeat that arrives and tells it of a higher epoch."""
    name, other = rules.vms[vm], 1 - vm
    if state.active[vm] or state.doing[vm]:
        yield f"{name} loses its power and boots passive", passive(state, vm).put(vm, doing=())
    heard = {rules.resource: state.active[other]}
    if state.active[other] > state.seen[vm] and not state.doing[vm]:
        held = {rules.resource: state.active[vm]} if state.active[vm] else {}
        claimed = rules.judge(state.seen[vm], state.begun[vm], Job("hear", vm, state.active[other]))
        after = state.put(vm, seen=claimed[0])
        if rules.resource in rules.decider.step_down(held, heard):
            after = passive(after, vm)
        yield f"{name} hears epoch {state.active[other]}", after
