"""What QGIS opens: styles (.qml) of the published rasters, and the served layers as a layer definition (.qlr) and a project (.qgs).

A style has the colours, numbers and labels of the layer's legend. QGIS applies a GeoTIFF's scale and offset as it reads, so
a style is written in values, not in stored numbers. A project holds no data: its layers are those of this server, at the
URL it was fetched from, by family, in the CRS of the tiles, each with the legend the server draws.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from geoplantnet.catalog.product import Layer
from geoplantnet.serving import legend, styles
from geoplantnet.serving.atlas import SPECIES_PREFIX, Atlas
from geoplantnet.serving.capabilities import extents, families
from geoplantnet.serving.crs import CRS84, Bounds, crs_of
from geoplantnet.serving.exceptions import InvalidParameter, StyleNotDefined, shown

SERVICE = "wmts"
"""How a project asks for maps: ``wms``, or ``wmts``, of which QGIS fetches many tiles at a time."""
MATRIX_SET = "EuropeanETRS89_LAEAQuad"
"""The tiles of ``wmts``."""
MAX_FAMILY = 100
"""Layers of a family that a project lists: QGIS draws up every one when it opens, so thousands of species are left to their own .qlr."""
FIRST = "Ecosystem"
"""The family a project opens on, as the web page does: an indicator says more than the first species of a list."""
RELIEF = "relief"
"""The layer that lies below all others."""
LANGUAGES = ("en", "fr")

_VERSION = "3.22.0"
"""The oldest QGIS the files are tested with; newer ones read them as they are."""
_PROJECT, _DEFINITION = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n", "<!DOCTYPE qgis-layer-definition>\n"
# Maps darken the relief below them, which is drawn so light that flat ground is white: there colours are the legend's.
_NORMAL, _MULTIPLY, _LIGHTER = "0", "6", "70"
_BAND = re.compile(r"[1-9][0-9]{0,5}")
_MEDIA_TYPES = {"qml": "application/x-qgis-style", "qlr": "application/x-qgis-layer-definition", "qgs": "application/x-qgis-project"}


def style(layer: Layer, *, name: str = styles.DEFAULT, band: int | None = None, language: str = "en") -> bytes:
    """The .qml that draws band `band` of a raster file (the layer's own by default) as the server draws the layer in style `name`.

    A ramp is interpolated between the colours the legend tells, over the legend's range, values beyond it clipped. Raises
    StyleNotDefined, also for `presence`, which no band of a file holds.
    """
    drawing = styles.drawing(layer, name)
    own = layer.uncertainty.band if layer.uncertainty and drawing.reads == "uncertainty" else layer.band
    if drawing.style == styles.PRESENCE:
        raise StyleNotDefined(f"style {name!r} of layer {layer.id!r} is drawn by the server alone; the layer's values are in the file")
    root = ET.Element("qgis", {"version": _VERSION, "styleCategories": "Symbology"})
    pipe = _add(root, "pipe")
    renderer = _add(pipe, "rasterrenderer", band=str(band or own), opacity="1", alphaBand="-1", nodataColor="")
    if drawing.breaks:
        _steps(renderer, drawing)
    elif drawing.layer.classes:
        renderer.set("type", "paletted")
        palette = _add(renderer, "colorPalette")
        for one in drawing.layer.classes:
            label = (one.fr if language == "fr" else "") or one.label
            _add(palette, "paletteEntry", value=str(one.value), color=one.color, alpha="255", label=label)
    else:
        _ramp(renderer, drawing)
    _add(root, "blendMode", _NORMAL)
    return _document(_PROJECT, root)


def layer_definition(atlas: Atlas, layers: Sequence[Layer], url: str, *, language: str = "en") -> bytes:
    """The .qlr of served layers, grouped by family. `url` is the server's."""
    root = ET.Element("qlr")
    _tree(root, atlas.catalog.title, layers, language)
    _map_layers(_add(root, "maplayers"), atlas, layers, url, language)
    return _document(_DEFINITION, root)


def project(atlas: Atlas, layers: Sequence[Layer], url: str, *, language: str = "en") -> bytes:
    """The .qgs of served layers, grouped by family; it opens on an indicator over the relief, at the extent of all."""
    catalog = atlas.catalog
    root = ET.Element("qgis", {"projectname": catalog.title, "version": _VERSION})
    _add(root, "title", catalog.title)
    _reference(_add(root, "projectCrs"), catalog.crs)
    _tree(root, catalog.title, layers, language)
    canvas = _add(root, "mapcanvas", name="theMapCanvas", annotationsVisible="1")
    _add(canvas, "units", "meters")
    _extent(_add(canvas, "extent"), catalog.bounds)
    _reference(_add(canvas, "destinationsrs"), catalog.crs)
    _map_layers(_add(root, "projectlayers"), atlas, layers, url, language)
    properties = _add(root, "properties")  # without it QGIS reads no projectCrs
    _add(_add(properties, "SpatialRefSys"), "ProjectionsEnabled", "1", type="int")
    about = _add(root, "projectMetadata")
    _add(about, "title", catalog.title)
    _add(about, "abstract", _words(catalog.description, catalog.notice))
    _add(about, "license", catalog.license)
    return _document(_PROJECT, root)


def listed(atlas: Atlas) -> list[Layer]:
    """The layers of a project, family by family: those that are advertised, but for families of more than `MAX_FAMILY`."""
    return [layer for members in families(atlas.layers.values()).values() if len(members) <= MAX_FAMILY for layer in members]


def routes(path: str, atlas_of: Callable[[Request], Atlas], public_url: Callable[[Request], str]) -> list[Route]:
    """Below `path`: ``project.qgs``, ``layers.qlr``, ``layers/{layer}.qlr``, ``styles/{layer}.qml`` (``?style=``, ``?band=``); all ``?lang=``.

    `atlas_of` gives what a request may see, `public_url` the URL it reaches the whole server by.
    """

    def send_project(request: Request) -> Response:
        atlas = atlas_of(request)
        return _file("qgs", "project", project(atlas, listed(atlas), public_url(request), language=_language(request)))

    def send_layers(request: Request) -> Response:
        atlas = atlas_of(request)
        return _file("qlr", "layers", layer_definition(atlas, listed(atlas), public_url(request), language=_language(request)))

    def send_layer(request: Request) -> Response:
        atlas = atlas_of(request)
        layer = atlas.layer(request.path_params["layer"])
        body = layer_definition(atlas, [layer], public_url(request), language=_language(request))
        return _file("qlr", layer.id, body)

    def send_style(request: Request) -> Response:
        layer, band = atlas_of(request).layer(request.path_params["layer"]), request.query_params.get("band")
        if band is not None and not _BAND.fullmatch(band):
            raise InvalidParameter(f"band={shown(band)} is no band of a file; they count from 1")
        name = request.query_params.get("style", styles.DEFAULT)
        return _file("qml", layer.id, style(layer, name=name, band=int(band) if band else None, language=_language(request)))

    return [
        Route(f"{path}/project.qgs", send_project, methods=["GET"]),
        Route(f"{path}/layers.qlr", send_layers, methods=["GET"]),
        Route(f"{path}/layers/{{layer}}.qlr", send_layer, methods=["GET"]),
        Route(f"{path}/styles/{{layer}}.qml", send_style, methods=["GET"]),
    ]


# ---- styles


def _ramp(renderer: ET.Element, drawing: styles.Drawing) -> None:
    described = legend.describe_drawing(drawing)
    low, high = drawing.layer.range
    colors, ticks = described["colors"], described["ticks"]
    unit = "" if drawing.layer.unit in legend.UNITLESS else f" {drawing.layer.unit}"
    shader = _shader(renderer, "INTERPOLATED", low, high)
    last = len(colors) - 1
    options = {
        "color1": _rgba(colors[0]),
        "color2": _rgba(colors[-1]),
        "discrete": "0",
        "rampType": "gradient",
        "stops": ":".join(f"{i / last!r};{_rgba(colors[i])}" for i in range(1, last)),
    }
    told = _add(_add(shader, "colorramp", name="[source]", type="gradient"), "Option", type="Map")
    for option, words in options.items():
        _add(told, "Option", name=option, value=words, type="QString")
    every = last // (len(ticks) - 1)  # colours from one number of the legend to the next
    for i, color in enumerate(colors):
        value = low + (high - low) * i / last
        label = ticks[i // every]["label"] if i % every == 0 else f"{value:.4g}"
        _add(shader, "item", value=repr(value), color=color, alpha="255", label=label + unit)
    ends = {"minimumLabel": ticks[0]["label"] + unit, "maximumLabel": ticks[-1]["label"] + unit}
    _add(shader, "rampLegendSettings", useContinuousLegend="1", orientation="2", direction="0", prefix="", suffix="", **ends)


def _steps(renderer: ET.Element, drawing: styles.Drawing) -> None:
    """Classes made of a continuous layer: each item is the upper end of its own."""
    shader = _shader(renderer, "DISCRETE", *drawing.layer.range)
    for one, end in zip(drawing.layer.classes, (*drawing.breaks, math.inf), strict=True):
        _add(shader, "item", value=repr(end), color=one.color, alpha="255", label=one.label)


def _shader(renderer: ET.Element, kind: str, low: float, high: float) -> ET.Element:
    ends = {"classificationMin": repr(low), "classificationMax": repr(high)}
    for name, value in {"type": "singlebandpseudocolor", **ends}.items():
        renderer.set(name, value)
    shader = _add(
        _add(renderer, "rastershader"), "colorrampshader", colorRampType=kind, classificationMode="1", clip="0", labelPrecision="4"
    )
    shader.set("minimumValue", repr(low))
    shader.set("maximumValue", repr(high))
    return shader


def _rgba(color: str) -> str:
    return ",".join(str(v) for v in (*bytes.fromhex(color.removeprefix("#")), 255))


# ---- projects and layer definitions


def _tree(root: ET.Element, title: str, layers: Sequence[Layer], language: str) -> None:
    """The layers panel: one choice of a family and of a layer in it, since maps cover each other; the relief below. A layer alone has no groups."""
    tree = _group(root, "")
    maps = [layer for layer in layers if layer.id != RELIEF]
    if len(layers) == 1:
        _leaf(tree, layers[0], language, checked=True, expanded=True)
        return
    members: dict[str, list[Layer]] = {}
    for layer in maps:
        members.setdefault(layer.family, []).append(layer)
    shown = FIRST if FIRST in members else next(iter(members), "")
    everything = _group(tree, title, one=list(members).index(shown) if members else -1)
    for family, layers_of_it in members.items():
        group = _group(everything, family, checked=family == shown, expanded=family == shown, one=0)
        for layer in layers_of_it:
            first = layer == layers_of_it[0]
            _leaf(group, layer, language, checked=first, expanded=first)
    for ground in (layer for layer in layers if layer.id == RELIEF):
        _leaf(tree, ground, language, checked=True, expanded=False)


def _group(parent: ET.Element, name: str, *, checked: bool = True, expanded: bool = True, one: int | None = None) -> ET.Element:
    """A group of the layers panel; with `one`, the place of a member, it shows this one, and never two at a time."""
    exclusive = {} if one is None else {"mutually-exclusive": "1", "mutually-exclusive-child": str(one)}
    return _add(parent, "layer-tree-group", name=name, **_state(checked, expanded), **exclusive)


def _leaf(group: ET.Element, layer: Layer, language: str, *, checked: bool, expanded: bool) -> None:
    _add(group, "layer-tree-layer", id=_id(layer), name=_title(layer, language), providerKey="wms", **_state(checked, expanded))


def _state(checked: bool, expanded: bool) -> dict[str, str]:
    return {"checked": "Qt::Checked" if checked else "Qt::Unchecked", "expanded": str(int(expanded))}


def _map_layers(parent: ET.Element, atlas: Atlas, layers: Sequence[Layer], url: str, language: str) -> None:
    catalog = atlas.catalog
    degrees = extents(catalog)[CRS84.name]
    for layer in layers:
        element = _add(parent, "maplayer", type="raster", styleCategories="AllStyleCategories")
        _extent(_add(element, "extent"), catalog.bounds)
        _extent(_add(element, "wgs84extent"), degrees)
        _add(element, "id", _id(layer))
        _add(element, "datasource", _source(atlas, layer, url))
        _add(element, "layername", _title(layer, language))
        described = (layer.fr.get("description") if language == "fr" else "") or layer.description
        abstract = described if catalog.notice in described else _words(described, catalog.notice)
        _add(element, "abstract", abstract)
        _reference(_add(element, "srs"), catalog.crs)
        about = _add(element, "resourceMetadata")
        _add(about, "title", _title(layer, language))
        _add(about, "abstract", abstract)
        _add(about, "rights", layer.attribution)
        _add(about, "license", catalog.license)
        _add(element, "provider", "wms")
        _add(_add(_add(element, "customproperties"), "Option", type="Map"), "Option", name="identify/format", value="Html", type="QString")
        pipe = _add(element, "pipe")
        _add(pipe, "rasterrenderer", type="singlebandcolordata", band="1", opacity="1", alphaBand="-1", nodataColor="")
        if layer.id == RELIEF:
            _add(pipe, "brightnesscontrast", brightness=_LIGHTER, contrast="0", gamma="1")
        _add(element, "blendMode", _NORMAL if layer.id == RELIEF else _MULTIPLY)


def _source(atlas: Atlas, layer: Layer, url: str) -> str:
    """The data source as QGIS's provider `wms` reads it, which serves WMTS too.

    QGIS takes only layers that the capabilities list: a species that is not has a service of its own.
    """
    small = "" if layer.id in atlas.layers else f"/species/{layer.id.removeprefix(SPECIES_PREFIX)}"
    parts = {
        "contextualWMSLegend": "0",
        "crs": crs_of(atlas.catalog.crs).name,
        "dpiMode": "7",
        "featureCount": "10",
        "format": "image/png",
        "layers": layer.id,
        "styles": styles.DEFAULT,
    }
    if SERVICE == "wmts":
        parts |= {"tileMatrixSet": MATRIX_SET}
        if len(atlas.epochs_of(layer)) > 1:  # else QGIS leaves the names of the dimensions in the URLs of values
            parts |= {"tileDimensions": "Time=default;Scenario=default"}
        return urlencode(parts | {"url": f"{url}/wmts{small}?SERVICE=WMTS&REQUEST=GetCapabilities"}, safe=":/")
    return urlencode(parts | {"url": f"{url}/wms{small}"}, safe=":/")


def _id(layer: Layer) -> str:
    return f"geoplantnet_{layer.id}"


def _words(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def _title(layer: Layer, language: str) -> str:
    return (layer.fr.get("title") if language == "fr" else "") or layer.title


def _reference(parent: ET.Element, crs: str) -> None:
    system = _add(parent, "spatialrefsys")
    _add(system, "wkt", crs_of(crs).definition.to_wkt())
    _add(system, "authid", crs_of(crs).name)


def _extent(element: ET.Element, bounds: Bounds) -> None:
    for name, value in zip(("xmin", "ymin", "xmax", "ymax"), bounds, strict=True):
        _add(element, name, repr(value))


# ---- answers


def _language(request: Request) -> str:
    asked = request.query_params.get("lang", LANGUAGES[0])
    if asked not in LANGUAGES:
        raise InvalidParameter(f"lang={shown(asked)} is not offered; use {' or '.join(LANGUAGES)}")
    return asked


def _file(kind: str, name: str, body: bytes) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}.{kind}"', "Cache-Control": "no-cache"}
    return Response(body, headers=headers, media_type=_MEDIA_TYPES[kind])


def _document(doctype: str, root: ET.Element) -> bytes:
    ET.indent(root)
    return doctype.encode() + ET.tostring(root, encoding="utf-8") + b"\n"


def _add(parent: ET.Element, tag: str, text: str | None = None, /, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element
