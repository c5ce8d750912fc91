"""Archives of others: read as their meta.xml says, GBIF's downloads too; what cannot be used is counted; what is no archive is a typed error."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from dwca.read import DwCAReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoplantnet.errors import OccurrenceError
from geoplantnet.occurrences import read_records
from geoplantnet.occurrences.archive import Field, Table, meta_xml, read_archive, reader, term_uri
from geoplantnet.occurrences.archive.layout import DWC, EVENT, GBIF, MULTIMEDIA, OCCURRENCE

TERMS = ("occurrenceID", "scientificName", "decimalLatitude", "decimalLongitude", "eventDate")
ROWS = [["a", "Abies alba", "46.5", "8.1", "2024-05-03"], ["b", "Fagus sylvatica", "46.6", "8.2", "2023"]]
HEAD = '<archive xmlns="http://rs.tdwg.org/dwc/text/">'


def meta(row_type: str = OCCURRENCE, terms=TERMS, attributes: str = "", key: str = '<id index="0"/>', more: str = "", file="o.txt") -> str:
    """A meta.xml by hand."""
    fields = "".join(f'<field index="{i}" term="{term_uri(t)}"/>' for i, t in enumerate(terms))
    core = f'<core rowType="{row_type}" {attributes}><files><location>{file}</location></files>{key}{fields}{more}</core>'
    return f"{HEAD}{core}</archive>"


def archive(path: Path, **files: str | bytes) -> Path:
    """A zip of these; `_` in a name stands for the dot before its suffix."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(".".join(name.rsplit("_", 1)), content)
    return path


def lines(rows=ROWS, separator: str = "\t", end: str = "\n", quoting: int = csv.QUOTE_NONE) -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator, lineterminator=end, quoting=quoting, quotechar='"', escapechar=None).writerows(rows)
    return stream.getvalue()


TABS = 'fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" encoding="UTF-8"'


def names(found) -> list[str]:
    return found.occurrences["scientificName"].tolist()


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        (TABS, lines()),
        (TABS + ' ignoreHeaderLines="2"', "about\n" + lines([list(TERMS), *ROWS])),
        (TABS, lines(end="\r\n")),
        (TABS.replace("\\n", "\\r\\n"), lines(end="\r\n")),
        (TABS.replace("\\n", "\\r"), lines(end="\r")),
        (TABS, b"\xef\xbb\xbf" + lines().encode()),
        (TABS, lines() + "\n"),
        ("", lines(separator=",", quoting=csv.QUOTE_ALL)),
        ('fieldsTerminatedBy=";" fieldsEnclosedBy="\'"', lines(separator=";")),
        (TABS.replace("UTF-8", "ISO-8859-1"), lines().encode("latin-1")),
        (TABS.replace("UTF-8", "UTF-16"), lines().encode("utf-16")),
    ],
    ids=[
        "tabs",
        "two header lines",
        "said LF, has CRLF",
        "CRLF",
        "CR",
        "BOM",
        "empty last line",
        "defaults",
        "semicolons",
        "latin-1",
        "utf-16",
    ],
)
def test_tables_are_read_as_their_description_says(tmp_path, attributes, text):
    """Delimiters, quotes, ends of lines, encodings, header lines and the standard's defaults: always the same two records."""
    found = read_archive(archive(tmp_path / "x.zip", meta_xml=meta(attributes=attributes), o_txt=text), dataset_id="x")
    assert names(found) == ["Abies alba", "Fagus sylvatica"] and found.rejections.empty
    assert found.events["eventID"].tolist() == ["a", "b"] and found.events["month"].tolist()[0] == 5
    assert found.events["decimalLatitude"].tolist() == [46.5, 46.6]


def test_a_folder_a_zip_and_a_zipped_folder_are_read_alike(tmp_path):
    """And as python-dwca-reader reads them."""
    parts = {"meta.xml": meta(attributes=TABS), "o.txt": lines()}
    (tmp_path / "f").mkdir()
    for name, text in parts.items():
        (tmp_path / "f" / name).write_text(text)
    with zipfile.ZipFile(tmp_path / "g.zip", "w") as zipped:
        for name, text in parts.items():
            zipped.writestr(f"top/{name}", text)
    archive(tmp_path / "z.zip", meta_xml=parts["meta.xml"], o_txt=parts["o.txt"])
    for path in ("f", "g.zip", "z.zip"):
        assert names(read_archive(tmp_path / path, dataset_id="x")) == [r[1] for r in ROWS]
    with DwCAReader(str(tmp_path / "z.zip")) as other:
        assert [row.data[term_uri("scientificName")] for row in other] == [r[1] for r in ROWS]


