"""Rasters onto the grid: read what a GeoBox or points need, from a raster of any CRS and resolution.

One engine serves both verbs: the wanted positions are transformed exactly (never approximated over a window) into the
raster's pixel coordinates, the pixels around them are read, and the value is interpolated there. So a window of a larger
read is bit for bit the read of the window, and `sample_at` at a cell's centre is `read_onto` of that cell.

    read_onto, sample_at    a file that GDAL opens         onto, sample     anything that is `Pixels`: read by window

A pixel is an area and is named by its centre: pixel (column 0, row 0) has its centre at (0.5, 0.5). Longitudes may run from
-180 or from 0: they are taken to the raster's own, and the columns of a raster that goes round the globe join at its edge.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

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
Resampling: TypeAlias = Literal["nearest", "bilinear", "cubic", "cubic_spline", "average"]
Prepare: TypeAlias = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Native pixels (band, y, x), NaN = nodata -> (other band, y, x): applied before interpolation, pixel by pixel.

It also gets a single pixel of NaN, to learn how many bands it makes.
"""

FloatArray: TypeAlias = npt.NDArray[np.float32]
Positions: TypeAlias = npt.NDArray[np.float64]

_REACH = {"nearest": 0, "bilinear": 1, "cubic": 2, "cubic_spline": 2}  # pixels needed around the pixel that holds a position
_WINDOW_VALUES = 16_000_000  # most values of the source held at once: 64 MB of float32
_ROUND = 2.0**32  # positions round the globe are whole multiples of a 2^32nd of a pixel
_BLOCK_VALUES = 2_000_000  # most values of the target worked on at once: some 100 MB with the intermediates


class Pixels(Protocol):
    """Bands on a regular lattice of pixels, any CRS, that can be read by window."""

    @property
    def name(self) -> str:
        """What it is called in errors."""
        ...

    @property
    def count(self) -> int:
        """Number of bands that `read` gives."""
        ...

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def transform(self) -> Affine:
        """Column and row to x and y in `crs`; north-up or not."""
        ...

    @property
    def crs(self) -> CRS: ...

    def read(self, window: Window) -> FloatArray:
        """Pixels of a window inside the raster: float32 (band, y, x), NaN = no data. Raises RasterError."""
        ...


def read_onto(
    path: str | os.PathLike[str],
    geobox: GeoBox,
    *,
    bands: Sequence[int] | None = None,
    resampling: Resampling = "bilinear",
    driver: str = "GTiff",
    nodata: float | None = None,
    prepare: Prepare | None = None,
    shares: bool = False,
) -> FloatArray:
    """Put a raster onto a GeoBox. Only the pixels needed are read. Returns float32 (band, y, x), NaN = no data.

    `path` is a file of this machine, or an address of `sources.http.Assets`. `bands` are 1-based (default all). `nodata`
    replaces what the file declares. For the rest see `onto`. Raises CrsError for a raster that is not georeferenced or not
    where its CRS says, RasterError for one that cannot be read by `driver`.
    """
    _require_crs(geobox)
    with opened(path, driver) as dataset:
        pixels = FilePixels(dataset, bands, nodata)
        return onto(pixels, geobox, resampling=resampling, prepare=prepare, shares=shares)


