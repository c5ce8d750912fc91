"""Stage `train`: an ensemble from all records, its skill on held-out spatial blocks, its calibration, and where it applies."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

import geoplantnet
from geoplantnet import occurrences as occ
from geoplantnet.config.load import named_file, read_yaml, recipe_folders
from geoplantnet.config.models import LEAST_FOLDS, mapped_model
from geoplantnet.config.typology import load_typology
from geoplantnet.cubes.modality import Modality
from geoplantnet.errors import InputError
from geoplantnet.sdm.applicability import Applicability
from geoplantnet.sdm.calibrate import Calibration, Choice, choose
from geoplantnet.sdm.deep import Deep
from geoplantnet.sdm.ensemble import Ensemble
from geoplantnet.sdm.estimator import Estimator
from geoplantnet.sdm.evaluate import skill
from geoplantnet.sdm.explain import (
    Explanation,
    Importance,
    importance_weights,
    modality_contributions,
    most_important,
    permutation_importance,
    predictors_of,
    response_curves,
)
from geoplantnet.sdm.habitats import FOLDER as HABITATS
from geoplantnet.sdm.held_out import FOLDER, HeldOut
from geoplantnet.sdm.model import Architecture
from geoplantnet.sdm.models import MODELS, load_estimator
from geoplantnet.sdm.sites import Float, Integers, Sites, Table, tabulate
from geoplantnet.sdm.species_report import species_tables
from geoplantnet.sdm.train import Clock, Step, TrainingPlan
from geoplantnet.storage import write_beside, write_json
from pipelines.build_cubes import input_files
from pipelines.context import Run
from pipelines.flow import Inside, Made, Stage
from pipelines.habitats import habitat_labels, learnt_habitats
from pipelines.ledger import Ledger, fingerprint
from pipelines.sites import Gathered, gather, learnt_of, learnt_tiles
from pipelines.trained import APPLICABILITY, CALIBRATION, EXPLANATION, SPECIES_TABLES

MODEL, UNCALIBRATED = "model", "uncalibrated"
"""Names of the mapped model's held-out predictions, as it maps and before its calibration."""
SCRATCH = "scratch"
"""Folder of the store for what a killed run goes on with; gone when the stage is done."""
REFERENCE_PLOTS = 5000
"""Plots at most that ranges of predictors and the area of applicability are measured from: a tile is compared with each."""
EXPLAIN_VALUES, LEAST_PLOTS, MOST_PLOTS = 2e9, 100, 1000
"""Values of predictors that are read to explain a model, and bounds of the held-out plots that is done on."""
CURVES, POINTS = 6, 15
"""Bands that responses are told along, the most important ones, and values of each."""
CURVE_VALUES, LEAST_SITES, MOST_SITES = 4e8, 30, 200
"""Values of predictors that are read for the responses, and bounds of the held-out plots whose curves they are."""
SCORE = "log_likelihood"
"""What an explanation explains: a proper score, which a species of few plots has, too."""


def settings(run: Run) -> Callable[[str], object]:
    """Training, validation, which modalities the model learns from, and the files read at plots outside the cubes.

    Raises ConfigurationError for a model that cannot be mapped.
    """
    r = run.recipe
    untrained(run, r.seed)
    learnt = [m.name for m in run.model_modalities]
    asked = [
        r.training.model_dump(mode="json"),
        r.training.model and read_yaml(_model_file(r.training.model)),
        r.training.plot_area_offset and r.map.plot_area,
        r.validation.model_dump(mode="json"),
        r.habitats and [r.habitats.model_dump(mode="json"), load_typology(r.habitats.typology).told_by],
        r.seed,
        [run.asked[name] for name in learnt],
        run.tiles,
        input_files(run, learnt),
    ]
    return lambda key: asked


def needs(run: Run, key: str) -> list[tuple[str, str]]:
    """The occurrences, and what the model learns from of every cube that could be built."""
    return [("occurrences", "all"), *((stage, key) for tile in learnt_tiles(run) for stage, key in learnt_of(run, tile))]


