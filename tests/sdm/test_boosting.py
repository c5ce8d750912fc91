"""Boosting starts from prevalence, learns what a step is, and leaves gaps to the trees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from geoplantnet.cubes import TablePatches
from geoplantnet.errors import ConfigurationError
from geoplantnet.sdm.boosting import Boosting
from geoplantnet.sdm.evaluate import auc_per_species
from geoplantnet.taxonomy import SpeciesList
from tests.sdm.test_estimators import COLUMNS, OUTER, ROWS, SPECIES, a_world


def test_almost_no_step_is_prevalence():
    """With a vanishing learning rate every place gets the species' share of plots; of records, one half."""
    for sites, expected in ((a_world(), a_world().found(ROWS).mean(axis=0)), (a_world(plots=0.0), np.full(4, 0.5))):
        p = Boosting(rounds=1, rate=1e-9).fit(sites, ROWS).predict(sites, OUTER)
        np.testing.assert_allclose(p, np.tile(expected, (OUTER.size, 1)), rtol=1e-5)


def test_probabilities_follow_prevalence_and_rank_plots():
    """At held-out plots means are near prevalence and ranks follow the gradient, records added or not."""
    for share in (1.0, 0.5):
        sites = a_world(n=900, plots=share)
        rows, outer = np.arange(600), sites.plots(np.arange(600, 900))
        p = Boosting(rounds=60).fit(sites, rows).predict(sites, outer)
        np.testing.assert_allclose(p.mean(axis=0), sites.found(sites.plots(rows)).mean(axis=0), atol=0.08)
        assert np.nanmean(auc_per_species(p, sites.found(outer))) > 0.7


def test_a_gap_can_be_what_tells():
    """Present exactly where warmth is missing: no imputation would find it as NaN's own side of a split does."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 3)), columns=["warmth", "rain", "acidity"])
    gap = rng.random(120) < 0.4
    frame.loc[gap, "warmth"] = np.nan
    sites = replace(
        a_world(), patches=TablePatches(frame, COLUMNS), labels=sparse.csr_array(np.repeat(gap[:, None], 4, axis=1).astype(np.uint8))
    )
    p = Boosting(rounds=40).fit(sites, ROWS).predict(sites, OUTER)
    assert p[gap[OUTER]].min() > p[~gap[OUTER]].max()


def test_the_order_of_species_does_not_matter():
    """The same bits wherever a species stands in the list."""
    sites = a_world(plots=0.0)
    order = np.array([2, 0, 3])
    fewer = SpeciesList(checklist="t", taxa=tuple(SPECIES.taxa[i] for i in order))
    other = replace(sites, species=fewer, labels=sparse.csr_array(sites.labels[:, order]))
    a, b = (Boosting(rounds=10).fit(s, ROWS).predict(s, OUTER) for s in (sites, other))
    assert np.array_equal(a[:, order], b)


def test_effort_is_where_boosting_starts():
    """Effort that alone made the records flattens the map; without it the map shows the effort."""
    sites = a_world(n=900, plots=0.0)
    warmth = sites.patches.read(np.arange(900))["climate"].values[:, 0, 0, 0]
    biased = replace(sites, effort=(4 * np.clip(warmth, -2, 2)).astype(np.float32))
    spread = [Boosting(rounds=40).fit(s, np.arange(900)).predict(s, np.arange(900))[:, 3] for s in (biased, sites)]
    assert np.corrcoef(spread[1], warmth)[0, 1] > 0.5 > np.corrcoef(spread[0], warmth)[0, 1]


def test_impossible_settings_are_refused():
    """No rounds, no leaves, no step."""
    for bad in ({"rounds": 0}, {"leaves": 1}, {"rate": 0}):
        with pytest.raises(ConfigurationError):
            Boosting(**bad)
