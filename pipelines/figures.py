"""Figures of a classifier, and their table on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from geoplantnet.identify.network import Network, Outputs
    from geoplantnet.identify.photo_set import PhotoSet


def figures_of(network: Network, photos: PhotoSet, told: Outputs) -> dict[str, Any]:
    """Of all photos, as `evaluation.evaluate`; and how many of them, which show plants, are said to show none."""
    from geoplantnet.identify import evaluation

    figures = {str(key): value for key, value in evaluation.evaluate(network, photos, told).loc["all"].dropna().items()}
    if network.card.rejects:
        figures["rejected_plants"] = float((told.plant < network.card.plant_threshold).mean())
    return figures


def print_figures(console: Console, figures: Mapping[str, Any], title: str) -> None:
    """A line a figure; numbers with four digits."""
    table = Table()
    table.add_column("figure")
    table.add_column("value", justify="right")
    for key, value in figures.items():
        table.add_row(key, f"{value:.4g}" if isinstance(value, float) else str(value))
    console.print(title, soft_wrap=True, highlight=False)
    console.print(table)
