"""How good labels are, and what attackers can do to them: every strategy on simulated crowds whose truth is known.

    python -m benchmarks.votes_robust [--quick] --json FILE

Real crowd: 20,000 users (100 of them experts), 4,000 species (--quick: 3,000 and 800). Uniform crowd: nobody knows more than another.
Intervals are 95 % of 200 resamples of the observations; differences are paired. What each attack is:
`geoplantnet.identify.votes.generator`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from benchmarks.rows import Row, main
from geoplantnet.identify.votes import STRATEGIES, Aggregation, PlantNet, Strategy, Votes
from geoplantnet.identify.votes.anchored import Anchored, anchors
from geoplantnet.identify.votes.generator import (
    REAL,
    UNIFORM,
    SimulatedVotes,
    adversaries,
    farm,
    parrots,
    simulate_votes,
    spammers,
    sybils,
)
from geoplantnet.identify.votes.scores import SUBSETS, Figure, differences, scores
from geoplantnet.identify.votes.table import Integers

SHARES = (0.01, 0.1, 0.3)
"""New accounts, as a share of the users; each votes as often as the mean user."""
VOTES = 11
TARGETS = {"10 trusted labels": 10, "300 trusted labels": 300}
ESTABLISHED = 8
"""Least n whose weight exceeds theta_conf = 2."""
Attack = Callable[[SimulatedVotes, Aggregation, Integers], SimulatedVotes]
ATTACKS: dict[str, Attack] = {
    "1 new account": lambda crowd, found, aim: sybils(crowd, found.label, aim, 1, 1),
    "3 new accounts": lambda crowd, found, aim: sybils(crowd, found.label, aim, 3, 1),
    "4 new accounts": lambda crowd, found, aim: sybils(crowd, found.label, aim, 4, 1),
    "10 new accounts": lambda crowd, found, aim: sybils(crowd, found.label, aim, 10, 1),
    "100 new accounts": lambda crowd, found, aim: sybils(crowd, found.label, aim, 100, 1),
    "1 account that repeated 200 labels": lambda crowd, found, aim: sybils(crowd, found.label, aim, 1, 1, parroted=200),
    "3 accounts that validated 90 inventions": lambda crowd, found, aim: farm(crowd, found.label, aim, 3, 30, 1),
    "3 accounts that validated 90 true photos": lambda crowd, found, aim: farm(crowd, found.label, aim, 3, 30, 1, real=True),
}
"""On the labels at `aim`; all want the lookalike there."""


@dataclass(frozen=True, kw_only=True)
class Defence:
    """A strategy, and whether the crowd's established users are its anchors."""

    strategy: Strategy
    anchored: bool = False


DEFENCES = {
    "as published": Defence(strategy=PlantNet()),
    f"established = {ESTABLISHED}": Defence(strategy=PlantNet(established=ESTABLISHED)),
    "AI invalidates": Defence(strategy=PlantNet(ai="invalidating")),
    "minimal weights": Defence(strategy=PlantNet(), anchored=True),
    "anchored": Defence(strategy=Anchored(strategy=PlantNet()), anchored=True),
    "anchored, AI invalidates": Defence(strategy=Anchored(strategy=PlantNet(ai="invalidating")), anchored=True),
}


@cache
def real(quick: bool) -> SimulatedVotes:
    """The crowd with experts."""
    return simulate_votes(REAL if quick else replace(REAL, n_users=20_000, n_species=4_000), 1)


@cache
def uniform(quick: bool) -> SimulatedVotes:
    """The crowd without."""
    return simulate_votes(UNIFORM if quick else replace(UNIFORM, n_users=20_000, n_species=4_000), 1)


def labels(crowd: SimulatedVotes, title: str) -> list[Row]:
    """Every strategy on one crowd."""
    out, on = [], {name: of(crowd.votes) for name, of in SUBSETS.items()}
    for name, strategy in STRATEGIES.items():
        found = strategy().aggregate(crowd.votes)
        of = {subset: scores(found, crowd.truth, mask) for subset, mask in on.items()}
        whole = of["all"]
        out.append(
            Row(
                name=f"{title}, accuracy where people disagree: {name}",
                value=of["disagreement"].accuracy.value,
                unit=_interval(of["disagreement"].accuracy),
                reference=f"two votes {of['two votes'].accuracy}, all {whole.accuracy}; kept {whole.kept}, true of these {whole.accuracy_kept}, "
                f"kept under a wrong name {whole.poisoned}; macro precision {whole.precision}, recall {whole.recall}; "
                f"species kept {whole.species_kept}; {found.iterations} iterations{'' if found.converged else ', not converged'}",
            )
        )
    return out


