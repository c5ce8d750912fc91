"""MaxEnt (Phillips et al. 2006, 2017) on elapid's features, penalties and output scales.

elapid (Anderson 2023) takes its features, penalties and weights from the R package maxnet, and leaves the lasso to glmnet, which
version 1.0.4 does not bring along. Without it elapid falls back on scikit-learn's liblinear and one penalty for all features,
and its maps differ from maxnet's (Bradypus: r .94 to .99, benchmarks/maxent.py). So the lasso is solved here, with maxnet's penalties, and elapid's
fallback can be asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from elapid.config import RegularizationConfig
from elapid.features import MaxentFeatureTransformer, compute_regularization, compute_weights
from elapid.models import estimate_C_from_betas
from joblib import Parallel, delayed
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LogisticRegression

from geoplantnet.errors import ConfigurationError, InputError, did_you_mean
from geoplantnet.sdm.design import Array
from geoplantnet.sdm.examples import BACKGROUND_WEIGHT, Background, ExampleMaker, Examples, cloglog_constant
from geoplantnet.sdm.sites import Float, Integers, Sites
from geoplantnet.sdm.tabular import Arrays, Tabular, part

Penalty = Literal["maxnet", "elapid"]
_PENALTIES = ("maxnet", "elapid")
_NAMES = {"l": "linear", "q": "quadratic", "p": "product", "t": "threshold", "h": "hinge"}
_ALL = "lqpth"
"""Feature classes in the order of elapid's columns."""
_LEAST = 1e-9
"""Of p (1 - p): far from its niche a species has p of 1e-8, and a larger floor would overstate the curvature there and stall."""


def classes_for(records: int) -> str:
    """Feature classes for a number of presences: linear; + quadratic from 10; + hinge from 15; + product from 80
    (Phillips & Dudik 2008). Threshold features are off by default since MaxEnt 3.4 (Phillips et al. 2017).
    """
    return "l" if records < 10 else "lq" if records < 15 else "lqh" if records < 80 else "lqph"


@dataclass(frozen=True, kw_only=True)
class Features:
    """elapid's feature columns, remembered as ranges: features outside the range learnt from are held at its edge."""

    classes: str
    knots: int
    """Knots of hinge and threshold features along each predictor."""
    ranges: Mapping[str, Array]
    """(2, column) lowest and highest value of x ("linear"), x^2 ("quadratic") and x_i x_j ("product")."""

    @classmethod
    def learn(cls, x: Array, *, classes: str, knots: int) -> Features:
        """From complete predictors (site, predictor)."""
        made = _transformer(classes, knots).fit(x)
        ranges = {"linear": np.stack([x.min(axis=0), x.max(axis=0)])}
        for name in ("quadratic", "product"):
            if (one := made.estimators_[name]) is not None:
                ranges[name] = np.stack([one.estimator.data_min_, one.estimator.data_max_])
        return cls(classes=classes, knots=knots, ranges=ranges)

    def __call__(self, x: Array) -> Array:
        """(n, feature)"""
        return self._made().transform(x)

    def of(self, classes: str) -> npt.NDArray[np.bool_]:
        """(feature,) which columns belong to some classes."""
        return np.isin(self._made().feature_names_, [_NAMES[c] for c in classes])

    def labels(self) -> npt.NDArray[np.str_]:
        """(feature,) elapid's name of each column's class."""
        return np.array(self._made().feature_names_)

    def _made(self) -> MaxentFeatureTransformer:
        """The transformer as it was after learning: fitting the ends of a range fits the range."""
        made = _transformer(self.classes, self.knots).fit(self.ranges["linear"])
        for name in ("quadratic", "product"):
            if (one := made.estimators_[name]) is not None:
                one.estimator.fit(self.ranges[name])
        return made


def _transformer(classes: str, knots: int) -> MaxentFeatureTransformer:
    return MaxentFeatureTransformer(feature_types=classes, clamp=True, n_hinge_features=knots, n_threshold_features=knots)


