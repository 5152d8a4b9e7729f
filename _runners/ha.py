"""
What an operator asks of the whole cluster, on a master: ``salt-run ha.check``, ``ha.status``.
"""

import concurrent.futures
import logging

import salt.client
import salt.pillar

# Seconds a VM has to answer; one that is dead costs this and the master's gather_job_timeout. The
# arbiter gets less, so that its silence does not hide what the VM says of itself.
TIMEOUT = 8
ARBITER_TIMEOUT = 2


def check():
    """
    List everything that is wrong with the pillar and the secrets; exits 1 if anything is.

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
    return {"errors": errors, "retcode": 1} if errors else "the pillar is right"


def status():
    """
    Return for each resource its record and what each VM that can hold it says of itself.

    A VM that does not answer is null: unknown, not passive. Exits 1 unless every resource is
    active on exactly the VM that its record names.

    CLI Example:

    .. code-block:: bash

        salt-run ha.status
    """
    cluster = _pillar().get("cluster") or {}
    roles = {"director": "balancer", "files": "file", "database": "database"}
    with concurrent.futures.ThreadPoolExecutor(len(roles)) as pool:
        asked = {
            resource: pool.submit(_ask, _names(cluster, role), resource)
            for resource, role in roles.items()
        }
        found = {resource: _summary(future.result()) for resource, future in asked.items()}
    right = all(resource["right"] for resource in found.values())
    return {"resources": found, "retcode": 0 if right else 1}


def _pillar():
    """Return the pillar as a VM of the cluster gets it; any VM, the errors are the same for all."""
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


def _names(cluster, role=None):
    """Return the VMs of ``role``; the pillar may be wrong in any way here."""
    vms = cluster.get("vms") if isinstance(cluster, dict) else None
    return [
        str(name)
        for name, vm in (vms if isinstance(vms, dict) else {}).items()
        if isinstance(vm, dict) and role in (None, vm.get("role"))
    ]


def _ask(names, resource):
    """Return ``{vm: {"status", "record"} or None}``, by one job to exactly these VMs."""
    functions = [f"{resource}.status", "arbiter.read"]
    with salt.client.LocalClient(mopts=__opts__) as client:  # one per thread
        arguments = [[], [resource, ARBITER_TIMEOUT]]
        answers = client.cmd(names, functions, arguments, tgt_type="list", timeout=TIMEOUT)
    return {name: _answer(answers.get(name), functions) for name in names}


def _answer(answer, functions):
    # A dead minion's answer is False or a sentence, a failed function's answer is a sentence.
    if not isinstance(answer, dict):
        return None
    status, record = (answer.get(function) for function in functions)
    return {"status": _brief(status), "record": _brief(record)}


def _brief(answer):
    """Return the last line of a failure: from several functions Salt returns whole tracebacks."""
    if not isinstance(answer, str):
        return answer
    return (answer.strip().splitlines() or ["no answer"])[-1]


def _summary(answers):
    records = [answer["record"] for answer in answers.values() if answer]
    record = next((record for record in records if isinstance(record, dict)), None)
    problem = next((record for record in records if isinstance(record, str)), None)
    vms = {name: _state(answer) for name, answer in answers.items()}
    active = [name for name, state in vms.items() if state["active"]]
    holder = record["holder"] if record else None
    right = bool(holder) and active == [holder]
    return {"record": record or problem, "vms": vms, "right": right}


def _state(answer):
    status = answer["status"] if answer else "does not answer"
    return status if isinstance(status, dict) else {"active": None, "problem": status}
