"""Kernel parameters: set now, kept for the boot, and honest about what a kernel lacks."""

import pytest

from tests.loading import load


@pytest.fixture
def proc(tmp_path):
    (tmp_path / "net/ipv4/vs").mkdir(parents=True)
    (tmp_path / "net/ipv4/ip_forward").write_text("0\n")
    (tmp_path / "net/ipv4/vs/sync_threshold").write_text("1\t50\n")
    (tmp_path / "net/ipv4/conf/eth0.7").mkdir(parents=True)
    (tmp_path / "net/ipv4/conf/eth0.7/send_redirects").write_text("1\n")
    return tmp_path


def sysctls(proc, test=False):
    state = load("_states/sysctls.py", opts={"test": test})
    state.PROC = str(proc)
    return state


WANTED = {
    "net.ipv4.ip_forward": 1,
    "net.ipv4.vs.sync_threshold": "1 50",
    "net/ipv4/conf/eth0.7/send_redirects": 0,
}


def test_values_and_file_are_set_once(proc):
    file = proc / "sysctl.d" / "60.conf"
    first = sysctls(proc).managed(str(file), WANTED)
    assert first["result"] is True
    assert set(first["changes"]) == {
        "net.ipv4.ip_forward",
        "net/ipv4/conf/eth0.7/send_redirects",
        str(file),
    }
    assert (proc / "net/ipv4/ip_forward").read_text() == "1"
    assert "net.ipv4.vs.sync_threshold = 1 50\n" in file.read_text()
    assert sysctls(proc).managed(str(file), WANTED)["changes"] == {}


def test_drift_in_the_running_kernel_is_mended(proc):
    file = str(proc / "60.conf")
    sysctls(proc).managed(file, WANTED)
    (proc / "net/ipv4/ip_forward").write_text("0\n")
    assert set(sysctls(proc).managed(file, WANTED)["changes"]) == {"net.ipv4.ip_forward"}


def test_missing_parameter_fails_before_anything_is_set(proc):
    ret = sysctls(proc).managed(str(proc / "60.conf"), {**WANTED, "net.ipv4.absent": 1})
    assert ret["result"] is False and ret["changes"] == {} and "net.ipv4.absent" in ret["comment"]
    assert (proc / "net/ipv4/ip_forward").read_text() == "0\n"


def test_optional_parameter_may_be_missing_and_does_not_stop_the_boot(proc):
    file = proc / "60.conf"
    ret = sysctls(proc).managed(str(file), WANTED, optional={"net.ipv4.absent": 1})
    assert ret["result"] is True and "-net.ipv4.absent = 1\n" in file.read_text()
    again = sysctls(proc).managed(str(file), WANTED, optional={"net.ipv4.absent": 1})
    assert again["changes"] == {} and "net.ipv4.absent" in again["comment"]


@pytest.mark.parametrize("extra", [{}, {"net.ipv4.absent": 1}])
def test_test_mode_only_tells(proc, extra):
    ret = sysctls(proc, test=True).managed(str(proc / "60.conf"), WANTED | extra)
    assert ret["result"] is None
    assert (proc / "net/ipv4/ip_forward").read_text() == "0\n" and not (proc / "60.conf").exists()
