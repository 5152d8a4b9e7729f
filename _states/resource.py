"""
The first bring-up of a resource (director, files, database), and nothing after it.

``resource.founded`` is the only state that may change a runtime role, and only while the arbiter
has no record of the resource or says that this VM is still founding it. Once that is over, it
does nothing for ever (I4): a note on this VM's disk (`claim.settled`) answers without asking the
arbiter, so a state run is harmless while the arbiter is lost, too.

What to do next is decided by `_utils/founding.py`, again after every step, so that a run that was
cut anywhere is continued by the next.
"""

import time

from salt.exceptions import CommandExecutionError

ROLES = {"director": "balancer", "files": "file", "database": "database"}
REPLICATED = ("files", "database")  # asking Salt for a function that is not there loads all modules
INTERVAL = 1  # seconds between two looks


def founded(name, deadline=300):
    """
    Bring the resource ``name`` up for the first time, waiting ``deadline`` seconds at most for
    the arbiter, the peer and the first mirror.

    On the founder: create the record, activate, mirror, record the end of the founding. On a
    blank standby of the database: follow the holder. Everywhere else nothing.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        settled = __salt__["claim.settled"](name)
    except CommandExecutionError as error:
        return ret | {"result": False, "comment": str(error)}
    if settled:
        ret["comment"] = "founded before; a state never changes who serves"
        return ret
    run = _Run(name, deadline)
    if run.me != run.founder and not run.follows:
        ret["comment"] = f"{run.founder} founds; nothing to prepare on a standby"
        return ret
    if __opts__["test"]:
        ret["result"], ret["comment"] = _preview(run)
        return ret
    try:
        ret["comment"] = run.finish()
    except CommandExecutionError as error:
        ret.update(result=False, comment=str(error))
    if run.done:
        ret["changes"] = {"old": run.old, "new": {"steps": run.done, "record": run.record}}
    return ret


def _preview(run):
    try:
        action, reason = run.look()
    except CommandExecutionError as error:
        return None, f"would be founded once the arbiter answers: {error}"
    if action == "none":
        return True, reason
    return (False if action == "refuse" else None), f"{action}: {reason}"


class _Run:
    """One run of the state: what was found, what was done, how long it may last."""

    def __init__(self, name, deadline):
        cluster = __pillar__["cluster"]
        self.name = name
        self.me = __grains__["id"]
        self.founder = __utils__["topology.founder"](cluster, ROLES[name])
        self.follows = name in REPLICATED and f"{name}.follow" in __salt__
        self.mirrors = name in REPLICATED and f"{name}.mirror" in __salt__ and bool(
            __utils__["topology.peer"](cluster, self.me)
        )
        self.seconds = deadline
        self.ends = time.monotonic() + deadline
        self.record = self.revision = self.old = None
        self.assumed = False
        self.done = []

    def finish(self):
        """Take step after step until nothing is left to do; return the reason for stopping."""
        while True:
            reason = None
            try:
                action, reason = self.look()
                if action == "refuse":
                    raise Refused(reason)
                if action == "none":
                    return self._over(reason)
                if action != "wait":
                    getattr(self, f"_{action}")()
                    self.done.append(action)
                    if action == "follow":
                        return self._over(reason)
                    continue
            except Refused:
                raise
            except CommandExecutionError as error:
                reason = f"{reason}; {error}" if reason else str(error)
            self._pause(reason)

    def look(self):
        """Read the record and this VM's evidence, and ask for the next step."""
        looked = __salt__["arbiter.look"](self.name)
        assumed = None if looked["record"] else self._assumed()
        self.record, self.revision = looked["record"] or assumed, looked["revision"]
        self.assumed = assumed is not None
        if not self.done:
            self.old = self.record
        found = __salt__[f"{self.name}.status"]()
        status = {"active": found["active"], "epoch": __salt__["claim.seen"](self.name)}
        if self.follows or "blank" in found:
            status.update(blank=found.get("blank"), mirror=found.get("mirror"))
        return __utils__["founding.plan"](
            self.record, self.me, self.founder, status, self.follows, self.mirrors
        )

    def _assumed(self):
        """
        Without a third machine a record is on its holder's own disk: a standby, which cannot read
        it, takes it from the pillar that the founder is in charge at the first bring-up.
        """
        if self.me == self.founder or __pillar__["cluster"]["arbiter"]["driver"] == "etcd":
            return None
        return __utils__["record.create"](self.founder)

    def _over(self, reason):
        # An assumed record says "founding" for ever. Here the standby has followed, or needs not:
        # whom it follows later is for whoever moves the resource to say, not for a state (I4).
        if self.assumed or (self.record and not self.record["founding"]):
            __salt__["claim.settle"](self.name)
        return reason

    def _pause(self, reason):
        if time.monotonic() + INTERVAL > self.ends:
            done = f"done: {', '.join(self.done)}; " if self.done else ""
            raise CommandExecutionError(f"{done}after {self.seconds} s still awaited: {reason}")
        time.sleep(INTERVAL)

    def _until(self):
        """Return until when (Unix seconds) the next command is worth executing."""
        return time.time() + max(0, self.ends - time.monotonic())

    def _create(self):
        __salt__["claim.take"](self.name, 1, self._until())
        self.record = __salt__["arbiter.create"](self.name, self.me)["record"]

    def _activate(self):
        alone = None
        if __utils__["record.has_data"](self.name):
            # Nobody mirrors yet. An attempt to mirror before a reboot has used up what was
            # permitted before it, so each activation asks anew.
            alone = self._swap("serve_alone")
        __salt__[f"{self.name}.activate"](self.record["epoch"], self._until(), alone=alone)

    def _mirror(self):
        __salt__[f"{self.name}.mirror"](self.record["epoch"], self._until(), self.revision)
        self._finish()

    def _finish(self):
        self._swap("founded", mirror=self.mirrors)

    def _swap(self, transition, **more):
        """
        Return the revision that the swap made; it is bound to the one looked at, because a mirror
        lost after it was verified voids what was verified.
        """
        more.update(holder=self.me, epoch=self.record["epoch"], revision=self.revision)
        answer = __salt__["arbiter.swap"](self.name, transition, **more)
        self.record = answer["record"]
        if not answer["swapped"]:
            raise CommandExecutionError(f"{transition} was refused: {answer['reason']}")
        return answer["revision"]

    def _follow(self):
        holder, epoch = self.record["holder"], self.record["epoch"]
        __salt__[f"{self.name}.follow"](holder, epoch, self._until())


class Refused(CommandExecutionError):
    """Waiting would not help."""
