"""The watch over I1 and I3 sees what must never be, and nothing else."""

import pytest

from lab.watch import GRACE, Ledger


@pytest.fixture
def ledger():
    return Ledger()


def samples(ledger, *lines):
    for vm, moment, claims in lines:
        ledger.sample(vm, moment, claims.split())


def test_a_failover_is_no_violation(ledger):
    samples(ledger, ("db1", 1.0, "database"), ("db2", 1.1, ""), ("db1", 1.25, "database"),
            ("db2", 1.35, "database"), ("db1", 1.5, ""), ("db2", 1.6, "database"))
    assert ledger.violations == []


def test_two_that_serve_at_the_same_time_are(ledger):
    samples(ledger, ("db1", 1.0, "database"), ("db2", 1.1, "database"),
            ("db1", 1.25, "database"), ("db2", 1.35, "database"))
    assert ledger.violations == ["database: db1 and db2 at the same time for 0.15 s"]


def test_a_vm_that_died_claims_nothing_any_more(ledger):
    samples(ledger, ("db1", 1.0, "database"), ("db2", 4.0, "database"), ("db1", 20.0, ""))
    assert ledger.violations == []


def test_a_thawed_vm_has_a_moment_to_learn_but_may_acknowledge_nothing(ledger):
    samples(ledger, ("db1", 1.0, "database"))
    ledger.excuse("db1")
    samples(ledger, ("db2", 5.0, "database"), ("db2", 9.9, "database"))
    ledger.excuse("db1", 10 + GRACE)
    samples(ledger, ("db1", 10.0, "database"), ("db2", 10.1, "database"),
            ("db1", 10.2, "database"), ("db2", 10.3, "database"))
    assert ledger.violations == []
    for moment in (5.0, 5.5, 6.0, 6.5):
        ledger.acknowledged("database", "db2", moment, moment, 1)
    ledger.acknowledged("database", "db1", 0.9, 6.2, 1)  # began before: its successor has it
    assert ledger.violations == []
    ledger.acknowledged("database", "db1", 6.2, 6.3, 2)
    ledger.acknowledged("database", "db1", 6.3, 6.4, 3)
    assert ledger.violations == ["database: db1 and db2 acknowledged writes in turns"]


def test_a_vm_that_never_learns_is_a_violation(ledger):
    ledger.excuse("db1", 10 + GRACE)
    samples(ledger, *[(vm, 10 + GRACE + moment / 4, "database") for moment in range(1, 5)
                      for vm in ("db1", "db2")])
    assert len(ledger.violations) == 1


def test_the_addresses_of_the_director_are_together(ledger):
    samples(ledger, *[("lb1", moment / 4, "public gateway") for moment in range(8)])
    samples(ledger, ("lb1", 2.0, "gateway"), ("lb1", 2.5, "gateway"), ("lb1", 2.75, ""))
    assert ledger.violations == []
    samples(ledger, *[("lb1", 3 + moment / 4, "public") for moment in range(8)])
    assert ledger.violations == ["lb1 has had only the public address for 1 s"]


def test_the_longest_pause_between_writes_is_kept_over_a_failover(ledger):
    for vm, moment in (("db1", 1.0), ("db1", 1.25), ("db2", 4.0), ("db2", 4.25)):
        ledger.acknowledged("database", vm, moment, moment, int(moment * 1000))
    assert ledger.gaps["database"][0] == 2.75
    assert ledger.writes == {("database", "db1"): 1250, ("database", "db2"): 4250}
    assert ledger.violations == []
