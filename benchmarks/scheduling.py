"""A continent as the scheduler sees it: 16,000 tiles of 5 modalities, then mapped, measured and published; planned, handed out and
found done again.

The work itself is stubbed: each task commits a record and nothing else; `publish` writes its STAC item, too, and `catalog`, which ties
the items together, is the real one. Beside the cubes, what is commonly done: one lazy graph of all tasks, given to the scheduler at once.

    python -m benchmarks.scheduling [--quick] --json FILE

On two cores the whole takes some 25 minutes, --quick (1,000 tiles) one and a half.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import yaml
from rich.console import Console

from benchmarks.rows import Row, main
from geoplantnet.config.load import load_tile_ids
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.indicators import indicator
from geoplantnet.storage import write_json
from geoplantnet.taxonomy import SpeciesList, Taxon
from pipelines.build_cubes import CUBES
from pipelines.compute_indicators import INDICATORS
from pipelines.context import CubeRun, Run
from pipelines.flow import AHEAD, Flow, Inside, Made, Stage
from pipelines.ledger import Cost, Ledger
from pipelines.map_species import MAP
from pipelines.plan import plan
from pipelines.progress import Reporter
from pipelines.publish import CATALOG, NODATA, PUBLISH, SCALE
from pipelines.tables import SPECIES

MODALITIES = {
    "sentinel2": "sentinel2",
    "climate": "climate_monthly",
    "terrain": "terrain",
    "landsat": "landsat",
    "landcover": "virtual_landcover",
}
KINDS = {name: f"virtual-{name}" for name in MODALITIES}
WORKERS = 2
SPECIES_COUNT, INDICATOR = 20, "richness"
OF_A_TILE = 20.0
"""CPU seconds that mapping a tile of 25 km takes, the least of what benchmarks.mapping and whole runs found."""
LAZY = """
import os, sys, time, psutil
from distributed import Client, LocalCluster
def work(number, settings): return number
tasks = [f"{tile}.{name}" for tile in open(sys.argv[1]).read().split() for name in sys.argv[2:]]
with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster, Client(cluster) as client:
    before = psutil.Process().memory_info().rss
    futures = client.get({key: (work, n, "settings") for n, key in enumerate(tasks)}, tasks, sync=False)
    while len(cluster.scheduler.tasks) < len(tasks): time.sleep(0.1)
    print(len(cluster.scheduler.tasks), psutil.Process().memory_info().rss - before, flush=True)
    os._exit(0)  # the graph was never meant to be computed
"""


def stub(run: CubeRun, key: str, inside: Inside) -> Made:
    """No work: only what becomes of it is measured."""
    return [], {"valid": 1, "pixels": 1, "asked": ""}


def stub_published(run: Run, key: str, inside: Inside) -> Made:
    """No work but the tile's item, as small as one may be."""
    tile = run.tile(key)
    west, south, east, north = tile.geobox().extent.to_crs("EPSG:4326").boundingbox.bbox
    of_map, of_relief = _band(SCALE, NODATA, "1"), _band(1.0, 0, "1")
    info = indicator(INDICATOR).info
    item = {
        "type": "Feature",
        "id": key,
        "bbox": [west, south, east, north],
        "properties": {"start_datetime": run.recipe.interval[0], "end_datetime": run.recipe.interval[1], "proj:code": "EPSG:3035"},
        "assets": {
            "species": {**of_map, "bands": [{"name": f"s{i}"} for i in range(SPECIES_COUNT)]},
            INDICATOR: {**_band(info.storage.scale, info.storage.nodata, info.unit), "bands": [{"name": INDICATOR}]},
            "relief": {**of_relief, "bands": [{"name": "relief"}]},
        },
    }
    path = write_json(run.store / "tiles" / key / f"{key}.json", item)
    return [path], {"bytes": 0, "highest": [0.5] * SPECIES_COUNT, "species": species().hash, "members": 1}


def _band(scale: float, nodata: float, unit: str) -> dict[str, Any]:
    return {"raster:scale": scale, "raster:offset": 0.0, "nodata": nodata, "unit": unit}


def species() -> SpeciesList:
    return SpeciesList(
        checklist="benchmark", taxa=tuple(Taxon(taxon_id=f"s{i}", scientific_name=f"Species {i}") for i in range(SPECIES_COUNT))
    )


