"""Explaining a model: known models are taken apart as arithmetic says."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.inspection import partial_dependence
from sklearn.inspection import permutation_importance as sklearn_importance
from sklearn.linear_model import LogisticRegression

from geoplantnet.cubes import Modality, Patch, PatchReader, TablePatches, build_cube, write_cube
from geoplantnet.errors import InputError, ModelError, UsageError
from geoplantnet.grid.time_axis import TimeAxis
from geoplantnet.sdm.applicability import Applicability
from geoplantnet.sdm.estimator import Estimator
from geoplantnet.sdm.evaluate import auc_per_species
from geoplantnet.sdm.explain import (
    MovedPatches,
    PermutedPatches,
    channels_of,
    explain_predictions,
    importance_weights,
    log_likelihood,
    modality_contributions,
    most_important,
    permutation_importance,
    predictors_of,
    response_curves,
)
from geoplantnet.sdm.sites import BACKGROUND, Sites, tabulate
from geoplantnet.sdm.species_report import niche

COLUMNS = {"climate": ("t", "p"), "soil": ("ph",), "relief": ("slope",)}


def some_sites(species, n=120, columns=COLUMNS, seed=0, patches=None):
    """Plots and a few presence-only records, species found where the first and third band are high."""
    rng = np.random.default_rng(seed)
    bands = [band for own in columns.values() for band in own]
    frame = pd.DataFrame(rng.normal(size=(n, len(bands))), columns=bands)
    chance = 1 / (
        1 + np.exp(-(frame[bands[0]].to_numpy()[:, None] * np.linspace(-2, 2, len(species)) + frame[bands[-1]].to_numpy()[:, None]))
    )
    found = (rng.random(chance.shape) < chance).astype(np.uint8)
    plots = np.arange(n) < n - 20
    return Sites(
        species=species,
        patches=patches or TablePatches(frame, columns),
        labels=sparse.csr_array(found),
        presence_absence=plots,
        group=np.where(plots, 0, BACKGROUND),
        xy=rng.random((n, 2)) * 1e4,
    )


def linear(slopes):
    """A model linear in the bands (missing = 0): p = .5 + x . slopes, the same a species up to its own factor."""

    def predict(sites, rows):
        x = np.nan_to_num(tabulate(sites.patches, rows).values.astype(float))
        own = np.linspace(0.5, 1.5, len(sites.species))
        return 0.5 + (x @ np.asarray(slopes))[:, None] * own

    return predict


def logistic(slopes):
    """A model additive in the logit, so that modalities interact in p."""
    return lambda sites, rows: (1 / (1 + np.exp(-8 * (linear(slopes)(sites, rows) - 0.5)))).astype(np.float32)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), score=st.sampled_from(["auc", "log_likelihood"]))
def test_shapley_values_sum_to_what_all_modalities_add(species, seed, score):
    """Efficiency: to score(all) - score(none), for every species, and for every prediction."""
    sites, rows = some_sites(species, seed=seed), np.arange(120)
    predict = logistic(np.random.default_rng(seed).normal(size=4) * 0.2)
    found = modality_contributions(predict, sites, rows, score=score)
    assert found.table["shapley"].sum() == pytest.approx(found.with_all - found.with_none, abs=1e-12)
    assert found.table["share"].sum() == pytest.approx(1)
    whole = predict(sites, np.arange(100))
    np.testing.assert_allclose(found.baseline + found.predictions.sum(axis=0), whole, atol=1e-6)
    if score == "auc":
        scored = auc_per_species(whole, sites.found(np.arange(100)))
        np.testing.assert_allclose(found.species.sum(axis=1), scored - 0.5, atol=1e-12)  # nothing known: every plot alike
    assert found.subsets == 8 and found.exact


def test_shapley_values_of_a_linear_model_are_its_terms(species):
    """A sum of slopes times predictors: a modality's part is its own terms, whatever the others are."""
    slopes = np.array([0.3, -0.1, 0.2, 0.0])
    sites, rows = some_sites(species), np.arange(120)
    found = modality_contributions(linear(slopes), sites, rows)
    x, own = tabulate(sites.patches, np.arange(100)).values, np.linspace(0.5, 1.5, len(species))
    for i, columns in enumerate(([0, 1], [2], [3])):
        np.testing.assert_allclose(found.predictions[i], (x[:, columns] @ slopes[columns])[:, None] * own, atol=1e-6)


