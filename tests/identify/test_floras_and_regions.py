"""Floras and regions: which polygon a point lies in, how far a border is, and what a checklist says there."""

from __future__ import annotations

import os
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod
from shapely import Point, box

from geoplantnet.errors import CrsError, InputError
from geoplantnet.identify.floras import Floras
from geoplantnet.identify.quality import TrustRules
from geoplantnet.identify.regions import Regions, countries, distances, read_places
from geoplantnet.taxonomy import Backbone

DATA = Path(os.environ.get("GEOPLANTNET_DATA", "../shared/data"))
SPHERE = Geod(a=6_371_008.8, b=6_371_008.8)
LAND = Regions({"big": box(0, 0, 10, 10), "small": box(2, 2, 4, 4), "next": box(10, 0, 20, 10), "bare": box(-10, 0, 0, 10)})
TABLE = pd.DataFrame(
    [
        *(("big", "a", "native"), ("big", "b", "introduced"), ("small", "a", "doubtful"), ("small", "c", "native")),
        *(("next", "d", "native"), ("next", "b", "doubtful"), ("useful", "e", "native")),
    ],
    columns=["region", "taxonID", "status"],
)
FLORAS = Floras(checklists=TABLE, regions=LAND)


@given(st.lists(st.tuples(st.floats(-12, 22), st.floats(-2, 12)), min_size=1, max_size=20))
def test_the_smallest_region_around_a_point_speaks(points):
    """Point by point, inside, covered and at agree with shapely, and a province speaks before its country."""
    x, y = np.array(points).T
    inside = LAND.inside(x, y)
    expected = np.array([[LAND[code].intersects(Point(p)) for p in points] for code in LAND.codes])
    np.testing.assert_array_equal(inside, expected)
    np.testing.assert_array_equal(LAND.covered(x, y), expected.any(axis=0))
    order = FLORAS.placed.codes
    assert set(order) == {"small", "big", "next"} and order[0] == "small"
    for (here, p), found in zip(zip(x, points), FLORAS.at(x, y)):
        around = [code for code in order if LAND[code].intersects(Point(p))]
        assert (order[found] if found >= 0 else None) == (around[0] if around else None), here


@given(st.floats(-180, 180), st.floats(-90, 90))
def test_the_border_is_as_far_as_on_the_globe(longitude, latitude):
    """Distances to the border agree with the nearest of its densified points on the sphere, at the poles and across 180 degrees too."""
    region = Regions({"far": box(170, -10, 180, 0)})
    x, y = shapely.get_coordinates(shapely.segmentize(region["far"].exterior, 0.02)).T
    nearest = SPHERE.inv(np.full(len(x), longitude), np.full(len(x), latitude), x, y)[2].min()
    assert region.border_distance([longitude], [latitude])[0] == pytest.approx(nearest, rel=1e-6, abs=0.05)
    assert distances([longitude], [latitude], pd.DataFrame({"longitude": x, "latitude": y}))[0][0] == pytest.approx(
        nearest, rel=1e-6, abs=0.05
    )


def test_unknown_places_are_nowhere():
    """NaN lies in no region and far from every border; without places everything is far."""
    nan = [float("nan")]
    assert not LAND.inside(nan, nan).any() and LAND.border_distance(nan, nan)[0] == np.inf
    assert not LAND.border_within(nan, nan, 1e9).any() and FLORAS.status(["a"], nan, nan, 1e6).tolist() == [""]
    assert distances([1.0], [1.0], pd.DataFrame({"longitude": [], "latitude": []}))[0][0] == np.inf


