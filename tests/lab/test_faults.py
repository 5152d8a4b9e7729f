"""
Any one server, VM, service or link dies, and no acknowledged write is lost.

The fixture `trial` (tests/lab/conftest.py) runs the outside client and the watch over I1 and I3 all
the while, mends everything at the end, and judges: lost, unexpected, disks, tables, logs.
"""

import contextlib
import time

import pytest

from lab.deadline import wait_until
from lab.errors import LabError

SOON = 20  # s, on two cores for nine VMs and a client; the real figures: bin/lab bench failover
DEAD = 2 * 2.0 + 1  # s: surely longer than deadtime
slow = pytest.mark.slow
MOVING = ["director", "files", "database"]


def vm_of(trial, part):
    """Return the VM that a name like "holder of files" means."""
    who, _, resource = part.partition(" of ")
    return getattr(trial, who)(resource) if resource else part


# --- power ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("part", [
    "holder of director", "web1", "holder of files", "holder of database",
    *(pytest.param(part, marks=slow) for part in (
        "standby of director", "web2", "standby of files", "standby of database", "witness")),
])
def test_any_vm_loses_power_and_the_site_goes_on(trial, part):
    trial.crash(vm_of(trial, part))
    print(f"gap {trial.served(SOON):.2f} s")


@pytest.mark.parametrize("server", ["server1", pytest.param("server2", marks=slow)])
def test_a_server_loses_power_and_the_other_takes_over_everything(trial, server):
    # Nothing waits for an election then: no balancer keeps the lead.
    wait_until(lambda: trial.leader() == "witness", "the witness to lead etcd", 90, 1)
    trial.crash(server)
    print(f"gap {trial.served(SOON):.2f} s")
    lost = {machine.name for machine in trial.lab.servers[server].machines}
    assert not lost & set(trial.holders().values())


@slow
def test_a_server_dies_while_the_other_resynchronises_and_nothing_is_promoted(trial):
    holder, standby = trial.holder("files"), trial.standby("files")
    trial.crash(standby)
    trial.served(SOON)
    trial.run_in(holder, "dd if=/dev/zero of=/srv/files/filling bs=1M count=300 conv=fsync")
    trial.start(standby)
    trial.lab[standby].wait_for_boot()
    trial.crash(holder)
    trial.run_in(standby, "! mountpoint -q /srv/files")
    assert trial.rejected("NOT_MIRRORED")["command"]
    trial.start(holder)
    trial.served(180)
    trial.run_in(trial.holder("files"), "rm -f /srv/files/filling")


@slow
def test_both_servers_lose_power_at_once_and_come_back(trial):
    trial.crash("server1")
    trial.crash("server2")
    trial.start("server1")
    trial.start("server2")
    trial.served(300)


@slow
@pytest.mark.parametrize("server", ["server1", "server2"])
@pytest.mark.allowed("drbd")  # both have written: a split brain, found when the other returns
def test_both_servers_lose_power_and_one_never_returns(trial, server):
    """
    It serves what it held, and what it can prove to have; for the rest it names the command. A
    replica that restarts without its source cannot prove that it has received everything.
    """
    cut = time.monotonic()
    trial.crash("server1")
    trial.crash("server2")
    trial.start(server)
    for machine in trial.lab.servers[server].machines:
        machine.wait_for_boot()

    def outcome():
        found = (trial.status() or {}).get("rejected") or []
        told = {each["condition"]: each["command"] for each in found}
        with contextlib.suppress(LabError):
            return {"served": trial.served(2)}
        return {name: told[name] for name in ("NOT_MIRRORED", "STANDBY_UNFIT") if name in told}

    while "served" not in (found := wait_until(outcome, "the site or a refusal", 240)):
        print(found)
        trial.give_up(cut - 60, time.monotonic())  # what the kernel had not written yet
        for command in found.values():
            done = trial.ha(*command.removeprefix("salt-run ha.").split(), timeout=180)
            assert done.returncode == 0, done.stdout + done.stderr


@slow
@pytest.mark.parametrize("part", [f"holder of {resource}" for resource in MOVING])
@pytest.mark.parametrize("way", ["systemctl reboot -ff", "echo c >/proc/sysrq-trigger"])
def test_a_vm_that_reboots_or_panics_is_replaced_and_rejoins_by_itself(trial, part, way):
    vm = vm_of(trial, part)
    trial.end(vm, way)
    print(f"gap {trial.served(SOON):.2f} s")
    trial.lab[vm].wait_for_boot()
    assert trial.lab[vm].running


# --- freezes -------------------------------------------------------------------------------------

