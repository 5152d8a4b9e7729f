"""The arbiter's client: replies recorded from etcd 3.5.16, and the local driver on a real disk."""

import base64
import json
import threading
from pathlib import Path

import pytest
import yaml
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.loading import ROOT, Utils, load

DATA = ROOT / "tests/data/etcd-3.5.16"
CLUSTER = yaml.safe_load((ROOT / "pillar/cluster.sls").read_text(encoding="utf-8"))["cluster"]
etcd = load("_utils/etcd.py")


def recorded(name):
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def arbiter(me, exchanges=None, driver="etcd"):
    """Return the module on VM ``me``; etcd answers what was recorded, in that order."""
    cluster = {**CLUSTER, "arbiter": {**CLUSTER["arbiter"], "driver": driver}}
    utils = Utils()
    left = list(exchanges or [])
    asked = []

    def call(members, tls, path, body, timeout):
        assert timeout > 0
        assert left, f"nothing recorded for {path}"
        exchange = left.pop(0)
        asked.append(([member["name"] for member in members], path, body))
        assert path == exchange["path"]
        if isinstance(exchange["answer"], Exception):
            raise exchange["answer"]
        return exchange["answer"]

    utils["etcd.call"] = call
    module = load("_modules/arbiter.py", pillar={"cluster": cluster}, grains={"id": me},
                  utils=utils)
    module.asked = asked
    return module


def value_of(body):
    return json.loads(base64.b64decode(body["success"][0]["request_put"]["value"]))


FOUNDING = {"holder": "file1", "epoch": 1, "mirrored": False, "founding": True}


def test_an_absent_record_is_none():
    assert arbiter("lb2", recorded("read-absent")).read("files") is None


def test_a_record_is_read_without_its_writer():
    assert arbiter("lb2", recorded("read-found")).read("files") == FOUNDING


def test_what_is_asked_is_what_was_asked_when_recorded():
    module = arbiter("lb2", recorded("read-found"))
    module.read("files")
    assert module.asked[0][2] == recorded("read-found")[0]["body"]


def test_creating_tells_the_creator():
    module = arbiter("lb2", recorded("create"))
    assert module.create("files", "file1") == {"created": True, "record": FOUNDING}
    body = module.asked[0][2]
    assert body["compare"] == recorded("create")[0]["body"]["compare"]
    assert {key: value_of(body)[key] for key in FOUNDING} == FOUNDING


def test_creating_what_exists_returns_the_record_there_is():
    module = arbiter("lb2", recorded("create-exists"))
    assert module.create("files", "file2") == {"created": False, "record": FOUNDING}


def test_a_creation_whose_reply_was_lost_is_recognised_by_its_token(monkeypatch):
    """Asked again after a lost reply, etcd says that the key exists: written by ourselves."""
    exchange = recorded("create-exists")[0]
    pairs = exchange["answer"]["responses"][0]["response_range"]["kvs"]
    stored = json.loads(base64.b64decode(pairs[0]["value"]))
    name, token = stored["writer"].split()
    monkeypatch.setattr("secrets.token_hex", lambda _: token)
    assert arbiter(name, [exchange]).create("files", "file1")["created"] is True


def test_a_swap_compares_with_the_revision_it_read():
    module = arbiter("lb2", recorded("swap"))
    answer = module.swap("files", "founded", holder="file1", epoch=1)
    assert answer["swapped"] is True
    assert answer["record"] == {**FOUNDING, "founding": False, "mirrored": True}
    assert module.asked[1][2]["compare"] == recorded("swap")[1]["body"]["compare"]
    assert answer["revision"] == 3  # of the record as it is now: the permission it grants


def test_a_swap_of_a_known_record_asks_once():
    write = recorded("swap")[1]
    module = arbiter("lb2", [write])
    answer = module.swap("files", "founded", revision=2, record=FOUNDING, holder="file1", epoch=1)
    assert (answer["swapped"], answer["revision"]) == (True, 3)
    assert [path for _, path, _ in module.asked] == ["/v3/kv/txn"]
    assert module.asked[0][2]["compare"] == write["body"]["compare"]


def test_a_known_record_that_is_not_the_record_any_more_is_not_overwritten():
    overtaken = recorded("create-exists")[0]
    module = arbiter("lb2", [overtaken, recorded("swap")[0]])
    answer = module.swap("files", "founded", revision=1, record=FOUNDING, holder="file1", epoch=1)
    assert answer["swapped"] is False
    assert "changed after it was looked at" in answer["reason"]


def test_a_swap_bound_to_another_revision_writes_nothing():
    module = arbiter("lb2", recorded("read-found"))
    answer = module.swap("files", "founded", revision=999, holder="file1", epoch=1)
    assert answer["swapped"] is False
    assert "changed after it was looked at" in answer["reason"]


