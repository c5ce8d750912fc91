"""The command line: one verb a stage, and the few that look at what was made.

Exit codes: 0 done, 2 usage, 3 recipe, 4 input, 5 some tiles failed, 6 storage, 75 try again later, 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from geoplantnet import __version__
from geoplantnet.errors import GeoPlantNetError, IntegrityError, StorageError, UsageError
from pipelines.context import Run
from pipelines.flow import Interrupted
from pipelines.ledger import Ledger
from pipelines.progress import Reporter

app = typer.Typer(
    help="Plant biodiversity mapping: occurrences, data cubes, deep species distribution models, indicators, map services.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RecipeArg = Annotated[str, typer.Argument(help="A recipe: a YAML file, or the name of a shipped one (demo, alps).")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder of input data; overrides the recipe's.")]
StoreOption = Annotated[Path | None, typer.Option("--store", help="Where products lie; overrides the recipe's.")]
TilesOption = Annotated[list[str] | None, typer.Option("--tile", help="Only this tile's tasks (may be repeated).")]
HostOption = Annotated[str, typer.Option(help="Address to listen on.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")]


def _pipeline() -> ModuleType:
    """The stages, imported when a verb needs them: a machine that only serves has no torch."""
    try:
        return importlib.import_module("pipelines.run")
    except ModuleNotFoundError as error:
        raise UsageError(f"this verb needs the sdm extra ({error.name} is missing): pip install 'geoplantnet[sdm]'") from error


def _open(recipe: str, data: Path | None, store: Path | None, tiles: list[str] | None) -> Run:
    return Run.open(recipe, data=data, store=store, tiles=tuple(tiles or ()))


def _run_and_summarise(run: Run) -> None:
    """Every stage, then the account of it, also when some tiles failed."""
    pipeline, reporter = _pipeline(), Reporter()
    try:
        done = pipeline.run_stages(run, list(pipeline.STAGES), reporter)
    except pipeline.SomeTilesFailed as partial:
        pipeline.summarise(run, partial.done, reporter)
        raise
    pipeline.summarise(run, done, reporter)


def _stage_command(name: str, title: str) -> None:
    """A verb that carries out one stage."""

    def command(recipe: RecipeArg, data: DataOption = None, store: StoreOption = None, tile: TilesOption = None) -> None:
        run = _open(recipe, data, store, tile)
        names = ["publish", "catalog"] if name == "publish" else [name]
        done = _pipeline().run_stages(run, names, reporter := Reporter())
        if not done.tasks:
            reporter.say(f"{name}: nothing to do, up to date in {run.store}")

    command.__doc__ = title
    app.command(name)(command)


@app.command()
def grid(recipe: RecipeArg, data: DataOption = None, store: StoreOption = None) -> None:
    """List the recipe's meta-tiles: id, bounds, and what has been made of each."""
    run = _open(recipe, data, store, None)
    ledger = Ledger(run.store)
    table = Table(title=f"{run.recipe.title}: {len(run.tiles)} tiles of {run.grid.tile_size // 1000} km, {run.grid.crs}")
    for column in ("tile", "west", "south", "east", "north", "made"):
        table.add_column(column, justify="left" if column in ("tile", "made") else "right")
    for tile_id in run.tiles:
        made = [name for name in _pipeline().STAGES if ledger.record(name, tile_id)]
        table.add_row(tile_id, *(str(b) for b in run.tile(tile_id).bounds), ", ".join(made))
    Console().print(table)


_stage_command("occurrences", "Read, check and name the records; choose the species.")
_stage_command("cubes", "Build the data cube of every tile.")
_stage_command("train", "Train the model and score it on held-out spatial blocks.")
_stage_command("map", "Map every tile: one latent tile each.")
_stage_command("indicators", "Compute the biodiversity indicators of every tile.")
_stage_command("publish", "Export COG, GeoPackage and the STAC catalog.")


@app.command("run")
def run_all(recipe: RecipeArg, data: DataOption = None, store: StoreOption = None, tile: TilesOption = None) -> None:
    """Carry out every stage that is not up to date, and say what came of it."""
    run = _open(recipe, data, store, tile)
    _run_and_summarise(run)


