"""The observation store: what goes in comes out, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg
import pytest
import sqlalchemy as sa

from geoplantnet.errors import InputError, LookupFailed, StorageError, UsageError
from geoplantnet.identify.observations import Image, ModelVersion, Observation, ObservationStore, RefusedAct, Vote
from geoplantnet.identify.photos import RefusedPhoto, stripped
from geoplantnet.identify.records import RECORD_COLUMNS

sys.path.insert(0, str(Path(__file__).parents[2] / "faults"))
from photos import CANARY, jpeg, leaks, noise, rich_jpeg, rich_png

JPEG, PNG = stripped(jpeg()), noise(1)
MODEL = ModelVersion(name="net", version="2")


def all_records(store, **options):
    chunks = list(store.records(**options))
    return pd.concat(chunks, ignore_index=True).set_index("occurrenceID") if chunks else pd.DataFrame(columns=list(RECORD_COLUMNS))


def vote(observation="o1", user="ada", kind="determination", value="quercus-robur", **more):
    return Vote(observation_id=observation, user_id=user, kind=kind, value=value, **more)


def test_an_observation_comes_out_as_it_went_in(store):
    """Every field, its images in their order with organs, and Darwin Core's names for them."""
    store.add_user("ada", "Ada Lovelace")
    seen = Observation(
        observation_id="o1",
        user_id="ada",
        latitude=43.5,
        longitude=11.25,
        coordinate_uncertainty=12.5,
        event_date="2024-05-17",
        dataset_id="app",
        flora="tuscany",
        license="https://creativecommons.org/licenses/by/4.0/",
        rights_holder="A. Lovelace",
        verbatim_name="Eiche — \N{LATIN SMALL LETTER E WITH ACUTE}\t'x'",
    )
    assert store.add_observation(seen, [Image(data=JPEG, organ="leaf"), Image(data=PNG)]) == "o1"
    record = all_records(store).loc["o1"]
    hashes = [hashlib.sha256(data).hexdigest() for data in (JPEG, PNG)]
    assert record[["decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters"]].tolist() == [43.5, 11.25, 12.5]
    assert (
        record["recordedBy"] == "Ada Lovelace"
        and record["recordedByID"] == "ada"
        and record["verbatimScientificName"] == seen.verbatim_name
    )
    assert record["images"] == "|".join(hashes) and record["organs"] == "leaf|auto" and record["license"] == seen.license
    assert record["taxonID"] == "" and not record["valid"] and np.isnan(record["quality"]) and record["confidence"] == 0
    assert store.images.get(hashes[0], "jpg") == JPEG and store.images.get(hashes[1], "png") == PNG


def test_the_same_acts_give_the_same_store_one_by_one_or_at_once(store, lite, dump):
    """Single and bulk calls are one way in: the same rows and the same hash over all acts, on either database."""
    observations = pd.DataFrame(
        {"observation_id": ["o1", "o2"], "user_id": ["ada", "bob"], "latitude": [1.5, np.nan], "longitude": [2.5, np.nan]}
    )
    votes = pd.DataFrame(
        [
            ("o1", "ada", "determination", "quercus-robur", "k1"),
            ("o2", "ada", "malformed", "1", ""),
            ("o1", "bob", "determination", "", None),
        ],
        columns=["observation_id", "user_id", "kind", "value", "key"],
    )
    lite.add_observations(observations)
    lite.add_votes(votes)
    lite.add_predictions(MODEL, pd.DataFrame({"observation_id": ["o1"], "taxon_id": ["acer-campestre"], "score": [0.25]}))
    store.add_observation(Observation(observation_id="o1", user_id="ada", latitude=1.5, longitude=2.5))
    store.add_observation(Observation(observation_id="o2", user_id="bob"))
    for row in votes.itertuples(index=False):
        assert store.vote(Vote(**{**row._asdict(), "key": row.key or ""}))
    store.predict("o1", MODEL, "acer-campestre", 0.25)
    assert dump(store) == dump(lite)
    pd.testing.assert_frame_equal(all_records(store), all_records(lite))


