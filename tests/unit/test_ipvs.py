"""IPVS tables as ipvsadm prints them, and what a state may change in a running one."""

from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.loading import load

DATA = Path(__file__).parent.parent / "data" / "ipvsadm-1.31"
WEB1, WEB2 = "192.168.10.11:80", "192.168.10.21:80"
SORRY = "192.168.10.10:8088"

utils = load("_utils/ipvs.py")


def recorded(name):
    return (DATA / name).read_text(encoding="ascii")


def table(scheduler="wlc", **weights):
    addresses = {"web1": WEB1, "web2": WEB2, "sorry": SORRY}
    return [
        {
            "protocol": "tcp",
            "service": "203.0.113.10:80",
            "scheduler": scheduler,
            "options": {},
            "servers": [
                {"server": addresses[n], "method": "masquerade", "weight": w, "options": {}}
                for n, w in weights.items()
            ],
        }
    ]


class Kernel:
    """Replays what the kernel would hold: the recorded tool's text form, edited by its rules."""

    def __init__(self, rules=""):
        self.rules = rules
        self.calls = []

    def run(self, *args, stdin=""):
        self.calls.append((args, stdin))
        return self.rules if args == ("-Sn",) else ""


@pytest.fixture
def module(tmp_path):
    ipvs = load("_modules/ipvs.py", pillar={"cluster": CLUSTER}, grains={"id": "lb1"})
    ipvs.BOOT_FILE = str(tmp_path / "ipvsadm.rules")
    return ipvs


CLUSTER = {
    "addresses": {"public": "203.0.113.10"},
    "networks": {
        "public": {"interface": "eth0", "subnet": "203.0.113.0/24"},
        "internal": {"interface": "eth1", "subnet": "192.168.10.0/24"},
    },
    "balancer": {"scheduler": "wlc", "ports": [80, 443], "sync_id": 51},
    "sizes": {
        "balancer": {"vcpus": 1, "memory": "500M", "disk": "8G"},
        "web": {"vcpus": 2, "memory": "2G", "disk": "20G"},
    },
    "vms": {
        "lb1": {"role": "balancer", "addresses": {"internal": "192.168.10.10"}},
        "web1": {"role": "web", "addresses": {"internal": "192.168.10.11"}},
        "web2": {
            "role": "web",
            "addresses": {"internal": "192.168.10.21"},
            "size": {"vcpus": 4},
        },
    },
}


def test_recorded_table_is_read_and_written_back_unchanged():
    text = recorded("save.txt")
    found = utils.parse_rules(text)
    assert utils.rules(found) == text
    assert [entry["protocol"] for entry in found] == ["tcp", "tcp", "udp", "fwm"]
    assert found[0]["servers"][1] == {
        "server": "192.168.10.121:80",
        "method": "masquerade",
        "weight": 0,
        "options": {},
    }
    assert found[1]["options"] == {"-p": "300", "-b": "sh-port"}


@pytest.mark.parametrize(
    "line",
    ["-Z -t 1.2.3.4:80", "-A -s wlc", "-a -t 1.2.3.4:80 -r 1.2.3.5:80 -m -w 1", "-A -t a b -s rr"],
)
def test_rule_not_understood_is_named(line):
    with pytest.raises(ValueError, match="ipvsadm rule"):
        utils.parse_rules(line)


def test_counters_are_read_for_services_and_real_servers():
    web = utils.parse_counters(recorded("stats.txt"))[0]
    assert (web["service"], web["connections"], web["bytes_out"]) == ("203.0.113.77:80", 11, 2408)
    assert web["servers"][0]["packets_in"] == 36
    assert utils.parse_counters(recorded("rate.txt"))[0]["servers"][1]["bytes_in"] == 15


def test_connections_carry_state_and_seconds_left():
    found = utils.parse_connections(recorded("connections.txt"))
    assert len(found) == 6
    assert found[0] == {
        "protocol": "tcp",
        "expires": 14 * 60 + 56,
        "state": "ESTABLISHED",
        "source": "203.0.113.1:57048",
        "service": "203.0.113.77:80",
        "server": "192.168.10.106:80",
    }


def test_both_daemons_are_read():
    both = {"interface": "eth1", "sync_id": 77}
    assert utils.parse_daemons(recorded("daemon.txt")) == {"master": both, "backup": both}
    assert utils.parse_daemons("") == {}
    with pytest.raises(ValueError, match="not understood"):
        utils.parse_daemons("master sync daemon (mcast=eth1)")


def test_same_table_needs_nothing():
    declared = table(web1=1, web2=1)
    assert utils.plan(declared, table(web2=1, web1=1), declared) == {"lines": [], "changes": {}}


