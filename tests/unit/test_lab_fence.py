"""The lab's power switches, asked by the fence agent that the VMs have."""

import http.server
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from lab import fence
from tests.loading import ROOT


class Rack:
    """What the device needs of a lab: machines with power, a server, and the mode."""

    def __init__(self, folder):
        self.on = {"db1", "web1"}
        self.fence = SimpleNamespace(folder=folder, mode="honest")
        self.known = {}
        self.machines = {name: self.machine(name) for name in ("db1", "web1")}
        self.servers = {"server1": SimpleNamespace(machines=list(self.machines.values()))}

    def machine(self, name):
        rack = self

        class Machine:
            running = property(lambda self: name in rack.on)

        return Machine()

    def secrets(self):
        return {"fencing": self.known}

    def crash(self, plug):
        self.on -= {plug} if plug in self.machines else set(self.machines)

    def start(self, plug):
        self.on |= {plug} if plug in self.machines else set(self.machines)


@pytest.fixture
def rack(tmp_path):
    rack = Rack(tmp_path)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), fence.handler(fence.Device(rack)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rack.port = server.server_address[1]
    yield rack
    server.shutdown()
    server.server_close()


def agent(rack, action, plug="", timeout=10):
    """Call the agent as a cluster does; return its exit code."""
    words = f"action={action}\nport={plug}\nipaddr=127.0.0.1\nipport={rack.port}\npasswd=a b&c\n"
    done = subprocess.run([sys.executable, ROOT / "lab/fence_lab.py"], input=words, text=True,
                          capture_output=True, timeout=timeout)
    print(done.stdout, done.stderr)
    return done.returncode


ON, OFF, FAILED, DONE = 0, 2, 1, 0


def test_an_honest_device_cuts_the_power_of_a_vm_and_of_a_server(rack):
    assert agent(rack, "status", "db1") == ON
    assert agent(rack, "off", "db1") == DONE
    assert rack.on == {"web1"} and agent(rack, "status", "db1") == OFF
    assert agent(rack, "status", "server1") == ON
    assert agent(rack, "off", "server1") == DONE
    assert rack.on == set() and agent(rack, "status", "server1") == OFF
    assert agent(rack, "on", "web1") == DONE and rack.on == {"web1"}
    assert agent(rack, "off", "db9") == FAILED
    assert agent(rack, "monitor") == DONE and agent(rack, "list") == DONE


def test_an_idle_device_says_that_it_did_and_admits_that_it_did_not(rack):
    rack.fence.mode = "idle"
    assert agent(rack, "off", "db1") == DONE
    assert agent(rack, "status", "db1") == ON and "db1" in rack.on


def test_a_lying_device_says_off_of_what_runs(rack):
    rack.fence.mode = "lie"
    assert agent(rack, "status", "db1") == ON
    assert agent(rack, "off", "db1") == DONE
    assert agent(rack, "status", "db1") == OFF and "db1" in rack.on


def test_a_refusing_device_fails_and_a_hanging_one_does_not_answer(rack):
    rack.fence.mode = "refuse"
    assert agent(rack, "off", "db1") == FAILED and agent(rack, "status", "db1") == FAILED
    rack.fence.mode = "refuse:vms"
    assert agent(rack, "off", "db1") == FAILED and agent(rack, "status", "server1") == ON
    rack.fence.mode = "hang"
    with pytest.raises(subprocess.TimeoutExpired):
        agent(rack, "off", "db1", timeout=1)
    assert "db1" in rack.on


def test_a_device_with_a_password_obeys_nobody_without_it(rack):
    rack.known = {"switch": "a b&d"}
    assert agent(rack, "off", "db1") == FAILED and "db1" in rack.on
    rack.known["rack"] = "a b&c"
    assert agent(rack, "off", "db1") == DONE and "db1" not in rack.on


def test_the_agent_understands_options_and_describes_itself(rack):
    command = [sys.executable, ROOT / "lab/fence_lab.py"]
    words = ["-a", "127.0.0.1", f"--ipport={rack.port}", "-n", "db1", "--action=status"]
    assert subprocess.run([*command, *words], capture_output=True).returncode == ON
    done = subprocess.run([*command, "-o", "metadata"], capture_output=True, text=True)
    assert done.returncode == 0 and "resource-agent" in done.stdout