@dataclass(kw_only=True, eq=False)
class MaxEnt(Tabular):
    """One MaxEnt model a species, presences against background, cloglog output: relative suitability, never a probability.

    MaxEnt knows no absences: a plot where the species was found is a presence, any other plot is background, beside the
    `background` of `ExampleMaker`. Sampling effort is an offset (Phillips & Dudik 2008's bias grid). The ranges of features
    are those of all sites learnt from, so that species share them.
    """

    name: ClassVar[str] = "maxent"

    classes: str = "auto"
    """Letters of l, q, p, h, t (linear, quadratic, product, hinge, threshold), or "auto": `classes_for` the records."""
    penalty: Penalty = "maxnet"
    """"maxnet": of every feature by its class, its spread and the number of presences; "elapid": elapid's without glmnet."""
    multiplier: float = 1.0
    """Scales the penalty ("regularisation multiplier"); > 0."""
    knots: int = 10
    background: Background = "both"
    limit: int = 10_000
    """Most background sites of a species, thinned at random (MaxEnt's own default)."""
    seed: int = 0
    n_jobs: int = 1

    features_: Features = field(init=False, repr=False)
    slope_: Array = field(init=False, repr=False)
    """(feature, species)"""
    constant_: Array = field(init=False, repr=False)
    """(species,): MaxEnt's alpha + entropy."""

    def __post_init__(self) -> None:
        if self.classes != "auto" and (not self.classes or set(self.classes) - set(_ALL)):
            raise ConfigurationError(f"classes must be 'auto' or letters of {_ALL}, got {self.classes!r}")
        if self.penalty not in _PENALTIES:
            raise ConfigurationError(
                f"penalty must be {', '.join(_PENALTIES)}, got {self.penalty!r}.{did_you_mean(self.penalty, _PENALTIES)}"
            )
        if not self.multiplier > 0:
            raise ConfigurationError(f"multiplier must be > 0, got {self.multiplier}")

    def _learn(self, sites: Sites, rows: Integers) -> list[int]:
        if self.penalty == "elapid" and sites.effort is not None:
            raise InputError("elapid knows no offset for sampling effort; take penalty 'maxnet', or sites without effort")
        make = ExampleMaker(sites, rows, background=self.background, absences=False, limit=self.limit, seed=self.seed)
        x = self._learn_table(sites, rows)
        count = len(sites.species)
        examples = {k: e for k in range(count) if (e := make.of(k)) is not None}
        wanted = {k: self._classes_of(e) for k, e in examples.items()}
        union = "".join(c for c in _ALL if any(c in w for w in wanted.values())) or "l"
        self.features_ = Features.learn(x, classes=union, knots=self.knots)
        z, labels = self.features_(x), self.features_.labels()
        used = {w: self.features_.of(w) for w in set(wanted.values())}
        fits = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit)(z[np.ix_(e.at, used[wanted[k]])], labels[used[wanted[k]]], e, self.penalty, self.multiplier)
            for k, e in examples.items()
        )
        self.slope_, self.constant_ = np.zeros((z.shape[1], count)), np.zeros(count)
        for k, (slope, constant) in zip(examples, fits):
            self.slope_[used[wanted[k]], k], self.constant_[k] = slope, constant
        unfitted = [k for k in range(count) if k not in examples]
        for k in unfitted:
            self.constant_[k] = np.log(-np.log1p(-make.constant(k)))
        return unfitted

    def _classes_of(self, e: Examples) -> str:
        return classes_for(int(e.present.sum())) if self.classes == "auto" else "".join(c for c in _ALL if c in self.classes)

    def _of_table(self, values: Float) -> npt.NDArray[np.floating]:
        eta = self.features_(self.imputation_(values)) @ self.slope_ + self.constant_
        return -np.expm1(-np.exp(np.minimum(eta, 50)))

    def _state(self) -> tuple[Arrays, dict[str, Any]]:
        arrays, facts = self._table_state()
        ranges = {f"ranges.{k}": v for k, v in self.features_.ranges.items()}
        return {**arrays, **ranges, "slope": self.slope_, "constant": self.constant_}, {**facts, "classes": self.features_.classes}

    def _restore(self, arrays: Mapping[str, npt.NDArray[Any]], facts: dict[str, Any], folder: Path) -> None:
        self._restore_table(arrays, facts)
        self.features_ = Features(classes=facts["classes"], knots=self.knots, ranges=part(arrays, "ranges"))
        self.slope_, self.constant_ = arrays["slope"], arrays["constant"]


