"""Cut patches around points. Cubes + points -> (n, channel, y, x): what training sees of what mapping sees.

A patch is the exact window of the tile's lattice around the cell that holds the point, so a model without padding gives
at a patch what it gives at that cell of the whole tile.

    finer than the cell    (window * ratio + 2 * STEM_OVERLAP) pixels a side, centred on the cell
    on the cells           window pixels a side
    coarser than the cell  2 x 2 pixels and the bilinear weights of the cell centre among them

Memory is bounded whatever the number of tiles: of an image only the inner chunks that patches touch are held, the least
recently used go first; where the window is one cell, every point's values are read once and kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr

from geoplantnet.cubes.build import band_positions
from geoplantnet.cubes.cube import stored_array, unpack
from geoplantnet.cubes.modality import STEM_OVERLAP, Modality
from geoplantnet.errors import CubeError
from geoplantnet.grid.tile_grid import MetaTile, TileGrid
from geoplantnet.sources.source import Source

Float = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Stored = npt.NDArray[np.generic]


@dataclass(frozen=True, kw_only=True)
class Patch:
    """Windows of one modality around n cells."""

    values: Float
    """(n, time * band, y, x), physical values, NaN = no data; time is the slower axis."""
    weight_y: Float | None = None
    """(n, 1, 2): bilinear row weights of a coarse modality; None otherwise."""
    weight_x: Float | None = None
    """(n, 1, 2): bilinear column weights of a coarse modality; None otherwise."""


def bilinear_weights(cells: npt.NDArray[np.floating], ratio: float, halo: int, pixels: int) -> tuple[Integers, Float]:
    """Left pixel (n,) and weights (n, 2) of cell centres among coarse pixels. `cells` are fractional cell positions
    (0.5 = centre of the first cell) from the tile's edge, `ratio` cells-to-pixels, `pixels` the axis length with halo.
    """
    position = np.asarray(cells, np.float64) * ratio + halo - 0.5
    left = np.clip(np.floor(position).astype(np.int64), 0, pixels - 2)
    right = (position - left).astype(np.float32)
    return left, np.stack([1 - right, right], axis=-1)


def dense_weights(count: int, ratio: float, halo: int, pixels: int) -> Float:
    """The same weights for every cell of a tile side as one matrix (count, pixels)."""
    left, pair = bilinear_weights(np.arange(count) + 0.5, ratio, halo, pixels)
    matrix = np.zeros((count, pixels), np.float32)
    matrix[np.arange(count), left] = pair[:, 0]
    matrix[np.arange(count), left + 1] += pair[:, 1]
    return matrix


@dataclass(frozen=True, kw_only=True)
class _Placement:
    """Where the windows of cells lie in a tile's array, and the bilinear weights where it is coarse."""

    top: Integers
    left: Integers
    side: int
    weight_y: Float | None = None
    weight_x: Float | None = None


def _place(modality: Modality, grid: TileGrid, rows: Integers, columns: Integers) -> _Placement:
    ratio = modality.cell_ratio(grid)
    if ratio < 1:
        pixels = pixels_per_side(modality, grid)
        top, weight_y = bilinear_weights(rows + 0.5, ratio, modality.halo, pixels)
        left, weight_x = bilinear_weights(columns + 0.5, ratio, modality.halo, pixels)
        return _Placement(top=top, left=left, side=2, weight_y=weight_y[:, None, :], weight_x=weight_x[:, None, :])
    step = int(ratio)
    reach = modality.reach(grid)
    side = modality.window * step + (2 * STEM_OVERLAP if ratio > 1 else 0)
    return _Placement(top=modality.halo + rows * step - reach, left=modality.halo + columns * step - reach, side=side)


def pixels_per_side(modality: Modality, grid: TileGrid) -> int:
    """Pixels along a side of a stored tile, halo included."""
    return round(grid.tile_size / modality.resolution) + 2 * modality.halo


