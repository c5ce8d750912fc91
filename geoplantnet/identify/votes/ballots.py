"""Votes in the two orders that loops need: by observation and by user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geoplantnet.identify.votes.table import Integers, Votes

Starts = npt.NDArray[np.int64]


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
    """Votes ordered by `key`, species, `other`: sorted by the last first, in passes that keep the order of equals."""
    from geoplantnet.identify.votes import kernels  # numba takes a while to import

    order, spare = np.arange(len(key)), np.empty(len(key), np.int64)
    for values in (other, species, key):
        kernels.sort(np.ascontiguousarray(values, np.int32), int(values.max(initial=-1)) + 1, order, spare)
        order, spare = spare, order
    start = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=n))]).astype(np.int64)
    return Side(start=start, species=np.ascontiguousarray(species[order], np.int32), other=np.ascontiguousarray(other[order], np.int32))


def among(positions: Integers, n: int) -> npt.NDArray[np.int64]:
    """Which of 0 to n - 1 occur, in their order."""
    if len(positions) * 64 < n:
        return np.unique(positions).astype(np.int64)
    there = np.zeros(n, np.bool_)
    there[positions] = True
    return np.flatnonzero(there)
