"""The command line: one verb a stage, and the few that look at what was made.

Exit codes: 0 done, 2 usage, 3 recipe, 4 input, 5 some tiles failed, 6 storage, 75 try again later, 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from geoplantnet import __version__
from geoplantnet.config.load import named_grids, recipe_folders
from geoplantnet.config.recipe import Recipe
from geoplantnet.errors import GeoPlantNetError, IntegrityError, StorageError, UsageError
from geoplantnet.grid.named import make_grid, read_grid
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.storage import write_json
from pipelines import export_observations, identify, keys, observations
from pipelines.build_cubes import CUBES, empty_tiles, modality_of
from pipelines.context import CubeRun, Run
from pipelines.dry_run import estimate, forecast, table_of, table_of_stages
from pipelines.export_patches import export as export_patches
from pipelines.flow import Interrupted
from pipelines.ledger import Ledger, tile_of
from pipelines.outlook import upstream_of
from pipelines.plan import Stage
from pipelines.progress import Reporter
from pipelines.stages import Done, SomeTilesFailed, carry_out

app = typer.Typer(
    help="Plant biodiversity mapping: occurrences, data cubes, deep species distribution models, indicators, map services.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

grids = typer.Typer(help="Meta-tiles: of a recipe, of the named grids, of an area of your own.", no_args_is_help=True)
app.add_typer(grids, name="grid")
app.add_typer(keys.app, name="keys")
observations.app.command("export")(export_observations.command)
app.add_typer(observations.app, name="observations")
app.add_typer(identify.app, name="identify")

MANY = 6
"""More countries or regions than this are counted, not named."""

RecipeArg = Annotated[str, typer.Argument(help="A recipe: a YAML file, or the name of a shipped one (demo, alps).")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder of input data; overrides the recipe's.")]
StoreOption = Annotated[Path | None, typer.Option("--store", help="Where products lie; overrides the recipe's.")]
TilesOption = Annotated[list[str] | None, typer.Option("--tile", help="Only this tile's tasks (may be repeated).")]
GridOption = Annotated[str | None, typer.Option("--grid", help="A named grid, such as alps (`geoplantnet grid list`).")]
ModalitiesOption = Annotated[str | None, typer.Option("--modalities", help="Names, comma-separated: of a recipe's, or of shipped ones.")]
CubeRecipeArg = Annotated[str | None, typer.Argument(help="A recipe; without one, --grid and --modalities say which cubes.")]
ClusterOption = Annotated[
    str | None, typer.Option("--cluster", help="Who does the work: a YAML file, or local, slurm, kubernetes; instead of the recipe's own.")
]
RetryOption = Annotated[bool, typer.Option("--retry", help="Try again what failed so often that it was put into quarantine.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, and what it would cost.")]
SpeciesOption = Annotated[
    int | None, typer.Option("--species", min=1, help="With --dry-run: the cost for so many species; default: as many as is known.")
]
BootstrapOption = Annotated[int, typer.Option("--bootstrap", min=1, help="Bootstrap draws behind the intervals.")]
ScenarioOption = Annotated[
    str | None, typer.Option("--scenario", help="One of the recipe's scenarios instead of its own climate and years.")
]
HostOption = Annotated[str, typer.Option(help="Address to listen on.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")]


def _pipeline(module: str = "pipelines.run") -> ModuleType:
    """The stages, or another module, imported when a verb needs them: a machine that only serves has no torch."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(f"this verb needs the sdm extra ({error.name} is missing): pip install 'geoplantnet[sdm]'") from error


def _open(
    recipe: str,
    data: Path | None,
    store: Path | None,
    tiles: list[str] | None,
    cluster: str | None = None,
    scenario: str | None = None,
) -> Run:
    run = Run.open(recipe, data=data, store=store, tiles=tuple(tiles or ()), cluster=cluster)
    return run.under(scenario) if scenario else run


