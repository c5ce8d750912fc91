"""The area of applicability: how unlike the training sites a place is, and where that begins to matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist

from geoplantnet.cubes import PatchReader, build_cube, write_cube
from geoplantnet.errors import CubeError, InputError, ModelError
from geoplantnet.sdm.applicability import Applicability, applicability_of_tile, outlier_removed_maximum
from geoplantnet.sdm.sites import Table, tabulate


def a_climate(n=60, predictors=4, seed=0, missing=0.0):
    """Sites' predictors of very different units and their folds, some values missing."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, predictors)) * 10.0 ** rng.integers(-2, 4, predictors) + rng.normal(size=predictors) * 100
    values[rng.random(values.shape) < missing] = np.nan
    return values.astype(np.float32), rng.integers(0, 4, n)


def brute_force(train, folds, weights, new):
    """DI of new places, of training sites across folds, and the threshold: Meyer & Pebesma 2021 pair by pair, in float64.

    Distances over predictors known of both, scaled by the weight they share; pairs that share less than half are left out.
    """
    train, new = train.astype(float), new.astype(float)
    mean, sd = np.nanmean(train, axis=0), np.nanstd(train, axis=0, ddof=1)
    a, b = (train - mean) / sd * weights, (new - mean) / sd * weights
    total = (weights**2).sum()

    def between(x, y):
        both = np.isfinite(x) & np.isfinite(y) & (weights > 0)
        share = (weights[both] ** 2).sum() / total
        return np.sqrt(((x[both] - y[both]) ** 2).sum() / share) if share >= 0.5 else np.nan

    pairs = np.array([[between(x, y) for y in a] for x in a])
    unit = np.nanmean(pairs[~np.eye(len(a), dtype=bool)])
    nearest = np.nanmin(np.array([[between(x, y) for y in a] for x in b]), axis=1) / unit
    across = np.array([np.nanmin(np.where(folds == folds[i], np.nan, pairs[i])) for i in range(len(a))]) / unit
    q1, q3 = np.nanpercentile(across, [25, 75])
    return nearest, across, min(q3 + 1.5 * (q3 - q1), np.nanmax(across))


@pytest.mark.filterwarnings("ignore:All-NaN slice")
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.15]), weighted=st.booleans())
def test_index_and_threshold_are_those_of_the_definition(seed, missing, weighted):
    """DI, the training sites' own DI and the threshold equal a pair-by-pair float64 computation, also with gaps."""
    train, folds = a_climate(seed=seed, missing=missing)
    new = train[np.random.default_rng(seed).permutation(40)] * np.float32(1.3)
    weights = np.random.default_rng(seed).random(4) if weighted else np.ones(4)
    index, across, threshold = brute_force(train, folds, weights, new)
    aoa = Applicability.fit(train, folds, weights)
    np.testing.assert_allclose(aoa.index(new), index, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(aoa.training_index, across, rtol=1e-9, atol=1e-9)
    assert aoa.threshold == pytest.approx(threshold, rel=1e-9)


def test_distances_are_scipy_s():
    """Without gaps and weights, DI is scipy's nearest Euclidean distance over its mean pairwise one."""
    train, folds = a_climate(n=300, seed=1)
    new, _ = a_climate(n=700, seed=2)
    z, q = ((v.astype(float) - train.mean(axis=0, dtype=float)) / train.std(axis=0, ddof=1, dtype=float) for v in (train, new))
    expected = cdist(q, z).min(axis=1) / pdist(z).mean()
    np.testing.assert_allclose(Applicability.fit(train, folds).index(new), expected, rtol=1e-5)


def test_threshold_of_the_published_example():
    """CAST (Meyer & Pebesma's own package) prints the training DI of its cookfarm example, and the threshold .38986 from it."""
    # fmt: off
    published = np.array([
        0.09043580, 0.14046341, 0.16584582, 0.57617177, 0.26840303, 0.14353894, 0.19768329, 0.24022059, 0.06832037, 0.29150668,
        0.18471625, 0.57617177, 0.12344463, 0.09043580, 0.14353894, 0.26896008, 0.22713731, 0.24022059, 0.20388725, 0.06832037,
        0.23604264, 0.20388725, 0.91513568, 0.09558666, 0.14046341, 0.16214832, 0.37107762, 0.16214832, 0.18471625, 0.12344463,
    ])
    # fmt: on
    assert outlier_removed_maximum(published) == pytest.approx(0.38986, abs=5e-6)


def test_threshold_is_a_dissimilarity_that_occurs_when_nothing_is_an_outlier():
    """Without outliers the threshold is the largest DI among the training sites, not a whisker beyond it."""
    assert outlier_removed_maximum(np.linspace(0.1, 0.3, 50)) == pytest.approx(0.3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.1]))
