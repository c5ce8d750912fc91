"""The laws of the meta-tile grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.gridspec import GridSpec

from geoplantnet.errors import UnknownTile, UsageError
from geoplantnet.grid.tile_grid import MetaTile, TileGrid

GRID = TileGrid()
WEST, SOUTH, EAST, NORTH = GRID.bounds

eastings = st.floats(WEST, EAST, exclude_max=True)
northings = st.floats(SOUTH, NORTH, exclude_max=True)
tiles = st.builds(
    lambda column, row: MetaTile(grid=GRID, west=column * GRID.tile_size, south=row * GRID.tile_size),
    st.integers(WEST // GRID.tile_size, EAST // GRID.tile_size - 1),
    st.integers(SOUTH // GRID.tile_size, NORTH // GRID.tile_size - 1),
)
grids = st.builds(
    lambda km, cells, west, south, width, height: TileGrid(
        tile_size=km * 1000,
        cell_size=km * 1000 // cells,
        bounds=(west * km * 1000, south * km * 1000, (west + width) * km * 1000, (south + height) * km * 1000),
    ),
    st.integers(1, 100),
    st.sampled_from([1, 2, 10, 20, 500]),
    st.integers(-5, 40),
    st.integers(-5, 40),
    st.integers(1, 9),
    st.integers(1, 9),
)


@settings(deadline=None)
@given(eastings, northings)
def test_every_point_lies_in_exactly_one_tile(x: float, y: float) -> None:
    """A point is inside its own tile and inside none of the tiles around it."""
    tile = GRID.tile_at(x, y)

    def holds(t: MetaTile) -> bool:
        west, south, east, north = t.bounds
        return west <= x < east and south <= y < north

    assert holds(tile)
    assert not any(holds(t) for t in tile.neighbours())


@settings(deadline=None)
@given(tiles)
def test_tile_to_bounds_to_tile_returns(tile: MetaTile) -> None:
    """The corner and the centre of a tile's bounds lead back to it, and so do the bounds as a box."""
    west, south, east, north = tile.bounds
    assert GRID.tile_at(west, south) == GRID.tile_at((west + east) / 2, (south + north) / 2) == tile
    assert list(GRID.tiles_in(*tile.bounds)) == [tile]


@settings(deadline=None)
@given(tiles)
def test_ids_round_trip(tile: MetaTile) -> None:
    """A tile is found again by its id, and says the same id."""
    assert GRID.tile(tile.id) == tile
    assert GRID.tile(tile.id).id == tile.id


@settings(deadline=None)
@given(grids, st.data())
def test_any_grid_is_partitioned_by_its_tiles(grid: TileGrid, data: st.DataObject) -> None:
    """The tiles of a grid are distinct, fill its bounds, and each has a distinct id that leads back."""
    found = list(grid.tiles_in(*grid.bounds))
    west, south, east, north = grid.bounds
    assert len(found) * grid.tile_size**2 == (east - west) * (north - south)
    assert len(set(found)) == len(found)
    tile = data.draw(st.sampled_from(found))
    if min(tile.west, tile.south) >= 0:  # ids have no sign
        assert grid.tile(tile.id) == tile
    assert tile.geobox().shape == (grid.cells_per_side, grid.cells_per_side)


@settings(deadline=None)
@given(tiles)
def test_neighbourhood_is_mutual(tile: MetaTile) -> None:
    """At most eight neighbours, distinct, touching, never the tile itself; and each counts it among its own."""
    around = tile.neighbours()
    assert len(set(around)) == len(around) <= 8
    assert tile not in around
    for other in around:
        assert max(abs(other.west - tile.west), abs(other.south - tile.south)) == GRID.tile_size
        assert tile in other.neighbours()


def test_a_corner_tile_has_three_neighbours() -> None:
    """Neighbours outside the grid do not exist."""
    assert len(GRID.tile_at(WEST, SOUTH).neighbours()) == 3


