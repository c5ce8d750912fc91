"""Whatever is asked, the server answers 2xx, 3xx or 4xx in the form its service promises: never 5xx, never a stack trace."""

from __future__ import annotations

import functools
import gc
import json
import os
import random
from collections import Counter
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qsl, quote
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from PIL import Image

from geoplantnet.serving.render import FORMATS
from geoplantnet.serving.wms import WebMapService
from tests.serving import ogc_schemas

GOOD = {
    "SERVICE": "WMS",
    "VERSION": "1.3.0",
    "REQUEST": "GetMap",
    "LAYERS": "habitat",
    "STYLES": "",
    "CRS": "EPSG:3035",
    "BBOX": "2550000,4100000,2600000,4150000",
    "WIDTH": "16",
    "HEIGHT": "16",
    "FORMAT": "image/png",
    "QUERY_LAYERS": "habitat",
    "INFO_FORMAT": "application/json",
    "I": "3",
    "J": "3",
    "LAYER": "habitat",
}
NUMBERS = ["nan", "inf", "-inf", "-1", "0", "1e308", "-1e-320", "9" * 400, "1_0", "0x10", "١٢", "1.5", "", " 5", "5\n", "NULL", "true"]
numbers = st.one_of(st.sampled_from(NUMBERS), st.floats().map(str), st.integers().map(str))
boxes = st.lists(numbers, min_size=0, max_size=6).map(",".join)
likely = {
    "SERVICE": st.sampled_from(["WMS", "wms", "WFS", ""]),
    "VERSION": st.sampled_from(["1.3.0", "1.1.1", "1.0.0", "9.9.9", "1.3", "a.b.c", "1.3.0.0", "-1.0.0"]),
    "REQUEST": st.sampled_from(["GetMap", "GetCapabilities", "GetFeatureInfo", "GetLegendGraphic", "getmap", "DescribeLayer"]),
    "LAYERS": st.sampled_from(["richness", "species.v001,habitat", "habitat,", ",", "../../etc/passwd", "x" * 5000, "HABITAT", "species"]),
    "STYLES": st.sampled_from(["default", "viridis", ",", ",,", "default,default", "magma_r"]),
    "CRS": st.sampled_from(
        ["EPSG:4326", "epsg:3857", "CRS:84", "EPSG:99999", "EPSG:-1", "+proj=laea +nadgrids=/etc/passwd", "urn:ogc:def:crs:EPSG::3035"]
    ),
    "BBOX": boxes,
    "WIDTH": numbers,
    "HEIGHT": numbers,
    "I": numbers,
    "J": numbers,
    "FORMAT": st.sampled_from(["image/png", "image/png; mode=8bit", "IMAGE/PNG", "image/gif", "text/html"]),
    "INFO_FORMAT": st.sampled_from(["text/plain", "text/html", "application/json", "text/xml"]),
    "TRANSPARENT": st.sampled_from(["TRUE", "true", "1", ""]),
    "BGCOLOR": st.sampled_from(["0xffffff", "#ffffff", "0xgggggg", ""]),
}
values = st.one_of(st.text(max_size=40), st.text(st.characters(max_codepoint=0x1F), max_size=4), numbers)
changes = st.lists(
    st.one_of(
        st.sampled_from(sorted(likely)).flatmap(lambda name: st.tuples(st.just(name), likely[name])),
        st.tuples(st.one_of(st.sampled_from(sorted(GOOD)), st.text(max_size=12)), values),
    ),
    min_size=1,
    max_size=4,
)


def sound(text: str) -> None:
    assert "Traceback" not in text and ".py" not in text and "/tmp" not in text


