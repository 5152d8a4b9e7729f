"""The resource database: order of steps, claims, backing out, and what counts as active."""

import contextlib
import time

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.loading import load
from tests.unit.replayed_server import ReplayedServer, utils_with

CLUSTER = {
    "networks": {"internal": {"interface": "eth1", "subnet": "192.168.10.0/24"}},
    "addresses": {"database": "192.168.10.8"},
    "sizes": {"database": {"vcpus": 2, "memory": "4G", "disk": "8G"}},
    "traffic": {"replication": "internal"},
    "vms": {
        "db1": {"role": "database", "server": "s1", "addresses": {"internal": "192.168.10.18"}},
        "db2": {"role": "database", "server": "s2", "addresses": {"internal": "192.168.10.28"}},
    },
}
FLOATING = {"address": "192.168.10.8", "prefix": 24, "interface": "eth1"}
DEADLINE = time.time() + 600


def server_status(engine="mysql", role="primary"):
    utils = utils_with(ReplayedServer(engine, role))
    return load("_modules/mysql_replication.py", utils=utils).status()


class Cluster:
    """The other modules, noting the order in which they are called."""

    def __init__(self, status, held=True):
        self.calls, self.failing, self.held = [], {}, held
        self.server, self.epoch = status, 0
        self.in_role = False

    def functions(self):
        names = (
            *("claim.take", "mysql_replication.promote", "mysql_replication.semi_sync"),
            *("mysql_server.writable", "mysql_account.schema_present"),
            *("address.present_all", "address.absent_all", "mysql_replication.follow"),
            *("mysql_replication.has_all", "mysql_replication.acknowledging"),
        )
        salt = {name: self._noting(name) for name in names}
        salt["claim.seen"] = lambda resource: 3
        salt["claim.role"] = self._role
        salt["claim.in_time"] = load("_modules/claim.py").in_time
        salt["address.list"] = lambda: [FLOATING] if self.held else []
        salt["mysql_replication.epoch"] = lambda: self.epoch
        salt["mysql_replication.status"] = self._status
        salt["mysql_replication.verify_semi_sync"] = self._verify
        return salt

    @contextlib.contextmanager
    def _role(self, resource, deadline):
        assert (resource, self.in_role) == ("database", False)
        if "claim.role" in self.failing:
            raise self.failing["claim.role"]
        self.in_role = True
        try:
            yield
        finally:
            self.in_role = False

    def _noting(self, name):
        def call(*arguments, **keywords):
            assert self.in_role, f"{name} without holding the role"
            shown = [one for one in arguments if isinstance(one, bool)]
            self.calls.append(" ".join([name, *map(str, shown)]))
            if name in self.failing:
                raise self.failing[name]

        return call

    def _status(self):
        if isinstance(self.server, Exception):
            raise self.server
        return self.server

    def _verify(self, deadline, epoch):
        self._noting("mysql_replication.verify_semi_sync")()
        return {"acknowledged": 1}

    def module(self):
        return load(
            "_modules/database.py",
            salt=self.functions(),
            pillar={"cluster": CLUSTER},
            grains={"id": "db1"},
        )


def test_activation_takes_the_address_last():
    cluster = Cluster(server_status())
    assert cluster.module().activate(3, DEADLINE, mirrored=False)["active"] is True
    assert cluster.calls == [
        "claim.take",
        "mysql_replication.promote",
        "mysql_replication.semi_sync False",
        "mysql_server.writable True",
        "mysql_account.schema_present",
        "claim.take",
        "address.present_all",
    ]


def test_mirrored_activation_switches_semi_sync_on_before_the_first_write():
    cluster = Cluster(server_status())
    cluster.module().activate(3, DEADLINE, mirrored=True)
    on = cluster.calls.index("mysql_replication.semi_sync True")
    assert on < cluster.calls.index("mysql_server.writable True")


def test_activation_has_to_be_told_whether_the_record_says_mirrored():
    """Left out, it once meant to serve alone, which only the record permits."""
    cluster = Cluster(server_status())
    with pytest.raises(TypeError, match="mirrored"):
        cluster.module().activate(3, DEADLINE)
    assert cluster.calls == []


def test_refused_claim_changes_nothing():
    cluster = Cluster(server_status())
    cluster.failing["claim.take"] = CommandExecutionError("epoch 2 is over")
    module = cluster.module()
    for act, extra in ((module.activate, {"mirrored": True}), (module.deactivate, {})):
        with pytest.raises(CommandExecutionError, match="over"):
            act(2, DEADLINE, **extra)
    assert set(cluster.calls) == {"claim.take"}


def test_replica_refuses_an_epoch_older_than_its_data():
    """Nobody told this VM of epoch 4, but the data it received was mirrored in it."""
    cluster = Cluster(server_status())
    cluster.epoch = 4
    with pytest.raises(CommandExecutionError, match="mirrored in epoch 4"):
        cluster.module().activate(3, DEADLINE, mirrored=False)
    assert cluster.calls == ["claim.take"]


