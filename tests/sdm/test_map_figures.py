"""Maps of a run: their rasters, their hatches, and the words that go with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.contour import QuadContourSet

from geoplantnet.errors import InputError
from geoplantnet.sdm.figures import png_of
from geoplantnet.sdm.map_figures import MapOverview, draw_applicability_map, draw_richness_map


@pytest.fixture
def overview():
    """40 x 60 pixels; a corner is not mapped, the right third lies outside."""
    rng = np.random.default_rng(0)
    index = np.full((40, 60), 0.2, np.float32)
    index[:, 40:] = 0.9
    inside = (index < 0.5).astype(np.float32)
    richness = rng.gamma(4, 5, index.shape).astype(np.float32)
    for band in (index, inside, richness):
        band[:10, :10] = np.nan
    return MapOverview(
        richness=richness,
        index=index,
        inside=inside,
        threshold=0.5,
        extrapolated=0.34,
        bounds=(4_100_000, 2_600_000, 4_130_000, 2_620_000),
        crs="EPSG:3035",
        pixel=500.0,
        plot_area=100.0,
        tiles=2,
        of=3,
    )


@pytest.mark.parametrize(("draw", "band"), [(draw_richness_map, "richness"), (draw_applicability_map, "index")])
def test_the_raster_lies_where_it_belongs(overview, draw, band):
    """The band itself, north up, between its own bounds in kilometres; the axes name the CRS, the same picture is the same bytes."""
    figure, caption = draw(overview)
    axes = figure.axes[0]
    (image,) = axes.images
    np.testing.assert_array_equal(np.ma.filled(image.get_array().astype(float), np.nan), getattr(overview, band).astype(float))
    assert image.origin == "upper" and list(image.get_extent()) == [4100, 4130, 2600, 2620] and axes.get_aspect() == 1
    assert axes.get_xlabel() == "Easting, km (EPSG:3035)" and figure.axes[1].get_ylabel()
    assert "34 %" in caption and "2 of 3 tiles" in caption and "500 m" in caption
    assert png_of(figure) == png_of(draw(overview)[0])


@pytest.mark.parametrize("draw", [draw_richness_map, draw_applicability_map])
def test_hatched_is_what_is_mapped_outside(overview, draw):
    """Neither what is inside nor what is not mapped; nothing, without a word of it in the legend, where all is inside."""

    def hatches(figure):
        return [c for c in figure.axes[0].collections if isinstance(c, QuadContourSet) and any(c.hatches)]

    def legend(figure):
        return [text.get_text() for of in figure.legends for text in of.get_texts()]

    figure, _ = draw(overview)
    (hatched,) = hatches(figure)
    (path,) = hatched.get_paths()
    for x, y, wanted in ((4125, 2610, True), (4110, 2610, False), (4102, 2619, False), (4129.7, 2610, True)):
        assert path.contains_point((x, y)) == wanted, (x, y)
    assert legend(figure) == ["outside the area of applicability", "not mapped"]
    every = replace(overview, inside=np.where(np.isnan(overview.inside), np.nan, 1).astype(np.float32), extrapolated=0.0)
    assert not hatches(draw(every)[0]) and legend(draw(every)[0]) == ["not mapped"]


def test_the_richness_map_says_when_nothing_is_known_of_extrapolation(overview):
    """No hatch and no silence: the caption says that nobody knows."""
    figure, caption = draw_richness_map(replace(overview, index=None, inside=None, threshold=None, extrapolated=None, of=2))
    assert "No area of applicability is known" in caption and "2 tiles;" in caption and "%" not in caption
    assert len(figure.axes[0].collections) == 0


def test_what_was_not_mapped_cannot_be_drawn(overview):
    """An error that names the fix."""
    with pytest.raises(InputError, match="add it to the recipe's indicators"):
        draw_richness_map(replace(overview, richness=None))
    with pytest.raises(InputError, match="two folds"):
        draw_applicability_map(replace(overview, index=None, inside=None, threshold=None))


def test_a_map_without_a_value_and_one_of_one_value_are_drawn(overview):
    """Colours need no spread."""
    for value in (np.nan, 7.0):
        figure, _ = draw_richness_map(replace(overview, richness=np.full((40, 60), value, np.float32)))
        low, high = figure.axes[0].images[0].get_clim()
        assert low < high and png_of(figure).startswith(b"\x89PNG")
