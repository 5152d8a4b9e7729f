"""
Heartbeats between the VMs of the cluster, and the view of who is heard, in /run.

One loop that never waits for anything but packets and its clock: no disk, no resolver, no lock, no
log that could block. It has real-time priority and locked memory, so a saturated CPU or a disk that
stands still for ten seconds is no silence. What may touch a disk, a child process does
(heartbeat_helper). It decides nothing; the one thing it acts on is a higher epoch for a resource
that is served here: it runs the step-down hook.

SIGHUP: read the configuration again.
Usage: heartbeatd.py [[--check [BEFORE]] CONFIGURATION]: with the configuration of before, also
whether the others, who may have that one still, will be heard.
"""

import gc
import os
import selectors
import signal
import socket
import stat
import sys
import time

import heartbeat
import heartbeat_config
import heartbeat_links
import heartbeat_system
from heartbeat import Reason, Rejected
from heartbeat_helper import Helper
from heartbeat_system import ERROR, INFO, WARNING, clock
from heartbeat_view import DEAD, LATE, View, hearing, report, superseded

CONFIGURATION = "/etc/cluster/heartbeat.json"
BATCH = 256  # packets read from a link before anything else has its turn
REST = 0.01  # seconds at least, and as long as it took: how long a link rests that brought rubbish
PUBLISH = 1.0  # seconds between two views when nothing changes
QUIET = (Reason.MISDIRECTED, Reason.UNPROVEN)  # ordinary on a shared wire, or after a start


