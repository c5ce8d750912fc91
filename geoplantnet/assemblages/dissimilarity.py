"""How unlike the plots learnt from a cell is, as tiles keep it: in steps of a thousandth of the largest index inside."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]

_STEPS = 1000
"""Steps of stored dissimilarity up to the edge of the area of applicability."""
_FARTHEST, _UNKNOWN = 65_534, 65_535


def inside_of(index: Float | None, threshold: float) -> npt.NDArray[np.bool_] | None:
    """(y, x): whether a cell lies in the area of applicability; False where DI is NaN, None where it is not known of the model."""
    return None if index is None else index <= np.float32(threshold)


def packed(index: Float, threshold: float) -> npt.NDArray[np.uint16]:
    """DI (y, x) in thousandths of the threshold, rounded so that no cell changes sides; 65 thresholds and more are one."""
    inside = index <= np.float32(threshold)
    with np.errstate(invalid="ignore"):
        steps = np.rint(index.astype(np.float64) * (_STEPS / (threshold or 1.0)))
    steps = np.where(inside, np.minimum(steps, _STEPS), np.clip(steps, _STEPS + 1, _FARTHEST))
    return np.where(np.isfinite(index), steps, _UNKNOWN).astype(np.uint16)


def unpacked(stored: npt.NDArray[np.generic], threshold: float) -> Float:
    """Inverse of `packed`, NaN where unknown."""
    index = (stored.astype(np.float64) * ((threshold or 1.0) / _STEPS)).astype(np.float32)
    index[stored == _STEPS] = np.float32(threshold)  # the edge itself, whatever rounding says
    return np.where(stored == _UNKNOWN, np.float32(np.nan), index)
