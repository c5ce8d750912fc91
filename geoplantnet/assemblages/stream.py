"""One pass over a latent tile: every sum over species, the species sets, and means of blocks, without ever holding 2.5e9 probabilities.

Cells come in blocks of 1 km, species a few hundred at a time, so that what is worked on stays in a core's cache. The products of latent
and head are the only large cost. An int8 latent is multiplied by a head of 16 bits in two int8 products, which processors do fastest of all
and which are exact: they depend on no machine, and results neither on threads nor on which other cells are valid. Whoever has a fast int8
product hands it in (`sdm.products`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias

import numpy as np
import numpy.typing as npt

from geoplantnet.assemblages import kernels
from geoplantnet.assemblages.assemblage import SpeciesSets, block_side, position_type
from geoplantnet.assemblages.latent import LatentTile
from geoplantnet.assemblages.sums import Name, Sum, require
from geoplantnet.errors import InputError

Float = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.signedinteger]
Multiply: TypeAlias = Callable[[npt.NDArray[np.int8], npt.NDArray[np.int8]], npt.NDArray[np.int32]]
"""(n, d) x (k, d) -> (n, k), exact and C-contiguous."""

_SPECIES = 512
"""Species at a time: with the 400 cells of a block, what is worked on fits a core's second cache."""
_CUT = 0.02
"""Below this share of a cell's availability a species is at first taken to be in no set; later, below half the lowest threshold of the block
before. Where a set proves larger, its cell is looked at again."""
_WHOLE = {"p": 0, "p(1-p)": 1, "p ln p": 2, "p(1-p) ln p": 3, "p(1-p) ln2 p": 4}
"""Terms whose sums over all species are taken as probabilities are made, and where."""
_LOGARITHMIC: Mapping[str, Callable[[Float, Float], Float]] = {
    "p ln p": lambda p, ln: p * ln,
    "p(1-p) ln p": lambda p, ln: p * (1 - p) * ln,
    "p(1-p) ln2 p": lambda p, ln: p * (1 - p) * ln * ln,
}
"""Terms of p and ln p, for sums over groups."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Streamed(Generic[Name]):
    """What one pass found."""

    sums: dict[Name, Double]
    """(y, x) by name; 0 where the tile is not valid."""
    threshold: Float
    """(y, x): MaxExp's, or the one that was given; NaN where the tile is not valid."""
    sets: SpeciesSets
    means: Float
    """(species, block_y, block_x): mean p over the valid cells of each block of 1 km, NaN where none is."""


