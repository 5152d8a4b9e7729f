"""The cluster as the lab runs it: the checkout's pillar under the lab's own overlay."""

import importlib.util
from pathlib import Path

import yaml

from lab.errors import LabError


def bootstrap(root):
    """Return the project's own module that reads the tree outside Salt."""
    path = Path(root, "_utils", "bootstrap.py")
    spec = importlib.util.spec_from_file_location("cluster_bootstrap", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path):
    """Return the `cluster` of a pillar file, {} where there is no file; raises LabError."""
    try:
        return (yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}).get("cluster") or {}
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, AttributeError) as error:
        raise LabError(f"{path} is not the YAML of a pillar: {error}") from error


def named(path):
    """Return the `cluster` of the file that `--pillar` named; raises LabError if there is none."""
    if not Path(path).is_file():
        raise LabError(f"--pillar {path}: there is no such file")
    found = read(path)
    if not found:
        raise LabError(f"--pillar {path}: there is no `cluster` in it")
    return found


def refuse_wrong(errors):
    """Raise LabError with all that is wrong in the pillar, if anything is."""
    if errors:
        raise LabError("\n  ".join(["the pillar is wrong, nothing was done:", *errors]))


def overlay(root, options, merge):
    """
    Return the deviations from pillar/cluster.sls: the operator's own, then the lab's.

    `options`: engine, full_size, pillar (what `--pillar` named, read), and moodle as
    lab.moodle.fetch returned it.
    """
    own = read(Path(root, "lab", "local.sls"))
    if options.get("full_size"):
        own.pop("sizes", None)
    merged = merge(read(Path(root, "pillar", "local.sls")), own)
    merged = merge(merged, options.get("pillar") or {})
    if options.get("engine"):
        merged = merge(merged, {"database": {"engine": options["engine"]}})
    source = moodle_source(options.get("moodle"))
    return merge(merged, {"moodle": {"source": source}})


def moodle_source(moodle):
    """
    Return the pillar's moodle:source for what lies in the lab's folder moodle/.

    Exactly one kind of source is allowed: null removes whatever else the pillar names.
    """
    source = dict.fromkeys(("directory", "archive", "checksum", "git", "revision"))
    if moodle and moodle.get("checksum"):
        return {**source, "archive": f"/srv/moodle-source/{moodle['file']}",
                "checksum": f"sha256={moodle['checksum']}"}
    return {**source, "directory": "/srv/moodle-source"}
