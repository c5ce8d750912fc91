"""A report as a workbook: species, indicators, habitats, and what they are of."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import xlsxwriter

from geoplantnet.serving.report.content import (
    Report,
    citation,
    compared,
    found_in,
    habitats_of,
    mark_of,
    model_of,
    name_of,
    period_of,
    sides_of,
)
from geoplantnet.serving.report.tables import COLUMNS
from geoplantnet.serving.report.words import Words, clean

_SHARES = frozenset({"coverage", "low", "high"})
_MARKS = {"tree": "tree", "invasive": "invasive", "directive": "directive", "narrowRanged": "narrow_ranged"}
_WORDS = {"cells": "cells.count", "generalised": "metres", **_MARKS}
_WIDTHS = {"taxonID": 14, "scientificName": 38, "vernacularName": 28, "family": 18, "genus": 16}
_MOST = 1_048_575
"""Rows of a sheet below its head."""
_LONGEST = 32_767
"""Characters of a cell."""


def xlsx_of(report: Report, words: Words, *, made: date, link: str = "") -> bytes:
    """The workbook. Texts are texts, never formulas or addresses; shares are numbers shown as per cent; what is not known is an empty cell."""
    out = io.BytesIO()
    options = {
        "in_memory": True,
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    with xlsxwriter.Workbook(out, options) as book:
        when = datetime(made.year, made.month, made.day, tzinfo=UTC).replace(tzinfo=None)
        title = f"{words('title')}: {name_of(report, words)}"
        book.set_properties({"title": title[:250], "subject": words("header"), "author": "geoplantnet", "created": when})
        sheets = _Sheets(book)
        sides = sides_of(report)
        if len(sides) > 1:
            _compared(sheets, sides, words)
        _species(sheets, sides, words)
        _indicators(sheets, sides, words)
        _habitats(sheets, sides, words)
        _metadata(sheets, sides, words, made, link)
    return out.getvalue()


class _Sheets:
    """Sheets of a workbook, written row by row."""

    def __init__(self, book: Any) -> None:
        self._book = book
        head = {"bold": True, "bg_color": "#E6EEEA", "bottom": 1, "text_wrap": True, "valign": "top"}
        self._formats = {
            "head": book.add_format(head),
            "share": book.add_format({"num_format": "0.0%"}),
            "number": book.add_format({"num_format": "#,##0.0##"}),
            "text": book.add_format({"valign": "top"}),
            "wrap": book.add_format({"text_wrap": True, "valign": "top"}),
        }

    def add(self, name: str, heads: Sequence[str], widths: Sequence[float]) -> Any:
        """A sheet with its head, which stays in view, and a filter."""
        sheet = self._book.add_worksheet(name)
        for column, (head, width) in enumerate(zip(heads, widths, strict=True)):
            sheet.set_column(column, column, width)
            sheet.write_string(0, column, head, self._formats["head"])
        sheet.freeze_panes(1, 0)
        return sheet

    def row(self, sheet: Any, number: int, cells: Sequence[tuple[Any, str]]) -> None:
        """A row of (value, format)."""
        for column, (value, kind) in enumerate(cells):
            if value is None:
                continue
            if isinstance(value, bool):
                sheet.write_boolean(number, column, value)
            elif isinstance(value, (int, float)):
                sheet.write_number(number, column, value, self._formats[kind])
            else:
                sheet.write_string(number, column, _text(value), self._formats[kind if kind == "wrap" else "text"])


def _text(value: Any) -> str:
    return clean(str(value))[:_LONGEST]


def _species(sheets: _Sheets, sides: Sequence[Report], words: Words) -> None:
    several = len(sides) > 1
    heads = [*([words("side")] if several else []), *(words(_WORDS.get(column, column)) for column in COLUMNS)]
    sheet = sheets.add(words("sheet.species"), heads, [*([8] if several else []), *(_WIDTHS.get(column, 12) for column in COLUMNS)])
    number = 0
    for letter, side in zip("AB", sides):
        for row in side["species"][: _MOST - number]:
            number += 1
            cells = [(_of(row, column), "share" if column in _SHARES else "number") for column in COLUMNS]
            sheets.row(sheet, number, [*([(letter, "text")] if several else []), *cells])
    sheet.autofilter(0, 0, max(number, 1), len(heads) - 1)


def _of(row: Mapping[str, Any], column: str) -> Any:
    return mark_of(row, _MARKS[column]) if column in _MARKS else row.get(column)


def _compared(sheets: _Sheets, sides: Sequence[Report], words: Words) -> None:
    heads = [words("taxonID"), words("scientificName"), f"{words('coverage')} A", f"{words('coverage')} B"]
    heads += [f"B − A ({words('points')})", words("where"), words("iucn")]
    sheet = sheets.add("A – B", heads, [14, 38, 14, 14, 14, 14, 8])
    rows, least = compared(sides)[:_MOST], max(side.get("min_coverage") or 0.0 for side in sides)
    for number, (row, left, right) in enumerate(rows, start=1):
        where = found_in(left, right, least)
        points = 100 * ((right or 0.0) - (left or 0.0)) if where else None
        shares = [(left, "share"), (right, "share"), (points, "number")]
        names = [(row["taxonID"], "text"), (row["scientificName"], "text")]
        sheets.row(sheet, number, [*names, *shares, (words(f"where.{where}") if where else None, "text"), (row.get("iucn"), "text")])
    sheet.autofilter(0, 0, max(len(rows), 1), len(heads) - 1)


def _indicators(sheets: _Sheets, sides: Sequence[Report], words: Words) -> None:
    heads = [words(key) for key in ("side", "layer", "indicator", "class", "unit", "mean", "share", "cells")]
    sheet = sheets.add(words("sheet.indicators"), heads, [8, 18, 38, 36, 12, 12, 12, 14])
    number = 0
    for letter, side in zip("AB", sides):
        for one in side.get("indicators", ()):
            own = one.get("classes", [{}])
            for part in own:
                number += 1
                texts = [letter, one["layer"], one["title"], part.get("label"), None if one["unit"] in ("", "1", "class") else one["unit"]]
                numbers = [(one.get("mean"), "number"), (part.get("share"), "share"), (one.get("cells"), "number")]
                sheets.row(sheet, number, [*((text, "text") for text in texts), *numbers])


def _habitats(sheets: _Sheets, sides: Sequence[Report], words: Words) -> None:
    sheet = sheets.add(words("sheet.habitats"), [words(key) for key in ("side", "habitat", "share")], [8, 48, 14])
    rows = [(letter, one) for letter, side in zip("AB", sides) for one in habitats_of(side)]
    for number, (letter, one) in enumerate(rows, start=1):
        sheets.row(sheet, number, [(letter, "text"), (one["label"], "text"), (one["share"], "share")])


def _metadata(sheets: _Sheets, sides: Sequence[Report], words: Words, made: date, link: str) -> None:
    letters = "AB"[: len(sides)]
    several = len(sides) > 1
    heads = [words("row"), *(f"{words('value')} {letter}" if several else words("value") for letter in letters)]
    sheet = sheets.add(words("sheet.metadata"), heads, [34, *(70 for _ in letters)])

    def told(side: Report, key: str) -> Any:
        return None if side["version"].get(key) is None else model_of(side["version"][key])

    names = [name_of(side, words, other=k > 0) for k, side in enumerate(sides)]
    rows: list[tuple[str, list[Any]]] = [
        ("", [words("header") for _ in sides]),
        (words("notice"), [side.get("notice") for side in sides]),
        (words("side"), list(names)),
        (words("map"), [side["epoch"]["title"] for side in sides]),
        (words("period"), [period_of(side, words) for side in sides]),
        (f"{words('km2')} (km²)", [side["area"]["km2"] for side in sides]),
        (f"{words('mapped')} (km²)", [side["area"]["mapped_km2"] for side in sides]),
        (words("cells"), [side["area"]["cells"] for side in sides]),
        (words("partial"), [side["area"].get("partial") for side in sides]),
        (words("count"), [side["count"] for side in sides]),
        (words("least"), [side.get("min_coverage") for side in sides]),
        (words("generalised"), [side.get("generalised") for side in sides]),
        (words("withheld"), [side.get("withheld") for side in sides]),
        (words("units"), [words("units.text") for _ in sides]),
        *((words("method"), [words(f"method.{key}") for _ in sides]) for key in ("set", "coverage", "range", "limits")),
        (words("sha256"), [side["area"]["sha256"] for side in sides]),
        *((words(f"version.{key}"), [told(side, key) for side in sides]) for key in ("catalog", "species_list", "model", "software")),
        (words("licence"), [side.get("licence") for side in sides]),
        (words("cite"), [citation(side, name, words, made, link) for side, name in zip(sides, names)]),
        (words("link"), [link or None for _ in sides]),
        (words("made"), [words.day(made) for _ in sides]),
    ]
    for number, (title, values) in enumerate(rows, start=1):
        sheets.row(sheet, number, [(title, "text"), *((value, "wrap" if isinstance(value, str) else "number") for value in values)])
