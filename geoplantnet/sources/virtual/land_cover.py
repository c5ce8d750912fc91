"""Land cover as shares of classes in each cell, from climate, landform, ice and people: a caricature of an Alpine valley."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from geoplantnet.sources.virtual.noise import Field

GROUND_CLASSES = (
    "glacier",
    "rock",
    "scree",
    "alpine_meadow",
    "shrub",
    "conifer_forest",
    "broadleaf_forest",
    "meadow",
    "cropland",
    "village",
)
"""Classes of the dry part of a cell, in the order of the stack."""
CLASSES = (*GROUND_CLASSES, "water")
"""All land-cover classes; their shares of a cell add up to 1."""

_SHARPNESS = 2.2
"""How pure cells are: scores are multiplied by it before the softmax."""
_LEAST = 0.02
"""Shares below it are dropped."""


def ground_cover(
    *,
    slope: Field,
    warmth: Field,
    summer: Field,
    wetness: Field,
    heat: Field,
    valley: Field,
    ice: Field,
    built: Field,
    tamed: Field,
    patchiness: tuple[Field, Field, Field],
) -> Field:
    """Shares of GROUND_CLASSES in the dry part of each cell: float32 (class, y, x), adding up to 1.

    `warmth` and `summer` are annual and July mean temperature (degrees Celsius); the tree line stands where July has
    about 10 degrees (Koeppen 1919), higher on warm slopes. `valley` (0-1) marks valley floors, `ice` and `built` are
    shares of ground, `tamed` falls from 1 in villages to 0 far from them; `patchiness` are standard normal noise fields.
    """
    first, second, third = patchiness
    local = summer + (heat - np.float32(0.78)) * np.float32(5) + np.float32(0.5) * first
    grows = _sigmoid((local - 9.4) / 0.35)
    gentle = np.exp(-np.square(slope / 15))
    cliff = np.maximum(0, (slope - 39) / 4)
    cold = np.maximum(0, 5.2 - local)
    stony = np.maximum(0, 7.5 - local) * 0.35
    scores = {
        "rock": -1.6 + 1.5 * cliff + 0.9 * cold + 0.5 * stony + 0.4 * second,
        "scree": -1.1 + 0.5 * cold + 0.9 * stony + 1.6 * np.exp(-np.square((slope - 33) / 8)) * _sigmoid((9.0 - local) / 0.7) + 0.8 * third,
        "alpine_meadow": 1.9 - np.square((local - 7.5) / 2.2) - 0.9 * cliff + 0.3 * second,
        "shrub": 1.3 - np.square((local - 9.1) / 0.9) - 0.4 * cliff + 0.9 * third,
        "conifer_forest": -3 + 5.2 * grows - 1.3 * cliff - 1.8 * _sigmoid((warmth - 7.2) / 0.5) + 0.3 * second,
        "broadleaf_forest": -3 + 4.9 * grows * _sigmoid((warmth - 6.6) / 0.5) - 1.3 * cliff - 0.3 * second,
        "meadow": -2.2 + 3.4 * gentle * _sigmoid((local - 8.4) / 0.6) + 1.9 * tamed + 0.9 * third + 0.15 * (wetness - 8),
        "cropland": -2.6 + 6.0 * valley * _sigmoid((warmth - 6.8) / 0.4) + 0.9 * tamed + 0.9 * second,
    }
    scores["meadow"] += 1.5 * gentle * grows
    stack = np.stack([np.asarray(s, np.float32) for s in scores.values()]) * np.float32(_SHARPNESS)
    stack = np.exp(stack - stack.max(0))
    stack *= (1 - ice) * (1 - built) / stack.sum(0)
    shares = np.concatenate([ice[None], stack, ((1 - ice) * built)[None]])
    shares[shares < _LEAST] = 0
    shares /= shares.sum(0)
    return shares.astype(np.float32)


def built_up(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], villages, slope: Field, patchiness: Field) -> Field:  # type: ignore[no-untyped-def]
    """Share of built ground (y, x) around villages; `x` (1, x) and `y` (y, 1) are cell centres, metres."""
    built = np.zeros(slope.shape, np.float32)
    for village in villages:
        reach = 3 * village.radius
        columns = np.flatnonzero(np.abs(x[0] - village.x) < reach)
        rows = np.flatnonzero(np.abs(y[:, 0] - village.y) < reach)
        if len(columns) == 0 or len(rows) == 0:
            continue
        window = np.ix_(rows, columns)
        distance = np.hypot(x[:, columns] - village.x, y[rows] - village.y)
        share = _sigmoid((village.radius * (1 + 0.35 * patchiness[window]) - distance) / 45) * 0.9
        built[window] = np.maximum(built[window], share * np.exp(-np.square(slope[window] / 14)))
    return built


def _sigmoid(x: npt.ArrayLike) -> Field:
    return (1 / (1 + np.exp(-np.clip(np.asarray(x, np.float32), -30, 30)))).astype(np.float32)
