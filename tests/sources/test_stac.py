"""Items from an API or a static catalog: those that meet the GeoBox and the time, each once, in one order, and the rest counted."""

from __future__ import annotations

import gzip
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import odc.stac
import pytest
import rasterio
import shapely
import shapely.geometry
import yaml
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geoplantnet.errors import ConfigurationError, CrsError, InputError, RasterError, TryAgain
from geoplantnet.grid import TileGrid
from geoplantnet.sources.http import Budget, with_retries
from geoplantnet.sources.stac import StacEndpoint, footprint, opened, search

sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))
from proxy import FaultProxy, StacServer

BOX = TileGrid(tile_size=2000).tile("2kmE4422N2598").geobox(10)
EAST, NORTH = footprint(BOX).centroid.coords[0]
START, END = datetime(2021, 6, 1), datetime(2021, 7, 1)
QUICK = Budget(seconds=5, attempts=3, timeout=1, first_pause=0.001, longest_pause=0.002, max_pages=20, max_items=50)


def item(
    name: str, *, when: str | None = "2021-06-10T10:00:00Z", at=(EAST, NORTH), half: float = 0.05, cloud: float | None = 10.0, **more
) -> dict:
    """A square item around a place, with one asset."""
    x, y = at
    properties = {"datetime": when} | ({} if cloud is None else {"eo:cloud_cover": cloud})
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": "c",
        "geometry": shapely.geometry.mapping(shapely.box(x - half, y - half, x + half, y + half)),
        "bbox": [x - half, y - half, x + half, y + half],
        "properties": properties,
        "links": [],
        "assets": {"B04": {"href": f"https://h/{name}.tif"}},
    } | more


def found(url: str, *, box: GeoBox = BOX, budget: Budget = QUICK, **options):
    return search(StacEndpoint(url=url, budget=budget), **{"collection": "c", "geobox": box, "start": START, "end": END, **options})


def ids(items) -> list[str]:
    return [i.id for i in items]


@given(st.permutations(range(7)), st.integers(1, 8), st.sampled_from([("GET",), ("POST",), ("GET", "POST")]), st.booleans())
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_server_does_not_matter(order, page, methods, repeated):
    """Law: one answer for any order, page size, method and repetition across pages: by time, then id."""
    days = (5, 3, 3, 9, 1, 3, 7)
    items = [item(f"i{n}", when=f"2021-06-{days[n]:02d}T10:00:00Z") for n in order]
    with StacServer(items + items[:3] * repeated, page=page) as server:
        server.methods = methods
        assert ids(found(server.url)) == ["i4", "i1", "i2", "i5", "i0", "i6", "i3"]
        assert {method for method, path, _ in server.log if path.startswith("/search")} == {"POST" if "POST" in methods else "GET"}


def test_time_is_half_open_and_utc():
    """[start, end): the first moment belongs, the last does not; other zones and start_datetime are understood."""
    items = [
        item("first", when="2021-06-01T00:00:00Z"),
        item("before", when="2021-05-31T23:59:59Z"),
        item("last", when="2021-07-01T00:00:00Z"),
        item("zone", when="2021-07-01T01:00:00+02:00"),
        item("span", when=None) | {"properties": {"datetime": None, "start_datetime": "2021-06-03T00:00:00Z", "end_datetime": "2021-09-01T00:00:00Z", "eo:cloud_cover": 1}},
    ]  # fmt: skip
    with StacServer(items) as server:
        assert ids(found(server.url)) == ["first", "span", "zone"]
        later = timedelta(hours=1)
        assert ids(found(server.url, start=START.replace(tzinfo=UTC) + later, end=END.replace(tzinfo=UTC) + later)) == [
            "span",
            "zone",
            "last",
        ]
        with pytest.raises(ConfigurationError, match="holds nothing"):
            found(server.url, start=END, end=START)


