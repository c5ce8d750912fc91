"""`geoplantnet cubes --dry-run`: what would be done and what it would cost. Reads the ledger, writes nothing."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from statistics import fmean
from typing import Any

from rich.table import Table

from geoplantnet.errors import GeoPlantNetError
from pipelines.build_cubes import CUBES, key_of, modality_of
from pipelines.context import CubeRun
from pipelines.estimate import Estimate, StacSection, amount, by_arithmetic, by_measure, bytes_of_scenes, rows, times
from pipelines.ledger import Ledger, Record, tile_of
from pipelines.plan import Plan, plan
from pipelines.workers import memory_of

SAMPLE = 200
"""Tasks of a modality, evenly spread, from which the cost of the others is known."""
ASKED = 4
"""Tiles for which a source is asked how many bytes it would read."""


def estimate(run: CubeRun, *, retry: bool = False) -> list[Estimate]:
    """The cost of the tasks that are due, modality by modality."""
    found = plan(run, CUBES, retry=retry)
    due = Counter(modality_of(task.key) for task in found.due)
    poison = Counter(modality_of(failure.key) for failure in found.poison)
    estimates = []
    for name in run.wanted:
        one = by_measure(
            by_arithmetic(run.grid, run.modality(name), read=_read(run, name, found), remote=run.is_remote(name)), _measured(run, name)
        )
        counts = {"due": due[name], "quarantined": poison[name], "done": len(run.chosen) - due[name] - poison[name]}
        estimates.append(times(one, **counts))
    return estimates


def _read(run: CubeRun, name: str, found: Plan) -> float | None:
    """Bytes that a task of a modality reads: as its source says of some tiles, or as often as satellites pass; None = unknown."""
    m, section = run.modality(name), run.recipe.modalities[name].source
    if section.kind.startswith("virtual"):
        return None
    asked: Any = getattr(run.source(name), "estimate", None)
    said: list[float] = []
    for task in islice((t for t in found.due if modality_of(t.key) == name), ASKED if asked else 0):
        try:
            said.append(asked(run.tile(tile_of(task.key)).geobox(m.resolution, margin=m.halo * m.resolution)))
        except GeoPlantNetError:
            continue  # the run itself will say what is wrong with this tile
    if said:
        return fmean(said)
    return bytes_of_scenes(run.grid, m, section) if isinstance(section, StacSection) else None


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
