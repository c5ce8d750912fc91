"""What a server says of sensitive species, in words: wherever one is told, how coarsely, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geoplantnet.catalog.overview import SpeciesOverview


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What is done to a species because it is sensitive."""

    generalised: int | None
    """Metres of the widest squares it is told in; None where it is told in none."""
    withheld: bool
    """Told nowhere: it stands in no list."""
    withheld_in_part: bool
    """Some tiles tell nothing of it."""
    generalisation: str
    """The sentence for people: Darwin Core's dataGeneralizations, or informationWithheld. In English, with the operator's own reason."""
    category: str | None
    """As the operator wrote it: 1 to 4 of Chapman 2020, or a level of the SINP; of several rules all of them, with commas."""
    reason: str | None
    """Why, in the operator's words."""

    @property
    def records_square(self) -> int:
        """Metres of the squares that records are told in; 0 where they are not, as of a species withheld in any tile."""
        return 0 if self.withheld or self.withheld_in_part or self.generalised is None else self.generalised

    def legend(self, language: str) -> str:
        """The same in a few words, for a legend."""
        if self.generalised is None:
            return "espèce sensible, non montrée partout" if language == "fr" else "withheld in part of the area: the species is sensitive"
        return squares_in_words(self.generalised, language)


def sensitivity(traits: Mapping[str, Any]) -> Sensitivity | None:
    """What the catalog's traits of a species say; None for one that is not sensitive."""
    if not traits.get("generalisation"):
        return None
    return Sensitivity(
        generalised=int(traits["generalised"]) if traits.get("generalised") else None,
        withheld=bool(traits.get("withheld")),
        withheld_in_part=bool(traits.get("withheld_in_part")),
        generalisation=str(traits["generalisation"]),
        category=traits.get("sensitive_category"),
        reason=traits.get("sensitive_reason"),
    )


def sensitivities(overview: SpeciesOverview) -> dict[str, Sensitivity]:
    """What is done to each sensitive taxon id of a map."""
    return {taxon_id: found for taxon_id, traits in overview.traits.items() if (found := sensitivity(traits))}


def squares_in_words(metres: int, language: str) -> str:
    """What a value of a generalised species is."""
    if language == "fr":
        return f"moyenne par carrés de {_length(metres).replace('.', ',')} : l'espèce est sensible"
    return f"mean over squares of {_length(metres)}: the species is sensitive"


def _length(metres: int) -> str:
    return f"{metres / 1000:g} km" if metres >= 1000 else f"{metres} m"
