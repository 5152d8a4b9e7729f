"""
The stage on a master: the Moodle tree of the pillar, ready for the web VMs to fetch.

``/srv/stage/releases/ID`` holds a tree, ``/srv/stage/current`` the id on offer. A tree of 28,000
files is read once: afterwards a stamp tells that the source is still the one that was staged.
"""

import hashlib
import http.client
import json
import os
import shutil
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

STAGE = "/srv/stage"
# Never part of a release: a developer's configuration holds his secrets, .git only weight.
LEFT_OUT = ("config.php", ".git")
KEEP = 3


def __virtual__():
    """Need the tools that copy, unpack and list trees."""
    for binary in ("rsync", "tar", "find"):
        if not shutil.which(binary):
            return False, f"the stage module needs the binary {binary}"
    return "stage"


def _run(argv, **more):
    return __utils__["command.output"](argv, timeout=None, **more)


def _ask(function, *args):
    try:
        return __utils__[function](*args)
    except ValueError as error:
        raise SaltInvocationError(str(error)) from error


def _read(path):
    try:
        return Path(path).read_text().strip() or None
    except FileNotFoundError:
        return None


def _write(path, text):
    """Replace a small file atomically, on the disk before its name changes."""
    temporary = Path(f"{path}.new")
    with temporary.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def current(name=STAGE):
    """
    Return the id of the release this master offers, or None.

    name
        The folder of the stage.

    CLI Example:

    .. code-block:: bash

        salt lb1 stage.current
    """
    release = _read(f"{name}/current")
    return release if release and Path(name, "releases", release).is_dir() else None


def planned(source, name=STAGE):
    """
    Return the id that staging would offer, or None where the source is new to this master.

    A name in git is resolved once: a branch that moves between the runs of two masters would
    put different code on the web servers. Name another tag or commit to go on.

    source
        The pillar's ``moodle: source:``.
    name
        The folder of the stage.

    Raises SaltInvocationError for a source of no known kind, CommandExecutionError if a source
    directory cannot be listed.

    CLI Example:

    .. code-block:: bash

        salt lb1 stage.planned '{directory: /srv/moodle-source}'
    """
    return _planned(source, name, _mark(source))


def _planned(source, name, mark):
    stamp = json.loads(_read(f"{name}/stamp.json") or "{}")
    known = stamp.get("id") if stamp.get("mark") == mark else None
    return _ask("source.expected", source) or known


def _mark(source):
    """Return what tells that a source is still what was staged, without reading its files."""
    if _ask("source.kind", source) == "directory":
        return f"{source['directory']} {_fingerprint(source['directory'])}"
    mark = json.dumps(source, sort_keys=True)
    if "archive" not in source or "checksum" in source:
        return mark
    try:
        found = os.stat(source["archive"])
    except OSError as error:
        raise CommandExecutionError(f"source archive {source['archive']}: {error}") from error
    return f"{mark} {found.st_size} {found.st_mtime_ns}"


def _fingerprint(directory):
    """Hash names, types, sizes and times of a tree: one process, one pass, no file is read."""
    root = directory.rstrip("/")
    if not Path(root).is_dir():
        raise CommandExecutionError(f"source directory {root} does not exist on this master")
    listing = _run(
        ["find", f"{root}/", "-path", f"{root}/.git", "-prune", "-o",
         "-printf", r"%P\t%y\t%s\t%T@\t%l\n"],
        errors="surrogateescape",
    )
    return hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest()


