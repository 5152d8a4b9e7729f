"""Each VM sees what its role needs; what is missing, weak or stale is named without its value."""

import datetime

import pytest
import yaml

from tests import pillars
from tests.loading import ROOT, load

guard = load("_pillar/cluster.py")
secret = load("_utils/secret.py")
CLUSTER = pillars.cluster()


def share(name):
    return secret.share(pillars.secrets(), CLUSTER, name)


def messages(secrets, cluster=CLUSTER):
    found = guard.errors({"cluster": cluster, "secrets": secrets}, pillars.SCHEMA)
    return [f"{error['path']}: {error['message']}" for error in found]


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("lb1", {"salt"}),
        ("web1", {"database", "moodle"}),
        ("file2", {"drbd"}),
        ("db1", {"database"}),
        ("witness", set()),
    ],
)
def test_a_vm_sees_what_its_role_needs_and_nothing_else(name, groups):
    seen = share(name)
    assert set(seen) == {"ca", "certificate", "heartbeat"} | groups
    assert set(seen["ca"]) == {"certificate"}
    assert seen["certificate"] == pillars.secrets()["certificates"][name]


def test_a_web_vm_does_not_see_the_replication_password():
    assert set(share("web2")["database"]) == {"moodle"}
    assert set(share("db2")["database"]) == {"moodle", "replication"}


def test_a_balancer_sees_the_minions_public_keys_only():
    salt = share("lb2")["salt"]
    assert set(salt["minions"]) == set(CLUSTER["vms"])
    assert all(set(pair) == {"public"} for pair in salt["minions"].values())
    assert set(salt["master"]) == {"private", "public"}


@pytest.mark.parametrize("name", list(CLUSTER["vms"]))
def test_no_vm_sees_the_authority_s_key_or_another_s(name):
    seen, secrets = yaml.safe_dump(share(name)), pillars.secrets()
    others = [pair["key"] for vm, pair in secrets["certificates"].items() if vm != name]
    others += [pair["private"] for pair in secrets["salt"]["minions"].values()]
    for key in [secrets["ca"]["key"], *others]:
        assert key.splitlines()[1] not in seen


def test_generated_secrets_are_right():
    assert messages(pillars.secrets()) == []


def test_nasty_passwords_are_right():
    nasty = yaml.safe_load((ROOT / "tests/data/secrets-nasty.sls").read_text())["secrets"]
    assert messages(load("_utils/bootstrap.py").merge(pillars.secrets(), nasty)) == []


