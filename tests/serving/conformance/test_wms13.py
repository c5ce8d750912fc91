"""The assertions of the OGC's WMS 1.3.0 test suite, by id, on all three services over the layers at hand. In our own words; not a certificate."""

from __future__ import annotations

from io import BytesIO

import httpx
import numpy as np
import pytest
from lxml import etree
from PIL import Image

from tests.serving import ogc_schemas
from tests.serving.conformance.suite import asserts

WMS = {"wms": "http://www.opengis.net/wms"}
HREF = "{http://www.w3.org/1999/xlink}href"
MOST = 4096


class Service:
    """A service as the suite sees it: what its capabilities say, and what it answers."""

    def __init__(self, client: httpx.Client, path: str) -> None:
        self.client = client
        self.document = client.get(path, params={"SeRvIcE": "WMS", "ReQuEsT": "GetCapabilities", "VeRsIoN": "1.3.0"})
        self.root = etree.fromstring(self.document.content)
        self.names = self.texts("//wms:Layer/wms:Name")
        self.formats = self.texts("//wms:GetMap/wms:Format")
        self.info_formats = self.texts("//wms:GetFeatureInfo/wms:Format")

    def find(self, path: str) -> list[etree._Element]:
        return self.root.xpath(path, namespaces=WMS)

    def texts(self, path: str) -> list[str]:
        return [element.text for element in self.find(path)]

    def url(self, operation: str) -> str:
        return self.find(f"//wms:{operation}/wms:DCPType/wms:HTTP/wms:Get/wms:OnlineResource")[0].get(HREF)

    def layer(self, name: str) -> etree._Element:
        return self.find(f"//wms:Layer[wms:Name='{name}']")[0]

    def box(self, crs: str = "CRS:84") -> tuple[float, ...]:
        box = self.find(f"/wms:WMS_Capabilities/wms:Capability/wms:Layer/wms:BoundingBox[@CRS='{crs}']")[0]
        return tuple(float(box.get(side)) for side in ("minx", "miny", "maxx", "maxy"))

    def ask(self, operation: str, **parameters: object) -> httpx.Response:
        """One request, its names in mixed case; a parameter of None is left out."""
        query = {"ReQuEsT": operation} | {_mixed(name): str(value) for name, value in parameters.items() if value is not None}
        return self.client.get(self.url(operation), params=query)

    def capabilities(self, **parameters: object) -> httpx.Response:
        return self.ask("GetCapabilities", **{"SERVICE": "WMS", "VERSION": "1.3.0"} | parameters)

    def map(self, **change: object) -> httpx.Response:
        name = self.names[0]
        crs = change.get("CRS", "CRS:84")
        asked: dict[str, object] = {"VERSION": "1.3.0", "LAYERS": name, "STYLES": "", "CRS": crs, "WIDTH": 100, "HEIGHT": 100}
        asked |= {
            "BBOX": ",".join(map(str, self.box(str(crs)))) if crs in self.texts("//wms:CRS") else "0,0,1,1",
            "FORMAT": self.formats[0],
        }
        return self.ask("GetMap", **asked | change)

    def info(self, **change: object) -> httpx.Response:
        asked: dict[str, object] = {"VERSION": "1.3.0", "LAYERS": self.names[0], "STYLES": "", "CRS": "CRS:84", "WIDTH": 100, "HEIGHT": 100}
        asked |= {"BBOX": ",".join(map(str, self.box())), "FORMAT": self.formats[0]}
        asked |= {"QUERY_LAYERS": self.names[0], "INFO_FORMAT": self.info_formats[0], "I": 20, "J": 80}
        return self.ask("GetFeatureInfo", **asked | change)

    def some(self, count: int) -> list[str]:
        """So many layers, the same again where there are not enough."""
        return [self.names[i % len(self.names)] for i in range(count)]


def _mixed(name: str) -> str:
    return "".join(letter.upper() if i % 2 == 0 else letter.lower() for i, letter in enumerate(name))


