"""The whole pipeline, one stage after the other, and the summary it closes with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from pipelines.build_cubes import CUBES, drop_strangers
from pipelines.compute_indicators import INDICATORS
from pipelines.context import Run
from pipelines.ingest_occurrences import OCCURRENCES
from pipelines.ledger import Ledger
from pipelines.map_species import MAP
from pipelines.plan import Stage
from pipelines.progress import Reporter
from pipelines.publish import CATALOG, PUBLISH
from pipelines.sensitive import remarks
from pipelines.stages import Done, carry_out
from pipelines.tables import stored_species
from pipelines.train_sdm import MODEL, TRAIN, UNCALIBRATED

STAGES: dict[str, Stage[Run]] = {s.name: s for s in (OCCURRENCES, CUBES, TRAIN, MAP, INDICATORS, PUBLISH, CATALOG)}


def run_stages(run: Run, names: Sequence[str], reporter: Reporter, *, retry: bool = False) -> Done:
    """Carry out stages in order; see `carry_out`. What is published is the recipe's cube, without what other recipes left in it."""
    before = {PUBLISH.name: drop_strangers}
    return carry_out(run, [STAGES[name] for name in names], reporter, retry=retry, before=before)


def summarise(run: Run, done: Done, reporter: Reporter) -> None:
    """A short account of what was made, how good it is, and where it lies."""
    if run.recipe.sensitive is not None and Ledger(run.store).record("occurrences", "all"):
        for words in remarks(run, stored_species(run)):
            reporter.say(f"careful: {words}")
    if not done.tasks:
        reporter.say(f"Nothing to do: all products of {run.recipe.title!r} are up to date in {run.store}")
        return
    ledger = Ledger(run.store)
    table = Table(title=run.recipe.title, show_header=False, title_justify="left", caption=run.recipe.notice, caption_justify="left")
    found = ledger.record("occurrences", "all")
    trained = ledger.record("train", "model")
    if found:
        table.add_row("records", f"{found.stats['used']:,} used of {found.stats['read']:,} read")
        for reason, count in sorted(found.stats["rejected"].items(), key=lambda item: -item[1]):
            table.add_row("", f"{count:,} rejected: {reason}")
    if trained:
        s = trained.stats
        table.add_row("sites", f"{s['plots']:,} presence-absence plots, {s['presence_only_sites']:,} presence-only sites")
        table.add_row("species", f"{s['species']:,}")
        first = (MODEL, UNCALIBRATED)
        for name, score in sorted(s["skill"].items(), key=lambda item: (item[0] not in first, item[0] != MODEL, item[0])):
            table.add_row("skill, held-out blocks" if name == MODEL else "", _skill_line(name, score))
        for words in _model_lines(s):
            table.add_row("", words)
    truths = [r.stats["truth"] for r in ledger.records("map") if "truth" in r.stats]
    if truths:
        pooled, own = (sum(t[k] for t in truths) / len(truths) for k in ("pooled", "per_species"))
        table.add_row("map against the truth", f"r = {pooled:.3f} over all cells and species; median {own:.3f} a species")
    made = [tile for tile in run.tiles if ledger.record("publish", tile)]
    table.add_row("tiles", f"{len(made)} of {len(run.tiles)}: {', '.join(made[:6])}{' ...' if len(made) > 6 else ''}")
    table.add_row("time", ", ".join(f"{o.stage} {o.seconds:.0f} s" for o in done.outcomes if o.done))
    table.add_row(
        "products",
        f"{run.store} ({sum(o.bytes for r in ledger.records() for o in r.outputs) / 1e6:.0f} MB); open {run.store / 'catalog.json'}",
    )
    reporter.console.print(table)


def _model_lines(stats: dict[str, Any]) -> list[str]:
    """What was done beside training, in words."""
    lines = []
    if stats["members"] > 1:
        lines.append(f"the mean of {stats['members']} models is mapped")
    if stats["calibration"] == "none":
        lines.append("not calibrated: that takes three held-out folds (validation.held_out: all) and training.calibration: auto")
    elif stats["calibration"] == "identity":
        lines.append("calibration tried, and left out: it does not lower the error on folds it has not seen")
    else:
        lines.append(f"calibrated ({stats['calibration']}); the skill is that of calibrations learnt from other folds")
    if found := stats.get("autocorrelation"):
        lines.append(
            f"blocks of {stats['block'] / 1000:g} km: what predictors leave unexplained is alike within {found['range'] / 1000:.1f} km"
        )
    if habitats := stats.get("habitats"):
        told, common = habitats["accuracy"], habitats["commonest"]["accuracy"]
        lines.append(
            f"habitats: {len(habitats['plots'])}, {100 * told:.0f} % of {sum(habitats['plots'].values())} plots told right from the plants "
            f"predicted there ({100 * habitats['top3']:.0f} % among the three likeliest; always the commonest: {100 * common:.0f} %)"
        )
    return lines


def _skill_line(name: str, score: dict[str, float | None]) -> str:
    shown = {k: "n/a" if v is None else f"{v:.3f}" for k, v in score.items()}
    return f"{name}: AUC {shown['auc']} ({score['species']} species, {score['plots']} plots), ECE {shown['ece']}, richness bias {100 * (score['richness_bias'] or 0):+.0f} %"
