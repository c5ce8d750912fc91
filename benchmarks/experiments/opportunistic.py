"""What maps learnt from opportunistic, automatically identified records are worth beside those learnt from expert inventories.

After Botella, Joly, Bonnet, Monestiez & Munoz 2018, "Species distribution modeling based on the automated identification of citizen
observations", Applications in Plant Sciences 6(2): e1029 (https://doi.org/10.1002/aps3.1029). First on virtual worlds, where the truth is
known; then on Swiss forests, where preferential releves (ek) stand for the opportunistic records and a systematic survey
(ws500) for the inventory. The study and its findings: docs/experiments/opportunistic.md, whose tables this module writes.

    python -m benchmarks.experiments.opportunistic [--quick] [--data FOLDER] [--write docs/experiments/opportunistic.md]
"""

from __future__ import annotations

import argparse
import io
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from scipy import sparse

from benchmarks.experiments.virtual import CORNER, dry_cells, predictors, presences
from geoplantnet.cubes import TablePatches
from geoplantnet.grid.raster import sample_at
from geoplantnet.occurrences.darwin_core import presence_matrix
from geoplantnet.occurrences.splits import spatial_blocks
from geoplantnet.occurrences.surveys import read_ek, read_ws
from geoplantnet.sdm.deep import Deep
from geoplantnet.sdm.estimator import Estimator
from geoplantnet.sdm.evaluate import auc_per_species
from geoplantnet.sdm.examples import Background
from geoplantnet.sdm.forest import RandomForest
from geoplantnet.sdm.glm import GLM
from geoplantnet.sdm.maxent import MaxEnt
from geoplantnet.sdm.sites import BACKGROUND, Float, Integers, Sites
from geoplantnet.sources.virtual import VirtualLandCover, VirtualLandscape, VirtualSpecies, sample_plots, sample_presence_only
from geoplantnet.taxonomy import SpeciesList
from geoplantnet.taxonomy.backbone import Backbone, species_list_from

Double = npt.NDArray[np.float64]
Scores = dict[str, Double]

SIDE = 50_000
"""Metres of a virtual world."""
SPECIES = 200
STREAM = 100_000
"""Records drawn at once: those of one company of recorders."""
AMOUNTS = (50, 200, 1_000, 5_000)
"""Records a species."""
PLOTS = (100, 300, 1_000, 3_000)
THRESHOLDS = (0.0, 0.3, 0.5, 0.7, 0.9)
"""Least confidence of an identification."""
CULTIVATED = (0.0, 0.25, 0.5)
"""Share of a species' records that are of planted specimens."""
BACKGROUND_SITES = 3_000
MAP_CELLS, TEST_PLOTS = 4_000, 3_000
CONGENER, SAME_FAMILY = 0.6, 0.3
"""Shares of wrong identifications that name another species of the genus, and another genus of the family; the rest name any species."""
ACCURACY, RIGHT, WRONG = (6.0, 2.0), (4.0, 1.5), (2.0, 3.5)
"""Beta distributions: of a species' share of right identifications, and of the confidence of right and of wrong ones."""
SETTLED = 0.2
"""Share of village in a cell above which a planner may call it settled."""
PAIRS = 6
"""Invasive species a world, each with a partner that is not, of like number of records."""
NAMED = 1_000
"""Specimens named as a species, among which a threshold chooses; and the fewest records an invasive species needs to be compared."""
GROWN = 500
"""Records of a species, wild and planted."""
FEWEST = 5
APP, CONFIDENT, FEW_PLOTS = 20_000, 0.5, 300
"""Identifications of an app, the least confidence kept, and plots of a region."""
EXPERT_PLOTS = 700
"""About as many as the Swiss survey has."""
TREES = 50
BACKGROUNDS: tuple[Background, ...] = ("uniform", "target-group")
DRAWS = 2_000
"""Bootstrap draws over species."""
LEAST = 30
"""Plots of a species in both Swiss surveys."""
BLOCK, FOLDS = 50_000, 5
NEOPHYTES = (
    "Impatiens parviflora",
    "Pinus strobus",
    "Pseudotsuga menziesii",
    "Quercus rubra",
    "Robinia pseudoacacia",
    "Solidago canadensis",
    "Solidago gigantea",
)
"""Plants brought to Switzerland after 1500 that the surveys name; our choice, since the reference table only knows "alien somewhere in Europe"."""
SOURCES = {
    "plots": ("#222222", "inventory plots"),
    "target-group": ("#1b7837", "records, target-group background"),
    "uniform": ("#c2622d", "records, uniform background"),
}
"""Colour and title in figures."""


