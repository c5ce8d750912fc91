"""Coverage in a real PostGIS: what is loaded is there once and whole, whoever is killed; nobody may more than they need."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import sqlalchemy

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'geoplantnet[postgis]'")
from postgres import postgres as programs  # noqa: E402

from geoplantnet.catalog.postgis import Loadable, Loaded, Release, load_coverage, schema_sql  # noqa: E402
from geoplantnet.errors import CrsError, GeoPlantNetError, InputError, StorageError, TryAgain, UsageError  # noqa: E402
from geoplantnet.grid import TileGrid  # noqa: E402
from geoplantnet.taxonomy.traits import TRAITS  # noqa: E402

NEAR, BESIDE, FAR = "25kmE4125N2575", "25kmE4150N2575", "25kmE4325N2600"
RELEASE = Release(
    title="Plants of ×",
    notice="Predicted, not observed.",
    licence="CC-BY-4.0",
    interval_start=datetime(2018, 1, 1, tzinfo=UTC),
    interval_end=datetime(2021, 12, 31, tzinfo=UTC),
    plot_area_m2=100.0,
    set_rule="MaxExp",
    checklist="test",
    species_list="ab" * 32,
    version="0.1.0",
)
TABLES = ("release", "taxon", "meta_tile", "reporting_cell", "species_coverage")
_COUNTER = itertools.count()


@pytest.fixture
def traits(species) -> pd.DataFrame:
    """Trees, no trees and unknown ones; one threatened species."""
    table = pd.DataFrame({name: [1.0, 0.0, np.nan] * 4 for name in TRAITS}, index=[t.taxon_id for t in species])
    return table.assign(iucn=[None] * 11 + ["EN"])


@pytest.fixture
def schema() -> str:
    """A name that no other test uses."""
    return f"t{next(_COUNTER)}"


@pytest.fixture
def db(postgis) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgis, autocommit=True) as connection:
        yield connection


Load = Callable[..., Loaded]


@pytest.fixture
def load(postgis, schema, species, traits, coverage_of) -> Load:
    """Load tiles by id; `seed` makes their rows."""

    def call(*tiles: str, seed: int = 0, dsn: str = postgis, release: Release = RELEASE, schema: str = schema, read=None) -> Loaded:
        listed = [
            Loadable(tile=TileGrid().tile(t), content=f"{seed}", read=(lambda t=t: read(t)) if read else (lambda t=t: coverage_of(t, seed)))
            for t in tiles
        ]
        return load_coverage(dsn, release=release, taxa=list(species), traits=traits, tiles=listed, schema=schema)

    return call


def user_of(dsn: str, user: str) -> str:
    return dsn.replace("stac@", f"{user}@")


def everything(db, schema) -> dict[str, list[tuple]]:
    """Every row of every table, with the transaction that wrote it."""
    return {name: sorted(db.execute(f"SELECT xmin::text, t::text FROM {schema}.{name} t").fetchall()) for name in TABLES}


def rows_of(db, schema, tile) -> list[tuple]:
    query = f'SELECT cell_id, "taxonID", coverage, mean_probability FROM {schema}.species_coverage WHERE tile_id = %s ORDER BY 1, 2'
    return db.execute(query, (tile,)).fetchall()


def wanted_rows(part) -> list[tuple]:
    rows = part.rows.astype({"coverage": np.float32, "mean_probability": np.float32}).sort_values(["cell_id", "taxonID"])
    # What `real` is to psycopg: the shortest decimal that means the float32.
    return [
        (r.cell_id, r.taxonID, float(str(np.float32(r.coverage))), float(str(np.float32(r.mean_probability)))) for r in rows.itertuples()
    ]


def test_what_is_loaded_is_what_was_given(load, db, schema, coverage_of, species):
    """Rows, cells, taxa and tiles, read back by plain SQL; geometries are valid squares in EPSG:3035; unknown traits are NULL."""
    told = load(NEAR, FAR)
    assert (told.tiles, told.skipped, told.rows) == (2, 0, sum(len(coverage_of(t).rows) for t in (NEAR, FAR)))
    for tile in (NEAR, FAR):
        part = coverage_of(tile)
        assert rows_of(db, schema, tile) == wanted_rows(part)
        cells = db.execute(
            f"SELECT cell_id, n_cells, valid_cells FROM {schema}.reporting_cell WHERE tile_id = %s ORDER BY 1", (tile,)
        ).fetchall()
        assert cells == sorted(part.cells[["cell_id", "n_cells", "valid_cells"]].itertuples(index=False, name=None))
    shapes = f"SELECT every(ST_IsValid(geom) AND ST_SRID(geom) = 3035), min(ST_Area(geom)), max(ST_Area(geom)), count(*) FROM {schema}."
    assert db.execute(shapes + "reporting_cell").fetchone() == (True, 25e6, 25e6, 50)
    assert db.execute(shapes + "meta_tile").fetchone() == (True, 625e6, 625e6, 2)
    taxa = db.execute(f'SELECT "taxonID", "scientificName", "vernacularName", tree, iucn FROM {schema}.taxon ORDER BY 1').fetchall()
    assert [t[:2] for t in taxa] == [(t.taxon_id, t.scientific_name) for t in species]
    assert [t[2:] for t in taxa[:3]] == [(None, True, None), (None, False, None), (None, None, None)] and taxa[11][4] == "EN"
    release = db.execute(f"SELECT release_id, title, interval_start, plot_area_m2, species_list FROM {schema}.release").fetchall()
    assert release == [(RELEASE.id, "Plants of ×", RELEASE.interval_start, 100.0, RELEASE.species_list)]


def test_geopandas_reads_the_map_by_taxon_and_window(load, postgis, schema, coverage_of):
    """The view gives a GIS a polygon a row: those of one taxon, in a box, as a filter over the given rows finds them."""
    load(NEAR, FAR)
    engine = sqlalchemy.create_engine(postgis.replace("postgresql:", "postgresql+psycopg:"))
    query = sqlalchemy.text(
        f"SELECT * FROM {schema}.species_coverage_map WHERE \"taxonID\" = 's03' AND geom && ST_MakeEnvelope(4126000, 2576000, 4134000, 2584000, 3035)"
    )
    with engine.connect() as connection:
        read = gpd.read_postgis(query, connection, geom_col="geom")
    engine.dispose()
    part = coverage_of(NEAR)
    wanted = part.rows[part.rows.taxonID == "s03"].merge(part.cells.cx[4_126_000:4_134_000, 2_576_000:2_584_000], on="cell_id")
    assert read.crs.to_epsg() == 3035 and set(read.scientificName) == {"Testus species3"}
    assert dict(zip(read.cell_id, read.coverage.astype(np.float32))) == dict(zip(wanted.cell_id, wanted.coverage.astype(np.float32)))
    given = gpd.GeoSeries(wanted.set_index("cell_id").geometry, crs="EPSG:3035")
    assert len(read) and read.set_index("cell_id").geometry.geom_equals(given.loc[read.cell_id]).all()


def test_loading_twice_is_loading_once(load, db, schema):
    """The second time every tile is skipped and no row of any table is written again."""
    load(NEAR, FAR)
    before = everything(db, schema)
    assert (again := load(NEAR, FAR)).tiles == again.rows == 0 and again.skipped == 2
    assert everything(db, schema) == before


def test_a_changed_tile_takes_the_place_of_its_own_rows_only(load, db, schema, coverage_of):
    """Its rows are the new ones; those of a tile of the same partition, and of another, are untouched."""
    load(NEAR, BESIDE, FAR)
    others = lambda: [r for r in everything(db, schema)["species_coverage"] if NEAR not in r[1]]  # noqa: E731
    before = others()
    assert load(NEAR, seed=1).tiles == 1
    assert rows_of(db, schema, NEAR) == wanted_rows(coverage_of(NEAR, 1)) and others() == before
    assert db.execute(f"SELECT count(*) FROM {schema}.reporting_cell").fetchone() == (75,)


def test_fewer_cells_and_no_rows_are_loaded_as_they_are(load, db, schema, coverage_of):
    """A tile that is loaded again for a region of two cells has two; one where no species is predicted has cells and no rows."""
    load(NEAR)
    few = coverage_of(NEAR).meeting(coverage_of(NEAR).cells.geometry[:2].union_all())
    load(NEAR, seed=1, read=lambda t: few)
    assert rows_of(db, schema, NEAR) == wanted_rows(few)
    load(NEAR, seed=2, read=lambda t: few.of([]))
    assert rows_of(db, schema, NEAR) == [] and db.execute(f"SELECT count(*) FROM {schema}.reporting_cell").fetchone() == (2,)


def test_other_words_of_a_release_move_no_rows(load, db, schema):
    """A changed notice is a new release, which tiles of the same content point to; coverage is not written again."""
    load(NEAR)
    before = everything(db, schema)
    later = replace(RELEASE, notice="Virtual species.")
    assert load(NEAR, release=later).skipped == 1
    after = everything(db, schema)
    assert after["species_coverage"] == before["species_coverage"] and len(after["release"]) == 2
    assert db.execute(f"SELECT release_id FROM {schema}.meta_tile").fetchall() == [(later.id,)]


def test_another_species_list_is_refused(load, db, schema):
    """An id could mean another species: UsageError that names both lists, and nothing changes."""
    load(NEAR)
    before = everything(db, schema)
    with pytest.raises(UsageError, match=r"abababababab.*cdcdcdcdcdcd.*another schema"):
        load(FAR, release=replace(RELEASE, species_list="cd" * 32))
    assert everything(db, schema) == before


_LOADER = """
import sys
sys.path.append(sys.argv[1])
from datetime import datetime, UTC
import pandas as pd
from geoplantnet.assemblages.coverage import reporting_cells
from geoplantnet.catalog.coverage import TileCoverage
from geoplantnet.catalog.postgis import Loadable, Release, load_coverage
from geoplantnet.grid import TileGrid
from geoplantnet.taxonomy.species_list import Taxon
from geoplantnet.taxonomy.traits import TRAITS
dsn, schema, tile = sys.argv[2:5]
cells = reporting_cells(TileGrid().tile(tile).geobox()).assign(n_cells=1, valid_cells=1)
rows = pd.DataFrame({"cell_id": cells["cell_id"], "taxonID": "s00", "scientificName": "x", "coverage": 1.0, "mean_probability": 1.0})
start = datetime(2018, 1, 1, tzinfo=UTC)
release = Release(title="", notice="", licence="", interval_start=start, interval_end=start, plot_area_m2=1.0, set_rule="", checklist="",
    species_list="ab" * 32, version="")
