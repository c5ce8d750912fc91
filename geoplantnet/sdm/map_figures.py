"""Figures of a run's maps: richness and area of applicability at the size of a page. Needs matplotlib."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from geoplantnet.errors import InputError

Float = npt.NDArray[np.float32]

_EMPTY, _INK = "#e3e3e3", "#1a1a1a"
_WIDTH = 7.4
"""Inches."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MapOverview:
    """Maps of a run's tiles; arrays are (y, x), north up, NaN where nothing is mapped."""

    richness: Float | None
    """Expected number of species, the sum of p; None = not made."""
    index: Float | None
    """Dissimilarity index; None = no area of applicability is known."""
    inside: Float | None
    """1 where most of the pixel's cells lie in the area of applicability, 0 where not; None with `index`."""
    threshold: float | None
    """Largest index inside; None with `index`."""
    extrapolated: float | None
    """Share of the mapped cells outside of it; None = unknown."""
    bounds: tuple[float, float, float, float]
    """West, south, east, north, metres."""
    crs: str
    pixel: float
    """Metres."""
    plot_area: float
    """m2 to which richness refers."""
    tiles: int
    of: int
    """Tiles of the recipe; the others are not up to date and not shown."""


def draw_richness_map(overview: MapOverview) -> tuple[Figure, str]:
    """Expected number of species, hatched outside the area of applicability, and the caption. Raises InputError without richness."""
    if overview.richness is None:
        raise InputError("richness was not mapped; add it to the recipe's indicators")
    known = overview.richness[np.isfinite(overview.richness)]
    low, high = np.quantile(known, [0.02, 0.98]) if known.size else (0.0, 1.0)
    figure, axes, image = _map(overview, overview.richness, "viridis", float(low), float(max(high, low + 0.1)))
    figure.colorbar(image, ax=axes, label=f"Species expected on {overview.plot_area:g} m² (sum of p)", extend="both", shrink=0.85)
    axes.set_title(f"Richness: {_shown(overview)}", fontsize=10)
    _finish(figure, axes, overview, overview.richness, "white")
    return figure, (
        f"Expected number of species (sum of p) on a plot of {overview.plot_area:g} m², {_shown(overview)}; a pixel is the mean of "
        f"{overview.pixel:g} m. {_outside(overview)}"
    )


def draw_applicability_map(overview: MapOverview) -> tuple[Figure, str]:
    """Dissimilarity to the plots learnt from, hatched outside the area of applicability, and the caption.

    Raises InputError where no such area is known.
    """
    if overview.index is None or overview.threshold is None:
        raise InputError("the model has no area of applicability; it needs two folds that can be compared")
    figure, axes, image = _map(overview, overview.index, "cividis", 0.0, 2 * overview.threshold)
    bar = figure.colorbar(image, ax=axes, label="Dissimilarity index", extend="max", shrink=0.85)
    bar.ax.axhline(overview.threshold, color="white", linewidth=2)
    bar.ax.axhline(overview.threshold, color=_INK, linewidth=1)
    axes.set_title(f"Area of applicability: index up to {overview.threshold:.2g}", fontsize=10)
    _finish(figure, axes, overview, overview.index, _INK)
    return figure, (
        f"Dissimilarity of every pixel ({overview.pixel:g} m) to the most similar plot learnt from (Meyer & Pebesma 2021; 1 = mean distance of two "
        f"plots), {_shown(overview)}; the line on the scale is the threshold, {overview.threshold:.2g}. {_outside(overview)}"
    )


def _map(overview: MapOverview, values: Float, palette: str, low: float, high: float) -> tuple[Figure, Axes, AxesImage]:
    """Axes in kilometres of the grid with a raster and a scale bar."""
    west, south, east, north = (b / 1000 for b in overview.bounds)
    height = np.clip(_WIDTH * 0.76 * (north - south) / (east - west), 1.6, 8.0)
    figure = Figure(figsize=(_WIDTH, float(height) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(_EMPTY)
    image = axes.imshow(values, extent=(west, east, south, north), cmap=palette, vmin=low, vmax=high, interpolation="nearest")
    axes.set(xlabel=f"Easting, km ({overview.crs})", ylabel="Northing, km")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True))
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.tick_params(labelsize=8)
    return figure, axes, image


def _finish(figure: Figure, axes: Axes, overview: MapOverview, values: Float, color: str) -> None:
    """Hatch what is mapped outside the area of applicability, and say what hatches and gaps are."""
    patches = []
    if overview.inside is not None and (overview.inside == 0).any():
        _hatch(axes, overview, overview.inside == 0, color)
        patches.append(Patch(facecolor="#8d8d8d", edgecolor=color, hatch="////", label="outside the area of applicability"))
    if np.isnan(values).any():
        patches.append(Patch(facecolor=_EMPTY, edgecolor="#b0b0b0", label="not mapped"))
    if patches:
        figure.legend(handles=patches, loc="outside lower center", ncols=2, fontsize=8, frameon=False)


def _hatch(axes: Axes, overview: MapOverview, where: npt.NDArray[np.bool_], color: str) -> None:
    west, south, east, north = (b / 1000 for b in overview.bounds)
    rows, columns = where.shape
    x = west + (np.arange(columns) + 0.5) * (east - west) / columns
    y = north - (np.arange(rows) + 0.5) * (north - south) / rows
    outside = np.pad(where.astype(float), 1)  # closed at the edge of the map
    x, y = (np.concatenate([[2 * v[0] - v[1]], v, [2 * v[-1] - v[-2]]]) for v in (x, y))
    axes.contourf(x, y, outside, levels=[0.5, 2], colors="none", hatches=["////"]).set_edgecolor(color)
    axes.contour(x, y, outside, levels=[0.5], colors=color, linewidths=0.5)
    axes.set(xlim=(west, east), ylim=(south, north))


def _shown(overview: MapOverview) -> str:
    which = f"{overview.tiles:,} tile{'s' * (overview.tiles > 1)}"
    return which if overview.tiles == overview.of else f"{overview.tiles:,} of {overview.of:,} tiles (the others are not up to date)"


def _outside(overview: MapOverview) -> str:
    if overview.inside is None:
        return "No area of applicability is known: nothing says where the model extrapolates."
    share = "" if overview.extrapolated is None else f" ({100 * overview.extrapolated:.0f} % of the mapped cells)"
    return f"Hatched: outside the area of applicability{share}, unlike the plots learnt from: predictions there are extrapolation."
