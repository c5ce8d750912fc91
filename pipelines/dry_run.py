"""`--dry-run`: what would be done and what it would cost, of the cubes by modality and of a whole run by stage.

Reads the ledger, writes nothing, and needs no torch.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, isnan, nan
from pathlib import Path
from typing import Any

from rich.table import Table

from geoplantnet.assemblages.assemblage import block_side
from geoplantnet.config.load import named_file, read_yaml, recipe_folders
from geoplantnet.config.recipe import VirtualPlots, VirtualRecords
from pipelines import costs
from pipelines.build_cubes import CUBES, key_of, modality_of
from pipelines.context import CubeRun, Run
from pipelines.estimate import (
    Estimate,
    StacSection,
    amount,
    by_arithmetic,
    by_measure,
    bytes_of_scenes,
    duration,
    rows,
    times,
    wall_seconds,
)
from pipelines.ledger import Ledger, Record, paths_in
from pipelines.outlook import BASE, TAKEN_OVER, WHOLE, Outlook, outlook, outlook_after, tiles_without_cube, upstream_of
from pipelines.plan import plan
from pipelines.workers import memory_of

SAMPLE = 200
"""Tasks of a modality or stage, evenly spread, from which the cost of the others is known."""
ASSUMED_SPECIES = 1_000
"""Species of a recipe of which nobody has said how many it will find."""
REPORTING_CELL = 5_000
"""Side in metres of the cells whose coverage is published."""


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
    table = _table(run, ("modality", "due", "done", "read", "CPU", "wall", "memory", "write", "from"))
    for row in rows(estimates, workers=section.workers, reads_at_once=section.reads_at_once):
        table.add_row(*row)
    table.caption = f"{_workers(run)}; from: tasks of this store that were measured, else sums over pixels"
    if poison := sum(e.quarantined for e in estimates):
        table.caption += f"; {poison:,} tasks are in quarantine (--retry)"
    return table


def _table(run: CubeRun, columns: Sequence[str]) -> Table:
    title = f"{run.recipe.title}: {len(run.chosen):,} tiles of {run.grid.tile_size // 1000} km, {run.store}"
    table = Table(title=title, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in (columns[0], columns[-1]) else "right")
    return table


def _workers(run: CubeRun) -> str:
    """What wall time and memory are told for."""
    section = run.recipe.cluster
    given = memory_of(section)
    return (
        f"wall: with {section.workers} workers ({section.scheduler or section.kind}), "
        f"at most {section.reads_at_once} of them reading over the network; "
        f"memory: peak of a worker, of {amount(given) if given else 'what its scheduler gives'}"
    )


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """What is due of a stage, and what that costs."""

    total: Estimate
    """Its name is the stage's; NaN = nobody knows."""
    wall: float
    """Seconds with the recipe's workers."""
    linked: bool = False
    """A scenario's stage that links what its base has made."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The cost of what is due of some stages."""

    stages: tuple[StageCost, ...]
    species: str
    """How many species, and who says so."""
    notes: tuple[str, ...]
    """What stands in the way, in words."""


def forecast(run: Run, names: Sequence[str], *, species: int | None = None, retry: bool = False) -> Forecast:
    """The cost of what is due of some stages of a run, in order. `species`: as if the model had so many; None = as many as is known."""
    base = outlook(run.base, retry=retry) if run.base else {}
    ahead = outlook_after(run, base, retry=retry)
    count, words = _species(run, species)
    size = size_of(run, count)
    one: dict[str, Callable[[], Estimate]] = {
        "occurrences": lambda: Estimate(name="occurrences", cpu_seconds=nan, seconds=nan, memory=nan, written=nan),
        "train": lambda: costs.training(size, rounds=_rounds(run), threads=run.recipe.training.threads),
        "map": lambda: costs.mapping(size),
        "indicators": lambda: costs.indicators(size),
        "changes": lambda: costs.changes(size),
        "publish": lambda: costs.publishing(size, rasters=run.recipe.publish.species),
        "catalog": lambda: costs.cataloguing(size, len(run.tiles)),
    }
    as_recorded = count == _recorded_species(run)
    stages = []
    for name in names:
        if name == CUBES.name:
            stages.append(_cubes(run, ahead[name], retry=retry))
            continue
        if run.scenario and name in TAKEN_OVER:
            stages.append(StageCost(total=Estimate(name=name, due=len(ahead[name].due), done=ahead[name].done), wall=0.0, linked=True))
            continue
        records = _records(run, name) if as_recorded or name == "occurrences" else []
        estimate_of_one = costs.measured(one[name](), records)
        own = ahead[name]
        total = times(estimate_of_one, due=len(own.due), done=own.done, quarantined=len(own.left_out))
        turns = ceil(len(own.due) / run.recipe.cluster.workers)
        stages.append(StageCost(total=total, wall=estimate_of_one.seconds * turns if turns else 0.0))
    return Forecast(stages=tuple(stages), species=words, notes=tuple(_notes(run, names, ahead, base, stages)))


