"""The first bring-up: both VMs at once, cut anywhere, repeated at any time, founded once."""

import functools

import pytest
import yaml
from salt.exceptions import CommandExecutionError

from tests.loading import ROOT, Utils, load

CLUSTER = yaml.safe_load((ROOT / "pillar/cluster.sls").read_text(encoding="utf-8"))["cluster"]
PAIRS = {"files": ("file1", "file2"), "database": ("db1", "db2"), "director": ("lb1", "lb2")}


class PowerCut(BaseException):
    """Nothing catches it: the VM is gone."""


class Arbiter:
    """One record per resource, changed by the real rules."""

    def __init__(self):
        self.records = {}
        self.reachable = True
        self.rules = load("_utils/record.py")

    def _reached(self):
        if not self.reachable:
            raise CommandExecutionError("no arbiter answered within 6 s")

    def look(self, name):
        self._reached()
        record, revision = self.records.get(name, (None, 0))
        return {"record": record and dict(record), "revision": revision}

    def create(self, name, holder):
        self._reached()
        created = name not in self.records
        if created:
            self.records[name] = (self.rules.create(holder), 1)
        return {"created": created, "record": dict(self.records[name][0])}

    def swap(self, name, transition, revision=None, **arguments):
        self._reached()
        record, now = self.records[name]
        answer = self.rules.apply(name, record, transition, arguments)
        if "refused" in answer or revision not in (None, now):
            reason = answer.get("refused", "changed")
            return {"swapped": False, "record": record, "revision": now, "reason": reason}
        self.records[name] = (answer["record"], now + 1)
        return {"swapped": True, "record": answer["record"], "revision": now + 1,
                "reason": transition}


class Machine:
    """A VM with disks that survive a power cut and a resource module that remembers on them."""

    def __init__(self, name, resource, arbiter, disks, pair):
        self.name, self.resource, self.arbiter, self.pair = name, resource, arbiter, pair
        self.calls = []
        self.cut_at = None  # (calls survived, is the fatal one still executed), or "copying"
        self.active = False
        self.blank = True
        self.unknown = self.following = False
        self.disks = disks

    def boot(self):
        """Power back: the disks are as they were, and nothing is active (I5)."""
        self.active, self.cut_at = False, None

    def recreate(self, disks):
        self.boot()
        self.blank, self.following, self.disks = True, False, disks

    def run(self, test=False, deadline=60, driver="etcd"):
        cluster = {**CLUSTER, "arbiter": {**CLUSTER["arbiter"], "driver": driver}}
        module = load("_states/resource.py", salt=self.functions(), opts={"test": test},
                      pillar={"cluster": cluster}, grains={"id": self.name}, utils=Utils())
        module.INTERVAL = deadline + 1  # what has to be waited for fails at once
        return module.founded(self.resource, deadline=deadline)

    def functions(self):
        claim = load("_modules/claim.py")
        claim.DIRECTORY = str(self.disks)
        own = {
            "arbiter.look": self.arbiter.look, "arbiter.create": self.arbiter.create,
            "arbiter.swap": self.arbiter.swap, "claim.take": claim.take, "claim.seen": claim.seen,
            "claim.settled": claim.settled, "claim.settle": claim.settle,
            f"{self.resource}.status": self.status,
            f"{self.resource}.activate": functools.partial(self.activate, claim),
        }
        if self.resource != "director":
            own[f"{self.resource}.mirror"] = functools.partial(self.mirror, claim)
        if self.resource == "database":
            own["database.follow"] = functools.partial(self.follow, claim)
        return {name: self.mortal(name, function) for name, function in own.items()}

    def mortal(self, name, function):
        def call(*args, **kwargs):
            self.calls.append(name)
            if isinstance(self.cut_at, tuple) and len(self.calls) > self.cut_at[0]:
                if self.cut_at[1]:
                    function(*args, **kwargs)
                raise PowerCut
            return function(*args, **kwargs)

        return call

    def status(self):
        found = {"active": None if self.unknown else self.active}
        if self.resource == "database":
            found["blank"] = None if self.unknown else self.blank
            found["mirror"] = self.following or None
        return found

    def activate(self, claim, epoch, deadline, alone):
        assert (alone is None) == (self.resource == "director")
        claim.take(self.resource, epoch, deadline, alone=alone)
        self.active, self.blank = True, False
        assert [one.active for one in self.pair()].count(True) == 1, "I1: two are active"

    def mirror(self, claim, epoch, deadline, revision):
        claim.mirroring(self.resource, epoch, deadline, revision)
        peer = next(one for one in self.pair() if one is not self)
        if not peer.following and self.resource == "database":
            raise CommandExecutionError(f"{peer.name} does not follow yet")

    def follow(self, claim, source, epoch, deadline):
        claim.take(self.resource, epoch, deadline)
        if not next(one for one in self.pair() if one.name == source).active:
            raise CommandExecutionError(f"{source} does not accept connections")
        self.blank = False
        if self.cut_at == "copying":
            raise PowerCut
        self.following = True


