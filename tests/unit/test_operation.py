"""What an operator starts: refused before the first step, safe to repeat, undone where it stops."""

from typing import NamedTuple

import pytest
from salt.exceptions import CommandExecutionError

from tests import pillars
from tests.loading import Utils, load


class Decision(NamedTuple):
    actions: dict
    reason: str = "because"
    rejected: tuple = ()


UP = {"internal": {"state": "up", "age": 0.1}}
LOST = {"internal": {"state": "lost", "age": 9.0}}
REFUSED = {"resource": "files", "alternative": "promote file2", "condition": "NOT_MIRRORED",
           "sentence": "file2 lacks writes",
           "command": "salt-run ha.switch files file2 lose_writes_of=file1"}
MOVES = {"director": [{"do": "swap"}], "files": [{"do": "swap"}], "database": [{"do": "swap"}]}


class Site:
    """A cluster that does what it is told, and remembers it in order."""

    def __init__(self, **more):
        self.done, self.on, self.absent, self.silent = [], 1, [], []
        self.plans, self.problems, self.mirrored = [], {}, True
        self.notes, self.busy, self.asked = [], 0, []
        self.web = {name: {"state": "up", "drained": False} for name in ("web1", "web2")}
        self.members = {name: {"answers": True} for name in ("lb1", "lb2", "witness")}
        self.booting, self.here, self.unsure = [], [], None
        self.fails, self.log, self.driver, self.planned = False, [], "etcd", True
        self.idle, self.then = [], 2  # holders that serve nothing; the side to which files moves
        self.__dict__.update(more)
        names = ("moves.switch", "moves.evacuate", "moves.restore", "decide.decide")
        utils = Utils(dict.fromkeys(names, self.plan) if self.planned else {})
        salt = {"failover.look": self.look, "failover.local": self.local,
                "failover.carry_out": self.carry_out, "overview.ask": self.ask,
                "overview.publishes": lambda vm: self.booting.pop() if self.booting else None}
        self.operation = load("_runners/operation.py", salt=salt, utils=utils)
        self.operation.LOOK = 0
        self.operation.GIVEN_UP = self.operation.DRAINED = 0.05

    def plan(self, view, *arguments, **more):
        self.given = (*arguments, *more.items())
        done = sum(step[0] == "carry_out" for step in self.done)
        return self.plans[done] if done < len(self.plans) else Decision({})

    def look(self):
        cluster = pillars.cluster()
        cluster["arbiter"]["driver"] = self.driver
        record = {"epoch": 3, "mirrored": self.mirrored, "founding": False}
        names = {"director": "lb", "files": "file", "database": "db"}
        records = {key: {**record, "holder": f"{name}{self.on}"} for key, name in names.items()}
        holders = {record["holder"]: {key: 3} for key, record in records.items()
                   if record["holder"] not in self.idle}
        fit = {f"{key}.{what}": True for key in records for what in ("fit", "following", "service")}
        heard = {name: {"links": LOST if name in self.silent else UP, "silent": {}, "health": fit,
                        "held": holders.get(name, {})}
                 for name in cluster["vms"]}
        heard["lb1"]["links"] = {}
        return {"now": 1000.0, "cluster": cluster, "me": "lb1", "driver": self.driver,
                "records": records, "revisions": dict.fromkeys(records, 9),
                "views": {"lb1": heard}, "absent": list(self.absent), "confirmed": []}

    def local(self, function, *arguments):
        if function == "pool.status":
            return {"servers": self.web}
        if function == "arbiter.status":
            return self.members
        if function == "decisions.read":
            return self.log
        if function == "copies.unsure":
            return self.unsure
        if function == "decisions.note":
            return self.notes.append(("here", *arguments))
        if function in ("pool.drain", "pool.undrain"):
            if "lb1" in self.problems:
                raise CommandExecutionError(self.problems["lb1"])
            return self.here.append(function)
        self.done.append((function, *arguments))
        if function == "marks.add" and arguments[0] == "absent":
            self.absent.append(arguments[1])
        if function == "marks.remove" and arguments[1] in self.absent:
            self.absent.remove(arguments[1])
        return {}

    def ask(self, names, function, timeout, **arguments):
        if function == "decisions.note":
            self.notes.append((*names, arguments["line"]))
            return {}
        if function in ("claim.probe", "files.probe", "mysql_replication.has_all"):
            self.asked.append((function, *names))
            return {name: [True, self.problems.get(function)] for name in names}
        self.done.append((function, arguments["name"]))
        return {name: [{}, self.problems.get(name)] for name in names}

    def carry_out(self, decision, cause, evidence):
        assert "tag" not in cause  # an operator's move is no failover by itself
        assert "records" in evidence
        if self.busy:
            self.busy -= 1
            step = {"resource": "files", "do": "swap", "result": "refused", "error": "changed"}
            return {"id": "x", "at": 1.0, "steps": [step], "result": "failed"}
        self.done.append(("carry_out", *decision.actions))
        self.steps = {name: [(step["do"], step.get("vm") or step.get("transition"))
                             for step in steps] for name, steps in decision.actions.items()}
        if self.fails:
            step = {"resource": "files", "do": "activate", "vm": "file2", "result": "failed",
                    "error": "no disk"}
            return {"id": "x", "at": 1.0, "steps": [step], "result": "failed"}
        if "files" in decision.actions:
            self.on = self.then
        return {"id": "x", "at": 1.0, "steps": [], "result": "done"}


