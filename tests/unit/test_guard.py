"""The guard inside Salt's own pillar compiler: nothing runs and nothing leaks on a wrong pillar."""

import shutil
import subprocess

import pytest
import salt._logging
import salt.config
import salt.pillar
import yaml

from tests import pillars
from tests.loading import ROOT, Utils, load

# Salt keeps what is logged before a daemon sets up its log, and writes it to a closed stderr.
salt._logging.shutdown_temp_handler()


@pytest.fixture
def tree(tmp_path):
    for part in ("_pillar", "_utils", "_modules", "pillar"):
        shutil.copytree(ROOT / part, tmp_path / part,
                        ignore=shutil.ignore_patterns("secrets.sls", "local.sls"))
    put(tmp_path, "secrets", {"secrets": pillars.secrets()})
    return tmp_path


def put(tree, name, data):
    path = tree / f"pillar/{name}.sls"
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data, allow_unicode=True))
    path.chmod(0o600)


def compiled(tree, vm="db1"):
    """Return the pillar as a master compiles it for ``vm``."""
    config = tree / "etc/master"
    config.parent.mkdir(exist_ok=True)
    config.write_text(yaml.safe_dump({
        "root_dir": str(tree),
        "pillar_roots": {"base": [str(tree / "pillar")]},
        "module_dirs": [str(tree)],
        "pillar_dirs": [str(tree / "_pillar")],
        "ext_pillar": [{"cluster": {"secrets": str(tree / "pillar/secrets.sls")}}],
    }))  # fmt: skip
    opts = salt.config.master_config(str(config))
    compiler = salt.pillar.Pillar(opts, {"id": vm}, vm, "base")
    try:
        return compiler.compile_pillar()
    finally:
        compiler.destroy()


def test_a_right_pillar_brings_the_share_of_the_secrets(tree):
    pillar = compiled(tree)
    assert "_errors" not in pillar
    assert set(pillar["secrets"]) == {"ca", "certificate", "heartbeat", "database"}
    assert pillar["cluster"] == pillars.cluster()


def test_a_wrong_pillar_brings_every_error_and_no_secret(tree):
    put(tree, "local", {"cluster": {"sizes": {"web": {"memory": 5}}, "x": 1}})
    pillar = compiled(tree)
    assert "secrets" not in pillar
    (text,) = pillar["_errors"]
    assert text.splitlines() == [
        "Failed to load ext_pillar cluster: the pillar is wrong, nothing was changed (2 errors)",
        "cluster.sizes.web.memory: 5 is not a size, a whole number and one of K, M, G, T, "
        "like 500M; perhaps 5M",
        "cluster.x: unknown key; known here: name, servers, networks, addresses, sizes, vms, "
        "traffic, heartbeat, arbiter, fencing, balancer, files, database, moodle, time",
    ]


def test_an_overlay_s_null_reaches_no_reader(tree):
    shutil.copy(ROOT / "tests/data/pillars/minimal.sls", tree / "pillar/local.sls")
    pillar = compiled(tree)
    assert "_errors" not in pillar
    assert pillar["cluster"] == pillars.cluster("minimal")


def test_a_stranger_gets_nothing(tree):
    pillar = compiled(tree, vm="laptop")
    assert "secrets" not in pillar
    assert "there is no VM named 'laptop'" in pillar["_errors"][0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("secrets: {database: {moodle: topsecret}\n  x: y: z", "is not YAML near line"),
        ("- topsecret", "has no key secrets; run bin/secrets"),
        ("secrets: {x: '-----BEGIN PGP MESSAGE-----\\n\\ntopsecret\\n"
         "-----END PGP MESSAGE-----'}", "cannot be decrypted"),
        ("", "has no key secrets; run bin/secrets"),
    ],
)  # fmt: skip
def test_unreadable_secrets_are_named_and_never_quoted(tree, content, reason):
    put(tree, "secrets", content)
    put(tree, "local", {"cluster": {"x": 1}})
    pillar = compiled(tree)
    (text,) = pillar["_errors"]
    assert reason in text
    assert "cluster.x: unknown key" in text, "the other errors come with it"
    assert "topsecret" not in text


def test_a_problem_is_looked_at_again_though_the_file_is_the_same(tmp_path):
    """The key ring was copied to this master after the first pillar was asked for."""
    module, path = load("_pillar/cluster.py", utils=Utils()), tmp_path / "secrets.sls"
    path.touch()
    answers = [{"problem": "cannot be decrypted"}, {"secrets": {}}]
    found = [module._cached(str(path), lambda *_: answers.pop(0), {}) for _ in range(3)]
    assert found == [{"problem": "cannot be decrypted"}, {"secrets": {}}, {"secrets": {}}]
    cluster, schema = pillars.cluster(), {}
    module.errors = lambda *_: []
    for given, wrong in (({"problem": "no"}, 1), ({"secrets": {}}, 0)):
        assert len(module._errors(cluster, given, schema, "stamp")) == wrong


def test_secrets_that_others_can_read_are_refused(tree):
    (tree / "pillar/secrets.sls").chmod(0o644)
    (text,) = compiled(tree)["_errors"]
    assert "has mode 644, others can read it; chmod 600 it" in text


def test_no_secrets_at_all(tree):
    (tree / "pillar/secrets.sls").unlink()
    (text,) = compiled(tree)["_errors"]
    assert "secrets: is missing; run bin/secrets" in text


def test_encrypted_values_are_read_by_the_masters_key_ring(tree):
    home = tree / "etc/gpgkeys"
    home.mkdir(parents=True)
    home.chmod(0o700)

    def gpg(*argv, text=""):
        argv = ["gpg", "--homedir", str(home), "--batch", "--quiet", *argv]
        return subprocess.run(argv, input=text.encode(), capture_output=True, check=True).stdout

    try:
        gpg("--passphrase", "", "--quick-generate-key", "masters", "default", "default", "never")
        password = "pä'\"$ss #\\%w😀rd"
        secrets = pillars.secrets()
        sealed = gpg("--armor", "--trust-model", "always", "-r", "masters", "-e", text=password)
        secrets["database"]["moodle"] = sealed.decode()
        put(tree, "secrets", {"secrets": secrets})
        pillar = compiled(tree)
        assert "_errors" not in pillar
        assert pillar["secrets"]["database"]["moodle"] == password
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"])
