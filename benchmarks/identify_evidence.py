"""Evidence beside one photo: more photos of the plant, and the place. What each is worth, and what a wrong one costs.

    python -m benchmarks.identify_evidence [--quick] --json FILE

Photos: logits of a linear probe on EfficientNet-Lite0's features of the plants in GEOPLANTNET_DATA/plants, each photo by the probe of four folds that
have not seen it. The photos say not which plant they show: "views" are photos of one label drawn from one fold, so that they differ more
than photos of one individual do, and gain more from one another. Photos stored twice are left out. 95 % are over labels.

Places: observers of virtual worlds (`identify.simulated`) photograph what grows around them, and also what is planted. Each photo's answer is drawn
so that it is calibrated by construction, species of a genus being the hardest to tell apart; or it is that of a real photo whose label stands for the species.
The prior is the true probability, or that of a GLM learnt from other observers' records; its weight is learnt from a third part of the
observers, or is the default, which was chosen on a world that is not among these. "20 km off": all places are wrong by that, and a map may then cost at most `COST`, at the
lower end of its interval. 95 % are over observers. GEOPLANTNET_FEATURES names a file that keeps features between runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyproj import Transformer
from scipy import sparse
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp
from sklearn.linear_model import LogisticRegression

from benchmarks.experiments.virtual import CORNER, dry_cells, predictors
from benchmarks.identify_similarity import TWICE, photo_features
from benchmarks.rows import Row, main
from geoplantnet.identify.calibration import calibration_error
from geoplantnet.identify.fusion import fuse, learn_views
from geoplantnet.identify.network import Card, Outputs
from geoplantnet.identify.prior import LearntWeight, PlaceWeight, learn_place_weight, with_place
from geoplantnet.identify.simulated import CULTIVATED, KINDS, simulate_observers
from geoplantnet.sdm.glm import GLM
from geoplantnet.sdm.sites import BACKGROUND, Sites
from geoplantnet.sources.virtual import VirtualLandscape, VirtualSpecies

FOLDS, DRAWS = 5, 2_000
"""Folds of the probe, and bootstrap draws."""
SIDE = 80_000
"""Of a virtual world, metres: wide enough to be 50 km wrong."""
SPECIES = 120
SPREAD = 1.2
"""Standard deviation of a photo around its species in `drawn_answers`, where genera are a distance of 1 apart: a net that is right six times in ten."""
SHIFTS = (5_000, 20_000, 50_000)
COST = 0.02
"""Of top-1, that a map of another place may cost at most: less than half of what the right one gains. Chosen after one look at these rows, as a round number."""
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def rows(quick: bool) -> list[Row]:
    log_p, labels, fold = probed()
    return [*_views(log_p, labels, fold, quick), *_places(log_p, labels, quick)]


# ---- several photos


def probed() -> tuple[Floats, Ints, Ints]:
    """Calibrated ln p (n, label) of each photo by a probe that has not seen it, labels (n,), folds (n,)."""
    features, labels = photo_features()
    near = np.tril(features @ features.T, -1) > TWICE
    once = ~near.any(axis=1)
    features, labels = features[once].astype(np.float64), labels[once]
    fold = np.empty(len(labels), np.int64)
    rng = np.random.default_rng(0)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        fold[rng.permutation(own)] = np.arange(own.size) % FOLDS
    logits = np.empty((len(labels), labels.max() + 1))
    for k in range(FOLDS):
        seen = fold != k
        logits[~seen] = LogisticRegression(C=30, max_iter=300).fit(features[seen], labels[seen]).decision_function(features[~seen])
    log_p = np.empty_like(logits)
    for k in range(FOLDS):
        seen = fold != k

        def loss(b: float, seen: npt.NDArray[np.bool_] = seen) -> float:
            return -float(log_softmax(b * logits[seen], axis=1)[np.arange(seen.sum()), labels[seen]].mean())

        log_p[~seen] = log_softmax(minimize_scalar(loss, bounds=(0.05, 20), method="bounded").x * logits[~seen], axis=1)
    return log_p, labels, fold


def _views(log_p: Floats, labels: Ints, fold: Ints, quick: bool) -> list[Row]:
    card = Card(name="probe", version="1", backbone="efficientnet-lite0", size=224)
    found: list[Row] = []
    single = (log_p.argmax(axis=1) == labels).astype(float)
    found.append(
        Row(
            name="top-1 of one photo",
            value=float(single.mean()),
            unit="",
            reference=f"{len(labels)} photos, 29 labels, 5 folds, linear probe",
        )
    )
    for views in (2, 3, 5):
        rng = np.random.default_rng(views)
        groups = np.concatenate([_grouped(labels, fold, views, rng) for _ in range(3 if quick else 10)])
        truth, at = labels[groups[:, 0]], fold[groups[:, 0]]
        gains = np.empty(FOLDS)
        for k in range(FOLDS):
            own = rng.permutation(groups[at != k])[:600]
            flat = own.ravel()
            n = len(flat)
            out = Outputs(
                logits=log_p[flat].astype(np.float32),
                features=np.zeros((n, 1), np.float32),
                organs=np.full((n, 6), 1 / 6, np.float32),
                plant=np.ones(n, np.float32),
            )
            gains[k] = learn_views(out, labels[flat], np.repeat(np.arange(len(own)), views).astype(str), card=card).gain
        one = single[groups].mean(axis=1)
        for rule in (
            "product, gain learnt",
            "product, gain 0",
            "product, gain 0.5",
            "product, gain 1",
            "mean of probabilities",
            "maximum of probabilities",
        ):
            fused = np.stack([_by(rule, log_p[g], gains[k]) for g, k in zip(groups, at, strict=True)])
            right = fused.argmax(axis=1) == truth
            low, high = _over(right - one, truth)
            nll = -float(fused[np.arange(len(truth)), truth].mean())
            ece = calibration_error(np.exp(fused.max(axis=1)), right)
            told = f"minus one photo {float((right - one).mean()):+.4f} ({low:+.4f} to {high:+.4f}); negative log-likelihood {nll:.4f}, ECE {ece:.4f}"
            learnt = f", gain {gains.mean():.2f}" if rule == "product, gain learnt" else ""
            target = "beats one photo" if rule == "product, gain learnt" else ""
            found.append(
                Row(
                    name=f"top-1 of {views} photos, {rule}",
                    value=float(right.mean()),
                    unit="",
                    reference=told + learnt,
                    target=target,
                    ok=not target or low > 0,
                )
            )
    return found


def _grouped(labels: Ints, fold: Ints, views: int, rng: np.random.Generator) -> Ints:
    """(group, views): photos of one label and one fold, each at most once."""
    found = []
    for label in np.unique(labels):
        for k in range(FOLDS):
            own = rng.permutation(np.flatnonzero((labels == label) & (fold == k)))
            found.append(own[: own.size // views * views].reshape(-1, views))
    return np.concatenate(found)


def _by(rule: str, log_p: Floats, gain: float) -> Floats:
    if rule == "mean of probabilities":
        return np.asarray(logsumexp(log_p, axis=0) - np.log(len(log_p)))
    if rule == "maximum of probabilities":
        return np.asarray(log_softmax(log_p.max(axis=0)))
    told = {"product, gain 0": 0.0, "product, gain 0.5": 0.5, "product, gain 1": 1.0}.get(rule, gain)
    return fuse(log_p, np.ones(len(log_p)), np.eye(len(log_p)), told)


def _over(values: Floats, of: npt.NDArray[np.generic]) -> tuple[float, float]:
    """95 % of a mean by a bootstrap over what the values belong to (labels, observers)."""
    group = np.unique(of, return_inverse=True)[1]
    total, count = np.bincount(group, values), np.bincount(group)
    draws = np.random.default_rng(0).integers(len(count), size=(DRAWS, len(count)))
    low, high = np.quantile(total[draws].sum(axis=1) / count[draws].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


# ---- the place


@dataclass(frozen=True, kw_only=True, eq=False)
class Observed:
    """Observations of one world, those of observers nothing was learnt from; arrays share the axis `observation`."""

    truth: Ints
    planted: npt.NDArray[np.bool_]
    observer: npt.NDArray[np.generic]
    log_p: Floats
    """Of the photo alone, (observation, species)."""
    priors: dict[str, tuple[Floats, LearntWeight]]
    """p(present) (observation, species) by what it is, and the weight it is used with."""


def _places(photo_log_p: Floats, labels: Ints, quick: bool) -> list[Row]:
    seeds, n = ((11,), 3_000) if quick else ((11, 12, 13), 9_000)
    found: list[Row] = []
    for answers, species in (("drawn photos", SPECIES), ("real photos", labels.max() + 1)):
        worlds = [observed(seed, n, int(species), None if answers == "drawn photos" else (photo_log_p, labels)) for seed in seeds]
        truth, planted = (np.concatenate([getattr(w, name) for w in worlds]) for name in ("truth", "planted"))
        observer = np.concatenate([np.char.add(f"{i}:", w.observer.astype(str)) for i, w in enumerate(worlds)])
        alone = np.concatenate([(w.log_p.argmax(axis=1) == w.truth) for w in worlds]).astype(float)
        where = f"{len(seeds)} worlds, {species} species, {len(truth):,} observations of {len(np.unique(observer))} observers, {100 * planted.mean():.0f} % planted"
        found.append(Row(name=f"{answers}: top-1 without a place", value=float(alone.mean()), unit="", reference=where))
        for name in worlds[0].priors:
            after = [with_place(w.log_p, p, learnt.place) for w in worlds for p, learnt in [w.priors[name]]]
            right = np.concatenate([(a.argmax(axis=1) == w.truth) for a, w in zip(after, worlds, strict=True)]).astype(float)
            gain = right - alone
            low, high = _over(gain, observer)
            first = [w.priors[name][1] for w in worlds]
            sure = np.concatenate([w.log_p.max(axis=1) > np.log(0.95) for w in worlds]) & (alone == 1)
            lost = float(1 - right[sure].mean())
            used = ", ".join(f"{w.place.weight:.2f}/{w.place.floor:g}" for w in first)
            told = (
                f"minus without {gain.mean():+.4f} ({low:+.4f} to {high:+.4f}), of planted ones {gain[planted].mean():+.4f}; "
                f"of right answers above .95 lost {100 * lost:.2f} %; weight/floor {used}"
            )
            target = ""
            if name.startswith("learnt map"):
                target = f"costs at most {COST:g}" if name.endswith("off") else "raises top-1"
            ok = low > (-COST if name.endswith("off") else 0) if target else True
            found.append(
                Row(name=f"{answers}: top-1 with the {name}", value=float(right.mean()), unit="", reference=told, target=target, ok=ok)
            )
    return found


def observed(seed: int, n: int, species: int, photos: tuple[Floats, Ints] | None) -> Observed:
    """One world: a third of its observers is learnt from (map), a third weighs the map, a third is asked."""
    west, south = CORNER
    landscape = VirtualLandscape.fractal((west, south, west + SIDE, south + SIDE), seed=seed)
    world = VirtualSpecies.generate(species, landscape=landscape, seed=seed)
    seen = simulate_observers(world, n, seed=seed)
    rng = np.random.default_rng([seed, 36])
    table = seen.observations.merge(seen.truth, on="observation_id")
    table = table[table["taxonID"] != ""].reset_index(drop=True)
    truth = np.array([world.species_list.index_of(taxon) for taxon in table["taxonID"]], np.int64)
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:3035", always_xy=True).transform(table["longitude"], table["latitude"])
    places = np.stack([x, y], axis=1).clip((west, south), (west + SIDE - 1, south + SIDE - 1))
    users = table["user_id"].to_numpy()
    part = dict(zip(np.unique(users), rng.permutation(len(np.unique(users))) % 3, strict=True))
    third = np.array([part[user] for user in users])
    answers = drawn_answers(world, truth, rng) if photos is None else borrowed_answers(*photos, truth, species, rng)
    planted = (table["kind"] == KINDS[CULTIVATED]).to_numpy()
    asked, weighed = third == 2, third == 1
    map_of = _learnt_map(world, landscape, places[third == 0], truth[third == 0], rng)

    def true(at: Floats) -> Floats:
        return world.true_probability(x=at[:, 0], y=at[:, 1]).astype(float)

    made: dict[str, tuple[Floats, LearntWeight]] = {}
    for name, prior in (("true map", true), ("learnt map", map_of)):
        weight = learn_place_weight(answers[weighed], prior(places[weighed]), truth[weighed], groups=users[weighed].tolist())
        made[name] = prior(places[asked]), weight
        for metres in SHIFTS:
            made[f"{name}, {metres // 1000} km off"] = prior(_moved(places[asked], metres, landscape, rng)), weight
    default = LearntWeight(place=PlaceWeight(), photos=0, loss_before=0, loss_after=0)
    for off in ("", *(f", {metres // 1000} km off" for metres in SHIFTS)):
        made[f"learnt map, default weight{off}"] = made[f"learnt map{off}"][0], default
    return Observed(truth=truth[asked], planted=planted[asked], observer=users[asked], log_p=answers[asked], priors=made)


def drawn_answers(world: VirtualSpecies, truth: Ints, rng: np.random.Generator) -> Floats:
    """Calibrated ln p (observation, species): photos lie normally around their species, which lie around their genus, and that around its family."""
    d, taxa = 16, world.species_list

    def centres(rank: str, width: float) -> Floats:
        number = pd.factorize(pd.Series([getattr(taxon, rank) for taxon in taxa]))[0]
        return width * rng.normal(size=(number.max() + 1, d))[number] / np.sqrt(d)

    centre = centres("family", 1.0) + centres("genus", 0.7) + 0.5 * rng.normal(size=(len(taxa), d)) / np.sqrt(d)
    photo = centre[truth] + SPREAD * rng.normal(size=(len(truth), d)) / np.sqrt(d)
    squared = (photo**2).sum(1)[:, None] - 2 * photo @ centre.T + (centre**2).sum(1)
    return np.asarray(log_softmax(-squared * d / (2 * SPREAD**2), axis=1))


def borrowed_answers(log_p: Floats, labels: Ints, truth: Ints, species: int, rng: np.random.Generator) -> Floats:
    """Answers of real photos, whose labels stand for species in a random order: each observation is given a photo of its species."""
    stands = rng.permutation(species)  # species -> label
    photo = np.empty(len(truth), np.int64)
    for k in range(species):
        own = np.flatnonzero(truth == k)
        photo[own] = rng.choice(np.flatnonzero(labels == stands[k]), own.size)
    return log_p[photo][:, stands]


def _learnt_map(world: VirtualSpecies, landscape: VirtualLandscape, places: Floats, truth: Ints, rng: np.random.Generator):  # type: ignore[no-untyped-def]
    """A GLM of presences beside the records of all species, as a function of places."""
    uniform = dry_cells(landscape, 3_000, rng).to_numpy()
    at, count = np.concatenate([places, uniform]), len(places)
    made = sparse.csr_array((np.ones(count, np.uint8), (np.arange(count), truth)), shape=(len(at), world.n))

    def sites(xy: Floats, labels: sparse.csr_array, group: Ints) -> Sites:
        return Sites(
            species=world.species_list,
            patches=predictors(landscape, pd.DataFrame(xy, columns=["x", "y"])),
            labels=labels,
            presence_absence=np.zeros(len(xy), bool),
            group=group,
            xy=xy,
        )

    kind = np.where(np.arange(len(at)) < count, 0, BACKGROUND).astype(np.int64)
    model = GLM(background="target-group").fit(sites(at, made, kind), np.arange(len(at)))

    def predicted(xy: Floats) -> Floats:
        empty = sparse.csr_array((len(xy), world.n), dtype=np.uint8)
        return np.asarray(model.predict(sites(xy, empty, np.zeros(len(xy), np.int64)), np.arange(len(xy))), float)

    return predicted


def _moved(places: Floats, metres: float, landscape: VirtualLandscape, rng: np.random.Generator) -> Floats:
    """Places so many metres off in a random direction within the world; nearer where none is."""
    west, south, east, north = landscape.bounds
    found = places.copy()
    for reach in (1.0, 0.7, 0.5):
        left = np.flatnonzero((found == places).all(axis=1))
        for _ in range(30):
            angle = rng.uniform(0, 2 * np.pi, left.size)
            to = places[left] + reach * metres * np.stack([np.cos(angle), np.sin(angle)], axis=1)
            fits = (to[:, 0] >= west) & (to[:, 0] < east) & (to[:, 1] >= south) & (to[:, 1] < north)
            found[left[fits]] = to[fits]
            left = left[~fits]
    return found


if __name__ == "__main__":
    main(rows)