@slow
@pytest.mark.parametrize("resource", MOVING)
def test_an_active_vm_freezes_and_its_thaw_changes_nothing(trial, resource):
    frozen = trial.holder(resource)
    trial.pause(frozen)
    print(f"gap {trial.served(SOON):.2f} s")
    time.sleep(DEAD)
    trial.resume(frozen)
    time.sleep(DEAD)
    assert trial.holder(resource) != frozen


@slow
def test_a_short_freeze_is_no_failover(trial):
    holders = trial.holders()
    for vm in holders.values():
        trial.pause(vm)
        time.sleep(1)
        trial.resume(vm)
    trial.served(SOON)
    assert trial.holders() == holders


@slow
def test_a_command_that_was_sent_before_a_freeze_is_refused_after_it(trial):
    """A minion frozen for a minute executes the old command when it thaws."""
    holder, standby = trial.holder("database"), trial.standby("database")
    epoch = trial.status()["resources"]["database"]["record"]["epoch"]
    trial.pause(standby)
    master = trial.lab.master()
    master.succeed("/opt/salt/bin/salt", "--async", standby, "database.activate",
                   f"epoch={epoch + 1}", f"deadline={time.time() + 3}")
    time.sleep(DEAD)
    trial.resume(standby)
    time.sleep(DEAD)
    assert trial.holder("database") == holder
    trial.served(SOON)


# --- links ---------------------------------------------------------------------------------------

@slow
@pytest.mark.parametrize(("part", "link", "way"), [
    ("holder of director", "eth0", None), ("holder of director", "eth1", None),
    ("holder of files", "eth1", None), ("holder of files", "eth1", "in"),
    ("holder of files", "eth1", "out"), ("holder of database", "eth1", None),
    ("holder of database", "eth1", "in"), ("holder of database", "eth1", "out"),
    ("holder of director", None, None), ("holder of database", None, None),
    ("standby of files", "eth1", None), ("standby of database", None, None)])
def test_a_vm_without_its_network_is_replaced_and_rejoins(trial, part, link, way):
    vm = vm_of(trial, part)
    trial.cut(f"{vm}:{link}" if link else vm, way)
    print(f"gap {trial.served(2 * SOON):.2f} s")
    time.sleep(DEAD)
    trial.heal(vm)
    trial.served(SOON)


@slow
@pytest.mark.parametrize("resource", MOVING)
def test_a_cut_serial_line_alone_moves_nothing(trial, resource):
    holders = trial.holders()
    trial.cut(f"{holders[resource]}:serial")
    time.sleep(DEAD)
    trial.served(SOON)
    assert trial.holders() == holders


@slow
@pytest.mark.parametrize("way", [None, "in", "out"])
def test_the_servers_hear_each_other_no_more_and_one_side_serves(trial, way):
    trial.cut("server1", way)
    print(f"gap {trial.served(2 * SOON):.2f} s")
    time.sleep(DEAD)
    trial.heal("server1")
    trial.served(SOON)


@slow
@pytest.mark.parametrize("resource", ["director", "database"])
@pytest.mark.parametrize("network", ["eth0", "eth1"])
def test_a_cable_of_a_server_breaks_and_the_other_networks_go_on(trial, resource, network):
    """Its VMs hear each other, and those of the other server by a serial line at most."""
    server = trial.lab[trial.holder(resource)].server
    trial.cut(f"{server}:{network}")
    print(f"gap {trial.served(2 * SOON):.2f} s")
    time.sleep(DEAD)
    trial.heal(f"{server}:{network}")
    trial.served(SOON)  # only now can either balancer tell: one had no arbiter before
    assert network == "eth0" or not [
        vm for vm in trial.holders().values() if trial.lab[vm].server == server]


@slow
def test_a_flapping_link_ends_in_a_block_and_not_in_a_storm(trial):
    vm = trial.holder("database")
    for _ in range(6):
        trial.cut(f"{vm}:eth1")
        time.sleep(3)
        trial.heal(f"{vm}:eth1")
        time.sleep(3)
    trial.served(2 * SOON)
    lines = trial.decisions()
    assert len([line for line in lines if line["result"] == "done"]) <= 6


@slow
def test_heartbeats_get_through_a_link_that_loses_a_third(trial):
    holders = trial.holders()
    trial.lose(f"{holders['database']}:eth1", 30)
    time.sleep(20)
    trial.heal(holders["database"])
    assert trial.holders() == holders


@slow
def test_forged_heartbeats_at_ten_thousand_a_second_change_nothing(trial):
    holders = trial.holders()
    sent = trial.forge(holders["database"], per_second=10_000, seconds=10)
    print(f"{sent} forged heartbeats")
    trial.served(SOON)
    assert trial.holders() == holders


