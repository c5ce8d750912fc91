"""Figures show the numbers that are printed, name their axes and units, and are the same bytes each time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("matplotlib")

from PIL import Image

from geoplantnet.errors import UnknownSpecies
from geoplantnet.sdm import figures
from geoplantnet.sdm.evaluate import evaluate
from geoplantnet.sdm.explain import QUANTILE_NAMES, Responses
from geoplantnet.sdm.species_report import SpeciesTables
from geoplantnet.storage import sha256


def test_every_figure_is_written_with_a_caption_and_is_repeatable(held_out, evaluation, tmp_path):
    """PNGs that open, with a caption that states n; twice the same bytes."""
    captions = figures.write_figures(held_out, evaluation, tmp_path / "a", crs="EPSG:3035")
    assert captions == figures.write_figures(held_out, evaluation, tmp_path / "b", crs="EPSG:3035")
    assert sorted(captions) == sorted(p.name for p in (tmp_path / "a").iterdir())
    for name, caption in captions.items():
        assert "150" in caption or "1,800" in caption, name
        assert sha256(tmp_path / "a" / name) == sha256(tmp_path / "b" / name)
        with Image.open(tmp_path / "a" / name) as image:
            assert image.format == "PNG" and min(image.size) > 400


BANDS = {"terrain.elevation": ("elevation above sea level", "m", 2000.0), "soil.ph": ("soil.ph", "", 8.0)}


@pytest.fixture(scope="module")
def tables(held_out):
    """Made-up responses of twelve species along two bands: each best in the middle of the first, at the end of the second."""
    curves = []
    for name, (_, _, high) in BANDS.items():
        for i, value in enumerate(np.linspace(0, high, 9)):
            p = 0.8 - 0.1 * abs(i - 4) if name == "terrain.elevation" else 0.1 + 0.05 * i
            quantiles = {q: p * (0.5 + 0.2 * j) for j, q in enumerate(QUANTILE_NAMES)}
            row = {"predictor": name, "value": value, "mean": p, **quantiles, "inside": True}
            curves += [{**row, "taxon_id": t.taxon_id} for t in held_out.species]
    species, ids = pd.DataFrame(curves), [t.taxon_id for t in held_out.species]
    richness = species.drop(columns=["taxon_id", "inside"]).groupby(["predictor", "value"], sort=False, as_index=False).sum()
    about = [
        {"predictor": name, "title": title, "unit": unit, "low": 0.0, "high": high}
        | {q: high * (j + 1) / 6 for j, q in enumerate(QUANTILE_NAMES)}
        for name, (title, unit, high) in BANDS.items()
    ]
    return SpeciesTables(
        species=held_out.species,
        score="auc",
        plots=150,
        found=pd.DataFrame({"presences": 50, "records": 0}, index=ids),
        contributions=pd.DataFrame({"terrain": 0.2, "soil": 0.1}, index=ids),
        importance=pd.DataFrame({"terrain.elevation": 0.2, "soil.ph": 0.1}, index=ids),
        responses=Responses(predictors=pd.DataFrame(about), species=species, richness=richness.assign(inside=True), sites=40),
    )


def test_a_response_is_drawn_as_it_is_told(tables):
    """A panel a band, named with its unit; line, band of sites and optimum are the table's; all on one y axis from below 0."""
    report = tables.report("t3")
    figure, caption = figures.draw_species_responses(report)
    first, second = figure.axes
    assert [a.get_xlabel().replace("\n", " ") for a in figure.axes] == ["elevation above sea level, m (terrain.elevation)", "soil.ph"]
    assert first.get_ylabel() == "Probability" and first.get_ylim() == second.get_ylim() and "Planta 3" in caption and "40" in caption
    for axes, name in zip(figure.axes, BANDS):
        own = report.responses.species[report.responses.species["predictor"] == name]
        np.testing.assert_allclose(axes.lines[0].get_xydata(), own[["value", "mean"]])
        (band,) = axes.collections
        edges = band.get_paths()[0].vertices
        assert edges[:, 1].max() == pytest.approx(own["q95"].max()) and edges[:, 1].min() == pytest.approx(own["q05"].min())
        best = report.niche.set_index("predictor").loc[name]
        np.testing.assert_allclose(axes.lines[1].get_xydata(), [[best["optimum"], best["highest"]]])
    assert figures.png_of(figures.draw_species_responses(report)[0]) == figures.png_of(figure)


