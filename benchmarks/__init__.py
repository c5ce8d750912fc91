"""Benchmarks: each runs its reference beside it, in the same process, and reports rows {name, value, unit, reference, target, ok}."""