BAD_VOTES = {
    "unknown observation": vote(observation="o9"),
    "no observation_id": vote(observation=""),
    "no user_id": vote(user=""),
    "unknown taxon": vote(value="quercus-robour"),
    "unknown kind": vote(kind="opinion"),
    "bad value": vote(kind="malformed", value="2"),
    "no image": vote(kind="organ", value="leaf"),
    "unknown image": vote(kind="organ", value="leaf", image="0" * 64),
    "not of an image": vote(kind="cultivated", value="1", image="0" * 64),
    "text too long": vote(key="k" * 2000),
    "not a text": vote(user="ada\0"),
    "bad time": vote(at="yesterday"),
    "key of another vote": vote(value="acer-campestre", key="first"),
}


def test_a_vote_that_cannot_be_taken_says_why(store):
    """One by one a typed error with the reason, at once counted under it; nothing of it is in the store, the good ones are."""
    store.add_observation(Observation(observation_id="o1", user_id="ada"))
    assert store.vote(vote(key="first"))
    before = store.statistics()
    for reason, bad in BAD_VOTES.items():
        with pytest.raises(RefusedAct) as refused:
            store.vote(bad)
        assert refused.value.reason == reason and str(refused.value).startswith(reason)
    assert store.statistics() == before
    with pytest.raises(RefusedAct, match="Did you mean 'quercus-robur'"):
        store.vote(BAD_VOTES["unknown taxon"])
    good = [vote(user="bob", value="acer-campestre", key="second"), vote(key="first"), vote(user="cy")]
    table = pd.DataFrame([vars(v) for v in [*BAD_VOTES.values(), *good]])
    counted = store.add_votes(table)
    assert (counted.kept, counted.repeated, dict(counted.rejected)) == (2, 1, {reason: 1 for reason in sorted(BAD_VOTES)})
    assert counted.read == len(table) and counted.examples["unknown kind"].startswith("row 4: unknown kind: 'opinion'")
    assert store.statistics()["votes"] == 3 and store.verify().sound


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"latitude": 91, "longitude": 0}, "latitude out of range"),
        ({"latitude": 0, "longitude": -181}, "longitude out of range"),
        ({"latitude": 5.0}, "half a place"),
        ({"latitude": "north", "longitude": 1}, "latitude is no number"),
        ({"coordinate_uncertainty": 0}, "coordinate_uncertainty out of range"),
        ({"coordinate_uncertainty": float("inf")}, "coordinate_uncertainty out of range"),
        ({"user_id": ""}, "no user_id"),
        ({"verbatim_name": 7}, "not a text"),
        ({"license": "\ud800"}, "not a text"),
    ],
)
def test_an_observation_that_cannot_be_taken_says_why(lite, fields, reason):
    """Alone a typed error, in a table counted under the reason."""
    with pytest.raises(RefusedAct) as refused:
        lite.add_observation(Observation(**{"user_id": "ada", **fields}))
    assert refused.value.reason == reason
    counted = lite.add_observations(pd.DataFrame([{"user_id": "ada", **fields}, {"user_id": "ada"}], dtype=object))
    assert dict(counted.rejected) == {reason: 1} and counted.kept == 1


def test_predictions_that_cannot_be_taken_are_counted(store):
    """By reason; the same prediction once more is known, another of the same model stands in its place."""
    store.add_observation(Observation(observation_id="o1", user_id="ada"))
    rows = [
        ("o1", "quercus-robur", 0.5),
        ("o1", "quercus-robur", 0.5),
        ("o1", "x", 0.5),
        ("o9", "quercus-robur", 0.5),
        ("o1", "quercus-robur", 1.5),
        ("o1", "quercus-robur", None),
    ]
    counted = store.add_predictions(MODEL, pd.DataFrame(rows, columns=["observation_id", "taxon_id", "score"]))
    wanted = {"unknown taxon": 1, "unknown observation": 1, "score out of range": 1, "score is no number": 1}
    assert (counted.kept, counted.repeated, dict(counted.rejected)) == (1, 1, dict(sorted(wanted.items())))
    store.predict("o1", ModelVersion(name="net", version="3", sha256="ab"), "acer-campestre", 0.75)
    record = all_records(store).loc["o1"]
    assert (record["ai_taxonID"], record["ai_score"], record["ai_model"]) == ("acer-campestre", 0.75, "net 3")
    with pytest.raises(InputError, match="a version of its own"):
        store.predict("o1", ModelVersion(name="net", version="3", sha256="cd"), "acer-campestre", 0.5)
    votes, axes = store.votes()
    assert axes.taxa[votes.ai_species[0]] == "acer-campestre" and votes.ai_score[0] == 0.75


