"""
Seed a replica with all that another server holds.

MySQL has it built in: the clone plugin copies the tables' pages from the donor and restarts the
server. MariaDB has no such statement; a consistent dump is streamed from the donor into the local
server over TLS, with the position it belongs to. That is slower than a physical copy by
mariadb-backup, and needs neither a shell on the donor nor a second copy on a disk.
"""

import contextlib
import json
import os
import re
import subprocess
import tempfile
import time

from salt.exceptions import CommandExecutionError

USER = "replication"
SYSTEM_SCHEMAS = {"information_schema", "mysql", "performance_schema", "sys"}
CA = "/etc/mysql/tls/ca.crt"
PATIENCE = 12 * 3600  # seconds for a copy that was begun in time: it depends on the data's size
RESTART = 600  # seconds for the server to come back with the copy
CONNECTION_LOST = (2013, 2006)
DUMP = (
    *("--all-databases", "--single-transaction", "--master-data=1", "--gtid", "--routines"),
    *("--events", "--triggers", "--hex-blob", "--flush-privileges", "--quick"),
)


def __virtual__():
    if __utils__["sqlserver.available"]():
        return "mysql_clone"
    return False, "PyMySQL is not installed in Salt's Python"


def seed(source, deadline, discard=False):
    """
    Replace what the local server holds by a copy of the server at address ``source``.

    Only a server that is blank, or whose last copy was cut short, is seeded; ``discard=True`` gives
    up the data of another, for good, and is meant for one whose errant transactions have been
    saved. The server stays read-only and follows nobody yet. The copy must have begun at the
    ``deadline``; it may take longer. Raises CommandExecutionError on a writable server, if copying
    fails, and without doing anything after the deadline.

    CLI Example:

    .. code-block:: bash

        salt db2 mysql_clone.seed 192.168.10.18 "$(($(date +%s) + 600))"
    """
    __salt__["claim.in_time"]("database", deadline)
    deadline = time.time() + PATIENCE
    now = __salt__["mysql_replication.status"]()
    if now["writable"] or not (now["blank"] or now["seeding"] or discard):
        raise CommandExecutionError("only a blank, read-only server is seeded without discard=True")
    password = __utils__["sqlserver.replication_password"](__utils__["secret.known"](__pillar__))
    with __utils__["sqlserver.remote"](source, USER, password, deadline) as donor:
        wanted = donor.one(donor.dialect["executed"])["executed"]
    extra = __utils__[f"gtid.{now['engine']}_subtract"](now["executed"], wanted)
    process = __utils__["sqlserver.process"]()
    with __utils__["sqlserver.local"](deadline) as server:
        server.do("STOP REPLICA", "RESET REPLICA ALL")
        __utils__["seeding.begin"](source)
        if now["engine"] == "mysql":
            _clone(server, source, password)
        else:
            _restore(server, source, password, deadline)
    _verify(now["engine"], source, wanted, extra, process)
    if now["engine"] == "mysql":
        _tidy()
    __utils__["seeding.end"]()


def _verify(engine, source, wanted, extra, process):
    """
    Raise CommandExecutionError unless all is here that the source had, and nothing that it never
    had. A server that was killed while it copied has some of its old data, or nothing.

    wanted: what the source had before; extra: what was here and not there; process: the server that
    began to copy. MySQL's restarts at the end, so what that one says counts for nothing.
    """
    subtract, wrong = __utils__[f"gtid.{engine}_subtract"], ""
    for _ in __utils__["sqlserver.attempts"](time.time() + RESTART, f"a copy of {source}"):
        with contextlib.suppress(CommandExecutionError):  # the server restarts
            found = __salt__["mysql_replication.status"]()["executed"]
            wrong = subtract(wanted, found) or (subtract(extra, found) != extra and extra)
            now = __utils__["sqlserver.process"]()
            restarted = process and now and not __utils__["sqlserver.same"](process, now)
            if engine == "mariadb" or restarted:
                break
    if wrong:
        raise CommandExecutionError(f"the copy of {source} broke off: {wrong} differs")


