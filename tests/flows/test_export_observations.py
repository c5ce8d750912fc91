"""`geoplantnet observations export`: from a store to the formats others read, by the command line; what is left out is told."""

from __future__ import annotations

import contextlib
import json
import sys
import zipfile
from dataclasses import asdict
from datetime import date
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
from dwca.read import DwCAReader
from typer.testing import CliRunner

from geoplantnet.errors import InputError, UsageError
from geoplantnet.identify.calibration import Calibration
from geoplantnet.identify.export import ExportRules
from geoplantnet.identify.observations import ModelVersion, Observation, ObservationStore, Vote
from geoplantnet.identify.quality import TrustRules
from geoplantnet.identify.votes import PlantNet
from geoplantnet.occurrences.archive import DatasetDescription, short_name
from geoplantnet.taxonomy import Taxon
from pipelines.cli import app
from pipelines.export_observations import export_observations

sys.path.insert(0, str(Path(__file__).parents[1] / "identify"))
from export_records import TAXA, records

TABLE = "taxon,region,category,reason,review\nCypripedium calceolus,,2,collected,\nOphrys fictiva,,1,none,\n"
SAID = ("--title", "Plants", "--organization", "Ours", "--license", "CC-BY-4.0", "--date", "2026-01-02")


def taxon(name: str) -> Taxon:
    return Taxon(taxon_id=name.lower().replace(" ", "-"), scientific_name=name, genus=name.split()[0], family="F")


@pytest.fixture
def store(tmp_path) -> Path:
    """Six observations that a model has determined; three of a sensitive species, one of low score."""
    path = tmp_path / "observations.sqlite"
    with ObservationStore.open(path, create=True) as opened:
        opened.add_taxa("test", [taxon(name) for name in TAXA])
        for i in range(6):
            place = {"latitude": 46.5 + i / 10, "longitude": 8.1 + i / 10, "coordinate_uncertainty": 10.0}
            opened.add_observation(
                Observation(observation_id=f"o{i}", user_id=f"u{i}", event_date="2024-05-03", dataset_id="app", license="", **place)
            )
            opened.predict(f"o{i}", ModelVersion(name="net", version="1"), taxon(TAXA[2 * (i % 2)]).taxon_id, 0.99 if i else 0.5)
    return path


@pytest.fixture
def calibration(store, tmp_path) -> Path:
    """Of whatever the store calls its model: scores are as they are."""
    with ObservationStore.open(store) as opened:
        (model,) = set(next(opened.records())["ai_model"])
    figures = dict.fromkeys(("correct", "ece_before", "ece_after", "log_loss_before", "log_loss_after"), 0.1)
    path = tmp_path / "calibrations.json"
    path.write_text(json.dumps({model: asdict(Calibration(model=model, records=9000, method="none", **figures))}))
    return path


@pytest.fixture
def export(store, calibration, tmp_path):
    """The command, with a table of sensitive species and a secret -> its result."""
    (tmp_path / "sensitive.csv").write_text(TABLE)
    (tmp_path / "secret.key").write_bytes(b"0123456789abcdef")

    def run(output: Path, *more: str, protect: bool = True):
        guarded = ("--sensitive", str(tmp_path / "sensitive.csv"), "--secret", str(tmp_path / "secret.key")) if protect else ()
        arguments = [
            "observations",
            "export",
            str(store),
            "--output",
            str(output),
            *SAID,
            "--calibrations",
            str(calibration),
            *guarded,
            *more,
        ]
        return CliRunner().invoke(app, arguments, env={"COLUMNS": "140"})

    return run


def test_a_store_becomes_an_archive(export, tmp_path):
    """Trusted records in it, sensitive ones in squares and last, the books and the rule that protects nobody on the screen."""
    ended = export(tmp_path / "o.zip")
    assert ended.exit_code == 0, ended.output
    with DwCAReader(str(tmp_path / "o.zip")) as archive:
        rows = [{short_name(term): value for term, value in row.data.items()} for row in archive]
        assert archive.metadata.find("dataset/title").text == "Plants"
    assert [row["scientificName"] for row in rows] == ["Abies alba"] * 2 + ["Cypripedium calceolus"] * 3
    assert [row["occurrenceID"] for row in rows[:2]] == ["o2", "o4"] and {row["basisOfRecord"] for row in rows} == {"MachineObservation"}
    assert all(row["eventDate"] == "2024-05" and row["dataGeneralizations"] for row in rows[2:])
    assert "the model's score is too low" in ended.output and "5 records" in ended.output and "'Ophrys fictiva'" in ended.output