def _content(tree):
    """Hash a tree by its names and contents: the same on every master, whatever the times."""
    digest = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        if path.is_symlink():
            entry = f"link {os.readlink(path)}"
        elif path.is_file():
            entry = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            continue
        digest.update(f"{path.relative_to(tree)}\0{entry}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def put(source, name=STAGE):
    """
    Put the source into the stage and offer it; return its id.

    source
        The pillar's ``moodle: source:``.
    name
        The folder of the stage.

    Raises SaltInvocationError for a source of no known kind, CommandExecutionError if it cannot be
    had, has another checksum, or is no Moodle.

    CLI Example:

    .. code-block:: bash

        salt lb1 stage.put '{archive: /root/moodle.tgz, checksum: "sha256=..."}'
    """
    mark = _mark(source)
    releases = Path(name, "releases")
    releases.mkdir(parents=True, exist_ok=True)
    release = _planned(source, name, mark)
    if not release or not (releases / release).is_dir():
        fetch = {"directory": _copy, "archive": _unpack, "git": _checkout}
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=releases))
        try:
            tree, commit = fetch[_ask("source.kind", source)](source, partial)
            release = _complete(tree, releases, release or commit)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    _write(f"{name}/stamp.json", json.dumps({"mark": mark, "id": release}))
    _write(f"{name}/current", f"{release}\n")
    _prune(releases, release)
    return release


def _copy(source, partial):
    _run(["rsync", "--recursive", "--links", "--times",
          *(f"--exclude=/{left_out}" for left_out in LEFT_OUT),
          f"{source['directory'].rstrip('/')}/", f"{partial}/tree/"])
    return partial / "tree", None


def _unpack(source, partial):
    archive = _obtain(source["archive"], partial / "archive")
    if "checksum" in source:
        _verify(archive, source)
    tree = _extract(archive, partial)
    inside = list(tree.iterdir())
    # Moodle's archives hold one folder called moodle.
    return (inside[0] if len(inside) == 1 and inside[0].is_dir() else tree), None


def _verify(archive, source):
    algorithm, digest = _ask("source.checksum", source["checksum"])
    with archive.open("rb") as stream:
        found = hashlib.file_digest(stream, algorithm).hexdigest()
    if found != digest:
        raise CommandExecutionError(
            f"source archive {source['archive']}: its {algorithm} is {found}, "
            f"the pillar says {digest}"
        )


def _extract(archive, partial):
    tree = partial / "tree"
    tree.mkdir()
    if zipfile.is_zipfile(archive):
        shutil.unpack_archive(archive, tree, "zip")
    else:
        _run(["tar", "--extract", "--no-same-owner", "--file", str(archive),
              "--directory", str(tree)])
    return tree


def _obtain(location, target):
    if "://" not in location:
        if not Path(location).is_file():
            raise CommandExecutionError(f"source archive {location} does not exist on this master")
        return Path(location)
    try:
        with urllib.request.urlopen(location, timeout=60) as stream, target.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError
        raise CommandExecutionError(f"cannot download {location}: {error}") from error
    return target


def _checkout(source, partial):
    git = ["git", "-c", "safe.directory=*", "-C", str(partial)]
    _run([*git, "init", "--quiet", "--bare", "."])
    _run([*git, "fetch", "--quiet", "--depth=1", source["git"], source["revision"]])
    commit = _run([*git, "rev-parse", "FETCH_HEAD^{commit}"]).strip()
    _run([*git, "archive", "--format=tar", "--output=tree.tar", commit])
    return _extract(partial / "tree.tar", partial), _ask("source.identity", commit)


def _complete(tree, releases, release):
    """Check a fetched tree, make it readable by all, and give it its name."""
    texts = (_read(tree / place) or "" for place in ("public/version.php", "version.php"))
    if not any(_ask("source.version", text) for text in texts):
        raise CommandExecutionError("the source is no Moodle: no $version in version.php")
    for left_out in LEFT_OUT:
        leftover = tree / left_out
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
    _run(["chmod", "--recursive", "u=rwX,go=rX", str(tree)])
    release = release or _ask("source.identity", _content(tree))
    if not (releases / release).is_dir():
        # Contents first: a power cut must not leave a named release of empty files.
        _run(["sync", "--file-system", str(tree)])
        tree.rename(releases / release)
    return release


def _prune(releases, release):
    """Keep what is on offer and the newest of the others: a web VM may still be fetching it."""
    others = [entry for entry in releases.iterdir() if entry.name != release]
    others.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in others[KEEP - 1:]:
        shutil.rmtree(entry, ignore_errors=True)
