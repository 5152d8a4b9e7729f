"""
Whose turn it is: which master acts first, and how long a list of steps rests after it failed. Pure.
"""

# Seconds that the second master waits whether the first one acts. Too short errs towards doing a
# step twice, which costs time and harms nothing; too long towards a site that waits for a master
# that runs, but whose Salt does not.
SECOND = {"promote": 1, "activate": 5, "follow": 125, "mirror": 65, "restart": 35}
OTHER = 5
SETTLING = 5  # seconds in which whoever made an epoch brings its holder up
RETRY = (1, 30)  # seconds until a list that failed is tried again: at first, and at most


class Turns:
    """What a master remembers of the lists it saw, by resource; ``now`` is any clock's seconds."""

    def __init__(self, retry=RETRY):
        self.retry = retry
        self.failed, self.pending, self.epochs = {}, {}, {}

    def forget(self, resource):
        """Nothing is to be done for this resource, or it is being done."""
        self.pending.pop(resource, None)

    def ended(self, resource, steps, success, now):
        """A list was carried out, or failed."""
        count = 0 if success else self.failed.get(resource, (0,))[0] + 1
        self.failed[resource] = (count, now, _key(steps))

    def watch(self, records, own, now):
        """Remember when somebody else made an epoch; own: the (resource, epoch) made here."""
        for resource, record in records.items():
            if record:
                epoch = record["epoch"]
                known, since = self.epochs.get(resource, (epoch, float("-inf")))
                if known != epoch:
                    since = float("-inf") if (resource, epoch) in own else now
                self.epochs[resource] = (epoch, since)

    def left(self, resource, steps, place, urgent, now):
        """Return the seconds until this list is due here, 0 or less if it is; see `left`."""
        key = _key(steps)
        if self.pending.get(resource, (None,))[0] != key:
            self.pending[resource] = (key, now)
        waited, young = now - self.pending[resource][1], now - self.epochs[resource][1]
        return max(self._rest(resource, key, now), left(steps, place, urgent, waited, young))

    def _rest(self, resource, key, now):
        """A list that fails again and again rests longer each time, another one but a moment."""
        count, failed, known = self.failed.get(resource, (0, now, None))
        tried = count if key == known else min(count, 1)
        return failed + min(self.retry[0] * 2 ** (tried - 1), self.retry[1]) - now if tried else 0


def keeper():
    """Return the Turns of a master."""
    return Turns()


def _key(steps):
    """Return what tells a list from another one, whenever it was made."""
    return [[step.get(name) for name in ("do", "transition", "vm", "epoch")] for step in steps]


def rank(view, lost):
    """
    Return this master's place, 0 for the one that acts at once: the director's holder leads.

    lost: the balancers that are; of those that live, the others follow in the pillar's order.
    """
    holder = (view["records"].get("director") or {}).get("holder")
    balancers = [
        name
        for name, vm in view["cluster"]["vms"].items()
        if vm and vm["role"] == "balancer" and name not in lost
    ]
    order = sorted(balancers, key=lambda name: name != holder)
    return order.index(view["me"]) if view["me"] in order else len(order)


def left(steps, place, urgent, waited, young):
    """
    Return for how many seconds this master still leaves a resource's list to somebody else.

    place: of `rank`; urgent: the holder serves and waits for a permission, no step can be under
    way; waited: seconds since the list is needed; young: seconds since somebody else made the
    epoch, who brings its holder up.
    """
    dos = {step.get("transition", step["do"]) for step in steps}
    if urgent or "promote" in dos:
        return place * SECOND["promote"] - waited
    waits = place * max(SECOND.get(do, OTHER) for do in dos) - waited
    return max(waits, SETTLING - young) if dos & {"activate", "deactivate"} else waits
