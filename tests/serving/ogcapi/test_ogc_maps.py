"""Maps and Tiles: the same pictures as the other facades draw, in the right place, size and time."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from geoplantnet.serving.crs import CRSS, transformer

LAEA, MERCATOR, WGS84 = (CRSS[f"EPSG:{code}"].uri for code in (3035, 3857, 4326))
MAP = "/ogc/collections/richness/map"


def picture(answer) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(BytesIO(answer.content)).convert("RGBA"))


@pytest.mark.parametrize(
    ("name", "uri", "box"),
    [
        ("EPSG:3035", LAEA, "2549000,4099000,2556000,4111000"),
        ("EPSG:4326", WGS84, "46.01,7.14,46.08,7.29"),
        ("EPSG:3857", MERCATOR, "795000,5785000,812000,5795000"),
        ("CRS:84", CRSS["CRS:84"].uri, "7.14,46.01,7.29,46.08"),
    ],
)
def test_a_map_is_that_of_the_wms(flora, name, uri, box):
    """The same bytes as GetMap of the same box in every CRS, axes in its own order."""
    told = flora.get(MAP, params={"bbox": box, "bbox-crs": uri, "crs": uri, "width": 120, "height": 80})
    wms = {"SERVICE": "WMS", "VERSION": "1.3.0", "REQUEST": "GetMap", "LAYERS": "richness", "STYLES": "", "CRS": name, "BBOX": box}
    wms |= {"WIDTH": "120", "HEIGHT": "80", "FORMAT": "image/png", "TRANSPARENT": "TRUE"}
    assert told.content == flora.get("/wms", params=wms).content
    assert told.headers["content-crs"] == f"<{uri}>"
    np.testing.assert_allclose([float(v) for v in told.headers["content-bbox"].split(",")], [float(v) for v in box.split(",")])
    assert picture(told)[..., 3].any() and not picture(told)[..., 3].all()


def test_a_map_without_words_is_of_everything(flora):
    """The whole extent in the data's own CRS, pixels square; one side given, the other follows; bbox alone is in longitude, latitude."""
    whole = picture(flora.get(MAP))
    assert whole.shape == (512, 1024, 4) and whole[100:, :, 3].all() and not whole[:10, :, 3].any()
    assert picture(flora.get(MAP, params={"height": 40})).shape == (40, 80, 4)
    lon, lat = transformer("EPSG:3035", "CRS:84").transform([4_102_000, 4_104_000], [2_551_000, 2_553_000])
    bounds = flora.get(MAP, params={"bbox": f"{lon[0]},{lat[0]},{lon[1]},{lat[1]}", "width": 10}).headers["content-bbox"]
    south, west, north, east = (float(v) for v in bounds.split(","))
    assert west < 4_102_001 and south < 2_551_001 and east > 4_103_999 and north > 2_552_999 and east - west < 2_200


def test_what_has_no_data_has_the_background_asked_for(flora):
    """Transparent by default; white or a colour when asked; JPEG has no transparency."""
    assert picture(flora.get(MAP))[0, 0, 3] == 0
    assert picture(flora.get(MAP, params={"transparent": "false"}))[0, 0].tolist() == [255, 255, 255, 255]
    assert picture(flora.get(MAP, params={"bgcolor": "0x102030"}))[0, 0].tolist() == [16, 32, 48, 255]
    assert picture(flora.get(MAP, params={"bgcolor": "102030", "transparent": "true"}))[0, 0, 3] == 0
    assert flora.get(MAP, params={"f": "jpeg"}).headers["content-type"] == "image/jpeg"


def test_time_and_scenario_choose_the_epoch(flora):
    """A moment of the scenario's years, an open interval, or its name draw the scenario; the answer says which time it shows."""
    today, warmer = flora.get(MAP), flora.get(MAP, params={"scenario": "warmer"})
    assert today.content != warmer.content and warmer.headers["content-datetime"].startswith("2070")
    for when in ("2085", "2085-06-01T00:00:00Z", "2071-01-01/.."):
        assert flora.get(MAP, params={"datetime": when}).content == warmer.content, when
    assert flora.get(MAP, params={"datetime": "2019-01-01"}).content == today.content
    cells = flora.get("/ogc/collections/richness/coverage", params={"datetime": "2085", "scale-size": "x(4),y(2)"}).json()
    other = flora.get("/ogc/collections/richness/coverage", params={"scale-size": "x(4),y(2)"}).json()
    assert cells["ranges"]["richness"]["values"][-1] > other["ranges"]["richness"]["values"][-1]