@given(changes=changes, absent=st.sets(st.sampled_from(sorted(GOOD)), max_size=2), twice=st.booleans())
@settings(max_examples=250, deadline=None)
def test_no_wms_request_breaks_the_server(client, changes, absent, twice):
    """Malformed, missing, doubled, huge and foreign parameters are drawn or refused by a ServiceException."""
    pairs = [(name, value) for name, value in GOOD.items() if name not in absent]
    changed = {name for name, _ in changes}
    pairs = (pairs if twice else [(name, value) for name, value in pairs if name not in changed]) + changes
    query = "&".join(
        f"{quote(name, safe='', errors='surrogatepass')}={quote(value, safe='', errors='surrogatepass')}" for name, value in pairs
    )
    answer = client.get(f"/wms?{query}")
    assert answer.status_code in (200, 400, 404, 414), answer.text[:500]
    if answer.status_code != 200:
        assert ET.fromstring(answer.content).tag.endswith("ServiceExceptionReport")
        sound(answer.text)


@pytest.mark.parametrize("query", ["%", "%ff=%fe", "&&&=&", "a" * 20_000, ";;", "REQUEST=GetMap&%00=1", "\u202e=1", "REQUEST=%f0%28%8c%28"])
def test_no_query_string_breaks_the_server(client, query):
    """Nor do query strings that are none."""
    assert ET.fromstring(client.get(f"/wms?{query}").content).tag.endswith("ServiceExceptionReport")


# ---- ten thousand and more, without the network

MALFORMED = 12_000
GROWTH = 16_000_000
"""Bytes by which the process may grow over all of them: caches fill once, nothing is kept of a request."""

GOOD_REQUESTS = [
    GOOD
    | {"REQUEST": name, "LAYERS": layers, "QUERY_LAYERS": layers, "LAYER": layers.split(",")[0], "VERSION": version}
    | ({"SRS": "EPSG:3035", "X": "3", "Y": "3"} if version == "1.1.1" else {})
    for name in ("GetMap", "GetFeatureInfo", "GetLegendGraphic", "GetCapabilities")
    for layers in ("habitat", "richness,habitat", "species.v001")
    for version in ("1.3.0", "1.1.1")
]
FURTHER = [
    "TIME",
    "ELEVATION",
    "DIM_SCENARIO",
    "DIM_LAMBDA",
    "EXCEPTIONS",
    "UPDATESEQUENCE",
    "LANGUAGE",
    "FEATURE_COUNT",
    "TRANSPARENT",
    "BGCOLOR",
]
FURTHER += ["SLD", "SLD_BODY", "SRS", "X", "Y", "WMTVER", "RULE", "SCALE", "STYLE"]
PLAUSIBLE = {
    "EXCEPTIONS": ["XML", "INIMAGE", "BLANK", "application/vnd.ogc.se_blank", "application/json", "inimage"],
    "VERSION": ["1.0.0", "1.1.1", "1.3.0", "1.3", "9.9.9", "1.1.1.1", "-1.3.0", "01.3.0"],
    "CRS": ["EPSG:4326", "CRS:84", "EPSG:3857", "EPSG:0", "AUTO2:42001,1,0,0", "urn:ogc:def:crs:EPSG::3035", "EPSG:3035,EPSG:4326"],
    "BBOX": [
        "4100000,2550000,4150000,2600000",
        "46,7,47,8",
        "7,46,8,47",
        "2550000,4100000,2600000",
        "0,0,0,0",
        "-1e9,-1e9,1e9,1e9",
        "1,2,3,4,5",
    ],
    "STYLES": ["presence", "uncertainty", "classes", ",", "presence,presence", "DEFAULT", "magma_r"],
    "LAYERS": [
        "species",
        "species.",
        "species.v999",
        "species.v001,species.v002",
        "richness," * 20,
        ",",
        "*",
        "%",
        "richness%00",
        "RICHNESS",
    ],
    "DIM_LAMBDA": ["set", "0.5", "1e-3", "-0", "2", "1/2", "0/1/0", "nan"],
    "TIME": ["2017", "current", "2017/2020", "2017/2020/P1Y", "0001-01-01", "9999-12-31", "10000", "2017-13-01", "P1Y/2017", "-1"],
    "UPDATESEQUENCE": ["0", "9", "~", "2026"],
}
NOISE = [
    "",
    " ",
    "\0",
    "a\0b",
    "%00",
    "%",
    "%zz",
    "%25",
    "\ud800",
    "\U0001f33f" * 20,
    "\u202e",
    "é" * 200,
    "../" * 30,
    "<x>&amp;</x>",
    "]]>",
    "'\"--",
    "\r\nX: y",
    "${jndi:ldap://x}",
    "A" * 70_000,
    "1" * 5000,
    ",",
    ",,,,",
    ";",
    "null",
    "[]",
    "{}",
    "\ufeff",
    "\x7f",
    "\x1b[0m",
    "-",
    "+",
    "e",
    ".",
]


