"""A store a test, on SQLite and on PostgreSQL: the same tests hold both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from geoplantnet.identify.observations import ObservationStore
from geoplantnet.taxonomy import Taxon

CHECKLIST = "test checklist"
TAXA = tuple(
    Taxon(taxon_id=f"{genus.lower()}-{epithet}", scientific_name=f"{genus} {epithet}", genus=genus, family=family)
    for genus, epithet, family in [
        ("Quercus", "robur", "Fagaceae"),
        ("Quercus", "petraea", "Fagaceae"),
        ("Acer", "campestre", "Sapindaceae"),
        ("Bellis", "perennis", "Asteraceae"),
    ]
)
_NUMBERS = count()


@pytest.fixture(scope="session")
def postgresql(postgis) -> Callable[[], str]:
    """Addresses on one PostgreSQL, a schema of its own each."""
    engine = sa.create_engine(postgis.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")

    def fresh() -> str:
        name = f"store_{next(_NUMBERS)}"
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE SCHEMA {name}"))
        return f"{postgis}&options={quote(f'-csearch_path={name}', safe='')}"

    yield fresh
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request, tmp_path) -> str:
    """Where a store may be made."""
    return str(tmp_path / "store.sqlite") if request.param == "sqlite" else request.getfixturevalue("postgresql")()


@pytest.fixture
def open_store(store_url, tmp_path) -> Iterator[Callable[..., ObservationStore]]:
    """Opens the store of the test, as often as wanted; all are closed at the end."""
    opened: list[ObservationStore] = []

    def open_it(**options) -> ObservationStore:
        opened.append(ObservationStore.open(store_url, images=tmp_path / "images", **options))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture(scope="session")
def checklist() -> tuple[str, tuple[Taxon, ...]]:
    """The checklist of the tests' stores."""
    return CHECKLIST, TAXA


@pytest.fixture
def store(open_store) -> ObservationStore:
    """A new store that knows four species."""
    made = open_store(create=True)
    made.add_taxa(CHECKLIST, TAXA)
    return made


@pytest.fixture
def lite(tmp_path) -> Iterator[ObservationStore]:
    """A second new store, always on SQLite, of the same images."""
    with ObservationStore.open(tmp_path / "lite.sqlite", images=tmp_path / "images", create=True) as made:
        made.add_taxa(CHECKLIST, TAXA)
        yield made


@pytest.fixture
def dump() -> Callable[[ObservationStore], dict[str, list]]:
    """What a store holds, a list of rows a table, without the times of acts."""

    def of(store: ObservationStore) -> dict[str, list]:
        from geoplantnet.identify.observations import schema

        with store._database.reading() as connection:
            return {
                name: [
                    tuple(row)
                    for row in connection.execute(sa.select(*(c for c in table.c if c.name != "at")).order_by(*table.primary_key.columns))
                ]
                for name, table in schema.metadata.tables.items()
            }

    return of