def overlap(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Double, Double]:
    """Schoener's D and Warren's I (species,) of maps (cell, species) >= 0, each scaled to sum to 1 over the cells.

    D = 1 - 1/2 sum |p - q|;  I = 1 - 1/2 sum (sqrt p - sqrt q)^2 (Warren, Glor & Turelli 2008, Evolution 62: 2868, with its erratum of
    2011). 1 = the same map, 0 = no cell in common; NaN where a map is empty.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        p, q = (np.asarray(m, np.float64) / np.sum(m, axis=0, dtype=np.float64) for m in (a, b))
    return 1 - np.abs(p - q).sum(axis=0) / 2, 1 - ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(axis=0) / 2


def correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> Double:
    """Pearson's r (species,) of maps (cell, species); NaN where one is flat."""
    x, y = (m - m.mean(axis=0) for m in (np.asarray(a, np.float64), np.asarray(b, np.float64)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))


def identify(taxa: SpeciesList, true: Integers, rng: np.random.Generator) -> tuple[Integers, Double]:
    """What an automatic identification makes of specimens of species `true` (n,): the species named (n,), and its confidence (n,).

    A simulation, not a model of a real system: a species has its own share of right names; a wrong name is mostly a relative's, and less
    confident than a right one (ACCURACY, CONGENER, SAME_FAMILY, RIGHT, WRONG).
    """
    genus, family = (pd.factorize(pd.Series([getattr(t, rank) for t in taxa]))[0] for rank in ("genus", "family"))
    named = true.copy()
    wrong = rng.random(true.size) >= rng.beta(*ACCURACY, len(taxa))[true]
    roll = rng.random(true.size)
    for k in np.unique(true[wrong]):
        own = np.flatnonzero(wrong & (true == k))
        others = np.flatnonzero(np.arange(len(taxa)) != k)
        for low, high, kin in (
            (0.0, CONGENER, genus[others] == genus[k]),
            (CONGENER, CONGENER + SAME_FAMILY, (family[others] == family[k]) & (genus[others] != genus[k])),
            (CONGENER + SAME_FAMILY, 1.0, np.ones(others.size, bool)),
        ):
            taken = own[(roll[own] >= low) & (roll[own] < high)]
            named[taken] = rng.choice(others[kin] if kin.any() else others, taken.size)
    confidence = np.where(named == true, rng.beta(*RIGHT, true.size), rng.beta(*WRONG, true.size))
    return named, confidence


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """Opportunistic records; arrays share the axis `record`."""

    xy: Double
    """(record, 2) EPSG:3035."""
    true: Integers
    named: Integers
    """Positions in the species list."""
    confidence: Double


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Some sites to learn from."""

    xy: Double
    """(site, 2)"""
    labels: sparse.csr_array
    """(site, species)"""
    kind: str
    """plot, record or background."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """One virtual world and what is the same in all comparisons on it."""

    virtual: VirtualSpecies
    stream: Stream
    focal: Integers
    """Species compared: the invasive ones, and for each another of like number of records."""
    invasive: npt.NDArray[np.bool_]
    """(focal,)"""
    cells: pd.DataFrame
    """Random cells x, y, where maps are compared."""
    truth: Float
    """(cell, focal)"""
    plots: pd.DataFrame
    """Independent plots x, y, for AUC."""
    found: npt.NDArray[np.uint8]
    """(plot, focal)"""
    expert: Float | None = None
    """(cell, focal) map of a Random Forest on EXPERT_PLOTS plots: what stands for the truth where none is known."""


def place(seed: int, *, streams: int, pairs: int = PAIRS) -> Place:
    """A virtual world of fractal mountains, with `streams` companies of recorders; at most `pairs` invasive species and their partners."""
    west, south = CORNER
    landscape = VirtualLandscape.fractal((west, south, west + SIDE, south + SIDE), seed=seed)
    virtual = VirtualSpecies.generate(SPECIES, landscape=landscape, seed=seed)
    rng = np.random.default_rng([seed, 11])
    ids = pd.Index([t.taxon_id for t in virtual.species_list])
    parts = [sample_presence_only(virtual, STREAM, seed=100 * seed + i)[["x", "y", "taxonID"]] for i in range(streams)]
    met = pd.concat(parts, ignore_index=True)
    true = ids.get_indexer(pd.Index(met["taxonID"])).astype(np.int64)
    named, confidence = identify(virtual.species_list, true, rng)
    traits, records = virtual.traits["invasive"].to_numpy(), np.bincount(true, minlength=SPECIES)
    chosen = rng.permutation(np.flatnonzero((traits == 1) & (records >= NAMED)))[:pairs]
    partners: list[int] = []
    for k in chosen:
        free = [j for j in np.flatnonzero(traits == 0) if j not in partners]
        partners.append(min(map(int, free), key=lambda j: abs(np.log(records[j] + 1) - np.log(records[k] + 1))))
    focal = np.concatenate([chosen, partners]).astype(np.int64)
    cells = dry_cells(landscape, MAP_CELLS, rng)
    events, found = sample_plots(virtual, TEST_PLOTS, seed=10_000)
    here = Place(
        virtual=virtual,
        stream=Stream(xy=met[["x", "y"]].to_numpy(np.float64), true=true, named=named, confidence=confidence),
        focal=focal,
        invasive=np.arange(focal.size) < chosen.size,
        cells=cells,
        truth=virtual.true_probability(x=cells["x"], y=cells["y"])[:, focal],
        plots=events[["x", "y"]],
        found=presences(found, events["eventID"], virtual)[:, focal].toarray().astype(np.uint8),
    )
    plots = inventory(here, EXPERT_PLOTS, 20_000)
    sites = sites_of(here, [plots], SpeciesList(checklist="virtual", taxa=tuple(virtual.species_list[int(k)] for k in focal)))
    expert = RandomForest(trees=TREES).fit(sites, np.arange(EXPERT_PLOTS))
    return replace(here, expert=expert.predict(sites, np.arange(EXPERT_PLOTS, EXPERT_PLOTS + len(cells))))


def judge(here: Place, model: Estimator, sites: Sites, focal: Integers) -> Scores:
    """Scores of `focal` (positions in `here.focal`), the species of `sites`, which end with the cells and then the independent plots.

    `r`, `D`, `I` of the map against the truth; `expert_D` against the map of an expert inventory; `AUC` at the independent plots.
    """
    n, m = len(here.cells), len(here.plots)
    p = model.predict(sites, np.arange(len(sites) - n - m, len(sites)))
    d, i = overlap(p[:n], here.truth[:, focal])
    return {
        "r": correlation(p[:n], here.truth[:, focal]),
        "D": d,
        "I": i,
        "expert_D": overlap(p[:n], here.expert[:, focal])[0] if here.expert is not None else np.full(focal.size, np.nan),
        "AUC": auc_per_species(p[n:], here.found[:, focal]).astype(np.float64),
    }


def sites_of(here: Place, parts: Sequence[Part], taxa: SpeciesList) -> Sites:
    """Sites of some parts; the cells and the independent plots are put behind."""
    empty = sparse.csr_array((len(here.cells) + len(here.plots), len(taxa)), dtype=np.uint8)
    places = np.concatenate([part.xy for part in parts] + [here.cells.to_numpy(), here.plots.to_numpy()])
    kind = np.repeat([part.kind for part in parts] + ["asked"], [len(part.xy) for part in parts] + [empty.shape[0]])
    return Sites(
        species=taxa,
        patches=predictors(here.virtual.landscape, pd.DataFrame(places, columns=["x", "y"])),
        labels=sparse.csr_array(sparse.vstack([part.labels for part in parts] + [empty], format="csr")),
        presence_absence=kind == "plot",
        group=np.where(kind == "background", BACKGROUND, 0).astype(np.int64),
        xy=places,
    )


def learnt(here: Place, model: Estimator, parts: Sequence[Part], focal: Integers) -> Scores:
    """Scores of a model fitted on some parts, whose labels are those of `focal` species."""
    taxa = SpeciesList(checklist="virtual", taxa=tuple(here.virtual.species_list[int(k)] for k in here.focal[focal]))
    sites = sites_of(here, parts, taxa)
    return judge(here, model.fit(sites, np.arange(sum(len(part.xy) for part in parts))), sites, focal)


def around(here: Place, records: Double, target: Double, rng: np.random.Generator) -> list[Part]:
    """One species' records (n, 2), other people's finds `target` (m, 2), and uniform background."""
    target = target[rng.choice(len(target), min(BACKGROUND_SITES, len(target)), replace=False)]
    uniform = dry_cells(here.virtual.landscape, BACKGROUND_SITES, rng).to_numpy()
    return [
        Part(xy=records, labels=sparse.csr_array(np.ones((len(records), 1), np.uint8)), kind="record"),
        Part(xy=target, labels=sparse.csr_array((len(target), 1), dtype=np.uint8), kind="record"),
        Part(xy=uniform, labels=sparse.csr_array((len(uniform), 1), dtype=np.uint8), kind="background"),
    ]


def inventory(here: Place, n: int, seed: int) -> Part:
    """`n` plots of an expert inventory, all focal species looked for."""
    events, found = sample_plots(here.virtual, n, seed=seed)
    return Part(xy=events[["x", "y"]].to_numpy(), labels=presences(found, events["eventID"], here.virtual)[:, here.focal], kind="plot")


def rows(here: Place, scores: Scores, focal: Integers, **setting: object) -> Iterator[dict[str, object]]:
    """One row a species."""
    for j, k in enumerate(focal):
        species = f"{here.virtual.seed}:{here.virtual.species_list[int(here.focal[k])].taxon_id}"
        own = {name: float(values[j]) for name, values in scores.items()}
        yield {**setting, "species": species, "group": "invasive" if here.invasive[k] else "other", **own}


def amounts(here: Place, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """Records of right name, 50 to 5,000 a species, against either background; and plots, 100 to 3,000. All models at NAMED, else GLM."""
    everyone = np.arange(here.focal.size)
    models: dict[str, Estimator] = {"GLM": GLM(), "Random Forest": RandomForest(trees=TREES)}
    for n in PLOTS:
        for name, model in models.items():
            yield from rows(here, learnt(here, model, [inventory(here, n, n)], everyone), everyone, source="plots", n=n, model=name)
    for k in everyone:
        own = rng.permutation(np.flatnonzero(here.stream.true == here.focal[k]))
        for n in (n for n in AMOUNTS if n <= own.size):
            parts = around(here, here.stream.xy[own[:n]], here.stream.xy, rng)
            for background in BACKGROUNDS:
                for name, model in presence_only(background).items():
                    if n != NAMED and name != "GLM":
                        continue
                    scores = learnt(here, model, parts, np.array([k]))
                    yield from rows(here, scores, np.array([k]), source=background, n=n, model=name)


def thresholds(here: Place, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """1,000 specimens named as the species, kept above a confidence; and as many of right name."""
    for k in range(here.focal.size):
        species, stream = here.focal[k], here.stream
        named = rng.permutation(np.flatnonzero(stream.named == species))[:NAMED]
        right = rng.permutation(np.flatnonzero(stream.true == species))
        for least in THRESHOLDS:
            kept = named[stream.confidence[named] >= least]
            if kept.size < FEWEST:
                continue
            setting = {"threshold": least, "records": kept.size, "precision": float((stream.true[kept] == species).mean())}
            for source, own in (("as identified", kept), ("right names", right[: kept.size])):
                parts = around(here, stream.xy[own], stream.xy, rng)
                scores = learnt(here, GLM(background="target-group"), parts, np.array([k]))
                yield from rows(here, scores, np.array([k]), source=source, **setting)


def cultivation(here: Place, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """500 records of a species, some of planted specimens in settlements; and what leaving settlements out does."""
    anywhere = dry_cells(here.virtual.landscape, 40 * MAP_CELLS, rng).to_numpy()
    yards = anywhere[settled(here, anywhere)]
    target = here.stream.xy[rng.choice(len(here.stream.xy), 5 * BACKGROUND_SITES, replace=False)]
    wild_target = target[~settled(here, target)]
    for k in range(here.focal.size):
        own = here.stream.xy[rng.permutation(np.flatnonzero(here.stream.true == here.focal[k]))[:GROWN]]
        for share in CULTIVATED:
            planted = yards[rng.choice(len(yards), round(share * len(own)))]
            records = np.concatenate([own[: len(own) - len(planted)], planted])
            wild = records[~settled(here, records)]
            cases: tuple[tuple[Background, str, Double, Double], ...] = (
                ("uniform", "none", records, target),
                ("target-group", "none", records, target),
                ("target-group", "nothing from settlements", wild, wild_target),
            )
            for background, remedy, some, others in cases:
                if len(some) < FEWEST:
                    continue
                scores = learnt(here, presence_only(background)["GLM"], around(here, some, others, rng), np.array([k]))
                setting = {"cultivated": share, "background": background, "remedy": remedy, "records": len(some)}
                yield from rows(here, scores, np.array([k]), **setting)


def together(here: Place, rng: np.random.Generator) -> Iterator[dict[str, object]]:
    """A region's 300 plots, an app's 20,000 identifications of any species, and both; every model on the same."""
    stream, everyone = here.stream, np.arange(here.focal.size)
    met = rng.choice(len(stream.xy), APP, replace=False)
    met = met[stream.confidence[met] >= CONFIDENT]
    labels = sparse.csr_array((np.ones(met.size, np.uint8), (np.arange(met.size), stream.named[met])), shape=(met.size, SPECIES))
    app = Part(xy=stream.xy[met], labels=sparse.csr_array(labels[:, here.focal]), kind="record")
    plots = inventory(here, FEW_PLOTS, FEW_PLOTS)
    for source, parts in (("plots", [plots]), ("records", [app]), ("both", [plots, app])):
        for name, model in (
            ("GLM", GLM(background="target-group")),
            ("Random Forest", RandomForest(trees=TREES, background="target-group")),
            ("deep-SDM", Deep()),
        ):
            yield from rows(here, learnt(here, model, parts, everyone), everyone, source=source, model=name)


def presence_only(background: Background) -> dict[str, Estimator]:
    """The models for records without absences."""
    return {
        "GLM": GLM(background=background),
        "MaxEnt": MaxEnt(background=background, classes="lqh"),
        "Random Forest": RandomForest(background=background, trees=TREES),
    }


def settled(here: Place, places: Double) -> npt.NDArray[np.bool_]:
    """Whether places (n, 2) lie in settlements."""
    source = VirtualLandCover(here.virtual.landscape)
    return source.at(pd.DataFrame(places, columns=["x", "y"]))[:, source.bands.index("village")] > SETTLED


@dataclass(frozen=True, kw_only=True, eq=False)
class Forests:
    """The Swiss surveys. Sites: ek, ws500, and the places of ws500 once more as background without species."""

    sites: Sites
    survey: npt.NDArray[np.str_]
    """(site,) ek, ws or place."""
    fold: Integers
    """(site,) of a spatial block."""
    count: pd.DataFrame
    """Plots a species (all of both surveys) in ek and ws; whether of the Union list."""


def swiss_forests(data: Path) -> Forests:
    """Species with `LEAST` plots in both surveys; predictors are the plot's elevation and E-OBS' 19 bioclimatic variables (0.1 degree)."""
    reference = data / "reference"
    backbone = Backbone.read(reference / "species_reference.csv", reference / "synonyms_germansl.csv")
    surveys = {"ek": read_ek(data / "swiss_plots_dave", backbone), "ws": read_ws(data / "swiss_plots_dave", backbone)}
    count = (
        pd.DataFrame({name: survey.occurrences["scientificName"].value_counts() for name, survey in surveys.items()}).fillna(0).astype(int)
    )
    union = pd.read_csv(reference / "species_reference.csv", usecols=["species", "eu_ias_union_concern"]).set_index("species")
    count["union"] = union["eu_ias_union_concern"].reindex(count.index) == 1
    taxa = species_list_from(count.index[((count["ek"] >= LEAST) & (count["ws"] >= LEAST)) | count.index.isin(NEOPHYTES)], backbone)
    events = pd.concat([surveys["ek"].events, surveys["ws"].events, surveys["ws"].events], ignore_index=True)
    survey = np.repeat(["ek", "ws", "place"], [len(surveys[name].events) for name in ("ek", "ws", "ws")])
    labels = [presence_matrix(s, taxa, list(s.events["eventID"])) for s in surveys.values()]
    fold = spatial_blocks(events, BLOCK, FOLDS, plots=survey == "ws")
    return Forests(
        sites=Sites(
            species=taxa,
            patches=TablePatches(*forest_predictors(data, events)),
            labels=sparse.csr_array(sparse.vstack([*labels, sparse.csr_array(labels[1].shape, dtype=np.uint8)], format="csr")),
            presence_absence=survey == "ws",
            group=np.where(survey == "place", BACKGROUND, 0).astype(np.int64),
            xy=events[["x", "y"]].to_numpy(np.float64),
        ),
        survey=survey,
        fold=fold,
        count=count,
    )


def forest_predictors(data: Path, events: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]]]:
    """Table and columns of its modalities; the coast's pixels without climate take the nearest pixel's."""
    path, x, y = data / "europe_env_edc" / "eobs_bioclim_1987_2017_0p1deg.tif", events["x"], events["y"]
    smooth, nearest = (sample_at(path, x, y, "EPSG:3035", method=method) for method in ("bilinear", "nearest"))
    names = tuple(f"bio{i}" for i in range(1, 20))
    frame = pd.DataFrame(np.where(np.isfinite(smooth), smooth, nearest), columns=list(names))
    return frame.assign(elevation=events["elevation"].to_numpy(np.float32)), {"bioclim": names, "plot": ("elevation",)}


def forest_maps(forests: Forests) -> Iterator[tuple[int, str, str, Float]]:
    """Held-out block, what was learnt from, model, and probabilities or suitability (plot, species) at the block's ws plots."""
    whole, survey = forests.sites, forests.survey
    lists = replace(whole, presence_absence=survey != "place")
    for fold in range(FOLDS):
        rng = np.random.default_rng(fold)
        ek, ws, places = (np.flatnonzero((forests.fold != fold) & (survey == name)) for name in ("ek", "ws", "place"))
        asked = np.flatnonzero((forests.fold == fold) & (survey == "ws"))
        first, second = np.array_split(rng.permutation(ws), 2)
        few = rng.choice(ek, min(ws.size, ek.size), replace=False)
        sources = {
            "ek records, uniform": (whole, np.concatenate([ek, places])),
            "ek records, target-group": (whole, ek),
            "ek as plots": (lists, ek),
            "ek as plots, as many as ws": (lists, few),
            "ws": (whole, ws),
            "half of ws": (whole, first),
            "other half of ws": (whole, second),
            "ws and ek as plots": (lists, np.concatenate([ws, ek])),
            "ws and ek records": (whole, np.concatenate([ws, ek])),
        }
        for source, (sites, rows_) in sources.items():
            for name, model in forest_models(source).items():
                yield fold, source, name, model.fit(sites, rows_).predict(whole, asked)