def test_shapley_values_are_means_over_all_orders(species):
    """Against the definition by orders: the mean over every order of what a modality adds to those before it."""
    sites, rows = some_sites(species, seed=4), np.arange(100)
    predict, names = logistic([0.5, 0.1, -0.3, 0.4]), list(COLUMNS)
    labels = sites.found(rows)

    def value(kept):
        return np.nanmean(auc_per_species(predict(sites.masked([n for n in names if n not in kept]), rows), labels))

    expected = dict.fromkeys(names, 0.0)
    for order in permutations(names):
        for i, name in enumerate(order):
            expected[name] += (value(order[: i + 1]) - value(order[:i])) / 6
    table = modality_contributions(predict, sites, rows).table.set_index("modality")
    np.testing.assert_allclose(table["shapley"], [expected[n] for n in names], atol=1e-12)
    for name in names:
        assert table.loc[name, "alone"] == pytest.approx(value([name]) - value([]))
        assert table.loc[name, "drop_one"] == pytest.approx(value(names) - value([n for n in names if n != name]))


def test_an_ignored_modality_adds_nothing_and_equal_ones_add_the_same(species):
    """Null player and symmetry: the model does not read `soil`, and reads two copies of one band alike."""
    columns = {"one": ("a",), "soil": ("s",), "two": ("a",)}
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(120, 2)), columns=["a", "s"])
    sites = some_sites(species, columns={"m": ("a", "s")}, patches=TablePatches(frame, columns))
    table = modality_contributions(logistic([0.4, 0, 0.4]), sites, np.arange(120)).table.set_index("modality")
    assert (table.loc["soil", ["alone", "drop_one"]] == 0).all()
    assert table.loc["soil", "shapley"] == pytest.approx(0, abs=1e-12)
    assert table.loc["one", "shapley"] == pytest.approx(table.loc["two", "shapley"], abs=1e-12)


def test_drawn_orders_keep_the_sum_and_come_near(species):
    """More than eight modalities: sums hold exactly, a linear model's terms come out exactly, the rest nearly."""
    columns = {f"m{i}": (f"b{i}",) for i in range(9)}
    sites, rows = some_sites(species, columns=columns), np.arange(60)
    slopes = np.linspace(-0.2, 0.3, 9)
    found = modality_contributions(linear(slopes), sites, rows, orders=10)
    assert not found.exact and found.subsets < 200
    assert found.table["shapley"].sum() == pytest.approx(found.with_all - found.with_none, abs=1e-12)
    x = tabulate(sites.patches, rows).values
    np.testing.assert_allclose(found.predictions[:, :, 0], (x * slopes).T * 0.5, atol=1e-5)
    again = modality_contributions(linear(slopes), sites, rows, orders=10)
    pd.testing.assert_frame_equal(found.table, again.table)


def test_predictions_of_chosen_species_only(species):
    """`species` picks whose predictions are taken apart; scores stay those of all."""
    sites, rows = some_sites(species), np.arange(100)
    every = modality_contributions(logistic([0.5, 0.1, -0.3, 0.4]), sites, rows)
    some = modality_contributions(logistic([0.5, 0.1, -0.3, 0.4]), sites, rows, species=np.array([2, 7]))
    np.testing.assert_array_equal(some.predictions, every.predictions[:, :, [2, 7]])
    pd.testing.assert_frame_equal(some.table, every.table)


