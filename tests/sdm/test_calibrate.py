"""Calibrations equal their peers, shrink as they say, fold into a head, and are kept only where they help."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from geoplantnet.assemblages.latent import SpeciesHead
from geoplantnet.errors import InputError, ModelError
from geoplantnet.sdm import calibrate
from geoplantnet.sdm.calibrate import CALIBRATIONS, Calibration, choose, platt, platt_by_species, temperature
from geoplantnet.sdm.evaluate import expected_calibration_error

every = pytest.mark.parametrize("learn", CALIBRATIONS.values(), ids=CALIBRATIONS.keys())
relaxed = settings(deadline=None, max_examples=40)


def a_survey(seed, plots=200, species=12, *, slope=1.0, shift=0.0, spread=0.0):
    """Predictions whose truth is logit = slope * logit p + shift + an offset a species of that spread; p, labels, offsets."""
    rng = np.random.default_rng(seed)
    x = rng.normal(-1.5, 1.5, (plots, species))
    own = rng.normal(0, spread, species)
    labels = (rng.random(x.shape) < expit(slope * x + shift + own)).astype(np.uint8)
    return expit(x), labels, own


def smoothed(p, labels):
    """The likelihood with Platt's targets as one of hard labels with weights."""
    present = labels.sum()
    target = np.where(labels > 0, (present + 1) / (present + 2), 1 / (labels.size - present + 2)).ravel()
    x = np.tile(logit(p).ravel(), 2)[:, None]
    return x, np.repeat([1, 0], target.size), np.concatenate([target, 1 - target])


@pytest.mark.parametrize("seed", range(4))
def test_temperature_and_platt_equal_scikit_learn(seed):
    """Slope and offset of an unpenalised logistic regression on the logit."""
    p, labels, _ = a_survey(seed, slope=0.6, shift=0.8)
    x, y, weight = smoothed(p, labels)
    for learn, intercept in ((temperature, False), (platt, True)):
        peer = LogisticRegression(C=np.inf, fit_intercept=intercept, tol=1e-10, max_iter=1000).fit(x, y, weight)
        found = learn(p, labels)
        assert found.slope == pytest.approx(peer.coef_[0, 0], rel=1e-4)
        np.testing.assert_allclose(found.offsets, np.full(12, peer.intercept_[0] if intercept else 0.0), atol=1e-4)


def test_offsets_maximise_the_penalised_likelihood_at_the_evidence_s_variance():
    """Against a general optimiser in the place of Newton's arrow, alternated with the formula for v."""
    p, labels, _ = a_survey(1, plots=80, species=5, slope=0.7, shift=0.5, spread=1.0)
    x, present = logit(p), labels.sum()
    target = np.where(labels > 0, (present + 1) / (present + 2), 1 / (labels.size - present + 2))

    def loss(theta, v):
        eta = theta[0] * x + theta[1] + theta[2:]
        slope = expit(eta) - target
        gradient = np.concatenate([[(slope * x).sum(), slope.sum()], slope.sum(axis=0) + theta[2:] / v])
        return (np.logaddexp(0, eta) - target * eta).sum() + (theta[2:] ** 2).sum() / (2 * v), gradient

    theta, v = np.array([1.0, 0, 0, 0, 0, 0, 0]), 1.0
    for _ in range(60):
        theta = minimize(loss, theta, (v,), jac=True, method="BFGS", options={"gtol": 1e-8}).x
        chance = expit(theta[0] * x + theta[1] + theta[2:])
        h = (chance * (1 - chance)).sum(axis=0)
        v = (theta[2:] ** 2).sum() / (v * h / (1 + v * h)).sum()
    found = platt_by_species(p, labels)
    assert v > 0.1
    assert found.slope == pytest.approx(theta[0], abs=2e-3)
    np.testing.assert_allclose(found.offsets, theta[1] + theta[2:], atol=5e-3)


def test_shrunk_offsets_are_nearer_the_truth_than_none_and_than_each_species_own():
    """The reason to shrink: 300 species, most of them rare, against Platt alone and against each species by itself."""
    rng = np.random.default_rng(5)
    x = rng.normal(-3.5, 1.2, (150, 300)) + rng.normal(0, 1, 300)
    own = rng.normal(0, 0.6, 300)
    p, labels = expit(x), (rng.random(x.shape) < expit(0.8 * x + 0.3 + own)).astype(np.uint8)
    found, common = platt_by_species(p, labels), platt(p, labels)

    def error(offsets):
        return np.mean((offsets - (0.3 + own)) ** 2)

    alone = np.array(
        [minimize(lambda b, k=k: (np.logaddexp(0, 0.8 * x[:, k] + b) - labels[:, k] * b).sum(), 0.0).x[0].clip(-6, 6) for k in range(300)]
    )
    assert error(found.offsets) < 0.75 * error(common.offsets)
    assert error(found.offsets) < 0.75 * error(alone)


