"""The release a web VM serves, as a state."""

from salt.exceptions import CommandExecutionError


def deployed(name, keep=3):
    """
    Serve the release that the masters offer.

    A release of another version than the database is fetched, but not switched to: that is an
    upgrade, and the state fails saying so.

    name
        The folder that holds the releases.
    keep
        How many releases stay on this VM.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        old = __salt__["release.current"](name)
        offer = __salt__["release.wanted"]()
        if old == offer["id"]:
            return ret | {"comment": f"release {old} serves"}
        if __opts__["test"]:
            return ret | {
                "result": None,
                "changes": {"old": old, "new": offer["id"]},
                "comment": f"release {offer['id']} would be fetched from {offer['master']}",
            }
        __salt__["release.fetch"](offer["master"], offer["id"], name)
        __salt__["release.switch"](offer["id"], name)
        __salt__["release.prune"](keep, name)
        new = __salt__["release.current"](name)
    except CommandExecutionError as error:
        return ret | {"result": False, "comment": str(error)}
    return ret | {
        "changes": {"old": old, "new": new},
        "comment": f"release {new}, fetched from {offer['master']}, serves",
    }
