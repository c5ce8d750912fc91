"""A virtual world with a known truth: any model, learnt from a survey and from volunteers' records, tested where no one was.

Fractal mountains, so that it runs without data. Bioclimate, terrain and land cover of the 50 m cell are the predictors; three of the
niches' seven gradients show in none of them (`geoplantnet.sources.virtual`), only in imagery, which can be asked for beside.
Nobody went to the coldest part of the climate, nor into squares of 10 km: cells there are tested against the true probability.

    python -m benchmarks.experiments.virtual --model random-forest --species 150 --seed 0 [--imagery]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.spatial import cKDTree

from geoplantnet.cubes import TablePatches
from geoplantnet.occurrences.splits import spatial_blocks
from geoplantnet.sdm.applicability import Applicability
from geoplantnet.sdm.estimator import Estimator
from geoplantnet.sdm.evaluate import agreement, expected_calibration_error
from geoplantnet.sdm.explain import importance_weights, permutation_importance, predictors_of
from geoplantnet.sdm.models import MODELS
from geoplantnet.sdm.sites import BACKGROUND, Float, Integers, Sites, tabulate
from geoplantnet.sources.virtual import (
    VirtualBioclim,
    VirtualLandCover,
    VirtualLandscape,
    VirtualSentinel2,
    VirtualSpecies,
    VirtualTerrain,
    sample_plots,
    sample_presence_only,
)
from geoplantnet.sources.virtual.landscape import CELL, PIXEL

CORNER = (4_100_000, 2_550_000)
"""South-west of every world, EPSG:3035."""
SIDE = 60_000
"""Metres."""
HELD_OUT = 0.12
"""Share of the land, the coldest, whose climate no plot and no record has."""
MARGIN = 1.0
"""Degrees below the limit of the known climate that count as its near margin."""
SQUARE, SQUARES_HELD_OUT, APART = 10_000, 0.2, 1_000
"""Squares (m) without plots and records, their share, and how far (m) test cells are from any of either."""
FOLD_SQUARE = 5_000
"""Squares (m) of the folds by which the area of applicability takes its threshold."""
PRECISE = 100.0
"""Records with a larger uncertainty (m) are left out."""
TEST_CELLS = 3_000
"""In the known climate, and again as many beyond it."""
BACKGROUND_SITES = 3_000
_WEIGHED = 1_000
"""Training plots on which the predictors' importance is measured."""


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """One virtual world, surveyed. Sites: plots, records and background first, then test cells."""

    virtual: VirtualSpecies
    sites: Sites
    train: Integers
    """Plots, records and background."""
    inside: Integers
    """Test cells of the known climate."""
    outside: Integers
    """Test cells of the held-out climate."""
    colder: Float
    """(outside,) degrees of annual mean temperature below the coldest climate known."""
    truth: Float
    """(inside and then outside, species) true probability."""


