"""Scores equal their definitions and their peers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from geoplantnet.sdm.evaluate import agreement, auc_per_species, expected_calibration_error, skill


def a_sample(seed, n=60, species=7, levels=0):
    rng = np.random.default_rng(seed)
    p = rng.random((n, species))
    if levels:
        p = np.round(p * levels) / levels
    return p, (rng.random((n, species)) < p).astype(np.uint8)


@given(st.integers(0, 1000), st.sampled_from([0, 3, 10]))
def test_auc_equals_scikit_learn_with_and_without_ties(seed, levels):
    """Species by species, also where probabilities tie."""
    p, labels = a_sample(seed, levels=levels)
    ours = auc_per_species(p, labels, minimum=1)
    for k in range(p.shape[1]):
        if 0 < labels[:, k].sum() < len(labels):
            assert ours[k] == pytest.approx(roc_auc_score(labels[:, k], p[:, k]))
        else:
            assert np.isnan(ours[k])


def test_a_species_too_rare_or_too_common_is_not_scored():
    """Below the minimum of presences or of absences there is no AUC, and none is invented."""
    labels = np.zeros((20, 3), np.uint8)
    labels[:4, 0] = labels[:5, 1] = labels[:16, 2] = 1
    auc = auc_per_species(np.random.default_rng(0).random((20, 3)), labels, minimum=5)
    assert np.isnan(auc[[0, 2]]).all() and np.isfinite(auc[1])


@given(st.integers(0, 1000))
def test_calibration_error_equals_brute_force(seed):
    """Fifteen equal bins, weighted by counts, p = 1 in the last."""
    p, labels = a_sample(seed)
    p.flat[0], p.flat[1] = 0.0, 1.0
    expected, flat, hits = 0.0, p.ravel(), labels.ravel()
    for b in range(15):
        inside = (flat >= b / 15) & ((flat < (b + 1) / 15) | (b == 14))
        if inside.any():
            expected += inside.mean() * abs(hits[inside].mean() - flat[inside].mean())
    assert expected_calibration_error(p, labels) == pytest.approx(expected)


def test_folds_are_ranked_by_themselves():
    """Prevalence scores exactly .5 however different the folds' prevalences are; pooling their ranks would not."""
    rng = np.random.default_rng(1)
    folds = []
    for share in (0.2, 0.6):
        labels = (rng.random((50, 4)) < share).astype(np.uint8)
        folds.append((np.full((50, 4), 0.8 - share), labels))
    score = skill(folds)
    assert score.auc == 0.5 and score.plots == 100 and score.species == 4
    assert score.richness_bias == pytest.approx(
        (sum(p.sum() for p, _ in folds) - sum(y.sum() for _, y in folds)) / sum(y.sum() for _, y in folds)
    )


def test_an_unscorable_sample_says_so_in_json():
    """No presence at all: AUC and bias are None in JSON, not NaN."""
    score = skill([(np.full((6, 2), 0.1), np.zeros((6, 2), np.uint8))])
    assert score.to_dict()["auc"] is None and score.to_dict()["richness_bias"] is None and score.species == 0


def test_agreement_is_one_with_itself_and_ignores_constant_species():
    """A map equal to the truth has r = 1 and no error; a species of constant p has no r of its own."""
    truth = np.random.default_rng(2).random((40, 3))
    truth[:, 2] = 0.5
    found = agreement(truth, truth)
    assert found["pooled"] == pytest.approx(1) and found["per_species"] == pytest.approx(1) and found["mean_error"] == 0