@pytest.mark.parametrize("conforms", [["item-search#query"], ["item-search#filter"], []])
def test_cloud_and_queries_are_asked_and_applied(conforms):
    """By the query extension, by CQL2, or here alone: the same items. Items that cannot be compared are counted."""
    items = [item(f"i{n}", cloud=cloud) for n, cloud in enumerate((0, 20, 20.1, 80, None))]
    items[1]["properties"]["platform"] = "a"
    with StacServer(items) as server:
        server.conforms = conforms
        result = found(server.url, max_cloud=20)
        assert ids(result) == ["i0", "i1"] and result.rejected == {"without eo:cloud_cover, which is compared": ("i4",)}
        asked = next(query for method, path, query in server.log if path == "/search")
        if conforms == ["item-search#query"]:
            assert asked["query"] == {"eo:cloud_cover": {"lte": 20}}
        elif conforms:
            assert asked["filter"] == {"op": "and", "args": [{"op": "<=", "args": [{"property": "eo:cloud_cover"}, 20]}]}
        else:
            assert not asked.keys() & {"query", "filter"}
        assert ids(found(server.url, query={"platform": {"in": ["a", "b"]}})) == ["i1"]
        assert ids(found(server.url, query={"eo:cloud_cover": {"gt": 20}})) == ["i2", "i3"]
        with pytest.raises(ConfigurationError, match="compared by"):
            found(server.url, query={"platform": {"like": "a"}})


def test_what_is_no_usable_item_is_counted_with_its_reason():
    """Never dropped silently, never an exception for one bad item."""
    items = [
        item("good"),
        item("nowhere", geometry=None, bbox=None),
        item("odd", geometry={"type": "Polygon", "coordinates": [[["x", 1]]]}),
        item("never", when=None),
        item("then", when="last week"),
        item("empty", assets={}),
        item("", assets={}),
        item("nan", geometry={"type": "Point", "coordinates": [float("nan"), 1]}),
        item("null", properties=None),
        item("list", properties=[1]),
        item("number", assets=5),
        item("address", assets={"B04": {"href": "https://[h/x.tif"}}),
    ]
    with StacServer(items) as server:
        result = found(server.url)
    assert ids(result) == ["good"]
    assert result.rejected == {
        "with a malformed geometry": ("nan", "odd"),
        "without a readable datetime": ("list", "never", "null", "then"),
        "that are no STAC items": ("address",),
        "without assets": ("empty", "number"),
        "without geometry": ("nowhere",),
        "without id": ("(no id)",),
    }


def test_the_footprint_counts_not_the_box_around_it():
    """A triangle whose bounding box covers the tile, but which does not touch it; and one that touches its corner."""
    west, south, east, north = footprint(BOX).bounds
    beside = shapely.Polygon([(west - 1, south - 1), (west - 1, north + 1), (west - 0.5, south - 1)]).union(
        shapely.box(east + 0.5, south - 1, east + 1, south - 0.9)
    )
    touching = shapely.box(*footprint(BOX).boundary.coords[0], east + 1, north + 1)
    items = [
        item("beside", geometry=beside.__geo_interface__, bbox=list(beside.bounds)),
        item("touching", geometry=touching.__geo_interface__),
    ]
    with StacServer(items) as server:
        assert ids(found(server.url)) == ["touching"]


def test_a_margin_finds_more():
    """The GeoBox is asked with what it was widened by."""
    near = item("near", at=(EAST + 0.03, NORTH), half=0.005)
    with StacServer([item("here"), near]) as server:
        assert ids(found(server.url)) == ["here"]
        assert ids(found(server.url, box=TileGrid(tile_size=2000).tile("2kmE4422N2598").geobox(10, margin=2000))) == ["here", "near"]


def test_nothing_is_an_empty_list():
    """No item here and now: not an error; but an unknown collection is one."""
    with StacServer([item("far", at=(-100, 10))]) as server:
        assert found(server.url) == [] and found(server.url).rejected == {}
        with pytest.raises(ConfigurationError, match=r"collections/sentinel-9: status 404.*name of the collection"):
            found(server.url, collection="sentinel-9")


