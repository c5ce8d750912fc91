"""Whichever store a tile's predictions lie in: opened, and gone over for sums, sets and means, by one call each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from geoplantnet.assemblages.dense import DenseTile, assembled, open_dense
from geoplantnet.assemblages.latent import LatentTile, open_latent
from geoplantnet.assemblages.stream import Multiply, Streamed, stream
from geoplantnet.assemblages.sums import Name, Sum, community_sums
from geoplantnet.grid.tile_grid import TileGrid


def open_species_tile(
    path: str | os.PathLike[str], grid: TileGrid, *, assemblage: str | os.PathLike[str] | None = None
) -> LatentTile | DenseTile:
    """Open the latent or dense tile at `path`, and its assemblage where a path to it is given. Raises as `open_latent`."""
    dense = (Path(path) / "by_cell").is_dir() or (Path(path) / "p").is_dir()
    return (open_dense if dense else open_latent)(path, grid, assemblage=assemblage)


def survey(tile: LatentTile | DenseTile, sums: Mapping[Name, Sum], *, multiply: Multiply | None = None) -> Streamed[Name]:
    """Sums, species sets and block means of a tile: of a latent one by `stream`, in one pass; of a dense one by passes over its blocks.

    Raises as `stream`.
    """
    if isinstance(tile, LatentTile):
        return stream(tile, sums, multiply=multiply)
    made = assembled(tile)
    found, _ = community_sums(tile.blocks, tile.shape, sums, species=len(tile.species), threshold=made.threshold)
    return Streamed(sums=found, threshold=made.threshold, sets=made.sets, means=made.means)