def test_the_last_vote_stands(store):
    """Of (observation, user, kind, image); an empty one withdraws; a key sent twice is logged once."""
    store.add_observation(Observation(observation_id="o1", user_id="ada"), [Image(data=JPEG, organ="leaf"), Image(data=PNG)])
    first, second = all_records(store).loc["o1", "images"].split("|")
    assert store.vote(vote(key="k")) and store.vote(vote(value="acer-campestre")) and not store.vote(vote(key="k"))
    assert store.vote(vote(user="bob", key="k"))  # keys are a user's own
    assert store.vote(vote(user="cy")) and store.vote(vote(user="cy", value=""))
    for user, image, organ in [
        ("bob", first, "flower"),
        ("cy", first, "flower"),
        ("ada", second, "bark"),
        ("bob", second, "fruit"),
        ("bob", second, ""),
    ]:
        assert store.vote(vote(user=user, kind="organ", value=organ, image=image))
    votes, axes = store.votes()
    said = {(axes.users[u], axes.taxa[s]) for u, s in zip(votes.user, votes.species)}
    assert said == {("ada", "acer-campestre"), ("bob", "quercus-robur")}
    assert all_records(store).loc["o1", "organs"] == "flower|bark" and all_records(store).loc["o1", "determinations"] == 2
    history = store.history("o1")
    assert len(history) == store.statistics()["votes"] == 10 and history["stands"].sum() == 7
    assert history[history["user_id"] == "cy"]["value"].tolist() == ["quercus-robur", "", "flower"]


@pytest.mark.parametrize("table", ["votes", "predictions", "weights"])
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET logged = logged + 100", "DELETE FROM {}", "INSERT OR REPLACE INTO {0} SELECT * FROM {0}", "TRUNCATE {}"]
)
def test_the_log_cannot_be_changed(store, dump, table, statement):
    """The database itself refuses, whoever asks."""
    store.add_observation(Observation(observation_id="o1", user_id="ada"))
    store.vote(vote())
    store.predict("o1", MODEL, "acer-campestre", 0.5)
    store.set_weight("ada", fixed=2.0)
    before = dump(store)
    with pytest.raises(sa.exc.DBAPIError), store._database.engine.begin() as connection:
        connection.execute(sa.text(statement.format(table)))
    assert dump(store) == before and store.verify().sound


def test_a_log_that_was_changed_all_the_same_is_noticed(lite):
    """Who takes the triggers away and rewrites a vote, or takes one out: `verify` says so."""
    lite.add_observation(Observation(observation_id="o1", user_id="ada"))
    lite.vote(vote())
    lite.vote(vote(user="bob"))
    assert lite.verify().sound
    with lite._database.engine.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER votes_no_update"))
        connection.execute(sa.text("UPDATE votes SET value = 2 WHERE voter = 0"))
    assert "not those that were logged" in " ".join(lite.verify().damage)
    with lite._database.engine.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER votes_no_delete"))
        connection.execute(sa.text("DELETE FROM votes WHERE voter = 0"))
    assert "is missing" in " ".join(lite.verify().damage)


def test_records_come_in_chunks_of_one_order(store):
    """Any chunk size gives the same rows, by id as bytes; bounds take their borders in and leave out what has no place."""
    random = np.random.default_rng(3)
    names = ["b", "A", "é", "a", "Z-1", "10", "9", "ß"]
    table = pd.DataFrame(
        {
            "observation_id": names,
            "user_id": "ada",
            "latitude": [*random.uniform(-90, 90, 6), 10.0, np.nan],
            "longitude": [*random.uniform(-180, 180, 6), 20.0, np.nan],
        }
    )
    store.add_observations(table)
    whole = all_records(store)
    assert list(whole.index) == sorted(names, key=str.encode)
    for chunk in (1, 3, 8):
        pd.testing.assert_frame_equal(all_records(store, chunk=chunk), whole)
    assert list(all_records(store, bounds=(20, 10, 20, 10)).index) == ["9"]
    west, south, east, north = -90, -60, 120, 45
    inside = whole[whole["decimalLongitude"].between(west, east) & whole["decimalLatitude"].between(south, north)]
    assert list(all_records(store, bounds=(west, south, east, north), chunk=2).index) == list(inside.index)
    with pytest.raises(InputError, match="west, south"):
        all_records(store, bounds=(1, 0, 0, 1))
    with pytest.raises(InputError, match="at least 1"):
        all_records(store, chunk=0)


