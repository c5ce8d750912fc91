"""Median composites made where the pixels are, and brought onto the grid once.

For every lattice of pixels (a UTM zone, mostly): read each scene's window as it is stored, mask it, take the median along time
in whole numbers, and only then reproject the one composite. Warping every scene first costs ten times as much and smears
clouds into their neighbours.

    Rasters     the files of scenes: opened once, read by window
    Placed      a scene on its lattice
    Native      a composite on its lattice
    median      along time, of uint16 with 0 for no data
    onto        Native composites -> a GeoBox
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj.exceptions import CRSError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geoplantnet.grid.warp import bilinear, means_inside, nearest, positions_onto
from geoplantnet.sources.http import Assets, Patience, public, with_retries
from geoplantnet.sources.scenes import MASK_FILL, Harmonised, Unusable, inside, settled, usable

FloatArray: TypeAlias = npt.NDArray[np.float32]
Counts: TypeAlias = npt.NDArray[np.uint16]
Stored: TypeAlias = npt.NDArray[np.uint16]
Resampling: TypeAlias = Literal["nearest", "bilinear", "average"]

STACK_BYTES = 128_000_000
"""Most bytes of the stack of dates worked on at once: memory does not grow with the number of scenes."""

_OPEN_FILES = 512
_GDAL_CACHE = 32_000_000  # bytes: blocks are decoded once, so a cache of GDAL's usual size (a twentieth of all memory) only takes room
_OPEN_REMOTE = 8  # a remote file kept open keeps its bytes
_CHUNK = 16_384  # pixels sorted at once: their stack stays in the processor's cache
_SAMPLE = 256  # side of the sample of a scene that settles its offset
_HIGHEST = np.uint16(65_534)  # one below what stands for a missing value above the median


class Rasters:
    """The files of scenes, opened once and read by window. Use it in a `with`, one thread at a time."""

    def __init__(self, assets: Assets, patience: Patience) -> None:
        self._assets, self._patience = assets, patience
        self._open: OrderedDict[str, Any] = OrderedDict()

    def __enter__(self) -> Rasters:
        self._environment = rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE)
        self._environment.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        while self._open:
            self._open.popitem()[1].close()
        self._environment.__exit__(*error)

    def header(self, href: str) -> Any:
        """The open dataset. Raises what `with_retries` raises."""
        if href in self._open:
            return self._dataset(href)
        return with_retries(lambda: self._dataset(href), self._patience, assets=self._assets)

    def read(self, href: str, window: Window, **options: Any) -> npt.NDArray[Any]:
        """The first band's pixels in a window that lies inside the file; `options` are rasterio's. Raises what `with_retries` raises."""
        pixels: npt.NDArray[Any] = with_retries(lambda: self._read(href, window, options), self._patience, assets=self._assets)
        return pixels

    def _read(self, href: str, window: Window, options: Mapping[str, Any]) -> npt.NDArray[Any]:
        try:
            values: npt.NDArray[Any] = self._dataset(href).read(1, window=window, **options)
            return values
        except RasterioError:
            with suppress(KeyError):
                self._open.pop(href).close()
            raise

    def _dataset(self, href: str) -> Any:
        if href in self._open:
            self._open.move_to_end(href)
            return self._open[href]
        address = self._assets(href)
        dataset = rasterio.open(address, driver="JP2OpenJPEG" if public(href).lower().endswith(".jp2") else "GTiff")
        self._open[href] = dataset
        while len(self._open) > (_OPEN_FILES if type(address) is str else _OPEN_REMOTE):
            self._open.popitem(last=False)[1].close()
        return dataset


@dataclass(frozen=True)
class Lattice:
    """Where the pixels of a set of scenes lie: pixel (column, row) has its corner at (x + column * step, y - row * step)."""

    crs: CRS
    step: float
    """Side of a pixel of the finest band, metres."""
    coarse: int
    """Side of a pixel of the coarsest asset, in pixels; its pixels start at multiples of it."""
    x: float
    y: float

    def columns(self, easting: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return (easting - self.x) / self.step

    def rows(self, northing: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return (self.y - northing) / self.step


@dataclass(frozen=True)
class Extent:
    """A rectangle of pixels of a lattice, rows southwards."""

    left: int
    top: int
    width: int
    height: int

    def meet(self, other: Extent) -> Extent:
        left, top = max(self.left, other.left), max(self.top, other.top)
        right = min(self.left + self.width, other.left + other.width)
        bottom = min(self.top + self.height, other.top + other.height)
        return Extent(left, top, max(0, right - left), max(0, bottom - top))

    def __bool__(self) -> bool:
        return self.width > 0 and self.height > 0


@dataclass(frozen=True)
class Placed:
    """A scene on its lattice."""

    scene: Harmonised
    lattice: Lattice
    extents: Mapping[str, Extent]
    """Of each asset, in pixels of the lattice."""
    factors: Mapping[str, int]
    """Side of a pixel of each asset, in pixels of the lattice."""
    block: tuple[int, int]
    """Height and width of the blocks of the finest asset: what is decoded at once."""


def place(scene: Harmonised, mask: str, bands: Sequence[str], rasters: Rasters, *, crs: str | None) -> Placed:
    """Find a scene's lattice in its files (their word counts, not the catalog's) and settle its offset by its pixels.

    `crs` is what the item says. Raises Unusable for files that disagree with it or with each other, and what
    `Rasters.header` raises.
    """
    names = (*bands, mask)
    sets = {name: rasters.header(scene.assets[name]) for name in names}
    transforms = {name: dataset.transform for name, dataset in sets.items()}
    systems = {dataset.crs for dataset in sets.values()}
    if None in systems:
        raise Unusable("with a file without CRS")
    if len(systems) > 1:
        raise Unusable("with files in several CRSs")
    system = CRS(systems.pop().to_wkt())
    if crs is not None and not _same(crs, system):
        raise Unusable("whose files are in another CRS than the item says")
    if any(t.b or t.d or t.a <= 0 or t.e != -t.a for t in transforms.values()) or system.geographic:
        raise Unusable("whose pixels are not squares of metres, north up")
    if any(dataset.dtypes[0] not in ("uint8", "uint16") for dataset in sets.values()):
        raise Unusable("whose numbers are not uint8 or uint16")
    step = min(transforms[b].a for b in bands)
    factors = {name: round(t.a / step) for name, t in transforms.items()}
    coarse = math.lcm(*factors.values())
    corner = transforms[mask]
    lattice = Lattice(system, step, coarse, corner.c % (coarse * step), corner.f % (coarse * step))
    extents = {}
    for name, t in transforms.items():
        left, top = lattice.columns(np.array(t.c)), lattice.rows(np.array(t.f))
        exact = abs(left - round(float(left))) < 0.01 and abs(top - round(float(top))) < 0.01
        if not exact or round(float(left)) % factors[name] or round(float(top)) % factors[name] or abs(t.a - factors[name] * step) > 1e-6:
            raise Unusable("whose bands do not share a lattice")
        f, dataset = factors[name], sets[name]
        extents[name] = Extent(round(float(left)), round(float(top)), dataset.width * f, dataset.height * f)
    finest = min(bands, key=lambda b: factors[b])
    height, width = sets[finest].block_shapes[0]
    block = (height * factors[finest], width * factors[finest])
    red = next((b for b in ("B04", "B03", "B02") if b in bands), None)
    if scene.mask == "scl" and red is not None:
        scene = settled(scene, *_sample(rasters, scene.assets[red], scene.assets[mask]))
    return Placed(scene, lattice, extents, factors, block)


def _same(said: str, system: CRS) -> bool:
    try:
        return bool(CRS(said) == system)
    except (CRSError, ValueError):  # a word that names no CRS
        return False


def _sample(rasters: Rasters, red: str, mask: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Stored red and classes from all over a scene, alike: the same whatever part of it is read afterwards.

    By the overviews where there are any; else by nine squares of its pixels, or all of a small scene.
    """
    first, second = rasters.header(red), rasters.header(mask)
    ratio = second.width / first.width
    whole = max(first.width, first.height) <= 4 * _SAMPLE or (first.overviews(1) and second.overviews(1))
    windows = [Window(0, 0, first.width, first.height)]
    if not whole:
        edges = [(round((first.width - _SAMPLE) * i / 2), round((first.height - _SAMPLE) * j / 2)) for j in range(3) for i in range(3)]
        windows = [Window(column, row, _SAMPLE, _SAMPLE) for column, row in edges]
    reds, classes = [], []
    for window in windows:
        shape = (min(_SAMPLE, int(window.height)), min(_SAMPLE, int(window.width)))
        other = Window(window.col_off * ratio, window.row_off * ratio, window.width * ratio, window.height * ratio)
        reds.append(rasters.read(red, window, out_shape=shape).ravel())
        classes.append(rasters.read(mask, other, out_shape=shape).ravel())
    return np.concatenate(reds), np.concatenate(classes)


