"""
The packet filter through `nft`, where the kernel has one.

Every function raises CommandExecutionError, naming command and stderr, when nft cannot be run.
"""

import subprocess

import salt.utils.path
from salt.exceptions import CommandExecutionError

PROBE = "add table ip cluster_probe"


def __virtual__():
    if salt.utils.path.which("nft"):
        return "firewall"
    return False, "nft (nftables) is not installed"


def _run(*args):
    command = ["nft", *args]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise CommandExecutionError(f"{' '.join(command)}: {err}") from err


def unavailable():
    """
    Return None if this kernel filters IPv4 by nf_tables, else what nft says of a table's dry run.

    CLI Example::

        salt lb1 firewall.unavailable
    """
    done = _run("-c", PROBE)
    if done.returncode == 0:
        return None
    return f"nft -c '{PROBE}': {(done.stderr.strip() or '?').splitlines()[0]}"


def loaded(table):
    """
    Return True if the kernel holds a table, named with its family.

    CLI Example::

        salt lb1 firewall.loaded 'inet cluster'
    """
    done = _run("list", "tables")
    if done.returncode:
        raise CommandExecutionError(f"nft list tables: {done.stderr.strip()}")
    return f"table {table}" in done.stdout.splitlines()


def load(path):
    """
    Load a file in one transaction: all of it, or none.

    CLI Example::

        salt lb1 firewall.load /etc/nftables.conf
    """
    done = _run("-f", path)
    if done.returncode:
        raise CommandExecutionError(f"nft -f {path}: {done.stderr.strip()}")
