"""Web Map Service 1.3.0 and 1.1.1: GetCapabilities, GetMap, GetFeatureInfo, GetLegendGraphic, by GET.

A query string is parsed to a request object, the request object is answered. The order of axes is decided while
parsing, from version and CRS, and nowhere after: a parsed box is west, south, east, north.

Whatever is wrong is answered by a ServiceExceptionReport (``text/xml``; ``application/vnd.ogc.se_xml`` in 1.1.1) with
HTTP 404 for a layer that does not exist, 400 for any other fault of the request, 503 for "try again" and 500 for a
fault of the server. `geoplantnet.serving.exceptions.FAULTS` says which is which. A map may be asked to show its fault as
an image instead (EXCEPTIONS): then the status is 200, for what shows images shows those of other answers seldom.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from xml.etree import ElementTree as ET

from PIL import Image

from geoplantnet.catalog import Catalog
from geoplantnet.catalog.product import Layer
from geoplantnet.errors import LayerNotFound, RequestError, did_you_mean
from geoplantnet.serving import legend, styles
from geoplantnet.serving.atlas import Atlas, Epoch
from geoplantnet.serving.cache import Cache, NotHeld, takes_time
from geoplantnet.serving.capabilities import MAX_LAYERS, capabilities, update_sequence
from geoplantnet.serving.crs import bounds_of, crs_of
from geoplantnet.serving.dimensions import chosen_epoch, lambda_of
from geoplantnet.serving.exceptions import (
    CurrentUpdateSequence,
    InvalidFormat,
    InvalidParameter,
    InvalidPoint,
    InvalidUpdateSequence,
    MissingParameter,
    OperationNotSupported,
    fault_of,
    shown,
)
from geoplantnet.serving.info import INFO_FORMATS, WRITERS, look
from geoplantnet.serving.languages import language_of, notice_in, told_in
from geoplantnet.serving.offers import Offer, everything, one_family, one_species
from geoplantnet.serving.render import FORMATS, MAX_SIZE, PNG, encode, render
from geoplantnet.serving.styles import Drawing
from geoplantnet.serving.warp import View

VERSIONS = ("1.3.0", "1.1.1")
_COLOR = re.compile(r"0[xX]([0-9a-fA-F]{6})")
_DIGITS = re.compile(r"[+-]?[0-9]{1,9}")
_CACHE = "public, max-age=3600"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_EXCEPTIONS_130 = "http://www.opengis.net/ogc http://schemas.opengis.net/wms/1.3.0/exceptions_1_3_0.xsd"
_EXCEPTIONS_111 = b'<!DOCTYPE ServiceExceptionReport SYSTEM "http://schemas.opengis.net/wms/1.1.1/exception_1_1_1.dtd">\n'


@dataclass(frozen=True)
class Answer:
    """What goes back to the client."""

    body: bytes
    media_type: str
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


class Parameters:
    """The parameters of one request: names in any case, each at most once."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        self._twice: set[str] = set()
        for name, value in pairs:
            key = name.upper()
            if self._values.setdefault(key, value) != value:
                self._twice.add(key)

    def get(self, name: str, default: str = "") -> str:
        """The value, or the default where it is absent. Raises InvalidParameter for one given twice with different values."""
        if name in self._twice:
            raise InvalidParameter(f"{name} is given more than once, with different values; give it once")
        return self._values.get(name, default)

    def need(self, name: str) -> str:
        """The value. Raises MissingParameter where it is absent or empty."""
        value = self.get(name)
        if not value:
            raise MissingParameter(f"{name} is missing; it is mandatory here")
        return value

    def integer(self, name: str) -> int:
        """A whole number. Raises InvalidParameter."""
        text = self.need(name)
        if not _DIGITS.fullmatch(text):
            raise InvalidParameter(f"{name}={shown(text)} is not a whole number")
        return int(text)

    def canonical(self) -> bytes:
        """The same bytes for the same parameters, whatever their order and the case of their names."""
        return repr(sorted(self._values.items())).encode("utf-8", "backslashreplace")


@dataclass(frozen=True, kw_only=True)
class MapRequest:
    """A parsed GetMap, or the map part of GetFeatureInfo."""

    drawn: tuple[tuple[Epoch, Drawing], ...]
    """Layers in their styles, each with its epoch, bottom to top."""
    view: View
    background: tuple[int, int, int] | None
    """None: transparent."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What the answer says beside: a Warning where a value was used that was not asked for."""


