"""Spatial blocks: near events are never on two sides of a split."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geoplantnet.errors import OccurrenceError, UsageError
from geoplantnet.occurrences import spatial_blocks

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
