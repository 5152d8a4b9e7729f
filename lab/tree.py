"""The tree that the masters see: this checkout, the lab's overlay and the lab's own secrets."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from lab.errors import CommandFailed

PARTS = ("salt", "pillar", "reactor", "_modules", "_states", "_utils", "_runners", "_pillar",
         "_beacons", "_engines")
SALTFILE = "Saltfile"
KEPT = ("pillar/secrets.sls", "pillar/local.sls")  # written here, never copied from the checkout


def wanted(root):
    """Return {relative path: source path} of what the masters are to see of the checkout."""
    found = {SALTFILE: Path(root, SALTFILE)}
    for part in PARTS:
        for folder, folders, files in os.walk(Path(root, part)):
            folders[:] = [name for name in folders if name != "__pycache__"]
            links = [name for name in folders if Path(folder, name).is_symlink()]
            for name in files + links:
                path = Path(folder, name)
                relative = str(path.relative_to(root))
                if relative not in KEPT and not name.endswith(".pyc"):
                    found[relative] = path
    return found


def push(root, tree):
    """Bring `tree` up to date, each file at once; return the relative paths that changed."""
    tree, changed, sources = Path(tree), [], wanted(root)
    for relative, source in sources.items():
        target = tree / relative
        if not _same(source, target):
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.part")
            shutil.copy2(source, part, follow_symlinks=False)
            os.replace(part, target)
            changed.append(relative)
    for path in sorted(tree.rglob("*"), reverse=True):
        relative = str(path.relative_to(tree))
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif relative not in sources and relative not in KEPT:
            path.unlink()
            changed.append(relative)
    return changed


def write(path, text, mode=0o644):
    """Write a file at once; one that says the same already is left alone. Return if it changed."""
    path = Path(path)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT, mode), "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(part, path)
    return True


def make_secrets(root, tree):
    """Add the secrets that the tree's pillar needs and does not have yet."""
    argv = [sys.executable, str(Path(root, "bin", "secrets")), "--tree", str(tree)]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise CommandFailed(argv, done.returncode, done.stderr or done.stdout)


def _same(source, target):
    if source.is_symlink() or target.is_symlink():
        both = target.is_symlink() and source.is_symlink()
        return both and os.readlink(source) == os.readlink(target)
    if not target.exists():
        return False
    before, now = target.stat(), source.stat()
    if (before.st_mode, before.st_size) != (now.st_mode, now.st_size):
        return False
    return source.read_bytes() == target.read_bytes()
