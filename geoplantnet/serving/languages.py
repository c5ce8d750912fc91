"""A layer told in another language, as far as its publisher gave the words."""

from __future__ import annotations

from dataclasses import replace

from geoplantnet.catalog import Catalog
from geoplantnet.catalog.product import Layer

LANGUAGES = ("en", "fr")
"""What LANGUAGE may ask for, the default first; any other is told in the default."""

_NAMES = {"en": "en", "eng": "en", "fr": "fr", "fra": "fr", "fre": "fr"}


def language_of(text: str) -> str:
    """The language of a LANGUAGE parameter, such as ``fr``, ``fre`` (as INSPIRE writes it) or ``fr-CH``."""
    return _NAMES.get(text[:20].lower().split("-")[0], LANGUAGES[0])


def told_in(layer: Layer, language: str) -> Layer:
    """The layer with its words in a language; those that are not known stay."""
    if language != "fr":
        return layer
    return replace(
        layer,
        title=layer.fr.get("title") or layer.title,
        description=layer.fr.get("description") or layer.description,
        direction=layer.fr.get("direction") or layer.direction,
        classes=tuple(replace(one, label=one.fr or one.label) for one in layer.classes),
        uncertainty=layer.uncertainty and replace(layer.uncertainty, title=layer.uncertainty.fr or layer.uncertainty.title, direction=""),
    )


def notice_in(catalog: Catalog, language: str) -> str:
    """What every reader must know, in a language, where the publisher gave it."""
    return catalog.fr.get("notice") or catalog.notice if language == "fr" else catalog.notice


def title_in(catalog: Catalog, language: str) -> str:
    """What a map is called, in a language, where the publisher gave it."""
    return catalog.fr.get("title") or catalog.title if language == "fr" else catalog.title
