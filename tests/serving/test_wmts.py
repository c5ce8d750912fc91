"""WMTS and XYZ as clients see them: documents, where pixels lie, seams, caching, faults, and who waits for whom."""

from __future__ import annotations

import asyncio
import json
import re
import struct
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote
from xml.etree import ElementTree as ET

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from PIL import Image

from geoplantnet.serving import create_app, legend
from geoplantnet.serving.atlas import Atlas, open_atlas
from geoplantnet.serving.cache import NotHeld, held_only, takes_time
from geoplantnet.serving.capabilities import extents
from geoplantnet.serving.crs import transformer
from geoplantnet.serving.styles import colors, styles_of
from geoplantnet.serving.tilematrix import TILE_MATRIX_SETS, tile_bounds
from geoplantnet.serving.tiles import Asked, Endpoint, Pyramid, XyzTiles
from geoplantnet.serving.wms import Answer
from geoplantnet.serving.wmts import WebMapTileService
from tests.serving.test_species_maps import publish

SCHEMAS = Path(__file__).parents[1] / "data" / "ogc"
WMTS, OWS, XLINK = "{http://www.opengis.net/wmts/1.0}", "{http://www.opengis.net/ows/1.1}", "{http://www.w3.org/1999/xlink}"
MERCATOR, LAEA = "WebMercatorQuad", "EuropeanETRS89_LAEAQuad"
CAPABILITIES = "/wmts/1.0.0/WMTSCapabilities.xml"
YEAR = "public, max-age=31536000, immutable"


def pixels(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(picture)).convert("RGBA"))


def valid(document: bytes) -> None:
    """Fail unless the document is valid by the schema of WMTS 1.0.0, or of OWS 1.1 for an ExceptionReport."""
    found = etree.fromstring(document)
    file = "ows/1.1.0/owsExceptionReport.xsd" if found.tag.endswith("ExceptionReport") else "wmts/1.0/wmtsGetCapabilities_response.xsd"
    etree.XMLSchema(etree.parse(SCHEMAS / file, etree.XMLParser(no_network=True))).assertValid(found)


def fault(answer: httpx.Response) -> tuple[int, str | None, str | None, str]:
    """Status, code, locator and text of an ExceptionReport."""
    valid(answer.content)
    assert answer.headers["content-type"].startswith("text/xml") and answer.headers["cache-control"] == "no-store"
    (exception,) = ET.fromstring(answer.text)
    return answer.status_code, exception.get("exceptionCode"), exception.get("locator"), exception[0].text or ""


def path_of(name: str, bounds: tuple[float, ...], matrix: str) -> tuple[str, int, int]:
    """Matrix, row and column of the tile in the middle of a box."""
    tiles = TILE_MATRIX_SETS[name]
    (limits,) = [one for one in tiles.limits(bounds) if one.matrix.id == matrix]
    return matrix, (limits.min_row + limits.max_row) // 2, (limits.min_col + limits.max_col) // 2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with species drawn on demand, and a scenario."""
    store = publish(tmp_path_factory.mktemp("species"))
    publish(store / "scenarios" / "warmer", start=2050, shift=1.0)
    return store


@pytest.fixture
def warming(root: Path) -> Iterator[Atlas]:
    atlas = open_atlas(root)
    yield atlas
    atlas.close()


@pytest.fixture
def ask(warming: Atlas) -> Callable[..., Answer]:
    """Ask the WMTS (or the tiles, for a path below /tiles) over `warming` without a server."""
    pyramid = Pyramid(warming)
    services = {"wmts": WebMapTileService(pyramid).answer, "tiles": XyzTiles(pyramid).answer}
    return lambda url, **query: services[url.split("/")[1]](asked(url.split("/", 2)[2], **query))


def asked(path: str, *, etag: str = "", **query: str) -> Asked:
    return Asked(path=path, query=tuple(query.items()), etag=etag, public_url=lambda: "http://maps.test", note_layer=lambda layer: None)


# ---- documents


