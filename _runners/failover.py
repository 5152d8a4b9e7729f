"""
The failover: look, decide, carry out, and look again until nothing is left to do.

It runs in a thread of the master's reactor, for every event that asks to look (`reactor/`), on both
masters at once. What is done follows from what is seen now and never from the event, so events may
come late, twice or not at all. What makes that safe is not here: every swap is bound to the
revision of the record that was looked at, every command carries an epoch and a deadline.

What must not wait does not: the arbiter is asked and the own VM is moved in this process, without a
job; resources go their ways in parallel; a VM that does not answer holds up its own list only; the
record of it all is written afterwards.
"""

import concurrent.futures
import contextlib
import logging
import threading
import time
import uuid
from pathlib import Path

import salt.utils.args
from salt.exceptions import SaltException

log = logging.getLogger(__name__)

# failover.<resource>.lock: one list at a time on this VM; failover.looked: the end of a reaction.
LOCKS = "/run/cluster"
RESOURCES = ("director", "files", "database")
ASK = 3  # seconds for the arbiter; it may be electing a leader
OLD = 15  # seconds; an event that took longer is a replay, and `cluster/tend` comes every 5
TENDED = 6  # seconds; records known since the last `cluster/tend` are good enough to begin with
LINES = 50  # of the log in which something was done, for the history
LEARNT = 3  # seconds until heartbeats and beacons tell what an answer to a job told
AGAIN = 0.1  # seconds between two looks while observers disagree, or a holder is late
AGE_IN_DOUBT = 1  # seconds that the arbiter's answer may have meanwhile
ROUNDS = 300  # looks of one reaction; what is left then waits for the next event
NOTE = 1  # seconds after which a decision is noted as begun
ASIDE = 10  # seconds for the own VM to give up what another one has
WARM = 600  # seconds; a minion's refresh makes its modules cold again
LEAD, LONGEST = 60, 86400  # seconds between two looks whether etcd is led from here


class _State:
    """What the threads of this process share."""

    def __init__(self):
        self.changed = threading.Condition()
        self.running, self.again = None, False
        self.making, self.minion, self.jobs, self.turns = threading.Lock(), None, None, None
        self.answers, self.lines, self.busy = {}, [], set()
        self.doubt, self.told = None, ""
        self.warm, self.lead = float("-inf"), (float("-inf"), LEAD)


_state = _State()


def local(function, *args, **kwargs):
    """
    Call ``function`` of this balancer's own execution modules in this process, without a job.

    Returns what it returns, raises what it raises; may be called from any thread.

    CLI Example:

    .. code-block:: bash

        salt-run failover.local arbiter.look files
    """
    return _minion().call(function, *args, **salt.utils.args.clean_kwargs(**kwargs))


def concerns():
    """
    Return what is wrong with the pillar, or will be soon, as sentences for an operator.

    CLI Example:

    .. code-block:: bash

        salt-run failover.concerns
    """
    minion = _minion()
    ends = minion.pillar().get("ends") or {}
    return [*([minion.wrong] if minion.wrong else ()), *__utils__["secret.ending"](ends)]


def look(age=0):
    """
    Return the view that `decide.decide` judges; an arbiter that is silent makes records None.

    age: seconds that an earlier answer of the arbiter may have.

    CLI Example:

    .. code-block:: bash

        salt-run failover.look
    """
    minion, now = _minion(), time.time()
    cluster = minion.cluster()
    asked = {"heard": ("heartbeat.view",), "log": ("decisions.read", LINES, True)}
    if _state.answers.get("at", float("-inf")) < time.monotonic() - age:
        asked["marks"] = ("marks.read",)
        asked.update({resource: ("arbiter.look", resource, ASK) for resource in RESOURCES})
    found, problems = _together(minion, asked)
    if "marks" in asked:
        marks = found.get("marks") or _state.answers.get("marks")
        records = {name: marks and found.get(name) for name in RESOURCES}  # no marks, no records
        _state.answers = {"at": time.monotonic(), "marks": marks, "records": records}
    records, marks = _state.answers["records"], _state.answers["marks"] or {}
    heard, acknowledged = found.get("heard"), marks.get("acknowledged", {})
    fresh = __utils__["hands.is_fresh"](heard)
    seen = __utils__["presence.views"](heard, minion.me) if fresh else {}
    return {
        "now": now,
        "cluster": cluster,
        "me": minion.me,
        "driver": cluster["arbiter"]["driver"],
        "records": {name: entry and (entry["record"] or {}) for name, entry in records.items()},
        "revisions": {name: entry and entry["revision"] for name, entry in records.items()},
        "views": __utils__["outlook.learnt"](seen, minion.me, _facts(now)),
        "absent": sorted(marks.get("absent", {})),
        "confirmed": sorted(marks.get("confirmed", {})),
        "history": __utils__["outlook.history"](found.get("log") or [], acknowledged, now),
        "problems": problems,
    }