def test_a_training_site_is_like_itself(seed, missing):
    """DI is exactly 0 at a training site that knows enough to be compared, and it is inside."""
    train, folds = a_climate(seed=seed, missing=missing)
    aoa = Applicability.fit(train, folds)
    enough = np.isfinite(train).mean(axis=1) >= 0.5
    assert (aoa.index(train)[enough] <= 1e-6).all()
    assert aoa.inside(train)[enough].all()
    assert np.isnan(aoa.index(train)[~enough]).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_units_do_not_matter(seed, factor, shift):
    """Degrees or kelvin, millimetres or metres: DI and threshold stay; so with importances on another scale."""
    train, folds = a_climate(seed=seed)
    train = (train - train.mean(axis=0)) / train.std(axis=0)
    new, _ = a_climate(seed=seed + 1)
    new = (new - new.mean(axis=0)) / new.std(axis=0) * 2
    weights = np.array([1.0, 0.2, 3.0, 0.5])
    aoa = Applicability.fit(train, folds, weights)
    units = np.array([factor, 1, 1 / factor, 1], np.float32)
    other = Applicability.fit(train * units + np.float32(shift) * units, folds, 17 * weights)
    assert other.threshold == pytest.approx(aoa.threshold, rel=2e-3)
    np.testing.assert_allclose(other.index(new * units + np.float32(shift) * units), aoa.index(new), rtol=2e-3, atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_more_training_sites_never_make_a_place_less_alike(seed):
    """With centre, spread and unit kept, a place is no farther from more sites, and no fewer are near it."""
    train, folds = a_climate(n=80, seed=seed, missing=0.05)
    new, _ = a_climate(n=50, seed=seed, missing=0.05)
    all_sites = Applicability.fit(train, folds)
    fewer = replace(all_sites, sites=train[:40])
    assert (np.nan_to_num(all_sites.index(new), nan=np.inf) <= np.nan_to_num(fewer.index(new), nan=np.inf) + 1e-6).all()
    assert (all_sites.density(new) >= fewer.density(new)).all()


def test_another_climate_is_outside():
    """Places ten standard deviations away are outside; new places of the same climate mostly are inside."""
    rng = np.random.default_rng(0)
    train, folds = rng.normal(size=(400, 5)).astype(np.float32), rng.integers(0, 5, 400)
    aoa = Applicability.fit(train, folds)
    assert not aoa.inside(train + 10).any()
    assert aoa.inside(rng.normal(size=(400, 5)).astype(np.float32)).mean() > 0.9


def test_an_unimportant_predictor_does_not_exclude():
    """A predictor of weight 0 may be anything, or be missing; one of no spread likewise."""
    train, folds = a_climate()
    train[:, 1] = 7
    aoa = Applicability.fit(train, folds, [0.0, 1.0, 1.0, 1.0])
    new = train.copy()
    new[:, 0], new[:, 1] = np.nan, 1e6
    np.testing.assert_allclose(aoa.index(new), 0, atol=1e-6)


def test_a_place_that_is_hardly_known_is_outside():
    """All missing, or less than half of the weight known: NaN and outside, however near the rest lies."""
    train, folds = a_climate()
    aoa = Applicability.fit(train, folds)
    new = train[:3].copy()
    new[0], new[1, 1:], new[2, 2:] = np.nan, np.nan, np.nan
    np.testing.assert_array_equal(np.isnan(aoa.index(new)), [True, True, False])
    np.testing.assert_array_equal(aoa.inside(new), [False, False, True])
    np.testing.assert_array_equal(aoa.density(new)[:2], 0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.1]))
def test_density_counts_the_sites_within_the_threshold(seed, missing):
    """Some site is near just where a place is inside; density is what a count over single-site areas gives."""
    train, folds = a_climate(n=40, seed=seed, missing=missing)
    new, _ = a_climate(n=30, seed=seed, missing=missing)
    aoa = Applicability.fit(train, folds)
    found = aoa.density(new)
    np.testing.assert_array_equal(found >= 1, aoa.inside(new))
    each = sum(replace(aoa, sites=train[i : i + 1]).inside(new).astype(int) for i in range(len(train)))
    np.testing.assert_array_equal(found, each)


def test_sites_never_held_out_have_no_say_in_the_threshold():
    """A negative fold is near to every fold, and has no DI of its own."""
    train, folds = a_climate(n=60)
    folds[:20] = -1
    aoa = Applicability.fit(train, folds)
    assert np.isnan(aoa.training_index[:20]).all() and np.isfinite(aoa.training_index[20:]).all()
    without = Applicability.fit(train[20:], folds[20:])
    own = (train[20:] - aoa.mean) / aoa.scale
    nearest = [
        cdist(own[[i]], np.delete(((train - aoa.mean) / aoa.scale), np.flatnonzero(folds == folds[20 + i]), 0)).min() for i in range(40)
    ]
    np.testing.assert_allclose(aoa.training_index[20:] * aoa.distance, np.array(nearest) / 2, rtol=1e-6)  # 4 weights of 1/2
    assert without.training_index.size == 40


