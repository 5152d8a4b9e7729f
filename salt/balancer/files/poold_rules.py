"""
Who gets connections: what is known of each real server, the choice, and the rules for the table.

Pure but for a line in the journal when a server changes. How a server is called is told in poold.
"""

import socket
import sys
import time

UP, DOWN, STUCK, UNFIT = "up", "down", "stuck", "unfit"
IN, OUT, CUT_OFF = "in", "out", "cut"
PAGE_FALL = 2  # pages that fail in a row until a server is unfit
CUT, TOGETHER = 5.0, 30.0  # seconds, see poold
ERROR, WARNING, INFO = 3, 4, 6


def say(level, text):
    """Write a line for the journal."""
    print(f"<{level}>{text}", file=sys.stderr, flush=True)


class Server:
    """What is known of one real server; it changes by what the checks find, and by nothing else."""

    def __init__(self, name, address, weight, state, now):
        self.name, self.address, self.weight = name, address, weight
        # Out before, it may have been drained, and be serving those that it has: not down.
        before = {UP: "served before", UNFIT: "was out before", DOWN: "is new"}
        self.state, self.why = state, before[state]
        self.trusted = state == UP  # was up since it was last down
        self.since, self.left, self.time = now, now, time.time()
        self.good = self.bad = self.misses = 0
        self.cut = False  # what it had was cut off since it was up
        self.silent = False  # it did not answer, which says less than a wrong answer

    def become(self, state, why, now):
        self.why = why
        if state == self.state:
            return
        if self.state == UP:
            self.left = now
        self.trusted = state == UP or (self.trusted and state != DOWN)
        level = INFO if state == UP else WARNING
        say(level, f"{self.name} is {state} (was {self.state}): {why}")
        self.state, self.since, self.time = state, now, time.time()
        self.misses = 0

    def note_alive(self, problem, why, check, now):
        """problem: None, DOWN, STUCK or UNFIT (a wrong answer)."""
        if problem:
            self.good, self.bad, self.silent = 0, self.bad + 1, problem == STUCK
            # Nothing is lost if one that is only slow gets nothing new for a while.
            if self.bad >= check["fall"] - (problem != DOWN):
                self.become(DOWN if problem == DOWN else STUCK, why, now)
            return
        self.good, self.bad = self.good + 1, 0
        if self.state in (DOWN, STUCK) and self.good >= check["rise"]:
            self.become(UNFIT, "is alive again, not yet asked whether it can serve", now)

    def note_page(self, problem, why, now):
        self.misses = self.misses + 1 if problem else 0
        if self.state in (UP, UNFIT):
            self.silent = problem == STUCK
        if self.state == UNFIT and not problem:
            self.become(UP, why, now)
        elif self.state == UNFIT:
            self.why = why
        elif self.state == UP and self.misses >= PAGE_FALL:
            self.become(UNFIT, why, now)


def choose(servers, drained, now):
    """
    Return {name: IN, OUT or CUT_OFF}: who gets connections, who keeps those it has.

    drained: name -> entry of `pool.drain`. One that is up serves all the same when nobody else is
    up: the other server may die while this one is being emptied. Not if it was forced out.
    """
    able = [server for server in servers if server.name not in drained]
    spare = [each for each in servers if each.name in drained and not _forced(drained, each)]
    up = [server for server in able if server.state == UP]
    serving = up or [server for server in spare if server.state == UP] or [
        server for server in able
        if server.trusted and server.state in (STUCK, UNFIT)
        and (server.silent or now - server.left < TOGETHER)
    ]  # fmt: skip
    found = {server.name: OUT for server in servers} | {server.name: IN for server in serving}
    for server in servers:
        lasting = server.state == STUCK and now - server.left >= CUT
        if found[server.name] == OUT and (server.state == DOWN or lasting):
            found[server.name] = CUT_OFF
    return found


def _forced(drained, server):
    entry = drained[server.name]
    return isinstance(entry, dict) and bool(entry.get("force"))


def read_table(text):
    """Return {service: {real server: (weight, connections)}} of the TCP part of TABLE."""
    table, service = {}, None
    for line in text.splitlines()[3:]:
        words = line.split()
        if words[0] != "->":
            service = table.setdefault(_endpoint(words[1]), {}) if words[0] == "TCP" else None
        elif service is not None:
            service[_endpoint(words[1])] = (int(words[3]), int(words[4]))
    return table


def _endpoint(text):
    address, _, port = text.partition(":")
    return f"{socket.inet_ntoa(bytes.fromhex(address))}:{int(port, 16)}"


def plan(table, services, servers, choice, sorry):
    """Return the ipvsadm rules that make the weights the chosen ones; notes whom it cuts off."""
    lines, everybody_out = [], IN not in choice.values()
    for service in services:
        here, port = table.get(service), service.rpartition(":")[2]
        if here is None:
            continue  # not loaded: that is the boot's and the state's business
        for server in servers:
            real, chosen = f"{server.address}:{port}", choice[server.name]
            weight, _ = here.get(real, (None, 0))
            if chosen == CUT_OFF and weight is not None and (weight or not server.cut):
                lines.append(f"-d -t {service} -r {real}")
            elif weight is None or bool(weight) != (chosen == IN):
                wanted = server.weight if chosen == IN else 0
                edit = "-a" if weight is None else "-e"
                lines.append(f"{edit} -t {service} -r {real} -m -w {wanted}")
        if port in sorry:
            weight, _ = here.get(sorry[port], (None, 0))
            if weight is None or bool(weight) != everybody_out:
                edit, wanted = "-a" if weight is None else "-e", int(everybody_out)
                lines.append(f"{edit} -t {service} -r {sorry[port]} -m -w {wanted}")
    for server in servers:
        server.cut = choice[server.name] == CUT_OFF
    return lines
