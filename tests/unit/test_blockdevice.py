"""Whether a device is blank, on real loop devices; and what wipefs said about DRBD's."""

import os
import subprocess

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import ROOT, load

DATA = ROOT / "tests/data/util-linux-2.41"
SIZE = 8 * 2**20

blockdevice = load("_modules/blockdevice.py")


@pytest.fixture
def loop(tmp_path):
    """A blank loop device; skipped where the machine gives none."""
    image = tmp_path / "disk"
    with open(image, "wb") as file:
        file.truncate(SIZE)
    made = subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"needs root and loop devices: {made.stderr.strip()}")
    yield made.stdout.strip()
    subprocess.run(["losetup", "-d", made.stdout.strip()], check=True)


def write(device, offset):
    with open(device, "r+b") as file:
        file.seek(offset)
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())


def test_a_device_of_zeros_is_blank(loop):
    assert blockdevice.blank(loop)["blank"] is True
    assert blockdevice.signatures(loop) == []


@pytest.mark.parametrize(("offset", "where"), [(2**20 - 1, "first"), (SIZE - 1, "last")])
def test_a_byte_at_either_end_is_not_blank(loop, offset, where):
    write(loop, offset)
    answer = blockdevice.blank(loop)
    assert answer["blank"] is False
    assert where in answer["reason"]


def test_a_file_system_is_named(loop):
    subprocess.run(["mkfs.ext4", "-q", loop], check=True)
    answer = blockdevice.blank(loop)
    assert answer["blank"] is False
    assert "ext4" in answer["reason"]


def test_a_device_in_use_is_not_taken_for_blank(loop):
    holder = os.open(loop, os.O_RDONLY | os.O_EXCL)
    try:
        assert blockdevice.blank(loop)["blank"] is None
    finally:
        os.close(holder)


@pytest.mark.parametrize("path", ["/nonexistent", "/etc/hostname", "/dev/null"])
def test_what_cannot_be_examined_is_unknown(path):
    assert blockdevice.blank(path)["blank"] is None


def test_an_unreadable_device_raises():
    with pytest.raises(CommandExecutionError, match="/nonexistent"):
        blockdevice.signatures("/nonexistent")


@pytest.mark.parametrize(
    ("name", "types"), [("drbd", ["drbd", "ext4"]), ("ext4", ["ext4"]), ("blank", [])]
)
def test_recorded_signatures(name, types):
    text = (DATA / f"wipefs-{name}.json").read_text(encoding="ascii")
    assert [entry["type"] for entry in blockdevice._parse(text)] == types


def test_an_answer_without_types_raises():
    with pytest.raises(CommandExecutionError, match="not understood"):
        blockdevice._parse('{"signatures": [{"offset": "0x0"}]}')
