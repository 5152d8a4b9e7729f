"""heartbeatd for real: three in network namespaces, killed, starved, stopped and attacked."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit import heartbeat_net as hb
from tests.unit.heartbeat_net import DEFAULT, QUICK, clock, wait_until


@pytest.fixture
def net(tmp_path):
    with hb.Net(tmp_path) as net:
        yield net


def dead_seen_by(observers, peer, killed):
    """Return after how many seconds each observer declared the peer dead."""
    wait_until(lambda: {one.state(peer) for one in observers} == {"dead"}, 6, f"{peer} is lost")
    return [observer.changed(peer) - killed for observer in observers]


def test_a_killed_daemon_is_lost_after_deadtime_and_back_when_it_returns(net):
    a, b, c = net.running(DEFAULT).values()
    for _ in range(2):
        killed = clock()
        c.kill()
        for seconds in dead_seen_by((a, b), "c", killed):
            assert 2 - 0.25 - 0.05 < seconds < 2 + 0.25
        assert a.state("b") == b.state("a") == "up"
        c.start()
        started = clock()
        wait_until(net.all_up, 5, "c is back")
        assert clock() - started < 3
    assert a.view()["peers"]["c"]["losses"] == 2


def test_a_restart_within_deadtime_is_no_loss(net):
    a, b, c = net.running(DEFAULT).values()
    for _ in range(3):
        incarnation = a.view()["peers"]["c"]["incarnation"]
        c.kill()
        c.start()
        wait_until(lambda old=incarnation: a.view()["peers"]["c"]["incarnation"] > old, 5)
        wait_until(net.all_up, 5)
    assert a.view()["peers"]["c"]["losses"] == b.view()["peers"]["c"]["losses"] == 0


def test_one_of_two_links_is_enough_also_one_that_loses_a_third(net):
    a, _, c = net.running(DEFAULT).values()
    net.cut("c", "two")
    net.drop("c", 0.3, "eth1")
    net.drop("a", 0.3, "eth1")
    time.sleep(8)
    assert a.state("c", "two") == c.state("a", "two") == "dead"
    missed = a.view()["peers"]["c"]["links"]["one"]["missed"]
    assert missed > 0
    assert net.losses() == 0
    net.cut("c", "two", up=True)
    wait_until(lambda: a.state("c", "two") == "up", 2)


def test_a_peer_cut_off_on_every_link_is_lost_and_comes_back(net):
    a, b, c = net.running().values()
    for name in hb.NETS:
        net.cut("c", name)
    wait_until(lambda: a.state("c") == b.state("c") == "dead", 3)
    wait_until(lambda: c.state("a") == c.state("b") == "dead", 3)
    assert a.state("b") == "up"
    for name in hb.NETS:
        net.cut("c", name, up=True)
    wait_until(net.all_up, 3, "all hear each other again")


def test_a_saturated_processor_is_no_silence(net):
    net.running(DEFAULT)
    for daemon in net.daemons.values():
        policy = os.sched_getscheduler(daemon.process.pid)
        assert policy == os.SCHED_RR | os.SCHED_RESET_ON_FORK
    end = time.monotonic() + 10
    spin = f"import time\nwhile time.monotonic() < {end}: pass"
    burners = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(3 * os.cpu_count())]
    for burner in burners:
        burner.wait()
    assert net.losses() == 0


def test_its_memory_is_locked(net):
    daemon = net.daemon("a").start()
    wait_until(daemon.view, 5)
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    locked, resident = (int(status[key].split()[0]) for key in ("VmLck", "VmRSS"))
    assert locked > 0.9 * resident
    assert resident < 40_000  # KB: it runs on the smallest VM too


def test_a_stopped_observer_blames_nobody_when_it_goes_on(net):
    a, b, c = net.running().values()
    a.signal(hb.PAUSE)
    wait_until(lambda: b.state("a") == c.state("a") == "dead", 3)
    time.sleep(2)
    a.signal(hb.RESUME)
    wait_until(lambda: b.state("a") == c.state("a") == "up", 2)
    view = wait_until(lambda: (a.view()["stalls"]["count"] and a.view()), 2)
    assert view["stalls"]["last"]["seconds"] > 2
    assert [peer["losses"] for peer in view["peers"].values()] == [0, 0]


def test_a_thawed_observer_whose_peer_died_meanwhile_finds_out(net):
    a, _, c = net.running().values()
    a.signal(hb.PAUSE)
    c.kill()
    time.sleep(2)
    resumed = clock()
    a.signal(hb.RESUME)
    wait_until(lambda: a.state("c") == "dead", 3)
    assert a.changed("c") - resumed >= QUICK["deadtime"] - 0.01
    assert a.view()["peers"]["b"]["losses"] == 0


JUMP = """
import sys, time
real = time.time, time.time_ns
def hours():  # forwards, back, forwards: a new jump every second
    return (1, -1, 0)[int(time.monotonic()) % 3]