@slow
def test_a_foreign_host_with_the_public_address_is_noticed_and_outlived(trial):
    holder = trial.holder("director")
    public = trial.lab.cluster["addresses"]["public"]
    with trial.foreigner(f"{public}/24"):
        time.sleep(DEAD)
    trial.served(3 * SOON)
    assert trial.holder("director") == holder


@pytest.mark.parametrize("resource", [
    "files", pytest.param("director", marks=slow), pytest.param("database", marks=slow)])
def test_an_address_that_somebody_takes_off_is_back_on_the_same_vm(trial, resource):
    vm = trial.holder(resource)
    floating = trial.lab.topology.floating(trial.lab.cluster, vm, resource)
    trial.run_in(vm, "; ".join("ip addr del {address}/{prefix} dev {interface}".format(**entry)
                               for entry in floating))

    def back():
        held = trial.lab[vm].run(["ip", "addr"]).stdout
        return all(f" {entry['address']}/" in held for entry in floating)

    wait_until(back, "the addresses", SOON)
    trial.served(SOON)
    assert trial.holder(resource) == vm


# --- the witness and the masters -----------------------------------------------------------------

@slow
@pytest.mark.parametrize("part", [f"holder of {resource}" for resource in MOVING])
def test_without_the_witness_a_vm_may_still_die(trial, part):
    trial.crash("witness")
    vm = vm_of(trial, part)
    time.sleep(DEAD)
    trial.crash(vm)
    if part == "holder of director":  # two of the three votes are gone
        assert trial.rejected("ARBITER_UNREACHABLE")
        trial.start(vm)
    trial.served(180)


@slow
def test_without_the_witness_a_dead_server_is_a_refusal_that_is_named(trial):
    server = trial.lab[trial.holder("database")].server
    trial.crash("witness")
    time.sleep(DEAD)
    trial.crash(server)
    assert trial.rejected("ARBITER_UNREACHABLE")
    trial.start("witness")
    trial.served(120)


@slow
@pytest.mark.parametrize("part", ["holder of director", "standby of director"])
@pytest.mark.parametrize("resource", ["files", "database"])
def test_a_master_dies_in_the_middle_of_a_failover_and_the_other_finishes(trial, part, resource):
    master, vm = vm_of(trial, part), trial.holder(resource)
    trial.crash(vm)
    time.sleep(2.2)  # just after deadtime
    trial.crash(master)
    print(f"gap {trial.served(2 * SOON):.2f} s")
    assert trial.holder(resource) != vm


@slow
@pytest.mark.parametrize("age", [0, 120])
def test_an_event_that_is_replayed_moves_nothing(trial, age):
    holders = trial.holders()
    lost = holders["database"]
    data = f'{{"time": {time.time() - age}, "observer": "lb1", "observer_incarnation": 1}}'
    for _ in range(10 if not age else 1):
        trial.run_in(holders["director"], "/opt/salt/bin/salt-run event.send "
                     f"salt/beacon/lb1/heartbeat/lost/{lost} '{data}'")
    time.sleep(3)
    assert trial.holders() == holders


# --- services ------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["KILL", pytest.param("STOP", marks=slow)])
def test_a_database_server_that_dies_or_hangs_serves_again(trial, how):
    trial.run_in(trial.holder("database"), f"pkill -{how} -x 'mysqld|mariadbd'")
    print(f"gap {trial.served(3 * SOON):.2f} s")


@slow
@pytest.mark.parametrize("how", ["KILL", "STOP"])
@pytest.mark.parametrize(("part", "service"), [
    ("web1", "apache2"), ("web1", "php*-fpm"), ("holder of files", "files-mountd"),
    ("holder of director", "poold")])
def test_a_service_that_dies_or_hangs_is_restarted_or_left_out(trial, part, service, how):
    vm = vm_of(trial, part)
    trial.signal(vm, service, how)
    print(f"gap {trial.served(3 * SOON):.2f} s")
    if how == "STOP":
        time.sleep(DEAD)
        trial.signal(vm, service, "CONT")


@slow
def test_an_nfs_server_that_stops_serves_again(trial):
    trial.run_in(trial.holder("files"), "echo 0 >/proc/fs/nfsd/threads")
    print(f"gap {trial.served(3 * SOON):.2f} s")


@slow
@pytest.mark.parametrize("how", ["KILL", "STOP"])
@pytest.mark.parametrize(("part", "service"), [
    ("holder of database", "salt-minion"), ("holder of director", "salt-master"),
    ("holder of director", "etcd"), ("holder of files", "heartbeatd")])
