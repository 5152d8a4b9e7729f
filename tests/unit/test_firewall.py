"""The packet filter: loaded by the real nft in a namespace, and honest where there is none."""

import json
import subprocess
import sys

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import ROOT, load

NAMESPACE = """
import json, sys
from tests.loading import load
file = sys.argv[1]
firewall = load("_modules/firewall.py")
firewall.NOTE = file + ".note/loaded"
answers = {"unavailable": firewall.unavailable(), "before": firewall.loaded("inet cluster"),
           "unloaded": firewall.current(file)}
open(file, "w").write("table inet cluster\\ndelete table inet cluster\\n"
                                         "table inet cluster {\\nchain c {\\n}\\n}\\n")
firewall.load(file)
firewall.load(file)
answers["after"] = firewall.loaded("inet cluster"), firewall.current(file)
open(file, "w").write("delete table inet cluster\\ntable inet x { nonsense }\\n")
try:
    firewall.load(file)
except Exception as error:
    answers["error"] = type(error).__name__
answers["still"] = firewall.loaded("inet cluster"), firewall.current(file)
print(json.dumps(answers))
"""


def test_file_is_loaded_whole_or_not_at_all(tmp_path):
    done = subprocess.run(
        ["unshare", "-Urn", sys.executable, "-c", NAMESPACE, str(tmp_path / "rules.nft")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "unavailable": None,
        "before": False,
        "unloaded": False,
        "after": [True, True],
        "error": "CommandExecutionError",
        "still": [True, False],
    }


def refused(monkeypatch, recorded):
    """Let nft fail with the standard error it was recorded with."""
    firewall = load("_modules/firewall.py")
    stderr = (ROOT / "tests/data" / recorded).read_text(encoding="utf-8")
    monkeypatch.setattr(
        firewall, "_run", lambda *args: subprocess.CompletedProcess(args, 1, "", stderr)
    )
    return firewall


def test_kernel_without_ipv4_filter_is_told_by_its_own_error(monkeypatch):
    firewall = refused(monkeypatch, "nftables-1.1.3/table-without-ipv4.stderr")
    assert firewall.unavailable().endswith("Could not process rule: Operation not supported")


def test_any_other_failure_of_nft_is_no_missing_filter(monkeypatch):
    firewall = refused(monkeypatch, "nftables-1.0.6/table-without-privilege.stderr")
    with pytest.raises(CommandExecutionError, match="cluster_probe': .*Operation not permitted"):
        firewall.unavailable()


def test_nft_that_fails_fails_the_state():
    def fail():
        raise CommandExecutionError("Operation not permitted")

    module = state([])
    module.__salt__["firewall.unavailable"] = fail
    ret = module.loaded(*ARGS)
    assert ret["result"] is False and ret["comment"] == "Operation not permitted"


def test_a_file_whose_load_failed_is_loaded_by_the_next_run():
    calls = []
    ret = state(calls, current=False).loaded(*ARGS)
    assert ret["changes"] and calls == ["/etc/nftables.conf"]


def state(calls, unavailable=None, loaded=True, enabled=True, test=False, current=True):
    salt = {
        "firewall.unavailable": lambda: unavailable,
        "firewall.loaded": lambda table: loaded,
        "firewall.current": lambda path: current,
        "firewall.load": calls.append,
        "service.enabled": lambda name: enabled,
        "service.enable": lambda name: calls.append(name) or True,
    }
    return load("_states/firewall.py", salt=salt, opts={"test": test})


ARGS = ("/etc/nftables.conf", "inet cluster", "nftables")


def test_kernel_without_filter_is_named_and_nothing_is_done():
    calls = []
    ret = state(calls, unavailable="Operation not supported", loaded=False).loaded(*ARGS)
    assert ret["result"] is True and ret["changes"] == {} and calls == []
    assert "no IPv4 filter: Operation not supported" in ret["comment"]


def test_loaded_table_is_left_alone():
    calls = []
    assert state(calls).loaded(*ARGS)["changes"] == {} and calls == []


def test_missing_table_is_loaded_and_enabled_for_the_boot():
    calls = []
    ret = state(calls, loaded=False, enabled=False).loaded(*ARGS)
    assert ret["result"] is True and calls == ["/etc/nftables.conf", "nftables"]


def test_changed_file_is_loaded_again():
    calls = []
    assert state(calls).mod_watch(*ARGS)["changes"] and calls == ["/etc/nftables.conf"]


def test_test_mode_only_tells():
    calls = []
    ret = state(calls, loaded=False, test=True).loaded(*ARGS)
    assert ret["result"] is None and calls == []