def test_species_that_differ_by_nothing_get_one_offset():
    """Copies of one species are what Platt says of them."""
    p, labels, _ = a_survey(2, plots=300, species=1, slope=0.5, shift=1)
    copies, same = np.tile(p, 8), np.tile(labels, 8)
    found, common = platt_by_species(copies, same), platt(copies, same)
    assert found.slope == pytest.approx(common.slope, abs=1e-5)
    np.testing.assert_allclose(found.offsets, common.offsets, atol=1e-4)


def test_a_rare_species_keeps_the_offset_of_all():
    """Expected once and found never or once: near the common offset; a frequent species as far off, nearly its own."""
    p, labels, _ = a_survey(3, plots=400, species=40, spread=1.0)
    p[:, :2], labels[:, :2] = 1 / 400, 0
    labels[7, 1] = 1
    p[:, 2] = 0.3
    labels[:, 2] = np.arange(400) % 10 < 6
    found = platt_by_species(p, labels)
    rest = found.offsets[3:].mean()
    assert np.isfinite(found.offsets).all()
    assert abs(found.offsets[0] - rest) < 0.8 and abs(found.offsets[1] - rest) < 0.8
    assert expit(found.slope * logit(0.3) + found.offsets[2]) == pytest.approx(0.6, abs=0.02)


@every
@pytest.mark.parametrize("label", [0, 1])
def test_calibration_data_without_any_presence_or_absence_stay_finite(learn, label):
    """All absent or all present, also at p = 0 and 1: finite, and the probabilities move the right way."""
    p = np.linspace(0, 1, 60).reshape(20, 3)
    found = learn(p, np.full((20, 3), label, np.uint8))
    after = found.apply(p)
    assert np.isfinite(found.offsets).all() and np.isfinite(after).all()
    assert abs(after.mean() - label) <= abs(p.mean() - label) + 1e-6


@every
@given(st.integers(0, 10_000), st.sampled_from([-2.0, 0.0, 0.5, 3.0]))
@relaxed
def test_the_order_of_places_within_a_species_stays(learn, seed, slope):
    """Whatever is learnt, also from a model that is no use or upside down: p rises, and its calibrated value does not fall."""
    p, labels, _ = a_survey(seed, plots=25, species=4, slope=slope)
    found = learn(p, labels)
    assert found.slope >= calibrate.LEAST_SLOPE
    after = np.take_along_axis(found.apply(p), np.argsort(p, axis=0), axis=0)
    assert (np.diff(after, axis=0) >= 0).all()


@every
def test_the_sum_of_calibrated_probabilities_is_what_was_found(learn):
    """Maximum likelihood with an offset: expected and observed presences agree (temperature has none, and makes no such promise)."""
    p, labels, _ = a_survey(6, plots=500, species=20, slope=0.5, shift=-0.7, spread=0.5)
    bias = learn(p, labels).apply(p).sum() / labels.sum() - 1
    assert abs(bias) < 0.005 or learn is temperature


@every
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=15)
def test_order_of_plots_and_species_does_not_matter(learn, seed, random):
    """Permuting plots changes nothing, permuting species permutes the offsets."""
    p, labels, _ = a_survey(seed, plots=30, species=6, spread=1)
    rows, columns = list(range(30)), list(range(6))
    random.shuffle(rows), random.shuffle(columns)
    found, again = learn(p, labels), learn(p[rows][:, columns], labels[rows][:, columns])
    assert again.slope == pytest.approx(found.slope, abs=1e-4)
    np.testing.assert_allclose(again.offsets, found.offsets[columns], atol=1e-3)


@every
def test_plots_in_blocks_or_at_once_give_the_same(learn, monkeypatch):
    """How many plots are worked on at a time is no matter of the result."""
    p, labels, _ = a_survey(9, plots=40, species=30, spread=1)
    whole = learn(p, labels)
    monkeypatch.setattr(calibrate, "_BLOCK_VALUES", 70)
    parts = learn(p, labels)
    assert parts.slope == pytest.approx(whole.slope, abs=1e-9)
    np.testing.assert_allclose(parts.offsets, whole.offsets, atol=1e-9)


