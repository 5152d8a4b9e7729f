"""bin/secrets adds what is missing, replaces nothing, and never shows a secret."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml
from cryptography import x509

from tests import pillars
from tests.loading import ROOT

generator = pillars.generator()


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "pillar").mkdir()
    shutil.copy(ROOT / "pillar/cluster.sls", tmp_path / "pillar")
    return tmp_path


def run(tree, *arguments, umask=0o022):
    argv = [sys.executable, str(ROOT / "bin/secrets"), "--tree", str(tree), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, umask=umask)


def path(tree):
    return tree / "pillar/secrets.sls"


def given(tree):
    return yaml.safe_load(path(tree).read_text())["secrets"]


def leaves(data):
    return [one for value in data.values() for one in leaves(value)] \
        if isinstance(data, dict) else [data]


def test_it_makes_everything_with_mode_0600_and_prints_no_secret(tree):
    done = run(tree, umask=0)
    assert done.returncode == 0, done.stderr
    assert path(tree).stat().st_mode & 0o777 == 0o600
    assert not [value for value in leaves(given(tree)) if value in done.stdout + done.stderr]
    assert set(given(tree)["certificates"]) == set(pillars.cluster()["vms"])
    assert sorted(os.listdir(tree / "pillar")) == ["cluster.sls", "secrets.sls"]


def test_a_second_run_does_not_touch_the_file(tree):
    run(tree)
    before = path(tree).stat()
    done = run(tree)
    assert "nothing added" in done.stdout
    after = path(tree).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_new_vm_gets_its_keys_and_nothing_else_changes(tree):
    run(tree)
    before = given(tree)
    overlay = (ROOT / "tests/data/pillars/three-web.sls").read_text()
    (tree / "pillar/local.sls").write_text(overlay)
    done = run(tree)
    assert "added salt.minions.web3, certificates.web3" in done.stdout
    after = given(tree)
    del after["certificates"]["web3"], after["salt"]["minions"]["web3"]
    assert after == before


def test_what_the_operator_chose_stays(tree):
    nasty = (ROOT / "tests/data/secrets-nasty.sls").read_text()
    path(tree).write_text(nasty)
    run(tree)
    chosen = yaml.safe_load(nasty)["secrets"]
    after = given(tree)
    for group, values in chosen.items():
        assert after[group] == values
    assert path(tree).read_text().startswith("# Passwords that break careless quoting")
    assert path(tree).stat().st_mode & 0o777 == 0o600


def test_a_readable_file_is_closed(tree):
    run(tree)
    path(tree).chmod(0o644)
    run(tree)
    assert path(tree).stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_not_yaml_is_left_alone_and_not_quoted(tree):
    path(tree).write_text("secrets:\n  database: {moodle: topsecret\n  x: y: z\n")
    before = path(tree).read_text()
    done = run(tree)
    assert done.returncode == 1
    assert "is not YAML near line" in done.stderr
    assert "topsecret" not in done.stderr
    assert path(tree).read_text() == before


def test_a_wrong_pillar_gets_no_certificates(tree):
    (tree / "pillar/local.sls").write_text("cluster: {vms: {web1: {addresses: {internal: x}}}}\n")
    done = run(tree)
    assert done.returncode == 1
    assert "cluster.vms.web1.addresses.internal: 'x' is not an IPv4 address" in done.stderr
    assert not path(tree).exists()


def test_a_failed_write_leaves_no_file(tree, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        generator.write(path(tree), "secret")
    assert os.listdir(tree / "pillar") == ["cluster.sls"]


def test_an_encrypted_authority_needs_its_key_ring(tree):
    run(tree)
    data = given(tree)
    data["ca"]["key"] = f"{generator.PGP}\n\nhQEMA\n-----END PGP MESSAGE-----\n"
    del data["certificates"]["web1"]
    path(tree).write_text(yaml.safe_dump({"secrets": data}))
    done = run(tree)
    assert (done.returncode, done.stderr) == (
        1, "bin/secrets: ca.key is encrypted; give --gpg-home (on masters: /etc/salt/gpgkeys)\n",
    )  # fmt: skip


def test_salt_takes_the_keys(tmp_path):
    from salt.crypt import PrivateKey, PublicKey

    pair = generator.salt_keys()
    private = PrivateKey.from_str(pair["private"])
    public = PublicKey.from_str(pair["public"])
    assert public.verify(b"text", private.sign(b"text"))
    assert public.decrypt(private.encrypt(b"text")) == b"text"


def test_a_certificate_serves_both_ends_under_every_name_of_its_vm():
    pem = pillars.secrets()["certificates"]["db1"]["certificate"]
    certificate = x509.load_pem_x509_certificate(pem.encode())

    def extension(kind):
        return certificate.extensions.get_extension_for_class(kind).value

    names = extension(x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == ["db1", "database", "localhost"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == [
        "192.168.10.18", "192.168.10.8", "127.0.0.1",
    ]  # fmt: skip
    assert set(extension(x509.ExtendedKeyUsage)) == {
        x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH,
    }  # fmt: skip


def test_openssl_accepts_the_chain_under_its_strict_rules(tmp_path):
    secrets = pillars.secrets()
    (tmp_path / "ca").write_text(secrets["ca"]["certificate"])
    (tmp_path / "vm").write_text(secrets["certificates"]["lb1"]["certificate"])
    argv = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_ip",
            "192.168.10.10", "-CAfile", str(tmp_path / "ca"), str(tmp_path / "vm")]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("host", ["moodle.example.org", "203.0.113.10"])
def test_https_gets_a_certificate_for_its_host_that_is_no_client_s(tree, host):
    run(tree)
    assert "web" not in given(tree)
    overlay = {"cluster": {"moodle": {"url": f"https://{host}"}, "balancer": {"ports": [80, 443]}}}
    (tree / "pillar/local.sls").write_text(yaml.safe_dump(overlay))
    assert "added web.tls\n" in run(tree).stdout
    pair = given(tree)["web"]["tls"]
    own = x509.load_pem_x509_certificate(pair["certificate"].encode())
    own.verify_directly_issued_by(
        x509.load_pem_x509_certificate(given(tree)["ca"]["certificate"].encode())
    )
    alternatives, use = (
        own.extensions.get_extension_for_class(kind).value
        for kind in (x509.SubjectAlternativeName, x509.ExtendedKeyUsage)
    )
    assert [str(one.value) for one in alternatives] == [host]
    assert list(use) == [x509.ExtendedKeyUsageOID.SERVER_AUTH]
