"""
What happened and how things stand, as an operator reads it: plain data in, text out.

`tell` makes a story of one decision (a line of `_modules/decisions.py`): what was seen, which rule
applied, what was rejected, which steps were taken with their seconds, and how it ended. Every
sentence in it is the one that the log and the event had. It never fails on a line that lacks
something: the log may be of another version, or of a master that died in the middle.
"""

import time

# How a step reads: what was done, to whom.
VERBS = {
    "swap": "the arbiter's record: {transition}",
    "activate": "{vm} activates",
    "deactivate": "{vm} gives up",
    "mirror": "{vm} restores its mirror",
    "follow": "{vm} follows {source}",
    "restart": "{vm} restarts its service",
    "fence": "power off {vm}",
}


def tell(line):
    """Return the story of one decision, as text of several lines."""
    who = line.get("master") or "an unknown master"
    told = [f"{_stamp(line.get('at'))}, decided on {who} (decision {line.get('id', '?')})"]
    told += _part("What started it", [_cause(line.get("cause"))])
    told += _part("What was seen", _facts(line.get("evidence")))
    told += _part("What was decided", _sentences(line.get("reason")))
    told += _part("What was not done", [_rejected(each) for each in line.get("rejected") or ()])
    told += _part("What was done (seconds after the decision)", _steps(line))
    return "\n".join([*told, "", _end(line)])


def refusals(rejected):
    """Return refusals (of `_utils/conditions.py`, or sentences) as text, one paragraph each."""
    return "\n".join(_rejected(each) for each in rejected)


def lost(resource, holder, standby, since, now):
    """
    Return what a forced takeover by ``standby`` gives up for ever, as a sentence.

    since: Unix seconds at which ``holder`` went on alone, None if no decision of that is known.
    """
    if since is None:
        when = f"since {holder} lost its mirror (when that was is in no log here)"
    else:
        when = f"since {_stamp(since)} ({_span(now - since)} ago)"
    return (
        f"{standby} lacks every write to {resource} that {holder} acknowledged alone, {when}; they "
        f"stay on {holder}'s disk until it follows, and are saved there, but no longer in the site"
    )


def alone_since(lines, resource):
    """
    Return the Unix time since which the holder of ``resource`` acknowledges alone, or None.

    lines: decisions, in order. A promoted standby is alone until its mirror is verified.
    """
    since = None
    for line in lines:
        for step in line.get("steps") or ():
            found = tuple(step.get(key) for key in ("resource", "do", "result"))
            if found != (resource, "swap", "ok"):
                continue
            at = step.get("at") or line["at"]
            begun = {"promote": at, "abandon": at, "serve_alone": since or at, "mirrored": None}
            since = begun.get(step.get("transition"), since)
    return since


def status(facts):
    """
    Return how the cluster stands, as text: a table of who holds what, the rest, and the verdict.

    facts: name, me, at, resources (resource -> record, vms, right), pool, duplicates, views,
    masters, arbiter, driver, marks, rejected, problems; each part may be None (not known) or a
    sentence (why not).
    """
    told = [f"cluster {facts['name']}, asked on {facts['me']} at {_stamp(facts['at'])}", ""]
    told += _table([HEAD, *(_row(name, each) for name, each in facts["resources"].items())])
    told += ["", *_labelled("web", _pool(facts.get("pool")))]
    told += _labelled("links", _links(facts.get("views")))
    told += _labelled("masters", _yes_no(facts.get("masters"), "answers", "DOES NOT ANSWER"))
    told += _labelled("arbiter", _arbiter(facts))
    told += _labelled("out", _absent(facts.get("marks")))
    return "\n".join([*told, "", *_verdict(facts)])


HEAD = ("resource", "holder", "epoch", "mirrored", "what each VM says")


def _row(name, seen):
    record = seen["record"]
    says = "; ".join(f"{vm} {_says(state)}" for vm, state in seen["vms"].items())
    if not isinstance(record, dict):
        return (name, "unknown", "?", "?", says)
    mirrored = "yes" if record["mirrored"] else "NO"
    mirrored = "-" if name == "director" else mirrored
    mirrored = "founding" if record.get("founding") else mirrored
    return (name, record["holder"], str(record["epoch"]), mirrored, says)


