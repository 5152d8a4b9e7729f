"""Waiting for a named condition, never longer than promised."""

import time

from lab.errors import LabError


class Deadline:
    """A moment on the clock that never jumps."""

    def __init__(self, seconds):
        self.seconds = seconds
        self._begun = time.monotonic()

    @property
    def elapsed(self):
        """Seconds since the start."""
        return time.monotonic() - self._begun

    @property
    def left(self):
        """Seconds until the deadline, never below zero."""
        return max(0.0, self.seconds - self.elapsed)

    @property
    def passed(self):
        """Whether the deadline is over."""
        return self.left == 0.0


def wait_until(condition, what, seconds, pause=0.25):
    """
    Call `condition` until it returns something true; return that.

    Raises LabError naming `what` was awaited and the last answer. The condition is asked once more
    after the deadline, so a slow question still counts.
    """
    deadline = Deadline(seconds)
    while True:
        last_try = deadline.passed
        answer = condition()
        if answer:
            return answer
        if last_try:
            raise LabError(f"waited {seconds:g} s for {what}; last answer: {answer!r}")
        time.sleep(min(pause, deadline.left))
