"""Skill of the recipes of configs/sdm beside classical models and the published one, on the same plots, folds and predictors.

    python -m benchmarks.skill [--quick] [--only TABLE ...] --json FILE

Every table can be run again from what its first lines name: data, folds, seeds, recipes. Intervals are 95 % and say how a score would vary
with other plots: blocks of 50 km (where a region has no metres, an eighth of its longer side) are drawn with replacement, `sdm.evaluate`.

**What was chosen on what.** The recipes were chosen on the tables `releves`, `folds` and `disdat` themselves, among some 140 variants in all:
their figures are somewhat optimistic. Nothing was chosen on `untouched`. On `virtual` two things were: that imagery is
among the predictors, and how the area of applicability weighs them (decision 018).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import sparse

from benchmarks.experiments import disdat, swiss, untouched, virtual
from benchmarks.rows import Row
from geoplantnet.assemblages.sets import set_size_expectation, top_k, tuned_k, tuned_threshold
from geoplantnet.config.models import load_model_recipe
from geoplantnet.cubes import TablePatches
from geoplantnet.grid import TileGrid
from geoplantnet.sdm.baselines import LocationOnly, Prevalence
from geoplantnet.sdm.boosting import Boosting
from geoplantnet.sdm.calibrate import choose
from geoplantnet.sdm.ensemble import Ensemble
from geoplantnet.sdm.estimator import Estimator
from geoplantnet.sdm.evaluate import Estimate, Evaluation, SetRule, evaluate
from geoplantnet.sdm.forest import RandomForest
from geoplantnet.sdm.glm import GLM
from geoplantnet.sdm.held_out import HeldOut
from geoplantnet.sdm.sites import Sites
from geoplantnet.taxonomy import SpeciesList

DATA = Path(os.environ.get("GEOPLANTNET_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
DRAWS = 200
UNG, UNG_SET = "Ung et al.", 20
NET, NETS, RECIPE = "deep-SDM, one net", "three deep-SDMs", "three deep-SDMs + forest"
"""The recipe's parts: the last ranks best, the second maps (decision 017)."""
Float = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Make = Callable[[], Estimator]