def test_capabilities_are_valid_and_tell_every_layer(client, catalog):
    """By parameters or by path the document is the same, valid by the schema, with the catalog's layers, styles, legends and limits."""
    document = client.get(CAPABILITIES)
    assert document.content == client.get("/wmts?service=WMTS&request=GetCapabilities&AcceptVersions=1.0.0").content
    valid(document.content)
    contents = ET.fromstring(document.content).find(f"{WMTS}Contents")
    layers = {layer.findtext(f"{OWS}Identifier"): layer for layer in contents.findall(f"{WMTS}Layer")}
    assert list(layers) == list(catalog.layers)
    for name, layer in layers.items():
        assert tuple(style.findtext(f"{OWS}Identifier") for style in layer.findall(f"{WMTS}Style")) == styles_of(catalog.layer(name))
        for link in layer.findall(f"{WMTS}TileMatrixSetLink"):
            of = TILE_MATRIX_SETS[link.findtext(f"{WMTS}TileMatrixSet")].limits(
                extents(catalog)[{MERCATOR: "EPSG:3857", LAEA: "EPSG:3035"}[link.findtext(f"{WMTS}TileMatrixSet")]]
            )
            told = {limit[0].text: tuple(int(one.text) for one in limit[1:]) for limit in link.iter(f"{WMTS}TileMatrixLimits")}
            assert told and all(
                told[one.matrix.id] == (one.min_row, one.max_row, one.min_col, one.max_col) for one in of if one.matrix.id in told
            )
    legend = layers["richness"].find(f"{WMTS}Style[{OWS}Identifier='magma']/{WMTS}LegendURL")
    picture = client.get(legend.get(f"{XLINK}href"))
    assert Image.open(BytesIO(picture.content)).size == (int(legend.get("width")), int(legend.get("height")))
    assert picture.headers["cache-control"] == YEAR


def test_corners_are_in_the_order_of_the_crs(client):
    """The matrices of EPSG:3035 begin north, then west; those of EPSG:3857 west, then north; so do the bounding boxes."""
    root = ET.fromstring(client.get(CAPABILITIES).content)
    corners = {}
    for tiles in root.iter(f"{WMTS}TileMatrixSet"):
        if len(tiles):
            corners[tiles.findtext(f"{OWS}SupportedCRS")] = {one.text for one in tiles.iter(f"{WMTS}TopLeftCorner")}
    assert corners == {
        "urn:ogc:def:crs:EPSG::3035": {"5500000.0 2000000.0"},
        "urn:ogc:def:crs:EPSG::3857": {"-20037508.342789244 20037508.342789244"},
    }
    boxes = {box.get("crs"): box[0].text for box in root.find(f".//{WMTS}Layer").findall(f"{OWS}BoundingBox")}
    assert boxes["urn:ogc:def:crs:EPSG::3035"] == "2550000.000 4100000.000"


def test_every_template_leads_somewhere(client):
    """Each ResourceURL of each layer, filled in, gives an image or values of the format it tells, for a year."""
    root = ET.fromstring(client.get(CAPABILITIES).content)
    matrix, row, col = path_of(LAEA, (4_100_000, 2_550_000, 4_150_000, 2_600_000), "8")
    words = {"Style": "default", "TileMatrixSet": LAEA, "TileMatrix": matrix, "TileRow": row, "TileCol": col, "I": 9, "J": 8}
    kinds = set()
    for resource in root.iter(f"{WMTS}ResourceURL"):
        answer = client.get(re.sub(r"{(\w+)}", lambda name: str(words[name[1]]), resource.get("template")))
        assert (answer.status_code, answer.headers["cache-control"]) == (200, YEAR)
        assert answer.headers["content-type"].split(";")[0] == resource.get("format")
        kinds.add(resource.get("format"))
    assert kinds == {"image/png", "image/webp", "image/jpeg", "application/json", "application/vnd.ogc.gml", "text/plain", "text/html"}


def test_dimensions_are_of_layers_with_epochs(ask):
    """Where a scenario shows a layer, too, it has Time and Scenario: in capabilities, by parameters, in paths, and each picks its epoch."""
    document = ask("/wmts/1.0.0/WMTSCapabilities.xml").body
    valid(document)
    (layer,) = ET.fromstring(document).iter(f"{WMTS}Layer")
    values = {one.findtext(f"{OWS}Identifier"): [v.text for v in one.findall(f"{WMTS}Value")] for one in layer.iter(f"{WMTS}Dimension")}
    assert values == {"Time": ["default", "2017-01-01", "2050-01-01"], "Scenario": ["default", "today", "warmer"]}
    assert "{Style}/{Time}/{Scenario}/{TileMatrixSet}" in layer.find(f"{WMTS}ResourceURL").get("template")
    matrix, row, col = path_of(LAEA, (4_100_000, 2_575_000, 4_125_000, 2_600_000), "9")
    place = f"{LAEA}/{matrix}/{row}/{col}"
    head = "/wmts/1.0.0/species.v001/default"
    today = ask(f"{head}/{place}.png").body
    warmer = ask(f"{head}/default/warmer/{place}.png").body
    assert today != warmer
    for words, picture in {
        "default/default": today, "{Time}/{Scenario}": today, "2018/default": today, "2050-01-01/default": warmer, "2050-01-01/today": today, "2017-01-01/warmer": warmer,
    }.items():  # fmt: skip
        assert ask(f"{head}/{words}/{place}.png").body == picture, words
    matrix_words = {"TILEMATRIXSET": LAEA, "TILEMATRIX": matrix, "TILEROW": str(row), "TILECOL": str(col)}
    query = {
        "SERVICE": "WMTS",
        "VERSION": "1.0.0",
        "REQUEST": "GetTile",
        "LAYER": "species.v001",
        "STYLE": "",
        "FORMAT": "image/png",
    } | matrix_words
    for words, picture in (
        ({}, today),
        ({"SCENARIO": "warmer"}, warmer),
        ({"TIME": "2051"}, warmer),
        ({"time": "2051", "scenario": "default"}, warmer),
    ):
        assert ask("/wmts/", **query, **words).body == picture
    info = json.loads(ask(f"{head}/default/warmer/{place}/30/200.json").body)["features"][0]["properties"]["value"]
    less = json.loads(ask(f"{head}/{place}/30/200.json").body)["features"][0]["properties"]["value"]
    assert info > less > 0


