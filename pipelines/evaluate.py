"""`geoplantnet evaluate`: scores of the held-out predictions of a run, as tables for people and JSON and CSV for programs; and of run
files of any origin, as GeoLifeCLEF scores them.

reports/evaluation.json    every score with its interval
reports/species.csv        a row a model and species
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from geoplantnet.sdm.card import how_scored, show
from geoplantnet.sdm.evaluate import METRICS, Estimate, Evaluation, Metric, evaluate, maxexp
from geoplantnet.sdm.held_out import FOLDER, HeldOut
from geoplantnet.sdm.run_file import RunScore, read_run, read_surveys, score_run, write_run
from geoplantnet.storage import write_beside, write_json
from pipelines.context import Run

REPORTS = "reports"
"""Folder of the store for what is made to be read; no stage depends on it."""
EVALUATION, SPECIES = "evaluation.json", "species.csv"
_ARROWS = {"higher": "↑", "lower": "↓", "zero": "→0"}


def held_out_of(run: Run) -> HeldOut:
    """The held-out predictions of the run's model. Raises ModelError when it has none."""
    return HeldOut.load(run.model / FOLDER)


def evaluate_run(run: Run, *, draws: int) -> Evaluation:
    """Score them; the bootstrap is seeded by the recipe."""
    return evaluate(held_out_of(run), draws=draws, seed=run.recipe.seed)


def write_evaluation(evaluation: Evaluation, folder: Path, *, file: Path | None = None) -> list[Path]:
    """Commit scores (to `file`, or `folder`/evaluation.json) and the species' table."""
    written = write_json(file or folder / EVALUATION, evaluation.to_dict())
    with write_beside(folder / SPECIES) as path:
        evaluation.per_species.to_csv(path, index=False, lineterminator="\n", float_format="%.6g")
    return [written, folder / SPECIES]


def write_run_file(held_out: HeldOut, path: Path) -> RunScore:
    """Commit the first model's MaxExp sets as a GeoLifeCLEF run, species by falling probability, and score it as the challenge does."""
    p = next(iter(held_out.p.values()))
    ids = [t.taxon_id for t in held_out.species]
    ranked = (-p).argsort(axis=1, kind="stable")
    sets = maxexp(p)
    run = {event: tuple(ids[k] for k in ranked[i] if sets[i, k]) for i, event in enumerate(held_out.event)}
    write_run(path, run)
    found = held_out.found()
    return score_run(run, {event: [ids[k] for k in found[i].nonzero()[0]] for i, event in enumerate(held_out.event)})


def score_run_file(run: Path, truth: Path) -> RunScore:
    """Score a run file of any origin against a table of (surveyId, speciesId), as the challenge does. Raises InputError."""
    return score_run(read_run(run), read_surveys(truth))


def words_of(score: RunScore) -> list[str]:
    """A score in lines to print: the number, and what pulls it down."""
    said = [f"samples-F1 {score.samples_f1:.4f}, mean over {score.surveys:,} surveys; {score.mean_size:.1f} species predicted a survey"]
    if score.missing:
        said.append(f"{score.missing:,} surveys of the truth are not in the run: each scores 0")
    if score.empty:
        said.append(f"{score.empty:,} surveys of the run have no prediction: each scores 0")
    if score.never_found:
        whole = "; are its ids those of another edition?" if score.never_found == score.species else ""
        said.append(f"{score.never_found:,} of {score.species:,} species of the run are in no survey of the truth{whole}")
    return said


def tables_of(run: Run, evaluation: Evaluation) -> list[Table]:
    """What a person wants to know: the model beside its baselines, and by prevalence of the species."""
    return [_scores(run, evaluation), _classes(evaluation)]


def _scores(run: Run, evaluation: Evaluation) -> Table:
    first, *others = evaluation.scores
    table = Table(
        title=f"{escape(run.recipe.title)}: skill on held-out plots",
        title_justify="left",
        caption=how_scored(evaluation),
        caption_justify="left",
    )
    table.add_column("")
    for name in evaluation.scores:
        table.add_column(name, justify="right")
    for name in others:
        table.add_column(f"{first} - {name}", justify="right")
    for m in METRICS:
        best = _best(m, [evaluation.scores[name][m.key].value for name in evaluation.scores])
        cells = [
            f"[bold]{show(s[m.key], m)}[/]" if s[m.key].value == best else show(s[m.key], m)
            for s in map(evaluation.scores.get, evaluation.scores)
            if s
        ]
        differences = [_colored(evaluation.differences[name][m.key], m) for name in others]
        table.add_row(f"{m.title} {_ARROWS[m.better]}", *cells, *differences, end_section=m.key in ("boyce", "set_size_bias"))
    return table


def _best(m: Metric, values: list[float]) -> float:
    key: Callable[[float], float] = {"higher": lambda v: -v, "lower": lambda v: v, "zero": abs}[m.better]
    return min((v for v in values if v == v), key=key, default=float("nan"))


def _colored(e: Estimate, m: Metric) -> str:
    """A difference, green where its interval says the first model is better, red where worse."""
    text = show(e, m, signed=True)
    if not (e.low > 0 or e.high < 0):
        return text
    return f"[{'green' if (e.low > 0) == (m.better == 'higher') else 'red'}]{text}[/]"


def _classes(evaluation: Evaluation) -> Table:
    chosen = [m for m in METRICS if m.key in ("auc", "auc_pr_above_chance")]
    table = Table(title="By prevalence: share of the held-out plots that hold the species", title_justify="left")
    table.add_column("prevalence", justify="right")
    table.add_column("species", justify="right")
    for m in chosen:
        for name in evaluation.classes:
            table.add_column(f"{m.title}\n{name}", justify="right")
    for same in zip(*evaluation.classes.values()):
        table.add_row(same[0].title, f"{same[0].species:,}", *(show(c.scores[m.key], m) for m in chosen for c in same))
    return table