def test_styles_are_told_and_drawn(flora):
    """Every style that is told has a map and a legend; another is no style of the layer."""
    told = flora.get("/ogc/collections/richness/styles").json()
    assert [one["id"] for one in told["styles"]][:2] == ["default", "classes"]
    for one in told["styles"]:
        for link in one["links"]:
            assert flora.get(link["href"]).status_code == 200, link
    assert flora.get("/ogc/collections/richness/styles/default/map").content == flora.get(MAP).content
    assert flora.get("/ogc/collections/richness/styles/magma/map").content != flora.get(MAP).content
    for path in ("map", "legend", "map/tiles", "map/tiles/WebMercatorQuad"):
        assert flora.get(f"/ogc/collections/richness/styles/mamga/{path}").status_code == 404
    presence = flora.get("/ogc/collections/species-probability/styles/presence/map", params={"properties": "abies-alba"})
    assert len(np.unique(picture(presence).reshape(-1, 4), axis=0)) == 3


def test_lambda_is_where_presence_begins(flora):
    """The map is that of the WMS with the same lambda, the tile that of XYZ, the legend names it; without one the sets count."""
    style = "/ogc/collections/species-probability/styles/presence"
    box = "2549000,4099000,2556000,4111000"
    wms = {"SERVICE": "WMS", "VERSION": "1.3.0", "REQUEST": "GetMap", "LAYERS": "species.abies-alba", "STYLES": "presence", "BBOX": box}
    wms |= {"CRS": "EPSG:3035", "WIDTH": "120", "HEIGHT": "80", "FORMAT": "image/png", "TRANSPARENT": "TRUE"}
    asked = {"properties": "abies-alba"}
    maps, legends = set(), set()
    for text in ("set", "0.2", "0.7"):
        told = flora.get(
            f"{style}/map", params={**asked, "bbox": box, "bbox-crs": LAEA, "crs": LAEA, "width": 120, "height": 80, "lambda": text}
        )
        assert picture(told).shape and told.content == flora.get("/wms", params={**wms, "DIM_LAMBDA": text}).content
        tile = flora.get(f"{style}/map/tiles/WebMercatorQuad/10/364/532", params={**asked, "lambda": text})
        assert tile.content == flora.get("/tiles/species.abies-alba/10/532/364.png", params={"style": "presence", "lambda": text}).content
        maps.add(told.content)
        legends.add(flora.get(f"{style}/legend", params={**asked, "lambda": text}).content)
    assert len(maps) == len(legends) == 3
    for wrong in ("2", "-1", "nan", ""):
        assert flora.get(f"{style}/map", params={**asked, "lambda": wrong}).status_code == 400


def test_a_tile_is_that_of_the_other_facades(flora):
    """The tile of WebMercatorQuad is the XYZ tile of the same place, row before column; its neighbours show other places."""
    z, x, y = 10, 532, 364
    tile = flora.get(f"/ogc/collections/richness/map/tiles/WebMercatorQuad/{z}/{y}/{x}")
    assert tile.content == flora.get(f"/tiles/richness/{z}/{x}/{y}.png").content and picture(tile)[..., 3].any()
    again = flora.get(f"/ogc/collections/richness/map/tiles/WebMercatorQuad/{z}/{y}/{x}", headers={"If-None-Match": tile.headers["etag"]})
    assert again.status_code == 304 and not again.content
    assert flora.get(f"/ogc/collections/richness/styles/magma/map/tiles/WebMercatorQuad/{z}/{y}/{x}").content != tile.content


@pytest.mark.parametrize("name", ["WebMercatorQuad", "EuropeanETRS89_LAEAQuad"])
def test_the_limits_hold_all_that_is_drawn(flora, name):
    """Tiles inside the limits of a matrix show something, those around them nothing; the set says where tiles lie."""
    told = flora.get(f"/ogc/collections/richness/map/tiles/{name}").json()
    shown = next(one for one in told["tileMatrixSetLimits"] if one["maxTileCol"] - one["minTileCol"] == 1)
    first, last = shown["minTileCol"], shown["maxTileCol"]

    def drawn(row: int, col: int) -> bool:
        return bool(picture(flora.get(f"/ogc/collections/richness/map/tiles/{name}/{shown['tileMatrix']}/{row}/{col}"))[..., 3].any())

    rows = range(shown["minTileRow"], shown["maxTileRow"] + 1)
    assert all(any(drawn(row, col) for row in rows) for col in range(first, last + 1))
    assert not any(drawn(row, col) for row in rows for col in (first - 1, last + 1))
    scheme = next(link["href"] for link in told["links"] if link["rel"].endswith("tiling-scheme"))
    matrices = {one["id"]: one for one in flora.get(scheme).json()["tileMatrices"]}
    assert matrices["3"]["matrixWidth"] == 8 and matrices["3"]["cellSize"] == pytest.approx(matrices["0"]["cellSize"] / 8)