def test_a_species_has_a_service_of_its_own(ask, warming):
    """It is not listed, is drawn all the same, and its own capabilities are valid and hold nothing else."""
    assert b"species.v001" not in ask("/wmts/1.0.0/WMTSCapabilities.xml").body
    by_path, by_words = (
        ask("/wmts/species/v001/1.0.0/WMTSCapabilities.xml"),
        ask("/wmts/species/v001", SERVICE="WMTS", REQUEST="GetCapabilities"),
    )
    assert by_path.body == by_words.body
    valid(by_path.body)
    (layer,) = ET.fromstring(by_path.body).iter(f"{WMTS}Layer")
    assert layer.findtext(f"{OWS}Identifier") == "species.v001" and layer.findtext(f"{OWS}Title") == "Abies alba (silver fir)"
    assert [s.findtext(f"{OWS}Identifier") for s in layer.findall(f"{WMTS}Style")] == list(styles_of(warming.layer("species.v001")))
    missing = ask("/wmts/species/v01/1.0.0/WMTSCapabilities.xml")
    assert missing.status == 404 and b"v001" in missing.body
    valid(missing.body)


def test_tilejson_leads_to_the_tiles(client, catalog):
    """TileJSON 3.0 says where and how far; its URL, filled in, is a tile of the style that was asked for, kept for a year."""
    told = client.get("/tiles/richness.json", params={"style": "magma"}).json()
    assert told["tilejson"] == "3.0.0" and told["name"] == "Species richness" and (told["minzoom"], told["maxzoom"]) == (0, 16)
    assert told["bounds"] == pytest.approx(extents(catalog)["CRS:84"], abs=1e-5)
    assert told["attribution"] == "the makers of &lt;this&gt; map &amp; others"
    z, row, col = path_of(MERCATOR, extents(catalog)["EPSG:3857"], "10")
    (template,) = told["tiles"]
    tile = client.get(template.replace("{z}", z).replace("{x}", str(col)).replace("{y}", str(row)))
    assert tile.status_code == 200 and tile.headers["cache-control"] == YEAR and tile.headers["access-control-allow-origin"] == "*"
    assert tile.content == client.get(f"/tiles/richness/{z}/{col}/{row}.png?style=magma").content
    assert tile.content != client.get(f"/tiles/richness/{z}/{col}/{row}.png").content
    assert Image.open(BytesIO(client.get(told["legend_url"]).content)).format == "PNG"


def test_lambda_draws_the_line_of_presence(ask, warming):
    """Of a species, `lambda` is the probability above which it counts as present; the set rule stands without it."""
    z, row, col = path_of(MERCATOR, extents(warming.catalog)["EPSG:3857"], "10")
    url = f"/tiles/species.v001/{z}/{col}/{row}.png"
    share = [
        (pixels(ask(url, style="presence", **{"lambda": text}).body)[..., :3] == (0x0B, 0x6E, 0x3B)).all(axis=-1).mean()
        for text in ("0", "0.2", "0.5", "0.9", "1")
    ]
    assert share == sorted(share, reverse=True) and share[0] > share[2] > share[-1] == 0
    assert ask(url, style="presence").body == ask(url, style="presence", **{"lambda": "set"}).body


