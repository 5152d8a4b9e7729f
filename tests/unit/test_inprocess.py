"""The balancer's own modules in the master's process, by Salt's real loader."""

import concurrent.futures
import shutil
import sys
import time
import unittest.mock

import pytest
from salt.config import master_config
from salt.exceptions import SaltException

from tests.loading import ROOT, load


@pytest.fixture
def minion(tmp_path):
    module = load("_utils/inprocess.py")
    module.log = unittest.mock.Mock()  # unconfigured, Salt's keeps records until Python exits
    for part in ("_modules", "_utils"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pillar").mkdir()
    for name in ("top.sls", "cluster.sls"):
        shutil.copy(ROOT / "pillar" / name, tmp_path / "pillar")
    opts = master_config(None)
    opts.update(
        id="lb2_master", module_dirs=[str(tmp_path)], root_dir=str(tmp_path),
        cachedir=str(tmp_path / "cache"), pillar_roots={"base": [str(tmp_path / "pillar")]},
    )  # fmt: skip
    minion = module.minion(opts)
    minion.tree = tmp_path
    return minion


def test_it_is_the_vm_that_the_master_runs_on(minion):
    assert minion.me == "lb2"
    assert minion.call("topology.me")["name"] == "lb2"
    assert minion.cluster()["vms"]["lb2"]["role"] == "balancer"


def test_salts_own_modules_are_not_loaded(minion):
    """A name that is missing made Salt load 300 modules: 2.5 s and 50 MB in a failover."""
    answer, problem = minion.attempt("test.ping")
    assert (answer, problem) == (None, "KeyError('test.ping')")


def test_a_failure_is_a_sentence(minion):
    answer, problem = minion.attempt("claim.take", "files", 0, 0)
    assert answer is None
    assert problem == "epoch must be an integer from 1, not 0"


def test_a_failure_without_a_word_is_one(minion, monkeypatch):
    """Salt raises some so, and a problem that is empty would count as none."""
    monkeypatch.setattr(minion, "call", unittest.mock.Mock(side_effect=SaltException()))
    assert minion.attempt("fencing.off", "file1") == (None, "SaltException('')")


def test_any_number_of_threads_may_call_at_once(minion):
    made = unittest.mock.Mock(side_effect=minion._loader)
    minion._loader = made
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: minion.call("topology.me")["name"], range(200)))
    assert found == ["lb2"] * 200
    assert made.call_count == 1


def test_a_call_is_not_taken_for_that_of_another_thread(minion):
    """Salt's own loader keeps the context of a call where another thread may enter it again."""
    texts = {"modules": "def stay():\n    return __utils__['stay.here']()\n",
             "utils": "def here():\n    return 'here'\n"}
    for name, text in texts.items():
        (minion.tree / f"_{name}/stay.py").write_text(text)

    def let_others_in(frame, event, argument):
        if frame.f_code.co_name == "run":
            time.sleep(0.0001)
            return let_others_in
        return None

    def call(_):
        sys.settrace(let_others_in)
        try:
            return minion.call("stay.stay")
        finally:
            sys.settrace(None)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(100))) == ["here"] * 100


def test_the_fence_devices_get_their_passwords_and_nothing_else_gets_out(minion):
    secrets = {"fencing": {"pdu1": "word"}, "heartbeat": {"key": "0" * 64}}
    pillar = type(minion).cluster.__globals__["_pillar"]({}, secrets)
    assert pillar == {"cluster": {}, "secrets": {"fencing": {"pdu1": "word"}}}
    assert minion.pillar()["secrets"] == {"fencing": {}}


def test_a_changed_pillar_is_used_and_a_wrong_one_is_not(minion):
    assert minion.cluster()["heartbeat"]["deadtime"] == 2
    assert minion.cluster() is minion.cluster()
    local = minion.tree / "pillar/local.sls"
    local.write_text("cluster: {heartbeat: {deadtime: 7}}")
    assert minion.cluster()["heartbeat"]["deadtime"] == 7
    assert minion.call("topology.me")["name"] == "lb2"
    # Salt itself would log it: unconfigured, it keeps records until Python exits.
    minion._compiled = unittest.mock.Mock(side_effect=SaltException("wrong"))
    assert minion.wrong is None
    local.write_text("cluster: {heartbeat: {deadtime: [}")
    assert minion.cluster()["heartbeat"]["deadtime"] == 7
    assert minion.wrong.startswith("the pillar is wrong, see ha.check")


def test_without_any_pillar_there_is_nothing_to_go_by(minion):
    (minion.tree / "pillar/cluster.sls").write_text("cluster: {vms: {web9: {role: web}}}")
    with pytest.raises(SaltException, match="no pillar for lb2"):
        minion.cluster()


def test_a_master_that_starts_on_a_wrong_pillar_goes_by_the_last_state_run(minion, monkeypatch):
    kept = minion.tree / "kept.json"
    kept.write_text('{"cluster": {"vms": {"lb2": {"role": "balancer"}}}}')
    monkeypatch.setitem(type(minion).cluster.__globals__, "KEPT", str(kept))
    minion._compiled = unittest.mock.Mock(side_effect=SaltException("wrong"))
    assert list(minion.cluster()["vms"]) == ["lb2"]
