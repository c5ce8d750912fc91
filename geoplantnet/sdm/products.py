"""Fast exact products of int8 matrices, for `assemblages.stream`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch


def int8_product(a: npt.NDArray[np.int8], b: npt.NDArray[np.int8]) -> npt.NDArray[np.int32]:
    """(n, d) x (k, d) -> (n, k), by oneDNN's integer instructions where the processor has them."""
    if a.shape[1] == 1:  # torch 2.13 takes the transpose of a (k, 1) matrix for the matrix itself
        return a.astype(np.int32) * b.astype(np.int32).T
    return torch._int_mm(torch.from_numpy(a), torch.from_numpy(b).T).numpy()
