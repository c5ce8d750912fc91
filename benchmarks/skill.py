"""Skill of the recipes of configs/sdm beside classical models and the published one, on the same plots, folds and predictors.

    python -m benchmarks.skill [--quick] [--only TABLE ...] --json FILE

Every table can be run again from what its first lines name: data, folds, seeds, recipes. Intervals are 95 %, from 200 draws of
plots (of blocks where there are at least ten), shifted so that their median is the estimate.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.experiments import disdat, swiss
from benchmarks.rows import Row
from geoplantnet.assemblages.sets import set_size_expectation, top_k, tuned_k, tuned_threshold
from geoplantnet.config.models import load_model_recipe
from geoplantnet.cubes import TablePatches
from geoplantnet.grid import TileGrid
from geoplantnet.sdm.calibrate import choose
from geoplantnet.sdm.ensemble import Ensemble
from geoplantnet.sdm.estimator import Estimator
from geoplantnet.sdm.evaluate import Estimate, maxexp
from geoplantnet.sdm.forest import RandomForest
from geoplantnet.sdm.glm import GLM
from geoplantnet.sdm.scores import ranking
from geoplantnet.sdm.sites import Sites

DATA = Path(os.environ.get("GEOPLANTNET_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
DRAWS = 200
UNG_SET = 20
LISTS = "Random Forest, relevés taken for plots"
Float = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


def said(what: str) -> None:
    """Progress, beside the rows."""
    print(f"  {time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def recipe(name: str, seed: int = 0) -> Estimator:
    """A model of configs/sdm, not fitted."""
    return load_model_recipe(name).make(seed, TileGrid())


def mean_auc(p: Float, truth: npt.NDArray[np.uint8], *, fold: Integers | None = None, draws: int = DRAWS) -> Estimate:
    """Mean AUC over species; with folds, within each and then over (fold, species). Interval by drawing plots."""
    rng = np.random.default_rng(0)
    n = len(truth)
    weights = np.concatenate([np.ones((1, n)), rng.multinomial(n, np.full(n, 1 / n), size=draws)])
    parts = [np.arange(n)] if fold is None else [np.flatnonzero(fold == f) for f in np.unique(fold)]
    values = []
    for rows in parts:
        present = truth[rows].sum(axis=0)
        scored = np.flatnonzero((present > 0) & (present < rows.size))
        values.append(ranking(p[rows][:, scored], truth[rows][:, scored], weights[:, rows]).auc)
    return Estimate.of(np.nanmean(np.concatenate(values, axis=1), axis=1), 0.0, 1.0)


def row(name: str, estimate: Estimate, *, unit: str = "AUC", reference: str = "", target: float | None = None, seeds: str = "") -> Row:
    """A row whose reference column holds the interval and what stands beside."""
    beside = [f"95 % {estimate.low:.3f} to {estimate.high:.3f}", seeds, reference]
    return Row(
        name=name,
        value=estimate.value,
        unit=unit,
        reference="; ".join(b for b in beside if b),
        target="" if target is None else f">= {target:g}",
        ok=target is None or estimate.value >= target,
    )


def releves_to_plots(quick: bool) -> Iterator[Row]:
    """Table 1: learnt from relevés (ek) alone, tested on all systematic plots (ws500).

    A relevé lists every species of its plot, so here its absences count; what is not systematic is where it was made.
    """
    for names, title in (("binomial", "191 species by binomial"), ("accepted", "230 species by accepted name")):
        data = swiss.load(DATA, names=names)
        data = replace(data, sites=replace(data.sites, presence_absence=np.ones(len(data.sites), bool)))
        often, tested = swiss.both_often(data), data.plots
        truth = data.sites.found(tested)[:, often]
        reference = _only(data, ("bio", "relief_mean", "relief_sd", "elevation"), exclude=("_here",))
        coarse = _only(
            data,
            ("bio", "relief_", "land_", "elevation"),
            exclude=("_here", "relief_above", "relief_rel", "relief_sh", "relief_be", "relief_ra"),
        )

        models: list[tuple[str, Callable[[], Estimator], Sites, float | None]] = [
            ("logistic regression, quadratic, E-OBS + relief", GLM, reference, None),
            ("Random Forest, E-OBS + EU-DEM + land cover", lambda: RandomForest(trees=100 if quick else 400, leaf=3), coarse, None),
            ("Random Forest, all predictors", lambda: recipe("random-forest"), data.sites, None),
            ("deep-SDM, one net", lambda: recipe("deep"), data.sites, None),
        ]
        if not quick:
            models += [
                ("three deep-SDMs", lambda: recipe("deep-ensemble"), data.sites, None),
                ("three deep-SDMs + forest (the recipe)", lambda: recipe("ensemble"), data.sites, 0.77),
                ("deep-SDM, one net, with easting and northing", lambda: recipe("deep"), _with_place(data), None),
            ]
        for label, make, sites, target in models:
            p = make().fit(sites, data.releves).predict(sites, tested)[:, often]
            said(f"{title}: {label}")
            yield row(f"ek -> ws500, {title}: {label}", mean_auc(p, truth), target=target)


def _only(data: swiss.Swiss, prefixes: tuple[str, ...], *, exclude: tuple[str, ...]) -> Sites:
    """The same sites with fewer predictors."""
    kept = [c for c in data.frame if c.startswith(prefixes) and not any(e in c for e in exclude)]
    return replace(data.sites, patches=TablePatches(data.frame, {"environment": tuple(kept)}))


def _with_place(data: swiss.Swiss) -> Sites:
    own = swiss.modalities(data.frame.drop(columns=["x", "y"]))
    return replace(data.sites, patches=TablePatches(data.frame, {**own, "place": ("x", "y")}))


ABLATIONS = (
    ("plots alone", "plots-only"),
    ("records, then plots", "records-then-plots"),
    ("together, no fine-tuning", "together"),
    ("together + fine-tuning, no survey bias", "no-survey-bias"),
    ("together + fine-tuning, DeepMaxent loss", "deep-maxent"),
    ("plots, records, pseudo-labels, plots", "pseudo-labels"),
    ("together + fine-tuning (one net)", "deep"),
)


def folds(quick: bool) -> list[Row]:
    """Tables 2, 3 and 7: plots and relevés in five spatial blocks; AUC of frequent species, samples-F1 of all, richness."""
    data = swiss.load(DATA)
    often = swiss.both_often(data)
    common = np.asarray(data.sites.labels[data.plots].sum(axis=0)).ravel() >= 10
    truth, fold = data.sites.found(data.plots), data.fold[data.plots]
    models: dict[str, Callable[[], Estimator]] = {
        "Ung et al.": lambda: recipe("ung"),
        "Random Forest, plots alone": lambda: RandomForest(trees=200, leaf=3, records=0.0),
        LISTS: lambda: RandomForest(trees=200, leaf=3),
        **{title: (lambda name=name: recipe(name)) for title, name in ABLATIONS},  # type: ignore[misc]
        "three deep-SDMs + forest (the recipe)": lambda: recipe("ensemble"),
    }
    if quick:
        models = {k: models[k] for k in ("Random Forest, plots alone", "together + fine-tuning (one net)")}
    p = {part: values for name, make in models.items() for part, values in _crossed(data, make, name).items()}
    rows = []
    for name, values in p.items():
        target = 0.79 if name.endswith("(the recipe)") else None
        rows.append(
            row(
                f"ek + ws, 5 blocks of 50 km, {often.sum()} species: {name}",
                mean_auc(values[:, often], truth[:, often], fold=fold),
                target=target,
            )
        )
    last = list(models)[-1]
    (strict,) = _crossed(data, models["together + fine-tuning (one net)"], "strict", strict=True).values()
    rows.append(
        row(
            "the same, relevés of the held-out blocks left out too: together + fine-tuning (one net)",
            mean_auc(strict[:, often], truth[:, often], fold=fold),
        )
    )
    rows += _sets({name: values[:, common] for name, values in p.items()}, truth[:, common], fold, last)
    rows += _richness(p[last][:, common], truth[:, common], fold, last)
    if "three deep-SDMs" in p:
        rows += _richness(p["three deep-SDMs"][:, common], truth[:, common], fold, "three deep-SDMs")
    return rows


def _crossed(data: swiss.Swiss, make: Callable[[], Estimator], name: str, *, strict: bool = False) -> dict[str, Float]:
    """Fold-out predictions at the plots, by name; of the ensemble its nets' mean too. `strict`: relevés in a held-out block are
    not learnt from either.
    """
    rows = np.concatenate([data.releves, data.plots])
    out: dict[str, Float] = {}
    for k in range(5):
        held = data.fold[data.plots] == k
        learnt = rows[(data.fold[rows] != k) | (~data.sites.presence_absence[rows] & (not strict))]
        sites = replace(data.sites, presence_absence=np.ones(len(data.sites), bool)) if name == LISTS else data.sites
        model = make().fit(sites, learnt)
        parts = {name: model}
        if isinstance(model, Ensemble) and len({m.name for m in model.members}) > 1:
            parts = {"three deep-SDMs": Ensemble([m for m in model.members if m.name == "deep-sdm"]), name: model}
        for part, fitted in parts.items():
            p = out.setdefault(part, np.empty((data.plots.size, len(data.sites.species)), np.float32))
            p[held] = fitted.predict(sites, data.plots[held])
        said(f"{name}: fold {k}")
    return out


def _f1(sets: npt.NDArray[np.bool_], truth: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """(plot,) F1 of each plot's set."""
    hits = (sets & (truth > 0)).sum(axis=1)
    return 2 * hits / np.maximum(sets.sum(axis=1) + truth.sum(axis=1), 1)


