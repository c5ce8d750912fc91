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
from geoplantnet.sdm.sites import MaskedPatches, Sites, tabulate
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


def test_sites_must_agree_in_length():
    """One row a site in everything that describes it; one label column a species."""
    species = SpeciesList(checklist="t", taxa=(Taxon(taxon_id="a", scientific_name="A a"), Taxon(taxon_id="b", scientific_name="B b")))
    labels = np.array([[1, 0], [0, 1], [1, 1]], np.uint8)
    sites = Sites(
        species=species,
        patches=TablePatches(pd.DataFrame({"v": [1.0, 2.0, 3.0]}), {"m": ("v",)}),
        labels=sparse.csr_array(labels),
        presence_absence=np.array([True, False, True]),
        group=np.array([0, 1, 0]),
        xy=np.zeros((3, 2)),
    )
    rows = np.array([2, 1])
    assert len(sites) == 3 and np.array_equal(sites.found(rows), labels[rows])
    assert sites.plots(rows).tolist() == [2] and sites.records(rows).tolist() == [1]
    assert np.isnan(sites.masked(["m"]).patches.read(rows)["m"].values).all()
    for field, value in (("group", np.zeros(2, int)), ("weight", np.ones(4, np.float32)), ("labels", sparse.csr_array(labels[:2]))):
        with pytest.raises(InputError, match=field):
            replace(sites, **{field: value})
    with pytest.raises(InputError, match="species"):
        replace(sites, labels=sparse.csr_array(labels[:, :1]))
