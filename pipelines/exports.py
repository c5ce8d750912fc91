"""`geoplantnet export`: one door to every format, and which options each can use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd

from geoplantnet.errors import UsageError, did_you_mean
from geoplantnet.storage import files_of
from pipelines.change import CHANGE, CHANGES
from pipelines.compute_indicators import INDICATORS
from pipelines.context import Run
from pipelines.export_ebvcube import export_ebvcube
from pipelines.export_rasters import export_cog, export_geotiff, export_gti, export_qml, export_vrt
from pipelines.export_tables import export_geopackage, export_geoparquet, export_postgis
from pipelines.map_species import MAP
from pipelines.plan import Inside, Stage
from pipelines.publish import PUBLISH
from pipelines.selection import Exported, Selection, select

ENVIRONMENT = "-"
"""As --output of postgis: the database that libpq's environment names (PGHOST, PGSERVICE ...)."""
SELECTS = ("species", "indicator", "region")
"""Options that `select` understands; a format says which of them it can follow."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One way out."""

    write: Callable[..., Exported]
    """(selection, output, inside, **options) -> what was written. `output` is what was said: mostly a path."""
    options: tuple[str, ...]
    """Options of the command line that mean something to it, beside --output."""
    stages: tuple[Stage[Run], ...]
    """What must be up to date of a tile."""
    ending: str = ""
    """Of the file, by which the format is known without --format; empty for a folder."""


def _ebvcube(selection: Selection, output: str, inside: Inside, **options: Any) -> Exported:
    species = [taxon.taxon_id for taxon in selection.taxa]
    written, tiles = export_ebvcube(selection.run, Path(output), species=species, **options)
    return Exported(files=(written,), tiles=tiles)


def _table(write: Callable[..., Any], selection: Selection, output: str | Path, **options: Any) -> Exported:
    """Coverage of reporting cells by one of `export_tables`."""
    region = None if selection.region is None else gpd.GeoSeries([selection.region.geometry], crs=selection.run.grid.crs)
    species = () if selection.every_species else [taxon.taxon_id for taxon in selection.taxa]
    made = write(selection.run, output, species=species, region=region, **options)
    words = f"{made.rows:,} rows" + (f"; {made.skipped} tiles were there already" if made.skipped else "")
    path = Path(made.where)
    return Exported(files=tuple(files_of(path)) if path.exists() else (), tiles=made.tiles, words=words, where=made.where)


def _postgis(selection: Selection, output: str, inside: Inside, **options: Any) -> Exported:
    return _table(export_postgis, selection, "" if output == ENVIRONMENT else output, **options)


def _geoparquet(selection: Selection, output: str, inside: Inside, **options: Any) -> Exported:
    return _table(export_geoparquet, selection, Path(output), **options)


def _geopackage(selection: Selection, output: str, inside: Inside, **options: Any) -> Exported:
    return _table(export_geopackage, selection, Path(output), **options)


FORMATS: Mapping[str, Format] = {
    "cog": Format(write=export_cog, options=(*SELECTS, "compress", "max_error"), stages=(MAP,)),
    "qml": Format(write=export_qml, options=SELECTS, stages=(MAP, INDICATORS, PUBLISH)),
    "geotiff": Format(write=export_geotiff, options=("species", "region", "compress", "max_error"), stages=(MAP,)),
    "gti": Format(write=export_gti, options=("indicator", "region"), stages=(MAP, INDICATORS, PUBLISH), ending=".gti.gpkg"),
    "vrt": Format(write=export_vrt, options=SELECTS, stages=(MAP, INDICATORS, PUBLISH), ending=".vrt"),
    "ebvcube": Format(
        write=_ebvcube, options=("species", "resolution", "creator", "institution", "email"), stages=(MAP, INDICATORS), ending=".nc"
    ),
    "geopackage": Format(write=_geopackage, options=("species", "region"), stages=(MAP, INDICATORS), ending=".gpkg"),
    "geoparquet": Format(write=_geoparquet, options=("species", "region", "by_tile"), stages=(MAP, INDICATORS), ending=".parquet"),
    "postgis": Format(write=_postgis, options=("species", "region", "schema"), stages=(MAP, INDICATORS)),
}


def export(run: Run, output: str, *, name: str | None, options: Mapping[str, Any], inside: Inside) -> Exported:
    """Write what `options` choose of a run; those that are None or empty were not given.

    Raises UsageError for a format there is not, and for an option it cannot use, with those that can.
    """
    chosen = _format(name, output)
    given = {option: value for option, value in options.items() if value not in (None, [], ())}
    for option in given:
        if option not in FORMATS[chosen].options:
            able = ", ".join(other for other, form in FORMATS.items() if option in form.options)
            raise UsageError(f"--{option.replace('_', '-')} means nothing to --format {chosen}; formats that can use it: {able}")
    makers = [CHANGES if indicator == CHANGE else INDICATORS for indicator in given.get("indicator", ())]
    stages = tuple({stage.name: stage for stage in (*FORMATS[chosen].stages, *makers)}.values())
    selection = select(
        run, stages=stages, species=given.get("species", ()), indicators=given.get("indicator", ()), region=given.get("region")
    )
    rest = {option: value for option, value in given.items() if option not in SELECTS}
    return FORMATS[chosen].write(selection, output, inside, **rest)


def _format(name: str | None, output: str) -> str:
    if name is not None:
        if name not in FORMATS:
            raise UsageError(f"--format {name} is none of {', '.join(FORMATS)}.{did_you_mean(name, FORMATS)}")
        return name
    if output.startswith(("postgresql:", "postgres:")):
        return "postgis"
    known = [other for other, form in FORMATS.items() if form.ending and output.endswith(form.ending)]
    if not known:
        raise UsageError(f"{output} does not say which format it is to have; add --format: {', '.join(FORMATS)}")
    return known[0]
