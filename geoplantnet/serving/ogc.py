"""OGC API Features, Records and Coverages over the catalog: pygeoapi's core behind a narrow door.

pygeoapi answers; this module decides what reaches it. Its own web application reads configuration at import, has
routes that write, run processes and fetch URLs, and fails on some malformed parameters. So only the few routes that
read are here, parameters are checked before (unknown ones are refused, as OGC API asks), and links to what is not
served are taken out of the answers. HTML pages are the JSON answers drawn plainly: they need no other host.

    tiles                  features: the meta-tiles
    species                records: one a species, with the name of its field in
    species-probability    coverage: one field a species, chosen by `properties`
    <layer id>             coverage: every other layer
"""

from __future__ import annotations

import html
import json
import logging
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

import pygeoapi.api as core
from pygeoapi.api import coverages, itemtypes
from pygeoapi.openapi import get_oas
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from geoplantnet import __version__
from geoplantnet.catalog import Catalog, Layer, PublishedTile
from geoplantnet.catalog.stac import COLLECTION
from geoplantnet.serving.atlas import SPECIES_PREFIX, Atlas
from geoplantnet.serving.capabilities import extents
from geoplantnet.serving.crs import CRS84, CRSS, bounds_of, crs_of, reproject_bounds, transformer
from geoplantnet.serving.exceptions import InvalidParameter, fault_of, shown
from geoplantnet.serving.guard.refusal import PROBLEM, problem
from geoplantnet.serving.providers import GEOTIFF, FeatureTable

_MAX_ITEMS = 1000
_NOT_SERVED = re.compile(r"/(processes|jobs|TileMatrixSets|stac)\b|[?&]f=(jsonld|csv)")
_PLUGINS = "geoplantnet.serving.providers"

_COMMON = {"f": r"json|html", "lang": r"[A-Za-z-]{1,20}"}
_BOX = {"bbox": r"[0-9A-Za-z+.,-]{1,200}", "bbox-crs": r"\S{1,100}"}
_CHECKS: dict[str, dict[str, str]] = {
    "document": _COMMON,
    "items": _COMMON
    | _BOX
    | {
        "crs": "|".join(re.escape(crs.uri) for crs in CRSS.values()),
        "limit": r"[1-9][0-9]{0,5}",
        "offset": r"[0-9]{1,9}",
        "datetime": r"[0-9TZ:./+-]{1,80}",
        "properties": r"[A-Za-z0-9_.,-]{1,2000}",
        "skipGeometry": r"true|false",
        "resulttype": r"results|hits",
        "q": r"[^\x00-\x1f]{1,200}",
    },
    "item": _COMMON | {"crs": "|".join(re.escape(crs.uri) for crs in CRSS.values())},
    "coverage": _BOX
    | {
        "f": rf"json|{GEOTIFF['name']}",
        "lang": _COMMON["lang"],
        "properties": r"[A-Za-z0-9_.,-]{1,2000}",
        "subset": r"[xy]\([0-9.+-]{1,20}:[0-9.+-]{1,20}\)(,[xy]\([0-9.+-]{1,20}:[0-9.+-]{1,20}\))?",
        "datetime": r"[0-9TZ:./+-]{1,80}",
    },
}
"""What each kind of request may carry, as regular expressions the whole value has to match."""

ApiFunction = Callable[..., tuple[dict[str, str], int, Any]]


