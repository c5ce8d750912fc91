"""Gradient boosted trees by LightGBM (Ke et al. 2017), one booster a species, missing values left to the trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
from scipy.special import expit

from geoplantnet.errors import ConfigurationError, InputError, ModelError
from geoplantnet.sdm.examples import Background, ExampleMaker, Examples
from geoplantnet.sdm.sites import Float, Integers, Sites, tabulate
from geoplantnet.sdm.tabular import Arrays, FromTable

Array = npt.NDArray[np.float64]
_BOOSTERS = "boosters"
_CURVATURES = (1e-3, 1e-1, 1.0)
"""Least sum of second derivatives in a leaf, tried in turn. LightGBM estimates how many sites a leaf has from it, and with
unequal weights may split off an empty leaf and fail (its issue 4739); a larger one rules such splits out."""


@dataclass(kw_only=True, eq=False)
class Boosting(FromTable):
    """Boosted trees with a logistic loss, a booster a species.

    Plots (and records beside them): see `ExampleMaker`; predictions are probabilities. Presence-only: background weighs as
    much as the presences in all (Valavi et al. 2022), sampling effort is the initial score, predictions are
    relative. All columns are left to the trees as they are: NaN goes to the side that fits best.
    """

    name: ClassVar[str] = "boosting"

    rounds: int = 200
    rate: float = 0.05
    leaves: int = 8
    """Most leaves of a tree."""
    smallest: int = 5
    """Fewest examples in a leaf."""
    ridge: float = 1.0
    """L2 penalty on leaf values."""
    feature_share: float = 0.8
    """Share of predictors each tree sees."""
    background: Background = "both"
    records: float = 1.0
    """Weight of a presence-only record beside plots; 0 = plots alone."""
    seed: int = 0
    n_jobs: int = 1

    boosters_: dict[int, lgb.Booster] = field(init=False, repr=False)
    """By position of the species."""
    constant_: Array = field(init=False, repr=False)
    """(species,) logit predicted beside the booster's: all there is where there is none."""

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.leaves < 2 or not self.rate > 0:
            raise ConfigurationError(f"rounds must be >= 1, leaves >= 2 and rate > 0; got {self.rounds}, {self.leaves} and {self.rate}")

    def _learn(self, sites: Sites, rows: Integers) -> list[int]:
        make = ExampleMaker(sites, rows, background=self.background, records=self.records, seed=self.seed)
        table = tabulate(sites.patches, rows)
        if not table.names:
            raise InputError("the sites have no predictors; give them at least one modality")
        self.predictors_ = table.names
        x = np.where(np.isfinite(table.values), table.values, np.nan)
        count = len(sites.species)
        self.boosters_, self.constant_, unfitted = {}, np.zeros(count), []
        for k in range(count):
            if (e := make.of(k)) is None:
                unfitted.append(k)
                p = make.constant(k)
                self.constant_[k] = np.log(p / (1 - p))
            else:
                self.boosters_[k], self.constant_[k] = self._boost(x, e)
        return unfitted

    def _boost(self, x: npt.NDArray[np.float32], e: Examples) -> tuple[lgb.Booster, float]:
        """A booster and the logit it starts from."""
        weight = e.weight.copy()
        if e.background:
            weight[~e.present] *= weight[e.present].sum() / weight[~e.present].sum()
        share = float(weight[e.present].sum() / weight.sum())
        start = float(np.log(share / (1 - share)))
        parameters = {
            "objective": "binary",
            "boost_from_average": False,
            "learning_rate": self.rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.smallest,
            "lambda_l2": self.ridge,
            "feature_fraction": self.feature_share,
            "feature_pre_filter": False,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": self.n_jobs,
            "verbosity": -1,
        }
        for curvature in _CURVATURES:
            parameters["min_sum_hessian_in_leaf"] = curvature
            data = lgb.Dataset(x[e.at], e.present.astype(np.float32), weight=weight, init_score=start + e.offset, params=parameters)
            try:
                grown = lgb.train(parameters, data, num_boost_round=self.rounds)
            except lgb.basic.LightGBMError as error:
                failed = error
            else:
                return lgb.Booster(model_str=grown.model_to_string()), start
        raise ModelError(f"LightGBM cannot fit {int(e.present.sum())} presences among {e.at.size} sites: {failed}") from failed

    def _of_table(self, values: Float) -> npt.NDArray[np.floating]:
        x = np.where(np.isfinite(values), values, np.nan)
        logits = np.tile(self.constant_, (len(x), 1))
        for k, booster in self.boosters_.items():
            logits[:, k] += booster.predict(x, raw_score=True, num_threads=self.n_jobs)
        return expit(logits)

    def _state(self) -> tuple[Arrays, dict[str, Any]]:
        return {"constant": self.constant_}, {"predictors": self.predictors_, "boosted": sorted(self.boosters_)}

    def _write(self, folder: Path) -> None:
        (folder / _BOOSTERS).mkdir()
        for k, booster in self.boosters_.items():
            (folder / _BOOSTERS / f"{k}.txt").write_text(booster.model_to_string(), encoding="utf-8")

    def _restore(self, arrays: Mapping[str, npt.NDArray[Any]], facts: dict[str, Any], folder: Path) -> None:
        self.predictors_, self.constant_ = tuple(facts["predictors"]), arrays["constant"]
        texts = {k: (folder / _BOOSTERS / f"{k}.txt").read_text(encoding="utf-8") for k in facts["boosted"]}
        try:
            self.boosters_ = {k: lgb.Booster(model_str=text) for k, text in texts.items()}
        except lgb.basic.LightGBMError as error:
            raise ValueError(str(error)) from error
