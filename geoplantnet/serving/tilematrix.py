"""The tile matrix sets maps are cut in, as the OGC defines them (17-083r4, annex D): WebMercatorQuad and EuropeanETRS89_LAEAQuad.

A set is a pyramid of matrices, each a rectangle of tiles of 256 x 256 pixels, rows counted from the north, columns from the west.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from geoplantnet.errors import did_you_mean
from geoplantnet.serving.crs import CRSS, Bounds, Crs
from geoplantnet.serving.exceptions import InvalidParameter, TileOutOfRange, shown

TILE_SIZE = 256
"""Pixels along a side of a tile."""
STANDARD_PIXEL = 0.00028
"""Metres: the side of the pixel that scale denominators of the OGC are told for."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,400}", re.ASCII)
_FINEST = 16
"""Pixels along a side of a cell of data at the finest matrix that is served: what is finer, clients enlarge themselves."""
_EDGE = 1e-9
"""Share of a tile that an extent may reach into it by rounding alone."""


@dataclass(frozen=True, kw_only=True)
class TileMatrix:
    """One zoom of a set."""

    id: str
    cell_size: float
    """Side of a pixel, in units of the CRS."""
    scale_denominator: float
    width: int
    """Columns of tiles."""
    height: int
    """Rows of tiles."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The tiles of a matrix that meet an extent; ends belong to it."""

    matrix: TileMatrix
    min_row: int
    max_row: int
    min_col: int
    max_col: int


