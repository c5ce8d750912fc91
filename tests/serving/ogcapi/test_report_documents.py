"""The report of an area as documents: they say what its JSON says, whatever a name holds, and no script of theirs ever runs."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import shutil
import string
import subprocess
import time
from datetime import date

import openpyxl
import pytest
import shapely
from lxml import etree
from PIL import Image

from geoplantnet.serving.report import (
    FORMATS,
    HTML,
    PDF,
    XLSX,
    Picture,
    Words,
    content,
    csv_of,
    filename,
    geojson_of,
    html_of,
    pdf_of,
    xlsx_of,
)
from geoplantnet.serving.report.html import POLICY, STYLE
from geoplantnet.serving.report.tables import COLUMNS
from geoplantnet.serving.report.words import _TEXTS, clean

AREA = {"type": "Polygon", "coordinates": [[[9.60, 46.02], [9.68, 46.02], [9.70, 46.05], [9.62, 46.06], [9.60, 46.02]]]}
DAY = date(2026, 11, 22)
HOSTILE = (
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "\"quoted\", 'both' & more",
    "\u202egnp.exe",
    "a\x00b\x1bc",
    "+1",
    "-2",
    "@SUM(A1)",
    "\tx",
)
LETTERS = "Forêt d’Œuvre – façade à l’été × 2 ≥ 1"


def species(id: str, name: str, coverage: float, **more: object) -> dict:
    known = dict.fromkeys(COLUMNS) | {"taxonID": id, "scientificName": name, "coverage": coverage, "cells": round(1000 * coverage, 6)}
    return known | {"tree": False, "invasive": None, "directive": True, "probability": round(coverage / 2, 9)} | more


def report_of(rows: list[dict], name: str | None = LETTERS) -> dict:
    group = {"count": 1, "unknown": 2, "expected": 0.25, "species": [rows[0]["taxonID"]]}
    return {
        "notice": "Invented.",
        "header": "Predicted, not observed",
        "area": {
            "name": name, "km2": 1234.5, "mapped_km2": 10.0, "cells": 4000.0, "tiles": 1, "vertices": 5, "sha256": "ab" * 32,
            "bounds": [9.6, 46.0, 9.7, 46.1], "partial": True,
        },
        "epoch": {"name": "today", "title": "Plants of the test", "start": "2017-01-01T00:00:00Z", "end": "2021-12-31T00:00:00Z"},
        "version": {"catalog": "cd" * 32, "species_list": "ef" * 32, "software": "0.1.0", "model": None},
        "licence": "CC-BY-4.0", "min_coverage": 0, "count": len(rows), "withheld": 1, "generalised": 1, "members": 3,
        "groups": dict.fromkeys(("protected", "invasive", "threatened", "narrow_ranged", "trees"), group),
        "habitats": [{"label": "Woodland", "value": 1, "share": 0.75}, {"label": "Grassland", "value": 2, "share": 0.25}],
        "indicators": [{"layer": "richness", "title": "Species richness", "family": "Ecosystem", "unit": "species", "cells": 4000.0, "mean": 2.5}],
        "species": rows,
    }  # fmt: skip


ROWS = [
    species("abies-alba", "Abies alba", 0.605, low=0.5, high=0.7, iucn="LC", vernacularName="sapin pectiné", tree=True, narrowRanged=False),
    species("gentiana-lutea", "Gentiana lutea", 0.2, low=0.1, high=0.3, iucn="VU", generalised=10_000),
    *(species(f"hostile-{k}", name, round(0.1 / (k + 1), 9), vernacularName=name) for k, name in enumerate(HOSTILE)),
]
REPORT = report_of(ROWS)
BOTH = REPORT | {"compare": report_of([ROWS[0] | {"coverage": 0.3}, species("only-b", "Betula pendula", 0.9)], "B side")}


def picture() -> Picture:
    out = io.BytesIO()
    Image.new("RGB", (90, 64), "green").save(out, "PNG")
    return Picture(layer="richness", title="Species richness", frame="9 × 6 km, EPSG:3035", map=out.getvalue(), legend=out.getvalue())


def page_of(report: dict, lang: str = "en", link: str = "") -> bytes:
    words, sides = Words(lang=lang), 2 if "compare" in report else 1
    return html_of(content(report, [[picture()]] * sides, words, made=DAY, link=link), words)


def paper_of(report: dict, lang: str = "en") -> bytes:
    words, sides = Words(lang=lang), 2 if "compare" in report else 1
    return pdf_of(content(report, [[picture()]] * sides, words, made=DAY), words, made=DAY)


def parsed(page: bytes) -> etree._Element:
    return etree.fromstring(page.replace(b"<!DOCTYPE html>", b""))


def text_of(pdf: bytes, folder) -> str:
    (folder / "report.pdf").write_bytes(pdf)
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed (apt-get install poppler-utils)")
    return subprocess.run(["pdftotext", "-layout", folder / "report.pdf", "-"], capture_output=True, check=True).stdout.decode()


# ---- tables


def test_csv_read_back_is_the_table():
    """Numbers are those of JSON to the last digit, unknown is empty, no cell begins as a formula does, and Excel is told that it is UTF-8."""
    body = csv_of(REPORT)
    assert body.startswith(b"\xef\xbb\xbf") and b"\r\n" in body
    rows = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline="")))
    assert len(rows) == len(ROWS)
    for told, row in zip(rows, ROWS):
        for column in ("coverage", "low", "high", "cells", "probability"):
            assert (float(told[column]) if told[column] else None) == row[column]
        assert told["scientificName"].removeprefix("'") == row["scientificName"].removeprefix("'")
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in told.values())
        assert told["tree"] == str(row["tree"]).lower() and told["invasive"] == "" and told["area_sha256"] == "ab" * 32
    sides = list(csv.DictReader(io.StringIO(csv_of(BOTH).decode("utf-8-sig"), newline="")))
    assert [row["side"] for row in sides] == ["A"] * len(ROWS) + ["B"] * 2


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_xlsx_read_back_is_the_table(lang):
    """Numbers are numbers, shown as per cent where they are shares; texts are texts, formulas and addresses none; unknown is empty."""
    book = openpyxl.load_workbook(io.BytesIO(xlsx_of(REPORT, Words(lang=lang), made=DAY, link="https://a.example/#x")))
    words = Words(lang=lang)
    assert book.sheetnames == [words(f"sheet.{name}") for name in ("species", "indicators", "habitats", "metadata")]
    sheet = book[words("sheet.species")]
    assert sheet.freeze_panes == "A2" and sheet.max_row == len(ROWS) + 1
    for cells, row in zip(sheet.iter_rows(min_row=2), ROWS):
        for cell, column in zip(cells, COLUMNS):
            wanted = row[column]
            assert cell.value == (clean(wanted) if isinstance(wanted, str) else wanted), column
            assert cell.data_type != "f" and cell.hyperlink is None
            if column in ("coverage", "low", "high") and wanted is not None:
                assert cell.number_format == "0.0%"
    told = {row[0].value: row[1].value for row in book[words("sheet.metadata")].iter_rows(min_row=2)}
    assert told[words("sha256")] == "ab" * 32 and told[words("licence")] == "CC-BY-4.0" and told[words("link")] == "https://a.example/#x"
    assert told[f"{words('km2')} (km²)"] == 1234.5
    both = openpyxl.load_workbook(io.BytesIO(xlsx_of(BOTH, words, made=DAY)))["A – B"]
    found = {row[0].value: row for row in both.iter_rows(min_row=2)}
    assert found["abies-alba"][4].value == pytest.approx(100 * (0.3 - 0.605)) and found["only-b"][5].value == words("where.B")


def test_geojson_is_the_polygon_with_the_report():
    """One feature with the polygon as it was given; what was made coarser is said; two sides are two features."""
    told = json.loads(geojson_of(REPORT, [AREA], made="2026-11-22"))
    assert told["type"] == "Feature" and told["geometry"] == AREA and shapely.from_geojson(json.dumps(told)).is_valid
    assert told["properties"]["species"] == ROWS and "10000 m" in told["properties"]["dataGeneralizations"]
    both = json.loads(geojson_of(BOTH, [AREA, AREA], made="2026-11-22"))
    assert [one["properties"]["side"] for one in both["features"]] == ["A", "B"]


# ---- the page


@pytest.mark.parametrize("lang", ["en", "fr"])
@pytest.mark.parametrize("report", [REPORT, BOTH], ids=["one", "both"])
def test_a_page_holds_every_species_and_no_name_does_harm(report, lang):
    """Well-formed as XML; each name is text in its own cell; nothing in it is a script, a handler, a style or an address of others."""
    page = page_of(report | {"area": report["area"] | {"name": HOSTILE[0]}}, lang, link='https://maps.example/#"><script>')
    tree = parsed(page)
    names = {
        "".join(cell.find(".//bdi").itertext())
        for cell in tree.iter("th")
        if cell.get("scope") == "row" and cell.find(".//bdi") is not None
    }
    for side in (report, *([report["compare"]] if "compare" in report else [])):
        assert {clean(row["scientificName"]) for row in side["species"]} <= names
    assert not list(tree.iter("script", "link", "iframe", "object", "form"))
    assert {element.get("src")[:22] for element in tree.iter("img")} == {"data:image/png;base64,"} and all(
        i.get("alt") for i in tree.iter("img")
    )
    assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on") or name == "style"]
    assert tree.get("lang") == lang and Words(lang=lang)("header") in "".join(tree.find(".//header").itertext())
    assert all(table.find("caption") is not None for table in tree.iter("table")) and all(head.get("scope") for head in tree.iter("th"))
    assert "\u202e" not in page.decode() and not re.search(rb"[\x00-\x08\x0b-\x1f]", page)


def test_the_policy_knows_the_style_and_allows_nothing_else():
    """The hash is that of the style as the page holds it."""
    style = re.search(rb"<style>(.*?)</style>", page_of(REPORT), re.DOTALL)[1]
    assert style.decode() == STYLE and base64.b64encode(hashlib.sha256(style).digest()).decode() in POLICY
    assert "default-src 'none'" in POLICY and "unsafe" not in POLICY and "script-src" not in POLICY


def test_unknown_is_told_and_never_as_no():
    """A mark that nobody knows reads as unknown, and so does a category; a species told coarsely says so."""
    rows = {
        "".join(row[0].find(".//bdi").itertext()): row for row in parsed(page_of(REPORT)).iter("tr") if row[0].find(".//bdi") is not None
    }
    cells = ["".join(cell.itertext()) for cell in rows["Gentiana lutea"]]
    assert cells[3:] == ["VU", "– no", "? unknown", "• yes", "? unknown"]
    assert "told coarsely, over squares of 10,000 m" in cells[0] and cells[1] == "20.0\u00a0%"
    assert "10.0–30.0\u00a0%" in cells[2]


# ---- the PDF


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_a_pdf_holds_the_names_with_their_accents(lang, tmp_path):
    """Text can be copied out of it: species, area, header and page numbers, accents and signs kept."""
    body = paper_of(REPORT, lang)
    told = text_of(body, tmp_path)
    words = Words(lang=lang)
    assert LETTERS in told and "Abies alba" in told and "sapin pectiné" in told and words("header") in told and "alert(1)" in told
    pages = body.count(b"/Type /Page\n")
    assert pages == told.count("\f") and words("page", page=pages, pages=pages) in told
    assert b"/FontFile2" in body


def test_a_pdf_is_the_same_for_the_same_report():
    """To the last byte, of one area and of two; another day is another document."""
    assert paper_of(REPORT) == paper_of(REPORT) and paper_of(BOTH) == paper_of(BOTH)
    words = Words()
    other = pdf_of(content(REPORT, [[picture()]], words, made=date(2026, 11, 23)), words, made=date(2026, 11, 23))
    assert other != paper_of(REPORT)


def test_paper_holds_the_first_species_and_says_how_many_it_leaves_out(tmp_path):
    """Of 3,000 species 500 are printed, the head on every page; a name longer than a line is wrapped, not cut."""
    long = "Hieracium " + "pseudo-" * 20 + "alpinum"
    rows = [species("long", long, 1.0), *(species(f"s{k}", f"Species number{k:04d}", 0.5) for k in range(2_999))]
    told = text_of(paper_of(report_of(rows)), tmp_path)
    assert "number0498" in told and "number0499" not in told and "2,500 more species are left out" in told
    assert told.count("Coverage") > 5 and "alpinum" in told


def test_letters_the_font_lacks_do_not_stop_a_pdf(tmp_path):
    """Greek, Arabic and Polish names of areas: what cannot be drawn is spelled, and the page is whole."""
    told = text_of(paper_of(REPORT | {"area": REPORT["area"] | {"name": "Łąka Ω مرج"}}), tmp_path)
    assert "Łaka" in told and "Abies alba" in told


# ---- words


def test_both_languages_say_the_same_things():
    """The same keys, and in each the same places to fill."""
    english, french = _TEXTS["en"], _TEXTS["fr"]
    assert english.keys() == french.keys()
    for key in english:
        holes = [sorted(name for _, name, _, _ in string.Formatter().parse(text[key]) if name) for text in (english, french)]
        assert holes[0] == holes[1], key


def test_numbers_are_written_as_each_language_writes_them():
    """Thousands, decimals, per cent, small shares, differences, dates, places."""
    en, fr = Words(), Words(lang="fr")
    assert (en.number(1234.5, 1), fr.number(1234.5, 1)) == ("1,234.5", "1\u202f234,5")
    assert (en.percent(0.0001), fr.percent(0.123)) == ("<\u00a00.1\u00a0%", "12,3\u202f%")
    assert (en.points(0.05), en.points(-0.05), en.points(-0.0001)) == ("+5.0", "−5.0", "0.0")
    assert [en.significant(value) for value in (88.76, 1234.5, 0.0517, 0, 2.579)] == ["88.8", "1,234", "0.0517", "0", "2.58"]
    assert fr.day(date(2026, 8, 1)) == "1er août 2026"
    assert en.place(9.5, 46.25) == "46.2500°\u00a0N, 9.5000°\u00a0E"


def test_what_is_below_the_smallest_coverage_counted_is_not_told_as_absent():
    """Compared, a species that one side does not list may cover a little of it: neither only the other's, nor a difference to nothing."""
    cut = BOTH | {"min_coverage": 0.05, "compare": BOTH["compare"] | {"min_coverage": 0.05}}
    for report, says in ((BOTH, True), (cut, False)):
        told = " ".join(parsed(page_of(report)).itertext())
        sheet = openpyxl.load_workbook(io.BytesIO(xlsx_of(report, Words(lang="en"), made=DAY))).worksheets[0]
        birch = next(row for row in sheet.iter_rows(values_only=True) if row[0] == "only-b")
        assert ("only B" in told) == says and ("<\u00a05.0\u00a0%" in told) != says
        assert birch[2] is None and birch[3] == 0.9 and birch[4:6] == ((90, "only B") if says else (None, None))


