"""The course site answers through the public address and each web VM, and keeps both copies."""

import hashlib
import json
import re

import pytest

UPLOAD = bytes(range(256)) * 200


def browser(machine, address):
    """Return a function that sends one request of a logged-in student from inside ``machine``."""
    jar = f"/tmp/jar-{address}"
    curl = ["curl", "-sSf", "--max-time", "20", "-b", jar, "-c", jar]

    def ask(path, *options):
        return machine.succeed(*curl, *options, f"http://{address}{path}")

    ask("/login.php", "-d", "user=student1", "-d", "password=student")
    return ask


@pytest.fixture(scope="module")
def balancer(cluster):
    return cluster.lab[cluster.holder("director")]


def addresses(cluster):
    webs = cluster.lab.topology.vms(cluster.lab.cluster, "web")
    return {vm["name"]: vm["addresses"]["internal"] for vm in webs}


def test_the_site_answers_through_the_public_address(cluster):
    assert "<html" in cluster.lab.fetch().lower()


@pytest.mark.parametrize("through", ["web1", "web2"])
def test_an_answer_and_an_upload_through_each_web_vm_are_read_back_through_every_other(
    cluster, balancer, through
):
    client, digest = f"test-{through}", hashlib.sha256(UPLOAD).hexdigest()
    ask = browser(balancer, addresses(cluster)[through])
    balancer.succeed("tee", "/tmp/upload", stdin=UPLOAD.decode("latin-1"))
    sent = balancer.succeed("sha256sum", "/tmp/upload").split()[0]
    answer = json.loads(ask("/answer.php", "-d", f"client={client}", "-d", "number=1",
                            "--data-urlencode", "text=½ & more"))
    upload = json.loads(ask("/upload.php", "-F", f"client={client}", "-F", "number=1",
                            "-F", f"sha256={sent}", "-F", "file=@/tmp/upload"))
    assert answer["ok"] is True and upload["ok"] is True and len(digest) == 64
    for other in addresses(cluster).values():
        read = browser(balancer, other)
        answers = json.loads(read(f"/answers.php?client={client}"))
        files = json.loads(read(f"/files.php?client={client}"))
        assert [(int(row["number"]), row["text"]) for row in answers] == [(1, "½ & more")]
        assert [(int(row["number"]), row["sha256"]) for row in files] == [(1, sent)]


def test_a_web_vm_that_several_ask_at_once_finds_nothing_wrong_with_moodledata(cluster, balancer):
    for address in addresses(cluster).values():
        said = balancer.succeed(
            "sh", "-c", f"seq 40 | xargs -P 2 -I- curl -s http://{address}/health").splitlines()
        assert len(said) == 40
        wrong = {line for line in said if "be read" in line or "be removed" in line}
        assert wrong == set()


def test_requests_from_outside_reach_every_web_vm(cluster, tmp_path):
    def counts():
        services = cluster.ask(cluster.holder("director"), "ipvs.statistics")
        return json.dumps(services)

    before = counts()
    with cluster.students(tmp_path, "--rate", "20") as verdict:
        cluster.salt("*", "test.ping")
    assert verdict["ok"] and verdict["failed"] == 0
    assert counts() != before


def test_students_lose_nothing_and_the_replica_has_every_row(cluster, tmp_path):
    with cluster.students(tmp_path, "--upload-every", "3") as verdict:
        cluster.salt("*", "test.ping")
        cluster.holders()
    assert verdict["ok"] and verdict["failed"] == 0 and verdict["acknowledged"] >= 20
    query = ["mysql", "-N", "-e", "select count(*), max(id) from moodle.mdl_answers"]
    primary, replica = cluster.holder("database"), cluster.standby("database")
    assert cluster.lab.succeed(primary, *query) == cluster.lab.succeed(replica, *query)


def test_an_upload_has_the_same_bytes_on_the_secondary_s_disk(cluster):
    """Reads the blocks of a file from the disk under DRBD on both: no file system in between."""
    holder, standby = cluster.holder("files"), cluster.standby("files")
    path = cluster.lab.succeed(holder, "sh", "-c",
                               "find /srv/files/moodledata -type f -size +40k | head -n 1").strip()
    assert path
    cluster.lab.succeed(holder, "sync", "-f", path)
    extents = cluster.lab.succeed(holder, "filefrag", "-e", "-b4096", path)
    first = re.search(r"^\s*0:\s+\d+\.\.\s*\d+:\s+(\d+)\.\.", extents, re.MULTILINE).group(1)
    device = cluster.lab.cluster["files"]["device"]
    read = ["sh", "-c", f"dd if={device} bs=4096 skip={first} count=10 iflag=direct status=none"
                        " | sha256sum"]
    ours, theirs = (cluster.lab.succeed(vm, *read) for vm in (holder, standby))
    head = cluster.lab.succeed(holder, "sh", "-c", f"head -c 40960 {path} | sha256sum")
    assert ours == theirs == head