def test_votes_become_validated_records(store, export, tmp_path):
    """Three newcomers validate, two do not; the people's record says who they were, and an account is named nowhere."""
    with ObservationStore.open(store) as opened:
        opened.add_users({f"account{i}": f"Person {i}" for i in range(3)})
        for observation, voters in (("o0", 3), ("o2", 2)):
            for i in range(voters):
                opened.vote(
                    Vote(
                        observation_id=observation,
                        user_id=f"account{i}",
                        kind="determination",
                        value="fagus-sylvatica",
                        key=f"{observation}{i}",
                    )
                )
        opened.aggregate(PlantNet())
    ended = export(tmp_path / "o.zip", "--score", "0.999")
    assert ended.exit_code == 0, ended.output
    with DwCAReader(str(tmp_path / "o.zip")) as archive:
        (row,) = [{short_name(term): value for term, value in row.data.items()} for row in archive]
        said = [identification.data for row in archive for identification in row.extensions]
    assert (row["occurrenceID"], row["scientificName"], row["basisOfRecord"]) == ("o0", "Fagus sylvatica", "HumanObservation")
    assert row["identifiedBy"] == "Person 0 | Person 1 | Person 2" and json.loads(row["dynamicProperties"])["determinations"] == 3
    assert len(said) == 2 and not any(
        b"account" in zipfile.ZipFile(tmp_path / "o.zip").read(name) for name in ("occurrence.txt", "identification.txt")
    )


@pytest.mark.parametrize(("mode", "code"), [("fixed", 2), ("confident", 2), ("invalidating", 0), ("ignored", 0)])
def test_labels_that_a_model_voted_for_do_not_leave(store, export, tmp_path, mode, code):
    """One newcomer and the model make a label valid: nobody would know that people alone did not."""
    with ObservationStore.open(store) as opened:
        opened.add_user("account0")
        opened.vote(Vote(observation_id="o2", user_id="account0", kind="determination", value=taxon(TAXA[0]).taxon_id, key="a"))
        opened.aggregate(PlantNet(ai=mode))
    with pytest.raises(UsageError, match="validated by people") if code else contextlib.nullcontext():
        ended = export(tmp_path / "o.zip")
        if isinstance(ended.exception, UsageError):
            raise ended.exception
        assert ended.exit_code == 0, ended.output
    assert (tmp_path / "o.zip").exists() == (code == 0)


@pytest.mark.parametrize("suffix", ["parquet", "gpkg"])
def test_the_same_rows_in_formats_of_maps(export, tmp_path, suffix):
    """As many points, at the places that the archive tells."""
    assert export(tmp_path / f"o.{suffix}").exit_code == 0 and export(tmp_path / "o.zip").exit_code == 0
    found = gpd.read_parquet(tmp_path / "o.parquet") if suffix == "parquet" else gpd.read_file(tmp_path / "o.gpkg")
    with DwCAReader(str(tmp_path / "o.zip")) as archive:
        told = [{short_name(term): value for term, value in row.data.items()} for row in archive]
    assert found["occurrenceID"].tolist() == [row["occurrenceID"] for row in told]
    assert found.geometry.x.tolist() == [float(row["decimalLongitude"]) for row in told]


def test_without_a_table_of_sensitive_species_it_is_said(export, tmp_path):
    """On the screen, each time."""
    ended = export(tmp_path / "o.zip", protect=False)
    assert ended.exit_code == 0 and "every place is told as it is" in ended.output


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("--secret", "none.key"), InputError, "cannot be read"),
        (("--license", "MIT"), UsageError, "none that GBIF takes"),
        (("--images", "http://x"), UsageError, "sha256"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(export, tmp_path, arguments, error, words):
    """A secret that is not there, a licence GBIF does not take, one address for all images."""
    ended = export(tmp_path / "o.zip", *arguments)
    assert isinstance(ended.exception, error) and words in str(ended.exception) and not (tmp_path / "o.zip").exists()


def test_another_suffix_is_refused(export, tmp_path):
    """With those there are."""
    ended = export(tmp_path / "o.csv")
    assert isinstance(ended.exception, UsageError) and ".gpkg" in str(ended.exception)


def test_the_books_balance(tmp_path):
    """Read by quality = left out there + left out by the export + written."""

    class Store:
        def records(self):
            yield records({}, {"occurrenceID": "b", "valid": False}, {"occurrenceID": "c", "decimalLatitude": float("nan")})
            yield records(
                {"occurrenceID": "d", "images": "cc"}, {"occurrenceID": "e", "scientificName": " ", "taxonID": "x", "images": "dd"}
            )

        def taxa(self):
            return pd.DataFrame(columns=["taxonID", "scientificName", "genus", "family"])

    about = DatasetDescription(title="t", description="d", organization="o", license="CC0-1.0", published=date(2026, 1, 2))
    rules = ExportRules(license=about.license_url, rights_holder="o", dataset_name="t")
    done = export_observations(Store(), tmp_path / "o.zip", about, rules, TrustRules(duplicates=True))
    assert done.read == 5 == sum(done.left_out.values()) + done.report.refused.total() + done.rows
    assert done.rows == 2 and done.report.refused == {"no species name": 1}
