"""`VirtualLandscape`: a small frozen value that stands for a whole simulated landscape, computed where it is needed.

Real relief (or a fractal one), simulated everything else. The value travels between processes; its layers are computed
once in each process, in a few seconds, and kept.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pyproj import Transformer
from rasterio.features import rasterize
from rasterio.transform import Affine
from scipy import ndimage

from geoplantnet.errors import UsageError
from geoplantnet.sources.virtual import land_cover, noise, relief, settlements, water
from geoplantnet.sources.virtual.climate import Setting, bioclim
from geoplantnet.sources.virtual.noise import Field, Pixels

CRS = relief.CRS
CELL = 50
"""Side of a landscape cell, metres."""
PIXEL = 10
"""Side of an imagery pixel, metres."""
MARGIN = 2_000
"""Metres of landscape kept beyond the bounds, for the halo that encoders read."""
DEMO_BOUNDS = (4_125_000, 2_575_000, 4_175_000, 2_625_000)
"""Four 25 km meta-tiles around the Aletsch glacier (EPSG:3035)."""
EQUILIBRIUM_LINE = 2_990.0
"""Elevation (m) above which glaciers gain ice."""
WATER, ROAD, LAKE = 1, 2, 4
"""Bits of `Layers.lines`; a lake is also water."""

_COARSE = 200
_DISC = np.hypot(*np.mgrid[-3:4, -3:4]) < 3.3
_LOCK = threading.Lock()

Bounds = tuple[int, int, int, int]
Index = tuple[slice, slice] | tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class VirtualLandscape:
    """A landscape in EPSG:3035, 50 m cells on the lattice of multiples of 50 m. Equal values have equal layers.

    Make one with `on_dem` or `fractal`.
    """

    bounds: Bounds
    """West, south, east, north, metres. Layers reach at least 2 km farther: see `extent`."""
    seed: int
    """Everything that is not relief of a real model follows from it."""
    dem: str | None = None
    """Elevation model: a GeoTIFF's absolute path, ``packaged`` for the one shipped here, None for fractal relief."""
    relief: float = 3_000.0
    """Height range of fractal mountains, metres; unused with a `dem`."""

    def __post_init__(self) -> None:
        west, south, east, north = self.bounds
        if not (west < east and south < north) or any(b != int(b) for b in self.bounds):
            raise UsageError(
                f"landscape bounds {self.bounds} are not west, south, east, north in whole metres with west < east and south < north"
            )
        if max(east - west, north - south) > 200_000:
            raise UsageError(
                f"landscape bounds {self.bounds} are wider than 200 km; all cells live in memory, so simulate a smaller region"
            )
        if self.seed < 0:
            raise UsageError(f"seed must be a whole number of 0 or more, got {self.seed}")
        if not 0 < self.relief <= 8_000:
            raise UsageError(f"relief must lie in (0, 8000] metres, got {self.relief}")

    @classmethod
    def on_dem(cls, path: str | os.PathLike[str] | None = None, *, seed: int, bounds: Bounds | None = None) -> VirtualLandscape:
        """A landscape on a real elevation model (GeoTIFF, any CRS, first band in metres); nodata stays NaN everywhere.

        Without a `path`, the packaged model of the Aletsch region (Source: Federal Office of Topography swisstopo) and
        `DEMO_BOUNDS`; with a path, `bounds` defaults to the model's extent. Raises CrsError for a model without CRS,
        RasterError for an unreadable one, NoDataError when nothing of it lies in the bounds.
        """
        model = relief.PACKAGED_DEM if path is None else Path(path)
        covered = relief.dem_bounds(model)
        if bounds is None:
            bounds = DEMO_BOUNDS if path is None else (int(covered[0]), int(covered[1]), int(covered[2]), int(covered[3]))
        landscape = cls(bounds=_whole(bounds), seed=int(seed), dem="packaged" if path is None else str(model.resolve()))
        relief.read_dem(model, landscape.extent, 1_000)
        return landscape

    @classmethod
    def fractal(cls, bounds: Bounds, *, seed: int, relief: float = 3_000.0) -> VirtualLandscape:
        """A landscape on fractal mountains, anywhere, without gaps; valleys at 500 m, peaks up to `relief` metres higher."""
        return cls(bounds=_whole(bounds), seed=int(seed), relief=float(relief))

    @property
    def extent(self) -> Bounds:
        """West, south, east, north of the layers: the bounds and at least 2 km more, on multiples of 1 km."""
        west, south, east, north = self.bounds
        return (
            (west - MARGIN) // 1000 * 1000,
            (south - MARGIN) // 1000 * 1000,
            -(-(east + MARGIN) // 1000) * 1000,
            -(-(north + MARGIN) // 1000) * 1000,
        )

    @property
    def layers(self) -> Layers:
        """All layers of the extent, computed at the first use in a process and kept."""
        with _LOCK:
            return _layers(self)

    def stream(self, purpose: int) -> int:
        """A seed of its own for one kind of noise or draw; the layers themselves use `purpose` 0."""
        return self.seed * 7919 + 1_000 * purpose

    @property
    def provenance(self) -> list[dict[str, str]]:
        """What the landscape is made of, for a product's record."""
        made = {
            "href": f"virtual:landscape?seed={self.seed}",
            "title": "Virtual landscape (simulated; not an observation)",
            "licence": "CC0-1.0",
        }
        if self.dem is None:
            return [{**made, "href": f"{made['href']}&relief={self.relief:g}"}]
        if self.dem == "packaged":
            return [
                made,
                {
                    "href": f"geoplantnet/sources/virtual/data/{relief.PACKAGED_DEM.name}",
                    "title": "DHM25/200 elevation model, Aletsch region",
                    "credit": "Source: Federal Office of Topography swisstopo",
                    "licence": "Open government data of the Federal Office of Topography swisstopo",
                },
            ]
        return [made, {"href": Path(self.dem).name, "title": "Elevation model"}]


@dataclass(frozen=True, eq=False)
class Layers:
    """The layers of a landscape, float32 (y, x) on 50 m cells unless said otherwise; NaN where there is no relief."""

    origin: tuple[int, int]
    """Column and row of the north-west cell on the lattice anchored at (0, 0)."""
    known: npt.NDArray[np.bool_]
    """Where there is relief, and so data."""
    terrain: dict[str, Field]
    """elevation (m), slope (degrees), aspect (degrees from north), northness, eastness (-1..1), tpi (m), twi,
    heat_load, latitude (degrees)."""
    bioclim: dict[str, Field]
    """bio1, bio5, bio6 (degrees Celsius), bio12, bio18 (mm), gdd5 (K d), tas01, tas07 (degrees Celsius)."""
    climate: Setting
    """What monthly fields derive from, on 1 km cells."""
    climate_origin: tuple[int, int]
    ground: Field
    """Shares of `land_cover.GROUND_CLASSES` in the dry part of a cell: (class, y, x)."""
    water: Field
    """Share of water in a cell, 0..1."""
    lines: npt.NDArray[np.uint8]
    """Bits WATER, ROAD and LAKE on 10 m pixels: (5 y, 5 x)."""
    openness: Field
    """Gaps in the canopy of a forest, 0..1. Hidden: only imagery shows it."""
    intensity: Field
    """How heavily grassland is dunged and mown, 0..1. Hidden: only imagery shows it."""
    carbonate: Field
    """Share of limestone in the bedrock, 0 (silicate) to 1. Hidden: only imagery shows it, in rock and scree."""
    cloud: Field
    """Cloudiness of the Sentinel-2 mosaic; above 1 is a gap."""
    illumination: Field
    """Cosine of the sun's incidence at the imagery's date."""
    villages: tuple[settlements.Village, ...]
    village_distance: Field
    """Metres to the nearest village's centre; 50 km where there is none."""
    river_distance: Field
    """Metres to the nearest river."""
    road_distance: Field
    """Metres to the nearest road."""
    path_distance: Field
    """Metres to the nearest road or footpath."""

    def cells(self, pixels: Pixels) -> Index:
        """Index of 50 m `pixels` inside the extent into the last two axes of a layer."""
        rows, cols = pixels.rows - self.origin[1], pixels.cols - self.origin[0]
        if pixels.is_grid:
            return slice(int(rows[0, 0]), int(rows[-1, 0]) + 1), slice(int(cols[0, 0]), int(cols[0, -1]) + 1)
        return rows, cols

    def land_cover(self, pixels: Pixels) -> Field:
        """Shares of `land_cover.CLASSES` in 50 m `pixels` inside the extent: (class, ...), adding up to 1, NaN where unknown."""
        rows, cols = self.cells(pixels)
        water = self.water[rows, cols]
        return np.concatenate([self.ground[:, rows, cols] * (1 - water), water[None]])


def _whole(bounds: Bounds) -> Bounds:
    if len(bounds) != 4 or any(float(b) != int(b) for b in bounds):
        raise UsageError(f"bounds {bounds} must be four whole metres: west, south, east, north")
    west, south, east, north = (int(b) for b in bounds)
    return west, south, east, north


@lru_cache(maxsize=4)
def _layers(landscape: VirtualLandscape) -> Layers:
    west, south, east, north = extent = landscape.extent
    seed = landscape.stream(0)
    width, height = (east - west) // CELL, (north - south) // CELL
    cells = Pixels.grid(CELL, west // CELL, -north // CELL, width, height)

    elevation, known = relief.fill_voids(_elevation(landscape, cells))
    slope, aspect = relief.slope_aspect(elevation, CELL)
    latitude = _latitude(extent, elevation.shape)
    heat = relief.heat_load(slope, aspect, latitude)
    position = relief.topographic_position(elevation, CELL, 1_000)
    basin = _sigmoid((-relief.topographic_position(elevation, CELL, 2_500) - 120) / 50) * np.exp(-np.square(slope / 12))

    warmth = np.float32(0.4) * noise.fractal(cells, 16_000, seed + 1, octaves=2)
    wetness = np.exp(np.float32(0.18) * noise.fractal(cells, 32_000, seed + 2, octaves=2) + _windward(cells, landscape))
    setting = Setting(elevation, warmth, wetness.astype(np.float32), basin.astype(np.float32))
    normals = bioclim(setting)

    coarse = _block_mean(np.where(known, elevation, np.nan), _COARSE // CELL).astype(np.float64)
    graph = water.drainage(coarse, _COARSE)
    coarse_slope, _ = relief.slope_aspect(relief.fill_voids(coarse.astype(np.float32))[0], _COARSE)
    origin = (float(west), float(north))
    courses = water.rivers(graph, origin, source_area=3.0)
    lake = water.lakes(elevation, known, CELL, smallest=10)
    flux = water.glacier(graph, coarse, coarse_slope.astype(np.float64), equilibrium=EQUILIBRIUM_LINE)
    ice = _glacier_share(flux, cells, slope, seed)
    catchment = graph.route(np.full(coarse.shape, float(_COARSE))) + _COARSE / 2
    twi = relief.wetness(np.exp(noise.interpolate(np.log(catchment).astype(np.float32), _corner(cells, _COARSE), _COARSE, cells)), slope)

    wet_lines = _draw([line.buffer(5 + 2.2 * area**0.35, quad_segs=2) for line, area in courses], extent, PIXEL)
    wet_lines &= _finer(ice < 0.5)
    river_distance = _distance(np.asarray(wet_lines.reshape(height, 5, width, 5).any(axis=(1, 3))), CELL)
    chance = noise.white(
        Pixels.grid(_COARSE, west // _COARSE, -north // _COARSE, width * CELL // _COARSE, height * CELL // _COARSE), seed + 3
    )
    network = settlements.settle(
        coarse,
        coarse_slope,
        _block_mean(normals["bio1"], _COARSE // CELL),
        _block_mean(river_distance, _COARSE // CELL),
        _block_mean(lake.astype(np.float32), _COARSE // CELL) + _block_mean(ice, _COARSE // CELL) > 0.4,
        chance,
        cell=_COARSE,
        origin=origin,
    )
    x, y = (cells.cols.astype(np.float64) + 0.5) * CELL, -(cells.rows.astype(np.float64) + 0.5) * CELL
    village_distance = _village_distance(x, y, network.villages)
    patches = tuple(noise.fractal(cells, wave, seed + 4 + k, octaves=4, gain=0.6) for k, wave in enumerate((3_200, 1_600, 1_600)))
    built = land_cover.built_up(x, y, network.villages, slope, patches[1])
    ground = land_cover.ground_cover(
        slope=slope,
        warmth=normals["bio1"],
        summer=normals["tas07"],
        wetness=twi,
        heat=heat,
        valley=basin,
        ice=ice,
        built=built,
        tamed=np.exp(-village_distance / 1_500),
        patchiness=(patches[0], patches[1], patches[2]),
    )
    still = _draw_lakes(lake & (ice < 0.5), cells)
    wet = wet_lines | still
    lines = (
        wet * np.uint8(WATER)
        | still * np.uint8(LAKE)
        | _draw([line.buffer(6, quad_segs=2) for line in network.roads], extent, PIXEL) * np.uint8(ROAD)
    )
    on_road = _draw(list(network.roads), extent, CELL)
    road_distance = _distance(on_road, CELL)
    path_distance = _distance(on_road | _draw(list(network.paths), extent, CELL), CELL)

    cloud = noise.fractal(cells, 2_400, seed + 8, octaves=4)
    void = ~known

    def seen(layer: npt.NDArray) -> Field:
        layer = np.asarray(layer, np.float32).copy()
        layer[..., void] = np.nan
        return layer

    northness, eastness = relief.exposure(slope, aspect)
    return Layers(
        origin=(west // CELL, -north // CELL),
        known=known,
        terrain={
            "elevation": seen(elevation),
            "slope": seen(slope),
            "aspect": seen(aspect),
            "northness": seen(northness),
            "eastness": seen(eastness),
            "tpi": seen(position),
            "twi": seen(twi),
            "heat_load": seen(heat),
            "latitude": seen(latitude),
        },
        bioclim={name: seen(layer) for name, layer in normals.items()},
        climate=Setting(*(_block_mean(seen(layer), 1000 // CELL) for layer in (elevation, warmth, wetness, basin))),
        climate_origin=(west // 1000, -north // 1000),
        ground=seen(ground),
        water=seen(wet.reshape(height, 5, width, 5).mean(axis=(1, 3))),
        lines=lines,
        openness=seen(_sigmoid(np.float32(1.5) * noise.fractal(cells, 900, seed + 5, octaves=3) - np.float32(0.4))),
        intensity=seen(
            _sigmoid(np.float32(1.2) * noise.fractal(cells, 1_400, seed + 6, octaves=3) + 2 * np.exp(-village_distance / 1_200) - 0.8)
        ),
        carbonate=seen(_sigmoid(np.float32(2.2) * noise.fractal(cells, 12_000, seed + 7, octaves=5))),
        cloud=seen(cloud / np.quantile(cloud[known], 0.985)),
        illumination=seen(relief.illumination(slope, aspect, azimuth=155, height=42)),
        villages=network.villages,
        village_distance=seen(village_distance),
        river_distance=seen(river_distance),
        road_distance=seen(road_distance),
        path_distance=seen(path_distance),
    )


def _elevation(landscape: VirtualLandscape, cells: Pixels) -> Field:
    if landscape.dem is None:
        return relief.fractal_relief(cells, landscape.relief, landscape.stream(0))
    path = relief.PACKAGED_DEM if landscape.dem == "packaged" else Path(landscape.dem)
    return relief.read_dem(path, landscape.extent, CELL)


def _latitude(extent: Bounds, shape: tuple[int, int]) -> Field:
    """Degrees north, bilinear between the corners: enough for a heat load."""
    west, south, east, north = extent
    _, corners = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform([west, east, west, east], [north, north, south, south])
    u, v = np.linspace(0, 1, shape[1])[None, :], np.linspace(0, 1, shape[0])[:, None]
    return ((corners[0] * (1 - u) + corners[1] * u) * (1 - v) + (corners[2] * (1 - u) + corners[3] * u) * v).astype(np.float32)


def _windward(cells: Pixels, landscape: VirtualLandscape) -> Field:
    """Log of the precipitation factor: + 0.35 on the windward (north-western) side of the bounds, - 0.35 on the lee."""
    west, south, east, north = landscape.bounds
    across = ((west + east) / 2 - (cells.cols + 0.5) * CELL) * 0.5 + (-(cells.rows + 0.5) * CELL - (south + north) / 2)
    return np.float32(0.35) * np.clip(across / 25_000, -1, 1).astype(np.float32)


def _glacier_share(flux: npt.NDArray[np.float64], cells: Pixels, slope: Field, seed: int) -> Field:
    """Share of ice: where enough of it flows, on ground that can hold it."""
    log = np.log10(np.maximum(ndimage.grey_closing(flux, footprint=_DISC), 1))
    log = ndimage.gaussian_filter(log, 0.8, mode="nearest").astype(np.float32)
    log = noise.interpolate(log, _corner(cells, _COARSE), _COARSE, cells) + np.float32(0.12) * noise.fractal(
        cells, 800, seed + 9, octaves=3
    )
    share = _sigmoid((log - np.float32(2.75)) / np.float32(0.1)) * _sigmoid((np.float32(40) - slope) / np.float32(2))
    return np.clip((share - np.float32(0.1)) / np.float32(0.75), 0, 1)


def _corner(cells: Pixels, step: int) -> tuple[int, int]:
    """Column and row of the north-west node of a coarser lattice over the same extent."""
    return int(cells.cols[0, 0]) * cells.size // step, int(cells.rows[0, 0]) * cells.size // step


def _block_mean(layer: npt.NDArray, k: int) -> Field:
    """Mean of k x k blocks (y, x), NaN where a block has no value."""
    height, width = layer.shape[0] // k, layer.shape[1] // k
    blocks = layer.reshape(height, k, width, k)
    fine = np.isfinite(blocks)
    count = fine.sum(axis=(1, 3))
    total = np.where(fine, blocks, 0).sum(axis=(1, 3), dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _draw(shapes: list, extent: Bounds, size: int) -> npt.NDArray[np.bool_]:
    """Pixels of `size` metres that shapes touch or cover."""
    west, south, east, north = extent
    shape = ((north - south) // size, (east - west) // size)
    if not shapes:
        return np.zeros(shape, bool)
    return rasterize(
        shapes, out_shape=shape, transform=Affine(size, 0, west, 0, -size, north), all_touched=size > PIXEL, dtype="uint8"
    ).astype(bool)


def _finer(cells: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Cells repeated on the imagery's pixels."""
    return cells.repeat(CELL // PIXEL, axis=0).repeat(CELL // PIXEL, axis=1)


def _draw_lakes(lake: npt.NDArray[np.bool_], cells: Pixels) -> npt.NDArray[np.bool_]:
    """Lakes with smooth shores on 10 m pixels, a strip at a time."""
    k = CELL // PIXEL
    height, width = lake.shape
    if not lake.any():
        return np.zeros((height * k, width * k), bool)
    corner = _corner(cells, CELL)
    share = ndimage.gaussian_filter(lake.astype(np.float32), 1.8)
    strips = [
        noise.interpolate(
            share, corner, CELL, Pixels.grid(PIXEL, corner[0] * k, (corner[1] + top) * k, width * k, min(50, height - top) * k)
        )
        > 0.5
        for top in range(0, height, 50)
    ]
    return np.concatenate(strips)


def _village_distance(x: npt.NDArray, y: npt.NDArray, villages: tuple[settlements.Village, ...]) -> Field:
    at = np.zeros((y.shape[0], x.shape[1]), bool)
    for village in villages:
        at[np.abs(y[:, 0] - village.y).argmin(), np.abs(x[0] - village.x).argmin()] = True
    return _distance(at, CELL)


def _distance(where: npt.NDArray[np.bool_], cell: int) -> Field:
    """Metres to the nearest marked cell; 50 km where nothing is marked."""
    if not where.any():
        return np.full(where.shape, 50_000, np.float32)
    return (ndimage.distance_transform_edt(~where) * cell).astype(np.float32)


def _sigmoid(x: npt.NDArray) -> Field:
    return (1 / (1 + np.exp(-np.clip(x, -30, 30)))).astype(np.float32)
