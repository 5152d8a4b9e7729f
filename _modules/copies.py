"""
The arbiter's records without a third machine: one copy on each balancer's disk, kept alike.

What is promised about the records of data: a change counts only when it is on both disks, or when
the other balancer is off for certain (driver ``fencing``) or dead by an operator's word (driver
``operator``). Until that balancer has come back and compared, its copy is not asked and not
missed. A balancer that boots does not know what the other one has changed meanwhile: it trusts its
own copy only after comparing. Whoever can do neither has no permission, and says why.

What must move by itself, whoever is silent, is *lone*: the director, and what operators marked. It
changes on one disk if need be, and the higher revision wins when the two meet again.
"""

import json
import os
import time

import salt.config
from salt.exceptions import CommandExecutionError

DIRECTORY = "/var/lib/cluster/arbiter"
RUN = "/run/cluster/arbiter"  # empty after a boot: nothing was compared yet
PATIENCE = 2  # seconds for the other balancer; a job to it takes 0.1 to 0.3
AHEAD = 1_000_000  # revisions; a balancer that was cut off tries its own change that often at most
AGAIN = 10  # seconds until one that did not answer is asked again


def __virtual__():
    return "copies"


def get(key, lone=False):
    """
    Return ``[value or None, revision]`` of ``key``.

    Raises CommandExecutionError if this copy may be older than the other balancer's, unless lone.

    CLI Example:

    .. code-block:: bash

        salt lb1 copies.get files
    """
    known = _joined() or _join() or lone or _other() in _without() or _is_confirmed()
    if not known:
        raise CommandExecutionError(
            f"the records here may be older than those of {_other()}, which does not answer; if it "
            f"is dead: salt-run ha.confirm_dead {_other()}"
        )
    return list(__utils__["keeper.get"](DIRECTORY, key))


def put(key, value, revision, lone=False):
    """
    Set ``key`` to ``value`` if its revision still is ``revision`` (0: absent), on both disks.

    Return ``[whether it was set, the value now, its revision]``. Raises CommandExecutionError if
    it may be on one disk only, where it grants nothing, unless lone.

    CLI Example:

    .. code-block:: bash

        salt lb1 copies.put motto excelsior 0
    """
    now = get(key, lone)
    if now[1] != revision:
        return [False, *now]
    if _other() is None or _other() in _without():
        return _ahead(key, value, revision)
    if _balancers()[0] == __grains__["id"]:
        answer = list(__utils__["keeper.put"](DIRECTORY, key, value, revision))
        if not answer[0]:
            return answer
        if _ask("copies.adopt", key=key, value=value, revision=answer[2]) is not None:
            return answer
        _part()
        if lone:
            return answer
        return _ahead(key, value, answer[2]) if _is_gone() else _refuse()
    answer = _ask("copies.keep", key=key, value=value, revision=revision)
    if answer is None:
        _part()
        if lone:
            return list(__utils__["keeper.put"](DIRECTORY, key, value, revision))
        return _ahead(key, value, revision) if _is_gone() else _refuse()
    adopt(key, answer[1], answer[2])
    return answer


def keep(key, value, revision):
    """
    Set ``key`` on this disk only; what the other balancer asks of the first one, for `put`.

    CLI Example:

    .. code-block:: bash

        salt lb1 copies.keep motto excelsior 0
    """
    return list(__utils__["keeper.put"](DIRECTORY, key, value, revision))


def adopt(key, value, revision):
    """
    Take the other balancer's ``value`` over if its ``revision`` is higher; return what is here.

    CLI Example:

    .. code-block:: bash

        salt lb1 copies.adopt motto excelsior 7
    """
    now, found = __utils__["keeper.get"](DIRECTORY, key)
    if value is not None and (revision, value) > (found, now or ""):
        now, found = __utils__["keeper.put"](DIRECTORY, key, value, found, revision)[1:]
    return [now, found]


def meet(vm, entries):
    """
    Compare with balancer ``vm``, which is back: take over what is newer there, return all.

    entries: key -> ``[value, revision]`` of its disk. From here on it is asked again.

    CLI Example:

    .. code-block:: bash

        salt lb1 copies.meet lb2 '{}'
    """
    _agree(vm, entries)
    return _entries()


def founded(vm, key):
    """
    Return ``[value, revision]`` of the record that the founder ``vm`` keeps, None if it is silent.

    CLI Example:

    .. code-block:: bash

        salt lb1 copies.founded file1 files
    """
    return _ask("copies.own", vm, key=key)