def cut(stored: Stored, modality: Modality, grid: TileGrid, rows: Integers, columns: Integers) -> Patch:
    """Patches of one tile's packed array ([time,] band, y, x) around cells (row, column), (n,) each."""
    place = _place(modality, grid, np.asarray(rows, np.int64), np.asarray(columns, np.int64))
    flat = stored.reshape(-1, *stored.shape[-2:])
    values = np.empty((place.top.size, flat.shape[0], place.side, place.side), np.float32)
    for out, top, left in zip(values, place.top.tolist(), place.left.tolist()):
        unpack_into(out, flat[:, top : top + place.side, left : left + place.side], modality)
    return Patch(values=values, weight_y=place.weight_y, weight_x=place.weight_x)


def unpack_into(out: Float, stored: Stored, modality: Modality) -> None:
    """`cube.unpack` of one window, written into its place in a batch: the window is small enough to stay in cache."""
    if modality.dtype == "float32":
        out[...] = stored
        return
    packed = np.ascontiguousarray(stored)
    np.multiply(packed, np.float32(modality.scale), out=out, dtype=np.float32)
    if modality.offset:
        out += np.float32(modality.offset)
    np.copyto(out, np.float32(np.nan), where=packed == modality.nodata)


class CubeWindows:
    """Packed windows of stored cubes, read by inner chunk. Holds at most `memory` bytes of chunks, and the newest one."""

    def __init__(self, cubes: Mapping[str, Path], grid: TileGrid, *, memory: int) -> None:
        self._cubes, self._grid, self._memory = cubes, grid, memory
        self._arrays: dict[tuple[str, str], zarr.Array[Any]] = {}
        self._chunks: OrderedDict[tuple[str, str, int, int], Stored] = OrderedDict()
        self.held = 0
        """Bytes of chunks now in memory."""

    def window(self, tile_id: str, modality: Modality, top: int, left: int, side: int) -> Stored:
        """Packed values (time * band, side, side) from pixel (top, left) of a tile's array, halo included.

        A view of a held chunk where one chunk has it all: read it before asking for the next, never write to it.
        Raises CubeError when the tile's cube does not hold the modality as it is described.
        """
        array = self._array(tile_id, modality)
        high, wide = array.chunks[-2:]
        y0, y1, x0, x1 = top // high, (top + side - 1) // high, left // wide, (left + side - 1) // wide
        if y0 == y1 and x0 == x1:
            y, x = top - y0 * high, left - x0 * wide
            return self._chunk(array, tile_id, modality, y0, x0)[:, y : y + side, x : x + side]
        out = np.empty((int(np.prod(modality.axes)), side, side), array.dtype)
        for j in range(y0, y1 + 1):
            for i in range(x0, x1 + 1):
                y, x = j * high - top, i * wide - left  # where the chunk begins, seen from the window
                chunk = self._chunk(array, tile_id, modality, j, i)[:, max(-y, 0) : side - y, max(-x, 0) : side - x]
                out[:, max(y, 0) : y + high, max(x, 0) : x + wide] = chunk
        return out

    def chunk_shape(self, tile_id: str, modality: Modality) -> tuple[int, int]:
        """Rows and columns of an inner chunk: windows asked in the order of their chunks are read fastest."""
        high, wide = self._array(tile_id, modality).chunks[-2:]
        return high, wide

    def _chunk(self, array: zarr.Array[Any], tile_id: str, modality: Modality, row: int, column: int) -> Stored:
        key = (tile_id, modality.name, row, column)
        if (held := self._chunks.get(key)) is not None:
            self._chunks.move_to_end(key)
            return held
        high, wide = array.chunks[-2:]
        read = np.asarray(array[..., row * high : (row + 1) * high, column * wide : (column + 1) * wide])
        chunk = read.reshape(-1, *read.shape[-2:])
        self._chunks[key] = chunk
        self.held += chunk.nbytes
        while self.held > self._memory and len(self._chunks) > 1:
            self.held -= self._chunks.popitem(last=False)[1].nbytes
        return chunk

    def _array(self, tile_id: str, modality: Modality) -> zarr.Array[Any]:
        key = (tile_id, modality.name)
        if key not in self._arrays:
            path = self._cubes[tile_id]
            try:
                array = zarr.open_array(str(Path(path) / modality.name / "data"), mode="r")
            except Exception as error:  # zarr's and the store's own kinds
                raise CubeError(
                    f"the cube of {tile_id} at {path} holds no {modality.name!r} ({error}); build it with `geoplantnet cubes`"
                ) from error
            side = pixels_per_side(modality, self._grid)
            wanted = (*modality.axes, side, side)
            if array.shape != wanted or array.dtype != np.dtype(modality.dtype):
                raise CubeError(
                    f"the cube of {tile_id} holds {modality.name} as {array.shape} {array.dtype}, the modality needs {wanted} "
                    f"{modality.dtype}; rebuild it with `geoplantnet cubes`"
                )
            self._arrays[key] = array
        return self._arrays[key]


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """Packed values of every point's window, for a modality whose window is a cell: distinct windows only."""

    values: Stored
    """(distinct windows, time * band, side, side)."""
    which: Integers
    """(point,): the window of a point, -1 where its tile has no cube."""


