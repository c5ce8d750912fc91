"""OGC API Features, Records and Coverages: what clients find, where it lies, and that links lead somewhere."""

from __future__ import annotations

import re

import numpy as np
import pytest
from owslib.ogcapi.features import Features
from pygeoapi.config import validate_config
from rasterio.io import MemoryFile

from geoplantnet.serving.crs import CRSS, transformer
from geoplantnet.serving.ogc import configuration, listed

LAEA = CRSS["EPSG:3035"].uri


def test_the_configuration_is_pygeoapi_s(atlas):
    """Pygeoapi's own schema accepts the configuration; no collection is editable, no process and no STAC folder is configured."""
    config = configuration(atlas, "http://127.0.0.1", listed(atlas, "http://127.0.0.1", {}))
    for resource in config["resources"].values():
        assert resource["type"] == "collection"
        for provider in resource["providers"]:
            assert "editable" not in provider and provider["name"].startswith("geoplantnet.")
            provider["data"] = "in memory"
            provider.get("options", {}).pop("layers", None)
    assert validate_config(config)


def test_a_client_finds_the_tiles(server, world):
    """OWSLib lists the collections and pages through the tiles."""
    api = Features(f"{server}/ogc")
    assert set(api.collections()["collections"][0]) >= {"id", "title", "extent", "links"}
    assert api.feature_collections() == ["tiles"]
    assert "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core" in api.conformance()["conformsTo"]
    first = api.collection_items("tiles", limit=2)
    assert (first["numberMatched"], len(first["features"])) == (3, 2)
    rest = api.collection_items("tiles", limit=2, offset=2)
    assert [f["id"] for f in first["features"] + rest["features"]] == list(world.tiles)


def test_collections_are_few_and_named(client, catalog):
    """Species share one collection of records and one of maps; every other layer has its own."""
    found = {c["id"]: c for c in client.get("/ogc/collections").json()["collections"]}
    assert set(found) == {"tiles", "species", "species-probability", "habitat", "richness", "relief"}
    west, south, east, north = found["richness"]["extent"]["spatial"]["bbox"][0]
    assert (west, south, east, north) == pytest.approx((7.1245, 46.0248, 7.7933, 46.4902), abs=1e-3)
    assert "Predicted, not observed." in found["species"]["description"]


def test_conformance_does_not_grow(client):
    """The list of classes is the same however often it is asked for, each once."""
    answers = [client.get("/ogc/conformance").json()["conformsTo"] for _ in range(3)]
    assert answers[0] == answers[1] == answers[2] and len(answers[0]) == len(set(answers[0]))


def test_every_link_of_ours_leads_somewhere(client, server):
    """Following all links from the landing page meets no 4xx or 5xx, and no other host."""
    seen, todo, foreign = set(), [f"{server}/ogc"], set()
    while todo:
        url = todo.pop()
        if url in seen:
            continue
        seen.add(url)
        if "/species-probability/coverage" in url or url.endswith("/execution") or "{" in url:
            continue  # asks which species; is posted to; is to be filled in
        answer = client.get(url, follow_redirects=True)
        assert answer.status_code < 400, (url, answer.text[:300])
        if "json" in answer.headers["content-type"] and "/stac" not in url and "coverage?" not in url:
            hrefs = re.findall(r'"href": ?"([^"]+)"', answer.text)
            todo += [href for href in hrefs if href.startswith(server)]
            foreign |= {href for href in hrefs if not href.startswith(server)}
    assert len(seen) > 30 and not foreign


