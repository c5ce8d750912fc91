"""How far apart two plots must be to say something new: the range of spatial autocorrelation, which sets the size of blocks.

The empirical variogram of what was found (or of a model's residuals) rises with distance until plots are as different as any two; where it stops
rising is the range. A block narrower than the range leaves test plots correlated with training plots (Roberts et al. 2017, Ecography 40: 913-929);
choosing it from a variogram is Valavi et al. 2019, Methods Ecol. Evol. 10: 225-232.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import eigh
from scipy.optimize import minimize_scalar, nnls
from scipy.spatial.distance import pdist

from geoplantnet.errors import InputError, UsageError

Float = npt.NDArray[np.float64]
FEWEST_PAIRS = 30
"""Lags with fewer pairs are left out (Journel & Huijbregts 1978, Mining Geostatistics)."""
PURE_NUGGET = 0.05
"""A structured share of the sill below this is no autocorrelation that these plots could show."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Variogram:
    """The empirical semivariogram; arrays share the axis `lag`, by rising distance."""

    distance: Float
    """(lag,) mean distance of the pairs, metres."""
    semivariance: Float
    """(lag,) half the mean squared difference of the pairs, summed over variables."""
    pairs: npt.NDArray[np.int64]
    """(lag,)"""
    cutoff: float
    """Pairs further apart than this, metres, were not looked at."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AutocorrelationRange:
    """A fitted variogram: gamma(h) = nugget + (sill - nugget) f(h / range)."""

    range: float
    """Effective range, metres: where the spherical model reaches its sill and the exponential one 95 % of it. Never below the shortest lag
    (which it is where nothing is autocorrelated) nor above the cutoff."""
    low: float
    high: float
    """5th and 95th percentile of the range over random halves of the plots (delete-half jackknife)."""
    model: str
    """spherical | exponential, whichever fits closer."""
    nugget: float
    sill: float
    at_least: bool
    """No sill within the cutoff (a trend over the whole area): the true range is longer, or there is none."""
    variogram: Variogram

    @property
    def structured(self) -> float:
        """Share of the sill that distance explains, 0 to 1."""
        return (self.sill - self.nugget) / self.sill if self.sill > 0 else 0.0


def variogram(
    xy: npt.ArrayLike, values: npt.ArrayLike, *, cutoff: float | None = None, lags: int = 20, points: int = 2000, seed: int = 0
) -> Variogram:
    """Empirical semivariogram (Matheron) of one variable (n,) or of several at once (n, variable), whose semivariances are summed.

    The sum over species (or over all axes of a PCA of them) is the variogram of the community (Wagner 2003, Ecology 84: 1045-1057). `xy` (n, 2)
    metres. `cutoff` defaults to a third of the bounding box's diagonal. Edges of the lags are cutoff (i / lags)^2: fine where the curve rises.
    Pairs at one place say nothing of distance and are left out. More than `points` plots are sampled by `seed`: at most points^2 / 2 pairs.
    Raises InputError for values that are not finite or do not match, and when too few pairs are left.
    """
    places, table = _checked(xy, values)
    return _empirical(places, table, _cutoff(places, cutoff), lags, _sample(len(places), points, seed))


def autocorrelation_range(
    xy: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    cutoff: float | None = None,
    lags: int = 20,
    points: int = 2000,
    repeats: int = 20,
    seed: int = 0,
) -> AutocorrelationRange:
    """Range of spatial autocorrelation of `values`, (n,) or (n, variable): axes of presences (`presence_axes`) or residuals of a model.

    A spherical and an exponential model are fitted to the variogram by least squares with weights N(h) / h^2 (gstat's default: Pebesma 2004,
    Computers & Geosciences 30: 683-691), nugget and partial sill not negative; the range is searched from the shortest lag to the cutoff. The
    rest as in `variogram`. Deterministic for a seed.
    """
    places, table = _checked(xy, values)
    limit = _cutoff(places, cutoff)
    rows = _sample(len(places), points, seed)
    whole = _empirical(places, table, limit, lags, rows)
    best = _fit(whole)
    rng = np.random.default_rng([seed, 1])
    ranges = []
    for _ in range(repeats):
        half = np.sort(rng.choice(rows, size=len(rows) // 2, replace=False))
        try:
            ranges.append(_fit(_empirical(places, table, limit, lags, half)).range)
        except InputError:  # half of very few plots: no pairs to fit
            continue
    low, high = np.percentile(ranges, [5, 95]) if ranges else (whole.distance[0], limit)
    return AutocorrelationRange(
        range=best.range,
        low=float(low),
        high=float(high),
        model=best.model,
        nugget=best.nugget,
        sill=best.nugget + best.partial,
        at_least=best.structured >= PURE_NUGGET and best.range > 0.98 * limit,
        variogram=whole,
    )


def presence_axes(presences: npt.ArrayLike | sparse.sparray | sparse.spmatrix, *, axes: int = 3) -> Float:
    """First principal axes of Hellinger-transformed presences, (site, axis): who grows with whom, as few numbers a site.

    Presences (site, species) become sqrt(1 / number of species of the site) and are centred (Legendre & Gallagher 2001, Oecologia 129: 271-280).
    Axes are by falling variance, which is kept; the largest score of an axis is positive. Takes site^2 numbers of memory: sample first. Raises
    InputError where sites or species are fewer than the axes.
    """
    found = (sparse.csr_array(presences) != 0).astype(np.float64)
    n, axes = found.shape[0], int(axes)
    if min(found.shape) < axes or axes < 1:
        raise InputError(f"{n} sites and {found.shape[1]} species have no {axes} axes; ask for fewer")
    richness = np.maximum(np.asarray(found.sum(axis=1)).ravel(), 1)
    hellinger = sparse.diags_array(1 / np.sqrt(richness)) @ found
    gram = (hellinger @ hellinger.T).toarray()
    mean = gram.mean(axis=0)
    gram += gram.mean() - mean[:, None] - mean[None, :]
    variance, vectors = eigh(gram, subset_by_index=[n - axes, n - 1])
    scores = (vectors * np.sqrt(np.maximum(variance, 0)))[:, ::-1]
    return scores * np.where(scores[np.abs(scores).argmax(axis=0), np.arange(axes)] < 0, -1.0, 1.0)


def presence_range(
    xy: npt.ArrayLike,
    presences: npt.ArrayLike | sparse.sparray | sparse.spmatrix,
    *,
    covariates: npt.ArrayLike | None = None,
    axes: int = 3,
    cutoff: float | None = None,
    points: int = 2000,
    seed: int = 0,
) -> AutocorrelationRange:
    """`autocorrelation_range` of the first axes of presences (site, species) at `xy` (site, 2), on at most `points` sites sampled by `seed`.

    `covariates` (site, k), NaN = missing: the axes' residuals from a quadratic regression on them are looked at. Presences follow climate as far as
    climate reaches, and over an area with a trend have no range; what leaks from training to test plots is what predictors leave unexplained
    (Roberts et al. 2017).
    """
    places, found = np.asarray(xy, float), sparse.csr_array(presences)
    rows = _sample(len(places), points, seed)
    scores = presence_axes(found[rows], axes=min(axes, *found.shape))
    if covariates is not None:
        scores = scores - _regressed(scores, np.asarray(covariates, float).reshape(len(places), -1)[rows])
    return autocorrelation_range(places[rows], scores, cutoff=_cutoff(places, cutoff), points=points, seed=seed)


def block_size(found: AutocorrelationRange, *, smallest: float = 5_000, largest: float = 200_000) -> float:
    """Side of blocks, metres: the range rounded up to whole kilometres, between `smallest` and `largest`. Raises UsageError when these cross."""
    if not 0 < smallest <= largest:
        raise UsageError(f"blocks from {smallest} to {largest} m are none; give 0 < smallest <= largest")
    return float(np.clip(np.ceil(found.range / 1000) * 1000, smallest, largest))


def _regressed(scores: Float, covariates: Float) -> Float:
    """Scores as a quadratic function of standardised covariates says, missing ones at their mean."""
    known = np.isfinite(covariates)
    count = np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, covariates - np.where(known, covariates, 0).sum(axis=0) / count, 0)
    scale = np.sqrt((centred**2).sum(axis=0) / count)
    z = centred / np.where(scale > 0, scale, 1)
    design = np.concatenate([np.ones((len(z), 1)), z, z**2], axis=1)
    return design @ np.linalg.lstsq(design, scores, rcond=None)[0]


@dataclass(frozen=True)
class _Fit:
    loss: float
    range: float
    model: str
    nugget: float
    partial: float

    @property
    def structured(self) -> float:
        sill = self.nugget + self.partial
        return self.partial / sill if sill > 0 else 0.0


def _spherical(h: Float) -> Float:
    return np.where(h < 1, 1.5 * h - 0.5 * h**3, 1.0)


def _exponential(h: Float) -> Float:
    return -np.expm1(-3 * h)


_MODELS = {"spherical": _spherical, "exponential": _exponential}


def _fit(empirical: Variogram) -> _Fit:
    root = np.sqrt(empirical.pairs / empirical.distance**2)
    target = root * empirical.semivariance

    def loss(model: str, reach: float) -> _Fit:
        shape = _MODELS[model](empirical.distance / reach)
        (nugget, partial), error = nnls(np.stack([root, root * shape], axis=1), target)
        return _Fit(error, float(reach), model, float(nugget), float(partial))

    grid = np.geomspace(empirical.distance[0], empirical.cutoff, 60)
    found = []
    for model in _MODELS:
        tried = [loss(model, reach) for reach in grid]
        i = int(np.argmin([t.loss for t in tried]))
        between = grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]
        better = minimize_scalar(lambda reach, m=model: loss(m, reach).loss, bounds=between, method="bounded")
        found += [tried[i], loss(model, float(better.x))]
    best = min(found, key=lambda f: f.loss)
    return best if best.structured >= PURE_NUGGET else _Fit(best.loss, float(empirical.distance[0]), best.model, best.nugget, best.partial)


def _empirical(places: Float, table: Float, cutoff: float, lags: int, rows: npt.NDArray[np.int64]) -> Variogram:
    if lags < 3:
        raise UsageError(f"{lags} lags show no curve; use 3 or more")
    distance = pdist(places[rows])
    near = (distance > 0) & (distance <= cutoff)
    semivariance = pdist(table[rows], "sqeuclidean")[near] / 2
    distance = distance[near]
    edges = cutoff * (np.arange(1, lags) / lags) ** 2
    lag = np.searchsorted(edges, distance)
    pairs = np.bincount(lag, minlength=lags)
    enough = pairs >= FEWEST_PAIRS
    if enough.sum() < 3:
        raise InputError(
            f"{len(rows)} plots have {distance.size} pairs within {cutoff:.0f} m, too few for a variogram; state the size of blocks yourself"
        )
    mean = [np.bincount(lag, weights=w, minlength=lags)[enough] / pairs[enough] for w in (distance, semivariance)]
    return Variogram(distance=mean[0], semivariance=mean[1], pairs=pairs[enough], cutoff=cutoff)


def _checked(xy: npt.ArrayLike, values: npt.ArrayLike) -> tuple[Float, Float]:
    places, table = np.asarray(xy, float), np.asarray(values, float)
    table = table.reshape(len(table), -1)
    if places.ndim != 2 or places.shape[1] != 2 or len(places) != len(table):
        raise InputError(f"places {places.shape} and values {table.shape} do not match; give (n, 2) and (n,) or (n, variable)")
    if not (np.isfinite(places).all() and np.isfinite(table).all()):
        raise InputError("a place or a value is not finite; leave out plots without one")
    return places, table


def _cutoff(places: Float, cutoff: float | None) -> float:
    limit = float(np.hypot(*np.ptp(places, axis=0)) / 3) if cutoff is None and len(places) else float(cutoff or 0)
    if not limit > 0:
        raise InputError("all plots lie at one place, or the cutoff is 0; a variogram needs distances")
    return limit


def _sample(n: int, points: int, seed: int) -> npt.NDArray[np.int64]:
    if n <= points:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, size=points, replace=False)).astype(np.int64)
