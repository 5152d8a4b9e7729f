"""The stage on a master, with the real rsync, tar, git and find."""

import hashlib
import os
import socket
import subprocess
import threading
import zipfile

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.loading import load

VERSION = "<?php\n$version = 2024042201.00;\n"


@pytest.fixture
def stage():
    return load("_modules/stage.py")


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "source"
    (root / "lib").mkdir(parents=True)
    (root / "version.php").write_text(VERSION)
    (root / "lib/setup.php").write_text("<?php\n")
    (root / "ein Übungsblatt.txt").write_text("x")
    (root / "config.php").write_text("a developer's password")
    (root / ".git").mkdir()
    (root / ".git/HEAD").write_text("ref")
    return root


def pack(tree, tmp_path):
    archive = tmp_path / "moodle.tgz"
    subprocess.run(["tar", "-czf", archive, "--transform=s,^source,moodle,", tree.name],
                   cwd=tree.parent, check=True)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    return {"archive": str(archive), "checksum": f"sha256={digest}"}


def test_directory_is_staged_without_secrets_and_readable_by_all(stage, tree, tmp_path):
    os.chmod(tree / "version.php", 0o600)
    name = tmp_path / "stage"
    release = stage.put({"directory": str(tree)}, str(name))
    staged = name / "releases" / release
    assert stage.current(str(name)) == release
    assert sorted(entry.name for entry in staged.iterdir()) == [
        "ein Übungsblatt.txt", "lib", "version.php"]
    assert (staged / "version.php").stat().st_mode & 0o777 == 0o644
    assert list((name / "releases").glob(".partial-*")) == []


def test_two_masters_give_the_same_tree_the_same_name_whatever_its_times(stage, tree, tmp_path):
    first = stage.put({"directory": str(tree)}, str(tmp_path / "one"))
    os.utime(tree / "version.php", (1, 1))
    second = stage.put({"directory": f"{tree}/"}, str(tmp_path / "two"))
    assert first == second


def test_unchanged_directory_is_known_without_reading_its_files(stage, tree, tmp_path):
    name, source = str(tmp_path / "stage"), {"directory": str(tree)}
    assert stage.planned(source, name) is None
    release = stage.put(source, name)
    stage._content = None  # reading the tree again would fail
    assert stage.planned(source, name) == release


def test_changed_directory_becomes_another_release(stage, tree, tmp_path):
    name, source = str(tmp_path / "stage"), {"directory": str(tree)}
    first = stage.put(source, name)
    (tree / "lib/setup.php").write_text("<?php // two\n")
    assert stage.planned(source, name) is None
    assert stage.put(source, name) != first
    assert stage.current(name) == stage.planned(source, name)


def test_archive_is_unpacked_out_of_its_one_folder(stage, tree, tmp_path):
    source, name = pack(tree, tmp_path), tmp_path / "stage"
    release = stage.put(source, str(name))
    assert release == source["checksum"][7:23] == stage.planned(source, str(name))
    assert (name / "releases" / release / "lib/setup.php").is_file()
    assert not (name / "releases" / release / "config.php").exists()


def test_archive_file_without_checksum_is_named_by_its_content(stage, tree, tmp_path):
    """The pillar's check let it pass, and every state run failed."""
    source, name = {"archive": pack(tree, tmp_path)["archive"]}, str(tmp_path / "stage")
    first = stage.put(source, name)
    assert stage.planned(source, name) == first
    (tree / "lib/setup.php").write_text("<?php // newer\n")
    pack(tree, tmp_path)
    assert stage.planned(source, name) is None
    assert stage.put(source, name) != first


def test_zip_and_url_are_archives_too(stage, tree, tmp_path):
    archive = tmp_path / "moodle.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(tree / "version.php", "moodle/version.php")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    release = stage.put({"archive": archive.as_uri(), "checksum": f"sha256={digest}"},
                        str(tmp_path / "stage"))
    assert (tmp_path / "stage/releases" / release / "version.php").read_text() == VERSION


def test_archive_with_another_checksum_is_not_staged(stage, tree, tmp_path):
    source = pack(tree, tmp_path) | {"checksum": "sha256=" + "0" * 64}
    with pytest.raises(CommandExecutionError, match="the pillar says 0000"):
        stage.put(source, str(tmp_path / "stage"))
    assert stage.current(str(tmp_path / "stage")) is None


