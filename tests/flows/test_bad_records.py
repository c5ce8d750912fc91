"""Occurrences as people send them: what cannot be used is refused and counted by reason, never lost in silence."""

from __future__ import annotations

import zipfile

import pandas as pd
import pytest

from geoplantnet.errors import ConfigurationError
from pipelines.context import Run
from pipelines.ledger import Ledger
from pipelines.stages import TaskFailed

HEADER = "occurrenceID,scientificName,decimalLatitude,decimalLongitude,coordinateUncertaintyInMeters,year\n"
GOOD = "".join(f"good-{i},Abies alba,46.4{i},8.1{i},10,2020\n" for i in range(6))
BAD = {
    "swapped coordinates": "a,Abies alba,8.05,46.45,10,2020\n",
    "missing coordinates": "b,Abies alba,NaN,8.05,10,2020\nb2,Abies alba,,,10,2020\n",
    "coordinates out of range": "c,Abies alba,146.4,8.05,10,2020\n",
    "outside the study area": "d,Abies alba,60.0,8.05,10,2020\n",
    "zero coordinates": "e,Abies alba,0,0,10,2020\n",
    "coordinate uncertainty too large": "f,Abies alba,46.45,8.05,90000,2020\n",
    "same taxon, place and year again": "z,Abies alba,46.40,8.10,10,2020\n",
    "name not in the checklist": "g,Nonsensia fictiva,46.45,8.05,10,2020\n",
}


@pytest.fixture
def with_records(write_recipe, tmp_path):
    """A recipe of real occurrences: twenty forest plots, a reference of two names, and a Darwin Core table of the given text."""
    plots = range(20)
    at = {"x.coord": [600_000.0 + 4_000 * i for i in plots], "y.coord": [150_000.0] * 20}
    pd.DataFrame({"plot": plots, **at, "hoehe": 900, "elev": 900.0, "slp": 5.0}).to_parquet(tmp_path / "ws_sites.parquet")
    pd.DataFrame({"plot": plots, "species": "B.Abies.alba.", "value": 2.0}).to_parquet(tmp_path / "ws500_long.parquet")
    flags = dict.fromkeys(("tree", "woody", "eu_habitats_directive", "eu_ias_union_concern"), 0)
    reference = pd.DataFrame(
        {"species": ["Abies alba", "Fagus sylvatica"], "genus": ["Abies", "Fagus"], "family": ["Pinaceae", "Fagaceae"], **flags}
    )
    reference.assign(daisie_status="", common_name_en="", aoo_trees=1.0).to_csv(tmp_path / "reference.csv", index=False)
    (tmp_path / "synonyms.csv").write_text("synonym,accepted\nAbies pectinata,Abies alba\n")

    def write(text: str | bytes | None, name: str = "records.csv"):
        file = tmp_path / name
        if text is not None:
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
        occurrences = [{"kind": "swiss-forest-plots", "folder": str(tmp_path)}, {"kind": "darwin-core", "file": str(file)}]
        return write_recipe(
            {
                "occurrences": occurrences,
                "backbone": {"reference": str(tmp_path / "reference.csv"), "synonyms": str(tmp_path / "synonyms.csv")},
                "quality": {"bounds": [5.9, 45.7, 12.6, 47.9], "maximum_uncertainty": 1500},
            }
        )

    return write


def test_every_refused_record_is_counted_by_its_reason(with_records, run_recipe, tmp_path):
    """Swapped, NaN, out of range, outside, zero, vague, repeated, of no known species: read = used + refused."""
    run_recipe(with_records(HEADER + GOOD + "".join(BAD.values())), tmp_path / "store", names=["occurrences"])
    stats = Ledger(tmp_path / "store").record("occurrences", "all").stats
    bad = {reason: text.count("\n") for reason, text in BAD.items()}
    assert stats["rejected"] == bad
    assert stats["by_dataset"]["records"] == [6 + sum(bad.values()), 6]
    assert stats["read"] == stats["used"] + sum(stats["rejected"].values())


@pytest.mark.parametrize("name", ["records.zip", "records"])
def test_an_archive_is_refused_and_used_like_a_table(with_records, run_recipe, tmp_path, name):
    """The same records in a Darwin Core Archive, zipped or a folder: the same counts, and the ragged row counted too."""
    fields = "".join(f'<field index="{i}" term="http://rs.tdwg.org/dwc/terms/{t}"/>' for i, t in enumerate(HEADER.strip().split(",")))
    core = '<core rowType="http://rs.tdwg.org/dwc/terms/Occurrence" ignoreHeaderLines="1"><files><location>o.csv</location></files><id index="0"/>'
    parts = {"meta.xml": f"<archive>{core}{fields}</core></archive>", "o.csv": HEADER + GOOD + "".join(BAD.values()) + "ragged,row\n"}
    recipe = with_records(None, name)
    if name.endswith(".zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for part, text in parts.items():
                archive.writestr(part, text)
    else:
        (tmp_path / name).mkdir()
        for part, text in parts.items():
            (tmp_path / name / part).write_text(text)
    run_recipe(recipe, tmp_path / "store", names=["occurrences"])
    stats = Ledger(tmp_path / "store").record("occurrences", "all").stats
    bad = {reason: text.count("\n") for reason, text in BAD.items()} | {"row without the header's number of cells": 1}
    assert stats["rejected"] == bad and stats["by_dataset"]["records"] == [6 + sum(bad.values()), 6]


def test_what_was_refused_stands_in_the_runs_report(with_records, run_recipe, tmp_path):
    """The summary names each reason with its count."""
    ran = run_recipe(with_records(HEADER + GOOD + "".join(BAD.values())), tmp_path / "store", names=["occurrences"])
    assert "26 used of 35 read" in ran.text
    assert all(f"rejected: {reason}" in ran.text for reason in BAD)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is not there; give a Darwin Core occurrence table"),
        ("", "is no delimited UTF-8 table"),
        ("a,b\n1,2\n", "has no column 'scientificName'"),
        (b"scientificName,decimalLatitude,decimalLongitude\n\xe9,1,2\n", "is no delimited UTF-8 table"),
        ("scientificName\n", "has no column 'decimalLatitude'"),
    ],
)
def test_a_table_that_is_none_is_a_typed_error(with_records, run_recipe, tmp_path, text, said):
    """InputError, exit 4, naming the file and the fix."""
    with pytest.raises(TaskFailed, match=said) as error:
        run_recipe(with_records(text), tmp_path / "store", names=["occurrences"])
    assert error.value.exit_code == 4 and "records.csv" in str(error.value)
    assert not (tmp_path / "store" / "occurrences").exists()


def test_virtual_and_real_records_do_not_mix(write_recipe, tmp_path):
    """They name different species; a model of both would learn absences that nobody saw."""
    real = {"kind": "darwin-core", "file": "records.csv"}
    backbone = {"reference": "a.csv", "synonyms": "b.csv"}
    recipe = write_recipe({"occurrences": [{"kind": "virtual-plots", "plots": 5}, real], "backbone": backbone})
    with pytest.raises(ConfigurationError, match="occurrences mix virtual and real records; use one kind"):
        Run.open(recipe)
