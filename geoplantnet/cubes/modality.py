"""A modality: one kind of predictor, described as data (configs/modalities/*.yaml)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from geoplantnet.errors import ConfigurationError, did_you_mean
from geoplantnet.grid.raster import Resampling
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.grid.time_axis import TimeAxis

STEM_OVERLAP = 2
"""Pixels a fine modality is read beyond the cells of its window: 129 px of 10 m = 25 cells of 5 px + 2 px a side."""


@dataclass(frozen=True, kw_only=True)
class Modality:
    """One kind of predictor on the tile lattice. Finer than, equal to, or coarser than the cell; each divides the other."""

    name: str
    """Node name in the cube."""
    bands: tuple[str, ...]
    """Names, in the order of the `band` axis."""
    resolution: float
    """Ground size of a pixel, metres, in the grid's CRS."""
    window: int = 1
    """Side of the context a prediction sees around its cell, cells, odd (1 = the cell alone)."""
    halo: int = 0
    """Pixels stored beyond each edge of the tile."""
    time: TimeAxis | None = None
    """The periods of the `time` axis; None = no time axis."""
    units: tuple[str, ...] = ("1",)
    """Unit of every band; one stands for all."""
    plausible: tuple[tuple[float, float] | None, ...] = (None,)
    """Lowest and highest believable value of every band, in its unit, inclusive; one stands for all. Files' attributes lie."""
    long_names: tuple[str, ...] = ()
    """What every band is, for people; () = their names."""
    resampling: Resampling = "bilinear"
    """How a raster comes onto the lattice: "nearest" for classes; see `grid.raster.read_onto`."""
    normalisation: str = "standard"
    """What the model is fed: "standard" = minus the mean, over the standard deviation, of the training sites; "none" = as it is."""
    dtype: str = "float32"
    """Stored type; integers hold round((value - offset) / scale)."""
    scale: float = 1.0
    offset: float = 0.0
    nodata: int | None = None
    """Stored value for no data; required for integer types, NaN otherwise."""
    title: str = ""
    licence: str = ""
    credit: str = ""
    """Whom a map made from it has to name."""

    def __post_init__(self) -> None:
        where = f"modality {self.name!r}"
        if not self.bands or len(set(self.bands)) != len(self.bands):
            raise ConfigurationError(f"{where}: bands must be a non-empty list of distinct names, got {list(self.bands)}")
        for field, values in (("units", self.units), ("plausible", self.plausible), ("long_names", self.long_names or self.bands)):
            if len(values) not in (1, len(self.bands)):
                raise ConfigurationError(
                    f"{where}: {field} must be one for all or one for each of {len(self.bands)} bands, got {len(values)}"
                )
            object.__setattr__(self, field, tuple(values) * (len(self.bands) // len(values)))
        for band, limits in zip(self.bands, self.plausible):
            if limits is not None and not limits[0] < limits[1]:
                raise ConfigurationError(f"{where}: band {band!r}: plausible must be lowest, highest; got {list(limits)}")
        for field, value, allowed in (
            ("resampling", self.resampling, get_args(Resampling)),
            ("normalisation", self.normalisation, ("standard", "none")),
        ):
            if value not in allowed:
                raise ConfigurationError(
                    f"{where}: {field} must be {', '.join(allowed)}, got {value!r}.{did_you_mean(str(value), allowed)}"
                )
        if self.resolution <= 0:
            raise ConfigurationError(f"{where}: resolution must be positive metres, got {self.resolution}")
        if self.window < 1 or self.window % 2 == 0:
            raise ConfigurationError(f"{where}: window must be an odd number of cells (1, 3, 25 ...), got {self.window}")
        if self.dtype not in ("float32", "uint8", "uint16", "int16"):
            raise ConfigurationError(f"{where}: dtype must be float32, uint8, uint16 or int16, got {self.dtype!r}")
        if self.dtype != "float32" and self.nodata is None:
            raise ConfigurationError(f"{where}: dtype {self.dtype} needs a nodata value")

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Modality:
        """What `dataclasses.asdict` made a mapping of, also after a journey through JSON."""
        time = fields.get("time")
        return cls(
            **{
                **fields,
                **{name: tuple(fields[name]) for name in ("bands", "units", "long_names") if name in fields},
                "plausible": tuple(None if p is None else (p[0], p[1]) for p in fields.get("plausible", (None,))),
                "time": None if time is None else TimeAxis(**time),
            }
        )

    @property
    def times(self) -> int:
        """Length of the time axis; 0 = no time axis."""
        return self.time.count if self.time else 0

    def learns_as(self, other: Modality) -> bool:
        """Whether a model sees no difference: all but the periods is equal, of which there are as many. It may map another year so."""
        return self.times == other.times and replace(self, time=other.time) == other

    @property
    def axes(self) -> tuple[int, ...]:
        """Lengths of the axes before y and x: ([time,] band)."""
        return ((self.times,) if self.times else ()) + (len(self.bands),)

    def cell_ratio(self, grid: TileGrid) -> float:
        """Pixels per cell side: 5 for 10 m under 50 m cells, 1 on the cells, 0.05 for 1 km."""
        return grid.cell_size / self.resolution

    def check_against(self, grid: TileGrid) -> None:
        """Raise ConfigurationError unless the pixels nest with the cells and the halo holds the window."""
        ratio = self.cell_ratio(grid)
        nests = (ratio >= 1 and ratio == int(ratio)) or (
            ratio < 1 and grid.tile_size % self.resolution == 0 and self.resolution % grid.cell_size == 0
        )
        if not nests:
            raise ConfigurationError(
                f"modality {self.name!r}: resolution {self.resolution} m does not nest with {grid.cell_size} m cells of a {grid.tile_size} m tile"
            )
        if ratio < 1 and self.window != 1:
            raise ConfigurationError(f"modality {self.name!r}: coarser than the cell, so its window must be 1, got {self.window}")
        if self.halo < self.reach(grid):
            raise ConfigurationError(
                f"modality {self.name!r}: halo {self.halo} px is smaller than the {self.reach(grid)} px its window needs"
            )

    def reach(self, grid: TileGrid) -> int:
        """Pixels needed beyond a tile's edge so that every cell sees its whole window."""
        ratio = self.cell_ratio(grid)
        if ratio < 1:
            return 1  # bilinear gathering from pixel centres
        around = (self.window // 2) * int(ratio)
        return around + (STEM_OVERLAP if ratio > 1 else 0)