def regimes(quick: bool) -> list[Row]:
    """Pl@ntNet's weights against the plain majority: where experts are, and where nobody is one."""
    out = []
    for title, crowd, wins in (("real crowd", real(quick), True), ("uniform crowd", uniform(quick), False)):
        ours, majority = PlantNet().aggregate(crowd.votes), STRATEGIES["majority"]().aggregate(crowd.votes)
        found = differences(ours, majority, crowd.truth, SUBSETS["disagreement"](crowd.votes))["accuracy"]
        out.append(
            Row(
                name=f"plantnet minus majority, accuracy where people disagree: {title}",
                value=found.value,
                unit=_interval(found),
                reference="paired",
                target="> 0" if wins else "< 0: the majority wins",
                ok=found.low > 0 if wins else found.high < 0,
            )
        )
    return out


def models(quick: bool) -> list[Row]:
    """Ways to count the model's determination, with a model that knows how sure it may be, and one that does not."""
    out = []
    for title, overconfidence in (("calibrated", 1.0), ("overconfident", 3.0)):
        crowd = real(quick)
        score = np.asarray(crowd.votes.ai_score)
        odds = (score / (1 - score)) ** overconfidence
        votes = replace(crowd.votes, ai_score=odds / (1 + odds))
        for ai in ("ignored", "fixed", "confident", "invalidating"):
            found = scores(PlantNet(ai=ai).aggregate(votes), crowd.truth)
            out.append(
                Row(
                    name=f"kept under a wrong name, {title} model: {ai}",
                    value=found.poisoned.value,
                    unit=_interval(found.poisoned),
                    reference=f"kept {found.kept}, accuracy of all {found.accuracy}",
                )
            )
    return out


def growing(crowd: SimulatedVotes) -> dict[str, Callable[[int], SimulatedVotes]]:
    """Attacks on everything, by the number of accounts."""
    majority = STRATEGIES["majority"]().aggregate(crowd.votes).label
    return {
        "adversaries (the lookalike)": lambda n: adversaries(crowd, n, VOTES, 1),
        "spammers (any species)": lambda n: spammers(crowd, n, VOTES, 1),
        "spammers (one species)": lambda n: spammers(crowd, n, VOTES, 1, constant=True),
        "parrots (the majority's label, 300 votes each)": lambda n: parrots(crowd, majority, n, 300, 1),
    }


def degradation(crowd: SimulatedVotes, title: str) -> list[Row]:
    """Accuracy, and what is kept under a wrong name, as attackers grow in number; on the honest people's observations."""
    out = []
    for attack, by in growing(crowd).items():
        crowds = {share: by(int(share * crowd.votes.n_users)) if share else crowd for share in (0.0, *SHARES)}
        for name, strategy in STRATEGIES.items():
            found = {share: scores(strategy().aggregate(one.votes), one.truth, resamples=1) for share, one in crowds.items()}
            worst = found[SHARES[-1]]
            told = ", ".join(f"{share:.0%} {one.accuracy.value:.3f} / {one.poisoned.value:.3f}" for share, one in found.items())
            out.append(Row(name=f"{title}, {attack}: {name}", value=worst.accuracy.value, unit="accuracy at 30 %", reference=told))
    return out


@dataclass(frozen=True, kw_only=True)
class Armed:
    """A crowd under a defence, before it is attacked."""

    crowd: SimulatedVotes
    strategy: Strategy
    found: Aggregation


def armed(crowd: SimulatedVotes) -> dict[str, Armed]:
    """Every defence; the anchors are the users whose weight validates alone as published, with that weight."""
    floors = anchors(PlantNet().aggregate(crowd.votes), float(PlantNet().weight_of(ESTABLISHED)))
    out = {}
    for name, defence in DEFENCES.items():
        own = replace(crowd, votes=replace(crowd.votes, minimal_weight=floors)) if defence.anchored else crowd
        out[name] = Armed(crowd=own, strategy=defence.strategy, found=defence.strategy.aggregate(own.votes))
    return out


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Of the labels that were aimed at, all of them trusted before; shares."""

    flipped: float
    taken: float
    """Trusted, under the attackers' name."""
    unsure: float
    """Of their old name, and no longer trusted."""
    beside: int
    """Number of trusted labels not aimed at that are flipped or no longer trusted."""
    vouched_flipped: int
    """Number of flipped ones that stood on anchors alone."""


def damage(before: Armed, made: Attack, aim: Integers) -> Damage:
    """What an attack does to a defence."""
    n, label = before.crowd.votes.n_observations, before.found.label
    after = before.strategy.aggregate(made(before.crowd, before.found, aim).votes)
    flipped, unsure = after.label[:n] != label, before.found.valid & ~after.valid[:n]
    others = np.setdiff1d(np.flatnonzero(before.found.valid), aim)
    vouched = Anchored(strategy=PlantNet()).vouched(before.crowd.votes)
    return Damage(
        flipped=float(flipped[aim].mean()),
        taken=float((flipped & after.valid[:n])[aim].mean()),
        unsure=float((unsure & ~flipped)[aim].mean()),
        beside=int((flipped | unsure)[others].sum()),
        vouched_flipped=int((flipped & vouched)[aim].sum()),
    )


