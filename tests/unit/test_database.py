"""The resource database: order of steps, claims, backing out, and what counts as active."""

import contextlib
import time

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.loading import Utils, load
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
        self.holding = 0
        self.told_health = {}
        self.permission = None

    def functions(self):
        names = (
            *("claim.take", "mysql_replication.promote", "mysql_replication.semi_sync"),
            *("claim.mirroring", "claim.hold", "claim.release"),
            *("mysql_server.writable", "mysql_account.schema_present"),
            *("address.present_all", "address.absent_all", "mysql_replication.acknowledging"),
        )
        salt = {name: self._noting(name) for name in names}
        salt["claim.seen"] = lambda resource: 3
        salt["claim.role"] = self._role
        salt["claim.held"] = lambda resource: self.holding
        salt["mysql_server.passive"] = self._noting("mysql_server.passive", "gently")
        salt["mysql_server.revive"] = self._noting("mysql_server.revive", "nothing")
        followed = {"seeded": None, "saved": None}
        salt["mysql_replication.follow"] = self._noting("mysql_replication.follow", followed)
        salt["mysql_replication.has_all"] = self._noting("mysql_replication.has_all", roleless=True)
        salt["address.missing"] = lambda entries: [] if self.held else ["192.168.10.8"]
        salt["mysql_replication.epoch"] = lambda: self.epoch
        salt["mysql_errant.saved"] = lambda: ["/var/lib/cluster/saved/database-1"]
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

    def _noting(self, name, answer=None, roleless=False):
        def call(*arguments, **keywords):
            assert self.in_role or roleless, f"{name} without holding the role"
            shown = [one for one in arguments if isinstance(one, bool)]
            shown += [f"{key}={value}" for key, value in keywords.items() if value is not None]
            self.calls.append(" ".join([name, *map(str, shown)]))
            if name in self.failing:
                raise self.failing[name]
            return answer

        return call

    def _status(self, deadline=None):
        if isinstance(self.server, Exception):
            raise self.server
        return self.server

    def _verify(self, deadline, epoch):
        self._noting("mysql_replication.verify_semi_sync")()
        return {"acknowledged": 1}

    def module(self):
        loaded = load(
            "_modules/database.py",
            salt=self.functions(),
            pillar={"cluster": CLUSTER},
            grains={"id": "db1"},
            utils=self.utils(),
        )
        loaded.PERMISSION = str(self.permission)
        return loaded

    def utils(self):
        utils = Utils()
        utils["health.write"] = lambda name, ok, lasting=False: self.told_health.update({name: ok})
        return utils


@pytest.fixture(autouse=True)
def permission(tmp_path, monkeypatch):
    """Keep the note of the permission away from /run."""
    path = tmp_path / "cluster/database.alone.json"
    original = Cluster.__init__

    def settled(cluster, *arguments, **keywords):
        original(cluster, *arguments, **keywords)
        cluster.permission = path

    monkeypatch.setattr(Cluster, "__init__", settled)
    return path


@pytest.mark.parametrize(("founding", "holder"), [(True, "db1"), (False, "db1"), (True, "db2")])
def test_a_server_to_which_nothing_was_ever_written_serves_at_the_founding_only(founding, holder):
    """Its disk was replaced while the record named it: an empty database served, for good."""
    cluster = Cluster({**server_status(), "executed": ""}, held=False)
    loaded = cluster.module()
    record = {"holder": holder, "epoch": 3, "mirrored": False, "founding": founding}
    loaded.__salt__["arbiter.read"] = lambda resource: record
    if founding and holder == "db1":
        loaded.activate(3, DEADLINE, alone=7)
        assert "address.present_all" in cluster.calls
        return
    with pytest.raises(CommandExecutionError, match="epoch 3 is not being founded"):
        loaded.activate(3, DEADLINE, alone=7)
    assert not {"mysql_server.writable", "address.present_all"} & set(cluster.calls)


@pytest.mark.parametrize(("server", "wrong"), [
    ({}, None), ({"executed": ""}, "nothing was ever written here"),
    ({"seeding": "a copy was cut short"}, "cut short")])
def test_what_could_not_be_served_on_anybodys_word_is_known_beforehand(server, wrong):
    loaded = Cluster({**server_status(), **server}).module()
    if not wrong:
        assert loaded.probe() is True
        return
    with pytest.raises(CommandExecutionError, match=wrong):
        loaded.probe()