@pytest.mark.parametrize(
    ("fault", "why"), [("loop", "leads back to an earlier page"), ("endless", "more than 20 pages|more than 50 items")]
)
def test_endless_paging_ends_in_a_typed_error(fault, why):
    """A next link that repeats, or that always leads on."""
    with (
        StacServer([item(f"i{n}") for n in range(3)]) as server,
        FaultProxy({"": server.url}, lambda *_: fault) as proxy,
        pytest.raises(InputError, match=why),
    ):
        found(proxy.url)


def test_too_many_items_are_refused_before_they_are_kept():
    """The cap counts what the server sends."""
    with StacServer([item(f"i{n:03d}") for n in range(60)], page=100) as server, pytest.raises(InputError, match="more than 50 items"):
        found(server.url)


def test_a_server_that_stays_ill_is_try_again():
    """The budget is the search's, and its end says why."""
    with (
        StacServer([item("a")]) as server,
        FaultProxy({"": server.url}, lambda *_: "503") as proxy,
        pytest.raises(TryAgain, match="status 503 x 3"),
    ):
        found(proxy.url)


@pytest.mark.parametrize(
    "root",
    [
        {"type": "Catalog", "conformsTo": []},
        {"type": "Catalog", "id": "x", "description": "", "links": [], "stac_version": "1.0.0", "conformsTo": []},
    ],
)
def test_a_root_that_is_no_api_is_a_typed_error(root):
    """Incomplete, or without search."""
    with (
        StacServer(documents={"/api": root}) as server,
        pytest.raises((InputError, ConfigurationError), match=r"no root of a STAC API|has no search"),
    ):
        found(f"{server.url}/api")


def test_bad_answers_between_pages_leave_no_gap():
    """A page that fails is asked again, not passed over."""
    items = [item(f"i{n}") for n in range(9)]
    with StacServer(items, page=2) as server:
        for fault in ("503", "reset", "short", "html", "json error", "bad gzip", "reset mid-body"):
            with FaultProxy({"": server.url}, lambda n, kind, path, fault=fault: fault if n % 2 else None) as proxy:
                assert ids(found(proxy.url)) == [f"i{n}" for n in range(9)]


# --- where a GeoBox lies ---------------------------------------------------------------------------------------------


def test_a_footprint_is_the_box_brought_to_longitude_and_latitude():
    """Every cell's centre of a tile lies in it; its outline is dense enough that no more than a cell is lost."""
    shape = footprint(BOX)
    xs, ys = np.meshgrid(BOX.coordinates["x"].values[::20], BOX.coordinates["y"].values[::20])
    lon, lat = BOX.crs.transformer_to_crs(odc.geo.CRS("EPSG:4326"))(xs.ravel(), ys.ravel())
    assert shapely.contains_xy(shape, lon, lat).all()
    assert shape.area == pytest.approx(shapely.Polygon(BOX.extent.to_crs("EPSG:4326", resolution=50).geom).area, rel=1e-4)


def test_a_box_across_the_antimeridian_is_two():
    """Searched on both sides; items on either side, or drawn across it in either way, are found; those between are not."""
    box = GeoBox((200, 200), Affine(100, 0, 810_000, 0, -100, 8_010_000), "EPSG:32760")  # Fiji: 180 degrees in its middle
    shape = footprint(box)
    assert shape.geom_type == "MultiPolygon" and {round(abs(x)) for p in shape.geoms for x in (p.bounds[0], p.bounds[2])} == {180}
    lat = shape.centroid.y
    jump = {"type": "Polygon", "coordinates": [[[179, lat - 1], [-179, lat - 1], [-179, lat + 1], [179, lat + 1], [179, lat - 1]]]}
    over = {"type": "Polygon", "coordinates": [[[179, lat - 1], [181, lat - 1], [181, lat + 1], [179, lat + 1], [179, lat - 1]]]}
    items = [
        item("east", at=(179.99, lat)),
        item("west", at=(-179.99, lat)),
        item("jump", geometry=jump, bbox=[-180, lat - 1, 180, lat + 1]),
        item("over", geometry=over, bbox=[-180, lat - 1, 180, lat + 1]),
        item("between", at=(0, lat)),
    ]
    with StacServer(items) as server:
        assert ids(found(server.url, box=box)) == ["east", "jump", "over", "west"]
        boxes = [query["bbox"] for _, path, query in server.log if path == "/search" and "token" not in query]
        assert len(boxes) == 2 and all(b[0] < b[2] for b in boxes)