time.time = lambda: real[0]() + 3600 * hours()
time.time_ns = lambda: real[1]() + 3600 * 10**9 * hours()
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
import heartbeatd
heartbeatd.main(*sys.argv[1:])
"""


def test_a_clock_that_jumps_by_an_hour_is_no_silence_even_over_restarts(net):
    *_, c = net.running(DEFAULT).values()
    jumping = net.folder / "jump.py"
    jumping.write_text(JUMP)
    for _ in range(3):
        c.kill()
        c.process = subprocess.Popen(net.inside(
            "c", sys.executable, jumping, net.code / "heartbeatd.py", c.path
        ))  # fmt: skip
        time.sleep(2.5)
    assert abs(c.view()["time"] - time.time()) < 3700
    assert net.losses() == 0


def test_a_higher_epoch_for_a_held_resource_runs_the_hook(net):
    a, b, c = net.running(DEFAULT).values()
    hook, note = a.folder / "step-down", a.folder / "note"
    hook.write_text(f'#!/bin/sh\necho "$@" >> {note}\n')
    hook.chmod(0o755)
    (a.folder / "held/files.json").write_text('{"epoch": 3}')
    (c.folder / "claims/files.json").write_text('{"epoch": 3, "settled": true}')
    wait_until(lambda: a.view()["peers"]["c"]["claims"].get("files") == [3, 1], 3)
    wait_until(lambda: b.view()["peers"]["a"]["claims"].get("files") == [3, 2], 3)
    assert not note.exists()
    (c.folder / "claims/files.json").write_text('{"epoch": 4, "settled": true}')
    raised = clock()
    wait_until(note.exists, 2)
    assert clock() - raised < 1
    assert note.read_text() == "files 3 4\n"
    (a.folder / "held/files.json").unlink()
    time.sleep(2.5)
    assert note.read_text() == "files 3 4\n"


def test_a_higher_epoch_arrives_by_a_third_party_too(net):
    """a and c do not hear each other; b, who hears both, tells."""
    a, _, c = net.running(DEFAULT).values()
    for name, other in (("a", 3), ("c", 1)):
        net.filter(name, f"ip saddr {{ 10.9.1.{other}, 10.9.2.{other} }} drop")
    hook, note = a.folder / "step-down", a.folder / "note"
    hook.write_text(f'#!/bin/sh\necho "$@" > {note}\n')
    hook.chmod(0o755)
    (a.folder / "held/database.json").write_text('{"epoch": 3}')
    (c.folder / "held/database.json").write_text('{"epoch": 4}')
    wait_until(lambda: note.exists() and note.read_text(), 4)
    assert note.read_text() == "database 3 4\n"


def test_every_observer_learns_whom_the_others_do_not_hear(net):
    """One that hears nobody is heard still: the link is cut one way."""
    a, b, c = net.running().values()
    assert a.view()["peers"]["b"]["silent"] == {}
    net.filter("c", "ip saddr { 10.9.1.0/24, 10.9.2.0/24 } drop")
    wait_until(lambda: a.view()["peers"]["c"]["deaf"] and b.view()["peers"]["c"]["deaf"], 3)
    assert a.view()["peers"]["c"]["silent"] == {"a": "lost", "b": "lost"}
    assert (a.state("c"), a.view()["own"]["deaf"], c.view()["own"]["deaf"]) == ("up", False, True)
    c.kill()
    wait_until(lambda: a.view()["peers"]["b"]["silent"] == {"c": "lost"}, 3)
    wait_until(lambda: b.view()["peers"]["a"]["silent"] == {"c": "lost"}, 3)


def test_health_is_told_at_once_and_is_unknown_when_its_writer_falls_silent(net):
    a, b, _ = net.running(DEFAULT).values()
    said = clock()
    (b.folder / "health/files.service.json").write_text(json.dumps({"ok": True, "at": said}))
    (b.folder / "health/files.restarted.json").write_text(json.dumps({"ok": True, "at": None}))
    wait_until(lambda: a.view()["peers"]["b"]["health"].get("files.service") is True, 1)
    wait_until(lambda: a.view()["peers"]["b"]["health"]["files.service"] is None, 7)
    assert clock() - said >= 5
    assert a.view()["peers"]["b"]["health"]["files.restarted"] is True


def test_a_hook_or_helper_that_hangs_is_no_silence(net):
    """What may wait for a disk waits in the helper; stopped, it stops nothing else."""
    a, *_ = net.running(DEFAULT).values()
    children = open(f"/proc/{a.process.pid}/task/{a.process.pid}/children").read().split()
    assert len(children) == 1
    os.kill(int(children[0]), signal.SIGSTOP)
    for _ in range(40):
        a.signal(signal.SIGHUP)
        time.sleep(0.05)
    time.sleep(1)
    assert net.losses() == 0
    os.kill(int(children[0]), signal.SIGCONT)


def test_reload_takes_a_new_configuration_and_keeps_the_old_one_if_it_is_wrong(net):
    a, *_ = net.running().values()
    started = a.view()["incarnation"]
    del a.config["links"]["two"]
    a.configure(timing={**QUICK, "deadtime": 2})
    a.signal(signal.SIGHUP)
    view = wait_until(lambda: a.view()["timing"]["deadtime"] == 2 and a.view(), 3)
    assert list(view["peers"]["b"]["links"]) == ["one"]
    a.path.write_text("{")
    a.signal(signal.SIGHUP)
    time.sleep(1)
    assert a.view()["timing"]["deadtime"] == 2
    assert a.view()["incarnation"] == started
    assert net.losses() == 0


def test_a_link_that_appears_late_is_used_and_one_that_vanishes_comes_back(net):
    a = net.daemon("a")
    a.config["links"]["two"]["interface"] = "later"
    a.configure()
    a.start()
    b = net.daemon("b").start()
    wait_until(lambda: a.state("b", "one") == "up", 5)
    assert a.view()["links"]["two"]["open"] is False
    assert "No such device" in a.view()["links"]["two"]["problem"]
    hb.ip("-n", f"{net.prefix}a", "link", "set", "eth0", "down")
    hb.ip("-n", f"{net.prefix}a", "link", "set", "eth0", "name", "later")
    hb.ip("-n", f"{net.prefix}a", "link", "set", "later", "up")
    wait_until(lambda: a.state("b", "two") == b.state("a", "two") == "up", 3)
    hb.ip("-n", f"{net.prefix}a", "link", "delete", "later")
    wait_until(lambda: a.state("b", "two") == "dead", 3)
    assert a.state("b") == "up"
    net.cable("a", "two", "later", 1)
    wait_until(lambda: a.state("b", "two") == b.state("a", "two") == "up", 4)


def test_bare_ethernet_and_a_serial_line_carry_heartbeats(net, tmp_path):
    """The balancers' public interface has no address; a null-modem cable needs no network."""
    ends = [pty.openpty() for _ in "ab"]
    wire = subprocess.Popen([sys.executable, "-c", WIRE, *(str(master) for master, _ in ends)],
                            pass_fds=[master for master, _ in ends])
    try:
        for name, other, (_, slave) in zip("ab", "ba", ends, strict=True):
            hb.ip("-n", net.prefix + name, "address", "flush", "dev", "eth0")
            net.daemon(name, nets=(), links={
                "public": {"kind": "ethernet", "interface": "eth0", "peers": {other: None}},
                "serial": {"kind": "serial", "device": os.ttyname(slave), "speed": 115200,
                           "peers": {other: None}},
            }).start()  # fmt: skip
        wait_until(net.all_up, 6, "both links carry heartbeats")
        net.cut("b", "two")
        a = net.daemons["a"]
        wait_until(lambda: a.state("b", "public") == "dead", 3)
        assert a.state("b") == a.state("b", "serial") == "up"
    finally:
        wire.kill()
        wire.wait()
    wait_until(lambda: a.state("b") == "dead", 3)


