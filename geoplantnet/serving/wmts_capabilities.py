"""What the WMTS offers, as the XML that the schema of WMTS 1.0.0 asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote
from xml.etree import ElementTree as ET

from geoplantnet.catalog.product import Layer
from geoplantnet.serving import info, legend, styles
from geoplantnet.serving.capabilities import extents, families
from geoplantnet.serving.crs import CRS84, Bounds, Crs
from geoplantnet.serving.render import FORMATS, PNG
from geoplantnet.serving.tilematrix import TILE_SIZE, TileMatrixSet
from geoplantnet.serving.tiles import EXTENSIONS, Pyramid

VERSION = "1.0.0"
CAPABILITIES = "WMTSCapabilities.xml"
ANY = "default"
"""Of a dimension: whatever the other one asks for, and of both today's map."""
INFO_EXTENSIONS: Mapping[str, str] = {"json": info.JSON, "html": info.HTML, "gml": info.GML, "txt": info.TEXT}
"""Formats of the values under a pixel, by the ends of their URLs."""

_NAMESPACES = {
    "xmlns": "http://www.opengis.net/wmts/1.0",
    "xmlns:ows": "http://www.opengis.net/ows/1.1",
    "xmlns:xlink": "http://www.w3.org/1999/xlink",
    "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "xsi:schemaLocation": "http://www.opengis.net/wmts/1.0 http://schemas.opengis.net/wmts/1.0/wmtsGetCapabilities_response.xsd",
}
_TILE = "{TileMatrixSet}/{TileMatrix}/{TileRow}/{TileCol}"


def capabilities(pyramid: Pyramid, layers: Sequence[Layer], url: str, own: str) -> bytes:
    """The capabilities of some layers. `url` is that of the whole server, `own` that of this service's operations."""
    root = ET.Element("Capabilities", {**_NAMESPACES, "version": VERSION, "updateSequence": pyramid.atlas.version})
    _service(_add(root, "ows:ServiceIdentification"), pyramid, layers)
    operations = _add(root, "ows:OperationsMetadata")
    _operation(operations, "GetCapabilities", {"KVP": f"{own}?", "RESTful": f"{own}/{VERSION}/{CAPABILITIES}"})
    rest = f"{url}/wmts/{VERSION}/{pyramid.version}/"
    for name in ("GetTile", "GetFeatureInfo"):
        _operation(operations, name, {"KVP": f"{url}/wmts/{pyramid.version}?", "RESTful": rest})
    contents = _add(root, "Contents")
    boxes = extents(pyramid.atlas.catalog)
    for layer in layers:
        _layer(_add(contents, "Layer"), pyramid, layer, boxes, rest)
    for tiles in pyramid.sets.values():
        _set(_add(contents, "TileMatrixSet"), tiles)
    themes = _add(root, "Themes")
    for number, (family, members) in enumerate(families(layers).items(), start=1):
        theme = _add(themes, "Theme")
        _add(theme, "ows:Title", family)
        _add(theme, "ows:Identifier", f"family-{number}")
        for layer in members:
            _add(theme, "LayerRef", layer.id)
    _add(root, "ServiceMetadataURL", **{"xlink:href": f"{own}/{VERSION}/{CAPABILITIES}"})
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="utf-8")


def _service(service: ET.Element, pyramid: Pyramid, layers: Sequence[Layer]) -> None:
    catalog = pyramid.atlas.catalog
    alone = f": {layers[0].title}" if len(layers) == 1 else ""
    _add(service, "ows:Title", f"{catalog.title}{alone}")
    _add(service, "ows:Abstract", catalog.notice)
    keywords = _add(service, "ows:Keywords")
    for word in ("biodiversity", "plants", "species distribution model"):
        _add(keywords, "ows:Keyword", word)
    _add(service, "ows:ServiceType", "OGC WMTS")
    _add(service, "ows:ServiceTypeVersion", VERSION)
    _add(service, "ows:Fees", "none")
    _add(service, "ows:AccessConstraints", "none")


def _operation(operations: ET.Element, name: str, urls: Mapping[str, str]) -> None:
    http = _add(_add(_add(operations, "ows:Operation", name=name), "ows:DCP"), "ows:HTTP")
    for encoding, url in urls.items():
        get = _add(http, "ows:Get", **{"xlink:href": url})
        allowed = _add(_add(get, "ows:Constraint", name="GetEncoding"), "ows:AllowedValues")
        _add(allowed, "ows:Value", encoding)


