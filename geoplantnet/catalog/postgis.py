"""Species coverage in PostGIS: a schema for GIS people, and its loader. `postgis.sql` beside this file documents every table.

A tile is loaded in one transaction: its rows go into a staging table by COPY, are checked there, and take the place of those it had.
Readers see the old rows or the new, whenever the loader is killed. A tile whose content is there already costs one look-up.

Needs psycopg 3 (`pip install 'geoplantnet[postgis]'`). Passwords are part of no message: give them by PGPASSWORD, `~/.pgpass` or a
connection service rather than in the address.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from importlib.resources import files
from typing import Any, LiteralString

import geopandas as gpd
import numpy as np
import pandas as pd
import psycopg
import shapely
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from geoplantnet.catalog.coverage import COVERAGE_ABOUT, REFERENCE, TileCoverage, checked_cells, checked_coverage
from geoplantnet.errors import CrsError, InputError, StorageError, TryAgain, UsageError
from geoplantnet.grid.tile_grid import MetaTile
from geoplantnet.taxonomy.species_list import Taxon
from geoplantnet.taxonomy.traits import TRAITS

SCHEMA = "geoplantnet"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,47}")


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a run tells of all its rows: the columns of table `release`."""

    title: str
    notice: str
    licence: str
    interval_start: datetime
    """With its time zone."""
    interval_end: datetime
    plot_area_m2: float
    set_rule: str
    checklist: str
    species_list: str
    """Hash of the species list. All releases of a schema share it."""
    version: str

    @property
    def id(self) -> str:
        """SHA-256 (hex) of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), default=str, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Loadable:
    """One tile that may have to be loaded."""

    tile: MetaTile
    content: str
    """SHA-256 (hex) of what its rows are made from: equal means the same rows."""
    read: Callable[[], TileCoverage]
    """Makes the rows; asked only when the database holds others."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What became of the tiles."""

    tiles: int
    """Loaded, new or in place of older rows."""
    skipped: int
    """There already with the same content."""
    rows: int
    """Rows of species coverage that were loaded."""
    where: str
    """Database, host and schema, for people; no user, no password."""


def schema_sql(schema: str = SCHEMA) -> str:
    """The SQL that makes the schema, its tables, views, functions and roles, to be run by its owner-to-be. Raises UsageError for a bad name."""
    return _schema_sql(schema).as_string()


def load_coverage(
    dsn: str, *, release: Release, taxa: Sequence[Taxon], traits: pd.DataFrame, tiles: Iterable[Loadable], schema: str = SCHEMA
) -> Loaded:
    """Load tiles, each in one transaction, into a schema, which is made where it is not there and the user may.

    `dsn`: an address (``postgresql://host/database``), ``key=value`` words, or empty: libpq's environment (PGHOST ...; PGSERVICE).
    `traits`: by taxon id, at least for `taxa` (see `taxonomy.traits`). Tiles of the schema that are not among `tiles` stay as they are.

    Raises UsageError for an address or a name that is none, rights that lack, or a schema that holds another species list or grid;
    TryAgain while another loader is at work or when the connection is lost (what was loaded stays; load again); InputError for rows
    that are none; StorageError for a database that cannot be reached or is full.
    """
    name = _checked_name(schema)
    with _connected(dsn) as connection, _faults_told(connection, name):
        info = connection.info
        where = f"database {info.dbname} on {info.host or 'localhost'}, schema {name}"
        _lock(connection, name)
        _prepare(connection, name)
        _start(connection, name, release, taxa, traits)
        held = dict(connection.execute(_in(name, "SELECT tile_id, sha256 FROM {s}.meta_tile")).fetchall())
        loaded = skipped = rows = 0
        for loadable in tiles:
            if held.get(loadable.tile.id) == loadable.content:
                skipped += 1
                connection.execute(
                    _in(name, "UPDATE {s}.meta_tile SET release_id = %s WHERE tile_id = %s AND release_id <> %s"),
                    (release.id, loadable.tile.id, release.id),
                )
            else:
                rows += _swap(connection, name, loadable, release)
                loaded += 1
        if loaded:
            connection.execute(_in(name, "SELECT {s}.refresh_statistics()"))
    return Loaded(tiles=loaded, skipped=skipped, rows=rows, where=where)


