"""Numbers in cells over a whole catalog, at several levels of coarseness: what a map is drawn from.

A level is a lattice of square cells over all tiles, counted from the catalog's north-west corner, and every tile holds whole cells.
Rasters have the tiles' cells, coarser ones of their own, and those of the catalog's overview. Species are computed: cells and
their means from the tiles' predictions, means of 1 km from the tiles' species sets, means of 5 km from the overview. What was
read or computed is kept, as it is stored, in caches bounded in bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from rasterio.enums import Resampling
from rasterio.windows import Window

from geoplantnet.assemblages.assemblage import BlockMeans, open_means
from geoplantnet.assemblages.cell_sets import CellSets, open_sets
from geoplantnet.assemblages.dense import DenseTile
from geoplantnet.assemblages.latent import LatentTile
from geoplantnet.assemblages.stores import open_species_tile
from geoplantnet.catalog import Catalog, PublishedTile
from geoplantnet.catalog.overview import SpeciesOverview, sides
from geoplantnet.catalog.product import Layer
from geoplantnet.errors import RasterError
from geoplantnet.grid import TileGrid
from geoplantnet.serving.cache import Cache
from geoplantnet.serving.files import Files

Stored = npt.NDArray[Any]

STEPS = 65_534
"""Of a species' probability as it is kept here, in uint16; the value after is no data."""
_BLOCK = 512
"""Cells along the side of a block of an overview that is read and kept."""
_MOST_TILES = 64
"""Tiles opened for one map of a species; one of more is drawn from a coarser level."""
_MOST_FILES = 256
"""Files read for one map of a raster, likewise."""
_A_HANDLE = 20_000
"""Bytes of an opened store of means, about: its arrays stay on disk."""
_COARSE = 0.4
"""Pixels of so many times a mean of 1 km (of 5 km) show it, and not what lies below: one look at a tile in place of all its predictions."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A lattice of cells."""

    cell: float
    """Side of a cell, metres."""
    from_pixel: float
    """Drawn for pixels of this size (metres) and above, up to the next level's."""
    most_tiles: int = 2**31
    """A map that meets more tiles takes the next level."""


class Field(Protocol):
    """Stored numbers of cells; value = stored * scale + offset."""

    levels: tuple[Level, ...]
    """The finest first."""
    dtype: np.dtype[Any]
    scale: float
    offset: float
    missing: float
    """Stored number that means no data; NaN where there is none, or where it is NaN itself."""

    def read(self, level: int, rows: slice, columns: slice) -> Stored:
        """(rows, columns) of a level, `missing` where no tile has data. Raises RasterError for a published file that cannot be read."""
        ...


