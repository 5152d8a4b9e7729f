"""
What an operator asks of the whole cluster, on a master: ``salt-run ha.check``, ``ha.status``, …
"""

import logging

import salt.pillar
import salt.utils.args
from salt.exceptions import SaltException

log = logging.getLogger(__name__)


def react(tag=None, data=None):
    """
    Look at the whole cluster and do what is needed; what the reactor calls for every event.

    tag, data: the event. It is only a reason to look: replayed or repeated, it does no harm.

    CLI Example:

    .. code-block:: bash

        salt-run ha.react
    """
    return __salt__["failover.react"](tag, data)


def check():
    """
    List everything that is wrong with the pillar and the secrets; exits 1 if anything is, or if a
    certificate has run out or will within 30 days, which stops no state run.

    Compiles the pillar as every state run does, so what it lists is what would stop them.

    CLI Example:

    .. code-block:: bash

        salt-run ha.check
    """
    pillar = _pillar()
    errors = [line for error in pillar.get("_errors", []) for line in error.splitlines()]
    if not errors and "secrets" not in pillar:
        errors = ["the master does not load _pillar/cluster.py; see ext_pillar in master.d"]
    # salt-run exits with the key "retcode" of what a runner returns, and has no other way that
    # does not print a traceback.
    if errors:
        return {"errors": errors, "retcode": 1}
    ending = __utils__["secret.ending"](pillar.get("ends") or {})
    right = "the pillar is right"
    return {right: ending, "retcode": 1} if ending else right


def status():
    """
    Tell who holds what at which epoch, mirrored or not, the pool, links, masters and the arbiter.

    A VM that does not answer is unknown, not passive. Exits 1 unless every resource is served by
    exactly the VM that its record names. With ``--out=json`` the same as data.

    CLI Example:

    .. code-block:: bash

        salt-run ha.status
    """
    try:
        facts = __salt__["overview.gather"]()
    except SaltException as error:
        return {"status": f"the cluster cannot be looked at: {error}", "retcode": 1}
    right = all(resource["right"] for resource in facts["resources"].values())
    if __opts__.get("output") in (None, "nested", "txt"):
        told = __utils__["story.status"](facts)
        return told if right else {"status": told, "retcode": 1}
    return {**facts, "retcode": 0 if right else 1}


def switch(resource=None, vm=None, lose_writes_of=None, confirm_dead=None, *more, **named):
    """
    Move ``resource`` (director, files, database) to ``vm``, without losing anything.

    Refuses before the first step, with the reason and exit code 1, if ``vm`` could not carry it.
    lose_writes_of: the present holder, to take over from it although ``vm`` lacks what it
    acknowledged, or cannot prove to have it; the refusal without it says what would be lost.
    confirm_dead: the silent holder's VM or server, dead for certain (see `ha.confirm_dead`), where
    the driver cannot find out by itself.

    CLI Example:

    .. code-block:: bash

        salt-run ha.switch files file2
        salt-run ha.switch files file2 lose_writes_of=file1
        salt-run ha.switch files file2 lose_writes_of=file1 confirm_dead=server1
    """
    words = {"RESOURCE": resource, "VM": vm}
    return _do("switch", words, lose_writes_of, confirm_dead, wrong=(more, named))


def evacuate(where=None, why=None, *more, **named):
    """
    Take a server (or VM) out of service: drain its web servers, move what it holds, mark it absent.

    Says when it is safe to power it off. Refuses before the first step, with the reason and exit
    code 1, if the rest could not carry the site. An interrupted one may be repeated.

    CLI Example:

    .. code-block:: bash

        salt-run ha.evacuate server1 'new memory'
    """
    reason = " ".join(str(word) for word in (why, *more) if word is not None) or None
    return _do("evacuate", {"SERVER": where}, reason, wrong=((), named))


