"""The lab's networks, machines and seeds, as data; and a real network in namespaces of the test."""

import os
import select
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from lab import config, machine, network, process, relay, seed, serial, tree
from lab.deadline import wait_until
from lab.errors import LabError
from tests.loading import ROOT

TOPOLOGY = config.bootstrap(ROOT).load("topology")
CLUSTER = TOPOLOGY.settled(yaml.safe_load((ROOT / "pillar/cluster.sls").read_text())["cluster"])
VMS = TOPOLOGY.vms(CLUSTER)
PLAN = network.plan(CLUSTER, VMS)
MERGE = config.bootstrap(ROOT).merge


def test_device_names_fit_the_kernel_and_stay_different():
    long = [network.device_name("a-very-long-vm-name", name) for name in ("eth0", "eth1")]
    assert all(len(name) <= 15 for name in long)
    assert len(set(long)) == 2
    assert network.device_name("lb1", "eth1") == "lb1-eth1"


def test_every_vm_hangs_on_its_server_and_the_witness_on_the_switch():
    where = {(link.owner, link.interface): link.bridge for link in PLAN.taps}
    assert where["lb1", "eth0"] == "server1-public"
    assert where["web2", "eth1"] == network.device_name("server2", "internal")
    assert where["witness", "eth1"] == "net-internal"
    assert ("web1", "eth0") not in where
    assert all(where[entry["name"], "lab0"] == "lab0" for entry in VMS)


def test_macs_differ_and_stay():
    macs = [link.mac for link in PLAN.taps]
    assert len(set(macs)) == len(macs)
    assert network.plan(CLUSTER, VMS) == PLAN


def test_management_network_avoids_the_clusters():
    cluster = MERGE(CLUSTER, {"networks": {"internal": {"subnet": "10.255.0.0/16"}}})
    assert str(network.management_of(cluster)) == "172.31.255.0/24"


def test_links_are_found_by_vm_server_and_interface():
    net = network.Network("none", PLAN)
    assert [link.device for link in net.links("lb1")] == ["lb1-eth0", "lb1-eth1"]
    assert [link.device for link in net.links("lb1:eth1")] == ["lb1-eth1"]
    assert [link.interface for link in net.links("server2")] == ["eth0", "eth1"]
    with pytest.raises(LabError, match="server1"):
        net.links("lb9")
    with pytest.raises(LabError):
        net.links("lb1:lab0")  # the way in is never cut


def test_kernel_arguments_name_disks_and_cables():
    entry = next(each for each in VMS if each["name"] == "file1")
    links = [link for link in PLAN.taps if link.owner == "file1"]
    words = machine.kernel_arguments(entry, links, "image.ext4")
    assert "mem=1024M" in words
    assert "ubd0=/mnt/machines/file1/cow,/media/image.ext4" in words
    assert "ubd1=/mnt/machines/file1/data" in words
    assert next(word for word in words if word.startswith("vec")).endswith("depth=64,gro=1")
    lb1 = next(each for each in VMS if each["name"] == "lb1")
    assert not [word for word in machine.kernel_arguments(lb1, [], "i") if word.startswith("ubd1")]


def test_overlay_keeps_the_ratios_and_fits_six_gigabytes():
    over = config.overlay(ROOT, {}, MERGE)
    small = TOPOLOGY.settled(MERGE(CLUSTER, over))
    memory = {entry["name"]: entry["size"]["memory"] for entry in TOPOLOGY.vms(small)}
    assert sum(memory.values()) <= 6 * 2**30
    assert memory["db1"] > memory["web1"] > memory["file1"]
    assert small["files"]["device"] == "/dev/ubdb"
    assert small["moodle"]["source"] == {"directory": "/srv/moodle-source"}


def test_full_size_leaves_the_sizes_alone():
    over = config.overlay(ROOT, {"full_size": True}, MERGE)
    assert "sizes" not in over
    assert over["database"]["device"] == "/dev/ubdb"


def test_options_reach_the_pillar():
    over = config.overlay(ROOT, {
        "engine": "mariadb", "pillar": {"heartbeat": {"deadtime": 0.6}},
        "moodle": {"file": "m.tgz", "checksum": "ab"},
    }, MERGE)
    settled = TOPOLOGY.settled(MERGE(CLUSTER, over))
    assert settled["database"]["engine"] == "mariadb"
    assert settled["heartbeat"]["deadtime"] == 0.6
    assert settled["moodle"]["source"] == {
        "archive": "/srv/moodle-source/m.tgz", "checksum": "sha256=ab"}


