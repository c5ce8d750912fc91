"""What every store of a tile's predictions answers, whichever model they came from: nobody above floor 3 knows which it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import geopandas as gpd
import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from geoplantnet.assemblages.assemblage import Assemblage
from geoplantnet.assemblages.coverage import polygon_weights
from geoplantnet.errors import UsageError
from geoplantnet.grid.tile_grid import MetaTile
from geoplantnet.taxonomy.species_list import SpeciesList

Float = npt.NDArray[np.float32]


class SpeciesTile(Protocol):
    """Probabilities of all species on one meta-tile: `LatentTile` answers by a dot product with the head, `DenseTile` by reading."""

    @property
    def tile(self) -> MetaTile: ...

    @property
    def species(self) -> SpeciesList: ...

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """(y, x)"""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Cells (y, x)."""
        ...

    @property
    def geobox(self) -> GeoBox: ...

    @property
    def attributes(self) -> Mapping[str, object]:
        """Plot area in m2, interval, notice: what a map must state."""
        ...

    @property
    def members(self) -> int:
        """Models it can tell apart; more than one only where it keeps those of an ensemble."""
        ...

    @property
    def dissimilarity(self) -> Float | None:
        """(y, x): dissimilarity index to the plots learnt from, NaN where none is comparable; None = not known of this model."""
        ...

    @property
    def dissimilarity_threshold(self) -> float:
        """Largest index inside the area of applicability."""
        ...

    @property
    def inside(self) -> npt.NDArray[np.bool_] | None:
        """(y, x): whether a cell lies in the area of applicability."""
        ...

    @property
    def assemblage(self) -> Assemblage | None:
        """Species sets and means of 1 km; None for a tile opened without them."""
        ...

    def blocks(self) -> Iterator[tuple[slice, Float]]:
        """All species, a block at a time: (slice of the species axis, probabilities (species, y, x), NaN = no data)."""
        ...

    def species_map(self, k: int, window: tuple[slice, slice] = ..., level: int = 0) -> Float:
        """Probability (y, x) of species k over a window of rows and columns, NaN = no data.

        Level 0 is the cells, 1 the means of blocks of 1 km, which need the assemblage. Raises UsageError for another level.
        """
        ...

    def at(self, rows: npt.ArrayLike, columns: npt.ArrayLike) -> Float:
        """Probabilities (n, species) at cells, NaN = no data."""
        ...


def coverage(tile: SpeciesTile, polygons: gpd.GeoSeries | gpd.GeoDataFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Polygons -> coverage (polygon, species) and valid cells (polygon,): the share of its cells whose species set holds a species.

    Equal to exactextract's mean of each species' presence. Raises CrsError without a CRS, InputError for what is no polygon, UsageError for a
    tile opened without its assemblage.
    """
    if tile.assemblage is None:
        raise UsageError(f"tile {tile.tile.id} came without its species sets; open it with its assemblage")
    return tile.assemblage.coverage(polygon_weights(polygons, tile.tile.geobox()))
