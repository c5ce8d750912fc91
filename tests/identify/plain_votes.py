"""Every strategy once more, of plain dictionaries and sets, as slow and as near to the words of its definition as can be.

Votes are `{observation: {user: species}}`. Weights are whole numbers of 2^-30. A result is `Plain`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from geoplantnet.identify.votes import NONE, PlantNet, Votes

UNIT = 2**30
RESTLESS_RULE = PlantNet(gamma=0.1, theta_conf=0.0, theta_acc=0.6)
RESTLESS = {859: 2, 2262: 7, 4585: 3, 5054: 5, 7845: 2, 10299: 11, 21200: 9}
"""Seeds of `restless` whose votes run into a cycle under `RESTLESS_RULE`, and its length: about two of a thousand do."""


def restless(seed):
    """Votes of a few people who often disagree."""
    random = np.random.default_rng(seed)
    n, users, species = int(random.integers(12, 40)), int(random.integers(3, 10)), int(random.integers(2, 8))
    truth, chance, skill = random.integers(0, species, n), random.uniform(0.4, 0.9), random.uniform(0.2, 0.8)
    rows = [
        (i, u, int(truth[i] if random.random() < skill else random.integers(species)))
        for i in range(n)
        for u in range(users)
        if random.random() < chance
    ]
    observation, user, said = np.array(rows, np.int32).T.copy()
    author = random.integers(NONE, users, n).astype(np.int32)
    return Votes(observation=observation, user=user, species=said, author=author, n_users=users, n_species=species)


@dataclass
class Plain:
    """What came out: by observation, and by user."""

    label: dict
    valid: dict
    confidence: dict
    agreement: dict
    weight: dict | None = None
    iterations: int = 1
    converged: bool = True
    cycle: int = 0


def opinions(votes):
    """{observation: {user: species}}, with an entry for every observation."""
    table = {i: {} for i in range(votes.n_observations)}
    for i, u, s in zip(votes.observation.tolist(), votes.user.tolist(), votes.species.tolist()):
        table[i][u] = s
    return table


def given(array, user):
    """An administrator's weight in units; None where none is set."""
    return None if array is None or math.isnan(array[user]) else round(array[user] * UNIT)


def administered(votes, user, units):
    """A weight, after what an administrator set."""
    fixed, minimal = given(votes.fixed_weight, user), given(votes.minimal_weight, user)
    return fixed if fixed is not None else units if minimal is None else max(units, minimal)


def summed(ballot, weight):
    """{species: summed weight} of an observation."""
    heard = defaultdict(int)
    for user, species in ballot.items():
        heard[species] += weight[user]
    return dict(heard)


def winner(heard):
    """The first species of the highest sum; -1 of none."""
    return min((s for s in heard if heard[s] == max(heard.values())), default=-1)


def weighted(votes, weight):
    """Labels by given weights, all valid."""
    found = Plain({}, {}, {}, {}, {u: w / UNIT for u, w in weight.items()})
    for i, ballot in opinions(votes).items():
        heard = summed(ballot, weight)
        label, total = winner(heard), sum(heard.values())
        found.label[i], found.valid[i] = label, label != -1
        found.confidence[i] = heard.get(label, 0) / UNIT
        found.agreement[i] = heard.get(label, 0) / total if total else 0.0
    return found


def majority(votes):
    """The most votes."""
    found = weighted(votes, dict.fromkeys(range(votes.n_users), UNIT))
    found.weight = None
    return found


def weighted_majority(votes, weight=None):
    """By given weights."""
    plain = range(votes.n_users) if weight is None else weight
    return weighted(votes, {u: administered(votes, u, UNIT if weight is None else round(plain[u] * UNIT)) for u in range(votes.n_users)})


def wawa(votes):
    """By the share of a user's votes that are the majority's."""
    label, agrees, cast = majority(votes).label, Counter(), Counter()
    for i, ballot in opinions(votes).items():
        for user, species in ballot.items():
            cast[user] += 1
            agrees[user] += species == label[i]
    return weighted(votes, {u: administered(votes, u, round(agrees[u] / cast[u] * UNIT) if cast[u] else 0) for u in range(votes.n_users)})


