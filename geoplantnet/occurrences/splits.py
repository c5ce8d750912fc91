"""Split events into folds by spatial block, never by row: near plots resemble each other, and a test on neighbours flatters a model."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.errors import OccurrenceError, UsageError


def spatial_blocks(events: pd.DataFrame, size: float = 50_000, folds: int = 5, seed: int = 0) -> npt.NDArray[np.int64]:
    """Fold of every event: int (n,), 0 to folds - 1, in the order of `events`.

    A block is a square of `size` metres, (floor(x / size), floor(y / size)) in the grid's CRS; all events of a block fall in one fold, so events
    of one survey never straddle. The largest block not yet dealt goes to the fold with the fewest events (longest-processing-time rule); `seed`
    settles ties. The result depends on places and counts alone, not on the order of rows. Block cross-validation: Roberts et al. 2017,
    Ecography 40: 913-929.

    Raises UsageError for a bad `size` or `folds`, and OccurrenceError when a coordinate is not finite, an eventID lies in two blocks, or there
    are fewer blocks than folds.
    """
    if size <= 0 or folds < 2:
        raise UsageError(f"blocks of {size} m in {folds} folds make no split; use a positive size and two folds or more")
    x, y = events["x"].to_numpy(float), events["y"].to_numpy(float)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise OccurrenceError("an event has no finite x, y and falls in no block; run quality.check first")
    corners = np.stack([np.floor(x / size), np.floor(y / size)], axis=1).astype(np.int64)
    blocks, block_of, counts = np.unique(corners, axis=0, return_inverse=True, return_counts=True)
    block_of = block_of.reshape(-1)
    straddling = pd.Series(block_of).groupby(events["eventID"].to_numpy()).nunique()
    if (straddling > 1).any():
        raise OccurrenceError(f"event {straddling.index[straddling > 1][0]!r} lies in two blocks; an eventID has one place")
    if len(blocks) < folds:
        raise OccurrenceError(
            f"{len(events)} events fall in {len(blocks)} blocks of {size:g} m, fewer than {folds} folds; use smaller blocks"
        )
    ties = [hashlib.sha256(f"{seed}:{column}:{row}".encode()).hexdigest() for column, row in blocks.tolist()]
    load = [0] * folds
    fold_of_block = np.zeros(len(blocks), np.int64)
    for block in sorted(range(len(blocks)), key=lambda b: (-counts[b], ties[b])):
        fold = min(range(folds), key=lambda f: (load[f], f))
        fold_of_block[block] = fold
        load[fold] += int(counts[block])
    return fold_of_block[block_of]
