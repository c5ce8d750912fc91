"""Coverage of reporting cells by species, as the files and tables of this room hold it: two tables a tile, and what makes them whole."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from pyproj import CRS
from shapely import is_valid_reason

from geoplantnet.errors import CrsError, InputError

REFERENCE = "EPSG:3035"
"""CRS of the EEA reference grid, whose cells these are."""
CELL_COLUMNS = ("cell_id", "n_cells", "valid_cells")
COVERAGE_COLUMNS = ("cell_id", "taxonID", "scientificName", "coverage", "mean_probability")
CELLS_ABOUT = "Reporting cells: n_cells map cells each, valid_cells of them with a prediction."
COVERAGE_ABOUT = (
    "Predicted, not observed. coverage: share (0..1) of the reporting cell's valid map cells whose species set holds the species; "
    "mean_probability: mean predicted probability (0..1) over them. A species without a row is in no species set of the cell."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class TileCoverage:
    """Species coverage of one meta-tile."""

    tile_id: str
    cells: gpd.GeoDataFrame
    """Reporting cells: `CELL_COLUMNS` and polygons in EPSG:3035. A cell belongs to one tile."""
    rows: pd.DataFrame
    """`COVERAGE_COLUMNS`: one row a cell and species that covers some of it."""

    def of(self, taxon_ids: Collection[str]) -> TileCoverage:
        """All cells, and the rows of some species."""
        return replace(self, rows=self.rows[self.rows["taxonID"].isin(list(taxon_ids))])

    def meeting(self, region: shapely.Geometry) -> TileCoverage:
        """The cells whose inside a region meets (see `region_of`), whole, and their rows."""
        cells = self.cells[self.cells.intersects(region) & ~self.cells.touches(region)]
        return replace(self, cells=cells, rows=self.rows[self.rows["cell_id"].isin(cells["cell_id"])])


def region_of(polygons: gpd.GeoSeries) -> shapely.Geometry:
    """Polygons of any CRS as one geometry in EPSG:3035. Raises CrsError without a CRS, InputError without polygons, or for others than these."""
    if polygons.crs is None:
        raise CrsError("the region has no CRS; set it, for instance region.set_crs('EPSG:4326')")
    shapes = polygons[~(polygons.isna() | polygons.is_empty)]
    bad = shapes[~(shapes.geom_type.isin(["Polygon", "MultiPolygon"]) & shapes.is_valid)]
    if shapes.empty or not bad.empty:
        why = f"holds a {bad.geom_type.iloc[0]} ({is_valid_reason(bad.iloc[0])})" if len(bad) else "is empty"
        raise InputError(f"the region {why}; it has to be valid polygons, repair them for instance with shapely.make_valid")
    return shapes.to_crs(REFERENCE).union_all()


def checked_cells(cells: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The columns of `CELL_COLUMNS` and the polygons, in one form, by `cell_id`. Raises InputError, CrsError."""
    _demand(cells, CELL_COLUMNS, "reporting cells")
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


def checked_coverage(coverage: pd.DataFrame, cells: gpd.GeoDataFrame) -> pd.DataFrame:
    """The columns of `COVERAGE_COLUMNS`, text and float64, by `cell_id` and `taxonID`. Raises InputError when a row is of none of `cells`."""
    _demand(coverage, COVERAGE_COLUMNS, "species coverage")
    rows = pd.DataFrame({name: coverage[name].astype(str) for name in COVERAGE_COLUMNS[:3]})
    if coverage[list(COVERAGE_COLUMNS[:3])].isna().any(axis=None):
        raise InputError(f"species coverage has rows with a missing {', '.join(COVERAGE_COLUMNS[:3])}; every row names its cell and taxon")
    for name in COVERAGE_COLUMNS[3:]:
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
