"""Stage `indicators`: one pass over a mapped tile -> species sets, and one COG an indicator, with its uncertainty bands and how far an ensemble's
members disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from geoplantnet.assemblages import LatentTile
from geoplantnet.assemblages.assemblage import Assemblage, write_assemblage
from geoplantnet.assemblages.species_tile import SpeciesTile
from geoplantnet.assemblages.stores import open_species_tile, survey
from geoplantnet.assemblages.stream import stream
from geoplantnet.catalog.geotiff import encode, write_cog
from geoplantnet.config.typology import load_typology
from geoplantnet.indicators import SPARSE, Indicator, IndicatorInfo, Storage, asked_sums, from_sums
from geoplantnet.sdm.products import int8_product
from geoplantnet.storage import json_text, write_beside
from pipelines.context import Run
from pipelines.flow import Inside, Made, Stage
from pipelines.habitats import chosen_indicators, indicator_traits

SET_RULE = "MaxExp (maximum expected F1)"
APPLICABLE = "applicable"
"""Name of the band of every indicator's raster that says where the model extrapolates."""


def settings(run: Run) -> Callable[[str], object]:
    """Which indicators, and the words in their files."""
    habitats = run.recipe.habitats and load_typology(run.recipe.habitats.typology).model_dump(mode="json")
    return lambda tile_id: [run.recipe.indicators, habitats, run.recipe.notice]


def needs(run: Run, tile_id: str) -> list[tuple[str, str]]:
    """The mapped tile, the traits that came with the occurrences, and what the model learnt of habitats."""
    return [("map", tile_id), ("occurrences", "all"), *([("train", "model")] if run.recipe.habitats else [])]


def work(run: Run, tile_id: str, inside: Inside) -> Made:
    """Compute and commit the species sets and the indicators of one tile."""
    tile, traits, chosen = open_species_tile(run.predictions(tile_id), run.grid), indicator_traits(run), chosen_indicators(run)
    surveyed = survey(tile, asked_sums(chosen, traits), multiply=int8_product)
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
    found = from_sums(chosen, surveyed.sums, tile.valid, least=SPARSE)
    if isinstance(tile, LatentTile) and tile.members > 1:
        _add_spreads(found, chosen, replace(tile, stored_threshold=surveyed.threshold), traits)
    _add_applicability(found, tile)
    written = [_write(run, tile_id, one.info, found) for one in chosen]
    told = {*run.recipe.indicators, *(one.info.uncertainty for one in chosen)}
    stats: dict[str, Any] = {name: _percentiles(found[name]) for name in map(str, found) if name in told or is_spread(name)}
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


def _add_applicability(found: xr.Dataset, tile: SpeciesTile) -> None:
    """Where the model knows what it talks about, 1, and where it extrapolates, 0, as far as the model can tell."""
    if tile.inside is not None:
        words = {"long_name": "Inside the area of applicability of the model (1), or extrapolated (0)", "units": "1"}
        found[APPLICABLE] = (("y", "x"), np.where(tile.valid, tile.inside, np.nan).astype(np.float32), words)
        found[APPLICABLE].encoding = {"scale_factor": 1.0}


def _add_spreads(found: xr.Dataset, chosen: Sequence[Indicator], latent: LatentTile, traits: pd.DataFrame) -> None:
    """Beside every indicator that is a number, the standard deviation between members of the ensemble, NaN where it has no value."""
    numbers = [one for one in chosen if not one.info.classes]
    if not numbers:
        return

    asked = asked_sums(numbers, traits)

    def measure(tile: LatentTile) -> npt.NDArray[np.floating]:
        sums = stream(tile, asked, multiply=int8_product, sets=False).sums
        of_member = from_sums(numbers, sums, tile.valid, least=SPARSE)
        return np.stack([of_member[one.info.id].values for one in numbers])

    for one, values in zip(numbers, latent.spread_of(measure)):
        name = one.info.id
        band = found[name]
        words = {"long_name": f"{band.attrs.get('long_name', name)}: standard deviation between members of the ensemble"}
        found[spread_band(name)] = (("y", "x"), np.where(np.isfinite(band.values), values, np.nan), {**band.attrs, **words})
        found[spread_band(name)].encoding = {**band.encoding, "scale_factor": spread_scale(one.info.storage)}


def _write(run: Run, tile_id: str, info: IndicatorInfo, found: xr.Dataset) -> tuple[Path, int]:
    """One COG: the indicator first, then what says how sure it is, all in the first one's type. Also counts values that did not fit."""
    storage, bands = info.storage, [*info.bands, *(name for name in (spread_band(info.id), APPLICABLE) if name in found)]
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
        unit=[info.unit, *("class" if _is_class(info, band) else str(found[band].attrs.get("units", "1")) for band in bands[1:])],
        overview_resampling=["mode" if _is_class(info, band) else "average" for band in bands],
        tags=_tags(info) | {"notice": run.recipe.notice},
    )
    return path, sum(band.clipped for band in stored)


def _is_class(info: IndicatorInfo, band: str) -> bool:
    """Whether a band holds classes or a mask, whose mean says nothing."""
    return band == APPLICABLE or (band == info.id and bool(info.classes)) or any(b.name == band and b.unit == "class" for b in info.further)


def _tags(info: IndicatorInfo) -> dict[str, str]:
    """What the file tells people and programs of the indicator, in English and French."""
    low, high = info.valid_range
    told = {
        "title": info.title,
        "description": info.description,
        "legend": info.direction,
        "title_fr": info.fr.title,
        "description_fr": info.fr.description,
        "legend_fr": info.fr.direction,
        "valid_range": f"{low:g} {high:g}",
    }
    if info.classes:
        told["classes"] = json_text([asdict(c) for c in info.classes])
    return told


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
