"""
One resource on two VMs, as plain values that can be hashed, and what is wrong with a state.

A write is a bit. ``data``: what is on a VM's disk; ``waiting``: what its clients still wait for;
``acknowledged``: what any client was told is saved. ``sent`` only grows: a command may be executed
now, later, several times or never, which is delay, replay and loss in one. A VM that takes no step
for a while was paused, or cut off; a "lost" that is not true is a lost heartbeat. Masters keep
nothing: whatever decide() says on *any* view, old or false, of the present record may be executed,
in part or whole, so this is any number of masters that die anywhere. What needs an arbiter may
always fail to happen: that is its loss.
"""

from typing import NamedTuple

FORMATTED = 1  # the bit of ``data`` that says: this disk is not blank
EARLIER, NOW = 1, 2  # revisions, see `canonical`
VMS = {True: ("file1", "file2"), False: ("lb1", "lb2")}


class Job(NamedTuple):
    """A command on its way; number: permission to go on alone, or the mirror's revision, or 0."""

    do: str
    vm: int
    epoch: int
    number: int = 0
    late: bool = False


class State(NamedTuple):
    """Pairs are of the first and the second VM."""

    record: tuple | None  # holder, epoch, mirrored, founding
    revision: int
    active: tuple  # the epoch it serves in, 0 passive
    seen: tuple  # the highest epoch claimed on its disk
    begun: tuple  # the latest revision at which a mirror was begun, on its disk
    alone: tuple  # synchronous mode is off
    follows: tuple  # it is a replica of the other
    doing: tuple  # commands that have begun and not ended
    data: tuple
    waiting: tuple
    acknowledged: int
    sent: frozenset

    def put(self, vm, **fields):
        """Return the state with these fields of one VM changed."""
        pairs = {}
        for field, value in fields.items():
            old = getattr(self, field)
            pairs[field] = (value, old[1]) if vm == 0 else (old[0], value)
        return self._replace(**pairs)

    def send(self, *jobs):
        return self._replace(sent=self.sent.union(jobs))

    def served_by(self, vm):
        """Return whether the other VM takes what ``vm`` writes."""
        return self.follows[1 - vm] and not self.active[1 - vm]

    def can_acknowledge(self, vm):
        return bool(self.active[vm] and (self.alone[vm] or self.served_by(vm)))


def start(record, data=True):
    """Return the state of a resource in service, or (record None) before its first bring-up."""
    if record is None:
        return State(None, 0, *[(0, 0)] * 3, *[(False, False)] * 2, ((), ()), *[(0, 0)] * 2, 0,
                     frozenset())
    return State(record, NOW, (1, 0), (1, 0), (NOW, 0), (False, False), (False, data), ((), ()),
                 (FORMATTED, FORMATTED), (0, 0), 0, frozenset())


def wrong(state, data=True):
    """Return which invariant the state breaks, or None."""
    for vm in (0, 1):
        if state.active[vm] and state.active[vm] < state.seen[vm]:
            return "I1/I3: it serves in an epoch that it knows is over"
    if not data:
        if state.active[0] == state.active[1] != 0:
            return "I3: both serve in the same epoch"
        return None
    if state.can_acknowledge(0) and state.can_acknowledge(1):
        return "I1: both may acknowledge writes"
    if not state.record:
        return None
    holder, _, mirrored, _ = state.record
    if state.acknowledged & ~state.data[holder]:
        return "I2: an acknowledged write is not on the VM that the record puts in charge"
    if mirrored and state.acknowledged & ~state.data[1 - holder]:
        return "I2: the standby may be promoted and lacks an acknowledged write"
    return None


def canonical(state):
    """
    Return the state with what no later step can tell apart made equal.

    Revisions: a message is of the present one or of an earlier one; a permission that is still
    valid becomes void with the next mirror, whichever of the earlier ones it is.
    Writes: what is on both disks and answered, or on neither, is of no more interest; the others
    are alike. So a bound on writes is one on those outstanding, not on all that ever were.
    """
    now = state.revision
    state = state._replace(
        revision=NOW if state.record else 0,
        begun=tuple(NOW if state.record and begun == now else 0 for begun in state.begun),
        doing=tuple(
            tuple((do, NOW if number == now else EARLIER, more) for do, number, more in doing)
            for doing in state.doing
        ),
        sent=frozenset(_numbered(job, now) for job in state.sent),
    )
    return _rewritten(state)


def _numbered(job, now):
    if not job.number:
        return job
    return job._replace(number=NOW if job.number == now and job.do != "activate" else EARLIER)


def _rewritten(state):
    (first, second), (one, two), told = state.data, state.waiting, state.acknowledged
    if not (first | second | one | two | told) & ~FORMATTED:
        return state
    bits, bit = [], FORMATTED << 1
    while bit <= first | second | one | two | told:
        fields = [bool(mask & bit) for mask in (first, second, one, two, told)]
        settled = fields[0] and fields[1] and not (fields[2] or fields[3])
        if any(fields) and not settled:
            bits.append(fields)
        bit <<= 1
    masks = [first & FORMATTED, second & FORMATTED, 0, 0, 0]
    for number, fields in enumerate(sorted(bits), 1):
        for index, on in enumerate(fields):
            masks[index] |= on << number
    return state._replace(
        data=(masks[0], masks[1]), waiting=(masks[2], masks[3]), acknowledged=masks[4]
    )
