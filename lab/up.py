"""`bin/lab up`: from nothing, or from whatever is there, to a site that answers."""

import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

from lab import host, image
from lab.deadline import Deadline, wait_until
from lab.errors import CommandFailed, LabError
from lab.results import Documents, judge, summary

BOOT_SECONDS = 180
AT_ONCE = 2 * (os.cpu_count() or 1)  # booting is work for the processor alone
APPLY_SECONDS = 900
STEPS = ("tree, keys and seeds", "boot", "salt answers", "state.apply", "the site answers")


def refuse_small(lab):
    """Raise LabError if the host has too little memory or disk for what is not running yet."""
    waiting = [machine for machine in lab.machines.values() if not machine.running]
    memory = sum(machine.memory for machine in waiting)
    # A VM touches less than its size; 64 MB each are the kernel's and its processes' own.
    needed = int(memory * 0.75) + 2**26 * len(waiting)
    disks = sum((machine.entry["size"]["data_disk"] or 0) // 4 + 2**29 for machine in waiting)
    reasons = host.shortages(
        ("memory", needed, host.available_memory()),
        *room({lab.images.cache: image.ROOM if lab.images.steps() else 0, lab.run_folder: disks}),
    )
    if reasons:
        raise LabError("; ".join(reasons))


def room(needed):
    """Return [(what, needed, available bytes)] of each file system, from {path: needed bytes}."""
    found = {}
    for path, size in needed.items():
        there = next(each for each in (path, *path.parents) if each.exists())
        status, before = os.statvfs(there), found.get(there.stat().st_dev, ("disk", 0))
        name = f"{before[0]} {'and' if before[1] else 'at'} {path}"
        free = status.f_bavail * status.f_frsize
        found[there.stat().st_dev] = (name, before[1] + size, free)
    return list(found.values())


def bring_up(lab, progress, apply=True):
    """Build, boot, configure; return the Results. What was not there before goes on failure."""
    fresh = not lab.exists
    refuse_small(lab)
    steps = STEPS if apply else STEPS[:3]
    progress.plan([*lab.images.steps(), *steps])
    try:
        lab.images.build(progress)
        with progress.step(STEPS[0]):
            lab.prepare()
            lab.network.up()
            lab.fence.up()
        with progress.step(STEPS[1]) as step:
            boot(lab, step)
        with progress.step(STEPS[2]) as step:
            wait_for_salt(lab, step)
        if not apply:
            return []
        with progress.step(STEPS[3]) as step:
            results = state_apply(lab, step)
        with progress.step(STEPS[4]) as step:
            wait_for_site(lab, step)
        return results
    except BaseException:
        if fresh and not os.environ.get("KEEP"):
            lab.stop()
            lab.forget()
        raise


def boot(lab, step):
    """Switch on what is off and wait until commands can be run everywhere."""
    # Masters first: minions that find none would all ask again at the same moment.
    machines = sorted(lab.machines.values(), key=lambda machine: machine.role != "balancer")
    done, lock, stop = [], threading.Lock(), threading.Event()

    def boot_one(machine):
        if stop.is_set():
            return
        machine.start()
        machine.wait_for_boot(BOOT_SECONDS, stop)
        with lock:
            done.append(machine.name)
            step.note(f"{machine.name} answers")
            step.detail = f"{len(done)} of {len(machines)} VMs"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for future in as_completed([pool.submit(boot_one, machine) for machine in machines]):
                future.result()
        finally:
            stop.set()  # or the others would go on booting behind a failure or Ctrl-C


def wait_for_salt(lab, step, seconds=120):
    """Wait until every minion answers a master."""
    def missing():
        argv = ["/opt/salt/bin/salt", "-t", "5", "--out=json", "*", "test.ping"]
        try:
            text = lab.master().run(argv).stdout  # its exit code only says that one is missing
        except subprocess.TimeoutExpired:
            text = ""
        answers = {}
        for document in Documents().feed(text):
            answers.update(document)
        there = [name for name, answer in answers.items() if answer is True]
        step.detail = f"{len(there)} of {len(lab.machines)} minions"
        step.note(f"{deadline.elapsed:.0f} s: answered: {', '.join(there)}")
        return [name for name in lab.machines if name not in there]

    deadline = Deadline(seconds)
    while absent := missing():
        if deadline.passed:
            raise LabError(f"waited {seconds} s for the minions {', '.join(absent)}")


def state_apply(lab, step, seconds=APPLY_SECONDS):
    """Run state.apply everywhere; return the Results, raise LabError naming every failed state."""
    lab.push()
    argv = lab.master().ssh(f"/opt/salt/bin/salt --out=json -t {seconds} '*' state.apply")
    step.note("+ salt '*' state.apply")
    documents, results = Documents(), []
    child = subprocess.Popen(argv, text=True, errors="replace", start_new_session=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=step.file)
    try:
        for text in child.stdout:
            for document in documents.feed(text):
                results += [judge(name, answer) for name, answer in document.items()]
                step.note(summary(results[-1:]).replace("1 VMs", results[-1].minion))
                step.detail = f"{len(results)} of {len(lab.machines)} VMs"
        child.wait()
    finally:
        child.kill()
    problems = [problem for result in results for problem in result.problems]
    silent = sorted(set(lab.machines) - {result.minion for result in results})
    problems += [f"{name}: did not return" for name in silent]
    for text in [*(f"changed {name}" for result in results for name in result.changes), *problems]:
        step.note(text)
    if documents.rest:
        step.note(documents.rest)
    step.detail = summary(results)
    if problems:
        raise LabError(f"{summary(results)}; {len(problems)} to look at")
    return results


def wait_for_site(lab, step, seconds=60):
    """Wait until the site answers through its public address."""
    def once():
        try:
            return lab.fetch(timeout=5)
        except (CommandFailed, subprocess.TimeoutExpired) as error:
            step.note(str(error))
            return None

    wait_until(once, f"{lab.url} to answer", seconds, pause=1)