def test_records_are_of_one_moment(store):
    """What is written while records are read is not among them."""
    store.add_observations(pd.DataFrame({"observation_id": ["a", "b", "c"], "user_id": "ada"}))
    chunks = store.records(chunk=1)
    assert next(chunks)["occurrenceID"].tolist() == ["a"]
    store.add_observation(Observation(observation_id="bb", user_id="ada"))
    assert [chunk["occurrenceID"].iloc[0] for chunk in chunks] == ["b", "c"] and len(all_records(store)) == 4


def test_an_id_means_the_same_for_ever(store, checklist):
    """An observation sent again is known; with other content, or a taxon of another name or checklist, it is refused."""
    seen = Observation(observation_id="o1", user_id="ada", latitude=1, longitude=2)
    assert store.add_observation(seen) == store.add_observation(seen) == "o1" and store.statistics()["observations"] == 1
    with pytest.raises(RefusedAct, match="other content"):
        store.add_observation(Observation(observation_id="o1", user_id="bob"))
    assert len(store.add_observation(Observation(user_id="ada"))) == 32
    name, taxa = checklist
    assert store.add_taxa(name, taxa) == 0
    with pytest.raises(InputError, match="for ever"):
        store.add_taxa(name, [type(taxa[0])(taxon_id=taxa[0].taxon_id, scientific_name="Another name")])
    with pytest.raises(InputError, match="make a store of its own"):
        store.add_taxa("another", taxa)


def test_names_of_users_may_change_and_go(store):
    """The record tells the last; a name that would break lists is refused; ids stay."""
    store.add_observation(Observation(observation_id="o1", user_id="ada"))
    for name in ("Ada L.", ""):
        store.add_user("ada", name)
        assert all_records(store).loc["o1", ["recordedBy", "recordedByID"]].tolist() == [name, "ada"]
    with pytest.raises(InputError, match="parts names"):
        store.add_user("ada", "A|B")
    assert store.statistics()["users"] == 1 and store.verify().sound


def test_nothing_that_a_camera_wrote_is_stored(store, tmp_path):
    """Of images full of metadata none is in any file; they are named by what is stored, and sent with or without it they are one image."""
    for name, data, kind in (("o1", rich_jpeg(), "jpg"), ("o2", rich_png(), "png")):
        assert CANARY in data and leaks(data)
        store.add_observation(Observation(observation_id=name, user_id="ada"), [Image(data=data)])
        digest = all_records(store).loc[name, "images"]
        kept = store.images.get(digest, kind)
        assert kept == stripped(data) and hashlib.sha256(kept).hexdigest() == digest and leaks(kept) == []
        store.add_observation(Observation(observation_id=f"{name} again", user_id="ada"), [Image(data=kept)])
    stored = [p for p in (tmp_path / "images").rglob("*") if p.is_file()]
    assert len(stored) == 2 and all(CANARY not in p.read_bytes() and b"Exif" not in p.read_bytes()[60:] for p in stored)
    assert store.verify().sound and store.verify().images == 2


def test_an_image_is_stored_once_and_noticed_when_it_is_another(store, tmp_path):
    """By its content: one file for two observations, none for what is no image; missing and changed bytes are named, others counted."""
    for name in ("o1", "o2"):
        store.add_observation(Observation(observation_id=name, user_id="ada"), [Image(data=JPEG)])
    digest = hashlib.sha256(JPEG).hexdigest()
    files = [p for p in (tmp_path / "images").rglob("*") if p.is_file()]
    assert [p.relative_to(tmp_path / "images").as_posix() for p in files] == [f"{digest[:2]}/{digest}.jpg"]
    for bad, kind in ((b"", "not-an-image"), (b"GIF89a", "not-an-image"), (JPEG[:-2], "damaged"), (JPEG + b"0" * 20_000_000, "too-large")):
        with pytest.raises(RefusedPhoto) as refused:
            store.add_observation(Observation(observation_id="o3", user_id="ada"), [Image(data=bad)])
        assert refused.value.kind == kind
    with pytest.raises(RefusedAct, match="organ 'root'"):
        store.add_observation(Observation(observation_id="o3", user_id="ada"), [Image(data=JPEG, organ="root")])
    assert store.statistics()["observations"] == 2 and store.verify().sound and store.verify().images == 1
    store.images.put(PNG)
    assert store.verify().unnamed_images == 1 and store.verify().sound
    files[0].write_bytes(JPEG + b"!")
    assert "other bytes" in " ".join(store.verify().damage)
    files[0].unlink()
    assert "is not in" in " ".join(store.verify().damage)


