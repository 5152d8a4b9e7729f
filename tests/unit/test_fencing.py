"""Switched off for certain: agents that obey, lie, hang and refuse, as programs that are run."""

import json
import time
import types

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests import pillars
from tests.loading import load

# A power switch with a memory, speaking as Debian's agents do: parameters on standard input, exit
# code 0 for done and "on", 2 for "off". Its `mode` is how it behaves.
AGENT = r"""#!/bin/sh
folder=${0%/*}
while IFS= read -r line; do
    case $line in
        action=*) action=${line#*=} ;; ip=*) ip=${line#*=} ;;
        plug=*) plug=${line#*=} ;; password=*) password=${line#*=} ;;
    esac
done
echo "$ip $action $plug $#" >> "$folder/asked"
read -r mode < "$folder/mode-$ip"
[ "$mode" = hang ] && sleep 60
if [ "$mode" = refuse ] || [ "$password" != "pass word=1" ]; then
    echo "login failed with $password" >&2
    exit 1
fi
if [ "$action" = off ]; then
    [ "$mode" = idle ] || : > "$folder/off-$plug"
    exit 0
fi
[ -e "$folder/off-$plug" ] && exit 2
exit 0
"""


class Site:
    """A balancer, its pillar and two devices; what else is heard after the cut is `heard`."""

    def __init__(self, folder):
        self.folder, self.heard = folder, []
        self.agreed, self.secured = "lb2", []
        cluster = pillars.cluster()
        cluster["heartbeat"]["keepalive"] = 0.01
        devices = {
            name: {"agent": "fence_try", "timeout": 20, "options": {"ip": name}}
            for name in ("host1", "pdu1")
        }
        cluster["fencing"] = {
            "delay": 0.4, "devices": devices,
            "vms": {"file1": [{"device": "host1", "plug": "file1"}]},
            "servers": {"server1": [{"device": "pdu1", "plug": ["3", "4"]}]},
        }
        agent = folder / "fence_try"
        agent.write_text(AGENT)
        agent.chmod(0o755)
        self.behave(host1="honest", pdu1="honest")
        self.module = load(
            "_modules/fencing.py", grains={"id": "lb2"},
            pillar={"cluster": cluster,
                    "secrets": {"fencing": dict.fromkeys(devices, "pass word=1")}},
            salt={"heartbeat.view": self.view,
                  "copies.agreed": lambda key: [json.dumps({"holder": self.agreed}), 7],
                  "copies.secure": self.secure,
                  "heartbeat.unreachable": lambda vm: vm not in self.heard},
        )
        self.module.DIRECTORY, self.module.TIMEOUT = str(folder), 1

    def secure(self, vm):
        self.secured.append((vm, (self.folder / "asked").exists()))

    def behave(self, **modes):
        for name, mode in modes.items():
            (self.folder / f"mode-{name}").write_text(f"{mode}\n")

    def asked(self):
        return [line.rsplit(" ", 1)[0] for line in (self.folder / "asked").read_text().splitlines()]

    def view(self):
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        names = pillars.cluster()["vms"]
        return {"at": now, "peers": {
            name: {"silence": 0 if name in self.heard else 9} for name in names}}


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_a_vm_is_off_when_its_device_says_so_afterwards(site):
    found = site.module.off("file1")
    assert (found["off"], found["level"], found["device"]) == (["file1"], "vm", "host1")
    assert site.asked() == ["host1 off file1", "host1 status file1"]
    assert found["tried"] == []


def test_no_password_reaches_the_command_line_or_a_message(site):
    site.behave(host1="refuse", pdu1="refuse")
    with pytest.raises(CommandExecutionError) as error:
        site.module.off("file1")
    assert "pass word" not in str(error.value)
    assert "login failed with ***" in str(error.value)
    lines = (site.folder / "asked").read_text().splitlines()
    assert all(line.endswith(" 0") for line in lines)


@pytest.mark.parametrize(("mode", "said"), [
    ("refuse", "login failed"), ("hang", "no answer within 2 s"), ("idle", "is still on"),
])
def test_a_device_that_does_not_do_it_is_followed_by_the_servers(site, mode, said):
    site.behave(host1=mode)
    site.module.__pillar__["cluster"]["fencing"]["devices"]["host1"]["timeout"] = 2
    found = site.module.off("file1")
    assert (found["level"], found["off"]) == ("server", ["lb1", "web1", "file1", "db1"])
    assert said in found["tried"][0]
    assert [line for line in site.asked() if "pdu1" in line] == [
        "pdu1 off 3", "pdu1 status 3", "pdu1 off 4", "pdu1 status 4"]


