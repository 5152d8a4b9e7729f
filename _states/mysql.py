"""
Configuration of a MySQL or MariaDB server. No state here changes a role (I4): what runs keeps
running, what is read-only stays so, who follows whom is left alone.
"""

import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

PASSWORD_WAIT = 60  # seconds for the primary's state run to bring a new password


def _ret(name, comment=""):
    return {"name": name, "changes": {}, "result": True, "comment": comment}


def _guarded(function):
    """Turn a module's error into a failed state, with empty changes."""

    def state(name, **arguments):
        try:
            return function(name, **arguments)
        except (CommandExecutionError, SaltInvocationError) as error:
            return {**_ret(name, str(error)), "result": False}

    return state


def _done(name, what, act):
    """Do a thing that is due, or say so under test=True."""
    ret = _ret(name, what)
    if __opts__["test"]:
        ret["result"] = None
    else:
        act()
    ret["changes"] = {"old": None, "new": what}
    return ret


def filesystem(name):
    """
    There is an ext4 file system on the device ``name``; made only if the device is blank.
    """
    return _guarded(_filesystem)(name)


def _filesystem(name):
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        if any(line.split()[0] == name for line in mounts):
            return _ret(name, "in use")
    if not __salt__["mysql_data.filesystem"](name, change=False):
        return _ret(name, "there is a file system")
    return _done(name, "ext4 made", lambda: __salt__["mysql_data.filesystem"](name))


def initialised(name, engine):
    """
    The directory ``name`` is a data directory; one is made only if the directory is blank.
    """
    return _guarded(_initialised)(name, engine=engine)


def _initialised(name, engine):
    if not __salt__["mysql_data.blank"](name):
        return _ret(name, "there is data")
    make = __salt__["mysql_data.initialise"]
    return _done(name, f"{engine} data directory made", lambda: make(name, engine))


def ours(name, server_id):
    """
    No server runs from a package's own configuration: the service ``name`` is stopped if it does.

    That is a blank server just installed, known by another ``server_id``. One that holds data is
    never stopped: the state fails, and an operator has to look.
    """
    return _guarded(_ours)(name, server_id=server_id)


def _ours(name, server_id):
    try:
        status = __salt__["mysql_replication.status"]()
    except CommandExecutionError:
        return _ret(name, "no server answers")
    if status["server_id"] == server_id:
        return _ret(name, "the server runs with the cluster's configuration")
    if not status["blank"]:
        raise CommandExecutionError(
            f"a server with data runs without the cluster's configuration (server_id"
            f" {status['server_id']} instead of {server_id}); stop it when that is safe"
        )
    return _done(name, "the package's blank server stopped", lambda: __salt__["service.stop"](name))


def accounts_present(name):
    """
    The cluster's accounts on this server, primary or replica, are as the pillar says.

    Passwords are read from the pillar by the module, so they are in no argument.
    """
    return _guarded(_accounts_present)(name)


def _accounts_present(name):
    due = __salt__["mysql_account.present"](change=False)
    if not due:
        return _ret(name, "accounts are as the pillar says")
    return _done(name, ", ".join(due), __salt__["mysql_account.present"])


def replica_password(name):
    """
    The replica uses the pillar's replication password, once its source accepts it.
    """
    return _guarded(_replica_password)(name)


def _replica_password(name):
    if not __salt__["mysql_account.replica_password"]():
        return _ret(name, "nothing to change")
    deadline = time.time() + PASSWORD_WAIT
    change = __salt__["mysql_account.replica_password"]
    return _done(name, "replication password changed", lambda: change(deadline))
