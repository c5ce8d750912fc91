"""The renderer's inner loops, compiled by numba: from a block of cells to the pixels of a map.

A pixel's place among the cells is interpolated between the nodes of a grid laid over the map (`warp`). Arrays are C-contiguous, rows
north to south; columns and rows are counted in cells from the block's north-west corner, whole numbers being edges.
"""

# mypy: disable-error-code="call-arg,no-untyped-def,var-annotated"

from __future__ import annotations

import numpy as np
from numba import types

from geoplantnet.assemblages.kernels import compiled

_PLACES, _INDEX, _VALUES = types.float64[:, ::1], types.uint8[:, ::1], types.float32[:, ::1]
_CELLS = (types.uint8, types.uint16, types.int16, types.float32)
"""Types of stored numbers."""


@compiled((_PLACES, _PLACES, types.int64, _PLACES, _PLACES))
def places(node_column, node_row, step, column, row):
    """Columns and rows (y, x) of all pixels, by bilinear interpolation between nodes every `step` pixels."""
    height, width = column.shape
    for y in range(height):
        j = y // step
        v = (y - j * step) / step
        for x in range(width):
            i = x // step
            u = (x - i * step) / step
            a, b, c, d = (1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v
            column[y, x] = a * node_column[j, i] + b * node_column[j, i + 1] + c * node_column[j + 1, i] + d * node_column[j + 1, i + 1]
            row[y, x] = a * node_row[j, i] + b * node_row[j, i + 1] + c * node_row[j + 1, i] + d * node_row[j + 1, i + 1]


@compiled(*((kind[:, :], types.uint8[::1], _PLACES, _PLACES, _INDEX) for kind in _CELLS[:2]))
def nearest(cells, table, column, row, out):
    """Palette index (y, x) of the cell under every pixel; `table` holds an index for every stored number, 0 for no data."""
    rows, columns = cells.shape
    height, width = out.shape
    for y in range(height):
        for x in range(width):
            c, r = column[y, x], row[y, x]
            if c >= 0 and c < columns and r >= 0 and r < rows:
                out[y, x] = table[cells[int(r), int(c)]]


@compiled(*((kind[:, :], types.float64, types.float64, types.float64, types.boolean, _PLACES, _PLACES, _VALUES) for kind in _CELLS))
def values(cells, missing, scale, offset, smooth, column, row, out):
    """Value (y, x) under every pixel, NaN where the nearest cell holds none; `smooth`: between the centres of cells that hold data."""
    rows, columns = cells.shape
    height, width = out.shape
    blank = np.float32(np.nan)
    for y in range(height):
        for x in range(width):
            c, r = column[y, x], row[y, x]
            out[y, x] = blank
            if not (c >= 0 and c < columns and r >= 0 and r < rows):
                continue
            stored = cells[int(r), int(c)]
            if stored == missing or stored != stored:
                continue
            if not smooth:
                out[y, x] = np.float32(stored * scale + offset)
                continue
            left, top = int(np.floor(c - 0.5)), int(np.floor(r - 0.5))
            u, v = c - 0.5 - left, r - 0.5 - top
            total, weight = 0.0, 0.0
            for k in range(4):
                i, j = left + (k & 1), top + (k >> 1)
                if i < 0 or i >= columns or j < 0 or j >= rows:
                    continue
                one = cells[j, i]
                if one == missing or one != one:
                    continue
                w = (u if k & 1 else 1 - u) * (v if k >> 1 else 1 - v)
                weight += w
                total += w * one
            out[y, x] = np.float32(total / weight * scale + offset)


@compiled((_VALUES, types.float64, types.float64, types.int64, _INDEX))
def ramp(value, low, high, steps, out):
    """Index 1 ... `steps` of values (y, x) between two ends, values beyond clipped; 0 where NaN."""
    height, width = value.shape
    factor = (steps - 1) / (high - low)
    for y in range(height):
        for x in range(width):
            one = value[y, x]
            if one == one:
                at = (one - low) * factor
                out[y, x] = 1 + int(np.rint(min(max(at, 0.0), steps - 1.0)))
            else:
                out[y, x] = 0