def test_the_response_of_richness_is_a_figure_where_there_is_one(held_out, evaluation, tables, tmp_path):
    """Sum of the species' means; without responses, or without a band that matters, no figure."""
    figure, _ = figures.draw_richness_responses(tables.responses)
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), 12 * (0.8 - 0.1 * np.abs(np.arange(9) - 4)))
    captions = figures.write_figures(held_out, evaluation, tmp_path, responses=tables.responses)
    assert list(captions)[-1] == figures.RESPONSES and (tmp_path / figures.RESPONSES).is_file()
    none = replace(tables.responses, predictors=tables.responses.predictors.iloc[:0])
    assert figures.RESPONSES not in figures.write_figures(held_out, evaluation, tmp_path, responses=none)


def test_a_species_map_shows_every_plot_by_what_was_found(held_out):
    """Left the presences, right the absences, each coloured by the first model's probability; the others small and pale."""
    for k, taxon in ((3, "t3"), (5, "Planta 5"), (11, "t11")):
        figure, caption = figures.draw_species_map(held_out, taxon, crs="EPSG:3035")
        found, p = held_out.found()[:, k] > 0, held_out.p["model"][:, k]
        for axes, rows in zip(figure.axes, (found, ~found)):
            others, own = axes.collections
            assert len(others.get_offsets()) == (~rows).sum() and len(own.get_offsets()) == rows.sum()
            np.testing.assert_allclose(own.get_array(), np.sort(p[rows]), rtol=1e-6)
            np.testing.assert_allclose(np.sort(own.get_offsets()[:, 0]), np.sort(held_out.xy[rows, 0] / 1000))
            assert f"{rows.sum():,} plots" in axes.get_title() and axes.get_xlabel() == "Easting, km (EPSG:3035)"
        assert held_out.species[k].scientific_name in caption and f"({found.sum()})" in caption
        assert figures.png_of(figure) == figures.png_of(figures.draw_species_map(held_out, taxon, crs="EPSG:3035")[0])
    with pytest.raises(UnknownSpecies, match="Planta"):
        figures.draw_species_map(held_out, "Planta x")


def drawn(held_out, evaluation):
    return {
        "roc": figures.draw_roc(held_out, evaluation)[0],
        "precision_recall": figures.draw_precision_recall(held_out, evaluation)[0],
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


def test_the_mean_of_the_precision_recall_curve_is_the_printed_auc_pr(held_out, evaluation):
    """Every model's line; that of prevalence alone is chance, and so is the grey line."""
    lines = {str(line.get_label()): line for line in figures.draw_precision_recall(held_out, evaluation)[0].axes[0].lines}
    for name, scored in evaluation.scores.items():
        (label,) = (text for text in lines if text.startswith(f"{name}, AUC-PR"))
        assert np.mean(lines[label].get_ydata()) == pytest.approx(scored["auc_pr"].value, abs=0.01)
        assert f"{scored['auc_pr'].value:.3f}" in label
    (chance,) = (line for text, line in lines.items() if text.startswith("chance"))
    assert chance.get_ydata()[0] == pytest.approx(evaluation.scores["prevalence"]["auc_pr"].value, abs=1e-9)


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
    """No species reaches the minimum, one plot only: axes without a model's curve, captions that count none, files that open."""
    nothing = evaluate(held_out, draws=2, minimum=1000)
    captions = figures.write_figures(held_out, nothing, tmp_path / "none")
    assert "over 0 species" in captions["roc.png"] and "over 0 species" in captions["precision_recall.png"]
    for draw in (figures.draw_roc, figures.draw_precision_recall):
        assert not [line for line in draw(held_out, nothing)[0].axes[0].lines if str(line.get_label()).startswith("model")]
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
    alone = figures.write_figures(single, evaluate(single, draws=2), tmp_path / "one")
    assert set(alone) == set(captions) and "The 1 held-out plots" in alone["plots.png"]
    for name in captions:
        for folder in ("none", "one"):
            with Image.open(tmp_path / folder / name) as image:
                assert image.format == "PNG" and min(image.size) > 400


def test_colours_of_models_differ_for_everyone():
    """As many dashes and markers as colours, none twice: a grey print still tells the lines apart."""
    assert len(set(figures.COLORS)) == len(set(map(str, figures.DASHES))) == len(set(figures.MARKERS)) == 7
