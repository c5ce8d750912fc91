"""WMS over several epochs and many species: schemas, dimensions, warnings, small services, faults in images, what a click tells."""

from __future__ import annotations

import dataclasses
import json
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from lxml import etree
from owslib.wms import WebMapService as Client
from PIL import Image

from geoplantnet.catalog.overview import SpeciesOverview
from geoplantnet.errors import LayerNotFound
from geoplantnet.serving.atlas import open_atlas
from geoplantnet.serving.capabilities import capabilities, update_sequence
from geoplantnet.serving.languages import language_of
from geoplantnet.serving.offers import MOST_SPECIES, everything, one_family, one_species
from geoplantnet.serving.wms import WebMapService
from geoplantnet.taxonomy import SpeciesList, Taxon
from tests.serving import epochs, ogc_schemas

WMS = "{http://www.opengis.net/wms}"
SERVICES = ("/wms", "/wms/species/v001", "/wms/family/Pinaceae")
MAP = {
    "SERVICE": "WMS",
    "VERSION": "1.3.0",
    "REQUEST": "GetMap",
    "LAYERS": "richness",
    "STYLES": "",
    "CRS": "EPSG:3035",
    "BBOX": "2550000,4100000,2600000,4150000",
    "WIDTH": "100",
    "HEIGHT": "100",
    "FORMAT": "image/png",
}
CLICK = MAP | {"REQUEST": "GetFeatureInfo", "QUERY_LAYERS": "richness", "I": "30", "J": "70", "INFO_FORMAT": "application/json"}
# the cell below that click
EAST, NORTH = 4_115_275, 2_564_725


def pixels(image: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(image)).convert("RGBA"))


def described(client: httpx.Client, path: str = "/wms", **asked: str) -> etree._Element:
    return ogc_schemas.validate(client.get(path, params={"SERVICE": "WMS", "REQUEST": "GetCapabilities"} | asked).content)


# ---- schemas


@pytest.mark.parametrize("version", ["1.3.0", "1.1.1"])
@pytest.mark.parametrize("language", ["", "fr"])
@pytest.mark.parametrize("path", SERVICES)
def test_capabilities_of_every_service_are_valid(epochs_client, path, version, language):
    """By the OGC's schema of WMS 1.3.0 with SLD 1.1.0, and by the DTD of 1.1.1."""
    root = described(epochs_client, path, VERSION=version, LANGUAGE=language)
    assert root.get("version") == version


@pytest.mark.parametrize("version", ["1.3.0", "1.1.1"])
def test_capabilities_of_a_catalog_without_epochs_are_valid(client, version):
    """So are those of a store without scenarios and species; it declares no dimension."""
    root = described(client, VERSION=version)
    assert not root.xpath("//*[local-name()='Dimension']")


@pytest.mark.parametrize("version", ["1.3.0", "1.1.1"])
@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("/wms", {"LAYERS": "nothing"}),
        ("/wms", {"REQUEST": "<&\x01\ud7ff"}),
        ("/wms", {"CRS": "EPSG:1", "SRS": "EPSG:1"}),
        ("/wms", {"TIME": "x" * 200}),
        ("/wms/species/nobody", {}),
        ("/wms/species/%00..%5C", {}),
        ("/wms/family/Nobodyaceae", {}),
    ],
)
def test_exceptions_are_valid(epochs_client, path, change, version):
    """By the OGC's schema, or DTD, whatever is wrong."""
    answer = epochs_client.get(path, params=MAP | {"VERSION": version, "SRS": "EPSG:3035"} | change)
    assert answer.status_code in (400, 404)
    assert ogc_schemas.validate(answer.content).tag.endswith("ServiceExceptionReport")


def test_a_schema_notices_a_wrong_order(epochs_client):
    """The validation is one: exchanging two elements is found."""
    root = described(epochs_client)
    layer = root.find(f".//{WMS}Layer")
    layer.insert(0, layer.find(f"{WMS}CRS"))
    with pytest.raises(etree.DocumentInvalid):
        ogc_schemas.validate(etree.tostring(root))


# ---- dimensions


