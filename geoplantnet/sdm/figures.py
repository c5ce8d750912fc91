"""Figures of an evaluation and of what a model responds to. Needs matplotlib; nothing is shown, no global state is touched.

Colours are those of Okabe and Ito (2008) and PuOr, which colour-blind readers tell apart; lines also differ in their dashes.
"""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from geoplantnet.sdm import scores
from geoplantnet.sdm.evaluate import Evaluation, maxexp
from geoplantnet.sdm.explain import Responses
from geoplantnet.sdm.held_out import HeldOut
from geoplantnet.sdm.species_report import FLAT, SpeciesReport
from geoplantnet.storage import write_beside

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
RESPONSES = "responses.png"
"""File of the response of richness, which not every evaluation has."""
_GREY, _PALE = "#707070", "#dddddd"
_RATES = np.linspace(0, 1, 201)


def write_figures(
    held_out: HeldOut, evaluation: Evaluation, folder: str | os.PathLike[str], *, crs: str = "", responses: Responses | None = None
) -> dict[str, str]:
    """Draw every figure as PNG into `folder`; file name -> caption. The same evaluation gives the same bytes."""
    drawn = {
        "roc.png": draw_roc(held_out, evaluation),
        "precision_recall.png": draw_precision_recall(held_out, evaluation),
        "reliability.png": draw_reliability(evaluation),
        "threshold.png": draw_threshold_sweep(held_out),
        "auc_prevalence.png": draw_auc_against_prevalence(evaluation),
        "plots.png": draw_plots(held_out, crs=crs),
    }
    if responses is not None and len(responses.predictors):
        drawn[RESPONSES] = draw_richness_responses(responses)
    for name, (figure, _) in drawn.items():
        with write_beside(Path(folder) / name) as temporary:
            temporary.write_bytes(png_of(figure))
    return {name: caption for name, (_, caption) in drawn.items()}


def png_of(figure: Figure) -> bytes:
    """A figure as PNG; the same figure gives the same bytes."""
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, bbox_inches="tight", pad_inches=0.08, metadata={"Software": None})
    return stream.getvalue()


