"""heartbeatd under attack: forged and replayed packets change nothing and cost little."""

import contextlib
import socket
import subprocess
import sys
import time

import pytest

from tests.unit import heartbeat_net as hb
from tests.unit.heartbeat_net import DEFAULT, clock, wait_until


@pytest.fixture
def net(tmp_path):
    with hb.Net(tmp_path) as net:
        yield net


@contextlib.contextmanager
def attacker(net, rate, *packets):
    """Send the packets in turn from c's address and port to a, ``rate`` a second."""
    code = f"""
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.9.1.3", 694))
packets, sent, start = {packets}, 0, time.monotonic()
while True:
    while sent < (time.monotonic() - start) * {rate}:
        s.sendto(packets[sent % len(packets)], ("10.9.1.1", 694))
        sent += 1
    time.sleep(0.002)
"""
    process = subprocess.Popen(net.inside("c", sys.executable, "-c", code))
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_ten_thousand_forged_packets_a_second_change_nothing(net):
    """They come from the address of c, which is dead: c stays dead, b up, the processor free."""
    a, _, c = net.running(DEFAULT).values()
    c.kill()
    wait_until(lambda: a.state("c") == "dead", 4)
    forged = hb.packet(b"\0" * 32, sender="c", receiver="a")
    before, cpu, started = a.view(), a.cpu(), clock()
    with attacker(net, 10_000, forged):
        time.sleep(6)
        took, share = clock() - started, a.cpu() - cpu
        after = wait_until(lambda: a.view()["at"] > started + 5 and a.view(), 3)
    assert after["counters"]["forged"] - before["counters"]["forged"] > 1_000  # the attack was one
    assert share / took < 0.9  # of one core
    assert after["peers"]["c"]["state"] == "dead"
    assert after["peers"]["c"]["losses"] == 1
    for link in hb.NETS:
        assert after["peers"]["b"]["links"][link]["state"] == "up"
    assert after["peers"]["b"]["losses"] == 0


def test_replayed_packets_do_not_bring_a_dead_peer_back(net):
    a, _, c = net.running().values()
    with hb.entered(f"{net.prefix}s"):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        tap.bind(("aone", 0))
    tap.settimeout(5)
    recorded = []
    while len(recorded) < 5:
        frame = tap.recv(2000)
        if frame[26:30] == socket.inet_aton("10.9.1.3") and frame[23] == 17:
            recorded.append(frame[42:])
    c.kill()
    wait_until(lambda: a.state("c") == "dead", 3)
    a.kill()
    a.start()
    wait_until(lambda: a.state("b") == "up", 3)
    with attacker(net, 100, *recorded):
        time.sleep(1)
    wait_until(lambda: a.view()["counters"]["unproven"] > 5, 2, "replays are counted")
    assert a.state("c") in ("unknown", "dead")
    wait_until(lambda: a.state("c") == "dead", 4)


def test_it_reports_to_systemd_and_logs_at_a_bounded_rate(net):
    with contextlib.ExitStack() as stack:
        sockets = {}
        for name in ("notify", "log"):
            sockets[name] = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            sockets[name].bind(str(net.folder / name))
            sockets[name].settimeout(5)
        a = net.daemon("a")
        a.configure(paths={**a.config["paths"], "log": str(net.folder / "log")})
        a.start(NOTIFY_SOCKET=str(net.folder / "notify"))
        assert sockets["notify"].recv(200).startswith(b"READY=1")
        assert sockets["notify"].recv(200) == b"WATCHDOG=1"
        with attacker(net, 2000, b"nonsense" * 20):
            time.sleep(2)
        sockets["log"].setblocking(False)
        lines = []
        with contextlib.suppress(BlockingIOError):
            while True:
                lines.append(sockets["log"].recv(500))
        said = [line for line in lines if b"alien packet on link one dropped" in line]
        assert said
        assert len(lines) < 8
