"""SQLite and PostgreSQL behind one door: opening, migrations, transactions, mass reading and writing, and what their errors mean.

SQLite: WAL, synchronous=FULL (a vote that was acknowledged outlives a power cut), BEGIN IMMEDIATE for who writes. PostgreSQL: writers wait
for the row of table `head`, readers see one snapshot (REPEATABLE READ). Either way one writes at a time, so acts are numbered as they commit.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import exc
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import URL, Connection, Engine, Row, make_url

from geoplantnet.errors import InputError, StorageError, TryAgain, UsageError
from geoplantnet.identify.observations.schema import head, postgis_schema

MIGRATIONS = Path(__file__).with_name("migrations")
_FULL = ("53100", "53000", "53200")
_BUSY = ("55P03", "40001", "40P01", "57014", "57P01", "57P02", "57P03")
_CHUNK = 50_000


def address_of(url: str | Path) -> URL:
    """A path, `sqlite:///path` or `postgresql+psycopg://...` as an address. Raises UsageError for another kind of database."""
    text = str(url)
    try:
        address = make_url(text) if "://" in text else URL.create("sqlite", database=str(Path(text)))
    except (exc.ArgumentError, ValueError) as error:
        raise UsageError(f"{text!r} is no address of a store; give a path, sqlite:///path or postgresql+psycopg://host/database") from error
    if address.drivername in ("postgresql", "postgres"):
        address = address.set(drivername="postgresql+psycopg")
    if address.drivername not in ("sqlite", "postgresql+psycopg"):
        raise UsageError(
            f"a store is in SQLite or PostgreSQL, not in {address.drivername}; give a path or postgresql+psycopg://host/database"
        )
    if address.drivername == "sqlite" and address.database in (None, "", ":memory:"):
        raise UsageError("a store in memory loses votes when the program ends; give a path")
    return address


class Database:
    """An open database of the right schema. Safe for threads; a process that was forked opens its own."""

    def __init__(self, url: str | Path, *, create: bool, patience: float) -> None:
        self.address = address_of(url)
        self.patience = patience
        """Seconds a writer waits for its turn."""
        if self.file and not create and not self.file.is_file():
            raise InputError(f"there is no store at {self.file}; `geoplantnet observations init` makes one")
        self.engine = self._engine()
        try:
            if create:
                self.upgrade()
            self._check()
            self.postgis = self._postgis()
        except BaseException:
            self.engine.dispose()
            raise

    @property
    def file(self) -> Path | None:
        """The database's file, where it is one."""
        return Path(str(self.address.database)) if self.sqlite else None

    @property
    def sqlite(self) -> bool:
        return self.address.drivername == "sqlite"

    def _postgis(self) -> str:
        """The schema of PostGIS, quoted; empty on SQLite."""
        if self.sqlite:
            return ""
        with self.reading() as connection:
            return postgis_schema(connection)

    @property
    def name(self) -> str:
        """As messages call it: without a password."""
        return str(self.file) if self.file else self.address.render_as_string(hide_password=True)

    def upgrade(self) -> None:
        """Make the tables, or bring them to this version's schema, in one transaction."""
        if self.file:
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(f"cannot make {self.file.parent}: {error.strerror}") from error
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self._faults(), self.engine.execution_options(writes=True).begin() as connection:
            if not self.sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('geoplantnet observations'))"))
            found = MigrationContext.configure(connection).get_current_revision()
            known = [revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()]
            if found is not None and found not in known:
                raise UsageError(
                    f"{self.name} has schema {found}, which this version of geoplantnet does not know; use a newer geoplantnet"
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one moment and keeps no writer waiting."""
        engine = self.engine if self.sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with self._faults(), engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[tuple[Connection, Row[Any]]]:
        """A transaction that alone writes, and the row of `head` as it found it. Committed at the end of the block, whole or not at all."""
        with self._faults(), self.engine.execution_options(writes=True).begin() as connection:
            if not self.sqlite:
                connection.execute(sa.text(f"SET LOCAL lock_timeout = {int(self.patience * 1000)}"))
            yield connection, connection.execute(sa.select(head).with_for_update()).one()

    @contextmanager
    def deriving(self) -> Iterator[Connection]:
        """A transaction that alone writes labels; on PostgreSQL people vote meanwhile."""
        with self._faults(), self.engine.execution_options(writes=True).begin() as connection:
            if not self.sqlite:
                connection.execute(sa.text(f"SET LOCAL lock_timeout = {int(self.patience * 1000)}"))
                connection.execute(sa.text("LOCK TABLE state IN EXCLUSIVE MODE"))
            yield connection

    def members(self, values: Iterable[Any], kind: type[Any] = str) -> Any:
        """What `column.in_()` takes for very many values: one parameter, however many they are."""
        if self.sqlite:
            return sa.select(sa.func.json_each(json.dumps(list(values))).table_valued("value").c.value)
        of = sa.Text() if kind is str else sa.BigInteger()
        return sa.select(sa.func.unnest(sa.bindparam(None, list(values), type_=ARRAY(of))).column_valued("value"))

    def pairs(self, values: Sequence[tuple[int, str]]) -> sa.FromClause:
        """A table (number, text) of very many pairs, to join with: two `members` would look up every number with every text."""
        if self.sqlite:
            value = sa.func.json_each(json.dumps(values)).table_valued("value").c.value
            return sa.select(
                sa.func.json_extract(value, "$[0]").label("number"), sa.func.json_extract(value, "$[1]").label("text")
            ).subquery()
        numbers = sa.bindparam(None, [number for number, _ in values], type_=ARRAY(sa.BigInteger()))
        texts = sa.bindparam(None, [text for _, text in values], type_=ARRAY(sa.Text()))
        return sa.func.unnest(numbers, texts).table_valued("number", "text").render_derived()

    def insert(self, connection: Connection, table: sa.Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Append rows, a tuple of `columns` each: COPY or a prepared statement, not a statement a row."""
        if not rows:
            return
        names = ", ".join(columns)  # of this package's schema, never a user's words
        raw = connection.connection.driver_connection
        assert raw is not None
        try:
            if self.sqlite:
                raw.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({', '.join('?' * len(columns))})", rows)
            else:
                with raw.cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
        except Exception as error:  # the driver's own: SQLAlchemy wraps only what goes through it
            told = _told(self.name, error)
            raise told if told is not None else error from error

    @staticmethod
    def chunks(connection: Connection, query: sa.Select[Any]) -> Iterator[Sequence[Row[Any]]]:
        """The rows of a query, as they come from the database, never all at once."""
        yield from connection.execute(query.execution_options(yield_per=_CHUNK)).partitions()

    def close(self) -> None:
        self.engine.dispose()

    def _engine(self) -> Engine:
        if not self.sqlite:
            return sa.create_engine(self.address, pool_pre_ping=True)
        engine = sa.create_engine(self.address, connect_args={"timeout": self.patience})

        @sa.event.listens_for(engine, "connect")
        def _configure(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None  # the driver begins no transaction of its own: `begin` below does
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA cache_size=-65536")  # 64 MiB: indexes of a million votes are written at random places
            connection.execute("PRAGMA recursive_triggers=ON")  # INSERT OR REPLACE asks the triggers of the log, too

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get("writes", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    def _check(self) -> None:
        """The schema is this version's."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        wanted = ScriptDirectory.from_config(config).get_current_head()
        with self.reading() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
        if found is None:
            raise InputError(f"{self.name} holds no observation store; `geoplantnet observations init` makes one")
        if found != wanted:
            raise UsageError(
                f"{self.name} has schema {found}, this version of geoplantnet works with {wanted}; "
                "`geoplantnet observations init` upgrades an older one, a newer one needs a newer geoplantnet"
            )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except exc.DBAPIError as error:
            told = _told(self.name, error.orig)
            if told is None:
                raise
            raise told from error
        except exc.TimeoutError as error:
            raise TryAgain(f"{self.name}: all connections are in use; try again") from error


def _told(name: str, error: object) -> Exception | None:
    """A driver's error as one of ours; None where it is a fault of this program."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return StorageError(f"cannot write {name}: {error}; nothing of this act is stored. Free space, then send it again")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return TryAgain(f"{name} is busy with another writer; nothing of this act is stored, send it again")
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return StorageError(f"{name} is damaged or no SQLite file: {error}; bring back a copy")
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return StorageError(f"cannot open {name} for writing: {error}")
        return None
    state = getattr(error, "sqlstate", None)
    if state in _FULL:
        return StorageError(f"cannot write {name}: {error}; nothing of this act is stored. Free space, then send it again")
    if state in _BUSY:
        return TryAgain(f"{name} is busy or stopping: {error}; nothing of this act is stored, send it again")
    if type(error).__module__.startswith("psycopg") and type(error).__name__ == "OperationalError":
        return TryAgain(f"{name} does not answer: {error}; send the act again with the same key, it is logged once")
    if state is not None and state.startswith(("58", "XX")):
        return StorageError(f"{name} has a fault of its own: {error}")
    return None
