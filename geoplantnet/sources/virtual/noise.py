"""Hashed noise: random-looking fields that are pure functions of a pixel's place, so that no read ever has a seam.

Every field is a function of integer pixel indices on a lattice anchored at (0, 0) and of a seed. Nothing is drawn in
sequence: a window of a field equals the field of the window, bit for bit, whatever was computed before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]

_SPLINE_SD = 0.2767
"""Standard deviation of cubic B-spline interpolation of uniform (-1, 1) lattice values (mean over positions)."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """Places of square pixels on the lattice anchored at (0, 0): a grid, or a list of points."""

    size: int
    """Side of a pixel, metres."""
    cols: npt.NDArray[np.int64]
    """Column index, eastward: centre at (column + 0.5) * size. Shape (1, x) for a grid, (n,) for points."""
    rows: npt.NDArray[np.int64]
    """Row index, southward: centre at -(row + 0.5) * size. Shape (y, 1) for a grid, (n,) for points."""

    @classmethod
    def grid(cls, size: int, col: int, row: int, width: int, height: int) -> Pixels:
        """The window of `height` x `width` pixels whose north-west pixel is (`col`, `row`)."""
        return cls(size, np.arange(col, col + width, dtype=np.int64)[None, :], np.arange(row, row + height, dtype=np.int64)[:, None])

    @classmethod
    def holding(cls, size: int, x: npt.ArrayLike, y: npt.ArrayLike) -> Pixels:
        """The pixels holding points (n,); west and north edges belong to the pixel. Coordinates must be finite."""
        cols = np.floor(np.asarray(x, float) / size).astype(np.int64)
        rows = np.floor(-np.asarray(y, float) / size).astype(np.int64)
        return cls(size, cols, rows)

    @property
    def is_grid(self) -> bool:
        return self.cols.ndim == 2

    @property
    def shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(self.cols.shape, self.rows.shape)


def position(index: npt.NDArray[np.int64], size: int, step: int, *, centred: bool) -> tuple[npt.NDArray[np.int64], Field]:
    """Node before a pixel's centre, and the fraction (0..1) of the way to the next, on a lattice of `step` metres.

    Exact integer arithmetic until the last division. `centred` nodes stand at (i + 0.5) * step, others at i * step.
    """
    twice = (2 * index + 1) * size - (step if centred else 0)
    return twice // (2 * step), ((twice % (2 * step)) / np.float32(2 * step)).astype(np.float32)


def uniform(cols: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], seed: int) -> Field:
    """Independent uniform numbers in [0, 1), one per (column, row): a 32-bit integer hash (lowbias32 rounds)."""
    key = np.uint32((seed * 0x9E3779B1 + 0x7F4A7C15) & 0xFFFFFFFF)
    h = _mix(cols.astype(np.uint32) * np.uint32(0x9E3779B1) + key)
    h = _mix(h + _mix(rows.astype(np.uint32) * np.uint32(0x85EBCA77) ^ key))
    h >>= np.uint32(8)
    out = h.astype(np.float32)
    out *= np.float32(2**-24)
    return out


def _mix(h: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    h = h ^ (h >> np.uint32(16))
    h *= np.uint32(0x7FEB352D)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x846CA68B)
    h ^= h >> np.uint32(16)
    return h


def white(pixels: Pixels, seed: int) -> Field:
    """Uniform [0, 1) numbers, one a pixel."""
    return uniform(pixels.cols, pixels.rows, seed)


def smooth(pixels: Pixels, wavelength: int, seed: int) -> Field:
    """A smooth field, about standard normal, with bumps of about `wavelength` metres (cubic B-spline of hashed nodes)."""
    i, wx = _spline(pixels.cols, pixels.size, wavelength)
    j, wy = _spline(pixels.rows, pixels.size, wavelength)
    scale = np.float32(1 / _SPLINE_SD)
    if not pixels.is_grid:
        total = np.zeros(pixels.shape, np.float32)
        for b in range(4):
            line = _signed(i, j + b, seed) * wx[0]
            for a in range(1, 4):
                line = line + _signed(i + a, j + b, seed) * wx[a]
            total = total + line * wy[b]
        return total * scale
    i0, j0 = int(i.min()), int(j.min())
    nodes = _signed(np.arange(i0, int(i.max()) + 4)[None, :], np.arange(j0, int(j.max()) + 4)[:, None], seed)
    at = (i - i0)[0]
    lines = nodes[:, at] * wx[0]
    for a in range(1, 4):
        lines = lines + nodes[:, at + a] * wx[a]
    at = (j - j0)[:, 0]
    total = np.zeros(pixels.shape, np.float32)
    for b in range(4):
        total += lines[at + b] * wy[b]
    total *= scale
    return total


def fractal(pixels: Pixels, wavelength: int, seed: int, *, octaves: int, gain: float = 0.5) -> Field:
    """Fractional Brownian motion: octaves of `smooth`, each of half the wavelength and `gain` the amplitude; about N(0, 1)."""
    total = np.zeros(pixels.shape, np.float32)
    variance = 0.0
    for octave in range(octaves):
        amplitude = gain**octave
        total += np.float32(amplitude) * smooth(pixels, max(1, wavelength >> octave), seed + 101 * octave)
        variance += amplitude**2
    total *= np.float32(variance**-0.5)
    return total


def interpolate(layer: Field, origin: tuple[int, int], cell: int, pixels: Pixels) -> Field:
    """Bilinear value of a cell layer (y, x) at pixel centres. `origin` is the (column, row) of its north-west cell.

    The layer's edge value continues beyond it. NaN spreads to the pixels that touch it.
    """
    height, width = layer.shape
    i, fx = position(pixels.cols, pixels.size, cell, centred=True)
    j, fy = position(pixels.rows, pixels.size, cell, centred=True)
    i, j = i - origin[0], j - origin[1]
    west, east = np.clip(i, 0, width - 1), np.clip(i + 1, 0, width - 1)
    north, south = np.clip(j, 0, height - 1), np.clip(j + 1, 0, height - 1)
    if not pixels.is_grid:
        upper = layer[north, west] + (layer[north, east] - layer[north, west]) * fx
        lower = layer[south, west] + (layer[south, east] - layer[south, west]) * fx
        return upper + (lower - upper) * fy
    first, last = int(north.min()), int(south.max())
    part = layer[first : last + 1]
    left = part[:, west[0]]
    lines = left + (part[:, east[0]] - left) * fx
    upper = lines[north[:, 0] - first]
    lower = lines[south[:, 0] - first]
    lower -= upper
    lower *= fy
    lower += upper
    return lower


def nearest(layer: npt.NDArray, origin: tuple[int, int], cell: int, pixels: Pixels) -> npt.NDArray:
    """Value of the cell holding each pixel's centre. The layer's edge value continues beyond it."""
    height, width = layer.shape[-2:]
    i = np.clip((2 * pixels.cols + 1) * pixels.size // (2 * cell) - origin[0], 0, width - 1)
    j = np.clip((2 * pixels.rows + 1) * pixels.size // (2 * cell) - origin[1], 0, height - 1)
    return layer[..., j, i]


def _signed(cols: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], seed: int) -> Field:
    return uniform(cols, rows, seed) * np.float32(2) - np.float32(1)


def _spline(index: npt.NDArray[np.int64], size: int, step: int) -> tuple[npt.NDArray[np.int64], tuple[Field, Field, Field, Field]]:
    i, f = position(index, size, step, centred=False)
    f2, one = f * f, np.float32(1) - f
    f3, sixth = f2 * f, np.float32(1 / 6)
    weights = (one * one * one * sixth, (3 * f3 - 6 * f2 + 4) * sixth, (3 * f2 - 3 * f3 + 3 * f + 1) * sixth, f3 * sixth)
    return i, weights