def test_a_server_that_does_not_answer_may_be_started_by_its_activation():
    assert Cluster(CommandExecutionError("it is dead")).module().probe() is True


PASSIVE = ["mysql_server.passive", "address.absent_all", "claim.release"]


def test_activation_says_so_before_it_serves_and_takes_the_address_last():
    cluster = Cluster(server_status())
    answer = cluster.module().activate(3, DEADLINE, alone=7)
    assert answer["active"] is True and answer["seconds"]["promote"] >= 0
    assert cluster.calls == [
        "claim.take alone=7",
        "mysql_server.revive True",
        "claim.hold",
        "mysql_replication.promote False",
        "mysql_replication.semi_sync False",
        "mysql_server.writable",
        "mysql_account.schema_present",
        "claim.take alone=7",
        "address.present_all",
    ]


def test_what_an_operator_gives_up_reaches_the_server():
    cluster = Cluster(server_status())
    cluster.module().activate(3, DEADLINE, alone=7, lose_writes=True)
    assert "mysql_replication.promote True" in cluster.calls


def test_activation_without_permission_waits_for_a_replica_from_the_first_write_on():
    cluster = Cluster(server_status())
    cluster.module().activate(3, DEADLINE)
    on = cluster.calls.index("mysql_replication.semi_sync True")
    assert on < cluster.calls.index("mysql_server.writable")


def test_refused_claim_changes_nothing():
    cluster = Cluster(server_status())
    cluster.failing["claim.take"] = CommandExecutionError("epoch 2 is over")
    module = cluster.module()
    commands = (
        module.activate, module.deactivate, module.restart,
        lambda epoch, deadline: module.follow("db2", epoch, deadline),
    )  # fmt: skip
    for act in commands:
        with pytest.raises(CommandExecutionError, match="over"):
            act(2, DEADLINE)
    assert set(cluster.calls) == {"claim.take"}


def test_replica_refuses_an_epoch_older_than_its_data():
    """Nobody told this VM of epoch 4, but the data it received was mirrored in it."""
    cluster = Cluster(server_status())
    cluster.epoch = 4
    with pytest.raises(CommandExecutionError, match="mirrored in epoch 4"):
        cluster.module().activate(3, DEADLINE, alone=7)
    assert "mysql_server.writable" not in cluster.calls
    assert cluster.calls[-2:] == PASSIVE[1:]


@pytest.mark.parametrize(("step", "written"), [
    ("mysql_replication.promote", False), ("address.present_all", True)])
@pytest.mark.parametrize("error", [
    CommandExecutionError("no"),
    SaltInvocationError("no"),  # as from an interface that is no Ethernet
])
def test_failed_activation_leaves_the_vm_passive(step, written, error):
    """One that never accepted writes is not ended for that: a replica would lose what it has."""
    cluster = Cluster(server_status())
    cluster.failing[step] = error
    with pytest.raises(type(error), match="no"):
        cluster.module().activate(3, DEADLINE)
    assert cluster.calls[-2:] == PASSIVE[1:]
    assert (PASSIVE[0] in cluster.calls) is written


def test_primary_that_cannot_be_released_goes_on_waiting():
    """It served before: ending that would help nobody."""
    cluster = Cluster(server_status())
    cluster.holding = 3
    cluster.failing["mysql_replication.semi_sync"] = CommandExecutionError("no answer")
    with pytest.raises(CommandExecutionError, match="no answer"):
        cluster.module().activate(3, DEADLINE, alone=7)
    assert "mysql_server.passive" not in cluster.calls


def test_clients_hear_of_stepping_down_before_the_address_is_gone():
    """They went on waiting for the end of a commit: what ended it had no address to come from."""
    cluster = Cluster(server_status())
    assert cluster.module().deactivate(3, DEADLINE)["ended"] == "gently"
    assert cluster.calls == ["claim.take", *PASSIVE]


@pytest.mark.parametrize("step", ["address.absent_all", "mysql_server.passive"])
def test_either_end_of_service_comes_even_where_the_other_fails(step):
    cluster = Cluster(server_status())
    cluster.failing[step] = CommandExecutionError("no")
    with pytest.raises(CommandExecutionError, match="no"):
        cluster.module().deactivate(3, DEADLINE)
    assert cluster.calls[-2:] == PASSIVE[:2]  # and it goes on saying that it holds


