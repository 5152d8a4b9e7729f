"""The packet filter: loaded by the real nft in a namespace, and honest where there is none."""

import json
import subprocess
import sys

from tests.loading import ROOT, load

NAMESPACE = """
import json, sys
from tests.loading import load
file = sys.argv[1]
firewall = load("_modules/firewall.py")
answers = {"unavailable": firewall.unavailable(), "before": firewall.loaded("inet cluster")}
open(file, "w").write("table inet cluster\\ndelete table inet cluster\\n"
                                         "table inet cluster {\\nchain c {\\n}\\n}\\n")
firewall.load(file)
firewall.load(file)
answers["after"] = firewall.loaded("inet cluster")
open(file, "w").write("delete table inet cluster\\ntable inet x { nonsense }\\n")
try:
    firewall.load(file)
except Exception as error:
    answers["error"] = type(error).__name__
answers["still"] = firewall.loaded("inet cluster")
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
        "after": True,
        "error": "CommandExecutionError",
        "still": True,
    }


def state(calls, unavailable=None, loaded=True, enabled=True, test=False):
    salt = {
        "firewall.unavailable": lambda: unavailable,
        "firewall.loaded": lambda table: loaded,
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
