"""What a tile tells of sensitive species: means over squares, or nothing, in the place of what its cells would say.

Squares are counted from the tile's north-west corner and divide it without rest, so that none has a share in two tiles. Means are kept in
steps of a 65,534th: two maps that differ only inside squares, with the same means there, are the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Indices = npt.NDArray[np.integer]
Squares = Mapping[int, int]
"""Position of a species in its list -> cells along the side of its squares; `WITHHELD` where it is told nowhere."""

WITHHELD = 0
LISTED = "sensitive"
"""Array of a stored tile: (species, 2) position and cells along a square."""
_MEANS = "sensitive_means_"
_STEPS = 65_534


@dataclass(frozen=True, kw_only=True, eq=False)
class Coarse:
    """The sensitive species of a tile."""

    squares: Squares
    means: Mapping[int, npt.NDArray[np.uint16]]
    """Cells along a square -> (1 + member, species with such squares in the order of positions, y, x) in 65,534ths, the number after is no
    data; first of all members together, then of each where there are several."""

    def of_member(self, m: int) -> Coarse:
        """What one member alone says."""
        return Coarse(squares=self.squares, means={side: means[m + 1 : m + 2] for side, means in self.means.items()})

    def withheld(self) -> list[int]:
        """Positions of the species that are told nowhere."""
        return [k for k, side in self.squares.items() if side == WITHHELD]

    def of(self, k: int, rows: Indices, columns: Indices) -> Float:
        """Mean probability of species k in the squares of cells; NaN where there is none. Rows and columns broadcast."""
        side = self.squares[k]
        if side == WITHHELD:
            return np.full(np.broadcast_shapes(rows.shape, columns.shape), np.nan, np.float32)
        own: Float = self._values[side][self._place[k]][rows // side, columns // side]
        return own

    def lay(self, p: Float, species: slice, rows: Indices, columns: Indices, *, withheld: float = np.nan) -> None:
        """Put into p (cell, species of the slice) what is told of the sensitive ones among them, in place."""
        for k in self._sorted[np.searchsorted(self._sorted, species.start) : np.searchsorted(self._sorted, species.stop)].tolist():
            p[:, k - species.start] = withheld if self.squares[k] == WITHHELD else self.of(k, rows, columns)

    @cached_property
    def _sorted(self) -> npt.NDArray[np.int64]:
        return np.array(sorted(self.squares), np.int64)

    @cached_property
    def _place(self) -> dict[int, int]:
        """Of a species among those with squares of its size."""
        return {k: i for side in self.means for i, k in enumerate(_with(self.squares, side))}

    @cached_property
    def _values(self) -> dict[int, Float]:
        """(species, y, x) by cells along a square."""
        return {side: _decoded(means[0]) for side, means in self.means.items()}

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """What a store keeps; see `coarse_from`."""
        listed = np.array(sorted(self.squares.items()), np.int32).reshape(-1, 2)
        return {LISTED: listed, **{f"{_MEANS}{side}": means for side, means in self.means.items()}}


def coarse_from(held: Mapping[str, npt.NDArray[np.generic]], species: int, members: int, cells: int) -> Coarse | None:
    """Inverse of `Coarse.arrays`, for a tile of so many species, members and cells along a side; None where no species is sensitive.

    Raises ValueError for what does not fit.
    """
    if LISTED not in held:
        return None
    squares = {int(k): int(side) for k, side in held[LISTED].tolist()}
    if any(not 0 <= k < species or side < 0 or (side and cells % side) for k, side in squares.items()):
        raise ValueError(f"{LISTED} names species or squares that are none of the tile's")
    means = {}
    for side in sorted(set(squares.values()) - {WITHHELD}):
        wanted = (1 + members if members > 1 else 1, len(_with(squares, side)), cells // side, cells // side)
        found = held.get(f"{_MEANS}{side}")
        if found is None or found.shape != wanted or found.dtype != np.uint16:
            raise ValueError(f"{_MEANS}{side} is not {wanted}")
        means[side] = found.astype(np.uint16)
    return Coarse(squares=squares, means=means)


def means_over(p: Float, side: int) -> npt.NDArray[np.uint16]:
    """Probability (y, x), NaN = no data -> means over the valid cells of squares of `side` cells, as they are kept."""
    y, x = (n // side for n in p.shape)
    grouped = p.reshape(y, side, x, side)
    known = np.isfinite(grouped)
    count = known.sum(axis=(1, 3))
    total = np.where(known, grouped, 0).sum(axis=(1, 3), dtype=np.float64)
    return np.where(count > 0, np.rint(total / np.maximum(count, 1) * _STEPS), _STEPS + 1).astype(np.uint16)


def stacked(squares: Squares, of: Mapping[int, list[npt.NDArray[np.uint16]]]) -> Coarse:
    """Of every species with squares its means, those of all members together first -> what a tile keeps."""
    sides = sorted(set(squares.values()) - {WITHHELD})
    return Coarse(squares=dict(squares), means={side: np.stack([np.stack(of[k]) for k in _with(squares, side)], axis=1) for side in sides})


def coarsen_stored(stored: npt.NDArray[np.unsignedinteger], valid: npt.NDArray[np.bool_], side: int, nodata: int) -> None:
    """Put in the place of stored steps (y, x) of a species their means over squares, in the tile's valid cells; in place."""
    if side == WITHHELD:
        stored[:] = nodata
        return
    y, x = (n // side for n in stored.shape)
    grouped = stored.reshape(y, side, x, side)
    known = grouped != nodata
    count = known.sum(axis=(1, 3))
    total = np.where(known, grouped, 0).sum(axis=(1, 3), dtype=np.int64)  # whole numbers: in any order the same
    mean = np.where(count > 0, np.rint(total / np.maximum(count, 1)), nodata).astype(stored.dtype)
    stored[:] = np.where(valid, np.repeat(np.repeat(mean, side, axis=0), side, axis=1), nodata)


def _with(squares: Squares, side: int) -> list[int]:
    return sorted(k for k, own in squares.items() if own == side)


def _decoded(steps: npt.NDArray[np.uint16]) -> Float:
    p = steps.astype(np.float32) / np.float32(_STEPS)
    p[steps == _STEPS + 1] = np.nan
    return p
