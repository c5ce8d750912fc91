"""Calibration of a model's score: of the determinations it gives a score of 0.95, 95 in 100 should be right. Learnt from validated records.

One family of monotone curves, in the log-odds of the score s,

    logit(p) = a ln(s) - b ln(1 - s) + c,    a, b >= 0

holds them all: the score as it is (a = b = 1, c = 0), temperature scaling (a = b = 1 / T, c = 0; Guo et al. 2017, On calibration of modern neural
networks, ICML), Platt scaling (a = b) and beta calibration (Kull, Silva Filho & Flach 2017, AISTATS). The simplest is taken that held-out records
cannot tell from the best.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit

from geoplantnet.errors import InputError
from geoplantnet.identify.records import validate_records
from geoplantnet.storage import write_json

Floats = npt.NDArray[np.float64]
METHODS = ("none", "temperature", "platt", "beta")
"""From the simplest on."""
FEWEST = 50
"""Records below which nothing is learnt."""
_LEAST = 1e-6  # a score of 0 or 1 has no log-odds
_FOLDS = 5
_BINS = 15


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How a model's scores become probabilities, and what held-out records say of it. Raises InputError for a curve that is not monotone."""

    model: str
    """Name and version, as in `ai_model`."""
    records: int
    """It was learnt from."""
    method: str
    """One of `METHODS`."""
    a: float = 1.0
    b: float = 1.0
    c: float = 0.0
    correct: float
    """Share of the records whose determination is right, 0 to 1."""
    ece_before: float
    """Expected calibration error of the scores as they are: mean distance of score and share that is right, over 15 bins of as many records."""
    ece_after: float
    """The same of calibrated scores of records that the curve was not learnt from (5 folds)."""
    log_loss_before: float
    """Mean negative log-likelihood, nats."""
    log_loss_after: float
    """The same after calibration, of held-out records."""

    def __post_init__(self) -> None:
        if self.method not in METHODS or not (self.a >= 0 and self.b >= 0 and np.isfinite([self.a, self.b, self.c]).all()):
            raise InputError(
                f"calibration of {self.model}: {self.method}, a={self.a}, b={self.b}, c={self.c} is no monotone curve; fit it anew"
            )

    def apply(self, score: npt.ArrayLike) -> Floats:
        """Scores (n,) in [0, 1] -> probabilities (n,); NaN stays. Raises InputError for a score outside."""
        return _curve(_scores(score, self.model), (self.a, self.b, self.c)) if self.method != "none" else _scores(score, self.model)


def fit_calibration(model: str, score: npt.ArrayLike, correct: npt.ArrayLike) -> Calibration:
    """The calibration of one model from scores (n,) in [0, 1] and whether each determination was right (n,) bool.

    The simplest of `METHODS` whose log loss on held-out records is within one standard error (of the paired differences) of the least. The order
    of the records means nothing. Raises InputError for fewer than `FEWEST` records, or scores that are NaN or outside.
    """
    s, y = _scores(score, model), np.asarray(correct, bool)
    if s.shape != y.shape or s.ndim != 1:
        raise InputError(f"{model}: {s.shape} scores and {y.shape} outcomes; give one of each a record")
    if len(s) < FEWEST or np.isnan(s).any():
        raise InputError(
            f"{model}: {len(s)} records, {int(np.isnan(s).sum())} without a score; a calibration needs {FEWEST} and all scores"
        )
    order = np.lexsort((y, s))
    s, y = s[order], y[order].astype(float)
    fold = np.arange(len(s)) % _FOLDS  # along the sorted scores: each fold has them all
    held_out = {method: _held_out(method, s, y, fold) for method in METHODS}
    losses = {method: _losses(p, y) for method, p in held_out.items()}
    best = min(METHODS, key=lambda method: (losses[method].mean(), METHODS.index(method)))

    def as_good(method: str) -> bool:
        more = losses[method] - losses[best]
        return bool(more.mean() <= more.std() / np.sqrt(len(more)))

    chosen = next(method for method in METHODS if as_good(method))
    a, b, c = _fit(chosen, s, y)
    return Calibration(
        model=model,
        records=len(s),
        method=chosen,
        a=a,
        b=b,
        c=c,
        correct=float(y.mean()),
        ece_before=calibration_error(s, y),
        ece_after=calibration_error(held_out[chosen], y),
        log_loss_before=float(losses["none"].mean()),
        log_loss_after=float(losses[chosen].mean()),
    )


