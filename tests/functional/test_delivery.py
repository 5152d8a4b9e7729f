"""What a minion gets from a master: modules, and its own share of the secrets."""

import pytest
import yaml

SHARES = {
    "web1": {"database", "moodle", "ca", "certificate", "heartbeat"},
    "db1": {"database", "ca", "certificate", "heartbeat"},
    "file1": {"drbd", "ca", "certificate", "heartbeat"},
    "lb1": {"salt", "ca", "certificate", "heartbeat"},
    "witness": {"ca", "certificate", "heartbeat"},
}


def passwords(value):
    """Return every leaf string of ``value``."""
    if isinstance(value, dict):
        return {leaf for item in value.values() for leaf in passwords(item)}
    return {value}


@pytest.mark.parametrize("vm", SHARES)
def test_secrets_reach_only_the_roles_that_need_them(run, tree, salt, vm):
    shown = run("pillar.show_pillar", vm).data
    assert set(shown["secrets"]) == SHARES[vm]
    everything = yaml.safe_load((tree / "pillar/secrets.sls").read_text())["secrets"]
    mine = passwords(shown["secrets"])
    assert everything["ca"]["key"] not in mine
    others = {name: pair for name, pair in everything["certificates"].items() if name != vm}
    assert not mine & {pair["key"] for pair in others.values()}
    if vm.startswith("file") or vm == "witness":
        assert not mine & set(everything["database"].values())


def test_secrets_are_not_served_to_minions_as_files(salt):
    files = salt("web1", "cp.list_master").data
    assert [name for name in files if "secrets" in name or name.startswith("pillar")] == []
    assert [name for name in files if name.startswith("_modules/")]


def test_modules_and_states_of_ours_arrive_by_sync(salt):
    done = salt("web1", "topology.me")
    assert done.data["name"] == "web1"
    documented = salt("web1", "sys.list_functions", "topology").data
    assert "topology.peer" in documented
