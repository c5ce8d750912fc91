"""Thin presence-only records, so that well-visited places count once. Plain arrays in, a mask out.

Two ways: no two kept records of a taxon nearer than a distance (Aiello-Lammens et al. 2015, spThin, Ecography 38: 541-545), or one a cell of a grid.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.spatial import cKDTree

from geoplantnet.errors import InputError, UsageError

Mask = npt.NDArray[np.bool_]


def thin(xy: npt.ArrayLike, taxon: npt.ArrayLike, distance: float, *, seed: int = 0) -> Mask:
    """Records kept, bool (n,): no two of one taxon nearer than `distance` metres, and every other one has a kept record of its taxon nearer.

    `xy` (n, 2) metres; `taxon` (n,): any label, records of different ones do not see each other (one label for all thins a group). Records are
    taken in the order of how many others of their taxon are near, fewest first, ties at random by `seed`: near to the most that can be kept, as
    spThin's repeated removal of the most crowded record. Raises UsageError for a distance that is not positive, InputError for bad places.
    """
    places, code = _checked(xy, taxon, distance, "a distance")
    kept = np.zeros(len(places), bool)
    chance = np.random.default_rng(seed).permutation(len(places))
    for rows in _by_code(code):
        here = places[rows]
        crowd = cKDTree(here).query_ball_point(here, distance, return_length=True)
        _take(here, rows, np.lexsort((chance[rows], crowd)), distance, kept)
    return kept


def thin_to_grid(xy: npt.ArrayLike, taxon: npt.ArrayLike, cell: float, *, seed: int = 0) -> Mask:
    """Records kept, bool (n,): one of each taxon a square cell of `cell` metres, drawn at random by `seed`. Linear in n. Errors as in `thin`."""
    places, code = _checked(xy, taxon, cell, "a cell")
    corner = np.floor(places / cell).astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(places))
    _, first = np.unique(np.column_stack([code, corner])[order], axis=0, return_index=True)
    kept = np.zeros(len(places), bool)
    kept[order[first]] = True
    return kept


def thin_labels(xy: npt.ArrayLike, labels: sparse.csr_array, distance: float, *, grid: bool = False, seed: int = 0) -> sparse.csr_array:
    """Labels (site, species) with each species thinned over its sites at `xy` (site, 2): by `thin`, or by `thin_to_grid` if `grid`."""
    found = sparse.csr_array(labels)
    site = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
    keep = (thin_to_grid if grid else thin)(np.asarray(xy, float)[site], found.indices, distance, seed=seed)
    return sparse.csr_array((found.data[keep], (site[keep], found.indices[keep])), shape=found.shape)


def _checked(xy: npt.ArrayLike, taxon: npt.ArrayLike, metres: float, what: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    places, labels = np.asarray(xy, float).reshape(-1, 2), np.asarray(taxon).ravel()
    if not 0 < metres < np.inf:
        raise UsageError(f"{what} of {metres} m thins nothing; use a positive one")
    if len(places) != len(labels):
        raise InputError(f"{len(places)} places and {len(labels)} taxa do not match; give every record one of each")
    if not np.isfinite(places).all():
        raise InputError("a record has no finite x, y; run quality.check first")
    return places, np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _by_code(code: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    order = np.argsort(code, kind="stable")
    return [rows for rows in np.split(order, np.flatnonzero(np.diff(code[order])) + 1) if rows.size]


def _take(here: npt.NDArray[np.float64], rows: npt.NDArray[np.int64], order: npt.NDArray[np.intp], distance: float, kept: Mask) -> None:
    """Accept in `order` what no accepted record is near to. A square of the distance's side holds four accepted records at most, so a
    record is compared with few, however many share its place.
    """
    squares: dict[tuple[int, int], list[tuple[float, float]]] = {}
    columns = np.floor(here / distance).astype(np.int64).tolist()
    xs, limit = here.tolist(), distance * distance
    for i in order.tolist():
        (x, y), (column, row) = xs[i], columns[i]
        near = (p for c in (column - 1, column, column + 1) for r in (row - 1, row, row + 1) for p in squares.get((c, r), ()))
        if all((x - px) * (x - px) + (y - py) * (y - py) >= limit for px, py in near):
            squares.setdefault((column, row), []).append((x, y))
            kept[rows[i]] = True