def test_seed_makes_a_vm_reachable_and_starts_salt(tmp_path):
    lb1 = VMS[0]
    content = seed.files(lb1, {
        "address": "10.255.0.11", "prefix": 24, "host_key": "KEY\n", "authorized_key": "PUB\n",
        "networks": TOPOLOGY.networks_of(CLUSTER, "lb1"),
        "network_template": (ROOT / seed.NETWORK).read_text(),
    })
    links = [link for link in PLAN.taps if link.owner == "lb1"]
    seed.plant(tmp_path, content, "balancer", links)
    etc = tmp_path / "files/etc"
    assert (etc / "hostname").read_text() == "lb1\n"
    assert (etc / "ssh/ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
    assert "Address=192.168.10.10/24" in (
        etc / "systemd/network/05-cluster-eth1.network").read_text()
    public = (etc / "systemd/network/05-cluster-eth0.network").read_text()
    assert "203.0.113" not in public  # I5: no address that moves is configured at boot
    wants = etc / "systemd/system/multi-user.target.wants"
    assert {path.name for path in wants.iterdir()} == {"salt-master.service", "salt-minion.service"}
    assert (tmp_path / "links").read_text() == "vec0 eth0\nvec1 eth1\nvec2 lab0\n"
    assert "/mnt/tree /srv/cluster" in (tmp_path / "mounts").read_text()


def test_push_brings_changes_and_removals_but_never_touches_secrets(tmp_path):
    root, there = tmp_path / "root", tmp_path / "tree"
    (root / "salt/web").mkdir(parents=True)
    (root / "pillar").mkdir()
    (root / "_modules/__pycache__").mkdir(parents=True)
    (root / "_modules/__pycache__/a.pyc").write_text("x")
    (root / "pillar/secrets.sls").write_text("the checkout's own")
    (root / "salt/web/init.sls").write_text("one")
    (root / "salt/_modules").symlink_to("../_modules")
    (root / "_modules/a.py").write_text("a")
    (root / "Saltfile").write_text("salt: {}")
    assert sorted(tree.push(root, there)) == [
        "Saltfile", "_modules/a.py", "salt/_modules", "salt/web/init.sls"]
    (there / "pillar").mkdir(exist_ok=True)
    (there / "pillar/secrets.sls").write_text("the lab's")
    assert (there / "salt/_modules").is_symlink()
    assert tree.push(root, there) == []
    (root / "salt/web/init.sls").write_text("two")
    (root / "_modules/a.py").unlink()
    assert sorted(tree.push(root, there)) == ["_modules/a.py", "salt/web/init.sls"]
    assert (there / "salt/web/init.sls").read_text() == "two"
    assert (there / "pillar/secrets.sls").read_text() == "the lab's"
    assert not (there / "_modules/__pycache__").exists()


def test_a_vm_that_began_a_session_of_its_own_is_paused_and_killed_as_a_whole(tmp_path):
    script = "sleep 60 & setsid sleep 60 & wait"
    child = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    known = process.Processes(tmp_path / "process.json")
    known.remember(child.pid)
    wait_until(lambda: len(process.family(child.pid)) == 3, "both sleeps", 5, pause=0.02)
    family = process.family(child.pid)
    assert len(family) == 3
    assert family[0] == child.pid == known.pid
    known.signal(19)
    wait_until(lambda: known.stopped, "the leader to stop", 5)
    known.kill()
    assert child.wait(timeout=5) == -9
    assert known.pid is None
    wait_until(lambda: not known.ending, "both sleeps to end", 5, pause=0.02)


@pytest.mark.parametrize(("ends", "boots"), [
    ("echo; exit 0", 2),                             # reboot, panic
    ("echo reboot: Power down; exit 0", 1),
    ("echo reboot: System halted; exit 0", 1),
])
def test_a_vm_that_reboots_by_itself_comes_up_again_and_one_switched_off_does_not(
    tmp_path, ends, boots
):
    """A User-Mode Linux that restarts inside its own process finds its taps gone."""
    loop = machine.BOOT[machine.BOOT.index("while"):]
    (tmp_path / "linux").write_text(
        f"echo booted >>{tmp_path}/boots\n"
        f"[ $(grep -c . {tmp_path}/boots) -lt 2 ] || sleep 60\nsleep 3\n{ends}\n")
    loop = loop.replace('chroot "$root" /usr/bin/linux', f"sh {tmp_path}/linux")
    with (tmp_path / "console").open("wb") as console:
        child = subprocess.Popen(["sh", "-c", f"console={tmp_path}/console; {loop}"],
                                 start_new_session=True, stdout=console)
    known = process.Processes(tmp_path / "process.json")
    known.remember(child.pid)

    def settled():
        known_boots = tmp_path / "boots"
        count = len(known_boots.read_text().split()) if known_boots.exists() else 0
        return count == boots and (count == 2 or known.pid is None)

    wait_until(settled, f"{boots} boots", 10)
    known.kill()
    wait_until(lambda: not known.ending, "the loop to end", 5)


def relays(line):
    found = subprocess.run(["pgrep", "-f", str(line.folder)], capture_output=True, text=True)
    return found.stdout.split()


@pytest.fixture
def lines(tmp_path):
    """Serial lines of two pairs with a relay of their own, and a function that sends."""
    found = serial.Serial(tmp_path / "serial", [("a1", "a2"), ("b1", "b2")],
                          {"s1": ["a1", "b1"], "s2": ["a2", "b2"]})
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: found.up(), range(4)))
    assert len(relays(found)) == 1

    def carried(sender, receiver):
        found.drain(receiver)
        (found.folder / f"{sender}.out").write_bytes(b"beat")
        pipe = os.open(found.folder / f"{receiver}.in", os.O_RDWR | os.O_NONBLOCK)
        try:
            return bool(select.select([pipe], [], [], 0.3)[0]) and os.read(pipe, 99) == b"beat"
        finally:
            os.close(pipe)

    yield found, carried
    found.down()
    wait_until(lambda: not found.processes.ending, "the relay to end", 5, pause=0.02)