@pytest.mark.parametrize("step", ["mysql_replication.promote", "address.present_all"])
def test_failed_activation_leaves_the_vm_passive(step):
    cluster = Cluster(server_status())
    cluster.failing[step] = CommandExecutionError("no")
    with pytest.raises(CommandExecutionError, match="no"):
        cluster.module().activate(3, DEADLINE, mirrored=False)
    assert cluster.calls[-2:] == ["address.absent_all", "mysql_server.writable False"]


def test_stepping_down_gives_up_the_address_first():
    cluster = Cluster(server_status())
    cluster.module().deactivate(3, DEADLINE)
    assert cluster.calls == [
        "claim.take",
        "address.absent_all",
        "mysql_server.writable False",
    ]


def test_server_that_does_not_answer_is_neither_active_nor_passive():
    found = Cluster(CommandExecutionError("cannot connect")).module().status()
    assert (found["active"], found["mirror"], found["blank"]) == (None, None, None)
    assert found["reason"] == "cannot connect"


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
def test_status_tells_whether_the_other_side_is_in_step(engine):
    primary = Cluster(server_status(engine)).module().status()
    assert (primary["active"], primary["mirror"], primary["blank"]) == (True, True, False)
    replica = Cluster(server_status(engine, "replica"), held=False).module().status()
    assert (replica["active"], replica["mirror"]) == (False, True)
    alone = Cluster(server_status(engine, "replica-restarted-alone"), held=False).module().status()
    assert (alone["active"], alone["mirror"]) == (False, False)


def test_status_names_an_incomplete_copy():
    cluster = Cluster({**server_status("mariadb", "replica"), "seeding": "a copy was begun"})
    assert cluster.module().status()["reason"] == "a copy was begun"


def test_writable_server_without_the_address_is_not_active():
    assert Cluster(server_status(), held=False).module().status()["active"] is False


def test_mirror_is_restored_only_after_a_replica_caught_up():
    cluster = Cluster(server_status())
    assert cluster.module().mirror(3, DEADLINE) == {"replica": "db2", "acknowledged": 1}
    assert cluster.calls == [
        "claim.take",
        "mysql_replication.has_all",
        "mysql_replication.acknowledging",
        "mysql_replication.semi_sync True",
        "mysql_replication.verify_semi_sync",
        "mysql_replication.has_all",
    ]


@pytest.mark.parametrize(("before", "calls"), [(False, 1), (True, 0)])
def test_failed_mirror_never_switches_off_what_was_on(before, calls):
    """Off would break I2 if the record said mirrored already: the caller may only be repeating."""
    cluster = Cluster(server_status())
    cluster.server["semi_sync"]["enabled"] = before
    cluster.failing["mysql_replication.verify_semi_sync"] = CommandExecutionError("nobody")
    with pytest.raises(CommandExecutionError, match="nobody"):
        cluster.module().mirror(3, DEADLINE)
    assert cluster.calls.count("mysql_replication.semi_sync False") == calls


def test_replica_mirrors_nothing():
    with pytest.raises(CommandExecutionError, match="not the primary"):
        Cluster(server_status("mysql", "replica")).module().mirror(3, DEADLINE)


@pytest.mark.parametrize("source", ["db1", "web1"])
def test_only_another_database_vm_is_followed(source):
    with pytest.raises(SaltInvocationError, match=source):
        Cluster(server_status()).module().follow(source, DEADLINE)


@pytest.mark.parametrize("command", [
    lambda database: database.activate(3, DEADLINE, mirrored=True),
    lambda database: database.deactivate(3, DEADLINE),
    lambda database: database.mirror(3, DEADLINE),
    lambda database: database.follow("db2", DEADLINE),
])
def test_nothing_is_done_while_another_command_is_at_work(command):
    cluster = Cluster(server_status())
    cluster.failing["claim.role"] = CommandExecutionError("still at work")
    with pytest.raises(CommandExecutionError, match="still at work"):
        command(cluster.module())
    assert cluster.calls == []


def test_late_command_to_follow_is_refused():
    """Delivered to a paused VM minutes late, it made a follower of whatever had come since."""
    cluster = Cluster(server_status("mysql", "replica"))
    with pytest.raises(CommandExecutionError, match="database: refused.*deadline was over"):
        cluster.module().follow("db2", time.time() - 1)
    assert cluster.calls == []
    cluster.module().follow("db2", DEADLINE)
    assert cluster.calls == ["mysql_replication.follow"]


def test_activation_that_fails_in_any_way_leaves_the_vm_passive():
    """An interface that is no Ethernet raises another error: the server stayed writable."""
    cluster = Cluster(server_status())
    cluster.failing["address.present_all"] = SaltInvocationError("eth9 is no Ethernet interface")
    with pytest.raises(SaltInvocationError):
        cluster.module().activate(3, DEADLINE, mirrored=False)
    assert cluster.calls[-2:] == ["address.absent_all", "mysql_server.writable False"]
