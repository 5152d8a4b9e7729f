"""The director: both addresses or none, and never against the record."""

import contextlib

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import load

PUBLIC = {"address": "203.0.113.10", "prefix": 24, "interface": "eth0"}
GATEWAY = {"address": "192.168.10.1", "prefix": 24, "interface": "eth1"}
CLUSTER = {
    "networks": {
        "public": {
            "interface": "eth0",
            "subnet": "203.0.113.0/24",
            "gateway": "203.0.113.1",
        },
        "internal": {"interface": "eth1", "subnet": "192.168.10.0/24"},
    },
    "addresses": {"public": "203.0.113.10", "gateway": "192.168.10.1"},
    "sizes": {"balancer": {"vcpus": 1, "memory": "500M", "disk": "8G"}},
    "vms": {"lb1": {"role": "balancer", "addresses": {"internal": "192.168.10.10"}}},
}


class Balancer:
    """What the director's modules would do to one balancer, in order."""

    def __init__(self, held=()):
        self.held, self.done, self.broken = list(held), [], {}

    def salt(self):
        return {
            "claim.role": lambda *a: contextlib.nullcontext(self.step("role", a)),
            "claim.take": lambda *a, alone=None: self.step("claim", a),
            "claim.hold": lambda *a: self.step("hold", a),
            "claim.release": lambda resource: self.step("release"),
            "claim.seen": lambda _resource: 4,
            "ipvs.restore": lambda: self.step("restore"),
            "ipvs.loaded": lambda: True,
            "address.present_all": self.present,
            "address.absent_all": self.absent,
            "address.missing": lambda entries: [
                entry["address"] for entry in entries if entry not in self.held],
        }

    def step(self, name, detail=None):
        if name in self.broken:
            raise CommandExecutionError(self.broken[name])
        self.done.append((name, detail) if detail else name)

    def present(self, addresses, gateway):
        self.step("present", gateway)
        self.held = addresses

    def absent(self, addresses):
        self.step("absent")
        self.held = [entry for entry in self.held if entry not in addresses]


@pytest.fixture
def balancer():
    return Balancer()


@pytest.fixture
def director(balancer):
    return load(
        "_modules/director.py",
        salt=balancer.salt(),
        pillar={"cluster": CLUSTER},
        grains={"id": "lb1"},
    )


def test_activation_claims_then_fills_the_table_then_takes_both_addresses(director, balancer):
    answer = director.activate(4, 1000)
    assert balancer.done == [
        ("role", ("director", 1000)),
        ("claim", ("director", 4, 1000)),
        ("hold", ("director", 4)),
        "restore",
        ("present", "203.0.113.1"),
    ]
    assert balancer.held == [PUBLIC, GATEWAY]
    assert (answer["active"], answer["epoch"], answer["mirror"]) == (True, 4, True)
    assert list(answer["seconds"]) == ["claim", "table", "addresses"]


def test_a_balancer_says_that_it_holds_the_director_until_both_addresses_are_gone(
    director, balancer
):
    director.activate(4, 1000)
    balancer.broken["absent"] = "RTNETLINK answers: busy"
    with pytest.raises(CommandExecutionError, match="busy"):
        director.deactivate(5, 1000)
    assert "release" not in balancer.done
    del balancer.broken["absent"]
    director.deactivate(5, 1000)
    assert balancer.done[-2:] == ["absent", "release"]


def test_a_failed_activation_no_longer_says_that_it_holds(director, balancer):
    balancer.broken["present"] = "no such device"
    with pytest.raises(CommandExecutionError, match="no such device"):
        director.activate(4, 1000)
    assert balancer.done[-2:] == ["absent", "release"]


@pytest.mark.parametrize("broken", ["claim", "restore"])
def test_refused_or_tableless_balancer_takes_no_address(director, balancer, broken):
    balancer.broken[broken] = "no"
    with pytest.raises(CommandExecutionError, match="no"):
        director.activate(4, 1000)
    assert balancer.held == []


@pytest.mark.parametrize("broken", ["restore", "present"])
def test_a_holder_whose_repeated_activation_fails_gives_both_up(director, balancer, broken):
    director.activate(4, 1000)
    balancer.broken[broken] = "no"
    with pytest.raises(CommandExecutionError, match="no"):
        director.activate(4, 1000)
    assert balancer.held == []


def test_a_refused_claim_leaves_the_holder_of_a_newer_epoch_alone(director, balancer):
    director.activate(4, 1000)
    balancer.broken["claim"] = "epoch 3 is over"
    with pytest.raises(CommandExecutionError, match="epoch 3 is over"):
        director.activate(3, 1000)
    assert balancer.held == [PUBLIC, GATEWAY]


def test_an_address_that_cannot_be_given_up_is_told_with_the_cause(director, balancer):
    director.activate(4, 1000)
    balancer.broken.update(restore="no table", absent="RTNETLINK answers: busy")
    with pytest.raises(CommandExecutionError, match="no table; and an address .* busy"):
        director.activate(4, 1000)


def test_deactivation_gives_up_both_and_may_be_repeated(director, balancer):
    director.activate(4, 1000)
    for _ in range(2):
        assert director.deactivate(5, 1000)["active"] is False
        assert balancer.held == []


def test_late_deactivation_leaves_a_newer_holder_alone(director, balancer):
    """A thawed balancer executes the old command; the claim, not this module, must stop it."""
    director.activate(4, 1000)
    balancer.broken["claim"] = "too late"
    with pytest.raises(CommandExecutionError):
        director.deactivate(4, 1)
    assert balancer.held == [PUBLIC, GATEWAY]


def test_without_public_gateway_there_is_no_default_route(director, balancer, monkeypatch):
    monkeypatch.setitem(CLUSTER["networks"], "public", {**CLUSTER["networks"]["public"]})
    del CLUSTER["networks"]["public"]["gateway"]
    director.activate(4, 1000)
    assert balancer.done[-1] == "present"


@pytest.mark.parametrize(
    ("held", "active"),
    [([PUBLIC, GATEWAY], True), ([], False), ([PUBLIC], None), ([GATEWAY], None)],
)
def test_half_a_director_is_neither_active_nor_passive(director, balancer, held, active):
    balancer.held = held
    assert director.status()["active"] is active
