"""
Who is heard: the state of every peer and link, pure, without I/O and without a clock of its own.

A peer is dead only when it was silent on every link for deadtime, in time the observer itself was
running: after a pause of its own (a frozen VM, a stalled host) the silence counts from the start.
Unknown is a state of its own: never heard, and initdead is not over.

Time is seconds of one clock that never jumps (the daemon's is CLOCK_BOOTTIME). The wall clock
(``wall``, milliseconds) serves only to refuse an absurd incarnation.
"""

from typing import NamedTuple

from heartbeat import HEARSAY, HELD, NOBODY, Beat, Reason, Rejected, silent_of

UNKNOWN, UP, LATE, DEAD = "unknown", "up", "late", "dead"
# Far beyond any clock's error, and beyond any pause a sequence could have run on through.
AHEAD_INCARNATION = 86_400_000
AHEAD_SEQUENCE = 2**32


class Timing(NamedTuple):
    """ha.cf's words, seconds."""

    keepalive: float
    warntime: float
    deadtime: float
    initdead: float


class Change(NamedTuple):
    """A peer (link None) or one of its links changed its state."""

    peer: str
    link: str | None
    old: str
    new: str
    silence: float


class Watch:
    """
    The silence of one link, or of a peer on all of its links.

    Only being heard improves a state, only silence worsens it. Before the first heartbeat the
    state is unknown, and initdead stands for deadtime.
    """

    def __init__(self, now):
        self.state, self.since, self.changed = UNKNOWN, now, now

    def hear(self, now):
        """Return the state before."""
        old, self.state, self.since = self.state, UP, now
        if old != UP:
            self.changed = now
        return old

    def wait_again(self, now):
        """Count the silence from now: what went before, the observer itself was not there for."""
        if self.state != DEAD:
            self.since = now

    def judge(self, now, timing):
        """Return the state before."""
        old, silence = self.state, now - self.since
        if silence >= (timing.initdead if old == UNKNOWN else timing.deadtime):
            self.state = DEAD
        elif old == UP and silence >= timing.warntime:
            self.state = LATE
        if old != self.state:
            self.changed = now
        return old

    def due(self, timing):
        """Return when silence would change the state next."""
        waits = {UNKNOWN: timing.initdead, UP: timing.warntime, LATE: timing.deadtime}
        return self.since + waits.get(self.state, float("inf"))


class Track(Watch):
    """One link to one peer: its silence, its sequence numbers both ways, what was missed."""

    def __init__(self, now):
        super().__init__(now)
        self.sent = self.received = self.missed = self.sequence = 0

    def hear_number(self, sequence, now):
        """Return the state before."""
        if self.sequence:
            self.missed += sequence - self.sequence - 1
        self.sequence = sequence
        self.received += 1
        return self.hear(now)


class Peer(Watch):
    """What is known of another VM: dead only when silent on every link for deadtime."""

    def __init__(self, name, links, now):
        super().__init__(now)
        self.name, self.tracks = name, {link: Track(now) for link in links}
        self.incarnation = self.losses = self.version = 0
        self.claims, self.health, self.silent = {}, {}, {}

    def start(self, incarnation):
        """The peer's daemon started anew: its numbers begin again, on every link."""
        self.incarnation, self.version = incarnation, 0
        self.claims, self.health, self.silent = {}, {}, {}
        for track in self.tracks.values():
            track.sequence = 0

    def take(self, beat):
        """Take what the beat tells, unless a faster link brought a newer word; return if it is."""
        if beat.version <= self.version:
            return False
        self.version = beat.version
        self.claims, self.health, self.silent = beat.claims, beat.health, beat.silent
        return True

    def check(self, beat, limit):
        """Raise Rejected if the beat is not newer than all before; notice a new start."""
        if beat.incarnation < self.incarnation:
            raise Rejected(Reason.OLD)
        new = beat.incarnation > self.incarnation
        seen = 0 if new else self.tracks[beat.link].sequence
        if (new and beat.incarnation > limit) or beat.sequence > seen + AHEAD_SEQUENCE:
            raise Rejected(Reason.FUTURE)
        if beat.sequence <= seen:
            raise Rejected(Reason.REPLAYED)
        if new:
            self.start(beat.incarnation)