WIRE = """
import os, select, sys
ends = [int(word) for word in sys.argv[1:]]
while True:
    for end in select.select(ends, [], [])[0]:
        os.write(ends[1 - ends.index(end)], os.read(end, 4096))
"""


@pytest.mark.parametrize(("spoil", "why"), [
    (lambda path: path.chmod(0o644), "chmod 600"),
    (lambda path: path.write_text("no"), "not JSON"),
    (lambda path: path.unlink(), "No such file"),
])  # fmt: skip
def test_it_refuses_to_start_without_a_safe_configuration(net, spoil, why):
    a = net.daemon("a")
    spoil(a.path)
    assert a.start().process.wait(5) == 1
    assert why in a.stderr()
    assert hb.KEY not in a.stderr()


def test_an_ended_helper_ends_the_daemon_so_that_systemd_starts_it_anew(net):
    a = net.daemon("a").start()
    wait_until(a.view, 5)
    child = int(open(f"/proc/{a.process.pid}/task/{a.process.pid}/children").read())
    os.kill(child, signal.SIGKILL)
    assert a.process.wait(3) == 1


def test_the_helper_ends_with_the_daemon(net):
    a = net.daemon("a").start()
    wait_until(a.view, 5)
    child = int(open(f"/proc/{a.process.pid}/task/{a.process.pid}/children").read())
    a.kill()
    wait_until(lambda: not os.path.exists(f"/proc/{child}/stat"), 3, "the helper is gone")