def _says(state):
    if state.get("problem"):
        return str(state["problem"])
    words = {True: "serves", False: "is passive", None: "does not know"}
    return words.get(state.get("active"), "does not know")


def _pool(pool):
    """pool: {name: {"state", "why", "connections", "drained"}}."""
    if not isinstance(pool, dict) or not pool:
        return [str(pool or "not known")]
    return [f"{name} {_server(server)}" for name, server in sorted(pool.items())]


def _server(server):
    state = str(server.get("state", "unknown")) + (", drained" if server.get("drained") else "")
    count = server.get("connections")
    notes = [] if count is None else [f"{count} connections"]
    if server.get("why") and server.get("state") != "up":
        notes.append(str(server["why"]))
    return f"{state} ({'; '.join(notes)})" if notes else state


def _links(views):
    """Name every link that is not up, and by whom it is not heard."""
    if not isinstance(views, dict) or not views:
        return [str(views or "not known")]
    silent = {}
    for observer, view in sorted(views.items()):
        for vm, told in sorted(view.items()):
            for link, entry in sorted((told.get("links") or {}).items()):
                if vm != observer and entry["state"] != "up":
                    silent.setdefault((vm, link, entry["state"]), []).append(observer)
    lines = [
        f"{vm} is {'not heard yet' if state == 'init' else state} on {link} at {', '.join(who)}"
        for (vm, link, state), who in silent.items()
    ]
    return lines or [f"all up, as heard by {', '.join(sorted(views))}"]


def _arbiter(facts):
    found = facts.get("arbiter")
    if not isinstance(found, dict) or not found:
        return [f"driver {facts.get('driver')}" + (f": {found}" if found else "")]
    members = [
        f"{name} {'leads' if member['leader'] else 'answers' if member['answers'] else 'IS SILENT'}"
        for name, member in found.items()
    ]
    return [f"{facts.get('driver')}: {', '.join(members)}"]


def _yes_no(found, yes, no):
    if not isinstance(found, dict) or not found:
        return [str(found or "not known")]
    return [", ".join(f"{name} {yes if good else no}" for name, good in found.items())]


def _absent(marks):
    if not isinstance(marks, dict):
        return [str(marks or "not known")]
    lines = [
        f"{name} is {kind} since {_stamp(entry['since'])}"
        + (f" ({entry['why']})" if entry.get("why") else "")
        for key, kind in (("absent", "out on purpose"), ("confirmed", "confirmed dead"))
        for name, entry in sorted(marks.get(key, {}).items())
    ]
    return lines or ["nothing"]


def _verdict(facts):
    problems = [*(facts.get("problems") or ()), *_concerns(facts)]
    problems += [_rejected(each) for each in facts.get("rejected") or ()]
    if not problems:
        return ["Everything is where it belongs."]
    return ["Look at this:", *(f"  {line}" for each in problems for line in each.splitlines())]


def _concerns(facts):
    """Return what works now and would not after the next loss."""
    found = [
        f"{name}: not mirrored, nothing can take over from {seen['record']['holder']}"
        for name, seen in facts["resources"].items()
        if isinstance(seen["record"], dict) and not seen["record"]["mirrored"]
    ]
    pool, arbiter, marks = (facts.get(key) for key in ("pool", "arbiter", "marks"))
    for name, server in (sorted(pool.items()) if isinstance(pool, dict) else ()):
        if server.get("state") != "up":
            found.append(f"{name}: serves no visitors")
    for name, member in (arbiter.items() if isinstance(arbiter, dict) else ()):
        if not member["answers"]:
            found.append(f"{name}: its member of the arbiter is silent")
    found += [
        f"{each['address']}: also used by the machine with the hardware address {each['mac']},"
        f" on the network of {each['interface']}"
        for each in facts.get("duplicates") or ()
    ]
    absent = marks.get("absent", {}) if isinstance(marks, dict) else {}
    return found + [f"{name}: out on purpose, nothing moves to it" for name in sorted(absent)]