def test_a_switch_is_carried_out():
    site = Site(plans=[Decision({"files": [{"do": "swap"}]})])
    assert site.operation.switch("files", "file2") == {
        "told": "file2 holds files now.", "right": True}
    assert site.done == [("carry_out", "files")]
    assert site.given == ("files", "file2")


@pytest.mark.parametrize("command", [("switch", "database", "db2"), ("evacuate", "server1")])
@pytest.mark.parametrize(("function", "vm"), [
    ("claim.probe", "db2"), ("mysql_replication.has_all", "db1")])
def test_what_only_its_vm_knows_refuses_a_move_before_the_first_step(command, function, vm):
    site = Site(planned=False, problems={function: "no space left"})
    found = getattr(site.operation, command[0])(*command[1:])
    assert found["right"] is False
    assert found["told"].startswith("Refused, nothing was changed:\n")
    assert f"database: {function} on {vm}: no space left" in found["told"]
    assert site.done == []


def test_a_switch_to_the_holder_does_nothing():
    site = Site()
    assert site.operation.switch("files", "file1")["told"] == "file1 holds files already."
    assert site.done == []


@pytest.mark.parametrize("plans", [[], [Decision({"files": [{"do": "swap"}]})]])
def test_a_holder_that_does_not_serve_holds_nothing_yet(plans):
    """Its activation failed: the record names it all the same."""
    site = Site(on=2, idle=["file2"], plans=plans)
    assert site.operation.switch("files", "file2") == {
        "told": "file2 has the record of files, and does not serve it", "right": False}


def test_a_refused_switch_says_what_would_be_lost_and_the_command():
    swap = {"resource": "files", "do": "swap", "transition": "serve_alone", "result": "ok",
            "at": 900.0}
    site = Site(plans=[Decision({}, rejected=[REFUSED])], log=[{"at": 900.0, "steps": [swap]}])
    found = site.operation.switch("files", "file2")
    assert found["right"] is False
    assert found["told"].startswith("Refused, nothing was changed:\nfiles: promote file2")
    assert "salt-run ha.switch files file2 lose_writes_of=file1" in found["told"]
    assert "file1 acknowledged alone, since 1970-01-01 00:15:00 UTC" in found["told"]
    assert site.done == []


def test_a_forced_switch_names_whose_writes_are_lost():
    site = Site(plans=[Decision({"files": [{"do": "swap"}]})])
    assert site.operation.switch("files", "file2", "file1")["right"] is True
    assert site.given == ("files", "file2", ("lose_writes_of", "file1"))


