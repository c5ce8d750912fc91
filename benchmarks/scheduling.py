"""A continent's cubes as the scheduler sees them: 16,000 tiles of 5 modalities, planned, handed out and found done again.

The work itself is stubbed: each task commits a record and nothing else. Beside it, what is commonly done: one lazy graph
of all tasks, given to the scheduler at once.
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
from pipelines.build_cubes import CUBES
from pipelines.context import CubeRun
from pipelines.flow import AHEAD, Flow, Inside, Made
from pipelines.plan import plan
from pipelines.progress import Reporter

MODALITIES = {
    "sentinel2": "sentinel2",
    "climate": "climate_monthly",
    "terrain": "terrain",
    "landsat": "landsat",
    "landcover": "virtual_landcover",
}
KINDS = {name: f"virtual-{name}" for name in MODALITIES}
WORKERS = 2
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


def measure(quick: bool) -> list[Row]:
    """1,000 (quick) or 16,000 tiles."""
    count = 1_000 if quick else 16_000
    with tempfile.TemporaryDirectory() as folder:
        run = _run(Path(folder), count)
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
        graph, lazy = _lazy(run, Path(folder))
    what = f"{count:,} tiles x {len(MODALITIES)} modalities"
    window = AHEAD * WORKERS
    return [
        Row(name=f"planning {what}", value=planning, unit="s", reference=f"{tasks:,} tasks due, empty store", target="<= 10 s", ok=planning <= 10),
        Row(name="finding all of it done", value=again, unit="s", reference=f"{tasks:,} records read and checked", target="<= 60 s", ok=again <= 60),
        Row(name="tasks the scheduler knows at once", value=watch.tasks, unit="tasks", reference=f"one lazy graph: {graph:,}", target=f"<= {2 * window}: the window of {window}, and as many just ended", ok=watch.tasks <= 2 * window),
        Row(name="growth of scheduler and client", value=watch.grown / 1e6, unit="MB", reference=f"one lazy graph, not a task done: {lazy / 1e6:,.0f} MB", target="<= 300 MB", ok=watch.grown <= 300e6),
        Row(name="CPU of scheduler and client", value=1000 * cpu / tasks, unit="ms/task", reference=f"{seconds:,.0f} s for all with {WORKERS} workers, records synced to disk"),
    ]  # fmt: skip


def _timed(do: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    found = do()
    return time.perf_counter() - began, found


def _run(folder: Path, count: int) -> CubeRun:
    """The first `count` tiles of Europe with virtual sources, on a store of their own."""
    recipe = {
        "title": "Europe",
        "store": str(folder / "store"),
        "grid": {"tiles": load_tile_ids("europe", TileGrid())[:count]},
        "world": {"relief": "fractal", "species": 2},
        "modalities": {name: {"definition": MODALITIES[name], "source": {"kind": KINDS[name]}} for name in MODALITIES},
        "cluster": {"workers": WORKERS},
    }
    file = folder / "europe.yaml"
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return CubeRun.open_cubes(file)


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
