"""The catalog's rasters read as one: any window, any offered CRS, any zoom, no seams between tiles.

Every map pixel asks for the value at its centre. The centre is brought into the grid's CRS, where it lies in exactly
one cell of exactly one tile: gaps and overlaps cannot happen. Zoomed out, the cells are those of a pyramid whose level
k halves the tile's side k times (rounded up); a level is read from the file's overviews where they exist.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import Affine
from rasterio.windows import Window

from geoplantnet.catalog import Catalog
from geoplantnet.catalog.product import Layer
from geoplantnet.errors import RasterError
from geoplantnet.serving.crs import Bounds, Crs, reproject_bounds, transformer
from geoplantnet.serving.exceptions import TooLarge

FloatArray = npt.NDArray[np.floating[Any]]
Place = TypeVar("Place", float, FloatArray)

MAX_CELLS = 4096 * 4096
"""Cells one answer may hold."""

_STRIP = 256
"""Map rows worked on at a time: bounds the memory of a large map."""

_EXACT = 0.02
"""How far, in cells, an interpolated pixel centre may lie from the exact one."""


@dataclass(frozen=True)
class Lattice:
    """The square cells of a layer at one level of its pyramid, over all tiles of the catalog."""

    west: float
    north: float
    tile_size: float
    """Metres."""
    cells: int
    """Cells along a tile's side at this level."""
    level: int

    @property
    def cell(self) -> float:
        """Side of a cell, metres."""
        return self.tile_size / self.cells

    def column(self, easting: Place) -> Place:
        """Fractional column: whole numbers are cell edges, counted from the catalog's west edge."""
        return (easting - self.west) / self.cell

    def row(self, northing: Place) -> Place:
        """Fractional row: whole numbers are cell edges, counted from the catalog's north edge."""
        return (self.north - northing) / self.cell


