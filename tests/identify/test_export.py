"""What leaves the store: nothing unvalidated, of several species, no plant, or of a sensitive species nearer than its square; and it comes back."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dwca.read import DwCAReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from geoplantnet.errors import InputError, UsageError
from geoplantnet.identify import export as module
from geoplantnet.identify.export import CORE, HUMAN, MACHINE, Export, ExportRules, write_darwin_core
from geoplantnet.identify.protection import Protection
from geoplantnet.occurrences.archive import DatasetDescription, cleaned, read_archive, short_name
from geoplantnet.taxonomy.sensitive import SensitiveRule

sys.path.insert(0, str(Path(__file__).parent))
from export_records import TAXA, any_record, records

RULES = ExportRules(license="http://l", rights_holder="The publisher", dataset_name="D", images="https://img.org/{sha256}.jpg")
ABOUT = DatasetDescription(title="T", description="d", organization="o", license="CC-BY-4.0", published=date(2026, 1, 2))
NAMES = {name.lower().replace(" ", "-"): name for name in TAXA}
SENSITIVE = Protection(
    rules=tuple(
        SensitiveRule(taxon=taxon, region="", category=category, reason="r", review=None, line=1)
        for taxon, category in (("Cypripedium calceolus", "2"), ("Ophrys apifera", "SINP1"), ("Trichomanes speciosum", "1"))
    ),
    secret=b"0123456789abcdef",
)
LATTICE = {"Cypripedium calceolus": 12_500, "Ophrys apifera subsp. trollii": 5_000}
MODEL = {"ai_model": "net 1.0", "ai_taxonID": "abies-alba", "ai_score": 0.97, "verification": "model above 0.95"}


def exported(*changes, rules=RULES, protection=None, names=NAMES, chunk=1000) -> tuple[dict[str, pd.DataFrame], Export]:
    """All chunks of an export, joined by file."""
    table = records(*({"occurrenceID": f"o{i}"} | change for i, change in enumerate(changes)))
    export = Export((table.iloc[i : i + chunk] for i in range(0, len(table), chunk)), rules, protection=protection, names=names)
    chunks = list(export)
    return {file: pd.concat([c[file] for c in chunks], ignore_index=True) for file in (chunks[0] if chunks else {})}, export


def core(*changes, **more) -> pd.DataFrame:
    return exported(*changes, **more)[0][CORE.file]


def read(path) -> list[dict[str, str]]:
    """Core rows by python-dwca-reader, by short names, with the rows of extensions under `more`; no orphans."""
    with DwCAReader(str(path)) as archive:
        assert not any(archive.orphaned_extension_rows().values())
        return [
            {short_name(t): v for t, v in row.data.items()}
            | {"more": [{short_name(t): v for t, v in e.data.items()} | {"rowtype": short_name(e.rowtype)} for e in row.extensions]}
            for row in archive
        ]


def test_a_record_of_people_and_one_of_the_model_are_told_apart():
    """basisOfRecord, who identified, by what, with which score; people's votes win where a label has both."""
    rows = core({}, {"valid": False, **MODEL}, {**MODEL, "verification": "validated by people", "ai_taxonID": "fagus-sylvatica"})
    assert rows["basisOfRecord"].tolist() == [HUMAN, MACHINE, HUMAN]
    assert rows["identifiedBy"].tolist() == ["Zoé Müller | Jan", "net 1.0", "Zoé Müller | Jan"]
    assert rows["identificationVerificationStatus"].tolist() == ["validated by people", "model above 0.95", "validated by people"]
    told = [json.loads(text) for text in rows["dynamicProperties"]]
    assert told[0] == {"agreement": 0.9, "confidence": 3.2, "determinations": 3}
    assert told[1]["modelScore"] == 0.97 and told[1]["modelAgrees"] is True and told[2]["modelAgrees"] is False


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"valid": False}, module.UNVALIDATED),
        ({"valid": True, "determinations": 0.0, "identifiedBy": ""}, module.NOT_THE_MODELS),
        ({"valid": False, **MODEL, "ai_taxonID": "fagus-sylvatica"}, module.NOT_THE_MODELS),
        ({"valid": False, **MODEL, "ai_score": 0.94}, module.NOT_THE_MODELS),
        ({"valid": False, **MODEL, "ai_model": ""}, module.NOT_THE_MODELS),
        ({"valid": False, **MODEL, "verification": "validated by people"}, module.UNVALIDATED),
        ({"malformed": 0.5}, module.MANY_SPECIES),
        ({"malformed": np.nan}, module.MANY_SPECIES),
        ({"not_a_plant": 0.5}, module.NO_PLANT),
        ({"scientificName": " "}, module.NO_NAME),
        ({"decimalLatitude": np.nan}, module.NO_PLACE),
        ({"decimalLatitude": 91.0}, module.NO_PLACE),
        ({"taxon": "Trichomanes speciosum"}, module.WITHHELD_SPECIES),
        ({"taxon": "Ophrys apifera", "decimalLongitude": 151.0, "decimalLatitude": -33.0}, module.UNTOLD),
    ],
)
def test_what_must_not_leave_is_refused_and_counted(change, reason):
    """Under one reason each, though quality let it pass; the record beside it leaves."""
    tables, export = exported({}, change, protection=SENSITIVE)
    assert tables[CORE.file]["occurrenceID"].tolist() == ["o0"]
    assert export.report.refused == {reason: 1} and export.report.read == 2 and reason in module.REASONS


