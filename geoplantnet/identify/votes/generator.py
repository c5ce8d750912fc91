"""Crowds whose truth is known: who votes what on which plant, and who attacks. Vectorised: nine million votes in seconds.

A crowd is drawn by `simulate_votes`; an attack is a function crowd -> crowd that adds accounts and leaves every honest vote as it was, so that
what it does is seen beside the same crowd without it. The figures of a real crowd that the defaults meet are those of the data set of Lefort et
al. 2024 (arXiv:2406.03356, section 2 and table 1): 9 million votes of 820,000 users on 6.7 million observations, a third of the users vote once,
four fifths of the observations are a tenth of the species, most observations have one vote. How people and the model err is our own model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import norm

from geoplantnet.errors import InputError
from geoplantnet.identify.votes.table import NONE, Floats, Integers, Votes

_ONE_VOTE, _MEAN_VOTES = 1 / 3, 11.0
_SIGMA = 1.612
_MU = np.log(1.5) - norm.ppf(_ONE_VOTE) * _SIGMA
"""Votes a user: max(1, rounded lognormal) of which a third are 1 (below 1.5) and whose mean is 11: exp(mu + sigma^2 / 2) = 11."""
_SPECIES_SIGMA = norm.ppf(0.9) + norm.ppf(0.8)
"""Of lognormal frequencies the most frequent tenth holds Phi(sigma - z(0.9)) of all: 0.8."""
_SLIP = 0.02
"""Determinations of a species the user knows that are wrong all the same."""


class Role(IntEnum):
    """What a user is in truth; no strategy sees it."""

    AMATEUR = 0
    EXPERT = 1
    ADVERSARY = 2
    SPAMMER = 3
    PARROT = 4
    SYBIL = 5


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """Parameters of an honest crowd. A user knows a species with probability expit(skill - difficulty), once for ever."""

    n_users: int = 3_000
    n_species: int = 800
    genus_size: float = 4.0
    """Mean number of species of a genus, geometric."""
    experts: float = 0.005
    """Share of the users."""
    expert_skill: float = 4.5
    expert_votes: float = 30.0
    """Times the votes of an amateur."""
    expert_on_others: float = 0.7
    """Share of an expert's votes on other people's observations."""
    on_others: float = 0.2
    """The same of an amateur."""
    skill: float = -1.0
    """Mean of amateurs with one vote."""
    skill_spread: float = 0.7
    """Standard deviation between amateurs."""
    skill_of_votes: float = 0.5
    """How skill grows with the natural logarithm of the number of votes."""
    difficulty_spread: float = 0.8
    """Standard deviation between species."""
    difficulty_of_rarity: float = 0.5
    """What a species a standard deviation rarer than the mean adds."""
    follows_ai: float = 0.5
    """Share of the determinations of species a user does not know that repeat the model's suggestion."""
    ai_skill: float = 1.4
    """Of the model; it varies by 1.2 between observations."""
    ai_overconfidence: float = 1.0
    """The model's logits are this many times too large; 1 = calibrated."""

    def __post_init__(self) -> None:
        if self.n_users < 2 or self.n_species < 2:
            raise InputError(f"a crowd has {self.n_users} users and {self.n_species} species; wanted at least 2 of each")
        if self.genus_size < 1:
            raise InputError(f"genus_size {self.genus_size} is below 1; a genus has a species")
        for name in ("experts", "expert_on_others", "on_others", "follows_ai"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} {getattr(self, name)} is outside 0 to 1")


REAL = Crowd()
"""Few precise experts among amateurs, most observations with one vote."""
UNIFORM = Crowd(
    experts=0, on_others=0.8, skill=0.6, skill_spread=0, skill_of_votes=0, difficulty_spread=0, difficulty_of_rarity=0, follows_ai=0
)
"""All know as much, however much they vote, and observations have some five votes each: nothing to learn about users."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedVotes:
    """A crowd's votes with what is true."""

    votes: Votes
    truth: Integers
    """(observation,) the species."""
    role: Integers
    """(user,) values of `Role`."""
    genus: Integers
    """(species,)"""
    lookalike: Integers
    """(species,) the species that it is taken for most often: of its genus, where that has another."""

    @property
    def honest(self) -> npt.NDArray[np.bool_]:
        """(observation,) whether its author is no attacker."""
        return self.role[self.votes.author] <= Role.EXPERT


