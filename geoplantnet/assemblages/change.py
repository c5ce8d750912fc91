"""How far the flora of a tile changes between two maps of the same species: another climate, another year, another model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geoplantnet.assemblages import kernels
from geoplantnet.assemblages.assemblage import block_side
from geoplantnet.assemblages.latent import LatentTile
from geoplantnet.assemblages.species_tile import SpeciesTile
from geoplantnet.assemblages.stream import Head, Multiply, head_of
from geoplantnet.errors import UsageError

Double = npt.NDArray[np.float64]
_SPECIES = 512
"""Species at a time, as in `stream`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """Expected change of every cell, (y, x); NaN where either map has nothing."""

    gain: Double
    """Sum over species of what p rises: species."""
    loss: Double
    """Sum over species of what p falls: species. Richness after less richness before is gain - loss."""
    before: Double
    """Expected richness before."""

    @property
    def turnover(self) -> Double:
        """(gain + loss) / (richness before + richness after), 0 to 1: the percentage difference of the two expected assemblages.

        Its halves are the losses and gains of the temporal beta diversity index (Legendre 2019, Ecol. Evol. 9: 3500-3514). NaN where no
        species is expected at either time.
        """
        both = 2 * self.before + self.gain - self.loss
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(both > 0, (self.gain + self.loss) / both, np.nan)


def change_between(before: SpeciesTile, after: SpeciesTile, *, multiply: Multiply | None = None) -> Change:
    """One pass over the species of two maps of one tile. `multiply`: a fast product of int8 matrices, see `stream.stream`.

    Raises UsageError for maps of other tiles or other species lists.
    """
    if before.tile != after.tile:
        raise UsageError(f"a change is told of one tile; these are {before.tile.id} and {after.tile.id}")
    if before.species.hash != after.species.hash:
        raise UsageError(f"tile {before.tile.id}: the two maps are of other species lists; map both with one model")
    shape = before.valid.shape
    sums = np.full((3, *shape), np.nan)
    known = before.valid & after.valid
    sums[:, known] = 0.0
    if isinstance(before, LatentTile) and isinstance(after, LatentTile):
        tiles = [(tile, head_of(tile, multiply)) for tile in (before, after)]
        for rows, columns, valid in _blocks(before, known):
            sums[:, rows, columns][:, valid] = _of_block(tiles, rows, columns, valid)
    else:
        for (_, a), (_, b) in zip(before.blocks(), after.blocks(), strict=True):
            part = np.zeros((3, int(known.sum())))
            kernels.add_change(*(np.ascontiguousarray(np.nan_to_num(p[:, known]).T, np.float32) for p in (a, b)), *part)
            sums[:, known] += part
    gain, loss, mass = sums
    return Change(gain=gain, loss=loss, before=mass)


def _blocks(tile: LatentTile, valid: npt.NDArray[np.bool_]) -> Iterator[tuple[slice, slice, npt.NDArray[np.bool_]]]:
    """Blocks of 1 km with any cell to compare."""
    side = block_side(tile.tile.grid)
    for y in range(0, valid.shape[0], side):
        for x in range(0, valid.shape[1], side):
            rows, columns = slice(y, y + side), slice(x, x + side)
            if valid[rows, columns].any():
                yield rows, columns, valid[rows, columns]


def _of_block(tiles: list[tuple[LatentTile, Head]], rows: slice, columns: slice, valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Gain, loss and richness before of the valid cells of a block, (3, cell); the tiles before and after come with their heads."""
    taken = [
        (head, head.latent(tile, rows, columns, valid), np.ascontiguousarray(tile.availability[rows, columns][valid], np.float32))
        for tile, head in tiles
    ]
    found, count = np.zeros((3, int(valid.sum()))), len(tiles[0][0].species)
    y, x = np.nonzero(valid)
    for start in range(0, count, _SPECIES):
        species = slice(start, min(start + _SPECIES, count))
        p = np.empty((2, found.shape[1], species.stop - start), np.float32)
        for out, (tile, _), (head, z, availability) in zip(p, tiles, taken, strict=True):
            head.probabilities(z, availability, species, out)
            if tile.coarse is not None:
                tile.coarse.lay(out, species, y + rows.start, x + columns.start, withheld=0.0)
        kernels.add_change(p[0], p[1], *found)
    return found
