"""MaxEnt is maxnet's optimum on elapid's features, and elapid itself where asked."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import elapid
import numpy as np
import pandas as pd
import pytest
from elapid.features import MaxentFeatureTransformer, compute_regularization
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from geoplantnet.cubes import TablePatches
from geoplantnet.errors import ConfigurationError, InputError
from geoplantnet.sdm.maxent import Features, MaxEnt, classes_for, lasso_logistic, penalties
from geoplantnet.sdm.sites import BACKGROUND, Sites
from geoplantnet.taxonomy import SpeciesList, Taxon
from tests.sdm.test_estimators import OUTER, ROWS, SPECIES, a_world


def a_niche(n=300, seed=0):
    """One species with a humped response to v and none to w, and background: table and presences."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    return x, rng.random(n) < 0.5 * np.exp(-((x[:, 0] - 0.7) ** 2) / 0.5)


def sites_of(x, present, **more):
    frame = pd.DataFrame(x, columns=["v", "w"])
    return Sites(
        species=SpeciesList(checklist="t", taxa=(Taxon(taxon_id="a", scientific_name="A a"),)),
        patches=TablePatches(frame, {"m": ("v", "w")}),
        labels=sparse.csr_array(present[:, None].astype(np.uint8)),
        presence_absence=np.zeros(len(x), bool),
        group=np.where(present, 0, BACKGROUND),
        xy=np.zeros((len(x), 2)),
        **more,
    )


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["l", "lq", "lqh", "lqph", "qt", "lqpth"]), st.integers(1, 4), st.integers(0, 99))
def test_features_are_elapids_before_and_after_saving_ranges(classes, predictors, seed):
    """The columns of elapid's own transformer, inside and outside the range learnt from, from nothing but the ranges."""
    rng = np.random.default_rng(seed)
    x, beyond = rng.normal(size=(30, predictors)), 3 * rng.normal(size=(20, predictors))
    oracle = MaxentFeatureTransformer(feature_types=classes, n_hinge_features=6, n_threshold_features=6).fit(x)
    features = Features.learn(x, classes=classes, knots=6)
    np.testing.assert_allclose(features(beyond), oracle.transform(beyond), atol=1e-12)
    assert features.labels().tolist() == oracle.feature_names_


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.8, 0.95]))
def test_the_lasso_satisfies_its_optimality_conditions(seed, edge):
    """Subgradient conditions, the proof of an optimum: |gradient_j| <= penalty_j, with equality and sign where b_j is not 0;
    also where presences sit in a corner and most of the background has p below 1e-8.
    """
    rng = np.random.default_rng(seed)
    z, weight, offset = rng.random((400, 15)), rng.uniform(0.5, 2, size=400), rng.normal(size=400)
    z[:, 4] = 1.0
    present = (z[:, 0] > edge) & (rng.random(400) < 0.9)
    weight[~present] *= 100
    penalty = rng.uniform(0.05, 1.5, size=15)
    b, b0 = lasso_logistic(z, present, weight, offset, penalty)
    residual = weight * (present - expit(z @ b + b0 + offset))
    gradient, on, idle = z.T @ residual, b != 0, np.arange(15) == 4
    assert abs(residual.sum()) < 1e-3
    np.testing.assert_allclose(gradient[on], (np.sign(b) * penalty)[on], atol=1e-3)
    assert (np.abs(gradient[~on & ~idle]) <= penalty[~on & ~idle] + 1e-3).all()


def test_with_its_own_penalty_it_is_elapid():
    """Same features, weights and solver: elapid's predictions at held-out sites (r > .999) and its AUC."""
    x, present = a_niche()
    sites = sites_of(x, present)
    own = MaxEnt(classes="lqh", penalty="elapid", multiplier=1.5).fit(sites, np.arange(300)).predict(sites, np.arange(300))[:, 0]
    direct = elapid.MaxentModel(feature_types="lqh", beta_multiplier=1.5, n_cpus=1, random_state=0, use_sklearn=True)
    theirs = direct.fit(x.astype(np.float32).astype(float), present.astype(int)).predict(x)
    assert np.corrcoef(own, theirs)[0, 1] > 0.999
    assert roc_auc_score(present, own) == pytest.approx(roc_auc_score(present, theirs), abs=1e-3)


