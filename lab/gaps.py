"""
`bin/lab bench failover`: how long the site is not there for its users, by kind of fault, and where
the seconds go: from the journal of the outside client and the cluster's own record of decisions.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path

from lab import plot
from lab.deadline import wait_until
from lab.knock import Knocks
from lab.ordeal import Ordeal

# What users wait for: requests of which kind, and the gap that the project promises (s). Where only
# addresses move it is any page, asked for by lab/knock.py: ten a second cost next to nothing, while
# answers and uploads, of which the lab carries two a second each, would add half a second.
KINDS = {
    "director": (("page",), 2.8),
    "web": (("answer", "upload"), 2.0),
    "database": (("answer",), 5.0),
    "files": (("upload",), 6.0),
    "server": (("answer", "upload"), 6.0),
    "switch director": (("page",), 2.0),
    "switch database": (("answer",), 2.0),
    "switch files": (("upload",), 2.0),
}
# Seconds that others needed in VMs of the same kind, with default and with tuned timing.
OTHERS = {"director": (3.1, 0.68), "web": (22.8, 3.6), "database": (35.3, 21.1),
          "files": (24.6, 17.6), "server": (33.7, 20.4), "switch director": (22.8, 22.8),
          "switch database": (22.8, 22.8), "switch files": (22.8, 22.8)}
# So many students that others come all the time of an outage: who waits since its beginning learns
# of its end only when TCP tries again, after 3 or 7 s (RFC 6298).
# Patient enough for the crowd at the log-in.
STUDENTS, RATE = 48, 4  # at 8 a second nine VMs take all of two cores, and every step waits
CLIENT = ("--rate", str(RATE), "--students", str(STUDENTS), "--upload-every", "2",
          "--upload-size", "4000", "--patience", "25")
OVER = 15  # s after a fault in which its longest gap is looked for; one that is longer is "never"
LOOKED = "/run/cluster/failover.looked"  # of _runners/failover.py
COUNT = """
add table bridge labcount
delete table bridge labcount
add table bridge labcount
add chain bridge labcount c {{ type filter hook forward priority -1; }}
{rules}
"""


def gap(entries, fault, kinds, over=OVER):
    """
    Return the longest time without an acknowledgement of one of `kinds` around a fault.

    Every kind has to be served: the gap is the longest among them. None if one never came back.
    """
    found = []
    for kind in kinds:
        times = [entry["time"] for entry in entries
                 if entry["event"] == "acknowledged" and entry["kind"] == kind]
        before = [moment for moment in times if moment <= fault]
        after = [moment for moment in times if fault < moment <= fault + over]
        if not after:
            return None
        moments = [*before[-1:], *after]
        found.append(max((b - a for a, b in itertools.pairwise(moments)), default=0))
    return round(max(found), 3)


def steps(decisions, at):
    """
    Return {step: seconds} of what was decided after a fault (Unix time): from the fault to the
    first decision, every step, and what an activation says of its own parts.
    """
    found = {}
    acting = [line for line in decisions if line["at"] >= at and line.get("steps")]
    if not acting:
        return found
    found["fault to decision"] = round(acting[0]["at"] - at, 3)
    for line in acting:
        for step in line["steps"]:
            if step["result"] != "ok":
                continue
            name = f"{step['resource']}: {step['do']}"
            found.setdefault(name, step["seconds"])
            parts = (step.get("answer") or {}).get("seconds") or {}
            for part, seconds in parts.items() if isinstance(parts, dict) else ():
                found.setdefault(f"{name}: {part}", seconds)
    ended = [step["at"] + step["seconds"] for step in acting[0]["steps"] if step["result"] == "ok"]
    if ended:
        found["fault to last step"] = round(max(ended) - at, 3)
    return found


def everybody(ordeal):
    """Return whether every student was served: a log-in costs a web server half a second."""
    served = {entry["client"] for entry in ordeal.journal() if entry["event"] == "acknowledged"}
    return len(served) == STUDENTS


def awake(ordeal):
    """Return whether each master has looked lately: a balancer that has just booted takes 40 s."""
    return all(machine.run(["find", LOOKED, "-newermt", "-12 seconds"]).stdout.strip()
               for machine in ordeal.lab.masters())


def inject(ordeal, kind):
    """Do the fault; return the VM or server to start again, None if nothing is off."""
    if kind.startswith("switch "):
        resource = kind.partition(" ")[2]
        target = ordeal.standby(resource)
        done = ordeal.ha("switch", resource, target)
        if done.returncode:
            print(done.stdout + done.stderr)
        return None
    target = "web1" if kind == "web" else ordeal.holder("database" if kind == "server"
                                                        else kind)
    if kind == "server":
        target = ordeal.lab[target].server
    ordeal.crash(target)
    return target


def one(ordeal, kind, knocks):
    """Return what one fault cost."""
    kinds, _ = KINDS[kind]
    knocks.check()
    target = inject(ordeal, kind)
    event = next(each for each in reversed(ordeal.events) if each["verb"] in ("crash", "ha"))
    time.sleep(OVER - min(OVER, time.monotonic() - event["time"]))
    entries = ordeal.since(event["time"] - 5)
    return {
        "gap": gap([*entries, *knocks.entries], event["time"], kinds),
        "failed": sum(entry["event"] == "failed" and entry["time"] > event["time"]
                      for entry in entries),
        "target": target, "at": event["at"],
        "steps": steps(ordeal.decisions(), event["at"]),
    }


def spread(values):
    """Return {min, median, max, runs} of numbers; None counts as never."""
    known = [value for value in values if value is not None]
    if not known:
        return {"runs": len(values), "never": len(values)}
    return {"min": min(known), "median": round(statistics.median(known), 3), "max": max(known),
            "runs": len(values), "never": len(values) - len(known)}


def summary(runs):
    """Return {kind: {"gap", "failed", "steps"}} as spreads."""
    found = {}
    for kind, each in runs.items():
        names = dict.fromkeys(name for run in each for name in run["steps"])
        found[kind] = {
            "gap": spread([run["gap"] for run in each]),
            "failed": spread([run["failed"] for run in each]),
            "steps": {name: spread([run["steps"][name] for run in each if name in run["steps"]])
                      for name in names},
        }
    return found


def heartbeats(lab, seconds=20):
    """
    Return {VM: {"cpu" in percent of one, "packets" and "bytes" a second}} of heartbeatd.

    Packets are counted on the VM's cable, both ways, by the port of the pillar.
    """
    port = lab.cluster["heartbeat"]["port"]
    taps = [link for link in lab.network.plan.taps if link.interface != "lab0"]
    rules = "\n".join(
        f'add rule bridge labcount c {match} "{link.device}" udp dport {port} counter comment '
        f'"{link.owner}"' for link in taps for match in ("iifname", "oifname"))
    _nft(lab, COUNT.format(rules=rules))
    ask = "systemctl show heartbeatd -P CPUUsageNSec"
    before = {name: _number(machine, ask) for name, machine in lab.machines.items()}
    begun = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - begun
    found = {name: {"cpu": round((_number(machine, ask) - before[name]) / took / 1e7, 2),
                    "packets": 0.0, "bytes": 0.0} for name, machine in lab.machines.items()}
    listed = json.loads(lab.network.inside(["nft", "-j", "list", "table", "bridge", "labcount"]))
    for rule in [item["rule"] for item in listed["nftables"] if "rule" in item]:
        counter = next(each["counter"] for each in rule["expr"] if "counter" in each)
        for name in ("packets", "bytes"):
            found[rule["comment"]][name] += round(counter[name] / took, 1)
    _nft(lab, "delete table bridge labcount\n")
    return found


def _nft(lab, text):
    path = lab.run_folder / "count.nft"
    path.write_text(text)
    lab.network.inside(["nft", "-f", str(path)])


def _number(machine, command):
    text = machine.run(command.split()).stdout.strip()
    return int(text) if text.isdigit() else 0


LATENCY = """
import os, sys, time
def once(folder, count=200):
    path, took = folder + "/.latency", []
    with open(path, "wb") as file:
        for _ in range(count):
            begun = time.monotonic()
            file.write(b"x" * 4096); file.flush(); os.fsync(file.fileno())
            took.append(time.monotonic() - begun)
    os.unlink(path)
    return sorted(took)[count // 2] * 1000
print(round(once(sys.argv[1]), 3))
"""
COMMITS = """
import pymysql, time
server = pymysql.connect(unix_socket="/run/mysqld/mysqld.sock", user="root", autocommit=True)
cursor, took = server.cursor(), []
cursor.execute("create database if not exists lab_watch")
cursor.execute("create table if not exists lab_watch.latency (n int)")
for number in range(200):
    begun = time.monotonic()
    cursor.execute("insert into lab_watch.latency values (%s)", (number,))
    took.append(time.monotonic() - begun)
cursor.execute("drop table lab_watch.latency")
print(round(sorted(took)[100] * 1000, 3))
"""


def latencies(ordeal):
    """Return the median ms of an fsynced write and of a commit, mirrored and serving alone."""
    found = {}
    for resource, text, words in (("files", LATENCY, ["/srv/files"]), ("database", COMMITS, [])):
        holder, standby = ordeal.lab[ordeal.holder(resource)], ordeal.standby(resource)
        argv = ["/opt/salt/bin/python3", "-c", text, *words]
        mirrored = float(holder.succeed(*argv))
        ordeal.crash(standby)
        ordeal.served(60)
        found[resource] = {"mirrored": mirrored, "alone": float(holder.succeed(*argv))}
        ordeal.start(standby)
        ordeal.settle()
    return found


def show(found):
    """Print the tables."""
    print(f"\n{'client-visible gap, s':38}{'min':>8}{'median':>8}{'max':>8}{'runs':>6}  promised")
    for kind, each in found["summary"].items():
        print(line(kind, each["gap"]) + f"  {KINDS[kind][1]:g}")
        print(line("  failed requests", each["failed"]))
    for kind, each in found["summary"].items():
        print(f"\n{kind}: where the seconds go")
        for name, values in each["steps"].items():
            print(line(f"  {name}", values))
    for vm, each in found.get("heartbeats", {}).items():
        print(f"heartbeats of {vm:10} {each['cpu']:6.2f} % of a CPU, "
              f"{each['packets']:7.1f} packets and {each['bytes']:9.1f} bytes a second")
    for resource, each in found.get("latencies", {}).items():
        print(f"a durable write to {resource:10} {each['mirrored']:.2f} ms mirrored, "
              f"{each['alone']:.2f} ms alone")
    print("\n".join(found["problems"]) or "lost 0, unexpected 0, both copies equal")


def line(name, values):
    """Return one line of the table."""
    if "median" not in values:
        return f"{name:38}{'never':>24}{values['runs']:>6}"
    never = f" ({values['never']} never)" if values["never"] else ""
    return (f"{name:38}{values['min']:8.2f}{values['median']:8.2f}{values['max']:8.2f}"
            f"{values['runs']:6}{never}")


def main(lab, words):
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="bin/lab bench failover")
    parser.add_argument("--runs", type=int, default=10, help="of each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--cost", action="store_true", help="heartbeats and latencies, too")
    parser.add_argument("--json", metavar="FILE", help="all figures of all runs")
    parser.add_argument("--plot", metavar="FILE", help="an SVG of the gaps")
    options = parser.parse_args(words)
    runs, found = {kind: [] for kind in options.kinds}, {}
    with tempfile.TemporaryDirectory() as folder:
        if options.cost:
            found["heartbeats"] = heartbeats(lab)
        with Ordeal(lab, Path(folder), *CLIENT) as ordeal, Knocks(lab) as knocks:
            wait_until(lambda: everybody(ordeal), f"{STUDENTS} students to have logged in", 300)
            for number, kind in itertools.product(range(options.runs), options.kinds):
                run = one(ordeal, kind, knocks)
                runs[kind].append(run)
                print(f"{kind} {number + 1}: gap {run['gap']} s, {run['failed']} failed",
                      flush=True)
                ordeal.settle()
                wait_until(lambda: awake(ordeal), "both masters to look", 120, pause=2)
            if options.cost:
                found["latencies"] = latencies(ordeal)
    found |= {"runs": runs, "summary": summary(runs), "problems": ordeal.problems}
    show(found)
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1), encoding="utf-8")
    if options.plot:
        Path(options.plot).write_text(plot.gaps(found["runs"], OTHERS), encoding="utf-8")
    return 1 if ordeal.problems else 0
