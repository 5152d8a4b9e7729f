"""Who serves moodledata: the order of the steps, backing out, founding, and what is refused."""

import contextlib
import os
import time

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import ROOT, Utils, load

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
    "suspended": "no",
    "split_brain": False,
    "reason": "Connected: Secondary/Secondary, UpToDate/UpToDate",
}
FRESH = {"disk": "Inconsistent", "peer_disk": "Inconsistent", "out_of_sync": 4096}
ALONE = {"connection": "Connecting", "replication": "Off", "peer_disk": "DUnknown"}
WEB = [{"name": f"web{n}", "addresses": {"internal": f"192.168.10.{n}1"}} for n in (1, 2)]
IN_ORDER = ["claim", "promote", "mount", "nfs.start", "claim", "address.present"]
OUT_ORDER = ["address.absent", "nfs.stop", "umount", "demote"]


class VM:
    """A file server whose parts remember what was done to them; ``breaks`` names a step to fail."""

    def __init__(self, tmp_path, monkeypatch, **drbd):
        self.drbd = {**BASE, **drbd}
        self.fresh = self.drbd["disk"] == "Inconsistent"
        self.new = False
        self.formatted = not self.fresh
        self.blank = {"blank": True, "reason": "blank"}
        self.record = {"holder": "file1", "epoch": 1, "mirrored": False, "founding": True}
        self.breaks, self.done, self.held, self.threads, self.epoch = set(), [], False, 0, 0
        self.unready = None
        self.mounts = tmp_path / "mountinfo"
        self.mounts.write_text("", encoding="ascii")
        self.note, self.split, self.health, self.verdict = 0, None, {}, tmp_path / "verdict/files"
        self.alone_at, self.busy_for = [], {}
        names = [name for name in vars(VM) if name.startswith("_do_")]
        salt = {name[4:].replace("__", "."): getattr(self, name) for name in names}
        utils = Utils({"topology.floating": lambda cluster, name, resource: [ADDRESS]})
        utils["topology.vms"] = lambda cluster, role: WEB
        self.lost, self.forgotten, self.woken, self.gone = [], None, None, True
        utils["topology.peer"] = lambda cluster, name: {"name": "file2"}
        utils["health.write"] = lambda name, ok, lasting=False: self.health.update({name: ok})
        self.module, self.data, self.standby = (
            load(f"_modules/{name}.py", salt, {"cluster": {}}, {"id": "file1"}, utils=utils)
            for name in ("files", "files_data", "files_standby")
        )
        for module in (self.data, self.standby):
            name = module.__virtual__()
            functions = [function for function in vars(module) if not function.startswith("_")]
            salt.update({f"{name}.{f}": getattr(module, f) for f in functions})
        monkeypatch.setattr(self.data, "_run", self.run)
        monkeypatch.setattr(self.data, "MOUNTS", str(self.mounts))
        monkeypatch.setattr(self.data, "VERDICT", str(self.verdict))
        monkeypatch.setattr(self.data, "BEHIND", str(tmp_path / "behind"))
        monkeypatch.setattr(self.data, "PEER", 0)
        monkeypatch.setattr(self.data, "LETTING_GO", 0.2)
        monkeypatch.setattr(self.data, "DIRECTORIES", ())
        monkeypatch.setattr(self.module.subprocess, "Popen", lambda argv, **_: self.step(argv[0]))

    def step(self, name):
        self.done.append(name)
        if name in self.breaks or self.busy_for.get(name, 0) > 0:
            self.busy_for[name] = self.busy_for.get(name, 0) - 1
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

    @contextlib.contextmanager
    def _do_claim__role(self, resource, deadline):
        assert not getattr(self, "busy", False)
        self.busy = True
        try:
            yield
        finally:
            self.busy = False

    def _do_claim__take(self, resource, epoch, deadline, alone=None):
        self.step("claim")
        if epoch < self.epoch:
            raise CommandExecutionError(f"claim: {self.epoch} was seen")
        self.epoch = epoch

    def _do_claim__mirroring(self, resource, epoch, deadline, revision):
        self.step("mirroring")

    def _do_claim__hold(self, resource, epoch):
        assert self.note or not self.held, "it was served before it was said"
        self.note = epoch

    def _do_claim__release(self, resource):
        assert not self.held and self.drbd["role"] != "Primary"
        self.note = 0

    def _do_claim__held(self, resource):
        return self.note

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

    def _do_drbd__unproven(self, name):
        return self.new

    def _do_drbd__proven(self, name):
        self.new = False

    def _do_drbd__metadata(self, name):
        return True

    def _do_drbd__generation(self, name):
        return {"fresh": self.fresh}

    def _do_drbd__up(self, name):
        self.step("up")
        self.drbd["configured"] = True

    def _do_drbd__connect(self, name, discard_my_data=False):
        self.step("connect, discarding" if discard_my_data else "connect")
        self.drbd["connection"] = "Connecting"
        if self.split is None or discard_my_data:
            return
        self.drbd.update(connection="StandAlone", split_brain=True)

    def _do_drbd__disconnect(self, name, force=False):
        assert force is True
        self.step("disconnect")
        self.drbd.update(ALONE, connection="StandAlone", peer_role="Unknown")

    def _do_drbd__resume(self, name):
        assert self.verdict.exists()
        self.step("resume")
        self.drbd["suspended"] = "no"

    def _do_drbd__skip_first_sync(self, name):
        self.step("skip first sync")
        self.drbd.update(disk="UpToDate", peer_disk="UpToDate", out_of_sync=0)
        self.fresh = False

    def _do_drbd__promote(self, name, force=False):
        self.step("promote by force" if force else "promote")
        if self.drbd["connection"] != "Connected" and not self.verdict.exists():
            raise CommandExecutionError("State change failed: (-7) Refusing to be Primary")
        self.drbd.update(role="Primary", disk="UpToDate")
        self.fresh = False

    def _do_drbd__demote(self, name):
        self.step("demote")
        self.drbd["role"] = "Secondary"

    def _do_blockdevice__blank(self, device):
        return self.blank

    def _do_nfs__threads(self):
        return self.threads

    def _do_heartbeat__lost(self, names):
        return [name for name in names if name in self.lost]

    def _do_nfs_clients__forget(self, names):
        assert not self.threads
        self.forgotten = names
        return names

    def _do_nfs__unready(self):
        return self.unready

    def _do_nfs__start(self):
        self.step("nfs.start")
        self.threads = 8

    def _do_nfs__stop(self):
        self.step("nfs.stop")
        self.threads = 0

    def _do_claim__in_time(self, resource, deadline):
        assert deadline > time.time()

    def _do_heartbeat__unreachable(self, vm):
        assert vm == "file2"
        return self.gone

    def _do_address__present_all(self, addresses, announcements=3):
        assert addresses == [ADDRESS]
        self.step("address.present")
        self.held, self.announced = True, announcements

    def _do_address__announce(self, address, interface, count):
        assert self.held and self.woken is not None and address == ADDRESS["address"]
        self.announced += count

    def _do_nfs_clients__wake(self, server, clients):
        assert self.held and server == ADDRESS["address"]
        self.woken = clients

    def _do_address__absent_all(self, addresses):
        self.step("address.absent")
        self.held = False

    def _do_address__missing(self, addresses):
        return [] if self.held else [entry["address"] for entry in addresses]

    def _do_nfs__restart(self, deadline):
        self.step("nfs.restart")

    def _do_nfs__status(self):
        return {"threads": self.threads}

    def activate(self, epoch=3, alone=None, **more):
        return self.module.activate(epoch, time.time() + 60, alone=alone, **more)

    def mirror(self):
        return self.module.mirror(3, time.time() + 60, 12)

    def deactivate(self, epoch=4):
        return self.module.deactivate(epoch, time.time() + 60)


