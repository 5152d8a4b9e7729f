"""
A fault and what became of it: the outside client and the watch run all the while, faults go through
here so that the watch knows of them, and at the end everything is mended and judged.
"""

import bisect
import contextlib
import json
import subprocess
import time

from lab import judge
from lab.alone import alone
from lab.deadline import Deadline, wait_until
from lab.errors import LabError
from lab.faults import Faults
from lab.watch import Watch

HEALED = 300  # s in which everything is where it was after a fault: boots, resync, states
READY = 180  # s until the client's first records are there: caches are cold, the host may be busy
KINDS = ("answer", "upload")
DECISIONS = "/var/log/cluster/decisions.jsonl"
VIEW = "/run/cluster/heartbeat.json"  # on every VM
STATUS = ["/opt/salt/bin/salt-run", "--out=json", "ha.status"]


def healed(found):
    """Return whether an answer of ha.status says that all serve where they should, mirrored."""
    resources = (found or {}).get("resources") or {}
    return bool(resources) and all(
        isinstance(seen["record"], dict) and seen["right"]
        and (resource == "director" or seen["record"]["mirrored"])
        for resource, seen in resources.items())


def promising(view):
    """Return whether the heartbeats say that all are up and both copies of everything follow."""
    peers = (view or {}).get("peers") or {}
    health = [word for peer in peers.values() for word in peer["health"].items()]
    return all(peer["state"] == "up" for peer in peers.values()) \
        and all((f"{resource}.following", True) in health for resource in ("files", "database")) \
        and ("files.mirror", False) not in health


