"""The formats a report is written in, what a file of it is called, and what a browser may do with it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from geoplantnet.serving.report.content import Picture, Report, content
from geoplantnet.serving.report.html import POLICY, html_of
from geoplantnet.serving.report.pdf import pdf_of
from geoplantnet.serving.report.tables import csv_of, geojson_of
from geoplantnet.serving.report.words import Words
from geoplantnet.serving.report.xlsx import xlsx_of

HTML, PDF, CSV, GEOJSON = "text/html", "application/pdf", "text/csv", "application/geo+json"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FORMATS: Mapping[str, str] = {HTML: "html", PDF: "pdf", CSV: "csv", XLSX: "xlsx", GEOJSON: "geojson"}
"""Media types and the ends of files' names."""
DRAWN = frozenset({HTML, PDF})
"""Those with maps, which are read at once; the others are saved."""
POLICIES: Mapping[str, str] = {HTML: POLICY, PDF: "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'"}
"""Content-Security-Policies that these are sent with in place of the server's; that of PDF lets browsers show it by their own means."""


def written(
    report: Report,
    media_type: str,
    *,
    geometries: Sequence[Mapping[str, Any]],
    pictures: Sequence[Sequence[Picture]],
    words: Words,
    made: date,
    link: str = "",
) -> bytes:
    """A report as one of FORMATS. `geometries` and `pictures` are those of each side; only what is DRAWN needs the latter."""
    if media_type == CSV:
        return csv_of(report)
    if media_type == GEOJSON:
        return geojson_of(report, geometries, made=made.isoformat(), link=link)
    if media_type == XLSX:
        return xlsx_of(report, words, made=made, link=link)
    told = content(report, pictures, words, made=made, link=link)
    return html_of(told, words) if media_type == HTML else pdf_of(told, words, made=made)


def filename(report: Report, media_type: str) -> str:
    """Such as ``area-report-aletsch-1fcedf73.pdf``: the area's name in plain letters and the beginning of its hash."""
    decomposed = unicodedata.normalize("NFKD", str(report["area"].get("name") or ""))
    name = re.sub(r"[^a-z0-9]+", "-", decomposed.encode("ascii", "ignore").decode().lower()).strip("-")[:40].strip("-")
    return f"area-report-{name}{'-' if name else ''}{report['area']['sha256'][:8]}.{FORMATS[media_type]}"
