"""Labels that new accounts cannot move, however many they are.

Weights that are found from the votes alone start from a plain majority, whatever they become: a few accounts that outvote authors on hundreds of
observations at once win the majority there, earn their weight by it, and take the authors' weight away. No rule on the weights of one run
sees this, for nothing in the votes tells who was there first. An anchor does: a weight that somebody wrote down before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError
from geoplantnet.identify.votes.table import NONE, Aggregation, Floats, Strategy, Votes


class Thresholds(Strategy, Protocol):
    """A strategy with weights that trusts a label by confidence and agreement, such as PlantNet."""

    @property
    def theta_conf(self) -> float:
        """Summed weight that the label must exceed."""
        ...

    @property
    def theta_acc(self) -> float:
        """Share of the weight that it must exceed."""
        ...


@dataclass(frozen=True, kw_only=True)
class Anchored:
    """Another strategy, with a rule before it: where the anchors alone trust a label, nobody else votes.

    Anchors are the users with an administrator's weight (`Votes.fixed_weight`, or `Votes.minimal_weight`) above 0. At these weights alone their
    votes on an observation must pass the strategy's two thresholds. The law: where all anchors who vote on it name one species, and their
    weights sum to more than theta_conf, no vote of anyone else changes the label or its validity (without a model's votes in the strategy),
    and where anchors differ, others matter only through what the anchors' own weights grow to above their floors.
    The price: who corrects anchors and is none is not heard on these observations; `Aggregation.notes` counts the votes that were left out.
    """

    strategy: Thresholds

    @property
    def name(self) -> str:
        """As it is called in recipes and tables."""
        return f"{self.strategy.name}-anchored"

    def vouched(self, votes: Votes) -> npt.NDArray[np.bool_]:
        """(observation,) whether the anchors' votes alone, at the weights an administrator set, make its label trusted."""
        label, confidence, total = _plurality(votes, _anchor_weight(votes))
        return (label != NONE) & (confidence > self.strategy.theta_conf) & (confidence > self.strategy.theta_acc * total)

    def aggregate(self, votes: Votes) -> Aggregation:
        """What the strategy makes of the votes that are left."""
        anchor, vouched = _anchor_weight(votes) > 0, self.vouched(votes)
        keep = anchor[votes.user] | ~vouched[votes.observation]
        left = replace(votes, observation=votes.observation[keep], user=votes.user[keep], species=votes.species[keep])
        found = self.strategy.aggregate(left)
        note = f"{int(vouched.sum())} labels stand on {int(anchor.sum())} anchors; {int((~keep).sum())} votes of others there not counted"
        return replace(found, notes=(*found.notes, note))


def anchors(found: Aggregation, at_least: float) -> Floats:
    """Minimal weights (user,) that write down what a run says of those it gives `at_least` or more; NaN for the others.

    Look at them before they are set: who validated the first labels together is among them, also where that was one person with three accounts.
    Raises InputError for a strategy without weights.
    """
    if found.weight is None:
        raise InputError("the strategy gives no weights; take the anchors from one that does, such as PlantNet")
    return np.where(found.weight >= at_least, found.weight, np.nan)


def _anchor_weight(votes: Votes) -> Floats:
    """(user,) 0 for who is none. A fixed weight comes before a minimal one, also 0, which bans."""
    weight = np.full(votes.n_users, np.nan) if votes.minimal_weight is None else votes.minimal_weight
    if votes.fixed_weight is not None:
        weight = np.where(np.isnan(votes.fixed_weight), weight, votes.fixed_weight)
    return np.nan_to_num(weight)


def _plurality(votes: Votes, weight: Floats) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """(observation,) species of most weight, NONE without any; its weight; all weight."""
    pair = votes.observation.astype(np.int64) * votes.n_species + votes.species
    # Multiples of 2^-30 add up exactly, in any order.
    exact = np.rint(weight[votes.user] * 2.0**30) / 2.0**30
    named, which = np.unique(pair, return_inverse=True)
    summed = np.bincount(which, exact, len(named))
    where = named // votes.n_species
    best = np.full(votes.n_observations, 0.0)
    np.maximum.at(best, where, summed)
    label = np.full(votes.n_observations, NONE)
    leads = (summed == best[where]) & (summed > 0)
    # Backwards, so that the lowest species of a tie is written last.
    label[where[leads][::-1]] = (named % votes.n_species)[leads][::-1]
    return label, best, np.bincount(where, summed, votes.n_observations).astype(np.float64)