def media(answer: httpx.Response) -> str:
    return answer.headers["content-type"].split(";")[0].strip()


def code(answer: httpx.Response) -> str | None:
    """The code of a valid exception."""
    assert media(answer) == "text/xml"
    (exception,) = ogc_schemas.validate(answer.content)
    return exception.get("code")


def pixels(answer: httpx.Response) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(answer.content)).convert("RGBA"))


@pytest.fixture(scope="module", params=["/wms", "/wms/species/v001", "/wms/family/Pinaceae"])
def service(request, epochs_client) -> Service:
    return Service(epochs_client, request.param)


# ---- basic service elements


@asserts(
    "basic_elements:negotiate-no-version", "basic_elements:negotiate-basic_elements-version", "basic_elements:negotiate-higher-version"
)
@pytest.mark.parametrize("version", [None, "1.3.0", "100.0.0"])
def test_version_1_3_0_is_negotiated(service, version):
    """Asked without a version, for 1.3.0 or a later one, the answer is 1.3.0."""
    assert etree.fromstring(service.capabilities(VERSION=version).content).get("version") == "1.3.0"


@asserts("basic_elements:negotiate-lower-version")
def test_a_lower_version_is_negotiated(service):
    """Asked for 0.0.0, the answer is not higher than 1.3.0."""
    assert etree.fromstring(service.capabilities(VERSION="0.0.0").content).get("version") <= "1.3.0"


@asserts("basic_elements:escaped-chars")
def test_escaped_characters_are_decoded(service):
    """A request written in hexadecimal escapes is understood."""
    escaped = "".join(f"%{ord(letter):02X}" for letter in "GetCapabilities")
    answer = service.client.get(f"{service.url('GetCapabilities')}REQUEST={escaped}&SERVICE=WMS&VERSION=1.3.0")
    assert etree.fromstring(answer.content).tag.endswith("}WMS_Capabilities")


@asserts("basic_elements:extra-GetCapabilities-param", "basic_elements:extra-GetMap-param", "basic_elements:extra-GetFeatureInfo-param")
def test_parameters_nobody_defined_are_ignored(service):
    """In each of the three operations."""
    assert etree.fromstring(service.capabilities(BOGUS="ignored").content).tag.endswith("}WMS_Capabilities")
    assert media(service.map(BOGUS="ignored")) == service.formats[0]
    assert media(service.info(BOGUS="ignored")) == service.info_formats[0]


# ---- GetCapabilities


@asserts("getcapabilities:each-format", "getcapabilities:no-format", "getcapabilities:invalid-format")
def test_formats_of_capabilities(service):
    """Each that is listed is given; without one, or with one that is none, it is text/xml."""
    for name in service.texts("//wms:GetCapabilities/wms:Format"):
        assert media(service.capabilities(FORMAT=name)) == name
    for name in (None, "invalid"):
        answer = service.capabilities(FORMAT=name)
        assert media(answer) == "text/xml" and etree.fromstring(answer.content).tag.endswith("}WMS_Capabilities")


def shifted(text: str, step: int) -> str:
    """An update sequence moved up or down letter by letter and digit by digit, as the suite does it."""

    def move(letter: str) -> str:
        for first, last in ("AZ", "az", "09"):
            if first <= letter <= last:
                return chr(min(max(ord(letter) + step, ord(first)), ord(last)))
        return letter

    return "".join(map(move, text))


@asserts("getcapabilities:updatesequence-current", "getcapabilities:updatesequence-lower", "getcapabilities:updatesequence-higher")
def test_update_sequences(service):
    """The one of now and a later one are exceptions; an earlier one gives the capabilities."""
    now = service.root.get("updateSequence")
    assert code(service.capabilities(UPDATESEQUENCE=now)) == "CurrentUpdateSequence"
    assert code(service.capabilities(UPDATESEQUENCE=shifted(now, 1))) == "InvalidUpdateSequence"
    assert etree.fromstring(service.capabilities(UPDATESEQUENCE=shifted(now, -1)).content).tag.endswith("}WMS_Capabilities")