def _by_plot(rule: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.bool_]], p: Float) -> npt.NDArray[np.bool_]:
    """A set rule of rasters (species, y, x) on plots (plot, species)."""
    return np.asarray(rule(np.ascontiguousarray(p.T)[:, :, None]))[:, :, 0].T


def _sets(p: dict[str, Float], truth: npt.NDArray[np.uint8], fold: Integers, last: str) -> list[Row]:
    """Samples-F1 by each model's own rule; Ung's also by rules that are kinder to it."""
    ung = {}
    if "Ung et al." in p:
        own = p["Ung et al."]
        size = np.concatenate([_by_plot(lambda q: top_k(q, tuned_k(own[fold != k], truth[fold != k])), own[fold == k]) for k in range(5)])  # noqa: B023
        order = np.argsort(np.concatenate([np.flatnonzero(fold == k) for k in range(5)]))
        ung = {
            f"its own rule, the {UNG_SET} most probable": _f1(_by_plot(lambda q: top_k(q, UNG_SET), own), truth),
            "top k, k tuned on the other folds": _f1(size[order], truth),
            "MaxExp": _f1(maxexp(own), truth),
        }
    rows = [row(f"samples-F1, {truth.shape[1]} species: Ung et al., {rule}", _mean(v), unit="F1") for rule, v in ung.items()]
    for name, values in p.items():
        if name == "Ung et al.":
            continue
        scores = _f1(maxexp(values), truth)
        rows.append(row(f"samples-F1, {truth.shape[1]} species: {name}, MaxExp", _mean(scores), unit="F1"))
        if name == last and ung:
            for rule, beside in ung.items():
                own_rule = rule.startswith("its own")
                rows.append(
                    row(
                        f"samples-F1: the recipe minus Ung et al. with {rule}",
                        _mean(scores - beside),
                        unit="F1",
                        target=0.05 if own_rule else None,
                        reference="same plots",
                    )
                )
    own = p[last]
    threshold = np.array([tuned_threshold(own[fold != k], truth[fold != k]) for k in range(5)])[fold]
    rules = {
        "Set Size Expectation": _by_plot(lambda q: top_k(q, set_size_expectation(q)), own),
        "p > lambda, tuned on the other folds": own > threshold[:, None],
    }
    return rows + [row(f"samples-F1: {last}, {rule}", _mean(_f1(s, truth)), unit="F1") for rule, s in rules.items()]