def test_what_does_not_serve_may_die_and_nothing_moves(trial, part, service, how):
    """A heartbeatd that hangs is silence: its VM may lose its role, but no record."""
    holders, vm = trial.holders(), vm_of(trial, part)
    trial.signal(vm, service, how)
    time.sleep(DEAD)
    if how == "STOP":
        trial.signal(vm, service, "CONT")
    trial.served(SOON)
    if service != "heartbeatd":
        assert trial.holders() == holders


# --- disks and copies ----------------------------------------------------------------------------

@slow
@pytest.mark.parametrize(("resource", "folder"), [
    ("files", "/srv/files"), ("database", "/var/lib/mysql")])
@pytest.mark.allowed("database")
def test_a_full_disk_loses_nothing_and_serves_again_when_there_is_room(trial, resource, folder):
    vm = trial.holder(resource)
    trial.run_in(vm, f"fallocate -l $(($(stat -f -c '%a*%S' {folder}))) {folder}/filling")
    time.sleep(15)
    trial.run_in(trial.holder(resource), f"rm -f {folder}/filling")
    trial.run_in(vm, f"rm -f {folder}/filling")
    trial.served(3 * SOON)


@slow
@pytest.mark.parametrize("resource", ["files", "database"])
def test_a_move_to_a_vm_without_room_for_its_claim_is_refused(trial, resource):
    """With the old holder gone there would be no way back from a successor that cannot start."""
    holder, vm = trial.holder(resource), trial.standby(resource)
    trial.run_in(vm, "for size in 1G 64M 4M 256K 4K; do"
                     " while fallocate -l $size $(mktemp /var/filling.XXXXXX); do :; done; done;"
                     " ! echo full >/var/lib/cluster/full", timeout=120)
    done = trial.ha("switch", resource, vm)
    trial.run_in(vm, "rm -f /var/filling.* /var/lib/cluster/full")
    assert done.returncode != 0 and "Refused, nothing was changed" in done.stdout, done.stdout
    assert trial.holder(resource) == holder
    trial.served(SOON)


@slow
@pytest.mark.allowed("disk")
def test_a_disk_below_drbd_fails_and_the_site_goes_on(trial):
    """DRBD's own fault injection: every write to this VM's disk fails."""
    vm = trial.holder("files")
    parameters = "/sys/module/drbd/parameters"
    trial.run_in(vm, f"echo 100 >{parameters}/fault_rate; echo 16 >{parameters}/enable_faults")
    print(f"gap {trial.served(2 * SOON):.2f} s")
    trial.run_in(vm, f"echo 0 >{parameters}/enable_faults; echo 0 >{parameters}/fault_rate")
    trial.run_in(vm, "drbdadm attach r0 || drbdadm dstate r0 | grep -q UpToDate")


@slow
@pytest.mark.allowed("disk")
def test_a_mirror_whose_disk_fails_is_no_mirror_until_it_has_everything(trial):
    """It answers, so nothing waits; promoted after a reboot, it would serve what it had then."""
    vm, parameters = trial.standby("files"), "/sys/module/drbd/parameters"
    trial.run_in(vm, f"echo 100 >{parameters}/fault_rate; echo 16 >{parameters}/enable_faults")

    def mirrored():
        return (trial.status() or {})["resources"]["files"]["record"]["mirrored"]

    wait_until(lambda: not mirrored(), "the record to say that there is no mirror", SOON)
    trial.served(SOON)
    trial.run_in(vm, f"echo 0 >{parameters}/enable_faults; echo 0 >{parameters}/fault_rate")
    trial.run_in(vm, "drbdadm attach r0 || drbdadm dstate r0 | grep -q UpToDate")
    wait_until(mirrored, "the mirror", 3 * SOON)


@slow
def test_a_primary_that_is_stopped_in_order_acknowledges_nothing_more(trial):
    """MySQL's own end switches its waiting for the mirror off, and answers those who wait."""
    vm = trial.holder("database")
    trial.run_in(vm, "mysql -e 'create database if not exists lab_watch;"
                     " create table if not exists lab_watch.stopped (n int)'")
    trial.crash(trial.standby("database"))
    trial.run_in(vm, "mysql -e 'insert into lab_watch.stopped values (1)' & waiting=$!; sleep 0.3;"
                     " systemctl stop 'm[ya][sr]*.service'; ! wait $waiting")
    trial.served(3 * SOON)