# ---- over HTTP


def ask(client, media_type: str, headers: dict | None = None, **inputs: object):
    outputs = {"report": {"format": {"mediaType": media_type}}}
    return client.post(
        "/ogc/processes/area-report/execution", json={"inputs": {"area": inputs.pop("area"), **inputs}, "outputs": outputs}, headers=headers
    )


@pytest.fixture(scope="module")
def area(flora) -> dict:
    """A polygon of the middle of the small world."""
    west, south, east, north = flora.get("/api/layers").json()["bounds"]["CRS:84"]
    x, y, w, h = (west + east) / 2, (south + north) / 2, (east - west) / 5, (north - south) / 5
    return {"type": "Polygon", "coordinates": [[[x - w, y - h], [x + w, y - h], [x + w, y + h], [x - w, y - h]]]}


@pytest.mark.parametrize("media_type", FORMATS)
def test_the_process_answers_in_the_format_asked_for(flora, area, media_type):
    """Each media type with its name; read at once or saved; a policy where there is one, once; maps drawn by the server."""
    answer = ask(flora, media_type, area=area, name="Étang <b>", lang="fr", link="#at=1,2")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].split(";")[0] == media_type
    how = "inline" if media_type in (HTML, PDF) else "attachment"
    assert re.fullmatch(
        rf'{how}; filename="area-report-etang-b-[0-9a-f]{{8}}\.{FORMATS[media_type]}"', answer.headers["content-disposition"]
    )
    policies = answer.headers.get_list("content-security-policy")
    assert len(policies) == 1 and (policies[0] == POLICY) == (media_type == HTML)
    if media_type == HTML:
        tree = parsed(answer.content)
        assert len(list(tree.iter("figure"))) >= 2
        assert tree.find(".//a").get("href") == f"{str(flora.base_url).rstrip('/')}/#at=1,2"
    if media_type == XLSX:
        assert openpyxl.load_workbook(io.BytesIO(answer.content)).sheetnames[0] == "Espèces"


