"""`cubes --dry-run`: what is due and what it costs, told before anything is done, and close to what it then is."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.config.recipe import Sentinel2StacSection
from geoplantnet.cubes import Modality
from geoplantnet.cubes.build import build_node
from geoplantnet.cubes.cube import write_node
from geoplantnet.errors import UsageError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.grid.time_axis import TimeAxis
from geoplantnet.sources.source import FakeSource
from pipelines.context import CubeRun, Run
from pipelines.dry_run import estimate
from pipelines.estimate import (
    PROCESS,
    Estimate,
    amount,
    by_arithmetic,
    bytes_of_scenes,
    duration,
    peak_memory,
    scenes_of,
    values_of,
    wall_seconds,
)
from pipelines.ledger import Ledger

TILES = ("5kmE4100N2600", "5kmE4105N2600", "5kmE4100N2605")


def within_a_factor_of_2(a: float, b: float) -> bool:
    return a / 2 <= b <= a * 2


def written(store, name, tiles=TILES) -> int:
    """Bytes of a modality in the cubes of a store."""
    return sum(max(o.bytes for o in Ledger(store).record("cubes", f"{tile}.{name}").outputs) for tile in tiles)


def test_arithmetic_agrees_with_a_real_build(reference, tmp_path):
    """Before anything was built: output of every modality within a factor of 2 of what the build then wrote."""
    told = {e.name: e for e in estimate(Run.open(reference.recipe, store=tmp_path / "empty"))}
    assert not (tmp_path / "empty").exists()  # nothing is written
    for name, one in told.items():
        assert (one.due, one.done, one.quarantined, one.measured) == (3, 0, 0, 0)
        assert within_a_factor_of_2(one.written, written(reference.store, name)), name


def test_memory_follows_the_values_of_a_tile(tmp_path):
    """What a task allocates beside its process is close to the copies of its values that are told; by the allocator, not the system."""
    grid, names = TileGrid(), tuple(f"b{i}" for i in range(30))
    m = Modality(name="m", bands=names, resolution=50, halo=12)
    tile = grid.tile_at(4_130_000, 2_580_000)
    source = FakeSource(**{name: lambda x, y: np.float32(1) for name in names})
    write_node(build_node(tile, m, source), tmp_path / "first.zarr", m)  # what is made once a process is not a task's
    tracemalloc.start()
    write_node(build_node(tile, m, source), tmp_path / "node.zarr", m)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert within_a_factor_of_2(peak_memory(grid, m) - PROCESS, peak)


def test_what_was_measured_in_the_store_takes_the_place_of_arithmetic(reference, store):
    """One tile is missing: its cost is that of the two that are there."""
    ledger = Ledger(store)
    for name in ("sentinel2", "climate", "terrain"):
        ledger.forget("cubes", f"{TILES[0]}.{name}")
    for one in estimate(Run.open(reference.recipe, store=store)):
        records = [ledger.record("cubes", f"{tile}.{one.name}") for tile in TILES[1:]]
        assert (one.due, one.done, one.measured) == (1, 2, 2)
        assert one.cpu_seconds == pytest.approx(np.mean([r.cpu_seconds for r in records]))
        assert one.memory == max(r.peak_memory for r in records)
        assert within_a_factor_of_2(one.written, written(reference.store, one.name, TILES[:1]))


def test_records_of_another_definition_tell_nothing(reference, store, write_recipe):
    """A store built with half the world says nothing of another world's cost."""
    told = estimate(Run.open(write_recipe({"seed": 4}), store=store))
    assert all((one.due, one.done, one.measured) == (3, 0, 0) for one in told)


@given(st.integers(0, 20), st.integers(0, 9), st.integers(1, 5), st.sampled_from([10, 50, 1000]), st.sampled_from(["float32", "uint16"]))
def test_values_are_pixels_times_bands(halo, times, bands, resolution, dtype):
    """Brute force against the tile's own geobox."""
    grid = TileGrid(tile_size=5000)
    m = Modality(name="m", bands=tuple(map(str, range(bands))), resolution=resolution, halo=halo, dtype=dtype, nodata=0)
    tile = grid.tile("5kmE4100N2600")
    assert values_of(grid, m) == np.prod(tile.geobox(resolution, margin=halo * resolution).shape) * bands
    one = by_arithmetic(grid, m, read=None, remote=False)
    assert one.read == values_of(grid, m) * np.dtype(dtype).itemsize


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), min_size=1), st.integers(1, 100), st.integers(1, 100))
def test_wall_time_is_bounded_by_workers_and_by_the_network_lane(parts, workers, reads_at_once):
    """Never less than the work shared out, never more than one after the other; reading alone is as slow as its lane."""
    estimates = [Estimate(name="m", seconds=s, remote=remote) for s, remote in parts]
    total, reading = sum(s for s, _ in parts), sum(s for s, remote in parts if remote)
    wall = wall_seconds(estimates, workers=workers, reads_at_once=reads_at_once)
    assert (
        wall >= total / workers * (1 - 1e-9) and wall >= reading / min(workers, reads_at_once) * (1 - 1e-9) and wall <= total * (1 + 1e-9)
    )