def _layer(element: ET.Element, pyramid: Pyramid, layer: Layer, boxes: Mapping[str, Bounds], rest: str) -> None:
    _add(element, "ows:Title", layer.title)
    _add(element, "ows:Abstract", " ".join(part for part in (layer.description, layer.direction, layer.attribution) if part))
    west, south, east, north = boxes[CRS84.name]
    box = _add(element, "ows:WGS84BoundingBox")
    _add(box, "ows:LowerCorner", f"{west:.6f} {south:.6f}")
    _add(box, "ows:UpperCorner", f"{east:.6f} {north:.6f}")
    _add(element, "ows:Identifier", layer.id)
    for tiles in pyramid.sets.values():
        _box(element, tiles.crs, boxes[tiles.crs.name])
    for name in styles.styles_of(layer):
        _style(element, layer, name, rest)
    for image_format in FORMATS:
        _add(element, "Format", image_format)
    for info_format in info.INFO_FORMATS:
        _add(element, "InfoFormat", info_format)
    epochs = pyramid.atlas.epochs_of(layer)
    if len(epochs) > 1:
        _dimension(element, "Time", "What the map stands for begins at", [epoch.start.date().isoformat() for epoch in epochs])
        _dimension(element, "Scenario", "Today's map, or one under other conditions", [epoch.name for epoch in epochs])
    for tiles in pyramid.sets.values():
        _link(_add(element, "TileMatrixSetLink"), tiles, boxes[tiles.crs.name])
    path = f"{rest}{quote(layer.id)}/{{Style}}/{'{Time}/{Scenario}/' if len(epochs) > 1 else ''}{_TILE}"
    for extension, image_format in EXTENSIONS.items():
        _add(element, "ResourceURL", format=image_format, resourceType="tile", template=f"{path}.{extension}")
    for extension, info_format in INFO_EXTENSIONS.items():
        _add(element, "ResourceURL", format=info_format, resourceType="FeatureInfo", template=f"{path}/{{J}}/{{I}}.{extension}")


def _style(element: ET.Element, layer: Layer, name: str, rest: str) -> None:
    default = name == styles.DEFAULT
    style = _add(element, "Style", **({"isDefault": "true"} if default else {}))
    _add(style, "ows:Title", "As published" if default else name)
    _add(style, "ows:Identifier", name)
    width, height = legend.size(styles.drawing(layer, name))
    href = f"{rest}{quote(layer.id)}/{quote(name)}/legend.png"
    _add(style, "LegendURL", format=PNG, width=str(width), height=str(height), **{"xlink:href": href})


def _dimension(element: ET.Element, name: str, abstract: str, values: Sequence[str]) -> None:
    dimension = _add(element, "Dimension")
    _add(dimension, "ows:Title", name)
    _add(dimension, "ows:Abstract", abstract)
    _add(dimension, "ows:Identifier", name)
    _add(dimension, "Default", ANY)
    for value in dict.fromkeys((ANY, *values)):
        _add(dimension, "Value", value)


def _link(link: ET.Element, tiles: TileMatrixSet, extent: Bounds) -> None:
    _add(link, "TileMatrixSet", tiles.id)
    # the schema takes 0 for no number of a tile: a matrix whose limits hold one is listed without, which means all of it
    listed = [one for one in tiles.limits(extent) if one.min_row and one.min_col]
    if listed:
        limits = _add(link, "TileMatrixSetLimits")
    for one in listed:
        element = _add(limits, "TileMatrixLimits")
        _add(element, "TileMatrix", one.matrix.id)
        _add(element, "MinTileRow", str(one.min_row))
        _add(element, "MaxTileRow", str(one.max_row))
        _add(element, "MinTileCol", str(one.min_col))
        _add(element, "MaxTileCol", str(one.max_col))


def _set(element: ET.Element, tiles: TileMatrixSet) -> None:
    _add(element, "ows:Title", tiles.title)
    _add(element, "ows:Identifier", tiles.id)
    _box(element, tiles.crs, tiles.bounds)
    _add(element, "ows:SupportedCRS", _urn(tiles.crs))
    if tiles.scale_set:
        _add(element, "WellKnownScaleSet", f"urn:ogc:def:wkss:OGC:1.0:{tiles.scale_set.rsplit('/', 1)[-1]}")
    corner = " ".join(map(repr, tiles.point_of_origin))
    for matrix in tiles.matrices:
        one = _add(element, "TileMatrix")
        _add(one, "ows:Identifier", matrix.id)
        _add(one, "ScaleDenominator", repr(matrix.scale_denominator))
        _add(one, "TopLeftCorner", corner)
        _add(one, "TileWidth", str(TILE_SIZE))
        _add(one, "TileHeight", str(TILE_SIZE))
        _add(one, "MatrixWidth", str(matrix.width))
        _add(one, "MatrixHeight", str(matrix.height))


def _box(element: ET.Element, crs: Crs, bounds: Bounds) -> None:
    """A bounding box in the order of the axes of its CRS."""
    west, south, east, north = bounds
    low, high = ((south, west), (north, east)) if crs.north_first else ((west, south), (east, north))
    box = _add(element, "ows:BoundingBox", crs=_urn(crs))
    _add(box, "ows:LowerCorner", " ".join(f"{v:.3f}" for v in low))
    _add(box, "ows:UpperCorner", " ".join(f"{v:.3f}" for v in high))


def _urn(crs: Crs) -> str:
    return f"urn:ogc:def:crs:EPSG::{crs.name.removeprefix('EPSG:')}"


def _add(parent: ET.Element, tag: str, text: str | None = None, /, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element
