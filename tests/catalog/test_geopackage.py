"""The species-coverage GeoPackage: read back by GDAL and by plain SQL, whole, and of the same bytes for the same content."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
from shapely.geometry import MultiPolygon, Point, Polygon, box

from geoplantnet.catalog.geopackage import write_coverage
from geoplantnet.errors import CrsError, InputError

TILE = "5kmE4125N2575"


@pytest.fixture
def cells_and_rows(grid, tables):
    return tables(grid.tile(TILE))


@pytest.fixture
def package(tmp_path, cells_and_rows):
    return write_coverage(tmp_path / "coverage.gpkg", *cells_and_rows, {"title": "Species coverage", "model": "m1"})


def test_layers_read_back_as_written(package, cells_and_rows):
    """Geopandas gets the reporting cells, the attribute table and the joined view; rows are sorted, values and CRS kept."""
    cells, rows = cells_and_rows
    read = gpd.read_file(package, layer="reporting_cells").set_index("cell_id")
    assert read.crs.to_epsg() == 3035
    for row in cells.itertuples():
        assert (read.n_cells[row.cell_id], read.valid_cells[row.cell_id]) == (row.n_cells, row.valid_cells)
        assert read.geometry[row.cell_id].equals(row.geometry)
    table = pyogrio.read_dataframe(package, layer="species_coverage")
    pd.testing.assert_frame_equal(table, rows.sort_values(["cell_id", "taxonID"], ignore_index=True))


def test_the_map_layer_joins_each_row_with_its_cell(package, cells_and_rows):
    """The spatial view has a polygon, a coverage and a feature id a row: a GIS user filters by taxon and styles by coverage."""
    cells, _ = cells_and_rows
    assert {"reporting_cells", "species_coverage_map"} <= set(pyogrio.list_layers(package)[:, 0])
    info = pyogrio.read_info(package, layer="species_coverage_map")
    assert (info["crs"], info["geometry_type"], info["features"], info["fid_column"]) == ("EPSG:3035", "MultiPolygon", 3, "OGC_FID")
    view = pyogrio.read_dataframe(package, layer="species_coverage_map", where="taxonID = 'a'", fid_as_index=True).set_index("cell_id")
    assert view.coverage.to_dict() == {"w": 1.0, "e": 0.5}
    for cell in cells.itertuples():
        assert view.geometry[cell.cell_id].equals(cell.geometry)


def test_it_is_a_closed_geopackage_for_any_sqlite(package):
    """Plain sqlite3 reads it; application id and version are GeoPackage's, no journal or -wal is left, keys are indexed."""
    assert [p.name for p in package.parent.iterdir()] == ["coverage.gpkg"]
    with closing(sqlite3.connect(f"file:{package}?mode=ro", uri=True)) as connection:
        one = lambda sql: connection.execute(sql).fetchone()[0]  # noqa: E731
        assert one("PRAGMA application_id") == int.from_bytes(b"GPKG") and one("PRAGMA user_version") == 10200
        assert one("PRAGMA journal_mode") == "delete" and one("PRAGMA integrity_check") == "ok"
        assert one("SELECT sum(coverage) FROM species_coverage WHERE taxonID = 'a'") == 1.5
        assert one("SELECT count(*) FROM gpkg_contents WHERE last_change = '1970-01-01T00:00:00.000Z'") == 3
        plan = " ".join(str(row) for row in connection.execute("EXPLAIN QUERY PLAN SELECT * FROM species_coverage_map WHERE taxonID = 'a'"))
        assert "species_coverage_taxon_cell" in plan and "reporting_cells_cell_id" in plan


def test_metadata_travels_with_the_file(package):
    """What the publisher tells of the file is read back by GDAL."""
    assert pyogrio.read_info(package, layer="reporting_cells")["dataset_metadata"] == {"title": "Species coverage", "model": "m1"}


_WRITE = """
import sys, geopandas as gpd, pandas as pd
from shapely.geometry import box
from geoplantnet.catalog.geopackage import write_coverage
order = slice(None, None, int(sys.argv[2]))
cells = gpd.GeoDataFrame({"cell_id": list("abc"), "n_cells": 9, "valid_cells": 5}, geometry=[box(i, 0, i + 1, 1) for i in range(3)], crs="EPSG:3035")
rows = pd.DataFrame({"cell_id": list("aabc"), "taxonID": list("1211"), "scientificName": list("xyxx"), "coverage": 0.5, "mean_probability": 0.25})
metadata = {"a": "1", "b": "2"}
write_coverage(sys.argv[1], cells[order], rows[order], dict(list(metadata.items())[order]))
"""


def test_two_processes_write_the_same_bytes_whatever_the_order(tmp_path):
    """Nothing of the moment, the process, the file's name or the rows' order is in the file."""
    for name, order in (("one.gpkg", "1"), ("another-name.gpkg", "-1")):
        subprocess.run([sys.executable, "-c", _WRITE, str(tmp_path / name), order], check=True)
    assert (tmp_path / "one.gpkg").read_bytes() == (tmp_path / "another-name.gpkg").read_bytes()


