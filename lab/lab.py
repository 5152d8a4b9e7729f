"""The lab: every server, machine and network of one cluster on this host, by name."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import client, config, moodle, power, seed
from lab import network as networks
from lab import tree as trees
from lab.errors import CommandFailed, LabError
from lab.image import Images
from lab.machine import Machine
from lab.process import Processes
from lab.serial import INTERFACE, Serial

DEFAULTS = {"engine": None, "full_size": False, "moodle": None, "pillar": None}


class Server:
    """A physical server: what dies together."""

    def __init__(self, name, machines):
        self.name, self.machines = name, machines

    def start(self):
        """Switch every VM on."""
        for machine in self.machines:
            machine.start()

    def crash(self):
        """Pull the plug: all VMs at the same moment."""
        for machine in self.machines:
            machine.processes.kill()
        for machine in self.machines:
            machine.crash()

    def pause(self):
        """Freeze every VM."""
        for machine in self.machines:
            machine.pause()

    def resume(self):
        """Let every frozen VM go on."""
        for machine in self.machines:
            machine.resume()


class Lab:
    """
    One lab of this checkout. `options` are remembered at the first `up`; later calls read them.

    Faults take the name of a VM or of a server; cut and heal take one interface as well
    (lb1:eth1).
    """

    def __init__(self, root, name="default", options=None):
        self.root, self.name = Path(root).resolve(), name
        self.run_folder = self.root / ".lab" / name
        self._file = self.run_folder / "lab.json"
        self.options = {**DEFAULTS, **self._remembered(), **(options or {})}
        self.bootstrap = config.bootstrap(self.root)
        self.topology = self.bootstrap.load("topology")
        self._configure()
        self.engine = self.cluster["database"]["engine"]
        self.images = Images(self.root, self.engine)
        # Two checkouts may use the same name: the namespaces' names must differ all the same.
        place = hashlib.sha256(str(self.root).encode()).hexdigest()[:6]
        self.id = f"lab-{name}-{place}"
        self.sockets = Path("/run", self.id)  # a socket's path may have 108 signs only
        entries = self.topology.vms(self.cluster)
        self.network = networks.Network(self.id, networks.plan(self.cluster, entries))
        self.serial = Serial(self.run_folder / "serial", self._pairs(entries), {
            server: [entry["name"] for entry in entries if entry["server"] == server]
            for server in self.cluster["servers"]
        })
        self.fence = power.Fence(self)
        self.machines = {entry["name"]: self._machine(number, entry)
                         for number, entry in enumerate(entries)}
        self.proxy = Processes(self.run_folder / "proxy.json")
        self.servers = {
            server: Server(server, [m for m in self.machines.values() if m.server == server])
            for server, entry in self.cluster["servers"].items() if entry is not None
        }

    def _pairs(self, entries):
        """Return the pairs of VMs that a serial line connects, if the pillar wants any."""
        wanted = self.cluster["heartbeat"].get("serial")
        found = [(entry["name"], self.topology.peer(self.cluster, entry["name"]))
                 for entry in (entries if wanted else [])]
        names = [(name, peer["name"]) for name, peer in found if peer]
        return [(a, b) for index, (a, b) in enumerate(names) if (b, a) not in names[:index]]

    def _machine(self, number, entry):
        engine = self.engine if entry["role"] == "database" else None
        return Machine(entry, self, self.network.address(number), self.images.tree(),
                       self.images.image(engine))

    def _remembered(self):
        try:
            return json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}

    def _configure(self):
        merge = self.bootstrap.merge
        self.overlay = config.overlay(self.root, self.options, merge)
        pillar = config.read(self.root / "pillar/cluster.sls")
        self.cluster = self.topology.settled(merge(pillar, self.overlay))
        config.refuse_wrong(self.bootstrap.errors(self.cluster))

    def refuse_change(self, wanted):
        """Raise LabError if `wanted` would change what a lab that is up was built with."""
        for key, value in wanted.items() if self.exists else ():
            before = self._remembered().get(key)
            if before != value and key != "moodle":
                raise LabError(f"the lab {self.name!r} is up with {key} {before}, not {value}; "
                               "take it down first, or give another --name")

    @property
    def exists(self):
        """Whether this lab was brought up and not taken down."""
        return self._file.exists()

    @property
    def url(self):
        """Where the site is found from outside."""
        return self.cluster["moodle"]["url"]

    @property
    def has_moodle(self):
        """Whether a real Moodle runs here, and not what stands in for it."""
        return self.options["moodle"]["source"] != moodle.stand_in(self.root)["source"]

    def prepare(self):
        """Write everything that machines need before they are started."""
        for folder in ("tree", "machines", "seed", "ssh", "moodle", "logs"):
            (self.run_folder / folder).mkdir(parents=True, exist_ok=True)
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        source = self.options["moodle"] or moodle.stand_in(self.root)
        self.options["moodle"] = moodle.fetch(source, self.run_folder / "moodle")
        self._configure()
        trees.write(self._file, json.dumps(self.options, indent=1))
        self.push()
        self._keys()
        self._seeds()

    def push(self):
        """Bring the masters' tree up to date; return the paths that changed."""
        tree = self.run_folder / "tree"
        changed = trees.push(self.root, tree)
        overlay = self.topology.dump({"cluster": self.overlay})
        text = f"# Written by bin/lab at every push.\n{overlay}"
        if trees.write(tree / "pillar/local.sls", text):
            changed.append("pillar/local.sls")
        trees.make_secrets(self.root, tree)
        return changed

    def secrets(self):
        """Return the lab's secrets as a dict."""
        return self.bootstrap.secrets(self.run_folder / "tree")

    def students(self, *words):
        """Return (argv, environment) that play students where only the public network is."""
        secret = {}
        if self.has_moodle:  # of which a page costs a web VM a second
            admin = self.cluster["moodle"]["admin"]["user"]
            words = ["--site=moodle", f"--account={admin}", "--students=6", "--rate=0.7",
                     "--upload-every=3", "--patience=60", *words]
            secret[client.SECRET] = self.secrets()["moodle"]["admin"]
        argv, environment = self.outsider("lab.client", "--url", self.url, *words)
        return argv, environment | secret

    def outsider(self, module, *words):
        """Return (argv, environment) that run a module of ours where only the public network is."""
        argv = ["nsenter", f"--net=/run/netns/{self.network.outside_name}", sys.executable, "-m",
                module, *map(str, words)]
        return argv, {**os.environ, "PYTHONPATH": str(self.root)}

    def _keys(self):
        folder = self.run_folder / "ssh"
        for name in ("id", "host"):
            if not (folder / name).exists():
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name,
                                "-f", folder / name], check=True, capture_output=True)
        trees.write(folder / "known_hosts", f"{self.name} {(folder / 'host.pub').read_text()}")

    def _seeds(self):
        folder, tree = self.run_folder / "ssh", self.run_folder / "tree"
        secrets = self.secrets()
        for machine in self.machines.values():
            content = self.bootstrap.files(self.cluster, secrets, machine.name)
            content |= self.bootstrap.units(machine.role)
            content[power.AGENT] = (0o755, (self.root / "lab/fence_lab.py").read_text())
            content |= seed.files(machine.entry, {
                "address": machine.address, "prefix": self.network.plan.management.prefixlen,
                "host_key": (folder / "host").read_text(),
                "authorized_key": (folder / "id.pub").read_text(),
                "network_template": (tree / seed.NETWORK).read_text(),
                "networks": self.topology.networks_of(self.cluster, machine.name),
            })
            seed.plant(self.run_folder / "seed" / machine.name, content, machine.role,
                       machine.links)

    def down(self):
        """Take everything away: processes, networks, disks, logs."""
        self.stop()
        shutil.rmtree(self.run_folder, ignore_errors=True)

    def forget(self):
        """Remove the disks and all else that is known of this lab; the logs stay."""
        for path in self.run_folder.iterdir() if self.run_folder.exists() else []:
            if path.name != "logs":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def stop(self):
        """End the processes and remove the networks; disks and logs stay."""
        self.proxy.kill()
        self.serial.down()
        self.fence.processes.kill()
        for machine in self.machines.values():
            machine.processes.kill()
        with ThreadPoolExecutor(len(self.machines)) as pool:
            list(pool.map(lambda machine: machine.crash(), self.machines.values()))
        self.network.down()
        shutil.rmtree(self.sockets, ignore_errors=True)

    def __getitem__(self, name):
        if name not in self.machines:
            raise LabError(f"no VM {name!r}; there are {', '.join(self.machines)}")
        return self.machines[name]

    def target(self, name):
        """Return the VM or server of that name; both can start, crash, pause, resume."""
        found = self.machines.get(name) or self.servers.get(name)
        if not found:
            raise LabError(f"no VM or server {name!r}; there are "
                           f"{', '.join([*self.machines, *self.servers])}")
        return found

    def start(self, name):
        """Switch a VM or a server on."""
        self.target(name).start()

    def crash(self, name):
        """Cut the power of a VM or a server."""
        self.target(name).crash()

    def pause(self, name):
        """Freeze a VM or a server."""
        self.target(name).pause()

    def resume(self, name):
        """Let a VM or a server go on."""
        self.target(name).resume()

    def cut(self, name, way=None):
        """Cut the cables of a VM or a server, or one (lb1:eth1); `way` in or out cuts half."""
        if not name.endswith(f":{INTERFACE}"):
            self.network.cut(name, way)
        self.serial.cut(name, way)

    def heal(self, name):
        """Undo every cut of a VM, a server or one link."""
        if not name.endswith(f":{INTERFACE}"):
            self.network.heal(name)
        self.serial.heal(name)

    def lose(self, name, percent):
        """Lose some of what the links of a VM or a server carry, until `heal`."""
        self.network.lose(name, percent)

    def cuts(self):
        """Return what is cut now, as the targets that `heal` takes."""
        return [*self.network.cuts(), *self.serial.cuts()]

    def run(self, name, argv, **options):
        """Run a command in a VM; return its CompletedProcess."""
        return self[name].run(argv, **options)

    def succeed(self, name, *argv, **options):
        """Run a command in a VM that has to succeed; return its output."""
        return self[name].succeed(*argv, **options)

    def masters(self):
        """Return the machines that are Salt masters and have power."""
        return [machine for machine in self.machines.values()
                if machine.role == "balancer" and machine.running and not machine.paused]

    def master(self):
        """Return the first Salt master that answers; raises LabError."""
        for machine in self.masters():
            if machine.answers():
                return machine
        raise LabError("no Salt master answers")

    def salt(self, *arguments, timeout=300):
        """Run `salt` on a master; return its output. Raises CommandFailed."""
        self.push()
        return self.master().succeed("/opt/salt/bin/salt", *arguments, timeout=timeout)

    def outside(self, argv, timeout=60, stdin=None):
        """Run a command in the world outside the cluster, which sees the public network only."""
        command = ["nsenter", f"--net=/run/netns/{self.network.outside_name}", *map(str, argv)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True,
                              errors="replace", timeout=timeout)

    def open(self, port=0):
        """
        Return the port of the HTTP proxy on 127.0.0.1, started if need be (0: any free one).

        One that listens elsewhere is replaced. Raises LabError for a port that cannot be had.
        """
        known = self.run_folder / "proxy.port"
        if self.proxy.pid and known.exists() and port in (0, int(known.read_text())):
            return int(known.read_text())
        host = urllib.parse.urlsplit(self.url).hostname
        try:
            listening = socket.create_server(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise LabError(f"--port {port} cannot be had: {error}") from error
        with listening as listener:
            self.proxy.kill()
            child = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.network.outside_name}", sys.executable,
                 self.root / "lab/proxy.py", str(listener.fileno()),
                 f"{host}={self.cluster['addresses']['public']}"],
                pass_fds=[listener.fileno()], start_new_session=True, cwd="/",
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            self.proxy.remember(child.pid)
            trees.write(known, str(listener.getsockname()[1]))
        return int(known.read_text())

    def fetch(self, url=None, timeout=10):
        """Return the body of the site's page, asked from outside; raises CommandFailed."""
        argv = ["curl", "-sSfL", "--max-time", timeout, url or self.url]
        done = self.outside(argv, timeout + 5)
        if done.returncode:
            raise CommandFailed(argv, done.returncode, done.stderr)
        return done.stdout