def own(key):
    """
    Return ``[value, revision]`` of what is on this VM's own disk.

    CLI Example:

    .. code-block:: bash

        salt file1 copies.own files
    """
    return list(__utils__["keeper.get"](DIRECTORY, key))


def go_on_without(vm, why):
    """
    Change records without the balancer ``vm``, which is dead for certain, until it has compared.

    CLI Example:

    .. code-block:: bash

        salt lb1 copies.go_on_without lb2 'confirmed by an operator'
    """
    __utils__["keeper.replace"](f"{DIRECTORY}/.without", {**_without(), vm: why})
    _part()
    return True


def _ahead(key, value, revision):
    """Set it on this disk only, ahead of all that the dead one may have written on its own."""
    answer = __utils__["keeper.put"](DIRECTORY, key, value, revision, revision + AHEAD)
    return list(answer)


def _refuse():
    raise CommandExecutionError(
        f"{_other()} does not answer and may change the record, too; if it is dead: "
        f"salt-run ha.confirm_dead {_other()}"
    )


def _is_gone():
    """Return whether the other balancer is dead for certain; ``fencing`` makes it so."""
    other = _other()
    if other in _without() or _is_confirmed():
        return True
    if __pillar__["cluster"]["arbiter"]["driver"] != "fencing":
        return False
    off = __salt__["fencing.off"](other)  # raises if it cannot be verified
    return go_on_without(other, f"switched off by {off['device']}")


def _is_confirmed():
    """Return whether an operator said lately that the other balancer, or its server, is dead."""
    other = _other()
    server = __pillar__["cluster"]["vms"][other].get("server")
    confirmed = __salt__["marks.read"]()["confirmed"]
    return bool({other, server} & set(confirmed)) and go_on_without(other, "an operator's word")


def _join():
    """Compare with the other balancer; return whether it answered."""
    other = _other()
    if other is None:
        return True
    tried = _read(f"{RUN}/tried").get("at", -AGAIN)
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    if now < tried + AGAIN:
        return False
    answer = _ask("copies.meet", vm=__grains__["id"], entries=_entries())
    if answer is None:
        __utils__["keeper.replace"](f"{RUN}/tried", {"at": now})
        return False
    _agree(other, answer)
    return True


def _agree(vm, entries):
    """Take over what the balancer ``vm`` knows better, and go on together with it."""
    for key, (value, revision) in entries.items():
        adopt(key, value, revision)
    without = _without()
    if without.pop(vm, None):
        __utils__["keeper.replace"](f"{DIRECTORY}/.without", without)
    __utils__["keeper.replace"](f"{RUN}/joined", {"with": vm})


def _part():
    """What is on this disk is ahead of the other's: compare again as soon as it answers."""
    if os.path.exists(f"{RUN}/joined"):
        os.unlink(f"{RUN}/joined")
    __utils__["keeper.replace"](f"{RUN}/tried", {"at": time.clock_gettime(time.CLOCK_BOOTTIME)})


def _joined():
    return os.path.exists(f"{RUN}/joined")


def _entries():
    keys = [name[:-5] for name in _listed() if name.endswith(".json")]
    return {key: list(__utils__["keeper.get"](DIRECTORY, key)) for key in keys}


def _listed():
    return sorted(os.listdir(DIRECTORY)) if os.path.isdir(DIRECTORY) else []


def _balancers():
    cluster = __pillar__["cluster"]
    return [vm["name"] for vm in __utils__["topology.vms"](cluster, "balancer")]


def _other():
    others = [name for name in _balancers() if name != __grains__["id"]]
    return others[0] if others else None


def _ask(function, to=None, **arguments):
    """Return what the other balancer (or ``to``) answers to a job in time, None if it does not."""
    if "copies.jobs" not in __context__:
        opts = salt.config.client_config("/etc/salt/master")
        __context__["copies.jobs"] = __utils__["jobs.client"](opts)
    jobs, to = __context__["copies.jobs"], to or _other()
    answer, problem = jobs.ask(to, function, arguments, time.time() + PATIENCE)
    if problem:
        raise CommandExecutionError(f"{to} could not keep the record: {problem}")
    return answer


def _without():
    return _read(f"{DIRECTORY}/.without")


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CommandExecutionError(f"{path} is damaged: {error}") from error
