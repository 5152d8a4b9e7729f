"""
Releases of the Moodle tree on a web VM: fetched from a master, switched atomically.

``/srv/moodle/releases/ID`` holds a tree, ``/srv/moodle/current`` is a symbolic link to the one
that serves, ``/srv/moodle/docroot`` leads through it to what Apache may show.
"""

import os
import shutil
from pathlib import Path

from salt.exceptions import CommandExecutionError

SITE = "/srv/moodle"
# Seconds. CONNECT errs on the side of giving up: the other master has the same tree.
# IDLE errs on the side of waiting: a master under load pauses, but does not go away.
CONNECT = 3
IDLE = 120
# One text for every VM and release: no secret in the tree, and __DIR__ stays the release, which
# a symbolic link to the settings would lose.
STUB = """<?php
// The settings are generated into {site}/config.php; this file loads them for this release.
global $CFG;
require '{site}/config.php';
require_once(is_file(__DIR__ . '/public/lib/setup.php')
    ? __DIR__ . '/public/lib/setup.php' : __DIR__ . '/lib/setup.php');
// Moodle 4.4's installer reads this setting before it has stored its default; set any earlier, it
// would count as fixed by the configuration and never be stored.
if (defined('RELAYED')) {{
    $CFG->formatstringstriptags ??= true;
}}
"""


def __virtual__():
    """Need rsync, which fetches."""
    if not shutil.which("rsync"):
        return False, "the release module needs the binary rsync"
    return "release"


def _run(argv):
    return __utils__["command.output"](argv, timeout=None)


def _rsync(master, path, target, *options):
    return _run(["rsync", f"--contimeout={CONNECT}", f"--timeout={IDLE}", *options,
                 f"rsync://{master}/stage/{path}", str(target)])


def _read(path):
    try:
        return Path(path).read_text().strip()
    except FileNotFoundError:
        return ""


