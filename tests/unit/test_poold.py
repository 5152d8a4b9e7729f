"""poold: who is out of the pool, how soon, and what a failure of all of them at once means."""

import asyncio
import json
import socket
import ssl
import sys
import threading
import time

import pytest

from tests import pillars
from tests.loading import ROOT

sys.path[:0] = [str(ROOT / "salt/balancer/files"), str(ROOT / "_utils")]
import poold  # noqa: E402
import poold_rules as rules  # noqa: E402

CHECK = {"interval": 0.05, "timeout": 0.2, "rise": 2, "fall": 2, "path": "/health", "expect": "ok"}
SERVICE, SORRY = "203.0.113.10:80", {"80": "192.168.10.10:8088"}
WEB1, WEB2 = "192.168.10.11:80", "192.168.10.21:80"
UP, DOWN, STUCK, UNFIT = rules.UP, rules.DOWN, rules.STUCK, rules.UNFIT


@pytest.fixture
def two():
    return [rules.Server("web1", "192.168.10.11", 2, UP, 0.0),
            rules.Server("web2", "192.168.10.21", 4, UP, 0.0)]  # fmt: skip


def fail(server, problem, times, now=100.0):
    for _ in range(times):
        server.note_alive(problem, "because", CHECK, now)


def weights(table=None, **more):
    return {SERVICE: {WEB1: (2, 3), WEB2: (4, 5), SORRY["80"]: (0, 0), **(table or {}), **more}}


def rules_for(servers, table, drained=(), now=100.0):
    choice = rules.choose(servers, drained, now)
    return rules.plan(table, [SERVICE], servers, choice, SORRY)


def test_a_dead_server_is_cut_off_and_put_back_with_weight_0(two):
    """The removal ends its connections; with weight 0 the state finds the table as declared."""
    fail(two[1], DOWN, CHECK["fall"])
    assert rules_for(two, weights()) == [f"-d -t {SERVICE} -r {WEB2}"]
    gone = weights()
    del gone[SERVICE][WEB2]
    assert rules_for(two, gone) == [f"-a -t {SERVICE} -r {WEB2} -m -w 0"]
    assert rules_for(two, weights({WEB2: (0, 0)})) == []


def test_one_failure_is_none(two):
    fail(two[1], DOWN, CHECK["fall"] - 1)
    two[1].note_alive(None, "fine", CHECK, 100)
    fail(two[1], DOWN, CHECK["fall"] - 1)
    assert rules_for(two, weights()) == []


def test_a_stuck_server_gets_nothing_new_and_is_cut_off_only_when_that_lasts(two):
    fail(two[1], STUCK, CHECK["fall"])
    assert rules_for(two, weights()) == [f"-e -t {SERVICE} -r {WEB2} -m -w 0"]
    later = 100 + rules.CUT
    assert rules_for(two, weights({WEB2: (0, 5)}), now=later) == [f"-d -t {SERVICE} -r {WEB2}"]


def test_a_dead_server_returns_only_after_rise_good_answers_and_its_page(two):
    fail(two[1], DOWN, CHECK["fall"])
    two[1].note_alive(None, "alive", CHECK, 101)
    assert two[1].state == DOWN
    two[1].note_alive(None, "alive", CHECK, 102)
    assert two[1].state == UNFIT and rules.choose(two, (), 102)["web2"] == rules.OUT
    two[1].note_page(None, "fine", 103)
    assert rules_for(two, weights({WEB2: (0, 0)})) == [f"-e -t {SERVICE} -r {WEB2} -m -w 4"]


@pytest.mark.parametrize("problem", [STUCK, UNFIT])
def test_all_that_fail_together_go_on_since_files_or_database_move(two, problem):
    for server in two:
        server.become(problem, "no database", 100.0)
    assert set(rules.choose(two, (), 101.0).values()) == {rules.IN}
    assert rules.IN not in rules.choose(two, (), 101.0 + rules.TOGETHER).values()


def test_all_that_are_only_slow_go_on_since_a_page_would_not_help_the_users(two):
    for server in two:
        fail(server, STUCK, CHECK["fall"])
    assert set(rules.choose(two, (), 101.0 + 9 * rules.TOGETHER).values()) == {rules.IN}


def test_a_server_that_just_boots_does_not_serve_although_nobody_else_does(two):
    for server in two:
        fail(server, DOWN, CHECK["fall"])
    fail(two[0], None, CHECK["rise"])
    assert two[0].state == UNFIT and rules.IN not in rules.choose(two, (), 100.5).values()


