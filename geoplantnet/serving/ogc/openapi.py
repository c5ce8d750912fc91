"""The OpenAPI 3.0 document of what is served, whole in itself: pygeoapi's own refers to schemas on another host, and grows with collections.

Every parameter is described from the table that requests are checked by (`parameters`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from geoplantnet import __version__
from geoplantnet.catalog.product import Layer
from geoplantnet.serving.atlas import Atlas
from geoplantnet.serving.capabilities import extents
from geoplantnet.serving.crs import CRS84
from geoplantnet.serving.ogc.features import Features
from geoplantnet.serving.ogc.parameters import COVERAGE, DOCUMENT, ITEM, ITEMS, Parameter

_OGC = "http://www.opengis.net/spec"
CONFORMANCE = (
    *(f"{_OGC}/ogcapi-common-1/1.0/conf/{name}" for name in ("core", "landing-page", "json", "html", "oas30")),
    *(f"{_OGC}/ogcapi-common-2/1.0/conf/{name}" for name in ("collections", "simple-query", "json", "html")),
    *(f"{_OGC}/ogcapi-features-1/1.0/conf/{name}" for name in ("core", "oas30", "html", "geojson")),
    f"{_OGC}/ogcapi-features-2/1.0/conf/crs",
    *(f"{_OGC}/ogcapi-features-3/1.0/conf/{name}" for name in ("queryables", "queryables-query-parameters")),
    *(f"{_OGC}/ogcapi-features-5/1.0/conf/{name}" for name in ("schemas", "core-roles-features")),
    *(f"{_OGC}/ogcapi-records-1/1.0/conf/{name}" for name in ("record-core", "record-collection", "json", "html")),
    *(
        f"{_OGC}/ogcapi-coverages-1/1.0/conf/{name}"
        for name in ("core", "scaling", "subsetting", "fieldselection", "geotiff", "coveragejson", "oas30")
    ),
)
"""The classes that are met: told by hand, since pygeoapi lists those of all its modules."""

Document = dict[str, Any]
JSON, HTML, GEOJSON, PROBLEM = "application/json", "text/html", "application/geo+json", "application/problem+json"
_TEXT = {"type": "string"}
_LINKS = {"type": "array", "items": {"$ref": "#/components/schemas/link"}}
SCHEMAS: Document = {
    "link": {
        "type": "object",
        "required": ["href", "rel"],
        "properties": {"href": _TEXT, "rel": _TEXT, "type": _TEXT, "title": _TEXT},
    },
    "exception": {
        "type": "object",
        "required": ["type"],
        "properties": {"type": _TEXT, "code": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT, "description": _TEXT},
    },
    "landing": {
        "type": "object",
        "required": ["links"],
        "properties": {"title": _TEXT, "description": _TEXT, "links": _LINKS},
    },
    "conformance": {"type": "object", "required": ["conformsTo"], "properties": {"conformsTo": {"type": "array", "items": _TEXT}}},
    "collection": {
        "type": "object",
        "required": ["id", "links", "extent"],
        "properties": {
            "id": _TEXT,
            "title": _TEXT,
            "description": _TEXT,
            "links": _LINKS,
            "extent": {"type": "object"},
            "crs": {"type": "array", "items": _TEXT},
            "storageCrs": _TEXT,
            "itemType": _TEXT,
        },
    },
    "collections": {
        "type": "object",
        "required": ["collections", "links"],
        "properties": {"collections": {"type": "array", "items": {"$ref": "#/components/schemas/collection"}}, "links": _LINKS},
    },
    "schema": {"type": "object", "required": ["type", "properties"], "properties": {"type": _TEXT, "properties": {"type": "object"}}},
    "feature": {
        "type": "object",
        "required": ["type", "id", "geometry", "properties"],
        "properties": {
            "type": {"type": "string", "enum": ["Feature"]},
            "id": _TEXT,
            "geometry": {"type": "object", "nullable": True, "required": ["type"], "properties": {"type": _TEXT}},
            "properties": {"type": "object"},
        },
    },
    "features": {
        "type": "object",
        "required": ["type", "features", "links", "numberReturned"],
        "properties": {
            "type": {"type": "string", "enum": ["FeatureCollection"]},
            "features": {"type": "array", "items": {"$ref": "#/components/schemas/feature"}},
            "links": _LINKS,
            "numberMatched": {"type": "integer", "minimum": 0},
            "numberReturned": {"type": "integer", "minimum": 0},
        },
    },
    "coverage": {
        "type": "object",
        "required": ["type", "domain", "parameters", "ranges"],
        "properties": {
            "type": {"type": "string", "enum": ["Coverage"]},
            "domain": {"type": "object"},
            "parameters": {"type": "object"},
            "ranges": {"type": "object"},
        },
    },
}


def document(
    atlas: Atlas,
    url: str,
    items: Mapping[str, Features],
    gridded: Mapping[str, Mapping[str, Layer]],
    *,
    paths_of_others: Iterable[Document] = (),
    schemas_of_others: Document | None = None,
) -> Document:
    """The document of a service at `url`, with the paths and schemas of other modules."""
    paths: Document = {
        "/": {"get": get("Landing page", DOCUMENT, {JSON: ref("landing"), HTML: _TEXT})},
        "/conformance": {"get": get("Conformance classes", DOCUMENT, {JSON: ref("conformance"), HTML: _TEXT})},
        "/openapi": {"get": get("This document", DOCUMENT, {"application/vnd.oai.openapi+json": {"type": "object"}, HTML: _TEXT})},
        "/collections": {"get": get("The collections", DOCUMENT, {JSON: ref("collections"), HTML: _TEXT})},
    }
    one = path_parameter("collectionId", "a collection", [*items, *gridded])
    for ending, title, schema, media_type in (
        ("", "A collection", "collection", JSON),
        ("/schema", "Properties or fields of a collection", "schema", "application/schema+json"),
        ("/queryables", "What a collection can be asked by", "schema", "application/schema+json"),
    ):
        answers = {media_type: ref(schema), HTML: _TEXT}
        paths[f"/collections/{{collectionId}}{ending}"] = {"parameters": [one], "get": get(title, DOCUMENT, answers, missing=True)}
    for name, source in items.items():
        found = {GEOJSON: ref("features"), HTML: _TEXT}
        path = f"/collections/{name}/items"
        paths[path] = {"get": get(f"Items of {name}", (*ITEMS, *source.parameters), found)}
        item = {"name": "itemId", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,100}$"}}
        answers = {GEOJSON: ref("feature"), JSON: ref("feature"), HTML: _TEXT}
        paths[f"{path}/{{itemId}}"] = {"parameters": [item], "get": get(f"One item of {name}", ITEM, answers, missing=True)}
    cells = {
        "application/prs.coverage+json": ref("coverage"),
        "image/tiff; application=geotiff": {"type": "string", "format": "binary"},
    }
    paths["/collections/{coverageId}/coverage"] = {
        "parameters": [path_parameter("coverageId", "a coverage", gridded)],
        "get": get("Cells of a coverage", COVERAGE, cells, missing=True),
    }
    for more in paths_of_others:
        paths |= more
    _exemplify(paths, [round(side, 4) for side in extents(atlas.catalog)[CRS84.name]])
    return {
        "openapi": "3.0.3",
        "info": {
            "title": atlas.catalog.title,
            "description": f"{atlas.catalog.description} {atlas.catalog.notice}".strip(),
            "version": __version__,
            "license": {"name": atlas.catalog.license},
        },
        "servers": [{"url": f"{url}/ogc"}],
        "paths": paths,
        "components": {"schemas": SCHEMAS | (schemas_of_others or {})},
    }


def _exemplify(paths: Document, extent: list[float]) -> None:
    """Boxes that meet something, for people who try the document out, and for testers."""
    for verbs in paths.values():
        for operation in verbs.values():
            if not isinstance(operation, dict):
                continue
            for parameter in operation.get("parameters", []):
                if parameter["name"] == "bbox":
                    parameter["example"] = extent
            for content in operation.get("requestBody", {}).get("content", {}).values():
                content["example"] = {"inputs": {"area": {"bbox": extent}}}


def ref(schema: str) -> Document:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{schema}"}


def path_parameter(name: str, about: str, values: Iterable[str]) -> Document:
    """A part of a path that is one of these."""
    return {"name": name, "in": "path", "description": about, "required": True, "schema": {"type": "string", "enum": list(values)}}


def get(summary: str, parameters: Iterable[Parameter], answers: Mapping[str, Document], *, missing: bool = False, **more: Any) -> Document:
    """An operation that reads: the media types of its answer with their schemas, and whether what it asks for may not be there."""
    return {
        "summary": summary,
        "parameters": [parameter.describe() for parameter in parameters],
        "responses": {"200": {"description": summary, "content": _content(answers)}, **refusals(missing=missing)},
        **more,
    }


_REFUSED = {
    "400": "The request is wrong; the answer says how",
    "401": "The API key is none",
    "414": "The query is too long",
    "429": "The key's requests of today are spent",
}
"""What every operation may be answered."""


def refusals(*, missing: bool = False) -> Document:
    """The answers to requests that are wrong, or come at a bad moment."""
    content = _content({PROBLEM: ref("exception"), JSON: ref("exception")})
    told = {status: {"description": words, "content": content} for status, words in _REFUSED.items()}
    if missing:
        told["404"] = {"description": "There is nothing of this name", "content": content}
    return told | {"503": {"description": "The server is busy; Retry-After says when to ask again", "content": content}}


def _content(answers: Mapping[str, Document]) -> Document:
    return {media_type: {"schema": schema} for media_type, schema in answers.items()}