def carry_out(decision, cause, evidence=None):
    """
    Carry out the lists of a decision of `decide` or `moves`, record it, and return its line.

    cause: what asked for it, ``{"tag": ...}`` of an event or ``{"command": ...}`` of an operator;
    evidence: in short, for the record. One list of a resource runs at a time on this VM: another
    one is refused.

    CLI Example:

    .. code-block:: python

        __salt__["failover.carry_out"](decision, {"command": "ha.switch files file2"})
    """
    line = _line(decision, cause, evidence)
    carry = __utils__["steps.carrier"](_hands())
    _carry(decision.actions, line, carry, lambda resource, success: None)
    return line


def react(tag=None, data=None):
    """
    Look, and do what is needed; return in a sentence what came of it. Never raises.

    tag, data: the event. One reaction runs at a time; an event that comes meanwhile makes it look
    again.

    CLI Example:

    .. code-block:: bash

        salt-run failover.react
    """
    data = data if isinstance(data, dict) else {}
    at = data.get("time")
    if type(at) in (int, float) and time.time() - at > OLD:
        return f"nothing: the event is {time.time() - at:.0f} s old"
    with _state.changed:
        if _state.running:
            _wake()
            return "a reaction is under way, and looks again"
        _state.running = own = object()
    names = ("observer", "peer", "time", "since")
    cause = {"tag": tag or "failover.react", **{n: data[n] for n in names if n in data}}
    cause["came"] = round(time.time(), 3)
    try:
        return _reaction(cause)
    except Exception as error:
        # A runner's exception would be seen in the debug log only.
        log.exception("the reaction to %s broke off; the next event looks again", tag)
        return f"broke off: {error}"
    finally:
        with _state.changed:
            if _state.running is own:
                _state.running = None


def _reaction(cause):
    """Look and act until nothing is to be done, under way, or asked for."""
    age = 0 if cause["tag"] == "cluster/tend" else TENDED
    for number in range(ROUNDS):
        with _state.changed:
            _state.again = False
        began = time.monotonic()
        view, decision = _decide(age)
        if not number and not age:
            _step_aside(view)
        place = _place(view)
        looked = {**cause, "looks": number + 1, "looked": round(time.monotonic() - began, 3)}
        wake = _begin(view, decision, place, looked)
        # The end of a list voids what is known; until then it suffices for the other resources.
        age = AGE_IN_DOUBT if _state.doubt else TENDED
        with _state.changed:
            if wake is None and not _state.busy and not _state.again:
                _state.running = None  # whoever comes from now on looks for himself
                break
            _state.changed.wait_for(lambda: _state.again, wake)
    _tell_refusal(view, decision, place, cause)
    Path(LOCKS).mkdir(parents=True, exist_ok=True)  # before the first states have made it
    Path(LOCKS, "failover.looked").touch()
    if cause["tag"] == "cluster/tend":
        _warm_up(view)
        _yield_lead()
    return decision.reason


def _step_aside(view):
    """
    Give the director up here if the record has another one. A balancer that nobody hears got one
    command for that, and may have missed it; its own master can tell.
    """
    minion, record = _minion(), view["records"].get("director") or {}
    held, _ = minion.attempt("claim.held", "director")
    if record.get("holder") not in (None, minion.me) and 0 < (held or 0) < record["epoch"]:
        ends = time.time() + ASIDE
        minion.attempt("director.deactivate", epoch=record["epoch"], deadline=ends)


