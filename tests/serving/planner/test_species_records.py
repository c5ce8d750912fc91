"""Records of a species as the page asks for them: counts that add up, names with their sources, and a reason for everything that is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from starlette.testclient import TestClient

from geoplantnet.catalog import check, open_catalog
from geoplantnet.catalog.species_records import FILE, SPECIES_RECORDS, SpeciesRecords, write_species_records
from geoplantnet.errors import InputError, IntegrityError
from geoplantnet.serving import create_app
from geoplantnet.serving.settings import ServerSettings
from tests.serving import epochs


def told(client: TestClient, taxon: str, query: str = "") -> dict:
    answer = client.get(f"/api/species/{taxon}/records{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_counts_are_told_whole(planner: TestClient) -> None:
    """Every facet adds up to the number of records, with what is in no class; classes of one altitude are one, wherever it comes from."""
    found = told(planner, "v001")
    assert found["records"] == 1_040 and found["sampling"] == [
        {"basis": "presence-absence", "count": 40},
        {"basis": "presence-only", "count": 1_000},
    ]
    assert found["months"] == {"counts": [0, 0, 0, 2, 38, 900, 60, 0, 0, 0, 0, 0], "unknown": 40}
    years = found["years"]
    assert (years["first"], years["last"], years["unknown"]) == (1998, 2023, 0)
    assert sum(one["count"] for one in years["classes"]) == 1_040
    assert found["altitudes"] == {
        "classes": [{"from": 800, "to": 900, "count": 500}, {"from": 1_100, "to": 1_200, "count": 500}],
        "recorded": 30,
        "relief": 970,
        "imprecise": 25,
        "unknown": 10,
        "withheld": 5,
    }
    assert [one["datasetID"] for one in found["datasets"]] == ["plots", "walks"]
    assert found["missing"] == [] and found["licence"] == "CC-BY-4.0" and found["generalised"] is None
    assert "altitude of 5 records is not told" in found["notes"][-1]


def test_names_come_with_language_and_source(planner: TestClient) -> None:
    """All of them, as they are written."""
    names = told(planner, "v001")["names"]
    assert [(one["language"], one["name"]) for one in names] == [
        ("en", "silver fir"),
        ("en", "European silver fir"),
        ("fr", "sapin blanc"),
        ("fr", "sapin <i>pectiné</i>"),
        ("de", "Weißtanne"),
    ]
    assert names[1]["source"] == "Another flora"


def test_what_is_missing_is_said_with_its_reason(planner: TestClient) -> None:
    """Names, years, months, altitudes that nobody noted, and a species without records; in the reader's language."""
    some, none = told(planner, "v002"), told(planner, "v003")
    assert some["records"] == 3 and some["years"] is some["months"] is None and some["altitudes"]["imprecise"] == 3
    assert [(one["what"], one["why"]) for one in some["missing"]] == [
        (what, "unknown") for what in ("names", "years", "months", "altitudes")
    ]
    assert none["records"] == 0 and [one["what"] for one in none["missing"]] == ["names", "records"]
    assert "n'est parmi ceux" in told(planner, "v003", "?lang=fr-CH")["missing"][1]["text"]


def test_an_unknown_species_is_none(planner: TestClient) -> None:
    """404 as a problem document, with the nearest spelling."""
    answer = planner.get("/api/species/v0001/records")
    assert answer.status_code == 404 and "Did you mean 'v001'" in answer.json()["detail"]


def test_an_unchanged_answer_is_not_sent_again(planner: TestClient) -> None:
    """It has an ETag, and another one in another language."""
    first = planner.get("/api/species/v001/records")
    again = planner.get("/api/species/v001/records", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert planner.get("/api/species/v001/records?lang=fr").headers["ETag"] != first.headers["ETag"]


def test_a_catalog_without_the_file_says_so(epochs_store: Path) -> None:
    """A map published before there was one: the name of the list, and that nothing was published."""
    with TestClient(create_app(epochs_store / "scenarios" / "warmer")) as client:
        found = told(client, "v001")
    assert [one["name"] for one in found["names"]] == ["silver fir"] and found["records"] is None
    assert [(one["what"], one["why"]) for one in found["missing"]] == [("records", "not-published")]


def test_the_file_is_an_asset_of_the_collection(epochs_store: Path, planner: TestClient) -> None:
    """The catalog vouches for its bytes, STAC hands it out, and pandas reads it."""
    catalog = open_catalog(epochs_store)
    assert catalog.assets == {SPECIES_RECORDS: epochs_store.resolve() / FILE} and check(epochs_store) == []
    collection = json.loads((epochs_store / "tiles" / "collection.json").read_text())
    assert collection["assets"][SPECIES_RECORDS]["href"] == "../species/records.parquet"
    answer = planner.get(f"/stac/{FILE.as_posix()}")
    assert answer.status_code == 200 and answer.content == (epochs_store / FILE).read_bytes()
    table = pd.read_parquet(epochs_store / FILE)
    assert table["taxonID"].tolist() == ["v001", "v002", "v003"] and len(table["names"][0]) == 5


def test_private_species_have_no_file_and_no_records(epochs_store: Path) -> None:
    """Who may not see a species gets neither its records nor the file that they lie in."""
    with TestClient(create_app(epochs_store, settings=ServerSettings(private_layers=("species.v001",)))) as client:
        assert client.get("/api/species/v002/records").status_code == 200
        assert client.get("/api/species/v001/records").status_code == 404
        assert client.get(f"/stac/{FILE.as_posix()}").status_code == 404


def test_the_same_content_is_the_same_bytes(tmp_path: Path) -> None:
    """Written twice it is one file; a species that is not told is refused."""
    one, two = (epochs.species_records(tmp_path / name) for name in ("one", "two"))
    assert one.sha256 == two.sha256
    counts = pd.DataFrame(epochs.COUNTED, columns=["taxonID", "facet", "label", "lower", "upper", "untold", "count"])
    with pytest.raises(InputError, match="counts of 'v001' are to be published, which is not among the 2"):
        write_species_records(tmp_path, epochs.SPECIES.taxa[1:], counts, epochs.NAMES, {})


def test_damage_is_found(tmp_path: Path) -> None:
    """No flipped bit of the file is read as other numbers: it is an error, or the same content."""
    product = epochs.species_records(tmp_path)
    content, whole = product.path.read_bytes(), SpeciesRecords(product.path)
    before = [whole.of(taxon.taxon_id) for taxon in epochs.SPECIES]
    found = 0
    for position in range(0, len(content), 37):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        product.path.write_bytes(damaged)
        try:
            opened = SpeciesRecords(product.path)
            assert [opened.of(taxon.taxon_id) for taxon in epochs.SPECIES] == before, position
        except IntegrityError:
            found += 1
    assert found > 10
