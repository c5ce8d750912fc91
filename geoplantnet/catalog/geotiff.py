"""Cloud-optimised GeoTIFF: bands (y, x) + GeoBox -> file, and back to what the header says."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, get_args
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.shutil import copy

from geoplantnet.errors import CrsError, IntegrityError, RasterError, StorageError, UsageError, did_you_mean
from geoplantnet.storage import write_beside

BLOCK = 256
"""Side of an internal tile, pixels."""

_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
_RESAMPLINGS = ("nearest", "average", "mode", "bilinear", "cubic", "rms")
_T = TypeVar("_T")
_NO_COLOUR = {"photometric": "MINISBLACK", "ALPHA": "NO"}
"""Without it GDAL takes three bytes a pixel for red, green and blue, and a fourth for transparency, which overviews then weigh by."""

Compression: TypeAlias = Literal["deflate", "zstd", "lerc_zstd"]

_CACHE_MB = 64
"""GDAL's cache of blocks; its own default is a share of the machine's memory."""
_COMPARED = 16_000_000
"""Values read back at a time."""
_ROOM = 2**24
"""Bytes asked of a disk to learn whether it is full."""


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
    bands: npt.NDArray[Any] | Iterable[npt.NDArray[Any]],
    geobox: GeoBox,
    *,
    band_names: Sequence[str],
    band_descriptions: Sequence[str] | None = None,
    dtype: str | None = None,
    scale: float | Sequence[float] = 1.0,
    offset: float | Sequence[float] = 0.0,
    nodata: float | None,
    unit: str | Sequence[str] = "",
    tags: Mapping[str, str] | None = None,
    overview_resampling: str | Sequence[str] = "average",
    overviews: Sequence[int] | None = None,
    compress: Compression = "deflate",
    max_error: float = 0.0,
) -> Path:
    """Write stored values (band, y, x), rows north to south, on `geobox`. Same input, same bytes.

    `bands` is an array, or bands (y, x) of `dtype` that come one after the other: of a raster larger than memory no more than one is held.
    `scale`, `offset` and `unit` are one for all bands or one a band: value = stored * scale + offset. Names become GDAL
    band descriptions (what GIS software lists), descriptions the band tag ``long_name``. Overviews halve the raster until
    it fits half a block, or are coarser by `overviews`, factors in rising order, each made of the raster's own cells; use
    ``overview_resampling="mode"`` (or ``nearest``) for classes and masks, one for all bands or one a band. No band
    is taken for a colour or for transparency, however many there are. Statistics of the stored values are in the header; a band without data is allowed and says ``STATISTICS_VALID_PERCENT=0``.

    ``deflate`` is read everywhere; ``lerc_zstd`` keeps a checksum of every block, so that a flipped bit is an error when it is read, and may
    move floating point values by `max_error` at most. What GDAL made is read back and compared before it is committed; until then as much
    as the raster holds lies beside `path` once more, uncompressed. Raises RasterError or CrsError for bands that do not fit their
    description, UsageError for an unknown resampling or compression, StorageError when the store cannot hold the file.
    """
    final = Path(path)
    if isinstance(bands, np.ndarray):
        if bands.ndim != 3 or 0 in bands.shape:
            raise RasterError(f"a raster has axes (band, y, x), none of them empty; got shape {bands.shape}")
        _check_names(band_names, bands.shape[0])
        dtype = bands.dtype.name
    kind = _checked(dtype, geobox, band_names, band_descriptions, nodata)
    count, (height, width) = len(band_names), tuple(geobox.shape)
    resamplings: tuple[str, ...] = _per_band(overview_resampling, count, "overview_resampling")
    for wanted in resamplings:
        if wanted not in _RESAMPLINGS:
            hint = did_you_mean(wanted, _RESAMPLINGS)
            raise UsageError(f"overview_resampling {wanted!r} is not one of {', '.join(_RESAMPLINGS)}.{hint}")
    scales, offsets = _per_band(scale, count, "scale"), _per_band(offset, count, "offset")
    units: tuple[str, ...] = _per_band(unit, count, "unit")
    layout = {"driver": "GTiff", "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "interleave": "band", **_NO_COLOUR}
    packed = _packing(compress, kind, max_error)
    with (
        rasterio.Env(GDAL_PAM_ENABLED=False, GDAL_NUM_THREADS=1, GDAL_CACHEMAX=_CACHE_MB),
        write_beside(final) as temporary,
        NamedTemporaryFile(dir=final.parent, prefix=".tmp-", suffix=".tif") as spare,
        TemporaryDirectory(dir=final.parent, prefix=".tmp-") as beside,
    ):
        try:
            with rasterio.open(
                spare.name,
                "w",
                **layout,
                count=count,
                height=height,
                width=width,
                dtype=kind.name,
                crs=str(geobox.crs),
                transform=geobox.affine,
                nodata=nodata,
                BIGTIFF="YES",
            ) as raster:
                passed = _written(raster, bands, band_names, kind, (height, width), nodata)
                found = [(_statistics(band, nodata), _digest(band)) for band in passed]
                raster.scales, raster.offsets, raster.units = scales, offsets, units
                raster.update_tags(**dict(sorted((tags or {}).items())))
                for i, name in enumerate(band_names):
                    raster.set_band_description(i + 1, name)
                    long_name = {"long_name": band_descriptions[i]} if band_descriptions else {}
                    raster.update_tags(i + 1, **long_name, **found[i][0])
                by_gdal = len(set(resamplings)) == 1 and overviews is None
                if by_gdal:
                    raster.build_overviews(overview_factors(height, width), Resampling[resamplings[0]])
            # The COG driver of GDAL < 3.11 knows pixel interleave only, where one species costs reading all of them; the
            # GTiff driver copying overviews lays the file out cloud-optimised just as well.
            factors = overview_factors(height, width) if overviews is None else overviews
            source = spare.name if by_gdal else _with_overviews(Path(spare.name), Path(beside), resamplings, factors)
            copy(source, temporary, **layout, COPY_SRC_OVERVIEWS="YES", BIGTIFF="IF_SAFER", **packed)
            _compare(Path(spare.name), temporary, [digest for _, digest in found], max_error, final)
        except (RasterioError, IntegrityError) as error:
            _ask_for_room(Path(spare.name))
            if isinstance(error, IntegrityError):
                raise
            raise StorageError(f"GDAL could not write {final} ({error}); look after the store, then run again") from error
    return final


def _with_overviews(raster: Path, folder: Path, resamplings: Sequence[str], factors: Sequence[int]) -> str:
    """A VRT in `folder` of a raster with overviews that are resampled band by band, which GDAL itself does for all bands alike, and each
    from the raster's cells, which GDAL makes of the overview before.
    """
    virtual = folder / "raster.vrt"
    copy(raster, virtual, driver="VRT")
    files = []
    with rasterio.open(raster) as full:
        for factor in factors:
            shape = -(-full.height // factor), -(-full.width // factor)
            file = folder / f"{factor}.tif"
            profile = {"driver": "GTiff", "dtype": full.dtypes[0], "count": full.count, "height": shape[0], "width": shape[1]}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                with rasterio.open(file, "w", **profile, nodata=full.nodata, **_NO_COLOUR) as smaller:
                    for band, how in enumerate(resamplings, 1):
                        smaller.write(full.read(band, out_shape=shape, resampling=Resampling[how]), band)
            files.append(file)
    document = ElementTree.parse(virtual)
    for band, element in enumerate(document.iter("VRTRasterBand"), 1):
        for file in files:
            overview = ElementTree.SubElement(element, "Overview")
            ElementTree.SubElement(overview, "SourceFilename", relativeToVRT="1").text = file.name
            ElementTree.SubElement(overview, "SourceBand").text = str(band)
    document.write(virtual)
    return str(virtual)


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
                bands=_bands(raster),
            )
    except RasterioError as error:
        raise RasterError(f"cannot open {path} as GeoTIFF: {error}; make it again") from error


def _checked(
    dtype: str | None, geobox: GeoBox, names: Sequence[str], descriptions: Sequence[str] | None, nodata: float | None
) -> np.dtype[Any]:
    """The type of the bands, when all that is said of them can be."""
    if dtype is None:
        raise UsageError("bands that come one after the other need their dtype beforehand; give it")
    kind = np.dtype(dtype)
    if kind.name not in _DTYPES:
        raise RasterError(f"GeoTIFF cannot hold {kind}; convert to one of {', '.join(_DTYPES)}")
    if geobox.crs is None:
        raise CrsError("the geobox has no CRS; give it one, such as EPSG:3035")
    if not (geobox.affine.b == geobox.affine.d == 0 and geobox.affine.a > 0 > geobox.affine.e):
        raise RasterError(f"the geobox is not north-up ({geobox.affine!r}); rows run north to south, columns west to east")
    _check_names(names, len(names))
    if descriptions is not None and len(descriptions) != len(names):
        raise RasterError(f"{len(names)} bands, but {len(descriptions)} descriptions; give one a band")
    if kind.kind != "f" and nodata is not None and not (float(nodata).is_integer() and np.iinfo(kind).min <= nodata <= np.iinfo(kind).max):
        raise RasterError(f"nodata {nodata} does not exist in {kind}; choose a value between its ends")
    return kind


def _check_names(names: Sequence[str], count: int) -> None:
    if not names or len(names) != count or len(set(names)) != count:
        raise RasterError(f"{count} bands need as many different names; got {len(names)}, {len(set(names))} of them different")


def _packing(compress: Compression, kind: np.dtype[Any], max_error: float) -> dict[str, Any]:
    """Creation options of GDAL for a compression."""
    if compress not in get_args(Compression):
        raise UsageError(
            f"compress {compress!r} is not one of {', '.join(get_args(Compression))}.{did_you_mean(compress, get_args(Compression))}"
        )
    if not (max_error == 0 or (0 < max_error < math.inf and compress == "lerc_zstd" and kind.kind == "f")):
        raise UsageError(
            f"max_error {max_error} is for floating point values and lerc_zstd, and not negative; here are {kind} and {compress}"
        )
    if compress == "lerc_zstd":
        return {"COMPRESS": "LERC_ZSTD", "ZSTD_LEVEL": 9, "MAX_Z_ERROR": max_error}
    level = {"ZLEVEL": 6} if compress == "deflate" else {"ZSTD_LEVEL": 9}
    return {"COMPRESS": compress.upper(), **level, "PREDICTOR": 3 if kind.kind == "f" else 2}


def _written(
    raster: DatasetWriter,
    bands: Iterable[npt.NDArray[Any]],
    names: Sequence[str],
    kind: np.dtype[Any],
    shape: tuple[int, ...],
    nodata: float | None,
) -> Iterator[npt.NDArray[Any]]:
    """Write bands as they come, and pass them on. Raises RasterError for one that is not as was said, or for more or fewer than names."""
    count = 0
    for count, band in enumerate(bands, start=1):
        if count > len(names):
            raise RasterError(f"more bands than the {len(names)} names; each band needs a name of its own")
        if band.shape != shape:
            raise RasterError(f"array has {band.shape} rows and columns, the geobox {shape}; both must be of one lattice")
        if band.dtype != kind:
            raise RasterError(f"band {names[count - 1]} is {band.dtype}, the raster {kind}; all bands of a raster have one type")
        if kind.kind == "f" and (nodata is None or not math.isnan(nodata)) and np.isnan(band).any():
            raise RasterError(f"the array holds NaN but nodata is {nodata}; readers would take NaN for a value: use nodata=nan or fill it")
        raster.write(band, count)
        yield band
    if count != len(names):
        raise RasterError(f"{len(names)} names, but {count} bands; give as many of both")


def _digest(band: npt.NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(band).data).digest()


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


def overview_factors(height: int, width: int) -> list[int]:
    """By what the overviews of a raster that `write_cog` makes are coarser than it."""
    factors, factor = [], 2
    while max(height, width) * 2 // factor > BLOCK // 2:
        factors.append(factor)
        factor *= 2
    return factors


def _compare(spare: Path, written: Path, digests: Sequence[bytes], max_error: float, final: Path) -> None:
    """What was spooled is what came in, and what GDAL packed is that again. Raises IntegrityError."""
    with rasterio.open(spare, driver="GTiff") as source, rasterio.open(written, driver="GTiff") as packed:
        together = max(1, _COMPARED // (source.height * source.width))  # rasterio looks at all bands whenever it reads one
        for start in range(1, len(digests) + 1, together):
            numbers = list(range(start, min(start + together, len(digests) + 1)))
            for i, band, again in zip(numbers, source.read(numbers), packed.read(numbers)):
                if max_error == 0:
                    same = np.array_equal(again, band, equal_nan=band.dtype.kind == "f")
                else:
                    same = np.allclose(again, band, rtol=np.finfo(band.dtype).eps, atol=max_error, equal_nan=True)
                if not same or _digest(band) != digests[i - 1]:
                    raise IntegrityError(
                        f"band {i} for {final} reads differently from what was written; check GDAL and the memory, then run again"
                    )


def _ask_for_room(path: Path) -> None:
    """Raise the operating system's own error when the disk holds no more: GDAL's words do not say why a write failed."""
    with path.open("ab") as stream:
        stream.write(bytes(_ROOM))
        stream.flush()
        os.fsync(stream.fileno())


def _bands(raster: DatasetReader) -> tuple[Band, ...]:
    """All bands; what rasterio asks of all at once is asked once."""
    names = ("minimum", "maximum", "mean", "stddev", "valid_percent")
    of_all = zip(raster.indexes, raster.descriptions, raster.units, raster.scales, raster.offsets, raster.nodatavals)
    return tuple(
        Band(
            name=name or f"band_{i}",
            description=tags.get("long_name", ""),
            unit=unit or "",
            scale=scale,
            offset=offset,
            nodata=nodata,
            statistics={name: float(tags[key]) for name in names if (key := f"STATISTICS_{name.upper()}") in tags},
        )
        for i, name, unit, scale, offset, nodata in of_all
        for tags in (raster.tags(i),)
    )
