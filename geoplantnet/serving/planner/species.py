"""Species by what a person types: names scientific and common, genera, families, ids; and the tree of families and genera."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

from geoplantnet.serving.planner.names import NameIndex, folded
from geoplantnet.taxonomy import Taxon


class SpeciesSearch:
    """Finds species among some ten thousand."""

    def __init__(self, taxa: Sequence[Taxon]) -> None:
        """`taxa` are those that may be found."""
        self.taxa = tuple(taxa)
        self._names = NameIndex([(t.scientific_name, t.vernacular_name, t.taxon_id, t.genus, t.family) for t in self.taxa])

    def find(self, query: str = "", *, family: str = "", genus: str = "") -> tuple[Taxon, ...]:
        """All that fit, best first (`NameIndex.find`); `family` and `genus` keep those of that name alone."""
        found = [self.taxa[i] for i in self._names.find(query)]
        for name, wanted in (("family", folded(family)), ("genus", folded(genus))):
            if wanted:
                fitting = {own for own in {getattr(taxon, name) for taxon in found} if folded(own) == wanted}
                found = [taxon for taxon in found if getattr(taxon, name) in fitting]
        return tuple(found)

    @cached_property
    def families(self) -> list[dict[str, Any]]:
        """Families by name with how many species they have, and so their genera; of unknown ones the name is empty, and they come last."""

        def order(name: str) -> tuple[bool, str, str]:
            return not name, folded(name), name

        told = []
        ordered = sorted(self.taxa, key=lambda taxon: (order(taxon.family), order(taxon.genus)))
        for family, of_family in groupby(ordered, key=lambda taxon: taxon.family):
            genera = [{"name": genus, "count": len([*own])} for genus, own in groupby(of_family, key=lambda taxon: taxon.genus)]
            told.append({"name": family, "count": sum(int(str(genus["count"])) for genus in genera), "genera": genera})
        return told
