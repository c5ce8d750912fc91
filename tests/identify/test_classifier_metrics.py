"""Figures of a classifier: against scikit-learn and brute force, and by the laws they obey."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, top_k_accuracy_score

from geoplantnet.errors import InputError
from geoplantnet.identify import metrics
from geoplantnet.identify.metrics import SetRule, answer_set, auroc, average_k, average_k_threshold, set_rule, top_k

seeds = st.integers(0, 10_000)


def answers(seed: int, n: int = 40, species: int = 7, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, species) that know a little, and the truth; with `ties` on a grid of few values."""
    rng = np.random.default_rng(seed)
    y = rng.integers(species, size=n)
    p = rng.dirichlet(np.full(species, 0.5), size=n) + 0.3 * np.eye(species)[y]
    p /= p.sum(axis=1, keepdims=True)
    return (np.round(p * 4) / 4 if ties else p), y


@given(seeds, st.integers(1, 6))
def test_top_k_is_scikit_learns(seed, k):
    """Micro accuracy against the oracle; macro against the oracle weighing each photo by the inverse of its species' photos."""
    p, y = answers(seed)
    weight = 1 / np.bincount(y)[y]
    assert top_k(p, y, k) == pytest.approx(top_k_accuracy_score(y, p, k=k, labels=range(7)))
    assert top_k(p, y, k, macro=True) == pytest.approx(top_k_accuracy_score(y, p, k=k, labels=range(7), sample_weight=weight))


@given(seeds, st.booleans())
def test_top_k_grows_with_k_and_knows_no_order_of_species(seed, macro):
    """Up to 1 at all species; the same after a permutation of the species axis; macro is micro where species have as many photos."""
    p, y = answers(seed, ties=True)
    found = [top_k(p, y, k, macro=macro) for k in range(1, 8)]
    assert found == sorted(found) and found[-1] == 1
    order = np.random.default_rng(seed).permutation(7)
    assert [top_k(p[:, order], np.argsort(order)[y], k, macro=macro) for k in range(1, 8)] == pytest.approx(found)
    even = np.tile(np.arange(7), 5)
    assert top_k(p[:35], even, 2, macro=True) == pytest.approx(top_k(p[:35], even, 2))


def test_an_answer_that_cannot_tell_is_not_right():
    """The same score for all: nothing by top-k or average-k, however the species are ordered."""
    p, y = np.full((6, 3), 1 / 3), np.array([0, 0, 1, 1, 2, 2])
    assert top_k(p, y) == top_k(p, y, 2) == average_k(p, y, 1) == average_k(p, y, 2) == 0 and average_k(p, y, 3) == 1


@given(seeds, st.sampled_from([0.5, 1, 1.3, 2, 4, 7]), st.booleans())
def test_average_k_is_the_best_threshold_by_brute_force(seed, k, ties):
    """Of all thresholds that hold k species on average or fewer, the one with the largest sets; its accuracy is that of those sets."""
    p, y = answers(seed, ties=ties)
    cuts = [*np.unique(p), np.inf]
    best = max((t for t in cuts if (p >= t).sum() <= k * len(p) + 1e-9), key=lambda t: (p >= t).sum())
    cut = average_k_threshold(p, k)
    assert ((p >= cut) == (p >= best)).all()
    in_set = [row[species] >= best for row, species in zip(p, y)]
    assert average_k(p, y, k) == pytest.approx(np.mean(in_set))
    each = [np.mean([hit for hit, species in zip(in_set, y) if species == c]) for c in np.unique(y)]
    assert average_k(p, y, k, macro=True) == pytest.approx(np.mean(each))


@given(seeds)
def test_average_k_of_true_probabilities_beats_top_k(seed):
    """Lorieul et al. 2021: with the conditional probabilities themselves, sets of a mean size k hold more of the mass than the k first of each."""
    p, _ = answers(seed, n=200)
    for k in (1, 2, 3):
        by_average = (p * (p >= average_k_threshold(p, k))).sum()
        by_top = np.sort(p, axis=1)[:, -k:].sum()
        assert by_average >= by_top - 1e-9