def test_the_wmts_draws_by_lambda_and_tells_by_it(ask, warming):
    """By parameters under both names, and behind a path, the tile is the XYZ tile of that lambda; one that is none is named; tags differ."""
    z, row, col = path_of(MERCATOR, extents(warming.catalog)["EPSG:3857"], "10")
    query = {
        "SERVICE": "WMTS",
        "REQUEST": "GetTile",
        "VERSION": "1.0.0",
        "LAYER": "species.v001",
        "STYLE": "presence",
        "FORMAT": "image/png",
    }
    query |= {"TILEMATRIXSET": MERCATOR, "TILEMATRIX": z, "TILEROW": str(row), "TILECOL": str(col)}
    path = f"/wmts/1.0.0/species.v001/presence/{MERCATOR}/{z}/{row}/{col}.png"
    by_set = ask("/wmts/", **query)
    for text in ("0.1", "0.5"):
        wanted = ask(f"/tiles/species.v001/{z}/{col}/{row}.png", style="presence", **{"lambda": text}).body
        for name in ("LAMBDA", "DIM_LAMBDA", "lambda"):
            assert ask("/wmts/", **query, **{name: text}).body == ask(path, **{name: text}).body == wanted != by_set.body
    assert ask(path).body == by_set.body
    j, i = np.argwhere(pixels(by_set.body)[..., 3])[0]
    told = [ask(path.replace(".png", f"/{j}/{i}.json"), LAMBDA=text).body for text in ("0", "1")]
    assert [json.loads(body)["features"][0]["properties"]["present"] for body in told] == [True, False]
    assert len({ask(path, LAMBDA=text).headers["ETag"] for text in ("", "0.1", "0.5")}) == 3
    for answer in (ask("/wmts/", **query, LAMBDA="2"), ask(path, LAMBDA="2")):
        valid(answer.body)
        assert answer.status in (400, 404) and b'locator="Lambda"' in answer.body and b"LAMBDA=" in answer.body


def test_tilejson_tells_the_legend_of_what_it_draws(ask, warming):
    """Its legend is that of the same style, lambda and epoch, byte for byte what is drawn for them, and other words have another."""
    found = set()
    for words in (
        {},
        {"style": "presence"},
        {"style": "presence", "lambda": "0.3", "scenario": "warmer"},
        {"style": "presence", "lambda": "0.7"},
    ):
        told = json.loads(ask("/tiles/species.v001.json", **words).body)
        path, _, query = told["legend_url"].removeprefix("http://maps.test").partition("?")
        picture = ask(path, **dict(parse_qsl(query))).body
        epoch, drawing = Pyramid(warming).drawing(
            "species.v001",
            style=words.get("style", ""),
            scenario=words.get("scenario", ""),
            threshold=float(words["lambda"]) if "lambda" in words else None,
        )
        assert picture == legend.draw(drawing) and told["epoch"] == epoch.name
        found.add(picture)
    assert len(found) == 4


# ---- where pixels lie


@pytest.mark.parametrize(("name", "matrices"), [(MERCATOR, ("11", "12", "14", "16")), (LAEA, ("9", "10", "12", "13"))])
def test_every_pixel_lies_where_it_should(client, world, catalog, name, matrices):
    """At the data's own resolution and finer, every pixel of a tile is the class of the cell at its centre, computed one by one."""
    tiles, table = TILE_MATRIX_SETS[name], np.vstack([[0, 0, 0], colors(catalog.layer("habitat"))])
    index = {0: 0, 1: 1, 2: 2, 7: 3}
    rng = np.random.default_rng(5)
    # the hole, the corner with grassland, the single cell, the outer corner
    for spot in ((4_125_000, 2_575_000), (4_110_000, 2_595_000), (4_120_025, 2_580_025), (4_100_000, 2_600_000)):
        for matrix in matrices:
            x, y = transformer("EPSG:3035", tiles.crs.name).transform(*(np.array(spot) + rng.uniform(-30, 30, 2)))
            (one,) = [one for one in tiles.limits((x, y, x + 1e-3, y + 1e-3)) if one.matrix.id == matrix]
            west, _, east, north = tile_bounds(tiles, matrix, one.min_row, one.min_col)
            shown = pixels(client.get(f"/wmts/1.0.0/habitat/default/{name}/{matrix}/{one.min_row}/{one.min_col}.png").content)
            step = (east - west) / 256
            px, py = np.meshgrid(west + (np.arange(256) + 0.5) * step, north - (np.arange(256) + 0.5) * step)
            truth, sure = None, np.ones((256, 256), bool)
            for dx, dy in (
                (0, 0),
                (-2, -2),
                (2, -2),
                (-2, 2),
                (2, 2),
            ):  # metres: what is nearer to an edge of a cell may fall to either side
                e, n = transformer(tiles.crs.name, "EPSG:3035").transform(px, py)
                e, n = e + dx, n + dy
                found = np.where(world.holds(e, n), world.habitat(e, n), 0)
                truth = found if truth is None else truth
                sure &= found == truth
            expected = table[np.vectorize(index.get)(truth)]
            right = np.where(truth[..., None] == 0, shown[..., 3:] == 0, (shown[..., :3] == expected) & (shown[..., 3:] == 255)).all(
                axis=-1
            )
            assert right[sure].all(), f"{np.count_nonzero(~right & sure)} pixels of {name}/{matrix} at {spot} show another cell"
            assert sure.mean() > 0.8


