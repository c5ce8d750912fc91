"""The middleware around the application: everything a request meets before and after the facades, in one place.

    door      malformed, too large, too slow to arrive: refused          keys     who asks, and what they may see
    gate      so many at once, so many waiting, so long                  log, metrics, security headers, request id

Pure ASGI and one call deep: a request without a key costs some tens of microseconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any

import anyio
import anyio.to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geoplantnet.serving.exceptions import fault_of
from geoplantnet.serving.guard.access import Access
from geoplantnet.serving.guard.door import ClientGone, Door, hung_up, replay
from geoplantnet.serving.guard.exchange import EXCHANGE, REQUEST_ID, Exchange
from geoplantnet.serving.guard.gate import Capacity, Gate, busy
from geoplantnet.serving.guard.keys import KeyRing, quota_spent, rate_limit, token_of
from geoplantnet.serving.guard.log import AccessLog
from geoplantnet.serving.guard.metrics import SAMPLE_S, Metrics
from geoplantnet.serving.guard.refusal import PROBLEM, Refused, Shape, problem
from geoplantnet.serving.settings import ServerSettings

LOGGER = logging.getLogger(__name__)

_NO_GATE = frozenset({"healthz", "readyz", "metrics"})
"""Kinds of route that are answered however busy the server is."""
_STATUS = "/v2/_status"
"""So is this one."""
_FILES = frozenset({"stac", "page"})
"""Kinds of route that hand out files."""
_LEFT = 499
"""Status in log and metrics of a request whose client left; nobody is sent it."""
_SPARE_THREADS = 2
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:{images}; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_EXPOSED = (
    "Accept-Ranges, Content-Bbox, Content-Crs, Content-Datetime, Content-Range, ETag, Link, Location, RateLimit, RateLimit-Policy, "
    "Retry-After, Warning, X-Request-Id"
)
_SHARING = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", _EXPOSED.encode()),
)
"""Pages of all origins may read every answer. There are no cookies: a browser sends nothing on its own that would tell who asks, and a
page that sends a key has it."""
_PREFLIGHT = (
    ("Access-Control-Allow-Headers", "Api-Key, Authorization, Content-Type, If-None-Match, Prefer, Range, X-API-Key"),
    ("Access-Control-Max-Age", "86400"),
)
_ALWAYS = (*_SECURITY, *_SHARING)
_OURS = frozenset(name for name, _ in _ALWAYS)


class Guard:
    """What stands around one application. `around` is the middleware, `running` goes into its lifespan."""

    def __init__(self, settings: ServerSettings, *, shapes: Mapping[str, Shape] | None = None, log: AccessLog | None = None) -> None:
        """`shapes`: how kinds of route say that they refuse, where not as RFC 9457. Raises what `KeyRing` raises."""
        self.settings = settings
        self.access = Access(private=settings.private_layers)
        self.metrics = Metrics()
        self.ring = KeyRing(settings.keys) if settings.keys is not None else None
        self.work = Gate(Capacity(concurrent=settings.max_concurrent, waiting=settings.max_waiting, wait_s=settings.max_wait_s))
        self.files = Gate(replace(self.work.capacity, concurrent=settings.max_downloads))
        self.metrics.watch("http_in_flight", "Requests being answered.", lambda: self.work.inside + self.files.inside)
        self.metrics.watch("http_waiting", "Requests that wait for their turn.", lambda: self.work.waiting + self.files.waiting)
        host = settings.basemap_host
        self._policy = (b"content-security-policy", _POLICY.format(images=f" {host}" if host else "").encode())
        self._shapes = dict(shapes or {})
        self._log = log
        self._door = Door(settings)

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application with the guard before it."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            await self._guarded(app, scope, receive, send)

        return guarded

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the application runs: as many threads as places, and a look at the watched numbers every second."""
        threads = self.settings.max_concurrent + self.settings.max_downloads + _SPARE_THREADS
        anyio.to_thread.current_default_thread_limiter().total_tokens = threads

        async def watch() -> None:
            while True:
                self.metrics.sample()
                await asyncio.sleep(SAMPLE_S)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            if self.ring is not None:
                self.ring.close()

    async def _guarded(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        exchange = scope[EXCHANGE] = Exchange(scope)
        REQUEST_ID.set(exchange.id)
        try:
            body = await self._door.body(receive) if self._door.check(scope) else None
            if scope["method"] == "OPTIONS":
                await self._preflight(exchange, scope, send)
            elif exchange.kind in _NO_GATE or scope["path"] == _STATUS:
                await app(scope, receive, partial(self._answer, exchange, scope, receive, None, send))
            else:
                await self._through_the_gate(app, exchange, scope, body, receive, send)
        except ClientGone:
            exchange.status = exchange.status or _LEFT
        except Refused as refused:
            await self._refuse(exchange, scope, send, refused)
        except Exception as error:
            if exchange.status:  # begun: only breaking off tells the client that it is not whole
                raise
            fault, message = fault_of(error)
            await self._refuse(exchange, scope, send, Refused(fault.status, message, reason=""))
        finally:
            self._finish(exchange, scope)

    async def _preflight(self, exchange: Exchange, scope: Scope, send: Send) -> None:
        """Tell a browser what a page of another origin may send."""
        allowed = ", ".join(method for method in self._door.methods(scope["path"]) if method != "DELETE")
        exchange.status = int(HTTPStatus.NO_CONTENT)
        headers = self._headers(exchange, _encoded((("Access-Control-Allow-Methods", allowed), *_PREFLIGHT)))
        await send({"type": "http.response.start", "status": exchange.status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _through_the_gate(
        self, app: ASGIApp, exchange: Exchange, scope: Scope, body: bytes | None, receive: Receive, send: Send
    ) -> None:
        gate = self.files if exchange.kind in _FILES else self.work
        if not gate.try_enter():
            await gate.wait(hung_up(receive))
            body = body or b""  # whoever waits has listened whether the client leaves
        if body is not None:
            receive = replay(body, receive)
        try:
            # a cancelled scope ends what awaits; a thread ends by itself, and is waited for, its place taken
            with anyio.CancelScope() as work:
                loop = asyncio.get_running_loop()
                clock = loop.call_later(self.settings.timeout_s, self._expire, exchange, scope, send, work)
                try:
                    if self.ring is not None:
                        await self._identify(self.ring, exchange, scope)
                    await app(scope, receive, partial(self._answer, exchange, scope, receive, work, send))
                finally:
                    clock.cancel()
        except Exception as error:
            if exchange.late is None:
                raise
            LOGGER.warning("a request that was answered already, since it took too long, failed: %s", error)
        finally:
            gate.leave()
        if exchange.late is not None:
            await exchange.late

    async def _identify(self, ring: KeyRing, exchange: Exchange, scope: Scope) -> None:
        """Count the key's request. In a thread: another process may be writing the file."""
        token = token_of(scope["headers"])
        if token is not None:
            key, within_quota = await anyio.to_thread.run_sync(ring.use, token)
            exchange.key = key
            exchange.headers += _encoded(rate_limit(key))
            if not within_quota:
                raise quota_spent(key)

    async def _answer(
        self, exchange: Exchange, scope: Scope, receive: Receive, work: anyio.CancelScope | None, send: Send, message: Message
    ) -> None:
        """Pass on what the application says, with the guard's headers; nothing once the guard has answered itself."""
        if exchange.late is not None:
            return
        if message["type"] == "http.response.start":
            exchange.status = message["status"]
            message = {**message, "headers": self._headers(exchange, message["headers"])}
        elif message["type"] == "http.response.body":
            if scope["method"] != "HEAD":
                exchange.bytes += len(message.get("body", b""))
            if work is not None and message.get("more_body", False) and exchange.leaving is None:
                exchange.leaving = asyncio.ensure_future(_end_when_left(receive, work))
        await send(message)

    def _headers(self, exchange: Exchange, headers: Any) -> list[tuple[bytes, bytes]]:
        # QGIS finds the JSON of GetFeatureInfo by this spelling alone.
        kept = [(b"Content-Type" if name == b"content-type" else name, value) for name, value in headers if name not in _OURS]
        if exchange.key is not None:  # no shared cache may keep what a key was answered, least of all where nothing is said of caches
            said = next((value for name, value in kept if name == b"cache-control"), b"no-cache")
            kept = [(name, value) for name, value in kept if name != b"cache-control"]
            kept.append((b"cache-control", said if b"no-store" in said else b"private, " + said.replace(b"public, ", b"")))
        if self.access.private:  # what one may see another may not: caches may not mix them up
            kept.append((b"vary", b"authorization, x-api-key"))
        policy = (
            [] if any(name == self._policy[0] for name, _ in kept) else [self._policy]
        )  # a document may have a stricter policy of its own
        said = {name.lower() for name, _ in kept}
        more = [(name, value) for name, value in exchange.headers if name.lower() not in said]
        return [*kept, *policy, *_ALWAYS, *more, (b"x-request-id", exchange.id.encode())]

    def _expire(self, exchange: Exchange, scope: Scope, send: Send, work: anyio.CancelScope) -> None:
        """The time of a request is over: if its answer has not begun, answer in its place."""
        if exchange.status:
            return
        work.cancel()
        exchange.late = asyncio.ensure_future(self._refuse(exchange, scope, send, busy("timeout")))

    async def _refuse(self, exchange: Exchange, scope: Scope, send: Send, refused: Refused) -> None:
        """Say no, in the shape of the route."""
        shape = self._shapes.get(exchange.kind)
        try:
            body, media_type = shape(scope, refused.status, str(refused)) if shape else _as_problem(refused)
        except Exception as error:
            LOGGER.error("a refusal could not be put into the shape of %s: %s", exchange.kind, error, exc_info=error)
            body, media_type = _as_problem(refused)
        exchange.status, exchange.reason, exchange.bytes = int(refused.status), refused.reason, len(body)
        own = [("Content-Type", media_type), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"), *refused.headers]
        start = {"type": "http.response.start", "status": int(refused.status), "headers": self._headers(exchange, _encoded(own))}
        await send(start)
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        self._finish(exchange, scope)

    def _finish(self, exchange: Exchange, scope: Scope) -> None:
        """Log and count, once; a request that took too long when it is answered, not when its work ends."""
        if exchange.leaving is not None:
            exchange.leaving.cancel()
        if exchange.over or (exchange.late is not None and not exchange.status):
            return
        exchange.over = True
        seconds = time.perf_counter() - exchange.began
        exchange.status = exchange.status or _LEFT
        self.metrics.count(exchange, seconds)
        if self._log is not None and (exchange.kind not in _NO_GATE or exchange.status >= 400):
            self._log.write(scope, exchange, seconds)


async def _end_when_left(receive: Receive, work: anyio.CancelScope) -> None:
    """End a long answer whose client has hung up, so that its place is free."""
    await hung_up(receive)
    work.cancel()


def _as_problem(refused: Refused) -> tuple[bytes, str]:
    return problem(refused.status, str(refused), refused.more), PROBLEM


def _encoded(headers: Any) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
