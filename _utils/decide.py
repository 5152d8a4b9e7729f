"""
Who should serve what, and what has to be done for it: one pure, deterministic decision.

The decider is about liveness only. That at most one VM acknowledges writes (I1) and that none is
lost (I2) is kept by the record, the claim and the data path, whatever is decided here, by however
many masters, on however old a view; `tests/model` searches for an interleaving that breaks it.
What this module owes them is the order of the steps:

- Every swap is bound to the revision of the record that the decision has seen.
- A command to a VM follows the swap that permits it and carries the record's epoch.
- ``alone`` (acknowledge without the mirror) only after a swap in the same list: the executor hands
  the revision that this swap made to the VM as the permission, and stops if it is refused.

So a decision can be repeated, and a second master finishes what a dying one began: it finds the
record changed and the VM not there yet. Steps of one resource go one after the other, those of
different resources at the same time; the first step that fails ends its resource's list. A step
with ``wait`` false is sent and not waited for, one ``beside`` the next is waited for at the end;
``await_peer`` tells a VM that its predecessor is about to give up, ``lose_writes`` (of
`_utils/moves.py`) to serve from what it has, although it knows that this is not all.

The view: now (Unix seconds), cluster (the pillar), me (the master that decides), records (resource
-> record, {} absent, None unknown), revisions (resource -> int), views (see `_utils/presence.py`;
*held* is resource -> epoch, *health* flat names -> True, False or None: ``files.service``,
``files.restarted`` (a local restart did not help), ``files.waiting`` (writes wait for the mirror),
``files.frozen`` (for longer than deadtime), ``files.following``, ``files.fit`` (this standby has
everything and could serve), ``files.mirror`` (False: the standby answers, without a disk),
``director.networks``, ``director.addresses``), absent and confirmed (VMs or servers out on
purpose / dead by an operator's word), history (of `_utils/outlook.py`), driver.
"""

import importlib.util
from pathlib import Path
from typing import NamedTuple


def _sibling(name):
    """
    Return another module of this folder.

    Salt gives no ``__utils__`` to what stands in _utils, and would not refresh what is imported by
    its plain name, which may also be another's.
    """
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"{__name__}_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


conditions, obstacle, presence, record, topology = map(
    _sibling, ("conditions", "obstacle", "presence", "record", "topology")
)

OBSERVERS = ("balancer", "witness")
ROLES = {"director": "balancer", "files": "file", "database": "database"}
# Seconds a command stays valid. Too short errs towards repeating a step, too long towards waiting
# for a VM that died with the command; neither harms the data.
SECONDS = {"activate": 20, "deactivate": 10, "mirror": 60, "follow": 120, "restart": 30}
# Seconds for a director that is cut off from Salt with one of its networks: it gives up by itself
# as soon as it hears the higher epoch, on the network that is left.
UNHEARD = 2
# Seconds for a standby to follow while writes wait for it; they go on alone soon, and that must not
# have to wait for this command.
AWAITED = 3
FAILED = 2  # failed activations at one epoch after which the holder counts as unable
TRIED = 3  # restarts, and commands it said nothing to, lately and at one epoch: the same


class Decision(NamedTuple):
    """Per resource the ordered steps; one sentence; what was not done, and why."""

    actions: dict
    reason: str
    rejected: list