def simulate_votes(crowd: Crowd, seed: int) -> SimulatedVotes:
    """An honest crowd's votes. The same seed gives the same votes.

    Errors of people and of the model are correlated: both take a species for its lookalike in 60 % of their errors, for any species of the genus
    in 25 %, for a frequent one in 15 %, and people who do not know follow the model.
    """
    rng = np.random.default_rng(seed)
    flora = _Flora.draw(crowd, rng)
    role = np.zeros(crowd.n_users, np.int32)
    role[: int(np.ceil(crowd.experts * crowd.n_users))] = Role.EXPERT
    expert = role == Role.EXPERT
    wanted = rng.lognormal(_MU, _SIGMA, crowd.n_users) * np.where(expert, crowd.expert_votes, 1)
    acts = np.maximum(1, np.rint(np.minimum(wanted, 20 * crowd.n_species))).astype(np.int64)
    skill = crowd.skill + crowd.skill_of_votes * np.log(acts) + crowd.skill_spread * rng.standard_normal(crowd.n_users)
    skill[expert] = crowd.expert_skill

    actor = np.repeat(np.arange(crowd.n_users, dtype=np.int32), acts)
    on_others = rng.random(len(actor)) < np.where(expert, crowd.expert_on_others, crowd.on_others)[actor]
    author = actor[~on_others]
    if not len(author):
        raise InputError(f"nobody of {crowd.n_users} users made an observation; give more users, or on_others below {crowd.on_others}")
    truth = rng.choice(crowd.n_species, size=len(author), p=flora.frequency).astype(np.int32)
    p = expit(crowd.ai_skill - flora.difficulty[truth] + 1.2 * rng.standard_normal(len(truth)))
    ai_species = np.where(rng.random(len(truth)) < p, truth, flora.mistaken(truth, rng)).astype(np.int32)

    salt = int(rng.integers(2**31))

    def said(user: Integers, observation: npt.NDArray[np.integer]) -> Integers:
        plant = truth[observation]
        known = _knows(user, plant, skill, flora, salt) & (rng.random(len(user)) >= _SLIP)
        guess = np.where(rng.random(len(user)) < crowd.follows_ai, ai_species[observation], flora.mistaken(plant, rng))
        return np.where(known, plant, guess).astype(np.int32)

    own = said(author, np.arange(len(author)))
    voter = actor[on_others]
    # Two observations are shown, some more often than others. Experts look for errors, amateurs for plants they know.
    shown = np.cumsum(rng.lognormal(0, 1, len(truth)))
    first, second = (np.searchsorted(shown, rng.random(len(voter)) * shown[-1]).clip(max=len(truth) - 1) for _ in range(2))
    takes = np.where(expert[voter], own[first] != truth[first], _knows(voter, truth[first], skill, flora, salt))
    target = np.where(takes, first, second)
    fresh = _once(target, voter, crowd.n_users)
    target, voter = target[fresh], voter[fresh]
    others = author[target] != voter
    target, voter = target[others], voter[others]
    votes = Votes(
        observation=np.concatenate([np.arange(len(author)), target]).astype(np.int32),
        user=np.concatenate([author, voter]),
        species=np.concatenate([own, said(voter, target)]),
        author=author,
        n_users=crowd.n_users,
        n_species=crowd.n_species,
        ai_species=ai_species,
        ai_score=expit(crowd.ai_overconfidence * logit(p)),
    )
    return SimulatedVotes(votes=votes, truth=truth, role=role, genus=flora.genus, lookalike=flora.lookalike)


# ---- attacks


def adversaries(crowd: SimulatedVotes, accounts: int, votes: int, seed: int) -> SimulatedVotes:
    """Accounts that give random observations always the same wrong species: the lookalike. `votes` each, on other people's observations."""
    observation, user = _strangers(crowd, accounts, votes, np.random.default_rng(seed))
    return _joined(crowd, Role.ADVERSARY, accounts, observation, user, crowd.lookalike[crowd.truth[observation]])