def two_third(votes):
    """Valid from two votes on, two thirds of which agree."""
    found = majority(votes)
    for i, ballot in opinions(votes).items():
        agree = sum(s == found.label[i] for s in ballot.values())
        found.valid[i] = len(ballot) >= 2 and 3 * agree >= 2 * len(ballot)
    return found


def plantnet(votes, rule):
    """Algorithm 1 of Lefort et al. 2024, with updated labels, until the numbers of species repeat."""
    table, users = opinions(votes), range(votes.n_users)
    author = votes.author.tolist()
    states, numbers = [], [dict.fromkeys(users, 0)]
    back = None
    for _ in range(rule.max_iterations):
        states.append(_round(votes, rule, table, numbers[-1]))
        label, valid, *_ = states[-1]
        authored, voted = defaultdict(set), defaultdict(set)
        for i, ballot in table.items():
            for user, species in ballot.items():
                if species == label[i] and author[i] == user and valid[i]:
                    authored[user].add(species)
                if species == label[i] and author[i] != user:
                    voted[user].add(species)
        n = {u: len(authored[u]) + round(len(voted[u] - authored[u]) * rule.vote_share) for u in users}
        numbers.append(n)
        if n in numbers[:-1]:
            back = numbers.index(n)
            break
    tell = len(states) - 1 if back is None else back
    label, valid, confidence, agreement, weight = (dict(x) for x in states[tell])
    for other_label, other_valid, _, _, other_weight in states[tell:]:
        for i in table:
            valid[i] = valid[i] and other_valid[i] and other_label[i] == label[i]
        for u in users:
            weight[u] = min(weight[u], other_weight[u])
    length = len(states) - tell
    return Plain(
        *(label, valid, confidence, agreement, weight),
        iterations=len(states),
        converged=back is not None and length == 1,
        cycle=length if back is not None and length > 1 else 0,
    )


def _round(votes, rule, table, n):
    """(label, valid, confidence, agreement, weight) where users know `n` species."""
    units = {u: administered(votes, u, round((float(k) ** rule.alpha - float(k) ** rule.beta + rule.gamma) * UNIT)) for u, k in n.items()}
    ai_units = round(rule.ai_weight * UNIT)
    label, valid, confidence, agreement = {}, {}, {}, {}

    def passes(conf, total):
        return conf / UNIT > rule.theta_conf and conf / total > rule.theta_acc

    for i, ballot in table.items():
        if rule.established:
            few = summed({u: s for u, s in ballot.items() if n[u] >= rule.established}, units)
            if few and passes(few[winner(few)], sum(few.values()) or 1):
                ballot = {u: s for u, s in ballot.items() if n[u] >= rule.established}
        heard = summed(ballot, units)
        ai = -1 if votes.ai_species is None else int(votes.ai_species[i])
        if ai != -1 and (rule.ai == "fixed" or (rule.ai == "confident" and votes.ai_score[i] >= rule.theta_score)):
            heard[ai] = heard.get(ai, 0) + ai_units
        label[i] = winner(heard)
        conf, total = heard.get(label[i], 0), sum(heard.values())
        if rule.ai == "invalidating" and ai != -1 and label[i] != -1 and ai != label[i]:
            total += ai_units
        confidence[i], agreement[i] = conf / UNIT, conf / total if total else 0.0
        valid[i] = label[i] != -1 and total > 0 and passes(conf, total)
    return label, valid, confidence, agreement, {u: w / UNIT for u, w in units.items()}


def _probable(votes, probability, *, iterations, converged):
    """The first of the most probable candidates."""
    found = Plain({}, {}, {}, {}, None, iterations, converged)
    for i, ballot in opinions(votes).items():
        candidates = probability.get(i, {})
        highest = max(candidates.values(), default=0.0)
        label = min((k for k, p in candidates.items() if p >= highest - 1e-9), default=-1)
        found.label[i], found.valid[i], found.confidence[i] = label, label != -1, candidates.get(label, 0.0)
        found.agreement[i] = sum(s == label for s in ballot.values()) / len(ballot) if ballot else 0.0
    return found


