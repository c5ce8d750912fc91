"""Sensitive species: which must be told coarsely, or not at all, where, why, and until when that is to be looked at again.

A CSV table with the columns taxon (scientific name or taxon id), region (blank or ``*`` = everywhere), category, reason, review (a date).

| category | told in cells of | source |
|---|---|---|
| 1 | nothing: withheld | Chapman 2020, Current Best Practices for Generalizing Sensitive Species Occurrence Data (GBIF) |
| 2, 3, 4 | 0.1, 0.01, 0.001 degrees | the same |
| SINP1 | communes: 5 km, the side of the mean commune (15 km2: 3.9 km) in the next round number | SINP, sensitivity levels |
| SINP2 | 10 km | the same |
| SINP3 | departments, wider than a tile: withheld | the same |
| SINP4 | nothing: withheld | the same |
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from geoplantnet.errors import InputError, did_you_mean
from geoplantnet.taxonomy.backbone import parse_name
from geoplantnet.taxonomy.species_list import SpeciesList

COLUMNS = ("taxon", "region", "category", "reason", "review")
_DEGREE = 111_700.0
"""Metres of a degree of a meridian, where it is longest (at the poles)."""
CATEGORIES: Mapping[str, float | None] = {
    "1": None,
    "2": 0.1 * _DEGREE,
    "3": 0.01 * _DEGREE,
    "4": 0.001 * _DEGREE,
    "SINP1": 5_000.0,
    "SINP2": 10_000.0,
    "SINP3": None,
    "SINP4": None,
}
"""Least side of a square, metres; None = withheld."""
WITHHELD = 0
"""Cells along the squares of a species that is told nowhere."""
_MOST_BYTES = 2**24


@dataclass(frozen=True, kw_only=True)
class SensitiveRule:
    """A row of the table."""

    taxon: str
    """Scientific name or taxon id, as it stands there."""
    region: str
    """Country code or biogeographic region; empty = everywhere."""
    category: str
    """One of `CATEGORIES`."""
    reason: str
    review: date | None
    """When the category is to be looked at again."""
    line: int
    """Of the file."""

    def words(self) -> str:
        """Category, reason and date of review, as a sentence goes on."""
        named = self.category if self.category.startswith("SINP") else f"category {self.category} of Chapman 2020"
        until = f"; to be reviewed by {self.review.isoformat()}" if self.review else ""
        return f"{named}{f' in {self.region}' if self.region else ''}: {self.reason}{until}"


def read_sensitive(path: str | os.PathLike[str]) -> tuple[SensitiveRule, ...]:
    """The rows of a table. Raises InputError with file, line and what to write for anything that is not as it should be."""
    file = Path(path)
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise InputError(f"{file} has {file.stat().st_size} bytes; a table of sensitive species has at most {_MOST_BYTES}")
        text = file.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); give a CSV table with the columns {', '.join(COLUMNS)}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not in UTF-8 ({error.reason} at byte {error.start}); save it as CSV UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    found: list[SensitiveRule] = []
    head: list[str] = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not head:
                head = [cell.casefold() for cell in cells]
                _check_head(file, head)
            else:
                found.append(_rule(f"{file}:{reader.line_num}", reader.line_num, head, cells))
    except csv.Error as error:
        raise InputError(f"{file}:{reader.line_num}: {error}; write one row a line, and quotes only around whole cells") from error
    if not head:
        raise InputError(f"{file} is empty; its first line is {','.join(COLUMNS)}")
    return tuple(found)


def _check_head(file: Path, head: list[str]) -> None:
    for name in head:
        if name not in COLUMNS:
            raise InputError(
                f"{file}:1: column {name!r} is none of {', '.join(COLUMNS)} (separated by commas).{did_you_mean(name, COLUMNS)}"
            )
    for name in COLUMNS:
        if head.count(name) != 1:
            raise InputError(f"{file}:1: column {name!r} stands {head.count(name)} times; the first line is {','.join(COLUMNS)}")


def _rule(where: str, line: int, head: list[str], cells: list[str]) -> SensitiveRule:
    if len(cells) != len(head):
        raise InputError(f"{where}: {len(cells)} cells, the first line has {len(head)} columns; put quotes around a cell with commas")
    row = dict(zip(head, cells, strict=True))
    if not row["taxon"]:
        raise InputError(f"{where}: no taxon; write a scientific name or a taxon id")
    category = row["category"].upper().replace(" ", "")
    if category not in CATEGORIES:
        near = did_you_mean(category, CATEGORIES)
        raise InputError(f"{where}: category {row['category']!r} is none of {', '.join(CATEGORIES)}.{near}")
    if not row["reason"]:
        raise InputError(f"{where}: no reason; write why {row['taxon']} is sensitive: it is told wherever the species is")
    try:
        review = date.fromisoformat(row["review"]) if row["review"] else None
    except ValueError:
        raise InputError(f"{where}: review {row['review']!r} is no date; write it as 2030-12-31") from None
    region = "" if row["region"] == "*" else row["region"]
    return SensitiveRule(taxon=row["taxon"], region=region, category=category, reason=row["reason"], review=review, line=line)


def check_regions(rules: Iterable[SensitiveRule], known: Iterable[str], path: str | os.PathLike[str]) -> None:
    """Raises InputError for a region that the grid does not know."""
    names = sorted({name for name in known if name})
    folded = {name.casefold() for name in names}
    for rule in rules:
        if rule.region and rule.region.casefold() not in folded:
            told = f"the grid's tiles are of {', '.join(names)}" if names else "the grid says no region of its tiles"
            raise InputError(
                f"{os.fspath(path)}:{rule.line}: region {rule.region!r} is not known: {told}; leave it blank for everywhere."
                f"{did_you_mean(rule.region, names)}"
            )


def rules_in(rules: Iterable[SensitiveRule], regions: Iterable[str]) -> tuple[SensitiveRule, ...]:
    """The rules that hold in a tile of these regions."""
    here = {name.casefold() for name in regions}
    return tuple(rule for rule in rules if not rule.region or rule.region.casefold() in here)


def rules_of(rules: Iterable[SensitiveRule], species: SpeciesList) -> tuple[dict[int, list[SensitiveRule]], list[str]]:
    """Position of a species -> its rules; and of names that are not in the list what to say of each.

    Names are compared without authors, case and spaces more than one.
    """
    known = {_key(name): k for k, taxon in enumerate(species) for name in (taxon.scientific_name, taxon.taxon_id)}
    found: dict[int, list[SensitiveRule]] = {}
    missing: dict[str, str] = {}
    for rule in rules:
        parsed = parse_name(rule.taxon)
        bare = _key(" ".join((parsed.genus, *parsed.epithets)))
        k = known.get(_key(rule.taxon), known.get(bare))
        if k is None:
            near = did_you_mean(rule.taxon, [name for taxon in species for name in (taxon.scientific_name, taxon.taxon_id)])
            missing[rule.taxon] = f"{rule.taxon!r} (line {rule.line}) is none of the {len(species)} species mapped.{near}"
        else:
            found.setdefault(k, []).append(rule)
    return dict(sorted(found.items())), list(missing.values())


def overdue(rules: Iterable[SensitiveRule], today: date) -> list[SensitiveRule]:
    """Rules whose date of review has passed. They hold all the same."""
    return [rule for rule in rules if rule.review and rule.review < today]


def square(category: str, cells: int, cell_size: float) -> int:
    """Cells along the squares of a category in tiles of `cells` cells of `cell_size` metres; `WITHHELD` where there are none.

    The least that divide the tile without rest and are at least as wide as the category's; where even the tile is narrower, none.
    """
    least = CATEGORIES[category]
    wide = [n for n in range(1, cells + 1) if cells % n == 0 and n * cell_size >= least] if least is not None else []
    return wide[0] if wide else WITHHELD


def squares(rules: Mapping[int, Sequence[SensitiveRule]], cells: int, cell_size: float) -> dict[int, int]:
    """Position of a species -> cells along its squares, `WITHHELD` where it has none: of several rules the strictest holds."""
    found = {}
    for k, own in rules.items():
        sides = [square(rule.category, cells, cell_size) for rule in own]
        found[k] = WITHHELD if WITHHELD in sides else max(sides)
    return found


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()
