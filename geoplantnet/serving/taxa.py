"""A species as it is told to people: names and what is known of it, the same wherever it is listed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from geoplantnet.catalog.overview import SpeciesOverview
from geoplantnet.taxonomy import Taxon

THREATENED = frozenset({"VU", "EN", "CR"})
"""Red List categories of threatened species."""
GROUPS = ("protected", "invasive", "threatened", "narrow_ranged", "trees")
_FLAGS = {"protected": "directive", "invasive": "invasive", "narrow_ranged": "narrowRanged", "trees": "tree"}


class TaxonRecords:
    """The species that are shown, with what is known of them; a trait that is not known is None.

    Of narrow range are the quarter of all species shown with the smallest `range_squares` (the quartile definition of rarity: Gaston 1994).
    """

    def __init__(self, overview: SpeciesOverview, shown: Sequence[Taxon], generalised: Callable[[str], int | None]) -> None:
        """`generalised`: metres of the squares whose means are told of a sensitive species, by its taxon id."""
        self._traits, self._generalised = overview.traits, generalised
        self.positions: npt.NDArray[np.intp] = np.array([overview.species.index_of(taxon.taxon_id) for taxon in shown], np.intp)
        """In the species list, of those that are told, in its order."""
        ranges = [self._trait(taxon, "range_squares") for taxon in shown]
        known = [value for value in ranges if value is not None]
        self._narrow = float(np.quantile(known, 0.25)) if known else None
        self._told = [self._record(taxon) for taxon in shown]
        self.of_group: Mapping[str, npt.NDArray[np.intp]] = {
            group: self.positions[[i for i, record in enumerate(self._told) if belongs(record, group)]] for group in GROUPS
        }
        """Positions in the species list of those of each of `GROUPS`."""

    def __len__(self) -> int:
        return len(self._told)

    def __getitem__(self, i: int) -> dict[str, Any]:
        """The i-th species that is told."""
        return dict(self._told[i])

    def _record(self, taxon: Taxon) -> dict[str, Any]:
        squares = self._trait(taxon, "range_squares")
        return {
            "taxonID": taxon.taxon_id,
            "scientificName": taxon.scientific_name,
            "vernacularName": taxon.vernacular_name or None,
            "family": taxon.family or None,
            "genus": taxon.genus or None,
            "iucn": self._trait(taxon, "iucn"),
            "tree": self._flag(taxon, "tree"),
            "invasive": self._flag(taxon, "invasive"),
            "directive": self._flag(taxon, "eu_directive"),
            "narrowRanged": None if squares is None or self._narrow is None else bool(squares <= self._narrow),
            "generalised": self._generalised(taxon.taxon_id),
        }

    def _flag(self, taxon: Taxon, name: str) -> bool | None:
        value = self._trait(taxon, name)
        return None if value is None else bool(value)

    def _trait(self, taxon: Taxon, name: str) -> Any:
        value = self._traits.get(taxon.taxon_id, {}).get(name)
        return None if isinstance(value, float) and not math.isfinite(value) else value


def belongs(record: Mapping[str, Any], group: str) -> bool | None:
    """Whether a species is of one of `GROUPS`; None where it is not known."""
    if group == "threatened":
        return None if record["iucn"] in (None, "DD", "NE") else record["iucn"] in THREATENED
    value = record[_FLAGS[group]]
    return None if value is None else bool(value)
