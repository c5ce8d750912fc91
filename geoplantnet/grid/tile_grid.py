"""The meta-tile grid: point <-> tile <-> bounds. Pure algebra, no input or output.

odc-geo's GeoBox does the raster algebra; this module only names the tiles.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geoplantnet.errors import UnknownTile, UsageError

_TILE_ID = re.compile(r"(?P<size>\d+)kmE(?P<east>\d{1,5})N(?P<north>\d{1,5})")


@dataclass(frozen=True, kw_only=True)
class TileGrid:
    """A square grid of meta-tiles over a projected CRS, anchored at (0, 0)."""

    crs: str = "EPSG:3035"
    """Projected CRS of tiles and cells; axes easting, northing in metres."""
    tile_size: int = 25_000
    """Side of a meta-tile, metres; a whole number of km and of cells."""
    cell_size: int = 50
    """Side of a cell (an output pixel), metres."""
    bounds: tuple[int, int, int, int] = (900_000, 900_000, 7_400_000, 7_400_000)
    """West, south, east, north of the area where tiles exist, metres (default: the EEA reference grid)."""

    def __post_init__(self) -> None:
        if self.tile_size <= 0 or self.tile_size % 1000:
            raise UsageError(f"tile_size must be a positive whole number of km, got {self.tile_size} m")
        if self.cell_size <= 0 or self.tile_size % self.cell_size:
            raise UsageError(f"cell_size {self.cell_size} m does not divide tile_size {self.tile_size} m")
        if any(b % self.tile_size for b in self.bounds):
            raise UsageError(f"grid bounds {self.bounds} are not multiples of tile_size {self.tile_size} m")

    @property
    def cells_per_side(self) -> int:
        """Cells along one side of a tile (500 for 25 km at 50 m)."""
        return self.tile_size // self.cell_size

    def tile(self, tile_id: str) -> MetaTile:
        """The tile named `tile_id` (such as ``25kmE4125N2575``: lower-left corner in km). Raises UnknownTile."""
        match = _TILE_ID.fullmatch(tile_id)
        if match is None:
            raise UnknownTile(f"{tile_id!r} is no meta-tile id; write it like '25kmE4125N2575' (lower-left corner, km)")
        if int(match["size"]) * 1000 != self.tile_size:
            raise UnknownTile(f"{tile_id!r} names a {match['size']} km tile; this grid has {self.tile_size // 1000} km tiles")
        west, south = int(match["east"]) * 1000, int(match["north"]) * 1000
        if west % self.tile_size or south % self.tile_size or not self._inside(west, south):
            raise UnknownTile(
                f"{tile_id!r} is not a tile of the grid: corners are multiples of {self.tile_size // 1000} km inside {self.bounds}"
            )
        return MetaTile(grid=self, west=west, south=south)

    def tile_at(self, easting: float, northing: float) -> MetaTile:
        """The one tile holding a point. West and south edges belong to the tile. Raises UnknownTile outside the grid."""
        if not (math.isfinite(easting) and math.isfinite(northing)) or not self._inside(easting, northing):
            raise UnknownTile(f"point ({easting}, {northing}) lies outside the grid's bounds {self.bounds} in {self.crs}")
        size = self.tile_size
        return MetaTile(grid=self, west=int(easting // size) * size, south=int(northing // size) * size)

    def tile_ids_at(self, easting: npt.ArrayLike, northing: npt.ArrayLike) -> npt.NDArray[np.object_]:
        """Tile ids of many points, (n,), None where a point is not finite or outside the grid."""
        x, y = np.asarray(easting, float), np.asarray(northing, float)
        west, south, east, north = self.bounds
        inside = np.isfinite(x) & np.isfinite(y) & (x >= west) & (x < east) & (y >= south) & (y < north)
        size, km = self.tile_size, self.tile_size // 1000
        out = np.full(x.shape, None, dtype=object)
        columns = (np.where(inside, x, 0) // size).astype(int) * km
        rows = (np.where(inside, y, 0) // size).astype(int) * km
        for i in np.flatnonzero(inside):
            out[i] = f"{km}kmE{columns[i]}N{rows[i]}"
        return out

    def tiles_in(self, west: float, south: float, east: float, north: float) -> Iterator[MetaTile]:
        """Tiles whose interior meets a bounding box in the grid's CRS, south to north, west to east."""
        size = self.tile_size
        w, s = max(west, self.bounds[0]), max(south, self.bounds[1])
        e, n = min(east, self.bounds[2]), min(north, self.bounds[3])
        for row in range(math.floor(s / size), math.ceil(n / size)):
            for column in range(math.floor(w / size), math.ceil(e / size)):
                yield MetaTile(grid=self, west=column * size, south=row * size)

    def _inside(self, x: float, y: float) -> bool:
        west, south, east, north = self.bounds
        return west <= x < east and south <= y < north


@dataclass(frozen=True, kw_only=True)
class MetaTile:
    """One square tile. Equal by value; everything else derives from its lower-left corner."""

    grid: TileGrid
    west: int
    """Easting of the lower-left corner, metres."""
    south: int
    """Northing of the lower-left corner, metres."""

    @property
    def id(self) -> str:
        """Such as ``25kmE4125N2575``: size, easting and northing of the lower-left corner in km."""
        return f"{self.grid.tile_size // 1000}kmE{self.west // 1000}N{self.south // 1000}"

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """West, south, east, north, metres."""
        return self.west, self.south, self.west + self.grid.tile_size, self.south + self.grid.tile_size

    def geobox(self, resolution: float | None = None, *, margin: float = 0.0) -> GeoBox:
        """The tile's pixel lattice: north-up, `resolution` metres (default: the cell), widened by `margin` metres.

        The lattice is anchored on the tile's north-west corner, so tiles of one grid share it whenever `resolution`
        divides the tile. Raises UsageError when `resolution` or `margin` leaves the lattice.
        """
        step = float(self.grid.cell_size if resolution is None else resolution)
        if step <= 0 or self.grid.tile_size % step:
            raise UsageError(f"resolution {step} m does not divide the {self.grid.tile_size} m tile; pick a divisor")
        if margin < 0 or margin % step:
            raise UsageError(f"margin {margin} m is not a whole number of {step} m pixels")
        west, south, east, north = self.bounds
        box = (west - margin, south - margin, east + margin, north + margin)
        return GeoBox.from_bbox(box, crs=self.grid.crs, resolution=step, tight=True)

    def neighbours(self) -> list[MetaTile]:
        """The up to eight tiles around this one that lie in the grid."""
        size = self.grid.tile_size
        around = [(self.west + i * size, self.south + j * size) for j in (-1, 0, 1) for i in (-1, 0, 1) if i or j]
        return [MetaTile(grid=self.grid, west=x, south=y) for x, y in around if self.grid._inside(x, y)]