def test_a_serial_line_carries_both_ways_and_can_be_cut(lines):
    line, carried = lines
    wait_until(lambda: carried("a1", "a2"), "the relay", 5)
    assert carried("a2", "a1") and carried("b1", "b2")
    line.cut("a1:serial")
    assert not carried("a1", "a2") and not carried("a2", "a1") and carried("b1", "b2")
    assert line.cuts() == ["a1:serial"]
    line.heal("a1")
    line.cut("s1", "out")
    assert not carried("b1", "b2") and carried("b2", "b1")
    line.heal("s1:serial")
    assert carried("b1", "b2") and line.cuts() == []
    assert line.lines("a1:eth1") == line.lines("web1") == []
    with pytest.raises(LabError, match="a1, a2, b1, b2"):
        line.cut("web1:serial")


def test_a_line_that_nobody_reads_keeps_little_of_the_past(lines):
    line, carried = lines
    wait_until(lambda: carried("a1", "a2"), "the relay", 5)
    with (line.folder / "a1.out").open("wb", buffering=0) as sender:
        for _ in range(100):
            sender.write(b"x" * 100)
            time.sleep(0.002)
    pipe = os.open(line.folder / "a2.in", os.O_RDWR | os.O_NONBLOCK)
    try:
        assert 0 < len(os.read(pipe, 65536)) <= relay.WAITING
    finally:
        os.close(pipe)
    assert carried("a1", "a2")


def test_a_pid_used_again_is_not_ours(tmp_path):
    known = process.Processes(tmp_path / "process.json")
    known.remember(os.getpid())
    assert known.pid == os.getpid()
    known.path.write_text(known.path.read_text().replace('"started": "', '"started": "9'))
    assert known.pid is None


@pytest.fixture
def wires():
    """The lab's real network, without VMs on its taps."""
    if os.geteuid() or not shutil.which("ip"):
        pytest.fail("these tests need root and iproute2")
    net = network.Network(f"unit{os.getpid()}", PLAN)
    net.up()
    try:
        yield net
    finally:
        net.down()
        assert not net.exists


def masters(net):
    text = net.inside(["ip", "-o", "link", "show"])
    return {line.split(":")[1].strip().split("@")[0]: "master" in line
            for line in text.splitlines()}


def test_a_cut_pulls_the_cable_and_heal_plugs_it_in(wires):
    assert wires.cuts() == []
    wires.cut("lb1:eth1")
    wires.cut("server2")
    assert not masters(wires)["lb1-eth1"]
    assert masters(wires)["lb1-eth0"]
    assert wires.cuts() == ["server2:eth0", "server2:eth1", "lb1:eth1"]
    wires.heal("server2")
    wires.heal("lb1")
    assert wires.cuts() == []


def test_half_a_cut_is_a_rule_and_heal_removes_it(wires):
    wires.cut("web1", "out")
    wires.cut("web1:eth1", "in")
    wires.cut("db1", "in")
    assert sorted(wires.cuts()) == ["db1:eth1", "web1:eth1"]
    wires.heal("web1")
    assert wires.cuts() == ["db1:eth1"]


def test_frames_are_lost_at_random_until_the_link_is_healed(wires):
    wires.lose("web1:eth1", 30)
    assert "numgen" in wires.inside(["nft", "list", "ruleset"])
    assert wires.cuts() == ["web1:eth1"]
    wires.heal("web1")
    assert wires.cuts() == []


def test_a_foreign_host_stands_where_it_is_put(wires):
    with wires.visitor(("net-public", "203.0.113.10/24")) as name:
        assert "203.0.113.10/24" in wires.inside(["ip", "-4", "-o", "address"], name)


def test_a_network_that_is_up_is_left_as_it_is(wires):
    wires.cut("lb1")
    wires.up()
    assert wires.cuts() == ["lb1:eth0", "lb1:eth1"]


def test_there_is_no_route_out(wires):
    for name in (wires.name, wires.outside_name):
        assert "default" not in wires.inside(["ip", "route"], name)


def test_the_world_outside_sees_the_public_network_only(wires):
    seen = wires.inside(["ip", "-4", "-o", "address"], wires.outside_name)
    assert "203.0.113.1/24" in seen
    assert "192.168.10" not in seen