def _open_cubes(
    recipe: str | None,
    grid: str | None,
    modalities: str | None,
    data: Path | None,
    store: Path | None,
    tiles: list[str] | None = None,
    cluster: str | None = None,
) -> CubeRun:
    """The cubes of a recipe, or of a named grid."""
    names = tuple(filter(None, (name.strip() for name in (modalities or "").split(","))))
    if (recipe is None) == (grid is None) or (grid is not None and not names):
        raise UsageError("say which cubes: a recipe, or --grid NAME with --modalities a,b,c")
    chosen = tuple(tiles or ())
    if recipe is not None:
        return CubeRun.open_cubes(recipe, data=data, store=store, tiles=chosen, modalities=names, cluster=cluster)
    return CubeRun.of_grid(grid or "", names, data=data, store=store, tiles=chosen, cluster=cluster)


def _open_any(
    recipe: str | None, grid: str | None, modalities: str | None, data: Path | None, store: Path | None, scenario: str | None = None
) -> CubeRun:
    """A whole recipe where it is one, or one of its scenarios, else cubes alone."""
    cubes_alone = _open_cubes(recipe, grid, modalities, data, store)
    if recipe is not None and isinstance(cubes_alone.recipe, Recipe):
        return _open(recipe, data, store, None, scenario=scenario)
    if scenario:
        raise UsageError("--scenario goes with a whole recipe; this one says no more than cubes need")
    return cubes_alone


def _run_and_summarise(run: Run, *, retry: bool = False) -> None:
    """Every stage, then the account of it, also when some tiles failed."""
    pipeline, reporter = _pipeline(), Reporter()
    try:
        if run.scenario:
            scenarios = _pipeline("pipelines.scenarios")
            done = scenarios.run_scenario(run, list(scenarios.SCENARIO_STAGES), reporter, retry=retry)
        else:
            done = pipeline.run_stages(run, list(pipeline.STAGES), reporter, retry=retry)
    except SomeTilesFailed as partial:
        pipeline.summarise(run, partial.done, reporter)
        raise
    pipeline.summarise(run, done, reporter)


def _stages_of(run: CubeRun) -> Mapping[str, Stage[Any]]:
    """The stages of a run, in order."""
    if not isinstance(run, Run):
        return {CUBES.name: CUBES}
    stages: Mapping[str, Stage[Any]] = _pipeline("pipelines.scenarios").SCENARIO_STAGES if run.scenario else _pipeline().STAGES
    return stages


def _stage_command(name: str, title: str) -> None:
    """A verb that carries out one stage."""

    def command(
        recipe: RecipeArg,
        data: DataOption = None,
        store: StoreOption = None,
        tile: TilesOption = None,
        cluster: ClusterOption = None,
        dry_run: DryRunOption = False,
        species: SpeciesOption = None,
        retry: RetryOption = False,
    ) -> None:
        run, reporter = _open(recipe, data, store, tile, cluster), Reporter()
        names = ["publish", "catalog"] if name == "publish" else [name]
        if _told(run, names, dry_run=dry_run, species=species, retry=retry):
            return
        _say_when_idle(name, _pipeline().run_stages(run, names, reporter, retry=retry), run, reporter)

    command.__doc__ = title
    app.command(name)(command)


def _told(run: Run, names: Sequence[str], *, dry_run: bool, species: int | None, retry: bool) -> bool:
    """Whether only the cost of some stages was asked for; it is printed then."""
    if not dry_run:
        if species is not None:
            raise UsageError("--species goes with --dry-run: a run has the species that its records give")
        return False
    console, found = Console(width=None if sys.stdout.isatty() else 110), forecast(run, names, species=species, retry=retry)
    console.print(table_of_stages(run, found))
    for note in found.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    return True


def _say_when_idle(name: str, done: Done, run: CubeRun, reporter: Reporter) -> None:
    if not done.tasks:
        reporter.say(f"{name}: nothing to do, up to date in {run.store}")


_stage_command("occurrences", "Read, check and name the records; choose the species.")


