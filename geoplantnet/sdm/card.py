"""The model card of a study: who the model is for, what it learnt from, how good it is and where it must not be used.

Sections of Mitchell et al. 2019 (https://doi.org/10.1145/3287560.3287596), front matter as the Hugging Face Hub reads it. What the
manifest does not tell stands as "to be filled by the author".
"""

from __future__ import annotations

import math
from typing import Any

import yaml

from geoplantnet.sdm.evaluate import METRICS, Estimate, Evaluation, Metric
from geoplantnet.sdm.stac_mlm import slug
from geoplantnet.sdm.study import TO_FILL, Study

_ARROWS = {"higher": "↑", "lower": "↓", "zero": "→ 0"}
_ASK = f"_[{TO_FILL}]_"


def model_card(study: Study, evaluation: Evaluation) -> str:
    """The card as Markdown with YAML front matter."""
    front = yaml.safe_dump(_front_matter(study, evaluation), sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n\n# Model card: {study.title}\n\n{_body(study, evaluation)}"


def metrics_table(evaluation: Evaluation) -> str:
    """Markdown table of every metric: a column a model, then the first model minus each baseline."""
    first, *others = evaluation.scores
    rows = [["metric", *evaluation.scores, *(f"{first} - {name}" for name in others)]]
    for m in METRICS:
        differences = [show(evaluation.differences[name][m.key], m, signed=True) for name in others]
        rows.append([f"{m.title} {_ARROWS[m.better]}", *(show(s[m.key], m) for s in evaluation.scores.values()), *differences])
    return markdown_table(rows)


def classes_table(evaluation: Evaluation) -> str:
    """Markdown table of AUC and AUC-PR by prevalence class, for every model."""
    chosen = [m for m in METRICS if m.key in ("auc", "auc_pr_above_chance")]
    rows = [["prevalence", "species", *(f"{name}: {m.title}" for name in evaluation.classes for m in chosen)]]
    for same in zip(*evaluation.classes.values()):
        rows.append([same[0].title, f"{same[0].species:,}", *(show(c.scores[m.key], m) for c in same for m in chosen)])
    return markdown_table(rows)


def show(e: Estimate, m: Metric, *, signed: bool = False) -> str:
    """An estimate such as "0.732 [0.719, 0.741]"; biases in percent, "-" where there is none."""
    if not math.isfinite(e.value):
        return "-"
    scale, form, unit = _format(m, signed)
    interval = f" [{scale * e.low:{form}}, {scale * e.high:{form}}]" if math.isfinite(e.low) else ""
    return f"{scale * e.value:{form}}{interval}{unit}"


def _format(m: Metric, signed: bool) -> tuple[float, str, str]:
    if m.better == "zero":
        return 100.0, "+z.1f", " %"
    return 1.0, ("+" if signed else "") + ("z.2f" if m.key == "richness_rmse" else "z.3f"), ""


def markdown_table(rows: list[list[str]]) -> str:
    """Rows, the first of them the header; numbers are right-aligned by the second column on."""
    header, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *body))


def how_scored(evaluation: Evaluation) -> str:
    """Two sentences on folds, draws and thresholds that every table of scores needs."""
    tss = (
        "the threshold of TSS was chosen for each species on the other folds' held-out plots"
        if evaluation.threshold == "other folds"
        else "the threshold of TSS was chosen on the scored plots themselves, which flatters it"
    )
    return (
        f"{evaluation.plots:,} held-out plots in {evaluation.folds} fold{'s' * (evaluation.folds > 1)}, {evaluation.presences:,} presences. "
        f"Ranking scores are means over the {evaluation.scored_species:,} of {evaluation.species:,} species with at least {evaluation.minimum} presences and "
        f"{evaluation.minimum} absences in a fold; {tss}. In brackets: 95 % intervals from {evaluation.draws} bootstrap draws of {evaluation.units:,} "
        f"{'spatial blocks' if evaluation.resampled == 'blocks' else 'plots, which takes neighbours as independent and is too narrow'}, the same for all models; differences of biases are of their distances from 0."
    )


