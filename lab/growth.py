"""
`bin/lab bench growth`: what the heartbeats and a decision cost when the cluster grows.

One balancer's heartbeatd runs for real in a network namespace without a way out; all others are
simulated: their packets come from their addresses at their pace (`lab/peers.py`). What it
writes about them is then decided on as on a master: with nothing to do, and after server1 died with
half of all VMs. Needs no lab.
"""

import argparse
import contextlib
import copy
import importlib.util
import ipaddress
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab import config
from lab.deadline import wait_until

COUNTS = (8, 32, 128, 512)
ME, HELD = "lb2", {"lb1": "director", "file1": "files", "db1": "database"}
PAIRS = {"lb2": "lb1", "file2": "file1", "db2": "db1"}
NETWORK, OWN = "10.77.0.0/16", "10.77.255.254/16"
DECISIONS = 50
SETTLE = 60  # s at most until all are heard


def utils(root, name):
    """Return a module of _utils."""
    path = Path(root, "_utils", f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"growth_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def grown(cluster, count):
    """Return the cluster with `count` VMs besides the witness: what is added are web servers."""
    cluster = copy.deepcopy(cluster)
    cluster["networks"]["internal"]["subnet"] = NETWORK
    vms = {name: vm for name, vm in cluster["vms"].items() if vm}
    missing = count - sum(vm["role"] != "witness" for vm in vms.values())
    for number in range(3, 3 + missing):
        vms[f"web{number}"] = {"server": f"server{2 - number % 2}", "role": "web"}
    addresses = ipaddress.ip_network(NETWORK).hosts()
    cluster["vms"] = {name: {**vm, "addresses": {"internal": str(next(addresses))}}
                      for name, vm in vms.items()}
    cluster["heartbeat"] = {**cluster["heartbeat"], "links": ["internal"], "serial": None}
    return cluster


@contextlib.contextmanager
def namespace():
    """A network namespace in which every address of NETWORK is local; it has no way out."""
    name = f"lab-growth-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for words in (["link", "set", "lo", "up"], ["address", "add", OWN, "dev", "lo"]):
            subprocess.run(["ip", "-n", name, *words], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)


@contextlib.contextmanager
def running(*argv):
    """A process, ended with the block."""
    process = subprocess.Popen([*map(str, argv)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def daemon(root, folder, cluster):
    """Write what heartbeatd on ME needs into `folder`; return its configuration's path."""
    topology, heartbeat = utils(root, "topology"), utils(root, "heartbeat")
    told = heartbeat.config(cluster, topology.vms(cluster), ME, PAIRS[ME])
    told["links"]["internal"]["interface"] = "lo"
    paths = {name: str(folder / name) for name in
             ("view", "held", "health", "claims", "incarnation", "step_down", "log")}
    shutil.copytree(Path(root, "salt/heartbeat/files"), folder / "code")
    shutil.copy(Path(root, "_utils/heartbeat.py"), folder / "code")
    path = folder / "heartbeat.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps({**told, "key": secrets.token_hex(32), "paths": paths}))
    return path


def measure(root, cluster, seconds):
    """Return what one observer does a second, and what it wrote about its peers."""
    with namespace() as net, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = daemon(root, folder, cluster)
        inside = ["ip", "netns", "exec", net]
        code = folder / "code"
        with (
            running(*inside, "chrt", "--rr", "--reset-on-fork", "10", sys.executable, "-EsS",
                    code / "heartbeatd.py", path) as observer,
            running(*inside, sys.executable, Path(root, "lab/peers.py"), code, path,
                    json.dumps(HELD)),
        ):
            wait_until(lambda: heard(folder / "view"), "all peers to be heard", SETTLE)
            before = sample(net, observer.pid)
            time.sleep(seconds)
            after = sample(net, observer.pid)
            seen = wait_until(lambda: heard(folder / "view"), "all peers to be heard", SETTLE)
    took = after["at"] - before["at"]
    rates = {key: (after[key] - before[key]) / took for key in ("cpu", "packets", "bytes")}
    return {"peers": len(seen["peers"]), "cpu": round(rates["cpu"] * 100, 2),
            "packets": round(rates["packets"]), "kilobytes": round(rates["bytes"] / 1000),
            "false": sum(peer["losses"] for peer in seen["peers"].values())}, seen


def heard(path):
    """Return the view once every peer is up in it, else None."""
    with contextlib.suppress(OSError, ValueError):
        seen = json.loads(path.read_text())
        if all(peer["state"] == "up" for peer in seen["peers"].values()):
            return seen


def sample(net, pid):
    """Return processor seconds of heartbeatd, packets and bytes over its wire, and when."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    text = subprocess.run(["ip", "-n", net, "-s", "-j", "link", "show", "lo"], check=True,
                          capture_output=True, text=True).stdout
    wire = json.loads(text)[0]["stats64"]["rx"]
    return {"at": time.monotonic(), "packets": wire["packets"], "bytes": wire["bytes"],
            "cpu": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")}


def bereaved(root, cluster, seen):
    """Return what ME and the witness say after server1 is silent."""
    silent_of = utils(root, "heartbeat").silent_of
    dead = [name for name, vm in cluster["vms"].items() if vm.get("server") == "server1"]
    states = {name: "dead" if name in dead else "up" for name in seen["peers"]}
    told = {name: word for name, word in silent_of(states, [*HELD, *PAIRS]).items() if name != "*"}
    seen = copy.deepcopy(seen)
    for name, peer in seen["peers"].items():
        if name in dead:
            peer["state"], peer["links"]["internal"]["state"] = "dead", "dead"
        elif cluster["vms"][name]["role"] in ("balancer", "witness"):
            peer["silent"] = told
    return seen


def decide(root, cluster, seen):
    """Return (milliseconds of each decision, the resources that it moves)."""
    decider, presence = utils(root, "decide"), utils(root, "presence")
    records = {resource: {"holder": vm, "epoch": 3, "mirrored": True, "founding": False}
               for vm, resource in HELD.items()}
    text, took = json.dumps(seen), []
    for _ in range(DECISIONS):
        begun = time.monotonic()
        view = {"now": time.time(), "cluster": cluster, "me": ME, "driver": "etcd",
                "records": records, "revisions": dict.fromkeys(records, 7),
                "views": presence.views(json.loads(text), ME)}
        decision = decider.decide(view)
        took.append((time.monotonic() - begun) * 1000)
    return took, sorted(decision.actions)


def spread(values):
    """Return min / median / max as text."""
    return " / ".join(f"{each:.1f}" for each in
                      (min(values), statistics.median(values), max(values)))


def main(root, words):
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="bin/lab bench growth")
    parser.add_argument("--vms", type=int, nargs="+", default=COUNTS, help="besides the witness")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    options = parser.parse_args(words)
    pillar = config.read(Path(root, "pillar/cluster.sls"))
    print(f"{'':5}{'one observer: ':36}{'decision, ms (min / median / max)':44}{'web VM:'}\n"
          f"{'VMs':>5}{'peers':>7}{'packets/s':>11}{'kB/s':>7}{'CPU %':>8}   "
          f"{'nothing to do':22}{'server1 lost':22}{'packets/s':>9}")
    right = True
    for count in options.vms:
        cluster = grown(pillar, count)
        load, seen = measure(root, cluster, options.seconds)
        quiet, nothing = decide(root, cluster, seen)
        lost, moved = decide(root, cluster, bereaved(root, cluster, seen))
        right &= not nothing and moved == sorted(HELD.values()) and not load["false"]
        web = utils(root, "heartbeat").config(
            cluster, utils(root, "topology").vms(cluster), "web1", None)
        packets = 2 * len(web["links"]["internal"]["peers"]) / web["timing"]["keepalive"]
        print(f"{count:5}{load['peers']:7}{load['packets']:11}{load['kilobytes']:7}"
              f"{load['cpu']:8.2f}   {spread(quiet):22}{spread(lost):22}{packets:9.0f}"
              + (f"  moves {moved} only" if moved != sorted(HELD.values()) else "")
              + (f"  {load['false']} false alarms" if load["false"] else ""))
    return 0 if right else 1
