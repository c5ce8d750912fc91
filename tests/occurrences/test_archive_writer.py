"""Darwin Core Archives as we write them: opened by python-dwca-reader, of the structure the standards ask, the same bytes, whole or not there."""

from __future__ import annotations

import errno
import xml.etree.ElementTree as ET
import zipfile
from datetime import date
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from dwca.read import DwCAReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from geoplantnet.errors import OccurrenceError, StorageError, UsageError
from geoplantnet.occurrences.archive import (
    LICENSES,
    Coverage,
    DatasetDescription,
    Field,
    Table,
    cleaned,
    eml,
    meta_xml,
    read_meta,
    term_uri,
    write_archive,
)
from geoplantnet.occurrences.archive.layout import DWC, MULTIMEDIA, OCCURRENCE

CORE = Table.of("occurrence.txt", OCCURRENCE, ("occurrenceID", "scientificName", "decimalLatitude", "recordedBy", "license"))
IMAGES = Table.of("multimedia.txt", MULTIMEDIA, ("type", "identifier"))
ABOUT = DatasetDescription(
    title="Plants & <people>", description="Photos.\nVotes.", organization="Ours", license="CC-BY-4.0", published=date(2026, 1, 2)
)
# Structure of the text guide's schema (tdwg_dwc_text.xsd) and of what GBIF's profile 1.3 asks of a data set, in the order it asks it, as RELAX NG.
META = """
<grammar xmlns="http://relaxng.org/ns/structure/1.0" ns="http://rs.tdwg.org/dwc/text/" datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes">
 <start><element name="archive"><attribute name="metadata"/>
  <optional><attribute name="schemaLocation" ns="http://www.w3.org/2001/XMLSchema-instance"/></optional>
  <element name="core"><ref name="file"/><optional><element name="id"><ref name="index"/></element></optional><ref name="fields"/></element>
  <zeroOrMore><element name="extension"><ref name="file"/><element name="coreid"><ref name="index"/></element><ref name="fields"/></element></zeroOrMore>
 </element></start>
 <define name="index"><attribute name="index"><data type="nonNegativeInteger"/></attribute></define>
 <define name="file"><attribute name="rowType"><data type="anyURI"/></attribute><attribute name="encoding"/><attribute name="fieldsTerminatedBy"/>
  <attribute name="linesTerminatedBy"/><attribute name="fieldsEnclosedBy"/><attribute name="ignoreHeaderLines"><data type="integer"/></attribute>
  <element name="files"><oneOrMore><element name="location"><text/></element></oneOrMore></element></define>
 <define name="fields"><oneOrMore><element name="field"><optional><ref name="index"/></optional><attribute name="term"><data type="anyURI"/></attribute>
  <optional><attribute name="default"/></optional></element></oneOrMore></define>
</grammar>"""
EML = """
<grammar xmlns="http://relaxng.org/ns/structure/1.0" datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes">
 <start><element name="eml" ns="https://eml.ecoinformatics.org/eml-2.2.0"><attribute name="packageId" ns=""/><attribute name="system" ns=""/>
  <attribute name="scope" ns=""><value>system</value></attribute><ref name="lang"/>
  <optional><attribute name="schemaLocation" ns="http://www.w3.org/2001/XMLSchema-instance"/></optional>
  <element name="dataset" ns="">
   <zeroOrMore><element name="alternateIdentifier"><text/></element></zeroOrMore>
   <element name="title"><ref name="lang"/><ref name="words"/></element>
   <oneOrMore><element name="creator"><ref name="agent"/></element></oneOrMore>
   <zeroOrMore><element name="metadataProvider"><ref name="agent"/></element></zeroOrMore>
   <element name="pubDate"><data type="date"/></element>
   <optional><element name="language"><ref name="words"/></element></optional>
   <element name="abstract"><oneOrMore><ref name="para"/></oneOrMore></element>
   <zeroOrMore><element name="keywordSet"><oneOrMore><element name="keyword"><ref name="words"/></element></oneOrMore>
    <element name="keywordThesaurus"><ref name="words"/></element></element></zeroOrMore>
   <optional><element name="additionalInfo"><ref name="para"/></element></optional>
   <element name="intellectualRights"><element name="para"><mixed><element name="ulink"><attribute name="url"><data type="anyURI"/></attribute>
    <element name="citetitle"><ref name="words"/></element></element></mixed></element></element>
   <element name="licensed"><element name="licenseName"><ref name="words"/></element><element name="url"><data type="anyURI"/></element>
    <element name="identifier"><ref name="words"/></element></element>
   <optional><element name="distribution"><attribute name="scope"/><element name="online"><element name="url"><attribute name="function"/><data type="anyURI"/></element></element></element></optional>
   <element name="coverage">
    <optional><element name="geographicCoverage"><element name="geographicDescription"><ref name="words"/></element>
     <element name="boundingCoordinates"><element name="westBoundingCoordinate"><data type="decimal"/></element><element name="eastBoundingCoordinate"><data type="decimal"/></element>
      <element name="northBoundingCoordinate"><data type="decimal"/></element><element name="southBoundingCoordinate"><data type="decimal"/></element></element></element></optional>
    <optional><element name="temporalCoverage"><element name="rangeOfDates"><element name="beginDate"><ref name="day"/></element><element name="endDate"><ref name="day"/></element></element></element></optional>
    <element name="taxonomicCoverage"><optional><element name="generalTaxonomicCoverage"><ref name="words"/></element></optional>
     <oneOrMore><element name="taxonomicClassification"><element name="taxonRankName"><text/></element><element name="taxonRankValue"><text/></element></element></oneOrMore></element>
   </element>
   <element name="maintenance"><element name="description"><ref name="para"/></element><element name="maintenanceUpdateFrequency"><value>irregular</value></element></element>
   <oneOrMore><element name="contact"><ref name="agent"/></element></oneOrMore>
   <optional><element name="methods"><oneOrMore><element name="methodStep"><element name="description"><ref name="para"/></element></element></oneOrMore></element></optional>
  </element></element></start>
 <define name="lang"><attribute name="lang" ns="http://www.w3.org/XML/1998/namespace"/></define>
 <define name="words"><data type="string"><param name="pattern">\\s*\\S[\\s\\S]*</param></data></define>
 <define name="para"><element name="para"><text/></element></define>
 <define name="day"><element name="calendarDate"><choice><data type="date"/><data type="gYear"/></choice></element></define>
 <define name="agent"><element name="organizationName"><ref name="words"/></element><optional><element name="electronicMailAddress"><text/></element></optional>
  <optional><element name="onlineUrl"><data type="anyURI"/></element></optional></define>
</grammar>"""


