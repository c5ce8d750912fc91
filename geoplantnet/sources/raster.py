"""RasterSource: a local raster as a Source; and `at_cells`, the one way a gridded Source answers at points."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from geoplantnet.errors import RasterError, UsageError
from geoplantnet.grid.raster import FloatArray, Resampling, read_onto, sample_at

NOWHERE = np.iinfo(np.int64).min
"""Column and row of the cell of a point that is not finite."""
_BLOCK_CELLS = 128  # cells a side of the blocks in which scattered points are read


@dataclass(frozen=True)
class RasterSource:
    """A local raster of any CRS and resolution. Values are stored * scale + offset, float32, NaN where unknown."""

    path: str | os.PathLike[str]
    bands: tuple[str, ...]
    """Names for the raster's bands `indexes`, in that order."""
    _: KW_ONLY
    indexes: tuple[int, ...] | None = None
    """1-based bands of the file; default the first, second, ..."""
    scale: float = 1.0
    offset: float = 0.0
    resampling: Resampling = "bilinear"
    """See `grid.raster.read_onto`; "nearest" for classes."""
    plausible: tuple[float, float] | None = None
    """Lowest and highest believable value after scaling, inclusive: units in a file's attributes lie."""
    nodata: float | None = None
    """Replaces what the file declares."""
    crs: str = "EPSG:3035"
    """CRS of the points given to `at`: the grid's."""
    credit: str = ""
    licence: str = ""
    driver: str = "GTiff"

    def __post_init__(self) -> None:
        if not self.bands or (self.indexes is not None and len(self.indexes) != len(self.bands)):
            raise UsageError(f"{self.path}: {len(self.bands)} band names for band numbers {self.indexes}; give one name a band")

    def read(self, geobox: GeoBox) -> xr.DataArray:
        """float32 (band, y, x). Raises RasterError, CrsError."""
        stored = read_onto(self.path, geobox, bands=self._stored, resampling=self.resampling, driver=self.driver, nodata=self.nodata)
        return as_array(self._physical(stored, axis=0), self.bands, geobox, [self._provenance()])

    def at(self, points: pd.DataFrame) -> FloatArray:
        """float32 (n, band), interpolated at the points themselves. Raises RasterError, CrsError."""
        method = "bilinear" if self.resampling == "average" else self.resampling
        x, y = xy_of(points)
        stored = sample_at(self.path, x, y, self.crs, bands=self._stored, method=method, driver=self.driver, nodata=self.nodata)
        return self._physical(stored, axis=1)

    @property
    def _stored(self) -> tuple[int, ...]:
        return tuple(range(1, len(self.bands) + 1)) if self.indexes is None else self.indexes

    def _provenance(self) -> dict[str, str]:
        return provenance(self.path, self.credit, self.licence)

    def _physical(self, stored: FloatArray, axis: int) -> FloatArray:
        values = (stored * np.float32(self.scale) + np.float32(self.offset)).astype(np.float32)
        if self.plausible is not None:
            for name, band in zip(self.bands, np.moveaxis(values, axis, 0)):
                check_plausible(band, self.plausible, what=f"band {name}", path=self.path)
        return values


def at_cells(read: Callable[[GeoBox], FloatArray], points: pd.DataFrame, *, bands: int, crs: str, cell_size: float) -> FloatArray:
    """What `read` gives for the cells that hold the points: float32 (n, band), NaN where a point is not finite.

    Cells are those of the lattice anchored at (0, 0) with `cell_size` metres, so that a point gets exactly what a map
    shows there. Points are visited in blocks of cells; only the cells between the points of a block are read.
    """
    columns, rows = cells_of(points, cell_size)
    out = np.full((len(points), bands), np.nan, dtype=np.float32)
    finite = np.flatnonzero(columns != NOWHERE)
    if not len(finite):
        return out
    blocks = np.stack([columns[finite] // _BLOCK_CELLS, rows[finite] // _BLOCK_CELLS], axis=1)
    _, block_of = np.unique(blocks, axis=0, return_inverse=True)
    order = np.argsort(block_of, kind="stable")
    for members in np.split(finite[order], np.flatnonzero(np.diff(block_of[order])) + 1):
        c, r = columns[members], rows[members]
        west, north = c.min(), r.max() + 1
        affine = Affine(cell_size, 0, west * cell_size, 0, -cell_size, north * cell_size)
        values = read(GeoBox((int(north - r.min()), int(c.max() - west + 1)), affine, crs))
        out[members] = values[:, north - 1 - r, c - west].T
    return out


def cells_of(points: pd.DataFrame, cell_size: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Column (eastwards) and row (northwards) of the cells that hold the points, (n,) each; west and south edges belong.

    NOWHERE for a point that is not finite.
    """
    x, y = xy_of(points)
    finite = np.isfinite(x) & np.isfinite(y)
    columns, rows = np.full(len(x), NOWHERE), np.full(len(x), NOWHERE)
    columns[finite] = np.floor(x[finite] / cell_size).astype(np.int64)
    rows[finite] = np.floor(y[finite] / cell_size).astype(np.int64)
    return columns, rows


def xy_of(points: pd.DataFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Easting and northing of points, (n,) each. Raises UsageError when a column is missing."""
    missing = [c for c in ("x", "y") if c not in points]
    if missing:
        raise UsageError(
            f"points need columns x and y (easting, northing in the grid's CRS), missing {missing}; got {list(points.columns)}"
        )
    return points["x"].to_numpy(np.float64), points["y"].to_numpy(np.float64)


def measured(points: pd.DataFrame, column: str) -> npt.NDArray[np.float64]:
    """What a surveyor measured, (n,), NaN where not measured."""
    if column not in points:
        return np.full(len(points), np.nan)
    return pd.to_numeric(points[column], errors="coerce").to_numpy(np.float64)


def as_array(values: FloatArray, bands: Sequence[str], geobox: GeoBox, inputs: Sequence[Mapping[str, Any]]) -> xr.DataArray:
    """The DataArray a Source returns: (band, y, x) with coordinates and provenance."""
    y, x = (geobox.coordinates[d].values for d in geobox.dimensions)
    coords = {"band": list(bands), "y": y, "x": x}
    return xr.DataArray(values, dims=("band", "y", "x"), coords=coords, attrs={"provenance": [dict(i) for i in inputs]})


def provenance(path: str | os.PathLike[str], credit: str = "", licence: str = "") -> dict[str, str]:
    """One input as a JSON-able dict. The file's name, not where it lies: the same product on every machine."""
    return {"href": Path(path).name} | ({"credit": credit} if credit else {}) | ({"licence": licence} if licence else {})


def check_plausible(values: npt.NDArray[Any], plausible: tuple[float, float], *, what: str, path: str | os.PathLike[str]) -> None:
    """Raises RasterError when a finite value lies outside the believable range."""
    known = values[np.isfinite(values)]
    low, high = plausible
    if known.size and (known.min() < low or known.max() > high):
        value = known.min() if known.min() < low else known.max()
        raise RasterError(
            f"{path}, {what}: {value:.6g} is outside the plausible range {low:g}..{high:g}; its units, scale or nodata are not what was said"
        )