class Ordeal(Faults):
    """`with Ordeal(lab, folder) as ordeal:` faults; `ordeal.problems` afterwards."""

    def __init__(self, lab, folder, *client, allowed=(), apply=False):
        super().__init__(lab, Watch(lab))
        self.folder, self.client, self.allowed, self.apply = folder, client, allowed, apply
        self.run, self.problems, self.verdict = f"run{time.monotonic_ns()}", [], {}
        self._child, self._since, self._entries, self._read = None, None, [], 0
        self._given_up, self._held = None, contextlib.ExitStack()

    def __enter__(self):
        refusal = (f"another bench or test of the lab {self.lab.name!r} is running;"
                   " each would count the other's faults as its own")
        self._held.enter_context(alone(self.lab.run_folder / "ordeal.lock", refusal))
        try:
            self._begin()
        except BaseException:
            self._held.close()
            raise
        return self

    def _begin(self):
        judge.remember_logs(self.lab)
        self.watch.__enter__()
        argv, environment = self.lab.students(
            "--folder", self.folder, "--run", self.run, "--duration", "7200", "--wait", "120",
            *self.client)
        self._child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                       text=True, env=environment)
        self._since = time.time()
        try:
            self.served(READY)
        except BaseException:
            self._stop()
            raise

    def __exit__(self, kind, error, trace):
        with self._held:
            self._end(kind)

    def _end(self, kind):
        try:
            if kind is None:
                self.settle()
        finally:
            output = self._stop()
        print(output)
        self.problems += self.watch.violations
        path = self.folder / f"{self.run}.json"
        if not path.exists():
            self.problems.append(f"no verdict of the client: {output[-500:]}")
        else:
            self.verdict = json.loads(path.read_text())
            broken = {name: self.verdict[name]
                      for name in ("lost", "unexpected", "duplicated", "corrupted")}
            broken["lost"] = [key for key in broken["lost"] if not self._is_given_up(key)]
            self.problems += [f"{name} {len(keys)}: {keys[:3]}"
                              for name, keys in broken.items() if keys]
        if kind is None:
            self.problems += self.judge()

    def _stop(self):
        self._child.terminate()  # ends the play, not the judging
        try:
            output, _ = self._child.communicate(timeout=900)  # a Moodle is asked page by page
        finally:
            self._child.kill()
            self.watch.__exit__()
        return output

    def judge(self):
        """Return what is wrong with the data, the logs and the configuration."""
        checks = {
            "tables": lambda: judge.same_tables(self.lab),
            "disks": lambda: judge.same_disks(self.lab),
            "marks": lambda: judge.marks_kept(self.lab, self._promised()),
            "logs": lambda: judge.horrors(self.lab, self._since, self.allowed),
        } | ({"configuration": self.configuration} if self.apply else {})
        found = []
        for name, check in checks.items():
            try:
                found += check()
            except (LabError, StopIteration, ValueError, subprocess.SubprocessError) as error:
                found.append(f"{name}: cannot be judged: {error!r:.500}")
        return found

    def configuration(self):
        """Return what a state.apply changes or fails to do."""
        argv = ["/opt/salt/bin/salt", "--out=json", "--static", "-t", "600", "*", "state.apply"]
        answers = json.loads(self.lab.master().run(argv, timeout=660).stdout)
        found = [f"{vm}: {answers.get(vm)!r:.300}" for vm in self.lab.machines
                 if not isinstance(answers.get(vm), dict)]
        return found + [
            f"{vm}: {key}: {state['changes'] or state['comment']!r:.200}"
            for vm, states in answers.items() if isinstance(states, dict)
            for key, state in states.items() if state["changes"] or state["result"] is not True]

    def give_up(self, since, until):
        """What was acknowledged between these moments of time.monotonic() may be lost, no more."""
        self._given_up = since, until

    def _is_given_up(self, key):
        since, until = self._given_up or (0, 0)
        return any(since <= entry["time"] <= until for entry in self.journal()
                   if entry["event"] == "acknowledged"
                   and [entry["kind"], entry["client"], entry["number"]] == list(key))

    def _promised(self):
        """Return the watch's own writes that must be there; their numbers are Unix milliseconds."""
        writes, since = self.watch.ledger.writes, self._given_up and self._given_up[0]
        if since is None:
            return writes
        latest = int((time.time() - time.monotonic() + since) * 1000)
        return {key: 0 if number > latest else number for key, number in writes.items()}

    def journal(self):
        """Return the client's journal up to now; an hour of it is read only once."""
        path = self.folder / f"{self.run}.jsonl"
        if path.exists():
            with path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if line.endswith(b"\n"):
                        self._entries.append(json.loads(line))
                        self._read += len(line)
        return self._entries

    def since(self, moment):
        """Return the journal's entries after a moment of time.monotonic()."""
        entries = self.journal()
        return entries[bisect.bisect(entries, moment, key=lambda entry: entry["time"]):]

    def served(self, within, kinds=KINDS):
        """
        Wait until requests of all `kinds` that were sent after the last fault are acknowledged.

        Returns the seconds since the fault; raises LabError after `within`.
        """
        fault = self.events[-1]["time"] if self.events else time.monotonic()
        deadline = Deadline(within)

        def answered():
            for entry in self.since(fault):
                key = (entry["kind"], entry["client"], entry["number"])
                if entry["event"] == "sent":
                    sent.add(key)
                elif entry["event"] == "acknowledged" and key in sent:
                    first.setdefault(entry["kind"], entry["time"])
            return set(first) >= set(kinds) or self._child.poll() is not None

        sent, first = set(), {}
        try:
            wait_until(answered, f"the site to take {' and '.join(kinds)}s again", within, 0.2)
        except LabError:
            raise LabError(f"after {deadline.elapsed:.1f} s the site takes only {sorted(first)};"
                           f" last: {self.journal()[-3:]}") from None
        if not set(first) >= set(kinds):
            raise LabError(f"the client has ended: {self._child.stdout.read()[-2000:]}")
        return max(first.values()) - fault

    def decisions(self):
        """Return what both balancers noted since the start, each decision once, in its order."""
        found = {}
        for machine in self.lab.masters():
            for line in machine.run(["cat", DECISIONS]).stdout.splitlines():
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    if entry["at"] >= self._since:
                        found[entry["id"]] = entry
        return sorted(found.values(), key=lambda entry: entry["at"])

    def status(self):
        """Return what ha.status says, None if nobody could be asked."""
        try:
            return json.loads(self.lab.master().run(STATUS, timeout=60).stdout)
        except (LabError, ValueError, subprocess.TimeoutExpired):
            return None

    def view(self):
        """Return what the heartbeats tell the first balancer that answers; {} if none does."""
        try:
            return json.loads(self.lab.master().run(["cat", VIEW], timeout=30).stdout)
        except (LabError, ValueError, subprocess.TimeoutExpired):
            return {}

    def leader(self):
        """Return the member that leads etcd, None if nobody says so."""
        members = (self.status() or {}).get("arbiter") or {}
        return next((name for name, said in members.items() if said["leader"]), None)

    def settle(self, seconds=HEALED):
        """Undo every fault, then wait until all serve where the records say, mirrored."""
        for target in self.lab.cuts():
            self.heal(target)
        for machine in self.lab.machines.values():
            if machine.paused:
                self.resume(machine.name)
            if not machine.running:
                self.start(machine.name)
        last = {}

        def ready():
            if not promising(self.view()):  # a salt-run takes seconds from the VMs that still boot
                return False
            last["status"] = self.status()
            return healed(last["status"])

        try:
            wait_until(ready, "the cluster to be whole again", seconds, 1)
            self._acknowledge(last["status"]["resources"])
            self.served(60)
        except LabError as error:
            shown = json.dumps(last.get("status"), default=str)[:3000]
            self.problems.append(f"{error}; ha.status: {shown}")

    def _acknowledge(self, resources):
        """Say that somebody has looked: a lab fails over more often than flapping is let pass."""
        path = self.lab.run_folder / "epochs.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        epochs = {resource: seen["record"]["epoch"] for resource, seen in resources.items()}
        for resource, epoch in epochs.items():
            if known.get(resource, epoch) != epoch:
                self.ha("acknowledge", resource)
        path.write_text(json.dumps(epochs))

    def rejected(self, condition, within=60):
        """Wait until ha.status names a refusal; return it. Raises LabError."""
        def named():
            found = (self.status() or {}).get("rejected") or []
            return next((each for each in found if each["condition"] == condition), None)

        return wait_until(named, f"a refusal for {condition}", within, 1)

    def holders(self):
        """Return {resource: the VM that holds it according to its record}."""
        def known():
            found = (self.status() or {}).get("resources") or {}
            records = {resource: seen["record"] for resource, seen in found.items()}
            return all(isinstance(record, dict) for record in records.values()) and {
                resource: record["holder"] for resource, record in records.items()}

        return wait_until(known, "the records of all resources", 60)

    def holder(self, resource):
        """Return the VM that holds a resource according to its record."""
        return self.holders()[resource]

    def standby(self, resource):
        """Return the other VM of the pair."""
        return self.lab.topology.peer(self.lab.cluster, self.holder(resource))["name"]
