"""Exports of species coverage, many tiles at once: into PostGIS, as GeoParquet, as one GeoPackage. The rows are those of `coverage.gpkg`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import geopandas as gpd
import pandas as pd
import shapely

from geoplantnet import __version__
from geoplantnet.assemblages.assemblage import open_assemblage
from geoplantnet.assemblages.reporting import reporting_tables
from geoplantnet.catalog.coverage import TileCoverage, region_of
from geoplantnet.catalog.geopackage import write_coverage
from geoplantnet.catalog.geoparquet import along_curve, write_geoparquet
from geoplantnet.errors import InputError, StorageError, UsageError
from geoplantnet.taxonomy import SpeciesList
from pipelines.compute_indicators import INDICATORS, SET_RULE
from pipelines.context import Run
from pipelines.ledger import Ledger, fingerprint
from pipelines.map_species import MAP
from pipelines.maps import current
from pipelines.publish import REPORTING_CELL, coverage_facts
from pipelines.tables import stored_species, stored_traits


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote."""

    where: str
    """A path, or a database by name, host and schema."""
    tiles: int
    """Tiles that are there now."""
    rows: int
    """Rows (reporting cell, species) written."""
    skipped: int = 0
    """Of the tiles, those that were there already with the same rows: PostGIS alone."""


def export_postgis(
    run: Run, dsn: str, *, species: Sequence[str] = (), region: gpd.GeoSeries | None = None, schema: str = "geoplantnet"
) -> Exported:
    """Load the coverage of some species (names or ids; none = all) over the tiles that are up to date into PostGIS.

    `dsn` as in `geoplantnet.catalog.postgis.load_coverage`. `region`: only the reporting cells whose inside it meets. A tile's rows take
    the place of those it had there, also when these were of other species. Raises as `load_coverage`, and UsageError without psycopg.
    """
    try:
        from geoplantnet.catalog.postgis import Loadable, Release, load_coverage  # here: a machine that maps needs no psycopg
    except ImportError as error:
        raise UsageError(f"PostGIS needs psycopg 3, which is not installed ({error}); run pip install 'geoplantnet[postgis]'") from error
    choice, recipe = _choice(run, species, region), run.recipe
    start, end = (datetime.fromisoformat(moment) for moment in recipe.interval)
    release = Release(
        title=recipe.title,
        notice=recipe.notice,
        licence=recipe.licence,
        interval_start=start,
        interval_end=end,
        plot_area_m2=recipe.map.plot_area,
        set_rule=SET_RULE,
        checklist=choice.axis.checklist,
        species_list=choice.axis.hash,
        version=__version__,
    )
    loaded = load_coverage(
        dsn,
        release=release,
        taxa=[taxon for taxon in choice.axis if taxon.taxon_id in choice.taxa],
        traits=stored_traits(run),
        tiles=(
            Loadable(tile=run.tile(tile), content=_content(run, choice, tile), read=partial(_tile, run, choice, tile))
            for tile in choice.tiles
        ),
        schema=schema,
    )
    return Exported(where=loaded.where, tiles=len(choice.tiles), rows=loaded.rows, skipped=loaded.skipped)


def export_geoparquet(
    run: Run, path: Path, *, species: Sequence[str] = (), region: gpd.GeoSeries | None = None, by_tile: bool = False
) -> Exported:
    """Write the same as GeoParquet: one file, or `by_tile` a folder with a file a tile. Raises as `write_geoparquet`."""
    choice = _choice(run, species, region)
    rows = 0

    def parts() -> Iterator[TileCoverage]:
        nonlocal rows
        for tile in along_curve(map(run.tile, choice.tiles)):
            part = _tile(run, choice, tile.id)
            rows += len(part.rows)
            yield part

    written = write_geoparquet(path, parts(), coverage_facts(run), by_tile=by_tile)
    return Exported(where=str(written), tiles=len(choice.tiles), rows=rows)


def export_geopackage(run: Run, path: Path, *, species: Sequence[str] = (), region: gpd.GeoSeries | None = None) -> Exported:
    """Write the same as one GeoPackage, made in memory: for some species or a region rather than all of Europe. Raises as `write_coverage`."""
    choice = _choice(run, species, region)
    parts = [_tile(run, choice, tile) for tile in choice.tiles]
    cells, rows = (pd.concat([getattr(part, name) for part in parts], ignore_index=True) for name in ("cells", "rows"))
    written = write_coverage(path, cells, rows, coverage_facts(run))
    return Exported(where=str(written), tiles=len(parts), rows=len(rows))


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """What is to be exported."""

    axis: SpeciesList
    taxa: frozenset[str]
    """Ids of the species chosen."""
    region: shapely.Geometry | None
    tiles: tuple[str, ...]
    """Up to date, and met by the region."""


def _choice(run: Run, species: Sequence[str], region: gpd.GeoSeries | None) -> _Choice:
    """Raises UnknownSpecies, UsageError for tiles that share reporting cells, StorageError when no tile is up to date, InputError when
    the region meets none.
    """
    axis = stored_species(run)
    taxa = frozenset(axis[axis.index_of(name)].taxon_id for name in species) or frozenset(taxon.taxon_id for taxon in axis)
    if run.grid.tile_size % REPORTING_CELL:
        raise UsageError(
            f"tiles of {run.grid.tile_size} m share reporting cells of {REPORTING_CELL} m, and tables of many tiles name each cell once; "
            f"use the tiles' own coverage.gpkg, or a tile_size that is a multiple of {REPORTING_CELL}"
        )
    tiles = current(run, MAP, INDICATORS)
    if not tiles:
        raise StorageError(f"no tile in {run.store} is up to date; make them with `geoplantnet run`")
    if region is None:
        return _Choice(axis=axis, taxa=taxa, region=None, tiles=tuple(tiles))
    area = region_of(region)
    boxes = gpd.GeoSeries([shapely.box(*run.tile(tile).bounds) for tile in tiles], index=tiles)
    met = boxes[boxes.intersects(area) & ~boxes.touches(area)]
    if met.empty:
        raise InputError(
            f"the region meets none of the {len(tiles)} tiles that are up to date; `geoplantnet grid show` says where they lie"
        )
    return _Choice(axis=axis, taxa=taxa, region=area, tiles=tuple(met.index))


def _tile(run: Run, choice: _Choice, tile_id: str) -> TileCoverage:
    """Coverage of one tile, as far as it was chosen."""
    cells, rows = reporting_tables(open_assemblage(run.assemblage(tile_id), run.grid), choice.axis, REPORTING_CELL)
    part = TileCoverage(tile_id=tile_id, cells=cells, rows=rows)
    part = part.of(choice.taxa) if len(choice.taxa) < len(choice.axis) else part
    return part.meeting(choice.region) if choice.region is not None else part


def _content(run: Run, choice: _Choice, tile_id: str) -> str:
    """What a tile's rows depend on; the ledger knows the SHA-256 of its species sets."""
    record = Ledger(run.store).record(INDICATORS.name, tile_id)
    assert record is not None  # it is up to date
    sets = [output.sha256 for output in record.outputs if run.store / output.path == run.assemblage(tile_id)]
    region = choice.region.wkb_hex if choice.region is not None else None
    return fingerprint(__version__, sets, choice.axis.hash, sorted(choice.taxa), region, REPORTING_CELL)
