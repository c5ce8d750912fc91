"""What of a whole run is due, before any of it is done: what reads a task that is due is due itself. Reads the ledger only.

Records are held against the recipe (`plan`) as far as nothing upstream is due. Stages that need torch are imported for that alone,
so an empty store is planned without it; on a machine that has none, what is recorded counts as done.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.build_cubes import CUBES, key_of, modality_of
from pipelines.build_cubes import keys as cube_keys
from pipelines.context import Run
from pipelines.ingest_occurrences import OCCURRENCES
from pipelines.ledger import Ledger, tile_of
from pipelines.plan import Stage, plan

UPSTREAM: dict[str, tuple[str, ...]] = {
    "occurrences": (),
    "cubes": (),
    "train": ("occurrences", "cubes"),
    "map": ("train", "cubes"),
    "indicators": ("map", "occurrences"),
    "publish": ("map", "indicators", "cubes"),
    "catalog": ("publish",),
}
"""Stages in the order they are carried out, and what each reads: its own tile's part of it, or all."""
UPSTREAM_OF_SCENARIO: dict[str, tuple[str, ...]] = {
    "occurrences": (),
    "cubes": (),
    "train": (),
    "map": ("train", "cubes"),
    "indicators": ("map", "occurrences"),
    "changes": ("map",),
    "publish": ("map", "indicators", "changes", "cubes"),
    "catalog": ("publish",),
}
"""The same of a scenario, within its own store."""
TAKEN_OVER = ("occurrences", "train")
"""Stages of which a scenario links all from its base; of the cubes, it links the modalities that are the base's."""
BASE = ("occurrences", "cubes", "train", "map")
"""Stages of the base that a scenario takes over or is compared with."""
WHOLE = {"occurrences": "all", "train": "model", "catalog": "catalog"}
"""Stages of one task that concerns all tiles, and its key."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """The tasks of a stage, by what would become of them."""

    stage: str
    due: frozenset[str]
    """Keys."""
    done: int
    left_out: frozenset[str]
    """Keys in quarantine, or of a tile of which something is."""
    compared: bool = True
    """False: recorded tasks were taken as done, since torch, without which the recipe cannot be held against them, is missing."""


def upstream_of(run: Run) -> dict[str, tuple[str, ...]]:
    """The stages of a recipe or of a scenario in order, and what each reads in the same store."""
    return UPSTREAM_OF_SCENARIO if run.scenario else UPSTREAM


def outlook(run: Run, *, retry: bool = False) -> dict[str, Outlook]:
    """Every stage of a run by name, for its chosen tiles. `retry` takes what is in quarantine as due.

    A scenario's tasks are due, too, where what they take over from its base, or compare with it, is.
    """
    return outlook_after(run, outlook(run.base, retry=retry) if run.base else {}, retry=retry)


def outlook_after(run: Run, base: Mapping[str, Outlook], *, retry: bool = False) -> dict[str, Outlook]:
    """`outlook` of a run of whose base, where it has one, the outlook is known."""
    found: dict[str, Outlook] = {}
    for name in upstream_of(run):
        found[name] = _of_stage(run, name, found, base, retry=retry)
    return found


def tiles_without_cube(run: Run) -> list[str]:
    """Tiles that are not chosen, and of whose cube something that the model learns from was never made: no training goes on without."""
    recorded, chosen = Ledger(run.store).keys(CUBES.name), set(run.chosen)
    learnt = [m.name for m in run.model_modalities]
    return [tile for tile in run.tiles if tile not in chosen and not recorded.issuperset(key_of(tile, name) for name in learnt)]


def _of_stage(run: Run, name: str, before: Mapping[str, Outlook], base: Mapping[str, Outlook], *, retry: bool) -> Outlook:
    keys = _keys(run, name)
    upstream = [before[stage] for stage in upstream_of(run)[name]] + _of_base(run, name, base)
    gone: set[str] = set()
    if name in WHOLE:
        waits = any(_read(run, name, one) for one in upstream)
        due = set(keys) if waits else set()
    else:
        part_of: Callable[[str], str] = str if name == CUBES.name else tile_of  # each modality of a cube is taken over by itself
        parts_gone = {part_of(key) for one in upstream if one.stage not in WHOLE for key in one.left_out}
        parts_due = {part_of(key) for one in upstream if one.stage not in WHOLE for key in one.due}
        all_due = any(one.due for one in upstream if one.stage in WHOLE)
        gone = {key for key in keys if part_of(key) in parts_gone}
        due = {key for key in keys if key not in gone and (all_due or part_of(key) in parts_due)}
    rest = [key for key in keys if key not in due and key not in gone]
    if not rest:
        return Outlook(stage=name, due=frozenset(due), done=0, left_out=frozenset(gone))
    ledger = Ledger(run.store)
    if ledger.keys(name).isdisjoint(rest) and not ledger.failures(name):
        return Outlook(stage=name, due=frozenset(due.union(rest)), done=0, left_out=frozenset(gone))
    stage = _stage(run, name)
    if stage is None:
        done = {key for key in rest if (record := ledger.record(name, key)) and ledger.holds(record)}
        return Outlook(stage=name, due=frozenset(due.union(rest) - done), done=len(done), left_out=frozenset(gone), compared=False)
    planned = plan(run, replace(stage, keys=lambda run: rest), retry=retry)
    due.update(task.key for task in planned.due)
    blocked = {key for key, _ in planned.blocked}
    if name in WHOLE:
        due |= blocked
    else:
        gone |= blocked
    gone.update(failure.key for failure in planned.poison)
    return Outlook(stage=name, due=frozenset(due), done=planned.done, left_out=frozenset(gone))


def _of_base(run: Run, name: str, base: Mapping[str, Outlook]) -> list[Outlook]:
    """What a scenario's stage takes over from its base, or compares with it."""
    if not base:
        return []
    if name == CUBES.name:
        own = base[name]
        due, left_out = (frozenset(key for key in keys if modality_of(key) not in run.other) for keys in (own.due, own.left_out))
        return [replace(own, due=due, left_out=left_out)]
    return [base[name]] if name in TAKEN_OVER else [base["map"]] if name == "changes" else []


def _keys(run: Run, name: str) -> Sequence[str]:
    if name in WHOLE:
        return (WHOLE[name],)
    return cube_keys(run) if name == CUBES.name else run.chosen


def _read(run: Run, name: str, upstream: Outlook) -> bool:
    """Whether a task that concerns all tiles reads something of a stage that is due."""
    if upstream.stage == CUBES.name:
        learnt = {m.name for m in run.model_modalities}
        return any(modality_of(key) in learnt for key in upstream.due)
    return bool(upstream.due)


def _stage(run: Run, name: str) -> Stage[Any] | None:
    """A stage by name; None for one that needs torch where that is missing."""
    light: dict[str, Stage[Any]] = {OCCURRENCES.name: OCCURRENCES, CUBES.name: CUBES}
    if name in light and not run.scenario:
        return light[name]
    try:
        if run.scenario:
            stages: dict[str, Stage[Any]] = importlib.import_module("pipelines.scenarios").SCENARIO_STAGES
        else:
            stages = importlib.import_module("pipelines.run").STAGES
    except ModuleNotFoundError:
        return None
    return stages[name]
