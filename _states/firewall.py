"""The packet filter: loaded now and at boot, where the kernel has nf_tables for IPv4."""

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "firewall.load" in __salt__:
        return "firewall"
    return False, "the firewall execution module is not available (nft missing)"


def loaded(name, table, service):
    """
    Keep a table of a file loaded, and the service enabled that loads the file at boot.

    On a kernel without nf_tables nothing is loaded and the comment says so. A file that is not what
    was loaded last is loaded, so a load that failed is tried again by every further run.

    name
        The file, like /etc/nftables.conf.
    table
        A table that the file makes, with its family, like ``inet cluster``.
    service
        The service that loads the file at boot.
    """
    return _loaded(name, table, service, changed=False)


def mod_watch(name, table, service, sfun=None, **_kwargs):
    """
    Load the file again because it changed.

    CLI Example: called by ``watch`` only.
    """
    return _loaded(name, table, service, changed=True)


def _loaded(name, table, service, changed):
    ret = {"name": name, "changes": {}, "result": True, "comment": f"table {table} is loaded"}
    try:
        if missing := __salt__["firewall.unavailable"]():
            return ret | {"comment": f"not loaded, this kernel has no IPv4 filter: {missing}"}
        changes = {}
        kept = not changed and __salt__["firewall.loaded"](table)
        if not kept or not __salt__["firewall.current"](name):
            changes["table"] = {"old": None, "new": f"{table} from {name}"}
        if not __salt__["service.enabled"](service):
            changes["service"] = {"old": "disabled", "new": "enabled"}
        if not changes:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "changes": changes, "comment": f"{name} would be loaded"}
        if "table" in changes:
            __salt__["firewall.load"](name)
        if "service" in changes and not __salt__["service.enable"](service):
            raise CommandExecutionError(f"{service} cannot be enabled")
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": str(err)}
    return ret | {"changes": changes, "comment": f"{name} was loaded"}