def core(*names: str, **columns: object) -> pd.DataFrame:
    """Core rows with ids r0, r1 ..."""
    ids = [f"r{i}" for i in range(len(names))]
    return pd.DataFrame(
        {"occurrenceID": ids, "scientificName": names, "decimalLatitude": 46.5, "recordedBy": "", "license": "CC0"} | columns, dtype=object
    ).astype({"decimalLatitude": float})


def images(*of: str) -> pd.DataFrame:
    """An image of each of these records."""
    return pd.DataFrame({"coreid": of, "type": "StillImage", "identifier": [f"http://x/{i}" for i in range(len(of))]}, dtype=object)


def write(path, *chunks, about=ABOUT):
    tables = [{CORE.file: rows, IMAGES.file: pictures} for rows, pictures in chunks]
    return write_archive(path, tables, core=CORE, key="occurrenceID", extensions=[IMAGES], metadata=lambda: eml(about, None))


def by_reader(path) -> list[tuple[dict[str, str], list[dict[str, str]]]]:
    """Rows of the core and those of its extensions as python-dwca-reader gives them; nothing orphaned."""
    with DwCAReader(path) as archive:
        assert not any(archive.orphaned_extension_rows().values()) and archive.metadata.find("dataset/title") is not None
        return [(row.data, [more.data for more in row.extensions]) for row in archive]


def test_another_reader_finds_what_was_written(tmp_path):
    """Rows in their order with their extensions, over several chunks; terms by URI; an unknown number is an empty cell."""
    latitudes = np.array([46.5, np.nan, -0.00000001])
    written = write(
        tmp_path / "a.zip", (core("Abies alba", "b", "c", decimalLatitude=latitudes), images("r0", "r2", "r0")), (core(), images())
    )
    found = by_reader(tmp_path / "a.zip")
    assert written.rows == {"occurrence.txt": 3, "multimedia.txt": 3} and written.cells_cleaned == 0
    assert [row[term_uri("scientificName")] for row, _ in found] == ["Abies alba", "b", "c"]
    assert [row[term_uri("decimalLatitude")] for row, _ in found] == ["46.5", "", "0"]
    assert [[more[term_uri("identifier")] for more in images] for _, images in found] == [["http://x/0", "http://x/2"], [], ["http://x/1"]]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=20), min_size=1, max_size=6))
def test_any_text_comes_back(tmp_path, texts):
    """Quotes, backslashes and every letter as they are; tabs and ends of lines as a space; what is no character as U+FFFD; each change counted."""
    written = write(tmp_path / "a.zip", (core(*texts), images()))
    found = [row[term_uri("scientificName")] for row, _ in by_reader(tmp_path / "a.zip")]
    assert found == [cleaned(text) for text in texts]
    assert written.cells_cleaned == sum(cleaned(text) != text for text in texts)
    assert all(cleaned(text) == text for text in found)


