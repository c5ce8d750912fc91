"""Web Map Tile Service 1.0.0 (OGC 07-057r7): parameters (KVP) at /wmts, resources (REST) below /wmts/1.0.0.

    /wmts?SERVICE=WMTS&REQUEST=GetCapabilities            also GetTile, GetFeatureInfo
    /wmts/1.0.0/WMTSCapabilities.xml
    /wmts/1.0.0/{layer}/{style}/{TileMatrixSet}/{TileMatrix}/{TileRow}/{TileCol}.png     also .webp and .jpg
    /wmts/1.0.0/{layer}/{style}/{TileMatrixSet}/{TileMatrix}/{TileRow}/{TileCol}/{J}/{I}.json    also .html, .gml and .txt
    /wmts/1.0.0/{layer}/{style}/legend.png
    /wmts/species/{taxonID}   and   /wmts/species/{taxonID}/1.0.0/WMTSCapabilities.xml           of one species

A layer that several epochs show has the dimensions Time and Scenario: TIME and SCENARIO, or ``{style}/{Time}/{Scenario}`` in a path.
LAMBDA (or DIM_LAMBDA, as the WMS calls it) of the style ``presence`` is a parameter of both, behind a path, too. It is no dimension of the
capabilities, which would have to list its values. A legend takes TIME and SCENARIO the same way.
Capabilities hand out URLs with the version of the maps (``/wmts/v-bb8bcb8e32f0``, ``/wmts/1.0.0/v-bb8bcb8e32f0/...``), whose answers
are kept for a year.

What is wrong is told by an ExceptionReport of OWS 1.1 with the codes of the standard. Of a request by parameters the status is 400;
of a path that leads nowhere 404; of a version that is gone 410. All operations of the standard are served, so that another word as
REQUEST is an invalid value (400), not an operation that is missing here (501).
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from types import TracebackType
from xml.etree import ElementTree as ET

from geoplantnet.errors import GeoPlantNetError, LayerNotFound, did_you_mean
from geoplantnet.serving import legend
from geoplantnet.serving.atlas import SPECIES_PREFIX, Epoch
from geoplantnet.serving.cache import Cache, NotHeld, takes_time
from geoplantnet.serving.dimensions import SET, lambda_of
from geoplantnet.serving.exceptions import (
    InvalidCrs,
    InvalidDimensionValue,
    InvalidFormat,
    InvalidParameter,
    InvalidPoint,
    MissingParameter,
    StyleNotDefined,
    VersionGone,
    fault_of,
    shown,
)
from geoplantnet.serving.info import INFO_FORMATS
from geoplantnet.serving.render import FORMATS, PNG
from geoplantnet.serving.styles import PRESENCE, Drawing
from geoplantnet.serving.tilematrix import TILE_SIZE, TileMatrixSet, tile_bounds, tile_matrix_set, tile_number
from geoplantnet.serving.tiles import Asked, Pyramid, format_of
from geoplantnet.serving.wms import Answer, Parameters, WebMapService
from geoplantnet.serving.wmts_capabilities import ANY, CAPABILITIES, INFO_EXTENSIONS, VERSION, capabilities

_OPERATIONS = ("GetCapabilities", "GetTile", "GetFeatureInfo")
_SPECIES = "species"
_DOCUMENTS = 4_000_000
"""Bytes of capabilities that are kept ready."""
_OWS = "http://www.opengis.net/ows/1.1"
_UNSAID = (ANY, "{Time}", "{Scenario}")
"""What leaves a dimension open: QGIS identifies by the template as it is, where nobody chose a value."""
_BESIDE_A_PATH = ("TIME", "SCENARIO", "LAMBDA", "DIM_LAMBDA")
"""Parameters that a path may have behind it."""
_INVALID = (LayerNotFound, StyleNotDefined, InvalidFormat, InvalidCrs, InvalidDimensionValue, InvalidParameter)
"""What the standard has one code for: InvalidParameterValue."""


class WebMapTileService:
    """The service over the tiles of an atlas."""

    def __init__(self, pyramid: Pyramid) -> None:
        self._pyramid = pyramid
        self._wms = WebMapService(pyramid.atlas)
        self._documents = Cache(_DOCUMENTS)

    def answer(self, asked: Asked) -> Answer:
        """Answer a request; raises nothing but NotHeld, where an answer would take time and there is none."""
        by_path = False
        try:
            segments, lasts = self._pyramid.unversioned([part for part in asked.path.split("/") if part])
            if segments == []:
                return self._parameters(asked, lasts, "")
            if segments[0] == _SPECIES and len(segments) == 2:
                return self._parameters(asked, lasts, segments[1])
            by_path = True
            return self._resource(segments, asked)
        except NotHeld:
            raise
        except Exception as error:
            return exception_report(error, by_path=by_path)

    # ---- KVP

    def _parameters(self, asked: Asked, lasts: str, taxon_id: str) -> Answer:
        query = Parameters(asked.query)
        service = _need(query, "SERVICE")
        if service.upper() != "WMTS":
            raise _At("SERVICE", InvalidParameter(f"SERVICE={shown(service)} is not served here; this is a WMTS"))
        name = _need(query, "REQUEST")
        operation = next((one for one in _OPERATIONS if one.upper() == name.upper()), "")
        if operation == "GetCapabilities":
            self._accepted(query)
            return self._capabilities(asked, taxon_id)
        if not operation:
            hint = did_you_mean(name[:30], _OPERATIONS)
            raise _At("REQUEST", InvalidParameter(f"REQUEST={shown(name)} is not known; use one of {', '.join(_OPERATIONS)}.{hint}"))
        version = _need(query, "VERSION")
        if version != VERSION:
            raise _At("VERSION", InvalidParameter(f"VERSION={shown(version)} is not served; use {VERSION}"))
        tag = self._pyramid.tag("kvp", query.canonical().decode())
        return self._pyramid.kept(asked, tag, lasts, lambda: self._asked_by_parameters(query, operation, asked))

    def _asked_by_parameters(self, query: Parameters, operation: str, asked: Asked) -> tuple[bytes, str]:
        place = self._place(*(_need(query, name) for name in ("TILEMATRIXSET", "TILEMATRIX", "TILEROW", "TILECOL")))
        words = _need(query, "LAYER"), query.get("STYLE"), query.get("TIME"), query.get("SCENARIO")
        asked.note_layer(words[0])
        drawn = self._drawing(*words, _lambda(query))
        image_format = _offered("FORMAT", _need(query, "FORMAT"), FORMATS)
        if operation == "GetTile":
            return self._pyramid.image(drawn, *place, image_format), image_format
        info_format = _offered("INFOFORMAT", _need(query, "INFOFORMAT"), INFO_FORMATS)
        return self._info(drawn, place, _need(query, "I"), _need(query, "J"), info_format), info_format

    def _accepted(self, query: Parameters) -> None:
        """Version negotiation of OWS Common 1.1."""
        for name in ("ACCEPTVERSIONS", "VERSION"):
            if query.get(name) and VERSION not in query.get(name).split(","):
                raise VersionNotOffered(f"{name}={shown(query.get(name))} holds none that is served; {VERSION} is")

    # ---- REST

    def _resource(self, segments: Sequence[str], asked: Asked) -> Answer:
        if segments[0] == _SPECIES and segments[2:] == [VERSION, CAPABILITIES]:
            return self._capabilities(asked, segments[1])
        if segments[0] != VERSION:
            raise InvalidParameter(f"/wmts/{shown(asked.path)} leads nowhere; start from /wmts/{VERSION}/{CAPABILITIES}")
        if segments[1:] == [CAPABILITIES]:
            return self._capabilities(asked, "")
        rest, lasts = self._pyramid.unversioned(segments[1:])
        query = Parameters(asked.query)
        tag = self._pyramid.tag("rest", *rest, *(f"{name}={query.get(name)}" for name in _BESIDE_A_PATH))
        return self._pyramid.kept(asked, tag, lasts, lambda: self._asked_by_path(rest, asked))

    def _asked_by_path(self, segments: Sequence[str], asked: Asked) -> tuple[bytes, str]:
        asked.note_layer(segments[0] if segments else "")
        query = Parameters(asked.query)
        if len(segments) == 3 and segments[2] == "legend.png":
            takes_time()
            drawn = self._drawing(segments[0], segments[1], query.get("TIME"), query.get("SCENARIO"), _lambda(query))
            return legend.draw(drawn[1]), PNG
        # a layer that has dimensions may be asked for without them
        with_dimensions = len(segments) in (8, 10) and segments[2] not in self._pyramid.sets
        time, scenario = segments[2:4] if with_dimensions else ("", "")
        rest = segments[4:] if with_dimensions else segments[2:]
        if len(rest) not in (4, 6):
            raise InvalidParameter(f"/wmts/{shown(asked.path)} leads nowhere; the templates of the capabilities say what does")
        drawn = self._drawing(segments[0], segments[1], time, scenario, _lambda(query))
        if with_dimensions and len(self._pyramid.atlas.epochs_of(drawn[1].source)) == 1:
            raise InvalidParameter(f"layer {drawn[1].source.id!r} has no dimensions; leave {shown(f'{time}/{scenario}')} out")
        set_name, matrix, row, col, *pixel = rest
        if not pixel:
            col, _, extension = col.partition(".")
            image_format = format_of(extension)
            return self._pyramid.image(drawn, *self._place(set_name, matrix, row, col), image_format), image_format
        j, last = pixel
        i, _, extension = last.partition(".")
        if extension not in INFO_EXTENSIONS:
            raise InvalidFormat(f"a pixel's values do not end in {shown('.' + extension)}; use .{', .'.join(INFO_EXTENSIONS)}")
        info_format = INFO_EXTENSIONS[extension]
        return self._info(drawn, self._place(set_name, matrix, row, col), i, j, info_format), info_format

    # ---- both

    def _capabilities(self, asked: Asked, taxon_id: str) -> Answer:
        atlas, url = self._pyramid.atlas, asked.public_url()
        own = f"{url}/wmts/{_SPECIES}/{taxon_id}" if taxon_id else f"{url}/wmts"

        def make() -> bytes:
            layers = [atlas.layer(f"{SPECIES_PREFIX}{taxon_id}")] if taxon_id else list(atlas.layers.values())
            return capabilities(self._pyramid, layers, url, own)

        tag = self._pyramid.tag("capabilities", own, *atlas.layers)
        return self._pyramid.kept(asked, tag, "no-cache", lambda: (self._documents.get(own, make, len), "text/xml"))

    def _drawing(self, layer: str, style: str, time: str, scenario: str, threshold: float | None) -> tuple[Epoch, Drawing]:
        time, scenario = ("" if value in _UNSAID else value for value in (time, scenario))
        try:
            return self._pyramid.drawing(layer, style=style, time=time, scenario=scenario, threshold=threshold)
        except InvalidDimensionValue as error:
            raise _At("Scenario" if str(error).startswith("scenario") else "Time", error) from error
        except (LayerNotFound, StyleNotDefined) as error:
            raise _At("Layer" if isinstance(error, LayerNotFound) else "Style", error) from error

    def _place(self, set_name: str, matrix_id: str, row: str, col: str) -> tuple[TileMatrixSet, str, int, int]:
        with _Locating("TileMatrixSet"):
            tiles = tile_matrix_set(set_name, self._pyramid.sets)
        with _Locating("TileMatrix"):
            matrix = tiles.matrix(matrix_id)
        with _Locating("TileRow"):
            y = tile_number(row, "TileRow", matrix.height)
        with _Locating("TileCol"):
            x = tile_number(col, "TileCol", matrix.width)
        return tiles, matrix_id, y, x

    def _info(self, drawn: tuple[Epoch, Drawing], place: tuple[TileMatrixSet, str, int, int], i: str, j: str, info_format: str) -> bytes:
        """The values under a pixel: what the WMS says of it."""
        takes_time()
        for name, text in (("I", i), ("J", j)):
            with _Locating(name):
                try:
                    tile_number(text, name, TILE_SIZE)
                except GeoPlantNetError:
                    raise InvalidPoint(f"{name}={shown(text)} is no pixel of a tile; its pixels are 0 to {TILE_SIZE - 1}") from None
        epoch, drawing = drawn
        tiles = place[0]
        west, south, east, north = tile_bounds(*place)
        box = (south, west, north, east) if tiles.crs.north_first else (west, south, east, north)
        size = str(TILE_SIZE)
        query = {
            "SERVICE": "WMS",
            "VERSION": "1.3.0",
            "REQUEST": "GetFeatureInfo",
            "LAYERS": drawing.source.id,
            "QUERY_LAYERS": drawing.source.id,
            "STYLES": drawing.style,
            "CRS": tiles.crs.name,
            "BBOX": ",".join(map(repr, box)),
            "WIDTH": size,
            "HEIGHT": size,
            "FORMAT": PNG,
            "I": i,
            "J": j,
            "INFO_FORMAT": info_format,
            "DIM_SCENARIO": epoch.name,
            "DIM_LAMBDA": repr(drawing.breaks[0]) if drawing.style == PRESENCE and drawing.breaks else SET,
        }
        answer = self._wms.answer(((name, str(value)) for name, value in query.items()), site="")
        if answer.status != HTTPStatus.OK:
            raise _NoInfo("".join(ET.fromstring(answer.body).itertext()).strip(), answer.status)
        return answer.body


class VersionNotOffered(InvalidParameter):
    """None of the versions a client knows is served."""


class _At(Exception):
    """An error and the parameter it is about."""

    def __init__(self, parameter: str, cause: GeoPlantNetError) -> None:
        super().__init__(str(cause))
        self.parameter, self.cause = parameter, cause


class _NoInfo(Exception):
    """What the WMS answered in place of values."""

    def __init__(self, message: str, status: HTTPStatus) -> None:
        super().__init__(message)
        self.status = status


class _Locating:
    """Errors within are about one parameter."""

    def __init__(self, parameter: str) -> None:
        self._parameter = parameter

    def __enter__(self) -> None:
        """Nothing to begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, GeoPlantNetError):
            raise _At(self._parameter, error) from error


