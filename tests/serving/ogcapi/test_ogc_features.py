"""Features and Records: coverage of reporting cells, species with traits, and occurrences, compared with what GDAL and shapely find."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres import lacking

from geoplantnet.catalog import open_catalog
from geoplantnet.catalog.coverage import TileCoverage
from geoplantnet.errors import ConfigurationError
from geoplantnet.grid import TileGrid
from geoplantnet.serving.atlas import open_atlas
from geoplantnet.serving.crs import CRSS, transformer
from geoplantnet.serving.ogc.door import OgcApi
from geoplantnet.serving.ogc.features import Query
from geoplantnet.serving.ogc.occurrences import Occurrences, Records
from geoplantnet.serving.ogc.rows import Chosen, GeoPackageRows, _smallest_double
from geoplantnet.serving.settings import ServerSettings

LAEA = CRSS["EPSG:3035"].uri
ROWS = "/ogc/collections/coverage/items"


def all_pages(client, path: str, **query: object) -> list[dict]:
    """All items, following the links to the next page."""
    url, query = path, {"limit": 37, **query}
    found: list[dict] = []
    while url:
        answer = client.get(url, params=query).json()
        found += answer["features"]
        following = [link["href"] for link in answer["links"] if link["rel"] == "next"]
        url, query = (urlsplit(following[0]).path, dict(parse_qsl(urlsplit(following[0]).query))) if following else ("", {})
        assert "numberMatched" not in answer or len(answer["features"]) <= answer["numberMatched"]
    return found


def test_all_rows_come_page_by_page_once_and_in_order(flora, plants, coverage_rows):
    """Following the links meets every row of every tile exactly once, by tile, cell and taxon, with the values GDAL reads."""
    wanted = coverage_rows(plants)
    found = all_pages(flora, ROWS)
    assert [f["id"] for f in found] == [f"{cell}.{taxon}" for cell, taxon in zip(wanted["cell_id"], wanted["taxonID"])]
    for name in ("coverage", "mean_probability"):
        told = np.array([f["properties"][name] for f in found])
        np.testing.assert_array_equal(told.astype(np.float32), wanted[name].to_numpy(np.float32))
    assert [f["properties"]["valid_cells"] for f in found] == wanted["valid_cells"].tolist()


def test_no_page_follows_the_last(flora, plants, coverage_rows):
    """A page that ends with the last row has no next one, however full it is."""
    total = len(coverage_rows(plants))
    answer = flora.get(ROWS, params={"limit": 5, "offset": total - 5}).json()
    assert (answer["numberMatched"], len(answer["features"])) == (total, 5)
    assert {link["rel"] for link in answer["links"]} == {"self", "alternate", "prev", "collection"}


@pytest.mark.parametrize("taxon", ["abies-alba", "gentiana-lutea", "cypripedium-calceolus"])
@pytest.mark.parametrize("least", [0.0, 0.35])
def test_filters_choose_rows(flora, plants, coverage_rows, taxon, least):
    """TaxonID and min-coverage choose what they say; so do cell and tile."""
    wanted = coverage_rows(plants)
    wanted = wanted[(wanted["taxonID"] == taxon) & (wanted["coverage"].astype(np.float32) >= np.float32(least))]
    found = all_pages(flora, ROWS, taxonID=taxon, **({"min-coverage": least} if least else {}))
    assert [f["properties"]["cell_id"] for f in found] == wanted["cell_id"].tolist()
    if len(wanted):
        one = wanted.iloc[len(wanted) // 2]
        (row,) = all_pages(flora, ROWS, taxonID=taxon, cell_id=one["cell_id"])
        assert (
            row == flora.get(f"{ROWS}/{one['cell_id']}.{taxon}").json() | {"links": row.get("links")}
            or row["id"] == f"{one['cell_id']}.{taxon}"
        )
        assert len(all_pages(flora, ROWS, taxonID=taxon, tile_id=one["tile_id"])) <= len(wanted)


@settings(max_examples=15, deadline=None)
@given(west=st.floats(4_099_000, 4_110_500), south=st.floats(2_549_000, 2_555_500), width=st.floats(10, 6_000), height=st.floats(10, 6_000))
def test_a_box_in_metres_finds_the_cells_it_meets(flora, plants, coverage_rows, west, south, width, height):
    """Exactly the rows whose cell meets the box: not those near a box around its image in degrees."""
    box = shapely.box(west, south, west + width, south + height)
    wanted = coverage_rows(plants)
    wanted = wanted[(wanted["taxonID"] == "gentiana-lutea") & wanted.intersects(box)]
    query = {"bbox": f"{south},{west},{south + height},{west + width}", "bbox-crs": LAEA, "taxonID": "gentiana-lutea"}
    assert [f["properties"]["cell_id"] for f in all_pages(flora, ROWS, **query)] == wanted["cell_id"].tolist()


def test_a_box_in_degrees_is_no_box_in_metres(flora, plants, coverage_rows):
    """The rotated image of the box counts, not the box around it."""
    lon, lat = transformer("EPSG:3035", "CRS:84").transform([4_102_500, 4_105_400], [2_551_500, 2_554_300])
    corners = (min(lon), min(lat), max(lon), max(lat))
    box = shapely.segmentize(shapely.box(*corners), 1e-4)
    image = shapely.transform(box, lambda xy: np.stack(transformer("CRS:84", "EPSG:3035").transform(xy[:, 0], xy[:, 1]), axis=1))
    wanted = coverage_rows(plants)
    wanted = wanted[wanted.intersects(image) & (wanted["taxonID"] == "gentiana-lutea")]
    around = wanted[wanted.intersects(shapely.box(*image.bounds))]
    found = all_pages(flora, ROWS, bbox=",".join(map(repr, map(float, corners))), taxonID="gentiana-lutea")
    assert [f["properties"]["cell_id"] for f in found] == wanted["cell_id"].tolist()
    assert len(around) >= len(wanted) > 3


def test_the_world_is_a_box_too(flora, plants, coverage_rows):
    """A box beyond where the grid's CRS is of use finds what lies in it; one that misses everything finds nothing."""
    total = len(coverage_rows(plants))
    assert flora.get(ROWS, params={"bbox": "-180,-90,180,90", "limit": 1}).json()["numberMatched"] == total
    assert flora.get(ROWS, params={"bbox": "-120,-40,-60,10"}).json()["numberMatched"] == 0