def test_git_tag_is_resolved_once_to_its_commit(stage, tree, tmp_path):
    (tree / ".git/HEAD").unlink()
    (tree / ".git").rmdir()
    git = ["git", "-C", str(tree), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"], ["tag", "v1"]):
        subprocess.run([*git, *arguments], check=True)
    commit = subprocess.run([*git, "rev-parse", "v1"], capture_output=True, text=True).stdout
    name, source = str(tmp_path / "stage"), {"git": str(tree), "revision": "v1"}
    assert stage.planned(source, name) is None
    assert stage.put(source, name) == commit[:16] == stage.planned(source, name)


def test_what_is_no_moodle_is_refused(stage, tmp_path):
    (tmp_path / "source").mkdir()
    with pytest.raises(CommandExecutionError, match="is no Moodle"):
        stage.put({"directory": str(tmp_path / "source")}, str(tmp_path / "stage"))
    assert list((tmp_path / "stage/releases").iterdir()) == []


def test_missing_source_names_what_is_missing(stage, tmp_path):
    name = str(tmp_path / "stage")
    with pytest.raises(CommandExecutionError, match="/nowhere does not exist on this master"):
        stage.put({"directory": "/nowhere"}, name)
    with pytest.raises(CommandExecutionError, match="/nowhere.tgz does not exist"):
        stage.put({"archive": "/nowhere.tgz", "checksum": "sha256=" + "0" * 64}, name)
    with pytest.raises(SaltInvocationError, match="exactly one of"):
        stage.put({"directory": "/x", "git": "y"}, name)


def test_only_the_newest_releases_are_kept(stage, tree, tmp_path):
    name, releases = str(tmp_path / "stage"), []
    for number in range(5):
        (tree / "lib/setup.php").write_text(f"<?php // {number}\n")
        releases.append(stage.put({"directory": str(tree)}, name))
        os.utime(tmp_path / "stage/releases" / releases[-1], (number, number))
    kept = {entry.name for entry in (tmp_path / "stage/releases").iterdir()}
    assert kept == set(releases[-3:])


def present(stage, source, name, test=False):
    functions = {f"stage.{function}": getattr(stage, function)
                 for function in ("current", "planned", "put")}
    state = load("_states/stage.py", salt=functions, opts={"test": test})
    return state.present(name, source)


def test_state_changes_nothing_the_second_time_and_nothing_in_test_mode(stage, tree, tmp_path):
    name, source = str(tmp_path / "stage"), {"directory": str(tree)}
    assert present(stage, source, name, test=True)["result"] is None
    assert stage.current(name) is None
    first = present(stage, source, name)
    assert first["result"] is True and first["changes"]["old"] is None
    assert present(stage, source, name)["changes"] == {}
    assert present(stage, source, name, test=True)["result"] is True


def test_state_fails_with_the_reason_and_without_changes(stage, tmp_path):
    ret = present(stage, {"directory": "/nowhere"}, str(tmp_path))
    assert ret["result"] is False and ret["changes"] == {} and "/nowhere" in ret["comment"]


@pytest.fixture
def answering():
    """Serve one connection with fixed bytes, by a real socket; return its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def start(answer):
            def serve():
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)

            threading.Thread(target=serve, daemon=True).start()
            return f"http://127.0.0.1:{server.getsockname()[1]}/moodle.tgz"

        yield start


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nmoo", b"\x16\x03\x01 no HTTP\r\n"],
    ids=["cut", "no HTTP"],
)
def test_a_download_that_breaks_off_is_an_error_with_the_url(stage, answering, answer, tmp_path):
    url = answering(answer)
    with pytest.raises(CommandExecutionError, match=f"cannot download {url}"):
        stage._obtain(url, tmp_path / "archive")


@pytest.mark.parametrize("url", ["http://mirror:port/m.tgz", "nonsense://mirror/m.tgz", "://m"])
def test_an_address_that_is_no_url_is_an_error_with_the_url(stage, url, tmp_path):
    with pytest.raises(CommandExecutionError, match=f"cannot download {url}"):
        stage._obtain(url, tmp_path / "archive")
