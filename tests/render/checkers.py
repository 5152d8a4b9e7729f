"""Which daemon reads which file, and how that daemon is asked whether it would."""

import re

UNIT = r"/etc/systemd/system/[^/]+\.(service|timer|target|mount|automount|socket|path)"

# Path of a written file -> check. The first match counts; a file that matches nothing fails the
# test, so that no file is ever written which nobody would have read.
CLAIMS = [
    (r"/etc/apache2/.*", "apache"),
    (r"/etc/php/.*", "php-fpm"),
    (r".*\.php", "php"),
    (r"/etc/nftables.*", "nftables"),
    (r"/etc/drbd.*", "drbd"),
    (r"/etc/mysql/.*", "database"),
    (r"/etc/sysctl\.d/.*", "sysctl"),
    (r"/etc/(chrony)/.*", "chrony"),
    (r"/etc/rsyncd\.conf", "rsyncd"),
    (r"/etc/sudoers.*", "sudo"),
    (r"/etc/nfs\.conf.*", "nfs"),
    (r"/etc/ssh/.*", "sshd"),
    (r"/etc/fstab", "fstab"),
    (UNIT + r"(\.d/.*)?", "units"),
    (r"/etc/systemd/network/.*\.(network|link|netdev)", "networkd"),
    (r".*\.py", "python"),
    (r".*\.sh", "shell"),
]

# %s: the file; without it the check reads the whole configuration, and runs once.
COMMANDS = {
    "apache": "apache2ctl -t",
    "php-fpm": "php-fpm8.4 -t",
    "php": "php -l %s",
    "nftables": "nft -c -f %s",
    "drbd": "drbdadm dump all",
    "sysctl": "sysctl --dry-run -p %s",
    "chrony": "chronyd -p",
    "sudo": "visudo -c -f %s",
    "nfs": "nfsconf --file %s --dump",
    "sshd": "sshd -t -f %s",
    "fstab": "findmnt --verify",
    "units": "systemd-analyze verify --man=no --recursive-errors=no %s",
    "python": "python3 -m py_compile %s",
    "shell": "sh -n %s",
}


def check_of(path):
    """Return the name of the check that reads ``path``, or None."""
    return next((name for pattern, name in CLAIMS if re.fullmatch(pattern, path)), None)


def run_all(rendered):
    """Run every check that the written files call for; return {command: output} of the refusals."""
    commands = {
        COMMANDS[check].replace("%s", path)
        for path in rendered.files
        if (check := check_of(path)) in COMMANDS
    }
    refused = {}
    for command in sorted(commands):
        done = rendered.guest.run("sh", "-c", command)
        if done.returncode:
            refused[command] = done.stdout[-2000:] + done.stderr[-2000:]
    return refused
