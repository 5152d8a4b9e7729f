"""The local guard: what is late or outdated is refused, on the disk and before anything happens."""

import json
import os
import threading
import time

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.loading import load


@pytest.fixture
def claim(tmp_path):
    module = load("_modules/claim.py")
    module.DIRECTORY = str(tmp_path / "cluster")
    module.HELD = str(tmp_path / "held")
    return module


def soon():
    return time.time() + 60


def test_nothing_was_seen_on_a_new_vm(claim):
    assert claim.seen("files") == 0
    assert claim.settled("files") is False


def test_an_epoch_is_on_the_disk_when_the_claim_returns(claim):
    claim.take("files", 3, soon())
    with open(f"{claim.DIRECTORY}/files.json", encoding="utf-8") as file:
        assert json.load(file)["epoch"] == 3
    assert claim.seen("files") == 3
    assert claim.seen("database") == 0


def test_the_same_epoch_may_be_claimed_again(claim):
    claim.take("files", 3, soon())
    claim.take("files", 3, soon())
    assert claim.seen("files") == 3


def test_an_older_epoch_is_refused_and_named(claim):
    claim.take("files", 3, soon())
    with pytest.raises(CommandExecutionError, match="epoch 2 is over; epoch 3 was seen here"):
        claim.take("files", 2, soon())
    assert claim.seen("files") == 3


def test_a_late_command_is_refused_and_claims_nothing(claim):
    """A VM that was paused for a minute executes the old command when it thaws."""
    with pytest.raises(CommandExecutionError, match="deadline was over 60"):
        claim.take("files", 9, time.time() - 60)
    assert claim.seen("files") == 0


@pytest.mark.parametrize(("epoch", "deadline"), [
    (0, 1e10), (-1, 1e10), (True, 1e10), ("3", 1e10), (None, 1e10), (1.5, 1e10),
    (1, None), (1, "soon"), (1, True),
])
def test_bad_arguments_are_no_claim(claim, epoch, deadline):
    with pytest.raises(SaltInvocationError):
        claim.take("files", epoch, deadline)


@pytest.mark.parametrize("name", ["", "../files", "a/b", "files.json"])
def test_a_resource_is_a_plain_name(claim, name):
    with pytest.raises(SaltInvocationError):
        claim.seen(name)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"epoch": null}', '{"epoch": "x"}'])
def test_a_damaged_note_is_unknown_and_not_zero(claim, text):
    claim.take("files", 3, soon())
    with open(f"{claim.DIRECTORY}/files.json", "w", encoding="utf-8") as file:
        file.write(text)
    with pytest.raises(CommandExecutionError, match="cannot read the claim"):
        claim.seen("files")
    with pytest.raises(CommandExecutionError, match="cannot read the claim"):
        claim.take("files", 4, soon())


def test_a_cut_while_writing_leaves_the_old_note(claim):
    claim.take("files", 3, soon())
    with open(f"{claim.DIRECTORY}/files.json.new", "w", encoding="utf-8") as file:
        file.write('{"epo')
    assert claim.seen("files") == 3
    claim.take("files", 4, soon())
    assert claim.seen("files") == 4


def test_whether_a_claim_could_be_kept_is_found_out_without_one(claim):
    assert claim.probe("files") is True, "of a job, None is no answer"
    assert claim.seen("files") == 0
    claim.take("files", 3, soon())
    claim.probe("files")
    assert claim.seen("files") == 3
    os.mkdir(f"{claim.DIRECTORY}/files.json.new")  # as good as a full disk: nothing can be written
    with pytest.raises(CommandExecutionError, match="cannot keep the claim"):
        claim.probe("files")
    assert claim.seen("files") == 3


def test_settled_survives_later_epochs(claim):
    claim.take("files", 1, soon())
    claim.settle("files")
    claim.take("files", 2, soon())
    assert claim.settled("files") is True
    assert claim.seen("files") == 2