def test_an_unknown_resource_is_refused():
    found = Site().operation.switch("mail", "file2")
    assert found == {"told": "'mail' is no resource; known: director, files, database",
                     "right": False}


def test_somebody_else_at_work_is_waited_for():
    """The reaction to an event holds the resource, or has changed the record since the look."""
    site = Site(plans=[Decision({"files": [{"do": "swap"}]})], busy=3)
    assert site.operation.switch("files", "file2")["right"] is True
    assert site.busy == 0


def test_somebody_else_at_work_for_ever_is_a_failure():
    site = Site(plans=[Decision({"files": [{"do": "swap"}]})], busy=10**6)
    found = site.operation.switch("files", "file2")
    assert found["right"] is False
    assert "refused: changed" in found["told"]


def test_what_was_done_is_noted_on_both_balancers_before_the_command_ends():
    site = Site(plans=[Decision({"files": [{"do": "swap"}]})])
    site.operation.switch("files", "file2")
    assert [where for where, _ in site.notes] == ["here", "lb2"]


def test_a_failed_switch_tells_the_story():
    site = Site(plans=[Decision({"files": [{"do": "swap"}]})], fails=True)
    found = site.operation.switch("files", "file2")
    assert found["right"] is False
    assert "file2 activates: failed: no disk" in found["told"]


def test_evacuate_drains_moves_marks_and_lets_go_in_this_order():
    alone = {"files": [{"do": "swap"}], "database": [{"do": "swap"}]}
    site = Site(plans=[Decision(MOVES), Decision(alone)])
    found = site.operation.evacuate("server1", "new memory")
    assert found["right"] is True
    assert site.done == [
        ("pool.drain", "web1"),
        ("carry_out", "director", "files", "database"),
        ("marks.add", "absent", "server1", "new memory"),
        ("carry_out", "files", "database"),
    ]  # fmt: skip
    assert "It is safe to power off server1 now (lb1, web1, file1, db1)." in found["told"]
    assert "salt-run ha.restore server1" in found["told"]


def test_evacuate_with_the_real_plan_moves_first_and_then_goes_on_alone():
    site = Site(planned=False)
    found = site.operation.evacuate("server1")
    assert found["right"] is True
    assert [step[:3] for step in site.done] == [
        ("pool.drain", "web1"),
        ("carry_out", "director", "files"),
        ("marks.add", "absent", "server1"),
        ("carry_out", "files", "database"),
    ]  # fmt: skip
    assert site.steps["files"] == [("swap", "serve_alone"), ("activate", "file2")]


def test_the_real_plan_refuses_what_has_no_mirror():
    site = Site(planned=False, mirrored=False)
    told = site.operation.evacuate("server1")["told"]
    assert told.count("[NOT_MIRRORED]") == 3  # in this site also the director's record says so
    assert "[HOLDER_LIVES]" in site.operation.switch("files", "file2", "file1")["told"]
    assert "[NOT_ITS_ROLE]" in site.operation.switch("files", "db2")["told"]
    assert site.done == []


def test_the_real_plan_switches():
    site = Site(planned=False)
    assert site.operation.switch("database", "db2")["told"] == "db2 holds database now."
    assert site.steps == {
        "database": [("swap", "promote"), ("deactivate", "db1"), ("activate", "db2")]
    }  # fmt: skip


def test_a_repeated_evacuate_finds_everything_done():
    site = Site(on=2, absent=["server1"])
    assert site.operation.evacuate("server1")["right"] is True
    assert [step[0] for step in site.done] == ["pool.drain", "marks.add"]


@pytest.mark.parametrize("trouble", [
    {"plans": [Decision({}, rejected=[REFUSED])]},
    {"web": {"web1": {"state": "up"}, "web2": {"state": "down"}}},
    {"members": {name: {"answers": name != "witness"} for name in ("lb1", "lb2", "witness")}},
])
def test_evacuate_refuses_before_the_first_step(trouble):
    site = Site(**trouble)
    found = site.operation.evacuate("server1")
    assert found["right"] is False
    assert found["told"].startswith("Refused, nothing was changed:")
    assert site.done == []


