"""`bin/lab bench`: the figures of a running lab, as min / median / max and as JSON."""

import argparse
import contextlib
import json
import statistics
import sys
import time
import urllib.parse

from lab import gaps, status
from lab.progress import Progress
from lab.up import bring_up, state_apply

PAGE = "/index.php"


def spread(values):
    """Return {min, median, max} of numbers."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def text(name, found, unit=""):
    """Return one line for a spread."""
    return (f"{name:34} {found['min']:>9.2f} {found['median']:>9.2f} {found['max']:>9.2f}"
            f"  {unit}".rstrip())


def second_apply(lab, progress, rounds):
    """Return the seconds of state.apply on a converged cluster, and what it changed or failed."""
    seconds, changed, failed = [], 0, 0
    for number in range(rounds):
        with progress.step(f"state.apply again {number + 1}") as step:
            begun = time.monotonic()
            results = state_apply(lab, step)
            seconds.append(round(time.monotonic() - begun, 2))
        changed += sum(result.changed for result in results)
        failed += sum(result.failed for result in results)
    return {"seconds": spread(seconds), "changed": changed, "failed": failed}


def director(lab, seconds, connections, rounds):
    """
    Return requests per second through the director and straight to one web VM, in turns.

    The client stands outside. For the straight way it gets an address on the web VMs' network,
    as no one in production has; both ways cross the same bridges. Only one web VM serves in both.
    """
    web = next(m for m in lab.machines.values() if m.role == "web")
    others = [m for m in lab.machines.values() if m.role == "web" and m is not web]
    load = [sys.executable, str(lab.root / "lab/load.py")]
    host = urllib.parse.urlsplit(lab.url).netloc
    found = {"through": [], "straight": []}
    straight = f"http://{web.entry['addresses']['internal']}{PAGE}"
    with lab.network.visitor() as namespace, only(lab, others):
        for number in range(rounds + 1):
            for way, url, where in (("through", lab.url + PAGE, lab.network.outside_name),
                                    ("straight", straight, namespace)):
                words = [*load, url, str(seconds), str(connections), host]
                out = lab.network.inside(words, where)
                if number:  # the first round only warms PHP's caches
                    found[way].append(json.loads(out))
    rates = {way: spread([each["per_second"] for each in runs]) for way, runs in found.items()}
    rates["failed"] = sum(each["failed"] for runs in found.values() for each in runs)
    rates["ratio"] = round(rates["through"]["median"] / rates["straight"]["median"], 3)
    return rates


@contextlib.contextmanager
def only(lab, others):
    """Let the balancers send nothing new to the web VMs `others` while the body runs."""
    names = [machine.name for machine in others]
    masters = ",".join(machine.name for machine in lab.masters())
    try:
        for name in names:
            lab.salt("-L", masters, "pool.drain", name, "why=bench")
        yield
    finally:
        for name in names:
            lab.salt("-L", masters, "pool.undrain", name)


def up_and_down(lab, progress_of, rounds):
    """Return the seconds of down and of up with the image cached, per step."""
    downs, ups, steps = [], [], {}
    for _ in range(rounds):
        begun = time.monotonic()
        lab.down()
        downs.append(round(time.monotonic() - begun, 2))
        progress = progress_of()
        bring_up(lab, progress)
        ups.append(round(sum(progress.durations.values()), 2))
        for title, took in progress.durations.items():
            steps.setdefault(title, []).append(took)
    return {"down": spread(downs), "up": spread(ups),
            "steps": {title: spread(took) for title, took in steps.items()}}


def memory(lab):
    """Return {VM: {used, size}} in MB."""
    rows = [row for row in status.rows(lab) if "used" in row]
    return {row["vm"]: {"used": row["used"] // 2**20, "size": row["size"] // 2**20} for row in rows}


def show(found):
    """Print the figures."""
    print(f"{'':34} {'min':>9} {'median':>9} {'max':>9}")
    if "cycle" in found:
        print(text("up, image cached", found["cycle"]["up"], "s"))
        for title, took in found["cycle"]["steps"].items():
            print(text(f"  {title}", took, "s"))
        print(text("down", found["cycle"]["down"], "s"))
    again = found["second_apply"]
    print(text("state.apply again", again["seconds"],
               f"s, {again['changed']} changed, {again['failed']} failed"))
    rates = found["requests"]
    print(text("requests through the director", rates["through"], "a second"))
    print(text("requests straight to a web VM", rates["straight"], "a second"))
    print(f"ratio {rates['ratio']}, {rates['failed']} failed")
    for vm, used in found["memory"].items():
        print(f"memory {vm:12} {used['used']:>6} of {used['size']} MB")


def main(lab, words, progress_of=None):
    """Measure and print; return the exit code. `failover` behind `bench` is lab/gaps.py."""
    if words[:1] == ["failover"]:
        return gaps.main(lab, words[1:])
    parser = argparse.ArgumentParser(
        prog="bin/lab bench",
        epilog="bin/lab bench failover measures faults, bin/lab bench growth more VMs than these; "
               "see their --help")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each run of requests")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--cycle", action="store_true", help="also take the lab down and up again")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(words)

    def fresh():
        return Progress(lab.root / ".lab/logs", lab.images.cache / "durations.json")

    found = {}
    if options.cycle:
        found["cycle"] = up_and_down(lab, fresh, options.rounds)
    found["second_apply"] = second_apply(lab, fresh(), options.rounds)
    found["requests"] = director(lab, options.seconds, options.connections, options.rounds)
    found["memory"] = memory(lab)
    show(found)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
    return 0