@asserts("getcapabilities:normative-schema", "getcapabilities:validate-using-schemaLocation")
def test_capabilities_are_valid_by_the_schema_they_name(service):
    """The schema named is the normative one itself, and the document is valid by it."""
    named = service.root.get("{http://www.w3.org/2001/XMLSchema-instance}schemaLocation").split()
    assert dict(zip(named[::2], named[1::2]))[WMS["wms"]] == "http://schemas.opengis.net/wms/1.3.0/capabilities_1_3_0.xsd"
    ogc_schemas.validate(service.document.content)


@asserts(
    "getcapabilities:capability-onlineresource",
    "getcapabilities:capability-xml-getcapabilities-format",
    "getcapabilities:capability-xml-exception-format",
)
def test_metadata_of_operations(service):
    """Each URL for GET is a prefix, text/xml is a format of the capabilities and XML one of exceptions."""
    for resource in service.find("//wms:Request/*/wms:DCPType/wms:HTTP/wms:Get/wms:OnlineResource"):
        href = resource.get(HREF)
        assert href.endswith("?") or ("?" in href and href.endswith("&"))
    assert "text/xml" in service.texts("//wms:GetCapabilities/wms:Format") and "XML" in service.texts("//wms:Exception/wms:Format")


@asserts(
    "getcapabilities:dataurls",
    "getcapabilities:metadataurls",
    "getcapabilities:style-legendurls",
    "getcapabilities:resource-format",
    "getcapabilities:resource-size",
)
def test_links_give_what_they_say(service):
    """What DataURL, MetadataURL and LegendURL lead to has the type, and a legend the size, that is told."""
    for kind in ("DataURL", "MetadataURL", "LegendURL"):
        links = service.find(f"//wms:{kind}")
        assert links
        for link in links:
            answer = service.client.get(link.find("wms:OnlineResource", WMS).get(HREF))
            assert media(answer) == link.findtext("wms:Format", namespaces=WMS)
            if kind == "LegendURL":
                assert Image.open(BytesIO(answer.content)).size == (int(link.get("width")), int(link.get("height")))


@asserts("getcapabilities:bbox-crs-advertised", "getcapabilities:bbox-present", "getcapabilities:bbox-distinct-crs")
def test_bounding_boxes(service):
    """Every named layer has one or inherits one, in CRS that are offered, each once."""
    for layer in service.find("//wms:Layer[wms:Name]"):
        assert layer.xpath("ancestor-or-self::wms:Layer/wms:BoundingBox", namespaces=WMS)
    for layer in service.find("//wms:Layer[wms:BoundingBox]"):
        boxed = layer.xpath("wms:BoundingBox/@CRS", namespaces=WMS)
        assert set(boxed) <= set(layer.xpath("ancestor-or-self::wms:Layer/wms:CRS/text()", namespaces=WMS)) and len(boxed) == len(
            set(boxed)
        )


@asserts("getcapabilities:crs-present", "getcapabilities:crs-for-all-layers")
def test_crs_of_layers(service):
    """Every named layer has or inherits CRS; what all have, the root layer lists."""
    common = [
        set(layer.xpath("ancestor-or-self::wms:Layer/wms:CRS/text()", namespaces=WMS)) for layer in service.find("//wms:Layer[wms:Name]")
    ]
    assert all(common) and set.intersection(*common) <= set(service.texts("/wms:WMS_Capabilities/wms:Capability/wms:Layer/wms:CRS"))


@asserts("getcapabilities:ex_geobbox-present", "getcapabilities:ex_geobbox-coordinates", "getcapabilities:layer-extents")
def test_geographic_boxes(service):
    """Every named layer has or inherits one; west and south are the lower ends, and the boxes in degrees begin there, in their own order."""
    for layer in service.find("//wms:Layer[wms:Name]"):
        assert layer.xpath("ancestor-or-self::wms:Layer/wms:EX_GeographicBoundingBox", namespaces=WMS)
    west, east, south, north = (float(side.text) for side in service.find("//wms:EX_GeographicBoundingBox")[0])
    assert west < east and south < north
    assert service.box("EPSG:4326")[:2] == (south, west) and service.box("CRS:84")[:2] == (west, south)


