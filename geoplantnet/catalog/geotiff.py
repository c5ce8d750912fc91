"""Cloud-optimised GeoTIFF: array (band, y, x) + GeoBox -> file, and back to what the header says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.shutil import copy

from geoplantnet.errors import CrsError, IntegrityError, RasterError, UsageError, did_you_mean
from geoplantnet.storage import write_beside

BLOCK = 256
"""Side of an internal tile, pixels."""

_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
_RESAMPLINGS = ("nearest", "average", "mode", "bilinear", "cubic", "rms")
_T = TypeVar("_T")


class Encoded(NamedTuple):
    """Values as a file stores them, with what encoding did to them."""

    values: npt.NDArray[Any]
    """Stored values, of the asked integer dtype, same shape as the input."""
    missing: int
    """Values that were NaN and became nodata."""
    clipped: int
    """Values outside the storable range (infinities among them) that became its nearest end."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """What a raster's header says about one band."""

    name: str
    description: str
    unit: str
    scale: float
    offset: float
    nodata: float | None
    statistics: Mapping[str, float]
    """STAC names: minimum, maximum, mean, stddev (stored values), valid_percent; the first four absent when all is nodata."""


@dataclass(frozen=True, kw_only=True)
class RasterHeader:
    """What a GeoTIFF says about itself."""

    crs: str
    """Authority code such as ``EPSG:3035``, else WKT."""
    shape: tuple[int, int]
    """Rows, columns."""
    transform: tuple[float, float, float, float, float, float]
    """Pixel to world, row by row: a, b, c, d, e, f of x = a col + b row + c, y = d col + e row + f."""
    dtype: str
    bands: tuple[Band, ...]


def encode(values: npt.ArrayLike, *, scale: float = 0.004, offset: float = 0.0, nodata: int = 255, dtype: str = "uint8") -> Encoded:
    """Values -> integers: stored = round((value - offset) / scale), NaN -> `nodata`, the rest clipped to what can be stored.

    The defaults hold probabilities in one byte in steps of 0.004 (1.0 is 250, 255 is nodata). `nodata` must be the
    lowest or highest value of `dtype`, so that no real value can meet it. Raises UsageError.
    """
    kind = np.dtype(dtype)
    if kind.kind not in "iu" or kind.name not in _DTYPES:
        raise UsageError(f"encode stores integers of 8 to 32 bits, not {kind}; write floating point values as they are")
    info = np.iinfo(kind)
    if not (math.isfinite(scale) and scale != 0 and math.isfinite(offset)):
        raise UsageError(f"scale {scale} and offset {offset} must be finite and the scale not 0")
    if nodata not in (info.min, info.max):
        raise UsageError(f"nodata {nodata} lies among the storable values of {kind}; use {info.min} or {info.max}")
    low, high = (info.min + 1, info.max) if nodata == info.min else (info.min, info.max - 1)
    stored = np.array(values, np.float64)  # a copy, worked on in place: blocks of species are large
    stored -= offset
    stored /= scale
    np.rint(stored, out=stored)
    missing = np.isnan(stored)
    clipped = int(np.count_nonzero(stored < low) + np.count_nonzero(stored > high))
    np.clip(stored, low, high, out=stored)
    stored[missing] = nodata
    return Encoded(stored.astype(kind), int(np.count_nonzero(missing)), clipped)


def decode(stored: npt.NDArray[Any], *, scale: float = 0.004, offset: float = 0.0, nodata: float | None = 255) -> npt.NDArray[np.float32]:
    """Inverse of `encode`, up to half a step: value = stored * scale + offset as float32, NaN where nodata."""
    values = (stored.astype(np.float64) * scale + offset).astype(np.float32)
    if nodata is not None:
        values[stored == nodata] = np.nan
    return values


