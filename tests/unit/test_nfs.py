"""The NFS server's view, against what nfs-utils and the kernel really printed."""

import socket
import threading
import time

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import ROOT, load

DATA = ROOT / "tests/data/nfs-utils-2.8.3"


def text(name):
    return (DATA / name).read_text(encoding="ascii")


@pytest.fixture
def nfs(tmp_path, monkeypatch):
    """The module over a folder in the place of /proc/fs/nfsd, noting commands in ``nfs.ran``."""
    module = load("_modules/nfs.py")
    module.ran, module.answers = [], {}

    def run(*command):
        module.ran.append(command)
        answer = module.answers.get(command, "")
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(module, "_run", run)
    monkeypatch.setattr(module, "KERNEL", str(tmp_path))
    return module


@pytest.fixture
def serving(nfs, tmp_path):
    for name, content in {
        "threads": "24\n",
        "nfsv4leasetime": "10\n",
        "nfsv4gracetime": "10\n",
        "versions": text("versions"),
        "v4_end_grace": "Y\n",
    }.items():
        (tmp_path / name).write_text(content, encoding="ascii")
    client = tmp_path / "clients" / "3"
    client.mkdir(parents=True)
    (client / "info").write_text(text("client-info"), encoding="ascii")
    return nfs


def test_a_serving_server(serving):
    assert serving.status() == {
        "threads": 24,
        "lease": 10,
        "grace": 10,
        "versions": ["4", "4.1", "4.2"],
        "in_grace": False,
        "clients": 1,
    }


def test_grace_is_told_from_its_end(serving, tmp_path):
    (tmp_path / "v4_end_grace").write_text("N\n", encoding="ascii")
    assert serving.status()["in_grace"] is True
    (tmp_path / "v4_end_grace").unlink()
    assert serving.status()["in_grace"] is None


def test_a_server_never_loaded_has_no_threads_and_no_clients(nfs):
    assert nfs.threads() == 0
    assert nfs.clients() == []
    assert nfs.status()["in_grace"] is None


def test_unreadable_threads_are_not_zero(nfs, tmp_path):
    (tmp_path / "threads").write_text("what\n", encoding="ascii")
    with pytest.raises(CommandExecutionError, match="threads"):
        nfs.threads()


def test_clients_are_named_with_their_address(serving):
    assert serving.clients() == [
        {
            "address": "192.168.10.108",
            "name": "Linux NFSv4.2 web1",
            "status": "confirmed",
            "renewed": 5,
        }
    ]


def test_a_client_that_just_left_is_no_error(serving, tmp_path):
    (tmp_path / "clients" / "4").mkdir()
    assert len(serving.clients()) == 1


def test_a_client_without_an_address_raises(nfs):
    with pytest.raises(CommandExecutionError, match="address"):
        nfs._parse_client("clientid: 0x1\nname: x\n")


def test_exports_are_read_with_their_options(nfs):
    nfs.answers["exportfs", "-s"] = text("exportfs-s")
    first, second = nfs.exports()
    assert (first["path"], first["client"]) == ("/srv/files/moodledata", "192.168.10.108")
    assert {"fsid=0", "root_squash", "mountpoint=/srv/files"} <= set(second["options"])


def test_nothing_exported_is_an_empty_list(nfs):
    assert nfs.exports() == []


def test_an_export_line_not_understood_raises(nfs):
    nfs.answers["exportfs", "-s"] = "/srv/files/moodledata everyone\n"
    with pytest.raises(CommandExecutionError, match="not understood"):
        nfs.exports()


def test_a_failed_start_says_why(nfs):
    """systemctl alone says only that a unit failed and where to look."""
    nfs.answers["systemctl", "restart", nfs.UNIT] = CommandExecutionError("systemctl: failed")
    journal = ("journalctl", "--no-pager", "--output=cat", "--lines=5", "--unit", nfs.UNIT)
    nfs.answers[journal] = "rpc.nfsd: address already in use\n"
    with pytest.raises(CommandExecutionError, match="address already in use"):
        nfs.start()