def test_missing_is_added_and_undeclared_removed():
    old = utils.parse_rules("-A -u 203.0.113.10:53 -s rr\n" + utils.rules(table(web1=1)))
    plan = utils.plan(table(web2=3), old, [])
    assert plan["lines"] == [
        "-D -u 203.0.113.10:53",
        "-a -t 203.0.113.10:80 -r 192.168.10.21:80 -m -w 3",
        "-d -t 203.0.113.10:80 -r 192.168.10.11:80",
    ]
    assert set(plan["changes"]) == {"udp/203.0.113.10:53", "tcp/203.0.113.10:80"}


def test_scheduler_is_changed_without_touching_weights():
    plan = utils.plan(table("rr", web1=1), table("wlc", web1=0), table("wlc", web1=1))
    assert plan["lines"] == ["-E -t 203.0.113.10:80 -s rr"]


@pytest.mark.parametrize(
    ("declared", "running", "last", "becomes"),
    [
        (1, 0, 1, 0),  # drained or failed: stays out
        (2, 0, 1, 0),  # even when its declared weight changes
        (1, 5, 1, 5),  # weighed at run time
        (2, 5, 1, 2),  # declared anew: the pillar decides
        (0, 5, 1, 0),
        (2, 5, None, 5),  # never declared before: nobody asked for a change
    ],
)
def test_runtime_weight_changes_only_with_the_declaration(declared, running, last, becomes):
    before = [] if last is None else table(web1=last)
    lines = utils.plan(table(web1=declared), table(web1=running), before)["lines"]
    edit = f"-e -t 203.0.113.10:80 -r {WEB1} -m -w {becomes}"
    assert lines == ([] if becomes == running else [edit])


def test_method_changes_keep_the_runtime_weight():
    running = utils.parse_rules(
        f"-A -t 203.0.113.10:80 -s wlc\n-a -t 203.0.113.10:80 -r {WEB1} -g -w 0"
    )
    assert utils.plan(table(web1=1), running, [])["lines"] == [
        f"-e -t 203.0.113.10:80 -r {WEB1} -m -w 0"
    ]


def test_pillar_declares_a_service_per_port_with_weights_by_vcpus(module):
    found = module.declared()
    assert [entry["service"] for entry in found] == ["203.0.113.10:80", "203.0.113.10:443"]
    assert [(s["server"], s["weight"]) for s in found[1]["servers"]] == [
        ("192.168.10.11:443", 2),
        ("192.168.10.21:443", 4),
        ("192.168.10.10:8443", 0),
    ]
    # the sorry page: on this balancer, out while anybody serves
    assert (found[0]["servers"][-1]["server"], found[0]["servers"][-1]["weight"]) == (SORRY, 0)


def test_a_state_leaves_the_sorry_page_as_poold_set_it():
    declared = table(web1=2, sorry=0)
    assert utils.plan(declared, table(web1=0, sorry=1), declared)["lines"] == []


def test_restore_errors_count_although_the_exit_code_is_zero(module, monkeypatch):
    """`ipvsadm -R` runs on after a failing line and exits with the code of the last one."""

    def run(command, **_kwargs):
        return type(
            "Done", (), {"returncode": 0, "stdout": "", "stderr": recorded("restore-errors.txt")}
        )

    monkeypatch.setattr(module.subprocess, "run", run)
    with pytest.raises(CommandExecutionError, match=r"(?s)ipvsadm -R.*No such service"):
        module.apply(["-D -t 203.0.113.77:99", "-A -t 203.0.113.77:80 -s rr"])


def test_drain_sets_weight_0_and_undrain_the_declared_one(module, monkeypatch):
    module.save(table(web1=7), module.BOOT_FILE)
    kernel = Kernel(utils.rules(table(web1=1)))
    monkeypatch.setattr(module, "_run", kernel.run)
    module.drain("203.0.113.10:80", WEB1)
    module.undrain("203.0.113.10:80", WEB1)
    edits = [stdin for args, stdin in kernel.calls if args == ("-R",)]
    assert edits == [f"-e -t 203.0.113.10:80 -r {WEB1} -m -w {w}\n" for w in (0, 7)]


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.add_service("203.0.113.10"),
        lambda m: m.add_service("203.0.113.10:80", protocol="icmp"),
        lambda m: m.add_server("203.0.113.10:80", "web1"),
        lambda m: m.add_server("203.0.113.10:80", WEB1, weight=-1),
        lambda m: m.add_server("203.0.113.10:80", WEB1, method="teleport"),
        lambda m: m.set_weight("203.0.113.10:80", WEB2, 1),
        lambda m: m.start_daemon("both", "eth1", 1),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(module, monkeypatch, call):
    kernel = Kernel(utils.rules(table(web1=1)))
    monkeypatch.setattr(module, "_run", kernel.run)
    with pytest.raises(SaltInvocationError):
        call(module)
    assert [args for args, _ in kernel.calls if args != ("-Sn",)] == []


def test_boot_file_is_read_back_and_absent_is_not_empty(module):
    assert module.saved(module.BOOT_FILE) is None
    module.save(table(web1=1, web2=2), module.BOOT_FILE)
    assert module.saved(module.BOOT_FILE) == table(web1=1, web2=2)


