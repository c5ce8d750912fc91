"""The Web Map Service as clients see it: OWSLib over a network, both versions, and the XML itself."""

from __future__ import annotations

from io import BytesIO
from xml.etree import ElementTree as ET

import httpx
import numpy as np
import pytest
from owslib.wms import WebMapService as Client
from PIL import Image

from geoplantnet.serving.capabilities import MAX_LAYERS
from geoplantnet.serving.crs import CRSS, transformer
from geoplantnet.serving.styles import palette

WMS = "{http://www.opengis.net/wms}"
OGC = "{http://www.opengis.net/ogc}"
MAP = {
    "SERVICE": "WMS",
    "VERSION": "1.3.0",
    "REQUEST": "GetMap",
    "LAYERS": "habitat",
    "STYLES": "",
    "CRS": "EPSG:3035",
    "BBOX": "2550000,4100000,2600000,4150000",
    "WIDTH": "100",
    "HEIGHT": "100",
    "FORMAT": "image/png",
}
GRASSLAND, WOODLAND = (0xA6, 0xDB, 0xA0), (0x1B, 0x78, 0x37)
# Points of the area (easting, northing) and what the habitat map shows there.
PLACES = {
    (4_105_000, 2_597_500): GRASSLAND,
    (4_105_000, 2_590_000): WOODLAND,
    (4_115_000, 2_597_500): WOODLAND,
    (4_140_000, 2_560_000): None,
}


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)).convert("RGBA"))


def error(answer: httpx.Response) -> tuple[int, str | None, str]:
    """Status, code and text of a ServiceExceptionReport."""
    report = ET.fromstring(answer.text)
    assert report.tag == f"{OGC}ServiceExceptionReport" and answer.headers["content-type"].startswith("text/xml")
    (exception,) = report
    return answer.status_code, exception.get("code"), exception.text or ""


@pytest.mark.parametrize("version", ["1.3.0", "1.1.1"])
@pytest.mark.parametrize("crs", ["EPSG:3035", "EPSG:3857", "EPSG:4326"])
def test_a_client_sees_every_place_where_it_is(server, version, crs):
    """OWSLib, told only the version, gets a map whose pixels lie where the data lie: axis order is right in both versions."""
    wms = Client(f"{server}/wms", version=version)
    places = {transformer("EPSG:3035", crs).transform(*place): color for place, color in PLACES.items()}
    xs, ys = zip(*(transformer("EPSG:3035", crs).transform(x, y) for x in (4_100_000, 4_150_000) for y in (2_550_000, 2_600_000)))
    box = (min(xs), min(ys), max(xs), max(ys))
    image = wms.getmap(layers=["habitat"], styles=[""], srs=crs, bbox=box, size=(300, 200), format="image/png", transparent=True)
    shown = pixels(image.read())
    west, south, east, north = box
    for (x, y), color in places.items():
        red, green, blue, alpha = shown[int((north - y) / (north - south) * 200), int((x - west) / (east - west) * 300)]
        assert (alpha == 0) if color is None else ((red, green, blue) == color and alpha == 255)


@pytest.mark.parametrize("version", ["1.3.0", "1.1.1"])
def test_capabilities_tell_the_catalog(server, catalog, version):
    """OWSLib finds every layer with its title, style, legend, geographic box and operations."""
    wms = Client(f"{server}/wms", version=version)
    assert set(wms.contents) == set(catalog.layers)
    assert wms.identification.title == catalog.title and "Predicted" in wms.identification.abstract
    layer = wms["richness"]
    assert layer.title == "Species richness" and layer.queryable and layer.parent.title == "Ecosystem"
    assert layer.boundingBoxWGS84 == pytest.approx((7.1245, 46.0248, 7.7933, 46.4902), abs=1e-3)
    legend = httpx.get(layer.styles["default"]["legend"])
    assert Image.open(BytesIO(legend.content)).format == "PNG"
    assert {"GetMap", "GetFeatureInfo"} <= {operation.name for operation in wms.operations}
    assert {"EPSG:3035", "EPSG:3857", "EPSG:4326"} <= set(layer.crsOptions)


