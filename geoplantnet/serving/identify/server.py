"""Open the application on a port, in one process or several. Separate from `app`, so that any ASGI server may serve it instead."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi import FastAPI

from geoplantnet.identify.engine import Identifier
from geoplantnet.identify.observations import ObservationStore
from geoplantnet.identify.photos import Decoder
from geoplantnet.serving.app import create_app
from geoplantnet.serving.atlas import Atlas
from geoplantnet.serving.guard import AccessLog
from geoplantnet.serving.identify.app import create_identify_app
from geoplantnet.serving.identify.settings import IdentifySettings
from geoplantnet.serving.server import run
from geoplantnet.serving.settings import ServerSettings

Maker = Callable[[Atlas | None], Identifier]
"""The maps that are served beside it, as who has no key may see them -> what identifies. Called once in each process."""


def serve_identify(
    make: Maker,
    *,
    host: str,
    port: int,
    announce: Callable[[str], None],
    settings: IdentifySettings | None = None,
    store: str | Path | None = None,
    images: str | Path | None = None,
    catalog: Path | None = None,
    maps: ServerSettings | None = None,
    model_folder: Path | None = None,
) -> None:
    """Serve identification until interrupted; `announce` gets the URL once requests are answered.

    `store` and `images` as `ObservationStore.open` takes them; `catalog`: a store of maps, served beside as `maps` says, whose predictions `make` may
    use; `model_folder`: the offline folder that pages may keep. With several workers `make` is to be picklable, and quotas are counted in a
    temporary file where settings name none. Raises what opening any of it raises, and ConfigurationError when the port is taken.
    """
    settings = settings or IdentifySettings()
    with TemporaryDirectory(prefix="geoplantnet-quota-") as folder:
        if settings.workers > 1 and settings.quota is None:
            settings = replace(settings, quota=Path(folder, "quota.sqlite"))
        log = AccessLog.of(settings.access_log, sys.stderr)
        application = partial(
            opened, make, settings=settings, store=store, images=images, catalog=catalog, maps=maps, model_folder=model_folder, log=log
        )
        run(application, settings.server, host=host, port=port, announce=announce)


def opened(
    make: Maker,
    *,
    settings: IdentifySettings,
    store: str | Path | None = None,
    images: str | Path | None = None,
    catalog: Path | None = None,
    maps: ServerSettings | None = None,
    model_folder: Path | None = None,
    log: AccessLog | None = None,
) -> FastAPI:
    """The application with all it needs opened; its lifespan starts the decoders, and closes them and the store."""
    beside = create_app(catalog, settings=maps, log=log) if catalog is not None else None
    observations = ObservationStore.open(store, images=images) if store is not None else None
    decoder = Decoder(workers=settings.decoders)
    identifier = make(beside.state.public_atlas() if beside is not None else None)
    app = create_identify_app(
        identifier, store=observations, settings=settings, maps=beside, decoder=decoder, model_folder=model_folder, log=log
    )
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(own: Any) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            if observations is not None:
                stack.callback(observations.close)
            stack.enter_context(decoder)
            yield await stack.enter_async_context(inner(own))

    app.router.lifespan_context = lifespan
    return app
