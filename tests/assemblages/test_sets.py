"""Species sets: MaxExp against sorting and against the exact expectation, tuned rules against brute force, on numpy and on torch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geoplantnet.assemblages import sets
from geoplantnet.assemblages.sets import (
    above,
    expected_f1_threshold,
    max_expected_f1,
    set_size_expectation,
    top_k,
    tuned_k,
    tuned_threshold,
)
from geoplantnet.errors import InputError, UsageError

probabilities = hnp.arrays(np.float32, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9), elements=st.floats(0, 1, width=32))
relaxed = settings(deadline=None, max_examples=50)


def in_blocks(p, size):
    return lambda: ((slice(s, min(s + size, len(p))), p[s : s + size]) for s in range(0, len(p), size))


def plug_in(p, member):
    """2 C / (|S| + P) of given sets."""
    mass = np.where(member, p, 0).sum(axis=0, dtype=float)
    whole = member.sum(axis=0) + p.sum(axis=0, dtype=float)
    return 2 * mass / np.where(whole > 0, whole, 1)


def best_by_sorting(p):
    """Largest plug-in F1 over k, by sorting: independent of Dinkelbach."""
    ranked = -np.sort(-p.astype(float), axis=0)
    k = np.arange(1, len(p) + 1)[:, None, None]
    return (2 * np.cumsum(ranked, axis=0) / (k + ranked.sum(axis=0))).max(axis=0)


def exact_expected_f1(p, members):
    """E[2 |S & Y| / (|S| + |Y|)] of one community (n,), by going through all 2^n presence vectors; F1 = 0 where both are empty."""
    y = np.array(list(itertools.product((0, 1), repeat=len(p))))
    chance = np.where(y, p, 1 - p.astype(float)).prod(axis=1)
    both = y @ members.T
    whole = y.sum(axis=1)[:, None] + members.sum(axis=1)
    return chance @ (2 * both / np.where(whole > 0, whole, 1))


@given(probabilities)
@relaxed
def test_max_exp_reaches_the_best_plug_in_f1(p):
    """The set found without sorting has the F1 that sorting finds, and its threshold is half of it."""
    best = best_by_sorting(p)
    np.testing.assert_allclose(plug_in(p, max_expected_f1(p)), best, rtol=1e-6, atol=1e-12)
    threshold = expected_f1_threshold(in_blocks(p, len(p)), p.shape[1:])
    np.testing.assert_allclose(2 * threshold, best, rtol=1e-6, atol=1e-12)


@given(probabilities, st.integers(1, 9), st.randoms(use_true_random=False))
@relaxed
def test_neither_block_size_nor_species_order_matters(p, size, random):
    """One block, many blocks and another order of the species give the same set."""
    order = list(range(len(p)))
    random.shuffle(order)
    whole = max_expected_f1(p)
    np.testing.assert_array_equal(above(p, expected_f1_threshold(in_blocks(p, size), p.shape[1:])), whole)
    np.testing.assert_array_equal(max_expected_f1(p[order]), whole[order])


@given(hnp.arrays(np.float32, st.integers(1, 9), elements=st.floats(0, 1, width=32)))
@relaxed
def test_a_prefix_of_the_ranking_is_the_exact_optimum(p):
    """No set has a larger exact expected F1 than some top k (Lewis 1995), so that choosing k is enough."""
    every = np.array(list(itertools.product((0, 1), repeat=len(p))))
    order = np.argsort(-p, kind="stable")
    prefixes = np.zeros((len(p) + 1, len(p)), int)
    for k in range(len(p) + 1):
        prefixes[k, order[:k]] = 1
    assert exact_expected_f1(p, prefixes).max() == pytest.approx(exact_expected_f1(p, every).max(), abs=1e-12)


def exact_gap(n, concentration, draws, seed):
    """How much exact expected F1 the plug-in set gives away, for random communities (draws,)."""
    random = np.random.default_rng(seed)
    gaps = []
    for _ in range(draws):
        p = random.beta(*concentration, n).astype(np.float32)
        order = np.argsort(-p, kind="stable")
        prefixes = np.tri(n + 1, n, -1, dtype=int)[:, np.argsort(order)]
        chosen = max_expected_f1(p[:, None, None])[:, 0, 0].astype(int)
        gaps.append(exact_expected_f1(p, prefixes).max() - exact_expected_f1(p, chosen[None])[0])
    return np.array(gaps)


def test_the_gap_to_the_exact_expectation_is_small():
    """At ten species the plug-in costs at most .03 of F1 and .002 on average, as the module's docstring says."""
    gaps = np.concatenate([exact_gap(10, shape, 60, seed=7) for shape in [(0.3, 0.9), (0.5, 2), (1, 1), (2, 5)]])
    assert gaps.min() >= -1e-9
    assert gaps.max() <= 0.03
    assert gaps.mean() <= 0.002


