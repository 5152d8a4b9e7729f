"""Explicit-state search for an interleaving that breaks the invariants."""