@asserts("getcapabilities:authorityurl-unique", "getcapabilities:identifier-matches-authorityurl", "getcapabilities:style-unique")
def test_what_is_inherited_is_not_told_again(service):
    """No layer declares an authority or a style that one above it has, and every identifier is of an authority that is declared."""
    for layer in service.find("//wms:Layer"):
        for path in ("wms:AuthorityURL/@name", "wms:Style/wms:Name/text()"):
            above = layer.xpath(f"ancestor::wms:Layer/{path}", namespaces=WMS)
            assert not set(layer.xpath(path, namespaces=WMS)) & set(above)
        declared = layer.xpath("ancestor-or-self::wms:Layer/wms:AuthorityURL/@name", namespaces=WMS)
        assert set(layer.xpath("wms:Identifier/@authority", namespaces=WMS)) <= set(declared)


@asserts("getcapabilities:dims-time", "getcapabilities:dims-no-redeclarations")
def test_declarations_of_dimensions(service):
    """Time is in ISO8601, and no dimension is declared again with other units."""
    assert {d.get("units") for d in service.find("//wms:Dimension[@name='time']")} == {"ISO8601"}
    for dimension in service.find("//wms:Dimension"):
        assert not dimension.xpath("../ancestor::wms:Layer/wms:Dimension[@name=$name]", name=dimension.get("name"), namespaces=WMS)


# ---- GetMap


@asserts("getmap:bbox-inherited", "getmap:crs-inherited")
def test_a_map_of_an_inherited_box(service):
    """The box and CRS that a layer inherits make a map."""
    assert not service.layer(service.names[0]).findall("wms:BoundingBox", WMS)
    assert media(service.map()) == service.formats[0]


@asserts("getmap:bbox-below-scale")
def test_a_finer_scale_than_recommended_is_no_fault(service):
    """Below MinScaleDenominator there is a map all the same."""
    least = float(service.texts("//wms:MinScaleDenominator")[0])
    west, south, *_ = service.box()
    side = 0.9 * least * 0.00028 * 200 * 360 / (6378137 * 2 * np.pi)
    answer = service.map(BBOX=f"{west},{south},{west + side},{south + side}", WIDTH=200, HEIGHT=200)
    assert media(answer) == service.formats[0]


@asserts("getmap:bbox-minx-gt-maxx", "getmap:bbox-minx-eq-maxx", "getmap:bbox-miny-gt-maxy", "getmap:bbox-miny-eq-maxy")
@pytest.mark.parametrize("box", ["1,0,0,1", "0,0,0,1", "0,1,1,0", "0,0,1,0"])
def test_a_box_without_area_is_a_fault(service, box):
    """Sides that are equal or the wrong way round."""
    assert code(service.map(BBOX=box))


@asserts("getmap:bbox-no-overlap", "getmap:bbox-outside-crs")
@pytest.mark.parametrize("box", ["-170,-80,-160,-70", "-10,90,10,110"])
def test_a_box_where_nothing_is_gives_an_empty_map(service, box):
    """Beside the layers, and beyond the range of the CRS."""
    assert (pixels(service.map(BBOX=box)) == 255).all()


@asserts("getmap:invalid-crs")
def test_an_unknown_crs(service):
    """InvalidCRS."""
    assert code(service.map(CRS="UndefinedCRS")) == "InvalidCRS"


@asserts("getmap:each-crs", "getmap:each-layer-crs-combination", "getmap:each-layer")
def test_every_layer_in_every_crs(service):
    """All combinations make a map."""
    for name in service.names:
        for crs in service.texts("/wms:WMS_Capabilities/wms:Capability/wms:Layer/wms:CRS"):
            answer = service.map(LAYERS=name, CRS=crs)
            assert media(answer) == service.formats[0] and pixels(answer).shape == (100, 100, 4)


