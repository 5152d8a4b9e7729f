"""`bin/lab bench growth`: clusters that are simulated, decided on by the real rules."""

import pytest

from lab import config, growth
from tests.loading import ROOT


def seen(cluster):
    """Return what the observer's heartbeatd writes while everybody is heard."""
    held = {vm: {resource: [3, 2]} for vm, resource in growth.HELD.items()}
    fit = {f"{what}.{word}": True for what in ("files", "database") for word in
           ("fit", "following")}
    peers = {name: {"state": "up", "silence": 0.1, "incarnation": 1, "losses": 0, "silent": {},
                    "claims": held.get(name, {}), "health": fit, "deaf": False,
                    "links": {"internal": {"state": "up", "silence": 0.1}}}
             for name in cluster["vms"] if name != growth.ME}
    return {"name": growth.ME, "peers": peers, "own": {"claims": {}, "health": {}}}


@pytest.mark.parametrize("count", [8, 9, 512])
def test_a_grown_cluster_has_that_many_vms_with_an_address_each(count):
    cluster = growth.grown(config.read(ROOT / "pillar/cluster.sls"), count)
    addresses = {vm["addresses"]["internal"] for vm in cluster["vms"].values()}
    assert len(cluster["vms"]) == len(addresses) == count + 1


@pytest.mark.parametrize("count", [8, 512])
def test_half_of_a_cluster_falls_silent_and_all_three_resources_move(count):
    cluster = growth.grown(config.read(ROOT / "pillar/cluster.sls"), count)
    view = seen(cluster)
    assert growth.decide(ROOT, cluster, view)[1] == []
    lost = growth.bereaved(ROOT, cluster, view)
    assert growth.decide(ROOT, cluster, lost)[1] == ["database", "director", "files"]
    assert all(peer["state"] == "up" for peer in view["peers"].values())
