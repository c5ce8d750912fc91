"""GeoPackage of species coverage: reporting cells + a row per (cell, species) -> one file QGIS opens and styles."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError

from geoplantnet.catalog.coverage import CELLS_ABOUT, COVERAGE_ABOUT, checked_cells, checked_coverage
from geoplantnet.errors import StorageError
from geoplantnet.storage import write_beside

CELLS = "reporting_cells"
COVERAGE = "species_coverage"
MAP = "species_coverage_map"

_CHANGE_COUNTER, _VERSION_VALID_FOR = 24, 92
"""Offsets in the header of an SQLite file (https://www.sqlite.org/fileformat2.html)."""
_EPOCH = "1970-01-01T00:00:00.000Z"
"""Stands in every timestamp that GeoPackage demands: the same content has the same bytes."""


def write_coverage(path: str | Path, cells: gpd.GeoDataFrame, coverage: pd.DataFrame, metadata: Mapping[str, str]) -> Path:
    """Write reporting cells and the species covering them. Same content, same bytes, whatever the order of rows.

    `cells`: `cell_id` (unique), polygon `geometry` in a projected CRS (EPSG:3035), `n_cells` (map cells inside),
    `valid_cells` (those with a prediction). `coverage`: `cell_id`, `taxonID`, `scientificName`, `coverage` (share of the
    reporting cell's valid map cells whose species set holds the species, 0..1), `mean_probability` (0..1); one row a
    (cell, taxon), none for absent species. `metadata`: names and values stored for the whole file.

    Layers: `reporting_cells` (polygons), `species_coverage` (attributes) and `species_coverage_map` (a spatial view of
    both, a row per cell and species: filter by `taxonID`, style by `coverage`). Closed with journal DELETE. Raises
    InputError, CrsError, StorageError.
    """
    final = Path(path)
    polygons = checked_cells(cells)
    rows = checked_coverage(coverage, polygons)
    with write_beside(final) as temporary:
        try:
            pyogrio.write_dataframe(
                polygons,
                temporary,
                layer=CELLS,
                driver="GPKG",
                geometry_type="MultiPolygon",
                promote_to_multi=True,
                dataset_options={"VERSION": "1.2"},
                layer_options={"DESCRIPTION": CELLS_ABOUT},
                dataset_metadata={str(k): str(v) for k, v in sorted(metadata.items())} or None,
            )
            pyogrio.write_dataframe(
                rows, temporary, layer=COVERAGE, driver="GPKG", append=True, layer_options={"DESCRIPTION": COVERAGE_ABOUT}
            )
            _finish(temporary)
        except (DataSourceError, DataLayerError, sqlite3.Error) as error:
            reason = str(error)[-200:]  # GDAL repeats whole schemas before it comes to the point
            raise StorageError(f"cannot write {final}: {reason}; free space or choose another store, then run again") from error
    return final


def _finish(path: Path) -> None:
    """Indices and the spatial view; then one whole file without a journal."""
    with closing(sqlite3.connect(path)) as connection:
        mode = connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
        if mode != "delete":
            raise StorageError(f"{path} stays in journal mode {mode}; another program holds it open")
        with connection:
            connection.execute(f"CREATE UNIQUE INDEX {CELLS}_cell_id ON {CELLS} (cell_id)")
            connection.execute(f"CREATE UNIQUE INDEX {COVERAGE}_taxon_cell ON {COVERAGE} (taxonID, cell_id)")
            connection.execute(f"CREATE INDEX {COVERAGE}_cell_id ON {COVERAGE} (cell_id)")
            # GDAL and QGIS take a view's column OGC_FID for its feature id.
            connection.execute(
                f"CREATE VIEW {MAP} AS SELECT s.fid AS OGC_FID, c.geom AS geom, s.cell_id, s.taxonID, s.scientificName, s.coverage, "
                f"s.mean_probability, c.n_cells, c.valid_cells FROM {COVERAGE} s JOIN {CELLS} c ON c.cell_id = s.cell_id"
            )
            connection.execute(
                "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, min_x, min_y, max_x, max_y, srs_id) "
                "SELECT ?, 'features', ?, ?, min_x, min_y, max_x, max_y, srs_id FROM gpkg_contents WHERE table_name = ?",
                (MAP, MAP, COVERAGE_ABOUT, CELLS),
            )
            connection.execute(
                "INSERT INTO gpkg_geometry_columns SELECT ?, column_name, geometry_type_name, srs_id, z, m FROM gpkg_geometry_columns WHERE table_name = ?",
                (MAP, CELLS),
            )
    seal(path)


def seal(path: Path) -> None:
    """Fix what GDAL takes from the clock in a GeoPackage without a journal, so that the same content has the same bytes, and check it."""
    with closing(sqlite3.connect(path)) as connection:
        with connection:
            connection.execute("UPDATE gpkg_contents SET last_change = ?", (_EPOCH,))
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'gpkg_metadata_reference'").fetchone():
                connection.execute("UPDATE gpkg_metadata_reference SET timestamp = ?", (_EPOCH,))
        connection.execute("VACUUM")
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise StorageError(f"{path} was written damaged ({verdict}); check the disk, then run again")
    # The header counts transactions, and how many GDAL needs depends on the clock. SQLite asks only that both counters agree.
    with path.open("r+b") as stream:
        for counter in (_CHANGE_COUNTER, _VERSION_VALID_FOR):
            stream.seek(counter)
            stream.write((1).to_bytes(4, "big"))
