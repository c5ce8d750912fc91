"""Exports of coverage: PostGIS, GeoParquet and GeoPackage hold the rows of the tiles' own coverage.gpkg, and the same as each other."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
from shapely.geometry import box

from geoplantnet.errors import CrsError, InputError, StorageError, UnknownSpecies, UsageError
from geoplantnet.grid import TileGrid
from pipelines.context import Run
from pipelines.export_tables import export_geopackage, export_geoparquet, export_postgis
from pipelines.tables import stored_species, stored_traits

COLUMNS = ["cell_id", "taxonID", "coverage", "mean_probability"]
NUMBERS = {"coverage": np.float32, "mean_probability": np.float32}


def rows(table: pd.DataFrame) -> list[tuple]:
    """Cell, taxon and both numbers as float32, in one order."""
    narrow = table[COLUMNS].astype(NUMBERS).sort_values(COLUMNS[:2])
    return [tuple(v.item() if isinstance(v, np.generic) else v for v in row) for row in narrow.itertuples(index=False, name=None)]


def package_rows(path) -> list[tuple]:
    return rows(pyogrio.read_dataframe(path, layer="species_coverage"))


def postgis_rows(dsn: str, schema: str) -> list[tuple]:
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(dsn) as connection:
        found = connection.execute(f'SELECT cell_id, "taxonID", coverage, mean_probability FROM {schema}.species_coverage').fetchall()
    return rows(pd.DataFrame(found, columns=COLUMNS))


@pytest.fixture(scope="module")
def published(opened, tmp_path_factory) -> list[tuple]:
    """The rows of every tile's own package; of copies, since GDAL leaves its notes beside what it reads."""
    folder = tmp_path_factory.mktemp("packages")
    copies = [shutil.copy(opened.product(tile, "coverage.gpkg"), folder / f"{tile}.gpkg") for tile in opened.tiles]
    return sorted(row for path in copies for row in package_rows(path))


def test_all_three_hold_the_rows_of_the_published_tiles(opened, postgis, published, tmp_path):
    """Exactly: what `publish` wrote tile by tile, read back from each export by a reader that is not ours."""
    told = [
        export_postgis(opened, postgis, schema="whole"),
        export_geoparquet(opened, tmp_path / "x.parquet"),
        export_geoparquet(opened, tmp_path / "x", by_tile=True),
        export_geopackage(opened, tmp_path / "x.gpkg"),
    ]
    assert {(t.tiles, t.rows, t.skipped) for t in told} == {(len(opened.tiles), len(published), 0)} and published
    assert rows(gpd.read_parquet(tmp_path / "x.parquet")) == published
    assert rows(gpd.read_parquet(tmp_path / "x")) == published
    assert package_rows(tmp_path / "x.gpkg") == published
    assert postgis_rows(postgis, "whole") == published
    cells = gpd.read_file(tmp_path / "x.gpkg", layer="reporting_cells")
    assert len(cells) == len(opened.tiles) and cells.area.eq(25e6).all()


def test_the_database_knows_the_run(opened, postgis):
    """Release, taxa with their traits and tiles; a second export finds every tile there."""
    psycopg = pytest.importorskip("psycopg")
    first = export_postgis(opened, postgis, schema="known")
    again = export_postgis(opened, postgis, schema="known")
    assert (again.tiles, again.rows, again.skipped, again.where) == (first.tiles, 0, first.tiles, first.where)
    assert "schema known" in first.where
    axis, traits = stored_species(opened), stored_traits(opened)
    with psycopg.connect(postgis) as db:
        facts = db.execute("SELECT title, notice, licence, plot_area_m2, set_rule, species_list FROM known.release").fetchall()
        taxa = db.execute('SELECT "taxonID", "scientificName", tree, rare FROM known.taxon').fetchall()
        tiles = db.execute("SELECT tile_id FROM known.meta_tile ORDER BY 1").fetchall()
    recipe = opened.recipe
    assert facts == [(recipe.title, recipe.notice, recipe.licence, recipe.map.plot_area, "MaxExp (maximum expected F1)", axis.hash)]
    known = lambda v: None if pd.isna(v) else bool(v)  # noqa: E731
    wanted = {(t.taxon_id, t.scientific_name, *(known(traits.loc[t.taxon_id, n]) for n in ("tree", "rare"))) for t in axis}
    assert set(taxa) == wanted and [t for (t,) in tiles] == sorted(opened.tiles)


def test_some_species_of_a_region(opened, postgis, published, tmp_path):
    """By name or id, and by polygons of any CRS: those rows and no others; PostGIS takes them in the place of all."""
    axis = stored_species(opened)
    tile = opened.tile(opened.tiles[1])
    cell = f"5kmE{tile.west // 1000}N{tile.south // 1000}"
    one, other = (row[1] for row in [row for row in published if row[0] == cell][:2])
    region = gpd.GeoSeries([box(*tile.bounds).buffer(-100)], crs="EPSG:3035").to_crs("EPSG:4326")
    asked = {"species": [axis[axis.index_of(one)].scientific_name, other, one], "region": region}
    wanted = [row for row in published if row[0] == cell and row[1] in (one, other)]
    assert export_geopackage(opened, tmp_path / "x.gpkg", **asked).tiles == 1
    assert package_rows(tmp_path / "x.gpkg") == wanted
    export_postgis(opened, postgis, schema="part")
    assert export_postgis(opened, postgis, schema="part", **asked).rows == len(wanted)
    assert postgis_rows(postgis, "part") == [row for row in published if row[0] != cell or row in wanted]
    export_geoparquet(opened, tmp_path / "x.parquet", **asked)
    assert rows(gpd.read_parquet(tmp_path / "x.parquet")) == wanted


def test_what_cannot_be_exported_is_said(reference, opened, tmp_path, monkeypatch):
    """A species, a region, a grid or tiles that are none, and psycopg that is not installed: typed errors, and nothing is written."""
    out = tmp_path / "x.gpkg"
    far = gpd.GeoSeries([box(0, 0, 1, 1)], crs="EPSG:4326")
    for error, word, asked in (
        (UnknownSpecies, "Planta nulla", {"species": ["Planta nulla"]}),
        (InputError, "meets none", {"region": far}),
        (CrsError, "CRS", {"region": far.set_crs(None, allow_override=True)}),
    ):
        with pytest.raises(error, match=word):
            export_geopackage(opened, out, **asked)
    with pytest.raises(UsageError, match="tile_size"):
        export_geoparquet(replace(opened, grid=TileGrid(tile_size=2000)), out)
    with pytest.raises(StorageError):
        export_geoparquet(Run.open(reference.recipe, store=tmp_path / "empty"), out)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "geoplantnet.catalog.postgis", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'geoplantnet\[postgis\]'"):
        export_postgis(opened, "")
    assert not out.exists()
