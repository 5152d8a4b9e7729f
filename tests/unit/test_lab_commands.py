"""The commands' words, Salt's answers, the status table and the proxy."""

import json
import socket
import subprocess
import sys
import threading

import pytest

from lab import cli, config, proxy, results, status
from lab.deadline import Deadline, wait_until
from lab.errors import LabError
from lab.lab import Lab
from lab.process import Processes
from tests.loading import ROOT

DATA = ROOT / "tests/data/iproute2-6.15/lb1-address-and-meminfo.txt"


@pytest.mark.parametrize(("argv", "own", "passed"), [
    (["salt", "--out=json", "*", "state.apply"], ["salt"], ["--out=json", "*", "state.apply"]),
    (["--name", "a", "run", "lb1", "ls", "-l"], ["--name", "a", "run", "lb1"], ["ls", "-l"]),
    (["up", "--engine", "mariadb"], ["up", "--engine", "mariadb"], []),
    (["--name=salt", "status"], ["--name=salt", "status"], []),
    (["run", "lb1"], ["run", "lb1"], []),
    (["run", "lb1", "--", "ls", "-l"], ["run", "lb1"], ["ls", "-l"]),
    ([], [], []),
])
def test_words_behind_salt_and_run_belong_to_the_other_command(argv, own, passed):
    assert cli.split(argv) == (own, passed)


def test_every_command_has_a_function_and_help():
    text = cli.parser().format_help()
    assert all(f" {name} " in text for name in cli.COMMANDS)


def test_answers_are_read_as_they_stream_in():
    documents = results.Documents()
    whole = json.dumps({"lb1": {"a": 1}}, indent=4) + "\nSalt's own words\n" + '{"db1": []}'
    found = [each for sign in whole for each in documents.feed(sign)]
    assert found == [{"lb1": {"a": 1}}, {"db1": []}]


def state(result, number, changes=None, comment="", name="n"):
    return {"result": result, "changes": changes or {}, "comment": comment, "name": name,
            "__id__": f"id-{number}", "__run_num__": number, "duration": 500.0}


def test_failed_and_changed_states_are_counted_and_named():
    result = results.judge("web1", {
        "a": state(True, 0), "b": state(True, 1, {"new": 1}),
        "c": state(False, 2, comment="no disk"),
        "d": state(False, 3, comment="One or more requisite failed: id-2"),
    })
    assert result[:5] == ("web1", 2, 1, 2, 2.0)
    assert result.problems == ("web1: id-2: no disk",)
    assert result.changes == ("web1: id-1: n",)
    assert results.summary([result]) == "1 VMs: 2 states succeeded, 1 changed, 2 failed"


@pytest.mark.parametrize("answer", [
    ["Rendering SLS failed"], "Minion did not return. [No response]", False, None])
def test_an_answer_that_is_no_states_is_a_problem(answer):
    result = results.judge("db1", answer)
    assert result.failed == 1
    assert result.problems[0].startswith("db1: ")


def test_table_shows_addresses_memory_and_the_resource_held():
    first, _, rest = DATA.read_text().partition("\n")
    used, total = status.memory(rest)
    assert 0 < used < total < 768 * 2**20
    assert status.addresses(first)["eth0"] == ["203.0.113.10"]
    assert status.memory("no meminfo") is None


def test_holder_has_all_addresses_of_a_resource():
    both = ["203.0.113.10", "192.168.10.1"]
    assert status.holds("balancer", both, ["192.168.10.10", *both]) == "director"
    assert status.holds("balancer", both, ["192.168.10.10"]) == ""
    assert status.holds("balancer", both, both[:1]) == "director: only 203.0.113.10"
    assert status.holds("web", [], ["192.168.10.11"]) == ""


def test_table_is_aligned():
    text = status.table([{"a": "x", "b": "long"}, {"a": "yyyy", "b": ""}], columns=("a", "b"))
    assert text == "a     b\nx     long\nyyyy"


