"""Target-group background and effort: counts are conserved, densities are those of a kernel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KernelDensity

from geoplantnet.errors import InputError, UsageError
from geoplantnet.occurrences import effort, target_group
from geoplantnet.occurrences.background import scott_bandwidth

rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5), st.integers(-1, 2)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_sites_hold_the_records(rows):
    """A dictionary by place and group gives the same sites and counts; background rows and rows without records are no sites."""
    xy, count, group = np.array([r[:2] for r in rows], float), np.array([r[2] for r in rows]), np.array([r[3] for r in rows])
    expected: dict = {}
    for x, y, n, g in rows:
        if g >= 0 and n:
            expected[g, y, x] = expected.get((g, y, x), 0) + n
    if not expected:
        with pytest.raises(InputError, match="needs some"):
            target_group(xy, count, group)
        return
    found = target_group(xy, count, group)
    keys = [(g, int(xy[r, 1]), int(xy[r, 0])) for g, r in zip(found.group.tolist(), found.row.tolist())]
    assert keys == sorted(expected) and found.records.tolist() == [expected[k] for k in keys]
    assert (group[found.row] == found.group).all()


def test_cells_gather_sites():
    """Sites of a cell are one; another group's are not."""
    xy = np.array([[10, 10], [90, 90], [110, 10], [10, 10]], float)
    found = target_group(xy, [1, 2, 4, 8], [0, 0, 0, 1], cell=100)
    assert found.records.tolist() == [3, 4, 8] and found.group.tolist() == [0, 0, 1] and found.row.tolist() == [0, 2, 3]


@pytest.mark.parametrize("bandwidth", [400.0, 3_000.0, 40_000.0])
def test_effort_is_a_kernel_density(bandwidth):
    """scikit-learn's Gaussian kernel density gives the same relative effort within 1 % where there is any."""
    rng = np.random.default_rng(0)
    xy = np.concatenate([rng.normal(0, 5_000, (300, 2)), rng.normal(20_000, 2_000, (100, 2))])
    records, at = rng.integers(1, 5, 400), rng.uniform(-8_000, 24_000, (200, 2))
    found = effort(xy, at, records=records, bandwidth=bandwidth, floor=1e-9)
    log = KernelDensity(bandwidth=bandwidth, rtol=1e-8).fit(xy, sample_weight=records).score_samples(at)
    there = log > log.max() - 8
    expected = log - np.log(np.exp(log - log.max()).mean()) - log.max()
    np.testing.assert_allclose(found.log[there], expected[there], atol=0.02)
    assert np.exp(found.log.astype(float)).mean() == pytest.approx(1, rel=1e-5)


def test_effort_knows_no_minus_infinity():
    """Far from every record effort is the floor: finite, equal everywhere, and 1 % of what records see."""
    xy = np.zeros((10, 2))
    found = effort(xy, np.array([[0, 0], [1e6, 0], [0, 2e6]]), bandwidth=1_000)
    assert found.log[1] == found.log[2] and np.exp(found.log[0] - found.log[1]) == pytest.approx(101, rel=1e-4)


def test_weights_are_repeats():
    """A record counted three times is three records; the bandwidth follows Scott's rule and is told."""
    rng = np.random.default_rng(1)
    xy, at = rng.normal(0, 1_000, (50, 2)), rng.normal(0, 1_000, (20, 2))
    times = rng.integers(1, 4, 50)
    one, many = effort(xy, at, records=times, bandwidth=500), effort(np.repeat(xy, times, axis=0), at, bandwidth=500)
    np.testing.assert_allclose(one.log, many.log, atol=1e-5)
    expected = 50 ** (-1 / 6) * np.sqrt(xy.var(axis=0).mean())
    assert scott_bandwidth(xy, np.ones(50)) == pytest.approx(expected) and effort(xy, at).bandwidth == pytest.approx(expected)


def test_bad_input_is_named():
    """No records, negative counts, lengths that differ, a bandwidth that cannot be guessed."""
    xy = np.zeros((3, 2))
    with pytest.raises(InputError, match="not all 0"):
        effort(xy, xy, records=[0, 0, 0])
    with pytest.raises(InputError, match="0 places"):
        effort(np.empty((0, 2)), xy)
    with pytest.raises(UsageError, match="state a bandwidth"):
        effort(xy, xy)
    with pytest.raises(InputError, match="no finite"):
        effort(xy + np.nan, xy, bandwidth=1)
    with pytest.raises(InputError, match="-1 records"):
        target_group(xy, [1, -1, 1], [0, 0, 0])
    with pytest.raises(InputError, match="do not match"):
        target_group(xy, [1, 1], [0, 0, 0])
    with pytest.raises(UsageError, match="holds no site"):
        target_group(xy, [1, 1, 1], [0, 0, 0], cell=0)