def write_cog(
    path: str | Path,
    array: npt.NDArray[Any],
    geobox: GeoBox,
    *,
    band_names: Sequence[str],
    band_descriptions: Sequence[str] | None = None,
    scale: float | Sequence[float] = 1.0,
    offset: float | Sequence[float] = 0.0,
    nodata: float | None,
    unit: str | Sequence[str] = "",
    tags: Mapping[str, str] | None = None,
    overview_resampling: str = "average",
) -> Path:
    """Write stored values (band, y, x), rows north to south, on `geobox`. Same input, same bytes.

    `scale`, `offset` and `unit` are one for all bands or one a band: value = stored * scale + offset. Names become GDAL
    band descriptions (what GIS software lists), descriptions the band tag ``long_name``. Overviews halve the raster until
    it fits half a block; use ``overview_resampling="mode"`` (or ``nearest``) for classes. Statistics of the stored values
    are in the header; a band without data is allowed and says ``STATISTICS_VALID_PERCENT=0``.

    What GDAL made is read back and compared before it is committed. Raises RasterError or CrsError for an array that does not
    fit its description, UsageError for an unknown resampling, StorageError when the store cannot hold the file.
    """
    final = Path(path)
    _check(array, geobox, band_names, band_descriptions, nodata)
    if overview_resampling not in _RESAMPLINGS:
        hint = did_you_mean(overview_resampling, _RESAMPLINGS)
        raise UsageError(f"overview_resampling {overview_resampling!r} is not one of {', '.join(_RESAMPLINGS)}.{hint}")
    count, height, width = array.shape
    layout = {"driver": "GTiff", "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "interleave": "band"}
    # GDAL writes into memory only: a full disk then is an error of the operating system, not a guess from GDAL's words.
    with rasterio.Env(GDAL_PAM_ENABLED=False, GDAL_NUM_THREADS=1), MemoryFile() as source, MemoryFile() as cog:
        with source.open(
            **layout,
            count=count,
            height=height,
            width=width,
            dtype=array.dtype.name,
            crs=str(geobox.crs),
            transform=geobox.affine,
            nodata=nodata,
        ) as raster:
            raster.write(array)
            raster.scales = _per_band(scale, count, "scale")
            raster.offsets = _per_band(offset, count, "offset")
            raster.units = _per_band(unit, count, "unit")
            raster.update_tags(**dict(sorted((tags or {}).items())))
            for i, name in enumerate(band_names):
                raster.set_band_description(i + 1, name)
                long_name = {"long_name": band_descriptions[i]} if band_descriptions else {}
                raster.update_tags(i + 1, **long_name, **_statistics(array[i], nodata))
            raster.build_overviews(_overview_factors(height, width), Resampling[overview_resampling])
        # The COG driver of GDAL < 3.11 knows pixel interleave only, where one species costs reading all of them; the
        # GTiff driver copying overviews lays the file out cloud-optimised just as well. DEFLATE, because every TIFF
        # reader has it (LERC and ZSTD are missing from distributions still in use).
        predictor = 3 if array.dtype.kind == "f" else 2
        with source.open() as raster:
            copy(raster, cog.name, **layout, COPY_SRC_OVERVIEWS="YES", COMPRESS="DEFLATE", ZLEVEL=6, PREDICTOR=predictor)
        _compare(cog, array, final)
        with write_beside(final) as temporary:
            temporary.write_bytes(cog.getbuffer())
    return final


def read_header(path: str | Path) -> RasterHeader:
    """What the GeoTIFF at `path` says about itself. Raises RasterError when it cannot be opened, CrsError without a CRS."""
    try:
        with rasterio.open(path, driver="GTiff") as raster:
            if raster.crs is None:
                raise CrsError(f"{path} has no CRS; write it again with one")
            authority = raster.crs.to_authority()
            return RasterHeader(
                crs=":".join(authority) if authority else raster.crs.to_wkt(),
                shape=raster.shape,
                transform=tuple(raster.transform)[:6],
                dtype=raster.dtypes[0],
                bands=tuple(_band(raster, i) for i in raster.indexes),
            )
    except RasterioError as error:
        raise RasterError(f"cannot open {path} as GeoTIFF: {error}; make it again") from error


def _check(array: npt.NDArray[Any], geobox: GeoBox, names: Sequence[str], descriptions: Sequence[str] | None, nodata: float | None) -> None:
    if array.ndim != 3 or 0 in array.shape:
        raise RasterError(f"a raster has axes (band, y, x), none of them empty; got shape {array.shape}")
    if array.dtype.name not in _DTYPES:
        raise RasterError(f"GeoTIFF cannot hold {array.dtype}; convert to one of {', '.join(_DTYPES)}")
    if array.shape[1:] != tuple(geobox.shape):
        raise RasterError(f"array has {array.shape[1:]} rows and columns, the geobox {tuple(geobox.shape)}; both must be of one lattice")
    if geobox.crs is None:
        raise CrsError("the geobox has no CRS; give it one, such as EPSG:3035")
    if not (geobox.affine.b == geobox.affine.d == 0 and geobox.affine.a > 0 > geobox.affine.e):
        raise RasterError(f"the geobox is not north-up ({geobox.affine!r}); rows run north to south, columns west to east")
    if len(names) != array.shape[0] or len(set(names)) != len(names):
        raise RasterError(f"{array.shape[0]} bands need as many different names; got {len(names)}, {len(set(names))} of them different")
    if descriptions is not None and len(descriptions) != array.shape[0]:
        raise RasterError(f"{array.shape[0]} bands, but {len(descriptions)} descriptions; give one a band")
    if array.dtype.kind == "f":
        if (nodata is None or not math.isnan(nodata)) and np.isnan(array).any():
            raise RasterError(f"the array holds NaN but nodata is {nodata}; readers would take NaN for a value: use nodata=nan or fill it")
    elif nodata is not None and not (float(nodata).is_integer() and np.iinfo(array.dtype).min <= nodata <= np.iinfo(array.dtype).max):
        raise RasterError(f"nodata {nodata} does not exist in {array.dtype}; choose a value between its ends")


def _per_band(value: _T | Sequence[_T], count: int, what: str) -> tuple[_T, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return (value,) * count  # type: ignore[return-value]
    if len(value) != count:
        raise RasterError(f"{count} bands, but {len(value)} values of {what}; give one for all or one a band")
    return tuple(value)


def _valid(band: npt.NDArray[Any], nodata: float | None) -> npt.NDArray[Any]:
    if nodata is None:
        return band.ravel()
    return band[~np.isnan(band)] if math.isnan(nodata) else band[band != nodata]


def _statistics(band: npt.NDArray[Any], nodata: float | None) -> dict[str, str]:
    """The tags GDAL and QGIS read for stretching, of stored values."""
    valid = _valid(band, nodata)
    valid = valid[np.isfinite(valid)].astype(np.float64)
    tags = {"STATISTICS_VALID_PERCENT": f"{100 * valid.size / band.size:.4g}"}
    if valid.size:
        with np.errstate(over="ignore"):
            numbers = {"MINIMUM": valid.min(), "MAXIMUM": valid.max(), "MEAN": valid.mean(), "STDDEV": valid.std()}
        tags |= {f"STATISTICS_{name}": f"{number:.10g}" for name, number in numbers.items() if np.isfinite(number)}
    return tags


def _overview_factors(height: int, width: int) -> list[int]:
    factors, factor = [], 2
    while max(height, width) * 2 // factor > BLOCK // 2:
        factors.append(factor)
        factor *= 2
    return factors


def _compare(cog: MemoryFile, array: npt.NDArray[Any], final: Path) -> None:
    with cog.open(driver="GTiff") as raster:
        for i, written in enumerate(array):
            if not np.array_equal(raster.read(i + 1), written, equal_nan=written.dtype.kind == "f"):
                raise IntegrityError(
                    f"band {i + 1} for {final} reads differently from what was written; check GDAL and the memory, then run again"
                )


def _band(raster: Any, i: int) -> Band:
    tags = raster.tags(i)
    names = ("minimum", "maximum", "mean", "stddev", "valid_percent")
    return Band(
        name=raster.descriptions[i - 1] or f"band_{i}",
        description=tags.get("long_name", ""),
        unit=raster.units[i - 1] or "",
        scale=raster.scales[i - 1],
        offset=raster.offsets[i - 1],
        nodata=raster.nodatavals[i - 1],
        statistics={name: float(tags[key]) for name in names if (key := f"STATISTICS_{name.upper()}") in tags},
    )