@dataclass(frozen=True, kw_only=True)
class TileMatrixSet:
    """A pyramid of matrices over one square."""

    id: str
    title: str
    uri: str
    crs: Crs
    west: float
    north: float
    """The corner tiles are counted from, in `crs`."""
    side: float
    """Of the square that all matrices cover, in units of `crs`."""
    matrices: tuple[TileMatrix, ...]
    """The coarsest first."""
    scale_set: str = ""
    """URI of the well-known scale set it follows, if any."""

    @cached_property
    def _by_id(self) -> Mapping[str, TileMatrix]:
        return {matrix.id: matrix for matrix in self.matrices}

    @property
    def point_of_origin(self) -> tuple[float, float]:
        """The north-west corner in the order of the axes of the CRS: of EPSG:3035 northing first."""
        return (self.north, self.west) if self.crs.north_first else (self.west, self.north)

    @property
    def ordered_axes(self) -> tuple[str, str]:
        """Names of the axes of the CRS, in its order."""
        return ("Y", "X") if self.crs.north_first else ("X", "Y")

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north of the square."""
        return self.west, self.north - self.side, self.west + self.side, self.north

    def matrix(self, id: str) -> TileMatrix:
        """Raises InvalidParameter for a matrix that is not in the set."""
        found = self._by_id.get(id)
        if found is None:
            first, last = self.matrices[0].id, self.matrices[-1].id
            raise InvalidParameter(f"tile matrix {shown(id)} is not in {self.id}; those served are {first} to {last}")
        return found

    def down_to(self, cell: float) -> TileMatrixSet:
        """The set down to the first matrix whose pixels are a sixteenth of a cell of data (units of the CRS), or smaller."""
        coarser = sum(matrix.cell_size > cell / _FINEST for matrix in self.matrices)
        return replace(self, matrices=self.matrices[: coarser + 1])

    def limits(self, extent: Bounds) -> tuple[Limits, ...]:
        """The tiles of every matrix that meet an extent (west, south, east, north in the set's CRS); none for one outside the square."""
        west, south, east, north = extent
        found = []
        for matrix in self.matrices:
            tile = self.side / matrix.width
            first_col, last_col = _span((west - self.west) / tile, (east - self.west) / tile, matrix.width)
            first_row, last_row = _span((self.north - north) / tile, (self.north - south) / tile, matrix.height)
            if first_col <= last_col and first_row <= last_row:
                found.append(Limits(matrix=matrix, min_row=first_row, max_row=last_row, min_col=first_col, max_col=last_col))
        return tuple(found)


def tile_bounds(tiles: TileMatrixSet, matrix: str, row: int, col: int) -> Bounds:
    """West, south, east, north of a tile in the set's CRS; neighbours share their edges exactly.

    Raises InvalidParameter for an unknown matrix, TileOutOfRange for a row or column it does not have.
    """
    of = tiles.matrix(matrix)
    for name, number, count in (("row", row, of.height), ("column", col, of.width)):
        if not 0 <= number < count:
            raise TileOutOfRange(f"{name} {number} is outside matrix {of.id} of {tiles.id}; it has 0 to {count - 1}")
    west, east = (tiles.west + tiles.side * (edge / of.width) for edge in (col, col + 1))
    north, south = (tiles.north - tiles.side * (edge / of.height) for edge in (row, row + 1))
    return west, south, east, north


def tile_number(text: str, name: str, count: int) -> int:
    """A row or column as clients write it, of `count`. Raises InvalidParameter for what is no whole number, TileOutOfRange."""
    if not _WHOLE.fullmatch(text):
        raise InvalidParameter(f"{name}={shown(text)} is not a whole number")
    if len(text) > 12 or not 0 <= int(text) < count:
        raise TileOutOfRange(f"{name}={shown(text)} is out of range; this matrix has 0 to {count - 1}")
    return int(text)


def tile_matrix_set(name: str, among: Mapping[str, TileMatrixSet] | None = None) -> TileMatrixSet:
    """The set called `name` or having this URI. Raises InvalidParameter with the nearest spelling."""
    sets = TILE_MATRIX_SETS if among is None else among
    found = sets.get(name) or next((one for one in sets.values() if one.uri == name), None)
    if found is None:
        raise InvalidParameter(f"tile matrix set {shown(name)} is not served; use one of {', '.join(sets)}.{did_you_mean(name[:40], sets)}")
    return found


def _span(low: float, high: float, count: int) -> tuple[int, int]:
    """First and last tile between two fractional places along an axis."""
    return max(math.floor(low + _EDGE), 0), min(math.ceil(high - _EDGE), count) - 1


def _quad(id: str, title: str, crs: str, west: float, north: float, side: float, levels: int, scale_set: str = "") -> TileMatrixSet:
    """One tile at the top, each divided in four at the next level."""

    def matrix(z: int) -> TileMatrix:
        cell = side / TILE_SIZE / 2**z
        return TileMatrix(id=str(z), cell_size=cell, scale_denominator=cell / STANDARD_PIXEL, width=2**z, height=2**z)

    uri = f"http://www.opengis.net/def/tilematrixset/OGC/1.0/{id}"
    matrices = tuple(matrix(z) for z in range(levels))
    return TileMatrixSet(
        id=id, title=title, uri=uri, crs=CRSS[crs], west=west, north=north, side=side, matrices=matrices, scale_set=scale_set
    )


_HALF = math.pi * 6_378_137.0
"""Half the side of the world in EPSG:3857: half the equator, metres."""

WEB_MERCATOR = _quad(
    "WebMercatorQuad",
    "Google Maps Compatible for the World",
    "EPSG:3857",
    -_HALF,
    _HALF,
    2 * _HALF,
    25,
    "http://www.opengis.net/def/wkss/OGC/1.0/GoogleMapsCompatible",
)
EUROPE = _quad(
    "EuropeanETRS89_LAEAQuad", "Lambert Azimuthal Equal Area ETRS89 for Europe", "EPSG:3035", 2_000_000.0, 5_500_000.0, 4_500_000.0, 16
)
TILE_MATRIX_SETS: Mapping[str, TileMatrixSet] = {one.id: one for one in (WEB_MERCATOR, EUROPE)}
"""As defined, by identifier. A server advertises them down to what its cells are worth (`TileMatrixSet.down_to`)."""
