"""Floras: checklists of species by region, and whether a species is known to grow where somebody says to have seen it.

A flora is a code, a checklist and, where it is one of a place, a region: a country, or a botanical country of the World Geographical Scheme
(Brummitt 2001), as Plants of the World Online lists species. A thematic flora (useful plants, invasive plants) has no region.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.errors import InputError, did_you_mean
from geoplantnet.identify.regions import Regions

STATUSES = ("native", "introduced", "doubtful")
"""How a species is known in a region; what POWO calls extinct there is not in its checklist."""
COLUMNS = ("region", "taxonID", "status")
NONE = -1
"""No flora, no status."""


class Names(Protocol):
    """What knows the species of names, as `geoplantnet.taxonomy.Backbone` does."""

    def resolve(self, names: pd.Series, /) -> pd.DataFrame:
        """A row a name, in order: taxon_id (empty = not found) and the reason why not."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Floras:
    """Checklists by code. Raises InputError for an unknown status, an empty code or a species twice in one flora."""

    checklists: pd.DataFrame
    """One row a species of a flora: region (the flora's code), taxonID, status."""
    regions: Regions | None = None
    """Where the floras of a place lie; codes without a polygon here are thematic, polygons without a checklist say nothing."""
    refused: Mapping[str, int] | None = None
    """Rows of the file that named no species of the backbone, counted by reason."""

    def __post_init__(self) -> None:
        for column in COLUMNS:
            if column not in self.checklists:
                raise InputError(f"checklists have no column {column!r}; they need {', '.join(COLUMNS)}")
        wrong = self.checklists[~self.checklists["status"].isin(STATUSES)]
        if len(wrong):
            raise InputError(
                f"checklist {wrong['region'].iloc[0]}, {wrong['taxonID'].iloc[0]}: status {wrong['status'].iloc[0]!r} is none of "
                f"{', '.join(STATUSES)}.{did_you_mean(str(wrong['status'].iloc[0]), STATUSES)}"
            )
        if (self.checklists[["region", "taxonID"]] == "").any(axis=None):
            raise InputError("a checklist has a row without region or taxonID; name both")
        twice = self.checklists[self.checklists.duplicated(["region", "taxonID"])]
        if len(twice):
            raise InputError(f"checklist {twice['region'].iloc[0]} names {twice['taxonID'].iloc[0]} twice; keep one row, with one status")

    @classmethod
    def read(cls, path: str | os.PathLike[str], regions: Regions | None = None, *, backbone: Names | None = None) -> Floras:
        """A CSV table in UTF-8: region, status (blank = native) and taxonID, or scientificName to be looked up in `backbone`.

        Several names of one accepted species are one row: of their statuses the first of `STATUSES` holds. Names that lead nowhere are counted in
        `refused`. Raises InputError for a file that is no such table.
        """
        file = Path(path)
        try:
            table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise InputError(f"{file} cannot be read as CSV in UTF-8 ({error}); its first line is {','.join(COLUMNS)}") from error
        table = table.rename(columns=str.strip).apply(lambda column: column.str.strip())
        name = "taxonID" if "taxonID" in table else "scientificName"
        if "region" not in table or name not in table:
            raise InputError(f"{file} has the columns {', '.join(table)}; it needs region, taxonID or scientificName, and may have status")
        table["status"] = table["status"].str.lower().replace("", "native") if "status" in table else "native"
        refused: Mapping[str, int] = {}
        if name == "scientificName":
            if backbone is None:
                raise InputError(f"{file} has scientificName and no taxonID; give a backbone that knows the names, or write taxonID")
            found = backbone.resolve(table["scientificName"])
            table["taxonID"] = found["taxon_id"].to_numpy()
            lost = found.loc[found["taxon_id"] == "", "reason"].value_counts().sort_index()
            refused = {str(reason): int(count) for reason, count in lost.items()}
            rank = table["status"].map({status: i for i, status in enumerate(STATUSES)})
            table = table[table["taxonID"] != ""].assign(rank=rank).sort_values("rank", kind="stable")
            table = table.drop_duplicates(["region", "taxonID"]).sort_index()
        return cls(checklists=table[list(COLUMNS)].reset_index(drop=True), regions=regions, refused=refused)

    @property
    def codes(self) -> tuple[str, ...]:
        """Sorted."""
        return tuple(sorted(self.checklists["region"].unique()))

    def checklist(self, code: str) -> pd.Series:
        """Status by taxonID. Raises InputError for a flora that is not there."""
        rows = self.checklists[self.checklists["region"] == code]
        if not len(rows):
            raise InputError(f"no flora {code!r} among {len(self.codes)} floras.{did_you_mean(code, self.codes)}")
        return rows.set_index("taxonID")["status"]

    @cached_property
    def placed(self) -> Regions:
        """The regions that have a checklist, smallest first."""
        if self.regions is None:
            return Regions({})
        listed = set(self.codes)
        known = [code for code in self.regions.codes if code in listed]
        found = self.regions.select(known)
        return found.select([known[i] for i in np.argsort(found.areas, kind="stable")])

    def at(self, longitude: npt.ArrayLike, latitude: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """(n,): position in `placed.codes` of the flora that speaks for a point: the smallest region around it; NONE where there is none."""
        inside = self.placed.inside(longitude, latitude)
        if not len(inside):
            return np.full(inside.shape[1], NONE)
        return np.where(inside.any(axis=0), inside.argmax(axis=0), NONE)

    def status(
        self, taxon: npt.ArrayLike, longitude: npt.ArrayLike, latitude: npt.ArrayLike, within: npt.ArrayLike = 0.0
    ) -> npt.NDArray[np.object_]:
        """(n,): status of a species (taxonID) at a point; ``absent`` where the flora there does not name it; empty where no flora is known.

        `within` metres (scalar or (n,)) of a border the neighbour's flora may speak too, since borders are drawn coarsely and places are
        uncertain: of the statuses that meet there the first of `STATUSES` holds.
        """
        taxa, x, y = np.asarray(taxon, object), np.asarray(longitude, float), np.asarray(latitude, float)
        reach = np.broadcast_to(np.asarray(within, float), x.shape)
        inside = self.placed.inside(x, y)
        here = np.where(inside.any(axis=0), inside.argmax(axis=0), NONE) if len(inside) else np.full(len(x), NONE)
        known, best = here != NONE, self._rank(here, taxa)
        worse = np.flatnonzero((best > 0) & (reach > 0))
        if worse.size and len(inside):
            near = self.placed.border_within(x[worse], y[worse], reach[worse]) & ~inside[:, worse]
            for row in np.flatnonzero(near.any(axis=1)):
                some = worse[near[row]]
                known[some] = True
                best[some] = np.minimum(best[some], self._rank(np.full(len(some), row), taxa[some]))
        words = np.array([*STATUSES, "absent"], object)
        return np.where(known, words[best], "")

    def _rank(self, flora: npt.NDArray[np.intp], taxa: npt.NDArray[np.object_]) -> npt.NDArray[np.intp]:
        """(n,): position of the status in `STATUSES`, its length where the flora does not name the species."""
        found = np.full(len(taxa), len(STATUSES), np.intp)
        number = self._taxa.get_indexer(pd.Index(taxa))
        key = np.where((number >= 0) & (flora != NONE), flora.astype(np.int64) * max(len(self._taxa), 1) + number, -1)
        keys, ranks = self._entries
        if len(keys):
            place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
            hit = keys[place] == key
            found[hit] = ranks[place[hit]]
        return found

    @cached_property
    def _taxa(self) -> pd.Index:
        return pd.Index(sorted(self.checklists["taxonID"].unique()), dtype=object)

    @cached_property
    def _entries(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
        """Sorted keys (flora x species) of the floras with a place, and the status of each."""
        rows = self.checklists[self.checklists["region"].isin(self.placed.codes)]
        flora = pd.Index(self.placed.codes, dtype=object).get_indexer(pd.Index(rows["region"], dtype=object))
        key = flora.astype(np.int64) * max(len(self._taxa), 1) + self._taxa.get_indexer(pd.Index(rows["taxonID"], dtype=object)).astype(
            np.int64
        )
        rank = pd.Index(STATUSES).get_indexer(pd.Index(rows["status"]))
        order = np.argsort(key)
        return key[order], rank[order]
