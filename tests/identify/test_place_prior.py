"""The place as evidence: laws of the prior, and what is learnt about its weight."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from geoplantnet.errors import InputError
from geoplantnet.identify.prior import FAINT, PlaceWeight, learn_place_weight, listed, with_place

seeds, weights, floors = st.integers(0, 10**6), st.floats(0, 2), st.floats(0.001, 1)


def drawn(seed: int, n: int = 8) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return log_softmax(rng.normal(0, 3, n)), rng.random(n) ** 3, rng


@settings(deadline=None, max_examples=60)
@given(weight=weights, floor=floors, most=st.floats(1e-12, 1e-5))
def test_where_hardly_anything_grows_the_map_says_hardly_anything(weight, floor, most):
    """A lake, or a place out of range of all that the map knows: the least unlikely of its species is not lifted over those it does not know."""
    place = PlaceWeight(weight=weight, floor=floor)
    before = np.log([0.3, 0.3, 0.2, 0.2])
    after = with_place(before, [most, most / 1e3, 0.0, np.nan], place)
    assert np.abs(np.exp(after) - np.exp(before)).max() < 2 * weight * most / FAINT / floor + 1e-9


@settings(deadline=None, max_examples=60)
@given(seed=seeds, weight=weights, floor=floors, level=st.floats(1e-6, 1), scale=st.floats(FAINT, 1e3))
def test_a_prior_that_is_alike_changes_nothing_and_its_scale_means_nothing(seed, weight, floor, level, scale):
    """Alike for all, all 0, all unknown, weight 0 and trust 0 leave the photos' answer; c times the prior is the prior."""
    image, present, _ = drawn(seed)
    place = PlaceWeight(weight=weight, floor=floor)
    for nothing in (np.full(8, level), np.zeros(8), np.full(8, np.nan)):
        np.testing.assert_allclose(with_place(image, nothing, place), image, atol=1e-9)
    np.testing.assert_allclose(with_place(image, present, place, trust=0), image, atol=1e-9)
    share = present / present.max()
    np.testing.assert_allclose(with_place(image, scale * share, place), with_place(image, share, place), atol=1e-8)


@settings(deadline=None, max_examples=60)
@given(seed=seeds, weight=weights, floor=floors, unknown=st.integers(0, 7))
def test_species_may_be_permuted_and_a_more_likely_one_is_not_less_likely_afterwards(seed, weight, floor, unknown):
    """The order of species means nothing; raising one species' prior never lowers its answer; the answer sums to 1."""
    image, present, rng = drawn(seed)
    present[rng.permutation(8)[:unknown]] = np.nan
    place, order = PlaceWeight(weight=weight, floor=floor), rng.permutation(8)
    found = with_place(image, present, place)
    assert np.exp(found).sum() == pytest.approx(1)
    np.testing.assert_allclose(with_place(image[order], present[order], place), found[order], atol=1e-9)
    known = np.flatnonzero(~np.isnan(present))
    k = int(rng.choice(known))
    more = present.copy()
    more[k] = present[k] + rng.random()
    assert with_place(image, more, place)[k] >= found[k] - 1e-9


@settings(deadline=None, max_examples=60)
@given(seed=seeds, weight=weights, floor=floors, trust=st.floats(0, 1))
def test_a_wrong_place_changes_odds_by_a_bounded_factor(seed, weight, floor, trust):
    """Odds of any two species, known or not, change by at most floor ** -(weight trust): a photo's clear answer stands against any map."""
    image, present, rng = drawn(seed)
    present[rng.permutation(8)[:3]] = [0, 1, np.nan]
    place = PlaceWeight(weight=weight, floor=floor)
    moved = with_place(image, present, place, trust=trust) - image
    assert moved.max() - moved.min() <= np.log(place.most) * trust + 1e-9
    sure = np.log(np.r_[1.01 * place.most, 1.0])
    assert with_place(sure - np.logaddexp(*sure), [0.0, 1.0], place).argmax() == 0