def test_a_pillar_that_is_named_must_be_there_and_be_one(tmp_path):
    with pytest.raises(LabError, match="nowhere.sls: there is no such file"):
        config.named(tmp_path / "nowhere.sls")
    with pytest.raises(LabError, match="there is no such file"):
        config.named(tmp_path)
    (tmp_path / "empty.sls").write_text("")
    with pytest.raises(LabError, match="no `cluster` in it"):
        config.named(tmp_path / "empty.sls")


def test_a_wrong_pillar_is_refused_with_the_path_of_its_key():
    with pytest.raises(LabError, match="cluster.sizes.balancer.memory"):
        Lab(ROOT, "wrong", {"pillar": {"sizes": {"balancer": {"memory": 2048}}}})


def test_the_proxy_is_replaced_for_another_port_and_a_taken_one_is_refused(tmp_path, monkeypatch):
    lab = Lab(ROOT, "ports")
    lab.run_folder = tmp_path
    lab.proxy = Processes(tmp_path / "proxy.json")
    sleeping = lambda *_, **__: real(["sleep", "60"], start_new_session=True)  # noqa: E731
    real = subprocess.Popen
    monkeypatch.setattr("lab.lab.subprocess.Popen", sleeping)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(LabError, match="cannot be had"):
            lab.open(taken.getsockname()[1])
        first, pid = lab.open(), lab.proxy.pid
        assert (lab.open(), lab.open(first), lab.proxy.pid) == (first, first, pid)
    try:
        other = free_port()
        assert lab.open(other) == other and lab.proxy.pid != pid
    finally:
        lab.proxy.kill()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as once:
        return once.getsockname()[1]


def test_proxy_rewrites_what_a_browser_asks():
    host, port, head = proxy.request(
        b"GET http://203.0.113.10:81/a?b=c HTTP/1.1\r\nHost: x\r\nProxy-Connection: keep-alive")
    assert (host, port) == ("203.0.113.10", 81)
    assert head == b"GET /a?b=c HTTP/1.1\r\nConnection: close\r\nHost: x"
    assert proxy.request(b"CONNECT moodle.example:443 HTTP/1.1") == ("moodle.example", 443, b"")


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1", b"nonsense", b"GET ftp://a/ HTTP/1.1"])
def test_proxy_refuses_what_is_no_proxy_request(head):
    with pytest.raises(ValueError):
        proxy.request(head)


def test_proxy_carries_a_request_to_a_named_site(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as site, \
            socket.create_server(("127.0.0.1", 0)) as listener:
        port = site.getsockname()[1]
        child = subprocess.Popen(
            [sys.executable, ROOT / "lab/proxy.py", str(listener.fileno()),
             "moodle.test=127.0.0.1"],
            pass_fds=[listener.fileno()], start_new_session=True)
        Processes(tmp_path / "p.json").remember(child.pid)
        try:
            answers = []
            thread = threading.Thread(target=answer_once, args=(site, answers))
            thread.start()
            with socket.create_connection(listener.getsockname(), timeout=10) as client:
                client.sendall(f"POST http://moodle.test:{port}/up HTTP/1.1\r\n"
                               "Content-Length: 4\r\n\r\nbody".encode())
                got = b"".join(iter(lambda: client.recv(4096), b""))
            thread.join(timeout=10)
        finally:
            child.kill()
            child.wait()
    assert got.endswith(b"\r\n\r\nhello")
    assert answers[0].startswith(b"POST /up HTTP/1.1")
    assert answers[0].endswith(b"body")


def answer_once(site, answers):
    connection, _ = site.accept()
    with connection:
        data = b""
        while b"body" not in data:
            data += connection.recv(4096)
        answers.append(data)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")


def test_waiting_names_what_is_awaited():
    with pytest.raises(LabError, match="waited 0.05 s for the mirror; last answer: None"):
        wait_until(lambda: None, "the mirror", 0.05, pause=0.01)
    assert wait_until(lambda: 7, "nothing", 1) == 7
    deadline = Deadline(0)
    assert deadline.passed and deadline.left == 0