def test_the_sorry_page_serves_while_nobody_else_does(two):
    for server in two:
        fail(server, DOWN, CHECK["fall"])
    lines = rules_for(two, weights())
    assert lines[-1] == f"-e -t {SERVICE} -r {SORRY['80']} -m -w 1"
    back = weights({WEB1: (0, 0), WEB2: (0, 0), SORRY["80"]: (1, 0)})
    two[0].become(UP, "fine", 101)
    assert rules_for(two, back) == [
        f"-e -t {SERVICE} -r {WEB1} -m -w 2",
        f"-e -t {SERVICE} -r {SORRY['80']} -m -w 0",
    ]


def test_a_drained_server_gets_nothing_new_and_is_never_cut_off(two):
    out = {"web1": {"since": 1, "why": None, "force": False}}
    assert rules_for(two, weights(), drained=out) == [f"-e -t {SERVICE} -r {WEB1} -m -w 0"]
    assert rules_for(two, weights({WEB1: (0, 7)}), drained=out, now=1e6) == []


@pytest.mark.parametrize("problem", [DOWN, STUCK, UNFIT])
def test_a_drained_server_serves_when_the_other_one_dies_unless_forced_out(two, problem):
    """server2 dies while server1 is evacuated: a page from web1 is better than none."""
    two[1].become(problem, "its server died", 100.0)
    assert rules.choose(two, {"web1": {"force": False}}, 100.1)["web1"] == rules.IN
    assert rules.choose(two, {"web1": {"force": False}}, 100.1)["web2"] != rules.IN
    assert rules.choose(two, {"web1": {"force": True}}, 100.1)["web1"] == rules.OUT


def test_a_weight_that_an_operator_set_stays(two):
    assert rules_for(two, weights({WEB1: (1, 0), WEB2: (9, 0)})) == []


def test_a_table_that_is_not_loaded_is_left_to_the_boot(two):
    assert rules_for(two, {}) == []


def test_the_kernels_table_is_read():
    text = (
        "IP Virtual Server version 1.2.1 (size=4096)\n"
        "Prot LocalAddress:Port Scheduler Flags\n"
        "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n"
        "TCP  CB00710A:0050 wlc  \n"
        "  -> C0A80A0B:0050      Masq    2      3          195       \n"
        "UDP  CB00710A:0035 rr  \n"
        "  -> C0A80A0B:0035      Masq    1      0          0         \n"
        "FWM  00000007 wlc\n"
        "  -> C0A80A0B:0050      Masq    1      0          0         \n"
    )
    assert rules.read_table(text) == {SERVICE: {WEB1: (2, 3)}}


class Web:
    """A web VM on a loopback address of its own: serves, is silent, or is not there."""

    def __init__(self, address, port):
        self.address, self.port, self.mode = address, port, "serve"
        self.listen()
        threading.Thread(target=self.loop, daemon=True).start()

    def listen(self):
        self.listener = socket.create_server((self.address, self.port))

    def crash(self):
        self.mode = "off"
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def boot(self):
        self.listen()
        self.mode = "serve"

    def loop(self):
        held = []
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                time.sleep(0.01)
                continue
            request = connection.recv(4096)
            if self.mode == "silent":
                held.append(connection)
                continue
            status = "503 No" if self.mode == "unfit" and b"alive" not in request else "200 OK"
            connection.sendall(f"HTTP/1.1 {status}\r\n\r\nalive ok".encode())
            connection.close()


class Kernel:
    """The table as ipvsadm's rules edit it: the host's kernel has no IPVS."""

    def __init__(self):
        self.table = {SERVICE: {}}
        self.rules = []

    def apply(self, lines):
        for line in lines:
            self.rules.append(line)
            words = line.split()
            real = words[words.index("-r") + 1]
            if words[0] == "-d":
                del self.table[SERVICE][real]
            else:
                assert (words[0] == "-a") == (real not in self.table[SERVICE])
                self.table[SERVICE][real] = (int(words[-1]), 0)

    def weight(self, real):
        return self.table[SERVICE].get(real, (None,))[0]