@asserts("getmap:exceptions-default", "getmap:exceptions-xml")
@pytest.mark.parametrize("exceptions", [None, "XML"])
def test_exceptions_are_xml(service, exceptions):
    """A valid report of type text/xml, asked for or not."""
    assert code(service.map(LAYERS="NonExistant", EXCEPTIONS=exceptions)) == "LayerNotDefined"


@asserts("getmap:exceptions-inimage-mime", "getmap:exceptions-blank-mime")
@pytest.mark.parametrize("exceptions", ["INIMAGE", "BLANK"])
def test_exceptions_as_images_have_the_format_asked(service, exceptions):
    """Each of the formats."""
    assert exceptions in service.texts("//wms:Exception/wms:Format")
    for name in service.formats:
        assert media(service.map(LAYERS="NonExistant", EXCEPTIONS=exceptions, FORMAT=name)) == name


@asserts("getmap:exceptions-blank-red", "getmap:exceptions-blank-transparent")
def test_blank_exceptions(service):
    """All of the background's colour, or all transparent."""
    red = pixels(service.map(LAYERS="NonExistant", EXCEPTIONS="BLANK", BGCOLOR="0xFF0000"))
    assert (red == (255, 0, 0, 255)).all() and red.shape == (100, 100, 4)
    assert (pixels(service.map(LAYERS="NonExistant", EXCEPTIONS="BLANK", TRANSPARENT="TRUE"))[..., 3] == 0).all()


@asserts("getmap:invalid-format")
def test_an_unknown_format(service):
    """InvalidFormat."""
    assert code(service.map(FORMAT="InvalidFormat")) == "InvalidFormat"


@asserts("getmap:each-format")
def test_each_format(service):
    """The answer has the type asked, and is such an image."""
    for name in service.formats:
        answer = service.map(FORMAT=name)
        assert media(answer) == name and Image.open(BytesIO(answer.content)).get_format_mimetype() == name


@asserts("getmap:two-layers", "getmap:three-layers", "getmap:layerlimit")
def test_several_layers(service):
    """Two, three, and as many as LayerLimit says."""
    for count in (2, 3, int(service.texts("//wms:LayerLimit")[0])):
        assert media(service.map(LAYERS=",".join(service.some(count)))) == service.formats[0]


@asserts("getmap:invalid-layer", "getmap:first-layer-invalid", "getmap:second-layer-invalid")
@pytest.mark.parametrize("layers", ["{}", "{},{layer}", "{layer},{}"])
def test_an_unknown_layer(service, layers):
    """LayerNotDefined, alone or beside one that is known."""
    assert code(service.map(LAYERS=layers.format("NonExistant", layer=service.names[0]))) == "LayerNotDefined"


@asserts("getmap:styles-direct", "getmap:each-style")
def test_each_style(service):
    """Each that a layer declares makes a map of it."""
    for name in service.names:
        for style in service.layer(name).xpath("wms:Style/wms:Name/text()", namespaces=WMS):
            assert media(service.map(LAYERS=name, STYLES=style)) == service.formats[0]


@asserts("getmap:styles-inherited")
def test_an_inherited_style(epochs_client):
    """A palette that the service of a family declares once for all makes a map of each of its layers."""
    family = Service(epochs_client, "/wms/family/Pinaceae")
    (root,) = family.find("/wms:WMS_Capabilities/wms:Capability/wms:Layer")
    inherited = root.xpath("wms:Style/wms:Name/text()", namespaces=WMS)
    assert inherited
    for name in family.names:
        for style in inherited:
            assert media(family.map(LAYERS=name, STYLES=style)) == family.formats[0]


@asserts("getmap:two-styles", "getmap:three-styles", "getmap:styles-some-default")
def test_several_styles(service):
    """A style a layer, some of them left to the default."""
    name = service.names[0]
    style = service.layer(name).xpath("wms:Style/wms:Name/text()", namespaces=WMS)[0]
    for styles in ([style] * 2, [style] * 3, [style, "", style, ""]):
        assert media(service.map(LAYERS=",".join([name] * len(styles)), STYLES=",".join(styles))) == service.formats[0]


