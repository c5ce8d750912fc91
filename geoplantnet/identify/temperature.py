"""The temperature of a net: one number its logits are divided by, so that of the answers it is 95% sure of, 95 in 100 are right.

Guo, Pleiss, Sun & Weinberger 2017, On calibration of modern neural networks (ICML), section 4.2. No order of answers changes. `identify.calibration`
does the same for a model of which only the score of its first answer is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax

from geoplantnet.errors import InputError
from geoplantnet.identify.calibration import FEWEST
from geoplantnet.identify.metrics import expected_calibration_error

Floats = npt.NDArray[np.float64]
BOUNDS = (0.02, 50.0)
"""Of a temperature. Logits that are right of all photos would take it to 0, logits that say nothing to infinity."""
FOLDS = 5
"""Of plants, for the figures after; so many plants are needed at least."""


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """What was learnt from held-out photos, and what it changes."""

    temperature: float
    photos: int
    """It was learnt from."""
    ece_before: float
    """Expected calibration error of softmax(logits), as `metrics.expected_calibration_error`."""
    ece_after: float
    """The same of photos the temperature was not learnt from (5 folds)."""
    nll_before: float
    """Mean negative log-likelihood of the true species, nats."""
    nll_after: float
    """The same after, of photos it was not learnt from."""


def probabilities(logits: npt.ArrayLike, temperature: float = 1.0) -> Floats:
    """softmax(logits / temperature) over the last axis."""
    return softmax(np.asarray(logits, float) / temperature, axis=-1)


def negative_log_likelihood(logits: npt.ArrayLike, truth: npt.ArrayLike, temperature: float = 1.0) -> float:
    """Mean over photos of -ln p(true species), nats, of logits (n, species) and truth (n,)."""
    log_p = log_softmax(np.asarray(logits, float) / temperature, axis=1)
    return float(-log_p[np.arange(len(log_p)), np.asarray(truth)].mean())


def best_temperature(logits: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """The temperature within `BOUNDS` of least negative log-likelihood.

    In b = 1 / T it is convex, so its one minimum is where the derivative, mean(sum p z - z_true) with p = softmax(b z), crosses 0.
    """
    z = np.asarray(logits, float)
    z = z - z.max(axis=1, keepdims=True)
    true = z[np.arange(len(z)), np.asarray(truth)]

    def slope(b: float) -> float:
        return float(((softmax(b * z, axis=1) * z).sum(axis=1) - true).mean())

    coldest, hottest = 1 / BOUNDS[0], 1 / BOUNDS[1]
    if slope(hottest) >= 0:
        return BOUNDS[1]
    if slope(coldest) <= 0:
        return BOUNDS[0]
    return float(1 / brentq(slope, hottest, coldest, xtol=1e-10))


def fit_temperature(logits: npt.ArrayLike, truth: npt.ArrayLike, *, groups: npt.ArrayLike | None = None) -> Temperature:
    """The temperature of a net from logits (n, species) of photos it never saw, and their species (n,).

    `groups` (n,) says which photos show one plant: they share a fold, so that the figures after are of other plants. Raises InputError for logits that
    are not finite, for fewer than `calibration.FEWEST` photos, and for shapes that do not fit.
    """
    z, y = np.asarray(logits, float), np.asarray(truth)
    if z.ndim != 2 or y.shape != z.shape[:1] or len(z) < FEWEST or not np.isfinite(z).all():
        raise InputError(f"logits {z.shape} and truth {y.shape}; a temperature is learnt from finite logits of at least {FEWEST} photos")
    group = np.unique(np.arange(len(y)) if groups is None else np.asarray(groups), return_inverse=True)[1]
    fold = np.random.default_rng(0).permutation(group.max() + 1)[group] % FOLDS
    if (np.bincount(fold, minlength=FOLDS) == 0).any():
        raise InputError(f"photos of {group.max() + 1} plants; held-out figures of a temperature need at least {FOLDS}")
    scaled = np.empty_like(z)
    for k in range(FOLDS):
        scaled[fold == k] = z[fold == k] / best_temperature(z[fold != k], y[fold != k])
    return Temperature(
        temperature=best_temperature(z, y),
        photos=len(y),
        ece_before=expected_calibration_error(probabilities(z), y),
        ece_after=expected_calibration_error(probabilities(scaled), y),
        nll_before=negative_log_likelihood(z, y),
        nll_after=negative_log_likelihood(scaled, y),
    )