def _mean(values: npt.NDArray[np.floating]) -> Estimate:
    """Mean over plots, interval by drawing plots."""
    rng = np.random.default_rng(0)
    draws = rng.multinomial(values.size, np.full(values.size, 1 / values.size), size=DRAWS) @ values / values.size
    return Estimate.of(np.concatenate([[values.mean()], draws]))


def _richness(p: Float, truth: npt.NDArray[np.uint8], fold: Integers, name: str) -> list[Row]:
    """Bias of richness: sum of p, raw and after calibration learnt on the other folds, and the size of tuned sets."""
    calibrated = np.empty_like(p)
    for k in range(5):
        other = fold != k
        calibrated[fold == k] = choose(p[other], truth[other], fold[other]).calibration.apply(p[fold == k])
    threshold = np.array([tuned_threshold(p[fold != k], truth[fold != k]) for k in range(5)])[fold]
    observed = truth.sum(axis=1).astype(float)
    rows = []
    for rule, size in (
        ("sum of p", p.sum(axis=1)),
        ("sum of p, calibrated on other folds", calibrated.sum(axis=1)),
        ("|S| at tuned lambda", (p > threshold[:, None]).sum(axis=1)),
        ("|S| of MaxExp", maxexp(p).sum(axis=1)),
    ):
        bias = (size.sum() - observed.sum()) / observed.sum()
        judged = "calibrated" in rule
        rows.append(
            Row(
                name=f"richness bias, {name}: {rule}",
                value=100 * bias,
                unit="%",
                reference=f"{observed.mean():.1f} species a plot observed",
                target="within 3" if judged else "",
                ok=not judged or abs(bias) <= 0.03,
            )
        )
    return rows


