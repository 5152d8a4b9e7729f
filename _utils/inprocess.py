"""
A balancer's own execution modules inside its master's process, without a minion and without a job.
"""

import contextlib
import contextvars
import importlib
import json
import logging
import os
import sys
import threading

import salt.loader
import salt.pillar
from salt.exceptions import SaltException
from salt.loader.lazy import LazyLoader

log = logging.getLogger(__name__)

# Loaded with a loader, so that none of it is new in a failover.
WARM = (
    "address.missing", "arbiter.look", "claim.take", "decisions.read", "director.status",
    "fencing.off", "heartbeat.view", "ipvs.loaded", "marks.read", "topology.me",
)  # fmt: skip
KEPT = "/etc/cluster/pillar.json"  # see _modules/boot.py
WARM_UTILS = ("command.output", "etcd.call", "keeper.get", "record.apply", "topology.vms")


class _Loader(LazyLoader):
    """
    A loader that any number of threads may use at once.

    Salt's own keeps the context of a call in an attribute, where another thread finds it entered
    already, which raises. A loader for each thread instead costs half a second whenever more of
    them meet than ever before: in a failover. Ends when Salt's LazyLoader.run() uses a variable.
    """

    def run(self, function, *args, **kwargs):
        return contextvars.copy_context().run(self._run_as, function, *args, **kwargs)


class Minion:
    """
    The VM that this master runs on, as its modules see it: id, the cluster of its pillar with the
    passwords of its fence devices, and nothing else.
    """

    def __init__(self, opts):
        """opts: the master's."""
        self.opts = opts
        self.me = opts["id"].removesuffix("_master")
        self.known = self.loaded = (None, None)
        self.wrong = None  # or what is wrong with the pillar that is not used
        self.compiling, self.loading = threading.Lock(), threading.Lock()

    def call(self, function, *args, **kwargs):
        """Return what ``function`` ("module.function") returns; from any thread."""
        pillar = self.pillar()
        with self.loading:
            if self.loaded[0] is not pillar:
                self.loaded = (pillar, self._loader(pillar))
            loader = self.loaded[1]
        return loader[function](*args, **kwargs)

    def attempt(self, function, *args, **kwargs):
        """Return ``(answer, None)`` or ``(None, what went wrong)``."""
        try:
            return self.call(function, *args, **kwargs), None
        except SaltException as error:
            return None, str(error) or repr(error)  # Salt raises some without a word
        except Exception as error:  # whatever it is, it ends one step and not the failover
            log.exception("%s broke", function)
            return None, repr(error)

    def cluster(self):
        """Return the pillar's cluster."""
        return self.pillar()["cluster"]

    def pillar(self):
        """Return what there is of the pillar, compiled again only when one of its files changed."""
        with self.compiling:
            stamp = self._stamp()
            if self.known[0] != stamp:
                self.known = (stamp, self._compiled_or_kept())
            return self.known[1]

    def _compiled_or_kept(self):
        try:
            self.wrong, compiled = None, self._compiled()
            return compiled
        except Exception as error:
            self.wrong = f"the pillar is wrong, see ha.check; the one of before is used: {error}"
            before = self.known[1] or _kept()
            if before is None:
                raise
            log.warning("the failover goes by the pillar of before: %s", error)
            return before

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
        return {**_pillar(cluster, compiled.get("secrets")), "ends": compiled.get("ends")}

    def _loader(self, pillar):
        """
        Return a loader of nothing but this tree's modules.

        `salt.loader.minion_mods` would offer Salt's own as well: 50 MB and seconds at the first
        name that it does not find.
        """
        opts = {**self.opts, "id": self.me, "grains": {"id": self.me}}
        opts["pillar"] = pillar
        context = {}
        utils = _Loader(
            self._folders("_utils"), opts, tag="utils", pack={"__context__": context},
            _only_pack_properly_namespaced_functions=False,
        )  # fmt: skip
        pack = {"__context__": context, "__utils__": utils, "__opts__": opts}
        loader = _Loader(
            self._folders("_modules"), opts, tag="module", pack=pack, pack_self="__salt__"
        )
        for functions, names in ((loader, WARM), (utils, WARM_UTILS)):
            for name in names:
                with contextlib.suppress(KeyError):  # a tool may be missing here
                    functions[name]
        return loader

    def _folders(self, name):
        return [os.path.join(tree, name) for tree in self.opts["module_dirs"]]


def _pillar(cluster, secrets):
    return {"cluster": cluster, "secrets": {"fencing": (secrets or {}).get("fencing") or {}}}


def _kept():
    """Return the pillar of the last state run on this VM, None if there was none."""
    try:
        with open(KEPT, encoding="utf-8") as file:
            kept = json.load(file)
        return _pillar(kept["cluster"], kept.get("secrets"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def minion(opts):
    """Return the Minion of a master with these opts."""
    # For salt-run, whose threads load modules, too: see salt/minion/files/sitecustomize.py.
    sys.path[:] = [entry for entry in sys.path if not entry or os.path.exists(entry)]
    importlib.invalidate_caches()
    return Minion(opts)
