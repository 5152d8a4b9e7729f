"""`bin/lab down` leaves nothing behind."""

import os
import time
from pathlib import Path

import pytest

from tests.lab.conftest import NAME
from tests.loading import ROOT


def processes(word):
    """Return the command lines of all processes that carry ``word``, but ours."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line and int(path.parent.name) not in (os.getpid(), os.getppid()):
            found.append(line)
    return found


@pytest.mark.own_lab
def test_down_takes_seconds_and_leaves_no_process_network_mount_or_file(bin_lab, cluster):
    lab = cluster.lab
    assert processes(lab.id)
    started = time.monotonic()
    done = bin_lab("down")
    took = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    print(f"down: {took:.1f} s")
    assert took <= 15
    assert processes(lab.id) == [] and processes(str(lab.run_folder)) == []
    assert not [path for path in Path("/run/netns").glob("*") if lab.id in path.name]
    assert lab.id not in Path("/proc/mounts").read_text()
    assert not lab.sockets.exists() and not lab.run_folder.exists()
    assert not list(ROOT.glob(f".lab/*{NAME}*"))
    assert bin_lab("down").returncode == 0  # there is nothing left to be missed
