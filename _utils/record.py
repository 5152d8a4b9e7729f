"""
Who may serve a resource: the record that the arbiter keeps, and its transitions.

A record is ``{"holder": vm, "epoch": int, "mirrored": bool, "founding": bool}``. It changes only
by compare-and-swap, and only by the transitions below, each a pure function of the old record.

I1  At most one VM acknowledges writes. The standby needs ``mirrored`` true to be promoted
    (`promote`); a holder that lost its mirror needs `serve_alone`, which makes ``mirrored``
    false. Whichever swap comes first forbids the other: the two exclude each other.
I2  Whoever serves next has every acknowledged write. ``mirrored`` is true only while the holder
    acknowledges nothing that its standby does not have, so whom `promote` admits has them all.

Founding is the first bring-up, from the creation of the record to the first complete mirror.
Meanwhile nobody but the holder may change the record: a state run that read "founding, mine" may
therefore act on what it read, however long ago that was.

``director`` has no data: nothing has to be copied, so its standby is always ready
(``mirrored`` stays true after founding) and it never serves "alone".
"""

DATALESS = ("director",)
KEYS = {"holder": str, "epoch": int, "mirrored": bool, "founding": bool}


class Refused(ValueError):
    """The transition is not allowed from this record; the message says why."""


def has_data(resource):
    """Return whether ``resource`` carries data that a standby has to mirror."""
    return resource not in DATALESS


def create(holder):
    """Return the first record of a resource: ``holder`` founds it at epoch 1."""
    if not isinstance(holder, str) or not holder:
        raise Refused(f"a record needs the name of a VM as holder, not {holder!r}")
    return {"holder": holder, "epoch": 1, "mirrored": False, "founding": True}


def promote(record, holder, data=True):
    """Return the record with the standby ``holder`` in charge, one epoch later."""
    create(holder)  # a name is needed here as well
    if record["founding"]:
        raise Refused(f"{record['holder']} is still founding: nothing to take over yet")
    if record["holder"] == holder:
        raise Refused(f"{holder} already holds epoch {record['epoch']}")
    if not record["mirrored"]:
        raise Refused(
            f"the standby lacks writes that {record['holder']} may have acknowledged "
            f"in epoch {record['epoch']} (mirrored is false)"
        )
    return {**record, "holder": holder, "epoch": record["epoch"] + 1, "mirrored": not data}


def abandon(record, holder, lose_writes_of, data=True):
    """
    Return the record with ``holder`` in charge without the writes that only the old holder has:
    the one transition that gives up I2, by the word of an operator who names whose writes.

    A mirrored record is no obstacle: a standby that lost power may be unable to prove what it has.
    """
    create(holder)
    if record["founding"]:
        raise Refused(f"{record['holder']} is still founding: nothing to take over yet")
    if record["holder"] != lose_writes_of or holder == lose_writes_of:
        raise Refused(f"{record['holder']} holds epoch {record['epoch']}, not {lose_writes_of}")
    if not data:
        raise Refused("a resource without data has no writes to give up: promote its standby")
    return {**record, "holder": holder, "epoch": record["epoch"] + 1, "mirrored": False}


def serve_alone(record, holder, epoch, data=True):
    """Return the record that lets ``holder`` acknowledge writes without its mirror."""
    _own(record, holder, epoch)
    if not data:
        raise Refused("a resource without data has no mirror to lose")
    return {**record, "mirrored": False}


def mirrored(record, holder, epoch, data=True):
    """Return the record that makes the standby fit to take over; the holder has verified it."""
    _own(record, holder, epoch)
    if record["founding"]:
        raise Refused(f"{holder} is still founding: the first mirror is recorded by 'founded'")
    return {**record, "mirrored": True}


def founded(record, holder, epoch, mirror=True, data=True):
    """
    Return the record that ends the founding; ``mirror`` says whether the standby is complete
    (false only where there is no standby). Repeated, it changes nothing.
    """
    _own(record, holder, epoch)
    if not record["founding"]:
        return dict(record)
    return {**record, "founding": False, "mirrored": bool(mirror) or not data}


def founds(record, holder, epoch):
    """Return whether ``record`` (or None) says that ``holder`` is founding ``epoch``."""
    mine = (holder, epoch)
    return bool(record) and record["founding"] and (record["holder"], record["epoch"]) == mine


def _own(record, holder, epoch):
    """Raise unless ``holder`` holds the record at ``epoch``."""
    if (record["holder"], record["epoch"]) != (holder, epoch):
        raise Refused(
            f"{record['holder']} holds epoch {record['epoch']}, not {holder} epoch {epoch}"
        )


TRANSITIONS = {
    "promote": promote,
    "abandon": abandon,
    "serve_alone": serve_alone,
    "mirrored": mirrored,
    "founded": founded,
}


def apply(resource, record, transition, arguments):
    """
    Return what ``transition`` (a name, with its ``arguments``) makes of the record.

    The answer is ``{"record": new}`` or ``{"refused": sentence}``: a caller on the other side of
    Salt's loader cannot name the exception.
    """
    if transition not in TRANSITIONS:
        known = ", ".join(sorted(TRANSITIONS))
        raise ValueError(f"unknown transition {transition!r}, known: {known}")
    try:
        changed = TRANSITIONS[transition](record, data=has_data(resource), **arguments)
    except Refused as error:
        return {"refused": str(error)}
    check_invariants(resource, record, changed, given_up=transition == "abandon")
    return {"record": changed}


def check(record):
    """Return ``record`` if it is well formed, else raise ValueError saying what is wrong."""
    if not isinstance(record, dict):
        raise ValueError(f"a record is a mapping, not {record!r}")
    for key, kind in KEYS.items():
        if type(record.get(key)) is not kind:  # a bool is no epoch, though it is an int
            raise ValueError(f"the record's {key} is {record.get(key)!r}, not a {kind.__name__}")
    if record["epoch"] < 1 or not record["holder"]:
        raise ValueError(f"the record names no holder and epoch: {record}")
    return record


def check_invariants(resource, old, new, given_up=False):
    """
    Raise AssertionError if the step from ``old`` to ``new`` could break I1 or I2 (given_up: I2 is
    given up by an operator's word).

    Epochs never fall; another holder means a new epoch, granted only from a mirrored and founded
    record; within an epoch the holder stays; a founding record of data is never mirrored.
    """
    check(new)
    if has_data(resource) and new["founding"] and new["mirrored"]:
        raise AssertionError(f"founding and mirrored: {new}")
    if old is None or old == new:
        return
    if new["holder"] == old["holder"]:
        if new["epoch"] != old["epoch"] or new["founding"] > old["founding"]:
            raise AssertionError(f"an epoch or a founding without its cause: {old} -> {new}")
        return
    may = old["mirrored"] or given_up
    if new["epoch"] != old["epoch"] + 1 or not may or old["founding"]:
        raise AssertionError(f"a promotion without its right: {old} -> {new}")
    if has_data(resource) and new["mirrored"]:
        raise AssertionError(f"a new holder cannot be mirrored yet: {old} -> {new}")
