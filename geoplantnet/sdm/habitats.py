"""How much every species speaks for a habitat, learnt from assemblages as the model predicts them.

A map's assemblages are predicted, so what reads a habitat from them learns from predicted ones: those of held-out plots, whose habitat was
told in the field. A multinomial logistic regression on shares q = p / sum p: as they add up to one, its intercepts are part of the
weights, and a habitat's logit is the community-weighted mean of an affinity a species.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from sklearn.linear_model import LogisticRegression

from geoplantnet.errors import InputError, ModelError
from geoplantnet.storage import json_text, write_beside

FOLDER = "habitats"
"""Name of the folder inside a model's."""
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Inverse strengths of the penalty that are tried, on shares times the mean number of species."""
_LEAST_P = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Affinities:
    """What was learnt of habitats."""

    codes: tuple[str, ...]
    """(habitat,): those with enough plots, sorted."""
    weights: npt.NDArray[np.float32]
    """(species, habitat): a habitat's logit is their mean over species, weighted by p."""
    facts: Mapping[str, Any]
    """Plots a habitat, the penalty, and the skill on folds that were not seen."""

    def save(self, folder: Path) -> None:
        """Commit as a folder; the same affinities give the same bytes."""
        with write_beside(folder) as temporary:
            temporary.mkdir()
            (temporary / "affinities.safetensors").write_bytes(safetensors.numpy.save({"weights": np.ascontiguousarray(self.weights)}))
            (temporary / "habitats.json").write_text(json_text({"codes": list(self.codes), **self.facts}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Affinities:
        """What `save` wrote. Raises ModelError when the folder holds none."""
        try:
            facts = json.loads((folder / "habitats.json").read_text(encoding="utf-8"))
            codes = tuple(facts.pop("codes"))
            weights = safetensors.numpy.load_file(folder / "affinities.safetensors")["weights"]
            if weights.shape[1] != len(codes):
                raise ValueError(f"{weights.shape[1]} columns for {len(codes)} habitats")
            return cls(codes=codes, weights=weights, facts=facts)
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
            raise ModelError(f"no readable habitats at {folder} ({error}); make them again with `geoplantnet train`") from error


def learn_affinities(
    p: npt.NDArray[np.floating],
    labels: npt.NDArray[np.object_],
    folds: npt.NDArray[np.integer],
    *,
    blocks: npt.NDArray[np.integer] | None = None,
    minimum_plots: int = 10,
) -> Affinities:
    """Predicted assemblages of held-out plots (plot, species), their habitat ("" = unknown) and fold -> affinities.

    The penalty is the one of least log loss on parts of the plots that were not seen: the folds or, with fewer than three, five parts
    made of whole spatial `blocks` (plot,), or of single plots where these are not known. Skill is told at that penalty: accuracy, whether the
    habitat is among the three likeliest, and the log loss, beside those of always naming the commonest. Raises InputError where fewer
    than two habitats have `minimum_plots` plots.
    """
    kept = require_habitats(labels, minimum_plots)
    rows = np.isin(labels.astype(str), kept) & (p.sum(axis=1) > 0)
    own, y = np.asarray(p[rows], np.float64), np.searchsorted(kept, labels[rows].astype(str))
    size = float(own.sum(axis=1).mean())
    x = own / own.sum(axis=1, keepdims=True) * size
    if np.unique(folds[rows]).size > 2:
        parts, seen = folds[rows], "folds"
    else:
        grouped = np.unique(blocks[rows], return_inverse=True)[1] if blocks is not None else np.arange(len(y))
        parts, seen = grouped % 5, "parts of blocks" if blocks is not None else "parts of plots"
    predicted = {c: _across(x, y, parts, c, kept.size) for c in STRENGTHS}
    losses = {c: float(-np.log(np.maximum(q[np.arange(len(y)), y], _LEAST_P)).mean()) for c, q in predicted.items()}
    best = min(losses, key=lambda c: losses[c])
    model = _fitted(x, y, best)
    weights = np.zeros((p.shape[1], kept.size))
    weights += model.intercept_
    weights += model.coef_.T * size
    q, share = predicted[best], np.bincount(y, minlength=kept.size) / len(y)
    top = np.argsort(-q, axis=1, kind="stable")[:, :3]
    common = np.argsort(-share, kind="stable")[:3]
    facts = {
        "plots": {str(code): int(n) for code, n in zip(kept, np.bincount(y, minlength=kept.size))},
        "scored_on": seen,
        "penalty": best,
        "accuracy": float((top[:, 0] == y).mean()),
        "top3": float((top == y[:, None]).any(axis=1).mean()),
        "log_loss": losses[best],
        "commonest": {
            "accuracy": float((common[0] == y).mean()),
            "top3": float(np.isin(y, common).mean()),
            "log_loss": float(-np.log(share[y]).mean()),
        },
    }
    return Affinities(codes=tuple(str(c) for c in kept), weights=weights.astype(np.float32), facts=facts)


def require_habitats(labels: npt.NDArray[np.object_], minimum_plots: int) -> npt.NDArray[np.str_]:
    """The habitats with so many plots or more, sorted. Raises InputError where fewer than two have."""
    names, counts = np.unique(labels[labels != ""].astype(str), return_counts=True)
    kept = names[counts >= minimum_plots]
    if kept.size < 2:
        raise InputError(
            f"habitats: {kept.size} of {names.size} have {minimum_plots} held-out plots or more ({dict(zip(names.tolist(), counts.tolist()))}); "
            "a map needs two: give more plots with cover, another typology, or lower habitats.minimum_plots"
        )
    return kept


def _fitted(x: npt.NDArray[np.float64], y: npt.NDArray[np.integer], strength: float) -> Any:
    """Coefficients a class, two classes included (scikit-learn then gives one row for both)."""
    model = LogisticRegression(C=strength, max_iter=5000, tol=1e-6).fit(x, y)
    if len(model.classes_) == 2:
        model.coef_, model.intercept_ = (
            np.vstack([-model.coef_, model.coef_]) / 2,
            np.concatenate([-model.intercept_, model.intercept_]) / 2,
        )
    return model


def _across(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.integer], parts: npt.NDArray[np.integer], strength: float, habitats: int
) -> npt.NDArray[np.float64]:
    """Probabilities (plot, habitat) of every part from the others."""
    found = np.zeros((len(y), habitats))
    for part in np.unique(parts):
        own = parts == part
        seen = np.unique(y[~own])
        if seen.size < 2:
            found[own] = np.bincount(y[~own], minlength=habitats) / (~own).sum()
            continue
        model = _fitted(x[~own], y[~own], strength)
        logits = x[own] @ model.coef_.T + model.intercept_
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        found[np.ix_(own, seen)] = odds / odds.sum(axis=1, keepdims=True)
    return found
