"""`geoplantnet observations`: a store from files to labels, told in words; whatever is wrong ends in a typed error."""

from __future__ import annotations

import sqlite3

import pandas as pd
import pytest
from PIL import Image

from geoplantnet.identify.observations import ObservationStore


@pytest.fixture
def files(tmp_path):
    """Taxa, observations, votes and predictions as people have them, some of it wrong."""
    (tmp_path / "taxa.csv").write_text("taxonID,scientificName,genus,family\nq-r,Quercus robur,Quercus,Fagaceae\na-c,Acer campestre,,\n")
    (tmp_path / "observations.csv").write_text(
        "observation_id,user_id,latitude,longitude,event_date\no1,ada,43.5,11.25,2024-05-17\no2,bob,,,\no3,bob,91,0,\n"
    )
    said = [("o1", u, "determination", "q-r") for u in ("ada", "bob", "cy")] + [
        ("o1", "cy", "malformed", "0"),
        ("o9", "cy", "determination", "q-r"),
    ]
    pd.DataFrame([*said, ("o2", "cy", "determination", "q-rr")], columns=["observation_id", "user_id", "kind", "value"]).to_parquet(
        tmp_path / "votes.parquet"
    )
    (tmp_path / "predictions.csv").write_text("observation_id,taxon_id,score\no1,a-c,0.4\no2,a-c,1.4\n")
    return tmp_path


def test_from_files_to_labels(cli, files):
    """Init, import, aggregate, weight, update, show, status and verify, each telling what came of it."""
    store = files / "store.sqlite"
    assert "2 taxa, 2 of them new" in cli("observations", "init", store, "--taxa", files / "taxa.csv", "--checklist", "ours 1").out
    sent = [
        "observations", "import", store, "--observations", files / "observations.csv", "--votes", files / "votes.parquet",
        "--predictions", files / "predictions.csv", "--model", "net:1",
    ]  # fmt: skip
    first, again = cli(*sent), cli(*sent)
    assert first.code == 0 and "2 observations stored, 0 known, 1 refused of 3" in first.out and "latitude out of range" in first.out
    assert (
        "4 votes stored, 0 known, 2 refused of 6" in first.out
        and "Did you mean 'q-r'?" in first.out
        and "row 4: unknown observation" in first.out
    )
    assert "1 predictions stored, 0 known, 1 refused of 2" in first.out
    assert "0 votes stored, 4 known, 2 refused of 6" in again.out
    assert "no labels yet" in cli("observations", "status", store).out
    assert "1 valid labels, 1 in all, of 2 observations" in cli("observations", "aggregate", store).out
    assert "fixed_weight      9.5" in cli("observations", "weight", store, "bob", "--fixed", "9.5").out
    assert "1 acts behind" in cli("observations", "status", store).out
    assert "1 users weigh otherwise" in cli("observations", "update", store).out
    shown = cli("observations", "show", store, "--observation", "o1").out
    assert "Quercus robur" in shown and "9.500" in shown and "plantnet (" in shown and "malformed" in shown
    assert "as_a_valid_label  1" in cli("observations", "show", store, "--user", "cy").out
    assert "majority" in cli("observations", "aggregate", store, "--strategy", "majority").out
    assert "gamma 0.9" in cli("observations", "aggregate", store, "--strategy", "plantnet", "--set", "gamma=0.9").out
    status, verified = cli("observations", "status", store), cli("observations", "verify", store)
    assert "up to date" in status.out and verified.code == 0 and "sound: " in verified.out