def test_importance_is_sklearn_s(species):
    """Mean fall of the AUC when a column is shuffled: as scikit-learn's, within the noise of the shuffles."""
    sites, rows = some_sites(species, n=320, seed=3), np.arange(300)
    x, y = tabulate(sites.patches, rows).values, sites.found(rows)[:, -1]
    fitted = LogisticRegression().fit(x, y)
    expected = sklearn_importance(fitted, x, y, scoring="roc_auc", n_repeats=40, random_state=1)

    def predict(where, at):
        p = np.full((at.size, len(species)), 0.5)
        p[:, -1] = fitted.predict_proba(tabulate(where.patches, at).values)[:, 1]
        return p

    found = permutation_importance(predict, sites, rows, predictors_of(sites.patches.modalities), repeats=40)
    own = found.species.loc[species[len(species) - 1].taxon_id, list(predictors_of(sites.patches.modalities))]
    error = 5 * expected.importances_std / np.sqrt(40) + 1e-9
    assert (np.abs(own.to_numpy() - expected.importances_mean) <= error).all()
    np.testing.assert_allclose(found.species.iloc[:-1], 0, atol=1e-12)  # the other species' predictions are constant


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_what_a_model_ignores_has_no_importance(species, seed):
    """Exactly 0 with sd 0, for a band and for a whole modality; and what it reads has some, of either sign."""
    sites = some_sites(species, seed=seed)
    found = permutation_importance(
        logistic([0.5, 0, 0, 0.5]), sites, np.arange(120), ["climate.p", "soil", "climate", "relief.slope"], seed=seed
    )
    table = found.table.set_index("name")
    assert (table.loc[["climate.p", "soil"]] == 0).all(axis=None)
    assert (table.loc[["climate", "relief.slope"], "importance"] != 0).all()
    assert found.table["importance"].is_monotonic_decreasing


def test_an_importance_does_not_depend_on_what_else_is_asked(species):
    """And the same seed gives the same numbers."""
    sites = some_sites(species)
    one = permutation_importance(logistic([0.5, 0.1, 0.2, 0.5]), sites, np.arange(120), ["soil.ph"])
    many = permutation_importance(logistic([0.5, 0.1, 0.2, 0.5]), sites, np.arange(120), ["climate", "soil.ph"])
    assert one.of(["soil.ph"]) == many.of(["soil.ph"])


def test_exchange_within_blocks_stays_there(species):
    """A band that is constant inside blocks has no importance within them, though it has one without."""
    blocks = np.arange(120) // 10
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"region": blocks % 5 - 2.0, "local": rng.normal(size=120)})
    columns = {"a": ("region",), "b": ("local",)}
    sites = some_sites(species, columns=columns, patches=TablePatches(frame, columns))
    found = (rng.random((120, 12)) < 1 / (1 + np.exp(-frame["region"].to_numpy() - frame["local"].to_numpy()))[:, None]).astype(np.uint8)
    sites = replace(sites, labels=sparse.csr_array(found))
    predict = logistic([0.2, 0.2])
    free = permutation_importance(predict, sites, np.arange(120), ["a", "b"]).of(["a", "b"])
    within = permutation_importance(predict, sites, np.arange(120), ["a", "b"], blocks=blocks).of(["a", "b"])
    assert free[0] > 0.05 and within[0] == 0
    assert within[1] > 0.05


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), blocked=st.booleans())
def test_every_plot_lends_its_band_once(species, seed, blocked):
    """An exchange moves values between plots, loses none, and leaves other sites and bands alone."""
    sites, seen = some_sites(species), []

    def spy(where, rows):
        seen.append(tabulate(where.patches, np.arange(120)).values)
        return logistic([0.1] * 4)(where, rows)

    blocks = np.random.default_rng(seed).integers(0, 6, 120) if blocked else None
    permutation_importance(spy, sites, np.arange(120), ["climate.p"], repeats=1, blocks=blocks, seed=seed)
    before, after = seen
    np.testing.assert_array_equal(np.delete(after, 1, axis=1), np.delete(before, 1, axis=1))
    np.testing.assert_array_equal(after[100:], before[100:])
    np.testing.assert_array_equal(np.sort(after[:100, 1]), np.sort(before[:100, 1]))
    if blocks is not None:
        for b in range(6):
            here = np.flatnonzero(blocks[:100] == b)
            np.testing.assert_array_equal(np.sort(after[here, 1]), np.sort(before[here, 1]))


