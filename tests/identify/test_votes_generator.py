"""Simulated crowds: they have the shape of a real one, and an attack adds to a crowd without touching it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.errors import InputError
from geoplantnet.identify.votes import NONE
from geoplantnet.identify.votes.generator import (
    REAL,
    UNIFORM,
    Crowd,
    Role,
    adversaries,
    farm,
    parrots,
    simulate_votes,
    spammers,
    sybils,
)

SMALL = dataclasses.replace(REAL, n_users=60, n_species=30)
LARGE = simulate_votes(dataclasses.replace(REAL, n_users=20_000, n_species=2_000), 5)


def plurality(simulated):
    """Label (observation,) that most votes say; NONE without votes."""
    votes, table = simulated.votes, np.zeros((simulated.votes.n_observations, simulated.votes.n_species))
    np.add.at(table, (votes.observation, votes.species), 1)
    return np.where(table.sum(1) > 0, table.argmax(1), NONE).astype(np.int32)


def right(simulated):
    """(vote,) whether it is true."""
    return simulated.votes.species == simulated.truth[simulated.votes.observation]


def attacks(crowd, seed):
    label = plurality(crowd)
    return {
        "adversaries": adversaries(crowd, 3, 10, seed),
        "random": spammers(crowd, 3, 10, seed),
        "constant": spammers(crowd, 3, 10, seed, constant=True),
        "parrots": parrots(crowd, label, 3, 10, seed),
        "sybils": sybils(crowd, label, np.array([2, 0]), 3, seed),
        "earned": sybils(crowd, label, np.array([2, 0]), 3, seed, parroted=5),
        "farm": farm(crowd, label, np.array([2, 0]), 3, 4, seed),
        "real farm": farm(crowd, label, np.array([2, 0]), 3, 4, seed, real=True),
    }


def test_the_shape_is_that_of_the_published_data():
    """A third of the users vote once, 11 votes a user, 1.3 an observation, a tenth of the species has four fifths of the observations."""
    votes = LARGE.votes
    of_user = np.bincount(votes.user, minlength=votes.n_users)
    assert np.mean(of_user == 1) == pytest.approx(1 / 3, abs=0.02)
    assert of_user[LARGE.role == Role.AMATEUR].mean() == pytest.approx(11, rel=0.1)
    assert len(votes) / votes.n_observations == pytest.approx(1.34, abs=0.06)
    of_observation = np.bincount(votes.observation, minlength=votes.n_observations)
    assert np.mean(of_observation == 1) > 0.7 and of_observation.min() == 1
    of_species = np.sort(np.bincount(LARGE.truth, minlength=votes.n_species))[::-1]
    assert of_species[:200].sum() / of_species.sum() == pytest.approx(0.8, abs=0.05)


def test_authors_determine_their_own_observations():
    """Everyone says something of the plant they photographed."""
    own = LARGE.votes.user == LARGE.votes.author[LARGE.votes.observation]
    assert len(np.unique(LARGE.votes.observation[own])) == LARGE.votes.n_observations


def test_experts_are_few_and_right_and_amateurs_learn():
    """Experts name many species and err least; amateurs with many votes err less than those with one."""
    votes, true = LARGE.votes, right(LARGE)
    of_user = np.bincount(votes.user, minlength=votes.n_users)[votes.user]
    expert = LARGE.role[votes.user] == Role.EXPERT
    once, often = true[~expert & (of_user == 1)].mean(), true[~expert & (of_user > 50)].mean()
    assert once + 0.1 < often < true[expert].mean() and true[expert].mean() > 0.97
    assert np.mean(LARGE.role == Role.EXPERT) == pytest.approx(REAL.experts, abs=1e-4)


def test_a_uniform_crowd_has_nobody_to_trust():
    """Those with most votes are no better than those with few."""
    crowd = simulate_votes(UNIFORM, 2)
    of_user = np.bincount(crowd.votes.user, minlength=crowd.votes.n_users)[crowd.votes.user]
    true = right(crowd)
    assert true[of_user > 50].mean() == pytest.approx(true[of_user <= 5].mean(), abs=0.03)
    assert (crowd.role == Role.AMATEUR).all()


@pytest.mark.parametrize("overconfidence", [1.0, 3.0])
def test_the_models_score_is_its_chance_of_being_right_unless_overconfident(overconfidence):
    """Of the determinations with a score of about p, p are true; of an overconfident model fewer, where it is sure."""
    crowd = simulate_votes(dataclasses.replace(REAL, n_users=20_000, ai_overconfidence=overconfidence), 1)
    true, score = crowd.votes.ai_species == crowd.truth, crowd.votes.ai_score
    for low in (0.6, 0.7, 0.9):
        within = (score > low) & (score < low + 0.1)
        gap = score[within].mean() - true[within].mean()
        assert abs(gap) < 0.02 if overconfidence == 1 else gap > 0.05


def test_people_and_the_model_err_alike():
    """Where the model is wrong, people say its wrong species much more often than they would of any one wrong species."""
    votes = LARGE.votes
    misled = (votes.ai_species != LARGE.truth)[votes.observation] & ~right(LARGE)
    same = votes.species[misled] == votes.ai_species[votes.observation][misled]
    assert same.mean() > 0.5


@given(st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_a_seed_is_a_crowd_and_an_attack_adds_to_it(seed):
    """Twice the same votes; of every attack the honest votes come first, unchanged, and what follows is the new accounts' alone."""
    crowd, again = simulate_votes(SMALL, seed), simulate_votes(SMALL, seed)
    for name in ("observation", "user", "species", "author", "ai_species", "ai_score"):
        assert np.array_equal(getattr(crowd.votes, name), getattr(again.votes, name))
    n = len(crowd.votes)
    for name, attacked in attacks(crowd, seed).items():
        votes = attacked.votes
        assert votes.n_users == crowd.votes.n_users + 3 == len(attacked.role)
        new = np.ones(len(votes), bool)
        new[:n] = False
        for field in ("observation", "user", "species"):
            assert np.array_equal(getattr(votes, field)[~new], getattr(crowd.votes, field)), name
        assert (votes.user[new] >= crowd.votes.n_users).all() and (attacked.role[votes.user[new]] > Role.EXPERT).all()
        assert np.array_equal(attacked.truth[: crowd.votes.n_observations], crowd.truth)
        assert attacked.honest[: crowd.votes.n_observations].all() and not attacked.honest[crowd.votes.n_observations :].any()


