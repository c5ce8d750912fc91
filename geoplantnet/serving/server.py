"""Open the app on a port, in one process or several. Separate from `app`, so that any ASGI server may serve it instead."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from geoplantnet.catalog import open_catalog
from geoplantnet.errors import ConfigurationError, StorageError
from geoplantnet.serving.app import create_app
from geoplantnet.serving.guard import AccessLog, KeyRing
from geoplantnet.serving.guard.log import logging_of
from geoplantnet.serving.guard.metrics import FOLDER
from geoplantnet.serving.ogc.processes import Operator
from geoplantnet.serving.settings import ServerSettings

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as Protocol
else:  # whichever of its parsers is installed
    from uvicorn.protocols.http.auto import AutoHTTPProtocol as Protocol

_STALLED_MS = 30_000
"""A client that takes nothing of its answer for so long is cut off by the kernel: whoever never reads holds no memory for ever."""
_HEAD_S = 10.0
"""Seconds in which the headers of a request must have arrived."""
_HUNG_S = 30
"""A worker process that does not stir for so long is replaced."""


class ImpatientProtocol(Protocol):
    """The server's protocol, which hangs up on connections whose next request does not come to the end of its headers in time."""

    def connection_made(self, transport: Any) -> None:
        """Start the clock of the first request."""
        super().connection_made(transport)
        self._clock: asyncio.TimerHandle | None = self.loop.call_later(_HEAD_S, self._hang_up)

    def data_received(self, data: bytes) -> None:
        """Start the clock with the first byte of a further request; stop it with the last of its headers."""
        super().data_received(data)
        if self._at_work() and self._clock is not None:
            self._clock.cancel()
            self._clock = None
        elif not self._at_work() and self._clock is None:
            self._clock = self.loop.call_later(_HEAD_S, self._hang_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        if self._clock is not None:
            self._clock.cancel()
        super().connection_lost(exc)

    def _at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _hang_up(self) -> None:
        self._clock = None
        if not self._at_work():
            self.transport.close()


def serve(
    store: Path,
    *,
    host: str,
    port: int,
    announce: Callable[[str], None],
    settings: ServerSettings | None = None,
    operator: Operator | None = None,
) -> None:
    """Serve the catalog of a store until interrupted; `announce` gets the URL once requests are answered.

    SIGTERM and SIGINT: no further connection is taken, requests at work have `drain_s` seconds to end. Port 0 takes a free
    one. Raises StorageError when nothing is published there, ConfigurationError when the port is taken.
    """
    settings = settings or ServerSettings()
    if not (store / "catalog.json").is_file():
        raise StorageError(f"nothing is published in {store}; run `geoplantnet run RECIPE` (or `geoplantnet publish RECIPE`) first")
    log = AccessLog.of(settings.access_log, sys.stderr)
    with ExitStack() as stack:
        if settings.workers > 1:
            open_catalog(store)  # what is wrong with it is told here, not by each worker
            if settings.keys is not None:
                KeyRing(settings.keys).close()
            jobs = stack.enter_context(TemporaryDirectory(prefix="geoplantnet-jobs-"))
            settings = replace(settings, jobs=settings.jobs or Path(jobs))  # whichever worker is asked about a job, it knows
        run(partial(create_app, store, settings=settings, log=log, operator=operator), settings, host=host, port=port, announce=announce)


def run(make: Callable[[], Any], settings: ServerSettings, *, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve the application that `make` gives until interrupted: in this process, or in `settings.workers` others, each of which calls it.

    `make` is to be picklable for several. Raises what it raises, in one process, and ConfigurationError when the port is taken.
    """
    options: dict[str, Any] = {
        "log_config": logging_of(human=sys.stderr.isatty()),
        "http": ImpatientProtocol,
        "access_log": False,
        "server_header": False,
        "limit_concurrency": settings.max_connections,
        "timeout_graceful_shutdown": settings.drain_s,
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": list(settings.trusted_proxies),
    }
    if settings.workers == 1:
        app = make()
        listener = _listen(host, port)
        announce(_address(host, listener))
        uvicorn.Server(uvicorn.Config(app, **options)).run(sockets=[listener])
        return
    listener = _listen(host, port)
    with TemporaryDirectory(prefix="geoplantnet-metrics-") as folder:
        os.environ[FOLDER] = folder  # read by the workers, when they import prometheus_client
        config = uvicorn.Config(make, factory=True, workers=settings.workers, timeout_worker_healthcheck=_HUNG_S, **options)
        announce(_address(host, listener))
        Multiprocess(config, sockets=[listener]).run()


def _listen(host: str, port: int) -> socket.socket:
    """A socket bound to a port (0: a free one) that servers may share. Raises ConfigurationError when the port is taken.

    Its protocol is named: asyncio sets TCP_NODELAY only on connections that say they are TCP, and without it every answer waits 40 ms.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_MS)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        hint = (
            "give another --port, or --port 0 for a free one" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "give another --host"
        )
        raise ConfigurationError(f"cannot listen on {host}:{port} ({error.strerror}); {hint}") from error
    return listener


def _address(host: str, listener: socket.socket) -> str:
    return f"http://{host}:{listener.getsockname()[1]}/"
