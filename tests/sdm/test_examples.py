"""Which sites a species is learnt from, and how the table is completed: counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import logsumexp

from geoplantnet.cubes import TablePatches
from geoplantnet.errors import ConfigurationError, InputError
from geoplantnet.sdm.design import Imputation, Terms
from geoplantnet.sdm.examples import ExampleMaker, cloglog_constant
from geoplantnet.sdm.sites import BACKGROUND, Sites
from geoplantnet.taxonomy import SpeciesList, Taxon

SPECIES = SpeciesList(checklist="t", taxa=tuple(Taxon(taxon_id=i, scientific_name=i) for i in "abc"))


def sites(labels, plot, group, **more):
    n = len(plot)
    return Sites(
        species=SPECIES,
        patches=TablePatches(pd.DataFrame({"v": np.arange(n, dtype=float)}), {"m": ("v",)}),
        labels=sparse.csr_array(np.array(labels, np.uint8)),
        presence_absence=np.array(plot, bool),
        group=np.array(group),
        xy=np.zeros((n, 2)),
        **more,
    )


A, B, C, NONE = [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]


def test_background_by_kind():
    """Species a was recorded by group 0 alone: group 1's sites say nothing of it. Without a kind, the other stands in."""
    world = sites([A, B, C, NONE, NONE, A], [0] * 6, [0, 0, 1, BACKGROUND, BACKGROUND, 0])
    rows = np.arange(6)
    expected = {"target-group": [0, 1, 5], "uniform": [0, 3, 4, 5], "both": [0, 1, 3, 4, 5]}
    for kind, at in expected.items():
        e = ExampleMaker(world, rows, background=kind).of(0)
        assert e.at.tolist() == at and e.background and np.flatnonzero(e.present).size == 2
    alone = ExampleMaker(world, np.array([2, 3, 4]), background="target-group").of(2)
    assert alone.at.tolist() == [0, 1, 2] and alone.present.tolist() == [True, False, False]
    maker = ExampleMaker(world, np.array([2, 3]), background="uniform")
    assert maker.of(0) is None and maker.constant(0) == pytest.approx(0.5 / 3)
    assert ExampleMaker(world, np.array([0, 5])).of(0) is None and ExampleMaker(world, np.array([0, 5])).constant(0) == 0.5
    with pytest.raises(ConfigurationError, match="target-group"):
        ExampleMaker(world, rows, background="target group")


def test_records_join_plots_and_prevalence_stays():
    """2 of 5 plots have a; 3 records join: the weighted share is still 2/5; b, in no plot, counts as half a plot."""
    world = sites([A, A, C, C, C, A, A, A, B], [1] * 5 + [0] * 4, [0] * 5 + [1] * 4)
    maker = ExampleMaker(world, np.arange(9))
    a, b = maker.of(0), maker.of(1)
    assert a.at.tolist() == list(range(8)) and not a.background and maker.of_plots
    assert np.average(a.present, weights=a.weight) == pytest.approx(2 / 5) and np.ptp(a.weight[a.present]) == 0
    assert np.average(b.present, weights=b.weight) == pytest.approx(0.5 / 5.5)
    halved = ExampleMaker(world, np.arange(9), records=0.5).of(0).weight
    assert halved[5] == pytest.approx(halved[0] / 2) and halved[2] == 1
    assert ExampleMaker(world, np.arange(9), records=0).of(0).at.tolist() == [0, 1, 2, 3, 4]
    assert ExampleMaker(world, np.arange(9), absences=False).of(0).at.tolist() == list(range(9))


def test_weights_and_effort_come_along_and_zero_means_out():
    """A site of weight 0 is in no example; a negative or missing weight is refused; effort is an offset of background fits only."""
    weight = np.array([2, 1, 0, 1], np.float32)
    world = sites([A, B, A, NONE], [0] * 4, [0, 0, 0, BACKGROUND], weight=weight, effort=np.array([1, np.nan, 3, 4], np.float32))
    e = ExampleMaker(world, np.arange(4)).of(0)
    assert e.at.tolist() == [0, 1, 3] and e.weight.tolist() == [2, 1, 1] and e.offset.tolist() == [1, 0, 4]
    for bad in (-1, np.nan):
        with pytest.raises(InputError, match="weight"):
            ExampleMaker(sites([A, B], [0, 0], [0, 0], weight=np.array([1, bad], np.float32)), np.arange(2))


