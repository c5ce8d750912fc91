"""One web server over one catalog: the page, WMS, the layers as JSON, STAC with its files, and the OGC APIs."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from geoplantnet.catalog.stac import CATALOG
from geoplantnet.errors import GeoPlantNetError, RequestError
from geoplantnet.serving import legend, qgis
from geoplantnet.serving.answers import PageFiles, json_answer, to_json
from geoplantnet.serving.atlas import Atlas, open_atlas
from geoplantnet.serving.capabilities import extents, families
from geoplantnet.serving.dimensions import written
from geoplantnet.serving.exceptions import fault_of
from geoplantnet.serving.guard import AccessLog, Guard, Readiness, exchange_of, problem
from geoplantnet.serving.guard.health import a_tile_can_be_read, catalog_is_current
from geoplantnet.serving.guard.metrics import MEDIA_TYPE
from geoplantnet.serving.guard.refusal import PROBLEM, ows_exception
from geoplantnet.serving.here import here, place_of
from geoplantnet.serving.ogc import OgcApi, ogc_exception
from geoplantnet.serving.ogc.processes import Operator
from geoplantnet.serving.planner.places import open_places
from geoplantnet.serving.planner.routes import routes as planner_routes
from geoplantnet.serving.settings import ServerSettings
from geoplantnet.serving.stac_files import StacFiles
from geoplantnet.serving.tiles import Endpoint, Pyramid, XyzTiles, at_once
from geoplantnet.serving.wms import WebMapService, service_exception
from geoplantnet.serving.wmts import WebMapTileService

LOGGER = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "web" / "dist"
"""Where the built web page lies."""

_OLD_WMS = re.compile(rb"(?i)(?:version|wmtver)=1\.[01]")
_MEDIA_TYPES = {".json": "application/json", ".tif": "image/tiff; application=geotiff", ".gpkg": "application/geopackage+sqlite3"}


def create_app(
    catalog_path: str | Path,
    *,
    url: str | None = None,
    settings: ServerSettings | None = None,
    log: AccessLog | None = None,
    operator: Operator | None = None,
) -> Starlette:
    """The ASGI application over the catalog at `catalog_path`, as it stands now; open it anew after publishing again.

    `url` is the address the server is reached by from outside (behind a proxy), such as ``https://maps.example.org``;
    without it, here and in `settings`, every answer uses the address its request came by. `log` gets a line a request.
    `operator` maps a tile, for who holds a key that grants it (the process ``map-tile``); without it nobody can. Raises what
    `open_catalog` and `Guard` raise, and ConfigurationError for a layer that cannot be drawn or settings this store cannot follow.

    Routes: ``/`` the page; ``/wms``, ``/wms/species/{taxonID}``, ``/wms/family/{name}``; ``/wmts``, ``/tiles``; ``/ogc`` (OGC APIs);
    ``/api/layers``, ``/api/layers/{id}``, ``/api/here`` and what `planner` adds; ``/stac/catalog.json`` and the files the catalog lists;
    ``/qgis`` (project, layer definition, styles); ``/healthz``, ``/readyz``, ``/metrics``.
    """
    settings = settings or ServerSettings()
    atlas = open_atlas(catalog_path, cache_bytes=settings.cache_bytes, models=settings.models)
    catalog, places = atlas.catalog, open_places(settings.places)
    guard = Guard(settings, shapes={"wms": _service_exception, "wmts": ows_exception, "ogc": ogc_exception}, log=log)
    files = StacFiles(catalog, {epoch.name: epoch.catalog for epoch in atlas.epochs[1:]})
    offers = {"places": bool(places), "records": settings.occurrences is not None, "basemap": settings.basemap_told}
    view_of = guard.access.views(lambda may: _View(atlas, files, may, offers))
    readiness = Readiness([catalog_is_current(catalog), a_tile_can_be_read(catalog)])

    def public_url(request: Request) -> str:
        return (url or settings.url or f"{request.url.scheme}://{request.url.netloc}{request.scope.get('app_root_path', '')}").rstrip("/")

    ogc = OgcApi(lambda request: view_of(request.scope).atlas, public_url, settings, operator=operator)
    ogc.check(atlas)

    async def wms(request: Request) -> Response:
        pairs = request.query_params.multi_items()
        _note_layers(request, [id for name, value in pairs if name.upper() in ("LAYERS", "LAYER") for id in value.split(",", 16)[:16]])
        held, service = request.headers.get("if-none-match", ""), view_of(request.scope).wms
        answer = await at_once(lambda: service.answer(pairs, site=public_url(request), etag=held, **request.path_params))
        return Response(answer.body, answer.status, dict(answer.headers), answer.media_type or None)

    def api_layers(request: Request) -> Response:
        seen = view_of(request.scope)
        return json_answer(request, seen.described, seal=seen.atlas.seal)

    def api_layer(request: Request) -> Response:
        _note_layers(request, [request.path_params["id"]])
        seen = view_of(request.scope).atlas
        return json_answer(request, to_json(legend.describe(seen.layer(request.path_params["id"]))), seal=seen.seal)

    def api_here(request: Request) -> Response:
        seen = view_of(request.scope).atlas
        return json_answer(request, to_json(here(seen, place_of(request.query_params), ogc.occurrences(seen))), seal=seen.seal)

    def stac(request: Request) -> Response:
        seen = view_of(request.scope).files
        path = seen.find(request.path_params["path"])
        if path is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "the catalog lists no such file; start from /stac/catalog.json")
        media_type = _MEDIA_TYPES.get(path.suffix, "application/octet-stream")
        document = seen.document(path)
        return FileResponse(path, media_type=media_type) if document is None else Response(document, media_type=media_type)

    def health(request: Request) -> Response:
        seen = view_of(request.scope).atlas
        told = {"status": "ok", "version": seen.version, "layers": len(seen.layers), "tiles": len(seen.catalog.tiles)}
        return JSONResponse(told)

    async def ready(request: Request) -> Response:
        reason = await readiness.why_not()
        return JSONResponse({"status": "ok"}) if not reason else _problem_json(HTTPStatus.SERVICE_UNAVAILABLE, reason)

    async def metrics(request: Request) -> Response:
        return Response(guard.metrics.text(), media_type=MEDIA_TYPE)

    def to_catalog(request: Request) -> Response:
        return RedirectResponse(f"{public_url(request)}/stac/{CATALOG}")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with guard.running():
            yield
        ogc.close()
        atlas.close()

    wmts = Endpoint(lambda scope: view_of(scope).wmts.answer, public_url)

    routes: list[BaseRoute] = [
        Route("/tiles/{path:path}", Endpoint(lambda scope: view_of(scope).tiles.answer, public_url)),  # the busiest first
        Route("/wmts/{path:path}", wmts),
        Route("/wmts", wmts),
        Route("/wms", wms, methods=["GET"]),
        Route("/wms/species/{species}", wms, methods=["GET"]),
        Route("/wms/family/{family}", wms, methods=["GET"]),
        Route("/api/layers", api_layers, methods=["GET"]),
        Route("/api/layers/{id}", api_layer, methods=["GET"]),
        Route("/api/here", api_here, methods=["GET"]),
        *planner_routes("/api", lambda request: view_of(request.scope).atlas, places),
        Route("/stac", to_catalog, methods=["GET"]),
        Route("/stac/{path:path}", stac, methods=["GET"]),
        *ogc.routes("/ogc"),
        *qgis.routes("/qgis", lambda request: view_of(request.scope).atlas, public_url),
        Route("/healthz", health, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
        *([Route("/metrics", metrics, methods=["GET"])] if settings.metrics else []),
        _page_route(),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(guard.around)],
        exception_handlers={GeoPlantNetError: _problem, HTTPException: _http_problem, Exception: _problem},
        lifespan=lifespan,
    )
    app.state.public_atlas = lambda: view_of({}).atlas  # for who serves something else beside the maps, such as identification
    return app


class _View:
    """What a request may see, in each facade."""

    def __init__(self, atlas: Atlas, files: StacFiles, may: Callable[[str], bool], offers: Mapping[str, Any]) -> None:
        self._offers = offers
        self.atlas = atlas.showing(may)
        self.wms = WebMapService(self.atlas)
        pyramid = Pyramid(self.atlas)
        self.tiles, self.wmts = XyzTiles(pyramid), WebMapTileService(pyramid)
        self.files = files.showing(self.atlas)

    @cached_property
    def described(self) -> bytes:
        """What ``/api/layers`` answers: some twenty legends, which never change."""
        return to_json(describe_atlas(self.atlas) | dict(self._offers))


def _note_layers(request: Request, ids: list[str]) -> None:
    """For the log."""
    exchange = exchange_of(request.scope)
    for layer_id in ids:
        if exchange is not None:
            exchange.note_layer(layer_id)


def _service_exception(scope: Mapping[str, Any], status: HTTPStatus, message: str) -> tuple[bytes, str]:
    """How a client of WMS is told that the guard refuses its request."""
    answer = service_exception(RequestError(message), "1.1.1" if _OLD_WMS.search(scope["query_string"]) else "1.3.0")
    return answer.body, answer.media_type


def describe_atlas(atlas: Atlas) -> dict[str, Any]:
    """What the page needs to know: title, notice, extents (west, south, east, north), epochs, how many species there are (``/api/species``
    finds them), and the legends of the advertised layers, by family.
    """
    catalog, records = atlas.catalog, atlas.taxon_records
    return {
        "title": catalog.title,
        "description": catalog.description,
        "notice": catalog.notice,
        "fr": dict(catalog.fr),
        "license": catalog.license,
        "interval": list(catalog.interval),
        "version": catalog.version,
        "bounds": {name: list(bounds) for name, bounds in extents(catalog).items()},
        "species": {
            "count": len(records) if records else 0,
            "withheld": len(atlas.withheld),
            "generalised": sum(records[i]["generalised"] is not None for i in range(len(records))) if records else 0,
        },
        "epochs": [
            {
                "name": epoch.name,
                "title": epoch.title,
                "title_fr": epoch.catalog.fr.get("title") or None,
                "start": written(epoch.start),
                "end": written(epoch.end),
            }
            for epoch in atlas.epochs
        ],
        "families": [
            {"name": name, "layers": [legend.describe(layer) | {"epochs": [e.name for e in atlas.epochs_of(layer)]} for layer in members]}
            for name, members in families([*atlas.layers.values()]).items()
        ],
    }


def _page_route() -> BaseRoute:
    if (PAGE / "index.html").is_file():
        return Mount("/", PageFiles(directory=PAGE, html=True))

    def not_built(request: Request) -> Response:
        return PlainTextResponse(
            "The web page is not built. In a checkout run: npm ci && npm run build, in geoplantnet/serving/web.\n"
            "The services answer without it: /wms?SERVICE=WMS&REQUEST=GetCapabilities, /wmts/1.0.0/WMTSCapabilities.xml, /api/layers, /stac/catalog.json, /ogc\n"
        )

    return Route("/", not_built, methods=["GET"])


def _problem(request: Request, error: Exception) -> Response:
    """An error as RFC 9457 says it."""
    fault, message = fault_of(error)
    return _problem_json(fault.status, message)


def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem_json(HTTPStatus(error.status_code), error.detail, error.headers)


def _problem_json(status: HTTPStatus, detail: str, headers: Any = None) -> Response:
    return Response(problem(status, detail), status, headers, media_type=PROBLEM)
