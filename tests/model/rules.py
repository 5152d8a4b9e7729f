"""
The project's own rules, as the model asks them. Nothing of them is written a second time here:
`_utils/record.py`, `_utils/decide.py` (with `presence`, `obstacle`, `conditions`),
`_utils/founding.py` and the rule in `_modules/claim.py` are loaded and called; answers are kept,
because they are pure.
"""

import functools
import itertools

import yaml

from tests.loading import ROOT, load
from tests.model.state import VMS, Job

KEYS = ("holder", "epoch", "mirrored", "founding")
PILLAR = yaml.safe_load((ROOT / "pillar/cluster.sls").read_text())["cluster"]
THIS_SWAP = -1  # in a plan: the revision that the plan's own swap makes, or that it is bound to


class Rules:
    """The rules of one resource; a test may replace any of them to see the search fail."""

    def __init__(self, data=True):
        self.data, self.vms = data, VMS[data]
        self.resource = "files" if data else "director"
        self.fallback = self.unbound = self.unlocked = False  # see tests/model/test_broken_rules.py
        self.claim, self.decider = load("_modules/claim.py"), load("_utils/decide.py")
        self.record, self.obstacle = self.decider.record, self.decider.obstacle
        listed = self.decider.topology.vms(PILLAR)
        self.decider.topology.vms = lambda _cluster: listed
        self.plan_founding = load("_utils/founding.py").plan
        for name in ("swap", "judge", "plans", "plan", "founding"):
            setattr(self, name, functools.cache(getattr(self, name)))

    def named(self, record):
        return dict(zip(KEYS, (self.vms[record[0]], *record[1:]), strict=True))

    def numbered(self, record):
        return (self.vms.index(record["holder"]), *(record[key] for key in KEYS[1:]))

    def create(self, vm):
        return self.numbered(self.record.create(self.vms[vm]))

    def swap(self, record, transition, arguments):
        """Return the record after a transition (arguments: pairs), None if it is refused."""
        arguments = dict(arguments)
        arguments["holder"] = self.vms[arguments["holder"]]
        answer = self.record.apply(self.resource, self.named(record), transition, arguments)
        return None if "refused" in answer else self.numbered(answer["record"])

    def judge(self, seen, begun, job):
        """
        Return ``(seen, begun)`` after the claim of a command, None if it is refused. A mirror that
        a later permission refuses is left out: a job that is lost stands for it.
        """
        note = {"epoch": seen, "mirroring": begun, "alone": 0, "settled": False}
        kind = {"activate": "alone", "mirror": "mirror"}.get(job.do)
        revision = {kind: job.number} if kind and job.number else {}
        new, refused = self.claim._judge(note, job.epoch, 1 if job.late else -1, **revision)
        return None if refused else (new["epoch"], new["mirroring"])

    def founding(self, record, me, status):
        """Return the action of `_utils/founding.py` on VM ``me``; the first VM founds."""
        named = record and self.named(record)
        told = dict(zip(("active", "epoch", "blank", "mirror"), status, strict=True))
        return self.plan_founding(
            named, self.vms[me], self.vms[0], told, self.data, self.data
        )[0]

    def plans(self, record):
        """Return every list of steps that decide() can answer to this record, whatever it hears."""
        epochs, holder = record[1], record[0]
        words = ("service", "restarted", "waiting", "frozen", "fit", "networks", "failed")
        mine = hearsay(epochs, words)
        others = hearsay(epochs, ("following", "fit", "networks"))
        found = {
            self.plan(record, (one, other) if holder == 0 else (other, one))
            for one, other in itertools.product(mine, others)
        }
        return sorted(found - {()}, key=repr)

    def plan(self, record, told):
        """Return decide()'s steps as `Job` and ``(transition, arguments)``."""
        steps = self.decide(record, told).actions.get(self.resource, ())
        return tuple(filter(None, map(self._step, steps)))

    def decide(self, record, told):
        return self.decider.decide(self._view(record, told))

    def _step(self, step):
        if step["do"] == "swap":
            arguments = dict(step["arguments"], holder=self.vms.index(step["arguments"]["holder"]))
            assert step["revision"] == THIS_SWAP
            return step["transition"], tuple(sorted(arguments.items()))
        if step["do"] == "restart":  # of a service: a crash, which needs no command here
            return None
        number = THIS_SWAP if step.get("alone") else step.get("revision", 0)
        return Job(step["do"], self.vms.index(step["vm"]), step["epoch"], number)

    def _view(self, record, told):
        """Return decide()'s view: both balancers hear what is ``told`` of the two VMs."""
        said = {name: self._said(entry) for name, entry in zip(self.vms, told, strict=True)}
        said["web1"] = self._said((True, 0, frozenset()))
        silent = {name: "lost" for name, (heard, *_) in zip(self.vms, told, strict=True)
                  if not heard}
        for entry in said.values():
            entry["silent"] = silent
        return {
            "now": 0, "cluster": PILLAR, "me": "witness", "driver": "etcd",
            "views": {"lb1": said, "witness": said} if self.data else {"witness": said},
            "records": {self.resource: self.named(record)},
            "revisions": {self.resource: THIS_SWAP},
            "history": self._history(record, told),
        }

    def _history(self, record, told):
        """The log of decisions: whether activating the holder has failed too often."""
        failed = {"what": "activation failed", "resource": self.resource, "at": 0,
                  "vm": self.vms[record[0]], "epoch": record[1]}
        return [failed] * self.decider.FAILED if "failed" in told[record[0]][2] else []

    def _said(self, told):
        heard, held, true = told
        names = (
            "service", "restarted", "waiting", "frozen", "following", "fit", "networks",
        )  # fmt: skip
        return {
            "links": {"internal": {"state": "up" if heard else "lost", "age": 0.1}},
            "held": {self.resource: held} if held else {},
            "health": {f"{self.resource}.{name}": name in true for name in names},
        }


def hearsay(epochs, names):
    """Return whatever a master may believe of a VM: (is heard, epoch it holds, what is true)."""
    flags = [
        frozenset(chosen)
        for count in range(len(names) + 1)
        for chosen in itertools.combinations(names, count)
    ]
    heard = [(True, held, true) for held in range(epochs + 1) for true in flags]
    return [*heard, (False, 0, frozenset())]
