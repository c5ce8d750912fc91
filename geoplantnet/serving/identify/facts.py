"""What is told of a species beside its name: authorship, ids elsewhere, Red List category, common names by language."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from geoplantnet.errors import InputError
from geoplantnet.taxonomy.species_list import SpeciesList
from geoplantnet.taxonomy.vernacular import language_code, tidy_name

LANGUAGES = (
    *("en", "fr", "es", "pt", "de", "it", "ar", "cs", "nl", "sk", "zh", "ru", "tr", "pl", "uk", "he", "el", "fi", "id", "ms", "ca", "ja"),
    *(
        "hu",
        "hr",
        "da",
        "ro",
        "bg",
        "nb",
        "sl",
        "sv",
        "et",
        "eu",
        "ur",
        "ml",
        "cy",
        "ku",
        "gl",
        "eo",
        "sat",
        "zh-tw",
        "pt-br",
        "hi",
        "de-at",
    ),
    *("sr", "zh-hant", "bn", "fa", "be", "oc", "lt", "en-au", "br"),
)
"""Codes that clients of Pl@ntNet's API may ask for; names that are missing in one are told in English."""
COLUMNS = ("taxonID", "scientificName", "scientificNameAuthorship", "gbifID", "powoID", "iucnID", "iucnCategory")
CATEGORIES = ("EX", "EW", "CR", "EN", "VU", "NT", "LC", "DD", "NE")
"""Of the IUCN Red List."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Of one species; empty where it is not known."""

    authorship: str = ""
    gbif: str = ""
    powo: str = ""
    iucn: str = ""
    category: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """Of the species of a list, in its order."""

    species: SpeciesList
    of: tuple[Fact, ...]
    names: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    """Language -> taxonID -> common names, the first best."""
    unmatched: int = 0
    """Rows of the table that were of no species of the list."""

    def taxon_id(self, name: str) -> str:
        """The taxonID of a species by its id or its scientific name, with or without authorship. Raises UnknownSpecies with the nearest spellings."""
        return self._written.get(" ".join(name.split())) or self.species[self.species.index_of(name.strip())].taxon_id

    @cached_property
    def _written(self) -> dict[str, str]:
        """TaxonID by name with authorship, as answers tell it."""
        return {
            f"{taxon.scientific_name} {fact.authorship}": taxon.taxon_id for taxon, fact in zip(self.species, self.of) if fact.authorship
        }

    @property
    def languages(self) -> tuple[str, ...]:
        """Those that may be asked for."""
        return (*LANGUAGES, *sorted(set(self.names) - set(LANGUAGES)))

    def common_names(self, i: int, language: str) -> list[str]:
        """Of the i-th species: in the language, or its base (`pt` of `pt-br`), or English; else what the list has."""
        taxon = self.species[i]
        for code in dict.fromkeys((language, language.split("-")[0], "en")):
            if found := self.names.get(code, {}).get(taxon.taxon_id):
                return list(found)
        return [taxon.vernacular_name] if taxon.vernacular_name else []

    def described(self, i: int, language: str) -> dict[str, Any]:
        """`species` of a result of identification."""
        taxon, fact = self.species[i], self.of[i]
        return {
            "scientificNameWithoutAuthor": taxon.scientific_name,
            "scientificNameAuthorship": fact.authorship,
            "scientificName": f"{taxon.scientific_name} {fact.authorship}".rstrip(),
            "genus": group(taxon.genus),
            "family": group(taxon.family),
            "commonNames": self.common_names(i, language),
        }

    def elsewhere(self, i: int) -> dict[str, Any]:
        """Ids in other places, each where it is known."""
        fact = self.of[i]
        told: dict[str, Any] = {}
        if fact.gbif:
            told["gbif"] = {"id": int(fact.gbif)}
        if fact.powo:
            told["powo"] = {"id": fact.powo}
        if fact.iucn and fact.category:
            told["iucn"] = {"id": fact.iucn, "category": fact.category}
        return told

    def listed(self, i: int, language: str) -> dict[str, Any]:
        """A row of a list of species."""
        taxon, fact = self.species[i], self.of[i]
        told: dict[str, Any] = {
            "id": taxon.taxon_id,
            "scientificNameWithoutAuthor": taxon.scientific_name,
            "scientificNameAuthorship": fact.authorship,
            "commonNames": self.common_names(i, language),
        }
        if fact.gbif:
            told["gbifId"] = int(fact.gbif)
        if fact.powo:
            told["powoId"] = fact.powo
        if fact.category:
            told["iucnCategory"] = fact.category
        return told