def test_the_european_grid_ends_before_the_antimeridian_but_its_projection_does_not():
    """A GeoBox of EPSG:3035 over Chukotka is split as any other."""
    x, y = odc.geo.CRS("EPSG:4326").transformer_to_crs(odc.geo.CRS("EPSG:3035"))(180.0, 67.0)
    box = GeoBox((250, 250), Affine(100, 0, x - 12_500, 0, -100, y + 12_500), "EPSG:3035")
    shape = footprint(box)
    assert shape.geom_type == "MultiPolygon" and shape.area < 1
    assert sum(shapely.contains_xy(shape, lon, 67.0) for lon in (179.99, -179.99)) == 2


@pytest.mark.parametrize(
    ("box", "error", "why"),
    [
        (GeoBox((10, 10), Affine(100, 0, 9e7, 0, -100, 9e7), "EPSG:3035"), InputError, "not on the globe"),
        (GeoBox((10, 10), Affine(1000, 0, -5000, 0, -1000, 5000), "EPSG:3413"), InputError, "holds a pole"),
        (GeoBox((9, 36), Affine(10, 0, -180, 0, -10, 45), "EPSG:4326"), InputError, "half the globe"),
        (GeoBox((10, 10), Affine(10, 0, 0, 0, -10, 0), None), CrsError, "no CRS"),
    ],
)
def test_a_box_that_is_nowhere_is_a_typed_error(box, error, why):
    """Outside the projection, around a pole, around the world, without CRS."""
    with pytest.raises(error, match=why):
        footprint(box)


# --- static catalogs -------------------------------------------------------------------------------------------------


def catalog(folder: Path) -> Path:
    """Catalog -> collection -> items, with a link back, relative hrefs, and one item given twice."""
    (folder / "c" / "items").mkdir(parents=True)
    for n in range(3):
        text = item(f"i{n}", assets={"B04": {"href": f"../../data/i{n}.tif"}})
        (folder / "c" / "items" / f"i{n}.json").write_text(json.dumps(text))
    links = [{"rel": "item", "href": f"./items/i{n}.json"} for n in (2, 0, 1, 1)]
    collection = {"type": "Collection", "id": "c", "links": [*links, {"rel": "child", "href": "../catalog.json"}]}
    (folder / "c" / "collection.json").write_text(json.dumps(collection))
    (folder / "catalog.json").write_text(
        json.dumps({"type": "Catalog", "id": "r", "links": [{"rel": "child", "href": "c/collection.json"}]})
    )
    return folder / "catalog.json"


def test_static_catalogs_are_walked_by_path_and_by_url(tmp_path):
    """The same items; addresses relative to the item become absolute; a circle of links ends."""
    path = catalog(tmp_path)
    here = found(str(path))
    assert ids(here) == ["i0", "i1", "i2"] and here[0].assets["B04"].href == str(tmp_path / "data" / "i0.tif")
    documents = {f"/{p.relative_to(tmp_path)}": json.loads(p.read_text()) for p in tmp_path.rglob("*.json")}
    with StacServer(documents=documents) as server:
        there = found(f"{server.url}/catalog.json")
        assert ids(there) == ids(here) and there[0].assets["B04"].href == f"{server.url}/data/i0.tif"
        assert len(server.log) == 5