def _tidy():
    """Remove empty directories of dropped schemas: creating one of that name would fail (3678)."""
    with __utils__["sqlserver.local"]() as server:
        known = {row["Database"] for row in server.all("SHOW DATABASES")}
        datadir = server.one("SELECT @@GLOBAL.datadir AS path")["path"]
    for name in os.listdir(datadir):
        # Other names are encoded, and cannot be compared.
        if re.fullmatch(r"[0-9A-Za-z_]+", name) and name not in known:
            with contextlib.suppress(OSError):  # a file, or not empty
                os.rmdir(os.path.join(datadir, name))


def _clone(server, source, password):
    server.all("SET GLOBAL clone_valid_donor_list = %s", (f"{source}:3306",))
    server.all("SET GLOBAL clone_ssl_ca = %s", (CA,))
    # The plugin has to drop what is here. Applications stay locked out by read_only, and the
    # restart that ends the cloning brings super_read_only back.
    server.do("SET GLOBAL super_read_only = OFF")
    statement = "CLONE INSTANCE FROM %s@%s:3306 IDENTIFIED BY %s REQUIRE SSL"
    try:
        server.all(statement, (USER, source, password), secret=True)
    except CommandExecutionError as error:
        if getattr(error, "code", 0) not in CONNECTION_LOST:
            server.do(*server.dialect["passive"])
            raise


def _restore(server, source, password, deadline):
    """Load a dump; ``state`` makes the copy know what every server wrote, not only the last."""
    _empty(server)
    server.do("RESET MASTER", "SET GLOBAL gtid_slave_pos = ''")
    with __utils__["sqlserver.remote"](source, USER, password, deadline) as donor:
        state = donor.one("SELECT @@GLOBAL.gtid_binlog_state AS state")["state"]
    with _login(source, password) as login:
        _pipe(
            ["mariadb-dump", f"--defaults-extra-file={login}", *DUMP],
            ["mariadb", "--no-defaults", "--init-command=SET SESSION sql_log_bin = 0"],
            deadline,
        )
    position = server.one("SELECT @@GLOBAL.gtid_slave_pos AS position")["position"]
    known = __utils__["gtid.mariadb_until"](state, position)
    server.all("SET GLOBAL gtid_binlog_state = %s", (known,))


def _empty(server):
    """Drop the schemas: a dump replaces only what it contains."""
    server.do("SET SESSION sql_log_bin = 0")
    for row in server.all("SHOW DATABASES"):
        if row["Database"] not in SYSTEM_SCHEMAS:
            server.do("DROP DATABASE `" + row["Database"].replace("`", "``") + "`")


@contextlib.contextmanager
def _login(source, password):
    """Yield the path of an option file, root's alone, that exists while the block runs."""
    # What JSON escapes, quote and backslash, an option file unescapes the same way.
    quoted = json.dumps(password, ensure_ascii=False)
    lines = [
        *("[client]", f"host={source}", f"user={USER}", f"password={quoted}"),
        *(f"ssl-ca={CA}", "ssl-verify-server-cert"),
    ]
    handle, path = tempfile.mkstemp(prefix="seed-", dir="/run")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        yield path
    finally:
        os.unlink(path)


def _pipe(producer, consumer, deadline):
    """Run ``producer | consumer``; raise CommandExecutionError if either fails."""
    errors = tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace")
    with errors, subprocess.Popen(producer, stdout=subprocess.PIPE, stderr=errors) as first:
        with subprocess.Popen(consumer, stdin=first.stdout, stderr=errors) as second:
            first.stdout.close()  # or the producer would never hear that the consumer is gone
            try:
                second.wait(max(1, deadline - time.time()))
                first.wait(max(1, deadline - time.time()))
            except subprocess.TimeoutExpired as error:
                first.kill()
                second.kill()
                raise CommandExecutionError(f"{producer[0]}: not before the deadline") from error
        if first.returncode or second.returncode:
            errors.seek(0)
            raise CommandExecutionError(f"{producer[0]} | {consumer[0]}: {errors.read().strip()}")