def test_default_values_hold_where_a_cell_is_empty_or_there_is_none(tmp_path):
    """A default without a column is every row's; one with a column fills its gaps; numbers too."""
    rows = [["a", "Abies alba", "46.5", "8.1", ""], ["b", "", "46.6", "8.2", "9"]]
    more = (
        f'<field index="4" term="{DWC}coordinateUncertaintyInMeters" default="250"/><field term="{DWC}year" default="1999"/>'
        f'<field term="{DWC}recordedBy" default=""/>'
    )
    text = meta(attributes=TABS, terms=TERMS[:4], more=more).replace('scientificName"', 'scientificName" default="Poa annua"')
    found = read_archive(archive(tmp_path / "x.zip", meta_xml=text, o_txt=lines(rows)), dataset_id="x")
    assert names(found) == ["Abies alba", "Poa annua"] and found.events["year"].tolist() == [1999, 1999]
    assert found.events["coordinateUncertaintyInMeters"].tolist() == [250, 9]


def test_a_gbif_download_is_read_by_its_core(tmp_path):
    """occurrence.txt counts, verbatim.txt (an extension of occurrences too) and the images do not; absences and what is no wild plant are told apart."""
    terms = (
        "gbifID",
        "occurrenceID",
        "scientificName",
        "decimalLatitude",
        "decimalLongitude",
        "basisOfRecord",
        "occurrenceStatus",
        "degreeOfEstablishment",
    )
    rows = [
        ["1", "", "Abies alba Mill.", "46.5", "8.1", "HUMAN_OBSERVATION", "PRESENT", "", "Abies alba"],
        ["2", "k2", "Picea excelsa Link", "46.6", "8.2", "PRESERVED_SPECIMEN", "ABSENT", "", "Picea abies"],
        ["3", "k3", "Ginkgo biloba L.", "46.6", "8.2", "LIVING_SPECIMEN", "PRESENT", "", "Ginkgo biloba"],
        ["4", "k4", "Ginkgo adiantoides", "46.6", "8.2", "FOSSIL_SPECIMEN", "PRESENT", "", "Ginkgo adiantoides"],
        ["5", "k5", "Rosa rugosa Thunb.", "46.6", "8.2", "HUMAN_OBSERVATION", "PRESENT", "cultivated (category B2)", "Rosa rugosa"],
    ]
    more = f'<field index="{len(terms)}" term="{GBIF}species"/>'
    text = meta(attributes=TABS + ' ignoreHeaderLines="1"', terms=terms, more=more, file="occurrence.txt").replace("</archive>", "")
    other = f'<extension rowType="{{}}" {TABS} ignoreHeaderLines="1"><files><location>{{}}</location></files><coreid index="0"/><field index="1" term="{DWC}scientificName"/></extension>'
    text += other.format(OCCURRENCE, "verbatim.txt") + other.format(MULTIMEDIA, "multimedia.txt") + "</archive>"
    path = archive(
        tmp_path / "gbif.zip",
        meta_xml=text,
        occurrence_txt=lines([[*terms, "species"], *rows]),
        verbatim_txt="gbifID\tscientificName\n1\tx\n",
        multimedia_txt="gbifID\tx\n",
    )
    found = read_archive(path, dataset_id="gbif")
    assert names(found) == ["Abies alba", "Picea abies"] and found.occurrences["verbatimScientificName"].tolist()[0] == "Abies alba Mill."
    assert found.events["eventID"].tolist() == ["1", "k2"] and found.occurrences["occurrenceStatus"].tolist() == ["present", "absent"]
    told = dict(zip(found.rejections["reason"], found.rejections["count"], strict=True))
    assert told == {"living specimen of a collection": 1, "fossil specimen": 1, "cultivated": 1}


