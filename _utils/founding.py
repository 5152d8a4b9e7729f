"""
What a VM does about a resource at the first bring-up: one pure decision.

`plan` is asked again after every step and after every restart, so it never depends on what an
earlier run remembered, only on the record (None: absent), on this VM's own evidence, and on who
the pillar says founds. The order of the founder's steps is claim, create, activate, mirror,
founded; wherever a power cut falls, the next state run continues there.

The evidence of this VM (``status``):
  active  True, False, or None (cannot be told now)
  epoch   highest epoch ever claimed on this disk, 0 if never. The claim is written *before* the
          record is created, so a record that is ours while nothing was ever claimed here means
          that this VM was destroyed and re-created: whatever it held is elsewhere or lost, and
          founding again would put an empty resource in its place.
  blank   True, False, None (cannot be told now); absent where the resource has no such notion.
  mirror  True if this VM is in step with its pair now (asked of a standby that has to follow).
"""

WAIT = "wait"  # nothing can be done yet; ask again until the deadline
NONE = "none"  # nothing to do here, now or later
REFUSE = "refuse"  # an operator has to look
STEPS = ("create", "activate", "mirror", "finish", "follow")


def plan(record, me, founder, status, follows=False, mirrors=True):
    """
    Return ``(action, reason)``; action is one of STEPS, "wait", "none" or "refuse".

    follows: a blank standby of this resource has to be told whom to follow (database).
    mirrors: there is a standby whose mirror ends the founding (false: no data, or no peer).
    """
    if record is None:
        if me != founder:
            return _standby(None, founder, status, follows, founder=False)
        return _without_record(founder, status)
    holder, epoch = record["holder"], record["epoch"]
    if holder != me:
        return _standby(record, holder, status, follows, founder=me == founder)
    if record["founding"]:
        return _founding(me, epoch, status, mirrors)
    return NONE, f"founded; {me} holds epoch {epoch}"


def _without_record(founder, status):
    """The founder finds no record: create it, unless something here has ever served."""
    if status["active"] is True:
        return REFUSE, (
            f"{founder} serves although the arbiter has no record: the arbiter's data is lost, "
            "and a new record could contradict the old one"
        )
    blank = status.get("blank", True)
    if blank is False:
        return REFUSE, (
            f"{founder} holds data although the arbiter has no record: founding is for blank "
            "disks, and the peer may have newer data"
        )
    if blank is None or status["active"] is None:
        return WAIT, f"cannot tell yet whether {founder} holds data or serves"
    return "create", f"no record yet, and {founder} comes first in the pillar"


def _founding(me, epoch, status, mirrors):
    """The record is ours and unfinished: continue where the evidence says we are."""
    if status["epoch"] < 1:
        return REFUSE, (
            f"the record says that {me} is founding epoch {epoch}, yet nothing was ever claimed "
            f"on this disk: {me} was re-created meanwhile, and founds nothing a second time"
        )
    if status["active"] is None:
        return WAIT, f"cannot tell yet whether {me} serves"
    if status["active"] is False:
        return "activate", f"{me} founds epoch {epoch} and does not serve yet"
    if mirrors:
        return "mirror", f"{me} serves epoch {epoch}; its first mirror is not complete"
    return "finish", f"{me} serves epoch {epoch}, and there is nothing to mirror"


def _standby(record, holder, status, follows, founder):
    """Somebody else holds or founds: follow it if this VM is blank, otherwise nothing."""
    if not follows:
        return NONE, f"{holder} is in charge; nothing to prepare on a standby"
    if status["blank"] is None:
        return WAIT, "cannot tell yet whether this VM is blank"
    if status["blank"] is False and not _cut_while_following(record, status, founder):
        return NONE, f"{holder} is in charge, and this VM has data already"
    if record is None:
        return WAIT, f"awaiting the record that {holder} creates"
    what = "is blank" if status["blank"] else "did not finish copying"
    return "follow", f"this VM {what}, and {holder} holds epoch {record['epoch']}"


def _cut_while_following(record, status, founder):
    """
    During the founding a VM that never served has its data from following, only. Following claims
    the founder's epoch, the first; only whom the pillar lets found may have served in that.
    """
    if record is None or not record["founding"]:
        return False
    served = status["epoch"] >= (1 if founder else 2)
    return not served and status.get("mirror") is not True
