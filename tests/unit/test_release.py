"""Releases on a web VM, fetched from a real rsync daemon on the loopback."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import Utils, load

ONE, TWO = "1" * 16, "2" * 16
DEAD = "127.0.0.1:1"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def master(tmp_path):
    """A stage with its daemon; yields its folder and its address."""
    stage, port = tmp_path / "stage", free_port()
    (stage / "releases").mkdir(parents=True)
    config = tmp_path / "rsyncd.conf"
    config.write_text(f"use chroot = no\n[stage]\npath = {stage}\nread only = yes\n")
    daemon = subprocess.Popen(["rsync", "--daemon", "--no-detach", "--address=127.0.0.1",
                               f"--port={port}", f"--config={config}"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
    yield stage, f"127.0.0.1:{port}"
    daemon.terminate()
    daemon.wait()


def offer(stage, release, version="2024042201.00", public=False):
    tree = stage / "releases" / release / ("public" if public else "")
    (tree / "lib").mkdir(parents=True)
    (tree / "version.php").write_text(f"<?php\n$version = {version};\n")
    (tree / "lib/same.php").write_text("<?php // the same in every release\n")
    os.utime(tree / "lib/same.php", (1, 1))
    (stage / "current").write_text(f"{release}\n")


def module(tmp_path, masters, source=None, database=None):
    utils = Utils()
    utils["topology.masters"] = lambda cluster: masters
    release = load(
        "_modules/release.py",
        utils=utils,
        pillar={"cluster": {"moodle": {"source": source or {"directory": "/source"}}}},
        salt={"moodle.status": lambda: {"state": "installed", "version": database}},
    )
    release.SITE = str(tmp_path / "site")
    return release


def deploy(release, test=False, **kwargs):
    functions = {f"release.{name}": getattr(release, name)
                 for name in ("current", "wanted", "fetch", "switch", "prune")}
    state = load("_states/release.py", salt=functions, opts={"test": test})
    return state.deployed(release.SITE, **kwargs)


def test_release_is_fetched_and_serves(master, tmp_path):
    stage, address = master
    offer(stage, ONE)
    release = module(tmp_path, [address])
    ret = deploy(release)
    assert ret["result"] is True and ret["changes"] == {"old": None, "new": ONE}
    site = Path(release.SITE)
    assert (site / "docroot").resolve() == site / "releases" / ONE
    assert (site / "expected").read_text().strip() == release.current(str(site)) == ONE
    assert deploy(release)["changes"] == {}


def test_public_folder_is_the_document_root_where_there_is_one(master, tmp_path):
    stage, address = master
    offer(stage, ONE, public=True)
    release = module(tmp_path, [address])
    assert deploy(release)["result"] is True
    assert (Path(release.SITE) / "docroot").resolve().name == "public"
    assert release.version(name=release.SITE) == "2024042201"


def test_settings_are_loaded_not_copied(master, tmp_path):
    stage, address = master
    offer(stage, ONE)
    (stage / "releases" / ONE / "config.php").write_text("somebody's password")
    release = module(tmp_path, [address])
    deploy(release)
    text = (Path(release.SITE) / "current/config.php").read_text()
    assert f"require '{release.SITE}/config.php';" in text and "password" not in text


def test_other_master_is_asked_when_the_first_is_dead(master, tmp_path):
    stage, address = master
    offer(stage, ONE)
    release = module(tmp_path, [DEAD, address])
    assert release.wanted() == {"master": address, "id": ONE}


def test_no_master_is_an_error_that_names_each(master, tmp_path):
    _stage, address = master  # it offers nothing yet
    release = module(tmp_path, [DEAD, address])
    with pytest.raises(CommandExecutionError) as error:
        release.wanted()
    assert DEAD in str(error.value) and address in str(error.value)
    assert release.offered() == str(error.value)
    ret = deploy(release)
    assert ret["result"] is False and ret["changes"] == {}


def test_release_that_the_pillar_does_not_name_is_not_taken(master, tmp_path):
    stage, address = master
    offer(stage, ONE)
    source = {"archive": "/m.tgz", "checksum": "sha256=" + "2" * 64}
    release = module(tmp_path, [address], source)
    assert f"no master offers release {TWO}" in release.offered()
    offer(stage, TWO)
    assert release.offered() is True


def test_files_that_did_not_change_are_shared_with_the_release_that_serves(master, tmp_path):
    """rsync 3.4.1 failed on the changed file with "failed verification" until --whole-file."""
    stage, address = master
    offer(stage, ONE)
    release = module(tmp_path, [address])
    deploy(release)
    offer(stage, TWO)
    (stage / "releases" / TWO / "lib/other.php").write_text("<?php\n")
    (stage / "releases" / TWO / "version.php").write_text("<?php // x\n$version = 2024042201;\n")
    assert deploy(release)["changes"] == {"old": ONE, "new": TWO}
    releases = Path(release.SITE) / "releases"
    assert (releases / ONE / "lib/same.php").samefile(releases / TWO / "lib/same.php")


def test_other_version_is_fetched_but_never_switched_to_by_itself(master, tmp_path):
    stage, address = master
    offer(stage, ONE)
    release = module(tmp_path, [address], database="2024042201")
    deploy(release)
    offer(stage, TWO, version="2025041400.00")
    ret = deploy(release)
    assert ret["result"] is False and "needs an upgrade of the database" in ret["comment"]
    assert release.current(release.SITE) == ONE
    assert TWO in release.releases(release.SITE)


def test_file_of_the_same_size_and_time_but_other_content_is_fetched(master, tmp_path):
    """Shared by size and time, version.php of the old release passed for the new one's."""
    stage, address = master
    offer(stage, ONE)
    offer(stage, TWO, version="2024042202.00")
    for release in (ONE, TWO):
        os.utime(stage / "releases" / release / "version.php", (1, 1))
    release = module(tmp_path, [address])
    for wanted in (ONE, TWO):
        release.fetch(address, wanted, release.SITE)
        release._link(f"{release.SITE}/current", f"releases/{wanted}")
    assert release.version(TWO, release.SITE) == "2024042202"


