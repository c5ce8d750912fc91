"""What strategies work on, and what they give: plain arrays by position."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError

Integers = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
NONE = -1
"""No user, no species, no label."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Votes:
    """Determinations as they stand: at most one a user and observation. Positions count from 0; the order of votes means nothing.

    Raises InputError where arrays disagree, a position is outside, or a user votes twice on an observation.
    """

    observation: Integers
    """(vote,)"""
    user: Integers
    """(vote,)"""
    species: Integers
    """(vote,)"""
    author: Integers
    """(observation,) who made the observation; NONE where unknown."""
    n_users: int
    n_species: int
    ai_species: Integers | None = None
    """(observation,) the model's determination, NONE where there is none; None = no model."""
    ai_score: Floats | None = None
    """(observation,) its calibrated probability, 0 to 1; not looked at where there is no determination."""
    fixed_weight: Floats | None = None
    """(user,) a weight set by an administrator in the place of what the strategy finds; NaN where none is. Only strategies with weights."""
    minimal_weight: Floats | None = None
    """(user,) a weight that the user's does not fall below; NaN where none is."""

    def __post_init__(self) -> None:
        for name in ("observation", "user", "species"):
            if getattr(self, name).shape != self.observation.shape or self.observation.ndim != 1:
                raise InputError(
                    f"votes have {len(self.observation)} observations and {getattr(self, name).shape} of {name}; give one of each a vote"
                )
        limits = {"observation": self.n_observations, "user": self.n_users, "species": self.n_species}
        for name, limit in limits.items():
            _inside(name, getattr(self, name), 0, limit)
        _inside("author", self.author, NONE, self.n_users)
        if self.ai_species is not None:
            _inside("ai_species", self.ai_species, NONE, self.n_species)
        for name, length in {
            "ai_species": self.n_observations,
            "ai_score": self.n_observations,
            "fixed_weight": self.n_users,
            "minimal_weight": self.n_users,
        }.items():
            values = getattr(self, name)
            if values is not None and values.shape != (length,):
                raise InputError(f"{name} has shape {values.shape}, wanted ({length},)")
        pair = self.observation.astype(np.int64) * max(self.n_users, 1) + self.user
        pair.sort()  # many times faster than np.unique, which hashes
        if (pair[1:] == pair[:-1]).any():
            raise InputError("a user votes twice on an observation; keep the last vote")

    def __len__(self) -> int:
        return len(self.observation)

    @property
    def n_observations(self) -> int:
        """Observations, with votes or without."""
        return len(self.author)


@dataclass(frozen=True, kw_only=True, eq=False)
class Aggregation:
    """What a strategy makes of votes."""

    label: Integers
    """(observation,) species; NONE where nobody voted."""
    valid: npt.NDArray[np.bool_]
    """(observation,) whether the strategy trusts the label; strategies without a rule trust every label."""
    confidence: Floats
    """(observation,) summed weight of the votes for the label (Dawid-Skene, GLAD: its posterior probability); 0 without one."""
    agreement: Floats
    """(observation,) its share of the summed weight of all votes, 0 to 1; 0 without a label."""
    weight: Floats | None = None
    """(user,) what a vote counts; None where all count the same."""
    iterations: int = 1
    converged: bool = True
    """Whether a fixed point was reached."""
    cycle: int = 0
    """Length of the cycle the iteration ran into; 0 = none."""
    notes: tuple[str, ...] = field(default=())
    """What a reader of the result should know, in words."""


class Strategy(Protocol):
    """A rule that turns votes into labels: a frozen dataclass of its parameters."""

    @property
    def name(self) -> str:
        """As it is called in recipes and tables."""
        ...

    def aggregate(self, votes: Votes) -> Aggregation:
        """The labels. The same for every order of the same votes, bit for bit."""
        ...


def _inside(name: str, values: Integers, low: int, limit: int) -> None:
    if len(values) and (values.min() < low or values.max() >= limit):
        raise InputError(f"{name} {int(values.min())} to {int(values.max())} is outside {low} to {limit - 1}")
