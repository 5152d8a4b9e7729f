"""Both engines through one interface, replayed from what the real servers answered."""

import time

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import load
from tests.unit.replayed_server import ReplayedServer, sqlserver, utils_with

ENGINES = ["mysql", "mariadb"]
PILLAR = {"secrets": {"database": {"replication": "pass'word"}}}
NO_ROW = {"SHOW REPLICA STATUS": []}


def module(server, other=None, proved=True, **salt):
    functions = {key.replace("__", "."): value for key, value in salt.items()}
    functions["mysql_proof.present"] = lambda: proved
    functions["mysql_proof.forget"] = lambda: server.told.append("forget")
    functions.setdefault("mysql_account.replica_password", lambda: False)
    functions["mysql_proof.prove"] = lambda deadline: server.told.append("prove")
    loaded = load(
        "_modules/mysql_replication.py",
        salt=functions,
        pillar=PILLAR,
        utils=utils_with(server, other),
    )
    return loaded


@pytest.fixture(autouse=True)
def follower(tmp_path, monkeypatch):
    """Keep the note of the role away from /etc."""
    path = tmp_path / "role.d/follower.cnf"
    original = load

    def redirected(file, **dunders):
        loaded = original(file, **dunders)
        loaded.FOLLOWER = str(path)
        return loaded

    monkeypatch.setitem(module.__globals__, "load", redirected)
    return path


def soon():
    return time.time() + 0.2


@pytest.mark.parametrize("engine", ENGINES)
def test_primary_reports_its_acknowledging_replica(engine):
    found = module(ReplayedServer(engine, "primary")).status()
    assert (found["engine"], found["writable"], found["replica"]) == (engine, True, None)
    assert found["blank"] is False
    assert found["semi_sync"]["enabled"] and found["semi_sync"]["operational"]
    assert found["semi_sync"]["replicas"] == 1
    assert found["semi_sync"]["wait_point"] == "AFTER_SYNC"
    assert found["semi_sync"]["timeout"] == 28 * 86400


@pytest.mark.parametrize("engine", ENGINES)
def test_replica_reports_its_source_in_the_same_words(engine):
    found = module(ReplayedServer(engine, "replica")).status()
    replica = found["replica"]
    assert found["writable"] is False
    assert found["semi_sync"]["enabled"] is False  # its applier would wait for ever
    assert replica["source"] in ("192.168.10.18", "192.168.10.28")
    assert replica["receiving"] is True and replica["applying"]
    assert replica["semi_sync"] and replica["tls"]
    assert replica["behind"] == ""


@pytest.mark.parametrize("engine", ENGINES)
def test_restarted_replica_of_a_dead_source_is_neither_receiving_nor_not(engine):
    replica = module(ReplayedServer(engine, "replica-restarted-alone")).status()["replica"]
    assert replica["receiving"] is None
    assert replica["receive_error"] and replica["receive_code"] == 2003


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("role", ["replica", "replica-restarted-alone"])
def test_promotion_is_refused_when_acknowledged_transactions_may_be_missing(engine, role):
    """
    A replica threw away at its restart what it had acknowledged and not applied. To have reached
    its source again was once enough, but the source may have died before it sent that again.
    """
    server = ReplayedServer(engine, role)
    with pytest.raises(CommandExecutionError, match="may be missing"):
        module(server, proved=False).promote(soon())
    assert server.told == []
    assert module(server, proved=False).promote(soon(), lose_writes=True) is None  # an operator's


@pytest.mark.parametrize("engine", ENGINES)
def test_promotion_applies_what_was_received_before_it_forgets_the_source(engine, follower):
    follower.parent.mkdir()
    follower.write_text("")
    server = ReplayedServer(engine, "replica")
    module(server).promote(soon())
    started = ["START REPLICA SQL_THREAD"] if engine == "mysql" else []  # MariaDB would purge
    assert server.told == [
        "STOP REPLICA IO_THREAD", *started, "STOP REPLICA", "RESET REPLICA ALL"]
    assert not follower.exists()


BEYOND = {"mysql": "dd52011f-e686-11f1-b863-569ca3f9701b:1-99999", "mariadb": "0-9-99999"}


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_received_and_not_applied_is_given_up_by_an_operator_only(engine):
    server = ReplayedServer(engine, "replica")
    running = "Replica_SQL_Running" if engine == "mysql" else "Slave_SQL_Running"
    server.row(**{server.dialect["received"]: BEYOND[engine], running: "No"})
    with pytest.raises(CommandExecutionError, match="cannot apply: its applier stands still"):
        module(server).promote(soon())
    assert "RESET REPLICA ALL" not in server.told
    module(server).promote(soon(), lose_writes=True)
    assert server.told[-1] == "RESET REPLICA ALL"


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_received_counts_although_the_server_forgets_it(engine):
    """MariaDB throws its relay log away when both its threads start anew."""
    server = ReplayedServer(engine, "replica")
    before = dict(server.answers["SHOW REPLICA STATUS"][0])
    server.row(**{server.dialect["received"]: BEYOND[engine]})
    looks, one = [], server.one

    def forgetting(statement, *arguments):
        answer = dict(one(statement, *arguments))
        if statement == "SHOW REPLICA STATUS":
            looks.append(1)
            if len(looks) == 2:
                server.row(**{server.dialect["received"]: before[server.dialect["received"]]})
        return answer

    server.one = forgetting
    with pytest.raises(CommandExecutionError, match="all that was received is applied"):
        module(server).promote(soon())
    assert len(looks) > 2


