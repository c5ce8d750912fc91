"""What a model must beat: prevalence alone, and location alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestRegressor

Float = npt.NDArray[np.float32]


class Prevalence:
    """Every place gets each species' share of training plots."""

    def fit(self, xy: Float, labels: npt.NDArray[np.uint8]) -> Prevalence:
        """`labels` (plots, species)."""
        self._prevalence = labels.mean(axis=0, dtype=np.float64).astype(np.float32)
        return self

    def predict(self, xy: Float) -> Float:
        """(n, species)"""
        return np.tile(self._prevalence, (len(xy), 1))


class LocationOnly:
    """A forest on easting and northing: what being near known plots explains, without any environment."""

    def __init__(self, *, trees: int = 200, seed: int = 0) -> None:
        self._forest = RandomForestRegressor(n_estimators=trees, min_samples_leaf=5, random_state=seed, n_jobs=1)

    def fit(self, xy: Float, labels: npt.NDArray[np.uint8]) -> LocationOnly:
        """`xy` (plots, 2) metres, `labels` (plots, species)."""
        self._forest.fit(xy, labels)
        return self

    def predict(self, xy: Float) -> Float:
        """(n, species)"""
        return self._forest.predict(xy).reshape(len(xy), -1).astype(np.float32)