def measure(quick: bool) -> list[Row]:
    """1,000 (quick) or 16,000 tiles."""
    count = 1_000 if quick else 16_000
    with tempfile.TemporaryDirectory() as folder:
        return of_cubes(Path(folder) / "cubes", count) + of_mapping(Path(folder) / "mapping", count)


def of_cubes(folder: Path, count: int) -> list[Row]:
    """The stage `cubes`."""
    run = CubeRun.open_cubes(_recipe(folder, count))
    stage = replace(CUBES, work=stub)
    planning, first = _timed(lambda: plan(run, stage))
    tasks = len(first.due)
    watch = _Watch()
    with watch, Flow(run, Reporter(Console(quiet=True))) as flow:
        watch.look_at(flow._connect().cluster.scheduler)
        cpu, (seconds, outcome) = time.process_time(), _timed(lambda: flow.carry_out(stage))
        cpu = time.process_time() - cpu
    assert len(outcome.done) == tasks and not outcome.failures
    again, second = _timed(lambda: plan(run, stage))
    assert second.done == tasks and not second.due
    graph, lazy = _lazy(run, folder)
    what = f"{count:,} tiles x {len(MODALITIES)} modalities"
    window = AHEAD * WORKERS
    return [
        Row(name=f"planning {what}", value=planning, unit="s", reference=f"{tasks:,} tasks due, empty store", target="<= 10 s", ok=planning <= 10),
        Row(name="finding all of it done", value=again, unit="s", reference=f"{tasks:,} records read and checked", target="<= 60 s", ok=again <= 60),
        Row(name="tasks the scheduler knows at once", value=watch.tasks, unit="tasks", reference=f"one lazy graph: {graph:,}", target=f"<= {2 * window}: the window of {window}, and as many just ended", ok=watch.tasks <= 2 * window),
        Row(name="growth of scheduler and client", value=watch.grown / 1e6, unit="MB", reference=f"one lazy graph, not a task done: {lazy / 1e6:,.0f} MB", target="<= 300 MB", ok=watch.grown <= 300e6),
        Row(name="CPU of scheduler and client", value=1000 * cpu / tasks, unit="ms/task", reference=f"{seconds:,.0f} s for all with {WORKERS} workers, records synced to disk"),
    ]  # fmt: skip


def of_mapping(folder: Path, count: int) -> list[Row]:
    """The stages `map`, `indicators` and `publish`, and the real `catalog`, of tiles whose cubes and model are there."""
    run = Run.open(_recipe(folder, count, whole=True))
    _already_made(run)
    stages: list[Stage[Any]] = [replace(MAP, work=stub), replace(INDICATORS, work=stub_indicators), replace(PUBLISH, work=stub_published)]
    watch, planning, seconds, tasks = _Watch(), 0.0, 0.0, 0
    with watch, Flow(run, Reporter(Console(quiet=True))) as flow:
        watch.look_at(flow._connect().cluster.scheduler)
        cpu, of_workers = time.process_time(), _cpu_of_workers()
        for stage in stages:
            planned, found = _timed(lambda stage=stage: plan(run, stage))
            took, outcome = _timed(lambda stage=stage: flow.carry_out(stage))
            assert len(outcome.done) == len(found.due) == count and not outcome.failures
            planning, seconds, tasks = planning + planned, seconds + took, tasks + count
        cpu, of_workers = time.process_time() - cpu, _cpu_of_workers() - of_workers
        cataloguing, outcome = _timed(lambda: flow.carry_out(CATALOG))
        assert outcome.done == ("catalog",)
    again, second = _timed(lambda: [plan(run, stage) for stage in (*stages, CATALOG)])
    assert all(not one.due for one in second) and sum(one.done for one in second) == tasks + 1
    size = (run.store / "tiles" / "collection.json").stat().st_size
    share, fed = (cpu + of_workers) / count / OF_A_TILE, OF_A_TILE * count / cpu
    what = f"{count:,} tiles mapped, measured, published"
    return [
        Row(name=f"{what}: planning", value=planning, unit="s", reference=f"{tasks:,} tasks due, each after 2 to 7 others whose records are read", target="<= 60 s", ok=planning <= 60),
        Row(name=f"{what}: overhead, share of a tile's CPU", value=100 * share, unit="%", reference=f"{tasks:,} tasks in {seconds:,.0f} s with {WORKERS} workers: {1000 * cpu / tasks:.1f} ms/task of scheduler and client, {1000 * of_workers / tasks:.1f} of the worker and its ledger; a tile takes {OF_A_TILE:g} s", target="<= 5 %", ok=share <= 0.05),
        Row(name="workers that one scheduler keeps busy", value=fed, unit="workers", reference=f"CPU of a tile, {OF_A_TILE:g} s, over that of scheduler and client for its {len(stages)} tasks", target=">= 500", ok=fed >= 500),
        Row(name=f"{what}: growth of scheduler and client", value=watch.grown / 1e6, unit="MB", reference=f"{watch.tasks} tasks known at once", target="<= 300 MB", ok=watch.grown <= 300e6),
        Row(name=f"{what}: finding all of it done", value=again, unit="s", reference=f"{tasks + 1:,} records read and checked, and what they need", target="<= 60 s", ok=again <= 60),
        Row(name=f"catalog of {count:,} tiles", value=cataloguing, unit="s", reference=f"{SPECIES_COUNT} species; collection.json of {size / 1e6:.1f} MB", target="<= 60 s", ok=cataloguing <= 60),
    ]  # fmt: skip