def test_response_curve_of_a_known_function(species):
    """A hump of temperature comes back as it is, optimum and half width with it; the other band's curve is flat."""
    sites = some_sites(species)

    def hump(where, rows):
        t = tabulate(where.patches, rows).values[:, 0].astype(float)
        return np.exp(-((t - 0.4) ** 2) / 0.5)[:, None] * np.linspace(0.2, 0.9, len(species))

    training = tabulate(sites.patches, np.arange(120))
    found = response_curves(hump, sites, np.arange(120), ["climate.t", "soil.ph"], training=training, points=201, sample=30)
    curves = found.species
    t = curves[(curves["predictor"] == "climate.t") & (curves["taxon_id"] == "s11")]
    assert (t["value"].min(), t["value"].max()) == pytest.approx((training.values[:, 0].min(), training.values[:, 0].max()))
    for column in ("mean", "q05", "q50", "q95"):
        np.testing.assert_allclose(t[column], 0.9 * np.exp(-((t["value"] - 0.4) ** 2) / 0.5), atol=1e-6)
    own = niche(curves).set_index(["predictor", "taxon_id"])
    step = t["value"].diff().max()
    best = own.loc[("climate.t", "s00")]
    assert best["optimum"] == pytest.approx(0.4, abs=step) and not best["at_edge"]
    half = np.sqrt(0.5 * np.log(2))
    assert (best["low"], best["high"]) == (pytest.approx(0.4 - half, abs=step), pytest.approx(0.4 + half, abs=step))
    flat = own.loc[("soil.ph", "s00")]
    assert flat["effect"] == 0 and np.isnan(flat["optimum"]) and not flat["at_edge"]
    assert best["highest"] == pytest.approx(0.2, abs=1e-3) and flat["highest"] == flat["lowest"] > 0
    total = found.richness[found.richness["predictor"] == "climate.t"]
    np.testing.assert_allclose(total["mean"], np.linspace(0.2, 0.9, 12).sum() * np.exp(-((total["value"] - 0.4) ** 2) / 0.5), atol=1e-5)
    about = found.predictors.set_index("predictor").loc["climate.t"]
    np.testing.assert_allclose(
        about[["low", "q25", "q50", "high"]].astype(float), np.quantile(training.values[:, 0], [0, 0.25, 0.5, 1]), atol=1e-6
    )
    assert found.sites == 30


def test_the_response_of_richness_is_that_of_the_sum(species):
    """Its mean is the sum of the species' means; its quantiles are of the sites' sums; also where few species are asked for."""
    sites, rows = some_sites(species), np.arange(100)
    predict, training = logistic([0.5, 0.1, -0.3, 0.4]), tabulate(sites.patches, rows)
    found = response_curves(predict, sites, rows, ["climate.t", "climate.p"], training=training, points=4)
    means = found.species.groupby(["predictor", "value"], sort=False)["mean"].sum()
    np.testing.assert_allclose(found.richness["mean"], means, rtol=1e-12)
    few = response_curves(predict, sites, rows, ["climate.t", "climate.p"], training=training, points=4, species=np.array([3]))
    pd.testing.assert_frame_equal(few.richness, found.richness)
    moved = training.values.copy()
    moved[:, 1] = training.values[:, 1].max()
    at = pd.DataFrame(moved, columns=["t", "p", "ph", "slope"])
    p = predict(
        replace(
            sites,
            patches=TablePatches(at, COLUMNS),
            labels=sites.labels[:100],
            presence_absence=np.ones(100, bool),
            group=np.zeros(100, int),
            xy=sites.xy[:100],
        ),
        rows,
    )
    np.testing.assert_allclose(found.richness.iloc[-1]["q95"], np.quantile(p.sum(axis=1, dtype=float), 0.95), rtol=1e-6)


def test_partial_dependence_is_sklearn_s(species):
    """Mean response over the sites, others as observed: scikit-learn's brute-force partial dependence."""
    sites, rows = some_sites(species, n=170, seed=2), np.arange(150)
    x, y = tabulate(sites.patches, rows).values.astype(np.float64), sites.found(rows)[:, -1]
    fitted = LogisticRegression().fit(x, y)

    def predict(where, at):
        return np.repeat(fitted.predict_proba(tabulate(where.patches, at).values)[:, 1:], len(species), axis=1)

    expected = partial_dependence(
        fitted, x, [2], method="brute", kind="both", grid_resolution=15, percentiles=(0, 1), response_method="predict_proba"
    )
    curves = response_curves(
        predict, sites, rows, ["soil.ph"], training=tabulate(sites.patches, rows), values=expected["grid_values"][0], species=np.array([0])
    ).species
    np.testing.assert_allclose(curves["mean"], expected["average"][0], rtol=1e-5)
    np.testing.assert_allclose(curves["q95"], np.quantile(expected["individual"][0], 0.95, axis=0), rtol=1e-5)