def test_images_lie_wherever_fsspec_reaches(tmp_path):
    """A store of objects holds them as a folder does."""
    with ObservationStore.open(tmp_path / "s.sqlite", images="memory://photos", create=True) as store:
        store.add_observation(Observation(observation_id="o1", user_id="ada"), [Image(data=JPEG)])
        assert store.verify().images == 1 and store.verify().sound


def test_a_vote_taken_back_leaves_the_observation_to_be_settled(store):
    """Who takes a vote back said nothing: the observation is asked about again, unless something else was said of it that stands."""
    for name in ("o1", "o2"):
        store.add_observation(Observation(observation_id=name, user_id="ada", license="cc-by"), [Image(data=JPEG if name == "o1" else PNG)])
    store.aggregate()

    def cast(name, kind, value):
        store.vote(Vote(observation_id=name, user_id="cy", kind=kind, value=value))

    def waiting(user):
        return set(store.unsettled(user, limit=5)["occurrenceID"])

    cast("o1", "determination", "acer-campestre")
    cast("o2", "determination", "acer-campestre")
    cast("o2", "cultivated", "1")
    assert waiting("cy") == set() and waiting("bob") == {"o1", "o2"}
    cast("o1", "determination", "")
    cast("o2", "determination", "")
    assert waiting("cy") == {"o1"}, "of the second one it still stands that it is cultivated"
    cast("o2", "cultivated", "")
    assert waiting("cy") == {"o1", "o2"}
    cast("o1", "determination", "acer-campestre")
    assert waiting("cy") == {"o2"}


def test_what_was_taken_back_is_in_nothing_that_is_told(store):
    """Records, lists, counts and files are those of a store that never had it; the log stays whole, and the act is the author's alone."""
    other = Image(data=PNG)
    for name, user in (("o1", "ada"), ("o2", "bob"), ("o3", "ada")):
        shown = [Image(data=JPEG)] + ([other] if name == "o1" else [])
        store.add_observation(Observation(observation_id=name, user_id=user, license="cc-by", event_date="2024-05-17"), shown)
        store.vote(Vote(observation_id=name, user_id=user, kind="determination", value="acer-campestre"))
    store.set_weight("ada", fixed=10.0)
    store.aggregate()
    files = set(store.images.found())
    with pytest.raises(InputError, match="author alone"):
        store.withdraw("o1", "bob")
    with pytest.raises(LookupFailed, match="no observation"):
        store.withdraw("o9", "ada")
    with pytest.raises(InputError, match="for good"):
        store.vote(Vote(observation_id="o1", user_id="ada", kind="withdrawn", value=""))
    assert store.withdraw("o1", "ada") and not store.withdraw("o1", "ada")
    assert [list(part["occurrenceID"]) for part in store.records()] == [["o2", "o3"]]
    with pytest.raises(LookupFailed, match="taken back"):
        store.record("o1")
    assert store.withdrawn(["o1", "o2"]) == {"o1"}
    assert list(store.own("ada", limit=5)["occurrenceID"]) == ["o3"] and store.user("ada")["observations"] == 1
    assert list(store.unsettled("cy", limit=5)["occurrenceID"]) == ["o2"]
    months, count, rows = store.of_taxon("acer-campestre", limit=5)
    assert count == sum(months) == 1 and list(rows["occurrenceID"]) == ["o3"]
    assert {name for name in files if name.endswith(".png")} == files - set(store.images.found()), "the photo that o2 has, too, stays"
    assert store.statistics()["withdrawn"] == 1 and store.verify().sound
    with pytest.raises(InputError, match="taken back"):
        store.vote(Vote(observation_id="o1", user_id="cy", kind="cultivated", value="1"))
    with pytest.raises(InputError, match="another id"):
        store.add_observation(Observation(observation_id="o1", user_id="ada"), [other])
    store.add_observation(Observation(observation_id="o4", user_id="cy", license="cc-by"), [other])
    for name in ("o2", "o3"):
        assert store.withdraw(name), "an administrator, in the author's name"
    assert {name[-3:] for name in store.images.found()} == {"png"}
    assert store.aggregate() and store.replay().same and store.verify().sound