@pytest.mark.parametrize(("name", "matrix"), [(MERCATOR, "9"), (MERCATOR, "11"), (MERCATOR, "13"), (LAEA, "6"), (LAEA, "9"), (LAEA, "11")])
@pytest.mark.parametrize("layer", ["richness", "habitat"])
def test_neighbouring_tiles_have_no_seams(client, catalog, name, matrix, layer):
    """Nine tiles side by side are, pixel by pixel, the one map the WMS draws of all of them."""
    tiles = TILE_MATRIX_SETS[name]
    _, row, col = path_of(name, extents(catalog)[tiles.crs.name], matrix)
    rows, cols = range(row - 1, row + 2), range(col - 1, col + 2)
    put_together = np.vstack(
        [np.hstack([pixels(client.get(f"/wmts/1.0.0/{layer}/default/{name}/{matrix}/{r}/{c}.png").content) for c in cols]) for r in rows]
    )
    west, _, _, north = tile_bounds(tiles, matrix, rows[0], cols[0])
    _, south, east, _ = tile_bounds(tiles, matrix, rows[-1], cols[-1])
    box = (south, west, north, east) if tiles.crs.north_first else (west, south, east, north)
    query = {"SERVICE": "WMS", "VERSION": "1.3.0", "REQUEST": "GetMap", "LAYERS": layer, "STYLES": "", "CRS": tiles.crs.name}
    query |= {"BBOX": ",".join(map(repr, box)), "WIDTH": "768", "HEIGHT": "768", "FORMAT": "image/png", "TRANSPARENT": "TRUE"}
    whole = pixels(client.get("/wms", params=query).content)
    seen = (put_together[..., 3] == 255) | (whole[..., 3] == 255)
    assert seen.any()
    differ = (put_together != whole).any(axis=-1) & seen
    # the map's rows are worked on in strips, whose nodes are those of the tiles: at most a pixel on the very edge of a cell may differ
    assert differ.mean() < 2e-5


def test_values_under_a_pixel_are_those_of_its_cell(client, world, mosaic):
    """GetFeatureInfo, by parameters and by path, tells the value stored in the cell under the centre of the pixel."""
    for name in (MERCATOR, LAEA):
        tiles = TILE_MATRIX_SETS[name]
        x, y = transformer("EPSG:3035", tiles.crs.name).transform(4_112_345.0, 2_587_654.0)
        (one,) = [one for one in tiles.limits((x, y, x + 1e-3, y + 1e-3)) if one.matrix.id == "10"]
        west, _, east, north = tile_bounds(tiles, "10", one.min_row, one.min_col)
        step = (east - west) / 256
        i, j = int((x - west) / step), int((north - y) / step)
        cell = transformer(tiles.crs.name, "EPSG:3035").transform(west + (i + 0.5) * step, north - (j + 0.5) * step)
        by_path = client.get(f"/wmts/1.0.0/richness/default/{name}/10/{one.min_row}/{one.min_col}/{j}/{i}.json").json()
        query = {"service": "WMTS", "version": "1.0.0", "request": "GetFeatureInfo", "layer": "richness", "style": "default"}
        query |= {"tilematrixset": name, "tilematrix": "10", "tilerow": one.min_row, "tilecol": one.min_col, "format": "image/png"}
        query |= {"infoformat": "application/json", "i": i, "j": j}
        assert client.get("/wmts", params=query).json() == by_path
        value = mosaic.value_at(mosaic.catalog.layer("richness"), *cell)
        assert by_path["features"][0]["properties"]["value"] == pytest.approx(value, rel=1e-6)


# ---- caching


def test_what_is_empty_is_one_small_picture(client):
    """Far away, and in the hole between tiles, a tile is 200, transparent, the same bytes, and fewer than 200 of them."""
    hole, afar = f"/wmts/1.0.0/habitat/default/{LAEA}/11/{_at(4_140_000, 2_560_000, '11')}.png", "/tiles/richness/3/0/0.png"
    first, second = client.get(hole), client.get(afar)
    assert first.status_code == second.status_code == 200
    assert first.content == second.content and len(first.content) < 200 and (pixels(first.content)[..., 3] == 0).all()
    assert struct.unpack(">II", first.content[16:24]) == (256, 256)
    assert Image.open(BytesIO(client.get("/tiles/richness/3/0/0.webp").content)).size == (256, 256)
    assert (pixels(client.get("/tiles/richness/3/0/0.jpg").content) == 255).all()


def _at(easting: float, northing: float, matrix: str) -> str:
    (one,) = [one for one in TILE_MATRIX_SETS[LAEA].limits((easting, northing, easting + 1, northing + 1)) if one.matrix.id == matrix]
    return f"{one.min_row}/{one.min_col}"