def test_geometries_come_in_the_crs_asked_for(flora, plants, coverage_rows):
    """EPSG:3035 has northings first, CRS84 longitudes; both are the same cell."""
    wanted = coverage_rows(plants).iloc[0].geometry
    told = flora.get(ROWS, params={"limit": 1, "crs": LAEA})
    assert told.headers["content-crs"] == f"<{LAEA}>"
    ring = np.array(told.json()["features"][0]["geometry"]["coordinates"][0])
    assert shapely.Polygon(ring[:, ::-1]).equals(wanted.geoms[0] if hasattr(wanted, "geoms") else wanted)
    ring = np.array(flora.get(ROWS, params={"limit": 1}).json()["features"][0]["geometry"]["coordinates"][0])
    x, y = transformer("CRS:84", "EPSG:3035").transform(ring[:, 0], ring[:, 1])
    assert (min(x), min(y), max(x), max(y)) == pytest.approx(wanted.bounds, abs=1e-3)
    assert shapely.Polygon(ring).exterior.is_ccw


@given(st.floats(2**-20, 1, width=32))
def test_files_and_postgis_draw_one_line(least):
    """The smallest double that counts is the smallest that rounds to the asked float32 or above."""
    line = _smallest_double(least)
    assert np.float32(line) >= np.float32(least) > np.float32(np.nextafter(line, 0))


