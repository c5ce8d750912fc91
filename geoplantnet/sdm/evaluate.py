"""Skill on held-out plots: discrimination (AUC), calibration (ECE), richness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Float = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Skill:
    """Scores of one model on one set of plots."""

    auc: float
    """Mean area under the ROC curve over the scored species and folds; NaN when none could be scored."""
    species: int
    """Species scored: at least `minimum` presences and as many absences among a fold's plots."""
    ece: float
    """Expected calibration error, all plots and species pooled, 15 equal-width bins (Naeini et al. 2015)."""
    brier: float
    """Mean squared error of the probabilities."""
    richness_bias: float
    """(sum of p - observed richness) / observed richness, over all plots."""
    plots: int

    def to_dict(self) -> dict[str, float | int | None]:
        """JSON-able: NaN becomes None."""
        return {k: (None if isinstance(v, float) and not np.isfinite(v) else v) for k, v in asdict(self).items()}


def auc_per_species(p: Float, labels: npt.NDArray[np.uint8], *, minimum: int = 5) -> Float:
    """(species,) AUC by ranks (Mann-Whitney, ties halved); NaN below `minimum` presences or absences."""
    ranks = rankdata(p, axis=0)
    present = labels.sum(axis=0).astype(float)
    absent = len(labels) - present
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = ((ranks * labels).sum(axis=0) - present * (present + 1) / 2) / (present * absent)
    return np.where((present >= minimum) & (absent >= minimum), auc, np.nan)


def expected_calibration_error(p: Float, labels: npt.NDArray[np.uint8], *, bins: int = 15) -> float:
    """Mean |observed frequency - mean probability| over equal-width bins, weighted by their counts."""
    flat, hits = p.ravel().astype(float), labels.ravel().astype(float)
    if not flat.size:
        return float("nan")
    where = np.minimum((flat * bins).astype(int), bins - 1)
    gap = np.bincount(where, hits - flat, minlength=bins)
    return float(np.abs(gap).sum() / flat.size)


def skill(folds: Sequence[tuple[Float, npt.NDArray[np.uint8]]], *, minimum: int = 5) -> Skill:
    """Score held-out folds, each probabilities and presences (plots, species).

    AUC is taken inside each fold and averaged over all scored (fold, species): ranks of different folds' models are not
    compared, which would punish even prevalence for being lower where a species is held out. The rest is pooled.
    """
    within = np.stack([auc_per_species(p, labels, minimum=minimum) for p, labels in folds])
    scored = np.isfinite(within)
    p, labels = (np.concatenate(parts) for parts in zip(*folds))
    observed = float(labels.sum())
    return Skill(
        auc=float(within[scored].mean()) if scored.any() else float("nan"),
        species=int(scored.any(axis=0).sum()),
        ece=expected_calibration_error(p, labels),
        brier=float(((p - labels) ** 2).mean()) if labels.size else float("nan"),
        richness_bias=(float(p.sum()) - observed) / observed if observed else float("nan"),
        plots=len(labels),
    )


def agreement(p: Float, truth: Float) -> dict[str, float]:
    """How predicted probabilities follow known true ones, both (cells, species).

    `pooled` is Pearson's r over all cells and species; `per_species` the median of the species' own r (their maps);
    `mean_error` the mean |p - truth|.
    """
    a, b = p.astype(np.float64), truth.astype(np.float64)
    da, db = a - a.mean(axis=0), b - b.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        own = (da * db).sum(axis=0) / np.sqrt((da**2).sum(axis=0) * (db**2).sum(axis=0))
    own = own[np.isfinite(own)]
    return {
        "pooled": float(np.corrcoef(a.ravel(), b.ravel())[0, 1]),
        "per_species": float(np.median(own)) if own.size else 0.0,
        "mean_error": float(np.abs(a - b).mean()),
    }