def targets(before: dict[str, Armed]) -> Integers:
    """Labels that every defence trusts, in random order."""
    trusted = np.logical_and.reduce([one.found.valid for one in before.values()])
    return np.random.default_rng(0).permutation(np.flatnonzero(trusted)).astype(np.int32)


def targeted(crowd: SimulatedVotes) -> list[Row]:
    """What each defence costs without an attack, and what it loses under each of them."""
    out, before = [], armed(crowd)
    for name, one in before.items():
        whole = scores(one.found, crowd.truth, resamples=1)
        wrong = one.found.valid & (one.found.label != crowd.truth)
        told = one.strategy.aggregate(parrots(one.crowd, crowd.truth, 30, 300, 1).votes)
        mended = (wrong & ~(told.valid & (told.label != crowd.truth))).sum() / wrong.sum()
        out.append(
            Row(
                name=f"what a defence costs, share kept without an attack: {name}",
                value=whole.kept.value,
                unit="",
                reference=f"under a wrong name {whole.poisoned.value:.4f}, of which {mended:.1%} are mended by 9,000 votes of 30 new accounts that are "
                f"always right. {' '.join(one.found.notes)}".strip(),
            )
        )
    order = targets(before)
    for title, count in TARGETS.items():
        for attack, made in ATTACKS.items():
            done = {name: damage(one, made, order[:count]) for name, one in before.items()}
            told = "; ".join(f"{name} {d.flipped:.3f} / {d.taken:.3f} / {d.unsure:.3f} / {d.beside}" for name, d in done.items())
            out.append(
                Row(
                    name=f"{title} attacked, those flipped under Anchored (beside: flipped / taken / unsure / others harmed): {attack}",
                    value=done["anchored"].flipped,
                    unit="",
                    reference=told,
                    target="0 that stand on anchors",
                    ok=done["anchored"].vouched_flipped == 0,
                )
            )
    return out


def newcomer(quick: bool) -> list[Row]:
    """One vote of one new account, the weights of all found anew: random small crowds, and a real one."""
    out, small = [], 300 if quick else 10_000
    for name, strategy in (("as published", PlantNet()), (f"established = {ESTABLISHED}", PlantNet(established=ESTABLISHED))):
        rng, tried, flipped, lost, elsewhere = np.random.default_rng(0), 0, 0, 0, 0
        for _ in range(small):
            votes = _small_crowd(rng)
            before = strategy.aggregate(votes)
            for at in rng.permutation(np.flatnonzero(before.valid))[:3]:
                after = strategy.aggregate(_one_more(votes, int(at), (int(before.label[at]) + 1) % votes.n_species))
                moved, unsure = before.valid & (after.label != before.label), before.valid & ~after.valid
                tried, flipped, lost = tried + 1, flipped + int(moved[at]), lost + int(unsure[at])
                elsewhere += int(moved.sum() - moved[at])
        out.append(
            Row(
                name=f"one vote of a new account on a trusted label, {small} random small crowds, labels flipped there: {name}",
                value=flipped,
                unit=f"of {tried}",
                reference=f"no longer trusted there {lost}; other trusted labels flipped through the weights {elsewhere}",
                target="0" if name == "as published" else "",
                ok=flipped == 0,
            )
        )
    return out


def _small_crowd(rng: np.random.Generator) -> Votes:
    """Two to five people who know some of 9 to 13 species, on 10 to 39 observations; user 5 has no vote yet."""
    users, observations, species = (int(rng.integers(*span)) for span in ((2, 6), (10, 40), (9, 14)))
    author, truth = rng.integers(0, users, observations), rng.integers(0, species, observations)
    voted = rng.random((observations, users)) < rng.uniform(0.1, 0.6)
    voted[np.arange(observations), author] = True
    o, u = np.nonzero(voted)
    said = np.where(rng.random(len(o)) < rng.uniform(0.6, 1), truth[o], (truth[o] + 1) % species)
    return Votes(
        observation=o.astype(np.int32),
        user=u.astype(np.int32),
        species=said.astype(np.int32),
        author=author.astype(np.int32),
        n_users=6,
        n_species=species,
    )


def _one_more(votes: Votes, observation: int, species: int) -> Votes:
    """With a vote of the last user."""
    more = {"observation": observation, "user": votes.n_users - 1, "species": species}
    return replace(votes, **{name: np.append(getattr(votes, name), np.int32(value)) for name, value in more.items()})


def _interval(figure: Figure) -> str:
    return f"({figure.low:.3f} to {figure.high:.3f})"


def rows(quick: bool) -> list[Row]:
    """All of it."""
    return [
        *labels(real(quick), "real crowd"),
        *labels(uniform(quick), "uniform crowd"),
        *regimes(quick),
        *models(quick),
        *degradation(real(quick), "real crowd"),
        *newcomer(quick),
        *targeted(real(quick)),
    ]


if __name__ == "__main__":
    main(rows)
