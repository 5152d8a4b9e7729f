"""
Save what one server has and its source has not, before the server is made a copy of the source.

Such errant transactions are on a primary that came back after another had taken over: commits that
nobody acknowledged, or those of a time when it was permitted to serve alone. They are taken from
the binary log in the form that the engine's own client can read again.
"""

import json
import os
import re
import subprocess
import time

import salt.utils.files
from salt.exceptions import CommandExecutionError

DIRECTORY = "/var/lib/cluster/saved"
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
    password = __utils__["sqlserver.replication_password"](__pillar__["secrets"])
    with __utils__["sqlserver.remote"](source, USER, password, deadline) as other:
        theirs = other.one(other.dialect["executed"])["executed"]
    with __utils__["sqlserver.local"](deadline) as server:
        engine = server.dialect["engine"]
        logs = _logs(server, theirs)
        datadir = server.one("SELECT @@GLOBAL.datadir AS path")["path"]
    directory = _directory(datadir, sum(logs.values()))
    path = os.path.join(directory, "transactions.sql")
    _extract(_command(engine, errant, theirs, [os.path.join(datadir, name) for name in logs]), path)
    found = _found(engine, path)
    missing = __utils__[f"gtid.{engine}_subtract"](errant, ",".join(found))
    if missing:
        raise CommandExecutionError(f"the binary logs no longer have {missing}; see {directory}")
    report = {
        "errant": errant,
        "transactions": len(found),
        "bytes": os.path.getsize(path),
        "source": source,
        "source_had": theirs.replace("\n", ""),
        "binary_logs": list(logs),
        "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "server": __grains__["id"],
    }
    _write(directory, report)
    told = {key: report[key] for key in ("transactions", "errant", "bytes")}
    return {"directory": directory, **told}


def _logs(server, theirs):
    """Return ``{name: bytes}`` of the binary logs that can hold something the source has not."""
    needed = {}
    subtract = __utils__[f"gtid.{server.dialect['engine']}_subtract"]
    for row in reversed(server.all("SHOW BINARY LOGS")):
        name = row["Log_name"]
        needed[name] = row["File_size"]
        if not subtract(_before(server, name), theirs):
            break
    return dict(reversed(needed.items()))


def _before(server, name):
    """Return what the server had executed when the binary log ``name`` began."""
    for row in server.all(f"SHOW BINLOG EVENTS IN '{name}' LIMIT 4"):
        if row["Event_type"] in ("Previous_gtids", "Gtid_list"):
            return row["Info"].strip("[]")
    return ""


def _directory(datadir, size):
    """Make a directory for a text of binary logs of ``size`` bytes, private to root."""
    os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
    disk = os.statvfs(DIRECTORY)
    parent = DIRECTORY
    if size * GROWTH > disk.f_bavail * disk.f_frsize // 2:
        parent = os.path.join(datadir, ON_DATA_DISK)
    path = os.path.join(parent, time.strftime("database-%Y%m%dT%H%M%SZ", time.gmtime()))
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


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
