"""
How the cluster stands now, gathered from everybody at once: what `ha.status` shows.

Nothing here changes anything. A part that cannot be had is a sentence that says why, never a guess.
"""

import concurrent.futures
import contextlib
import time

import salt.utils.args
from salt.exceptions import SaltException

ROLES = {"director": "balancer", "files": "file", "database": "database"}
# Seconds a VM has to answer. Too short errs towards "does not answer", never read as passive.
TIMEOUT = 6
# Seconds for a TCP connection or a member of the arbiter: neighbours answer in milliseconds.
NEAR = 1
REQUEST_PORT = 4506  # of a Salt master


def gather():
    """
    Return all that `story.status` tells of the cluster, as this master sees it.

    CLI Example:

    .. code-block:: bash

        salt-run --out=json ha.status
    """
    view = __salt__["failover.look"]()
    cluster = view["cluster"]
    calls = {
        (resource, vm): (vm, f"{resource}.status", {})
        for resource, role in ROLES.items()
        for vm in _names(cluster, role)
    }
    with _asking(calls, TIMEOUT) as asked:  # while they answer, look around here
        facts = {
            "name": cluster["name"], "me": view["me"], "at": time.time(), **_around(cluster, view)
        }  # fmt: skip
        answers = {key: _answer(job) for key, job in asked.items()}
    facts["resources"] = {
        resource: _summary(
            view["records"].get(resource),
            {vm: answer for (name, vm), answer in answers.items() if name == resource},
        )
        for resource in ROLES
    }
    facts["problems"] = [*__salt__["failover.concerns"](), *_problems(facts, view)]
    return facts


def ask(names, function, timeout, **arguments):
    """
    Run ``function`` on each of these VMs; return ``{vm: [answer, problem]}`` within ``timeout``
    seconds: the problem of one that said nothing in time is "does not answer".

    CLI Example:

    .. code-block:: bash

        salt-run overview.ask '[web1]' test.ping 5
    """
    given = salt.utils.args.clean_kwargs(**arguments)
    with _asking({name: (name, function, given) for name in names}, timeout) as asked:
        return {name: _answer(job) for name, job in asked.items()}


def publishes(vm):
    """
    Return what keeps the master here from sending a job to ``vm``; None if nothing does.

    CLI Example:

    .. code-block:: bash

        salt-run overview.publishes lb1
    """
    try:
        __utils__["jobs.client"](dict(__opts__)).post([vm], "test.ping", {})
    except (SaltException, OSError) as error:
        return _unsent(error)


def stories(count):
    """
    Return the last ``count`` decisions as text, from the logs of all balancers; use `ha.explain`.

    CLI Example:

    .. code-block:: bash

        salt-run ha.explain 3
    """
    view = __salt__["failover.look"]()
    lines = {line["id"]: line for line in __salt__["failover.local"]("decisions.read", 50 + count)}
    others = [name for name in _names(view["cluster"], "balancer") if name != view["me"]]
    answers = ask(others, "decisions.read", TIMEOUT, count=50 + count)
    for answer, _ in answers.values():
        for line in answer or ():
            if "result" in line or line["id"] not in lines:
                lines[line["id"]] = line
    told = sorted(
        (line for line in lines.values() if line.get("steps") or line.get("rejected")),
        key=lambda line: line["at"],
    )
    text = "\n\n".join(__utils__["story.tell"](line) for line in told[-count:])
    return text or "Nothing was decided yet, as far as the logs of the balancers go."


@contextlib.contextmanager
def _asking(calls, timeout):
    """Give a future for each of ``{key: (vm, function, arguments)}``; all run at the same time."""
    # The threads get nothing of Salt's loader: its dunders belong to the thread that made them.
    jobs, deadline = __utils__["jobs.client"](dict(__opts__)), time.time() + timeout
    with concurrent.futures.ThreadPoolExecutor(max(1, len(calls))) as threads:
        yield {key: threads.submit(jobs.ask, *call, deadline) for key, call in calls.items()}


def _answer(job):
    try:
        found = job.result()
    except SaltException as error:
        return [None, f"could not be asked: {_unsent(error)}"]
    return [None, "does not answer"] if tuple(found) == (None, None) else list(found)


def _unsent(error):
    """Return a word for what Salt mostly says without one: this VM's own master does not run."""
    return str(error) or type(error).__name__


def _around(cluster, view):
    """Return everything but the resources; asked by this balancer itself, without a job."""
    local = __salt__["failover.local"]
    pool = _or_why(local, "pool.status")
    known = pool if isinstance(pool, dict) else {}
    return {
        "driver": view["driver"],
        "views": view["views"],
        "rejected": __utils__["decide.decide"](view).rejected,
        "pool": known.get("servers", {}) if known else pool,
        "duplicates": known.get("duplicates", []),
        "marks": _or_why(local, "marks.read"),
        "arbiter": _or_why(local, "arbiter.status", NEAR),
        "masters": {
            name: local("address.answers", vm["addresses"]["internal"], REQUEST_PORT, NEAR)
            for name, vm in cluster["vms"].items()
            if vm["role"] == "balancer"
        },
    }


def _or_why(function, *arguments):
    try:
        return function(*arguments)
    except SaltException as error:
        return str(error)


def _names(cluster, role):
    return [name for name, vm in cluster["vms"].items() if vm["role"] == role]


def _summary(record, answers):
    """record: of `failover.look`, {} if there is none, None if the arbiter does not answer."""
    vms = {name: _state(answer) for name, answer in answers.items()}
    active = [name for name, state in vms.items() if state["active"]]
    right = bool(record) and active == [record["holder"]]
    unknown = "the arbiter does not answer" if record is None else "never founded"
    return {"record": record or unknown, "vms": vms, "right": right}


def _state(answer):
    status, problem = answer
    return status if isinstance(status, dict) else {"active": None, "problem": problem or status}


def _problems(facts, view):
    found = [f"{name}: {why}" for name, why in sorted(view.get("problems", {}).items())]
    for resource, seen in facts["resources"].items():
        if not seen["right"]:
            record = seen["record"]
            named = f"the record names {record['holder']}" if isinstance(record, dict) else record
            found.append(f"{resource}: {_served(seen['vms'])}, {named}")
    masters = facts["masters"].items()
    return found + [f"{name}: its Salt master does not answer" for name, up in masters if not up]


def _served(vms):
    active = [name for name, state in vms.items() if state["active"]]
    if active:
        return f"served by {' and '.join(active)}"
    unknown = any(state["active"] is None for state in vms.values())
    return "nobody is known to serve it" if unknown else "nobody serves it"