def _cubes(run: Run, ahead: Outlook, *, retry: bool) -> StageCost:
    """All modalities as one; of a scenario those that differ cost, the others are links."""
    section, parts = run.recipe.cluster, estimate(replace(run, wanted=run.other) if run.scenario else run, retry=retry)
    summed = {name: sum(getattr(e, name) for e in parts) for name in ("due", "done", "quarantined", "written", "cpu_seconds", "seconds")}
    if run.scenario:
        summed |= {"due": len(ahead.due), "done": ahead.done, "quarantined": len(ahead.left_out)}
    total = Estimate(name=CUBES.name, memory=max(e.memory for e in parts), measured=sum(e.measured for e in parts), **summed)
    return StageCost(total=total, wall=wall_seconds(parts, workers=section.workers, reads_at_once=section.reads_at_once))


def _species(run: Run, asked: int | None) -> tuple[int, str]:
    """How many species the model will have, and in words from what that is known."""
    recorded = _recorded_species(run)
    if asked is not None:
        return asked, f"{asked:,} species, as asked"
    if recorded is not None:
        return recorded, f"{recorded:,} species, as `occurrences` found"
    if run.recipe.world:
        return run.recipe.world.species, f"{run.recipe.world.species:,} species, all of the virtual world"
    return ASSUMED_SPECIES, f"{ASSUMED_SPECIES:,} species, which is assumed: `occurrences` finds out, or say --species N"


def _occurrences(run: Run) -> Record | None:
    return Ledger((run.base or run).store).record("occurrences", WHOLE["occurrences"])


def _recorded_species(run: Run) -> int | None:
    record = _occurrences(run)
    return None if record is None else int(record.stats["species"])


