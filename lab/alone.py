"""What two processes must not do at the same time."""

import contextlib
import fcntl

from lab.errors import LabError


@contextlib.contextmanager
def alone(path, refusal):
    """Hold the lock file ``path`` meanwhile; raises LabError(refusal) if another process does."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LabError(refusal) from None
        yield
