"""Stage `changes` of a scenario: what each tile gains and loses against the recipe's own map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from geoplantnet.assemblages.change import change_between
from geoplantnet.assemblages.stores import open_species_tile
from geoplantnet.catalog.geotiff import encode, write_cog
from geoplantnet.errors import InputError
from geoplantnet.sdm.products import int8_product
from pipelines.context import Run
from pipelines.flow import Inside, Made, Stage
from pipelines.ledger import Ledger

CHANGE = "change"
"""Key of the raster in a tile's item, and the beginning of its layers' names."""
TITLE = "Change of the flora"
COUNT_SCALE, SHARE_SCALE, NODATA = 0.01, 0.0001, 65_535
BANDS = ("gain", "loss", "turnover", "applicable")
SPARSE = 1.0
"""Species expected in both times together below which there is no flora to turn over."""


def settings(run: Run) -> Callable[[str], object]:
    """The base's map of the tile, and the words in the file."""
    assert run.base is not None
    ledger = Ledger(run.base.store)
    return lambda tile_id: [(record := ledger.record("map", tile_id)) and record.content, run.recipe.notice]


def work(run: Run, tile_id: str, inside: Inside) -> Made:
    """Compare one tile with the base's and commit the raster of changes. Raises InputError where the base has not mapped the tile."""
    assert run.base is not None
    if Ledger(run.base.store).record("map", tile_id) is None:
        raise InputError(
            f"tile {tile_id} is not mapped in {run.base.store}, so nothing can be said of its change; run the recipe itself first"
        )
    before, after = (open_species_tile(one.predictions(tile_id), run.grid) for one in (run.base, run))
    change = change_between(before, after, multiply=int8_product)
    turnover = np.where(2 * change.before + change.gain - change.loss >= SPARSE, change.turnover, np.nan)
    bands = [
        encode(values.astype(np.float32), scale=scale, nodata=NODATA, dtype="uint16").values
        for values, scale in ((change.gain, COUNT_SCALE), (change.loss, COUNT_SCALE), (turnover, SHARE_SCALE))
    ]
    stats: dict[str, Any] = {}
    known = np.isfinite(change.gain)
    for name, values in zip(BANDS, (change.gain, change.loss, turnover)):
        some = values[np.isfinite(values)]
        stats[name] = [round(float(q), 4) for q in np.quantile(some, (0.02, 0.5, 0.98))] if some.size else None
    names, scales, units = list(BANDS), [COUNT_SCALE, COUNT_SCALE, SHARE_SCALE, 1.0], ["species", "species", "1", "class"]
    words = [
        "Expected number of species that the place becomes fit for: sum over species of what p rises",
        "Expected number of species that lose the place: sum over species of what p falls",
        "Turnover: gains and losses over the species expected before and after (Legendre 2019), 0 = same flora, 1 = none in common",
        "Inside the area of applicability of the model at both times (1), or extrapolated at either (0)",
    ]
    if before.inside is None or after.inside is None:
        names, scales, units, words = names[:3], scales[:3], units[:3], words[:3]
    else:
        both = before.inside & after.inside
        bands.append(np.where(known, both, NODATA).astype(np.uint16))
        stats["extrapolated"] = round(float((known & ~both).sum() / max(known.sum(), 1)), 4)
    path = write_cog(
        run.product(tile_id, f"{CHANGE}.tif"),
        np.stack(bands),
        run.tile(tile_id).geobox(),
        band_names=names,
        band_descriptions=words,
        scale=scales,
        nodata=NODATA,
        unit=units,
        overview_resampling=["mode" if name == "applicable" else "average" for name in names],
        tags={"title": f"{TITLE}: {run.recipe.title}", "notice": run.recipe.notice, "scenario": run.scenario},
    )
    return [path], stats


def describe(stats: dict[str, Any]) -> str:
    """Medians, and how much of it is extrapolation."""
    said = [f"median {name} {stats[name][1]:.2f}" for name in BANDS[:3] if stats.get(name)]
    outside = [f"{100 * stats['extrapolated']:.0f} % extrapolated"] if "extrapolated" in stats else []
    return ", ".join(said + outside)


CHANGES: Stage[Run] = Stage(
    "changes", keys=lambda run: run.chosen, settings=settings, needs=lambda run, tile_id: [("map", tile_id)], work=work, describe=describe
)
