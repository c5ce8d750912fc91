"""Cut patches around points. Cubes + points -> (n, channel, y, x): what training sees of what mapping sees.

A patch is the exact window of the tile's lattice around the cell that holds the point, so a model without padding gives
at a patch what it gives at that cell of the whole tile.

    finer than the cell    (window * ratio + 2 * STEM_OVERLAP) pixels a side, centred on the cell
    on the cells           window pixels a side
    coarser than the cell  2 x 2 pixels and the bilinear weights of the cell centre among them
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.cubes.build import band_positions
from geoplantnet.cubes.cube import stored_array, unpack
from geoplantnet.cubes.modality import STEM_OVERLAP, Modality
from geoplantnet.errors import CubeError
from geoplantnet.grid.tile_grid import MetaTile, TileGrid
from geoplantnet.sources.source import Source

Float = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


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


def cut(stored: npt.NDArray[np.generic], modality: Modality, grid: TileGrid, rows: Integers, columns: Integers) -> Patch:
    """Patches of one tile's packed array ([time,] band, y, x) around cells (row, column), (n,) each."""
    ratio = modality.cell_ratio(grid)
    flat = stored.reshape(-1, *stored.shape[-2:])
    if ratio < 1:
        top, weight_y = bilinear_weights(rows + 0.5, ratio, modality.halo, flat.shape[-2])
        left, weight_x = bilinear_weights(columns + 0.5, ratio, modality.halo, flat.shape[-1])
        side = 2
    else:
        step, overlap = int(ratio), STEM_OVERLAP if ratio > 1 else 0
        reach = (modality.window // 2) * step + overlap
        top, left = modality.halo + rows * step - reach, modality.halo + columns * step - reach
        side = modality.window * step + 2 * overlap
    windows = np.lib.stride_tricks.sliding_window_view(flat, (side, side), axis=(-2, -1))
    values = unpack(np.ascontiguousarray(windows[:, top, left].swapaxes(0, 1)), modality)
    if ratio < 1:
        return Patch(values=values, weight_y=weight_y[:, None, :], weight_x=weight_x[:, None, :])
    return Patch(values=values)


class PatchReader:
    """Patches around any of a set of points, from stored cubes where a tile has one, else from the sources.

    `points` has x, y and what was measured on the spot (see `Source.at`). Where a point's tile has no cube, a modality
    whose window is the cell alone is asked of its source, and any other is missing (NaN). Measured values win over the
    cube's for modalities listed in `measured`.
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
    ) -> None:
        self.grid, self.modalities = grid, tuple(modalities)
        tile_ids = grid.tile_ids_at(points["x"], points["y"])
        if any(t is None for t in tile_ids):
            raise CubeError(f"{sum(t is None for t in tile_ids)} points lie outside the grid; reject them before cutting patches")
        self._tile = np.array([tile_ids[i] if tile_ids[i] in cubes else "" for i in range(len(points))], dtype=object)
        self._row, self._column = cells_of(points["x"].to_numpy(float), points["y"].to_numpy(float), grid)
        self._arrays = {(t, m.name): stored_array(cubes[t], m) for t in sorted(set(self._tile) - {""}) for m in self.modalities}
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

    def __len__(self) -> int:
        return len(self._tile)

    def read(self, index: npt.ArrayLike) -> dict[str, Patch]:
        """Patches of the points at positions `index`, (n,), by modality name."""
        picked = np.asarray(index, np.int64)
        return {m.name: self._read_one(m, picked) for m in self.modalities}

    def _read_one(self, m: Modality, picked: Integers) -> Patch:
        ratio = m.cell_ratio(self.grid)
        side = 2 if ratio < 1 else m.window * int(ratio) + (2 * STEM_OVERLAP if ratio > 1 else 0)
        values = np.full((picked.size, max(m.times, 1) * len(m.bands), side, side), np.nan, np.float32)
        weights = np.full((2, picked.size, 1, 2), 0.5, np.float32) if ratio < 1 else None
        tiles = self._tile[picked]
        for tile_id in sorted(set(tiles) - {""}):
            here = np.flatnonzero(tiles == tile_id)
            patch = cut(self._arrays[tile_id, m.name], m, self.grid, self._row[picked[here]], self._column[picked[here]])
            values[here] = patch.values
            if weights is not None:
                weights[0, here], weights[1, here] = patch.weight_y, patch.weight_x
        if m.name in self._at:
            where, asked = self._at[m.name]
            here = np.flatnonzero(where[picked] >= 0)
            values[here] = asked[where[picked[here]]][:, :, None, None]
        if weights is None:
            return Patch(values=values)
        return Patch(values=values, weight_y=weights[0], weight_x=weights[1])


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
