"""From trusted observations to what a species distribution model learns from: presence-only occurrences with date, observer, effort and uncertainty."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from geoplantnet import occurrences as occ
from geoplantnet.errors import InputError
from geoplantnet.identify.quality import VERIFICATION, TrustedQuery
from geoplantnet.occurrences.darwin_core import tidy_rejections
from geoplantnet.taxonomy import Backbone

UNNAMED = "observations"
"""datasetID of records that name none."""
_TERMS = (
    *("occurrenceID", "recordedByID", "eventDate", "datasetID", "taxonID", "scientificName", "verbatimScientificName"),
    *("decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters"),
)
_DAY = r"^(\d{4}-\d{2}-\d{2})(?:[T ][^/]*)?$"


@dataclass(frozen=True, kw_only=True)
class Bridged:
    """Trusted observations as occurrences, and how they came to be trusted."""

    occurrences: occ.OccurrenceSet
    """An event an observation; `recordedBy` is the observer's account, never the name. Its rejections tell of every record that was read and is not here."""
    read: int
    """Records read."""
    verified: dict[str, int] = field(default_factory=dict)
    """Records kept, by what trusts them (`verification`)."""


def to_occurrences(query: TrustedQuery, *, backbone: Backbone | None = None) -> Bridged:
    """Records that a query trusts -> presence-only occurrences, a data set each `datasetID`.

    With a `backbone`, names are resolved to accepted species; without one the labels' own taxon ids stand. Raises InputError where the store gives one
    occurrenceID to two records that are both trusted.
    """
    parts = [chunk[[*_TERMS, VERIFICATION]] for chunk in query]
    records = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*_TERMS, VERIFICATION])
    if (again := records["occurrenceID"].duplicated()).any():
        raise InputError(
            f"occurrenceID {records.loc[again, 'occurrenceID'].iloc[0]!r} stands twice among trusted records; keep one record of each"
        )
    records = records.assign(
        eventID=records["occurrenceID"],
        recordedBy=records["recordedByID"],
        datasetID=records["datasetID"].where(records["datasetID"] != "", UNNAMED),
        list_length=list_lengths(records),
    )
    sets = [
        occ.from_records(rows.drop(columns=[VERIFICATION, "datasetID"]), dataset_id=str(name), backbone=backbone)
        for name, rows in records.groupby("datasetID")
    ]
    refused = query.rejections
    refused = refused.assign(datasetID=refused["datasetID"].where(refused["datasetID"] != "", UNNAMED))
    verified = {str(name): int(count) for name, count in records[VERIFICATION].value_counts().sort_index().items()}
    return Bridged(occurrences=_with_rejections(sets, refused), read=query.read, verified=verified)


def list_lengths(records: pd.DataFrame) -> pd.Series:
    """Species (taxonID) that a record's observer recorded on its day, a float a record; NaN where observer or day are unknown.

    Records are those that are trusted: what an observer saw and nobody could name is no part of the list.
    """
    day = records["eventDate"].astype(str).str.extract(_DAY, expand=False)
    known = (records["recordedByID"] != "") & day.notna()
    told = records.loc[known, ["recordedByID", "taxonID"]].assign(day=day[known])
    length = pd.Series(np.nan, index=records.index, dtype=float)
    length[known] = told.groupby(["recordedByID", "day"])["taxonID"].transform("nunique").astype(float)
    return length


def _with_rejections(sets: Iterable[occ.OccurrenceSet], refused: pd.DataFrame) -> occ.OccurrenceSet:
    """Sets as one, with what the query refused: a record is an event, too."""
    parts = list(sets) or [_nothing()]
    found = occ.concat(parts)
    both = [refused, refused.assign(table="events")]
    return occ.OccurrenceSet(found.events, found.occurrences, tidy_rejections([found.rejections, *both]))


def _nothing() -> occ.OccurrenceSet:
    empty = pd.DataFrame({"eventID": [], "scientificName": [], "decimalLongitude": [], "decimalLatitude": []})
    return occ.from_records(empty, dataset_id=UNNAMED)
