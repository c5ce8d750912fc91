"""Generalised linear model: logistic regression on quadratic terms, the statistician's baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from scipy.special import expit, logit

from geoplantnet.errors import ConfigurationError
from geoplantnet.sdm.design import Array, Terms
from geoplantnet.sdm.examples import BACKGROUND_WEIGHT, Background, ExampleMaker, Examples, cloglog_constant
from geoplantnet.sdm.sites import Float, Integers, Sites
from geoplantnet.sdm.tabular import Arrays, Tabular, part


@dataclass(kw_only=True, eq=False)
class GLM(Tabular):
    """One penalised logistic regression a species on z, z^2 (and z_i z_j where `pairwise`) of standardised predictors.

    Plots: maximum likelihood of presence and absence. Presence-only: infinitely weighted logistic regression (Fithian &
    Hastie 2013), which fits the inhomogeneous Poisson process as the down-weighted Poisson regression of Renner et al.
    (2015) does; sampling effort is its offset; the output is MaxEnt's cloglog of the fitted intensity. Both: see `ExampleMaker`.
    """

    name: ClassVar[str] = "glm"

    pairwise: bool = False
    """Products of pairs of predictors, too."""
    ridge: float = 1.0
    """Penalty ridge / 2 * sum b^2 on the slopes of standardised terms, beside the log-likelihood of all examples; > 0."""
    background: Background = "both"
    records: float = 1.0
    """Weight of a presence-only record beside plots; 0 = plots alone."""
    seed: int = 0
    n_jobs: int = 1

    terms_: Terms = field(init=False, repr=False)
    slope_: Array = field(init=False, repr=False)
    """(term, species)"""
    intercept_: Array = field(init=False, repr=False)
    """(species,)"""
    link_: str = field(init=False, repr=False)
    """"logit" (plots) or "cloglog" (presence-only)."""

    def __post_init__(self) -> None:
        if not self.ridge > 0:
            raise ConfigurationError(f"ridge must be > 0, got {self.ridge}: without it a species with few records has no estimate")

    def _learn(self, sites: Sites, rows: Integers) -> list[int]:
        make = ExampleMaker(sites, rows, background=self.background, records=self.records, seed=self.seed)
        x = self._learn_table(sites, rows)
        self.terms_ = Terms.learn(x, pairwise=self.pairwise)
        z = self.terms_(x)
        count = len(sites.species)
        self.link_ = "logit" if make.of_plots else "cloglog"
        self.slope_, self.intercept_ = np.zeros((z.shape[1], count)), np.zeros(count)
        examples = {k: e for k in range(count) if (e := make.of(k)) is not None}
        fits = Parallel(n_jobs=self.n_jobs)(delayed(_fit)(z, e, self.ridge) for e in examples.values())
        for k, (slope, intercept) in zip(examples, fits):
            self.slope_[:, k], self.intercept_[k] = slope, intercept
        unfitted = [k for k in range(count) if k not in examples]
        for k in unfitted:
            p = make.constant(k)
            self.intercept_[k] = logit(p) if make.of_plots else np.log(-np.log1p(-p))
        return unfitted

    def _of_table(self, values: Float) -> npt.NDArray[np.floating]:
        eta = self.terms_(self.imputation_(values)) @ self.slope_ + self.intercept_
        return expit(eta) if self.link_ == "logit" else -np.expm1(-np.exp(np.minimum(eta, 50)))

    def _state(self) -> tuple[Arrays, dict[str, Any]]:
        arrays, facts = self._table_state()
        terms = {f"terms.{k}": v for k, v in self.terms_.state().items()}
        return {**arrays, **terms, "slope": self.slope_, "intercept": self.intercept_}, {**facts, "link": self.link_}

    def _restore(self, arrays: Mapping[str, npt.NDArray[Any]], facts: dict[str, Any], folder: Path) -> None:
        self._restore_table(arrays, facts)
        self.terms_ = Terms(**part(arrays, "terms"), pairwise=self.pairwise)
        self.slope_, self.intercept_, self.link_ = arrays["slope"], arrays["intercept"], facts["link"]


def _fit(z: Array, e: Examples, ridge: float) -> tuple[Array, float]:
    """Slopes (term,) and intercept of the link of one species."""
    own = z[e.at]
    if not e.background:
        return logistic_regression(own, e.present, e.weight, e.offset, ridge)
    weight = np.where(e.present, e.weight, BACKGROUND_WEIGHT * e.weight)
    slope, _ = logistic_regression(own, e.present, weight, e.offset, ridge)
    return slope, cloglog_constant(own[~e.present] @ slope)


def logistic_regression(
    z: Array, present: npt.NDArray[np.bool_], weight: Array, offset: Array, ridge: float, *, steps: int = 100, tolerance: float = 1e-10
) -> tuple[Array, float]:
    """Slopes (term,) and intercept that minimise

        sum_i weight_i (ln(1 + exp(eta_i)) - present_i eta_i) + ridge / 2 sum b^2,   eta = z b + b0 + offset,

    by Newton's method with the step halved until the value falls (iteratively reweighted least squares; McCullagh &
    Nelder 1989, section 2.5). Strictly convex for ridge > 0 and both classes, so the answer is one.
    """
    n, terms = z.shape
    design = np.concatenate([z, np.ones((n, 1))], axis=1)
    penalty = np.append(np.full(terms, ridge), 0.0)
    y = present.astype(np.float64)

    def value(b: Array) -> float:
        eta = design @ b + offset
        return float(weight @ (np.logaddexp(0, eta) - y * eta) + 0.5 * penalty @ b**2)

    b = np.append(np.zeros(terms), logit(np.clip(weight @ y / weight.sum(), 1e-12, 1 - 1e-12)) - np.average(offset, weights=weight))
    now = value(b)
    for _ in range(steps):
        p = expit(design @ b + offset)
        gradient = design.T @ (weight * (p - y)) + penalty * b
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design
        curvature[np.diag_indices_from(curvature)] += penalty + 1e-12
        step = np.linalg.solve(curvature, gradient)
        expected, length = float(gradient @ step), 1.0
        while (then := value(b - length * step)) > now - 1e-4 * length * expected and length > 1e-10:
            length /= 2
        if then > now:
            break
        b, now = b - length * step, then
        if expected <= tolerance * (1 + abs(now)):
            break
    return b[:-1], float(b[-1])
