"""Votes in the two orders that loops need: by observation and by user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geoplantnet.identify.votes.table import Integers, Votes

Starts = npt.NDArray[np.int64]
_BITS = 63
"""Of a sorted number."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """Votes of each key (an observation, a user), together, ordered by species and the other key: the same however they were given."""

    start: Starts
    """(key + 1,) where the votes of each begin."""
    species: Integers
    """(vote,)"""
    other: Integers
    """(vote,) the user, or the observation."""

    def rows(self, keys: npt.ArrayLike) -> tuple[Starts, npt.NDArray[np.int64]]:
        """Votes of some keys, in their order: where each key's begin among them, (key + 1,), and their positions in the arrays here."""
        wanted = np.asarray(keys, np.int64)
        counts = self.start[wanted + 1] - self.start[wanted]
        start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        positions = np.arange(start[-1]) + np.repeat(self.start[wanted] - start[:-1], counts)
        return start, positions

    def of(self, keys: npt.NDArray[np.int64]) -> tuple[Starts, Integers, Integers]:
        """Where the votes of each of some keys begin, their species, their others; `keys` that are all, in order, cost nothing."""
        if len(keys) == len(self.start) - 1:
            return self.start, self.species, self.other
        start, positions = self.rows(keys)
        return start, self.species[positions], self.other[positions]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ballots:
    """The votes, twice."""

    by_observation: Side
    by_user: Side


def ballots(votes: Votes) -> Ballots:
    """Sort the votes."""
    return Ballots(
        by_observation=side(votes.observation, votes.species, votes.user, votes.n_observations),
        by_user=side(votes.user, votes.species, votes.observation, votes.n_users),
    )


def side(key: Integers, species: Integers, other: Integers, n: int) -> Side:
    """Votes ordered by `key`, species, `other`."""
    start = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=n))]).astype(np.int64)
    widths = [int(values.max(initial=0)).bit_length() for values in (key, species, other)]
    if sum(widths) > _BITS:
        order = np.lexsort((other, species, key))
        return Side(start=start, species=np.ascontiguousarray(species[order], np.int32), other=np.ascontiguousarray(other[order], np.int32))
    packed = key.astype(np.int64)  # the three side by side in one number, which sorts ten times faster
    for values, width in zip((species, other), widths[1:], strict=True):
        packed <<= width
        packed |= values
    packed.sort()
    of_other = (packed & ((1 << widths[2]) - 1)).astype(np.int32)
    packed >>= widths[2]
    return Side(start=start, species=(packed & ((1 << widths[1]) - 1)).astype(np.int32), other=of_other)


def among(positions: npt.NDArray[np.integer], n: int) -> npt.NDArray[np.int64]:
    """Which of 0 to n - 1 occur, in their order."""
    if len(positions) * 64 < n:
        return distinct(positions)
    there = np.zeros(n, np.bool_)
    there[positions] = True
    return np.flatnonzero(there)


def distinct(positions: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Each once, sorted: of many, many times faster than np.unique, which hashes."""
    ordered = np.sort(positions.astype(np.int64))
    first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]
