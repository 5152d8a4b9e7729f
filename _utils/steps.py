"""
The lists of a decision, carried out: each resource's steps one after the other, until one fails.

Nothing here knows Salt. ``hands`` is what moves things: ``me``, ``attempt(function, *args,
**kwargs)`` on the own VM, ``ask(vm, function, arguments, published)`` and ``post(vm, function,
arguments)`` on others, ``lock(resource)``. An answer is ``(answer, None)`` or ``(None, problem)``;
``(None, None)`` is a VM that said nothing until the deadline, or that is lost meanwhile.
"""

import logging
import time

log = logging.getLogger(__name__)


def run(resource, steps, hands, told):
    """
    Take the steps of one resource; append an entry of each to ``told``; return whether all succeed.

    Another run of the same resource on this VM, in whatever process, makes it refuse.
    """
    try:
        with hands.lock(resource) as mine:
            if mine:
                return _steps(resource, steps, hands, told)
            why = "another run is at work on it"
            told.append(_entry(resource, steps[0], "refused", error=why))
    except Exception as error:
        log.exception("the steps of %s broke off", resource)
        told.append(_entry(resource, steps[0], "failed", error=repr(error)))
    return False


def _steps(resource, steps, hands, told):
    permission, posts = None, []

    def post():
        while posts:
            told.append(_post(resource, posts.pop(0), hands))

    try:
        for step in steps:
            if step.get("wait") is False:
                posts.append(step)  # whoever takes over is told first
                continue
            began, at = time.monotonic(), time.time()
            result, facts = _step(resource, step, permission, hands, post)
            seconds = round(time.monotonic() - began, 3)
            told.append(_entry(resource, step, result, at=at, seconds=seconds, **facts))
            if result != "ok":
                return False
            permission = facts.get("revision", permission)
        return True
    finally:
        post()


def _step(resource, step, permission, hands, post):
    """Return ``(result, facts for the record)``."""
    if step["do"] == "swap":
        return _swap(resource, step, permission, hands)
    if step["do"] == "fence":
        answer, problem = hands.attempt("fencing.off", step["vm"])
        return ("failed", {"error": problem}) if problem else ("ok", {"answer": answer})
    if step.get("alone") and permission is None:
        return "failed", {"error": "no swap of this list has permitted to go on alone"}
    function, arguments = f"{resource}.{step['do']}", _arguments(step, permission)
    if step["vm"] == hands.me:
        answer, problem = hands.attempt(function, **arguments)
    else:
        answer, problem = hands.ask(step["vm"], function, arguments, post)
        if answer is None and problem is None:
            return "failed", {"silent": True, "error": f"{step['vm']} gave no answer in time"}
    return _judged(step, answer, problem)


def _swap(resource, step, permission, hands):
    revision = permission if step["revision"] is None else step["revision"]
    answer, problem = hands.attempt(
        "arbiter.swap", resource, step["transition"], revision=revision, **step["arguments"]
    )
    if problem:
        return "failed", {"error": problem}
    if not answer["swapped"]:
        return "refused", {"error": answer["reason"]}
    return "ok", {"revision": answer["revision"], "epoch": answer["record"]["epoch"]}


def _arguments(step, permission):
    names = {"mirror": ("revision",), "follow": ("source",)}.get(step["do"], ())
    arguments = {name: step[name] for name in ("epoch", "deadline", *names)}
    if step["do"] == "activate":
        # None: only with the mirror. A number: the revision of the swap that permits more.
        arguments["alone"] = permission if step.get("alone") else None
    return arguments


def _judged(step, answer, problem):
    said = answer if isinstance(answer, dict) else {}
    if problem is None and step["do"] == "activate" and said.get("active") is not True:
        problem = f"it does not serve: {said.get('reason', answer)}"
    if problem:
        return "failed", {"error": problem}
    kept = ("seconds", "saved", "reason")
    return "ok", {"answer": {name: said[name] for name in kept if name in said}}


def _post(resource, step, hands):
    arguments = _arguments(step, None)
    problem = hands.post(step["vm"], f"{resource}.{step['do']}", arguments)
    return _entry(resource, step, "not waited for", **({"error": problem} if problem else {}))


def _entry(resource, step, result, **facts):
    names = ("do", "vm", "transition", "epoch", "reason")
    told = {name: step[name] for name in names if name in step}
    if step["do"] == "swap":
        told["vm"] = step["arguments"].get("holder")
    facts = {"at": time.time(), "seconds": 0, **facts}
    return {"resource": resource, **told, "result": result, **facts}


def runner(hands):
    """Return `run` with these hands, for threads: no call of it goes through Salt's loader."""
    return lambda resource, steps, told: run(resource, steps, hands, told)