def state(module, test, kernel):
    salt = {
        f"ipvs.{name}": getattr(module, name) for name in ("saved", "save", "services", "apply")
    }
    salt |= {"ipvs.declared": lambda: table(web1=1, web2=1)}
    salt["ipvs.daemons"] = lambda: utils.parse_daemons(kernel.rules)
    states = load("_states/ipvs.py", salt=salt, opts={"test": test})
    states.PAUSE = 0
    return states


def applying(kernel, result):
    """An ipvsadm whose table becomes `result` once rules are piped into it."""

    def run(*args, stdin=""):
        kernel.calls.append((args, stdin))
        if args == ("-R",):
            kernel.rules = result
        return kernel.rules

    return run


def test_state_adds_what_is_missing_and_then_changes_nothing(module, monkeypatch):
    kernel = Kernel("")
    monkeypatch.setattr(module, "_run", applying(kernel, utils.rules(table(web1=1, web2=1))))
    first = state(module, False, kernel).table_present(module.BOOT_FILE)
    assert first["result"] is True and set(first["changes"]) == {"boot file", "tcp/203.0.113.10:80"}
    second = state(module, False, kernel).table_present(module.BOOT_FILE)
    assert second["result"] is True and second["changes"] == {}


def test_state_in_test_mode_only_tells(module, monkeypatch):
    kernel = Kernel("")
    monkeypatch.setattr(module, "_run", kernel.run)
    ret = state(module, True, kernel).table_present(module.BOOT_FILE)
    assert ret["result"] is None and ret["changes"]
    assert {args for args, _ in kernel.calls} == {("-Sn",)}
    assert module.saved(module.BOOT_FILE) is None


class CuttingOff(Kernel):
    """poold at its work: what is read the n-th time, and what `-R` says then."""

    def __init__(self, *tables, refusals=0):
        super().__init__(None)
        self.tables, self.refusals = [utils.rules(each) for each in tables], refusals

    def run(self, *args, stdin=""):
        self.calls.append((args, stdin))
        if args == ("-Sn",):
            return self.tables.pop(0) if len(self.tables) > 1 else self.tables[0]
        if self.refusals:
            self.refusals -= 1
            raise CommandExecutionError("ipvsadm -R: Destination already exists")
        return ""


def test_state_does_not_mend_what_poold_is_about_to_put_back(module, monkeypatch):
    module.save(table(web1=1, web2=1), module.BOOT_FILE)
    kernel = CuttingOff(table(web2=1), table(web1=0, web2=1))
    monkeypatch.setattr(module, "_run", kernel.run)
    ret = state(module, False, kernel).table_present(module.BOOT_FILE)
    assert ret["result"] is True and ret["changes"] == {}
    assert {args for args, _ in kernel.calls} == {("-Sn",)}


def test_state_outlasts_a_server_that_is_cut_off_while_it_adds(module, monkeypatch):
    cut, put_back = table(web2=1), table(web1=0, web2=1)
    kernel = CuttingOff([], [], cut, cut, cut, put_back, refusals=1)
    monkeypatch.setattr(module, "_run", kernel.run)
    ret = state(module, False, kernel).table_present(module.BOOT_FILE)
    assert ret["result"] is True, ret["comment"]
    assert module.saved(module.BOOT_FILE) == table(web1=1, web2=1)


def test_state_leaves_a_drained_server_alone(module, monkeypatch):
    module.save(table(web1=1, web2=1), module.BOOT_FILE)
    kernel = Kernel(utils.rules(table(web1=0, web2=1)))
    monkeypatch.setattr(module, "_run", kernel.run)
    ret = state(module, False, kernel).table_present(module.BOOT_FILE)
    assert ret["result"] is True and ret["changes"] == {}


def test_state_that_did_not_take_fails_without_changes(module, monkeypatch):
    kernel = Kernel("")
    monkeypatch.setattr(module, "_run", kernel.run)
    ret = state(module, False, kernel).table_present(module.BOOT_FILE)
    assert ret["result"] is False and ret["changes"] == {}
    assert "still differs" in ret["comment"] and module.saved(module.BOOT_FILE) is None


def test_daemons_of_another_pair_are_replaced():
    ours, other = {"interface": "eth1", "sync_id": 51}, {"interface": "eth1", "sync_id": 9}
    running = {"master": other}
    salt = {
        "ipvs.services": None,
        "ipvs.daemons": lambda: dict(running),
        "ipvs.stop_daemon": running.pop,
        "ipvs.start_daemon": lambda role, nic, number: running.update(
            {role: {"interface": nic, "sync_id": number}}
        ),
    }
    ipvs = load("_states/ipvs.py", salt=salt)
    ret = ipvs.sync_daemons_present("x", "eth1", 51)
    assert ret["changes"] == {
        "master": {"old": other, "new": ours},
        "backup": {"old": None, "new": ours},
    }
    assert ipvs.sync_daemons_present("x", "eth1", 51)["changes"] == {}
