"""The species of a tile's cells as they are kept: sets as a sparse matrix (cell, species), and mean probabilities of 1 km blocks.

From the sets a polygon's coverage of all species takes milliseconds, since only those that are there are looked at; the means are what
small scales draw. Both are made by one pass over the latent tile (`stream`), which stays the only place where a probability comes from.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import zarr
from scipy.sparse import csr_array
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec

from geoplantnet.errors import InputError, IntegrityError, StorageError, UsageError
from geoplantnet.grid.tile_grid import MetaTile, TileGrid

Float = npt.NDArray[np.float32]
Double: TypeAlias = npt.NDArray[np.float64]

BLOCK = 1_000
"""Metres of the blocks whose means are kept, or a little less where cells do not divide them (`block_side`)."""
_MEAN_STEPS = 65_534
_CHUNK = 2**20


def position_type(species: int) -> type[np.unsignedinteger]:
    """The smallest type that holds positions in a list of so many species."""
    return np.uint16 if species <= 2**16 else np.uint32


def block_side(grid: TileGrid) -> int:
    """Cells along a block: as many as divide a tile without rest and are no longer than 1 km, at least one."""
    return max(n for n in range(1, max(1, BLOCK // grid.cell_size) + 1) if grid.cells_per_side % n == 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeciesSets:
    """The species set of every cell, row by row from the north-west: a sparse matrix (cell, species) in compressed rows."""

    start: npt.NDArray[np.int64]
    """(cells + 1,): where a cell's species begin."""
    species: npt.NDArray[np.unsignedinteger]
    """Positions in the species list, ascending in a cell; uint16 where they fit."""
    p: npt.NDArray[np.uint8]
    """Probability in 255ths, at least 1."""

    def of(self, cell: int) -> npt.NDArray[np.unsignedinteger]:
        """The species of one cell."""
        return self.species[self.start[cell] : self.start[cell + 1]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Assemblage:
    """Species sets and block means of one meta-tile, rows north to south."""

    tile: MetaTile
    species: int
    """Length of the species axis."""
    list_hash: str
    """Of the species list that its positions belong to."""
    threshold: Float
    """(y, x): a species is in the cell's set when p exceeds it; NaN where the tile is not valid."""
    sets: SpeciesSets
    means: Float
    """(species, block_y, block_x): mean p over the valid cells of each block of 1 km, NaN where none is."""
    attributes: Mapping[str, object] = field(default_factory=dict)

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """(y, x)"""
        return ~np.isnan(self.threshold)

    def block_cells(self) -> npt.NDArray[np.int64]:
        """(block_y, block_x): how many cells of each block are valid, and so stand behind its means."""
        side = block_side(self.tile.grid)
        y, x = self.means.shape[1:]
        return self.valid.reshape(y, side, x, side).sum(axis=(1, 3))

    def coverage(self, weights: csr_array) -> tuple[Double, Double]:
        """Zone weights (zone, cell), such as `coverage.polygon_weights` -> coverage (zone, species) and cells (zone,).

        The share of a zone's valid cells whose set holds a species, as `coverage.weighted_coverage` finds it from probabilities; NaN in a
        zone without any. Raises InputError when the weights are for another raster.
        """
        if weights.shape[1] != self.threshold.size:
            raise InputError(
                f"zone weights are for {weights.shape[1]} cells, the tile has {self.threshold.size}; make them on the same grid"
            )
        known = weights @ self.valid.ravel().astype(np.float64)
        share = np.zeros((weights.shape[0], self.species))
        for zone in range(weights.shape[0]):
            own = slice(weights.indptr[zone], weights.indptr[zone + 1])
            share[zone] = self._weight_of_species(weights.indices[own], weights.data[own])
        return share / np.where(known > 0, known, np.nan)[:, None], known

    def _weight_of_species(self, cells: npt.NDArray[np.integer], weight: Double) -> Double:
        """(species,): summed weight of the cells that hold each."""
        first, count = self.sets.start[cells], self.sets.start[cells + 1] - self.sets.start[cells]
        # Positions of all members of all cells: each cell's own run, one after the other.
        run = np.repeat(first - np.concatenate([[0], np.cumsum(count)[:-1]]), count) + np.arange(count.sum())
        return np.bincount(self.sets.species[run], weights=np.repeat(weight, count), minlength=self.species).astype(np.float64)


def means_of(assemblage: Assemblage | None, k: int, level: int) -> Float:
    """Level 1 of a species map: means (block_y, block_x) of 1 km. Raises UsageError for another level, or where none were made."""
    if level != 1:
        raise UsageError(f"a species map has levels 0, the cells, and 1, means of {BLOCK} m; there is no {level}")
    if assemblage is None:
        raise UsageError("the tile came without its species sets and means; open it with its assemblage")
    return assemblage.means[k]


def write_assemblage(assemblage: Assemblage, path: str | os.PathLike[str]) -> None:
    """Write as Zarr v3 at `path`, which must not exist (wrap it in `storage.write_beside`)."""
    tile = assemblage.tile
    root = zarr.create_group(
        str(path),
        zarr_format=3,
        attributes={
            **assemblage.attributes,
            "tile": tile.id,
            "crs": tile.grid.crs,
            "tile_size": tile.grid.tile_size,
            "cell_size": tile.grid.cell_size,
            "species": assemblage.species,
            "species_list": assemblage.list_hash,
            "means": f"mean p over valid cells of blocks of {block_side(tile.grid) * tile.grid.cell_size} m, in {_MEAN_STEPS}ths; {_MEAN_STEPS + 1} = no data",
            "sets": "compressed rows over cells from the north-west: start (cell + 1), species (position in the list), p (255ths)",
        },
    )
    with np.errstate(invalid="ignore"):
        means = np.where(np.isfinite(assemblage.means), np.rint(assemblage.means * _MEAN_STEPS), _MEAN_STEPS + 1).astype(np.uint16)
    sets = assemblage.sets
    arrays: dict[str, tuple[npt.NDArray[np.generic], tuple[int, ...]]] = {
        "threshold": (assemblage.threshold, assemblage.threshold.shape),
        "size": (np.diff(sets.start).astype(np.uint16 if assemblage.species < 2**16 else np.uint32), (sets.start.size - 1,)),
        "set_species": (_steps(sets), (min(_CHUNK, max(sets.species.size, 1)),)),
        "set_p": (sets.p, (min(_CHUNK, max(sets.p.size, 1)),)),
        "means": (means, (min(512, means.shape[0]), *means.shape[1:])),
    }
    for name, (values, chunks) in arrays.items():
        codec = BloscCodec(cname="zstd", clevel=5, shuffle=BloscShuffle.bitshuffle if values.dtype.itemsize > 1 else BloscShuffle.noshuffle)
        # Blosc knows no checksum: half of all flipped bits would be read without complaint, as other values.
        root.create_array(name, data=np.ascontiguousarray(values), chunks=chunks, compressors=[codec, Crc32cCodec()])


def open_assemblage(path: str | os.PathLike[str], grid: TileGrid) -> Assemblage:
    """Read what `write_assemblage` wrote. Raises StorageError when absent, IntegrityError when it cannot be one of `grid`."""
    if not Path(path).exists():
        raise StorageError(f"no species sets at {path}; make them with `geoplantnet indicators`")
    try:
        root = zarr.open_group(str(path), mode="r")
        held = {name: np.asarray(array[...]) for name, array in root.arrays()}
        attributes = dict(root.attrs)
        made_on = attributes["crs"], attributes["tile_size"], attributes["cell_size"]
        if made_on != (grid.crs, grid.tile_size, grid.cell_size):
            raise IntegrityError(f"{path} was made on another grid than {grid.crs} {grid.tile_size} m / {grid.cell_size} m; make it again")
        found = _assemblage_of(held, attributes, grid)
        require_whole(path, held)
    except IntegrityError:
        raise
    except Exception as error:
        raise IntegrityError(f"{path} cannot be read as species sets ({error}); delete it and run again") from error
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockMeans:
    """What small scales draw of a tile, read as it is asked for: sets of thousands of species need not be opened for it."""

    crs: str
    list_hash: str
    """Of the species list."""
    plot_area: float | None
    """m2 of the plots that probabilities are of, where it is known."""
    _threshold: Any
    _means: Any

    @property
    def threshold(self) -> Float:
        """(y, x) of cells, as `Assemblage.threshold`. Raises IntegrityError."""
        return part_of(self._threshold, ...)

    @property
    def shape(self) -> tuple[int, int]:
        """Blocks (y, x)."""
        return self._means.shape[1], self._means.shape[2]

    def cells(self) -> npt.NDArray[np.int64]:
        """(block_y, block_x): how many cells of each block are valid."""
        return _grouped(~np.isnan(self.threshold), self.shape).sum(axis=(1, 3))

    def thresholds(self) -> Float:
        """(block_y, block_x): mean threshold of the valid cells of each block, NaN where none is."""
        grouped = _grouped(self.threshold, self.shape)
        count = (~np.isnan(grouped)).sum(axis=(1, 3))
        return np.divide(np.nansum(grouped, axis=(1, 3)), count, out=np.full(self.shape, np.nan, np.float32), where=count > 0)

    def of(self, species: slice) -> Float:
        """(species, block_y, block_x): mean p of some species. Raises IntegrityError."""
        return _means_of_steps(part_of(self._means, species))


def part_of(array: Any, place: Any) -> npt.NDArray[Any]:
    """Part of a stored array. Raises IntegrityError."""
    try:
        return np.asarray(array[place])
    except Exception as error:  # whatever a codec makes of damaged bytes
        raise IntegrityError(f"{array.store_path} cannot be read ({error}); verify the store and run again") from error


def open_means(path: str | os.PathLike[str]) -> BlockMeans:
    """The means beside the species sets at `path`. Raises StorageError when absent, IntegrityError when they cannot be read."""
    if not Path(path).exists():
        raise StorageError(f"no species sets at {path}; make them with `geoplantnet indicators`")
    try:
        root = zarr.open_group(str(path), mode="r")
        area = root.attrs.get("plot_area_m2")
        return BlockMeans(
            plot_area=float(str(area)) if area else None,
            crs=str(root.attrs["crs"]),
            list_hash=str(root.attrs["species_list"]),
            _threshold=root["threshold"],
            _means=root["means"],
        )
    except Exception as error:
        raise IntegrityError(f"{path} cannot be read as species sets ({error}); delete it and run again") from error


def _grouped(cells: npt.NDArray[Any], blocks: tuple[int, int]) -> npt.NDArray[Any]:
    """(block_y, y, block_x, x)"""
    y, x = blocks
    return cells.reshape(y, cells.shape[0] // y, x, cells.shape[1] // x)


def _means_of_steps(stored: npt.NDArray[Any]) -> Float:
    return np.where(stored == _MEAN_STEPS + 1, np.float32(np.nan), stored / np.float32(_MEAN_STEPS)).astype(np.float32)


def _assemblage_of(held: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, object], grid: TileGrid) -> Assemblage:
    """What a store holds, as an assemblage. Raises whatever does not fit."""
    side, blocks, species = grid.cells_per_side, grid.cells_per_side // block_side(grid), int(str(attributes["species"]))
    for name, wanted in {"threshold": (side, side), "size": (side * side,), "means": (species, blocks, blocks)}.items():
        if held[name].shape != wanted:
            raise ValueError(f"{name} is {held[name].shape}, not {wanted}")
    start = np.concatenate([[0], np.cumsum(held["size"], dtype=np.int64)])
    positions, p = _positions(held["set_species"], start), held["set_p"]
    if not len(positions) == len(p) == start[-1]:
        raise ValueError(f"{len(positions)} species and {len(p)} probabilities for {start[-1]} members")
    return Assemblage(
        tile=grid.tile(str(attributes["tile"])),
        species=species,
        list_hash=str(attributes["species_list"]),
        threshold=held["threshold"].astype(np.float32),
        sets=SpeciesSets(start=start, species=positions, p=p),
        means=_means_of_steps(held["means"]),
        attributes=attributes,
    )


def require_whole(path: str | os.PathLike[str], held: Iterable[str]) -> None:
    """Raise ValueError when a folder of the Zarr group at `path` was not read as an array: its metadata is damaged, and zarr leaves it out."""
    if strange := {entry.name for entry in Path(path).iterdir() if entry.is_dir()}.difference(held):
        raise ValueError(f"{', '.join(sorted(strange))} is no array")


def require_list(assemblage: Assemblage, hash_: str) -> None:
    """Raises UsageError when the sets are positions in another species list than the one at hand."""
    if assemblage.list_hash != hash_:
        raise UsageError(
            f"the species sets of tile {assemblage.tile.id} belong to species list {assemblage.list_hash[:12]}, not {hash_[:12]}; "
            "run `geoplantnet indicators` again"
        )


def _steps(sets: SpeciesSets) -> npt.NDArray[np.unsignedinteger]:
    """Positions as steps from the one before in the cell, the first from 0: small numbers, which compress."""
    steps = np.diff(sets.species, prepend=sets.species.dtype.type(0))
    first = sets.start[:-1][np.diff(sets.start) > 0]
    steps[first] = sets.species[first]
    return steps


def _positions(steps: npt.NDArray[np.unsignedinteger], start: npt.NDArray[np.int64]) -> npt.NDArray[np.unsignedinteger]:
    """The inverse of `_steps`: a running sum that starts anew in every cell."""
    whole = np.cumsum(steps, dtype=np.int64)
    count = np.diff(start)
    before = np.concatenate([[0], whole])[start[:-1]]
    return (whole - np.repeat(before, count)).astype(steps.dtype)
