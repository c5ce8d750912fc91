"""Change between two maps: brute force, what it must add up to, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.assemblages.change import change_between
from geoplantnet.assemblages.dense import open_dense, write_dense
from geoplantnet.errors import UsageError
from tests.assemblages.test_stream import GRID, multiply, tile_of


def pair(seed, species=700):
    """Two maps of one tile by one model, of other predictors."""
    before, other = tile_of(species, seed), tile_of(species, seed + 1)
    return before, replace(before, z=other.z, valid=other.valid, availability=other.availability)


def cube(tile):
    return np.concatenate([p for _, p in tile.blocks()]).reshape(-1, *tile.shape).astype(float)


@pytest.mark.parametrize("product", [multiply, None], ids=["int8", "float32"])
@given(st.integers(0, 1000), st.sampled_from([1, 30, 700]))
@settings(deadline=None, max_examples=6)
def test_change_is_what_rises_and_what_falls(product, seed, species):
    """Gain, loss and turnover against float64 over all species; NaN where either map is empty; gain - loss is the change of richness."""
    before, after = pair(seed, species)
    found, a, b = change_between(before, after, multiply=product), cube(before), cube(after)
    np.testing.assert_allclose(found.gain, np.maximum(b - a, 0).sum(axis=0), rtol=3e-4, atol=1e-4)
    np.testing.assert_allclose(found.loss, np.maximum(a - b, 0).sum(axis=0), rtol=3e-4, atol=1e-4)
    np.testing.assert_allclose(found.gain - found.loss, b.sum(axis=0) - a.sum(axis=0), rtol=3e-4, atol=3e-4)
    with np.errstate(invalid="ignore", divide="ignore"):
        index = np.abs(a - b).sum(axis=0) / (a + b).sum(axis=0)
    some = (a + b).sum(axis=0) > 1e-3
    np.testing.assert_allclose(found.turnover[some], index[some], rtol=1e-3, atol=1e-4)
    assert (np.isnan(found.gain) == ~(before.valid & after.valid)).all()


def test_the_other_way_round_gains_are_losses():
    """Backwards in time gain and loss change places and turnover stays; a map against itself changes nothing."""
    before, after = pair(3)
    there, back, same = change_between(before, after), change_between(after, before), change_between(before, before)
    np.testing.assert_array_equal(there.gain, back.loss)
    np.testing.assert_allclose(there.turnover, back.turnover, rtol=1e-6)
    assert np.nanmax(same.gain) == np.nanmax(same.loss) == 0


def test_dense_tiles_change_like_latent_ones(tmp_path):
    """Probabilities that were stored give the change of those that are computed, to the step they are stored in."""
    maps = pair(5, species=40)
    stored = []
    for name, tile in zip("ab", maps):
        write_dense(lambda tile=tile: ((part, p.reshape(-1, *tile.shape)) for part, p in tile.blocks()), tmp_path / name, tile=tile.tile, species=tile.species, dtype="uint16")  # fmt: skip
        stored.append(open_dense(tmp_path / name, GRID))
    exact, found = change_between(*maps), change_between(*stored)
    np.testing.assert_allclose(found.gain, exact.gain, atol=40 / 65_000)
    np.testing.assert_allclose(change_between(stored[0], maps[1]).loss, exact.loss, atol=40 / 65_000)


def test_maps_that_cannot_be_compared_are_refused():
    """Other species, another tile."""
    before, _ = pair(1, 30)
    with pytest.raises(UsageError, match="other species lists"):
        change_between(before, tile_of(31))
    with pytest.raises(UsageError, match="one tile"):
        change_between(before, replace(before, tile=GRID.tile_at(4_200_000, 2_600_000)))
