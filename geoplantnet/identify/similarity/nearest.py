"""The nearest of many rows, by Hamming distance or by cosine. Of equal ones the first come first."""

from __future__ import annotations

import math
import threading

import faiss
import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]

PARTED = 200_000
"""So many codes, and more, are parted into cells."""
LOOKED_AT = 4
"""One of so many cells is looked at: what that loses is in the benchmarks (`benchmarks/identify_similarity.py`)."""


class Cells:
    """Codes parted by the nearest of some drawn among them, as many as their root; of a query the nearest cells alone are read.

    An inverted file over binary codes (Jégou, Douze & Schmid 2011, TPAMI, section 4). It never changes: any thread may ask.
    """

    def __init__(self, codes: npt.NDArray[np.uint8]) -> None:
        n, width = codes.shape
        cells = math.isqrt(n)
        drawn = np.sort(np.random.default_rng(0).choice(n, cells, replace=False))
        self._centres = faiss.IndexBinaryFlat(width * 8)  # the file below does not keep it alive
        self._centres.add(codes[drawn])
        self._file = faiss.IndexBinaryIVF(self._centres, width * 8, cells)
        self._file.is_trained = True
        self._file.nprobe = max(1, cells // LOOKED_AT)
        self._file.add(codes)

    def __len__(self) -> int:
        """Codes it holds."""
        return int(self._file.ntotal)

    def nearest(self, code: npt.NDArray[np.uint8], k: int) -> tuple[npt.NDArray[np.int32], Rows]:
        """Distances and positions; fewer where the cells looked at hold fewer."""
        distances, rows = self._file.search(code[None], k)
        found = rows[0] >= 0
        return distances[0][found], rows[0][found]


class Parting:
    """The cells of codes that grow, made anew when they have grown by half. One search makes them, those meanwhile do without."""

    def __init__(self) -> None:
        self._cells: Cells | None = None
        self._making = threading.Lock()

    def of(self, codes: npt.NDArray[np.uint8]) -> Cells | None:
        """Cells of the first codes, or more than these; None for few."""
        cells = self._cells
        if len(codes) >= PARTED and len(codes) > 1.5 * (len(cells) if cells else 0) and self._making.acquire(blocking=False):
            try:
                cells = self._cells = Cells(codes)
            finally:
                self._making.release()
        return cells


def by_hamming(code: npt.NDArray[np.uint8], codes: npt.NDArray[np.uint8], k: int, cells: Cells | None = None) -> Rows:
    """Positions of the k codes (n, bytes) nearest to one (bytes,), nearest first; exact unless `cells` are given.

    The loop behind faiss's IndexBinaryFlat, run on our own array: that index moves its codes when it grows, under the feet of a search.
    """
    n = len(codes)
    k = min(k, n)
    if not k:
        return np.empty(0, np.int64)
    if cells is None:
        distances, rows = (answer[0] for answer in faiss.knn_hamming(code[None], codes, k))
    else:
        distances, rows = cells.nearest(code, k)
        distances, rows = distances[rows < n], rows[rows < n]  # made when there were more
        parted = len(cells)
        if parted < n:
            later = faiss.knn_hamming(code[None], codes[parted:], min(k, n - parted))
            distances, rows = np.concatenate([distances, later[0][0]]), np.concatenate([rows, later[1][0] + parted])
    return rows[np.lexsort((rows, distances))][:k].astype(np.int64, copy=False)


def widened(halves: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """Finite float16 as float32, exactly: numpy's own conversion goes one by one, and was most of a search's time.

    Sign, exponent and fraction (IEEE 754) move to their places in 32 bits; the exponents' biases, 15 and 127, differ by 112.
    """
    bits = halves.view(np.int16).astype(np.int32)  # the sign fills the upper half
    bits <<= 13
    bits &= np.int32(-0x70002000)  # 0x8FFFE000: the sign once, and the other 15 bits
    wide = bits.view(np.float32)
    wide *= np.float32(2.0**112)
    return wide


def cosines(unit: npt.NDArray[np.float32], features: npt.NDArray[np.float16]) -> npt.NDArray[np.float64]:
    """Of unit features (v, d) with many (n, d): the largest of the v, for each of the n.

    Rounded to six places, for a sum's last digits depend on its order, and equals must be equal.
    """
    return np.clip(np.round((widened(features) @ unit.T).max(axis=1).astype(np.float64), 6), -1, 1)