PLACEHOLDER = "is a placeholder; delete it and run bin/secrets, or choose a real one"
WRONG = {
    "placeholder": ("database.moodle", "CHANGEME", PLACEHOLDER),
    "another placeholder": ("moodle.admin", "change-me!", PLACEHOLDER),
    "a word for it": ("database.replication", "password1", PLACEHOLDER),
    "one letter again and again": ("drbd.shared", "aaaaaaaaaaaaaaaa", PLACEHOLDER),
    "example": ("moodle.admin", "<your password>", PLACEHOLDER),
    "zeros for a key": ("heartbeat.key", "0" * 64, PLACEHOLDER),
    "empty": (
        "database.moodle",
        "",
        "the value is not at least 8 characters without control characters",
    ),
    "null": (
        "database.moodle",
        None,
        "the value is not at least 8 characters without control characters",
    ),
    "a line feed at the end": (
        "database.moodle",
        "a good password\n",
        "the value is not at least 8 characters without control characters",
    ),
    "not hexadecimal": ("heartbeat.key", "x" * 64, "the value is not 64 lowercase hexadecimal "
                        "digits"),
    "too long for DRBD": (
        "drbd.shared",
        "äöü-abc" * 7,
        "is longer than DRBD takes; at most 63 bytes",
    ),
    "too long for a replica": (
        "database.replication",
        "ä-replica" * 4,
        "is longer than a replica takes; at most 32 bytes",
    ),
    "no certificate": ("certificates.web1.certificate", "hidden", "the value is not a PEM block"),
    "a VM without a minion key": (
        "salt.minions.web2",
        "GONE",
        "is missing; run bin/secrets, it adds what a new VM needs",
    ),
    "no password at all": (
        "moodle.admin",
        "GONE",
        "is missing; run bin/secrets, it adds what is missing and replaces nothing",
    ),
    "unknown key": ("drbd.share", "x", "unknown key; did you mean shared"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_secret_is_named_and_its_value_is_not(case):
    path, value, message = WRONG[case]
    secrets = pillars.secrets()
    *groups, key = path.split(".")
    place = secrets
    for group in groups:
        place = place[group]
    place[key] = value
    if value == "GONE":
        del place[key]
    found = messages(secrets)
    assert found == [f"secrets.{path}: {message}"]
    assert not value or value in ("x", "GONE") or value not in found[0]


def test_the_same_password_twice_is_named():
    secrets = pillars.secrets()
    secrets["moodle"]["admin"] = secrets["database"]["moodle"]
    assert messages(secrets) == [
        "secrets.moodle.admin: is the same as secrets.database.moodle; each use needs its own"
    ]


def test_missing_secrets_say_how_to_make_them():
    found = guard.errors({"cluster": CLUSTER}, pillars.SCHEMA)
    assert found == [{
        "path": "secrets",
        "message": "is missing; run bin/secrets, it adds what is missing and replaces nothing",
    }]  # fmt: skip


def test_a_certificate_without_today_s_address_is_named():
    cluster = pillars.cluster()
    cluster["vms"]["web1"]["addresses"]["internal"] = "192.168.10.77"
    cluster["addresses"]["database"] = "192.168.10.9"
    renew = "delete the entry and run bin/secrets"
    assert messages(pillars.secrets(), cluster) == [
        f"secrets.certificates.db1: the certificate does not hold 192.168.10.9; {renew}",
        f"secrets.certificates.db2: the certificate does not hold 192.168.10.9; {renew}",
        f"secrets.certificates.web1: the certificate does not hold 192.168.10.77; {renew}",
    ]


def test_a_key_of_another_certificate_is_named():
    secrets = pillars.secrets()
    secrets["certificates"]["lb1"]["key"] = secrets["certificates"]["lb2"]["key"]
    assert messages(secrets) == [
        "secrets.certificates.lb1: certificate and key do not belong together; "
        "delete it and run bin/secrets"
    ]


def test_certificates_of_a_replaced_authority_are_named():
    secrets = pillars.secrets()
    secrets["ca"] = pillars.generator().authority("other")
    found = messages(secrets)
    assert len(found) == len(CLUSTER["vms"])
    assert found[0] == (
        "secrets.certificates.db1: the certificate is not signed by secrets.ca; "
        "delete it and run bin/secrets"
    )


def days(count):
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=count)


def test_a_certificate_that_has_run_out_or_will_soon_is_named_and_no_error_of_the_pillar():
    """As an error it would keep every VM's secrets from it: one that boots then mirrors no more."""
    ends = secret.ends(pillars.secrets(), CLUSTER)
    assert set(ends) == {"secrets.ca", *(f"secrets.certificates.{vm}" for vm in CLUSTER["vms"])}
    assert secret.ending(ends, days(3600)) == []
    soon, late = (secret.ending(ends, days(count)) for count in (3640, 3651))
    assert len(soon) == len(late) == len(CLUSTER["vms"])
    assert soon[0].startswith("secrets.certificates.lb1: the certificate runs out on 20")
    assert late[0].startswith("secrets.certificates.lb1: the certificate has run out on 20")
    assert secret.errors(pillars.secrets(), CLUSTER, days(3651)) == []
    assert set(secret.ends(https_secrets(), HTTPS)) > {"secrets.web.tls"}


def test_a_certificate_that_is_not_valid_yet_is_an_error():
    found = secret.errors(pillars.secrets(), CLUSTER, days(-400))
    assert all("the certificate is valid from 20" in error["message"] for error in found)
    assert len(found) == len(CLUSTER["vms"]) + 1  # and the authority


def test_without_secrets_in_the_pillar_those_of_the_last_state_run_go_on(tmp_path, monkeypatch):
    path = tmp_path / "pillar.json"
    monkeypatch.setattr(secret, "KEPT", str(path))
    with pytest.raises(KeyError, match="the pillar has no secrets"):
        secret.known({"_errors": ["wrong"]})
    path.write_text('{"secrets": {"database": {"replication": "old"}}}')
    assert secret.known({"_errors": ["wrong"]})["database"]["replication"] == "old"
    assert secret.known({"secrets": {}}) == {}


HTTPS = pillars.cluster("bare-metal")


def https_secrets(**changes):
    known = pillars.secrets()
    pillars.generator().complete(known, HTTPS)
    known["web"]["tls"] |= changes
    return known


def site_messages(secrets, cluster=HTTPS):
    return [line for line in messages(secrets, cluster) if line.startswith("secrets.web")]


def test_the_site_s_key_is_seen_where_the_site_answers_and_only_under_https():
    known = https_secrets()
    seen = {name for name in HTTPS["vms"] if "web" in secret.share(known, HTTPS, name)}
    answering = ("web", "balancer")  # a balancer says sorry; as a master it has every secret anyway
    assert seen == {name for name, vm in HTTPS["vms"].items() if vm["role"] in answering}
    assert secret.share(known, HTTPS, "web1")["web"] == known["web"]
    assert "web" not in secret.share(known, CLUSTER, "web1")


def test_https_needs_a_certificate_and_http_none():
    assert site_messages(pillars.secrets()) == [
        "secrets.web.tls: is missing; run bin/secrets, it makes one to begin with, "
        "or give your own"
    ]
    assert site_messages(https_secrets()) == []
    assert site_messages(pillars.secrets(), CLUSTER) == []


def test_an_operator_s_certificate_is_judged_but_may_come_from_any_authority():
    make, again = pillars.generator(), "give another, or delete web.tls and run bin/secrets"
    other = make.authority("elsewhere")

    def signed(*names):
        return make.certificate(other, "x", {"names": names, "addresses": []}, None, client=False)

    own = signed("*.example.org")
    chain = own["certificate"] + other["certificate"]
    assert site_messages(https_secrets(**own | {"certificate": chain})) == []
    assert site_messages(https_secrets(**signed("example.org", "*.org"))) == [
        f"secrets.web.tls: the certificate does not hold moodle.example.org of cluster.moodle.url; "
        f"{again}"
    ]
    assert site_messages(https_secrets(key=own["key"])) == [
        f"secrets.web.tls: certificate and key do not belong together; {again}"
    ]
    found = secret.errors(https_secrets(), HTTPS, days(-400))
    (early,) = [error["message"] for error in found if error["path"] == "secrets.web.tls"]
    assert early.startswith("the certificate is valid from") and early.endswith(again)


def test_a_half_given_pair_of_the_site_is_one_error():
    known = https_secrets()
    del known["web"]["tls"]["key"]
    assert len(site_messages(known)) == 1
    known = https_secrets(certificate="hidden")
    assert site_messages(known) == ["secrets.web.tls.certificate: the value is not a PEM block"]