def forest_models(source: str) -> dict[str, Estimator]:
    """Models of a source: forests where absences are, since one a species and tree is slow; the deep one on the plain cases."""
    models: dict[str, Estimator] = {"GLM": GLM(background="uniform" if source.endswith("uniform") else "target-group")}
    if "records" not in source:
        models["Random Forest"] = RandomForest(trees=TREES)
    if source in ("ek records, target-group", "ws", "ws and ek records"):
        models["deep-SDM"] = Deep()
    return models


def forest_scores(forests: Forests) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of the species with `LEAST` plots in both surveys, means over blocks: AUC at ws plots of the block, and overlap with the map from ws.
    Of the neophytes: AUC over all blocks together.
    """
    maps: dict[tuple[str, str], dict[int, Float]] = {}
    for fold, source, name, p in forest_maps(forests):
        maps.setdefault((source, name), {})[fold] = p
    names = np.array([t.scientific_name for t in forests.sites.species])
    common = (forests.count.loc[names, ["ek", "ws"]] >= LEAST).all(axis=1).to_numpy()
    found = {f: forests.sites.found(np.flatnonzero((forests.fold == f) & (forests.survey == "ws"))) for f in range(FOLDS)}
    scores, few = [], []
    for (source, name), own in maps.items():
        beside = maps["other half of ws" if source == "half of ws" else "ws", name]
        auc = np.stack([auc_per_species(own[f], found[f]) for f in range(FOLDS)])
        d, i = np.stack([overlap(own[f], beside[f]) for f in range(FOLDS)], axis=1)
        r = np.stack([correlation(own[f], beside[f]) for f in range(FOLDS)])
        means = {"AUC": auc, "r": r, "D": d, "I": i}
        frame = pd.DataFrame({key: _mean_known(value)[common] for key, value in means.items()})
        scores.append(frame.assign(source=source, model=name, species=names[common]))
        pooled = auc_per_species(np.concatenate(list(own.values())), np.concatenate([found[f] for f in own]))
        few.append(pd.DataFrame({"AUC": pooled, "source": source, "model": name, "species": names})[np.isin(names, NEOPHYTES)])
    return pd.concat(scores, ignore_index=True), pd.concat(few, ignore_index=True)


def _mean_known(values: Double) -> Double:
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)


def summary(scores: pd.DataFrame, keys: Sequence[str], columns: Sequence[str], plain: Sequence[str] = ()) -> pd.DataFrame:
    """A row a setting: number of species, means of `plain` columns, and of `columns` with 95 % intervals from resampling species."""
    lines = []
    for setting, own in scores.groupby(list(keys), sort=False):
        line: dict[str, object] = dict(zip(keys, setting)) | {"species": len(own)}
        line |= {column: float(own[column].mean()) for column in plain}
        drawn = np.random.default_rng(0).integers(0, len(own), (DRAWS, len(own)))
        for column in columns:
            values = own[column].to_numpy(np.float64)
            low, high = np.nanquantile(np.nanmean(values[drawn], axis=1), (0.025, 0.975))
            line[column] = f"{np.nanmean(values):.3f} ({low:.3f}..{high:.3f})"
        lines.append(line)
    return pd.DataFrame(lines)


def difference(scores: pd.DataFrame, keys: Sequence[str], column: str, setting: str, against: str) -> pd.DataFrame:
    """Mean difference of `column` between every value of `setting` and the value `against`, species by species, with its 95 % interval."""
    lines = []
    for key, own in scores.groupby(list(keys), sort=False):
        wide = own.pivot(index="species", columns=setting, values=column)
        for value in (v for v in own[setting].unique() if v != against and against in wide):
            gap = (wide[value] - wide[against]).dropna().to_numpy()
            drawn = gap[np.random.default_rng(0).integers(0, gap.size, (DRAWS, gap.size))].mean(axis=1)
            low, high = np.quantile(drawn, (0.025, 0.975))
            line = dict(zip(keys, key)) | {setting: value, "species": gap.size}
            lines.append(line | {f"{column}, minus {against}": f"{gap.mean():+.3f} ({low:+.3f}..{high:+.3f})"})
    return pd.DataFrame(lines)


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table; numbers to three digits."""
    cells = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in line] for line in table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [list(map(str, table.columns)), ["---"] * table.shape[1], *cells])