def _link(path, target):
    """Point a symbolic link elsewhere in one step: nobody ever finds it missing."""
    temporary = Path(f"{path}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)


def current(name=SITE):
    """
    Return the id of the release that serves, or None.

    name
        The folder that holds the releases.

    CLI Example:

    .. code-block:: bash

        salt web1 release.current
    """
    link = Path(name, "current")
    return os.path.basename(os.readlink(link)) if link.is_symlink() and link.is_dir() else None


def releases(name=SITE):
    """
    Return the ids of the releases this VM holds, oldest first.

    name
        The folder that holds the releases.

    CLI Example:

    .. code-block:: bash

        salt web1 release.releases
    """
    folder = Path(name, "releases")
    found = [entry for entry in folder.glob("[!.]*") if entry.is_dir()]
    return [entry.name for entry in sorted(found, key=lambda entry: entry.stat().st_mtime)]


def version(release=None, name=SITE):
    """
    Return the ``$version`` of a release this VM holds, as text, or None if it has none.

    release
        Its id; without it, the one that serves.
    name
        The folder that holds the releases.

    CLI Example:

    .. code-block:: bash

        salt web1 release.version
    """
    tree = Path(name, "releases", release) if release else Path(name, "current")
    texts = (_read(tree / place) for place in ("public/version.php", "version.php"))
    return next(filter(None, map(__utils__["source.version"], texts)), None)


def _offer(master):
    target = Path(SITE, f".offer-{master}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _rsync(master, "current", target, "--ignore-times")
        return {"master": master, "id": _read(target) or None}
    except CommandExecutionError as error:
        return {"master": master, "id": None, "error": str(error)}
    finally:
        target.unlink(missing_ok=True)


def wanted():
    """
    Return the offer of the first master that has the release the pillar names.

    A source directory has no name before it is staged: then the first master that answers is
    right.

    Raises CommandExecutionError naming what each master answered.

    CLI Example:

    .. code-block:: bash

        salt web1 release.wanted
    """
    cluster = __pillar__["cluster"]
    expected = __utils__["source.expected"](cluster["moodle"]["source"])
    refused = []
    for master in __utils__["topology.masters"](cluster):
        offer = _offer(master)
        if offer["id"] and expected in (None, offer["id"]):
            return offer
        refused.append(f"{master}: {offer.get('error') or 'offers ' + str(offer['id'])}")
    raise CommandExecutionError(
        f"no master offers release {expected or ''}".rstrip() + "; " + "; ".join(refused)
    )


def offered():
    """
    Return True as soon as a master offers the release the pillar names, else a sentence.

    CLI Example:

    .. code-block:: bash

        salt web1 release.offered
    """
    try:
        return bool(wanted())
    except CommandExecutionError as error:
        return str(error)


def fetch(master, release, name=SITE):
    """
    Fetch a release from a master; files that did not change are shared with the one that serves.

    master
        Address of the master.
    release
        Its id.
    name
        The folder that holds the releases.

    Raises CommandExecutionError if the master does not deliver it whole.

    CLI Example:

    .. code-block:: bash

        salt web1 release.fetch 192.168.10.10 0123456789abcdef
    """
    folder = Path(name, "releases")
    if (folder / release).is_dir():
        return release
    partial = folder / f".{release}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    share = [f"--link-dest=../{current(name)}"] if current(name) else []
    # Compared by content: two releases of one second may differ in a file of the same size.
    # Whole files: rsync 3.4.1 refuses a changed file's basis outside the target ("failed
    # verification"), and a delta saves nothing on a local network.
    _rsync(master, f"releases/{release}/", f"{partial}/", "--recursive", "--links", "--times",
           "--perms", "--delete", "--checksum", "--whole-file", *share)
    (partial / "config.php").unlink(missing_ok=True)
    (partial / "config.php").write_text(STUB.format(site=name))
    # Contents first: a power cut must not leave a named release of empty files. Only this file
    # system: a sync of all would wait for moodledata, which may hang.
    _run(["sync", "--file-system", str(partial)])
    partial.rename(folder / release)
    (folder / release).touch()
    return release


def switch(release, name=SITE):
    """
    Let a release serve that this VM holds; return the id that served before, or None.

    PHP keeps the old code until php-fpm is reloaded.

    release
        Its id.
    name
        The folder that holds the releases.

    Raises CommandExecutionError if it is not here, or if its version is not the database's: that
    is an upgrade, which nobody may start by accident.

    CLI Example:

    .. code-block:: bash

        salt web1 release.switch 0123456789abcdef
    """
    before = current(name)
    found = version(release, name)
    if not found:
        raise CommandExecutionError(f"release {release} is not in {name}/releases")
    if not before or found != version(before, name):
        at = _database_version(before)
        if at not in (None, found):
            raise CommandExecutionError(
                f"release {release} is version {found}, the database is at {at}: switching needs "
                "an upgrade of the database"
            )
    public = Path(name, "releases", release, "public").is_dir()
    Path(name, "expected").write_text(f"{release}\n")
    # "current" comes last: by it a later run tells that nothing is left to do.
    _link(f"{name}/docroot", "current/public" if public else "current")
    _link(f"{name}/current", f"releases/{release}")
    return before


def _database_version(before):
    """Return what the database is at, None if nothing is installed, or nothing served here yet."""
    try:
        return __salt__["moodle.status"]()["version"]
    except CommandExecutionError:
        if before:
            raise
        return None  # at the first set-up it may come up later than this VM


def prune(keep=3, name=SITE):
    """
    Remove all but the newest releases, never the one that serves; return the removed ids.

    keep
        How many to keep.
    name
        The folder that holds the releases.

    CLI Example:

    .. code-block:: bash

        salt web1 release.prune keep=2
    """
    serving = current(name)
    others = [release for release in releases(name) if release != serving]
    gone = others[: max(len(others) - (keep - 1), 0)]
    for left in Path(name, "releases").glob(".gone-*"):
        shutil.rmtree(left)
    for release in gone:
        path = Path(name, "releases", f".gone-{release}")
        Path(name, "releases", release).rename(path)  # cut in the middle, it is no release any more
        shutil.rmtree(path)
    return gone
