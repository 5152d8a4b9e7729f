"""
The accounts of the cluster on a MySQL or MariaDB server, and the application's schema.

The application's account may use its own schema from the network of the database's address, and
nothing else. A
replication account exists per database VM, usable from that VM's address only and over TLS only.
``root`` is known to the unix socket alone.

Accounts are configuration of each server and are kept out of the binary log. Replicated, they
could freeze the cluster for good: an account statement that waits for its replica's
acknowledgement holds the lock that every login needs, the replica's and root's included (MySQL
9.7). The price: a passive server is writable for root for a moment when an account changes. The
role is held meanwhile, or an activation in that moment would be undone when it ends.

Passwords are read from the pillar here, so that none is ever an argument of a state or function.
Whether a password is the right one is found by logging in with it.
"""

import contextlib
import hashlib
import ipaddress
import os
import re
import time

import salt.utils.files
from salt.exceptions import CommandExecutionError

REPLICATION = "replication"
ROLE_WAIT = 300  # seconds for a command that is at work; a copy ends the server on its way
# Moodle's documentation asks for these; CREATE TEMPORARY TABLES is used by its reports.
APPLICATION_PRIVILEGES = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER, CREATE TEMPORARY TABLES"
)
# Cloning needs BACKUP_ADMIN of a MySQL donor; a MariaDB replica is seeded by a dump, which reads.
REPLICATION_PRIVILEGES = {
    "mysql": "REPLICATION SLAVE, BACKUP_ADMIN",
    "mariadb": "REPLICATION SLAVE, SELECT, SHOW VIEW, EVENT, TRIGGER, LOCK TABLES, RELOAD, "
    "BINLOG MONITOR, PROCESS",
}


def __virtual__():
    if __utils__["sqlserver.available"]():
        return "mysql_account"
    return False, "PyMySQL is not installed in Salt's Python"


def _wanted(engine):
    """Return the accounts: user, host, password, scope, privileges, tls, and where to try them."""
    cluster, secrets = __pillar__["cluster"], __utils__["secret.known"](__pillar__)
    # Web VMs come from the network that the database's address is in.
    network = __utils__["topology.network_of"](cluster, cluster["addresses"]["database"])
    subnet = ipaddress.ip_network(cluster["networks"][network]["subnet"])
    application = {
        "user": cluster["database"]["user"],
        "host": f"{subnet.network_address}/{subnet.netmask}",
        "password": secrets["database"]["moodle"],
        # In a GRANT, % and _ of a schema's name are wild cards.
        "scope": _identifier(re.sub(r"([_%])", r"\\\1", cluster["database"]["name"])) + ".*",
        "privileges": APPLICATION_PRIVILEGES,
        "tls": False,
        "try": __utils__["topology.vm"](cluster, __grains__["id"])["addresses"][network],
    }
    me = _traffic_address(__grains__["id"])
    others = [_traffic_address(vm["name"]) for vm in __utils__["topology.vms"](cluster, "database")]
    replication = {
        "user": REPLICATION,
        "password": __utils__["sqlserver.replication_password"](secrets),
        "scope": "*.*",
        "privileges": REPLICATION_PRIVILEGES[engine],
        "tls": True,
        "try": me,
    }
    # This VM's own account comes last: only that one can be tried from here, and if its password
    # is the right one, then so are the others'.
    hosts = sorted(others, key=lambda address: address == me)
    return [application, *({**replication, "host": host} for host in hosts)]


def _traffic_address(name):
    return __utils__["topology.traffic_address"](__pillar__["cluster"], name, "replication")


def _identifier(name):
    return "`" + name.replace("`", "``") + "`"


def schema_present():
    """
    Create the application's schema on the primary if it is missing; return True if it was.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_account.schema_present
    """
    name = __pillar__["cluster"]["database"]["name"]
    with __utils__["sqlserver.local"]() as server:
        if {"Database": name} in server.all("SHOW DATABASES"):
            return False
        options = "CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"
        server.do(f"CREATE DATABASE {_identifier(name)} {options}")
    return True


def present(change=True):
    """
    Create or correct the accounts on this server, primary or replica; return what was done.

    The answer is a list like ``["moodle@… created", "replication@… password changed"]``. With
    ``change=False`` nothing is done, and the list says what would be. Raises CommandExecutionError
    if the server refuses, and if the VM's role is changing for longer than five minutes.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_account.present change=False
    """
    role = __salt__["claim.role"]("database", time.time() + ROLE_WAIT)
    with role, __utils__["sqlserver.local"]() as server:
        wanted = _wanted(server.dialect["engine"])
        stale, tried = _stale(server, wanted), {}
        due = [(account, _deviation(server, account, tried)) for account in wanted]
        due = [(account, found) for account, found in due if found]
        if change and (due or stale):
            with _local_changes(server):
                for account, _ in due:
                    _correct(server, account)
                for who in stale:
                    server.all("DROP USER %s@%s", who)
    done = [f"{account['user']}@{account['host']} {found}" for account, found in due]
    return done + [f"{user}@{host} dropped" for user, host in stale]