def write_tables(document: Path, tables: dict[str, str]) -> None:
    """Put each table between its marks, ``<!-- name -->`` and ``<!-- end -->``. Raises KeyError for a table without marks."""
    text = document.read_text(encoding="utf-8")
    for name, table in tables.items():
        text, times = re.subn(f"(?s)(<!-- {name} -->\n).*?(<!-- end -->)", rf"\1\n{table}\n\n\2", text)
        if times != 1:
            raise KeyError(f"{document} has no one place for the table {name!r}")
    document.write_text(text, encoding="utf-8")


def draw_amounts(scores: pd.DataFrame, file: Path) -> None:
    """Correlation with the truth against the number of plots, or of records, as far as all species have as many."""
    figure, panels = plt.subplots(1, 2, figsize=(8.4, 3.6), sharey=True, layout="constrained")
    for axes, group in zip(panels, ("invasive", "other")):
        for source, (colour, title) in SOURCES.items():
            own = scores[
                (scores["group"] == group) & (scores["source"] == source) & (scores["model"] == "GLM") & (scores["n"] != max(AMOUNTS))
            ]
            found = own.groupby("n")["r"].agg(["mean", "sem"])
            axes.plot(found.index, found["mean"], marker="o", color=colour, label=title)
            axes.fill_between(
                found.index, found["mean"] - 1.96 * found["sem"], found["mean"] + 1.96 * found["sem"], color=colour, alpha=0.12, lw=0
            )
        axes.set(xscale="log", xlabel="plots, or records of the species", title=f"{group} species", ylim=(0, 1))
        axes.set_xticks([50, 100, 300, 1_000, 3_000], ["50", "100", "300", "1,000", "3,000"], minor=False)
        axes.minorticks_off()
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("correlation of map and truth")
    panels[1].legend(frameon=False, fontsize=8, loc="lower right")
    _save(figure, file)