def test_collections_items_and_lists_are_catalogs_too(tmp_path):
    """A collection, one item, a FeatureCollection, and an item a line."""
    catalog(tmp_path)
    features = [json.loads(p.read_text()) for p in sorted((tmp_path / "c" / "items").glob("*.json"))]
    (tmp_path / "all.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    (tmp_path / "all.ndjson").write_text("\n".join(json.dumps(f) for f in features) + "\n")
    for name, expected in {"c/collection.json": 3, "c/items/i1.json": 1, "all.geojson": 3, "all.ndjson": 3}.items():
        assert len(found(str(tmp_path / name))) == expected


def test_a_static_catalog_has_its_caps_and_its_errors(tmp_path):
    """Too many documents, none, no JSON, another JSON, another collection."""
    path = catalog(tmp_path)
    with pytest.raises(InputError, match="more than 3 documents"):
        found(str(path), budget=Budget(max_pages=3))
    with pytest.raises(InputError, match="more than 2 items"):
        found(str(path), budget=Budget(max_items=2))
    with pytest.raises(InputError, match="cannot be read"):
        found(str(tmp_path / "none.json"))
    for text, why in {"{": "is no JSON", "[]": "no STAC object", '{"type": "Topology"}': "'Topology'"}.items():
        (tmp_path / "odd.json").write_text(text)
        with pytest.raises(InputError, match=why):
            found(str(tmp_path / "odd.json"))
    with pytest.raises(ConfigurationError, match="no collection 'C'; it has c"):
        found(str(path), collection="C")


# --- endpoints -------------------------------------------------------------------------------------------------------


def test_an_endpoint_says_what_is_wrong_with_it():
    """Unknown signature, headers without or for nobody."""
    with pytest.raises(ConfigurationError, match="sign"):
        StacEndpoint(url="https://h", sign="magic")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="no headers"):
        StacEndpoint(url="https://h", sign="headers")
    with pytest.raises(ConfigurationError, match="path of this machine"):
        StacEndpoint(url="/a/catalog.json", headers={"a": "b"})
    assert len({StacEndpoint(url="https://h"), StacEndpoint(url="https://h")}) == 1


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "configs" / "sources").glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_endpoints_are_endpoints(file):
    """Each file is an endpoint, its budget a Budget, and it names a collection; no secret is in it, only names of variables."""
    told = yaml.safe_load(file.read_text())
    budget = Budget(**told.pop("budget", {}))
    title, collections, assets = told.pop("title"), told.pop("collections"), told.pop("assets", {})
    endpoint = StacEndpoint(budget=budget, **told)
    assert title and collections and assets.keys() <= collections.keys() <= {"sentinel2-stac", "landsat-stac"}
    assert endpoint.is_remote == (file.stem != "local")
    secret = [value for name, value in (*endpoint.headers.items(), *endpoint.gdal.items()) if "KEY" in name or "uthorization" in name]
    assert all(value.startswith("${") for value in secret)


def test_alternate_addresses_are_taken_where_an_asset_has_them():
    """Landsat's first addresses want a login; their alternates are in s3."""
    assets = {
        "red": {"href": "https://login/red.tif", "alternate": {"s3": {"href": "s3://usgs-landsat/red.tif"}}},
        "mask": {"href": "https://h/mask.tif"},
    }
    with StacServer([item("a", assets=assets)]) as server:
        endpoint = StacEndpoint(url=server.url, alternate="s3", budget=QUICK)
        (got,) = search(endpoint, collection="c", geobox=BOX, start=START, end=END)
    assert {name: asset.href for name, asset in got.assets.items()} == {"red": "s3://usgs-landsat/red.tif", "mask": "https://h/mask.tif"}


