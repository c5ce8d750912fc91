"""The routes of the OGC APIs: what reaches pygeoapi's core, what our own handlers answer, and how either leaves.

pygeoapi describes collections and answers items; its own web application, its process manager and its providers are not used (decision
007, 025). Parameters are checked before, unknown ones are refused as OGC API asks, and links to what is not served are taken out.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import pygeoapi.api as core
from pygeoapi.api import itemtypes
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from geoplantnet.catalog.product import Layer
from geoplantnet.errors import LayerNotFound, did_you_mean
from geoplantnet.serving.atlas import Atlas
from geoplantnet.serving.exceptions import Fault, StyleNotDefined, TileOutOfRange, TooLarge, fault_of, shown
from geoplantnet.serving.guard.refusal import PROBLEM
from geoplantnet.serving.guard.refusal import problem as problem_of
from geoplantnet.serving.ogc import executions, maps, pages
from geoplantnet.serving.ogc.collections import MAX_ITEMS, configuration, gridded, listed
from geoplantnet.serving.ogc.coverages import GEOTIFF, coverage
from geoplantnet.serving.ogc.executions import LIST, Failed, Processing
from geoplantnet.serving.ogc.features import Features, Query, asking, hidden_taxa
from geoplantnet.serving.ogc.jobs import Jobs
from geoplantnet.serving.ogc.occurrences import Occurrences, Records
from geoplantnet.serving.ogc.openapi import CONFORMANCE, document
from geoplantnet.serving.ogc.parameters import COVERAGE, DOCUMENT, ITEM, ITEMS, NAMES, Parameter, box_of, checked, times_of
from geoplantnet.serving.ogc.processes import Operator
from geoplantnet.serving.ogc.rows import ASSET, CoverageRows, make_rows
from geoplantnet.serving.settings import ServerSettings
from geoplantnet.serving.tiles import Pyramid

_NOT_SERVED = re.compile(r"/TileMatrixSets\b|[?&]f=(jsonld|csv)")
_JSON = "application/json"
_GEOJSON = "application/geo+json"

CoreFunction = Callable[..., tuple[dict[str, str], int, Any]]
Handler = Callable[["Service", Request, dict[str, str]], Response]


class Service:
    """The OGC APIs of one atlas, at one address."""

    def __init__(self, atlas: Atlas, url: str, further: Mapping[str, Features]) -> None:
        self.atlas, self.url = atlas, url
        self.items = listed(atlas, url, further)
        self.gridded = gridded(atlas)

    @cached_property
    def api(self) -> core.API:
        """Pygeoapi's."""
        return core.API(configuration(self.atlas, self.url, self.items), {})

    @cached_property
    def pyramid(self) -> Pyramid:
        """Its tiles."""
        return Pyramid(self.atlas)

    @cached_property
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        others, schemas = [maps.paths(self.gridded, self.pyramid), executions.paths()], maps.SCHEMAS | executions.SCHEMAS
        return document(self.atlas, self.url, self.items, self.gridded, paths_of_others=others, schemas_of_others=schemas)

    def features(self, name: str) -> Features:
        """A collection of features or records. Raises LayerNotFound with the nearest spellings."""
        return _named(name, self.items, "features or records")

    def layers(self, name: str) -> Mapping[str, Layer]:
        """The layers of a coverage by the names of its fields. Raises LayerNotFound with the nearest spellings."""
        return _named(name, self.gridded, "coverages")


def _named(name: str, among: Mapping[str, Any], kind: str) -> Any:
    if name not in among:
        raise LayerNotFound(f"collection {shown(name)} not found among those of {kind}.{did_you_mean(name[:60], among)}")
    return among[name]