@pytest.mark.parametrize("engine", ENGINES)
def test_promotion_gives_up_at_the_deadline_and_keeps_the_source(engine):
    server = ReplayedServer(engine, "replica")
    received = server.dialect["received"]
    server.row(**{received: BEYOND[engine]})
    with pytest.raises(CommandExecutionError, match="all that was received is applied"):
        module(server).promote(soon())
    assert "RESET REPLICA ALL" not in server.told


@pytest.mark.parametrize("engine", ENGINES)
def test_promotion_names_the_error_of_an_applier_that_stopped(engine):
    server = ReplayedServer(engine, "replica")
    server.row(Last_SQL_Error="duplicate key")
    with pytest.raises(CommandExecutionError, match="duplicate key"):
        module(server).promote(soon())


@pytest.mark.parametrize("engine", ENGINES)
def test_errant_transactions_are_saved_before_the_server_is_made_a_copy(engine):
    server, other = ReplayedServer(engine, "replica"), ReplayedServer(engine, "primary")
    errant = {"mysql": "aaaaaaaa-e686-11f1-b863-569ca3f9701b:7-9", "mariadb": "0-77-12"}[engine]
    server.answers[server.dialect["executed"]][0]["executed"] += f",{errant}"
    done = []

    def save(source, what, deadline):
        done.append(("save", source, what))
        return {"directory": "/saved"}

    def seed(source, deadline, discard):
        done.append(("seed", source, discard))

    loaded = module(server, other, mysql_errant__save=save, mysql_clone__seed=seed)
    answer = loaded.follow("192.168.10.18", soon())
    assert done == [("save", "192.168.10.18", errant), ("seed", "192.168.10.18", True)]
    assert answer["saved"] == {"directory": "/saved"} and errant in answer["seeded"]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_new_primary_has_still_to_apply_is_not_errant_here(engine):
    """Its old primary would be wiped while the only other copy is in a relay log."""
    server, other = ReplayedServer(engine, "replica"), ReplayedServer(engine, "replica")
    errant = {"mysql": "aaaaaaaa-e686-11f1-b863-569ca3f9701b:7-9", "mariadb": "0-77-12"}[engine]
    server.answers[server.dialect["executed"]][0]["executed"] += f",{errant}"
    with pytest.raises(CommandExecutionError, match="does not serve yet"):
        module(server, other).follow("192.168.10.18", soon())
    assert server.told == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_password_that_changed_is_told_to_a_replica_that_follows_already(engine):
    server, other = ReplayedServer(engine, "replica"), ReplayedServer(engine, "primary")
    source = module(server).status()["replica"]["source"]
    loaded = module(server, other, mysql_account__replica_password=lambda: True)
    loaded.follow(source, soon())
    assert server.told[:3] == ["forget", server.told[1], "STOP REPLICA"]
    assert "RESET REPLICA ALL" in server.told and "START REPLICA" in server.told


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_given_up_that_cannot_be_saved(engine):
    server, other = ReplayedServer(engine, "replica"), ReplayedServer(engine, "primary")
    errant = {"mysql": "aaaaaaaa-e686-11f1-b863-569ca3f9701b:7-9", "mariadb": "0-77-12"}[engine]
    server.answers[server.dialect["executed"]][0]["executed"] += f",{errant}"

    def save(source, what, deadline):
        raise CommandExecutionError("the binary logs no longer have it")

    with pytest.raises(CommandExecutionError, match="no longer"):
        module(server, other, mysql_errant__save=save).follow("192.168.10.18", soon())
    assert server.told == []


@pytest.mark.parametrize("engine", ENGINES)
def test_replica_that_missed_more_than_the_source_has_kept_is_seeded(engine):
    server, other = ReplayedServer(engine, "replica"), ReplayedServer(engine, "primary")
    io_running = "Replica_IO_Running" if engine == "mysql" else "Slave_IO_Running"
    purged = {"Last_IO_Error": "purged", "Last_IO_Errno": "1236", io_running: "No"}
    server.row(**purged)
    seeded = []

    def seed(source, deadline, discard):
        seeded.append(discard)
        server.answers.update(ReplayedServer(engine, "replica").answers)

    answer = module(server, other, mysql_clone__seed=seed).follow("192.168.10.18", soon())
    assert seeded == [True] and "purged" in answer["seeded"]


