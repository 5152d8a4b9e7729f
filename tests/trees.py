"""The project's tree as masters hold it, with an overlay pillar and generated secrets."""

from pathlib import Path

import yaml

from lab import config
from lab import tree as trees
from tests.loading import ROOT

OVERLAYS = ROOT / "tests/data/pillars"

# Each of these ends a string, starts an expansion or a comment somewhere: shell, SQL, PHP, my.cnf,
# YAML, DRBD, Jinja.
NASTY = "a'b\"c d$e#f\\g%h;i`j{{k}}<l>&mäöß"


def overlays():
    """Return the names of the pillars under test: the default and every overlay."""
    return ["default", *sorted(path.stem for path in OVERLAYS.glob("*.sls"))]


def cluster(overlay):
    """Return the cluster mapping of the pillar with ``overlay`` merged over it."""
    return config.merge(
        config.read(ROOT / "pillar/cluster.sls"), config.read(OVERLAYS / f"{overlay}.sls")
    )


def tree(folder, overlay="default"):
    """Copy the tree to ``folder``, with ``overlay`` as local.sls and freshly made secrets."""
    folder = Path(folder)
    trees.push(ROOT, folder)
    if overlay != "default":
        trees.write(folder / "pillar/local.sls", (OVERLAYS / f"{overlay}.sls").read_text())
    trees.make_secrets(ROOT, folder)
    return folder


def make_nasty(folder):
    """Replace every password in the tree's secrets by one that breaks careless quoting."""
    path = Path(folder) / "pillar/secrets.sls"
    data = yaml.safe_load(path.read_text())
    for group in ("database", "moodle", "drbd"):
        for name in data["secrets"][group]:
            data["secrets"][group][name] = f"{NASTY}-{name}"
    path.write_text(yaml.safe_dump(data, allow_unicode=True))
