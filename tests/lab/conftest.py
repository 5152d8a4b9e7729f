"""One lab for the whole session, brought up and taken down by bin/lab itself."""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.lab import Lab
from lab.ordeal import Ordeal
from tests.loading import ROOT

NAME = f"test{os.getpid()}"
ANSWERED = 60  # seconds a VM that runs has to answer; the cores may be all taken
RESOURCES = {"director": "balancer", "files": "file", "database": "database"}
# The state of one lab goes from test to test: what disturbs more comes later.
ORDER = ["test_cluster", "test_site", "test_state_apply", "test_wrong_pillar", "test_commands",
         "test_standby", "test_faults", "test_replaced", "test_fencing", "test_operator",
         "test_soak", "test_moodle", "test_down", "test_mariadb"]
EVIDENCE = ("journalctl --since -6min --no-pager -o short-precise | tail -n 1500; drbdadm status;"
            " ip -br address; tail -n 100 /var/log/salt/minion /var/log/salt/master; ps -ef;"
            " tail -n 60 /var/log/cluster/decisions.jsonl")


def pytest_configure():
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up then, too


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: ORDER.index(item.module.__name__.rpartition(".")[2]))
    unwanted = [item for item in items
                if (item.get_closest_marker("slow") and not config.getoption("--all"))
                or (item.get_closest_marker("own_lab") and config.getoption("--lab"))
                or any(bool(item.get_closest_marker(only)) != bool(config.getoption(f"--{only}"))
                       for only in ("soak", "moodle"))]
    config.hook.pytest_deselected(items=unwanted)
    items[:] = [item for item in items if item not in unwanted]


def command(name, *words, timeout=3600, **more):
    """Run bin/lab for the lab ``name``; return its CompletedProcess."""
    argv = [sys.executable, ROOT / "bin/lab", "--name", name, *words]
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, **more
    )


@contextlib.contextmanager
def brought_up(name, *options):
    """A running lab; taken down whatever happens, unless KEEP is set."""
    try:
        done = command(name, "up", *options)
        sys.stderr.write(done.stdout + done.stderr)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        yield Cluster(Lab(ROOT, name))
    finally:
        if not os.environ.get("KEEP"):
            command(name, "down")


@pytest.fixture(scope="session")
def name(request):
    """The name of the session's lab."""
    return request.config.getoption("--lab") or NAME


@pytest.fixture(scope="session")
def cluster(name, request):
    """The running cluster."""
    given = request.config.getoption("--moodle")
    if name != NAME:
        running = Cluster(Lab(ROOT, name))
        assert not given or running.lab.has_moodle, f"there is no Moodle in the lab {name}"
        yield running
        return
    with brought_up(NAME, *([f"--moodle={given}"] if given else [])) as running:
        yield running


@pytest.fixture
def trial(cluster, tmp_path, request):
    """An ordeal: client and watch run all the while, and afterwards everything is judged."""
    with judged(cluster, tmp_path, request.node) as running:
        yield running


@contextlib.contextmanager
def judged(cluster, folder, node):
    """An ordeal of ``cluster`` for the test ``node``; its problems fail it, its lab still up."""
    allowed = [word for mark in node.iter_markers("allowed") for word in mark.args]
    with Ordeal(cluster.lab, folder, allowed=allowed) as running:
        yield running
    if running.problems:
        keep_evidence(cluster, f"{node.name}-judged", "\n".join(running.problems))
    assert running.problems == []


@pytest.fixture(scope="session")
def bin_lab(name):
    """Run bin/lab for the session's lab: bin_lab("status")."""
    return functools.partial(command, name)


