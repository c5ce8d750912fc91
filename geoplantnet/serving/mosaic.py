"""The catalog's cells seen as one: any window, any offered CRS, any zoom, no seams between tiles.

Every map pixel asks for the value at its centre. The centre is brought into the grid's CRS (`warp`), where it lies in exactly
one cell: gaps and overlaps cannot happen. Zoomed out, the cells are those of a coarser level (`fields`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from rasterio.transform import Affine

from geoplantnet.catalog import Catalog, PublishedTile
from geoplantnet.catalog.overview import SPECIES, open_species_overview
from geoplantnet.catalog.product import Layer
from geoplantnet.serving import kernels
from geoplantnet.serving.cache import Cache
from geoplantnet.serving.crs import Bounds, Crs, reproject_bounds
from geoplantnet.serving.exceptions import InvalidParameter, TooLarge
from geoplantnet.serving.fields import AboveThreshold, Field, Kept, Predictions, RasterField, SpeciesField, Stored, Tiles
from geoplantnet.serving.warp import View

FloatArray = npt.NDArray[np.floating[Any]]
Place = TypeVar("Place", float, FloatArray)
Reads = Literal["value", "uncertainty", "applicable", "set"]
"""What is read of a layer: its own band, the one that says how far to trust it, the one that says where the model applies, or (of a
species) whether it is in the cell's set.
"""

MAX_CELLS = 4096 * 4096
"""Cells one answer may hold."""
CACHE_BYTES = 1_000_000_000
"""What a server keeps of files and predictions, unless told otherwise."""
LATENT = "latent"
PREDICTED = (LATENT, "dense")
"""Assets that species are computed from: of such a layer `band` - 1 is the place in the species list."""

_CALLED = {"applicable": "area of applicability", "set": "species set"}
_STRIP = 256
"""Map rows worked on at a time: bounds the memory of a large map."""


@dataclass(frozen=True)
class Lattice:
    """The square cells of a layer at one level, over all tiles of the catalog."""

    west: float
    north: float
    cell: float
    """Side of a cell, metres."""

    def column(self, easting: Place) -> Place:
        """Fractional column: whole numbers are cell edges, counted from the catalog's west edge."""
        return (easting - self.west) / self.cell

    def row(self, northing: Place) -> Place:
        """Fractional row: whole numbers are cell edges, counted from the catalog's north edge."""
        return (self.north - northing) / self.cell


