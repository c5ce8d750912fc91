"""Sentinel-2 level 2A: surface reflectance, free of cloud, shadow and nonsense by its scene classification; one scene or many."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox

from geoplantnet.errors import UsageError
from geoplantnet.grid.raster import FloatArray, read_onto, sample_at
from geoplantnet.sources.imagery import StacImagery
from geoplantnet.sources.raster import as_array, check_plausible, provenance, xy_of
from geoplantnet.sources.scenes import INVALID_SCL

__all__ = ["INVALID_SCL", "Sentinel2Scene", "StacSentinel2"]

CREDIT = "Contains modified Copernicus Sentinel data"
LICENCE = "Copernicus Sentinel data: free, full and open with attribution"

_PLAUSIBLE = (-0.3, 2.5)  # reflectance: snow and glint exceed 1; offsets make slightly negative values
_NATIVE = 10.0  # metres


@dataclass(frozen=True, kw_only=True)
class Sentinel2Scene:
    """One scene. Reflectance = stored * scale + offset, float32, NaN where the scene classification (SCL) is not usable."""

    path: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]]
    """One file with the bands of `stored`, or one file a band: {"B02": ..., "B03": ..., ..., "SCL": ...}."""
    stored: tuple[str, ...] = ("B02", "B03", "B04", "B08", "SCL")
    """Names of the bands of a single file, in its order."""
    bands: tuple[str, ...] = ("B02", "B03", "B04", "B08")
    """What `read` and `at` give, in this order."""
    scale: float = 1e-4
    offset: float = 0.0
    """Processing baselines from 04.00 (25 January 2022) store reflectance * 10000 + 1000: offset -0.1, unless already removed."""
    crs: str = "EPSG:3035"
    """CRS of the points given to `at`: the grid's."""
    credit: str = CREDIT
    licence: str = LICENCE
    driver: str = "GTiff"

    def __post_init__(self) -> None:
        known = tuple(self.path) if isinstance(self.path, Mapping) else self.stored
        missing = [b for b in (*self.bands, "SCL") if b not in known]
        if missing or not self.bands:
            raise UsageError(
                f"scene has bands {known}, needs {missing or 'at least one band'}; name the file's bands in `stored` or map them to files"
            )
        if isinstance(self.path, Mapping):
            object.__setattr__(self, "path", dict(self.path))

    def __hash__(self) -> int:
        return hash((str(self.path), self.stored, self.bands, self.scale, self.offset))

    def read(self, geobox: GeoBox) -> xr.DataArray:
        """Reflectance, float32 (band, y, x). Meant for 10 m; coarser pixels get the mean of their usable 10 m pixels.

        Reflectance is interpolated bilinearly, the scene classification is not. Raises RasterError, CrsError.
        """
        factor = max(1, int(abs(geobox.resolution.x) // _NATIVE))
        fine = geobox if factor == 1 else geobox.zoom_out(1 / factor)
        values = self._reflectance(fine)
        if factor > 1:
            height, width = geobox.shape
            values = block_mean(values, height, width)
        return as_array(values, self.bands, geobox, self.provenance())

    def provenance(self) -> list[dict[str, str]]:
        """What `read` reads, with its credit."""
        files = dict.fromkeys(os.fspath(self._where(b)[0]) for b in (*self.bands, "SCL"))
        return [provenance(file, self.credit, self.licence) for file in files]

    def scl(self, geobox: GeoBox) -> FloatArray:
        """Scene classification: float32 (y, x), the class of the nearest pixel, NaN outside the scene."""
        path, index = self._where("SCL")
        return read_onto(path, geobox, bands=[index], resampling="nearest", driver=self.driver)[0]

    def at(self, points: pd.DataFrame) -> FloatArray:
        """Reflectance at points, float32 (n, band), NaN outside the scene or where it is not usable."""
        x, y = xy_of(points)
        path, index = self._where("SCL")
        scl = sample_at(path, x, y, self.crs, bands=[index], method="nearest", driver=self.driver)[:, 0]
        columns = []
        for name in self.bands:
            path, index = self._where(name)
            columns.append(sample_at(path, x, y, self.crs, bands=[index], driver=self.driver)[:, 0])
        return self._physical(np.stack(columns), scl).T.copy()

    def _where(self, band: str) -> tuple[str | os.PathLike[str], int]:
        """File and 1-based band number of a band."""
        if isinstance(self.path, Mapping):
            return self.path[band], 1
        return self.path, self.stored.index(band) + 1

    def _reflectance(self, geobox: GeoBox) -> FloatArray:
        if isinstance(self.path, Mapping):
            layers = [read_onto(self.path[b], geobox, bands=[1], driver=self.driver)[0] for b in self.bands]
            return self._physical(np.stack(layers), self.scl(geobox))
        indexes = [self._where(b)[1] for b in self.bands]
        return self._physical(read_onto(self.path, geobox, bands=indexes, driver=self.driver), self.scl(geobox))

    def _physical(self, stored: FloatArray, scl: FloatArray) -> FloatArray:
        """Stored values (band, ...) and scene classes (...) -> reflectance (band, ...)."""
        usable = np.isfinite(scl) & ~np.isin(scl, INVALID_SCL)
        values = np.where(usable, stored * np.float32(self.scale) + np.float32(self.offset), np.nan).astype(np.float32)
        for name, band in zip(self.bands, values):
            check_plausible(band, _PLAUSIBLE, what=f"reflectance of {name}", path=self._where(name)[0])
        return values


@dataclass(frozen=True, kw_only=True)
class StacSentinel2(StacImagery):
    """Median composites of level-2A scenes of a STAC catalog, clear by their SCL, made at 10 m.

    The offset of baseline 04.00 is decided scene by scene, by metadata and by the dark pixels seen (`sources.scenes`).
    """

    collection: str = "sentinel-2-l2a"
    bands: tuple[str, ...] = ("B02", "B03", "B04", "B08")
    mask: str = "SCL"
    credit: str = CREDIT
    licence: str = LICENCE

    __hash__ = StacImagery.__hash__


def block_mean(values: FloatArray, height: int, width: int) -> FloatArray:
    """Mean of the known values in each of height x width equal blocks: (band, y, x) -> (band, height, width)."""
    bands, y, x = values.shape
    blocks = values.reshape(bands, height, y // height, width, x // width)
    known = np.isfinite(blocks)
    total = np.where(known, blocks, 0.0).sum(axis=(2, 4), dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return (total / known.sum(axis=(2, 4))).astype(np.float32)