def test_gbifs_simple_download_is_read_zipped_and_plain(tmp_path):
    """Named .csv, with tabs, without quotes and meta.xml: as an archive, and as a table; quotes in it are text."""
    terms = ("gbifID", "occurrenceID", "species", "scientificName", "decimalLatitude", "decimalLongitude", "year")
    text = "\t".join(terms) + '\n1\ta\tAbies alba\tAbies alba "Mill.\t46.5\t8.1\t2020\n'
    (tmp_path / "0012.csv").write_text(text)
    for found in (
        read_archive(archive(tmp_path / "d.zip", **{"0012_csv": text}), dataset_id="d"),
        read_records(tmp_path / "0012.csv", dataset_id="d"),
    ):
        assert names(found) == ["Abies alba"] and found.occurrences["verbatimScientificName"].tolist() == ['Abies alba "Mill.']
    plain = archive(tmp_path / "p.zip", o_csv='scientificName,decimalLatitude,decimalLongitude\n"Poa, annua",46.5,8.1\n')
    assert names(read_archive(plain, dataset_id="d")) == ["Poa, annua"]


def events_archive(path: Path, events: list[list[str]], found: list[list[str]]) -> Path:
    core = Table(
        file="event.txt",
        row_type=EVENT,
        key=0,
        fields=tuple(
            Field(term=term_uri(t), index=i + 1)
            for i, t in enumerate(("decimalLatitude", "decimalLongitude", "eventDate", "sampleSizeValue", "sampleSizeUnit"))
        ),
        header_lines=0,
    )
    occurrences = Table(
        file="occurrence.txt",
        row_type=OCCURRENCE,
        key=0,
        fields=tuple(Field(term=term_uri(t), index=i + 1) for i, t in enumerate(("scientificName", "occurrenceStatus"))),
        header_lines=0,
    )
    return archive(path, meta_xml=meta_xml(core, [occurrences]), event_txt=lines(events), occurrence_txt=lines(found))


def test_events_with_occurrences_are_read_as_plots(tmp_path):
    """Place, date and area come from the event; a plot in which nothing grew stays; what names no event is counted; hours are no area."""
    path = events_archive(
        tmp_path / "e.zip",
        [["p1", "46.5", "8.1", "2020-06-01", "0.01", "hectare"], ["p2", "46.6", "8.2", "2020", "2", "hours"], ["p3", "", "", "", "", ""]],
        [["p1", "Abies alba", ""], ["p1", "Poa annua", "absent"], ["p9", "Poa annua", ""], ["p3", "Poa annua", ""]],
    )
    found = read_archive(path, dataset_id="e", sampling="presence-absence")
    assert found.events["eventID"].tolist() == ["p1", "p2"] and found.events["month"].tolist()[0] == 6
    assert found.events["sampleSizeValue"].tolist()[0] == 100 and np.isnan(found.events["sampleSizeValue"].tolist()[1])
    assert list(zip(names(found), found.occurrences["occurrenceStatus"], strict=True)) == [
        ("Abies alba", "present"),
        ("Poa annua", "absent"),
    ]
    told = found.rejections.groupby("reason")["count"].sum().to_dict()
    assert told == {"event not in the event table": 1, "missing coordinates": 2}  # an event and its occurrence: two tables, one row each


def test_rows_that_cannot_be_used_are_counted(tmp_path):
    """Read = kept + refused: too many or too few cells, a datum nobody knows, no place, no name."""
    terms = (*TERMS, "geodeticDatum")
    rows = [
        *([*row, "WGS84"] for row in ROWS),
        ["c", "Poa annua", "46.5", "8.1", "", "local grid 7"],
        ["d", "Poa annua", "46.5", "8.1"],
        ["e", "Poa annua", "46.5", "8.1", "", "", ""],
        ["f", "Poa annua", "north", "8.1", "", ""],
        ["g", "", "46.5", "8.1", "", ""],
    ]
    found = read_archive(archive(tmp_path / "x.zip", meta_xml=meta(attributes=TABS, terms=terms), o_txt=lines(rows)), dataset_id="x")
    rejected = found.rejections[found.rejections["table"] == "occurrences"]
    assert len(found.occurrences) == 2 and rejected["count"].sum() == 5
    assert set(rejected["reason"]) == {reader.DATUM, reader.RAGGED, "missing coordinates", "missing name"}
    assert rejected.set_index("reason")["count"][reader.RAGGED] == 2


