"""What beacons have before a master was reached."""

import json

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
    kept.__pillar__["cluster"] = {"name": "new"}
    (tmp_path / "pillar.json").write_text(json.dumps({"cluster": {"name": "old"}}))
    assert kept.pillar() is True
    assert kept.__pillar__["cluster"]["name"] == "new"


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
