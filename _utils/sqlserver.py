"""
One connection to a MySQL or MariaDB server, for the execution modules that speak to it.

The local server is reached as root through its unix socket, where the kernel vouches for the
caller: no password is needed. Remote ones are reached with TLS, their address verified. Every
error names the statement and never its arguments.
"""

import contextlib
import glob
import socket
import struct
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    import pymysql
except ImportError:
    pymysql = None

SOCKET = "/run/mysqld/mysqld.sock"
GROUPS = "/sys/fs/cgroup/system.slice/m[ya][sr]*.service/cgroup.procs"
SERVERS = ("mysqld", "mariadbd")
PORT = 3306
CA = "/etc/mysql/tls/ca.crt"
PATIENCE = 10  # seconds for a statement where the caller gave no deadline
SHORTEST = 0.05  # seconds for a statement after the deadline: an answer that is there is read
INTERVAL = 0.05  # seconds between two looks at something awaited
ACCESS_DENIED = 1045

# What the two engines call the same thing: names of variables and columns, and statements.
MYSQL = {
    "engine": "mysql",
    "passive": ["SET GLOBAL super_read_only = ON"],
    "writable": ["SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF"],
    "administrator": ["SET GLOBAL super_read_only = OFF"],  # leaves read_only on
    "source": "rpl_semi_sync_source_enabled",
    "executed": "SELECT @@GLOBAL.gtid_executed AS executed, @@GLOBAL.gtid_purged AS purged",
    "semi_sync": "Rpl_semi_sync_source",
    "replica_status": "Rpl_semi_sync_replica_status",
    "prefix": "Source",
    "received": "Retrieved_Gtid_Set",
    "follow": (
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = %(host)s, SOURCE_PORT = %(port)s,"
        " SOURCE_USER = %(user)s, SOURCE_PASSWORD = %(password)s, SOURCE_AUTO_POSITION = 1,"
        " SOURCE_SSL = 1, SOURCE_SSL_CA = %(ca)s, SOURCE_SSL_VERIFY_SERVER_CERT = 1,"
        " SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 0, SOURCE_HEARTBEAT_PERIOD = 1"
    ),
    "receiver": "IO_THREAD",  # what has to stop while the password changes
    "password": "CHANGE REPLICATION SOURCE TO SOURCE_PASSWORD = %(password)s",
}

_CHANGE_MASTER = (
    "CHANGE MASTER TO MASTER_HOST = %(host)s, MASTER_PORT = %(port)s,"
    " MASTER_USER = %(user)s, MASTER_PASSWORD = %(password)s,"
    " MASTER_SSL = 1, MASTER_SSL_CA = %(ca)s, MASTER_SSL_VERIFY_SERVER_CERT = 1,"
    " MASTER_CONNECT_RETRY = 1, MASTER_HEARTBEAT_PERIOD = 1, "
)
MARIADB = {
    "engine": "mariadb",
    "passive": ["SET GLOBAL read_only = ON"],
    "writable": ["SET GLOBAL read_only = OFF"],
    "administrator": [],
    "source": "rpl_semi_sync_master_enabled",
    "executed": (
        "SELECT CONCAT_WS(',', NULLIF(@@GLOBAL.gtid_binlog_state, ''),"
        " NULLIF(@@GLOBAL.gtid_slave_pos, '')) AS executed, '' AS purged"
    ),
    "semi_sync": "Rpl_semi_sync_master",
    "replica_status": "Rpl_semi_sync_slave_status",
    "prefix": "Master",
    "received": "Gtid_IO_Pos",
    "follow": _CHANGE_MASTER + "MASTER_USE_GTID = slave_pos",
    # What a former primary wrote itself counts as replicated, too.
    "demoted": _CHANGE_MASTER + "MASTER_USE_GTID = slave_pos, MASTER_DEMOTE_TO_SLAVE = 1",
    "receiver": "",
    "password": "CHANGE MASTER TO MASTER_PASSWORD = %(password)s",
}


def available():
    """Return whether PyMySQL is installed."""
    return pymysql is not None


def dialect(version):
    """Return the table for a server that calls itself ``version``."""
    return dict(MARIADB if "mariadb" in version.lower() else MYSQL)


class StatementError(CommandExecutionError):
    """The server refused a connection or a statement; ``code`` is its error number, or 0."""

    def __init__(self, message, error):
        super().__init__(message)
        self.code = error.args[0] if error.args else 0


