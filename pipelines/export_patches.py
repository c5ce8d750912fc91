"""`geoplantnet patches`: cubes at points, in the formats of GeoLifeCLEF and malpolon."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pyproj import Transformer

from geoplantnet.cubes import Modality
from geoplantnet.cubes.geolifeclef import Exported, export_geolifeclef
from geoplantnet.errors import InputError, UsageError
from pipelines.build_cubes import cube_of
from pipelines.context import CubeRun
from pipelines.ledger import Ledger

IMAGES = ("B02", "B03", "B04", "B08")
QUARTERS = ("blue", "green", "red", "nir", "swir1", "swir2")
MONTHS = ("tas", "tasmin", "tasmax", "pr")


def export(run: CubeRun, points: Path, folder: Path, *, subset: str, quality: int) -> Exported:
    """Write what the recipe has of images, Landsat series and monthly climate at the points of a table into a new folder."""
    images, quarters, months = (
        _with_bands(run, bands, series=series) for bands, series in ((IMAGES, False), (QUARTERS, True), (MONTHS, True))
    )
    if not (images or quarters or months):
        wanted = "; or ".join(" ".join(bands) + which for bands, which in ((IMAGES, ""), (QUARTERS, " in time"), (MONTHS, " in time")))
        raise UsageError(f"none of {', '.join(m.name for m in run.modalities)} has what these formats hold: {wanted}")
    ledger = Ledger(run.store)
    whole = [tile for tile in run.tiles if all(ledger.record(*task) for task in cube_of(run, tile))]
    return export_geolifeclef(
        read_points(points, run.grid.crs),
        folder,
        grid=run.grid,
        cubes={tile: run.cube(tile) for tile in whole},
        sentinel2=images,
        landsat=quarters,
        climate=months,
        subset=subset,
        quality=quality,
    )


def read_points(file: Path, crs: str) -> pd.DataFrame:
    """surveyId, x and y in `crs` from a CSV table with surveyId and x, y (in `crs`) or lon, lat (WGS 84). Raises InputError."""
    try:
        table = pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as a CSV table: {error}") from error
    columns = {"x", "y"} if {"x", "y"} <= set(table) else {"lon", "lat"}
    missing = sorted(({"surveyId"} | columns) - set(table))
    if missing:
        raise InputError(f"{file} has no column {', '.join(missing)}; it needs surveyId, and x and y in {crs} or lon and lat in degrees")
    if columns == {"lon", "lat"}:
        table["x"], table["y"] = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(table["lon"], table["lat"])
    return table[["surveyId", "x", "y"]]


def _with_bands(run: CubeRun, bands: tuple[str, ...], *, series: bool) -> Modality | None:
    return next((m for m in run.modalities if set(bands) <= set(m.bands) and bool(m.times) == series), None)