class View:
    """All peers as this VM hears them."""

    def __init__(self, name, incarnation, timing, peers, now):
        """peers: name -> names of the links to it."""
        self.name, self.incarnation, self.timing = name, incarnation, timing
        self.peers, self.counters = {}, {reason.value: 0 for reason in Reason}
        self.judged, self.due = now, now
        self.stalls, self.stall = 0, None
        self.version, self.told, self.news = 0, None, False
        self.configure(timing, peers, now)
        self.tell({}, {})

    def configure(self, timing, peers, now):
        """
        Take a new configuration; what stays in it keeps its history.

        To whom a link is new, numbers begin again, and who knows greater ones from before it was
        removed would take them for replayed: unless this is a new start.
        """
        self.timing, old, self.peers = timing, self.peers, {}
        if old and any(name not in old or set(links) - set(old[name].tracks)
                       for name, links in peers.items()):
            self.incarnation += 1
        for name, links in peers.items():
            peer = self.peers[name] = old.get(name) or Peer(name, links, now)
            peer.tracks = {link: peer.tracks.get(link) or Track(now) for link in links}
        self.due = now

    def absurd(self, wall):
        """Return whether nobody hears this VM because it was started by a clock far ahead."""
        heard = any(peer.state in (UP, LATE) for peer in self.peers.values())
        return self.incarnation > wall + AHEAD_INCARNATION and not heard

    def receive(self, beat, link, now, wall):
        """Take an authentic beat that came over ``link``; return Changes or raise Rejected."""
        if beat.receiver != self.name or beat.link != link:
            raise Rejected(Reason.MISDIRECTED)
        peer = self.peers.get(beat.sender)
        if peer is None or link not in peer.tracks:
            raise Rejected(Reason.STRANGER)
        if beat.echo > self.incarnation:
            # This VM lost its own note of it (a new disk, a clock set back): be newer than that.
            self.incarnation = beat.echo + 1
        peer.check(beat, max(wall, self.incarnation) + AHEAD_INCARNATION)
        if beat.echo != self.incarnation:
            raise Rejected(Reason.UNPROVEN)
        self.news |= peer.take(beat)
        tracked = peer.tracks[link]
        silent, total = now - tracked.since, now - peer.since
        olds = tracked.hear_number(beat.sequence, now), peer.hear(now)
        self.due = min(self.due, now + self.timing.warntime)
        return _changes(beat.sender, (link, olds[0], UP, silent), (None, olds[1], UP, total))

    def judge(self, now):
        """Let the silence until ``now`` count; return the Changes. Call it at every wake-up."""
        gap, self.judged = now - self.judged, now
        if gap > self.timing.deadtime / 2:
            self.stalls, self.stall = self.stalls + 1, (now, gap)
            for watch in self._watches():
                watch.wait_again(now)
        if now < self.due:
            return []
        found = []
        for peer in self.peers.values():
            for link, watch in (*peer.tracks.items(), (None, peer)):
                old = watch.judge(now, self.timing)
                found += _changes(peer.name, (link, old, watch.state, now - watch.since))
            peer.losses += old != peer.state == DEAD
        self.due = min((watch.due(self.timing) for watch in self._watches()), default=now + 1)
        return found

    def _watches(self):
        for peer in self.peers.values():
            yield peer
            yield from peer.tracks.values()

    def tell(self, claims, health):
        """Say this from the next beat on, and whom this VM does not hear."""
        states = {name: peer.state for name, peer in self.peers.items()}
        told = claims, health, silent_of(states, self._claiming())
        if told != self.told:
            self.version, self.told = self.version + 1, told

    def _claiming(self):
        """Return the peers that have taken a resource: somebody waits for word of their life."""
        return {
            name for name, peer in self.peers.items()
            if any(kind != HEARSAY for _, kind in peer.claims.values())
        }  # fmt: skip

    def beat(self, name, link):
        """Return the next Beat to a peer over a link."""
        peer = self.peers[name]
        track = peer.tracks[link]
        track.sent += 1
        return Beat(
            self.name, name, link, self.incarnation, track.sent, peer.incarnation,
            self.version, *self.told,
        )  # fmt: skip

    def rumours(self, own):
        """Return own claims, and higher epochs told first-hand by peers that are heard."""
        told = dict(own)
        for peer in self.peers.values():
            for resource, (epoch, kind) in peer.claims.items() if peer.state == UP else ():
                if kind != HEARSAY and epoch > told.get(resource, (0,))[0]:
                    told[resource] = (epoch, HEARSAY)
        return told


def superseded(own, heard):
    """Return (resource, held epoch, heard epoch) of what is held here and was taken elsewhere."""
    return [
        (resource, epoch, heard[resource][0])
        for resource, (epoch, kind) in own.items()
        if kind == HELD and heard.get(resource, (0,))[0] > epoch
    ]


def hearing(silent):
    """Return whom a VM does not hear, and whether it hears nobody, as the view says it."""
    told = {name: word for name, word in silent.items() if name != NOBODY}
    return {"silent": told, "deaf": NOBODY in silent}


def _changes(peer, *steps):
    return [Change(peer, *step) for step in steps if step[1] != step[2]]


def report(view, now):
    """Return the peers as plain data, times as seconds before now; deaf: it hears nobody."""
    return {
        peer.name: {
            "state": peer.state,
            "for": round(now - peer.changed, 3),
            "silence": round(now - peer.since, 3),
            "incarnation": peer.incarnation,
            "losses": peer.losses,
            "claims": peer.claims,
            "health": peer.health,
            **hearing(peer.silent),
            "links": {
                link: {
                    "state": track.state,
                    "silence": round(now - track.since, 3),
                    "received": track.received,
                    "missed": track.missed,
                }
                for link, track in peer.tracks.items()
            },
        }
        for peer in view.peers.values()
    }
