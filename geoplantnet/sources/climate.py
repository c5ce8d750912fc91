"""Climate on the cells of the grid: a coarse reanalysis climatology brought to the elevation of each cell."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from geoplantnet.errors import RasterError, UsageError
from geoplantnet.grid.raster import FloatArray, interpolate, pixels_of, read_onto, read_whole, sample_at
from geoplantnet.sources.raster import NOWHERE, as_array, cells_of, check_plausible, measured, provenance
from geoplantnet.sources.terrain import TerrainSource

PathLike = str | os.PathLike[str]

DAYS = (31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
SUMMER, WINTER = (5, 6, 7), (11, 0, 1)

ALPINE_LAPSE_RATES = tuple(0.0056 + 0.0008 * math.cos(2 * math.pi * (month - 5) / 12) for month in range(12))
"""Fall of monthly mean temperature with elevation, January to December, K per metre.

The annual mean is the middle of the 5.4 to 5.8 K/km that Rolland (2003, J. Climate 16:1032) found at 640 stations of northern Italy, Tyrol
and Trentino-Upper Adige; the season (steepest in early summer, as he reports) is a cosine of ours whose half range of 0.8 K/km stands for the
valley inversions of winter. E-OBS over the Alps, by regression on its own elevation, agrees: 5.7 K/km for the year, 6.4 for the warmest
quarter, 4.8 for the coldest.
"""

ERA5_LAPSE_RATES = (0.00668, 0.00631, 0.00623, 0.00623, 0.00610, 0.00559, 0.00549, 0.00544, 0.00537, 0.00542, 0.00603, 0.00656)
"""Fall of ERA5's own monthly mean temperature (2000-2025) with its stand-in orography over the Alps, January to December, K per metre.

Fitted by us on the 297 pixels of 5.5-14 E, 45.5-48 N, beside a quadratic trend in longitude and latitude. ERA5 is too cold over high ground
in winter; taking its own dependence on elevation out, and Rolland's in, halves the error against E-OBS (over the Alps, root mean square:
year 1.0 -> 0.6 C, warmest quarter 1.8 -> 1.0 C, coldest 1.8 -> 1.3 C).
"""

_TEMPERATURE = (-50.0, 45.0)  # monthly means, degrees C: no kelvin
_PRECIPITATION = (0.0, 1500.0)  # monthly sums, mm
_ANNUAL_PRECIPITATION = 20.0  # mm a year: a whole climatology below it is in metres


@dataclass(frozen=True, kw_only=True)
class LapseRateClimate:
    """Monthly climatology (such as ERA5 at 0.25 degrees) brought to cells by monthly lapse rates.

    Temperature is reduced to sea level by the climatology's own lapse rates (`reduction_rates`), interpolated by a B-spline between the
    coarse pixels (no creases; it smooths the noise of the stand-in orography), and brought up to the cell by the rates observed in the
    mountains (`lapse_rates`). The elevation is the DEM's, or a point's own measured one, or, where neither exists, that of the reference
    DEM. The climatology carries no orography of its own: the mean of `reference_elevation` over each coarse pixel stands in for it, and
    where it is unknown (the sea) there is no climate. Precipitation is interpolated alike and not corrected for elevation.

    Bands: `bio1` annual mean temperature, degrees C; `bio5m` and `bio6m` mean temperature of the warmest and the coldest
    month; `gdd5` growing degree days above 5 degrees C from the monthly means, K d; `bio12` annual precipitation, mm;
    `bio18s` and `bio19w` precipitation of June to August and of December to February (BIO18 and BIO19 of WorldClim take
    the warmest and the coldest quarter, in the Alps nearly the same months).
    """

    temperature: PathLike
    """Twelve bands, January to December, degrees C whatever the file's attributes say."""
    precipitation: PathLike
    """Twelve bands on the same pixels, mm a month."""
    reference_elevation: PathLike
    """Coarse DEM, metres, in its first band."""
    terrain: TerrainSource | None = None
    lapse_rates: tuple[float, ...] = ALPINE_LAPSE_RATES
    """Fall of temperature with elevation in the mountains, K per metre, January to December."""
    reduction_rates: tuple[float, ...] = ERA5_LAPSE_RATES
    """Fall of the climatology's own temperature with its elevation, K per metre, January to December."""
    crs: str = "EPSG:3035"
    """CRS of the points given to `at`: the grid's."""
    cell_size: float = 50.0
    """Side of the cells that hold the points given to `at`, metres."""
    credit: str = ""
    licence: str = ""
    driver: str = "GTiff"

    def __post_init__(self) -> None:
        for name in ("lapse_rates", "reduction_rates"):
            if len(getattr(self, name)) != 12:
                raise UsageError(f"{name} need twelve values, January to December, got {len(getattr(self, name))}")

    @property
    def bands(self) -> tuple[str, ...]:
        return ("bio1", "bio5m", "bio6m", "gdd5", "bio12", "bio18s", "bio19w")

    def read(self, geobox: GeoBox) -> xr.DataArray:
        """float32 (band, y, x). Raises RasterError, CrsError."""
        y, x = (geobox.coordinates[d].values for d in geobox.dimensions)
        xs, ys = np.meshgrid(x, y)
        elevation = read_onto(self.reference_elevation, geobox, bands=[1], resampling="cubic", driver=self.driver)[0]
        if self.terrain is not None:
            fine = self.terrain.elevation(geobox)
            elevation = np.where(np.isfinite(fine), fine, elevation)
        assert geobox.crs is not None
        values = self._bioclim(xs.ravel(), ys.ravel(), geobox.crs, elevation.ravel())
        inputs = [provenance(p, self.credit, self.licence) for p in (self.temperature, self.precipitation)]
        inputs.append(provenance(self.reference_elevation))
        return as_array(values.reshape(-1, *geobox.shape), self.bands, geobox, inputs)

    def at(self, points: pd.DataFrame) -> FloatArray:
        """float32 (n, band): the climate of the cell that holds the point, at the point's measured elevation if it has one."""
        columns, rows = cells_of(points, self.cell_size)
        finite = columns != NOWHERE
        x = np.where(finite, (columns + 0.5) * self.cell_size, np.nan)
        y = np.where(finite, (rows + 0.5) * self.cell_size, np.nan)
        out = np.full((len(points), len(self.bands)), np.nan, dtype=np.float32)
        out[finite] = self._bioclim(x[finite], y[finite], CRS(self.crs), self._elevation_at(points, x, y)[finite]).T
        return out

    def _elevation_at(self, points: pd.DataFrame, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> FloatArray:
        """Measured, else the fine DEM's, else the reference's at the cell's centre (`x`, `y`): metres, (n,)."""
        elevation = measured(points, "elevation") if self.terrain is None else self.terrain.elevation_at(points)
        coarse = sample_at(self.reference_elevation, x, y, self.crs, bands=[1], method="cubic", driver=self.driver)[:, 0]
        return np.where(np.isfinite(elevation), elevation, coarse).astype(np.float32)

    def _bioclim(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], crs: CRS, elevation: FloatArray) -> FloatArray:
        """Positions (n,) in `crs` and their elevation (n,), metres -> float32 (band, n)."""
        files = (self.temperature, self.precipitation, self.reference_elevation)
        coarse, box = _at_sea_level(*(os.fspath(f) for f in files), self.reduction_rates, self.driver, *(_version(f) for f in files))
        monthly = interpolate(coarse, *pixels_of(box, x, y, crs), "cubic_spline")
        temperature = monthly[:12] - np.array(self.lapse_rates)[:, None] * elevation
        precipitation = np.where(np.isfinite(elevation), monthly[12:], np.nan)
        bands = (
            temperature.mean(axis=0),
            temperature.max(axis=0),
            temperature.min(axis=0),
            np.array(DAYS) @ np.maximum(temperature - 5.0, 0.0),
            precipitation.sum(axis=0),
            precipitation[list(SUMMER)].sum(axis=0),
            precipitation[list(WINTER)].sum(axis=0),
        )
        return np.stack(bands).astype(np.float32)