def onto(
    pixels: Pixels, geobox: GeoBox, *, resampling: Resampling = "bilinear", prepare: Prepare | None = None, shares: bool = False
) -> FloatArray:
    """Put pixels onto a GeoBox. Only those needed are read. Returns float32 (band, y, x), NaN = no data.

    `resampling` says how to interpolate: "nearest" for classes; "bilinear", "cubic" (Catmull-Rom: Keys 1981, a = -1/2) and
    "cubic_spline" (B-spline: smooths, never overshoots) as in GDAL for what varies smoothly, and these become "average" once
    a target pixel is at least twice a source pixel (side of a square of equal area), as "average" becomes "bilinear" when it
    is smaller than one. "average" is the mean of a lattice of samples inside the target pixel, about one a source pixel:
    exact where the two lattices nest. Missing neighbours lose their weight; a position whose own pixel is missing is NaN.

    With `shares` the result is the mean over the target pixel's area of what `prepare` makes of the pixels, each standing for
    its own area: at least four samples a side, none interpolated. `resampling` is not used then.

    Where the raster does not reach, the result is NaN (the caller knows whether that is an error). Raises CrsError.
    """
    target_crs = _require_crs(geobox)
    ratio = _target_to_source(pixels, geobox)
    method, lattice = _choose(resampling, ratio)
    if shares:
        method, lattice = "nearest", _share_lattice(ratio)
    to_source = target_crs.transformer_to_crs(pixels.crs)
    top, bottom, left, right = _reached(pixels, geobox)
    _refuse_swapped_axes(pixels, geobox, empty=top >= bottom or left >= right)
    out = np.full((_count(pixels, prepare), *geobox.shape), np.nan, dtype=np.float32)
    offsets = (np.arange(lattice) + 0.5) / lattice
    width = right - left
    step = max(1, _BLOCK_VALUES // max(1, width * lattice * lattice * len(out)))
    columns_of_block = (np.arange(left, right)[:, None] + offsets).ravel()
    for first in range(top, bottom, step):
        last = min(first + step, bottom)
        columns, rows = np.meshgrid(columns_of_block, (np.arange(first, last)[:, None] + offsets).ravel())
        x, y = _times(geobox.affine, columns.ravel(), rows.ravel())
        fine = _at_positions(pixels, *_positions(pixels, *to_source(x, y)), method, prepare)
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
    with opened(path, driver) as dataset:
        return sample(FilePixels(dataset, bands, nodata), x, y, crs, method=method, prepare=prepare)


def sample(
    pixels: Pixels,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    crs: str | CRS,
    *,
    method: Interpolation = "bilinear",
    prepare: Prepare | None = None,
) -> FloatArray:
    """Values of pixels at points given in `crs`. Returns float32 (n, band), NaN outside, at nodata or where not finite."""
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if xs.shape != ys.shape or xs.ndim != 1:
        raise UsageError(f"x and y must be one-dimensional and of one length, got shapes {xs.shape} and {ys.shape}")
    if method not in _REACH:
        raise UsageError(f"method {method!r} cannot sample at points; use one of {', '.join(_REACH)}")
    to_source = CRS(crs).transformer_to_crs(pixels.crs)
    finite = np.isfinite(xs) & np.isfinite(ys)
    columns, rows = np.full(xs.shape, np.nan), np.full(xs.shape, np.nan)
    columns[finite], rows[finite] = _positions(pixels, *to_source(xs[finite], ys[finite]))
    return _at_positions(pixels, columns, rows, method, prepare).T.copy()


def read_whole(path: str | os.PathLike[str], *, bands: Sequence[int] | None = None, driver: str = "GTiff") -> tuple[FloatArray, GeoBox]:
    """A small raster as it is: float32 (band, y, x), NaN = no data, and its own GeoBox.

    Refuses (RasterError) what would not fit a worker's pocket: more than 16 million values.
    """
    with opened(path, driver) as dataset:
        pixels = FilePixels(dataset, bands)
        if pixels.width * pixels.height * pixels.count > _WINDOW_VALUES:
            raise RasterError(
                f"{pixels.name} has {pixels.width} x {pixels.height} x {pixels.count} values, too many to hold; use read_onto"
            )
        values = pixels.read(Window(0, 0, pixels.width, pixels.height))
        return values, GeoBox((pixels.height, pixels.width), pixels.transform, pixels.crs)


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
def opened(path: str | os.PathLike[str], driver: str = "GTiff") -> Iterator[Any]:
    """A rasterio dataset, georeferenced and where its CRS says. GDAL is asked for one driver and gets no path of its own.

    `path` is a file of this machine, or an address whose bytes somebody else fetches and checks: a `str` with the `fs` and
    `path` that rasterio looks for (`sources.http.Assets`). Raises RasterError, CrsError.
    """
    name = os.fspath(path)
    remote = hasattr(path, "fs") and hasattr(path, "path")
    if remote:
        name = urlsplit(name)._replace(query="", fragment="").geturl()
    elif not Path(path).is_file():  # also shuts out /vsi..., URLs and anything else GDAL would resolve by itself
        raise RasterError(f"{path} is not a local file; give the path of a {driver} file on this machine")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # raised as an error below
            dataset = rasterio.open(path if remote else Path(path), driver=driver)
    except RasterioError as error:
        raise RasterError(f"{name} cannot be opened as {driver}: {error}; replace the file or name its driver") from error
    with dataset:
        if dataset.crs is None:
            raise CrsError(f"{name} has no CRS; assign the right one, e.g. gdal_edit -a_srs EPSG:4326 {Path(name).name}")
        if dataset.transform.is_identity or dataset.transform.is_degenerate:
            raise CrsError(
                f"{name} has a CRS but no geotransform; assign its extent, e.g. gdal_edit -a_ullr west north east south {Path(name).name}"
            )
        check_georeference(name, CRS(dataset.crs.to_wkt()), dataset.transform, dataset.width, dataset.height)
        yield dataset


class FilePixels:
    """Bands (1-based, default all) of an open rasterio dataset as `Pixels`. `nodata` replaces what the file declares.

    Raises RasterError for a band that is not there.
    """

    def __init__(self, dataset: Any, bands: Sequence[int] | None = None, nodata: float | None = None) -> None:
        indexes = list(dataset.indexes if bands is None else bands)
        wrong = [b for b in indexes if b not in dataset.indexes]
        if wrong or not indexes:
            raise RasterError(f"{dataset.name} has bands 1..{dataset.count}, asked for {wrong or 'none'}")
        self.name: str = urlsplit(dataset.name)._replace(query="", fragment="").geturl()
        self.count, self.width, self.height = len(indexes), int(dataset.width), int(dataset.height)
        self.transform: Affine = dataset.transform
        self.crs = CRS(dataset.crs.to_wkt())
        self._dataset, self._indexes, self._nodata = dataset, indexes, nodata

    def read(self, window: Window) -> FloatArray:
        """Float32 (band, y, x), NaN = no data. Raises RasterError for a file that is damaged."""
        try:
            stored = self._dataset.read(self._indexes, window=window, masked=self._nodata is None)
        except RasterioError as error:
            raise RasterError(f"{self.name} is damaged: {error.__cause__ or error}; fetch the file again") from error
        values = np.ma.getdata(stored).astype(np.float32)
        values[np.ma.getmaskarray(stored) if self._nodata is None else stored == self._nodata] = np.nan
        return values


def check_georeference(name: str, crs: CRS, transform: Affine, width: int, height: int) -> None:
    """Raise CrsError for a raster that cannot be where its CRS says: metres tagged as degrees, degrees as metres, axes swapped.

    Degrees as metres are told by a raster that lies within 360 x 90 units of the origin in pixels of at most 5: in a projected
    CRS a patch of desert or sea. Metres as degrees, and swapped axes, by coordinates that no place on Earth has.
    """
    x, y = _times(transform, np.array([0.0, width, 0.0, width]), np.array([0.0, 0.0, height, height]))
    west, south, east, north = float(x.min()), float(y.min()), float(x.max()), float(y.max())
    pixel_x, pixel_y = math.hypot(transform.a, transform.d), math.hypot(transform.b, transform.e)
    where = f"{name} says {(crs.to_epsg() and f'EPSG:{crs.to_epsg()}') or 'a CRS of its own'}, but lies at {west:g}..{east:g}, {south:g}..{north:g}"
    slack_x, slack_y = 1.5 * pixel_x + 1e-6, 1.5 * pixel_y + 1e-6  # global rasters may be defined by the centres of their edge pixels
    if crs.geographic:
        if -180 - slack_x <= west and east <= 360 + slack_x and -90 - slack_y <= south and north <= 90 + slack_y:
            return
        if -90 - slack_x <= west and east <= 90 + slack_x and -180 - slack_y <= south and north <= 360 + slack_y:
            raise CrsError(f"{where}: latitude beyond the poles; its axes are swapped, write it again with longitude along the columns")
        if max(abs(west), abs(east), abs(south), abs(north)) < 1000:
            raise CrsError(f"{where}: not on Earth; its geotransform is wrong, assign its extent with gdal_edit -a_ullr")
        raise CrsError(f"{where}: metres, not degrees. {_likely(west, south, east, north)}")
    if not crs.projected:
        return
    if max(pixel_x, pixel_y) <= 5 and west >= -360 and east <= 360 and south >= -90.5 and north <= 90.5:
        raise CrsError(f"{where} in pixels of {pixel_x:.6g}: degrees, not metres. It is likely in EPSG:4326: gdal_edit -a_srs EPSG:4326")


_PLACES = {
    "EPSG:2056": (2_480_000, 1_070_000, 2_840_000, 1_300_000),
    "EPSG:2154": (0, 6_000_000, 1_300_000, 7_200_000),
    "EPSG:3035": (900_000, 900_000, 7_400_000, 7_400_000),
    "a UTM zone such as EPSG:32632": (100_000, 0, 900_000, 9_400_000),
    "EPSG:3857": (-20_037_509, -20_048_967, 20_037_509, 20_048_967),
}
"""Where coordinates in metres lie in the projections of European data, the narrowest first."""


def _likely(west: float, south: float, east: float, north: float) -> str:
    fits = [name for name, (w, s, e, n) in _PLACES.items() if w <= west and east <= e and s <= south and north <= n]
    if not fits:
        return "Assign the CRS its publisher names: gdal_edit -a_srs"
    return f"It is likely in {' or '.join(fits[:2])}: assign it with gdal_edit -a_srs"


def _require_crs(geobox: GeoBox) -> CRS:
    if geobox.crs is None:
        raise CrsError("the target GeoBox has no CRS; build it with crs='EPSG:3035' or the grid's own CRS")
    return geobox.crs


def _count(pixels: Pixels, prepare: Prepare | None) -> int:
    """Bands of the result."""
    return pixels.count if prepare is None else len(prepare(np.full((pixels.count, 1, 1), np.nan, np.float32)))


def _joins(pixels: Pixels) -> bool:
    """Whether the raster goes round the globe: its last column is the western neighbour of its first."""
    t = pixels.transform
    return bool(pixels.crs.geographic and t.b == t.d == 0 and abs(pixels.width * abs(t.a) - 360) < 0.01 * abs(t.a))


def _target_to_source(pixels: Pixels, geobox: GeoBox) -> float:
    """Side of a target pixel in source pixels, taken at the source's centre so that every window of a grid agrees.

    A raster that is wider than the target's CRS is taken at the middle of what both see.
    """
    assert geobox.crs is not None
    to_target = pixels.crs.transformer_to_crs(geobox.crs)
    target = abs(geobox.affine.determinant)
    for column, row in _middles(pixels, geobox):
        corners = _times(pixels.transform, np.array([column, column + 1, column]), np.array([row, row, row + 1]))
        x, y = (np.asarray(v) for v in to_target(*corners))
        area = abs((x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]))
        if math.isfinite(area) and area > 0:
            return math.sqrt(target / area)
    raise CrsError(f"{pixels.name} ({pixels.crs}) cannot be brought to {geobox.crs}: its centre has no position there")


