"""Held-out figures of a way of training: a net for each fold, and every photo judged by the one that never saw its plant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.identify import metrics
from geoplantnet.identify.classifier.losses import Loss
from geoplantnet.identify.classifier.model import TorchNetwork
from geoplantnet.identify.classifier.train import Begun, Training, fit
from geoplantnet.identify.evaluation import by_organ, joined, row
from geoplantnet.identify.network import Outputs
from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.identify.temperature import Temperature, fit_temperature, probabilities


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
        """One for all folds, and the calibration error before and after it: after by temperatures learnt from other plants."""
        return fit_temperature(self.outputs.logits, self.photos.labels, groups=self.photos.table["observation"].to_numpy())

    def table(self, groups: Mapping[str, npt.NDArray[np.bool_]] | None = None) -> pd.DataFrame:
        """Figures by group of photos: masks (n,); None: of all photos, and of those of each organ said.

        Columns are those of `evaluation.evaluate`, without a temperature, and `spread`: standard deviation of top1 over the folds. Answers are among all
        species of the list.
        """
        p, truth = probabilities(self.outputs.logits), self.photos.labels
        rows = {}
        for name, mask in (groups if groups is not None else by_organ(self.photos)).items():
            own = [metrics.top_k(p[mask & (self.fold == k)], truth[mask & (self.fold == k)]) for k in np.unique(self.fold[mask])]
            rows[name] = row(p, truth, truth, mask) | {"spread": float(np.std(own, ddof=1)) if len(own) > 1 else np.nan}
        return pd.DataFrame.from_dict(rows, orient="index")


def cross_validate(
    photos: PhotoSet,
    training: Training,
    *,
    folds: int = 5,
    seed: int = 0,
    loss: Loss | None = None,
    begun: Begun | None = None,
    resume: Path | None = None,
    on_fold: Callable[[int, Mapping[str, float]], None] = lambda fold, figures: None,
) -> HeldOut:
    """Train a net for each fold of `photos.folds` on the others, and let it tell what it sees in its own. `begun` (`train.begin`) saves most of the time.

    `resume` is a folder where each fold keeps the state of its training, as in `train.fit`: what was killed goes on, folds that were done are not done again.
    The validation photos of `train.fit` are those of the fold: what it learns from them, the temperature, is not used here.
    """
    fold = photos.folds(folds, seed)
    told, networks = [], []
    for k in range(folds):
        state = resume / f"fold{k}" if resume is not None else None
        fitted = fit(photos.subset(fold != k), training, validation=photos.subset(fold == k), loss=loss, begun=begun, resume=state)
        if fitted.validation is not None:  # a fold may be empty where there are hardly more plants than folds
            told.append(fitted.validation)
        networks.append(fitted.network)
        on_fold(k, fitted.network.card.figures)
    back = np.argsort(np.concatenate([np.flatnonzero(fold == k) for k in range(folds)]))
    whole = joined(told)
    outputs = Outputs(logits=whole.logits[back], features=whole.features[back], organs=whole.organs[back], plant=whole.plant[back])
    return HeldOut(photos=photos, fold=fold, outputs=outputs, networks=tuple(networks))