class Case(NamedTuple):
    """One resource, looked at: its record and where its VMs are."""

    view: dict
    resource: str
    record: dict
    standbys: list
    observers: list
    data: bool

    @property
    def holder(self):
        return self.record["holder"]

    def told(self, vm):
        return presence.told(self.view["views"], vm)

    def health(self, vm, what):
        return self.told(vm).get("health", {}).get(f"{self.resource}.{what}")

    def held(self, vm):
        """Return the epoch in which ``vm`` says that it serves, 0 if it does not, None unknown."""
        told = self.told(vm)
        return told["held"].get(self.resource, 0) if "held" in told else None

    def judge(self, vm):
        return presence.judge(self.view["views"], self.view["me"], vm, self.observers)

    def why_lost(self, vm):
        if presence.is_deaf(self.view["views"], self.view["me"], vm, self.observers):
            return f"{vm} hears nobody any more"
        return f"{vm} is silent on every link"

    def is_in(self, vm, names):
        server = self.server(vm)
        return vm in names or (server is not None and server in names)

    def server(self, vm):
        """Return where ``vm`` runs; None also of a holder that has left the pillar."""
        return (self.view["cluster"]["vms"].get(vm) or {}).get("server")

    def absent(self, vm):
        return self.is_in(vm, self.view.get("absent", ()))

    def refuse(self, refusal, alternative):
        """Return one rejected alternative; refusal: ``(condition, facts)``."""
        condition, facts = refusal
        told = conditions.refusal(condition, **{"resource": self.resource, **facts})
        return {"resource": self.resource, "alternative": alternative, **told}

    def swap(self, transition, reason, **arguments):
        return {
            "do": "swap",
            "transition": transition,
            "arguments": arguments,
            "revision": self.view["revisions"][self.resource],
            "record": self.record,
            "reason": reason,
        }

    def job(self, do, vm, reason, epoch=None, **more):
        return {
            "do": do,
            "vm": vm,
            "epoch": epoch or self.record["epoch"],
            "deadline": self.view["now"] + SECONDS[do],
            "reason": reason,
            "wait": True,
            **more,
        }


def decide(view):
    """Return the Decision of this view; no resource's steps depend on another's."""
    actions, reasons, rejected = {}, [], []
    for resource in ROLES:
        steps, refused = _resource(view, resource)
        rejected += refused
        if steps:
            actions[resource] = steps
            reasons.append(f"{resource}: {steps[0]['reason']}")
        elif refused:
            reasons.append(f"{resource}: nothing is done, because {refused[-1]['sentence']}")
    return Decision(actions, "; ".join(reasons) or "every resource is where it belongs", rejected)


def step_down(held, heard):
    """
    Return the resources, with the epoch to claim, that must be given up at once, without Salt.

    held: resource -> epoch served here; heard: resource -> highest epoch anybody claims. Hearing a
    higher epoch is enough: it exists only because a swap has put somebody else in charge.
    """
    return {
        resource: heard[resource]
        for resource, epoch in sorted(held.items())
        if heard.get(resource, 0) > epoch
    }


def look(view, resource):
    """Return ``(Case, None)``, or ``(Case, refusal)`` if nothing can be said without its record."""
    vms = topology.vms(view["cluster"])
    found = view["records"].get(resource)
    names = [vm["name"] for vm in vms if vm["role"] == ROLES[resource]]
    observers = [vm["name"] for vm in vms if vm["role"] in OBSERVERS]
    standbys = [vm for vm in names if found and vm != found["holder"]]
    case = Case(view, resource, found, standbys, observers, record.has_data(resource))
    if found is None:
        return case, case.refuse(("ARBITER_UNREACHABLE", {}), "any change")
    if not found:
        return case, case.refuse(("NOT_FOUNDED", {}), "any change")
    if newer := _newer(case, names):
        return case, newer
    if found["founding"]:
        return case, case.refuse(("FOUNDING", {"holder": case.holder}), "any change")
    return case, None


def _resource(view, resource):
    case, refused = look(view, resource)
    if refused:
        return [], [refused]
    state, why = case.judge(case.holder)
    if state == "lost" and case.absent(case.holder):
        return [], [case.refuse(("ABSENT_ON_PURPOSE", {"vm": case.holder}), "failover")]
    if state == "lost":
        return _promote(case, case.why_lost(case.holder))
    if state == "unsure":
        return [], [case.refuse(why, "failover")]
    steps, refused = _holder_alive(case)
    return steps, ([case.refuse(why, "failover")] if why else []) + refused


def _newer(case, vms):
    """Return a refusal if a VM has seen an epoch that the record has not reached."""
    for vm in vms:
        told = case.told(vm)
        seen = max(
            told.get(claims, {}).get(case.resource, 0) for claims in ("held", "seen")
        )
        if seen > case.record["epoch"]:
            facts = {"vm": vm, "seen": seen, "epoch": case.record["epoch"]}
            return case.refuse(("RECORD_OUTDATED", facts), "any change")
    return None


