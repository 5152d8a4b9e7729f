"""What the lab refuses, says in advance, and takes over from the machine it runs on."""

import hashlib
import io
from pathlib import Path

import pytest

from lab import apt, host, moodle, recipe, up
from lab.errors import CommandFailed, LabError, StepFailed
from lab.progress import Progress, bar, left, line, span
from tests.loading import ROOT

FIT = {"uid": 0, "system": "Linux", "machine": "x86_64", "tun": True, "seccomp": True,
       "ptrace_scope": 1, "capabilities": 0x1FFFFFFFFFF, "apt": True, "python": (3, 11)}
DATA = ROOT / "tests/data/apt-2.6.1"


def test_a_fit_machine_is_not_refused():
    assert host.refusals(FIT) == []


@pytest.mark.parametrize(("seen", "word"), [
    ({"uid": 1000}, "root"),
    ({"system": "Darwin", "machine": "arm64"}, "Darwin arm64"),
    ({"machine": "aarch64"}, "x86-64"),
    ({"tun": False}, "/dev/net/tun"),
    ({"seccomp": False}, "seccomp"),
    ({"ptrace_scope": 3}, "ptrace_scope"),
    ({"apt": False}, "apt-get"),
    ({"python": (3, 10)}, "3.11"),
    ({"capabilities": 0x1FFFFFFFFFF & ~(1 << 21)}, "SYS_ADMIN"),
])
def test_each_lack_is_named(seen, word):
    (reason,) = host.refusals({**FIT, **seen})
    assert word in reason


def test_all_lacks_are_named_at_once():
    assert len(host.refusals({**FIT, "tun": False, "seccomp": False, "apt": False})) == 3


def test_shortage_says_what_is_needed_and_what_is_there():
    found = host.shortages(("memory", 6 * 2**30, 2**30), ("disk", 1, 2))
    assert found == ["too little memory: 6144 MB needed, 1024 MB available"]


def test_what_one_file_system_must_hold_is_added_up(tmp_path):
    (found,) = up.room({tmp_path / "cache": 5, tmp_path / ".lab/default": 7})
    assert found[:2] == (f"disk at {tmp_path / 'cache'} and {tmp_path / '.lab/default'}", 12)
    assert len(up.room({tmp_path: 5, Path("/proc"): 7})) == 2


def test_every_requirement_of_the_lab_is_pinned_in_pyproject():
    pins = host.pins((ROOT / "pyproject.toml").read_text())
    assert [pin.split("==")[0] for pin in pins] == list(host.REQUIREMENTS)
    salt = host.pins((ROOT / "pyproject.toml").read_text(), recipe.SALT)
    assert all("==" in pin for pin in [*pins, *salt])


def test_packages_come_from_the_archive_that_the_host_uses():
    targets = (DATA / "indextargets.txt").read_text()
    assert apt.mirror(targets) == "http://mirror.example/debian"


@pytest.mark.parametrize("targets", [
    "", "http://mirror.example/ubuntu/|Ubuntu|main\n",
    "http://mirror.example/debian-security/|Debian|main\n"])
def test_a_host_without_a_debian_archive_is_asked_for_one(targets, monkeypatch):
    with pytest.raises(LabError, match="LAB_MIRROR"):
        apt.mirror(targets)
    monkeypatch.setenv("LAB_MIRROR", "http://mirror.example/debian")
    assert apt.host_mirror() == "http://mirror.example/debian"


def test_settings_of_how_to_fetch_are_taken_over_and_no_others():
    dump = (DATA / "config-dump.txt").read_text() + 'Acquire::http::Proxy "http://127.0.0.1:3142";\n'
    found = apt.settings(dump)
    assert 'Acquire::http::Proxy "http://127.0.0.1:3142";' in found
    assert 'Acquire::Check-Valid-Until "false";' in found
    assert not [text for text in found if "IndexTargets" in text or "CompressionTypes" in text]


def test_an_image_is_named_by_everything_that_goes_in(tmp_path):
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc/unit"
    file.write_text("one")
    names = {recipe.image_hash(None, ["salt==1"], tmp_path)}
    names.add(recipe.image_hash(None, ["salt==2"], tmp_path))
    names.add(recipe.image_hash("mysql", ["salt==1"], tmp_path))
    file.chmod(0o755)
    names.add(recipe.image_hash(None, ["salt==1"], tmp_path))
    file.write_text("two")
    names.add(recipe.image_hash(None, ["salt==1"], tmp_path))
    assert len(names) == 5
    assert recipe.image_hash(None, ["salt==1"], tmp_path) in names


def test_bar_and_remaining_time():
    assert bar(0, 4, 8) == "--------"
    assert bar(1, 2, 8) == "####----"
    assert bar(9, 2, 8) == "########"
    assert span(59.6) == "1 min 00 s"
    assert left("boot", 10, ["apply"], {"boot": 30, "apply": 60}) == 80
    assert left("boot", 99, ["apply"], {"boot": 30, "apply": 60}) == 60
    assert left("boot", 1, ["apply"], {"boot": 30}) is None
    assert line(2, 4, "boot", 3, 80, "3 of 9").endswith(
        "2/4 boot (3 of 9)  3 s, about 1 min 20 s left")


def test_a_step_remembers_how_long_it_took(tmp_path):
    out = io.StringIO()
    progress = Progress(tmp_path / "logs", tmp_path / "durations.json", out=out)
    progress.plan(["one", "two"])
    with progress.step("one") as step:
        step.run("echo", "hello")
        step.detail = "of two"
    assert "1/2 one (of two)" in out.getvalue()
    assert "hello" in (tmp_path / "logs/01-one.log").read_text()
    assert "one" in Progress(tmp_path / "logs", tmp_path / "durations.json", out=out).history


def test_a_failing_step_carries_the_end_of_its_log(tmp_path):
    progress = Progress(tmp_path, tmp_path / "durations.json", out=io.StringIO())
    progress.plan(["build"])
    with pytest.raises(StepFailed) as caught, progress.step("build") as step:
        step.run("sh", "-c", "echo the cause; exit 3")
    assert "the cause" in "\n".join(caught.value.tail)
    assert caught.value.title == "build"
    assert isinstance(caught.value.cause, CommandFailed)
    assert caught.value.cause.code == 3


def test_moodle_archive_is_described_with_its_checksum(tmp_path):
    archive = tmp_path / "moodle-4.4.1.tgz"
    archive.write_bytes(b"content")
    found = moodle.describe(str(archive))
    assert found["checksum"] == hashlib.sha256(b"content").hexdigest()
    fetched = moodle.fetch(found, tmp_path / "lab")
    assert (tmp_path / "lab" / fetched["file"]).read_bytes() == b"content"


def test_moodle_directory_is_copied_and_kept_up_to_date(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.php").write_text("one")
    found = moodle.fetch(moodle.describe(str(tmp_path / "site")), tmp_path / "lab")
    assert found["directory"]
    (tmp_path / "site/index.php").write_text("two")
    moodle.fetch(found, tmp_path / "lab")
    assert (tmp_path / "lab/index.php").read_text() == "two"


@pytest.mark.parametrize("source", ["/nowhere/moodle.tgz", "https://example.org/load", __file__])
def test_what_is_no_moodle_is_refused(source):
    with pytest.raises(LabError, match="--moodle"):
        moodle.describe(source)
