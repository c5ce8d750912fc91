"""What a click on a map tells: the values of the cells below it, as JSON, HTML, GML or text."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from geoplantnet.catalog.product import Layer
from geoplantnet.serving.atlas import Epoch
from geoplantnet.serving.crs import CRS84, Crs, transformer
from geoplantnet.serving.dimensions import written
from geoplantnet.serving.languages import told_in
from geoplantnet.serving.mosaic import PREDICTED
from geoplantnet.serving.sensitive import squares_in_words
from geoplantnet.serving.styles import PRESENCE, Drawing

JSON, TEXT, HTML, GML = "application/json", "text/plain", "text/html", "application/vnd.ogc.gml"
INFO_FORMATS = (JSON, HTML, GML, TEXT)

APPLICABILITY = "applicability"
"""The layer that says where the model applies, for layers without such a band of their own: 1 inside."""

NAMESPACE = "urn:geoplantnet:feature-info"
"""Of the elements in GML."""

_GML = "http://www.opengis.net/gml"
_UNITLESS = ("", "1", "class")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One layer in the cell below a click."""

    layer: str
    title: str
    value: float | None
    """None: no data."""
    unit: str
    """``1`` for a number without unit, ``class`` for a class."""
    label: str | None
    """Of a class."""
    present: bool | None
    """Of a species drawn by presence: whether it is."""
    uncertainty: float | None
    """None where it is not known; see `uncertainty_title`."""
    uncertainty_title: str
    """What it is: a standard deviation, the probability of the class; empty for a layer that has none."""
    uncertainty_unit: str
    applicable: bool | None
    """Whether the cell lies in the model's area of applicability; None where nobody knows."""
    generalised: int | None
    """Metres of the square whose mean the value is, of a sensitive species."""
    epoch: str
    start: str
    end: str
    """What the map stands for, ISO 8601."""


@dataclass(frozen=True, kw_only=True)
class Clicked:
    """A click."""

    notice: str
    """What every reader must know."""
    crs: Crs
    x: float
    y: float
    """Where, easting or longitude first."""
    cells: tuple[Cell, ...]
    """One a layer."""


def look(drawn: Sequence[tuple[Epoch, Drawing]], crs: Crs, x: float, y: float, *, notice: str, language: str) -> Clicked:
    """The cells that hold a place, straight from the source: no zoom, no interpolation. Raises RasterError for a file that cannot be read."""
    easting, northing = (math.nan, math.nan)
    if drawn:
        easting, northing = transformer(crs.name, drawn[0][0].mosaic.crs).transform(x, y)
    cells = tuple(_cell(epoch, drawing, easting, northing, language) for epoch, drawing in drawn)
    return Clicked(notice=notice, crs=crs, x=x, y=y, cells=cells)


def _cell(epoch: Epoch, drawing: Drawing, easting: float, northing: float, language: str) -> Cell:
    layer, mosaic = drawing.source, epoch.mosaic
    told = told_in(layer, language)
    known = math.isfinite(easting) and math.isfinite(northing)
    value = mosaic.value_at(layer, easting, northing) if known else None
    trust = mosaic.value_at(layer, easting, northing, reads="uncertainty") if known and layer.uncertainty and value is not None else None
    inside = _inside(epoch, layer, easting, northing) if known and value is not None else None
    return Cell(
        layer=layer.id,
        title=told.title,
        value=_short(value),
        unit=layer.unit,
        label=next((one.label for one in told.classes if one.value == value), None),
        present=_present(epoch, drawing, easting, northing, value),
        uncertainty=_short(trust),
        uncertainty_title=told.uncertainty.title if told.uncertainty else "",
        uncertainty_unit=told.uncertainty.unit if told.uncertainty else "",
        applicable=None if inside is None else inside == 1,
        generalised=layer.generalised,
        epoch=epoch.name,
        start=written(epoch.start),
        end=written(epoch.end),
    )


def _inside(epoch: Epoch, layer: Layer, easting: float, northing: float) -> float | None:
    if layer.applicable:
        return epoch.mosaic.value_at(layer, easting, northing, reads="applicable")
    own = epoch.catalog.layers.get(APPLICABILITY) if layer.asset in PREDICTED else None
    return epoch.mosaic.value_at(own, easting, northing) if own else None


def _present(epoch: Epoch, drawing: Drawing, easting: float, northing: float, value: float | None) -> bool | None:
    if drawing.style != PRESENCE or value is None:
        return None
    if drawing.breaks:
        return value > drawing.breaks[0]
    held = epoch.mosaic.value_at(drawing.source, easting, northing, reads="set")
    return None if held is None else held == 1