class OgcApi:
    """The OGC APIs over an atlas."""

    def __init__(
        self,
        atlas: Callable[[Request], Atlas],
        public_url: Callable[[Request], str],
        settings: ServerSettings | None = None,
        *,
        operator: Operator | None = None,
    ) -> None:
        """`atlas` tells what a request may see, `public_url` the URL the whole server is reached by (without a slash at the end).

        `operator` maps a tile, where that is switched on. Raises ConfigurationError for a folder that can keep no jobs.
        """
        self._atlas, self._public_url = atlas, public_url
        self._settings = settings or ServerSettings()
        self._processing = Processing(Jobs(self._settings.jobs, scheduler=self._settings.scheduler), operator)
        self._records = lru_cache(maxsize=1)(
            lambda root, square, crs, sensitive: Records(root, square=square, crs=crs, sensitive=dict(sensitive))
        )
        self._further = lru_cache(maxsize=32)(self._make_further)
        self._service = lru_cache(maxsize=32)(self._make_service)
        logging.getLogger("pygeoapi").setLevel(logging.CRITICAL)  # it logs every refused request with a stack trace

    def routes(self, prefix: str) -> list[Route]:
        """The routes below `prefix`, such as ``/ogc``."""
        collections = f"{prefix}/collections"
        one = f"{collections}/{{collection}}"
        return [
            self._get(prefix, _core(core.landing_page, _landing)),
            self._get(f"{prefix}/", _core(core.landing_page, _landing)),
            self._get(f"{prefix}/conformance", _conformance),
            self._get(f"{prefix}/openapi", _openapi),
            self._get(collections, _core(core.describe_collections, _described)),
            self._get(one, _core(core.describe_collections, _described)),
            self._get(f"{one}/schema", _core(core.get_collection_schema)),
            self._get(f"{one}/queryables", _queryables),
            self._get(f"{one}/items", _items, lambda service, request: (*ITEMS, *_collection(service, request).parameters)),
            self._get(f"{one}/items/{{item}}", _core(itemtypes.get_collection_item), lambda service, request: ITEM),
            self._get(f"{one}/coverage", _coverage, lambda service, request: COVERAGE),
            *self._pictures(prefix, one),
            self._get(f"{prefix}/processes", self._processes, lambda service, request: LIST),
            self._get(f"{prefix}/processes/{{process}}", self._process),
            Route(f"{prefix}/processes/{{process}}/execution", self._execute, methods=["POST"]),
            self._get(f"{prefix}/processes/{{process}}/execution", _only_post),
            self._get(f"{prefix}/jobs", _unkept(self._jobs), lambda service, request: LIST),
            self._get(f"{prefix}/jobs/{{job}}", _unkept(self._job)),
            self._get(f"{prefix}/jobs/{{job}}", _unkept(self._dismiss), lambda service, request: (), method="DELETE"),
            self._get(f"{prefix}/jobs/{{job}}/results", _unkept(self._results), lambda service, request: ()),
        ]

    def _pictures(self, prefix: str, one: str) -> list[Route]:
        """Maps, tiles, styles."""
        found = [
            self._get(f"{prefix}/tileMatrixSets", _told(maps.matrix_sets)),
            self._get(f"{prefix}/tileMatrixSets/{{tiles}}", _told(maps.matrix_set)),
            self._get(f"{one}/styles", _told(maps.styles_of), lambda service, request: (*DOCUMENT, NAMES)),
            self._get(f"{one}/styles/{{style}}/legend", maps.legend_of, lambda service, request: maps.LEGEND),
        ]
        for base in (one, f"{one}/styles/{{style}}"):
            found += [
                self._get(f"{base}/map", maps.map_of, lambda service, request: maps.MAP),
                self._get(f"{base}/map/tiles", _told(maps.tilesets_of)),
                self._get(f"{base}/map/tiles/{{tiles}}", _told(maps.tileset_of)),
                self._get(f"{base}/map/tiles/{{tiles}}/{{z}}/{{row}}/{{col}}", maps.tile_of, lambda service, request: maps.TILE),
            ]
        return found

    def check(self, atlas: Atlas) -> None:
        """Raises ConfigurationError for settings that this store cannot follow."""
        self._further(atlas)

    def occurrences(self, atlas: Atlas) -> Occurrences | None:
        """The records that are told, where the operator publishes them."""
        found = self._further(atlas).get("occurrences")
        return found if isinstance(found, Occurrences) else None

    def close(self) -> None:
        """End the jobs at work."""
        self._processing.jobs.close()

    def _get(
        self,
        path: str,
        handler: Handler,
        known: Callable[[Service, Request], tuple[Parameter, ...]] = lambda service, request: DOCUMENT,
        method: str = "GET",
    ) -> Route:
        """A route; `known` are the parameters it takes."""

        def answer(request: Request) -> Response:
            try:
                service = self._service(self._atlas(request), self._public_url(request))
                query = checked(request.query_params.multi_items(), known(service, request))
                return handler(service, request, query)
            except Exception as error:
                return problem(error)

        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(answer, request)

        return Route(path, endpoint, methods=[method])

    # ---- processes

    def _processes(self, service: Service, request: Request, query: dict[str, str]) -> Response:
        return told_as(request, query, self._processing.listing(service, request, query))

    def _process(self, service: Service, request: Request, query: dict[str, str]) -> Response:
        return told_as(request, query, self._processing.description(service, request, request.path_params["process"]))

    async def _execute(self, request: Request) -> Response:
        try:
            checked(request.query_params.multi_items(), ())
            body = await _body(request, self._settings.max_body)
            service = self._service(self._atlas(request), self._public_url(request))
            return await run_in_threadpool(self._processing.execute, service, request, request.path_params["process"], body)
        except Exception as error:
            return problem(error)

    def _jobs(self, service: Service, request: Request, query: dict[str, str]) -> Response:
        return told_as(request, query, self._processing.job_list(service, request, query))

    def _job(self, service: Service, request: Request, query: dict[str, str]) -> Response:
        return told_as(request, query, executions.status(service, self._processing.job(request, request.path_params["job"])))

    def _dismiss(self, service: Service, request: Request, query: dict[str, str]) -> Response:
        job = self._processing.jobs.dismiss(self._processing.job(request, request.path_params["job"]))
        return told_as(request, query, executions.status(service, job))

    def _results(self, service: Service, request: Request, query: dict[str, str]) -> Response:
        return self._processing.results(request, request.path_params["job"])

    def _make_service(self, atlas: Atlas, url: str) -> Service:
        return Service(atlas, url, self._further(atlas))

    def _make_further(self, atlas: Atlas) -> dict[str, Features]:
        """The collections that are not made from the atlas alone; they may hold connections, so there is one of each an atlas."""
        settings, catalog = self._settings, atlas.catalog
        found: dict[str, Features] = {}
        if settings.postgis or any(ASSET in tile.assets for tile in catalog.tiles):
            rows = make_rows(catalog, postgis=settings.postgis, schema=settings.postgis_schema, species_list=lambda: _list_of(atlas))
            metres = {taxon_id: own.generalised for taxon_id, own in atlas.sensitive.items() if own.generalised}
            found["coverage"] = CoverageRows(rows, hidden=hidden_taxa(atlas), generalised=metres)
        if settings.occurrences:
            squares = tuple(sorted((taxon_id, own.records_square) for taxon_id, own in atlas.sensitive.items()))
            records = self._records(catalog.root, settings.occurrences, catalog.crs, squares)
            words = {taxon_id: own.generalisation for taxon_id, own in atlas.sensitive.items()}
            found["occurrences"] = Occurrences(records, hidden=hidden_taxa(atlas), words=words)
        return found


