"""The whole pipeline, one stage after the other, and the summary it closes with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.table import Table

from geoplantnet.errors import GeoPlantNetError, PartialResult
from geoplantnet.storage import size_of
from pipelines.build_cubes import CUBES
from pipelines.compute_indicators import INDICATORS
from pipelines.context import Run
from pipelines.flow import Flow, Outcome, Stage
from pipelines.ingest_occurrences import OCCURRENCES
from pipelines.ledger import Failure, Ledger
from pipelines.map_species import MAP
from pipelines.progress import Reporter
from pipelines.publish import CATALOG, PUBLISH
from pipelines.train_sdm import TRAIN

STAGES: dict[str, Stage] = {s.name: s for s in (OCCURRENCES, CUBES, TRAIN, MAP, INDICATORS, PUBLISH, CATALOG)}


@dataclass
class Done:
    """What a run did."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failures(self) -> list[Failure]:
        return list(dict.fromkeys(failure for outcome in self.outcomes for failure in outcome.failures))

    @property
    def tasks(self) -> int:
        return sum(len(outcome.done) for outcome in self.outcomes)


class TaskFailed(GeoPlantNetError):
    """A task the rest depends on failed; carries that task's own kind and exit code."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.stage} {failure.key}: {failure.message}")
        self.failure = failure
        self.exit_code = failure.exit_code  # type: ignore[misc]

    @property
    def kind(self) -> str:
        return self.failure.kind


class SomeTilesFailed(PartialResult):
    """Some tiles failed; carries what was done all the same."""

    def __init__(self, done: Done, message: str) -> None:
        super().__init__(message)
        self.done = done

    @property
    def kind(self) -> str:
        return PartialResult.__name__


def run_stages(run: Run, names: Sequence[str], reporter: Reporter) -> Done:
    """Carry out stages in order. A failed tile is left out of what follows.

    Raises SomeTilesFailed, after all that could be done was done, naming the tiles that failed; the failure itself when
    nothing could go on after it (occurrences, training, every tile, the catalog).
    """
    done = Done()
    with Ledger(run.store).locked(), Flow(run, reporter) as flow:
        for name in names:
            outcome = flow.carry_out(STAGES[name])
            done.outcomes.append(outcome)
            if outcome.failures and len(outcome.failures) == len(STAGES[name].keys(run)):
                raise TaskFailed(outcome.failures[0])
    if done.failures:
        named = "; ".join(f"{f.key} ({f.stage}: {f.message})" for f in done.failures)
        raise SomeTilesFailed(
            done,
            f"{len(done.failures)} of {len(run.tiles)} tiles failed: {named}. Mend the cause and run again: what is done stays done",
        )
    return done


def summarise(run: Run, done: Done, reporter: Reporter) -> None:
    """A short account of what was made, how good it is, and where it lies."""
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
        for name in ("model", "location only", "prevalence"):
            table.add_row("skill, held-out blocks" if name == "model" else "", _skill_line(name, s["skill"][name]))
    truths = [r.stats["truth"] for r in ledger.records() if r.stage == "map" and "truth" in r.stats]
    if truths:
        pooled, own = (sum(t[k] for t in truths) / len(truths) for k in ("pooled", "per_species"))
        table.add_row("map against the truth", f"r = {pooled:.3f} over all cells and species; median {own:.3f} a species")
    made = [tile for tile in run.tiles if ledger.record("publish", tile)]
    table.add_row("tiles", f"{len(made)} of {len(run.tiles)}: {', '.join(made[:6])}{' ...' if len(made) > 6 else ''}")
    table.add_row("time", ", ".join(f"{o.stage} {o.seconds:.0f} s" for o in done.outcomes if o.done))
    table.add_row("products", f"{run.store} ({size_of(run.store) / 1e6:.0f} MB); open {run.store / 'catalog.json'}")
    reporter.console.print(table)


def _skill_line(name: str, score: dict[str, float | None]) -> str:
    shown = {k: "n/a" if v is None else f"{v:.3f}" for k, v in score.items()}
    return f"{name}: AUC {shown['auc']} ({score['species']} species, {score['plots']} plots), ECE {shown['ece']}, richness bias {100 * (score['richness_bias'] or 0):+.0f} %"
