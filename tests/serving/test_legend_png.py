"""Legends: one description, drawn and told; and colours that mean what the legend says."""

from __future__ import annotations

import dataclasses
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geoplantnet.catalog import Layer, LegendClass
from geoplantnet.errors import ConfigurationError
from geoplantnet.serving import legend, styles

PLAIN = Layer(id="a", title="A", description="", family="Species", asset="a")
CLASSES = tuple(
    LegendClass(value=v, label=t, color=c) for v, t, c in ((3, "Mire", "#aa0000"), (1, "Wood", "#00bb00"), (200, "Rock", "#0000cc"))
)


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("name", [*styles.PALETTES, "viridis_r"])
def test_the_drawn_ramp_is_the_palette(name):
    """Left is low, right is high, and the drawn ramp passes through the colours maps are made of."""
    layer = dataclasses.replace(PLAIN, palette=name)
    picture, ramp = opened(legend.draw(styles.drawing(layer))), styles.palette(name)
    rows = np.flatnonzero(
        (np.abs(picture[:, 13].astype(int) - ramp[0]).max(axis=1) <= 8) & (np.abs(picture[:, -14].astype(int) - ramp[-1]).max(axis=1) <= 8)
    )
    assert rows.size >= 10
    assert np.abs(picture[rows[5], 140].astype(int) - ramp[127]).max() <= 12


def test_classes_are_drawn_in_their_order():
    """Every class has a swatch of its colour, from top to bottom."""
    picture = opened(legend.draw(styles.drawing(dataclasses.replace(PLAIN, classes=CLASSES))))
    rows = [np.flatnonzero((picture[:, 20] == color).all(axis=1)) for color in ((0xAA, 0, 0), (0, 0xBB, 0), (0, 0, 0xCC))]
    assert all(r.size > 8 for r in rows) and rows[0].max() < rows[1].min() and rows[1].max() < rows[2].min()


@given(
    title=st.text(max_size=200),
    direction=st.text(max_size=200),
    low=st.floats(-1e6, 1e6),
    width=st.floats(1e-6, 1e6),
    labels=st.lists(st.text(max_size=120), max_size=5),
)
def test_any_text_and_range_can_be_drawn(title, direction, low, width, labels):
    """Whatever letters a catalog holds, the legend opens as PNG of the size it was said to have."""
    classes = tuple(LegendClass(value=i, label=label, color="#123456") for i, label in enumerate(labels))
    if not low < low + width:
        return
    layer = dataclasses.replace(PLAIN, title=title, direction=direction, range=(low, low + width), classes=classes)
    assert Image.open(BytesIO(legend.draw(styles.drawing(layer)))).size == legend.size(styles.drawing(layer))


def test_letters_with_accents_are_drawn_as_they_are():
    """French titles keep their accents; a letter the font has not loses its own, or is shown as ``?``."""
    first, *others = [
        legend.draw(styles.drawing(dataclasses.replace(PLAIN, title=title)))
        for title in ("Forêt à œillets 5 m²", "Foret a oeillets 5 m2", "Kořen", "Koren", "α", "?")
    ]
    assert first != others[0] and others[1] == others[2] and others[3] == others[4]


def test_the_description_is_what_is_drawn(client):
    """/api/layers/{id} tells range, ticks, unit, direction and colours of the same layer."""
    told = client.get("/api/layers/richness").json()
    assert told["range"] == [0, 120] and [t["label"] for t in told["ticks"]] == ["0", "30", "60", "90", "120"]
    assert told["colors"][0] == "#440154" and told["colors"][-1] == "#fde725" and len(told["colors"]) == 17
    assert told["direction"] == "yellow = many species" and told["unit"] == "species" and told["classes"] == []
    habitat = client.get("/api/layers/habitat").json()
    assert [c["label"] for c in habitat["classes"]] == ["Woodland", "Grassland", "Sparsely vegetated"] and habitat["colors"] == []


def test_words_about_colours_go_with_the_colours():
    """The direction in words may name colours: another style does not repeat it."""
    layer = dataclasses.replace(PLAIN, direction="yellow = many")
    assert legend.describe(layer)["direction"] and not legend.describe(layer, "magma")["direction"]


@given(st.lists(st.floats(-2, 3, width=32), min_size=1, max_size=20))
def test_colours_follow_values(values):
    """A higher value never has a lower place in the ramp; values beyond the range have the colour of its end; index 0 is no data only."""
    array = np.array([np.nan if i % 3 == 2 else v for i, v in enumerate(values)], np.float32)
    index = styles.indices(styles.drawing(PLAIN), array)
    assert ((index == 0) == np.isnan(array)).all()
    shown = sorted((float(v), int(i)) for v, i in zip(array, index) if i)
    assert all(a[1] <= b[1] for a, b in pairwise(shown))
    assert all(i == 1 for v, i in shown if v <= 0) and all(i == styles.STEPS for v, i in shown if v >= 1)


def test_values_of_no_class_are_no_data():
    """A stored number the legend does not know is not drawn in a neighbour's colour."""
    layer = dataclasses.replace(PLAIN, classes=CLASSES)
    assert styles.indices(styles.drawing(layer), np.array([1, 2, 3, 200, np.nan])).tolist() == [2, 0, 1, 3, 0]


def test_a_layer_that_cannot_be_drawn_is_refused_early():
    """An unknown palette or too many classes is told when the server starts, with the fix."""
    with pytest.raises(ConfigurationError, match="Did you mean 'viridis'"):
        styles.check_layer(dataclasses.replace(PLAIN, palette="virids"))
    many = tuple(LegendClass(value=i, label=str(i), color="#000000") for i in range(256))
    with pytest.raises(ConfigurationError, match="255"):
        styles.check_layer(dataclasses.replace(PLAIN, classes=many))
