"""Predictors that come as a table: patches of one cell, for points that lie in no cube and no raster."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.cubes.modality import Modality
from geoplantnet.cubes.patches import Patch
from geoplantnet.errors import InputError

CELL = 50.0
"""Metres: a table's row stands for the cell its point lies in."""


class TablePatches:
    """One or more modalities of one cell each, from columns of a table; the reader a model learns from like any other.

    `columns` names the bands of every modality, in order. Values are float32, NaN = missing. Raises InputError for a column
    that is absent or holds no numbers.
    """

    def __init__(self, frame: pd.DataFrame, columns: dict[str, tuple[str, ...]], *, cell: float = CELL) -> None:
        self.modalities = tuple(Modality(name=name, bands=bands, resolution=cell) for name, bands in columns.items())
        self._values: dict[str, npt.NDArray[np.float32]] = {}
        for name, bands in columns.items():
            if absent := [b for b in bands if b not in frame.columns]:
                raise InputError(f"modality {name!r}: the table has no column {absent[0]!r}; it has {', '.join(map(str, frame.columns))}")
            try:
                self._values[name] = frame[list(bands)].to_numpy(np.float32)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"modality {name!r}: its columns must hold numbers ({error}); turn categories into 0/1 columns first"
                ) from error
        self._length = len(frame)

    def __len__(self) -> int:
        return self._length

    def read(self, index: npt.ArrayLike) -> dict[str, Patch]:
        """Patches (n, band, 1, 1) of the rows at positions `index`, by modality name."""
        picked = np.asarray(index, np.int64)
        return {name: Patch(values=values[picked][:, :, None, None]) for name, values in self._values.items()}
