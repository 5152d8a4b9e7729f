"""
DRBD: what a resource is doing, its metadata, its connection and its role.

One volume, one peer. DRBD 9 reports as JSON; the 8.4 kernel module (drbd-utils runs drbdsetup-84
for it) knows no JSON, and there the events of `events2 --now` say the same. Both become one dict.

Nothing here formats, forces or discards by itself: metadata goes onto a blank disk only, and
`force` and `discard_my_data` are arguments that somebody has to give. "Unknown" is None.
"""

import os
import re
import subprocess
from pathlib import Path

import salt.utils.path
from salt.exceptions import CommandExecutionError, SaltInvocationError

TIMEOUT = 10  # seconds; drbdadm gives up earlier, this only keeps a caller from hanging for ever
VERSION = "/sys/module/drbd/version"
# Written by the split-brain handler of the resource (salt/file/files/split-brain).
SPLIT_BRAIN = "/run/cluster/split-brain.{}"
NEW = "/var/lib/cluster/drbd-new.{}"  # since its metadata was made, until `proven`


def __virtual__():
    if salt.utils.path.which("drbdadm"):
        return "drbd"
    return False, "drbdadm (drbd-utils) is not installed"


def _run(*command):
    try:
        # Not subprocess.run: that waits for a command which hangs in the kernel and cannot die.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        told, complained = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired as err:
        process.kill()
        raise CommandExecutionError(f"{' '.join(command)}: {err}") from err
    except OSError as err:
        raise CommandExecutionError(f"{' '.join(command)}: {err}") from err
    if process.returncode:
        # drbdadm repeats the command that failed, and that holds the shared secret.
        why = re.sub(r"(--shared-secret=)\S+", r"\1...", complained or told)
        raise CommandExecutionError(
            f"{' '.join(command)}: {' '.join(why.split())} (exit {process.returncode})"
        )
    return told


def _read(parser, *command, **arguments):
    """Return what the function ``parser`` of _utils/drbd.py makes of a command's output."""
    text = _run(*command)
    try:
        return __utils__[f"drbd.{parser}"](text, **arguments)
    except ValueError as err:
        raise CommandExecutionError(f"{' '.join(command)}: not understood: {err}") from err


def status(resource="r0"):
    """
    Return what a resource is doing; ``{"configured": False}`` if it is not up.

    Keys: role, disk, connection, replication, peer_role, peer_disk (DRBD's own words), suspended
    ("no" or the cause), size and out_of_sync (bytes), split_brain (True, False, or None where the
    connection is StandAlone for a cause that was not seen), reason (a sentence). Raises
    CommandExecutionError if the tool fails or its answer is not understood.

    CLI Example::

        salt file1 drbd.status
    """
    if not os.path.exists(VERSION):  # the module is not loaded: nothing can be up
        return {"configured": False, "reason": "the drbd kernel module is not loaded"}
    if _old():
        facts = _read("events", "drbdsetup", "events2", "--now", "--statistics", resource)
    else:
        facts = _read("status", "drbdsetup", "status", "--json", "--statistics", resource=resource)
    if facts is None:
        return {"configured": False, "reason": f"{resource} is not up"}
    split, reason = _split_brain(resource, facts)
    return {"configured": True, **facts, "split_brain": split, "reason": reason}


def _old():
    return Path(VERSION).read_text(encoding="ascii").startswith("8.")


def _split_brain(resource, facts):
    if facts["connection"] != "StandAlone":
        words = [facts[key] for key in ("connection", "role", "peer_role", "disk", "peer_disk")]
        return False, "{}: {}/{}, {}/{}".format(*words)
    try:
        seen = Path(SPLIT_BRAIN.format(resource)).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None, "StandAlone: an operator disconnected it, or the peer refused (kernel log)"
    return True, f"split brain: both sides were written to without the other ({seen})"


def major():
    """
    Return the first number of the kernel module's version, loaded or not; None without a module.

    CLI Example::

        salt file1 drbd.major
    """
    try:
        if os.path.exists(VERSION):
            return 8 if _old() else 9
        return int(_run("modinfo", "--field", "version", "drbd").split(".")[0])
    except (CommandExecutionError, ValueError):
        return None


def generation(resource="r0"):
    """
    Return the data generation: current, bitmap, history (hex), flags, fresh (never had data).

    Works whether the resource is up or not. Raises CommandExecutionError without metadata.

    CLI Example::

        salt file1 drbd.generation
    """
    return _read("generation", "drbdadm", "get-gi", resource)


def diverged(mine, theirs):
    """
    Return True if both sides' generations are a split brain, False if not, None if unrelated.

    CLI Example::

        salt file1 drbd.diverged '{current: ..., bitmap: ..., history: [...]}' '{...}'
    """
    return __utils__["drbd.diverged"](mine, theirs)


def device(resource="r0"):
    """
    Return the backing device that the configuration names.

    CLI Example::

        salt file1 drbd.device
    """
    return _run("drbdadm", "sh-ll-dev", resource).strip()


def metadata(resource="r0"):
    """
    Return True if the backing device has DRBD metadata, False if not, None if it cannot be told.

    CLI Example::

        salt file1 drbd.metadata
    """
    try:
        now = status(resource)
        if now["configured"] and now["disk"] != "Diskless":
            return True
        found = __salt__["blockdevice.signatures"](device(resource))
        return any(entry["type"] == "drbd" for entry in found)
    except CommandExecutionError:
        return None