@asserts("getmap:invalid-style", "getmap:first-style-invalid", "getmap:second-style-invalid")
@pytest.mark.parametrize("styles", ["UndefinedStyle", "UndefinedStyle,", ",UndefinedStyle"])
def test_an_unknown_style(service, styles):
    """StyleNotDefined, alone or beside one that is known."""
    assert code(service.map(LAYERS=",".join(service.some(styles.count(",") + 1)), STYLES=styles)) == "StyleNotDefined"


@asserts("getmap:styles-default-single-layer", "getmap:styles-default-multiple-layers", "getmap:styles-default-commas")
@pytest.mark.parametrize(("count", "styles"), [(1, ""), (3, ""), (4, ",,,")])
def test_default_styles(service, count, styles):
    """An empty STYLES, or one of commas alone, is the default of all layers."""
    assert media(service.map(LAYERS=",".join(service.some(count)), STYLES=styles)) == service.formats[0]


@asserts("getmap:transparent-default", "getmap:transparent-false")
@pytest.mark.parametrize("transparent", [None, "FALSE"])
def test_maps_are_opaque_unless_asked(service, transparent):
    """Without TRANSPARENT and with FALSE no pixel is transparent."""
    assert (pixels(service.map(TRANSPARENT=transparent))[..., 3] == 255).all()


@asserts("getmap:large-size", "getmap:small-size")
def test_sizes_of_maps(service):
    """Exactly the size asked: 8 x 5, and the largest that is offered."""
    most = [int(service.texts(f"//wms:Max{side}")[0]) for side in ("Width", "Height")]
    assert most == [MOST, MOST]
    for width, height in ((8, 5), most):
        assert Image.open(BytesIO(service.map(WIDTH=width, HEIGHT=height).content)).size == (width, height)


# ---- basic, of which the suite has data of its own


@asserts("basic:gif-or-png", "recommendations:png-getmap-format")
def test_png_is_offered(service):
    """Among the formats of GetMap."""
    assert "image/png" in service.formats


@asserts("basic:bbox-exponential")
def test_boxes_in_exponents(service):
    """Signs, exponents and missing zeros are understood: the map is the same."""
    west, south, east, north = (round(side, 4) for side in service.box())
    written = f"{west * 1e4:.0f}E-4,+{south / 100:.8f}e2,{east * 10:.5f}E-1,.{north * 1e4:06.0f}E+2"
    plain = service.map(BBOX=f"{west},{south},{east},{north}")
    assert media(plain) == service.formats[0] and (pixels(service.map(BBOX=written)) == pixels(plain)).all()


@asserts("basic:bbox-pixel-interpretation")
def test_a_box_goes_around_the_pixels(service):
    """Not through the centres of those at its border: a map of 2 x 2 pixels shows at their centres what a finer map shows there."""
    west, south, east, north = 4_101_000, 2_551_000, 4_121_000, 2_571_000  # within a tile
    box = f"{south},{west},{north},{east}"
    small, large = (pixels(service.map(CRS="EPSG:3035", BBOX=box, WIDTH=n, HEIGHT=n, STYLES="")) for n in (20, 60))
    assert (small == large[1::3, 1::3]).mean() > 0.9
    assert (small[..., :3] != 255).any(-1)[[0, -1]].all() and (small[..., :3] != 255).any(-1)[:, [0, -1]].all()


@asserts("basic:no-bgcolor", "basic:blue-bgcolor", "basic:transparent-true")
def test_backgrounds(service):
    """Where nothing is: white, the colour asked, or transparent."""
    hole = {"CRS": "EPSG:3035", "BBOX": "2550000,4126000,2574000,4150000"}
    assert (pixels(service.map(**hole)) == 255).all()
    assert (pixels(service.map(**hole, BGCOLOR="0x0000FF")) == (0, 0, 255, 255)).all()
    clear = pixels(service.map(TRANSPARENT="TRUE"))
    assert 0 < (clear[..., 3] == 0).sum() < 10_000