traits = pd.DataFrame({**{name: 0.0 for name in TRAITS}, "iucn": None}, index=["s00"])
part = TileCoverage(tile_id=tile, cells=cells, rows=rows)
load_coverage(dsn, release=release, taxa=[Taxon(taxon_id="s00", scientific_name="x")], traits=traits, schema=schema,
    tiles=[Loadable(tile=TileGrid().tile(tile), content="new", read=lambda: part)])
"""


def test_a_loader_killed_between_copy_and_commit_leaves_the_old_rows(load, db, postgis, schema, coverage_of):
    """Held up after its COPY, killed by SIGKILL, and let go: others saw the old rows all the time, and the next loader ends its work."""
    load(NEAR)
    with psycopg.connect(postgis) as holder:
        holder.execute(f"LOCK TABLE {schema}.meta_tile IN SHARE MODE")  # readers pass; who wants to write waits
        arguments = [sys.executable, "-c", _LOADER, str(Path(__file__).parents[2]), postgis, schema, NEAR]
        loader = subprocess.Popen(arguments)
        waiting = "SELECT query FROM pg_stat_activity WHERE application_name = 'geoplantnet' AND wait_event_type = 'Lock'"
        until = time.monotonic() + 60
        while not (seen := db.execute(waiting).fetchall()) and loader.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        assert seen and "meta_tile" in seen[0][0]
        assert rows_of(db, schema, NEAR) == wanted_rows(coverage_of(NEAR))
        loader.send_signal(signal.SIGKILL)
        loader.wait(60)
    while True:  # the server finds out by itself that nobody is there
        assert rows_of(db, schema, NEAR) == wanted_rows(coverage_of(NEAR))
        try:
            load(NEAR, seed=5)
            break
        except TryAgain:
            assert time.monotonic() < until
            time.sleep(0.05)
    assert rows_of(db, schema, NEAR) == wanted_rows(coverage_of(NEAR, 5))


def test_a_lost_connection_leaves_the_old_rows(load, db, schema, coverage_of):
    """The server ends the loader's session: TryAgain; what was committed before stays, the tile at hand is as it was."""
    load(NEAR, FAR)

    def read(tile):
        if tile == FAR:
            db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'geoplantnet'")
        return coverage_of(tile, 1)

    with pytest.raises(TryAgain, match="load again"):
        load(NEAR, FAR, seed=1, read=read)
    assert rows_of(db, schema, NEAR) == wanted_rows(coverage_of(NEAR, 1)) and rows_of(db, schema, FAR) == wanted_rows(coverage_of(FAR))


