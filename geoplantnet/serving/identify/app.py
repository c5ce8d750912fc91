"""The identification server as one ASGI application: the API below /v2, the page at /identify, and, where there are maps, these beside it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path

import anyio.to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geoplantnet import __version__
from geoplantnet.errors import GeoPlantNetError
from geoplantnet.identify.engine import Identifier
from geoplantnet.identify.observations import ObservationStore
from geoplantnet.identify.photos import Decoder
from geoplantnet.serving.guard import AccessLog, Guard, Refused
from geoplantnet.serving.guard.metrics import MEDIA_TYPE
from geoplantnet.serving.identify import accounts, documents, exploring, identification, observing, page, problems, surveying
from geoplantnet.serving.identify.desk import Desk, aside
from geoplantnet.serving.identify.facts import Facts, read_facts
from geoplantnet.serving.identify.keys import Callers, out_of_query
from geoplantnet.serving.identify.media import Media
from geoplantnet.serving.identify.protection import Sensitive
from geoplantnet.serving.identify.quota import Quota
from geoplantnet.serving.identify.settings import MOST_BODY, IdentifySettings

_OURS = ("v2", "identify")
"""First segments of what is not the maps'."""


def create_identify_app(
    identifier: Identifier,
    *,
    store: ObservationStore | None = None,
    settings: IdentifySettings | None = None,
    maps: Starlette | None = None,
    decoder: Decoder,
    model_folder: Path | None = None,
    facts: Facts | None = None,
    log: AccessLog | None = None,
) -> FastAPI:
    """The application. `decoder` is entered already, and stays the caller's, as `store` does; `maps` is what `serving.create_app` makes.

    `facts`: what is told of species; None: read as `settings` say, with the common names of `model_folder`. Raises what `read_facts`, `Quota`,
    `KeyRing` and `read_sensitive` raise.
    """
    settings = settings or IdentifySettings()
    species = identifier.network.species
    if facts is None:
        names = settings.names or (model_folder / "names.json" if model_folder is not None else None)
        own = names is not None and (names.is_file() or settings.names is not None)  # a model's folder need not have any
        facts = read_facts(species, settings.facts, names if own else None)
    quota = Quota(settings.quota)
    callers = Callers(settings, quota)
    sensitive = Sensitive.read(settings.sensitive)

    def hidden(image: str) -> bool:
        return store is not None and bool(sensitive.rules) and bool(sensitive.hidden(store, store.observations_with(image)))

    desk = Desk(
        identifier=identifier,
        facts=facts,
        settings=settings,
        decoder=decoder,
        quota=quota,
        callers=callers,
        media=Media(secret=quota.secret, decoder=decoder, store=store, hidden=hidden),
        sensitive=sensitive,
        store=store,
        atlas=maps.state.public_atlas if maps is not None else None,
        model_folder=model_folder,
    )
    observing.prepare(desk)
    labels = observing.Labels(store)
    guard = Guard(settings.server, shapes={"v2": problems.shape}, log=log)

    async def keep_up() -> None:
        while True:
            await aside(labels.update)
            await asyncio.sleep(desk.settings.update_s)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if maps is not None:
                await stack.enter_async_context(maps.router.lifespan_context(maps))
            limiter = anyio.to_thread.current_default_thread_limiter()
            threads = limiter.total_tokens if maps is not None else 0
            await stack.enter_async_context(guard.running())
            limiter.total_tokens += threads  # each guard gives its own work as many threads as places
            following = asyncio.create_task(keep_up())
            try:
                yield
            finally:
                following.cancel()
                with suppress(asyncio.CancelledError):
                    await following
        callers.close()
        quota.close()

    app = FastAPI(
        title=f"{settings.title}: identification",
        version=__version__,
        summary="Photos to species, with the place as evidence.",
        openapi_url="/v2/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # an address without the key, which left the query
        middleware=[
            Middleware(_origins, settings.origins),
            Middleware(out_of_query),
            Middleware(_lenient),
            Middleware(_bodies, settings.max_bodies, callers),
            Middleware(_guarded, guard, maps),
        ],
        exception_handlers={
            GeoPlantNetError: problems.answer_of,
            HTTPException: problems.answer_of,
            RequestValidationError: problems.answer_of,
            Exception: problems.answer_of,
        },
        lifespan=lifespan,
    )
    for routes in (
        identification.router(desk),
        accounts.router(desk),
        surveying.router(desk),
        observing.router(desk, labels),
        exploring.router(desk),
        documents.router(app),
    ):
        app.include_router(routes)
    app.router.routes.append(Mount("/identify", routes=page.routes(desk)))
    documents.with_keys(app)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "version": desk.version, "species": len(species)})

    async def metrics(request: Request) -> Response:
        return Response(guard.metrics.text(), media_type=MEDIA_TYPE)

    if maps is None:
        app.add_route("/healthz", health, methods=["GET"], include_in_schema=False)
        if settings.metrics:
            app.add_route("/metrics", metrics, methods=["GET"], include_in_schema=False)
    return app


