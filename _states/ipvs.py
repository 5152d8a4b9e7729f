"""
The IPVS table and its connection-sync daemons, as declared.

A state never moves a role (I4). A real server's weight at run time belongs to whoever drained it
or took it out as failed: a state sets it only if the *declared* weight is another than last time
(the boot file remembers), and never where it is 0.

poold cuts a web VM off by taking it out of the table and putting it back at 0 a moment later. Seen
in between, the table differs, and what would mend it fails: so a difference is looked at again.
"""

import time

from salt.exceptions import CommandExecutionError

ATTEMPTS, PAUSE = 5, 0.3  # seconds; poold's rest in between is shorter


def __virtual__():
    if "ipvs.services" in __salt__:
        return "ipvs"
    return False, "the ipvs execution module is not available (ipvsadm missing)"


def table_present(name, services=None):
    """
    Make the kernel's table the declared one, and the boot file too.

    Adds and removes services and real servers, changes schedulers, flags and methods, all by one
    read and one write. What is not declared is removed.

    name
        The boot file, like /etc/ipvsadm.rules.
    services
        The table, in the form of ``ipvs.services``; by default what the pillar declares.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "the table is as declared"}
    services = services or __salt__["ipvs.declared"]()
    try:
        saved = __salt__["ipvs.saved"](name)
        plan = _plan(services, saved)
        changes = dict(plan["changes"])
        if saved != services:
            rules = __utils__["ipvs.rules"]
            changes["boot file"] = {"old": saved and rules(saved), "new": rules(services)}
        if not changes:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "changes": changes, "comment": "the table would change"}
        _change(name, services, saved, plan["lines"])
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": str(err)}
    return ret | {"changes": changes, "comment": "the table was changed as declared"}


def _plan(services, saved):
    """Return what is to be changed; a difference counts if it is there a moment later, too."""
    for pause in (PAUSE, 0):
        plan = __utils__["ipvs.plan"](services, __salt__["ipvs.services"](), saved or [])
        if not plan["lines"]:
            break
        time.sleep(pause)
    return plan


def _change(name, services, saved, lines):
    """Apply, verify by reading again, and only then remember what was declared."""
    for _ in range(ATTEMPTS):
        problem = f"the IPVS table still differs by: {'; '.join(lines)}"
        try:
            __salt__["ipvs.apply"](lines)
        except CommandExecutionError as err:
            problem = str(err)
        lines = _plan(services, saved)["lines"]
        if not lines:
            return __salt__["ipvs.save"](services, name)
    raise CommandExecutionError(problem)


def sync_daemons_present(name, interface, sync_id):
    """
    Keep both connection-sync daemons running, master and backup, so that either balancer may serve.

    name
        A label only.
    interface
        Network interface of the multicast.
    sync_id
        Number of this pair of balancers (1 to 255), the same on both.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": "both daemons run"}
    wanted = {"interface": interface, "sync_id": sync_id}
    try:
        now = __salt__["ipvs.daemons"]()
        wrong = [role for role in ("master", "backup") if now.get(role) != wanted]
        changes = {role: {"old": now.get(role), "new": wanted} for role in wrong}
        if not wrong:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "changes": changes, "comment": "daemons would start"}
        for role in wrong:
            if role in now:
                __salt__["ipvs.stop_daemon"](role)
            __salt__["ipvs.start_daemon"](role, interface, sync_id)
        if __salt__["ipvs.daemons"]() != {"master": wanted, "backup": wanted}:
            raise CommandExecutionError("the sync daemons do not run as declared")
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": str(err)}
    return ret | {"changes": changes, "comment": f"started: {', '.join(wrong)}"}
