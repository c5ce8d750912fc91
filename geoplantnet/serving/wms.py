"""Web Map Service 1.3.0 and 1.1.1: GetCapabilities, GetMap, GetFeatureInfo, GetLegendGraphic, by GET.

A query string is parsed to a request object, the request object is answered. The order of axes is decided while
parsing, from version and CRS, and nowhere after: a parsed box is west, south, east, north.

Whatever is wrong is answered by a ServiceExceptionReport (``text/xml``; ``application/vnd.ogc.se_xml`` in 1.1.1) with
HTTP 404 for a layer that does not exist, 400 for any other fault of the request, 503 for "try again" and 500 for a
fault of the server. `geoplantnet.serving.exceptions.FAULTS` says which is which.
"""

from __future__ import annotations

import hashlib
import html
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from xml.etree import ElementTree as ET

from geoplantnet.catalog import Catalog
from geoplantnet.catalog.product import Layer
from geoplantnet.errors import LayerNotFound, did_you_mean
from geoplantnet.serving import legend, styles
from geoplantnet.serving.atlas import Atlas, Epoch
from geoplantnet.serving.capabilities import INFO_FORMATS, MAX_LAYERS, capabilities
from geoplantnet.serving.crs import CRS84, bounds_of, crs_of, transformer
from geoplantnet.serving.exceptions import (
    InvalidFormat,
    InvalidParameter,
    InvalidPoint,
    MissingParameter,
    OperationNotSupported,
    fault_of,
    shown,
)
from geoplantnet.serving.render import FORMATS, MAX_SIZE, PNG, render
from geoplantnet.serving.styles import Drawing
from geoplantnet.serving.warp import View

VERSIONS = ("1.3.0", "1.1.1")
_COLOR = re.compile(r"0[xX]([0-9a-fA-F]{6})")
_DIGITS = re.compile(r"[+-]?[0-9]{1,9}")
_CACHE = "public, max-age=3600"


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