def test_of_many_threads_the_highest_epoch_stays(claim):
    def attempt(epoch):
        try:
            claim.take("files", epoch, soon())
        except CommandExecutionError:
            outdated.append(epoch)

    outdated = []
    threads = [threading.Thread(target=attempt, args=(epoch,)) for epoch in range(1, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert claim.seen("files") == 20
    assert 20 not in outdated


@pytest.mark.parametrize(("begun", "permission", "refused"), [
    (None, 1, False), (7, 6, True), (7, 7, True), (7, 8, False),
])
def test_a_mirror_voids_the_permissions_to_go_on_alone_before_it(
    claim, begun, permission, refused
):
    """In time and of the right epoch, it would switch a verified mirror off (see tests/model)."""
    claim.take("files", 3, soon())
    if begun:
        claim.mirroring("files", 3, soon(), begun)
    if not refused:
        claim.take("files", 3, soon(), alone=permission)
        return
    with pytest.raises(CommandExecutionError, match="a mirror was begun at revision 7"):
        claim.take("files", 3, soon(), alone=permission)


def test_the_revision_of_a_mirror_never_falls_and_survives_later_epochs(claim):
    claim.mirroring("files", 3, soon(), 9)
    claim.mirroring("files", 4, soon(), 5)
    claim.settle("files")
    with pytest.raises(CommandExecutionError, match="begun at revision 9"):
        claim.take("files", 4, soon(), alone=9)


def test_a_mirror_is_not_begun_for_a_revision_before_the_last_permission(claim):
    """The swap would be refused, and synchronous mode left on behind a mirror that was let go."""
    claim.take("files", 3, soon(), alone=8)
    with pytest.raises(CommandExecutionError, match="revision 8 permitted to go on alone, after 7"):
        claim.mirroring("files", 3, soon(), 7)
    claim.take("files", 3, soon(), alone=8)
    claim.mirroring("files", 3, soon(), 8)


def test_a_permission_of_an_epoch_that_is_over_keeps_no_mirror_away(claim):
    claim.take("files", 3, soon(), alone=8)
    claim.take("files", 4, soon())
    claim.mirroring("files", 4, soon(), 2)


def test_a_late_or_outdated_mirror_voids_nothing(claim):
    claim.take("files", 3, soon())
    for epoch, deadline in ((2, soon()), (3, time.time() - 1)):
        with pytest.raises(CommandExecutionError):
            claim.mirroring("files", epoch, deadline, 9)
    claim.take("files", 3, soon(), alone=1)


@pytest.mark.parametrize("revision", [0, -1, True, "7", 1.0])
def test_a_revision_is_a_whole_number(claim, revision):
    with pytest.raises(SaltInvocationError):
        claim.take("files", 3, soon(), alone=revision)


def test_late_command_without_an_epoch_is_refused(claim):
    claim.in_time("database", soon())
    with pytest.raises(CommandExecutionError, match=r"^database: refused, .*deadline was over 60"):
        claim.in_time("database", time.time() - 60)
    with pytest.raises(SaltInvocationError):
        claim.in_time("database", "tomorrow")


def test_one_command_of_a_resource_is_at_work_at_a_time(claim):
    with claim.role("files", soon()):
        claim.take("files", 3, soon())
        with claim.role("database", soon()):
            pass
        with pytest.raises(CommandExecutionError, match="another command was still at work"):
            with claim.role("files", time.time() + 0.1):
                pass
    with claim.role("files", soon()):
        pass


def test_what_is_held_is_said_until_it_is_released(claim):
    claim.take("files", 3, soon())
    assert claim.held("files") == 0
    claim.hold("files", 3)
    with open(f"{claim.HELD}/files.json", encoding="utf-8") as file:
        assert json.load(file) == {"epoch": 3}
    assert claim.held("files") == 3
    assert claim.held("database") == 0
    claim.release("files")
    claim.release("files")
    assert claim.held("files") == 0


@pytest.mark.parametrize("epoch", [2, 4])
def test_only_the_epoch_that_was_claimed_last_is_held(claim, epoch):
    """A higher one may have been heard, and stepped down for, since the claim."""
    claim.take("files", 3, soon())
    with pytest.raises(CommandExecutionError, match="3 was seen last"):
        claim.hold("files", epoch)
    assert claim.held("files") == 0
