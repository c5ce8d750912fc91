"""From a name as somebody wrote it to one accepted species. Names in -> (verbatim, accepted, taxon_id, status, source).

Three tables give the answer, in this order:

1. our own `data/synonyms_swiss_plots.csv` (shipped): Swiss names of the 1930s to 1990s, Latin spelling variants, aggregates, species the
   reference lacks, and genera that are no vascular plants. Written for this project; `source` says where an equivalence can be looked up.
2. the species reference (a user's file): a name of the Pl@ntNet list is accepted; a name of another list is accepted unless the synonym
   table links it to exactly one name of the Pl@ntNet list, so that one species does not stand under two names.
3. GermanSL's synonyms (a user's file), reduced to species. Misapplied names (author "auct.") are left out: they name another plant.

Then, and only then, Latin spelling (`sylvatica` = `silvatica`) and, for names cut by a table's fixed width, a unique prefix.
"""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from geoplantnet.errors import InputError
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon

CHECKLIST = "accepted names of European vascular plants, geoplantnet 2026"
"""The checklist our taxon ids belong to."""

OWN_TABLE = "synonyms_swiss_plots.csv"
REASONS = (
    "missing name",
    "genus only",
    "several species pooled",
    "uncertain identification",
    "hybrid without a name",
    "not a scientific name",
)
"""Why a name is no species, before any table is asked."""
KINDS = ("synonym", "spelling", "aggregate", "accepted", "bryophyte", "lichen", "indeterminate")
"""What a row of our own table says. The first four lead to a species; the others are reasons to reject (a row may name a whole genus)."""
_LEADS = ("synonym", "spelling", "aggregate")

_LAYERS = {"B": "tree", "S": "shrub", "K": "herb", "M": "moss", "F": "lichen"}
_LAYER = re.compile(r"^([BSKMF])\.(?=[A-Z])")
_AGGREGATE = {"agg", "aggr", "ag", "sl", "slat", "ss", "sstr", "sensu", "lato", "stricto", "coll", "group", "auct"}
_INFRASPECIFIC = {"subsp", "ssp", "var", "f", "fo", "convar", "cv", "subvar"}
_UNDETERMINED = {"sp", "spp", "spec", "species", "indet"}
_DOUBT = {"cf", "aff"}
_GLUED_RANK = re.compile(r"ssp[a-z]")
_EPITHET = re.compile(r"[a-z][a-z\-]+")
_GENUS = re.compile(r"[A-Z][a-z\-]+")
_SPECIES = re.compile(r"[A-Z][a-z\-]+ (x )?[a-z\-]+")


@dataclass(frozen=True, kw_only=True)
class ParsedName:
    """A scientific name taken apart."""

    verbatim: str
    genus: str = ""
    """Capitalised genus; empty when the text is no scientific name."""
    epithets: tuple[str, ...] = ()
    """Lower-case words after the genus, up to an author or a rank mark; more than one when a hyphen was lost."""
    layer: str = ""
    """Vegetation layer of a prefix letter (tree, shrub, herb, moss, lichen), or empty."""
    hybrid: bool = False
    """A named hybrid or hybrid formula."""
    aggregate: bool = False
    """Marked as an aggregate or in the wide or narrow sense."""
    reason: str = ""
    """Why this names no species: one of `REASONS`; empty when it does."""

    @property
    def candidates(self) -> tuple[str, ...]:
        """Species names this may mean, most specific first: lost hyphen restored or closed up, binomial, named hybrid."""
        if self.reason:
            return ()
        genus, first = self.genus, self.epithets[0]
        if self.hybrid:
            return f"{genus} x {first}", f"{genus} {first}"
        rejoined = (f"{genus} {first}-{self.epithets[1]}", f"{genus} {first}{self.epithets[1]}") if len(self.epithets) > 1 else ()
        return *rejoined, f"{genus} {first}", f"{genus} x {first}"