def untrained(run: Run, seed: int) -> Ensemble:
    """The members of the recipe's model, not fitted yet. Raises ConfigurationError for one that cannot be mapped."""
    t = run.recipe.training
    model = Ensemble([_inline(run, seed)]) if t.model is None else mapped_model(run.recipe, seed, run.grid)
    if t.plot_area_offset:
        for net in model.members:
            if isinstance(net, Deep):
                net.architecture = replace(net.architecture, plot_area=run.recipe.map.plot_area)
    return model


def work(run: Run, key: str, inside: Inside) -> Made:
    """Cross-validate, train the model that maps, commit it with its skill, calibration and area of applicability."""
    data, validation = gather(run), run.recipe.validation
    block, why = _block(run, data)
    folds = occ.spatial_blocks(data.events, size=block, folds=validation.folds, seed=run.recipe.seed, plots=data.scored)
    held_out_folds = validation.folds if validation.held_out == "all" else 1
    labels = habitat_labels(run, data.sites, data.events, data.scored & (folds >= 0) & (folds < held_out_folds))
    scratch = _scratch(run)
    fits = _Fits(run, data.sites, scratch, inside)
    held_out, by_fold = _cross_validate(run, data, folds, block, fits)
    rows = _learnt_rows(run, data, folds, 0) if validation.held_out == "one" else np.arange(len(data.sites))
    ensemble = _mapped(run, by_fold, fits, rows)
    choice, held_out = _calibrated(run, held_out)
    fits.say("what the model builds on, and where it applies")
    reference = _reference(run, data.sites.plots(rows))
    learnt = tabulate(data.sites.patches, reference)
    plots, crossed = np.flatnonzero(data.scored & np.isin(folds, list(by_fold))), _Crossed(by_fold, folds, choice)
    importance, explanation = _explained(run, data.sites, plots, learnt, crossed)
    habitats = learnt_habitats(run, labels, held_out)
    applicability = _applicability(learnt, folds[reference], importance, data.sites.patches.modalities)
    stats = {
        "skill": _skill(held_out),
        "species": len(data.sites.species),
        "plots": int(data.sites.presence_absence.sum()),
        "presence_only_sites": int((~data.sites.presence_absence).sum()),
        "records": int(data.sites.labels.sum()),
        "sites_in_failed_tiles": data.lost,
        "block": block,
        "members": len(ensemble.members),
        "calibration": choice.name if choice else "none",
        **why,
        **({"applicability": applicability.threshold} if applicability else {}),
        **({"habitats": dict(habitats.facts)} if habitats else {}),
    }
    with write_beside(run.model) as folder:
        ensemble.save(folder)
        held_out.save(folder / FOLDER)
        write_json(folder / CALIBRATION, _calibration(choice, len(data.sites.species)))
        if applicability:
            applicability.save(folder / APPLICABILITY)
        if habitats:
            habitats.save(folder / HABITATS)
        if explanation:
            write_json(folder / EXPLANATION, _explanation(explanation))
            species_tables(explanation, data.sites, rows).save(folder / SPECIES_TABLES)
    shutil.rmtree(scratch.parent.parent)
    return [run.model], stats


def _inline(run: Run, seed: int) -> Deep:
    """The network that the recipe's own keys describe."""
    t = run.recipe.training
    of_architecture = ("width", "image_width", "latent", "dropout", "encoder_dropout", "modality_dropout", "fusion", "survey_bias")
    of_plan = ("batch", "weight_decay", "threads", "ema", "background_mass", "sampled_species", "precision", "accelerator", "devices")
    return Deep(
        architecture=Architecture(**{name: getattr(t, name) for name in of_architecture}),
        plan=TrainingPlan(steps=tuple(Step(**s.model_dump()) for s in t.steps), seed=seed, **{name: getattr(t, name) for name in of_plan}),
        grid=run.grid,
    )


def _model_file(name: str) -> Path:
    return named_file(name, [folder / "sdm" for folder in recipe_folders()], what="model")