def test_another_datum_is_moved_to_wgs84(tmp_path):
    """ED50 in Switzerland lies some 150 m off; spellings of WGS 84, and none, stay."""
    rows = [
        [str(i), f"Species name{chr(97 + i)}", "46.5", "8.1", "", d]
        for i, d in enumerate(["EPSG:4230", "WGS 84", "", "World Geodetic System 1984", "EPSG:4326"])
    ]
    path = archive(tmp_path / "x.zip", meta_xml=meta(attributes=TABS, terms=(*TERMS, "geodeticDatum")), o_txt=lines(rows))
    events = read_archive(path, dataset_id="x").events
    moved = np.hypot(events["x"] - events["x"].iloc[1], events["y"] - events["y"].iloc[1]).to_numpy()
    assert 50 < moved[0] < 250 and (moved[1:] == 0).all()


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=9), st.sampled_from(["Poa annua", "x"])),
        max_size=7,
    )
)
def test_reading_is_what_python_dwca_reader_reads(tmp_path, cells):
    """Any text between tabs or quotes, row by row; and nothing is lost: read = kept + counted."""
    rows = [[f"i{i}", name, "46.5", "8.1", "2020", text] for i, (text, name) in enumerate(cells)]
    for attributes, text in (
        (TABS, "".join("\t".join(cell.replace("\t", " ") for cell in row) + "\n" for row in rows)),
        ("encoding='UTF-8' fieldsTerminatedBy=',' fieldsEnclosedBy='&quot;'", lines(rows, ",", "\n", csv.QUOTE_ALL)),
    ):
        path = archive(tmp_path / "x.zip", meta_xml=meta(attributes=attributes, terms=(*TERMS, "recordedBy")), o_txt=text)
        found = read_archive(path, dataset_id="x")
        with DwCAReader(str(path)) as other:
            wanted = [(row.data[term_uri("occurrenceID")], row.data[term_uri("recordedBy")].strip()) for row in other]
        assert list(zip(found.events["eventID"], found.events["recordedBy"], strict=True)) == wanted
        assert len(found.occurrences) + found.rejections["count"].sum() == len(rows)


def symlinked(path: Path) -> Path:
    entry = zipfile.ZipInfo("o.txt")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("meta.xml", meta(attributes=TABS))
        zipped.writestr(entry, "/etc/passwd")
    return path


