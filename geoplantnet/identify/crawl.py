"""The crawl filter: of pages that an image search returned for species, those whose image most likely shows the species that was asked for.

A page is kept when the genus and the epithet stand in its title, or both in its caption; when it names no other species of the genus; and when
its image was not returned for another species too. A pure function of the pages: nothing is fetched here.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from geoplantnet.errors import InputError, UsageError
from geoplantnet.taxonomy.backbone import parse_name

NOT_ASKED = "species not asked for"
NO_IMAGE = "no image"
SEVERAL = "same image for several species"
MISSING = "genus or epithet missing in title and caption"
OTHER = "another species of the genus on the page"
AGAIN = "same image again"
LIMIT = "over the limit of the species"
REASONS = (NOT_ASKED, NO_IMAGE, SEVERAL, MISSING, OTHER, AGAIN, LIMIT)
"""In the order they are asked: a page is counted under the first."""

_LIGATURES = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "ß": "ss", "×": " x "})
_TOKEN = re.compile(r"[a-z]+\.?|[^\sa-z]")
_SEPARATORS = re.compile(r"[-_‐‑–—\d%]+")
_BETWEEN = {"x", "x.", "cf", "cf.", "aff", "aff.", "var.", "subsp.", "ssp.", "*", '"', "(", "'"}
"""What may stand between a genus and an epithet."""
_AND = {"and", "or", "et", "ou", "und", "oder", "y", "e", "o", "i", "en", "och", "vs", "vs.", "x", "&", ",", "/", "+", ";"}
"""What joins epithets of one genus: Quercus robur and petraea, Quercus robur x petraea."""
_ABBREVIATED = 4  # letters: Q. robur, Qu. robur, Quer. robur

Epithet = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CandidatePage:
    """What an image search returned for a species."""

    url: str
    """Of the page; its host is the site."""
    title: str
    caption: str
    """Of the image, its file name too where that is all there is."""
    text: str
    """Of the page, without markup."""
    image: str
    """Id of the image: the same for the same image, such as its SHA-256."""
    species: str
    """Name that was searched for."""


@dataclass(frozen=True, kw_only=True)
class CrawlReport:
    """What was kept, and why the rest was not: read = kept + sum of counts, also species by species."""

    kept: tuple[CandidatePage, ...]
    """By species in the order asked, then in the order chosen; the same whatever the order of the pages."""
    read: int
    counts: Mapping[str, int]
    """Pages by reason, in the order of `REASONS`; reasons that did not occur are left out."""
    by_species: Mapping[str, Mapping[str, int]]
    """Species asked for -> pages kept (``kept``) and refused by reason. Pages of a species nobody asked for are in `counts` alone."""


def filter_crawl(
    pages: Iterable[CandidatePage], species: Iterable[str], *, known: Iterable[str] = (), per_species: int = 50, seed: int = 0
) -> CrawlReport:
    """Candidate pages of `species` (names, with or without authors) -> those to keep.

    Another species of the genus is one of `species` or of `known` (a larger checklist: the more it holds, the more is found), written with its
    genus (Quercus petraea), its genus abbreviated (Q. petraea) or after a name of the genus (Quercus robur and petraea). An abbreviation may mean
    another genus of that letter; the page is refused then too: an image lost costs less than a wrong one kept. Subspecies, varieties and authors
    do not matter; case, accents, hyphens and underscores neither.

    At most `per_species` images a species: sites take turns, in an order drawn from `seed`, and give a page each, drawn the same way, so
    that no site has more than one page above another that had some left.

    Raises InputError for a name that is no species, UsageError for a `per_species` below 1.
    """
    if per_species < 1:
        raise UsageError(f"per_species {per_species} must be at least 1")
    asked: dict[tuple[str, Epithet], str] = {}
    for name in species:
        asked.setdefault(_binomial(name), name)
    genera: dict[str, set[Epithet]] = defaultdict(set)
    for genus, epithet in (*asked, *map(_binomial, known)):
        genera[genus].add(epithet)
    candidates = sorted(pages, key=lambda page: (_drawn(seed, page), page.species, page.url, page.title, page.caption, page.text))
    names = {name: _binomial_or_none(name) for name in {page.species for page in candidates}}
    returned: dict[str, set[object]] = defaultdict(set)
    for page in candidates:
        returned[page.image].add(names[page.species] or page.species)
    counts = dict.fromkeys(REASONS, 0)
    told = {name: {"kept": 0} for name in asked.values()}
    passed: dict[str, list[CandidatePage]] = {name: [] for name in asked.values()}
    images: set[str] = set()
    for page in candidates:
        key = names[page.species]
        if key is None or key not in asked:
            counts[NOT_ASKED] += 1
            continue
        own = asked[key]
        reason = _reason(page, key, genera[key[0]], returned) or (AGAIN if page.image in images else "")
        if reason:
            _add(reason, counts, told[own])
        else:
            images.add(page.image)
            passed[own].append(page)
    kept: list[CandidatePage] = []
    for name, own_pages in passed.items():
        chosen = _in_turns(own_pages, seed)
        kept += chosen[:per_species]
        told[name]["kept"] = len(chosen[:per_species])
        for _ in chosen[per_species:]:
            _add(LIMIT, counts, told[name])
    return CrawlReport(
        kept=tuple(kept), read=len(candidates), counts={reason: count for reason, count in counts.items() if count}, by_species=told
    )


def names_other(text: str, genus: str, own: Epithet, epithets: Iterable[Epithet]) -> bool:
    """Whether a text names a species of the genus by another of `epithets` than its `own`. All in lower case, epithets by their words."""
    known = sorted({own, *epithets}, key=len, reverse=True)  # "bursa-pastoris" before "bursa"
    tokens = _tokens(text)
    words = [token.rstrip(".") for token in tokens]

    def epithet_at(position: int) -> Epithet | None:
        return next((epithet for epithet in known if tuple(words[position : position + len(epithet)]) == epithet), None)

    for position, token in enumerate(tokens):
        if token[0] != genus[0] or not _is_genus(token, genus):
            continue
        at = position + 1
        while at < len(tokens) and tokens[at] in _BETWEEN:
            at += 1
        while (found := epithet_at(at)) is not None:
            if found != own:
                return True
            at += len(found)
            joined = at
            while joined < len(tokens) and tokens[joined] in _AND:
                joined += 1
            if joined == at:
                break
            at = joined
    return False


def _reason(page: CandidatePage, key: tuple[str, Epithet], epithets: set[Epithet], returned: Mapping[str, set[object]]) -> str:
    genus, epithet = key
    if not page.image:
        return NO_IMAGE
    if len(returned[page.image]) > 1:
        return SEVERAL
    if not any(_holds(text, (genus,)) and _holds(text, epithet) for text in (page.title, page.caption)):
        return MISSING
    if any(names_other(text, genus, epithet, epithets) for text in (page.title, page.caption, page.text)):
        return OTHER
    return ""


def _is_genus(token: str, genus: str) -> bool:
    """The genus in full, or abbreviated by its first letters and a full stop."""
    word = token.rstrip(".")
    return word == genus or (token.endswith(".") and 1 <= len(word) <= _ABBREVIATED and genus.startswith(word))


def _holds(text: str, words: tuple[str, ...]) -> bool:
    """Whether the words stand in a text one after the other."""
    found = [token.rstrip(".") for token in _tokens(text)]
    return any(tuple(found[i : i + len(words)]) == words for i in range(len(found) - len(words) + 1))


def _tokens(text: str) -> list[str]:
    """Words in lower case without accents, each with the full stop that follows it; any other mark is a token of its own."""
    folded = text.casefold()
    if not folded.isascii():
        folded = "".join(mark for mark in unicodedata.normalize("NFKD", folded.translate(_LIGATURES)) if not unicodedata.combining(mark))
    return _TOKEN.findall(_SEPARATORS.sub(" ", folded))


def _binomial(name: str) -> tuple[str, Epithet]:
    found = _binomial_or_none(name)
    if found is None:
        raise InputError(f"{name!r} is no species ({parse_name(name).reason}); give genus and epithet")
    return found


def _binomial_or_none(name: str) -> tuple[str, Epithet] | None:
    """Genus and the words of the epithet, in lower case without accents; None for what names no species."""
    parsed = parse_name(name)
    if parsed.reason:
        return None
    genus = _tokens(parsed.genus)
    return (genus[0], tuple(word for epithet in parsed.epithets for word in _tokens(epithet))) if len(genus) == 1 else None


def _in_turns(pages: list[CandidatePage], seed: int) -> list[CandidatePage]:
    """Pages of the sites in turn: each site's first, then each one's second ... Both orders are drawn from the seed."""
    by_site: dict[str, list[CandidatePage]] = defaultdict(list)
    for page in pages:
        by_site[(urlsplit(page.url).hostname or "").removeprefix("www.")].append(page)
    sites = sorted(by_site, key=lambda site: (_hash(seed, site), site))
    longest = max((len(own) for own in by_site.values()), default=0)
    return [by_site[site][turn] for turn in range(longest) for site in sites if turn < len(by_site[site])]


def _drawn(seed: int, page: CandidatePage) -> str:
    return _hash(seed, page.image, page.url)


def _hash(seed: int, *texts: str) -> str:
    return hashlib.sha256("\0".join([str(seed), *texts]).encode("utf-8", "surrogatepass")).hexdigest()


def _add(reason: str, *books: dict[str, int]) -> None:
    for book in books:
        book[reason] = book.get(reason, 0) + 1
