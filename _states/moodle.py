"""The site's settings and its one installation, as states."""

from salt.exceptions import CommandExecutionError


def configured(name):
    """
    Keep the settings file as the pillar says. Its content is a secret and never shown.

    name
        The settings file.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        if __salt__["moodle.configured"](name):
            return ret | {"comment": "the settings are as the pillar says"}
        changes = {"old": "other settings or rights", "new": "the pillar's"}
        if __opts__["test"]:
            return ret | {"result": None, "changes": changes,
                          "comment": "the settings would be written"}
        __salt__["moodle.configure"](name)
        done = __salt__["moodle.configured"](name)
    except CommandExecutionError as error:
        return ret | {"result": False, "comment": str(error)}
    comment = "the settings were written" if done else "the settings did not stay as written"
    return ret | {"result": done, "changes": changes, "comment": comment}


def installed(name, deadline=1800):
    """
    Install the site once, into an empty database; never touch one that holds anything.

    name
        The site, for the reader.
    deadline
        Seconds that the installer may take.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        if __salt__["moodle.finished"]():
            return ret | {"comment": "the site was installed before"}
        found = __salt__["moodle.status"]()
        if found["state"] == "installed" and not __salt__["moodle.recorded"]():
            return _adopt(ret, found)
        if __opts__["test"] and found["state"] == "empty":
            return ret | {"result": None, "changes": {"old": "empty", "new": "installed"},
                          "comment": "the site would be installed"}
        done = __salt__["moodle.install"](deadline)
    except CommandExecutionError as error:
        return ret | {"result": False, "comment": str(error)}
    return ret | {
        "changes": {"old": found["state"], "new": done["state"]},
        "comment": f"the site is installed, version {done['version']}",
    }


def _adopt(ret, found):
    """Another VM, or this one before it was rebuilt, installed the site."""
    if not __opts__["test"]:
        __salt__["moodle.record"]("installed")
    return ret | {"comment": f"the site is installed, version {found['version']}"}