def exception_report(error: Exception, *, by_path: bool = False) -> Answer:
    """An error as an ExceptionReport of OWS 1.1."""
    locator = error.parameter if isinstance(error, _At) else ""
    cause = error.cause if isinstance(error, _At) else error
    if isinstance(cause, _NoInfo):
        status, code, message = cause.status, "NoApplicableCode", str(cause)
    else:
        fault, message = fault_of(cause)
        status, code = fault.status, fault.code
        if isinstance(cause, VersionNotOffered):
            code = "VersionNegotiationFailed"
        elif isinstance(cause, InvalidPoint):
            code = "PointIJOutOfRange"
        elif isinstance(cause, VersionGone):
            code = "NoApplicableCode"
        elif isinstance(cause, _INVALID):
            code = "InvalidParameterValue"
        if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND):
            status = HTTPStatus.NOT_FOUND if by_path else HTTPStatus.BAD_REQUEST
    words = {"xmlns": _OWS, "version": VERSION, "xml:lang": "en"}
    report = ET.Element("ExceptionReport", words)
    exception = ET.SubElement(report, "Exception", {"exceptionCode": code, **({"locator": locator} if locator else {})})
    ET.SubElement(exception, "ExceptionText").text = message
    body = b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(report, encoding="utf-8")
    return Answer(body, "text/xml", status, {"Cache-Control": "no-store"})


def _need(query: Parameters, name: str) -> str:
    try:
        return query.need(name)
    except (MissingParameter, InvalidParameter) as error:
        raise _At(name, error) from error


def _lambda(query: Parameters) -> float | None:
    name = "LAMBDA" if query.get("LAMBDA") else "DIM_LAMBDA"
    with _Locating("Lambda"):
        return lambda_of(query.get(name), name)


def _offered(name: str, asked: str, offered: Sequence[str]) -> str:
    if asked not in offered:
        hint = did_you_mean(asked[:30], offered)
        raise _At(name, InvalidFormat(f"{name}={shown(asked)} is not offered; use {' or '.join(offered)}.{hint}"))
    return asked