def test_what_cannot_be_fitted_is_refused():
    """Each with a word on what to mend."""
    train, folds = a_climate()
    for values, fold, weights, word in (
        (train, folds[:-1], None, "every site a fold"),
        (train, folds, [1, 2], "every predictor a weight"),
        (train, folds, [1, 1, 1, np.nan], "finite"),
        (train, folds, [0, 0, -1, 0], "positive weight"),
        (np.ones_like(train), folds, None, "varies"),
        (train, np.zeros_like(folds), None, "two folds"),
        (train[:, 0], folds, None, "site, predictor"),
    ):
        with pytest.raises(InputError, match=word):
            Applicability.fit(values, fold, weights)


def test_features_of_another_model_are_refused():
    """By number, and by name where both have names."""
    train, folds = a_climate()
    table = Table(values=train, names=("a", "b", "c", "d"), modality=("m",) * 4)
    aoa = Applicability.fit(table, folds)
    with pytest.raises(ModelError, match="a, b, c, d"):
        aoa.index(train[:, :3])
    with pytest.raises(ModelError, match="fitted on a, b, c, d; it was given b, a, c, d"):
        aoa.index(replace(table, names=("b", "a", "c", "d")))
    np.testing.assert_array_equal(aoa.index(train), aoa.index(table))


def test_it_comes_back_from_disk(tmp_path):
    """Saved and loaded, it gives the same bits; saved twice, the same bytes; another folder is refused."""
    train, folds = a_climate(missing=0.1)
    new, _ = a_climate(seed=5)
    aoa = Applicability.fit(Table(values=train, names=("a", "b", "c", "é"), modality=("m",) * 4), folds)
    for name in ("one", "two"):
        aoa.save(tmp_path / name)
    again = Applicability.load(tmp_path / "one")
    np.testing.assert_array_equal(again.index(new), aoa.index(new))
    assert (again.names, again.threshold) == (aoa.names, aoa.threshold)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    with pytest.raises(ModelError, match="fit and save"):
        Applicability.load(tmp_path / "none")


@pytest.fixture(scope="module")
def tile_and_cells(tmp_path_factory, small_grid, modalities, sources):
    tile = small_grid.tile("2kmE4200N2600")
    path = tmp_path_factory.mktemp("cube") / "cube.zarr"
    write_cube(build_cube(tile, modalities, sources), path, modalities)
    rng = np.random.default_rng(3)
    rows, columns = rng.integers(0, 40, (2, 150))
    rows[:4], columns[:4] = (0, 0, 39, 39), (0, 39, 0, 39)
    west, _, _, north = tile.bounds
    points = pd.DataFrame({"x": west + (columns + 0.5) * 50.0, "y": north - (rows + 0.5) * 50.0})
    reader = PatchReader(points, grid=tile.grid, modalities=modalities, sources=sources, cubes={tile.id: path})
    return tile, path, rows, columns, tabulate(reader, np.arange(150))


def test_a_tile_has_the_dissimilarity_of_its_patches(tile_and_cells, modalities):
    """DI of the whole tile equals, at 150 cells with its corners, DI of what `tabulate` reads around them."""
    tile, path, rows, columns, table = tile_and_cells
    weights = np.random.default_rng(0).random(len(table.names))
    aoa = Applicability.fit(replace(table, values=table.values[:60]), np.arange(60) % 3, weights)
    index = applicability_of_tile(aoa, tile, path, modalities)
    assert index.shape == (40, 40) and index.dtype == np.float32
    assert np.isnan(table.values).any()  # the image and the series have gaps
    np.testing.assert_allclose(index[rows, columns], aoa.index(table), atol=2e-4)
    assert index[rows[60:], columns[60:]].std() > 0.02


def test_every_predictor_of_a_tile_is_that_of_its_patches(tile_and_cells, modalities):
    """The same for each predictor alone: one that were read amiss would show."""
    tile, path, rows, columns, table = tile_and_cells
    for j in range(len(table.names)):
        weights = np.zeros(len(table.names))
        weights[j] = 1
        aoa = replace(Applicability.fit(table, np.arange(150) % 3, weights), sites=np.nanmin(table.values, axis=0, keepdims=True) - 1)
        np.testing.assert_allclose(
            applicability_of_tile(aoa, tile, path, modalities)[rows, columns],
            aoa.index(table),
            rtol=1e-3,
            atol=1e-3,
            err_msg=table.names[j],
        )


def test_a_tile_of_other_modalities_is_refused(tile_and_cells, modalities, tmp_path):
    """Features of other modalities, and a cube without one."""
    tile, path, _, _, table = tile_and_cells
    aoa = Applicability.fit(table, np.arange(150) % 3)
    with pytest.raises(ModelError, match="tabulate"):
        applicability_of_tile(aoa, tile, path, modalities[:2])
    with pytest.raises(CubeError, match="image"):
        applicability_of_tile(aoa, tile, tmp_path, modalities)
