"""What models see of a site is what lies there: tables and masks against brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from geoplantnet.cubes import Modality, TablePatches
from geoplantnet.cubes.patches import Patch
from geoplantnet.errors import InputError, UsageError
from geoplantnet.grid.time_axis import TimeAxis
from geoplantnet.sdm.sites import BACKGROUND, MaskedPatches, Sites, positions, tabulate
from geoplantnet.taxonomy import SpeciesList, Taxon

IMAGE = Modality(name="image", bands=("red", "nir"), resolution=50, window=3)
SERIES = Modality(name="series", bands=("a", "b"), resolution=50, time=TimeAxis(step="month", first="2020-11", count=3))
CLIMATE = Modality(name="climate", bands=("t",), resolution=1000, halo=1)


class Given:
    """Patches of three kinds from arrays, with gaps."""

    modalities = (IMAGE, SERIES, CLIMATE)

    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.image = rng.normal(size=(n, 2, 3, 3)).astype(np.float32)
        self.image[rng.random(self.image.shape) < 0.3] = np.nan
        self.series = rng.normal(size=(n, 6, 1, 1)).astype(np.float32)
        self.climate = rng.normal(size=(n, 1, 2, 2)).astype(np.float32)
        self.y, self.x = rng.random((2, n)).astype(np.float32)

    def __len__(self):
        return len(self.image)

    def read(self, index):
        i = np.asarray(index, np.int64)
        weights = {k: np.stack([1 - w[i], w[i]], axis=-1)[:, None, :] for k, w in (("weight_y", self.y), ("weight_x", self.x))}
        return {
            "image": Patch(values=self.image[i]),
            "series": Patch(values=self.series[i]),
            "climate": Patch(values=self.climate[i], **weights),
        }


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 99))
def test_a_table_is_what_lies_at_each_site(n, batch, seed):
    """Cell by cell: the centre, the mean of what is known of the window, every date, the bilinear value; whatever the batch."""
    given_patches = Given(n, seed)
    rows = np.random.default_rng(seed).integers(0, n, size=n)
    table = tabulate(given_patches, rows, batch=batch)
    assert table.names == (
        "image.red", "image.nir", "image.red mean", "image.nir mean",
        "series.a@0", "series.b@0", "series.a@1", "series.b@1", "series.a@2", "series.b@2", "climate.t",
    )  # fmt: skip
    assert table.modality == ("image",) * 4 + ("series",) * 6 + ("climate",)
    for row, found in zip(rows, table.values):
        windows = [band[np.isfinite(band)] for band in given_patches.image[row]]
        means = [w.mean() if w.size else np.nan for w in windows]
        y, x, c = given_patches.y[row], given_patches.x[row], given_patches.climate[row, 0]
        bilinear = (1 - y) * ((1 - x) * c[0, 0] + x * c[0, 1]) + y * ((1 - x) * c[1, 0] + x * c[1, 1])
        expected = [*given_patches.image[row, :, 1, 1], *means, *given_patches.series[row, :, 0, 0], bilinear]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_hiding_a_modality_hides_all_of_it_and_nothing_else():
    """Hidden values are NaN, the others the same bits, what lies beneath is untouched; a wrong name is spelt out."""
    patches = Given(6, 0)
    hidden = MaskedPatches(patches, ["series"])
    rows = np.array([4, 1])
    seen, before = hidden.read(rows), patches.read(rows)
    assert len(hidden) == 6 and hidden.modalities == patches.modalities
    assert np.isnan(seen["series"].values).all() and seen["series"].values.shape == before["series"].values.shape
    assert np.array_equal(seen["image"].values, before["image"].values, equal_nan=True)
    assert np.isfinite(before["series"].values).all()
    both = tabulate(MaskedPatches(hidden, ["climate"]), rows)
    known = np.isfinite(both.values).any(axis=0)
    assert {m for m, k in zip(both.modality, known) if k} == {"image"}
    with pytest.raises(UsageError, match="climate"):
        MaskedPatches(patches, ["climat"])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(0, 99))
def test_patches_of_a_table_are_its_rows(n, seed):
    """Every band of every modality, in the order asked, for any rows; and `tabulate` gives the table back."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=["b", "a", "c"], index=rng.permutation(n)).mask(rng.random((n, 3)) < 0.2)
    patches = TablePatches(frame, {"two": ("a", "b"), "one": ("c",)})
    rows = rng.integers(0, n, size=5)
    read = patches.read(rows)
    assert len(patches) == n and [m.name for m in patches.modalities] == ["two", "one"]
    assert read["two"].values.shape == (5, 2, 1, 1)
    assert np.array_equal(read["two"].values[:, :, 0, 0], frame[["a", "b"]].to_numpy(np.float32)[rows], equal_nan=True)
    assert np.array_equal(tabulate(patches, rows).values, frame[["a", "b", "c"]].to_numpy(np.float32)[rows], equal_nan=True)