@app.command()
def cubes(
    recipe: CubeRecipeArg = None,
    grid: GridOption = None,
    modalities: ModalitiesOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    tile: TilesOption = None,
    cluster: ClusterOption = None,
    dry_run: DryRunOption = False,
    retry: RetryOption = False,
) -> None:
    """Build the data cubes: one task a tile and modality."""
    run = _open_cubes(recipe, grid, modalities, data, store, tile, cluster)
    reporter = Reporter()
    if dry_run:
        console, estimates = Console(width=None if sys.stdout.isatty() else 110), estimate(run, retry=retry)
        console.print(table_of(run, estimates))
        for missing in (e.missing for e in estimates if e.missing and e.due):
            console.print(missing, highlight=False, markup=False, soft_wrap=True)
        return
    done = carry_out(run, [CUBES], reporter, retry=retry)
    _say_when_idle("cubes", done, run, reporter)
    if done.tasks and (empty := empty_tiles(run, run.chosen)):
        few = ", ".join(empty[:6]) + (" ..." if len(empty) > 6 else "")
        reporter.say(f"{len(empty)} of {len(run.chosen)} tiles are nodata in every modality and cannot be mapped: {few}")


@app.command()
def patches(
    recipe: Annotated[str, typer.Argument(help="A recipe; one that says no more than `cubes` needs will do.")],
    points: Annotated[Path, typer.Argument(help="CSV table: surveyId, and x and y (the grid's CRS) or lon and lat (degrees).")],
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    data: DataOption = None,
    store: StoreOption = None,
    subset: Annotated[str, typer.Option("--subset", help="Part of the file names, such as train or test.")] = "train",
    quality: Annotated[int, typer.Option("--quality", min=1, max=100, help="Of the JPEG images.")] = 90,
) -> None:
    """Write cubes at points as GeoLifeCLEF and malpolon have them: JPEG patches, Landsat and climate series."""
    run = CubeRun.open_cubes(recipe, data=data, store=store)
    done = export_patches(run, points, folder, subset=subset, quality=quality)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{len(done.written):,} surveys written to {folder}")
    if done.without_cube:
        console.print(f"{len(done.without_cube):,} surveys lie on tiles without a cube and were left out")


_stage_command("train", "Train the model and score it on held-out spatial blocks.")


@app.command()
def evaluate(
    recipe: Annotated[str | None, typer.Argument(help="A recipe, whose model is scored; none with --score.")] = None,
    data: DataOption = None,
    store: StoreOption = None,
    json: Annotated[Path | None, typer.Option("--json", help="Where the scores go; default: reports/evaluation.json of the store.")] = None,
    run_file: Annotated[Path | None, typer.Option("--run-file", help="Also write the predicted sets as a GeoLifeCLEF run file.")] = None,
    bootstrap: BootstrapOption = 200,
    score: Annotated[
        Path | None,
        typer.Option(
            "--score", help="Score this GeoLifeCLEF run file instead (CSV: surveyId,predictions; ids separated by spaces). Needs --truth."
        ),
    ] = None,
    truth: Annotated[Path | None, typer.Option("--truth", help="What was found: CSV with a row a surveyId,speciesId.")] = None,
) -> None:
    """Score the held-out predictions: the model beside its baselines, with intervals, and by prevalence of the species.

    With --score RUN.csv --truth TRUTH.csv, and no recipe: samples-F1 of any run file, as GeoLifeCLEF computes it.
    """
    if score is not None or truth is not None:
        _score_run_file(score, truth, json, {"a recipe": recipe, "--data": data, "--store": store, "--run-file": run_file})
        return
    if recipe is None:
        raise UsageError("say what to score: a recipe, or --score RUN.csv with --truth TRUTH.csv")
    run, scoring = _open(recipe, data, store, None), _pipeline("pipelines.evaluate")
    found = scoring.evaluate_run(run, draws=bootstrap)
    console = Console(width=None if sys.stdout.isatty() else 180)
    for table in scoring.tables_of(run, found):
        console.print(table)
    for path in scoring.write_evaluation(found, run.store / scoring.REPORTS, file=json):
        console.print(f"written: {path}", highlight=False, markup=False, soft_wrap=True)
    if run_file is not None:
        of_run = scoring.write_run_file(scoring.held_out_of(run), run_file)
        words = f"{of_run.surveys:,} surveys, {of_run.mean_size:.1f} species a survey, samples-F1 {of_run.samples_f1:.4f}"
        console.print(f"written: {run_file} ({words})", highlight=False, markup=False, soft_wrap=True)


