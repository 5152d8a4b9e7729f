"""Settings follow a VM's size by formulas that have a source."""

import pytest

from tests import pillars
from tests.loading import load

topology = load("_utils/topology.py")
tuning = load("_utils/tuning.py").tuning


def tuned(name, **size):
    cluster = pillars.cluster()
    cluster["vms"][name]["size"] = size
    return tuning(topology.vms(cluster), name)


def test_the_design_s_own_sizes():
    assert tuned("web1") == {
        "php_children": 20, "php_memory_limit_mb": 256, "opcache_mb": 128, "apache_workers": 100,
    }  # fmt: skip
    assert tuned("db1") == {
        "buffer_pool_mb": 2048, "redo_log_mb": 1024, "max_connections": 62,
        "performance_schema": True,
    }  # fmt: skip
    assert tuned("file1") == {"nfs_threads": 24}
    assert tuned("lb1") == {"conn_tab_bits": 18}
    assert tuned("witness") == {}


@pytest.mark.parametrize(
    ("memory", "pool"), [("384M", 64), ("640M", 96), ("1G", 512), ("4G", 2048), ("8G", 6144)]
)
def test_the_buffer_pool_is_what_mysql_gives_itself_on_a_dedicated_server(memory, pool):
    assert tuned("db1", memory=memory)["buffer_pool_mb"] == pool


@pytest.mark.parametrize(("vcpus", "redo"), [(1, 512), (4, 2048), (64, 16384)])
def test_the_redo_log_grows_with_the_processors(vcpus, redo):
    assert tuned("db1", memory="64G", vcpus=vcpus)["redo_log_mb"] == redo


def test_a_small_database_has_no_redo_log_above_its_buffer_pool():
    assert tuned("db1", memory="512M", vcpus=8)["redo_log_mb"] == 80


@pytest.mark.parametrize("overlay", pillars.names())
def test_the_database_takes_a_connection_from_every_php_child(overlay):
    vms = topology.vms(pillars.cluster(overlay))
    webs = [vm["name"] for vm in vms if vm["role"] == "web"]
    children = sum(tuning(vms, name)["php_children"] for name in webs)
    assert tuning(vms, "db1")["max_connections"] > children


@pytest.mark.parametrize("memory", ["256M", "704M", "1G", "2G", "16G", "64G"])
def test_php_fits_into_the_memory_and_apache_has_more_slots_than_php(memory):
    web = tuned("web1", memory=memory)
    used = web["php_children"] * 64 + web["opcache_mb"]
    assert web["php_children"] == 4 or used < topology.bytes_of(memory) / 2**20
    assert web["apache_workers"] >= web["php_children"]
    assert web["apache_workers"] % 25 == 0


@pytest.mark.parametrize(("memory", "bits"), [("384M", 17), ("2G", 20), ("64G", 20)])
def test_the_connection_table_stays_within_what_the_kernel_takes(memory, bits):
    assert tuned("lb1", memory=memory)["conn_tab_bits"] == bits
