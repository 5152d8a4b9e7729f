"""
What must be true after any fault: both copies equal, nothing acknowledged gone, no word of horror
in a log. Each function returns sentences on what is not; [] is right.
"""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

BLOCK = 1 << 20
FORBIDDEN = {
    "kernel": r"\bBUG:|Oops|Kernel panic|general protection|EXT4-fs error|JBD2: Error|hung_task",
    "memory": r"Out of memory: Killed|oom-kill|Insufficient memory headroom",
    "crash": r"segfault at|dumped core|code=dumped|Assertion .* failed",
    "disk": r"Buffer I/O error|I/O error, dev",
    "database": r"\[ERROR\] .*(corrupt|Corrupt)|Errcode: 28",
    "drbd": r"Split-Brain detected|Digest integrity check FAILED|Out of sync: start",
}
OURS = re.compile(r"/extmods/|/srv/cluster/|/usr/local/lib/cluster/")
JOURNAL = "journalctl --no-pager -o short --since @{since:.0f} | grep -aE {pattern} | head -n 20; :"
TRACES = ("tail -c +$(($(cat /var/tmp/lab-size-$(basename {log}) 2>/dev/null || echo 0) + 1)) {log}"
          " 2>/dev/null | grep -a -A40 '^Traceback' | head -c 60000; :")
LOGS = ("/var/log/salt/master", "/var/log/salt/minion")


def same_disks(lab):
    """Return what differs between the disks below DRBD on both file VMs, read on this host."""
    a, b = (m for m in lab.machines.values() if m.role == "file")
    holder = next(m for m in (a, b) if m.run(["mountpoint", "-q", "/srv/files"]).returncode == 0)
    # Nothing is on its way to one of the disks only while the file system stands still.
    holder.succeed("fsfreeze", "-f", "/srv/files")
    try:
        size = int(holder.succeed("blockdev", "--getsize64", "/dev/drbd0"))
        found = differences(a.folder / "data", b.folder / "data", size)
    finally:
        holder.succeed("fsfreeze", "-u", "/srv/files")
    return [f"the disks of {a.name} and {b.name} differ in {len(found)} MiB, first at {found[0]}"] \
        if found else []


def differences(a, b, size):
    """Return the offsets of the MiB in which two sparse files differ, up to `size`."""
    found = []
    with open(a, "rb") as one, open(b, "rb") as two:
        for offset in sorted({start for file in (one, two) for start in _filled(file, size)}):
            length = min(BLOCK, size - offset)
            if os.pread(one.fileno(), length, offset) != os.pread(two.fileno(), length, offset):
                found.append(offset)
    return found


def _filled(file, size):
    """Yield the offsets of the MiB that are no hole."""
    position = 0
    while position < size:
        try:
            start = os.lseek(file.fileno(), position, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            return
        end = min(size, os.lseek(file.fileno(), start, os.SEEK_HOLE))
        yield from range(start // BLOCK * BLOCK, end, BLOCK)
        position = end


def same_tables(lab, seconds=60):
    """Return which tables of both database VMs differ once the replica has had time."""
    a, b = (m for m in lab.machines.values() if m.role == "database")
    end = time.monotonic() + seconds
    while True:
        with ThreadPoolExecutor(2) as pool:
            one, two = pool.map(checksums, (a, b))
        wrong = sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
        if not wrong or time.monotonic() > end:
            return [f"{name} differs between {a.name} and {b.name}" for name in wrong]


def checksums(machine):
    """Return {table: checksum} of everything that is not the server's own."""
    query = ("select concat('`', table_schema, '`.`', table_name, '`') from"
             " information_schema.tables where table_type = 'BASE TABLE' and table_schema not in"
             " ('mysql', 'sys', 'information_schema', 'performance_schema')")
    tables = machine.succeed("mysql", "-N", "-e", query).split()
    if not tables:
        return {}
    text = machine.succeed("mysql", "-N", "-e", f"checksum table {', '.join(tables)}", timeout=120)
    return dict(line.split("\t") for line in text.splitlines())


def marks_kept(lab, writes):
    """Return which of the watch's own acknowledged writes ({(resource, vm): number}) is gone."""
    problems = []
    for (resource, vm), number in writes.items():
        stored = [_mark(lab, resource, vm, machine) for machine in lab.machines.values()
                  if machine.role == {"files": "file", "database": "database"}[resource]]
        if max(stored) < number:
            problems.append(f"{resource}: write {number} that {vm} acknowledged is gone,"
                            f" there is {max(stored)}")
    return problems


def _mark(lab, resource, vm, machine):
    argv = ["cat", f"/srv/files/.lab-watch-{vm}"] if resource == "files" else \
        ["mysql", "-N", "-e", f"select n from lab_watch.marks where vm = '{vm}'"]
    text = machine.run(argv).stdout.strip()
    return int(text) if text.isdigit() else 0


def remember_logs(lab):
    """Remember how long Salt's logs are now, also over a power cut."""
    script = "; ".join(f"stat -c %s {log} >/var/tmp/lab-size-$(basename {log}) 2>/dev/null"
                       for log in LOGS)
    _everywhere(lab, f"{script}; sync /var/tmp/lab-size-*; :")


def horrors(lab, since, allowed=()):
    """Return what no fault excuses in journals and Salt's logs; `allowed`: keys of FORBIDDEN."""
    wanted = "|".join(text for name, text in FORBIDDEN.items() if name not in allowed)
    # Of the program that looks itself, the journal of sudo or ssh may hold the pattern.
    script = JOURNAL.format(since=since, pattern=f"'{wanted}'")
    found = [f"{vm}: {line}" for vm, text in _everywhere(lab, script).items()
             for line in text.splitlines() if "grep -aE" not in line]
    traces = "; ".join(TRACES.format(log=log) for log in LOGS)
    for vm, text in _everywhere(lab, traces).items():
        found += [f"{vm}: {trace}" for trace in tracebacks(text) if OURS.search(trace)]
    return found


def tracebacks(text):
    """Return the tracebacks in a log, each up to its exception."""
    return [match.group(0) for match in
            re.finditer(r"^Traceback .*\n(?:[ \t].*\n)*\S.*", text, re.MULTILINE)]


def _everywhere(lab, script):
    machines = [m for m in lab.machines.values() if m.running and not m.paused]
    with ThreadPoolExecutor(len(machines)) as pool:
        outputs = pool.map(lambda m: m.run(["sh", "-c", script], timeout=60).stdout, machines)
        return dict(zip([m.name for m in machines], outputs, strict=True))
