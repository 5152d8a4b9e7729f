"""Who serves moodledata: the order of the steps, backing out, founding, and what is refused."""

import time

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import ROOT, load

ADDRESS = {"address": "192.168.10.5", "prefix": 24, "interface": "eth1"}
SERVING = ROOT / "tests/data/nfs-utils-2.8.3/mountinfo-serving"
BASE = {
    "configured": True,
    "role": "Secondary",
    "peer_role": "Secondary",
    "disk": "UpToDate",
    "peer_disk": "UpToDate",
    "connection": "Connected",
    "replication": "Established",
    "out_of_sync": 0,
    "split_brain": False,
    "reason": "Connected: Secondary/Secondary, UpToDate/UpToDate",
}
FRESH = {"disk": "Inconsistent", "peer_disk": "Inconsistent", "out_of_sync": 4096}
ALONE = {"connection": "Connecting", "replication": "Off", "peer_disk": "DUnknown"}
IN_ORDER = ["claim", "promote", "mount", "nfs.start", "address.present"]
OUT_ORDER = ["address.absent", "nfs.stop", "umount", "demote"]


class VM:
    """A file server whose parts remember what was done to them; ``breaks`` names a step to fail."""

    def __init__(self, tmp_path, monkeypatch, **drbd):
        self.drbd = {**BASE, **drbd}
        self.fresh = self.drbd["disk"] == "Inconsistent"
        self.formatted = not self.fresh
        self.blank = {"blank": True, "reason": "blank"}
        self.record = {"holder": "file1", "epoch": 1, "mirrored": False, "founding": True}
        self.breaks, self.done, self.held, self.threads, self.epoch = set(), [], False, 0, 0
        self.mounts = tmp_path / "mountinfo"
        self.mounts.write_text("", encoding="ascii")
        names = [name for name in vars(VM) if name.startswith("_do_")]
        salt = {name[4:].replace("__", "."): getattr(self, name) for name in names}
        self.module = load(
            "_modules/files.py",
            salt=salt,
            utils={"topology.floating": lambda cluster, name, resource: [ADDRESS]},
            pillar={"cluster": {}},
            grains={"id": "file1"},
        )
        monkeypatch.setattr(self.module, "_run", self.run)
        monkeypatch.setattr(self.module, "MOUNTS", str(self.mounts))
        monkeypatch.setattr(self.module, "PEER", 0)
        monkeypatch.setattr(self.module, "DIRECTORIES", ())

    def step(self, name):
        self.done.append(name)
        if name in self.breaks:
            raise CommandExecutionError(f"{name} is broken")

    def run(self, command, *arguments):
        if command == "mount" and not self.formatted:
            self.done.append("mount without file system")
            raise CommandExecutionError("mount: wrong fs type")
        self.step(command)
        if command == "mkfs.ext4":
            self.formatted = True
        else:
            line = "42 20 147:0 / /srv/files rw - ext4 /dev/drbd0 rw\n"
            self.mounts.write_text(line if command == "mount" else "", encoding="ascii")

    def _do_claim__take(self, resource, epoch, deadline):
        self.step("claim")
        self.epoch = epoch

    def _do_claim__seen(self, resource):
        return self.epoch

    def _do_arbiter__read(self, resource):
        if self.record == "silent":
            raise CommandExecutionError("no arbiter answered")
        return self.record

    def _do_drbd__status(self, name):
        return dict(self.drbd)

    def _do_drbd__fresh(self, name):
        return self.fresh

    def _do_drbd__metadata(self, name):
        return True

    def _do_drbd__generation(self, name):
        return {"fresh": self.fresh}

    def _do_drbd__up(self, name):
        self.step("up")
        self.drbd["configured"] = True

    def _do_drbd__connect(self, name):
        self.step("connect")

    def _do_drbd__skip_first_sync(self, name):
        self.step("skip first sync")
        self.drbd.update(disk="UpToDate", peer_disk="UpToDate", out_of_sync=0)
        self.fresh = False

    def _do_drbd__promote(self, name, force=False):
        self.step("promote by force" if force else "promote")
        self.drbd.update(role="Primary", disk="UpToDate")
        self.fresh = False

    def _do_drbd__demote(self, name):
        self.step("demote")
        self.drbd["role"] = "Secondary"

    def _do_blockdevice__blank(self, device):
        return self.blank

    def _do_nfs__threads(self):
        return self.threads

    def _do_nfs__start(self):
        self.step("nfs.start")
        self.threads = 8

    def _do_nfs__stop(self):
        self.step("nfs.stop")
        self.threads = 0

    def _do_address__present_all(self, addresses):
        assert addresses == [ADDRESS]
        self.step("address.present")
        self.held = True

    def _do_address__absent_all(self, addresses):
        self.step("address.absent")
        self.held = False

    def _do_address__list(self):
        return [ADDRESS] if self.held else [{"address": "192.168.10.15"}]

    def activate(self, epoch=3):
        return self.module.activate(epoch, time.time() + 60)

    def deactivate(self, epoch=4):
        return self.module.deactivate(epoch, time.time() + 60)


