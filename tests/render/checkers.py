"""Which daemon reads which file, and how that daemon is asked whether it would."""

import re

SYSTEM = r"/etc/systemd/system/"

# Path of a written file -> check. The first match counts; a file that matches nothing fails the
# test, so that no file is ever written which nobody would have read.
CLAIMS = [
    (r"/etc/apache2/.*", "apache"),
    (r"/etc/php/.*", "php-fpm"),
    (r".*\.php", "php"),
    (r"/etc/nftables.*", "nftables"),
    (r"/etc/drbd.*", "drbd"),
    (r"/etc/exports.*", "exports"),
    (r"/etc/nfs\.conf.*", "nfs"),
    (r"/etc/cluster/web\.(crt|key)", "site-certificate"),
    (r"/etc/(mysql|cluster|etcd)/.*\.(crt|key)", "certificate"),
    (r"/etc/cluster/heartbeat\.json", "heartbeat"),
    (r"/etc/cluster/[^/]+\.json", "json"),
    (r"/etc/cluster/[^/]+\.html", "html"),
    (r"/etc/mysql/.*", "database"),
    (r"/etc/default/etcd", "etcd"),
    (r"/etc/sysctl\.d/.*", "sysctl"),
    (r"/etc/modprobe\.d/.*", "modprobe"),
    (r"/etc/modules-load\.d/.*", "modules"),
    (r"/etc/tmpfiles\.d/.*", "tmpfiles"),
    (r"/etc/chrony/.*", "chrony"),
    (r"/etc/rsyncd\.conf", "rsyncd"),
    (r"/etc/salt/pki/.*", "key"),
    (r"/etc/salt/.*", "salt"),
    (r"/etc/host(s|name)", "hosts"),
    (SYSTEM + r"[^/]+", "unit"),
    (SYSTEM + r"[^/]+\.d/[^/]+\.conf", "unit"),
    (r"/etc/systemd/network/.*\.(network|link|netdev)", "networkd"),
    (r"/etc/systemd/journald\.conf\.d/.*", "journald"),
    (r"/usr/local/lib/cluster/.*\.py", "python"),
    (r"/usr/local/(s?bin|lib/cluster)/.*", "program"),
]

CERTIFICATE = """
import sys
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
folder = sys.argv[1]
names = {"cluster": "vm", "mysql": "vm", "etcd": "member"}
name = next(name for part, name in names.items() if part in folder)
read = lambda name: open(f"{folder}/{name}", "rb").read()
own, authority = (x509.load_pem_x509_certificate(read(f"{n}.crt")) for n in (name, "ca"))
own.verify_directly_issued_by(authority)
assert load_pem_private_key(read(f"{name}.key"), None).public_key() == own.public_key()
"""
KEY = """
import sys
from cryptography.hazmat.primitives import serialization
text = open(sys.argv[1], "rb").read()
load = serialization.load_pem_public_key
if b"PRIVATE" in text:
    load = lambda text: serialization.load_pem_private_key(text, None)
load(text)
"""
SALT = """
import os, salt.config
minion = salt.config.minion_config("/etc/salt/minion")
assert minion["id"] == os.uname().nodename and len(minion["master"]) >= 1
assert salt.config.master_config("/etc/salt/master")["timeout"]
"""
# The system's Python: what serves without Salt must not need Salt's.
PARSE = "/usr/bin/python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' {path}"
PYTHON = "/opt/salt/bin/python3 -c '%s'"

