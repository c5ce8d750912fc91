"""Tile matrix sets: those of the OGC, and the laws of their tiles."""

from __future__ import annotations

import math

import morecantile
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.serving.crs import transformer
from geoplantnet.serving.exceptions import InvalidParameter, TileOutOfRange
from geoplantnet.serving.tilematrix import EUROPE, TILE_MATRIX_SETS, TILE_SIZE, WEB_MERCATOR, tile_bounds, tile_matrix_set, tile_number

SETS = list(TILE_MATRIX_SETS.values())
by_set = pytest.mark.parametrize("tiles", SETS, ids=[tiles.id for tiles in SETS])


@st.composite
def tile(draw, tiles):
    matrix = draw(st.sampled_from(tiles.matrices))
    return matrix, draw(st.integers(0, matrix.height - 1)), draw(st.integers(0, matrix.width - 1))


@by_set
def test_sets_are_those_of_the_ogc(tiles):
    """Every number is that of the OGC's own definition, as morecantile's files hold it; the origin is in the order of the CRS."""
    theirs = morecantile.tms.get(tiles.id)
    assert (tiles.title, tiles.uri, str(theirs.uri)) == (theirs.title, tiles.uri, tiles.uri)
    assert str(theirs.crs.root) == tiles.crs.uri
    assert tuple(theirs.orderedAxes) == tiles.ordered_axes
    assert str(theirs.wellKnownScaleSet or "") == tiles.scale_set
    assert len(theirs.tileMatrices) == len(tiles.matrices)
    for own, other in zip(tiles.matrices, theirs.tileMatrices, strict=True):
        assert (own.id, own.width, own.height) == (other.id, other.matrixWidth, other.matrixHeight)
        assert (other.tileWidth, other.tileHeight, other.cornerOfOrigin) == (TILE_SIZE, TILE_SIZE, "topLeft")
        assert tuple(other.pointOfOrigin) == pytest.approx(tiles.point_of_origin, rel=1e-12)
        assert own.cell_size == pytest.approx(other.cellSize, rel=1e-8)  # the file rounds its last ones to nine digits
        assert own.scale_denominator == pytest.approx(other.scaleDenominator, rel=1e-8)


def test_northing_comes_first_where_the_crs_says_so():
    """The point of origin of EPSG:3035 is north, then west; that of EPSG:3857 west, then north."""
    assert EUROPE.point_of_origin == (5_500_000, 2_000_000)
    assert WEB_MERCATOR.point_of_origin == pytest.approx((-20037508.342789244, 20037508.342789244), rel=1e-15)


@by_set
@given(data=st.data())
def test_tiles_lie_where_a_peer_says(tiles, data):
    """Bounds of any tile are morecantile's, to a thousandth of a pixel."""
    matrix, row, col = data.draw(tile(tiles))
    theirs = morecantile.tms.get(tiles.id).xy_bounds(morecantile.Tile(x=col, y=row, z=int(matrix.id)))
    digits = 1e-8 * tiles.side  # of the rounded cell sizes of its file
    assert tile_bounds(tiles, matrix.id, row, col) == pytest.approx(tuple(theirs), abs=max(matrix.cell_size * 1e-3, digits))


@by_set
@given(data=st.data())
def test_a_tile_is_four_of_the_next_matrix_and_shares_edges(tiles, data):
    """Four children make their parent exactly, and neighbours meet without a gap of any size."""
    matrix, row, col = data.draw(tile(tiles))
    west, south, east, north = tile_bounds(tiles, matrix.id, row, col)
    assert west < east and south < north
    if col + 1 < matrix.width:
        assert tile_bounds(tiles, matrix.id, row, col + 1)[0] == east
    if row + 1 < matrix.height:
        assert tile_bounds(tiles, matrix.id, row + 1, col)[3] == south
    if matrix is not tiles.matrices[-1]:
        below = str(int(matrix.id) + 1)
        children = [tile_bounds(tiles, below, 2 * row + i, 2 * col + j) for i in (0, 1) for j in (0, 1)]
        assert (children[0][0], children[2][1], children[1][2], children[0][3]) == (west, south, east, north)


