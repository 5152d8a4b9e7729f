"""
The arbiter's records without a third machine: one copy on each balancer's disk, kept alike.

What is promised about the records of data: a change counts only when it is on both disks, or when
the other balancer is off for certain (driver ``fencing``) or dead by an operator's word (driver
``operator``). Until that balancer has come back and compared, its copy is not asked and not
missed. A balancer that boots does not know what the other one has changed meanwhile: it trusts its
own copy only after comparing, or when an operator gives up whatever the other one knows better.

What must move by itself, whoever is silent, is *lone*: the director, and what operators marked. It
changes on one disk if need be, and the higher revision wins when the two meet again.
"""

import contextlib
import fcntl
import logging
import os
import time

import salt.config
from salt.exceptions import CommandExecutionError, SaltException

log = logging.getLogger(__name__)

DIRECTORY = "/var/lib/cluster/arbiter"
RUN = "/run/cluster/arbiter"  # empty after a boot: nothing was compared yet
PATIENCE = 2  # seconds for the other balancer; a job to it takes 0.1 to 0.3
PATIENT = 60  # seconds for one whose heartbeats are heard: its minion may have to start first
AGAIN = 10  # seconds until one that did not answer is asked again
GIVEN_UP = "lose_writes"  # why a death is marked as confirmed although the copy is not compared


def __virtual__():
    return "copies"


def get(key, lone=False):
    """
    Return ``[value or None, revision]`` of ``key``.

    While a change of data is in doubt (see `put`), this is what was there before it. Raises
    CommandExecutionError if this copy may be older than the other balancer's, unless lone.

    CLI Example::

        salt lb1 copies.get files
    """
    other = _other()
    if _is_apart(other):
        _join()
    if not lone and unsure():
        _go_beyond(other)
    while True:  # two files, which another thread may change in between
        mine = own(key)
        before = None if lone or other in _without() else __utils__["keeper.read"](_doubt(key))
        if own(key) == mine:
            return before or mine


def put(key, value, revision, lone=False, new=None):
    """
    Set ``key`` to ``value`` if its revision still is ``revision`` (0: absent), on both disks.

    Return ``[whether it was set, the value now, its revision]``. Raises CommandExecutionError if
    the other balancer does not answer, unless lone. It is asked before anything is written. If it
    falls silent after that, the change is in doubt, as it may be on one disk or on both: it grants
    nothing here, may be acted upon there, and is what either goes on from.

    CLI Example::

        salt lb1 copies.put motto excelsior 0
    """
    now = get(key, lone)
    if now[1] != revision:
        return [False, *now]
    with _turn(key):
        if _other() is None or _other() in _without():
            return _alone(key, value, revision)
        mine = own(key)
        answers = (there := _tell(key, mine, lone)) is not None
        if answers:
            mine = adopt(key, *there)
            _settle(key)
        elif not lone:
            _insist(lambda: own(key) == mine)
            return _alone(key, value, revision)
        if mine[1] != revision:
            return [False, *mine]
        if key not in _doubted():
            __utils__["keeper.replace"](_doubt(key), mine)
        new = new or _further("after", revision)
        answer = list(__utils__["keeper.put"](DIRECTORY, key, value, revision, new))
        if not answer[0]:  # overtaken by the other balancer's change
            _settle(key)
            return answer
        there = _tell(key, answer[1:], lone) if answers else None
        if there is not None:
            mine = adopt(key, *there)  # before the doubt ends: nobody may read what was refused
            _settle(key)
            return answer if there == answer[1:] else [False, *mine]
        return answer if lone else _in_doubt(key, answer[1:])


def adopt(key, value, revision):
    """
    Take the other balancer's ``value`` over if its ``revision`` is higher; return what is here.

    CLI Example::

        salt lb1 copies.adopt motto excelsior 7
    """
    while True:
        now, found = own(key)
        if value is None or (revision, value) <= (found, now or ""):
            return [now, found]
        written, now, found = __utils__["keeper.put"](DIRECTORY, key, value, found, revision)
        if written:
            return [now, found]


def meet(vm, entries):
    """
    Compare with balancer ``vm``, which asks: take over what is newer there, return all.

    entries: key -> ``[value, revision]`` of its disk. From here on nothing changes without it.

    CLI Example::

        salt lb1 copies.meet lb2 '{}'
    """
    _go_on_with(vm)
    for key, entry in entries.items():
        adopt(key, *entry)
    found = {}
    for key in _keys():
        with _turn(key):  # no change of it is under way
            found[key] = own(key)
    return found


def unsure():
    """
    Return the balancer that may know newer records than this one does, None if there is none.

    CLI Example::

        salt lb1 copies.unsure
    """
    return None if _compared() or _other() in _without() else _other()