@given(probabilities, st.floats(0, 1, width=32), st.floats(0, 1, width=32))
@relaxed
def test_sets_grow_as_the_threshold_falls(p, one, other):
    """{p > high} is inside {p > low}, and a species at the threshold is outside."""
    low, high = sorted((one, other))
    assert not np.any(above(p, high) & ~above(p, low))
    assert not above(np.full((1, 1, 1), low, np.float32), low).any()


def test_certain_and_impossible_species():
    """All p = 1 are members, p = 0 never; with nothing possible the set is empty and the threshold 0."""
    p = np.zeros((4, 1, 3), np.float32)
    p[:, 0, 0] = 1
    p[:2, 0, 1] = 1
    member = max_expected_f1(p)
    np.testing.assert_array_equal(member.sum(axis=0), [[4, 2, 0]])
    threshold = expected_f1_threshold(in_blocks(p, 3), (1, 3))
    np.testing.assert_array_equal(threshold, np.array([[0.5, 0.5, 0]], np.float32))


@pytest.mark.parametrize("level", [1e-6, 0.1, 0.5, 1.0])
def test_equal_probabilities_all_belong(level, monkeypatch):
    """All species equally likely: the plug-in takes all of them, F1 = 2 p / (1 + p), and narrowing comes to an end."""
    monkeypatch.setattr(sets, "_IN_MEMORY", 10)
    p = np.full((50, 2, 2), level, np.float32)
    assert max_expected_f1(p).all()
    threshold = expected_f1_threshold(in_blocks(p, 7), (2, 2))
    np.testing.assert_allclose(threshold, p[0] / (1 + p[0]), rtol=1e-6)


def test_no_data_is_no_member():
    """A species without a probability is left out; a cell without any has threshold NaN; the other cells do not notice."""
    p = np.random.default_rng(3).random((12, 3, 4), dtype=np.float32)
    before = max_expected_f1(p)
    p[:, 0, 0] = np.nan
    p[5, 2, 3] = np.nan
    member = max_expected_f1(p)
    threshold = expected_f1_threshold(in_blocks(p, 5), p.shape[1:])
    assert np.isnan(threshold[0, 0]) and np.isfinite(threshold).sum() == 11
    assert not member[:, 0, 0].any() and not member[5, 2, 3]
    untouched = np.ones((3, 4), bool)
    untouched[0, 0] = untouched[2, 3] = False
    np.testing.assert_array_equal(member[:, untouched], before[:, untouched])
    rest = np.delete(p[:, 2:, 3:], 5, axis=0)
    np.testing.assert_array_equal(np.delete(member[:, 2:, 3:], 5, axis=0), max_expected_f1(rest))


@pytest.mark.parametrize("steepness", [3, 40, 400])
@pytest.mark.parametrize("in_memory", [2**22, 20])
def test_many_species_in_blocks(steepness, in_memory, monkeypatch):
    """Four thousand species, rich to nearly empty communities: the optimum, and the same however many passes it takes."""
    monkeypatch.setattr(sets, "_IN_MEMORY", in_memory)
    random = np.random.default_rng(steepness)
    p = (random.random((4000, 6, 7)) ** steepness * random.random((1, 6, 7)) ** 4).astype(np.float32)
    threshold = expected_f1_threshold(in_blocks(p, 300), p.shape[1:])
    best = best_by_sorting(p)
    np.testing.assert_allclose(plug_in(p, above(p, threshold)), best, rtol=1e-9)
    exact = best / 2
    assert (threshold <= exact * (1 + 1e-12)).all() and (np.nextafter(threshold, np.float32(1)) > exact * (1 - 1e-12)).all()