def draw_maps(here: Place, file: Path) -> None:
    """The first invasive species: its true probability, and three maps by GLM, each on a scale of its own; water is grey, presences are dots."""
    west, south, east, north = here.virtual.landscape.bounds
    step = 400
    x, y = np.meshgrid(np.arange(west + step / 2, east, step), np.arange(north - step / 2, south, -step))
    lattice = replace(here, cells=pd.DataFrame({"x": x.ravel(), "y": y.ravel()}), plots=here.plots[:0])
    cover = VirtualLandCover(here.virtual.landscape)
    wet = cover.at(lattice.cells)[:, cover.bands.index("water")] >= 0.5
    species, rng = int(here.focal[0]), np.random.default_rng(0)
    taxa = SpeciesList(checklist="virtual", taxa=(here.virtual.species_list[species],))
    plots = inventory(here, EXPERT_PLOTS, 20_000)
    records = here.stream.xy[rng.permutation(np.flatnonzero(here.stream.true == species))[:GROWN]]
    parts = around(here, records, here.stream.xy, rng)
    shown: list[tuple[str, Float, Double]] = [
        ("true probability", here.virtual.true_probability(x=x.ravel(), y=y.ravel())[:, species], np.empty((0, 2)))
    ]
    for title, own, model, dots in (
        (
            f"{EXPERT_PLOTS} inventory plots",
            [replace(plots, labels=plots.labels[:, [0]])],
            GLM(),
            plots.xy[plots.labels[:, [0]].toarray()[:, 0] > 0],
        ),
        (f"{GROWN} records, uniform background", parts, GLM(background="uniform"), records),
        (f"{GROWN} records, target-group background", parts, GLM(background="target-group"), records),
    ):
        sites = sites_of(lattice, own, taxa)
        n = sum(len(part.xy) for part in own)
        shown.append((title, model.fit(sites, np.arange(n)).predict(sites, np.arange(n, len(sites)))[:, 0], dots))
    figure, panels = plt.subplots(1, 4, figsize=(12, 3.4), layout="constrained")
    for axes, (title, values, dots) in zip(panels, shown):
        land = np.where(wet, np.nan, values)
        axes.imshow(land.reshape(x.shape), extent=(west, east, south, north), cmap="viridis", vmin=0, vmax=np.nanquantile(land, 0.995))
        axes.set_facecolor("#d9d9d9")
        axes.scatter(*dots.T, s=3, c="white", lw=0, alpha=0.6)
        axes.set(title=title, xticks=[], yticks=[])
        axes.title.set_fontsize(9)
    _save(figure, file)


