"""Prevalence is a mean; location only is scikit-learn's forest, to the last digit that counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from geoplantnet.errors import InputError
from geoplantnet.sdm.baselines import LocationOnly, Prevalence
from tests.sdm.test_estimators import OUTER, ROWS, a_world


def test_prevalence_is_the_share_of_plots():
    """Of the plots alone where there are plots, of all sites where there are none."""
    for share in (0.5, 0.0):
        sites = a_world(plots=share)
        plots = sites.plots(ROWS) if share else ROWS
        expected = sites.labels.toarray()[plots].mean(axis=0)
        np.testing.assert_allclose(Prevalence().fit(sites, ROWS).predict(sites, OUTER), np.tile(expected, (OUTER.size, 1)), rtol=1e-6)


def test_location_only_is_scikit_learns_forest():
    """The same parameters give the same predictions, from plots only; predictors are not read at all."""
    sites = a_world(plots=0.6)
    plots = sites.plots(ROWS)
    oracle = RandomForestRegressor(n_estimators=30, min_samples_leaf=5, random_state=4)
    oracle.fit(sites.xy[plots].astype(np.float32), sites.found(plots))
    own = LocationOnly(trees=30, seed=4).fit(sites.masked(["climate", "soil"]), ROWS).predict(sites, OUTER)
    np.testing.assert_allclose(own, oracle.predict(sites.xy[OUTER].astype(np.float32)), atol=1e-7)


def test_a_site_without_a_position_is_refused():
    """NaN in xy is no place."""
    sites = a_world()
    lost = replace(sites, xy=np.where(np.arange(120)[:, None] == 3, np.nan, sites.xy))
    with pytest.raises(InputError, match="1 sites have no position"):
        LocationOnly(trees=2).fit(lost, ROWS)
