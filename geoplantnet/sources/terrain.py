"""Terrain from digital elevation models: elevation, slope, exposure, relative position, heat load."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from scipy.ndimage import correlate1d

from geoplantnet.errors import UsageError
from geoplantnet.grid.raster import FloatArray, Resampling, read_onto
from geoplantnet.sources.raster import as_array, at_cells, check_plausible, measured, provenance, xy_of

FloatValues = npt.NDArray[np.floating]

_PLAUSIBLE = (-500.0, 9000.0)  # metres above sea level: the Dead Sea to Everest


@dataclass(frozen=True, kw_only=True)
class TerrainSource:
    """Terrain on the cells of the grid. Several DEMs: the first with data wins; outside every DEM, NaN.

    Bands: `elevation` m; `slope` degrees (Horn 1981, Proc. IEEE 69:14); `northness` = cos(aspect) sin(slope) and
    `eastness` = sin(aspect) sin(slope), aspect clockwise from true north, downhill; `tpi`, topographic position index, m:
    elevation minus its mean in a square window (Weiss 2001); `heat_load`, McCune & Keon 2002 (J. Veg. Sci. 13:603).

    Each DEM is interpolated onto the cells and differentiated there by itself, so no cliff appears where two meet.
    """

    dems: tuple[str | os.PathLike[str], ...]
    resampling: Resampling = "cubic"
    """Onto finer cells (bilinear would make facets of the DEM's pixels); a DEM finer than half a cell is averaged."""
    tpi_radius: float = 500.0
    """Half side of the window of `tpi`, metres."""
    crs: str = "EPSG:3035"
    """CRS of the points given to `at`: the grid's."""
    cell_size: float = 50.0
    """Side of the cells that hold the points given to `at`, metres."""
    credit: str = ""
    licence: str = ""
    driver: str = "GTiff"

    def __post_init__(self) -> None:
        if isinstance(self.dems, str | os.PathLike) or not self.dems:
            raise UsageError(f"dems must be a tuple of paths, at least one, got {self.dems!r}")
        object.__setattr__(self, "dems", tuple(self.dems))

    @property
    def bands(self) -> tuple[str, ...]:
        return ("elevation", "slope", "northness", "eastness", "tpi", "heat_load")

    def read(self, geobox: GeoBox) -> xr.DataArray:
        """float32 (band, y, x). Raises RasterError, CrsError."""
        inputs = [provenance(dem, self.credit, self.licence) for dem in self.dems]
        return as_array(self._terrain(geobox), self.bands, geobox, inputs)

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
        `tpi` is a property of the surroundings: NaN where no DEM reaches.
        """
        cells = at_cells(self._terrain, points, bands=len(self.bands), crs=self.crs, cell_size=self.cell_size).astype(np.float64)
        elevation, slope, northness, eastness, tpi, heat_load = cells.T
        aspect = np.degrees(np.arctan2(eastness, northness))
        plot_slope, plot_aspect = measured(points, "slope"), measured(points, "aspect")
        slope = np.where(np.isfinite(plot_slope), plot_slope, slope)
        aspect = np.where(np.isfinite(plot_aspect), plot_aspect, aspect)
        aspect = np.where((slope == 0) & ~np.isfinite(aspect), 0.0, aspect)
        surveyed = np.isfinite(plot_slope) | np.isfinite(plot_aspect)
        if surveyed.any():
            x, y = xy_of(points)
            north, east = exposure(slope, aspect)
            northness, eastness = np.where(surveyed, north, northness), np.where(surveyed, east, eastness)
            heat_load = np.where(surveyed, heat_load_index(slope, aspect, _latitude(x, y, self.crs)), heat_load)
        plot_elevation = measured(points, "elevation")
        elevation = np.where(np.isfinite(plot_elevation), plot_elevation, elevation)
        return np.stack([elevation, slope, northness, eastness, tpi, heat_load], axis=1).astype(np.float32)

    def elevation_at(self, points: pd.DataFrame) -> FloatArray:
        """Elevation of points, metres: measured, else the cell's. float32 (n,)."""
        cells = at_cells(lambda box: self.elevation(box)[None], points, bands=1, crs=self.crs, cell_size=self.cell_size)[:, 0]
        plot = measured(points, "elevation")
        return np.where(np.isfinite(plot), plot, cells).astype(np.float32)

    def _elevation_of(self, dem: str | os.PathLike[str], geobox: GeoBox) -> FloatArray:
        elevation = read_onto(dem, geobox, bands=[1], resampling=self.resampling, driver=self.driver)[0]
        check_plausible(elevation, _PLAUSIBLE, what="elevation (m)", path=dem)
        return elevation

    def _terrain(self, geobox: GeoBox) -> FloatArray:
        cell = abs(geobox.resolution.x)
        margin = max(1, round(self.tpi_radius / cell))
        wide = geobox.pad(margin)
        inner = (slice(margin, -margin), slice(margin, -margin))
        out = np.full((len(self.bands), *geobox.shape), np.nan, dtype=np.float32)
        for dem in self.dems:
            elevation = self._elevation_of(dem, wide)
            if not np.isfinite(elevation[inner]).any():
                continue
            layers = _layers(elevation, inner, geobox, margin)
            empty = ~np.isfinite(out[0])
            out[:, empty] = layers[:, empty]
            if np.isfinite(out[0]).all():
                break
        return out


def exposure(slope: npt.ArrayLike, aspect: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Northness and eastness from slope and aspect (degrees; aspect clockwise from north, downhill)."""
    steepness = np.sin(np.radians(slope))
    return np.cos(np.radians(aspect)) * steepness, np.sin(np.radians(aspect)) * steepness


def heat_load_index(slope: npt.ArrayLike, aspect: npt.ArrayLike, latitude: npt.ArrayLike) -> npt.NDArray[np.float64]:
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


def _layers(elevation: FloatArray, inner: tuple[slice, slice], geobox: GeoBox, margin: int) -> FloatArray:
    """All bands of one DEM: elevation with margin (y, x) -> (band, y, x) of the inner cells."""
    cell = abs(geobox.resolution.x)
    east, north = _gradient(elevation.astype(np.float64), cell)
    east, north = east[inner], north[inner]
    slope = np.degrees(np.arctan(np.hypot(east, north)))
    latitude, convergence = _latitude_and_convergence(geobox)
    aspect = np.degrees(np.arctan2(-east, -north)) + convergence
    z = elevation[inner]
    tpi = z - _window_mean(elevation, margin)[inner]
    return np.stack([z, slope, *exposure(slope, aspect), tpi, heat_load_index(slope, aspect, latitude)]).astype(np.float32)


def _gradient(z: npt.NDArray[np.float64], cell: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rise per metre towards grid east and grid north, by Horn's 3 x 3 weights; NaN where a neighbour is missing."""
    smooth, difference = [1.0, 2.0, 1.0], [-1.0, 0.0, 1.0]
    padded = np.pad(z, 1, constant_values=np.nan)
    east = correlate1d(correlate1d(padded, smooth, axis=0), difference, axis=1) / (8 * cell)
    south = correlate1d(correlate1d(padded, smooth, axis=1), difference, axis=0) / (8 * cell)
    return east[1:-1, 1:-1], -south[1:-1, 1:-1]


def _window_mean(z: FloatArray, radius: int) -> npt.NDArray[np.float64]:
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


def _latitude_and_convergence(geobox: GeoBox) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Latitude and the azimuth of grid north (degrees clockwise from true north) of every cell, (y, x) each."""
    y, x = (geobox.coordinates[d].values for d in geobox.dimensions)
    xs, ys = np.meshgrid(x, y)
    assert geobox.crs is not None
    to_geographic = geobox.crs.transformer_to_crs(CRS("EPSG:4326"))
    lon, lat = (np.asarray(v) for v in to_geographic(xs.ravel(), ys.ravel()))
    lon_north, lat_north = (np.asarray(v) for v in to_geographic(xs.ravel(), ys.ravel() + 100 * abs(geobox.resolution.y)))
    convergence = np.degrees(np.arctan2((lon_north - lon) * np.cos(np.radians(lat)), lat_north - lat))
    return lat.reshape(geobox.shape), convergence.reshape(geobox.shape)


def _latitude(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], crs: str) -> npt.NDArray[np.float64]:
    finite = np.isfinite(x) & np.isfinite(y)
    latitude = np.full(x.shape, np.nan)
    latitude[finite] = CRS(crs).transformer_to_crs(CRS("EPSG:4326"))(x[finite], y[finite])[1]
    return latitude