def test_a_device_that_lies_is_found_out_by_the_heartbeats(site):
    site.behave(host1="lie", pdu1="lie")
    site.heard = ["file1"]
    with pytest.raises(CommandExecutionError) as error:
        site.module.off("file1")
    assert str(error.value).count("said to be off, but heard: file1") == 2


def test_a_vm_without_a_device_of_its_own_goes_off_with_its_server(site):
    assert site.module.off("db1")["level"] == "server"


def test_a_balancer_never_switches_off_its_own_server_or_itself(site):
    with pytest.raises(CommandExecutionError, match="names no fence device for it"):
        site.module.off("file2")
    for name in ("lb2", "file9"):
        with pytest.raises(SaltInvocationError):
            site.module.off(name)


def test_every_agent_is_in_a_package_unless_the_pillar_says_that_it_is_there(site):
    devices = site.module.__pillar__["cluster"]["fencing"]["devices"]
    devices.update(board={"agent": "fence_apc_snmp"}, own={"agent": "fence_own", "package": ""},
                   drac={"agent": "fence_idrac", "package": "fence-agents-ipmilan"})  # fmt: skip
    assert site.module.packages() == [
        "fence-agents-apc-snmp", "fence-agents-ipmilan", "fence-agents-try"]


def test_no_copy_of_the_data_goes_off_before_the_other_balancer_is_known(site):
    site.module.off("file1", silent=True)
    assert site.secured == [("file1", False)], "before any device was asked"
    site.module.off("lb1", silent=True)
    assert len(site.secured) == 1, "the other balancer is what this is about"


@pytest.mark.parametrize("vm", ["file1", "lb1"])
def test_who_is_heard_again_at_the_last_moment_stays_on(site, vm):
    site.agreed, site.module.time = "lb1", types.SimpleNamespace(**vars(time))
    site.module.__salt__["copies.secure"] = site.heard.append
    site.module.time.sleep = lambda seconds: site.heard.append("lb1")
    with pytest.raises(CommandExecutionError, match=f"{vm} is heard"):
        site.module.off(vm, silent=True)
    assert not (site.folder / "asked").exists()


def test_who_is_heard_after_the_first_try_stays_on(site):
    site.behave(host1="refuse")
    call = site.module._call

    def thaws(*arguments):
        site.heard = ["file1"]
        return call(*arguments)

    site.module._call = thaws
    with pytest.raises(CommandExecutionError, match="file1 is heard"):
        site.module.off("file1", silent=True)
    assert not any("pdu1" in line for line in site.asked())


def test_a_word_stands_in_for_a_power_off_that_cannot_be_verified_and_for_nothing_else(site):
    site.behave(host1="refuse", pdu1="refuse")
    found = site.module.off("file1", silent=True, confirmed=True)
    assert (found["level"], len(found["tried"])) == ("word", 2)
    site.heard = ["file1"]
    with pytest.raises(CommandExecutionError, match="file1 is heard"):
        site.module.off("file1", silent=True, confirmed=True)


@pytest.mark.parametrize(("agreed", "waits"), [("lb2", 0), ("lb1", 1)])
def test_who_did_not_serve_when_they_last_agreed_waits_before_it_cuts_the_other(
    site, agreed, waits
):
    waited = []
    site.module.time = types.SimpleNamespace(**vars(time) | {"sleep": waited.append})
    site.agreed = agreed
    site.module.off("file1")
    assert 0.4 not in waited
    site.module.off("lb1")
    assert waited.count(0.4) == waits


def test_the_state_of_every_switch_can_be_asked(site):
    site.behave(pdu1="refuse")
    said = site.module.status("file1")
    assert said["host1 file1 (vm)"] == "on"
    assert "login failed" in said["pdu1 3 (server)"]


def test_an_agent_that_is_not_installed_is_named(site):
    (site.folder / "fence_try").unlink()
    with pytest.raises(CommandExecutionError, match="is the package fence-agents installed"):
        site.module.off("file1")
