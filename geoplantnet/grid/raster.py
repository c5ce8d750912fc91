"""Rasters onto the grid: read what a GeoBox or points need, from a raster of any CRS and resolution.

One engine serves both verbs: the wanted positions are transformed exactly (never approximated over a window) into the
raster's pixel coordinates, the pixels around them are read, and the value is interpolated there. So a window of a larger
read is bit for bit the read of the window, and `sample_at` at a cell's centre is `read_onto` of that cell.

A pixel is an area and is named by its centre: pixel (column 0, row 0) has its centre at (0.5, 0.5).
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from geoplantnet.errors import CrsError, RasterError, UsageError

Interpolation: TypeAlias = Literal["nearest", "bilinear", "cubic", "cubic_spline"]
Resampling: TypeAlias = Interpolation | Literal["average"]
Prepare: TypeAlias = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Native pixels (band, y, x), NaN = nodata -> (other band, y, x): applied before interpolation, pixel by pixel."""

FloatArray: TypeAlias = npt.NDArray[np.float32]
Positions: TypeAlias = npt.NDArray[np.float64]

_REACH = {"nearest": 0, "bilinear": 1, "cubic": 2, "cubic_spline": 2}  # pixels needed around the pixel that holds a position
_WINDOW_VALUES = 16_000_000  # most values of the source held at once: 64 MB of float32
_BLOCK_VALUES = 2_000_000  # most values of the target worked on at once: some 100 MB with the intermediates


