"""Figures show the numbers that are printed, name their axes and units, and are the same bytes each time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from PIL import Image

from geoplantnet.sdm import figures
from geoplantnet.sdm.evaluate import evaluate
from geoplantnet.storage import sha256


def test_every_figure_is_written_with_a_caption_and_is_repeatable(held_out, evaluation, tmp_path):
    """Five PNGs that open, with a caption that states n; twice the same bytes."""
    captions = figures.write_figures(held_out, evaluation, tmp_path / "a", crs="EPSG:3035")
    assert captions == figures.write_figures(held_out, evaluation, tmp_path / "b", crs="EPSG:3035")
    assert sorted(captions) == sorted(p.name for p in (tmp_path / "a").iterdir())
    for name, caption in captions.items():
        assert "150" in caption or "1,800" in caption, name
        assert sha256(tmp_path / "a" / name) == sha256(tmp_path / "b" / name)
        with Image.open(tmp_path / "a" / name) as image:
            assert image.format == "PNG" and min(image.size) > 400


def drawn(held_out, evaluation):
    return {
        "roc": figures.draw_roc(held_out, evaluation)[0],
        "reliability": figures.draw_reliability(evaluation)[0],
        "sweep": figures.draw_threshold_sweep(held_out)[0],
        "prevalence": figures.draw_auc_against_prevalence(evaluation)[0],
        "plots": figures.draw_plots(held_out, crs="EPSG:3035")[0],
    }


def test_every_axis_is_named(held_out, evaluation):
    """Outer axes carry a label; the map has units and its CRS."""
    for name, figure in drawn(held_out, evaluation).items():
        axes = figure.axes
        assert any(a.get_xlabel() for a in axes) and any(a.get_ylabel() for a in axes), name
        assert any(a.get_title() for a in axes), name
    left = figures.draw_plots(held_out, crs="EPSG:3035")[0].axes[0]
    assert left.get_xlabel() == "Easting, km (EPSG:3035)" and left.get_ylabel() == "Northing, km"


def test_the_roc_curves_area_is_the_printed_auc(held_out, evaluation):
    """Every model's line, by the trapezoid rule."""
    lines = {line.get_label(): line for line in figures.draw_roc(held_out, evaluation)[0].axes[0].lines}
    for name, scored in evaluation.scores.items():
        (label,) = (text for text in lines if str(text).startswith(f"{name}, AUC"))
        x, y = (np.asarray(v, float) for v in lines[label].get_data())
        assert np.trapezoid(y, x) == pytest.approx(scored["auc"].value, abs=0.01)
        assert f"{scored['auc'].value:.3f}" in str(label)


def test_the_reliability_points_are_the_evaluations_bins(evaluation):
    """Predicted against observed; bins without pairs have no point."""
    axes = figures.draw_reliability(evaluation)[0].axes[0]
    for name, bins in evaluation.reliability.items():
        (line,) = (container.lines[0] for container in axes.containers if str(container.get_label()).startswith(f"{name},"))
        np.testing.assert_allclose(line.get_xdata(), [b.predicted for b in bins])
        np.testing.assert_allclose(line.get_ydata(), [b.observed.value for b in bins])


def test_every_plot_is_on_both_maps(held_out):
    """Kilometres of the plots' own coordinates, one point a plot."""
    left, right, *_ = figures.draw_plots(held_out)[0].axes
    for axes in (left, right):
        points = np.concatenate([c.get_offsets() for c in axes.collections])
        np.testing.assert_allclose(np.sort(points[:, 0]), np.sort(held_out.xy[:, 0] / 1000))


def test_figures_of_an_unscorable_evaluation_are_drawn(held_out, tmp_path):
    """No species reaches the minimum, one plot only: empty axes, no error."""
    figures.write_figures(held_out, evaluate(held_out, draws=2, minimum=1000), tmp_path / "none")
    one = np.array([0])
    single = replace(
        held_out,
        event=("e",),
        fold=one,
        block=one,
        truth=held_out.truth[one],
        xy=held_out.xy[one],
        p={k: p[one] for k, p in held_out.p.items()},
    )
    figures.write_figures(single, evaluate(single, draws=2), tmp_path / "one")


def test_colours_of_models_differ_for_everyone():
    """As many dashes and markers as colours, none twice: a grey print still tells the lines apart."""
    assert len(set(figures.COLORS)) == len(set(map(str, figures.DASHES))) == len(set(figures.MARKERS)) == 7