def dimensions(root: etree._Element, name: str) -> dict[str, dict[str, str]]:
    layer = root.xpath(f"//*[local-name()='Layer'][*[local-name()='Name']='{name}']")[0]
    return {d.get("name"): dict(d.attrib) | {"": d.text} for d in layer.findall(f"{WMS}Dimension")}


def test_dimensions_are_those_of_the_epochs(epochs_client):
    """Time by the start of each epoch, scenario by name, today the default; change has the scenario alone; a species lambda."""
    root = described(epochs_client)
    of_richness = dimensions(root, "richness")
    assert of_richness["time"] == {
        "name": "time",
        "units": "ISO8601",
        "default": "2017-01-01T00:00:00Z",
        "nearestValue": "1",
        "current": "1",
        "": "2017-01-01T00:00:00Z,2050-01-01T00:00:00Z",
    }
    assert (of_richness["scenario"][""], of_richness["scenario"]["default"]) == ("today,warmer", "today")
    of_change = dimensions(root, "change.gain")
    assert (of_change["time"][""], of_change["scenario"][""], of_change["time"].get("current")) == ("2050-01-01T00:00:00Z", "warmer", None)
    of_species = dimensions(described(epochs_client, "/wms/species/v001"), "species.v001")
    assert of_species["lambda"][""] == "set,0/1/0" and of_species["lambda"]["default"] == "set"


TODAY, WARMER = "2017-01-01T00:00:00Z", "2050-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("asked", "epoch", "warning"),
    [
        ({}, "today", f"99 Default value used: time={TODAY}, 99 Default value used: scenario=today"),
        ({"TIME": TODAY, "DIM_SCENARIO": "today"}, "today", None),
        ({"TIME": "2017", "DIM_SCENARIO": "today"}, "today", None),
        ({"TIME": "current", "DIM_SCENARIO": "today"}, "today", None),
        ({"TIME": "2060-06-01", "DIM_SCENARIO": "warmer"}, "warmer", f"99 Nearest value used: time={WARMER}"),
        ({"TIME": WARMER}, "warmer", "99 Nearest value used: scenario=warmer"),
        ({"DIM_SCENARIO": "warmer"}, "warmer", f"99 Nearest value used: time={WARMER}"),
        ({"TIME": "2049-01-01/2055-01-01"}, "warmer", f"99 Nearest value used: time={WARMER}, 99 Nearest value used: scenario=warmer"),
        ({"LAYERS": "change.gain"}, "warmer", f"99 Default value used: time={WARMER}, 99 Default value used: scenario=warmer"),
    ],
)
def test_a_value_not_asked_for_is_warned_of(epochs_client, asked, epoch, warning):
    """The map is that of the epoch meant; a Warning says which default or nearest value was taken (Annex C.4)."""
    answer = epochs_client.get("/wms", params=MAP | asked)
    layer = asked.get("LAYERS", "richness")
    click = epochs_client.get("/wms", params=CLICK | asked | {"QUERY_LAYERS": layer})
    assert answer.status_code == 200 and answer.headers.get("warning") == click.headers.get("warning") == warning
    (told,) = click.json()["features"]
    assert told["properties"]["epoch"] == epoch
    if layer == "richness":
        assert told["properties"]["value"] == pytest.approx(epochs.richness(EAST, NORTH, epoch == "warmer"))


@pytest.mark.parametrize("asked", [{"TIME": "yesterday"}, {"TIME": f"{TODAY},{WARMER}"}, {"DIM_SCENARIO": "colder"}, {"DIM_LAMBDA": "1.1"}])
@pytest.mark.parametrize("request_name", ["GetMap", "GetFeatureInfo", "GetLegendGraphic"])
def test_a_value_that_is_none_is_refused(epochs_client, asked, request_name):
    """InvalidDimensionValue, with what may be asked."""
    answer = epochs_client.get("/wms", params=CLICK | {"REQUEST": request_name, "LAYER": "richness", "FORMAT": "image/png"} | asked)
    assert ogc_schemas.validate(answer.content)[0].get("code") == "InvalidDimensionValue"