def calibrate(chunks: Iterable[pd.DataFrame], *, determinations: int = 1) -> dict[str, Calibration]:
    """Every model's calibration from a store's records: those with a valid label of at least so many people's votes, that the model scored too.

    A model with fewer than `FEWEST` of them is left out. Two things such records cannot tell: people tend to validate what is easy, and an observer
    who was shown the model's answer may just repeat it; both make a model look better. Aggregate with ``ai="ignored"`` first, or the model
    confirms itself.
    """
    parts: list[pd.DataFrame] = []
    for records in chunks:
        validate_records(records)
        told = records["valid"] & (records["taxonID"] != "") & (records["determinations"] >= determinations)
        scored = (records["ai_taxonID"] != "") & records["ai_score"].notna()
        rows = records[told & scored]
        parts.append(pd.DataFrame({"model": rows["ai_model"], "score": rows["ai_score"], "correct": rows["taxonID"] == rows["ai_taxonID"]}))
    if not parts:
        return {}
    groups = pd.concat(parts).groupby("model")
    return {str(model): fit_calibration(str(model), rows["score"], rows["correct"]) for model, rows in groups if len(rows) >= FEWEST}


def calibration_error(score: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """Expected calibration error over 15 bins of as many records each (Nixon et al. 2019, Measuring calibration in deep learning): 0 to 1.

    Bins follow the scores; records of one score are never told apart: their outcomes count by their mean.
    """
    s, y = np.asarray(score, float), np.asarray(correct, float)
    inverse = np.unique(s, return_inverse=True)[1]
    y = (np.bincount(inverse, y) / np.bincount(inverse))[inverse]
    gap = (s - y)[np.argsort(s, kind="stable")]
    return float(sum(abs(part.sum()) for part in np.array_split(gap, _BINS)) / max(len(s), 1))


def save_calibrations(calibrations: Mapping[str, Calibration], path: str | os.PathLike[str]) -> Path:
    """Commit them as JSON by model: same calibrations, same bytes."""
    return write_json(path, {model: asdict(calibration) for model, calibration in sorted(calibrations.items())})


def load_calibrations(path: str | os.PathLike[str]) -> dict[str, Calibration]:
    """Inverse of `save_calibrations`. Raises InputError for a file that is none."""
    wanted = {field.name for field in fields(Calibration)}
    try:
        read = json.loads(Path(path).read_text("utf-8"))
        found = {str(model): Calibration(**entry) for model, entry in read.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} holds no calibrations ({error}); write it with save_calibrations: {', '.join(sorted(wanted))}") from error
    for model, calibration in found.items():
        if model != calibration.model:
            raise InputError(f"{path}: the calibration of {calibration.model} stands under {model}; mend the key")
    return found


def _scores(score: npt.ArrayLike, model: str) -> Floats:
    s = np.asarray(score, float)
    if (s < 0).any() or (s > 1).any():
        raise InputError(f"{model}: scores from {np.nanmin(s)} to {np.nanmax(s)} are no probabilities; they lie in [0, 1]")
    return s


def _curve(score: Floats, parameters: tuple[float, float, float]) -> Floats:
    s = np.clip(score, _LEAST, 1 - _LEAST)
    a, b, c = parameters
    return expit(a * np.log(s) - b * np.log1p(-s) + c)


def _fit(method: str, score: Floats, correct: Floats) -> tuple[float, float, float]:
    """Maximum likelihood: a logistic regression, hence one optimum, under a, b >= 0 (bounded, for records that a score parts perfectly)."""
    s = np.clip(score, _LEAST, 1 - _LEAST)
    rise, fall = np.log(s), -np.log1p(-s)
    columns = {
        "none": None,
        "temperature": np.stack([rise + fall], 1),
        "platt": np.stack([rise + fall, np.ones(len(s))], 1),
        "beta": np.stack([rise, fall, np.ones(len(s))], 1),
    }[method]
    if columns is None:
        return 1.0, 1.0, 0.0
    bounds = {"temperature": [(0, 50)], "platt": [(0, 50), (-50, 50)], "beta": [(0, 50), (0, 50), (-50, 50)]}[method]
    start = [1.0] * len(bounds) if method == "temperature" else [1.0] * (len(bounds) - 1) + [0.0]

    def loss(w: Floats) -> tuple[float, Floats]:
        z = columns @ w
        return float(np.mean(np.logaddexp(0, z) - correct * z)), columns.T @ (expit(z) - correct) / len(z)

    w = [float(value) for value in minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13}).x]
    return {"temperature": lambda: (w[0], w[0], 0.0), "platt": lambda: (w[0], w[0], w[1]), "beta": lambda: (w[0], w[1], w[2])}[method]()


def _held_out(method: str, score: Floats, correct: Floats, fold: npt.NDArray[np.intp]) -> Floats:
    """Each record's probability by the curve of the other folds."""
    if method == "none":
        return score
    found = np.empty(len(score))
    for k in range(_FOLDS):
        found[fold == k] = _curve(score[fold == k], _fit(method, score[fold != k], correct[fold != k]))
    return found


def _losses(probability: Floats, correct: Floats) -> Floats:
    p = np.clip(probability, _LEAST, 1 - _LEAST)
    return -(correct * np.log(p) + (1 - correct) * np.log1p(-p))
