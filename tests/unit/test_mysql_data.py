"""A data directory is made only where nothing is, and a power cut at any moment is mended."""

import os

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import load

MADE = ["ibdata1", "mysql", "sys"]


@pytest.fixture
def data(monkeypatch):
    module = load("_modules/mysql_data.py")
    made = []

    def initialise(directory, engine):
        module.shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory)
        for name in MADE:
            os.mkdir(os.path.join(directory, name))
        made.append(engine)

    # The engines' own tools are run by the lab; here only what surrounds them is tested.
    monkeypatch.setattr(module, "_initialise", initialise)
    module.made = made
    return module


def test_new_disk_gets_a_data_directory(data, tmp_path):
    (tmp_path / "lost+found").mkdir()
    assert data.blank(str(tmp_path)) is True
    data.initialise(str(tmp_path), "mysql")
    assert sorted(os.listdir(tmp_path)) == [*MADE[:1], "lost+found", *MADE[1:]]
    assert data.blank(str(tmp_path)) is False


def test_directory_with_data_is_never_initialised(data, tmp_path):
    (tmp_path / "mysql").mkdir()
    with pytest.raises(CommandExecutionError, match="holds a server's data"):
        data.initialise(str(tmp_path), "mysql")
    assert data.made == []


def test_directory_with_something_else_is_not_taken_for_blank(data, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(CommandExecutionError, match="photos"):
        data.blank(str(tmp_path))


def test_half_made_directory_is_thrown_away_and_made_again(data, tmp_path):
    (tmp_path / ".initialising").mkdir()
    (tmp_path / ".initialising" / "half").mkdir()
    data.initialise(str(tmp_path), "mariadb")
    assert sorted(os.listdir(tmp_path)) == MADE


@pytest.mark.parametrize("moved", range(len(MADE) + 1))
def test_power_cut_while_moving_is_completed_by_the_next_run(data, tmp_path, moved):
    complete = tmp_path / ".initialised"
    complete.mkdir()
    for count, name in enumerate(sorted(MADE, key=lambda one: one == "mysql")):
        (tmp_path / name if count < moved else complete / name).mkdir()
    assert data.blank(str(tmp_path)) is True
    data.initialise(str(tmp_path), "mysql")
    assert sorted(os.listdir(tmp_path)) == MADE
    assert data.made == []


def device(data, signatures, blank):
    data.__salt__.update(
        {
            "blockdevice.signatures": lambda name: [{"type": one} for one in signatures],
            "blockdevice.blank": lambda name: {"blank": blank, "reason": "reason told"},
        }
    )
    return data.filesystem("/dev/vdb", change=False)


def test_file_system_is_made_on_a_blank_device_only(data):
    assert device(data, [], True) is True
    assert device(data, ["ext4"], False) is False
    for signatures, blank in ((["LVM2_member"], False), ([], None)):
        with pytest.raises(CommandExecutionError, match="reason told"):
            device(data, signatures, blank)
