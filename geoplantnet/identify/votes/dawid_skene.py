"""Dawid & Skene's labels, sparse: whom users take for whom, learnt with the labels.

Dawid & Skene 1979, Maximum likelihood estimation of observer error-rates using the EM algorithm, Applied Statistics 28(1): 20-28.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import UsageError
from geoplantnet.identify.votes.candidates import Candidates, Positions, unfinished
from geoplantnet.identify.votes.table import Aggregation, Floats, Votes


@dataclass(frozen=True, kw_only=True)
class DawidSkene:
    """Expectation maximisation of labels and confusions. Every label is trusted; `confidence` is its probability.

    A user's table of confusions has 10^8 cells where there are 10^4 species, and most users cast a few votes. So only cells (user u,
    species k, named l) that occur are kept, and each is drawn to what is known of u as a whole and of k as a whole. With T_ik the
    probability that observation i is k (k among the species named for i: nothing else is considered), K species, N observations with
    votes and sums over votes:

        a      = (sum of T at the species voted + 1) / (votes + 2)                      the crowd is right
        a_u    = (the same sum over u's votes + shrinkage a) / (votes of u + shrinkage) u is right
        c_kl   = (votes l where k, l != k, + background / (K - 1)) / (all wrong votes where k + background)    k is taken for l, by anybody
        b_ukl  = a_u where l = k, (1 - a_u) c_kl elsewhere
        pi_ukl = (u's votes l where k + shrinkage b_ukl) / (u's votes where k + shrinkage)
        p_k    = (sum over i of T_ik + 1 / K) / (N + 1)
        T_ik  ~= p_k * product over i's votes of pi_ukl, in logarithms

    where "votes where k" are weighed by T_ik. It starts from the shares of votes. A shrinkage near 0 is the original; a large one leaves a
    single number a user.
    """

    shrinkage: float = 1.0
    """Votes that what is known of the whole counts for, beside a user's own; > 0."""
    background: float = 1.0
    """Wrong votes spread over all other species, beside those that occur; > 0."""
    tolerance: float = 1e-3
    """Largest change of a probability at which it ends."""
    max_iterations: int = 500

    def __post_init__(self) -> None:
        if not (0 < self.shrinkage < np.inf and 0 < self.background < np.inf and self.tolerance >= 0 and self.max_iterations >= 1):
            raise UsageError(f"{self} makes no rule; wanted shrinkage and background > 0, tolerance >= 0 and an iteration")

    @property
    def name(self) -> str:
        """dawid-skene"""
        return "dawid-skene"

    def aggregate(self, votes: Votes) -> Aggregation:
        """See `Strategy.aggregate`. The model's votes and administrators' weights are not looked at."""
        named = Candidates.of(votes)
        pairs = _Pairs.of(named, votes.n_species)
        probability = named.support / named.spread(named.total(named.support))
        change, iterations = 0.0, 0
        while iterations < self.max_iterations:
            iterations += 1
            before = probability
            probability = named.probabilities(self._logarithm(named, pairs, probability, votes))
            change = float(np.abs(probability - before).max(initial=0.0))
            if change <= self.tolerance:
                return named.aggregation(probability, iterations=iterations, converged=True, notes=())
        return named.aggregation(probability, iterations=iterations, converged=False, notes=unfinished(change, self.tolerance, iterations))

    def _logarithm(self, named: Candidates, pairs: _Pairs, probability: Floats, votes: Votes) -> Floats:
        """ln(p_k * product of pi_ukl), (candidate,), from the probabilities before."""
        k, users = votes.n_species, votes.n_users
        share, right = probability[pairs.candidate], pairs.right
        hits = np.bincount(pairs.user[right], share[right], minlength=users)
        cast = np.bincount(named.user, minlength=users)
        crowd = (hits.sum() + 1) / (cast.sum() + 2)
        skill = (hits + self.shrinkage * crowd) / (cast + self.shrinkage)
        wrong = ~right
        taken = np.bincount(pairs.confusion[wrong], share[wrong], minlength=pairs.n_confusions)
        mistaken = np.bincount(pairs.truth[wrong], share[wrong], minlength=k)
        anybody = (taken[pairs.confusion] + self.background / max(k - 1, 1)) / (mistaken[pairs.truth] + self.background)
        whole = np.where(right, skill[pairs.user], (1 - skill[pairs.user]) * anybody)
        own = np.bincount(pairs.cell, share, minlength=pairs.n_cells)[pairs.cell]
        there = np.bincount(pairs.row, share, minlength=pairs.n_rows)[pairs.row]
        chance = (own + self.shrinkage * whole) / (there + self.shrinkage)
        prior = (np.bincount(named.species, probability, minlength=k) + 1 / k) / (len(named.start) - 1 + 1)
        return np.log(prior[named.species]) + np.bincount(pairs.candidate, np.log(chance), minlength=len(named.species))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pairs:
    """Every vote with every candidate of its observation: (user, truth k, named l)."""

    candidate: Positions
    """(pair,) the species it might be."""
    user: npt.NDArray[np.int32]
    truth: npt.NDArray[np.int32]
    right: npt.NDArray[np.bool_]
    confusion: Positions
    """(pair,) which (k, l)."""
    cell: Positions
    """(pair,) which (u, k, l)."""
    row: Positions
    """(pair,) which (u, k)."""
    n_confusions: int
    n_cells: int
    n_rows: int

    @classmethod
    def of(cls, named: Candidates, n_species: int) -> _Pairs:
        """Of votes and candidates."""
        width = np.diff(named.start)
        voted = np.repeat(np.arange(len(width)), width)[named.of_vote]  # which of the observations with votes, (vote,)
        many = width[voted]
        vote = np.repeat(np.arange(len(many)), many)
        candidate = np.arange(many.sum()) + np.repeat(named.start[voted] - np.cumsum(many) + many, many)
        user, truth, said = named.user[vote], named.species[candidate], named.species[named.of_vote[vote]]
        confusions, confusion = np.unique(truth.astype(np.int64) * n_species + said, return_inverse=True)
        rows, row = np.unique(user.astype(np.int64) * n_species + truth, return_inverse=True)
        cells, cell = np.unique(row * np.int64(n_species) + said, return_inverse=True)
        return cls(
            candidate=candidate,
            user=user,
            truth=truth,
            right=truth == said,
            confusion=confusion,
            cell=cell,
            row=row,
            n_confusions=len(confusions),
            n_cells=len(cells),
            n_rows=len(rows),
        )