def test_the_helper_is_gone_when_the_daemon_was_stopped(net):
    a = net.daemon("a").start()
    wait_until(a.view, 5)
    child = int(open(f"/proc/{a.process.pid}/task/{a.process.pid}/children").read())
    a.signal(signal.SIGTERM)
    assert a.process.wait(5) == 0
    assert not os.path.exists(f"/proc/{child}")


def test_the_view_is_whole_at_every_moment(net):
    a = net.running()["a"]
    end = clock() + 2
    while clock() < end:
        assert json.loads((a.folder / "view.json").read_text())["name"] == "a"


def test_a_key_is_changed_in_steps_and_nobody_is_ever_lost(net):
    """As the runbook has it: believe the new one, sign with it, forget the old one."""
    daemons, new = list(net.running().values()), "7b" * 32
    for key, also in ((hb.KEY, new), (new, hb.KEY), (new, None)):
        for daemon in daemons:
            daemon.configure(key=key, also=also)
            daemon.signal(signal.SIGHUP)
            time.sleep(1)  # longer than deadtime: who does not hear it now has lost it
    assert net.losses() == 0
    assert all(daemon.view()["counters"]["forged"] == 0 for daemon in daemons)
    daemons[0].configure(key=hb.KEY)  # and that it is not one step, which would be lost
    daemons[0].signal(signal.SIGHUP)
    wait_until(lambda: daemons[0].view()["counters"]["forged"], 5)


@pytest.mark.parametrize(("change", "named"), [
    ({}, None),
    ({"also": "7b" * 32}, None),
    ({"key": "7b" * 32}, "the key changed at once"),
    ({"key": "7b" * 32, "also": "5a" * 32}, "the key changed at once"),
    ({"cluster": "shop"}, "the name of the cluster changed at once"),
    ({"port": 999}, "the port changed at once"),
])  # fmt: skip
def test_a_configuration_that_would_deafen_is_refused_before_it_is_there(net, change, named):
    a = net.daemon("a")
    before = a.folder / "before.conf"
    before.write_text(a.path.read_text())
    before.chmod(0o600)
    change = dict(change)
    if port := change.pop("port", None):
        for entry in a.config["links"].values():
            entry["port"] = port
    a.configure(**change)
    argv = [sys.executable, "-EsS", net.code / "heartbeatd.py", "--check"]
    done = subprocess.run([*argv, before, a.path], capture_output=True, text=True)
    assert done.returncode == (1 if named else 0), done.stderr
    assert named is None or named in done.stderr
    assert subprocess.run([*argv, a.folder / "absent", a.path]).returncode == 0
    assert subprocess.run([*argv, a.path]).returncode == 0


def test_a_note_of_a_clock_far_ahead_is_forgotten(net):
    a, b = (net.daemon(name) for name in "ab")
    note = Path(a.config["paths"]["incarnation"])
    note.write_text(str((int(time.time()) + 3 * 86400) * 1000))
    a.start()
    b.start()
    wait_until(lambda: a.state("b") == b.state("a") == "up", 5)
    assert abs(int(note.read_text()) / 1000 - time.time()) < 3600
