"""One request and its answer, as the guard sees them: what the log tells, the metrics count, and the facades add to."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoplantnet.serving.guard.keys import Key

EXCHANGE = "geoplantnet.exchange"
"""Where a request's `Exchange` lies in its ASGI scope."""

KINDS = frozenset({"wms", "wmts", "tiles", "ogc", "api", "v2", "stac", "healthz", "readyz", "metrics"})
"""First segments of the routes. Everything else is ``page``: few kinds, whatever is asked for, so that metrics stay small."""

REQUEST_ID: ContextVar[str] = ContextVar("geoplantnet_request_id", default="")
"""Of the request at work; threads that work for it see it too."""

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_MAX_LAYERS = 16


class Exchange:
    """What is known of a request, from its first byte to its answer's last."""

    __slots__ = ("began", "bytes", "headers", "id", "key", "kind", "late", "layers", "leaving", "over", "reason", "status")

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.id = _request_id(scope)
        self.kind = kind_of(scope["path"])
        self.began = time.perf_counter()
        self.layers: list[str] = []
        self.key: Key | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        """Put on the answer, whoever makes it."""
        self.status = 0
        """0: no answer has begun. 499: the client left before one did."""
        self.bytes = 0
        self.reason = ""
        """Why the guard refused it; empty: it did not."""
        self.late: asyncio.Future[None] | None = None
        """The guard's own answer, that it takes too long; what the application still says goes nowhere."""
        self.leaving: asyncio.Future[None] | None = None
        """Watches, during a long answer, whether the client leaves."""
        self.over = False
        """Logged and counted."""

    def note_layer(self, layer_id: str) -> None:
        """A layer the request asks for."""
        if len(self.layers) < _MAX_LAYERS and layer_id not in self.layers:
            self.layers.append(layer_id)


def exchange_of(scope: Mapping[str, Any]) -> Exchange | None:
    """The exchange of a request; None where no guard stands before the application."""
    found: Exchange | None = scope.get(EXCHANGE)
    return found


def kind_of(path: str) -> str:
    """The kind of route a path belongs to."""
    first = path[1:].partition("/")[0]
    return first if first in KINDS else "page"


def _request_id(scope: Mapping[str, Any]) -> str:
    """The client's, where it is one that fits in a log, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(value):
            return str(value, "ascii")
    return os.urandom(8).hex()