def _guarded(app: ASGIApp, guard: Guard, maps: ASGIApp | None) -> ASGIApp:
    """The guard before what is ours; everything else are the maps', which have their own."""
    inside = guard.around(app)

    async def chosen(scope: Scope, receive: Receive, send: Send) -> None:
        ours = maps is None or scope["type"] != "http" or scope["path"].partition("/")[2].partition("/")[0] in _OURS
        await (inside if ours else maps)(scope, receive, send)  # type: ignore[misc]

    return chosen


def _lenient(app: ASGIApp) -> ASGIApp:
    """Below /v2 a parameter of no value (``pageSize=``, ``pageSize=null``) is one that is not given, as forms of pages send it, and HEAD is GET without its body."""

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v2/"):
            await app(scope, receive, send)
            return
        head = scope["method"] == "HEAD"
        query = b"&".join(part for part in scope["query_string"].split(b"&") if part.partition(b"=")[2] not in (b"", b"null"))

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        told = {**scope, "query_string": query, "method": "GET" if head else scope["method"]}
        await app(told, receive, without_body if head else send)

    return read


def _bodies(app: ASGIApp, most: int, callers: Callers) -> ASGIApp:
    """A limit on the bytes of all bodies that are in memory at once: many large forms at a time are refused, not swapped out.

    Who may not ask is told so before anything of a body is taken in. One caller holds at most a quarter, and all who come without a key at most half (but
    always one body): who sends slowly on purpose leaves room for others.
    """
    held: Counter[str] = Counter()
    all_of, strangers = "", " without a key"  # names of keys are neither
    one = min(most, MOST_BODY)
    room = {all_of: most, strangers: max(most // 2, one)}
    share = max(most // 4, one)

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal held
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        own, asked = 0, scope["method"] == "POST" and scope["path"].startswith("/v2/")
        pots = [all_of]

        async def counting() -> Message:
            nonlocal own, asked
            if asked:
                asked = False
                caller = await aside(lambda: callers.of(Request(scope)))
                pots.extend([caller.user] if caller.key is not None else [caller.user, strangers])
            message = await receive()
            size = len(message.get("body", b""))
            own += size
            for pot in pots:
                held[pot] += size
            if any(held[pot] > room.get(pot, share) for pot in pots):
                text = "the server holds as many photos as it can; try again in a few seconds"
                raise Refused(
                    HTTPStatus.SERVICE_UNAVAILABLE, text, reason="bodies", headers=(("Retry-After", "5"), ("Connection", "close"))
                )
            return message

        try:
            await app(scope, counting, send)
        finally:
            for pot in pots:
                held[pot] -= own
                if not held[pot]:
                    del held[pot]

    return counted


def _origins(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Whose pages may read answers: where not everybody's, those named, each told its own name."""
    if "*" in origins:
        return app
    allowed = {origin.encode() for origin in origins}

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        asking = next((value for name, value in scope.get("headers", ()) if name == b"origin"), b"")

        async def replaced(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name, value) for name, value in message["headers"] if name.lower() != b"access-control-allow-origin"]
                headers += [(b"vary", b"Origin"), *([(b"access-control-allow-origin", asking)] if asking in allowed else [])]
                message = {**message, "headers": headers}
            await send(message)

        await app(scope, receive, replaced)

    return told
