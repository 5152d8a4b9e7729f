"""The Moodle that `--moodle` names: fetched on the host, because the VMs have no way out."""

import hashlib
import shutil
import urllib.parse
import urllib.request
from pathlib import Path

from lab.errors import LabError

ENDINGS = (".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")


def stand_in(root):
    """Return the description of the course site that takes Moodle's place."""
    return {"source": str(Path(root, "lab", "site")), "directory": True}


def describe(source):
    """
    Return {source, file, checksum} of an archive or {source, directory}; raises LabError.

    A URL has no checksum before it is fetched.
    """
    if urllib.parse.urlsplit(source).scheme in ("http", "https", "ftp"):
        name = Path(urllib.parse.urlsplit(source).path).name
        _refuse_ending(name)
        return {"source": source, "file": name, "checksum": None, "url": True}
    path = Path(source).resolve()
    if path.is_dir():
        return {"source": str(path), "directory": True}
    if not path.is_file():
        raise LabError(f"--moodle {source}: there is no such file or directory")
    _refuse_ending(path.name)
    return {"source": str(path), "file": path.name, "checksum": _sha256(path)}


def fetch(found, folder):
    """Bring what `describe` found into `folder`; return it with its checksum."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if found.get("directory"):
        shutil.copytree(found["source"], folder, dirs_exist_ok=True, symlinks=True)
        return found
    target = folder / found["file"]
    if found.get("url"):
        if not (found["checksum"] and target.exists()):
            with urllib.request.urlopen(found["source"], timeout=60) as answer, \
                    target.open("wb") as file:
                shutil.copyfileobj(answer, file)
        return {**found, "checksum": _sha256(target)}
    if not target.exists() or _sha256(target) != found["checksum"]:
        shutil.copyfile(found["source"], target)
    return found


def _refuse_ending(name):
    if not name.endswith(ENDINGS):
        raise LabError(f"--moodle {name}: give an archive ({', '.join(ENDINGS)}) or a directory")


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()
