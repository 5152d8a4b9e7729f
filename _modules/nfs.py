"""
The NFS server of the files holder.

NFSv4.1 and later only: no rpcbind, no statd, no lock manager, so the only state a client depends
on is the record of nfsdcld, which lies on the replicated disk. The server runs as one unit of our
own (files-nfs.service) that is never enabled; the packaged units are masked.
"""

import os
import re
import socket
import struct
import time
from pathlib import Path

import salt.utils.path
from salt.exceptions import CommandExecutionError

UNIT = "files-nfs.service"
DAEMONS = "files-mountd.service"
SCRIPT = "/usr/local/lib/cluster/files-nfs.sh"  # what the unit runs
STATE = "/var/lib/nfs"  # on the replicated disk while the server runs
KERNEL = "/proc/fs/nfsd"
CGROUPS = "/sys/fs/cgroup/system.slice"
PROCESSES = "/proc"
PORT = 2049
PROGRAM, VERSION, CALL, REPLY = 100003, 4, 0, 1  # of NFS in a remote procedure call
ANSWER = 0.5  # seconds; a server that is merely busy answers a call that asks for nothing


def __virtual__():
    if salt.utils.path.which("exportfs"):
        return "nfs"
    return False, "exportfs (nfs-kernel-server) is not installed"


def _run(*command):
    return __utils__["command.output"](command)


def _systemctl(verb):
    try:
        _run("systemctl", verb, UNIT)
    except CommandExecutionError as err:
        raise CommandExecutionError(f"{err}\n{_journal()}") from err


def _journal():
    """Return the unit's last lines: systemctl itself only says that it failed."""
    try:
        return _run("journalctl", "--no-pager", "--output=cat", "--lines=5", "--unit", UNIT).strip()
    except CommandExecutionError as err:
        return str(err)


def start():
    """
    Start the server on the mounted replicated disk: client record, exports, then the threads.

    A half-started server is stopped first, so threads run afterwards in any case. Raises
    CommandExecutionError with the unit's last log lines.

    CLI Example::

        salt file1 nfs.start
    """
    _systemctl("restart")


def stop():
    """
    Stop the threads and whatever would keep the replicated disk busy.

    CLI Example::

        salt file1 nfs.stop
    """
    _systemctl("stop")
    if os.path.ismount(STATE):  # left by a server that was killed
        _run(SCRIPT, "stopped")


def restart(deadline):
    """
    Kill and start the server and its daemons, which may hang, and wait until it answers.

    deadline: unix seconds. Raises CommandExecutionError with what is wrong at the deadline.

    CLI Example::

        salt file1 nfs.restart 1767225600
    """
    _run("systemctl", "kill", "--signal=KILL", DAEMONS, UNIT)
    _run("systemctl", "restart", DAEMONS)
    _systemctl("restart")
    while why := fault():
        if time.time() > deadline:
            raise CommandExecutionError(f"restarted, and yet: {why}")
        time.sleep(0.1)  # between two looks at a named condition with a deadline


def fault():
    """
    Return why the server does not serve, None if it does: its threads, its daemons, its answer.

    Takes half a second at most. The call it makes asks for nothing, so neither a full disk nor a
    slow one is a fault.

    CLI Example::

        salt file1 nfs.fault
    """
    if not threads():
        return "no server threads run"
    if why := unready() or _daemon_fault(UNIT, "nfsdcld"):
        return why
    try:
        with socket.create_connection(("127.0.0.1", PORT), ANSWER) as link:
            link.settimeout(ANSWER)
            link.sendall(_call(1))
            return _parse_reply(link.recv(64), 1)
    except OSError as err:
        return f"the server does not answer within {ANSWER} s: {err}"


def unready():
    """
    Return why a server could not be started here, None if it could: what runs before it.

    CLI Example::

        salt file2 nfs.unready
    """
    return _daemon_fault(DAEMONS, "rpc.mountd")


def _daemon_fault(unit, name):
    state = _daemon(unit, name)
    return None if state == "runs" else f"{name} {state}"


