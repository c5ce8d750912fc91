"""The species sets of a tile, read where they are asked for: of tens of millions of members, those of the cells a polygon meets.

Positions are stored as steps that begin anew in every cell (`assemblage`), so that a run of whole cells can be read without those before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import zarr
from scipy.sparse import csr_array

from geoplantnet.assemblages.assemblage import part_of, require_whole
from geoplantnet.errors import InputError, IntegrityError, StorageError
from geoplantnet.grid.tile_grid import MetaTile, TileGrid

Float: TypeAlias = npt.NDArray[np.float32]
Double: TypeAlias = npt.NDArray[np.float64]
Steps: TypeAlias = npt.NDArray[np.unsignedinteger]
Keep: TypeAlias = Callable[[int, Callable[[], Steps]], Steps]
"""keep(number of a chunk, reads it) -> the chunk: where chunks are remembered."""


def _forget(number: int, read: Callable[[], Steps]) -> Steps:
    return read()


@dataclass(frozen=True, kw_only=True, eq=False)
class CellSets:
    """Species sets of one meta-tile; cells row by row from the north-west."""

    tile: MetaTile
    species: int
    """Length of the species axis."""
    list_hash: str
    """Of the species list."""
    threshold: Float
    """(y, x): a species is in the cell's set when p exceeds it; NaN where the tile is not valid."""
    start: npt.NDArray[np.int64]
    """(cells + 1,): where a cell's members begin."""
    _steps: Any
    _keep: Keep

    @property
    def nbytes(self) -> int:
        """Held in memory, without chunks."""
        return int(self.threshold.nbytes + self.start.nbytes)

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """(y, x)"""
        return ~np.isnan(self.threshold)

    def of(self, cell: int) -> npt.NDArray[np.int64]:
        """The species of one cell, ascending. Raises IntegrityError."""
        first, steps = next(self._runs(np.array([cell])), (0, np.zeros(0, np.uint16)))[:2]
        found = np.cumsum(steps[self.start[cell] - first : self.start[cell + 1] - first], dtype=np.int64)
        if found.size and found[-1] >= self.species:
            raise self._damaged()
        return found

    def coverage(self, weights: csr_array) -> tuple[Double, Double]:
        """Zone weights (zone, cell) -> coverage (zone, species) and cells (zone,): as `Assemblage.coverage`, to the last bit.

        Raises InputError when the weights are for another raster, IntegrityError.
        """
        if weights.shape[1] != self.threshold.size:
            raise InputError(
                f"zone weights are for {weights.shape[1]} cells, the tile has {self.threshold.size}; make them on the same grid"
            )
        weights = weights.sorted_indices()
        known = weights @ self.valid.ravel().astype(np.float64)
        share = np.zeros((weights.shape[0], self.species))
        for zone in range(weights.shape[0]):
            own = slice(weights.indptr[zone], weights.indptr[zone + 1])
            self.add(weights.indices[own], weights.data[own], share[zone])
        return share / np.where(known > 0, known, np.nan)[:, None], known

    def add(self, cells: npt.NDArray[np.integer], weight: Double, out: Double) -> None:
        """Add the weight of each of some cells, ascending, to the species (species,) of its set. Raises IntegrityError."""
        from geoplantnet.assemblages import kernels  # numba takes a while to import

        for first, steps, own in self._runs(cells):
            if not kernels.add_sets(cells[own].astype(np.int64), weight[own], self.start, steps, first, out):
                raise self._damaged()

    def _runs(self, cells: npt.NDArray[np.integer]) -> Iterator[tuple[int, Steps, npt.NDArray[np.intp]]]:
        """Some cells, ascending, chunk by chunk: (number of the first member read, steps from there on, which of the cells lie in them)."""
        held = np.flatnonzero(self.start[cells + 1] > self.start[cells])
        length = int(self._steps.chunks[0])
        chunk = self.start[cells[held]] // length
        for number in np.unique(chunk).tolist():
            own = held[chunk == number]
            end = int(self.start[cells[own[-1]] + 1])
            parts = [self._chunk(k) for k in range(number, -(-end // length))]  # the last cell's run may reach into the next one
            yield number * length, parts[0] if len(parts) == 1 else np.concatenate(parts), own

    def _chunk(self, number: int) -> Steps:
        length = int(self._steps.chunks[0])
        return self._keep(number, lambda: part_of(self._steps, slice(number * length, (number + 1) * length)))

    def _damaged(self) -> IntegrityError:
        return IntegrityError(f"the species sets of tile {self.tile.id} hold a species that is not in the list; make them again")


def open_sets(path: str | os.PathLike[str], grid: TileGrid, *, keep: Keep = _forget) -> CellSets:
    """The species sets at `path`, as `write_assemblage` wrote them; members stay on disk until they are asked for.

    Raises StorageError when absent, IntegrityError when they cannot be sets of a tile of `grid`.
    """
    if not Path(path).exists():
        raise StorageError(f"no species sets at {path}; make them with `geoplantnet indicators`")
    try:
        root = zarr.open_group(str(path), mode="r")
        attributes, arrays = dict(root.attrs), dict(root.arrays())
        made_on = attributes["crs"], attributes["tile_size"], attributes["cell_size"]
        if made_on != (grid.crs, grid.tile_size, grid.cell_size):
            raise IntegrityError(f"{path} was made on another grid than {grid.crs} {grid.tile_size} m / {grid.cell_size} m; make it again")
        require_whole(path, arrays)
        size, threshold = np.asarray(arrays["size"][...]), np.asarray(arrays["threshold"][...]).astype(np.float32)
        start = np.concatenate([[0], np.cumsum(size, dtype=np.int64)])
        side = grid.cells_per_side
        if threshold.shape != (side, side) or size.shape != (side * side,) or arrays["set_species"].shape != (int(start[-1]),):
            raise ValueError(f"threshold is {threshold.shape}, size {size.shape}, {arrays['set_species'].shape[0]} members for {start[-1]}")
        return CellSets(
            tile=grid.tile(str(attributes["tile"])),
            species=int(str(attributes["species"])),
            list_hash=str(attributes["species_list"]),
            threshold=threshold,
            start=start,
            _steps=arrays["set_species"],
            _keep=keep,
        )
    except IntegrityError:
        raise
    except Exception as error:
        raise IntegrityError(f"{path} cannot be read as species sets ({error}); delete it and run again") from error