def test_a_response_is_not_told_beyond_the_training_range(species):
    """Values outside are kept in the table without a prediction; a monotone response has its optimum at the edge."""
    sites = some_sites(species)
    training = tabulate(sites.patches, np.arange(50))
    low, high = training.values[:, 3].min(), training.values[:, 3].max()
    values = [low - 1, low, 0.0, high, high + 1]
    found = response_curves(logistic([0, 0, 0, 1]), sites, np.arange(120), ["relief.slope"], training=training, values=values)
    curves = found.species
    one = curves[curves["taxon_id"] == "s03"]
    np.testing.assert_array_equal(one["inside"], [False, True, True, True, False])
    np.testing.assert_array_equal(one["mean"].isna(), ~one["inside"])
    np.testing.assert_array_equal(found.richness["mean"].isna(), ~found.richness["inside"])
    own = niche(curves).set_index("taxon_id").loc["s03"]
    assert own["optimum"] == pytest.approx(high) and own["at_edge"]


SERIES = Modality(
    name="series",
    bands=("a", "b"),
    resolution=50,
    time=TimeAxis(step="month", first="2020-11", count=3),
    units=("mm", "1"),
    long_names=("rain", "b"),
    plausible=((-9, 9), None),
)
IMAGE = Modality(name="image", bands=("red", "nir"), resolution=50, window=3, halo=1)


class ArrayPatches:
    """A series of two bands and three dates, and an image of three by three pixels, from arrays."""

    modalities = (SERIES, IMAGE)

    def __init__(self, n, seed=0):
        rng = np.random.default_rng(seed)
        self.values = {
            "series": rng.normal(size=(n, 6, 1, 1)).astype(np.float32),
            "image": rng.normal(size=(n, 2, 3, 3)).astype(np.float32),
        }

    def __len__(self):
        return len(self.values["series"])

    def read(self, index):
        return {name: Patch(values=values[np.asarray(index)]) for name, values in self.values.items()}


def test_names_mean_channels_of_the_patch():
    """Time is the slower axis: a band of three dates is every second channel."""
    named = {
        name: channels_of(ArrayPatches.modalities, name)[1].tolist()
        for name in ("series", "series.a", "series.b", "series.b@2", "image.nir")
    }
    assert named == {"series": [0, 1, 2, 3, 4, 5], "series.a": [0, 2, 4], "series.b": [1, 3, 5], "series.b@2": [5], "image.nir": [1]}
    assert predictors_of(ArrayPatches.modalities) == ("series.a", "series.b", "image.red", "image.nir")
    with pytest.raises(UsageError, match=r"Did you mean 'series\.a'"):
        channels_of(ArrayPatches.modalities, "serie.a")


def test_images_and_series_are_exchanged_whole():
    """All pixels and dates of a band together, other bands and modalities untouched, the reader's own arrays too."""
    patches, donors = ArrayPatches(9), np.roll(np.arange(9), 1)
    before = {name: values.copy() for name, values in patches.values.items()}
    for name in ("series.a", "series.b@1", "image.nir", "image"):
        modality, channels = channels_of(patches.modalities, name)
        rows = np.array([4, 0, 8])
        wrapped = PermutedPatches(patches, {modality: channels}, donors)
        untouched(before, wrapped.read(rows), rows, modality, channels)
        np.testing.assert_array_equal(wrapped.read(rows)[modality].values[:, channels], before[modality][donors[rows]][:, channels])
        assert len(wrapped) == 9
    for name, values in patches.values.items():
        np.testing.assert_array_equal(values, before[name])


def untouched(before, read, rows, modality, channels):
    """All but some channels of a modality are as they were."""
    for name, values in before.items():
        others = np.setdiff1d(np.arange(values.shape[1]), channels) if name == modality else np.arange(values.shape[1])
        np.testing.assert_array_equal(read[name].values[:, others], values[rows][:, others])


