"""Points with attributes -> GeoParquet 1.1 or GeoPackage, a chunk after the other: as many as there are, in the memory of one."""

from __future__ import annotations

import io
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError

from geoplantnet.catalog.geopackage import seal
from geoplantnet.catalog.geoparquet import ABOUT
from geoplantnet.errors import InputError, StorageError, UsageError
from geoplantnet.storage import write_beside

LAYER = "occurrences"
"""Of a GeoPackage."""
POINTS_CRS = "EPSG:4326"
SUFFIXES = (".parquet", ".gpkg")


def write_points(
    path: str | os.PathLike[str],
    chunks: Iterable[pd.DataFrame],
    metadata: Mapping[str, str] | Callable[[], Mapping[str, str]],
    *,
    longitude: str = "decimalLongitude",
    latitude: str = "decimalLatitude",
) -> int:
    """Commit the rows of all chunks as points in EPSG:4326, and return how many they were; the suffix says the format (`SUFFIXES`).

    Every chunk has the same columns: text, or numbers. `metadata` are names and values for the whole file; a function is asked when all
    chunks have come. Same chunks, same bytes. Raises UsageError for another suffix, InputError for no row and for a row without a place,
    StorageError on a full disk.
    """
    final = Path(path)
    if final.suffix not in SUFFIXES:
        raise UsageError(f"{final} ends in none of {', '.join(SUFFIXES)}; say the format by the name")
    frames = (_points(chunk, longitude, latitude) for chunk in chunks if len(chunk))
    with write_beside(final) as temporary:
        rows = (_write_parquet if final.suffix == ".parquet" else _write_geopackage)(temporary, frames, metadata)
        if not rows:
            raise InputError(f"there is no row to write to {final}: everything was refused; the report says why")
    return rows


def _points(chunk: pd.DataFrame, longitude: str, latitude: str) -> gpd.GeoDataFrame:
    if chunk[[longitude, latitude]].isna().any(axis=None):
        raise InputError(f"a row has no {longitude} or {latitude}; leave it out, or give its place")
    plain = chunk.reset_index(drop=True)
    return gpd.GeoDataFrame(plain, geometry=gpd.points_from_xy(plain[longitude], plain[latitude]), crs=POINTS_CRS)


def _told(metadata: Mapping[str, str] | Callable[[], Mapping[str, str]]) -> dict[str, str]:
    return dict(sorted((metadata() if callable(metadata) else metadata).items()))


def _write_parquet(path: Path, frames: Iterable[gpd.GeoDataFrame], metadata: Any) -> int:
    writer: pq.ParquetWriter | None = None
    geo: dict[str, Any] = {}
    rows = 0
    try:
        for frame in frames:
            table, own = _arrow(frame)
            geo = _joined(geo, own) if geo else own
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table.cast(writer.schema), row_group_size=len(table))
            rows += len(table)
        if writer is not None:
            writer.add_key_value_metadata({"geo": json.dumps(geo), ABOUT: json.dumps(_told(metadata), ensure_ascii=False)})
    finally:
        if writer is not None:
            writer.close()
    return rows


def _arrow(frame: gpd.GeoDataFrame) -> tuple[pa.Table, dict[str, Any]]:
    """Rows as geopandas makes a table of them, and apart from it its `geo` metadata."""
    stream = io.BytesIO()
    frame.to_parquet(stream, index=False, compression=None, write_covering_bbox=True, schema_version="1.1.0")
    table = pq.read_table(stream)
    geo = json.loads(table.schema.metadata[b"geo"])
    return table.replace_schema_metadata(None), geo


def _joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The `geo` metadata of both: the box around both."""
    a, b = (geo["columns"]["geometry"]["bbox"] for geo in (one, other))
    return {**one, "columns": {"geometry": {**one["columns"]["geometry"], "bbox": [*map(min, a[:2], b[:2]), *map(max, a[2:], b[2:])]}}}


def _write_geopackage(path: Path, frames: Iterable[gpd.GeoDataFrame], metadata: Any) -> int:
    rows = 0
    try:
        for frame in frames:
            creation = {} if rows else {"geometry_type": "Point", "dataset_options": {"VERSION": "1.2"}}
            pyogrio.write_dataframe(frame, path, layer=LAYER, driver="GPKG", append=rows > 0, **creation)
            rows += len(frame)
        if rows:
            _describe(path, _told(metadata))
            seal(path)
    except (DataSourceError, DataLayerError, sqlite3.Error) as error:
        reason = str(error)[-200:]  # GDAL repeats whole schemas before it comes to the point
        raise StorageError(f"cannot write {path.name}: {reason}; free space or choose another store, then run again") from error
    return rows


def _describe(path: Path, told: Mapping[str, str]) -> None:
    """Title and what else is told, where programs show a layer's description."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            text = "; ".join(f"{name}: {value}" for name, value in told.items())
            connection.execute("UPDATE gpkg_contents SET description = ? WHERE table_name = ?", (text, LAYER))
    finally:
        connection.close()