def _list_of(atlas: Atlas) -> str:
    return atlas.species.species.hash if atlas.species else ""


# ---- handlers


def _unkept(handler: Handler) -> Handler:
    """A handler whose answers, refusals too, no cache keeps: they are one client's, and change."""

    def answer(service: Service, request: Request, query: dict[str, str]) -> Response:
        try:
            response = handler(service, request, query)
        except Exception as error:
            response = problem(error)
        response.headers["Cache-Control"] = "no-store"
        return response

    return answer


def _core(function: CoreFunction, finish: Callable[[Service, dict[str, Any]], None] | None = None) -> Handler:
    """A handler that asks pygeoapi; `finish` mends its answer."""

    def handler(service: Service, request: Request, query: dict[str, str]) -> Response:
        headers, status, content = function(service.api, _clean_request(service, request, query), *request.path_params.values())
        told = _only_served(json.loads(content) if isinstance(content, (str, bytes)) else content)
        if status >= HTTPStatus.BAD_REQUEST:
            return _refused_by_core(status, told)
        if finish and status == HTTPStatus.OK:
            finish(service, told)
        return told_as(request, query, told, status=status, headers=headers, media_type=headers.get("Content-Type", _JSON))

    return handler


def _told(make: Callable[[Service, Request, Mapping[str, str]], dict[str, Any]]) -> Handler:
    """A handler of a document."""
    return lambda service, request, query: told_as(request, query, make(service, request, query))


