"""`geoplantnet report`: a folder that says how good a model is, what it was made of, and what it must not be used for.

    report.md, report.html     the report; the HTML holds its figures inside
    figures/*.png              ROC, precision-recall, reliability, threshold sweep, AUC against prevalence, plots on a map, response of
                               richness; maps of richness and of the area of applicability where tiles are up to date
    species/*.html, *.json     pages of the species that were asked for (`pipelines.species_page`)
    model_card.md              Mitchell et al. 2019, with the front matter of the Hugging Face Hub
    mlm.json                   STAC item with the MLM extension, of networks alone
    odmap.csv, odmap.md        ODMAP protocol (Zurell et al. 2020), filled as far as the run's manifest goes
    evaluation.json, species.csv

Where the model's folder holds `explanation.json`, its tables become a section: {"score": name of the score explained, "plots": number
of plots, "contributions", "modalities", "predictors": lists of flat records}; each of the lists may be absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geoplantnet.errors import ModelError
from geoplantnet.sdm.card import classes_table, how_scored, markdown_table, metrics_table, model_card, show
from geoplantnet.sdm.evaluate import METRICS, Evaluation, evaluate
from geoplantnet.sdm.figures import RESPONSES, write_figures
from geoplantnet.sdm.odmap import Protocol, protocol
from geoplantnet.sdm.species_report import SpeciesReport, SpeciesTables
from geoplantnet.sdm.stac_mlm import mlm_item
from geoplantnet.sdm.study import NETWORK, Study
from geoplantnet.storage import write_json
from pipelines.context import Run
from pipelines.evaluate import EVALUATION, REPORTS, SPECIES, held_out_of, write_evaluation
from pipelines.maps import overview_of, write_map_figures
from pipelines.page import page, write_text
from pipelines.sensitive import generalisations
from pipelines.species_page import write_pages
from pipelines.study import study_of
from pipelines.trained import EXPLANATION, SPECIES_TABLES

_EXPLAINED = {
    "contributions": "Contribution of modalities",
    "modalities": "Permutation importance of modalities",
    "predictors": "Permutation importance of predictors",
}
_NO_MAP = "No map of richness or of the area of applicability is up to date with this model: `geoplantnet run RECIPE` makes them."
_ROWS = 15
"""Rows a table of the report shows at most."""


def write_report(run: Run, *, folder: Path | None = None, draws: int, species: Sequence[str] = ()) -> tuple[Path, Protocol]:
    """Score the run's held-out predictions and commit the report, with pages of some species (id or scientific name).

    Returns its folder and the protocol. Raises ModelError without held-out predictions, for an explanation that is none, or
    where species are asked for and nothing is known of single ones; UnknownSpecies.
    """
    folder = folder or run.store / REPORTS
    held_out, study, explanation = held_out_of(run), study_of(run), _explanation(run)
    tables = SpeciesTables.load(run.model / SPECIES_TABLES) if species or (run.model / SPECIES_TABLES).is_dir() else None
    for name in species:
        study.species.index_of(name)  # before the work
    evaluation = evaluate(held_out, draws=draws, seed=run.recipe.seed)
    pages = write_pages(tables, species, study, held_out, evaluation, folder, generalisations(run)) if tables else {}
    captions = write_figures(held_out, evaluation, folder / "figures", crs=study.crs, responses=tables.responses if tables else None)
    overview = overview_of(run)
    maps = write_map_figures(overview, folder / "figures") if overview else {}
    write_evaluation(evaluation, folder)
    write_text(folder / "model_card.md", model_card(study, evaluation))
    if _has_item(study):
        write_json(folder / "mlm.json", mlm_item(study.seen_from(folder)))
    importance = f"by {', '.join(title.lower() for key, title in _EXPLAINED.items() if explanation.get(key))}" if explanation else None
    odmap = protocol(study, evaluation, importance=importance)
    write_text(folder / "odmap.csv", odmap.to_csv())
    write_text(folder / "odmap.md", odmap.to_markdown())
    text = _report(study, evaluation, captions, maps, explanation, odmap, pages)
    write_text(folder / "report.md", text)
    write_text(
        folder / "report.html",
        page(f"{study.title}: report", text, {f"figures/{name}": (folder / "figures" / name).read_bytes() for name in (*captions, *maps)}),
    )
    return folder, odmap


def _report(
    study: Study,
    evaluation: Evaluation,
    captions: Mapping[str, str],
    maps: Mapping[str, str],
    explanation: Mapping[str, Any],
    odmap: Protocol,
    pages: Mapping[str, SpeciesReport],
) -> str:
    shown = {name: f"![{caption}](figures/{name})\n\n*{caption}*" for name, caption in {**captions, **maps}.items()}
    responses = shown.pop(RESPONSES, "")
    drawn = "\n\n".join(shown.pop(name) for name in maps) or _NO_MAP
    figures = "\n\n".join(shown.values())
    mlm = "[mlm.json](mlm.json) (STAC machine learning model), " if _has_item(study) else ""
    return f"""# {study.title}: report

> {study.notice}

{study.description}

## In short

{_verdict(evaluation)}

