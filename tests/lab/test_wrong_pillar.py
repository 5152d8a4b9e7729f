"""A wrong pillar changes nothing anywhere, and says what is wrong."""

import pytest
import yaml

from lab.deadline import wait_until
from tests.lab.test_standby import REJOIN

WRONG = {
    "an unknown key": ({"colour": "blue"}, "colour"),
    "a wrong type": ({"balancer": {"ports": "80"}}, "balancer.ports"),
    "a size without unit": ({"sizes": {"web": {"memory": 2048}}}, "sizes.web.memory"),
    "an address outside its network": (
        {"vms": {"web1": {"addresses": {"internal": "192.168.11.11"}}}}, "vms.web1"),
    "an address used twice": (
        {"vms": {"web1": {"addresses": {"internal": "192.168.10.21"}}}}, "192.168.10.21"),
    "a floating address of a VM": ({"addresses": {"files": "192.168.10.15"}}, "addresses.files"),
    "a pair on one server": ({"vms": {"db2": {"server": "server1"}}}, "server1"),
    "overlapping networks": (
        {"networks": {"public": {"subnet": "192.168.0.0/16"}}}, "overlap"),
    "a deadtime below two keepalives": ({"heartbeat": {"deadtime": 0.4}}, "heartbeat.deadtime"),
    "an unknown engine": ({"database": {"engine": "oracle"}}, "database.engine"),
    "an unknown driver": ({"arbiter": {"driver": "coin"}}, "arbiter.driver"),
    "a name that is no host name": (
        {"vms": {"web_3": {"server": "server1", "role": "web",
                           "addresses": {"internal": "192.168.10.31"}}}}, "web_3"),
}


@pytest.fixture(scope="module")
def write(cluster):
    """Lay an overlay on the lab's own; the lab's is back afterwards."""
    path = cluster.lab.run_folder / "tree/pillar/local.sls"
    own = path.read_text()

    def merge(base, over):
        return base | {key: merge(base.get(key, {}), value) if isinstance(value, dict) else value
                       for key, value in over.items()}

    def over(overlay):
        data = {"cluster": merge(yaml.safe_load(own)["cluster"], overlay)}
        path.write_text(yaml.safe_dump(data))

    yield over
    path.write_text(own)
    cluster.salt("*", "saltutil.refresh_pillar", "wait=True")


# Every mistake is found in the tests of the pure functions: here, that it stops the run.
@pytest.mark.parametrize("mistake", [
    mistake if number % 5 == 0 else pytest.param(mistake, marks=pytest.mark.slow)
    for number, mistake in enumerate(WRONG)])
def test_a_wrong_pillar_stops_the_run_and_names_the_mistake(cluster, write, mistake):
    overlay, named = WRONG[mistake]
    write(overlay)
    answers = cluster.salt("web1,lb2", "state.apply")
    for answer in answers.values():
        assert isinstance(answer, list), answer
        assert named in "\n".join(answer)
    print("\n".join(answers["web1"]))


def test_many_mistakes_are_named_at_once_and_the_site_keeps_serving(cluster, write, tmp_path):
    write({"colour": "blue", "heartbeat": {"deadtime": 0.4}, "database": {"engine": "oracle"}})
    with cluster.students(tmp_path) as verdict:
        done = cluster.lab.master().run(["/opt/salt/bin/salt-run", "ha.check"])
        answers = cluster.salt("*", "state.apply")
    assert done.returncode != 0
    for word in ("colour", "heartbeat.deadtime", "database.engine"):
        assert word in done.stdout + done.stderr
        assert all(word in "\n".join(answer) for answer in answers.values())
    assert verdict["ok"] and verdict["failed"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("resource", ["files", "database"])
def test_a_standby_that_reboots_while_the_pillar_is_wrong_mirrors_again(cluster, write, resource):
    """A wrong pillar comes without secrets: those of the last state run go on."""
    standby = cluster.standby(resource)

    def mirrored():
        return cluster.records()[resource]["mirrored"]

    write({"colour": "blue"})
    cluster.lab.crash(standby)
    wait_until(lambda: not mirrored(), "the holder to go on alone", REJOIN)
    cluster.lab.start(standby)
    wait_until(mirrored, f"{standby} to be a complete mirror again", REJOIN)
    assert cluster.standby(resource) == standby
    told = cluster.lab.master().run(["/opt/salt/bin/salt-run", "ha.status"]).stdout
    assert "the pillar is wrong" in told and "colour" in told
