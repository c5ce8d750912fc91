"""The temperature of a net: recovered where it is known, and only ever for the better."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.errors import InputError
from geoplantnet.identify.temperature import BOUNDS, best_temperature, fit_temperature, negative_log_likelihood, probabilities


def drawn(seed: int, n: int = 400, species: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, species), and a truth drawn from their own softmax: calibrated."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, species)) * 2
    return z, (probabilities(z).cumsum(axis=1) > rng.uniform(size=(n, 1))).argmax(axis=1)


@pytest.mark.parametrize("factor", [0.2, 1.0, 3.0])
def test_a_known_temperature_is_found(factor):
    """Calibrated logits times a factor have that temperature, and after it are calibrated again."""
    z, y = drawn(0, n=8000)
    found = fit_temperature(z * factor, y)
    assert found.temperature == pytest.approx(factor, rel=0.06) and found.ece_after < 0.02 and found.photos == 8000
    assert found.nll_after <= found.nll_before + 1e-3 and (factor == 1 or found.ece_after < found.ece_before / 3)


@given(st.integers(0, 500), st.floats(0.3, 4), st.floats(-50, 50))
def test_it_is_the_least_of_a_grid_and_knows_no_offset(seed, factor, offset):
    """No temperature of a grid has a lower likelihood loss; an offset of all logits changes nothing; twice the logits have twice the temperature."""
    z, y = drawn(seed, n=120)
    best = best_temperature(z * factor, y)
    grid = np.geomspace(*BOUNDS, 60)
    assert negative_log_likelihood(z * factor, y, best) <= min(negative_log_likelihood(z * factor, y, t) for t in grid) + 1e-9
    assert best_temperature(z * factor + offset, y) == pytest.approx(best, rel=1e-4)
    if 2 * best < BOUNDS[1] and best > BOUNDS[0]:
        assert best_temperature(2 * z * factor, y) == pytest.approx(2 * best, rel=1e-5)


def test_nets_that_are_always_or_never_right_stay_within_bounds():
    """Without a minimum the bound is taken; logits of zeros say nothing, and nothing breaks."""
    z, _ = drawn(1)
    assert best_temperature(z, z.argmax(axis=1)) == BOUNDS[0] and best_temperature(z, z.argmin(axis=1)) == BOUNDS[1]
    assert best_temperature(z * 0, z.argmax(axis=1)) in BOUNDS


def test_photos_of_one_plant_share_a_fold():
    """Each photo five times over, told as groups, gives the figures after of other plants: not those of having seen them."""
    z, y = drawn(2, n=60)
    often, plants = np.repeat(np.arange(60), 5), fit_temperature(z, y)
    told = fit_temperature(z[often], y[often], groups=often)
    assert told.temperature == pytest.approx(plants.temperature) and told.nll_after == pytest.approx(plants.nll_after, rel=0.05)


@pytest.mark.parametrize(
    ("z", "y", "groups"),
    [
        (np.zeros((20, 3)), np.zeros(20, int), None),
        (np.full((60, 3), np.nan), np.zeros(60, int), None),
        (np.zeros((60, 3)), np.zeros(59, int), None),
        (np.zeros((60, 3)), np.zeros(60, int), np.zeros(60)),
    ],
)
def test_too_little_to_learn_from_is_refused(z, y, groups):
    """Few photos, NaN, shapes that do not fit, one plant alone."""
    with pytest.raises(InputError, match=r"temperature"):
        fit_temperature(z, y, groups=groups)