def twice(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as zipped, pytest.warns(UserWarning, match="Duplicate"):
        for text in ("a", "b"):
            zipped.writestr("meta.xml", text)
    return path


def flipped(path: Path) -> Path:
    archive(path, meta_xml=meta(attributes=TABS), o_txt=lines() * 400)
    data = bytearray(path.read_bytes())
    at = data.index(b"o.txt") + 60
    data[at] ^= 255
    path.write_bytes(data)
    return path


BAD = {
    "path up": (lambda p: archive(p, **{"../evil_txt": "x"}), "leads out of it"),
    "absolute path": (lambda p: archive(p, **{"/etc/evil_txt": "x"}), "leads out of it"),
    "drive": (lambda p: archive(p, **{"C:\\evil_txt": "x"}), "leads out of it"),
    "link": (symlinked, "a link"),
    "name twice": (twice, "2 times"),
    "flipped byte": (flipped, "cannot be read"),
    "bomb": (lambda p: archive(p, meta_xml=meta(), o_txt=b"0" * 3_000_000), "no table does that"),
    "endless line": (lambda p: archive(p, meta_xml=meta(attributes=TABS), o_txt=b"0" * 20_000_000), "line of more than"),
    "location outside": (lambda p: archive(p, meta_xml=meta(file="../../etc/passwd"), o_txt="x"), "holds no '../../etc/passwd'"),
    "entities": (lambda p: archive(p, meta_xml='<!DOCTYPE a [<!ENTITY x "y">]><archive/>'), "document type"),
    "no XML": (lambda p: archive(p, meta_xml="<archive"), "cannot be read"),
    "no core": (lambda p: archive(p, meta_xml=HEAD + "</archive>"), "describes 0 core tables"),
    "core of taxa": (lambda p: archive(p, meta_xml=meta(row_type=f"{DWC}Taxon"), o_txt=lines()), "core of Taxon"),
    "events alone": (lambda p: archive(p, meta_xml=meta(row_type=EVENT), o_txt=lines()), "0 tables of occurrences"),
    "two tables": (lambda p: archive(p, a_csv="x", b_csv="y"), "no meta.xml, and 2 tables"),
    "no place": (lambda p: archive(p, meta_xml=meta(terms=TERMS[:2]), o_txt="a,b\n"), "no column decimalLatitude"),
    "no name": (lambda p: archive(p, meta_xml=meta(terms=("occurrenceID", "eventDate")), o_txt="a,b\n"), "no column scientificName"),
    "no such encoding": (lambda p: archive(p, meta_xml=meta(attributes='encoding="klingon"'), o_txt=lines()), "name its encoding"),
    "another encoding": (lambda p: archive(p, meta_xml=meta(attributes=TABS), o_txt=b"a\tAbies \xff\t1\t2\t\n"), "not in UTF-8"),
    "open quote": (lambda p: archive(p, meta_xml=meta(), o_txt='a,"Abies,1,2,\n'), "close quotes"),
    "negative column": (lambda p: archive(p, meta_xml=meta().replace('index="1"', 'index="-1"'), o_txt=lines()), "cannot be read"),
    "no zip": (lambda p: p.write_bytes(b"PK\x03\x04 no") and p, "is no zip"),
    "nothing": (lambda p: p, "is not there"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_archive_is_refused(tmp_path, monkeypatch, kind):
    """With the file, what is wrong, and what to do; nothing is written anywhere."""
    monkeypatch.setattr(reader, "_SMALL", 2_000_000 if kind == "bomb" else reader._SMALL)
    make, words = BAD[kind]
    path = make(tmp_path / "bad.zip")
    with pytest.raises(OccurrenceError, match=words):
        read_archive(path, dataset_id="x")
    assert {file.name for file in tmp_path.iterdir()} <= {"bad.zip"}


def test_a_folder_that_names_files_outside_is_refused(tmp_path):
    """By a path, and by a link."""
    (tmp_path / "secret.txt").write_text(lines())
    (tmp_path / "f").mkdir()
    for name in ("../secret.txt", "o.txt"):
        (tmp_path / "f" / "meta.xml").write_text(meta(attributes=TABS, file=name))
        (tmp_path / "f" / "o.txt").unlink(missing_ok=True)
        (tmp_path / "f" / "o.txt").symlink_to(tmp_path / "secret.txt")
        with pytest.raises(OccurrenceError, match="is outside"):
            read_archive(tmp_path / "f", dataset_id="x")


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path):
    """By the sum of what its files say of themselves."""
    path = archive(tmp_path / "x.zip", meta_xml=meta(attributes=TABS), o_txt=lines() * 100)
    with pytest.raises(OccurrenceError, match="more than 1000"):
        read_archive(path, dataset_id="x", most_bytes=1000)


def test_an_archive_of_nothing_is_an_empty_set(tmp_path):
    """Header alone: no events, no rejections."""
    text = meta(attributes=TABS + ' ignoreHeaderLines="1"')
    found = read_archive(archive(tmp_path / "x.zip", meta_xml=text, o_txt="\t".join(TERMS) + "\n"), dataset_id="x")
    assert len(found.events) == len(found.occurrences) == len(found.rejections) == 0


def test_chunks_do_not_show(tmp_path):
    """Read two rows at a time or all at once: the same set."""
    rows = [[f"r{i}", f"Poa annua{'xyz'[i % 3]}", f"{46 + i / 100}", "8.1", "2020"] for i in range(7)]
    path = archive(tmp_path / "x.zip", meta_xml=meta(attributes=TABS), o_txt=lines(rows))
    whole = read_archive(path, dataset_id="x")
    with mock.patch.object(reader, "_CHUNK", 2):
        parts = read_archive(path, dataset_id="x")
    pd.testing.assert_frame_equal(parts.events, whole.events)
    pd.testing.assert_frame_equal(parts.occurrences, whole.occurrences)