class Mosaic:
    """A catalog, its open files and what is kept of them. Shared by all requests and threads."""

    def __init__(self, catalog: Catalog, *, kept: Kept | None = None, open_files: int = 256) -> None:
        """`kept` is shared with other mosaics."""
        self.catalog = catalog
        self._tiles = Tiles(catalog, kept or Kept(CACHE_BYTES, open_files))
        self.field = lru_cache(maxsize=4096)(self._field)
        self._around = lru_cache(maxsize=16)(lambda name: reproject_bounds(catalog.bounds, catalog.crs, name))

    def __deepcopy__(self, memo: dict[int, object]) -> Mosaic:
        """Itself: pygeoapi deep-copies its configuration, open files are shared."""
        return self

    def showing(self, may: Callable[[str], bool]) -> Mosaic:
        """The same with the layers whose ids may be seen, and the same open files and caches."""
        seen = copy(self)
        seen.catalog = self.catalog.showing(may)
        return seen

    @property
    def crs(self) -> str:
        """CRS of the cells, such as ``EPSG:3035``."""
        return self.catalog.crs

    @property
    def caches(self) -> dict[str, Cache]:
        """What is kept: arrays of files and maps, and opened tiles of predictions."""
        return {"arrays": self._tiles.arrays, "predictions": self._tiles.predictions}

    def close(self) -> None:
        """Close the files not in use."""
        self._tiles.files.close()

    @cached_property
    def predictions(self) -> Predictions | None:
        """What species are computed from; None for a catalog published without an overview of them."""
        path = self.catalog.overviews.get(SPECIES)
        return Predictions(self._tiles, open_species_overview(path)) if path else None

    # ---- maps

    def sample(self, layer: Layer, crs: Crs, bbox: Bounds, width: int, height: int, *, reads: Reads = "value") -> np.ma.MaskedArray:
        """Values (not stored numbers) at the pixel centres of a map: float32 (height, width), rows north to south, masked = no data.

        `bbox` is west, south, east, north in `crs`. A pixel shows its nearest cell, of the coarsest level whose cells are
        no larger than a pixel; zoomed out, layers without classes are interpolated bilinearly between the centres of the
        cells that hold data. Where the nearest cell holds none, there is none. A map of too many tiles is drawn from a coarser
        level, or, where there is none, shows nothing (of the uncertainty of a species). Raises RasterError when a published file
        cannot be read.
        """
        out = np.full((height, width), np.nan, np.float32)
        field = self.field(layer, reads)
        smooth = not layer.classes and reads != "set"
        for rows, cells, column, row, zoomed_out in self._strips(field, View(crs=crs, bbox=bbox, width=width, height=height)):
            kernels.values(cells, field.missing, field.scale, field.offset, smooth and zoomed_out, column, row, out[rows])
        return np.ma.array(out, mask=np.isnan(out))

    def paint(self, layer: Layer, view: View, table: npt.NDArray[np.uint8], *, reads: Reads = "value") -> npt.NDArray[np.uint8]:
        """Palette index (height, width) of each pixel: that of the stored number of its nearest cell in `table`; see `sample`."""
        out = np.zeros((view.height, view.width), np.uint8)
        for rows, cells, column, row, _ in self._strips(self.field(layer, reads), view):
            kernels.nearest(cells, table, column, row, out[rows])
        return out

    def zoomed_out(self, layer: Layer, view: View, reads: Reads = "value") -> bool:
        """Whether pixels are larger than the finest cells."""
        sides = self._pixel(view)
        return sides is not None and _size(sides) > self.field(layer, reads).levels[0].cell * (1 + 1e-6)

    def _pixel(self, view: View) -> tuple[float, float] | None:
        around = self._around(view.crs.name)
        return view.pixel_on_ground(self.crs, around) if around else None

    def _strips(self, field: Field, view: View) -> Iterator[tuple[slice, Stored, FloatArray, FloatArray, bool]]:
        """Rows of the map, the cells below them, fractional columns and rows of the pixels in those; and whether it is zoomed out."""
        sides = self._pixel(view)
        number = self._level(field, sides, view) if sides else None
        if sides is None or number is None:
            return
        level, pixel = field.levels[number], _size(sides)
        rows, columns = self._tiles.extent(level.cell)
        for start in range(0, view.height, _STRIP):
            strip = slice(start, min(start + _STRIP, view.height))
            column, row = view.places(self.crs, strip, cell=level.cell)
            column -= self._tiles.west
            column /= level.cell
            np.subtract(self._tiles.north, row, out=row)
            row /= level.cell
            across, down = _ends(column, columns), _ends(row, rows)
            if across is None or down is None:
                continue
            (left, right), (top, bottom) = across, down
            cells = field.read(number, slice(top, bottom), slice(left, right))
            if left or top:
                column -= left
                row -= top
            yield strip, cells, column, row, pixel > field.levels[0].cell * (1 + 1e-6)

    def _level(self, field: Field, sides: tuple[float, float], view: View) -> int | None:
        """The level a map is drawn from, given the sides of its pixels; None where even the coarsest would open too many tiles."""
        number = max((k for k, level in enumerate(field.levels) if level.from_pixel <= _size(sides) * (1 + 1e-6)), default=0)
        tiles = math.prod(count * side / self._tiles.size + 1 for count, side in zip((view.width, view.height), sides, strict=True))
        met = min(tiles, len(self.catalog.tiles))
        return next((k for k in range(number, len(field.levels)) if met <= field.levels[k].most_tiles), None)

    # ---- cells as they are stored

    def value_at(self, layer: Layer, easting: float, northing: float, *, reads: Reads = "value") -> float | None:
        """The value of the one full-resolution cell that holds a point of the grid's CRS; None where there is no data."""
        field = self.field(layer, reads)
        lattice = self.lattice(layer)
        column, row = lattice.column(easting), lattice.row(northing)
        rows, columns = self._tiles.extent(lattice.cell)
        if not (0 <= column < columns and 0 <= row < rows):
            return None
        c, r = math.floor(column), math.floor(row)
        stored = field.read(0, slice(r, r + 1), slice(c, c + 1))[0, 0]
        return None if stored == field.missing or stored != stored else float(stored) * field.scale + field.offset

    def cells(self, layer: Layer, bounds: Bounds, level: int = 0) -> tuple[np.ma.MaskedArray, Affine]:
        """Stored numbers of all cells of a level meeting `bounds` (grid CRS): (rows, columns), rows north to south, and their transform.

        Empty when the bounds miss the catalog. Raises TooLarge above MAX_CELLS.
        """
        lattice, field = self.lattice(layer, level), self.field(layer, "value")
        rows, columns = self._tiles.extent(lattice.cell)
        west, south, east, north = bounds
        left, right = max(math.floor(lattice.column(west)), 0), min(math.ceil(lattice.column(east)), columns)
        top, bottom = max(math.floor(lattice.row(north)), 0), min(math.ceil(lattice.row(south)), rows)
        if left >= right or top >= bottom:
            return np.ma.array(np.zeros((0, 0), np.float32), mask=True), Affine.identity()
        if (right - left) * (bottom - top) > MAX_CELLS:
            raise TooLarge(
                f"{right - left} x {bottom - top} cells of {layer.id!r} are asked, at most {MAX_CELLS} fit one answer; ask for a smaller bbox"
            )
        transform = Affine(lattice.cell, 0, lattice.west + left * lattice.cell, 0, -lattice.cell, lattice.north - top * lattice.cell)
        stored = field.read(level, slice(top, bottom), slice(left, right))
        return np.ma.array(stored, mask=(stored == field.missing) | (stored != stored)), transform

    def lattice(self, layer: Layer, level: int = 0) -> Lattice:
        """The cells of a layer at a level."""
        return Lattice(self._tiles.west, self._tiles.north, self.field(layer, "value").levels[level].cell)

    def levels(self, layer: Layer) -> int:
        """How many levels a layer has."""
        return len(self.field(layer, "value").levels)

    # ---- where numbers come from

    def _field(self, layer: Layer, reads: Reads) -> Field:
        """Raises InvalidParameter for something that is not known of the layer."""
        if layer.asset in PREDICTED:
            return self._species_field(layer, reads)
        if reads == "value":
            return RasterField(self._tiles, layer, band=layer.band, categorical=bool(layer.classes), scale=layer.scale, offset=layer.offset)
        if reads == "uncertainty" and layer.uncertainty:
            return RasterField(self._tiles, layer, band=layer.uncertainty.band, categorical=False, scale=layer.uncertainty.scale)
        if reads == "applicable" and layer.applicable:
            return RasterField(self._tiles, layer, band=layer.applicable, categorical=True, scale=1.0)
        raise InvalidParameter(f"layer {layer.id!r} has no {_CALLED.get(reads, reads)}")

    def _species_field(self, layer: Layer, reads: Reads) -> Field:
        predictions, k = self.predictions, layer.band - 1
        if predictions is None:
            raise InvalidParameter(f"layer {layer.id!r} is of a catalog without species")
        if reads == "applicable":
            raise InvalidParameter(f"layer {layer.id!r} has no {_CALLED[reads]} of its own")
        opened, means, overview = predictions.opened, predictions.means, predictions.overview

        def spread(tile: PublishedTile) -> npt.NDArray[np.float32]:
            held = opened(tile)
            return held.spread(k) if hasattr(held, "spread") else np.full(held.shape, np.nan, np.float32)

        if reads == "uncertainty":
            return SpeciesField(predictions, f"spread {k}", cells=spread, blocks=None, far=None)
        p = SpeciesField(
            predictions,
            f"p {k}",
            cells=lambda tile: opened(tile).species_map(k),
            blocks=lambda tile: means(tile).of(slice(k, k + 1))[0],
            far=lambda: overview.species_map(k),
        )
        if reads == "value":
            return p
        threshold = SpeciesField(
            predictions,
            "threshold",
            cells=lambda tile: means(tile).threshold,
            blocks=lambda tile: means(tile).thresholds(),
            far=overview.threshold,
        )
        return AboveThreshold(p, threshold)


def _size(sides: tuple[float, float]) -> float:
    """What a level is chosen by: the shorter side of a pixel. Of a needle only so much: its short side would ask for far more cells than pixels."""
    return max(min(sides), max(sides) / 4)


def _ends(place: FloatArray, count: int) -> tuple[int, int] | None:
    """The cells along an axis that pixels fall into, with one to each side for bilinear neighbours; None when all lie outside."""
    low, high = float(place.min()), float(place.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        known = place[np.isfinite(place)]
        if not known.size:
            return None
        low, high = float(known.min()), float(known.max())
    first, last = max(math.floor(low) - 1, 0), min(math.floor(high) + 2, count)
    return (first, last) if first < last else None