def _holder_alive(case):
    holder, epoch, held = case.holder, case.record["epoch"], case.held(case.holder)
    if why := _unable(case):
        steps, refused = _promote(case, why, alive=True)
        again, also = ([], []) if steps else _again(case, why)
        return steps or again, refused + also
    if held is None:
        return [], [case.refuse(("HOLDER_UNKNOWN", {"vm": holder}), "any change")]
    if held < epoch:
        return _activate(case, f"{holder} holds epoch {epoch} and does not serve yet")
    if case.data and case.health(holder, "service") is False:
        steps = _restart(case, f"the service of {case.resource} on {holder} fails")
        return steps, [case.refuse(("RESTART_FIRST", {"vm": holder}), "failover")]
    if not case.data and case.health(holder, "addresses") is False:
        return _activate(case, f"{holder} serves as the director without its addresses")
    if steps := _replaced(case):
        return steps, []
    return _mirroring(case) if case.data else ([], [])


def _unable(case):
    """Return why the living holder cannot serve, or None."""
    holder = case.holder
    if case.health(holder, "service") is False and case.health(holder, "restarted"):
        return f"{case.resource} fails on {holder}, and a restart did not help"
    if not case.data and case.health(holder, "networks") is False:
        return f"{holder} lost one of its two networks"
    if (failed := _counted(case, "activation failed")) >= FAILED:
        return f"{holder} could not be activated {failed} times"
    served = case.held(holder) == case.record["epoch"]
    well = served and (case.health(holder, "service") is not False or not case.data)
    if (tried := _counted(case, "in vain")) >= TRIED and not well:
        return f"{holder} was restarted or commanded in vain {tried} times"
    return None


def _counted(case, what):
    """Return how often this happened to the holder lately, in this epoch."""
    wanted = (what, case.resource, case.holder, case.record["epoch"])
    names = ("what", "resource", "vm", "epoch")
    found = [tuple(map(entry.get, names)) for entry in case.view.get("history", ())]
    return found.count(wanted)


def _restart(case, reason):
    return [case.job("restart", case.holder, reason)]


def _again(case, reason):
    """Nobody can take over: the holder that was unable tries what it can, again."""
    if case.held(case.holder) == case.record["epoch"]:
        if case.data and case.health(case.holder, "service") is False:
            return _restart(case, reason), []
        return _mirroring(case) if case.data else ([], [])
    if not case.data and case.health(case.holder, "networks") is False:
        return [], []
    return _activate(case, f"{reason}; nobody else can")


def _replaced(case):
    """Return the step that ends what a living standby still serves in an epoch that is over."""
    for standby in case.standbys:
        held = case.held(standby)
        if held and case.judge(standby)[0] == "alive":
            why = f"{standby} serves epoch {held}, but {case.holder} has {case.record['epoch']}"
            return [case.job("deactivate", standby, why)]
    return []


def _activate(case, reason):
    """
    Put the recorded holder in charge: with its mirror, or alone after a swap of its own.

    A complete copy that comes up without the other one cannot know whether it is the latest. The
    record knows; so once the other one is lost, the holder needs not wait for it.
    """
    if case.data and not case.record["mirrored"]:
        swap, activate = alone(case, reason)
        return [swap, *_after(case, activate)], []
    steps, refused = [], []
    if case.data and _is_unmirrored(case) and case.health(case.holder, "fit"):
        steps, refused = _release(case, f"{reason}, and its mirror is lost")
    return steps or [case.job("activate", case.holder, reason, alone=False)], refused


def _after(case, activate):
    """
    Return the activation, behind the end of a living predecessor whose successor was not told in
    time. Once: DRBD's writes freeze if it is left without that, and it has to reboot.
    """
    if case.resource == "files" and not _counted(case, "activation failed"):
        for standby in case.standbys:
            if case.held(standby) and case.judge(standby)[0] == "alive":
                why = f"{standby} serves in an epoch that is over"
                leave = case.job("deactivate", standby, why, beside=True)
                return [leave, {**activate, "await_peer": True}]
    return [activate]


def _is_unmirrored(case):
    """Return whether all standbys are lost."""
    return case.standbys and all(case.judge(vm)[0] == "lost" for vm in case.standbys)


def _alone(case, reason):
    epoch = case.record["epoch"]
    return case.swap("serve_alone", reason, holder=case.holder, epoch=epoch)