def _score_run_file(score: Path | None, truth: Path | None, json: Path | None, others: Mapping[str, object]) -> None:
    """A run file against a truth, printed and, where it is asked for, written as JSON."""
    if score is None or truth is None:
        raise UsageError("--score RUN.csv and --truth TRUTH.csv go together: what was predicted, and what was found")
    if given := [name for name, value in others.items() if value is not None]:
        raise UsageError(f"--score takes a run file as it is; drop {', '.join(given)}")
    scoring, console = _pipeline("pipelines.evaluate"), Console(highlight=False, soft_wrap=True, markup=False)
    found = scoring.score_run_file(score, truth)
    for line in scoring.words_of(found):
        console.print(line)
    if json is not None:
        console.print(f"written: {write_json(json, asdict(found))}")


@app.command()
def report(
    recipe: RecipeArg,
    data: DataOption = None,
    store: StoreOption = None,
    output: Annotated[Path | None, typer.Option("--output", help="Folder of the report; default: reports of the store.")] = None,
    species: Annotated[
        list[str] | None,
        typer.Option("--species", help="Also write the page of this species, by scientific name or taxon id (may be repeated)."),
    ] = None,
    bootstrap: BootstrapOption = 200,
) -> None:
    """Write the report of a model: skill, figures, model card, STAC MLM item, ODMAP protocol, pages of single species."""
    run = _open(recipe, data, store, None)
    folder, odmap = _pipeline("pipelines.report").write_report(run, folder=output, draws=bootstrap, species=species or ())
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"report written: open {folder / 'report.html'}", markup=False)
    if species:
        console.print(f"pages of species: in {folder / 'species'}", markup=False)
    console.print(f"ODMAP: {len(odmap.open)} mandatory elements are left for you to fill in, see {folder / 'odmap.md'}", markup=False)


_stage_command("map", "Map every tile: one latent (or dense) tile each.")
_stage_command("indicators", "Compute the biodiversity indicators of every tile.")
_stage_command("publish", "Export COG, GeoPackage and the STAC catalog.")


