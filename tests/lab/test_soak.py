"""A random walk over all kinds of faults: bin/test lab --soak MINUTES [--seed N]."""

import random

import pytest

from lab.walk import walk


@pytest.mark.soak
def test_a_random_walk_over_faults_loses_nothing(trial, request):
    minutes = request.config.getoption("--soak")
    seed = request.config.getoption("--seed")
    seed = random.randrange(10**6) if seed is None else seed
    print(f"seed {seed}, {minutes:g} minutes")
    counts = walk(trial, minutes, seed)
    print(f"seed {seed}: faults injected: {sum(counts.values())} {counts};"
          f" longest pause between writes: {trial.watch.ledger.gaps}")