def test_evacuate_refuses_with_every_reason_at_once():
    site = Site(plans=[Decision({}, rejected=[REFUSED])], web={})
    told = site.operation.evacuate("server1")["told"]
    assert "[NOT_MIRRORED]" in told
    assert "[NO_WEB_LEFT]" in told


def test_a_balancer_that_stays_and_cannot_drain_stops_it_before_anything_moved():
    site = Site(problems={"lb2": "poold is silent"})
    found = site.operation.evacuate("server1")
    assert found == {"told": "nothing was moved: lb2: poold is silent", "right": False}
    assert site.done == [("pool.drain", "web1"), ("pool.undrain", "web1")]


def test_a_balancer_that_leaves_need_not_drain():
    site = Site(plans=[Decision(MOVES)], problems={"lb1": "poold is silent"})
    assert site.operation.evacuate("server1")["right"] is True


def test_a_move_that_fails_leaves_the_server_in_service():
    """The other server died in the middle: what was drained must serve again."""
    site = Site(plans=[Decision(MOVES)], fails=True)
    found = site.operation.evacuate("server1")
    assert found["right"] is False
    assert "server1 is still in service" in found["told"]
    assert site.done[-1] == ("pool.undrain", "web1")
    assert site.absent == []


def test_a_server_that_still_holds_something_is_not_marked():
    site = Site()  # the plan is empty, yet the records name server1's VMs
    found = site.operation.evacuate("server1")
    assert found["right"] is False
    assert "lb1 holds director; file1 holds files; db1 holds database" in found["told"]
    assert site.absent == []


def test_it_is_not_safe_to_power_off_when_the_mirror_was_not_let_go():
    site = Site(on=2, plans=[Decision({})])
    plans = [Decision({}), Decision({}), Decision({}, rejected=[REFUSED])]
    site.operation.__utils__["moves.evacuate"] = lambda *_: plans.pop(0)
    found = site.operation.evacuate("server1")
    assert found["right"] is False
    assert "safe to power off" not in found["told"]
    assert site.absent == []


@pytest.mark.parametrize("breaks", ["marks.add", "second look", "letting go"])
@pytest.mark.parametrize("error", [CommandExecutionError("silent"), KeyboardInterrupt()])
def test_an_evacuation_that_breaks_off_leaves_nothing_drained_or_marked(breaks, error):
    site = Site(plans=[Decision(MOVES)])
    plan, local, look, calls = site.plan, site.local, site.look, []

    def broken_plan(view, *arguments, **more):
        if breaks == "letting go" and site.absent:
            raise error
        return plan(view, *arguments, **more)

    def broken_local(function, *arguments):
        done = local(function, *arguments)
        if function == breaks:  # it was done, and the answer never came
            raise error
        return done

    def broken_look():
        calls.append(1)
        if breaks == "second look" and len(calls) == 2:
            raise error
        return look()

    site.operation.__utils__["moves.evacuate"] = broken_plan
    site.operation.__salt__ |= {"failover.local": broken_local, "failover.look": broken_look}
    with pytest.raises(type(error)):
        site.operation.evacuate("server1")
    assert site.done[0] == ("pool.drain", "web1")
    assert site.done[-1] == ("pool.undrain", "web1")
    assert site.absent == []


def test_restore_takes_the_mark_off_a_vm_that_was_removed_from_the_pillar():
    site = Site(absent=["web9"])
    found = site.operation.restore("web9")
    assert found == {"told": "web9 is no longer in the pillar; its mark was taken off.",
                     "right": True}  # fmt: skip
    assert site.done == [("marks.remove", "absent", "web9"), ("pool.undrain", "web9")]


