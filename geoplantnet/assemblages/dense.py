"""The dense tile: probabilities of all species as they are, for models that are no head on a latent vector (MaxEnt, forests).

A map reads one species over many cells, a click all species of one cell. Both are kept, in Zarr v3 shards of few, larger chunks: `p` by
species (1 x 250 x 250 cells a chunk), `by_cell` by cell (all species x 10 x 10). It costs many times the bytes of a latent tile; take that
where the model has one. Like it, a dense tile can say where the model extrapolates, and keeps of sensitive species means over squares alone.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt
import zarr
from odc.geo.geobox import GeoBox
from zarr.codecs import ZstdCodec

from geoplantnet.assemblages.assemblage import (
    Assemblage,
    SpeciesSets,
    block_side,
    means_of,
    open_assemblage,
    position_type,
    require_list,
)
from geoplantnet.assemblages.blocks import Blocks, checked, on_host
from geoplantnet.assemblages.coarse import Squares, coarsen_stored
from geoplantnet.assemblages.dissimilarity import inside_of, packed, unpacked
from geoplantnet.assemblages.sets import expected_f1_threshold
from geoplantnet.errors import InputError, IntegrityError, StorageError, UsageError
from geoplantnet.grid.tile_grid import MetaTile, TileGrid
from geoplantnet.taxonomy.species_list import SpeciesList

Float = npt.NDArray[np.float32]
Window = tuple[slice, slice]
Steps = Literal["uint8", "uint16"]
"""uint8 keeps p in steps of .004, uint16 of .000015: sums over thousands of rare species need the finer one."""

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
    dissimilarity: Float | None = None
    """(y, x): dissimilarity index DI to the plots learnt from, NaN where none is comparable; None = not known of this model."""
    dissimilarity_threshold: float = np.nan
    """Largest DI inside the area of applicability."""
    assemblage: Assemblage | None = None
    """Species sets and means of 1 km, where they have been made (`assembled`)."""

    @property
    def members(self) -> int:
        """One: of an ensemble the mean alone is kept."""
        return 1

    @property
    def inside(self) -> npt.NDArray[np.bool_] | None:
        """(y, x): whether a cell lies in the area of applicability; False where DI is NaN, None where it is not known of the model."""
        return inside_of(self.dissimilarity, self.dissimilarity_threshold)

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
    dtype: Steps = "uint8",
    attributes: Mapping[str, Any] | None = None,
    squares: Squares | None = None,
) -> None:
    """Write species blocks as Zarr v3 at `path`, which must not exist (wrap it in `storage.write_beside`).

    `squares` of sensitive species: their means over these are written, in the place of what the cells say. Memory is one block and 100 rows
    of all species; as much as the tile holds is
    written once more beside `path`, and removed. Raises InputError when the blocks break their contract, UsageError when they are of
    another number of species than the list.
    """
    side, count = tile.grid.cells_per_side, len(species)

    def fill(put: _Put) -> None:
        done = 0
        for part, values in checked(blocks, (side, side)):
            done = part.stop
            if done > count:
                break
            put((part, slice(None)), on_host(values))
        if done != count:
            raise UsageError(f"the blocks hold {done} species or more, the list {count}; give both of one list")

    _write(fill, path, tile, species, dtype, attributes or {}, squares or {})


def write_dense_rows(
    strips: Iterable[tuple[slice, Float]],
    path: str | os.PathLike[str],
    *,
    tile: MetaTile,
    species: SpeciesList,
    dtype: Steps = "uint16",
    attributes: Mapping[str, Any] | None = None,
    dissimilarity: Float | None = None,
    dissimilarity_threshold: float = np.nan,
    squares: Squares | None = None,
) -> None:
    """The same from strips of rows, north to south, as a model predicts cells: (rows, p (species, rows, x) in [0, 1], NaN = no data).

    `dissimilarity` (y, x) is kept where a cell has data. Memory is one strip and 100 rows of all species. Raises InputError for strips
    that do not follow each other, do not fill the tile, or hold no probabilities.
    """
    side, count = tile.grid.cells_per_side, len(species)

    def fill(put: _Put) -> None:
        done = 0
        for rows, values in strips:
            if rows.start != done or values.shape != (count, rows.stop - rows.start, side):
                raise InputError(
                    f"a strip of rows {rows.start}:{rows.stop} is {values.shape} where row {done} was due; give {count} species, whole rows of "
                    f"{side} cells, one strip after the other"
                )
            if (values < 0).any() or (values > 1).any():
                raise InputError(
                    f"rows {rows.start}:{rows.stop} hold values outside [0, 1]; give probabilities, neither logits nor percentages"
                )
            put((slice(None), rows), values)
            done = rows.stop
        if done != side:
            raise InputError(f"the strips end at row {done} of {side}; give all rows of the tile")

    more = {} if dissimilarity is None else {"dissimilarity_threshold": dissimilarity_threshold}
    root, valid = _write(fill, path, tile, species, dtype, {**(attributes or {}), **more}, squares or {})
    if dissimilarity is not None:
        index = packed(np.where(valid, dissimilarity, np.nan).astype(np.float32), dissimilarity_threshold)
        root.create_array("dissimilarity", data=index, chunks=index.shape, compressors=ZstdCodec(level=5, checksum=True))


_Put = Callable[[Window, npt.NDArray[np.floating]], None]
"""put((species, rows), probabilities)"""


def _write(
    fill: Callable[[_Put], None],
    path: str | os.PathLike[str],
    tile: MetaTile,
    species: SpeciesList,
    dtype: Steps,
    attributes: Mapping[str, Any],
    squares: Squares,
) -> tuple[zarr.Group, npt.NDArray[np.bool_]]:
    """The group at `path` of what `fill` puts, and its valid cells."""
    side, count, steps = tile.grid.cells_per_side, len(species), _STEPS[dtype]
    nodata = np.iinfo(dtype).max
    root = zarr.create_group(
        str(path),
        zarr_format=3,
        attributes={
            **attributes,
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
        os.posix_fallocate(spare.fileno(), 0, count * side * side * np.dtype(dtype).itemsize)  # a full disk under a map kills the process
        copy = np.memmap(spare, dtype, "r+", shape=(count, side, side))

        any_data = np.zeros((side, side), bool)

        def put(where: Window, values: npt.NDArray[np.floating]) -> None:
            copy[where] = stored = _encoded(values, steps, nodata)
            any_data[where[1]] |= (stored != nodata).any(axis=0)

        fill(put)
        for k, own in squares.items():
            coarsen_stored(copy[k], any_data, own, nodata)
        copy.flush()
        for start in range(0, count, shard):
            stop = min(start + shard, count)
            p[start:stop] = _from_file(spare, dtype, start * side, (stop - start) * side, side).reshape(-1, side, side)
        cell, band = min(_CELL_CHUNK, side), min(_BAND, side)
        across = -(-band // cell) * cell
        by_cell = root.create_array("by_cell", shape=(count, side, side), dtype=dtype, chunks=(count, cell, cell), shards=(count, across, across), fill_value=nodata, compressors=codec)  # fmt: skip
        for start in range(0, side, across):
            rows = np.empty((count, min(across, side - start), side), dtype)
            for k in range(count):
                rows[k] = _from_file(spare, dtype, k * side + start, rows.shape[1], side)
            by_cell[:, start : start + across] = rows
    root.create_array("valid", data=any_data, chunks=any_data.shape, compressors=codec)
    return root, any_data


def open_dense(path: str | os.PathLike[str], grid: TileGrid, *, assemblage: str | os.PathLike[str] | None = None) -> DenseTile:
    """Open a dense tile, and its assemblage where a path to it is given; probabilities stay on disk.

    Raises StorageError when one is absent, IntegrityError when it cannot be a tile of `grid`, UsageError for an assemblage of another list.
    """
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
        attributes.pop("meaning", None)  # of the stored steps
        edge = float(attributes.pop("dissimilarity_threshold", np.nan))  # type: ignore[arg-type]
        tile = DenseTile(
            tile=grid.tile(str(attributes.pop("tile"))),
            species=SpeciesList.from_dict(attributes.pop("species")),  # type: ignore[arg-type]
            valid=np.asarray(root["valid"][...]).astype(bool),  # type: ignore[index]
            attributes=attributes,
            _p=root["p"],
            _by_cell=root["by_cell"],
            _steps=int(str(attributes.pop("steps"))),
            dissimilarity=unpacked(np.asarray(root["dissimilarity"][...]), edge) if "dissimilarity" in root else None,  # type: ignore[index]
            dissimilarity_threshold=edge,
        )
        if tile.shape != 2 * (grid.cells_per_side,) or {tile._p.shape, tile._by_cell.shape} != {(len(tile.species), *tile.shape)}:
            raise ValueError(f"p is {tile._p.shape}, by_cell {tile._by_cell.shape}, valid {tile.shape} for {len(tile.species)} species")
    except IntegrityError:
        raise
    except Exception as error:
        raise IntegrityError(f"{path} cannot be read as a dense tile ({error}); delete it and run again") from error
    if assemblage is None:
        return tile
    sets = open_assemblage(assemblage, grid)
    require_list(sets, tile.species.hash)
    return replace(tile, assemblage=sets)


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
