"""What goes into the images of the VMs: plain data, and the hash that names an image."""

import hashlib
from pathlib import Path

SUITE = "trixie"
# User-Mode Linux 7.x runs by seccomp, three times faster than the ptrace of trixie's own 6.12.
NEWER = "sid"
KERNEL = "user-mode-linux"

PACKAGES = (
    "systemd systemd-sysv udev dbus kmod iproute2 iputils-arping iputils-ping openssh-server rsync"
    " curl ca-certificates procps psmisc less lsof e2fsprogs locales xz-utils unzip tcpdump attr"
    " nano socat gpg git python3 python3-venv chrony nftables"
    " ipvsadm drbd-utils nfs-kernel-server nfs-common etcd-server etcd-client"
    " apache2 php-fpm php-cli php-mysql php-pgsql php-xml php-mbstring php-curl php-zip php-gd"
    " php-intl php-soap php-opcache"
).split()
# Only while Salt is installed: timelib has no wheel for trixie's Python.
COMPILERS = ["gcc", "libc6-dev", "python3-dev"]
SALT = ["salt", "PyMySQL", "jsonschema", "netaddr"]  # pinned in pyproject.toml

# MySQL's packaged server hangs in its postinst inside a chroot; core and client are all it takes.
ENGINES = {
    "mysql": {"suite": NEWER, "packages": ["mysql-server-core", "mysql-client"]},
    "mariadb": {
        "suite": SUITE, "packages": ["mariadb-server", "mariadb-client", "mariadb-backup"],
    },
}

ENABLED = ["systemd-networkd.service", "ssh.service", "lab-seed.service"]
# Work that a VM of the lab would do at its first or at every boot for nobody.
MASKED = [
    "ldconfig.service", "systemd-binfmt.service", "systemd-network-generator.service",
    "systemd-pstore.service", "systemd-journal-catalog-update.service", "systemd-firstboot.service",
    "systemd-networkd-wait-online.service", "getty@tty1.service", "console-getty.service",
    "sshd-keygen.service", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer",
    "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "phpsessionclean.timer",
]
REMOVED = [
    "etc/ssh/ssh_host_*", "var/lib/dbus/machine-id", "usr/sbin/policy-rc.d", "etc/resolv.conf",
    "var/lib/mysql", "var/cache/apt/*.bin", "var/log/*.log", "tmp/*",
]
DISK = "8G"  # of the file system; the file is sparse and shared


def packages_hash(engine, pins):
    """Return the name of the tree of packages for `engine` (None: no database server)."""
    return _hash(SUITE, NEWER, KERNEL, PACKAGES, COMPILERS, pins, engine and ENGINES[engine])


def image_hash(engine, pins, guest):
    """Return the name of an image: its packages and everything that is done to them."""
    parts = [packages_hash(engine, pins), ENABLED, MASKED, REMOVED, DISK]
    for path in sorted(Path(guest).rglob("*")):
        if path.is_file():
            parts += [str(path.relative_to(guest)), path.stat().st_mode & 0o111, path.read_bytes()]
    return _hash(*parts)


def _hash(*parts):
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