def _iterated(votes, rule, start, step):
    """Probabilities until none changes by more than the tolerance."""
    probability, iterations, converged = start, 0, False
    while iterations < rule.max_iterations and not converged:
        iterations += 1
        before, probability = probability, step(probability)
        changes = [abs(probability[i][k] - before.get(i, {}).get(k, 0.0)) for i in probability for k in probability[i]]
        converged = max(changes, default=0.0) <= rule.tolerance
    return _probable(votes, probability, iterations=iterations, converged=converged)


def dawid_skene(votes, rule):
    """Expectation maximisation, the formulas of `DawidSkene` one by one."""
    table = {i: ballot for i, ballot in opinions(votes).items() if ballot}
    K = votes.n_species
    cast = Counter(u for ballot in table.values() for u in ballot)

    def step(T):
        hits, wrong, mistaken, cell, row, prior = (defaultdict(float) for _ in range(6))
        for i, ballot in table.items():
            for k, t in T[i].items():
                prior[k] += t
                for u, said in ballot.items():
                    cell[u, k, said] += t
                    row[u, k] += t
                    if said == k:
                        hits[u] += t
                    else:
                        wrong[k, said] += t
                        mistaken[k] += t
        crowd = (sum(hits.values()) + 1) / (sum(cast.values()) + 2)

        def chance(u, k, said):
            skill = (hits[u] + rule.shrinkage * crowd) / (cast[u] + rule.shrinkage)
            anybody = (wrong[k, said] + rule.background / max(K - 1, 1)) / (mistaken[k] + rule.background)
            whole = skill if k == said else (1 - skill) * anybody
            return (cell[u, k, said] + rule.shrinkage * whole) / (row[u, k] + rule.shrinkage)

        new = {}
        for i, ballot in table.items():
            logs = {
                k: math.log((prior[k] + 1 / K) / (len(table) + 1)) + sum(math.log(chance(u, k, said)) for u, said in ballot.items())
                for k in T[i]
            }
            highest = max(logs.values())
            total = sum(math.exp(x - highest) for x in logs.values())
            new[i] = {k: math.exp(x - highest) / total for k, x in logs.items()}
        return new

    start = {i: {k: c / len(ballot) for k, c in Counter(ballot.values()).items()} for i, ballot in table.items()}
    return _iterated(votes, rule, start, step)


def glad(votes, rule):
    """A generalised EM over all species, listed."""
    table = {i: ballot for i, ballot in opinions(votes).items() if ballot}
    K = max(votes.n_species, 2)
    ability, easiness = dict.fromkeys(range(votes.n_users), 1.0), dict.fromkeys(table, 1.0)

    def sigma(x):
        return 1 / (1 + math.exp(-x))

    def clip(x):
        return max(-1.0, min(1.0, x))

    def maximise(T):
        for u in ability:
            own = [(i, T[i][ballot[u]]) for i, ballot in table.items() if u in ballot]
            slope = sum((t - sigma(ability[u] * math.exp(easiness[i]))) * math.exp(easiness[i]) for i, t in own) - (ability[u] - 1)
            bend = 1 + sum(
                sigma(ability[u] * math.exp(easiness[i])) * (1 - sigma(ability[u] * math.exp(easiness[i]))) * math.exp(easiness[i]) ** 2
                for i, _ in own
            )
            ability[u] += clip(slope / bend)
        for i, ballot in table.items():
            beta = math.exp(easiness[i])
            slope = sum((T[i][s] - sigma(ability[u] * beta)) * ability[u] * beta for u, s in ballot.items()) - (easiness[i] - 1)
            bend = 1 + sum(sigma(ability[u] * beta) * (1 - sigma(ability[u] * beta)) * (ability[u] * beta) ** 2 for u in ballot)
            easiness[i] += clip(slope / bend)

    def step(T):
        if T:
            maximise(T)
        new = {}
        for i, ballot in table.items():
            beta, logs = math.exp(easiness[i]), {}
            for k in range(K):
                logs[k] = sum(
                    math.log(sigma(ability[u] * beta)) if s == k else math.log(sigma(-ability[u] * beta) / (K - 1))
                    for u, s in ballot.items()
                )
            highest = max(logs.values())
            total = sum(math.exp(x - highest) for x in logs.values())
            new[i] = {k: math.exp(logs[k] - highest) / total for k in set(ballot.values())}
        return new

    return _iterated(votes, rule, {}, step)