def _block(run: Run, data: Gathered) -> tuple[float, dict[str, Any]]:
    """Side of a block, metres, and where it comes from: the range of what predictors leave unexplained, where that was asked for."""
    asked = run.recipe.validation.block
    if asked != "autocorrelation":
        return asked, {}
    plots = np.flatnonzero(data.scored)
    covariates = tabulate(data.sites.patches, plots).values
    found = occ.presence_range(data.sites.xy[plots], data.sites.labels[plots], covariates=covariates, seed=run.recipe.seed)
    facts = {"range": found.range, "low": found.low, "high": found.high, "model": found.model, "at_least": found.at_least}
    return occ.block_size(found), {"autocorrelation": facts}


def _scratch(run: Run) -> Path:
    """Where exactly this training keeps what it comes to. What others left is removed."""
    ledger, folder = Ledger(run.store), run.store / SCRATCH / "train"
    upstream = [record.content for task in needs(run, "model") if (record := ledger.record(*task))]
    own = folder / fingerprint(geoplantnet.__version__, asdict(run.grid), settings(run)("model"), upstream)
    for other in folder.iterdir() if folder.is_dir() else ():
        if other != own:
            shutil.rmtree(other)
    own.mkdir(parents=True, exist_ok=True)
    return own


class _Fits:
    """The trainings of a run, one after the other, each in a folder of its own until all are done.

    A training that was killed goes on from its last epoch; one that was done is read. Both give the very same weights.
    """

    def __init__(self, run: Run, sites: Sites, folder: Path, inside: Inside) -> None:
        self._run, self._sites, self._folder, self._inside = run, sites, folder, inside
        v, t = run.recipe.validation, run.recipe.training
        self._seeds = 1 if t.members == "folds" else t.members
        rounds = (v.folds if v.held_out == "all" else 1) + (v.held_out == "all" and t.members != "folds")
        self._models = rounds * self._seeds * len(untrained(run, run.recipe.seed).members)
        self._done, self._at = 0, (0, 1)
        self._clock: Clock | None = None

    def ensemble(self, rows: Integers) -> Ensemble:
        """All members, learnt from some sites. Raises InputError when no plot is among them."""
        if not self._sites.plots(rows).size:
            raise InputError("no presence-absence plot is left to train on; hold out smaller blocks, or leave a smaller buffer")
        seeds = [untrained(self._run, self._run.recipe.seed + i) for i in range(self._seeds)]
        return _together([Ensemble([self._fit(member, rows) for member in one.members], weights=one.weights) for one in seeds])

    def say(self, message: str) -> None:
        """Tell what is done now, at the progress made so far."""
        self._inside(*self._at, message)

    def _fit(self, model: Estimator, rows: Integers) -> Estimator:
        n, count = self._done, self._models
        folder = self._folder / f"{n:03d}"
        self._done += 1

        def progress(done: int, total: int, message: str) -> None:
            at, of = self._at = n * total + done, count * total
            self._clock = self._clock or Clock(at - 1, of)  # the first batch tried here; what an earlier run did took no time now
            if done % 5 == 0 or done == total:
                in_all = self._clock.left(at).replace(",", "; in all", 1)
                self.say(f"model {n + 1}/{count}: {message}{in_all}" if count > 1 else message)

        if not (folder / "done").is_dir():
            if isinstance(model, Deep):
                model.fit(self._sites, rows, progress=progress, resume=folder / "epochs")
            else:
                self._at = n, count
                self.say(f"model {n + 1}/{count}: {model.name}")
                model.fit(self._sites, rows)
            model.save(folder / "done")
            shutil.rmtree(folder / "epochs", ignore_errors=True)
        return load_estimator(folder / "done")


def _together(ensembles: Sequence[Ensemble]) -> Ensemble:
    """The members of several of one kind as one, each with the weight it had."""
    weights = [w for one in ensembles for w in one.weights or ()]
    return Ensemble([member for one in ensembles for member in one.members], weights=weights or None)


def _learnt_rows(run: Run, data: Gathered, folds: Integers, fold: int) -> Integers:
    """Sites outside a fold, and far enough from the plots that are scored in it."""
    away = occ.training_rows(data.sites.xy, (folds == fold) & data.scored, buffer=run.recipe.validation.buffer)
    return np.flatnonzero((folds != fold) & away)


