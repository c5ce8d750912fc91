"""What a WMS offers, as the XML each version of the standard asks for: 1.3.0 and 1.1.1."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

from geoplantnet.catalog import Catalog
from geoplantnet.catalog.product import Layer
from geoplantnet.catalog.stac import CATALOG, COLLECTION
from geoplantnet.serving import legend, render, styles
from geoplantnet.serving.atlas import SPECIES_PREFIX, Atlas
from geoplantnet.serving.crs import CRS84, CRSS, Bounds, Crs, reproject_bounds
from geoplantnet.serving.dimensions import Dimension, dimensions_of, written
from geoplantnet.serving.info import INFO_FORMATS
from geoplantnet.serving.languages import LANGUAGES, told_in
from geoplantnet.serving.offers import Offer

MAX_LAYERS = 16
"""Layers one map may be made of."""
PIXEL = 0.00028
"""Side of the pixel that scale denominators assume, metres (WMS 1.3.0, 7.2.4.6.9)."""

_WMS = "http://www.opengis.net/wms"
_SLD = "http://www.opengis.net/sld"
_XLINK = "http://www.w3.org/1999/xlink"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEMA = (
    f"{_WMS} http://schemas.opengis.net/wms/1.3.0/capabilities_1_3_0.xsd {_SLD} http://schemas.opengis.net/sld/1.1.0/sld_capabilities.xsd"
)
_DEGREES = 6
_METRES = 3
_CELL_IN_PIXELS = 100
"""A cell drawn larger than so many pixels shows nothing more: maps need not be asked for at finer scales."""
_CHECKLIST = "checklist"


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


def update_sequence(atlas: Atlas) -> str:
    """When the newest of the catalogs was published, and what of which bytes is shown: later ones sort after earlier ones."""
    newest = max(epoch.published for epoch in atlas.epochs)
    told = [atlas.version, *atlas.layers, *(taxon.taxon_id for taxon in atlas.taxa)]
    return f"{written(newest)}-{hashlib.sha256(repr(told).encode()).hexdigest()[:12]}"


@dataclass(frozen=True, kw_only=True)
class Contact:
    """Whom to ask: a provider that the published STAC collection names."""

    organisation: str
    email: str = ""


def contact_of(catalog: Catalog) -> Contact | None:
    """The host of the catalog, or else the first provider that it names."""
    providers: list[dict[str, Any]] = json.loads((catalog.root / COLLECTION / "collection.json").read_text("utf-8")).get("providers") or []
    named = sorted((p for p in providers if p.get("name")), key=lambda p: "host" not in p.get("roles", ()))
    return Contact(organisation=str(named[0]["name"]), email=str(named[0].get("email", ""))) if named else None


def capabilities(atlas: Atlas, offer: Offer, site: str, version: str, *, sequence: str, language: str = LANGUAGES[0]) -> bytes:
    """The capabilities document of an offer. `site` is the server's own address, `version` is ``1.3.0`` or ``1.1.1``, `sequence` that
    of `update_sequence`.
    """
    writer = _Version130 if version == "1.3.0" else _Version111
    return writer(atlas, offer, site, sequence, language).document()


@functools.lru_cache(maxsize=8192)
def _legend_size(layer: Layer, style: str) -> tuple[int, int]:
    return legend.size(styles.drawing(layer, style))


class _Version130:
    """The document of WMS 1.3.0; its schema fixes the order of the elements."""

    version = "1.3.0"
    service_name = "WMS"
    root_name = "WMS_Capabilities"
    crs_name = "CRS"
    exceptions: tuple[str, ...] = ("XML", "INIMAGE", "BLANK")

    def __init__(self, atlas: Atlas, offer: Offer, site: str, sequence: str, language: str) -> None:
        self.atlas, self.offer, self.site, self.sequence, self.language = atlas, offer, site, sequence, language
        self.catalog = atlas.catalog
        self.url = f"{site}/{offer.path}"

    def document(self) -> bytes:
        root = ET.Element(self.root_name, {"version": self.version, "updateSequence": self.sequence, **self.namespaces()})
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
        _add(service, "Title", self.offer.title)
        _add(service, "Abstract", self.offer.abstract)
        _keywords(service, self.offer.keywords)
        self._online(service, f"{self.site}/")
        if contact := contact_of(self.catalog):
            self._contact(_add(service, "ContactInformation"), contact)
        _add(service, "Fees", "none")
        _add(service, "AccessConstraints", "none")
        self.limits(service)

    def _contact(self, element: ET.Element, contact: Contact) -> None:
        primary = _add(element, "ContactPersonPrimary")
        _add(primary, "ContactPerson", contact.organisation)
        _add(primary, "ContactOrganization", contact.organisation)
        if contact.email:
            _add(element, "ContactElectronicMailAddress", contact.email)

    def limits(self, service: ET.Element) -> None:
        _add(service, "LayerLimit", str(MAX_LAYERS))
        _add(service, "MaxWidth", str(render.MAX_SIZE))
        _add(service, "MaxHeight", str(render.MAX_SIZE))

    def _capability(self, capability: ET.Element) -> None:
        request = _add(capability, "Request")
        self._operation(request, "GetCapabilities", (self.mime(),))
        self._operation(request, "GetMap", render.FORMATS)
        self._operation(request, "GetFeatureInfo", INFO_FORMATS)
        self._operation(request, self.legend_operation(), (render.PNG,))
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
        spoken = "" if self.language == LANGUAGES[0] else f"LANGUAGE={self.language}&"
        self._online(_add(_add(_add(operation, "DCPType"), "HTTP"), "Get"), f"{self.url}?{spoken}")

    def _layers(self, capability: ET.Element) -> None:
        """The root layer says where everything lies; families and layers below inherit it."""
        root = _add(capability, "Layer")
        _add(root, "Title", self.offer.title)
        _add(root, "Abstract", self.offer.abstract)
        for name in self.crs_names():
            _add(root, self.crs_name, name)
        boxes = extents(self.catalog)
        self.geographic(root, boxes[CRS84.name])
        for name in self.crs_names():
            if name in boxes:
                self._bounding_box(root, CRSS[name], boxes[name])
        if not self.offer.whole and self.atlas.taxa:
            self._online(_add(root, "AuthorityURL", name=_CHECKLIST), f"{self.site}/ogc/collections/species")
        if self.offer.compact:
            for name in styles.PALETTES:
                self._style(root, name)
        self.scale(root)
        for family, layers in families(self.offer.layers).items():
            group = _add(root, "Layer")
            _add(group, "Title", family)
            for layer in layers:
                self._layer(group, layer)
        if self.offer.whole and self.atlas.taxa:
            self._species_group(_add(root, "Layer"), len(self.atlas.taxa))

    def _species_group(self, group: ET.Element, count: int) -> None:
        """A layer without a name: it cannot be drawn, and says where the species are."""
        _add(group, "Title", f"Species ({count})")
        _add(
            group,
            "Abstract",
            f"{count} species are answered here without being listed: each is a layer named {SPECIES_PREFIX}<taxonID>, with styles and "
            f"legend like any other. Search them at {self.site}/ogc/collections/species/items?q=. {self.site}/wms/species/<taxonID> is a "
            f"service of one species that lists it, {self.site}/wms/family/<name> one of a family.",
        )
        _keywords(group, ("species", "species distribution model"))
        self._link(group, "DataURL", "application/json", f"{self.site}/stac/{CATALOG}")

    def scale(self, layer: ET.Element) -> None:
        _add(layer, "MinScaleDenominator", _number(self._cell() / _CELL_IN_PIXELS / PIXEL, 0))

    def _cell(self) -> float:
        """Side of the tiles' cells, metres."""
        tile = self.catalog.tiles[0]
        return (tile.bounds[2] - tile.bounds[0]) / float(tile.properties["proj:shape"][1])

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
        told = told_in(layer, self.language)
        element = _add(group, "Layer", queryable="1")
        _add(element, "Name", layer.id)
        _add(element, "Title", told.title)
        _add(element, "Abstract", " ".join(part for part in (told.description, told.direction) if part))
        _keywords(element, tuple(dict.fromkeys((layer.family, *(one.label for one in told.classes)))))
        self.dimensions(element, dimensions_of(self.atlas, layer))
        if layer.attribution:
            _add(_add(element, "Attribution"), "Title", layer.attribution)
        if not self.offer.whole and self.atlas.taxa:
            _add(element, "Identifier", layer.id.removeprefix(SPECIES_PREFIX), authority=_CHECKLIST)
        self.metadata(element)
        self._link(element, "DataURL", "application/json", f"{self.site}/stac/{CATALOG}")
        for name in styles.styles_of(layer):
            if not (self.offer.compact and name in styles.PALETTES):
                self._style(element, name, told)

    def metadata(self, element: ET.Element) -> None:
        self._link(element, "MetadataURL", "application/json", f"{self.site}/stac/{COLLECTION}/collection.json", type="STAC")

    def dimensions(self, element: ET.Element, dimensions: tuple[Dimension, ...]) -> None:
        for one in dimensions:
            flags = {"nearestValue": one.nearest, "current": one.current}
            told = {name: "1" for name, flag in flags.items() if flag}
            _add(element, "Dimension", one.extent, name=one.name, units=one.units, default=one.default, **told)

    def _style(self, parent: ET.Element, name: str, layer: Layer | None = None) -> None:
        """One of a layer, with its legend; or without, of all layers below."""
        style = _add(parent, "Style")
        _add(style, "Name", name)
        _add(style, "Title", _STYLE_TITLES.get(name, f"Palette {name}"))
        if layer is None:
            return
        width, height = _legend_size(layer, name)
        link = _add(style, "LegendURL", width=str(width), height=str(height))
        _add(link, "Format", render.PNG)
        query = {"SERVICE": "WMS", "VERSION": self.version, "REQUEST": "GetLegendGraphic", "FORMAT": render.PNG, "LAYER": layer.id}
        query |= {"STYLE": name} if name != styles.DEFAULT else {}
        query |= {"LANGUAGE": self.language} if self.language != LANGUAGES[0] else {}
        self._online(link, f"{self.url}?{urlencode(query, safe='/', quote_via=quote)}")

    def _link(self, parent: ET.Element, name: str, media_type: str, href: str, /, **attributes: str) -> None:
        link = _add(parent, name, **attributes)
        _add(link, "Format", media_type)
        self._online(link, href)

    def _online(self, parent: ET.Element, href: str) -> None:
        declared = {} if self.namespaces() else {"xmlns:xlink": _XLINK}
        _add(parent, "OnlineResource", **declared, **{"xlink:type": "simple", "xlink:href": href})


