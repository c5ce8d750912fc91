"""Conformal sets: the threshold against brute force, and the promise, exactly and by simulation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.assemblages.conformal import conformal_threshold
from geoplantnet.assemblages.sets import above
from geoplantnet.errors import InputError, UsageError

relaxed = settings(deadline=None, max_examples=60)


def a_survey(seed, plots, species=9, levels=0, share=0.3):
    """Probabilities float32 with ties where `levels`, and presences that need not follow them; no empty plot."""
    rng = np.random.default_rng(seed)
    p = rng.random((plots, species))
    p = (np.round(p * levels) / levels if levels else p).astype(np.float32)
    labels = (rng.random((plots, species)) < share).astype(np.uint8)
    labels[np.arange(plots), rng.integers(species, size=plots)] = 1
    return p, labels


def missed(p, labels, threshold):
    """Share of every plot's species that {p > threshold} misses."""
    return 1 - (above(p, np.float32(threshold)) & (labels > 0)).sum(axis=1) / labels.sum(axis=1)


def unit_losses(p, labels, groups, threshold):
    loss = missed(p, labels, threshold)
    return np.array([loss[groups == g].mean() for g in np.unique(groups)])


@given(st.integers(0, 10_000), st.integers(10, 40), st.sampled_from([0, 4, 20]), st.sampled_from([0.5, 0.7, 0.9]), st.booleans())
@relaxed
def test_no_larger_threshold_keeps_the_bound(seed, plots, levels, coverage, in_blocks):
    """Of all thresholds that matter, the one returned is the largest within the bound (sum of losses + 1) / (n + 1)."""
    p, labels = a_survey(seed, plots, levels=levels)
    groups = np.arange(plots) // (3 if in_blocks else 1)
    if coverage / (1 - coverage) > np.unique(groups).size + 1e-9:
        return
    found = conformal_threshold(p, labels, coverage=coverage, groups=groups if in_blocks else None).threshold

    def bound(t):
        losses = unit_losses(p, labels, groups, t)
        return (losses.sum() + 1) / (losses.size + 1)

    assert bound(found) <= 1 - coverage + 1e-8
    larger = np.unique(p[p > found])
    assert all(bound(t) > 1 - coverage - 1e-8 for t in larger) and larger.size


@given(st.integers(0, 10_000), st.integers(12, 25), st.sampled_from([0, 4]), st.sampled_from([0.5, 0.8, 0.9]))
@relaxed
def test_the_promise_holds_exactly_over_who_is_left_out(seed, plots, levels, coverage):
    """Theorem 1 for a random order of any fixed plots: calibrated on all but one, the mean loss of the one is within the level."""
    p, labels = a_survey(seed, plots, levels=levels)
    losses = []
    for i in range(plots):
        rest = np.arange(plots) != i
        found = conformal_threshold(p[rest], labels[rest], coverage=coverage)
        losses.append(missed(p[i : i + 1], labels[i : i + 1], found.threshold)[0])
    assert np.mean(losses) <= 1 - coverage + 1e-8


@given(st.integers(0, 10_000), st.integers(11, 14), st.sampled_from([0.5, 0.8, 0.9]))
@settings(deadline=None, max_examples=30)
def test_the_promise_for_blocks_holds_exactly_over_which_is_left_out(seed, blocks, coverage):
    """The same for blocks of unequal size whose plots resemble each other."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(blocks), rng.integers(1, 6, blocks))
    p, labels = a_survey(seed, groups.size)
    p = (p * rng.random(blocks)[groups, None]).astype(np.float32)
    losses = []
    for g in range(blocks):
        own = groups == g
        found = conformal_threshold(p[~own], labels[~own], coverage=coverage, groups=groups[~own])
        assert found.units == blocks - 1
        losses.append(missed(p[own], labels[own], found.threshold).mean())
    assert np.mean(losses) <= 1 - coverage + 1e-8


def test_coverage_of_new_plots_is_as_promised_and_hardly_more():
    """Simulated surveys: mean coverage between 1 - alpha and 1 - alpha + 2 / (n + 1), whatever the model's faults."""
    rng = np.random.default_rng(4)
    n, coverage, covered = 40, 0.9, []
    for _ in range(600):
        p = rng.random((n + 1, 15)) ** rng.uniform(1, 4, (n + 1, 1))
        labels = rng.random(p.shape) < p**0.3 * 0.5  # far from calibrated
        labels[~labels.any(axis=1), 0] = True
        p = p.astype(np.float32)
        t = conformal_threshold(p[:-1], labels[:-1].astype(np.uint8), coverage=coverage).threshold
        covered.append(1 - missed(p[-1:], labels[-1:], t)[0])
    error = np.std(covered) / np.sqrt(len(covered))
    assert coverage - 3 * error <= np.mean(covered) <= coverage + 2 / (n + 1) + 3 * error


