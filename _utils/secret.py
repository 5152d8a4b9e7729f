"""
Which secret exists for what, who may see it, and what is wrong with those given.

Pure but for ``cryptography``, which reads certificates. No message ever holds a value.
"""

import datetime
import json
import re
from urllib.parse import urlsplit

PASSWORDS = (("database", "moodle"), ("database", "replication"), ("moodle", "admin"),
             ("drbd", "shared"))  # fmt: skip
PLACEHOLDER = re.compile(
    r"(change[ _-]?(me|it|this)|replace[ _-]?(me|this)|your[ _-]?(password|secret).*|example.*|"
    r"pass(word|wort|wd)?\d*|secret\d*|geheim\d*|placeholder|to[ _-]?do|x+|<.*>|\.+|\*+|"
    r"(0123456789|12345678)\d*|(0|f)+|qwert[yz].*|moodle\d*)[.!]*",
    re.IGNORECASE,
)
KEPT = "/etc/cluster/pillar.json"  # see _modules/boot.py
SOON = datetime.timedelta(days=30)  # before the end of a certificate somebody is told
_DRBD_BYTES = 63
_REPLICATION_BYTES = 32  # what MySQL and MariaDB keep of a source's password


def share(secrets, cluster, name):
    """Return what VM ``name`` may see: its role's passwords, its own certificate."""
    role = cluster["vms"][name]["role"]
    seen = {
        "ca": {"certificate": secrets["ca"]["certificate"]},
        "certificate": dict(secrets["certificates"][name]),
        "heartbeat": dict(secrets["heartbeat"]),
    }
    passwords = {
        "database": {"database": ("moodle", "replication")},
        "web": {"database": ("moodle",), "moodle": ("admin",)},
        "file": {"drbd": ("shared",)},
    }
    for group, keys in passwords.get(role, {}).items():
        seen[group] = {key: secrets[group][key] for key in keys}
    if role in ("web", "balancer") and site(cluster):  # a balancer says sorry by TLS, too
        seen["web"] = {"tls": dict(secrets["web"]["tls"])}
    if role == "balancer":
        pairs = {vm: secrets["salt"]["minions"][vm] for vm in cluster["vms"]}
        if secrets.get("fencing"):
            seen["fencing"] = dict(secrets["fencing"])
        seen["salt"] = {
            "master": dict(secrets["salt"]["master"]),
            "minions": {vm: {"public": pair["public"]} for vm, pair in pairs.items()},
        }
    return seen


def identities(cluster, name):
    """Return the names and addresses VM ``name`` answers to: what its certificate must hold."""
    vm = cluster["vms"][name]
    floats = {"database": ["database"], "file": ["files"], "balancer": ["gateway"]}
    mine = floats.get(vm["role"], [])
    addresses = [*vm["addresses"].values(), *(cluster["addresses"][key] for key in mine)]
    return {
        "names": [name, *mine, "localhost"],
        "addresses": list(dict.fromkeys([*addresses, "127.0.0.1"])),
    }


def site(cluster):
    """Return what the site's certificate must hold, as ``identities``; None without https."""
    url = urlsplit(cluster.get("moodle", {}).get("url") or "")
    if url.scheme != "https":
        return None
    host = (url.hostname or "").rstrip(".")
    is_address = re.fullmatch(r"[0-9.]+", host)
    return {"names": [] if is_address else [host], "addresses": [host] if is_address else []}


def known(pillar):
    """
    Return the secrets of a VM's ``pillar``, or those of its last state run.

    A wrong pillar comes without any, and what is configured goes on with what it was given. Raises
    KeyError if there was no state run either.
    """
    if "secrets" in pillar:
        return pillar["secrets"]
    try:
        with open(KEPT, encoding="utf-8") as file:
            return json.load(file)["secrets"]
    except (OSError, ValueError) as error:
        raise KeyError(f"the pillar has no secrets, and {KEPT} cannot be read: {error}") from error


def ends(secrets, cluster):
    """Return ``{path: "YYYY-MM-DDTHH:MM:SS+00:00"}``: when each certificate in use runs out."""
    from cryptography import x509

    found = {"ca": secrets.get("ca")}
    found |= {f"certificates.{vm}": secrets["certificates"].get(vm) for vm in cluster["vms"]}
    if site(cluster):
        found["web.tls"] = secrets.get("web", {}).get("tls")
    read = {path: _certificate(x509, (pair or {}).get("certificate"))
            for path, pair in found.items()}  # fmt: skip
    return {f"secrets.{path}": one.not_valid_after_utc.isoformat()
            for path, one in read.items() if one}  # fmt: skip


def ending(known_ends, now=None):
    """Return a sentence for each of `ends` that is over or near; now: timezone-aware."""
    now, told = now or datetime.datetime.now(datetime.UTC), []
    for path, end in known_ends.items():
        at = datetime.datetime.fromisoformat(end)
        if at - now < SOON:
            verb = "has run out" if at < now else "runs out"
            told.append(f"{path}: the certificate {verb} on {at:%Y-%m-%d}; see the runbook,"
                        " Change a password or renew a certificate")  # fmt: skip
    return told


