"""
Revisions of a record that lies on two disks, without a third machine (`_modules/copies.py`): the
higher one wins when the two meet, so none may ever stand for two values.

Each balancer gives its own ones only: with two of them the first gives the even, the other the odd.
"""

import json

AHEAD = 1_000_000  # one that was cut off tries its own change that often at most
# Epochs, and as many AHEAD: more changes than anybody makes alone before the other one is back.
BEYOND = 1000


def after(revision, me, balancers):
    """Return the next revision that the balancer ``me`` of ``balancers`` (names) may give."""
    place = sorted(balancers).index(me)
    return revision + 1 + (place - revision - 1) % len(balancers)


def alone(revision, me, balancers):
    """Return one ahead of all that the other, dead one may have written on its own."""
    return after(revision + AHEAD, me, balancers)


def beyond(value, revision, me, balancers):
    """
    Return ``(value, revision)`` of a record (text) beyond whatever the other one made of it; None
    if it has no epoch, like what operators marked.
    """
    record = json.loads(value)
    if "epoch" not in record:
        return None
    further = {**record, "epoch": record["epoch"] + BEYOND}
    return json.dumps(further, sort_keys=True), after(revision + BEYOND * AHEAD, me, balancers)
