"""Accounts: what is wanted, what deviates, and that no password is shown."""

import contextlib
import json
import time

import pytest
from salt.exceptions import CommandExecutionError

from tests.loading import ROOT, load
from tests.unit.replayed_server import RECORDED, ReplayedServer, utils_with
from tests.unit.test_database import CLUSTER

NASTY = """p'w" $x #\\%äß`;-- """
DATABASE = {"engine": "mysql", "device": None, "name": "moodle", "user": "moodle"}
PILLAR = {
    "cluster": {**CLUSTER, "database": DATABASE},
    "secrets": {"database": {"moodle": "M" + NASTY, "replication": "R" + NASTY}},
}


class Accounts(ReplayedServer):
    """The recorded server, asked for the accounts it has."""

    def __init__(self, engine, role="primary", hosts=("192.168.10.18", "192.168.10.28")):
        super().__init__(engine, role)
        self.accounts = [("moodle", "192.168.10.0/255.255.255.0")]
        self.accounts += [("replication", host) for host in hosts] + [("root", "localhost")]
        self.seen = []
        text = (ROOT / "tests/data" / RECORDED[engine] / f"{role}.json").read_text("utf-8")
        self.grants = json.loads(text)["answers"]

    def all(self, statement, arguments=None, secret=False):
        if statement.startswith("SELECT 1 FROM mysql.user"):
            return [{"1": 1}] if arguments in self.accounts else []
        if statement.startswith("SELECT User AS user"):
            return [{"user": user, "host": host} for user, host in self.accounts]
        if statement.startswith("SHOW GRANTS"):
            host = "192.168.10.28" if arguments[0] == "replication" else arguments[1]
            return self.grants[f"SHOW GRANTS FOR {arguments[0]}@'{host}'"]
        if statement.startswith("SELECT @@GLOBAL.read_only AS value"):
            return [{"value": self.answers[READ_ONLY][0]["read_only"]}]
        self.seen.append((statement, arguments, secret))
        return super().all(statement, arguments, secret)


READ_ONLY = "SELECT @@GLOBAL.read_only AS read_only, @@GLOBAL.server_id AS server_id"


def module(server, accepted=True, pillar=PILLAR, role=contextlib.nullcontext):
    utils = utils_with(server)
    utils["sqlserver.accepts"] = lambda *arguments: accepted
    salt = {"claim.role": lambda resource, deadline: role()}
    return load("_modules/mysql_account.py", salt, pillar, grains={"id": "db1"}, utils=utils)


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
def test_accounts_as_the_pillar_says_are_left_alone(engine):
    server = Accounts(engine)
    assert module(server).present() == []
    assert server.seen == []


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
def test_changed_passwords_are_changed_for_every_account(engine):
    server = Accounts(engine)
    done = module(server, accepted=False).present()
    assert [line.split()[1:] for line in done] == [["password", "changed"]] * 3
    assert done[-1].startswith("replication@192.168.10.18")  # the one that is tried comes last


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
def test_account_statements_stay_out_of_the_binary_log(engine):
    """Replicated, they waited for an acknowledgement under the lock that the replica's login
    needed, and both servers stood still for good."""
    server = Accounts(engine)
    module(server, accepted=False).present()
    assert server.told[0] == "SET SESSION sql_log_bin = 0"


def test_passive_server_is_passive_again_even_if_a_statement_fails():
    server = Accounts("mysql", "replica")
    server.failing["ALTER USER %s@%s IDENTIFIED BY %s REQUIRE NONE"] = CommandExecutionError("no")
    with pytest.raises(CommandExecutionError):
        module(server, accepted=False).present()
    assert server.told[-1] == "SET GLOBAL super_read_only = ON"


def test_activation_that_ends_just_before_an_account_changes_is_not_undone():
    """It was: the server had been seen passive, and was made passive again."""
    server = Accounts("mysql", "replica")

    @contextlib.contextmanager
    def role():
        server.answers[READ_ONLY][0]["read_only"] = 0  # what held the role was an activation
        yield
        server.told.append("role given back")

    assert module(server, accepted=False, role=role).present()
    assert "SET GLOBAL super_read_only = ON" not in server.told
    assert server.told[-1] == "role given back"