@settings(deadline=None)
@given(tiles, st.sampled_from([10.0, 50.0, 100.0, 1000.0, 12.5]), st.integers(0, 7))
def test_a_margin_widens_the_lattice_without_moving_it(tile: MetaTile, resolution: float, pixels: int) -> None:
    """A geobox with margin holds the tile's own pixels, at the same coordinates, with `margin` more on each side."""
    inner, wide = tile.geobox(resolution), tile.geobox(resolution, margin=pixels * resolution)
    assert wide.shape == (inner.shape[0] + 2 * pixels, inner.shape[1] + 2 * pixels)
    rows, columns = inner.shape
    for name, size in zip(inner.dimensions, (rows, columns)):
        np.testing.assert_array_equal(wide.coordinates[name].values[pixels : pixels + size], inner.coordinates[name].values)
    west, south, east, north = tile.bounds
    assert inner.affine.c == west and inner.affine.f == north
    assert (inner.boundingbox.right, inner.boundingbox.bottom) == (east, south)
    assert inner.affine.e < 0 < inner.affine.a  # rows north to south


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1e7, 1e7) | st.just(float("nan")), st.floats(-1e7, 1e7) | st.just(float("inf"))), max_size=20))
def test_ids_of_many_points_are_those_of_each(points: list[tuple[float, float]]) -> None:
    """`tile_ids_at` is `tile_at` for each point, None where that raises."""
    x, y = np.array(points, float).reshape(-1, 2).T
    for i, tile_id in enumerate(GRID.tile_ids_at(x, y)):
        if tile_id is None:
            with pytest.raises(UnknownTile):
                GRID.tile_at(x[i], y[i])
        else:
            assert GRID.tile_at(x[i], y[i]).id == tile_id


@pytest.mark.parametrize(
    "tile_id",
    [
        "",
        "25kmE4125",
        "25kmE4125N2575 ",
        "25kmE4126N2575",
        "10kmE4120N2570",
        "25kmE0N0",
        "25kmE-25N2575",
        "25kmE99975N2575",
        "25KME4125N2575",
        "٢٥kmE4125N2575\n",
    ],
)
def test_bad_ids_are_unknown_tiles(tile_id: str) -> None:
    """A malformed id, one of another grid and one outside the grid raise UnknownTile and name the id."""
    with pytest.raises(UnknownTile, match=r"km"):
        GRID.tile(tile_id)


@pytest.mark.parametrize("point", [(WEST - 0.1, SOUTH), (EAST, SOUTH), (WEST, NORTH), (float("nan"), SOUTH), (WEST, float("inf"))])
def test_points_outside_the_grid_have_no_tile(point: tuple[float, float]) -> None:
    """East and north edges are outside; so is what is not finite."""
    with pytest.raises(UnknownTile):
        GRID.tile_at(*point)


def test_impossible_grids_and_lattices_are_refused() -> None:
    """Sizes that do not divide raise UsageError naming both numbers."""
    with pytest.raises(UsageError, match="25500"):
        TileGrid(tile_size=25_500)
    with pytest.raises(UsageError, match=r"60 m does not divide.*25000"):
        TileGrid(cell_size=60)
    with pytest.raises(UsageError, match="bounds"):
        TileGrid(bounds=(0, 0, 30_000, 25_000))
    tile = GRID.tile("25kmE4125N2575")
    with pytest.raises(UsageError, match=r"60\.0 m does not divide"):
        tile.geobox(60)
    with pytest.raises(UsageError, match=r"margin 25\.0 m"):
        tile.geobox(50, margin=25.0)


def test_tiles_are_those_of_an_odc_grid_spec() -> None:
    """The peer: odc-geo's GridSpec with the same tile is the same GeoBox, at index easting / size, northing / size."""
    spec = GridSpec("EPSG:3035", tile_shape=(2500, 2500), resolution=10)
    assert GRID.tile("25kmE3825N2250").geobox(10) == spec[153, 90]
    assert GRID.tile("25kmE4125N2575").geobox(10) == spec[165, 103]
