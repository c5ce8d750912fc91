"""Scores of labels against the truth: a plain count says the same, and intervals cover what they should."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.errors import InputError
from geoplantnet.identify.votes import NONE, Aggregation, Votes
from geoplantnet.identify.votes.scores import MEASURES, SUBSETS, differences, scores

ROWS = st.lists(st.tuples(st.integers(NONE, 4), st.booleans(), st.integers(0, 5), st.booleans()), min_size=1, max_size=30)


def found(label, valid):
    n = len(label)
    return Aggregation(label=np.array(label, np.int32), valid=np.array(valid, bool), confidence=np.zeros(n), agreement=np.zeros(n))


def share(part, whole):
    return len(part) / len(whole) if whole else math.nan


def mean(values):
    return sum(values) / len(values) if values else math.nan


def plain(rows):
    """Measures of (label, valid, truth) rows, counted one by one."""
    kept = [r for r in rows if r[1] and r[0] != NONE]
    right = [r for r in kept if r[0] == r[2]]
    there = sorted({r[2] for r in rows})
    return {
        "accuracy": share([r for r in rows if r[0] == r[2]], rows),
        "accuracy_kept": share(right, kept),
        "precision": mean([share([r for r in right if r[0] == k], [r for r in kept if r[0] == k]) for k in {r[0] for r in kept}]),
        "recall": mean([share([r for r in right if r[2] == k], [r for r in rows if r[2] == k]) for k in there]),
        "kept": share(kept, rows),
        "species_kept": share({r[2] for r in right}, there),
        "poisoned": share([r for r in kept if r[0] != r[2]], rows),
    }


@given(ROWS)
@settings(max_examples=100, deadline=None)
def test_a_plain_count_says_the_same(rows):
    """Any labels, on any subset; what does not exist (precision of nothing kept) is NaN."""
    label, valid, truth, on = (np.array(c) for c in zip(*rows))
    got = scores(found(label, valid), truth, on, resamples=3)
    wanted = plain([r for r in rows if r[3]]) if on.any() else dict.fromkeys(MEASURES, math.nan)
    assert got.n == on.sum()
    for name in MEASURES:
        assert getattr(got, name).value == pytest.approx(wanted[name], nan_ok=True), name


def test_intervals_cover():
    """The 95 % interval of the accuracy holds the true accuracy in about 95 of 100 samples."""
    rng, held = np.random.default_rng(0), 0
    for i in range(100):
        truth = np.zeros(150, np.int32)
        label = (rng.random(150) < 0.2).astype(np.int32)
        figure = scores(found(label, np.ones(150)), truth, resamples=100, seed=i).accuracy
        held += figure.low <= 0.8 <= figure.high
    assert 89 <= held <= 99


def test_an_interval_holds_its_value():
    """Also of means over species that are mostly rare, which resamples without them shift; and of any measure on a few observations."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 80, 120).astype(np.int32)
    label = np.where(rng.random(120) < 0.6, truth, rng.integers(0, 80, 120)).astype(np.int32)
    got = scores(found(label, rng.random(120) < 0.7), truth)
    for name in MEASURES:
        figure = getattr(got, name)
        assert figure.low < figure.value < figure.high and figure.high - figure.low < 0.3, name


def test_a_difference_is_paired():
    """Of labels and themselves it is 0 without an interval; of labels that are better on one observation, one observation."""
    truth = np.arange(50, dtype=np.int32) % 5
    worse, better = truth.copy(), truth.copy()
    worse[:20], better[:19] = 4 - truth[:20], 4 - truth[:19]
    same = differences(found(worse, np.ones(50)), found(worse, np.ones(50)), truth, resamples=50)
    assert all((f.value, f.low, f.high) == (0, 0, 0) for f in same.values())
    more = differences(found(better, np.ones(50)), found(worse, np.ones(50)), truth, resamples=50)["accuracy"]
    assert more.value == pytest.approx(0.02) and more.low > -0.01 and more.high > 0.02


def test_subsets_are_what_their_names_say():
    """All; two votes or more; two species or more."""
    votes = Votes(
        observation=np.array([0, 1, 1, 2, 2], np.int32),
        user=np.array([0, 0, 1, 0, 1], np.int32),
        species=np.array([3, 3, 3, 3, 2], np.int32),
        author=np.array([0, 0, 0, 0], np.int32),
        n_users=2,
        n_species=4,
    )
    assert {name: of(votes).tolist() for name, of in SUBSETS.items()} == {
        "all": [True] * 4,
        "two votes": [False, True, True, False],
        "disagreement": [False, False, True, False],
    }


def test_other_shapes_are_refused():
    """Labels of other observations than the truth's."""
    with pytest.raises(InputError, match=r"\(3,\).*\(2,\)"):
        scores(found([0, 1, 2], [True] * 3), np.zeros(2, np.int32))