class Daemon:
    """The loop and what it holds."""

    def __init__(self, path, config):
        self.path, self.config = path, config
        paths = config.paths
        self.log = heartbeat_system.Log(paths["log"])
        self.systemd = heartbeat_system.Systemd()
        incarnation, problem = heartbeat_system.next_incarnation(
            paths["incarnation"], time.time_ns() // 1_000_000
        )
        self.helper = Helper(paths["claims"])
        self.kept = incarnation
        now = clock()
        self.view = View(config.name, incarnation, config.timing, config.peers(), now)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.helper, selectors.EVENT_READ, self.hear_helper)
        self.links, self.resting, self.answered = {}, {}, {}
        self.next_tick, self.next_view, self.ticks = now, now, 0
        self.seen, self.own, self.health = {}, {}, {}
        self.changed = False
        self.reload = self.stop = False
        self.take(config)
        for text in [*heartbeat_system.privileged(), *([problem] if problem else [])]:
            self.log.say(WARNING, text, f"not as safe as it should be: {text}")

    def take(self, config):
        """Use a configuration; links that stay the same stay open."""
        for name, link in list(self.links.items()):
            if config.links.get(name) != self.config.links.get(name):
                self.drop(link)
                del self.links[name]
        for name, entry in config.links.items():
            if name not in self.links:
                self.links[name] = heartbeat_links.make(name, entry)
        self.config, self.identity = config, heartbeat.identity(config.cluster)
        self.view.configure(config.timing, config.peers(), clock())
        self.connect()

    def connect(self):
        """Open the links that are not (or lost their interface), and listen to them."""
        for link in self.links.values():
            if link.is_open() and not link.is_stale():
                continue
            self.drop(link)
            if link.open():
                self.selector.register(link, selectors.EVENT_READ, self.hear)
            else:
                text = f"link {link.name} is not open: {link.problem}"
                self.log.say(WARNING, ("link", link.name), text)

    def forget(self, link):
        """Take a link out of the selector, by itself: its descriptor may be closed already."""
        for key in list(self.selector.get_map().values()):
            if key.fileobj is link:
                self.selector.unregister(link)
        self.resting.pop(link, None)

    def drop(self, link):
        self.forget(link)
        link.close()

    def run(self):
        """Until SIGTERM."""
        self.systemd.say(f"READY=1\nSTATUS=observes {len(self.view.peers)} VMs")
        gc.collect()
        gc.freeze()
        while not self.stop:
            now = clock()
            until = min(self.next_tick, self.view.due, *self.resting.values())
            for key, _ in self.selector.select(max(0.0, until - now)):
                key.data(key.fileobj)
            self.wake()
            # Judged only after everything that had arrived was read.
            self.note(self.view.judge(clock()))
            if clock() >= self.next_tick:
                self.tick()
            if self.changed or self.view.news:
                self.publish()
        self.helper.end()

    def wake(self):
        """Listen again to links that rested long enough; obey the signals."""
        now = clock()
        for link, until in list(self.resting.items()):
            if now >= until:
                del self.resting[link]
                if link.is_open():
                    self.selector.register(link, selectors.EVENT_READ, self.hear)
        if self.reload:
            self.reload = False
            self.helper.ask(config=self.path)

    def hear(self, link):
        """Take what came over a link; under a flood the rest of the VM keeps half the processor."""
        if not link.is_open():
            return  # by a new configuration, which came at the same moment
        start = clock()
        packets, rubbish = link.receive(BATCH)
        self.view.counters[Reason.STRANGER.value] += rubbish
        for packet in packets:
            rubbish += self.hear_packet(link, packet, start)
        if not link.is_open():
            self.forget(link)
        elif rubbish:
            self.selector.unregister(link)
            end = clock()
            self.resting[link] = end + max(REST, end - start)

    def hear_packet(self, link, packet, now):
        """Take one packet; return whether it was rubbish."""
        beat = None
        try:
            beat = heartbeat.decode(packet, self.config.keys, self.identity)
            changes = self.view.receive(beat, link.name, now, time.time_ns() // 1_000_000)
        except Rejected as rejected:
            return self.refuse(rejected.reason, link, beat, now)
        self.note(changes)
        self.step_down(beat)
        return False

    def refuse(self, reason, link, beat, now):
        """Count a packet that changes nothing, say so at times; return whether it is rubbish."""
        self.view.counters[reason.value] += 1
        if reason is Reason.UNPROVEN and now >= self.answered.get(beat.sender, 0):
            # It has just started, or we have: let it hear at once what it has to echo.
            self.answered[beat.sender] = now + self.config.timing.keepalive / 2
            self.send(link, beat.sender)
        if reason in QUIET:
            return False
        sender = f" that names {beat.sender!a} as its sender" if beat else ""
        text = f"{reason.value} packet{sender} on link {link.name} dropped"
        self.log.say(WARNING, (reason, link.name), text)
        return True

    def tick(self):
        """Send the heartbeats, publish the view, tell systemd that the loop runs."""
        now = clock()
        self.next_tick = max(self.next_tick + self.config.timing.keepalive, now)
        self.connect()
        self.know_self()
        self.ticks += 1
        for link in self.links.values():
            for peer in link.peers if link.is_open() and self.ticks % link.every == 0 else ():
                self.send(link, peer)
        if self.view.incarnation != self.kept:
            self.kept = self.view.incarnation
            self.helper.ask(incarnation=self.kept, path=self.config.paths["incarnation"])
        if now >= self.next_view:
            self.publish()
            self.mend_clock()
        self.systemd.say("WATCHDOG=1")

    def mend_clock(self):
        """Start anew if a clock far ahead started this VM, so that nobody takes its word."""
        if self.view.absurd(time.time_ns() // 1_000_000):
            self.log.say(ERROR, "clock", "started by a clock far ahead; starting anew by this one")
            sys.exit(1)

    def send(self, link, peer):
        beat = self.view.beat(peer, link.name)
        link.send(peer, heartbeat.encode(beat, self.config.keys[0], self.identity))

    def know_self(self):
        """Read from /run, a tmpfs, what is served here and how the services are."""
        held = heartbeat_system.entries(self.config.paths["held"])
        health = heartbeat_system.entries(self.config.paths["health"])
        own = {name: (epoch, heartbeat.SEEN) for name, epoch in self.seen.items()}
        own.update((name, (entry.get("epoch"), heartbeat.HELD)) for name, entry in held.items())
        self.own = heartbeat.claims_of(own)
        self.health = heartbeat.health_of(heartbeat.current(health, clock()))
        self.view.tell(heartbeat.claims_of(self.view.rumours(self.own)), self.health)

    def step_down(self, beat):
        """Run the hook if the sender knows a higher epoch of what is served here."""
        for resource, held, higher in superseded(self.own, beat.claims):
            text = f"{resource} is held at epoch {held}, {beat.sender} knows {higher}: step down"
            self.log.say(ERROR, ("step-down", resource), text)
            self.helper.ask(
                hook=self.config.paths["step_down"], resource=resource, held=held, heard=higher
            )

    def hear_helper(self, helper):
        for message in helper.answers():
            if "claims" in message:
                self.seen = message["claims"]
            elif "problem" in message:
                self.log.say(ERROR, "helper", message["problem"])
            elif "config" in message:
                self.reconfigure(message["config"])
        if not helper.alive:
            self.log.say(ERROR, "helper", "the helper process ended; starting anew")
            sys.exit(1)

    def reconfigure(self, text):
        try:
            config = heartbeat_config.parse(text)
            if (config.name, config.paths) != (self.config.name, self.config.paths):
                raise ValueError("another name or other paths need a restart")
        except ValueError as error:
            self.log.say(ERROR, "config", f"the configuration stays as it was: {error}")
            return
        self.take(config)
        self.log.say(INFO, "config", "the configuration was read again")

    def note(self, changes):
        for change in changes:
            level = {DEAD: ERROR, LATE: WARNING}.get(change.new, INFO)
            what = f"link {change.link} to {change.peer}" if change.link else change.peer
            text = f"{what} is {change.new} (was {change.old}) after {change.silence:.2f} s"
            self.log.say(level, (change.peer, change.link, change.new), text)
        self.changed |= bool(changes)
        if any(change.link is None for change in changes):
            # Whom this VM hears or not, the other observers learn at once.
            self.next_tick = clock()

    def publish(self):
        """Write the view; ``at`` is CLOCK_BOOTTIME, everything else counts seconds before it."""
        now = clock()
        self.next_view, self.changed, self.view.news = now + PUBLISH, False, False
        stall = self.view.stall
        heartbeat_system.publish(self.config.paths["view"], {
            "name": self.view.name,
            "incarnation": self.view.incarnation,
            "at": now,
            "time": time.time(),
            "timing": self.config.timing._asdict(),
            "stalls": {
                "count": self.view.stalls,
                "last": stall and {"ago": now - stall[0], "seconds": stall[1]},
            },
            "own": {"claims": self.own, "health": self.health, **hearing(self.view.told[-1])},
            "links": {
                name: {"open": link.is_open(), "dropped": link.dropped, "problem": link.problem}
                for name, link in self.links.items()
            },
            "counters": self.view.counters,
            "peers": report(self.view, now),
        })  # fmt: skip


def signals(daemon):
    """Let signals end the wait of the selector."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    daemon.selector.register(ours, selectors.EVENT_READ, lambda end: end.recv(4096))
    signal.signal(signal.SIGHUP, lambda *_: setattr(daemon, "reload", True))
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: setattr(daemon, "stop", True))
    return theirs  # closed, it would take the wake-ups with it


def main(*arguments):
    """Run; a configuration that others can read, or that is wrong, ends it before it starts."""
    *options, path = arguments or (CONFIGURATION,)
    try:
        with open(path, encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ValueError("others can read it, and it holds the key; chmod 600 it")
            config = heartbeat_config.parse(file.read())
        if options[1:]:
            heartbeat_config.refuse_deaf(options[1], config)
    except (OSError, ValueError) as error:
        sys.exit(f"heartbeatd: {path}: {error}")
    if options[:1] == ["--check"]:
        return
    daemon = Daemon(path, config)
    _wakeup = signals(daemon)
    daemon.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
