"""How good labels are where the truth is known: accuracy, macro precision and recall, what is kept, with bootstrap intervals.

The measures and the three subsets of observations are those of Lefort et al. 2024 (arXiv:2406.03356, section 4): all, those with two votes or
more, those on which people disagree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError
from geoplantnet.identify.votes.table import NONE, Aggregation, Floats, Integers, Votes

Mask = npt.NDArray[np.bool_]
RESAMPLES = 200
LEVEL = 0.95
"""Of the intervals: percentiles of the bootstrap (Efron & Tibshirani 1993, chapter 13), moved by the difference of the resamples' mean from the
value. Species of one observation are missing in a third of the resamples, which shifts means over species without telling how sure they are."""


def _disagreed(votes: Votes) -> Mask:
    low = np.full(votes.n_observations, votes.n_species, np.int64)
    high = np.full(votes.n_observations, NONE, np.int64)
    np.minimum.at(low, votes.observation, votes.species)
    np.maximum.at(high, votes.observation, votes.species)
    return high > low


SUBSETS: dict[str, Callable[[Votes], Mask]] = {
    "all": lambda votes: np.ones(votes.n_observations, bool),
    "two votes": lambda votes: np.bincount(votes.observation, minlength=votes.n_observations) >= 2,
    "disagreement": _disagreed,
}
"""Votes -> (observation,) which of them to judge on; those whose people named two species or more are `disagreement`."""


@dataclass(frozen=True)
class Figure:
    """A measure and its interval; NaN where there is nothing to measure it on."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All on one set of observations."""

    n: int
    """Observations judged on."""
    accuracy: Figure
    """Share of them whose label is the truth, kept or not; no label is a wrong one."""
    accuracy_kept: Figure
    """Share of those kept (valid) whose label is the truth."""
    precision: Figure
    """Mean over the species that kept labels name: share of these labels that are true."""
    recall: Figure
    """Mean over the species that are there: share of its observations that are kept under its name."""
    kept: Figure
    """Share that is kept."""
    species_kept: Figure
    """Share of the species there of which an observation is kept under its name."""
    poisoned: Figure
    """Share that is kept under a wrong name: what harms a model that learns from the labels."""


MEASURES = tuple(name for name in Scores.__dataclass_fields__ if name != "n")


def scores(found: Aggregation, truth: Integers, on: Mask | None = None, *, resamples: int = RESAMPLES, seed: int = 0) -> Scores:
    """Scores of labels (observation,) against `truth` (observation,), on the observations of `on`.

    Observations are resampled with replacement; the same seed draws the same observations for every strategy. Raises InputError on other shapes.
    """
    drawn = _measured(found, truth, on, resamples, seed)
    return Scores(n=int(len(truth) if on is None else on.sum()), **{name: _figure(values) for name, values in drawn.items()})


def differences(
    found: Aggregation, other: Aggregation, truth: Integers, on: Mask | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Figure]:
    """Each measure of `found` minus that of `other`, on the same resampled observations: an interval without 0 tells them apart."""
    ours, theirs = (_measured(one, truth, on, resamples, seed) for one in (found, other))
    return {name: _figure(ours[name] - theirs[name]) for name in MEASURES}


def _measured(found: Aggregation, truth: Integers, on: Mask | None, resamples: int, seed: int) -> dict[str, Floats]:
    """Each measure (1 + resamples,): first as it is, then of each resample."""
    if found.label.shape != truth.shape or (on is not None and on.shape != truth.shape):
        raise InputError(
            f"labels are {found.label.shape}, truth is {truth.shape}{'' if on is None else f', on is {on.shape}'}; wanted one shape"
        )
    chosen = np.ones(len(truth), bool) if on is None else on
    label, valid, true = found.label[chosen].astype(np.int64), found.valid[chosen], truth[chosen].astype(np.int64)
    right, kept = label == true, valid & (label != NONE)
    k = int(max(true.max(initial=0), label.max(initial=0))) + 1
    rng = np.random.default_rng(seed)
    out = {name: np.full(1 + resamples, np.nan) for name in MEASURES}
    for i in range(1 + resamples if len(true) else 0):
        weight = np.bincount(rng.integers(len(true), size=len(true)), minlength=len(true)).astype(float) if i else np.ones(len(true))
        there = np.bincount(true, weight, k)
        hits = np.bincount(true[right & kept], weight[right & kept], k)
        named = np.bincount(label[kept], weight[kept], k)
        total, n_kept = weight.sum(), weight[kept].sum()
        n_right = weight[right & kept].sum()
        values = {
            "accuracy": weight[right].sum() / total,
            "accuracy_kept": n_right / n_kept if n_kept else np.nan,
            "precision": (hits[named > 0] / named[named > 0]).mean() if n_kept else np.nan,
            "recall": (hits[there > 0] / there[there > 0]).mean(),
            "kept": n_kept / total,
            "species_kept": (hits[there > 0] > 0).mean(),
            "poisoned": (n_kept - n_right) / total,
        }
        for name, value in values.items():
            out[name][i] = value
    return out


def _figure(values: Floats) -> Figure:
    drawn = values[1:][~np.isnan(values[1:])]
    if np.isnan(values[0]) or not len(drawn):
        return Figure(float(values[0]), np.nan, np.nan)
    low, high = values[0] + np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - drawn.mean()
    return Figure(float(values[0]), float(low), float(high))