@given(seeds)
def test_auroc_is_scikit_learns_and_its_interval_holds_it(seed):
    """Ties included; swapping the sides mirrors value and interval."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 9, rng.integers(1, 30)), rng.integers(-3, 7, rng.integers(1, 30))
    found, turned = auroc(a, b), auroc(b, a)
    oracle = roc_auc_score(np.r_[np.ones(len(a)), np.zeros(len(b))], np.r_[a, b])
    assert found.value == pytest.approx(oracle) and 0 <= found.low <= found.value <= found.high <= 1
    assert (1 - turned.value, 1 - turned.high, 1 - turned.low) == pytest.approx((found.value, found.low, found.high), abs=1e-6)


def test_aurocs_interval_covers_the_truth():
    """Of 400 small samples of two normal laws the 95% interval holds the true value in 92% or more; perfect order still leaves a width."""
    rng = np.random.default_rng(0)
    truth = norm.cdf(2 / np.sqrt(2))
    found = [auroc(rng.normal(2, 1, 15), rng.normal(0, 1, 25)) for _ in range(400)]
    assert np.mean([f.low <= truth <= f.high for f in found]) >= 0.92
    perfect = auroc([3, 4, 5], [0, 1])
    assert perfect.value == perfect.high == 1 and perfect.low < 0.8


@settings(max_examples=12)
@given(seeds, st.sampled_from([0.5, 0.8, 0.9]))
def test_sets_of_a_wanted_coverage_cover(seed, coverage):
    """Split conformal prediction: over 150 draws of learning and new photos the mean coverage is at least as wanted, whatever the net."""
    rng = np.random.default_rng(seed)
    p, y = answers(seed, n=4000)
    p **= rng.uniform(0.3, 3)
    p /= p.sum(axis=1, keepdims=True)
    seen = []
    for _ in range(150):
        rows = rng.permutation(4000)[:160]
        rule = set_rule("coverage", coverage, p[rows[:60]], y[rows[:60]])
        seen.append(metrics.set_figures(p[rows[60:]], y[rows[60:]], rule)["coverage"])
    assert np.mean(seen) >= coverage - 3 * np.std(seen) / np.sqrt(150)


def test_too_few_photos_to_learn_from_name_every_species():
    """Of 5 photos none can promise 95%: the set is the whole list, and says so by its size."""
    p, y = answers(1, n=5)
    rule = set_rule("coverage", 0.95, p, y)
    assert rule.threshold == 0 and len(answer_set(p[0], rule)) == 7


@given(seeds, st.sampled_from(metrics.RULES))
def test_a_set_is_the_head_of_the_answer(seed, rule):
    """Likeliest first, never empty, and a prefix of the whole order; wider for a larger wish."""
    p, y = answers(seed, ties=True)
    less, more = {"top": (1, 3), "average": (0.5, 2), "coverage": (0.3, 0.9)}[rule]
    for row in p:
        whole = answer_set(row, SetRule(rule="top", wanted=7))
        a, b = (answer_set(row, set_rule(rule, wanted, p, y)) for wanted in (less, more))
        assert a and whole[: len(a)] == a and whole[: len(b)] == b and len(a) <= len(b)
    if rule == "average":
        assert np.mean([(row >= set_rule(rule, 2, p).threshold).sum() for row in p]) <= 2
    learnt = set_rule(rule, more, p, y)
    sets, told = [answer_set(row, learnt) for row in p], metrics.set_figures(p, y, learnt)
    assert told["coverage"] == np.mean([species in named for species, named in zip(y, sets)])
    assert told["size"] == np.mean([len(named) for named in sets]) and told["alone"] == np.mean([len(named) == 1 for named in sets])


def test_calibration_error_and_reliability_tell_the_same():
    """Sure and right: 0. Sure and wrong: 1. The bins' gaps, weighed by their photos, sum to the error where no two photos are as sure."""
    eye, y = np.eye(4)[[0, 1, 2, 3]], np.arange(4)
    assert metrics.expected_calibration_error(eye, y) == 0 and metrics.expected_calibration_error(eye, (y + 1) % 4) == 1
    p, y = answers(3, n=300)
    table = metrics.reliability(p, y)
    assert table["n"].sum() == 300 and (table["low"] <= table["right"]).all() and (table["right"] <= table["high"]).all()
    by_bins = (table["n"] * (table["probability"] - table["right"]).abs()).sum() / 300
    assert metrics.expected_calibration_error(p, y) == pytest.approx(by_bins)


def test_figures_come_by_name():
    """Each k up to the number of species, micro and macro, calibration and likelihood; a species given no probability costs a finite likelihood."""
    p, y = answers(5)
    p[0] = 0
    p[0, (y[0] + 1) % 7] = 1
    found = metrics.figures(p, y, ks=(1, 5, 10))
    assert set(found) == {f"{m}{f}{k}" for m in ("", "macro_") for f in ("top", "average") for k in (1, 5)} | {"ece", "nll"}
    assert np.isfinite(found["nll"]) and found["top1"] == top_k(p, y, 1)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda p, y: top_k(p, y, 0), "at least 1"),
        (lambda p, y: top_k(p[:, :, None], y), "species"),
        (lambda p, y: top_k(np.where(p > 0.5, np.nan, p), y), "NaN"),
        (lambda p, y: top_k(p, y[:-1]), "shape"),
        (lambda p, y: top_k(p, y + 7), "0 to 6"),
        (lambda p, y: top_k(p, y.astype(float)), "float64"),
        (lambda p, y: top_k(p[:0], y[:0]), "at least one photo"),
        (lambda p, y: average_k(p, y, 8), "of 7"),
        (lambda p, y: metrics.expected_calibration_error(p * 9, y), "softmax"),
        (lambda p, y: auroc([], [1]), "some of each"),
        (lambda p, y: set_rule("coverage", 0.9, p), "truth"),
        (lambda p, y: set_rule("coverage", 1.5, p, y), "share"),
        (lambda p, y: set_rule("top", 1.5, p), "whole k"),
        (lambda p, y: answer_set(p, SetRule(rule="top", wanted=1)), "of one"),
    ],
)
def test_what_is_no_answer_is_refused(call, told):
    """Wrong shapes, NaN, other species, no probabilities, rules that are none: InputError that says what."""
    p, y = answers(0)
    with pytest.raises(InputError, match=told):
        call(p, y)
