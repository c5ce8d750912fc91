"""Split events into folds by spatial block, never by row: near plots resemble each other, and a test on neighbours flatters a model.

How large a block must be is asked in `autocorrelation`. What belongs to one survey is never divided.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from geoplantnet.errors import OccurrenceError, UsageError

NO_REGION = -1
"""Fold of an event in no region: it is never held out."""


def spatial_blocks(
    events: pd.DataFrame,
    size: float = 50_000,
    folds: int = 5,
    seed: int = 0,
    *,
    within: float = 0.0,
    plots: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int64]:
    """Fold of every event: int (n,), 0 to folds - 1, in the order of `events`.

    A block is a square of `size` metres, (floor(x / size), floor(y / size)) in the grid's CRS; all events of a block fall in one fold, and all
    events of one survey (`survey_groups`, `within` metres) in the block of its most south-western event, so surveys never straddle. The largest
    block not yet dealt goes to the fold with the fewest events (longest-processing-time rule); `seed` settles ties. `plots` (n,) says which events
    are counted: folds are then balanced by those, and none is without. The result depends on places and counts alone, not on the order of rows.
    Block cross-validation: Roberts et al. 2017, Ecography 40: 913-929.

    Raises UsageError for a bad `size`, `folds`, `within` or `plots`, and OccurrenceError when a coordinate is not finite, an eventID lies in two
    blocks, or there are fewer blocks (with plots) than folds.
    """
    if size <= 0 or folds < 2:
        raise UsageError(f"blocks of {size} m in {folds} folds make no split; use a positive size and two folds or more")
    counted = np.ones(len(events), bool) if plots is None else _mask(plots, len(events), "plots")
    corners = np.floor(_places(events) / size).astype(np.int64)
    straddling = pd.Series(_distinct(corners)).groupby(events["eventID"].to_numpy()).nunique()
    if (straddling > 1).any():
        raise OccurrenceError(f"event {straddling.index[straddling > 1][0]!r} lies in two blocks; an eventID has one place")
    corners = corners[_first_of_group(events, survey_groups(events, within=within))]
    blocks, block_of, sizes = np.unique(corners, axis=0, return_inverse=True, return_counts=True)
    block_of = block_of.reshape(-1)
    counts = np.bincount(block_of[counted], minlength=len(blocks))
    if (filled := int((counts > 0).sum())) < folds:
        what = f"{len(events)} events" if plots is None else f"{int(counted.sum())} plots"
        raise OccurrenceError(f"{what} fall in {filled} blocks of {size:g} m, fewer than {folds} folds; use smaller blocks")
    ties = [hashlib.sha256(f"{seed}:{column}:{row}".encode()).hexdigest() for column, row in blocks.tolist()]
    load = [(0, 0)] * folds
    fold_of_block = np.zeros(len(blocks), np.int64)
    for block in sorted(range(len(blocks)), key=lambda b: (-counts[b], -sizes[b], ties[b])):
        fold = min(range(folds), key=lambda f: (load[f], f))
        fold_of_block[block] = fold
        load[fold] = (load[fold][0] + int(counts[block]), load[fold][1] + int(sizes[block]))
    return fold_of_block[block_of]


def region_folds(
    events: pd.DataFrame, regions: npt.ArrayLike, *, within: float = 0.0, plots: npt.NDArray[np.bool_] | None = None
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Leave-region-out: (fold (n,), names): the fold is the position of an event's region in `names`, which is sorted.

    `regions` (n,) names the region of each event, "" or missing for none (NO_REGION: always trained on). A survey (`survey_groups`) that lies in
    several goes as a whole to the region of its most south-western event that has one. A region without any of the `plots` (n,) has nothing to be
    tested on and is none. Raises OccurrenceError when fewer than two regions are left, UsageError for another number of regions than events.
    """
    named = pd.Series(np.asarray(regions, object).ravel())
    if len(named) != len(events):
        raise UsageError(f"{len(named)} regions for {len(events)} events; give every event one, in one order")
    region = named.where(named.notna(), "").astype(str).str.strip().to_numpy(object)
    group = survey_groups(events, within=within)
    placed = np.flatnonzero(region != "")
    first = _first_of_group(events.iloc[placed], group[placed])
    of_group = dict(zip(group[placed], region[placed][first]))
    region = np.array([of_group.get(g, "") for g in group], object)
    tested = region if plots is None else region[_mask(plots, len(events), "plots")]
    names = tuple(sorted(set(tested) - {""}))
    if len(names) < 2:
        raise OccurrenceError(f"plots lie in {len(names)} regions {list(names)}; leaving one out needs two or more")
    position = {name: i for i, name in enumerate(names)}
    return np.array([position.get(name, NO_REGION) for name in region], np.int64), names


