"""Random maximum margin hashing: features -> binary codes whose Hamming distance follows the angle between features.

Joly & Buisson 2011, Random maximum margin hashing, CVPR, section 3: each bit is the side of the hyperplane that parts, with the
largest margin, two halves of M points drawn at random. Bits are independent by their draws, so that longer codes go on gaining.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError

M = 32
"""Points a hyperplane parts (Joly & Buisson 2011, section 5.1)."""
COST = 100.0
"""Of a point on the wrong side. So few points in so many dimensions part without any: a high cost is a hard margin."""
_DRAWS = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Hashing:
    """Hyperplanes that turn features into codes."""

    planes: npt.NDArray[np.float32]
    """(bits, d): normals, of length 1."""
    offsets: npt.NDArray[np.float32]
    """(bits,): a bit is set where planes @ feature + offset > 0."""

    def __post_init__(self) -> None:
        if self.planes.ndim != 2 or self.offsets.shape != self.planes.shape[:1] or len(self.planes) % 8 or not len(self.planes):
            raise InputError(
                f"planes {self.planes.shape} and offsets {self.offsets.shape} are no hashing; (bits, d) and (bits,) with bits a multiple of 8 were expected"
            )
        if not (np.isfinite(self.planes).all() and np.isfinite(self.offsets).all()):
            raise InputError("planes or offsets of a hashing are not finite; learn it again")

    @property
    def bits(self) -> int:
        return len(self.planes)

    @property
    def dimensions(self) -> int:
        """Of the features it takes."""
        return int(self.planes.shape[1])

    def codes(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
        """Unit features (n, d) -> (n, bits / 8), first bit highest."""
        return np.packbits(features.astype(np.float32, copy=False) @ self.planes.T + self.offsets > 0, axis=1)


def fit_rmmh(features: npt.NDArray[np.floating], *, bits: int = 256, m: int = M, seed: int = 0) -> Hashing:
    """Learn a hashing from features (n, d), any length. The same seed and features give the same.

    Raises InputError for fewer than m features, or such that are all alike.
    """
    from sklearn.svm import SVC

    unit = unit_features(features)
    _check(bits, m, unit)
    rng = np.random.default_rng(seed)
    side = np.repeat([-1, 1], m // 2)
    planes, offsets = np.empty((bits, unit.shape[1]), np.float32), np.empty(bits, np.float32)
    for bit in range(bits):
        for _ in range(_DRAWS):
            drawn = unit[rng.choice(len(unit), m, replace=False)]
            machine = SVC(kernel="linear", C=COST).fit(drawn, side)
            normal = machine.coef_[0]
            length = float(np.linalg.norm(normal))
            if length > 1e-6:  # halves of equal points are parted by nothing
                break
        else:
            raise InputError(f"{_DRAWS} draws of {m} features could not be parted: are the {len(unit)} features given all alike?")
        planes[bit], offsets[bit] = normal / length, machine.intercept_[0] / length
    return Hashing(planes=planes, offsets=offsets)


def fit_hyperplanes(features: npt.NDArray[np.floating], *, bits: int = 256, seed: int = 0) -> Hashing:
    """Random hyperplanes through the mean of features (Charikar 2002, STOC, section 3, centred): what `fit_rmmh` is measured against."""
    unit = unit_features(features)
    _check(bits, 2, unit)
    planes = np.random.default_rng(seed).normal(size=(bits, unit.shape[1]))
    planes /= np.linalg.norm(planes, axis=1, keepdims=True)
    return Hashing(planes=planes.astype(np.float32), offsets=(-planes @ unit.mean(axis=0, dtype=np.float64)).astype(np.float32))


def unit_features(features: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Features (n, d) scaled to length 1. Raises InputError for those that are not finite, or 0 throughout."""
    if features.ndim != 2 or features.shape[1] == 0:
        raise InputError(f"features of shape {features.shape} were given; (n, d) was expected")
    wide = features.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(length[:, 0]) & (length[:, 0] > 0)))
    if len(bad):
        raise InputError(f"{len(bad)} of {len(features)} features are not finite or all 0 (first: row {bad[0]}); leave these images out")
    return (wide / length).astype(np.float32)


def _check(bits: int, m: int, unit: npt.NDArray[np.float32]) -> None:
    if bits < 8 or bits % 8:
        raise InputError(f"{bits} bits were asked for; a multiple of 8 was expected, such as 256")
    if m < 2 or m % 2:
        raise InputError(f"halves of {m} points were asked for; an even number from 2 on was expected, such as {M}")
    if len(unit) < m:
        raise InputError(f"{len(unit)} features are too few to learn a hashing from; at least {m} are needed")