def stub_indicators(run: Run, key: str, inside: Inside) -> Made:
    """No work; percentiles as a tile has them."""
    return [], {name: [1.0, 2.0, 3.0] for name in run.recipe.indicators} | {"clipped": 0}


def _already_made(run: Run) -> None:
    """Records of what the mapping of a tile needs. No output lies behind them: nobody reads it."""
    ledger = Ledger(run.store)
    write_json(run.occurrences / SPECIES, species().to_dict())
    ledger.commit("occurrences", "all", "", [], {}, Cost())
    ledger.commit("train", "model", "", [], {}, Cost())
    for key in CUBES.keys(run):
        ledger.commit("cubes", key, "", [], {"valid": 1, "pixels": 1, "asked": ""}, Cost())


def _cpu_of_workers() -> float:
    """CPU seconds of all processes that this one has started."""
    return sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children(recursive=True))


def _timed(do: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    found = do()
    return time.perf_counter() - began, found


def _recipe(folder: Path, count: int, *, whole: bool = False) -> Path:
    """The first `count` tiles of Europe with virtual sources, on a store of their own; `whole`: with records, a model and maps."""
    folder.mkdir()
    recipe: dict[str, Any] = {
        "title": "Europe",
        "store": str(folder / "store"),
        "grid": {"tiles": load_tile_ids("europe", TileGrid())[:count]},
        "world": {"relief": "fractal", "species": 2},
        "modalities": {name: {"definition": MODALITIES[name], "source": {"kind": KINDS[name]}} for name in MODALITIES},
        "cluster": {"workers": WORKERS},
    }
    if whole:
        recipe |= {
            "interval": ["2000-01-01T00:00:00Z", "2025-12-31T23:59:59Z"],
            "notice": "Nothing was computed.",
            "occurrences": [{"kind": "virtual-plots", "plots": 1}],
            "training": {"steps": [{"name": "none", "epochs": 1, "pa": 1.0}]},
            "validation": {"block": 5000},
            "map": {"plot_area": 100},
            "indicators": [INDICATOR],
        }
    file = folder / "europe.yaml"
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return file


class _Watch(threading.Thread):
    """Looks ten times a second at how many tasks the scheduler knows, and how large this process (it and the client) is."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._scheduler: Any = None
        self._over = threading.Event()
        self.tasks, self.grown, self._before = 0, 0, 0

    def look_at(self, scheduler: Any) -> None:
        self._before = psutil.Process().memory_info().rss
        self._scheduler = scheduler
        self.start()

    def run(self) -> None:
        while not self._over.wait(0.1):
            self.tasks = max(self.tasks, len(self._scheduler.tasks))
            self.grown = max(self.grown, psutil.Process().memory_info().rss - self._before)

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()


def _lazy(run: CubeRun, folder: Path) -> tuple[int, int]:
    """Tasks in the scheduler and bytes grown, of one graph of everything, in a process of its own."""
    tiles = folder / "tiles.txt"
    tiles.write_text("\n".join(run.tiles), encoding="utf-8")
    command = [sys.executable, "-c", LAZY, str(tiles), *MODALITIES]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ}).stdout.split()
    return int(said[0]), int(said[1])


if __name__ == "__main__":
    main(measure)
