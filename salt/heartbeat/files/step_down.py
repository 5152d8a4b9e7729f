#!/usr/bin/python3 -EsS
"""
Gives a resource up at once, without Salt: heartbeatd heard a higher epoch than is held here.

A higher epoch exists only because a swap has put somebody else in charge, so there is nothing to
ask. Floating addresses go first; then the epoch is claimed, so that no command of an earlier one
is obeyed any more; then step-down.d/RESOURCE, of that resource's own component, leaves this VM
passive or reboots it; at last the note that it is held goes. Repeatable: heartbeatd runs it again
while the resource is held. Exits 0 when the resource is not held any more.

Usage: step-down RESOURCE HELD HEARD
"""

import contextlib
import ctypes
import fcntl
import json
import os
import subprocess
import sys
import syslog
import time

CONFIGURATION = "/etc/cluster/step-down.json"  # resource -> [{address, prefix, interface}]
CLAIMS = "/var/lib/cluster"  # as _modules/claim.py keeps them, with its locks
HELD = "/run/cluster/held"
OWN = "/usr/local/lib/cluster/step-down.d"
# Seconds for a command that is at work here already; it errs towards trying again.
WAIT = 5
# Seconds for the resource's own part; what takes longer waits for a disk that does not answer.
LONGEST = 12
_RB_AUTOBOOT = 0x01234567
FAILURES = (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError)


def main(resource, _held, heard):
    """Step down; return whether the resource is free."""
    heard = int(heard)
    say(f"{resource}: epoch {heard} is known, stepping down")
    with contextlib.ExitStack() as stack:
        role = stack.enter_context(open(f"{CLAIMS}/{resource}.json.role.lock", "w"))
        if not locked(role, 0):
            # A newer command does this work already; an older one must not win the race.
            if claimed(resource)["epoch"] < heard:
                give_up_addresses(resource, heard)
                claim(resource, heard)
            if not locked(role, WAIT):
                say(f"{resource}: another command is still at work")
                return False
        if not 0 < held(resource) < heard:
            return True  # given up, or asked to serve again, meanwhile
        return step_down(resource, heard)


def step_down(resource, heard):
    """Take all steps whatever became of the one before; return whether all succeeded."""
    done = True
    for step in (give_up_addresses, claim, own_part):
        try:
            step(resource, heard)
        except FAILURES as problem:
            say(f"{resource}: {step.__name__}: {problem}")
            done = False
    if done:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{HELD}/{resource}.json")
        say(f"{resource}: not held any more")
    return done


def give_up_addresses(resource, _heard):
    """Remove them in one process, whether they are here or not."""
    with open(CONFIGURATION, encoding="utf-8") as file:
        addresses = json.load(file).get(resource, [])
    lines = "".join("addr del {address}/{prefix} dev {interface}\n".format(**a) for a in addresses)
    subprocess.run(["ip", "-force", "-batch", "-"], input=lines, text=True, timeout=LONGEST,
                   check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    for entry in addresses:
        command = ["ip", "-o", "addr", "show", "to", entry["address"]]
        if subprocess.run(command, capture_output=True, timeout=LONGEST, check=True).stdout:
            raise OSError(f"{entry['address']} could not be removed")


def claim(resource, epoch):
    """Keep the epoch on disk, in the format and under the lock of _modules/claim.py."""
    path = f"{CLAIMS}/{resource}.json"
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        note = claimed(resource)
        if note["epoch"] >= epoch:
            return
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump({**note, "epoch": epoch}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)
        folder = os.open(CLAIMS, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)


def claimed(resource):
    return read(f"{CLAIMS}/{resource}.json", {"epoch": 0, "mirroring": 0, "settled": False})


def held(resource):
    return read(f"{HELD}/{resource}.json", {"epoch": 0})["epoch"]


def read(path, absent):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return absent


def own_part(resource, heard):
    """Run the resource's own program, if there is one."""
    program = f"{OWN}/{resource}"
    if not os.path.exists(program):
        return
    process = subprocess.Popen([program, resource, str(heard)], stdin=subprocess.DEVNULL)
    try:
        if process.wait(LONGEST):
            raise OSError(f"{program} failed with {process.returncode}")
    except subprocess.TimeoutExpired:
        say(f"{resource}: {program} did not end within {LONGEST} s; rebooting, to be passive")
        reboot()


def reboot():
    """At once and without a sync, which would wait for the disk that does not answer."""
    ctypes.CDLL(None).reboot(_RB_AUTOBOOT)
    raise OSError("the reboot was refused")


def locked(file, seconds):
    """Take the lock within so many seconds; return whether it was free."""
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.02)


def say(text):
    syslog.syslog(syslog.LOG_DAEMON | syslog.LOG_WARNING, text)


if __name__ == "__main__":
    syslog.openlog("step-down")
    try:
        sys.exit(0 if main(*sys.argv[1:]) else 1)
    except FAILURES as problem:
        say(f"{sys.argv[1:]}: {problem}")
        sys.exit(1)
