"""Training patches from cubes against the field's way, one JPEG pair a point (malpolon), on the same patches in one process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from benchmarks.rows import Row, main
from geoplantnet.cubes import Modality, PatchReader, write_cube
from geoplantnet.cubes.cube import assemble, node_of
from geoplantnet.cubes.geolifeclef import Layout, export_geolifeclef
from geoplantnet.grid import MetaTile, TileGrid
from geoplantnet.grid.time_axis import TimeAxis

IMAGE = Modality(
    name="sentinel2", bands=("B02", "B03", "B04", "B08"), resolution=10, window=25, halo=64, dtype="uint16", scale=1e-4, nodata=0
)
BATCH = 64


def landsat(quarters: int) -> Modality:
    """Six bands of quarterly series on the cells."""
    bands = ("blue", "green", "red", "nir", "swir1", "swir2")
    return Modality(name="landsat", bands=bands, resolution=50, dtype="uint16", scale=1e-4, nodata=0, time=TimeAxis(step="quarter", first="1999-12", count=quarters))  # fmt: skip


def scene(shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float32]:
    """Reflectance with structure from 10 m to 1 km and the noise of real imagery, so that it compresses like it; some gaps."""
    rng = np.random.default_rng(seed)
    side = shape[-1]
    relief = sum(np.kron(rng.normal(size=(-(-side // s), -(-side // s))), np.ones((s, s)))[:side, :side] * s**0.3 for s in (4, 16, 64))
    base = (0.12 + 0.02 * relief).astype(np.float32)
    out = np.empty(shape, np.float32)
    for layer in out.reshape(-1, side, side):
        layer[...] = np.clip(base * rng.uniform(0.6, 2.0) + rng.normal(scale=0.004, size=base.shape), 0.001, 1.2)
    out[..., : side // 20, : side // 10] = np.nan
    return out


def put(tile: MetaTile, modalities: tuple[Modality, ...], path: Path, seed: int) -> None:
    """A cube of made-up values."""
    side = {m.name: round(tile.grid.tile_size / m.resolution) + 2 * m.halo for m in modalities}
    nodes = {m.name: node_of(tile, m, scene((*m.axes, side[m.name], side[m.name]), seed)) for m in modalities}
    write_cube(assemble(tile, nodes), path, modalities)


def places(tiles: list[MetaTile], count: int, seed: int) -> pd.DataFrame:
    """Random points, evenly among tiles."""
    rng = np.random.default_rng(seed)
    corner = np.array([tile.bounds[:2] for tile in tiles])[rng.integers(len(tiles), size=count)]
    xy = corner + rng.uniform(0, tiles[0].grid.tile_size, (count, 2))
    return pd.DataFrame({"surveyId": 3_000_000 + np.arange(count), "x": xy[:, 0], "y": xy[:, 1]})


def rate(read: Callable[[npt.NDArray[np.int64]], object], count: int, passes: int = 1) -> float:
    """Points per CPU second of reading `count` points in random batches, the best of `passes`."""
    order = np.random.default_rng(1).permutation(count)
    best = 0.0
    for _ in range(passes):
        start = time.process_time()
        for first in range(0, count, BATCH):
            read(order[first : first + BATCH])
        best = max(best, count / (time.process_time() - start))
    return best


def jpegs(layout: Layout, surveys: npt.NDArray[np.int64]) -> Callable[[npt.NDArray[np.int64]], object]:
    """What malpolon does a point: open the RGB and the NIR file, decode, join, float32; stacked into a batch."""

    def one(survey: int) -> npt.NDArray[np.float32]:
        with Image.open(layout.rgb(survey)) as rgb, Image.open(layout.nir(survey)) as nir:
            return np.concatenate([np.asarray(rgb).transpose(2, 0, 1), np.asarray(nir)[None]]).astype(np.float32)

    return lambda index: np.stack([one(int(survey)) for survey in surveys[index]])


def measure(quick: bool) -> list[Row]:
    """One tile of 10 km (quick) or 25 km and 512 or 2,048 points; then four small tiles with memory for less than one."""
    grid = TileGrid(tile_size=10_000 if quick else 25_000)
    count = 512 if quick else 2_048
    series = landsat(20 if quick else 84)
    tile = grid.tile_at(4_130_000, 2_580_000)
    points = places([tile], count, seed=0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        cubes = {tile.id: folder / tile.id}
        put(tile, (IMAGE,), cubes[tile.id], seed=0)
        reader = PatchReader(points, grid=grid, modalities=[IMAGE], sources={}, cubes=cubes)
        cold = rate(reader.read, count)
        warm = rate(reader.read, count, passes=3)
        held = reader.held
        thrifty = PatchReader(points, grid=grid, modalities=[IMAGE], sources={}, cubes=cubes, memory=0)
        starved = rate(thrifty.read, min(count, 512))
        done = export_geolifeclef(points, folder / "jpeg", grid=grid, cubes=cubes, sentinel2=IMAGE)
        field = rate(jpegs(done.layout, points["surveyId"].to_numpy()), count, passes=3)

        put(tile, (series,), folder / "series", seed=1)
        start = time.process_time()
        pixels = PatchReader(points, grid=grid, modalities=[series], sources={}, cubes={tile.id: folder / "series"})
        first = count / (time.process_time() - start)
        again = rate(pixels.read, count, passes=3)

        small = TileGrid(tile_size=5_000)
        tiles = list(small.tiles_in(4_130_000, 2_580_000, 4_140_000, 2_590_000))
        many = {t.id: folder / t.id for t in tiles}
        for t in tiles:
            put(t, (IMAGE,), many[t.id], seed=2)
        budget = 2 << 20
        bounded = PatchReader(places(tiles, 256, seed=3), grid=small, modalities=[IMAGE], sources={}, cubes=many, memory=budget)
        most = 0
        for first_point in range(0, 256, 16):
            bounded.read(np.arange(first_point, first_point + 16))
            most = max(most, bounded.held)
    layers = f"{series.times} x {len(series.bands)}"
    return [
        Row(name="patches of 129 px, 4 bands, from a warm cube", value=warm, unit="/s/core", reference=f"JPEG pairs of 128 px from the disk cache, PIL: {field:,.0f}/s/core", target=">= 2000", ok=warm >= 2000),
        Row(name="warm cube against JPEG pairs", value=warm / field, unit="x", reference="the same points, batches of 64, float32 out", target="> 1", ok=warm > field),
        Row(name="the same, first pass over a cold cube", value=cold, unit="/s/core", reference=f"each chunk decoded once; JPEG pairs: {field:,.0f}", target=""),
        Row(name="the same, no memory for chunks", value=starved, unit="/s/core", reference=f"chunks decoded again in every batch of 64; JPEG pairs: {field:,.0f}", target=""),
        Row(name="decoded chunks of one tile, held", value=held / 1e6, unit="MB", reference="bound: memory=, 1,074 MB by default", target=""),
        Row(name="most held over 4 tiles with memory for 2.1 MB", value=most / 1e6, unit="MB", reference=f"bound {budget / 1e6:.1f}, or the newest chunk", target="<= bound", ok=most <= budget),
        Row(name=f"Landsat series ({layers}) at points, first time", value=first, unit="/s/core", reference="PatchReader made: chunks that hold points, decoded once", target=""),
        Row(name=f"Landsat series ({layers}) at points, in batches", value=again, unit="/s/core", reference="kept packed, unpacked a batch", target=">= 2000", ok=again >= 2000),
    ]  # fmt: skip


if __name__ == "__main__":
    main(measure)