def test_a_moved_band_keeps_its_season_and_its_texture():
    """The mean over dates at the cell is the value; differences between pixels and dates are the site's own; nothing else moves."""
    patches, rows = ArrayPatches(9), np.array([4, 0, 8])
    before = {name: values.copy() for name, values in patches.values.items()}
    for name in ("series.a", "series.b", "series.b@1", "image.nir"):
        modality, channels = channels_of(patches.modalities, name)
        wrapped = MovedPatches(patches, modality, channels, 1.5)
        read = wrapped.read(rows)
        untouched(before, read, rows, modality, channels)
        moved, own = read[modality].values[:, channels], before[modality][rows][:, channels]
        middle = own.shape[-1] // 2
        np.testing.assert_allclose(moved[:, :, middle, middle].mean(axis=1), 1.5, rtol=1e-6)
        np.testing.assert_allclose(moved - moved[:, :1, :1, :1], own - own[:, :1, :1, :1], atol=1e-5)
        assert len(wrapped) == 9
    for name, values in patches.values.items():
        np.testing.assert_array_equal(values, before[name])


def test_a_moved_band_stops_at_what_is_plausible_and_fills_what_is_unknown():
    """A band with limits keeps them; unknown dates and pixels stay unknown, unless the cell knows nothing: then the value is everywhere."""
    patches = ArrayPatches(5)
    patches.values["series"][0, 2] = np.nan  # a date of a
    patches.values["image"][1, 1, 0, 0], patches.values["image"][2, 1, 1, 1] = np.nan, np.nan  # a corner; a cell
    dates = channels_of(patches.modalities, "series.a")[1]
    for value in (-8.9, 8.9):
        series = MovedPatches(patches, "series", dates, value).read(np.arange(5))["series"].values[:, dates]
        assert np.nanmin(series) >= -9 and np.nanmax(series) <= 9 and np.nanmax(np.abs(series)) == 9
        assert np.isnan(series[0]).ravel().tolist() == [False, True, False] and np.isfinite(series[1:]).all()
    image = MovedPatches(patches, "image", np.array([1]), 0.25).read(np.arange(5))["image"].values[:, 1]
    assert np.isnan(image[1, 0, 0]) and np.isnan(image).sum() == 1 and image[1, 1, 1] == np.float32(0.25) and (image[2] == 0.25).all()


def test_a_response_of_a_series_goes_over_what_sites_have_on_average(species):
    """The range of a band of several dates is that of its mean over the dates that are known; names and units are for people."""
    patches = ArrayPatches(120)
    patches.values["series"][3, :4] = np.nan
    sites = some_sites(species, columns={"m": ("a", "b")}, patches=patches)

    def total(where, rows):
        rain = np.nan_to_num(where.patches.read(rows)["series"].values[:, [0, 2, 4], 0, 0]).astype(float)
        return np.repeat(1 / (1 + np.exp(-rain.mean(axis=1)))[:, None], len(species), axis=1)

    rows = np.arange(4, 120)
    found = response_curves(
        total, sites, rows, ["series.a", "series.b@2", "image.nir"], training=tabulate(patches, np.arange(120)), points=3
    )
    means = np.nanmean(patches.values["series"][:, [0, 2, 4], 0, 0], axis=1)
    one = found.species[(found.species["predictor"] == "series.a") & (found.species["taxon_id"] == "s00")]
    np.testing.assert_allclose(one["value"], np.linspace(means.min(), means.max(), 3), rtol=1e-6)
    for column in ("mean", "q05", "q95"):
        np.testing.assert_allclose(one[column], 1 / (1 + np.exp(-one["value"])), rtol=1e-5)
    named = found.predictors.set_index("predictor")[["title", "unit"]].T.to_dict("list")
    assert named == {"series.a": ["rain, mean of the dates", "mm"], "series.b@2": ["series.b, date 2", ""], "image.nir": ["image.nir", ""]}