@pytest.mark.parametrize("text", ["nan", "inf", "-0.1", "1_0", "0x1", "1e", "..", "٠", " 0.5", "set "])
def test_what_is_no_probability_is_refused_as_lambda(epochs_client, text):
    """Nor is what other parsers of numbers would let pass."""
    answer = epochs_client.get("/wms", params=MAP | {"LAYERS": "species.v001", "STYLES": "presence", "DIM_LAMBDA": text})
    assert ogc_schemas.validate(answer.content)[0].get("code") == "InvalidDimensionValue"


def test_presence_is_above_lambda(epochs_client):
    """The more lambda asks, the less is present; `set` is what no lambda is; a click says the same as the map."""
    asked = {"LAYERS": "species.v001", "STYLES": "presence", "TRANSPARENT": "TRUE"}
    present = (0x0B, 0x6E, 0x3B)

    def map_of(**more: str) -> np.ndarray:
        return (pixels(epochs_client.get("/wms", params=MAP | asked | more).content)[..., :3] == present).all(-1)

    maps = {p: map_of(DIM_LAMBDA=p) for p in ("0", "0.1", "0.3", "0.6", "1")}
    counts = [m.sum() for m in maps.values()]
    assert counts == sorted(counts, reverse=True) and counts[-1] == 0 and counts[1] > counts[3] > 0
    assert (map_of(DIM_LAMBDA="set") == map_of()).all()
    for p, shown in maps.items():
        for j, i in ((30, 80), (70, 30), (10, 95)):
            click = CLICK | asked | {"QUERY_LAYERS": "species.v001", "I": str(i), "J": str(j), "DIM_LAMBDA": p}
            told = epochs_client.get("/wms", params=click).json()["features"][0]["properties"]
            assert told["present"] == shown[j, i] == (told["value"] > float(p))


# ---- update sequences


def test_update_sequences_are_negotiated(epochs_client, epochs_atlas):
    """Who has those of now is told so; who has older ones gets new ones; a sequence of the future is refused."""
    now = described(epochs_client).get("updateSequence")
    assert now == update_sequence(epochs_atlas)
    ask = {"SERVICE": "WMS", "REQUEST": "GetCapabilities"}
    same = epochs_client.get("/wms", params=ask | {"UPDATESEQUENCE": now})
    assert ogc_schemas.validate(same.content)[0].get("code") == "CurrentUpdateSequence" and same.status_code == 200
    assert described(epochs_client, UPDATESEQUENCE="2001-01-01T00:00:00Z").tag == f"{WMS}WMS_Capabilities"
    later = epochs_client.get("/wms", params=ask | {"UPDATESEQUENCE": "3000-01-01T00:00:00Z"})
    assert ogc_schemas.validate(later.content)[0].get("code") == "InvalidUpdateSequence"


# ---- species


def test_species_are_answered_without_being_listed(epochs_client):
    """The service of everything names none and says where they are; each is drawn by its name, with its styles."""
    root = described(epochs_client)
    names = [name.text for name in root.iter(f"{WMS}Name")]
    assert not [name for name in names if name.startswith("species.")]
    (group,) = [layer for layer in root.iter(f"{WMS}Layer") if layer.findtext(f"{WMS}Title") == "Species (3)"]
    assert group.find(f"{WMS}Name") is None and "/ogc/collections/species" in group.findtext(f"{WMS}Abstract")
    for style in ("", "classes", "presence", "magma"):
        answer = epochs_client.get("/wms", params=MAP | {"LAYERS": "species.v001", "STYLES": style})
        assert len(np.unique(pixels(answer.content).reshape(-1, 4), axis=0)) > 1
    assert epochs_client.get("/ogc/collections/species/items?q=abies").json()["numberMatched"] == 2