def read_onto(
    path: str | os.PathLike[str],
    geobox: GeoBox,
    *,
    bands: Sequence[int] | None = None,
    resampling: Resampling = "bilinear",
    driver: str = "GTiff",
    nodata: float | None = None,
    prepare: Prepare | None = None,
) -> FloatArray:
    """Put a raster onto a GeoBox. Only the pixels needed are read. Returns float32 (band, y, x), NaN = no data.

    `bands` are 1-based (default all). `nodata` replaces what the file declares. `resampling` says how to interpolate:
    "nearest" for classes; "bilinear", "cubic" (Catmull-Rom: Keys 1981, a = -1/2) and "cubic_spline" (B-spline: smooths, never
    overshoots) as in GDAL for what varies smoothly, and these become "average" once a target pixel is at least twice a source pixel (side of a square of equal area), as "average"
    becomes "bilinear" when it is smaller than one. "average" is the mean of a lattice of samples inside the target pixel,
    about one a source pixel: exact where the two lattices nest. Missing neighbours lose their weight; a position whose own
    pixel is missing is NaN.

    Where the raster does not reach, the result is NaN (the caller knows whether that is an error). Raises CrsError for a
    raster that is not georeferenced, RasterError for one that cannot be read by `driver`.
    """
    if geobox.crs is None:
        raise CrsError("the target GeoBox has no CRS; build it with crs='EPSG:3035' or the grid's own CRS")
    with _opened(path, driver) as dataset:
        indexes = _indexes(dataset, bands)
        ratio = _target_to_source(dataset, geobox)
        method, lattice = _choose(resampling, ratio)
        to_source = geobox.crs.transformer_to_crs(CRS(dataset.crs.to_wkt()))
        top, bottom, left, right = _reached(dataset, geobox)
        nothing = _at_positions(dataset, indexes, np.empty(0), np.empty(0), method, nodata, prepare)
        out = np.full((len(nothing), *geobox.shape), np.nan, dtype=np.float32)
        offsets = (np.arange(lattice) + 0.5) / lattice
        width = right - left
        step = max(1, _BLOCK_VALUES // max(1, width * lattice * lattice * len(out)))
        columns_of_block = (np.arange(left, right)[:, None] + offsets).ravel()
        for first in range(top, bottom, step):
            last = min(first + step, bottom)
            columns, rows = np.meshgrid(columns_of_block, (np.arange(first, last)[:, None] + offsets).ravel())
            x, y = _times(geobox.affine, columns.ravel(), rows.ravel())
            fine = _at_positions(dataset, indexes, *_pixels(dataset, *to_source(x, y)), method, nodata, prepare)
            out[:, first:last, left:right] = _mean(fine.reshape(len(out), last - first, lattice, width, lattice))
    return out


def sample_at(
    path: str | os.PathLike[str],
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    crs: str | CRS,
    *,
    bands: Sequence[int] | None = None,
    method: Interpolation = "bilinear",
    driver: str = "GTiff",
    nodata: float | None = None,
    prepare: Prepare | None = None,
) -> FloatArray:
    """Values at points given in `crs` (easting, northing or lon, lat). Returns float32 (n, band), NaN outside or nodata.

    A point that is not finite gets NaN. Same interpolation and same errors as `read_onto`.
    """
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if xs.shape != ys.shape or xs.ndim != 1:
        raise UsageError(f"x and y must be one-dimensional and of one length, got shapes {xs.shape} and {ys.shape}")
    if method not in _REACH:
        raise UsageError(f"method {method!r} cannot sample at points; use one of {', '.join(_REACH)}")
    with _opened(path, driver) as dataset:
        to_source = CRS(crs).transformer_to_crs(CRS(dataset.crs.to_wkt()))
        finite = np.isfinite(xs) & np.isfinite(ys)
        columns, rows = np.full(xs.shape, np.nan), np.full(xs.shape, np.nan)
        columns[finite], rows[finite] = _pixels(dataset, *to_source(xs[finite], ys[finite]))
        return _at_positions(dataset, _indexes(dataset, bands), columns, rows, method, nodata, prepare).T.copy()


def read_whole(path: str | os.PathLike[str], *, bands: Sequence[int] | None = None, driver: str = "GTiff") -> tuple[FloatArray, GeoBox]:
    """A small raster as it is: float32 (band, y, x), NaN = no data, and its own GeoBox.

    Refuses (RasterError) what would not fit a worker's pocket: more than 16 million values.
    """
    with _opened(path, driver) as dataset:
        indexes = _indexes(dataset, bands)
        if dataset.width * dataset.height * len(indexes) > _WINDOW_VALUES:
            raise RasterError(f"{path} has {dataset.width} x {dataset.height} x {len(indexes)} values, too many to hold; use read_onto")
        values = _read(dataset, indexes, Window(0, 0, dataset.width, dataset.height), None)
        return values, GeoBox((dataset.height, dataset.width), dataset.transform, CRS(dataset.crs.to_wkt()))


def pixels_of(box: GeoBox, x: npt.ArrayLike, y: npt.ArrayLike, crs: CRS) -> tuple[Positions, Positions]:
    """Where points given in `crs` lie in a raster: column and row in pixels, (n,) each; centre of the first pixel = 0.5."""
    if box.crs is None:
        raise CrsError("the raster's GeoBox has no CRS")
    return _times(~box.affine, *(np.asarray(v) for v in crs.transformer_to_crs(box.crs)(x, y)))


def interpolate(values: FloatArray, columns: Positions, rows: Positions, method: str = "bilinear") -> FloatArray:
    """Values at pixel coordinates (centre of the first pixel = 0.5): (band, y, x) and (n,), (n,) -> float32 (band, n).

    Missing pixels (NaN) lose their weight and the others are rescaled; a position is NaN where its own pixel is missing
    or outside. "cubic" needs its 16 pixels whole and is bilinear where some of them are missing.
    """
    height, width = values.shape[1:]
    inside = (columns >= 0) & (rows >= 0) & (columns < width) & (rows < height)  # False for NaN
    out = np.full((len(values), len(columns)), np.nan, dtype=np.float32)
    c, r = columns[inside], rows[inside]
    nearest = values[:, np.floor(r).astype(np.intp), np.floor(c).astype(np.intp)]
    if method == "nearest":
        out[:, inside] = nearest
        return out
    if method == "cubic_spline":
        result = _weighted(values, c, r, _b_spline)
    else:
        result = _weighted(values, c, r, _linear)
        if method == "cubic":
            smooth = _weighted(values, c, r, _catmull_rom, whole=True)
            result = np.where(np.isfinite(smooth), smooth, result)
    out[:, inside] = np.where(np.isfinite(nearest), result, np.nan)
    return out


@contextmanager
def _opened(path: str | os.PathLike[str], driver: str) -> Iterator[Any]:
    file = Path(path)
    if not file.is_file():  # also shuts out /vsi..., URLs and anything else GDAL would resolve by itself
        raise RasterError(f"{path} is not a local file; give the path of a {driver} file on this machine")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # raised as an error below
            dataset = rasterio.open(file, driver=driver)
    except RasterioError as error:
        raise RasterError(f"{file} cannot be opened as {driver}: {error}; replace the file or name its driver") from error
    with dataset:
        if dataset.crs is None:
            raise CrsError(f"{file} has no CRS; assign the right one, e.g. gdal_edit -a_srs EPSG:4326 {file.name}")
        if dataset.transform.is_identity or dataset.transform.is_degenerate:
            raise CrsError(
                f"{file} has a CRS but no geotransform; assign its extent, e.g. gdal_edit -a_ullr west north east south {file.name}"
            )
        yield dataset


def _indexes(dataset: Any, bands: Sequence[int] | None) -> list[int]:
    indexes = list(dataset.indexes if bands is None else bands)
    wrong = [b for b in indexes if b not in dataset.indexes]
    if wrong or not indexes:
        raise RasterError(f"{dataset.name} has bands 1..{dataset.count}, asked for {wrong or 'none'}")
    return indexes


def _target_to_source(dataset: Any, geobox: GeoBox) -> float:
    """Side of a target pixel in source pixels, taken at the source's centre so that every window of a grid agrees."""
    column, row = dataset.width / 2, dataset.height / 2
    corners = _times(dataset.transform, np.array([column, column + 1, column]), np.array([row, row, row + 1]))
    assert geobox.crs is not None
    x, y = CRS(dataset.crs.to_wkt()).transformer_to_crs(geobox.crs)(*corners)
    area = abs((x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]))
    target = abs(geobox.affine.determinant)
    if not (math.isfinite(area) and area > 0):
        raise CrsError(f"{dataset.name} ({dataset.crs.to_string()}) cannot be brought to {geobox.crs}: its centre has no position there")
    return math.sqrt(target / area)