def test_licence_and_holder_stand_in_where_a_record_names_none():
    """A record's own come first; cultivated plants are told as such."""
    rows = core({"license": "", "rightsHolder": ""}, {"cultivated": 0.5})
    assert rows["license"].tolist() == ["http://l", "http://creativecommons.org/licenses/by/4.0/legalcode"]
    assert rows["rightsHolder"].tolist() == ["The publisher", "Zoé Müller"] and rows["degreeOfEstablishment"].tolist() == ["", "cultivated"]


def test_images_and_determinations_are_rows_of_their_own():
    """An image a row with its address, organ, licence; the label, the author's other word, the model's, in this order; none of an image that is not published."""
    tables, _ = exported(
        {"verbatimScientificName": "Picea sp.", **MODEL, "ai_taxonID": "fagus-sylvatica", "verification": ""}, {"images": ""}
    )
    images, said = tables["multimedia.txt"], tables["identification.txt"]
    assert images["identifier"].tolist() == ["https://img.org/aa11.jpg", "https://img.org/bb22.jpg"] and set(images["coreid"]) == {"o0"}
    assert images["description"].tolist() == ["leaf", "fruit"] and set(images["format"]) == {"image/jpeg"}
    assert tables[CORE.file]["associatedMedia"].tolist() == ["https://img.org/aa11.jpg | https://img.org/bb22.jpg", ""]
    of_first = said[said["coreid"] == "o0"]
    assert of_first["scientificName"].tolist() == ["Abies alba", "Picea sp.", "Fagus sylvatica"]
    assert of_first["identifiedBy"].tolist() == ["Zoé Müller | Jan", "Zoé Müller", "net 1.0"]
    assert len(said[said["coreid"] == "o1"]) == 1
    without = exported({}, rules=ExportRules(license="l", rights_holder="p", dataset_name="D"))[0]
    assert without["multimedia.txt"].empty and without[CORE.file]["associatedMedia"].tolist() == [""]


def test_a_sensitive_record_keeps_nothing_that_ties_it():
    """Taxon, square, month, licence and the model's word stay; every other cell is that of any such record."""
    table, export = exported(
        {"taxon": "Cypripedium calceolus", **MODEL, "ai_taxonID": "cypripedium-calceolus", "verification": ""}, protection=SENSITIVE
    )
    (row,) = table[CORE.file].to_dict("records")
    text = json.dumps(row, ensure_ascii=False)
    for secret in ("o0", "Zoé", "Jan", "2024-05-03", "aa11", "app", "46.51", "8.12", "3.2"):
        assert secret not in text, secret
    assert row["eventDate"] == "2024-05" and row["rightsHolder"] == "The publisher" and row["occurrenceID"] == SENSITIVE.pseudonym("o0")
    assert (
        "12.5 km" in row["dataGeneralizations"]
        and "withheld" in row["informationWithheld"]
        and row["coordinateUncertaintyInMeters"] >= 8_800
    )
    assert table["multimedia.txt"].empty and table["identification.txt"]["identifiedBy"].tolist() == [""]
    assert export.report.generalised == 1