def test_a_server_is_not_let_go_when_the_other_one_died_meanwhile():
    """Marked absent it could take nothing back, and the operator would switch off the last one."""
    site = Site(on=2, silent=["web2", "file2", "db2"])
    found = site.operation.evacuate("server1")
    assert found["right"] is False
    assert "file2 holds files, and is not heard" in found["told"]
    assert "do not power it off" in found["told"]
    assert site.absent == []
    assert site.done[-1] == ("pool.undrain", "web1")


def test_a_server_that_is_out_stays_so_when_the_command_is_repeated_in_vain():
    site = Site(on=2, idle=["file2"], absent=["server1"])
    told = site.operation.evacuate("server1")["told"]
    assert told.endswith("server1 is out of service as before.")
    assert set(site.absent) == {"server1"}
    assert "pool.undrain" not in [step[0] for step in site.done]


def test_what_has_moved_is_not_moved_again_while_another_list_is_waited_for():
    site = Site(plans=[Decision(MOVES)])
    plans, carried = [Decision(MOVES)] * 9, []

    def carry_out(decision, *_):
        carried.append(sorted(decision.actions))
        results = {name: "ok" for name in decision.actions}
        if len(carried) < 3:
            results["database"] = "refused"
        steps = [{"resource": name, "do": "swap", "result": results[name]} for name in results]
        result = "failed" if "refused" in results.values() else "done"
        site.on = 2
        return {"id": "x", "at": 1.0, "steps": steps, "result": result}

    site.operation.__salt__ |= {"failover.carry_out": carry_out}
    site.operation.__utils__["moves.evacuate"] = lambda *_: plans.pop(0) if plans else Decision({})
    assert site.operation._empty("server1", ["lb1", "web1", "file1", "db1"]) is None
    assert carried == [sorted(MOVES), ["database"], ["database"]]


def test_a_server_is_not_let_go_while_its_successor_does_not_serve():
    """The first try moved the record, and the activation failed; the good disk is on server1."""
    site = Site(on=2, idle=["file2"])
    told = site.operation.evacuate("server1")["told"]
    assert told.startswith("file2 has the record of files, and does not serve it")
    assert "do not power it off" in told
    assert site.absent == []


def test_a_web_server_that_is_out_on_purpose_stays_out_when_an_evacuation_fails():
    site = Site(plans=[Decision(MOVES)], fails=True, absent=["web1"])
    assert site.operation.evacuate("server1")["right"] is False
    assert "pool.undrain" not in [step[0] for step in site.done]


def test_an_unknown_server_is_named_with_those_that_are_known():
    with pytest.raises(ValueError, match="'server9' is no server and no VM"):
        Site().operation.evacuate("server9")


def test_restore_unmarks_undrains_and_waits_for_the_mirrors():
    site = Site(on=2, absent=["server1"])
    found = site.operation.restore("server1")
    assert found["right"] is True
    assert site.done == [("marks.remove", "absent", "server1"), ("pool.undrain", "web1")]
    assert site.here == ["pool.undrain"]  # without a job: the master may have just booted


def test_restore_by_a_vm_s_name_restores_its_server():
    """What a refusal names is the VM; what is out is its server."""
    site = Site(on=2, absent=["server1"])
    assert site.operation.restore("file1")["right"] is True
    assert site.done[0] == ("marks.remove", "absent", "server1")


def test_restore_refuses_while_a_vm_is_not_heard():
    site = Site(on=2, absent=["server2"], silent=["db2", "web2"])
    found = site.operation.restore("server2")
    assert found["told"] == (
        "Refused, nothing was changed:\nweb2, db2 is not heard yet; start it first [NOT_BACK]")
    assert site.done == []


def test_a_web_server_that_does_not_boot_keeps_nothing_from_being_mirrored():
    site = Site(on=2, absent=["server1"], silent=["web1"])
    found = site.operation.restore("server1")
    assert found["right"] is True
    assert found["told"].endswith("Nothing was moved to it. web1 is not heard yet; start it.")


