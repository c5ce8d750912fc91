"""Random maximum margin hashing: margins as scikit-learn's solver has them, codes that keep what is near near."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import LinearSVC

from geoplantnet.errors import InputError
from geoplantnet.identify.similarity import Hashing, fit_hyperplanes, fit_rmmh
from geoplantnet.identify.similarity.rmmh import unit_features


def clusters(rng, *, groups=40, each=25, d=48, spread=0.6):
    """(n, d) unit features about centres that share a large common part, as a net's features do; and the group of each."""
    centres = rng.normal(size=(groups, d)) + 2 * rng.normal(size=d)
    return unit_features(np.repeat(centres, each, 0) + spread * rng.normal(size=(groups * each, d))), np.repeat(np.arange(groups), each)


def recall(hashing, queries, base, k=10):
    """Share of the k nearest by cosine that are among the k nearest by Hamming distance."""
    true = np.argsort(-(queries @ base.T), axis=1)[:, :k]
    distance = np.bitwise_count(hashing.codes(queries)[:, None] ^ hashing.codes(base)[None]).sum(2)
    found = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return np.mean([len(set(t) & set(f)) / k for t, f in zip(true, found, strict=True)])


def test_each_plane_parts_its_points_with_the_widest_margin():
    """With as many features as points a plane parts, every bit splits them in halves, and no narrower than liblinear's plane does."""
    features = unit_features(np.random.default_rng(1).normal(size=(32, 64)))
    hashing = fit_rmmh(features, bits=16, seed=3)
    for bit in range(16):
        reach = features @ hashing.planes[bit] + hashing.offsets[bit]
        side = np.sign(reach)
        assert side.sum() == 0
        peer = LinearSVC(C=1e4, loss="hinge", intercept_scaling=10, max_iter=200_000, tol=1e-6).fit(features, side)
        widest = np.min(side * (features @ peer.coef_[0] + peer.intercept_[0])) / np.linalg.norm(peer.coef_)
        assert np.min(np.abs(reach)) >= widest - 1e-3


def test_the_same_seed_gives_the_same_codes_and_another_gives_others():
    """A hashing is a function of the features and the seed alone."""
    features, _ = clusters(np.random.default_rng(2), groups=8)
    codes = fit_rmmh(features, bits=64, seed=5).codes(features)
    assert np.array_equal(codes, fit_rmmh(features, bits=64, seed=5).codes(features))
    assert not np.array_equal(codes, fit_rmmh(features, bits=64, seed=6).codes(features))


def test_more_bits_find_more_and_margins_more_than_random_planes():
    """Recall grows with the bits, and at each length is above that of centred random hyperplanes; bits are balanced."""
    features, _ = clusters(np.random.default_rng(3))
    order = np.random.default_rng(4).permutation(len(features))
    queries, base = features[order[:100]], features[order[100:]]
    lengths = (64, 256)
    ours = [recall(fit_rmmh(base, bits=bits), queries, base) for bits in lengths]
    random = [recall(fit_hyperplanes(base, bits=bits), queries, base) for bits in lengths]
    assert ours[0] < ours[1]
    assert all(o > r for o, r in zip(ours, random, strict=True)), (ours, random)
    set_bits = np.unpackbits(fit_rmmh(base, bits=256).codes(base), axis=1).mean(axis=0)
    assert 0.4 < set_bits.mean() < 0.6


def test_plants_of_a_group_share_more_bits_than_others():
    """Codes of the same group are nearer than codes of two groups, on average over all pairs."""
    features, group = clusters(np.random.default_rng(5), groups=12)
    codes = fit_rmmh(features, bits=128).codes(features)
    distance = np.bitwise_count(codes[:, None] ^ codes[None]).sum(2)
    same = group[:, None] == group[None]
    assert distance[same].mean() < 0.7 * distance[~same].mean()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3))
def test_length_of_features_says_nothing(seed, scale):
    """Codes depend on the direction of features alone, each on its own."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(40, 6))
    hashing = fit_hyperplanes(features, bits=16, seed=seed)
    codes = hashing.codes(unit_features(features))
    assert codes.shape == (40, 2)
    assert codes.dtype == np.uint8
    assert np.array_equal(codes[::-1], hashing.codes(unit_features(features[::-1] * scale)))


def test_what_cannot_be_learnt_from_is_refused():
    """Too few features, features all alike, not finite or 0, and lengths that are no whole bytes: InputError says which."""
    features = np.random.default_rng(0).normal(size=(40, 5))
    with pytest.raises(InputError, match="at least 32"):
        fit_rmmh(features[:31])
    with pytest.raises(InputError, match="all alike"):
        fit_rmmh(np.ones((50, 5)), bits=8)
    with pytest.raises(InputError, match="multiple of 8"):
        fit_rmmh(features, bits=20)
    with pytest.raises(InputError, match="even number"):
        fit_rmmh(features, m=7)
    with pytest.raises(InputError, match=r"2 of 40 .* row 3"):
        fit_rmmh(np.where(np.isin(np.arange(40), (3, 9))[:, None], np.nan, features))
    with pytest.raises(InputError, match="all 0"):
        unit_features(np.zeros((2, 3)))
    with pytest.raises(InputError, match=r"\(n, d\)"):
        unit_features(np.ones(3))
    with pytest.raises(InputError, match="no hashing"):
        Hashing(planes=np.ones((9, 3), np.float32), offsets=np.ones(9, np.float32))
    with pytest.raises(InputError, match="not finite"):
        Hashing(planes=np.full((8, 3), np.inf, np.float32), offsets=np.ones(8, np.float32))
