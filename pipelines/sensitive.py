"""Sensitive species of a run: which rules of its table hold in a tile, and what is told of each species because of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from geoplantnet.config.load import named_grids
from geoplantnet.errors import UsageError
from geoplantnet.taxonomy.sensitive import WITHHELD, SensitiveRule, check_regions, overdue, read_sensitive, rules_in, rules_of, squares
from geoplantnet.taxonomy.species_list import SpeciesList
from pipelines.context import Run
from pipelines.ledger import fingerprint
from pipelines.tables import known_traits, stored_species

_REGIONS = ("country", "countries", "biogeographic_region")
"""Columns of a grid's table that name regions."""
_FROM_PLACES = ("range_squares", "specialisation")
"""Traits that are counted from where records lie."""


def rules(run: Run) -> tuple[SensitiveRule, ...]:
    """All rules of the recipe's table; none without one. Raises InputError for a table, or a region, that is not as it should be."""
    path = run.recipe.sensitive
    if path is None:
        return ()
    found = read_sensitive(path)
    if any(rule.region for rule in found):
        check_regions(found, {name for tile in run.tiles for name in _regions(run).get(tile, ())}, path)
    return found


def rules_by_tile(run: Run) -> dict[str, tuple[SensitiveRule, ...]]:
    """The rules that hold in each of the run's tiles; no tile without any."""
    found = rules(run)
    regions = _regions(run) if any(rule.region for rule in found) else {}
    return {tile: own for tile in run.tiles if (own := rules_in(found, regions.get(tile, ())))}


def asked(own: tuple[SensitiveRule, ...]) -> list[list[str]]:
    """What of a tile's rules changes its predictions: neither reasons nor dates."""
    return [list(pair) for pair in sorted({(rule.taxon, rule.category) for rule in own})]


def seal(own: tuple[SensitiveRule, ...]) -> str:
    """What a mapped tile carries of its rules: by it a tile that was mapped under others is known. Empty without rules."""
    return fingerprint(asked(own)) if own else ""


def squares_of(run: Run, tile_id: str, species: SpeciesList) -> dict[int, int]:
    """Position of each species that is sensitive in a tile -> cells along its squares, 0 where it is withheld."""
    found, _ = rules_of(rules_by_tile(run).get(tile_id, ()), species)
    return squares(found, run.grid.cells_per_side, run.grid.cell_size)


def sensitive_traits(run: Run) -> dict[str, dict[str, Any]]:
    """What the catalog tells of every sensitive taxon id:

    `generalised`: metres of the widest squares it is told in, anywhere; absent where it is told in none; `withheld`: true where no tile
    tells of it; `withheld_in_part`: true where some do not; `generalisation`: the sentence for people (Darwin Core's dataGeneralizations or
    informationWithheld); `sensitive_category` and `sensitive_reason` by themselves.
    """
    species, of_tile = stored_species(run), rules_by_tile(run)
    told: dict[str, dict[str, Any]] = {}
    sides: dict[int, set[int]] = {}
    known: dict[tuple[SensitiveRule, ...], dict[int, int]] = {}
    for tile in run.tiles:
        own = of_tile.get(tile, ())
        if own not in known:
            known[own] = squares(rules_of(own, species)[0], run.grid.cells_per_side, run.grid.cell_size)
        for k, side in known[own].items():
            sides.setdefault(k, set()).add(side)
    held, _ = rules_of([rule for rule in rules(run) if any(rule in own for own in known)], species)
    for k, found in sorted(sides.items()):
        everywhere = all(known[of_tile.get(tile, ())].get(k) == WITHHELD for tile in run.tiles)
        metres = max(found) * run.grid.cell_size
        trait: dict[str, Any] = {
            "generalisation": sentence(metres, found, everywhere, held[k]),
            "sensitive_category": ", ".join(dict.fromkeys(rule.category for rule in held[k])),
            "sensitive_reason": "; ".join(dict.fromkeys(rule.reason for rule in held[k])),
        }
        if metres:
            trait["generalised"] = metres
        if everywhere:
            trait["withheld"] = True
        elif WITHHELD in found:
            trait["withheld_in_part"] = True
        told[species[k].taxon_id] = trait
    return told


