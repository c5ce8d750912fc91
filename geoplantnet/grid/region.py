"""A region: polygons of any CRS on the grid -> the tiles and the cells that lie in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from rasterio.features import geometry_mask
from shapely.geometry.base import BaseGeometry

from geoplantnet.errors import InputError
from geoplantnet.grid.named import on_grid, read_polygons
from geoplantnet.grid.tile_grid import MetaTile, TileGrid


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """A cell belongs to a region when its centre does."""

    geometry: BaseGeometry
    """Polygons in the grid's CRS, holes and all."""
    name: str
    """What it is called in errors, such as its file."""

    @classmethod
    def read(cls, path: str | os.PathLike[str], grid: TileGrid) -> Region:
        """All polygons of a GeoJSON, GeoPackage or (zipped) Shapefile as one region, brought to the grid's CRS.

        Raises InputError, CrsError or UnknownTile as `named.read_polygons` and `named.tiles_of` do.
        """
        return cls(geometry=on_grid(read_polygons(path), grid), name=os.fspath(path))

    def mask(self, tile: MetaTile) -> npt.NDArray[np.bool_]:
        """(y, x), rows north to south: whether a cell's centre lies in the region."""
        box = tile.geobox()
        around = shapely.box(*tile.bounds).buffer(tile.grid.cell_size, join_style="mitre")  # so that no edge is cut where a cell ends
        part = shapely.intersection(self.geometry, around)
        if part.is_empty:
            return np.zeros(tuple(box.shape), bool)
        return geometry_mask([part], out_shape=tuple(box.shape), transform=box.affine, invert=True)

    def tiles(self, among: Sequence[MetaTile]) -> tuple[MetaTile, ...]:
        """Those tiles that hold a cell of the region, in their order. Raises InputError when none does."""
        shapely.prepare(self.geometry)
        held = tuple(tile for tile in among if self._holds(tile))
        if not held:
            west, south, east, north = self.geometry.bounds
            raise InputError(
                f"{self.name}: no cell of the {len(among)} tiles has its centre in the region, which reaches from {west:.0f}, {south:.0f} to "
                f"{east:.0f}, {north:.0f} in {among[0].grid.crs if among else 'the grid'}; choose one on tiles that are mapped, or map those it lies on"
            )
        return held

    def _holds(self, tile: MetaTile) -> bool:
        square = shapely.box(*tile.bounds)
        return bool(shapely.contains(self.geometry, square) or (shapely.intersects(self.geometry, square) and self.mask(tile).any()))