@pytest.mark.parametrize(
    ("path", "query", "status", "says"),
    [
        ("species-probability/map", {}, 400, "choose it with properties"),
        ("species-probability/map", {"properties": "abies-albu"}, 400, "abies-alba"),
        ("richness/map", {"width": 5000}, 400, "up to 4096"),
        ("richness/map", {"bbox": "-120,10,-110,20", "crs": LAEA}, 400, "no image"),
        ("richness/map", {"crs": "http://www.opengis.net/def/crs/EPSG/0/2056"}, 400, "not offered"),
        ("richness/map", {"f": "svg"}, 400, "not offered"),
        ("richness/map", {"bgcolor": "red"}, 400, "malformed"),
        ("richness/map", {"datetime": "yesterday"}, 400, "datetime"),
        ("richness/map", {"datetime": "2021-13-40"}, 400, "datetime"),
        ("richness/map", {"scenario": "colder"}, 400, "scenario"),
        ("richness/map", {"sld": "http://127.0.0.1/"}, 400, "not known"),
        ("tiles/map", {}, 404, "not found"),
        ("richness/map/tiles/WorldCRS84Quad", {}, 404, "not served"),
        ("richness/map/tiles/WebMercatorQuad/99/0/0", {}, 404, "tile matrix"),
        ("richness/map/tiles/WebMercatorQuad/3/8/0", {}, 404, "out of range"),
        ("richness/map/tiles/WebMercatorQuad/3/one/0", {}, 400, "whole number"),
    ],
)
def test_faults_say_what_to_do(flora, path, query, status, says):
    """A wrong request is refused in words."""
    answer = flora.get(f"/ogc/collections/{path}", params=query)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]


# ---- coverages at another size


def test_a_coverage_comes_at_the_size_asked_for(flora):
    """scale-factor and scale-size give so many cells over the same area; values are those of the field there."""
    base = "/ogc/collections/species-probability/coverage"
    query = {"properties": "abies-alba", "subset": "x(4100000:4108000),y(2551000:2553000)"}
    told = flora.get(base, params={**query, "scale-factor": "2"}).json()
    assert told["ranges"]["abies-alba"]["shape"] == [10, 40]
    x = np.linspace(told["domain"]["axes"]["x"]["start"], told["domain"]["axes"]["x"]["stop"], 40)
    assert x[0] == 4_100_100 and x[-1] == 4_107_900
    values = np.array(told["ranges"]["abies-alba"]["values"], float).reshape(10, 40)
    np.testing.assert_allclose(values, np.tile((x - 4_100_000) / 10_000, (10, 1)), atol=0.003)
    assert flora.get(base, params={**query, "scale-size": "x(7),y(3)"}).json()["ranges"]["abies-alba"]["shape"] == [3, 7]
    for wrong in (
        {"scale-size": "x(7),x(3)"},
        {"scale-size": "x(7),y(3)", "scale-factor": "2"},
        {"scale-size": "x(9000),y(9000)"},
        {"scale-factor": "0"},
    ):
        assert flora.get(base, params={**query, **wrong}).status_code == 400, wrong


def test_species_on_demand_are_stored_with_their_scale(flora):
    """A species without a raster of its own: the GeoTIFF's numbers times its scale are the values of the CoverageJSON."""
    from rasterio.io import MemoryFile

    query = {"properties": "abies-alba,gentiana-lutea", "subset": "x(4103000:4104000),y(2551000:2552000)"}
    told = flora.get("/ogc/collections/species-probability/coverage", params=query).json()
    answer = flora.get("/ogc/collections/species-probability/coverage", params={**query, "f": "GTiff"})
    with MemoryFile(answer.content) as memory, memory.open(driver="GTiff") as raster:
        assert raster.descriptions == ("abies-alba", "gentiana-lutea") and raster.dtypes == ("uint16", "uint16")
        for band, name in enumerate(raster.descriptions, start=1):
            values = np.array(told["ranges"][name]["values"]).reshape(10, 10)
            np.testing.assert_allclose(raster.read(band) * raster.scales[band - 1], values, atol=1e-6)
            assert 0.05 < values.mean() < 0.5
