"""What trusting some observations rather than all is worth to a map: simulated observers of virtual worlds, whose truth is known.

The same observations are learnt from as their authors named them, as far as they are trusted (by people; or by the model too), and by their true
names. Maps are compared with the true probability, and by AUC with presences drawn from it, at random dry cells.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyproj import Transformer
from scipy import sparse

from benchmarks.experiments.virtual import CORNER, dry_cells, predictors
from benchmarks.rows import Row, main
from geoplantnet.identify.bridge import to_occurrences
from geoplantnet.identify.calibration import calibrate
from geoplantnet.identify.observations import ModelVersion, ObservationStore
from geoplantnet.identify.quality import TrustRules, trusted
from geoplantnet.identify.simulated import MODEL, Crowd, SimulatedObservations, simulate_observers
from geoplantnet.identify.votes import PlantNet
from geoplantnet.sdm.evaluate import auc_per_species
from geoplantnet.sdm.examples import Background
from geoplantnet.sdm.glm import GLM
from geoplantnet.sdm.sites import BACKGROUND, Sites
from geoplantnet.sources.virtual import VirtualLandscape, VirtualSpecies

SIDE = 30_000
CELLS, UNIFORM = 4_000, 3_000
DRAWS = 2_000
"""Bootstrap draws over species."""
FEWEST = 5
"""Records of a species, by its true name, without which it is not compared."""
CARELESS = Crowd(amateurs=130, spammers=58)
"""A crowd in which every third account names at random, or all alike."""
RAW = "all, as their authors named them"
PEOPLE = "validated by people"
TWO = "validated by two people or more"
TRUSTED = "validated by people, or the model above 0.95"
TRUE = "wild plants by their true names"
RULES = {PEOPLE: TrustRules(ai_score=None), TWO: TrustRules(ai_score=None, determinations=2), TRUSTED: TrustRules()}
BACKGROUNDS: tuple[Background, ...] = ("target-group", "uniform")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Learnt:
    """Records to learn from; arrays share the axis `record`."""

    xy: Floats
    """(record, 2) EPSG:3035, as stated."""
    species: npt.NDArray[np.int64]
    """As they are named."""
    right: float
    """Share of them at which that species grows wild."""
    list_length: Floats
    """(record,), NaN where unknown."""


def rows(quick: bool) -> list[Row]:
    """Maps from the same observations, trusted or not: how many records are right, AUC and r of the maps, differences with 95 % over species."""
    seeds, n, species = ((1,), 4_000, 30) if quick else ((1, 2), 12_000, 60)
    found: list[Row] = []
    for crowd, who in ((Crowd(), "a careful crowd"), (CARELESS, "a careless crowd")):
        parts = [compared(seed, n, species, crowd) for seed in seeds]
        where = f"{len(seeds)} virtual worlds, {n:,} observations of {species} species each, GLM"
        for name in (RAW, PEOPLE, TWO, TRUSTED, TRUE):
            count = sum(len(part.learnt[name].xy) for part in parts)
            right = sum(part.learnt[name].right * len(part.learnt[name].xy) for part in parts) / count
            for background in BACKGROUNDS:
                auc, r = (np.concatenate([getattr(part, score)[background, name] for part in parts]) for score in ("auc", "r"))
                gains = [
                    f"{label} {np.nanmean(gain):+.3f} ({low:+.3f} to {high:+.3f})"
                    for label, gain, (low, high) in (
                        (label, gain, interval(gain))
                        for label, score in (("AUC", "auc"), ("r", "r"))
                        for gain in [
                            np.concatenate([getattr(p, score)[background, name] - getattr(p, score)[background, RAW] for p in parts])
                        ]
                    )
                ]
                beside = "" if name == RAW else f"; minus all: {', '.join(gains)}"
                said = f"{count:,} records, {100 * right:.1f} % right; r {np.nanmean(r):.3f}{beside}; {where}"
                row = Row(
                    name=f"AUC of maps, {who}, {background} background: {name}", value=float(np.nanmean(auc)), unit="", reference=said
                )
                found.append(row)
        gain = np.concatenate([part.lists[0] - part.auc["target-group", TRUSTED] for part in parts])
        low, high = interval(gain)
        found.append(
            Row(
                name=f"AUC gained by weighing records by the length of their observer's list, {who}",
                value=float(np.nanmean(gain)),
                unit="",
                reference=f"trusted records, target-group background; 95 % over species {low:+.3f} to {high:+.3f}; {where}",
            )
        )
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """One world: records by what they are, scores (species,) by background and records; NaN for species that are not compared."""

    learnt: dict[str, Learnt]
    auc: dict[tuple[Background, str], Floats]
    r: dict[tuple[Background, str], Floats]
    lists: tuple[Floats, Floats]
    """AUC and r with trusted records weighted by list length, target-group background."""


def compared(seed: int, n: int, species: int, crowd: Crowd) -> Compared:
    """What maps are worth that learn from `n` observations of a crowd in one world."""
    west, south = CORNER
    landscape = VirtualLandscape.fractal((west, south, west + SIDE, south + SIDE), seed=seed)
    world = VirtualSpecies.generate(species, landscape=landscape, seed=seed)
    seen = simulate_observers(world, n, seed=seed, crowd=crowd)
    rng = np.random.default_rng([seed, 31])
    cells, uniform = dry_cells(landscape, CELLS, rng), dry_cells(landscape, UNIFORM, rng)
    truth = world.true_probability(x=cells["x"], y=cells["y"])
    presence = (rng.random(truth.shape) < truth).astype(np.uint8)
    learnt = {RAW: raw(seen), **validated(seen), TRUE: true(seen)}
    enough = np.bincount(learnt[TRUE].species, minlength=species) >= FEWEST

    def scores(background: Background, records: Learnt, weight: Floats | None = None) -> tuple[Floats, Floats]:
        count = len(records.xy)
        places = np.concatenate([records.xy, uniform.to_numpy(), cells.to_numpy()])
        kind = np.repeat([0, 1, 2], [count, len(uniform), len(cells)])
        sites = Sites(
            species=world.species_list,
            patches=predictors(landscape, pd.DataFrame(places, columns=["x", "y"])),
            labels=sparse.csr_array((np.ones(count, np.uint8), (np.arange(count), records.species)), shape=(len(places), species)),
            presence_absence=np.zeros(len(places), bool),
            group=np.where(kind == 0, 0, BACKGROUND).astype(np.int64),
            xy=places,
            weight=None if weight is None else np.concatenate([weight, np.ones(len(places) - count)]).astype(np.float32),
        )
        p = GLM(background=background).fit(sites, np.flatnonzero(kind < 2)).predict(sites, np.flatnonzero(kind == 2))
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.array([np.corrcoef(p[:, k], truth[:, k])[0, 1] for k in range(species)])
        return np.where(enough, auc_per_species(p, presence), np.nan), np.where(enough, r, np.nan)

    found = {(background, name): scores(background, records) for background in BACKGROUNDS for name, records in learnt.items()}
    lists = np.log1p(np.nan_to_num(learnt[TRUSTED].list_length, nan=1.0))
    return Compared(
        learnt=learnt,
        auc={key: auc for key, (auc, _) in found.items()},
        r={key: r for key, (_, r) in found.items()},
        lists=scores("target-group", learnt[TRUSTED], lists / lists.mean()),
    )


def validated(seen: SimulatedObservations) -> dict[str, Learnt]:
    """The observations through a store: those that people validated, and those that are trusted."""
    with tempfile.TemporaryDirectory() as folder, ObservationStore.open(Path(folder) / "observations.sqlite", create=True) as store:
        store.add_taxa(seen.species.checklist, seen.species)
        store.add_observations(seen.observations)
        store.add_votes(seen.votes)
        store.add_predictions(ModelVersion(name=MODEL[0], version=MODEL[1]), seen.predictions)
        store.aggregate(PlantNet())
        found = {}
        for name, rules in RULES.items():
            calibrations = calibrate(store.records()) if rules.ai_score is not None else {}
            query = trusted(store.records(), rules, calibrations=calibrations, names=store.taxa())
            occurrences = to_occurrences(query).occurrences
            events = occurrences.events.set_index("eventID").loc[occurrences.occurrences["eventID"]]
            found[name] = _learnt(seen, events.index, occurrences.occurrences["taxonID"], events[["x", "y"]], events["list_length"])
    return found


def raw(seen: SimulatedObservations) -> Learnt:
    """Every observation as its author named it."""
    own = seen.votes[seen.votes["kind"] == "determination"].merge(seen.observations, on=["observation_id", "user_id"])
    return _learnt(seen, own["observation_id"], own["value"], _stated(own))


def true(seen: SimulatedObservations) -> Learnt:
    """The wild plants by their true names: what the best names could give."""
    wild = seen.observations.merge(seen.truth[seen.truth["kind"] == "wild"], on="observation_id")
    return _learnt(seen, wild["observation_id"], wild["taxonID"], _stated(wild))


def _stated(observations: pd.DataFrame) -> pd.DataFrame:
    to_grid = Transformer.from_crs("EPSG:4326", "EPSG:3035", always_xy=True)
    x, y = to_grid.transform(observations["longitude"], observations["latitude"])
    return pd.DataFrame({"x": x, "y": y})


def _learnt(
    seen: SimulatedObservations, ids: pd.Index | pd.Series, taxa: pd.Series, xy: pd.DataFrame, lists: pd.Series | None = None
) -> Learnt:
    truth = seen.truth.set_index("observation_id").loc[ids]
    grows = truth["kind"].isin(["wild", "several species"]).to_numpy()
    right = (truth["taxonID"].to_numpy() == taxa.to_numpy()) & grows
    return Learnt(
        xy=xy.to_numpy(float),
        species=np.array([seen.species.index_of(taxon) for taxon in taxa], np.int64),
        right=float(right.mean()),
        list_length=np.full(len(xy), np.nan) if lists is None else lists.to_numpy(float),
    )


def interval(values: Floats) -> tuple[float, float]:
    """95 % of the mean of values that are not NaN, by a bootstrap over species."""
    known = values[np.isfinite(values)]
    drawn = np.random.default_rng(0).choice(known, (DRAWS, known.size)).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main(rows)