def test_restore_takes_the_marks_of_single_vms_off_as_well():
    """The mark of file1 alone would keep it from following for ever."""
    site = Site(on=2, absent=["file1", "server1"])
    assert site.operation.restore("server1")["right"] is True
    assert site.absent == []


def test_restore_says_which_mirror_is_not_there_in_time():
    site = Site(on=2, absent=["server1"], mirrored=False)
    found = site.operation.restore("server1", timeout=0.01)
    assert found["right"] is False
    assert "files is not mirrored yet; database is not mirrored yet" in found["told"]


def test_restore_says_which_balancer_did_not_hear():
    site = Site(on=2, absent=["server1"], problems={"lb2": "does not answer"})
    told = site.operation.restore("server1")["told"]
    assert "lb2 keeps web1 drained: does not answer" in told
    site = Site(on=2, absent=["server1"], silent=["lb2"], problems={"lb1": "a full disk"})
    told = site.operation.restore("server1")["told"]
    assert "lb2 keeps web1 drained: is not heard; lb1 keeps web1 drained: a full disk" in told
    assert "Repeat: salt-run ha.restore server1" in told


MOVED = [Decision({"files": [{"do": "swap"}]})]


@pytest.mark.parametrize(("words", "more"), [
    (("switch", "files", "file2"), {"plans": MOVED}),
    (("evacuate", "server1"), {"plans": MOVED}),
    (("restore", "server1"), {"on": 2, "absent": ["server1"]}),
])
def test_a_master_that_has_just_booted_is_waited_for(words, more):
    site = Site(booting=["SaltClientError"] * 3, **more)
    assert getattr(site.operation, words[0])(*words[1:])["right"] is True
    site = Site(booting=["SaltClientError"] * 9, **more)
    site.operation.READY = -1
    told = getattr(site.operation, words[0])(*words[1:])["told"]
    assert told == "Nothing was changed: the Salt master of lb1 takes no job: SaltClientError"
    assert site.done == []


def test_a_web_server_needs_no_mirror():
    site = Site(on=2, absent=["web1"], mirrored=False)
    assert site.operation.restore("web1", timeout=0.01)["right"] is True


@pytest.mark.parametrize("driver", ["operator", "fencing"])
def test_a_confirmed_death_is_marked_and_acted_on(driver):
    dead = ["lb2", "web2", "file2", "db2"]
    site = Site(on=2, driver=driver, silent=dead, plans=[Decision({"files": [{"do": "swap"}]})])
    assert site.operation.confirm_dead("server2")["right"] is True
    assert site.done == [("marks.add", "confirmed", "server2", None), ("carry_out", "files"),
                         ("marks.remove", "confirmed", "server2")]


def test_what_a_confirmed_death_does_not_suffice_for_is_said():
    dead = ["lb2", "web2", "file2", "db2"]
    silent = {**REFUSED, "condition": "LINK_SILENT", "command": "wait"}
    plan = [Decision({"database": [{"do": "swap"}]}, rejected=rejected)
            for rejected in ((), (REFUSED, silent))]
    found = Site(on=2, driver="operator", silent=dead, plans=plan).operation.confirm_dead("server2")
    assert found["right"] is True
    assert "Not done:" in found["told"] and REFUSED["command"] in found["told"]
    assert "LINK_SILENT" not in found["told"]


def test_a_confirmation_ends_also_when_what_follows_fails():
    dead = ["lb2", "web2", "file2", "db2"]
    plan = [Decision({"files": [{"do": "swap"}]})]
    site = Site(on=2, driver="operator", silent=dead, plans=plan, fails=True)
    found = site.operation.confirm_dead("server2")
    assert found["right"] is False
    assert found["told"].startswith("server2 is confirmed dead, but:")
    assert site.done[-1] == ("marks.remove", "confirmed", "server2")