@asserts("basic:layer-order")
def test_the_first_layer_lies_at_the_bottom(epochs_client):
    """Of two that cover each other the second is seen."""
    whole = Service(epochs_client, "/wms")
    alone = {name: pixels(whole.map(LAYERS=name)) for name in ("richness", "habitat")}
    assert (alone["richness"] != alone["habitat"]).any()
    for pair in (("richness", "habitat"), ("habitat", "richness")):
        assert (pixels(whole.map(LAYERS=",".join(pair))) == alone[pair[1]]).all()


@asserts("basic:aspect-ratio")
def test_maps_are_stretched_to_their_size(service):
    """Three times the height on the same box: every row three times, as far as finer pixels allow."""
    wide, tall = (pixels(service.map(WIDTH=60, HEIGHT=height)) for height in (60, 180))
    assert (np.abs(tall[1::3].astype(int) - wide) <= 6).mean() > 0.98


@asserts("interactive:exceptions-inimage")
def test_the_message_is_in_the_image(service):
    """Something legible is written: dark pixels of letters, more of them for a longer message."""
    few, many = (pixels(service.map(LAYERS=name, EXCEPTIONS="INIMAGE", WIDTH=300, HEIGHT=300)) for name in ("x", "NonExistant" * 8))
    written = [(image[..., :3] < 128).any(-1).sum() for image in (few, many)]
    assert 200 < written[0] < written[1]


@asserts("interactive:fees-and-access-constraints")
def test_no_fees_and_no_constraints(service):
    """The word for that is none."""
    assert service.texts("//wms:Fees") == service.texts("//wms:AccessConstraints") == ["none"]


# ---- GetFeatureInfo


@asserts("getfeatureinfo:exceptions-default", "getfeatureinfo:exceptions-xml")
@pytest.mark.parametrize("exceptions", [None, "XML"])
def test_exceptions_of_clicks_are_xml(service, exceptions):
    """A valid report of type text/xml."""
    assert code(service.info(LAYERS="UndefinedLayer", QUERY_LAYERS="UndefinedLayer", EXCEPTIONS=exceptions)) == "LayerNotDefined"


@asserts("getfeatureinfo:invalid-info_format")
def test_an_unknown_format_of_clicks(service):
    """InvalidFormat."""
    assert code(service.info(INFO_FORMAT="InvalidInfoFormat")) == "InvalidFormat"


@asserts("getfeatureinfo:each-info_format", "queryable:getfeatureinfo-supported")
def test_each_format_of_clicks(service):
    """The answer has the type asked."""
    assert service.info_formats
    for name in service.info_formats:
        answer = service.info(INFO_FORMAT=name)
        assert media(answer) == name and answer.content


@asserts("getfeatureinfo:invalid-i", "getfeatureinfo:invalid-j")
@pytest.mark.parametrize("point", [{"I": -1}, {"I": 100}, {"I": "x"}, {"J": -1}, {"J": 100}, {"J": "1.5"}])
def test_a_click_beside_the_map(service, point):
    """InvalidPoint."""
    assert code(service.info(**point)) == "InvalidPoint"


@asserts("getfeatureinfo:two-query_layers", "getfeatureinfo:three-query_layers", "getfeatureinfo:less-query_layers")
@pytest.mark.parametrize(("shown", "asked"), [(2, 2), (3, 3), (3, 2)])
def test_clicks_on_several_layers(service, shown, asked):
    """Two, three, and fewer than are shown."""
    layers = service.some(shown)
    answer = service.info(LAYERS=",".join(layers), QUERY_LAYERS=",".join(layers[:asked]))
    assert media(answer) == service.info_formats[0] and len(answer.json()["features"]) == asked