_WRITE_ON_A_FULL_DISK = """
import resource, signal
from geoplantnet.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for room in (0, 20_000, 80_000, 100_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        exec(WRITE)
    except StorageError as error:
        print(error.kind)
"""


def test_a_store_without_room_keeps_the_old_file_and_says_so(tmp_path):
    """A write that does not fit, wherever it breaks, ends in a StorageError, leaves what stood there, and no litter."""
    path = tmp_path / "x.gpkg"
    path.write_bytes(b"old")
    program = f"WRITE = {_WRITE!r}\n{_WRITE_ON_A_FULL_DISK}"
    done = subprocess.run([sys.executable, "-c", program, str(path), "1"], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["StorageError"] * 4
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("x.gpkg", b"old")]


def test_a_tile_where_no_species_is_predicted_keeps_its_cells(tmp_path, cells_and_rows):
    """No coverage rows is an answer (nothing covers these cells), not an error."""
    cells, rows = cells_and_rows
    path = write_coverage(tmp_path / "x.gpkg", cells, rows.iloc[:0], {})
    assert len(gpd.read_file(path, layer="reporting_cells")) == 2
    assert pyogrio.read_info(path, layer="species_coverage")["features"] == 0
    assert len(pyogrio.read_dataframe(path, layer="species_coverage_map")) == 0


def test_names_are_stored_as_they_are(tmp_path, cells_and_rows):
    """Quotes, hybrids and SQL in names stay text."""
    cells, rows = cells_and_rows
    names = ["Salix × reichardtii", "x'; DROP TABLE reporting_cells; --", 'Rosa "alba"']
    path = write_coverage(tmp_path / "x.gpkg", cells, rows.assign(scientificName=names, taxonID=names), {"note": "<&>'\""})
    assert set(pyogrio.read_dataframe(path, layer="species_coverage_map").scientificName) == set(names)
    assert pyogrio.read_info(path, layer="reporting_cells")["dataset_metadata"]["note"] == "<&>'\""


BOWTIE = Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        (lambda c: c.iloc[:0], InputError, "no reporting cells"),
        (lambda c: c.set_crs(None, allow_override=True), CrsError, "CRS"),
        (lambda c: c.to_crs("EPSG:4326"), CrsError, "EPSG:3035"),
        (lambda c: c.set_geometry([BOWTIE, BOWTIE]), InputError, "Self-intersection"),
        (lambda c: c.set_geometry([Polygon(), box(0, 0, 1, 1)]), InputError, "no geometry"),
        (lambda c: c.set_geometry([None, box(0, 0, 1, 1)]), InputError, "no geometry"),
        (lambda c: c.set_geometry([Point(0, 0), box(0, 0, 1, 1)]), InputError, "Point"),
        (lambda c: c.assign(cell_id="same"), InputError, "unique"),
        (lambda c: c.assign(cell_id=None), InputError, "unique"),
        (lambda c: c.assign(valid_cells=9999), InputError, "valid_cells"),
        (lambda c: c.assign(n_cells=np.nan), InputError, "whole numbers"),
        (lambda c: c.assign(valid_cells=1.5), InputError, "whole numbers"),
        (lambda c: c.drop(columns="n_cells"), InputError, "n_cells"),
    ],
)
def test_reporting_cells_that_are_none_are_refused(tmp_path, cells_and_rows, change, error, word):
    """Each fault of the cells raises its typed error, names it, and writes nothing."""
    cells, rows = cells_and_rows
    with pytest.raises(error, match=word):
        write_coverage(tmp_path / "x.gpkg", change(cells.set_crs("EPSG:3035", allow_override=True)), rows, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda r: r.assign(coverage=1.2), "1.2"),
        (lambda r: r.assign(coverage=np.nan), "nan"),
        (lambda r: r.assign(mean_probability=-0.1), "-0.1"),
        (lambda r: r.assign(cell_id="elsewhere"), "elsewhere"),
        (lambda r: r.assign(taxonID="a"), "twice"),
        (lambda r: r.assign(taxonID=None), "missing"),
        (lambda r: r.drop(columns="coverage"), "coverage"),
        (lambda r: r.assign(coverage="much"), "much"),
    ],
)
def test_coverage_that_is_none_is_refused(tmp_path, cells_and_rows, change, word):
    """Shares outside 0..1, unknown cells and repeated rows raise InputError, name the first, and write nothing."""
    cells, rows = cells_and_rows
    with pytest.raises(InputError, match=word):
        write_coverage(tmp_path / "x.gpkg", cells, change(rows), {})
    assert not list(tmp_path.iterdir())


def test_polygons_of_several_parts_are_kept(tmp_path, cells_and_rows):
    """A reporting cell cut by the sea stays one feature."""
    cells, rows = cells_and_rows
    parts = MultiPolygon([box(0, 0, 1, 1), box(2, 2, 3, 3)])
    path = write_coverage(tmp_path / "x.gpkg", cells.set_geometry([parts, box(5, 5, 6, 6)], crs=3035), rows, {})
    assert gpd.read_file(path, layer="reporting_cells").geometry.area.sum() == 3
