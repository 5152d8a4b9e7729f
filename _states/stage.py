"""The stage of a master as a state: what the pillar names is what the web VMs are offered."""

from salt.exceptions import CommandExecutionError, SaltInvocationError


def present(name, source):
    """
    Offer the source's tree to the web VMs.

    name
        The folder of the stage.
    source
        The pillar's ``moodle: source:``.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        old = __salt__["stage.current"](name)
        planned = __salt__["stage.planned"](source, name)
        if old and old == planned:
            return ret | {"comment": f"release {old} is on offer"}
        if __opts__["test"]:
            return ret | {
                "result": None,
                "changes": {"old": old, "new": planned},
                "comment": f"release {planned or 'of unknown id'} would be staged",
            }
        __salt__["stage.put"](source, name)
        new = __salt__["stage.current"](name)
    except (CommandExecutionError, SaltInvocationError) as error:
        return ret | {"result": False, "comment": str(error)}
    changes = {"old": old, "new": new} if new != old else {}
    return ret | {"changes": changes, "comment": f"release {new} is on offer"}