def parse_name(verbatim: object) -> ParsedName:
    """Take a name apart: dots or underscores for spaces, layer letters, ranks, aggregates, hybrids, authors.

    Handles ``K.Athyrium.filix.femina.``, ``Convallaria_majalis_``, ``Pinus mugo subsp. uncinata (DC.) Domin``, ``Quercus_spec.``,
    ``Populus_alba_._nigra``. Never raises: what names no species carries a `reason`.
    """
    text = "" if _blank(verbatim) else str(verbatim).strip()
    match = _LAYER.match(text)
    layer = _LAYERS[match[1]] if match else ""

    def parsed(**fields: Any) -> ParsedName:
        return ParsedName(verbatim=text, layer=layer, **fields)

    words = _words(text[match.end() :] if match else text)
    if not words or text.lower() in {"nan", "na", "none"}:
        return parsed(reason="missing name")
    if words[0] == "x" and len(words) > 1:  # a hybrid genus
        words = words[1:]
    genus = words[0]
    if not _GENUS.fullmatch(genus):
        return parsed(reason="not a scientific name")
    epithets: list[str] = []
    hybrid = aggregate = False
    for position, word in enumerate(words[1:], start=1):
        following = words[position + 1] if position + 1 < len(words) else ""
        if word == "x":
            hybrid = True
            if epithets and _EPITHET.fullmatch(following):  # two parents, no species
                return parsed(genus=genus, hybrid=True, reason="hybrid without a name")
        elif word == "/":
            if epithets and _EPITHET.fullmatch(following) and following not in _AGGREGATE | _UNDETERMINED:
                return parsed(genus=genus, reason="several species pooled")
        elif word in _DOUBT:
            return parsed(genus=genus, reason="uncertain identification")
        elif word in _AGGREGATE or (word == "s" and following in {"l", "lat", "str", "s"}):
            aggregate = True
            break
        elif word in _UNDETERMINED | _INFRASPECIFIC or _GLUED_RANK.match(word) or not _EPITHET.fullmatch(word):
            break
        else:
            epithets.append(word)
    if not epithets:
        return parsed(genus=genus, hybrid=hybrid, reason="hybrid without a name" if hybrid else "genus only")
    return parsed(genus=genus, epithets=tuple(epithets[:2]), hybrid=hybrid, aggregate=aggregate)


def _words(text: str) -> list[str]:
    """ASCII words; ``x`` marks a hybrid and ``/`` parts pooled species ("alba, nigra", "alba/nigra", "alba_._nigra", "dilatata._spinulosa").

    A lost hyphen ("ruta.muraria") and an abbreviation ("spec.") both show as a dot: both become a space.
    """
    plain = _ascii(text.replace("×", " x "))
    if plain.isupper():
        plain = plain.capitalize()
    if "_" in plain:
        plain = plain.replace("_x_", " x ").replace("_._", " / ")
        plain = re.sub(
            r"(?<=[a-z]{4})\._(?=[a-z])", lambda m: " / " if _last_word(plain[: m.start()]) not in _INFRASPECIFIC else " ", plain
        )
    plain = re.sub(r",\s*(?=[a-z]{3})|(?<=[a-z])/(?=[a-z])", " / ", plain)
    return re.sub(r"[._,;]+", " ", plain).split()


def _last_word(text: str) -> str:
    return re.split(r"[._\s]", text)[-1]


def slug(scientific_name: str) -> str:
    """Taxon id of an accepted name: lower case ASCII words joined by ``-`` (``Picea abies`` -> ``picea-abies``)."""
    return re.sub(r"[^a-z0-9]+", "-", _ascii(scientific_name).lower()).strip("-")


def spelling_key(name: str) -> str:
    """What Latin spelling variants of a binomial share: y = i, ae = oe = e, ph = f, doubled letters, h after r or t, gender endings.

    ICN Art. 60 (orthography) and 61 (variants) treat such differences as one name.
    """
    genus, _, epithet = _ascii(name).lower().partition(" ")
    return f"{_stem(genus, endings='')} {_stem(epithet, endings='(?:us|um|a|is|e|er|ris|re|os|on)')}"


