"""GeoPackage of species coverage: reporting cells + a row per (cell, species) -> one file QGIS opens and styles."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS
from shapely import is_valid_reason

from geoplantnet.errors import CrsError, InputError, StorageError
from geoplantnet.storage import write_beside

CELLS = "reporting_cells"
COVERAGE = "species_coverage"
MAP = "species_coverage_map"

_CELL_COLUMNS = ("cell_id", "n_cells", "valid_cells")
_COVERAGE_COLUMNS = ("cell_id", "taxonID", "scientificName", "coverage", "mean_probability")
_CHANGE_COUNTER, _VERSION_VALID_FOR = 24, 92
"""Offsets in the header of an SQLite file (https://www.sqlite.org/fileformat2.html)."""
_EPOCH = "1970-01-01T00:00:00.000Z"
"""Stands in every timestamp that GeoPackage demands: the same content has the same bytes."""

_CELLS_ABOUT = "Reporting cells: n_cells map cells each, valid_cells of them with a prediction."
_COVERAGE_ABOUT = (
    "Predicted, not observed. coverage: share (0..1) of the reporting cell's valid map cells whose species set holds the species; "
    "mean_probability: mean predicted probability (0..1) over them. A species without a row is in no species set of the cell."
)


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
    polygons = _checked_cells(cells)
    rows = _checked_coverage(coverage, polygons)
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
                layer_options={"DESCRIPTION": _CELLS_ABOUT},
                dataset_metadata={str(k): str(v) for k, v in sorted(metadata.items())} or None,
            )
            pyogrio.write_dataframe(
                rows, temporary, layer=COVERAGE, driver="GPKG", append=True, layer_options={"DESCRIPTION": _COVERAGE_ABOUT}
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
                (MAP, MAP, _COVERAGE_ABOUT, CELLS),
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


def _checked_cells(cells: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    _demand(cells, _CELL_COLUMNS, "reporting cells")
    if cells.empty:
        raise InputError("there are no reporting cells to write; a tile without any has no coverage product")
    if cells.crs is None:
        raise CrsError("the reporting cells have no CRS; set EPSG:3035")
    if not CRS.from_user_input(cells.crs).is_projected:
        raise CrsError(f"the reporting cells are in {cells.crs.name}; coverage is a share of area, reproject them to EPSG:3035")
    geometry = cells.geometry
    bad = geometry.isna() | geometry.is_empty | ~geometry.is_valid | ~geometry.geom_type.isin(["Polygon", "MultiPolygon"])
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        shape = geometry.iloc[first]
        why = "no geometry" if shape is None or shape.is_empty else f"{shape.geom_type}, {is_valid_reason(shape)}"
        raise InputError(
            f"{int(bad.sum())} of {len(cells)} reporting cells are no valid polygon, first {cells['cell_id'].iloc[first]!r}: {why}"
        )
    if cells["cell_id"].isna().any() or cells["cell_id"].duplicated().any():
        raise InputError("reporting cells need unique cell_id; drop or rename the repeated or missing ones")
    counts = cells[["n_cells", "valid_cells"]].apply(pd.to_numeric, errors="coerce")
    whole = bool((counts % 1 == 0).all(axis=None))  # NaN is not
    if not whole or (counts["valid_cells"] < 0).any() or (counts["valid_cells"] > counts["n_cells"]).any():
        raise InputError("reporting cells need whole numbers 0 <= valid_cells <= n_cells; count them again")
    out = gpd.GeoDataFrame(
        {
            "cell_id": cells["cell_id"].astype(str),
            "n_cells": counts["n_cells"].astype(np.int64),
            "valid_cells": counts["valid_cells"].astype(np.int64),
        },
        geometry=geometry.normalize(),
        crs=cells.crs,
    )
    return out.sort_values("cell_id", ignore_index=True)


def _checked_coverage(coverage: pd.DataFrame, cells: gpd.GeoDataFrame) -> pd.DataFrame:
    _demand(coverage, _COVERAGE_COLUMNS, "species coverage")
    rows = pd.DataFrame({name: coverage[name].astype(str) for name in _COVERAGE_COLUMNS[:3]})
    if coverage[list(_COVERAGE_COLUMNS[:3])].isna().any(axis=None):
        raise InputError(f"species coverage has rows with a missing {', '.join(_COVERAGE_COLUMNS[:3])}; every row names its cell and taxon")
    for name in _COVERAGE_COLUMNS[3:]:
        rows[name] = pd.to_numeric(coverage[name], errors="coerce").astype(np.float64)
        bad = np.flatnonzero(~rows[name].between(0, 1))
        if bad.size:
            value, first = coverage[name].iloc[bad[0]], rows.iloc[bad[0]]
            raise InputError(
                f"{bad.size} rows have a {name} that is no number in 0..1, first {value!r} of taxon {first['taxonID']} in cell {first['cell_id']}; "
                "a cell without valid map cells has no row"
            )
    unknown = sorted(set(rows["cell_id"]) - set(cells["cell_id"]))
    if unknown:
        raise InputError(
            f"coverage names {len(unknown)} cells that are not among the {len(cells)} reporting cells, first {unknown[0]!r}; write both from one tile"
        )
    if rows.duplicated(["cell_id", "taxonID"]).any():
        twice = rows[rows.duplicated(["cell_id", "taxonID"])].iloc[0]
        raise InputError(f"taxon {twice['taxonID']} covers cell {twice['cell_id']} twice; give one row a (cell, taxon)")
    return rows.sort_values(["cell_id", "taxonID"], ignore_index=True)


def _demand(table: pd.DataFrame, columns: tuple[str, ...], what: str) -> None:
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise InputError(f"{what} lack the columns {missing}; they have {list(table.columns)}")