def test_writes_are_given_up_of_a_holder_whose_death_is_confirmed_by_the_same_command():
    dead = ["lb2", "web2", "file2", "db2"]
    plans = [Decision({"files": [{"do": "swap"}]})]
    site = Site(on=2, then=1, driver="operator", silent=dead, plans=plans)
    found = site.operation.switch("files", "file1", "file2", "server2")
    assert found == {"told": "file1 holds files now.", "right": True}
    assert site.given == ("files", "file1", ("lose_writes_of", "file2"))
    assert site.done == [("marks.add", "confirmed", "server2", None), ("carry_out", "files"),
                         ("marks.remove", "confirmed", "server2")]


@pytest.mark.parametrize(("more", "words", "told"), [
    ({"driver": "operator", "silent": []}, ("file2", "server2"), "[STILL_ALIVE]"),
    ({}, ("file2", "server2"), "[NOT_ASKED]"),
    ({"driver": "operator", "unsure": "lb2"}, ("file2", "server2"), "[NOT_COMPARED]"),
    ({"driver": "operator"}, (None, "server2"), "ha.confirm_dead server2"),
    ({"driver": "operator"}, ("file2", "server9"), "server9"),
])
def test_a_death_that_cannot_be_confirmed_gives_up_nothing(more, words, told):
    plan = [Decision({"files": [{"do": "swap"}]})]
    site = Site(**{"on": 2, "silent": ["lb2", "web2", "file2", "db2"], "plans": plan, **more})
    try:
        found = site.operation.switch("files", "file1", *words)
    except ValueError as error:  # ha.switch makes the same answer of it
        found = {"told": str(error), "right": False}
    assert (found["right"], told in found["told"]) == (False, True), found
    assert site.done == []


@pytest.mark.parametrize(("unsure", "where", "lose", "told"), [
    ("lb2", "server2", None, "salt-run ha.confirm_dead server2 lose_writes_of=server2"),
    ("lb2", "server2", "server1", "[NOT_COMPARED]"),
    ("lb2", "lb2", None, "salt-run ha.confirm_dead lb2 lose_writes_of=lb2"),
    (None, "server2", "server2", "no writes of server2 have to be given up"),
    ("lb2", "db2", "db2", "no writes of db2 have to be given up"),
])
def test_a_death_gives_up_writes_only_where_just_the_dead_one_knew_who_served(
        unsure, where, lose, told):
    dead = ["lb2", "web2", "file2", "db2"]
    site = Site(driver="operator", silent=dead, unsure=unsure)
    found = site.operation.confirm_dead(where, lose)
    assert (found["right"], told in found["told"]) == (False, True), found
    assert site.done == []


def test_what_only_the_dead_one_knew_is_given_up_by_name():
    dead = ["lb2", "web2", "file2", "db2"]
    site = Site(driver="operator", silent=dead, unsure="lb2")
    assert site.operation.confirm_dead("server2", "server2")["right"] is True
    assert site.done[0] == ("marks.add", "confirmed", "server2", "lose_writes")


def test_who_is_heard_is_not_dead():
    site = Site(driver="operator", silent=["lb2", "web2", "db2"])
    found = site.operation.confirm_dead("server2")
    assert found["told"].endswith("file2 is heard, so it is not dead [STILL_ALIVE]")
    assert site.done == []


def test_an_arbiter_that_knows_asks_nobody():
    site = Site(silent=["lb2", "web2", "file2", "db2"])
    assert "[NOT_ASKED]" in site.operation.confirm_dead("server2")["told"]
    assert site.done == []


def test_an_acknowledged_resource_is_looked_at_again():
    site = Site(plans=[Decision({"files": [{"do": "swap"}]}, reason="files: file2 takes over")])
    found = site.operation.acknowledge("files")
    assert found["told"] == "files may move by itself again. files: file2 takes over."
    assert site.done == [("marks.add", "acknowledged", "files"), ("carry_out", "files")]


def test_no_record_of_what_was_done_is_an_error():
    site = Site(plans=[Decision({"files": [{"do": "swap"}]})])
    site.operation.__salt__["failover.carry_out"] = lambda *_: None
    with pytest.raises(CommandExecutionError, match="no record"):
        site.operation.switch("files", "file2")