@pytest.mark.parametrize("version", [True, False])
def test_urls_with_the_version_last_a_year(client, version):
    """With it they are immutable, without it they are asked for again; the bytes and the ETag are the same; who holds it gets none."""
    own = client.get("/tiles/richness.json").json()["tiles"][0].split("/")[-5]
    part = f"{own}/" if version else ""
    for url in (
        f"/tiles/{part}richness/9/267/181.png",
        f"/wmts/1.0.0/{part}richness/viridis/{LAEA}/8/{_at(4_110_000, 2_590_000, '8')}.png",
    ):
        answer = client.get(url)
        assert answer.headers["cache-control"] == (YEAR if version else "public, max-age=300, must-revalidate")
        tag = answer.headers["etag"]
        assert re.fullmatch(r'"[0-9a-f]{32}"', tag) and tag == client.get(url.replace(part, "")).headers["etag"]
        for held in (tag, f'"other", {tag}', f"W/{tag}"):
            again = client.get(url, headers={"If-None-Match": held})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
            assert again.headers["cache-control"] == answer.headers["cache-control"]
        assert client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
        assert "etag" not in client.get(url.replace("richness", "richnes")).headers


def test_a_version_that_is_gone_is_said_to_be_gone(client):
    """Of another version a tile is 410 (a 404 some clients take for an empty tile), with what to do, whatever the client holds."""
    for url in ("/tiles/v-0123456789ab/richness/9/267/181.png", "/tiles/v-0123456789ab/richness.json"):
        answer = client.get(url)
        assert answer.status_code == 410 and "published anew" in answer.json()["detail"]
    for url in (f"/wmts/1.0.0/v-0123456789ab/richness/default/{LAEA}/8/1/1.png", "/wmts/v-0123456789ab?SERVICE=WMTS&REQUEST=GetTile"):
        status, code, _, text = fault(client.get(url))
        assert (status, code) == (410, "NoApplicableCode") and "capabilities" in text


def test_what_a_client_holds_costs_no_drawing(ask, monkeypatch):
    """304 is answered before anything is looked up, let alone drawn."""
    url = f"/wmts/1.0.0/species.v001/default/{LAEA}/9/{_at(4_110_000, 2_590_000, '9')}.png"
    tags = {url: ask(url).headers["ETag"], "/tiles/species.v001/9/267/181.png": ask("/tiles/species.v001/9/267/181.png").headers["ETag"]}
    for name in ("drawing", "image"):
        monkeypatch.setattr(Pyramid, name, lambda *args, **words: pytest.fail("it was drawn"))
    for url, tag in tags.items():
        answer = ask(url, etag=tag)
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", tag)


def test_published_anew_is_another_etag(root, tmp_path, warming):
    """Another map has other ETags and another version in its URLs."""
    other = open_atlas(publish(tmp_path / "other", shift=2.0))
    tags = {XyzTiles(Pyramid(atlas)).answer(asked("relief/9/267/181.png")).headers["ETag"] for atlas in (warming, other)}
    assert len(tags) == 2 and Pyramid(warming).version != Pyramid(other).version


# ---- who waits for whom


def test_a_tile_is_made_at_once_when_its_data_are_there(warming):
    """The first tile of a species needs files, and says so; the next of the same data is made without a thread, and is the same."""
    tiles = XyzTiles(Pyramid(warming))
    request = asked("species.v001/11/1068/724.png")
    with held_only(), pytest.raises(NotHeld):
        tiles.answer(request)
    cold = tiles.answer(request)
    with held_only():
        warm = tiles.answer(request)
        neighbour = tiles.answer(asked("species.v001/12/2137/1449.png"))
    assert warm.body == cold.body and len(cold.body) > 1000 and neighbour.status == 200
    with held_only(), pytest.raises(NotHeld):
        tiles.answer(asked("species.v002/11/1068/724.png"))


def test_slow_answers_hold_nobody_up():
    """While one answer waits on a thread, another that needs none is given; both arrive whole."""
    release, order = threading.Event(), []

    def answer(request: Asked) -> Answer:
        if request.path == "slow":
            takes_time()
            assert release.wait(10)
        return Answer(request.path.encode(), "text/plain")

    endpoint = Endpoint(lambda scope: answer, lambda request: "http://maps.test")

    async def get(path: str) -> bytes:
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path_params": {"path": path}, "query_string": b"", "headers": []}
        await endpoint(scope, None, send)  # type: ignore[arg-type]
        order.append(path)
        release.set()
        return sent[1]["body"]

    async def both() -> list[bytes]:
        slow = asyncio.create_task(get("slow"))
        await asyncio.sleep(0.05)
        return [await get("quick"), await slow]

    assert asyncio.run(both()) == [b"quick", b"slow"] and order == ["quick", "slow"]


# ---- faults

TILE = {
    "SERVICE": "WMTS",
    "VERSION": "1.0.0",
    "REQUEST": "GetTile",
    "LAYER": "habitat",
    "STYLE": "default",
    "TILEMATRIXSET": LAEA,
    "TILEMATRIX": "8",
    "TILEROW": "165",
    "TILECOL": "119",
    "FORMAT": "image/png",
}
INFO = {"REQUEST": "GetFeatureInfo", "INFOFORMAT": "application/json", "I": "3", "J": "4"}