def _part(title, paragraphs):
    """Return a headed part of the story, or nothing if there is nothing to say."""
    lines = [line for text in paragraphs if text for line in text.splitlines()]
    return ["", f"{title}:", *(f"  {line}" for line in lines)] if lines else []


def _labelled(label, lines):
    return [f"{label if not number else '':<9} {line}" for number, line in enumerate(lines)]


def _table(rows):
    """Return the rows with their columns in line; the last one may be as long as it likes."""
    widths = [max(len(row[number]) for row in rows) for number in range(len(HEAD) - 1)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]))
    return lines


def _cause(cause):
    if not isinstance(cause, dict):
        return str(cause or "")
    if "command" in cause:
        return f"an operator: salt-run {cause['command']}"
    more = [f"{key} {cause[key]}" for key in ("observer", "peer") if key in cause]
    return str(cause.get("tag", "no event")) + (f" ({', '.join(more)})" if more else "")


def _facts(evidence, above=""):
    """Flatten nested evidence into one line per fact."""
    if isinstance(evidence, dict) and {"holder", "epoch", "mirrored"} <= set(evidence):
        mirrored = "mirrored" if evidence["mirrored"] else "NOT mirrored"
        evidence = f"{evidence['holder']} holds epoch {evidence['epoch']}, {mirrored}"
    if isinstance(evidence, dict):
        return [
            line
            for key, value in evidence.items()
            for line in _facts(value, f"{above} {key}".strip())
        ]
    if isinstance(evidence, list | tuple):
        evidence = ", ".join(str(value) for value in evidence)
    if evidence in (None, ""):
        return []
    return [f"{above}: {evidence}" if above else str(evidence)]


def _sentences(reason):
    """A decision joins one sentence per resource by semicolons that start with its name."""
    text = str(reason or "")
    for resource in ("files", "database"):
        text = text.replace(f"; {resource}: ", f"\n{resource}: ")
    return text.splitlines()


def _rejected(each):
    if not isinstance(each, dict):
        return str(each)
    what = [str(each[key]) for key in ("resource", "alternative") if each.get(key)]
    text = ": ".join([*what, f"{each.get('sentence', '')} [{each.get('condition', '?')}]"])
    return f"{text}\n  after having looked: {each['command']}" if each.get("command") else text


def _steps(line):
    steps = line.get("steps") or ()
    return [_step(step, line.get("at")) for step in steps]


def _step(step, start):
    verb = VERBS.get(step.get("do"), "{do} {vm}").format_map(_Unnamed(step))
    at = f"{step['at'] - start:7.2f} s" if step.get("at") and start else " " * 9
    seconds = step.get("seconds")
    took = f" in {seconds:.2f} s" if isinstance(seconds, int | float) else ""
    result = step.get("result") or "no result is known"
    error = f": {step['error']}" if step.get("error") else ""
    told = f"{at}  {step.get('resource', '?'):<8}  {verb}: {result}{took}{error}"
    return told + _kept(step.get("vm"), step.get("answer"))


def _kept(vm, answer):
    """Name the folder of what was put aside before the copy of a resource was rebuilt."""
    said = answer if isinstance(answer, dict) else {}
    found = [each for each in (said.get("report"), said.get("saved")) if isinstance(each, dict)]
    return "".join(f"\n           what only {vm} had is in {each.get('directory')} there"
                   for each in found)


class _Unnamed(dict):
    def __missing__(self, key):
        return "?" if key != "source" else "the holder"


def _end(line):
    ends = [
        step["at"] + (step.get("seconds") or 0)
        for step in line.get("steps") or ()
        if step.get("at")
    ]
    took = f" after {max(ends) - line['at']:.2f} s" if ends and line.get("at") else ""
    words = {
        "done": f"Done{took}.",
        "failed": f"Failed{took}; the next look at the cluster goes on from here.",
        "nothing": "Nothing was done.",
    }
    unknown = "How it ended is not known here: the master may have died."
    return words.get(line.get("result"), unknown)


def _stamp(at):
    if not isinstance(at, int | float):
        return "at an unknown time"
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def _span(seconds):
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{max(0, seconds):.0f} s"