def test_two_loaders_take_turns(load, schema, coverage_of):
    """While one is at work on a schema another is told to try again; another schema is not concerned."""

    def read(tile):
        with pytest.raises(TryAgain, match="another loader"):
            load(FAR)
        load(FAR, schema=f"{schema}_other")
        return coverage_of(tile)

    assert load(NEAR, read=read).tiles == 1


@pytest.mark.parametrize(
    ("spoil", "error", "word"),
    [
        (lambda p: replace(p, rows=p.rows.assign(taxonID="s99").drop_duplicates("cell_id")), InputError, "taxon that was not given"),
        (lambda p: replace(p, rows=p.rows.assign(coverage=1.5)), InputError, "1.5"),
        (lambda p: replace(p, rows=p.rows.assign(cell_id="elsewhere")), InputError, "elsewhere"),
        (lambda p: replace(p, cells=p.cells.to_crs(32632)), CrsError, "EPSG:3035"),
        (lambda p: replace(p, cells=p.cells.iloc[:0]), InputError, "no reporting cells"),
    ],
)
def test_rows_that_are_none_are_refused_and_the_old_ones_stay(load, db, schema, coverage_of, spoil, error, word):
    """Each fault by its typed error."""
    load(NEAR)
    before = everything(db, schema)
    with pytest.raises(error, match=word):
        load(NEAR, seed=1, read=lambda t: spoil(coverage_of(t)))
    after = everything(db, schema)
    assert all(after[name] == before[name] for name in TABLES)