def group(name: str) -> dict[str, str]:
    """A genus or family, as its three names; their authors are told by nobody."""
    return {"scientificNameWithoutAuthor": name, "scientificNameAuthorship": "", "scientificName": name}


def read_facts(species: SpeciesList, table: str | os.PathLike[str] | None = None, names: str | os.PathLike[str] | None = None) -> Facts:
    """`table`: CSV with some of `COLUMNS`, a row a species, found by taxonID or else by scientificName; `names`: JSON of language -> taxonID -> names.

    Raises InputError for a file that is none, an id of GBIF that is no number, and a category that is none.
    """
    found = [Fact()] * len(species)
    unmatched = 0
    for row in _rows(Path(table)) if table is not None else ():
        name = next((row[key] for key in ("taxonID", "scientificName") if row.get(key) in species), None)
        if name is None:
            unmatched += 1
            continue
        found[species.index_of(name)] = Fact(
            authorship=row.get("scientificNameAuthorship", ""),
            gbif=row.get("gbifID", ""),
            powo=row.get("powoID", ""),
            iucn=row.get("iucnID", ""),
            category=row.get("iucnCategory", ""),
        )
    return Facts(species=species, of=tuple(found), names=_names(Path(names)) if names is not None else {}, unmatched=unmatched)


def _rows(file: Path) -> Iterable[dict[str, str]]:
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{file} cannot be read as CSV in UTF-8 ({error}); its columns are {', '.join(COLUMNS)}") from error
    if not {"taxonID", "scientificName"} & set(table):
        raise InputError(f"{file} has the columns {', '.join(map(str, table))}; it needs taxonID or scientificName")
    for line, values in enumerate(table.itertuples(index=False, name=None), start=2):
        row = {str(column): str(value).strip() for column, value in zip(table.columns, values, strict=True)}
        if row.get("gbifID") and not (row["gbifID"].isascii() and row["gbifID"].isdecimal()):
            raise InputError(f"{file}:{line}: gbifID {row['gbifID']!r} is no number; write the key of the taxon, such as 3152547")
        if row.get("iucnCategory") and row["iucnCategory"] not in CATEGORIES:
            raise InputError(f"{file}:{line}: iucnCategory {row['iucnCategory']!r} is none of {', '.join(CATEGORIES)}")
        yield row


def _names(file: Path) -> Mapping[str, Mapping[str, Sequence[str]]]:
    wanted = "JSON of language -> taxonID -> list of names was expected"
    try:
        value = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}); {wanted}") from error
    if not isinstance(value, dict) or not all(isinstance(by_taxon, dict) for by_taxon in value.values()):
        raise InputError(f"{file} holds something else; {wanted}")
    names: dict[str, dict[str, list[str]]] = {}
    for language, by_taxon in value.items():
        code = language if language in LANGUAGES else language_code(language)
        mine = names.setdefault(code, {})
        for taxon_id, told in by_taxon.items():
            if not (isinstance(told, list) and all(isinstance(name, str) for name in told)):
                raise InputError(f"{file}: names of {taxon_id!r} in {language!r} are {told!r}; {wanted}")
            mine.setdefault(taxon_id, []).extend(name for name in map(tidy_name, told) if name)
    return names