class PatchReader:
    """Patches around any of a set of points, from stored cubes where a tile has one, else from the sources.

    `points` has x, y and what was measured on the spot (see `Source.at`). Where a point's tile has no cube, a modality
    whose window is the cell alone is asked of its source, and any other is missing (NaN). Measured values win over the
    cube's for modalities listed in `measured`.

    `memory` bounds the bytes of images held decoded, whatever the number of tiles. Beside them, a point costs its packed
    values for modalities whose window is one cell (1 kB for 84 dates of 6 bands), read once, tile by tile. Neither
    changes a value. Raises CubeError for points outside the grid or a cube that lacks a modality.
    """

    def __init__(
        self,
        points: pd.DataFrame,
        *,
        grid: TileGrid,
        modalities: Sequence[Modality],
        sources: Mapping[str, Source],
        cubes: Mapping[str, Path],
        measured: Sequence[str] = (),
        memory: int = 1 << 30,
    ) -> None:
        self.grid, self.modalities = grid, tuple(modalities)
        tile_ids = grid.tile_ids_at(points["x"], points["y"])
        if any(t is None for t in tile_ids):
            raise CubeError(f"{sum(t is None for t in tile_ids)} points lie outside the grid; reject them before cutting patches")
        self._tile = np.array([tile_ids[i] if tile_ids[i] in cubes else "" for i in range(len(points))], dtype=object)
        self._row, self._column = cells_of(points["x"].to_numpy(float), points["y"].to_numpy(float), grid)
        self._windows = CubeWindows(cubes, grid, memory=memory)
        self._at: dict[str, tuple[Integers, Float]] = {}
        for m in self.modalities:
            if m.window != 1 or m.cell_ratio(grid) != 1:
                continue
            asked = np.flatnonzero((self._tile == "") | (m.name in measured))
            if asked.size:
                values = sources[m.name].at(points.iloc[asked])[..., band_positions(m, sources[m.name])].reshape(asked.size, -1)
                where = np.full(len(points), -1)
                where[asked] = np.arange(asked.size)
                self._at[m.name] = where, values
        self._kept = {m.name: self._keep(m) for m in self.modalities if m.window == 1 and m.cell_ratio(grid) <= 1}

    def __len__(self) -> int:
        return len(self._tile)

    @property
    def held(self) -> int:
        """Bytes of decoded images now in memory."""
        return self._windows.held

    def read(self, index: npt.ArrayLike) -> dict[str, Patch]:
        """Patches of the points at positions `index`, (n,), by modality name."""
        picked = np.asarray(index, np.int64)
        return {m.name: self._read_one(m, picked) for m in self.modalities}

    def _keep(self, m: Modality) -> _Kept:
        """The distinct windows of all points, read in the order they lie on disk."""
        which = np.full(len(self), -1)
        needed = self._tile != ""
        if m.name in self._at:
            needed &= self._at[m.name][0] < 0
        points = np.flatnonzero(needed)
        place = _place(m, self.grid, self._row[points], self._column[points])
        _, tile_number = np.unique(self._tile[points].astype(str), return_inverse=True)
        positions = np.stack([tile_number, place.top, place.left], axis=1)
        distinct, first, inverse = np.unique(positions, axis=0, return_index=True, return_inverse=True)
        which[points] = inverse.reshape(-1)
        values = np.empty((len(distinct), int(np.prod(m.axes)), place.side, place.side), m.dtype)
        for i in self._by_chunk(m, self._tile[points[first]], distinct[:, 1], distinct[:, 2]):
            values[i] = self._windows.window(self._tile[points[first[i]]], m, int(distinct[i, 1]), int(distinct[i, 2]), place.side)
        return _Kept(values=values, which=which)

    def _by_chunk(self, m: Modality, tiles: npt.NDArray[np.object_], top: Integers, left: Integers) -> Integers:
        """The order in which windows lie on disk, so that those of one chunk follow each other and little memory suffices."""
        if not tiles.size:
            return np.zeros(0, np.int64)
        high, wide = self._windows.chunk_shape(tiles[0], m)
        return np.lexsort((left // wide, top // high, tiles.astype(str)))

    def _read_one(self, m: Modality, picked: Integers) -> Patch:
        place = _place(m, self.grid, self._row[picked], self._column[picked])
        tiles = self._tile[picked]
        off = tiles == ""
        if m.name in self._kept:
            kept = self._kept[m.name]
            which = kept.which[picked]
            if len(kept.values):
                values = unpack(kept.values[which], m)
                values[which < 0] = np.nan
            else:
                values = np.full((picked.size, *kept.values.shape[1:]), np.nan, np.float32)
        else:
            values = np.empty((picked.size, int(np.prod(m.axes)), place.side, place.side), np.float32)
            values[off] = np.nan
            here = np.flatnonzero(~off)
            for i in here[self._by_chunk(m, tiles[here], place.top[here], place.left[here])]:
                unpack_into(values[i], self._windows.window(tiles[i], m, int(place.top[i]), int(place.left[i]), place.side), m)
        if m.name in self._at:
            where, asked = self._at[m.name]
            here = np.flatnonzero(where[picked] >= 0)
            values[here] = asked[where[picked[here]]][:, :, None, None]
        if place.weight_y is None or place.weight_x is None:
            return Patch(values=values)
        place.weight_y[off], place.weight_x[off] = 0.5, 0.5
        return Patch(values=values, weight_y=place.weight_y, weight_x=place.weight_x)


def cells_of(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], grid: TileGrid) -> tuple[Integers, Integers]:
    """Row and column, (n,) each, of the cells holding points, in their own tiles (row 0 is the northernmost)."""
    column = np.floor(x / grid.cell_size).astype(np.int64) % grid.cells_per_side
    up = np.floor(y / grid.cell_size).astype(np.int64) % grid.cells_per_side
    return grid.cells_per_side - 1 - up, column


def tile_patch(path: str | Path, modality: Modality, tile: MetaTile) -> Patch:
    """One whole tile of a stored cube as a single 'patch' (n = 1), cropped to what its cells need."""
    grid = tile.grid
    values = unpack(stored_array(path, modality), modality)
    values = values.reshape(1, -1, *values.shape[-2:])
    ratio = modality.cell_ratio(grid)
    if ratio < 1:
        weights = dense_weights(grid.cells_per_side, ratio, modality.halo, values.shape[-1])[None]
        return Patch(values=values, weight_y=weights, weight_x=weights)
    spare = modality.halo - modality.reach(grid)
    return Patch(values=values[..., spare : values.shape[-2] - spare, spare : values.shape[-1] - spare])
