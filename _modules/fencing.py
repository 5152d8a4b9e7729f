"""
Switch a VM off for certain, with Debian's fence agents: what the driver ``fencing`` asks for
instead of a third machine.

Every agent speaks alike: ``key=value`` lines on standard input (so no password reaches argv), exit
code 0 for done and for "on", 2 for "off". That an agent says "done" is no proof. Off is what it
says when asked for the status afterwards, and what is not heard any more; an agent that lies,
hangs or refuses is followed by the next one: first those of the VM, then those of its server.

Two balancers that lost each other must switch off neither each other nor each other's copy of the
data. So the other balancer answers, or goes off before anything else does; and who did not hold the
director when they last heard each other waits ``cluster.fencing.delay`` before it does that, and is
dead by then if the other is at work.
"""

import json
import os
import signal
import subprocess
import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

DIRECTORY = "/usr/sbin"
# Seconds: for one call of an agent (too short errs towards the next one, which is harmless), and
# between two looks at what is going off.
TIMEOUT = 20
INTERVAL = 0.2
DONE, OFF = 0, 2


def __virtual__():
    return "fencing"


def off(vm, silent=False, confirmed=False):
    """
    Switch the VM ``vm`` off, or the whole server it runs on, and verify it.

    silent: only while it is not heard, which is asked before each try. confirmed: an operator's
    word stands in for a power-off that cannot be verified. Return ``{"off": [VMs
    that are off now], "level": "vm" or "server", "device": name, "seconds": float, "tried": [what
    did not help]}``. Raises CommandExecutionError naming what every agent said or who is heard,
    SaltInvocationError if there is no such VM or it is this one.

    CLI Example:

    .. code-block:: bash

        salt lb1 fencing.off file2
    """
    methods, began, tried = _methods(vm), time.monotonic(), []
    if __pillar__["cluster"]["vms"][vm]["role"] != "balancer":
        if silent:
            __salt__["copies.secure"](vm)
    elif methods and not _is_preferred():
        time.sleep(__pillar__["cluster"]["fencing"]["delay"])  # if the other is at work, we die
    for level, names, method in methods:
        _refuse_living(vm, silent)
        if problem := _cut(method, names):
            tried.append(f"{method['device']} ({level}): {problem}")
            continue
        seconds = round(time.monotonic() - began, 3)
        return {"off": names, "level": level, "device": method["device"], "seconds": seconds,
                "tried": tried}  # fmt: skip
    _refuse_living(vm, silent)
    if confirmed:
        return {"off": [vm], "level": "word", "device": "an operator's word", "tried": tried}
    why = "; ".join(tried) or "the pillar names no fence device for it, nor for its server"
    way = f"if it is off: salt-run ha.confirm_dead {vm}, or confirm_dead={vm} behind lose_writes_of"
    raise CommandExecutionError(f"{vm} could not be switched off for certain: {why}; {way}")


def status(vm):
    """
    Return what each device that can switch ``vm`` or its server says: "on", "off" or its problem.

    CLI Example:

    .. code-block:: bash

        salt lb1 fencing.status file2
    """
    said = {}
    for level, _, method in _methods(vm):
        for plug in _plugs(method):
            code, problem = _call(method["device"], "status", plug)
            word = {DONE: "on", OFF: "off"}.get(code, problem)
            said[f"{method['device']} {plug} ({level})"] = word
    return said


def packages():
    """
    Return the Debian packages that hold the agents of the pillar's devices, sorted.

    CLI Example:

    .. code-block:: bash

        salt lb1 fencing.packages
    """
    devices = __pillar__["cluster"]["fencing"]["devices"].values()
    found = {
        one.get("package", one["agent"].replace("_", "-").replace("fence", "fence-agents", 1))
        for one in devices
    }
    return sorted(found - {""})


def _refuse_living(vm, silent):
    if silent and not __salt__["heartbeat.unreachable"](vm):
        raise CommandExecutionError(f"{vm} is heard: it is not switched off")


def _is_preferred():
    """Return whether this VM held the director when the balancers last agreed: one of them did."""
    record, _ = __salt__["copies.agreed"]("director")
    return bool(record) and json.loads(record)["holder"] == __grains__["id"]


def _methods(vm):
    """Return ``(level, VMs it switches off, method)`` in the order in which they are tried."""
    cluster, me = __pillar__["cluster"], __grains__["id"]
    known = {entry["name"]: entry["server"] for entry in __utils__["topology.vms"](cluster)}
    if vm not in known or vm == me:
        raise SaltInvocationError(f"{vm!r} is no other VM of this cluster")
    config, server = cluster.get("fencing") or {}, known[vm]
    found = [("vm", [vm], method) for method in config.get("vms", {}).get(vm, [])]
    if server is not None and server != known[me]:  # never the server that this VM stands on
        whole = [name for name, where in known.items() if where == server]
        found += [("server", whole, one) for one in config.get("servers", {}).get(server, [])]
    return found


def _cut(method, names):
    """Switch off and verify; return None, or why this is not certain."""
    for plug in _plugs(method):
        said = _call(method["device"], "off", plug)[1]
        if problem := _until_off(method["device"], plug):
            return f"{said}; {problem}" if said else problem
    return _heard(names)


def _until_off(device, plug):
    ends = time.monotonic() + TIMEOUT
    while True:
        code, problem = _call(device, "status", plug)
        if code == OFF:
            return None
        if problem or time.monotonic() > ends:
            return problem or f"plug {plug} is still on"
        time.sleep(INTERVAL)  # until the status says off, or the deadline


def _heard(names):
    """Return which of the VMs still sends heartbeats although it is said to be off, or None."""
    cut = time.clock_gettime(time.CLOCK_BOOTTIME)
    time.sleep(3 * __pillar__["cluster"]["heartbeat"]["keepalive"])  # three beats are missing then
    try:
        view = __salt__["heartbeat.view"]()
    except CommandExecutionError:
        return None  # it hears nobody: the device's word stands alone
    alive = [
        name
        for name in names
        if name in view["peers"] and view["at"] - view["peers"][name]["silence"] > cut
    ]
    return f"said to be off, but heard: {', '.join(alive)}" if alive else None


def _plugs(method):
    plug = method["plug"]
    return plug if isinstance(plug, list) else [plug]


def _call(device, action, plug):
    """Return ``(exit code or None, what went wrong or None)`` of one call of an agent."""
    config = __pillar__["cluster"]["fencing"]["devices"][device]
    password = (__pillar__.get("secrets", {}).get("fencing") or {}).get(device)
    given = {**config.get("options", {}), "action": action, "plug": plug}
    if password is not None:
        given["password"] = password
    lines = "".join(f"{key}={value}\n" for key, value in given.items())
    code, text = _run(config["agent"], lines, config.get("timeout", TIMEOUT))
    if code in ((DONE,) if action == "off" else (DONE, OFF)):
        return code, None
    if password:
        text = text.replace(password, "***")
    return code, f"{config['agent']} action={action} plug={plug}: {text}"


def _run(agent, lines, timeout):
    """Return ``(exit code or None, last line it said)``; what hangs is killed with its children."""
    path = os.path.join(DIRECTORY, agent)
    try:
        process = subprocess.Popen(
            [path], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return None, f"cannot be run ({error.strerror}); is the package fence-agents installed?"
    try:
        said = process.communicate(lines, timeout=timeout)[1].strip().splitlines()
        return process.returncode, (said or [f"exit code {process.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, f"no answer within {timeout} s"
