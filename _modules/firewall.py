"""
The packet filter through `nft`, where the kernel has one.

Every function raises CommandExecutionError, naming command and stderr, when nft cannot be run.
"""

import hashlib
import os
import subprocess

import salt.utils.path
from salt.exceptions import CommandExecutionError

PROBE = "add table ip cluster_probe"
# The one answer of a kernel built without nf_tables for IPv4; any other failure is a fault.
NO_FILTER = "Error: Could not process rule: Operation not supported"
# What was loaded last, as a hash; it outlasts a boot, which loads the same file.
NOTE = "/var/lib/cluster/nftables.loaded"


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

    Raises CommandExecutionError if nft fails for any other reason: unknown is not "no filter".

    CLI Example::

        salt lb1 firewall.unavailable
    """
    done = _run("-c", PROBE)
    if done.returncode == 0:
        return None
    told = f"nft -c '{PROBE}': {(done.stderr.strip() or '?').splitlines()[0]}"
    if not done.stderr.startswith(NO_FILTER):
        raise CommandExecutionError(told)
    return told


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


def current(path):
    """
    Return True if the file is, byte for byte, what `load` loaded last.

    Raises CommandExecutionError if it cannot be read.

    CLI Example::

        salt lb1 firewall.current /etc/nftables.conf
    """
    try:
        with open(NOTE, encoding="ascii") as note:
            known = note.read().strip()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as err:
        raise CommandExecutionError(f"what was loaded last cannot be told: {err}") from err
    return known == _hash(path)


def load(path):
    """
    Load a file in one transaction, all of it or none, and note what was loaded.

    CLI Example::

        salt lb1 firewall.load /etc/nftables.conf
    """
    loading = _hash(path)
    done = _run("-f", path)
    if done.returncode:
        raise CommandExecutionError(f"nft -f {path}: {done.stderr.strip()}")
    try:
        os.makedirs(os.path.dirname(NOTE), mode=0o755, exist_ok=True)
        with open(f"{NOTE}.new", "w", encoding="ascii") as note:
            note.write(f"{loading}\n")
        os.replace(f"{NOTE}.new", NOTE)  # torn by a power cut it fits no file, and is loaded again
    except OSError as err:
        raise CommandExecutionError(f"{path} is loaded, but not noted as such: {err}") from err


def _hash(path):
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as err:
        raise CommandExecutionError(f"cannot read {path}: {err}") from err