def _decide(age):
    """
    Return (view, decision), by an earlier answer of the arbiter if that suffices.

    It does if every list begins with a swap: bound to the revision, it is refused if anything
    changed since. So a failover does not wait for two rounds of the arbiter's quorum; nor does what
    there is to see of a holder that is about to be lost.
    """
    view = look(age)
    decision = __utils__["decide.decide"](view)
    first = [steps[0]["do"] for steps in decision.actions.values()]
    doubted = age <= AGE_IN_DOUBT and _state.doubt
    enough = set(first) == {"swap"} or doubted or (not first and _is_late(view))
    if age and not enough:
        view = look()
        decision = __utils__["decide.decide"](view)
    return view, decision


def _begin(view, decision, place, cause):
    """Start the lists that are due; return the seconds until the next look, None for an event."""
    now, waits, ready, turns = time.monotonic(), [], {}, _turns()
    turns.watch(view["records"], _own_epochs(), now)
    for resource in RESOURCES:
        steps = decision.actions.get(resource)
        if not steps or resource in _state.busy:
            turns.forget(resource)
            continue
        frozen = __utils__["outlook.is_frozen"](view, resource)
        left = turns.left(resource, steps, place, frozen, now)
        if left > 0:
            waits.append(left)
        else:
            ready[resource] = steps
    if ready:
        _start(decision._replace(actions=ready), cause, __utils__["outlook.evidence"](view))
    doubts = any(entry["condition"] == "OBSERVERS_DISAGREE" for entry in decision.rejected)
    _state.doubt = (_state.doubt or now) if doubts else None
    if doubts and now < _state.doubt + view["cluster"]["heartbeat"]["deadtime"]:
        waits.append(AGAIN)
    if _is_late(view):
        waits.append(AGAIN)
        if _jobs().ready is None:
            _thread(_jobs().listen)  # so that no job has to wait for the event bus
    return min((wait for wait in waits if wait <= TENDED), default=None)


def _is_late(view):
    """Return whether some holder is heard late here: what comes of it is seen at once."""
    holders = {(record or {}).get("holder") for record in view["records"].values()}
    return any(__utils__["presence.is_late"](view["views"], view["me"], vm) for vm in holders)


def _own_epochs():
    return {
        (step["resource"], step.get("epoch"))
        for line in _state.lines for step in line["steps"] if step["do"] == "swap"
    }  # fmt: skip


def _place(view):
    """Return this master's place among those that live; see `turns.rank`."""
    vms = view["cluster"]["vms"].items()
    observers = [name for name, vm in vms if vm and vm["role"] in ("balancer", "witness")]
    judge = __utils__["presence.judge"]
    lost = [
        name for name in observers if judge(view["views"], view["me"], name, observers)[0] == "lost"
    ]
    return __utils__["turns.rank"](view, lost)


def _start(decision, cause, evidence):
    """Carry the decision out in threads of its own: the reaction goes on looking meanwhile."""
    line = _line(decision, cause, evidence)
    carry, turns = __utils__["steps.carrier"](_hands()), _turns()

    def ended(resource, success):
        with _state.changed:
            _state.busy.discard(resource)
            turns.ended(resource, decision.actions[resource], success, time.monotonic())
            _state.answers = {**_state.answers, "at": float("-inf")}
            _wake()

    with _state.changed:  # nothing ends before it is noted; nothing is noted that cannot begin
        _thread(_carry, decision.actions, line, carry, ended)
        _state.busy |= set(decision.actions)
        _state.lines = [*_state.lines[-9:], line]


def _wake():
    _state.again = True
    _state.changed.notify_all()


def _tell_refusal(view, decision, place, cause):
    """Record once what is not done although something is wrong; the first master does."""
    told = "; ".join(entry["sentence"] for entry in decision.rejected)
    if place:
        return
    if told and told != _state.told and not decision.actions:
        line = _line(decision, cause, __utils__["outlook.evidence"](view))
        _note({**line, "result": "nothing"})
    _state.told = told


