"""Photos of a set as squares of pixels, decoded once and kept in memory as long as there is room."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import fsspec
import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError
from geoplantnet.identify.photos import SURVEY, Decoder, RefusedPhoto, read_header

KEPT = 4_000_000_000
"""Bytes of squares that are kept, at most."""


class Squares:
    """Squares (side, side, 3) of photos, by position. Use within `with`: it decodes in processes of its own.

    Raises InputError, at the first use, for a photo that cannot be read, and names it: training on what is left would say nothing of it.
    """

    def __init__(self, images: Sequence[str], side: int, *, workers: int = 2) -> None:
        self._images, self._side = list(images), side
        self._keep = len(self._images) * side * side * 3 <= KEPT
        self._kept: dict[int, npt.NDArray[np.uint8]] = {}
        self._decoder = Decoder(workers=workers)
        self._threads = ThreadPoolExecutor(workers)

    def __enter__(self) -> Squares:
        self._decoder.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()
        self._decoder.close()

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """(n, side, side, 3) of positions (n,)."""
        found = list(self._threads.map(self._one, np.asarray(rows).tolist()))
        return np.stack(found) if found else np.zeros((0, self._side, self._side, 3), np.uint8)

    def _one(self, row: int) -> npt.NDArray[np.uint8]:
        if row in self._kept:
            return self._kept[row]
        address = self._images[row]
        try:
            with fsspec.open(address, "rb") as file:
                data = file.read()
            made = self._decoder.square(data, self._side, SURVEY)
        except (OSError, RefusedPhoto) as error:
            raise InputError(f"the photo {address} cannot be read: {error}. Take it out of the set, or restore it") from error
        if self._keep:
            self._kept[row] = made
        return made


def unreadable(images: Sequence[str], *, workers: int = 4) -> npt.NDArray[np.bool_]:
    """(n,): files that are not there, or are no whole JPEG or PNG by their structure; nothing is decoded."""

    def one(address: str) -> bool:
        try:
            with fsspec.open(address, "rb") as file:
                read_header(file.read(), SURVEY)
        except (OSError, RefusedPhoto):
            return True
        return False

    with ThreadPoolExecutor(workers) as threads:
        return np.fromiter(threads.map(one, images), bool, len(images))