class WebMapService:
    """The service over one catalog."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._operations: dict[str, Callable[[Parameters, str, str], Answer]] = {
            "GETCAPABILITIES": self._capabilities,
            "GETMAP": self._map,
            "GETFEATUREINFO": self._feature_info,
            "GETLEGENDGRAPHIC": self._legend,
        }

    @property
    def catalog(self) -> Catalog:
        return self._atlas.catalog

    def answer(self, pairs: Iterable[tuple[str, str]], *, url: str, etag: str = "") -> Answer:
        """Answer a query string's (name, value) pairs; never raises. `url` is the service's own, `etag` what the client holds."""
        version = VERSIONS[0]
        try:
            query = Parameters(pairs)
            version = _version(query)
            if query.get("SERVICE", "WMS").upper() != "WMS":
                raise InvalidParameter(f"SERVICE={shown(query.get('SERVICE'))} is not served here; this is a WMS")
            name = query.need("REQUEST")
            operation = self._operations.get(name.upper())
            if operation is None:
                raise OperationNotSupported(
                    f"REQUEST={shown(name)} is not known; use GetCapabilities, GetMap, GetFeatureInfo or GetLegendGraphic"
                )
            if operation == self._capabilities:  # holds the URL the client came by: not for caches
                return operation(query, version, url)
            tag = f'"{hashlib.sha256(self._atlas.version.encode() + query.canonical()).hexdigest()[:32]}"'
            headers = {"ETag": tag, "Cache-Control": _CACHE}
            if tag in etag:  # only an answer without fault ever carried it
                return Answer(b"", "", HTTPStatus.NOT_MODIFIED, headers)
            answer = operation(query, version, url)
            return Answer(answer.body, answer.media_type, answer.status, headers)
        except Exception as error:
            return service_exception(error, version)

    # ---- the operations

    def _capabilities(self, query: Parameters, version: str, url: str) -> Answer:
        return Answer(capabilities(self._atlas, url, version), "text/xml" if version == "1.3.0" else "application/vnd.ogc.wms_xml")

    def _map(self, query: Parameters, version: str, url: str) -> Answer:
        wanted = self._map_request(query, version)
        image_format = _format(query.need("FORMAT"), FORMATS)
        drawn = [(epoch.mosaic, drawing) for epoch, drawing in wanted.drawn]
        body = render(drawn, wanted.view, background=wanted.background, format=image_format)
        return Answer(body, image_format)

    def _feature_info(self, query: Parameters, version: str, url: str) -> Answer:
        wanted = self._map_request(query, version)
        on_map = {drawing.source.id: epoch for epoch, drawing in wanted.drawn}
        asked = self._layers(query.need("QUERY_LAYERS"))
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
        return Answer(_INFO_WRITERS[info_format](self._values(wanted, [(on_map[layer.id], layer) for layer in asked], i, j)), info_format)

    def _legend(self, query: Parameters, version: str, url: str) -> Answer:
        layer = self._atlas.layer(query.need("LAYER"))
        _format(query.get("FORMAT") or PNG, (PNG,))
        return Answer(legend.draw(styles.drawing(layer, query.get("STYLE"))), PNG)

    # ---- parsing

    def _map_request(self, query: Parameters, version: str) -> MapRequest:
        if not query.get("VERSION") and not query.get("WMTVER"):
            raise MissingParameter(f"VERSION is missing; it decides the order of axes, use one of {', '.join(VERSIONS)}")
        for name in ("SLD", "SLD_BODY"):
            if query.get(name):
                raise OperationNotSupported(f"{name} is not served; choose one of the named styles of the capabilities")
        layers = self._layers(query.need("LAYERS"))
        names = query.get("STYLES").split(",") if query.get("STYLES") else [""] * len(layers)
        if len(names) != len(layers):
            raise InvalidParameter(f"STYLES names {len(names)} styles for {len(layers)} layers; give one a layer, or leave it empty")
        crs = crs_of(query.need("CRS" if version == "1.3.0" else "SRS"))
        bbox = bounds_of(query.need("BBOX"), north_first=crs.north_first and version == "1.3.0")
        width, height = query.integer("WIDTH"), query.integer("HEIGHT")
        if not (1 <= width <= MAX_SIZE and 1 <= height <= MAX_SIZE):
            raise InvalidParameter(f"a map of {width} x {height} pixels is asked; both sides must lie between 1 and {MAX_SIZE}")
        drawn = []
        for layer, name in zip(layers, names, strict=True):
            epoch = self._atlas.epoch(layer, time=query.get("TIME"), scenario=query.get("DIM_SCENARIO"))
            drawn.append((epoch, styles.drawing(self._atlas.shown_by(layer, epoch), name)))
        return MapRequest(drawn=tuple(drawn), view=View(crs=crs, bbox=bbox, width=width, height=height), background=_background(query))

    def _layers(self, text: str) -> list[Layer]:
        names = text.split(",")
        if len(names) > MAX_LAYERS:
            raise InvalidParameter(f"{len(names)} layers are asked at once, at most {MAX_LAYERS} are drawn")
        return [self._atlas.layer(name) for name in names]

    def _values(self, wanted: MapRequest, layers: list[tuple[Epoch, Layer]], i: int, j: int) -> dict[str, Any]:
        """The values of the cells under the centre of a pixel, as a GeoJSON FeatureCollection: one feature a layer."""
        x, y = wanted.view.centre(i, j)
        name = wanted.view.crs.name
        easting, northing = transformer(name, self.catalog.crs).transform(x, y)
        longitude, latitude = transformer(name, CRS84.name).transform(x, y)
        here = math.isfinite(longitude) and math.isfinite(latitude)
        point = {"type": "Point", "coordinates": [round(longitude, 7), round(latitude, 7)]} if here else None
        features = []
        for epoch, layer in layers:
            known = math.isfinite(easting) and math.isfinite(northing)
            value = epoch.mosaic.value_at(layer, easting, northing) if known else None
            features.append({"type": "Feature", "id": layer.id, "geometry": point, "properties": _properties(layer, value)})
        return {"type": "FeatureCollection", "notice": self.catalog.notice, "features": features}


def service_exception(error: Exception, version: str = VERSIONS[0]) -> Answer:
    """An error as a ServiceExceptionReport of the asked version."""
    fault, message = fault_of(error)
    code = "InvalidSRS" if fault.code == "InvalidCRS" and version != "1.3.0" else fault.code
    namespace = {"xmlns": "http://www.opengis.net/ogc"} if version == "1.3.0" else {}
    report = ET.Element("ServiceExceptionReport", {"version": version, **namespace})
    exception = ET.SubElement(report, "ServiceException", {} if code == "NoApplicableCode" else {"code": code})
    exception.text = message
    body = b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(report, encoding="utf-8")
    return Answer(body, "text/xml" if version == "1.3.0" else "application/vnd.ogc.se_xml", fault.status)


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


def _properties(layer: Layer, value: float | None) -> dict[str, Any]:
    """What a click tells of one layer: the value of the cell, its unit, and the class it stands for."""
    # the scale's own digits: 0.004 * 93 is 0.372, not 0.37200000000000005
    number = None if value is None or not math.isfinite(value) else float(f"{value:.9g}")
    label = next((c.label for c in layer.classes if c.value == value), None)
    return {"layer": layer.id, "title": layer.title, "value": number, "unit": layer.unit, "label": label}


def _as_json(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, allow_nan=False).encode()


def _as_text(values: dict[str, Any]) -> bytes:
    lines = [values["notice"], *(f"{p['title']}: {_words(p)}" for p in (feature["properties"] for feature in values["features"]))]
    return ("\n".join(line for line in lines if line) + "\n").encode()


def _as_html(values: dict[str, Any]) -> bytes:
    rows = "".join(
        f"<tr><th>{html.escape(p['title'])}</th><td>{html.escape(_words(p))}</td></tr>"
        for p in (feature["properties"] for feature in values["features"])
    )
    notice = html.escape(values["notice"])
    return f"<!doctype html><html><head><meta charset='utf-8'><title>Values</title></head><body><p>{notice}</p><table>{rows}</table></body></html>".encode()


def _words(properties: dict[str, Any]) -> str:
    if properties["value"] is None:
        return "no data"
    if properties["label"] is not None:
        return f"{properties['label']} ({properties['value']:g})"
    unit = "" if properties["unit"] in ("1", "class", "") else f" {properties['unit']}"
    return f"{properties['value']:g}{unit}"


_INFO_WRITERS: dict[str, Callable[[dict[str, Any]], bytes]] = {"application/json": _as_json, "text/plain": _as_text, "text/html": _as_html}
