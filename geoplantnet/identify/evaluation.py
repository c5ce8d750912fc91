"""How good a net is on labelled photos, whatever runs it: by what a photo shows, by species; and what it makes of what it does not know."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import logsumexp

from geoplantnet.errors import InputError
from geoplantnet.identify import metrics
from geoplantnet.identify.network import Card, Network, Outputs
from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.identify.photos.squares import Squares
from geoplantnet.identify.temperature import probabilities

RIGHT = ("top1", "macro_top1", "top5", "macro_top5", "average5", "macro_average5")
"""Columns that say how often an answer is right, shares; see `metrics.figures`."""
BATCH = 32
"""Photos that are decoded, and go through a net, at once."""


def answers(network: Network, photos: PhotoSet) -> Outputs:
    """What any net says of the photos of a set, prepared as online. Raises InputError for an empty set, and for a photo that cannot be read."""
    if not len(photos):
        raise InputError("a set without photos has no answers; give one with some")
    with Squares(list(photos.table["image"]), network.card.size) as squares:
        parts = [network(squares[np.arange(i, min(i + BATCH, len(photos)))]) for i in range(0, len(photos), BATCH)]
    return joined(parts)


def joined(parts: list[Outputs]) -> Outputs:
    """Answers to several batches as one."""
    return Outputs(**{key: np.concatenate([getattr(part, key) for part in parts]) for key in ("logits", "features", "organs", "plant")})


def positions(photos: PhotoSet, network: Network) -> npt.NDArray[np.int64]:
    """(n,): of each photo's species in the net's list, by id where the lists are one, else by scientific name; -1 where the net does not know it."""
    if photos.species.hash == network.species.hash:
        return photos.labels
    at = {taxon.scientific_name: i for i, taxon in enumerate(network.species)}
    return np.array([at.get(taxon.scientific_name, -1) for taxon in photos.species], np.int64)[photos.labels]


def by_organ(photos: PhotoSet) -> dict[str, npt.NDArray[np.bool_]]:
    """Masks (n,): of all photos, and of those of each organ that is said of some."""
    organ = photos.table["organ"].to_numpy()
    return {"all": np.ones(len(photos), bool)} | {name: organ == name for name in sorted(set(organ)) if name}


def evaluate(network: Network, photos: PhotoSet, told: Outputs) -> pd.DataFrame:
    """Figures of a net on photos it did not learn from, from its answers: a row of all photos, and one of each organ said.

    Columns: photos, species, `unknown` (photos of species the net does not know: wrong in all that follows but the last two), those of `RIGHT`, `ece` and
    `nll` (nats) with the card's temperature. Not a number where there are too few species for five answers, or no photo of a species that is known.
    """
    truth = positions(photos, network)
    p = probabilities(told.logits, network.card.temperature)
    return pd.DataFrame.from_dict({name: row(p, truth, photos.labels, mask) for name, mask in by_organ(photos).items()}, orient="index")


def row(
    p: npt.NDArray[np.float64], truth: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """One row of `evaluate`: of probabilities (n, species), positions (n,) of true species or -1, their labels (n,), and which photos (n,) are meant."""
    known = mask & (truth >= 0)
    found = metrics.figures(p[known], truth[known]) if known.any() else {}
    of_photos = float(known.sum() / max(mask.sum(), 1))
    of_species = len(np.unique(labels[known])) / max(len(np.unique(labels[mask])), 1)
    counts = {"photos": float(mask.sum()), "species": float(len(np.unique(labels[mask]))), "unknown": float(mask.sum() - known.sum())}
    right = {key: found.get(key, np.nan) * (of_species if key.startswith("macro") else of_photos) for key in RIGHT}
    return counts | right | {key: found.get(key, np.nan) for key in ("ece", "nll")}


def by_species(network: Network, photos: PhotoSet, told: Outputs) -> pd.DataFrame:
    """What became of each species' photos, the worst first: `species`, `photos`, share `top1` right, the species it is `taken_for` most often, and the
    `share` of its photos that are.
    """
    truth, first = positions(photos, network), told.logits.argmax(axis=1)
    rows = []
    for label in np.unique(photos.labels):
        own, true = first[photos.labels == label], truth[photos.labels == label][0]
        others = np.bincount(own[own != true], minlength=len(network.species))
        worst = int(others.argmax())
        rows.append(
            {
                "species": photos.species[int(label)].scientific_name,
                "photos": len(own),
                "top1": float((own == true).mean()),
                "taken_for": network.species[worst].scientific_name if others[worst] else "",
                "share": float(others[worst] / len(own)),
            }
        )
    return pd.DataFrame(rows).sort_values(["top1", "species"]).reset_index(drop=True)


def knowing(told: Outputs, card: Card) -> dict[str, npt.NDArray[np.float64]]:
    """Scores (n,) that are low where a net is shown what it does not know, by name.

    ``plant``: of its head for plants. ``first``: probability of its first answer (Hendrycks & Gimpel 2017, A baseline for detecting misclassified and
    out-of-distribution examples). ``energy``: T logsumexp(logits / T) (Liu et al. 2020, Energy-based out-of-distribution detection, equation 4, negated).
    """
    z = told.logits.astype(float)
    return {
        "plant": told.plant.astype(float),
        "first": probabilities(z, card.temperature).max(axis=1),
        "energy": card.temperature * logsumexp(z / card.temperature, axis=1),
    }


def telling_apart(known: Outputs, unknown: Outputs, card: Card) -> dict[str, metrics.Auroc]:
    """How well each score of `knowing` tells photos that a net can know from others: area under the ROC curve, with an interval."""
    inside, outside = knowing(known, card), knowing(unknown, card)
    return {name: metrics.auroc(inside[name], outside[name]) for name in inside}
