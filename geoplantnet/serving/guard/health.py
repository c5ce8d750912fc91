"""Whether a server can do its work: asked by whoever decides where to send requests, so cheap however often it is asked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import anyio
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geoplantnet.catalog import Catalog
from geoplantnet.catalog.stac import CATALOG
from geoplantnet.errors import GeoPlantNetError
from geoplantnet.storage import sha256

LOGGER = logging.getLogger(__name__)

Check = Callable[[], str]
"""Something that has to be so: empty, or why it is not, in words for anybody (no paths)."""

_KEPT_S = 1.0
"""Seconds for which an answer is given again."""


class Readiness:
    """Checks, in turn, at most once a second, in a thread of their own: however busy the others are, this one is free."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self.checks = list(checks)
        self._told: tuple[float, str] = (float("-inf"), "")
        self._turn = asyncio.Lock()
        self._thread = anyio.CapacityLimiter(1)

    async def why_not(self) -> str:
        """Empty when the server is ready, else the first reason why not."""
        async with self._turn:
            if time.monotonic() - self._told[0] > _KEPT_S:
                self._told = (time.monotonic(), await anyio.to_thread.run_sync(self._ask, limiter=self._thread))
            return self._told[1]

    def _ask(self) -> str:
        for check in self.checks:
            try:
                if reason := check():
                    return reason
            except (OSError, RasterioError, GeoPlantNetError) as error:
                LOGGER.error("not ready: %s", error, exc_info=error)
                return "a published file cannot be read; the operator finds the details in the server's log"
        return ""


def catalog_is_current(catalog: Catalog) -> Check:
    """That what lies published is what is served."""

    def check() -> str:
        file = catalog.root / CATALOG
        if not file.is_file():
            return "the catalog is gone"
        return "" if sha256(file) == catalog.version else "the catalog was published anew; start the server again"

    return check


def a_tile_can_be_read(catalog: Catalog) -> Check:
    """That the store answers: one pixel of the first published raster, by opening it anew."""
    rasters = {layer.asset for layer in catalog.layers.values()}
    found = next((path for tile in catalog.tiles for key, path in tile.assets.items() if key in rasters), None)

    def check() -> str:
        if found is not None:
            with rasterio.open(found, driver="GTiff") as raster:
                raster.read(1, window=Window(raster.width // 2, raster.height // 2, 1, 1))
        return ""

    return check
