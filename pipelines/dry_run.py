"""`geoplantnet cubes --dry-run`: what would be done and what it would cost. Reads the ledger, writes nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from pipelines.build_cubes import CUBES, key_of, modality_of
from pipelines.context import CubeRun
from pipelines.estimate import Estimate, StacSection, amount, by_arithmetic, by_measure, bytes_of_scenes, rows, times
from pipelines.ledger import Ledger, Record, paths_in
from pipelines.plan import plan
from pipelines.workers import memory_of

SAMPLE = 200
"""Tasks of a modality, evenly spread, from which the cost of the others is known."""


def estimate(run: CubeRun, *, retry: bool = False) -> list[Estimate]:
    """The cost of the tasks that are due, modality by modality."""
    found = plan(run, CUBES, retry=retry)
    due = Counter(modality_of(task.key) for task in found.due)
    poison = Counter(modality_of(failure.key) for failure in found.poison)
    estimates = []
    for name in run.wanted:
        one = by_arithmetic(run.grid, run.modality(name), read=_read(run, name), remote=run.is_remote(name))
        one = by_measure(one, _measured(run, name))
        counts = {"due": due[name], "quarantined": poison[name], "done": len(run.chosen) - due[name] - poison[name]}
        estimates.append(replace(times(one, **counts), missing=_missing(run, name)))
    return estimates


def _read(run: CubeRun, name: str) -> float | None:
    """Bytes that a task of a modality reads, where it is a composite: as often as satellites pass; None = unknown."""
    section = run.recipe.modalities[name].source
    return bytes_of_scenes(run.grid, run.modality(name), section) if isinstance(section, StacSection) else None


def _missing(run: CubeRun, name: str) -> str:
    """The input files of a modality that are not there, in words; empty when all are. Addresses are not asked."""
    section = run.recipe.modalities[name].source
    named = list(paths_in([section]))
    absent = [str(path) for path in named if not path.exists()]
    template = getattr(section, "path", None)
    if not named and isinstance(template, Path):
        absent = [str(template)]
    return f"{name}: {', '.join(absent[:3])}{' ...' if len(absent) > 3 else ''} is not there" if absent else ""


def _measured(run: CubeRun, name: str) -> list[Record]:
    """Some tasks of a modality that were done as it is asked for now."""
    ledger = Ledger(run.store)
    recorded = ledger.keys(CUBES.name)
    done = [key for tile in run.tiles if (key := key_of(tile, name)) in recorded]
    records = (ledger.record(CUBES.name, key) for key in done[:: max(len(done) // SAMPLE, 1)])
    return [r for r in records if r is not None and r.stats["asked"] == run.asked[name]]


def table_of(run: CubeRun, estimates: list[Estimate]) -> Table:
    """For people: a line a modality and one for all, and what the workers are."""
    section = run.recipe.cluster
    table = Table(
        title=f"{run.recipe.title}: {len(run.chosen):,} tiles of {run.grid.tile_size // 1000} km, {run.store}", title_justify="left"
    )
    columns = ("modality", "due", "done", "read", "CPU", "wall", "memory", "write", "from")
    for column in columns:
        table.add_column(column, justify="left" if column in (columns[0], columns[-1]) else "right")
    for row in rows(estimates, workers=section.workers, reads_at_once=section.reads_at_once):
        table.add_row(*row)
    given = memory_of(section)
    table.caption = (
        f"wall: with {section.workers} workers ({section.scheduler or section.kind}), "
        f"at most {section.reads_at_once} of them reading over the network; "
        f"memory: peak of a worker, of {amount(given) if given else 'what its scheduler gives'}; "
        "from: tasks of this store that were measured, else sums over pixels"
    )
    if poison := sum(e.quarantined for e in estimates):
        table.caption += f"; {poison:,} tasks are in quarantine (--retry)"
    table.caption_justify = "left"
    return table
