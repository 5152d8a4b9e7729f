"""DRBD's module and state, against what drbd-utils really printed on two VMs."""

import json
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import ROOT, load

DATA = ROOT / "tests/data/drbd-utils-9.22-kernel-8.4.11"
STATUS = ("drbdsetup", "events2", "--now", "--statistics", "r0")
GENERATION = ("drbdadm", "get-gi", "r0")
PENDING = ("drbdadm", "--dry-run", "adjust", "r0")
DEVICE = ("drbdadm", "sh-ll-dev", "r0")
BLANK = {"blank": True, "reason": "/dev/vdb is blank"}
CARRIES = {"blank": False, "reason": "/dev/vdb carries ext4 at byte 1080"}
UNREADABLE = {"blank": None, "reason": "/dev/vdb cannot be examined"}


def text(name):
    return (DATA / name).read_text(encoding="utf-8")


@pytest.fixture
def drbd(tmp_path, monkeypatch):
    """The module, answering commands from ``drbd.answers`` and noting them in ``drbd.ran``."""
    module = load("_modules/drbd.py", salt={"blockdevice.signatures": lambda device: []})
    module.answers, module.ran = {DEVICE: "/dev/vdb\n"}, []

    def run(*command):
        module.ran.append(command)
        return module.answers.get(command, "")

    version = tmp_path / "version"
    version.write_text("8.4.11\n", encoding="ascii")
    monkeypatch.setattr(module, "_run", run)
    monkeypatch.setattr(module, "VERSION", str(version))
    monkeypatch.setattr(module, "SPLIT_BRAIN", str(tmp_path / "split-brain.{}"))
    monkeypatch.setattr(module, "NEW", str(tmp_path / "new.{}"))
    return module


def recorded(drbd, state, side="file1"):
    drbd.answers[STATUS] = text(f"{state}.{side}.events2")
    drbd.answers[GENERATION] = text(f"{state}.{side}.get-gi")
    return drbd.status()


# recording, side; connection, replication, role, peer_role, disk, peer_disk, out_of_sync
STATES = """
connected-fresh file1 Connected Established Secondary Secondary Inconsistent Inconsistent 2147381248
connected-skipped-first-sync file2 Connected Established Secondary Secondary UpToDate UpToDate 0
connected-primary file1 Connected Established Primary Secondary UpToDate UpToDate 0
connected-primary file2 Connected Established Secondary Primary UpToDate UpToDate 0
syncing file1 Connected SyncSource Primary Secondary UpToDate Inconsistent 103833600
syncing file2 Connected SyncTarget Secondary Primary Inconsistent UpToDate 103727104
verifying file1 Connected VerifyS Primary Secondary UpToDate UpToDate 0
verified-out-of-sync file2 Connected VerifyT Secondary Primary UpToDate UpToDate 12288
diskless-primary file1 Connected Established Primary Secondary Diskless UpToDate 0
diskless-primary file2 Connected Established Secondary Primary UpToDate Diskless 0
link-cut file1 Connecting Off Primary Unknown UpToDate DUnknown 1077248
standalone-by-operator file1 StandAlone Off Primary Unknown UpToDate DUnknown 104898560
"""


@pytest.mark.parametrize("line", STATES.split("\n")[1:-1])
def test_status_says_what_the_kernel_said(drbd, line):
    state, side, expected = line.split(maxsplit=2)
    now = recorded(drbd, state, side)
    keys = ("connection", "replication", "role", "peer_role", "disk", "peer_disk", "out_of_sync")
    assert " ".join(str(now[key]) for key in keys) == expected
    assert now["configured"] is True
    assert now["size"] == 2147381248


def test_suspended_writes_are_named_with_their_cause(drbd):
    assert recorded(drbd, "link-cut-io-suspended")["suspended"] == "fencing"
    assert recorded(drbd, "link-cut")["suspended"] == "no"


def test_a_resource_that_is_not_up_is_not_configured(drbd):
    assert recorded(drbd, "connecting-and-unconfigured", "file2")["configured"] is False


def test_without_the_kernel_module_nothing_is_asked(drbd, monkeypatch):
    monkeypatch.setattr(drbd, "VERSION", "/nonexistent/version")
    assert drbd.status()["configured"] is False
    assert drbd.ran == []