def test_features_are_found_by_place_and_property(client, world):
    """A box in degrees or in metres (northing first, as its URI says) finds the tiles it meets; so do properties and ids."""

    def ids(**query: str) -> list[str]:
        return [f["id"] for f in client.get("/ogc/collections/tiles/items", params=query).json()["features"]]

    assert ids(bbox="7.2,46.05,7.3,46.1") == [world.tiles[0]]
    assert ids(bbox="7.2,46.05,7.3,46.4") == list(world.tiles[:2])
    assert ids(**{"bbox": "2580000,4126000,2581000,4127000", "bbox-crs": LAEA}) == [world.tiles[2]]
    assert ids(bbox="0,0,1,1") == []
    one = client.get(f"/ogc/collections/tiles/items/{world.tiles[2]}").json()
    ring = np.array(one["geometry"]["coordinates"][0])
    east, north = transformer("CRS:84", "EPSG:3035").transform(ring[:, 0], ring[:, 1])
    assert (east.min(), north.min(), east.max(), north.max()) == pytest.approx((4_125_000, 2_575_000, 4_150_000, 2_600_000), abs=0.1)
    assert client.get(one["properties"]["item"]).json()["id"] == world.tiles[2]
    assert client.get("/ogc/collections/tiles/items/25kmE0N0").status_code == 404
    asked = client.get("/ogc/collections/tiles/items", params={"crs": LAEA, "limit": "1"})
    assert asked.json()["features"][0]["geometry"]["coordinates"][0][0] == pytest.approx([2_550_000, 4_100_000], abs=0.1)
    assert asked.headers["content-crs"] == f"<{LAEA}>"


def test_species_are_records_that_lead_to_their_map(client):
    """A word of its name finds a species; its record's coverage link is its map."""
    (record,) = client.get("/ogc/collections/species/items", params={"q": "fagus"}).json()["features"]
    assert record["id"] == "v002" and record["properties"]["title"] == "Fagus sylvatica"
    answer = client.get(record["properties"]["coverage"] + "&subset=x(4100000:4100200),y(2599800:2600000)").json()
    assert list(answer["ranges"]) == ["v002"]


@pytest.mark.parametrize("how", ["subset", "bbox"])
def test_coveragejson_holds_the_cells(client, world, how):
    """Axes name cell centres, rows run north to south, values are those of the field there; the box asked is held."""
    box = (4_120_000, 2_580_000, 4_130_000, 2_584_000)
    query = (
        {"subset": "x(4120000:4130000),y(2580000:2584000)"}
        if how == "subset"
        else {"bbox": "2580000,4120000,2584000,4130000", "bbox-crs": LAEA}
    )
    answer = client.get("/ogc/collections/richness/coverage", params=query)
    assert answer.headers["content-type"] == "application/prs.coverage+json"
    cover = answer.json()
    x, y = (np.linspace(a["start"], a["stop"], a["num"]) for a in (cover["domain"]["axes"][k] for k in "xy"))
    assert (x[0], x[-1], y[0], y[-1]) == (box[0] + 25, box[2] - 25, box[3] - 25, box[1] + 25)
    values = np.array(cover["ranges"]["richness"]["values"]).reshape(cover["ranges"]["richness"]["shape"])
    np.testing.assert_allclose(values, world.richness(x[None, :], y[:, None]), atol=1e-4)
    assert cover["parameters"]["richness"]["unit"] == {"symbol": "species"}
    assert cover["domain"]["referencing"][0] == {"coordinates": ["y", "x"], "system": {"type": "ProjectedCRS", "id": LAEA}}


def test_geotiff_holds_the_stored_numbers_of_the_bands_asked(client, catalog, mosaic):
    """Each band is its own species (not the first one twice), with scale, nodata, name, and its place on the ground."""
    box = (4_120_000, 2_570_000, 4_131_000, 2_580_000)
    query = {"f": "GTiff", "properties": "v003,v001", "subset": "x(4120000:4131000),y(2570000:2580000)"}
    answer = client.get("/ogc/collections/species-probability/coverage", params=query)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("image/tiff")
    with MemoryFile(answer.content) as memory, memory.open(driver="GTiff") as raster:
        assert tuple(raster.bounds) == box and raster.crs.to_epsg() == 3035
        assert raster.descriptions == ("v003", "v001") and raster.scales == (0.004, 0.004) and raster.nodata == 255
        for band, name in ((1, "species.v003"), (2, "species.v001")):
            np.testing.assert_array_equal(raster.read(band), mosaic.cells(catalog.layer(name), box)[0].filled(255))
        assert not np.array_equal(raster.read(1), raster.read(2))