def spammers(crowd: SimulatedVotes, accounts: int, votes: int, seed: int, *, constant: bool = False) -> SimulatedVotes:
    """Accounts that vote any species at random, or (`constant`) each one species always."""
    rng = np.random.default_rng(seed)
    observation, user = _strangers(crowd, accounts, votes, rng)
    own = rng.integers(crowd.votes.n_species, size=accounts if constant else len(user))
    return _joined(crowd, Role.SPAMMER, accounts, observation, user, own[user] if constant else own)


def parrots(crowd: SimulatedVotes, label: Integers, accounts: int, votes: int, seed: int) -> SimulatedVotes:
    """Accounts that repeat `label` (observation,), such as what a strategy says of the crowd: they know nothing and look like those who do."""
    observation, user = _strangers(crowd, accounts, votes, np.random.default_rng(seed))
    said = label[observation] != NONE
    return _joined(crowd, Role.PARROT, accounts, observation[said], user[said], label[observation[said]])


def sybils(crowd: SimulatedVotes, label: Integers, targets: Integers, accounts: int, seed: int, *, parroted: int = 0) -> SimulatedVotes:
    """Accounts of one hand: all vote the lookalike of `label` on every observation of `targets`.

    Before, each repeats `label` on observations of `parroted` species (as many as there are), to earn weight; the targets are not among them.
    """
    rng = np.random.default_rng(seed)
    aim = np.unique(targets)
    if (label[aim] == NONE).any():
        raise InputError(f"{int((label[aim] == NONE).sum())} of {len(aim)} targets have no label; aim at observations that have one")
    observation, user = np.tile(aim, accounts), np.repeat(np.arange(accounts), len(aim))
    species = crowd.lookalike[label[observation]]
    if parroted:
        free = np.setdiff1d(np.flatnonzero(label != NONE), aim)
        order = rng.permutation(free)
        first = order[np.unique(label[order], return_index=True)[1]]
        easy = rng.permutation(first)[:parroted]
        observation = np.concatenate([observation, np.tile(easy, accounts)])
        user = np.concatenate([user, np.repeat(np.arange(accounts), len(easy))])
        species = np.concatenate([species, np.tile(label[easy], accounts)])
    return _joined(crowd, Role.SYBIL, accounts, observation, user, species)


def farm(
    crowd: SimulatedVotes, label: Integers, targets: Integers, accounts: int, species: int, seed: int, *, real: bool = False
) -> SimulatedVotes:
    """Sybils that validate each other first: each makes observations of the same `species` species, and all agree on all of them.

    `real`: they are photos of these species, which the model recognises; else photos of anything, on which it says something else.
    Then all vote against `label` on `targets`, as sybils do.
    """
    if not 1 <= species <= crowd.votes.n_species:
        raise InputError(f"a farm grows {species} species; the crowd has {crowd.votes.n_species}, wanted 1 to that")
    rng = np.random.default_rng(seed)
    grown = rng.choice(crowd.votes.n_species, size=species, replace=False).astype(np.int32)
    claimed = np.tile(grown, accounts)
    author = np.repeat(np.arange(accounts, dtype=np.int32), species)
    truth = claimed if real else crowd.lookalike[claimed]
    start = crowd.votes.n_observations
    attack = sybils(crowd, label, targets, accounts, seed)
    votes, shift = attack.votes, crowd.votes.n_users
    grown_observation = np.tile(np.arange(start, start + len(author)), accounts)
    return replace(
        attack,
        votes=replace(
            votes,
            observation=np.concatenate([votes.observation, grown_observation]).astype(np.int32),
            user=np.concatenate([votes.user, shift + np.repeat(np.arange(accounts), len(author))]).astype(np.int32),
            species=np.concatenate([votes.species, np.tile(claimed, accounts)]).astype(np.int32),
            author=np.concatenate([votes.author, shift + author]).astype(np.int32),
            ai_species=None if votes.ai_species is None else np.concatenate([votes.ai_species, truth]).astype(np.int32),
            ai_score=None if votes.ai_score is None else np.concatenate([votes.ai_score, np.full(len(author), 0.95)]),
        ),
        truth=np.concatenate([attack.truth, truth]).astype(np.int32),
    )


