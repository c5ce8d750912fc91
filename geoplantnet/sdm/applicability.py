"""Where a model knows what it talks about: the area of applicability. Predictors of training sites -> DI of any cell.

After Meyer & Pebesma 2021 (https://doi.org/10.1111/2041-210X.13650), section 2.1:

    x'_j  =  w_j (x_j - mean_j) / sd_j              standardised by the training sites, weighted by importance
    DI    =  min over training sites |x' - t'|  /  d    d = mean distance between two training sites
    inside:  DI <= threshold

The threshold is the outlier-removed maximum of the training sites' own DI, taken to the nearest site of *another*
cross-validation fold: min(Q75 + 1.5 IQR, maximum), with linear quantiles, as CAST (>= 0.7.1) does. Inside, the skill
found by that cross-validation may be expected; folds must be those by which it was found.

The local point density counts the training sites within the threshold (Schumacher et al. 2025,
https://doi.org/10.5194/gmd-18-10185-2025).

**Missing values.** A distance is taken over the predictors known of both, its square scaled up by the share of the weight
(sum of w_j^2) they carry. Few predictors always find a near neighbour, so a pair that shares less than half of the weight
is not compared. A cell without any comparable site has DI NaN, and is outside.

Distances are one matrix product a block of cells: 250,000 cells of 30 predictors against 3,000 sites are 45 GFLOP.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from geoplantnet.cubes.modality import Modality
from geoplantnet.errors import InputError, ModelError
from geoplantnet.grid.tile_grid import MetaTile
from geoplantnet.sdm.cells import cell_tables
from geoplantnet.sdm.sites import Float, Integers, Table, columns_of
from geoplantnet.storage import write_beside

Double = npt.NDArray[np.float64]

LEAST_KNOWN = 0.5
"""Share of the weight that two places must both know to be compared."""
_ROWS = 128
"""Cells a block: their distances to thousands of sites stay in cache."""
_SAMPLE = 2000
"""Training sites whose distances to all others are averaged, where there are more."""
_ARRAYS, _FACTS = "applicability.safetensors", "applicability.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Applicability:
    """Dissimilarity to the training sites, in the space of predictors or of latent vectors."""

    names: tuple[str, ...]
    """(predictor,): as `Table.names`; empty where the features are latent vectors."""
    mean: Double
    """(predictor,)"""
    scale: Double
    """(predictor,) standard deviation over the training sites (n - 1)."""
    weights: Double
    """(predictor,) >= 0; 0 for a predictor without spread among the training sites, which no distance can be told by."""
    sites: Float
    """(site, predictor): features of the training sites, in their own units, NaN = missing."""
    distance: float
    """Mean distance between two training sites: the unit of DI."""
    threshold: float
    """Largest DI inside the area of applicability."""
    training_index: Double
    """(site,): DI to the nearest training site of another fold; NaN for sites never held out or without a comparable one."""

    @classmethod
    def fit(cls, features: Table | Float, folds: Integers, weights: npt.ArrayLike | None = None) -> Self:
        """From training sites' features (n, predictor) or latent vectors (n, d), and the fold (n,) that held each out.

        A negative fold: never held out, so known to every fold and without a say in the threshold. `weights` (predictor,)
        are importances, negative ones count as 0; None = 1 each. Only their ratios matter. Raises InputError where lengths
        disagree, weights are not finite, nothing tells sites apart, or no two folds can be compared.
        """
        names, values = _features(features)
        given = np.ones(values.shape[1]) if weights is None else np.asarray(weights, np.float64)
        if folds.shape != (len(values),) or given.shape != (values.shape[1],):
            raise InputError(
                f"features are {values.shape}, folds {folds.shape} and weights {given.shape}; give every site a fold, every predictor a weight"
            )
        if not np.isfinite(given).all():
            raise InputError("weights of predictors must be finite; give 0 to those without a known importance")
        mean, scale = _moments(values)
        kept = np.where(scale > 0, np.maximum(given, 0), 0.0)
        if not kept.any():
            raise InputError("no predictor with a positive weight varies among the training sites; dissimilarity needs at least one")
        kept /= np.sqrt((kept**2).sum())
        known, scaled = _scaled(values, mean, scale, kept)
        distance = _mean_distance(_Reference(known, scaled, kept), known, scaled)
        index = np.full(len(values), np.nan)
        for fold in np.unique(folds[folds >= 0]):
            held = folds == fold
            index[held] = _Reference(known[~held], scaled[~held], kept).nearest(known[held], scaled[held]) / distance
        compared = index[np.isfinite(index)]
        if not compared.size:
            raise InputError(
                f"no training site has a comparable one in another fold ({np.unique(folds).size} folds, {len(values)} sites); "
                "give at least two folds, and predictors that most sites know"
            )
        return cls(
            names=names,
            mean=mean,
            scale=scale,
            weights=kept,
            sites=values,
            distance=distance,
            threshold=outlier_removed_maximum(compared),
            training_index=index,
        )

    def index(self, features: Table | Float) -> Float:
        """DI (n,) of features (n, predictor); NaN where no training site is comparable. Raises ModelError for other predictors."""
        known, scaled = self._own(features)
        return (self._reference.nearest(known, scaled) / self.distance).astype(np.float32)

    def inside(self, features: Table | Float) -> npt.NDArray[np.bool_]:
        """(n,): whether a place lies in the area of applicability; False where DI is NaN."""
        return self.within(self.index(features))

    def within(self, index: Float) -> npt.NDArray[np.bool_]:
        """The same of DI values at hand, in any shape."""
        return index <= np.float32(self.threshold)

    def density(self, features: Table | Float) -> npt.NDArray[np.int32]:
        """Local point density (n,): how many training sites lie within the threshold of a place."""
        known, scaled = self._own(features)
        limit = (self.threshold * self.distance) ** 2
        found = np.zeros(len(scaled), np.int32)
        for rows, squares in self._reference.squares(known, scaled):
            found[rows] = (squares <= limit).sum(axis=1)
        return found

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Commit as a folder of safetensors and JSON."""
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in ("mean", "scale", "weights", "sites", "training_index")}
        facts = {"names": list(self.names), "distance": self.distance, "threshold": self.threshold}
        with write_beside(folder) as temporary:
            temporary.mkdir()
            (temporary / _ARRAYS).write_bytes(safetensors.numpy.save(arrays))
            (temporary / _FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """What `save` wrote. Raises ModelError when the folder holds none."""
        path = Path(folder)
        try:
            facts = json.loads((path / _FACTS).read_text(encoding="utf-8"))
            arrays = safetensors.numpy.load_file(path / _ARRAYS)
            return cls(names=tuple(facts["names"]), distance=float(facts["distance"]), threshold=float(facts["threshold"]), **arrays)
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise ModelError(f"no readable area of applicability at {path} ({error}); fit and save it again") from error

    @cached_property
    def _reference(self) -> _Reference:
        return _Reference(*_scaled(self.sites, self.mean, self.scale, self.weights), self.weights)

    def _own(self, features: Table | Float) -> tuple[npt.NDArray[np.bool_], Double]:
        names, values = _features(features)
        if values.shape[1] != self.mean.size or (names and self.names and names != self.names):
            wanted = ", ".join(self.names) or f"{self.mean.size} features"
            raise ModelError(f"the area of applicability was fitted on {wanted}; it was given {', '.join(names) or values.shape[1]}")
        return _scaled(values, self.mean, self.scale, self.weights)


def outlier_removed_maximum(index: Double) -> float:
    """min(Q75 + 1.5 IQR, maximum) of the training sites' DI: the threshold (Meyer & Pebesma 2021, section 2.1.3)."""
    lower, upper = np.quantile(index, (0.25, 0.75))
    return float(min(upper + 1.5 * (upper - lower), index.max()))


def applicability_of_tile(aoa: Applicability, tile: MetaTile, cube: str | os.PathLike[str], modalities: Sequence[Modality]) -> Float:
    """DI (y, x) float32 of every cell of a tile from its stored cube, NaN = no data. Holds one strip of rows at a time.

    The features of a cell are those `tabulate` gives for its patch. Raises ModelError when `aoa` was fitted on those of other
    modalities, CubeError when the cube lacks one.
    """
    names, _ = columns_of(modalities)
    if aoa.names != names:
        raise ModelError(
            f"the area of applicability was fitted on {', '.join(aoa.names) or 'latent vectors'}; "
            f"these modalities give {', '.join(names)}; fit it on `tabulate` of the same modalities"
        )
    side = tile.grid.cells_per_side
    out = np.empty((side, side), np.float32)
    for rows, table in cell_tables(tile, cube, modalities):
        out[rows] = aoa.index(table).reshape(-1, side)
    return out


class _Reference:
    """Training sites, ready to be compared with: scaled features (site, kept predictor) and which are known."""

    def __init__(self, known: npt.NDArray[np.bool_], scaled: Double, weights: Double) -> None:
        self._use = weights > 0
        self._weight = weights[self._use] ** 2
        self._known, self._scaled = known[:, self._use], scaled[:, self._use]
        self._complete = bool(self._known.all())
        self._double = -2 * self._scaled.T
        self._square_sums = (self._scaled**2).sum(axis=1)
        self._masked = np.concatenate([self._known, self._double.T, self._scaled**2], axis=1).T

    def nearest(self, known: npt.NDArray[np.bool_], scaled: Double) -> Double:
        """Distance (n,) to the nearest site; NaN where none is comparable.

        The product finds the site, its distance is then taken by differences: a training site is at 0 from itself.
        """
        out = np.full(len(scaled), np.nan)
        if not len(self._scaled):
            return out
        for rows, squares in self.squares(known, scaled):
            site = squares.argmin(axis=1)
            both = known[rows][:, self._use] & self._known[site]
            gap = np.where(both, scaled[rows][:, self._use] - self._scaled[site], 0.0)
            with np.errstate(invalid="ignore", divide="ignore"):
                exact = np.sqrt((gap**2).sum(axis=1) * (self._weight.sum() / (both @ self._weight)))
            out[rows] = np.where(np.isfinite(squares[np.arange(len(site)), site]), exact, np.nan)
        return out

    def squares(self, known: npt.NDArray[np.bool_], scaled: Double) -> Iterator[tuple[slice, Double]]:
        """Squared distances (rows, site) of blocks of rows, infinite where a pair is not comparable."""
        for start in range(0, len(scaled), _ROWS):
            rows = slice(start, min(start + _ROWS, len(scaled)))
            seen, x = known[rows][:, self._use], scaled[rows][:, self._use]
            if self._complete and seen.all():
                squares = x @ self._double
                squares += self._square_sums
                squares += (x**2).sum(axis=1)[:, None]
            else:
                squares = np.concatenate([x**2, x, seen], axis=1) @ self._masked
                shared = (seen * self._weight) @ self._known.T
                with np.errstate(invalid="ignore", divide="ignore"):
                    squares *= self._weight.sum() / shared
                squares[shared < LEAST_KNOWN * self._weight.sum()] = np.inf
            yield rows, np.maximum(squares, 0, out=squares)


def _features(features: Table | Float) -> tuple[tuple[str, ...], Float]:
    names, values = (features.names, features.values) if isinstance(features, Table) else ((), features)
    if values.ndim != 2:
        raise InputError(f"features must be (site, predictor), got {values.shape}")
    return names, np.asarray(values, np.float32)


def _moments(values: Float) -> tuple[Double, Double]:
    """Mean and standard deviation (n - 1) of every predictor over the sites that know it; 0, 0 where fewer than two do."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    mean = np.where(known, values, 0).sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
    spread = np.sqrt((np.where(known, values - mean, 0) ** 2).sum(axis=0) / np.maximum(count - 1, 1))
    flat = spread <= 1e-6 * np.abs(mean)  # float32 noise of a constant
    return mean, np.where(flat, 0.0, spread)


def _scaled(values: Float, mean: Double, scale: Double, weights: Double) -> tuple[npt.NDArray[np.bool_], Double]:
    """Which features are known (n, predictor), and their standardised, weighted values, 0 where not known."""
    known = np.isfinite(values)
    return known, np.where(known, (values - mean) * np.divide(weights, scale, out=np.zeros_like(scale), where=scale > 0), 0.0)


def _mean_distance(reference: _Reference, known: npt.NDArray[np.bool_], scaled: Double) -> float:
    """Mean over pairs of sites that can be compared; of a seeded sample of _SAMPLE sites with all others where there are more."""
    n = len(scaled)
    chosen = np.arange(n) if n <= _SAMPLE else np.sort(np.random.default_rng(0).choice(n, _SAMPLE, replace=False))
    total, pairs = 0.0, 0
    for rows, squares in reference.squares(known[chosen], scaled[chosen]):
        squares[np.arange(len(squares)), chosen[rows]] = np.inf  # a site with itself is no pair
        comparable = np.isfinite(squares)
        total += float(np.sqrt(squares, where=comparable, out=np.zeros_like(squares)).sum())
        pairs += int(comparable.sum())
    if not pairs or total == 0:
        raise InputError(f"no two of {n} training sites can be compared; give at least two that differ and know half of the predictors")
    return total / pairs
