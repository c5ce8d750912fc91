"""GeoParquet of species coverage over any number of tiles: a row per (reporting cell, species), with the cell's polygon.

GeoParquet 1.1 as geopandas writes it (https://geoparquet.org/releases/v1.1.0): WKB, the CRS as PROJJSON, a `bbox` column whose
statistics let a reader of a window pass over the rest. Tiles follow a Hilbert curve, so that a row group is one neighbourhood.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from geoplantnet.catalog.coverage import TileCoverage, checked_cells, checked_coverage
from geoplantnet.errors import InputError
from geoplantnet.grid.tile_grid import MetaTile, TileGrid
from geoplantnet.storage import write_beside

ABOUT = "geoplantnet"
"""Key of the file's metadata that holds what the publisher tells of it, as JSON."""
_GROUP = 65_536
"""Rows a row group holds at least, where there are as many: small enough to skip, large enough to compress."""
_EUROPE = TileGrid().bounds


def along_curve(tiles: Iterable[MetaTile]) -> list[MetaTile]:
    """Tiles in the order in which they are to be written: neighbours near each other (a Hilbert curve over Europe)."""
    listed = list(tiles)
    corners = gpd.GeoSeries.from_xy([t.west for t in listed], [t.south for t in listed])
    return [listed[i] for i in np.argsort(corners.hilbert_distance(total_bounds=_EUROPE), kind="stable")] if listed else []


def write_geoparquet(path: str | Path, parts: Iterable[TileCoverage], metadata: Mapping[str, str], *, by_tile: bool = False) -> Path:
    """Write the coverage of tiles, taken one after the other (see `along_curve`), to one file, or by tile to a folder of files.

    Columns: `cell_id`, `tile_id`, `taxonID`, `scientificName`, `coverage` and `mean_probability` (float32, 0..1), `n_cells`,
    `valid_cells`, `geometry` and its `bbox`. A folder's files are named by tile and each stands alone; a tile without a row has none.
    Same content, same bytes. Raises InputError when no tile has a row, and as `write_coverage` for tables that are none.
    """
    final, tells = Path(path), json.dumps(dict(metadata), sort_keys=True, ensure_ascii=False)
    frames = (frame for part in parts if len(frame := _frame(part)))
    with write_beside(final) as temporary:
        if not (_write_folder if by_tile else _write_file)(temporary, frames, tells):
            raise InputError("there is no row to write: none of the species is in any set of these tiles; choose others, or more tiles")
    return final


def _frame(part: TileCoverage) -> gpd.GeoDataFrame:
    """One tile as rows with polygons, along the curve and then by taxon."""
    cells = checked_cells(part.cells)
    rows = checked_coverage(part.rows, cells).assign(tile_id=part.tile_id)
    place = pd.Series(cells.centroid.hilbert_distance(total_bounds=_EUROPE).to_numpy(), index=cells["cell_id"])
    whole = cells.merge(rows, on="cell_id")
    whole = whole.iloc[np.lexsort([whole["taxonID"], whole["cell_id"], whole["cell_id"].map(place)])]
    columns = ["cell_id", "tile_id", "taxonID", "scientificName", "coverage", "mean_probability", "n_cells", "valid_cells", "geometry"]
    narrow = {"coverage": np.float32, "mean_probability": np.float32, "n_cells": np.int32, "valid_cells": np.int32}
    return gpd.GeoDataFrame(whole[columns].astype(narrow), geometry="geometry", crs=cells.crs)


def _groups(frames: Iterable[gpd.GeoDataFrame]) -> Iterator[gpd.GeoDataFrame]:
    """Whole tiles together until they fill a row group."""
    held: list[gpd.GeoDataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(map(len, held)) >= _GROUP:
            yield pd.concat(held, ignore_index=True)
            held = []
    if held:
        yield pd.concat(held, ignore_index=True)


def _write_folder(folder: Path, frames: Iterable[gpd.GeoDataFrame], tells: str) -> bool:
    """A file a frame; whether there was any."""
    folder.mkdir()
    for frame in frames:
        table, geo = _arrow(frame)
        whole = table.replace_schema_metadata({**table.schema.metadata, b"geo": json.dumps(geo), ABOUT.encode(): tells})
        pq.write_table(whole, folder / f"{frame['tile_id'].iloc[0]}.parquet", compression="zstd")
    return any(folder.iterdir())


def _write_file(path: Path, frames: Iterable[gpd.GeoDataFrame], tells: str) -> bool:
    """One file, whose row groups they fill; whether there was any. What concerns all of them is known at the end, and stands in the file's foot."""
    geo: dict[str, Any] = {}
    writer: pq.ParquetWriter | None = None
    try:
        for group in _groups(frames):
            table, own = _arrow(group)
            geo = _both(geo, own) if geo else own
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table, row_group_size=len(table))
        if writer is not None:
            writer.add_key_value_metadata({"geo": json.dumps(geo), ABOUT: tells})
    finally:
        if writer is not None:
            writer.close()
    return writer is not None


def _arrow(group: gpd.GeoDataFrame) -> tuple[pa.Table, dict[str, Any]]:
    """Rows as geopandas makes a table of them, and apart from it its `geo` metadata."""
    stream = io.BytesIO()
    group.to_parquet(stream, index=False, compression=None, write_covering_bbox=True, schema_version="1.1.0")
    table = pq.read_table(stream)
    kept = {key: value for key, value in table.schema.metadata.items() if key != b"geo"}
    return table.replace_schema_metadata(kept), json.loads(table.schema.metadata[b"geo"])


def _both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The `geo` metadata of two groups together."""
    a, b = one["columns"]["geometry"], other["columns"]["geometry"]
    box = [*map(min, a["bbox"][:2], b["bbox"][:2]), *map(max, a["bbox"][2:], b["bbox"][2:])]
    types = sorted({*a["geometry_types"], *b["geometry_types"]})
    return {**other, "columns": {"geometry": {**b, "bbox": box, "geometry_types": types}}}