def _swap(connection: psycopg.Connection, schema: str, loadable: Loadable, release: Release) -> int:
    """Put a tile's rows in the place of those it has, all at once; returns how many."""
    part, tile = loadable.read(), loadable.tile.id
    if part.cells.crs is None or part.cells.crs != REFERENCE:
        raise CrsError(f"the reporting cells of {tile} are in {part.cells.crs}, the schema is in {REFERENCE}; reproject them")
    cells = checked_cells(part.cells)
    rows = checked_coverage(part.rows, cells)
    connection.execute(_in(schema, "SELECT {s}.add_partition(%s)"), (tile,))
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_in(schema, "TRUNCATE {s}.staging"))
        with cursor.copy(
            _in(schema, 'COPY {s}.staging (cell_id, "taxonID", coverage, mean_probability) FROM STDIN (FORMAT BINARY)')
        ) as copy:
            copy.set_types(["text", "text", "float4", "float4"])
            numbers = rows[["coverage", "mean_probability"]].astype(np.float32).to_numpy().tolist()
            for cell_id, taxon_id, (coverage, mean) in zip(rows["cell_id"], rows["taxonID"], numbers):
                copy.write_row((cell_id, taxon_id, coverage, mean))
        cursor.execute(
            _in(
                schema,
                "INSERT INTO {s}.meta_tile (tile_id, release_id, sha256, geom) VALUES (%s, %s, %s, %s) ON CONFLICT (tile_id) DO UPDATE "
                "SET release_id = EXCLUDED.release_id, sha256 = EXCLUDED.sha256, loaded_at = now()",
            ),
            (tile, release.id, loadable.content, _wkb(gpd.GeoSeries([shapely.box(*loadable.tile.bounds)]))[0]),
        )
        own = "SELECT cell_id FROM {s}.reporting_cell WHERE tile_id = %s"
        cursor.execute(_in(schema, "DELETE FROM {s}.species_coverage WHERE tile_id = %s AND cell_id IN (" + own + ")"), (tile, tile))
        cursor.execute(_in(schema, "DELETE FROM {s}.reporting_cell WHERE tile_id = %s"), (tile,))
        cursor.executemany(
            _in(schema, "INSERT INTO {s}.reporting_cell (tile_id, cell_id, n_cells, valid_cells, geom) VALUES (%s, %s, %s, %s, %s)"),
            [(tile, *row) for row in zip(cells["cell_id"], cells["n_cells"].tolist(), cells["valid_cells"].tolist(), _wkb(cells.geometry))],
        )
        # By taxon, so that a species' cells lie together on disk.
        cursor.execute(
            _in(
                schema,
                'INSERT INTO {s}.species_coverage (tile_id, cell_id, "taxonID", coverage, mean_probability) '
                'SELECT c.tile_id, n.cell_id, n."taxonID", n.coverage, n.mean_probability FROM {s}.staging n '
                'JOIN {s}.reporting_cell c ON c.cell_id = n.cell_id AND c.tile_id = %s JOIN {s}.taxon t ON t."taxonID" = n."taxonID" '
                'ORDER BY n."taxonID", n.cell_id',
            ),
            (tile,),
        )
        if cursor.rowcount != len(rows):
            raise InputError(
                f"{len(rows) - cursor.rowcount} of {len(rows)} rows of {tile} name a taxon that was not given; load them together"
            )
    return len(rows)


def _start(connection: psycopg.Connection, schema: str, release: Release, taxa: Sequence[Taxon], traits: pd.DataFrame) -> None:
    """Release and taxa, in one transaction."""
    names = ["taxonID", "scientificName", "vernacularName", "family", "genus", *TRAITS, "iucn"]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    excluded = sql.SQL(", ").join(sql.SQL("EXCLUDED.{}").format(sql.Identifier(name)) for name in names)
    upsert = sql.SQL(
        'INSERT INTO {s}.taxon AS t ({c}) VALUES ({v}) ON CONFLICT ("taxonID") DO UPDATE SET ({c}) = ROW ({e}) WHERE t IS DISTINCT FROM EXCLUDED'
    ).format(s=sql.Identifier(schema), c=columns, v=sql.SQL(", ").join([sql.Placeholder()] * len(names)), e=excluded)
    facts = [field.name for field in fields(release)]
    insert = sql.SQL("INSERT INTO {s}.release (release_id, {c}) VALUES (%s, {v}) ON CONFLICT DO NOTHING").format(
        s=sql.Identifier(schema),
        c=sql.SQL(", ").join(map(sql.Identifier, facts)),
        v=sql.SQL(", ").join([sql.Placeholder()] * len(facts)),
    )
    known = traits.loc[[taxon.taxon_id for taxon in taxa]].to_dict("index")
    with connection.transaction(), connection.cursor() as cursor:
        other = cursor.execute(
            _in(schema, "SELECT checklist, species_list FROM {s}.release WHERE species_list <> %s LIMIT 1"), (release.species_list,)
        ).fetchone()
        if other:
            raise UsageError(
                f"schema {schema} holds species list {other[1][:12]} ({other[0]}), the run has {release.species_list[:12]} "
                f"({release.checklist}); name another schema, or drop this one"
            )
        cursor.execute(insert, (release.id, *(getattr(release, name) for name in facts)))
        cursor.executemany(upsert, [_taxon_row(taxon, known[taxon.taxon_id]) for taxon in taxa])


