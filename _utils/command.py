"""Run one of the system's programs: one way to say what failed, for every module."""

import subprocess

from salt.exceptions import CommandExecutionError


def output(argv, timeout=30, **more):
    """
    Return what a command prints; it is killed after ``timeout`` seconds (None: never).

    more: ``input`` (text), ``env``, ``cwd``, as subprocess.run takes them. Raises
    CommandExecutionError with the command, its input, and what it complained of.
    """
    shown = " ".join(map(str, argv)) + (f" <<< {more['input']!r}" if more.get("input") else "")
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, **more)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandExecutionError(f"{shown}: {error}") from error
    if done.returncode:
        why = (done.stderr or done.stdout).strip()
        raise CommandExecutionError(f"{shown}: {why} (exit {done.returncode})")
    return done.stdout
