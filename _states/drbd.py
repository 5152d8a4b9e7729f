"""
DRBD resources as configuration: metadata on a blank disk, up, options as the file says.

The role is never touched (I4), nor is a side that is StandAlone or without its disk: somebody, or
an error, made it so, and a state run is not who decides that it is over. A blank disk is a new one.
"""

from salt.exceptions import CommandExecutionError

RUNTIME = {"connect", "attach"}  # what adjust would do to a side that was taken apart


def present(name):
    """
    Have the DRBD resource ``name`` up, with metadata, running with the options of its file.

    Metadata is written onto a blank device only. A resource comes up as Secondary.

    .. code-block:: yaml

        drbd-resource-up:
          drbd.present:
            - name: r0
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name} is up as configured"}
    try:
        now, todo, notes = _plan(name)
        if notes:
            ret["warnings"] = notes
        if not todo:
            return ret
        ret["changes"] = {name: {"old": _words(now), "new": ", ".join(todo)}}
        if __opts__["test"]:
            return {**ret, "result": None, "comment": f"{name}: would be done: {', '.join(todo)}"}
        ret["changes"] = {}
        _act(name, todo)
        after = __salt__["drbd.status"](name)
        ret["changes"] = {name: {"old": _words(now), "new": f"{', '.join(todo)}: {_words(after)}"}}
    except CommandExecutionError as err:
        return {**ret, "result": False, "comment": str(err)}
    return {**ret, "comment": f"{name}: {', '.join(todo)}"}


def _words(now):
    return now["reason"]


def _plan(name):
    """Return (status, what to do, what is left to an operator)."""
    now = __salt__["drbd.status"](name)
    if not now["configured"]:
        return now, [*_metadata(name), "up"], []
    pending = __salt__["drbd.pending"](name)
    if now["disk"] == "Diskless" and __salt__["drbd.metadata"](name) is False:
        return now, [*_metadata(name), "adjust"], []
    if RUNTIME & set(pending):
        return now, [], [f"{name} is left as it is ({now['reason']}); pending: {pending}"]
    return now, ["adjust"] if pending else [], []


def _metadata(name):
    """Return ["create metadata"] for a blank disk, [] for one that has it; raise otherwise."""
    found = __salt__["drbd.metadata"](name)
    if found is True:
        return []
    device = __salt__["drbd.device"](name)
    answer = __salt__["blockdevice.blank"](device)
    if found is None or answer["blank"] is not True:
        raise CommandExecutionError(f"{name}: no metadata is written: {answer['reason']}")
    return ["create metadata"]


def _act(name, todo):
    actions = {"create metadata": "create_metadata", "up": "up", "adjust": "adjust"}
    for action in todo:
        __salt__[f"drbd.{actions[action]}"](name)
