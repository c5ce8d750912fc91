"""The nearest of many rows, by Hamming distance or by cosine. Of equal ones the first come first."""

from __future__ import annotations

import faiss
import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


def by_hamming(code: npt.NDArray[np.uint8], codes: npt.NDArray[np.uint8], k: int) -> Rows:
    """Positions of the k codes (n, bytes) nearest to one (bytes,), nearest first.

    The loop behind faiss's IndexBinaryFlat, run on our own array: that index moves its codes when it grows, under the feet of a search.
    """
    k = min(k, len(codes))
    if not k:
        return np.empty(0, np.int64)
    distances, rows = faiss.knn_hamming(code[None], codes, k)
    return rows[0][np.lexsort((rows[0], distances[0]))]


def cosines(unit: npt.NDArray[np.float32], features: npt.NDArray[np.float16]) -> npt.NDArray[np.float64]:
    """Of unit features (v, d) with many (n, d): the largest of the v, for each of the n.

    Rounded to six places, for a sum's last digits depend on its order, and equals must be equal.
    """
    return np.clip(np.round((features.astype(np.float32) @ unit.T).max(axis=1).astype(np.float64), 6), -1, 1)