def test_presences_are_weighted_by_abundance_and_prevalence_stays():
    """By hand: 30 and 10 % on two plots are weights of 1.5 and .5, whatever the absences; another species has its own; records beside
    plots, and records alone, keep the weight they had in all.
    """
    labels = np.array([A, A, C, C, [1, 1, 0], [1, 1, 0], NONE], np.uint8)
    cover = np.zeros((7, 3))
    cover[[0, 1, 4, 5], 0], cover[[2, 3], 2], cover[[4, 5], 1] = (30, 10, 20, 60), (1, 3), (5, 1)
    world = sites(labels, [1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1, BACKGROUND], presence_weight=cover)
    plots = ExampleMaker(world, np.arange(4))
    assert plots.of(0).weight.tolist() == pytest.approx([1.5, 0.5, 1, 1]) and plots.of(2).weight.tolist() == pytest.approx([1, 1, 0.5, 1.5])
    joined = ExampleMaker(world, np.arange(7), records=0.5).of(0)
    assert joined.weight[joined.present].tolist() == pytest.approx(np.array([1.5, 0.5, 0.25, 0.75]) * 2 / 3)
    assert np.average(joined.present, weights=joined.weight) == pytest.approx(2 / 4)
    alone = ExampleMaker(world, np.array([4, 5, 6]))
    assert alone.of(0).weight.tolist() == pytest.approx([0.5, 1.5, 1]) and alone.of(1).weight.tolist() == pytest.approx([5 / 3, 1 / 3, 1])


def test_a_thinned_background_is_a_part_of_the_whole_and_keeps_presences():
    """At most `limit` background sites, the same for a seed whatever other species there are."""
    world = sites([A] * 5 + [NONE] * 50, [0] * 55, [0] * 5 + [BACKGROUND] * 50)
    e = ExampleMaker(world, np.arange(55), limit=20, seed=3).of(0)
    again = ExampleMaker(world, np.arange(55), limit=20, seed=3).of(0)
    assert (~e.present).sum() == 20 and e.present.sum() == 5 and np.array_equal(e.at, again.at)
    assert not np.array_equal(e.at, ExampleMaker(world, np.arange(55), limit=20, seed=4).of(0).at)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=30), st.floats(-50, 50))
def test_cloglog_does_not_care_for_the_intercept(eta, shift):
    """Normalised intensities sum to 1 however the log intensity is shifted, and a flat one gives 1 - 1/e everywhere."""
    background = np.array(eta)
    c = cloglog_constant(background)
    assert c + shift == pytest.approx(cloglog_constant(background - shift), abs=1e-6)
    share = np.exp(background - logsumexp(background))
    assert c + logsumexp(background) == pytest.approx(-np.sum(share * np.log(np.maximum(share, 1e-300))), abs=1e-6)
    assert 1 - np.exp(-np.exp(cloglog_constant(np.full(7, shift)) + shift)) == pytest.approx(1 - 1 / np.e)


def test_gaps_become_medians_and_are_told():
    """By hand: a median, a 0/1 column where some were missing, nothing where all were; infinite counts as missing."""
    nan, inf = np.nan, np.inf
    values = np.array([[1, nan, 5, nan], [2, nan, 7, 4], [6, nan, 9, inf]], np.float32)
    fill = Imputation.learn(values)
    assert np.array_equal(fill(values), [[1, 0, 5, 4, 1], [2, 0, 7, 4, 0], [6, 0, 9, 4, 1]])
    assert np.array_equal(fill(np.array([[nan, 8, inf, 2]])), [[2, 0, 7, 2, 0]])


def test_terms_are_standardised_squares_and_products():
    """Terms span the quadratic polynomials, have mean 0 and deviation 1 at the sites, and stand still beyond their range."""
    x = np.random.default_rng(0).normal(3, 2, size=(60, 3))
    terms = Terms.learn(x, pairwise=True)
    z = terms(x)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0), 1)
    i, j = np.triu_indices(3)
    raw = np.concatenate([np.ones((60, 1)), x, x[:, i] * x[:, j]], axis=1)
    both = np.concatenate([raw, z], axis=1)
    assert z.shape[1] == 9 and np.linalg.matrix_rank(both, tol=1e-6) == 10
    beyond = np.where(np.arange(3) == 1, 1e6, x[:1])
    at_edge = np.where(np.arange(3) == 1, x[:, 1].max(), x[:1])
    assert np.array_equal(terms(beyond), terms(at_edge))


def test_uniform_background_weighs_a_fixed_mass_beside_a_target_group():
    """Two uniform sites weigh as much as `mass` sites together, whatever each weighs; alone, or without them, nothing changes."""
    world = sites([A, B, B, NONE, NONE, C], [0] * 6, [0, 0, 0, BACKGROUND, BACKGROUND, 1], weight=np.array([1, 1, 1, 1, 3, 1], np.float32))
    heavy = ExampleMaker(world, np.arange(6), mass=10.0).of(0)
    assert heavy.at.tolist() == [0, 1, 2, 3, 4] and heavy.weight.tolist() == pytest.approx([1, 1, 1, 2.5, 7.5])
    alone = ExampleMaker(world, np.arange(6), background="uniform", mass=10.0).of(0)
    assert alone.at.tolist() == [0, 3, 4] and alone.weight.tolist() == [1, 1, 3]
    group = ExampleMaker(world, np.arange(6), background="target-group", mass=10.0).of(0)
    assert group.weight.tolist() == [1, 1, 1]
    with pytest.raises(ConfigurationError, match="background_mass"):
        ExampleMaker(world, np.arange(6), mass=0.0)
