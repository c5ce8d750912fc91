"""What a request of the OGC APIs may carry: one table, by which requests are checked and the OpenAPI document is written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import shapely

from geoplantnet.serving.crs import CRS84, CRSS, Bounds, Crs, bounds_of, crs_of, reproject_bounds, transformer
from geoplantnet.serving.exceptions import InvalidDimensionValue, InvalidParameter, shown

NUMBER = r"[+-]?([0-9]{1,15}(\.[0-9]{0,15})?|\.[0-9]{1,15})([eE][+-]?[0-9]{1,2})?"
URIS = [crs.uri for crs in CRSS.values()]
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")
_DATE = r"\d{4}(-\d{2}(-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}:\d{2}))?)?)?"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a query string."""

    name: str
    about: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    """JSON schema of its value. Of it `type`, `enum`, `pattern`, `minimum`, `maximum`, `maxLength` and, of arrays of numbers, `minItems`
    are obeyed."""

    def check(self, text: str) -> None:
        """Raises InvalidParameter."""
        if not _holds(self.schema, text):
            raise InvalidParameter(f"{self.name}={shown(text)} is malformed or not offered here; {self.about}")

    def describe(self) -> dict[str, Any]:
        """As OpenAPI 3.0 describes it."""
        told = {"name": self.name, "in": "query", "description": self.about, "required": False, "schema": dict(self.schema)}
        return told | ({"style": "form", "explode": False} if self.schema["type"] == "array" else {})


def _holds(schema: Mapping[str, Any], text: str) -> bool:
    if "enum" in schema:
        return text in schema["enum"]
    match schema["type"]:
        case "boolean":
            return text in ("true", "false")
        case "integer":
            return bool(_INTEGER.fullmatch(text)) and schema.get("minimum", -math.inf) <= int(text) <= schema.get("maximum", math.inf)
        case "number":
            return bool(re.fullmatch(NUMBER, text)) and schema.get("minimum", -math.inf) <= float(text) <= schema.get("maximum", math.inf)
        case "array":
            parts = text.split(",")
            return schema["minItems"] <= len(parts) <= schema["maxItems"] and all(_holds(schema["items"], part) for part in parts)
    return len(text) <= schema.get("maxLength", 200) and bool(re.search(schema.get("pattern", ""), text))


def _choice(name: str, about: str, values: Iterable[str]) -> Parameter:
    offered = list(values)
    return Parameter(name=name, about=f"{about}: {', '.join(offered)}", schema={"type": "string", "enum": offered})


def _pattern(name: str, about: str, pattern: str, length: int = 200) -> Parameter:
    return Parameter(name=name, about=about, schema={"type": "string", "pattern": f"^{pattern}$", "maxLength": length})


def text(length: int = 200) -> dict[str, Any]:
    """The schema of a word or name without control characters."""
    return {"type": "string", "pattern": r"^[^\x00-\x1f\x7f]*$", "maxLength": length}


def choice_of_format(*names: str) -> Parameter:
    """`f`, of these formats."""
    return _choice("f", "the format", names)


