"""Which habitat a plot is, told from the cover of its plants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from geoplantnet.errors import InputError
from geoplantnet.occurrences.darwin_core import OccurrenceSet

LEAST_COVER = 10.0
"""Percent cover that the named species have together, or the plot is none of the habitats: EUNIS' limit of a forest."""
MAJORITY = 0.5


@dataclass(frozen=True, kw_only=True)
class DominanceRule:
    """A habitat that its dominant plants make."""

    code: str
    dominant: tuple[str, ...]
    """Scientific names."""
    more_of: tuple[str, ...] = ()
    """Where not empty, more of these species are in the plot than of `than`."""
    than: tuple[str, ...] = ()


def dominant_habitats(records: OccurrenceSet, rules: Sequence[DominanceRule]) -> pd.Series:
    """Habitat code of every event with known cover of a named species, by eventID; "" where no rule holds.

    The cover of all named species is added up; a rule holds where its own have half of it or more and all together reach 10 %. Of
    rules with the same dominants the first whose further condition holds is taken. Cover of layers is one number a species (see
    `abundance.combine_layers`). Raises InputError without any rule.
    """
    if not rules:
        raise InputError("no rule to tell habitats by; give one a habitat")
    rows = records.occurrences[records.occurrences["occurrenceStatus"] == "present"]
    named = sorted({name for rule in rules for name in rule.dominant})
    covered = rows[rows["scientificName"].isin(named) & rows["organismQuantityType"].isin(("% cover", "Braun-Blanquet scale"))]
    cover = covered.pivot_table(index="eventID", columns="scientificName", values="abundance", aggfunc="sum", fill_value=0.0)
    found = pd.Series("", index=cover.index, dtype=object, name="habitat")
    if cover.empty:
        return found
    total = cover.sum(axis=1)
    indicators = {name for rule in rules for name in (*rule.more_of, *rule.than)}
    indicating = rows[rows["scientificName"].isin(indicators) & rows["eventID"].isin(cover.index)]
    present = pd.crosstab(indicating["eventID"], indicating["scientificName"]).reindex(cover.index, fill_value=0) > 0
    for rule in rules:
        own = cover[cover.columns.intersection(list(rule.dominant))].sum(axis=1)
        holds = (own >= MAJORITY * total) & (total >= LEAST_COVER) & (own > 0)
        if rule.more_of:
            more, less = (present[present.columns.intersection(list(names))].sum(axis=1) for names in (rule.more_of, rule.than))
            holds &= more > less
        found[holds & (found == "")] = rule.code
    return found


def majority_habitats(shares: np.ndarray, codes: Sequence[str]) -> np.ndarray:
    """Shares of the cell (plot, habitat) -> the code of the habitat that has half of it or more, "" where none has or nothing is known."""
    known = np.nan_to_num(shares)
    best = known.argmax(axis=1)
    return np.where(known[np.arange(len(known)), best] >= MAJORITY, np.array(codes, object)[best], "")