def test_assets_of_a_network_catalog_are_never_paths_of_this_machine():
    """An item that names /etc/passwd reads nothing."""
    with StacServer([item("a", assets={"B04": {"href": "/etc/passwd"}, "B08": {"href": "file:///etc/passwd"}})]) as server:
        endpoint = StacEndpoint(url=server.url, budget=QUICK)
        patience = QUICK.begin()
        items = search(endpoint, collection="c", geobox=BOX, start=START, end=END, patience=patience)
        with opened(endpoint, items, patience) as assets:
            for asset in items[0].assets.values():
                with pytest.raises((RasterError, TryAgain)):
                    with_retries(lambda asset=asset: rasterio.open(assets(asset.href)), patience, assets=assets)
        assert all("passwd" not in path or path == "/etc/passwd" for _, path, _ in server.log)


# --- real items ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cassette(data_folder):
    """273 real items of two satellites."""
    with gzip.open(data_folder / "stac_fixtures" / "cassette_items.json.gz", "rt") as file:
        content = json.load(file)
    return content["features"] if isinstance(content, dict) else content


def test_real_items_are_found_as_by_brute_force(cassette):
    """Oracle: shapely over all items of a collection, for boxes of several places; nothing is rejected."""
    collections = sorted({i["collection"] for i in cassette})
    with StacServer(cassette, page=50) as server:
        for name in collections:
            members = [i for i in cassette if i["collection"] == name]
            for seed in members[:: max(1, len(members) // 4)]:
                lon, lat = shapely.geometry.shape(seed["geometry"]).centroid.coords[0]
                box = GeoBox((50, 50), Affine(0.01, 0, round(lon, 2) - 0.25, 0, -0.01, round(lat, 2) + 0.25), "EPSG:4326")
                start, end = datetime(2000, 1, 1), datetime(2030, 1, 1)
                got = search(StacEndpoint(url=server.url), collection=name, geobox=box, start=start, end=end)
                expected = {i["id"] for i in members if shapely.geometry.shape(i["geometry"]).intersects(footprint(box))}
                assert set(ids(got)) == expected and seed["id"] in expected and not got.rejected
                moments = [i.datetime for i in got]
                assert moments == sorted(moments)


def test_bolzano_by_api_and_by_file_are_the_same_pixels(data_folder):
    """The real scene, its assets over the network and from the disk, and read by rasterio itself."""
    folder = data_folder / "stac_fixtures"
    features = [json.loads(line) for line in (folder / "own_items.ndjson").read_text().splitlines()]
    box = GeoBox((200, 200), Affine(10, 0, 676_000, 0, -10, 5_153_000), "EPSG:32632")
    files = {}
    for feature in features:
        for asset in feature["assets"].values():
            path = (folder / asset["href"]).resolve()
            files[path.name] = path.read_bytes()
            asset["href"] = f"{{base}}/{path.name}"
    loaded = []
    with StacServer(features, files) as server:
        for url in (str(folder / "own_items.ndjson"), server.url):
            endpoint = StacEndpoint(url=url, budget=Budget(seconds=60, attempts=3))
            patience = endpoint.budget.begin()
            items = search(
                endpoint,
                collection="sentinel-2-l2a-local",
                geobox=box,
                start=datetime(2022, 1, 1),
                end=datetime(2023, 1, 1),
                patience=patience,
            )
            assert ids(items) == ["S2_L2A_20220612_bolzano"]
            with opened(endpoint, items, patience) as assets:

                def load(items=items, assets=assets):
                    return odc.stac.load(items, bands=["B04", "SCL"], geobox=box, nodata=0, patch_url=assets)

                loaded.append(with_retries(load, patience, assets=assets))
    with rasterio.open(data_folder / "s2_south_tyrol" / "bands" / "bolzano_20220612_B04.tif") as raster:
        window = rasterio.windows.from_bounds(*box.boundingbox, transform=raster.transform)
        truth = raster.read(1, window=window)
    for cube in loaded:
        np.testing.assert_array_equal(cube["B04"].values[0], truth)
    np.testing.assert_array_equal(loaded[0]["SCL"].values, loaded[1]["SCL"].values)
