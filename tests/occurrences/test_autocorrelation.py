"""The range of autocorrelation: found where it is known, bounded, and the same for the same seed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from geoplantnet.errors import InputError, UsageError
from geoplantnet.occurrences import autocorrelation_range, block_size, presence_axes, presence_range, variogram


def field(reach, model, n=600, extent=200_000.0, seed=0, nugget=0.1, variables=1):
    """Gaussian fields of known covariance at random places: (xy, values)."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, extent, (n, 2))
    h = cdist(xy, xy) / reach
    covariance = np.where(h < 1, 1 - 1.5 * h + 0.5 * h**3, 0) if model == "spherical" else np.exp(-3 * h)
    covariance[np.diag_indices(n)] += nugget
    return xy, np.linalg.cholesky(covariance + 1e-9 * np.eye(n)) @ rng.standard_normal((n, variables))


@pytest.mark.parametrize("model", ["spherical", "exponential"])
@pytest.mark.parametrize("reach", [15_000.0, 40_000.0])
def test_a_known_range_is_found(model, reach):
    """Twelve simulated fields of known range: found within a third of it, and its share of structure within .15."""
    xy, values = field(reach, model, variables=12)
    found = autocorrelation_range(xy, values, repeats=5)
    assert found.range == pytest.approx(reach, rel=0.33) and not found.at_least
    assert found.low <= found.range * 1.2 and found.high >= found.range * 0.8
    assert found.structured == pytest.approx(1 / 1.1, abs=0.15)


def test_noise_has_no_range():
    """Independent values: the shortest lag looked at, and hardly any structure."""
    rng = np.random.default_rng(1)
    xy, values = rng.uniform(0, 1e5, (500, 2)), rng.standard_normal((500, 20))
    found = autocorrelation_range(xy, values, repeats=3)
    assert found.range == found.variogram.distance[0] and found.structured < 0.05 and not found.at_least


def test_a_trend_has_none_within_the_cutoff():
    """Values that only grow eastward have no sill: the range is the cutoff, and said to be at least that."""
    rng = np.random.default_rng(2)
    xy = rng.uniform(0, 3e5, (400, 2))
    found = autocorrelation_range(xy, xy[:, 0] / 1e5, repeats=3)
    assert found.at_least and found.range == pytest.approx(found.variogram.cutoff, rel=0.02)


def test_variogram_is_brute_force():
    """Every lag is half the mean squared difference of its pairs; pairs at one place and beyond the cutoff are out."""
    rng = np.random.default_rng(3)
    xy, values = rng.uniform(0, 1000, (60, 2)), rng.standard_normal((60, 2))
    xy[1] = xy[0]
    found = variogram(xy, values, cutoff=600, lags=4)
    edges = 600 * (np.arange(5) / 4) ** 2
    expected = []
    for low, high in pairwise(edges):
        inside = [
            (np.hypot(*(xy[i] - xy[j])), ((values[i] - values[j]) ** 2).sum() / 2)
            for i in range(60)
            for j in range(i)
            if max(low, 1e-9) < np.hypot(*(xy[i] - xy[j])) <= high
        ]
        if len(inside) >= 30:
            expected.append([*np.mean(inside, axis=0), len(inside)])
    np.testing.assert_allclose(np.stack([found.distance, found.semivariance, found.pairs], axis=1), expected)


def test_same_seed_same_range_and_bounded_cost():
    """The same seed gives the same figures; more plots than `points` are sampled, and the answer stays near."""
    xy, values = field(30_000, "exponential", variables=8)
    one, two = (autocorrelation_range(xy, values, points=300, seed=5, repeats=3) for _ in range(2))
    assert (one.range, one.low, one.high, one.nugget, one.sill) == (two.range, two.low, two.high, two.nugget, two.sill)
    assert one.variogram.pairs.sum() <= 300 * 299 / 2
    assert one.range == pytest.approx(30_000, rel=0.5)


def test_presence_axes_are_a_hellinger_pca():
    """scikit-learn's PCA of the Hellinger table gives the same axes up to sign."""
    rng = np.random.default_rng(4)
    found = (rng.random((50, 12)) < 0.3).astype(np.uint8)
    found[7] = 0
    table = np.sqrt(found / np.maximum(found.sum(axis=1, keepdims=True), 1))
    expected = PCA(3, svd_solver="full").fit_transform(table)
    scores = presence_axes(sparse.csr_array(found))
    np.testing.assert_allclose(np.abs(scores), np.abs(expected), atol=1e-9)
    assert (scores[np.abs(scores).argmax(axis=0), range(3)] > 0).all()
    with pytest.raises(InputError, match="no 13 axes"):
        presence_axes(found, axes=13)


def test_covariates_take_the_trend_away():
    """Species along an eastward gradient have no sill within the area; what the gradient leaves has the patches' range."""
    xy, patches = field(20_000, "spherical", n=700, variables=3, nugget=0.01)
    rng = np.random.default_rng(6)
    east = xy[:, :1] / 1e5 - 1
    logit = 6 * east * rng.standard_normal(60) + patches @ rng.standard_normal((3, 60))
    found = sparse.csr_array((rng.random(logit.shape) < 1 / (1 + np.exp(-logit))).astype(np.uint8))
    gaps = np.where(rng.random(east.shape) < 0.01, np.nan, east)
    raw, rest = presence_range(xy, found), presence_range(xy, found, covariates=gaps)
    assert raw.range > 2 * rest.range and rest.range == pytest.approx(20_000, rel=0.5)


def test_blocks_are_whole_kilometres_within_bounds():
    """The range rounded up, not below the smallest nor above the largest."""
    xy, values = field(20_000, "spherical", n=300)
    found = autocorrelation_range(xy, values, repeats=2)
    size = block_size(found)
    assert size % 1000 == 0 and found.range <= size < found.range + 1000
    assert block_size(found, smallest=60_000) == 60_000 and block_size(found, smallest=1, largest=2_500) == 2_500
    with pytest.raises(UsageError, match="smallest <= largest"):
        block_size(found, smallest=10, largest=5)


def test_bad_input_is_named():
    """Too few plots, one place, NaN, lengths that differ, too few lags."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 1e4, (50, 2))
    with pytest.raises(InputError, match="5 plots have"):
        autocorrelation_range(xy[:5], xy[:5, 0])
    with pytest.raises(InputError, match="one place"):
        autocorrelation_range(np.zeros((40, 2)), np.ones(40))
    with pytest.raises(InputError, match="not finite"):
        autocorrelation_range(xy, np.full(50, np.nan))
    with pytest.raises(InputError, match="do not match"):
        autocorrelation_range(xy, np.ones(49))
    with pytest.raises(UsageError, match="2 lags"):
        variogram(xy, np.ones(50), lags=2)
    assert autocorrelation_range(xy, np.ones(50), repeats=0).structured == 0