def test_a_missing_key_raises_and_an_unknown_one_is_tolerated(drbd):
    good = text("connected-primary.file1.events2")
    drbd.answers[STATUS] = good.replace("role:Primary", "role:Primary novelty:yes flag")
    assert drbd.status()["role"] == "Primary"
    drbd.answers[STATUS] = good.replace(" disk:UpToDate", "")
    with pytest.raises(CommandExecutionError, match="disk"):
        drbd.status()


def test_a_second_peer_is_not_silently_ignored(drbd):
    good = text("connected-primary.file1.events2")
    line = next(line for line in good.splitlines() if "connection" in line)
    drbd.answers[STATUS] = f"{good}{line}\n"
    with pytest.raises(CommandExecutionError, match="one peer"):
        drbd.status()


# DRBD 9's answer: its keys as drbdsetup 9.22 spells them. No such kernel was here to record it.
NINE = {
    "name": "r0",
    "node-id": 0,
    "role": "Primary",
    "suspended": False,
    "suspended-user": False,
    "suspended-fencing": False,
    "write-ordering": "flush",
    "devices": [{"volume": 0, "minor": 0, "disk-state": "UpToDate", "size": 2097052}],
    "connections": [
        {
            "peer-node-id": 1,
            "name": "file2",
            "connection-state": "Connected",
            "peer-role": "Secondary",
            "peer_devices": [
                {
                    "volume": 0,
                    "replication-state": "SyncSource",
                    "peer-disk-state": "Inconsistent",
                    "out-of-sync": 64,
                }
            ],
        }
    ],
}


def nine(drbd, *resources):
    Path(drbd.VERSION).write_text("9.2.13\n", encoding="ascii")
    drbd.answers["drbdsetup", "status", "--json", "--statistics"] = json.dumps(resources)
    return drbd.status()


def test_drbd_9_is_asked_for_json(drbd):
    now = nine(drbd, {"name": "other"}, NINE)
    assert (now["role"], now["peer_disk"], now["out_of_sync"]) == ("Primary", "Inconsistent", 65536)
    assert (now["suspended"], now["split_brain"]) == ("no", False)
    assert nine(drbd)["configured"] is False


def test_drbd_9_names_what_suspends_writes(drbd):
    assert (
        nine(drbd, {**NINE, "suspended": True, "suspended-fencing": True})["suspended"] == "fencing"
    )


def test_drbd_9_without_a_connection_is_standalone(drbd):
    now = nine(drbd, {**NINE, "connections": []})
    assert (now["connection"], now["peer_disk"]) == ("StandAlone", "DUnknown")


def test_the_modules_version_is_known_before_it_is_loaded(drbd, monkeypatch):
    assert drbd.major() == 8
    nine(drbd)
    assert drbd.major() == 9
    monkeypatch.setattr(drbd, "VERSION", "/nonexistent/version")
    drbd.answers["modinfo", "--field", "version", "drbd"] = "8.4.11\n"
    assert drbd.major() == 8
    drbd.answers["modinfo", "--field", "version", "drbd"] = ""
    assert drbd.major() is None


@pytest.mark.parametrize("key", ["role", "devices", "suspended", "connections"])
def test_drbd_9_with_a_key_missing_raises(drbd, key):
    with pytest.raises(CommandExecutionError, match=key):
        nine(drbd, {name: value for name, value in NINE.items() if name != key})


def test_split_brain_is_named_once_the_handler_saw_it(drbd):
    Path(drbd.SPLIT_BRAIN.format("r0")).write_text("2026-11-22T15:12:51Z, peer file2\n")
    now = recorded(drbd, "split-brain")
    assert now["split_brain"] is True
    assert "split brain" in now["reason"] and "peer file2" in now["reason"]


def test_standalone_for_an_unseen_cause_is_unknown_not_no(drbd):
    assert recorded(drbd, "standalone-by-operator")["split_brain"] is None


def test_a_note_of_a_past_split_brain_does_not_accuse_a_connected_resource(drbd):
    Path(drbd.SPLIT_BRAIN.format("r0")).write_text("long ago\n")
    assert recorded(drbd, "connected-primary")["split_brain"] is False


def test_connecting_forgets_the_split_brain(drbd):
    note = Path(drbd.SPLIT_BRAIN.format("r0"))
    note.write_text("now\n")
    drbd.connect()
    assert not note.exists()
    assert drbd.ran == [("drbdadm", "connect", "r0")]


