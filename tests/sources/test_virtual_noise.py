"""Hashed noise and the routing of water: pure functions with laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from geoplantnet.sources.virtual import noise, relief, water
from geoplantnet.sources.virtual.noise import Pixels

windows = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 30), st.integers(1, 30))


@given(windows, st.integers(0, 2**31), st.sampled_from([20, 70, 640]))
@settings(max_examples=30, deadline=None)
def test_a_window_of_noise_is_the_noise_of_the_window(window, seed, wavelength):
    """Every field depends on the pixel's place alone, bit for bit, on a grid as at points."""
    col, row, width, height = window
    whole, part = Pixels.grid(10, -20, -30, 80, 80), Pixels.grid(10, col - 20, row - 30, width, height)
    view = slice(row, row + height), slice(col, col + width)
    x, y = np.meshgrid(part.cols[0], part.rows[:, 0])
    points = Pixels(10, x.ravel(), y.ravel())
    for make in (noise.white, lambda p, s: noise.smooth(p, wavelength, s), lambda p, s: noise.fractal(p, wavelength, s, octaves=3)):
        field = make(part, seed)
        np.testing.assert_array_equal(field, make(whole, seed)[view])
        np.testing.assert_array_equal(field.ravel(), make(points, seed))


def test_noise_is_spread_as_stated():
    """White noise is uniform, smooth noise about standard normal, and seeds are independent."""
    pixels = Pixels.grid(10, 400_000, -260_000, 600, 600)
    white = noise.white(pixels, 5)
    assert white.min() >= 0 and white.max() < 1
    np.testing.assert_allclose(np.histogram(white, 10, (0, 1))[0] / white.size, 0.1, atol=0.004)
    for field in (noise.smooth(pixels, 40, 5), noise.fractal(pixels, 80, 5, octaves=4)):
        assert abs(field.mean()) < 0.1
        assert abs(field.std() - 1) < 0.1
    for other in (noise.white(pixels, 6), white[:, ::-1], white[::-1]):
        assert abs(np.corrcoef(white.ravel(), other.ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(white[:, 1:].ravel(), white[:, :-1].ravel())[0, 1]) < 0.01


def test_interpolation_agrees_with_scipy():
    """Bilinear values of cells at finer pixels equal scipy's, on a grid as at points."""
    layer = np.random.default_rng(0).random((9, 11)).astype(np.float32)
    pixels = Pixels.grid(10, 505, -295, 40, 30)
    reference = RegularGridInterpolator((np.arange(9), np.arange(11)), layer)
    u, v = (pixels.cols * 10 + 5) / 50 - 100.5, (pixels.rows * 10 + 5) / 50 + 59.5
    expected = reference(np.stack(np.broadcast_arrays(v, u), axis=-1))
    found = noise.interpolate(layer, (100, -60), 50, pixels)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    x, y = np.meshgrid(pixels.cols[0], pixels.rows[:, 0])
    np.testing.assert_array_equal(noise.interpolate(layer, (100, -60), 50, Pixels(10, x.ravel(), y.ravel())), found.ravel())


@given(st.floats(-1, 1), st.floats(-1, 1))
@settings(max_examples=25, deadline=None)
def test_slope_and_aspect_of_a_plane(east, south):
    """A plane has the slope and the downhill aspect of its gradient everywhere inside."""
    y, x = np.mgrid[:6, :7] * 50.0
    slope, aspect = relief.slope_aspect((1000 + east * x + south * y).astype(np.float32), 50)
    np.testing.assert_allclose(slope[1:-1, 1:-1], np.degrees(np.arctan(np.hypot(east, south))), atol=0.01)
    if np.hypot(east, south) > 0.01:
        downhill = np.degrees(np.arctan2(-east, south)) % 360
        turn = (aspect[1:-1, 1:-1] - downhill + 180) % 360 - 180
        np.testing.assert_allclose(turn, 0, atol=0.2)


def test_heat_load_of_known_slopes():
    """Flat ground follows the published equation; north-east is coldest, its opposite is far hotter, and folding is symmetric."""
    flat = relief.heat_load(np.float32(0), np.float32(123), np.float32(46.5))
    np.testing.assert_allclose(flat, np.exp(-1.467 + 1.582 * np.cos(np.radians(46.5))), rtol=1e-6)
    aspects = np.arange(0, 360, 45, dtype=np.float32)
    around = relief.heat_load(np.full(8, 30, np.float32), aspects, np.full(8, 46.5, np.float32))
    assert around[aspects == 225] > 2 * around[aspects == 45]
    assert aspects[around.argmin()] == 45
    np.testing.assert_allclose(around[[4, 3, 2]], around[[6, 7, 0]], rtol=1e-5)  # S = W, SE = NW, E = N


@pytest.fixture(scope="module")
def hills() -> np.ndarray:
    heights = noise.fractal(Pixels.grid(200, 3, 5, 30, 25), 2000, 3, octaves=4).astype(float) * 300
    heights[:4, 20:] = np.nan
    return heights


def test_all_water_arrives(hills):
    """What is supplied leaves through the outlets, every cell drains to one, and single flow counts as walking does."""
    graph = water.drainage(hills, 200)
    known = np.isfinite(hills).ravel()
    assert sorted(graph.order) == np.flatnonzero(known).tolist()
    outlets = [c for c in graph.order if graph.parent[c] < 0]
    flow = graph.route(np.where(known, 1.0, 0.0).reshape(hills.shape))
    np.testing.assert_allclose(flow.ravel()[outlets].sum(), known.sum())
    walked = np.zeros(hills.size, int)
    for cell in graph.order:
        while cell >= 0:
            walked[cell] += 1
            cell = graph.parent[cell]
    np.testing.assert_array_equal(graph.gather().ravel(), walked)


def test_losses_dry_a_flow_up_and_never_below_zero(hills):
    """A glacier's ice melts away below the equilibrium line; none appears where there is no firn."""
    graph = water.drainage(hills, 200)
    slope = np.full(hills.shape, 10.0)
    ice = water.glacier(graph, np.where(np.isfinite(hills), hills + 2500, np.nan), slope, equilibrium=2600)
    assert (ice >= 0).all() and ice.max() > 0
    assert (water.glacier(graph, hills, slope, equilibrium=5000) == 0).all()


def test_lakes_are_level_and_large():
    """Level ground counts as a lake only when large enough, and never in a void."""
    y, x = np.mgrid[:60, :60]
    ground = (x * 10.0 + y * 3).astype(np.float32)
    ground[10:30, 10:30] = 200
    ground[45:52, 45:52] = 700
    known = np.ones(ground.shape, bool)
    lake = water.lakes(ground, known, 50, smallest=50)
    assert lake[12:28, 12:28].all() and lake.sum() <= 20 * 20
    assert not water.lakes(ground, ~known, 50, smallest=10).any()