def test_own_observations_come_in_pages(store):
    """The last given first, each once."""
    for n in range(5):
        store.add_observation(Observation(observation_id=f"o{n}", user_id="ada" if n != 2 else "bob"))
    first = store.own("ada", limit=2)
    rest = store.own("ada", limit=5, after=str(first["occurrenceID"].iloc[-1]))
    assert [*first["occurrenceID"], *rest["occurrenceID"]] == ["o4", "o3", "o1", "o0"]
    assert store.own("cy", limit=5).empty


def test_older_stores_are_brought_up_to_date(store, open_store):
    """A store of the first schema is refused with the way out, and upgraded without a change to what it holds."""
    store.add_observation(Observation(observation_id="o1", user_id="ada"))
    before = store.statistics()
    with store._database.engine.begin() as connection:
        connection.execute(sa.text("DROP INDEX votes_withdrawn"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    with pytest.raises(UsageError, match="observations init"):
        open_store()
    assert open_store(create=True).statistics() == before


def test_opening_what_is_no_store_says_so(tmp_path, store, open_store):
    """A missing file, another kind of database, a store in memory, one of another version; create twice changes nothing."""
    with pytest.raises(InputError, match="observations init"):
        ObservationStore.open(tmp_path / "absent.sqlite")
    for address, told in (("mysql://x/y", "SQLite or PostgreSQL"), ("sqlite://", "in memory"), ("a://b:c:d", "no address")):
        with pytest.raises(UsageError, match=told):
            ObservationStore.open(address, create=True)
    store.add_observation(Observation(observation_id="o1", user_id="ada"))
    assert open_store(create=True).statistics() == store.statistics()
    with store._database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UsageError, match="9999"):
        open_store()


@pytest.mark.filterwarnings("ignore:Did not recognize type 'geometry'")
def test_migrations_make_the_tables_of_the_schema(store):
    """What alembic sees in the database is what `schema` says, but for PostGIS's column and what alembic does not compare."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    from geoplantnet.identify.observations.schema import metadata

    with store._database.engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    assert [d for d in found if "geometry" not in str(d) and "spatial_ref_sys" not in str(d)] == []


def test_postgis_is_everybodys(postgis):
    """A store in a schema of its own does not keep PostGIS in it, where other programs would not find it and lose it with the store."""
    with psycopg.connect(postgis, autocommit=True) as connection:
        connection.execute("CREATE DATABASE everybodys")
    try:
        address = postgis.replace("/postgres?", "/everybodys?")
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA own")
            ObservationStore.open(f"{address}&options=-csearch_path%3Down", create=True).close()
            where = "SELECT nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'postgis'"
            assert connection.execute(where).fetchone() == ("public",)
    finally:
        with psycopg.connect(postgis, autocommit=True) as connection:
            connection.execute("DROP DATABASE everybodys WITH (FORCE)")


def test_passwords_are_in_no_message(postgresql):
    """The name of a store hides it."""
    from geoplantnet.identify.observations.database import address_of

    address = address_of("postgresql://ada:secret@host/db")
    assert address.drivername == "postgresql+psycopg" and "secret" not in address.render_as_string(hide_password=True)


@pytest.mark.parametrize("cut", [0, 100, 5000])
def test_a_damaged_file_is_a_typed_error(tmp_path, cut):
    """No SQLite file, or one that was cut off: StorageError, and the file is left as it is."""
    path = tmp_path / "s.sqlite"
    with ObservationStore.open(path, create=True) as store:
        store.add_observations(pd.DataFrame({"observation_id": [str(n) for n in range(500)], "user_id": "ada"}))
    content = path.read_bytes()[:cut] if cut else b"not a database, but long enough to look at" * 100
    path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"), ObservationStore.open(path) as store:
        list(store.records())
    assert path.read_bytes() == content
