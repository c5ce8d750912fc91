"""RasterSource: any raster as a Source; and `at_cells`, the one way a gridded Source answers at points."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError

from geoplantnet.errors import RasterError, UsageError
from geoplantnet.grid.raster import FilePixels, FloatArray, Resampling, onto, opened, sample
from geoplantnet.grid.time_axis import Period
from geoplantnet.sources import units as unit
from geoplantnet.sources.http import Assets, Budget, Http, Patience, gdal_environment, public, with_retries
from geoplantnet.sources.signing import S3Signature

T = TypeVar("T")
PathLike: TypeAlias = str | os.PathLike[str]
Limits: TypeAlias = tuple[float, float]

NOWHERE = np.iinfo(np.int64).min
"""Column and row of the cell of a point that is not finite."""
_BLOCK_CELLS = 128  # cells a side of the blocks in which scattered points are read

SENTINELS = (-9999.0, -99999.0, -32768.0, -3.4e38, -3.4028234663852886e38, 3.4028234663852886e38, 1e20, 9.969209968386869e36, 65535.0)
"""What files write where they have nothing: seen in a file that declares no nodata value, it was forgotten to be declared."""
_NEVER_DATA = 1e30  # no physical value of ours is larger, whatever a file declares


@dataclass(frozen=True, kw_only=True)
class Access:
    """How rasters at URLs are reached, and what reading them may cost."""

    budget: Budget = field(default_factory=Budget)
    """For one read, all its files together."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent to the URL's own host; values may be ``${NAME}``: an environment variable, resolved when used."""
    gdal: Mapping[str, str] = field(default_factory=dict)
    """GDAL's names of what reaches s3: AWS_NO_SIGN_REQUEST, AWS_REGION, AWS_S3_ENDPOINT, AWS_REQUEST_PAYER; and other GDAL options."""

    def read(self, path: PathLike, read: Callable[[PathLike], T], patience: Patience | None = None) -> T:
        """Call `read` with what `grid.raster.opened` opens for `path`: a local file, an http(s) URL or an s3 address.

        Every byte of a remote file is checked and fetched again within the budget (see `sources.http`). Raises TryAgain,
        ConfigurationError, RasterError, and what `read` raises.
        """
        if not is_remote(path):
            return read(path)
        url = os.fspath(path)
        spending = self.budget.begin() if patience is None else patience
        assets = Assets(self.http(url, spending))

        def once() -> T:
            try:
                return read(assets(url))
            except RasterError as error:  # let `with_retries` judge whether fetching again may help
                if isinstance(error.__cause__, RasterioError):
                    raise error.__cause__ from error
                raise

        with closing(assets.http), gdal_environment(self.gdal):
            return with_retries(once, spending, assets=assets)

    def http(self, url: str, patience: Patience) -> Http:
        """What asks the URL's host, with its credentials."""
        parts = urlsplit(url)
        hosts, https_only = frozenset({parts.hostname or ""}), parts.scheme == "https"
        return Http(patience, headers=self.headers, hosts=hosts, https_only=https_only, sign=S3Signature(self.gdal))


def is_remote(path: PathLike) -> bool:
    """Whether a path is an http, https or s3 address."""
    return re.match(r"(https?|s3)://", os.fspath(path), re.IGNORECASE) is not None