@pytest.mark.parametrize(("path", "layers"), [(SERVICES[1], ["species.v001"]), (SERVICES[2], ["species.v001", "species.v003"])])
@pytest.mark.parametrize("version", ["1.3.0", "1.1.1"])
def test_a_small_service_is_a_whole_one(epochs_client, path, layers, version):
    """OWSLib connects to the service of a species or family, finds its layers alone, draws one, clicks on it; others are not there."""
    url = f"{str(epochs_client.base_url).rstrip('/')}{path}"
    wms = Client(url, version=version)
    assert list(wms.contents) == layers
    box = tuple(wms[layers[0]].boundingBoxWGS84)
    kept = {"layers": layers[:1], "styles": ["presence"], "srs": "EPSG:4326", "bbox": box, "size": (60, 40), "format": "image/png"}
    image = wms.getmap(**kept, transparent=True).read()
    assert 0 < (pixels(image)[..., 3] == 0).mean() < 1
    info = wms.getfeatureinfo(**kept, query_layers=layers[:1], info_format="application/vnd.ogc.gml", xy=(10, 30)).read()
    assert etree.fromstring(info).tag.endswith("FeatureCollection")
    legend = httpx.get(wms[layers[0]].styles["presence"]["legend"])
    assert Image.open(BytesIO(legend.content)).format == "PNG"
    other = epochs_client.get(path, params=MAP)
    assert other.status_code == 404 and ogc_schemas.validate(other.content)[0].get("code") == "LayerNotDefined"


def test_a_species_service_names_its_taxon(epochs_client):
    """By the identifier of the checklist, inside the authority the root layer declares; words a search finds are there."""
    root = described(epochs_client, "/wms/species/v001")
    assert [(i.get("authority"), i.text) for i in root.iter(f"{WMS}Identifier")] == [("checklist", "v001")]
    assert [a.get("name") for a in root.iter(f"{WMS}AuthorityURL")] == ["checklist"]
    assert {"Abies alba", "silver fir", "Pinaceae"} <= {k.text for k in root.iter(f"{WMS}Keyword")}
    assert described(epochs_client, "/wms/family/pinaceae").findtext(f".//{WMS}Title").startswith("Pinaceae")


def test_contact_is_the_host_that_the_catalog_names(epochs_client, client):
    """Where the collection names a provider; where it names none there is no such element."""
    assert described(epochs_client).findtext(f".//{WMS}ContactOrganization") == "Plant maps"
    assert described(client).find(f".//{WMS}ContactInformation") is None


@pytest.fixture(scope="module")
def crowded(epochs_store: Path):
    """The atlas with ten thousand species, a thousand of one family."""
    atlas = open_atlas(epochs_store)
    known = atlas.species
    taxa = tuple(
        Taxon(
            taxon_id=f"t{i:05d}",
            scientific_name=f"Genus{i % 700} species{i} subsp. longissima",
            genus=f"Genus{i % 700}",
            family=f"Family{i % 10}aceae",
        )
        for i in range(10_000)
    )
    many: SpeciesOverview = dataclasses.replace(
        known, species=SpeciesList(checklist="many", taxa=taxa), highest=np.full(10_000, 0.5, np.float32)
    )
    atlas.__dict__["species"] = many
    yield atlas
    atlas.close()


@pytest.mark.parametrize("version", ["1.3.0", "1.1.1"])
def test_ten_thousand_species_make_no_capabilities_of_ten_thousand_layers(crowded, version):
    """The document of everything stays below 200 kB and valid; that of a family lists 200 and tells how many it leaves off."""
    sequence = update_sequence(crowded)
    whole = capabilities(crowded, everything(crowded), "https://maps.example.org", version, sequence=sequence)
    assert len(whole) < 200_000 and b"Species (10000)" in whole
    one = capabilities(crowded, one_species(crowded, "t00042"), "https://maps.example.org", version, sequence=sequence)
    assert len(one) < 20_000
    family = one_family(crowded, "Family3aceae")
    assert len(family.layers) == MOST_SPECIES and "800 more are left off" in family.abstract
    document = capabilities(crowded, family, "https://maps.example.org", version, sequence=sequence)
    assert len(document) < 500_000
    for made in (whole, one, document):
        ogc_schemas.validate(made)
    with pytest.raises(LayerNotFound, match="Family3aceae"):
        one_family(crowded, "Family3acae")


