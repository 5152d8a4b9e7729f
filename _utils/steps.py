"""
The lists of a decision, carried out: each resource's steps one after the other, until one fails.

Nothing here knows Salt. ``hands`` is what moves things: ``me``, ``attempt(function, *args,
**kwargs)`` on the own VM, ``ask(vm, function, arguments, published)`` and ``post(vm, function,
arguments)`` on others, ``lock(resource)``. An answer is ``(answer, None)`` or ``(None, problem)``;
``(None, None)`` is a VM that said nothing until the deadline, or that is lost meanwhile.
"""

import logging
import threading
import time

log = logging.getLogger(__name__)

PATIENCE = 2  # seconds that a command which nobody waits for stays behind the others
SLOW = 5  # seconds; a swap waits for two at most, unless this master is frozen


class _Commands:
    """The commands that nobody waits for: sent when all others are out, as each costs a VM CPU."""

    def __init__(self, resources, hands, told):
        self.hands, self.told, self.waiting = hands, told, []
        self.behind, self.clear = set(resources), threading.Event()

    def out(self, resource):
        """This resource's first command is on its way, or there will be none."""
        self.behind.discard(resource)
        if not self.behind:
            self.clear.set()

    def send(self):
        self.clear.wait(PATIENCE)
        while self.waiting:
            self.told.append(_post(*self.waiting.pop(0), self.hands))


def carry(actions, hands, told, ended):
    """
    Take the lists of all resources at once; append an entry of each step to ``told``.

    ended: called with each resource and whether all its steps succeeded, as soon as that is known.
    Another run of the same resource on this VM, in whatever process, makes its list refuse.
    """
    commands = _Commands(actions, hands, told)

    def take(resource, steps):
        success = False
        try:
            success = _take(resource, steps, hands, told, commands)
        finally:
            commands.out(resource)
            ended(resource, success)

    threads = []
    for resource, steps in actions.items():
        thread = threading.Thread(target=take, args=(resource, steps), daemon=True)
        try:
            thread.start()
            threads.append(thread)
        except RuntimeError as error:  # no room for another one
            told.append(_entry(resource, steps[0], "refused", error=str(error)))
            commands.out(resource)
            ended(resource, False)
    commands.send()
    for thread in threads:
        thread.join()
    commands.send()  # what stood behind a command that was waited for


def _take(resource, steps, hands, told, commands):
    with hands.lock(resource) as mine:
        if mine:
            return _steps(resource, steps, hands, told, commands)
    told.append(_entry(resource, steps[0], "refused", error="another run is at work on it"))
    return False


def _steps(resource, steps, hands, told, commands):
    """
    A power-off takes as long as the switch wants; the commands behind it get their time all the
    same, as the swap between is bound to what was seen before. So they do behind a slow swap, but
    not behind one in which this master may have been frozen.
    """
    permission, beside, ended, spent = None, [], [], 0
    for step in steps:
        if "deadline" in step:
            step = {**step, "deadline": step["deadline"] + spent}
        if step.get("wait") is False:
            commands.waiting.append((resource, step))
            continue
        given = (resource, step, permission, hands, told, commands)
        if step.get("beside"):
            beside.append(threading.Thread(target=lambda given: ended.append(_one(*given)),
                                           args=(given,), daemon=True))  # fmt: skip
            beside[-1].start()
            continue
        entry = _one(*given)
        ended.append(entry)
        if entry["result"] != "ok":
            break
        permission = entry.get("revision", permission)
        if step["do"] == "fence" or (step["do"] == "swap" and entry["seconds"] < SLOW):
            spent += entry["seconds"]
    for thread in beside:
        thread.join()
    return all(entry["result"] == "ok" for entry in ended)


def _one(resource, step, permission, hands, told, commands):
    """Carry one step out; return its entry, which is also told."""
    began, at = time.monotonic(), time.time()
    try:
        result, facts = _step(resource, step, permission, hands, commands.out)
    except Exception as error:  # whatever it is, it ends this list and not the failover
        log.exception("a step of %s broke off", resource)
        result, facts = "failed", {"error": repr(error)}
    seconds = round(time.monotonic() - began, 3)
    told.append(_entry(resource, step, result, at=at, seconds=seconds, **facts))
    return told[-1]


def _step(resource, step, permission, hands, out):
    """Return ``(result, facts for the record)``."""
    if step["do"] == "swap":
        return _swap(resource, step, permission, hands)
    if step["do"] == "fence":
        given = {"silent": True, "confirmed": step["confirmed"]}
        answer, problem = hands.attempt("fencing.off", step["vm"], **given)
        return ("failed", {"error": problem}) if problem else ("ok", {"answer": answer})
    if step.get("alone") and permission is None:
        return "failed", {"error": "no swap of this list has permitted to go on alone"}
    function, arguments = f"{resource}.{step['do']}", _arguments(step, permission)
    if step["vm"] == hands.me:
        answer, problem = hands.attempt(function, **arguments)
    else:
        answer, problem = hands.ask(step["vm"], function, arguments, lambda: out(resource))
        if answer is None and problem is None:
            return "failed", {"silent": True, "error": f"{step['vm']} gave no answer in time"}
    return _judged(step, answer, problem)


def _swap(resource, step, permission, hands):
    revision = permission if step["revision"] is None else step["revision"]
    known = None if step["revision"] is None else step["record"]
    answer, problem = hands.attempt(
        "arbiter.swap", resource, step["transition"], revision=revision, record=known,
        **step["arguments"],
    )  # fmt: skip
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
        arguments |= {name: True for name in ("lose_writes", "await_peer") if step.get(name)}
    return arguments


def _judged(step, answer, problem):
    said = answer if isinstance(answer, dict) else {}
    if problem is None and step["do"] == "activate" and said.get("active") is not True:
        problem = f"it does not serve: {said.get('reason', answer)}"
    if problem:
        return "failed", {"error": problem}
    kept = ("seconds", "saved", "report", "reason")
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


def carrier(hands):
    """Return `carry` with these hands, for threads: no call of it goes through Salt's loader."""
    return lambda actions, told, ended: carry(actions, hands, told, ended)
