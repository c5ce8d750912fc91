"""Searches of a real STAC API find what a filter over the very items finds, in one order, however they are asked and paged."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import shape

from geoplantnet.errors import GeoPlantNetError, InputError
from geoplantnet.grid import TileGrid
from geoplantnet.sources import stac as searching
from geoplantnet.sources.http import Budget
from geoplantnet.sources.stac import StacEndpoint, search

LANDSAT = "landsat-8-c2-l2"
ALWAYS = {"start": datetime(1972, 7, 23, tzinfo=UTC), "end": datetime(2100, 1, 1, tzinfo=UTC)}
EDGE = 5e-4
"""Degrees: an item this near the outline of a GeoBox may be found or not; an outline is drawn with a finite number of points."""


def outline_of(box: GeoBox) -> shapely.Polygon:
    """The GeoBox in longitude and latitude, 400 points a side."""
    west, south, east, north = box.boundingbox.bbox
    t = np.linspace(0, 1, 400)
    x = np.concatenate([west + t * (east - west), 0 * t + east, east - t * (east - west), 0 * t + west])
    y = np.concatenate([0 * t + south, south + t * (north - south), 0 * t + north, north - t * (north - south)])
    return shapely.Polygon(np.column_stack(Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True).transform(x, y)))


def time_of(item: dict) -> datetime:
    return datetime.fromisoformat(item["properties"]["datetime"] or item["properties"]["start_datetime"])


def filtered(items, collection, box, start, end, max_cloud=None) -> tuple[list[str], set[str]]:
    """Ids found by looking at every item, by (time, id): all that meet the box, and those that only touch its edge."""
    outline = outline_of(box)
    inner, outer, found = outline.buffer(-EDGE), outline.buffer(EDGE), {}
    for item in items:
        cloud = item["properties"].get("eo:cloud_cover", math.inf)
        wanted = item["collection"] == collection and start <= time_of(item) < end and (max_cloud is None or cloud <= max_cloud)
        if wanted and shape(item["geometry"]).intersects(outer):
            found[item["id"]] = item
    ids = sorted(found, key=lambda name: (time_of(found[name]), name))
    return ids, {name for name in ids if not shape(found[name]["geometry"]).intersects(inner)}


def square(lon: float, lat: float, side: float, crs: str) -> GeoBox:
    """A square of `side` metres around a place."""
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    return GeoBox.from_bbox((x - side / 2, y - side / 2, x + side / 2, y + side / 2), crs=crs, shape=(50, 50))


@pytest.fixture(scope="session")
def endpoint(stac) -> StacEndpoint:
    return StacEndpoint(url=stac.api, budget=Budget(seconds=60, attempts=3))


@pytest.fixture(scope="session")
def europe(stac) -> GeoBox:
    """300 km where most Landsat items lie, across 6 degrees east: two UTM zones."""
    return square(6.0, 52.5, 300_000, "EPSG:3035")


@st.composite
def questions(draw) -> dict:
    """Somewhere near some item, some time around it, some cloud: most find a few items, some none, some a hundred."""
    return {
        "item": draw(st.integers(0, 294)),
        "away": (draw(st.floats(-1.5, 1.5)), draw(st.floats(-1.5, 1.5))),
        "side": 10.0 ** draw(st.floats(3, 5.5)),
        "before": timedelta(days=draw(st.integers(0, 700)), seconds=draw(st.integers(0, 86_400))),
        "after": timedelta(days=draw(st.integers(0, 700)), seconds=draw(st.integers(1, 86_400))),
        "max_cloud": draw(st.none() | st.floats(0, 100)),
    }


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(question=questions())
def test_found_is_what_a_filter_over_the_items_finds(stac, endpoint, question):
    """Box, time and cloud: the same ids in the same order as by looking at each item; only the very edge of a box is left open."""
    public = [item for item in stac.items if item["collection"] in (LANDSAT, "sentinel-2-l2a")]
    item = public[question["item"]]
    west, south, east, north = item["bbox"]
    lon, lat = (west + east) / 2 + question["away"][0], (south + north) / 2 + question["away"][1]
    european = -10 < lon < 35 and 36 < lat < 70
    utm = f"EPSG:{(32600 if lat > 0 else 32700) + int((lon + 180) // 6) + 1}"
    box = square(lon, lat, question["side"], "EPSG:3035" if european else utm)
    asked = {"start": time_of(item) - question["before"], "end": time_of(item) + question["after"], "max_cloud": question["max_cloud"]}
    wanted, open_edge = filtered(stac.items, item["collection"], box, **asked)
    found = [found.id for found in search(endpoint, collection=item["collection"], geobox=box, **asked)]
    assert [name for name in found if name not in open_edge] == [name for name in wanted if name not in open_edge]
    assert set(found) <= set(wanted)


def test_the_interval_is_half_open(stac, endpoint, europe):
    """An item sensed at the start is found, one sensed at the end is not: periods that follow each other share none."""
    wanted, _ = filtered(stac.items, LANDSAT, europe, **ALWAYS)
    times = {item["id"]: time_of(item) for item in stac.items}
    middle = times[wanted[len(wanted) // 2]]
    before = [i.id for i in search(endpoint, collection=LANDSAT, geobox=europe, start=ALWAYS["start"], end=middle)]
    after = [i.id for i in search(endpoint, collection=LANDSAT, geobox=europe, start=middle, end=ALWAYS["end"])]
    assert before + after == wanted and after[0] == wanted[len(wanted) // 2]


@pytest.mark.parametrize("limit", [1, 7, 100])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_and_method_change_nothing(stac, endpoint, europe, monkeypatch, method, limit):
    """Pages of 1 to 100 items, by GET and by POST: the same items, each once, by time and id."""
    box, asked = europe, ALWAYS
    if limit < 100:  # 23 items, or 233
        box, asked = (
            square(6.0, 52.5, 1000, "EPSG:3035"),
            {"start": datetime(2021, 6, 1, tzinfo=UTC), "end": datetime(2022, 1, 1, tzinfo=UTC)},
        )
    wanted, _ = filtered(stac.items, LANDSAT, box, **asked)
    requests = []

    class Spy(searching._RobustIO):
        def document(self, url):
            root = super().document(url)
            return {**root, "links": [n for n in root["links"] if n["rel"] != "search" or n.get("method", "GET") == method]}

        def _ask(self, href, used, headers, parameters):
            requests.append(used)
            return super()._ask(href, used, headers, parameters)

    monkeypatch.setattr(searching, "_PAGE", limit)
    monkeypatch.setattr(searching, "_RobustIO", Spy)
    found = [item.id for item in search(endpoint, collection=LANDSAT, geobox=box, **asked)]
    assert found == wanted and len(found) > 10
    assert set(requests) == {method} and len(requests) >= len(found) / limit


def test_a_box_across_two_utm_zones_finds_the_scenes_of_both(stac, endpoint, europe):
    """Scenes of zones 31 and 32 come together, in one order."""
    found = search(endpoint, collection=LANDSAT, geobox=europe, **ALWAYS)
    assert {item.properties["proj:code"] for item in found} == {"EPSG:32631", "EPSG:32632"}
    assert [item.id for item in found] == filtered(stac.items, LANDSAT, europe, **ALWAYS)[0]


def test_nothing_there_is_an_empty_list(endpoint, europe):
    """No item in the time, none in the place, none so clear: empty, and no error."""
    assert search(endpoint, collection=LANDSAT, geobox=europe, start=datetime(1999, 1, 1), end=datetime(2000, 1, 1)) == []
    assert search(endpoint, collection=LANDSAT, geobox=square(-30.0, 40.0, 25_000, "EPSG:32626"), **ALWAYS) == []
    assert search(endpoint, collection=LANDSAT, geobox=europe, **ALWAYS, query={"eo:cloud_cover": {"lt": 0}}) == []


def test_items_that_do_not_say_their_cloud_are_counted(stac, endpoint):
    """Asked for little cloud, an item without `eo:cloud_cover` is never taken for clear."""
    box = TileGrid().tile_at(4_425_000, 2_600_000).geobox(50)
    name = "sentinel-2-l2a-http"
    assert [item.id for item in search(endpoint, collection=name, geobox=box, **ALWAYS)] == ["S2_L2A_20220612_bolzano"]
    assert search(endpoint, collection=name, geobox=box, **ALWAYS, max_cloud=100) == []


@pytest.mark.parametrize(("wrong", "right"), [("landsat-8-c2-l1", LANDSAT), ("sentinel2-l2a", "sentinel-2-l2a")])
def test_a_wrong_collection_is_named_with_its_nearest_spelling(endpoint, europe, wrong, right):
    """A misspelt collection is no empty search: the error names those there are that look like it."""
    with pytest.raises(GeoPlantNetError, match=f"{wrong}.*{right}"):
        search(endpoint, collection=wrong, geobox=europe, **ALWAYS)


def test_more_pages_than_the_budget_allows_is_an_error(stac, europe, monkeypatch):
    """A search is never cut short in silence."""
    monkeypatch.setattr(searching, "_PAGE", 20)
    small = StacEndpoint(url=stac.api, budget=Budget(seconds=60, max_pages=3))
    with pytest.raises(InputError, match="3 pages"):
        search(small, collection=LANDSAT, geobox=europe, **ALWAYS)
