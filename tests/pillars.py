"""The pillars under test: pillar/cluster.sls, alone or with an overlay of tests/data/pillars."""

import functools

import yaml

from tests.loading import ROOT, load, program

OVERLAYS = ROOT / "tests/data/pillars"
SCHEMA = yaml.safe_load((ROOT / "pillar/schema.yaml").read_text())


def names():
    """Return the names of the overlays."""
    return sorted(path.stem for path in OVERLAYS.glob("*.sls"))


def cluster(overlay=None):
    """Return the cluster as a VM sees it, with the overlay merged over it."""
    bootstrap, topology = load("_utils/bootstrap.py"), load("_utils/topology.py")
    merged = _read(ROOT / "pillar/cluster.sls")
    if overlay:
        merged = bootstrap.merge(merged, _read(OVERLAYS / f"{overlay}.sls"))
    return topology.settled(merged)


def _read(path):
    return yaml.safe_load(path.read_text())["cluster"]


@functools.cache
def generator():
    """Return bin/secrets as a module."""
    return program("secrets")


@functools.cache
def _secrets():
    known = {}
    generator().complete(known, cluster())
    return yaml.safe_dump(known)


def secrets():
    """Return generated secrets for pillar/cluster.sls; a new copy, the same all session."""
    return yaml.safe_load(_secrets())