def test_a_refused_transition_writes_nothing_and_says_why():
    module = arbiter("lb2", recorded("read-found"))
    answer = module.swap("files", "promote", holder="file2")
    assert answer == {
        "swapped": False, "record": FOUNDING, "revision": 2,
        "reason": "file1 is still founding: nothing to take over yet",
    }


def test_a_swap_that_was_overtaken_is_judged_again():
    """Somebody wrote between our reading and our writing: etcd answers with what is there now."""
    overtaken = {**recorded("create-exists")[0]}
    module = arbiter("lb2", [
        recorded("swap")[0], overtaken, recorded("swap")[0], recorded("swap")[1],
    ])
    assert module.swap("files", "founded", holder="file1", epoch=1)["swapped"] is True
    assert len(module.asked) == 4


def test_an_unreachable_arbiter_is_never_an_absent_record():
    error = CommandExecutionError("no arbiter answered within 6 s")
    module = arbiter("lb2", [{"path": "/v3/kv/range", "answer": error}])
    with pytest.raises(CommandExecutionError, match="no arbiter answered"):
        module.read("files")


def test_a_swap_without_a_record_raises():
    with pytest.raises(CommandExecutionError, match="no record of files"):
        arbiter("lb2", recorded("read-absent")).swap("files", "promote", holder="file2")


@pytest.mark.parametrize(("transition", "arguments"), [
    ("steal", {}), ("promote", {}), ("promote", {"vm": "file2"}), ("serve_alone", {"epoch": 1}),
])
def test_bad_arguments_of_a_swap_are_named(transition, arguments):
    with pytest.raises(SaltInvocationError, match=transition):
        arbiter("lb2", recorded("read-found")).swap("files", transition, **arguments)


def test_only_a_vm_of_the_cluster_becomes_holder():
    with pytest.raises(SaltInvocationError, match="file9"):
        arbiter("lb2").create("files", "file9")


@pytest.mark.parametrize(("me", "order"), [
    ("lb2", ["lb2", "lb1", "witness"]),
    ("file2", ["lb2", "lb1", "witness"]),
    ("file1", ["lb1", "lb2", "witness"]),
    ("witness", ["witness", "lb1", "lb2"]),
])
def test_the_nearest_member_is_asked_first(me, order):
    """A dead server then costs no time: who shares it is dead as well."""
    module = arbiter(me, recorded("read-absent"))
    module.read("files")
    assert module.asked[0][0] == order


def test_members_say_who_leads():
    answers = arbiter("lb2", recorded("status")).status()
    assert set(answers) == {"lb1", "lb2", "witness"}
    assert [one["leader"] for one in answers.values()].count(True) == 1
    assert all(one["version"] == "3.5.16" for one in answers.values())


def test_a_silent_member_has_no_opinion():
    error = CommandExecutionError("no arbiter answered")
    exchange = {"path": "/v3/maintenance/status", "answer": error}
    answers = arbiter("lb2", [exchange] * 3).status()
    assert answers["lb1"] == {"answers": False, "leader": None, "version": None}


@pytest.mark.parametrize("leader", ["lb1", "witness"])
def test_a_balancer_that_leads_hands_the_lead_to_the_witness(leader):
    """Its own failover would wait for an election."""
    lb1, _, witness = recorded("status")
    wanted = witness["answer"]["header"]["member_id"]
    if leader == "witness":
        lb1["answer"]["leader"] = wanted
    module = arbiter("lb1", [lb1, witness, *recorded("transfer-leadership")])
    assert module.yield_lead() is (leader == "lb1")
    given = ("/v3/maintenance/transfer-leadership", {"targetID": wanted})
    assert [(names, path, body) for names, path, body in module.asked if body] == (
        [(["lb1"], *given)] if leader == "lb1" else [])


@pytest.mark.parametrize("what", [{"raftIndex": "0"}, {"leader": "0"}])
def test_a_witness_that_does_not_keep_up_gets_no_lead(what):
    """It answers without its peers, too; until it leads, or has not in a second, nobody writes."""
    lb1, _, witness = recorded("status")
    witness["answer"].update(what)
    module = arbiter("lb1", [lb1, witness])
    with pytest.raises(CommandExecutionError, match="the witness does not keep up"):
        module.yield_lead()


@pytest.mark.parametrize(("me", "driver"), [("file1", "etcd"), ("witness", "etcd"),
                                            ("lb1", "operator")])
def test_who_is_no_member_or_the_witness_itself_has_no_lead_to_give(me, driver):
    module = arbiter(me, driver=driver)
    assert module.yield_lead() is False
    assert module.asked == []


def test_a_lost_quorum_may_pass_and_a_bad_request_may_not():
    assert etcd.refusal(recorded("no-quorum")["body"])[0] in etcd.PASSING
    code, message = etcd.refusal(recorded("bad-request")["body"])
    assert code not in etcd.PASSING
    assert "invalid value" in message
    assert etcd.refusal("<html>proxy</html>") == (None, "<html>proxy</html>")