@app.command()
def export(
    recipe: RecipeArg,
    output: Annotated[
        str,
        typer.Option("--output", help="File to write; a folder for cog, qml and geotiff; a database for postgis, - = that of PGHOST ..."),
    ],
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="cog (a file a species or indicator and block of 8 x 8 tiles), qml (their colours in QGIS), geotiff (a file a "
            "tile, a band a species), gti or vrt (one raster over the published tiles, no pixels copied), ebvcube (netCDF of GEO BON), and species coverage of 5 km cells as "
            "geopackage, geoparquet or postgis. Without it --output says: .gti.gpkg, .vrt, .nc, .gpkg, .parquet, postgresql://",
        ),
    ] = None,
    data: DataOption = None,
    store: StoreOption = None,
    tile: TilesOption = None,
    species: Annotated[
        list[str] | None,
        typer.Option("--species", help="Only this species, by scientific name or taxon id (may be repeated; not gti)."),
    ] = None,
    indicator: Annotated[
        list[str] | None,
        typer.Option("--indicator", help="This indicator, or change with --scenario (may be repeated; cog, qml, gti, vrt)."),
    ] = None,
    region: Annotated[
        Path | None,
        typer.Option(
            "--region",
            help="Only where these polygons lie: GeoJSON, GeoPackage or zipped Shapefile, any CRS. (cog, qml, geotiff, gti, vrt)",
        ),
    ] = None,
    compress: Annotated[
        Literal["lerc_zstd", "zstd", "deflate"] | None,
        typer.Option(
            "--compress", help="lerc_zstd, the default, notices damaged bytes when it is read; deflate is read everywhere. (cog, geotiff)"
        ),
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option("--max-error", help="Floating point probabilities, off by so much at most, instead of steps of 0.004. (cog, geotiff)"),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option("--resolution", help="Metres: the cells' own (50), or 1000: means of them, the default. (ebvcube)")
    ] = None,
    creator: Annotated[str | None, typer.Option("--creator", help="Who made the file. (ebvcube)")] = None,
    institution: Annotated[str | None, typer.Option("--institution", help="Their institution. (ebvcube)")] = None,
    email: Annotated[str | None, typer.Option("--email", help="Their address. (ebvcube)")] = None,
    by_tile: Annotated[bool, typer.Option("--by-tile", help="A folder with a file a tile. (geoparquet)")] = False,
    schema: Annotated[str | None, typer.Option("--schema", help="Of the database, default geoplantnet. (postgis)")] = None,
    scenario: ScenarioOption = None,
) -> None:
    """Write what was mapped for others: all or some species and indicators, everywhere or in a region."""
    run, reporter = _open(recipe, data, store, tile, scenario=scenario), Reporter()
    options = {
        "species": species,
        "indicator": indicator,
        "region": region,
        "compress": compress,
        "max_error": max_error,
        "resolution": resolution,
        "creator": creator,
        "institution": institution,
        "email": email,
        "by_tile": by_tile or None,
        "schema": schema,
    }
    exports = _pipeline("pipelines.exports")
    with reporter.stage("export", 1) as progress:
        done = exports.export(run, output, name=format_, options=options, inside=partial(progress.inside, ""))
    files = f"{len(done.files)} files" if len(done.files) > 1 else "1 file"
    size = [f"{files}, {sum(file.stat().st_size for file in done.files) / 1e6:.1f} MB"] if done.files else []
    told = ", ".join([*size, f"{done.tiles} tile{'s' if done.tiles != 1 else ''}"]) + (f". {done.words}" if done.words else "")
    Console(highlight=False, soft_wrap=True, markup=False).print(f"{done.where or output}: {told}")


@app.command("run")
def run_all(
    recipe: RecipeArg,
    data: DataOption = None,
    store: StoreOption = None,
    tile: TilesOption = None,
    cluster: ClusterOption = None,
    dry_run: DryRunOption = False,
    species: SpeciesOption = None,
    scenario: ScenarioOption = None,
    retry: RetryOption = False,
) -> None:
    """Carry out every stage that is not up to date, and say what came of it; then those of the recipe's scenarios."""
    run = _open(recipe, data, store, tile, cluster, scenario)
    for one in (run, *(run.under(name) for name in run.recipe.scenarios)):
        if not _told(one, list(upstream_of(one)), dry_run=dry_run, species=species, retry=retry):
            _run_and_summarise(one, retry=retry)


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
        _serve(run, host, port)


@app.command()
def serve(
    recipe: RecipeArg,
    store: StoreOption = None,
    data: DataOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8080,
    scenario: ScenarioOption = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes that share the port; overrides the recipe's.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="Address it is reached by from outside, behind a proxy.")] = None,
    map_tiles: Annotated[
        bool, typer.Option("--map-tiles", help="Let who holds a key that grants process.map-tile have tiles of the recipe mapped.")
    ] = False,
) -> None:
    """Serve the published products: web map, WMS, OGC APIs. Limits and private layers: `serving:` of the recipe."""
    given = {name: value for name, value in (("workers", workers), ("url", url)) if value is not None}
    run = _open(recipe, data, store, None, scenario=scenario)
    operator = partial(_pipeline("pipelines.on_demand").map_tile, recipe, data, run.store) if map_tiles else None
    _serve(run, host, port, operator=operator, **given)


