"""How good a net is on labelled photos, whatever runs it: by what a photo shows, by species; and what it makes of what it does not know."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import log_softmax, logsumexp

from geoplantnet.errors import InputError
from geoplantnet.identify import fusion, metrics
from geoplantnet.identify.network import Card, Network, Outputs
from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.identify.photos.squares import Squares
from geoplantnet.identify.temperature import probabilities
from geoplantnet.taxonomy.species_list import SpeciesList

RIGHT = ("top1", "macro_top1", "top5", "macro_top5", "average5", "macro_average5")
"""Columns that say how often an answer is right, shares; see `metrics.figures`."""
TWIN = 0.98
"""Cosine of two photos' features from which on they are taken for one photo, stored twice."""
_BLOCK = 1024
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
    """(n,): of each photo's species in the net's list; -1 where the net does not know it. See `same_species`."""
    return same_species(photos.species, network.species)[photos.labels]


def same_species(listed: SpeciesList, known: SpeciesList) -> npt.NDArray[np.int64]:
    """(len(listed),): of each species in another list, by id and name, else by a name that one species alone has there; -1 where it is not."""
    if listed.hash == known.hash:
        return np.arange(len(listed))
    same = {(taxon.taxon_id, taxon.scientific_name): i for i, taxon in enumerate(known)}
    count = Counter(taxon.scientific_name for taxon in known)
    named = {taxon.scientific_name: i for i, taxon in enumerate(known) if count[taxon.scientific_name] == 1}
    return np.array([same.get((taxon.taxon_id, taxon.scientific_name), named.get(taxon.scientific_name, -1)) for taxon in listed], np.int64)


def twins_together(photos: PhotoSet, features: npt.ArrayLike, *, cosine: float = TWIN) -> PhotoSet:
    """The same photos, those that are stored twice being of one observation, so that no split judges a net on what it learnt from.

    `features` (n, d) are any net's, of any length; photos are twins from a `cosine` on, and twins of twins. An observation's photos stay together.
    """
    x = np.asarray(features, np.float32)
    if x.shape[:1] != (len(photos),) or x.ndim != 2:
        raise InputError(f"features {x.shape} of {len(photos)} photos; give one row of numbers a photo")
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    plants = np.unique(photos.table["observation"].to_numpy(), return_inverse=True)[1]
    first = np.unique(plants, return_index=True)[1][plants]
    pairs = [(np.arange(len(x)), first)]
    for start in range(0, len(x), _BLOCK):
        row, column = np.nonzero(unit[start : start + _BLOCK] @ unit.T >= cosine)
        pairs.append((row + start, column))
    rows, columns = (np.concatenate(side) for side in zip(*pairs))
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(len(x), len(x)))
    _, group = connected_components(graph, directed=False)
    names = photos.table["observation"].to_numpy()[np.unique(group, return_index=True)[1][group]]
    return replace(photos, table=photos.table.assign(observation=names))


def of_observations(network: Network, photos: PhotoSet, told: Outputs) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Observations, in the order they come, and p (observation, species) of their photos put together as online (`fusion.fuse`; each a photo of its own)."""
    card, table = network.card, photos.table
    log_p = log_softmax(told.logits.astype(float) / card.temperature, axis=1)
    weights = fusion.view_weights(fusion.shown(told.organs, table["organ"].tolist(), card), card.view_weights)
    members = table.groupby("observation", sort=False).indices
    fused = [fusion.fuse(log_p[rows], weights[rows], np.eye(len(rows)), card.view_gain) for rows in members.values()]
    return [str(name) for name in members], np.exp(fused)


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