def test_the_most_important_bands_are_those_that_matter_and_are_known(species):
    """The best of every modality, then of all, in order of importance; one without importance or that no training site knows is none."""
    sites, predict = some_sites(species), logistic([0.5, 0.2, 0, 0.5])
    names = predictors_of(sites.patches.modalities)
    importance, table = permutation_importance(predict, sites, np.arange(120), names), tabulate(sites.patches, np.arange(120))
    order = importance.table["name"].tolist()
    assert "soil.ph" not in most_important(importance, table, 9) == [name for name in order if importance.of([name])[0] > 0]
    worth = {"climate.t": 0.9, "climate.p": 0.8, "relief.slope": 0.1, "soil.ph": 0.2}
    made = replace(
        importance, table=pd.DataFrame({"name": list(worth), "importance": list(worth.values())}).sort_values("importance")[::-1]
    )
    assert most_important(made, table, 3) == ["climate.t", "soil.ph", "relief.slope"]
    assert most_important(made, table, 4) == ["climate.t", "climate.p", "soil.ph", "relief.slope"]
    assert most_important(made, table, 1) == ["climate.t"] and most_important(made, table, 0) == []
    unknown = table.values.copy()
    unknown[:, list(names).index("climate.t")] = np.nan
    assert most_important(made, replace(table, values=unknown), 3) == ["climate.p", "soil.ph", "relief.slope"]
    only = importance.only(["climate.t", "relief.slope"])
    assert set(only.table["name"]) == {"climate.t", "relief.slope"} == set(only.species.columns)
    np.testing.assert_array_equal(only.of(["climate.t"]), importance.of(["climate.t"]))


def test_cubes_are_exchanged_like_tables(species, small_grid, modalities, sources, tmp_path):
    """From a stored cube, with all kinds of modality: what `tabulate` says of an exchanged site is what it says of the donor."""
    tile = small_grid.tile("2kmE4200N2600")
    write_cube(build_cube(tile, modalities, sources), tmp_path / "c", modalities)
    west, south, _, _ = tile.bounds
    points = pd.DataFrame(west + np.random.default_rng(1).random((12, 1)) * 2000, columns=["x"]).assign(
        y=lambda d: south + d["x"].to_numpy()[::-1] - west
    )
    reader = PatchReader(points, grid=small_grid, modalities=modalities, sources=sources, cubes={tile.id: tmp_path / "c"})
    table, donors = tabulate(reader, np.arange(12)), np.roll(np.arange(12), 5)
    for name in ("image", "image.nir", "terrain.slope", "series.a", "climate", "climate.p"):
        modality, channels = channels_of(modalities, name)
        other = tabulate(PermutedPatches(reader, {modality: channels}, donors), np.arange(12)).values
        moved = [column == name or column.startswith((name + ".", name + " ", name + "@")) for column in table.names]
        np.testing.assert_allclose(other[:, moved], table.values[donors][:, moved], rtol=1e-6)
        np.testing.assert_array_equal(other[:, ~np.array(moved)], table.values[:, ~np.array(moved)])
        if name in predictors_of(modalities):
            own = [column == name or column.startswith(name + "@") for column in table.names]
            own = [here and not column.endswith(" mean") for here, column in zip(own, table.names)]
            other = tabulate(MovedPatches(reader, modality, channels, 0.25), np.arange(12)).values
            np.testing.assert_allclose(other[:, own].mean(axis=1), 0.25, rtol=1e-5)
            np.testing.assert_array_equal(other[:, ~np.array(moved)], table.values[:, ~np.array(moved)])


def test_weights_of_columns_keep_the_importance_of_their_modality(species):
    """However many columns tell it, a modality weighs what exchanging it costs; and the weights fit an area."""
    sites = some_sites(species, columns={"m": ("a", "b")}, patches=ArrayPatches(120))

    def predict(where, rows):
        read = where.patches.read(rows)
        x = np.nan_to_num(read["series"].values[:, 0, 0, 0] * 2 + read["image"].values[:, 1].mean(axis=(1, 2)))
        return np.repeat(1 / (1 + np.exp(-x))[:, None], len(species), axis=1)

    labels = (predict(sites, np.arange(120)) > np.random.default_rng(0).random((120, 12))).astype(np.uint8)
    sites = replace(sites, labels=sparse.csr_array(labels))
    modalities = sites.patches.modalities
    importance = permutation_importance(predict, sites, np.arange(120), [m.name for m in modalities])
    table = tabulate(sites.patches, np.arange(120))
    weights = importance_weights(importance, modalities)
    for m in modalities:
        mine = [owner == m.name for owner in table.modality]
        assert (weights[mine] ** 2).sum() == pytest.approx(max(importance.of([m.name])[0], 0) ** 2) and np.ptp(weights[mine]) == 0
    assert Applicability.fit(table, np.arange(120) % 3, weights).weights.any()