def _middles(pixels: Pixels, geobox: GeoBox) -> Iterator[tuple[float, float]]:
    """Where the two scales are compared, in pixels: the same for every window of a grid."""
    assert geobox.crs is not None
    area = geobox.crs.proj.area_of_use
    if pixels.crs.geographic and area is not None and area.west < area.east and max(pixels.width, pixels.height) * _degrees(pixels) > 90:
        column, row = _positions(pixels, np.array([(area.west + area.east) / 2]), np.array([(area.south + area.north) / 2]))
        if 0 <= column[0] < pixels.width and 0 <= row[0] < pixels.height:
            yield float(column[0]), float(row[0])
    yield pixels.width / 2, pixels.height / 2


def _degrees(pixels: Pixels) -> float:
    return max(abs(pixels.transform.a), abs(pixels.transform.e))


def _reached(pixels: Pixels, geobox: GeoBox) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of the part of a GeoBox the raster may reach: surely all of it, possibly a little more."""
    height, width = geobox.shape
    if _joins(pixels):
        return 0, height, 0, width
    t, zero = np.linspace(0, 1, 41), np.zeros(41)
    columns = np.concatenate([t, t, zero, zero + 1]) * pixels.width
    rows = np.concatenate([zero, zero + 1, t, t]) * pixels.height
    assert geobox.crs is not None
    to_target = pixels.crs.transformer_to_crs(geobox.crs)
    c, r = _times(~geobox.affine, *(np.asarray(v) for v in to_target(*_times(pixels.transform, columns, rows))))
    if not (np.isfinite(c).all() and np.isfinite(r).all()):  # wider than the projection: anything may be reached
        return 0, height, 0, width
    spare_c, spare_r = 2 + 0.05 * np.ptp(c), 2 + 0.05 * np.ptp(r)  # the outline may bulge between its vertices
    top, bottom = (int(np.clip(v, 0, height)) for v in (r.min() - spare_r, r.max() + spare_r))
    left, right = (int(np.clip(v, 0, width)) for v in (c.min() - spare_c, c.max() + spare_c))
    return top, bottom, left, right


def _refuse_swapped_axes(pixels: Pixels, geobox: GeoBox, *, empty: bool) -> None:
    """Raise CrsError when degrees reach the GeoBox only with latitude and longitude exchanged, and hold all of it then."""
    if not empty or not pixels.crs.geographic:
        return
    assert geobox.crs is not None
    height, width = geobox.shape
    corners = _times(geobox.affine, np.array([0.0, width, 0.0, width]), np.array([0.0, 0.0, height, height]))
    lon, lat = (np.asarray(v) for v in geobox.crs.transformer_to_crs(pixels.crs)(*corners))
    columns, rows = _times(~pixels.transform, lat, lon)
    if ((columns >= 0) & (columns <= pixels.width) & (rows >= 0) & (rows <= pixels.height)).all():
        raise CrsError(
            f"{pixels.name} does not reach {lon.min():.2f}..{lon.max():.2f} E, {lat.min():.2f}..{lat.max():.2f} N, but would with its axes "
            "exchanged: its columns run along latitude; write it again with longitude along the columns"
        )


def _choose(resampling: str, ratio: float) -> tuple[str, int]:
    """Interpolation at a position, and the side of the lattice of positions inside a target pixel."""
    if resampling not in (*_REACH, "average"):
        raise UsageError(f"resampling {resampling!r} is unknown; use nearest, bilinear, cubic or average")
    if resampling == "nearest":
        return "nearest", 1
    if ratio >= 2 or (resampling == "average" and ratio > 1.001):
        return ("bilinear" if ratio < 4 else "nearest"), math.ceil(round(ratio, 3))  # few samples a pixel: interpolate them
    return ("bilinear" if resampling == "average" else resampling), 1


def _share_lattice(ratio: float) -> int:
    """Samples a side of a target pixel: one a source pixel where that is four or more, else a multiple that keeps lattices nested."""
    side = math.ceil(round(ratio, 3))
    return side * math.ceil(4 / side)


def _positions(pixels: Pixels, x: Positions, y: Positions) -> tuple[Positions, Positions]:
    """Column and row, in pixels, of points in the raster's CRS; longitudes are first taken to those the raster uses."""
    x, y, t = np.asarray(x), np.asarray(y), pixels.transform
    if not (pixels.crs.geographic and t.b == t.d == 0):
        return _times(~t, x, y)
    west = min(t.c, t.c + pixels.width * t.a)
    with np.errstate(invalid="ignore"):
        x = np.where(x < west, x + 360, np.where(x >= west + 360, x - 360, x))
    columns, rows = _times(~t, x, y)
    if _joins(pixels):  # whole fractions of a pixel, so that going round the globe is exact
        columns = np.round(columns * _ROUND) / _ROUND % pixels.width
    return columns, rows


