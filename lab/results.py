"""What a state run came to: reads Salt's JSON as it streams in, one document per minion."""

import json
import re
from typing import NamedTuple

DOCUMENT = re.compile(r"^\{", re.MULTILINE)  # words of Salt itself may hold braces elsewhere


class Result(NamedTuple):
    """The states of one minion, counted; `problems` are sentences."""

    minion: str
    succeeded: int
    changed: int
    failed: int
    seconds: float
    problems: tuple
    changes: tuple = ()  # which states changed something


class Documents:
    """Takes text in pieces, gives every complete JSON document in it."""

    def __init__(self):
        self._text, self._decoder = "", json.JSONDecoder()

    def feed(self, text):
        """Return the documents that became complete with `text`."""
        self._text += text
        found = []
        while True:
            start = DOCUMENT.search(self._text)
            if not start:
                return found
            try:
                document, end = self._decoder.raw_decode(self._text, start.start())
            except ValueError:
                return found
            found.append(document)
            self._text = self._text[end:]

    @property
    def rest(self):
        """What was no document: messages of Salt itself."""
        return self._text.strip()


def judge(minion, answer):
    """Return the Result of a minion's answer to state.apply; anything but states is a problem."""
    if isinstance(answer, dict) and "ret" in answer and "jid" in answer:
        answer = answer["ret"]
    if not isinstance(answer, dict):
        lines = answer if isinstance(answer, list) else [answer]
        return Result(minion, 0, 0, 1, 0.0, tuple(f"{minion}: {text}" for text in lines))
    problems, changes, failed, seconds = [], [], 0, 0.0
    for key, state in sorted(answer.items(), key=lambda item: item[1].get("__run_num__", 0)):
        if state.get("changes"):
            changes.append(f"{minion}: {state.get('__id__') or key}: {state.get('name')}")
        seconds += float(state.get("duration") or 0) / 1000
        if state.get("result") is False:
            failed += 1
            if not _only_requisite(state):
                where = state.get("__id__") or key
                problems.append(f"{minion}: {where}: {str(state.get('comment')).strip()}")
    return Result(minion, len(answer) - failed, len(changes), failed, round(seconds, 2),
                  tuple(problems), tuple(changes))


def _only_requisite(state):
    """Whether a state failed only because another did, which is listed by itself."""
    return str(state.get("comment", "")).startswith("One or more requisite failed")


def summary(results):
    """Return one line over all minions."""
    return (f"{len(results)} VMs: {sum(r.succeeded for r in results)} states succeeded, "
            f"{sum(r.changed for r in results)} changed, {sum(r.failed for r in results)} failed")