@pytest.mark.parametrize("engine", ENGINES)
def test_writable_server_does_not_follow(engine):
    server = ReplayedServer(engine, "primary")
    with pytest.raises(CommandExecutionError, match="must be passive"):
        module(server, ReplayedServer(engine, "primary")).follow("192.168.10.28", soon())


@pytest.mark.parametrize("engine", ENGINES)
def test_follower_switches_its_own_semi_sync_off_before_it_starts(engine, follower):
    """The applier of a replica with that mode on waits for ever; logins then hang as well."""
    server, other = ReplayedServer(engine, "replica"), ReplayedServer(engine, "primary")
    module(server, other).follow("192.168.10.99", soon())
    off = f"SET GLOBAL {server.dialect['source']} = OFF"
    assert server.told.index(off) < server.told.index("START REPLICA")
    assert f"{server.dialect['source']} = OFF" in follower.read_text()


@pytest.mark.parametrize("engine", ENGINES)
def test_proof_is_forgotten_before_and_after_the_old_source_is(engine, follower):
    """What the beacon proved between the two is of a source that counts no more."""
    server, other = ReplayedServer(engine, "replica"), ReplayedServer(engine, "primary")
    module(server, other).follow("192.168.10.99", soon())
    first, second = (place for place, said in enumerate(server.told) if said == "forget")
    assert first < server.told.index("STOP REPLICA") < second < server.told.index("START REPLICA")


def test_blank_replica_is_seeded_when_the_source_has_purged_its_first_logs():
    server = ReplayedServer("mysql", "replica", **NO_ROW)
    server.answers[server.dialect["executed"]] = [{"executed": "", "purged": ""}]
    server.answers["SHOW DATABASES"] = [{"Database": "mysql"}]
    other = ReplayedServer("mysql", "primary")
    other.answers[other.dialect["executed"]][0]["purged"] = (
        "dd52011f-e686-11f1-b863-569ca3f9701b:1-5"
    )
    seeded = []

    def seed(source, deadline, discard):
        seeded.append(source)
        server.answers.update(ReplayedServer("mysql", "replica").answers)

    loaded = module(server, other, mysql_clone__seed=seed)
    loaded.follow("192.168.10.18", soon())
    assert seeded == ["192.168.10.18"]


@pytest.mark.parametrize(("engine", "executed", "ours"), [
    ("mysql", "{uuid}:1-9", False), ("mysql", "{uuid}:1-9,{other}:1-3", True),
    ("mysql", "{uuid}:1-9:tag:1-4", False), ("mysql", "", False),
    ("mariadb", "0-12-7", False), ("mariadb", "0-12-7,0-11-6", True)])
def test_what_an_earlier_server_of_this_vm_wrote_does_not_come_by_replication(
        engine, executed, ours):
    """It carries this server's id; who replicates takes that for his own and leaves it out."""
    uuid, other = "dd52011f-e686-11f1-b863-569ca3f9701b", "aa52011f-e686-11f1-b863-569ca3f9701b"
    source = ReplayedServer(engine, "primary")
    executed = executed.format(uuid=uuid, other=other)
    source.answers[source.dialect["executed"]] = [{"executed": executed, "purged": ""}]
    source.answers["SELECT @@server_uuid AS uuid"] = [{"uuid": uuid}]
    assert module(source)._wrote(source, 11) is ours


def incomplete_copy():
    """A server whose load was cut short: it has a position, and nothing that its source has not."""
    server = ReplayedServer("mariadb", "replica", **NO_ROW)
    loaded = module(server, ReplayedServer("mariadb", "primary"))
    loaded.__utils__["seeding.unfinished"] = lambda: "a copy was begun"
    return server, loaded


def test_incomplete_copy_is_seeded_again_and_not_followed_on():
    server, loaded = incomplete_copy()
    assert loaded.status()["blank"] is False
    seeded = []

    def seed(source, deadline, discard):
        seeded.append((source, list(server.told)))
        server.answers.update(ReplayedServer("mariadb", "replica").answers)

    loaded.__salt__["mysql_clone.seed"] = seed
    loaded.follow("192.168.10.18", soon())
    assert seeded == [("192.168.10.18", [])]  # nothing had been told to the server before


@pytest.mark.parametrize("lose_writes", [False, True])
def test_incomplete_copy_is_not_promoted(lose_writes):
    server, loaded = incomplete_copy()
    with pytest.raises(CommandExecutionError, match="a copy was begun"):
        loaded.promote(soon(), lose_writes=lose_writes)
    assert server.told == []


@pytest.mark.parametrize("engine", ENGINES)
def test_commit_without_acknowledgement_is_no_evidence(engine):
    server = ReplayedServer(engine, "primary")  # its counters stand still
    with pytest.raises(CommandExecutionError, match="no replica acknowledged"):
        module(server).verify_semi_sync(soon(), 3)


def test_password_longer_than_the_engine_takes_is_refused_without_being_shown():
    with pytest.raises(Exception, match="32 bytes") as caught:
        sqlserver.replication_password({"database": {"replication": "ü" * 17}})
    assert "ü" not in str(caught.value)
