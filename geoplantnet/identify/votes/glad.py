"""GLAD: users of different ability on observations of different difficulty.

Whitehill, Ruvolo, Wu, Bergsma & Movellan 2009, Whose vote should count more: optimal integration of labels from labelers of unknown
expertise, Advances in Neural Information Processing Systems 22 (section 2: the model; 3: its inference and priors).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from geoplantnet.errors import UsageError
from geoplantnet.identify.votes.candidates import Candidates, Positions, unfinished
from geoplantnet.identify.votes.table import Aggregation, Floats, Votes

_STRIDE = 1.0
"""Longest step of an ability or of the logarithm of an easiness, so that no early step goes astray."""


@dataclass(frozen=True, kw_only=True)
class Glad:
    """A vote of user u on observation i is right with probability s = 1 / (1 + exp(-alpha_u beta_i)), else any other of K species.

    The species are equally probable before. Then the logarithm of k's probability is, but for a constant, the sum of
    alpha_u beta_i + ln(K - 1) over the votes for k, and 0 of species nobody named: all K are accounted for without being listed.
    alpha_u and ln beta_i are normal, of mean 1 and standard deviation 1 (section 3). A generalised EM: after the probabilities, all alpha
    make one step of Fisher scoring, of 1 at most, then all ln beta one. Every label is trusted; `confidence` is its probability.
    """

    tolerance: float = 1e-3
    """Largest change of a probability at which it ends."""
    max_iterations: int = 500

    def __post_init__(self) -> None:
        if not (self.tolerance >= 0 and self.max_iterations >= 1):
            raise UsageError(f"{self} makes no rule; wanted tolerance >= 0 and an iteration")

    @property
    def name(self) -> str:
        """Called glad."""
        return "glad"

    def aggregate(self, votes: Votes) -> Aggregation:
        """See `Strategy.aggregate`. The model's votes and administrators' weights are not looked at."""
        named, species = Candidates.of(votes), max(votes.n_species, 2)
        where = named.observation[named.of_vote]
        ability, easiness = np.ones(votes.n_users), np.ones(votes.n_observations)
        others = (species - np.diff(named.start)).astype(float)
        probability, change, iterations = np.zeros(len(named.species)), 0.0, 0
        while iterations < self.max_iterations:
            iterations += 1
            before = probability
            weight = ability[named.user] * np.exp(easiness[where]) + np.log(species - 1)
            evidence = np.bincount(named.of_vote, weight, minlength=len(named.species)).astype(float)
            probability = named.probabilities(evidence, others)
            change = float(np.abs(probability - before).max(initial=0.0))
            if change <= self.tolerance:
                return named.aggregation(probability, iterations=iterations, converged=True, notes=())
            right = probability[named.of_vote]
            ability = self._abler(named, where, right, ability, easiness)
            easiness = self._easier(named, where, right, ability, easiness)
        return named.aggregation(probability, iterations=iterations, converged=False, notes=unfinished(change, self.tolerance, iterations))

    def _abler(self, named: Candidates, where: Positions, right: Floats, ability: Floats, easiness: Floats) -> Floats:
        """Each alpha after a step; `easiness` is ln beta."""
        beta = np.exp(easiness[where])
        sure = expit(ability[named.user] * beta)
        slope = np.bincount(named.user, (right - sure) * beta, minlength=len(ability)) - (ability - 1)
        bend = np.bincount(named.user, sure * (1 - sure) * beta**2, minlength=len(ability)) + 1
        return ability + np.clip(slope / bend, -_STRIDE, _STRIDE)

    def _easier(self, named: Candidates, where: Positions, right: Floats, ability: Floats, easiness: Floats) -> Floats:
        """Each ln beta after a step."""
        pull = ability[named.user] * np.exp(easiness[where])
        sure = expit(pull)
        slope = np.bincount(where, (right - sure) * pull, minlength=len(easiness)) - (easiness - 1)
        bend = np.bincount(where, sure * (1 - sure) * pull**2, minlength=len(easiness)) + 1
        return easiness + np.clip(slope / bend, -_STRIDE, _STRIDE)