def _daemon(unit, name):
    """Return "runs", "is stopped" (by a signal) or "is not there", read without a process."""
    try:
        processes = Path(CGROUPS, unit, "cgroup.procs").read_text(encoding="ascii").split()
    except OSError:
        return "is not there"
    for process in processes:
        try:
            text = Path(PROCESSES, process, "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it ended between the two looks
            continue
        command, state = text.rpartition(")")[0].partition("(")[2], text.rpartition(")")[2].split()
        if command == name:
            return "is stopped" if state[0] in "Tt" else "runs"
    return "is not there"


def _call(number):
    """Return a remote procedure call that does nothing (RFC 5531: procedure 0)."""
    body = struct.pack(">10I", number, CALL, 2, PROGRAM, VERSION, 0, 0, 0, 0, 0)
    return struct.pack(">I", 0x80000000 | len(body)) + body


def _parse_reply(data, number):
    """Return None if ``data`` accepts the call ``number``, otherwise what is wrong with it."""
    if len(data) < 28:
        return f"the server answered {len(data)} bytes only"
    _, echoed, kind, denied, _, _, status = struct.unpack(">7I", data[:28])
    if (echoed, kind, denied, status) != (number, REPLY, 0, 0):
        return f"the server refused the call ({denied}, {status})"
    return None


def threads():
    """
    Return how many server threads run; 0 if the server is stopped or was never loaded.

    CLI Example::

        salt file1 nfs.threads
    """
    return _number("threads") or 0


def _number(name):
    try:
        return int(Path(KERNEL, name).read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as err:
        raise CommandExecutionError(f"{KERNEL}/{name}: {err}") from err


def status():
    """
    Return the server's threads, lease and grace (seconds), versions, in_grace, number of clients.

    CLI Example::

        salt file1 nfs.status
    """
    running = threads()
    return {
        "threads": running,
        "lease": _number("nfsv4leasetime"),
        "grace": _number("nfsv4gracetime"),
        "versions": _versions() if running else [],
        "in_grace": _in_grace() if running else None,
        "clients": len(clients()),
    }


def _versions():
    words = Path(KERNEL, "versions").read_text(encoding="ascii").split()
    return [word[1:] for word in words if word.startswith("+")]


def _in_grace():
    """Return True while clients may only reclaim; None where the kernel does not tell."""
    try:
        return Path(KERNEL, "v4_end_grace").read_text(encoding="ascii").strip() == "N"
    except OSError:
        return None


def clients():
    """
    Return the NFSv4 clients that hold state: ``[{"address", "name", "status", ...}]``.

    CLI Example::

        salt file1 nfs.clients
    """
    try:
        folders = sorted(Path(KERNEL, "clients").iterdir())
    except FileNotFoundError:
        return []
    found = []
    for folder in folders:
        try:
            found.append(_parse_client((folder / "info").read_text(encoding="utf-8")))
        except FileNotFoundError:  # it left between the two looks
            continue
    return found


def _parse_client(text):
    """Return a client from its info file: address (without port), name, status, renewed (s ago)."""
    pairs = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    try:
        address = pairs["address"].strip('"').rsplit(":", 1)[0].strip("[]")
        return {
            "address": address,
            "name": pairs["name"].strip('"'),
            "status": pairs.get("status"),
            "renewed": int(pairs.get("seconds from last renew", -1)),
        }
    except (KeyError, ValueError) as err:
        raise CommandExecutionError(f"{KERNEL}/clients: not understood: {err!r}") from err


def exports():
    """
    Return what is exported now: ``[{"path", "client", "options": [...]}]``.

    CLI Example::

        salt file1 nfs.exports
    """
    return _parse_exports(_run("exportfs", "-s"))


def _parse_exports(text):
    found = re.findall(r"^(\S+)\s+(\S+)\(([^)]*)\)$", text, re.MULTILINE)
    if len(found) != len(text.split("\n")) - 1:
        raise CommandExecutionError(f"exportfs -s: not understood: {text!r}")
    return [
        {"path": path, "client": client, "options": options.split(",")}
        for path, client, options in found
    ]
