"""Common names: several to a species, in several languages, each with its source."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from geoplantnet.errors import InputError
from geoplantnet.taxonomy.backbone import Backbone
from geoplantnet.taxonomy.species_list import SpeciesList

NAME_COLUMNS = ("taxonID", "vernacularName", "language", "source")
REFERENCE = "species reference"
"""Source of the names that stand in the backbone's own table."""
_TWO_LETTERS = {
    **{"eng": "en", "fra": "fr", "fre": "fr", "deu": "de", "ger": "de", "ita": "it", "spa": "es", "por": "pt", "nld": "nl", "dut": "nl"},
    **{"english": "en", "french": "fr", "german": "de", "italian": "it", "spanish": "es", "portuguese": "pt", "dutch": "nl"},
    **{"français": "fr", "anglais": "en", "cat": "ca", "eus": "eu", "baq": "eu", "bre": "br", "oci": "oc", "roh": "rm"},
}
"""ISO 639-1 of other ways to write languages; GBIF writes ISO 639-2 and -3."""
_LONGEST = 200


@dataclass(frozen=True, kw_only=True)
class NameTable:
    """A table of common names: Darwin Core's extension VernacularName as CSV or, where the file ends otherwise, tab-separated."""

    names: Path
    """Columns vernacularName, language and scientificName; taxonID instead of the last, where `taxa` says which taxon that is."""
    source: str
    """How it is cited."""
    taxa: Path | None = None
    """Columns taxonID and scientificName, of which acceptedNameUsage is taken first where it stands."""


def common_names(species: SpeciesList, backbone: Backbone | None, tables: Sequence[NameTable] = ()) -> pd.DataFrame:
    """All common names of the species, `NAME_COLUMNS`: species by species, by language, then as their tables have them, each once.

    `language` is ISO 639-1 where it has a code, else as it was written; empty = not told. Names of taxa that the backbone does not lead to a
    species of the list are left out. Raises InputError for a table that is missing or lacks a column.
    """
    rows = [(taxon.taxon_id, taxon.vernacular_name, "en", REFERENCE) for taxon in species if taxon.vernacular_name]
    if backbone is not None:
        named = {taxon.scientific_name: taxon.taxon_id for taxon in species}
        rows += [
            (named[accepted], name, language, REFERENCE)
            for language, names in sorted(backbone.common_names.items())
            for accepted, name in names.items()
            if accepted in named
        ]
        for table in tables:
            rows += _read(table, backbone)
    found = pd.DataFrame(rows, columns=list(NAME_COLUMNS), dtype=object)
    place = {taxon.taxon_id: i for i, taxon in enumerate(species)}
    found = found[found["taxonID"].isin(place) & (found["vernacularName"] != "")]
    same = found.assign(folded=found["vernacularName"].str.casefold())
    found = found[~same.duplicated(["taxonID", "language", "folded"]).to_numpy()]
    found = found.assign(place=found["taxonID"].map(place)).sort_values(["place", "language"], kind="stable")
    return found[list(NAME_COLUMNS)].reset_index(drop=True)


def _read(table: NameTable, backbone: Backbone) -> list[tuple[str, str, str, str]]:
    names = _table(table.names, ("vernacularName", "language", "scientificName" if table.taxa is None else "taxonID"))
    if table.taxa is not None:
        taxa = _table(table.taxa, ("taxonID", "scientificName")).drop_duplicates("taxonID").set_index("taxonID")
        told = taxa.get("acceptedNameUsage", taxa["scientificName"])
        names["scientificName"] = names["taxonID"].map(told.mask(told == "", taxa["scientificName"])).fillna("")
    unique = names["scientificName"].drop_duplicates()
    ids = dict(zip(unique, backbone.resolve(unique)["taxon_id"]))
    return [
        (str(ids[verbatim]), tidy_name(name), language_code(language), table.source)
        for verbatim, name, language in zip(names["scientificName"], names["vernacularName"], names["language"])
    ]


def tidy_name(written: str) -> str:
    """A name without marks that cannot be seen and spaces more than one, of at most 200 characters."""
    return " ".join("".join(ch if ch.isprintable() else " " for ch in written).split())[:_LONGEST].rstrip()


def language_code(written: str) -> str:
    """ISO 639-1 of a language or a language tag (``fr-CH``), where it has one; else the word itself, in small letters."""
    word = written.strip().casefold()
    base = re.split(r"[-_]", word)[0]
    return _TWO_LETTERS.get(word) or _TWO_LETTERS.get(base) or (base if re.fullmatch(r"[a-z]{2}", base) else word)


def _table(path: str | os.PathLike[str], columns: Sequence[str]) -> pd.DataFrame:
    file = Path(path)
    try:
        found = pd.read_csv(
            file, sep="," if file.suffix.lower() == ".csv" else "\t", dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); give a table with the columns {', '.join(columns)}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no delimited UTF-8 table ({error}); export it as CSV or tab-separated text") from error
    missing = [column for column in columns if column not in found]
    if missing:
        raise InputError(f"{file} has no column {missing[0]!r} (it has {', '.join(map(str, found.columns))}); name it in Darwin Core terms")
    return found