@pytest.fixture
def vm(tmp_path, monkeypatch):
    return lambda **drbd: VM(tmp_path, monkeypatch, **drbd)


def test_a_takeover_does_not_wait_for_the_clients_that_died_too(vm):
    server = vm()
    server.lost = ["web2"]
    server.activate()
    assert server.forgotten == ["web2"]
    assert server.woken == ["192.168.10.11"]


def test_data_first_address_last(vm):
    server = vm()
    answer = server.activate()
    assert (server.done, server.announced) == (IN_ORDER, 3)
    assert (answer["active"], answer["epoch"], answer["mirror"]) == (True, 3, True)
    assert server.woken == ["192.168.10.11", "192.168.10.21"]
    assert list(answer["seconds"]) == ["primary", "mount", "nfs", "claim", "address", "listen"]
    assert (server.note, server.health) == (3, {"files.restarted": False})


def test_activating_again_only_announces_the_address(vm):
    server = vm()
    server.activate()
    server.done.clear()
    assert server.activate()["active"] is True
    assert server.done == ["claim", "claim", "address.present"]


def test_address_goes_first_and_the_role_last(vm):
    server = vm()
    server.activate()
    server.done.clear()
    answer = server.deactivate()
    assert server.done == ["claim", *OUT_ORDER]
    assert answer["active"] is server.module.status()["active"] is False
    assert list(answer["seconds"]) == ["address", "nfs", "mount", "secondary"]


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


