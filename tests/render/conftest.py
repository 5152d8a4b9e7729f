"""Every role's highstate, compiled and written inside a copy of a VM's root file system."""

import functools
import json
from pathlib import Path

import pytest
import yaml

from tests import trees
from tests.guest import Guest
from tests.trees import topology

APPLY = Path(__file__).with_name("apply.py").read_text()



def cases():
    """Return (pillar, VM): the first VM of every role under every pillar, all under the default."""
    for overlay in [*trees.overlays(), "nasty"]:
        cluster = trees.cluster("default" if overlay == "nasty" else overlay)
        for vm in topology.vms(cluster):
            first = topology.vms(cluster, vm["role"])[0]["name"]
            if overlay == "default" or vm["name"] == first:
                yield overlay, vm["name"]


class Rendered:
    """What one VM's highstate wrote, twice: errors, low chunks, results, again, and the guest."""

    def __init__(self, guest, cluster, vm):
        self.guest, self.cluster, self.vm = guest, cluster, vm
        self.role = topology.vm(cluster, vm)["role"]
        done = guest.run("/opt/salt/bin/python3", "-", vm, stdin=APPLY, timeout=300)
        assert done.returncode == 0, done.stderr[-4000:]
        answer = json.loads(done.stdout)
        self.errors, self.low = answer["errors"], answer["low"]
        self.results, self.again = answer.get("results", []), answer.get("again", [])
        self.secrets = answer.get("secrets", {})

    @property
    def all_secrets(self):
        """The secrets of the whole cluster, of which this VM may see its share only."""
        return yaml.safe_load((self.guest.project / "pillar/secrets.sls").read_text())

    @functools.cached_property
    def files(self):
        """The absolute paths of the regular files that the highstate wrote, sorted."""
        writers = ("file.managed", "moodle.configured", "sysctls.managed")
        names = {
            chunk["name"] for chunk in self.low if f"{chunk['state']}.{chunk['fun']}" in writers
        }
        return sorted(name for name in names if self.guest.file(name).is_file())


@pytest.fixture(scope="session")
def rendered_by(tmp_path_factory, rootfs):
    """A function (pillar, vm) -> Rendered; each pair is rendered once a session."""

    @functools.cache
    def tree(overlay):
        nasty = overlay == "nasty"
        folder = tmp_path_factory.mktemp(f"tree-{overlay}")
        trees.tree(folder, "default" if nasty else overlay)
        if nasty:
            trees.make_nasty(folder)
        return folder

    @functools.cache
    def render(overlay, vm):
        cluster = trees.cluster("default" if overlay == "nasty" else overlay)
        interfaces = {
            net["interface"]: net["address"] and f"{net['address']}/{net['prefix']}"
            for net in topology.networks_of(cluster, vm)
        }
        folder = tmp_path_factory.mktemp(f"{overlay}-{vm}")
        root = rootfs(cluster["database"]["engine"])
        guest = Guest(root, folder, tree(overlay), vm, interfaces)
        return Rendered(guest, cluster, vm)

    return render


@pytest.fixture(params=list(cases()), ids=lambda case: f"{case[0]}-{case[1]}", scope="session")
def rendered(request, rendered_by):
    """One VM under one pillar."""
    return rendered_by(*request.param)


@pytest.fixture(scope="session")
def accepted():
    """What daemons accepted in this session; see checkers.run_all."""
    return set()
