"""The story of a decision and the state of the cluster are read by somebody in a hurry."""

import pytest

from tests.loading import load

story = load("_utils/story.py")

FAILOVER = {
    "id": "lb2-17", "at": 1_700_000_000.0, "master": "lb2",
    "cause": {"tag": "cluster/heartbeat/lost/file1", "observer": "lb2"},
    "evidence": {"file1": {"lb2": ["internal lost 2.1 s"], "witness": ["internal lost 2.0 s"]}},
    "reason": "files: file1 is silent on every link; file2 takes over; database: db1 restarts",
    "rejected": [{"resource": "database", "alternative": "promote db2", "condition": "NOT_MIRRORED",
                  "sentence": "db2 lacks writes", "command": "salt-run ha.switch database db2"}],
    "steps": [
        {"resource": "files", "do": "swap", "transition": "promote", "vm": None,
         "at": 1_700_000_000.1, "seconds": 0.04, "result": "ok"},
        {"resource": "files", "do": "deactivate", "vm": "file1", "at": 1_700_000_000.15,
         "result": "not waited for"},
        {"resource": "files", "do": "activate", "vm": "file2", "at": 1_700_000_000.15,
         "seconds": 1.6, "result": "ok"},
    ],
    "result": "done",
}  # fmt: skip


def test_a_failover_is_told_from_its_cause_to_its_end():
    assert story.tell(FAILOVER) == """\
2023-11-14 22:13:20 UTC, decided on lb2 (decision lb2-17)

What started it:
  cluster/heartbeat/lost/file1 (observer lb2)

What was seen:
  file1 lb2: internal lost 2.1 s
  file1 witness: internal lost 2.0 s

What was decided:
  files: file1 is silent on every link; file2 takes over
  database: db1 restarts

What was not done:
  database: promote db2: db2 lacks writes [NOT_MIRRORED]
    after having looked: salt-run ha.switch database db2

What was done (seconds after the decision):
     0.10 s  files     the arbiter's record: promote: ok in 0.04 s
     0.15 s  files     file1 gives up: not waited for
     0.15 s  files     file2 activates: ok in 1.60 s

Done after 1.75 s."""


def test_a_failed_step_shows_its_error_and_what_comes_next():
    step = {"resource": "files", "do": "activate", "vm": "file2", "result": "failed",
            "error": "drbdadm primary r0: no quorum"}
    told = story.tell({**FAILOVER, "steps": [step], "result": "failed"})
    assert "file2 activates: failed: drbdadm primary r0: no quorum" in told
    assert told.endswith("Failed; the next look at the cluster goes on from here.")


def test_what_an_operator_began_says_so_and_the_records_read_as_sentences():
    evidence = {"records": {"files": {"holder": "file1", "epoch": 3, "mirrored": False}}}
    told = story.tell({"cause": {"command": "ha.switch files file2"}, "evidence": evidence})
    assert "  an operator: salt-run ha.switch files file2" in told
    assert "  records files: file1 holds epoch 3, NOT mirrored" in told


@pytest.mark.parametrize("key", sorted(FAILOVER))
def test_a_line_that_lacks_anything_is_still_told(key):
    assert story.tell({name: value for name, value in FAILOVER.items() if name != key})


def test_a_decision_whose_master_died_has_no_known_end():
    told = story.tell({**FAILOVER, "result": None})
    assert told.endswith("the master may have died.")
    assert story.tell({}).startswith("at an unknown time, decided on an unknown master")


@pytest.mark.parametrize("do", ["follow", "fence", "mirror", "restart", "something new"])
def test_every_step_has_words(do):
    assert "db1" in story.tell({"steps": [{"do": do, "vm": "db1", "source": "db2"}]})


def swap(transition, at, result="ok"):
    step = {"resource": "files", "do": "swap", "transition": transition, "at": at, "result": result}
    return {"id": str(at), "at": at, "steps": [step]}


@pytest.mark.parametrize(("lines", "since"), [
    ([], None),
    ([swap("serve_alone", 5)], 5),
    ([swap("serve_alone", 5), swap("serve_alone", 9)], 5),
    ([swap("promote", 3), swap("serve_alone", 9)], 3),
    ([swap("serve_alone", 5), swap("mirrored", 7)], None),
    ([swap("serve_alone", 5), swap("mirrored", 7), swap("serve_alone", 8)], 8),
    ([swap("serve_alone", 5), swap("mirrored", 7, "refused")], 5),
    ([swap("serve_alone", 5), swap("promote", 7)], 7),
    ([swap("serve_alone", 5), swap("abandon", 7)], 7),
])  # fmt: skip
def test_alone_begins_with_the_first_swap_after_the_last_mirror(lines, since):
    assert story.alone_since(lines, "files") == since
    assert story.alone_since(lines, "database") is None


def test_what_a_forced_takeover_gives_up_is_said_with_its_time():
    told = story.lost("files", "file1", "file2", 1_700_000_000, 1_700_008_000)
    assert "file2 lacks every write to files that file1 acknowledged alone" in told
    assert "since 2023-11-14 22:13:20 UTC (2 h ago)" in told
    assert "in no log" in story.lost("files", "file1", "file2", None, 1_700_008_000)


