"""What judges a fault's aftermath, on small data; and the walk, which is the same for one seed."""

import random
import subprocess
from types import SimpleNamespace

import pytest

from lab import judge, ordeal, walk

SIZE = 8 * judge.BLOCK


def disk(path, **blocks):
    with path.open("wb") as file:
        file.truncate(SIZE)
        for number, text in blocks.items():
            file.seek(int(number[1:]) * judge.BLOCK)
            file.write(text)
    return path


def test_disks_are_compared_without_their_holes(tmp_path):
    a = disk(tmp_path / "a", b1=b"one", b5=b"five")
    assert judge.differences(a, disk(tmp_path / "b", b1=b"one", b5=b"five"), SIZE) == []
    assert judge.differences(a, disk(tmp_path / "c", b1=b"One"), SIZE) == [
        judge.BLOCK, 5 * judge.BLOCK]
    assert judge.differences(a, disk(tmp_path / "d", b1=b"one", b5=b"five", b6=b"\0"), SIZE) == []


def test_what_lies_behind_the_device_is_drbds_own(tmp_path):
    a, b = disk(tmp_path / "a", b7=b"map"), disk(tmp_path / "b", b7=b"pam")
    assert judge.differences(a, b, SIZE - judge.BLOCK) == []


@pytest.mark.parametrize("line, forbidden", [
    ("lb2 kernel: BUG: kernel NULL pointer dereference", True),
    ("file1 kernel: Out of memory: Killed process 512 (salt-minion)", True),
    ("lb2 sshd-session[960]: fatal: ssh_packet_send_debug: send DEBUG: Broken pipe", False),
    ("lb1 salt-master[51]: [DEBUG   ] nothing to do", False),
])
def test_a_word_of_horror_is_told_from_one_that_contains_it(line, forbidden):
    pattern = "|".join(judge.FORBIDDEN.values())
    found = subprocess.run(["grep", "-aE", pattern], input=line, text=True, capture_output=True,
                           check=False)
    assert (found.returncode == 0) is forbidden


def test_only_tracebacks_through_our_own_code_are_ours():
    text = ('Traceback (most recent call last):\n  File "/opt/salt/x.py", line 1\n    a()\n'
            'OSError: gone\nfine\n'
            'Traceback (most recent call last):\n  File "/srv/cluster/_modules/y.py", line 1\n'
            'KeyError: 1\n')
    found = judge.tracebacks(text)
    assert len(found) == 2
    assert [bool(judge.OURS.search(trace)) for trace in found] == [False, True]


def test_the_cluster_is_whole_when_all_serve_mirrored():
    def status(**changes):
        seen = {"record": {"mirrored": True, "holder": "db1"}, "right": True} | changes
        return {"resources": {"database": seen, "director": {
            "record": {"mirrored": False}, "right": True}}}

    assert ordeal.healed(status())
    assert not ordeal.healed(status(right=False))
    assert not ordeal.healed(status(record={"mirrored": False}))
    assert not ordeal.healed(status(record="the arbiter does not answer"))
    assert not ordeal.healed(None) and not ordeal.healed({"status": "…", "retcode": 1})


def test_a_status_is_worth_asking_for_when_all_are_up_and_both_copies_follow():
    def view(vm="db1", state="up", **health):
        peers = {name: {"state": "up", "health": {}} for name in ("lb1", "web1")}
        peers["db2"] = {"state": "up", "health": {"database.following": None}}
        peers["file2"] = {"state": "up", "health": {"files.mirror": True, "files.following": None}}
        peers["db1"] = {"state": "up", "health": {"database.following": True}}
        peers["file1"] = {"state": "up", "health": {"files.following": True}}
        peers[vm]["state"] = state
        peers[vm]["health"].update({key.replace("_", "."): value for key, value in health.items()})
        return {"peers": peers}

    assert ordeal.promising(view())
    assert not ordeal.promising(view("web1", "late"))
    assert not ordeal.promising(view(database_following=False))
    assert not ordeal.promising(view("file1", files_following=None))
    assert not ordeal.promising(view("file2", files_mirror=False))
    assert not ordeal.promising({}) and not ordeal.promising(None)


class Nothing:
    """An ordeal that only notes what it was told."""

    def __init__(self):
        self.told, self.problems = [], []
        self.watch = SimpleNamespace(violations=[])
        vms = {name: SimpleNamespace(name=name, role=role, running=True, paused=False)
               for name, role in (("lb1", "balancer"), ("db1", "database"),
                                  ("web1", "web"), ("file1", "file"))}
        link = SimpleNamespace(interface="eth1")
        self.lab = SimpleNamespace(machines=vms, servers={"server1": None},
                                   network=SimpleNamespace(links=lambda owner: [link]),
                                   serial=SimpleNamespace(vms=["db1"]))

    def standby(self, resource):
        return f"standby of {resource}"

    def __getattr__(self, verb):
        return lambda *words: self.told.append((verb, *words))


def test_a_walk_is_the_same_for_the_same_seed():
    told = []
    for _ in range(2):
        nothing, chance = Nothing(), random.Random(7)
        for kind in chance.choices([*walk.KINDS], k=60):
            assert all(seconds > 0 for seconds in kind(nothing, chance))
        told.append(nothing.told)
    assert told[0] == told[1]
    assert {verb for verb, *_ in told[0]} >= {"crash", "start", "pause", "resume", "cut", "heal"}