class Cluster:
    """The lab, and what the tests ask of it."""

    def __init__(self, lab):
        self.lab = lab

    def salt(self, target, *words, timeout=600):
        """Run `salt` on a master with JSON; return {minion: answer}."""
        argv = ["/opt/salt/bin/salt", "--out=json", "--static", "-t", str(timeout)]
        if "," in target:
            argv.append("-L")
        done = self.lab.master().run([*argv, target, *words], timeout=timeout + 30)
        assert done.stdout.strip().startswith("{"), done.stdout[-2000:] + done.stderr[-2000:]
        return json.loads(done.stdout)

    def ask(self, vm, *words):
        """Return what one minion answers."""
        return self.salt(vm, *words)[vm]

    def status(self):
        """
        Return {resource: {"record", "vms"}}; never may one be active twice (I1, I3).

        Asked again while a VM that runs did not answer in time: of that one nothing is known.
        """
        until = time.monotonic() + ANSWERED
        while True:
            done = self.lab.master().run(["/opt/salt/bin/salt-run", "--out=json", "ha.status"], 60)
            found = json.loads(done.stdout)["resources"]
            states = [pair for seen in found.values() for pair in seen["vms"].items()]
            for resource, seen in found.items():
                active = [vm for vm, state in seen["vms"].items() if state["active"]]
                assert len(active) <= 1, f"{resource} is active on {active}"
            awaited = [vm for vm, state in states if "problem" in state
                       and self.lab[vm].running and not self.lab[vm].paused]
            if not awaited or time.monotonic() > until:
                return found

    def holders(self):
        """Return {resource: VM where it is active, or None}."""
        return {resource: next((vm for vm, state in seen["vms"].items() if state["active"]), None)
                for resource, seen in self.status().items()}

    def holder(self, resource):
        """Return the VM that holds ``resource``."""
        return self.holders()[resource]

    def standby(self, resource):
        """Return the VM of the pair that does not hold ``resource``."""
        names = [vm.name for vm in self.lab.machines.values() if vm.role == RESOURCES[resource]]
        (name,) = set(names) - {self.holder(resource)}
        return name

    def records(self):
        """Return {resource: record} as the arbiter has them."""
        return {resource: seen["record"] for resource, seen in self.status().items()}

    def state_apply(self, target="*"):
        """Run state.apply; return {minion: {state: result}}."""
        answers = self.salt(target, "state.apply", timeout=900)
        assert all(isinstance(answer, dict) for answer in answers.values()), answers
        return answers

    def everywhere(self, script):
        """Run a shell script on all VMs at the same time; return {VM: output}."""
        with ThreadPoolExecutor(len(self.lab.machines)) as pool:
            outputs = pool.map(lambda m: "" if m.paused or not m.running else
                               m.run(["sh", "-c", script], timeout=120).stdout,
                               self.lab.machines.values())
        return dict(zip(self.lab.machines, outputs, strict=True))

    @contextlib.contextmanager
    def students(self, folder, *options, duration=600):
        """Let students play while the body runs; gives a dict that holds the verdict after it."""
        run, result = f"run{time.monotonic_ns()}", {}
        argv, environment = self.lab.students("--folder", folder, "--run", run,
                                             "--duration", str(duration), *options)
        child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 env=environment)
        try:
            time.sleep(2)
            assert child.poll() is None, child.stdout.read()
            yield result
            time.sleep(2)
        finally:
            child.terminate()  # ends the play, not the judging
            output, _ = child.communicate(timeout=120)
            print(output)
        result.update(json.loads((folder / f"{run}.json").read_text()))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    running = next((each for each in item.funcargs.values() if isinstance(each, Cluster)), None)
    if report.failed and running:
        folder = keep_evidence(running, f"{item.name}-{report.when}", report.longreprtext)
        report.sections.append(("evidence", f"the state of every VM: {folder}"))


def keep_evidence(cluster, name, why):
    """Write down what every VM says now; return the folder."""
    folder = ROOT / ".lab/evidence" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failure.txt").write_text(why)
    for vm, text in cluster.everywhere(EVIDENCE).items():
        (folder / f"{vm}.txt").write_text(text)
    return folder
