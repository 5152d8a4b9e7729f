"""What beacons have before a master was reached."""

import json
import os
import time

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import load


@pytest.fixture
def kept(tmp_path):
    module = load("_modules/boot.py", pillar={}, opts={"extension_modules": str(tmp_path / "ext")})
    module.PILLAR = str(tmp_path / "pillar.json")
    return module


def test_without_a_copy_there_is_no_pillar(kept):
    assert kept.pillar() is False


def test_the_copy_stands_in_for_the_master(kept, tmp_path):
    (tmp_path / "pillar.json").write_text(json.dumps({"cluster": {"name": "a"}, "secrets": {}}))
    assert kept.pillar() is True
    assert kept.__pillar__["cluster"]["name"] == "a"


def test_what_the_master_said_is_not_replaced(kept, tmp_path):
    kept.__pillar__.update(cluster={"name": "new"}, secrets={})
    (tmp_path / "pillar.json").write_text(json.dumps({"cluster": {"name": "old"}}))
    assert kept.pillar() is True
    assert kept.__pillar__["cluster"]["name"] == "new"


def test_a_wrong_pillar_comes_without_secrets_and_the_copy_stands_in_for_it(kept, tmp_path):
    """One that boots then would follow nobody. State runs are refused all the same."""
    kept.__pillar__.update(cluster={"name": "wrong"}, _errors=["wrong"])
    assert kept.pillar() is True, "without a copy it is better than nothing"
    (tmp_path / "pillar.json").write_text(json.dumps({"cluster": {"name": "old"}, "secrets": {}}))
    assert kept.pillar() is True
    assert kept.__pillar__ == {"cluster": {"name": "old"}, "secrets": {}, "_errors": ["wrong"]}


def test_a_damaged_copy_is_named(kept, tmp_path):
    (tmp_path / "pillar.json").write_text("{")
    with pytest.raises(CommandExecutionError, match="pillar.json"):
        kept.pillar()


def test_the_hash_follows_the_code_and_nothing_else(kept, tmp_path):
    empty = kept.code()
    folder = tmp_path / "ext/beacons"
    folder.mkdir(parents=True)
    (folder / "drbd.py").write_text("1")
    first = kept.code()
    (folder / "drbd.cpython-313.pyc").write_bytes(b"x")
    assert empty != first == kept.code()
    (folder / "drbd.py").write_text("2")
    assert kept.code() != first


def test_a_master_is_older_than_code_that_came_after_its_start(kept, tmp_path):
    kept.TREE, kept.STARTED = str(tmp_path), str(tmp_path / "pid")
    for folder in ("_modules", "reactor", "pillar"):
        (tmp_path / folder).mkdir()
    code = tmp_path / "_modules/copies.py"
    code.write_text("old")
    assert kept.master_is_older() is False, "no master runs"
    time.sleep(0.02)  # two ticks of the kernel's clock for files
    (tmp_path / "pid").write_text("1")
    assert kept.master_is_older() is False
    time.sleep(0.02)
    (tmp_path / "pillar/local.sls").write_text("a change of the pillar needs no restart")
    assert kept.master_is_older() is False
    code.write_text("new")
    os.utime(code, (0, 0))  # as of the archive it came in
    assert kept.master_is_older() is True
