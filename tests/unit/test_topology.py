"""What the pillar means: the same answers for states, modules, runner and lab."""

import pytest

from tests import pillars
from tests.loading import ROOT, load

topology = load("_utils/topology.py")
CLUSTER = pillars.cluster()


def test_sizes_are_bytes_in_binary_units():
    assert topology.bytes_of("500M") == 500 * 2**20
    assert topology.bytes_of("4G") == 4 * 2**30


@pytest.mark.parametrize("size", [500, "500", "500MB", "500 M", "0M", "1.5G", "-1G", None, "G"])
def test_a_size_without_a_clear_unit_is_refused(size):
    with pytest.raises(ValueError, match="like 500M"):
        topology.bytes_of(size)


def test_vms_come_in_pillar_order_and_by_role():
    assert [vm["name"] for vm in topology.vms(CLUSTER)] == [
        "lb1", "lb2", "web1", "web2", "file1", "file2", "db1", "db2", "witness",
    ]  # fmt: skip
    assert [vm["name"] for vm in topology.vms(CLUSTER, "file")] == ["file1", "file2"]


def test_a_vm_knows_its_size_and_interfaces():
    assert topology.vm(CLUSTER, "lb1") == {
        "name": "lb1",
        "role": "balancer",
        "server": "server1",
        "addresses": {"internal": "192.168.10.10"},
        "interfaces": {"public": "eth0", "internal": "eth1"},
        "size": {"vcpus": 1, "memory": 768 * 2**20, "disk": 8 * 2**30, "data_disk": None},
    }
    assert topology.vm(CLUSTER, "witness")["server"] is None


def test_own_interface_and_size_win_over_the_role():
    cluster = pillars.cluster("bare-metal")
    db2 = topology.vm(cluster, "db2")
    assert db2["interfaces"] == {"internal": "eno2", "replication": "bond1.205"}
    assert db2["size"]["memory"] == 128 * 2**30
    assert db2["size"]["vcpus"] == 32


def test_an_unknown_vm_is_named():
    with pytest.raises(ValueError, match="no VM named 'db9'"):
        topology.vm(CLUSTER, "db9")


def test_peers_exist_in_pairs_only():
    assert topology.peer(CLUSTER, "db1")["name"] == "db2"
    assert topology.peer(CLUSTER, "lb2")["name"] == "lb1"
    assert topology.peer(CLUSTER, "web1") is None
    assert topology.peer(CLUSTER, "witness") is None
    assert topology.peer(pillars.cluster("three-servers"), "lb1") is None


def test_the_first_vm_of_a_role_founds_its_resource():
    assert topology.founder(CLUSTER, "balancer") == "lb1"
    assert topology.founder(CLUSTER, "database") == "db1"


def test_the_director_moves_both_addresses_with_the_prefix_of_their_networks():
    assert topology.floating(pillars.cluster("bare-metal"), "lb2", "director") == [
        {"address": "198.51.100.70", "prefix": 27, "interface": "enp1s0"},
        {"address": "10.20.0.1", "prefix": 22, "interface": "enp2s0"},
    ]
    assert topology.floating(CLUSTER, "file2", "files") == [
        {"address": "192.168.10.5", "prefix": 24, "interface": "eth1"}
    ]


def test_traffic_takes_the_network_the_pillar_gives_it():
    assert topology.traffic_address(CLUSTER, "file1", "drbd") == "192.168.10.15"
    cluster = pillars.cluster("bare-metal")
    assert topology.traffic_address(cluster, "file1", "drbd") == "10.20.4.15"
    assert topology.traffic_address(cluster, "db2", "replication") == "10.20.5.28"


def test_hosts_name_every_vm_every_network_and_what_floats():
    lines = topology.hosts(pillars.cluster("bare-metal"))
    assert {"address": "10.20.0.15", "names": ["file1"]} in lines
    assert {"address": "10.20.4.15", "names": ["file1-storage"]} in lines
    assert {"address": "10.20.0.8", "names": ["database"]} in lines
    names = [name for line in lines for name in line["names"]]
    assert len(names) == len(set(names))