def _reached(dataset: Any, geobox: GeoBox) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of the part of a GeoBox the raster may reach: surely all of it, possibly a little more."""
    height, width = geobox.shape
    t, zero = np.linspace(0, 1, 41), np.zeros(41)
    columns = np.concatenate([t, t, zero, zero + 1]) * dataset.width
    rows = np.concatenate([zero, zero + 1, t, t]) * dataset.height
    assert geobox.crs is not None
    to_target = CRS(dataset.crs.to_wkt()).transformer_to_crs(geobox.crs)
    c, r = _times(~geobox.affine, *(np.asarray(v) for v in to_target(*_times(dataset.transform, columns, rows))))
    if not (np.isfinite(c).all() and np.isfinite(r).all()):  # wider than the projection: anything may be reached
        return 0, height, 0, width
    spare_c, spare_r = 2 + 0.05 * np.ptp(c), 2 + 0.05 * np.ptp(r)  # the outline may bulge between its vertices
    top, bottom = (int(np.clip(v, 0, height)) for v in (r.min() - spare_r, r.max() + spare_r))
    left, right = (int(np.clip(v, 0, width)) for v in (c.min() - spare_c, c.max() + spare_c))
    return top, bottom, left, right


def _choose(resampling: str, ratio: float) -> tuple[str, int]:
    """Interpolation at a position, and the side of the lattice of positions inside a target pixel."""
    if resampling not in (*_REACH, "average"):
        raise UsageError(f"resampling {resampling!r} is unknown; use nearest, bilinear, cubic or average")
    if resampling == "nearest":
        return "nearest", 1
    if ratio >= 2 or (resampling == "average" and ratio > 1.001):
        return ("bilinear" if ratio < 4 else "nearest"), math.ceil(round(ratio, 3))  # few samples a pixel: interpolate them
    return ("bilinear" if resampling == "average" else resampling), 1


def _pixels(dataset: Any, x: Positions, y: Positions) -> tuple[Positions, Positions]:
    return _times(~dataset.transform, np.asarray(x), np.asarray(y))


def _times(affine: Affine, x: Positions, y: Positions) -> tuple[Positions, Positions]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def _at_positions(
    dataset: Any, indexes: list[int], columns: Positions, rows: Positions, method: str, nodata: float | None, prepare: Prepare | None
) -> FloatArray:
    """Values at source pixel coordinates: (band, n). Far-flung positions are split until their window is small."""
    inside = np.flatnonzero((columns >= 0) & (rows >= 0) & (columns < dataset.width) & (rows < dataset.height))
    out: FloatArray | None = None
    pending = [inside]
    while pending:
        chosen = pending.pop()
        c, r = columns[chosen], rows[chosen]
        window = _window(dataset, c, r, _REACH[method])
        if window.width * window.height * len(indexes) > _WINDOW_VALUES and len(chosen) > 1:
            along = c if window.width >= window.height else r
            low = along < (along.min() + along.max()) / 2
            if low.any() and not low.all():
                pending += [chosen[low], chosen[~low]]
                continue
        values = _read(dataset, indexes, window, nodata)
        if prepare is not None:
            values = prepare(values)
        if out is None:
            out = np.full((len(values), len(columns)), np.nan, dtype=np.float32)
        out[:, chosen] = interpolate(values, c - window.col_off, r - window.row_off, method)
    assert out is not None
    return out


def _window(dataset: Any, columns: Positions, rows: Positions, reach: int) -> Window:
    """The pixels around positions inside the raster; one pixel when there are none (its bands still have to be known)."""
    if not len(columns):
        return Window(0, 0, 1, 1)
    left, right = max(0, int(columns.min()) - reach), min(dataset.width, int(columns.max()) + reach + 1)
    top, bottom = max(0, int(rows.min()) - reach), min(dataset.height, int(rows.max()) + reach + 1)
    return Window(left, top, right - left, bottom - top)


def _read(dataset: Any, indexes: list[int], window: Window, nodata: float | None) -> FloatArray:
    try:
        stored = dataset.read(indexes, window=window, masked=nodata is None)
    except RasterioError as error:
        raise RasterError(f"{dataset.name} is damaged: {error.__cause__ or error}; fetch the file again") from error
    if nodata is None:
        values = np.ma.getdata(stored).astype(np.float32)
        values[np.ma.getmaskarray(stored)] = np.nan
    else:
        values = stored.astype(np.float32)
        values[stored == nodata] = np.nan
    return values


def _linear(fraction: Positions) -> tuple[int, list[Positions]]:
    """First of the neighbours, counted from the left one, and their weights; `fraction` = distance to the left centre."""
    return 0, [1 - fraction, fraction]


def _catmull_rom(t: Positions) -> tuple[int, list[Positions]]:
    return -1, [
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    ]


def _b_spline(t: Positions) -> tuple[int, list[Positions]]:
    return -1, [(1 - t) ** 3 / 6, (3 * t - 6) * t * t / 6 + 2 / 3, ((-3 * t + 3) * t + 3) * t / 6 + 1 / 6, t**3 / 6]


def _weighted(
    values: FloatArray,
    columns: Positions,
    rows: Positions,
    kernel: Callable[[Positions], tuple[int, list[Positions]]],
    *,
    whole: bool = False,
) -> npt.NDArray[np.float64]:
    """Separable interpolation, (band, n). A missing neighbour loses its weight, or makes the result NaN when `whole`."""
    height, width = values.shape[1:]
    left, above = np.floor(columns - 0.5), np.floor(rows - 0.5)
    first, across = kernel(columns - 0.5 - left)
    _, down = kernel(rows - 0.5 - above)
    total = np.zeros((len(values), len(columns)))
    weight = np.zeros_like(total)
    for j, v in enumerate(down):
        row = above.astype(np.intp) + first + j
        for i, u in enumerate(across):
            column = left.astype(np.intp) + first + i
            within = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            pixel = values[:, row.clip(0, height - 1), column.clip(0, width - 1)]
            known = within & np.isfinite(pixel)
            total += np.where(known, u * v * pixel, 0.0)
            weight += np.where(known, u * v, 0.0)
            if whole:
                total[~known] = np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / weight


def _mean(values: FloatArray) -> FloatArray:
    """Mean over the lattice inside each target pixel: (band, y, j, x, i) -> (band, y, x), ignoring NaN."""
    if values.shape[2] == values.shape[4] == 1:
        return values[:, :, 0, :, 0]
    known = np.isfinite(values)
    count = known.sum(axis=(2, 4))
    total = np.where(known, values, 0.0).sum(axis=(2, 4), dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total / count).astype(np.float32)