def test_postgis_and_geopackages_answer_alike(serving, flora, plants, postgis, known):
    """The same requests find the same features in PostGIS as in the tiles' files, byte for byte but for links and time."""
    if lacking():
        pytest.skip("no PostgreSQL")
    load(plants, postgis, known)
    database = serving(postgis=postgis, postgis_schema="served")
    requests = [
        {"limit": 1000},
        {"limit": 20, "offset": 30},
        {"taxonID": "abies-alba", "min-coverage": "0.35", "limit": 100},
        {"taxonID": "gentiana-lutea", "bbox": "7.15,46.03,7.2,46.06"},
        {"bbox": "2551500,4103000,2553000,4106000", "bbox-crs": LAEA, "crs": LAEA, "limit": 50},
        {"cell_id": "1kmE4102N2551"},
        {"tile_id": "5kmE4105N2550", "limit": 3, "offset": 7},
        {"taxonID": "none"},
        {"cell_id": "no cell", "limit": 3},
        {"resulttype": "hits"},
        {"taxonID": "'; DROP TABLE served.taxon; --"},
    ]
    matched = 0
    for query in requests:
        answers = [client.get(ROWS, params=query).json() for client in (flora, database)]
        for answer in answers:
            assert answer.pop("links") and answer.pop("timeStamp")
        assert answers[0] == answers[1], query
        matched += answers[0]["numberMatched"]
    assert matched > 500
    one = f"{ROWS}/1kmE4102N2551.gentiana-lutea"
    assert flora.get(one).json() == database.get(one).json()
    assert flora.get(f"{ROWS}/x.y").status_code == database.get(f"{ROWS}/x.y").status_code == 404


def test_a_database_that_is_not_there_is_a_bad_moment(serving):
    """No answer but 503, when to come back, and nothing of the address."""
    answer = serving(postgis="postgresql://me:secret@127.0.0.1:1/nowhere").get(ROWS)
    assert answer.status_code == 503 and answer.headers["retry-after"] and "secret" not in answer.text


def load(root, dsn, traits) -> None:
    """Load the store's rows into schema `served`."""
    import json
    from datetime import UTC, datetime

    import geopandas as gpd

    from geoplantnet.catalog.overview import open_species_overview
    from geoplantnet.catalog.postgis import Loadable, Release, load_coverage

    species = open_species_overview(root / "overviews" / "all-species.zarr").species
    words = json.loads((root / "catalog.json").read_text())
    release = Release(
        title=words["title"],
        notice="",
        licence="",
        interval_start=datetime(2017, 1, 1, tzinfo=UTC),
        interval_end=datetime(2021, 12, 31, tzinfo=UTC),
        plot_area_m2=100,
        set_rule="MaxExp",
        checklist=species.checklist,
        species_list=species.hash,
        version="0",
    )
    grid = TileGrid(tile_size=5_000, cell_size=100)

    def loadable(path) -> Loadable:
        tile = grid.tile(path.parent.name)
        cells = gpd.read_file(path, layer="reporting_cells")
        rows = gpd.read_file(
            path, layer="species_coverage", columns=["cell_id", "taxonID", "scientificName", "coverage", "mean_probability"]
        )
        return Loadable(tile=tile, content="x", read=lambda: TileCoverage(tile_id=tile.id, cells=cells.explode(), rows=rows))

    tiles = [loadable(path) for path in sorted(root.glob("tiles/*/coverage.gpkg"))]
    load_coverage(dsn, release=release, taxa=list(species), traits=traits, tiles=tiles, schema="served")


# ---- species


