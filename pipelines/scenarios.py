"""A scenario of a recipe: the model and the records of its base are taken over, other predictors built, and the base's stages carried out.

It lies in a store of its own inside the base's, with its own ledger and catalog, so that it can be verified, served and moved by itself.
What is taken over costs no space where the file system links files: what was committed is never changed in place, only replaced.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from geoplantnet.errors import InputError
from geoplantnet.storage import files_of, write_beside
from pipelines import build_cubes
from pipelines.build_cubes import CUBES, drop_strangers, modality_of
from pipelines.change import CHANGES
from pipelines.compute_indicators import INDICATORS
from pipelines.context import Run
from pipelines.flow import Inside, Made, Stage
from pipelines.ingest_occurrences import OCCURRENCES
from pipelines.ledger import Ledger, Record
from pipelines.map_species import MAP
from pipelines.outlook import BASE
from pipelines.plan import plan
from pipelines.progress import Reporter
from pipelines.publish import CATALOG, PUBLISH
from pipelines.run import STAGES
from pipelines.stages import Done, carry_out
from pipelines.train_sdm import TRAIN


def run_scenario(run: Run, names: Sequence[str], reporter: Reporter, *, retry: bool = False) -> Done:
    """Carry out stages of a scenario (`Run.under`) in order; see `carry_out`.

    Raises InputError, before anything is written, where its base was not made by the recipe as it is now.
    """
    assert run.base is not None
    _require_base(run.base, run.scenario)
    return carry_out(run, [SCENARIO_STAGES[name] for name in names], reporter, retry=retry, before={PUBLISH.name: drop_strangers})


def _require_base(base: Run, scenario: str) -> None:
    """All of the base that a scenario is made of or compared with is up to date; what failed as it is asked for now fails here, too."""
    ledger = Ledger(base.store)
    for stage in (STAGES[name] for name in BASE):
        failures = ledger.failures(stage.name) if stage.of_tiles else []
        failed = {f.key: f.fingerprint for f in failures if ledger.record(stage.name, f.key) is None}
        if due := [task.key for task in plan(base, stage).due if failed.get(task.key) != task.mark]:
            more = f" and {len(due) - 1:,} more" if len(due) > 1 else ""
            raise InputError(
                f"scenario {scenario!r} builds on {stage.name} {due[0]}{more} of {base.store}, which is not up to date with the recipe; "
                "run the recipe itself first"
            )


def _of_base(run: Run, stage: str, key: str) -> Record | None:
    assert run.base is not None
    return Ledger(run.base.store).record(stage, key)


def _content(run: Run, stage: str, key: str) -> object:
    """What a task's mark depends on: the base's record."""
    record = _of_base(run, stage, key)
    return ["taken over", record and record.content]


def _take_over(run: Run, stage: str, key: str) -> Made:
    """Link what a task of the base made into this store, with its facts. Raises InputError where the base has not made it."""
    assert run.base is not None
    record = _of_base(run, stage, key)
    if record is None:
        raise InputError(
            f"scenario {run.scenario!r} builds on {stage} {key} of {run.base.store}, which is not made; run the recipe itself first"
        )
    return [_linked(run.base.store / o.path, run.store / o.path) for o in record.outputs], record.stats


def _linked(source: Path, target: Path) -> Path:
    """A file or a folder of files as hard links, or copied where there are none."""
    if target.is_file() and target.samefile(source):
        return target  # renaming one link of a file over another does nothing, and would leave the temporary behind
    with write_beside(target) as temporary:
        if source.is_dir():
            for file in files_of(source):
                copy = temporary / file.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                _link(file, copy)
        else:
            _link(source, temporary)
    return target


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _taken(stage: Stage[Run]) -> Stage[Run]:
    """A stage of the base whose products are the scenario's, too."""
    return Stage(
        stage.name,
        keys=stage.keys,
        settings=lambda run: lambda key: _content(run, stage.name, key),
        needs=lambda run, key: [],
        work=lambda run, key, inside: _take_over(run, stage.name, key),
        of_tiles=stage.of_tiles,
    )


def _differs(run: Run, key: str) -> bool:
    """Whether a modality of a cube is another than in the base."""
    return modality_of(key) in run.other


def _cube_settings(run: Run) -> Callable[[str], object]:
    own = build_cubes.settings(run)
    return lambda key: own(key) if _differs(run, key) else _content(run, CUBES.name, key)


def _cube_work(run: Run, key: str, inside: Inside) -> Made:
    if _differs(run, key):
        return build_cubes.work(run, key, inside)
    return _take_over(run, CUBES.name, key)


CUBES_OF_SCENARIO: Stage[Run] = Stage(
    "cubes",
    keys=build_cubes.keys,
    settings=_cube_settings,
    needs=lambda run, key: [],
    work=_cube_work,
    describe=build_cubes.describe,
    is_remote=lambda run, key: _differs(run, key) and run.is_remote(modality_of(key)),
    memory=build_cubes.memory,
)

SCENARIO_STAGES: dict[str, Stage[Any]] = {
    s.name: s for s in (_taken(OCCURRENCES), CUBES_OF_SCENARIO, _taken(TRAIN), MAP, INDICATORS, CHANGES, PUBLISH, CATALOG)
}