def founded(vm, key):
    """
    Return ``[value, revision]`` of the record that the founder ``vm`` keeps, None if it is silent.

    Asked every AGAIN seconds at most, and only once it is heard to have claimed ``key``: before its
    first state run Salt would load all modules in search of ours, more than its memory could hold.

    CLI Example::

        salt lb1 copies.founded file1 files
    """
    epoch, _ = __salt__["heartbeat.claims"](vm).get(key, (0, None))
    if not epoch or __utils__["keeper.lately"](RUN, f"founder.{key}", AGAIN):
        return None
    if epoch > 1:
        raise CommandExecutionError(f"{vm} has seen epoch {epoch} of {key}: it is founded long ago")
    __utils__["keeper.stamp"](RUN, f"founder.{key}")
    return _ask("copies.own", vm, key=key)


def own(key):
    """
    Return ``[value, revision]`` of what is on this VM's own disk.

    CLI Example::

        salt file1 copies.own files
    """
    return list(__utils__["keeper.get"](DIRECTORY, key))


def secure(vm):
    """
    Make sure that ``vm`` may be switched off: the other balancer hears it no more either, or is
    itself off for certain. Two balancers that lost each other would otherwise each switch off the
    other's copy of the data, and after a short cut one heard again. Raises if neither can be had.

    CLI Example::

        salt lb1 copies.secure file2
    """
    if _other() is None or _other() in _without():
        return
    lost_there = _ask("heartbeat.unreachable", vm=vm)
    if lost_there is None:
        # Unless it is the other one that has switched ``vm`` off, and changed the record, by then.
        known, gone = _entries(), __salt__["heartbeat.unreachable"]
        _insist(lambda: gone(vm) and known == _entries())
    elif lost_there is False:
        raise CommandExecutionError(f"{vm} is not lost for {_other()}: it is not switched off")


def agreed(key):
    """
    Return ``[value or None, revision]`` of ``key`` when both balancers last had the same.

    CLI Example::

        salt lb1 copies.agreed director
    """
    return __utils__["keeper.read"](_doubt(key)) or own(key)


def _go_on_without(vm, why, met):
    """Change records without the dead ``vm`` until it compares; raise if it has since ``met``."""
    with _turn(".without"):
        if _met() != met:
            raise CommandExecutionError(f"{vm} is back and has compared: try again")
        for key in _doubted():  # from now on it counts here: ahead of what the dead one had
            _alone(key, *own(key))
        __utils__["keeper.replace"](f"{DIRECTORY}/.without", {**_without(), vm: why})
    __utils__["keeper.stamp"](RUN, "tried")


def _go_on_with(vm):
    """Change nothing without ``vm`` any more; no word that was said before counts from now on."""
    with _turn(".without"):
        __utils__["keeper.replace"](f"{DIRECTORY}/.met", {"at": time.time()})
        left = _without()
        if left.pop(vm, None):
            __utils__["keeper.replace"](f"{DIRECTORY}/.without", left)


def _met():
    """Return Unix seconds when the other balancer last compared, 0 if it never did."""
    return (__utils__["keeper.read"](f"{DIRECTORY}/.met") or {}).get("at", 0)


def _further(which, *entry):
    """Return what a function of `_utils/revision.py` gives this balancer after an entry."""
    balancers = [vm["name"] for vm in __utils__["topology.vms"](__pillar__["cluster"], "balancer")]
    return __utils__[f"revision.{which}"](*entry, __grains__["id"], balancers)


def _alone(key, value, revision):
    """Set it on this disk only, ahead of all that the dead one may have written on its own."""
    ahead = _further("alone", revision)
    answer = list(__utils__["keeper.put"](DIRECTORY, key, value, revision, ahead))
    if answer[0]:
        _settle(key)  # no doubt is left: the dead one goes on from here, whatever it had
    return answer


def _in_doubt(key, written):
    """Return what becomes of a change that the other, silent balancer may have; or raise."""
    if own(key) == written:
        _insist(lambda: own(key) == written)
    mine = own(key)  # lifted by `_go_on_without`, unless the other balancer's change has won
    return _alone(key, *mine) if mine[0] == written[0] else [False, *mine]


def _insist(needed):
    """
    Make sure that the silent other balancer is dead, or raise; ``fencing`` makes it so.

    One that is heard where jobs go has perhaps no minion yet: it gets time to answer before it is
    switched off; afterwards ``needed()`` says whether it still matters.
    """
    other, met = _other(), _met()
    if other in _without():
        return
    if not _compared():
        raise _unsure(other)
    heard = not __salt__["heartbeat.unreachable"](other)
    if not heard and _words(other):
        return _go_on_without(other, "an operator's word", met)
    if __pillar__["cluster"]["arbiter"]["driver"] != "fencing":
        dead = f"if it is dead: salt-run ha.confirm_dead {other}"
        way = "it is heard: mend its minion, or the network between" if heard else dead
        raise CommandExecutionError(f"{other} is silent and may change the record, too; {way}")
    if not __utils__["hands.is_fresh"](__salt__["heartbeat.view"]()):
        raise CommandExecutionError("heartbeatd here says nothing: nobody is switched off for that")
    if __salt__["heartbeat.in_reach"](other):
        if _ask("copies.own", patience=PATIENT, key="director") is not None:
            raise CommandExecutionError(f"{other} was silent and answers again; try again")
        if not needed():
            raise CommandExecutionError(f"{other} need not be switched off any more")
    # Who could not write down what is granted then has no use for it.
    __utils__["keeper.replace"](f"{DIRECTORY}/.probe", {"about": other})
    off = __salt__["fencing.off"](other, silent=not heard)  # raises if it cannot be verified
    _go_on_without(other, f"switched off by {off['device']}", met)


