"""Every cell of a tile as models of a table see it: the columns of `tabulate`, from the stored cube, in strips of rows.

A patch a cell would read each pixel of an image as often as there are cells whose window holds it, 625 times at a window of 25 cells;
here means over windows are sums over rectangles, and a pixel is read once a strip.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import zarr

from geoplantnet.cubes.cube import unpack
from geoplantnet.cubes.modality import Modality
from geoplantnet.cubes.patches import bilinear_weights, pixels_per_side
from geoplantnet.errors import CubeError
from geoplantnet.grid.tile_grid import MetaTile
from geoplantnet.sdm.sites import Float, Integers, Table, columns_of

_ROWS = 50
"""Rows of cells a strip."""


def cell_tables(tile: MetaTile, cube: str | os.PathLike[str], modalities: Sequence[Modality]) -> Iterator[tuple[slice, Table]]:
    """Strips of a tile, north to south: rows, and what `tabulate` gives for the patches of their cells, row by row from the west.

    Raises CubeError when the cube lacks a modality.
    """
    names, owner = columns_of(modalities)
    side = tile.grid.cells_per_side
    for start in range(0, side, _ROWS):
        rows = slice(start, min(start + _ROWS, side))
        values = np.concatenate([_cells(cube, m, tile, rows) for m in modalities], axis=0).reshape(len(names), -1).T
        yield rows, Table(values=values, names=names, modality=owner)


def _cells(cube: str | os.PathLike[str], m: Modality, tile: MetaTile, rows: slice) -> Float:
    """Columns of `tabulate` (column, rows, x) of a strip of cells of one modality."""
    grid = tile.grid
    ratio, count = m.cell_ratio(grid), grid.cells_per_side
    if ratio < 1:
        pixels = pixels_per_side(m, grid)
        left, pair = bilinear_weights(np.arange(count) + 0.5, ratio, m.halo, pixels)
        top, beside = left[rows], pair[rows]
        first = int(top[0])
        values = _rows(cube, m, tile, first, int(top[-1]) + 2)
        upper, lower = values[:, top - first], values[:, top - first + 1]
        down = beside[:, :1] * upper + beside[:, 1:] * lower
        return np.asarray(down[:, :, left] * pair[:, 0] + down[:, :, left + 1] * pair[:, 1], np.float32)
    step, spare = int(ratio), m.halo - m.reach(grid)
    window = m.window * step + 2 * (m.reach(grid) - m.window // 2 * step)
    tops, lefts = step * np.arange(rows.stop - rows.start), spare + step * np.arange(count)
    values = _rows(cube, m, tile, spare + rows.start * step, spare + (rows.stop - 1) * step + window)
    centre = values[:, (tops + window // 2)[:, None], lefts + window // 2]
    if m.window == 1:
        return centre
    return np.concatenate([centre, np.stack([_box_means(band, tops, lefts, window) for band in values])])


def _box_means(values: Float, tops: Integers, lefts: Integers, window: int) -> Float:
    """Mean of the known pixels of square windows, (top, left) -> (y, x), by sums over rectangles from the corner."""
    known = np.isfinite(values)
    sums = []
    for layer in (np.where(known, values, 0.0), known):
        corner = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
        np.cumsum(np.cumsum(layer, axis=0, dtype=np.float64), axis=1, out=corner[1:, 1:])
        strip = corner[tops + window] - corner[tops]
        sums.append(strip[:, lefts + window] - strip[:, lefts])
    with np.errstate(invalid="ignore", divide="ignore"):
        return (sums[0] / sums[1]).astype(np.float32)


def _rows(cube: str | os.PathLike[str], m: Modality, tile: MetaTile, start: int, stop: int) -> Float:
    """Rows of pixels of a stored modality, (time * band, rows, x), halo included."""
    try:
        array = zarr.open_array(str(Path(cube) / m.name / "data"), mode="r")
    except Exception as error:  # zarr's and the store's own kinds
        raise CubeError(f"the cube of {tile.id} at {cube} holds no {m.name!r} ({error}); build it with `geoplantnet cubes`") from error
    side = pixels_per_side(m, tile.grid)
    if array.shape != (*m.axes, side, side):
        raise CubeError(
            f"the cube of {tile.id} holds {m.name} as {array.shape}, the modality needs {(*m.axes, side, side)}; "
            "rebuild it with `geoplantnet cubes`"
        )
    return unpack(np.asarray(array[..., start:stop, :]).reshape(-1, stop - start, side), m)
