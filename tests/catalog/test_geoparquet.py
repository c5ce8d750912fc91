"""GeoParquet of coverage: read back by geopandas and pyarrow, whole and by window; its CRS understood by pyproj."""

from __future__ import annotations

import json
from itertools import pairwise

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from pyproj import CRS
from shapely.geometry import box

from geoplantnet.catalog import geoparquet
from geoplantnet.catalog.coverage import TileCoverage, region_of
from geoplantnet.catalog.geoparquet import along_curve, write_geoparquet
from geoplantnet.errors import CrsError, InputError
from geoplantnet.grid import TileGrid

TILES = ("25kmE4125N2575", "25kmE4150N2575", "25kmE4325N2600")
KEY = ["cell_id", "taxonID"]
FACTS = {"title": "Coverage of ×", "notice": "Predicted, not observed."}


@pytest.fixture
def parts(coverage_of):
    return [coverage_of(tile) for tile in TILES]


def expected(parts: list[TileCoverage]) -> pd.DataFrame:
    """All rows with the polygons and counts of their cells, by cell and taxon."""
    whole = pd.concat([part.rows.merge(part.cells, on="cell_id").assign(tile_id=part.tile_id) for part in parts])
    return whole.astype({"coverage": np.float32, "mean_probability": np.float32}).sort_values(KEY, ignore_index=True)


def same(read: pd.DataFrame, wanted: pd.DataFrame) -> None:
    read = read.sort_values(KEY, ignore_index=True)
    for name in wanted.columns.drop("geometry"):
        assert read[name].tolist() == wanted[name].tolist(), name
    assert gpd.GeoSeries(read["geometry"]).geom_equals(gpd.GeoSeries(wanted["geometry"], crs="EPSG:3035")).all()


@pytest.mark.parametrize("by_tile", [False, True])
def test_rows_read_back_as_written(tmp_path, parts, by_tile):
    """By geopandas: every row once, with its polygon, whether in one file or in a file a tile; by pyarrow: as many."""
    path = write_geoparquet(tmp_path / "coverage", parts, FACTS, by_tile=by_tile)
    read = gpd.read_parquet(path)
    assert read.crs.to_epsg() == 3035
    same(read, expected(parts))
    assert pyarrow.dataset.dataset(path).count_rows() == len(read)
    assert not by_tile or {p.name for p in path.iterdir()} == {f"{tile}.parquet" for tile in TILES}


@pytest.mark.parametrize("by_tile", [False, True])
def test_metadata_are_geoparquet_1_1(tmp_path, parts, by_tile, monkeypatch):
    """Version, encoding, a CRS that pyproj reads as EPSG:3035, the bounds of all rows, and where a row's own bounds are; zstd."""
    monkeypatch.setattr(geoparquet, "_GROUP", 1)
    path = write_geoparquet(tmp_path / "coverage", parts, FACTS, by_tile=by_tile)
    file = pq.ParquetFile(path / f"{TILES[2]}.parquet" if by_tile else path)
    told = file.metadata.metadata
    geo = json.loads(told[b"geo"])
    column = geo["columns"]["geometry"]
    assert (geo["version"], geo["primary_column"], column["encoding"], column["geometry_types"]) == (
        "1.1.0",
        "geometry",
        "WKB",
        ["Polygon"],
    )
    assert CRS.from_json_dict(column["crs"]).to_epsg() == 3035
    assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    bounds = pd.concat([part.cells for part in (parts[2:] if by_tile else parts)]).total_bounds
    assert column["bbox"] == bounds.tolist()
    assert json.loads(told[geoparquet.ABOUT.encode()]) == FACTS
    assert {file.metadata.row_group(0).column(i).compression for i in range(file.metadata.num_columns)} == {"ZSTD"}


