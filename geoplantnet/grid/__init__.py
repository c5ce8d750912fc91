"""Floor 1, where: `TileGrid`, `MetaTile`, and putting arrays onto a tile's lattice."""

from geoplantnet.grid.raster import read_onto, sample_at
from geoplantnet.grid.tile_grid import MetaTile, TileGrid

__all__ = ["MetaTile", "TileGrid", "read_onto", "sample_at"]