# ---- what is said of a cell


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_click_tells_all_there_is(epochs_client, epochs_atlas, language):
    """Value, unit, deviation, area of applicability and epoch of an indicator; class of a habitat; a species; each from its cell."""
    layers = "species.v001,richness,habitat"
    ask = CLICK | {"LAYERS": layers, "QUERY_LAYERS": layers, "STYLES": "", "LANGUAGE": language}
    collection = epochs_client.get("/wms", params=ask).json()
    species, rich, habitat = (feature["properties"] for feature in collection["features"])
    value = epochs.richness(EAST, NORTH)
    assert rich == {
        "layer": "richness",
        "title": "Richesse spécifique" if language == "fr" else "Species richness",
        "value": pytest.approx(value),
        "unit": "species",
        "label": None,
        "uncertainty": pytest.approx(round(value / 0.05) // 10 * 0.05),
        "uncertainty_title": "Richesse spécifique : écart-type" if language == "fr" else "Species richness: standard deviation",
        "uncertainty_unit": "species",
        "applicable": True,
        "epoch": "today",
        "start": TODAY,
        "end": "2021-12-31T00:00:00Z",
    }
    assert habitat["label"] == ("Forêt" if language == "fr" else "Woodland") and "uncertainty" not in habitat
    layer = epochs_atlas.layer("species.v001")
    assert species["value"] == pytest.approx(epochs_atlas.today.mosaic.value_at(layer, EAST, NORTH)) and species["applicable"] is True
    outside = epochs_client.get("/wms", params=ask | {"I": "2"}).json()["features"]
    assert [feature["properties"].get("applicable") for feature in outside] == [False, False, None]


def test_a_click_for_people(epochs_client):
    """HTML is a table without script and style, with the notice; text says the same words."""
    ask = CLICK | {"LAYERS": "richness,habitat", "QUERY_LAYERS": "richness,habitat"}
    page = epochs_client.get("/wms", params=ask | {"INFO_FORMAT": "text/html"}).text
    table = etree.fromstring(page.replace("<!doctype html>", "").replace("<meta charset='utf-8'>", ""))
    rows = [[cell.xpath("string()") for cell in row] for row in table.iter("tr")]
    assert rows[0][0] == "Species richness" and rows[0][1].endswith(" species")
    assert ["model applies here", "yes"] in rows and ["map", "today, 2017-01-01 to 2021-12-31"] in rows
    assert epochs.NOTICE in page and "<script" not in page and "style" not in page
    text = epochs_client.get("/wms", params=ask | {"INFO_FORMAT": "text/plain"}).text
    assert all(f"{name}: {value}" in text for name, value in rows)


def test_a_click_as_gml_is_valid(epochs_client):
    """By the schema of its own namespace; the point is that of the click, in the map's CRS, easting first."""
    schema = etree.XMLSchema(etree.parse(Path(__file__).parents[1] / "data" / "feature_info.xsd"))
    layers = "species.v001,richness,habitat"
    ask = CLICK | {"LAYERS": layers, "QUERY_LAYERS": layers, "STYLES": "presence,,", "INFO_FORMAT": "application/vnd.ogc.gml"}
    root = etree.fromstring(epochs_client.get("/wms", params=ask).content)
    schema.assertValid(root)
    cells = root.findall(".//{*}Cell")
    assert [cell.findtext("{*}layer") for cell in cells] == layers.split(",")
    for cell in cells:
        schema.assertValid(cell)
    east, north = map(float, cells[0].findtext(".//{*}coordinates").split(","))
    assert (east, north) == (4_115_250, 2_564_750) and cells[0].find(".//{*}Point").get("srsName") == "EPSG:3035"
    assert json.loads(cells[1].findtext("{*}value")) == pytest.approx(epochs.richness(EAST, NORTH))


def test_a_click_where_there_is_nothing(epochs_client):
    """Beside the tiles there is no value, no deviation, no area; every format says so."""
    ask = CLICK | {"I": "90", "J": "90"}
    (feature,) = epochs_client.get("/wms", params=ask).json()["features"]
    assert (feature["properties"]["value"], feature["properties"]["uncertainty"]) == (None, None) and "applicable" not in feature[
        "properties"
    ]
    for name in ("text/html", "text/plain"):
        assert "no data" in epochs_client.get("/wms", params=ask | {"INFO_FORMAT": name}).text
    gml = etree.fromstring(epochs_client.get("/wms", params=ask | {"INFO_FORMAT": "application/vnd.ogc.gml"}).content)
    assert gml.find(".//{*}Cell") is not None and gml.find(".//{*}value") is None


@pytest.mark.parametrize("count", ["1", "5", "0", "-1", "many", "9" * 50])
def test_feature_count_is_any_number(epochs_client, count):
    """A layer has one cell below a click, so that any FEATURE_COUNT gives it; what is no positive number counts as 1 (7.4.3.7)."""
    assert len(epochs_client.get("/wms", params=CLICK | {"FEATURE_COUNT": count}).json()["features"]) == 1


# ---- faults in images, formats, legends


@pytest.mark.parametrize("version", ["1.3.0", "1.1.1"])
@pytest.mark.parametrize("format", ["image/png", "image/webp", "image/jpeg"])
def test_a_fault_can_be_an_image(epochs_client, version, format):
    """INIMAGE writes it into a map of the size asked; BLANK gives the background; the names of 1.1.1 do the same."""
    ask = MAP | {"VERSION": version, "SRS": "EPSG:3035", "LAYERS": "nothing", "FORMAT": format, "BGCOLOR": "0x0000FF"}
    for word in ("INIMAGE", "application/vnd.ogc.se_inimage"):
        answer = epochs_client.get("/wms", params=ask | {"EXCEPTIONS": word})
        shown = pixels(answer.content)
        assert answer.headers["content-type"] == format and shown.shape == (100, 100, 4) and answer.headers["cache-control"] == "no-store"
        assert len(np.unique(shown.reshape(-1, 4), axis=0)) > 3
    for word in ("BLANK", "application/vnd.ogc.se_blank"):
        blank = pixels(epochs_client.get("/wms", params=ask | {"EXCEPTIONS": word}).content)
        assert abs(blank[..., :3].astype(int) - (0, 0, 255)).max() <= 3
    clear = pixels(epochs_client.get("/wms", params=ask | {"EXCEPTIONS": "BLANK", "TRANSPARENT": "TRUE"}).content)
    assert (clear == (255, 255, 255, 255) if format == "image/jpeg" else clear[..., 3] == 0).all()


@pytest.mark.parametrize(
    "change", [{"WIDTH": "0"}, {"FORMAT": "image/x"}, {"BGCOLOR": "x"}, {"REQUEST": "GetFeatureInfo"}, {"WIDTH": None}]
)
def test_a_fault_that_fits_no_image_is_told_in_xml(epochs_client, change):
    """Where size, format or background are at fault themselves, or no map is asked for."""
    ask = {name: value for name, value in (MAP | {"LAYERS": "nothing", "EXCEPTIONS": "INIMAGE"} | change).items() if value is not None}
    assert ogc_schemas.validate(epochs_client.get("/wms", params=ask).content).tag.endswith("ServiceExceptionReport")


def test_a_fault_of_the_server_is_not_hidden_in_an_image(epochs_atlas, monkeypatch):
    """Its status is 500 whatever EXCEPTIONS says: a client has to notice."""
    service = WebMapService(epochs_atlas)
    monkeypatch.setattr("geoplantnet.serving.wms.render", lambda *a, **k: 1 / 0)
    answer = service.answer((MAP | {"EXCEPTIONS": "INIMAGE"}).items(), site="http://x")
    assert answer.status == 500 and answer.media_type == "text/xml"


@pytest.mark.parametrize("format", ["image/png", "image/webp", "image/jpeg"])
def test_formats_show_one_map(epochs_client, format):
    """PNG, WebP and JPEG differ by what JPEG loses; transparency is whole in the first two."""
    ask = MAP | {"TRANSPARENT": "TRUE", "STYLES": "uncertainty"}
    png, other = (pixels(epochs_client.get("/wms", params=ask | {"FORMAT": name}).content) for name in ("image/png", format))
    if format == "image/jpeg":
        assert np.abs(png[png[..., 3] == 255].astype(int) - other[png[..., 3] == 255]).mean() < 6
    else:
        assert (png == other)[png[..., 3] == 255].all() and (png[..., 3] == other[..., 3]).all()


def test_every_link_of_the_capabilities_leads_to_what_it_says(epochs_client):
    """Of each service: type and size of what legends, metadata and data links give are as told."""
    for path in SERVICES:
        root = described(epochs_client, path)
        links = root.xpath("//*[local-name()='LegendURL' or local-name()='MetadataURL' or local-name()='DataURL']")
        seen: dict[str, httpx.Response] = {}
        for link in links:
            href = link.find(f"{WMS}OnlineResource").get("{http://www.w3.org/1999/xlink}href")
            answer = seen.setdefault(href, epochs_client.get(href))
            assert answer.headers["content-type"].split(";")[0] == link.findtext(f"{WMS}Format"), href
            if link.get("width"):
                assert Image.open(BytesIO(answer.content)).size == (int(link.get("width")), int(link.get("height"))), href
        styles = root.xpath("//*[local-name()='Layer'][*[local-name()='Name']]/*[local-name()='Style']")
        assert styles and all(style.find(f"{WMS}LegendURL") is not None for style in styles)


def test_legends_follow_language_lambda_and_epoch(epochs_client):
    """A legend in French differs, so does one of a lambda; WIDTH, HEIGHT, RULE and SCALE, meant for symbols, change nothing."""

    def legend(**asked: str) -> bytes:
        answer = epochs_client.get("/wms", params={"SERVICE": "WMS", "REQUEST": "GetLegendGraphic", "FORMAT": "image/png"} | asked)
        assert answer.headers["content-type"] == "image/png"
        return answer.content

    plain = legend(LAYER="richness")
    assert legend(LAYER="richness", WIDTH="20", HEIGHT="-1", RULE="x", SCALE="1e9", VERSION="1.1.1") == plain
    assert legend(LAYER="richness", LANGUAGE="fr") == legend(LAYER="richness", LANGUAGE="fre") != plain
    assert legend(LAYER="richness", LANGUAGE="rm") == plain
    assert legend(LAYER="species.v001", STYLE="presence", DIM_LAMBDA="0.2") != legend(LAYER="species.v001", STYLE="presence")


def test_capabilities_speak_french(epochs_client):
    """Titles and abstracts, as far as they are known; the links ask on in French."""
    wms = Client(f"{str(epochs_client.base_url).rstrip('/')}/wms?LANGUAGE=fr", version="1.3.0")
    assert wms["richness"].title == "Richesse spécifique" and "LANGUAGE=fr" in wms["richness"].styles["default"]["legend"]
    assert wms["change.gain"].title == "Species gained"
    assert [language_of(text) for text in ("fr-CH", "FRE", "", "de", "x" * 999)] == ["fr", "fr", "en", "en", "en"]


def test_what_is_not_shown_is_nowhere(epochs_atlas):
    """Private layers and species are in no capabilities, no family, no count and no suggestion, and have no service."""
    shown = epochs_atlas.showing(lambda layer_id: layer_id not in ("species.v003", "richness"))
    service = WebMapService(shown)
    ask = {"SERVICE": "WMS", "REQUEST": "GetCapabilities"}.items()
    whole, family = (service.answer(ask, site="http://x", family=name).body for name in ("", "Pinaceae"))
    assert b"Species (2)" in whole and b"Richness" not in whole and b"<Name>richness" not in whole
    assert b"1 of 1 species of Pinaceae" in family and b"v003" not in family and b"Picea" not in family
    for name in ("v003", "v03"):
        hidden = service.answer(ask, site="http://x", species=name)
        assert hidden.status == 404 and b"Picea" not in hidden.body
    assert b"v003" not in service.answer((MAP | {"LAYERS": "species.v03"}).items(), site="http://x").body
    assert update_sequence(shown) != update_sequence(epochs_atlas)