class WebMapService:
    """The services over one atlas: that of everything, and small ones of a species or a family."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._sequence = update_sequence(atlas)
        self._operations: dict[str, Callable[[Parameters, str, Offer, str], Answer]] = {
            "GETCAPABILITIES": self._capabilities,
            "GETMAP": self._map,
            "GETFEATUREINFO": self._feature_info,
            "GETLEGENDGRAPHIC": self._legend,
        }
        self._document = lru_cache(maxsize=32)(self._make_document)
        self._everything = everything(atlas)
        self._offers = Cache(_OFFERS)

    @property
    def catalog(self) -> Catalog:
        return self._atlas.catalog

    def answer(self, pairs: Iterable[tuple[str, str]], *, site: str, etag: str = "", species: str = "", family: str = "") -> Answer:
        """Answer a query string's (name, value) pairs; raises nothing but NotHeld, where it would take time within `held_only`.

        `site` is the server's own address, `etag` what the client holds. `species` (a taxon id) or `family` choose the small
        service of one: it lists and answers that alone.
        """
        version = VERSIONS[0]
        query = Parameters(pairs)
        try:
            version = _version(query)
            if query.get("SERVICE", "WMS").upper() != "WMS":
                raise InvalidParameter(f"SERVICE={shown(query.get('SERVICE'))} is not served here; this is a WMS")
            name = query.need("REQUEST")
            operation = self._operations.get(name.upper())
            if operation is None:
                raise OperationNotSupported(
                    f"REQUEST={shown(name)} is not known; use GetCapabilities, GetMap, GetFeatureInfo or GetLegendGraphic"
                )
            offer = self._offer(species, family)
            if operation == self._capabilities:  # holds the URL the client came by: not for caches
                return operation(query, version, offer, site)
            tag = f'"{hashlib.sha256(self._atlas.seal.encode() + query.canonical()).hexdigest()[:32]}"'
            headers = {"ETag": tag, "Cache-Control": _CACHE}
            if tag in etag:  # only an answer without fault ever carried it
                return Answer(b"", "", HTTPStatus.NOT_MODIFIED, headers)
            answer = operation(query, version, offer, site)
            return Answer(answer.body, answer.media_type, answer.status, {**headers, **answer.headers})
        except NotHeld:
            raise
        except Exception as error:
            return _fault_in_image(error, query) or service_exception(error, version)

    def _offer(self, species: str, family: str) -> Offer:
        if species:
            return self._offers.get(("species", species), lambda: one_species(self._atlas, species), lambda offer: 1)
        if family:
            return self._offers.get(("family", family), lambda: one_family(self._atlas, family), lambda offer: len(offer.layers))
        return self._everything

    # ---- the operations

    def _capabilities(self, query: Parameters, version: str, offer: Offer, site: str) -> Answer:
        held = query.get("UPDATESEQUENCE")
        if held == self._sequence:
            raise CurrentUpdateSequence(f"UPDATESEQUENCE={shown(held)} is that of now; the capabilities have not changed")
        if held > self._sequence:
            raise InvalidUpdateSequence(f"UPDATESEQUENCE={shown(held)} is later than that of now, {self._sequence}; leave it out")
        takes_time()
        body = self._document(offer, site, version, language_of(query.get("LANGUAGE")))
        return Answer(body, "text/xml" if version == "1.3.0" else "application/vnd.ogc.wms_xml")

    def _make_document(self, offer: Offer, site: str, version: str, language: str) -> bytes:
        return capabilities(self._atlas, offer, site, version, sequence=self._sequence, language=language)

    def _map(self, query: Parameters, version: str, offer: Offer, site: str) -> Answer:
        wanted = self._map_request(query, version, offer)
        image_format = _format(query.need("FORMAT"), FORMATS)
        drawn = [(epoch.mosaic, drawing) for epoch, drawing in wanted.drawn]
        body = render(drawn, wanted.view, background=wanted.background, format=image_format)
        return Answer(body, image_format, headers=wanted.headers)

    def _feature_info(self, query: Parameters, version: str, offer: Offer, site: str) -> Answer:
        wanted = self._map_request(query, version, offer)
        on_map = {drawing.source.id: (epoch, drawing) for epoch, drawing in wanted.drawn}
        asked = self._layers(query.need("QUERY_LAYERS"), offer)
        for layer in asked:
            if layer.id not in on_map:
                raise LayerNotFound(f"QUERY_LAYERS names {layer.id!r}, which is not among LAYERS; ask only for layers of the map")
        info_format = _format(query.get("INFO_FORMAT") or INFO_FORMATS[0], INFO_FORMATS)
        names = ("I", "J") if version == "1.3.0" else ("X", "Y")
        try:
            i, j = (query.integer(name) for name in names)
        except InvalidParameter as error:
            raise InvalidPoint(str(error)) from None
        if not (0 <= i < wanted.view.width and 0 <= j < wanted.view.height):
            raise InvalidPoint(f"pixel ({i}, {j}) lies outside the map of {wanted.view.width} x {wanted.view.height} pixels")
        x, y = wanted.view.centre(i, j)
        language = language_of(query.get("LANGUAGE"))
        click = look(
            [on_map[layer.id] for layer in asked], wanted.view.crs, x, y, notice=notice_in(self.catalog, language), language=language
        )
        return Answer(WRITERS[info_format](click), info_format, headers=wanted.headers)

    def _legend(self, query: Parameters, version: str, offer: Offer, site: str) -> Answer:
        """The legend has a size of its own: WIDTH, HEIGHT, SCALE and RULE, meant for symbols of vector maps, are left aside."""
        takes_time()
        _refuse_sld(query)
        layer = offer.layer(self._atlas, query.need("LAYER"))
        _format(query.get("FORMAT") or PNG, (PNG,))
        epoch = self._atlas.epoch(layer, time=query.get("TIME"), scenario=query.get("DIM_SCENARIO"))
        told = told_in(self._atlas.shown_by(layer, epoch), language_of(query.get("LANGUAGE")))
        return Answer(legend.draw(styles.drawing(told, query.get("STYLE"), threshold=lambda_of(query.get("DIM_LAMBDA")))), PNG)

    # ---- parsing

    def _map_request(self, query: Parameters, version: str, offer: Offer) -> MapRequest:
        if not query.get("VERSION") and not query.get("WMTVER"):
            raise MissingParameter(f"VERSION is missing; it decides the order of axes, use one of {', '.join(VERSIONS)}")
        _refuse_sld(query)
        layers = self._layers(query.need("LAYERS"), offer)
        names = query.get("STYLES").split(",") if query.get("STYLES") else [""] * len(layers)
        if len(names) != len(layers):
            raise InvalidParameter(f"STYLES names {len(names)} styles for {len(layers)} layers; give one a layer, or leave it empty")
        crs = crs_of(query.need("CRS" if version == "1.3.0" else "SRS"))
        bbox = bounds_of(query.need("BBOX"), north_first=crs.north_first and version == "1.3.0")
        width, height = query.integer("WIDTH"), query.integer("HEIGHT")
        if not (1 <= width <= MAX_SIZE and 1 <= height <= MAX_SIZE):
            raise InvalidParameter(f"a map of {width} x {height} pixels is asked; both sides must lie between 1 and {MAX_SIZE}")
        time, scenario, threshold = query.get("TIME"), query.get("DIM_SCENARIO"), lambda_of(query.get("DIM_LAMBDA"))
        drawn: list[tuple[Epoch, Drawing]] = []
        warnings: list[str] = []
        for layer, name in zip(layers, names, strict=True):
            epoch, told = chosen_epoch(self._atlas, layer, time=time, scenario=scenario)
            drawing = styles.drawing(self._atlas.shown_by(layer, epoch), name, threshold=threshold)
            drawn.append((epoch, drawing))
            warnings += told
        return MapRequest(
            drawn=tuple(drawn),
            view=View(crs=crs, bbox=bbox, width=width, height=height),
            background=_background(query),
            headers={"Warning": ", ".join(dict.fromkeys(warnings))} if warnings else {},
        )

    def _layers(self, text: str, offer: Offer) -> list[Layer]:
        names = text.split(",")
        if len(names) > MAX_LAYERS:
            raise InvalidParameter(f"{len(names)} layers are asked at once, at most {MAX_LAYERS} are drawn")
        return [offer.layer(self._atlas, name) for name in names]


def service_exception(error: Exception, version: str = VERSIONS[0]) -> Answer:
    """An error as a ServiceExceptionReport of the asked version."""
    fault, message = fault_of(error)
    new = version == "1.3.0"
    code = "InvalidSRS" if fault.code == "InvalidCRS" and not new else fault.code
    namespaces = {"xmlns": "http://www.opengis.net/ogc", "xmlns:xsi": _XSI, "xsi:schemaLocation": _EXCEPTIONS_130} if new else {}
    report = ET.Element("ServiceExceptionReport", {"version": version, **namespaces})
    exception = ET.SubElement(report, "ServiceException", {} if code == "NoApplicableCode" else {"code": code})
    exception.text = message
    doctype = b"" if new else _EXCEPTIONS_111
    body = b'<?xml version="1.0" encoding="UTF-8"?>\n' + doctype + ET.tostring(report, encoding="utf-8")
    return Answer(body, "text/xml" if new else "application/vnd.ogc.se_xml", fault.status)


def _fault_in_image(error: Exception, query: Parameters) -> Answer | None:
    """The fault of a map as an image of the size and format asked, with its text or blank; None where no image is asked, or none can be made."""
    try:
        kind = _IN_IMAGES.get(query.get("EXCEPTIONS").lower())
        if kind is None or query.get("REQUEST").upper() != "GETMAP":
            return None
        width, height = query.integer("WIDTH"), query.integer("HEIGHT")
        image_format = _format(query.need("FORMAT"), FORMATS)
        background = _background(query)
    except (RequestError, LayerNotFound):
        return None
    fault, message = fault_of(error)
    if not (1 <= width <= MAX_SIZE and 1 <= height <= MAX_SIZE) or fault.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return None
    takes_time()
    canvas = Image.new("RGBA", (width, height), (*(background or (255, 255, 255)), 0 if background is None else 255))
    if kind == "INIMAGE":
        legend.note(canvas, f"{fault.code}: {message}")
    return Answer(encode(canvas, image_format), image_format, headers={"Cache-Control": "no-store"})


_OFFERS = 2_000
"""Layers of small services that are kept ready."""
_IN_IMAGES = {
    "inimage": "INIMAGE",
    "application/vnd.ogc.se_inimage": "INIMAGE",
    "blank": "BLANK",
    "application/vnd.ogc.se_blank": "BLANK",
}


def _refuse_sld(query: Parameters) -> None:
    for name in ("SLD", "SLD_BODY"):
        if query.get(name):
            raise OperationNotSupported(f"{name} is not served; choose one of the named styles of the capabilities")


def _version(query: Parameters) -> str:
    """Version negotiation (WMS 1.3.0, 6.2.4) for GetCapabilities; for the other operations the two versions themselves."""
    asked = query.get("VERSION") or query.get("WMTVER")
    if not asked:
        return VERSIONS[0]
    if not re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,3}(\.[0-9]{1,3})?", asked):
        raise InvalidParameter(f"VERSION={shown(asked)} is no version number; use one of {', '.join(VERSIONS)}")
    number = tuple(int(part) for part in asked.split("."))
    answered = "1.3.0" if number >= (1, 3, 0) else "1.1.1"
    negotiable = query.get("REQUEST").upper() not in ("GETMAP", "GETFEATUREINFO")
    if not negotiable and asked not in (*VERSIONS, "1.1.0"):
        raise InvalidParameter(f"VERSION={asked} is not served; use one of {', '.join(VERSIONS)}")
    return answered


def _format(asked: str, offered: tuple[str, ...]) -> str:
    name = asked.split(";")[0].strip().lower()
    if name not in offered:
        raise InvalidFormat(f"format {shown(asked)} is not offered; use {' or '.join(offered)}.{did_you_mean(name[:30], offered)}")
    return name


def _background(query: Parameters) -> tuple[int, int, int] | None:
    transparent = query.get("TRANSPARENT", "FALSE").upper()
    if transparent not in ("TRUE", "FALSE"):
        raise InvalidParameter(f"TRANSPARENT={shown(transparent)} is neither TRUE nor FALSE")
    color = _COLOR.fullmatch(query.get("BGCOLOR", "0xFFFFFF"))
    if color is None:
        raise InvalidParameter(f"BGCOLOR={shown(query.get('BGCOLOR'))} is no colour; write it as 0xRRGGBB")
    if transparent == "TRUE":
        return None
    red, green, blue = bytes.fromhex(color[1])
    return red, green, blue