F = choice_of_format("json", "html")
BBOX = Parameter(
    name="bbox",
    about="four numbers, minimum corner then maximum corner, in longitude, latitude or in the axis order of bbox-crs",
    schema={"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
)
BBOX_CRS = _choice("bbox-crs", "CRS of bbox", URIS)
CRS = _choice("crs", "CRS of the answer", URIS)
DATETIME = _pattern(
    "datetime", "a date or moment (RFC 3339), or start/end with .. for an open end", rf"(\.\.|{_DATE})?(/(\.\.|{_DATE})?)?", 80
)
SCENARIO = _pattern("scenario", "name of a scenario, or today", "[A-Za-z0-9_.-]{1,60}", 60)
LAMBDA = _pattern(
    "lambda",
    "of the style presence: the probability, 0 to 1, above which a species is present, or set for the cells' own species sets",
    r"(set|0(\.[0-9]{0,12})?|1(\.0{0,12})?|\.[0-9]{1,12})",
    20,
)
LIMIT = Parameter(
    name="limit",
    about="most items of one answer; at most 1000 come",
    schema={"type": "integer", "minimum": 1, "maximum": 100_000, "default": 10},
)
OFFSET = Parameter(
    name="offset", about="items to pass over", schema={"type": "integer", "minimum": 0, "maximum": 100_000_000, "default": 0}
)
Q = _pattern("q", "words that are looked for in names", r"[^\x00-\x1f\x7f]{1,200}")
NAMES = _pattern("properties", "names of properties, separated by commas", r"[A-Za-z0-9_.,-]{1,2000}", 2000)
LANG = _pattern("lang", "the language; there is one, English", "[A-Za-z-]{1,20}", 20)

DOCUMENT = (F, LANG)
ITEMS = (
    F,
    LANG,
    LIMIT,
    OFFSET,
    BBOX,
    BBOX_CRS,
    CRS,
    DATETIME,
    NAMES,
    Parameter(name="skipGeometry", about="leave geometries out", schema={"type": "boolean"}),
    _choice("resulttype", "hits counts only", ("results", "hits")),
)
ITEM = (F, LANG, CRS)
_SUBSET = rf"[xy]\({NUMBER}(:{NUMBER})?\)"
COVERAGE = (
    choice_of_format("json", "GTiff"),
    LANG,
    BBOX,
    BBOX_CRS,
    DATETIME,
    SCENARIO,
    NAMES,
    _pattern("subset", "an interval of an axis or of both, such as x(4100000:4150000),y(2550000:2600000)", rf"{_SUBSET}(,{_SUBSET})?"),
    Parameter(
        name="scale-factor",
        about="so many times fewer cells along each axis",
        schema={"type": "number", "minimum": 1, "maximum": 10_000},
    ),
    _pattern("scale-size", "cells along the axes, such as x(400),y(400)", r"[xy]\([1-9][0-9]{0,4}\),[xy]\([1-9][0-9]{0,4}\)"),
)


def checked(pairs: Iterable[tuple[str, str]], known: Iterable[Parameter]) -> dict[str, str]:
    """A query, once each parameter is known, given once and well formed. Raises InvalidParameter."""
    by_name = {parameter.name: parameter for parameter in known}
    query: dict[str, str] = {}
    for name, value in pairs:
        if name not in by_name:
            raise InvalidParameter(f"parameter {shown(name)} is not known here; use {', '.join(by_name)}")
        if name in query:
            raise InvalidParameter(f"parameter {name!r} is given more than once; give it once")
        by_name[name].check(value)
        query[name] = value
    if "bbox-crs" in query and "bbox" not in query:
        raise InvalidParameter("bbox-crs is given without a bbox; give both or none")
    return query


# ---- where and when


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box as it was asked for."""

    bounds: Bounds
    """West, south, east, north in `crs`."""
    crs: Crs

    def polygon(self, target: str) -> shapely.Polygon | None:
        """Its image in another CRS, its edges followed; cut to where both CRS are meant to be used. None where nothing is left."""
        bounds = self.bounds
        if usable := _usable(self.crs.name, target):
            (west, south, east, north), (w, s, e, n) = bounds, usable
            bounds = max(west, w), max(south, s), min(east, e), min(north, n)
        if bounds[0] >= bounds[2] or bounds[1] >= bounds[3]:
            return None
        box = shapely.box(*bounds)
        if self.crs.name == target:
            return box
        step = max(bounds[2] - bounds[0], bounds[3] - bounds[1]) / 64
        ring = shapely.get_coordinates(shapely.segmentize(box, step))
        moved = np.stack(transformer(self.crs.name, target).transform(ring[:, 0], ring[:, 1]), axis=1)
        return shapely.make_valid(shapely.Polygon(moved)) if np.isfinite(moved).all() else None

    def bounds_in(self, target: str) -> Bounds | None:
        """The box around it in another CRS, so cut; None where nothing is left."""
        shape = self.polygon(target)
        return None if shape is None else shape.bounds


def box_of(query: Mapping[str, str]) -> Box | None:
    """The box of a checked query. Raises InvalidParameter."""
    if "bbox" not in query:
        return None
    crs = crs_of(query.get("bbox-crs", CRS84.uri))
    return Box(bounds=bounds_of(query["bbox"], north_first=crs.north_first), crs=crs)


@lru_cache(maxsize=32)
def _usable(source: str, target: str) -> Bounds | None:
    """Where both CRS are meant to be used, in `source`."""
    areas = [CRSS[name].definition.area_of_use for name in {source, target} if name in CRSS]
    known = [area.bounds for area in areas if area]
    if not known:
        return None
    around = max(b[0] for b in known), max(b[1] for b in known), min(b[2] for b in known), min(b[3] for b in known)
    return reproject_bounds(around, CRS84.name, source)


def times_of(text: str) -> tuple[datetime | None, datetime | None]:
    """The two ends of `datetime`; None = open. Raises InvalidDimensionValue."""
    parts = text.split("/")
    ends = [_moment(part, text) for part in parts]
    if len(parts) == 1 and ends[0] is None:
        raise InvalidDimensionValue(f"datetime={shown(text)} says no time; {DATETIME.about}")
    start, end = ends[0], ends[-1]
    if start and end and start > end:
        raise InvalidDimensionValue(f"datetime={shown(text)} ends before it starts; write start/end")
    return start, end


def _moment(part: str, text: str) -> datetime | None:
    if part in ("", ".."):
        return None
    try:
        moment = datetime.fromisoformat(part + {4: "-01-01", 7: "-01"}.get(len(part), ""))
    except ValueError:
        raise InvalidDimensionValue(f"datetime={shown(text)} is no time; {DATETIME.about}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