@settings(deadline=None, max_examples=30)
@given(seed=seeds)
def test_a_species_the_map_does_not_know_is_a_typical_one(seed):
    """It fares as a species would that has the geometric mean of what the others have."""
    image, present, _ = drawn(seed)
    place = PlaceWeight(weight=1.0, floor=0.01)
    share = 0.01 + 0.99 * present[1:] / present[1:].max()
    typical = (np.exp(np.log(share).mean()) - 0.01) / 0.99 * present[1:].max()
    np.testing.assert_allclose(
        with_place(image, np.r_[np.nan, present[1:]], place), with_place(image, np.r_[typical, present[1:]], place), atol=1e-9
    )


def test_with_a_full_weight_and_hardly_a_floor_it_is_bayes_rule():
    """Posterior in proportion to p(species | photos) p(present), as in the paper."""
    image, present, _ = drawn(5)
    wanted = np.exp(image) * present
    np.testing.assert_allclose(np.exp(with_place(image, present, PlaceWeight(weight=1, floor=1e-12))), wanted / wanted.sum(), rtol=1e-6)


def test_rows_are_answered_each_by_themselves():
    """(n, species) gives what each row would."""
    rows = [drawn(i)[:2] for i in range(4)]
    rows[2][1][3] = np.nan
    image, present = (np.stack(part) for part in zip(*rows, strict=True))
    place = PlaceWeight(weight=0.7, floor=0.05)
    np.testing.assert_allclose(with_place(image, present, place), [with_place(*row, place) for row in rows])


def test_a_checklist_is_a_prior():
    """1 for what it lists, 0 for others."""
    assert listed([0, 2], 4).tolist() == [1, 0, 1, 0]


def test_what_cannot_be_is_told():
    """Shapes that differ, negative probabilities, weights and floors out of range, too few photos."""
    with pytest.raises(InputError, match="give one p >= 0 each"):
        with_place(np.zeros(3), np.zeros(4), PlaceWeight())
    with pytest.raises(InputError, match="give one p >= 0 each"):
        with_place(np.zeros(3), [0, -1, 0], PlaceWeight())
    for wrong in ({"weight": -1.0}, {"floor": 0.0}, {"floor": 2.0}, {"weight": np.nan}):
        with pytest.raises(InputError, match="a weight from 0 on"):
            PlaceWeight(**wrong)
    with pytest.raises(InputError, match="50 photos"):
        learn_place_weight(np.zeros((3, 2)), np.zeros((3, 2)), [0, 1, 0])


def test_a_good_map_is_given_weight_and_one_of_elsewhere_is_not():
    """Photos drawn where species grow: the true map gets a weight near 1 and helps photos it was not learnt from; a shuffled one gets next to none."""
    rng = np.random.default_rng(4)
    n, s = 1_500, 12
    present = rng.random((n, s)) ** 4
    truth = np.array([rng.choice(s, p=row / row.sum()) for row in present])
    z = np.eye(s)[truth] * 1.5 + rng.normal(size=(n, s))
    image = log_softmax(1.5 * z, axis=1)
    good = learn_place_weight(image, present, truth, wrong=0)
    assert 0.7 < good.place.weight < 1.3 and good.loss_after < good.loss_before - 0.2
    wrong = learn_place_weight(image, present[rng.permutation(n)], truth)
    assert wrong.place.most < 1.5 and wrong.loss_after < wrong.loss_before + 0.01


def test_what_is_learnt_to_bear_wrong_places_is_bounded_closer():
    """Of a good map less is believed than without wrong places among those learnt from, and other places cost less than they would."""
    rng = np.random.default_rng(6)
    n, s = 1_500, 12
    present = rng.random((n, s)) ** 4
    truth = np.array([rng.choice(s, p=row / row.sum()) for row in present])
    image = log_softmax(1.5 * (np.eye(s)[truth] * 1.5 + rng.normal(size=(n, s))), axis=1)
    bold, careful = (learn_place_weight(image, present, truth, wrong=wrong).place for wrong in (0, 0.1))
    assert careful.most < bold.most
    elsewhere = present[rng.permutation(n)]
    lost = [-with_place(image, elsewhere, place)[np.arange(n), truth].mean() for place in (bold, careful)]
    assert lost[1] < lost[0]
    with pytest.raises(InputError, match="wrong places"):
        learn_place_weight(image, present, truth, wrong=1)
