"""Stage `train`: one model from all records, and its skill on held-out spatial blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from geoplantnet import occurrences as occ
from geoplantnet.cubes import PatchReader
from geoplantnet.errors import InputError
from geoplantnet.occurrences.splits import spatial_blocks
from geoplantnet.sdm import checkpoint
from geoplantnet.sdm.baselines import LocationOnly, Prevalence
from geoplantnet.sdm.evaluate import skill
from geoplantnet.sdm.model import Architecture
from geoplantnet.sdm.train import BACKGROUND, Step, TrainingData, TrainingPlan, predict_sites, train
from pipelines.build_cubes import empty_tiles, input_files, key_of
from pipelines.context import Run
from pipelines.flow import Inside, Made, Stage
from pipelines.ledger import Ledger
from pipelines.tables import stored_species

BACKGROUND_ID = "background"


def settings(run: Run) -> Callable[[str], object]:
    """Training, validation, which modalities the model learns from, and the files read at plots outside the cubes."""
    r = run.recipe
    learnt = [m.name for m in run.model_modalities]
    asked = [
        r.training.model_dump(mode="json"),
        r.validation.model_dump(mode="json"),
        r.seed,
        [run.asked[name] for name in learnt],
        run.tiles,
        input_files(run, learnt),
    ]
    return lambda key: asked


def needs(run: Run, key: str) -> list[tuple[str, str]]:
    """The occurrences, and what the model learns from of every cube that could be built."""
    return [("occurrences", "all"), *((stage, key) for tile in _learnt_tiles(run) for stage, key in _learnt_of(run, tile))]


def _learnt_of(run: Run, tile_id: str) -> list[tuple[str, str]]:
    return [("cubes", key_of(tile_id, m.name)) for m in run.model_modalities]


def _learnt_tiles(run: Run) -> list[str]:
    """Tiles of which nothing that the model learns from has failed."""
    failed = {("cubes", f.key) for f in Ledger(run.store).failures("cubes")}
    return [tile for tile in run.tiles if failed.isdisjoint(_learnt_of(run, tile))]


def work(run: Run, key: str, inside: Inside) -> Made:
    """Cross-validate, train the model that maps, commit the checkpoint with its skill."""
    species = stored_species(run)
    found = occ.load(run.records)
    events, labels = _sites(run, found, species)
    learnt = _learnt_tiles(run)
    empty = set(empty_tiles(run, learnt))
    cubes = {tile: run.cube(tile) for tile in learnt if tile not in empty}
    sound = _in_sound_tiles(run, events, set(cubes))
    events, labels = events[sound].reset_index(drop=True), labels[np.flatnonzero(sound)]
    absence = (events["sampling"] == "presence-absence").to_numpy()
    patches = PatchReader(
        events, grid=run.grid, modalities=run.model_modalities, sources=run.sources, cubes=cubes, measured=run.recipe.training.measured
    )
    data = TrainingData(patches=patches, labels=labels, presence_absence=absence, group=_groups(events))
    validation = run.recipe.validation
    folds = spatial_blocks(events, size=validation.block, folds=validation.folds, seed=run.recipe.seed)
    scored = absence & (events["datasetID"].isin(validation.test).to_numpy() if validation.test else True)
    if not scored.any():
        raise InputError(
            f"validation.test {list(validation.test)} holds no presence-absence plot; there are {sorted(set(events.loc[absence, 'datasetID']))}"
        )
    held_out = range(validation.folds) if validation.held_out == "all" else range(1)
    rounds = len(held_out) + (validation.held_out == "all")
    scores: dict[str, list[np.ndarray]] = {"model": [], "location only": [], "prevalence": []}
    truth, model = [], None
    for n, fold in enumerate(held_out):
        inner, outer = np.flatnonzero(folds != fold), np.flatnonzero((folds == fold) & scored)
        if not outer.size:
            continue
        model = _fit(run, data, inner, species, inside, n, rounds)
        truth.append(labels[outer].toarray())
        scores["model"].append(predict_sites(model, patches, outer))
        _baselines(events, labels, inner[absence[inner]], outer, scores)
    if validation.held_out == "all":
        model = _fit(run, data, np.arange(len(events)), species, inside, rounds - 1, rounds)
    if model is None:
        raise InputError(
            f"no presence-absence plot lies in held-out fold 0 of {validation.folds} blocks of {validation.block:.0f} m; use smaller blocks"
        )
    stats = {
        "skill": {name: skill(list(zip(p, truth))).to_dict() for name, p in scores.items()},
        "species": len(species),
        "plots": int(absence.sum()),
        "presence_only_sites": int((~absence).sum()),
        "records": int(labels.sum()),
        "sites_in_failed_tiles": int((~sound).sum()),
    }
    checkpoint.save(model, run.model, **stats)
    return [run.model], stats


def _in_sound_tiles(run: Run, events: pd.DataFrame, cubes: set[str]) -> np.ndarray:
    """(event,) False in a tile of the recipe whose cube failed or is empty: what its sources say there cannot be trusted."""
    tiles = pd.Series(run.grid.tile_ids_at(events["x"], events["y"]))
    return (~tiles.isin(set(run.tiles) - cubes)).to_numpy()


def _sites(run: Run, found: occ.OccurrenceSet, species: Any) -> tuple[pd.DataFrame, sparse.csr_array]:
    """Events and labels (event, species), with uniform background sites appended; sites without any label only count
    where absences do, or as background.
    """
    events = pd.DataFrame(found.events.drop(columns="geometry"))
    labels = sparse.csr_array(occ.presence_matrix(found, species, list(events["eventID"])))
    useful = (events["sampling"] == "presence-absence").to_numpy() | (np.asarray(labels.sum(axis=1)).ravel() > 0)
    events, labels = events[useful].reset_index(drop=True), labels[np.flatnonzero(useful)]
    count = run.recipe.training.background
    if count:
        background = _background(run, count)
        events = pd.concat([events, background], ignore_index=True)
        labels = sparse.csr_array(sparse.vstack([labels, sparse.csr_array((count, len(species)), dtype=labels.dtype)]))
    return events, labels


def _groups(events: pd.DataFrame) -> np.ndarray:
    """The presence-only group of every site: its data set, by name."""
    names = sorted(set(events["datasetID"]) - {BACKGROUND_ID})
    return events["datasetID"].map({BACKGROUND_ID: BACKGROUND, **{name: i for i, name in enumerate(names)}}).to_numpy(np.int64)


def _background(run: Run, count: int) -> pd.DataFrame:
    """Uniform points over the mapped tiles: places the presence-only softmax must rank below the records."""
    rng = np.random.default_rng([run.recipe.seed, 77])
    corners = np.array([run.tile(t).bounds[:2] for t in run.tiles])
    inside = rng.random((count, 2)) * run.grid.tile_size
    x, y = (corners[rng.integers(len(corners), size=count)] + inside).T
    names = [f"background:{i}" for i in range(count)]
    return pd.DataFrame(
        {
            "eventID": names,
            "x": x,
            "y": y,
            "sampling": "presence-only",
            "datasetID": BACKGROUND_ID,
            "elevation": np.nan,
            "slope": np.nan,
            "aspect": np.nan,
        }
    )


def _fit(run: Run, data: TrainingData, rows: np.ndarray, species: Any, inside: Inside, n: int, rounds: int) -> Any:
    t = run.recipe.training

    def progress(done: int, total: int, message: str) -> None:
        if done % 5 == 0 or done == total:
            inside(n * total + done, rounds * total, f"model {n + 1}/{rounds}: {message}" if rounds > 1 else message)

    return train(
        data,
        rows=rows,
        modalities=run.model_modalities,
        grid=run.grid,
        species=species,
        architecture=Architecture(width=t.width, latent=t.latent, dropout=t.dropout, modality_dropout=t.modality_dropout),
        plan=TrainingPlan(
            steps=tuple(Step(**s.model_dump()) for s in t.steps),
            batch=t.batch,
            weight_decay=t.weight_decay,
            threads=t.threads,
            seed=run.recipe.seed,
        ),
        progress=progress,
    )


def _baselines(
    events: pd.DataFrame, labels: sparse.csr_array, plots: np.ndarray, outer: np.ndarray, scores: dict[str, list[np.ndarray]]
) -> None:
    xy = events[["x", "y"]].to_numpy(np.float32)
    known = labels[plots].toarray()
    scores["location only"].append(LocationOnly().fit(xy[plots], known).predict(xy[outer]))
    scores["prevalence"].append(Prevalence().fit(xy[plots], known).predict(xy[outer]))


def describe(stats: dict[str, Any]) -> str:
    """AUC of the model beside location alone."""
    own, place = stats["skill"]["model"]["auc"], stats["skill"]["location only"]["auc"]
    lost = stats["sites_in_failed_tiles"]
    note = f"; {lost:,} sites in failed or empty tiles left out" if lost else ""
    return f"{stats['species']} species; AUC {own or float('nan'):.3f} (location only {place or float('nan'):.3f}){note}"


TRAIN: Stage[Run] = Stage(
    "train", keys=lambda run: ("model",), settings=settings, needs=needs, work=work, describe=describe, of_tiles=False
)