def test_species_tell_what_is_known_and_null_what_is_not(flora, known):
    """Traits are true, false or null, never a number; names, family and genus are those of the list."""
    found = {f["id"]: f["properties"] for f in flora.get("/ogc/collections/species/items").json()["features"]}
    assert list(found) == list(known.index)
    assert found["cypripedium-calceolus"]["eu_directive"] is True and found["abies-alba"]["eu_directive"] is False
    assert found["gentiana-lutea"]["eu_directive"] is None and found["gentiana-lutea"]["iucn"] is None
    assert found["cypripedium-calceolus"]["specialisation"] is None and found["abies-alba"]["range_squares"] == 40
    assert found["fagus-sylvatica"]["vernacularName"] == "beech" and found["fagus-sylvatica"]["family"] == "Fagaceae"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"invasive": "true"}, ["impatiens-glandulifera"]),
        ({"eu_directive": "false", "tree": "false"}, ["impatiens-glandulifera"]),
        ({"iucn": "VU"}, ["cypripedium-calceolus"]),
        ({"family": "Fagaceae"}, ["fagus-sylvatica"]),
        ({"q": "FIR"}, ["abies-alba"]),
        ({"q": "impatiens balsam"}, ["impatiens-glandulifera"]),
        ({"q": "lutea", "invasive": "true"}, []),
        ({"bbox": "7.1,46,7.3,46.1", "genus": "Abies"}, ["abies-alba"]),
        ({"bbox": "0,0,1,1"}, []),
    ],
)
def test_species_are_found_by_words_and_properties(flora, query, wanted):
    """Words are looked for in all names; a trait that is not known is neither true nor false."""
    answer = flora.get("/ogc/collections/species/items", params=query).json()
    assert [f["id"] for f in answer["features"]] == wanted and answer["numberMatched"] == len(wanted)


def test_queryables_are_what_may_be_asked(flora):
    """Every queryable of every collection of items is accepted as a parameter, and nothing else is."""
    for name in ("tiles", "species", "coverage"):
        told = flora.get(f"/ogc/collections/{name}/queryables").json()["properties"]
        for key, schema in told.items():
            value = {"boolean": "true", "number": "0.5", "integer": "2000"}.get(schema.get("type", ""), "x")
            if key != "geometry":
                assert flora.get(f"/ogc/collections/{name}/items", params={key: value}).status_code == 200, (name, key)
        assert flora.get(f"/ogc/collections/{name}/items", params={"colour": "red"}).status_code == 400


def test_private_species_are_in_no_collection(serving, plants):
    """What may not be seen is not told: no record, no row, no record of its places, no coverage."""
    client = serving(private_layers=("species.cyp*",), occurrences=1000)
    assert "cypripedium" not in client.get("/ogc/collections/species/items").text
    assert "cypripedium" not in client.get(ROWS, params={"limit": 1000}).text
    assert client.get(ROWS, params={"taxonID": "cypripedium-calceolus"}).json()["numberMatched"] == 0
    assert client.get(f"{ROWS}/1kmE4100N2550.cypripedium-calceolus").status_code == 404
    assert "cypripedium" not in client.get("/ogc/collections/occurrences/items").text
    assert client.get("/ogc/collections/species-probability/coverage?properties=cypripedium-calceolus").status_code == 400
    assert "cypripedium" not in client.get("/ogc/collections/species-probability/schema").text
    assert "cypripedium" in serving().get(ROWS, params={"limit": 1000}).text


# ---- occurrences


def test_records_are_served_only_where_the_operator_says_so(flora, serving, plants, tmp_path):
    """Without the setting there is no such collection; with it, coordinates are middles of squares no narrower than asked and known."""
    assert flora.get("/ogc/collections/occurrences").status_code == 404
    client = serving(occurrences=1000)
    found = client.get("/ogc/collections/occurrences/items", params={"crs": LAEA}).json()["features"]
    assert [f["properties"]["coordinateUncertaintyInMeters"] for f in found] == [1_000, 1_000, 5_000, 10_000]
    places = [tuple(round(v) for v in f["geometry"]["coordinates"][::-1]) for f in found]
    assert places == [(4_100_500, 2_550_500), (4_100_500, 2_550_500), (4_102_500, 2_552_500), (4_105_000, 2_555_000)]
    with pytest.raises(ConfigurationError, match="1234"):
        serving(occurrences=1234).get("/ogc/collections")


