"""From a table of predictors to the columns a classical model is fed: gaps filled and told, values standardised, squared, crossed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Values = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Imputation:
    """Missing values become the median of the sites learnt from, and a 0/1 column says where they were missing."""

    median: Array
    """(predictor,); 0 where nothing was known."""
    known: npt.NDArray[np.bool_]
    """(predictor,): False for a predictor missing at every site learnt from, which counts as 0 everywhere."""
    gappy: npt.NDArray[np.bool_]
    """(predictor,): known, but not at all sites learnt from: those with a 0/1 column."""

    @classmethod
    def learn(cls, values: Values) -> Self:
        """From `values` (site, predictor), not finite = missing."""
        known = np.isfinite(values)
        some: npt.NDArray[np.bool_] = np.any(known, axis=0, keepdims=True)[0]
        median = np.zeros(values.shape[1])
        median[some] = np.nanmedian(np.where(known, values, np.nan)[:, some].astype(np.float64), axis=0)
        return cls(median=median, known=some, gappy=some & ~np.all(known, axis=0, keepdims=True)[0])

    def __call__(self, values: Values) -> Array:
        """(n, predictor + gappy predictors), all finite."""
        there = np.isfinite(values) & self.known
        return np.concatenate([np.where(there, values, self.median), ~there[:, self.gappy]], axis=1, dtype=np.float64)

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """Arrays to be kept; `Imputation(**arrays)` is the same again."""
        return {"median": self.median, "known": self.known, "gappy": self.gappy}


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Polynomial terms of second degree: z, z^2 and where asked z_i z_j of standardised predictors, each standardised again.

    Predictors are first held inside the range learnt from ("clamping", as MaxEnt does; Phillips et al. 2006): a parabola
    says nothing beyond its data.
    """

    low: Array
    high: Array
    mean: Array
    std: Array
    """(predictor,): range, mean and standard deviation learnt from; std 1 where constant."""
    centre: Array
    scale: Array
    """(term,): the same of the terms."""
    pairwise: bool

    @classmethod
    def learn(cls, x: Array, *, pairwise: bool) -> Self:
        """From complete predictors (site, predictor)."""
        std = x.std(axis=0)
        first = cls(
            low=x.min(axis=0),
            high=x.max(axis=0),
            mean=x.mean(axis=0),
            std=np.where(std > 0, std, 1),
            centre=np.zeros(1),
            scale=np.ones(1),
            pairwise=pairwise,
        )
        terms = first(x)
        spread = terms.std(axis=0)
        return cls(**{**vars(first), "centre": terms.mean(axis=0), "scale": np.where(spread > 1e-12, spread, 1)})

    def __call__(self, x: Array) -> Array:
        """(n, term)"""
        z = (np.clip(x, self.low, self.high) - self.mean) / self.std
        i, j = np.triu_indices(z.shape[1], k=1) if self.pairwise else (np.zeros(0, int), np.zeros(0, int))
        return (np.concatenate([z, z**2, z[:, i] * z[:, j]], axis=1) - self.centre) / self.scale

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """Arrays to be kept, all but `pairwise`."""
        return {name: getattr(self, name) for name in ("low", "high", "mean", "std", "centre", "scale")}
