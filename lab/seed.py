"""What a VM finds at its first boot: its name, its addresses, Salt with keys already accepted."""

import shutil
from pathlib import Path

import jinja2

from lab import tree as trees

SYSTEMD = "/etc/systemd/system"
NETWORK = "salt/network/files/network.jinja"


def services(role):
    """Return the Salt services that a VM of that role runs."""
    return ["salt-master.service", "salt-minion.service"] if role == "balancer" \
        else ["salt-minion.service"]


def management(address, prefix):
    """Return the networkd file of the lab's own interface."""
    return (f"[Match]\nName=lab0\n\n[Network]\nAddress={address}/{prefix}\n"
            "LinkLocalAddressing=no\nIPv6AcceptRA=no\nKeepConfiguration=yes\n")


def files(entry, lab):
    """
    Return {path: (mode, text)} of what makes a VM reachable.

    `lab`: address and prefix on the management network, networks as topology.networks_of returns
    them and network_template, the text of their files, host_key and authorized_key of ssh.
    """
    made = {
        "/etc/hostname": (0o644, entry["name"] + "\n"),
        "/etc/ssh/ssh_host_ed25519_key": (0o600, lab["host_key"]),
        "/root/.ssh/authorized_keys": (0o600, lab["authorized_key"]),
        "/etc/systemd/network/05-lab0.network": (
            0o644, management(lab["address"], lab["prefix"])),
    }
    template = jinja2.Template(lab["network_template"], keep_trailing_newline=True)
    for net in lab["networks"]:
        path = f"/etc/systemd/network/05-cluster-{net['interface']}.network"
        made[path] = (0o644, template.render(network=net))  # what salt/network will find unchanged
    return made


def mounts(role):
    """Return (folder below the lab's, mount point) of what a VM of that role sees of the host."""
    if role != "balancer":
        return []
    return [("tree", "/srv/cluster"), ("moodle", "/srv/moodle-source")]


def plant(folder, content, role, links):
    """Write a VM's seed folder."""
    folder = Path(folder)
    shutil.rmtree(folder / "files", ignore_errors=True)
    for path, (mode, text) in content.items():
        trees.write(f"{folder}/files{path}", text, mode)
    wants = Path(f"{folder}/files{SYSTEMD}/multi-user.target.wants")
    wants.mkdir(parents=True)
    for unit in services(role):
        (wants / unit).symlink_to(f"{SYSTEMD}/{unit}")
    (folder / "files/root").mkdir(parents=True, exist_ok=True)
    (folder / "files/root").chmod(0o700)
    trees.write(folder / "start", " ".join(services(role)) + "\n")
    trees.write(folder / "links", "".join(
        f"vec{number} {link.interface}\n" for number, link in enumerate(links)))
    trees.write(folder / "mounts", "".join(
        f"/mnt/{source} {target}\n" for source, target in mounts(role)))
