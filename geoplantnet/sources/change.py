"""Another climate by the delta-change method: values of today, shifted and scaled band by band.

What a climate model says of change is added to, or multiplied with, what was observed, so that the fine pattern of the observed fields stays
(Hay, Wilby & Leavesley 2000, J. Am. Water Resour. Assoc. 36: 387-397). Temperatures are shifted, precipitation is scaled.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox

from geoplantnet.errors import ConfigurationError, did_you_mean
from geoplantnet.sources.source import Source


class DeltaChange:
    """A source whose values are another's, times `multiply` and plus `add`, band by band; what is not named stays.

    Raises ConfigurationError for a band that the source does not have.
    """

    def __init__(self, source: Source, *, add: Mapping[str, float] | None = None, multiply: Mapping[str, float] | None = None) -> None:
        add, multiply = add or {}, multiply or {}
        for band in (*add, *multiply):
            if band not in source.bands:
                near = did_you_mean(band, source.bands)
                raise ConfigurationError(f"change: {band!r} is none of the bands {', '.join(source.bands)}.{near}")
        self._source = source
        self._add = np.array([add.get(band, 0.0) for band in source.bands], np.float32)
        self._multiply = np.array([multiply.get(band, 1.0) for band in source.bands], np.float32)
        self._told = {"change": {"add": dict(add), "multiply": dict(multiply)}}

    @property
    def bands(self) -> tuple[str, ...]:
        return self._source.bands

    @property
    def remote(self) -> bool:
        return bool(getattr(self._source, "remote", False))

    def read(self, geobox: GeoBox) -> xr.DataArray:
        found = self._source.read(geobox)
        changed = found.copy(data=found.values * self._multiply[:, None, None] + self._add[:, None, None])
        changed.attrs["provenance"] = [*found.attrs.get("provenance", []), self._told]
        return changed

    def at(self, points: pd.DataFrame) -> npt.NDArray[np.float32]:
        return self._source.at(points) * self._multiply + self._add
