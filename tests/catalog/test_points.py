"""Points with attributes: the same rows from GeoParquet and GeoPackage, by geopandas and by GDAL, in any chunks."""

from __future__ import annotations

import json
import sqlite3

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pytest

from geoplantnet.catalog.points import LAYER, write_points
from geoplantnet.errors import InputError, UsageError

TABLE = pd.DataFrame(
    {
        "occurrenceID": ["a", "b", "c"],
        "scientificName": ["Abies alba", 'x "y"\tz', "Ça"],
        "decimalLongitude": [8.1, -5.0, 25.25],
        "decimalLatitude": [46.5, 40.0, 60.0],
        "coordinateUncertaintyInMeters": [12.0, np.nan, 8900.0],
    }
)
FACTS = {"title": "T", "license": "CC0-1.0"}


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg"])
def test_rows_read_back_as_written(tmp_path, suffix):
    """Every row once, its cells and its place in EPSG:4326; several chunks or one, empty ones too."""
    path = tmp_path / f"o{suffix}"
    assert write_points(path, [TABLE.iloc[:0], TABLE.iloc[:2], TABLE.iloc[2:]], lambda: FACTS) == 3
    found = gpd.read_parquet(path) if suffix == ".parquet" else gpd.read_file(path, engine="pyogrio")
    assert (
        found.crs == "EPSG:4326"
        and (found.geometry.x == TABLE["decimalLongitude"]).all()
        and (found.geometry.y == TABLE["decimalLatitude"]).all()
    )
    for name in TABLE:
        assert found[name].fillna(-1).tolist() == TABLE[name].fillna(-1).tolist(), name


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg"])
def test_the_same_rows_have_the_same_bytes(tmp_path, suffix):
    """Written twice."""
    for name in ("a", "b"):
        write_points(tmp_path / f"{name}{suffix}", [TABLE.iloc[:2], TABLE.iloc[2:]], FACTS)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_a_geoparquet_says_its_version_box_and_facts(tmp_path):
    """GeoParquet 1.1 with the box of all chunks, and what the publisher tells."""
    write_points(tmp_path / "o.parquet", [TABLE.iloc[:2], TABLE.iloc[2:]], FACTS)
    told = pq.read_metadata(tmp_path / "o.parquet").metadata
    geo = json.loads(told[b"geo"])
    assert geo["version"] == "1.1.0" and geo["columns"]["geometry"]["bbox"] == [-5.0, 40.0, 25.25, 60.0]
    assert json.loads(told[b"geoplantnet"]) == FACTS
    assert len(gpd.read_parquet(tmp_path / "o.parquet", bbox=(0, 45, 10, 50))) == 1


def test_a_geopackage_is_one_whole_file_with_an_index(tmp_path):
    """No journal beside it, a spatial index, a description; GDAL counts the rows of a window."""
    write_points(tmp_path / "o.gpkg", [TABLE], FACTS)
    assert [file.name for file in tmp_path.iterdir()] == ["o.gpkg"]
    with sqlite3.connect(tmp_path / "o.gpkg") as connection:
        assert connection.execute("SELECT description FROM gpkg_contents").fetchone()[0] == "license: CC0-1.0; title: T"
        assert connection.execute("SELECT count(*) FROM gpkg_extensions WHERE extension_name = 'gpkg_rtree_index'").fetchone()[0] == 1
    assert len(pyogrio.read_dataframe(tmp_path / "o.gpkg", layer=LAYER, bbox=(0, 45, 10, 50))) == 1


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg"])
def test_what_cannot_be_written_is_told(tmp_path, suffix):
    """No row at all, a row without a place: InputError, and no file; another suffix: UsageError."""
    with pytest.raises(InputError, match="no row to write"):
        write_points(tmp_path / f"o{suffix}", [TABLE.iloc[:0]], FACTS)
    with pytest.raises(InputError, match="no decimalLongitude"):
        write_points(tmp_path / f"o{suffix}", [TABLE, TABLE.assign(decimalLatitude=np.nan)], FACTS)
    with pytest.raises(UsageError, match=r"\.parquet, \.gpkg"):
        write_points(tmp_path / "o.shp", [TABLE], FACTS)
    assert list(tmp_path.iterdir()) == []
