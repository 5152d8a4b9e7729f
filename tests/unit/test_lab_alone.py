"""Two benches of one lab would count each other's faults."""

import subprocess
import sys

import pytest

from lab.alone import alone
from lab.errors import LabError
from lab.ordeal import Ordeal

HOLD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from lab.alone import alone
with alone(Path(sys.argv[1]), "held"):
    print("holds", flush=True)
    time.sleep(60)
"""


class Lab:
    cluster, machines = {"addresses": {}}, {}

    def __init__(self, folder, root):
        self.name, self.run_folder, self.root = "default", folder, root


@pytest.fixture
def other(tmp_path, pytestconfig):
    """Another process that holds the lock."""
    words = [sys.executable, "-c", HOLD, tmp_path / "ordeal.lock", pytestconfig.rootpath]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


@pytest.fixture
def ordeal(tmp_path, pytestconfig):
    return lambda: Ordeal(Lab(tmp_path, pytestconfig.rootpath), tmp_path)


def test_a_second_bench_is_refused_before_it_does_anything(ordeal, other):
    with pytest.raises(LabError, match="another bench or test of the lab 'default' is running"):
        ordeal().__enter__()


def test_a_killed_process_leaves_no_lock_behind(tmp_path, other):
    other.kill()
    other.wait()
    with alone(tmp_path / "ordeal.lock", "held"):
        pass


def test_what_fails_at_the_beginning_lets_the_next_one_begin(ordeal, monkeypatch):
    def broken(ordeal):
        raise LabError("the client does not start")

    monkeypatch.setattr(Ordeal, "_begin", broken)
    for _ in range(2):
        with pytest.raises(LabError, match="does not start"):
            ordeal().__enter__()
