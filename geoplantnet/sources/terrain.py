"""Terrain from digital elevation models: elevation, slope, exposure, relative position, wetness, heat load.

Every band is local: a cell depends on the elevation within a fixed distance of it, the DEM is read with that margin, and sums are
taken in the same order wherever the array begins. So tiles meet without a seam, bit for bit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from scipy.ndimage import correlate1d

from geoplantnet.errors import UsageError, did_you_mean
from geoplantnet.grid.raster import FloatArray, Resampling, read_onto
from geoplantnet.sources.raster import Access, PathLike, as_array, at_cells, check_plausible, is_remote, measured, provenance, shown, xy_of

FloatValues: TypeAlias = npt.NDArray[np.float64]

BANDS = ("elevation", "slope", "northness", "eastness", "tpi", "twi", "heat_load")
ALL_BANDS = (*BANDS, "aspect_sin", "aspect_cos")

_FLATTEST = 0.001  # least tan(slope) of the wetness index: lakes have none
_PLAUSIBLE = (-500.0, 9000.0)  # metres above sea level: the Dead Sea to Everest


@dataclass(frozen=True, kw_only=True)
class TerrainSource:
    """Terrain on the cells of the grid. Several DEMs: the first with data wins; outside every DEM, NaN.

    Bands, aspect being clockwise from true north and downhill:

    - `elevation`, m;
    - `slope`, degrees (Horn 1981, Proc. IEEE 69:14);
    - `northness` = cos(aspect) sin(slope), `eastness` = sin(aspect) sin(slope): 0 on flat ground;
    - `aspect_sin`, `aspect_cos`: of the aspect alone; 0 and 0 where the ground is flat and has none;
    - `tpi`, topographic position index, m: elevation minus its mean in a square window (Weiss 2001);
    - `twi`, topographic wetness index, ln(m): see `wetness`;
    - `heat_load`, MJ cm-2 yr-1 (McCune & Keon 2002, J. Veg. Sci. 13:603).

    Each DEM is interpolated onto the cells and differentiated there by itself, so no cliff appears where two meet.
    """

    dems: tuple[PathLike, ...]
    """Files, http(s) URLs or s3 addresses."""
    bands: tuple[str, ...] = BANDS
    """What `read` and `at` give, in this order, of `ALL_BANDS`; only these are computed."""
    resampling: Resampling = "cubic"
    """Onto finer cells (bilinear would make facets of the DEM's pixels); a DEM finer than half a cell is averaged."""
    tpi_radius: float = 500.0
    """Half side of the window of `tpi`, metres."""
    twi_reach: float = 2500.0
    """Longest way, metres along the axes of the grid, over which `twi` follows water."""
    crs: str = "EPSG:3035"
    """CRS of the points given to `at`: the grid's."""
    cell_size: float = 50.0
    """Side of the cells that hold the points given to `at`, metres."""
    credit: str = ""
    licence: str = ""
    driver: str = "GTiff"
    access: Access = field(default_factory=Access)

    def __post_init__(self) -> None:
        if isinstance(self.dems, str | os.PathLike) or not self.dems:
            raise UsageError(f"dems must be a tuple of paths, at least one, got {self.dems!r}")
        object.__setattr__(self, "dems", tuple(self.dems))
        for band in self.bands:
            if band not in ALL_BANDS:
                raise UsageError(f"terrain has no band {band!r}; there are {', '.join(ALL_BANDS)}.{did_you_mean(band, ALL_BANDS)}")

    @property
    def remote(self) -> bool:
        """Whether a read goes over a network."""
        return any(is_remote(dem) for dem in self.dems)

    def read(self, geobox: GeoBox) -> xr.DataArray:
        """float32 (band, y, x). Raises RasterError, CrsError, TryAgain."""
        inputs = [provenance(dem, self.credit, self.licence) for dem in self.dems]
        return as_array(self._terrain(geobox, self.bands), self.bands, geobox, inputs)

    def elevation(self, geobox: GeoBox) -> FloatArray:
        """Elevation alone, metres: float32 (y, x). Equals the band of `read`."""
        elevation = self._elevation_of(self.dems[0], geobox)
        for dem in self.dems[1:]:
            if np.isfinite(elevation).all():
                break
            elevation = np.where(np.isfinite(elevation), elevation, self._elevation_of(dem, geobox))
        return elevation

    def at(self, points: pd.DataFrame) -> FloatArray:
        """float32 (n, band). Measured `elevation`, `slope`, `aspect` win where finite; the rest is the cell's.

        A measured slope without a measured aspect keeps the cell's aspect; a flat plot (slope 0) has none and needs none.
        `tpi` and `twi` are properties of the surroundings: NaN where no DEM reaches.
        """
        needed = tuple(dict.fromkeys(("elevation", "slope", "northness", "eastness", "aspect_sin", "aspect_cos", *self.bands)))
        cells = at_cells(lambda box: self._terrain(box, needed), points, bands=len(needed), crs=self.crs, cell_size=self.cell_size).astype(
            np.float64
        )
        value = dict(zip(needed, cells.T))
        plot_slope, plot_aspect = measured(points, "slope"), measured(points, "aspect")
        slope = np.where(np.isfinite(plot_slope), plot_slope, value["slope"])
        aspect = np.where(np.isfinite(plot_aspect), plot_aspect, np.degrees(np.arctan2(value["aspect_sin"], value["aspect_cos"])))
        aspect = np.where((slope == 0) & ~np.isfinite(aspect), 0.0, aspect)
        surveyed = np.isfinite(plot_slope) | np.isfinite(plot_aspect)
        if surveyed.any():
            x, y = xy_of(points)
            value["slope"] = slope
            follows = _facing(slope, aspect) | {"heat_load": heat_load_index(slope, aspect, _latitude(x, y, self.crs))}
            for band, turned in follows.items():
                value[band] = np.where(surveyed, turned, value.get(band, np.nan))
        plot_elevation = measured(points, "elevation")
        value["elevation"] = np.where(np.isfinite(plot_elevation), plot_elevation, value["elevation"])
        return np.stack([value[band] for band in self.bands], axis=1).astype(np.float32)

    def elevation_at(self, points: pd.DataFrame) -> FloatArray:
        """Elevation of points, metres: measured, else the cell's. float32 (n,)."""
        cells = at_cells(lambda box: self.elevation(box)[None], points, bands=1, crs=self.crs, cell_size=self.cell_size)[:, 0]
        plot = measured(points, "elevation")
        return np.where(np.isfinite(plot), plot, cells).astype(np.float32)

    def _elevation_of(self, dem: PathLike, geobox: GeoBox) -> FloatArray:
        def read(where: PathLike) -> FloatArray:
            return read_onto(where, geobox, bands=[1], resampling=self.resampling, driver=self.driver)[0]

        elevation = self.access.read(dem, read)
        check_plausible(elevation, _PLAUSIBLE, what="elevation (m)", path=shown(dem))
        return elevation

    def _terrain(self, geobox: GeoBox, bands: Sequence[str]) -> FloatArray:
        """The bands asked for: float32 (band, y, x)."""
        cell = abs(geobox.resolution.x)
        radius, steps = max(1, round(self.tpi_radius / cell)), max(1, round(self.twi_reach / cell))
        margin = max(1, radius if "tpi" in bands else 0, steps + 1 if "twi" in bands else 0)
        wide = geobox.pad(margin)
        out = np.full((len(bands), *geobox.shape), np.nan, dtype=np.float32)
        empty = np.ones(geobox.shape, bool)
        for dem in self.dems:
            elevation = self._elevation_of(dem, wide)
            here = np.isfinite(elevation[margin:-margin, margin:-margin]) & empty
            if not here.any():
                continue
            layers = _layers(elevation.astype(np.float64), bands, geobox, margin, radius, steps)
            out[:, here] = layers[:, here]
            empty &= ~here
            if not empty.any():
                break
        return out


def exposure(slope: npt.ArrayLike, aspect: npt.ArrayLike) -> tuple[FloatValues, FloatValues]:
    """Northness and eastness from slope and aspect (degrees; aspect clockwise from north, downhill)."""
    steepness = np.sin(np.radians(slope))
    return np.cos(np.radians(aspect)) * steepness, np.sin(np.radians(aspect)) * steepness


def heat_load_index(slope: npt.ArrayLike, aspect: npt.ArrayLike, latitude: npt.ArrayLike) -> FloatValues:
    """Heat load of McCune & Keon (2002), equation 1: potential direct radiation with aspect folded about NE-SW.

    Slope 0-90, aspect and latitude (0-60 N) in degrees; the result is in MJ cm-2 yr-1, largest on south-west slopes.
    """
    s, f, lat = np.radians(slope), np.radians(np.abs(180 - np.abs(np.asarray(aspect) % 360 - 225))), np.radians(latitude)
    return np.exp(
        -1.467
        + 1.582 * np.cos(lat) * np.cos(s)
        - 1.500 * np.cos(f) * np.sin(s) * np.sin(lat)
        - 0.262 * np.sin(lat) * np.sin(s)
        + 0.607 * np.sin(f) * np.sin(s)
    )


def wetness(elevation: FloatValues, cell: float, steps: int) -> FloatValues:
    """Topographic wetness index ln(a / tan(slope)) (Beven & Kirkby 1979), ln(m): (y, x) -> (y, x) less `steps` + 1 cells a side.

    `a` is the specific catchment area, m: area drained per metre of contour. Water leaves a cell to all its lower neighbours in
    proportion to tan(slope) times the length of contour towards them, 1/2 and sqrt(2)/4 of a cell (Quinn et al. 1991, Hydrol.
    Process. 5:59); the contour of a cell is taken as its side. Upslope area counts only from where the water's way to the cell
    has at most `steps` cells, so that the index is a property of a known surrounding and tiles agree on it: hillslopes, gullies
    and the sides of valleys are complete, the floor of a large valley is wet, but not wetter the larger the river. Hollows
    are not filled: their water stays in them. tan(slope) is at least 0.001, and a missing neighbour (outside the DEM) gives
    and takes no water.
    """
    neighbours = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    height, width = elevation.shape
    inner = (slice(1, -1), slice(1, -1))

    def beside(array: FloatValues, dy: int, dx: int) -> FloatValues:
        return array[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]

    falls = []
    for dy, dx in neighbours:
        length, contour = (1.0, 0.5) if not (dy and dx) else (2**0.5, 2**0.5 / 4)
        fall = (elevation[inner] - beside(elevation, dy, dx)) / (length * cell) * contour
        falls.append(np.where(fall > 0, fall, 0.0))  # NaN, a missing neighbour, is no fall
    total = sum(falls[1:], falls[0])
    shares = []
    for fall in falls:
        share = np.zeros(elevation.shape)
        share[inner] = fall / np.where(total > 0, total, 1.0)
        shares.append(share)
    area = np.ones(elevation.shape)
    for _ in range(steps):
        inflow = np.ones((height - 2, width - 2))
        for (dy, dx), share in zip(neighbours, shares):
            inflow += beside(area, -dy, -dx) * beside(share, -dy, -dx)  # from the neighbour whose water goes this way
        area[inner] = inflow
    east, north = _gradient(elevation, cell)
    crop = (slice(steps + 1, -steps - 1), slice(steps + 1, -steps - 1))
    tangent = np.maximum(np.hypot(east, north), _FLATTEST)[crop]
    return np.where(np.isfinite(elevation[crop]), np.log(area[crop] * cell / tangent), np.nan)


def _facing(slope: FloatValues, aspect: FloatValues) -> dict[str, FloatValues]:
    """Bands that follow from slope and aspect (degrees)."""
    northness, eastness = exposure(slope, aspect)
    has_aspect = np.where(slope > 0, 1.0, np.where(slope == 0, 0.0, np.nan))
    sine, cosine = (has_aspect * f(np.radians(aspect)) for f in (np.sin, np.cos))
    return {"northness": northness, "eastness": eastness, "aspect_sin": sine, "aspect_cos": cosine}


def _layers(elevation: FloatValues, bands: Sequence[str], geobox: GeoBox, margin: int, radius: int, steps: int) -> FloatArray:
    """Bands of one DEM: elevation with margin (y, x) -> (band, y, x) of the inner cells."""
    cell = abs(geobox.resolution.x)

    def around(reach: int) -> FloatValues:
        crop = slice(margin - reach, elevation.shape[0] - margin + reach), slice(margin - reach, elevation.shape[1] - margin + reach)
        return elevation[crop]

    east, north = (g[1:-1, 1:-1] for g in _gradient(around(1), cell))
    slope = np.degrees(np.arctan(np.hypot(east, north)))
    latitude, convergence = _latitude_and_convergence(geobox)
    aspect = np.degrees(np.arctan2(-east, -north)) + convergence
    value = {"elevation": around(0), "slope": slope} | _facing(slope, aspect)
    if "tpi" in bands:
        value["tpi"] = around(0) - _window_mean(around(radius), radius)[radius:-radius, radius:-radius]
    if "twi" in bands:
        value["twi"] = wetness(around(steps + 1), cell, steps)
    if "heat_load" in bands:
        value["heat_load"] = heat_load_index(slope, aspect, latitude)
    return np.stack([value[band] for band in bands]).astype(np.float32)


def _gradient(z: FloatValues, cell: float) -> tuple[FloatValues, FloatValues]:
    """Rise per metre towards grid east and grid north, by Horn's 3 x 3 weights; NaN where a neighbour is missing."""
    smooth, difference = [1.0, 2.0, 1.0], [-1.0, 0.0, 1.0]
    padded = np.pad(z, 1, constant_values=np.nan)
    east = correlate1d(correlate1d(padded, smooth, axis=0), difference, axis=1) / (8 * cell)
    south = correlate1d(correlate1d(padded, smooth, axis=1), difference, axis=0) / (8 * cell)
    return east[1:-1, 1:-1], -south[1:-1, 1:-1]


def _window_mean(z: FloatValues, radius: int) -> FloatValues:
    """Mean of the known cells in a square window; NaN where fewer than half are known.

    Sums are taken cell by cell and not as running sums, so that the result does not depend on where the array begins.
    """
    ones = np.ones(2 * radius + 1)
    known = np.isfinite(z).astype(np.float64)
    total, count = np.where(known > 0, z, 0.0).astype(np.float64), known
    for axis in (0, 1):
        total = correlate1d(total, ones, axis=axis, mode="constant")
        count = correlate1d(count, ones, axis=axis, mode="constant")
    return np.where(count >= ones.size**2 / 2, total / np.maximum(count, 1.0), np.nan)


def _latitude_and_convergence(geobox: GeoBox) -> tuple[FloatValues, FloatValues]:
    """Latitude and the azimuth of grid north (degrees clockwise from true north) of every cell, (y, x) each."""
    y, x = (geobox.coordinates[d].values for d in geobox.dimensions)
    xs, ys = np.meshgrid(x, y)
    assert geobox.crs is not None
    to_geographic = geobox.crs.transformer_to_crs(CRS("EPSG:4326"))
    lon, lat = (np.asarray(v) for v in to_geographic(xs.ravel(), ys.ravel()))
    lon_north, lat_north = (np.asarray(v) for v in to_geographic(xs.ravel(), ys.ravel() + 100 * abs(geobox.resolution.y)))
    convergence = np.degrees(np.arctan2((lon_north - lon) * np.cos(np.radians(lat)), lat_north - lat))
    return lat.reshape(geobox.shape), convergence.reshape(geobox.shape)


def _latitude(x: FloatValues, y: FloatValues, crs: str) -> FloatValues:
    finite = np.isfinite(x) & np.isfinite(y)
    latitude = np.full(x.shape, np.nan)
    latitude[finite] = CRS(crs).transformer_to_crs(CRS("EPSG:4326"))(x[finite], y[finite])[1]
    return latitude
