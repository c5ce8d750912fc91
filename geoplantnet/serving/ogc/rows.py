"""Species coverage of reporting cells as a collection of features: a row a cell and species, by tile, cell and taxon.

Read from the tiles' GeoPackages, or from PostGIS, with the same answers: numbers are compared and told as float32, the way PostGIS
keeps them. Nothing is held but one page.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import shapely

from geoplantnet.catalog import Catalog
from geoplantnet.catalog.coverage import REFERENCE
from geoplantnet.catalog.geopackage import CELLS, COVERAGE
from geoplantnet.errors import IntegrityError, StorageError, TryAgain
from geoplantnet.serving.crs import Bounds
from geoplantnet.serving.exceptions import TooLarge
from geoplantnet.serving.ogc.features import Feature, Query, Schema, Unchanging
from geoplantnet.serving.ogc.parameters import Parameter, text

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

ASSET = "coverage"
"""Of a tile, its GeoPackage."""
MOST_FILES = 1000
"""Tiles whose files one request opens."""
_CELL = re.compile(r"(\d{1,4})kmE(\d{1,5})N(\d{1,5})")
_WAIT_MS = 10_000
"""How long PostGIS may think about one statement."""
_COUNTS = 512
"""Counts that are remembered: each with the cells it is of, thousands where a client asks for a large box."""
_IDLE = 4
"""Connections to PostGIS that are kept open."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which rows are asked for."""

    taxon: str = ""
    cell: str = ""
    tile: str = ""
    least: float = 0.0
    """The smallest coverage, as float32."""
    area: shapely.Geometry | None = None
    """In EPSG:3035; None = everywhere."""
    hidden: frozenset[str] = frozenset()
    """Taxa that are not told."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A species in a reporting cell."""

    tile: str
    cell: str
    taxon: str
    name: str
    coverage: float
    mean_probability: float
    n_cells: int
    valid_cells: int
    shape: shapely.Geometry
    """In EPSG:3035."""


class Rows(Protocol):
    """Where rows come from; they are in the order of tile, cell and taxon."""

    def page(self, chosen: Chosen, offset: int, limit: int) -> list[Row]: ...

    def count(self, chosen: Chosen) -> int | None:
        """None where counting would be too dear."""
        ...


class CoverageRows(Unchanging):
    """The collection."""

    fields: Mapping[str, Schema] = (
        {name: {"type": "string"} for name in ("cell_id", "tile_id", "taxonID", "scientificName")}
        | {name: {"type": "number"} for name in ("coverage", "mean_probability")}
        | {name: {"type": "integer"} for name in ("n_cells", "valid_cells", "generalised")}
    )
    parameters: Sequence[Parameter] = (
        *(Parameter(name=name, about=f"rows of this {name}", schema=text(100)) for name in ("taxonID", "cell_id", "tile_id")),
        Parameter(name="min-coverage", about="the smallest coverage, 0 to 1", schema={"type": "number", "minimum": 0, "maximum": 1}),
    )

    def __init__(self, rows: Rows, *, hidden: frozenset[str] = frozenset(), generalised: Mapping[str, int] | None = None) -> None:
        """`hidden`: taxa that are not told; `generalised`: metres of the squares whose means are told of a sensitive taxon."""
        self._rows, self._hidden, self._generalised = rows, hidden, generalised or {}

    def page(self, query: Query, offset: int, limit: int) -> tuple[list[Feature], int | None]:
        """See `Features.page`."""
        area = query.box.polygon(REFERENCE) if query.box else None
        if query.box and area is None:
            return [], 0
        chosen = Chosen(
            taxon=query.equal.get("taxonID", ""),
            cell=query.equal.get("cell_id", ""),
            tile=query.equal.get("tile_id", ""),
            least=float(np.float32(query.equal.get("min-coverage", 0))),
            area=area,
            hidden=self._hidden,
        )
        if any(query.equal.get(name) == "" for name in ("taxonID", "cell_id", "tile_id")):
            return [], 0
        return [self._feature(row) for row in self._rows.page(chosen, offset, limit)] if limit else [], self._rows.count(chosen)

    def by_id(self, id: str) -> Feature | None:
        """See `Features.by_id`: a cell's id, a dot and a taxon's."""
        cell, _, taxon = id.partition(".")
        rows = self._rows.page(Chosen(cell=cell, taxon=taxon, hidden=self._hidden), 0, 1) if cell and taxon else []
        return self._feature(rows[0]) if rows else None

    def _feature(self, row: Row) -> Feature:
        feature = _feature(row)
        if row.taxon in self._generalised:
            feature["properties"]["generalised"] = self._generalised[row.taxon]
        return feature


