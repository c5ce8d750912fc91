"""Cloud-free composites of a tile: ours beside odc-stac + lazy xarray and beside stackstac, on the same files, each in a process of its own.

Scenes are made up: one cloud-optimised GeoTIFF a band, 10 m, EPSG:32632, 30 to 50 % cloud by the scene classification. Bands
of scenes beyond the twelfth are links to earlier files, their classifications are their own. All three take the nearest pixel,
so that they ought to give the same composite; ours is timed with its default, bilinear, too.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.rows import Row, main

BANDS = ("B02", "B03", "B04", "B08")
LEVELS = {"B02": 330, "B03": 520, "B04": 420, "B08": 2600}  # stored numbers of a wooded landscape, no offset
COUNTS = (8, 24, 60)
DISTINCT = 12
MARGIN = 640
CHUNK = 2048
YEAR = (date(2022, 1, 1), date(2023, 1, 1))


def tile_box(side: int) -> Any:
    """The 10 m GeoBox of a tile near Bolzano, with its halo."""
    from geoplantnet.grid import TileGrid

    return TileGrid(tile_size=side).tile_at(4_430_000, 2_600_000).geobox(10, margin=MARGIN)


def smooth(rng: np.random.Generator, size: int, steps: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Noise with structure of several sizes, (size, size), sd about 1."""
    from scipy.ndimage import zoom

    out = np.zeros((size, size), np.float32)
    for step in steps:
        coarse = rng.standard_normal((size // step + 3, size // step + 3)).astype(np.float32)
        out += zoom(coarse, step, order=1)[:size, :size]
    return out / np.float32(len(steps) ** 0.5)


def write_scenes(folder: Path, side: int) -> None:
    """Files of sixty scenes that cover the tile, and a catalog for each number of scenes."""
    import rasterio
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox
    from rasterio.transform import from_origin

    utm, box = CRS("EPSG:32632"), tile_box(side)
    outline = box.extent.to_crs(utm).boundingbox
    west, north = outline.left // 60 * 60 - 600, outline.top // 60 * 60 + 660
    size = -(-int(max(outline.right - west, north - outline.bottom) + 600) // 10240) * 1024
    rng = np.random.default_rng(1)
    relief = smooth(rng, size, (256, 64, 16, 4))
    ground = {band: level * np.exp(0.35 * relief) for band, level in LEVELS.items()}
    granule = GeoBox((size, size), from_origin(west, north, 10, 10), utm)
    ring = [list(map(float, p)) for p in granule.extent.to_crs("EPSG:4326").exterior.points]
    lon, lat = zip(*ring)
    features = []
    for i in range(max(COUNTS)):
        own = np.random.default_rng(100 + i)
        cloud = smooth(own, size // 2, (256, 128, 32))
        scl = np.where(cloud > np.quantile(cloud, own.uniform(0.5, 0.7)), 9, 4).astype(np.uint8)
        assets: dict[str, npt.NDArray[Any] | None] = {"SCL": scl}
        for band, mean in ground.items():
            noisy = mean * own.uniform(0.9, 1.1) * (1 + 0.03 * own.standard_normal(mean.shape, dtype=np.float32)) if i < DISTINCT else None
            assets[band] = None if noisy is None else np.clip(noisy, 1, 20_000).astype(np.uint16)
        for name, pixels in assets.items():
            path = folder / f"{i}_{name}.tif"
            if pixels is None:
                os.link(folder / f"{i % DISTINCT}_{name}.tif", path)
                continue
            step = 10 * size // len(pixels)
            profile = {
                "driver": "COG",
                "count": 1,
                "height": len(pixels),
                "width": len(pixels),
                "dtype": pixels.dtype,
                "crs": "EPSG:32632",
                "nodata": 0,
            }
            creation = {"blocksize": 512, "compress": "deflate", "predictor": "yes", "overview_resampling": "nearest"}
            with rasterio.open(path, "w", transform=from_origin(west, north, step, step), **profile, **creation) as dataset:
                dataset.write(pixels, 1)
        features.append(
            {
                "type": "Feature",
                "stac_version": "1.0.0",
                "stac_extensions": [f"https://stac-extensions.github.io/{e}/v1.1.0/schema.json" for e in ("projection", "raster")],
                "id": f"S2A_scene_{i:02d}",
                "collection": "sentinel-2-l2a",
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "bbox": [min(lon), min(lat), max(lon), max(lat)],
                "properties": {"datetime": f"2022-{i // 28 + 5:02d}-{i % 28 + 1:02d}T10:16:00Z", "platform": "sentinel-2a", "s2:processing_baseline": "02.14", "proj:epsg": 32632},
                "links": [],
                "assets": {
                    name: {
                        "href": str(folder / f"{i}_{name}.tif"),
                        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                        "roles": ["data"],
                        "raster:bands": [{"data_type": "uint8" if name == "SCL" else "uint16", "nodata": 0}],
                        "proj:shape": [size // (2 if name == "SCL" else 1)] * 2,
                        "proj:transform": [10 * (2 if name == "SCL" else 1), 0, west, 0, -10 * (2 if name == "SCL" else 1), north],
                    }
                    for name in (*BANDS, "SCL")
                },
            }
        )  # fmt: skip
    for count in COUNTS:
        (folder / f"{count}.json").write_text(json.dumps({"type": "FeatureCollection", "features": features[:count]}), encoding="utf-8")


def ours(catalog: str, side: int, resampling: str = "nearest") -> npt.NDArray[np.float32]:
    """StacSentinel2 as a cube is built with it."""
    from geoplantnet.sources.sentinel2 import StacSentinel2
    from geoplantnet.sources.stac import StacEndpoint

    source = StacSentinel2(endpoint=StacEndpoint(url=catalog), bands=BANDS, interval=YEAR, resampling=resampling)  # type: ignore[arg-type]
    values: npt.NDArray[np.float32] = source.read(tile_box(side)).values
    return values


def bilinear(catalog: str, side: int) -> npt.NDArray[np.float32]:
    """Ours, with its default resampling."""
    return ours(catalog, side, "bilinear")


def odc_lazy(catalog: str, side: int) -> npt.NDArray[np.float32]:
    """As odc-stac's documentation and its users do: lazy load onto the target, mask by SCL, median along time."""
    import dask
    import odc.stac
    import pystac

    from geoplantnet.sources.scenes import INVALID_SCL

    items = list(pystac.ItemCollection.from_file(catalog))
    cube = odc.stac.load(
        items, bands=[*BANDS, "SCL"], geobox=tile_box(side), chunks={"x": CHUNK, "y": CHUNK}, groupby="solar_day", nodata=0,
        resampling="nearest",
    )  # fmt: skip
    clear = cube[list(BANDS)].where(~cube.SCL.isin(INVALID_SCL) & (cube[list(BANDS)] > 0))
    with dask.config.set(scheduler="threads", num_workers=2):
        median = clear.chunk(time=-1).median("time").compute()
    values: npt.NDArray[np.float32] = np.stack([median[b].values for b in BANDS]).astype(np.float32) * np.float32(1e-4)
    return values


def stackstac_lazy(catalog: str, side: int) -> npt.NDArray[np.float32]:
    """The same with stackstac, its pixels' centres told to be centres."""
    import dask
    import pystac
    import stackstac

    from geoplantnet.sources.scenes import INVALID_SCL

    box = tile_box(side)
    cube = stackstac.stack(
        [item.to_dict() for item in pystac.ItemCollection.from_file(catalog)],
        assets=[*BANDS, "SCL"], epsg=3035, resolution=10, bounds=tuple(box.boundingbox), snap_bounds=False, chunksize=CHUNK,
        dtype=np.dtype("uint16"), fill_value=np.uint16(0), rescale=False, xy_coords="center",
    )  # fmt: skip
    scl, bands = cube.sel(band="SCL"), cube.sel(band=list(BANDS))
    clear = bands.where(~scl.isin(INVALID_SCL) & (bands > 0))
    with dask.config.set(scheduler="threads", num_workers=2):
        values: npt.NDArray[np.float32] = clear.chunk(time=-1).median("time").compute().values.astype(np.float32) * np.float32(1e-4)
    return values


WAYS: dict[str, Callable[[str, int], npt.NDArray[np.float32]]] = {f.__name__: f for f in (ours, bilinear, odc_lazy, stackstac_lazy)}

MODULES = {
    **dict.fromkeys(("ours", "bilinear"), ("geoplantnet.grid", "geoplantnet.sources.sentinel2")),
    "odc_lazy": ("geoplantnet.grid", "geoplantnet.sources.scenes", "dask", "odc.stac"),
    "stackstac_lazy": ("geoplantnet.grid", "geoplantnet.sources.scenes", "dask", "stackstac"),
}
"""Imported before the clock starts."""


def work(way: str, catalog: str, side: str, out: str, times: str = "1") -> None:
    """What a child process does: composite, `times` over, saved; prints CPU seconds, wall seconds and peak memory in MB."""
    composite = WAYS[way]
    for module in MODULES[way]:
        importlib.import_module(module)
    began, start = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    values: Any = None
    for _ in range(int(times)):
        values = None  # the last one's memory, given back
        values = composite(catalog, int(side))
    end = resource.getrusage(resource.RUSAGE_SELF)
    cpu = end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime
    if out:
        np.save(out, values)
    print(json.dumps({"cpu": cpu, "wall": time.perf_counter() - began, "mb": peak_memory()}))


def peak_memory() -> float:
    """Most memory this process ever held, MB. Not ru_maxrss, which begins with what the parent held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return float(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1e3  # type: ignore[index]


def start(way: str, catalog: Path, side: int, out: Path | None = None, times: int = 1) -> subprocess.Popen[str]:
    """A child process at low priority."""
    code = "import sys; from benchmarks.cubes import work; work(*sys.argv[1:])"
    arguments = [way, str(catalog), str(side), "" if out is None else str(out), str(times)]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(child: subprocess.Popen[str]) -> dict[str, float] | str:
    """What a child measured, or the last line of why it failed."""
    out, err = child.communicate()
    if child.returncode:
        return (err.strip().splitlines() or [f"exit {child.returncode}"])[-1]
    measured: dict[str, float] = json.loads(out.splitlines()[-1])
    return measured


def compared(folder: Path, side: int, quick: bool) -> list[Row]:
    """Ours beside the two peers, for each number of scenes (the peers take minutes on 60 scenes of 25 km: only when quick)."""
    rows: list[Row] = []
    peak: dict[int, float] = {}
    for count in COUNTS:
        catalog, mine_at = folder / f"{count}.json", folder / "ours.npy"
        mine = ended(start("ours", catalog, side, mine_at))
        if isinstance(mine, str):
            raise SystemExit(f"ours failed: {mine}")
        peak[count] = mine["mb"]
        own = f"ours {mine['cpu']:.1f} CPU-s, {mine['wall']:.1f} s, {mine['mb']:.0f} MB"
        peers = ["odc_lazy", "stackstac_lazy"] if quick or count <= 8 else ["odc_lazy"] if count <= 24 else []
        for peer in peers:
            theirs_at = folder / "theirs.npy"
            theirs = ended(start(peer, catalog, side, theirs_at))
            name = {"odc_lazy": "odc-stac, lazy xarray median", "stackstac_lazy": "stackstac, lazy xarray median"}[peer]
            if isinstance(theirs, str):
                rows.append(Row(name=f"{count} scenes: {name}", value=float("nan"), unit="", reference=f"did not run: {theirs}"))
                continue
            told = f"{name}: {theirs['cpu']:.1f} CPU-s, {theirs['wall']:.1f} s, {theirs['mb']:.0f} MB; {own}"
            goal = peer == "odc_lazy"
            cpu, memory = theirs["cpu"] / mine["cpu"], theirs["mb"] / mine["mb"]
            rows.append(
                Row(
                    name=f"{count} scenes: CPU, {peer.split('_')[0]} / ours",
                    value=cpu,
                    unit="x",
                    reference=told,
                    target=">= 3" if goal else "",
                    ok=not goal or cpu >= 3,
                )
            )
            rows.append(
                Row(
                    name=f"{count} scenes: peak memory, {peer.split('_')[0]} / ours",
                    value=memory,
                    unit="x",
                    reference=told,
                    target=">= 1.5" if goal and not quick else "",
                    ok=not goal or quick or memory >= 1.5,
                )
            )
            a, b = np.load(mine_at), np.load(theirs_at)
            off = np.abs(a - b)
            same = float((off < 1e-6).mean() + (np.isnan(a) & np.isnan(b)).mean())
            rows.append(
                Row(
                    name=f"{count} scenes: pixels equal to {peer.split('_')[0]}'s",
                    value=100 * same,
                    unit="%",
                    reference=f"largest difference {np.nanmax(off):.4f}, mean {np.nanmean(off):.1e} (GDAL's warp may take a neighbour of the nearest pixel)",
                    target=">= 90" if goal else "",
                    ok=not goal or same >= 0.9,
                )
            )
    growth = peak[COUNTS[-1]] / peak[COUNTS[0]]
    rows.append(
        Row(
            name="peak memory, 60 scenes / 8 scenes",
            value=growth,
            unit="x",
            reference=", ".join(f"{n}: {mb:.0f} MB" for n, mb in peak.items()),
            target="" if quick else "<= 1.3",
            ok=quick or growth <= 1.3,
        )
    )
    return rows  # fmt: skip


def throughput(folder: Path, side: int) -> list[Row]:
    """Tiles an hour, decoded megabytes a second and memory of a worker, with one process and with two at once."""
    catalog, times = folder / f"{COUNTS[0]}.json", 2
    pixels = float(np.prod(tile_box(side).shape))
    megabytes = COUNTS[0] * pixels * (2 * len(BANDS) + 0.25) / 1e6
    rows = []
    for processes in (1, 2):
        began = time.perf_counter()
        children = [start("bilinear", catalog, side, times=times) for _ in range(processes)]
        ends = [e for e in map(ended, children) if not isinstance(e, str)]
        wall = time.perf_counter() - began
        tiles = times * len(ends)
        told = f"{tiles} composites of {COUNTS[0]} scenes in {wall:.0f} s with start; {sum(e['cpu'] for e in ends) / tiles:.1f} CPU-s each; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"
        rows += [
            Row(name=f"{processes} process{'es' * (processes > 1)}: tiles an hour", value=3600 * tiles / wall, unit="1/h", reference=told),
            Row(name=f"{processes} process{'es' * (processes > 1)}: pixels decoded", value=megabytes * tiles / wall, unit="MB/s", reference=told),
            Row(name=f"{processes} process{'es' * (processes > 1)}: peak memory of a worker", value=max(e["mb"] for e in ends), unit="MB", reference=told),
        ]  # fmt: skip
    return rows


def measure(quick: bool) -> list[Row]:
    """A tile of 5 km (quick) or 25 km."""
    side = 5_000 if quick else 25_000
    os.nice(5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenes(folder, side)
        return [*compared(folder, side, quick), *throughput(folder, side)]


if __name__ == "__main__":
    main(measure)