def _short(value: float | None) -> float | None:
    """The scale's own digits: 0.004 * 93 is 0.372, not 0.37200000000000005."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.9g}")


def _fields(cell: Cell) -> dict[str, object]:
    """What is told of a cell, without what its layer has not."""
    found: dict[str, object] = {
        "layer": cell.layer,
        "title": cell.title,
        "value": cell.value,
        "unit": cell.unit,
        "label": cell.label,
    }
    if cell.present is not None:
        found["present"] = cell.present
    if cell.uncertainty_title:
        found |= {
            "uncertainty": cell.uncertainty,
            "uncertainty_title": cell.uncertainty_title,
            "uncertainty_unit": cell.uncertainty_unit,
        }
    if cell.applicable is not None:
        found["applicable"] = cell.applicable
    if cell.generalised is not None:
        found["generalised"] = cell.generalised
    return found | {"epoch": cell.epoch, "start": cell.start, "end": cell.end}


# ---- as bytes


def _as_json(click: Clicked) -> bytes:
    """A GeoJSON FeatureCollection: one feature a layer, all of the one place."""
    longitude, latitude = transformer(click.crs.name, CRS84.name).transform(click.x, click.y)
    here = math.isfinite(longitude) and math.isfinite(latitude)
    point = {"type": "Point", "coordinates": [round(longitude, 7), round(latitude, 7)]} if here else None
    features = [{"type": "Feature", "id": cell.layer, "geometry": point, "properties": _fields(cell)} for cell in click.cells]
    collection = {"type": "FeatureCollection", "notice": click.notice, "features": features}
    return json.dumps(collection, ensure_ascii=False, allow_nan=False).encode()


def _as_text(click: Clicked) -> bytes:
    lines = [click.notice]
    for cell in click.cells:
        lines.append(f"{cell.title}: {_words(cell)}")
        lines += [f"  {name}: {text}" for name, text in _remarks(cell)]
    return ("\n".join(line for line in lines if line) + "\n").encode()


def _as_html(click: Clicked) -> bytes:
    """A table without styles or scripts: it is shown inside other programs."""
    rows = []
    for cell in click.cells:
        rows.append(f"<tr><th align='left'>{html.escape(cell.title)}</th><td><b>{html.escape(_words(cell))}</b></td></tr>")
        rows += [f"<tr><td>{html.escape(name)}</td><td>{html.escape(text)}</td></tr>" for name, text in _remarks(cell)]
    notice = f"<p><i>{html.escape(click.notice)}</i></p>" if click.notice else ""
    head = "<!doctype html><html><head><meta charset='utf-8'><title>Values of a place</title></head>"
    return f"{head}<body><table border='1' cellpadding='4' cellspacing='0'>{''.join(rows)}</table>{notice}</body></html>".encode()


def _as_gml(click: Clicked) -> bytes:
    """A collection of features with a gml:Point each, in the map's CRS, easting or longitude first (GML 2)."""
    for prefix, uri in (("gml", _GML), ("info", NAMESPACE)):
        ET.register_namespace(prefix, uri)
    root = ET.Element(f"{{{NAMESPACE}}}FeatureCollection")
    ET.SubElement(root, f"{{{NAMESPACE}}}notice").text = click.notice
    for cell in click.cells:
        feature = ET.SubElement(ET.SubElement(root, f"{{{_GML}}}featureMember"), f"{{{NAMESPACE}}}Cell")
        point = ET.SubElement(ET.SubElement(feature, f"{{{NAMESPACE}}}place"), f"{{{_GML}}}Point", {"srsName": click.crs.name})
        ET.SubElement(point, f"{{{_GML}}}coordinates").text = f"{click.x!r},{click.y!r}"
        for name, value in _fields(cell).items():
            if value is not None:
                told = str(value).lower() if isinstance(value, bool) else str(value)
                ET.SubElement(feature, f"{{{NAMESPACE}}}{name}").text = told
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="utf-8")


def _words(cell: Cell) -> str:
    if cell.value is None:
        return "no data"
    if cell.label is not None:
        return f"{cell.label} ({cell.value:g})"
    return _with_unit(cell.value, cell.unit)


def _remarks(cell: Cell) -> list[tuple[str, str]]:
    """What more there is to say of a value, in words."""
    if cell.value is None:
        return []
    found = []
    if cell.present is not None:
        found.append(("predicted", "present" if cell.present else "absent"))
    if cell.uncertainty is not None:
        name = cell.uncertainty_title.removeprefix(cell.title).lstrip(" :")
        found.append((name or cell.uncertainty_title, _with_unit(cell.uncertainty, cell.uncertainty_unit)))
    if cell.applicable is not None:
        found.append(("model applies here", "yes" if cell.applicable else "no: extrapolated"))
    if cell.generalised is not None:
        found.append(("generalised", squares_in_words(cell.generalised, "en")))
    found.append(("map", f"{cell.epoch}, {cell.start[:10]} to {cell.end[:10]}"))
    return found


def _with_unit(value: float, unit: str) -> str:
    return f"{value:g}" if unit in _UNITLESS else f"{value:g} {unit}"


WRITERS: Mapping[str, Callable[[Clicked], bytes]] = {JSON: _as_json, TEXT: _as_text, HTML: _as_html, GML: _as_gml}
"""By the name of the format."""
