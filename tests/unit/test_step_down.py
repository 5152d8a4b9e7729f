"""The step-down hook: whoever hears a higher epoch is passive, whatever else is at work here."""

import fcntl
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from tests.loading import ROOT, load

PROGRAM = ROOT / "salt/heartbeat/files/step_down.py"
ADDRESSES = [{"address": "192.168.10.5", "prefix": 24, "interface": "eth1"},
             {"address": "203.0.113.10", "prefix": 24, "interface": "eth0"}]  # fmt: skip
RUN = """
import sys
sys.path.insert(0, sys.argv[1])
import step_down
for name in ("CONFIGURATION", "CLAIMS", "HELD", "OWN"):
    setattr(step_down, name, sys.argv[2] + "/" + name)
step_down.LONGEST, step_down.WAIT = 1, 1
step_down.say = print
step_down.reboot = lambda: (_ for _ in ()).throw(OSError("reboot"))
sys.exit(0 if step_down.main(*sys.argv[3:]) else 1)
"""


class Vm:
    """A VM in a network namespace of its own that holds ``files`` at epoch 3."""

    def __init__(self, folder):
        self.folder, self.net = folder, f"sd{os.getpid()}"
        for name in ("CLAIMS", "HELD", "OWN"):
            (folder / name).mkdir()
        self.claim = load("_modules/claim.py")
        self.claim.DIRECTORY, self.claim.HELD = str(folder / "CLAIMS"), str(folder / "HELD")
        self.claim.take("files", 3, time.time() + 60)
        self.claim.mirroring("files", 3, time.time() + 60, 77)
        self.claim.hold("files", 3)
        (folder / "CONFIGURATION").write_text(json.dumps({"files": ADDRESSES}))

    def __enter__(self):
        subprocess.run(["ip", "netns", "add", self.net], check=True)
        for name in ("eth0", "eth1"):
            self.ip("link", "add", name, "type", "veth", "peer", f"{name}peer")
        for entry in ADDRESSES:
            self.add(entry)
        return self

    def __exit__(self, *_):
        subprocess.run(["ip", "netns", "delete", self.net], check=True)

    def ip(self, *words):
        done = subprocess.run(["ip", "-n", self.net, *words], check=True, capture_output=True)
        return done.stdout.decode()

    def add(self, entry):
        self.ip("addr", "add", f"{entry['address']}/{entry['prefix']}", "dev", entry["interface"])

    def addresses(self):
        shown = self.ip("-o", "-4", "addr", "show")
        return [entry["address"] for entry in ADDRESSES if f"{entry['address']}/" in shown]

    def part(self, text):
        """Give the resource a program of its own."""
        path = self.folder / "OWN/files"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def step_down(self, heard=4):
        """Return (whether it succeeded, what it said)."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.net, sys.executable, "-c", RUN, PROGRAM.parent,
             self.folder, "files", "3", str(heard)], capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert done.stderr == ""
        return done.returncode == 0, done.stdout

    def note(self):
        return json.loads((self.folder / "CLAIMS/files.json").read_text())


@pytest.fixture
def vm(tmp_path):
    with Vm(tmp_path) as vm:
        yield vm


def test_addresses_claim_own_part_and_note_all_go(vm):
    vm.part(f'echo "$@" > {vm.folder}/ran; ls {vm.folder}/HELD >> {vm.folder}/ran')
    assert vm.step_down()[0]
    assert vm.addresses() == []
    assert vm.note() == {"epoch": 4, "mirroring": 77, "alone": 0, "settled": False}
    assert (vm.folder / "ran").read_text() == "files 4\nfiles.json\n"  # still held until it ended
    assert vm.claim.held("files") == 0
    with pytest.raises(Exception, match="epoch 3 is over"):
        vm.claim.take("files", 3, time.time() + 60)


def test_it_is_repeatable(vm):
    vm.part("exit 0")
    assert [vm.step_down()[0] for _ in range(2)] == [True, True]
    assert vm.claim.seen("files") == 4


def test_a_vm_without_configuration_or_own_part_steps_down_too(vm):
    (vm.folder / "CONFIGURATION").write_text("{}")
    assert vm.step_down()[0]
    assert vm.claim.held("files") == 0


def test_a_part_that_fails_leaves_the_note_so_that_it_is_tried_again(vm):
    vm.part("exit 3")
    done, said = vm.step_down()
    assert (done, vm.addresses(), vm.claim.held("files")) == (False, [], 3)
    assert "failed with 3" in said
    vm.part("exit 0")
    assert vm.step_down()[0]


def test_a_part_that_hangs_reboots_the_vm(vm):
    vm.part("exec sleep 20")
    done, said = vm.step_down()
    assert not done
    assert "did not end within 1 s; rebooting" in said
    assert vm.addresses() == []


def test_no_step_is_left_out_because_one_failed(vm):
    """A disk that is full or read-only must not keep a VM active."""
    (vm.folder / "CONFIGURATION").write_text("{tor")
    vm.part(f"touch {vm.folder}/ran")
    assert vm.step_down()[0] is False
    assert (vm.folder / "ran").exists()
    assert vm.claim.seen("files") == 4


def test_a_vm_that_was_asked_to_serve_again_meanwhile_goes_on(vm):
    vm.claim.take("files", 5, time.time() + 60)
    vm.claim.hold("files", 5)
    assert vm.step_down(heard=4)[0]
    assert len(vm.addresses()) == 2
    assert vm.claim.held("files") == 5


def test_a_vm_that_gave_up_meanwhile_is_left_alone(vm):
    """heartbeatd heard of the successor of a planned move before it looked at its own notes."""
    vm.part(f"touch {vm.folder}/ran")
    vm.claim.release("files")
    assert vm.step_down()[0]
    assert not (vm.folder / "ran").exists()


def test_an_older_activation_at_work_loses_its_addresses_at_once_and_at_its_end(vm):
    with vm.claim.role("files", time.time() + 60):
        done, said = vm.step_down()
        assert not done
        assert "still at work" in said
        assert vm.addresses() == []
        assert vm.claim.seen("files") == 4
        for entry in ADDRESSES:
            vm.add(entry)  # it had claimed before, and goes on
    assert vm.step_down()[0]
    assert vm.addresses() == []


def test_a_newer_command_at_work_is_left_alone_and_waited_for(vm):
    """It claimed epoch 4 already: its own activation may just be adding the addresses."""
    lock = open(vm.folder / "CLAIMS/files.json.role.lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    vm.claim.take("files", 4, time.time() + 60)

    def finish():
        vm.claim.hold("files", 4)
        lock.close()

    threading.Timer(0.5, finish).start()
    assert vm.step_down()[0]
    assert len(vm.addresses()) == 2
    assert vm.claim.held("files") == 4


def test_the_program_runs_without_salt_and_says_what_is_wrong_by_its_exit_code(tmp_path):
    done = subprocess.run(["/usr/bin/python3", "-EsS", PROGRAM], capture_output=True, timeout=20)
    assert done.returncode == 1
    assert done.stderr == b""
