"""
A balancer's own execution modules inside its master's process, without a minion and without a job.
"""

import logging
import os
import queue

import salt.loader
import salt.pillar
from salt.exceptions import SaltException

log = logging.getLogger(__name__)


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
        try:
            loader = self.loaders.get_nowait()
        except queue.Empty:
            loader = None
        # A loader serves one thread at a time: Salt's LazyLoader.run() keeps the context of a
        # call in an attribute, so two at once may enter the same context, which raises.
        if loader is None or loader.opts["pillar"]["cluster"] is not cluster:
            loader = self._loader(cluster)
        try:
            return loader[function](*args, **kwargs)
        finally:
            self.loaders.put(loader)

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
            except Exception:
                if self.known[1] is None:
                    raise
                log.exception("the pillar is wrong; the failover goes by what it was before")
                self.known = (stamp, self.known[1])
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
            compiled = compiler.compile_pillar(ext=False)
        finally:
            compiler.destroy()
        settled = salt.loader.utils(self.opts)["topology.settled"]
        cluster = settled(compiled.get("cluster"))
        if "_errors" in compiled or self.me not in (cluster or {}).get("vms", ()):
            raise SaltException(f"no pillar for {self.me}: {compiled.get('_errors', 'unknown')}")
        return cluster

    def _loader(self, cluster):
        opts = {**self.opts, "id": self.me, "grains": {"id": self.me}}
        opts["pillar"] = {"cluster": cluster}
        return salt.loader.minion_mods(opts, utils=salt.loader.utils(opts))


def minion(opts):
    """Return the Minion of a master with these opts."""
    return Minion(opts)