def test_a_cell_belongs_to_one_tile(load, schema, coverage_of):
    """A tile of another grid over the same cells is refused, with the fix."""
    load(NEAR)
    with pytest.raises(UsageError, match="another grid"):
        load(FAR, read=lambda t: coverage_of(NEAR))


def test_a_tile_lies_in_the_partition_of_its_block(load, db, schema):
    """Corners of blocks of 8 x 8 tiles, by arithmetic done here; a query that names a tile reads its partition alone."""
    tiles = {"25kmE4000N2400": (4000, 2400), "25kmE4175N2575": (4000, 2400), "25kmE4200N2575": (4200, 2400), "25kmE4000N2600": (4000, 2600)}
    load(*tiles)
    lie = dict(db.execute(f"SELECT DISTINCT tile_id, tableoid::regclass::text FROM {schema}.species_coverage").fetchall())
    assert lie == {tile: f"{schema}.species_coverage_25kme{east}n{north}" for tile, (east, north) in tiles.items()}
    plan = lambda where: "\n".join(  # noqa: E731
        r[0] for r in db.execute(f"EXPLAIN SELECT * FROM {schema}.species_coverage_map WHERE {where}").fetchall()
    )
    named = plan("tile_id = '25kmE4200N2575'")
    assert "species_coverage_25kme4200n2400" in named and "species_coverage_25kme4000n2" not in named
    assert plan("\"taxonID\" = 's03'").count("species_coverage_25kme") >= 3


def test_tiles_found_by_place_open_the_partitions_they_need(load, db, schema):
    """A query that learns its tile from a point on the map leaves the other partitions unopened."""
    load(NEAR, FAR)
    tile = f"SELECT tile_id FROM {schema}.meta_tile WHERE geom && ST_SetSRID(ST_MakePoint(4126000, 2576000), 3035)"
    lines = [r[0] for r in db.execute(f"EXPLAIN ANALYZE SELECT * FROM {schema}.species_coverage WHERE tile_id = ({tile})").fetchall()]
    of = lambda block: [line for line in lines if block in line and " on " in line]  # noqa: E731
    assert any("actual" in line for line in of("25kme4000n2400"))
    assert all("never executed" in line for line in of("25kme4200n2600"))