def generations(drbd, state):
    sides = []
    for side in ("file1", "file2"):
        recorded(drbd, state, side)
        sides.append(drbd.generation())
    return sides


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("split-brain", True),
        ("diverged-not-yet-met", True),
        ("link-cut", False),
        ("standalone-by-operator", False),
        ("connected-primary", False),
        ("syncing", False),
        ("diskless-primary", False),
    ],
)
def test_generations_of_both_sides_tell_a_split_brain(drbd, state, expected):
    mine, theirs = generations(drbd, state)
    assert drbd.diverged(mine, theirs) is expected
    assert drbd.diverged(theirs, mine) is expected


def test_unrelated_generations_are_neither(drbd):
    mine = {"current": "A0", "bitmap": "0", "history": ["0", "0"]}
    theirs = {"current": "B0", "bitmap": "0", "history": ["0", "0"]}
    assert drbd.diverged(mine, theirs) is None


def test_flags_of_a_generation_have_names(drbd):
    recorded(drbd, "connected-primary")
    now = drbd.generation()
    assert now["flags"] == ["consistent", "up_to_date", "primary", "connected"]
    assert now["fresh"] is False


def test_no_generation_raises(drbd):
    with pytest.raises(CommandExecutionError, match="no data generation"):
        drbd.generation()


def test_only_a_new_inconsistent_disk_is_fresh(drbd):
    recorded(drbd, "connected-fresh")
    assert drbd.fresh() is True
    recorded(drbd, "syncing", "file2")
    assert drbd.fresh() is False


def test_first_sync_is_skipped_between_two_fresh_disks(drbd):
    recorded(drbd, "connected-fresh")
    drbd.answers["drbdadm", "sh-dev", "r0"] = "/dev/drbd0\n"
    drbd.skip_first_sync()
    assert drbd.ran[-1] == ("drbdsetup", "new-current-uuid", "--clear-bitmap", "0")


@pytest.mark.parametrize(
    "state", ["connecting-and-unconfigured", "connected-skipped-first-sync", "syncing"]
)
@pytest.mark.parametrize("side", ["file1", "file2"])
def test_first_sync_is_not_skipped_otherwise(drbd, state, side):
    recorded(drbd, state, side)
    with pytest.raises(CommandExecutionError, match="the first sync is needed"):
        drbd.skip_first_sync()
    assert not any("new-current-uuid" in command for command in drbd.ran)


def test_first_sync_is_not_skipped_if_this_side_has_held_data(drbd):
    recorded(drbd, "connected-fresh")
    drbd.answers[GENERATION] = text("syncing.file2.get-gi")
    with pytest.raises(CommandExecutionError, match="has held data"):
        drbd.skip_first_sync()


def test_metadata_is_written_on_a_blank_device(drbd):
    drbd.__salt__["blockdevice.blank"] = {"/dev/vdb": BLANK}.get
    drbd.create_metadata()
    assert drbd.ran[-1] == ("drbdadm", "create-md", "r0")
    assert drbd.unproven() is True
    for _ in range(2):
        drbd.proven()
        assert drbd.unproven() is False


def test_no_metadata_is_written_by_who_cannot_note_that_the_disk_is_new(drbd, tmp_path):
    drbd.__salt__["blockdevice.blank"] = {"/dev/vdb": BLANK}.get
    (tmp_path / "full").touch()
    drbd.NEW = str(tmp_path / "full/new.{}")
    with pytest.raises(CommandExecutionError, match="no metadata for r0"):
        drbd.create_metadata()
    assert not any("create-md" in command for command in drbd.ran)


@pytest.mark.parametrize("answer", [CARRIES, UNREADABLE])
def test_metadata_is_refused_unless_surely_blank(drbd, answer):
    drbd.__salt__["blockdevice.blank"] = {"/dev/vdb": answer}.get
    with pytest.raises(CommandExecutionError, match=answer["reason"]):
        drbd.create_metadata()
    assert not any("create-md" in command for command in drbd.ran)


def test_metadata_is_known_by_its_signature(drbd):
    drbd.answers[STATUS] = "exists -\n"
    assert drbd.metadata() is False
    drbd.__salt__["blockdevice.signatures"] = lambda device: [{"type": "ext4"}, {"type": "drbd"}]
    assert drbd.metadata() is True


def test_metadata_of_an_unreadable_disk_is_unknown(drbd):
    drbd.answers[STATUS] = "exists -\n"

    def fail(device):
        raise CommandExecutionError("Input/output error")

    drbd.__salt__["blockdevice.signatures"] = fail
    assert drbd.metadata() is None


