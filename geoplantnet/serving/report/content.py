"""What a report says, in its order, before anything is drawn: the HTML page and the PDF are two renderings of the same sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from geoplantnet.serving.report.words import NO_BREAK, Words, clean

Report = Mapping[str, Any]
"""A report of an area as the process ``area-report`` tells it in JSON; with ``compare``, that of the other area or scenario as well."""

GROUPS = ("protected", "invasive", "narrow_ranged", "threatened", "trees")
MARKS = ("tree", "invasive", "directive", "narrow_ranged")
"""What is told of every species: yes, no or unknown."""
_FIELDS = {"narrow_ranged": "narrowRanged"}
_NAMED = 12
"""Species of a group that are named."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A map with its legend."""

    layer: str
    """Id of the layer that is shown."""
    title: str
    frame: str
    """Size of what is shown, and the CRS."""
    map: bytes
    """PNG."""
    legend: bytes = b""
    """PNG; empty for a map that needs none."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a table."""

    text: str
    italic: bool = False
    note: str = ""
    """Told below the text, smaller."""
    share: float | None = None
    """0 to 1: drawn as a bar beside the text."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table."""

    title: str
    width: float
    """Part of the table's width, of the sum of all."""
    right: bool = False
    """Numbers are aligned at the right."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows below their heads."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    heads: bool = True
    """Whether the columns' titles are shown; where not, the first column names the rows."""
    longest: bool = False
    """Of species: what a document on paper may cut."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph."""

    text: str
    strong: bool = False
    href: str = ""
    """Address the text leads to."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """The same map of both sides."""

    pictures: tuple[Picture, Picture]


Block = Table | Text | Picture | Beside


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class Content:
    """A whole report."""

    title: str
    name: str
    """Of the area, or of both."""
    header: str
    """Predicted, not observed."""
    made: str
    notice: str
    sections: tuple[Section, ...]


def sides_of(report: Report) -> tuple[Report, ...]:
    """The report, and the one it is compared with."""
    other = report.get("compare")
    return (report, other) if isinstance(other, Mapping) else (report,)


def name_of(report: Report, words: Words, *, other: bool = False) -> str:
    """The area's name, or words in its place."""
    return clean(str(report.get("area", {}).get("name") or "")).strip() or words("unnamed.scenario" if other else "unnamed")


def content(report: Report, pictures: Sequence[Sequence[Picture]], words: Words, *, made: date, link: str = "") -> Content:
    """The sections of a report, or of two side by side. `pictures` are those of each side; `link` is the area's permanent address."""
    sides = sides_of(report)
    names = [name_of(side, words, other=k > 0) for k, side in enumerate(sides)]
    one_area = len({side["area"]["sha256"] for side in sides}) == 1
    told = [clean(side["epoch"]["title"]) for side in sides] if one_area else names
    name = names[0] if len(sides) == 1 else f"{names[0] + ', ' if one_area else ''}A {told[0]} – B {told[1]}"
    sections = (
        Section(title=words("summary"), blocks=(_summary(sides, names, words),)),
        Section(title=words("groups"), blocks=(*_groups(sides, words), Text(text=words("groups.note")))),
        *_maps(pictures, words, same=one_area),
        *_habitats(sides, words),
        *_indicators(sides, words),
        _species(sides, words),
        _method(sides, words),
        _versions(sides, names, words, made, link),
    )
    return Content(
        title=words("title" if len(sides) == 1 else "compared"),
        name=name,
        header=words("header"),
        made=words("of", day=words.day(made)),
        notice=clean(str(report.get("notice") or "")),
        sections=sections,
    )


