"""Pl@ntNet's cooperative labels: users weigh by the number of species they have shown to know.

Lefort, Affouard, Charlier, Lombardo, Chouet, Goeau, Salmon, Bonnet & Joly 2024, Cooperative learning of Pl@ntNet's artificial
intelligence algorithm using label aggregation, arXiv:2406.03356 (algorithm 1, equation of f; the AI's vote: section on its integration).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError, UsageError
from geoplantnet.identify.votes.ballots import Ballots, Starts, among, ballots
from geoplantnet.identify.votes.table import NONE, Aggregation, Floats, Integers, Votes

STEP = 2.0**-30
"""Weights are whole multiples of it, so that sums of them below 2^23 are exact in float64, whatever their order."""
HEAVIEST = 1000.0
"""Highest weight that may be given to a user: more than f of a million species, and thousands of such votes still sum exactly."""
AI = Literal["ignored", "fixed", "confident", "invalidating"]
Counts = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class PlantNet:
    """Iterated weighted majority: labels tell who knows which species, and who knows many weighs more.

    From the weight of newcomers on, repeated until the numbers of species repeat:

        label = the species of the highest summed weight (ties: the first of the list)
        conf  = its summed weight,    acc = conf / summed weight of all votes
        valid = conf > theta_conf and acc > theta_acc
        n_u   = species u determined on u's own valid observations + round(vote_share * other species u voted on others' observations),
                where u's vote is the label; a half is rounded to the even number
        w_u   = n_u^alpha - n_u^beta + gamma

    Weights are rounded to multiples of `STEP`: the result does not depend on the order of votes, to the last bit. A fixed weight stands in
    w's place, a minimal one below it. Raises UsageError for parameters that make no rule.
    """

    gamma: float = 0.742
    """Weight of who knows no species, or one. The paper writes log(2.1), others log(1.7) ~ .74; .742 is the former."""
    alpha: float = 0.5
    beta: float = 0.2
    theta_conf: float = 2.0
    """Least summed weight of a valid label, itself not enough."""
    theta_acc: float = 0.7
    """Least share of the weight, itself not enough."""
    vote_share: float = 0.1
    """What a species counts that was only voted on others' observations."""
    ai: AI = "ignored"
    """`fixed`: the model votes with `ai_weight`; `confident`: only where its score reaches `theta_score`; `invalidating`: where it disagrees
    with the people's label its weight is added to the total, and nothing else. Once an observation, never with a growing weight."""
    ai_weight: float = 1.7
    """Outweighs two newcomers, and does not validate alone."""
    theta_score: float = 0.7
    established: int = 0
    """Where the votes of users who know so many species alone make a label valid, no others count there; 0 = all always count, as
    published."""
    max_iterations: int = 100

    def __post_init__(self) -> None:
        if not (
            0 < self.gamma <= HEAVIEST
            and 0 <= self.beta <= self.alpha <= 1
            and 0 <= self.theta_conf < np.inf
            and 0 <= self.theta_acc < 1
            and 0 <= self.vote_share <= 1
            and 0 <= self.ai_weight <= HEAVIEST
            and self.established >= 0
            and self.max_iterations >= 1
        ):
            raise UsageError(
                f"{self} makes no rule; wanted 0 < gamma <= {HEAVIEST:g}, 0 <= beta <= alpha <= 1, theta_conf >= 0, 0 <= theta_acc < 1, "
                f"0 <= vote_share <= 1, 0 <= ai_weight <= {HEAVIEST:g}, established >= 0 and an iteration"
            )
        if self.ai not in ("ignored", "fixed", "confident", "invalidating"):
            raise UsageError(f"ai={self.ai!r} is none of ignored, fixed, confident, invalidating")

    @property
    def name(self) -> str:
        """Plantnet"""
        return "plantnet"

    def weight_of(self, n: npt.ArrayLike) -> Floats:
        """f(n): the weight of who knows `n` species, a multiple of `STEP`."""
        known = np.asarray(n)
        return _weights(self.alpha, self.beta, self.gamma, 1 << int(known.max(initial=1)).bit_length())[known]

    def aggregate(self, votes: Votes) -> Aggregation:
        """See `Strategy.aggregate`. `weight` is every user's, `iterations` how often labels were made.

        Where the numbers of species run into a cycle, observations whose label or validity differ within it are not valid, their label is
        the first of the cycle, and users have their least weight of it.
        """
        sides, crowd = ballots(votes), Crowd.of(votes, self)
        found = self.trajectory(sides, crowd)
        side = sides.by_observation
        _, confidence, agreement, _ = self.judge(side.start, side.species, side.other, found.n[found.told], crowd, crowd.voice)
        return self.summary(found, crowd, confidence, agreement)

    def trajectory(self, sides: Ballots, crowd: Crowd) -> Trajectory:
        """Every round until the numbers of species were there before, or `max_iterations`.

        After the first, a round looks only at observations of users whose number is another, and at users who voted where the outcome is.
        """
        observations, users = np.arange(len(crowd.author)), np.arange(len(crowd.fixed))
        found = Trajectory(n=[np.zeros(len(users), np.int32)], label=[], valid=[])
        seen: dict[bytes, int] = {}
        by_observation, by_user = sides.by_observation, sides.by_user
        stirred, people = observations, users
        label, valid, n = np.full(len(observations), NONE, np.int32), np.zeros(len(observations), np.bool_), found.n[0]
        for t in range(self.max_iterations):
            seen[_digest(n)] = t
            start, species, user = by_observation.of(stirred)
            now, _, _, passed = self.judge(start, species, user, n, crowd, crowd.voice[stirred])
            if t:
                people = among(by_observation.of(stirred[(now != label[stirred]) | (passed != valid[stirred])])[2], len(users))
            label, valid, before, n = label.copy(), valid.copy(), n, n.copy()
            label[stirred], valid[stirred] = now, passed
            start, species, observation = by_user.of(people)
            n[people] = self.count(start, people.astype(np.int32), species, observation, crowd.author, label, valid)
            found.label.append(label)
            found.valid.append(valid)
            found.n.append(n)
            if (same := seen.get(_digest(n))) is not None:
                return replace(found, back_to=same)
            stirred = among(by_user.of(np.flatnonzero(n != before))[2], len(observations))
        return found

    def judge(
        self, start: Starts, species: Integers, user: Integers, n: Counts, crowd: Crowd, voice: Integers
    ) -> tuple[Integers, Floats, Floats, Flags]:
        """Label, confidence, agreement and validity of observations, whose votes begin at `start`, given every user's number of species."""
        from geoplantnet.identify.votes import kernels  # numba takes a while to import

        size = len(start) - 1
        out = np.empty(size, np.int32), np.empty(size), np.empty(size), np.empty(size, np.bool_)
        if len(user) < len(n):
            weight = self.weights(n[user], crowd.fixed[user], crowd.minimal[user])
        else:  # fewer users than votes
            weight = self.weights(n, crowd.fixed, crowd.minimal)[user]
        kernels.judge(
            *(start, species, weight, n[user] >= self.established if self.established else np.empty(0, np.bool_)),
            *(self.established > 0, voice, round(self.ai_weight / STEP) * STEP, self.ai == "invalidating"),
            *(self.theta_conf, self.theta_acc, *out),
        )
        return out

    def count(
        self, start: Starts, who: Integers, species: Integers, observation: Integers, author: Integers, label: Integers, valid: Flags
    ) -> Counts:
        """The number of species of users `who`, whose votes begin at `start`, given labels and validity of all observations."""
        from geoplantnet.identify.votes import kernels

        authored, voted = np.empty(len(who), np.int64), np.empty(len(who), np.int64)
        kernels.known_species(start, who, species, observation, author, label, valid, authored, voted)
        return (authored + np.round(self.vote_share * voted)).astype(np.int32)

    def weights(self, n: Counts, fixed: Floats, minimal: Floats) -> Floats:
        """Weights of who knows `n` species, with what an administrator set (NaN = nothing)."""
        weight = np.fmax(self.weight_of(n), minimal)
        return np.where(np.isnan(fixed), weight, fixed)

    def voice(self, species: Integers, score: Floats) -> Integers:
        """The species the model speaks for; NONE where it does not."""
        if self.ai == "ignored":
            return np.full(len(species), NONE, np.int32)
        return np.where((score >= self.theta_score) | (self.ai != "confident"), species, NONE).astype(np.int32)

    def summary(self, found: Trajectory, crowd: Crowd, confidence: Floats, agreement: Floats) -> Aggregation:
        """What is told of a trajectory; `confidence` and `agreement` are those of the round that is told."""
        last, back, cycle = len(found.label) - 1, found.told, found.cycle
        valid, weight = found.valid[back].copy(), self.weights(found.n[back], crowd.fixed, crowd.minimal)
        notes: tuple[str, ...] = ()
        if cycle:
            for t in range(back + 1, last + 1):
                valid &= (found.valid[t] == found.valid[back]) & (found.label[t] == found.label[back])
                weight = np.minimum(weight, self.weights(found.n[t], crowd.fixed, crowd.minimal))
            varying = int(np.count_nonzero(found.valid[back] & ~valid))
            notes = (f"labels go round in a cycle of {cycle}; what differs within it is not valid ({varying} observations)",)
        elif found.back_to is None:
            notes = (f"no fixed point within {self.max_iterations} iterations",)
        return Aggregation(
            label=found.label[back].copy(),
            valid=valid,
            confidence=confidence,
            agreement=agreement,
            weight=weight,
            iterations=last + 1,
            converged=found.back_to is not None and not cycle,
            cycle=cycle,
            notes=notes,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Crowd:
    """What is known beside the votes."""

    author: Integers
    """(observation,)"""
    voice: Integers
    """(observation,) the species the model speaks for; NONE where it does not."""
    fixed: Floats
    """(user,) multiples of `STEP`; NaN = not set."""
    minimal: Floats
    """(user,) the same."""

    @classmethod
    def of(cls, votes: Votes, strategy: PlantNet) -> Crowd:
        """Of votes, as a strategy listens to the model."""
        n = votes.n_observations
        species = np.full(n, NONE, np.int32) if votes.ai_species is None else votes.ai_species
        score = np.zeros(n) if votes.ai_score is None else votes.ai_score
        return cls(
            author=np.ascontiguousarray(votes.author, np.int32),
            voice=strategy.voice(species, score),
            fixed=stepped(votes.fixed_weight, votes.n_users),
            minimal=stepped(votes.minimal_weight, votes.n_users),
        )


def stepped(weight: npt.ArrayLike | None, size: int) -> Floats:
    """Weights as multiples of `STEP`, (size,); NaN without any. Raises InputError for one below 0 or above `HEAVIEST`."""
    if weight is None:
        return np.full(size, np.nan)
    given = np.asarray(weight, float)
    outside = given[(given < 0) | (given > HEAVIEST)]
    if len(outside):
        raise InputError(f"a user's weight is {outside[0]:g}; wanted 0 to {HEAVIEST:g}")
    return np.round(given / STEP) * STEP


def administered(weight: Floats, votes: Votes) -> Floats:
    """Weights of users, with what an administrator set in their place or below them."""
    weight = np.fmax(weight, stepped(votes.minimal_weight, votes.n_users))
    fixed = stepped(votes.fixed_weight, votes.n_users)
    return np.where(np.isnan(fixed), weight, fixed)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """What every round said, in their order."""

    n: list[Counts]
    """Numbers of species before each round, and after the last."""
    label: list[Integers]
    valid: list[Flags]
    back_to: int | None = None
    """The round whose numbers stand again after the last: the last itself at a fixed point; None = none was reached."""

    @property
    def told(self) -> int:
        """The round whose labels are told: the first of a cycle, or else the last."""
        return len(self.label) - 1 if self.back_to is None else self.back_to

    @property
    def cycle(self) -> int:
        """Rounds of the cycle that was run into; 0 = none."""
        return 0 if self.back_to in (None, len(self.label) - 1) else len(self.label) - self.told


@lru_cache(maxsize=16)
def _weights(alpha: float, beta: float, gamma: float, size: int) -> Floats:
    """f(0), f(1) ... one by one: a vectorised power may differ in its last bit by where in an array a number stands."""
    return np.array([round((float(n) ** alpha - float(n) ** beta + gamma) / STEP) * STEP for n in range(size)])


def _digest(n: Counts) -> bytes:
    return hashlib.blake2b(n.tobytes(), digest_size=16).digest()