@pytest.fixture
def vm(tmp_path, monkeypatch):
    return lambda **drbd: VM(tmp_path, monkeypatch, **drbd)


def test_data_first_address_last(vm):
    server = vm()
    answer = server.activate()
    assert server.done == IN_ORDER
    assert (answer["active"], answer["epoch"], answer["mirror"]) == (True, 3, True)
    assert list(answer["seconds"]) == ["primary", "mount", "nfs", "address"]


def test_activating_again_only_announces_the_address(vm):
    server = vm()
    server.activate()
    server.done.clear()
    assert server.activate()["active"] is True
    assert server.done == ["claim", "address.present"]


def test_address_goes_first_and_the_role_last(vm):
    server = vm()
    server.activate()
    server.done.clear()
    answer = server.deactivate()
    assert server.done == ["claim", *OUT_ORDER]
    assert (answer["active"], answer["reason"].split(";")[0]) == (False, "passive")


def test_deactivating_a_passive_server_touches_neither_mount_nor_role(vm):
    server = vm()
    server.deactivate()
    assert server.done == ["claim", "address.absent", "nfs.stop"]


def test_without_a_claim_nothing_is_touched(vm):
    server = vm()
    server.breaks = {"claim"}
    for act in (server.activate, server.deactivate):
        with pytest.raises(CommandExecutionError, match="claim"):
            act()
    assert server.done == ["claim", "claim"]


@pytest.mark.parametrize("broken", IN_ORDER[1:])
def test_a_step_that_fails_is_named_and_everything_is_given_up(vm, broken):
    server = vm()
    server.breaks = {broken}
    with pytest.raises(CommandExecutionError, match=f"{broken} is broken"):
        server.activate()
    assert server.module.status()["parts"] == dict.fromkeys(
        ("primary", "mounted", "nfs", "address"), False
    )


def test_giving_up_goes_on_after_a_failure_and_names_all(vm):
    server = vm()
    server.activate()
    server.breaks = {"address.absent", "umount"}
    with pytest.raises(CommandExecutionError, match=r"giving up address.*giving up mount"):
        server.deactivate()
    assert server.done[-4:] == OUT_ORDER


def test_a_resource_that_is_down_is_brought_up_first(vm):
    server = vm(configured=False)
    server.activate()
    assert server.done[:3] == ["claim", "up", "promote"]


@pytest.mark.parametrize(
    ("drbd", "reason"),
    [
        ({"peer_role": "Primary"}, "peer is still Primary"),
        ({"disk": "Inconsistent", "connection": "Connecting"}, "Inconsistent, not UpToDate"),
        ({"disk": "Outdated", **ALONE}, "Outdated, not UpToDate"),
        ({"disk": "Diskless"}, "Diskless, not UpToDate"),
    ],
)
def test_only_complete_data_is_promoted_and_never_beside_a_primary(vm, drbd, reason):
    server = vm(**drbd)
    server.fresh = False
    with pytest.raises(CommandExecutionError, match=reason):
        server.activate()
    assert "promote" not in server.done and "mount" not in server.done


def test_founding_with_the_peer_needs_no_first_sync(vm):
    server = vm(**FRESH)
    assert server.activate(1)["active"] is True
    assert server.done[1:6] == [
        "skip first sync", "promote", "mount without file system", "mkfs.ext4", "mount",
    ]  # fmt: skip


def test_founding_alone_forces_the_blank_disk(vm):
    server = vm(**{**FRESH, **ALONE})
    assert server.activate(1)["active"] is True
    assert "promote by force" in server.done and "skip first sync" not in server.done


def test_a_blank_disk_is_never_promoted_after_the_founding(vm):
    """A replaced disk is fresh, too: forced, it would put an empty resource in the data's place."""
    server = vm(**{**FRESH, **ALONE})
    with pytest.raises(CommandExecutionError, match="the data is elsewhere"):
        server.activate(2)
    assert not {"promote", "promote by force", "mkfs.ext4"} & set(server.done)


