"""The logistic regression is the optimum, agrees with scikit-learn, and of presence-only records fits a Poisson process."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from geoplantnet.cubes import TablePatches
from geoplantnet.errors import ConfigurationError
from geoplantnet.sdm.glm import GLM, logistic_regression
from geoplantnet.sdm.sites import BACKGROUND, Sites
from geoplantnet.taxonomy import SpeciesList
from tests.sdm.test_estimators import OUTER, ROWS, SPECIES, a_world


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_it_is_scikit_learns(seed, ridge):
    """Same penalised likelihood, weights and data: the same slopes, separable or not."""
    rng = np.random.default_rng(seed)
    z, weight = rng.normal(size=(40, 4)), rng.uniform(0.1, 5, size=40)
    present = z[:, 0] + rng.normal(scale=rng.choice([0.01, 1]), size=40) > 0.3
    present[:2] = True, False
    slope, intercept = logistic_regression(z, present, weight, np.zeros(40), ridge)
    oracle = LogisticRegression(C=1 / ridge, tol=1e-10, max_iter=10_000).fit(z, present, sample_weight=weight)
    np.testing.assert_allclose([*slope, intercept], [*oracle.coef_[0], *oracle.intercept_], rtol=1e-3, atol=1e-4)


def test_an_offset_is_part_of_the_linear_predictor():
    """Against a general optimiser; and a constant offset only moves the intercept."""
    rng = np.random.default_rng(0)
    z, offset = rng.normal(size=(80, 2)), rng.normal(size=80)
    present = rng.random(80) < expit(z[:, 0] + offset)

    def loss(b):
        eta = z @ b[:2] + b[2] + offset
        return np.sum(np.logaddexp(0, eta) - present * eta) + 0.5 * b[:2] @ b[:2]

    slope, intercept = logistic_regression(z, present, np.ones(80), offset, 1.0)
    np.testing.assert_allclose([*slope, intercept], minimize(loss, np.zeros(3), tol=1e-10).x, atol=1e-4)
    moved, lower = logistic_regression(z, present, np.ones(80), offset + 3, 1.0)
    np.testing.assert_allclose([*moved, lower + 3], [*slope, intercept], atol=1e-6)


def test_probabilities_sum_to_what_was_found():
    """The score equation of the intercept: at the plots learnt from, the sum of p is the number of presences."""
    sites = a_world()
    p = GLM().fit(sites, ROWS).predict(sites, ROWS)
    np.testing.assert_allclose(p.sum(axis=0), sites.found(ROWS).sum(axis=0), rtol=1e-4)


def test_a_gradient_is_followed():
    """The species that loves warmth most rises with it within the range learnt from, the one that shuns it falls."""
    sites = a_world(n=120)
    model = GLM(ridge=10).fit(sites, ROWS)
    warmth = np.linspace(-1.5, 1.5, 40)
    line = TablePatches(
        pd.DataFrame({"warmth": warmth, "rain": 0.0, "acidity": 0.0}), {"climate": ("warmth", "rain"), "soil": ("acidity",)}
    )
    p = model.predict(on(line, 40), np.arange(40))
    assert (np.diff(p[:, 3]) > 0).all() and (np.diff(p[:, 0]) < 0).all()


def on(patches, n, **more):
    """Unlabelled records at some patches."""
    return Sites(
        species=more.pop("species", SPECIES),
        patches=patches,
        labels=more.pop("labels", sparse.csr_array((n, len(SPECIES)), dtype=np.uint8)),
        presence_absence=np.zeros(n, bool),
        group=more.pop("group", np.zeros(n, int)),
        xy=np.zeros((n, 2)),
        **more,
    )


def process(n=4000, seed=0):
    """Records of a species whose intensity is log-linear in v, more of them where effort is higher; background drawn apart."""
    rng = np.random.default_rng(seed)
    v, effort = rng.normal(size=(2, 20_000))
    there = np.flatnonzero(rng.random(20_000) < 0.02 * np.exp(0.8 * v + effort - 1))
    at = np.concatenate([there, rng.choice(20_000, n, replace=False)])
    recorded = np.arange(at.size) < there.size
    one = SpeciesList(checklist="t", taxa=SPECIES.taxa[:1])
    patches = TablePatches(pd.DataFrame({"v": v[at]}), {"m": ("v",)})
    labels = sparse.csr_array(recorded[:, None].astype(np.uint8))
    group = np.where(recorded, 0, BACKGROUND)
    return on(patches, at.size, species=one, labels=labels, group=group, effort=effort[at].astype(np.float32))


def test_presence_only_records_give_the_log_intensity():
    """With effort as offset the fitted log intensity is the true one up to a constant: slope .8 of v, no curvature."""
    sites = process()
    model = GLM(ridge=1e-3).fit(sites, np.arange(len(sites)))
    z = model.terms_(np.linspace(-1, 1, 9)[:, None])
    fitted = (z @ model.slope_)[:, 0]
    slope, curve = np.polyfit(np.linspace(-1, 1, 9), fitted, 2)[1::-1]
    assert slope == pytest.approx(0.8, abs=0.15) and abs(curve) < 0.15


def test_the_order_of_species_does_not_matter():
    """Permuted species, permuted predictions; one species more or less changes nothing for the others."""
    sites = a_world(plots=0.5)
    order = np.array([2, 0, 3])
    other = replace(
        sites,
        species=SpeciesList(checklist="t", taxa=tuple(SPECIES.taxa[i] for i in order)),
        labels=sparse.csr_array(sites.labels[:, order]),
    )
    np.testing.assert_allclose(
        GLM().fit(other, ROWS).predict(other, OUTER), GLM().fit(sites, ROWS).predict(sites, OUTER)[:, order], atol=1e-6
    )


def test_no_penalty_no_estimate():
    """A ridge of 0 is refused."""
    with pytest.raises(ConfigurationError, match="ridge"):
        GLM(ridge=0)
