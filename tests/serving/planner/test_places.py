"""Places that an operator mounts: whole, in longitude and latitude, found by name; and what is wrong with a file is told at the start."""

from __future__ import annotations

import geopandas as gpd
import pytest
import shapely
from pyproj import Geod

from geoplantnet.config.recipe import ServingSection
from geoplantnet.config.serving import server_settings
from geoplantnet.errors import ConfigurationError
from geoplantnet.serving.planner.places import open_places
from geoplantnet.serving.settings import PlaceLayer, ServerSettings
from tests.serving.planner.conftest import COMMUNES


def layer(path, **more):
    return PlaceLayer(**{"id": "communes", "title": "Communes", "path": path, "name": "nom", **more})


def test_places_are_told_by_name(planner):
    """The list of layers, the search without accents and case, and a place whole; points of the file are no places."""
    assert planner.get("/api/places").json() == {
        "places": [{"id": "communes", "title": "Communes", "count": 4, "attribution": "© cadastre"}]
    }
    assert planner.get("/api/layers").json()["places"] is True
    told = planner.get("/api/places/communes?q=EVOL").json()["features"]
    assert [one["name"] for one in told] == ["Évolène", "Val d'Évol"]
    assert [one["name"] for one in planner.get("/api/places/communes?limit=2").json()["features"]] == ["Évolène", "Saint-Martin"]
    assert len(planner.get("/api/places/communes").json()["features"]) == 4
    feature = planner.get(f"/api/places/communes/{told[0]['id']}").json()
    assert feature["properties"]["name"] == "Évolène" and feature["id"] == told[0]["id"]
    truth = shapely.box(*COMMUNES["Évolène"])
    assert shapely.hausdorff_distance(shapely.geometry.shape(feature["geometry"]), truth) < 1e-7
    assert told[0]["bounds"] == pytest.approx(COMMUNES["Évolène"], abs=1e-6)
    geodesic, _ = Geod(ellps="WGS84").geometry_area_perimeter(truth)
    assert told[0]["km2"] == pytest.approx(geodesic / 1e6, rel=1e-3)


def test_what_is_not_there_is_told(planner):
    """Unknown layers and places are 404 with a hint, a malformed limit 400."""
    assert "communes" in planner.get("/api/places/comunes").json()["detail"]
    for path, status in (("comunes", 404), ("communes/99", 404), ("communes?limit=1000", 400)):
        assert planner.get(f"/api/places/{path}").status_code == status, path


def test_ids_are_those_of_the_file(communes, tmp_path):
    """The same file opened again gives the same ids; so does the same table as shapefile and GeoJSON, by their own feature ids."""
    own = open_places([layer(communes)])["communes"]
    assert own.ids == open_places([layer(communes)])["communes"].ids and len(set(own.ids)) == 4
    for name in ("again.shp", "again.geojson"):
        gpd.read_file(communes).iloc[:4].to_crs(4326).to_file(tmp_path / name)
        other = open_places([layer(tmp_path / name)])["communes"]
        assert other.names == own.names and len(set(other.ids)) == 4


def test_a_file_that_cannot_be_mounted_is_told_with_the_fix(communes, tmp_path):
    """Missing, of no known format, damaged, without the column, without CRS or polygons, of several layers."""
    (tmp_path / "bad.gpkg").write_bytes(b"nothing")
    (tmp_path / "x.txt").write_text("x")
    gpd.GeoDataFrame({"nom": ["a"]}, geometry=[shapely.Point(7, 46)], crs=4326).to_file(tmp_path / "points.gpkg")
    gpd.read_file(communes).to_file(tmp_path / "two.gpkg", layer="a")
    gpd.read_file(communes).to_file(tmp_path / "two.gpkg", layer="b")
    with pytest.warns(UserWarning, match="crs"):
        gpd.GeoDataFrame({"nom": ["a"]}, geometry=[shapely.box(0, 0, 1, 1)]).to_file(tmp_path / "nowhere.shp")
    for path, words in (
        (tmp_path / "none.gpkg", "no file"),
        (tmp_path / "x.txt", "none of"),
        (tmp_path / "bad.gpkg", "cannot be read"),
        (tmp_path / "points.gpkg", "no polygon"),
        (tmp_path / "two.gpkg", "file of one"),
        (tmp_path / "nowhere.shp", "coordinate reference system"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            open_places([layer(path)])
    with pytest.raises(ConfigurationError, match="Did you mean 'nom'"):
        open_places([layer(communes, name="nome")])


def test_the_recipe_names_them(communes):
    """`serving: places:` becomes settings; ids are checked and unique."""
    one = {"id": "communes", "title": "Communes", "path": communes, "name": "nom", "attribution": "© cadastre"}
    assert server_settings(ServingSection(places=[one])).places == (layer(communes, attribution="© cadastre"),)
    with pytest.raises(ConfigurationError, match="same id"):
        ServerSettings(places=(layer(communes), layer(communes)))
    with pytest.raises(ConfigurationError, match="no id"):
        layer(communes, id="Les communes")


def test_outlines_that_cross_themselves_are_told_to_who_starts_the_server(tmp_path, caplog):
    """By their ids: nobody who chooses such a place can repair it. The others are mounted without a word."""
    bow = shapely.Polygon([(7.0, 46.0), (7.1, 46.1), (7.1, 46.0), (7.0, 46.1)])
    table = gpd.GeoDataFrame({"nom": ["Whole", "Bow"]}, geometry=[shapely.box(7.0, 46.0, 7.1, 46.1), bow], crs=4326)
    for count, says in ((1, ""), (2, "1 of the 2 outlines")):
        path = tmp_path / f"{count}.geojson"
        table.iloc[:count].to_file(path, driver="GeoJSON")
        caplog.clear()
        found = open_places([layer(path)])["communes"]
        assert len(found.ids) == count and bool(caplog.messages) == bool(says) and says in " ".join(caplog.messages)
    assert f"(ids {found.ids[1]})" in caplog.text