@pytest.mark.parametrize(("resource", "vm", "answer"), [
    ("files", "file1", {"report": {"directory": "/var/lib/cluster/saved/files-1"},
                        "saved": ["/var/lib/cluster/saved/files-0"]}),
    ("database", "db1", {"saved": {"directory": "/var/lib/mysql/.saved/database-1"}}),
])
def test_what_was_put_aside_is_named_where_it_lies(resource, vm, answer):
    step = {"resource": resource, "do": "follow", "vm": vm, "result": "ok", "answer": answer}
    told = story.tell({"steps": [step], "result": "done"})
    directory = (answer.get("report") or answer["saved"])["directory"]
    assert f"what only {vm} had is in {directory} there" in told
    for nothing in ({"report": None, "saved": []}, {"saved": None}, None):
        assert "what only" not in story.tell({"steps": [{**step, "answer": nothing}]})


def test_a_second_machine_with_the_public_address_is_named():
    duplicate = {"address": "203.0.113.10", "interface": "eth0", "mac": "02:00:00:00:00:09",
                 "since": 5.0, "foreign": False}  # fmt: skip
    told = story.status(facts(duplicates=[duplicate]))
    assert told.splitlines()[-2:] == [
        "Look at this:",
        "  203.0.113.10: also used by the machine with the hardware address 02:00:00:00:00:09, on"
        " the network of eth0",
    ]


def record(holder, mirrored=True, **more):
    return {"holder": holder, "epoch": 3, "mirrored": mirrored, "founding": False, **more}


def facts(**more):
    up = {"internal": {"state": "up", "age": 0.1}}
    return {
        "name": "moodle", "me": "lb1", "at": 1_700_000_000, "driver": "etcd",
        "resources": {
            "director": {"record": record("lb1"), "right": True,
                         "vms": {"lb1": {"active": True}, "lb2": {"active": False}}},
            "files": {"record": record("file1"), "right": True,
                      "vms": {"file1": {"active": True}, "file2": {"active": False}}},
        },
        "pool": {"web1": {"state": "up", "connections": 3}, "web2": {"state": "up"}},
        "views": {"lb1": {"lb1": {"held": {}}, "file1": {"links": up}, "web1": {"links": up}}},
        "masters": {"lb1": True, "lb2": True},
        "arbiter": {"lb1": {"answers": True, "leader": True},
                    "lb2": {"answers": True, "leader": False}},
        "marks": {"absent": {}, "confirmed": {}}, "rejected": [], "problems": [], **more,
    }  # fmt: skip


def test_a_healthy_cluster_is_a_table_and_one_sentence():
    assert story.status(facts()) == """\
cluster moodle, asked on lb1 at 2023-11-14 22:13:20 UTC

resource  holder  epoch  mirrored  what each VM says
director  lb1     3      -         lb1 serves; lb2 is passive
files     file1   3      yes       file1 serves; file2 is passive

web       web1 up (3 connections)
          web2 up
links     all up, as heard by lb1
masters   lb1 answers, lb2 answers
arbiter   etcd: lb1 leads, lb2 answers
out       nothing

Everything is where it belongs."""


def test_what_is_wrong_is_said_with_the_command_that_helps():
    refused = {"resource": "files", "alternative": "failover", "condition": "NOT_MIRRORED",
               "sentence": "file2 lacks writes", "command": "salt-run ha.switch files file2"}
    told = story.status(facts(rejected=[refused], problems=["web1 is down"]))
    assert told.splitlines()[-4:] == [
        "Look at this:",
        "  web1 is down",
        "  files: failover: file2 lacks writes [NOT_MIRRORED]",
        "    after having looked: salt-run ha.switch files file2",
    ]  # fmt: skip


def test_what_the_next_loss_would_not_survive_is_said_though_all_works():
    found = facts(
        marks={"absent": {"server2": {"since": 1, "why": None}}},
        pool={"web1": {"state": "up"}, "web2": {"state": "down", "why": "no answer"}},
        arbiter={"lb1": {"answers": True, "leader": True}, "lb2": {"answers": False}},
    )
    found["resources"]["files"]["record"]["mirrored"] = False
    found["arbiter"]["lb2"]["leader"] = None
    assert story.status(found).splitlines()[-5:] == [
        "Look at this:",
        "  files: not mirrored, nothing can take over from file1",
        "  web2: serves no visitors",
        "  lb2: its member of the arbiter is silent",
        "  server2: out on purpose, nothing moves to it",
    ]


def test_a_silent_link_names_who_does_not_hear_it():
    lost = {"internal": {"state": "lost", "age": 9}, "serial": {"state": "up", "age": 0.1}}
    told = story.status(facts(views={"lb1": {"file1": {"links": lost}},
                                     "lb2": {"file1": {"links": lost}}}))
    assert "links     file1 is lost on internal at lb1, lb2" in told


def test_what_is_out_says_since_when_and_why():
    marks = {"absent": {"server2": {"since": 1_700_000_000, "why": "new memory"}},
             "confirmed": {"server1": {"since": 1_700_000_000, "why": None}}}
    told = story.status(facts(marks=marks))
    assert "out       server2 is out on purpose since 2023-11-14 22:13:20 UTC (new memory)" in told
    assert "          server1 is confirmed dead since 2023-11-14 22:13:20 UTC\n" in told


def test_unknown_is_said_and_never_taken_for_good():
    seen = {"record": "no quorum", "right": False,
            "vms": {"db1": {"active": None, "problem": "does not answer"}, "db2": {"active": None}}}
    told = story.status(facts(resources={"database": seen}, pool=None, views="no view",
                              masters=None, arbiter="no quorum", marks="damaged"))
    assert "database  unknown  ?      ?         db1 does not answer; db2 does not know" in told
    for line in ("web       not known", "links     no view", "masters   not known",
                 "arbiter   driver etcd: no quorum", "out       damaged"):
        assert line in told
