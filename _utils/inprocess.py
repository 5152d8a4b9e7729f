"""
A balancer's own execution modules inside its master's process, without a minion and without a job.
"""

import contextlib
import importlib
import json
import logging
import os
import queue
import sys

import salt.loader
import salt.pillar
from salt.exceptions import SaltException
from salt.loader.lazy import LazyLoader

log = logging.getLogger(__name__)

# Loaded with a loader, so that none of it is new in a failover.
WARM = (
    "address.list", "arbiter.look", "claim.take", "decisions.read", "director.status",
    "fencing.off", "heartbeat.view", "ipvs.loaded", "marks.read", "topology.me",
)  # fmt: skip
KEPT = "/etc/cluster/pillar.json"  # see _modules/boot.py
WARM_UTILS = ("command.output", "etcd.call", "keeper.get", "record.apply", "topology.vms")


class Minion:
    """The VM that this master runs on, as its modules see it: id, pillar, and nothing else."""

    def __init__(self, opts):
        """opts: the master's."""
        self.opts = opts
        self.me = opts["id"].removesuffix("_master")
        self.loaders = queue.LifoQueue()
        self.known = (None, None)

    def call(self, function, *args, **kwargs):
        """Return what ``function`` ("module.function") returns; from any thread."""
        cluster = self.cluster()
        # A loader serves one thread at a time: Salt's LazyLoader.run() keeps the context of a
        # call in an attribute, so two at once may enter the same context, which raises.
        try:
            made_for, loader = self.loaders.get_nowait()
        except queue.Empty:
            made_for = None
        if made_for is not cluster:
            loader = self._loader(cluster)
        try:
            return loader[function](*args, **kwargs)
        finally:
            self.loaders.put((cluster, loader))

    def attempt(self, function, *args, **kwargs):
        """Return ``(answer, None)`` or ``(None, what went wrong)``."""
        try:
            return self.call(function, *args, **kwargs), None
        except SaltException as error:
            return None, str(error)
        except Exception as error:  # whatever it is, it ends one step and not the failover
            log.exception("%s broke", function)
            return None, repr(error)

    def cluster(self):
        """Return the pillar's cluster, compiled again only when one of its files changed."""
        stamp = self._stamp()
        if self.known[0] != stamp:
            try:
                self.known = (stamp, self._compiled())
            except Exception as error:
                before = self.known[1] or _kept()
                if before is None:
                    raise
                log.warning("the failover goes by the pillar of before: %s", error)
                self.known = (stamp, before)
        return self.known[1]

    def _stamp(self):
        found = []
        for root in self.opts["pillar_roots"]["base"]:
            with os.scandir(root) as entries:
                stats = sorted((entry.name, entry.stat()) for entry in entries if entry.is_file())
            found += [(root, name, stat.st_mtime_ns, stat.st_size) for name, stat in stats]
        return found

    def _compiled(self):
        compiler = salt.pillar.Pillar(self.opts, {"id": self.me}, self.me, "base")
        try:
            compiled = compiler.compile_pillar(ext=True)  # with the check of pillar and secrets
        finally:
            compiler.destroy()
        settled = salt.loader.utils(self.opts)["topology.settled"]
        cluster = settled(compiled.get("cluster"))
        if "_errors" in compiled or self.me not in (cluster or {}).get("vms", ()):
            raise SaltException(f"no pillar for {self.me}: {compiled.get('_errors', 'unknown')}")
        return cluster

    def _loader(self, cluster):
        """
        Return a loader of nothing but this tree's modules.

        `salt.loader.minion_mods` would offer Salt's own as well: 50 MB and seconds at the first
        name that it does not find.
        """
        opts = {**self.opts, "id": self.me, "grains": {"id": self.me}}
        opts["pillar"] = {"cluster": cluster}
        context = {}
        utils = LazyLoader(
            self._folders("_utils"), opts, tag="utils", pack={"__context__": context},
            _only_pack_properly_namespaced_functions=False,
        )  # fmt: skip
        pack = {"__context__": context, "__utils__": utils, "__opts__": opts}
        loader = LazyLoader(
            self._folders("_modules"), opts, tag="module", pack=pack, pack_self="__salt__"
        )
        for functions, names in ((loader, WARM), (utils, WARM_UTILS)):
            for name in names:
                with contextlib.suppress(KeyError):  # a tool may be missing here
                    functions[name]
        return loader

    def _folders(self, name):
        return [os.path.join(tree, name) for tree in self.opts["module_dirs"]]


def _kept():
    """Return the cluster of the last state run on this VM, None if there was none."""
    try:
        with open(KEPT, encoding="utf-8") as file:
            return json.load(file)["cluster"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def minion(opts):
    """Return the Minion of a master with these opts."""
    # For salt-run, whose threads load modules, too: see salt/minion/files/sitecustomize.py.
    sys.path[:] = [entry for entry in sys.path if not entry or os.path.exists(entry)]
    importlib.invalidate_caches()
    return Minion(opts)
