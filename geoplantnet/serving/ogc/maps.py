"""OGC API Maps and Tiles: pictures of the collections that are coverages, by the one renderer.

/collections/{id}/map                                        a map; /collections/{id}/styles/{style}/map in a style of its own
/collections/{id}/map/tiles/{tileMatrixSet}/{z}/{row}/{col}  a tile; also below /styles/{style}
/collections/{id}/styles, .../styles/{style}/legend          the styles a layer has, and their legends
/tileMatrixSets/{id}                                         how tiles are cut
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from geoplantnet.catalog.product import Layer
from geoplantnet.errors import LayerNotFound, did_you_mean
from geoplantnet.serving import legend, styles
from geoplantnet.serving.atlas import Epoch
from geoplantnet.serving.capabilities import extents
from geoplantnet.serving.crs import CRS84, Bounds, Crs, crs_of
from geoplantnet.serving.dimensions import lambda_of
from geoplantnet.serving.exceptions import InvalidParameter, shown
from geoplantnet.serving.ogc.coverages import epoch_of
from geoplantnet.serving.ogc.openapi import HTML, JSON, Document, get, path_parameter, ref
from geoplantnet.serving.ogc.parameters import (
    BBOX,
    BBOX_CRS,
    CRS,
    DATETIME,
    DOCUMENT,
    LAMBDA,
    LANG,
    NAMES,
    SCENARIO,
    Parameter,
    box_of,
    choice_of_format,
)
from geoplantnet.serving.render import JPEG, MAX_SIZE, PNG, WEBP, render
from geoplantnet.serving.styles import Drawing
from geoplantnet.serving.tilematrix import TILE_SIZE, TileMatrixSet, tile_number
from geoplantnet.serving.tiles import BRIEF, Pyramid
from geoplantnet.serving.warp import View

if TYPE_CHECKING:
    from geoplantnet.serving.ogc.door import Service

FORMATS: Mapping[str, str] = {"png": PNG, "jpeg": JPEG, "webp": WEBP}
SIZE = 1024
"""Pixels along the longer side of a map whose size is not said."""
_OGC = "http://www.opengis.net/spec"
CONFORMANCE = (
    *(
        f"{_OGC}/ogcapi-maps-1/1.0/conf/{name}"
        for name in (
            "core",
            "tilesets",
            "background",
            "collection-map",
            "scaling",
            "spatial-subsetting",
            "crs",
            "datetime",
            "styled-map",
            "png",
            "jpeg",
        )
    ),
    *(f"{_OGC}/ogcapi-tiles-1/1.0/conf/{name}" for name in ("core", "tileset", "tilesets-list", "geodata-tilesets", "png", "jpeg")),
    *(f"{_OGC}/tms/2.0/conf/{name}" for name in ("tilematrixset", "tilematrixsetlimits", "json-tilematrixset")),
)
_RELATION = "http://www.opengis.net/def/rel/ogc/1.0"

_F = choice_of_format(*FORMATS)
_WHICH = (DATETIME, SCENARIO, LAMBDA, NAMES)


def _side(name: str) -> Parameter:
    schema = {"type": "integer", "minimum": 1, "maximum": MAX_SIZE}
    return Parameter(name=name, about=f"{name} of the map in pixels, up to {MAX_SIZE}", schema=schema)


MAP = (
    _F,
    LANG,
    BBOX,
    BBOX_CRS,
    CRS,
    _side("width"),
    _side("height"),
    Parameter(
        name="transparent", about="whether what has no data is transparent; true unless bgcolor is given", schema={"type": "boolean"}
    ),
    Parameter(
        name="bgcolor",
        about="colour of what has no data, such as 0xFFFFFF",
        schema={"type": "string", "pattern": "^(0x)?[0-9A-Fa-f]{6}$"},
    ),
    *_WHICH,
)
TILE = (_F, LANG, *_WHICH)
LEGEND = (choice_of_format("png"), LANG, *_WHICH)


# ---- pictures


def map_of(service: Service, request: Request, query: dict[str, str]) -> Response:
    """A map of a collection, in its style; without a box of all of it."""
    epoch, drawing = drawn(service, request, query)
    crs = crs_of(query["crs"]) if "crs" in query else crs_of(service.atlas.catalog.crs)
    bounds = _bounds(service, query, crs)
    width, height = _size(bounds, query)
    image_format = FORMATS[query.get("f", "png")]
    headers = {
        "Content-Crs": f"<{crs.uri}>",
        "Content-Bbox": ",".join(f"{side:.10g}" for side in _in_order(bounds, crs)),
        "Content-Datetime": "/".join(epoch.catalog.interval),
    }
    view = View(crs=crs, bbox=bounds, width=width, height=height)
    return _kept(
        service,
        request,
        (drawing.style, repr(sorted(query.items()))),
        image_format,
        lambda: render([(epoch.mosaic, drawing)], view, background=_background(query), format=image_format),
        headers,
    )


def tile_of(service: Service, request: Request, query: dict[str, str]) -> Response:
    """A tile of a collection. Raises TileOutOfRange, LayerNotFound for an unknown set or matrix."""
    tiles = _set_of(service, request)
    z, row, col = (request.path_params[name] for name in ("z", "row", "col"))
    try:
        matrix = tiles.matrix(z)
    except InvalidParameter as error:
        raise LayerNotFound(str(error)) from None
    place = tile_number(row, "row", matrix.height), tile_number(col, "column", matrix.width)
    chosen = drawn(service, request, query)
    image_format = FORMATS[query.get("f", "png")]
    return _kept(
        service,
        request,
        (chosen[1].style, repr(sorted(query.items()))),
        image_format,
        lambda: service.pyramid.image(chosen, tiles, z, *place, image_format),
        {"Content-Crs": f"<{tiles.crs.uri}>"},
    )


def legend_of(service: Service, request: Request, query: dict[str, str]) -> Response:
    """The legend of a style."""
    _, drawing = drawn(service, request, query)
    return _kept(service, request, (drawing.style, repr(sorted(query.items()))), PNG, lambda: legend.draw(drawing), {})


def drawn(service: Service, request: Request, query: Mapping[str, str]) -> tuple[Epoch, Drawing]:
    """The layer that is asked for, in its epoch and style. Raises StyleNotDefined, InvalidDimensionValue, InvalidParameter."""
    layer = _layer(service.layers(request.path_params["collection"]), query.get("properties", ""))
    epoch = epoch_of(service.atlas, layer, query)
    threshold = lambda_of(query.get("lambda", ""), "lambda")
    return epoch, styles.drawing(service.atlas.shown_by(layer, epoch), request.path_params.get("style", ""), threshold=threshold)


def _layer(layers: Mapping[str, Layer], name: str) -> Layer:
    if not name and len(layers) == 1:
        return next(iter(layers.values()))
    if name not in layers:
        words = f"{shown(name)} is none of them" if name else "a map shows one; choose it with properties="
        raise InvalidParameter(f"of the fields of this collection ({len(layers)}), {words}.{did_you_mean(name[:60], layers)}")
    return layers[name]


def _bounds(service: Service, query: Mapping[str, str], crs: Crs) -> Bounds:
    box = box_of(query)
    if box is None:
        return extents(service.atlas.catalog)[crs.name]
    bounds = box.bounds if box.crs.name == crs.name else box.bounds_in(crs.name)
    if bounds is None:
        raise InvalidParameter(f"bbox has no image in {crs.name}; ask for one inside the collection's extent")
    return bounds


def _size(bounds: Bounds, query: Mapping[str, str]) -> tuple[int, int]:
    """Width and height; what is not said follows from the box, so that pixels are square."""
    shape = (bounds[2] - bounds[0]) / (bounds[3] - bounds[1])
    width, height = (int(query[name]) if name in query else None for name in ("width", "height"))
    if width is None and height is None:
        width = SIZE if shape >= 1 else max(round(SIZE * shape), 1)
    if width is None:
        assert height is not None
        width = min(max(round(height * shape), 1), MAX_SIZE)
    return width, height or min(max(round(width / shape), 1), MAX_SIZE)


def _background(query: Mapping[str, str]) -> tuple[int, int, int] | None:
    color = query.get("bgcolor", "")
    if query.get("transparent", "false" if color else "true") == "true":
        return None
    red, green, blue = bytes.fromhex(color.removeprefix("0x") or "ffffff")
    return red, green, blue


def _in_order(bounds: Bounds, crs: Crs) -> Iterable[float]:
    west, south, east, north = bounds
    return (south, west, north, east) if crs.north_first else bounds


def _kept(service: Service, request: Request, words: tuple[str, ...], media_type: str, make: Any, headers: Mapping[str, str]) -> Response:
    """A picture with its ETag, unmade for a client that holds it."""
    tag = service.pyramid.tag("ogc", request.scope["path"], *words)
    told = {**headers, "ETag": tag, "Cache-Control": BRIEF}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=told)
    return Response(make(), headers=told, media_type=media_type)


# ---- documents


def styles_of(service: Service, request: Request, query: Mapping[str, str]) -> dict[str, Any]:
    """The styles of a collection, with links to maps and legends in each."""
    name = request.path_params["collection"]
    layers = service.layers(name)
    layer = _layer(layers, query.get("properties", "")) if "properties" in query or len(layers) == 1 else next(iter(layers.values()))
    base = f"{service.url}/ogc/collections/{quote(name)}"
    chosen = f"&{urlencode({'properties': query['properties']})}" if "properties" in query else ""
    found = []
    for style in styles.styles_of(layer):
        own = f"{base}/styles/{quote(style)}"
        links = (
            []
            if len(layers) > 1 and not chosen
            else [
                {"href": f"{own}/map?f=png{chosen}", "rel": f"{_RELATION}/map", "type": PNG, "title": "A map in this style"},
                {"href": f"{own}/legend?f=png{chosen}", "rel": f"{_RELATION}/legend", "type": PNG, "title": "Its legend"},
            ]
        )
        links.append({"href": f"{own}/map/tiles", "rel": f"{_RELATION}/tilesets-map", "type": JSON, "title": "Tiles in this style"})
        found.append({"id": style, "title": style, "links": links})
    return {
        "title": f"Styles of {name}",
        "default": styles.DEFAULT,
        "styles": found,
        "links": [_self(f"{base}/styles"), _page(f"{base}/styles")],
    }


def tilesets_of(service: Service, request: Request, query: Mapping[str, str]) -> dict[str, Any]:
    """The tile sets of a collection, one a tile matrix set."""
    base = _tiles_base(service, request)
    _check_style(service, request)
    found = [_tileset(service, request, tiles, brief=True) for tiles in service.pyramid.sets.values()]
    return {"title": f"Tiles of {request.path_params['collection']}", "tilesets": found, "links": [_self(base), _page(base)]}


def tileset_of(service: Service, request: Request, query: Mapping[str, str]) -> dict[str, Any]:
    """One tile set: which tiles it has, and where they are."""
    return _tileset(service, request, _set_of(service, request), brief=False)


def _tileset(service: Service, request: Request, tiles: TileMatrixSet, *, brief: bool) -> dict[str, Any]:
    _check_style(service, request)
    base = f"{_tiles_base(service, request)}/{tiles.id}"
    links = [
        _self(base),
        {"href": f"{service.url}/ogc/tileMatrixSets/{tiles.id}", "rel": f"{_RELATION}/tiling-scheme", "type": JSON, "title": tiles.title},
        {"href": f"{base}/{{tileMatrix}}/{{tileRow}}/{{tileCol}}?f=png", "rel": "item", "type": PNG, "title": "A tile", "templated": True},
    ]
    told: dict[str, Any] = {
        "title": f"{request.path_params['collection']}, {tiles.title}",
        "dataType": "map",
        "crs": tiles.crs.uri,
        "tileMatrixSetURI": tiles.uri,
        "links": links,
    }
    if brief:
        return told
    extent = extents(service.atlas.catalog)
    west, south, east, north = extent[CRS84.name]
    limits = [
        {
            "tileMatrix": one.matrix.id,
            "minTileRow": one.min_row,
            "maxTileRow": one.max_row,
            "minTileCol": one.min_col,
            "maxTileCol": one.max_col,
        }
        for one in tiles.limits(extent[tiles.crs.name])
    ]
    corners = {"lowerLeft": [west, south], "upperRight": [east, north], "crs": CRS84.uri}
    return told | {"tileMatrixSetLimits": limits, "boundingBox": corners}


def matrix_sets(service: Service, request: Request, query: Mapping[str, str]) -> dict[str, Any]:
    """The tile matrix sets."""
    base = f"{service.url}/ogc/tileMatrixSets"
    found = [
        {
            "id": tiles.id,
            "title": tiles.title,
            "uri": tiles.uri,
            "crs": tiles.crs.uri,
            "links": [_self(f"{base}/{tiles.id}"), _page(f"{base}/{tiles.id}")],
        }
        for tiles in service.pyramid.sets.values()
    ]
    return {"title": "Tile matrix sets", "tileMatrixSets": found, "links": [_self(base), _page(base)]}


def matrix_set(service: Service, request: Request, query: Mapping[str, str]) -> dict[str, Any]:
    """A tile matrix set (OGC 17-083r4, JSON), down to what the cells are worth."""
    tiles = _set_of(service, request)
    told: dict[str, Any] = {
        "id": tiles.id,
        "title": tiles.title,
        "uri": tiles.uri,
        "crs": tiles.crs.uri,
        "orderedAxes": list(tiles.ordered_axes),
        "tileMatrices": [
            {
                "id": matrix.id,
                "scaleDenominator": matrix.scale_denominator,
                "cellSize": matrix.cell_size,
                "cornerOfOrigin": "topLeft",
                "pointOfOrigin": list(tiles.point_of_origin),
                "tileWidth": TILE_SIZE,
                "tileHeight": TILE_SIZE,
                "matrixWidth": matrix.width,
                "matrixHeight": matrix.height,
            }
            for matrix in tiles.matrices
        ],
    }
    return told | ({"wellKnownScaleSet": tiles.scale_set} if tiles.scale_set else {})


def links_of(service: Service, name: str) -> list[dict[str, str]]:
    """What the description of a collection tells of its maps."""
    base = f"{service.url}/ogc/collections/{quote(name)}"
    found = [
        {"href": f"{base}/styles", "rel": f"{_RELATION}/styles", "type": JSON, "title": "Styles"},
        {"href": f"{base}/map/tiles", "rel": f"{_RELATION}/tilesets-map", "type": JSON, "title": "Tiles"},
    ]
    if len(service.layers(name)) == 1:
        found.insert(0, {"href": f"{base}/map?f=png", "rel": f"{_RELATION}/map", "type": PNG, "title": "A map"})
    return found


def _set_of(service: Service, request: Request) -> TileMatrixSet:
    name, sets = request.path_params["tiles"], service.pyramid.sets
    if name not in sets:
        raise LayerNotFound(f"tile matrix set {shown(name)} is not served; use one of {', '.join(sets)}.{did_you_mean(name[:40], sets)}")
    return sets[name]


def _check_style(service: Service, request: Request) -> None:
    """Raises LayerNotFound, StyleNotDefined."""
    layers = service.layers(request.path_params["collection"])
    styles.check_style(next(iter(layers.values())), request.path_params.get("style", ""))


def _tiles_base(service: Service, request: Request) -> str:
    parts = request.path_params
    style = f"/styles/{quote(parts['style'])}" if "style" in parts else ""
    return f"{service.url}/ogc/collections/{quote(parts['collection'])}{style}/map/tiles"


def _self(href: str) -> dict[str, str]:
    return {"href": href, "rel": "self", "type": JSON, "title": "This document"}


def _page(base: str) -> dict[str, str]:
    return {"href": f"{base}?f=html", "rel": "alternate", "type": "text/html", "title": "This document as HTML"}


# ---- OpenAPI

_TEXT = {"type": "string"}
SCHEMAS: Document = {
    "styles": {"type": "object", "required": ["styles"], "properties": {"styles": {"type": "array", "items": {"type": "object"}}}},
    "tilesets": {
        "type": "object",
        "required": ["tilesets"],
        "properties": {"tilesets": {"type": "array", "items": ref("tileset")}},
    },
    "tileset": {
        "type": "object",
        "required": ["dataType", "crs", "links"],
        "properties": {
            "dataType": {"type": "string", "enum": ["map"]},
            "crs": _TEXT,
            "tileMatrixSetURI": _TEXT,
            "links": {"type": "array", "items": ref("link")},
        },
    },
    "tileMatrixSets": {
        "type": "object",
        "required": ["tileMatrixSets"],
        "properties": {"tileMatrixSets": {"type": "array", "items": {"type": "object", "required": ["id", "links"]}}},
    },
    "tileMatrixSet": {
        "type": "object",
        "required": ["id", "crs", "tileMatrices"],
        "properties": {"id": _TEXT, "crs": _TEXT, "tileMatrices": {"type": "array", "items": {"type": "object"}}},
    },
}


def paths(gridded: Iterable[str], pyramid: Pyramid) -> Document:
    """The paths of maps, tiles and styles."""
    collection = path_parameter("mapId", "a collection that can be drawn", gridded)
    style = path_parameter("styleId", "a style; not every layer has every one", dict.fromkeys(_all_styles()))
    tiles = path_parameter("tileMatrixSetId", "a tile matrix set", pyramid.sets)
    images = {media_type: {"type": "string", "format": "binary"} for media_type in FORMATS.values()}
    number = {"type": "integer", "minimum": 0, "maximum": 2**24}
    place = [
        {"name": "z", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9]{1,2}$"}},
        {"name": "row", "in": "path", "required": True, "schema": number},
        {"name": "col", "in": "path", "required": True, "schema": number},
    ]
    told: Document = {
        "/tileMatrixSets": {"get": get("Tile matrix sets", DOCUMENT, {JSON: ref("tileMatrixSets"), HTML: _TEXT})},
        "/tileMatrixSets/{tileMatrixSetId}": {
            "parameters": [tiles],
            "get": get("A tile matrix set", DOCUMENT, {JSON: ref("tileMatrixSet"), HTML: _TEXT}, missing=True),
        },
        "/collections/{mapId}/styles": {
            "parameters": [collection],
            "get": get("Styles of a collection", (*DOCUMENT, NAMES), {JSON: ref("styles"), HTML: _TEXT}, missing=True),
        },
        "/collections/{mapId}/styles/{styleId}/legend": {
            "parameters": [collection, style],
            "get": get("Legend of a style", LEGEND, {PNG: images[PNG]}, missing=True),
        },
    }
    for base, own in (("/collections/{mapId}", [collection]), ("/collections/{mapId}/styles/{styleId}", [collection, style])):
        told[f"{base}/map"] = {"parameters": own, "get": get("A map", MAP, images, missing=True)}
        sets = {JSON: ref("tilesets"), HTML: _TEXT}
        told[f"{base}/map/tiles"] = {"parameters": own, "get": get("Tile sets", DOCUMENT, sets, missing=True)}
        told[f"{base}/map/tiles/{{tileMatrixSetId}}"] = {
            "parameters": [*own, tiles],
            "get": get("A tile set", DOCUMENT, {JSON: ref("tileset"), HTML: _TEXT}, missing=True),
        }
        told[f"{base}/map/tiles/{{tileMatrixSetId}}/{{z}}/{{row}}/{{col}}"] = {
            "parameters": [*own, tiles, *place],
            "get": get("A tile", TILE, images, missing=True),
        }
    return told


def _all_styles() -> Iterable[str]:
    return (styles.DEFAULT, styles.CLASSES, styles.PRESENCE, styles.UNCERTAINTY, *styles.PALETTES)
