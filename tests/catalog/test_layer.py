"""Layers and products: what is accepted, and that JSON gives back the same value."""

from __future__ import annotations

import json
import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.catalog import Layer, LegendClass, Product
from geoplantnet.errors import InputError

PLAIN = {"id": "a", "title": "", "description": "", "family": "Species", "asset": "x"}
numbers = st.floats(-1e9, 1e9)
classes = st.lists(
    st.builds(LegendClass, value=st.integers(0, 255), label=st.text(max_size=5), color=st.from_regex(r"#[0-9a-f]{6}", fullmatch=True)),
    unique_by=lambda c: c.value,
    max_size=3,
).map(tuple)
layers = st.builds(
    Layer,
    id=st.text(string.ascii_lowercase + string.digits + "._-", min_size=1),
    title=st.text(),
    description=st.text(),
    family=st.text(),
    asset=st.text(string.ascii_letters + string.digits + "._-", min_size=1),
    band=st.integers(1, 20_000),
    unit=st.text(),
    scale=numbers.filter(bool),
    offset=numbers,
    nodata=st.none() | numbers,
    range=st.tuples(numbers, numbers).filter(lambda r: r[0] < r[1]),
    palette=st.text(),
    classes=classes,
    direction=st.text(),
    attribution=st.text(),
)


@given(layers)
def test_a_layer_survives_json(layer):
    """Dict -> JSON text -> dict -> Layer gives an equal layer, of any text and numbers."""
    assert Layer.from_dict(json.loads(json.dumps(layer.to_dict(), allow_nan=False))) == layer


def test_a_nodata_of_nan_survives_json():
    """JSON has no NaN; the layer's nodata comes back as NaN all the same."""
    layer = Layer(**PLAIN, nodata=math.nan)
    back = Layer.from_dict(json.loads(json.dumps(layer.to_dict(), allow_nan=False)))
    assert back.nodata is not None and math.isnan(back.nodata)


def test_a_catalog_of_an_older_version_can_be_read():
    """A layer with the required fields only takes the defaults for the rest."""
    assert Layer.from_dict(PLAIN) == Layer(**PLAIN)


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"id": "Upper"},
        {"id": "a b"},
        {"id": "a/b"},
        {"id": "a\n"},
        {"id": "<script>"},
        {"asset": "../x"},
        {"band": 0},
        {"scale": 0.0},
        {"scale": math.nan},
        {"offset": math.inf},
        {"range": (1.0, 1.0)},
        {"range": (math.nan, 1.0)},
        {"range": (-math.inf, 1.0)},
        {"classes": (LegendClass(value=1, label="a", color="#000000"), LegendClass(value=1, label="b", color="#ffffff"))},
    ],
)
def test_layers_that_no_map_could_show_are_refused(change):
    """Ids unsafe in URLs, bands from 0, empty ranges and ambiguous classes raise InputError."""
    with pytest.raises(InputError):
        Layer(**PLAIN | change)


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"nodata": "none"},
        {"range": [0]},
        {"range": None},
        {"classes": [{"value": 1}]},
        {"band": "1"},
        {"scale": "x"},
        {"title": None},
    ],
)
def test_published_layers_that_cannot_be_read_are_refused(change):
    """Unknown, mistyped and incomplete fields raise InputError, not another exception."""
    with pytest.raises(InputError):
        Layer.from_dict(PLAIN | change)


@pytest.mark.parametrize("color", ["red", "#fff", "#GGGGGG", "#0000000", "#ffffff;"])
def test_colours_are_six_hexadecimal_digits(color):
    """Nothing that is not ``#rrggbb`` reaches a style sheet."""
    with pytest.raises(InputError):
        LegendClass(value=1, label="", color=color)


def test_a_product_knows_its_bytes(tmp_path):
    """`Product.of` counts and hashes the file; a key unsafe in a URL is refused."""
    (tmp_path / "x").write_bytes(b"abc")
    product = Product.of(tmp_path / "x", key="k", media_type="text/plain", title="")
    assert (product.size, product.sha256[:8]) == (3, "ba7816bf")
    with pytest.raises(InputError):
        Product.of(tmp_path / "x", key="../k", media_type="text/plain", title="")
