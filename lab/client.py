"""
The outside client: students at a bounded rate, a journal, and a verdict.

Stands outside the cluster and knows only the public address. Every student logs in to the course
site, or to a real Moodle (lab/moodle_site.py), and sends numbered answers and uploads, each once
and never again. What the site acknowledged is on disk in the journal before the next request is
sent; afterwards everything is asked back.

Exit code 0: every acknowledged record is there, once, unchanged. 1: it is not, or more requests
failed than --max-failed allows. 2: the site could not be asked.
"""

import argparse
import hashlib
import http.client
import json
import os
import signal
import sys
import threading
import time
import urllib.parse
from pathlib import Path

from lab import plot, verdict
from lab.browser import FORM, PATIENCE, Browser, Refused, digest, multipart, record

# Everything of one student at once; the files among it are read from the disk.
LISTING = 120
# Of the stand-in site; more students than that share accounts, each with a session of its own.
ACCOUNTS, PASSWORD = 20, "student"
SECRET = "SITE_PASSWORD"  # in the environment: of --account in a real Moodle


class Unreachable(Exception):
    """The site could not be asked what it holds."""


class Journal:
    """JSON lines; an acknowledgement is on disk when `note` returns."""

    def __init__(self, path):
        self.entries = []
        self._lock = threading.Lock()
        self._file = Path(path).open("a", encoding="utf-8")

    def note(self, event, record, **details):
        """Append ``event`` for ``record`` with the time on the clock that never jumps."""
        with self._lock:
            entry = {"event": event, "time": time.monotonic(), **record, **details}
            self.entries.append(entry)
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
            if event == "acknowledged":
                os.fsync(self._file.fileno())


class Site(Browser):
    """The stand-in site, to one student."""

    def request(self, method, path, body=None, kind=FORM):
        """Return the decoded JSON answer; raises Refused, OSError or HTTPException."""
        status, _, content = self.fetch(method, path, body, kind, "application/json")
        if status != 200:
            raise Refused(f"{status} {content[:200].decode(errors='replace')}")
        try:
            return json.loads(content)
        except ValueError as error:
            raise Refused(f"not JSON: {content[:200]!r}") from error

    def login(self, user):
        """Log in as a student of the stand-in site, where all have one password."""
        form = urllib.parse.urlencode({"user": user, "password": PASSWORD})
        self._expect(self.request("POST", "/login.php", form))

    def answer(self, client, number, text):
        """Send one quiz answer."""
        form = urllib.parse.urlencode({"client": client, "number": number, "text": text})
        self._expect(self.request("POST", "/answer.php", form))

    def upload(self, client, number, content, sha256):
        """Send one file."""
        fields = {"client": client, "number": str(number), "sha256": sha256}
        body, kind = multipart(fields, f"work-{number}.bin", content)
        self._expect(self.request("POST", "/upload.php", body, kind))

    def records(self, client):
        """Return everything the site holds of ``client``, as `verdict.verdict` wants it."""
        query = "?" + urllib.parse.urlencode({"client": client})
        for row in self.request("GET", "/answers.php" + query):
            yield record("answer", client, int(row["number"]), digest(row["text"].encode()))
        for row in self.request("GET", "/files.php" + query):
            if row["sha256"]:  # else the row is there, and the file is not
                yield record("upload", client, int(row["number"]), row["sha256"])

    @staticmethod
    def _expect(reply):
        if not (isinstance(reply, dict) and reply.get("ok") is True):
            raise Refused(json.dumps(reply)[:200])


class Student(threading.Thread):
    """Sends a record every ``interval`` seconds; every ``upload_every``-th is a file."""

    def __init__(self, options, journal, index, stop):
        super().__init__(name=f"student{index}", daemon=True)
        self.options, self.journal, self.stop = options, journal, stop
        self.index, self.client = index, f"{options.run}-{index}"
        self.account = account(options, index)
        self.interval = options.students / options.rate
        self.delay = index / options.rate
        self.site, self.logged_in = browser(options, options.patience), False

    def run(self):
        """Keep the pace and the place in it; the turns that a stall has missed are skipped."""
        begin, number, turn = time.monotonic() + self.delay, 0, 0
        while (due := turn * self.interval) + self.delay < self.options.duration:
            if self.stop.wait(max(0, begin + due - time.monotonic())):
                return
            number += 1
            # Not all students upload in the same turn.
            self.send(number, (turn + self.index) % self.options.upload_every == 0)
            turn = max(turn, int((time.monotonic() - begin) / self.interval)) + 1

    def send(self, number, upload):
        """Send record ``number``, a file or an answer, once and note what became of it."""
        content = payload(self.client, number, self.options.upload_size if upload else 0)
        kind = "upload" if upload else "answer"
        item = record(kind, self.client, number, digest(content))
        try:
            if not self.logged_in:
                self.site.login(self.account)
                self.logged_in = True
            self.journal.note("sent", item)
            started = time.monotonic()
            if upload:
                self.site.upload(self.client, number, content, item["sha256"])
            else:
                self.site.answer(self.client, number, content.decode())
        except (OSError, http.client.HTTPException, Refused) as error:
            self.logged_in = self.logged_in and not str(error).startswith(("401", "403"))
            self.journal.note("failed", item, error=f"{type(error).__name__}: {error}")
        else:
            took = round(time.monotonic() - started, 4)
            self.journal.note("acknowledged", item, seconds=took)