class _Answer(NamedTuple):
    accepted: str
    status: str
    source: str


class _Own(NamedTuple):
    accepted: str
    kind: str
    source: str


class Backbone:
    """Accepted names and synonyms. Build it from tables, or with `Backbone.read` from files."""

    def __init__(self, species_reference: pd.DataFrame, synonyms: pd.DataFrame, own: pd.DataFrame | None = None) -> None:
        """`species_reference` has `species` and optionally genus, family, common_name_en (or another language's), src_plantclef; `synonyms` has `synonym`,
        `accepted` and optionally `synonym_author`; `own` has `verbatim`, `accepted`, `kind`, `source` (default: the shipped table).

        An own row that leads to a species this reference lacks stays without effect and is named in `unused`. Raises InputError on missing
        columns, an unknown kind or a verbatim name given twice.
        """
        _need(species_reference, ("species",), "species reference")
        _need(synonyms, ("synonym", "accepted"), "synonym table")
        own = own_table() if own is None else own
        _need(own, ("verbatim", "accepted", "kind", "source"), "own synonym table")
        columns = (own[c].fillna("").astype(str) for c in ("verbatim", "accepted", "kind", "source"))
        self._own = {verbatim: _Own(accepted, kind, source) for verbatim, accepted, kind, source in zip(*columns)}
        if len(self._own) != len(own):
            raise InputError(f"own synonym table names {own.verbatim[own.verbatim.duplicated()].iloc[0]!r} twice; keep one row")
        unknown = sorted({row.kind for row in self._own.values()} - set(KINDS))
        if unknown:
            raise InputError(f"own synonym table has kind {unknown[0]!r}; known kinds are {', '.join(KINDS)}")
        names = [str(name) for name in species_reference["species"].drop_duplicates()]
        self._family = _column(species_reference, "family")
        self.common_names: Mapping[str, Mapping[str, str]] = {
            column.removeprefix("common_name_"): _column(species_reference, column)
            for column in map(str, species_reference.columns)
            if re.fullmatch("common_name_[a-z]{2}", column)
        }
        """Language (ISO 639-1) -> accepted name -> common name, as far as the reference has them."""
        self._english = self.common_names.get("en", {})
        self._family_of_genus = {name.split()[0]: family for name, family in self._family.items()}
        main = (
            set(species_reference.loc[species_reference["src_plantclef"] == 1, "species"])
            if "src_plantclef" in species_reference
            else set(names)
        )
        self._links = _links(synonyms)
        self._bridge = _bridge(self._links, main, set(names))
        main_spellings = Counter(spelling_key(name) for name in main)
        self._accepted: dict[str, _Answer] = {}
        for name in names:
            row, genus_row = self._own.get(name), self._own.get(name.split()[0])
            moved = name in self._bridge or (row is not None and row.kind in _LEADS)  # our own table may move an accepted name to another
            variant = name not in main and main_spellings[spelling_key(name)] == 1  # one species in two spellings: the main list's stays
            other = genus_row is not None and genus_row.kind in ("bryophyte", "lichen")
            if _SPECIES.fullmatch(name) and not (moved or variant or other):
                self._accepted[name] = _Answer(name, "accepted", "species reference")
        self._accepted.update({name: _Answer(name, "accepted", row.source) for name, row in self._own.items() if row.kind == "accepted"})
        self._by_spelling = self._index_spelling()

    @classmethod
    def read(cls, species_reference: str | os.PathLike[str], synonyms: str | os.PathLike[str]) -> Backbone:
        """From `species_reference.csv` and `synonyms_germansl.csv` of a user's data folder. Raises InputError when one is missing."""
        return cls(_csv(species_reference), _csv(synonyms))

    def resolve(self, names: Iterable[object], *, width: int | None = None) -> pd.DataFrame:
        """One row a name, in order: verbatim, accepted, taxon_id, genus, status, source, reason.

        status is accepted, synonym, aggregate, spelling, prefix or unresolved; accepted and taxon_id are empty when unresolved, and `reason`
        then says why. `width`: names of at least so many characters may have been cut by a fixed-width table and may be completed when
        exactly one accepted species begins so (status prefix).
        """
        memory: dict[object, tuple[str, ...]] = {}
        rows = []
        for name in names:
            key = "" if _blank(name) else name
            if key not in memory:
                memory[key] = self._row(key, width)
            rows.append(memory[key])
        return pd.DataFrame(rows, columns=["verbatim", "accepted", "taxon_id", "genus", "status", "source", "reason"], dtype=object)

    def taxon(self, accepted: str) -> Taxon:
        """The Taxon of an accepted name, with family and English name where the reference has them."""
        genus = accepted.split()[0]
        family = self._family.get(accepted) or self._family_of_genus.get(genus, "")
        return Taxon(
            taxon_id=slug(accepted), scientific_name=accepted, genus=genus, family=family, vernacular_name=self._english.get(accepted, "")
        )

    @property
    def accepted_names(self) -> list[str]:
        """Every accepted species name, sorted."""
        return sorted(self._accepted)

    @property
    def unused(self) -> list[str]:
        """Rows of the own table that lead to no accepted species of this reference, sorted."""
        return sorted(name for name, row in self._own.items() if row.kind in _LEADS and row.accepted not in self._accepted)

    def _row(self, verbatim: object, width: int | None) -> tuple[str, ...]:
        parsed = parse_name(verbatim)
        unresolved = (parsed.verbatim, "", "", parsed.genus, "unresolved")
        whole = self._own.get(parsed.genus)
        own = self._own.get(" ".join((parsed.genus, *parsed.epithets)), whole) or whole
        if own is not None and own.kind in ("bryophyte", "lichen", "indeterminate"):
            return *unresolved, own.source, own.kind
        if parsed.layer in ("moss", "lichen"):
            return *unresolved, "", "bryophyte" if parsed.layer == "moss" else "lichen"
        if parsed.reason == "genus only" and whole is not None and whole.accepted in self._accepted:
            answer: _Answer | None = _Answer(whole.accepted, whole.kind, whole.source)
        elif parsed.reason:
            return *unresolved, "", parsed.reason
        else:
            answer = (
                next((a for a in map(self._lookup, parsed.candidates) if a), None)
                or self._spelled(parsed)
                or self._completed(parsed, width)
            )
        if answer is None:
            return *unresolved, "", "name not in the checklist"
        status = "aggregate" if parsed.aggregate and answer.status in ("accepted", "synonym", "spelling") else answer.status
        return parsed.verbatim, answer.accepted, slug(answer.accepted), answer.accepted.split()[0], status, answer.source, ""

    def _lookup(self, name: str) -> _Answer | None:
        row = self._own.get(name)
        if row is not None and row.kind in _LEADS:
            return _Answer(row.accepted, row.kind, row.source) if row.accepted in self._accepted else None
        if name in self._accepted:
            return self._accepted[name]
        for target in (self._bridge.get(name), self._links.get(name)):
            if target is None:
                continue
            onward = self._own.get(target)
            if onward is not None and onward.kind in _LEADS:
                target = onward.accepted
            target = self._bridge.get(target, target)
            if target in self._accepted:
                return _Answer(target, "synonym", "GermanSL 1.5")
        return None

    def _spelled(self, parsed: ParsedName) -> _Answer | None:
        for candidate in parsed.candidates:
            found = self._by_spelling.get(spelling_key(candidate), set())
            if len(found) == 1:
                return _Answer(next(iter(found)), "spelling", "ICN Art. 60-61")
        return None

    def _completed(self, parsed: ParsedName, width: int | None) -> _Answer | None:
        if width is None or len(parsed.verbatim) < width:
            return None
        for candidate in parsed.candidates:
            found = [name for name in self._accepted if name.startswith(candidate)]
            if len(found) == 1:
                return _Answer(found[0], "prefix", "unique prefix")
        return None

    def _index_spelling(self) -> dict[str, set[str]]:
        index: dict[str, set[str]] = {}
        for name in (*self._accepted, *self._bridge, *self._links, *(n for n, r in self._own.items() if r.accepted)):
            answer = self._lookup(name)
            if answer is not None and " " in name:
                index.setdefault(spelling_key(name), set()).add(answer.accepted)
        return index