def _cross_validate(run: Run, data: Gathered, folds: Integers, block: float, fits: _Fits) -> tuple[HeldOut, dict[int, Ensemble]]:
    """What the model and its baselines say of plots they have not seen, and the model of every fold that was held out."""
    validation, sites = run.recipe.validation, data.sites
    by_fold: dict[int, Ensemble] = {}
    p: dict[str, list[Float]] = {name: [] for name in (MODEL, *validation.baselines)}
    outers = []
    for fold in range(validation.folds if validation.held_out == "all" else 1):
        rows, outer = _learnt_rows(run, data, folds, fold), np.flatnonzero((folds == fold) & data.scored)
        by_fold[fold] = fits.ensemble(rows)
        p[MODEL].append(by_fold[fold].predict(sites, outer))
        for name in validation.baselines:
            fits.say(f"fold {fold + 1}: {name}")
            p[name].append(MODELS[name]().fit(sites, sites.plots(rows)).predict(sites, outer))
        outers.append(outer)
    outer = np.concatenate(outers)
    corners = np.floor(sites.xy[outer] / block)
    return (
        HeldOut(
            species=sites.species,
            event=tuple(data.events["eventID"].iloc[outer]),
            fold=folds[outer],
            truth=sparse.csr_array(sites.labels[outer]),
            p={name: np.concatenate(parts) for name, parts in p.items()},
            xy=sites.xy[outer],
            block=np.unique(corners, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64),
        ),
        by_fold,
    )


def _mapped(run: Run, by_fold: dict[int, Ensemble], fits: _Fits, rows: Integers) -> Ensemble:
    """The model that maps: one of all rows, or where the recipe says so that of the fold, or those of all folds."""
    if run.recipe.validation.held_out == "one":
        return by_fold[0]
    if run.recipe.training.members == "folds":
        return _together(list(by_fold.values()))
    return fits.ensemble(rows)


def _calibrated(run: Run, held_out: HeldOut) -> tuple[Choice | None, HeldOut]:
    """The calibration to keep, and the held-out predictions as the map makes them: each fold's calibrated by what the other folds
    alone would have chosen. None where too few folds were held out; predictions as they are where no calibration helps.
    """
    folds = list(held_out.folds())
    if run.recipe.training.calibration == "none" or len(folds) < LEAST_FOLDS:
        return None, held_out
    before, truth = held_out.p[MODEL], held_out.found()
    choice = choose(before, truth, held_out.fold)
    if choice.name == "identity":
        return choice, held_out
    after = np.empty_like(before, np.float32)
    for own in folds:
        others = np.setdiff1d(np.arange(len(held_out)), own)
        after[own] = choose(before[others], truth[others], held_out.fold[others]).calibration.apply(before[own])
    others_p = {name: p for name, p in held_out.p.items() if name != MODEL}
    return choice, replace(held_out, p={MODEL: after, UNCALIBRATED: before, **others_p})


def _calibration(choice: Choice | None, species: int) -> dict[str, Any]:
    """What `Calibration.from_dict` reads, and how it was chosen."""
    if choice is None:
        return {**Calibration.identity(species).to_dict(), "choice": None}
    return {**choice.calibration.to_dict(), "choice": choice.to_dict()}


def _skill(held_out: HeldOut) -> dict[str, dict[str, float | int | None]]:
    truth, folds = held_out.found(), list(held_out.folds())
    return {name: skill([(p[rows], truth[rows]) for rows in folds]).to_dict() for name, p in held_out.p.items()}


class _Crossed:
    """Predicts every site by the model that had not seen its block, calibrated as what is mapped."""

    def __init__(self, by_fold: dict[int, Ensemble], folds: Integers, choice: Choice | None) -> None:
        self._by_fold, self._folds, self._calibration = by_fold, folds, choice.calibration if choice else None

    def __call__(self, sites: Sites, rows: Integers) -> Float:
        out = np.empty((rows.size, len(sites.species)), np.float32)
        for fold, model in self._by_fold.items():
            own = self._folds[rows] == fold
            if own.any():
                out[own] = model.predict(sites, rows[own])
        return self._calibration.apply(out) if self._calibration else out


