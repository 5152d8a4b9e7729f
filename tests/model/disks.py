"""
The records without a third machine, in every order: the code of `_modules/copies.py` itself runs on
two balancers, and a schedule says at each step of theirs what happens next.

A step is a write to a disk, a job to the other balancer, or its answer. Between two of them the
other balancer may take its turn, either may look at its record in another thread, lose its power or
boot, the link may be cut, one-way too, or healed, a job may be lost, lose its answer or be carried
out later, fencing may fail, an operator may say that a balancer without power is dead, which is
remembered until it is forgotten. A schedule is a function that is given what may
happen, as sentences, and returns the number of what does; 0 is what happens if nothing goes wrong.
"""

import json
import threading
import time
import types
import unittest.mock

from salt.exceptions import CommandExecutionError

from tests import pillars
from tests.loading import Utils, load

NAMES = ("lb1", "lb2")
KEY = "files"
FATES = ("is answered", "is lost", "loses its answer", "will come late")
TURNS = ("lb1", "lb2", "lb1", "lb2")  # who asks for a change, one after the other if all is well


class PowerCut(BaseException):
    """What a balancer was doing ends here, without another word."""


class Busy(Exception):
    """Somebody else holds the key."""


class Disk(dict):
    """The files of one balancer; what `_utils/keeper.py` does with real ones."""

    replaced = {}  # value: what it replaced where it was written first

    def get(self, folder, key):
        return tuple(self.read(f"{folder}/{key}.json") or (None, 0))

    def put(self, folder, key, value, revision, new=None):
        now, found = self.get(folder, key)
        if found != revision:
            return False, now, found
        self.replaced.setdefault(value, now)
        self.replace(f"{folder}/{key}.json", [value, new])
        return True, value, new

    def read(self, path):
        return json.loads(self[path]) if path in self else None

    def replace(self, path, content):
        self[path] = json.dumps(content)

    def stamp(self, folder, key):
        self.replace(f"{folder}/{key}.json", {"at": 0})

    def keys_in(self, folder):
        names = (path.rpartition("/") for path in list(self))
        return sorted(name[:-5] for parent, _, name in names
                      if parent == folder and name.endswith(".json"))

    def unlink(self, path):
        if self.pop(path, None) is None:
            raise FileNotFoundError(path)


class Balancer:
    """One balancer: its disk, what lies in its memory, and what it is doing."""

    def __init__(self, world, name):
        self.world, self.name, self.disk = world, name, Disk()
        keeper = {"keeper.get": self.disk.get, "keeper.read": self.disk.read,
                  "keeper.keys": self.disk.keys_in, "keeper.lately": lambda *_: False}
        for do in ("put", "replace", "stamp"):
            keeper[f"keeper.{do}"] = self._writing(getattr(self.disk, do))
        utils = Utils(keeper | {"hands.is_fresh": lambda view: True})
        away = lambda vm: not world.hears(name, vm)  # noqa: E731
        salt = {"marks.read": lambda: {"confirmed": dict(world.words)},
                "heartbeat.unreachable": away, "heartbeat.in_reach": lambda vm: not away(vm),
                "heartbeat.view": dict, "heartbeat.claims": lambda vm: {KEY: [1, 0]},
                "fencing.off": self._off}
        self.copies = load("_modules/copies.py", salt=salt, utils=utils, grains={"id": name},
                           pillar={"cluster": world.cluster})
        self.copies.log, self.copies._turn = unittest.mock.Mock(), self._turn
        self.copies.os = types.SimpleNamespace(unlink=self._writing(self.disk.unlink))
        self.reset()

    def reset(self):
        self.disk.clear()
        self.copies.__context__["copies.jobs"] = self
        self.powered, self.task, self.held = True, None, set()

    def boot(self):
        """Switch on: /run is empty."""
        self.powered, self.held = True, set()
        for path in [path for path in self.disk if path.startswith(self.copies.RUN)]:
            del self.disk[path]

    def _writing(self, function):
        def write(*arguments):
            self.world.step(self)
            return function(*arguments)
        return write

    def _turn(self, key, wait=True):
        return Turn(self, key, wait)

    def _off(self, vm, silent):
        self.world.step(self)
        if silent and self.world.hears(self.name, vm):
            raise CommandExecutionError(f"{vm} is heard")
        if self.world.choose("fencing works", "fencing fails"):
            raise CommandExecutionError(f"{vm} could not be switched off for certain")
        self.world.cut_power(self.world[vm])
        return {"device": "pdu1"}

    def ask(self, vm, function, arguments, _deadline, lost):
        """Carry a job to the other balancer, as `_utils/jobs.py` would; whatever becomes of it."""
        world, job = self.world, (vm, function, json.dumps(arguments))
        world.step(self)
        if lost():
            return None, None
        fate = world.choose(*(f"{self.name} tells {vm} {function}, which {what}" for what in FATES))
        if fate == 3:
            world.late.append(job)
        answer = world.carry(job) if fate in (0, 2) and world.hears(vm, self.name) else None
        world.step(self)
        return (answer, None) if fate == 0 and not lost() else (None, None)


