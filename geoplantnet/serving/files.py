"""Open GeoTIFFs: an open file is used by one thread at a time, and at most so many idle ones are kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from geoplantnet.errors import RasterError
from geoplantnet.serving.cache import takes_time


class Files:
    """At most `limit` idle files are kept open."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._idle: OrderedDict[Path, list[DatasetReader]] = OrderedDict()  # longest unused first
        self._count = 0
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self, path: Path) -> Iterator[DatasetReader]:
        """The open file. Raises RasterError when it cannot be opened or read."""
        takes_time()
        file = self._take(path)
        try:
            if file is None:
                file = rasterio.open(path, driver="GTiff")
            yield file
        except BaseException as error:
            if file is not None:
                file.close()
            if isinstance(error, (RasterioError, OSError)):
                raise RasterError(f"cannot read {path}: {error}; verify the store and publish the tile again") from error
            raise
        self._keep(path, file)

    def close(self) -> None:
        """Close the files not in use."""
        with self._lock:
            files = [file for files in self._idle.values() for file in files]
            self._idle.clear()
            self._count = 0
        for file in files:
            file.close()

    def _take(self, path: Path) -> DatasetReader | None:
        with self._lock:
            files = self._idle.get(path)
            if not files:
                return None
            file = files.pop()
            self._count -= 1
            if not files:
                del self._idle[path]
            return file

    def _keep(self, path: Path, file: DatasetReader) -> None:
        surplus = None
        with self._lock:
            self._idle.setdefault(path, []).append(file)
            self._idle.move_to_end(path)
            self._count += 1
            if self._count > self._limit:
                oldest = next(iter(self._idle))
                surplus = self._idle[oldest].pop()
                self._count -= 1
                if not self._idle[oldest]:
                    del self._idle[oldest]
        if surplus is not None:
            surplus.close()
