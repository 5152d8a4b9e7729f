"""Every role under every test pillar: compiles, writes, and is accepted by its daemons."""

import json
import re

from tests.render import checkers

# component-thing-verb: the verb is a past participle or says what is so afterwards.
STATE_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9._/]+){2,}")
PUBLIC = ("-----BEGIN CERTIFICATE", "-----BEGIN PUBLIC KEY")
STARTED_BY_US_ONLY = {"nfs-server", "nfs-kernel-server", "nfs-mountd"}


def strings(value):
    """Return every string inside ``value``, long enough not to be found by chance."""
    if isinstance(value, dict):
        return {found for item in value.values() for found in strings(item)}
    if isinstance(value, list):
        return {found for item in value for found in strings(item)}
    return {value} if isinstance(value, str) and len(value) >= 8 else set()


def test_highstate_compiles(rendered):
    assert rendered.errors == []
    assert rendered.low


def test_every_file_is_written(rendered):
    refused = [result for result in rendered.results if result["result"] is not True]
    assert refused == []


def test_a_second_run_changes_no_file(rendered):
    assert rendered.results
    assert [result for result in rendered.again if result["changes"]] == []


def test_state_ids_are_component_thing_verb(rendered):
    wrong = {chunk["__id__"] for chunk in rendered.low if not STATE_ID.fullmatch(chunk["__id__"])}
    assert wrong == set()


def test_every_daemon_accepts_what_was_written_for_it(rendered, accepted):
    assert rendered.files
    unread = [path for path in rendered.files if checkers.check_of(path) is None]
    assert unread == []
    refused = checkers.run_all(rendered, accepted)
    assert refused == {}, "\n".join(f"{name}: {output}" for name, output in refused.items())


def test_every_package_is_in_the_image(rendered):
    """The lab's VMs have no way out: a state that had to install something would fail there."""
    packages = set()
    for chunk in rendered.low:
        if chunk["state"] == "pkg":
            packages.update(chunk.get("pkgs") or [chunk["name"]])
    if packages:
        query = rendered.guest.run("dpkg-query", "-W", "-f", "${Status}\n", *sorted(packages))
        assert query.returncode == 0, query.stderr
        assert set(query.stdout.splitlines()) == {"install ok installed"}


def test_nothing_that_makes_a_vm_active_starts_at_boot(rendered):
    """I5: a VM that boots is passive until told otherwise."""
    started = {
        chunk["name"].removesuffix(".service")
        for chunk in rendered.low
        if chunk["state"] == "service" and (chunk.get("enable") or chunk["fun"] == "enabled")
    }
    assert not started & STARTED_BY_US_ONLY
    floating = set(rendered.cluster["addresses"].values())
    for path in rendered.files:
        if path.startswith("/etc/systemd/network/"):
            text = rendered.guest.file(path).read_text()
            assert not [address for address in floating if f"Address={address}/" in text]


def test_only_the_resource_state_may_change_a_runtime_role(rendered):
    """I4: no state but resource.founded promotes, mounts the files, or moves an address."""
    verbs = ("activate", "deactivate", "promote", "demote", "mirror", "follow", "address.present")
    for chunk in rendered.low:
        if chunk["state"] in ("module", "cmd", "saltutil"):
            text = json.dumps(chunk, default=str)
            assert not [verb for verb in verbs if verb in text], chunk["__id__"]


def test_secrets_of_other_roles_are_nowhere(rendered):
    foreign = strings(rendered.all_secrets) - strings(rendered.secrets)
    low = json.dumps(rendered.low, default=str, ensure_ascii=False)
    for path in rendered.files:
        low += rendered.guest.file(path).read_text(errors="replace")
    assert [secret[:12] for secret in foreign if secret in low] == []


def test_secrets_are_in_no_result_no_command_and_no_world_readable_file(rendered):
    secrets = {text for text in strings(rendered.secrets) if not text.startswith(PUBLIC)}
    shown = json.dumps(rendered.results, default=str, ensure_ascii=False)
    shown += json.dumps(
        [chunk for chunk in rendered.low if chunk["state"] in ("cmd", "module")],
        default=str,
        ensure_ascii=False,
    )
    assert [secret[:12] for secret in secrets if secret in shown] == []
    for path in rendered.files:
        file = rendered.guest.file(path)
        if file.stat().st_mode & 0o004:
            text = file.read_text(errors="replace")
            assert not [secret for secret in secrets if secret in text], path



def test_php_reads_back_the_password_that_was_written(rendered):
    if "/srv/moodle/config.php" in rendered.files:
        script = 'require "/srv/moodle/config.php"; echo json_encode($CFG->dbpass);'
        done = rendered.guest.run("php", "-r", script)
        assert json.loads(done.stdout) == rendered.secrets["database"]["moodle"], done.stderr
    else:
        assert rendered.role != "web"


# Answers of /, /health and of / by TLS: status, and where the first is sent. Then TLS 1.1.
ASKED = """
apache2ctl start && sleep 1
ask() { curl -s -o /dev/null -w '%{http_code} %{redirect_url}\\n' "$@"; }
ask http://127.0.0.1/course/view.php?id=2
ask http://127.0.0.1/health
ask --cacert /etc/cluster/ca.crt --connect-to ::127.0.0.1 "$1/.git/config"
ask -k --tls-max 1.1 https://127.0.0.1/
apache2ctl stop
"""


def test_https_is_served_and_http_leads_to_it(rendered):
    url = rendered.cluster["moodle"]["url"]
    if rendered.role not in ("web", "balancer") or not url.startswith("https:"):
        assert "/etc/cluster/web.key" not in rendered.files
    if rendered.role != "web" or not url.startswith("https:"):
        return
    done = rendered.guest.run("sh", "-c", ASKED, "sh", url)
    plain, health, tls, old = done.stdout.splitlines()
    assert plain == f"301 {url}/course/view.php?id=2", done.stderr
    assert health.split()[0] == "503"  # no PHP runs here, but it is no redirect
    assert (tls.split()[0], old.split()[0]) == ("403", "000")