def _front_matter(study: Study, evaluation: Evaluation) -> dict[str, Any]:
    scored = next(iter(evaluation.scores.values()))
    task = {"type": "species-distribution-modelling", "name": "Species distribution modelling"}
    dataset = {
        "type": "spatial-block-cross-validation",
        "name": f"{evaluation.plots} held-out plots" + (f" of {', '.join(study.tested_on)}" if study.tested_on else ""),
    }
    metrics = [
        {"type": m.key, "name": m.title, "value": round(scored[m.key].value, 4)} for m in METRICS if math.isfinite(scored[m.key].value)
    ]
    return {
        "license": study.licence.lower(),
        "library_name": "geoplantnet",
        "tags": ["species-distribution-model", "biodiversity", "plants", "remote-sensing"],
        "datasets": [r.dataset for r in study.records],
        "metrics": [m["type"] for m in metrics],
        "model-index": [{"name": slug(study.title), "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}],
    }


def _body(study: Study, evaluation: Evaluation) -> str:
    west, south, east, north = study.lonlat
    count = f"; {study.parameters:,} weights" if study.parameters else "; number of weights unknown" if study.noun == "network" else ""
    records = markdown_table([["data set", "records read", "used"], *([r.dataset, f"{r.read:,}", f"{r.used:,}"] for r in study.records)])
    predictors = markdown_table(
        [["modality", "bands", "resolution", "source"]]
        + [
            [p.modality.title or p.modality.name, str(len(p.modality.bands)), f"{p.modality.resolution:g} m", p.source]
            for p in study.learnt
        ]
    )
    settings = ", ".join(f"{name} {value}" for name, value in study.settings.items())
    versions = ", ".join(f"{name} {version}" for name, version in study.software.items())
    baselines = ", ".join(list(evaluation.scores)[1:]) or "none"
    buffer = f", nothing learnt within {study.buffer:g} m of its plots" if study.buffer else ""
    single = (
        " Scored are the folds' own models; their mean, which is mapped, is not." if study.every_fold and study.members_of_folds else ""
    )
    after = " ".join(study.post_processing)
    return f"""{study.description}

> {study.notice}

## Model details

- Kind: {study.algorithm}{count}
- Members: {study.averaging or f"one {study.noun}"}; {study.fitted}
- SHA-256 of the weights: {"; ".join(f"{w.name} `{w.sha256}`" for w in study.weights) or _ASK}
- Output: probability that a plot of {study.plot_area:g} m² holds each of {len(study.species):,} species ({study.species.checklist}){f". {after}" if after else ""}
- Training: {"; ".join((*study.steps, settings))}; seed {study.seed}
- Software: {versions}
- Licence of the products: {study.licence}
- Developers, contact, date, citation: {_ASK}

## Intended use

- Made for: maps of species and of indicators ({", ".join(study.indicators)}) in cells of {study.cell_size} m over {study.tiles:,} tiles of {study.tile_size / 1000:g} km,
  between {west:.2f} and {east:.2f} degrees east, {south:.2f} and {north:.2f} degrees north, for {study.interval[0][:10]} to {study.interval[1][:10]}
- Intended users and decisions: {_ASK}
- Out of scope: proof that a species is present or absent at a place; places, times and habitats unlike the training data; plot areas other than
  {study.plot_area:g} m²; legal status of a site without a visit.

## Factors

- Rare and common species differ in skill: see the table by prevalence below.
- Places differ: the map of plots in the report shows where richness is over- and underestimated, by fold.
- Species found in too few plots are not modelled: {" ".join(study.filters) or _ASK}
- Further factors (habitats, seasons, observers): {_ASK}

## Metrics

{chr(10).join(f"- **{m.title}** {_ARROWS[m.better]}: {m.words}." for m in METRICS)}

## Evaluation data

Spatial blocks of {study.block / 1000:g} km in {study.folds} folds, {"each held out in turn" if study.every_fold else "one of them held out"}{buffer}; scored are presence-absence plots
{f"of {', '.join(study.tested_on)}" if study.tested_on else "of all data sets"}. {how_scored(evaluation)}{single}

## Training data

{study.plots:,} presence-absence plots and {study.presence_only_sites:,} presence-only sites (background included).

{records}

{predictors}

Credit: {"; ".join(study.attribution) or _ASK}

## Quantitative analyses

{metrics_table(evaluation)}

By prevalence (share of the held-out plots):

{classes_table(evaluation)}

Baselines on the same plots: {baselines}.

## Ethical considerations

- Maps of rare or collected species can harm them: coarsen or withhold what is sensitive before publishing.
- Effects on people (access, land use, livelihoods) and consent of data holders: {_ASK}

## Caveats and recommendations

- Predicted, not observed. Probabilities hold for the stated plot area and for places like those of the training data{_novelty(study)}.
- The number of species above a threshold is no estimate of richness; the sum of probabilities is.
- Records carry errors of position, name and effort that no score on held-out records of the same origin can show.
- Further caveats: {_ASK}
"""


def _novelty(study: Study) -> str:
    """How the map says which places those are."""
    if study.dissimilarity is None:
        return "; which those are nobody knows, for no area of applicability could be told"
    share = "" if study.extrapolated is None else f", {100 * study.extrapolated:.0f} % of the mapped cells"
    return f": cells of a dissimilarity index above {study.dissimilarity:.3g} are outside the area of applicability{share}"