@contextlib.contextmanager
def _local_changes(server):
    """Keep account statements out of the binary log, and let root write on a passive server."""
    server.do("SET SESSION sql_log_bin = 0")
    passive = server.one("SELECT @@GLOBAL.read_only AS value")["value"] in (1, "ON")
    if passive:
        server.do(*server.dialect["administrator"])
    try:
        yield
    finally:
        if passive:
            server.do(*server.dialect["passive"])


def _stale(server, wanted):
    """Return user and host of accounts that are nobody's, or the cluster's under another host."""
    known = {(account["user"], account["host"]) for account in wanted}
    rows = server.all("SELECT User AS user, Host AS host FROM mysql.user")
    users = {"", *(user for user, _ in known)}
    found = {(row["user"], row["host"]) for row in rows if row["user"] in users}
    return sorted(found - known)


def _exists(server, account):
    who = (account["user"], account["host"])
    return bool(server.all("SELECT 1 FROM mysql.user WHERE User = %s AND Host = %s", who))


def _deviation(server, account, tried):
    """Return what is wrong with an account on the server, or None."""
    user, host = account["user"], account["host"]
    if not _exists(server, account):
        return "created"
    if user not in tried:
        tried[user] = __utils__["sqlserver.accepts"](account["try"], user, account["password"])
    if not tried[user]:
        return "password changed"
    found = [next(iter(row.values())) for row in server.all("SHOW GRANTS FOR %s@%s", (user, host))]
    if _parse_grants(found) != {account["scope"]: set(account["privileges"].split(", "))}:
        return "privileges corrected"
    return None


def _parse_grants(lines):
    """Return ``{scope: {privilege, ...}}`` of SHOW GRANTS, without the empty USAGE."""
    grants = {}
    for line in lines:
        match = re.match(r"GRANT (.+?) ON (.+?) TO ", line)
        if not match:  # as a role that somebody granted: it would survive a correction
            raise CommandExecutionError(f"a line of SHOW GRANTS is not understood: {line[:60]}")
        privileges = set(match[1].split(", ")) - {"USAGE"}
        if privileges:
            grants.setdefault(match[2], set()).update(privileges)
    return grants


def _correct(server, account):
    """Create the account, or give it its password and its privileges, and nothing more."""
    who = (account["user"], account["host"])
    require = "SSL" if account["tls"] else "NONE"
    for verb in ("CREATE USER IF NOT EXISTS", "ALTER USER"):
        _identify(server, verb, who, account["password"], require)
    server.all("REVOKE ALL PRIVILEGES, GRANT OPTION FROM %s@%s", who)
    scope = account["scope"].replace("%", "%%")
    server.all(f"GRANT {account['privileges']} ON {scope} TO %s@%s", who)


def _identify(server, verb, who, password, require):
    if server.dialect["engine"] == "mysql":
        by, value = "BY", password
    else:
        # MariaDB writes the statement into its binary log as it came: send what it would store.
        once = hashlib.sha1(password.encode()).digest()
        by, value = "BY PASSWORD", "*" + hashlib.sha1(once).hexdigest().upper()
    statement = f"{verb} %s@%s IDENTIFIED {by} %s REQUIRE {require}"
    server.all(statement, (*who, value), secret=True)


def replica_password(deadline=None):
    """
    Give the local replica the pillar's password if it uses another; return True if it did.

    Nothing changes on a server that follows nobody, and nothing before the source accepts the new
    password: until then the old connection lives on. ``deadline`` (Unix seconds; None asks whether
    a change is due, without changing) limits the wait for the source. Raises CommandExecutionError
    at the deadline.

    CLI Example:

    .. code-block:: bash

        salt db2 mysql_account.replica_password "$(($(date +%s) + 60))"
    """
    password = __utils__["sqlserver.replication_password"](__utils__["secret.known"](__pillar__))
    with __utils__["sqlserver.local"]() as server:
        source = server.one("SHOW REPLICA STATUS")
        if not source or _stored_password(server) == password:
            return False
        if deadline is None:
            return True
        host = source.get("Source_Host") or source["Master_Host"]
        what = f"{host} accepts the new replication password"
        for _ in __utils__["sqlserver.attempts"](deadline, what):
            if __utils__["sqlserver.accepts"](host, REPLICATION, password, deadline):
                break
        __salt__["mysql_proof.forget"]()
        server.do(f"STOP REPLICA {server.dialect['receiver']}")
        __salt__["mysql_proof.forget"]()  # what the beacon has proved while it was stopping
        try:
            server.all(server.dialect["password"], {"password": password}, secret=True)
        finally:
            server.do("START REPLICA")
    return True


def _stored_password(server):
    if server.dialect["engine"] == "mysql":
        return server.one("SELECT User_password AS password FROM mysql.slave_master_info")[
            "password"
        ]
    datadir = server.one("SELECT @@GLOBAL.datadir AS path")["path"]
    path = os.path.join(datadir, "master.info")
    with salt.utils.files.fopen(path, encoding="utf-8") as file:
        return _parse_master_info(file.read())


def _parse_master_info(text):
    """Return the password in MariaDB's master.info: its sixth line, the first counts the lines."""
    return text.splitlines()[5]