def draw_forests(scores: pd.DataFrame, file: Path) -> None:
    """AUC of every species from ek against AUC from ws; and overlap of their maps against that of two halves of ws."""
    wide = scores[scores["model"] == "GLM"].pivot(index="species", columns="source", values=["AUC", "D"])
    figure, panels = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
    for axes, x, y, name, low in (
        (panels[0], wide["AUC"]["ws"], wide["AUC"]["ek records, target-group"], "AUC at ws plots", 0.3),
        (panels[1], wide["D"]["half of ws"], wide["D"]["ek records, target-group"], "Schoener's D", 0.0),
    ):
        axes.plot([low, 1], [low, 1], color="#888888", lw=0.8)
        axes.scatter(x, y, s=12, c="#1b7837", alpha=0.6, lw=0)
        axes.set(xlim=(low, 1), ylim=(low, 1), aspect="equal", title=name)
        axes.grid(alpha=0.25)
    panels[0].set(xlabel="learnt from ws (inventory)", ylabel="learnt from ek (records, target-group)")
    panels[1].set(xlabel="two halves of ws with each other", ylabel="ek with ws")
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()
    figure.savefig(whole, dpi=90)
    plt.close(figure)
    Image.open(whole).convert("RGB").quantize(96).save(file, optimize=True)  # a quarter of the size, for the repository