def test_each_attacker_says_what_it_is_named_for():
    """Adversaries the lookalike, constant spammers one species, parrots the label, sybils all the same wrong one, farmers each other's."""
    crowd = simulate_votes(SMALL, 3)
    label, n = plurality(crowd), len(crowd.votes)
    made = attacks(crowd, 7)
    o, s, u = ({k: getattr(v.votes, f)[n:] for k, v in made.items()} for f in ("observation", "species", "user"))
    assert np.array_equal(s["adversaries"], crowd.lookalike[crowd.truth[o["adversaries"]]])
    assert all(len(np.unique(s["constant"][u["constant"] == account])) == 1 for account in np.unique(u["constant"]))
    assert np.array_equal(s["parrots"], label[o["parrots"]])
    assert np.array_equal(s["sybils"], crowd.lookalike[label[o["sybils"]]]) and len(s["sybils"]) == 6
    assert len(s["earned"]) == 6 + 15 and np.array_equal(s["earned"][6:], label[o["earned"][6:]])
    assert len(np.unique(s["earned"][6:])) == 5
    assert len(s["farm"]) == 6 + 3 * 12
    for name, photos in (("farm", 0), ("real farm", 12)):
        votes = made[name].votes
        grown = votes.observation >= crowd.votes.n_observations
        assert np.sum(made[name].truth[votes.observation] == votes.species, where=grown) == 3 * photos
        assert len(np.unique(votes.species[grown])) == 4


def test_a_lookalike_is_another_species_of_the_genus():
    """Where the genus has one; it is never the species itself."""
    alone = np.bincount(LARGE.genus)[LARGE.genus] == 1
    assert (LARGE.lookalike != np.arange(len(LARGE.genus))).all()
    assert np.array_equal(LARGE.genus[LARGE.lookalike] == LARGE.genus, ~alone)


@pytest.mark.parametrize(
    "wrong", [{"n_users": 1}, {"n_species": 1}, {"genus_size": 0.5}, {"experts": 1.5}, {"follows_ai": -0.1}], ids=lambda w: next(iter(w))
)
def test_an_impossible_crowd_is_refused(wrong):
    """With the number, before anything is drawn."""
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        Crowd(**wrong)


def test_what_has_no_label_cannot_be_attacked():
    """A target without a label has no wrong label either; a farm cannot grow more species than there are."""
    crowd = simulate_votes(SMALL, 3)
    nothing = np.full(crowd.votes.n_observations, NONE, np.int32)
    with pytest.raises(InputError, match="1 of 1 targets"):
        sybils(crowd, nothing, np.array([0]), 3, 1)
    with pytest.raises(InputError, match="31 species"):
        farm(crowd, plurality(crowd), np.array([0]), 3, 31, 1)