def restore(where=None, timeout=900, *more, **named):
    """
    Bring a server (or VM) back into service, and wait ``timeout`` seconds for its mirrors.

    Nothing is moved to it. Refuses, with exit code 1, while one of its VMs is not heard.

    CLI Example:

    .. code-block:: bash

        salt-run ha.restore server1
    """
    if wrong := _no_number("restore", "timeout", timeout, "seconds"):
        return wrong
    return _do("restore", {"SERVER": where}, timeout, wrong=(more, named))


def confirm_dead(where=None, lose_writes_of=None, *more, **named):
    """
    Say that a server (or VM) is dead for certain: powered off, seen with your own eyes.

    For the drivers that cannot find out by themselves. If it lives, its last writes are lost.
    lose_writes_of: it again, to go on although only its balancer may know who served last; refused
    unless that is so.

    CLI Example:

    .. code-block:: bash

        salt-run ha.confirm_dead server1
        salt-run ha.confirm_dead server1 lose_writes_of=server1
    """
    return _do("confirm_dead", {"SERVER": where}, lose_writes_of, wrong=(more, named))


def acknowledge(resource=None, *more, **named):
    """
    Let a resource move by itself again, after it did so too often and you have found out why.

    CLI Example:

    .. code-block:: bash

        salt-run ha.acknowledge files
    """
    return _do("acknowledge", {"RESOURCE": resource}, wrong=(more, named))


def explain(count=1):
    """
    Tell the last ``count`` decisions as stories: what was seen, decided, rejected and done.

    CLI Example:

    .. code-block:: bash

        salt-run ha.explain
    """
    if wrong := _no_number("explain", "count", count, "decisions"):
        return wrong
    try:
        return __salt__["overview.stories"](count)
    except SaltException as error:
        return {"explain": str(error), "retcode": 1}


def _no_number(what, name, value, unit):
    """Return the refusal of a value that is no whole number above 0, None for one that is."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return None
    told = f"{name} must be a whole number of {unit} above 0, not {value!r}; nothing was done"
    return {what: told, "retcode": 1}


def _do(what, needed, *more, wrong):
    """
    Have `operation` do it.

    needed: {name: value} of what must be given; wrong: words and {name: value} that mean nothing.
    Salt itself would refuse either with exit code 0, after which a script goes on; so it would
    after a TypeError.
    """
    named = salt.utils.args.clean_kwargs(**wrong[1])  # without what Salt itself adds
    surplus = [*map(str, wrong[0]), *(f"{name}={value}" for name, value in named.items())]
    if None in needed.values() or surplus:
        told = f", without {' '.join(surplus)}" if surplus else ""
        return {what: f"nothing was done; it is: salt-run ha.{what} {' '.join(needed)}{told}",
                "retcode": 1}  # fmt: skip
    try:
        done = __salt__[f"operation.{what}"](*needed.values(), *more)
    except (SaltException, ValueError) as error:
        # A runner's exception would be a traceback at a terminal.
        done = {"told": str(error), "right": False}
    except Exception as error:
        log.exception("ha.%s broke off", what)
        done = {"told": f"it broke off: {error!r}; look at ha.status", "right": False}
    return done["told"] if done["right"] else {what: done["told"], "retcode": 1}


def _pillar():
    """Return the pillar as a balancer gets it; the errors are the same for all."""
    plain = _compile("ha.check", ext=False)
    names = _names(plain.get("cluster") or {})
    return _compile(names[0], ext=True) if names else _compile("ha.check", ext=True)


def _compile(name, ext):
    compiler = salt.pillar.Pillar(__opts__, {"id": name}, name, "base")
    log = logging.getLogger("salt.pillar")
    log.disabled = True  # Salt logs a wrong pillar with a traceback; the caller says what is wrong
    try:
        return compiler.compile_pillar(ext=ext)
    finally:
        log.disabled = False
        compiler.destroy()


def _names(cluster):
    """Return the VMs, balancers first; the pillar may be wrong in any way here."""
    vms = cluster.get("vms") if isinstance(cluster, dict) else None
    found = vms.items() if isinstance(vms, dict) else ()
    known = [(vm.get("role"), str(name)) for name, vm in found if isinstance(vm, dict)]
    return [name for role, name in sorted(known, key=lambda each: each[0] != "balancer")]