class Balancer:
    """A real poold, but for the kernel's table."""

    def __init__(self, folder, monkeypatch):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.kernel, self.folder = Kernel(), folder
        for name, value in {"RUN": str(folder), "DRAINED": str(folder / "drained.json"),
                            "PORT": self.port, "PAGE": 0.1, "TICK": 0.05,
                            "apply": self.kernel.apply}.items():  # fmt: skip
            monkeypatch.setattr(poold, name, value)
        monkeypatch.setattr(poold.Pool, "table", lambda *_: self.kernel.table)
        monkeypatch.setattr(poold.poold_wire.health, "DIRECTORY", str(folder / "health"))
        self.webs = {f"web{n}": Web(f"127.0.1.{n}", self.port) for n in (1, 2)}
        reals = {name: (2, 0) for name in self.reals()}
        self.kernel.table[SERVICE] = {**reals, self.sorry(): (0, 0)}
        (folder / "sorry.html").write_text("<h1>Sorry</h1>")

    def reals(self):
        return [f"{web.address}:80" for web in self.webs.values()]

    def sorry(self):
        return f"127.0.1.9:{self.port}"

    def config(self):
        return {
            "check": CHECK, "services": [SERVICE], "sorry": {"80": self.sorry()},
            "servers": {name: {"address": web.address, "weight": 2}
                        for name, web in self.webs.items()},
            "page": str(self.folder / "sorry.html"), "floating": {}, "gateway": None,
            "links": [], "peer": None, "elsewhere": [],
            "certificate": ["/nonexistent", "/nonexistent"],
        }  # fmt: skip

    def run(self, story):
        """Run poold while the coroutine `story` goes on."""

        async def both():
            pool = asyncio.create_task(poold.Pool(self.config()).run())
            try:
                await asyncio.wait_for(story(), 60)
                assert not pool.done(), pool.exception()
            finally:
                pool.cancel()

        asyncio.run(both())

    async def until(self, condition, what):
        end = time.monotonic() + 20  # a busy machine takes its time
        while not condition():
            assert time.monotonic() < end, f"{what}: {self.kernel.table} {self.kernel.rules}"
            await asyncio.sleep(0.01)

    def told(self):
        return json.loads((self.folder / "pool.json").read_text())


@pytest.fixture
def balancer(tmp_path, monkeypatch):
    monkeypatch.setattr(poold.poold_wire.Wires, "judge", lambda *_: (None, "no wires here"))
    return Balancer(tmp_path, monkeypatch)


def test_a_crashed_server_leaves_the_pool_and_returns_when_it_is_healthy(balancer):
    first, second = balancer.reals()

    async def story():
        await asyncio.sleep(0.3)
        assert balancer.kernel.rules == []
        balancer.webs["web2"].crash()
        await balancer.until(lambda: balancer.kernel.weight(second) == 0, "web2 is out")
        assert balancer.kernel.rules[0] == f"-d -t {SERVICE} -r {second}"
        assert balancer.kernel.weight(first) == 2
        balancer.webs["web2"].boot()
        await balancer.until(lambda: balancer.kernel.weight(second) == 2, "web2 is back")

    balancer.run(story)


def test_a_hung_server_gets_nothing_new(balancer):
    second = balancer.reals()[1]

    async def story():
        balancer.webs["web2"].mode = "silent"
        await balancer.until(lambda: balancer.kernel.weight(second) == 0, "web2 is out")
        assert balancer.kernel.rules == [f"-e -t {SERVICE} -r {second} -m -w 0"]
        await balancer.until(lambda: balancer.told()["servers"]["web2"]["state"] == "stuck", "told")

    balancer.run(story)


def test_one_that_says_it_is_unfit_gets_nothing_new_but_both_would_go_on(balancer):
    first, second = balancer.reals()

    async def story():
        balancer.webs["web2"].mode = "unfit"
        await balancer.until(lambda: balancer.kernel.weight(second) == 0, "web2 is out")
        balancer.webs["web1"].mode = "unfit"
        await balancer.until(lambda: balancer.kernel.weight(second) == 2, "both go on")
        assert balancer.kernel.weight(first) == 2
        why = balancer.told()["servers"]["web2"]["why"]
        assert why.startswith("/health answered 'HTTP/1.1 503")

    balancer.run(story)


@pytest.mark.parametrize(("body", "said"), [
    (b'[{"check":"release","ok":true,"detail":"e1c2"},'
     b'{"check":"moodledata","ok":false,"detail":"/srv/moodledata: nfs4, no answer within 1 s"}]',
     "moodledata: /srv/moodledata: nfs4, no answer within 1 s"),
    (b"<h1>Service\n Unavailable</h1>", "<h1>Service Unavailable</h1>"),
    (b'{"check": "x"}', '{"check": "x"}'), (b"[1]", "[1]"), (b"[]", "[]"), (b"\xff", "\ufffd"),
])
def test_a_page_that_complains_is_quoted_where_it_does(body, said):
    assert poold.complaints(body) == said