def _times(affine: Affine, x: Positions, y: Positions) -> tuple[Positions, Positions]:
    with np.errstate(invalid="ignore"):  # points without a position in the other CRS are infinite
        return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def _at_positions(pixels: Pixels, columns: Positions, rows: Positions, method: str, prepare: Prepare | None) -> FloatArray:
    """Values at source pixel coordinates: (band, n). Far-flung positions are split until their window is small."""
    inside = np.flatnonzero((columns >= 0) & (rows >= 0) & (columns < pixels.width) & (rows < pixels.height))
    out = np.full((_count(pixels, prepare), len(columns)), np.nan, dtype=np.float32)
    joins = _joins(pixels)
    pending = [inside] if len(inside) else []
    while pending:
        chosen = pending.pop()
        c, r = columns[chosen], rows[chosen]
        if joins and np.ptp(c) > pixels.width / 2:  # on both sides of the seam: number the columns from there
            c = np.where(c >= pixels.width / 2, c - pixels.width, c)
        window = _window(pixels, c, r, _REACH[method], joins)
        if window.width * window.height * pixels.count > _WINDOW_VALUES and len(chosen) > 1:
            along = c if window.width >= window.height else r
            low = along < (along.min() + along.max()) / 2
            if low.any() and not low.all():
                pending += [chosen[low], chosen[~low]]
                continue
        values = _read_joined(pixels, window)
        c, r = c - window.col_off, r - window.row_off
        if prepare is not None and method == "nearest":  # the same pixel by pixel, and of fewer pixels
            out[:, chosen] = prepare(interpolate(values, c, r, method)[:, None])[:, 0]
        else:
            out[:, chosen] = interpolate(values if prepare is None else prepare(values), c, r, method)
    return out


def _window(pixels: Pixels, columns: Positions, rows: Positions, reach: int, joins: bool) -> Window:
    """The pixels around positions: inside the raster, but for the columns of one that goes round the globe."""
    left, right = math.floor(columns.min()) - reach, math.floor(columns.max()) + reach + 1
    top, bottom = max(0, int(rows.min()) - reach), min(pixels.height, int(rows.max()) + reach + 1)
    if not joins:
        left, right = max(0, left), min(pixels.width, right)
    return Window(left, top, right - left, bottom - top)


def _read_joined(pixels: Pixels, window: Window) -> FloatArray:
    """A window whose columns may lie beyond the seam of a raster that goes round the globe."""
    left, right = window.col_off, window.col_off + window.width
    if left >= 0 and right <= pixels.width:
        return pixels.read(window)
    parts = []
    while left < right:
        start = left % pixels.width
        width = min(right - left, pixels.width - start)
        parts.append(pixels.read(Window(start, window.row_off, width, window.height)))
        left += width
    return np.concatenate(parts, axis=2)


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
