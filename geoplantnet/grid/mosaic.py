"""Mosaic blocks: squares of 8 x 8 tiles on a lattice that never moves, so that a block has one name whatever has been mapped.

A block is a tile of a coarser grid: ``200kmE4000N2400`` is the block of 25 km tiles whose lower-left corner that is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from odc.geo.geobox import GeoBox

from geoplantnet.grid.tile_grid import MetaTile, TileGrid

TILES_A_SIDE = 8


def block_grid(grid: TileGrid) -> TileGrid:
    """The grid whose tiles are the blocks of `grid`, its bounds widened to whole blocks."""
    size = TILES_A_SIDE * grid.tile_size
    west, south, east, north = (bound / size for bound in grid.bounds)
    bounds = math.floor(west) * size, math.floor(south) * size, math.ceil(east) * size, math.ceil(north) * size
    return TileGrid(crs=grid.crs, tile_size=size, cell_size=grid.cell_size, bounds=bounds)


def in_blocks(tiles: Iterable[MetaTile]) -> dict[str, list[MetaTile]]:
    """Block id -> the tiles in it, from south to north, west to east."""
    blocks: dict[str, list[MetaTile]] = {}
    for tile in sorted(tiles, key=lambda t: (t.south, t.west)):
        blocks.setdefault(block_grid(tile.grid).tile_at(tile.west, tile.south).id, []).append(tile)
    return blocks


def window_around(tiles: Sequence[MetaTile]) -> GeoBox:
    """The cells of the smallest rectangle of whole tiles that holds the tiles."""
    bounds = [tile.bounds for tile in tiles]
    west, south = min(b[0] for b in bounds), min(b[1] for b in bounds)
    east, north = max(b[2] for b in bounds), max(b[3] for b in bounds)
    return GeoBox.from_bbox((west, south, east, north), tiles[0].grid.crs, resolution=tiles[0].grid.cell_size, tight=True)


def place_of(tile: MetaTile, window: GeoBox) -> tuple[slice, slice]:
    """Rows and columns of a tile in a window around it."""
    step, side = tile.grid.cell_size, tile.grid.cells_per_side
    west, _, _, north = tile.bounds
    row, column = round((window.affine.f - north) / step), round((west - window.affine.c) / step)
    return slice(row, row + side), slice(column, column + side)
