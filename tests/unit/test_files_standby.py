"""What a split brain would drop is saved, named, and not dropped where it cannot be saved."""

import json
import os
import time

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import load

DAY = 86400


class Standby:
    def __init__(self, folder, monkeypatch):
        self.folder, self.done = folder, []
        self.states = []
        self.generations = ["C38409FE547CC329", "5A"]  # before and after it was looked at
        salt = {
            "drbd.status": lambda name: self.state(),
            "drbd.connect": lambda name, discard_my_data: self.note("connect", discard_my_data),
            "drbd.promote": lambda name: self.note("promote"),
            "drbd.demote": lambda name: self.note("demote"),
            "drbd.generation": lambda name: {"current": self.generations.pop(0)},
            "files_data.up": self.state,
            "heartbeat.unreachable": lambda vm: self.gone,
            "files_data.permitted": lambda epoch, why: open(os.devnull),
        }
        self.module = load("_modules/files_standby.py", salt)
        for name in ("LOOK", "SAVED", "SINCE"):
            monkeypatch.setattr(self.module, name, str(folder / name.lower()))
        monkeypatch.setattr(self.module, "_run", self.note)
        monkeypatch.setattr(self.module.log, "propagate", False)
        self.look = folder / "look"
        (self.look / "moodledata/ünï code").mkdir(parents=True)
        (self.look / "moodledata/ünï code/new").write_text("new")
        (self.look / "moodledata/link").symlink_to("nowhere")

    gone = False

    def note(self, *words):
        self.done.append(words[0] if words[0] != "mount" else f"mount {words[4]}")
        if words[0] == "connect":
            self.done[-1] += ", discarding" if words[1] else ""

    def state(self):
        connection, split = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"connection": connection, "split_brain": split, "reason": connection}

    def join(self, *states, seconds=5):
        self.states = list(states)
        return self.module.join("file2", 5, time.time() + seconds)


@pytest.fixture
def standby(tmp_path, monkeypatch):
    return Standby(tmp_path, monkeypatch)


SPLIT, WAITING, DONE = ("StandAlone", True), ("Connecting", False), ("Connected", False)


def test_a_split_brain_is_saved_before_it_is_dropped(standby):
    report = standby.join(SPLIT, WAITING, DONE)
    assert standby.done == ["promote", "mount ro", "umount", "demote", "connect, discarding"]
    kept = report["directory"] + "/data/moodledata"
    with open(f"{kept}/ünï code/new", encoding="utf-8") as file:
        assert file.read() == "new"
    assert os.readlink(f"{kept}/link") == "nowhere"
    assert (report["files"], report["generation"]["current"]) == (2, "C38409FE547CC329")
    with open(f"{report['directory']}/report.json", encoding="utf-8") as file:
        told = json.load(file)
    assert sorted(told["names"]) == ["moodledata/link", "moodledata/ünï code/new"]
    assert "file2 holds epoch 5" in told["reason"]


def test_what_is_saved_already_is_not_saved_again(standby):
    with pytest.raises(CommandExecutionError, match="file2 does not answer"):
        standby.join(SPLIT, WAITING, WAITING, seconds=0.2)
    (first,) = standby.module.saved()
    standby.done.clear()
    standby.generations = ["5A"]
    report = standby.join(SPLIT, DONE)
    assert standby.done == ["connect, discarding"]
    assert (report["directory"], report["files"]) == (first, 2)
    standby.generations = ["6B", "6B"]  # written to since then
    os.rename(first, f"{first}-before")  # a second has not passed
    assert standby.join(SPLIT, DONE)["files"] == 2
    assert len(standby.module.saved()) == 2


def test_who_died_is_not_waited_for(standby):
    """Its successor is this VM, and cannot begin before this command has ended."""
    standby.gone = True
    with pytest.raises(CommandExecutionError, match="file2 does not answer"):
        standby.join(WAITING, seconds=120)


@pytest.mark.parametrize("states", [[DONE], [WAITING, DONE], [("StandAlone", None), DONE]])
def test_nothing_is_saved_or_dropped_without_a_split_brain(standby, states):
    assert standby.join(*states) is None
    assert set(standby.done) <= {"connect"}


@pytest.mark.parametrize(("days", "files"), [(1, 0), (-1, 2)])
def test_only_what_changed_since_both_were_the_same_is_saved(standby, days, files):
    since = standby.folder / "since"
    since.touch()
    os.utime(since, (time.time() + days * DAY, time.time() + days * DAY))
    report = standby.join(SPLIT, DONE)
    assert report["files"] == files
    assert standby.module.saved() == [report["directory"]]


def test_without_room_nothing_is_dropped(standby, monkeypatch):
    monkeypatch.setattr(standby.module, "ROOM", 1.0)
    with pytest.raises(CommandExecutionError, match="nothing is dropped"):
        standby.join(SPLIT, DONE)
    assert standby.done[-2:] == ["umount", "demote"]
    assert os.listdir(standby.module.SAVED) == []


def test_a_copy_that_fails_drops_nothing_and_leaves_this_side_secondary(standby, monkeypatch):
    def fail(path, directory):
        raise OSError("Input/output error")

    monkeypatch.setattr(standby.module, "_copy", fail)
    with pytest.raises(OSError, match="Input/output"):
        standby.join(SPLIT, DONE)
    assert standby.done == ["promote", "mount ro", "umount", "demote"]
    assert standby.module.saved() == os.listdir(standby.module.SAVED) == []


def test_what_was_saved_is_named_even_if_the_other_side_does_not_answer(standby):
    with pytest.raises(CommandExecutionError, match=r"file2 does not answer.*saved: /"):
        standby.join(SPLIT, WAITING, WAITING, seconds=0.2)


def test_what_cannot_be_read_is_not_dropped(standby, monkeypatch):
    """A damaged folder would be passed over in silence."""
    def walk(top, onerror):
        onerror(OSError(5, "Input/output error", f"{top}/moodledata"))

    monkeypatch.setattr(standby.module.os, "walk", walk)
    with pytest.raises(CommandExecutionError, match="Input/output error.*nothing is dropped"):
        standby.join(SPLIT, DONE)
    assert standby.done == ["promote", "mount ro", "umount", "demote"]
    assert standby.module.saved() == [] and not list(standby.folder.glob("saved/*"))


def test_what_a_killed_save_left_gives_its_room_back(standby):
    half = standby.folder / "saved/files-20261129T000000Z.incomplete/data"
    half.mkdir(parents=True)
    standby.join(SPLIT, DONE)
    assert not half.parent.exists()
    assert len(list((standby.folder / "saved").iterdir())) == 1
