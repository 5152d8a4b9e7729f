"""Load one of the project's Salt modules as a fresh object with its dunders, without a loader."""

import importlib.util
from importlib import machinery
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Utils(dict):
    """The project's own `_utils`, found by "module.function" as Salt's loader does."""

    def __missing__(self, key):
        module, function = key.split(".")
        self[key] = getattr(load(f"_utils/{module}.py"), function)
        return self[key]


def load(path, salt=None, pillar=None, grains=None, opts=None, utils=None):
    """
    Return the module at ``path`` (relative to the project's root) with ``__salt__``,
    ``__pillar__``, ``__grains__``, ``__opts__``, ``__utils__`` and ``__context__`` set; a module
    of _utils gets ``__opts__`` and ``__context__`` only, as Salt gives it no more.
    """
    file = ROOT / path
    spec = importlib.util.spec_from_file_location(f"loaded_{file.parent.name}_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    module.__opts__ = {"test": False} if opts is None else opts
    module.__context__ = {}
    if file.parent.name != "_utils":
        module.__salt__ = {} if salt is None else salt
        module.__pillar__ = {} if pillar is None else pillar
        module.__grains__ = {} if grains is None else grains
        module.__utils__ = Utils() if utils is None else utils
    spec.loader.exec_module(module)
    return module


def program(name):
    """Return the program ``bin/<name>``, which has no ending, as a module."""
    loader = machinery.SourceFileLoader(f"bin_{name}", str(ROOT / "bin" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module