@given(
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.floats(-2, 22), st.floats(-2, 12), st.sampled_from([0.0, 2e4, 1e6])), min_size=1, max_size=15
    )
)
def test_the_status_is_what_a_plain_lookup_finds(asked):
    """The flora of the smallest region speaks; within reach of a border the neighbours' too, the better status holding."""
    taxa, x, y, reach = (list(column) for column in zip(*asked))
    found = FLORAS.status(taxa, x, y, reach)
    written = {(row.region, row.taxonID): row.status for row in TABLE.itertuples()}
    ranks = ["native", "introduced", "doubtful", "absent"]
    for taxon, longitude, latitude, metres, status in zip(taxa, x, y, reach, found):
        around = [code for code in ("small", "big", "next") if LAND[code].intersects(Point(longitude, latitude))]
        speak = around[:1]
        if metres > 0:
            near = LAND.border_within([longitude], [latitude], metres)[:, 0]
            speak += [c for c, is_near in zip(LAND.codes, near) if is_near and c not in around and c != "bare"]
        said = [written.get((code, taxon), "absent") for code in speak]
        assert status == (min(said, key=ranks.index) if said else "")


def test_a_species_of_the_neighbour_is_known_near_the_border():
    """1.1 km inside the border the neighbour's flora speaks for a record within 5 km of it, and not for one further inside."""
    assert FLORAS.status(["d", "d", "d"], [9.99, 9.99, 9.9], [5, 5, 5], [5_000, 500, 5_000]).tolist() == ["native", "absent", "absent"]
    assert FLORAS.status(["e", "a"], [5, -5], [5, 5]).tolist() == ["absent", ""]


def test_countries_are_countries():
    """Capitals and islands lie in their country by its ISO code, on either side of 180 degrees; the land is as large as the land is."""
    world = countries()
    places = {"FR": (2.35, 48.85), "IT": (11.25, 43.77), "UA": (34.1, 45.0), "XK": (21.16, 42.66), "CY": (33.4, 35.2), "NZ": (174.8, -41.3)}
    places |= {"RU": (-175.0, 66.5), "FJ": (178.0, -17.8), "AQ": (0.0, -85.0), "NO": (10.75, 59.91), "US": (-155.5, 19.6)}
    inside = world.inside(*np.array(list(places.values())).T)
    assert [[world.codes[k] for k in np.flatnonzero(column)] for column in inside.T] == [[code] for code in places]
    assert world.areas.sum() == pytest.approx(147e12, rel=0.01)
    assert world.areas[world.codes.index("FR")] == pytest.approx(638e9, rel=0.01)
    assert not world.covered([-30, 12.0], [40.0, 40.0]).any()


def test_real_records_lie_on_their_islets():
    """80,000 records of Tuscany: 12 % are more than 5 km off the shipped coast, on islets it lacks, so none may be refused at the default distance."""
    file = DATA / "tuscany_floratus" / "floratus.parquet"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    table = pd.read_parquet(file)
    italy = countries().select(["IT"])
    dry = italy.covered(table["Long"], table["Lat"])
    off = italy.border_distance(table["Long"][~dry], table["Lat"][~dry])
    assert (off > 5_000).sum() / len(table) == pytest.approx(0.119, abs=0.002)
    assert off.max() < TrustRules().sea_distance