def refused(dsn: str, *statements: str) -> None:
    """Each statement alone is denied, also to who lifts the read-only default."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_a_reader_reads_and_no_more(load, postgis, schema):
    """All tables and the map can be read, for a minute a query; nothing can be written, made, emptied or called."""
    load(NEAR)
    reader = user_of(postgis, f"{schema}_reader")
    with psycopg.connect(reader) as connection:
        for name in (*TABLES, "species_coverage_map"):
            assert connection.execute(f"SELECT count(*) > 0 FROM {schema}.{name}").fetchone() == (True,)
        assert connection.execute("SHOW statement_timeout").fetchone() == ("1min",)
    refused(
        reader,
        *(f"DELETE FROM {schema}.{name}" for name in (*TABLES, "staging")),
        f"UPDATE {schema}.species_coverage SET coverage = 1",
        f"INSERT INTO {schema}.taxon (\"taxonID\", \"scientificName\") VALUES ('a', 'b')",
        f"TRUNCATE {schema}.species_coverage",
        f"CREATE TABLE {schema}.mine (a int)",
        "CREATE TABLE public.mine (a int)",
        "CREATE SCHEMA mine",
        f"DROP VIEW {schema}.species_coverage_map",
        f"SELECT {schema}.add_partition('25kmE4125N2575')",
        f"SELECT {schema}.refresh_statistics()",
        f"SELECT * FROM {schema}.staging",
    )
    with pytest.raises(UsageError, match=f"{schema}_reader may not.*{schema}_loader.*schema_sql"):
        load(FAR, dsn=reader + "&options=-cdefault_transaction_read_only%3Doff")


def test_a_loader_loads_and_no_more(load, db, postgis, schema, coverage_of):
    """New tiles, new blocks, changed tiles; no table can be made, changed, dropped or emptied, and no partition that is none."""
    load(NEAR)
    loader = user_of(postgis, f"{schema}_loader")
    assert load(NEAR, FAR, seed=1, dsn=loader).tiles == 2
    assert rows_of(db, schema, FAR) == wanted_rows(coverage_of(FAR, 1))
    refused(
        loader,
        *(f"DROP TABLE {schema}.{name} CASCADE" for name in (*TABLES, "staging", "species_coverage_25kme4000n2400")),
        f"DROP SCHEMA {schema} CASCADE",
        f"TRUNCATE {schema}.species_coverage",
        f"ALTER TABLE {schema}.taxon ADD COLUMN mine int",
        f"CREATE TABLE {schema}.mine (a int)",
        "CREATE TABLE public.mine (a int)",
        f"DELETE FROM {schema}.release",
        f"CREATE OR REPLACE FUNCTION {schema}.add_partition(tile text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
        "CREATE ROLE mine",
    )
    with psycopg.connect(loader, autocommit=True) as connection:
        for name in ("x'); DROP TABLE taxon; --", "25kmE4126N2575", "0kmE0N0", "25kmE4125N2575 ", ""):
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                connection.execute(f"SELECT {schema}.add_partition(%s)", (name,))


def test_an_administrators_script_is_all_a_loader_needs(load, db, postgis, schema):
    """`schema_sql`, run by psql; then the loader, who may not make a schema, loads into it. Every table, view and function is documented."""
    loader = user_of(postgis, f"{schema}_loader")
    script = schema_sql(schema)
    programs_folder = programs()
    assert programs_folder is not None
    command = [programs_folder / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-1", postgis]
    subprocess.run(command, input=script, text=True, check=True, capture_output=True)
    assert load(NEAR, dsn=loader).tiles == 1
    relations = "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition"
    undocumented = db.execute(relations + " AND obj_description(oid) IS NULL", (schema,)).fetchall()
    functions = "SELECT proname FROM pg_proc WHERE pronamespace = %s::regnamespace AND obj_description(oid) IS NULL"
    assert undocumented == [] and db.execute(functions, (schema,)).fetchall() == []
    with pytest.raises(UsageError, match="schema_sql"):
        load(NEAR, dsn=loader, schema=f"{schema}_new")


def test_postgis_in_a_schema_of_its_own(load, db, postgis, schema):
    """As managed databases have it: found, though no search path names it."""
    db.execute(f"CREATE DATABASE {schema}_managed")
    managed = postgis.replace("/postgres?", f"/{schema}_managed?")
    try:
        with psycopg.connect(managed, autocommit=True) as connection:
            connection.execute('CREATE SCHEMA "their GIS"; CREATE EXTENSION postgis SCHEMA "their GIS"')
            for again in (1, 0):
                assert load(NEAR, dsn=f"{managed}&options=-csearch_path%3D").tiles == again
            assert connection.execute(f'SELECT DISTINCT "their GIS".ST_SRID(geom) FROM {schema}.reporting_cell').fetchall() == [(3035,)]
    finally:
        db.execute(f"DROP DATABASE {schema}_managed WITH (FORCE)")


def test_an_owner_who_may_not_make_roles_can_load_all_the_same(load, db, postgis, schema):
    """Tables are made, the roles are not, and nothing fails."""
    db.execute(
        f"CREATE ROLE {schema}_owner LOGIN; GRANT CREATE ON DATABASE postgres TO {schema}_owner; CREATE EXTENSION IF NOT EXISTS postgis"
    )
    assert load(NEAR, dsn=user_of(postgis, f"{schema}_owner")).tiles == 1
    assert db.execute("SELECT count(*) FROM pg_roles WHERE rolname IN (%s, %s)", (f"{schema}_reader", f"{schema}_loader")).fetchone() == (
        0,
    )


@pytest.mark.parametrize(
    "name", ["x'; DROP TABLE a; --", 'a"; DROP SCHEMA b; --', "Upper", "1st", "", "a b", "ä", "a" * 49, "a.b", "$body$"]
)
def test_a_hostile_schema_name_is_refused(load, name):
    """Before anything is connected to; `schema_sql` refuses it, too."""
    with pytest.raises(UsageError, match="no name for a schema"):
        load(NEAR, schema=name, dsn="postgresql://nobody@127.0.0.1:1/x")
    with pytest.raises(UsageError, match="no name for a schema"):
        schema_sql(name)


def test_a_schema_that_is_somebody_elses_is_left_alone(load, db, schema):
    """One with other tables is refused; so is one whose tables are of another make, and a name PostgreSQL keeps for itself."""
    db.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.theirs (a int)")
    with pytest.raises(UsageError, match="holds no coverage"):
        load(NEAR)
    assert db.execute("SELECT count(*) FROM pg_class WHERE relnamespace = %s::regnamespace", (schema,)).fetchone() == (1,)
    db.execute(f"CREATE TABLE {schema}.species_coverage (a int)")
    with pytest.raises(UsageError, match="not as this version makes it"):
        load(NEAR)
    with pytest.raises(GeoPlantNetError):
        load(NEAR, schema="pg_mine")


def test_hostile_words_stay_text(postgis, schema, db, species, traits, coverage_of):
    """Quotes and SQL in names, titles and notices are stored as they are."""
    nasty = "x'; DROP SCHEMA public CASCADE; -- \" \\ %s {s}"
    release = replace(RELEASE, title=nasty, notice=nasty)
    taxa = [replace(t, scientific_name=nasty, family=nasty) for t in species]
    tile = Loadable(tile=TileGrid().tile(NEAR), content=nasty, read=lambda: coverage_of(NEAR))
    load_coverage(postgis, release=release, taxa=taxa, traits=traits, tiles=[tile], schema=schema)
    assert db.execute(f"SELECT title, notice FROM {schema}.release").fetchall() == [(nasty, nasty)]
    assert db.execute(f'SELECT DISTINCT "scientificName", family FROM {schema}.taxon').fetchall() == [(nasty, nasty)]


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://user:S3cret@127.0.0.1:1/db",
        "postgresql://user:x@S3cret@127.0.0.1:1/db",
        "postgresql://user:x/S3cret@127.0.0.1:1/db",
        "postgresql://user:7/S3cret@127.0.0.1:1/db",
        "postgresql://user:S3cret/x@127.0.0.1:1/db",
        "postgresql://user:S3cret%zz@127.0.0.1:1/db",
        "postgresql://user:x?S3cret@127.0.0.1:1/db",
        "postgresql://user:x#S3cret@127.0.0.1:1/db",
        "postgres//user:S3cret@127.0.0.1:1/db",
        "host=127.0.0.1 port=1 password=S3cret",
        "host=127.0.0.1 port=1 password=x S3cret",
        "host=127.0.0.1 port=1 password='S3cret",
        "service=S3rvice_that_is_not_there password=S3cret",
    ],
)
def test_a_password_is_part_of_no_message(load, dsn):
    """However the address is miswritten, and in the whole traceback."""
    with pytest.raises((UsageError, StorageError)) as refused:
        load(NEAR, dsn=dsn)
    assert "S3cret" not in "".join(traceback.format_exception(refused.value, chain=True)).replace(f"dsn={dsn!r}", "")


def test_an_empty_address_is_the_environment(load, monkeypatch, postgis, schema):
    """PGHOST and its like lead to the database, as for every program of PostgreSQL."""
    for name, value in (("PGHOST", postgis.partition("host=")[2]), ("PGUSER", "stac"), ("PGDATABASE", "postgres")):
        monkeypatch.setenv(name, value)
    assert load(NEAR, dsn="").tiles == 1
