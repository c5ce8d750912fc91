"""Hillshade: known terrain has known light, windows agree, holes stay holes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geoplantnet.catalog.relief import hillshade
from geoplantnet.errors import RasterError, UsageError


def textbook(z: np.ndarray, cell_size: float, altitude: float) -> np.ndarray:
    """The same light cell by cell, from slope and aspect angles as the manuals write it."""
    out = np.zeros((z.shape[0] - 2, z.shape[1] - 2))
    zenith = math.radians(90 - altitude)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            (a, b, c), (d, _, f), (g, h, k) = z[i : i + 3, j : j + 3]
            east = ((c + 2 * f + k) - (a + 2 * d + g)) / (8 * cell_size)
            north = ((a + 2 * b + c) - (g + 2 * h + k)) / (8 * cell_size)
            slope, aspect = math.atan(math.hypot(east, north)), math.atan2(-east, -north)
            for azimuth in map(math.radians, (225, 270, 315, 360)):
                light = math.cos(zenith) * math.cos(slope) + math.sin(zenith) * math.sin(slope) * math.cos(azimuth - aspect)
                out[i, j] += max(light, 0) * math.sin(aspect - azimuth) ** 2 / 2
    return 1 + 254 * out


heights = hnp.arrays(np.float64, st.tuples(st.integers(3, 9), st.integers(3, 9)), elements=st.floats(-400, 4800))


@given(heights, st.sampled_from([10.0, 50.0, 200.0]), st.sampled_from([30.0, 45.0, 60.0]))
def test_equals_the_textbook_cell_by_cell(z, cell_size, altitude):
    """Vectors of gradients give what angles of slope and aspect give, within rounding to a byte."""
    shade = hillshade(z, cell_size, altitude=altitude)
    assert shade.shape == (z.shape[0] - 2, z.shape[1] - 2) and shade.dtype == np.uint8
    assert np.abs(shade - textbook(z, cell_size, altitude)).max() <= 0.5 + 1e-6


@given(hnp.arrays(np.float32, (10, 12), elements=st.floats(0, 3000, width=32) | st.just(np.nan)), st.integers(0, 6), st.integers(0, 8))
def test_a_window_of_the_shade_is_the_shade_of_the_window(z, row, column):
    """Two tiles that bring their margin meet without a seam, with holes or without."""
    whole = hillshade(z, 50.0)
    np.testing.assert_array_equal(hillshade(z[row : row + 4, column : column + 4], 50.0), whole[row : row + 2, column : column + 2])


@given(heights, st.floats(-1000, 1000))
def test_shade_does_not_depend_on_the_height_above_sea(z, lift):
    """Only slopes matter: lifting the terrain changes no byte by more than rounding."""
    assert np.abs(hillshade(z, 50.0).astype(int) - hillshade(z + lift, 50.0)).max() <= 1


def test_flat_land_has_the_light_of_its_altitude():
    """A plain under light from 45 degrees has brightness sin(45)."""
    assert np.unique(hillshade(np.full((6, 6), 800.0), 50.0)).tolist() == [1 + round(254 * math.sin(math.radians(45)))]


def test_slopes_towards_the_north_west_are_brighter():
    """The eye reads relief lit from the upper left: north-west slopes bright, south-east slopes dark."""
    y, x = np.mgrid[0:5, 0:5] * 50.0
    assert hillshade(0.5 * (x + y), 50.0).min() > hillshade(np.zeros((5, 5)), 50.0).max() > hillshade(-0.5 * (x + y), 50.0).max()


def test_a_hole_is_nodata_and_does_not_grow():
    """A cell without elevation is 0; its neighbours keep a shade, 1 at least."""
    z = np.random.default_rng(0).random((9, 9)) * 500
    z[4, 4] = np.nan
    shade = hillshade(z, 50.0)
    assert shade[3, 3] == 0 and np.count_nonzero(shade == 0) == 1
    assert not hillshade(np.full((5, 5), np.nan), 50.0).any()


@pytest.mark.parametrize("shape", [(2, 5), (5, 2), (5,), (1, 5, 5), (0, 0)])
def test_elevation_without_room_for_a_margin_is_refused(shape):
    """Shapes without a cell inside the margin raise RasterError."""
    with pytest.raises(RasterError, match="margin"):
        hillshade(np.zeros(shape), 50.0)


@pytest.mark.parametrize(
    ("cell_size", "options"),
    [(0, {}), (-50, {}), (math.nan, {}), (50, {"altitude": 0}), (50, {"altitude": 91}), (50, {"exaggeration": math.inf})],
)
def test_settings_without_a_meaning_are_refused(cell_size, options):
    """Cell sizes and lights that do not exist raise UsageError."""
    with pytest.raises(UsageError):
        hillshade(np.zeros((5, 5)), cell_size, **options)