@pytest.mark.parametrize(
    ("change", "code", "locator"),
    [
        ({"SERVICE": None}, "MissingParameterValue", "SERVICE"),
        ({"SERVICE": "WMS"}, "InvalidParameterValue", "SERVICE"),
        ({"REQUEST": None}, "MissingParameterValue", "REQUEST"),
        ({"REQUEST": "GetMap"}, "InvalidParameterValue", "REQUEST"),
        ({"VERSION": None}, "MissingParameterValue", "VERSION"),
        ({"VERSION": "1.1.0"}, "InvalidParameterValue", "VERSION"),
        ({"REQUEST": "GetCapabilities", "ACCEPTVERSIONS": "2.0.0", "VERSION": None}, "VersionNegotiationFailed", None),
        ({"LAYER": None}, "MissingParameterValue", "LAYER"),
        ({"LAYER": "habitats"}, "InvalidParameterValue", "Layer"),
        ({"STYLE": "viridis"}, "InvalidParameterValue", "Style"),
        ({"FORMAT": None}, "MissingParameterValue", "FORMAT"),
        ({"FORMAT": "image/gif"}, "InvalidParameterValue", "FORMAT"),
        ({"TILEMATRIXSET": "GoogleMapsCompatible"}, "InvalidParameterValue", "TileMatrixSet"),
        ({"TILEMATRIX": "14"}, "InvalidParameterValue", "TileMatrix"),
        ({"TILEMATRIX": None}, "MissingParameterValue", "TILEMATRIX"),
        ({"TILEROW": "256"}, "TileOutOfRange", "TileRow"),
        ({"TILECOL": "-1"}, "TileOutOfRange", "TileCol"),
        ({"TILEROW": "9" * 40}, "TileOutOfRange", "TileRow"),
        ({"TILEROW": "1.5"}, "InvalidParameterValue", "TileRow"),
        ({"TIME": "soon"}, "InvalidParameterValue", "Time"),
        ({"SCENARIO": "warmer"}, "InvalidParameterValue", "Scenario"),
        (INFO | {"I": "256"}, "PointIJOutOfRange", "I"),
        (INFO | {"J": "x"}, "PointIJOutOfRange", "J"),
        (INFO | {"J": None}, "MissingParameterValue", "J"),
        (INFO | {"INFOFORMAT": "text/x"}, "InvalidParameterValue", "INFOFORMAT"),
    ],
)
def test_a_fault_has_its_code_and_place(client, change, code, locator):
    """What is wrong is told in a valid ExceptionReport with the code, the parameter and the status of the standard."""
    query = {name: value for name, value in (TILE | change).items() if value is not None}
    status, told, where, text = fault(client.get("/wmts", params=query))
    assert (status, told, where) == (400, code, locator)
    assert text and "Traceback" not in text and len(text) < 1000


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"habitats/default/{LAEA}/8/165/119.png", "InvalidParameterValue"),
        (f"habitat/viridis/{LAEA}/8/165/119.png", "InvalidParameterValue"),
        (f"habitat/default/{LAEA}/8/256/119.png", "TileOutOfRange"),
        (f"habitat/default/{LAEA}/8/165/119.tif", "InvalidParameterValue"),
        (f"habitat/default/{LAEA}/8/165/119/256/0.json", "PointIJOutOfRange"),
        (f"habitat/default/{LAEA}/8/165/119/1/0.xls", "InvalidParameterValue"),
        (f"habitat/default/2018/today/{LAEA}/8/165/119.png", "InvalidParameterValue"),  # it has no dimensions
        ("habitat/default/Nowhere/8/165/119.png", "InvalidParameterValue"),
        ("habitat/default/legend.jpg", "InvalidParameterValue"),
        ("habitat", "InvalidParameterValue"),
        ("", "InvalidParameterValue"),
        ("species/etc/passwd", "InvalidParameterValue"),
    ],
)
def test_a_path_that_leads_nowhere_is_not_found(client, path, code):
    """404, and why."""
    assert fault(client.get(f"/wmts/1.0.0/{path}"))[:2] == (404, code)