def virtual_tables(seeds: Sequence[int], figures: Path | None, *, quick: bool) -> dict[str, str]:
    """The tables of the virtual worlds, as Markdown by name; all but the last when `quick`."""
    collected: dict[str, list[dict[str, object]]] = {}
    experiments = [amounts, thresholds, cultivation] + ([] if quick else [together])
    for seed in seeds:
        here = place(seed, streams=1, pairs=2) if quick else place(seed, streams=8)
        for number, experiment in enumerate(experiments):
            collected.setdefault(experiment.__name__, []).extend(experiment(here, np.random.default_rng([seed, number])))
        if figures and seed == seeds[0]:
            draw_maps(here, figures / "opportunistic-maps.png")
    found = {name: pd.DataFrame(lines) for name, lines in collected.items()}
    if figures:
        draw_amounts(found["amounts"], figures / "opportunistic-amounts.png")
    many, measures = found["amounts"], ["r", "D", "I", "AUC"]
    usual = many[many["n"] == NAMED]
    records = usual[usual["source"] != "plots"]
    gaps = [difference(records, ["group", "model"], column, "source", "uniform") for column in measures]
    tables = {
        "amounts": summary(many[many["model"] == "GLM"], ["group", "source", "n"], measures),
        "models": summary(usual, ["group", "source", "model"], measures),
        "backgrounds": reduce(pd.merge, gaps),
        "stand-in": summary(records, ["group", "source", "model"], ["D", "expert_D"]),
        "thresholds": summary(found["thresholds"], ["source", "threshold"], ["r", "D", "AUC"], ["records", "precision"]),
        "cultivation": summary(found["cultivation"], ["group", "cultivated", "background", "remedy"], ["r", "D", "AUC"], ["records"]),
    }
    if not quick:
        tables["together"] = summary(found["together"], ["model", "source"], measures)
    return {name: markdown(table) for name, table in tables.items()}