@given(probabilities, st.integers(0, 12))
@relaxed
def test_top_k_takes_the_k_most_probable(p, k):
    """K members a cell (or all), none less probable than one left out; of equals the first in the list."""
    member = top_k(p, k)
    assert (member.sum(axis=0) == min(k, len(p))).all()
    least = np.where(member, p, np.inf).min(axis=0)
    assert (np.where(member, -np.inf, p).max(axis=0) <= least).all()
    for row, column in np.ndindex(p.shape[1:]):
        tied = np.flatnonzero(p[:, row, column] == least[row, column])
        assert (np.diff(member[tied, row, column].astype(int)) <= 0).all()


def test_top_k_leaves_no_data_out():
    """NaN is never among the k, and a negative k is refused."""
    p = np.array([0.2, np.nan, 0.0], np.float32)[:, None, None]
    np.testing.assert_array_equal(top_k(p, 3)[:, 0, 0], [True, False, True])
    with pytest.raises(UsageError, match="k >= 0"):
        top_k(p, -1)


@given(probabilities)
@relaxed
def test_set_size_expectation_is_the_ranking_cut_at_the_expected_number(p):
    """No number of species is nearer to sum p than the set's; none outside is more probable than one inside."""
    member = set_size_expectation(p)
    expected = p.sum(axis=0, dtype=float)
    gaps = np.abs(np.arange(len(p) + 1)[:, None, None] - expected)
    np.testing.assert_allclose(np.abs(member.sum(axis=0) - expected), gaps.min(axis=0), atol=1e-12)
    np.testing.assert_array_equal(member, top_k(p, member.sum(axis=0)))
    least = np.where(member, p, np.inf).min(axis=0)
    assert (np.where(member, -np.inf, p).max(axis=0) <= least).all()


def test_set_size_expectation_leaves_no_data_out():
    """NaN counts neither in the size nor in the set."""
    p = np.array([[0.9, np.nan], [np.nan, np.nan], [0.8, np.nan], [0.4, np.nan]], np.float32)[:, None, :]
    np.testing.assert_array_equal(set_size_expectation(p)[:, 0, 0], [True, False, True, False])
    assert not set_size_expectation(p)[:, 0, 1].any()


@given(probabilities, st.integers(0, 1000))
@relaxed
def test_a_k_of_every_cell_is_the_k_of_each(p, seed):
    """`top_k` with k (y, x) does in each cell what it does there with one number; a negative one is refused."""
    k = np.random.default_rng(seed).integers(0, len(p) + 2, p.shape[1:])
    member = top_k(p, k)
    for row, column in np.ndindex(k.shape):
        np.testing.assert_array_equal(member[:, row, column], top_k(p, int(k[row, column]))[:, row, column])
    with pytest.raises(UsageError, match="k >= 0"):
        top_k(p, k - len(p) - 2)


def samples_f1(member, labels):
    """Mean over plots of 2 |S & Y| / (|S| + |Y|), 0 where both are empty; (plot, species)."""
    whole = member.sum(axis=1) + (labels > 0).sum(axis=1)
    return np.mean(2 * (member & (labels > 0)).sum(axis=1) / np.maximum(whole, 1))


def validation_plots(seed, levels):
    """Plots (plot, species), some empty, some values missing, with ties where `levels`."""
    rng = np.random.default_rng(seed)
    p = rng.random((rng.integers(1, 12), rng.integers(1, 9)))
    p = (np.round(p * levels) / levels if levels else p).astype(np.float32)
    labels = (rng.random(p.shape) < p * rng.random()).astype(np.uint8)
    p[rng.random(p.shape) < 0.05] = np.nan
    return p, labels


