"""A region: which tiles hold a cell of it, and which cells have their centre in it. Shapely answers cell by cell beside it."""

from __future__ import annotations

import json
import zipfile

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.errors import CrsError, InputError, UnknownTile
from geoplantnet.grid import TileGrid
from geoplantnet.grid.region import Region

GRID = TileGrid(tile_size=2000)
TILES = [GRID.tile(f"2kmE{e}N{n}") for n in (2600, 2602, 2604) for e in (4100, 4102, 4104)]


def centres(tile):
    """Eastings and northings (y, x) of a tile's cells."""
    west, _, _, north = tile.bounds
    step = np.arange(25, 2000, 50)
    return np.meshgrid(west + step, north - step)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(4_099_000, 4_107_000), st.floats(2_599_000, 2_607_000), st.floats(30, 2500)), min_size=1, max_size=4))
def test_cells_are_those_whose_centre_lies_inside(circles):
    """Any union of discs less its middle, holes and all: the mask is shapely's answer for every centre, and no other tile is held."""
    area = shapely.union_all([shapely.Point(x, y).buffer(r) for x, y, r in circles])
    area = shapely.difference(area, area.centroid.buffer(300))
    region = Region(geometry=area, name="discs")
    expected = {tile.id: shapely.contains_xy(area, *centres(tile)) for tile in TILES}
    for tile in TILES:
        np.testing.assert_array_equal(region.mask(tile), expected[tile.id])
    if any(mask.any() for mask in expected.values()):
        assert [t.id for t in region.tiles(TILES)] == [t.id for t in TILES if expected[t.id].any()]
    else:
        with pytest.raises(InputError, match="no cell of the 9 tiles"):
            region.tiles(TILES)


def test_one_region_in_any_crs_and_format_chooses_the_same_cells(tmp_path):
    """GeoJSON in degrees, GeoPackage in UTM and a zipped Shapefile in Swiss coordinates: the cells of the original."""
    area = gpd.GeoSeries([shapely.Point(4_102_900, 2_602_900).buffer(1_111)], crs=GRID.crs)
    area.to_crs(4326).to_file(tmp_path / "a.geojson")
    area.to_crs(32632).to_file(tmp_path / "a.gpkg")
    (tmp_path / "shp").mkdir()
    area.to_crs(2056).to_file(tmp_path / "shp" / "a.shp")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for part in (tmp_path / "shp").iterdir():
            archive.write(part, part.name)
    expected = Region(geometry=area.iloc[0], name="original")
    for name in ("a.geojson", "a.gpkg", "a.zip", "shp/a.shp"):
        region = Region.read(tmp_path / name, GRID)
        for tile in TILES:
            assert np.count_nonzero(region.mask(tile) != expected.mask(tile)) <= 2  # a centre within millimetres of the edge


def test_what_is_no_region_is_said(tmp_path):
    """No CRS, no feature, points, a zip of something else, the wrong continent, a place without tiles: each by its typed error."""
    square = gpd.GeoSeries([shapely.box(4_101_000, 2_601_000, 4_102_000, 2_602_000)])
    with pytest.warns(UserWarning, match="crs"):
        square.to_file(tmp_path / "no-crs.gpkg")
    square[:0].set_crs(3035).to_file(tmp_path / "empty.gpkg")
    square.centroid.set_crs(3035).to_file(tmp_path / "points.gpkg")
    (tmp_path / "text.zip").write_text("not a zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "no shapes")
    africa = {"type": "Polygon", "coordinates": [[[20, -5], [21, -5], [21, -4], [20, -5]]]}
    (tmp_path / "africa.geojson").write_text(json.dumps(africa))
    faults = {
        "no-crs.gpkg": (CrsError, "no CRS"),
        "empty.gpkg": (InputError, "at least one polygon"),
        "points.gpkg": (InputError, "Point"),
        "text.zip": (InputError, "no zip archive"),
        "other.zip": (InputError, "cannot be read"),
        "africa.geojson": (UnknownTile, "outside the grid"),
        "not-there.gpkg": (InputError, "not a local file"),
    }
    for name, (error, says) in faults.items():
        with pytest.raises(error, match=says):
            Region.read(tmp_path / name, GRID)
    far = Region(geometry=shapely.box(5_000_000, 3_000_000, 5_001_000, 3_001_000), name="far.gpkg")
    with pytest.raises(InputError, match=r"far\.gpkg.*choose one on tiles that are mapped"):
        far.tiles(TILES)