def training_rows(xy: npt.ArrayLike, held_out: npt.ArrayLike, *, buffer: float = 0.0) -> npt.NDArray[np.bool_]:
    """Rows to train on, bool (n,): those not held out, and no nearer than `buffer` metres to a row that is.

    The dead zone of block cross-validation (Roberts et al. 2017, Ecography 40: 913-929; Valavi et al. 2019, Methods Ecol. Evol. 10: 225-232).
    `xy` (n, 2) metres, `held_out` bool (n,). Raises UsageError for a negative buffer, OccurrenceError when nothing is left.
    """
    places, out = np.asarray(xy, float), np.asarray(held_out, bool)
    if buffer < 0:
        raise UsageError(f"a buffer of {buffer} m is none; use 0 or more")
    kept = ~out
    if buffer > 0 and out.any() and kept.any():
        rest = np.flatnonzero(kept)
        distance, _ = cKDTree(places[out]).query(places[rest])  # no upper bound: its square would vanish for a tiny buffer
        kept[rest[distance < buffer]] = False
    if not kept.any():
        raise OccurrenceError(f"every row is held out or nearer than {buffer:g} m to one that is; use a smaller buffer or more folds")
    return kept


def survey_groups(events: pd.DataFrame, *, within: float = 0.0) -> npt.NDArray[np.int64]:
    """Which survey every event belongs to, int (n,): events joined by a shared eventID, a shared parentEventID of one data set, or
    places no further than `within` metres apart, and by chains of these.

    Groups are numbered by their first event. A large `within` joins all of a dense survey into one. Raises UsageError for a negative `within`,
    OccurrenceError when a coordinate is not finite.
    """
    if within < 0:
        raise UsageError(f"places within {within} m are none; use 0 or more")
    n, places = len(events), _places(events)
    links = [_linked(pd.factorize(events["eventID"].to_numpy(object))[0])]
    if "parentEventID" in events:
        parent = events["parentEventID"].fillna("").astype(str)
        dataset = events["datasetID"].fillna("").astype(str) if "datasetID" in events else pd.Series("", index=events.index)
        code = pd.factorize(pd.MultiIndex.from_arrays([dataset, parent]))[0]
        links.append(_linked(np.where(parent.to_numpy() == "", -1, code)))
    sites, site = np.unique(places, axis=0, return_inverse=True)
    site = site.reshape(-1)
    links.append(_linked(site))
    if within > 0:
        first = np.full(len(sites), n)
        np.minimum.at(first, site, np.arange(n))
        links.append(first[cKDTree(sites).query_pairs(within, output_type="ndarray")])
    pairs = np.concatenate(links)
    graph = sparse.coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return pd.factorize(connected_components(graph, directed=False)[1])[0].astype(np.int64)


def presences_by_fold(labels: sparse.csr_array, fold: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Presences (fold, species): a zero is a species that a fold cannot be tested on, a column sum of one a species of one record.

    `labels` (n, species), `fold` (n,), 0 or more, NO_REGION left out.
    """
    rows = np.flatnonzero(fold >= 0)
    folds = int(fold.max(initial=-1)) + 1
    member = sparse.csr_array((np.ones(rows.size, np.int64), (fold[rows], rows)), shape=(folds, len(fold)))
    return np.asarray((member @ (sparse.csr_array(labels) > 0).astype(np.int64)).toarray(), np.int64)


def _places(events: pd.DataFrame) -> npt.NDArray[np.float64]:
    places = np.stack([events["x"].to_numpy(float), events["y"].to_numpy(float)], axis=1)
    if not np.isfinite(places).all():
        raise OccurrenceError("an event has no finite x, y and falls in no block; run quality.check first")
    return places


def _mask(values: npt.ArrayLike, n: int, name: str) -> npt.NDArray[np.bool_]:
    mask = np.asarray(values, bool).ravel()
    if mask.size != n:
        raise UsageError(f"{name} describes {mask.size} events of {n}; give every event one value, in one order")
    return mask


def _distinct(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def _linked(code: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(pair, 2): every row with the first row of its code; codes below 0 link nothing."""
    rows = np.flatnonzero(code >= 0)
    _, first, of = np.unique(code[rows], return_index=True, return_inverse=True)
    return np.stack([rows[first][of.reshape(-1)], rows], axis=1)


def _first_of_group(events: pd.DataFrame, group: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Row of the most south-western (by y, then x) event of each row's group: the same one in any order of rows."""
    places = _places(events)
    order = np.lexsort((places[:, 0], places[:, 1], group))
    _, first, of = np.unique(group[order], return_index=True, return_inverse=True)
    representative = np.empty(len(group), np.int64)
    representative[order] = order[first][of.reshape(-1)]
    return representative
