"""Open the app on a port. Separate from `app`, so that any ASGI server may serve it instead."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from geoplantnet.errors import ConfigurationError, StorageError
from geoplantnet.serving.app import create_app


def serve(store: Path, *, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve the catalog of a store until interrupted; `announce` gets the URL once requests are answered.

    Port 0 takes a free one. Raises StorageError when nothing is published there, ConfigurationError when the port is taken.
    """
    if not (store / "catalog.json").is_file():
        raise StorageError(f"nothing is published in {store}; run `geoplantnet run RECIPE` (or `geoplantnet publish RECIPE`) first")
    app = create_app(store)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        hint = (
            "give another --port, or --port 0 for a free one" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "give another --host"
        )
        raise ConfigurationError(f"cannot listen on {host}:{port} ({error.strerror}); {hint}") from error
    announce(f"http://{host}:{listener.getsockname()[1]}/")
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