FOUNDED = {"holder": "file1", "epoch": 1, "mirrored": True, "founding": False}


OTHERS = {**FOUNDED, "holder": "file2", "mirrored": False, "founding": True}


@pytest.mark.parametrize("record", [FOUNDED, None, "silent", OTHERS])
def test_a_rebuilt_holder_does_not_found_again_at_the_first_epoch(vm, record):
    """Before any failover the epoch still is 1: the disk was forced while the peer was away."""
    server = vm(**{**FRESH, **ALONE})
    server.record = record
    with pytest.raises(CommandExecutionError, match="elsewhere|no arbiter"):
        server.activate(1)
    assert not {"promote by force", "mkfs.ext4", "address.present"} & set(server.done)


def test_no_file_system_is_made_after_the_founding(vm):
    server = vm()
    server.formatted = False
    with pytest.raises(CommandExecutionError, match="wrong fs type"):
        server.activate(2)
    assert "mkfs.ext4" not in server.done


@pytest.mark.parametrize("blank", [False, None])
def test_no_file_system_is_made_on_a_device_that_may_hold_something(vm, blank):
    server = vm(**FRESH)
    server.blank = {"blank": blank, "reason": "it carries LUKS"}
    with pytest.raises(CommandExecutionError, match="it carries LUKS"):
        server.activate(1)
    assert "mkfs.ext4" not in server.done


@pytest.mark.parametrize("replication", ["Established", "VerifyS", "VerifyT"])
def test_mirror_is_the_evidence_that_the_peer_has_everything(vm, replication):
    server = vm(replication=replication)
    assert server.module.mirror(3, time.time() + 60) == {
        "connection": "Connected",
        "disk": "UpToDate",
        "peer_disk": "UpToDate",
        "out_of_sync": 0,
    }


@pytest.mark.parametrize(
    "drbd",
    [
        {"out_of_sync": 4096},
        {"peer_disk": "Inconsistent", "replication": "SyncSource"},
        {"replication": "VerifyS", "out_of_sync": 4096},
        ALONE,
        {"disk": "Diskless"},
        {"configured": False},
    ],
)
def test_an_incomplete_mirror_is_refused(vm, drbd):
    with pytest.raises(CommandExecutionError, match="not complete"):
        vm(**drbd).module.mirror(3, time.time() + 60)


@pytest.mark.parametrize(("split", "done"), [(None, ["claim", "connect"]), (True, ["claim"])])
def test_standalone_is_reconnected_unless_it_is_a_split_brain(vm, split, done):
    server = vm(**{**ALONE, "connection": "StandAlone", "split_brain": split})
    with pytest.raises(CommandExecutionError, match="not complete"):
        server.module.mirror(3, time.time() + 60)
    assert server.done == done


def test_half_active_is_not_active_and_says_what_is_there(vm):
    server = vm(role="Primary")
    answer = server.module.status()
    assert answer["active"] is False
    assert answer["reason"].startswith("primary;")


def test_what_cannot_be_asked_is_unknown(vm):
    server = vm()

    def fail(name):
        raise CommandExecutionError("drbdsetup: timed out")

    server.module.__salt__["drbd.status"] = fail
    answer = server.module.status()
    assert (answer["active"], answer["mirror"], answer["blank"]) == (None, None, None)
    assert "timed out" in answer["reason"]


def test_blank_is_told_before_and_after_the_first_start(vm):
    assert vm(**FRESH).module.status()["blank"] is True
    assert vm().module.status()["blank"] is False
    down = vm(configured=False)
    assert down.module.status()["blank"] is False
    down.module.__salt__.update(
        {"drbd.metadata": lambda name: False, "drbd.device": lambda name: "/dev/vdb"}
    )
    assert down.module.status()["blank"] is True


def test_the_mount_is_recognised_in_recorded_mountinfo(vm):
    server = vm()
    server.module.MOUNTS = str(SERVING)
    assert server.module._mounted() is True


def test_another_device_in_the_place_of_drbd_is_an_error(vm):
    server = vm()
    server.mounts.write_text("42 20 8:1 / /srv/files rw - ext4 /dev/sda1 rw\n", encoding="ascii")
    with pytest.raises(CommandExecutionError, match="/dev/sda1"):
        server.activate()
    assert "nfs.start" not in server.done
