"""The seam to the world of pixels: a Source gives predictor values for a GeoBox, or at points."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox


@runtime_checkable
class Source(Protocol):
    """Anything that can fill a modality. Values are physical (scaled, in the modality's units); NaN where unknown.

    One that reads over a network says so by a further property `remote`, so that not too many do at a time.
    """

    @property
    def bands(self) -> tuple[str, ...]:
        """Names, in the order of the `band` axis."""
        ...

    def read(self, geobox: GeoBox) -> xr.DataArray:
        """Values on `geobox`: float32 (band, y, x) or (time, band, y, x), rows north to south, NaN = no data.

        `attrs["provenance"]` lists what was read, one JSON-able dict an input (href, credit, licence where known). A composite
        has a further coordinate `count` ([time,] y, x): the clear observations behind each pixel.
        A window of a larger read equals the read of the window (no seams). Raises RasterError and its kin.
        """
        ...

    def at(self, points: pd.DataFrame) -> npt.NDArray[np.float32]:
        """Values at points: float32 (n, band) or (n, time, band), NaN where unknown.

        `points` has `x`, `y` (easting, northing in the grid's CRS, metres) and may have what a surveyor measured on
        the spot: `elevation` (m), `slope` (degrees), `aspect` (degrees clockwise from north), NaN where not measured.
        A measured value wins over a raster's.
        """
        ...


class FakeSource:
    """A Source that computes its values from coordinates: what tests and examples put in the place of the world.

    `value(x, y)` gets easting and northing of the pixel centres, metres, and returns values of the same shape.
    """

    def __init__(self, **value_of_band: object) -> None:
        self._value_of_band = value_of_band

    @property
    def bands(self) -> tuple[str, ...]:
        return tuple(self._value_of_band)

    def read(self, geobox: GeoBox) -> xr.DataArray:
        x = geobox.coordinates["x"].values[None, :]
        y = geobox.coordinates["y"].values[:, None]
        layers = [np.broadcast_to(f(x, y), geobox.shape) for f in self._value_of_band.values()]  # type: ignore[operator]
        return xr.DataArray(
            np.stack(layers).astype(np.float32),
            dims=("band", "y", "x"),
            coords={"band": list(self.bands)},
            attrs={"provenance": [{"href": "fake:"}]},
        )

    def at(self, points: pd.DataFrame) -> npt.NDArray[np.float32]:
        x, y = points["x"].to_numpy(), points["y"].to_numpy()
        return np.stack([f(x, y) for f in self._value_of_band.values()], axis=1).astype(np.float32)  # type: ignore[operator]
