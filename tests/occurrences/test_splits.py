"""Spatial blocks: near events are never on two sides of a split."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import cdist

from geoplantnet.errors import OccurrenceError, UsageError
from geoplantnet.occurrences import presences_by_fold, region_folds, spatial_blocks, survey_groups, training_rows

SIZE = 50_000
events = st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 4), st.floats(0, 0.999), st.floats(0, 0.999)), min_size=5, max_size=80)


def table(rows):
    return pd.DataFrame(
        {
            "eventID": [f"e{i}" for i in range(len(rows))],
            "x": [(r[0] + r[2]) * SIZE for r in rows],
            "y": [(r[1] + r[3]) * SIZE for r in rows],
        }
    )


def blocks_of(frame):
    return list(zip(np.floor(frame["x"] / SIZE).astype(int), np.floor(frame["y"] / SIZE).astype(int)))


@settings(max_examples=25, deadline=None)
@given(events, st.integers(2, 5), st.integers(0, 3), st.randoms(use_true_random=False))
def test_laws(rows, folds, seed, random):
    """Every event has one fold; a block has one fold; no fold is empty; row order does not matter; the same seed is the same split."""
    frame = table(rows)
    assume(len(set(blocks_of(frame))) >= folds)
    fold = spatial_blocks(frame, SIZE, folds, seed)
    assert fold.shape == (len(frame),) and set(fold) == set(range(folds))
    of_block: dict = {}
    assert all(of_block.setdefault(b, f) == f for b, f in zip(blocks_of(frame), fold.tolist()))
    order = list(range(len(frame)))
    random.shuffle(order)
    np.testing.assert_array_equal(spatial_blocks(frame.iloc[order], SIZE, folds, seed), fold[order])
    np.testing.assert_array_equal(spatial_blocks(frame, SIZE, folds, seed), fold)


@settings(max_examples=25, deadline=None)
@given(events, st.integers(2, 5))
def test_folds_are_balanced(rows, folds):
    """The largest and the smallest fold differ by no more than the largest block."""
    frame = table(rows)
    blocks = blocks_of(frame)
    assume(len(set(blocks)) >= folds)
    sizes = np.bincount(spatial_blocks(frame, SIZE, folds), minlength=folds)
    assert sizes.max() - sizes.min() <= max(blocks.count(b) for b in blocks)


def test_a_survey_does_not_straddle():
    """Rows of one eventID share its fold; an eventID at two places is refused."""
    frame = table([(i, 0, 0.5, 0.5) for i in range(6)] + [(0, 0, 0.5, 0.5)])
    frame.loc[6, "eventID"] = "e0"
    fold = spatial_blocks(frame, SIZE, 3)
    assert fold[6] == fold[0]
    frame.loc[6, "x"] += 5 * SIZE
    with pytest.raises(OccurrenceError, match="'e0' lies in two blocks"):
        spatial_blocks(frame, SIZE, 3)


def test_seed_changes_ties():
    """Blocks of equal size are dealt differently under another seed."""
    frame = table([(i, j, 0.5, 0.5) for i in range(-4, 5) for j in range(5)])
    assert (spatial_blocks(frame, SIZE, 5, seed=1) != spatial_blocks(frame, SIZE, 5, seed=2)).any()


def test_bad_calls_are_refused():
    """Too few blocks, lost coordinates and nonsense sizes are named."""
    frame = table([(0, 0, 0.5, 0.5)] * 10)
    with pytest.raises(OccurrenceError, match="1 blocks of 50000 m, fewer than 5 folds"):
        spatial_blocks(frame)
    with pytest.raises(UsageError, match="no split"):
        spatial_blocks(frame, size=0)
    with pytest.raises(UsageError, match="no split"):
        spatial_blocks(frame, folds=1)
    with pytest.raises(OccurrenceError, match="no finite x, y"):
        spatial_blocks(frame.assign(x=np.nan))


def dealt_by_hand(frame, size, folds, seed):
    """The published rule without surveys, written out: what recipes before this one were split by."""
    block = list(zip(np.floor(frame["x"] / size).astype(int).tolist(), np.floor(frame["y"] / size).astype(int).tolist()))
    tie = {b: hashlib.sha256(f"{seed}:{b[0]}:{b[1]}".encode()).hexdigest() for b in block}
    load, fold = [0] * folds, {}
    for b in sorted(set(block), key=lambda b: (-block.count(b), tie[b])):
        fold[b] = min(range(folds), key=lambda f: (load[f], f))
        load[fold[b]] += block.count(b)
    return [fold[b] for b in block]


@settings(max_examples=25, deadline=None)
@given(events, st.integers(2, 5), st.integers(0, 3))
def test_plain_blocks_are_dealt_as_ever(rows, folds, seed):
    """Without surveys or plots the folds are those of the plain rule."""
    frame = table(rows)
    assume(len(set(blocks_of(frame))) >= folds)
    assert spatial_blocks(frame, SIZE, folds, seed).tolist() == dealt_by_hand(frame, SIZE, folds, seed)


surveyed = st.lists(
    st.tuples(
        st.integers(0, 40), st.integers(0, 12), st.sampled_from(["", "", "", "p", "q", "r"]), st.sampled_from(["d", "e"]), st.booleans()
    ),
    min_size=8,
    max_size=60,
)


def survey_table(rows):
    return pd.DataFrame(
        {
            "eventID": [f"e{i}" for i in range(len(rows))],
            "x": [r[0] * SIZE / 4 for r in rows],
            "y": [r[1] * SIZE / 4 for r in rows],
            "parentEventID": [r[2] for r in rows],
            "datasetID": [r[3] for r in rows],
        }
    )


def joined(frame, within):
    """Which pairs belong together, by brute force."""
    places = frame[["x", "y"]].to_numpy()
    key = list(zip(frame["datasetID"], frame["parentEventID"]))
    same = np.array([[a == b and a[1] != "" for b in key] for a in key])
    return same | (cdist(places, places) <= within)


@settings(max_examples=40, deadline=None)
@given(surveyed, st.sampled_from([0.0, 100.0, SIZE / 4, SIZE / 2]), st.integers(2, 4), st.randoms(use_true_random=False))
def test_surveys_never_straddle(rows, within, folds, random):
    """Events of one parent, or nearer than asked, share a fold; every fold has plots; order of rows does not matter."""
    frame, plots = survey_table(rows), np.array([r[4] for r in rows])
    try:
        fold = spatial_blocks(frame, SIZE, folds, within=within, plots=plots)
    except OccurrenceError as error:
        assert f"fewer than {folds} folds" in str(error)
        return
    for i, j in zip(*np.nonzero(joined(frame, within))):
        assert fold[i] == fold[j]
    assert set(fold[plots]) == set(range(folds))
    order = list(range(len(frame)))
    random.shuffle(order)
    again = spatial_blocks(frame.iloc[order], SIZE, folds, within=within, plots=plots[order])
    np.testing.assert_array_equal(again, fold[order])


@settings(max_examples=40, deadline=None)
@given(surveyed, st.sampled_from([0.0, SIZE / 4]))
def test_groups_are_connected_components(rows, within):
    """The transitive closure by brute force gives the same partition."""
    frame = survey_table(rows)
    reach = joined(frame, within) | np.eye(len(frame), dtype=bool)
    for _ in range(6):
        reach = reach.astype(int) @ reach.astype(int) > 0
    group = survey_groups(frame, within=within)
    np.testing.assert_array_equal(group[:, None] == group[None, :], reach)


def test_folds_are_balanced_by_plots():
    """Records crowd one block, plots are spread: balanced by plots, each fold has two of ten."""
    frame = table([(0, 0, 0.5, 0.5)] * 50 + [(i % 9 - 4, i // 9, 0.5, 0.5) for i in range(10)])
    plots = np.arange(60) >= 50
    assert np.bincount(spatial_blocks(frame, SIZE, 5, plots=plots)[plots]).tolist() == [2] * 5
    with pytest.raises(OccurrenceError, match="50 plots fall in 1 blocks"):
        spatial_blocks(frame, SIZE, 5, plots=~plots)


@settings(max_examples=40, deadline=None)
@given(events, st.floats(0, 2 * SIZE), st.integers(0, 4))
def test_a_dead_zone_is_empty(rows, buffer, fold):
    """Kept are exactly the rows not held out and at least the buffer away from all that are."""
    frame = table(rows)
    xy, held_out = frame[["x", "y"]].to_numpy(), np.arange(len(frame)) % 5 == fold
    away = cdist(xy, xy[held_out]).min(axis=1) if held_out.any() else np.full(len(xy), np.inf)
    expected = ~held_out & (away >= buffer)
    if expected.any():
        np.testing.assert_array_equal(training_rows(xy, held_out, buffer=buffer), expected)
    else:
        with pytest.raises(OccurrenceError, match="use a smaller buffer"):
            training_rows(xy, held_out, buffer=buffer)


def test_regions_are_left_out():
    """A region is a fold, in order of names; a survey goes to one; no name is never held out; one region is no split."""
    places = [(0, ""), (8, "p"), (9, "p"), (20, ""), (30, "q"), (31, "q")]
    frame = survey_table([(x, 0, parent, "d") for x, parent in places])
    fold, names = region_folds(frame, ["Jura", "Alps", "Jura", None, "", "Jura"])
    assert names == ("Alps", "Jura") and fold.tolist() == [1, 0, 0, -1, 1, 1]
    fold, names = region_folds(frame, ["a", "b", "b", "c", "c", "c"], plots=np.array([1, 1, 1, 0, 0, 0], bool))
    assert names == ("a", "b") and fold.tolist() == [0, 1, 1, -1, -1, -1]
    with pytest.raises(OccurrenceError, match=r"1 regions \['a'\]"):
        region_folds(frame, ["a"] * 6)
    with pytest.raises(UsageError, match="5 regions for 6 events"):
        region_folds(frame, ["a"] * 5)


def test_presences_by_fold_are_counted():
    """A species of one record is in one fold; a fold without a class shows a zero; rows of no fold are left out."""
    labels = sparse.csr_array(np.array([[1, 0, 1], [1, 0, 0], [1, 1, 0], [1, 0, 1]], np.uint8))
    assert presences_by_fold(labels, np.array([0, 0, 1, -1])).tolist() == [[2, 0, 1], [1, 1, 0]]


def test_bad_groups_and_masks_are_refused():
    """Negative distances and masks of another length are named."""
    frame = table([(i, 0, 0.5, 0.5) for i in range(5)])
    with pytest.raises(UsageError, match="within -1"):
        spatial_blocks(frame, SIZE, 2, within=-1)
    with pytest.raises(UsageError, match="4 events of 5"):
        spatial_blocks(frame, SIZE, 2, plots=np.ones(4, bool))
    with pytest.raises(UsageError, match="buffer of -1"):
        training_rows(np.zeros((2, 2)), [True, False], buffer=-1)
