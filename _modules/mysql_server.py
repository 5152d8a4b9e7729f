"""
Whether a MySQL or MariaDB server runs, and whether it accepts writes. It boots refusing them (I5);
only activation lets it write, and stepping down ends that, even where a commit still waits for its
replica.

MySQL refuses administrators as well (super_read_only). MariaDB before 12 does not: whoever writes
as root on a passive server makes an errant transaction, and following refuses because of it.
"""

import contextlib
import os
import signal
import subprocess
import time

from salt.exceptions import CommandExecutionError

LOCK_WAIT_TIMEOUT = 1205
GENTLE = 2.5  # seconds to become passive without ending the server
GREETING = 3  # seconds after which a server that says nothing is taken for hung


def __virtual__():
    if __utils__["sqlserver.available"]():
        return "mysql_server"
    return False, "PyMySQL is not installed in Salt's Python"


def writable(deadline):
    """
    Let the server accept writes.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_server.writable "$(($(date +%s) + 10))"
    """
    with __utils__["sqlserver.local"](deadline) as server:
        server.do(*server.dialect["writable"])


def passive(deadline):
    """
    Make the server refuse writes, to administrators too where the engine can; return how.

    Clients are disconnected. ``"gently"``: the server goes on running. ``"killed"``: commits that
    wait for their replica stood in the way, or the server was hung, so its process was ended, and
    what waited was never acknowledged. ``"dead"``: there was no process. In both cases a start was
    ordered and not waited for: it makes the server passive. Raises CommandExecutionError if the
    process is still there at the deadline.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_server.passive "$(($(date +%s) + 10))"
    """
    try:
        with __utils__["sqlserver.local"](min(deadline, time.time() + GENTLE)) as server:
            _refuse_writes(server)
        return "gently"
    except CommandExecutionError:
        how = "killed" if kill(deadline) else "dead"
    _start(deadline)
    return how


def _refuse_writes(server):
    """
    A MariaDB that is told to disconnect a client ends its wait for the replica, and with it that of
    all who commit in the same group: they are told that it is done (`commit_trx` asks
    `thd_killed`). So it refuses first, for which every commit has to be over.
    """
    while True:
        if server.dialect["engine"] == "mysql":
            _disconnect(server)
        try:
            server.do(*server.dialect["passive"])
            break
        except CommandExecutionError as error:  # a commit stood in the way for a second
            if getattr(error, "code", 0) != LOCK_WAIT_TIMEOUT or time.time() > server.deadline - 1:
                raise
    _disconnect(server)


def _disconnect(server):
    own = server.connection.thread_id()
    for row in server.all("SHOW PROCESSLIST"):
        serving = row["Command"].startswith(("Binlog", "Daemon", "Slave", "Replica"))
        if row["Id"] != own and not serving and row["User"] not in ("root", "system user"):
            with contextlib.suppress(CommandExecutionError):  # gone by itself
                server.do(f"KILL {int(row['Id'])}")


def kill(deadline):
    """
    End the server's process at once, as a power cut would; return False if there is none.

    Raises CommandExecutionError if it is still there at the deadline: its disk does not answer.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_server.kill "$(($(date +%s) + 10))"
    """
    found = __utils__["sqlserver.process"]()
    if not found:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(found["pid"], signal.SIGKILL)
    for _ in __utils__["sqlserver.attempts"](deadline, f"the end of process {found['pid']}"):
        if not __utils__["sqlserver.same"](found, __utils__["sqlserver.alive"](found["pid"])):
            return True


def revive(deadline, spare=False):
    """
    Have a server that answers: start a dead one, end and start a hung one; return what was done.

    ``"nothing"`` if it answered, else ``"started"`` or ``"killed"``. One that is just starting is
    waited for. It is passive afterwards, as after every start. spare: a replica with the proof that
    it has everything is waited for and not ended, as it would lose what it has not applied yet.
    Raises CommandExecutionError if it does not answer before the deadline, and if too little time
    is left to tell a hung server from a busy one.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_server.revive "$(($(date +%s) + 60))"
    """
    found, began = __utils__["sqlserver.process"](), time.time()
    if found and found["state"] != "T":
        spare = spare and __salt__["mysql_proof.present"]()
        until = deadline if spare else min(deadline, began + GREETING)
        with contextlib.suppress(CommandExecutionError):  # what is not in time is judged below
            for _ in __utils__["sqlserver.attempts"](until, "an answer of the server"):
                if _answers(until):
                    return "nothing"
        if spare or until < began + GREETING:
            raise CommandExecutionError("the server does not answer, and is not ended for that")
    done = "killed" if kill(deadline) else "started"
    _start(deadline)
    for _ in __utils__["sqlserver.attempts"](deadline, "an answer of the restarted server"):
        if _answers(time.time() + 1):
            return done


def _answers(deadline):
    try:
        with __utils__["sqlserver.local"](deadline) as server:
            return bool(server.one("SELECT 1 AS one"))
    except CommandExecutionError:
        return False


def _start(deadline):
    """Tell systemd; it may wait for its own restart delay, or have given up after some failures."""
    unit = __pillar__["cluster"]["database"]["engine"]
    _systemctl("reset-failed", unit, deadline=deadline)
    done = _systemctl("start", "--no-block", unit, deadline=deadline)
    if done.returncode:
        raise CommandExecutionError(f"systemctl start {unit}: {done.stderr.strip()}")


def _systemctl(*arguments, deadline):
    command = ["systemctl", *arguments]
    left = max(1, deadline - time.time())
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=left)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandExecutionError(f"{' '.join(command)}: {error}") from error