@by_set
@given(data=st.data())
def test_limits_hold_the_tiles_that_meet_an_extent_and_no_others(tiles, data):
    """A tile lies within the limits of an extent just when they overlap; the extent of a tile has one tile of its own matrix."""
    matrix, row, col = data.draw(tile(tiles))
    first, *_ = [one for one in tiles.limits(tile_bounds(tiles, matrix.id, row, col)) if one.matrix == matrix]
    assert (first.min_row, first.max_row, first.min_col, first.max_col) == (row, row, col, col)
    west, south, east, north = tiles.bounds
    x, y = (data.draw(st.lists(st.floats(-0.2, 1.2), min_size=2, max_size=2, unique=True).map(sorted)) for _ in "xy")
    extent = (west + x[0] * (east - west), south + y[0] * (north - south), west + x[1] * (east - west), south + y[1] * (north - south))
    limits = {one.matrix.id: one for one in tiles.limits(extent)}
    for level in tiles.matrices[:4]:
        for r in range(level.height):
            for c in range(level.width):
                w, s, e, n = tile_bounds(tiles, level.id, r, c)
                depth = min(e, extent[2]) - max(w, extent[0]), min(n, extent[3]) - max(s, extent[1])
                if abs(min(depth)) < 1e-6 * (e - w):
                    continue  # touches by rounding
                one = limits.get(level.id)
                inside = one is not None and one.min_row <= r <= one.max_row and one.min_col <= c <= one.max_col
                assert inside == (min(depth) > 0)


@given(lon=st.floats(-179.9, 179.9), lat=st.floats(-85, 85), z=st.integers(0, 20))
def test_a_place_is_in_the_tile_everyone_says(lon, lat, z):
    """The tile of a place by the formula of web maps (as OpenStreetMap's wiki has it) holds the place."""
    col = int((lon + 180) / 360 * 2**z)
    row = int((1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * 2**z)
    x, y = transformer("CRS:84", "EPSG:3857").transform(lon, lat)
    west, south, east, north = tile_bounds(WEB_MERCATOR, str(z), row, col)
    assert west - 1e-6 <= x <= east + 1e-6 and south - 1e-6 <= y <= north + 1e-6


def test_a_set_is_served_as_far_as_its_cells_are_worth():
    """Cells of 50 m end where a pixel is 3.1 m or less; the set keeps its beginning."""
    short = EUROPE.down_to(50)
    assert short.matrices == EUROPE.matrices[:14] and short.matrices[-1].cell_size <= 50 / 16 < short.matrices[-2].cell_size
    assert WEB_MERCATOR.down_to(50).matrices[-1].id == "16"
    assert EUROPE.down_to(1e-3).matrices == EUROPE.matrices and EUROPE.down_to(1e9).matrices == EUROPE.matrices[:1]


def test_what_is_not_there_is_named():
    """Unknown sets and matrices tell what is served; rows and columns beyond are out of range, words are invalid."""
    with pytest.raises(InvalidParameter, match="WebMercatorQuad"):
        tile_matrix_set("WebMercatorQaud")
    assert tile_matrix_set(EUROPE.uri) is EUROPE
    for matrix in ("16", "-1", "00", "", "١", "x" * 999):
        with pytest.raises(InvalidParameter, match="0 to 15"):
            tile_bounds(EUROPE, matrix, 0, 0)
    for row, col in ((4, 0), (0, 4), (-1, 0), (0, -1)):
        with pytest.raises(TileOutOfRange, match="0 to 3"):
            tile_bounds(EUROPE, "2", row, col)
    assert tile_number("3", "TileRow", 4) == 3
    for text in ("4", "-1", "9" * 400, "+99"):
        with pytest.raises(TileOutOfRange, match=r"TileRow.*0 to 3"):
            tile_number(text, "TileRow", 4)
    for text in ("", "1.0", "x", "1_0", "١", " 1", "1\n", "9" * 401, "0x1"):
        with pytest.raises(InvalidParameter, match="whole number"):
            tile_number(text, "TileRow", 4)
