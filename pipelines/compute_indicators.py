"""Stage `indicators`: latent tile + traits -> one COG an indicator, with its uncertainty bands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from geoplantnet.assemblages import open_latent
from geoplantnet.catalog.geotiff import encode, write_cog
from geoplantnet.indicators import SPARSE, IndicatorInfo, compute, indicator
from pipelines.context import Run
from pipelines.flow import Inside, Made, Stage
from pipelines.tables import stored_traits


def settings(run: Run) -> Callable[[str], object]:
    """Which indicators, and the words in their files."""
    return lambda tile_id: [run.recipe.indicators, run.recipe.notice]


def needs(run: Run, tile_id: str) -> list[tuple[str, str]]:
    """The latent tile, and the traits that came with the occurrences."""
    return [("map", tile_id), ("occurrences", "all")]


def work(run: Run, tile_id: str, inside: Inside) -> Made:
    """Compute and commit the indicators of one tile."""
    latent = open_latent(run.latent(tile_id), run.grid)
    found = compute(run.recipe.indicators, latent.blocks, stored_traits(run), latent.shape, threshold=latent.threshold, least=SPARSE)
    written = [_write(run, tile_id, indicator(name).info, found) for name in run.recipe.indicators]
    stats: dict[str, Any] = {name: _spread(found[name]) for name in run.recipe.indicators}
    return [path for path, _ in written], stats | {"clipped": sum(clipped for _, clipped in written)}


def _write(run: Run, tile_id: str, info: IndicatorInfo, found: xr.Dataset) -> tuple[Path, int]:
    """One COG: the indicator first, then what says how sure it is, all in the first one's type. Also counts values that did not fit."""
    storage = info.storage
    scales = [_scale(found[band], storage.scale) for band in info.bands]
    stored = [encode(found[band].values, scale=s, nodata=storage.nodata, dtype=storage.dtype) for band, s in zip(info.bands, scales)]
    path = write_cog(
        run.product(tile_id, f"{info.id}.tif"),
        np.stack([band.values for band in stored]),
        run.tile(tile_id).geobox(),
        band_names=info.bands,
        band_descriptions=[str(found[band].attrs.get("long_name", band)) for band in info.bands],
        scale=scales,
        nodata=storage.nodata,
        unit=[info.unit, *(str(found[band].attrs.get("units", "1")) for band in info.bands[1:])],
        overview_resampling="mode" if info.classes else "average",
        tags={"title": info.title, "notice": run.recipe.notice},
    )
    return path, sum(band.clipped for band in stored)


def _scale(band: xr.DataArray, default: float) -> float:
    return float(band.encoding.get("scale_factor", default))


def _spread(values: xr.DataArray) -> list[float] | None:
    """2nd, 50th and 98th percentile of the tile's cells; None without data."""
    known = values.values[np.isfinite(values.values)]
    return [round(float(q), 4) for q in np.quantile(known, (0.02, 0.5, 0.98))] if known.size else None


def describe(stats: dict[str, Any]) -> str:
    """Median richness and Shannon, where asked for."""
    medians = [f"median {name} {stats[name][1]:.2f}" for name in ("richness", "shannon") if stats.get(name)]
    return ", ".join(medians + ([f"{stats['clipped']} values clipped to the stored range"] if stats["clipped"] else []))


INDICATORS: Stage[Run] = Stage("indicators", keys=lambda run: run.chosen, settings=settings, needs=needs, work=work, describe=describe)
