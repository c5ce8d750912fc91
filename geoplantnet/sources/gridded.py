"""GriddedSource: NetCDF and Zarr of climate and the like as a Source, read by window, with units that are not believed unseen."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import xarray as xr
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoplantnet.errors import ConfigurationError, CrsError, GeoPlantNetError, RasterError, TryAgain, UsageError, did_you_mean
from geoplantnet.grid.raster import FloatArray, Resampling, check_georeference, onto, sample
from geoplantnet.grid.time_axis import Period
from geoplantnet.sources import units as unit
from geoplantnet.sources.http import Assets, Changed, Patience
from geoplantnet.sources.raster import (
    Access,
    PathLike,
    as_array,
    check_sentinels,
    files_of,
    is_remote,
    limits_of,
    of_band,
    placeholders,
    provenance,
    shown,
    xy_of,
)
from geoplantnet.sources.zarr_http import HttpStore

Engine = Literal["h5netcdf", "scipy", "zarr"]

_X = ("lon", "longitude", "x", "easting", "projection_x_coordinate")
_Y = ("lat", "latitude", "y", "northing", "projection_y_coordinate")
_TIME = ("time", "valid_time", "month")
_MONTHS_OF_YEAR = 12
_UNEVEN = 0.01  # of a step: coordinates are often float32
_REMOTE_BLOCK = 2**17  # bytes asked of a remote file at once
_GRIDS = (b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x02", b"CDF\x05")


@dataclass(frozen=True, kw_only=True)
class GriddedSource:
    """Variables of NetCDF or Zarr files on a regular grid of any CRS: float32 ([time,] band, y, x), NaN where unknown.

    Only the window asked for is read. Latitude may ascend or descend, longitude run from -180 or from 0. Values are packed or
    not, as CF says; their units are those said here, else the variable's attribute, and must be believable.

    With `periods`, entries of the time axis that fall into a period are its mean (or sum): monthly files give months, daily
    files are aggregated. A rate becomes the amount of the period when the target's unit asks for it (m day-1 -> mm).
    """

    path: PathLike | Mapping[str, PathLike]
    """A file, an http(s) URL or an s3 address; with `{band}`, `{year}`, `{month:02}` in it, one a band, year, month; or band -> file."""
    bands: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    """Band -> variable of the file; the band's own name where nothing is said."""
    periods: tuple[Period, ...] = ()
    """The time axis. () = no time axis: the file has no time, or one."""
    climatology: bool = False
    """The file's months are those of any year: a period gets the mean of its calendar months."""
    aggregate: Literal["mean", "sum"] | Mapping[str, Literal["mean", "sum"]] = "mean"
    """How several entries of one period become one, for all bands or those named (others: mean)."""
    select: Mapping[str, Any] = field(default_factory=dict)
    """Further dimension -> coordinate value, such as {depth: 0.05}."""
    units: str | Sequence[str] | Mapping[str, str] | None = None
    """Units of the file's values; win over its attributes. None, and bands not named: what the attributes say."""
    target_units: tuple[str, ...] | None = None
    """Units of what `read` and `at` give, one a band (the modality's). None: no conversion."""
    plausible: tuple[float, float] | Sequence[tuple[float, float] | None] | None = None
    """Lowest and highest believable value in `target_units`, inclusive, for all or one a band."""
    reaches: Mapping[str, float] = field(default_factory=dict)
    """Band -> a value it must reach somewhere in any read of twelve months or more: precipitation in m, said to be mm, does not."""
    resampling: Resampling = "bilinear"
    """See `grid.raster.onto`."""
    nodata: float | None = None
    """Further value that is no data, beside what the file declares."""
    file_crs: str | None = None
    """CRS of the file's coordinates; wins over its grid mapping. Default: that, else EPSG:4326 for longitude and latitude."""
    engine: Engine | None = None
    """Default: by the file's first bytes; a folder, or a name that ends with .zarr, is a Zarr store."""
    crs: str = "EPSG:3035"
    """CRS of the points given to `at`: the grid's."""
    credit: str = ""
    licence: str = ""
    access: Access = field(default_factory=Access)

    def __post_init__(self) -> None:
        if not self.bands:
            raise UsageError(f"{self.path}: no bands are asked for")
        for name in ("variables", "aggregate", "units", "reaches", "path"):
            said = getattr(self, name)
            if isinstance(said, Mapping) and set(said) - set(self.bands):
                raise UsageError(f"{name} names {sorted(set(said) - set(self.bands))}, the bands are {', '.join(self.bands)}")
        for name, values in (("target_units", self.target_units), ("plausible", limits_of(self.plausible, len(self.bands)))):
            if values is not None and len(values) != len(self.bands):
                raise UsageError(f"{self.path}: {name} has {len(values)} values for {len(self.bands)} bands; give one a band")
        names = placeholders(self.path)
        if names - {"band", "year", "month"} or (names & {"year", "month"} and not self.periods):
            raise UsageError(f"{self.path}: {{band}} may stand in a path, and {{year}} and {{month}} with a time axis")
        if isinstance(self.path, Mapping) and set(self.path) != set(self.bands):
            raise UsageError(f"no file for the bands {sorted(set(self.bands) - set(self.path))}")
        for start, end in self.periods:
            last = date.fromordinal(end.toordinal() - 1)
            if ("year" in names and last.year != start.year) or ("month" in names and (last.year, last.month) != (start.year, start.month)):
                raise UsageError(f"{self.path}: the period {start} to {last} spans several files; take smaller periods or join the files")

    def __hash__(self) -> int:
        return hash((str(self.path), self.bands, self.periods, self.climatology))

    @property
    def remote(self) -> bool:
        """Whether a read goes over a network."""
        return any(is_remote(path) for path in files_of(self.path, self.bands, self.periods))

    def read(self, geobox: GeoBox) -> xr.DataArray:
        """float32 ([time,] band, y, x). Raises RasterError, CrsError, ConfigurationError, TryAgain."""
        values, inputs = self._read(lambda pixels: onto(pixels, geobox, resampling=self.resampling))
        if self.periods:
            values = values.reshape(len(self.periods), len(self.bands), *geobox.shape)
            self._must_reach(values)
        return as_array(values, self.bands, geobox, inputs, periods=self.periods)

    def at(self, points: pd.DataFrame) -> FloatArray:
        """float32 (n, [time,] band), interpolated at the points themselves. Raises as `read`."""
        method = "bilinear" if self.resampling == "average" else self.resampling
        x, y = xy_of(points)
        values = self._read(lambda pixels: sample(pixels, x, y, self.crs, method=method).T)[0].T
        if self.periods:
            values = values.reshape(len(points), len(self.periods), len(self.bands))
        return np.ascontiguousarray(values)

    def _read(self, take: Callable[[_Slab], FloatArray]) -> tuple[FloatArray, list[dict[str, Any]]]:
        """What `take` makes of every file: layers (time * band) first; and what was read."""
        patience = self.access.budget.begin()
        layers: dict[int, FloatArray] = {}
        inputs = []
        for path, members in files_of(self.path, self.bands, self.periods).items():
            values, notes = self._of_file(path, members, take, patience)
            layers |= zip(members, values)
            inputs.append(provenance(path, self.credit, self.licence) | notes)
        return np.stack([layers[i] for i in sorted(layers)]), inputs

    def _of_file(
        self, path: PathLike, members: list[int], take: Callable[[_Slab], FloatArray], patience: Patience
    ) -> tuple[FloatArray, dict[str, Any]]:
        """What `take` makes of the layers (time * band) that one file holds, physical; and what the file says of them."""
        name, n = shown(path), len(self.bands)
        with _opened(path, self.engine, self.access, patience) as dataset:
            wanted = dict.fromkeys(i % n for i in members)
            variables = {band: self._variable(dataset, band, name) for band in wanted}
            slab = _Slab(name, dataset, variables, self._entries(variables, members, name), self.file_crs, self.nodata)
            stored = take(slab)
            said = {band: variable.attrs.get("units") for band, variable in variables.items()}
        limits = limits_of(self.plausible, n)
        notes: dict[str, str] = {}
        out = []
        for layer, values in zip(members, stored):
            band = layer % n
            target = self.target_units[band] if self.target_units else None
            held = self._held(band, said[band], target, name)
            if said[band] is not None and str(said[band]) != held:
                notes[self.bands[band]] = f"read as {held}, the file says {said[band]}"
            period = self.periods[layer // n] if self.periods else None
            what = f"{name}, {self.bands[band]}"
            out.append(unit.bring(values, held, target or held, limits[band] if limits else None, what, period=period))
        names = {self.bands[band]: str(variable.name) for band, variable in variables.items()}
        return np.stack(out), {"variables": names} | ({"units": notes} if notes else {})

    def _held(self, band: int, attribute: Any, target: str | None, name: str) -> str:
        """The unit of a band's values: what is said of it, else what the file says."""
        said = of_band(self.units, self.bands, band, None, None)
        if said is not None:
            return str(said)
        if attribute is None:
            if target is None:
                return "1"
            raise RasterError(f"{name}: {self.bands[band]} has no units attribute; say `units` in the source ({target} is wanted)")
        try:
            unit.parse(str(attribute))
        except ConfigurationError as error:
            raise RasterError(f"{name}: {self.bands[band]} says units {attribute!r}: {error} Say `units` in the source") from error
        return str(attribute)

    def _variable(self, dataset: xr.Dataset, band: int, name: str) -> xr.DataArray:
        """The variable of a band with the dimensions y, x and at most time, whatever they are called."""
        wanted = self.variables.get(self.bands[band], self.bands[band])
        grids = [str(v) for v in dataset.data_vars if dataset[v].ndim >= 2]
        if wanted not in dataset.data_vars:
            raise RasterError(f"{name} has no variable {wanted!r}; it has {', '.join(grids) or 'none'}.{did_you_mean(wanted, grids)}")
        variable = dataset[wanted]
        for dimension, value in self.select.items():
            if dimension in variable.dims:
                try:
                    variable = variable.sel({dimension: value}, method=None if isinstance(value, str) else "nearest")
                except (KeyError, ValueError) as error:
                    raise RasterError(f"{name}: {wanted} has no {value!r} along {dimension}: {error}") from error
        dims = {axis: _dimension(variable, axis, name) for axis in ("x", "y")}
        time = _dimension(variable, "time", name)
        others = sorted(set(map(str, variable.dims)) - {*dims.values(), time})
        for other in others:
            if variable.sizes[other] != 1:
                values = variable[other].values[:4].tolist() if other in variable.coords else f"0..{variable.sizes[other] - 1}"
                raise RasterError(f"{name}: {wanted} has a dimension {other!r} ({values} ...); say `select: {{{other}: ...}}`")
        variable = variable.squeeze(others, drop=True)
        order = [d for d in (time, dims["y"], dims["x"]) if d is not None]
        return variable.transpose(*order)

    def _entries(self, variables: Mapping[int, xr.DataArray], members: list[int], name: str) -> list[tuple[int, _Entries]]:
        """For every layer its band and the weighted entries of the time axis it is made of."""
        n = len(self.bands)
        moments = {band: _days(variable, name) for band, variable in variables.items()}
        out = []
        for layer in members:
            band = layer % n
            days = moments[band]
            how = of_band(self.aggregate, self.bands, band, "mean", "mean")
            if not self.periods:
                if days is not None and len(days) != 1:
                    raise RasterError(
                        f"{name}: {self.bands[band]} has {len(days)} times; give the modality a time axis, or select one of them"
                    )
                out.append((band, {0: 1.0}))
            elif days is None:
                raise RasterError(f"{name}: {self.bands[band]} has no time axis, the modality has one")
            else:
                choose = _calendar_months if self.climatology else _within
                out.append((band, choose(days, self.periods[layer // n], how, f"{name}: {self.bands[band]}")))
        return out

    def _must_reach(self, values: FloatArray) -> None:
        first, last = self.periods[0][0], self.periods[-1][1]
        if (last - first).days < 365:
            return
        for band, least in self.reaches.items():
            i = self.bands.index(band)
            unit.check_reached(values[:, i], self.target_units[i] if self.target_units else "1", least, f"{self.path}, {band}")


_Entries = dict[int, float]
"""Position on the time axis -> weight in a layer."""


class _Slab:
    """Layers of a dataset as `grid.raster.Pixels`: weighted sums of entries of the time axis."""

    def __init__(
        self,
        name: str,
        dataset: xr.Dataset,
        variables: Mapping[int, xr.DataArray],
        layers: Sequence[tuple[int, _Entries]],
        crs: str | None,
        nodata: float | None,
    ) -> None:
        self.name, self.count = name, len(layers)
        self._variables, self._layers, self._nodata = variables, layers, nodata
        lattices = [_lattice(dataset, variable, crs, name) for variable in variables.values()]
        for other, band in zip(lattices[1:], list(variables)[1:]):
            if other != lattices[0]:
                raise RasterError(f"{name}: {variables[band].name} lies on another grid than {next(iter(variables.values())).name}")
        self.transform, self.crs = lattices[0]
        self.height, self.width = next(iter(variables.values())).shape[-2:]
        check_georeference(name, self.crs, self.transform, self.width, self.height)

    def read(self, window: Window) -> FloatArray:
        rows = slice(window.row_off, window.row_off + window.height)
        columns = slice(window.col_off, window.col_off + window.width)
        out = np.empty((self.count, window.height, window.width), np.float32)
        for band, variable in self._variables.items():
            members = [i for i, (b, _) in enumerate(self._layers) if b == band]
            used = sorted({t for i in members for t in self._layers[i][1]})
            y, x = variable.dims[-2:]
            part = variable.isel({y: rows, x: columns})
            if part.ndim == 3:
                part = part.isel({part.dims[0]: slice(used[0], used[-1] + 1)})
            values = part.values.astype(np.float64).reshape(-1, window.height, window.width)
            if self._nodata is not None:
                values[values == self._nodata] = np.nan
            declared = self._nodata is not None or not {"_FillValue", "missing_value"}.isdisjoint({**variable.encoding, **variable.attrs})
            check_sentinels(values.astype(np.float32), f"{self.name}, {variable.name}", declared=declared)
            first = used[0] if part.ndim == 3 else 0
            for i in members:
                out[i] = sum(weight * values[t - first] for t, weight in self._layers[i][1].items())
        return out


@contextmanager
def _opened(path: PathLike, engine: Engine | None, access: Access, patience: Patience) -> Iterator[xr.Dataset]:
    """The dataset, lazy. Raises RasterError for what is none, and what the network ends with."""
    name, chosen = shown(path), engine or ("zarr" if _is_zarr(path) else None)
    if not is_remote(path) and not Path(path).exists():
        raise RasterError(f"{name} is not there; give the path of a NetCDF file or a Zarr store, or a URL")
    assets: Assets | None = None
    source: Any = os.fspath(path)
    try:
        with ExitStack() as stack:
            if is_remote(path):
                http = stack.enter_context(closing(access.http(source, patience)))
            if is_remote(path) and chosen == "zarr":
                source = HttpStore(source, http)
            elif is_remote(path):
                assets = Assets(http, begins=_GRIDS)
                source = stack.enter_context(io.BufferedReader(_Filling(assets.open(source)), _REMOTE_BLOCK))
            chosen = chosen or _netcdf_engine(source)
            yield stack.enter_context(_lazily(source, chosen))
    except GeoPlantNetError:
        raise
    except ImportError as error:
        raise ConfigurationError(f"{name} needs a package that is not installed: {error}") from error
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, IndexError, NotImplementedError) as error:
        if assets is None or assets.failure is None:
            raise RasterError(
                f"{name} cannot be read as {chosen or 'NetCDF'}: {_first_line(error)}; it is damaged or of another kind, fetch it again"
            ) from error
    if assets is not None and assets.failure is not None:
        if isinstance(assets.failure, Changed):
            raise TryAgain(f"{assets.failure}; read it again")
        raise assets.failure


class _Filling(io.RawIOBase):
    """A file that can be read into a buffer, as h5py wants, from one that returns bytes."""

    def __init__(self, file: io.RawIOBase) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer)) or b""
        buffer[: len(data)] = data
        return len(data)


def _lazily(source: Any, engine: Engine) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated metadata")  # Zarr v3 has none as a rule
        return xr.open_dataset(source, engine=engine, chunks=None, decode_timedelta=False, cache=False)


def _is_zarr(path: PathLike) -> bool:
    return shown(path).rstrip("/").endswith(".zarr") or (not is_remote(path) and Path(path).is_dir())


def _netcdf_engine(source: str | io.BufferedReader) -> Engine:
    """What reads a NetCDF file: by its first bytes, HDF5 or classic."""
    if isinstance(source, io.BufferedReader):
        head = source.peek(3)[:3]
    else:
        with Path(source).open("rb") as file:
            head = file.read(3)
    return "scipy" if head == b"CDF" else "h5netcdf"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"


def _dimension(variable: xr.DataArray, axis: Literal["x", "y", "time"], name: str) -> str | None:
    """The dimension that runs along an axis, by CF's attributes or its name; None where there is no time."""
    known, letter = {"x": (_X, "X"), "y": (_Y, "Y"), "time": (_TIME, "T")}[axis]
    for dimension in map(str, variable.dims):
        attributes = variable[dimension].attrs if dimension in variable.coords else {}
        words = (dimension.lower(), str(attributes.get("standard_name", "")).lower())
        if any(word in known for word in words) or str(attributes.get("axis", "")).upper() == letter:
            if axis != "time" and dimension not in variable.coords:
                raise RasterError(f"{name}: {variable.name} has no coordinates along {dimension!r}; write them into the file")
            return dimension
    if axis == "time":
        return None
    raise RasterError(
        f"{name}: {variable.name} has the dimensions {', '.join(map(str, variable.dims))}, none of which is its {axis} axis ({', '.join(known[:3])}); "
        "put the data on a regular grid first"
    )


def _lattice(dataset: xr.Dataset, variable: xr.DataArray, crs: str | None, name: str) -> tuple[Affine, CRS]:
    """Transform and CRS of a variable's pixels. Raises RasterError where its coordinates are not evenly spaced, CrsError."""
    y, x = map(str, variable.dims[-2:])
    (x0, dx), (y0, dy) = (_even(variable[d], name) for d in (x, y))
    if crs is not None:
        found = CRS(crs)
    else:
        mapping = variable.encoding.get("grid_mapping") or variable.attrs.get("grid_mapping")
        attributes = dataset[mapping].attrs if mapping in dataset.variables else {}
        described = attributes.get("crs_wkt") or attributes.get("spatial_ref")
        try:
            if described:
                found = CRS(str(described))
            elif attributes.get("grid_mapping_name"):
                found = CRS(pyproj.CRS.from_cf(dict(attributes)).to_wkt())
            elif x.lower() in _X[:2] or str(variable[x].attrs.get("standard_name")) == "longitude":
                found = CRS("EPSG:4326")
            else:
                raise CrsError(f"{name}: {variable.name} names no grid mapping; say `file_crs: EPSG:...` in the source")
        except (pyproj.exceptions.CRSError, KeyError, ValueError) as error:
            raise CrsError(f"{name}: its grid mapping {mapping!r} is no CRS ({error}); say `file_crs: EPSG:...` in the source") from error
    metres = 1000.0 if str(variable[x].attrs.get("units", "")) == "km" else 1.0
    return Affine(dx * metres, 0, (x0 - dx / 2) * metres, 0, dy * metres, (y0 - dy / 2) * metres), found


def _even(coordinate: xr.DataArray, name: str) -> tuple[float, float]:
    """First value and step of evenly spaced coordinates."""
    values = np.asarray(coordinate.values, np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        raise RasterError(f"{name}: {coordinate.name} has {len(values)} usable coordinates; a grid needs two at least")
    step = (values[-1] - values[0]) / (len(values) - 1)
    uneven = np.abs(values - (values[0] + step * np.arange(len(values)))).max()
    if step == 0 or uneven > _UNEVEN * abs(step):
        raise RasterError(f"{name}: {coordinate.name} is not evenly spaced (off by {uneven:.3g}); put the data on a regular grid first")
    return float(values[0]), float(step)


def _days(variable: xr.DataArray, name: str) -> npt.NDArray[np.datetime64] | None:
    """The day of every entry of the time axis, datetime64[D]; of months without a year, that of the year 1."""
    if variable.ndim == 2:
        return None
    time = str(variable.dims[0])
    values = variable[time].values if time in variable.coords else np.array([])
    if np.issubdtype(values.dtype, np.datetime64):
        return values.astype("datetime64[D]")
    if len(values) and hasattr(values.flat[0], "strftime"):  # other calendars: 30 February is the last of the month
        return np.array([np.datetime64(f"{v.year:04d}-{v.month:02d}") + np.timedelta64(0, "M") for v in values]).astype(
            "datetime64[D]"
        ) + np.array([min(v.day, 28) - 1 for v in values])
    if np.issubdtype(values.dtype, np.integer) and len(values) and values.min() >= 1 and values.max() <= _MONTHS_OF_YEAR:
        return (np.datetime64("0001-01", "M") + (values.astype(int) - 1)).astype("datetime64[D]")
    raise RasterError(f"{name}: the times of {variable.name} are not dates (units such as 'days since 2000-01-01' are missing)")


def _within(days: npt.NDArray[np.datetime64], period: Period, how: str, what: str) -> _Entries:
    """Entries of a period, weighted. Raises RasterError when the file has none, or fewer than its own step promises."""
    start, end = (np.datetime64(day, "D") for day in period)
    inside = np.flatnonzero((days >= start) & (days < end))
    own = np.unique(days)  # hours of a day are one entry here
    length = float((end - start).astype(int))
    step = float(np.median(np.diff(own).astype(float))) if len(own) > 1 else length
    expected = max(1, int(length / step + 0.1))
    if 28 <= step <= 31:  # months: a year holds twelve, not 365 / 31
        expected = max(1, int((end.astype("datetime64[M]") - start.astype("datetime64[M]")).astype(int)))
    found = len(inside) if len(own) == len(days) else int(((own >= start) & (own < end)).sum())
    if found < expected:
        raise RasterError(
            f"{what} has {found} of {expected} entries from {period[0]} to {period[1]}; it spans {days.min()} to {days.max()}: "
            "choose other periods, or say `climatology: true` if its months are those of any year"
        )
    return {int(i): 1.0 if how == "sum" else 1.0 / len(inside) for i in inside}


def _calendar_months(days: npt.NDArray[np.datetime64], period: Period, how: str, what: str) -> _Entries:
    """Entries of a period's calendar months of any year, weighted: each month its mean, the months by `how`."""
    start, end = period
    count = (end.year - start.year) * _MONTHS_OF_YEAR + end.month - start.month
    month_of = days.astype("datetime64[M]").astype(int) % _MONTHS_OF_YEAR
    weights: _Entries = {}
    for k in range(count):
        month = (start.month - 1 + k) % _MONTHS_OF_YEAR
        entries = np.flatnonzero(month_of == month)
        if not len(entries):
            raise RasterError(f"{what} has no entry of month {month + 1}; a climatology needs all the months of its periods")
        for i in entries:
            weights[int(i)] = weights.get(int(i), 0.0) + 1.0 / len(entries) / (1 if how == "sum" else count)
    return weights
