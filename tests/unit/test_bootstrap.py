"""What a fresh machine gets is what the states would write, and keys stay closed on the way."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
import time

import pytest
import yaml

from tests import pillars
from tests.loading import ROOT, load, program

bootstrap = load("_utils/bootstrap.py")
CLUSTER = pillars.cluster()


@pytest.fixture
def tree(tmp_path):
    for part in ("salt", "pillar", "_utils", "_pillar"):
        shutil.copytree(ROOT / part, tmp_path / part, symlinks=True,
                        ignore=shutil.ignore_patterns("local.sls", "__pycache__"))
    shutil.copy(ROOT / "Saltfile", tmp_path)
    path = tmp_path / "pillar/secrets.sls"
    path.write_text(yaml.safe_dump({"secrets": pillars.secrets()}))
    return tmp_path


@pytest.mark.parametrize("name", ["lb1", "web2"])
def test_configuration_is_the_text_that_the_states_write(name):
    made = bootstrap.files(CLUSTER, pillars.secrets(), name)
    module = load("_modules/topology.py", pillar={"cluster": CLUSTER}, grains={"id": name})
    assert made["/etc/salt/minion.d/cluster.conf"] == (0o644, module.minion_config())
    if name == "lb1":
        assert made["/etc/salt/master.d/cluster.conf"] == (0o644, module.master_config())


def test_a_vm_gets_its_own_keys_and_the_masters_public_one():
    secrets = pillars.secrets()
    made = bootstrap.files(CLUSTER, secrets, "db1")
    own, master = secrets["salt"]["minions"]["db1"], secrets["salt"]["master"]
    assert made["/etc/salt/pki/minion/minion.pem"] == (0o400, own["private"])
    assert made["/etc/salt/pki/minion/minion_master.pub"] == (0o644, master["public"])
    assert not [path for path in made if "master/" in path or "master.d" in path]
    assert secrets["ca"]["key"] not in str(made)


def test_a_master_accepts_every_minion_from_the_start():
    made = bootstrap.files(CLUSTER, pillars.secrets(), "lb2")
    accepted = [path.rpartition("/")[2] for path in made if "/master/minions/" in path]
    assert accepted == list(CLUSTER["vms"])


def test_units_are_those_of_the_states():
    made = bootstrap.units("balancer")
    text = (ROOT / "salt/master/files/salt-master.service").read_text()
    assert made["/etc/systemd/system/salt-master.service"] == (0o644, text)
    assert "/etc/systemd/system/salt-master.service" not in bootstrap.units("web")


def test_no_entry_of_the_path_is_one_that_two_threads_would_drop_at_once(tmp_path):
    """Where two do, importlib.invalidate_caches() raises KeyError (sitecustomize.py)."""
    made = bootstrap.units("balancer")
    for name in ("minion", "master"):
        _, unit = made[f"/etc/systemd/system/salt-{name}.service"]
        assert f"\nEnvironment=PYTHONPATH={bootstrap.PYTHON}\n" in unit
    _, text = made[f"{bootstrap.PYTHON}/sitecustomize.py"]
    assert without_finder(tmp_path)
    (tmp_path / "sitecustomize.py").write_text(text)
    assert without_finder(tmp_path) == []


def without_finder(folder):
    """Return the entries of Python's path that have no finder after an import in vain."""
    code = """if True:
        import contextlib, json, sys
        with contextlib.suppress(ImportError):
            import there_is_no_such_module
        print(json.dumps([name for name, at in sys.path_importer_cache.items() if at is None]))
    """
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True,
                          env={"PYTHONPATH": f"{folder}:/usr/lib/no.zip"})
    return json.loads(done.stdout)


def test_a_balancer_gets_the_tree_with_closed_secrets_and_its_links(tree):
    for spare in ("secrets.sls.old", "secrets.sls~", ".secrets.Xy12"):
        (tree / "pillar" / spare).write_text("secret")
    entries, services = program("bootstrap").plan(tree, "lb1")
    assert services == ["salt-master", "salt-minion"]
    sent = {path: mode for path, (mode, _) in entries.items() if "/srv/cluster/pillar/" in path}
    assert set(sent.values()) == {0o600}
    assert sorted(path.rpartition("/")[2] for path in sent) == [
        "cluster.sls", "schema.yaml", "secrets.example.sls", "secrets.sls", "top.sls"]
    assert entries["/srv/cluster/salt/_modules"] == (None, b"../_modules")
    assert "/srv/cluster/_pillar/cluster.py" in entries
    assert b"timeout:" in entries["/srv/cluster/Saltfile"][1]


def test_no_other_vm_gets_the_tree(tree):
    entries, services = program("bootstrap").plan(tree, "web1")
    assert services == ["salt-minion"]
    assert not [path for path in entries if path.startswith("/srv/")]


def test_the_archive_closes_the_folders_of_keys_first(tmp_path):
    packed = program("bootstrap").archive({
        "/etc/salt/pki/minion/minion.pem": (0o400, b"key"),
        "/srv/cluster/salt/_utils": (None, b"../_utils"),
    })  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        folder, key, link = tar.getmembers()
        tar.extractall(tmp_path, filter="tar")
    assert (folder.name, folder.mode, folder.isdir()) == ("etc/salt/pki/minion", 0o700, True)
    assert (key.mode, key.uid, abs(key.mtime - time.time()) < 60) == (0o400, 0, True)
    assert (link.linkname, link.issym()) == ("../_utils", True)
    assert (tmp_path / "etc/salt/pki/minion/minion.pem").read_bytes() == b"key"


def test_missing_secrets_are_named_with_what_makes_them(tree):
    secrets = pillars.secrets()
    del secrets["salt"]["minions"]["web2"]
    path = tree / "pillar/secrets.sls"
    path.write_text(yaml.safe_dump({"secrets": secrets}))
    for name in ("web2", "lb1"):  # a balancer accepts it as a minion
        with pytest.raises(ValueError, match="lacks secrets.salt.minions.web2; bin/secrets"):
            program("bootstrap").plan(tree, name)
    assert program("bootstrap").plan(tree, "web1")
    path.write_text("secrets: {}\n")
    with pytest.raises(ValueError, match="lacks secrets.salt.master, secrets.salt.minions.web1;"):
        program("bootstrap").plan(tree, "web1")
    path.unlink()
    with pytest.raises(ValueError, match="secrets.sls is missing; bin/secrets writes it"):
        program("bootstrap").plan(tree, "web1")


def test_a_wrong_pillar_or_name_does_nothing(tree):
    with pytest.raises(ValueError, match="no VM named 'db9'"):
        program("bootstrap").plan(tree, "db9")
    (tree / "pillar/local.sls").write_text("cluster: {x: 1}\n")
    with pytest.raises(ValueError, match="cluster.x: unknown key"):
        program("bootstrap").plan(tree, "lb1")


def test_encrypted_secrets_are_not_written_as_keys(tree):
    (tree / "pillar/secrets.sls").write_text("secrets: {a: '-----BEGIN PGP MESSAGE-----'}\n")
    with pytest.raises(ValueError, match="is encrypted"):
        program("bootstrap").plan(tree, "web1")


def test_pins_are_those_of_the_project():
    assert "salt==3008.3" in program("bootstrap").pins().split()