def test_passive_server_is_passive_again_before_the_role_is_given_back():
    server = Accounts("mysql", "replica")

    @contextlib.contextmanager
    def role():
        assert server.told == []
        yield
        assert server.told[-1] == "SET GLOBAL super_read_only = ON"

    assert module(server, accepted=False, role=role).present()


def test_accounts_do_not_change_while_the_role_does(tmp_path):
    server, claim = Accounts("mysql", "replica"), load("_modules/claim.py")
    claim.DIRECTORY = str(tmp_path)
    accounts = module(server, accepted=False)
    accounts.__salt__["claim.role"] = claim.role
    accounts.ROLE_WAIT = 0.1
    with claim.role("database", time.time() + 5):
        with pytest.raises(CommandExecutionError, match="still at work"):
            accounts.present()
    assert server.told == []
    assert accounts.present()


def test_mariadb_is_told_no_password_in_clear():
    server = Accounts("mariadb")
    module(server, accepted=False).present()
    assert NASTY not in repr(server.seen) and "äß" not in repr(server.seen)


def test_passwords_are_arguments_of_statements_marked_secret():
    server = Accounts("mysql")
    module(server, accepted=False).present()
    for statement, arguments, secret in server.seen:
        assert "äß" not in statement
        assert secret or "äß" not in repr(arguments)


def test_account_for_a_host_that_is_gone_is_dropped():
    server = Accounts("mysql", hosts=("192.168.10.18", "192.168.10.28", "192.168.10.99"))
    assert module(server).present(change=False) == ["replication@192.168.10.99 dropped"]
    assert server.seen == []


def test_anonymous_account_is_dropped():
    server = Accounts("mariadb")
    server.accounts.append(("", "localhost"))
    assert module(server).present() == ["@localhost dropped"]


def test_privileges_beyond_the_schema_are_corrected():
    server = Accounts("mysql")
    server.grants["SHOW GRANTS FOR moodle@'192.168.10.0/255.255.255.0'"].append(
        {"Grants": "GRANT ALL PRIVILEGES ON *.* TO `moodle`@`192.168.10.0/255.255.255.0`"}
    )
    assert module(server).present(change=False) == [
        "moodle@192.168.10.0/255.255.255.0 privileges corrected"
    ]


def test_wild_cards_in_the_name_of_the_schema_mean_themselves():
    cluster = {**PILLAR["cluster"], "database": {**DATABASE, "name": "moodle_x"}}
    server = Accounts("mysql")
    server.accounts = []
    module(server, pillar={**PILLAR, "cluster": cluster}).present()
    assert any("`moodle\\_x`.*" in statement for statement in server.told)


def test_master_info_gives_the_password_of_a_mariadb_replica():
    account = load("_modules/mysql_account.py")
    text = f"33\n\n4\n192.168.10.18\nreplication\n{NASTY}\n3306\n1\n"
    assert account._parse_master_info(text) == NASTY


def test_application_comes_from_the_network_of_the_database_address():
    """With the database in a network of its own, Moodle was let in from the internal one only."""
    cluster = json.loads(json.dumps(PILLAR["cluster"]))
    cluster["networks"]["data"] = {"interface": "eth2", "subnet": "10.9.0.0/24"}
    cluster["addresses"]["database"] = "10.9.0.8"
    for number, vm in enumerate(cluster["vms"].values()):
        vm["addresses"]["data"] = f"10.9.0.{18 + number}"
    server = Accounts("mysql")
    found = module(server, pillar={**PILLAR, "cluster": cluster}).present(change=False)
    assert "moodle@10.9.0.0/255.255.255.0 created" in found
    assert "moodle@192.168.10.0/255.255.255.0 dropped" in found


def test_granted_role_is_an_error_that_names_it():
    server = Accounts("mysql")
    role = "GRANT `boss`@`%` TO `moodle`@`192.168.10.0/255.255.255.0`"
    server.grants = {key: [{"grants": role}] for key in server.grants}
    with pytest.raises(CommandExecutionError, match="boss"):
        module(server).present()
