"""
What an operator has told the cluster: out on purpose, dead for certain, seen and acknowledged.

One value beside the records, under the key ``marks`` of the arbiter, so that both masters know the
same and a dead one takes nothing with it. Changed by compare-and-swap, like a record.
"""

import json
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

KEY = "marks"
KINDS = ("absent", "confirmed", "acknowledged")
# Seconds for which a death counts as confirmed. A confirmation speaks of a moment: the VM may come
# back, and its next silence is no death. Too short errs towards asking the operator again.
CONFIRMED = 600
# How often a change is tried again after somebody else's. More than one writer at a time is two
# operators; each round one of them succeeds.
ROUNDS = 10


def __virtual__():
    return "marks"


def read():
    """
    Return all marks: ``{"absent": {name: {"since", "why"}}, "confirmed": {...}, "acknowledged":
    {resource: time}}``; names of VMs or servers, times in Unix seconds. A confirmed death ends
    with `remove`, or ten minutes later by itself.

    Raises CommandExecutionError when the arbiter cannot be reached or the marks are damaged.

    CLI Example:

    .. code-block:: bash

        salt lb1 marks.read
    """
    return _parse(__salt__["arbiter.load"](KEY)["value"])


def add(kind, name, why=None):
    """
    Mark the VM or server ``name`` as ``absent`` or ``confirmed`` (dead), or the resource ``name``
    as ``acknowledged``; return all marks.

    Repeated, ``absent`` keeps its first time and reason; the two others speak of a moment, so they
    get the new one. Raises as `read` does, SaltInvocationError for a kind or name that is unknown.

    CLI Example:

    .. code-block:: bash

        salt lb1 marks.add absent server1 'new memory'
    """
    _known(kind, name)

    def change(marks):
        now = time.time()
        if kind == "acknowledged":
            marks[kind][name] = now
        elif kind == "confirmed" or name not in marks[kind]:
            marks[kind][name] = {"since": now, "why": why}

    return _change(change)


def remove(kind, name):
    """
    Take a mark away; return all marks. Nothing happens if there is none.

    Raises as `add` does, except that a name which left the pillar may still be removed.

    CLI Example:

    .. code-block:: bash

        salt lb1 marks.remove absent server1
    """
    _known(kind)
    return _change(lambda marks: marks[kind].pop(name, None))


def _change(change):
    for _ in range(ROUNDS):
        stored = __salt__["arbiter.load"](KEY)
        marks = _parse(stored["value"])
        before = json.dumps(marks, sort_keys=True)
        change(marks)
        text = json.dumps(marks, sort_keys=True)
        if text == before or __salt__["arbiter.store"](KEY, text, stored["revision"]):
            return marks
    raise CommandExecutionError(f"the marks changed {ROUNDS} times while they were to be written")


def _parse(text):
    """Return the marks; a damaged value is an error and never "no marks": absence is among them."""
    try:
        value = json.loads(text) if text else {}
        marks = {kind: dict(value.get(kind, {})) for kind in KINDS}
        ages = {kind: _ages(marks[kind]) for kind in ("absent", "confirmed")}
        for at in marks["acknowledged"].values():
            float(at)
        for name, age in ages["confirmed"].items():
            if abs(age) >= CONFIRMED:  # also if the clock was set back since
                del marks["confirmed"][name]
        return marks
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CommandExecutionError(f"the marks are damaged: {error!r} in {text!r}") from error


def _ages(entries):
    return {name: time.time() - float(entry["since"]) for name, entry in entries.items()}


def _known(kind, name=None):
    if kind not in KINDS:
        raise SaltInvocationError(f"{kind!r} is no mark, known: {', '.join(KINDS)}")
    if name is None:
        return
    cluster = __pillar__["cluster"]
    names = [*cluster.get("servers", {}), *cluster["vms"]]
    if kind == "acknowledged":
        names = ["director", "files", "database"]
    if name not in names:
        raise SaltInvocationError(f"{name!r} is none of {', '.join(names)}")