def draw_roc(held_out: HeldOut, evaluation: Evaluation) -> tuple[Figure, str]:
    """Mean ROC curve of every model, averaged vertically (Fawcett 2006) over scored species and folds, and its caption."""
    figure, axes = _figure(5.2, 5.0)
    for i, (name, p) in enumerate(held_out.p.items()):
        every = _curves(held_out, evaluation, p, scores.roc, _RATES)
        auc = evaluation.scores[name]["auc"]
        label = f"{name}, AUC {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]"
        if len(every):
            axes.plot([0, *_RATES], [0, *every.mean(axis=0)], color=_color(i), linestyle=_dash(i), linewidth=2, label=label)
            if i == 0:
                low, high = np.quantile(every, [0.1, 0.9], axis=0)
                axes.fill_between(_RATES, low, high, color=_color(0), alpha=0.15, linewidth=0, label=f"{name}, 80 % of the curves")
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, zorder=0)
    axes.set(xlabel="False positive rate (1 - specificity)", ylabel="True positive rate (sensitivity)", xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    if len(axes.lines) > 1:
        axes.legend(loc="lower right", fontsize=8, framealpha=0.9)
    axes.set_title(f"Held-out plots: {evaluation.plots:,}; species scored: {evaluation.scored_species:,}", fontsize=10)
    return figure, (
        f"Mean ROC curve over {evaluation.scored_species:,} species in {evaluation.folds} held-out folds ({evaluation.plots:,} plots); "
        f"the band holds 80 % of the {next(iter(held_out.p))}'s own curves. Grey: a coin."
    )


def draw_precision_recall(held_out: HeldOut, evaluation: Evaluation) -> tuple[Figure, str]:
    """Mean precision-recall curve of every model, averaged over scored species and folds at equal recall, and its caption."""
    figure, axes = _figure(5.2, 5.0)
    recall = _RATES[1:]
    for i, (name, p) in enumerate(held_out.p.items()):
        every = _curves(held_out, evaluation, p, scores.precision_recall, recall)
        ap = evaluation.scores[name]["auc_pr"]
        label = f"{name}, AUC-PR {ap.value:.3f} [{ap.low:.3f}, {ap.high:.3f}]"
        if len(every):
            axes.plot(recall, every.mean(axis=0), color=_color(i), linestyle=_dash(i), linewidth=2, label=label)
    if axes.lines:
        chance = float(_curves(held_out, evaluation, np.zeros(held_out.truth.shape), scores.precision_recall, recall[-1:]).mean())
        axes.axhline(chance, color=_GREY, linewidth=1, zorder=0, label=f"chance: mean prevalence {chance:.3f}")
        axes.legend(loc="upper right", fontsize=8, framealpha=0.9)
    axes.set(xlabel="Recall (sensitivity)", ylabel="Precision: share of the plots taken that hold the species", xlim=(0, 1), ylim=(0, 1))
    axes.set_title(f"Held-out plots: {evaluation.plots:,}; species scored: {evaluation.scored_species:,}", fontsize=10)
    return figure, (
        f"Mean precision-recall curve over {evaluation.scored_species:,} species in {evaluation.folds} held-out folds ({evaluation.plots:,} plots). Grey: a "
        "coin, whose precision is the prevalence. Rare species lie low by nature: compare models, not data sets."
    )


def draw_reliability(evaluation: Evaluation) -> tuple[Figure, str]:
    """Reliability diagram of every model with the bins' counts below, and its caption."""
    figure, (axes, below) = _figures(5.2, 6.2, heights=(3, 1))
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, zorder=0, label="perfect")
    pairs = evaluation.plots * evaluation.species
    for i, (name, bins) in enumerate(evaluation.reliability.items()):
        x, y = np.array([b.predicted for b in bins]), np.array([b.observed.value for b in bins])
        reach = np.nan_to_num(np.array([[b.observed.value - b.observed.low, b.observed.high - b.observed.value] for b in bins]).T)
        ece = evaluation.scores[name]["ece"].value
        style = {"color": _color(i), "marker": MARKERS[i % len(MARKERS)], "markersize": 4, "linewidth": 1.2}
        axes.errorbar(x, y, yerr=reach.clip(0), linestyle=_dash(i), capsize=2, label=f"{name}, ECE {ece:.3f}", **style)
        below.plot(x, [b.count for b in bins], linestyle=_dash(i), **style)
    axes.set(ylabel="Observed frequency", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.legend(loc="upper left", fontsize=8)
    axes.set_title(f"{evaluation.plots:,} held-out plots x {evaluation.species:,} species = {pairs:,} pairs", fontsize=10)
    below.set(xlabel="Predicted probability (mean of the bin)", ylabel="Pairs in the bin", yscale="log", xlim=(-0.01, 1.01))
    return figure, (
        f"Reliability: share of (plot, species) pairs found against predicted probability in {scores.BINS} equal-width bins, "
        f"{pairs:,} pairs; bars are 95 % intervals from {evaluation.draws} draws of {evaluation.resampled}. Below: how many pairs a bin "
        "holds; those of few pairs say little."
    )


def draw_threshold_sweep(held_out: HeldOut) -> tuple[Figure, str]:
    """F1 and set size of the first model against the threshold lambda, beside MaxExp, and its caption."""
    name, p = next(iter(held_out.p.items()))
    q, labels = p.astype(np.float32), held_out.found()
    sweep = scores.threshold_sweep(q, labels, np.round(np.geomspace(0.01, 0.9, 46), 4))
    own, sum_p = scores.set_scores(maxexp(q), labels), scores.calibration(q, labels).richness_bias[0]
    figure, (axes, below) = _figures(5.6, 6.2, heights=(1, 1))
    for i, (key, title) in enumerate((("samples_f1", "samples-F1"), ("micro_f1", "micro-F1"))):
        axes.plot(sweep.threshold, getattr(sweep, key), color=_color(i), linestyle="-", linewidth=2, label=f"{title}, p > λ")
        value = getattr(own, key)[0]
        axes.axhline(value, color=_color(i), linestyle="--", linewidth=1.2, label=f"{title}, MaxExp ({value:.3f})")
    axes.set(ylabel="F1", ylim=(0, None))
    axes.legend(fontsize=8, loc="lower left")
    axes.set_title(f"{name}: {len(held_out):,} held-out plots, {len(held_out.species):,} species", fontsize=10)
    # Bias spans decades upwards but ends at -100 % downwards: ratios on a log axis show both.
    positive = sweep.set_size_bias > -1
    below.plot(sweep.threshold[positive], 1 + sweep.set_size_bias[positive], color=_color(0), linewidth=2, label="species with p > λ")
    below.axhline(
        1 + own.set_size_bias[0], color=_color(0), linestyle="--", linewidth=1.2, label=f"MaxExp set ({_percent(own.set_size_bias[0])})"
    )
    below.axhline(1 + sum_p, color=_color(2), linestyle="-.", linewidth=1.5, label=f"sum of p ({_percent(sum_p)})")
    below.axhline(1, color=_GREY, linewidth=1, zorder=0)
    below.set(xlabel="Threshold λ (log scale)", ylabel="Predicted / observed species", xscale="log", yscale="log", ylim=(0.05, 20))
    for axis in (below.xaxis, below.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    below.legend(fontsize=8, loc="upper right")
    return figure, (
        f"Sets {{p > λ}} of the {name} at every threshold λ, on {len(held_out):,} held-out plots. Above: F1; dashed, the MaxExp set, "
        "which needs no threshold. Below: predicted over observed number of species; the sum of p is the estimate of richness, the size of a set is none."
    )


def draw_auc_against_prevalence(evaluation: Evaluation) -> tuple[Figure, str]:
    """AUC of every species of the first model against its prevalence, with running medians of all models, and its caption."""
    figure, axes = _figure(5.6, 4.4)
    table = evaluation.per_species
    names = list(evaluation.scores)
    for i, name in enumerate(names):
        rows = table[(table["model"] == name) & np.isfinite(table["auc"])].sort_values("prevalence")
        if rows.empty:
            continue
        x, y = rows["prevalence"].to_numpy(), rows["auc"].to_numpy()
        if i == 0:
            axes.scatter(x, y, s=14, color=_color(0), alpha=0.4, linewidth=0, label=f"{name}, a species")
        if len(rows) >= 10:
            middle = rows["auc"].rolling(max(5, len(rows) // 8), center=True, min_periods=3).median()
            line = middle.groupby(x).mean()  # species of one prevalence share a point
            axes.plot(line.index, line, color=_color(i), linestyle=_dash(i), linewidth=2, label=f"{name}, running median")
    axes.axhline(0.5, color=_GREY, linewidth=1, zorder=0)
    axes.set(xlabel="Prevalence: share of held-out plots (log scale)", ylabel="AUC-ROC, mean over folds", xscale="log", ylim=(0, 1.01))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="lower right")
    unscored = evaluation.species - evaluation.scored_species
    axes.set_title(f"{evaluation.scored_species:,} species scored; {unscored:,} too rare or too common in every fold", fontsize=10)
    return figure, (
        f"AUC of {evaluation.scored_species:,} species against their prevalence on {evaluation.plots:,} held-out plots; {unscored:,} species had fewer "
        f"than {evaluation.minimum} presences or absences in every fold and were not scored. Grey: a coin."
    )


def draw_plots(held_out: HeldOut, *, crs: str = "") -> tuple[Figure, str]:
    """Where the held-out plots lie: by fold, and by the first model's error of richness; and the caption."""
    name, p = next(iter(held_out.p.items()))
    x, y = held_out.xy.T / 1000
    error = p.sum(axis=1, dtype=float) - held_out.found().sum(axis=1)
    figure = Figure(figsize=(9.6, 4.9), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    size = float(np.clip(6000 / len(held_out), 3, 30))
    for i, rows in enumerate(held_out.folds()):
        label = f"fold {held_out.fold[rows[0]]} ({rows.size:,})"
        left.scatter(x[rows], y[rows], s=size, color=_color(i), marker=MARKERS[i % len(MARKERS)], linewidth=0, label=label)
    figure.legend(loc="outside lower center", fontsize=8, markerscale=1.5, ncols=5, frameon=False, title="held out", title_fontsize=8)
    limit = float(max(np.quantile(np.abs(error), 0.98), 1e-6))
    order = np.argsort(np.abs(error), kind="stable")  # the worst on top
    points = right.scatter(
        x[order], y[order], s=size, c=error[order], cmap="PuOr", vmin=-limit, vmax=limit, edgecolors=_GREY, linewidths=0.2
    )
    figure.colorbar(points, ax=right, label="Sum of p - observed, species", extend="both", shrink=0.85)
    left.set_title(f"{len(held_out):,} plots by held-out fold", fontsize=10)
    right.set_title(f"{name}: error of richness (mean {error.mean():+.1f}, RMSE {np.sqrt((error**2).mean()):.1f})", fontsize=10)
    for axes in (left, right):
        axes.set_aspect("equal")
        axes.set_xlabel(f"Easting, km{f' ({crs})' if crs else ''}")
        _bare(axes)
    left.set_ylabel("Northing, km")
    return figure, (
        f"The {len(held_out):,} held-out plots: left, by the fold whose model had not seen them; right, the {name}'s predicted minus observed "
        "number of species (orange brown: too few; purple: too many)."
    )


def draw_richness_responses(responses: Responses) -> tuple[Figure, str]:
    """The number of species expected along each band, and the caption."""
    figure = _draw_responses(responses.predictors, responses.richness, "Species expected (sum of p)")
    return figure, (
        f"Number of species expected when one predictor is moved and all else stays as it is, at {responses.sites:,} held-out plots: the line is "
        f"their mean, the band holds 90 % of the plots. {_SUPPORT}"
    )


def draw_species_responses(report: SpeciesReport) -> tuple[Figure, str]:
    """The probability of a species along each band, its optimum marked where it responds at all, and the caption."""
    optima = {row["predictor"]: row["optimum"] for row in report.niche.to_dict("records") if row["lowest"] < FLAT * row["highest"]}
    figure = _draw_responses(report.responses.predictors, report.responses.species, "Probability", optima)
    return figure, (
        f"Probability of {report.scientific_name} when one predictor is moved and all else stays as it is, at {report.responses.sites:,} held-out "
        f"plots: the line is their mean, the band holds 90 % of the plots, a dot is the optimum. {_SUPPORT}"
    )


_SUPPORT = "The bar below spans 90 % (thin) and half (thick) of the plots learnt from: beyond it a response rests on few."


def _draw_responses(about: pd.DataFrame, curves: pd.DataFrame, title: str, optima: Mapping[str, float] | None = None) -> Figure:
    """A panel a band, on one y axis so that they compare."""
    columns = min(3, len(about))
    rows = -(-len(about) // columns)
    figure = Figure(figsize=(0.7 + 2.9 * columns, 2.7 * rows), layout="constrained")
    every = figure.subplots(rows, columns, sharey=True, squeeze=False)
    top = 1.05 * float(curves["q95"].max()) or 1.0
    for axes, band in zip(every.flat, about.to_dict("records")):
        own = curves[curves["predictor"] == band["predictor"]]
        axes.fill_between(own["value"], own["q05"], own["q95"], color=_color(0), alpha=0.18, linewidth=0)
        axes.plot(own["value"], own["mean"], color=_color(0), linewidth=2)
        best = own[own["value"] == (optima or {}).get(band["predictor"], np.nan)]
        axes.plot(best["value"], best["mean"], color=_color(1), marker="o", markersize=5, linestyle="none")
        for ends, width in (("q05", "q95"), 1.2), (("q25", "q75"), 4.0):
            axes.plot([band[end] for end in ends], [-0.05 * top] * 2, color=_GREY, linewidth=width, solid_capstyle="butt")
        unit = f", {band['unit']}" if band["unit"] else ""
        name = f" ({band['predictor']})" if band["title"] != band["predictor"] else ""
        axes.set_xlabel("\n".join(textwrap.wrap(f"{band['title']}{unit}{name}", 36)), fontsize=9)
        axes.tick_params(labelsize=8)
        axes.set_ylim(-0.1 * top, top)
        _bare(axes)
    for axes in every.flat[len(about) :]:
        axes.set_visible(False)
    for axes in every[:, 0]:
        axes.set_ylabel(title, fontsize=9)
    return figure


def draw_species_map(held_out: HeldOut, taxon: str, *, crs: str = "") -> tuple[Figure, str]:
    """Where a species was found on the held-out plots and where not, by the first model's probability, and the caption.

    `taxon`: id or scientific name. Raises UnknownSpecies.
    """
    k = held_out.species.index_of(taxon)
    name, p = next(iter(held_out.p.items()))
    found, own = held_out.found()[:, k] > 0, p[:, k].astype(np.float64)
    x, y = held_out.xy.T / 1000
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    every = figure.subplots(1, 2, sharex=True, sharey=True)
    size, scale = float(np.clip(9000 / len(held_out), 4, 36)), Normalize(0, max(float(own.max()), 1e-3))
    for axes, rows, title in zip(every, (found, ~found), ("Found", "Not found")):
        axes.scatter(x[~rows], y[~rows], s=size / 4, color=_PALE, linewidth=0)
        at = np.flatnonzero(rows)
        at = at[np.argsort(own[at], kind="stable")]  # the likeliest on top
        axes.scatter(x[at], y[at], c=own[at], norm=scale, cmap="YlGnBu", s=size, edgecolors=_GREY, linewidths=0.3)
        mean = f", mean p {own[rows].mean():.2g}" if at.size else ""
        axes.set_title(f"{title}: {at.size:,} plots{mean}", fontsize=10)
        axes.set_aspect("equal")
        axes.set_xlabel(f"Easting, km{f' ({crs})' if crs else ''}")
        _bare(axes)
    every[0].set_ylabel("Northing, km")
    figure.colorbar(ScalarMappable(scale, "YlGnBu"), ax=every[1], label="Probability", shrink=0.85)
    full = held_out.species[k].scientific_name
    return figure, (
        f"{full} on {len(held_out):,} held-out plots: left, where it was found ({int(found.sum()):,}); right, where not. The colour is the "
        f"probability that the {name}, which had not seen the plot, gave it: a good model is dark on the left and pale on the right."
    )


def _curves(
    held_out: HeldOut, evaluation: Evaluation, p: npt.NDArray[np.floating], of: Callable[..., scores.Float], at: npt.NDArray[np.floating]
) -> scores.Float:
    """One curve (at,) of every species scored in a fold, fold by fold."""
    labels, curves = held_out.found(), []
    for rows in held_out.folds():
        found = labels[rows].sum(axis=0, dtype=int)
        scored = np.flatnonzero((found >= evaluation.minimum) & (len(rows) - found >= evaluation.minimum))
        curves.append(of(p[np.ix_(rows, scored)].astype(np.float32), labels[np.ix_(rows, scored)], at))
    return np.concatenate(curves)


def _percent(bias: float) -> str:
    return f"{100 * bias:+.0f} %"


def _color(i: int) -> str:
    return COLORS[i % len(COLORS)]


def _dash(i: int) -> str | tuple[int, tuple[int, ...]]:
    return DASHES[i % len(DASHES)]


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    _bare(axes)
    return figure, axes


def _figures(width: float, height: float, *, heights: Sequence[float]) -> tuple[Figure, npt.NDArray[np.object_]]:
    """Axes above each other with one x axis."""
    figure = Figure(figsize=(width, height), layout="constrained")
    every = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for axes in every:
        _bare(axes)
    return figure, every


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