class Server:
    """A connection that commits by itself and gives up at ``deadline`` (Unix seconds)."""

    def __init__(self, deadline=None, **where):
        self.deadline = deadline
        left = self._left()
        where = where or {"unix_socket": SOCKET, "user": "root"}
        self.name = where.get("host", "the local server")
        try:
            self.connection = pymysql.connect(
                **where,
                charset="utf8mb4",
                autocommit=True,
                cursorclass=pymysql.cursors.DictCursor,
                connect_timeout=min(PATIENCE, left),
                read_timeout=left,
                init_command="SET SESSION lock_wait_timeout = 1",
            )
        except (pymysql.Error, OSError) as error:
            raise StatementError(f"cannot connect to {self.name}: {error}", error) from error
        self.version = self.connection.get_server_info()
        self.dialect = dialect(self.version)

    def _left(self):
        return PATIENCE if self.deadline is None else max(SHORTEST, self.deadline - time.time())

    def all(self, statement, arguments=None, secret=False):
        """Return the rows; ``secret``: the server's message may quote a password, leave it out."""
        # PyMySQL has no public way to change it, and the time left shrinks with every statement.
        self.connection._read_timeout = self._left()
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(statement, arguments)
                return list(cursor.fetchall())
        except (pymysql.Error, OSError) as error:
            told = f"error {error.args[:1]}" if secret else error
            raise StatementError(f"{self.name}: {statement}: {told}", error) from (
                None if secret else error
            )

    def one(self, statement, arguments=None):
        """Return the first row, or None."""
        rows = self.all(statement, arguments)
        return rows[0] if rows else None

    def do(self, *statements):
        """Execute statements without arguments, one after the other."""
        for statement in statements:
            self.all(statement)

    def pairs(self, statement):
        """Return the answer of SHOW VARIABLES or SHOW STATUS as a dict."""
        return {row["Variable_name"]: row["Value"] for row in self.all(statement)}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        with contextlib.suppress(pymysql.Error, OSError):
            self.connection.close()


def process(timeout=0.05):
    """
    Return ``{"pid", "started", "state"}`` of the server listening at the socket, None if none does.

    The kernel knows it, so this answers for a hung server, too. ``state`` is ps's letter, T for
    one that was stopped; ``started`` tells a server from a later one with the same pid. A server
    that hangs for long has a full queue: then it is the one in systemd's group.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(SOCKET)
            size = struct.calcsize("3i")
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError:
            return _grouped()
    return alive(struct.unpack("3i", peer)[0])


def _grouped():
    """Return the server that systemd has started, see `process`."""
    for path in glob.glob(GROUPS):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            for pid in map(int, file.read().split()):
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as name:
                    if name.read().strip() in SERVERS:
                        return alive(pid)


def alive(pid):
    """Return ``{"pid", "started", "state"}`` of a process, None if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] == "Z":
        return None
    return {"pid": pid, "started": int(fields[19]), "state": fields[0]}


def same(one, other):
    """Return whether two descriptions are of the same process, whatever it does; None is none."""
    return bool(one and other) and all(one[key] == other[key] for key in ("pid", "started"))


def local(deadline=None):
    """Return a connection to this VM's server, to be used in a ``with`` block."""
    return Server(deadline)


def remote(host, user, password, deadline=None):
    """Return a connection to another VM's server, with TLS, its certificate and name verified."""
    # Bytes, because PyMySQL would encode text as Latin-1.
    ssl = {"ca": CA, "check_hostname": True}
    return Server(deadline, host=host, port=PORT, user=user, password=password.encode(), ssl=ssl)


def accepts(host, user, password, deadline=None):
    """Return whether a server accepts the password; raises if that cannot be told."""
    try:
        with remote(host, user, password, deadline):
            return True
    except StatementError as error:
        if error.code == ACCESS_DENIED:
            return False
        raise


def attempts(deadline, what):
    """
    Yield until ``deadline`` (Unix seconds), then raise, naming what was awaited.

    For a loop in the module that waits: a function passed in here would be run by Salt's loader
    without the module's own ``__utils__`` and ``__pillar__``.
    """
    while True:
        yield
        if time.time() + INTERVAL > deadline:
            raise CommandExecutionError(f"not before the deadline: {what}")
        time.sleep(INTERVAL)


def replication_password(secrets):
    """Return the replication password of ``pillar["secrets"]``; raises SaltInvocationError."""
    password = secrets["database"]["replication"]
    if len(password.encode()) > 32:
        # Said here, because the server's own message would quote it.
        raise SaltInvocationError("secrets.database.replication has more than 32 bytes")
    return password
