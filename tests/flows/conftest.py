"""A tiny world's whole run, made once, and ways to run, change and look at it."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import pytest
import yaml
from distributed import LocalCluster
from rich.console import Console

from geoplantnet.storage import files_of, sha256
from pipelines.cli import main
from pipelines.context import Run
from pipelines.progress import Reporter
from pipelines.run import STAGES, run_stages, summarise
from pipelines.workers import WORKER_ENVIRONMENT

TINY = Path(__file__).parent.parent / "data" / "tiny.yaml"
NO_PRODUCT = (".lock", ".writers")


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own data folder changes nothing here."""
    monkeypatch.delenv("GEOPLANTNET_DATA", raising=False)


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """Address of a Dask cluster of one worker process, shared so that not every test starts its own."""
    with (
        dask.config.set({"distributed.worker.daemon": True, "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT}),
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
    ):
        yield cluster.scheduler_address


Recipe = Callable[..., Path]


@pytest.fixture(scope="session")
def write_recipe(scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Write the tiny recipe with changes ({"map.plot_area": 400}; None drops a key), to be run on the shared cluster."""

    def write(changes: Mapping[str, Any] | None = None, *, cluster: Mapping[str, Any] | None = None) -> Path:
        recipe = yaml.safe_load(TINY.read_text(encoding="utf-8"))
        recipe["cluster"] = dict(cluster) if cluster is not None else {"scheduler": scheduler}
        for dotted, value in (changes or {}).items():
            *sections, last = (int(part) if part.isdigit() else part for part in dotted.split("."))
            section = recipe
            for part in sections:
                section = section[part]
            if value is None:
                del section[last]
            else:
                section[last] = value
        file = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
        file.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
        return file

    return write


@dataclass(frozen=True)
class Ran:
    """What a run did and said."""

    stages: tuple[str, ...]
    """Stages that had something to do."""
    tasks: tuple[tuple[str, str], ...]
    """(stage, key) carried out."""
    text: str


Runs = Callable[..., Ran]


@pytest.fixture(scope="session")
def run_recipe() -> Runs:
    """Carry out stages of a recipe in a store; errors are raised."""

    def run(recipe: Path, store: Path, *, tiles: tuple[str, ...] = (), names: list[str] | None = None) -> Ran:
        opened = Run.open(recipe, store=store, tiles=tiles)
        text = io.StringIO()
        reporter = Reporter(Console(file=text, width=200))
        done = run_stages(opened, names or list(STAGES), reporter)
        summarise(opened, done, reporter)
        tasks = tuple((o.stage, key) for o in done.outcomes for key in o.done)
        return Ran(tuple(o.stage for o in done.outcomes if o.done), tasks, text.getvalue())

    return run


@dataclass(frozen=True)
class Reference:
    """The whole run of the tiny recipe. Look, do not touch."""

    recipe: Path
    store: Path
    ran: Ran
    bytes_of: Mapping[str, str]
    """SHA-256 of every product file, by path in the store."""


@pytest.fixture(scope="session")
def reference(write_recipe: Recipe, run_recipe: Runs, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """One run on an empty store."""
    recipe, store = write_recipe(), tmp_path_factory.mktemp("reference") / "store"
    ran = run_recipe(recipe, store)
    return Reference(recipe, store, ran, product_bytes(store))


@pytest.fixture
def store(reference: Reference, tmp_path: Path) -> Path:
    """A copy of the finished store, to damage."""
    shutil.copytree(reference.store, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture(scope="session")
def products() -> Callable[[Path], dict[str, str]]:
    """SHA-256 of every product file of a store, by path; the ledger's timings and locks are none."""
    return product_bytes


def product_bytes(store: Path) -> dict[str, str]:
    paths = [(p, p.relative_to(store).as_posix()) for p in files_of(store)]
    return {name: sha256(p) for p, name in paths if name not in NO_PRODUCT and not name.startswith(f"ledger{os.sep}")}


@pytest.fixture(scope="session")
def opened(reference: Reference) -> Run:
    """The reference as a Run."""
    return Run.open(reference.recipe, store=reference.store)


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run the command line in this process."""
    monkeypatch.setenv("COLUMNS", "250")

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["geoplantnet", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return call
