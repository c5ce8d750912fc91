"""Where the pixels of a map lie among cells: exact at the nodes of a coarse grid, interpolated between them, with a stated error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geoplantnet.serving import kernels
from geoplantnet.serving.crs import Bounds, Crs, transformer

Float = npt.NDArray[np.float64]

TOLERANCE = 0.02
"""How far an interpolated pixel centre may lie from the exact one, in cells, and in eighths of a pixel's side where those are smaller."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A map that is asked for."""

    crs: Crs
    bbox: Bounds
    """West, south, east, north in `crs`: easting or longitude first."""
    width: int
    height: int

    @property
    def step(self) -> tuple[float, float]:
        """Size of a pixel (x, y) in units of `crs`."""
        west, south, east, north = self.bbox
        return (east - west) / self.width, (north - south) / self.height

    def centre(self, i: float, j: float) -> tuple[float, float]:
        """Place in `crs` of the centre of pixel (i, j), counted from 0 in the north-west."""
        x, y = self.step
        return self.bbox[0] + (i + 0.5) * x, self.bbox[3] - (j + 0.5) * y

    def pixel_on_ground(self, grid_crs: str, around: Bounds) -> tuple[float, float] | None:
        """The two sides (x, y) of a pixel, metres of the grid, in the middle of what the map shows of the box `around` (in `crs`);
        None for nothing.
        """
        west, south, east, north = (f(a, b) for f, a, b in zip((max, max, min, min), self.bbox, around, strict=True))
        if west >= east or south >= north:
            return None
        x, y = (west + east) / 2, (south + north) / 2
        # a thousandth of a pixel: a pixel of a world map is too long to measure by its ends
        step_x, step_y = (side / 1e3 for side in self.step)
        if self.crs.name == grid_crs:
            sides = [1e3 * step_x, 1e3 * step_y]
        else:
            xs, ys = transformer(self.crs.name, grid_crs).transform([x, x + step_x, x], [y, y, y + step_y])
            sides = [1e3 * math.hypot(xs[k] - xs[0], ys[k] - ys[0]) for k in (1, 2)]
        return (sides[0], sides[1]) if all(math.isfinite(side) and side > 0 for side in sides) else None

    def places(self, grid_crs: str, rows: slice, *, cell: float) -> tuple[Float, Float]:
        """Easting and northing (rows, width) of the pixel centres in the grid's CRS, for cells of `cell` metres; infinite where there is none.

        Transformed exactly every 64 pixels and interpolated, where that is within `TOLERANCE` of the exact transformation in the
        middle of every mesh, else every 16, 4, or one by one.
        """
        height = rows.stop - rows.start
        if self.crs.name == grid_crs:
            x, y = self._at(np.arange(self.width), np.arange(rows.start, rows.stop))
            return np.tile(x, (height, 1)), np.repeat(y[:, None], self.width, axis=1)
        to_grid = transformer(self.crs.name, grid_crs)
        for step in (64, 16, 4):
            across, down = np.arange(0, self.width + step, step), np.arange(rows.start, rows.stop + step, step)
            nodes = to_grid.transform(*np.meshgrid(*self._at(across, down)))
            if not all(np.isfinite(axis).all() for axis in nodes):
                continue
            middle = to_grid.transform(*np.meshgrid(*self._at(across[:-1] + step / 2, down[:-1] + step / 2)))
            pixel = max(np.abs(np.diff(axis, axis=k)).max() for k, axis in enumerate((nodes[1], nodes[0]))) / step
            allowed = min(TOLERANCE * cell, pixel / 8)
            guess = [(axis[1:, 1:] + axis[:-1, 1:] + axis[1:, :-1] + axis[:-1, :-1]) / 4 for axis in nodes]
            if all(np.abs(g - m).max() <= allowed for g, m in zip(guess, middle, strict=True)):
                x, y = np.empty((height, self.width)), np.empty((height, self.width))
                kernels.places(*(np.ascontiguousarray(axis) for axis in nodes), step, x, y)
                return x, y
        x, y = to_grid.transform(*np.meshgrid(*self._at(np.arange(self.width), np.arange(rows.start, rows.stop))))
        return np.ascontiguousarray(x), np.ascontiguousarray(y)

    def _at(self, i: npt.NDArray[Any], j: npt.NDArray[Any]) -> tuple[Float, Float]:
        x, y = self.step
        return self.bbox[0] + (i + 0.5) * x, self.bbox[3] - (j + 0.5) * y
