"""Mosaic blocks: a lattice of 8 x 8 tiles that never moves."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.grid import TileGrid
from geoplantnet.grid.mosaic import TILES_A_SIDE, block_grid, in_blocks, place_of, window_around

GRID = TileGrid()
CORNERS = st.tuples(st.integers(36, 295), st.integers(36, 295))
TILE_SETS = st.sets(CORNERS, min_size=1, max_size=30).map(lambda found: [GRID.tile(f"25kmE{25 * e}N{25 * n}") for e, n in sorted(found)])


def test_a_block_is_named_by_its_corner():
    """The tile around the Aletsch glacier lies in the block of 200 km that its corner, in km, names."""
    assert list(in_blocks([GRID.tile("25kmE4125N2575")])) == ["200kmE4000N2400"]


@given(TILE_SETS)
def test_every_tile_is_in_one_block_which_holds_it_whatever_else_is_chosen(tiles):
    """Blocks part the tiles; a tile lies inside its block's bounds, and its block is that of the tile alone."""
    blocks = in_blocks(tiles)
    assert sorted(t.id for held in blocks.values() for t in held) == sorted(t.id for t in tiles)
    for name, held in blocks.items():
        west, south, east, north = block_grid(GRID).tile(name).bounds
        assert len(held) <= TILES_A_SIDE**2 and re.fullmatch(r"200kmE\d+N\d+", name)
        for tile in held:
            w, s, e, n = tile.bounds
            assert west <= w and south <= s and e <= east and n <= north
            assert list(in_blocks([tile])) == [name]


@given(TILE_SETS)
def test_places_in_a_window_are_the_tiles_lattices(tiles):
    """A window is the smallest around its tiles, and the place of a tile in it has the tile's own geobox."""
    tiles = in_blocks(tiles).popitem()[1]
    window = window_around(tiles)
    covered = np.zeros(window.shape, int)
    for tile in tiles:
        place = place_of(tile, window)
        assert window[place] == tile.geobox()
        covered[place] += 1
    assert covered.max() == 1 and covered.sum() == len(tiles) * GRID.cells_per_side**2
    assert all(edge.any() for edge in (covered[0], covered[-1], covered[:, 0], covered[:, -1]))