@dataclass(frozen=True)
class Native:
    """A composite on its lattice."""

    lattice: Lattice
    extent: Extent
    values: FloatArray
    """Stored numbers with `Harmonised.offset` brought to `offset`: (band, y, x), NaN where nothing clear was seen."""
    counts: Counts
    """Clear observations, the fewest of the bands: (y, x)."""
    scale: float
    offset: float


def compose(
    dates: Sequence[Sequence[Placed]], bands: Sequence[str], mask: str, extent: Extent, rasters: Rasters, *, snow: bool, stack_bytes: int
) -> Native:
    """Median of the clear pixels of scenes on one lattice, one list a date, best scene first. Bands (and pieces) one at a time.

    The extent has a border of one coarse pixel, left empty, so that interpolation never needs to ask where it ends.
    """
    placed = [p for date in dates for p in date]
    lattice = placed[0].lattice
    offset = placed[0].scene.lowest  # whoever else is there, so that a window's arithmetic is the whole's
    values = np.full((len(bands), extent.height, extent.width), np.nan, dtype=np.float32)
    counts = np.zeros((extent.height, extent.width), dtype=np.uint16)
    inner = Extent(
        extent.left + lattice.coarse, extent.top + lattice.coarse, extent.width - 2 * lattice.coarse, extent.height - 2 * lattice.coarse
    )
    stack = np.empty(0, dtype=np.uint16)
    for piece in pieces(inner, len(dates), placed[0], stack_bytes):
        clear = [_clear(date, mask, piece, rasters, snow=snow) for date in dates]
        seen = [(date, masks) for date, masks in zip(dates, clear) if any(m is not None for m in masks)]
        if not seen:
            continue
        if stack.size < len(seen) * piece.width * piece.height:
            stack = np.empty(len(seen) * piece.width * piece.height, dtype=np.uint16)
        layers = stack[: len(seen) * piece.width * piece.height].reshape(len(seen), piece.height, piece.width)
        rows = slice(piece.top - extent.top, piece.top - extent.top + piece.height)
        columns = slice(piece.left - extent.left, piece.left - extent.left + piece.width)
        fewest = counts[rows, columns]
        fewest[...] = len(seen)
        for i, band in enumerate(bands):
            for layer, (date, masks) in zip(layers, seen):
                _fill(layer, date, masks, mask, band, piece, offset, rasters)
            middle, count = median(layers.reshape(len(seen), -1))
            values[i, rows, columns] = middle.reshape(piece.height, piece.width)
            np.minimum(fewest, count.reshape(piece.height, piece.width), out=fewest)
    return Native(lattice, extent, values, counts, placed[0].scene.scale, offset)