def test_plots_as_units_promise_too_much_where_blocks_differ():
    """Many plots of few blocks, each with a bias of its own: for a new block plots as units promise too much, blocks do not."""
    rng = np.random.default_rng(8)
    covered = {"plots": [], "blocks": []}
    for _ in range(300):
        groups = np.repeat(np.arange(13), 20)
        bias = rng.normal(0, 2, 13)[groups, None]
        logit = rng.normal(0, 1, (groups.size, 10)) + bias
        labels = (rng.random(logit.shape) < 0.4).astype(np.uint8)
        labels[:, 0] = 1
        p = (1 / (1 + np.exp(-logit))).astype(np.float32)
        old, new = groups < 12, groups == 12
        for name, units in (("plots", None), ("blocks", groups[old])):
            t = conformal_threshold(p[old], labels[old], coverage=0.9, groups=units).threshold
            covered[name].append(1 - missed(p[new], labels[new], t).mean())
    assert np.mean(covered["blocks"]) >= 0.9 - 2 * np.std(covered["blocks"]) / np.sqrt(300)
    assert np.mean(covered["plots"]) < np.mean(covered["blocks"]) - 0.02


@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
@relaxed
def test_order_does_not_matter_and_sets_grow_with_coverage(seed, random):
    """Permuting species and plots changes nothing; a higher coverage never raises the threshold."""
    p, labels = a_survey(seed, 30, levels=12)
    rows, columns = list(range(30)), list(range(9))
    random.shuffle(rows), random.shuffle(columns)
    thresholds = [conformal_threshold(p, labels, coverage=c).threshold for c in (0.3, 0.5, 0.8, 0.9, 0.95)]
    again = [conformal_threshold(p[rows][:, columns], labels[rows][:, columns], coverage=c).threshold for c in (0.3, 0.5, 0.8, 0.9, 0.95)]
    assert thresholds == again and thresholds == sorted(thresholds, reverse=True)


def test_a_species_predicted_impossible_but_present_is_held_when_it_must_be():
    """With just enough plots none may be missed: the threshold falls below 0 and the set holds all."""
    p, labels = a_survey(1, 9)
    p[3, 2], labels[3, 2] = 0, 1
    found = conformal_threshold(p, labels, coverage=0.9)
    assert found.threshold < 0 and above(p, np.float32(found.threshold)).all()
    assert found.units == 9 and found.empty_plots == 0


def test_empty_plots_do_not_dilute_the_promise():
    """Plots without any species are counted and change nothing else; the result is JSON."""
    p, labels = a_survey(2, 40)
    found = conformal_threshold(p, labels)
    more = conformal_threshold(np.vstack([p, p]), np.vstack([labels, np.zeros_like(labels)]))
    assert more.threshold == found.threshold and (more.units, more.empty_plots) == (40, 40)
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


def test_what_cannot_be_promised_is_refused():
    """Too few units, no species, a missing prediction, other shapes, a coverage that is none."""
    p, labels = a_survey(3, 12)
    with pytest.raises(InputError, match="it takes 19"):
        conformal_threshold(p, labels, coverage=0.95)
    with pytest.raises(InputError, match=r"4 blocks .* it takes 9"):
        conformal_threshold(p, labels, groups=np.arange(12) // 3)
    with pytest.raises(InputError, match="0 plots"):
        conformal_threshold(p, np.zeros_like(labels))
    p[np.nonzero(labels)[0][0], np.nonzero(labels)[1][0]] = np.nan
    with pytest.raises(InputError, match="no probability"):
        conformal_threshold(p, labels)
    with pytest.raises(InputError, match="not of the same"):
        conformal_threshold(p, labels[:, 1:])
    with pytest.raises(UsageError, match=r"0\.9"):
        conformal_threshold(p, labels, coverage=90)
