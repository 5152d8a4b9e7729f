"""What the pillar's Moodle source means."""

import pytest

from tests.loading import load

source = load("_utils/source.py")
DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"directory": "/x"}, "directory"),
        ({"archive": "/x", "checksum": f"sha256={DIGEST}"}, "archive"),
        ({"archive": "/x"}, "archive"),
        ({"git": "u", "revision": "v"}, "git"),
    ],
)
def test_each_kind_is_known_by_its_keys(given, kind):
    assert source.kind(given) == kind


@pytest.mark.parametrize(
    "given",
    [None, {}, {"checksum": "x"}, {"directory": "/x", "git": "u", "revision": "v"}, {"zip": "/x"}],
)
def test_anything_else_is_refused_by_name(given):
    with pytest.raises(ValueError, match="exactly one of"):
        source.kind(given)


@pytest.mark.parametrize("text", ["", "sha256", "sha256=xyz", f"md55={DIGEST}", "sha256=abc"])
def test_checksum_that_cannot_be_one_is_refused(text):
    with pytest.raises(ValueError, match="sha256=HEX"):
        source.checksum(text)


def test_archive_is_named_by_its_checksum():
    given = {"archive": "/x", "checksum": f"sha256={DIGEST.upper()}"}
    assert source.expected(given) == DIGEST[:16]


def test_commit_names_itself_but_a_tag_does_not():
    assert source.expected({"git": "u", "revision": DIGEST[:40]}) == DIGEST[:16]
    assert source.expected({"git": "u", "revision": "v4.4.1"}) is None


def test_directory_has_no_name_before_it_is_staged():
    assert source.expected({"directory": "/x"}) is None


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("$version  = 2024042201.00;   // comment", "2024042201"),
        ("    $version = 2025100600.07;", "2025100600.07"),
        ("$version = 2024042210.10;", "2024042210.1"),
        ("// $version = 1.00;\n$release = '4.4';", None),
    ],
)
def test_version_reads_as_php_prints_it(line, version):
    assert source.version(f"<?php\n{line}\n") == version
