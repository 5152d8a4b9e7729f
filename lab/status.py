"""A table of what there is and what it does."""

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

# One command a VM: two forks instead of a dozen. Addresses and memory, then what Salt remembers.
ASK = "ip -j -4 address; cat /proc/meminfo; cat /var/lib/cluster/*.json 2>/dev/null; :"
RESOURCES = {"balancer": "director", "file": "files", "database": "database"}


def memory(text):
    """Return (used, total) bytes from the text of /proc/meminfo; None where it says nothing."""
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE))
    if "MemTotal" not in found or "MemAvailable" not in found:
        return None
    total, available = int(found["MemTotal"]) * 1024, int(found["MemAvailable"]) * 1024
    return total - available, total


def addresses(text):
    """Return {interface: [addresses]} from the first line of `ip -j -4 address`."""
    return {entry["ifname"]: [info["local"] for info in entry["addr_info"]]
            for entry in json.loads(text)}


def holds(role, floating, seen):
    """
    Return the resource that a VM's addresses show it to hold, "" if none.

    `floating`: the addresses of the role's resource; all of them make the holder, some of them
    are shown as such, because they must never be apart.
    """
    resource = RESOURCES.get(role)
    mine = [address for address in floating if address in seen]
    if not resource or not mine:
        return ""
    return resource if len(mine) == len(floating) else f"{resource}: only {', '.join(mine)}"


def ask(machine, lab):
    """Return the table's row for a machine as a dict."""
    row = {"vm": machine.name, "server": machine.server or "-", "role": machine.role,
           "state": "off", "addresses": "", "memory": "", "holds": ""}
    if not machine.running:
        return row
    row["state"] = "paused" if machine.paused else "silent"
    if machine.paused:
        return row
    try:
        text = machine.run(["sh", "-c", ASK], timeout=8).stdout
    except subprocess.TimeoutExpired:
        return row
    first, _, rest = text.partition("\n")
    used = memory(rest)
    if not first.startswith("[") or not used:
        return row
    seen = addresses(first)
    shown = [each for name, found in seen.items() if name not in ("lo", "lab0") for each in found]
    resource = RESOURCES.get(machine.role)
    floating = lab.topology.floating(lab.cluster, machine.name, resource) if resource else []
    row.update(
        state="up", addresses=" ".join(shown),
        memory=f"{used[0] // 2**20}/{machine.memory // 2**20} MB",
        holds=holds(machine.role, [each["address"] for each in floating], shown),
        used=used[0], size=machine.memory,
    )
    return row


def rows(lab):
    """Ask every VM at once; return the rows in pillar order."""
    with ThreadPoolExecutor(len(lab.machines)) as pool:
        return list(pool.map(lambda machine: ask(machine, lab), lab.machines.values()))


def table(found, columns=("vm", "server", "role", "state", "addresses", "memory", "holds")):
    """Return rows as aligned text."""
    lines = [columns, *[tuple(str(row[name]) for name in columns) for row in found]]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    padded = [[text.ljust(width) for text, width in zip(line, widths, strict=True)]
              for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in padded)