def _fit(z: Array, labels: npt.NDArray[np.str_], e: Examples, penalty: Penalty, multiplier: float) -> tuple[Array, float]:
    """Slopes (feature,) and cloglog constant of one species."""
    weight = e.weight * compute_weights(e.present, BACKGROUND_WEIGHT)
    if penalty == "maxnet":
        slope, _ = lasso_logistic(z, e.present, weight, e.offset, e.present.sum() * penalties(z, labels, e.present, multiplier))
    else:
        model = LogisticRegression(
            C=estimate_C_from_betas(multiplier), l1_ratio=1.0, solver="liblinear", tol=2e-6, max_iter=1000, random_state=0
        )
        slope = model.fit(z, e.present, sample_weight=weight).coef_[0]
    return slope, cloglog_constant(z[~e.present] @ slope)


def penalties(z: Array, labels: npt.NDArray[np.str_], present: npt.NDArray[np.bool_], multiplier: float) -> Array:
    """(feature,) maxnet's penalties, by elapid. A single presence has no spread: that of the background stands in."""
    if present.sum() > 1:
        return compute_regularization(present, z, labels, beta_multiplier=multiplier)
    base = RegularizationConfig.linear[1][0]
    return multiplier * np.maximum(0.001 * np.ptp(z, axis=0), base * z.std(axis=0, ddof=1))


def lasso_logistic(
    z: Array, present: npt.NDArray[np.bool_], weight: Array, offset: Array, penalty: Array, *, steps: int = 100, tolerance: float = 1e-9
) -> tuple[Array, float]:
    """Slopes (feature,) and intercept that minimise

        sum_i weight_i (ln(1 + exp(eta_i)) - present_i eta_i) + sum_j penalty_j |b_j|,   eta = z b + b0 + offset,

    by glmnet's way (Friedman, Hastie & Tibshirani 2010, section 3): a weighted least-squares lasso by coordinate descent
    around the present estimate, again and again, the step halved until the value falls. With maxnet's weights and
    `penalty` = number of presences x `penalties` this is the last point of maxnet's path: glmnet divides the loss by the sum
    of weights and the penalty factors by their mean, and maxnet's last lambda undoes both.
    """
    n = len(z)
    moving = (np.ptp(z, axis=0) > 0) & (penalty > 0)
    f, scale, y = z[:, moving], penalty[moving], present.astype(np.float64)

    def value(eta: Array, b: Array) -> float:
        return float(weight @ (np.logaddexp(0, eta) - y * eta) + scale @ np.abs(b))

    b, b0 = np.zeros(scale.size), float(np.log(weight @ y / (weight @ (1 - y))) - np.average(offset, weights=weight))
    eta = b0 + offset
    if not moving.any():
        return np.zeros(z.shape[1]), b0
    now = value(eta, b)
    inner = Lasso(alpha=1 / n, fit_intercept=False, precompute=True, warm_start=True, tol=1e-8, max_iter=10_000, random_state=0)
    for _ in range(steps):
        p = expit(eta)
        curvature = np.maximum(weight * p * (1 - p), _LEAST * weight)
        target = eta - offset + weight * (y - p) / curvature
        mean, middle, root = curvature @ f / curvature.sum(), float(curvature @ target / curvature.sum()), np.sqrt(curvature)
        inner.coef_ = b * scale
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # an inner solution need only be a step down
            inner.fit((f - mean) * root[:, None] / scale, (target - middle) * root)
        towards = inner.coef_ / scale
        ahead = f @ towards + (middle - mean @ towards) + offset
        expected = float((weight * (p - y)) @ (ahead - eta) + scale @ (np.abs(towards) - np.abs(b)))
        length = 1.0
        while (then := value(eta + length * (ahead - eta), b + length * (towards - b))) > now + 1e-4 * length * expected:
            length /= 2
            if length < 1e-8:
                break
        if then > now:
            break
        b, b0, eta = b + length * (towards - b), b0 + length * (middle - float(mean @ towards) - b0), eta + length * (ahead - eta)
        fell, now = now - then, then
        if fell <= tolerance * (1 + abs(now)):
            break
    else:
        warnings.warn(f"MaxEnt's lasso had not settled after {steps} steps ({present.sum()} presences)", ConvergenceWarning, stacklevel=2)
    slope = np.zeros(z.shape[1])
    slope[moving] = b
    return slope, b0