def test_boxes_of_capabilities_follow_the_axes_of_their_crs(client, catalog):
    """In 1.3.0 EPSG:3035 and EPSG:4326 give northing or latitude first, EPSG:3857 and CRS:84 easting or longitude."""
    root = ET.fromstring(client.get("/wms?SERVICE=WMS&REQUEST=GetCapabilities").content)
    boxes = {b.get("CRS"): [float(b.get(k) or "nan") for k in ("minx", "miny", "maxx", "maxy")] for b in root.iter(f"{WMS}BoundingBox")}
    assert boxes["EPSG:3035"] == [2_550_000, 4_100_000, 2_600_000, 4_150_000]
    assert boxes["EPSG:4326"][0] == pytest.approx(46.02, abs=0.02) and boxes["CRS:84"][0] == pytest.approx(7.12, abs=0.02)
    assert boxes["EPSG:3857"][0] < boxes["EPSG:3857"][1]
    assert set(boxes) == set(CRSS)


SEQUENCES = {  # the order of children in the schema of WMS 1.3.0
    "Service": "Name Title Abstract KeywordList OnlineResource ContactInformation Fees AccessConstraints LayerLimit MaxWidth MaxHeight",
    "Capability": "Request Exception Layer",
    "Request": "GetCapabilities GetMap GetFeatureInfo GetLegendGraphic",
    "GetMap": "Format DCPType",
    "Layer": "Name Title Abstract KeywordList CRS EX_GeographicBoundingBox BoundingBox Dimension Attribution AuthorityURL Identifier MetadataURL"
    " DataURL FeatureListURL Style MinScaleDenominator MaxScaleDenominator Layer",
    "EX_GeographicBoundingBox": "westBoundLongitude eastBoundLongitude southBoundLatitude northBoundLatitude",
    "Style": "Name Title Abstract LegendURL StyleSheetURL StyleURL",
    "LegendURL": "Format OnlineResource",
    "Attribution": "Title OnlineResource LogoURL",
}


def test_capabilities_keep_the_order_of_the_schema(client):
    """Every element's children come in the sequence the schema of WMS 1.3.0 fixes; sizes of legends are those of their pictures."""
    root = ET.fromstring(client.get("/wms?SERVICE=WMS&REQUEST=GetCapabilities").content)
    assert root.tag == f"{WMS}WMS_Capabilities" and root.get("version") == "1.3.0"
    for element in root.iter():
        name = element.tag.split("}")[1]
        if name in SEQUENCES:
            order = SEQUENCES[name].split()
            places = [order.index(child.tag.split("}")[1]) for child in element]
            assert places == sorted(places), name
    for link in root.iter(f"{WMS}LegendURL"):
        href = link.find(f"{WMS}OnlineResource").get("{http://www.w3.org/1999/xlink}href")
        width, height = Image.open(BytesIO(client.get(href).content)).size
        assert (width, height) == (int(link.get("width")), int(link.get("height")))


def test_text_of_the_catalog_is_escaped(client):
    """Signs that mean something in XML arrive as they were written."""
    text = client.get("/wms?SERVICE=WMS&REQUEST=GetCapabilities").text
    assert "the makers of &lt;this&gt; map &amp; others" in text


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("", "1.3.0"), ("1.3.0", "1.3.0"), ("1.4.0", "1.3.0"), ("1.2.0", "1.1.1"), ("1.1.1", "1.1.1"), ("1.0.0", "1.1.1")],
)
def test_versions_are_negotiated(client, asked, answered):
    """GetCapabilities answers the version asked, the next lower one, or the lowest (WMS 1.3.0, 6.2.4)."""
    answer = client.get("/wms", params={"SERVICE": "WMS", "REQUEST": "GetCapabilities", "VERSION": asked})
    assert ET.fromstring(answer.content).get("version") == answered


def test_values_of_a_click_are_those_of_the_source_cell(client, world, mosaic):
    """GetFeatureInfo gives value, unit and class of several layers, whatever the zoom and the CRS of the map."""
    x, y = 4_112_345.0, 2_587_654.0
    for crs, span in (("EPSG:3035", 20_000), ("EPSG:3857", 30_000), ("EPSG:4326", 0.3)):
        px, py = transformer("EPSG:3035", crs).transform(x, y)
        box = (px - span / 3, py - span / 2, px + 2 * span / 3, py + span / 2)  # the point in the middle of pixel (100, 150) of 301 x 301
        i, j = 100, 150
        px, py = box[0] + (i + 0.5) * (box[2] - box[0]) / 301, box[3] - (j + 0.5) * (box[3] - box[1]) / 301
        east, north = transformer(crs, "EPSG:3035").transform(px, py)
        bbox = (box[1], box[0], box[3], box[2]) if CRSS[crs].north_first else box
        wanted = {
            "REQUEST": "GetFeatureInfo",
            "LAYERS": "richness,habitat,species.v003",
            "QUERY_LAYERS": "species.v003,habitat",
            "CRS": crs,
        }
        wanted |= {
            "BBOX": ",".join(map(str, bbox)),
            "WIDTH": "301",
            "HEIGHT": "301",
            "I": str(i),
            "J": str(j),
            "INFO_FORMAT": "application/json",
        }
        answer = client.get("/wms", params=MAP | wanted).json()
        species, habitat = (feature["properties"] for feature in answer["features"])
        assert species["value"] == pytest.approx(mosaic.value_at(mosaic.catalog.layer("species.v003"), east, north))
        told = {"layer": "habitat", "title": "Habitat", "value": 1, "unit": "class", "label": "Woodland"}
        assert habitat == told | {"epoch": "today", "start": "2017-01-01T00:00:00Z", "end": "2021-12-31T00:00:00Z"}
        assert answer["notice"] == world.notice
        assert answer["features"][0]["geometry"]["coordinates"] == pytest.approx(transformer(crs, "CRS:84").transform(px, py))


