"""Stages one after the other: a failed tile is left out of what follows, and named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from geoplantnet.errors import GeoPlantNetError, PartialResult
from pipelines.context import R
from pipelines.flow import Flow, Outcome
from pipelines.ledger import Failure, Ledger, tile_of
from pipelines.plan import Stage
from pipelines.progress import Reporter

NAMED = 20
"""Failures a closing message names; `geoplantnet status` lists all."""


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

    @property
    def quarantined(self) -> int:
        return sum(outcome.quarantined for outcome in self.outcomes)


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


def carry_out(
    run: R, stages: Sequence[Stage[R]], reporter: Reporter, *, retry: bool = False, before: Mapping[str, Callable[[R], None]] | None = None
) -> Done:
    """Carry out stages in order, `before` each what it names. `retry` takes tasks out of quarantine.

    Raises SomeTilesFailed, after all that could be done was done, naming the tiles that failed; the failure itself when
    nothing could go on after it (occurrences, training, every tile, the catalog).
    """
    done = Done()
    with Ledger(run.store).locked(), Flow(run, reporter, retry=retry) as flow:
        for stage in stages:
            if before and stage.name in before:
                before[stage.name](run)
            outcome = flow.carry_out(stage)
            done.outcomes.append(outcome)
            if outcome.failures and not _left(run, stage, outcome):
                raise TaskFailed(outcome.failures[0])
    if done.failures:
        raise SomeTilesFailed(done, _account(run, done))
    return done


def _left(run: Any, stage: Stage[Any], outcome: Outcome) -> set[str]:
    """Tiles of a stage in which nothing failed."""
    return {tile_of(key) for key in stage.keys(run)} - {tile_of(failure.key) for failure in outcome.failures}


def _account(run: Any, done: Done) -> str:
    """Which tiles failed, of what, and what to do."""
    failures, tiles = done.failures, {tile_of(f.key) for f in done.failures}
    named = "; ".join(f"{f.key} ({f.stage}: {f.message})" for f in failures[:NAMED])
    more = f"; and {len(failures) - NAMED} more, which `geoplantnet status` lists" if len(failures) > NAMED else ""
    kept = (
        f". {done.quarantined} of them failed {run.recipe.cluster.attempts} times and are in quarantine until they change: --retry tries again"
        if done.quarantined
        else ""
    )
    return f"{len(tiles)} of {len(run.tiles)} tiles failed: {named}{more}. Mend the cause and run again: what is done stays done{kept}"