def test_a_job_is_opened_as_a_page(flora, area):
    """The result of a job in the page's own media type, policy and all, by a plain GET: a browser opens it in a tab."""
    job = ask(flora, HTML, {"Prefer": "respond-async"}, area=area).json()
    for _ in range(500):
        job = flora.get(f"/ogc/jobs/{job['jobID']}").json()
        if job["status"] not in ("accepted", "running"):
            break
        time.sleep(0.02)
    page = flora.get(f"/ogc/jobs/{job['jobID']}/results")
    assert page.headers["content-type"].startswith(HTML) and page.headers["content-security-policy"] == POLICY
    assert page.headers["content-disposition"].startswith("inline") and b"<figure>" in page.content


@pytest.mark.parametrize("other", [{"scenario": "warmer"}, "area"])
def test_two_are_set_beside_each_other(flora, area, other):
    """A second area or a scenario: in JSON of the same shape as the first, told as it would be alone; on the page both."""
    compare = area if other == "area" else other
    told = flora.post("/ogc/processes/area-report/execution", json={"inputs": {"area": area, "compare": compare}}).json()
    alone = flora.post("/ogc/processes/area-report/execution", json={"inputs": {"area": area} | (other if other != "area" else {})}).json()
    assert told["compare"]["species"] == alone["species"] and told["compare"].keys() == told.keys() - {"compare"}
    tree = parsed(ask(flora, HTML, area=area, compare=compare).content)
    assert tree.find(".//div[@class='beside']") is not None


def test_what_cannot_be_answered_is_refused(flora, area):
    """A media type that is none of its own, a link that is a whole address, a layer that there is not."""
    assert "text/html" in ask(flora, "image/png", area=area).json()["detail"]
    assert ask(flora, HTML, area=area, link="https://evil.example/#x").status_code == 400
    assert ask(flora, HTML, area=area, layer="richnes").status_code == 404


def test_a_filename_is_plain():
    """Whatever the name of an area: letters, digits and hyphens."""
    for name in (None, *HOSTILE, "../../etc/passwd", "Ω"):
        assert re.fullmatch(r"area-report-[a-z0-9-]+\.pdf", filename(report_of(ROWS, name), PDF))