def sentence(metres: int, sides: set[int], everywhere: bool, own: list[SensitiveRule]) -> str:
    """What is done to a species, and why."""
    why = " and ".join(dict.fromkeys(rule.words() for rule in own))
    if everywhere:
        return f"Information withheld: the species is sensitive ({why})"
    part = ", and withheld in part of the area," if WITHHELD in sides else ""
    done = f"Mean over squares of {kilometres(metres)}{part}" if metres else "Withheld in part of the area"
    return f"{done}: the species is sensitive ({why})"


def kilometres(metres: int) -> str:
    """A length as people read it."""
    return f"{metres / 1000:g} km" if metres >= 1000 else f"{metres} m"


def traits_told(run: Run) -> dict[str, dict[str, Any]]:
    """What the catalog tells of every taxon id: its traits, and what is done because it is sensitive.

    Of a sensitive one nothing that was counted from the exact places of its records.
    """
    known: Mapping[str, Mapping[str, Any]] = known_traits(run)
    told = {taxon: dict(traits) for taxon, traits in known.items()}
    for taxon, more in sensitive_traits(run).items():
        lists = {name: value for name, value in told.get(taxon, {}).items() if name not in _FROM_PLACES}
        told[taxon] = {**lists, **more}
    return told


def withheld(run: Run) -> frozenset[int]:
    """Positions of the species that no tile tells of."""
    if run.recipe.sensitive is None:
        return frozenset()
    species = stored_species(run)
    return frozenset(species.index_of(taxon) for taxon, told in sensitive_traits(run).items() if told.get("withheld"))


def records_squares(run: Run) -> dict[str, int]:
    """Metres of the squares that records of a sensitive taxon id are told in; 0 where they are not, as of a species withheld in any tile."""
    found = sensitive_traits(run) if run.recipe.sensitive is not None else {}
    parted = ("withheld", "withheld_in_part")
    return {taxon: 0 if any(told.get(name) for name in parted) else told.get("generalised", 0) for taxon, told in found.items()}


def require_told(run: Run, species: SpeciesList, chosen: Iterable[int]) -> None:
    """Raises UsageError for a species that is told nowhere."""
    silent = withheld(run)
    for k in chosen:
        if k in silent:
            raise UsageError(
                f"{species[k].scientific_name} is sensitive and withheld: there is nothing to export of it; {run.recipe.sensitive} says why"
            )


def generalisations(run: Run) -> dict[str, str]:
    """What is said of every sensitive taxon id."""
    return {taxon: str(told["generalisation"]) for taxon, told in sensitive_traits(run).items()} if run.recipe.sensitive else {}


def remarks(run: Run, species: SpeciesList) -> list[str]:
    """What the operator should know of the table: names that no species has, so that nobody protects them, and dates that have passed."""
    found = rules(run)
    _, missing = rules_of(found, species)
    late = overdue(found, date.today())
    path = run.recipe.sensitive
    return [f"{path}: {words}" for words in missing] + [
        f"{path}:{rule.line}: {rule.taxon}: to be reviewed by {rule.review}, which has passed; its category holds until it is changed"
        for rule in late
    ]


def _regions(run: Run) -> dict[str, tuple[str, ...]]:
    """Country codes and biogeographic region of the tiles, as their named grid tells them; of a list of tiles any grid that has them."""
    tiles = run.recipe.grid.tiles
    grids = named_grids()
    found: dict[str, tuple[str, ...]] = {}
    for file in [grids[tiles]] if isinstance(tiles, str) and tiles in grids else grids.values():
        for tile, own in _table(file, file.stat().st_mtime_ns).items():
            found.setdefault(tile, own)
    return found


@lru_cache(maxsize=16)
def _table(file: Path, changed: int) -> dict[str, tuple[str, ...]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return {
            row["tile_id"]: tuple(dict.fromkeys(name for column in _REGIONS for name in (row.get(column) or "").split("|") if name))
            for row in csv.DictReader(lines)
        }