class OgcApi:
    """The OGC API over one catalog."""

    def __init__(self, atlas_of: Callable[[Request], Atlas], public_url: Callable[[Request], str]) -> None:
        """`atlas_of` gives what a request may see, `public_url` the URL it reaches the whole server by (without a slash at the end)."""
        self._atlas_of = atlas_of
        self._public_url = public_url
        self._api = lru_cache(maxsize=16)(self._make_api)
        self._conforms: Any = None
        logging.getLogger("pygeoapi").setLevel(logging.CRITICAL)  # it logs every refused request with a stack trace

    def routes(self, prefix: str) -> list[Route]:
        """The routes below `prefix`, such as ``/ogc``."""
        collections = f"{prefix}/collections"
        collection = f"{collections}/{{collection}}"
        return [
            self._route(prefix, core.landing_page),
            self._route(f"{prefix}/", core.landing_page),
            self._route(f"{prefix}/conformance", self._conformance),
            self._route(f"{prefix}/openapi", core.openapi_),
            self._route(collections, core.describe_collections),
            self._route(collection, core.describe_collections),
            self._route(f"{collection}/schema", core.get_collection_schema),
            self._route(f"{collection}/queryables", itemtypes.get_collection_queryables),
            self._route(f"{collection}/items", itemtypes.get_collection_items, "items"),
            self._route(f"{collection}/items/{{item}}", itemtypes.get_collection_item, "item"),
            self._route(f"{collection}/coverage", coverages.get_collection_coverage, "coverage"),
        ]

    def _route(self, path: str, function: ApiFunction, kind: str = "document") -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                query = _checked(request, kind)
                as_html = _wants_html(request, query) and kind != "coverage"
                api = self._api(self._public_url(request), self._atlas_of(request))
                clean = await core.APIRequest.from_starlette(_clean_request(request, query), api.locales)
                headers, status, content = await run_in_threadpool(function, api, clean, *request.path_params.values())
            except Exception as error:
                return _problem(error)
            return _response(headers, status, content, as_html)

        return Route(path, endpoint, methods=["GET"])

    def _make_api(self, url: str, atlas: Atlas) -> core.API:
        config = configuration(atlas, url)
        description = get_oas(config)
        description["info"]["version"] = __version__
        description["paths"] = {
            path: {verb: operation for verb, operation in verbs.items() if verb == "get"}
            for path, verbs in description["paths"].items()
            if not _NOT_SERVED.search(path) and "get" in verbs
        }
        return core.API(config, description)

    def _conformance(self, api: core.API, request: core.APIRequest) -> tuple[dict[str, str], int, Any]:
        """Asked of pygeoapi once: its list of classes grows with every call."""
        if self._conforms is None:
            before = list(core.CONFORMANCE_CLASSES)
            headers, status, content = core.conformance(api, request)
            core.CONFORMANCE_CLASSES[:] = before
            self._conforms = dict(headers), status, content
        headers, status, content = self._conforms
        return dict(headers), status, content


def configuration(atlas: Atlas, url: str) -> dict[str, Any]:
    """Pygeoapi's configuration for a store served at `url`. Nothing is read from or written to files."""
    catalog, mosaic = atlas.catalog, atlas.today.mosaic
    west, south, east, north = extents(catalog)[CRS84.name]
    extent = {"spatial": {"bbox": [west, south, east, north], "crs": CRS84.uri}}

    def collection(title: str, description: str, provider: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "collection",
            "title": title,
            "description": description,
            "keywords": ["biodiversity", "plants"],
            "links": [{"type": "application/json", "rel": "describedby", "title": "STAC catalog", "href": f"{url}/stac/catalog.json"}],
            "extents": extent,
            "providers": [provider],
        }

    def coverage(layers: Mapping[str, Layer]) -> dict[str, Any]:
        return {"type": "coverage", "name": f"{_PLUGINS}.Coverage", "data": mosaic, "options": {"layers": dict(layers)}, "format": GEOTIFF}

    uris = [crs.uri for crs in CRSS.values()]
    taxa = [taxon.taxon_id for taxon in atlas.taxa]
    published = [layer.id.removeprefix(SPECIES_PREFIX) for layer in catalog.layers.values() if layer.id.startswith(SPECIES_PREFIX)]
    species = {taxon_id: atlas.species_layer(taxon_id) for taxon_id in taxa or published}
    tiles = {
        "type": "feature",
        "name": f"{_PLUGINS}.Table",
        "id_field": "tile",
        "crs": uris,
        "storage_crs": CRS84.uri,
        "data": _tile_table(catalog, url),
    }
    resources = {"tiles": collection("Meta-tiles", "Square tiles the maps are made and published by, with their files.", tiles)}
    if species:
        records = {
            "type": "record",
            "name": f"{_PLUGINS}.Table",
            "id_field": "taxonID",
            "title_field": "title",
            "data": _species_table(species, catalog, url),
        }
        resources["species"] = collection("Species", f"The mapped species. {catalog.notice}", records)
        resources["species-probability"] = collection(
            "Species maps", f"One field a species; choose by properties=. {catalog.notice}", coverage(species)
        )
    for layer in catalog.layers.values():
        if not layer.id.startswith(SPECIES_PREFIX):
            resources[layer.id] = collection(layer.title, f"{layer.description} {layer.direction}".strip(), coverage({layer.id: layer}))
    return {
        "server": {
            "bind": {"host": "127.0.0.1", "port": 80},
            "url": f"{url}/ogc",
            "mimetype": "application/json; charset=UTF-8",
            "encoding": "utf-8",
            "gzip": False,
            "languages": ["en-US"],
            "cors": False,
            "pretty_print": False,
            "admin": False,
            "limits": {"default_items": 10, "max_items": _MAX_ITEMS, "on_exceed": "throttle"},
            "map": {"url": "", "attribution": ""},
        },
        "logging": {"level": "ERROR"},
        "metadata": {
            "identification": {
                "title": catalog.title,
                "description": f"{catalog.description} {catalog.notice}".strip(),
                "keywords": ["biodiversity", "plants", "species distribution model"],
                "keywords_type": "theme",
                "terms_of_service": catalog.license,
                "url": url,
            },
            "license": {"name": catalog.license, "url": f"{url}/stac/catalog.json"},
            "provider": {"name": catalog.title, "url": url},
            "contact": {"name": catalog.title, "url": url},
        },
        "resources": resources,
    }


