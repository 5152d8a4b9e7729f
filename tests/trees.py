"""The project's tree as masters hold it, with an overlay pillar and generated secrets."""

import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from salt.utils import dictupdate

from tests.loading import ROOT

PARTS = ("salt", "pillar", "_modules", "_states", "_utils", "_runners", "_pillar", "reactor")
OVERLAYS = ROOT / "tests/data/pillars"

# Each of these ends a string, starts an expansion or a comment somewhere: shell, SQL, PHP, my.cnf,
# YAML, DRBD, Jinja.
NASTY = "a'b\"c d$e#f\\g%h;i`j{{k}}<l>&mäöß"


def overlays():
    """Return the names of the pillars under test: the default and every overlay."""
    return ["default", *sorted(path.stem for path in OVERLAYS.glob("*.sls"))]


def cluster(overlay):
    """Return the cluster mapping of the pillar with ``overlay`` merged over it."""
    data = yaml.safe_load((ROOT / "pillar/cluster.sls").read_text())
    if overlay != "default":
        over = yaml.safe_load((OVERLAYS / f"{overlay}.sls").read_text())
        data = dictupdate.update(data, over, merge_lists=False)
    return data["cluster"]


def tree(folder, overlay="default"):
    """Copy the tree to ``folder``, with ``overlay`` as local.sls and freshly made secrets."""
    folder = Path(folder)
    for part in PARTS:
        if (ROOT / part).exists():
            ignore = shutil.ignore_patterns("__pycache__", "secrets.sls", "local.sls")
            shutil.copytree(ROOT / part, folder / part, symlinks=True, ignore=ignore)
    (folder / "bin").mkdir()
    shutil.copy(ROOT / "bin/secrets", folder / "bin/secrets")
    if overlay != "default":
        shutil.copy(OVERLAYS / f"{overlay}.sls", folder / "pillar/local.sls")
    subprocess.run([sys.executable, folder / "bin/secrets"], check=True, capture_output=True)
    return folder


def make_nasty(folder):
    """Replace every password in the tree's secrets by one that breaks careless quoting."""
    path = Path(folder) / "pillar/secrets.sls"
    data = yaml.safe_load(path.read_text())
    for group in ("database", "moodle", "drbd"):
        for name in data["secrets"][group]:
            data["secrets"][group][name] = f"{NASTY}-{name}"
    path.write_text(yaml.safe_dump(data, allow_unicode=True))
