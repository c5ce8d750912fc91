"""Occurrences: who was seen where, in Darwin Core terms. Two plain tables, and a count of every row that was refused.

A sampling *event* is a place and a time: one row of a GeoDataFrame. An *occurrence* is one taxon at one event: one row of a DataFrame. A plot
surveyed completely in which nothing grew is an event without occurrences, and says something.

Rows are never lost in silence: whatever is read ends as a row of `events` or `occurrences`, or is counted with a reason in `rejections`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
from pyproj import Transformer

from geoplantnet.errors import CrsError, OccurrenceError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.storage import write_beside
from geoplantnet.taxonomy.backbone import Backbone, parse_name, slug
from geoplantnet.taxonomy.species_list import SpeciesList

GRID_CRS = TileGrid().crs
"""CRS of `x`, `y` and of the geometry."""
SAMPLING = ("presence-only", "presence-absence")
STATUS = ("present", "absent")
EVENT_TEXT = ("eventID", "samplingProtocol", "sampling", "sampleSizeUnit", "datasetID")
EVENT_NUMBERS = (
    *("x", "y", "decimalLongitude", "decimalLatitude", "coordinateUncertaintyInMeters"),
    *("year", "sampleSizeValue", "elevation", "slope", "aspect"),
)
EVENT_COLUMNS = (
    *("eventID", "x", "y", "decimalLongitude", "decimalLatitude", "coordinateUncertaintyInMeters", "year", "samplingProtocol", "sampling"),
    *("sampleSizeValue", "sampleSizeUnit", "datasetID", "elevation", "slope", "aspect", "geometry"),
)
OCCURRENCE_COLUMNS = ("eventID", "taxonID", "scientificName", "verbatimScientificName", "occurrenceStatus")
REJECTION_COLUMNS = ("datasetID", "table", "reason", "count", "example")
MERGED = "same taxon twice in one event"
"""Reason of rows that say again what another row of the event says (another layer, a synonym): counted, their species is kept."""


@dataclass(frozen=True)
class OccurrenceSet:
    """Events, their occurrences, and what was refused on the way."""

    events: gpd.GeoDataFrame
    """One row an event, `EVENT_COLUMNS`; points in EPSG:3035, metres; see `validate_events`."""
    occurrences: pd.DataFrame
    """One row a taxon at an event, `OCCURRENCE_COLUMNS`; see `validate_occurrences`."""
    rejections: pd.DataFrame
    """Counted refusals: datasetID, table (events | occurrences), reason, count (rows of that table), example."""

    def __post_init__(self) -> None:
        validate_events(self.events)
        validate_occurrences(self.occurrences, self.events)
        _need(self.rejections, REJECTION_COLUMNS, "rejections")


def validate_events(events: gpd.GeoDataFrame) -> None:
    """Check the event table: columns, dtypes, units, ranges, unique eventID, point geometry at x, y in the grid's CRS.

    Raises CrsError for a missing or other CRS and OccurrenceError for everything else, naming column, value and fix.
    """
    _need(events, EVENT_COLUMNS, "events")
    if not isinstance(events, gpd.GeoDataFrame) or events.crs is None:
        raise CrsError(f"events have no CRS; set it, or build them with from_tables, which makes points in {GRID_CRS}")
    if events.crs.to_epsg() != int(GRID_CRS.removeprefix("EPSG:")):
        raise CrsError(f"events are in {events.crs.to_string()}, the grid is in {GRID_CRS}; use events.to_crs({GRID_CRS!r}) and set x, y anew")
    for column in EVENT_NUMBERS:
        if not pd.api.types.is_float_dtype(events[column]):
            raise OccurrenceError(f"events column {column} is {events[column].dtype}, wanted float (NaN where unknown); use .astype(float)")
    _ids(events["eventID"], "events", unique=True)
    _within(events, "x", -np.inf, np.inf, missing=False)
    _within(events, "y", -np.inf, np.inf, missing=False)
    _within(events, "decimalLongitude", -180, 180)
    _within(events, "decimalLatitude", -90, 90)
    _within(events, "coordinateUncertaintyInMeters", 0, np.inf)
    _within(events, "sampleSizeValue", 1e-9, np.inf)
    _within(events, "slope", 0, 90)
    _within(events, "aspect", 0, 360)
    _one_of(events["sampling"], SAMPLING, "events column sampling")
    points = events.geometry
    if not (points.geom_type == "Point").all():
        raise OccurrenceError("events geometry holds something else than points; use the representative point of each survey area")
    off = np.flatnonzero((points.x.to_numpy() != events["x"].to_numpy()) | (points.y.to_numpy() != events["y"].to_numpy()))
    if off.size:
        raise OccurrenceError(f"event {events['eventID'].iloc[off[0]]} has its point away from its x, y; derive one from the other")


def validate_occurrences(occurrences: pd.DataFrame, events: pd.DataFrame | None = None) -> None:
    """Check the occurrence table: columns, ids, status, one row a taxon and event and, given `events`, that every event exists.

    Raises OccurrenceError naming column, value and fix.
    """
    _need(occurrences, OCCURRENCE_COLUMNS, "occurrences")
    for column in ("eventID", "taxonID", "scientificName"):
        _ids(occurrences[column], "occurrences")
    _one_of(occurrences["occurrenceStatus"], STATUS, "occurrences column occurrenceStatus")
    twice = occurrences.duplicated(["eventID", "taxonID"])
    if twice.any():
        row = occurrences[twice].iloc[0]
        raise OccurrenceError(f"occurrences hold {row.scientificName} at event {row.eventID} twice; keep one row a taxon and event")
    if events is not None:
        stray = occurrences.loc[~occurrences["eventID"].isin(events["eventID"]), "eventID"]
        if len(stray):
            raise OccurrenceError(f"occurrences name event {stray.iloc[0]!r}, which is not among the {len(events)} events; add it or drop the rows")


def from_tables(events: pd.DataFrame, occurrences: pd.DataFrame, *, sampling: str, dataset_id: str) -> OccurrenceSet:
    """Plain tables -> OccurrenceSet.

    `events` needs eventID and either x, y (EPSG:3035, metres) or decimalLongitude, decimalLatitude (EPSG:4326, degrees); other event terms are
    taken where present. `occurrences` needs eventID and scientificName; taxonID defaults to the slug of the name, occurrenceStatus to present.
    Rows without usable coordinates, event or name are counted in `rejections`; a repeated eventID raises OccurrenceError.
    """
    if sampling not in SAMPLING:
        raise OccurrenceError(f"sampling is {sampling!r}; use one of {', '.join(SAMPLING)}")
    _need(events, ("eventID",), "events")
    _need(occurrences, ("eventID", "scientificName"), "occurrences")
    ids = _text(events, "eventID")
    if ids[ids != ""].duplicated().any():
        raise OccurrenceError(f"events hold eventID {ids[ids != ''][ids[ids != ''].duplicated()].iloc[0]!r} twice; one row an event")
    table = _event_table(events, sampling, dataset_id)
    reasons = coordinate_reasons(table).mask(table["eventID"] == "", "missing eventID")
    event_rejections = count_rejections(dataset_id, "events", reasons, table["eventID"])
    kept = points(table[reasons == ""])
    rows = _occurrence_table(occurrences)
    why = pd.Series("", index=rows.index)
    why = why.mask((rows["scientificName"] == "") | (rows["taxonID"] == ""), "missing name")
    why = why.mask((why == "") & ~rows["occurrenceStatus"].isin(STATUS), "unknown occurrenceStatus")
    lost = rows["eventID"].map(dict(zip(table["eventID"], reasons))).fillna("event not in the event table")
    why = why.mask((why == "") & (lost != ""), lost)
    why = why.mask((why == "") & rows[why == ""].duplicated(["eventID", "taxonID"]).reindex(rows.index, fill_value=False), MERGED)
    rejections = pd.concat([event_rejections, count_rejections(dataset_id, "occurrences", why, rows["verbatimScientificName"])])
    return OccurrenceSet(kept, rows[why == ""].reset_index(drop=True), tidy_rejections(rejections))


def from_records(records: pd.DataFrame, *, dataset_id: str, sampling: str = "presence-only") -> OccurrenceSet:
    """Darwin Core occurrence records (one row a sighting) -> OccurrenceSet.

    One record is one event, unless records share an eventID; then the first record describes the event, and a record with other coordinates is
    refused. Needs scientificName and coordinates as in `from_tables`; without eventID, occurrenceID names the event, else the row number.
    """
    _need(records, ("scientificName",), "records")
    rows = records.reset_index(drop=True)
    own = _text(rows, "eventID").mask(lambda s: s == "", _text(rows, "occurrenceID"))
    rows["eventID"] = own.mask(own == "", dataset_id + ":" + pd.Series(rows.index.astype(str), index=rows.index))
    place = [c for c in ("x", "y", "decimalLongitude", "decimalLatitude") if c in rows]
    first = rows.drop_duplicates("eventID").set_index("eventID")
    numbers = rows[place].apply(pd.to_numeric, errors="coerce").to_numpy()
    expected = first[place].apply(pd.to_numeric, errors="coerce").reindex(rows["eventID"]).to_numpy()
    moved = ~((numbers == expected) | (np.isnan(numbers) & np.isnan(expected))).all(axis=1)
    reasons = pd.Series(np.where(moved, "eventID at two places", ""), index=rows.index)
    found = from_tables(first.reset_index(), rows[~moved], sampling=sampling, dataset_id=dataset_id)
    rejections = pd.concat([found.rejections, count_rejections(dataset_id, "occurrences", reasons, rows["eventID"])])
    return OccurrenceSet(found.events, found.occurrences, tidy_rejections(rejections))


def read_records(path: str | os.PathLike[str], *, dataset_id: str, backbone: Backbone | None = None, sampling: str = "presence-only") -> OccurrenceSet:
    """A Darwin Core or GBIF-like table (.csv: commas; .tsv, .txt: tabs; UTF-8) with decimalLatitude and decimalLongitude -> OccurrenceSet.

    With a `backbone`, names become accepted species and unresolved ones are refused with the backbone's reason; without one, authors and ranks
    are stripped (``Picea abies (L.) H. Karst.`` -> ``Picea abies``). Raises OccurrenceError when the file is missing or is no such table.
    """
    file = Path(path)
    if not file.is_file():
        raise OccurrenceError(f"{file} is not there; give a Darwin Core occurrence table")
    try:
        rows = pd.read_csv(file, sep="," if file.suffix.lower() == ".csv" else "\t", dtype=str, keep_default_na=False, quoting=0 if file.suffix.lower() == ".csv" else 3)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise OccurrenceError(f"{file} is no delimited UTF-8 table ({error}); export it as CSV or tab-separated text") from error
    _need(rows, ("scientificName", "decimalLatitude", "decimalLongitude"), file.name)
    return from_records(*_named(rows, dataset_id, backbone), sampling=sampling)
