"""After one `bin/lab up` every part is there, and each resource in one place."""

import json

import pytest

from tests.lab.conftest import RESOURCES


def tables_and_pages(cluster):
    """Return {balancer: its table without its own page} and {balancer: weights of its page}."""
    tables, pages = cluster.salt("lb1,lb2", "ipvs.services"), {}
    for balancer, services in tables.items():
        address = cluster.lab[balancer].entry["addresses"]["internal"]
        for service in services:
            own = [each for each in service["servers"] if each["server"].startswith(f"{address}:")]
            pages.setdefault(balancer, []).extend(each["weight"] for each in own)
            service["servers"] = [each for each in service["servers"] if each not in own]
    return tables, pages


def test_every_vm_answers_its_masters(cluster):
    assert cluster.salt("*", "test.ping") == dict.fromkeys(cluster.lab.machines, True)


def test_each_resource_is_active_on_one_vm_and_the_record_says_which(cluster):
    for resource, seen in cluster.status().items():
        active = {vm: state["active"] for vm, state in seen["vms"].items()}
        assert active == {vm: vm == seen["record"]["holder"] for vm in active}, resource
        assert seen["record"]["founding"] is False


@pytest.mark.parametrize("resource", ["files", "database"])
def test_the_mirror_is_complete_and_the_record_says_so(cluster, resource):
    seen = cluster.status()[resource]
    assert seen["record"]["mirrored"] is True
    assert seen["vms"][seen["record"]["holder"]]["mirror"] is True


def test_public_and_gateway_address_are_on_the_same_balancer_and_on_one_only(cluster):
    """I3"""
    addresses = cluster.lab.cluster["addresses"]
    shown = cluster.everywhere("ip -br -4 address")
    public = [vm for vm, text in shown.items() if f"{addresses['public']}/" in text]
    gateway = [vm for vm, text in shown.items() if f"{addresses['gateway']}/" in text]
    assert public == gateway == [cluster.holder("director")]


def test_both_balancers_hold_the_same_ipvs_table_and_a_page_of_their_own(cluster):
    tables, pages = tables_and_pages(cluster)
    assert tables["lb1"] == tables["lb2"]
    servers = [vm for vm in cluster.lab.machines.values() if vm.role == "web"]
    ports = cluster.lab.cluster["balancer"]["ports"]
    assert sum(len(service["servers"]) for service in tables["lb1"]) == len(servers) * len(ports)
    assert pages == {"lb1": [0] * len(ports), "lb2": [0] * len(ports)}  # nobody need be sorry


def test_the_replica_refuses_what_moodle_may_write_elsewhere(cluster):
    """As Moodle's account: MariaDB's read_only lets an administrator write."""
    standby = cluster.lab.topology.internal(cluster.lab.cluster, cluster.standby("database"))
    script = f"""require "/srv/moodle/config.php";
        $server = new mysqli("{standby}", $CFG->dbuser, $CFG->dbpass, $CFG->dbname);
        try {{ $server->query("create table refused (n int)"); echo "written"; }}
        catch (mysqli_sql_exception $error) {{ echo $error->getCode(); }}"""
    assert cluster.lab.succeed("web1", "php", "-r", script) == "1290"  # read-only


def test_no_secret_is_in_a_process_list_a_journal_or_a_job_cache(cluster):
    secrets = cluster.lab.secrets()
    words = [*secrets["database"].values(), *secrets["moodle"].values(), *secrets["drbd"].values(),
             secrets["heartbeat"]["key"]]
    patterns = "\n".join(words)
    script = ("{ ps -eo args; journalctl --no-pager -o cat; cat /var/log/salt/*; "
              "grep -raoF -f /dev/shm/words /var/cache/salt/master/jobs; } 2>/dev/null "
              "| grep -aF -f /dev/shm/words | grep -v words; rm /dev/shm/words")
    for machine in cluster.lab.machines.values():
        machine.succeed("sh", "-c", "umask 077; cat >/dev/shm/words", stdin=patterns + "\n")
    found = cluster.everywhere(script)
    assert {vm: len(text) for vm, text in found.items() if text} == {}


def test_status_shows_every_vm_up_and_who_holds_what(bin_lab, cluster):
    done = bin_lab("status")
    assert done.returncode == 0, done.stderr
    for machine in cluster.lab.machines.values():
        assert machine.name in done.stdout
    for resource in RESOURCES:
        assert resource in done.stdout


def test_memory_used_stays_within_the_size_of_the_pillar(cluster):
    used = {vm: json.loads(text) for vm, text in cluster.everywhere(
        "awk '/MemTotal/{t=$2} /MemAvailable/{a=$2} END{print \"[\" t-a \",\" t \"]\"}'"
        " /proc/meminfo").items()}
    print({vm: f"{use // 1024} of {size // 1024} MB" for vm, (use, size) in used.items()})
    assert {vm for vm, (use, size) in used.items() if use > 0.95 * size} == set()