def test_an_error_does_not_repeat_the_shared_secret(drbd, monkeypatch):
    """drbdadm quotes the failing command, so a return once held --shared-secret in plain."""
    fresh = load("_modules/drbd.py")
    script = "echo 'drbdsetup connect r0 --shared-secret=hush --x=1' >&2; exit 10"
    with pytest.raises(CommandExecutionError, match="exit 10") as caught:
        fresh._run("sh", "-c", script)
    assert "hush" not in str(caught.value).split(":", 1)[1].replace(script, "")


def test_pending_changes_are_verbs_without_arguments(drbd):
    drbd.answers[PENDING] = text("adjust-options.dry-run")
    assert drbd.pending() == ["disk-options", "net-options"]
    drbd.answers[PENDING] = text("adjust-options-and-standalone.dry-run")
    assert drbd.pending() == ["disk-options", "connect"]
    drbd.answers[PENDING] = ""
    assert drbd.pending() == []


class State:
    """The state over a fake module that notes what was done."""

    def __init__(self, now, metadata=True, blank=BLANK, pending=(), test=False):
        self.now, self.done = now, []
        salt = {
            "drbd.status": lambda name: self.now,
            "drbd.metadata": lambda name: metadata,
            "drbd.device": lambda name: "/dev/vdb",
            "drbd.pending": lambda name: list(pending),
            "blockdevice.blank": lambda device: blank,
        }
        for action in ("create_metadata", "up", "adjust"):
            salt[f"drbd.{action}"] = lambda name, action=action: self.done.append(action)
        self.module = load("_states/drbd.py", salt=salt, opts={"test": test})

    def present(self):
        return self.module.present("r0")


DOWN = {"configured": False, "reason": "r0 is not up"}
UP = {"configured": True, "disk": "UpToDate", "reason": "Connected: Secondary/Primary"}


def test_state_on_a_blank_disk_makes_metadata_and_comes_up():
    state = State(DOWN, metadata=False)
    ret = state.present()
    assert (ret["result"], state.done) == (True, ["create_metadata", "up"])
    assert ret["changes"]["r0"]["old"] == "r0 is not up"


def test_state_on_a_known_disk_comes_up():
    state = State(DOWN)
    assert (state.present()["result"], state.done) == (True, ["up"])


@pytest.mark.parametrize(
    ("metadata", "blank"), [(False, CARRIES), (False, UNREADABLE), (None, BLANK)]
)
def test_state_writes_nothing_onto_a_disk_that_may_hold_something(metadata, blank):
    state = State(DOWN, metadata=metadata, blank=blank)
    ret = state.present()
    assert (ret["result"], ret["changes"], state.done) == (False, {}, [])
    assert blank["reason"] in ret["comment"]


def test_state_a_second_time_changes_nothing():
    state = State(UP)
    ret = state.present()
    assert (ret["result"], ret["changes"], state.done) == (True, {}, [])


def test_state_applies_changed_options():
    state = State(UP, pending=["net-options"])
    assert (state.present()["result"], state.done) == (True, ["adjust"])


@pytest.mark.parametrize("pending", [["connect"], ["disk-options", "connect"], ["attach"]])
def test_state_leaves_a_side_that_was_taken_apart(pending):
    state = State({**UP, "reason": "split brain"}, pending=pending)
    ret = state.present()
    assert (ret["result"], ret["changes"], state.done) == (True, {}, [])
    assert "split brain" in ret["warnings"][0]


@pytest.mark.parametrize(("metadata", "blank", "done"), [
    (False, BLANK, ["create_metadata", "adjust"]),  # a new disk, below a resource that came up
    (True, BLANK, []), (None, BLANK, []), (False, CARRIES, None)])
def test_state_takes_a_new_disk_and_no_other_that_is_missing(metadata, blank, done):
    state = State({**UP, "disk": "Diskless"}, metadata, blank, pending=["attach"])
    ret = state.present()
    assert (ret["result"], state.done) == (done is not None, done or [])


@pytest.mark.parametrize(
    ("now", "metadata", "pending"),
    [(DOWN, False, ()), (DOWN, True, ()), (UP, True, ["net-options"])],
)
def test_state_in_test_mode_announces_and_does_nothing(now, metadata, pending):
    state = State(now, metadata=metadata, pending=pending, test=True)
    ret = state.present()
    assert (ret["result"], state.done) == (None, [])
    assert ret["changes"]
