"""Stage `indicators`: latent tile + traits -> one COG an indicator, with its uncertainty bands."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from geoplantnet.assemblages import open_latent
from geoplantnet.catalog.geotiff import encode, write_cog
from geoplantnet.indicators import IndicatorInfo, compute, indicator
from pipelines.context import Run
from pipelines.flow import Inside, Made, Stage
from pipelines.tables import stored_traits


def settings(run: Run, tile_id: str) -> object:
    """Which indicators."""
    return list(run.recipe.indicators)


def needs(run: Run, tile_id: str) -> list[tuple[str, str]]:
    """The latent tile, and the traits that came with the occurrences."""
    return [("map", tile_id), ("occurrences", "all")]


def work(run: Run, tile_id: str, inside: Inside) -> Made:
    """Compute and commit the indicators of one tile."""
    latent = open_latent(run.latent(tile_id), run.grid)
    found = compute(run.recipe.indicators, latent.blocks, stored_traits(run), latent.shape)
    outputs = []
    for name in run.recipe.indicators:
        info = indicator(name).info
        outputs.append(_write(run, tile_id, info, found))
    return outputs, {name: _middle(found[name]) for name in run.recipe.indicators}


def _write(run: Run, tile_id: str, info: IndicatorInfo, found: xr.Dataset) -> Any:
    """One COG: the indicator first, then what says how sure it is. All bands share the first one's type."""
    storage = info.storage
    scales = [_scale(found[band], storage.scale) for band in info.bands]
    stored = [encode(found[band].values, scale=s, nodata=storage.nodata, dtype=storage.dtype).values for band, s in zip(info.bands, scales)]
    return write_cog(
        run.product(tile_id, f"{info.id}.tif"),
        np.stack(stored),
        run.tile(tile_id).geobox(),
        band_names=info.bands,
        band_descriptions=[str(found[band].attrs.get("long_name", band)) for band in info.bands],
        scale=scales,
        nodata=storage.nodata,
        unit=[str(found[band].attrs.get("units", "")) for band in info.bands],
        overview_resampling="mode" if info.classes else "average",
        tags={"title": info.title, "notice": run.recipe.notice},
    )


def _scale(band: xr.DataArray, default: float) -> float:
    return float(band.encoding.get("scale_factor", default))


def _middle(values: xr.DataArray) -> float | None:
    middle = float(np.nanmedian(values.values)) if np.isfinite(values.values).any() else None
    return None if middle is None else round(middle, 4)


def describe(stats: dict[str, Any]) -> str:
    """Median richness and Shannon, where asked for."""
    return ", ".join(f"median {name} {stats[name]}" for name in ("richness", "shannon") if stats.get(name) is not None)


INDICATORS = Stage("indicators", keys=lambda run: run.tiles, settings=settings, needs=needs, work=work, describe=describe)