def _words(other):
    """Return why an operator said, since it last compared, that the other or its server is dead."""
    server = __pillar__["cluster"]["vms"][other].get("server")
    confirmed = __salt__["marks.read"]()["confirmed"]
    said = [confirmed[name] for name in (other, server) if name in confirmed]
    return [word["why"] for word in said if word["since"] > _met()]


def _go_beyond(other):
    """
    Trust records that were not compared, if an operator gave up what ``other`` may have made of
    them; beyond that, so that theirs does not count when it comes back.
    """
    with _turn(".beyond"):
        if not unsure():
            return
        met = _met()
        if GIVEN_UP not in _words(other):
            raise _unsure(other)
        for key in filter(__utils__["record.has_data"], _keys()):
            value, revision = own(key)
            if further := _further("beyond", value, revision):
                __utils__["keeper.put"](DIRECTORY, key, further[0], revision, further[1])
        _go_on_without(other, "an operator gave up what it knew", met)


def _unsure(other):
    what = f"the records here may be older than those of {other}, which does not answer"
    return CommandExecutionError(f"{what}; if it is dead: salt-run ha.confirm_dead {other}")


def _join():
    """Compare with the other balancer, unless it was silent a moment ago; one thread at a time."""
    other = _other()
    if other is None:
        return
    with _turn(".join"):
        if __utils__["keeper.lately"](RUN, "tried", AGAIN) or not _is_apart(other):
            return
        try:
            joined = _compare(other)
        except (SaltException, OSError) as error:
            joined = False
            log.error("copies: cannot compare with %s: %s", other, error)
        if not joined:
            __utils__["keeper.stamp"](RUN, "tried")


def _is_apart(other):
    return not _compared() or bool(_doubted()) or other in _without()


def _compare(other):
    answer = _ask("copies.meet", vm=__grains__["id"], entries=_entries())
    if answer is None:
        return False
    for key, entry in answer.items():
        adopt(key, *entry)
    with contextlib.ExitStack() as turns:
        try:  # nothing changes meanwhile, and a key in work may be waiting for this very thread
            for key in _keys():
                turns.enter_context(_turn(key, wait=False))
        except BlockingIOError:
            return False
        for key in _keys():
            mine = own(key)
            if mine != answer.get(key) and _tell(key, mine, True) != mine:
                return False
            _settle(key)
        _go_on_with(other)
    __utils__["keeper.stamp"](RUN, "compared")
    return True


def _compared():
    return _other() is None or bool(__utils__["keeper.read"](f"{RUN}/compared.json"))


def _doubt(key):
    """Return the file that keeps what ``key`` was before a change that the other may not know."""
    return f"{RUN}/doubt/{key}.json"


def _doubted():
    return __utils__["keeper.keys"](f"{RUN}/doubt")


def _settle(key):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_doubt(key))


def _keys():
    return __utils__["keeper.keys"](DIRECTORY)


def _entries():
    return {key: own(key) for key in _keys()}


@contextlib.contextmanager
def _turn(key, wait=True):
    """Hold the key against the other writers on this VM: a change is more than one write."""
    os.makedirs(f"{RUN}/doubt", exist_ok=True)
    with open(f"{RUN}/doubt/{key}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def _other():
    balancers = __utils__["topology.vms"](__pillar__["cluster"], "balancer")
    return next((vm["name"] for vm in balancers if vm["name"] != __grains__["id"]), None)


def _tell(key, entry, lone):
    """Return what the other balancer has after it heard of ``entry``, None if it is silent."""
    there = None
    try:
        there = _ask("copies.adopt", key=key, value=entry[0], revision=entry[1])
    except (SaltException, OSError):
        if not lone:
            raise
    if there is None and entry[0] is None and key in __salt__["heartbeat.claims"](_other()):
        raise CommandExecutionError(f"{_other()} has {key}, and does not answer: try again")
    return there


def _ask(function, to=None, patience=None, **arguments):
    """Return what the other balancer (or ``to``) answers to a job in time, None if it does not."""
    to = to or _other()
    gone = lambda: __salt__["heartbeat.unreachable"](to)  # noqa: E731
    if gone():  # a job would cost the one that may cut first its lead
        return None
    if "copies.jobs" not in __context__:
        opts = salt.config.client_config("/etc/salt/master")
        __context__["copies.jobs"] = __utils__["jobs.client"](opts)
    ends = time.time() + (patience or PATIENCE)
    answer, problem = __context__["copies.jobs"].ask(to, function, arguments, ends, gone)
    if problem:
        raise CommandExecutionError(f"{to} could not keep the record: {problem}")
    return answer


def _without():
    return __utils__["keeper.read"](f"{DIRECTORY}/.without") or {}

