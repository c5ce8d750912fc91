"""What one new account, many, and many that help each other can do to a trusted label; and what stops them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.errors import InputError
from geoplantnet.identify.votes import NONE, MajorityVote, PlantNet, Votes
from geoplantnet.identify.votes.anchored import Anchored, anchors
from geoplantnet.identify.votes.generator import REAL, Role, farm, simulate_votes, sybils

GAMMA, CONF, ACC = 0.742, 2.0, 0.7
ESTABLISHED = math.sqrt(8) - 8**0.2 + GAMMA
"""Weight of n = 8, the least that validates alone."""
SPECIES = 4


def votes(rows, n_users, n_observations, **other):
    """Of (observation, user, species) rows; the first voter is the author."""
    author = np.full(n_observations, NONE, np.int32)
    for o, u, _ in reversed(rows):
        author[o] = u
    o, u, s = (np.array([row[i] for row in rows], np.int32) for i in range(3))
    return Votes(observation=o, user=u, species=s, author=author, n_users=n_users, n_species=SPECIES, **other)


@st.composite
def pinned(draw):
    """Votes of six users whose weights are fixed, and one newcomer, 6, who votes on observation 0."""
    cells = draw(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1))
    rows = [(o, u, draw(st.integers(0, SPECIES - 1))) for o, u in sorted(cells)]
    weight = draw(st.lists(st.sampled_from([0.0, GAMMA, 1.0, 1.5, 2.01, ESTABLISHED, 3.3, 6.0]), min_size=6, max_size=6))
    fixed = np.array([*weight, np.nan])
    before = votes(rows, 7, 3, fixed_weight=fixed)
    after = votes([*rows, (0, 6, draw(st.integers(0, SPECIES - 1)))], 7, 3, fixed_weight=fixed)
    return before, after


@given(pinned())
@settings(max_examples=300, deadline=None)
def test_the_vote_of_a_newcomer_flips_no_trusted_label(cases):
    """Others' weights as they are: a valid label leads by conf (1 - 0.3 / 0.7) > 1.14 > 0.742; one nobody disputes stays valid: 2 / 2.742 > 0.7."""
    before, after = (PlantNet().aggregate(v) for v in cases)
    assert np.array_equal(before.label[before.valid], after.label[before.valid])
    undisputed = before.valid & (before.agreement == 1)
    assert after.valid[undisputed].all()


def test_a_newcomer_can_make_a_disputed_label_unsure():
    """It stays what it is, and is no longer trusted: the one thing the thresholds let one new account do."""
    fixed = np.array([2.1, 0.85, np.nan])
    rows = [(0, 0, 0), (0, 1, 1)]
    before = PlantNet().aggregate(votes(rows, 3, 1, fixed_weight=fixed))
    after = PlantNet().aggregate(votes([*rows, (0, 2, 1)], 3, 1, fixed_weight=fixed))
    assert before.valid[0] and not after.valid[0] and before.label[0] == after.label[0] == 0


@pytest.mark.parametrize("confidence", [2.01, ESTABLISHED, 3.0, 5.0, 8.0])
@pytest.mark.parametrize("accounts", [1, 2, 3, 4, 6, 9, 20, 40])
def test_what_many_newcomers_can_do_follows_from_their_number(confidence, accounts):
    """Of k accounts: they take away trust when conf / (conf + 0.742 k) <= 0.7, the label when 0.742 k > conf, and are trusted when k / all > 0.7."""
    rows = [(0, 0, 0), *((0, 1 + k, 1) for k in range(accounts))]
    fixed = np.array([confidence, *[np.nan] * accounts])
    found, theirs = PlantNet().aggregate(votes(rows, accounts + 1, 1, fixed_weight=fixed)), accounts * GAMMA
    assert found.label[0] == (theirs > confidence)
    lead, total = max(theirs, confidence), theirs + confidence
    assert found.valid[0] == (lead > CONF and lead > ACC * total)


@pytest.mark.parametrize("grown", [7, 8, 30, 36])
def test_three_accounts_can_validate_each_other_and_the_model_stops_them(grown):
    """3 x 8 invented observations, 72 votes: all three then validate alone. With a model that says otherwise, one that can invalidate, none does:
    until 36 species agreed on for each other's observations, which count a tenth unasked whether they are valid, are n = 4 and outweigh the model.
    """
    crowd = simulate_votes(dataclasses.replace(REAL, n_users=30, n_species=200), 1)
    label = MajorityVote().aggregate(crowd.votes).label
    attack = farm(crowd, label, np.array([0]), 3, grown, 2).votes
    farmers = slice(crowd.votes.n_users, None)
    earned, held = (PlantNet(ai=ai).aggregate(attack).weight[farmers] for ai in ("ignored", "invalidating"))
    assert (earned >= math.sqrt(grown) - grown**0.2 + GAMMA - 1e-6).all() and (earned > CONF).all() == (grown >= 8)
    assert (held > CONF).all() == (grown >= 36)