def _tile_table(catalog: Catalog, url: str) -> FeatureTable:
    def feature(tile: PublishedTile) -> dict[str, Any]:
        west, south, east, north = tile.bounds
        ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
        lon, lat = transformer(tile.crs, CRS84.name).transform([x for x, _ in ring], [y for _, y in ring])
        properties = {
            "tile": tile.id,
            "crs": tile.crs,
            "west": west,
            "south": south,
            "east": east,
            "north": north,
            "assets": ", ".join(key for key in tile.assets if key not in catalog.withheld),
            "item": f"{url}/stac/{COLLECTION}/{tile.id}/{tile.id}.json",
        }
        geometry = {"type": "Polygon", "coordinates": [[[round(x, 7), round(y, 7)] for x, y in zip(lon, lat, strict=True)]]}
        return {"type": "Feature", "id": tile.id, "geometry": geometry, "properties": properties}

    fields = {
        "tile": "string",
        "crs": "string",
        "west": "number",
        "south": "number",
        "east": "number",
        "north": "number",
        "assets": "string",
        "item": "string",
    }
    return FeatureTable([feature(tile) for tile in catalog.tiles], fields)


def _species_table(species: Mapping[str, Layer], catalog: Catalog, url: str) -> FeatureTable:
    west, south, east, north = extents(catalog)[CRS84.name]
    geometry = {"type": "Polygon", "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]]}

    def record(taxon_id: str, layer: Layer) -> dict[str, Any]:
        properties = {
            "type": "dataset",
            "title": layer.title,
            "description": layer.description,
            "taxonID": taxon_id,
            "layer": layer.id,
            "unit": layer.unit,
            "coverage": f"{url}/ogc/collections/species-probability/coverage?properties={taxon_id}",
        }
        return {"type": "Feature", "id": taxon_id, "geometry": geometry, "properties": properties}

    fields = dict.fromkeys(("type", "title", "description", "taxonID", "layer", "unit", "coverage"), "string")
    return FeatureTable([record(taxon_id, layer) for taxon_id, layer in species.items()], fields)


def _checked(request: Request, kind: str) -> dict[str, str]:
    """The query, once each parameter is known, given once and well formed. A box is in longitude, latitude, or with its own CRS for a coverage."""
    checks = _CHECKS[kind]
    query: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in checks:
            raise InvalidParameter(f"parameter {shown(name)} is not known here; use {', '.join(checks)}")
        if name in query:
            raise InvalidParameter(f"parameter {name!r} is given more than once; give it once")
        if not re.fullmatch(checks[name], value):
            raise InvalidParameter(f"{name}={shown(value)} is malformed or not offered here")
        query[name] = value
    if "bbox" in query:
        crs = crs_of(query.get("bbox-crs", CRS84.uri))
        bounds = bounds_of(query["bbox"], north_first=crs.north_first)
        if kind == "items":  # pygeoapi would reproject two corners; the edges matter
            box = reproject_bounds(bounds, crs.name, CRS84.name)
            if box is None:
                raise InvalidParameter(f"bbox={shown(query['bbox'])} has no image in longitude and latitude")
            query["bbox"] = ",".join(map(repr, box))
            query.pop("bbox-crs", None)
    elif "bbox-crs" in query:
        raise InvalidParameter("bbox-crs is given without a bbox; give both or none")
    query.pop("lang", None)
    query.pop("datetime", None)  # nothing here has a time of its own: every time matches
    return query


def _wants_html(request: Request, query: Mapping[str, str]) -> bool:
    if "f" in query:
        return query["f"] == "html"
    return request.headers.get("accept", "").split(",")[0].split(";")[0].strip() == "text/html"


def _clean_request(request: Request, query: Mapping[str, str]) -> Request:
    """The request pygeoapi sees: the checked parameters, JSON wanted, none of the client's headers."""
    wanted = {name: value for name, value in query.items() if name != "f" or value != "html"}
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": request.scope["path"],
            "query_string": urlencode(wanted).encode(),
            "headers": [(b"accept", b"application/json")],
        },
        receive=_no_body,
    )