@pytest.mark.parametrize("broken", ["promote", "mount", "nfs.start", "address.present"])
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
    assert list(dict.fromkeys(server.done))[-4:] == OUT_ORDER  # each tried more than once


@pytest.mark.parametrize("busy", ["umount", "demote"])
def test_what_is_busy_for_a_moment_is_tried_again(vm, busy):
    """After its threads ended, the kernel holds what NFS had open a little longer."""
    server = vm()
    server.activate()
    server.busy_for = {busy: 2}
    server.deactivate()
    assert server.module.status()["active"] is False
    assert server.done.count(busy) == 3


def test_who_keeps_the_device_open_is_named(vm, tmp_path):
    server = vm()
    server.activate(alone=None)
    server.breaks, server.data.LETTING_GO = {"demote"}, 0
    device = tmp_path / "drbd0"
    device.touch()
    server.data.DEVICE = str(device)
    server.mounts.write_text("", encoding="ascii")
    with open(device, encoding="ascii"), pytest.raises(CommandExecutionError) as error:
        server.data.secondary()
    assert f"({os.getpid()})" in str(error.value)
    with pytest.raises(CommandExecutionError, match="the kernel itself"):
        server.data.secondary()


def test_a_resource_that_is_down_is_brought_up_first(vm):
    server = vm(configured=False)
    assert server.activate()["active"] is True
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
    assert server.activate(1, alone=2)["active"] is True
    assert "promote by force" in server.done and "skip first sync" not in server.done


def test_a_blank_disk_is_never_promoted_after_the_founding(vm):
    """A replaced disk is fresh, too: forced, it would put an empty resource in the data's place."""
    server = vm(**{**FRESH, **ALONE})
    with pytest.raises(CommandExecutionError, match="the data is elsewhere"):
        server.activate(2)
    assert not {"promote", "promote by force", "mkfs.ext4"} & set(server.done)


