"""Species that somebody named for an observation: the only ones that strategies of probabilities look at one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geoplantnet.identify.votes.ballots import Starts, side
from geoplantnet.identify.votes.table import NONE, Aggregation, Floats, Integers, Votes

Positions = npt.NDArray[np.int64]
EQUAL = 1e-9
"""Probabilities as near to each other are a tie, which goes to the first species of the list."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """Votes in an order of their own, by observation, species and user, and the candidates (observation, species) that they make."""

    n_observations: int
    user: Integers
    """(vote,)"""
    of_vote: Positions
    """(vote,) the candidate it names."""
    start: Starts
    """(voted + 1,) where the candidates of each observation with votes begin."""
    observation: Positions
    """(candidate,)"""
    species: Integers
    """(candidate,) growing within an observation."""
    support: Floats
    """(candidate,) votes for it."""

    @classmethod
    def of(cls, votes: Votes) -> Candidates:
        """Sort the votes."""
        sorted_votes = side(votes.observation, votes.species, votes.user, votes.n_observations)
        observation = np.repeat(np.arange(votes.n_observations), np.diff(sorted_votes.start))
        first = np.ones(len(votes), np.bool_)
        first[1:] = (np.diff(observation) != 0) | (np.diff(sorted_votes.species) != 0)
        of_vote = np.cumsum(first) - 1
        own = observation[first]
        return cls(
            n_observations=votes.n_observations,
            user=sorted_votes.other,
            of_vote=of_vote,
            start=np.concatenate([np.flatnonzero(np.diff(own, prepend=-1)), [len(own)]]).astype(np.int64),
            observation=own,
            species=sorted_votes.species[first],
            support=np.bincount(of_vote, minlength=len(own)).astype(float),
        )

    def spread(self, values: Floats) -> Floats:
        """A number of each observation with votes -> of each candidate."""
        return np.repeat(values, np.diff(self.start))

    def total(self, values: Floats) -> Floats:
        """Numbers of candidates, summed over each observation with votes."""
        return np.add.reduceat(values, self.start[:-1]) if len(values) else values

    def probabilities(self, logarithm: Floats, others: Floats | float = 0.0) -> Floats:
        """exp(logarithm) of candidates, made to sum to one in each observation; `others`: how many more species there are, of logarithm 0."""
        if not len(logarithm):
            return logarithm
        highest = np.maximum.reduceat(logarithm, self.start[:-1])
        if np.any(others):
            highest = np.maximum(highest, 0.0)
        raised = np.exp(logarithm - self.spread(highest))
        return raised / self.spread(self.total(raised) + others * np.exp(-highest))

    def aggregation(self, probability: Floats, *, iterations: int, converged: bool, notes: tuple[str, ...]) -> Aggregation:
        """The candidates of the highest probability; `agreement` is the share of votes for them."""
        n = self.n_observations
        label, confidence, agreement = np.full(n, NONE, np.int32), np.zeros(n), np.zeros(n)
        if len(probability):
            highest = np.maximum.reduceat(probability, self.start[:-1])
            near = np.flatnonzero(probability >= self.spread(highest) - EQUAL)
            best = near[np.unique(self.observation[near], return_index=True)[1]]
            where = self.observation[best]
            label[where], confidence[where] = self.species[best], probability[best]
            agreement[where] = self.support[best] / self.total(self.support)
        return Aggregation(
            label=label,
            valid=label != NONE,
            confidence=confidence,
            agreement=agreement,
            iterations=iterations,
            converged=converged,
            notes=notes,
        )


def unfinished(change: float, tolerance: float, iterations: int) -> tuple[str, ...]:
    """What to tell of an iteration that was cut off."""
    return (f"not converged: a probability still changed by {change:.2g} (wanted {tolerance:.2g}) in iteration {iterations}",)
