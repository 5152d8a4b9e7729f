"""
Watches all VMs that can serve while faults happen: at most one at a time (I1), both addresses of
the director together (I3), and no write acknowledged by two VMs in turns.

`Ledger` judges, from samples alone; `Watch` brings the samples.
"""

import contextlib
import json
import shlex
import subprocess
import threading
import time

GONE = 1.0  # s without a sample: what was claimed before is not known to be claimed still
TOGETHER = 1.0  # s that one address of the director may be there without the other
# s after a thaw or a healed cut until a VM has heard of the higher epoch and started a process that
# gives up; on two cores for nine VMs it has taken three.
GRACE = 6.0
RESOURCES = {"balancer": None, "file": "files", "database": "database"}
PAIR = ("public", "gateway")


class Ledger:
    """Who claimed what, from when to when; who acknowledged which write; what was wrong in it."""

    def __init__(self):
        self.claims = {}  # (claim, vm): [first, last] seen
        self.tenures = {}  # resource: [[vm, first, last]] of writes by the time they began
        self.writes = {}  # (resource, vm): highest number acknowledged
        self.gaps = {}  # resource: [seconds, from, to] of the longest pause between writes
        self.violations = []
        self.polls = 0
        self._excused, self._apart, self._acknowledged = {}, {}, {}

    def excuse(self, vm, until=float("inf")):
        """A VM that is frozen or cut off cannot know better: its claims count from `until` on."""
        self._excused[vm] = until

    def sample(self, vm, moment, claims):
        """Take what a VM claims at a moment."""
        self.polls += 1
        for claim in claims:
            first, last = self.claims.get((claim, vm), (moment, moment))
            self.claims[claim, vm] = [first if moment - last < GONE else moment, moment]
            self._alone(claim, vm, moment)
        for key in [key for key in self.claims if key[1] == vm and key[0] not in claims]:
            del self.claims[key]
        self._together(vm, moment, claims)

    def _alone(self, claim, vm, moment):
        first, last = self.claims[claim, vm]
        for (other_claim, other), (begun, seen) in self.claims.items():
            until = min(last, seen)
            overlap = until - max(first, begun)
            if other_claim == claim and other != vm and overlap > 0 \
                    and not {vm, other} & self._unknowing(until):
                both = " and ".join(sorted((vm, other)))
                self._wrong(f"{claim}: {both} at the same time for {overlap:.2f} s")

    def _together(self, vm, moment, claims):
        shown = [claim for claim in PAIR if claim in claims]
        if len(shown) != 1:
            self._apart.pop(vm, None)
        elif moment - self._apart.setdefault(vm, moment) > TOGETHER:
            self._wrong(f"{vm} has had only the {shown[0]} address for {TOGETHER:g} s")

    def _unknowing(self, moment):
        return {vm for vm, until in self._excused.items() if moment <= until}

    def acknowledged(self, resource, vm, started, ended, number):
        """
        Take a write that a VM acknowledged. No excuse counts here.

        What counts is when it began: one that began before a freeze is with the successor.
        """
        known = self.writes.get((resource, vm), 0)
        self.writes[resource, vm] = max(known, number)
        tenures = self.tenures.setdefault(resource, [])
        mine = next((each for each in reversed(tenures) if each[0] == vm), None)
        if mine and started - mine[2] < GONE:
            mine[2] = max(mine[2], started)
        else:
            mine = [vm, started, started]
            tenures.append(mine)
        for other, first, last in tenures:
            if other != vm and min(last, mine[2]) > max(first, mine[1]):
                both = " and ".join(sorted((vm, other)))
                self._wrong(f"{resource}: {both} acknowledged writes in turns")
        before = self._acknowledged.get(resource, ended)
        if ended - before > self.gaps.get(resource, [0])[0]:
            self.gaps[resource] = [round(ended - before, 3), before, ended]
        self._acknowledged[resource] = max(before, ended)

    def _wrong(self, sentence):
        if sentence.split(" for ")[0] not in {each.split(" for ")[0] for each in self.violations}:
            self.violations.append(sentence)


class Watch:
    """A probe in every VM that can serve; `with` it running."""

    def __init__(self, lab):
        self.lab, self.ledger = lab, Ledger()
        self._lock, self._stop, self._children = threading.Lock(), threading.Event(), {}
        names = {"balancer": PAIR, "file": ("files",), "database": ("database",)}
        addresses = lab.cluster["addresses"]
        self._threads = [
            threading.Thread(target=self._follow, daemon=True, args=(machine, {
                "name": machine.name, "resource": RESOURCES[machine.role],
                "addresses": {f"{claim}" if claim in PAIR else f"address of {claim}":
                              addresses[claim] for claim in names[machine.role]}}))
            for machine in lab.machines.values() if machine.role in RESOURCES
        ]
        self._text = (lab.root / "lab/probe.py").read_text()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *problem):
        self._stop.set()
        for child in list(self._children.values()):
            child.kill()
        for thread in self._threads:
            thread.join(5)

    def _follow(self, machine, options):
        line = shlex.join(["/opt/salt/bin/python3", "-c", self._text, json.dumps(options)])
        # A connection of its own: the shared one is closed when the VM loses its power.
        argv = ["-oControlPath=none" if word.startswith("-oControlPath=") else word
                for word in machine.ssh(line)]
        while not self._stop.is_set():
            if machine.running and not machine.paused:
                with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL, text=True) as child:
                    self._children[machine.name] = child
                    for text in child.stdout:
                        self._take(machine.name, options["resource"], text)
            self._stop.wait(0.5)

    def _take(self, vm, resource, text):
        with contextlib.suppress(ValueError), self._lock:
            seen = json.loads(text)
            self.ledger.sample(vm, seen["time"], seen["claims"])
            for started, ended, number in seen["writes"]:
                self.ledger.acknowledged(resource, vm, started, ended, number)

    def excuse(self, names, grace=None):
        """The VMs are cut off or frozen; with `grace` they are so for that many seconds more."""
        with self._lock:
            for name in names:
                until = float("inf") if grace is None else time.time() + grace
                self.ledger.excuse(name, until)

    @property
    def violations(self):
        """Sentences on what must never happen and did."""
        with self._lock:
            return list(self.ledger.violations)
