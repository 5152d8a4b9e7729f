"""The scripts that DRBD and heartbeatd call, run by a real shell on recorded output."""

import os
import subprocess
import time

import pytest

from tests.loading import ROOT

FILES = ROOT / "salt/file/files"
DATA = ROOT / "tests/data/drbd-utils-9.22-kernel-8.4.11"


class Host:
    """A folder in the place of /; tools only note that they were called, and fail if told to."""

    def __init__(self, folder):
        self.root, self.bin = folder, folder / "bin"
        for path in ("bin", "run/cluster/verdict", "proc", "sys/module/drbd", "var/lib/cluster"):
            (folder / path).mkdir(parents=True)
        (folder / "proc/sysrq-trigger").touch()
        (folder / "proc/uptime").write_text("1000.25 900.00\n")
        for name in ("logger", "systemctl", "umount", "drbdadm", "mountpoint", "sync"):
            self.tool(name)

    def tool(self, name, body="", code=0):
        file = self.bin / name
        file.write_text(f'#!/bin/sh\necho {name} "$@" >> {self.root}/ran\n{body}\nexit {code}\n')
        file.chmod(0o755)

    def run(self, script, **environment):
        text = (FILES / script).read_text(encoding="utf-8")
        for path in ("/run/cluster", "/proc/", "/sys/module", "/var/lib/cluster"):
            text = text.replace(f" {path}", f" {self.root}{path}").replace(
                f"={path}", f"={self.root}{path}"
            )
        (self.root / "ran").unlink(missing_ok=True)
        environment = {"PATH": f"{self.bin}:{os.environ['PATH']}", **environment}
        return subprocess.run(["sh", "-c", text], env=environment, check=False).returncode

    @property
    def ran(self):
        file = self.root / "ran"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if not line.startswith(("logger", "mountpoint"))]

    @property
    def rebooted(self):
        return (self.root / "proc/sysrq-trigger").read_text() == "b\n"

    def drbd(self, state, side="file1"):
        self.tool("drbdsetup", f"cat {DATA}/{state}.{side}.events2")


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_the_peer_is_out_only_by_a_permission_that_still_counts(host):
    assert host.run("fence-peer.sh", DRBD_RESOURCE="r0") == 1
    verdict = host.root / "run/cluster/verdict/files"
    for until, code in ((1010, 7), (1000, 1), (990, 1)):
        verdict.write_text(f"{until} epoch 4 revision 7\n")
        assert host.run("fence-peer.sh", DRBD_RESOURCE="r0") == code
    verdict.write_text("")
    assert host.run("fence-peer.sh", DRBD_RESOURCE="r0") == 1


def test_stepping_down_ends_nfs_mount_and_role_in_this_order(host):
    host.drbd("connected-primary")
    assert host.run("step-down.sh") == 0
    assert host.ran[-3:] == [
        "systemctl stop files-nfs",
        "umount /srv/files",
        "drbdadm secondary r0",
    ]
    assert not host.rebooted


def test_stepping_down_again_is_harmless(host):
    host.drbd("connected-primary", "file2")
    host.tool("mountpoint", code=1)
    assert host.run("step-down.sh") == 0
    assert host.ran[1:] == ["systemctl stop files-nfs"]


def test_suspended_writes_end_by_a_reboot_that_waits_for_nothing(host):
    """`systemctl reboot -ff` syncs first, which never ends while writes are suspended."""
    host.drbd("link-cut-io-suspended")
    begun = time.monotonic()
    assert host.run("step-down.sh") == 1
    assert host.rebooted and time.monotonic() - begun < 2
    assert not {"systemctl stop files-nfs", "umount /srv/files"} & set(host.ran)


@pytest.mark.parametrize("broken", ["systemctl", "umount", "drbdadm"])
def test_what_does_not_end_is_rebooted(host, broken):
    host.drbd("connected-primary")
    host.tool(broken, code=1)
    assert host.run("step-down.sh") == 1
    assert host.rebooted


@pytest.mark.parametrize("busy", ["umount", "drbdadm"])
def test_what_is_busy_for_a_moment_is_waited_for(host, busy):
    host.drbd("connected-primary")
    host.tool(busy, f"[ $(grep -c '^{busy}' {host.root}/ran) -gt 3 ] || exit 32")
    assert host.run("step-down.sh") == 0
    assert not host.rebooted


def test_a_drbd_that_does_not_answer_counts_as_primary_if_the_kernel_says_so(host):
    host.tool("drbdsetup", code=137)
    (host.root / "proc/drbd").write_text(" 0: cs:WFConnection ro:Primary/Unknown ds:UpToDate\n")
    assert host.run("step-down.sh") == 1
    assert host.rebooted


def test_a_failed_disk_is_noted_where_it_lasts(host):
    assert host.run("local-io-error.sh", DRBD_RESOURCE="r0") == 0
    note = host.root / "var/lib/cluster/files.behind"
    assert "I/O error of r0" in note.read_text()
    assert host.ran == [f"sync {note}"]


MOUNTS = """
set -e
mount -t tmpfs none /srv && mkdir -p /srv/files/nfs
mount -t tmpfs none /var/lib && mkdir /var/lib/nfs
mkdir /srv/bin
for name in nfsdcld exportfs rpc.nfsd; do ln -s /bin/true /srv/bin/$name; done
export PATH=/srv/bin:$PATH
sh -e "$0" start
sh -e "$0" start
sh -e "$0" stopped
grep -c files/nfs /proc/self/mountinfo || true
"""


def test_a_server_that_was_killed_leaves_no_mount_for_the_next_stop():
    """Killed, systemd runs no ExecStopPost; two mounts on top of each other outlived a stop."""
    script = ROOT / "salt/file/files/files-nfs.sh"
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", MOUNTS, script], capture_output=True,
                          text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