def _mirroring(case):
    """
    The holder serves: release it if it waits for a mirror that is lost, or bring its mirror back.

    A mirror that lost its disk keeps nobody waiting: the record is told that it has not everything.
    A mirror that is still heard may answer again in a moment, so it is waited for longer.
    """
    if case.record["mirrored"] and case.health(case.holder, "mirror") is False:
        return alone(case, f"the mirror of {case.holder} answers, and has no disk any more"), []
    waits = case.health(case.holder, "waiting") and _is_unmirrored(case)
    if waits or case.health(case.holder, "frozen"):
        return _release(case, f"{case.holder} lost its mirror and waits; it goes on alone")
    for standby in case.standbys:
        if case.judge(standby)[0] == "alive" and not case.absent(standby):
            if steps := rejoin(case, standby):
                return steps, []
    return [], []


def _release(case, why):
    """
    Let the holder go on alone, once a lost standby can do no harm. One that is lost to some only
    can do none, as the balancers agree on the record: a cable broke, and nobody could switch it off
    or confirm its death.
    """
    lost = [vm for vm in case.standbys if case.judge(vm)[0] == "lost"]
    steps = []
    for standby in lost:
        if refused := obstacle.death(case, standby):
            return [], [case.refuse(refused, f"let {case.holder} go on alone")]
        steps += _fence(case, standby, why)
    return [*steps, *alone(case, why)], []


def alone(case, reason):
    """Return the steps after which the serving holder acknowledges without its mirror."""
    return [_alone(case, reason), case.job("activate", case.holder, reason, alone=True)]


def rejoin(case, standby):
    """Return the next steps that make a living standby a mirror again; [] if none is needed."""
    holder, epoch = case.holder, case.record["epoch"]
    if case.health(standby, "following") is False:
        why = f"{standby} is back and follows {holder}"
        follow = case.job("follow", standby, why, source=holder)
        if case.health(holder, "waiting"):
            follow["deadline"] = case.view["now"] + AWAITED
        return [follow]
    if case.record["mirrored"] or not case.health(standby, "fit"):
        return []
    why = f"{standby} has caught up with {holder}"
    revision = case.view["revisions"][case.resource]
    return [
        case.job("mirror", holder, why, revision=revision),
        case.swap("mirrored", why, holder=holder, epoch=epoch),
    ]


def _fence(case, vm, reason):
    """
    Return the verified power-off that the driver ``fencing`` needs instead of an arbiter;
    ``confirmed``: where it cannot be had, an operator's word stands in for it.
    """
    if case.view["driver"] != "fencing" or not case.data:
        return []
    confirmed = case.is_in(vm, case.view.get("confirmed", ()))
    told = {"vm": vm, "server": case.server(vm), "reason": reason, "confirmed": confirmed}
    return [{"do": "fence", **told}]


def _promote(case, why, alive=False):
    """Return the steps that put the first fit standby in charge, or why there is none."""
    refused = [] if case.standbys else [case.refuse(("NO_STANDBY", {}), "promote a standby")]
    for standby in case.standbys:
        if found := obstacle.takeover(case, standby, alive):
            refused.append(case.refuse(found, f"promote {standby}"))
            continue
        return takeover(case, standby, f"{why}; {standby} takes over", alive), refused
    return [], refused


def takeover(case, standby, reason, alive, forced=False):
    """
    Return the steps that put ``standby`` in charge: a living holder has gone passive before its
    successor starts, a lost one is told as well. forced: the writes of the holder are given up.

    Of files, both are told at once: DRBD tells the successor when the other one is passive, sooner
    than two jobs could.
    """
    epoch, swap = case.record["epoch"] + 1, case.swap("promote", reason, holder=standby)
    if forced:
        swap = case.swap("abandon", reason, holder=standby, lose_writes_of=case.holder)
    steps = [] if alive else _fence(case, case.holder, reason)
    leave = case.job("deactivate", case.holder, reason, epoch=epoch, wait=alive)
    if not case.data and case.health(case.holder, "networks") is False:
        leave["deadline"] = case.view["now"] + UNHEARD
    more = {"lose_writes": True} if forced else {}
    if alive and not forced and case.resource == "files":
        leave["beside"], more["await_peer"] = True, True
    steps += [swap, leave]
    return [*steps, case.job("activate", standby, reason, epoch=epoch, alone=case.data, **more)]
