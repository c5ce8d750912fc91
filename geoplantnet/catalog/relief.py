"""Hillshade: elevation with a margin of one cell -> the quiet base layer of the web map."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import RasterError, UsageError

MARGIN = 1
"""Cells around the tile that the elevation must bring along."""

_AZIMUTHS = (225.0, 270.0, 315.0, 360.0)


def hillshade(
    elevation: npt.NDArray[np.floating], cell_size: float, *, altitude: float = 45.0, exaggeration: float = 1.0
) -> npt.NDArray[np.uint8]:
    """Shade a terrain lit from the west and north at once. Metres (y + 2, x + 2) -> uint8 (y, x): 1 dark to 255 bright, 0 = no data.

    The slope is that of Horn (1981, doi:10.1109/PROC.1981.11918) over 3 x 3 cells, so the elevation comes with one cell
    around the tile (`MARGIN`): a window of a shaded region equals the shaded window, and tiles have no seams. Four lights
    at azimuths 225, 270, 315 and 360 degrees, each weighted by sin^2(aspect - azimuth), keep ridges of every direction
    visible (Mark 1992, USGS Open-File Report 92-422). `cell_size` is in metres, rows north to south; `altitude` is
    the lights' height in degrees, `exaggeration` stretches heights. A cell without elevation is 0; beside it, a
    missing neighbour counts as level with the cell. Raises RasterError, UsageError.
    """
    if elevation.ndim != 2 or min(elevation.shape) < 1 + 2 * MARGIN:
        raise RasterError(f"hillshade needs elevation (y, x) with a margin of {MARGIN} cell on every side; got shape {elevation.shape}")
    if not (math.isfinite(cell_size) and cell_size > 0 and 0 < altitude <= 90 and math.isfinite(exaggeration)):
        raise UsageError(f"cell_size {cell_size} m, altitude {altitude} degrees, exaggeration {exaggeration}: need > 0, in (0, 90], finite")
    east, north = (exaggeration * gradient for gradient in _gradients(elevation.astype(np.float64), cell_size))
    sine, cosine = math.sin(math.radians(altitude)), math.cos(math.radians(altitude))
    steepness = np.sqrt(1 + east**2 + north**2)
    aspect = np.arctan2(-east, -north)  # the way water runs, clockwise from north
    shade = np.zeros_like(east)
    for azimuth in map(math.radians, _AZIMUTHS):
        lit = np.clip((sine - cosine * (east * math.sin(azimuth) + north * math.cos(azimuth))) / steepness, 0, 1)
        shade += lit * np.sin(aspect - azimuth) ** 2 / 2  # the four weights sum to 2 for any aspect
    missing = np.isnan(elevation[1:-1, 1:-1])
    return np.where(missing, 0, 1 + np.rint(254 * shade)).astype(np.uint8)


def _gradients(z: npt.NDArray[np.float64], cell_size: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rise per metre eastward and northward, (y, x); Horn's weights 1, 2, 1 over 8 cells."""
    centre = np.where(np.isnan(z[1:-1, 1:-1]), 0.0, z[1:-1, 1:-1])
    height, width = centre.shape

    def neighbour(down: int, right: int) -> npt.NDArray[np.float64]:
        window = z[1 + down : 1 + down + height, 1 + right : 1 + right + width]
        return np.where(np.isnan(window), centre, window)

    nw, n, ne = neighbour(-1, -1), neighbour(-1, 0), neighbour(-1, 1)
    w, e = neighbour(0, -1), neighbour(0, 1)
    sw, s, se = neighbour(1, -1), neighbour(1, 0), neighbour(1, 1)
    east = ((ne + 2 * e + se) - (nw + 2 * w + sw)) / (8 * cell_size)
    north = ((nw + 2 * n + ne) - (sw + 2 * s + se)) / (8 * cell_size)
    return east, north