def test_penalties_are_elapids_and_a_single_record_has_one_too():
    """Equal where elapid has an answer; for one presence, where its standard deviation is undefined, finite and above the least."""
    x, present = a_niche()
    features = Features.learn(x, classes="lqph", knots=10)
    z, labels = features(x), features.labels()
    np.testing.assert_array_equal(penalties(z, labels, present, 2.0), compute_regularization(present, z, list(labels), beta_multiplier=2.0))
    one = np.arange(300) == 7
    linear = features.of("l")
    lone = penalties(z[:, linear], labels[linear], one, 1.0)
    assert np.isfinite(lone).all() and (lone > 0.001 * np.ptp(z[:, linear], axis=0)).all()


def test_a_hump_is_found_and_the_idle_predictor_dropped():
    """Suitability peaks near the true optimum .7; w, which does nothing, hardly moves it; a stronger penalty flattens."""
    x, present = a_niche(n=1500)
    sites = sites_of(x, present)
    model = MaxEnt().fit(sites, np.arange(1500))
    v = np.linspace(-2, 2, 81)
    along = model.predict(sites_of(np.stack([v, 0 * v], axis=1), v > 9), np.arange(81))[:, 0]
    across = model.predict(sites_of(np.stack([0 * v + 0.7, v], axis=1), v > 9), np.arange(81))[:, 0]
    assert v[along.argmax()] == pytest.approx(0.7, abs=0.35) and np.ptp(across) < 0.3 * np.ptp(along)
    flat = MaxEnt(multiplier=1e4).fit(sites, np.arange(1500)).predict(sites, np.arange(1500))
    np.testing.assert_allclose(flat, 1 - 1 / np.e, atol=1e-4)


def test_effort_explains_records_away():
    """Where only effort made the records, the offset leaves a flat map; without it the map shows the effort."""
    rng = np.random.default_rng(1)
    everywhere = rng.normal(size=(9000, 2))
    effort = np.clip(everywhere[:, 0], -2.5, 2.5)
    there = np.flatnonzero(rng.random(9000) < 0.03 * np.exp(effort))
    at = np.concatenate([there, rng.choice(9000, 2000, replace=False)])
    rows, present = np.arange(at.size), np.arange(at.size) < there.size
    biased = sites_of(everywhere[at], present, effort=effort[at].astype(np.float32))
    spread = [np.std(MaxEnt(classes="lq").fit(s, rows).predict(s, rows)) for s in (biased, replace(biased, effort=None))]
    assert spread[0] < 0.25 * spread[1]
    with pytest.raises(InputError, match="offset"):
        MaxEnt(penalty="elapid").fit(biased, rows)


def test_more_records_more_features():
    """Classes only grow with the number of records."""
    kinds = [set(classes_for(n)) for n in range(1, 200)]
    assert all(a <= b for a, b in pairwise(kinds)) and kinds[0] == {"l"} and kinds[-1] == set("lqph")


def test_the_order_of_species_does_not_matter():
    """Permuted species, permuted predictions, thinned background included."""
    sites = a_world(plots=0.0)
    order = np.array([2, 0, 3, 1])
    other = replace(
        sites,
        species=SpeciesList(checklist="t", taxa=tuple(SPECIES.taxa[i] for i in order)),
        labels=sparse.csr_array(sites.labels[:, order]),
    )
    a, b = (MaxEnt(classes="lq", limit=20).fit(s, ROWS).predict(s, OUTER) for s in (sites, other))
    np.testing.assert_allclose(b, a[:, order], atol=1e-5)


def test_unknown_settings_are_refused():
    """The error names what is allowed."""
    for bad in ({"classes": "lqx"}, {"penalty": "maxnett"}, {"multiplier": 0}):
        with pytest.raises(ConfigurationError, match=next(iter(bad))):
            MaxEnt(**bad)
