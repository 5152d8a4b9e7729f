"""A real Moodle through its own forms: bin/test lab --moodle FILE-OR-URL."""

import pytest

pytestmark = pytest.mark.moodle
SOON = 90  # s


@pytest.mark.parametrize("server", ["server1", "server2"])
def test_a_server_dies_and_every_post_and_file_is_there(trial, server):
    trial.crash(server)
    print(f"gap {trial.served(SOON):.2f} s")
    lost = {machine.name for machine in trial.lab.servers[server].machines}
    assert not lost & set(trial.holders().values())


def test_each_resource_moves_and_every_post_and_file_is_there(trial):
    for resource in ("director", "files", "database"):
        done = trial.ha("switch", resource, trial.standby(resource))
        assert done.returncode == 0, done.stdout + done.stderr
        print(f"gap {trial.served(SOON):.2f} s")