@pytest.mark.parametrize(
    ("url", "status", "word"),
    [
        ("/tiles/richnes/9/267/181.png", 404, "Did you mean 'richness'"),
        ("/tiles/richness/9/512/181.png", 400, "out of range"),
        ("/tiles/richness/17/0/0.png", 400, "0 to 16"),
        ("/tiles/richness/9/267/181.gif", 400, ".webp"),
        ("/tiles/richness/9/267/181", 400, ".png"),
        ("/tiles/richness/9/267/181.png?stile=x", 400, "Did you mean 'style'"),
        ("/tiles/richness/9/267/181.png?style=a&style=b", 400, "more than once"),
        ("/tiles/richness/9/267/181.png?lambda=2", 400, "from 0 to 1"),
        ("/tiles/richness/9/267/181.png?lambda=nan", 400, "from 0 to 1"),
        ("/tiles/richness/9/267/181.png?time=" + "1" * 90, 400, "no time"),
        ("/tiles/richness/9/181.png", 404, "LAYER/Z/X/Y"),
        ("/tiles/", 404, "LAYER/Z/X/Y"),
        ("/tiles/nothing.json", 404, "'nothing'"),
    ],
)
def test_faults_of_tiles_are_problems(client, url, status, word):
    """What is wrong with a tile's URL is told as RFC 9457 has it."""
    answer = client.get(url)
    assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json"
    assert word in answer.json()["detail"]


def test_a_path_never_leaves_the_service(ask):
    """Dots, empty segments and signs of the file system are names like others, and lead nowhere."""
    for path in ("../../etc/passwd", "species.v001/../../x.png", "species.v001//" * 4, "\0/\0/\0/\0/\0/\0.png", "C:\\x", "a/" * 500):
        assert ask(f"/wmts/1.0.0/{path}").status == 404
    assert ask("/wmts/species/../1.0.0/WMTSCapabilities.xml").status == 404


def test_only_get_and_head_are_served(client):
    """POST is refused; HEAD has the headers of GET and no body."""
    url = "/tiles/richness/9/267/181.png"
    assert client.post(url).status_code == 405 and client.post("/wmts").headers["allow"] == "GET, HEAD"
    head, got = client.head(url), client.get(url)
    assert head.status_code == 200 and head.content == b"" and head.headers["content-length"] == str(len(got.content))


def test_urls_are_those_of_the_public_address(store):
    """Behind a proxy, capabilities and TileJSON hand out the address the operator gives."""

    async def get(path: str) -> str:
        transport = httpx.ASGITransport(create_app(store, url="https://maps.example.org/plants"))
        async with httpx.AsyncClient(transport=transport, base_url="http://inside") as inside:
            return (await inside.get(path)).text

    document = asyncio.run(get(CAPABILITIES))
    assert "inside" not in document and document.count("https://maps.example.org/plants/wmts") > 10
    assert json.loads(asyncio.run(get("/tiles/relief.json")))["tiles"][0].startswith("https://maps.example.org/plants/tiles/v-")


NUMBERS = ["nan", "inf", "-1", "0", "1e308", "9" * 400, "1_0", "0x10", "١٢", "1.5", "", " 5", "5\n", "NULL", "165", "119", "%00"]
words = st.one_of(
    st.sampled_from([*NUMBERS, "habitat", "species.v001", "default", "legend.png", LAEA, MERCATOR, "1.0.0", "species", "v-0123456789ab", "12.png", "a.json"]),
    st.text(max_size=20),
).filter(lambda word: word not in (".", ".."))  # fmt: skip  # a client takes those out of a path itself


@given(
    parts=st.lists(words, max_size=11),
    below=st.sampled_from(["/tiles/", "/wmts/", "/wmts/1.0.0/"]),
    query=st.dictionaries(words, words, max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_no_path_breaks_the_server(client, parts, below, query):
    """Whatever stands in a path is answered with 2xx or 4xx, in the form its service promises."""
    path = "/".join(quote(part, safe="", errors="surrogatepass") for part in parts)
    told = "&".join(f"{quote(a, safe='', errors='surrogatepass')}={quote(b, safe='', errors='surrogatepass')}" for a, b in query.items())
    answer = client.get(f"{below}{path}?{told}")
    assert answer.status_code in (200, 400, 404, 410), answer.text
    if answer.status_code != 200:
        assert "Traceback" not in answer.text
        if below.startswith("/wmts"):
            valid(answer.content)


likely = st.one_of(
    st.sampled_from([*NUMBERS, "GetTile", "GetFeatureInfo", "GetCapabilities", "image/webp", LAEA, "relief", "magma", "8"]),
    st.text(max_size=20),
)


@given(
    changes=st.lists(st.tuples(st.sampled_from([*TILE, *INFO, "TIME", "SCENARIO"]), likely), max_size=4),
    absent=st.sets(st.sampled_from([*TILE]), max_size=2),
)
@settings(max_examples=200, deadline=None)
def test_no_parameter_breaks_the_server(client, changes, absent):
    """Malformed, missing and doubled parameters get a tile, values, capabilities, or a valid ExceptionReport with 400."""
    pairs = [(name, value) for name, value in (TILE | INFO).items() if name not in absent] + changes
    told = "&".join(f"{name}={quote(value, safe='', errors='surrogatepass')}" for name, value in pairs)
    answer = client.get(f"/wmts?{told}")
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:
        valid(answer.content)