# {path}, {folder}, {unit}: of the file. A check without them reads its whole configuration once.
COMMANDS = {
    "apache": "apache2ctl -t",
    "php-fpm": "php-fpm8.4 -t",
    "php": "php -l {path}",
    "nftables": "nft -c -f {path}",
    "drbd": "env DRBD_DRIVER_VERSION_OVERRIDE=8.4.11 drbdadm dump all",  # the module in Linux
    "exports": "mkdir -p /run/files-nfs /srv/files && mount -t tmpfs tmpfs /srv/files"
    " && mkdir /srv/files/moodledata && exportfs -ra && exportfs -s",
    "nfs": "nfsconf --file {path} --dump",
    "certificate": PYTHON % CERTIFICATE + " {folder}",
    "site-certificate": "test $(stat -c %a {path}) = 600"
    " && test \"$(openssl x509 -in {folder}/web.crt -noout -pubkey)\""
    " = \"$(openssl pkey -in {folder}/web.key -pubout)\"",
    "key": PYTHON % KEY + " {path}",
    "database": "if [ -x /usr/sbin/mariadbd ]; then"
    " mariadbd --defaults-file=/etc/mysql/cluster.cnf --user=mysql --help --verbose;"
    " else mysqld --defaults-file=/etc/mysql/cluster.cnf --user=mysql --validate-config; fi",
    # Waits for the other members until it is ended; a wrong configuration ends it at once.
    "etcd": "set -a; . {path}; ETCD_DATA_DIR=/tmp/etcd; timeout 3 etcd; test $? = 124",
    "sysctl": "sysctl --dry-run --ignore -p {path}",
    "modprobe": "modprobe --showconfig | grep -F \"$(grep -v '^#' {path})\"",
    "modules": "! grep -vxE '#.*|[a-z0-9_]*' {path}",
    "tmpfiles": "systemd-tmpfiles --dry-run --create {path}",
    "chrony": "chronyd -p -f {path}",
    "rsyncd": "mkdir -p /srv/stage; rsync --daemon --config={path};"
    " from=rsync://$(sed -n 's/^address = //p' {path})/stage/;"
    " for try in 1 2 3 4 5 6 7 8 9; do rsync --contimeout=5 $from && exit; sleep 0.2; done; exit 1",
    "salt": PYTHON % SALT,
    "hosts": "test $(cat /etc/hostname) = $(hostname)"
    " && for name in $(hostname) files database gateway; do getent hosts $name || exit 1; done",
    "unit": "systemd-analyze verify --man=no --recursive-errors=no {unit}",
    "networkd": "mkdir -p /run/systemd; SYSTEMD_LOG_TARGET=console timeout 2"
    " /usr/lib/systemd/systemd-networkd >/tmp/networkd 2>&1; cat /tmp/networkd;"
    " grep -q 'Link UP' /tmp/networkd && ! grep ^/etc/ /tmp/networkd",
    "journald": "mount -t cgroup2 cgroup2 /sys/fs/cgroup; SYSTEMD_LOG_TARGET=console timeout 1"
    " /usr/lib/systemd/systemd-journald >/tmp/journald 2>&1; cat /tmp/journald;"
    " grep -q SIGTERM /tmp/journald && ! grep ^/etc/ /tmp/journald",
    "heartbeat": "/usr/bin/python3 -EsS /usr/local/lib/cluster/heartbeat/heartbeatd.py"
    " --check {path}",
    "html": "head -n 1 {path} | grep -qi '^<!doctype html>'",
    "json": "/usr/bin/python3 -m json.tool {path}",
    "python": PARSE,
    "program": "test -x {path} && case $(head -n 1 {path}) in '#!/bin/sh'*) sh -n {path};;"
    " '#!/usr/bin/python3'*) " + PARSE + ";; *) false;; esac",
}


def check_of(path):
    """Return the name of the check that reads ``path``, or None."""
    return next((name for pattern, name in CLAIMS if re.fullmatch(pattern, path)), None)


def command(path):
    """Return the shell command that checks ``path``."""
    folder = path.rpartition("/")[0]
    unit = folder.rpartition("/")[2].removesuffix(".d") if folder.endswith(".d") else path
    template = COMMANDS[check_of(path)]
    for name, value in {"path": path, "folder": folder, "unit": unit}.items():
        template = template.replace("{" + name + "}", value)
    return template


def run_all(rendered, accepted):
    """
    Run every check that the written files call for; return {command: output} of the refusals.

    accepted: the set of what was accepted before, kept by the caller: many VMs share a file, and
    the same files, in the same system, are accepted again.
    """
    refused, read = {}, {}
    for path in rendered.files:
        read.setdefault(check_of(path), []).append((path, rendered.guest.file(path).read_bytes()))
    for line, check in sorted({command(path): check_of(path) for path in rendered.files}.items()):
        known = (line, rendered.guest.lower, tuple(read[check]))
        if known in accepted:
            continue
        done = rendered.guest.run("sh", "-c", line)
        if done.returncode:
            refused[line] = done.stdout[-2000:] + done.stderr[-2000:]
        else:
            accepted.add(known)
    return refused
