"""Species by what a person types: names scientific and common, genera, families, ids; and the tree of families and genera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

from geoplantnet.serving.planner.names import NameIndex, folded

_NAMES = ("scientificName", "vernacularName", "taxonID", "genus", "family")
"""Of a record, what a species is found by."""


class SpeciesSearch:
    """Finds species among some ten thousand."""

    def __init__(self, records: Sequence[Mapping[str, Any]]) -> None:
        """`records` are those that may be found, as `TaxonRecords` tells them."""
        self.records = tuple(records)
        self._names = NameIndex([tuple(record[name] or "" for name in _NAMES) for record in self.records])

    def find(self, query: str = "", *, family: str = "", genus: str = "") -> list[Mapping[str, Any]]:
        """All that fit, best first (`NameIndex.find`); `family` and `genus` keep those of that name alone."""
        found = [self.records[i] for i in self._names.find(query)]
        for name, wanted in (("family", folded(family)), ("genus", folded(genus))):
            if wanted:
                fitting = {own for own in {record[name] for record in found} if own and folded(own) == wanted}
                found = [record for record in found if record[name] in fitting]
        return found

    @cached_property
    def families(self) -> list[dict[str, Any]]:
        """Families by name with how many species they have, and so their genera; of unknown ones the name is empty, and they come last."""

        def order(name: str) -> tuple[bool, str, str]:
            return not name, folded(name), name

        told = []
        pairs = sorted(((r["family"] or "", r["genus"] or "") for r in self.records), key=lambda pair: (order(pair[0]), order(pair[1])))
        for family, of_family in groupby(pairs, key=lambda pair: pair[0]):
            genera = [{"name": genus, "count": len([*own])} for genus, own in groupby(of_family, key=lambda pair: pair[1])]
            told.append({"name": family, "count": sum(int(str(genus["count"])) for genus in genera), "genera": genera})
        return told