def _landing(service: Service, told: dict[str, Any]) -> None:
    told["links"] = [link for link in told["links"] if link["rel"] != "about"]
    schemes = {"rel": "http://www.opengis.net/def/rel/ogc/1.0/tiling-schemes", "type": _JSON, "title": "Tile matrix sets"}
    told["links"].append({**schemes, "href": f"{service.url}/ogc/tileMatrixSets"})


def _described(service: Service, told: dict[str, Any]) -> None:
    """Collections that can be drawn say where."""
    for one in told.get("collections", [told]):
        if one["id"] in service.gridded:
            one["links"] += maps.links_of(service, one["id"])


def _conformance(service: Service, request: Request, query: dict[str, str]) -> Response:
    return told_as(request, query, {"title": "Conformance", "conformsTo": [*CONFORMANCE, *maps.CONFORMANCE, *executions.CONFORMANCE]})


def _openapi(service: Service, request: Request, query: dict[str, str]) -> Response:
    return told_as(request, query, service.openapi, media_type="application/vnd.oai.openapi+json;version=3.0")


def _collection(service: Service, request: Request) -> Features:
    return service.features(request.path_params["collection"])


def _queryables(service: Service, request: Request, query: dict[str, str]) -> Response:
    """What a collection's items can be asked by; of a coverage its fields, as pygeoapi tells them."""
    name = request.path_params["collection"]
    if name not in service.items:
        return _core(itemtypes.get_collection_queryables)(service, request, query)
    source = service.items[name]
    told = {
        "$schema": "https://json-schema.org/draft/2019-09/schema",
        "$id": f"{service.url}/ogc/collections/{name}/queryables",
        "type": "object",
        "title": service.api.config["resources"][name]["title"],
        "properties": {"geometry": {"format": "geometry-any", "x-ogc-role": "primary-geometry"}}
        | {one.name: {"title": one.name, "description": one.about, **one.schema} for one in source.parameters},
        "additionalProperties": False,
    }
    return told_as(request, query, told, media_type="application/schema+json")


def _items(service: Service, request: Request, query: dict[str, str]) -> Response:
    """Pygeoapi pages and transforms coordinates; what is asked for reaches the collection by `asking`."""
    name = request.path_params["collection"]
    own = {parameter.name for parameter in service.features(name).parameters}
    asked = Query(
        box=box_of(query),
        times=times_of(query["datetime"]) if "datetime" in query else (None, None),
        equal={key: value for key, value in query.items() if key in own and key != "q"},
        words=query.get("q", ""),
    )
    passed = {key: value for key, value in query.items() if key not in own and key not in ("bbox", "bbox-crs", "datetime")}
    with asking(asked):
        headers, status, content = itemtypes.get_collection_items(service.api, _clean_request(service, request, passed), name)
    told = json.loads(content)
    if status >= HTTPStatus.BAD_REQUEST:
        return _refused_by_core(status, told)
    told["links"] = _page_links(service, name, query, told)
    title = f"Items of {service.api.config['resources'][name]['title']}"
    return told_as(request, query, told, headers=headers, media_type=_GEOJSON, title=title)


def _page_links(service: Service, name: str, query: Mapping[str, str], told: Mapping[str, Any]) -> list[dict[str, str]]:
    """Links of a page, in the client's own words."""
    base = f"{service.url}/ogc/collections/{quote(name)}"
    offset, limit = int(query.get("offset", 0)), min(int(query.get("limit", 10)), MAX_ITEMS)
    kept = {key: value for key, value in query.items() if key not in ("f", "offset")}

    def link(rel: str, title: str, at: int, media_type: str = _GEOJSON, f: str = "json") -> dict[str, str]:
        place = {"offset": str(at)} if at else {}
        return {"rel": rel, "type": media_type, "title": title, "href": f"{base}/items?{urlencode({'f': f, **kept, **place})}"}

    links = [link("self", "This document", offset), link("alternate", "This document as HTML", offset, "text/html", "html")]
    if offset:
        links.append(link("prev", "The page before", max(offset - limit, 0)))
    more = told["numberMatched"] > offset + limit if "numberMatched" in told else len(told["features"]) == limit
    if more and query.get("resulttype") != "hits":
        links.append(link("next", "The next page", offset + limit))
    return [*links, {"rel": "collection", "type": _JSON, "title": "The collection", "href": base}]