def own_table() -> pd.DataFrame:
    """The shipped table: columns verbatim, accepted, kind, source; empty `accepted` for what is no vascular plant species."""
    with resources.files("geoplantnet.taxonomy").joinpath("data", OWN_TABLE).open(encoding="utf-8") as stream:
        return pd.DataFrame(list(csv.DictReader(stream)), columns=["verbatim", "accepted", "kind", "source"])


def species_list_from(accepted: Iterable[str], backbone: Backbone, *, minimum: int = 1) -> SpeciesList:
    """The species axis of a set of records: `accepted` names (one a record), those with at least `minimum` records, sorted by name.

    Raises InputError when none is left.
    """
    counts = pd.Series(list(accepted), dtype=object).value_counts()
    names = sorted(str(n) for n in counts.index[counts >= minimum] if n)
    if not names:
        raise InputError(
            f"no species has {minimum} records or more (largest: {int(counts.max()) if len(counts) else 0}); lower `minimum` or add records"
        )
    return SpeciesList(checklist=CHECKLIST, taxa=tuple(backbone.taxon(n) for n in names))


def _links(synonyms: pd.DataFrame) -> dict[str, str]:
    """Synonym -> accepted, both reduced to species, misapplied names left out."""
    author = synonyms["synonym_author"].fillna("") if "synonym_author" in synonyms else pd.Series("", index=synonyms.index)
    links: dict[str, str] = {}
    kept = synonyms.loc[~author.str.startswith("auct")]
    for synonym, accepted in zip(kept["synonym"], kept["accepted"]):
        here, there = parse_name(synonym), parse_name(accepted)
        if here.reason or there.reason or here.hybrid or there.hybrid or len(here.epithets) > 1:
            continue
        source, target = f"{here.genus} {here.epithets[0]}", f"{there.genus} {there.epithets[0]}"
        if source != target:
            links.setdefault(source, target)
    return links