class Turn:
    """A key held against the other writers of a balancer, as long as it has power."""

    def __init__(self, balancer, key, wait):
        self.held, self.key, self.wait = balancer.held, key, wait

    def __enter__(self):
        if self.key in self.held:
            raise Busy(self.key) if self.wait else BlockingIOError(self.key)
        self.held.add(self.key)

    def __exit__(self, *problem):
        self.held.discard(self.key)


class Task:
    """A change that a balancer asks for, in a thread that runs only when it is told to."""

    def __init__(self, world, balancer):
        self.world, self.balancer = world, balancer
        self.go, self.over, self.cut = threading.Semaphore(0), False, False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        self.go.acquire()
        try:
            if not self.cut:
                self.world.change(self.balancer)
        except (PowerCut, CommandExecutionError):
            pass
        except BaseException as error:
            self.world.problems.append(f"{self.balancer.name}: {error!r}")
        self.over = True
        self.world.done.release()

    def resume(self):
        """Let it run to its next step; called by the schedule, which waits."""
        self.go.release()
        self.world.done.acquire()

    def pause(self):
        """Wait for the next turn; called by the task's own thread."""
        self.world.done.release()
        self.go.acquire()
        if self.cut:
            raise PowerCut


class World(dict):
    """Both balancers and what is between them; `run` follows one schedule."""

    def __init__(self, driver):
        self.driver, self.cluster = driver, pillars.cluster()
        self.cluster["arbiter"] = {"driver": driver, "members": []}
        self.done, self.turns = threading.Semaphore(0), TURNS
        self.words, self.late, self.cuts, self.problems, self.carried = {}, [], set(), [], []
        for name in NAMES:
            self[name] = Balancer(self, name)

    def hears(self, name, vm):
        return self[vm].powered and (vm, name) not in self.cuts

    def carry(self, job):
        """Carry a job out; return its answer, None if there is nobody to answer in time."""
        vm, function, arguments = job
        self.carried.append((vm, function))
        balancer = self[vm]
        if not balancer.powered:
            return None
        before, self.handling = self.handling, True  # what a job does there is one step
        try:
            if function == "heartbeat.unreachable":
                return not self.hears(vm, json.loads(arguments)["vm"])
            call = getattr(balancer.copies, function.partition(".")[2])
            return json.loads(json.dumps(call(**json.loads(arguments))))
        except Busy:
            self.late.append(job)
            return None
        finally:
            self.handling = before

    def run(self, schedule, turns=None):
        """Follow a schedule; return [(what was taken, how many choices there were)]."""
        self.schedule, self.taken, self.story, self.problems = schedule, [], [], []
        self.handling, self.numbers = False, 0
        for each in (self.words, self.late, self.cuts, self.carried, Disk.replaced):
            each.clear()
        self.parents, self.known = {"v0": None}, ["v0"]
        for balancer in self.values():
            balancer.reset()
            balancer.disk.replace(f"{balancer.copies.DIRECTORY}/{KEY}.json", ["v0", 1])
            balancer.disk.stamp(balancer.copies.RUN, "compared")
        for name in turns or self.turns:
            self._wait_for(self[name])
            self._events()
            if self[name].powered:
                self[name].task = Task(self, self[name])
            self._events()
        for balancer in self.values():
            self._wait_for(balancer)
        taken = list(self.taken)
        self._end()
        return taken

    def choose(self, *options):
        """Return the number of the option that the schedule takes here."""
        number = self.schedule(options)
        self.taken.append((number, len(options)))
        if number:
            self.story.append(options[number])
        return number

    def step(self, balancer):
        """A point between two steps of a balancer, where other things may happen."""
        if not self.handling and balancer.task and not balancer.task.over:
            balancer.task.pause()

    def _wait_for(self, balancer):
        """Let a task end; before each of its steps something else may happen."""
        while balancer.task and not balancer.task.over:
            self._events(balancer)
            if not balancer.task.over:
                balancer.task.resume()
        balancer.task = None

    def _events(self, running=None):
        """Let things happen until the schedule goes on."""
        while True:
            events = self._possible(running)
            number = self.choose("goes on", *(name for name, _ in events))
            if not number:
                return
            events[number - 1][1]()

    def _possible(self, running):
        both = {NAMES, NAMES[::-1]}
        found = [("the link is healed", self.cuts.clear)] if self.cuts else [
            ("the link is cut", lambda: self.cuts.update(both)),
            *((f"{one} is heard by {other} no more", lambda c=(one, other): self.cuts.add(c))
              for one, other in sorted(both))]
        for balancer in self.values():
            name = balancer.name
            if name in self.words:
                found.append((f"that {name} is dead is forgotten",
                              lambda n=name: self.words.pop(n)))
            if balancer.powered:
                found.append((f"{name} loses its power", lambda b=balancer: self.cut_power(b)))
                found.append((f"another thread looks on {name}", lambda b=balancer: self._look(b)))
            else:
                found.append((f"{name} boots", balancer.boot))
                if name not in self.words:
                    found.append((f"{name} is confirmed dead", lambda n=name: self._say(n)))
            task = balancer.task
            if task and not task.over and not task.cut and balancer is not running:
                found.append((f"{name} does a step", task.resume))
        found += [(f"{job[1]} arrives late at {job[0]}", lambda j=job: self._deliver(j))
                  for job in self.late]
        return found

    def _say(self, name):
        self.words[name] = {"since": time.time(), "why": None}

    def _look(self, balancer):
        """Read the record as one step, whatever the balancer's own task has half done."""
        before, self.handling = self.handling, True
        try:
            self.read(balancer)
        except (Busy, CommandExecutionError):
            pass
        finally:
            self.handling = before

    def _deliver(self, job):
        self.late.remove(job)
        self.carry(job)

    def cut_power(self, balancer):
        """Also what was on its way to it is gone."""
        balancer.powered, balancer.held = False, set()
        self.late[:] = [job for job in self.late if job[0] != balancer.name]
        if balancer.task:
            balancer.task.cut = True  # when it is told to go on

    def read(self, balancer):
        """Read the record and act on it; return ``[value, revision]``."""
        value, revision = balancer.copies.get(KEY)
        self.story.append(f"{balancer.name} reads {value}, revision {revision}")
        self.act(balancer, value)
        return value, revision

    def change(self, balancer):
        """Read the record, act on it, and ask for the next one; what is granted is acted on."""
        value, revision = self.read(balancer)
        self.numbers += 1
        new = f"v{self.numbers * 7 % 10}{self.numbers}"  # in no order: the greater text wins a tie
        self.parents[new] = value
        written, now, revision = balancer.copies.put(KEY, new, revision)
        said = f"is granted {new} after {value}" if written else f"is refused, there is {now}"
        self.story.append(f"{balancer.name} {said}, revision {revision}")
        if written:
            self.act(balancer, new)
            if Disk.replaced[new] != value:
                self.problems.append(f"{new} was granted after {value}, over {Disk.replaced[new]}")

    def act(self, balancer, value):
        """Note that somebody acts on a record: it comes from all acted on, or they from it."""
        for other in self.known:
            if other not in self.line(value) and value not in self.line(other):
                self.problems.append(f"{balancer.name} acts on {value}, others did on {other}")
        self.known.append(value)

    def line(self, value):
        """Return a record and all those that it came from."""
        found = []
        while value:
            found.append(value)
            value = self.parents[value]
        return found

    def _end(self):
        """Whatever has happened: with power and link both agree in the end, and go on."""
        self.schedule = lambda options: 0
        self.cuts.clear()
        for job in list(self.late):
            self._deliver(job)
        for balancer in self.values():
            if not balancer.powered:
                balancer.boot()
        self.story.append("all is well again")
        for count, name in enumerate((*NAMES, *NAMES)):
            try:
                self.change(self[name])
            except CommandExecutionError as error:
                if count >= len(NAMES):
                    self.problems.append(f"{name} cannot go on: {error}")
        entries = [balancer.copies.own(KEY) for balancer in self.values()]
        if entries[0] != entries[1]:
            self.problems.append(f"both differ in the end: {entries}")
