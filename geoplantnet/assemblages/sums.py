"""Sums over the species of a cell: all that an indicator asks of ten thousand species, so that one pass answers every one of them.

An indicator names the sums it needs, `weight x term` over species, and makes its values of them. Whoever holds the probabilities
takes the sums, each one once: `community_sums` from blocks of any array library, `stream.stream` from a latent tile,
without ever forming the blocks.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, device

from geoplantnet.assemblages.blocks import Array, Blocks, checked, row_strips
from geoplantnet.assemblages.sets import above
from geoplantnet.errors import InputError, UsageError

Float = npt.NDArray[np.float32]
Term = Literal["p", "p(1-p)", "p ln p", "p(1-p) ln p", "p(1-p) ln2 p", "ln(1-p)", "member"]
"""What is summed: the probability, its variance, 0 ln 0 = 0 included, the variance with the logarithm and with its square (0 where p is), the
logarithm of absence, or 1 for a species of the set."""
Name = TypeVar("Name", bound=Hashable)

_CANCELLED = 1e-9
"""Share of a total below which a group's sum is not taken as the difference to the others'."""
_CERTAIN = 1 - 2.0**-53
"""The largest double below 1 stands for p = 1, whose logarithm of absence is infinite."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sum:
    """Sum over species of weight x term."""

    term: Term = "p"
    weights: Float | None = None
    """(species,), in the order of the species axis; None = 1 each."""

    @cached_property
    def key(self) -> tuple[str, bytes | None]:
        """Equal for sums that are the same."""
        return self.term, None if self.weights is None else np.ascontiguousarray(self.weights, np.float32).tobytes()


def community_sums(
    blocks: Blocks, shape: tuple[int, int], sums: Mapping[Name, Sum], *, species: int, threshold: Array | float | None = None
) -> tuple[dict[Name, Array], Array]:
    """One pass over `blocks`: every sum (y, x) in float64 by its name, and (y, x) bool, where any species has a probability.

    A species without a probability (NaN) adds nothing. `threshold`, one number or (y, x), makes the set {p > threshold} for term
    "member". Equal sums are taken once. Raises InputError when the blocks break their contract or hold another number of `species`,
    UsageError for a sum of members without a threshold.
    """
    once = {wanted.key: wanted for wanted in sums.values()}
    require(once.values(), species=species, threshold=threshold is not None)
    taken: dict[tuple[str, bytes | None], Array] = {}
    has_data: Array = None
    done = 0
    for part, p in checked(blocks, shape):
        done = part.stop
        if done > species:
            continue
        xp = array_namespace(p)
        if has_data is None:
            has_data = xp.zeros(shape, dtype=xp.bool, device=device(p))
            taken = {key: xp.zeros(shape, dtype=xp.float64, device=device(p)) for key in once}
        for rows in row_strips(p):
            limit: Array = threshold
            strip = _Strip(p[:, rows, :], limit[rows, :] if np.ndim(limit) else limit)
            has_data[rows, :] |= strip.has_data
            for key, wanted in once.items():
                taken[key][rows, :] += strip.sum(wanted.term, None if wanted.weights is None else wanted.weights[part])
    if done != species:
        raise InputError(f"the sums are over {species} species, the blocks hold {done}; give both of one list")
    return {name: taken[wanted.key] for name, wanted in sums.items()}, has_data


def require(sums: object, *, species: int, threshold: bool) -> None:
    """Raises InputError for weights that are not one a species, UsageError for a sum of members when there is no threshold."""
    for wanted in sums:  # type: ignore[attr-defined]
        if wanted.weights is not None and wanted.weights.shape != (species,):
            raise InputError(f"a sum has weights {wanted.weights.shape} for {species} species; give one a species, in the list's order")
        if wanted.term == "member" and not threshold:
            raise UsageError(
                "a sum counts the species of the set, but there is no threshold; give one, for instance `expected_f1_threshold`"
            )


class _Strip:
    """Some species over some rows; what several sums need of it is computed once."""

    def __init__(self, p: Array, threshold: Array | float | None) -> None:
        self._xp = array_namespace(p)
        missing = self._xp.isnan(p)
        self.has_data = ~self._xp.all(missing, axis=0)
        self._p = self._xp.where(missing, 0.0, p) if self._xp.any(missing) else p
        self._threshold = threshold
        self._totals: dict[str, Array] = {}

    def sum(self, term: Term, weights: Float | None) -> Array:
        """(y, x) float64; reads whichever is fewer, the species of a group or the others."""
        if weights is None:
            return self._total(term)
        rows = np.flatnonzero(weights)
        if not rows.size:
            return 0.0
        flags = bool((weights[rows] == 1).all())
        if flags and term == "p" and 2 * rows.size > weights.size:
            total, rest = self._total("p"), np.flatnonzero(weights == 0)
            if not rest.size:
                return total
            found = total - self._of("p", rest)
            if not self._xp.any(found < _CANCELLED * total):  # of what is left beside the others, rounding must not be much
                return found
        return self._of(term, rows, None if flags else weights[rows])

    def _total(self, term: Term) -> Array:
        if term not in self._totals:
            self._totals[term] = self._added(self._values(term, self._p))
        return self._totals[term]

    def _of(self, term: Term, rows: npt.NDArray[np.intp], weights: Float | None = None) -> Array:
        xp = self._xp
        values = self._values(term, xp.take(self._p, xp.asarray(rows, device=device(self._p)), axis=0))
        if weights is not None:
            values = values * xp.asarray(weights, device=device(self._p))[:, None, None]
        return self._added(values)

    def _values(self, term: Term, p: Array) -> Array:
        xp = self._xp
        if term == "p":
            return p
        if term == "p(1-p)":
            return p * (1 - p)
        if term in ("p ln p", "p(1-p) ln p", "p(1-p) ln2 p"):
            logarithm = xp.log(p + xp.astype(p == 0, p.dtype))  # it sees 1 in the place of 0
            if term == "p ln p":
                return p * logarithm
            return p * (1 - p) * (logarithm if term == "p(1-p) ln p" else logarithm * logarithm)
        if term == "ln(1-p)":
            return xp.log1p(-xp.clip(xp.astype(p, xp.float64), max=_CERTAIN))
        assert self._threshold is not None  # held by `require`
        return above(p, self._threshold)

    def _added(self, values: Array) -> Array:
        return self._xp.sum(values, axis=0, dtype=self._xp.float64)
