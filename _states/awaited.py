"""
Wait for a named condition of the cluster, with a deadline.

.. code-block:: yaml

    web-database-awaited:
      awaited.true:
        - name: the database accepts connections
        - function: address.answers
        - args: [192.168.10.8, 3306]
        - deadline: 300
"""

import time

from salt.exceptions import SaltException

INTERVAL = 1  # seconds between two looks


def true(name, function, args=None, kwargs=None, deadline=120):
    """
    Wait until the execution function ``function`` returns True, ``deadline`` seconds at most.

    ``name`` is the condition in words; it stands in the failure together with the last answer.
    With test=True one look is taken, nothing is waited for.
    """
    ret = {"name": name, "changes": {}, "result": False, "comment": ""}
    if function not in __salt__:
        ret["comment"] = f"cannot wait for: {name}; there is no function {function}"
        return ret
    began = time.monotonic()
    while True:
        answer = _look(function, args or [], kwargs or {})
        waited = time.monotonic() - began
        if answer is True:
            ret.update(result=True, comment=f"{name} (after {waited:.0f} s)")
            return ret
        if __opts__["test"]:
            ret.update(result=None, comment=f"would wait for: {name}; now: {answer}")
            return ret
        if waited + INTERVAL > deadline:
            ret["comment"] = f"waited {waited:.0f} s in vain for: {name}; last answer: {answer}"
            return ret
        time.sleep(INTERVAL)


def _look(function, args, kwargs):
    """Return the function's answer; what it raises is an answer as well: not yet."""
    try:
        return __salt__[function](*args, **kwargs)
    except SaltException as error:
        return str(error)
