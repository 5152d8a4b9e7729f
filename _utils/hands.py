"""
The hands of a list of steps, see `_utils/steps.py`: the own VM is moved in this process, others by
jobs, and a VM that is not heard any more is not waited for, nor is the answer of one whose
heartbeats say that it has given up what it was asked to give up.
"""

import contextlib
import fcntl
import os

from salt.exceptions import SaltException

STALE = 3  # seconds; an older view of heartbeatd says nothing about the peers


class Hands:
    """minion: of `_utils/inprocess.py`, jobs: of `_utils/jobs.py`, locks: a folder."""

    def __init__(self, minion, jobs, locks):
        self.me, self.attempt, self.jobs, self.locks = minion.me, minion.attempt, jobs, locks

    def ask(self, vm, function, arguments, published):
        """Return ``(answer, problem)`` of a job, ``(None, None)`` if the VM says nothing."""
        def over():
            return self._lost(vm) or self._gave_up(vm, function, arguments)

        try:
            answer, problem = self.jobs.ask(
                vm, function, arguments, arguments["deadline"], over, published
            )
        except (SaltException, OSError) as error:
            return None, f"the job could not be published: {error}"
        if answer is None and problem is None and self._gave_up(vm, function, arguments):
            return {"active": False, "reason": "its heartbeats say so; no answer came"}, None
        return answer, problem

    def _gave_up(self, vm, function, arguments):
        resource, _, do = function.partition(".")
        said = (vm, resource, arguments["epoch"])
        return do == "deactivate" and bool(self.attempt("heartbeat.gave_up", *said)[0])

    def _lost(self, vm):
        return bool(self.attempt("heartbeat.unreachable", vm)[0])

    def post(self, vm, function, arguments):
        """Return what went wrong, or None."""
        try:
            self.jobs.post([vm], function, arguments)
        except (SaltException, OSError) as error:
            return f"the job could not be published: {error}"

    @contextlib.contextmanager
    def lock(self, resource):
        """Yield whether no other list of this resource runs on this VM."""
        os.makedirs(self.locks, exist_ok=True)
        path = os.path.join(self.locks, f"failover.{resource}.lock")
        with open(path, "w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def of(minion, jobs, locks):
    """Return the Hands of a master."""
    return Hands(minion, jobs, locks)


def is_fresh(heard):
    """Return whether heartbeatd's view (`heartbeat.view`, or None) says anything about now."""
    return bool(heard) and heard["age"] <= STALE