def test_a_composite_is_estimated_by_its_scenes():
    """A summer of Sentinel-2 passes every five days; half of them under a cloud limit; twice the months, twice the bytes."""
    grid = TileGrid()
    m = Modality(name="s2", bands=("B02", "B03", "B04", "B08"), resolution=10, halo=64, dtype="uint16", nodata=0)
    endpoint = {"url": "https://example.org"}
    june = Sentinel2StacSection(kind="sentinel2-stac", endpoint=endpoint, start=date(2021, 1, 1), end=date(2021, 12, 31), months=(6,))
    assert scenes_of(m, june) == 30 / 5
    assert scenes_of(m, june.model_copy(update={"max_cloud": 40})) == 30 / 5 / 2
    assert bytes_of_scenes(grid, m, june) == 6 * 2628**2 * 9
    yearly = replace(m, time=TimeAxis(step="month", first="2021-06", count=1))
    assert scenes_of(yearly, june.model_copy(update={"start": None, "end": None})) == scenes_of(m, june)


def test_many_small_tasks_are_not_free():
    """A cube of two coarse bands takes a fraction of a second; thousands of them take more than none."""
    m = Modality(name="footprint", bands=("a", "b"), resolution=1000, halo=1)
    assert 0.1 <= by_arithmetic(TileGrid(), m, read=None, remote=False).seconds <= 1


def test_input_files_that_are_not_there_are_told(cli, tmp_path):
    """A plain path and a template without a single file, before a thousand tasks fail of them; a file that is there is not named."""
    folder = tmp_path / "soilgrids"
    words = ("cubes", "--grid", "demo", "--modalities", "soil,terrain", "--data", tmp_path, "--store", tmp_path / "store", "--dry-run")
    ended = cli(*words)
    said = " ".join(ended.out.split())
    assert ended.code == 0 and "soil: " in said and "{band}_0-5cm_mean.tif is not there" in said and "dem.tif is not there" in said
    folder.mkdir()
    (folder / "clay_0-5cm_mean.tif").touch()
    (tmp_path / "dem.tif").touch()
    assert "not there" not in cli(*words).out


def test_numbers_for_people():
    """Three digits and a unit."""
    assert [amount(x) for x in (0, 999, 5.64e6, 2.5e9, 1.23456e13)] == ["0 B", "999 B", "5.64 MB", "2.5 GB", "12,345.6 GB"]
    assert [duration(x) for x in (0, 12.4, 359, 3600, 3.6e6)] == ["0 s", "12 s", "359 s", "1.0 h", "1,000.0 h"]


def test_the_command_tells_every_modality_and_the_total(cli, reference, tmp_path):
    """A line each, tasks first; nothing is written and no worker started."""
    ended = cli("cubes", reference.recipe, "--store", tmp_path / "store", "--dry-run", "--cluster", "slurm")
    assert ended.code == 0 and not (tmp_path / "store").exists()
    for name, due in (("sentinel2", "3"), ("climate", "3"), ("terrain", "3"), ("all", "9")):
        assert due in next(line for line in ended.out.splitlines() if f" {name} " in line).split(), name
    assert "sums" in ended.out and "with 64 workers (slurm), at most 32 of them" in ended.out and "8.0 GB" in ended.out


def test_cubes_of_a_named_grid_need_no_recipe(cli, tmp_path):
    """--grid and --modalities; without them, or with a recipe too, exit 2; a misspelt name, exit 3 with the nearest."""
    for wrong in ((), ("--grid", "alps"), ("demo", "--grid", "alps")):
        ended = cli("cubes", *wrong)
        assert ended.code == 2 and "--grid NAME with --modalities" in ended.err
    ended = cli("cubes", "--grid", "alsp", "--modalities", "terrain", "--store", tmp_path)
    assert ended.code == 3, ended
    ended = cli("cubes", "demo", "--modalities", "terain", "--store", tmp_path)
    assert ended.code == 2 and "Did you mean 'terrain'" in ended.err


def test_a_recipe_of_cubes_alone_is_enough(reference, write_recipe, tmp_path):
    """What `cubes` does not need may be missing; its tasks are those of the whole recipe."""
    import yaml

    whole = yaml.safe_load(reference.recipe.read_text(encoding="utf-8"))
    file = tmp_path / "cubes.yaml"
    file.write_text(yaml.safe_dump({k: whole[k] for k in ("title", "store", "seed", "grid", "world", "modalities")}), encoding="utf-8")
    told = estimate(CubeRun.open_cubes(file, store=reference.store))
    assert all((one.due, one.done) == (0, 3) for one in told)
    with pytest.raises(UsageError, match="Did you mean 'climate'"):
        CubeRun.open_cubes(file, modalities=("climat",))