def _only_post(service: Service, request: Request, query: dict[str, str]) -> Response:
    status = HTTPStatus.METHOD_NOT_ALLOWED
    body = _exception(status, "an execution is asked for by POST; the process's description says what it needs", "NoApplicableCode")
    return Response(body, status, {"Allow": "POST"}, PROBLEM)


def _coverage(service: Service, request: Request, query: dict[str, str]) -> Response:
    content, headers = coverage(service.atlas, service.layers(request.path_params["collection"]), query)
    if isinstance(content, bytes):
        name = request.path_params["collection"]
        return Response(
            content, headers={**headers, "Content-Disposition": f'attachment; filename="{name}.tif"'}, media_type=GEOTIFF["mimetype"]
        )
    return Response(_dump(content), headers=headers, media_type="application/prs.coverage+json")


# ---- in and out


def _clean_request(service: Service, request: Request, query: Mapping[str, str]) -> core.APIRequest:
    """The request pygeoapi sees: the checked parameters, JSON wanted, none of the client's headers."""
    wanted = {name: value for name, value in query.items() if name not in ("f", "lang")}
    scope = {
        "type": "http",
        "method": "GET",
        "path": request.scope["path"],
        "query_string": urlencode(wanted).encode(),
        "headers": [(b"accept", b"application/json")],
    }
    return core.APIRequest(Request(scope), service.api.locales)


def told_as(
    request: Request,
    query: Mapping[str, str],
    told: Any,
    *,
    status: int = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
    media_type: str = _JSON,
    title: str = "",
) -> Response:
    """A document as JSON, or as a page where the client prefers HTML."""
    dropped = ("X-Powered-By", "Content-Type", "Content-Encoding")
    kept = {name: value for name, value in (headers or {}).items() if name not in dropped}
    if wants_html(request, query):
        return Response(pages.page(told, title), status, kept, "text/html")
    return Response(_dump(told), status, kept, media_type)


def wants_html(request: Request, query: Mapping[str, str]) -> bool:
    """Whether a person asks."""
    if "f" in query:
        return query["f"] == "html"
    return request.headers.get("accept", "").split(",")[0].split(";")[0].strip() == "text/html"


async def _body(request: Request, limit: int) -> bytes:
    """The body. Raises TooLarge. (A guard before the application has read it already, with the same limit.)"""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLarge(f"the body has more than {limit} bytes; make the request smaller")
        parts.append(part)
    return b"".join(parts)


def _dump(told: Any) -> bytes:
    return json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _only_served(value: Any) -> Any:
    """A document without the links that lead to what is not served."""
    if isinstance(value, dict):
        return {k: _only_served(v) for k, v in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        return [_only_served(v) for v in value if not (isinstance(v, dict) and _NOT_SERVED.search(str(v.get("href", ""))))]
    return value


def problem(error: Exception) -> Response:
    """An error as the OGC APIs tell it (OGC 17-069r4, 7.5.1, and RFC 9457)."""
    if isinstance(error, Failed):
        return Response(_exception(error.status, str(error), "NoApplicableCode"), error.status, media_type=PROBLEM)
    fault, message = fault_of(error)
    if isinstance(error, TileOutOfRange | StyleNotDefined):  # both are parts of a path here
        fault = Fault(HTTPStatus.NOT_FOUND, fault.code)
    code = executions.KINDS.get(type(error)) or ("NotFound" if fault.status == HTTPStatus.NOT_FOUND else fault.code)
    headers = {"Retry-After": "5"} if fault.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return Response(_exception(fault.status, message, code), fault.status, headers, PROBLEM)


def _refused_by_core(status: int, told: Mapping[str, Any]) -> Response:
    """What pygeoapi refuses, in the same shape; never as a page, since programs have to know."""
    return Response(_exception(HTTPStatus(status), str(told.get("description", "")), str(told.get("code", ""))), status, media_type=PROBLEM)


def ogc_exception(scope: Mapping[str, Any], status: HTTPStatus, message: str) -> tuple[bytes, str]:
    """How a client of the OGC APIs is told that the guard refuses its request: both as OGC API and as RFC 9457 name it."""
    return _exception(status, message, "NoApplicableCode"), PROBLEM


def _exception(status: HTTPStatus, message: str, code: str) -> bytes:
    return problem_of(status, message, {"type": code, "code": code, "description": message})