def test_a_common_species_record_does_not_tell_of_a_sensitive_one():
    """At its precise place neither the model's nor the author's other word may name one: left out, and counted."""
    change = {**MODEL, "ai_taxonID": "cypripedium-calceolus", "verification": "", "verbatimScientificName": "near Cypripedium calceolus?"}
    tables, export = exported(change, protection=SENSITIVE)
    assert not any("ypripedium" in table.to_csv() for table in tables.values()) and export.report.unsaid == 2
    unnamed = exported(change | {"verbatimScientificName": ""}, protection=SENSITIVE, names={})[0]
    assert not any("ypripedium" in table.to_csv() for table in unnamed.values())


def test_rules_that_protect_nobody_are_reported():
    """Known from the checklist as well as from records."""
    _, export = exported({}, protection=SENSITIVE, names={})
    assert set(export.report.unmatched) == {"Cypripedium calceolus", "Ophrys apifera", "Trichomanes speciosum"}
    _, export = exported({"taxon": "Ophrys apifera"}, protection=SENSITIVE, names={"x": "Cypripedium calceolus"})
    assert set(export.report.unmatched) == {"Trichomanes speciosum"}


TO_GRID = Transformer.from_crs("EPSG:4326", "EPSG:3035", always_xy=True)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(any_record(), max_size=12), st.integers(1, 5))
def test_nothing_leaves_that_must_not(tmp_path, drawn, chunk):
    """Of any records, in the archive as another reader opens it: only validated, one species, a plant, sensitive ones in squares; read = written + refused."""
    drawn = [{"occurrenceID": f"o{i}"} | record for i, record in enumerate(drawn)]
    table = records(*drawn) if drawn else records({}).iloc[:0]
    export = Export((table.iloc[i : i + chunk] for i in range(0, len(table), chunk)), RULES, protection=SENSITIVE, names=NAMES)
    write_darwin_core(tmp_path / "a.zip", export, ABOUT)
    rows, origin = read(tmp_path / "a.zip"), table.set_index("occurrenceID")
    assert (
        export.report.read
        == len(table)
        == len(rows) + sum(export.report.refused.values())
        == sum(export.report.written.values()) + export.report.refused.total()
    )
    real = {SENSITIVE.pseudonym(own): own for own in origin.index} | {own: own for own in origin.index}
    for row in rows:
        record = origin.loc[real[row["occurrenceID"]]]
        assert row["scientificName"] == record["scientificName"] != "Trichomanes speciosum"
        voted = record["determinations"] > 0 or record["identifiedBy"] != ""
        by_people = record["valid"] and voted and not record.get("verification", "").startswith("model")
        assert by_people or (record["ai_score"] >= 0.95 and record["ai_taxonID"] == record["taxonID"])
        assert row["basisOfRecord"] == (HUMAN if by_people else MACHINE)
        assert record["malformed"] < 0.5 and record["not_a_plant"] < 0.5
        assert row["degreeOfEstablishment"] == ("cultivated" if record["cultivated"] >= 0.5 else "")
        if lattice := LATTICE.get(row["scientificName"]):
            assert row["occurrenceID"] != record.name and len(row["eventDate"]) <= 7 and row["dataGeneralizations"]
            east, north = TO_GRID.transform(float(row["decimalLongitude"]), float(row["decimalLatitude"]))
            for axis in (east, north):  # in the middle of a square of whole ones of the lattice, to the centimetres that are written
                assert min((axis / lattice * 2) % 1, 1 - (axis / lattice * 2) % 1) * lattice < 1
            assert float(row["coordinateUncertaintyInMeters"]) >= lattice * 0.68
            assert not row["recordedBy"] and not row["associatedMedia"] and [e["rowtype"] for e in row["more"]] == ["Identification"]
        else:
            assert (
                row["decimalLatitude"] == f"{record['decimalLatitude']:.7f}".rstrip("0").rstrip(".") or float(row["decimalLatitude"]) == 0
            )
            assert row["recordedBy"].strip() == cleaned(record["recordedBy"]).strip() and row["eventDate"] == record["eventDate"]
            others = [e["scientificName"] for e in row["more"] if e["rowtype"] == "Identification"]
            assert not any(
                name in text for text in (*others, row["verbatimIdentification"]) for name in ("Cypripedium", "Ophrys", "Trichomanes")
            )


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_two_worlds_that_differ_in_what_is_protected_give_the_same_bytes(tmp_path, data):
    """Sensitive plants elsewhere in their squares, seen by others on other days of the month, in another order among themselves: not a byte differs."""
    drawn = data.draw(st.lists(any_record(), min_size=1, max_size=8))
    worlds = []
    for world in range(2):
        rows = []
        for i, record in enumerate(drawn):
            row = {"occurrenceID": f"o{i}"} | record
            if (
                (lattice := LATTICE.get(record["taxon"]))
                and np.isfinite(record["decimalLatitude"])
                and 40 <= record["decimalLatitude"] <= 60
                and -5 <= record["decimalLongitude"] <= 25
            ):
                east, north = TO_GRID.transform(record["decimalLongitude"], record["decimalLatitude"])
                share = [data.draw(st.floats(0.01, 0.99), label=f"{world}") for _ in range(2)]
                x, y = (np.floor(axis / lattice) * lattice + s * lattice for axis, s in zip((east, north), share, strict=True))
                row["decimalLongitude"], row["decimalLatitude"] = TO_GRID.transform(x, y, direction="INVERSE")
                row |= {
                    "eventDate": f"2024-05-{data.draw(st.integers(10, 28))}",
                    "recordedBy": f"w{world}",
                    "identifiedBy": f"w{world}",
                    "images": f"{world}",
                }
                row |= {
                    "rightsHolder": f"w{world}",
                    "datasetID": f"w{world}",
                    "confidence": 3.0 + world,
                    "verbatimScientificName": f"w{world}",
                }
            rows.append(row)
        write_darwin_core(tmp_path / f"{world}.zip", Export([records(*rows)], RULES, protection=SENSITIVE, names=NAMES), ABOUT)
        worlds.append((tmp_path / f"{world}.zip").read_bytes())
    assert worlds[0] == worlds[1]


