"""Kernel parameters: a file for the boot, and the same values now, without a process for each."""

from pathlib import Path

import salt.utils.files

PROC = "/proc/sys"


def managed(name, values, optional=None):
    """
    Keep parameters at their values in the running kernel and in a sysctl.d file.

    name
        The file, like /etc/sysctl.d/60-cluster.conf.
    values
        Parameters and values; a parameter that this kernel does not have is a failure.
    optional
        The same for parameters that a kernel may lack; a lacking one is named in the comment.
    """
    optional = optional or {}
    ret = {"name": name, "changes": {}, "result": True, "comment": "all as declared"}
    wanted = {key: str(value) for key, value in {**values, **optional}.items()}
    now = {key: _read(key) for key in wanted}
    changes = {
        key: {"old": now[key], "new": value}
        for key, value in wanted.items()
        if now[key] is not None and now[key].split() != value.split()
    }
    text = _render(values, optional)
    if _content(name) != text:
        changes[name] = {"old": _content(name), "new": text}
    absent = [key for key in wanted if now[key] is None]
    if fatal := [key for key in absent if key not in optional]:
        # In test mode the state that loads their module has not run either.
        result = None if __opts__["test"] else False
        return ret | {"result": result, "comment": f"not in this kernel: {', '.join(fatal)}"}
    if absent:
        ret["comment"] += f"; not in this kernel: {', '.join(absent)}"
    if not changes:
        return ret
    if __opts__["test"]:
        return ret | {"result": None, "changes": changes, "comment": "parameters would be set"}
    return _set(ret, name, text, changes)


def _set(ret, name, text, changes):
    try:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        for key, change in changes.items():
            if key == name:
                with salt.utils.files.fopen(name, "w") as file:
                    file.write(text)
            else:
                _path(key).write_text(change["new"], encoding="ascii")
    except OSError as err:
        return ret | {"result": False, "comment": f"cannot set {key}: {err}"}
    return ret | {"changes": changes, "comment": f"set: {', '.join(changes)}"}


def _path(key):
    """`a.b` or `a/b`, the latter where a name holds a dot (an interface of a VLAN)."""
    return Path(PROC, key if "/" in key else key.replace(".", "/"))


def _read(key):
    try:
        return _path(key).read_text(encoding="ascii")
    except FileNotFoundError:
        return None


def _content(name):
    try:
        return Path(name).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _render(values, optional):
    """A leading "-" lets the boot go on where the kernel lacks a parameter."""
    lines = ["# Managed by Salt."]
    lines += [f"{key} = {value}" for key, value in values.items()]
    lines += [f"-{key} = {value}" for key, value in optional.items()]
    return "\n".join(lines) + "\n"