def mutated(random: random.Random) -> list[tuple[str, str]]:
    """A good request with one to four things wrong."""
    pairs = list(random.choice(GOOD_REQUESTS).items())
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(pairs))
        name, value = pairs[place]
        kind = random.randrange(10)
        if kind == 0:
            del pairs[place]
        elif kind == 1:
            pairs.append((random.choice([name, name.lower(), name.title()]), random.choice(NOISE + NUMBERS)))
        elif kind == 2:
            pairs[place] = (name, random.choice(NUMBERS))
        elif kind == 3:
            pairs[place] = (name, random.choice(NOISE))
        elif kind == 4 and value:
            cut = random.randrange(len(value))
            pairs[place] = (name, value[:cut] + random.choice(NOISE + NUMBERS)[:50] + value[cut + random.randrange(2) :])
        elif kind == 5:
            pairs[place] = (random.choice(NOISE), value)
        elif kind == 6:
            pairs[place] = (name, random.choice(pairs)[1])
        elif kind == 7:
            name = random.choice(list(PLAUSIBLE))
            pairs = [(other, old) for other, old in pairs if other != name] + [(name, random.choice(PLAUSIBLE[name]))]
        elif kind == 8:
            pairs.append((random.choice(FURTHER), random.choice(NOISE + NUMBERS)))
        else:
            sides = [random.choice([*NUMBERS, "2550000", "4100000", "2600000", "46", "7"]) for _ in range(random.choice([4, 4, 4, 3, 5]))]
            pairs = [(other, ",".join(sides) if other == "BBOX" else old) for other, old in pairs]
        if not pairs:
            break
    return pairs