class Mosaic:
    """A catalog and its open files. Shared by all requests and threads; nothing about it changes but the open files."""

    def __init__(self, catalog: Catalog, *, open_files: int = 256) -> None:
        self.catalog = catalog
        self._files = _Files(open_files)
        self._cells: dict[str, int] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> Mosaic:
        """Itself: pygeoapi deep-copies its configuration, open files are shared."""
        return self

    def showing(self, may: Callable[[str], bool]) -> Mosaic:
        """The same with the layers whose ids may be seen, and the same open files."""
        seen = copy(self)
        seen.catalog = self.catalog.showing(may)
        return seen

    @property
    def crs(self) -> str:
        """CRS of the cells, such as ``EPSG:3035``."""
        return self.catalog.crs

    def close(self) -> None:
        """Close the files not in use."""
        self._files.close()

    # ---- maps

    def sample(self, layer: Layer, crs: Crs, bbox: Bounds, width: int, height: int) -> np.ma.MaskedArray:
        """Values (not stored numbers) at the pixel centres of a map: float32 (height, width), rows north to south, masked = no data.

        `bbox` is west, south, east, north in `crs`. A pixel shows its nearest cell, of the coarsest level whose cells are
        no larger than a pixel; zoomed out, layers without classes are interpolated bilinearly between the centres of the
        cells that hold data. Where the nearest cell holds none, there is none. Raises RasterError when a published file
        cannot be read.
        """
        out = _nothing((height, width), np.float32)
        pixel = self._pixel_on_ground(crs, bbox, width, height)
        if pixel is None:
            return out
        cell = self.lattice(layer).cell
        level = max(0, math.floor(math.log2(pixel / cell) + 1e-6))
        lattice = self.lattice(layer, min(level, self._coarsest(layer)))
        smooth = not layer.classes and pixel > cell * (1 + 1e-6)
        for top in range(0, height, _STRIP):
            rows = slice(top, min(top + _STRIP, height))
            easting, northing = self._centres(crs, bbox, width, height, rows, tolerance=_EXACT * lattice.cell)
            out[rows] = self._at(layer, lattice, easting, northing, smooth=smooth)
        return out

    def _pixel_on_ground(self, crs: Crs, bbox: Bounds, width: int, height: int) -> float | None:
        """The shorter side of a pixel (at least a quarter of the longer), metres of the grid, in the middle of what a map shows; None for nothing."""
        around = reproject_bounds(self.catalog.bounds, self.crs, crs.name)
        if around is None:
            return None
        west, south, east, north = max(bbox[0], around[0]), max(bbox[1], around[1]), min(bbox[2], around[2]), min(bbox[3], around[3])
        if west >= east or south >= north:
            return None
        x, y = (west + east) / 2, (south + north) / 2
        # a thousandth of a pixel: a pixel of a world map is too long to measure by its ends
        step_x, step_y = (bbox[2] - bbox[0]) / width / 1e3, (bbox[3] - bbox[1]) / height / 1e3
        xs, ys = transformer(crs.name, self.crs).transform([x, x + step_x, x], [y, y, y + step_y])
        sides = [1e3 * math.hypot(xs[k] - xs[0], ys[k] - ys[0]) for k in (1, 2)]
        pixel = max(min(sides), max(sides) / 4)  # of a needle only so much: its short side would ask for far more cells than pixels
        return pixel if math.isfinite(pixel) and pixel > 0 else None

    def _centres(self, crs: Crs, bbox: Bounds, width: int, height: int, rows: slice, *, tolerance: float) -> tuple[FloatArray, FloatArray]:
        """Easting and northing (rows, width) of the pixel centres in the grid's CRS; infinite where there is none.

        Transformed exactly at the nodes of a coarse grid and interpolated, where that is within `tolerance` metres of
        the exact transformation in the middle of every node cell, else transformed one by one.
        """
        west, south, east, north = bbox
        x = west + (np.arange(width) + 0.5) * ((east - west) / width)
        y = north - (np.arange(rows.start, rows.stop) + 0.5) * ((north - south) / height)
        if crs.name == self.crs:
            return np.broadcast_to(x, (y.size, x.size)), np.broadcast_to(y[:, None], (y.size, x.size))
        to_grid = transformer(crs.name, self.crs)
        for step in (64, 16, 4):
            node_x, node_y = _nodes(x, step), _nodes(y, step)
            coarse = to_grid.transform(*np.meshgrid(node_x, node_y))
            if not all(np.isfinite(axis).all() for axis in coarse):
                continue
            middle = to_grid.transform(*np.meshgrid((node_x[1:] + node_x[:-1]) / 2, (node_y[1:] + node_y[:-1]) / 2))
            guess = [(axis[1:, 1:] + axis[:-1, 1:] + axis[1:, :-1] + axis[:-1, :-1]) / 4 for axis in coarse]
            if all(np.abs(g - m).max() <= tolerance for g, m in zip(guess, middle, strict=True)):
                across, down = _linear_weights(node_x, x).T, _linear_weights(node_y, y)
                return down @ coarse[0] @ across, down @ coarse[1] @ across
        easting, northing = to_grid.transform(*np.meshgrid(x, y))
        return easting, northing

    def _at(self, layer: Layer, lattice: Lattice, easting: FloatArray, northing: FloatArray, *, smooth: bool) -> np.ma.MaskedArray:
        out = _nothing(easting.shape, np.float32)
        columns, rows = self._extent(lattice)
        column, row = lattice.column(easting), lattice.row(northing)
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        if not inside.any():
            return out
        column, row = column[inside], row[inside]
        # one cell of margin: bilinear neighbours
        left, right = max(math.floor(column.min()) - 1, 0), min(math.floor(column.max()) + 2, columns)
        top, bottom = max(math.floor(row.min()) - 1, 0), min(math.floor(row.max()) + 2, rows)
        cells = self._window(layer, lattice, slice(top, bottom), slice(left, right))
        column, row = column - left, row - top
        nearest = cells[row.astype(int), column.astype(int)]
        values = _bilinear(cells, column, row) if smooth else np.ma.getdata(nearest).astype(np.float32)
        out[inside] = np.ma.array(values * layer.scale + layer.offset, mask=np.ma.getmaskarray(nearest), dtype=np.float32)
        return out

    # ---- cells as they are stored

    def value_at(self, layer: Layer, easting: float, northing: float) -> float | None:
        """The value of the one full-resolution cell that holds a point of the grid's CRS; None where there is no data."""
        lattice = self.lattice(layer)
        column, row = lattice.column(easting), lattice.row(northing)
        columns, rows = self._extent(lattice)
        if not (0 <= column < columns and 0 <= row < rows):
            return None
        c, r = math.floor(column), math.floor(row)
        cell = self._window(layer, lattice, slice(r, r + 1), slice(c, c + 1))
        return None if np.ma.getmaskarray(cell)[0, 0] else float(np.ma.getdata(cell)[0, 0]) * layer.scale + layer.offset

    def cells(self, layer: Layer, bounds: Bounds, level: int = 0) -> tuple[np.ma.MaskedArray, Affine]:
        """Stored numbers of all cells of a level meeting `bounds` (grid CRS): (rows, columns), rows north to south, and their transform.

        Empty when the bounds miss the catalog. Raises TooLarge above MAX_CELLS.
        """
        lattice = self.lattice(layer, level)
        columns, rows = self._extent(lattice)
        west, south, east, north = bounds
        left, right = max(math.floor(lattice.column(west)), 0), min(math.ceil(lattice.column(east)), columns)
        top, bottom = max(math.floor(lattice.row(north)), 0), min(math.ceil(lattice.row(south)), rows)
        if left >= right or top >= bottom:
            return _nothing((0, 0), np.float32), Affine.identity()
        if (right - left) * (bottom - top) > MAX_CELLS:
            raise TooLarge(
                f"{right - left} x {bottom - top} cells of {layer.id!r} are asked, at most {MAX_CELLS} fit one answer; ask for a smaller bbox"
            )
        transform = Affine(lattice.cell, 0, lattice.west + left * lattice.cell, 0, -lattice.cell, lattice.north - top * lattice.cell)
        return self._window(layer, lattice, slice(top, bottom), slice(left, right)), transform

    def lattice(self, layer: Layer, level: int = 0) -> Lattice:
        """The cells of a layer at a level of its pyramid."""
        west, _, _, north = self.catalog.bounds
        bounds = self.catalog.tiles[0].bounds
        return Lattice(
            west=west,
            north=north,
            tile_size=bounds[2] - bounds[0],
            cells=max(1, math.ceil(self._cells_per_tile(layer) / 2**level)),
            level=level,
        )

    def _coarsest(self, layer: Layer) -> int:
        """The level at which a tile is one cell."""
        return math.ceil(math.log2(self._cells_per_tile(layer)))

    def _cells_per_tile(self, layer: Layer) -> int:
        if layer.asset not in self._cells:
            path = next((tile.assets[layer.asset] for tile in self.catalog.tiles if layer.asset in tile.assets), None)
            if path is None:
                raise RasterError(f"no tile of the catalog holds the asset {layer.asset!r} of layer {layer.id!r}; publish it again")
            with self._files.borrow(path) as file:
                self._cells[layer.asset] = file.width
        return self._cells[layer.asset]

    def _extent(self, lattice: Lattice) -> tuple[int, int]:
        west, south, east, north = self.catalog.bounds
        return round((east - west) / lattice.cell), round((north - south) / lattice.cell)

    def _window(self, layer: Layer, lattice: Lattice, rows: slice, columns: slice) -> np.ma.MaskedArray:
        """Stored numbers of a block of cells, masked where no tile has data. Its dtype is the files'."""
        n = lattice.cells
        out: np.ma.MaskedArray | None = None
        bounds = (
            lattice.west + columns.start * lattice.cell,
            lattice.north - rows.stop * lattice.cell,
            lattice.west + columns.stop * lattice.cell,
            lattice.north - rows.start * lattice.cell,
        )
        for tile in self.catalog.tiles_meeting(bounds):
            if layer.asset not in tile.assets:
                continue
            left, top = round((tile.bounds[0] - lattice.west) / lattice.cell), round((lattice.north - tile.bounds[3]) / lattice.cell)
            c0, c1 = max(columns.start, left), min(columns.stop, left + n)
            r0, r1 = max(rows.start, top), min(rows.stop, top + n)
            if c0 >= c1 or r0 >= r1:
                continue
            piece = self._piece(tile.assets[layer.asset], layer, lattice, slice(r0 - top, r1 - top), slice(c0 - left, c1 - left))
            if out is None:
                out = _nothing((rows.stop - rows.start, columns.stop - columns.start), piece.dtype)
            out[r0 - rows.start : r1 - rows.start, c0 - columns.start : c1 - columns.start] = piece
        return _nothing((rows.stop - rows.start, columns.stop - columns.start), np.float32) if out is None else out

    def _piece(self, path: Path, layer: Layer, lattice: Lattice, rows: slice, columns: slice) -> np.ma.MaskedArray:
        with self._files.borrow(path) as file:
            expected = self._cells[layer.asset]
            if (file.width, file.height) != (expected, expected) or layer.band > file.count:
                raise RasterError(
                    f"{path} has {file.count} bands of {file.width} x {file.height} cells, layer {layer.id!r} needs band {layer.band} of {expected} x {expected}; rebuild the tile"
                )
            if lattice.level == 0:
                data = file.read(layer.band, window=Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start))
            else:  # the whole tile at this level: small, and one and the same whatever window is asked
                how = Resampling.nearest if layer.classes else Resampling.average
                data = file.read(layer.band, out_shape=(lattice.cells, lattice.cells), resampling=how)[rows, columns]
        missing = np.isnan(data) if data.dtype.kind == "f" else np.zeros(data.shape, bool)
        if layer.nodata is not None:
            missing |= data == layer.nodata
        return np.ma.array(data, mask=missing)