def named(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Rows of species by their ids."""
    return {str(row["taxonID"]): row for row in rows}


def habitats_of(report: Report) -> list[Mapping[str, Any]]:
    """Habitats with their shares; of a report without, those of the indicator of that name."""
    found = report.get("habitats")
    if found is None:
        found = next((one["classes"] for one in report.get("indicators", ()) if one["layer"] == "habitat" and "classes" in one), [])
    return sorted(found, key=lambda one: -one["share"])


def period_of(report: Report, words: Words) -> str:
    """When a map stands for."""
    ends = [datetime.fromisoformat(report["epoch"][end]).date() for end in ("start", "end")]
    return " – ".join(words.day(end) for end in ends)


def mark_of(row: Mapping[str, Any], mark: str) -> bool | None:
    """Whether a species is a tree, invasive and so on; None where it is not known."""
    value = row.get(_FIELDS.get(mark, mark))
    return None if value is None else bool(value)


def compared(sides: Sequence[Report]) -> list[tuple[Mapping[str, Any], float | None, float | None]]:
    """Species of either side with the coverage of each (None where it is not told there), the largest differences first."""
    left, right = (named(side["species"]) for side in sides)
    found = [
        (row, left[id]["coverage"] if id in left else None, right[id]["coverage"] if id in right else None)
        for id, row in (right | left).items()
    ]
    return sorted(found, key=lambda one: (-abs((one[1] or 0) - (one[2] or 0)), one[0]["scientificName"]))


def found_in(left: float | None, right: float | None, least: float) -> str:
    """Where a species is found: ``both``, ``A`` or ``B`` alone; empty where nobody says, as of one that covers less than the `least` told."""
    if left is not None and right is not None:
        return "both"
    return "" if least else "A" if right is None else "B"


# ---- sections


def _facts(title: str, rows: Sequence[tuple[str, *tuple[Cell, ...]]], heads: Sequence[str] = ()) -> Table:
    width = len(rows[0]) - 1
    columns = (Column(title="", width=2.2), *(Column(title=head, width=4.4 / width) for head in (heads or [""] * width)))
    return Table(title=title, columns=columns, rows=tuple((Cell(text=row[0]), *row[1:]) for row in rows), heads=bool(heads))


def _summary(sides: Sequence[Report], names: Sequence[str], words: Words) -> Table:
    def row(key: str, told: Any) -> tuple[str, *tuple[Cell, ...]]:
        return (words(key), *(Cell(text=told(side)) for side in sides))

    def noted(key: str) -> tuple[str, *tuple[Cell, ...]]:
        values = [side.get(key) for side in sides]
        return (words(key), *(Cell(text=words.number(value), note=words(f"{key}.note") if value else "") for value in values))

    def partial(side: Report) -> str:
        value = side["area"].get("partial")
        return "?" if value is None else words("partial.yes" if value else "partial.no")

    rows = [
        row("map", lambda side: clean(side["epoch"]["title"])),
        row("period", lambda side: period_of(side, words)),
        row("km2", lambda side: f"{words.significant(side['area']['km2'])} km²"),
        row("mapped", lambda side: f"{words.significant(side['area']['mapped_km2'])} km²"),
        row("cells", lambda side: words.number(side["area"]["cells"], 0 if side["area"]["cells"] >= 100 else 1)),
        row("count", lambda side: words.number(side["count"])),
    ]
    if any(side["area"].get("partial") is not None for side in sides):
        rows.append(row("partial", partial))
    if all(side["area"].get("bounds") for side in sides):
        rows.append(row("centre", lambda side: _centre(side["area"]["bounds"], words)))
    if any(side.get("min_coverage") for side in sides):
        rows.append(row("least", lambda side: words.percent(side["min_coverage"])))
    rows += [noted(key) for key in ("generalised", "withheld") if any(side.get(key) for side in sides)]
    heads = ("A", "B") if len(sides) > 1 else ()
    if heads:
        rows.insert(0, (words("side"), *(Cell(text=name) for name in names)))
    return _facts(words("summary"), rows, heads)


def _centre(bounds: Sequence[float], words: Words) -> str:
    west, south, east, north = bounds
    return words.place((west + east) / 2, (south + north) / 2)


def _groups(sides: Sequence[Report], words: Words) -> tuple[Table, ...]:
    several = len(sides) > 1
    columns = [Column(title=words("group"), width=2)]
    for side in "AB"[: len(sides)]:
        tail = f" {side}" if several else ""
        columns += [Column(title=words(f"group.{key}") + tail, width=0.8, right=True) for key in ("count", "unknown", "expected")]
    if not several:
        columns.append(Column(title=words("group.species"), width=4.2))
    rows = []
    for group in GROUPS:
        told = [side["groups"].get(group) for side in sides]
        if not any(told):
            continue
        cells = [Cell(text=words(f"group.{group}"))]
        for one in told:
            found = one or {"count": None, "unknown": None}
            expected = found.get("expected")
            cells += [Cell(text=words.number(found["count"])), Cell(text=words.number(found["unknown"]))]
            cells.append(Cell(text="–" if expected is None else words.significant(expected)))
        if not several:
            cells.append(Cell(text=_which(told[0] or {}, named(sides[0]["species"]), words)))
        rows.append(tuple(cells))
    return (Table(title=words("groups"), columns=tuple(columns), rows=tuple(rows)),)


def _which(group: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], words: Words) -> str:
    ids = members_of(group)
    names = [clean(rows[id]["scientificName"]) for id in ids[:_NAMED] if id in rows]
    rest = len(ids) - len(names)
    return ", ".join(names) + (f" {words('and', n=words.number(rest))}" if rest else "") if ids else words("none")


def members_of(group: Mapping[str, Any]) -> list[str]:
    """Ids of the species of a group."""
    return [str(one["taxonID"] if isinstance(one, Mapping) else one) for one in group.get("species", ())]


def _maps(pictures: Sequence[Sequence[Picture]], words: Words, *, same: bool) -> tuple[Section, ...]:
    """Maps of one side below each other, of two beside each other; of two with the `same` area only one tells where it is."""
    if not any(pictures):
        return ()
    blocks: list[Block] = [Text(text=words("map.note"))]
    if len(pictures) == 1:
        return (Section(title=words("maps"), blocks=(*blocks, *pictures[0])),)
    left, right = ({one.layer: one for one in side} for side in pictures)
    for layer in left | right:
        both = [replace(side[layer], title=f"{letter} {side[layer].title}") for letter, side in zip("AB", (left, right)) if layer in side]
        if len(both) < 2 or (same and not both[0].legend):
            blocks.append((left | right)[layer] if len(both) == 2 else both[0])
        else:
            blocks.append(Beside(pictures=(both[0], both[1])))
    return (Section(title=words("maps"), blocks=tuple(blocks)),)


def _habitats(sides: Sequence[Report], words: Words) -> tuple[Section, ...]:
    told = [{one["label"]: one["share"] for one in habitats_of(side)} for side in sides]
    labels = list(dict.fromkeys(label for side in told for label in side))
    if not labels:
        return ()
    columns = (Column(title=words("habitat"), width=4), *_share_columns(sides, words("share"), 1.6))
    rows = tuple((Cell(text=clean(label)), *_shares([side.get(label, 0.0) for side in told], words)) for label in labels)
    return (Section(title=words("habitats"), blocks=(Table(title=words("habitats"), columns=columns, rows=rows),)),)


def _share_columns(sides: Sequence[Report], title: str, width: float) -> tuple[Column, ...]:
    if len(sides) == 1:
        return (Column(title=title, width=width, right=True),)
    return (*(Column(title=f"{title} {side}", width=width, right=True) for side in "AB"), Column(title="B − A", width=1, right=True))


def _shares(values: Sequence[float | None], words: Words) -> tuple[Cell, ...]:
    cells = [Cell(text=words.percent(value), share=value) for value in values]
    if len(values) == 1:
        return tuple(cells)
    one, other = (0.0 if value is None else value for value in values)
    return (*cells, Cell(text=words.points(other - one)))


def _indicators(sides: Sequence[Report], words: Words) -> tuple[Section, ...]:
    told = [{one["layer"]: one for one in side.get("indicators", ())} for side in sides]
    means, shares = [], []
    for layer, one in (told[-1] | told[0]).items():
        both = [side.get(layer, {}) for side in told]
        if "classes" in one:
            if layer == "habitat":
                continue
            found = [{c["label"]: c["share"] for c in side.get("classes", ())} for side in both]
            for label in dict.fromkeys(label for side in found for label in side):
                shares.append(
                    (Cell(text=clean(one["title"])), Cell(text=clean(label)), *_shares([s.get(label, 0.0) for s in found], words))
                )
            continue
        values = [side.get("mean") for side in both]
        cells = [Cell(text=clean(one["title"])), *(Cell(text="–" if value is None else words.significant(value)) for value in values)]
        if len(values) > 1:
            cells.append(Cell(text="–" if None in values else _signed(values[1] - values[0], words)))
        means.append((*cells, Cell(text="" if one["unit"] in ("", "1") else clean(one["unit"]))))
    names = ("",) if len(sides) == 1 else (" A", " B")
    numbers = [Column(title=words("mean") + name, width=1.2, right=True) for name in names]
    if len(sides) > 1:
        numbers.append(Column(title=words("difference"), width=1.2, right=True))
    blocks = []
    if means:
        columns = (Column(title=words("indicator"), width=4), *numbers, Column(title=words("unit"), width=1.2))
        blocks.append(Table(title=words("indicators"), columns=columns, rows=tuple(means)))
    if shares:
        columns = (Column(title=words("indicator"), width=2.4), Column(title=words("class"), width=2.4))
        columns += _share_columns(sides, words("share"), 1.6)
        blocks.append(Table(title=words("shares"), columns=columns, rows=tuple(shares)))
    return (Section(title=words("indicators"), blocks=tuple(blocks)),) if blocks else ()


def _signed(value: float, words: Words) -> str:
    text = words.significant(value)
    return f"+{text}" if value > 0 else text


def _species(sides: Sequence[Report], words: Words) -> Section:
    if len(sides) > 1:
        return _both(sides, words)
    report = sides[0]
    ranges = any(row.get("low") is not None for row in report["species"])
    columns = [Column(title=words("name"), width=4.4), Column(title=words("coverage"), width=2.1, right=True)]
    columns += [Column(title=words("range"), width=1.7, right=True)] if ranges else []
    columns += [Column(title=words("iucn"), width=0.85), *(Column(title=words(mark), width=1.35) for mark in MARKS)]
    rows = []
    for row in report["species"]:
        cells = [_name(row, words), Cell(text=words.percent(row["coverage"]), share=row["coverage"])]
        if ranges:
            known = row.get("low") is not None and row.get("high") is not None
            cells.append(Cell(text=f"{words.number(100 * row['low'], 1)}–{words.percent(row['high'])}" if known else ""))
        cells.append(Cell(text=row.get("iucn") or "?"))
        rows.append((*cells, *(Cell(text=words.answer(mark_of(row, mark))) for mark in MARKS)))
    notes = [Text(text=words("species.note"))]
    if ranges and (report.get("members") or 0) > 1:
        notes.append(Text(text=words("species.range", n=words.number(report["members"]))))
    table = Table(title=words("species"), columns=tuple(columns), rows=tuple(rows), longest=True)
    return Section(title=words("species"), blocks=(*notes, table, Text(text=words("legend.marks"))))


def _name(row: Mapping[str, Any], words: Words) -> Cell:
    notes = [clean(str(row[key])) for key in ("vernacularName", "family") if row.get(key)]
    if row.get("generalised"):
        notes.append(words("coarse", metres=words.number(row["generalised"])))
    return Cell(text=clean(row["scientificName"]), italic=True, note=" · ".join(notes))


def _both(sides: Sequence[Report], words: Words) -> Section:
    columns = [Column(title=words("name"), width=4), *(Column(title=f"{words('coverage')} {side}", width=1.9, right=True) for side in "AB")]
    columns += [Column(title=f"B − A ({words('points')})", width=1.2, right=True), Column(title=words("where"), width=1.2)]
    columns += [Column(title=words("iucn"), width=0.9), *(Column(title=words(mark), width=1.3) for mark in ("invasive", "directive"))]
    rows = []
    least = max(side.get("min_coverage") or 0.0 for side in sides)
    absent = f"<{NO_BREAK}{words.percent(least)}" if least else "–"
    for row, left, right in compared(sides):
        where = found_in(left, right, least)
        shares = [Cell(text=absent if value is None else words.percent(value), share=value) for value in (left, right)]
        rows.append(
            (
                _name(row, words),
                *shares,
                Cell(text=words.points((right or 0.0) - (left or 0.0)) if where else "?"),
                Cell(text=words(f"where.{where}") if where else "?"),
                Cell(text=row.get("iucn") or "?"),
                *(Cell(text=words.answer(mark_of(row, mark))) for mark in ("invasive", "directive")),
            )
        )
    table = Table(title=words("species"), columns=tuple(columns), rows=tuple(rows), longest=True)
    return Section(title=words("species"), blocks=(Text(text=words("species.compared")), table, Text(text=words("legend.marks"))))


def _method(sides: Sequence[Report], words: Words) -> Section:
    several = any((side.get("members") or 0) > 1 for side in sides)
    keys = ["predicted", "set", "coverage", *(["range"] if several else []), "unknown", "limits"]
    return Section(title=words("method"), blocks=tuple(Text(text=words(f"method.{key}")) for key in keys))


def _versions(sides: Sequence[Report], names: Sequence[str], words: Words, made: date, link: str) -> Section:
    def row(title: str, told: Any) -> tuple[str, *tuple[Cell, ...]]:
        return (title, *(Cell(text=clean(str(told(side)))) for side in sides))

    rows = [row(words("sha256"), lambda side: side["area"]["sha256"])]
    for key in ("catalog", "species_list", "model", "software"):
        if any(side["version"].get(key) for side in sides):
            rows.append(row(words(f"version.{key}"), lambda side, key=key: model_of(side["version"].get(key))))
    if any(side.get("licence") for side in sides):
        rows.append(row(words("licence"), lambda side: side.get("licence") or "?"))
    facts = _facts(words("versions"), rows, ("A", "B") if len(sides) > 1 else ())
    blocks: list[Block] = [facts, Text(text=words("cite"), strong=True)]
    blocks += [Text(text=citation(side, name, words, made, link)) for side, name in zip(sides, names)]
    if link:
        blocks += [Text(text=words("link"), strong=True), Text(text=link, href=link)]
    return Section(title=words("versions"), blocks=tuple(blocks))


def model_of(told: Any) -> str:
    """A version as text: the model's may be told as its name and version."""
    if isinstance(told, Mapping):
        return " ".join(str(value) for value in told.values() if value is not None)
    return "?" if told is None else str(told)


def citation(report: Report, name: str, words: Words, made: date, link: str = "") -> str:
    """How to cite a report."""
    version = report["version"]
    text = words(
        "cite.text",
        map=clean(report["epoch"]["title"]),
        title=words("title"),
        name=name,
        sha=report["area"]["sha256"][:16],
        catalog=str(version.get("catalog") or "?")[:16],
        software=model_of(version.get("software")),
        day=words.day(made),
    )
    licence = report.get("licence")
    short = link.split("#", 1)[0]
    return " ".join((text, *([f"{clean(str(licence))}."] if licence else []), *([short] if short else [])))
