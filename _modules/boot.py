"""
What a minion's beacons need before it has reached a master, and what Salt runs after its code
changed.

Beacons run from the first second (`beacons_before_connect`), because a VM may boot while the first
master is dead. Their functions are those of that second: without a pillar, and later without the
modules that a state run brought. So the pillar they need is kept on this VM's disk, and the states
of the component `minion` have the beacons loaded anew when it or the code changes. A master keeps
the code of its start, too.
"""

import glob
import hashlib
import json
import os

from salt.exceptions import CommandExecutionError

PILLAR = "/etc/cluster/pillar.json"  # 0600; written by the states
KINDS = ("beacons", "modules", "utils")
TREE = "/srv/cluster"
# Folders of the tree whose files a master loads once.
MASTERS = ("_engines", "_modules", "_pillar", "_runners", "_utils", "reactor")
STARTED = "/run/salt-master.pid"


def pillar():
    """
    Take the pillar from this VM's disk if no master has given a right one; return whether there is
    one. The errors of a wrong one stay in it: state runs are refused all the same.

    Raises CommandExecutionError if the copy cannot be read; absent before the first state run.

    CLI Example:

    .. code-block:: bash

        salt db1 boot.pillar
    """
    if "cluster" in __pillar__ and "secrets" in __pillar__ and "_errors" not in __pillar__:
        return True
    try:
        with open(PILLAR, encoding="utf-8") as file:
            kept = json.load(file)
    except FileNotFoundError:
        return "cluster" in __pillar__
    except (OSError, ValueError) as error:
        raise CommandExecutionError(f"cannot read {PILLAR}: {error}") from error
    for key, value in kept.items():
        __pillar__[key] = value
    return "cluster" in kept


def code():
    """
    Return a hash of the custom modules that the masters have sent to this minion.

    CLI Example:

    .. code-block:: bash

        salt db1 boot.code
    """
    found = hashlib.sha256()
    for kind in KINDS:
        folder = os.path.join(__opts__["extension_modules"], kind)
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".py"):
                with open(path, "rb") as file:
                    found.update(f"{kind}/{name} ".encode() + hashlib.sha256(file.read()).digest())
    return found.hexdigest()


def master_is_older():
    """
    Return whether the master of this VM was started before the code it decides by came here.

    CLI Example:

    .. code-block:: bash

        salt 'lb*' boot.master_is_older
    """
    try:
        started = os.stat(STARTED).st_ctime
    except FileNotFoundError:
        return False  # none runs; it will start with what there is
    return any(
        os.stat(path).st_ctime > started
        for folder in MASTERS
        for kind in ("py", "sls")
        for path in glob.glob(os.path.join(TREE, folder, f"*.{kind}"))
    )