def forest_tables(data: Path, figures: Path | None) -> dict[str, str]:
    """The tables of the Swiss surveys, as Markdown by name."""
    forests = swiss_forests(data)
    scores, few = forest_scores(forests)
    if figures:
        draw_forests(scores, figures / "opportunistic-forests.png")
    auc = few.assign(what=few["model"] + ", " + few["source"]).pivot(index="species", columns="what", values="AUC")
    shown = [f"{model}, {source}" for model in ("GLM", "deep-SDM") for source in ("ek records, target-group", "ws", "ws and ek records")]
    union = forests.count.index[forests.count["union"]]
    listed = forests.count.loc[[*union, *NEOPHYTES]].reset_index(names="species").drop(columns="union")
    return {
        "forests": markdown(summary(scores, ["model", "source"], ["AUC", "r", "D", "I"])),
        "forest-differences": markdown(difference(scores, ["model"], "AUC", "source", "ws")),
        "aliens": markdown(listed.merge(auc[shown].reset_index(), on="species", how="left")),
    }


def main() -> None:
    """Run the study; print its tables, or write them into a document."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="one virtual world with few records; no Swiss forests")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("GEOPLANTNET_DATA", "../shared/data")), help="folder of the Swiss surveys"
    )
    parser.add_argument("--write", type=Path, help="document whose tables are renewed, and beside it img/experiments")
    parser.add_argument("--seed", type=int, default=1, help="of the first virtual world; the second has the next")
    arguments = parser.parse_args()
    figures = None if arguments.write is None else arguments.write.parent.parent / "img" / "experiments"
    began = time.perf_counter()
    seeds = [arguments.seed] if arguments.quick else [arguments.seed, arguments.seed + 1]
    tables = virtual_tables(seeds, figures, quick=arguments.quick)
    if not arguments.quick:
        tables |= forest_tables(arguments.data, figures)
    for name, table in tables.items():
        print(f"{name}\n\n{table}\n")
    if arguments.write:
        write_tables(arguments.write, tables)
    print(f"{time.perf_counter() - began:.0f} s, {time.process_time():.0f} s of one processor")


if __name__ == "__main__":
    main()