class _Files:
    """Open GeoTIFFs: an open file is used by one thread at a time, and at most `limit` idle ones are kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._idle: OrderedDict[Path, list[DatasetReader]] = OrderedDict()  # longest unused first
        self._count = 0
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self, path: Path) -> Iterator[DatasetReader]:
        file = self._take(path)
        try:
            if file is None:
                file = rasterio.open(path, driver="GTiff")
            yield file
        except BaseException as error:
            if file is not None:
                file.close()
            if isinstance(error, (RasterioError, OSError)):
                raise RasterError(f"cannot read {path}: {error}; verify the store and publish the tile again") from error
            raise
        self._keep(path, file)

    def close(self) -> None:
        with self._lock:
            files = [file for files in self._idle.values() for file in files]
            self._idle.clear()
            self._count = 0
        for file in files:
            file.close()

    def _take(self, path: Path) -> DatasetReader | None:
        with self._lock:
            files = self._idle.get(path)
            if not files:
                return None
            file = files.pop()
            self._count -= 1
            if not files:
                del self._idle[path]
            return file

    def _keep(self, path: Path, file: DatasetReader) -> None:
        surplus = None
        with self._lock:
            self._idle.setdefault(path, []).append(file)
            self._idle.move_to_end(path)
            self._count += 1
            if self._count > self._limit:
                oldest = next(iter(self._idle))
                surplus = self._idle[oldest].pop()
                self._count -= 1
                if not self._idle[oldest]:
                    del self._idle[oldest]
        if surplus is not None:
            surplus.close()


def _nothing(shape: tuple[int, ...], dtype: npt.DTypeLike) -> np.ma.MaskedArray:
    return np.ma.array(np.zeros(shape, dtype), mask=True)


def _bilinear(cells: np.ma.MaskedArray, column: FloatArray, row: FloatArray) -> npt.NDArray[np.float32]:
    """Values (n,) between cell centres, from those of the four neighbours that hold data; 0 where none does."""
    valid = np.pad(~np.ma.getmaskarray(cells), 1)  # a margin without data, so that every place has four neighbours
    data = np.pad(np.ma.filled(cells, 0).astype(np.float32), 1)
    left, top = np.floor(column - 0.5), np.floor(row - 0.5)
    fx, fy = (column - 0.5 - left).astype(np.float32), (row - 0.5 - top).astype(np.float32)
    corner = (top.astype(int) + 1) * data.shape[1] + left.astype(int) + 1
    total, weight = np.zeros(column.shape, np.float32), np.zeros(column.shape, np.float32)
    for step, w in ((0, (1 - fx) * (1 - fy)), (1, fx * (1 - fy)), (data.shape[1], (1 - fx) * fy), (data.shape[1] + 1, fx * fy)):
        w = w * valid.take(corner + step)
        weight += w
        total += w * data.take(corner + step)
    return np.divide(total, weight, out=total, where=weight > 0)


def _nodes(at: FloatArray, step: int) -> FloatArray:
    """Evenly spread nodes from the first to the last of evenly spread positions, at most `step` positions apart, at least two."""
    pad = 0.0 if at.size > 1 else 1e-9 * max(1.0, abs(float(at[0])))
    return np.linspace(at[0] - pad, at[-1] + pad, max(2, math.ceil(at.size / step) + 1))


def _linear_weights(nodes: FloatArray, at: FloatArray) -> FloatArray:
    """(positions, nodes) weights of linear interpolation between evenly spread nodes."""
    place = np.clip((at - nodes[0]) / (nodes[1] - nodes[0]), 0, nodes.size - 1)
    k = np.minimum(place.astype(int), nodes.size - 2)
    weights = np.zeros((at.size, nodes.size))
    weights[np.arange(at.size), k] = 1 - (place - k)
    weights[np.arange(at.size), k + 1] = place - k
    return weights