class Kept:
    """What a server keeps of files and predictions, of all its epochs together."""

    def __init__(self, cache_bytes: int, open_files: int) -> None:
        self.files = Files(open_files)
        self.arrays = Cache(cache_bytes // 4)
        self.predictions = Cache(cache_bytes - cache_bytes // 4)
        """Tiles of predictions are large: an eighth of a gigabyte at 10,000 species."""


class Tiles:
    """The tiles of a catalog by their place, with what is kept of their files. Shared by all requests and threads."""

    def __init__(self, catalog: Catalog, kept: Kept) -> None:
        self.catalog = catalog
        self.files, self.arrays, self.predictions = kept.files, kept.arrays, kept.predictions
        self.west, self.south, self.east, self.north = catalog.bounds
        first = catalog.tiles[0].bounds
        self.size = first[2] - first[0]
        self._at = {self._place(tile): tile for tile in catalog.tiles}
        self._cells: dict[str, int] = {}

    def _place(self, tile: PublishedTile) -> tuple[int, int]:
        west, _, _, north = tile.bounds
        return round((self.north - north) / self.size), round((west - self.west) / self.size)

    def extent(self, cell: float) -> tuple[int, int]:
        """Rows and columns of a level."""
        return math.ceil((self.north - self.south) / cell - 1e-9), math.ceil((self.east - self.west) / cell - 1e-9)

    def cells_of(self, layer: Layer) -> int:
        """Cells along a tile's side in a layer's asset. Raises RasterError for an asset no tile holds."""
        if layer.asset not in self._cells:
            path = next((tile.assets[layer.asset] for tile in self.catalog.tiles if layer.asset in tile.assets), None)
            if path is None:
                raise RasterError(f"no tile of the catalog holds the asset {layer.asset!r} of layer {layer.id!r}; publish it again")
            with self.files.borrow(path) as file:
                self._cells[layer.asset] = file.width
        return self._cells[layer.asset]

    def mosaic(
        self, side: int, rows: slice, columns: slice, dtype: npt.DTypeLike, missing: float, piece: Callable[[PublishedTile], Stored | None]
    ) -> Stored:
        """A block of cells out of tiles of `side` x `side` cells, each whole from `piece` (None = it has no data)."""
        i, j = rows.start // side, columns.start // side
        if rows.stop <= (i + 1) * side and columns.stop <= (j + 1) * side and (i, j) in self._at:
            one = piece(self._at[i, j])
            if one is not None:
                return one[rows.start - i * side : rows.stop - i * side, columns.start - j * side : columns.stop - j * side]
        out: Stored = np.full((rows.stop - rows.start, columns.stop - columns.start), missing, dtype)
        for i in range(rows.start // side, -(-rows.stop // side)):
            for j in range(columns.start // side, -(-columns.stop // side)):
                tile = self._at.get((i, j))
                one = piece(tile) if tile else None
                if one is None:
                    continue
                top, bottom = max(rows.start, i * side), min(rows.stop, (i + 1) * side)
                left, right = max(columns.start, j * side), min(columns.stop, (j + 1) * side)
                part = one[top - i * side : bottom - i * side, left - j * side : right - j * side]
                out[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start] = part
        return out


class RasterField:
    """A band of the tiles' rasters."""

    def __init__(self, tiles: Tiles, layer: Layer, *, band: int, categorical: bool, scale: float, offset: float = 0.0) -> None:
        self._tiles, self._layer, self._band, self._categorical = tiles, layer, band, categorical
        self.scale, self.offset = scale, offset
        self.missing = math.nan if layer.nodata is None else float(layer.nodata)
        self._side = tiles.cells_of(layer)
        overview = tiles.catalog.overviews.get(layer.asset)
        if overview is None:
            raise RasterError(f"the catalog has no overview of {layer.asset!r}; run `geoplantnet publish` again")
        self._overview = overview
        with tiles.files.borrow(overview) as file:
            self.dtype, self._shape = np.dtype(file.dtypes[band - 1]), file.shape
            far = round(tiles.size / file.transform.a)
        self._sides = [side for side in sides(self._side) if side > far]
        """Cells along a tile at the levels that are read from tiles."""
        self._factors = [far // side for side in sides(self._side) if side <= far and far % side == 0]
        """How much coarser than the overview the others are."""
        own = [Level(cell=tiles.size / side, from_pixel=tiles.size / side, most_tiles=_MOST_FILES) for side in self._sides]
        cells = [tiles.size / far * factor for factor in self._factors]
        self.levels = (*own, *(Level(cell=cell, from_pixel=cell) for cell in cells))

    def read(self, level: int, rows: slice, columns: slice) -> Stored:
        """See `Field.read`."""
        if level < len(self._sides):
            side = self._sides[level]
            return self._tiles.mosaic(side, rows, columns, self.dtype, self._fill, lambda tile: self._tile(tile, side))
        return self._far(self._factors[level - len(self._sides)], rows, columns)

    @property
    def _fill(self) -> float:
        return 0 if self.missing != self.missing and self.dtype.kind != "f" else self.missing

    def _tile(self, tile: PublishedTile, side: int) -> Stored:
        path = tile.assets[self._layer.asset]

        def read() -> Stored:
            with self._tiles.files.borrow(path) as file:
                if (file.width, file.height) != (self._side, self._side) or self._band > file.count:
                    raise RasterError(
                        f"{path} has {file.count} bands of {file.width} x {file.height} cells, layer {self._layer.id!r} needs band "
                        f"{self._band} of {self._side} x {self._side}; rebuild the tile"
                    )
                return file.read(self._band, out_shape=(side, side), resampling=self._resampling)

        return self._tiles.arrays.get((path, self._band, side), read, _bytes)

    @property
    def _resampling(self) -> Resampling:
        return Resampling.mode if self._categorical else Resampling.average

    def _far(self, factor: int, rows: slice, columns: slice) -> Stored:
        """Of the overview, block by block."""
        out: Stored = np.full((rows.stop - rows.start, columns.stop - columns.start), self._fill, self.dtype)
        for i in range(rows.start // _BLOCK, -(-rows.stop // _BLOCK)):
            for j in range(columns.start // _BLOCK, -(-columns.stop // _BLOCK)):
                block = self._block(factor, i, j)
                top, left = max(rows.start, i * _BLOCK), max(columns.start, j * _BLOCK)
                part = block[top - i * _BLOCK : rows.stop - i * _BLOCK, left - j * _BLOCK : columns.stop - j * _BLOCK]
                out[top - rows.start : top - rows.start + len(part), left - columns.start : left - columns.start + part.shape[1]] = part
        return out

    def _block(self, factor: int, i: int, j: int) -> Stored:
        def read() -> Stored:
            step = _BLOCK * factor
            height, width = min(step, self._shape[0] - i * step), min(step, self._shape[1] - j * step)
            window = Window(j * step, i * step, width, height)  # type: ignore[call-arg]
            with self._tiles.files.borrow(self._overview) as file:
                return file.read(self._band, window=window, out_shape=(height // factor, width // factor), resampling=self._resampling)

        return self._tiles.arrays.get((self._overview, self._band, factor, i, j), read, _bytes)


class Predictions:
    """Tiles of predictions of one catalog, opened as they are needed, and what maps of species are drawn from."""

    def __init__(self, tiles: Tiles, overview: SpeciesOverview) -> None:
        self.tiles, self.overview = tiles, overview
        crs, size = tiles.catalog.crs, round(tiles.size)
        cell = round(tiles.size / tiles.catalog.tiles[0].properties["proj:shape"][0])
        west, south, east, north = (round(bound) for bound in tiles.catalog.bounds)
        self._grid = TileGrid(crs=crs, tile_size=size, cell_size=cell, bounds=(west, south, east, north))
        self.cell = float(cell)

    def opened(self, tile: PublishedTile) -> LatentTile | DenseTile:
        """The predictions of a tile, without its species sets. Raises as `open_species_tile`."""
        path = next(tile.assets[key] for key in ("latent", "dense") if key in tile.assets)
        return self.tiles.predictions.get((path, "p"), lambda: open_species_tile(path, self._grid), _held)

    def means(self, tile: PublishedTile) -> BlockMeans:
        """Means of 1 km, and the cells' thresholds. Raises as `open_means`."""
        path = tile.assets["assemblage"]
        return self.tiles.predictions.get((path, "means"), lambda: open_means(path), lambda means: _A_HANDLE)

    def sets(self, tile: PublishedTile) -> CellSets:
        """Species sets, of which chunks are kept that somebody asked for. Raises as `open_sets`."""
        path, kept = tile.assets["assemblage"], self.tiles.predictions

        def keep(number: int, read: Callable[[], Stored]) -> Stored:
            return kept.get((path, "steps", number), read, _bytes)

        return kept.get((path, "sets"), lambda: open_sets(path, self._grid, keep=keep), lambda sets: sets.nbytes)


class SpeciesField:
    """What `of` tells of one species, in the cells of tiles and in means of them: its probability, a deviation of it, a threshold.

    `cells` gives a tile's (y, x) values, `blocks` those of its means of 1 km, `far` those of the overview; None = there are none.
    """

    dtype, scale, offset, missing = np.dtype(np.uint16), 1 / STEPS, 0.0, float(STEPS + 1)

    def __init__(
        self,
        predictions: Predictions,
        key: str,
        *,
        cells: Callable[[PublishedTile], npt.NDArray[np.float32]],
        blocks: Callable[[PublishedTile], npt.NDArray[np.float32]] | None,
        far: Callable[[], npt.NDArray[np.float32]] | None,
    ) -> None:
        tiles = predictions.tiles
        self._tiles, self._cells, self._blocks, self._far = tiles, cells, blocks, far
        self._key = tiles.catalog.root, key
        self._side = round(tiles.size / predictions.cell)
        own = [k for k in range(3) if self._side % 2**k == 0]
        levels = [Level(cell=predictions.cell * 2**k, from_pixel=predictions.cell * 2**k, most_tiles=_MOST_TILES) for k in own]
        self._own = len(levels)
        if blocks:
            self._block_side = predictions.means(tiles.catalog.tiles[0]).shape[0]
            cell = tiles.size / self._block_side
            levels.append(Level(cell=cell, from_pixel=_COARSE * cell, most_tiles=_MOST_TILES))
        if far:
            cell = predictions.overview.window.affine.a
            levels.append(Level(cell=cell, from_pixel=_COARSE * cell))
        self.levels = tuple(levels)

    def read(self, level: int, rows: slice, columns: slice) -> Stored:
        """See `Field.read`."""
        if level < self._own:
            return self._tiles.mosaic(self._side >> level, rows, columns, np.uint16, self.missing, lambda tile: self._tile(tile, level))
        if self._blocks and level == self._own:
            return self._tiles.mosaic(self._block_side, rows, columns, np.uint16, self.missing, self._tile_blocks)
        assert self._far
        far = self._far
        return self._tiles.arrays.get((self._key, "far"), lambda: _stored(far()), _bytes)[rows, columns]

    def _tile(self, tile: PublishedTile, level: int) -> Stored:
        if level == 0:
            return self._tiles.arrays.get((self._key, tile.id, 0), lambda: _stored(self._cells(tile)), _bytes)
        return self._tiles.arrays.get((self._key, tile.id, level), lambda: _halved(self._tile(tile, level - 1)), _bytes)

    def _tile_blocks(self, tile: PublishedTile) -> Stored:
        assert self._blocks
        blocks = self._blocks
        return self._tiles.arrays.get((self._key, tile.id, "blocks"), lambda: _stored(blocks(tile)), _bytes)


class AboveThreshold:
    """1 where a probability exceeds the threshold of its place, 0 where it does not: a species by the cells' own set rule."""

    dtype, scale, offset, missing = np.dtype(np.uint8), 1.0, 0.0, 255.0

    def __init__(self, p: SpeciesField, threshold: SpeciesField) -> None:
        self._p, self._threshold = p, threshold
        self.levels = p.levels

    def read(self, level: int, rows: slice, columns: slice) -> Stored:
        """See `Field.read`."""
        p, edge = (field.read(level, rows, columns) for field in (self._p, self._threshold))
        return np.where((p > STEPS) | (edge > STEPS), np.uint8(255), (p > edge).astype(np.uint8))


def _stored(values: npt.NDArray[np.float32]) -> Stored:
    known = np.isfinite(values)
    return np.where(known, np.rint(np.where(known, values, 0) * STEPS), STEPS + 1).astype(np.uint16)


def _halved(stored: Stored) -> Stored:
    """Means of 2 x 2 cells, of those that hold data."""
    grouped = stored.reshape(stored.shape[0] // 2, 2, stored.shape[1] // 2, 2)
    known = grouped <= STEPS
    count = known.sum(axis=(1, 3))
    total = np.where(known, grouped, 0).sum(axis=(1, 3), dtype=np.int64)
    return np.where(count > 0, np.rint(total / np.maximum(count, 1)), STEPS + 1).astype(np.uint16)


def _bytes(array: Stored) -> int:
    return int(array.nbytes)


def _held(tile: LatentTile | DenseTile) -> int:
    """Bytes a tile of predictions keeps in memory, about."""
    if isinstance(tile, LatentTile):
        return int(tile.z.nbytes + tile.head.weights.nbytes + tile.valid.nbytes * 9)
    return int(tile.valid.nbytes)