@app.command()
def demo(
    store: StoreOption = None,
    serve_map: Annotated[bool, typer.Option("--serve/--no-serve", help="Open the map server when the products are made.")] = True,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8080,
) -> None:
    """Map virtual species on the real relief around the Aletsch glacier, then serve the map. Needs no download."""
    run = _open("demo", None, store, None)
    _run_and_summarise(run)
    if serve_map:
        _serve(run.store, host, port)


@app.command()
def serve(
    recipe: RecipeArg, store: StoreOption = None, data: DataOption = None, host: HostOption = "127.0.0.1", port: PortOption = 8080
) -> None:
    """Serve the published products: web map, WMS, OGC APIs."""
    _serve(_open(recipe, data, store, None).store, host, port)


@app.command()
def status(recipe: RecipeArg, data: DataOption = None, store: StoreOption = None) -> None:
    """Say what has been made, how long it took, and what failed."""
    run = _open(recipe, data, store, None)
    ledger = Ledger(run.store)
    table = Table(title=f"{run.recipe.title} in {run.store}")
    for column in ("stage", "done", "of", "seconds", "failed"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    failures = ledger.failures()
    for name, stage in _pipeline().STAGES.items():
        records = [r for r in (ledger.record(name, key) for key in stage.keys(run)) if r]
        failed = sum(f.stage == name for f in failures)
        table.add_row(name, str(len(records)), str(len(stage.keys(run))), f"{sum(r.seconds for r in records):.0f}", str(failed or ""))
    console = Console()
    console.print(table)
    for failure in failures:
        console.print(f"{failure.stage} {failure.key}: {failure.kind}: {failure.message}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def verify(
    recipe: RecipeArg,
    data: DataOption = None,
    store: StoreOption = None,
    drop: Annotated[bool, typer.Option("--drop", help="Forget what is damaged, so that the next run makes it again.")] = False,
) -> None:
    """Compare every product with its recorded SHA-256, byte by byte."""
    run = _open(recipe, data, store, None)
    ledger, console = Ledger(run.store), Console(highlight=False)
    if not ledger.exists:
        raise StorageError(f"{run.store} holds no products; make them with `geoplantnet run {recipe}`")
    with ledger.locked() if drop else nullcontext():
        damage = ledger.damage()
        for fault in damage:
            console.print(f"{fault.stage} {fault.key}: {fault.message}", soft_wrap=True, markup=False)
            if drop:
                ledger.forget(fault.stage, fault.key)
    if not damage:
        console.print(f"{sum(len(r.outputs) for r in ledger.records())} assets verified, all as recorded")
        return
    advice = "dropped: `geoplantnet run` makes them again" if drop else "add --drop to have the next run make them again"
    raise IntegrityError(f"{len(damage)} damaged in {run.store}; {advice}")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False) -> None:
    if version:
        typer.echo(f"geoplantnet {__version__}")
        raise typer.Exit


def _serve(store: Path, host: str, port: int) -> None:
    try:
        from geoplantnet.serving.server import serve as start
    except ImportError as error:
        raise UsageError(f"the map server needs the serving extra ({error.name} is missing): pip install 'geoplantnet[serving]'") from error
    start(store, host=host, port=port, announce=lambda url: Console(highlight=False).print(f"Map server at {url}  (Ctrl-C ends it)"))


def main() -> None:
    """Run the command line; every error of ours is one clear message and its exit code."""
    complain = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app(standalone_mode=True)
    except (GeoPlantNetError, OSError) as error:
        ours = (
            error if isinstance(error, GeoPlantNetError) else StorageError(f"{error.filename or 'the system'}: {error.strerror or error}")
        )
        complain.print(f"[bold red]{ours.kind}[/]: ", end="")
        complain.print(str(ours), markup=False)
        sys.exit(ours.exit_code)
    except Interrupted as stopped:
        complain.print(str(stopped), markup=False)
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