def test_a_whole_coverage_comes_at_a_level_that_fits(client, world):
    """Without a box the answer is the whole area, coarser where it has to be, and its axes say so."""
    cover = client.get("/ogc/collections/richness/coverage").json()
    x, y = (np.linspace(a["start"], a["stop"], a["num"]) for a in (cover["domain"]["axes"][k] for k in "xy"))
    assert (x[1] - x[0], y[1] - y[0], x.size, y.size) == (100, -100, 500, 500)
    values = np.array(cover["ranges"]["richness"]["values"], float).reshape(500, 500)
    inside = world.holds(x[None, :], y[:, None])
    assert np.isnan(values[~inside]).all()
    np.testing.assert_allclose(values[:250][inside[:250]], world.richness(x[None, :], y[:250, None])[inside[:250]], atol=1e-4)
    with MemoryFile(client.get("/ogc/collections/richness/coverage?f=GTiff").content) as memory, memory.open(driver="GTiff") as raster:
        assert raster.shape == (1000, 1000) and np.isnan(raster.nodata)


def test_classes_are_told_with_their_labels(client):
    """A coverage of classes says what each number stands for."""
    cover = client.get("/ogc/collections/habitat/coverage", params={"subset": "x(4100000:4100100),y(2599900:2600000)"}).json()
    parameter = cover["parameters"]["habitat"]
    assert parameter["categoryEncoding"]["habitat:2"] == 2
    assert {"id": "habitat:2", "label": {"en": "Grassland"}} in parameter["observedProperty"]["categories"]
    assert set(cover["ranges"]["habitat"]["values"]) == {2}


@pytest.mark.parametrize(
    ("path", "query", "status", "says"),
    [
        ("/collections/nothing", {}, 404, "not found"),
        ("/collections/species-probability/coverage", {}, 400, "choose with properties"),
        ("/collections/species-probability/coverage", {"properties": "v999"}, 400, "field"),
        ("/collections/richness/coverage", {"subset": "x(4100000:4150000)"}, 400, "cells are asked"),
        ("/collections/richness/coverage", {"bbox": "100,1,101,2"}, 400, "meets no cell"),
        ("/collections/richness/coverage", {"bbox": "7,47,8,46"}, 400, "minimum before maximum"),
        ("/collections/richness/coverage", {"bbox": "7,46,8,47", "subset": "x(1:2)"}, 400, "give one of them"),
        ("/collections/tiles/items", {"bbox": "1,2,3"}, 400, "four numbers"),
        ("/collections/tiles/items", {"limit": "0"}, 400, "malformed"),
        ("/collections/tiles/items", {"sortby": ""}, 400, "not known"),
        ("/collections/tiles/items", {"bbox-crs": LAEA}, 400, "without a bbox"),
        ("/collections", {"f": "csv"}, 400, "not offered"),
    ],
)
def test_faults_say_what_to_do(client, path, query, status, says):
    """A wrong request is refused with the OGC API's exception, in words."""
    answer = client.get(f"/ogc{path}", params=query)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["description"]


def test_html_needs_nobody_else(client):
    """Pages for people have no script and no link to another host, and escape what the catalog says."""
    for path in ("", "/collections", "/collections/richness", "/collections/tiles/items", "/openapi", "/conformance"):
        answer = client.get(f"/ogc{path}", headers={"Accept": "text/html,application/xhtml+xml"})
        assert answer.headers["content-type"].startswith("text/html")
        assert "<script" not in answer.text and "unpkg" not in answer.text
        assert f"{client.base_url}".rstrip("/") in answer.text or path == "/conformance"


def test_pages_are_tables(client):
    """Items, collections and processes are tables that lead to the pages of each; what a process needs is told in words."""
    items = client.get("/ogc/collections/tiles/items?f=html&limit=2").text
    assert "<h1>Items of Meta-tiles</h1>" in items and "2 of 3 items" in items and "The next page" in items and "<pre>" not in items
    assert "<td>Report of an area" in client.get("/ogc/processes?f=html").text.replace(
        f'<a href="{str(client.base_url).rstrip("/")}/ogc/processes/area-report?f=html">', ""
    )
    process = client.get("/ogc/processes/area-report?f=html").text
    assert "A GeoJSON polygon" in process and "<th>required</th>" in process
    for path in (
        "/processes",
        "/processes/export",
        "/jobs",
        "/tileMatrixSets",
        "/collections/richness/styles",
        "/collections/richness/map/tiles",
    ):
        page = client.get(f"/ogc{path}?f=html")
        assert page.status_code == 200 and "<script" not in page.text and "style=" not in page.text