@pytest.mark.parametrize("word", [False, True])
def test_a_new_disk_serves_no_copy_of_a_side_that_did_not_serve(vm, word):
    """The holder's disk was replaced, and its standby, left out long before, filled the new one."""
    server = vm()
    server.new, server.record = True, {**FOUNDED, "mirrored": False}
    if word:
        assert server.activate(1, alone=7, lose_writes=True)["active"] is True
        assert server.new is False
        return
    with pytest.raises(CommandExecutionError, match="what it has may be old"):
        server.activate(1, alone=7)
    assert not {"promote", "mount", "address.present"} & set(server.done)


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
    assert server.mirror() == {
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
        vm(**drbd).mirror()


def test_no_word_that_the_peer_is_out_outlives_its_command_behind_a_mirror(vm):
    """The minion was killed in an activation: its permission would count for seconds to come."""
    server = vm()
    server.verdict.parent.mkdir(parents=True, exist_ok=True)
    server.verdict.write_text("99999 epoch 3 revision 7\n")
    server.mirror()
    assert not server.verdict.exists()


@pytest.mark.parametrize("split", [None, True])
def test_the_holder_reconnects_and_never_discards_anything(vm, split):
    server = vm(**{**ALONE, "connection": "StandAlone", "split_brain": split})
    with pytest.raises(CommandExecutionError, match="not complete"):
        server.mirror()
    assert server.done == ["mirroring", "connect"]


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
    server.data.MOUNTS = str(SERVING)
    assert server.data.mounted() is True


def test_another_device_in_the_place_of_drbd_is_an_error(vm):
    server = vm()
    server.mounts.write_text("42 20 8:1 / /srv/files rw - ext4 /dev/sda1 rw\n", encoding="ascii")
    with pytest.raises(CommandExecutionError, match="/dev/sda1"):
        server.activate()
    assert "nfs.start" not in server.done


PEER_ACTIVE = {"peer_role": "Primary"}


def test_a_dead_primary_is_left_before_its_successor_starts(vm):
    """The peer still counts as Primary until DRBD's time-out; a paused one thaws later."""
    server = vm(**PEER_ACTIVE)
    assert server.activate(alone=7)["active"] is True
    assert server.done[1:4] == ["disconnect", "promote", "mount"]
    assert server.done[-2:] == ["address.present", "connect"]
    assert not server.verdict.exists()


def test_a_passive_peer_stays_connected_at_a_planned_move(vm):
    server = vm()
    assert server.activate(alone=7)["mirror"] is True
    assert not {"disconnect", "connect"} & set(server.done)


def test_who_waits_for_its_predecessor_has_claimed_nothing_yet(vm):
    """Whoever hears of a higher epoch ends in an emergency's way, by a reboot if need be."""
    server = vm(peer_role="Primary")
    server.data.PASSIVE = 0.1
    with pytest.raises(CommandExecutionError, match="the peer is still Primary"):
        server.module.activate(2, time.time() + 60, alone=7, await_peer=True)
    assert server.done == []


def test_who_is_told_together_with_its_predecessor_waits_until_that_is_passive(vm):
    server, roles = vm(peer_role="Primary"), iter(["Primary", "Primary", "Secondary"])

    def status(resource):
        server.drbd["peer_role"] = next(roles, "Secondary")
        return server.drbd

    server.data.__salt__["drbd.status"] = status
    server.module.activate(2, time.time() + 60, alone=7, await_peer=True)
    assert server.done == IN_ORDER, "neither disconnected nor too early"


def test_who_comes_too_late_does_not_wait_either(vm):
    server = vm(peer_role="Primary")
    server.epoch = 3
    with pytest.raises(CommandExecutionError, match="refused, epoch 3 was seen here"):
        server.module.activate(2, time.time() + 60, alone=7, await_peer=True)
    assert server.done == []


@pytest.mark.parametrize(("drbd", "unready", "missing"), [
    ({}, None, None), ({}, "rpc.mountd is not there", "files: rpc.mountd is not there"),
    (ALONE, None, "files: Connected: Sec"), ({"disk": "Outdated"}, None, "files: Connected: Sec"),
    ({"configured": False}, None, "files: Connected: Sec")])
def test_a_standby_is_asked_whether_it_could_take_over_now(vm, drbd, unready, missing):
    server = vm(**drbd)
    server.unready = unready
    if not missing:
        assert server.module.probe() is True
        return
    with pytest.raises(CommandExecutionError, match=missing):
        server.module.probe()


def test_a_predecessor_that_stays_primary_or_vanishes_is_not_waited_for_for_ever(vm):
    server = vm(peer_role="Primary")
    server.data.PASSIVE = 0.1
    with pytest.raises(CommandExecutionError, match="the peer is still Primary"):
        server.module.activate(2, time.time() + 60, alone=7, await_peer=True)
    assert "promote" not in server.done
    for gone in (True, False):  # without a link, though alive: it gets its time
        server, before = vm(**ALONE), time.monotonic()
        server.gone, server.data.PASSIVE = gone, 0.3
        server.module.activate(2, time.time() + 60, alone=7, await_peer=True)
        assert "promote" in server.done
        assert (time.monotonic() - before > 0.3) is not gone


@pytest.mark.parametrize("drbd", [ALONE, {**ALONE, "disk": "Consistent"}])
def test_complete_data_serves_alone_only_by_permission(vm, drbd):
    server = vm(**drbd)
    with pytest.raises(CommandExecutionError, match="permits to go on alone|not UpToDate"):
        server.activate()
    assert "promote" not in server.done and server.note == 0
    assert server.activate(alone=7)["active"] is True


@pytest.mark.parametrize("disk", ["Inconsistent", "Outdated", "Diskless"])
def test_no_permission_makes_incomplete_data_serve(vm, disk):
    server = vm(**{**ALONE, "disk": disk})
    server.fresh = False
    with pytest.raises(CommandExecutionError, match=f"{disk}, not UpToDate"):
        server.activate(alone=7)
    assert not {"promote", "promote by force", "disconnect"} & set(server.done)


def frozen(vm):
    server = vm()
    server.activate()
    server.drbd.update(ALONE, suspended="fencing", peer_role="Unknown")
    server.done.clear()
    return server


def test_suspended_writes_are_released_by_permission_only(vm):
    server = frozen(vm)
    assert server.activate()["frozen"] is True
    assert "resume" not in server.done
    assert server.activate(alone=7)["frozen"] is False
    assert server.done.count("resume") == 1 and not server.verdict.exists()


def test_the_permission_ends_by_itself_if_its_giver_is_killed(vm):
    server = vm()
    with server.data.permitted(4, 7):
        until, *words = server.verdict.read_text().split()
    assert words == ["epoch", "4", "revision", "7"]
    assert 0 < int(until) - time.clock_gettime(time.CLOCK_BOOTTIME) <= server.data.GRANTED


def test_a_failed_release_gives_up_nothing_that_was_served(vm):
    server = frozen(vm)
    server.breaks = {"resume"}
    with pytest.raises(CommandExecutionError, match="resume is broken"):
        server.activate(alone=7)
    assert server.module.status()["active"] is True and server.note == 3


@pytest.mark.parametrize("command", ["deactivate", "follow"])
def test_a_suspended_primary_ends_by_a_reboot_and_hangs_nobody(vm, command):
    server = frozen(vm)
    with pytest.raises(CommandExecutionError, match="only end by a reboot"):
        if command == "follow":
            server.module.follow("file2", 4, time.time() + 60)
        else:
            server.deactivate()
    assert server.done[-2:] == ["address.absent", server.module.STEP_DOWN]
    assert not {"nfs.stop", "umount", "demote"} & set(server.done)
    assert server.note == 3, "it is held until it has ended"


def test_a_higher_epoch_heard_meanwhile_ends_the_activation_before_the_address(vm):
    server = vm()
    start = server.module.__salt__["nfs.start"]

    def heard():
        start()
        server.epoch = 9

    server.module.__salt__["nfs.start"] = heard
    with pytest.raises(CommandExecutionError, match="9 was seen"):
        server.activate()
    assert "address.present" not in server.done
    assert server.module.status()["reason"].startswith("passive") and server.note == 0


def test_following_is_passive_and_connected(vm):
    server = vm(**PEER_ACTIVE)
    answer = server.module.follow("file2", 4, time.time() + 60)
    assert (answer["active"], answer["report"], answer["epoch"]) == (False, None, 4)
    assert server.done == ["claim", "address.absent", "nfs.stop"]


def test_an_active_vm_steps_down_to_follow_a_higher_epoch_but_not_its_own(vm):
    server = vm()
    server.activate()
    with pytest.raises(CommandExecutionError, match="holds epoch 3 itself"):
        server.module.follow("file2", 3, time.time() + 60)
    assert server.module.status()["active"] is True
    server.module.follow("file2", 4, time.time() + 60)
    assert (server.module.status()["active"], server.note) == (False, 0)


def test_following_names_who_does_not_answer(vm):
    server = vm(**{**ALONE, "connection": "StandAlone", "split_brain": None})
    with pytest.raises(CommandExecutionError, match="file2 does not answer"):
        server.module.follow("file2", 4, time.time() - 1)
    assert server.done[-1] == "connect"


def test_a_restart_that_did_not_help_is_noted(vm):
    server = vm()
    server.activate()
    server.breaks = {"nfs.restart"}
    with pytest.raises(CommandExecutionError, match="nfs.restart"):
        server.module.restart(3, time.time() + 60)
    assert server.health["files.restarted"] is True
    server.breaks = set()
    assert server.module.restart(3, time.time() + 60) == {"threads": 8}
    assert server.health["files.restarted"] is False


def test_half_an_activation_is_ended_so_that_it_is_activated_anew(vm):
    """The minion died after it had said that it serves: restarts failed for ever."""
    server = vm()
    server.note = 3
    with pytest.raises(CommandExecutionError, match="nothing is served"):
        server.module.restart(3, time.time() + 60)
    assert server.note == 0 and "nfs.restart" not in server.done
    assert server.activate()["active"] is True


def test_no_restart_where_writes_are_suspended(vm):
    server = frozen(vm)
    with pytest.raises(CommandExecutionError, match="suspended"):
        server.module.restart(3, time.time() + 60)
    assert "nfs.restart" not in server.done and "files.restarted" in server.health


def test_a_disk_that_was_left_out_serves_only_beside_its_peer(vm, tmp_path):
    """
    A side whose disk failed went on with the peer's; after a reboot it looked complete, and was
    promoted alone with old data.
    """
    (tmp_path / "behind").touch()
    server = vm(**{**ALONE, "disk": "Consistent"})
    with pytest.raises(CommandExecutionError, match="left out and is behind"):
        server.activate(alone=7)
    assert vm().activate(alone=7)["active"] is True


@pytest.mark.parametrize(("disk", "how"), [
    ("Outdated", "promote by force"), ("Consistent", "promote")])  # fmt: skip
def test_what_is_whole_but_behind_serves_when_an_operator_gives_up_the_rest(
    vm, tmp_path, disk, how
):
    (tmp_path / "behind").touch()
    server = vm(**{**ALONE, "disk": disk})
    assert server.activate(alone=7, lose_writes=True)["active"] is True
    assert how in server.done


def test_what_is_not_whole_serves_on_no_word(vm):
    server = vm(**{**ALONE, "disk": "Inconsistent"})
    server.fresh = False
    with pytest.raises(CommandExecutionError, match="data here is Inconsistent"):
        server.activate(alone=7, lose_writes=True)


def test_writes_without_any_disk_are_not_released(vm):
    server = frozen(vm)
    server.drbd.update(disk="Diskless", suspended="no-data")
    with pytest.raises(CommandExecutionError, match="disk here is Diskless"):
        server.activate(alone=7)
    assert "resume" not in server.done
