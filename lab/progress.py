"""Steps with a log each, a progress bar with the time left where it is known, and clean failure."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from lab.errors import CommandFailed, StepFailed

WIDTH = 24


def bar(done, total, width=WIDTH):
    """Return a bar of `width` signs for `done` of `total`."""
    full = width if total <= 0 else min(width, int(width * done / total))
    return "#" * full + "-" * (width - full)


def line(number, count, title, elapsed, left, detail=""):
    """Return the text of the running step; `left` is None where nothing is known."""
    known = "" if left is None else f", about {span(left)} left"
    detail = f" ({detail})" if detail else ""
    return f"[{bar(number - 1, count)}] {number}/{count} {title}{detail}  {span(elapsed)}{known}"


def span(seconds):
    """Return a duration as a person would say it."""
    seconds = max(0, round(seconds))
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60:02d} s"


def left(title, elapsed, following, history):
    """
    Return the seconds until all is done, from what each step took last time; None if unknown.

    Unknown steps make the whole unknown: a wrong promise is worse than none.
    """
    if any(name not in history for name in [title, *following]):
        return None
    return max(0, history[title] - elapsed) + sum(history[name] for name in following)


def tail(path, count=15):
    """Return the last lines of a log."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
    except OSError:
        return []


class Step:
    """A running step: commands go to its log, `detail` to the screen."""

    def __init__(self, title, log, verbose=False):
        self.title, self.path, self.verbose, self.detail = title, Path(log), verbose, ""
        self.begun = time.monotonic()
        self._lock = threading.Lock()
        self.file = self.path.open("a", encoding="utf-8")

    def note(self, text):
        """Append a line to the log (and to the screen with --verbose)."""
        with self._lock:
            self.file.write(text.rstrip("\n") + "\n")
            self.file.flush()
            if self.verbose:
                print(f"  {text.rstrip()}", file=sys.stderr, flush=True)

    def run(self, *argv, env=None, cwd=None):
        """Run a command with its output in the log; raises CommandFailed."""
        argv = [str(word) for word in argv]
        self.note(f"+ {time.monotonic() - self.begun:.0f} s: {' '.join(argv)}")
        # A session of its own: Ctrl-C reaches us alone, and we end the whole group.
        child = subprocess.Popen(
            argv, env=env, cwd=cwd, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        try:
            for text in child.stdout:
                self.note(text)
            code = child.wait()
        except BaseException:
            end_group(child)
            raise
        if code:
            raise CommandFailed(argv, code)

    def close(self):
        """Close the log."""
        self.file.close()


def end_group(child):
    """End a child and everything in its process group."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, sign)
            child.wait(timeout=5)
            return
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            child.wait()
            return


class Progress:
    """Runs planned steps one after the other and shows them."""

    def __init__(self, logs, history, verbose=False, out=None):
        self.logs, self.history_path, self.verbose = Path(logs), Path(history), verbose
        self.out = out or sys.stderr
        self.live = self.out.isatty() and not verbose
        self.titles, self.current, self.durations = [], 0, {}
        self.history = self._remembered()
        self.logs.mkdir(parents=True, exist_ok=True)

    def plan(self, titles):
        """Declare the steps to come, so that the bar knows its length."""
        self.titles, self.current = list(titles), 0

    @contextmanager
    def step(self, title):
        """Run the body as the next step; raises StepFailed with the end of its log."""
        if title not in self.titles:
            self.titles.insert(self.current, title)
        self.current = self.titles.index(title) + 1
        slug = "".join(sign if sign.isalnum() else "-" for sign in title.lower())
        step = Step(title, self.logs / f"{self.current:02d}-{slug}.log", self.verbose)
        stop = self._show(step)
        try:
            yield step
        except KeyboardInterrupt:
            stop()
            self._print(f"{title}: interrupted")
            raise
        except Exception as error:
            stop()
            step.note(f"failed: {error}")
            raise StepFailed(title, error, step.path, tail(step.path)) from error
        finally:
            stop()
            step.close()
        self._finished(step)

    def _finished(self, step):
        took = time.monotonic() - step.begun
        self.durations[step.title] = round(took, 2)
        detail = f" ({step.detail})" if step.detail else ""
        self._print(f"[{bar(self.current, len(self.titles))}] {self.current}/{len(self.titles)} "
                    f"{step.title}{detail}: {took:.1f} s")
        self.history[step.title] = round(took, 2)
        try:
            self.history_path.parent.mkdir(parents=True, exist_ok=True)
            self.history_path.write_text(json.dumps(self.history, indent=1))
        except OSError:
            pass  # only the promise of the time left is lost

    def _show(self, step):
        following = self.titles[self.current:]
        done = threading.Event()

        def redraw():
            while not done.wait(0.5):
                elapsed = time.monotonic() - step.begun
                rest = left(step.title, elapsed, following, self.history)
                text = line(self.current, len(self.titles), step.title, elapsed, rest, step.detail)
                self.out.write(f"\r\033[K{text}")
                self.out.flush()

        if not self.live:
            self._print(f"... {self.current}/{len(self.titles)} {step.title}")
            return done.set
        thread = threading.Thread(target=redraw, daemon=True)
        thread.start()

        def stop():
            if not done.is_set():
                done.set()
                thread.join()
                self.out.write("\r\033[K")

        return stop

    def _print(self, text):
        self.out.write(text + "\n")
        self.out.flush()

    def _remembered(self):
        try:
            return dict(json.loads(self.history_path.read_text()))
        except (OSError, ValueError):
            return {}
