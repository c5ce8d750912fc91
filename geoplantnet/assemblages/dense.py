"""The dense tile: probabilities of all species as they are, for models that are no head on a latent vector (MaxEnt, forests).

A map reads one species over many cells, a click all species of one cell. Both are kept, in Zarr v3 shards of few, larger chunks: `p` by
species (1 x 250 x 250 cells a chunk), `by_cell` by cell (all species x 10 x 10). It costs twenty times the bytes of a latent tile; take that
where the model has one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt
import zarr
from odc.geo.geobox import GeoBox
from zarr.codecs import ZstdCodec

from geoplantnet.assemblages.assemblage import Assemblage, SpeciesSets, block_side, means_of, position_type
from geoplantnet.assemblages.blocks import Blocks, checked, on_host
from geoplantnet.assemblages.sets import expected_f1_threshold
from geoplantnet.errors import IntegrityError, StorageError, UsageError
from geoplantnet.grid.tile_grid import MetaTile, TileGrid
from geoplantnet.taxonomy.species_list import SpeciesList

Float = npt.NDArray[np.float32]
Window = tuple[slice, slice]

_MAP_CHUNK, _CELL_CHUNK = 250, 10
_MAP_SHARD, _BAND = 64, 100
"""Species a shard of `p`, and rows a shard of `by_cell`."""
_STEPS = {"uint8": 250, "uint16": 65_000}
"""p = 1 in stored steps; the type's largest value is no data."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DenseTile:
    """Probabilities of all species on one meta-tile, read from disk as they are asked for. Rows north to south."""

    tile: MetaTile
    species: SpeciesList
    valid: npt.NDArray[np.bool_]
    """(y, x): whether any species has a probability."""
    attributes: Mapping[str, object] = field(default_factory=dict)
    _p: Any
    _by_cell: Any
    _steps: int
    assemblage: Assemblage | None = None
    """Species sets and means of 1 km, where they have been made (`assembled`)."""

    @property
    def shape(self) -> tuple[int, int]:
        """Cells (y, x)."""
        return self.valid.shape[0], self.valid.shape[1]

    @property
    def geobox(self) -> GeoBox:
        return self.tile.geobox()

    def blocks(self, size: int = _MAP_SHARD) -> Iterator[tuple[slice, Float]]:
        """All species in blocks of `size`: (slice of the species axis, probabilities (species, y, x), NaN = no data)."""
        for start in range(0, len(self.species), size):
            part = slice(start, min(start + size, len(self.species)))
            yield part, self._read(self._p, part)

    def species_map(self, k: int, window: Window = (slice(None), slice(None)), level: int = 0) -> Float:
        """See `species_tile.SpeciesTile`."""
        if level:
            return means_of(self.assemblage, k, level)[window]
        return self._read(self._p, (k, *window))

    def at(self, rows: npt.ArrayLike, columns: npt.ArrayLike) -> Float:
        """See `species_tile.SpeciesTile`."""
        r, c = np.atleast_1d(np.asarray(rows, int)), np.atleast_1d(np.asarray(columns, int))
        out = np.empty((r.size, len(self.species)), np.float32)
        for i, (y, x) in enumerate(zip(r.tolist(), c.tolist(), strict=True)):
            out[i] = self._read(self._by_cell, (slice(None), y, x))
        return out

    def _read(self, array: Any, part: slice | tuple[slice | int, ...]) -> Float:
        """Part of a stored array as probabilities. Raises IntegrityError where its bytes are damaged."""
        try:
            stored = np.asarray(array[part])
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise IntegrityError(f"the dense tile {self.tile.id} cannot be read ({error}); delete it and run again") from error
        p = stored.astype(np.float32) / np.float32(self._steps)
        p[stored == np.iinfo(stored.dtype).max] = np.nan
        return p