def test_with_all_down_a_page_says_so(balancer):
    async def story():
        for web in balancer.webs.values():
            web.crash()
        await balancer.until(lambda: balancer.kernel.weight(balancer.sorry()) == 1, "sorry serves")
        reader, writer = await asyncio.open_connection("127.0.1.9", balancer.port)
        writer.write(b"GET /course/view.php?id=2 HTTP/1.1\r\nHost: moodle\r\n\r\n")
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.0 503 ") and answer.endswith(b"<h1>Sorry</h1>")
        await balancer.until(lambda: balancer.told()["sorry"], "told")

    balancer.run(story)


def test_without_a_certificate_the_checks_go_on(balancer, monkeypatch, capsys):
    config = balancer.config()
    config["sorry"]["443"] = "127.0.1.9:0"
    monkeypatch.setattr(balancer, "config", lambda: config)

    async def story():
        await balancer.until((balancer.folder / "pool.json").exists, "told")

    balancer.run(story)
    assert "<3>no sorry page for port 443: " in capsys.readouterr().err


def test_an_https_site_says_sorry_by_tls(balancer, monkeypatch, tmp_path):
    pair = pillars.secrets()["certificates"]["lb1"]
    for name in ("certificate", "key"):
        (tmp_path / name).write_text(pair[name])
    with socket.socket() as probe:
        probe.bind(("127.0.1.9", 0))
        port = probe.getsockname()[1]
    config = balancer.config() | {"certificate": [tmp_path / "certificate", tmp_path / "key"]}
    config["sorry"]["443"] = f"127.0.1.9:{port}"
    monkeypatch.setattr(balancer, "config", lambda: config)
    context = ssl.create_default_context(cadata=pillars.secrets()["ca"]["certificate"])

    async def story():
        await balancer.until((tmp_path / "pool.json").exists, "started")
        reader, writer = await asyncio.open_connection(
            "127.0.1.9", port, ssl=context, server_hostname="lb1"
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: moodle\r\n\r\n")
        assert (await reader.read()).endswith(b"<h1>Sorry</h1>")
        writer.close()

    balancer.run(story)


def test_a_restart_forgets_no_failure_and_invents_none(balancer):
    first, second = balancer.reals()
    balancer.kernel.table[SERVICE][second] = (0, 0)
    balancer.webs["web2"].mode = "unfit"

    async def story():
        await asyncio.sleep(0.5)
        assert (balancer.kernel.weight(first), balancer.kernel.weight(second)) == (2, 0)
        assert not [line for line in balancer.kernel.rules if first in line]

    balancer.run(story)


@pytest.mark.parametrize("mode", ["ok", "unfit"])
def test_a_restart_cuts_off_nobody_whose_server_is_drained_or_unfit(balancer, mode):
    first, second = balancer.reals()
    balancer.kernel.table[SERVICE][second] = (0, 3)
    balancer.webs["web2"].mode = mode
    drained = {"web2": {"since": 1, "why": None}} if mode == "ok" else {}
    (balancer.folder / "drained.json").write_text(json.dumps(drained))

    async def story():
        await asyncio.sleep(0.5)
        assert (balancer.kernel.weight(first), balancer.kernel.weight(second)) == (2, 0)
        assert not [line for line in balancer.kernel.rules if line.startswith("-d")]

    balancer.run(story)


def test_a_server_that_is_new_in_the_pillar_proves_itself_first(balancer):
    (balancer.folder / "pool.json").write_text('{"servers": {"web1": {}}}')
    second = balancer.reals()[1]
    del balancer.kernel.table[SERVICE][second]

    async def story():
        await balancer.until(lambda: balancer.kernel.weight(second) == 2, "web2 serves")
        assert balancer.kernel.rules[0] == f"-a -t {SERVICE} -r {second} -m -w 0"

    balancer.run(story)


def test_draining_takes_effect_while_it_runs_and_survives_rubbish(balancer):
    first = balancer.reals()[0]
    drained = balancer.folder / "drained.json"

    async def story():
        drained.write_text(json.dumps({"web1": {"since": 1, "why": None}}))
        await balancer.until(lambda: balancer.kernel.weight(first) == 0, "web1 is out")
        drained.write_text("{")
        await asyncio.sleep(0.2)
        assert balancer.kernel.weight(first) == 0
        drained.unlink()
        await balancer.until(lambda: balancer.kernel.weight(first) == 2, "web1 is back")

    balancer.run(story)