def test_a_click_in_words(client):
    """Text and HTML name the class, the unit, and where there is no data."""
    ask = MAP | {"REQUEST": "GetFeatureInfo", "LAYERS": "richness,habitat", "QUERY_LAYERS": "richness,habitat", "STYLES": ","}
    text = client.get("/wms", params=ask | {"I": "1", "J": "1", "INFO_FORMAT": "text/plain"}).text
    told = "  map: today, 2017-01-01 to 2021-12-31"
    assert text.splitlines() == ["Predicted, not observed.", "Species richness: 50.155 species", told, "Habitat: Grassland (2)", told]
    page = client.get("/wms", params=ask | {"I": "99", "J": "99", "INFO_FORMAT": "text/html"})
    assert page.headers["content-type"].startswith("text/html") and page.text.count("no data") == 2
    old = client.get(
        "/wms", params=ask | {"VERSION": "1.1.1", "SRS": "EPSG:3035", "BBOX": "4100000,2550000,4150000,2600000", "X": "1", "Y": "1"}
    )
    assert old.json()["features"][1]["properties"]["label"] == "Grassland"


def test_backgrounds_styles_and_stacks(client):
    """Without data a map is white, the colour asked, or transparent; styles change colours; the first layer lies at the bottom."""
    corner = {"BBOX": "2550000,4140000,2560000,4150000", "WIDTH": "5", "HEIGHT": "5"}  # in the hole
    assert (pixels(client.get("/wms", params=MAP | corner).content) == 255).all()
    assert (pixels(client.get("/wms", params=MAP | corner | {"BGCOLOR": "0x102030"}).content) == (16, 32, 48, 255)).all()
    assert (pixels(client.get("/wms", params=MAP | corner | {"TRANSPARENT": "TRUE"}).content)[..., 3] == 0).all()
    magma = pixels(client.get("/wms", params=MAP | {"LAYERS": "richness", "STYLES": "magma"}).content)
    assert (magma[10, 10, :3] == palette("magma"), palette("magma"))[0].all(axis=1).any()
    both = pixels(client.get("/wms", params=MAP | {"LAYERS": "richness,habitat", "STYLES": "", "TRANSPARENT": "TRUE"}).content)
    alone = pixels(client.get("/wms", params=MAP | {"TRANSPARENT": "TRUE"}).content)
    assert (both[alone[..., 3] == 255] == alone[alone[..., 3] == 255]).all()
    assert (both[99, 99] == (255, 255, 255, 0)).all()


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"LAYERS": "habitats"}, 404, "LayerNotDefined"),
        ({"LAYERS": ""}, 400, "MissingParameterValue"),
        ({"LAYERS": ",".join(["habitat"] * (MAX_LAYERS + 1))}, 400, "InvalidParameterValue"),
        ({"STYLES": "sepia"}, 400, "StyleNotDefined"),
        ({"STYLES": "viridis"}, 400, "StyleNotDefined"),
        ({"STYLES": ","}, 400, "InvalidParameterValue"),
        ({"CRS": "EPSG:2056"}, 400, "InvalidCRS"),
        ({"CRS": "file:///etc/passwd"}, 400, "InvalidCRS"),
        ({"FORMAT": "image/tiff"}, 400, "InvalidFormat"),
        ({"FORMAT": None}, 400, "MissingParameterValue"),
        ({"VERSION": None}, 400, "MissingParameterValue"),
        ({"VERSION": "2.0.0"}, 400, "InvalidParameterValue"),
        ({"BBOX": "1,2,3"}, 400, "InvalidParameterValue"),
        ({"BBOX": "nan,0,1,1"}, 400, "InvalidParameterValue"),
        ({"BBOX": "0,0,inf,1"}, 400, "InvalidParameterValue"),
        ({"BBOX": "-1e308,-1e308,1e308,1e308"}, 400, "InvalidParameterValue"),
        ({"BBOX": "2600000,4100000,2550000,4150000"}, 400, "InvalidParameterValue"),
        ({"WIDTH": "0"}, 400, "InvalidParameterValue"),
        ({"WIDTH": "-5"}, 400, "InvalidParameterValue"),
        ({"WIDTH": "4097"}, 400, "InvalidParameterValue"),
        ({"WIDTH": "99999999999999999999"}, 400, "InvalidParameterValue"),
        ({"HEIGHT": "1e3"}, 400, "InvalidParameterValue"),
        ({"BGCOLOR": "red"}, 400, "InvalidParameterValue"),
        ({"TRANSPARENT": "perhaps"}, 400, "InvalidParameterValue"),
        ({"REQUEST": "GetTile"}, 400, "OperationNotSupported"),
        ({"REQUEST": None}, 400, "MissingParameterValue"),
        ({"SERVICE": "WFS"}, 400, "InvalidParameterValue"),
        ({"SLD_BODY": "<x/>"}, 400, "OperationNotSupported"),
        ({"SLD": "http://example.org/a.sld"}, 400, "OperationNotSupported"),
        ({"REQUEST": "GetFeatureInfo", "QUERY_LAYERS": "richness", "I": "1", "J": "1"}, 404, "LayerNotDefined"),
        ({"REQUEST": "GetFeatureInfo", "QUERY_LAYERS": "habitat", "I": "100", "J": "1"}, 400, "InvalidPoint"),
        ({"REQUEST": "GetFeatureInfo", "QUERY_LAYERS": "habitat", "I": "one", "J": "1"}, 400, "InvalidPoint"),
        ({"REQUEST": "GetFeatureInfo", "QUERY_LAYERS": "habitat", "I": "1", "J": "1", "INFO_FORMAT": "text/x"}, 400, "InvalidFormat"),
        ({"REQUEST": "GetLegendGraphic", "LAYER": "nothing"}, 404, "LayerNotDefined"),
    ],
)
def test_a_fault_has_its_code(client, change, status, code):
    """What is wrong is told as a ServiceException with the right code and status, in one sentence without inner workings."""
    asked = {name: value for name, value in (MAP | change).items() if value is not None}
    got, said, text = error(client.get("/wms", params=asked))
    assert (got, said) == (status, code)
    assert text and "Traceback" not in text and len(text) < 1000