@given(st.integers(0, 10_000), st.sampled_from([0, 3, 10]))
@relaxed
def test_no_threshold_scores_higher_than_the_tuned_one(seed, levels):
    """Against every threshold there is, ties or not; of equally good ones it is the largest."""
    p, labels = validation_plots(seed, levels)
    every = np.unique(np.append(p[~np.isnan(p)], [0, 1]).astype(np.float32))
    scores = np.array([samples_f1(p > t, labels) for t in every])
    tuned = tuned_threshold(p, labels)
    assert 0 <= tuned <= 1
    assert samples_f1(p > np.float32(tuned), labels) == pytest.approx(scores.max(), abs=1e-11)
    assert (scores[every > tuned] < scores.max() + 1e-11).all()
    if scores.max() > 0:
        assert tuned == every[np.flatnonzero(scores > scores.max() - 1e-11)[-1]]


@given(st.integers(0, 10_000), st.sampled_from([0, 3, 10]))
@relaxed
def test_no_k_scores_higher_than_the_tuned_one(seed, levels):
    """Against every k, with the ties that `top_k` breaks; of equally good ones it is the smallest."""
    p, labels = validation_plots(seed, levels)
    scores = np.array([samples_f1(top_k(p.T[:, :, None], k)[:, :, 0].T, labels) for k in range(p.shape[1] + 1)])
    assert tuned_k(p, labels) == np.flatnonzero(scores > scores.max() - 1e-11)[0]


@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
@relaxed
def test_tuning_does_not_look_at_the_order(seed, random):
    """Permuting plots and species leaves lambda as it is (and k, where nothing ties)."""
    p, labels = validation_plots(seed, 0)
    rows, columns = list(range(p.shape[0])), list(range(p.shape[1]))
    random.shuffle(rows), random.shuffle(columns)
    q, shuffled = p[rows][:, columns], labels[rows][:, columns]
    assert tuned_threshold(q, shuffled) == tuned_threshold(p, labels)
    assert tuned_k(q, shuffled) == tuned_k(p, labels)


def test_tuning_where_nothing_can_be_won():
    """No presence at all: empty sets. No plots, or labels of others: refused."""
    p = np.random.default_rng(0).random((4, 3), dtype=np.float32)
    none = np.zeros((4, 3), np.uint8)
    assert tuned_threshold(p, none) == 1 and tuned_k(p, none) == 0
    for bad in (none[:0], none[:, :2]):
        with pytest.raises(InputError, match="validation plots"):
            tuned_threshold(p[:0] if not bad.size else p, bad)


def test_torch_gives_the_same_sets():
    """The same definitions run on torch tensors and agree with numpy, also where there is no data."""
    torch = pytest.importorskip("torch")
    p = np.random.default_rng(5).random((60, 5, 6), dtype=np.float32) ** 6
    p[:, 1, 1] = np.nan
    p[7, 2, 2] = np.nan
    tensor = torch.from_numpy(p)
    found = expected_f1_threshold(in_blocks(tensor, 16), (5, 6))
    assert isinstance(found, torch.Tensor) and found.dtype == torch.float32
    np.testing.assert_array_equal(found.numpy(), expected_f1_threshold(in_blocks(p, 16), (5, 6)))
    np.testing.assert_array_equal(max_expected_f1(tensor).numpy(), max_expected_f1(p))
    np.testing.assert_array_equal(top_k(tensor, 9).numpy(), top_k(p, 9))
    np.testing.assert_array_equal(set_size_expectation(tensor).numpy(), set_size_expectation(p))


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        ([(slice(0, 2), np.zeros((2, 3, 3), np.float32))], "cells"),
        ([(slice(0, 2), np.zeros((3, 2, 2), np.float32))], "species 0 was due"),
        ([(slice(0, 2), np.zeros((2, 2, 2), np.float32)), (slice(3, 4), np.zeros((1, 2, 2), np.float32))], "species 2 was due"),
        ([(slice(0, 2), np.full((2, 2, 2), 37, np.float32))], r"outside \[0, 1\]"),
        ([(slice(0, 2), np.full((2, 2, 2), -0.1, np.float32))], r"outside \[0, 1\]"),
        ([], "at least one species"),
    ],
)
def test_blocks_that_break_their_contract_are_refused(blocks, says):
    """Wrong extent, gaps, percentages, logits or nothing at all: an error that says what was expected."""
    with pytest.raises(InputError, match=says):
        expected_f1_threshold(lambda: blocks, (2, 2))