def test_a_new_web_vm_does_not_serve_a_version_that_the_database_has_not(master, tmp_path):
    """A release is on offer whose upgrade waits for its night; the others serve the old one."""
    stage, address = master
    offer(stage, ONE, version="2025041400.00")
    release = module(tmp_path, [address], database="2024042201")
    ret = deploy(release)
    assert ret["result"] is False and "the database is at 2024042201" in ret["comment"]
    assert release.current(release.SITE) is None


def test_the_first_web_vm_needs_no_database_to_get_its_release(master, tmp_path):
    def silent():
        raise CommandExecutionError("connection refused")

    stage, address = master
    offer(stage, ONE)
    release = module(tmp_path, [address])
    release.__salt__["moodle.status"] = silent
    assert deploy(release)["result"] is True


def test_a_removal_that_was_cut_leaves_no_release(master, tmp_path, monkeypatch):
    stage, address = master
    release = module(tmp_path, [address])
    for name in (ONE, TWO):
        offer(stage, name)
        deploy(release)
    remove = shutil.rmtree

    def cut(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(release.shutil, "rmtree", cut)
    with pytest.raises(KeyboardInterrupt):
        release.prune(keep=1, name=release.SITE)
    assert release.releases(release.SITE) == [TWO]
    monkeypatch.setattr(release.shutil, "rmtree", remove)
    release.prune(keep=1, name=release.SITE)
    assert not list(Path(release.SITE, "releases").glob(".gone-*"))


def test_other_version_may_serve_once_the_database_has_it(master, tmp_path):
    stage, address = master
    offer(stage, ONE)
    release = module(tmp_path, [address], database="2025041400")
    deploy(release)
    offer(stage, TWO, version="2025041400.00")
    assert deploy(release)["result"] is True


def test_link_is_replaced_never_missing(tmp_path):
    release = module(tmp_path, [])
    link = tmp_path / "link"
    release._link(link, "a")
    before = os.lstat(link).st_ino
    release._link(link, "b")
    assert os.readlink(link) == "b" and os.lstat(link).st_ino != before
    assert not (tmp_path / "link.new").exists()


def test_switch_that_was_cut_is_repeated_by_the_next_run(master, tmp_path, monkeypatch):
    """Cut between its links, the release counted as serving without a document root, for ever."""
    stage, address = master
    offer(stage, ONE, public=True)
    release = module(tmp_path, [address])
    whole, links = release._link, []

    def cut(path, target):
        if links:
            raise KeyboardInterrupt
        links.append(path)
        whole(path, target)

    monkeypatch.setattr(release, "_link", cut)
    with pytest.raises(KeyboardInterrupt):
        deploy(release)
    monkeypatch.setattr(release, "_link", whole)
    assert deploy(release)["changes"]["new"] == ONE
    assert (Path(release.SITE) / "docroot/version.php").exists()


def test_half_a_fetch_is_no_release(master, tmp_path):
    stage, address = master
    offer(stage, ONE)
    release = module(tmp_path, [address])
    (Path(release.SITE) / "releases" / f".{ONE}.partial").mkdir(parents=True)
    (Path(release.SITE) / "releases" / f".{ONE}.partial" / "stale.php").touch()
    assert release.releases(release.SITE) == []
    deploy(release)
    assert not (Path(release.SITE) / "releases" / ONE / "stale.php").exists()


def test_old_releases_go_but_never_the_one_that_serves(tmp_path):
    release = module(tmp_path, [])
    site = tmp_path / "site"
    for number in range(5):
        tree = site / "releases" / str(number)
        tree.mkdir(parents=True)
        os.utime(tree, (number, number))
    release._link(site / "current", "releases/0")
    assert release.prune(3, str(site)) == ["1", "2"]
    assert release.releases(str(site)) == ["0", "3", "4"]


def test_test_mode_fetches_nothing(master, tmp_path):
    stage, address = master
    offer(stage, ONE)
    release = module(tmp_path, [address])
    assert deploy(release, test=True)["result"] is None
    assert release.releases(release.SITE) == []