def test_photos_come_with_their_observations(cli, files):
    """Stored with what they show, once; one that is damaged or not there refuses its observation, which is told; others come in."""
    store = files / "store.sqlite"
    for name, colour in (("a.jpg", "red"), ("b.png", "blue")):
        Image.new("RGB", (40, 30), colour).save(files / name)
    (files / "cut.jpg").write_bytes((files / "a.jpg").read_bytes()[:200])
    (files / "seen.csv").write_text("observation_id,user_id,event_date\no1,ada,2024-05-17\no2,bob,\no3,bob,\no4,cy,\n")
    (files / "photos.csv").write_text("observation_id,file,organ\no1,a.jpg,flower\no1,b.png,\no2,absent.jpg,\no3,cut.jpg,leaf\no9,a.jpg,\n")
    cli("observations", "init", store, "--taxa", files / "taxa.csv", "--checklist", "ours 1")
    sent = ["observations", "import", store, "--observations", files / "seen.csv", "--photos", files / "photos.csv"]
    first, again = cli(*sent), cli(*sent)
    assert first.code == 0 and "2 observations stored, 0 known, 2 refused of 4" in first.out
    assert "2 x photo cannot be stored; first row 1" in first.out and "absent.jpg" in first.out and "such as o9" in first.out
    assert "0 observations stored, 2 known, 2 refused of 4" in again.out
    with ObservationStore.open(store) as opened:
        (records,) = opened.records()
    assert dict(zip(records["occurrenceID"], records["organs"])) == {"o1": "flower|auto", "o4": ""}
    assert "2 images" in cli("observations", "verify", store).out
    for wrong, code, why in (
        (["--photos", files / "photos.csv"], 2, "nothing to import"),
        (["--votes", files / "votes.parquet", "--photos", files / "photos.csv"], 2, "--photos needs --observations"),
        (["--observations", files / "seen.csv", "--photos", files / "taxa.csv"], 4, "no column observation_id, file"),
    ):
        told = cli("observations", "import", store, *wrong)
        assert told.code == code and why in told.err + told.out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["status", "absent.sqlite"], 4, "observations init"),
        (["status", "mysql://host/db"], 2, "SQLite or PostgreSQL"),
        (["import", "{}/store.sqlite"], 2, "nothing to import"),
        (["import", "{}/store.sqlite", "--votes", "{}/absent.csv"], 4, "there is no file"),
        (["import", "{}/store.sqlite", "--votes", "{}/taxa.csv"], 4, "no column observation_id"),
        (["import", "{}/store.sqlite", "--predictions", "{}/predictions.csv"], 2, "name:version"),
        (["init", "{}/store.sqlite", "--taxa", "{}/taxa.csv"], 2, "--checklist"),
        (["aggregate", "{}/store.sqlite", "--strategy", "plantnets"], 2, "none of"),
        (["aggregate", "{}/store.sqlite", "--set", "gama=1"], 2, "gama"),
        (["aggregate", "{}/store.sqlite", "--set", "gamma=-1"], 2, "gamma"),
        (["show", "{}/store.sqlite"], 2, "--observation"),
        (["show", "{}/store.sqlite", "--user", "nobody"], 4, "no user"),
        (["show", "{}/store.sqlite", "--observation", "nothing"], 4, "no observation"),
        (["weight", "{}/store.sqlite", "nobody", "--fixed", "1"], 4, "no user"),
        (["status", "{}/taxa.csv"], 6, "damaged or no SQLite file"),
    ],
)
def test_what_is_wrong_ends_in_a_typed_error(cli, files, words, code, told):
    """Exit code and a message that says what to do; never a traceback."""
    cli("observations", "init", files / "store.sqlite")
    ended = cli("observations", *(word.replace("{}", str(files)) for word in words))
    assert ended.code == code and told in ended.err and "Traceback" not in ended.text, ended


def test_a_store_whose_labels_were_changed_does_not_verify(cli, files):
    """Exit 6, and what is wrong."""
    import sqlite3

    store = files / "store.sqlite"
    cli("observations", "init", store, "--taxa", files / "taxa.csv", "--checklist", "ours 1")
    cli("observations", "import", store, "--observations", files / "observations.csv", "--votes", files / "votes.parquet")
    cli("observations", "aggregate", store)
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE labels SET valid = 0")
    ended = cli("observations", "verify", store)
    assert ended.code == 6 and "1 labels and 0 weights are not what the log gives" in ended.err


def test_a_file_that_is_not_what_it_seems(cli, files):
    """A row cut short withdraws nothing, columns nobody reads are named, and a damaged file is told as one."""
    store = files / "store.sqlite"
    cli("observations", "init", store, "--taxa", files / "taxa.csv", "--checklist", "ours 1")
    cli("observations", "import", store, "--observations", files / "observations.csv", "--votes", files / "votes.parquet")
    for cells in ("o1,cy,determination", "o1,cy,determination,q-r,"):
        (files / "cut.csv").write_text(f"observation_id,user_id,kind,value\n{cells}\n")
        told = cli("observations", "import", store, "--votes", files / "cut.csv")
        assert told.code == 4 and "cut.csv:2: " in told.err and "the header has 4" in told.err
    (files / "named.csv").write_text("observation_id,user_id,lat,lon\no7,ada,43.5,11.2\n")
    assert "columns not read: lat, lon; " in cli("observations", "import", store, "--observations", files / "named.csv").out
    (files / "bad.parquet").write_bytes(b"PAR")
    told = cli("observations", "import", store, "--votes", files / "bad.parquet")
    assert told.code == 4 and "no Parquet file" in told.err


def test_a_parameter_keeps_the_strategy(cli, files):
    """--set alone changes the rule of the stored labels, and what is no value of it ends with 2; no weight is not a number."""
    store = files / "store.sqlite"
    cli("observations", "init", store, "--taxa", files / "taxa.csv", "--checklist", "ours 1")
    cli("observations", "import", store, "--observations", files / "observations.csv", "--votes", files / "votes.parquet")
    cli("observations", "aggregate", store, "--strategy", "plantnet-anchored")
    assert "by plantnet-anchored (" in cli("observations", "aggregate", store, "--set", "gamma=0.8").out
    for wrong in ("max_iterations=1.5", "max_iterations=true", "gamma=much", "gama=1", "gamma"):
        assert cli("observations", "aggregate", store, "--set", wrong).code == 2
    cli("observations", "weight", store, "ada", "--fixed", "2")
    assert cli("observations", "weight", store, "ada", "--fixed", "nan").code == 4
    assert "fixed_weight      2" in cli("observations", "show", store, "--user", "ada").out


def test_a_store_of_a_newer_version_is_left_alone(cli, files):
    """Init says so too; it does not fail in the migrations."""
    store = files / "store.sqlite"
    cli("observations", "init", store)
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    told = cli("observations", "init", store)
    assert told.code == 2 and "schema 9999" in told.err
