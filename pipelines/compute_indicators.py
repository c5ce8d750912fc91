"""Stage `indicators`: one pass over a mapped tile -> species sets, and one COG an indicator, with its uncertainty bands and how far an ensemble's
members disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from geoplantnet.assemblages import LatentTile
from geoplantnet.assemblages.assemblage import Assemblage, write_assemblage
from geoplantnet.assemblages.stores import open_species_tile, survey
from geoplantnet.assemblages.stream import stream
from geoplantnet.catalog.geotiff import encode, write_cog
from geoplantnet.indicators import SPARSE, IndicatorInfo, Storage, asked_sums, from_sums, indicator
from geoplantnet.sdm.products import int8_product
from geoplantnet.storage import write_beside
from pipelines.context import Run
from pipelines.flow import Inside, Made, Stage
from pipelines.tables import stored_traits

SET_RULE = "MaxExp (maximum expected F1)"


def settings(run: Run) -> Callable[[str], object]:
    """Which indicators, and the words in their files."""
    return lambda tile_id: [run.recipe.indicators, run.recipe.notice]


def needs(run: Run, tile_id: str) -> list[tuple[str, str]]:
    """The mapped tile, and the traits that came with the occurrences."""
    return [("map", tile_id), ("occurrences", "all")]


def work(run: Run, tile_id: str, inside: Inside) -> Made:
    """Compute and commit the species sets and the indicators of one tile."""
    tile, traits = open_species_tile(run.predictions(tile_id), run.grid), stored_traits(run)
    surveyed = survey(tile, asked_sums(run.recipe.indicators, traits), multiply=int8_product)
    assemblage = Assemblage(
        tile=tile.tile,
        species=len(tile.species),
        list_hash=tile.species.hash,
        threshold=surveyed.threshold,
        sets=surveyed.sets,
        means=surveyed.means,
        attributes={**tile.attributes, "set_rule": SET_RULE},
    )
    with write_beside(run.assemblage(tile_id)) as path:
        write_assemblage(assemblage, path)
    found = from_sums(run.recipe.indicators, surveyed.sums, tile.valid, least=SPARSE)
    if isinstance(tile, LatentTile) and tile.members > 1:
        _add_spreads(found, run.recipe.indicators, replace(tile, stored_threshold=surveyed.threshold), traits)
    written = [_write(run, tile_id, indicator(name).info, found) for name in run.recipe.indicators]
    stats: dict[str, Any] = {
        name: _percentiles(found[name]) for name in map(str, found) if name in run.recipe.indicators or is_spread(name)
    }
    made = [run.assemblage(tile_id), *(path for path, _ in written)]
    return made, stats | {"clipped": sum(clipped for _, clipped in written)}


def spread_band(name: str) -> str:
    """Name of the band of an indicator's raster that says how far the members of the ensemble disagree."""
    return f"{name}_spread"


def spread_scale(storage: Storage) -> float:
    """How finely such a band is stored: no members differ by more than half of a proportion's range, and counts have bytes to spare."""
    return storage.scale / (2 if storage.dtype == "uint8" else 10)


def is_spread(band: str) -> bool:
    """Whether a band is one of those."""
    return band.endswith("_spread")


def _add_spreads(found: xr.Dataset, names: Sequence[str], latent: LatentTile, traits: pd.DataFrame) -> None:
    """Beside every indicator that is a number, the standard deviation between members of the ensemble, NaN where it has no value."""
    numbers = [name for name in names if not indicator(name).info.classes]
    if not numbers:
        return

    asked = asked_sums(numbers, traits)

    def measure(tile: LatentTile) -> npt.NDArray[np.floating]:
        sums = stream(tile, asked, multiply=int8_product, sets=False).sums
        of_member = from_sums(numbers, sums, tile.valid, least=SPARSE)
        return np.stack([of_member[name].values for name in numbers])

    for name, values in zip(numbers, latent.spread_of(measure)):
        band = found[name]
        words = {"long_name": f"{band.attrs.get('long_name', name)}: standard deviation between members of the ensemble"}
        found[spread_band(name)] = (("y", "x"), np.where(np.isfinite(band.values), values, np.nan), {**band.attrs, **words})
        found[spread_band(name)].encoding = {**band.encoding, "scale_factor": spread_scale(indicator(name).info.storage)}


def _write(run: Run, tile_id: str, info: IndicatorInfo, found: xr.Dataset) -> tuple[Path, int]:
    """One COG: the indicator first, then what says how sure it is, all in the first one's type. Also counts values that did not fit."""
    storage, bands = info.storage, [*info.bands, *(name for name in (spread_band(info.id),) if name in found)]
    scales = [_scale(found[band], storage.scale) for band in bands]
    stored = [encode(found[band].values, scale=s, nodata=storage.nodata, dtype=storage.dtype) for band, s in zip(bands, scales)]
    path = write_cog(
        run.product(tile_id, f"{info.id}.tif"),
        np.stack([band.values for band in stored]),
        run.tile(tile_id).geobox(),
        band_names=bands,
        band_descriptions=[str(found[band].attrs.get("long_name", band)) for band in bands],
        scale=scales,
        nodata=storage.nodata,
        unit=[info.unit, *(str(found[band].attrs.get("units", "1")) for band in bands[1:])],
        overview_resampling="mode" if info.classes else "average",
        tags={"title": info.title, "notice": run.recipe.notice},
    )
    return path, sum(band.clipped for band in stored)


def _scale(band: xr.DataArray, default: float) -> float:
    return float(band.encoding.get("scale_factor", default))


def _percentiles(values: xr.DataArray) -> list[float] | None:
    """2nd, 50th and 98th percentile of the tile's cells; None without data."""
    known = values.values[np.isfinite(values.values)]
    return [round(float(q), 4) for q in np.quantile(known, (0.02, 0.5, 0.98))] if known.size else None


def describe(stats: dict[str, Any]) -> str:
    """Median richness and Shannon, where asked for."""
    medians = [f"median {name} {stats[name][1]:.2f}" for name in ("richness", "shannon") if stats.get(name)]
    return ", ".join(medians + ([f"{stats['clipped']} values clipped to the stored range"] if stats["clipped"] else []))


INDICATORS: Stage[Run] = Stage("indicators", keys=lambda run: run.chosen, settings=settings, needs=needs, work=work, describe=describe)