def write_dense(
    blocks: Blocks,
    path: str | os.PathLike[str],
    *,
    tile: MetaTile,
    species: SpeciesList,
    dtype: Literal["uint8", "uint16"] = "uint8",
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write species blocks as Zarr v3 at `path`, which must not exist (wrap it in `storage.write_beside`).

    uint8 keeps p in steps of .004, uint16 of .000015. Memory is one block and 100 rows of all species; as much as the tile holds is
    written once more beside `path`, and removed. Raises InputError when the blocks break their contract, UsageError when they are of
    another number of species than the list.
    """
    side, count, steps = tile.grid.cells_per_side, len(species), _STEPS[dtype]
    nodata, done = np.iinfo(dtype).max, 0
    root = zarr.create_group(
        str(path),
        zarr_format=3,
        attributes={
            **(attributes or {}),
            "tile": tile.id,
            "crs": tile.grid.crs,
            "tile_size": tile.grid.tile_size,
            "cell_size": tile.grid.cell_size,
            "species": species.to_dict(),
            "steps": steps,
            "meaning": f"p in {steps}ths, {nodata} = no data",
        },
    )
    codec = ZstdCodec(level=5, checksum=True)
    chunk, shard = min(_MAP_CHUNK, side), min(_MAP_SHARD, count)
    whole = -(-side // chunk) * chunk
    p = root.create_array("p", shape=(count, side, side), dtype=dtype, chunks=(1, chunk, chunk), shards=(shard, whole, whole), fill_value=nodata, compressors=codec)  # fmt: skip
    with tempfile.TemporaryFile(dir=Path(path).parent, prefix=".tmp-") as spare:
        for part, values in checked(blocks, (side, side)):
            done = part.stop
            if done > count:
                break
            spare.write(_encoded(on_host(values), steps, nodata).tobytes())  # never by a memory map: on a full disk that kills the process
        if done != count:
            raise UsageError(f"the blocks hold {done} species or more, the list {count}; give both of one list")
        for start in range(0, count, shard):
            stop = min(start + shard, count)
            p[start:stop] = _from_file(spare, dtype, start * side, (stop - start) * side, side).reshape(-1, side, side)
        cell, band = min(_CELL_CHUNK, side), min(_BAND, side)
        across = -(-band // cell) * cell
        by_cell = root.create_array("by_cell", shape=(count, side, side), dtype=dtype, chunks=(count, cell, cell), shards=(count, across, across), fill_value=nodata, compressors=codec)  # fmt: skip
        valid = np.zeros((side, side), bool)
        for start in range(0, side, across):
            rows = np.empty((count, min(across, side - start), side), dtype)
            for k in range(count):
                rows[k] = _from_file(spare, dtype, k * side + start, rows.shape[1], side)
            by_cell[:, start : start + across] = rows
            valid[start : start + across] = (rows != nodata).any(axis=0)
    root.create_array("valid", data=valid, chunks=valid.shape, compressors=codec)


def open_dense(path: str | os.PathLike[str], grid: TileGrid) -> DenseTile:
    """Open a dense tile; probabilities stay on disk. Raises StorageError when absent, IntegrityError when it cannot be one of `grid`."""
    if not Path(path).exists():
        raise StorageError(f"no dense tile at {path}; make it with `geoplantnet map`")
    try:
        root = zarr.open_group(str(path), mode="r")
        attributes = dict(root.attrs)
        made_on = attributes.pop("crs"), attributes.pop("tile_size"), attributes.pop("cell_size")
        if made_on != (grid.crs, grid.tile_size, grid.cell_size):
            raise IntegrityError(
                f"{path} was made on another grid than {grid.crs} {grid.tile_size} m / {grid.cell_size} m; map the tile again"
            )
        tile = DenseTile(
            tile=grid.tile(str(attributes.pop("tile"))),
            species=SpeciesList.from_dict(attributes.pop("species")),  # type: ignore[arg-type]
            valid=np.asarray(root["valid"][...]).astype(bool),  # type: ignore[index]
            attributes=attributes,
            _p=root["p"],
            _by_cell=root["by_cell"],
            _steps=int(str(attributes.pop("steps"))),
        )
        if tile.shape != 2 * (grid.cells_per_side,) or {tile._p.shape, tile._by_cell.shape} != {(len(tile.species), *tile.shape)}:
            raise ValueError(f"p is {tile._p.shape}, by_cell {tile._by_cell.shape}, valid {tile.shape} for {len(tile.species)} species")
    except IntegrityError:
        raise
    except Exception as error:
        raise IntegrityError(f"{path} cannot be read as a dense tile ({error}); delete it and run again") from error
    return tile


def assembled(tile: DenseTile) -> Assemblage:
    """Species sets by MaxExp, and means of 1 km: what `stream.stream` finds of a latent tile, by passes over the blocks."""
    height, width = tile.shape
    side = block_side(tile.tile.grid)
    threshold = np.asarray(expected_f1_threshold(tile.blocks, tile.shape), np.float32)
    means = np.full((len(tile.species), height // side, width // side), np.nan, np.float32)
    cells, species, p = [], [], []
    for part, values in tile.blocks():
        with np.errstate(invalid="ignore"):
            own, y, x = np.nonzero(values > threshold)
        cells.append(y * width + x)
        species.append(own + part.start)
        p.append(np.maximum(1, np.rint(values[own, y, x] * 255)).astype(np.uint8))
        for by, bx in np.ndindex(means.shape[1:]):
            block = values[:, by * side : (by + 1) * side, bx * side : (bx + 1) * side].reshape(len(values), -1)
            known = (~np.isnan(block)).sum(axis=1)
            with np.errstate(invalid="ignore"):
                means[part, by, bx] = np.nansum(block, axis=1) / np.where(known, known, np.nan)
    cell, member = np.concatenate(cells), np.concatenate(species)
    order = np.lexsort((member, cell))
    sets = SpeciesSets(
        start=np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=height * width))]),
        species=member[order].astype(position_type(len(tile.species))),
        p=np.concatenate(p)[order],
    )
    return Assemblage(tile=tile.tile, species=len(tile.species), list_hash=tile.species.hash, threshold=threshold, sets=sets, means=means)


def _from_file(file: IO[bytes], dtype: str, first: int, rows: int, side: int) -> npt.NDArray[np.unsignedinteger]:
    """Some rows of all species' rows that a file holds one after the other: (rows, side)."""
    step = side * np.dtype(dtype).itemsize
    file.seek(first * step)
    return np.frombuffer(file.read(rows * step), dtype).reshape(rows, side)


def _encoded(p: npt.NDArray[np.floating], steps: int, nodata: int) -> npt.NDArray[np.unsignedinteger]:
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(p), nodata, np.rint(p * steps)).astype(np.uint8 if nodata == 255 else np.uint16)
