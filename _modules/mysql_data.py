"""
The data directory of a MySQL or MariaDB server, and the file system below it, before their first
use. Nothing is written to a directory or a device that is not blank.

A new data directory is made in ``.initialising`` inside the directory, renamed to ``.initialised``
when complete, and moved up from there, ``mysql`` last. So a power cut at any moment leaves either
something that is thrown away, or something that the next run completes.
"""

import ipaddress
import os
import shutil

from salt.exceptions import CommandExecutionError, SaltInvocationError

PARTIAL, COMPLETE = ".initialising", ".initialised"
IGNORED = {"lost+found", PARTIAL, COMPLETE}
# The kernel vouches for root on the unix socket; the account has no password and needs none.
ROOT_BY_SOCKET = (
    "INSTALL PLUGIN auth_socket SONAME 'auth_socket.so';\n"
    "ALTER USER root@localhost IDENTIFIED WITH auth_socket;\n"
)


def __virtual__():
    return "mysql_data"


def _run(*command):
    return __utils__["command.output"](command, timeout=600)


def blank(directory):
    """
    Return True for an empty or half initialised directory, False for one with a server's data.

    Raises CommandExecutionError for a directory that holds anything else, or cannot be read.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_data.blank /var/lib/mysql
    """
    try:
        found = set(os.listdir(directory))
    except OSError as error:
        raise CommandExecutionError(f"{directory} cannot be read: {error}") from error
    if COMPLETE in found:
        return True
    if "mysql" in found:
        return False
    if found - IGNORED:
        some = ", ".join(sorted(found - IGNORED)[:5])
        raise CommandExecutionError(f"{directory} is neither blank nor a data directory: {some}")
    return True


def initialise(directory, engine):
    """
    Make a data directory in a blank ``directory``, with no account but root@localhost by socket.

    Nothing of it is in a binary log, so a new server has executed no transaction. Raises
    CommandExecutionError if the directory is not blank or the engine's own tool fails.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_data.initialise /var/lib/mysql mysql
    """
    if engine not in ("mysql", "mariadb"):
        raise SaltInvocationError(f"{engine!r} is no engine; mysql or mariadb")
    if not blank(directory):
        raise CommandExecutionError(f"{directory} holds a server's data")
    partial, complete = os.path.join(directory, PARTIAL), os.path.join(directory, COMPLETE)
    if not os.path.isdir(complete):
        _initialise(partial, engine)
        os.sync()  # or a power cut could leave the name "complete" on files that are still empty
        os.rename(partial, complete)
    # "mysql" is what tells a data directory from a blank one.
    for entry in sorted(os.listdir(complete), key=lambda name: name == "mysql"):
        os.rename(os.path.join(complete, entry), os.path.join(directory, entry))
    os.rmdir(complete)
    os.sync()


def _initialise(directory, engine):
    shutil.rmtree(directory, ignore_errors=True)
    os.mkdir(directory, mode=0o700)
    shutil.chown(directory, "mysql", "mysql")
    if engine == "mariadb":
        _run(
            *("mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={directory}"),
            *("--auth-root-authentication-method=socket", "--auth-root-socket-user=root"),
            *("--skip-test-db", "--skip-name-resolve", "--skip-log-bin"),
        )
        return
    statements = os.path.join(directory + ".sql")
    with open(statements, "w", encoding="ascii") as file:
        file.write(ROOT_BY_SOCKET)
    try:
        shutil.chown(statements, "mysql", "mysql")
        _run(
            *("mysqld", "--no-defaults", "--user=mysql", f"--datadir={directory}"),
            *("--skip-log-bin", "--secure-file-priv=NULL", "--initialize-insecure"),
            f"--init-file={statements}",
        )
    finally:
        os.unlink(statements)


def filesystem(device, change=True):
    """
    Make an ext4 file system on a blank device; return True if one was made (or would be).

    Nothing happens on a device that carries ext4 already. Raises CommandExecutionError for one
    that carries anything else or cannot be examined.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_data.filesystem /dev/vdb change=False
    """
    if [entry["type"] for entry in __salt__["blockdevice.signatures"](device)] == ["ext4"]:
        return False
    found = __salt__["blockdevice.blank"](device)
    if found["blank"] is not True:
        raise CommandExecutionError(f"no file system is made: {found['reason']}")
    if change:
        _run("mkfs.ext4", "-q", "-L", "database", device)
    return True


def server_id():
    """
    Return this VM's server id: its replication address as a number, so no two are alike.

    CLI Example:

    .. code-block:: bash

        salt db1 mysql_data.server_id
    """
    cluster, name = __pillar__["cluster"], __grains__["id"]
    address = __utils__["topology.traffic_address"](cluster, name, "replication")
    return int(ipaddress.IPv4Address(address))
