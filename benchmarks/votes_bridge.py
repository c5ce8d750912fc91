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
from geoplantnet.identify.simulated import MODEL, SimulatedObservations, simulate_observers
from geoplantnet.identify.votes import PlantNet
from geoplantnet.sdm.evaluate import auc_per_species
from geoplantnet.sdm.glm import GLM
from geoplantnet.sdm.sites import BACKGROUND, Sites
from geoplantnet.sources.virtual import VirtualLandscape, VirtualSpecies

SIDE = 30_000
SPECIES = 100
CELLS, UNIFORM = 4_000, 3_000
DRAWS = 2_000
"""Bootstrap draws over species."""
FEWEST = 5
"""Records of a species, by its true name, without which it is not compared."""
RAW = "as their authors named them"
PEOPLE = "validated by people"
TRUSTED = "validated by people, or the model above 0.95"
TRUE = "wild plants by their true names"
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Learnt:
    """Records to learn from; arrays share the axis `record`."""

    xy: Floats
    """(record, 2) EPSG:3035, as stated."""
    species: npt.NDArray[np.int64]
    """As they are named."""
    right: float
    """Share of them that show a wild plant of that name."""
    list_length: Floats
    """(record,), NaN where unknown."""


def rows(quick: bool) -> list[Row]:
    """Maps from the same observations, trusted or not: precision of the records, r and AUC of the maps, and differences with 95 % over species."""
    seeds, n = ((1,), 6_000) if quick else ((1, 2, 3), 12_000)
    parts = [compared(seed, n) for seed in seeds]
    found: list[Row] = []
    words = f"{len(seeds)} virtual worlds of {SIDE // 1000} km, {SPECIES} species, {n:,} observations each, GLM"
    for background in ("target-group", "uniform"):
        for name in (RAW, PEOPLE, TRUSTED, TRUE):
            own = [(part[name], part[background, name]) for part in parts]
            count = sum(len(learnt.xy) for learnt, _ in own)
            right = sum(learnt.right * len(learnt.xy) for learnt, _ in own) / count
            auc, r = (np.concatenate([scores[k] for _, scores in own]) for k in (0, 1))
            said = f"{count:,} records, {100 * right:.1f} % of them right; r with the truth {np.nanmean(r):.3f}; {words}"
            found.append(Row(name=f"AUC, {background} background: {name}", value=float(np.nanmean(auc)), unit="", reference=said))
        for name in (PEOPLE, TRUSTED, TRUE):
            auc = np.concatenate([part[background, name][0] - part[background, RAW][0] for part in parts])
            low, high = interval(auc)
            said = f"same species; 95 % over species {low:+.3f} to {high:+.3f}"
            target = "above 0" if name == TRUSTED else ""
            found.append(
                Row(
                    name=f"AUC minus that of records {RAW}, {background} background: {name}",
                    value=float(np.nanmean(auc)),
                    unit="",
                    reference=said,
                    target=target,
                    ok=not target or low > 0,
                )
            )
    gain = np.concatenate([part["target-group", "lists"][0] - part["target-group", TRUSTED][0] for part in parts])
    low, high = interval(gain)
    found.append(
        Row(
            name="AUC gained by weighing records by the length of their observer's list",
            value=float(np.nanmean(gain)),
            unit="",
            reference=f"trusted records, target-group background; 95 % over species {low:+.3f} to {high:+.3f}",
        )
    )
    return found


def compared(seed: int, n: int) -> dict[object, object]:
    """One world: what is learnt from by name, and scores (AUC, r by species) by background and name."""
    west, south = CORNER
    world = VirtualSpecies.generate(
        SPECIES, landscape=VirtualLandscape.fractal((west, south, west + SIDE, south + SIDE), seed=seed), seed=seed
    )
    seen = simulate_observers(world, n, seed=seed)
    rng = np.random.default_rng([seed, 31])
    cells, uniform = dry_cells(world.landscape, CELLS, rng), dry_cells(world.landscape, UNIFORM, rng)
    truth = world.true_probability(x=cells["x"], y=cells["y"])
    presence = (rng.random(truth.shape) < truth).astype(np.uint8)
    learnt = {RAW: raw(seen), **validated(seen), TRUE: true(seen)}
    enough = np.bincount(learnt[TRUE].species, minlength=SPECIES) >= FEWEST
    found: dict[object, object] = dict(learnt)

    def scores(background: str, records: Learnt, weight: Floats | None = None) -> tuple[Floats, Floats]:
        places = np.concatenate([records.xy, uniform.to_numpy(), cells.to_numpy()])
        kind = np.repeat([0, 1, 2], [len(records.xy), len(uniform), len(cells)])
        labels = sparse.csr_array(
            (np.ones(len(records.xy), np.uint8), (np.arange(len(records.xy)), records.species)), shape=(len(places), SPECIES)
        )
        sites = Sites(
            species=world.species_list,
            patches=predictors(world.landscape, pd.DataFrame(places, columns=["x", "y"])),
            labels=labels,
            presence_absence=np.zeros(len(places), bool),
            group=np.where(kind == 0, 0, BACKGROUND).astype(np.int64),
            xy=places,
            weight=None if weight is None else np.concatenate([weight, np.ones(len(places) - len(weight))]).astype(np.float32),
        )
        model = GLM(background=background).fit(sites, np.flatnonzero(kind < 2))  # type: ignore[arg-type]
        p = model.predict(sites, np.flatnonzero(kind == 2))
        auc = np.where(enough, auc_per_species(p, presence), np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.where(enough, [np.corrcoef(p[:, k], truth[:, k])[0, 1] for k in range(SPECIES)], np.nan)
        return auc, r

    for background in ("target-group", "uniform"):
        for name, records in learnt.items():
            found[background, name] = scores(background, records)
    lists = np.log1p(np.nan_to_num(learnt[TRUSTED].list_length, nan=1.0))
    found["target-group", "lists"] = scores("target-group", learnt[TRUSTED], lists / lists.mean())
    return found


def validated(seen: SimulatedObservations) -> dict[str, Learnt]:
    """The observations through a store: those that people validated, and those that are trusted."""
    with tempfile.TemporaryDirectory() as folder, ObservationStore.open(Path(folder) / "observations.sqlite", create=True) as store:
        store.add_taxa(seen.species.checklist, seen.species)
        store.add_observations(seen.observations)
        store.add_votes(seen.votes)
        store.add_predictions(ModelVersion(name=MODEL[0], version=MODEL[1]), seen.predictions)
        store.aggregate(PlantNet())
        found = {}
        for name, rules in {PEOPLE: TrustRules(ai_score=None), TRUSTED: TrustRules()}.items():
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
    right = (truth["taxonID"].to_numpy() == taxa.to_numpy()) & (truth["kind"] == "wild").to_numpy()
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