class Steep(Estimator):
    """A fixed model, to be asked through the interface."""

    name = "steep"

    def fit(self, sites, rows):
        return self

    def predict(self, sites, rows):
        return logistic([0.5, 0.1, 0, 0.5])(sites, rows)

    def save(self, folder): ...

    @classmethod
    def load(cls, folder):
        return cls()


def test_an_estimator_explains_itself(species):
    """`explain` gives what the parts give."""
    sites, rows = some_sites(species), np.arange(30, 120)
    found = Steep().explain(sites, rows, training=np.arange(120), curves=2, points=5, sample=20, repeats=2)
    assert found.plots == 70
    pd.testing.assert_frame_equal(found.contributions.table, modality_contributions(Steep().predict, sites, rows).table)
    curves = found.responses.species
    bands = most_important(found.predictors, tabulate(sites.patches, np.arange(120)), 2)
    assert bands and curves["predictor"].unique().tolist() == bands == found.responses.predictors["predictor"].tolist()
    assert curves["inside"].all() and len(curves) == len(bands) * 5 * 12 and found.responses.sites == 20


def test_without_curves_there_is_an_empty_table(species):
    """No curve asked for: tables keep their columns."""
    found = explain_predictions(Steep().predict, some_sites(species), np.arange(120), curves=0, predictors=["soil.ph"], repeats=1)
    assert found.responses.species.empty and found.responses.richness.empty and found.responses.predictors.empty
    assert "mean" in found.responses.species and np.isnan(found.predictors.table["sd"]).all()


def test_a_species_that_cannot_be_scored_has_no_contribution(species):
    """Found nowhere: NaN for it alone, and the means are those of the others."""
    sites = some_sites(species)
    labels = sites.labels.toarray()
    labels[:, 5] = 0
    found = modality_contributions(Steep().predict, replace(sites, labels=sparse.csr_array(labels)), np.arange(120))
    assert found.species.loc["s05"].isna().all() and found.species.drop("s05").notna().all(axis=None)
    np.testing.assert_allclose(found.species.mean(), found.table["shapley"])


def test_log_likelihood_is_sklearn_s(species):
    """Minus the log loss, species by species."""
    from sklearn.metrics import log_loss

    rng = np.random.default_rng(0)
    p, labels = rng.random((50, 3)).astype(np.float32), rng.integers(0, 2, (50, 3)).astype(np.uint8)
    np.testing.assert_allclose(log_likelihood(p, labels), [-log_loss(labels[:, k], p[:, k].astype(float)) for k in range(3)], rtol=1e-6)


def test_what_cannot_be_explained_says_why(species):
    """No plots, nothing scored, an unknown word, a model without an answer."""
    sites, predict = some_sites(species), Steep().predict
    training = tabulate(sites.patches, np.arange(120))
    with pytest.raises(InputError, match="no presence-absence plot"):
        modality_contributions(predict, sites, np.arange(100, 120))
    with pytest.raises(InputError, match="presences and absences enough"):
        modality_contributions(predict, sites, np.arange(6))
    with pytest.raises(UsageError, match=r"no score 'acu'.*Did you mean 'auc'"):
        modality_contributions(predict, sites, np.arange(120), score="acu")
    with pytest.raises(UsageError, match="repeat"):
        permutation_importance(predict, sites, np.arange(120), ["soil"], repeats=0)
    with pytest.raises(UsageError, match="no predictor 'sol'"):
        permutation_importance(predict, sites, np.arange(120), ["sol"])
    with pytest.raises(UsageError, match="no band 'soil'"):
        response_curves(predict, sites, np.arange(120), ["soil"], training=training)
    with pytest.raises(InputError, match="needs sites"):
        response_curves(predict, sites, np.arange(0), ["soil.ph"], training=training)
    with pytest.raises(InputError, match="has no range"):
        response_curves(predict, sites, np.arange(9), ["soil.ph"], training=replace(training, values=training.values * np.nan))
    with pytest.raises(ModelError, match=r"no answer for 100 of 100 sites without climate, soil, relief; let it impute"):
        modality_contributions(
            lambda s, r: np.where(np.isnan(tabulate(s.patches, r).values).all(1)[:, None], np.nan, predict(s, r)), sites, np.arange(120)
        )
    with pytest.raises(ModelError, match="fitted on"):
        modality_contributions(lambda s, r: predict(s, r)[:, 1:], sites, np.arange(120))