def test_a_window_reads_only_the_row_groups_near_it(tmp_path, parts, monkeypatch):
    """A reader with a box finds what a filter over all rows finds; the statistics of the other row groups exclude them."""
    monkeypatch.setattr(geoparquet, "_GROUP", 1)
    path = write_geoparquet(tmp_path / "x.parquet", parts, {})
    window = box(4_326_000, 2_601_000, 4_334_000, 2_604_000)
    everything = gpd.read_parquet(path)
    found = gpd.read_parquet(path, bbox=window.bounds)
    assert sorted(found.cell_id) == sorted(everything.cell_id[everything.intersects(window)]) and len(found)
    metadata = pq.ParquetFile(path).metadata
    xmin = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == "bbox.xmin")
    west = [metadata.row_group(i).column(xmin).statistics.min for i in range(metadata.num_row_groups)]
    assert sorted(west) == [4_125_000, 4_150_000, 4_325_000]


def test_same_rows_are_the_same_bytes(tmp_path, coverage_of):
    """Whatever the order of a tile's rows and cells."""
    for name, step in (("a", 1), ("b", -1)):
        parts = (TileCoverage(tile_id=t, cells=coverage_of(t).cells[::step], rows=coverage_of(t).rows[::step]) for t in TILES)
        write_geoparquet(tmp_path / name, parts, FACTS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_breaks_off_leaves_what_stood_there(tmp_path, parts):
    """An error while tiles are made, or no row at all: the file of before stands, and no litter."""
    path = tmp_path / "x.parquet"
    path.write_bytes(b"old")

    def breaking():
        yield parts[0]
        raise InputError("no more")

    for given in (breaking(), [part.of(["none"]) for part in parts], []):
        with pytest.raises(InputError, match=r"no more|no row to write"):
            write_geoparquet(path, given, {})
        with pytest.raises(InputError):
            write_geoparquet(tmp_path / "folder", given, {}, by_tile=True)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("x.parquet", b"old")]


def test_tiles_are_put_next_to_their_neighbours():
    """The curve holds every tile once, and its steps are shorter than those of rows of tiles."""
    tiles = list(TileGrid().tiles_in(4_000_000, 2_400_000, 4_400_000, 2_800_000))
    curve = along_curve(tiles)
    assert sorted(t.id for t in curve) == sorted(t.id for t in tiles)
    length = lambda way: sum(abs(a.west - b.west) + abs(a.south - b.south) for a, b in pairwise(way))  # noqa: E731
    assert length(curve) < length(tiles)


def test_a_region_chooses_whole_cells_by_their_inside(parts):
    """The cells found one by one; a region that ends on a cell's edge does not take the neighbour."""
    cells = parts[0].cells
    exactly = gpd.GeoSeries([cells.geometry[7]], crs="EPSG:3035")
    assert parts[0].meeting(region_of(exactly)).cells.cell_id.tolist() == [cells.cell_id[7]]
    round_lake = gpd.GeoSeries([box(*cells.total_bounds).centroid.buffer(6_000)], crs="EPSG:3035").to_crs("EPSG:4326")
    met = parts[0].meeting(region_of(round_lake))
    assert set(met.cells.cell_id) == {c.cell_id for c in cells.itertuples() if c.geometry.intersection(region_of(round_lake)).area > 0}
    assert set(met.rows.cell_id) <= set(met.cells.cell_id) and 0 < len(met.rows) < len(parts[0].rows)


@pytest.mark.parametrize(
    ("region", "error", "word"),
    [
        (gpd.GeoSeries([box(0, 0, 1, 1)]), CrsError, "CRS"),
        (gpd.GeoSeries([], crs=4326), InputError, "empty"),
        (gpd.GeoSeries([box(0, 0, 1, 1).centroid], crs=4326), InputError, "Point"),
        (gpd.GeoSeries.from_wkt(["POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))"], crs=4326), InputError, "Self-intersection"),
    ],
)
def test_a_region_that_is_none_is_refused(region, error, word):
    """Each fault by its typed error, with the fix."""
    with pytest.raises(error, match=word):
        region_of(region)