@pytest.fixture(params=list(PAIRS))
def resource(request):
    return request.param


def pair_of(resource, tmp_path):
    arbiter, machines = Arbiter(), []
    for name in PAIRS[resource]:
        machines.append(Machine(name, resource, arbiter, tmp_path / name, lambda: machines))
    return arbiter, *machines


def bring_up(*machines, rounds=4):
    """Repeat state runs on all, as an operator would, until all succeed."""
    for _ in range(rounds):
        results = [machine.run()["result"] for machine in machines]
        if all(results):
            return
    raise AssertionError(f"still failing after {rounds} rounds: {results}")


def founded_by(arbiter, resource, holder):
    record = arbiter.records[resource][0]
    return record == {"holder": holder, "epoch": 1, "mirrored": True, "founding": False}


def test_blank_vms_found_in_any_order_and_a_further_run_changes_nothing(resource, tmp_path):
    for order in ((0, 1), (1, 0)):
        arbiter, *machines = pair_of(resource, tmp_path / str(order[0]))
        bring_up(*[machines[index] for index in order])
        assert founded_by(arbiter, resource, machines[0].name)
        assert [one.active for one in machines] == [True, False]
        for machine in machines:
            bring_up(machine)  # the standby notes that it is over
            machine.calls.clear()
            again = machine.run()
            assert (again["result"], again["changes"]) == (True, {})
            assert not [name for name in machine.calls if name.startswith(resource)]


@pytest.mark.parametrize("executed", [False, True], ids=["before", "after"])
def test_a_founder_cut_at_any_step_continues_and_founds_once(resource, executed, tmp_path):
    arbiter, founder, standby = pair_of(resource, tmp_path / "whole")
    bring_up(founder, standby)
    for survived in range(len(founder.calls)):
        arbiter, founder, standby = pair_of(resource, tmp_path / str(survived))
        founder.cut_at = (survived, executed)
        try:
            founder.run()
            standby.run()
            founder.run()
        except PowerCut:
            pass
        record = (arbiter.records.get(resource) or ({"founding": True},))[0]
        founder.boot()
        standby.run()
        for _ in range(3):
            founder.run()
            standby.run()
        assert founded_by(arbiter, resource, founder.name), survived
        # Cut after the founding was over it stays passive: a state activates nothing then.
        assert founder.active is record["founding"], survived


def test_a_recreated_founder_founds_nothing_a_second_time(resource, tmp_path):
    arbiter, founder, standby = pair_of(resource, tmp_path)
    bring_up(founder, standby)
    founder.recreate(tmp_path / "new")
    founder.run()
    assert founder.active is False
    assert founded_by(arbiter, resource, founder.name)


def test_a_founder_recreated_in_the_middle_is_refused_and_says_why(resource, tmp_path):
    arbiter, founder, _ = pair_of(resource, tmp_path)
    arbiter.create(resource, founder.name)
    ret = founder.run()
    assert ret["result"] is False
    assert "re-created meanwhile" in ret["comment"]
    assert founder.active is False


def test_a_blank_database_joins_whoever_holds_it(tmp_path):
    arbiter, first, second = pair_of("database", tmp_path)
    bring_up(first, second)
    arbiter.swap("database", "promote", holder="db2")
    first.boot()
    second.active = True
    first.recreate(tmp_path / "new")
    assert first.run()["result"] is True
    assert (first.active, first.blank) == (False, False)
    assert arbiter.records["database"][0]["holder"] == "db2"


@pytest.mark.parametrize("active", [True, False])
def test_a_run_during_a_failover_changes_nothing(resource, active, tmp_path):
    arbiter, founder, standby = pair_of(resource, tmp_path)
    bring_up(founder, standby)
    arbiter.swap(resource, "promote", holder=standby.name)
    founder.active, standby.active = False, active
    for machine in (founder, standby):
        ret = machine.run()
        assert (ret["result"], ret["changes"]) == (True, {})
    assert (founder.active, standby.active) == (False, active)


def test_a_lost_arbiter_harms_no_later_run(resource, tmp_path):
    arbiter, founder, standby = pair_of(resource, tmp_path)
    bring_up(founder, standby)
    bring_up(standby)
    arbiter.reachable = False
    assert founder.run()["result"] is True
    assert founder.active is True


def test_without_an_arbiter_nothing_is_founded_and_the_state_says_what_is_awaited(
    resource, tmp_path
):
    arbiter, founder, _ = pair_of(resource, tmp_path)
    arbiter.reachable = False
    ret = founder.run()
    assert ret["result"] is False
    assert "no arbiter answered" in ret["comment"]
    assert founder.active is False
    arbiter.reachable = True
    founder.run()
    assert founder.active is True


