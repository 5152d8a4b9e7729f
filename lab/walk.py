"""A random walk over faults, the same for the same seed: what `bin/test lab --soak` runs."""

import random
import time

from lab.errors import LabError

# Names of units; the first of them is mysql or mariadb.
SERVICES = {"database": ["m[ya][sr]*", "salt-minion"], "file": ["files-mountd", "salt-minion"],
            "web": ["apache2", "php*-fpm"], "balancer": ["poold", "etcd", "salt-master"]}


def power(ordeal, chance):
    """A VM, or a whole server, loses power and comes back later."""
    target = chance.choice([*ordeal.lab.machines, *ordeal.lab.servers])
    ordeal.crash(target)
    yield chance.uniform(3, 20)
    ordeal.start(target)


def freeze(ordeal, chance):
    """A VM stands still, for less than deadtime or for much longer."""
    target = chance.choice([*ordeal.lab.machines])
    ordeal.pause(target)
    yield chance.choice([0.5, 1.5, 4, 10, 20])
    ordeal.resume(target)


def link(ordeal, chance):
    """A cable is pulled: of a VM, of a server, of one interface, half of it."""
    owner = chance.choice([*ordeal.lab.machines, *ordeal.lab.servers])
    found = [each.interface for each in ordeal.lab.network.links(owner)]
    if owner in ordeal.lab.serial.vms:
        found.append("serial")
    interface = chance.choice([None, *found])
    target = f"{owner}:{interface}" if interface else owner
    ordeal.cut(target, chance.choice([None, None, "in", "out"]))
    yield chance.uniform(1, 20)
    ordeal.heal(owner)


def loss(ordeal, chance):
    """A link loses frames."""
    target = chance.choice([*ordeal.lab.machines])
    ordeal.lose(target, chance.choice([5, 15, 30]))
    yield chance.uniform(5, 20)
    ordeal.heal(target)


def service(ordeal, chance):
    """A service is killed, or hangs for a while."""
    machine = chance.choice([m for m in _working(ordeal) if m.role in SERVICES])
    name = chance.choice(SERVICES[machine.role])
    how = chance.choice(["KILL", "STOP"])
    ordeal.signal(machine.name, name, how)
    yield chance.uniform(2, 15)
    if how == "STOP" and machine in _working(ordeal):
        ordeal.signal(machine.name, name, "CONT")


def reboot(ordeal, chance):
    """A VM reboots by itself."""
    ordeal.end(chance.choice(_working(ordeal)).name, "systemctl reboot -ff")
    yield chance.uniform(3, 10)


def move(ordeal, chance):
    """An operator moves a resource; a refusal is an answer."""
    resource = chance.choice(["director", "files", "database"])
    ordeal.ha("switch", resource, ordeal.standby(resource))
    yield 1


def _working(ordeal):
    """Return the machines that answer a command: another fault may be under way."""
    return [each for each in ordeal.lab.machines.values() if each.running and not each.paused]


KINDS = {power: 5, freeze: 3, link: 4, loss: 1, service: 4, reboot: 1, move: 3}


def walk(ordeal, minutes, seed):
    """
    Inject faults, sometimes two at a time, and mend them; return how many of each kind.

    After each the cluster has to be whole again: raises LabError with what it waited for.
    """
    chance, counts = random.Random(seed), {}
    end = time.monotonic() + minutes * 60
    while time.monotonic() < end:
        kinds = chance.choices([*KINDS], [*KINDS.values()], k=chance.choice([1, 1, 1, 2]))
        waiting = []
        for kind in kinds:
            counts[kind.__name__] = counts.get(kind.__name__, 0) + 1
            running = kind(ordeal, chance)
            waiting.append((running, next(running)))
        for running, seconds in waiting:
            time.sleep(seconds)
            next(running, None)
        ordeal.settle()
        found = ordeal.problems + ordeal.watch.violations
        if found:
            raise LabError(f"seed {seed}, after {counts}: " + "\n".join(found))
    return counts
