"""How good a classifier is, on photos of plants it never saw: by what a photo shows, by species, by fold; and what it makes of what it does not know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import logsumexp

from geoplantnet.errors import InputError
from geoplantnet.identify import metrics
from geoplantnet.identify.classifier.losses import Loss
from geoplantnet.identify.classifier.model import TorchNetwork
from geoplantnet.identify.classifier.train import Begun, Training, fit, predict
from geoplantnet.identify.network import Card, Outputs
from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.identify.temperature import Temperature, fit_temperature, probabilities

ANSWERS = ("top1", "macro_top1", "top5", "macro_top5", "average5", "macro_average5")
"""Columns of the tables that say how often an answer is right, shares; see `metrics.figures`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """What the nets of a cross-validation say of a set: of each photo the one net that learnt from no photo of its plant."""

    photos: PhotoSet
    fold: npt.NDArray[np.intp]
    """(n,): whose net it was."""
    outputs: Outputs
    """Of the n photos, in the order of the set; logits as they come, not divided by a temperature."""
    networks: tuple[TorchNetwork, ...]
    """By fold."""

    @property
    def temperature(self) -> Temperature:
        """One for all folds, and the calibration error before and after it: after by temperatures of the other folds."""
        return fit_temperature(self.outputs.logits, self.photos.labels, groups=self.fold)

    def table(self, groups: Mapping[str, npt.NDArray[np.bool_]] | None = None) -> pd.DataFrame:
        """Figures by group of photos: masks (n,); None: of all photos, and of those of each organ said.

        Columns: photos, species, those of `ANSWERS`, and `spread`: standard deviation of top1 over the folds. Answers are among all species of the list.
        """
        chosen = groups if groups is not None else by_organ(self.photos)
        p = probabilities(self.outputs.logits)
        rows = {}
        for name, mask in chosen.items():
            own = [
                metrics.top_k(p[mask & (self.fold == k)], self.photos.labels[mask & (self.fold == k)]) for k in np.unique(self.fold[mask])
            ]
            rows[name] = _row(p, self.photos.labels, mask) | {"spread": float(np.std(own, ddof=1)) if len(own) > 1 else np.nan}
        return pd.DataFrame.from_dict(rows, orient="index")


def cross_validate(
    photos: PhotoSet,
    training: Training,
    *,
    folds: int = 5,
    seed: int = 0,
    loss: Loss | None = None,
    begun: Begun | None = None,
    on_fold: Callable[[int, Mapping[str, float]], None] = lambda fold, figures: None,
) -> HeldOut:
    """Train a net for each fold of `photos.folds` on the others, and let it tell what it sees in its own. `begun` (`train.begin`) saves most of the time."""
    fold = photos.folds(folds, seed)
    told, networks = [], []
    for k in range(folds):
        fitted = fit(photos.subset(fold != k), training, validation=photos.subset(fold == k), loss=loss, begun=begun)
        assert fitted.validation is not None
        told.append(fitted.validation)
        networks.append(fitted.network)
        on_fold(k, fitted.network.card.figures)
    back = np.argsort(np.concatenate([np.flatnonzero(fold == k) for k in range(folds)]))
    joined = {key: np.concatenate([getattr(o, key) for o in told])[back] for key in ("logits", "features", "organs", "plant")}
    return HeldOut(photos=photos, fold=fold, outputs=Outputs(**joined), networks=tuple(networks))


def evaluate(network: TorchNetwork, photos: PhotoSet, *, told: Outputs | None = None) -> pd.DataFrame:
    """Figures of a trained net on a set it did not learn from: a row of all photos, and one of each organ said.

    Columns: photos, species, those of `ANSWERS`, `ece` and `nll` (nats) with the card's temperature. Photos of a set over another list are matched by
    scientific name. Raises InputError for a set with a species the net does not know.
    """
    found = told if told is not None else predict(network, photos)
    truth = positions(photos, network)
    p = probabilities(found.logits, network.card.temperature)
    rows = {}
    for name, mask in by_organ(photos).items():
        sure = metrics.figures(p[mask], truth[mask], ks=(1,))
        rows[name] = _row(p, truth, mask) | {key: sure[key] for key in ("ece", "nll")}
    return pd.DataFrame.from_dict(rows, orient="index")


def by_species(network: TorchNetwork, photos: PhotoSet, told: Outputs) -> pd.DataFrame:
    """What became of each species' photos: `photos`, share `top1` right, and the species it is `taken_for` most often with the `share` of its photos."""
    truth, first = positions(photos, network), told.logits.argmax(axis=1)
    rows = []
    for i in np.unique(truth):
        own = first[truth == i]
        others = np.bincount(own[own != i], minlength=len(network.species))
        worst = int(others.argmax())
        rows.append(
            {
                "species": network.species[int(i)].scientific_name,
                "photos": len(own),
                "top1": float((own == i).mean()),
                "taken_for": network.species[worst].scientific_name if others[worst] else "",
                "share": float(others[worst] / len(own)),
            }
        )
    return pd.DataFrame(rows).sort_values(["top1", "species"]).reset_index(drop=True)


def positions(photos: PhotoSet, network: TorchNetwork) -> npt.NDArray[np.int64]:
    """(n,): of each photo's species in the net's list. Raises InputError for species the net does not know."""
    if photos.species.hash == network.species.hash:
        return photos.labels
    at = {taxon.scientific_name: i for i, taxon in enumerate(network.species)}
    used = np.unique(photos.labels)
    unknown = [photos.species[int(i)].scientific_name for i in used if photos.species[int(i)].scientific_name not in at]
    if unknown:
        raise InputError(
            f"{len(unknown)} of {len(used)} species of the photos are unknown to {network.card.name} ({unknown[0]} ...); leave their photos out, or train with them"
        )
    there = np.array([at.get(taxon.scientific_name, -1) for taxon in photos.species], np.int64)
    return there[photos.labels]


def by_organ(photos: PhotoSet) -> dict[str, npt.NDArray[np.bool_]]:
    """Masks (n,): of all photos, and of those of each organ that is said of some."""
    organ = photos.table["organ"].to_numpy()
    return {"all": np.ones(len(photos), bool)} | {name: organ == name for name in sorted(set(organ)) if name}


def knowing(told: Outputs, card: Card) -> dict[str, npt.NDArray[np.float64]]:
    """Scores (n,) that are low where a net is shown what it does not know, by name.

    ``plant``: of its head for plants. ``first``: probability of its first answer (Hendrycks & Gimpel 2017). ``energy``: T logsumexp(logits / T)
    (Liu et al. 2020, Energy-based out-of-distribution detection, equation 4; of the sign that knows more where it is greater).
    """
    z = told.logits.astype(float)
    return {
        "plant": told.plant.astype(float),
        "first": probabilities(z, card.temperature).max(axis=1),
        "energy": card.temperature * logsumexp(z / card.temperature, axis=1),
    }


def telling_apart(known: Outputs, unknown: Outputs, card: Card) -> dict[str, metrics.Auroc]:
    """How well each score of `knowing` tells photos that a net can know from others: area under the ROC curve."""
    inside, outside = knowing(known, card), knowing(unknown, card)
    return {name: metrics.auroc(inside[name], outside[name]) for name in inside}


def _row(p: npt.NDArray[np.float64], truth: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Figures of some photos; of fewer than six species five answers are no figure."""
    found = metrics.figures(p[mask], truth[mask], ks=(1, 5))
    return {"photos": float(mask.sum()), "species": float(len(np.unique(truth[mask])))} | {key: found.get(key, np.nan) for key in ANSWERS}
