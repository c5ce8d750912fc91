"""Ranges and specialisation from records: definitions by hand, invariance, and what they should tell apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from geoplantnet import occurrences as occ
from geoplantnet.errors import InputError


def records_of(rows):
    """Rows (taxon, x, y) in EPSG:3035."""
    table = pd.DataFrame(rows, columns=["scientificName", "x", "y"])
    return occ.from_records(table.assign(occurrenceStatus="present", year=2020.0), dataset_id="test")


@given(st.lists(st.tuples(st.sampled_from(["Aa aa", "Bb bb"]), st.integers(0, 39), st.integers(0, 39)), min_size=1, max_size=40))
@settings(deadline=None, max_examples=30)
def test_a_range_is_the_number_of_squares_with_a_record(places):
    """However often a taxon was recorded in a square of 10 km, it counts once; by brute force."""
    records = records_of([(name, 4_000_000 + 1_000.0 * x, 2_500_000 + 1_000.0 * y) for name, x, y in places])
    ids = records.occurrences.drop_duplicates("scientificName").set_index("scientificName")["taxonID"]
    found = occ.range_squares(records, [*ids, "no such"])
    for name, taxon in ids.items():
        assert found[taxon] == len({(x // 10, y // 10) for own, x, y in places if own == name})
    assert np.isnan(found["no such"])


def plots_of(seed=0):
    """A specialist in plots of one kind, a generalist in plots of all, a rarity in three."""
    random = np.random.default_rng(seed)
    kind = np.arange(120) % 4
    others = np.zeros((120, 60), np.uint8)
    for k in range(4):
        others[kind == k, 15 * k : 15 * (k + 1)] = random.random(((kind == k).sum(), 15)) < 0.6
    specialist, generalist, rarity = kind == 1, random.random(120) < 0.4, np.arange(120) < 3
    return np.column_stack([specialist, generalist, rarity, others]).astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_a_specialist_is_told_from_a_generalist(seed):
    """The species of one kind of plot scores above the one of all kinds; too few plots say nothing; the list spans 0 to 1."""
    plots = plots_of(seed)
    found = occ.specialisation(sparse.csr_array(plots), seed=seed)
    assert found[0] > found[1] + 0.4 and np.isnan(found[2])
    assert np.nanmin(found) == 0 and np.nanmax(found) == 1


def test_theta_is_whittakers_beta_of_all_draws_when_there_is_one():
    """With as many plots as are drawn every draw is the same: gamma / mean alpha by hand, scaled over the list."""
    plots = np.zeros((20, 6), np.uint8)
    plots[:10, 0], plots[10:, 1] = 1, 1
    plots[:10, 2] = 1  # with the first: two species in all, two a plot
    plots[10:15, 3], plots[15:, 4] = 1, 1  # with the second: three in all, two a plot
    found = occ.specialisation(sparse.csr_array(plots))
    beta = np.array([2 / 2, 3 / 2, 2 / 2])
    np.testing.assert_allclose(found[:3], (beta.max() - beta) / (beta.max() - beta.min()))
    assert np.isnan(found[3:]).all()


def test_plots_that_are_all_alike_say_nothing():
    """Without any difference there is no scale; fewer than two plots cannot be compared."""
    assert np.isnan(occ.specialisation(sparse.csr_array(np.ones((30, 3), np.uint8)))).all()
    assert np.isnan(occ.specialisation(sparse.csr_array(np.ones((3, 3), np.uint8)))).all()
    with pytest.raises(InputError, match="2 plots or more"):
        occ.specialisation(sparse.csr_array(np.ones((30, 3), np.uint8)), plots=1)