def stream(
    tile: LatentTile,
    sums: Mapping[Name, Sum],
    *,
    multiply: Multiply | None = None,
    threshold: Float | None = None,
    sets: bool = True,
    threads: int = 1,
) -> Streamed[Name]:
    """Sums, species sets and block means of a tile in one pass over its species.

    `multiply`: a fast product of int8 matrices, used when the tile's latent is int8; without one numpy multiplies in float32. `threshold`
    (y, x) makes the sets {p > threshold}; by default MaxExp (`sets`); without `sets` none are made, and no threshold. The result
    does not depend on `threads`. Raises InputError for weights that are not one a species or a threshold that is not one a cell,
    UsageError for a sum over sets without any.
    """
    count = len(tile.species)
    once = {wanted.key: wanted for wanted in sums.values()}
    require(once.values(), species=count, threshold=sets)
    head = head_of(tile, multiply)
    plan = _Plan(list(once.values()), count)
    side = block_side(tile.tile.grid)
    height, width = tile.shape
    if threshold is not None and np.shape(threshold) != (height, width):
        raise InputError(f"the threshold is {np.shape(threshold)}, the tile has cells {(height, width)} (y, x); give one a cell")
    taken = np.zeros((len(once), height * width))
    limit = np.full(height * width, np.nan, np.float32)
    means = np.full((count, height // side, width // side), np.nan, np.float32)

    local = threading.local()

    def one(block: tuple[int, int]) -> _Members | None:
        if not hasattr(local, "space"):
            local.space = _Space(side * side, count)
        rows, columns = (slice(i * side, (i + 1) * side) for i in block)
        valid = tile.valid[rows, columns]
        if not valid.any():
            return None
        y, x = np.nonzero(valid)
        cells = (y + rows.start) * width + x + columns.start
        worked = _Block(tile, head, plan, local.space, rows, columns, valid)
        worked.run(candidates=sets)
        members = None
        if sets:
            members = worked.sets(cells, None if threshold is None else threshold[rows, columns][valid])
            limit[cells] = worked.threshold
        taken[:, cells] = worked.sums()
        means[:, block[0], block[1]] = worked.columns / cells.size
        return members

    blocks = list(np.ndindex(means.shape[1:]))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            found = [members for members in pool.map(one, blocks) if members]
    else:
        found = [members for members in map(one, blocks) if members]
    if tile.coarse is not None:
        means[tile.coarse.withheld()] = np.nan
    of_key = {key: values.reshape(height, width) for key, values in zip(once, taken)}
    return Streamed(
        sums={name: of_key[wanted.key] for name, wanted in sums.items()},
        threshold=limit.reshape(height, width),
        sets=_joined(found, height * width, count),
        means=means,
    )


class _Plan:
    """How the sums asked for are taken: whole ones as probabilities are made, groups by a product, the set's from its members."""

    def __init__(self, asked: list[Sum], species: int) -> None:
        self.count = len(asked)
        self.whole = [(i, _WHOLE[s.term]) for i, s in enumerate(asked) if s.weights is None and s.term in _WHOLE]
        self.groups = {
            term: _Group([(i, s.weights) for i, s in enumerate(asked) if s.term == term and s.weights is not None]) for term in _WHOLE
        }
        one = np.ones(species, np.float32)
        self.absence = _Group([(i, one if s.weights is None else s.weights) for i, s in enumerate(asked) if s.term == "ln(1-p)"])
        members = [(i, one if s.weights is None else s.weights) for i, s in enumerate(asked) if s.term == "member"]
        self.member_sums = [i for i, _ in members]
        self.member_weights = np.array([w for _, w in members], np.float64).reshape(len(members), species)


class _Group:
    """Weighted sums of one term."""

    def __init__(self, asked: list[tuple[int, Float]]) -> None:
        self.at = [i for i, _ in asked]
        self.weights = np.ascontiguousarray(np.stack([w for _, w in asked], axis=1), np.float32) if asked else None
        """(species, sum)"""


class PlainHead:
    """The head of a float latent, or of one without a fast product."""

    exact = False

    def __init__(self, tile: LatentTile) -> None:
        self._weights, self._bias = tile.head.weights * tile.scale, tile.head.bias

    def latent(self, tile: LatentTile, rows: slice, columns: slice, valid: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
        return tile.z[rows, columns][valid].astype(np.float32)

    def probabilities(self, z: npt.NDArray[Any], availability: Float, species: slice, out: Float) -> None:
        kernels.from_floats(z @ self._weights[species].T, self._bias[species], availability, out)


class SixteenBits:
    """The head of an int8 latent: weights in steps of a 32,512th of a species' largest, split into two int8: 256 high + low."""

    exact = True

    def __init__(self, tile: LatentTile, multiply: Multiply) -> None:
        weights = tile.head.weights * tile.scale
        largest = np.abs(weights).max(axis=1, initial=0.0)
        self._step = np.where(largest > 0, largest / 32_512, 1).astype(np.float32)
        steps = np.rint(weights / self._step[:, None]).astype(np.int32)
        high = (steps + 128) >> 8
        self._high, self._low = high.astype(np.int8), (steps - 256 * high).astype(np.int8)
        self._bias, self._multiply = tile.head.bias, multiply

    def latent(self, tile: LatentTile, rows: slice, columns: slice, valid: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
        return np.ascontiguousarray(tile.z[rows, columns][valid])

    def probabilities(self, z: npt.NDArray[Any], availability: Float, species: slice, out: Float) -> None:
        high, low = (self._multiply(z, part[species]) for part in (self._high, self._low))
        kernels.from_integers(high, low, self._step[species], self._bias[species], availability, out)


Head: TypeAlias = PlainHead | SixteenBits


def head_of(tile: LatentTile, multiply: Multiply | None) -> Head:
    return SixteenBits(tile, multiply) if multiply is not None and tile.z.dtype == np.int8 else PlainHead(tile)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Members:
    """The sets of some cells, packed in their order."""

    cells: Integers
    size: npt.NDArray[np.int64]
    species: npt.NDArray[np.unsignedinteger]
    p: npt.NDArray[np.uint8]


class _Space:
    """What a thread works in, made once: fresh memory for every block would cost as much as the products."""

    def __init__(self, cells: int, species: int) -> None:
        self.p, self.spread = np.empty((2, cells * min(_SPECIES, species)), np.float32)
        self.species, self.values = np.empty((cells, species), np.int32), np.empty((cells, species), np.float32)
        self.cut = _CUT


class _Block:
    """The valid cells of a block, for as long as they are worked on."""

    def __init__(
        self,
        tile: LatentTile,
        head: Head,
        plan: _Plan,
        space: _Space,
        rows: slice,
        columns: slice,
        valid: npt.NDArray[np.bool_],
    ) -> None:
        self._head, self._plan, self._space, self._count = head, plan, space, len(tile.species)
        self._coarse = tile.coarse
        if self._coarse is not None:
            y, x = np.nonzero(valid)
            self._rows, self._columns = y + rows.start, x + columns.start
        self._z = head.latent(tile, rows, columns, valid)
        self._availability = np.ascontiguousarray(tile.availability[rows, columns][valid], np.float32)
        n = self._availability.size
        self._whole = np.zeros((len(_WHOLE), n))
        self._sums = np.zeros((plan.count, n))
        self._cut = np.float32(space.cut) * self._availability
        self._species, self._values = space.species[:n], space.values[:n]
        self._found = np.zeros(n, np.int64)
        self.columns = np.zeros(self._count, np.float32)
        self.threshold = np.zeros(n, np.float32)

    def run(self, *, candidates: bool) -> None:
        """All sums but those over the set, and candidates for it."""
        plan = self._plan
        for species, p in self._probabilities():
            spread = self._space.spread[: p.size].reshape(p.shape)
            kernels.add_totals(p, spread, *self._whole)
            for term, values in (("p", p), ("p(1-p)", spread)):
                self._add(plan.groups[term], values, species)
            if any(plan.groups[term].at for term in _LOGARITHMIC):
                logarithm = np.log(np.maximum(p, np.float32(1e-37)))
                for term, factor in _LOGARITHMIC.items():
                    if plan.groups[term].at:
                        self._add(plan.groups[term], factor(p, logarithm), species)
            if plan.absence.weights is not None and (own := np.flatnonzero(plan.absence.weights[species].any(axis=1))).size:
                absence = np.take(p, own, axis=1)
                kernels.to_absence(absence)
                self._sums[plan.absence.at] += (absence @ plan.absence.weights[species][own]).T
            kernels.add_columns(p, self.columns[species])
            if candidates:
                kernels.gather_candidates(p, species.start, self._cut, self._species, self._values, self._found)
        for i, which in plan.whole:
            self._sums[i] = self._whole[which]

    def sets(self, cells: Integers, threshold: Float | None) -> _Members:
        """The species sets, and the sums over them."""
        if threshold is None:
            short = np.zeros(cells.size, bool)
            kernels.best_thresholds(self._values, self._found, self._whole[0], self._cut, self.threshold, short)
        else:
            self.threshold[:] = threshold
            short = self.threshold < self._cut
        if short.any():
            self._look_again(np.flatnonzero(short), decide=threshold is None)
        if (known := (self.threshold > 0) & (self._availability > 0)).any():
            self._space.cut = float((self.threshold[known] / self._availability[known]).min()) / 2
        total, weights = int(self._found.sum()), self._plan.member_weights
        of_set = np.zeros((weights.shape[0], cells.size))
        size = np.empty(cells.size, np.int64)
        species, p = np.empty(total, position_type(self._count)), np.empty(total, np.uint8)
        done = kernels.take_members(self._species, self._values, self._found, self.threshold, weights, of_set, size, species, p)
        self._sums[self._plan.member_sums] = of_set
        return _Members(cells=cells, size=size, species=species[:done].copy(), p=p[:done].copy())

    def sums(self) -> Double:
        """(sum, cell), in the plan's order."""
        return self._sums

    def _look_again(self, cells: Integers, *, decide: bool) -> None:
        """Candidates of cells whose threshold may lie below their first cut, by a cut that surely does not."""
        cut, found = np.maximum(self.threshold[cells], 0), np.zeros(cells.size, np.int64)
        species, values = np.empty((cells.size, self._count), np.int32), np.empty((cells.size, self._count), np.float32)
        # A product of other rows has other last bits, unless it is exact: then the same rows are taken as before.
        again = cells if self._head.exact else np.arange(self._availability.size)
        own = slice(None) if self._head.exact else cells
        for part, p in self._probabilities(again):
            p = np.ascontiguousarray(p[own])
            kernels.gather_candidates(p, part.start, cut, species, values, found)
        if decide:
            threshold, short = np.zeros(cells.size, np.float32), np.zeros(cells.size, bool)
            kernels.best_thresholds(values, found, self._whole[0][cells], cut, threshold, short)
            self.threshold[cells] = threshold
        self._species[cells], self._values[cells], self._found[cells] = species, values, found

    def _probabilities(self, cells: Integers | slice = slice(None)) -> Iterator[tuple[slice, Float]]:
        """Species by the hundred: (slice of the species axis, p (cell, species)) of some cells, in the same memory every time.

        Of sensitive species what the tile tells of them, of those withheld 0: they count in no sum and no set.
        """
        z, availability = self._z[cells], self._availability[cells]
        for start in range(0, self._count, _SPECIES):
            species = slice(start, min(start + _SPECIES, self._count))
            shape = (z.shape[0], species.stop - start)
            p = self._space.p[: shape[0] * shape[1]].reshape(shape)
            self._head.probabilities(z, availability, species, p)
            if self._coarse is not None:
                self._coarse.lay(p, species, self._rows[cells], self._columns[cells], withheld=0.0)
            yield species, p

    def _add(self, group: _Group, values: Float, species: slice) -> None:
        if group.weights is not None:
            self._sums[group.at] += (values @ group.weights[species]).T


def _joined(found: list[_Members], cells: int, species: int) -> SpeciesSets:
    """The sets of blocks, put in the order of the raster's cells."""
    size = np.zeros(cells, np.int64)
    for part in found:
        size[part.cells] = part.size
    start = np.concatenate([[0], np.cumsum(size)])
    ids, p = np.empty(start[-1], position_type(species)), np.empty(start[-1], np.uint8)
    for part in found:
        kernels.place(part.cells, part.size, part.species, part.p, start, ids, p)
    return SpeciesSets(start=start, species=ids, p=p)