def _taxon_row(taxon: Taxon, traits: Mapping[Any, Any]) -> tuple[object, ...]:
    """The columns of table `taxon`; what is not known is None."""
    known = {name: bool(traits[name]) if pd.notna(traits[name]) else None for name in TRAITS}
    names = (taxon.vernacular_name or None, taxon.family or None, taxon.genus or None)
    return (taxon.taxon_id, taxon.scientific_name, *names, *known.values(), traits["iucn"] if pd.notna(traits["iucn"]) else None)


def _prepare(connection: psycopg.Connection, schema: str) -> None:
    """Make the schema where it is not there. Raises UsageError for one that is somebody else's."""
    query = "SELECT to_regnamespace(%s) IS NOT NULL, to_regclass(%s) IS NOT NULL"
    there, ours = connection.execute(query, (schema, f"{schema}.species_coverage")).fetchone() or (False, False)
    if there and not ours:
        raise UsageError(
            f"schema {schema} is there and holds no coverage, or may not be used by this user; name another schema, or grant it"
        )
    if not there:
        with connection.transaction():
            connection.execute(_schema_sql(schema))


def _lock(connection: psycopg.Connection, schema: str) -> None:
    """Hold the schema until the connection ends."""
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (f"geoplantnet.{schema}",)).fetchone()
    if not (row and row[0]):
        raise TryAgain(f"another loader is at work on schema {schema}; try again when it has ended")


@contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection. Faults are told in words in which no part of a password can be: libpq repeats what it could not understand."""
    try:
        told = conninfo_to_dict(dsn)
    except psycopg.Error:
        told = None
    # What follows an unescaped / ? # or @ of a password is taken for a host, a port or a database.
    if (
        told is None
        or any("@" in str(told.get(key) or "").removeprefix("@") for key in ("host", "dbname"))
        or not re.fullmatch(r"[\d,]*", str(told.get("port") or ""))
    ):
        raise UsageError(
            "the address of the database cannot be understood; write it as postgresql://user@host:port/database, escape special characters "
            "(@ is %40, / is %2F), and leave the password to PGPASSWORD, ~/.pgpass or a connection service"
        )
    try:
        connection = psycopg.connect(dsn, autocommit=True, application_name="geoplantnet")
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        if password := str(told.get("password") or ""):
            reason = reason.replace(password, "***")
        raise StorageError(f"cannot connect to the database: {reason}") from None
    with connection:
        yield connection


@contextmanager
def _faults_told(connection: psycopg.Connection, schema: str) -> Iterator[None]:
    """Turns the database's errors into ours."""
    user = connection.info.user
    try:
        yield
    except errors.InsufficientPrivilege as error:
        raise UsageError(
            f"user {user} may not do this in schema {schema} ({_first_line(error)}); connect as a member of {schema}_loader, or let an "
            "administrator run what geoplantnet.catalog.postgis.schema_sql gives"
        ) from error
    except (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction) as error:
        raise UsageError(f"schema {schema} is not as this version makes it ({_first_line(error)}); name another one") from error
    except errors.UniqueViolation as error:
        raise UsageError(
            f"schema {schema} holds a reporting cell under another tile ({_first_line(error)}); name another schema for another grid"
        ) from error
    except (errors.DiskFull, errors.OutOfMemory) as error:
        raise StorageError(f"the database is full ({_first_line(error)}); make room, then load again: what was loaded stays") from error
    except psycopg.OperationalError as error:
        raise TryAgain(f"the database ended the connection ({_first_line(error)}); load again: tiles that were loaded stay") from error
    except psycopg.Error as error:
        raise StorageError(f"the database refused ({_first_line(error)}); nothing of the tile at hand was loaded") from error


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0]


def _schema_sql(schema: str) -> sql.Composed:
    name = _checked_name(schema)
    reader, loader = f"{name}_reader", f"{name}_loader"
    text: Any = files("geoplantnet.catalog").joinpath("postgis.sql").read_text(encoding="utf-8")
    return sql.SQL(text).format(
        schema=sql.Identifier(name),
        schema_text=sql.Literal(name),
        reader=sql.Identifier(reader),
        reader_text=sql.Literal(reader),
        loader=sql.Identifier(loader),
        loader_text=sql.Literal(loader),
        coverage_about=sql.Literal(COVERAGE_ABOUT),
    )


def _checked_name(schema: str) -> str:
    """Raises UsageError for a name that would have to be quoted: people type it in every query, and roles are named after it."""
    if not _NAME.fullmatch(schema):
        raise UsageError(f"{schema!r} is no name for a schema; use lower-case letters, digits and _, at most 48, the first no digit")
    return schema


def _in(schema: str, query: LiteralString) -> sql.Composed:
    """A query whose tables are those of the schema."""
    return sql.SQL(query).format(s=sql.Identifier(schema))


def _wkb(polygons: gpd.GeoSeries) -> list[str]:
    """EWKB in hexadecimal, EPSG:3035."""
    return shapely.to_wkb(shapely.set_srid(polygons.to_numpy(), int(REFERENCE.rpartition(":")[2])), hex=True, include_srid=True).tolist()