def test_an_attack_on_many_labels_at_once_needs_an_anchor():
    """Ten accounts on 60 trusted labels outvote them in the first round, earn weight by it, and keep them. Anchors keep every label."""
    crowd = simulate_votes(dataclasses.replace(REAL, n_users=600, n_species=200), 4)
    plain = PlantNet()
    before = plain.aggregate(crowd.votes)
    floors = anchors(before, ESTABLISHED - 1e-6)
    held = dataclasses.replace(crowd, votes=dataclasses.replace(crowd.votes, minimal_weight=floors))
    strategy = Anchored(strategy=plain)
    alone = np.bincount(crowd.votes.observation, crowd.votes.n_users * np.isnan(floors)[crowd.votes.user], crowd.votes.n_observations) == 0
    targets = np.random.default_rng(0).permutation(np.flatnonzero(before.valid & alone))[:60]
    assert len(targets) == 60
    lost, kept = (rule.aggregate(sybils(one, before.label, targets, 10, 3).votes) for rule, one in ((plain, crowd), (strategy, held)))
    assert np.mean(lost.label[targets] != before.label[targets]) > 0.5
    assert (kept.label[targets] == before.label[targets]).all() and kept.valid[targets].all()
    assert (kept.weight[crowd.votes.n_users :] == pytest.approx(GAMMA, abs=1e-6)) and "anchors" in kept.notes[-1]


@st.composite
def anchored(draw):
    """Three anchors and three others; then any votes of any number of new accounts, and of the others."""
    people = {
        (o, u): draw(st.integers(0, SPECIES - 1)) for o, u in draw(st.sets(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=3))
    }
    more = draw(st.dictionaries(st.tuples(st.integers(0, 4), st.integers(3, 30)), st.integers(0, SPECIES - 1), max_size=60))
    floors = np.array([*draw(st.lists(st.sampled_from([0.8, 1.3, 2.1, 4.0]), min_size=3, max_size=3)), *[np.nan] * 28])
    rows = [(o, u, s) for (o, u), s in sorted(people.items())]
    changed = [(o, u, s) for (o, u), s in sorted((people | more).items())]
    before = votes(rows, 31, 5, minimal_weight=floors)
    return before, dataclasses.replace(votes(changed, 31, 5, minimal_weight=floors), author=before.author)


@given(anchored())
@settings(max_examples=300, deadline=None)
def test_nobody_but_an_anchor_moves_a_label_on_which_anchors_agree(cases):
    """Whatever 28 accounts vote, wherever: where the anchors' word is one and weighs more than 2, label and trust are as they were."""
    before, after = cases
    rule = Anchored(strategy=PlantNet())
    first, second = rule.aggregate(before), rule.aggregate(after)
    for o in range(5):
        theirs = (before.observation == o) & (before.user < 3)
        named = np.unique(before.species[theirs])
        if len(named) == 1 and before.minimal_weight[before.user[theirs]].sum() > CONF:
            assert first.label[o] == second.label[o] == named[0] and first.valid[o] and second.valid[o]


@given(anchored())
@settings(max_examples=30, deadline=None)
def test_without_anchors_it_is_the_strategy_itself(cases):
    """No floors, or floors taken back by a fixed weight of 0: the same labels, bit for bit."""
    plain = dataclasses.replace(cases[1], minimal_weight=None)
    banned = dataclasses.replace(cases[1], fixed_weight=np.where(np.isnan(cases[1].minimal_weight), np.nan, 0.0))
    for case in (plain, banned):
        ours, wanted = Anchored(strategy=PlantNet()).aggregate(case), PlantNet().aggregate(case)
        for name in ("label", "valid", "confidence", "agreement", "weight"):
            assert np.array_equal(getattr(ours, name), getattr(wanted, name))


def test_anchors_are_those_whose_weight_is_high_enough():
    """Their weights as floors, nothing of others; a strategy without weights names none."""
    crowd = simulate_votes(dataclasses.replace(REAL, n_users=3_000), 1)
    found = PlantNet().aggregate(crowd.votes)
    floors = anchors(found, ESTABLISHED)
    assert np.array_equal(~np.isnan(floors), found.weight >= ESTABLISHED) and 0 < np.sum(~np.isnan(floors)) < 300
    assert np.mean(crowd.role[~np.isnan(floors)] == Role.EXPERT) > np.mean(crowd.role == Role.EXPERT)
    with pytest.raises(InputError, match="no weights"):
        anchors(dataclasses.replace(found, weight=None), 2.0)