def test_centroids_are_where_a_country_alone_puts_a_record():
    """Of the whole and of its largest part; places of a table are read with their faults told."""
    two = Regions({"x": shapely.MultiPolygon([box(0, 0, 2, 2), box(10, 0, 11, 1)])})
    assert two.centroids[["longitude", "latitude"]].to_numpy().tolist() == [[1, 1], pytest.approx([2.9, 0.9])]
    assert len(countries().centroids) >= len(countries().codes)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lon,lat\n1,2\n", "columns lon, lat"),
        ("longitude,latitude\n1,95\n", "row 1: 1.0, 95.0"),
        ("longitude,latitude\nx,1\n", "cannot be"),
    ],
)
def test_bad_places_are_told(tmp_path, text, told):
    """A table of places needs both columns, in degrees."""
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match=told):
        read_places(tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("name,longitude,latitude\nRoma,12.5,41.9\n")
    assert read_places(tmp_path / "p.csv")["longitude"].tolist() == [12.5]


def test_regions_are_read_from_a_file(tmp_path):
    """By a column, in any CRS; features of one code are one region; each fault is told."""
    frame = gpd.GeoDataFrame({"code": ["a", "b", "a"]}, geometry=[box(0, 0, 1, 1), box(5, 5, 6, 6), box(1, 0, 2, 1)], crs="EPSG:4326")
    frame.to_crs("EPSG:3857").to_file(tmp_path / "r.gpkg")
    found = Regions.read(tmp_path / "r.gpkg", code="code")
    assert found.codes == ("a", "b") and found["a"].bounds == pytest.approx((0, 0, 2, 1), abs=1e-9)
    with pytest.raises(InputError, match=r"no column 'cod'.*Did you mean 'code'"):
        Regions.read(tmp_path / "r.gpkg", code="cod")
    with pytest.raises(InputError, match="not a local file"):
        Regions.read(tmp_path / "none.gpkg", code="code")
    frame.assign(code=["a", "", "b"]).to_file(tmp_path / "e.gpkg")
    with pytest.raises(InputError, match="feature 2 has no code"):
        Regions.read(tmp_path / "e.gpkg", code="code")
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        frame.set_crs(None, allow_override=True).to_file(tmp_path / "c.shp")
    with pytest.raises(CrsError):
        Regions.read(tmp_path / "c.shp", code="code")
    with pytest.raises(InputError, match="no region 'c' among 2"):
        found.select(["c"])
    for shape, told in (
        (shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), "Self-intersection"),
        (Point(0, 0), "Point"),
        (box(0, 0, 181, 1), "181"),
    ):
        with pytest.raises(InputError, match=told):
            Regions({"x": shape})


def test_floras_are_read_from_a_table(tmp_path):
    """Region and taxonID, status blank = native; a BOM and spaces do not matter; no polygon = thematic."""
    file = tmp_path / "f.csv"
    file.write_text("﻿region, taxonID,status\nbig,a,\nbig,b, Introduced\nuseful,e,native\n", "utf-8")
    floras = Floras.read(file, LAND)
    assert floras.codes == ("big", "useful") and floras.placed.codes == ("big",)
    assert floras.checklist("big").to_dict() == {"a": "native", "b": "introduced"} and floras.refused == {}
    assert Floras.read(file).status(["a"], [5.0], [5.0]).tolist() == [""]
    with pytest.raises(InputError, match=r"no flora 'bi'.*Did you mean 'big'"):
        floras.checklist("bi")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("region,status\nbig,native\n", "it needs region, taxonID"),
        ("region,taxonID,status\nbig,a,natve\n", "status 'natve' is none of.*Did you mean 'native'"),
        ("region,taxonID\nbig,a\nbig,a\n", "names a twice"),
        ("region,taxonID\n,a\n", "without region or taxonID"),
        ("region,scientificName\nbig,Abies alba\n", "give a backbone"),
        ("", "cannot be read as CSV"),
    ],
)
def test_bad_tables_are_told(tmp_path, text, told):
    """Every fault of a table names what stands there and what to write."""
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(InputError, match=told):
        Floras.read(tmp_path / "f.csv")


def test_names_of_a_checklist_are_resolved(tmp_path):
    """POWO-like tables with names: authors and subspecies lead to the species, the better status holds, and what is no species is counted."""
    file = DATA / "reference" / "species_reference.csv"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    (tmp_path / "f.csv").write_text(
        "region,scientificName,status\nIT,Abies alba Mill.,introduced\nIT,Abies alba subsp. alba,native\nIT,Quercus sp.,native\nIT,Zzyzx imaginaria,native\n"
    )
    floras = Floras.read(tmp_path / "f.csv", backbone=Backbone.read(file, file.parent / "synonyms_germansl.csv"))
    assert floras.checklist("IT").tolist() == ["native"] and sum((floras.refused or {}).values()) == 2