def test_a_table_without_the_column_or_without_numbers_is_refused():
    """The error names the modality and the column."""
    frame = pd.DataFrame({"a": [1.0, 2.0], "word": ["x", "y"]})
    with pytest.raises(InputError, match="no column 'b'"):
        TablePatches(frame, {"m": ("a", "b")})
    with pytest.raises(InputError, match="'m'"):
        TablePatches(frame, {"m": ("word",)})


SPECIES = SpeciesList(checklist="t", taxa=(Taxon(taxon_id="a", scientific_name="A a"), Taxon(taxon_id="b", scientific_name="B b")))


def some_sites(labels, **more):
    """Sites of two species; every second one is a plot."""
    n = np.shape(labels)[0]
    given = {"presence_absence": np.arange(n) % 2 == 0, "group": np.arange(n) % 2, "xy": np.zeros((n, 2)), **more}
    return Sites(
        species=SPECIES, patches=TablePatches(pd.DataFrame({"v": np.arange(n, dtype=float)}), {"m": ("v",)}), labels=labels, **given
    )


def test_sites_must_agree_in_length():
    """One row a site in everything that describes it; one label column a species."""
    labels = np.array([[1, 0], [0, 1], [1, 1]], np.uint8)
    sites = some_sites(sparse.csr_array(labels))
    rows = np.array([2, 1])
    assert len(sites) == 3 and np.array_equal(sites.found(rows), labels[rows])
    assert sites.plots(rows).tolist() == [2] and sites.records(rows).tolist() == [1]
    assert np.isnan(sites.masked(["m"]).patches.read(rows)["m"].values).all()
    for field, value in (("group", np.zeros(2, int)), ("weight", np.ones(4, np.float32)), ("labels", sparse.csr_array(labels[:2]))):
        with pytest.raises(InputError, match=field):
            replace(sites, **{field: value})
    with pytest.raises(InputError, match="species"):
        replace(sites, labels=sparse.csr_array(labels[:, :1]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_a_mask_is_the_positions_where_it_is_true(mask, random):
    """Everywhere sites are asked for; positions come back in their order, with repeats; a list serves as an array."""
    n = len(mask)
    rows = [random.randrange(n) for _ in range(7)]
    where = [i for i, chosen in enumerate(mask) if chosen]
    for given_rows, expected in ((mask, where), (np.array(mask), where), (rows, rows), (np.array(rows, np.uint8), rows), ([], [])):
        got = positions(given_rows, n)
        assert got.tolist() == expected and got.dtype == np.int64
    sites = some_sites(np.ones((n, 2), np.uint8))
    assert sites.plots(mask).tolist() == [i for i in where if i % 2 == 0] and sites.records(mask).tolist() == [i for i in where if i % 2]
    assert sites.found(mask).shape == (len(where), 2) and tabulate(sites.patches, mask).values[:, 0].tolist() == where


def test_rows_that_are_no_sites_are_refused():
    """A mask of other sites, a position before the first or beyond the last, fractions, tables: none is silently another site."""
    wrong = {
        r"all 4 sites": np.ones(3, bool),
        r"row -1 is no site": [0, -1],
        r"row 4 is no site.*0 to 3": np.array([4, 1]),
        r"float64": np.array([0.0, 1.5]),
        r"\(2, 2\)": np.zeros((2, 2), int),
        r"whole numbers": slice(2),
    }
    sites = some_sites(np.ones((4, 2), np.uint8))
    for message, rows in wrong.items():
        for ask in (sites.positions, sites.found, sites.plots, sites.records, lambda r: tabulate(sites.patches, r)):
            with pytest.raises(UsageError, match=message):
                ask(rows)


FORMATS = ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(0, 99), st.sampled_from([np.uint8, np.int64, np.float32, bool]))
def test_labels_of_any_format_are_the_same_labels(n, seed, dtype):
    """Dense or sparse, array or matrix, of any number type, unsorted, with zeros stored: one canonical CSR; what was given stays."""
    dense = np.random.default_rng(seed).random((n, 2)) < 0.5
    expected = sparse.csr_array(dense.astype(np.uint8))
    untidy = sparse.csr_array((np.r_[dense[:, ::-1].ravel()].astype(dtype), np.tile([1, 0], n), np.arange(0, 2 * n + 1, 2)), shape=(n, 2))
    before = untidy.data.copy(), untidy.indices.copy()
    given_labels = [dense.astype(dtype), pd.DataFrame(dense.astype(dtype)), untidy, sparse.csr_matrix(dense.astype(dtype))]
    given_labels += [sparse.csr_array(dense.astype(dtype)).asformat(form) for form in FORMATS]
    for labels in given_labels:
        own = some_sites(labels).labels
        assert isinstance(own, sparse.csr_array) and own.dtype == np.uint8 and own.has_canonical_format
        for name in ("data", "indices", "indptr"):
            assert np.array_equal(getattr(own, name), getattr(expected, name))
    assert np.array_equal(before[0], untidy.data) and np.array_equal(before[1], untidy.indices)


def test_what_describes_no_site_is_refused():
    """Counts and NaN are no labels; each array has its kind; the error says what to give instead."""
    sites = some_sites(np.array([[1, 0], [0, 1], [1, 1]], np.uint8))
    nan, inf = np.nan, np.inf
    wrong = [
        ("labels", np.array([[1, 0], [0, 3], [1, 1]]), "labels hold 3 for B b at site 1.*counts > 0"),
        ("labels", sparse.coo_array(([1, 1, 1], ([0, 0, 2], [0, 0, 1])), shape=(3, 2)), "labels hold 2 for A a at site 0"),
        ("labels", np.array([[1, 0], [0, 1], [nan, 1]]), "labels hold nan for A a at site 2"),
        ("labels", np.full((3, 2), "yes"), "wanted numbers"),
        ("presence_absence", np.array([1, 2, 0]), "True or False"),
        ("group", np.array([0.5, 1, 1]), "whole numbers"),
        ("group", np.array([0, -2, 1]), "group holds -2"),
        ("xy", np.zeros((3, 3)), r"\(3, 2\)"),
        ("plot_area", np.array([100, 0, nan]), "NaN where it is unknown"),
        ("plot_area", np.array([100, inf, nan]), "NaN where it is unknown"),
        ("weight", np.array([1, nan, 1]), "leave a site out by weight 0"),
        ("weight", np.array([1, -1, 1]), "leave a site out by weight 0"),
        ("weight", np.array([1, inf, 1]), "leave a site out by weight 0"),
        ("weight", np.array(["1", "2", "3"]), "wanted numbers"),
        ("effort", np.array([0, -inf, 1]), "NaN where it is unknown"),
        ("presence_weight", np.array([[2, 1], [0, 1], [1, 1]]), "none elsewhere"),
        ("presence_weight", np.array([[2, 0], [0, 0], [1, 1]]), "every presence"),
        ("presence_weight", np.array([[-2, 0], [0, 1], [1, 1]]), "above 0"),
        ("presence_weight", np.array([[nan, 0], [0, 1], [1, 1]]), "finite"),
    ]
    for name, value, message in wrong:
        with pytest.raises(InputError, match=message) as caught:
            replace(sites, **{name: value})
        assert name in str(caught.value)


def test_values_take_the_type_they_are_kept_in():
    """Whole 0 and 1 are a mask, whole numbers weights; unknown effort is none; an unknown area stays unknown."""
    sites = some_sites(
        np.array([[1, 0], [0, 1], [1, 1]]),
        presence_absence=np.array([1, 0, 1], np.uint8),
        group=np.array([0, 1, BACKGROUND], np.int32),
        weight=[1, 2, 0],
        effort=np.array([0.5, np.nan, -1.0]),
        plot_area=pd.Series([100, np.nan, 400]),
    )
    assert sites.plots([0, 1, 2]).tolist() == [0, 2] and sites.group.dtype == np.int64
    assert sites.effort.tolist() == [0.5, 0, -1] and sites.weight.tolist() == [1, 2, 0]
    assert sites.plot_area.dtype == sites.weight.dtype == sites.effort.dtype == np.float32 and np.isnan(sites.plot_area[1])


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(0, 999), st.booleans())
def test_weighted_presences_leave_the_prevalence(n, seed, weighted):
    """The constant of least weighted cross-entropy on the plots asked for, repeats and site weights counted, is their prevalence:
    weights of presences average one, among plots and among records; who has more keeps more.
    """
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 2)) < 0.6).astype(np.uint8)
    cover = rng.uniform(0.01, 100, (n, 2)) * labels
    weight = rng.uniform(0, 3, n).astype(np.float32) * (rng.random(n) < 0.8) if weighted else None
    sites = some_sites(labels, presence_weight=cover, weight=weight)
    rows = rng.integers(0, n, size=2 * n)
    scaled = sites.presence_weight_among(rows).toarray()
    s = np.ones(2 * n) if weight is None else weight[rows].astype(float)
    for kind in (sites.presence_absence[rows], ~sites.presence_absence[rows]):
        for k in range(2):
            y, w, own = labels[rows[kind], k], scaled[rows[kind], k], s[kind]
            if (own * y).sum() == 0:
                continue
            assert (own * w).sum() == pytest.approx((own * y).sum(), rel=1e-5)
            found, absent = (own * w * y).sum(), (own * (1 - y)).sum()
            assert found / (found + absent) == pytest.approx(np.average(y, weights=own), rel=1e-5)
            known = y > 0
            ratio = w[known] / cover[rows[kind], k][known]
            np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    assert some_sites(labels).presence_weight_among(rows) is None
