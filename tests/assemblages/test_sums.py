"""Sums over species: their definitions, brute force, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geoplantnet.assemblages.sums import Sum, community_sums
from geoplantnet.errors import InputError, UsageError

TERMS = ("p", "p(1-p)", "p ln p", "p(1-p) ln p", "p(1-p) ln2 p", "ln(1-p)", "member")


def terms(p, threshold):
    """Every term of probabilities (species, y, x) in float64, 0 where there is none."""
    q = np.nan_to_num(p.astype(float))
    with np.errstate(divide="ignore", invalid="ignore"):
        ln = np.where(q > 0, np.log(q), 0.0)
        absence = np.log1p(-np.minimum(q, 1 - 2.0**-53))
    return dict(zip(TERMS, (q, q * (1 - q), q * ln, q * (1 - q) * ln, q * (1 - q) * ln**2, absence, (p > threshold).astype(float))))


@given(
    hnp.arrays(np.float32, (7, 3, 2), elements=st.floats(0, 1, width=32, allow_subnormal=False) | st.just(np.nan)),
    hnp.arrays(np.float32, 7, elements=st.sampled_from([0.0, 1.0, 1.0, 0.25, -2.0])),
    st.integers(1, 7),
    st.floats(0, 1, width=32),
)
@settings(deadline=None, max_examples=60)
def test_every_term_is_its_definition_under_any_weights(p, weights, size, threshold):
    """Flags, most of the list or few of it, and any other weights: brute force in float64 agrees."""
    blocks = lambda: ((slice(s, min(s + size, 7)), p[s : s + size]) for s in range(0, 7, size))  # noqa: E731
    most = np.ones(7, np.float32)
    most[2] = 0
    asked = {(term, name): Sum(term=term, weights=w) for term in TERMS for name, w in (("all", None), ("some", weights), ("most", most))}
    found, has_data = community_sums(blocks, (3, 2), asked, species=7, threshold=threshold)
    np.testing.assert_array_equal(has_data, ~np.isnan(p).all(axis=0))
    for (term, name), value in found.items():
        w = asked[term, name].weights if asked[term, name].weights is not None else np.ones(7)
        np.testing.assert_allclose(value, np.tensordot(w.astype(float), terms(p, threshold)[term], 1), rtol=1e-5, atol=2e-6)


def test_what_cannot_be_summed_is_refused():
    """Weights of another list, another number of species, members of no set."""
    p = np.full((3, 1, 1), 0.5, np.float32)
    for asked, options, error, says in (
        ({"a": Sum(weights=np.ones(2, np.float32))}, {"species": 3}, InputError, "weights .2,. for 3 species"),
        ({"a": Sum()}, {"species": 4}, InputError, "over 4 species, the blocks hold 3"),
        ({"a": Sum()}, {"species": 2}, InputError, "over 2 species, the blocks hold 3"),
        ({"a": Sum(term="member")}, {"species": 3}, UsageError, "no threshold"),
    ):
        with pytest.raises(error, match=says):
            community_sums(lambda: [(slice(0, 3), p)], (1, 1), asked, **options)