def browser(options, patience):
    """Return a browser of the site that is played with."""
    if options.site == "course":
        return Site(options.url, patience)
    from lab.moodle_site import Moodle  # parses pages, as the stand-in needs not
    return Moodle(options.url, patience, os.environ.get(SECRET, ""), options.forum)


def account(options, index):
    """Return whom a student logs in as."""
    return options.account or f"student{(index - 1) % ACCOUNTS + 1}"


def payload(client, number, size):
    """Return content nobody else sends: text for an answer (size 0), else ``size`` bytes."""
    text = f'answer {number} of {client}: ½ < 1 & it\'s "so"'.encode()
    if not size:
        return text
    block = hashlib.sha256(text).digest()
    return (block * (size // len(block) + 1))[:size]


def play(options, journal):
    """Let the students play for ``options.duration`` seconds, with a line of progress."""
    stop = threading.Event()
    students = [Student(options, journal, index, stop) for index in range(1, options.students + 1)]
    for student in students:
        student.start()
    try:
        while any(student.is_alive() for student in students):
            time.sleep(0.2)
            if sys.stderr.isatty():
                print(f"\r{verdict.sparkline(journal.entries)[-70:]:70}", end="", file=sys.stderr)
    finally:
        # Whoever judges must not run ahead of a request that is still on its way.
        stop.set()
        for student in students:
            student.join()


def ask_back(options, clients):
    """Return all records held of ``clients``; keeps asking for ``options.wait`` seconds each."""
    held, site = [], browser(options, max(options.patience, LISTING))
    for client in sorted(clients):
        end = time.monotonic() + options.wait
        while True:
            try:
                site.login(account(options, 1))
                held += list(site.records(client))
                break
            except (OSError, http.client.HTTPException, Refused) as error:
                if time.monotonic() > end:
                    raise Unreachable(f"the site could not be asked: {error}") from error
                time.sleep(0.5)
    return held


def found_forum(options):
    """Return the number of the forum that a real Moodle gets for the students."""
    teacher = browser(options, LISTING)
    teacher.login(account(options, 1))
    return teacher.prepare()


def parse(argv):
    """Return the options."""
    parser = argparse.ArgumentParser(prog="client", description=__doc__.split("\n\n")[0])
    parser.add_argument("--url", default="http://203.0.113.10", help="the public address")
    parser.add_argument("--site", choices=["course", "moodle"], default="course",
                        help="the stand-in, or a real Moodle")
    parser.add_argument("--account", help="for all students; a Moodle's administrator, whose "
                                          f"password is in the environment's {SECRET}")
    parser.add_argument("--students", type=int, default=8, help="browsers at the same time")
    parser.add_argument("--rate", type=float, default=20, help="requests a second, all together")
    parser.add_argument("--duration", type=float, default=30, help="seconds")
    parser.add_argument("--upload-every", type=int, default=5, help="every n-th is a file")
    parser.add_argument("--upload-size", type=int, default=20000, help="bytes")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds for an answer")
    parser.add_argument(
        "--wait", type=float, default=60, help="seconds to reach the site at the end"
    )
    parser.add_argument("--max-failed", type=int, help="more failed requests than this: exit 1")
    parser.add_argument("--run", default=f"run{int(time.time())}", help="name of this run")
    parser.add_argument("--folder", default=".", help="where journal, plot and verdict go")
    parser.set_defaults(forum=None)  # of a Moodle: found once, before the play
    return parser.parse_args(argv)


def main(argv=None):
    """Play, ask back, judge; return the exit code."""
    options = parse(argv)
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / f"{options.run}.jsonl")
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs deaf to SIGINT
        signal.signal(number, signal.default_int_handler)
    try:
        options.forum = found_forum(options) if options.site == "moodle" else None
    except (OSError, http.client.HTTPException, Refused) as error:
        print(f"no forum to write to: {error}", file=sys.stderr)
        return 2
    try:
        play(options, journal)
    except KeyboardInterrupt:
        print("\nstopped early; judging what was sent", file=sys.stderr)
    entries = list(journal.entries)
    try:
        held = ask_back(options, {entry["client"] for entry in entries})
    except Unreachable as error:
        print(f"no verdict: {error}; the journal stays in {folder}", file=sys.stderr)
        return 2
    result = verdict.verdict(entries, held)
    report(folder / options.run, entries, result)
    many = options.max_failed is not None and result["failed"] > options.max_failed
    return 0 if result["ok"] and not many else 1


def report(stem, entries, result):
    """Write verdict and plot beside the journal and print the summary."""
    start = entries[0]["time"] if entries else 0
    gap = {
        key: value - (0 if key == "seconds" else start)
        for key, value in result["longest_gap"].items()
    }
    picture = plot.svg(verdict.per_second(entries), stem.name, gap)
    stem.with_suffix(".svg").write_text(picture, encoding="utf-8")
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    errors = [entry["error"] for entry in entries if entry["event"] == "failed"]
    print(f"\n{verdict.sparkline(entries)}")
    for error in dict.fromkeys(errors[:3]):
        print(f"error: {error}")
    print("\n".join(verdict.summary(result)))
    print(f"journal, verdict and plot: {stem}.jsonl .json .svg")


if __name__ == "__main__":
    sys.exit(main())