@dataclass(frozen=True)
class RasterSource:
    """A raster of any CRS and resolution. Values are stored * scale + offset, in `target_units`, float32, NaN where unknown.

    One file with several bands, or one file a band; with a time axis one file a period too. Only the pixels needed are read.
    With `classes` the raster holds codes, and a band is the share (0..1) of the cell's area that its codes cover.
    """

    path: PathLike | Mapping[str, PathLike]
    """A file, an http(s) URL or an s3 address; with `{band}`, `{year}`, `{month:02}` in it, one a band, year, month; or band -> file."""
    bands: tuple[str, ...]
    """Names for the raster's bands `indexes`, in that order."""
    _: KW_ONLY
    indexes: tuple[int, ...] | None = None
    """1-based bands of the file; default the first, second, ... of one file, the first of one file a band."""
    scale: float | Sequence[float] | Mapping[str, float] | None = None
    """One for all, one a band, or those of named bands (others 1). None: what the file declares. What is said here wins over the file."""
    offset: float | Sequence[float] | Mapping[str, float] | None = None
    """As `scale` (others 0); added after scaling."""
    units: str | Sequence[str] | Mapping[str, str] | None = None
    """Units of the scaled values. None: what the file declares, else `target_units`. What is said here wins over the file."""
    target_units: tuple[str, ...] | None = None
    """Units of what `read` and `at` give, one a band (the modality's). None: no conversion."""
    resampling: Resampling = "bilinear"
    """See `grid.raster.onto`; "nearest" for codes that stay codes."""
    classes: Mapping[int, str] | None = None
    """Code -> band. Several codes may share a band; codes without one belong to no band."""
    plausible: Limits | Sequence[Limits | None] | None = None
    """Lowest and highest believable value in `target_units`, inclusive, for all or one a band: units in a file's attributes lie."""
    nodata: float | Literal["none"] | None = None
    """Replaces what the file declares. "none": every value is data; must be said of integers whose file declares none."""
    periods: tuple[Period, ...] = ()
    """The time axis, one file a period: `{year}` and `{month}` are those of its first day. () = no time axis."""
    crs: str = "EPSG:3035"
    """CRS of the points given to `at`: the grid's."""
    cell_size: float = 50.0
    """Side of the cells that hold the points given to `at`, metres: what `classes` are shares of."""
    credit: str = ""
    licence: str = ""
    driver: str = "GTiff"
    access: Access = field(default_factory=Access)

    def __post_init__(self) -> None:
        n = len(self.bands)
        if not self.bands or (self.indexes is not None and len(self.indexes) != (1 if self.classes else n)):
            raise UsageError(f"{self.path}: {n} band names for band numbers {self.indexes}; give one name a band")
        for name in ("scale", "offset", "units"):
            value = getattr(self, name)
            if isinstance(value, Mapping):
                strange = sorted(set(value) - set(self.bands))
                if strange:
                    raise UsageError(f"{self.path}: {name} names {strange}, the bands are {', '.join(self.bands)}")
            elif isinstance(value, Sequence) and not isinstance(value, str) and len(value) != n:
                raise UsageError(f"{self.path}: {name} has {len(value)} values for {n} bands; give one for all or one a band")
        for name, value in (("target_units", self.target_units), ("plausible", self._limits)):
            if value is not None and len(value) != n:
                raise UsageError(f"{self.path}: {name} has {len(value)} values for {n} bands; give one a band")
        if self.classes is not None and (set(self.classes.values()) != set(self.bands) or isinstance(self.path, Mapping)):
            raise UsageError(
                f"{self.path}: classes make the bands {sorted(set(self.classes.values()))} of one file, asked for {list(self.bands)}"
            )
        if isinstance(self.path, Mapping):
            missing = [b for b in self.bands if b not in self.path]
            if missing:
                raise UsageError(f"no file for the bands {missing}; there are files for {', '.join(self.path)}")
        names = self._placeholders
        if names - {"band", "year", "month"} or bool(names & {"year", "month"}) != bool(self.periods):
            raise UsageError(
                f"{self.path}: {{band}}, {{year}} and {{month}} may stand in a path, the last two with a time axis and never without one"
            )
        if "month" in names and any((b.year - a.year) * 12 + b.month - a.month != 1 for a, b in self.periods):
            raise UsageError(f"{self.path}: one file a month needs a time axis in steps of a month")

    def __hash__(self) -> int:
        return hash((str(self.path), self.bands, self.indexes, self.periods))

    @property
    def remote(self) -> bool:
        """Whether a read goes over a network."""
        return any(is_remote(path) for path in files_of(self.path, self.bands, self.periods))

    def read(self, geobox: GeoBox) -> xr.DataArray:
        """float32 ([time,] band, y, x). Raises RasterError, CrsError, TryAgain."""
        values = self._layers(geobox)
        if self.periods:
            values = values.reshape(len(self.periods), len(self.bands), *geobox.shape)
        return as_array(values, self.bands, geobox, self._provenance(), periods=self.periods)

    def at(self, points: pd.DataFrame) -> FloatArray:
        """float32 (n, [time,] band), interpolated at the points themselves; shares are those of the cell that holds the point.

        Raises RasterError, CrsError, TryAgain.
        """
        if self.classes is not None:
            layers = len(self.bands) * max(1, len(self.periods))
            values = at_cells(self._layers, points, bands=layers, crs=self.crs, cell_size=self.cell_size)
        else:
            method = "bilinear" if self.resampling == "average" else self.resampling
            x, y = xy_of(points)
            values = self._read(lambda pixels, prepare: sample(pixels, x, y, self.crs, method=method, prepare=prepare).T).T
        if self.periods:
            values = values.reshape(len(points), len(self.periods), len(self.bands))
        return np.ascontiguousarray(values)

    def _layers(self, geobox: GeoBox) -> FloatArray:
        """All bands of all periods: float32 (time * band, y, x), time the slower."""
        shares = self.classes is not None
        return self._read(lambda pixels, prepare: onto(pixels, geobox, resampling=self.resampling, prepare=prepare, shares=shares))

    def _read(self, take: Callable[..., FloatArray]) -> FloatArray:
        """What `take` makes of every file, bands first, in the order of periods and bands."""
        patience = self.access.budget.begin()
        layers: dict[int, FloatArray] = {}
        for path, members in self._files().items():
            read = partial(self._of_file, path=path, members=members, take=take)
            layers |= zip(members, self.access.read(path, read, patience))
        return np.stack([layers[i] for i in sorted(layers)])

    def _of_file(self, where: PathLike, path: PathLike, members: list[int], take: Callable[..., FloatArray]) -> FloatArray:
        """What `take` makes of the layers (time * band) that one file holds, physical: layers first."""
        name, n = shown(path), len(self.bands)
        with opened(where, self.driver) as dataset:
            indexes = [self._index(i % n) for i in (members[:1] if self.classes else members)]
            pixels = FilePixels(dataset, indexes, np.nan if self.nodata == "none" else self.nodata)
            first = indexes[0] - 1
            declared = dataset.nodatavals[first] is not None or MaskFlags.all_valid not in dataset.mask_flag_enums[first]
            if not declared and self.nodata is None and not dataset.dtypes[first].startswith("float"):
                raise RasterError(
                    f"{name} holds {dataset.dtypes[first]} and declares no nodata value; say `nodata: VALUE` in the source, or `nodata: none` "
                    "if every value is data"
                )
            values = take(pixels, self._prepare(name, declared or self.nodata is not None))
            said = [(dataset.scales[i - 1], dataset.offsets[i - 1], dataset.units[i - 1]) for i in indexes]
        if self.classes is not None:
            return values
        return np.stack([self._physical(v, i, *facts, name) for v, i, facts in zip(values, members, said)])

    def _prepare(self, name: str, declared: bool) -> Callable[[FloatArray], FloatArray]:
        """Native values are looked at before they are interpolated; codes become shares."""
        codes = {band: [code for code, b in (self.classes or {}).items() if b == band] for band in self.bands}

        def prepare(values: FloatArray) -> FloatArray:
            check_sentinels(values, name, declared=declared)
            if self.classes is None:
                return values
            known = np.isfinite(values[0])
            return np.stack([np.where(known, np.isin(values[0], codes[band]), np.nan) for band in self.bands]).astype(np.float32)

        return prepare

    def _physical(self, stored: FloatArray, layer: int, scale: float, offset: float, held: str | None, name: str) -> FloatArray:
        """Stored values of a layer, any shape, in the target's unit, believable. `scale`, `offset`, `held` are what the file says."""
        band = layer % len(self.bands)
        scale, offset = self._of_band(self.scale, band, scale, 1.0), self._of_band(self.offset, band, offset, 0.0)
        values = stored if (scale, offset) == (1.0, 0.0) else (stored.astype(np.float64) * scale + offset).astype(np.float32)
        wanted = self.target_units[band] if self.target_units else None
        held = self._of_band(self.units, band, held or wanted, wanted) or "1"
        limits = self._limits[band] if self._limits else None
        period = self.periods[layer // len(self.bands)] if self.periods else None
        return unit.bring(values, held, wanted or held, limits, f"{name}, band {self.bands[band]}", period=period)

    def _of_band(self, said: Any, band: int, unsaid: Any, other: Any) -> Any:
        return of_band(said, self.bands, band, unsaid, other)

    @property
    def _limits(self) -> Sequence[Limits | None] | None:
        return limits_of(self.plausible, len(self.bands))

    @property
    def _placeholders(self) -> set[str]:
        return placeholders(self.path)

    def _index(self, band: int) -> int:
        """1-based band of the file that holds a band."""
        if self.indexes is not None:
            return self.indexes[0 if self.classes else band]
        return 1 if self.classes or isinstance(self.path, Mapping) or "band" in self._placeholders else band + 1

    def _files(self) -> dict[PathLike, list[int]]:
        return files_of(self.path, self.bands, self.periods)

    def _provenance(self) -> list[dict[str, str]]:
        return [provenance(path, self.credit, self.licence) for path in self._files()]


def of_band(said: Any, bands: Sequence[str], band: int, unsaid: Any, other: Any) -> Any:
    """What is said of a band: one for all, one a band, or by name; `unsaid` when nothing is, `other` when only other bands are named."""
    if said is None:
        return unsaid
    if isinstance(said, Mapping):
        return said.get(bands[band], other)
    return said if isinstance(said, str | int | float) else said[band]


def limits_of(plausible: Limits | Sequence[Limits | None] | None, bands: int) -> Sequence[Limits | None] | None:
    """Plausible limits, one a band, from one for all or one a band."""
    if plausible and isinstance(plausible[0], int | float):
        return [plausible] * bands  # type: ignore[list-item]
    return plausible  # type: ignore[return-value]


def placeholders(path: PathLike | Mapping[str, PathLike]) -> set[str]:
    """Names in braces in a path or in any of several. Raises UsageError for braces that do not close."""
    paths = path.values() if isinstance(path, Mapping) else [path]
    try:
        return {name for p in paths for _, name, _, _ in string.Formatter().parse(os.fspath(p)) if name is not None}
    except ValueError as error:
        raise UsageError(f"{path}: {error}; write {{{{ and }}}} for braces that belong to a file's name") from error


def files_of(path: PathLike | Mapping[str, PathLike], bands: Sequence[str], periods: Sequence[Period]) -> dict[PathLike, list[int]]:
    """File -> positions of the layers (time * band, time the slower) it holds, in order. Names in braces are filled in."""
    files: dict[PathLike, list[int]] = {}
    named = bool(placeholders(path))
    for i in range(len(bands) * max(1, len(periods))):
        band = bands[i % len(bands)]
        file = path[band] if isinstance(path, Mapping) else path
        if named:
            first = periods[i // len(bands)][0] if periods else None
            file = os.fspath(file).format(band=band, **({"year": first.year, "month": first.month} if first else {}))
        files.setdefault(file, []).append(i)
    return files


def check_sentinels(values: FloatArray, name: str, *, declared: bool) -> None:
    """Raise RasterError when native values (any shape) hold what files write for nothing, though no nodata value covers it.

    With a `declared` nodata value only what can be no data at all is refused: beyond 1e30.
    """
    seen = [v for v in SENTINELS if (abs(v) > _NEVER_DATA or not declared) and (values == np.float32(v)).any()]
    if seen:
        count = int((values == np.float32(seen[0])).sum())
        raise RasterError(
            f"{name} holds {seen[0]:.9g} in {count} of the pixels read and does not declare it as nodata; say `nodata: {seen[0]:.9g}` in the "
            "source, or `nodata: none` if it is data"
        )


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


def as_array(
    values: FloatArray,
    bands: Sequence[str],
    geobox: GeoBox,
    inputs: Sequence[Mapping[str, Any]],
    *,
    periods: Sequence[Period] = (),
) -> xr.DataArray:
    """The DataArray a Source returns: ([time,] band, y, x) with coordinates and provenance. A time is its period's first day."""
    y, x = (geobox.coordinates[d].values for d in geobox.dimensions)
    dims: tuple[str, ...] = ("band", "y", "x")
    coords: dict[str, Any] = {"band": list(bands), "y": y, "x": x}
    if periods:
        dims = ("time", *dims)
        coords["time"] = np.array([start for start, _ in periods], "datetime64[ns]")
    return xr.DataArray(values, dims=dims, coords=coords, attrs={"provenance": [dict(i) for i in inputs]})


def shown(path: PathLike) -> str:
    """A file as people may see it: a URL without its query and passwords."""
    return public(os.fspath(path)) if is_remote(path) else os.fspath(path)


def provenance(path: PathLike, credit: str = "", licence: str = "") -> dict[str, str]:
    """One input as a JSON-able dict. A local file's name, not where it lies: the same product on every machine."""
    href = shown(path) if is_remote(path) else Path(path).name
    return {"href": href} | ({"credit": credit} if credit else {}) | ({"licence": licence} if licence else {})


def check_plausible(values: npt.NDArray[Any], plausible: tuple[float, float], *, what: str, path: PathLike) -> None:
    """Raises RasterError when a finite value lies outside the believable range."""
    known = values[np.isfinite(values)]
    low, high = plausible
    if known.size and (known.min() < low or known.max() > high):
        value = known.min() if known.min() < low else known.max()
        raise RasterError(
            f"{path}, {what}: {value:.6g} is outside the plausible range {low:g}..{high:g}; its units, scale or nodata are not what was said"
        )