def size_of(run: Run, species: int) -> costs.Size:
    """What the cost of one of the run's tiles depends on, with so many species."""
    grid, learnt = run.grid, run.model_modalities
    images = sum(m.resolution < grid.cell_size for m in learnt)
    return costs.Size(
        cells=grid.cells_per_side**2,
        species=species,
        images=images,
        cellwise=len(learnt) - images,
        networks=_networks(run),
        indicators=len(run.recipe.indicators),
        blocks=(grid.cells_per_side // block_side(grid)) ** 2,
        reporting=ceil(grid.tile_size / REPORTING_CELL) ** 2,
    )


def _networks(run: Run) -> tuple[costs.Network, ...]:
    """The networks that map, of the recipe's own keys or of the model it names."""
    t, v = run.recipe.training, run.recipe.validation
    plots, records = _sites(run)
    if t.model is None:
        described = [
            {
                "architecture": {"width": t.width, "latent": t.latent, "image_width": t.image_width},
                "plan": t.model_dump(include={"steps", "batch"}),
            }
        ]
    else:
        raw = read_yaml(named_file(t.model, [folder / "sdm" for folder in recipe_folders()], what="model"))
        described = [one for one in raw.get("members", [raw]) for _ in range(one.get("seeds", 1))]
    default = {name: type(t).model_fields[name].default for name in ("width", "latent", "batch")}
    found = []
    for one in described:
        shape, learning = default | one.get("architecture", {}), default | one.get("plan", {})
        visits = costs.visits(
            plots=plots * (v.folds - 1) / v.folds, records=records, steps=list(learning.get("steps", ())), batch=learning["batch"]
        )
        found.append(
            costs.Network(
                width=shape["width"], latent=shape["latent"], image_width=shape.get("image_width") or shape["width"], visits=visits
            )
        )
    return tuple(found) * (v.folds if t.members == "folds" else t.members)


def _rounds(run: Run) -> int:
    """How often those are trained: once for every fold that is held out, and once for all."""
    each = run.recipe.validation.held_out == "all" and run.recipe.training.members != "folds"
    return run.recipe.validation.folds + 1 if each else 1


def _sites(run: Run) -> tuple[float, float]:
    """Plots and presence-only sites: as recorded, else those of a virtual world; NaN where nobody knows."""
    record, sections = _occurrences(run), run.recipe.occurrences
    background = run.recipe.training.background
    if record is not None:
        kinds: dict[str, Any] = record.stats["events"]
        return kinds.get("presence-absence", 0), kinds.get("presence-only", 0) + background
    if any(not isinstance(section, VirtualPlots | VirtualRecords) for section in sections):
        return nan, nan
    plots = sum(section.plots for section in sections if isinstance(section, VirtualPlots))
    return plots, background + sum(section.records for section in sections if isinstance(section, VirtualRecords))


def _records(run: Run, name: str) -> list[Record]:
    """Some tasks of a stage that were done in this store, or else in that of a scenario's base.

    A catalog of another number of tiles says nothing of this one.
    """
    ledger = Ledger(run.store)
    recorded = ledger.keys(name)
    done = [key for key in ((WHOLE[name],) if name in WHOLE else run.tiles) if key in recorded]
    records = (ledger.record(name, key) for key in done[:: max(len(done) // SAMPLE, 1)])
    found = [r for r in records if r is not None and r.stats.get("tiles", len(run.tiles)) == len(run.tiles)]
    return found if found or run.base is None else _records(run.base, name)


def _notes(run: Run, names: Sequence[str], ahead: dict[str, Outlook], base: dict[str, Outlook], stages: Iterable[StageCost]) -> list[str]:
    """What a reader must know beside the table."""
    notes = []
    reads = upstream_of(run)
    if first := [name for name in reads if name not in names and ahead[name].due and _is_upstream(name, names, reads)]:
        notes.append(f"{', '.join(first)} must be carried out first: `geoplantnet run --dry-run` tells what that costs")
    if of_base := [name for name in BASE if base and base[name].due]:
        notes.append(
            f"scenario {run.scenario} builds on {', '.join(of_base)} of the recipe itself: `geoplantnet run` carries these out first"
        )
    if not run.scenario and "train" in names and ahead["train"].due and (without := tiles_without_cube(run)):
        notes.append(f"training needs the cubes of all tiles of the recipe, and {len(without):,} that are not chosen have none")
    if blind := [name for name in names if not ahead[name].compared]:
        notes.append(f"torch is not installed: what is recorded of {', '.join(blind)} counts as done, whatever the recipe says now")
    if CUBES.name in names and ahead[CUBES.name].due:
        notes += [missing for name in run.other or run.wanted if (missing := _missing(run, name))]
    left = sum(len(ahead[name].left_out) for name in names)
    if left:
        notes.append(f"{left:,} tasks are in quarantine, or of tiles of which something is (--retry)")
    given = memory_of(run.recipe.cluster)
    notes += [
        f"{s.total.name} needs {amount(s.total.memory)} a worker, which has {amount(given)}: raise cluster.memory"
        for s in stages
        if given is not None and s.total.memory > given
    ]
    written, free = sum(s.total.written for s in stages if not isnan(s.total.written)), _free(run.store)
    if written > free:
        notes.append(f"{run.store} has {amount(free)} free, less than the {amount(written)} to be written")
    return notes


def _is_upstream(name: str, names: Sequence[str], reads: dict[str, tuple[str, ...]]) -> bool:
    return any(name in reads[of] or _is_upstream(name, reads[of], reads) for of in names)


def _free(store: Path) -> int:
    """Bytes free where a store lies, or will."""
    return shutil.disk_usage(next(folder for folder in (store, *store.parents) if folder.is_dir())).free


def table_of_stages(run: Run, told: Forecast) -> Table:
    """For people: a line a stage and one for all, and what they rest on."""
    table = _table(run, ("stage", "due", "done", "CPU", "wall", "memory", "write", "from"))
    for one in told.stages:
        e = one.total
        known = f"{e.measured:,} done" if e.measured else "sums"
        figures = _figures(e.cpu_seconds, one.wall, e.memory, e.written)
        if one.linked:
            figures, known = [""] * len(figures), "links"
        table.add_row(e.name, f"{e.due:,}", f"{e.done:,}", *(figures if e.due else [""] * len(figures)), known if e.due else "")
    if len(told.stages) > 1:
        parts = [one.total for one in told.stages]
        unknown = any(e.due and isnan(e.cpu_seconds) for e in parts)
        summed = _figures(
            _known_sum(e.cpu_seconds for e in parts),
            _known_sum(one.wall for one in told.stages),
            max((e.memory for e in parts if not isnan(e.memory)), default=0.0),
            _known_sum(e.written for e in parts),
        )
        table.add_row("all", f"{sum(e.due for e in parts):,}", f"{sum(e.done for e in parts):,}", *summed, "all but ?" if unknown else "")
    table.caption = (
        f"{told.species}; {_workers(run)}; from: tasks of this store that were measured, else sums over cells and species; "
        "? = only its files can tell"
    )
    return table


def _known_sum(values: Iterable[float]) -> float:
    return sum(value for value in values if not isnan(value))


def _figures(cpu: float, wall: float, memory: float, written: float) -> list[str]:
    says = (duration, duration, amount, amount)
    return ["?" if isnan(value) else say(value) for say, value in zip(says, (cpu, wall, memory, written))]
