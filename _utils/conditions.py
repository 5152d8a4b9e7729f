"""
Why the decider leaves something undone: a closed list, each with its evidence.

A refusal is ``{"condition", "sentence", "command"}``: the name below, what was seen, and what an
operator may type after having looked (None where no command would help).
"""

import enum


class Condition(enum.Enum):
    """Name: (sentence, command); the comment says what the evidence is."""

    # The arbiter gave no answer in time, or has no quorum. Never read as "there is no record".
    ARBITER_UNREACHABLE = (
        "the arbiter does not answer, so nobody knows who may serve {resource}",
        None,
    )
    # The arbiter answered: there is no record. The first bring-up is the states' business.
    NOT_FOUNDED = ("{resource} was never founded", "salt '*' state.apply")
    # The record says founding; until the first mirror nobody but the founder may change it.
    FOUNDING = ("{holder} is still founding {resource}", "salt '*' state.apply")
    # A VM proves (on its disk or in a heartbeat) an epoch that the record has not reached.
    RECORD_OUTDATED = (
        "{vm} has seen epoch {seen} of {resource}, the record says {epoch}: the arbiter's data is "
        "older than the cluster",
        None,
    )
    # One observer is silent about the VM on all links, another hears it.
    OBSERVERS_DISAGREE = ("{vm} is not heard by {deaf}, but by {hearing}", None)
    # Every observer hears the VM on at least one link.
    LINK_SILENT = ("{vm} is silent on {silent}, but heard on {heard}", None)
    # Some observer has not heard the VM since it started, and initdead is not over.
    IN_INITDEAD = ("{vm} was not heard yet, and initdead is not over at {observers}", None)
    # No view of any observer mentions the VM.
    UNOBSERVED = ("nobody who answers observes {vm}", None)
    # The deciding master hears none of the VMs that it observes.
    CUT_OFF = ("{observer} hears nobody at all: it is cut off itself", None)
    # The VM or its server was taken out of service by an operator.
    ABSENT_ON_PURPOSE = ("{vm} is out of service on purpose", "salt-run ha.restore {vm}")
    # The pillar has no other VM of this role.
    NO_STANDBY = ("there is no standby for {resource}", None)
    # The standby is silent as well.
    STANDBY_LOST = ("the standby {vm} is lost as well", None)
    # The record says mirrored=false: the holder was permitted to acknowledge alone.
    NOT_MIRRORED = (
        "{vm} lacks what {holder} acknowledged alone in epoch {epoch}: all writes since the mirror "
        "was lost would be gone; bring {holder} back",
        "salt-run ha.switch {resource} {vm} lose_writes_of={holder}{word}",
    )
    # The standby itself says that its copy is not complete, or cannot be applied.
    STANDBY_UNFIT = (
        "{vm} itself says that it cannot take {resource} over: it may lack what {holder} "
        "acknowledged; bring {holder} back",
        "salt-run ha.switch {resource} {vm} lose_writes_of={holder}{word}",
    )
    # The standby is heard, but does not say whether it could take over.
    STANDBY_UNKNOWN = ("{vm} does not say whether it can take {resource} over", None)
    # The director needs the public and the internal network on the same balancer (I3).
    NETWORK_MISSING = ("{vm} does not have both networks, which the director needs", None)
    # Too many automatic failovers of this resource in too short a time.
    FLAPPING = (
        "{resource} moved {count} times within {minutes} min by itself; it moves no more until "
        "somebody has looked",
        "salt-run ha.acknowledge {resource}",
    )
    # Driver "operator": silence is no proof of death, and there is nobody to ask.
    UNCONFIRMED = ("nobody has confirmed that {vm} is dead", "salt-run ha.confirm_dead {where}")
    # The same, where what only that VM has would be given up at once.
    LOSS_UNCONFIRMED = (
        "nobody has confirmed that {holder} is dead, whose writes are to be given up",
        "salt-run ha.switch {resource} {vm} lose_writes_of={holder}{word}",
    )
    # Drivers without a third machine: this balancer booted after the other one was heard last.
    NOT_COMPARED = (
        "{me} has not compared its records with {vm} since it booted: what was changed and "
        "written without it, only {where} knows",
        "salt-run ha.confirm_dead {where} lose_writes_of={where}",
    )
    # The holder runs, its service does not: what is tried first costs less than a failover.
    RESTART_FIRST = ("{vm} runs, so its service is restarted there first", None)
    # The holder is heard, but does not say what it serves.
    HOLDER_UNKNOWN = ("{vm} is heard, but does not say whether it serves {resource}", None)
    # The VM has another role than those that can hold the resource.
    NOT_ITS_ROLE = ("{vm} can never hold {resource}; {able} can", None)
    # An operator gives up the writes of a VM that is not the recorded holder.
    NOT_THE_HOLDER = ("{named} does not hold {resource}, {holder} does", None)
    # The record says mirrored, and the standby that it could take over: it has everything.
    NOTHING_TO_LOSE = (
        "{vm} has every write that {holder} acknowledged; nothing has to be given up",
        "salt-run ha.switch {resource} {vm}",
    )
    # The holder whose writes an operator would give up is heard, and serves or may serve.
    HOLDER_LIVES = (
        "{holder} lives and serves {resource}: wait until {vm} is mirrored, nothing is lost then",
        "salt-run ha.status",
    )
    # Of the web servers that would stay, none is up and in the pool.
    NO_WEB_LEFT = ("no web server would be left: {vm} not up, or drained", "salt-run ha.status")
    # Without the arbiter's members that would leave, fewer than a majority answer.
    NO_MAJORITY_LEFT = ("of the arbiter's {count} members only {vm} would be left", None)
    # What was to be confirmed dead sends heartbeats that somebody hears.
    STILL_ALIVE = ("{vm} is heard, so it is not dead", None)
    # A VM that is to come back into service is not heard.
    NOT_BACK = ("{vm} is not heard yet; start it first", None)
    # The driver does not ask an operator: its record decides, whoever is silent.
    NOT_ASKED = ("the arbiter's driver is {driver}: it asks no operator who is dead", None)


def refusal(name, **facts):
    """Return condition ``name`` of these facts: ``{"condition", "sentence", "command"}``."""
    sentence, command = Condition[name].value
    return {
        "condition": name,
        "sentence": sentence.format(**facts),
        "command": command and command.format(**facts),
    }


def names():
    """Return the names of all conditions."""
    return [condition.name for condition in Condition]
