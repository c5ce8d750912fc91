"""A run's maps at the size of a page: what is up to date of all tiles, mosaicked at a coarser resolution, and its figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from geoplantnet.catalog.geotiff import decode
from geoplantnet.config.rooms import bounds_of
from geoplantnet.errors import RasterError
from geoplantnet.sdm.figures import png_of
from geoplantnet.sdm.map_figures import MapOverview, draw_applicability_map, draw_richness_map
from geoplantnet.storage import write_beside
from pipelines.compute_indicators import INDICATORS
from pipelines.context import Run
from pipelines.ledger import Ledger
from pipelines.map_species import MAP
from pipelines.plan import Stage, plan
from pipelines.publish import APPLICABILITY, PUBLISH

RICHNESS = "richness"
PIXELS = 1000
"""Pixels of the longer side of an overview, about."""


def extrapolated_share(run: Run) -> float | None:
    """Share of the cells mapped by today's model that lie outside its area of applicability; None where that is unknown."""
    return _share(run, current(run, MAP))


def overview_of(run: Run) -> MapOverview | None:
    """Richness and area of applicability of the tiles whose products are those of today's model; None without any such tile.

    Raises RasterError for a product that cannot be read.
    """
    tiles = current(run, MAP, INDICATORS, PUBLISH)
    named = [name for name in (RICHNESS, APPLICABILITY) if tiles and run.product(tiles[0], f"{name}.tif").is_file()]
    if not named:
        return None
    west, south, east, north = bounds_of(run.grid, tuple(tiles))
    columns, rows = (round(length / run.grid.tile_size) for length in (east - west, north - south))
    side = max(1, min(run.grid.cells_per_side, PIXELS // max(columns, rows)))
    bands = {"richness": (RICHNESS, 1, Resampling.average)} if RICHNESS in named else {}
    if APPLICABILITY in named:
        bands |= {"index": (APPLICABILITY, 1, Resampling.average), "inside": (APPLICABILITY, 2, Resampling.mode)}
    whole = {field: np.full((rows * side, columns * side), np.nan, np.float32) for field in bands}
    for tile in tiles:
        left, _, _, top = run.tile(tile).bounds
        y, x = (round(gap / run.grid.tile_size) * side for gap in (north - top, left - west))
        for field, (name, band, how) in bands.items():
            whole[field][y : y + side, x : x + side] = _read(run.product(tile, f"{name}.tif"), band, side, how)
    trained = Ledger(run.store).record("train", "model")
    return MapOverview(
        richness=whole.get("richness"),
        index=whole.get("index"),
        inside=whole.get("inside"),
        threshold=trained.stats.get("applicability") if trained else None,
        extrapolated=_share(run, tiles),
        bounds=(west, south, east, north),
        crs=run.grid.crs,
        pixel=run.grid.tile_size / side,
        plot_area=run.recipe.map.plot_area,
        tiles=len(tiles),
        of=len(run.tiles),
    )


def write_map_figures(overview: MapOverview, folder: Path) -> dict[str, str]:
    """Draw what an overview holds as PNG into `folder`; file name -> caption."""
    drawn = {}
    if overview.richness is not None:
        drawn["map_richness.png"] = draw_richness_map(overview)
    if overview.index is not None:
        drawn["map_applicability.png"] = draw_applicability_map(overview)
    for name, (figure, _) in drawn.items():
        with write_beside(folder / name) as temporary:
            temporary.write_bytes(png_of(figure))
    return {name: caption for name, (_, caption) in drawn.items()}


def current(run: Run, *stages: Stage[Run]) -> list[str]:
    """Tiles that every one of the stages has made of what is there today."""
    lagging: set[str] = set()
    for stage in stages:
        found = plan(run, stage)
        lagging |= {task.key for task in found.due} | {failure.key for failure in found.poison} | {key for key, _ in found.blocked}
    return [tile for tile in run.chosen if tile not in lagging]


def _share(run: Run, tiles: list[str]) -> float | None:
    """Of the mapped cells of some tiles, those outside the area of applicability."""
    stats = [record.stats for tile in tiles if (record := Ledger(run.store).record(MAP.name, tile))]
    if not stats or any("extrapolated" not in s for s in stats):
        return None
    return float(np.average([s["extrapolated"] for s in stats], weights=[s["valid"] for s in stats]))


def _read(path: Path, band: int, side: int, how: Resampling) -> npt.NDArray[np.float32]:
    """One band at a coarser resolution (side, side), NaN where nodata."""
    try:
        with rasterio.open(path) as file:
            stored = file.read(band, out_shape=(side, side), resampling=how)
            return decode(stored, scale=file.scales[band - 1], nodata=file.nodata)
    except RasterioError as error:
        raise RasterError(f"cannot read {path} ({error}); make it again with `geoplantnet verify --drop` and `geoplantnet run`") from error