def _bridge(links: Mapping[str, str], main: set[str], names: set[str]) -> dict[str, str]:
    """Name of another list -> the one name of the main list that is its synonym there."""
    partners: dict[str, set[str]] = {}
    for synonym, accepted in links.items():
        if synonym in main and accepted not in main and accepted in names:
            partners.setdefault(accepted, set()).add(synonym)
    return {name: next(iter(found)) for name, found in partners.items() if len(found) == 1}


def _stem(word: str, *, endings: str) -> str:
    plain = (
        word.replace("ae", "e")
        .replace("oe", "e")
        .replace("y", "i")
        .replace("ph", "f")
        .replace("th", "t")
        .replace("rh", "r")
        .replace("j", "i")
    )
    plain = re.sub(r"(.)\1", r"\1", plain)
    return re.sub(f"{endings}$", "", plain) if endings and len(plain) > 4 else plain


def _ascii(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def _column(table: pd.DataFrame, column: str) -> dict[str, str]:
    known = table.dropna(subset=[column]) if column in table else table.iloc[:0].assign(**{column: ""})
    return {str(name): str(value) for name, value in zip(known["species"], known[column])}


def _blank(value: object) -> bool:
    return value is None or value is pd.NA or value != value


def _need(table: pd.DataFrame, columns: tuple[str, ...], what: str) -> None:
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise InputError(
            f"{what} has no column {missing[0]!r} (it has {', '.join(map(str, table.columns))}); give the file named in the documentation"
        )


def _csv(path: str | os.PathLike[str]) -> pd.DataFrame:
    if not Path(path).is_file():
        raise InputError(f"{path} is not there; point to the folder that holds species_reference.csv and synonyms_germansl.csv")
    return pd.read_csv(path, low_memory=False, keep_default_na=True)
