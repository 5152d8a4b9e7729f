"""
Save what one server has and its source has not, before the server is made a copy of the source.

Such errant transactions are on a primary that came back after another had taken over: commits that
nobody acknowledged, or those of a time when it was permitted to serve alone. They are taken from
the binary log in the form that the engine's own client can read again.
"""

import contextlib
import glob
import json
import os
import re
import shutil
import subprocess
import time

import salt.utils.files
from salt.exceptions import CommandExecutionError

DIRECTORY = "/var/lib/cluster/saved"
DATA = "/var/lib/mysql"  # as salt/database mounts it
ON_DATA_DISK = ".saved"  # in the data directory, where the system disk is too small
USER = "replication"
GROWTH = 4  # the text of a binary log with its comments is about three times as long
TOOL = {"mysql": "mysqlbinlog", "mariadb": "mariadb-binlog"}


def __virtual__():
    if __utils__["sqlserver.available"]():
        return "mysql_errant"
    return False, "PyMySQL is not installed in Salt's Python"


def save(source, errant, deadline):
    """
    Save the transactions ``errant`` that the server at address ``source`` has not.

    Returns ``{"directory", "transactions", "errant", "bytes"}``; in the directory are
    ``transactions.sql`` and ``report.json``. Raises CommandExecutionError unless every one of them
    is there: nothing may be given up that is not saved.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_errant.save 192.168.10.28 0-3232238098-17 "$(($(date +%s) + 60))"
    """
    password = __utils__["sqlserver.replication_password"](__utils__["secret.known"](__pillar__))
    with __utils__["sqlserver.remote"](source, USER, password, deadline) as other:
        theirs = other.one(other.dialect["executed"])["executed"]
    with __utils__["sqlserver.local"](deadline) as server:
        engine = server.dialect["engine"]
        logs = _logs(server, source, theirs)
        datadir = server.one("SELECT @@GLOBAL.datadir AS path")["path"]
    if before := _saved(datadir, errant, logs):  # by a command that came no further
        return before
    _sweep(datadir)
    directory = _directory(datadir, sum(logs.values()))
    half = f"{directory}.incomplete"
    os.makedirs(half, mode=0o700)
    path = os.path.join(half, "transactions.sql")
    try:
        paths = [os.path.join(datadir, name) for name in logs]
        _extract(_command(engine, errant, theirs, paths), path)
        found = _found(engine, path)
        if missing := __utils__[f"gtid.{engine}_subtract"](errant, ",".join(found)):
            raise CommandExecutionError(_gone(missing, source))
    except Exception:  # half of it, again and again, would fill the disk
        shutil.rmtree(half)
        raise
    report = {
        "errant": errant,
        "transactions": len(found),
        "bytes": os.path.getsize(path),
        "source": source,
        "source_had": theirs.replace("\n", ""),
        "binary_logs": logs,
        "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "server": __grains__["id"],
    }
    _write(half, report)
    os.rename(half, directory)
    return _told(directory, report)


def saved():
    """
    Return the directories with what was saved here, the oldest first.

    CLI Example:

    .. code-block:: bash

        salt 'db*' mysql_errant.saved
    """
    found = [os.path.dirname(path) for path in _reports(DATA)]
    return sorted(found, key=os.path.basename)


def _reports(datadir):
    """Return the paths of all reports, on the system's disk and on that of the data."""
    return [path for parent in _parents(datadir)
            for path in glob.glob(os.path.join(glob.escape(parent), "database-*", "report.json"))
            if not os.path.dirname(path).endswith(".incomplete")]


def _parents(datadir):
    return DIRECTORY, os.path.join(datadir, ON_DATA_DISK)


def _sweep(datadir):
    """Remove what a save left that was killed: it takes the room for this one."""
    for parent in _parents(datadir):
        for path in glob.glob(os.path.join(glob.escape(parent), "database-*.incomplete")):
            shutil.rmtree(path, ignore_errors=True)


