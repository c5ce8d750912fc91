"""Rules of one or two passes: plain and weighted majority, agreement with the majority, two thirds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoplantnet.errors import InputError
from geoplantnet.identify.votes.ballots import ballots
from geoplantnet.identify.votes.plantnet import administered, stepped
from geoplantnet.identify.votes.table import NONE, Aggregation, Floats, Votes


@dataclass(frozen=True, kw_only=True)
class MajorityVote:
    """The species of most votes; ties go to the first of the list. Every label is trusted."""

    @property
    def name(self) -> str:
        """Majority"""
        return "majority"

    def aggregate(self, votes: Votes) -> Aggregation:
        """See `Strategy.aggregate`; `confidence` is the number of votes for the label."""
        return _weighed(votes, np.ones(votes.n_users))


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedMajorityVote:
    """The species of the highest summed weight. Every label is trusted."""

    weight: Floats | None = None
    """(user,) from 0 to `plantnet.HEAVIEST`; None = 1 each. What an administrator set stands in their place, as everywhere."""

    @property
    def name(self) -> str:
        """weighted-majority"""
        return "weighted-majority"

    def aggregate(self, votes: Votes) -> Aggregation:
        """See `Strategy.aggregate`. Raises InputError for weights that are not one a user, or out of range."""
        given = np.ones(votes.n_users) if self.weight is None else np.asarray(self.weight, float)
        if given.shape != (votes.n_users,) or np.isnan(given).any():
            raise InputError(f"weights of shape {given.shape} for {votes.n_users} users; give a number for every user")
        return _weighed(votes, administered(stepped(given, votes.n_users), votes), told=True)


@dataclass(frozen=True, kw_only=True)
class Wawa:
    """Worker agreement with the aggregate: a user weighs the share of their votes that are the majority's, or what an administrator set.

    Appen 2021 (inter-rater agreement), as Lefort et al. 2024, arXiv:2406.03356, compare with it.
    """

    @property
    def name(self) -> str:
        """Wawa"""
        return "wawa"

    def aggregate(self, votes: Votes) -> Aggregation:
        """See `Strategy.aggregate`; `weight` is 0 for who never voted."""
        majority = MajorityVote().aggregate(votes).label
        agrees = np.bincount(votes.user, majority[votes.observation] == votes.species, minlength=votes.n_users)
        cast = np.bincount(votes.user, minlength=votes.n_users)
        return _weighed(votes, administered(stepped(agrees / np.maximum(cast, 1), votes.n_users), votes), told=True)


@dataclass(frozen=True, kw_only=True)
class TwoThird:
    """iNaturalist's rule: a label is trusted from two votes on, where two thirds of them or more agree. All votes count the same."""

    @property
    def name(self) -> str:
        """two-third"""
        return "two-third"

    def aggregate(self, votes: Votes) -> Aggregation:
        """See `Strategy.aggregate`; `confidence` is the number of votes for the label."""
        found = MajorityVote().aggregate(votes)
        cast = np.bincount(votes.observation, minlength=votes.n_observations)
        valid = (cast >= 2) & (3 * found.confidence >= 2 * cast)
        return Aggregation(label=found.label, valid=valid, confidence=found.confidence, agreement=found.agreement)


def _weighed(votes: Votes, weight: Floats, *, told: bool = False) -> Aggregation:
    """The species of the highest summed weight; `weight` in multiples of `STEP`."""
    from geoplantnet.identify.votes import kernels  # numba takes a while to import

    side, n = ballots(votes).by_observation, votes.n_observations
    label, confidence, agreement, valid = np.empty(n, np.int32), np.empty(n), np.empty(n), np.empty(n, np.bool_)
    kernels.judge(
        *(side.start, side.species, weight[side.other], np.ones(len(votes), np.bool_), False),
        *(np.full(n, NONE, np.int32), 0.0, False, -1.0, -1.0),
        *(label, confidence, agreement, valid),
    )
    return Aggregation(label=label, valid=label != NONE, confidence=confidence, agreement=agreement, weight=weight if told else None)