async def _no_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def _response(headers: Mapping[str, str], status: int, content: Any, as_html: bool) -> Response:
    kept = {name: value for name, value in headers.items() if name not in ("X-Powered-By", "Content-Type", "Content-Encoding")}
    media_type = headers.get("Content-Type", "application/json")
    if isinstance(content, bytes):
        return Response(content, status, kept, media_type)
    document = _only_served(json.loads(content) if isinstance(content, str) else content)
    if as_html:
        return Response(_page(document), status, kept, "text/html")
    return Response(json.dumps(document, ensure_ascii=False, allow_nan=False), status, kept, media_type)


def _only_served(value: Any) -> Any:
    """A document without the links that lead to what is not served."""
    if isinstance(value, dict):
        return {k: _only_served(v) for k, v in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        return [_only_served(v) for v in value if not (isinstance(v, dict) and _NOT_SERVED.search(str(v.get("href", ""))))]
    return value


def _problem(error: Exception) -> Response:
    fault, message = fault_of(error)
    code = "NotFound" if fault.status == HTTPStatus.NOT_FOUND else fault.code
    return Response(_exception(fault.status, message, code), fault.status, media_type=PROBLEM)


def ogc_exception(scope: Mapping[str, Any], status: HTTPStatus, message: str) -> tuple[bytes, str]:
    """How a client of the OGC APIs is told that the guard refuses its request: both as OGC API and as RFC 9457 name it."""
    return _exception(status, message, "NoApplicableCode"), PROBLEM


def _exception(status: HTTPStatus, message: str, code: str) -> bytes:
    return problem(status, message, {"type": code, "code": code, "description": message})


def _page(document: dict[str, Any]) -> str:
    """A JSON document as a plain HTML page: what it is, where it leads, and the document itself."""
    title = html.escape(str(document.get("title") or document.get("id") or document.get("type") or "OGC API"))
    about = html.escape(str(document.get("description", "")))
    pages = "".join(
        f'<li><a href="{html.escape(_here(item["links"]))}">{html.escape(str(item["title"]))}</a></li>'
        for item in document.get("collections", [])
    )
    links = "".join(
        f'<li><a href="{html.escape(str(link["href"]))}">{html.escape(str(link.get("title", link["href"])))}</a></li>'
        for link in document.get("links", [])
        if urlsplit(str(link.get("href", ""))).scheme in ("http", "https")
    )
    text = html.escape(json.dumps(document, indent=1, ensure_ascii=False))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head><body><h1>{title}</h1><p>{about}</p>'
        f"<ul>{pages}</ul><ul>{links}</ul><pre>{text}</pre></body></html>"
    )


def _here(links: list[dict[str, Any]]) -> str:
    """The HTML page of a collection, among its links."""
    return next(
        (str(link["href"]) for link in links if link.get("rel") in ("alternate", "self") and str(link.get("href", "")).endswith("f=html")),
        "",
    )
