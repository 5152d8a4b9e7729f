"""The project's tree as masters hold it, with an overlay pillar and generated secrets."""

from pathlib import Path

import yaml

from lab import config
from lab import tree as trees
from tests.loading import ROOT, load

OVERLAYS = ROOT / "tests/data/pillars"

topology = load("_utils/topology.py")
merge = load("_utils/bootstrap.py").merge


def overlays():
    """Return the names of the pillars under test: the default and every overlay."""
    return ["default", *sorted(path.stem for path in OVERLAYS.glob("*.sls"))]


def cluster(overlay):
    """Return the cluster mapping of the pillar with ``overlay`` merged over it."""
    merged = merge(
        config.read(ROOT / "pillar/cluster.sls"), config.read(OVERLAYS / f"{overlay}.sls")
    )
    return topology.settled(merged)


def tree(folder, overlay="default"):
    """Copy the tree to ``folder``, with ``overlay`` as local.sls and freshly made secrets."""
    folder = Path(folder)
    trees.push(ROOT, folder)
    if overlay != "default":
        trees.write(folder / "pillar/local.sls", (OVERLAYS / f"{overlay}.sls").read_text())
    trees.make_secrets(ROOT, folder)
    return folder


def make_nasty(folder):
    """Replace the passwords in the tree's secrets by some that break careless quoting."""
    path = Path(folder) / "pillar/secrets.sls"
    nasty = (ROOT / "tests/data/secrets-nasty.sls").read_text()
    data = merge(yaml.safe_load(path.read_text()), yaml.safe_load(nasty))
    path.write_text(yaml.safe_dump(data, allow_unicode=True))
