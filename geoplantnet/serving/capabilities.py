"""What the WMS offers, as the XML each version of the standard asks for: 1.3.0 and 1.1.1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import quote
from xml.etree import ElementTree as ET

from geoplantnet.catalog import Catalog
from geoplantnet.catalog.product import Layer
from geoplantnet.serving import legend, render, styles
from geoplantnet.serving.atlas import Atlas
from geoplantnet.serving.crs import CRS84, CRSS, Bounds, Crs, reproject_bounds

INFO_FORMATS = ("application/json", "text/plain", "text/html")
MAX_LAYERS = 16
"""Layers one map may be made of."""

_WMS = "http://www.opengis.net/wms"
_SLD = "http://www.opengis.net/sld"
_XLINK = "http://www.w3.org/1999/xlink"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEMA = (
    f"{_WMS} http://schemas.opengis.net/wms/1.3.0/capabilities_1_3_0.xsd {_SLD} http://schemas.opengis.net/sld/1.1.0/sld_capabilities.xsd"
)
_DEGREES = 6
_METRES = 3


def families(layers: Iterable[Layer]) -> dict[str, list[Layer]]:
    """Layers by family, both in the given order."""
    tree: dict[str, list[Layer]] = {}
    for layer in layers:
        tree.setdefault(layer.family, []).append(layer)
    return tree


def extents(catalog: Catalog) -> dict[str, Bounds]:
    """The catalog's bounds, west, south, east, north, in every offered CRS by name."""
    found = {name: reproject_bounds(catalog.bounds, catalog.crs, name) for name in CRSS}
    return {name: bounds for name, bounds in found.items() if bounds is not None}


def capabilities(atlas: Atlas, url: str, version: str) -> bytes:
    """The capabilities document. `url` is where the service answers, `version` is ``1.3.0`` or ``1.1.1``."""
    writer = _Version130(atlas, url) if version == "1.3.0" else _Version111(atlas, url)
    return writer.document()


