"""From a pixel lattice in one projection onto a GeoBox in another, so that a window never differs from the whole.

GDAL's warper approximates the transformation between the ends of each output row: another window, other values. Here
positions are exact at nodes anchored to the GeoBox's own lattice and quadratic in between (wrong by less than a millionth
of a pixel between projections of one datum), and each value depends only on its own position.

    positions_onto   where the pixels of a GeoBox lie in another CRS, a strip of rows at a time
    nearest, bilinear, means_inside   values there
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from geoplantnet.errors import CrsError, UsageError

Positions = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float32]

STRIP = 64
"""Rows of a strip, and side of the squares inside which positions are quadratic."""

_T = (np.arange(STRIP) + 0.5) / (STRIP / 2)  # pixel centres in a square, 0..2; nodes at 0, 1, 2
_BASIS = ((_T - 1) * (_T - 2) / 2, _T * (2 - _T), _T * (_T - 1) / 2)


def positions_onto(geobox: GeoBox, crs: CRS) -> Iterator[tuple[slice, Positions, Positions]]:
    """Rows of `geobox` and the easting and northing in `crs` of their pixels' centres, (rows, width) each; NaN off the map.

    Raises CrsError without a CRS, UsageError for a GeoBox that is not north-up.
    """
    if geobox.crs is None:
        raise CrsError("the GeoBox has no CRS; build it with crs='EPSG:3035' or the grid's own CRS")
    affine = geobox.affine
    if affine.b or affine.d or affine.a <= 0 or affine.e >= 0:
        raise UsageError(f"the GeoBox {affine!r} is not north-up; use one of a TileGrid")
    height, width = geobox.shape
    column, row = math.floor(affine.c / affine.a + 1e-6), math.floor(affine.f / affine.e + 1e-6)  # of the corner, in the whole plane
    left, right = column // STRIP, -(-(column + width) // STRIP)
    node_x = affine.c + (np.arange(2 * (right - left) + 1) * (STRIP // 2) + left * STRIP - column) * affine.a
    transform = geobox.crs.transformer_to_crs(crs)
    inner = slice(column - left * STRIP, column - left * STRIP + width)
    for block in range(row // STRIP, -(-(row + height) // STRIP)):
        node_y = affine.f + (np.arange(3) * (STRIP // 2) + block * STRIP - row) * affine.e
        nodes = transform(*(v.ravel() for v in np.meshgrid(node_x, node_y)))
        first, last = max(row, block * STRIP), min(row + height, (block + 1) * STRIP)
        rows = slice(first - block * STRIP, last - block * STRIP)
        x, y = (_quadratic(np.asarray(v, np.float64).reshape(3, -1))[rows, inner] for v in nodes)
        yield slice(first - row, last - row), x, y


def _quadratic(nodes: Positions) -> Positions:
    """Values at the pixels of a row of squares, (64, 64 n), from those at its nodes, (3, 2 n + 1)."""
    nodes = np.where(np.isfinite(nodes), nodes, np.nan)
    down = sum(b[:, None] * n for b, n in zip(_BASIS, nodes))
    west, middle, east = down[:, :-1:2, None], down[:, 1::2, None], down[:, 2::2, None]
    return (west * _BASIS[0] + middle * _BASIS[1] + east * _BASIS[2]).reshape(STRIP, -1)


def nearest(values: npt.NDArray[np.generic], columns: Positions, rows: Positions) -> npt.NDArray[np.generic]:
    """The pixels that hold the positions; the caller has put a border around (y, x) `values` that positions never leave."""
    return values.ravel().take(np.floor(rows).astype(np.intp) * values.shape[1] + np.floor(columns).astype(np.intp))


def bilinear(values: FloatArray, columns: Positions, rows: Positions) -> FloatArray:
    """Between the four nearest pixel centres. Missing neighbours lose their weight; NaN where a position's own pixel is missing.

    `values` (y, x) has a border of at least one pixel that the positions (centre of the first pixel = 0.5) never enter.
    """
    left, above = np.floor(columns - 0.5), np.floor(rows - 0.5)
    u, v = (columns - 0.5 - left).astype(np.float32), (rows - 0.5 - above).astype(np.float32)
    width = values.shape[1]
    corner = above.astype(np.intp) * width + left.astype(np.intp)
    flat = values.ravel()
    a, b, c, d = (flat.take(corner + step) for step in (0, 1, width, width + 1))
    top, bottom = a + (b - a) * u, c + (d - c) * u
    out = top + (bottom - top) * v
    gaps = np.flatnonzero(np.isnan(out))
    if gaps.size:
        u, v = u.ravel()[gaps], v.ravel()[gaps]
        taps = np.stack([tap.ravel()[gaps] for tap in (a, b, c, d)])
        weights = np.stack([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v])
        own = taps[(u >= 0.5) + 2 * (v >= 0.5).astype(np.intp), np.arange(gaps.size)]
        known = np.isfinite(taps)
        total = np.where(known, weights * taps, 0).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / np.where(known, weights, 0).sum(axis=0)
        out.ravel()[gaps] = np.where(np.isfinite(own), mean, np.nan)
    return out


def means_inside(layers: Sequence[FloatArray], columns: Positions, rows: Positions, side: int) -> list[FloatArray]:
    """Means of the known values of some layers in squares of `side` x `side` positions: (y, x) each, NaN where none is known.

    Each position counts as the pixel that holds it, so that a pixel weighs as much as it covers, by sampling; a gap never
    bleeds into the mean. The layers have one shape, and a border that positions never leave.
    """
    height, width = columns.shape[0] // side, columns.shape[1] // side
    c, r = (
        np.floor(v).astype(np.intp).reshape(height, side, width, side).transpose(0, 2, 1, 3).reshape(height * width, side * side)
        for v in (columns, rows)
    )
    left, top = c.min(axis=1), r.min(axis=1)
    c -= left[:, None]
    r -= top[:, None]
    span = int(max(c.max(), r.max())) + 1  # pixels across a square
    cells = np.arange(height * width)[:, None]
    weights = np.bincount(((cells * span + r) * span + c).ravel(), minlength=height * width * span * span)
    by_pixel = weights.reshape(-1, span * span).T.astype(np.float32, order="C")
    out = []
    for layer in layers:
        flat, corner = layer.ravel(), top * layer.shape[1] + left
        total, known = np.zeros(height * width, np.float64), np.zeros(height * width, np.float32)
        for k, weight in enumerate(by_pixel):
            pixel = flat.take(corner + (k // span * layer.shape[1] + k % span), mode="clip")
            seen = np.where(np.isfinite(pixel), weight, np.float32(0))
            known += seen
            total += seen * np.nan_to_num(pixel, copy=False)
        with np.errstate(invalid="ignore", divide="ignore"):
            out.append((total / known).astype(np.float32).reshape(height, width))
    return out
