"""What of a whole run is due, before any of it is done: what reads a task that is due is due itself. Reads the ledger only.

Records are held against the recipe (`plan`) as far as nothing upstream is due. Stages that need torch are imported for that alone,
so an empty store is planned without it; on a machine that has none, what is recorded counts as done.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
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


def outlook(run: Run, *, retry: bool = False) -> dict[str, Outlook]:
    """Every stage of a run by name, for its chosen tiles. `retry` takes what is in quarantine as due."""
    found: dict[str, Outlook] = {}
    for name in UPSTREAM:
        found[name] = _of_stage(run, name, found, retry=retry)
    return found


def tiles_without_cube(run: Run) -> list[str]:
    """Tiles that are not chosen, and of whose cube something that the model learns from was never made: no training goes on without."""
    recorded, chosen = Ledger(run.store).keys(CUBES.name), set(run.chosen)
    learnt = [m.name for m in run.model_modalities]
    return [tile for tile in run.tiles if tile not in chosen and not recorded.issuperset(key_of(tile, name) for name in learnt)]


def _of_stage(run: Run, name: str, before: dict[str, Outlook], *, retry: bool) -> Outlook:
    keys = _keys(run, name)
    upstream = [before[stage] for stage in UPSTREAM[name]]
    gone: set[str] = set()
    if name in WHOLE:
        waits = any(_read(run, name, one) for one in upstream)
        due = set(keys) if waits else set()
    else:
        tiles_gone = {tile_of(key) for one in upstream if one.stage not in WHOLE for key in one.left_out}
        tiles_due = {tile_of(key) for one in upstream if one.stage not in WHOLE for key in one.due}
        all_due = any(one.due for one in upstream if one.stage in WHOLE)
        gone = {key for key in keys if tile_of(key) in tiles_gone}
        due = {key for key in keys if key not in gone and (all_due or tile_of(key) in tiles_due)}
    rest = [key for key in keys if key not in due and key not in gone]
    if not rest:
        return Outlook(stage=name, due=frozenset(due), done=0, left_out=frozenset(gone))
    ledger = Ledger(run.store)
    if ledger.keys(name).isdisjoint(rest) and not ledger.failures(name):
        return Outlook(stage=name, due=frozenset(due.union(rest)), done=0, left_out=frozenset(gone))
    stage = _stage(name)
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


def _stage(name: str) -> Stage[Any] | None:
    """A stage by name; None for one that needs torch where that is missing."""
    light: dict[str, Stage[Any]] = {OCCURRENCES.name: OCCURRENCES, CUBES.name: CUBES}
    if name in light:
        return light[name]
    try:
        stages: dict[str, Stage[Any]] = importlib.import_module("pipelines.run").STAGES
    except ModuleNotFoundError:
        return None
    return stages[name]