## Skill

{metrics_table(evaluation)}

{how_scored(evaluation)}

By prevalence (share of the held-out plots that hold the species):

{classes_table(evaluation)}

{chr(10).join(f"- **{m.title}**: {m.words}." for m in METRICS)}

## Maps

{drawn}

## Figures

{figures}

## Species

{_species(evaluation)}

{_pages(pages)}

## What the model looks at

{_explained(explanation)}

{f"### Responses{chr(10)}{chr(10)}{responses}" if responses else ""}

## Files

[Model card](model_card.md), {mlm}ODMAP protocol as [table](odmap.csv) and [text](odmap.md) ({len(odmap.open)} mandatory elements are left for the author),
[all scores]({EVALUATION}), [all species]({SPECIES}).
"""


def _has_item(study: Study) -> bool:
    """Whether STAC MLM has words for the model: weights that take images in and give probabilities out, by a framework."""
    return bool(study.weights) and study.kinds == (NETWORK,)


def _verdict(evaluation: Evaluation) -> str:
    """A sentence a baseline, from the interval of the paired difference."""
    first = next(iter(evaluation.scores))
    chosen = [m for m in METRICS if m.key in ("auc", "samples_f1", "brier")]
    own = ", ".join(f"{m.title} {show(evaluation.scores[first][m.key], m)}" for m in chosen)
    bias = next(m for m in METRICS if m.key == "richness_bias")
    lines = [
        f"On {evaluation.plots:,} held-out plots the {first} has {own}; its richness (sum of p) is off by {show(evaluation.scores[first][bias.key], bias)}."
    ]
    for name, differences in evaluation.differences.items():
        parts = []
        for m in chosen:
            e = differences[m.key]
            better, worse = (e.low > 0, e.high < 0) if m.better == "higher" else (e.high < 0, e.low > 0)
            word = "better" if better else "worse" if worse else "not told apart"
            parts.append(f"{m.title} {word} ({show(e, m, signed=True)})")
        lines.append(f"- against {name}: {'; '.join(parts)}")
    return lines[0] + "\n\n" + "\n".join(lines[1:]) if len(lines) > 1 else lines[0]


def _species(evaluation: Evaluation) -> str:
    first = next(iter(evaluation.scores))
    table = evaluation.per_species
    own = table[(table["model"] == first) & table["auc"].notna()].sort_values("auc", ascending=False, kind="stable")
    if own.empty:
        return f"No species has {evaluation.minimum} presences and as many absences in a held-out fold; none could be scored."
    rows = [["species", "presences", "AUC", "AUC-PR", "TSS"]]
    shown = own if len(own) <= _ROWS else own.iloc[[*range(8), *range(len(own) - 7, len(own))]]
    for i, (_, r) in enumerate(shown.iterrows()):
        if len(own) > _ROWS and i == 8:
            rows.append(["...", "", "", "", ""])
        rows.append(
            [
                f"*{r.scientificName}*",
                f"{r.presences:,}",
                f"{r.auc:.3f} [{r.auc_low:.3f}, {r.auc_high:.3f}]",
                f"{r.auc_pr:.3f}",
                f"{r.tss:.3f}",
            ]
        )
    ends = "the best and the worst of" if len(own) > _ROWS else "all"
    return f"{ends.capitalize()} {len(own):,} species scored, by AUC of the {first}; intervals of single species are wide.\n\n{markdown_table(rows)}"


def _pages(pages: Mapping[str, SpeciesReport]) -> str:
    """Links to the pages of single species."""
    if not pages:
        return "`geoplantnet report RECIPE --species NAME` writes the page of a species: where it was found, what it responds to."
    return "Pages: " + ", ".join(f"[*{report.scientific_name}*]({path})" for path, report in pages.items()) + "."


def _explanation(run: Run) -> dict[str, Any]:
    """What an explain step left beside the model; nothing where there is none."""
    file = run.model / EXPLANATION
    if not file.is_file():
        return {}
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        lists = {key: raw[key] for key in _EXPLAINED if key in raw}
        if not all(isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for rows in lists.values()):
            raise ValueError(f"{', '.join(lists)} must be lists of records")
        return raw
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise ModelError(f"{file} is no explanation ({error}); make it again or remove it") from error


def _explained(explanation: Mapping[str, Any]) -> str:
    sections = []
    for key, title in _EXPLAINED.items():
        if rows := explanation.get(key):
            names = list(rows[0])
            cells = [[_cell(row.get(name)) for name in names] for row in rows[:_ROWS]]
            more = f"\n\n{len(rows) - _ROWS:,} more are in the file." if len(rows) > _ROWS else ""
            sections.append(f"### {title}\n\n{markdown_table([names, *cells])}{more}")
    if not sections:
        return f"Contributions of modalities and importance of predictors have not been computed (no {EXPLANATION} beside the model)."
    basis = f"Explained is {explanation.get('score', 'the score')} on {explanation.get('plots', 'the')} plots. "
    return (
        basis
        + "It says what the model uses, not what causes a distribution: related predictors share or hide each other's effect.\n\n"
        + "\n\n".join(sections)
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