@pytest.mark.parametrize("answer", [{}, {"error": "x"}])
def test_what_is_no_answer_of_etcd_raises(answer):
    for parse in (etcd.found, etcd.written):
        with pytest.raises(CommandExecutionError, match="not an answer of etcd"):
            parse(answer)


@pytest.mark.parametrize("value", ["", "{", "[]", '{"holder": "file1"}'])
def test_a_damaged_record_is_neither_absent_nor_valid(value):
    exchange = recorded("read-found")[0]
    exchange["answer"]["kvs"][0]["value"] = base64.b64encode(value.encode()).decode()
    with pytest.raises(CommandExecutionError, match="damaged"):
        arbiter("lb2", [exchange]).read("files")


URL = "https://127.0.0.12:2380"


def test_a_rebuilt_member_is_removed_before_it_is_added():
    """Started as if nothing had happened, it would vote twice: it has forgotten its vote."""
    step, reason = etcd.enrolment(URL, {"lb1": recorded("members"), "witness": None})
    assert step == "rejoin"
    assert "lb1 knows an earlier member" in reason


def test_a_member_joins_the_founding_that_another_began():
    views = {"lb1": recorded("members-founding"), "witness": "down"}
    assert etcd.enrolment(URL, views)[0] == "new"


@pytest.mark.parametrize(("views", "step"), [
    ({"lb1": "down", "witness": "down"}, "new"),
    ({}, "new"),
    ({"lb1": "down", "witness": None}, "wait"),
    ({"lb1": None, "witness": None}, "wait"),
])
def test_founding_needs_every_other_member_in_sight(views, step):
    assert etcd.enrolment(URL, views)[0] == step


def test_a_new_member_of_an_old_cluster_is_added():
    views = {"lb1": recorded("members"), "witness": "down"}
    assert etcd.enrolment("https://127.0.0.40:2380", views)[0] == "join"


def test_a_member_added_before_is_not_added_again():
    added = [{"id": 1, "peerURLs": [URL], "name": ""}]
    assert etcd.enrolment(URL, {"lb1": recorded("members")[1:2] + added})[0] == "existing"


@pytest.fixture
def local(tmp_path):
    module = arbiter("file1", driver="operator")
    module.DIRECTORY = str(tmp_path / "arbiter")
    return module


def test_the_local_driver_keeps_the_same_promises(local):
    assert local.read("files") is None
    assert local.create("files", "file1") == {"created": True, "record": FOUNDING}
    assert local.create("files", "file2") == {"created": False, "record": FOUNDING}
    looked = local.look("files")
    assert local.swap("files", "promote", holder="file2")["swapped"] is False
    swap = local.swap("files", "founded", revision=looked["revision"], holder="file1", epoch=1)
    assert swap["swapped"] is True
    assert local.read("files")["mirrored"] is True
    again = local.swap("files", "founded", revision=looked["revision"], holder="file1", epoch=1)
    assert again["swapped"] is False
    assert local.status() == {}


def test_of_many_local_creators_one_wins(local):
    def attempt(holder):
        results.append(local.create("files", holder))

    results = []
    threads = [threading.Thread(target=attempt, args=(f"file{1 + i % 2}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one["created"] for one in results].count(True) == 1
    assert len({one["record"]["holder"] for one in results}) == 1


def test_a_swap_tells_the_revision_it_made(local):
    local.create("files", "file1")
    answer = local.swap("files", "founded", holder="file1", epoch=1)
    assert answer["revision"] == local.look("files")["revision"] == 2


def test_what_all_masters_share_changes_by_compare_and_swap_only(local):
    assert local.load("marks") == {"value": None, "revision": 0}
    assert local.store("marks", "one", 0) is True
    assert local.store("marks", "two", 0) is False
    assert local.load("marks") == {"value": "one", "revision": 1}
    assert local.store("marks", "two", 1) is True
    with pytest.raises(SaltInvocationError, match="only text"):
        local.store("marks", {}, 2)


def test_a_store_whose_reply_was_lost_is_recognised_by_its_token(monkeypatch):
    exchange = recorded("create-exists")[0]
    pair = exchange["answer"]["responses"][0]["response_range"]["kvs"][0]
    stored = json.dumps({"value": "one", "writer": "lb2 token"})
    pair["value"] = base64.b64encode(stored.encode()).decode()
    monkeypatch.setattr("secrets.token_hex", lambda _: "token")
    assert arbiter("lb2", [exchange]).store("marks", "one", 0) is True
    assert arbiter("lb1", [exchange]).store("marks", "one", 0) is False


@pytest.mark.parametrize("text", ["", "{", "{}", '{"value": "x", "revision": 1}'])
def test_a_damaged_local_record_is_not_absent(local, text):
    local.create("files", "file1")
    (Path(local.DIRECTORY) / "files.json").write_text(text, encoding="utf-8")
    with pytest.raises(CommandExecutionError, match="damaged"):
        local.read("files")
