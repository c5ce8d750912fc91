"""Labels kept up to date: a changed vote goes through the recorded rounds of `PlantNet`, and ends where a full run would, bit for bit.

Several fixed points may exist, and which is reached depends on the start. So what every round said is kept, and a change is sent through
round after round: observations whose votes or voters' weights changed, users whose numbers of species changed, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError
from geoplantnet.identify.votes.ballots import Ballots, Side, Starts, among, distinct, side
from geoplantnet.identify.votes.plantnet import Counts, Crowd, Flags, PlantNet, Trajectory, stepped
from geoplantnet.identify.votes.table import NONE, Aggregation, Floats, Integers, Votes

Positions = npt.NDArray[np.int64]
_LOOSE = 20_000
"""Observations or users whose votes changed, after which all votes are sorted anew."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happened since the last change. New observations and users follow those there are, in their order."""

    votes: Sequence[tuple[int, int, int]] = ()
    """(observation, user, species): the user's vote there from now on; species NONE withdraws it."""
    authors: Sequence[int] = ()
    """Of new observations; NONE = unknown."""
    users: int = 0
    """New users."""
    species: int = 0
    """New species."""
    ai: Sequence[tuple[int, int, float]] = ()
    """(observation, species, score): the model's vote from now on; species NONE = none."""
    weights: Sequence[tuple[int, float, float]] = ()
    """(user, fixed, minimal): set by an administrator; NaN = not set."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Changed:
    """Whose state is another than before."""

    observations: Positions
    """Label, validity, confidence or agreement; new ones among them."""
    users: Positions
    """Weight; new ones among them."""


@dataclass(eq=False)
class _Kept:
    """Votes by key: sorted ones, and those of keys that changed since."""

    base: Side
    loose: dict[int, tuple[Integers, Integers]] = field(default_factory=dict)
    apart: Flags = field(init=False)
    """(key,) whether its votes are in `loose`."""

    def __post_init__(self) -> None:
        self.apart = np.zeros(len(self.base.start) - 1, np.bool_)

    def grow(self, more: int) -> None:
        """Keys without votes, after those there are."""
        for key in range(len(self.apart), len(self.apart) + more):
            self.loose[key] = np.empty(0, np.int32), np.empty(0, np.int32)
        self.apart = _longer(self.apart, more, True)

    def of(self, key: int) -> tuple[Integers, Integers]:
        if key in self.loose:
            return self.loose[key]
        first, last = self.base.start[key], self.base.start[key + 1]
        return self.base.species[first:last], self.base.other[first:last]

    def put(self, key: int, other: int, species: int) -> None:
        """Replace the vote of `key` and `other`, in the order of species and other."""
        known, others = self.of(key)
        stays = others != other
        known, others = known[stays], others[stays]
        if species != NONE:
            at = int(np.searchsorted(known, species))
            at += int(np.searchsorted(others[at : at + int(np.count_nonzero(known == species))], other))
            known, others = np.insert(known, at, species), np.insert(others, at, other)
        self.loose[key], self.apart[key] = (known, others), True

    def rows(self, keys: Positions) -> tuple[Positions, Starts, Integers, Integers]:
        """Keys in another order, where the votes of each begin, species, others."""
        if not self.loose:
            start, at = self.base.rows(keys)
            return keys, start, self.base.species[at], self.base.other[at]
        apart = self.apart[keys]
        start, at = self.base.rows(keys[~apart])
        parts = [self.loose[int(key)] for key in keys[apart]]
        counts = np.array([len(known) for known, _ in parts], np.int64)
        return (
            np.concatenate([keys[~apart], keys[apart]]),
            np.concatenate([start, start[-1] + np.cumsum(counts)]),
            np.concatenate([self.base.species[at], *(known for known, _ in parts)]),
            np.concatenate([self.base.other[at], *(others for _, others in parts)]),
        )

    def flat(self, n: int) -> tuple[Integers, Integers, Integers]:
        """Key, species and other of all votes of `n` keys."""
        keys, start, species, other = self.rows(np.arange(n, dtype=np.int64))
        return np.repeat(keys, np.diff(start)).astype(np.int32), species, other


@dataclass(eq=False)
class _State:
    """What was told last, to tell what is other now."""

    label: Integers
    valid: Flags
    confidence: Floats
    agreement: Floats
    weight: Floats

    def put(self, observations: Positions, now: tuple[npt.NDArray, ...], users: Positions, weight: Floats) -> Changed:
        """Replace the state of some observations and users; which of them had another, or none."""
        differs = np.zeros(len(observations), np.bool_)
        own: tuple[npt.NDArray, ...] = (self.label, self.valid, self.confidence, self.agreement)
        for kept, values in zip(own, now, strict=True):
            differs |= kept[observations] != values  # NaN, of what was never told, differs from all
            kept[observations] = values
        moved = users[self.weight[users] != weight]
        self.weight[users] = weight
        return Changed(observations=observations[differs], users=moved)

    def grow(self, observations: int, users: int) -> None:
        self.label, self.valid = _longer(self.label, observations, NONE), _longer(self.valid, observations, False)
        self.confidence, self.agreement = (_longer(x, observations, np.nan) for x in (self.confidence, self.agreement))
        self.weight = _longer(self.weight, users, np.nan)


class Incremental:
    """Votes and what `PlantNet` makes of them, kept together while votes come in. For one thread."""

    def __init__(self, votes: Votes, strategy: PlantNet) -> None:
        """Runs `strategy` once over all `votes`."""
        self.strategy = strategy
        self.n_species = votes.n_species
        self._ai_species = np.full(votes.n_observations, NONE, np.int32) if votes.ai_species is None else votes.ai_species.astype(np.int32)
        self._ai_score = np.zeros(votes.n_observations) if votes.ai_score is None else votes.ai_score.astype(float)
        self._crowd = Crowd.of(votes, strategy)
        self._by_observation = _Kept(side(votes.observation, votes.species, votes.user, votes.n_observations))
        self._by_user = _Kept(side(votes.user, votes.species, votes.observation, votes.n_users))
        self._found = strategy.trajectory(Ballots(by_observation=self._by_observation.base, by_user=self._by_user.base), self._crowd)
        self._keys = [_key(n) for n in self._found.n]
        self._told: Aggregation | None = None
        self._confidence, self._agreement = np.zeros(votes.n_observations), np.zeros(votes.n_observations)
        self._tell(np.arange(votes.n_observations, dtype=np.int64))
        whole = strategy.summary(self._found, self._crowd, self._confidence, self._agreement)
        self._state = _State(whole.label, whole.valid, self._confidence.copy(), self._agreement.copy(), _known(whole.weight))

    @property
    def aggregation(self) -> Aggregation:
        """As `PlantNet.aggregate` gives it for `votes()`."""
        if self._told is None:
            self._told = self.strategy.summary(self._found, self._crowd, self._confidence.copy(), self._agreement.copy())
        return self._told

    def votes(self) -> Votes:
        """All votes as they stand."""
        observation, species, user = self._by_observation.flat(len(self._crowd.author))
        return Votes(
            observation=observation,
            user=user,
            species=species,
            author=self._crowd.author.copy(),
            n_users=len(self._crowd.fixed),
            n_species=self.n_species,
            ai_species=self._ai_species.copy(),
            ai_score=self._ai_score.copy(),
            fixed_weight=self._crowd.fixed.copy(),
            minimal_weight=self._crowd.minimal.copy(),
        )

    def change(self, change: Change) -> Changed:
        """Take in what happened. Raises InputError, and changes nothing, for a position that there is not."""
        self._check(change)
        cycled = self._found.cycle
        told_before = self._found.n[self._found.told].copy()
        touched, voters, reweighed = self._take(change)
        self._propagate(touched, voters, reweighed)
        told, self._told = self._found.n[self._found.told], None
        known = len(told_before)
        moved = _union(np.flatnonzero(told[:known] != told_before), np.arange(known, len(told)))
        people = _union(moved, reweighed)
        stirred = _union(touched, self._observations_of(people))
        self._tell(stirred)
        changed = self._changes(stirred, people) if not cycled and not self._found.cycle else self._all_changes()
        if max(len(self._by_observation.loose), len(self._by_user.loose)) > _LOOSE:
            self._sort()
        return changed

    def _changes(self, stirred: Positions, people: Positions) -> Changed:
        """Bring the state of some observations and users up to date; which of them are other than before."""
        found, crowd = self._found, self._crowd
        weight = self.strategy.weights(found.n[found.told][people], crowd.fixed[people], crowd.minimal[people])
        label, valid = found.label[found.told][stirred], found.valid[found.told][stirred]
        return self._state.put(stirred, (label, valid, self._confidence[stirred], self._agreement[stirred]), people, weight)

    def _all_changes(self) -> Changed:
        """The same of all: in a cycle anything may be other than before."""
        now = self.aggregation
        return self._state.put(
            np.arange(len(now.label)),
            (now.label, now.valid, now.confidence, now.agreement),
            np.arange(len(self._crowd.fixed)),
            _known(now.weight),
        )

    def _check(self, change: Change) -> None:
        observations, users = len(self._crowd.author) + len(change.authors), len(self._crowd.fixed) + change.users
        species = self.n_species + change.species
        for what, positions, low, limit in (
            ("observation", [v[0] for v in change.votes] + [a[0] for a in change.ai], 0, observations),
            ("user", [v[1] for v in change.votes] + [w[0] for w in change.weights], 0, users),
            ("species", [v[2] for v in change.votes] + [a[1] for a in change.ai], NONE, species),
            ("author", change.authors, NONE, users),
        ):
            for position in positions:
                if not low <= position < limit:
                    raise InputError(f"{what} {position} is outside {low} to {limit - 1}; name new ones in the same change")
        stepped([weight for w in change.weights for weight in w[1:]], 2 * len(change.weights))

    def _take(self, change: Change) -> tuple[Positions, Positions, Positions]:
        """Keep what is new: observations and users it touches, and users with another weight by an administrator."""
        crowd, old_observations = self._crowd, len(self._crowd.author)
        self.n_species += change.species
        self._by_observation.grow(len(change.authors))
        self._by_user.grow(change.users)
        if change.authors or change.users:
            self._grow(change.authors, change.users)
            crowd = self._crowd
        fixed, minimal, voice = crowd.fixed, crowd.minimal, crowd.voice
        for observation, user, species in change.votes:
            self._by_observation.put(observation, user, species)
            self._by_user.put(user, observation, species)
        for observation, species, score in change.ai:
            self._ai_species[observation], self._ai_score[observation] = species, score
        spoken = np.array([a[0] for a in change.ai], np.int64)
        voice[spoken] = self.strategy.voice(self._ai_species[spoken], self._ai_score[spoken])
        for user, given, least in change.weights:
            fixed[user], minimal[user] = stepped([given], 1)[0], stepped([least], 1)[0]
        return (
            _unique([v[0] for v in change.votes] + list(spoken) + list(range(old_observations, len(crowd.author)))),
            _unique([v[1] for v in change.votes]),
            _unique([w[0] for w in change.weights]),
        )

    def _grow(self, authors: Sequence[int], users: int) -> None:
        """Room for new observations and users: without votes, knowing no species, in every round."""
        crowd, new = self._crowd, len(authors)
        self._crowd = Crowd(
            author=np.concatenate([crowd.author, np.asarray(authors, np.int32)]),
            voice=_longer(crowd.voice, new, NONE),
            fixed=_longer(crowd.fixed, users, np.nan),
            minimal=_longer(crowd.minimal, users, np.nan),
        )
        self._ai_species, self._ai_score = _longer(self._ai_species, new, NONE), _longer(self._ai_score, new, 0.0)
        self._confidence, self._agreement = _longer(self._confidence, new, 0.0), _longer(self._agreement, new, 0.0)
        self._found.label[:] = [_longer(label, new, NONE) for label in self._found.label]
        self._found.valid[:] = [_longer(valid, new, False) for valid in self._found.valid]
        self._found.n[:] = [_longer(n, users, 0) for n in self._found.n]
        self._state.grow(new, users)

    def _propagate(self, touched: Positions, voters: Positions, reweighed: Positions) -> None:
        """Send a change through the rounds, until one repeats."""
        n, label, valid = self._found.n, self._found.label, self._found.valid
        moved, back_to, t = np.empty(0, np.int64), None, 0
        while t < self.strategy.max_iterations:
            if t == len(label):  # beyond the rounds there were: from the one before
                label.append(label[t - 1].copy())
                valid.append(valid[t - 1].copy())
                stirred = self._observations_of(np.flatnonzero(n[t] != n[t - 1]))
            else:
                stirred = _union(touched, self._observations_of(_union(moved, reweighed)))
            differ = self._judge(t, stirred)
            if t + 1 == len(n):
                n.append(n[t].copy())
                self._keys.append(self._keys[t])
                people = self._voters_of(differ)
            else:
                people = _union(voters, self._voters_of(differ))
            moved = self._count(t, people)
            t += 1
            if (same := self._there_before(t)) is not None:
                back_to = same
                break
        del label[t:], valid[t:], n[t + 1 :], self._keys[t + 1 :]
        self._found = Trajectory(n=n, label=label, valid=valid, back_to=back_to)

    def _there_before(self, t: int) -> int | None:
        """The first round that started from the numbers that stand before round `t`."""
        for s in range(t):
            if self._keys[s] == self._keys[t] and np.array_equal(self._found.n[s], self._found.n[t]):
                return s
        return None

    def _judge(self, t: int, observations: Positions) -> Positions:
        """Judge some observations anew in round `t`; those that came out otherwise."""
        keys, label, _, _, valid = self._judged(t, observations)
        differs = (self._found.label[t][keys] != label) | (self._found.valid[t][keys] != valid)
        self._found.label[t][keys], self._found.valid[t][keys] = label, valid
        return keys[differs]

    def _judged(self, t: int, observations: Positions) -> tuple[Positions, Integers, Floats, Floats, Flags]:
        keys, start, species, user = self._by_observation.rows(observations)
        return keys, *self.strategy.judge(start, species, user, self._found.n[t], self._crowd, self._crowd.voice[keys])

    def _count(self, t: int, users: Positions) -> Positions:
        """Count the species of some users after round `t`; those whose number is another."""
        who, start, species, observation = self._by_user.rows(users)
        crowd, found = self._crowd, self._found
        count = self.strategy.count(start, who.astype(np.int32), species, observation, crowd.author, found.label[t], found.valid[t])
        before = found.n[t + 1][who]
        differs = count != before
        moved = who[differs]
        self._keys[t + 1] = (self._keys[t + 1] + _mixed(moved, count[differs]) - _mixed(moved, before[differs])) % _MODULUS
        found.n[t + 1][moved] = count[differs]
        return np.sort(moved)

    def _tell(self, observations: Positions) -> None:
        """Confidence and agreement of some observations in the round that is told."""
        keys, _, confidence, agreement, _ = self._judged(self._found.told, observations)
        self._confidence[keys], self._agreement[keys] = confidence, agreement

    def _observations_of(self, users: Positions) -> Positions:
        return among(self._by_user.rows(users)[3], len(self._crowd.author)) if len(users) else np.empty(0, np.int64)

    def _voters_of(self, observations: Positions) -> Positions:
        return among(self._by_observation.rows(observations)[3], len(self._crowd.fixed)) if len(observations) else np.empty(0, np.int64)

    def _sort(self) -> None:
        n, users = len(self._crowd.author), len(self._crowd.fixed)
        observation, species, user = self._by_observation.flat(n)
        self._by_observation, self._by_user = _Kept(side(observation, species, user, n)), _Kept(side(user, species, observation, users))


_MODULUS = 1 << 64


def _mixed(users: Positions, counts: Counts) -> int:
    """Sum of well-mixed numbers of (user, count) pairs, 64 bits; a count of 0 adds nothing, so that new users change no sum."""
    with np.errstate(over="ignore"):
        x = users.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + counts.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)
        x ^= x >> np.uint64(30)
        x *= np.uint64(0xBF58476D1CE4E5B9)
        x ^= x >> np.uint64(27)
        x *= np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
        return int(x[counts != 0].sum(dtype=np.uint64))


def _key(n: Counts) -> int:
    return _mixed(np.arange(len(n)), n)


def _unique(positions: Iterable[int]) -> Positions:
    return distinct(np.fromiter(positions, np.int64))


def _union(a: Positions, b: Positions) -> Positions:
    if not len(a) or not len(b):
        return a if len(a) else b
    return distinct(np.concatenate([a, b]))


def _longer(values: npt.NDArray, more: int, value: object) -> npt.NDArray:
    return np.concatenate([values, np.full(more, value, values.dtype)]) if more else values


def _known(weight: Floats | None) -> Floats:
    assert weight is not None  # PlantNet tells weights
    return weight.copy()