class _Version111(_Version130):
    """What differs in WMS 1.1.1: names, a DTD, and every CRS with its easting first."""

    version = "1.1.1"
    service_name = "OGC:WMS"
    root_name = "WMT_MS_Capabilities"
    crs_name = "SRS"
    exceptions = ("application/vnd.ogc.se_xml", "application/vnd.ogc.se_inimage", "application/vnd.ogc.se_blank")

    def namespaces(self) -> dict[str, str]:
        return {}

    def doctype(self) -> bytes:
        return b'<!DOCTYPE WMT_MS_Capabilities SYSTEM "http://schemas.opengis.net/wms/1.1.1/capabilities_1_1_1.dtd">\n'

    def mime(self) -> str:
        return "application/vnd.ogc.wms_xml"

    def limits(self, service: ET.Element) -> None:
        """1.1.1 has no words for them."""

    def scale(self, layer: ET.Element) -> None:
        """A ScaleHint needs an upper end, and there is none."""

    def legend_operation(self) -> str:
        return "GetLegendGraphic"

    def crs_names(self) -> Iterator[str]:
        yield from (name for name in CRSS if name.startswith("EPSG:"))

    def geographic(self, layer: ET.Element, bounds: Bounds) -> None:
        _add(layer, "LatLonBoundingBox", **dict(zip(("minx", "miny", "maxx", "maxy"), (_number(v, _DEGREES) for v in bounds), strict=True)))

    def north_first(self, crs: Crs) -> bool:
        return False

    def metadata(self, element: ET.Element) -> None:
        """1.1.1 knows two standards of metadata, and STAC is neither."""

    def dimensions(self, element: ET.Element, dimensions: tuple[Dimension, ...]) -> None:
        for one in dimensions:
            _add(element, "Dimension", name=one.name, units=one.units)
        for one in dimensions:
            told = {name: "1" for name, flag in {"nearestValue": one.nearest, "current": one.current}.items() if flag}
            _add(element, "Extent", one.extent, name=one.name, default=one.default, **told)


_STYLE_TITLES = {
    styles.DEFAULT: "As published",
    styles.CLASSES: "Five equal classes",
    styles.PRESENCE: "Presence: above lambda (DIM_LAMBDA), or in the cell's species set",
    styles.UNCERTAINTY: "How far to trust it",
}


def _keywords(parent: ET.Element, words: Iterable[str]) -> None:
    keywords = _add(parent, "KeywordList")
    for word in words:
        _add(keywords, "Keyword", word)


def _add(parent: ET.Element, tag: str, text: str | None = None, /, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def _number(value: float, digits: int) -> str:
    return repr(round(value, digits))