def presence_only(quick: bool) -> Iterator[Row]:
    """Table 4: disdat, one recipe for all regions at hand."""
    targets = {"SWI": 0.86, "SA": 0.83}
    for region in sorted({f.name.split("train")[0] for f in (DATA / "disdat").glob("*train_po.parquet")}):
        data = disdat.load(DATA / "disdat", region)
        truth = data.sites.found(data.test)
        seeds = 1 if quick else 3
        for label, name in (
            ("GLM", "glm"),
            ("MaxEnt", "maxent"),
            ("boosting", "boosting"),
            ("Random Forest", "random-forest"),
            ("deep-SDM, one net", "deep"),
            ("deep-SDM, one net, DeepMaxent loss", "deep-maxent"),
            ("three deep-SDMs", "deep-ensemble"),
            ("three deep-SDMs + forest (the recipe)", "ensemble"),
        ):
            if quick and name not in ("glm", "deep"):
                continue
            drawn = seeds if name in ("deep", "ensemble") else 1
            all_p = [recipe(name, seed).fit(data.sites, data.train).predict(data.sites, data.test) for seed in range(drawn)]
            each = [mean_auc(p, truth, draws=0 if i else DRAWS) for i, p in enumerate(all_p)]
            value = float(np.mean([e.value for e in each]))
            shift = value - each[0].value
            estimate = Estimate(value=value, low=each[0].low + shift, high=each[0].high + shift)
            told = f"{drawn} seeds {min(e.value for e in each):.3f} to {max(e.value for e in each):.3f}" if drawn > 1 else ""
            goal = targets.get(region) if label.endswith("(the recipe)") else None
            yield row(f"disdat {region}, {len(data.sites.species)} species: {label}", estimate, seeds=told, target=goal)
            said(f"disdat {region}: {label}")


TABLES: dict[str, Callable[[bool], Iterable[Row]]] = {
    "releves": releves_to_plots,
    "folds": folds,
    "disdat": presence_only,
}


def tables(names: list[str], quick: bool) -> Iterator[Row]:
    """Rows of the tables asked for."""
    for name in names:
        yield from TABLES[name](quick)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer models and seeds")
    parser.add_argument("--only", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--json", type=Path, help="write the rows here")
    arguments = parser.parse_args()
    found = []
    for one in tables(arguments.only, arguments.quick):
        print(f"{one.name}: {one.value:.4g} {one.unit}  ({one.reference}; target: {one.target or 'none'}; ok: {one.ok})", flush=True)
        found.append(asdict(one))
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