def test_a_balancer_boots_without_address_and_route_in_the_public_network():
    public, internal = topology.networks_of(CLUSTER, "lb1")
    assert public == {
        "name": "public", "interface": "eth0", "address": None, "prefix": 24,
        "subnet": "203.0.113.0/24", "gateway": None,
    }  # fmt: skip
    assert (internal["address"], internal["gateway"]) == ("192.168.10.10", None)


def test_everything_else_goes_out_through_the_floating_gateway():
    (internal,) = topology.networks_of(CLUSTER, "web2")
    assert internal["gateway"] == "192.168.10.1"


def test_an_overlay_removes_with_null():
    cluster = pillars.cluster("minimal")
    assert "witness" not in cluster["vms"]
    assert cluster["moodle"]["source"] == {"archive": "/srv/moodle-5.0.tgz"}
    assert cluster["database"]["device"] is None
    assert topology.arbiter_members(cluster) == []
    removed = CLUSTER | {"vms": CLUSTER["vms"] | {"web2": None}}
    assert [vm["name"] for vm in topology.vms(removed, "web")] == ["web1"]
    with pytest.raises(ValueError, match="web2"):
        topology.vm(removed, "web2")


@pytest.mark.parametrize("broken", [None, [], "x", {}, {"vms": []}, {"vms": {"a": 1}, "moodle": 2}])
def test_settling_a_wrong_pillar_leaves_it_to_the_check(broken):
    topology.settled(broken)


def test_every_minion_speaks_to_both_masters_by_address():
    config = topology.minion_config(CLUSTER, "web1")
    assert config["id"] == "web1"
    assert config["master"] == topology.masters(CLUSTER) == ["192.168.10.10", "192.168.10.20"]
    assert config["beacons_before_connect"] is True
    assert config["multiprocessing"] is False


@pytest.mark.parametrize(("name", "beacons"), [
    ("lb1", ["heartbeat", "real_server"]), ("file2", ["heartbeat", "drbd"]),
    ("db1", ["heartbeat", "replication"]), ("web1", ["heartbeat"]), ("witness", ["heartbeat"]),
])  # fmt: skip
def test_every_minion_runs_the_beacons_of_its_role(name, beacons):
    found = topology.minion_config(CLUSTER, name)["beacons"]
    assert list(found) == beacons
    for beacon, options in found.items():
        module = load(f"_beacons/{beacon}.py")
        assert module.validate(options)[0] is True


def test_every_event_that_asks_a_master_to_look_has_a_reactor_and_nothing_else_has():
    config = topology.master_config(CLUSTER, "lb1")
    files = {path for entry in config["reactor"] for paths in entry.values() for path in paths}
    assert files == {f"{topology.TREE}/reactor/{path.name}" for path in ROOT.glob("reactor/*")}
    assert all((ROOT / f"_engines/{name}.py").exists()
               for engine in config["engines"] for name in engine)  # fmt: skip


def test_a_master_listens_on_its_internal_address_only():
    assert topology.master_config(CLUSTER, "lb2")["interface"] == "192.168.10.20"


def test_the_dump_is_readable_by_salt():
    import yaml

    config = topology.minion_config(CLUSTER, "lb1")
    assert yaml.safe_load(topology.dump(config)) == config


def test_the_execution_module_answers_for_this_minion():
    module = load("_modules/topology.py", pillar={"cluster": CLUSTER}, grains={"id": "db2"})
    assert module.me()["name"] == "db2"
    assert module.peer()["name"] == "db1"
    assert module.traffic_address("replication", "db1") == "192.168.10.18"
    assert module.tuning()["buffer_pool_mb"] == 2048
    assert module.minion_config().startswith("id: db2\n")
    assert module.founder("file") == "file1"
    assert module.floating("database")[0]["address"] == "192.168.10.8"