def errors(secrets, cluster, now=None):
    """
    Return ``[{"path", "message"}]`` for secrets that ``schema.validate`` has been over.

    ``now``: a timezone-aware datetime, for certificates that are not valid yet. One that has run
    out is no mistake of the pillar, and must not keep anything from it: see `ending`.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    found = [*_passwords(secrets), *_per_vm(secrets, cluster), *_same(secrets)]
    found += _certificates(secrets, cluster, now)
    found += _site_certificate(secrets, cluster, now)
    return [{"path": f"secrets.{path}", "message": message} for path, message in found]


def _passwords(secrets):
    values = [(f"{group}.{key}", secrets.get(group, {}).get(key)) for group, key in PASSWORDS]
    beat = secrets.get("heartbeat", {})
    values += [(f"heartbeat.{key}", beat.get(key)) for key in ("key", "also")]
    if beat.get("key") and beat.get("key") == beat.get("also"):
        yield "heartbeat.also", "is the same as secrets.heartbeat.key; delete it"
    for path, value in values:
        if value and (PLACEHOLDER.fullmatch(value.strip()) or len(set(value)) < 4):
            yield path, "is a placeholder; delete it and run bin/secrets, or choose a real one"
    shared = secrets.get("drbd", {}).get("shared") or ""
    if len(shared.encode()) > _DRBD_BYTES:
        yield "drbd.shared", f"is longer than DRBD takes; at most {_DRBD_BYTES} bytes"
    replication = secrets.get("database", {}).get("replication") or ""
    if len(replication.encode()) > _REPLICATION_BYTES:
        yield (
            "database.replication",
            f"is longer than a replica takes; at most {_REPLICATION_BYTES} bytes",
        )


def _same(secrets):
    seen = {}
    for group, key in PASSWORDS:
        value = secrets.get(group, {}).get(key)
        if value and value in seen:
            yield f"{group}.{key}", f"is the same as secrets.{seen[value]}; each use needs its own"
        seen[value] = f"{group}.{key}"


def _per_vm(secrets, cluster):
    groups = (("certificates", secrets), ("minions", secrets.get("salt", {})))
    for group, holder in groups:
        path = group if group == "certificates" else f"salt.{group}"
        if group not in holder:
            continue
        for name in cluster.get("vms") or {}:
            if name not in holder[group]:
                yield f"{path}.{name}", "is missing; run bin/secrets, it adds what a new VM needs"


def _certificates(secrets, cluster, now):
    from cryptography import x509

    authority = _certificate(x509, secrets.get("ca", {}).get("certificate"))
    certified = {"ca": secrets.get("ca", {})}
    for name, pair in secrets.get("certificates", {}).items():
        certified[f"certificates.{name}"] = pair
    for path, pair in certified.items():
        if set(pair) != {"certificate", "key"}:
            continue
        certificate = _certificate(x509, pair["certificate"])
        if certificate is None:
            yield f"{path}.certificate", "is not a readable certificate; delete it, run bin/secrets"
            continue
        name = path.partition(".")[2]
        for message in _judge(certificate, pair["key"], authority, now):
            yield path, message
        if name in (cluster.get("vms") or {}):
            yield from _uncovered(x509, certificate, cluster, name)


def _site_certificate(secrets, cluster, now):
    from cryptography import x509

    wanted, pair = site(cluster), secrets.get("web", {}).get("tls")
    if wanted is None:
        return
    if pair is None:
        yield "web.tls", "is missing; run bin/secrets, it makes one to begin with, or give your own"
        return
    if set(pair) != {"certificate", "key"}:
        return  # said by the schema
    again = "give another, or delete web.tls and run bin/secrets"
    certificate = _certificate(x509, pair["certificate"])
    if certificate is None:
        yield "web.tls.certificate", f"is not a readable certificate; {again}"
        return
    for message in _judge(certificate, pair["key"], None, now, again):
        yield "web.tls", message
    for one in _missing(x509, certificate, wanted):
        yield "web.tls", f"the certificate does not hold {one} of cluster.moodle.url; {again}"


def _certificate(x509, pem):
    try:
        return x509.load_pem_x509_certificate((pem or "").encode())
    except ValueError:
        return None


def _judge(certificate, key, authority, now, again="delete it and run bin/secrets"):
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key.encode(), None)
        if private.public_key() != certificate.public_key():
            yield f"certificate and key do not belong together; {again}"
    except (ValueError, TypeError):
        yield f"the key is not a readable private key without a passphrase; {again}"
    if now < certificate.not_valid_before_utc:
        yield f"the certificate is valid from {certificate.not_valid_before_utc:%Y-%m-%d}; {again}"
    if authority is None:
        return
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        yield f"the certificate is not signed by secrets.ca; {again}"


def _uncovered(x509, certificate, cluster, name):
    """Yield what the VM is called today and the certificate does not know."""
    try:
        missing = _missing(x509, certificate, identities(cluster, name))
    except KeyError:
        return  # said by the schema: an address or a role is missing
    if missing:
        yield (
            f"certificates.{name}",
            f"the certificate does not hold {', '.join(missing)}; "
            "delete the entry and run bin/secrets",
        )


def _missing(x509, certificate, wanted):
    """Return the names and addresses in ``wanted`` for which the certificate is not good."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        found = []
    names = {entry.value.lower() for entry in found if isinstance(entry, x509.DNSName)}
    addresses = {str(entry.value) for entry in found if isinstance(entry, x509.IPAddress)}
    missing = [
        one for one in wanted["names"] if not names & {one, f"*.{one.partition('.')[2]}"}
    ]
    return missing + [one for one in wanted["addresses"] if one not in addresses]