def pieces(extent: Extent, dates: int, like: Placed, stack_bytes: int) -> Iterator[Extent]:
    """Cut an extent into pieces whose stack of dates fits `stack_bytes`, along blocks of the files so that each is decoded once."""
    pixels = max(1, stack_bytes // (2 * max(1, dates)))
    coarse, (block_height, block_width) = like.lattice.coarse, like.block
    corner = like.extents[min(like.factors, key=lambda n: like.factors[n])]
    block_height, block_width = (math.lcm(min(b, 4096), coarse) for b in (block_height, block_width))
    height, width = block_height * max(1, pixels // (extent.width * block_height)), extent.width
    if height * width > pixels:
        width = block_width * max(1, pixels // (height * block_width))
    if height * width > pixels:
        height = coarse * max(1, pixels // (width * coarse))
    for top, bottom in _cuts(extent.top, extent.height, corner.top, height):
        for left, right in _cuts(extent.left, extent.width, corner.left, width):
            yield Extent(left, top, right - left, bottom - top)


def _cuts(start: int, length: int, anchor: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut [start, start + length) at `anchor` + multiples of `size`; in one piece when it fits."""
    if size >= length:
        yield start, start + length
        return
    at = start
    while at < start + length:
        end = min(anchor + ((at - anchor) // size + 1) * size, start + length)
        yield at, end
        at = end


def _clear(date: Sequence[Placed], mask: str, piece: Extent, rasters: Rasters, *, snow: bool) -> list[npt.NDArray[np.bool_] | None]:
    """For each scene of a date the pixels it gives: clear ones that no better scene holds. (y / factor, x), or None."""
    claimed: npt.NDArray[np.bool_] | None = None
    out: list[npt.NDArray[np.bool_] | None] = []
    for p in date:
        factor, rule = p.factors[mask], p.scene.mask
        if not piece.meet(p.extents[mask]):
            out.append(None)
            continue
        classes = _window(p, mask, piece, MASK_FILL[rule], rasters)
        good = usable(classes, rule, snow=snow)
        if claimed is not None:
            good &= ~claimed
        if len(date) > 1:
            held = inside(classes, rule)
            claimed = held if claimed is None else claimed | held
        out.append(_widened(good, factor) if good.any() else None)
    return out


def _widened(good: npt.NDArray[np.bool_], factor: int) -> npt.NDArray[np.bool_]:
    """Each column `factor` times: (y, x) -> (y, factor x)."""
    if factor == 1:
        return good
    wide = np.empty((good.shape[0], good.shape[1], factor), dtype=bool)
    wide[...] = good[:, :, None]
    return wide.reshape(good.shape[0], -1)


def _window(p: Placed, name: str, piece: Extent, fill: int, rasters: Rasters, into: Stored | None = None) -> npt.NDArray[Any]:
    """An asset's pixels in a piece, (height / factor, width / factor), `fill` outside the asset; in `into` when they fit it."""
    factor, own = p.factors[name], p.extents[name]
    part = piece.meet(own)
    shape = (piece.height // factor, piece.width // factor)
    if not part:
        return np.full(shape, fill, dtype=np.uint16)
    window = Window((part.left - own.left) // factor, (part.top - own.top) // factor, part.width // factor, part.height // factor)
    if part == piece and into is not None and into.shape == shape:
        return rasters.read(p.scene.assets[name], window, out=into)
    pixels = rasters.read(p.scene.assets[name], window)
    if part == piece:
        return pixels
    out = np.full(shape, fill, dtype=pixels.dtype)
    top, left = (part.top - piece.top) // factor, (part.left - piece.left) // factor
    out[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return out


def _fill(
    layer: Stored,
    date: Sequence[Placed],
    masks: Sequence[npt.NDArray[np.bool_] | None],
    mask: str,
    band: str,
    piece: Extent,
    offset: float,
    rasters: Rasters,
) -> None:
    """One date of one band into `layer` (y, x): stored numbers brought to the common offset, 0 where masked or missing."""
    begun = False
    for p, good in zip(date, masks):
        if good is None:
            continue
        pixels = _window(p, band, piece, 0, rasters, into=None if begun else layer)
        raised = int(p.scene.offset - offset)  # >= 0
        if raised:
            missing = pixels == 0
            pixels = np.minimum(pixels, _HIGHEST - np.uint16(raised), out=pixels)
            pixels += np.uint16(raised)
            pixels[missing] = 0
        factor, side = p.factors[mask], p.factors[band]
        if side > 1:
            pixels = np.repeat(np.repeat(pixels, side, axis=0), side, axis=1)
        tall = (piece.height // factor, factor, piece.width)
        if begun:
            layer |= np.multiply(pixels.reshape(tall), good[:, None, :], dtype=np.uint16).reshape(layer.shape)
        else:
            np.multiply(pixels.reshape(tall), good[:, None, :], out=layer.reshape(tall), casting="unsafe")
        begun = True


def median(stack: Stored) -> tuple[FloatArray, Counts]:
    """Median of the values above 0 along time, (time, n) -> (n,), the mean of the two middle ones when even; and their number.

    NaN where there is none. Works in place: the stack is lost. Missing values become by turns the lowest and the highest
    number there is, which leaves the median of the others in the middle of a stack of any length; there a sorting network
    (Batcher 1968, AFIPS 32:307), pruned to the two middle outputs, finds it by minima and maxima of whole rows.
    """
    length, pixels = stack.shape
    middle, counts = np.empty(pixels, dtype=np.float32), np.empty(pixels, dtype=np.uint16)
    low = (length - 1) // 2
    high = min(low + 1, length - 1)
    network = _network(length)
    for start in range(0, pixels, _CHUNK):
        rows = [layer[start : start + _CHUNK] for layer in stack]
        spare, odd, missing = np.empty_like(rows[0]), np.zeros_like(rows[0]), np.zeros_like(rows[0])
        for row in rows:
            absent = (row == 0).astype(np.uint16)
            missing += absent
            np.negative(absent, out=absent)  # all bits where missing
            np.bitwise_and(odd, absent, out=spare)
            np.bitwise_or(row, spare, out=row)
            odd ^= absent
        for i, j, keep_low, keep_high in network:
            a, b = rows[i], rows[j]
            if keep_low and keep_high:
                np.minimum(a, b, out=spare)
                np.maximum(a, b, out=b)
                rows[i], spare = spare, a
            elif keep_low:
                np.minimum(a, b, out=a)
            else:
                np.maximum(a, b, out=b)
        below, above = rows[low].astype(np.float32), rows[high].astype(np.float32)
        mean = (below + above) * np.float32(0.5)
        one, two = (above, mean) if length % 2 == 0 else (mean, below)  # an odd, an even number of missing values
        out = np.where(odd != 0, one, two)
        out[missing == length] = np.nan
        middle[start : start + _CHUNK] = out
        counts[start : start + _CHUNK] = length - missing
    return middle, counts


@lru_cache(maxsize=512)
def _network(length: int) -> tuple[tuple[int, int, bool, bool], ...]:
    """Comparators (i, j, minimum to i wanted, maximum to j wanted) that bring the two middle ones of a stack to their places."""
    low = (length - 1) // 2
    wanted = {low, min(low + 1, length - 1)}
    kept = []
    for i, j in reversed(list(_batcher(length))):
        if i in wanted or j in wanted:
            kept.append((i, j, i in wanted, j in wanted))
            wanted |= {i, j}
    return tuple(reversed(kept))


def _batcher(length: int) -> Iterator[tuple[int, int]]:
    """Odd-even merge sort of any length: pairs to compare, in order."""
    p = 1
    while p < length:
        k = p
        while k:
            for j in range(k % p, length - k, 2 * k):
                for i in range(j, min(j + k, length - k)):
                    if i // (2 * p) == (i + k) // (2 * p):
                        yield i, i + k
            k //= 2
        p *= 2


def reach(geobox: GeoBox, lattice: Lattice, extents: Sequence[Extent]) -> Extent:
    """The part of a lattice that a GeoBox needs and the scenes have, with a border to spare; empty where they do not meet."""
    left, top, right, bottom = math.inf, math.inf, -math.inf, -math.inf
    for _, x, y in positions_onto(geobox, lattice.crs):
        with np.errstate(invalid="ignore"):
            columns, rows = lattice.columns(x), lattice.rows(y)
        if np.isfinite(columns).any():
            left, right = min(left, float(np.nanmin(columns))), max(right, float(np.nanmax(columns)))
            top, bottom = min(top, float(np.nanmin(rows))), max(bottom, float(np.nanmax(rows)))
    if not left <= right:
        return Extent(0, 0, 0, 0)
    unit = lattice.coarse
    spare = 1 + abs(geobox.resolution.x) / lattice.step  # from the centres of the outermost cells to their corners, whatever their turn
    west, north = (math.floor((v - spare) / unit) * unit for v in (left, top))
    right, bottom = right + 1 + spare, bottom + 1 + spare
    wanted = Extent(west, north, math.ceil((right - west) / unit) * unit, math.ceil((bottom - north) / unit) * unit)
    parts = [part for e in extents if (part := wanted.meet(e))]
    if not parts:
        return Extent(0, 0, 0, 0)
    west, north = (math.floor(min(v) / unit) * unit - unit for v in ([p.left for p in parts], [p.top for p in parts]))
    east, south = (max(v) for v in ([p.left + p.width for p in parts], [p.top + p.height for p in parts]))
    return Extent(west, north, math.ceil((east - west) / unit) * unit + unit, math.ceil((south - north) / unit) * unit + unit)


def onto(natives: Sequence[Native], geobox: GeoBox, out: FloatArray, counts: Counts, *, resampling: Resampling) -> None:
    """Bring composites onto a GeoBox: reflectance into `out` (band, y, x) and clear observations into `counts` (y, x).

    "average" is the mean over a cell of the values seen in it. "bilinear" becomes that once a cell is twice a pixel,
    and "average" becomes "bilinear" when it is no larger than one. Where several lattices reach, their values are averaged
    by their clear observations, and the count is the larger one: scenes of two zones often are one observation.
    """
    out[...] = np.nan
    counts[...] = 0
    weights: FloatArray | None = np.zeros(geobox.shape, np.float32) if len(natives) > 1 else None
    for native in natives:
        for rows, values, seen in _warped(native, geobox, resampling):
            np.maximum(counts[rows], np.rint(seen).astype(np.uint16), out=counts[rows])
            if weights is None:
                out[:, rows] = values
                continue
            known = np.isfinite(values).any(axis=0)
            weight = np.where(known, seen, 0).astype(np.float32)
            before, total = weights[rows], weights[rows] + weight
            with np.errstate(invalid="ignore", divide="ignore"):
                both = (out[:, rows] * before + values * weight) / total
            out[:, rows] = np.where(np.isnan(values), out[:, rows], np.where(np.isnan(out[:, rows]), values, both))
            weights[rows] = total


def _warped(native: Native, geobox: GeoBox, resampling: Resampling) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
    """Rows of a GeoBox, reflectance (band, rows, x) and clear observations (rows, x) there."""
    ratio = float(geobox.resolution.x) / native.lattice.step
    average = ratio >= 2 or (resampling == "average" and ratio > 1.001)
    method = "bilinear" if resampling == "average" else resampling
    side = 2 ** math.ceil(math.log2((4 if ratio < 4 else 2) * ratio)) if average and resampling != "nearest" else 1
    scale, offset = np.float32(native.scale), np.float32(native.offset)
    observed = native.counts.astype(np.float32)
    observed[observed == 0] = np.nan
    height = max(1, 64 // side) if side > 1 else geobox.shape[0]
    for first in range(0, geobox.shape[0], height):
        last = min(first + height, geobox.shape[0])
        part = geobox[first:last]
        fine = part.zoom_out(1 / side) if side > 1 else part
        strips = list(_pixels(fine, native)) if side > 1 else _pixels(fine, native)
        if side > 1:
            columns, rows = (np.concatenate([s[i] for s in strips]) for i in (1, 2))
            *means, seen = means_inside([*native.values, observed], columns, rows, side)
            yield slice(first, last), (np.stack(means) + offset) * scale, np.nan_to_num(seen)
            continue
        for strip, columns, rows in strips:
            take = nearest if method == "nearest" else bilinear
            values = np.stack([take(band, columns, rows) for band in native.values])
            yield strip, (values + offset) * scale, nearest(native.counts, columns, rows).astype(np.float32)


def _pixels(geobox: GeoBox, native: Native) -> Iterator[tuple[slice, npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Rows of a GeoBox and where their pixels lie in a composite; what is outside lies in its empty border."""
    lattice, extent = native.lattice, native.extent
    for strip, x, y in positions_onto(geobox, lattice.crs):
        columns, rows = lattice.columns(x) - extent.left, lattice.rows(y) - extent.top
        for values, size in ((columns, extent.width), (rows, extent.height)):
            np.nan_to_num(values, copy=False, nan=0.5)
            np.clip(values, 0.5, size - 0.5 - 1e-6, out=values)
        yield strip, columns, rows