@app.command()
def status(
    recipe: CubeRecipeArg = None,
    grid: GridOption = None,
    modalities: ModalitiesOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    scenario: ScenarioOption = None,
) -> None:
    """Say what has been made, how long it took, and what failed."""
    run = _open_any(recipe, grid, modalities, data, store, scenario)
    ledger = Ledger(run.store)
    table = Table(title=f"{run.recipe.title} in {run.store}")
    for column in ("stage", "done", "of", "seconds", "failed"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    failures, limit = ledger.failures(), run.recipe.cluster.attempts
    stages: Mapping[str, Stage[Any]] = _stages_of(run)
    for name, stage in stages.items():
        keys = stage.keys(run)
        records = [r for r in (ledger.record(name, key) for key in sorted(ledger.keys(name).intersection(keys))) if r]
        failed = sum(f.stage == name for f in failures)
        table.add_row(name, str(len(records)), str(len(keys)), f"{sum(r.seconds for r in records):.0f}", str(failed or ""))
    console = Console()
    console.print(table)
    for failure in failures:
        poison = f" (in quarantine after {failure.attempts} attempts)" if failure.attempts >= limit else ""
        line = f"{failure.stage} {failure.key}: {failure.kind}: {failure.message}{poison}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def verify(
    recipe: CubeRecipeArg = None,
    grid: GridOption = None,
    modalities: ModalitiesOption = None,
    data: DataOption = None,
    store: StoreOption = None,
    scenario: ScenarioOption = None,
    drop: Annotated[bool, typer.Option("--drop", help="Forget what is damaged, so that the next run makes it again.")] = False,
) -> None:
    """Compare every product with its recorded SHA-256, byte by byte."""
    run = _open_any(recipe, grid, modalities, data, store, scenario)
    verb = "run" if isinstance(run, Run) else "cubes"
    ledger, console = Ledger(run.store), Console(highlight=False)
    if not ledger.exists:
        raise StorageError(f"{run.store} holds no products; make them with `geoplantnet {verb}`")
    with ledger.locked() if drop else nullcontext():
        damage = ledger.damage()
        for fault in damage:
            console.print(f"{fault.stage} {fault.key}: {fault.message}", soft_wrap=True, markup=False)
            if drop:
                ledger.forget(fault.stage, fault.key)
    if not damage:
        console.print(f"{sum(len(r.outputs) for r in ledger.records())} assets verified, all as recorded")
        return
    advice = f"dropped: `geoplantnet {verb}` makes them again" if drop else "add --drop to have the next run make them again"
    raise IntegrityError(f"{len(damage)} damaged in {run.store}; {advice}")


@grids.command("show")
def show_grid(
    recipe: Annotated[str, typer.Argument(help="A recipe, or the name of a grid.")], data: DataOption = None, store: StoreOption = None
) -> None:
    """List meta-tiles: of a recipe with bounds and what has been made of each, of a named grid with where each lies
    and, with --store, which modalities of its cube are there.
    """
    known = named_grids()
    if recipe in known and not any((folder / f"{recipe}.yaml").is_file() for folder in recipe_folders()):
        _show_named(recipe, known[recipe], store)
        return
    run = CubeRun.open_cubes(recipe, data=data, store=store)
    ledger, stages = Ledger(run.store), ("cubes", "map", "indicators", "publish")
    made = {name: Counter(map(tile_of, ledger.keys(name))) for name in stages}
    whole = {"cubes": len(run.modalities)}
    table = Table(title=f"{run.recipe.title}: {len(run.tiles)} tiles of {run.grid.tile_size // 1000} km, {run.grid.crs}")
    for column in ("tile", "west", "south", "east", "north", "made"):
        table.add_column(column, justify="left" if column in ("tile", "made") else "right")
    for tile_id in run.tiles:
        of = [n if made[n][tile_id] >= whole.get(n, 1) else f"{n} {made[n][tile_id]}/{whole[n]}" for n in stages if made[n][tile_id]]
        table.add_row(tile_id, *(str(b) for b in run.tile(tile_id).bounds), ", ".join(of))
    Console().print(table)