def resident() -> int:
    """Bytes of memory the process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@functools.lru_cache(maxsize=64)  # capabilities are asked for again and again
def valid(body: bytes) -> etree._Element:
    return ogc_schemas.validate(body)


def test_twelve_thousand_malformed_requests(epochs_atlas, caplog):
    """None is a fault of the server (5xx): each is answered as asked, or by a valid ServiceException; and memory stays where it was."""
    service = WebMapService(epochs_atlas)
    source = random.Random(42)
    statuses: Counter[int] = Counter()
    before = 0
    for count in range(MALFORMED):
        pairs = mutated(source)
        if count % 3 == 0:  # as they come by a URL: what it cannot hold is lost
            text = "&".join(f"{quote(n, safe='%', errors='replace')}={quote(v, safe='%', errors='replace')}" for n, v in pairs)
            pairs = parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=None)
        small = source.choice(
            [{}, {}, {}, {"species": "v001"}, {"family": "Pinaceae"}, {"species": source.choice(NOISE)}, {"family": source.choice(NOISE)}]
        )
        answer = service.answer(pairs, site="http://maps.example.org", **small)
        statuses[answer.status] += 1
        assert answer.status in (200, 400, 404), pairs
        if answer.media_type in ("text/xml", "application/vnd.ogc.se_xml"):
            root = valid(answer.body)
            assert answer.status == 200 or root.tag.endswith("ServiceExceptionReport"), pairs
            if answer.status != 200:
                sound("".join(root.itertext()))
        elif answer.media_type in FORMATS:
            assert Image.open(BytesIO(answer.body)).get_format_mimetype() == answer.media_type, pairs
        if count == MALFORMED // 4:
            gc.collect()
            before = resident()
    gc.collect()
    assert resident() - before < GROWTH
    assert sum(statuses.values()) == MALFORMED >= 10_000 and min(statuses[status] for status in (200, 400, 404)) > 300, statuses
    assert not [record for record in caplog.records if record.name.startswith("geoplantnet")]  # others complain of a slow machine


OGC_PATHS = [
    "",
    "/conformance",
    "/openapi",
    "/collections",
    "/collections/richness",
    "/collections/nothing",
    "/collections/tiles/items",
    "/collections/species/items",
    "/collections/richness/items",
    "/collections/tiles/items/25kmE4100N2550",
    "/collections/species/items/x",
    "/collections/richness/coverage",
    "/collections/species-probability/coverage",
    "/collections/tiles/coverage",
    "/collections/nothing/coverage",
    "/collections/tiles/queryables",
    "/collections/richness/queryables",
    "/collections/species/schema",
]
ogc_values = {
    "f": st.sampled_from(["json", "html", "jsonld", "csv", "GTiff", "png", ""]),
    "lang": st.sampled_from(["en", "de-CH", "xx;q=9", "../.."]),
    "bbox": st.one_of(boxes, st.sampled_from(["7,46,7.2,46.2", "7,46,0,7.2,46.2,0", "10,46,9,47", "46,7,46.2,7.2"])),
    "bbox-crs": st.sampled_from(
        ["http://www.opengis.net/def/crs/EPSG/0/3035", "http://www.opengis.net/def/crs/OGC/1.3/CRS84", "EPSG:4326", "x"]
    ),
    "crs": st.sampled_from(["http://www.opengis.net/def/crs/EPSG/0/3035", "http://www.opengis.net/def/crs/EPSG/0/1", "EPSG:4326"]),
    "limit": numbers,
    "offset": numbers,
    "datetime": st.sampled_from(["2020-01-01", "../..", "x", "2020-01-01T00:00:00Z/..", "9999999-99-99"]),
    "properties": st.sampled_from(["v001", "v001,v002", "richness", "tile", ",", "nothing"]),
    "sortby": st.sampled_from(["", "+tile", "-x"]),
    "filter": st.sampled_from(["tile = 'x'", "((((", "1=1"]),
    "subset": st.sampled_from(
        ["x(4100000:4101000)", "x(1:2),y(3:4)", "x(a:b)", "Lat(1:2)", "x(5:1)", "x(4100000:4100100),y(2599900:2600000)", "x(.:.)"]
    ),
    "skipGeometry": st.sampled_from(["true", "false", "maybe"]),
    "resulttype": st.sampled_from(["hits", "results", "all"]),
    "q": values,
}


@given(
    path=st.sampled_from(OGC_PATHS),
    query=st.lists(st.sampled_from(sorted(ogc_values)).flatmap(lambda name: st.tuples(st.just(name), ogc_values[name])), max_size=3),
    other=st.lists(st.tuples(st.text(max_size=8), values), max_size=1),
    accept=st.sampled_from(["*/*", "text/html", "application/json", ";;;", "image/png"]),
    language=st.sampled_from(["en", ";;q=x", "zz-ZZ", "*"]),
)
@settings(max_examples=150, deadline=None)
def test_no_ogc_api_request_breaks_the_server(client, path, query, other, accept, language):
    """Malformed parameters of the OGC APIs are answered or refused with 400 or 404, in JSON or HTML."""
    answer = client.get(
        f"/ogc{path}",
        params=[(name, value.encode("utf-8", "surrogatepass")) for name, value in [*query, *other]],
        headers={"Accept": accept, "Accept-Language": language},
    )
    assert answer.status_code in (200, 400, 404), answer.text
    if answer.status_code != 200 and "json" in answer.headers["content-type"]:
        assert json.loads(answer.text)["description"]
        sound(answer.text)


@pytest.mark.parametrize("path", ["/ogc/stac", "/ogc/admin/config", "/ogc/TileMatrixSets", "/ogc/static/css/default.css"])
def test_doors_of_pygeoapi_that_stay_shut(client, path):
    """What runs, writes, lists files or fetches URLs is not there."""
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        assert client.request(method, path, json={}).status_code in (404, 405)


@pytest.mark.parametrize(
    "path", ["/ogc/collections/tiles/items", "/ogc/collections/tiles/items/25kmE4100N2550", "/api/layers", "/stac/catalog.json"]
)
def test_nothing_can_be_written(client, path):
    """Only GET is served."""
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert client.request(method, path, json={}).status_code == 405
