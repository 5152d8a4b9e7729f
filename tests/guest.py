"""A writable copy of a VM's root file system that costs nothing and leaves nothing behind."""

import os
import subprocess
from pathlib import Path

# Everything is mounted inside namespaces of this one command: no umount is ever owed. The overlay's
# upper folder outlives the command, so the next one sees the files that this one wrote.
ENTER = """
set -e
root=$1/root
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount --bind "$3" "$root/srv/cluster"
hostname "$4"
ip link set lo up
for interface in $5; do
  ip link add "${interface%%=*}" type veth
  ip link set "${interface%%=*}" up
  [ -z "${interface#*=}" ] || ip address add "${interface#*=}" dev "${interface%%=*}"
done
shift 5
exec chroot "$root" "$@"
"""


class Guest:
    """
    The root tree of the lab's VMs under an overlay, entered by chroot in private mount, process,
    host name and network namespaces (without a route out).
    """

    def __init__(self, lower, folder, project, name, interfaces):
        """interfaces: {name: address with prefix, or None}."""
        self.lower, self.folder, self.project, self.name = lower, Path(folder), project, name
        pairs = interfaces.items()
        self.interfaces = " ".join(f"{card}={address or ''}" for card, address in pairs)
        for part in ("root", "work", "upper/srv/cluster"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)

    def run(self, *argv, stdin=None, timeout=120):
        """Run ``argv`` as root inside; return the CompletedProcess with text output."""
        enter = ["unshare", "--mount", "--pid", "--fork", "--uts", "--net", "--ipc", "--kill-child"]
        shell = ["sh", "-c", ENTER, "enter", self.folder, self.lower, self.project, self.name]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}
        return subprocess.run(
            [*enter, *shell, self.interfaces, *argv],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
        )

    def file(self, path):
        """Return the host's path of a file that was written inside (absolute ``path``)."""
        return self.folder / "upper" / os.path.relpath(path, "/")
