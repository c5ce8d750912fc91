"""Where people looked: target-group background and sampling effort. Plain arrays in and out.

Records of a group of taxa sought by the same people in the same way show where any of them would have been recorded (Phillips et al. 2009, Ecol. Appl.
19: 181-197): their sites stand for the background, and their density for the effort.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from geoplantnet.errors import InputError, UsageError

Float = npt.NDArray[np.float64]
REACH = 5.0
"""Bandwidths beyond which a record's kernel (below 4e-6 of its height) is left out."""
_BIN = 0.2
_BATCH = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class TargetGroup:
    """Distinct sites of each group's records; arrays share the axis `site`, by group, then northing, then easting."""

    row: npt.NDArray[np.int64]
    """(site,) the first input row at the site."""
    group: npt.NDArray[np.int64]
    """(site,)"""
    records: npt.NDArray[np.int64]
    """(site,) records there: the site's weight in a background that follows effort."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Effort:
    """Relative sampling effort at sites."""

    log: npt.NDArray[np.float32]
    """(site,) natural log; exp(log) averages 1 over the sites asked."""
    bandwidth: float
    """Standard deviation of the Gaussian kernel, metres."""


def target_group(xy: npt.ArrayLike, records: npt.ArrayLike, group: npt.ArrayLike, *, cell: float = 1.0) -> TargetGroup:
    """Distinct sites of each group, weighted by their number of records.

    `xy` (n, 2) metres; `records` (n,): how many records an input row stands for (for labels (n, species), the row sums), rows of none are no
    sites; `group` (n,) int, below 0 for rows that belong to none (uniform background). Rows of one group in one square of `cell` metres are one
    site. Raises InputError for arrays that do not match, negative counts, or when no record is left.
    """
    places, count, of = _places(xy), np.asarray(records).ravel(), np.asarray(group).ravel()
    if not len(places) == len(count) == len(of):
        raise InputError(f"{len(places)} places, {len(count)} counts and {len(of)} groups do not match; give every row one of each")
    if cell <= 0:
        raise UsageError(f"a cell of {cell} m holds no site; use a positive one")
    if (count < 0).any():
        raise InputError(f"a row stands for {count.min()} records; give counts of 0 or more")
    rows = np.flatnonzero((of >= 0) & (count > 0))
    if not rows.size:
        raise InputError("no row of any group has a record; a target group needs some")
    corner = np.floor(places[rows] / cell).astype(np.int64)
    keys, first, site = np.unique(np.column_stack([of[rows], corner[:, ::-1]]), axis=0, return_index=True, return_inverse=True)
    total = np.bincount(site.reshape(-1), weights=count[rows])
    return TargetGroup(row=rows[first], group=keys[:, 0].astype(np.int64), records=np.rint(total).astype(np.int64))


def effort(
    xy: npt.ArrayLike, at: npt.ArrayLike, *, records: npt.ArrayLike | None = None, bandwidth: float | None = None, floor: float = 0.01
) -> Effort:
    """Log effort at sites `at` (site, 2): Gaussian kernel density of target-group records at `xy` (n, 2), metres, weighted by `records` (n,).

    `bandwidth` (metres) defaults to Scott's rule, n^(-1/6) times the root of the mean variance of x and y, with n = (sum w)^2 / sum w^2. Density at
    a site is raised by `floor` times its mean over the records, so that no place was never visited: without it one far site has an offset of minus
    infinity. Records are gathered in squares of a fifth of the bandwidth at their mean place (error below 1 % of the density). Raises InputError
    for bad arrays or no records, UsageError for a bandwidth or floor that is not positive.
    """
    places, sites = _places(xy), _places(at)
    weight = np.ones(len(places)) if records is None else np.asarray(records, float).ravel()
    if len(weight) != len(places) or not len(places) or not len(sites):
        raise InputError(f"{len(places)} places, {len(weight)} counts, {len(sites)} sites: give at least one, and every place one count")
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
        raise InputError("counts of records must be finite, 0 or more, and not all 0")
    width = scott_bandwidth(places, weight) if bandwidth is None else float(bandwidth)
    if not width > 0 or not floor > 0:
        raise UsageError(f"bandwidth {width} m and floor {floor} must be positive; state a bandwidth where all records share a place")
    centre, mass = _gathered(places, weight, width * _BIN)
    there = float(np.average(_density(centre, mass, centre, width), weights=mass))
    relative = _density(centre, mass, sites, width) / there + floor
    return Effort(log=np.log(relative / relative.mean()).astype(np.float32), bandwidth=width)


def scott_bandwidth(xy: npt.ArrayLike, weight: npt.ArrayLike) -> float:
    """Scott's rule in two dimensions, metres (Scott 1992, Multivariate Density Estimation), with one width for both axes."""
    places, w = np.asarray(xy, float), np.asarray(weight, float)
    spread = np.average((places - np.average(places, axis=0, weights=w)) ** 2, axis=0, weights=w)
    effective = w.sum() ** 2 / (w**2).sum()
    return float(effective ** (-1 / 6) * np.sqrt(spread.mean()))


def _places(xy: npt.ArrayLike) -> Float:
    places = np.asarray(xy, float).reshape(-1, 2)
    if not np.isfinite(places).all():
        raise InputError("a place has no finite x, y; run quality.check first")
    return places


def _gathered(places: Float, weight: Float, cell: float) -> tuple[Float, Float]:
    """Mean place and weight of the records of every occupied square."""
    kept = weight > 0
    _, square = np.unique(np.floor(places[kept] / cell).astype(np.int64), axis=0, return_inverse=True)
    square = square.reshape(-1)
    mass = np.bincount(square, weights=weight[kept]).astype(np.float64)
    centre = [np.bincount(square, weights=weight[kept] * places[kept, i]) / mass for i in (0, 1)]
    return np.stack(centre, axis=1), mass


def _density(centre: Float, mass: Float, at: Float, width: float) -> Float:
    """Sum of kernels of height 1, (site,)."""
    tree, total = cKDTree(centre), np.zeros(len(at))
    for start in range(0, len(at), _BATCH):
        part = cKDTree(at[start : start + _BATCH])
        near = part.sparse_distance_matrix(tree, REACH * width, output_type="ndarray")
        kernel = mass[near["j"]] * np.exp(-0.5 * (near["v"] / width) ** 2)
        total[start : start + _BATCH] = np.bincount(near["i"], weights=kernel, minlength=part.n)
    return total
