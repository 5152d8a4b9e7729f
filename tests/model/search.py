"""
Breadth-first search over all states: how many there are, and the shortest way to a wrong one.

Messages only grow, and more messages can only do more: a state that differs from a visited one by
lacking messages leads nowhere new and is left out. So is a message that would be refused for ever.
"""

import collections
from typing import NamedTuple

from tests.model.state import canonical, start, wrong
from tests.model.steps import VERIFIED, steps


class Found(NamedTuple):
    """states: how many were visited; trace: the steps to a wrong one, which is the last line."""

    states: int
    transitions: int
    trace: list | None
    visited: list


def search(rules, record, bound=(3, 3), most=None, keep=False):
    """Visit every state reachable from a record (None: before the founding), at most ``most``."""
    first = start(record, rules.data)
    came_from = {first: None}
    known = collections.defaultdict(list)
    queue, transitions = collections.deque([first]), 0
    while queue:
        state = queue.popleft()
        for what, after, *broken in steps(state, rules, bound):
            transitions += 1
            after = useful(after, rules)
            problem = broken[0] if broken else wrong(after, rules.data)
            if problem:
                trace = [*path(came_from, state), what, problem]
                return Found(len(came_from), transitions, trace, [])
            if after in came_from or not new(known, after):
                continue
            came_from[after] = (state, what)
            queue.append(after)
            if most and len(came_from) > most:
                raise RuntimeError(f"more than {most} states")
    return Found(len(came_from), transitions, None, list(came_from) if keep else [])


def useful(state, rules):
    """Return the state without the messages that can never change anything any more."""
    kept = [job for job in state.sent if useful_message(job, state, rules)]
    if len(kept) < len(state.sent):
        state = state._replace(sent=frozenset(kept))
    return canonical(state)


def useful_message(job, state, rules):
    """
    What is about a mirror ends with the revision it is bound to: begun afterwards, it can only
    make its VM wait for the other (and void permissions), which forbids and never allows.
    """
    if job.do in (VERIFIED, "mirror") and job.number != state.revision and not rules.unbound:
        return False
    return job.do == VERIFIED or rules.judge(state.seen[job.vm], state.begun[job.vm], job)


def new(known, state):
    """Note the state unless one with the same VMs and at least its messages was visited."""
    others = known[state._replace(sent=None)]
    if any(sent >= state.sent for sent in others):
        return False
    others[:] = [sent for sent in others if not sent <= state.sent]
    others.append(state.sent)
    return True


def path(came_from, state):
    names = []
    while came_from[state]:
        state, what = came_from[state]
        names.append(what)
    return names[::-1]


def story(trace):
    """Return a trace as text, a step a line."""
    lines = [f"{number:3}. {what}" for number, what in enumerate(trace[:-1], 1)]
    return "\n".join([*lines, f"     {trace[-1]}"])
