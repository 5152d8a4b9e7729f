"""What beacons and daemons say of the services here arrives in the heartbeat, and ages there."""

import sys
import threading

import pytest

from tests.loading import ROOT, load

sys.path += [str(ROOT / "salt/heartbeat/files"), str(ROOT / "_utils")]
import heartbeat
import heartbeat_system


@pytest.fixture
def health(tmp_path, monkeypatch):
    module = load("_utils/health.py")
    monkeypatch.setattr(module, "DIRECTORY", str(tmp_path / "health"))
    return module


def told(health, later=0.0):
    entries = heartbeat_system.entries(health.DIRECTORY)
    return heartbeat.health_of(heartbeat.current(entries, heartbeat_system.clock() + later))


def test_what_is_written_is_told_until_it_is_old(health):
    for name, ok in (("files.service", True), ("files.frozen", False), ("files.fit", None)):
        health.write(name, ok)
    health.write("files.restarted", True, lasting=True)
    known = {"files.service": True, "files.frozen": False, "files.fit": None}
    assert told(health) == known | {"files.restarted": True}
    assert told(health, later=6) == dict.fromkeys(known) | {"files.restarted": True}


def test_what_is_removed_is_told_no_more(health):
    health.write("database.service", True)
    for _ in range(2):
        health.remove("database.service")
    assert told(health) == {}


@pytest.mark.parametrize("name", ["", "../x", "files/x", "x" * 25, "fïles"])
def test_a_name_that_cannot_be_told_is_refused(health, name):
    with pytest.raises(ValueError, match="no name"):
        health.write(name, True)


def test_two_writers_never_leave_half_a_file(health):
    def write():
        for _ in range(200):
            health.write("files.service", True)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if (entry := told(health)) != {}:
            assert entry == {"files.service": True}
    for writer in writers:
        writer.join()
    assert len(list(heartbeat_system.entries(health.DIRECTORY))) == 1