def said(what: str) -> None:
    """Progress, beside the rows."""
    print(f"  {time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def recipe(name: str, seed: int = 0) -> Estimator:
    """A model of configs/sdm, not fitted."""
    return load_model_recipe(name).make(seed, TileGrid())


def parts(name: str, fitted: Estimator) -> dict[str, Estimator]:
    """A model by its name; of the recipe its single nets, their ensemble and its forest, too, which cost nothing more."""
    if name != RECIPE or not isinstance(fitted, Ensemble):
        return {name: fitted}
    nets = [m for m in fitted.members if m.name == "deep-sdm"]
    (forest,) = (m for m in fitted.members if m.name != "deep-sdm")
    single = {f"{NET} {i}": net for i, net in enumerate(nets)}
    return {**single, NETS: Ensemble(nets), "Random Forest of the recipe": forest, name: fitted}


def some_species(held_out: HeldOut, kept: Integers) -> HeldOut:
    """The same predictions of some species alone."""
    return replace(
        held_out,
        species=SpeciesList(checklist=held_out.species.checklist, taxa=tuple(held_out.species[int(k)] for k in kept)),
        truth=sparse.csr_array(sparse.csc_array(held_out.truth)[:, kept]),
        p={name: p[:, kept] for name, p in held_out.p.items()},
    )


def at_plots(sites: Sites, rows: Integers, fold: Integers, p: Mapping[str, Float], *, side: float) -> HeldOut:
    """What `evaluate` scores, with blocks of `side` in the units of the sites' coordinates."""
    return HeldOut(
        species=sites.species,
        event=tuple(str(row) for row in rows),
        fold=fold,
        truth=sparse.csr_array(sites.labels[rows]),
        p=p,
        xy=sites.xy[rows],
        block=np.unique(np.floor(sites.xy[rows] / side), axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64),
    )


def row(name: str, estimate: Estimate, *, unit: str, target: float | None = None, beside: str = "") -> Row:
    """A row whose reference column holds the interval and what stands beside."""
    interval = f"95 % {estimate.low:.3f} to {estimate.high:.3f}" if np.isfinite(estimate.low) else ""
    return Row(
        name=name,
        value=estimate.value,
        unit=unit,
        reference="; ".join(b for b in (interval, beside) if b),
        target="" if target is None else f">= {target:g}",
        ok=target is None or estimate.value >= target,
    )


def rows_of(title: str, scored: Evaluation, metric: str, unit: str, targets: Mapping[str, float] | None = None) -> Iterator[Row]:
    """A row a model; the recipe's single nets become one: their mean, with their range beside and the first one's interval."""
    targets, nets = targets or {}, [name for name in scored.scores if name.startswith(f"{NET} ")]
    values = [scored.scores[name][metric].value for name in nets]
    for name, scores in scored.scores.items():
        estimate, beside = scores[metric], ""
        if name in nets[1:]:
            continue
        if name in nets:
            moved = float(np.mean(values)) - estimate.value
            estimate = Estimate(value=estimate.value + moved, low=estimate.low + moved, high=estimate.high + moved)
            name, beside = NET, f"{len(nets)} seeds {min(values):.3f} to {max(values):.3f}"
        yield row(f"{title}: {name}", estimate, unit=unit, target=targets.get(name), beside=beside)


# ---------------------------------------------------------------------------------------------------------------------------------------------


def releves_to_plots(quick: bool) -> Iterator[Row]:
    """Table 1: learnt from relevés (ek) alone, tested on all systematic plots (ws500).

    A relevé lists every species of its plot, so here its absences count; what is not systematic is where it was made.
    """
    for names, title in (("binomial", "191 species by binomial"), ("accepted", "230 species by accepted name")):
        data = swiss.load(DATA, names=names)
        data = replace(data, sites=replace(data.sites, presence_absence=np.ones(len(data.sites), bool)))
        climate = _only(data, ("bio", "relief_mean", "relief_sd", "elevation"), exclude=("_here",))
        coarse = _only(
            data,
            ("bio", "relief_", "land_", "elevation"),
            exclude=("_here", "relief_above", "relief_rel", "relief_sh", "relief_be", "relief_ra"),
        )
        models: list[tuple[str, Make, Sites]] = [
            ("prevalence", Prevalence, data.sites),
            ("location only", LocationOnly, data.sites),
            ("logistic regression, quadratic, E-OBS + relief (reference)", GLM, climate),
            ("Random Forest, E-OBS + EU-DEM + land cover (reference)", partial(RandomForest, trees=100 if quick else 400, leaf=3), coarse),
            (NET if quick else RECIPE, partial(recipe, "deep" if quick else "ensemble"), data.sites),
        ]
        if not quick:
            models.append((f"{NET}, easting and northing among the predictors", partial(recipe, "deep"), _with_place(data)))
        p: dict[str, Float] = {}
        for label, make, sites in models:
            for part, fitted in parts(label, make().fit(sites, data.releves)).items():
                p[part] = fitted.predict(sites, data.plots)
            said(f"{title}: {label}")
        held_out = at_plots(data.sites, data.plots, np.zeros(data.plots.size, np.int64), p, side=swiss.BLOCK)
        scored = evaluate(some_species(held_out, np.flatnonzero(swiss.both_often(data))), draws=DRAWS, minimum=1)
        yield from rows_of(f"ek -> ws500, {title}", scored, "auc", "AUC", {NETS: 0.77, RECIPE: 0.77})


def _only(data: swiss.Swiss, prefixes: tuple[str, ...], *, exclude: tuple[str, ...]) -> Sites:
    """The same sites with fewer predictors."""
    kept = [c for c in data.frame if c.startswith(prefixes) and not any(e in c for e in exclude)]
    return replace(data.sites, patches=TablePatches(data.frame, {"environment": tuple(kept)}))


def _with_place(data: swiss.Swiss) -> Sites:
    own = swiss.modalities(data.frame.drop(columns=["x", "y"]))
    return replace(data.sites, patches=TablePatches(data.frame, {**own, "place": ("x", "y")}))


# ---------------------------------------------------------------------------------------------------------------------------------------------

ABLATIONS = (
    ("plots alone", "plots-only"),
    ("records, then plots", "records-then-plots"),
    ("plots and records together, no fine-tuning", "together"),
    ("records by DeepMaxent", "deep-maxent"),
    ("records by the full-weighted loss", "full-weighted"),
    ("records by cross-entropy", "cross-entropy"),
    ("pseudo-labels", "pseudo-labels"),
    ("no survey bias", "no-survey-bias"),
    ("no moving average", "no-ema"),
    ("no modality dropout", "no-modality-dropout"),
    ("modalities concatenated", "concatenated"),
)
"""Of the one net of the recipe, each with one thing changed; the softmax losses weigh .2, for they are larger than a mean over species."""
KINLESS = "no genera and families"
LISTS = "Random Forest, relevés taken for plots"


def folds(quick: bool) -> Iterator[Row]:
    """Tables 2, 3 and 7: plots and relevés in five spatial blocks; AUC of frequent species, samples-F1 of all, richness.

    As the reference does, relevés of a held-out block are learnt from: the surveyors' plots alone are held out. `strict` leaves them out, too.
    """
    data = swiss.load(DATA)
    models: dict[str, Make] = {
        RECIPE: partial(recipe, "ensemble"),
        "prevalence": Prevalence,
        "location only": LocationOnly,
        "GLM, plots alone": partial(GLM, records=0.0),
        "boosting, plots alone": partial(Boosting, records=0.0),
        "Random Forest, plots alone": partial(RandomForest, trees=200, leaf=3, records=0.0),
        LISTS: partial(RandomForest, trees=200, leaf=3),
        UNG: partial(recipe, "ung"),
        **{f"{NET}, {title}": partial(recipe, name) for title, name in ABLATIONS},
        f"{NET}, {KINLESS}": partial(recipe, "deep"),
    }
    if quick:
        models = {NET: partial(recipe, "deep"), **{name: models[name] for name in ("prevalence", "Random Forest, plots alone")}}
    p = {part: values for name, make in models.items() for part, values in _crossed(data, make, name).items()}
    if not quick:
        p = {RECIPE: p.pop(RECIPE), **p}
    held_out = at_plots(data.sites, data.plots, data.fold[data.plots], p, side=swiss.BLOCK)
    often = np.flatnonzero(swiss.both_often(data))
    scored = evaluate(some_species(held_out, often), draws=DRAWS, minimum=1)
    yield from rows_of(f"ek + ws, 5 folds of 50 km blocks, {often.size} species", scored, "auc", "AUC", {NETS: 0.79, RECIPE: 0.79})
    common = some_species(held_out, np.flatnonzero(held_out.found().sum(axis=0) >= 10))
    yield from _sets(common)
    yield from _richness(common)
    if quick:
        return
    strictly = {part: values for name in (RECIPE, LISTS, UNG) for part, values in _crossed(data, models[name], name, strict=True).items()}
    strict = replace(held_out, p={RECIPE: strictly.pop(RECIPE), **strictly})
    title = f"the same, relevés of the held-out blocks left out too, {often.size} species"
    yield from rows_of(title, evaluate(some_species(strict, often), draws=DRAWS, minimum=1), "auc", "AUC")


def _crossed(data: swiss.Swiss, make: Make, name: str, *, strict: bool = False) -> dict[str, Float]:
    """Fold-out predictions at the plots, by name of the model or its part."""
    sites, rows = data.sites, np.concatenate([data.releves, data.plots])
    if name == LISTS:
        sites = replace(sites, presence_absence=np.ones(len(sites), bool))
    if name.endswith(KINLESS):
        alone = tuple(replace(t, genus=t.taxon_id, family=t.taxon_id) for t in sites.species)
        sites = replace(sites, species=SpeciesList(checklist=sites.species.checklist, taxa=alone))
    out: dict[str, Float] = {}
    for k in range(5):
        held = data.fold[data.plots] == k
        learnt = rows[(data.fold[rows] != k) | (~data.sites.presence_absence[rows] & (not strict))]
        for part, fitted in parts(name, make().fit(sites, learnt)).items():
            p = out.setdefault(part, np.empty((data.plots.size, len(sites.species)), np.float32))
            p[held] = fitted.predict(sites, data.plots[held])
    said(f"{name}{', strictly' if strict else ''}")
    return out


def _by_plot(rule: Callable[[Float], npt.NDArray[np.bool_]], p: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """A set rule of rasters (species, y, x) on plots (plot, species)."""
    return np.asarray(rule(np.ascontiguousarray(p.T.astype(np.float32))[:, :, None]))[:, :, 0].T


def _tuned(held_out: HeldOut, name: str, of: Callable[[Float, npt.NDArray[np.uint8]], float]) -> npt.NDArray[np.float64]:
    """(plot,): a number tuned on the other folds' plots."""
    p, truth = held_out.p[name], held_out.found()
    each = {k: of(p[held_out.fold != k], truth[held_out.fold != k]) for k in np.unique(held_out.fold).tolist()}
    return np.array([each[k] for k in held_out.fold.tolist()], float)


def _sets(held_out: HeldOut) -> Iterator[Row]:
    """Samples-F1 by each model's own rule: Ung's is its 20 most probable species; rules that are kinder to it stand beside."""
    p, rules = dict(held_out.p), dict[str, SetRule]()
    first = next(iter(p))

    def also(model: str, words: str, rule: SetRule) -> None:
        p[f"{model}, {words}"], rules[f"{model}, {words}"] = held_out.p[model], rule

    threshold = _tuned(held_out, first, tuned_threshold)
    also(first, "p > lambda, lambda tuned on the other folds", lambda q: q > threshold[:, None])
    also(first, "Set Size Expectation", lambda q: _by_plot(set_size_expectation, q))
    if UNG in p:
        k = _tuned(held_out, UNG, tuned_k).astype(int)
        also(UNG, f"its own rule: the {UNG_SET} most probable", lambda q: _by_plot(lambda r: top_k(r, UNG_SET), q))
        also(UNG, "top k, k tuned on the other folds", lambda q: np.argsort(np.argsort(-q, axis=1, kind="stable"), axis=1) < k[:, None])
    scored = evaluate(replace(held_out, p=p), draws=DRAWS, rules=rules)
    title = f"samples-F1, ws500 in 5 folds, {len(held_out.species)} species"
    yield from rows_of(title, scored, "samples_f1", "F1")
    for name, differences in scored.differences.items():
        if name.startswith(UNG) or name == NETS:
            own = "its own rule" in name
            rule = "" if name != UNG else ", MaxExp for both"
            yield row(f"samples-F1, {first} minus {name}{rule}", differences["samples_f1"], unit="F1", target=0.05 if own else None)
    yield from rows_of(f"micro-F1, {len(held_out.species)} species", _of(scored, [first, UNG]), "micro_f1", "F1")


def _of(scored: Evaluation, names: Sequence[str]) -> Evaluation:
    return replace(scored, scores={name: scored.scores[name] for name in names if name in scored.scores})


def _richness(held_out: HeldOut) -> Iterator[Row]:
    """Bias of richness: the sum of p, raw and calibrated on the other folds, beside the size of sets."""
    truth, names = held_out.found(), [n for n in (RECIPE, NETS, NET, "Random Forest, plots alone", UNG) if n in held_out.p]
    p: dict[str, Float] = {}
    for name in names:
        raw, calibrated = held_out.p[name], np.empty_like(held_out.p[name])
        for k in np.unique(held_out.fold):
            own, other = held_out.fold == k, held_out.fold != k
            calibrated[own] = choose(raw[other], truth[other], held_out.fold[other]).calibration.apply(raw[own])
        p |= {f"{name}, sum of p": raw, f"{name}, sum of p, calibrated on the other folds": calibrated}
    p[f"{names[0]}, |S| at lambda tuned for F1"] = held_out.p[names[0]]
    threshold = _tuned(held_out, names[0], tuned_threshold)
    last = list(p)[-1]
    scored = evaluate(replace(held_out, p=p), draws=DRAWS, rules={last: lambda q: q > threshold[:, None]})
    observed = f"{truth.sum(axis=1).mean():.1f} species a plot found"
    for name, scores in scored.scores.items():
        bias = scores["set_size_bias" if name == last else "richness_bias"]
        judged = "calibrated" in name and name.startswith(NETS)
        yield Row(
            name=f"bias of richness, ws500 in 5 folds: {name}",
            value=100 * bias.value,
            unit="%",
            reference=f"95 % {100 * bias.low:.1f} to {100 * bias.high:.1f}; {observed}",
            target="within 3" if judged else "",
            ok=not judged or abs(bias.value) <= 0.03,
        )
        if name != last and name.startswith(NETS):
            yield row(f"ECE, ws500 in 5 folds: {name}", scores["ece"], unit="")


# ---------------------------------------------------------------------------------------------------------------------------------------------


def presence_only(quick: bool) -> Iterator[Row]:
    """Table 4: disdat, one recipe for all regions at hand; species are scored where they were looked for."""
    targets = {"SWI": 0.86, "SA": 0.83}
    for region in sorted({f.name.split("train")[0] for f in (DATA / "disdat").glob("*train_po.parquet")}):
        data = disdat.load(DATA / "disdat", region)
        models: list[tuple[str, str, int]] = [
            ("GLM", "glm", 1),
            ("MaxEnt", "maxent", 1),
            ("boosting", "boosting", 1),
            ("Random Forest, down-sampled", "random-forest", 1),
            (f"{NET}, records by DeepMaxent", "deep-maxent", 3),
            (f"{NET}, records by the full-weighted loss", "full-weighted", 3),
            (RECIPE, "ensemble", 3),
        ]
        if quick:
            models = [("GLM", "glm", 1), (NET, "deep", 1)]
        for label, name, seeds in models:
            scores: dict[str, list[Estimate]] = {}
            for seed in range(seeds):
                for part, fitted in parts(label, recipe(name, seed).fit(data.sites, data.train)).items():
                    title = NET if part.startswith(f"{NET} ") else part
                    found = _where_known(data, fitted.predict(data.sites, data.test), draws=1 if scores.get(title) else DRAWS)
                    scores.setdefault(title, []).append(found)
            said(f"disdat {region}: {label}")
            for title, each in scores.items():
                value = float(np.mean([e.value for e in each]))
                shift = value - each[0].value
                told = f"{len(each)} seeds {min(e.value for e in each):.3f} to {max(e.value for e in each):.3f}" if len(each) > 1 else ""
                yield row(
                    f"disdat {region}, {len(data.sites.species)} species: {title}",
                    Estimate(value=value, low=each[0].low + shift, high=each[0].high + shift),
                    unit="AUC",
                    beside=told,
                    target=targets.get(region) if title in (NETS, RECIPE) else None,
                )


def _where_known(data: disdat.Region, p: Float, *, draws: int) -> Estimate:
    """Mean AUC over species, each at the plots where it was looked for."""
    values, counts = [], []
    for known in np.unique(data.known, axis=0):
        rows = np.flatnonzero((data.known == known).all(axis=1))
        span = np.ptp(data.sites.xy[data.test[rows]], axis=0).max()
        held_out = at_plots(data.sites, data.test[rows], np.zeros(rows.size, np.int64), {"p": p[rows]}, side=span / 8)
        scored = evaluate(some_species(held_out, np.flatnonzero(known)), draws=draws, minimum=1)
        values.append(scored.scores["p"]["auc"])
        counts.append(scored.scored_species)
    mean = partial(np.average, weights=counts)
    return Estimate(
        value=float(mean([v.value for v in values])), low=float(mean([v.low for v in values])), high=float(mean([v.high for v in values]))
    )


# ---------------------------------------------------------------------------------------------------------------------------------------------

WORLDS = ((150, 3, 12_000), (2_000, 2, 12_000), (150, 3, 4_000), (2_000, 2, 4_000))
"""Species, number of worlds, plots."""
VIRTUAL: tuple[tuple[str, str, str, tuple[str, float] | None], ...] = (
    ("correlation with the truth in domain", "r", "r", (">=", 0.9)),
    ("median correlation of a species", "r_species", "r", None),
    ("ECE in domain", "ece", "", ("<=", 0.02)),
    ("bias of richness in domain, sum of p", "richness_bias", "", ("<=", 0.03)),
    ("cells flagged in the held-out climate, more than 1 degree beyond the known", "flagged_beyond_importance", "", (">=", 0.9)),
    ("cells flagged in the held-out climate, all", "flagged_cold_importance", "", None),
    ("cells flagged in domain", "flagged_inside_importance", "", ("<=", 0.1)),
    ("relative error of flagged cells", "relative_error_flagged_importance", "", None),
    ("relative error of the others", "relative_error_applicable_importance", "", None),
)
"""Title, figure of `virtual.measure`, unit, and what the recipe should reach."""


def virtual_worlds(quick: bool) -> Iterator[Row]:
    """Table 5: worlds of known truth (`experiments.virtual`), imagery among the predictors, cells 1 km or more from any site.

    One row a figure: mean over worlds, their range beside it. Of the others only how near they come; the last rows change the loss of
    opportunistic records, one species a site. Some worlds are surveyed three times as densely as the others: is the rest information?
    """
    for species, worlds, plots in WORLDS:
        drawn, dense = range(1 if quick else worlds), plots > 4_000
        survey = f"{species:,} species, {plots:,} plots"
        for label, make in _virtual_models(quick, species):
            if dense and label not in ((NET,) if quick else (NETS, "Random Forest, plots alone")):
                continue
            judged = label in (NET, NETS)
            found = [virtual.measure(partial(make, seed), species, seed, plots=plots, imagery=True, applicability=judged) for seed in drawn]
            for title, key, unit, goal in VIRTUAL if judged else VIRTUAL[:3]:
                values = [f[key] for f in found]
                mean = float(np.mean(values))
                told = label == NETS and goal is not None
                yield Row(
                    name=f"virtual worlds, {survey}: {label}, {title}",
                    value=mean,
                    unit=unit,
                    reference=f"{len(values)} worlds: {min(values):.3f} to {max(values):.3f}",
                    target=f"{goal[0]} {goal[1]:g}" if told and goal else "",
                    ok=not (told and goal) or (mean >= goal[1] if goal[0] == ">=" else abs(mean) <= goal[1]),
                )
            said(f"virtual worlds, {survey}: {label}")


def _virtual_models(quick: bool, species: int) -> list[tuple[str, Callable[[int], Estimator]]]:
    def of(name: str) -> Callable[[int], Estimator]:
        return lambda seed: recipe(name, seed)

    models: list[tuple[str, Callable[[int], Estimator]]] = [
        ("prevalence", lambda seed: Prevalence()),
        ("location only", lambda seed: LocationOnly()),
        ("Random Forest, plots alone", lambda seed: RandomForest(trees=200, leaf=3, records=0.0, seed=seed)),
        (NET, of("deep")),
        (NETS, of("deep-ensemble")),
        (f"{NET}, plots alone", of("plots-only")),
        (f"{NET}, records by DeepMaxent", of("deep-maxent")),
        (f"{NET}, records by the full-weighted loss", of("full-weighted")),
        (f"{NET}, records by cross-entropy", of("cross-entropy")),
    ]
    return [models[0], models[3]] if quick else models if species < 1_000 else models[:5]


def unseen_surveys(quick: bool) -> Iterator[Row]:
    """Table 6: surveys on which nothing was chosen, in five folds of 50 km blocks, species found on 20 plots or more."""
    for title, load in (("Swiss mires", untouched.mires), ("Mediterranean atlas, cells of 10 km", untouched.atlas)):
        survey = load(DATA)
        models: dict[str, Make] = {
            RECIPE: partial(recipe, "ensemble"),
            "prevalence": Prevalence,
            "location only": LocationOnly,
            "GLM": GLM,
            "Random Forest": partial(RandomForest, trees=200, leaf=3),
            f"{UNG}": partial(recipe, "ung"),
        }
        if quick:
            models = {NET: partial(recipe, "deep"), "GLM": GLM}
        p: dict[str, Float] = {}
        for name, make in models.items():
            for k in range(5):
                held = survey.fold == k
                for part, fitted in parts(name, make().fit(survey.sites, np.flatnonzero(~held))).items():
                    own = p.setdefault(part, np.empty((held.size, len(survey.sites.species)), np.float32))
                    own[held] = fitted.predict(survey.sites, np.flatnonzero(held))
            said(f"{title}: {name}")
        p = {RECIPE: p.pop(RECIPE), **p} if RECIPE in p else p
        top = {f"{UNG}, its own rule: the {UNG_SET} most probable": p[UNG]} if UNG in p else {}
        held_out = at_plots(survey.sites, np.arange(len(survey.sites)), survey.fold, {**p, **top}, side=swiss.BLOCK)
        scored = evaluate(held_out, draws=DRAWS, rules={name: lambda q: _by_plot(lambda r: top_k(r, UNG_SET), q) for name in top})
        yield from rows_of(f"{title}, {len(survey.sites.species):,} species", scored, "auc", "AUC")
        yield from rows_of(f"{title}", _of(scored, [*list(p)[:1], NETS, "Random Forest", UNG, *top]), "samples_f1", "F1")


TABLES: dict[str, Callable[[bool], Iterable[Row]]] = {
    "releves": releves_to_plots,
    "folds": folds,
    "disdat": presence_only,
    "virtual": virtual_worlds,
    "untouched": unseen_surveys,
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
    written = []
    for one in tables(arguments.only, arguments.quick):
        print(f"{one.name}: {one.value:.4g} {one.unit}  ({one.reference}; target: {one.target or 'none'}; ok: {one.ok})", flush=True)
        written.append(asdict(one))
        if arguments.json:
            arguments.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