@lru_cache(maxsize=4)
def _at_sea_level(
    temperature: str, precipitation: str, reference: str, rates: tuple[float, ...], driver: str, *versions: tuple[int, int]
) -> tuple[FloatArray, GeoBox]:
    """Temperature at sea level (12) and precipitation (12) on the coarse pixels: float32 (24, y, x), and their GeoBox.

    A few MB, read once a process; `versions` (size, time of change) of the files are part of the key.
    """
    t, box = read_whole(temperature, driver=driver)
    p, box_of_p = read_whole(precipitation, driver=driver)
    for path, values in ((temperature, t), (precipitation, p)):
        if len(values) != 12:
            raise RasterError(f"{path} has {len(values)} bands, a monthly climatology has twelve, January to December")
    if box != box_of_p:
        raise RasterError(
            f"{temperature} {box.shape} and {precipitation} {box_of_p.shape} are not on the same pixels; warp one onto the other"
        )
    for month in range(12):
        check_plausible(t[month], _TEMPERATURE, what=f"band {month + 1}, monthly mean temperature in degrees C", path=temperature)
        check_plausible(p[month], _PRECIPITATION, what=f"band {month + 1}, monthly precipitation in mm", path=precipitation)
    wettest = np.nanmax(p.sum(axis=0), initial=-np.inf)
    if 0 <= wettest < _ANNUAL_PRECIPITATION:
        raise RasterError(
            f"{precipitation}: no pixel has more than {wettest:.3g} mm a year, at least {_ANNUAL_PRECIPITATION:g} is plausible; "
            "the values look like metres, multiply them by 1000"
        )
    orography = read_onto(reference, box, bands=[1], resampling="average", driver=driver)[0]
    sea_level = t + np.array(rates, np.float32)[:, None, None] * orography
    return np.concatenate([sea_level, p]).astype(np.float32), box


def _version(path: PathLike) -> tuple[int, int]:
    try:
        status = Path(path).stat()
    except OSError:
        return -1, -1  # reading it will say what is wrong
    return status.st_size, status.st_mtime_ns