def _told(directory, report):
    names = ("transactions", "errant", "bytes")
    return {"directory": directory, **{key: report[key] for key in names}}


def _saved(datadir, errant, logs):
    """
    Return what `save` returned for the same transactions, None if they are not saved here. The
    same names are not enough: given up, they may be given to others.
    """
    for path in _reports(datadir):
        with contextlib.suppress(OSError, ValueError, KeyError):  # half of one
            with salt.utils.files.fopen(path, encoding="utf-8") as file:
                report = json.load(file)
            directory = os.path.dirname(path)
            size = os.path.getsize(os.path.join(directory, "transactions.sql"))
            found = (report["errant"], report["binary_logs"], report["bytes"])
            if found == (errant, logs, size):
                return _told(directory, report)


def _gone(what, source):
    return (
        f"the binary logs no longer have {what}; to give that up: salt {__grains__['id']} "
        f"mysql_clone.seed {source} $(($(date +%s) + 600)) discard=True"
    )


def _logs(server, source, theirs):
    """
    Return ``{name: bytes}`` of the binary logs that can hold something the source has not.

    Raises CommandExecutionError if they do not reach back so far.
    """
    needed = {}
    subtract = __utils__[f"gtid.{server.dialect['engine']}_subtract"]
    for row in reversed(server.all("SHOW BINARY LOGS")):
        name = row["Log_name"]
        needed[name] = row["File_size"]
        if not (before := subtract(_before(server, name), theirs)):
            return dict(reversed(needed.items()))
    raise CommandExecutionError(_gone(before, source))


def _before(server, name):
    """Return what the server had executed when the binary log ``name`` began."""
    for row in server.all(f"SHOW BINLOG EVENTS IN '{name}' LIMIT 4"):
        if row["Event_type"] in ("Previous_gtids", "Gtid_list"):
            return row["Info"].strip("[]")
    return ""


def _directory(datadir, size):
    """Return a directory for a text of binary logs of ``size`` bytes, where there is room."""
    for parent in _parents(datadir):
        os.makedirs(parent, mode=0o700, exist_ok=True)
        disk = os.statvfs(parent)
        if size * GROWTH <= disk.f_bavail * disk.f_frsize // 2:
            return os.path.join(parent, time.strftime("database-%Y%m%dT%H%M%SZ", time.gmtime()))
    needed = 2 * size * GROWTH // 2**20
    raise CommandExecutionError(
        f"no room to save transactions: neither {DIRECTORY} nor {datadir} has {needed} MB free"
    )


def _command(engine, errant, theirs, paths):
    command = [TOOL[engine], "--no-defaults", "--verbose"]
    if engine == "mysql":
        return [*command, f"--include-gtids={errant}", *paths]
    return [*command, *__utils__["gtid.mariadb_range"](errant, theirs), *paths]


def _extract(command, path):
    with salt.utils.files.fopen(path, "w", encoding="utf-8") as file:
        os.chmod(path, 0o600)
        try:
            done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True)
        except OSError as error:
            raise CommandExecutionError(f"{command[0]}: {error}") from error
        file.flush()
        os.fsync(file.fileno())
    if done.returncode:
        raise CommandExecutionError(f"{' '.join(command)}: {done.stderr.strip()}")


def _found(engine, path):
    """Return the GTIDs of the transactions in the text."""
    patterns = {
        "mysql": r"SET @@SESSION\.GTID_NEXT= '([0-9a-f-]{36}:[^']+)'",
        "mariadb": r"#.*\tGTID ([0-9]+-[0-9]+-[0-9]+)",
    }
    with salt.utils.files.fopen(path, encoding="utf-8", errors="replace") as file:
        matches = (re.match(patterns[engine], line) for line in file)
        return [match[1] for match in matches if match]


def _write(directory, report):
    with salt.utils.files.fopen(os.path.join(directory, "report.json"), "w") as file:
        json.dump(report, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.sync()
