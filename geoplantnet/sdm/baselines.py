"""What a model must beat: prevalence alone, and location alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.ensemble import RandomForestRegressor

from geoplantnet.errors import InputError
from geoplantnet.sdm.forest import JointForest
from geoplantnet.sdm.sites import Float, Integers, Sites
from geoplantnet.sdm.tabular import Arrays, Classical
from geoplantnet.sdm.trees import Trees


def _learnt_rows(sites: Sites, rows: Integers) -> tuple[Integers, list[int]]:
    """The plots among `rows`, all of them where there are none; and the species found at none of those."""
    plots = sites.plots(rows)
    rows = plots if plots.size else rows
    count = np.asarray(sites.labels[rows].sum(axis=0)).ravel()
    if not count.any():
        raise InputError(f"none of the {rows.size} sites to learn from has a presence; add records or plots")
    return rows, np.flatnonzero(count == 0).tolist()


def _positions(sites: Sites, rows: Integers) -> Float:
    xy = sites.xy[rows].astype(np.float32)
    if not np.isfinite(xy).all():
        raise InputError(f"{(~np.isfinite(xy)).any(axis=1).sum()} sites have no position; leave them out")
    return xy


@dataclass(kw_only=True, eq=False)
class Prevalence(Classical):
    """Every place gets each species' share of the plots learnt from; of all sites where there are no plots."""

    name: ClassVar[str] = "prevalence"
    needs_predictors: ClassVar[bool] = False

    prevalence_: Float = field(init=False, repr=False)
    """(species,)"""

    def _learn(self, sites: Sites, rows: Integers) -> list[int]:
        rows, unfitted = _learnt_rows(sites, rows)
        self.prevalence_ = sites.found(rows).mean(axis=0, dtype=np.float64).astype(np.float32)
        return unfitted

    def _suitability(self, sites: Sites, rows: Integers) -> npt.NDArray[np.floating]:
        return np.tile(self.prevalence_, (rows.size, 1))

    def _state(self) -> tuple[Arrays, dict[str, Any]]:
        return {"prevalence": self.prevalence_}, {}

    def _restore(self, arrays: Mapping[str, npt.NDArray[Any]], facts: dict[str, Any], folder: Path) -> None:
        self.prevalence_ = arrays["prevalence"]


@dataclass(kw_only=True, eq=False)
class LocationOnly(Classical):
    """A forest on easting and northing: what being near known plots explains, without any environment.

    Learns from plots; from all sites, those of other species standing for absences, where there are no plots.
    """

    name: ClassVar[str] = "location-only"
    needs_predictors: ClassVar[bool] = False

    trees: int = 200
    leaf: int = 5
    seed: int = 0
    n_jobs: int = 1

    forest_: JointForest = field(init=False, repr=False)

    def _learn(self, sites: Sites, rows: Integers) -> list[int]:
        rows, unfitted = _learnt_rows(sites, rows)
        xy = _positions(sites, rows)
        forest = RandomForestRegressor(n_estimators=self.trees, min_samples_leaf=self.leaf, random_state=self.seed, n_jobs=self.n_jobs)
        labels = sparse.csr_array(sites.labels[rows])
        y = labels.toarray()
        forest.fit(xy, y if y.shape[1] > 1 else y.ravel())
        self.forest_ = JointForest.of(Trees.of(forest.estimators_), forest.estimators_samples_, xy, labels)
        return unfitted

    def _suitability(self, sites: Sites, rows: Integers) -> npt.NDArray[np.floating]:
        return self.forest_.predict(_positions(sites, rows))

    def _state(self) -> tuple[Arrays, dict[str, Any]]:
        return self.forest_.state(), {}

    def _restore(self, arrays: Mapping[str, npt.NDArray[Any]], facts: dict[str, Any], folder: Path) -> None:
        self.forest_ = JointForest.restore(arrays)