def _strangers(
    crowd: SimulatedVotes, accounts: int, votes: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Random observations for new accounts: observation and account, each pair once."""
    user = np.repeat(np.arange(accounts), votes)
    observation = rng.integers(crowd.votes.n_observations, size=len(user))
    keep = _once(observation, user, max(accounts, 1))
    return observation[keep], user[keep]


def _joined(
    crowd: SimulatedVotes,
    role: Role,
    accounts: int,
    observation: npt.NDArray[np.integer],
    user: npt.NDArray[np.integer],
    species: npt.NDArray[np.integer],
) -> SimulatedVotes:
    """The crowd with new accounts (`user` counts from 0 among them) behind its own."""
    votes, nobody = crowd.votes, np.full(accounts, np.nan)
    return replace(
        crowd,
        votes=replace(
            votes,
            observation=np.concatenate([votes.observation, observation]).astype(np.int32),
            user=np.concatenate([votes.user, votes.n_users + user]).astype(np.int32),
            species=np.concatenate([votes.species, species]).astype(np.int32),
            n_users=votes.n_users + accounts,
            fixed_weight=None if votes.fixed_weight is None else np.concatenate([votes.fixed_weight, nobody]),
            minimal_weight=None if votes.minimal_weight is None else np.concatenate([votes.minimal_weight, nobody]),
        ),
        role=np.concatenate([crowd.role, np.full(accounts, role)]).astype(np.int32),
    )


# ---- what honest people see, know and mistake


@dataclass(frozen=True, kw_only=True, eq=False)
class _Flora:
    """(species,) each."""

    frequency: Floats
    genus: Integers
    lookalike: Integers
    difficulty: Floats
    first: Integers
    """First species of the genus; species of a genus stand together."""
    size: Integers
    """Species of the genus."""

    @classmethod
    def draw(cls, crowd: Crowd, rng: np.random.Generator) -> _Flora:
        k = crowd.n_species
        rarity = -norm.ppf((rng.permutation(k) + 0.5) / k)
        frequency = np.exp(-_SPECIES_SIGMA * rarity)
        ends = np.cumsum(rng.geometric(1 / crowd.genus_size, size=k))
        genus = np.searchsorted(ends, np.arange(k), side="right").astype(np.int32)
        first = np.searchsorted(genus, genus, side="left").astype(np.int32)
        size = np.bincount(genus)[genus].astype(np.int32)
        # The next of the genus, round and round; a genus of one is taken for the next genus.
        lookalike = np.where(size > 1, first + (np.arange(k) - first + 1) % size, (np.arange(k) + 1) % k)
        difficulty = crowd.difficulty_spread * rng.standard_normal(k) + crowd.difficulty_of_rarity * rarity
        return cls(
            frequency=frequency / frequency.sum(),
            genus=genus,
            lookalike=lookalike.astype(np.int32),
            difficulty=difficulty,
            first=first,
            size=size,
        )

    def mistaken(self, truth: npt.NDArray[np.integer], rng: np.random.Generator) -> Integers:
        """A wrong species for each of `truth`."""
        way = rng.random(len(truth))
        of_genus = self.first[truth] + (rng.random(len(truth)) * self.size[truth]).astype(np.int32)
        frequent = rng.choice(len(self.frequency), size=len(truth), p=self.frequency)
        wrong = np.where(way < 0.6, self.lookalike[truth], np.where(way < 0.85, of_genus, frequent))
        return np.where(wrong == truth, self.lookalike[truth], wrong).astype(np.int32)


def _knows(
    user: npt.NDArray[np.integer], species: npt.NDArray[np.integer], skill: Floats, flora: _Flora, salt: int
) -> npt.NDArray[np.bool_]:
    """Whether each user knows each species: the same whenever it is asked."""
    with np.errstate(over="ignore"):
        x = user.astype(np.uint64) * np.uint64(len(flora.genus)) + species.astype(np.uint64) + np.uint64(salt)
        # splitmix64 (Steele, Lea, Flood 2014): neighbours in, unrelated numbers out.
        x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)) * 2.0**-53 < expit(skill[user] - flora.difficulty[species])


def _once(observation: npt.NDArray[np.integer], user: npt.NDArray[np.integer], n_users: int) -> npt.NDArray[np.int64]:
    """Positions of the first of each pair of observation and user, in their order."""
    return np.sort(np.unique(observation.astype(np.int64) * n_users + user, return_index=True)[1])
