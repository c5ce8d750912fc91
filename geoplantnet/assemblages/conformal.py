"""Species sets that hold a stated share of the species present: conformal risk control.

A set {p > threshold} misses at plot i the share

    L_i(threshold) = |{present species with p <= threshold}| / |{present species}|

of its species (the false negative rate), which lies in [0, 1] and only grows with the threshold. Conformal risk control
(Angelopoulos, Bates, Fisch, Lei & Schuster 2024, ICLR, arXiv:2208.02814, equation 4 and theorem 1) takes the largest
threshold with

    (sum of L_i over n calibration units + 1) / (n + 1)  <=  1 - coverage,

and then a new unit exchangeable with them is expected to miss no more than 1 - coverage, for any model, any
distribution and any n; and hardly less: at least 1 - coverage - 2 / (n + 1), where probabilities do not tie (theorem 2).

**Plots or blocks.** Plots near each other resemble each other, and plots of a new region do not. With `groups` the unit
is a spatial block and its loss the mean over its plots, as bounded and as monotone: the promise is then for the mean
over the plots of a *new block*, and n is the number of blocks (one level of the two of Dunn, Wasserman & Ramdas 2023,
J. Am. Stat. Assoc. 118, arXiv:1809.07441).

**What breaks it.** The promise is an average over new units, not one for every plot or every species, and counts only
species of the list. It needs calibration plots the model was not fitted or tuned on: fold-out predictions come from the
folds' models, so for a model refitted on all plots it holds nearly, not exactly. It falls with exchangeability: in another
climate, biogeographic region, plot area, season or survey protocol nothing is promised; blocks as far from the training
data as the map's cells are the nearest thing to a remedy, and outside the area of applicability there is none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError, UsageError

_ROUNDING = 1e-9
"""Risk forgiven to floating point."""


@dataclass(frozen=True, kw_only=True)
class ConformalThreshold:
    """A threshold with a promise: {p > threshold} is expected to hold `coverage` of the species present at a new unit."""

    threshold: float
    """To be compared with as `sets.above` does. Below 0 where only the set of all species keeps the promise."""
    coverage: float
    """Promised expected share of the species present, in (0, 1)."""
    units: int
    """Exchangeable units it rests on: plots, or blocks of plots."""
    empty_plots: int
    """Calibration plots without any species: they have nothing to miss and were left out."""

    def to_dict(self) -> dict[str, float | int]:
        """JSON-able."""
        return asdict(self)


def conformal_threshold(
    p: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    *,
    coverage: float = 0.9,
    groups: npt.NDArray[np.integer] | None = None,
) -> ConformalThreshold:
    """The largest threshold whose sets are expected to hold `coverage` of the species present (see the module).

    `p` and `labels` (plot, species) of calibration plots; `groups` (plot,) the block of each, None when plots are the units.
    Keep the dtype of `p` where the threshold is used: it is the number just below a probability. Raises UsageError
    for a coverage outside (0, 1); InputError when shapes differ, a present species has no probability, or there are
    fewer than coverage / (1 - coverage) units, with which not even sets of all species come with the promise.
    """
    if not 0 < coverage < 1:
        raise UsageError(f"coverage {coverage} is no share in (0, 1); ask for 0.9")
    if p.ndim != 2 or p.shape != labels.shape or (groups is not None and groups.shape != p.shape[:1]):
        raise InputError(f"probabilities {p.shape}, labels {labels.shape} and groups are not of the same (plot, species)")
    present = labels > 0
    found = present.sum(axis=1)
    kept = np.flatnonzero(found)
    _, unit = np.unique(kept if groups is None else groups[kept], return_inverse=True)
    size = np.bincount(unit)
    allowed = (1 - coverage) * (size.size + 1) - 1
    if allowed < -_ROUNDING:
        needed = int(np.ceil(coverage / (1 - coverage) - _ROUNDING))
        what = "plots with species" if groups is None else "blocks with species"
        raise InputError(f"{size.size} {what} cannot promise a coverage of {coverage:g}: it takes {needed}; give more, or ask for less")
    row, column = np.nonzero(present[kept])
    value = p[kept[row], column]
    if np.isnan(value).any():
        raise InputError("a species present at a calibration plot has no probability there; predict every plot before calibrating")
    loss = 1 / (found[kept[row]] * size[unit[row]])
    order = np.argsort(value, kind="stable")
    missed = np.cumsum(loss[order])
    first_too_many = value[order][np.searchsorted(missed, allowed + _ROUNDING, side="right")]
    return ConformalThreshold(
        threshold=float(np.nextafter(first_too_many, p.dtype.type(-np.inf))),
        coverage=coverage,
        units=int(size.size),
        empty_plots=len(p) - kept.size,
    )
