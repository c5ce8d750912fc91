"""Every strategy gives what its definition says, for every order of the votes; and what the published example shows."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.errors import InputError, UsageError
from geoplantnet.identify.votes import (
    NONE,
    STRATEGIES,
    DawidSkene,
    Glad,
    MajorityVote,
    PlantNet,
    TwoThird,
    Votes,
    Wawa,
    WeightedMajorityVote,
)
from geoplantnet.identify.votes.ballots import side

sys.path.insert(0, str(Path(__file__).parent))
import plain_votes as plain

COLUMNS = ("label", "valid", "confidence", "agreement")


def votes_of(rows, author, *, n_users, n_species, **other):
    """A table of (observation, user, species)."""
    observation, user, species = np.array(rows, np.int32).reshape(-1, 3).T
    return Votes(
        observation=observation.copy(),
        user=user.copy(),
        species=species.copy(),
        author=np.array(author, np.int32),
        n_users=n_users,
        n_species=n_species,
        **other,
    )


@st.composite
def tables(draw):
    """Up to eight observations, six users and four species, so that ties are common; a model and administrators' weights now and then."""
    n, users, species = draw(st.integers(1, 8)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    cells = draw(st.lists(st.integers(NONE, species - 1), min_size=n * users, max_size=n * users))
    rows = [(c // users, c % users, s) for c, s in enumerate(cells) if s != NONE]
    author = draw(st.lists(st.integers(NONE, users - 1), min_size=n, max_size=n))
    other = {}
    if draw(st.booleans()):
        other["ai_species"] = np.array(draw(st.lists(st.integers(NONE, species - 1), min_size=n, max_size=n)), np.int32)
        other["ai_score"] = np.array(draw(st.lists(st.sampled_from([0.3, 0.7, 0.9]), min_size=n, max_size=n)))
    if draw(st.booleans()):
        weights = st.lists(st.sampled_from([np.nan, np.nan, 0.0, 0.742, 1.7, 3.0]), min_size=users, max_size=users)
        other["fixed_weight"], other["minimal_weight"] = np.array(draw(weights)), np.array(draw(weights))
    return votes_of(rows, author, n_users=users, n_species=species, **other)


RULES = st.builds(
    PlantNet,
    gamma=st.sampled_from([0.742, 1.1, 2.2]),
    theta_conf=st.sampled_from([0.0, 1.484, 2.0]),
    theta_acc=st.sampled_from([0.0, 0.5, 0.7]),
    vote_share=st.sampled_from([0.1, 0.5, 1.0]),
    ai=st.sampled_from(["ignored", "fixed", "confident", "invalidating"]),
    ai_weight=st.sampled_from([1.7, 2 * 0.742]),
    established=st.sampled_from([0, 0, 1, 2]),
    max_iterations=st.sampled_from([1, 2, 100]),
)


def agrees(found, expected, *, exactly):
    """Arrays by position are the dictionaries."""
    compare = np.testing.assert_array_equal if exactly else lambda a, b, **k: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9, **k)
    for name in COLUMNS:
        values = getattr(expected, name)
        (np.testing.assert_array_equal if name in ("label", "valid") else compare)(
            getattr(found, name), [values[i] for i in sorted(values)], err_msg=name
        )
    assert (found.weight is None) == (expected.weight is None)
    if expected.weight is not None:
        np.testing.assert_array_equal(found.weight, [expected.weight[u] for u in sorted(expected.weight)])
    assert (found.iterations, found.converged, found.cycle) == (expected.iterations, expected.converged, expected.cycle)
    assert bool(found.notes) == (not found.converged)


@settings(max_examples=2000)
@given(votes=tables(), rule=RULES)
def test_sums_of_weights_are_those_of_plain_dictionaries(votes, rule):
    """10,000 comparisons, to the last bit: majority, weighted majority, agreement, two thirds and Pl@ntNet's rule of any parameters."""
    agrees(MajorityVote().aggregate(votes), plain.majority(votes), exactly=True)
    agrees(WeightedMajorityVote().aggregate(votes), plain.weighted_majority(votes), exactly=True)
    agrees(Wawa().aggregate(votes), plain.wawa(votes), exactly=True)
    agrees(TwoThird().aggregate(votes), plain.two_third(votes), exactly=True)
    agrees(rule.aggregate(votes), plain.plantnet(votes, rule), exactly=True)


@settings(max_examples=250)
@given(
    votes=tables(),
    most=st.sampled_from([1, 3, 12]),
    shrinkage=st.sampled_from([1e-3, 1.0, 1e3]),
    weights=st.lists(st.sampled_from([0.0, 0.25, 1.0, 2.5]), min_size=6, max_size=6),
)
def test_probabilities_are_those_of_plain_dictionaries(votes, most, shrinkage, weights):
    """Dawid-Skene and GLAD after any number of rounds; and majorities by weights that are given."""
    few = DawidSkene(max_iterations=most, shrinkage=shrinkage, tolerance=1e-3)
    agrees(few.aggregate(votes), plain.dawid_skene(votes, few), exactly=False)
    glad = Glad(max_iterations=most, tolerance=1e-3)
    agrees(glad.aggregate(votes), plain.glad(votes, glad), exactly=False)
    own = np.array(weights[: votes.n_users])
    agrees(WeightedMajorityVote(weight=own).aggregate(votes), plain.weighted_majority(votes, own), exactly=True)


def shuffled(votes, order):
    """The same votes in another order."""
    return replace(votes, observation=votes.observation[order], user=votes.user[order], species=votes.species[order])


@settings(max_examples=150)
@given(votes=tables(), seed=st.integers(0, 2**32 - 1))
def test_the_order_of_votes_changes_no_bit(votes, seed):
    """All strategies."""
    other = shuffled(votes, np.random.default_rng(seed).permutation(len(votes)))
    for strategy in STRATEGIES.values():
        one, two = strategy().aggregate(votes), strategy().aggregate(other)
        for name in COLUMNS:
            assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
        assert one.weight is two.weight or one.weight.tobytes() == two.weight.tobytes()
        assert (one.iterations, one.converged, one.cycle, one.notes) == (two.iterations, two.converged, two.cycle, two.notes)


@settings(max_examples=100)
@given(votes=tables(), bits=st.sampled_from([0, 3, 63]))
def test_votes_are_sorted_by_key_species_and_other(votes, bits):
    """Packed into one number, or not where three positions do not fit into its bits."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("geoplantnet.identify.votes.ballots._BITS", bits)
        sorted_votes = side(votes.observation, votes.species, votes.user, votes.n_observations)
    key = np.repeat(np.arange(votes.n_observations), np.diff(sorted_votes.start)).tolist()
    rows = sorted(zip(votes.observation.tolist(), votes.species.tolist(), votes.user.tolist()))
    assert list(zip(key, sorted_votes.species.tolist(), sorted_votes.other.tolist())) == rows


@settings(max_examples=150)
@given(votes=tables(), seed=st.integers(0, 2**32 - 1), rule=RULES)
def test_names_of_observations_and_users_mean_nothing(votes, seed, rule):
    """Positions of observations and users exchanged: the result is exchanged with them."""
    random = np.random.default_rng(seed)
    there, who = random.permutation(votes.n_observations), random.permutation(votes.n_users)

    def moved(values, to):
        if values is None:
            return None
        out = np.empty_like(values)
        out[to] = values
        return out

    author = np.where(votes.author == NONE, NONE, who[votes.author]).astype(np.int32)
    other = replace(
        votes,
        observation=there[votes.observation].astype(np.int32),
        user=who[votes.user].astype(np.int32),
        author=moved(author, there),
        ai_species=moved(votes.ai_species, there),
        ai_score=moved(votes.ai_score, there),
        fixed_weight=moved(votes.fixed_weight, who),
        minimal_weight=moved(votes.minimal_weight, who),
    )
    one, two = rule.aggregate(votes), rule.aggregate(other)
    for name in COLUMNS:
        np.testing.assert_array_equal(moved(getattr(one, name), there), getattr(two, name))
    np.testing.assert_array_equal(moved(one.weight, who), two.weight)


ROSA, FICUS, MENTHA = range(3)
RAJ, LUCA, MEI, LARS, DEMETER, PARROT = range(6)


@pytest.mark.parametrize(
    ("what", "demeter", "label", "confidence", "total", "valid"),
    [
        ("initial state", None, FICUS, 2.5, 3.5, True),
        ("label switch", (10.0, ROSA), ROSA, 10.6, 13.5, True),
        ("invalidation", (2.4, MENTHA), MENTHA, 2.8, 5.9, False),
    ],
)
def test_the_published_example(what, demeter, label, confidence, total, valid):
    """The three states of the figures histplot_conf_init, _switch and _invalidate of Lefort's lecture "Human in the loop" (2024).

    Weights are the heights of their bars: Raj .6 for Rosa indica, Luca .7 and Mei 1.8 for Ficus elastica, Lars .4 for Mentha arvensis;
    then Demeter comes, of weight 10 or 2.4. The figures show five people; a sixth, whose vote weighs nothing, changes none of it.
    """
    weights = np.array([0.6, 0.7, 1.8, 0.4, demeter[0] if demeter else np.nan, 0.0])
    rows = [(0, RAJ, ROSA), (0, LUCA, FICUS), (0, MEI, FICUS), (0, LARS, MENTHA), (0, PARROT, MENTHA)]
    if demeter:
        rows.append((0, DEMETER, demeter[1]))
    found = PlantNet().aggregate(votes_of(rows, [RAJ], n_users=6, n_species=3, fixed_weight=weights))
    assert (found.label[0], found.valid[0]) == (label, valid), what
    assert found.confidence[0] == pytest.approx(confidence) and found.agreement[0] == pytest.approx(confidence / total)
    assert found.converged


def one(rows, spoken=None, **rule):
    """(label, valid, confidence) of one observation by nobody's hand, voted on by newcomers."""
    other = {} if spoken is None else {"ai_species": np.array([spoken[0]], np.int32), "ai_score": np.array([spoken[1]])}
    found = PlantNet(**rule).aggregate(votes_of([(0, u, s) for u, s in enumerate(rows)], [NONE], n_users=6, n_species=3, **other))
    return found.label[0], bool(found.valid[0]), round(float(found.confidence[0]), 3)


def test_gamma_is_what_fits_the_published_sayings():
    """Two newcomers do not validate, three do; eight species make self-validating, seven do not; two species weigh about 1; and log(1.7),
    which others write beside the same figure, fits none of them.
    """
    assert one([1, 1]) == (1, False, 1.484) and one([1, 1, 1]) == (1, True, 2.226)
    assert one([1, 1, 1], gamma=float(np.log(1.7)))[1] is False
    weight = PlantNet().weight_of(np.arange(10))
    assert weight[0] == weight[1] == pytest.approx(0.742, abs=1e-9) and weight[2] == pytest.approx(1.0, abs=0.01)
    assert weight[7] < 2 < weight[8] and (np.diff(weight[1:]) > 0).all()


def test_the_model_counts_once_and_outweighs_just_two_newcomers():
    """In each of its modes, whatever the number of people: 1.7 between 2 and 3 times .742."""
    yes, unsure = (2, 0.9), (2, 0.6)
    assert one([1, 1], yes, ai="fixed") == (2, False, 1.7) and one([1, 1, 1], yes, ai="fixed") == (1, False, 2.226)
    assert one([2], yes, ai="fixed") == (2, True, 2.442) and one([2] * 5, yes, ai="fixed") == (2, True, 5.41)
    assert one([1, 1], unsure, ai="confident") == (1, False, 1.484) and one([1, 1], yes, ai="confident") == (2, False, 1.7)
    assert one([1, 1, 1], yes, ai="invalidating") == (1, False, 2.226) and one([2, 2, 2], yes, ai="invalidating") == (2, True, 2.226)
    assert one([1] * 6, yes, ai="invalidating") == (1, True, 4.452) and one([2, 2], yes, ai="invalidating") == (2, False, 1.484)
    assert one([1, 1], yes, ai="ignored") == one([1, 1]) and one([], yes, ai="fixed") == (2, False, 1.7)
    assert one([], yes, ai="invalidating") == (NONE, False, 0.0)


def test_labels_are_updated_between_rounds():
    """Eight species of one's own, each confirmed by two newcomers, make an expert, whose word then turns another observation's label."""
    expert, first, second = 0, 1, 2
    rows = [(i, u, i) for i in range(8) for u in (expert, first, second)]
    rows += [(8, expert, 9), (8, first, 8), (8, second, 8)]
    found = PlantNet().aggregate(votes_of(rows, [expert] * 8 + [NONE], n_users=3, n_species=10))
    plain_label = MajorityVote().aggregate(votes_of(rows, [expert] * 8 + [NONE], n_users=3, n_species=10)).label[8]
    assert plain_label == 8 and found.label[8] == 9 and found.weight[expert] > 2 and found.converged


@pytest.mark.parametrize("seed", plain.RESTLESS)
def test_an_iteration_that_goes_round_is_told(seed):
    """Found cases: what differs between the states of a cycle is not valid, and a user has the least weight of them."""
    votes, rule = plain.restless(seed), plain.RESTLESS_RULE
    found, length = rule.aggregate(votes), plain.RESTLESS[seed]
    assert (found.cycle, found.converged) == (length, False) and f"cycle of {length}" in found.notes[0]
    agrees(found, plain.plantnet(votes, rule), exactly=True)
    for rounds in range(found.iterations - length + 1, found.iterations):  # all states of the cycle but the last, which closes it
        state = replace(rule, max_iterations=rounds).aggregate(votes)
        assert not state.cycle and (rounds > found.iterations - length + 1 or (found.label == state.label).all())
        assert not (found.valid & ~(state.valid & (state.label == found.label))).any() and (found.weight <= state.weight).all()
    settled = replace(rule, max_iterations=found.iterations - length + 1).aggregate(votes)
    assert (found.valid != settled.valid).any() or (found.weight != settled.weight).any()


def test_too_few_rounds_are_told():
    """By every strategy that iterates; with enough of them they end."""
    random = np.random.default_rng(3)
    rows = [(i, u, int(random.integers(4) if random.random() < 0.3 else i % 4)) for i in range(20) for u in range(5)]
    votes = votes_of(rows, [0] * 20, n_users=5, n_species=4)
    for strategy in (PlantNet, DawidSkene, Glad):
        few, found = strategy(max_iterations=1).aggregate(votes), strategy().aggregate(votes)
        assert not few.converged and few.iterations == 1 and few.notes
        assert found.converged and not found.notes and 1 < found.iterations < strategy().max_iterations


@pytest.mark.parametrize("strategy", [DawidSkene(), Glad()])
def test_who_is_always_wrong_is_found_out(strategy):
    """Three who know against three who name one of the wrong species each: labels beat the majority's; probabilities are probabilities."""
    random = np.random.default_rng(2)
    truth = random.integers(0, 6, 300)
    rows = []
    for i, t in enumerate(truth):
        for u in random.choice(7, 4, replace=False):
            right = random.random() < (0.95 if u < 3 else 0.3)
            rows.append((i, u, int(t if right else (t + 1) % 6)))
    votes = votes_of(rows, [NONE] * 300, n_users=7, n_species=6)
    found, majority = strategy.aggregate(votes), MajorityVote().aggregate(votes)
    assert (found.label == truth).mean() > (majority.label == truth).mean() + 0.03
    assert found.converged and ((found.confidence > 0) & (found.confidence <= 1)).all()


@pytest.mark.parametrize("name", STRATEGIES)
def test_nothing_to_aggregate(name):
    """No votes, no observations, or observations without votes: no label, nothing valid; the strategy is called as it is listed."""
    strategy = STRATEGIES[name]()
    assert strategy.name == name
    for author in ([], [NONE, 0]):
        found = strategy.aggregate(votes_of([], author, n_users=1, n_species=1))
        assert found.label.tolist() == [NONE] * len(author) and not found.valid.any() and not found.confidence.any()
    lonely = strategy.aggregate(votes_of([(1, 0, 0)], [NONE, 0], n_users=1, n_species=1))
    assert lonely.label.tolist() == [NONE, 0] and lonely.confidence[1] > 0 and lonely.agreement.tolist() == [0, 1]


@pytest.mark.parametrize(
    "rule",
    [
        {"gamma": 0.0},
        {"gamma": float("nan")},
        {"alpha": 0.1},
        {"alpha": 1.5},
        {"beta": -0.1},
        {"theta_acc": 1.0},
        {"theta_conf": float("inf")},
        {"vote_share": 2.0},
        {"ai_weight": -1.0},
        {"ai": "worker"},
        {"established": -1},
        {"max_iterations": 0},
    ],
)
def test_parameters_that_make_no_rule_are_refused(rule):
    """When the strategy is made."""
    with pytest.raises(UsageError):
        PlantNet(**rule)


def test_weights_out_of_range_are_refused():
    """Negative, infinite or too heavy to sum exactly; not one a user."""
    votes = votes_of([(0, 0, 0), (0, 1, 0)], [0], n_users=2, n_species=1)
    for bad in (-1.0, np.inf, 1001.0):
        for name in ("fixed_weight", "minimal_weight"):
            for strategy in (PlantNet(), Wawa(), WeightedMajorityVote()):
                with pytest.raises(InputError, match="0 to 1000"):
                    strategy.aggregate(replace(votes, **{name: np.array([1.0, bad])}))
        with pytest.raises(InputError, match="0 to 1000"):
            WeightedMajorityVote(weight=np.array([1.0, bad])).aggregate(votes)
    for bad in (np.ones(3), np.array([1.0, np.nan])):
        with pytest.raises(InputError, match="2 users"):
            WeightedMajorityVote(weight=bad).aggregate(votes)
    for wrong in ({"shrinkage": 0.0}, {"background": np.inf}, {"max_iterations": 0}):
        with pytest.raises(UsageError):
            DawidSkene(**wrong)
    with pytest.raises(UsageError):
        Glad(tolerance=-1.0)