def test_a_box_tells_no_more_than_the_square(serving):
    """A box around the true place finds a record only when it holds the middle of its square."""
    client = serving(occurrences=1000)

    def found(west: float, south: float, east: float, north: float) -> list[str]:
        query = {"bbox": f"{south},{west},{north},{east}", "bbox-crs": LAEA}
        return [f["id"] for f in client.get("/ogc/collections/occurrences/items", params=query).json()["features"]]

    assert found(4_100_120, 2_550_980, 4_100_130, 2_550_990) == []
    assert found(4_100_490, 2_550_490, 4_100_510, 2_550_510) == ["0", "1"]


def test_records_are_found_by_time_and_dataset(serving):
    """A year, an interval and a dataset choose; a record without a year is of no time."""
    client = serving(occurrences=100)

    def found(**query: str) -> list[str]:
        return [f["id"] for f in client.get("/ogc/collections/occurrences/items", params=query).json()["features"]]

    assert found(year="2019") == ["0", "1"] and found(datasetID="herbarium") == ["3"]
    assert found(datetime="2020-01-01/..") == ["3"] and found(datetime="2018-01-01/2019-06-30") == ["0", "1"]
    assert found() == ["0", "1", "2", "3"] and found(taxonID="abies-alba") == ["0", "2"]


def test_views_share_one_table_of_records(plants, monkeypatch):
    """However many threads and views ask together, files are read once; who may not see a taxon finds the others numbered without gaps."""
    read, reads = pd.read_parquet, []

    def slowly(path, **more):
        reads.append(path.name)
        time.sleep(0.05)
        return read(path, **more)

    monkeypatch.setattr(pd, "read_parquet", slowly)
    with ThreadPoolExecutor(6) as threads:
        records = Records(plants, square=1000, crs="EPSG:3035")
        views = [Occurrences(records, hidden=hidden) for hidden in (frozenset(), frozenset({"cypripedium-calceolus"})) for _ in range(3)]
        pages = list(threads.map(lambda view: view.page(Query(), 0, 10), views))
    assert sorted(reads) == ["events.parquet", "occurrences.parquet"]
    for view, (found, count) in zip(views, pages):
        assert [feature["id"] for feature in found] == [str(i) for i in range(count)] and view.by_id(str(count)) is None
        assert [view.by_id(feature["id"]) for feature in found] == found
    taxa = [[feature["properties"]["taxonID"] for feature in found] for found, _ in pages]
    assert len(taxa[0]) == 4 and taxa[3] == [taxon for taxon in taxa[0] if taxon != "cypripedium-calceolus"]


def test_records_are_kept_once_a_server(plants):
    """The collections of all views of a server are of one table."""
    atlas = open_atlas(plants)
    api = OgcApi(lambda request: atlas, lambda request: "", ServerSettings(occurrences=1000))
    views = [
        api._make_further(atlas.showing(lambda layer_id, no=no: layer_id != no))["occurrences"] for no in ("habitat", "species.abies-alba")
    ]
    assert views[0]._records is views[1]._records
    api.close()


# ---- size


def test_collections_do_not_grow_with_species(flora):
    """Neither the collections, nor the landing page, nor the OpenAPI document names a species."""
    for path in ("/ogc", "/ogc/collections", "/ogc/openapi", "/ogc/processes"):
        assert "abies" not in flora.get(path).text.lower(), path


def test_few_counts_are_remembered(plants):
    """Clients choose what is counted, by thousands of cells: what is kept of it has a bound, and is still right."""
    rows = GeoPackageRows(open_catalog(plants))
    everything = rows.count(Chosen())
    for i in range(400):
        rows.count(Chosen(least=i / 1000))
    assert rows._count.cache_info().currsize <= 512 and rows.count(Chosen()) == everything > 0