def world(species: int, plots: int, records: int, seed: int, *, imagery: bool = False, side: int = SIDE, cells: int = TEST_CELLS) -> World:
    """About `plots` plots of 100 m2 on a systematic grid, `records` opportunistic records, and up to `cells` test cells of either climate.

    `imagery` adds Sentinel-2's mean reflectance of the cell to the predictors.
    """
    west, south = CORNER
    landscape = VirtualLandscape.fractal((west, south, west + side, south + side), seed=seed)
    virtual = VirtualSpecies.generate(species, landscape=landscape, seed=seed)
    rng = np.random.default_rng([seed, 7])
    anywhere = dry_cells(landscape, 20 * cells, rng)
    warmth = bio1(landscape, anywhere)
    limit = float(np.quantile(warmth, HELD_OUT))
    across = side // SQUARE
    closed = rng.permutation(across**2) < SQUARES_HELD_OUT * across**2

    def visited(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """Whether places lie in the known climate and in no held-out square."""
        column, row = (np.floor((frame[axis].to_numpy() - start) / SQUARE).astype(int) for axis, start in (("x", west), ("y", south)))
        return (bio1(landscape, frame) >= limit) & ~closed[row * across + column]

    share = (1 - HELD_OUT) * (1 - SQUARES_HELD_OUT)
    events, found = sample_plots(virtual, round(plots / share), seed=seed)
    events = events[visited(events)].reset_index(drop=True)
    met = sample_presence_only(virtual, round(1.5 * records / share), seed=seed)
    met = met[visited(met) & (met["coordinateUncertaintyInMeters"] <= PRECISE)].head(records).reset_index(drop=True)
    background = anywhere[visited(anywhere)].tail(BACKGROUND_SITES)
    apart = cKDTree(pd.concat([events, met])[["x", "y"]]).query(anywhere[["x", "y"]])[0] >= APART
    inside, cold = anywhere[apart & (warmth >= limit)].head(cells), anywhere[warmth < limit].head(cells)
    tested = pd.concat([inside, cold])
    truth = virtual.true_probability(x=tested["x"], y=tested["y"])
    counts = [len(part) for part in (events, met, background, inside, cold)]
    kind = np.repeat(["plot", "record", "background", "inside", "cold"], counts)
    labels = [
        presences(found[found["eventID"].isin(set(events["eventID"]))], events["eventID"], virtual),
        presences(met, met["eventID"], virtual),
        sparse.csr_array((len(background), species), dtype=np.uint8),
        sparse.csr_array((rng.random(truth.shape, dtype=np.float32) < truth).astype(np.uint8)),
    ]
    frame = pd.concat([part[["x", "y"]] for part in (events, met, background, tested)], ignore_index=True)
    surveyed = (kind != "record") & (kind != "background")
    return World(
        virtual=virtual,
        sites=Sites(
            species=virtual.species_list,
            patches=predictors(landscape, frame, imagery=imagery),
            labels=sparse.csr_array(sparse.vstack(labels, format="csr")),
            presence_absence=surveyed,
            group=np.where(kind == "background", BACKGROUND, 0).astype(np.int64),
            xy=frame[["x", "y"]].to_numpy(np.float64),
            plot_area=np.where(surveyed, virtual.plot_area, np.nan).astype(np.float32),
        ),
        train=np.flatnonzero((kind != "inside") & (kind != "cold")),
        inside=np.flatnonzero(kind == "inside"),
        outside=np.flatnonzero(kind == "cold"),
        colder=limit - bio1(landscape, cold),
        truth=truth,
    )


def dry_cells(landscape: VirtualLandscape, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Random places x, y (EPSG:3035) in cells mostly not under water; about `n` of them."""
    west, south, east, north = landscape.bounds
    places = pd.DataFrame({"x": rng.uniform(west, east, n), "y": rng.uniform(south, north, n)})
    source = VirtualLandCover(landscape)
    return places[source.at(places)[:, source.bands.index("water")] < 0.5].reset_index(drop=True)


def bio1(landscape: VirtualLandscape, places: pd.DataFrame) -> Float:
    """Annual mean temperature (n,), degrees Celsius."""
    source = VirtualBioclim(landscape)
    return source.at(places)[:, source.bands.index("bio1")]


def predictors(landscape: VirtualLandscape, places: pd.DataFrame, *, imagery: bool = False) -> TablePatches:
    """Bioclimate, terrain and land cover of the cells that hold places x, y; with `imagery` their mean reflectance, too."""
    sources = {"bioclim": VirtualBioclim(landscape), "terrain": VirtualTerrain(landscape), "land_cover": VirtualLandCover(landscape)}
    columns, values = (
        {name: source.bands for name, source in sources.items()},
        [source.at(places[["x", "y"]]) for source in sources.values()],
    )
    if imagery:
        columns["sentinel2"] = VirtualSentinel2(landscape).bands
        values.append(reflectance(landscape, places))
    return TablePatches(pd.DataFrame(np.concatenate(values, axis=1), columns=[c for own in columns.values() for c in own]), columns)


def reflectance(landscape: VirtualLandscape, places: pd.DataFrame) -> Float:
    """Mean of the 10 m pixels of the cells that hold places, (n, band), NaN where all are under cloud."""
    source, side = VirtualSentinel2(landscape), CELL // PIXEL
    x, y = (np.floor(places[axis].to_numpy() / CELL) * CELL + PIXEL / 2 for axis in ("x", "y"))
    count = total = np.zeros((len(places), len(source.bands)), np.float32)
    for column, row in np.ndindex(side, side):
        value = source.at(pd.DataFrame({"x": x + column * PIXEL, "y": y + row * PIXEL}))
        count, total = count + np.isfinite(value), total + np.nan_to_num(value)
    with np.errstate(invalid="ignore"):
        return (total / count).astype(np.float32)


def presences(found: pd.DataFrame, events: pd.Series, virtual: VirtualSpecies) -> sparse.csr_array:
    """Labels (event, species) of rows eventID, taxonID, in the order of `events`."""
    taxa = [taxon.taxon_id for taxon in virtual.species_list]
    row, column = (pd.Index(axis).get_indexer(pd.Index(found[term])) for axis, term in ((events, "eventID"), (taxa, "taxonID")))
    return sparse.csr_array((np.ones(len(found), np.uint8), (row, column)), shape=(len(events), len(taxa)))


def measure(
    make: Callable[[], Estimator],
    species: int,
    seed: int,
    *,
    plots: int = 4_000,
    records: int = 8_000,
    imagery: bool = False,
    side: int = SIDE,
    cells: int = TEST_CELLS,
    applicability: bool = True,
) -> dict[str, float]:
    """Skill of a model on a world: figures by name.

    At the `inside` cells: `r`, `r_species`, `error` (`evaluate.agreement`: Pearson's r with the truth over all cells and species, its median
    over species, mean |p - truth|), `relative_error` (error over mean truth, since few species live in the cold), `ece` against
    presences drawn from the truth, and `richness_bias` of the sum of p. `*_cold` are the same in the held-out climate, `*_beyond` in that
    part of it more than `MARGIN` below the known one.

    With `applicability`, for each of four weightings of its area (`areas`): `flagged_*`, the share of cells outside it, of the known climate
    (`inside`), and of the held-out one within `MARGIN` of the limit (`margin`), beyond, and in all (`cold`); `r_*`, `relative_error_*` of
    `applicable` and `flagged` cells.
    """
    known = world(species, plots, records, seed, imagery=imagery, side=side, cells=cells)
    sites, began = known.sites, time.perf_counter()
    model = make().fit(sites, known.train)
    fitted = time.perf_counter()
    tested = np.concatenate([known.inside, known.outside])
    p = model.predict(sites, tested)
    predicted = time.perf_counter()
    colder = np.concatenate([np.full(known.inside.size, -np.inf), known.colder])
    parts = {"inside": colder < 0, "margin": (colder >= 0) & (colder < MARGIN), "beyond": colder >= MARGIN, "cold": colder >= 0}
    skill = {
        "species": float(species),
        "plots": float(sites.plots(known.train).size),
        "records": float(sites.labels[sites.records(known.train)].sum()),
        "species_never_on_a_plot": float((sites.labels[sites.plots(known.train)].sum(axis=0) == 0).sum()),
        "ece": expected_calibration_error(p[parts["inside"]], sites.found(known.inside)),
        "richness_bias": float(p[parts["inside"]].sum() / known.truth[parts["inside"]].sum() - 1),
        "seconds_fit": fitted - began,
        "seconds_predict": predicted - fitted,
    }
    for name, where in (("", parts["inside"]), ("_cold", parts["cold"]), ("_beyond", parts["beyond"])):
        found = against_truth(p[where], known.truth[where])
        skill |= {f"{key}{name}": value for key, value in found.items()}
    for weighting, area in areas(model, sites, sites.plots(known.train), seed).items() if applicability else ():
        flagged = ~area.inside(tabulate(sites.patches, tested))
        skill |= {f"flagged_{name}_{weighting}": float(flagged[where].mean()) for name, where in parts.items()}
        for name, where in (("applicable", ~flagged), ("flagged", flagged)):
            found = against_truth(p[where], known.truth[where])
            skill |= {f"{key}_{name}_{weighting}": found[key] for key in ("r", "relative_error")}
    skill["seconds_applicability"] = time.perf_counter() - predicted
    return skill


def against_truth(p: Float, truth: Float) -> dict[str, float]:
    """`agreement`, and its mean error over the mean truth. NaN without cells."""
    if not p.size:
        return dict.fromkeys(("r", "r_species", "error", "relative_error"), float("nan"))
    found = agreement(p, truth)
    error = found["mean_error"]
    return {"r": found["pooled"], "r_species": found["per_species"], "error": error, "relative_error": error / float(truth.mean())}


def areas(model: Estimator, sites: Sites, plots: Integers, seed: int) -> dict[str, Applicability]:
    """Areas of applicability of the predictors at the plots; folds are squares of `FOLD_SQUARE` metres.

    Weights: `importance` of each modality by permutation, shared alike by its predictors (`importance_weights`; the maps' own); `predictor`, each
    one's importance by itself, as Meyer & Pebesma do, which is low for each of several that tell the same; both are left out where none has
    any; `equal`; `climate`, equal among the bioclimatic ones and none for others: is the climate new?
    """
    bands, modalities = predictors_of(sites.patches.modalities), sites.patches.modalities
    some = np.sort(np.random.default_rng(seed).choice(plots, min(_WEIGHED, plots.size), replace=False))
    importance = permutation_importance(model.predict, sites, some, [*bands, *(m.name for m in modalities)], repeats=1, seed=seed)
    events = pd.DataFrame({"eventID": plots.astype(str), "x": sites.xy[plots, 0], "y": sites.xy[plots, 1]})
    table, folds = tabulate(sites.patches, plots), spatial_blocks(events, FOLD_SQUARE, seed=seed)
    weights = {
        "importance": importance_weights(importance, modalities),
        "predictor": np.maximum(importance.of(bands), 0),
        "equal": None,
        "climate": np.array([owner == "bioclim" for owner in table.modality], float),
    }
    return {name: Applicability.fit(table, folds, own) for name, own in weights.items() if own is None or (own > 0).any()}


def main() -> None:
    """Measure one model on one world; prints its figures as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", choices=sorted(MODELS), default="random-forest")
    parser.add_argument("--species", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--imagery", action="store_true", help="Sentinel-2 among the predictors")
    arguments = parser.parse_args()
    print(json.dumps(measure(MODELS[arguments.model], arguments.species, arguments.seed, imagery=arguments.imagery), indent=1))


if __name__ == "__main__":
    main()