@slow
def test_stepping_down_acknowledges_nothing_that_waits_for_its_mirror(trial):
    """MariaDB ends the wait of a commit when its client is disconnected, as if all were well."""
    vm, standby = trial.holder("database"), trial.standby("database")
    balancers = [trial.holder("director"), trial.standby("director")]
    trial.run_in(vm, "mysql -e 'create database if not exists lab_watch;"
                     " create table if not exists lab_watch.stepped (n int)'")
    for balancer in balancers:  # nobody permits to go on alone
        trial.signal(balancer, "salt-master", "STOP")
    trial.crash(standby)
    trial.run_in(vm, "mysql -e 'insert into lab_watch.stepped values (1)' & waiting=$!; sleep 1;"
                     " /opt/salt/bin/salt-call --local mysql_server.passive"
                     " $(($(date +%s) + 60)); ! wait $waiting", timeout=90)
    for balancer in balancers:
        trial.signal(balancer, "salt-master", "CONT")
    trial.start(standby)
    trial.served(6 * SOON)


@slow
def test_a_replica_that_is_broken_is_not_promoted(trial):
    """It may not log in at its source any more; only stopped, it would follow again in a moment."""
    holder, standby = trial.holder("database"), trial.standby("database")
    address = trial.lab.topology.internal(trial.lab.cluster, standby)
    account = f"set sql_log_bin = 0; alter user replication@'{address}' account"
    trial.run_in(holder, f'mysql -e "{account} lock"')
    trial.run_in(standby, "mysql -e 'stop replica' || mysql -e 'stop slave'")
    trial.served(SOON)  # the primary serves alone: mirrored is false
    time.sleep(DEAD)
    trial.crash(holder)
    assert trial.rejected("NOT_MIRRORED")["command"]
    assert trial.holder("database") == holder
    trial.start(holder)
    trial.served(180)
    trial.run_in(holder, f'mysql -e "{account} unlock"')


@slow
@pytest.mark.parametrize("resource", ["files", "database"])
@pytest.mark.allowed("drbd")  # both have written: a split brain, found when the holder returns
def test_an_operator_may_give_up_what_the_dead_holder_took_alone(trial, resource):
    holder, standby = trial.holder(resource), trial.standby(resource)
    alone = time.monotonic()
    trial.crash(standby)
    trial.served(SOON)
    time.sleep(DEAD)
    trial.crash(holder)
    # Its answers are on their way, and nobody else gives any before the standby has booted.
    trial.give_up(alone, time.monotonic() + 3)
    trial.start(standby)
    command = trial.rejected("NOT_MIRRORED", 180)["command"]
    done = trial.ha(*command.removeprefix("salt-run ha.").split())
    assert done.returncode == 0, done.stdout + done.stderr
    trial.served(2 * SOON)
    assert trial.holder(resource) == standby
    trial.settle()
    kept = trial.lab[holder].succeed("find", "/var/lib/cluster/saved", "-type", "f").split()
    assert kept, f"nothing was saved on {holder} before it was rebuilt"


# --- planned -------------------------------------------------------------------------------------

def test_a_switch_moves_a_resource_and_loses_nothing(trial):
    for resource in MOVING:
        target = trial.standby(resource)
        done = trial.ha("switch", resource, target)
        assert done.returncode == 0, done.stdout + done.stderr
        trial.served(SOON)
        assert trial.holder(resource) == target


@slow
@pytest.mark.parametrize("server", ["server1", "server2"])
def test_a_server_goes_out_of_service_and_comes_back_under_load(trial, server):
    done = trial.ha("evacuate", server, "a test", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    trial.served(SOON)
    trial.crash(server)  # it may be powered off now: its silence starts nothing
    time.sleep(DEAD)
    print(f"gap {trial.served(SOON):.2f} s")
    trial.start(server)
    for machine in trial.lab.servers[server].machines:
        machine.wait_for_boot()
    done = trial.ha("restore", server, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr


@slow
def test_the_other_server_dies_in_the_middle_of_an_evacuation(trial):
    with trial.meanwhile("evacuate", "server1"):
        time.sleep(6)
        trial.crash("server2")
    trial.start("server2")
    trial.served(300)
    trial.ha("restore", "server1", timeout=900)


@slow
def test_one_resource_after_the_other_moves_back_and_forth(trial):
    for resource in [*MOVING, *MOVING]:
        done = trial.ha("switch", resource, trial.standby(resource))
        assert done.returncode == 0, done.stdout
    trial.served(SOON)


# --- afterwards ----------------------------------------------------------------------------------

def test_the_configuration_is_as_declared_after_all_this(trial):
    assert trial.configuration() == []