class _Version130:
    """The document of WMS 1.3.0; its schema fixes the order of the elements."""

    version = "1.3.0"
    service_name = "WMS"
    root_name = "WMS_Capabilities"
    crs_name = "CRS"
    info_formats = INFO_FORMATS
    exceptions = ("XML",)

    def __init__(self, atlas: Atlas, url: str) -> None:
        self.atlas, self.catalog = atlas, atlas.catalog
        self.url = url

    def document(self) -> bytes:
        root = ET.Element(self.root_name, {"version": self.version, "updateSequence": self.atlas.version, **self.namespaces()})
        self._service(_add(root, "Service"))
        self._capability(_add(root, "Capability"))
        return b'<?xml version="1.0" encoding="UTF-8"?>\n' + self.doctype() + ET.tostring(root, encoding="utf-8")

    def namespaces(self) -> dict[str, str]:
        return {"xmlns": _WMS, "xmlns:xlink": _XLINK, "xmlns:sld": _SLD, "xmlns:xsi": _XSI, "xsi:schemaLocation": _SCHEMA}

    def doctype(self) -> bytes:
        return b""

    def mime(self) -> str:
        return "text/xml"

    def _service(self, service: ET.Element) -> None:
        _add(service, "Name", self.service_name)
        _add(service, "Title", self.catalog.title)
        _add(service, "Abstract", self.catalog.notice)
        keywords = _add(service, "KeywordList")
        for word in ("biodiversity", "plants", "species distribution model"):
            _add(keywords, "Keyword", word)
        self._online(service, self.url)
        _add(service, "Fees", "none")
        _add(service, "AccessConstraints", "none")
        self.limits(service)

    def limits(self, service: ET.Element) -> None:
        _add(service, "LayerLimit", str(MAX_LAYERS))
        _add(service, "MaxWidth", str(render.MAX_SIZE))
        _add(service, "MaxHeight", str(render.MAX_SIZE))

    def _capability(self, capability: ET.Element) -> None:
        request = _add(capability, "Request")
        self._operation(request, "GetCapabilities", (self.mime(),))
        self._operation(request, "GetMap", render.FORMATS)
        self._operation(request, "GetFeatureInfo", self.info_formats)
        self._operation(request, self.legend_operation(), render.FORMATS)
        exception = _add(capability, "Exception")
        for name in self.exceptions:
            _add(exception, "Format", name)
        self._layers(capability)

    def legend_operation(self) -> str:
        return "sld:GetLegendGraphic"

    def _operation(self, request: ET.Element, name: str, formats: tuple[str, ...]) -> None:
        operation = _add(request, name)
        for one in formats:
            _add(operation, "Format", one)
        self._online(_add(_add(_add(operation, "DCPType"), "HTTP"), "Get"), f"{self.url}?")

    def _layers(self, capability: ET.Element) -> None:
        """The root layer says where everything lies; families and layers below inherit it."""
        root = _add(capability, "Layer")
        _add(root, "Title", self.catalog.title)
        _add(root, "Abstract", self.catalog.notice)
        for name in self.crs_names():
            _add(root, self.crs_name, name)
        boxes = extents(self.catalog)
        self.geographic(root, boxes[CRS84.name])
        for name in self.crs_names():
            if name in boxes:
                self._bounding_box(root, CRSS[name], boxes[name])
        for family, layers in families(self.atlas.layers.values()).items():
            group = _add(root, "Layer")
            _add(group, "Title", family)
            for layer in layers:
                self._layer(group, layer)

    def crs_names(self) -> Iterator[str]:
        yield from CRSS

    def geographic(self, layer: ET.Element, bounds: Bounds) -> None:
        box = _add(layer, "EX_GeographicBoundingBox")
        west, south, east, north = bounds
        for side, value in (
            ("westBoundLongitude", west),
            ("eastBoundLongitude", east),
            ("southBoundLatitude", south),
            ("northBoundLatitude", north),
        ):
            _add(box, side, _number(value, _DEGREES))

    def _bounding_box(self, layer: ET.Element, crs: Crs, bounds: Bounds) -> None:
        west, south, east, north = bounds
        low_high = (south, west, north, east) if self.north_first(crs) else (west, south, east, north)
        digits = _DEGREES if crs.definition.is_geographic else _METRES
        corners = zip(("minx", "miny", "maxx", "maxy"), (_number(v, digits) for v in low_high), strict=True)
        _add(layer, "BoundingBox", **{self.crs_name: crs.name}, **dict(corners))

    def north_first(self, crs: Crs) -> bool:
        return crs.north_first

    def _layer(self, group: ET.Element, layer: Layer) -> None:
        element = _add(group, "Layer", queryable="1")
        _add(element, "Name", layer.id)
        _add(element, "Title", layer.title)
        _add(element, "Abstract", " ".join(part for part in (layer.description, layer.direction) if part))
        if layer.attribution:
            _add(_add(element, "Attribution"), "Title", layer.attribution)
        for name in styles.styles_of(layer):
            style = _add(element, "Style")
            _add(style, "Name", name)
            _add(style, "Title", "As published" if name == styles.DEFAULT else f"Palette {name}")
            if name == styles.DEFAULT:
                width, height = legend.size(styles.drawing(layer, name))
                link = _add(style, "LegendURL", width=str(width), height=str(height))
                _add(link, "Format", "image/png")
                query = f"SERVICE=WMS&VERSION={self.version}&REQUEST=GetLegendGraphic&FORMAT=image/png&LAYER={quote(layer.id)}"
                self._online(link, f"{self.url}?{query}")

    def _online(self, parent: ET.Element, href: str) -> None:
        declared = {} if self.namespaces() else {"xmlns:xlink": _XLINK}
        _add(parent, "OnlineResource", **declared, **{"xlink:type": "simple", "xlink:href": href})


class _Version111(_Version130):
    """What differs in WMS 1.1.1: names, a DTD, and every CRS with its easting first."""

    version = "1.1.1"
    service_name = "OGC:WMS"
    root_name = "WMT_MS_Capabilities"
    crs_name = "SRS"
    exceptions = ("application/vnd.ogc.se_xml",)

    def namespaces(self) -> dict[str, str]:
        return {}

    def doctype(self) -> bytes:
        return b'<!DOCTYPE WMT_MS_Capabilities SYSTEM "http://schemas.opengis.net/wms/1.1.1/WMS_MS_Capabilities.dtd">\n'

    def mime(self) -> str:
        return "application/vnd.ogc.wms_xml"

    def limits(self, service: ET.Element) -> None:
        """1.1.1 has no words for them."""

    def legend_operation(self) -> str:
        return "GetLegendGraphic"

    def crs_names(self) -> Iterator[str]:
        yield from (name for name in CRSS if name.startswith("EPSG:"))

    def geographic(self, layer: ET.Element, bounds: Bounds) -> None:
        _add(layer, "LatLonBoundingBox", **dict(zip(("minx", "miny", "maxx", "maxy"), (_number(v, _DEGREES) for v in bounds), strict=True)))

    def north_first(self, crs: Crs) -> bool:
        return False


def _add(parent: ET.Element, name: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, name, attributes)
    element.text = text
    return element


def _number(value: float, digits: int) -> str:
    return repr(round(value, digits))
