"""The page of one species: how often it was found, how well it is predicted, and what the model makes of its niche.

species/<taxon id>.html    one page with its figures inside
species/<taxon id>.json    the same for programs (`sdm.species_report.SpeciesReport.to_dict`)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geoplantnet.sdm.card import markdown_table
from geoplantnet.sdm.evaluate import Evaluation
from geoplantnet.sdm.figures import draw_species_map, draw_species_responses, png_of
from geoplantnet.sdm.held_out import HeldOut
from geoplantnet.sdm.species_report import SpeciesReport, SpeciesTables, niche_words
from geoplantnet.sdm.study import Study
from geoplantnet.storage import write_json
from geoplantnet.taxonomy.species_list import Taxon
from pipelines.page import page, write_text

FOLDER = "species"


def write_pages(
    tables: SpeciesTables,
    names: Sequence[str],
    study: Study,
    held_out: HeldOut,
    evaluation: Evaluation,
    folder: Path,
    sensitive: Mapping[str, str] | None = None,
) -> dict[str, SpeciesReport]:
    """Commit page and JSON of species by id or scientific name, each once; path of each page in `folder` -> report. Raises UnknownSpecies.

    `sensitive`: what is said of a sensitive taxon id, in the place of a map of the plots it was found on.
    """
    table = evaluation.per_species
    of_model = table[table["model"] == next(iter(evaluation.scores))].set_index("taxonID")
    written = {}
    for k in dict.fromkeys(tables.species.index_of(name) for name in names):
        taxon = tables.species[k]
        scores = of_model.loc[taxon.taxon_id].to_dict()
        report = tables.report(taxon.taxon_id, auc=scores["auc"], interval=(scores["auc_low"], scores["auc_high"]))
        figures, shown = {}, {}
        if words := (sensitive or {}).get(report.taxon_id):
            hidden = f"Where it was found is not shown. {words}."
        else:
            hidden = ""
            figure, shown["map"] = draw_species_map(held_out, report.taxon_id, crs=study.crs)
            figures["figures/map.png"] = png_of(figure)
        if len(report.responses.predictors):
            figure, shown["responses"] = draw_species_responses(report)
            figures["figures/responses.png"] = png_of(figure)
        text = _text(report, taxon, study, scores, evaluation, shown, hidden)
        path = f"{FOLDER}/{report.taxon_id}.html"
        write_text(folder / path, page(f"{report.scientific_name}: {study.title}", text, figures))
        write_json((folder / path).with_suffix(".json"), report.to_dict())
        written[path] = report
    return written


def _text(
    report: SpeciesReport, taxon: Taxon, study: Study, scores: dict[str, Any], evaluation: Evaluation, shown: dict[str, str], hidden: str
) -> str:
    notes = "\n".join(f"- **Careful:** {note}" for note in report.notes)
    named = ", ".join(filter(None, (taxon.vernacular_name, taxon.family, f"`{taxon.taxon_id}`")))
    figure = {name: f"![{caption}](figures/{name}.png)\n\n*{caption}*" for name, caption in shown.items()}
    return f"""# *{report.scientific_name}*

{named} in {study.title}

> {study.notice}

## In short

{_found(report)}
{_skill(scores, evaluation)}
{notes}

## Where it was found, and where the model expected it

{hidden or figure["map"]}

## What the model builds on

{_built_on(report, study)}

## Its niche, as the model has it

{_niche(report, figure.get("responses", ""))}

[Back to the report](../report.html); the same [for programs]({report.taxon_id}.json).
"""


def _found(report: SpeciesReport) -> str:
    share = f" ({_share(report.prevalence)})" if math.isfinite(report.prevalence) else ""
    records = f", and in {report.records:,} presence-only records" if report.records else ""
    return f"- Learnt from {report.plots:,} plots: found on {report.presences:,} of them{share}{records}."


def _skill(scores: dict[str, Any], evaluation: Evaluation) -> str:
    told = f"- On {evaluation.plots:,} plots held out of training it was found on {scores['presences']:,}"
    expected = f"{scores['mean_probability'] * evaluation.plots:,.0f} were expected (sum of p)"
    if not math.isfinite(scores["auc"]):
        return f"{told}; {expected}. Fewer than {evaluation.minimum} presences or absences in every fold: not scored."
    interval = f" [{scores['auc_low']:.2f}, {scores['auc_high']:.2f}]" if math.isfinite(scores["auc_low"]) else ""
    return (
        f"{told}; {expected}. AUC {scores['auc']:.2f}{interval}: of two plots, one with it and one without, the model rates the right one higher "
        f"{100 * scores['auc']:.0f} times in 100 (a coin: 50). AUC-PR {scores['auc_pr']:.2f} (a coin: {scores['prevalence']:.2f}), TSS {scores['tss']:.2f}."
    )


def _built_on(report: SpeciesReport, study: Study) -> str:
    """Shapley values of modalities as shares, and the bands that matter most."""
    shapley = report.modalities.dropna()
    total = float(shapley["shapley"].sum())
    if not total > 0:
        return "On held-out plots the model predicts it no better with its predictors than without any: there is nothing to take apart."
    titles = {f"{p.modality.name}.{band}": title for p in study.learnt for band, title in zip(p.modality.bands, p.modality.long_names)}
    wholes = [["modality", "share", "Shapley value"]]
    wholes += [[name, f"{100 * value / total:.0f} %", f"{value:.2g}"] for name, value in shapley.itertuples(index=False)]
    bands = [["predictor", "", "importance"]]
    bands += [[name, titles.get(name, ""), f"{value:.2g}"] for name, value in report.predictors.itertuples(index=False)]
    return f"""What each modality adds to the prediction of this species on held-out plots (mean log likelihood, nats a plot; below 0 it misleads), and the
bands that cost most when they are exchanged between plots. Related predictors share or hide each other's effect.

{markdown_table(wholes)}

{markdown_table(bands)}"""


def _niche(report: SpeciesReport, figure: str) -> str:
    if report.niche.empty:
        return "No band matters enough to have a response."
    about = {row["predictor"]: row for _, row in report.responses.predictors.iterrows()}
    words = []
    for _, row in report.niche.iterrows():
        band = about[row["predictor"]]
        known_as = f" (`{row['predictor']}`)" if band["title"] != row["predictor"] else ""
        words.append(f"- **{band['title']}**{known_as}: {niche_words(row, band)}")
    return (
        "Along the bands that matter most to all species together, one moved at a time, the most important to this species first. It is what the "
        "model has learnt, not what the plant can stand: a plant may be missing where it could live, and bands that go together (elevation and "
        f"temperature) are moved apart here.\n\n{figure}\n\n" + "\n".join(words)
    )


def _share(p: float) -> str:
    return f"{100 * p:.2g} %" if p < 0.1 else f"{100 * p:.0f} %"
