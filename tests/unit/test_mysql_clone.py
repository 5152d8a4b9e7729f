"""Seeding a replica: the option file that carries the password to the tools."""

import stat
from pathlib import Path

import pytest

from tests.loading import load


@pytest.mark.parametrize(
    ("password", "written"),
    [
        ("plain-one", r'"plain-one"'),
        ("a\\ub", r'"a\\ub"'),  # it arrived with two backslashes
        (' # "q" \\s end ', r'" # \"q\" \\s end "'),
        ("päß😀", '"päß😀"'),
    ],
)
def test_password_is_quoted_as_an_option_file_is_read(tmp_path, monkeypatch, password, written):
    """Each line was compared with what MariaDB's my_print_defaults 11.8.6 makes of it."""
    clone = load("_modules/mysql_clone.py")
    make = clone.tempfile.mkstemp
    monkeypatch.setattr(clone.tempfile, "mkstemp", lambda prefix, dir: make(prefix, dir=tmp_path))
    with clone._login("192.168.10.18", password) as path:
        file = Path(path)
        assert f"password={written}" in file.read_text(encoding="utf-8").splitlines()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.exists()
