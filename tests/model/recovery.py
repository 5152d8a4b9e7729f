"""
Safety alone could be had by refusing everything. From any state, once faults end (or one VM stays
dead), true views and working links must lead to a VM that serves, or to the one refusal that is
right: whatever a dying master has left behind, the next one finishes.
"""

from tests.model.state import Job
from tests.model.steps import execute, faults, fill, passive, verified, work

ROUNDS = 12


def settle(state, rules, down=None):
    """Return (the state that one master reaches round by round, its last Decision, rounds)."""
    state = state._replace(sent=frozenset())
    for vm in (0, 1):
        if vm == down:
            state = passive(state, vm).put(vm, doing=())
        state = ended(state, rules, vm, down)
    for count in range(ROUNDS):
        decision = rules.decide(state.record, truth(state, down))
        plan = rules.plan(state.record, truth(state, down))
        before = state
        for step in plan:
            state = obeyed(state, rules, step, down)
        for vm in (0, 1):
            state = ended(state, rules, vm, down)
        if not plan and state == before:
            return state, decision, count
    return state, decision, ROUNDS


def truth(state, down):
    """Return what heartbeats say of both VMs when nothing is late or lost."""
    told = []
    for vm in (0, 1):
        other = 1 - vm
        true = {"service", "networks"}
        if state.active[vm] and not state.alone[vm]:
            if down == other or not state.can_acknowledge(vm):
                true |= {"waiting", "frozen"}
        if state.follows[vm]:
            true.add("following")
            behind = state.data[other] & ~state.data[vm]
            if down == other or not behind:
                true.add("fit")
        told.append((vm != down, state.active[vm], frozenset(true)))
    return tuple(told)


def obeyed(state, rules, step, down):
    """Return the state after one step of the plan, carried out at once by whoever is up."""
    if not isinstance(step, Job):
        transition, arguments = step
        if transition == "mirrored" and not verified(state, rules, dict(arguments)["holder"]):
            return state
        new = rules.swap(state.record, transition, arguments)
        return state._replace(record=new, revision=state.revision + 1) if new else state
    job = fill(step, state.revision)
    claimed = rules.judge(state.seen[job.vm], state.begun[job.vm], job)
    if job.vm == down or not claimed:
        return state
    after = execute(state.put(job.vm, seen=claimed[0], begun=claimed[1]), job.vm, job)
    return ended(after, rules, job.vm, down)


def ended(state, rules, vm, down):
    """Return the state when ``vm`` ended what it was doing, heard the other, and copied all."""
    if down is not None:
        for entry in state.doing[vm]:
            state = state.put(vm, doing=(), alone=entry[2])
        return state
    for what, after, *_ in [*work(state, rules, vm), *faults(state, rules, vm)]:
        if " hears " in what or " receives all " in what or "complete" in what:
            return ended(after, rules, vm, down)
    return state


def fault(state, rules, down):
    """Return what is wrong with the place that recovery leads to, or None."""
    was_mirrored = bool(state.record[2])
    state, decision, rounds = settle(state, rules, down)
    if rounds == ROUNDS:
        return f"not settled after {rounds} rounds"
    holder, epoch, mirrored, _ = state.record
    conditions = {refused["condition"] for refused in decision.rejected} - {"ARBITER_UNREACHABLE"}
    if holder == down:
        allowed = {"NOT_MIRRORED"} if rules.data and not was_mirrored else set()
        return None if conditions and conditions <= allowed else f"refused: {conditions}"
    serves = state.can_acknowledge(holder) if rules.data else state.active[holder] == epoch
    if not serves or state.active[1 - holder]:
        return f"active: {state.active}, epoch {epoch}"
    if down is None and (not mirrored or conditions):
        return f"mirrored: {mirrored}, refused: {conditions}"
    return None

