"""What every client is asked: does the map it got show each place where it is?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from geoplantnet.catalog import Catalog
from geoplantnet.serving.crs import Bounds, reproject_bounds, transformer

GRID = "EPSG:3035"
SPARSE_CELL = (4_120_025, 2_580_025)
"""Centre (easting, northing) of the one cell of its class."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A map to ask for: square pixels in its CRS, easting or longitude first."""

    crs: str
    bounds: Bounds
    """West, south, east, north."""
    width: int
    height: int

    @property
    def resolution(self) -> float:
        return (self.bounds[2] - self.bounds[0]) / self.width

    @classmethod
    def around(cls, box: Bounds, crs: str, width: int, height: int) -> View:
        """The view whose middle is that of a box of the grid, all of which it shows."""
        found = reproject_bounds(box, GRID, crs)
        assert found
        west, south, east, north = found
        half = max((east - west) / width, (north - south) / height) * 1.1 / 2
        x, y = (west + east) / 2, (south + north) / 2
        return cls(crs=crs, bounds=(x - half * width, y - half * height, x + half * width, y + half * height), width=width, height=height)

    def pixel_of(self, easting: float, northing: float) -> tuple[int, int]:
        """Column and row of the pixel that shows a place."""
        x, y = transformer(GRID, self.crs).transform(easting, northing)
        return int((x - self.bounds[0]) / self.resolution), int((self.bounds[3] - y) / self.resolution)


@pytest.fixture(scope="session")
def views(world: Any) -> Callable[[str], tuple[View, View, View]]:
    """Of a CRS: the whole area and what is around it; most of the area, with its corner and its hole, and nothing beyond; and 800 m with the
    sparse cell left of and above the middle, some pixels wide.
    """
    x, y = SPARSE_CELL

    def three(crs: str) -> tuple[View, View, View]:
        whole = View.around((world.west, world.south, world.east, world.north), crs, 240, 220)
        inner = View.around((world.west + 4_000, world.south + 4_000, world.east - 4_000, world.north - 4_000), crs, 220, 230)
        return whole, inner, View.around((x - 250, y - 450, x + 550, y + 350), crs, 61, 40)

    return three


@pytest.fixture(scope="session")
def assert_in_place(world: Any, catalog: Catalog) -> Callable[[npt.NDArray[np.uint8], View], None]:
    """Fail unless a client's picture of the layer `habitat`, (row, column, RGBA), shows every class and every gap where they lie.

    Each pixel more than one away from a boundary has its own class, and the centre of each part lies within a pixel of where it is.
    """
    colors = {one.value: tuple(bytes.fromhex(one.color[1:])) for one in catalog.layer("habitat").classes}

    def check(shown: npt.NDArray[np.uint8], view: View) -> None:
        assert shown.shape == (view.height, view.width, 4)
        drawn = np.where(shown[..., 3] == 0, 0, -1)
        for value, color in colors.items():
            drawn[(shown[..., :3] == color).all(axis=-1) & (shown[..., 3] == 255)] = value
        assert (drawn >= 0).all(), (
            f"{np.count_nonzero(drawn < 0)} pixels have a colour of no class, such as {shown[drawn < 0][:3].tolist()}"
        )
        west, _, _, north = view.bounds
        x, y = west + (np.arange(view.width) + 0.5) * view.resolution, north - (np.arange(view.height) + 0.5) * view.resolution
        east, northing = transformer(view.crs, GRID).transform(*np.meshgrid(x, y))
        expected = np.where(world.holds(east, northing), world.habitat(east, northing), 0)
        inner = minimum_filter(expected, 3) == maximum_filter(expected, 3)
        assert (drawn == expected)[inner].all(), f"{np.count_nonzero((drawn != expected)[inner])} pixels show another place"
        for part in ([1, 2, 7], [1], [2], [7]):
            lies, seen = np.isin(expected, part), np.isin(drawn, part)
            if np.count_nonzero(lies) > 3:  # single pixels of the sparse cell come and go with the level read
                off = np.argwhere(seen).mean(axis=0) - np.argwhere(lies).mean(axis=0)
                assert np.hypot(*off) < 1, f"classes {part} lie {off} pixels (down, right) off"

    return check


@pytest.fixture(scope="session")
def places(world: Any) -> dict[tuple[float, float], float]:
    """Cell centres (easting, northing) and the richness stored there."""
    corner, middle = (world.west + 25.0, world.north - 25.0), (4_130_025.0, 2_590_025.0)
    return {at: float(np.float32(world.richness(np.float64(at[0]), np.float64(at[1])))) for at in (corner, middle)}


@pytest.fixture(scope="session")
def rgba() -> Callable[[bytes], npt.NDArray[np.uint8]]:
    """A picture's bytes -> (row, column, RGBA)."""
    return lambda picture: np.asarray(Image.open(BytesIO(picture)).convert("RGBA"))