def test_restarted_primary_serves_alone_only_by_a_permission_in_force(permission):
    cluster = Cluster(server_status())
    cluster.module().activate(3, DEADLINE, alone=7)
    cluster.holding = 3
    cluster.calls.clear()
    answer = cluster.module().restart(3, DEADLINE)
    assert answer["restarted"] == "nothing" and "mysql_replication.semi_sync False" in cluster.calls
    assert cluster.told_health == {"database.restarted": False}
    for epoch in (3, 4):  # mirrored meanwhile, or in charge a second time
        if epoch == 3:
            cluster.module()._note_permission(3, None)
        else:
            cluster.module()._note_permission(3, 7)
        cluster.holding = epoch
        cluster.calls.clear()
        cluster.module().restart(epoch, DEADLINE)
        assert "mysql_replication.semi_sync True" in cluster.calls


def test_permission_that_a_mirror_has_voided_is_not_used_by_a_restart():
    cluster = Cluster(server_status())
    module = cluster.module()
    module._note_permission(3, 7)

    def take(resource, epoch, deadline, alone=None):
        if alone:
            raise CommandExecutionError("the permission 7 to go on alone is over")

    module.__salt__["claim.take"] = take
    cluster.holding = 3
    module.restart(3, DEADLINE)
    assert "mysql_replication.semi_sync True" in cluster.calls


def test_restart_that_did_not_help_is_told():
    cluster = Cluster(server_status())
    cluster.holding = 3
    cluster.failing["mysql_server.revive"] = CommandExecutionError("no answer")
    with pytest.raises(CommandExecutionError):
        cluster.module().restart(3, DEADLINE)
    assert cluster.told_health == {"database.restarted": True}


def test_server_of_a_standby_is_not_restarted_into_service():
    with pytest.raises(CommandExecutionError, match="does not serve in epoch 3"):
        Cluster(server_status()).module().restart(3, DEADLINE)


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
    assert cluster.module().mirror(3, DEADLINE, 9) == {"replica": "db2", "acknowledged": 1}
    assert cluster.calls == [
        "mysql_replication.has_all",
        "claim.mirroring",
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
        cluster.module().mirror(3, DEADLINE, 9)
    assert cluster.calls.count("mysql_replication.semi_sync False") == calls


def test_replica_mirrors_nothing():
    with pytest.raises(CommandExecutionError, match="not the primary"):
        Cluster(server_status("mysql", "replica")).module().mirror(3, DEADLINE, 9)


@pytest.mark.parametrize("source", ["db1", "web1"])
def test_only_another_database_vm_is_followed(source):
    with pytest.raises(SaltInvocationError, match=source):
        Cluster(server_status()).module().follow(source, 3, DEADLINE)


@pytest.mark.parametrize("command", [
    lambda database: database.activate(3, DEADLINE),
    lambda database: database.deactivate(3, DEADLINE),
    lambda database: database.mirror(3, DEADLINE, 9),
    lambda database: database.follow("db2", 3, DEADLINE),
    lambda database: database.restart(3, DEADLINE),
])
def test_nothing_is_done_while_another_command_is_at_work(command):
    cluster = Cluster(server_status())
    cluster.failing["claim.role"] = CommandExecutionError("still at work")
    with pytest.raises(CommandExecutionError, match="still at work"):
        command(cluster.module())
    assert set(cluster.calls) <= {"mysql_replication.has_all"}  # which only asks


def test_active_vm_steps_down_before_it_follows_somebody_of_a_higher_epoch():
    cluster = Cluster(server_status(role="replica"))
    cluster.holding = 3
    answer = cluster.module().follow("db2", 4, DEADLINE)
    assert cluster.calls == [
        "claim.take",
        *PASSIVE,
        "mysql_server.revive",
        "mysql_replication.follow",
    ]
    assert answer["saved"] is None


def test_a_writable_server_that_holds_nothing_steps_down_before_it_follows():
    """It was taken for dead when it hung."""
    cluster = Cluster(server_status())
    cluster.module().follow("db2", 4, DEADLINE)
    assert cluster.calls == ["claim.take", "mysql_server.revive", *PASSIVE, "mysql_server.revive",
                             "mysql_replication.follow"]


def test_vm_that_serves_in_this_epoch_follows_nobody():
    cluster = Cluster(server_status())
    cluster.holding = 4
    with pytest.raises(CommandExecutionError, match="serves in epoch 4"):
        cluster.module().follow("db2", 4, DEADLINE)
    assert cluster.calls == ["claim.take"]