def test_faults_of_1_1_1_speak_1_1_1(client):
    """The older version has its own media type and calls a CRS an SRS."""
    answer = client.get("/wms", params=MAP | {"VERSION": "1.1.1", "SRS": "EPSG:1"})
    assert answer.headers["content-type"].startswith("application/vnd.ogc.se_xml")
    assert ET.fromstring(answer.text)[0].get("code") == "InvalidSRS"


def test_names_of_parameters_have_no_case_and_values_no_second_life(client):
    """``layers`` is LAYERS; the same given twice is refused unless both say the same."""
    lower = client.get("/wms", params={name.lower(): value for name, value in MAP.items()})
    assert lower.content == client.get("/wms", params=MAP).content
    assert client.get("/wms", params=[*MAP.items(), ("layers", "habitat")]).status_code == 200
    assert error(client.get("/wms", params=[*MAP.items(), ("layers", "richness")]))[:2] == (400, "InvalidParameterValue")


def test_maps_are_cached_by_the_catalog_s_version(client):
    """A map has an ETag that the same request gets again, in any order of parameters; who holds it gets 304 and no bytes."""
    first = client.get("/wms", params=MAP)
    tag = first.headers["etag"]
    again = client.get("/wms", params=dict(reversed(MAP.items())), headers={"If-None-Match": tag})
    assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == tag
    other = client.get("/wms", params=MAP | {"WIDTH": "101"}, headers={"If-None-Match": tag})
    assert other.status_code == 200 and other.headers["etag"] != tag and "max-age" in other.headers["cache-control"]
    assert "etag" not in client.get("/wms", params=MAP | {"LAYERS": "x"}).headers


def test_only_get_is_served(client):
    """POST is not."""
    assert client.post("/wms", data=MAP).status_code == 405
