"""Which tasks of a stage are due: reads the ledger, starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import geoplantnet
from geoplantnet.errors import InputError
from pipelines.context import CubeRun
from pipelines.ledger import Failure, Ledger, fingerprint, tile_of

R = TypeVar("R", bound=CubeRun, contravariant=True)
Made = tuple[list[Path], dict[str, Any]]
"""What a task hands back: the assets it committed, and a few facts for the ledger."""
Inside = Callable[[int, int, str], None]
"""Told of steps inside a task: done, total, message."""


@dataclass(frozen=True)
class Stage(Generic[R]):
    """One verb of the pipeline."""

    name: str
    keys: Callable[[R], Sequence[str]]
    """Its tasks."""
    settings: Callable[[R], Callable[[str], object]]
    """key -> the part of recipe and inputs that a task depends on (JSON-able). Asked once a run: what many share is read once."""
    needs: Callable[[R, str], list[tuple[str, str]]]
    """(stage, key) of the upstream tasks it reads."""
    work: Callable[[R, str, Inside], Made]
    """Does the task on a worker."""
    describe: Callable[[dict[str, Any]], str] = lambda stats: ""
    """The facts as a short note for people."""
    of_tiles: bool = True
    """Many tasks of like size, so that one may be given up for the others. False: a task that all depends on, as long as it takes."""
    is_remote: Callable[[R, str], bool] = lambda run, key: False
    """Whether a task reads over the network."""
    memory: Callable[[R], tuple[str, int]] = lambda run: ("", 0)
    """The kind of task that needs most memory, and its bytes."""


class Task(NamedTuple):
    """One task to be done."""

    key: str
    mark: str
    """Fingerprint of all it depends on."""


@dataclass
class Plan:
    """The tasks of a stage, by what is to become of them."""

    due: list[Task] = field(default_factory=list)
    done: int = 0
    poison: list[Failure] = field(default_factory=list)
    """Quarantined: not tried again until they change, or are asked for."""
    blocked: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)
    """Tasks whose upstream (stage, key) has no record."""


def plan(run: CubeRun, stage: Stage[Any], *, retry: bool = False) -> Plan:
    """Look up every task of a stage. `retry` takes quarantined tasks as due."""
    found, ledger = Plan(), Ledger(run.store)
    recorded = ledger.keys(stage.name)
    failed = {f.key: f for f in ledger.failures(stage.name)}
    setting = stage.settings(run)
    shared = fingerprint(geoplantnet.__version__, asdict(run.grid), stage.name)
    contents: dict[tuple[str, str], str | None] = {}
    for key in stage.keys(run):
        upstream = stage.needs(run, key)
        for task in upstream:
            if task not in contents:
                contents[task] = record.content if (record := ledger.record(*task)) else None
        if missing := [task for task in upstream if contents[task] is None]:
            found.blocked.append((key, missing))
            continue
        mark = fingerprint(shared, key, setting(key), [contents[task] for task in upstream])
        record = ledger.record(stage.name, key) if key in recorded else None
        if record and record.fingerprint == mark and ledger.holds(record):
            found.done += 1
        elif not retry and stage.of_tiles and key in failed and failed[key].is_poison(mark, run.recipe.cluster.attempts):
            found.poison.append(failed[key])
        else:
            found.due.append(Task(key, mark))
    return found


def leave_out(run: CubeRun, stage: Stage[Any], blocked: list[tuple[str, list[tuple[str, str]]]]) -> list[Failure]:
    """A tile whose upstream task failed is left out, and what was made of it before counts no more. Returns the causes.

    Raises InputError for one whose upstream was never run: that is the caller's mistake.
    """
    if not blocked:
        return []
    ledger = Ledger(run.store)
    failures: dict[str, list[Failure]] = {}
    for failure in ledger.failures():
        failures.setdefault(tile_of(failure.key), []).append(failure)
    causes: dict[Failure, None] = {}
    for key, missing in blocked:
        for upstream, of in missing:
            of_this_tile = failures.get(tile_of(of))
            if not of_this_tile:
                raise InputError(f"{stage.name} {key} needs {upstream} {of}, which has not been made; run `geoplantnet {upstream}` first")
            own = [f for f in of_this_tile if (f.stage, f.key) == (upstream, of)]
            causes.update(dict.fromkeys(own or of_this_tile[:1]))
        ledger.forget(stage.name, key)
    return list(causes)
