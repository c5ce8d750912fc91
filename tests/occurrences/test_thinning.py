"""Thinning: far enough apart, as many as fit, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import cdist

from geoplantnet.errors import InputError, UsageError
from geoplantnet.occurrences import from_records, from_tables, summary, thin, thin_labels, thin_to_grid, thinned

records = st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20), st.sampled_from("ab")), min_size=1, max_size=60)


def arrays(rows):
    return np.array([r[:2] for r in rows], float), np.array([r[2] for r in rows])


@settings(max_examples=60, deadline=None)
@given(records, st.integers(1, 15), st.integers(0, 3))
def test_kept_are_apart_and_no_more_fit(rows, distance, seed):
    """Against brute force: no two kept of a taxon nearer than the distance, every dropped one nearer than it to a kept one of its taxon."""
    xy, taxon = arrays(rows)
    kept = thin(xy, taxon, distance, seed=seed)
    near = (cdist(xy, xy) < distance) & (taxon[:, None] == taxon[None, :])
    assert near[np.ix_(kept, kept)].sum() == kept.sum()
    assert near[np.ix_(~kept, kept)].any(axis=1).all()
    np.testing.assert_array_equal(kept, thin(xy, taxon, distance, seed=seed))
    for t in "ab":
        assert kept[taxon == t].any() == (taxon == t).any()


@settings(max_examples=60, deadline=None)
@given(records, st.integers(1, 15), st.integers(0, 3))
def test_one_a_cell(rows, cell, seed):
    """Every occupied cell of a taxon keeps exactly one record."""
    xy, taxon = arrays(rows)
    kept = thin_to_grid(xy, taxon, cell, seed=seed)
    cells = pd.DataFrame({"c": np.floor(xy[:, 0] / cell), "r": np.floor(xy[:, 1] / cell), "t": taxon})
    assert (cells.assign(k=kept).groupby(["c", "r", "t"])["k"].sum() == 1).all()
    np.testing.assert_array_equal(kept, thin_to_grid(xy, taxon, cell, seed=seed))


def test_a_chain_keeps_its_ends():
    """Five records in a row, each near the next: the crowded inner ones give way, three stay, the most there can be."""
    xy = np.array([[0, 0], [8, 0], [16, 0], [24, 0], [32, 0]], float)
    assert thin(xy, np.zeros(5), 10).tolist() == [True, False, True, False, True]


def test_a_crowd_at_one_place_keeps_one():
    """Many records of one place are one, chosen by the seed."""
    xy = np.zeros((3000, 2))
    kept = [thin(xy, np.zeros(3000), 5, seed=s) for s in (0, 0, 1)]
    assert [k.sum() for k in kept] == [1, 1, 1]
    assert (kept[0] == kept[1]).all() and (kept[0] != kept[2]).any()


def test_labels_are_thinned_by_species():
    """Each species sees its own sites; one record stays; values of kept labels stay."""
    xy = np.array([[0, 0], [1, 0], [100, 0]], float)
    labels = sparse.csr_array(np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1]], np.uint8))
    for grid in (False, True):
        kept = thin_labels(xy, labels, 10, grid=grid)
        assert kept.dtype == np.uint8 and kept.sum(axis=0).tolist() == [2, 1, 1]
        assert (kept.toarray() <= labels.toarray()).all()


@pytest.mark.parametrize("grid", [False, True])
def test_thinned_sets_balance(grid):
    """Refused records and emptied events are counted, surveys and lone records stay whole."""
    table = pd.DataFrame(
        {
            "scientificName": ["A b", "A b", "C d", "A b"],
            "eventID": ["1", "2", "2", "3"],
            "x": [4_100_010.0, 4_100_020.0, 4_100_020.0, 4_180_000.0],
            "y": 2_600_010.0,
        }
    )
    found = from_records(table, dataset_id="t")
    thin_set = thinned(found, distance=1000, grid=grid)
    assert summary(thin_set)["read"].tolist() == summary(found)["read"].tolist() == [3, 4]
    rows = thin_set.occurrences["taxonID"].value_counts()
    assert rows.to_dict() == {"a-b": 2, "c-d": 1}
    reasons = thin_set.rejections[thin_set.rejections["table"] == "occurrences"]
    assert reasons["count"].tolist() == [1] and "1000 m" in reasons["reason"].iloc[0]
    plots = from_tables(table.drop_duplicates("eventID"), table, sampling="presence-absence", dataset_id="t")
    assert len(thinned(plots, distance=1e6, grid=grid).occurrences) == 4


def test_bad_calls_are_refused():
    """A distance that is none, places that are none, lengths that differ."""
    for work in (thin, thin_to_grid):
        with pytest.raises(UsageError, match="thins nothing"):
            work(np.zeros((2, 2)), [1, 1], 0)
        with pytest.raises(InputError, match="2 places and 3 taxa"):
            work(np.zeros((2, 2)), [1, 1, 1], 5)
        with pytest.raises(InputError, match="no finite"):
            work(np.full((1, 2), np.nan), [1], 5)
        assert work(np.empty((0, 2)), [], 5).shape == (0,)
