"""The species axis: an ordered, hashed list of taxa. An index means the same species for ever."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from geoplantnet.errors import InputError, UnknownSpecies, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Taxon:
    """One accepted species of a checklist."""

    taxon_id: str
    """Identifier inside the checklist: a string, safe in file and layer names (letters, digits, ``-``, ``_``)."""
    scientific_name: str
    """Accepted name without author (Darwin Core `scientificName`)."""
    genus: str = ""
    family: str = ""
    vernacular_name: str = ""


@dataclass(frozen=True, kw_only=True)
class SpeciesList(Sequence[Taxon]):
    """Taxa in a fixed order, all of one checklist. Equal lists have equal `hash`."""

    checklist: str
    """Which checklist the ids belong to, with its version."""
    taxa: tuple[Taxon, ...]

    def __post_init__(self) -> None:
        if len(self._index) != len(self.taxa):
            twice = next(t.taxon_id for i, t in enumerate(self.taxa) if self._index[t.taxon_id] != i)
            raise InputError(f"species list of {self.checklist} holds {twice!r} twice; ids must be unique")

    @cached_property
    def _index(self) -> dict[str, int]:
        return {taxon.taxon_id: i for i, taxon in enumerate(self.taxa)}

    @cached_property
    def _index_by_name(self) -> dict[str, int]:
        return {taxon.scientific_name: i for i, taxon in enumerate(self.taxa)}

    def __len__(self) -> int:
        return len(self.taxa)

    def __iter__(self) -> Iterator[Taxon]:
        return iter(self.taxa)

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        return self.taxa[i]

    def __contains__(self, name: object) -> bool:
        return name in self._index or name in self._index_by_name

    def index_of(self, name: str) -> int:
        """Position of a taxon by id or by scientific name. Raises UnknownSpecies with the nearest spellings."""
        i = self._index.get(name, self._index_by_name.get(name, -1))
        if i < 0:
            hint = did_you_mean(name, [*self._index, *self._index_by_name])
            raise UnknownSpecies(f"{name!r} is not among the {len(self)} species of {self.checklist}.{hint}")
        return i

    @cached_property
    def hash(self) -> str:
        """SHA-256 over checklist and ordered ids: what checkpoints and tiles are compared by."""
        text = json.dumps([self.checklist, [t.taxon_id for t in self.taxa]], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, object]:
        return {
            "checklist": self.checklist,
            "hash": self.hash,
            "taxa": [
                {
                    "taxonID": t.taxon_id,
                    "scientificName": t.scientific_name,
                    "genus": t.genus,
                    "family": t.family,
                    "vernacularName": t.vernacular_name,
                }
                for t in self.taxa
            ],
        }

    @classmethod
    def from_dict(cls, value: dict[str, object]) -> SpeciesList:
        """Inverse of `to_dict`. Raises InputError when the content does not match its own hash."""
        rows: list[dict[str, str]] = value["taxa"]  # type: ignore[assignment]
        taxa = tuple(
            Taxon(
                taxon_id=r["taxonID"],
                scientific_name=r["scientificName"],
                genus=r["genus"],
                family=r["family"],
                vernacular_name=r["vernacularName"],
            )
            for r in rows
        )
        species = cls(checklist=str(value["checklist"]), taxa=taxa)
        if value.get("hash") not in (None, species.hash):
            raise InputError(f"species list of {species.checklist} does not match its recorded hash; restore the original file")
        return species
