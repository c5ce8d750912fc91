"""One web server over one catalog: the page, WMS, the layers as JSON, STAC with its files, and the OGC APIs."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geoplantnet.catalog import Catalog
from geoplantnet.catalog.stac import CATALOG, COLLECTION
from geoplantnet.errors import GeoPlantNetError
from geoplantnet.serving import legend
from geoplantnet.serving.atlas import Atlas, open_atlas
from geoplantnet.serving.capabilities import extents, families
from geoplantnet.serving.exceptions import fault_of
from geoplantnet.serving.ogc import OgcApi, OgcSettings
from geoplantnet.serving.wms import WebMapService

LOGGER = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "web" / "dist"
"""Where the built web page lies."""

_LISTED = 500
"""Species whose legends are told with those of the other layers."""
_HOST = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_MEDIA_TYPES = {".json": "application/json", ".tif": "image/tiff; application=geotiff", ".gpkg": "application/geopackage+sqlite3"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(catalog_path: str | Path, *, url: str | None = None, ogc: OgcSettings | None = None) -> Starlette:
    """The ASGI application over the catalog at `catalog_path`, as it stands now; open it anew after publishing again.

    `url` is the address the server is reached by from outside (behind a proxy), such as ``https://maps.example.org``;
    without it every answer uses the address its request came by. Raises what `open_catalog` raises, and
    ConfigurationError for a layer that cannot be drawn.

    Routes: ``/`` the page, ``/wms``, ``/api/layers``, ``/api/layers/{id}``, ``/stac/catalog.json`` and the files the
    catalog lists, ``/ogc`` (OGC API Features, Records, Coverages), ``/healthz``.
    """
    atlas = open_atlas(catalog_path)
    catalog = atlas.catalog
    service = WebMapService(atlas)
    files = _Files(catalog)

    def public_url(request: Request) -> str:
        return (url or f"{request.url.scheme}://{request.url.netloc}{request.scope.get('app_root_path', '')}").rstrip("/")

    def wms(request: Request) -> Response:
        pairs = request.query_params.multi_items()
        answer = service.answer(pairs, url=f"{public_url(request)}/wms", etag=request.headers.get("if-none-match", ""))
        return Response(answer.body, answer.status, dict(answer.headers), answer.media_type or None)

    def api_layers(request: Request) -> Response:
        return _cached_json(request, catalog, describe_atlas(atlas))

    def api_layer(request: Request) -> Response:
        return _cached_json(request, catalog, legend.describe(atlas.layer(request.path_params["id"])))

    def stac(request: Request) -> Response:
        path = files.find(request.path_params["path"])
        if path is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "the catalog lists no such file; start from /stac/catalog.json")
        return FileResponse(path, media_type=_MEDIA_TYPES.get(path.suffix, "application/octet-stream"))

    def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "version": catalog.version, "layers": len(atlas.layers), "tiles": len(catalog.tiles)})

    def to_catalog(request: Request) -> Response:
        return RedirectResponse(f"{public_url(request)}/stac/{CATALOG}")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        atlas.close()

    routes: list[BaseRoute] = [
        Route("/wms", wms, methods=["GET"]),
        Route("/api/layers", api_layers, methods=["GET"]),
        Route("/api/layers/{id}", api_layer, methods=["GET"]),
        Route("/stac", to_catalog, methods=["GET"]),
        Route("/stac/{path:path}", stac, methods=["GET"]),
        *OgcApi(lambda request: atlas, public_url, ogc).routes("/ogc"),
        Route("/healthz", health, methods=["GET"]),
        _page_route(),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(_Guard)],
        exception_handlers={GeoPlantNetError: _problem, HTTPException: _http_problem, Exception: _problem},
        lifespan=lifespan,
    )


def describe_atlas(atlas: Atlas) -> dict[str, Any]:
    """What the page needs to know: title, notice, extents (west, south, east, north) and the legends of all layers, by family."""
    catalog = atlas.catalog
    species = [atlas.species_layer(taxon.taxon_id) for taxon in atlas.species.species.taxa[:_LISTED]] if atlas.species else []
    return {
        "title": catalog.title,
        "description": catalog.description,
        "notice": catalog.notice,
        "license": catalog.license,
        "interval": list(catalog.interval),
        "version": catalog.version,
        "bounds": {name: list(bounds) for name, bounds in extents(catalog).items()},
        "families": [
            {"name": name, "layers": [legend.describe(layer) for layer in members]}
            for name, members in families([*atlas.layers.values(), *species]).items()
        ],
    }


class _Files:
    """The files a catalog lists, by their path below its root. Nothing else can be asked for."""

    def __init__(self, catalog: Catalog) -> None:
        documents = [catalog.root / CATALOG, catalog.root / COLLECTION / "collection.json"]
        documents += [catalog.root / COLLECTION / tile.id / f"{tile.id}.json" for tile in catalog.tiles]
        assets = [path for tile in catalog.tiles for path in tile.assets.values()] + [*catalog.overviews.values()]
        self._root = catalog.root
        self._folders = {path for path in assets if path.is_dir()}
        self._files = {path.relative_to(catalog.root).as_posix(): path for path in [*documents, *assets] if path not in self._folders}

    def find(self, path: str) -> Path | None:
        """The file at a path below the root, or inside a listed folder (Zarr), if the catalog lists it and it is there."""
        listed = self._files.get(path)
        if listed is None and self._folders and "\0" not in path:
            inside = (self._root / path).resolve()
            listed = inside if any(folder in inside.parents for folder in self._folders) else None
        return listed if listed is not None and listed.is_file() else None


class _Guard:
    """Refuses a malformed Host (it goes into links), and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) > 1 or not all(_HOST.fullmatch(host) for host in hosts):
            await PlainTextResponse("the Host header is malformed", HTTPStatus.BAD_REQUEST)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)


def _page_route() -> BaseRoute:
    if (PAGE / "index.html").is_file():
        return Mount("/", StaticFiles(directory=PAGE, html=True))

    def not_built(request: Request) -> Response:
        return PlainTextResponse(
            "The web page is not built. In a checkout run: npm ci && npm run build, in geoplantnet/serving/web.\n"
            "The services answer without it: /wms?SERVICE=WMS&REQUEST=GetCapabilities, /api/layers, /stac/catalog.json, /ogc\n"
        )

    return Route("/", not_built, methods=["GET"])


def _cached_json(request: Request, catalog: Catalog, value: dict[str, Any]) -> Response:
    body = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    headers = {"ETag": f'"{hashlib.sha256(catalog.version.encode() + body).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def _problem(request: Request, error: Exception) -> Response:
    """An error as RFC 9457 says it."""
    fault, message = fault_of(error)
    return _problem_json(fault.status, message)


def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem_json(HTTPStatus(error.status_code), error.detail, error.headers)


def _problem_json(status: HTTPStatus, detail: str, headers: Any = None) -> Response:
    body = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail}
    return JSONResponse(body, status, headers, media_type="application/problem+json")
