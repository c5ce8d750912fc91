"""Trees as arrays walk as scikit-learn walks; forests average, are calibrated on plots and balanced on records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.ensemble import RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor

from geoplantnet.errors import ConfigurationError
from geoplantnet.sdm.evaluate import auc_per_species
from geoplantnet.sdm.forest import JointForest, RandomForest, SpeciesForests
from geoplantnet.sdm.trees import Trees
from geoplantnet.taxonomy import SpeciesList
from tests.sdm.test_estimators import OUTER, ROWS, SPECIES, a_world


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 4))
def test_leaves_are_scikit_learns(seed, count, leaf):
    """Of every tree, every row's leaf; values on a threshold go left; a tree of one node; joined trees are the same trees."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 6, size=(40, 3)).astype(np.float32)
    grown = [
        DecisionTreeRegressor(min_samples_leaf=leaf, random_state=t).fit(x, rng.random(40) if t else np.ones(40)) for t in range(count)
    ]
    trees = Trees.of(grown)
    some = np.concatenate([x, np.nextafter(x, np.float32(9)), 0.5 + x]).astype(np.float32)
    joined = Trees.join([Trees.of(grown[:1]), Trees.of(grown[1:])])
    for t, g in enumerate(grown):
        assert np.array_equal(trees.leaves(some, t) - trees.root[t], g.apply(some))
        assert np.array_equal(joined.leaves(some, t), trees.leaves(some, t))


def test_a_joint_forest_is_scikit_learns():
    """Labels of like sites, weighted by shared leaves, are the mean over trees of leaf means."""
    rng = np.random.default_rng(0)
    x, y = rng.random((80, 3)).astype(np.float32), (rng.random((80, 7)) < 0.3).astype(np.uint8)
    oracle = RandomForestRegressor(n_estimators=12, min_samples_leaf=4, random_state=1).fit(x, y)
    own = JointForest.of(Trees.of(oracle.estimators_), oracle.estimators_samples_, x, sparse.csr_array(y))
    new = rng.random((50, 3)).astype(np.float32)
    np.testing.assert_allclose(own.predict(new), oracle.predict(new), atol=1e-12)
    np.testing.assert_allclose(JointForest.restore(own.state()).predict(new), own.predict(new), atol=0)


def test_which_forest_grows_where():
    """Plots alone: one for all species. Records: one a species, each tree on as many background sites as presences."""
    assert isinstance(RandomForest(trees=2).fit(a_world(), ROWS).forest_, JointForest)
    for share in (0.0, 0.5):
        forest = RandomForest(trees=3).fit(a_world(plots=share), ROWS).forest_
        assert isinstance(forest, SpeciesForests) and np.diff(forest.first).tolist() == [3] * 4
        roots = forest.value[forest.trees.root]
        assert np.all(roots == 0.5) if share == 0 else np.any(roots != 0.5)
    assert isinstance(RandomForest(trees=2, records=0).fit(a_world(plots=0.5), ROWS).forest_, JointForest)


def test_shares_are_near_prevalence_with_and_without_records():
    """Mean predictions at held-out plots follow each species' prevalence in plots, whatever records are added."""
    for share in (1.0, 0.5):
        sites = a_world(n=900, plots=share)
        rows, outer = np.arange(600), sites.plots(np.arange(600, 900))
        p = RandomForest(trees=30).fit(sites, rows).predict(sites, outer)
        np.testing.assert_allclose(p.mean(axis=0), sites.found(sites.plots(rows)).mean(axis=0), atol=0.07)
        assert np.nanmean(auc_per_species(p, sites.found(outer))) > 0.7


def test_the_order_of_species_does_not_matter():
    """A forest a species has its own random numbers, by the species' id: the same bits wherever it stands in the list."""
    for share in (0.0, 0.5):
        sites = a_world(plots=share)
        order = np.array([2, 0, 3])
        fewer = SpeciesList(checklist="t", taxa=tuple(SPECIES.taxa[i] for i in order))
        other = replace(sites, species=fewer, labels=sparse.csr_array(sites.labels[:, order]))
        if share == 0:
            other = replace(other, group=sites.group)
        a, b = (RandomForest(trees=5).fit(s, ROWS).predict(s, OUTER) for s in (sites, other))
        assert np.array_equal(a[:, order], b)


def test_weights_count_as_copies():
    """A plot of weight 0 is not there; forests of all weights doubled are the same."""
    sites = a_world()
    out = np.flatnonzero(np.arange(120) % 3)
    weight = np.where(np.arange(120) % 3, 2.0, 0.0).astype(np.float32)
    a = RandomForest(trees=5).fit(replace(sites, weight=weight), ROWS).predict(sites, OUTER)
    b = RandomForest(trees=5).fit(sites, np.intersect1d(ROWS, out)).predict(sites, OUTER)
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_forest_of_no_trees_is_refused():
    """At least one tree, at least one site in a leaf."""
    for bad in ({"trees": 0}, {"leaf": 0}):
        with pytest.raises(ConfigurationError):
            RandomForest(**bad)