def _line(decision, cause, evidence):
    me = _minion().me
    return {
        "id": f"{me}-{uuid.uuid4().hex[:12]}", "at": time.time(), "master": me, "cause": cause,
        "evidence": evidence or {}, "reason": decision.reason, "rejected": decision.rejected,
        "steps": [],
    }  # fmt: skip


def _carry(actions, line, carry, ended):
    """Take all lists, and write the line: that it has begun if it takes long, and how it ended."""
    begun = threading.Timer(NOTE, _note, [line])
    begun.daemon = True
    with contextlib.suppress(RuntimeError):  # no room for another thread
        begun.start()
    carry(actions, line["steps"], ended)
    begun.cancel()
    done = all(step["result"] in ("ok", "not waited for") for step in line["steps"])
    line["result"] = "done" if done else "failed"
    line["seconds"] = round(time.time() - line["at"], 3)
    _note(line)


def _note(line):
    """Write the line on this balancer, and have the others write it; neither may hurt."""
    line = {**line, "steps": sorted(line["steps"], key=lambda step: step["at"])}
    minion = _state.minion
    _, problem = minion.attempt("decisions.note", line)
    if problem:
        log.error("the decision %s was not noted here: %s", line["id"], problem)
    vms = minion.cluster()["vms"].items()
    others = [name for name, vm in vms if vm and vm["role"] == "balancer" and name != minion.me]
    try:
        _jobs().post(others, "decisions.note", {"line": line})
    except (SaltException, OSError) as error:
        log.error("the decision %s was not sent to %s: %s", line["id"], others, error)


def _together(minion, asked):
    """Call functions at the same time; return their answers, and what went wrong with the rest."""
    with concurrent.futures.ThreadPoolExecutor(len(asked)) as pool:
        futures = {name: pool.submit(minion.attempt, *call) for name, call in asked.items()}
        answers = {name: future.result() for name, future in futures.items()}
    problems = {name: problem for name, (_, problem) in answers.items() if problem}
    return {name: answer for name, (answer, problem) in answers.items() if not problem}, problems


def _thread(function, *args):
    threading.Thread(target=function, args=args, daemon=True).start()


def _facts(now):
    """Return what the answers of the last moments taught; see `outlook.learnt`."""
    return [
        __utils__["outlook.teaches"](step)
        for line in _state.lines
        for step in line["steps"]
        if step["result"] == "ok" and abs(now - step["at"] - step["seconds"]) < LEARNT
    ]


def _minion():
    with _state.making:
        if _state.minion is None:
            _state.minion = __utils__["inprocess.minion"](dict(__opts__))
        return _state.minion


def _jobs():
    with _state.making:
        if _state.jobs is None:
            _state.jobs = __utils__["jobs.client"](dict(__opts__))
        return _state.jobs


def _hands():
    return __utils__["hands.of"](_minion(), _jobs(), LOCKS)


def _turns():
    with _state.making:
        if _state.turns is None:
            _state.turns = __utils__["turns.keeper"]()
        return _state.turns


def _warm_up(view):
    """Let nothing be used for the first time in a failover, here or on the VMs it commands."""
    if time.monotonic() < _state.warm + WARM:
        return
    _state.warm = time.monotonic()
    __utils__["steps.carrier"](_hands())
    _state.minion.attempt("director.status")
    roles = {"file": "files", "database": "database"}
    for name, vm in view["cluster"]["vms"].items():
        if resource := vm and roles.get(vm["role"]):
            with contextlib.suppress(SaltException, OSError):
                _jobs().post([name], f"{resource}.status", {})


def _yield_lead():
    """Let no failover wait for an election (`arbiter.yield_lead`); what does not last is rare."""
    due, pause = _state.lead
    if time.monotonic() >= due:
        given, problem = _state.minion.attempt("arbiter.yield_lead")
        pause = min(2 * pause, LONGEST) if given or problem else LEAD
        _state.lead = time.monotonic() + pause, pause
