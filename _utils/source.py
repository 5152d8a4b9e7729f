"""
What ``moodle: source:`` in the pillar means. Pure: no file is read and nothing is asked.

A release's id is made of content, so that both masters and every web VM call the same tree by the
same name without talking to each other.
"""

import hashlib
import re

_KINDS = {
    "directory": {"directory"},
    "archive": {"archive", "checksum"},
    "git": {"git", "revision"},
}
_COMMIT = re.compile(r"[0-9a-f]{40}")
_VERSION = re.compile(r"^\s*\$version\s*=\s*([0-9.]+)\s*;", re.MULTILINE)


def kind(source):
    """Return ``directory``, ``archive`` or ``git``. Raises ValueError for anything else."""
    for name, keys in _KINDS.items():
        if set(source or {}) == keys:
            return name
    if set(source or {}) == {"archive"}:  # a file; what comes from a URL needs its checksum
        return "archive"
    raise ValueError(
        "source: give exactly one of {directory}, {archive[, checksum]}, {git, revision}, "
        f"not {{{', '.join(sorted(source or {}))}}}"
    )


def checksum(text):
    """Split ``sha256=HEX`` into [algorithm, digest]. Raises ValueError."""
    algorithm, _, digest = text.partition("=")
    known = algorithm in hashlib.algorithms_guaranteed and not algorithm.startswith("shake")
    length = 2 * hashlib.new(algorithm).digest_size if known else 0
    if not known or not re.fullmatch(f"[0-9a-fA-F]{{{length}}}", digest):
        raise ValueError(f"checksum: '{text}' is not of the form sha256=HEX")
    return [algorithm, digest.lower()]


def identity(digest):
    """Return the release id that a content hash or a commit stands for."""
    return digest[:16]


def expected(source):
    """Return the id that a source will have, or None where only staging can tell."""
    shape = kind(source)
    if shape == "archive" and "checksum" in source:
        return identity(checksum(source["checksum"])[1])
    if shape == "git" and _COMMIT.fullmatch(source["revision"]):
        return identity(source["revision"])
    return None


def version(text):
    """Return ``$version`` of the text of a version.php as PHP prints it, or None."""
    found = _VERSION.search(text)
    if not found:
        return None
    # A number to PHP: 2024042201.00 is written there, 2024042201 arrives in the database.
    whole, _, part = found.group(1).partition(".")
    return f"{whole}.{part.rstrip('0')}".rstrip(".")