def create_metadata(resource="r0"):
    """
    Write DRBD metadata onto a blank backing device, which is ``unproven`` from then on.

    Raises CommandExecutionError with the reason if the device is not, or not surely, blank.

    CLI Example::

        salt file1 drbd.create_metadata
    """
    answer = __salt__["blockdevice.blank"](device(resource))
    if answer["blank"] is not True:
        raise CommandExecutionError(f"no metadata for {resource}: {answer['reason']}")
    try:
        __utils__["keeper.keep"](NEW.format(resource), "a new disk\n")
    except OSError as err:
        raise CommandExecutionError(f"no metadata for {resource}: {err}") from err
    _run("drbdadm", "create-md", resource)


def unproven(resource="r0"):
    """
    Return whether the disk is a new one that was neither a Primary's mirror nor founded yet.

    What comes onto it from a side that does not serve is some copy, and perhaps an old one.

    CLI Example::

        salt file1 drbd.unproven
    """
    return os.path.exists(NEW.format(resource))


def proven(resource="r0"):
    """
    Note that the disk has, or had, what was served; nothing happens if that is known.

    CLI Example::

        salt file1 drbd.proven
    """
    Path(NEW.format(resource)).unlink(missing_ok=True)


def up(resource="r0"):
    """
    Attach the disk and connect; the resource comes up as Secondary.

    CLI Example::

        salt file2 drbd.up
    """
    _run("drbdadm", "up", resource)


def down(resource="r0"):
    """
    Disconnect and detach; refused by DRBD while Primary and in use.

    CLI Example::

        salt file2 drbd.down
    """
    _run("drbdadm", "down", resource)


def pending(resource="r0"):
    """
    Return what `drbdadm adjust` would run: verbs like ``disk-options``, ``connect``, ``attach``.

    Verbs only, because the arguments hold the shared secret.

    CLI Example::

        salt file2 drbd.pending
    """
    return _read("verbs", "drbdadm", "--dry-run", "adjust", resource)


def adjust(resource="r0"):
    """
    Make the running resource match its configuration file.

    CLI Example::

        salt file2 drbd.adjust
    """
    _run("drbdadm", "adjust", resource)


def connect(resource="r0", discard_my_data=False):
    """
    Connect to the peer; with ``discard_my_data`` this side's changes since the split are dropped.

    CLI Example::

        salt file2 drbd.connect
    """
    if discard_my_data not in (True, False):
        raise SaltInvocationError("discard_my_data must be True or False")
    Path(SPLIT_BRAIN.format(resource)).unlink(missing_ok=True)
    _run("drbdadm", "connect", *(["--discard-my-data"] if discard_my_data else []), resource)


def disconnect(resource="r0", force=False):
    """
    Leave the peer and stay StandAlone; ``force`` does not wait for its answer.

    CLI Example::

        salt file1 drbd.disconnect
    """
    _run("drbdadm", "disconnect", *(["--force"] if force is True else []), resource)


def promote(resource="r0", force=False):
    """
    Become Primary; ``force`` declares good what is not UpToDate: for a blank founder, or on an
    operator's word.

    CLI Example::

        salt file1 drbd.promote
    """
    _run("drbdadm", "primary", *(["--force"] if force is True else []), resource)


def resume(resource="r0"):
    """
    Let suspended writes go on without the peer; who may say so is decided elsewhere.

    CLI Example::

        salt file1 drbd.resume
    """
    _run("drbdadm", "resume-io", resource)


def demote(resource="r0"):
    """
    Become Secondary; refused by DRBD while the device is in use.

    CLI Example::

        salt file1 drbd.demote
    """
    _run("drbdadm", "secondary", resource)


def fresh(resource="r0"):
    """
    Return True if this side has never held data: metadata just created, disk Inconsistent.

    CLI Example::

        salt file1 drbd.fresh
    """
    now = status(resource)
    return now["configured"] and now["disk"] == "Inconsistent" and generation(resource)["fresh"]


def skip_first_sync(resource="r0"):
    """
    Declare two blank disks equal, so that no first synchronisation is needed.

    Raises CommandExecutionError unless both sides are connected, Secondary and Inconsistent, every
    block counts as out of sync, and this side's metadata has just been created.

    CLI Example::

        salt file1 drbd.skip_first_sync
    """
    now = status(resource)
    wanted = {
        "connection": "Connected",
        "replication": "Established",
        "role": "Secondary",
        "peer_role": "Secondary",
        "disk": "Inconsistent",
        "peer_disk": "Inconsistent",
        "out_of_sync": now.get("size"),
    }
    wrong = [f"{key} is {now.get(key)}" for key, value in wanted.items() if now.get(key) != value]
    if not wrong and not generation(resource)["fresh"]:
        wrong = ["this side has held data"]
    if wrong:
        raise CommandExecutionError(f"{resource}: the first sync is needed: {', '.join(wrong)}")
    minor = _run("drbdadm", "sh-dev", resource).strip().removeprefix("/dev/drbd")
    _run("drbdsetup", "new-current-uuid", "--clear-bitmap", minor)


def verify(resource="r0"):
    """
    Start comparing both sides block by block; differences become out_of_sync bytes in drbd.status.

    Runs in the kernel while the data is used; replication is VerifyS or VerifyT meanwhile. Found
    differences are copied at the next disconnect and connect.

    CLI Example::

        salt file1 drbd.verify
    """
    _run("drbdadm", "verify", resource)