def _show_named(name: str, file: Path, store: Path | None) -> None:
    tiles = read_grid(file, TileGrid())
    if store is not None:
        made = defaultdict(list)
        for key in sorted(Ledger(store).keys(CUBES.name)):
            made[tile_of(key)].append(modality_of(key))
        tiles = tiles.assign(cubes=[", ".join(made[tile_id]) for tile_id in tiles.tile_id])
    table = Table(title=f"{name}: {len(tiles):,} tiles, {file}")
    for column in tiles.columns:
        table.add_column(column, justify="right" if column == "land_share" else "left")
    for row in tiles.itertuples(index=False):
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row))
    Console().print(table)


@grids.command("list")
def list_grids() -> None:
    """Name the grids that are here: tiles, area, countries, regions."""
    table, grid = Table(), TileGrid()
    for column in ("grid", "tiles", "km2", "countries", "biogeographic regions"):
        table.add_column(column, justify="right" if column in ("tiles", "km2") else "left")
    for name, file in named_grids().items():
        tiles = read_grid(file, grid)
        area = tiles.land_share.sum() * (grid.tile_size / 1000) ** 2
        countries, regions = (sorted(set(tiles[column]) - {""}) for column in ("country", "biogeographic_region"))
        where = " ".join(countries) if len(countries) <= MANY else f"{len(countries)} countries"
        table.add_row(
            name, f"{len(tiles):,}", f"{area:,.0f}", where, ", ".join(regions) if len(regions) <= MANY else f"{len(regions)} regions"
        )
    Console().print(table)


@grids.command("make")
def new_grid(
    geometry: Annotated[Path, typer.Option("--geometry", help="Polygons: a GeoPackage, GeoJSON or Shapefile with its CRS.")],
    name: Annotated[str, typer.Option("--name", help="Name of the grid: small letters, digits, - and _.")],
    folder: Annotated[Path, typer.Option("--folder", help="Where the table is written; recipes look in tiles/.")] = Path("tiles"),
    layer: Annotated[str | None, typer.Option("--layer", help="Layer of the file; needed where it has several.")] = None,
    buffer: Annotated[float, typer.Option("--buffer", help="Widen the area first, metres.")] = 0.0,
    min_share: Annotated[float, typer.Option("--min-share", help="Leave out tiles covered by less than this share.")] = 0.0,
    force: Annotated[bool, typer.Option("--force", help="Replace a grid of that name.")] = False,
) -> None:
    """Name the meta-tiles that an area of your own touches."""
    grid = TileGrid()
    europe = named_grids().get("europe")
    reference = read_grid(europe, grid) if europe else None
    made = make_grid(geometry, name, folder, grid, layer=layer, buffer=buffer, min_share=min_share, reference=reference, force=force)
    console = Console(highlight=False)
    console.print(f"{made.path}: {len(made.table):,} tiles of {grid.tile_size // 1000} km for {made.area_km2:,.0f} km2", soft_wrap=True)
    if made.below_min_share:
        console.print(f"{made.below_min_share:,} tiles are covered by less than {min_share:g} and were left out")
    if made.outside_km2:
        console.print(f"{made.outside_km2:,.0f} km2 lie outside the grid's bounds and got no tile")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False) -> None:
    if version:
        typer.echo(f"geoplantnet {__version__}")
        raise typer.Exit


def _serve(run: Run, host: str, port: int, *, operator: Callable[[str], Mapping[str, Any]] | None = None, **given: Any) -> None:
    """Serve a run's catalog; `given` on the command line goes before the recipe's `serving:`. `operator` maps tiles."""
    try:
        from geoplantnet.config.serving import server_settings
        from geoplantnet.serving.server import serve as start
    except ImportError as error:
        raise UsageError(f"the map server needs the serving extra ({error.name} is missing): pip install 'geoplantnet[serving]'") from error
    settings = replace(server_settings(run.recipe.serving), **given)
    told = Console(highlight=False)

    def announce(url: str) -> None:
        told.print(f"Map server at {url}  (Ctrl-C ends it)")

    start(run.store, host=host, port=port, announce=announce, settings=settings, operator=operator)


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