def test_a_folded_head_gives_the_calibrated_probabilities(species):
    """Head, then calibration = folded head, for latent vectors as a tile holds them; through JSON as well."""
    rng = np.random.default_rng(0)
    head = SpeciesHead(
        species=species, weights=rng.normal(0, 0.3, (12, 16)).astype(np.float32), bias=rng.normal(-2, 1, 12).astype(np.float32)
    )
    z = rng.normal(size=(50, 16)).astype(np.float32)
    found = Calibration.from_dict(json.loads(json.dumps(Calibration(slope=0.7, offsets=rng.normal(size=12)).to_dict())))
    np.testing.assert_allclose(found.fold_into(head).probabilities(z).T, found.apply(head.probabilities(z).T), atol=2e-7)
    unchanged = Calibration.identity(12).fold_into(head)
    np.testing.assert_array_equal(unchanged.probabilities(z), head.probabilities(z))


def test_an_overconfident_model_is_set_right_on_plots_not_seen():
    """Calibration is kept, and ECE and log loss fall on new plots too."""
    p, labels, _ = a_survey(10, plots=600, species=30, slope=0.5, shift=-0.5, spread=0.4)
    old, new = slice(0, 400), slice(400, 600)
    found = choose(p[old], labels[old], np.arange(400) % 5)
    assert found.name != "identity"
    before, after = (expected_calibration_error(q, labels[new]) for q in (p[new], found.calibration.apply(p[new])))
    assert after < before / 2
    assert np.average(found.log_loss[found.name]) < np.average(found.log_loss["identity"])


def test_identity_stays_where_folds_are_wrong_in_opposite_ways():
    """What one fold teaches hurts the other: nothing is kept, and the probabilities stay as they were."""
    low, high = a_survey(11, shift=-1.0), a_survey(12, shift=1.0)
    p, labels = np.concatenate([low[0], high[0]]), np.concatenate([low[1], high[1]])
    found = choose(p, labels, np.repeat([0, 1], 200))
    assert found.name == "identity" and found.calibration.slope == 1
    np.testing.assert_allclose(found.calibration.apply(p), p, atol=1e-6)


@given(st.integers(0, 10_000), st.integers(2, 4), st.floats(0.4, 1.6), st.floats(-0.6, 0.6))
@settings(deadline=None, max_examples=15)
def test_nothing_is_kept_that_does_not_lower_the_error_on_held_out_folds(seed, folds, slope, shift):
    """The scores are those of calibrations that have not seen the fold, and the choice follows from them."""
    p, labels, _ = a_survey(seed, plots=60, species=5, slope=slope, shift=shift)
    fold = np.arange(60) % folds
    found = choose(p, labels, fold)
    for name, learn in CALIBRATIONS.items():
        for f in range(folds):
            after = learn(p[fold != f], labels[fold != f]).apply(p[fold == f])
            assert found.ece[name][f] == expected_calibration_error(after, labels[fold == f])
    mean = {name: np.average(values, weights=found.plots) for name, values in found.ece.items()}
    loss = {name: np.average(values, weights=found.plots) for name, values in found.log_loss.items()}
    better = [name for name in CALIBRATIONS if mean[name] < mean["identity"]]
    assert (found.name in better) == bool(better)
    assert all(loss[found.name] <= loss[name] for name in better)
    assert json.loads(json.dumps(found.to_dict()))["name"] == found.name


@every
def test_what_cannot_be_calibrated_is_refused(learn):
    """No plots, no species, other labels, a plot nobody predicted, logits."""
    p, labels, _ = a_survey(0, plots=6, species=3)
    for bad, of, says in (
        (p[:0], labels[:0], "nothing to calibrate on"),
        (p[:, :0], labels[:, :0], "nothing to calibrate on"),
        (p, labels[:, 1:], "not of the same"),
        (np.where(np.eye(6, 3) > 0, np.nan, p), labels, "missing"),
        (p + 1, labels, "not in"),
    ):
        with pytest.raises(InputError, match=says):
            learn(bad, of)


def test_a_choice_needs_two_folds_and_a_calibration_its_own_species(species):
    """One fold judges nothing; parameters of another list, or none at all, are refused."""
    p, labels, _ = a_survey(0, plots=6, species=3)
    with pytest.raises(InputError, match="at least two folds"):
        choose(p, labels, np.zeros(6, int))
    with pytest.raises(InputError, match="at least two folds"):
        choose(p, labels, np.arange(5))
    with pytest.raises(ModelError, match="3 species"):
        Calibration.identity(3).apply(np.zeros((2, 4)))
    head = SpeciesHead(species=species, weights=np.zeros((12, 2), np.float32), bias=np.zeros(12, np.float32))
    with pytest.raises(ModelError, match="the head for 12"):
        Calibration.identity(3).fold_into(head)
    for bad in ({"slope": 1}, {"slope": 0, "offsets": [0]}, {"slope": 1, "offsets": [None]}, {"slope": "a", "offsets": [0]}):
        with pytest.raises(ModelError):
            Calibration.from_dict(bad)