def _feature(row: Row) -> Feature:
    # northing before easting: the order of EPSG:3035's own axes, in which pygeoapi takes and gives coordinates
    rings = [
        [np.flip(shapely.get_coordinates(ring), axis=1).tolist() for ring in (part.exterior, *part.interiors)]
        for part in shapely.get_parts(shapely.orient_polygons(row.shape))
    ]
    geometry = {"type": "Polygon", "coordinates": rings[0]} if len(rings) == 1 else {"type": "MultiPolygon", "coordinates": rings}
    properties = {
        "cell_id": row.cell,
        "tile_id": row.tile,
        "taxonID": row.taxon,
        "scientificName": row.name,
        "coverage": _told(row.coverage),
        "mean_probability": _told(row.mean_probability),
        "n_cells": row.n_cells,
        "valid_cells": row.valid_cells,
    }
    return {"type": "Feature", "id": f"{row.cell}.{row.taxon}", "geometry": geometry, "properties": properties}


def _told(value: float) -> float:
    """The shortest number that is the same float32."""
    return float(str(np.float32(value)))


# ---- GeoPackages


class GeoPackageRows:
    """The rows of a catalog's tiles: their GeoPackages read only, one after the other."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._files = {tile.id: tile.assets[ASSET] for tile in catalog.tiles if ASSET in tile.assets}
        self._count = lru_cache(maxsize=_COUNTS)(self._count_file)

    def page(self, chosen: Chosen, offset: int, limit: int) -> list[Row]:
        """See `Rows`. Raises TooLarge where it is not found in the first `MOST_FILES` tiles that could hold some of it."""
        found: list[Row] = []
        for number, tile in enumerate(self._tiles(chosen)):
            if number == MOST_FILES:
                raise TooLarge(
                    f"{MOST_FILES} tiles were looked through for this page; give a smaller bbox or a tile_id "
                    "(a server that reads from PostGIS knows no such bound)"
                )
            with _opened(self._files[tile]) as file:
                held = self._held(file, tile, chosen)
                if offset:
                    here = self._count(tile, chosen.taxon, chosen.least, held, chosen.hidden)
                    if here <= offset:
                        offset -= here
                        continue
                found += _rows_of(file, tile, chosen, held, offset, limit - len(found))
                offset = 0
            if len(found) == limit:
                break
        return found

    def count(self, chosen: Chosen) -> int | None:
        """See `Rows`."""
        total = 0
        for number, tile in enumerate(self._tiles(chosen)):
            if number == MOST_FILES:
                return None
            with _opened(self._files[tile]) as file:
                total += self._count(tile, chosen.taxon, chosen.least, self._held(file, tile, chosen), chosen.hidden)
        return total

    def _tiles(self, chosen: Chosen) -> Iterator[str]:
        """Those that may hold some of it."""
        boxes = [chosen.area.bounds] if chosen.area is not None else []
        if chosen.cell:
            boxes.append(_inside(chosen.cell))
        for tile in self._catalog.tiles:
            if tile.id in self._files and chosen.tile in ("", tile.id) and all(_meet(tile.bounds, box) for box in boxes):
                yield tile.id

    def _held(self, file: sqlite3.Connection, tile: str, chosen: Chosen) -> tuple[str, ...] | None:
        """The cells of a tile that are asked for; None = all."""
        if chosen.area is None:
            return (chosen.cell,) if chosen.cell else None
        west, south, east, north = chosen.area.bounds
        near = file.execute(
            f"SELECT cell_id, geom FROM {CELLS} WHERE fid IN "
            f"(SELECT id FROM rtree_{CELLS}_geom WHERE maxx >= ? AND minx <= ? AND maxy >= ? AND miny <= ?) ORDER BY cell_id",
            (west, east, south, north),
        ).fetchall()
        shapely.prepare(chosen.area)
        meets = shapely.intersects(chosen.area, np.array([_shape(geom) for _, geom in near], dtype=object)) if near else []
        return tuple(cell for (cell, _), yes in zip(near, meets) if yes and chosen.cell in ("", cell))

    def _count_file(self, tile: str, taxon: str, least: float, held: tuple[str, ...] | None, hidden: frozenset[str]) -> int:
        where, values = _where(taxon, least, held, hidden)
        with _opened(self._files[tile]) as file:
            return int(file.execute(f"SELECT count(*) FROM {COVERAGE} s {where}", values).fetchone()[0])


def _rows_of(file: sqlite3.Connection, tile: str, chosen: Chosen, held: tuple[str, ...] | None, offset: int, limit: int) -> list[Row]:
    where, values = _where(chosen.taxon, chosen.least, held, chosen.hidden)
    found = file.execute(
        f"SELECT s.cell_id, s.taxonID, s.scientificName, s.coverage, s.mean_probability, c.n_cells, c.valid_cells, c.geom FROM {COVERAGE} s "
        f"JOIN {CELLS} c ON c.cell_id = s.cell_id {where} ORDER BY s.cell_id, s.taxonID LIMIT ? OFFSET ?",
        (*values, limit, offset),
    )
    return [
        Row(
            tile=tile,
            cell=cell,
            taxon=taxon,
            name=name,
            coverage=share,
            mean_probability=mean,
            n_cells=n,
            valid_cells=valid,
            shape=_shape(geom),
        )
        for cell, taxon, name, share, mean, n, valid, geom in found
    ]


def _where(taxon: str, least: float, held: tuple[str, ...] | None, hidden: frozenset[str]) -> tuple[str, tuple[object, ...]]:
    words: list[str] = ["1"]
    values: list[object] = []
    if taxon:
        words.append("s.taxonID = ?")
        values.append(taxon)
    if least > 0:
        words.append("s.coverage >= ?")
        values.append(_smallest_double(least))
    if held is not None:
        words.append(f"s.cell_id IN ({', '.join('?' * len(held))})")
        values += held
    if hidden:
        words.append("s.taxonID NOT IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(sorted(hidden)))
    return f"WHERE {' AND '.join(words)}", tuple(values)


def _smallest_double(single: float) -> float:
    """The smallest float64 that is this float32 once it is rounded to one, so that files and PostGIS draw one line."""
    middle = (float(np.nextafter(np.float32(single), np.float32(-np.inf))) + single) / 2
    return middle if np.float32(middle) >= np.float32(single) else float(np.nextafter(middle, np.inf))


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Published files never change: no lock, no journal, no writing."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise IntegrityError(
            f"{path} cannot be read as a GeoPackage of coverage ({error}); verify the store and publish the tile again"
        ) from error


def _shape(blob: bytes) -> shapely.Geometry:
    """A geometry of a GeoPackage (OGC 12-128r19, 2.1.3): a header of 8 bytes, an envelope, well-known binary."""
    if blob[:2] != b"GP":
        raise IntegrityError("a geometry of a GeoPackage of coverage is none; verify the store and publish the tile again")
    envelope = {0: 0, 1: 32, 2: 48, 3: 48, 4: 64}[(blob[3] >> 1) & 7]
    return shapely.from_wkb(blob[8 + envelope :])


def _inside(cell: str) -> Bounds:
    """The middle of a reporting cell, as its name tells it; for what is no such name a place nowhere."""
    part = _CELL.fullmatch(cell)
    if part is None:
        return math.inf, math.inf, math.inf, math.inf
    side, east, north = (1000.0 * int(number) for number in part.groups())
    x, y = east + side / 2, north + side / 2
    return x, y, x, y


def _meet(a: Bounds, b: Bounds) -> bool:
    return a[0] <= b[2] and a[2] >= b[0] and a[1] <= b[3] and a[3] >= b[1]


# ---- PostGIS


class PostgisRows:
    """The rows that `catalog.postgis` loaded, by connections that may only read."""

    def __init__(self, dsn: str, *, species_list: str, schema: str = "geoplantnet") -> None:
        """`species_list` is the hash of the store's list: rows of another are refused. Needs psycopg, which is imported here."""
        import psycopg
        from psycopg import sql

        self._psycopg, self._sql = psycopg, sql
        self._dsn, self._schema, self._list = dsn, schema, species_list
        self._idle: list[psycopg.Connection[Any]] = []
        self._lock = threading.Lock()

    def page(self, chosen: Chosen, offset: int, limit: int) -> list[Row]:
        """See `Rows`. Raises TryAgain and StorageError."""
        where, values = self._where(chosen)
        query = self._sql.SQL(
            'SELECT s.tile_id, s.cell_id, s."taxonID", t."scientificName", s.coverage, s.mean_probability, c.n_cells, c.valid_cells, '
            "ST_AsBinary(c.geom) FROM {schema}.species_coverage s JOIN {schema}.reporting_cell c ON c.cell_id = s.cell_id AND "
            'c.tile_id = s.tile_id JOIN {schema}.taxon t ON t."taxonID" = s."taxonID" {where} '
            'ORDER BY s.tile_id, s.cell_id, s."taxonID" LIMIT %s OFFSET %s'
        ).format(schema=self._sql.Identifier(self._schema), where=where)
        names = ("tile", "cell", "taxon", "name", "coverage", "mean_probability", "n_cells", "valid_cells")
        with self._connection() as connection:
            found = connection.execute(query, (*values, limit, offset)).fetchall()
        return [Row(**dict(zip(names, row)), shape=shapely.from_wkb(bytes(row[-1]))) for row in found]

    def count(self, chosen: Chosen) -> int | None:
        """See `Rows`."""
        where, values = self._where(chosen)
        query = self._sql.SQL(
            "SELECT count(*) FROM {schema}.species_coverage s JOIN {schema}.reporting_cell c ON c.cell_id = s.cell_id AND "
            "c.tile_id = s.tile_id {where}"
        ).format(schema=self._sql.Identifier(self._schema), where=where)
        with self._connection() as connection:
            row = connection.execute(query, values).fetchone()
        return int(row[0]) if row else 0

    def _where(self, chosen: Chosen) -> tuple[sql.Composed, tuple[object, ...]]:
        SQL = self._sql.SQL
        parts: list[tuple[sql.SQL, object]] = []
        if chosen.taxon:
            parts.append((SQL('s."taxonID" = %s'), chosen.taxon))
        if chosen.cell:
            parts.append((SQL("s.cell_id = %s"), chosen.cell))
        if chosen.tile:
            parts.append((SQL("s.tile_id = %s"), chosen.tile))
        if chosen.least > 0:
            parts.append((SQL("s.coverage >= %s::real"), chosen.least))
        if chosen.area is not None:
            parts.append((SQL("ST_Intersects(c.geom, ST_GeomFromWKB(%s, 3035))"), shapely.to_wkb(chosen.area)))
        if chosen.hidden:
            parts.append((SQL('s."taxonID" <> ALL(%s)'), sorted(chosen.hidden)))
        words = SQL(" AND ").join(word for word, _ in parts)
        return (SQL("WHERE {}").format(words) if parts else SQL("").format()), tuple(value for _, value in parts)

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection, kept for the next request where nothing went wrong. What libpq says may hold the address: it stays in the log."""
        errors = self._psycopg.errors
        connection = self._take()
        try:
            yield connection
        except errors.QueryCanceled as error:
            connection.close()
            raise TryAgain(f"the database did not answer in {_WAIT_MS / 1000:.0f} s; ask for less, or try again") from error
        except self._psycopg.OperationalError as error:
            connection.close()
            raise TryAgain("the database ended the connection; try again") from error
        except self._psycopg.Error as error:
            connection.close()
            raise StorageError(
                f"the database refused ({type(error).__name__}); load the coverage again, and look at the reader's rights"
            ) from error
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if len(self._idle) < _IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _take(self) -> psycopg.Connection[Any]:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        try:
            connection = self._psycopg.connect(self._dsn, autocommit=True, application_name="geoplantnet", connect_timeout=5)
        except self._psycopg.Error as error:
            raise TryAgain("the database cannot be reached now; try again") from error
        try:
            connection.execute("SET default_transaction_read_only = on")
            connection.execute(f"SET statement_timeout = {_WAIT_MS}")
            held = self._sql.SQL("SELECT species_list FROM {}.release LIMIT 1").format(self._sql.Identifier(self._schema))
            row = connection.execute(held).fetchone()
            if row and row[0] != self._list:
                raise StorageError(
                    f"the database holds species list {row[0][:12]}, the store {self._list[:12]}; load it again with `geoplantnet export`"
                )
        except self._psycopg.Error as error:
            connection.close()
            raise StorageError(
                f"schema {self._schema} cannot be read ({type(error).__name__}); load it with `geoplantnet export`"
            ) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the connections not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def make_rows(catalog: Catalog, *, postgis: str, schema: str, species_list: Callable[[], str]) -> Rows:
    """The rows of PostGIS where an address of one is given, else those of the tiles' GeoPackages."""
    return PostgisRows(postgis, species_list=species_list(), schema=schema) if postgis else GeoPackageRows(catalog)