def test_text_without_control_characters_is_not_touched():
    """Whatever else it holds; and nothing that ends a line or a cell is left of the rest."""
    assert cleaned('Ça, "quoted" \\t \\ ’ 漢字 \U0001f33f') == 'Ça, "quoted" \\t \\ ’ 漢字 \U0001f33f'
    assert cleaned("a\tb\r\nc\x85d\u2028e\x00\ud800") == "a b c d e \ufffd"


def test_the_same_rows_have_the_same_bytes(tmp_path):
    """However they were cut into chunks of the same order."""
    write(tmp_path / "a.zip", (core("x", "y"), images("r1", "r0")))
    write(tmp_path / "b.zip", (core("x"), images()), (core("x", "y").iloc[1:], images("r1", "r0").iloc[:1]))
    write(tmp_path / "c.zip", (core("x", "y"), images("r1", "r0")))
    read = {
        name: {e: zipfile.ZipFile(tmp_path / name).read(e) for e in ("occurrence.txt", "meta.xml", "eml.xml")}
        for name in ("a.zip", "b.zip")
    }
    assert read["a.zip"] == read["b.zip"]
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "c.zip").read_bytes()


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        ([(core("a"), images()), (core("b"), images())], "1 ids of the core come twice"),
        ([(core("a", occurrenceID=" "), images())], "has no occurrenceID"),
        ([(core("a"), images("r7"))], "names record 'r7'"),
    ],
)
def test_rows_that_belong_to_nothing_are_refused(tmp_path, chunks, words):
    """An id that comes twice, none, an image of no record: a typed error, and what stood there before stands there still."""
    (tmp_path / "a.zip").write_bytes(b"before")
    with pytest.raises(OccurrenceError, match=words):
        write(tmp_path / "a.zip", *chunks)
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"] and (tmp_path / "a.zip").read_bytes() == b"before"


def test_a_full_disk_leaves_nothing(tmp_path):
    """StorageError, no archive, no litter."""
    full = OSError(errno.ENOSPC, "No space left on device")
    with mock.patch("zipfile._ZipWriteFile.write", side_effect=full), pytest.raises(StorageError, match="free space"):
        write(tmp_path / "a.zip", (core("a"), images()))
    assert list(tmp_path.iterdir()) == []


def test_meta_xml_is_of_the_standards_structure_and_read_back():
    """Valid by the grammar, and the same tables again, tabs and defaults too."""
    odd = Table(
        file="o.txt",
        row_type=OCCURRENCE,
        key=2,
        fields=(Field(term=f"{DWC}country", index=None, default="Åland"),),
        quote='"',
        separator=";",
    )
    for table in (CORE, odd):
        text = meta_xml(table, [IMAGES])
        etree.RelaxNG(etree.fromstring(META)).assertValid(etree.fromstring(text))
        assert read_meta(text, "meta.xml") == (table, (IMAGES,))


@pytest.mark.parametrize("license", LICENSES)
@pytest.mark.parametrize(
    "covered",
    [
        None,
        Coverage(west=-5, south=40, east=25.5, north=60, first="2019", last="2024"),
        Coverage(west=1, south=2, east=3, north=4, first="", last=""),
    ],
)
def test_eml_is_of_the_profiles_structure(license, covered):
    """Valid by the grammar, for every licence, with and without what may be missing; the licence is where GBIF looks for it."""
    more = {"email": "a@b.org", "url": "https://x.org/?a=1&b=2", "dataset_id": "10.1/x"} if covered else {}
    about = DatasetDescription(title="T <&> \x07", description="d", organization="Ö", license=license, published=date(2026, 1, 2), **more)
    text = eml(about, covered, methods=["one", "two"], notes=["n"])
    etree.RelaxNG(etree.fromstring(EML)).assertValid(etree.fromstring(text))
    assert ET.fromstring(text).find("dataset/intellectualRights/para/ulink").get("url") == LICENSES[license][1]


@pytest.mark.parametrize(("change", "words"), [({"license": "CC-BY-SA-4.0"}, "none that GBIF takes"), ({"title": " "}, "needs a title")])
def test_a_description_that_gbif_refuses_is_refused(change, words):
    """With the licences it takes, and what is missing."""
    given = {"title": "t", "description": "d", "organization": "o", "license": "CC0-1.0", "published": date(2026, 1, 2)}
    with pytest.raises(UsageError, match=words):
        DatasetDescription(**given | change)


def test_a_name_that_is_no_zip_is_refused(tmp_path):
    """Before anything is written."""
    with pytest.raises(UsageError, match=r"does not end in \.zip"):
        write(tmp_path / "a.tar", (core("a"), images()))