@asserts("getfeatureinfo:invalid-query_layers")
def test_a_click_on_an_unknown_layer(service):
    """LayerNotDefined."""
    assert code(service.info(QUERY_LAYERS="InvalidLayer")) == "LayerNotDefined"


@asserts("getfeatureinfo:each-queryable-layer")
def test_a_click_on_each_layer(service):
    """All that are queryable, and all named ones are."""
    assert all(service.layer(name).get("queryable") == "1" for name in service.names)
    for name in service.names:
        assert media(service.info(LAYERS=name, QUERY_LAYERS=name)) == service.info_formats[0]


@asserts("queryable:feature_count-default", "queryable:feature_count-1")
@pytest.mark.parametrize("count", [None, 1])
def test_fewer_features_are_not_more(service, count):
    """One feature a layer at most, where FEATURE_COUNT is left out or 1, and not more than for 2."""
    few, more = (service.info(FEATURE_COUNT=n).json()["features"] for n in (count, 2))
    assert len(few) == 1 <= len(more)


# ---- time


@asserts("time:time-each-instant")
def test_each_instant_has_its_map(service):
    """Each value of the extent gives a map of its own, and one that differs."""
    values = service.find("//wms:Layer[wms:Name]/wms:Dimension[@name='time']")[0].text.split(",")
    maps = [service.map(TIME=value).content for value in values]
    assert len(values) == 2 == len(set(maps))


@asserts("time:time-current-instant")
def test_current_is_a_time(service):
    """TIME=current gives a map where the dimension declares it."""
    assert service.find("//wms:Layer[wms:Name]/wms:Dimension[@name='time']")[0].get("current") == "1"
    assert service.map(TIME="current").content == service.map().content


@asserts("time:time-default")
def test_the_default_time_is_warned_of(service):
    """A map without TIME is of the default, and its Warning begins with it."""
    default = service.find("//wms:Layer[wms:Name]/wms:Dimension[@name='time']")[0].get("default")
    answer = service.map()
    assert media(answer) == service.formats[0] and answer.headers["warning"].startswith(f"99 Default value used: time={default}")


@asserts("time:time-and-other-layer")
def test_a_layer_with_time_beside_one_without(epochs_client):
    """A TIME is of those that have it; the others are drawn as ever."""
    whole = Service(epochs_client, "/wms")
    assert not whole.layer("relief").findall("wms:Dimension", WMS)
    assert media(whole.map(LAYERS="relief,richness", TIME="2050-01-01T00:00:00Z")) == whole.formats[0]


# ---- recommendations


@asserts("recommendations:service-keywords")
def test_keywords_of_the_service(service):
    """There are some."""
    assert all(service.texts("/wms:WMS_Capabilities/wms:Service/wms:KeywordList/wms:Keyword"))


@asserts("recommendations:service-contact-info")
def test_contact(service):
    """An address, a telephone number or an electronic mail address."""
    assert service.find("//wms:ContactAddress | //wms:ContactVoiceTelephone | //wms:ContactElectronicMailAddress")


@asserts("recommendations:layer-abstracts", "recommendations:layer-keywordlists", "recommendations:metadataurls")
def test_words_of_layers(service):
    """Every named layer has an abstract, keywords and metadata."""
    for layer in service.find("//wms:Layer[wms:Name]"):
        assert all(layer.find(f"wms:{name}", WMS) is not None for name in ("Abstract", "KeywordList", "MetadataURL"))


@asserts("recommendations:layer-crs")
def test_layers_are_offered_in_degrees(service):
    """In CRS:84, EPSG:4326, or both."""
    assert {"CRS:84", "EPSG:4326"} <= set(service.texts("/wms:WMS_Capabilities/wms:Capability/wms:Layer/wms:CRS"))


@asserts("recommendations:dims-no-whitespace", "recommendations:dims-defaults")
def test_names_and_defaults_of_dimensions(service):
    """No white space in names, and a default in each."""
    for dimension in service.find("//wms:Dimension"):
        assert not any(letter.isspace() for letter in dimension.get("name")) and dimension.get("default")