def test_an_arbiter_lost_in_the_middle_is_awaited_by_the_next_run(tmp_path):
    arbiter, founder, standby = pair_of("files", tmp_path)
    whole = founder.mirror

    def lose(*arguments):
        arbiter.reachable = False
        whole(*arguments)

    founder.mirror = lose
    ret = founder.run()
    assert ret["result"] is False
    assert founder.active is True
    assert ret["changes"]["new"]["steps"] == ["create", "activate"]
    founder.mirror, arbiter.reachable = whole, True
    bring_up(founder, standby)
    assert founded_by(arbiter, "files", "file1")


def test_an_absent_standby_lets_the_site_serve_and_is_named(tmp_path):
    arbiter, founder, standby = pair_of("database", tmp_path)
    ret = founder.run()
    assert ret["result"] is False
    assert founder.active is True
    assert "first mirror is not complete; db2 does not follow yet" in ret["comment"]
    founder.calls.clear()
    standby.run()
    founder.run()
    assert "database.activate" not in founder.calls
    assert founded_by(arbiter, "database", "db1")


@pytest.mark.parametrize("resource", ["files", "database"])
def test_a_founder_that_reboots_while_it_awaits_its_first_mirror_serves_again(tmp_path, resource):
    """The attempt to mirror has used up the permission to serve alone that was given before it."""
    arbiter, founder, standby = pair_of(resource, tmp_path)
    whole = founder.mirror

    def fail(claim, epoch, deadline, revision):
        claim.mirroring(resource, epoch, deadline, revision)
        raise CommandExecutionError("the standby is not complete")

    founder.mirror = fail
    assert founder.run()["result"] is False
    founder.boot()
    assert founder.run()["result"] is False
    assert founder.active is True
    founder.mirror = whole
    bring_up(standby, founder)
    assert founded_by(arbiter, resource, founder.name)


def test_a_standby_cut_while_copying_starts_over(tmp_path):
    arbiter, founder, standby = pair_of("database", tmp_path)
    founder.run()
    standby.cut_at = "copying"
    with pytest.raises(PowerCut):
        standby.run()
    standby.boot()
    assert standby.blank is False
    bring_up(standby, founder)
    assert founded_by(arbiter, "database", "db1")


def test_a_data_disk_that_was_used_is_not_founded_on(tmp_path):
    arbiter, founder, _ = pair_of("database", tmp_path)
    founder.blank = False
    ret = founder.run()
    assert ret["result"] is False
    assert "holds data although the arbiter has no record" in ret["comment"]
    assert arbiter.records == {}


def test_what_cannot_be_told_is_waited_for(tmp_path):
    arbiter, founder, _ = pair_of("database", tmp_path)
    founder.unknown = True
    ret = founder.run()
    assert ret["result"] is False
    assert "cannot tell yet" in ret["comment"]
    assert arbiter.records == {}


def test_a_test_run_never_acts(resource, tmp_path):
    arbiter, founder, standby = pair_of(resource, tmp_path)
    for machine in (founder, standby):
        ret = machine.run(test=True)
        assert ret["changes"] == {}
    assert founder.run(test=True)["result"] is None
    assert arbiter.records == {}
    arbiter.reachable = False
    assert founder.run(test=True)["result"] is None


@pytest.mark.parametrize("test", [False, True])
def test_an_unreadable_note_is_told_and_nothing_is_done(resource, test, tmp_path):
    arbiter, founder, _ = pair_of(resource, tmp_path)
    founder.disks.mkdir()
    (founder.disks / f"{resource}.json").write_text("{torn")
    ret = founder.run(test=test)
    assert (ret["result"], ret["changes"], arbiter.records) == (False, {}, {})
    assert ret["comment"].startswith("cannot read the claim in")


@pytest.mark.parametrize("driver", ["operator", "fencing"])
def test_a_standby_that_cannot_read_the_record_follows_once_only(driver, tmp_path):
    """Years later it is out of step for a while, and a state must not touch it (I4)."""
    _, founder, standby = pair_of("database", tmp_path)
    standby.arbiter = Arbiter()  # its own disk, where no record ever is
    assert founder.run(driver=driver)["result"] is False  # the standby is awaited
    assert standby.run(test=True, driver=driver)["result"] is None
    assert standby.run(driver=driver)["changes"]["new"]["steps"] == ["follow"]
    founder.active = standby.following = False
    standby.calls.clear()
    ret = standby.run(driver=driver)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert standby.calls == ["claim.settled"]


def test_a_standby_in_step_under_an_assumed_record_settles(tmp_path):
    _, _, standby = pair_of("database", tmp_path)
    standby.blank, standby.following = False, True
    assert standby.run(driver="operator")["result"] is True
    standby.following = False
    standby.calls.clear()
    assert standby.run(driver="operator")["changes"] == {}
    assert standby.calls == ["claim.settled"]


def test_a_standby_cut_while_copying_under_an_assumed_record_starts_over(tmp_path):
    _, founder, standby = pair_of("database", tmp_path)
    standby.arbiter = Arbiter()
    founder.run(driver="operator")
    standby.cut_at = "copying"
    with pytest.raises(PowerCut):
        standby.run(driver="operator")
    standby.boot()
    assert standby.run(driver="operator")["changes"]["new"]["steps"] == ["follow"]