def _reference(run: Run, plots: Integers) -> Integers:
    """The plots learnt from, or where they are many some of them."""
    if plots.size <= REFERENCE_PLOTS:
        return plots
    return np.sort(np.random.default_rng(run.recipe.seed).choice(plots, REFERENCE_PLOTS, replace=False))


def _explained(run: Run, sites: Sites, plots: Integers, learnt: Table, predict: _Crossed) -> tuple[Importance, Explanation | None]:
    """Importance of every band and modality on held-out plots, and the whole explanation where the recipe wants one.

    On as many plots, evenly spaced, as keep what is read within `EXPLAIN_VALUES`: images cost more than tables. Responses are
    told over the ranges in what the model has `learnt` from.
    """
    modalities, asked = sites.patches.modalities, run.recipe.training.explain
    bands, wholes = predictors_of(modalities), [m.name for m in modalities]
    predictions = len(bands) + len(wholes) + (2 ** min(len(modalities), 8) if asked else 0)
    values = sum(patch.values[0].size for patch in sites.patches.read(plots[:1]).values())
    rows = _evenly(plots, EXPLAIN_VALUES / (predictions * values), LEAST_PLOTS, MOST_PLOTS)
    how: dict[str, Any] = {"score": SCORE, "seed": run.recipe.seed}
    importance = permutation_importance(predict, sites, rows, [*bands, *wholes], repeats=1, **how)
    if not asked:
        return importance, None
    of_bands = importance.only(bands)
    responses = response_curves(
        predict,
        sites,
        _evenly(plots, CURVE_VALUES / (CURVES * POINTS * values), LEAST_SITES, MOST_SITES),
        most_important(of_bands, learnt, CURVES),
        training=learnt,
        points=POINTS,
    )
    return importance, Explanation(
        species=sites.species,
        score=SCORE,
        plots=int(rows.size),
        contributions=modality_contributions(predict, sites, rows, species=np.arange(0), orders=32, **how),
        modalities=importance.only(wholes),
        predictors=of_bands,
        responses=responses,
    )


def _evenly(plots: Integers, count: float, least: int, most: int) -> Integers:
    """So many of the plots, evenly spaced, at least and at most some."""
    return plots[np.linspace(0, plots.size - 1, min(int(np.clip(count, least, most)), plots.size)).astype(np.int64)]


def _explanation(explanation: Explanation) -> dict[str, Any]:
    """What holds of all species together, for programs and the report."""
    return {
        "score": "log likelihood (nats a plot, mean over species)",
        "plots": explanation.plots,
        "contributions": _records(explanation.contributions.table),
        "modalities": _records(explanation.modalities.table.drop(columns="sd")),
        "predictors": _records(explanation.predictors.table.drop(columns="sd")),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as JSON has them: NaN is null."""
    return [
        {str(k): None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()} for row in table.to_dict("records")
    ]


def _applicability(learnt: Table, folds: Integers, importance: Importance, modalities: Sequence[Modality]) -> Applicability | None:
    """Dissimilarity to the plots learnt from, modalities weighted by what they add on held-out plots (all alike if none adds anything).

    None where no two folds can be compared.
    """
    weights = importance_weights(importance, modalities)
    try:
        return Applicability.fit(learnt, folds, weights if weights.any() else None)
    except InputError:
        return None


def describe(stats: dict[str, Any]) -> str:
    """AUC of the model beside its baselines, and what became of the calibration."""
    shown = {name: s["auc"] if s["auc"] is not None else float("nan") for name, s in stats["skill"].items() if name != UNCALIBRATED}
    own = shown.pop(MODEL)
    beside = f" ({', '.join(f'{name} {auc:.3f}' for name, auc in shown.items())})" if shown else ""
    notes = [f"calibration: {stats['calibration']}"]
    if "applicability" not in stats:
        notes.append("no area of applicability: its folds cannot be compared")
    if lost := stats["sites_in_failed_tiles"]:
        notes.append(f"{lost:,} sites in failed or empty tiles left out")
    return f"{stats['species']} species; AUC {own:.3f}{beside}; {'; '.join(notes)}"


TRAIN: Stage[Run] = Stage(
    "train", keys=lambda run: ("model",), settings=settings, needs=needs, work=work, describe=describe, of_tiles=False
)
