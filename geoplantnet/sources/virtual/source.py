"""The sources of a virtual landscape: what a cube would read from satellites and archives, here simulated.

All of them read any north-up GeoBox in EPSG:3035. On pixels that are whole multiples of the native ones and share their
lattice a value is the mean of the native pixels with data; on any other pixels it is bilinear between native centres at
the pixel's own centre. Either way it depends on the pixel alone: a window of a read equals the read of the window.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from geoplantnet.errors import CrsError, NoDataError, RasterError
from geoplantnet.sources.virtual import imagery, land_cover, noise, relief
from geoplantnet.sources.virtual.landscape import CELL, CRS, PIXEL, VirtualLandscape
from geoplantnet.sources.virtual.noise import Field, Pixels

_BLOCK_ROWS = 500
"""Native rows worked at a time when a coarser GeoBox is averaged, so that memory stays small."""


@dataclass(frozen=True)
class VirtualSource(ABC):
    """What all virtual sources share; a subclass says what its native pixels hold."""

    landscape: VirtualLandscape

    native: ClassVar[int] = CELL
    """Side of a native pixel, metres."""
    title: ClassVar[str]

    @property
    @abstractmethod
    def bands(self) -> tuple[str, ...]:
        """Names, in the order of the `band` axis."""

    @property
    def times(self) -> npt.NDArray[np.datetime64] | None:
        """First days of the periods of the `time` axis (UTC), or None where there is none."""
        return None

    def read(self, geobox: GeoBox) -> xr.DataArray:
        """Values on `geobox`: float32 (band, y, x) or (time, band, y, x), rows north to south, NaN = no data.

        Raises CrsError for another CRS, RasterError for pixels that are not north-up squares, NoDataError when the
        GeoBox lies wholly outside the landscape.
        """
        size = _check(geobox)
        self._require_overlap(geobox)
        height, width = geobox.shape
        west, north = geobox.affine.c, geobox.affine.f
        k = round(size / self.native)
        aligned = k >= 1 and size == k * self.native and west % self.native == 0 and north % self.native == 0
        values = (
            self._averaged(int(west) // self.native, int(-north) // self.native, k, height, width) if aligned else self._between(geobox)
        )
        return self._labelled(values, geobox)

    def at(self, points: pd.DataFrame) -> Field:
        """Value of the native pixel holding each point (`x`, `y` in EPSG:3035): float32 (n, band) or (n, time, band).

        NaN where a point has no coordinates or lies outside the landscape.
        """
        x, y = points["x"].to_numpy(float), points["y"].to_numpy(float)
        west, south, east, north = self.landscape.extent
        inside = (x >= west) & (x < east) & (y > south) & (y <= north)
        axes = (len(self.bands),) if self.times is None else (len(self.times), len(self.bands))
        out = np.full((len(points), *axes), np.nan, np.float32)
        if inside.any():
            out[inside] = np.moveaxis(self._values(Pixels.holding(self.native, x[inside], y[inside])), -1, 0)
        return out

    @abstractmethod
    def _values(self, pixels: Pixels) -> Field:
        """Native values, (..., band, y, x) for a grid and (..., band, n) for points, all inside the extent."""

    def _window(self, col: int, row: int, height: int, width: int) -> Field:
        """Native values of a window, NaN where it leaves the extent."""
        west, south, east, north = (b // self.native for b in self.landscape.extent)
        left, right = max(col, west), min(col + width, east)
        top, bottom = max(row, -north), min(row + height, -south)
        axes = (len(self.bands),) if self.times is None else (len(self.times), len(self.bands))
        if left >= right or top >= bottom:
            return np.full((*axes, height, width), np.nan, np.float32)
        values = self._values(Pixels.grid(self.native, left, top, right - left, bottom - top))
        if (left, top, right, bottom) == (col, row, col + width, row + height):
            return values
        out = np.full((*axes, height, width), np.nan, np.float32)
        out[..., top - row : bottom - row, left - col : right - col] = values
        return out

    def _averaged(self, col: int, row: int, k: int, height: int, width: int) -> Field:
        if k == 1:
            return self._window(col, row, height, width)
        rows = max(1, _BLOCK_ROWS // k)
        strips = []
        for top in range(0, height, rows):
            n = min(rows, height - top)
            native = self._window(col, row + top * k, n * k, width * k)
            strips.append(_block_mean(native, k))
        return np.concatenate(strips, axis=-2)

    def _between(self, geobox: GeoBox) -> npt.NDArray[np.floating]:
        x = geobox.affine.c + (np.arange(geobox.shape[1]) + 0.5) * geobox.affine.a
        y = geobox.affine.f + (np.arange(geobox.shape[0]) + 0.5) * geobox.affine.e
        u, v = x / self.native - 0.5, -y / self.native - 0.5
        i, j = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
        fx, fy = (u - i).astype(np.float32), (v - j).astype(np.float32)[:, None]
        col, row = int(i[0]), int(j[0])
        native = self._window(col, row, int(j[-1]) - row + 2, int(i[-1]) - col + 2)
        lines = native[..., i - col] * (1 - fx) + native[..., i - col + 1] * fx
        return lines[..., j - row, :] * (1 - fy) + lines[..., j - row + 1, :] * fy

    def _require_overlap(self, geobox: GeoBox) -> None:
        box = geobox.boundingbox
        west, south, east, north = self.landscape.extent
        if box.left >= east or box.right <= west or box.bottom >= north or box.top <= south:
            asked = tuple(round(b) for b in (box.left, box.bottom, box.right, box.top))
            raise NoDataError(
                f"{self.title}: the asked extent {asked} lies wholly outside the virtual landscape, whose bounds are "
                f"{self.landscape.bounds} with data in {self.landscape.extent} (EPSG:3035); ask inside it or make a landscape there"
            )

    def _labelled(self, values: npt.NDArray[np.floating], geobox: GeoBox) -> xr.DataArray:
        dims: tuple[str, ...] = ("band", "y", "x")
        coords: dict = {**xr_coords(geobox), "band": list(self.bands)}
        if self.times is not None:
            dims, coords["time"] = ("time", *dims), self.times
        provenance = [{**self.landscape.provenance[0], "title": self.title}, *self.landscape.provenance[1:]]
        return xr.DataArray(np.ascontiguousarray(values, np.float32), dims=dims, coords=coords, attrs={"provenance": provenance})


@dataclass(frozen=True)
class VirtualSentinel2(VirtualSource):
    """A cloud-free summer mosaic at 10 m, with some gaps: reflectance (0..1) of B02, B03, B04, B08."""

    native: ClassVar[int] = PIXEL
    title: ClassVar[str] = "Virtual Sentinel-2 (simulated imagery)"

    @property
    def bands(self) -> tuple[str, ...]:
        return imagery.SENTINEL2_BANDS

    def _values(self, pixels: Pixels) -> Field:
        return imagery.sentinel2(self.landscape.layers, pixels, self.landscape.stream(1))


@dataclass(frozen=True)
class VirtualLandsat(VirtualSource):
    """Quarterly composites over two years on the 50 m cells: reflectance (0..1) of blue, green, red, nir, swir1, swir2.

    Quarters start in December, March, June and September; phenology follows land cover, snow follows elevation, clouds
    leave NaN, most of all in winter.
    """

    title: ClassVar[str] = "Virtual Landsat (simulated imagery)"
    quarters: ClassVar[int] = 8

    @property
    def bands(self) -> tuple[str, ...]:
        return imagery.LANDSAT_BANDS

    @property
    def times(self) -> npt.NDArray[np.datetime64]:
        return (np.datetime64("2019-12") + 3 * np.arange(self.quarters)).astype("datetime64[ns]")

    def _values(self, pixels: Pixels) -> Field:
        seed = self.landscape.stream(2)
        return np.stack([imagery.landsat(self.landscape.layers, pixels, seed, q % 4, q) for q in range(self.quarters)])


@dataclass(frozen=True)
class VirtualClimate(VirtualSource):
    """Monthly climate of two years at 1 km: tas, tasmin, tasmax (degrees Celsius) and pr (mm a month)."""

    native: ClassVar[int] = 1_000
    title: ClassVar[str] = "Virtual climate (simulated)"
    months: ClassVar[int] = 24

    @property
    def bands(self) -> tuple[str, ...]:
        return ("tas", "tasmin", "tasmax", "pr")

    @property
    def times(self) -> npt.NDArray[np.datetime64]:
        return (np.datetime64("2020-01") + np.arange(self.months)).astype("datetime64[ns]")

    def _values(self, pixels: Pixels) -> Field:
        layers = self.landscape.layers
        setting = layers.climate.taken(lambda layer: noise.nearest(layer, layers.climate_origin, 1_000, pixels))
        seed = self.landscape.stream(3)
        out = np.empty((self.months, 4, *pixels.shape), np.float32)
        for t in range(self.months):
            # A month's departure from normal is a smooth field: its weather.
            warm, wet = (noise.smooth(pixels, 64_000, seed + 2 * t + k) for k in (0, 1))
            mean = setting.temperature(t % 12) + np.float32(1.3) * warm
            half = setting.daily_range(t % 12) / 2
            out[t] = mean, mean - half, mean + half, setting.precipitation(t % 12) * np.exp(np.float32(0.35) * wet)
        return out


@dataclass(frozen=True)
class VirtualTerrain(VirtualSource):
    """Terrain at 50 m: elevation (m), slope (degrees), northness and eastness (sine of slope times cosine, sine of aspect),
    tpi (m above the mean of 2 km squares), twi (ln m), heat_load (MJ cm-2 yr-1).
    """

    title: ClassVar[str] = "Virtual landscape: terrain"

    @property
    def bands(self) -> tuple[str, ...]:
        return ("elevation", "slope", "northness", "eastness", "tpi", "twi", "heat_load")

    def at(self, points: pd.DataFrame) -> Field:
        """Value of the 50 m cell holding each point, float32 (n, band), NaN outside; a measured elevation, slope or aspect wins.

        Northness, eastness and heat load follow a measured slope or aspect.
        """
        out = super().at(points)
        inside = np.isfinite(out[:, 0])
        x, y = points["x"].to_numpy(float)[inside], points["y"].to_numpy(float)[inside]
        layers, cells = self.landscape.layers, Pixels.holding(CELL, x, y)
        value = {
            name: noise.nearest(layers.terrain[name], layers.origin, CELL, cells) for name in ("elevation", "slope", "aspect", "latitude")
        }
        measured = {name: _measured(points, name)[inside] for name in ("elevation", "slope", "aspect")}
        for name, surveyed in measured.items():
            value[name] = np.where(np.isfinite(surveyed), surveyed, value[name]).astype(np.float32)
        turned = np.isfinite(measured["slope"]) | np.isfinite(measured["aspect"])
        north, east = relief.exposure(value["slope"], value["aspect"])
        heat = relief.heat_load(value["slope"], value["aspect"], value["latitude"])
        index = {band: i for i, band in enumerate(self.bands)}
        known = out[inside]
        known[:, index["elevation"]], known[:, index["slope"]] = value["elevation"], value["slope"]
        for band, follows in (("northness", north), ("eastness", east), ("heat_load", heat)):
            known[turned, index[band]] = follows[turned]
        out[inside] = known
        return out

    def _values(self, pixels: Pixels) -> Field:
        layers = self.landscape.layers
        return np.stack([noise.nearest(layers.terrain[band], layers.origin, CELL, pixels) for band in self.bands])


@dataclass(frozen=True)
class VirtualBioclim(VirtualSource):
    """Annual climate on the relief at 50 m: bio1 mean temperature, bio5 and bio6 maximum and minimum of the warmest and
    coldest month (degrees Celsius), bio12 annual and bio18 June-to-August precipitation (mm), gdd5 degree days above 5 (K d).
    """

    title: ClassVar[str] = "Virtual bioclimate (simulated)"

    @property
    def bands(self) -> tuple[str, ...]:
        return ("bio1", "bio5", "bio6", "bio12", "bio18", "gdd5")

    def _values(self, pixels: Pixels) -> Field:
        layers = self.landscape.layers
        return np.stack([noise.nearest(layers.bioclim[band], layers.origin, CELL, pixels) for band in self.bands])


@dataclass(frozen=True)
class VirtualLandCover(VirtualSource):
    """Shares (0..1) of land-cover classes in each 50 m cell; they add up to 1. A band is a class."""

    title: ClassVar[str] = "Virtual land cover (simulated)"

    @property
    def bands(self) -> tuple[str, ...]:
        return land_cover.CLASSES

    def _values(self, pixels: Pixels) -> Field:
        return self.landscape.layers.land_cover(pixels)


def _check(geobox: GeoBox) -> float:
    """Pixel size, metres. Raises CrsError or RasterError for what a virtual source cannot read."""
    if geobox.crs is None or geobox.crs != CRS:
        raise CrsError(f"virtual sources read GeoBoxes in {CRS}, got {geobox.crs}; reproject the request")
    affine = geobox.affine
    if affine.b or affine.d or affine.a <= 0 or affine.a != -affine.e:
        raise RasterError(f"virtual sources read north-up square pixels, got the transform {tuple(affine)[:6]}")
    return float(affine.a)


def _block_mean(values: Field, k: int) -> Field:
    """Mean over k x k blocks of the pixels with data, NaN where there are none: (..., k y, k x) -> (..., y, x)."""
    *axes, height, width = values.shape
    blocks = values.reshape(*axes, height // k, k, width // k, k)
    known = np.isfinite(blocks)
    count = known.sum(axis=(-3, -1))
    total = np.where(known, blocks, 0).sum(axis=-1, dtype=np.float64).sum(axis=-2)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _measured(points: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    return points[name].to_numpy(float) if name in points else np.full(len(points), np.nan)
