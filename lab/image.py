"""
Builds the VMs' root file systems: once, without loop devices, cached by what goes in.

A tree of packages (which also is the chroot that the kernel, an ordinary program, runs in), and
of it an ext4 image that all VMs share under a copy-on-write file each.
"""

import fcntl
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

from lab import apt, host, recipe

CACHE = Path(os.environ.get("LAB_CACHE", "/var/cache/moodle-cluster-lab"))
KEPT = 21 * 86400  # seconds that an unused tree or image stays in the cache
ROOM = 12 * 2**30  # two trees, two images, and the copies while they are made

# All mounts live in the mount namespace of the one command and end with it.
ENTER = """
set -e
root=$1; shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
if [ -d /etc/ssl/certs ]; then
  mkdir -p "$root/etc/ssl/certs"
  mount --bind /etc/ssl/certs "$root/etc/ssl/certs"
fi
exec chroot "$root" "$@"
"""


class Images:
    """The cache of trees and images for one database engine."""

    def __init__(self, root, engine, cache=CACHE):
        self.root, self.engine, self.cache = Path(root), engine, Path(cache)
        self.guest = self.root / "lab" / "guest"
        self.pins = host.pins((self.root / "pyproject.toml").read_text(), recipe.SALT)

    def tree(self, engine=None):
        """Return the folder of the packages."""
        return self.cache / f"tree-{engine or 'base'}-{recipe.packages_hash(engine, self.pins)}"

    def image(self, engine=None):
        """Return the path of the image file."""
        name = recipe.image_hash(engine, self.pins, self.guest)
        return self.cache / f"image-{engine or 'base'}-{name}.ext4"

    def steps(self):
        """Return the titles of what is not in the cache yet."""
        wanted = [
            ("packages", self.tree()), ("image", self.image()),
            (f"packages: {self.engine}", self.tree(self.engine)),
            (f"image: {self.engine}", self.image(self.engine)),
        ]
        if not self.tree(self.engine).exists() and self.image(self.engine).exists():
            wanted = wanted[:2]
        return [title for title, path in wanted if not path.exists()]

    def build(self, progress):
        """Build what is missing; a lab beside us waits for us and finds it done."""
        self.cache.mkdir(parents=True, exist_ok=True)
        with _lock(self.cache / "lock"):
            for title in self.steps():
                with progress.step(title) as step:
                    engine = self.engine if ":" in title else None
                    what = self._packages if title.startswith("packages") else self._image
                    what(step, engine)
            self._forget_old()

    def _forget_old(self):
        """Remove what no lab asked for in weeks."""
        used = self.cache / "used"
        used.mkdir(exist_ok=True)
        # Not the images' own times: a copy-on-write file is void once its image's time changes.
        for path in (self.tree(), self.tree(self.engine), self.image(), self.image(self.engine)):
            (used / path.name).touch()
        for stamp in used.iterdir():
            if time.time() - stamp.stat().st_mtime > KEPT:
                path = self.cache / stamp.name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
                stamp.unlink()

    def _packages(self, step, engine):
        with _fresh(self.tree(engine)) as tree:
            if engine:
                step.run("cp", "-a", "--reflink=auto", self.tree(), tree)
                self._borrow(tree)
                what = recipe.ENGINES[engine]
                enter(step, tree, *_install(what["suite"], *what["packages"]))
            else:
                self._base(step, tree)
            enter(step, tree, "apt-get", "clean")
            self._give_back(tree)

    def _base(self, step, tree):
        mirror, options = apt.host_mirror(), apt.host_settings()
        step.note(f"archive: {mirror}")
        conf = tree.with_suffix(".apt.conf")
        conf.write_text("\n".join(options) + "\n")
        excluded = [f"--dpkgopt=path-exclude=/usr/share/{what}/*"
                    for what in ("doc", "man", "locale")]
        try:
            # An image that a power cut spoils is built again: nothing has to be synced.
            step.run("unshare", "--mount", "mmdebstrap", "--variant=minbase", "--mode=root",
                     "--dpkgopt=force-unsafe-io",
                     f"--include={','.join(recipe.PACKAGES)}", *excluded, f"--aptopt={conf}",
                     "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg",
                     recipe.SUITE, tree, mirror)
        finally:
            conf.unlink()
        lists = tree / "etc/apt/sources.list.d"
        (lists / "newer.list").write_text(
            f"deb [check-valid-until=no] {mirror} {recipe.NEWER} main\n")
        (tree / "etc/apt/preferences.d/newer").write_text(
            "Package: *\nPin: release a=unstable\nPin-Priority: 50\n")
        self._borrow(tree)
        enter(step, tree, "apt-get", "update")
        enter(step, tree, *_install(recipe.NEWER, recipe.KERNEL))
        enter(step, tree, *_install(recipe.SUITE, *recipe.COMPILERS))
        enter(step, tree, "python3", "-m", "venv", "/opt/salt")
        enter(step, tree, "/opt/salt/bin/pip", "install", "--no-cache-dir", "--no-compile",
              *self.pins)
        enter(step, tree, "python3", "-m", "compileall", "-q", "-j", "0", "/opt/salt/lib")
        enter(step, tree, "apt-get", "purge", "-y", "--auto-remove", *recipe.COMPILERS)

    def _borrow(self, tree):
        """Lend the host's way to the network, and keep packages from starting services."""
        shutil.copy("/etc/resolv.conf", tree / "etc/resolv.conf")
        (tree / "etc/apt/apt.conf.d/99lab-host").write_text("\n".join(apt.host_settings()) + "\n")
        for pip in (Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf"):
            if pip.exists():
                shutil.copy(pip, tree / "etc/pip.conf")
        policy = tree / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)

    def _give_back(self, tree):
        for name in ("etc/resolv.conf", "etc/apt/apt.conf.d/99lab-host", "etc/pip.conf"):
            (tree / name).unlink(missing_ok=True)

    def _image(self, step, engine):
        source, target = self.tree(engine), self.image(engine)
        with _fresh(target.with_suffix(".tree")) as tree:
            step.run("cp", "-a", "--reflink=auto", source, tree)
            self._finish(step, tree)
            part = target.with_suffix(".part")
            try:
                with part.open("wb") as file:
                    file.truncate(_bytes(recipe.DISK))
                # Blocks that nobody wrote stay holes: the file is as big as its contents.
                lazy = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
                step.run("mkfs.ext4", "-q", "-E", lazy, "-d", tree, part)
                part.rename(target)
            finally:
                part.unlink(missing_ok=True)
            shutil.rmtree(tree)

    def _finish(self, step, tree):
        """Turn a tree of packages into a machine that boots fast and starts nothing by itself."""
        for pattern in recipe.REMOVED:
            for path in tree.glob(pattern):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        step.run("cp", "-a", "--no-preserve=ownership", f"{self.guest}/.", tree)
        for folder in ("srv/cluster", "srv/moodle-source", "root/.ssh", "lib/modules"):
            (tree / folder).mkdir(parents=True, exist_ok=True)
        (tree / "root/.ssh").chmod(0o700)
        for modules in (tree / "usr/lib/uml/modules").iterdir():
            step.run("cp", "-a", modules, tree / "lib/modules")
            enter(step, tree, "depmod", modules.name)
        enter(step, tree, "systemctl", "preset-all")
        enter(step, tree, "systemctl", "enable", *recipe.ENABLED)
        enter(step, tree, "systemctl", "mask", *recipe.MASKED)
        enter(step, tree, "systemctl", "set-default", "multi-user.target")
        enter(step, tree, "ldconfig")
        (tree / "etc/machine-id").write_text("")  # "uninitialized" would enable every preset
        for stamp in ("etc/.updated", "var/.updated"):
            (tree / stamp).touch()  # or the first boot rebuilds caches for seconds


def enter(step, tree, *argv):
    """Run a command in the tree, with the host's certificates and registry settings."""
    environment = {name: value for name, value in os.environ.items()
                   if name.startswith("PIP_") or name.lower().endswith("_proxy")}
    environment.update(PATH=host.PATH, LANG="C.UTF-8", HOME="/root",
                       DEBIAN_FRONTEND="noninteractive")
    step.run("unshare", "--mount", "sh", "-c", ENTER, "enter", tree, *argv, env=environment)


def _install(suite, *packages):
    return ["apt-get", "install", "-y", "--no-install-recommends", "-t", suite, *packages]


def _bytes(size):
    return int(size[:-1]) * 2**30


@contextmanager
def _fresh(target):
    """Give a temporary path beside `target`; it becomes `target` when the body succeeds."""
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        yield part
        if part.exists():
            part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _lock(path):
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