def test_what_was_written_is_read_again(tmp_path):
    """By our own reader: the same species, places, dates and observers; cultivated plants and absences apart."""
    table = records(
        *({"occurrenceID": f"o{i}", "decimalLatitude": 46 + i / 7, "taxon": TAXA[i % 2]} for i in range(20)),
        {"occurrenceID": "last", "cultivated": 1.0},
    )
    written = write_darwin_core(tmp_path / "a.zip", Export([table], RULES), ABOUT)
    found = read_archive(tmp_path / "a.zip", dataset_id="a")
    assert written.rows[CORE.file] == 21 and found.events["eventID"].tolist() == [f"o{i}" for i in range(20)]
    assert found.events["decimalLatitude"].tolist() == [float(f"{46 + i / 7:.7f}") for i in range(20)]
    assert found.occurrences["scientificName"].tolist() == [TAXA[i % 2] for i in range(20)] and set(found.events["month"]) == {5}
    assert found.rejections["reason"].tolist() == ["cultivated"] and set(found.events["recordedBy"]) == {"Zoé Müller"}


def test_chunks_do_not_show(tmp_path):
    """One record at a time or all at once: the same tables, the sensitive ones last."""
    changes = [{"taxon": TAXA[i % 3]} for i in range(12)]
    one, other = (exported(*changes, protection=SENSITIVE, chunk=chunk)[0] for chunk in (1, 100))
    for file in one:
        pd.testing.assert_frame_equal(one[file], other[file], check_dtype=False)
    assert one[CORE.file]["scientificName"].tolist()[-4:] == ["Cypripedium calceolus"] * 4


def test_tables_that_are_no_records_are_refused(tmp_path):
    """InputError names the column; nothing is written."""
    with pytest.raises(InputError, match="no column 'taxonID'"):
        write_darwin_core(tmp_path / "a.zip", Export([records({}).drop(columns="taxonID")], RULES), ABOUT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"images": "http://x/all.jpg"}, {"most_doubt": 0.0}, {"ai_score": 1.5}])
def test_rules_that_cannot_be_meant_are_refused(change):
    """An address of images without their name, shares outside 0 to 1."""
    with pytest.raises(UsageError):
        ExportRules(**{"license": "l", "rights_holder": "r", "dataset_name": "d"} | change)