def test_start_and_stop_name_only_our_unit(nfs):
    nfs.start()
    nfs.stop()
    assert nfs.ran == [("systemctl", "restart", nfs.UNIT), ("systemctl", "stop", nfs.UNIT)]


class Listener:
    """A server on a port of this machine that gives a recorded answer to every call, or none."""

    def __init__(self, answer):
        self.answer, self.heard = bytes.fromhex(text(answer)) if answer else None, b""
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        self.link, _ = self.socket.accept()  # kept: one that is closed is an answer, too
        self.heard = self.link.recv(64)
        if self.answer:
            self.link.sendall(self.answer)


@pytest.fixture
def answering(serving, monkeypatch):
    def start(answer):
        listener = Listener(answer)
        monkeypatch.setattr(serving, "PORT", listener.port)
        monkeypatch.setattr(serving, "ANSWER", 20 if answer else 0.2)
        monkeypatch.setattr(serving, "_daemon", lambda unit, name: "runs")
        return listener

    return start


def test_a_server_that_answers_has_no_fault(serving, answering):
    listener = answering("null-reply.hex")
    assert serving.fault() is None
    assert listener.heard[:4] == bytes([0x80, 0, 0, 40]) and len(listener.heard) == 44


def test_a_silent_or_unwilling_server_is_named_within_its_time(serving, answering):
    silent = answering(None)
    assert "does not answer within 0.2 s" in serving.fault()
    assert silent.heard
    answering("null-reply-version-mismatch.hex")
    assert serving.fault() == "the server refused the call (0, 2)"


def test_without_threads_nothing_is_asked(nfs):
    assert nfs.fault() == "no server threads run"


@pytest.mark.parametrize(
    ("process", "state"),
    [
        ("908 (rpc.mountd) S 1 908", "runs"),
        ("908 (rpc.mountd) T 1 908", "is stopped"),
        ("908 (sh) S 1 908", "is not there"),
        (None, "is not there"),
    ],
)
def test_a_daemon_that_hangs_is_told_from_one_that_runs(nfs, tmp_path, monkeypatch, process, state):
    monkeypatch.setattr(nfs, "CGROUPS", str(tmp_path))
    monkeypatch.setattr(nfs, "PROCESSES", str(tmp_path / "proc"))
    (tmp_path / "proc/908").mkdir(parents=True)
    (tmp_path / nfs.DAEMONS).mkdir()
    (tmp_path / nfs.DAEMONS / "cgroup.procs").write_text("907\n908\n")
    if process:
        (tmp_path / "proc/908/stat").write_text(f"{process} 908 0 -1\n")
    assert nfs._daemon(nfs.DAEMONS, "rpc.mountd") == state


def test_a_restart_kills_what_hangs_and_waits_for_an_answer(nfs, monkeypatch):
    found = ["no server threads run", None]
    monkeypatch.setattr(nfs, "fault", lambda: found.pop(0))
    nfs.restart(time.time() + 5)
    assert nfs.ran == [
        ("systemctl", "kill", "--signal=KILL", "files-mountd.service", "files-nfs.service"),
        ("systemctl", "restart", "files-mountd.service"),
        ("systemctl", "restart", "files-nfs.service"),
    ]


@pytest.mark.parametrize("left", [False, True])
def test_what_a_killed_server_left_mounted_goes_with_a_stop(nfs, monkeypatch, left):
    """systemd runs nothing for a unit that has ended already; DRBD's device would stay open."""
    monkeypatch.setattr(nfs.os.path, "ismount", lambda path: left and path == "/var/lib/nfs")
    nfs.stop()
    after = [("/usr/local/lib/cluster/files-nfs.sh", "stopped")]
    assert nfs.ran == [("systemctl", "stop", "files-nfs.service"), *(after if left else [])]


def test_a_restart_that_did_not_help_raises_at_the_deadline(nfs, monkeypatch):
    monkeypatch.setattr(nfs, "fault", lambda: "rpc.mountd is stopped")
    with pytest.raises(CommandExecutionError, match="and yet: rpc.mountd is stopped"):
        nfs.restart(time.time() - 1)
